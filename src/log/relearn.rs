//! Knowing a log's producers again when it is opened: the newest snapshot, then the batches behind
//! it.
//!
//! | snapshots in the directory | the batches that recovery saw | from where batches are read |
//! | --- | --- | --- |
//! | a whole one | any | behind it |
//! | one above the recovery point of another hand that was stopped | any | as if there were none |
//! | broken ones alone | any | the log's start |
//! | none, another hand wrote last | any | the log's start |
//! | none, and there were producers | any | the log's start |
//! | none | some of a producer | the log's start |
//! | none | none of a producer | nothing is read |
//!
//! In the last row there are no producers: each recovery point of a log with any has its snapshot.
//! That there were some `tidelog.producers` says, a file made with the first snapshot: all of these
//! may be lost.
//!
//! Which transactions were aborted below the recovery point the `.txnindex` files say, and from it
//! on the log, which is read for that from an older snapshot where the newest lies above it. A file
//! that cannot be right has the log read from its segment on.
//!
//! A batch that cannot be read is stepped over; what can be read behind it counts even where only
//! who asks for its offset gets there: readers do. Nothing is written here but the removal of what
//! misleads; snapshots are made by the next checkpoint.

use std::collections::BTreeSet;
use std::ops::Range;

use super::claims::{Taken, Tracked, aborted_entry, limits_of};
use super::core::PartitionLog;
use super::keeper::LastStop;
use super::producers::ProducedBatch;
use super::snapshots::Newest;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::record::Batch;
use crate::segment::AbortedTransaction;
use crate::time::Timestamp;

/// What recovery has seen of producers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// A batch names one.
    pub(super) producers: bool,
    /// A file says that there were producers.
    pub(super) noted: bool,
    /// The segments with an index of aborted transactions.
    pub(super) indexed: BTreeSet<Offset>,
    /// Who wrote the log last, and how that ended.
    pub(super) last_stop: LastStop,
}

impl Seen {
    pub(super) fn new(last_stop: LastStop) -> Self {
        Seen { producers: false, noted: false, indexed: BTreeSet::new(), last_stop }
    }
}

/// Bytes that are looked through at a time.
const STRETCH: usize = 1 << 20;
/// The same right behind damage, which seldom comes alone.
const LEAST_STRETCH: usize = 4 << 10;

/// What is known of damage that was met.
struct Met {
    /// The next place behind it that an index or a digest names.
    named: Offset,
    /// Where it was met last: the segment, and the position in that.
    place: Option<(Offset, u64)>,
}

impl PartitionLog {
    /// Learns who its producers are, and what became of their transactions, before anything is
    /// appended.
    pub(super) fn relearn_producers(&self, seen: &Seen) -> Result<()> {
        let offsets = self.offsets.snapshot();
        let had_any = seen.noted || !self.snapshots.lock().is_empty();
        let foreign = !seen.last_stop.is_ours();
        if !(had_any || seen.producers || !seen.indexed.is_empty() || foreign) {
            return Ok(());
        }
        self.remove_snapshots_beyond(offsets.end)?;
        if seen.last_stop == LastStop::AnotherHand {
            self.forget_snapshots_above(offsets.recovery_point)?;
        }
        let told = self.read_aborted(&seen.indexed, foreign)?;
        // below it the files count, from it on the log alone; all count after another's clean close
        let point = match seen.last_stop {
            LastStop::AnotherHandClean => offsets.end,
            _ => offsets.recovery_point,
        };
        let from_log = point.min(told.first_bad().unwrap_or(offsets.end));
        // Kafka removes one at the start; we keep it where there is none above
        let lowest = if foreign { offsets.start.next() } else { offsets.start };
        // an older one may speak of a transaction whose marker compaction has taken
        let lowest = lowest.max(offsets.compacted);
        let snapshot = self.newest_snapshot(lowest)?;
        let before = match &snapshot {
            Some(Taken { at, .. }) if *at > from_log => {
                Some((self.snapshot_at_most(from_log, lowest)?, *at))
            }
            _ => None,
        };
        self.prune_snapshots(Newest::One);
        let mut aborted = Vec::new();
        if let Some((older, end)) = before.filter(|_| seen.producers || told.first_bad().is_some())
        {
            aborted = self.relearn_from(older, end)?.1; // what it leaves is the newer snapshot's
        }
        let (mut tracked, last) = self.relearn_from(snapshot, offsets.end)?;
        aborted.extend(last);
        aborted.retain(|entry| entry.last >= from_log);
        let told_below = told.by_segment.values().flatten();
        let all = told_below.filter(|entry| entry.last < from_log).copied().chain(aborted);
        self.take_aborted(all.collect(), &told);
        tracked.producers.high_watermark_moved(offsets.high_watermark());
        self.offsets.set_first_unstable(tracked.producers.first_unstable());
        if had_any || tracked.producers.len() > 0 {
            self.writer.lock().producers = Some(Box::new(tracked));
        }
        Ok(())
    }

