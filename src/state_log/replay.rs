//! Reading a state log from its start: what a fold sees, in the order in which it took effect.
//!
//! A replay goes on where the last one ended, for whoever follows what another process writes.
//! Kafka's coordinators also write within transactions: such records are kept back until their
//! producer's marker, then handed out or dropped. What cannot be read is stepped over, counted and
//! logged: losing one group's newest offset makes it read some records again, refusing to open
//! would lose everybody's. A partition that cannot be read at all is the caller's to decide on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StateLog;
use crate::config::IsolationLevel;
use crate::engine::Partition;
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};
use crate::log::{Cursor, FetchLimits};
use crate::record::{Batch, BatchFault, ControlRecord, PlainLimit};
use crate::time::Timestamp;

/// One record of the state, as the fold sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replayed<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub(crate) value: Option<&'a [u8]>,
}

/// What a replay could not read.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    /// Batches and damaged ranges that were stepped over.
    pub(crate) places: u64,
    /// Partitions of which nothing, or not all, is known.
    pub(crate) unread: BTreeMap<PartitionId, Error>,
    /// What waits for its transaction's end, in the order of the log.
    pub(crate) waiting: Vec<Waiting>,
}

/// A record that takes effect once its producer's transaction is committed.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) producer: ProducerId,
    pub(crate) offset: Offset,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// How far a partition has been replayed, and what waits there for its transaction's end.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// `None` before anything was read.
    next: Option<Offset>,
    epoch: Option<LeaderEpoch>,
    cursor: Option<Cursor>,
    /// By producer id.
    pending: BTreeMap<i64, Vec<Kept>>,
}

