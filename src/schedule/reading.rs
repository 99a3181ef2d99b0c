//! Reading `__schedule`: the entries of a bucket in steps, those that are due by their places, all
//! of them for a listing.
//!
//! Entries are appended outside any transaction and never again; what lies in one is a resolution,
//! which the state knows of already. Damage is stepped over and logged: what cannot be read is put
//! aside for this life, and everything else goes on. Called with the turn in hand, but for
//! listings.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::coordinator::{Schedule, Turn};
use super::state::{Key, PARTITIONS};
use crate::config::IsolationLevel;
use crate::engine::Partition;
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::FetchLimits;
use crate::record::{Batch, BatchFault, PlainLimit};

/// Read at a time, in a step of the timer's.
const STEP_BYTES: usize = 4 << 20;
/// Read at a time where entries lie close together.
const NEAR_BYTES: usize = 64 << 10;
/// Bytes of entries that are published together.
const MOST_BYTES: usize = 4 << 20;

/// An entry, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) offset: Offset,
}

/// An entry that has been read.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) key: Key,
    pub(super) offset: Offset,
    pub(super) bytes: Vec<u8>,
}

/// The first of some entries.
struct Read {
    entries: Vec<Loaded>,
    /// Of how many it is known what lies there.
    passed: usize,
}

impl Schedule {
    /// Reads a step further in the partition of a bucket. One that cannot be read is given up until
    /// `retry`, so that it holds up no other.
    pub(super) fn read_some(&self, turn: &mut Turn, retry: Duration) -> Result<()> {
        let partition = {
            let mut state = self.state.lock();
            if !state.is_reading() {
                state.begin_reading();
                turn.reading = Offset::ZERO;
            }
            // not what was planned: an entry may have come since, in a bucket before that
            let Some(partition) = state.reading_in() else { return Ok(()) };
            partition
        };
        let partition = self.log.partition(partition)?;
        let mut found = Vec::new();
        let read = each_entry(&partition, turn.reading, STEP_BYTES, |key, offset, _| {
            found.push((key, offset));
        });
        let mut state = self.state.lock();
        found.into_iter().for_each(|(key, offset)| state.found(key, offset));
        match read {
            Ok(Some(next)) => turn.reading = next,
            Ok(None) => state.end_reading(),
            Err(error) => {
                log::warn!("what is scheduled in {} has to wait: {error}", partition.id());
                state.give_up_reading();
                turn.expect_retry(retry, self.engine.clock().wall());
            }
        }
        Ok(())
    }

    /// Reads the first of these entries, as many as are published together; in their order. Those
    /// that cannot be read are put aside; a partition that cannot be is held, with none of its own.
    pub(super) fn load(&self, turn: &mut Turn, due: &[Place]) -> Vec<Loaded> {
        let (mut loaded, mut left, mut portion, mut at) = (Vec::new(), MOST_BYTES, 16, 0);
        while at < due.len() && left > 0 {
            let end = due.len().min(at + portion);
            let Read { entries, passed } = match self.load_some(&due[at..end], left) {
                Ok(read) => read,
                Err((partition, error)) => {
                    log::warn!("what is scheduled in {partition} has to wait: {error}");
                    turn.held.insert(partition, error);
                    break;
                }
            };
            left = left.saturating_sub(entries.iter().map(|it| it.bytes.len()).sum());
            loaded.extend(entries);
            // twice as many next time; one where the first of these came too late to be read
            portion = if passed > 0 { portion * 2 } else { 1 };
            at += passed;
        }
        loaded
    }

    /// Reads all of these entries.
    pub(super) fn load_all(&self, places: &[Place]) -> Result<Vec<Loaded>> {
        let all = self.load_some(places, usize::MAX);
        all.map(|read| read.entries).map_err(|(_, error)| error)
    }

