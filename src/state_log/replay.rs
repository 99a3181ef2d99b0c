//! Reading a state log from its start: what a fold sees, in the order in which it took effect.
//!
//! Kafka's coordinators also write within transactions: such records are kept back until their
//! producer's marker, then handed out or dropped. What cannot be read is stepped over, counted and
//! logged: losing one group's newest offset makes it read some records again, refusing to open
//! would lose everybody's. A partition that cannot be read at all is the caller's to decide on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StateLog;
use crate::engine::Partition;
use crate::error::{Error, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::{Cursor, FetchLimits};
use crate::record::{Batch, BatchFault, BatchHeader, ControlRecord};

/// One record of the state, as the fold sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replayed<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
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
}

/// A record that waits for its transaction's end.
struct Kept {
    offset: Offset,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// How much is read at once.
const LIMITS: FetchLimits = FetchLimits { bytes: 1 << 20, records: u64::MAX, durable_only: false };

impl StateLog {
    /// Hands out every record of every partition, each partition in order.
    pub(crate) fn replay(&self, mut fold: impl FnMut(Replayed<'_>)) -> Result<Skipped> {
        let mut skipped = Skipped::default();
        for partition in self.partitions()? {
            let mut replay = Replay {
                partition: &partition,
                pending: BTreeMap::new(),
                places: 0,
                fold: &mut fold,
            };
            let read = replay.run();
            skipped.places += replay.places;
            if let Err(error) = read {
                log::error!("the state in {}-{} is lost: {error}", self.name, partition.id());
                skipped.unread.insert(partition.id(), error);
            }
        }
        Ok(skipped)
    }
}

struct Replay<'a, F> {
    partition: &'a Arc<Partition>,
    /// By producer id.
    pending: BTreeMap<i64, Vec<Kept>>,
    places: u64,
    fold: &'a mut F,
}

impl<F: FnMut(Replayed<'_>)> Replay<'_, F> {
    fn run(&mut self) -> Result<()> {
        let mut from = self.partition.offsets()?.start;
        let mut cursor: Option<Cursor> = None;
        loop {
            let fetched = match self.partition.fetch(from, cursor.as_ref(), LIMITS) {
                Ok(fetched) => fetched,
                Err(error) if error.is_corrupt() => {
                    let resumed = self.partition.resume_above(from)?;
                    self.skip(&error);
                    if resumed <= from {
                        return Ok(());
                    }
                    (from, cursor) = (resumed, None);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(chunk) = fetched.chunk else { return Ok(()) };
            let mut bytes = &chunk.bytes[..];
            while !bytes.is_empty() {
                // a fetch returns whole, verified batches
                let Ok(batch) = Batch::verify(bytes) else { break };
                bytes = &bytes[batch.header().size()..];
                if let Err(fault) = self.take(&batch) {
                    self.skip(&fault);
                }
            }
            (from, cursor) = (fetched.next_offset, fetched.cursor);
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
            let kept = producer.and_then(|producer| self.pending.remove(&producer));
            if let Some(ControlRecord::Commit { .. }) = batch.control()? {
                for record in kept.into_iter().flatten() {
                    self.hand_out(record.offset, record.key.as_deref(), record.value.as_deref());
                }
            }
            return Ok(());
        }
        batch.check_records()?;
        for record in batch.records()? {
            let record = record?;
            match producer.filter(|_| header.is_transactional()) {
                Some(producer) => self.pending.entry(producer).or_default().push(Kept {
                    offset: record.offset(),
                    key: record.key().map(<[u8]>::to_vec),
                    value: record.value().map(<[u8]>::to_vec),
                }),
                None => self.hand_out(record.offset(), record.key(), record.value()),
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, offset: Offset, key: Option<&[u8]>, value: Option<&[u8]>) {
        (self.fold)(Replayed { partition: self.partition.id(), offset, key, value });
    }
}