/// A record that waits for its transaction's end.
#[derive(Debug)]
struct Kept {
    offset: Offset,
    timestamp: Option<Timestamp>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// How much is read at once.
const LIMITS: FetchLimits = FetchLimits {
    bytes: 1 << 20,
    records: u64::MAX,
    durable_only: false,
    isolation: IsolationLevel::ReadUncommitted,
};

impl StateLog {
    /// Hands out every record of every partition, each partition in order.
    pub(crate) fn replay(&self, mut fold: impl FnMut(Replayed<'_>)) -> Result<Skipped> {
        let mut skipped = Skipped::default();
        for partition in self.partitions()? {
            let mut progress = Progress::default();
            let read = replay_on(&partition, self.engine.plain_limit(), &mut progress, &mut fold);
            skipped.waiting.extend(progress.pending.into_iter().flat_map(|(producer, all)| {
                let producer = ProducerId::new(producer);
                all.into_iter().map(move |Kept { offset, key, value, .. }| Waiting {
                    producer,
                    offset,
                    key,
                    value,
                })
            }));
            if let Err(error) = read.map(|places| skipped.places += places) {
                log::error!("the state in {}-{} is lost: {error}", self.name, partition.id());
                skipped.unread.insert(partition.id(), error);
            }
        }
        Ok(skipped)
    }

    /// Makes a state of every partition that can be read to its end. Where one cannot, all begins
    /// again without it: of half a partition the end that resolves its beginning may be missing.
    pub(crate) fn fold<S>(
        &self,
        new: impl Fn() -> S,
        mut take: impl FnMut(&mut S, Replayed<'_>),
    ) -> Result<(S, Skipped)> {
        let mut unread = BTreeMap::new();
        loop {
            let (mut state, known) = (new(), unread.len());
            let mut skipped = self.replay(|record| {
                if !unread.contains_key(&record.partition) {
                    take(&mut state, record);
                }
            })?;
            unread.append(&mut skipped.unread);
            if unread.len() == known {
                skipped.unread = unread;
                return Ok((state, skipped));
            }
        }
    }

    /// Hands out the records of one partition that have come since; returns how many places were
    /// stepped over. Fails as truncated or out of range where what was handed out is there no
    /// more: then the state is to be folded again from the start.
    pub(crate) fn replay_partition(
        &self,
        partition: PartitionId,
        progress: &mut Progress,
        mut fold: impl FnMut(Replayed<'_>),
    ) -> Result<u64> {
        let Some(topic) = self.existing()? else { return Ok(0) };
        let partition = topic.partition(partition)?;
        partition.look()?;
        replay_on(&partition, self.engine.plain_limit(), progress, &mut fold)
    }
}

fn replay_on(
    partition: &Arc<Partition>,
    plain: PlainLimit,
    progress: &mut Progress,
    fold: &mut impl FnMut(Replayed<'_>),
) -> Result<u64> {
    let mut replay = Replay { partition, plain, progress, places: 0, fold };
    replay.run()?;
    Ok(replay.places)
}

struct Replay<'a, F> {
    partition: &'a Arc<Partition>,
    plain: PlainLimit,
    progress: &'a mut Progress,
    places: u64,
    fold: &'a mut F,
}

impl<F: FnMut(Replayed<'_>)> Replay<'_, F> {
    fn run(&mut self) -> Result<()> {
        let start = self.partition.offsets()?.start;
        loop {
            let from = *self.progress.next.get_or_insert(start);
            let fetched = match self.partition.fetch(from, self.progress.cursor.as_ref(), LIMITS) {
                Ok(fetched) => fetched,
                Err(error) if error.is_corrupt() => {
                    let resumed = self.partition.resume_above(from)?;
                    self.skip(&error);
                    if resumed <= from {
                        return Ok(());
                    }
                    (self.progress.next, self.progress.cursor) = (Some(resumed), None);
                    self.progress.epoch = None; // it may have ended in what was stepped over
                    continue;
                }
                Err(error) => return Err(error),
            };
            // by what the fetch saw: a log that was cut and has grown again holds other records
            if let Some(epoch) = self.progress.epoch {
                self.partition.check_epoch("replay", from, epoch)?;
            }
            let Some(chunk) = fetched.chunk else { return Ok(()) };
            let mut bytes = &chunk.bytes[..];
            while !bytes.is_empty() {
                // a fetch returns whole, verified batches
                let Ok(batch) = Batch::verify(bytes) else { break };
                bytes = &bytes[batch.header().size()..];
                self.progress.epoch = batch.header().leader_epoch().max(self.progress.epoch);
                if let Err(fault) = self.take(&batch) {
                    self.skip(&fault);
                }
            }
            (self.progress.next, self.progress.cursor) =
                (Some(fetched.next_offset), fetched.cursor);
        }
    }

    fn skip(&mut self, why: &dyn std::fmt::Display) {
        self.places += 1;
        let (topic, partition) = (self.partition.topic_name(), self.partition.id());
        log::warn!("skipped while the state in {topic}-{partition} was replayed: {why}");
    }

    fn take(&mut self, batch: &Batch<'_>) -> Result<(), BatchFault> {
        let header = batch.header();
        let producer = header.producer_id().map(|id| id.get());
        if header.is_control() {
            let kept = producer.and_then(|producer| self.progress.pending.remove(&producer));
            if let Some(ControlRecord::Commit { .. }) = batch.control()? {
                for record in kept.into_iter().flatten() {
                    let Kept { offset, timestamp, key, value } = &record;
                    let (key, value) = (key.as_deref(), value.as_deref());
                    self.hand_out((*offset, *timestamp), key, value);
                }
            }
            return Ok(());
        }
        let mut room = Vec::new();
        let batch = batch.unpacked(&mut room, self.plain)?;
        batch.check_records()?;
        for record in batch.records()? {
            let record = record?;
            match producer.filter(|_| header.is_transactional()) {
                Some(producer) => self.progress.pending.entry(producer).or_default().push(Kept {
                    offset: record.offset(),
                    timestamp: record.timestamp(),
                    key: record.key().map(<[u8]>::to_vec),
                    value: record.value().map(<[u8]>::to_vec),
                }),
                None => {
                    let at = (record.offset(), record.timestamp());
                    self.hand_out(at, record.key(), record.value());
                }
            }
        }
        Ok(())
    }

    /// What comes later in the log stands: of what waits, that with the key from before goes.
    fn hand_out(
        &mut self,
        (offset, timestamp): (Offset, Option<Timestamp>),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        for kept in self.progress.pending.values_mut() {
            kept.retain(|kept| kept.key.as_deref() != key || kept.offset > offset);
        }
        let partition = self.partition.id();
        (self.fold)(Replayed { partition, offset, timestamp, key, value });
    }
}