    /// Reads the first of these entries: by partition and offset, until there are `most` bytes.
    fn load_some(&self, places: &[Place], most: usize) -> Result<Read, (PartitionId, Error)> {
        let mut by_partition: BTreeMap<PartitionId, Vec<(Offset, usize)>> = BTreeMap::new();
        for (index, Place { key, offset }) in places.iter().enumerate() {
            by_partition.entry(key.partition()).or_default().push((*offset, index));
        }
        let (mut read, mut bytes) = (vec![None; places.len()], 0usize);
        // of all before this one it is known what lies there
        let mut passed = places.len();
        for (id, mut wanted) in by_partition {
            if bytes >= most {
                passed = wanted.iter().map(|(_, index)| *index).fold(passed, usize::min);
                continue;
            }
            wanted.sort_unstable();
            let found = |index: usize, key, value: &[u8]| {
                if places[index].key == key {
                    bytes = bytes.saturating_add(value.len());
                    read[index] = Some(value.to_vec());
                }
                if bytes < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let partition = self.log.partition(id).map_err(|error| (id, error))?;
            let left = read_at(&partition, &wanted, found).map_err(|error| (id, error))?;
            passed = left.iter().map(|(_, index)| *index).fold(passed, usize::min);
        }
        let mut entries = Vec::with_capacity(passed);
        for (place, bytes) in places.iter().zip(read).take(passed) {
            let Place { key, offset } = *place;
            match bytes {
                Some(bytes) => entries.push(Loaded { key, offset, bytes }),
                // a listing has no turn: what is resolved meanwhile may have gone
                None => {
                    let is_pending = self.state.lock().put_aside(key);
                    if is_pending {
                        log::error!("what is scheduled at offset {offset} cannot be read");
                    }
                }
            }
        }
        Ok(Read { entries, passed })
    }

    /// Whether the log has an entry of that key there.
    ///
    /// # Errors
    /// `Corrupt` where that cannot be told.
    pub(super) fn lies_at(&self, place: Place) -> Result<bool> {
        let Place { key, offset } = place;
        let partition = self.log.partition(key.partition())?;
        if offset < Offset::ZERO || offset >= partition.offsets()?.end {
            return Ok(false);
        }
        let fetched = match partition.fetch(offset, None, limits(1)) {
            Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => return Ok(false),
            fetched => fetched?,
        };
        let Some(chunk) = fetched.chunk else { return Ok(false) };
        let mut lies = false;
        let read = Batch::verify(&chunk.bytes[..]).and_then(|batch| {
            entries_of(&batch, &mut |found, at, _: &[u8]| lies |= (found, at) == (key, offset))
        });
        read.map_err(|fault| {
            Error::new("read schedule", Cause::Corrupt(fault.to_string())).at_offset(offset)
        })?;
        Ok(lies)
    }

    /// The smallest `most` pending entries above `after`, in order. Reads everything there is.
    pub(super) fn smallest(&self, after: Option<Key>, most: usize) -> Result<Vec<Place>> {
        let mut found: BTreeMap<Key, Offset> = BTreeMap::new();
        if most == 0 || self.state.lock().pending() == 0 {
            return Ok(Vec::new());
        }
        for id in (0..PARTITIONS).map(PartitionId::new).filter(|id| !self.is_unread(*id)) {
            let partition = self.log.partition(id)?;
            let mut from = Some(Offset::ZERO);
            while let Some(at) = from {
                let mut some = Vec::new();
                from = each_entry(&partition, at, STEP_BYTES, |key, offset, _| {
                    if after.is_none_or(|after| key > after) {
                        some.push((key, offset));
                    }
                })?;
                let state = self.state.lock();
                some.retain(|(key, _)| state.is_live(*key));
                drop(state);
                found.extend(some);
                while found.len() > most {
                    found.pop_last();
                }
            }
        }
        Ok(found.into_iter().map(|(key, offset)| Place { key, offset }).collect())
    }
}

fn limits(bytes: usize) -> FetchLimits {
    let isolation = IsolationLevel::ReadUncommitted;
    FetchLimits { bytes, records: u64::MAX, durable_only: false, isolation }
}

/// Hands out the entries from `from` on, some bytes of them; returns where to go on, or `None` at
/// the end.
fn each_entry(
    partition: &Arc<Partition>,
    from: Offset,
    bytes: usize,
    mut entry: impl FnMut(Key, Offset, &[u8]),
) -> Result<Option<Offset>> {
    let fetched = match partition.fetch(from, None, limits(bytes)) {
        Ok(fetched) => fetched,
        Err(error) if error.is_corrupt() => return step_over(partition, from, &error),
        Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => {
            return Ok(Some(partition.offsets()?.start).filter(|start| *start > from));
        }
        Err(error) => return Err(error),
    };
    let Some(chunk) = fetched.chunk else {
        return Ok(Some(fetched.next_offset).filter(|next| *next > from));
    };
    let mut bytes = &chunk.bytes[..];
    while !bytes.is_empty() {
        // a fetch returns whole, verified batches
        let Ok(batch) = Batch::verify(bytes) else { break };
        bytes = &bytes[batch.header().size()..];
        if let Err(fault) = entries_of(&batch, &mut entry) {
            log::warn!("skipped while the schedule was read: {fault}");
        }
    }
    Ok(Some(fetched.next_offset))
}

fn step_over(partition: &Partition, from: Offset, error: &Error) -> Result<Option<Offset>> {
    let resumed = partition.resume_above(from)?;
    log::error!("part of the schedule is lost: {error}");
    Ok(Some(resumed).filter(|resumed| *resumed > from))
}

fn entries_of(
    batch: &Batch<'_>,
    entry: &mut impl FnMut(Key, Offset, &[u8]),
) -> Result<(), BatchFault> {
    if batch.header().is_control() || batch.header().is_transactional() {
        return Ok(());
    }
    let mut room = Vec::new();
    let batch = batch.unpacked(&mut room, PlainLimit::DEFAULT)?;
    for record in batch.records()? {
        let record = record?;
        if let (Some(key), Some(value)) = (record.key(), record.value())
            && let Ok(key) = Key::parse(key)
        {
            entry(key, record.offset(), value);
        }
    }
    Ok(())
}

/// Hands out what lies at these offsets, which are in order, with the number of each, until it is
/// told to stop; returns those that it has not come to.
fn read_at<'a>(
    partition: &Arc<Partition>,
    wanted: &'a [(Offset, usize)],
    mut found: impl FnMut(usize, Key, &[u8]) -> ControlFlow<()>,
) -> Result<&'a [(Offset, usize)]> {
    let mut rest = wanted;
    while let Some((first, _)) = rest.first().copied() {
        let is_near = rest.get(8).is_some_and(|(ninth, _)| ninth.since(first) < 128);
        let bytes = if is_near { NEAR_BYTES } else { 1 };
        let (mut left, mut flow) = (rest, ControlFlow::Continue(()));
        let next = each_entry(partition, first, bytes, |key, offset, value| {
            while let Some(((at, index), behind)) = left.split_first()
                && *at <= offset
                && flow.is_continue()
            {
                if *at == offset {
                    flow = found(*index, key, value);
                }
                left = behind;
            }
        })?;
        if flow.is_break() {
            return Ok(left);
        }
        // what lies below where the next read begins is not there
        let passed = next.unwrap_or(first.next()).max(first.next());
        let gone = left.iter().take_while(|(at, _)| *at < passed).count();
        rest = &left[gone..];
    }
    Ok(rest)
}