    /// What a snapshot says and the batches behind it up to `end`: the producers, and the
    /// transactions that were aborted there. Without a snapshot, from the log's start.
    fn relearn_from(
        &self,
        snapshot: Option<Taken>,
        end: Offset,
    ) -> Result<(Tracked, Vec<AbortedTransaction>)> {
        let now = self.setup.clock.wall();
        let mut tracked = Tracked::new(limits_of(&self.config.load()));
        let mut from = self.offsets.snapshot().start;
        if let Some(Taken { at, recorded }) = snapshot {
            tracked.producers.load(&recorded, at, now);
            from = from.max(at);
        }
        let aborted = self.replay_producers(&mut tracked, from..end, now)?;
        Ok((tracked, aborted))
    }

    /// Takes in the batches in a range; takes snapshots where the last two segments begin. Returns
    /// the transactions that were aborted in it.
    pub(super) fn replay_producers(
        &self,
        tracked: &mut Tracked,
        Range { start: from, end }: Range<Offset>,
        now: Timestamp,
    ) -> Result<Vec<AbortedTransaction>> {
        let mut aborted = Vec::new();
        let segments = self.segments.load();
        let bases = segments.iter().rev().take(2).map(|segment| segment.base());
        let mut bases: Vec<_> = bases.filter(|base| *base > from).collect();
        let (mut next, mut cursor, mut stretch) = (from, None, STRETCH);
        let mut met = Met { named: from, place: None };
        while next < end {
            let fetched = match self.fetch_all(next, cursor.as_ref(), stretch) {
                Ok(fetched) => fetched,
                Err(error) if error.is_corrupt() => {
                    (next, cursor) = (self.look_behind(next, &error, &mut met)?, None);
                    stretch = LEAST_STRETCH;
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
                if batch.header().end_offset() <= from || base >= end {
                    continue; // a snapshot has it
                }
                if let Ok(Some(produced)) = ProducedBatch::of(&batch) {
                    let completed = tracked.producers.apply(&produced, now);
                    aborted.extend(completed.and_then(aborted_entry));
                }
            }
            if fetched.next_offset <= next {
                break;
            }
            (next, cursor) = (fetched.next_offset, fetched.cursor);
            stretch = STRETCH.min(stretch * 4);
        }
        Ok(aborted)
    }

    /// Where to look on behind a batch that cannot be read: at the next one, by the length that its
    /// header says, since readers may find that by its offset. Where no header leads on, at the
    /// next that is `named`, which lies behind the damage that was met before as well.
    ///
    /// No place is gone on from twice: a header that leads nowhere new has no other chance.
    fn look_behind(&self, damaged: Offset, error: &Error, met: &mut Met) -> Result<Offset> {
        if met.named <= damaged {
            met.named = self.resume_above(damaged)?.max(damaged.next());
        }
        let segments = self.segments.load();
        let count = segments.partition_point(|segment| segment.base() <= damaged);
        let segment = count.checked_sub(1).and_then(|at| segments.get(at));
        let segment = segment.filter(|segment| error.path() == Some(&*segment.path()));
        let Some((segment, position)) = segment.zip(error.position()) else {
            return Ok(met.named);
        };
        if met.place.replace((segment.base(), position)) == Some((segment.base(), position)) {
            return Ok(met.named);
        }
        let led = segment.led_behind(damaged, position)?;
        Ok(led.filter(|led| *led > damaged).map_or(met.named, |led| led.min(met.named)))
    }
}
