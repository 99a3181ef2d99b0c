//! Knowing a log's producers again when it is opened: the newest snapshot, then the batches behind
//! it.
//!
//! | snapshots in the directory | the batches that recovery saw | from where batches are read |
//! | --- | --- | --- |
//! | a whole one | any | behind it |
//! | broken ones alone | any | the log's start |
//! | none, another hand wrote last | any | the log's start |
//! | none | some of a producer | the log's start |
//! | none | none of a producer | nothing is read |
//!
//! In the last row there are no producers: each recovery point of a log with any has its snapshot.
//! A batch that cannot be read is stepped over like any damage. Nothing is written here but the
//! removal of what misleads; snapshots are made by the next checkpoint.

use super::claims::{Taken, Tracked, limits_of};
use super::core::PartitionLog;
use super::fetch::FetchLimits;
use super::producers::ProducedBatch;
use super::snapshots::Newest;
use crate::error::Result;
use crate::ids::Offset;
use crate::record::Batch;
use crate::time::Timestamp;

/// What recovery has seen of producers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// A batch, or an index of aborted transactions, names one.
    pub(super) producers: bool,
    /// Another hand wrote the log last.
    pub(super) foreign: bool,
}

/// Bytes that are looked through at a time.
const STRETCH: usize = 1 << 20;

impl PartitionLog {
    /// Learns who its producers are, before anything is appended.
    pub(super) fn relearn_producers(&self, seen: Seen) -> Result<()> {
        let offsets = self.offsets.snapshot();
        let had_any = !self.snapshots.lock().is_empty();
        if !(had_any || seen.producers || seen.foreign) {
            return Ok(());
        }
        self.remove_snapshots_beyond(offsets.end)?;
        let now = self.setup.clock.wall();
        // Kafka removes one at the start; we keep it where there is none above
        let lowest = if seen.foreign { offsets.start.next() } else { offsets.start };
        let snapshot = self.newest_snapshot(lowest)?;
        self.prune_snapshots(Newest::One);
        let mut tracked = Tracked::new(limits_of(&self.config.load()));
        let mut from = offsets.start;
        if let Some(Taken { at, recorded }) = snapshot {
            tracked.producers.load(&recorded, at, now);
            from = from.max(at);
        }
        self.replay_producers(&mut tracked, from, now)?;
        tracked.producers.high_watermark_moved(offsets.high_watermark());
        if had_any || tracked.producers.len() > 0 {
            self.writer.lock().producers = Some(Box::new(tracked));
        }
        Ok(())
    }

    /// Takes in the batches from `from` on; takes snapshots where the last two segments begin.
    pub(super) fn replay_producers(
        &self,
        tracked: &mut Tracked,
        from: Offset,
        now: Timestamp,
    ) -> Result<()> {
        let limits = FetchLimits { bytes: STRETCH, records: u64::MAX, durable_only: false };
        let end = self.offsets.end();
        let segments = self.segments.load();
        let bases = segments.iter().rev().take(2).map(|segment| segment.base());
        let mut bases: Vec<_> = bases.filter(|base| *base > from).collect();
        let (mut next, mut cursor) = (from, None);
        while next < end {
            let fetched = match self.fetch(next, cursor.as_ref(), limits) {
                Ok(fetched) => fetched,
                Err(error) if error.is_corrupt() => {
                    let resume = self.resume_above(next)?;
                    (next, cursor) = (resume.max(next.next()), None);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let chunk = fetched.chunk.iter().map(|chunk| &chunk.bytes[..]);
            let mut bytes = chunk.last().unwrap_or_default();
            while let Ok(batch) = Batch::verify(bytes) {
                bytes = &bytes[batch.header().size()..];
                let base = batch.header().base_offset();
                while bases.last().is_some_and(|wanted| *wanted <= base) {
                    bases.pop().into_iter().for_each(|base| tracked.take_snapshot(base));
                }
                if batch.header().end_offset() <= from {
                    continue; // the snapshot has it
                }
                if let Ok(Some(produced)) = ProducedBatch::of(&batch) {
                    tracked.producers.apply(&produced, now);
                }
            }
            if fetched.next_offset <= next {
                break;
            }
            (next, cursor) = (fetched.next_offset, fetched.cursor);
        }
        Ok(())
    }
}
