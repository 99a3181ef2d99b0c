//! Reading a topic's logs into its window: from the window's start, then whatever has come.
//!
//! Everything counts, through whichever door it came: lingering, in a batch, in a transaction, from
//! a host. A log that was cut or opened again is read anew. Damage within the window is an error,
//! for what it hides may be the very id; once the window has passed it, reading goes on behind it.

use std::sync::Arc;

use super::window::{Seen, Window};
use crate::config::IsolationLevel;
use crate::engine::{Partition, Topic};
use crate::error::{ErrorKind, Result};
use crate::ids::Offset;
use crate::log::Cursor;
use crate::record::{Batch, BatchFault, ControlRecord, DEDUPLICATION_ID, PlainLimit};
use crate::time::Timestamp;

/// How much is read at once.
const BYTES: usize = 1 << 20;

/// How far a partition has been read.
#[derive(Debug)]
struct Followed {
    partition: Arc<Partition>,
    next: Offset,
    cursor: Option<Cursor>,
    falls: u64,
}

/// How far the partitions of a topic have been read.
#[derive(Debug)]
pub(super) struct Follower {
    partitions: Vec<Followed>,
    plain: PlainLimit,
}

impl Follower {
    pub(super) fn new(plain: PlainLimit) -> Self {
        Follower { partitions: Vec::new(), plain }
    }

    /// Whether a log is not any more what was read of it.
    pub(super) fn is_outdated(&self) -> Result<bool> {
        for followed in &self.partitions {
            if followed.partition.falls()? != followed.falls {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads every log to its end.
    pub(super) fn read(
        &mut self,
        topic: &Topic,
        window: &mut Window,
        now: Timestamp,
    ) -> Result<()> {
        for partition in topic.partitions().iter().skip(self.partitions.len()) {
            let falls = partition.falls()?;
            let next = first(partition, window.begin(now))?;
            let partition = partition.clone();
            self.partitions.push(Followed { partition, next, cursor: None, falls });
        }
        for followed in &mut self.partitions {
            followed.read(window, now, self.plain).map_err(|error| {
                error.at_partition(followed.partition.topic_name(), followed.partition.id())
            })?;
        }
        Ok(())
    }

    /// Steps over a record that was just appended and is known; `false` where others lie before it.
    pub(super) fn step_over(&mut self, seen: &Seen, end: Offset) -> bool {
        let Some(followed) = self.partitions.get_mut(seen.partition.index()) else { return false };
        if followed.next != seen.offset {
            return false;
        }
        followed.next = end;
        true
    }

    /// Whether a record still lies in its log.
    pub(super) fn holds(&self, seen: &Seen) -> Result<bool> {
        let Some(followed) = self.partitions.get(seen.partition.index()) else { return Ok(false) };
        Ok(seen.offset >= followed.partition.offsets()?.start)
    }
}

/// The offset before which nothing of the window lies: no record under an id within it is older by
/// its timestamp.
fn first(partition: &Partition, start: Timestamp) -> Result<Offset> {
    const ALL: IsolationLevel = IsolationLevel::ReadUncommitted;
    let offsets = partition.offsets()?; // before the search: what it does not find comes later
    Ok(partition.offset_at(start, ALL)?.unwrap_or_else(|| offsets.bound(ALL)))
}

impl Followed {
    fn read(&mut self, window: &mut Window, now: Timestamp, plain: PlainLimit) -> Result<()> {
        loop {
            let offsets = self.partition.offsets()?;
            self.next = self.next.max(offsets.start);
            if self.next >= offsets.end {
                return Ok(());
            }
            let fetched = match self.partition.fetch_all(self.next, self.cursor.as_ref(), BYTES) {
                Ok(fetched) => fetched,
                Err(error) if error.is_corrupt() || error.kind() == ErrorKind::OffsetOutOfRange => {
                    let first = first(&self.partition, window.begin(now))?;
                    if first <= self.next {
                        return Err(error);
                    }
                    (self.next, self.cursor) = (first, None);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(chunk) = &fetched.chunk {
                let mut bytes = &chunk.bytes[..];
                // a fetch returns whole, verified batches
                while let Ok(batch) = Batch::verify(bytes) {
                    bytes = &bytes[batch.header().size()..];
                    if let Err(fault) = self.take(&batch, window, now, plain) {
                        let (topic, id) = (self.partition.topic_name(), self.partition.id());
                        log::warn!("ids of a batch in {topic}-{id} that nobody can read: {fault}");
                    }
                }
            } else if fetched.next_offset <= self.next {
                return Ok(());
            }
            (self.next, self.cursor) = (fetched.next_offset, fetched.cursor);
        }
    }

    fn take(
        &self,
        batch: &Batch<'_>,
        window: &mut Window,
        now: Timestamp,
        plain: PlainLimit,
    ) -> Result<(), BatchFault> {
        let (header, partition) = (batch.header(), self.partition.id());
        if header.is_control() {
            let control = batch.control()?;
            if let Some(producer) = header.producer_id() {
                let committed = matches!(control, Some(ControlRecord::Commit { .. }));
                window.end((partition, producer), committed, now);
            }
            return Ok(());
        }
        let epoch = header.leader_epoch();
        let open = header.producer_id().filter(|_| header.is_transactional());
        let mut room = Vec::new();
        let batch = batch.unpacked(&mut room, plain)?;
        for record in batch.records()? {
            let record = record?;
            let mut headers = record.headers();
            let id = headers.find(|header| header.name() == DEDUPLICATION_ID);
            let Some(id) = id.and_then(|header| header.value()) else { continue };
            let Some(timestamp) = record.timestamp() else { continue };
            let offset = record.offset();
            window.note(id, Seen { partition, offset, epoch, timestamp, open }, now);
        }
        Ok(())
    }
}
