//! Putting a rewritten segment in the place of those it was made from: compaction's last step.
//!
//! All under the trim lock, one at a time; appends and reads are not held up, but for the swap of
//! the list. In order, each step durable before the next (`D` is a sync of the directory):
//!
//! | step | after a stop here the next open finds | and |
//! | --- | --- | --- |
//! | 1. the new files are whole and synced; D | `.cleaned` or nothing | removes it |
//! | 2. it is recorded what may be gone | the same | the same |
//! | 3. the files are renamed to `.swap`; D | some `.cleaned` | removes both kinds |
//! | | `.swap` alone | finishes |
//! | 4. readers get the new list, old files `.deleted`; D | `.swap`, old files or not | finishes |
//! | 5. the new files get their own names; D | `.swap` for some of them | finishes |
//! | 6. the `.deleted` files are unlinked | `.deleted` | removes them |
//!
//! Up to a `.cleaned` file the old segments stand; to finish is to remove what the `.swap` files
//! replace and to give them their names.
//!
//! `leftovers` is the other side of the table. From step 4 on there is no way back: a failure
//! there latches the log, reads go on with the new segments, and the next open finishes. The last
//! offset of what is replaced is the new segment's last too, so that what a `.swap` file replaces
//! can be told from the file. Old files are unlinked at once, without `file.delete.delay.ms`: a
//! reader that still has one looks again (`fetch`), and one in another process finds it gone.

use super::core::{Doomed, Files, PartitionLog};
use super::keeper::{Durable, Keeper, LogFact};
use crate::disk::names::{Leftover, SegmentFile, parse_segment_file};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::segment::{Rewrite, Rewritten, Segment};
use crate::sync::atomic::Ordering;
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// A segment that grows no more and lies below the recovery point.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    /// The next segment's base.
    pub(crate) end: Offset,
}

/// What became of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// It is done; the log has that many bytes less.
    Done { freed: u64 },
    /// The segments are not in the log any more, and nothing was changed.
    Overtaken,
}

impl PartitionLog {
    /// The segments that may be written again, oldest first: none that a sync and a recorded
    /// recovery point do not cover, and none at all of a log with damage, whose records may still
    /// be had by other means.
    pub(crate) fn sealed(&self) -> Vec<Sealed> {
        if self.damage.load().is_some() {
            return Vec::new();
        }
        let offsets = self.offsets.snapshot();
        let point = offsets.recovery_point.min(offsets.high_watermark());
        let segments = self.segments.load();
        let ends = segments.iter().skip(1).map(|next| next.base());
        let sealed = segments.iter().zip(ends).take_while(|(_, end)| *end <= point);
        sealed.map(|(segment, end)| Sealed { segment: segment.clone(), end }).collect()
    }

    /// How often its offsets have fallen, at a moment when nothing is being cut off.
    pub(crate) fn falls(&self) -> u64 {
        let _still = self.trimming.lock();
        self.offsets.falls()
    }

    /// Bytes of segments that compaction has been through wholly.
    pub(crate) fn compacted_size(&self) -> u64 {
        let compacted = self.offsets.compacted();
        let sealed = self.sealed().into_iter().take_while(|sealed| sealed.end <= compacted);
        sealed.map(|sealed| sealed.segment.published()).sum()
    }

    /// The timestamp of the active segment's first batch; `None` where it is empty.
    pub(crate) fn active_since(&self) -> Result<Option<Timestamp>> {
        let segments = self.segments.load();
        let Some(active) = segments.last().filter(|active| active.published() > 0) else {
            return Ok(None);
        };
        let first = active.first_batch_timestamp().map_err(|error| self.named(error))?;
        Ok(first.map(Timestamp::from_millis))
    }

    /// Ends the active segment, so that a checkpoint can seal it and compaction reach it.
    pub(crate) fn roll_active(&self, now: Timestamp) -> Result<()> {
        let mut writer = self.writer.lock();
        self.check_healthy("roll")?;
        if writer.tail.as_ref().is_none_or(|tail| tail.is_empty()) {
            return Ok(());
        }
        self.roll(&mut writer, now).map_err(|error| self.named(error))
    }

    /// Begins a segment that is to take the place of others, the first of which begins at `base`.
    pub(crate) fn begin_rewrite(&self, base: Offset) -> Result<Rewrite> {
        // a deleted topic's directory may already be another's
        let _not_retired = self.trimming.lock();
        self.check_healthy("compact")?;
        Rewrite::create(self.place.clone(), base).map_err(|error| self.named(error))
    }

    /// Puts `new` in the place of `old`. Records below `compacted` may be gone from it.
    ///
    /// Where it fails before readers see it, its files are removed and the log is as before.
    pub(crate) fn swap_in(
        &self,
        old: &[Arc<Segment>],
        new: &Rewritten,
        compacted: Offset,
        keeper: &dyn Keeper,
    ) -> Result<Swapped> {
        let now = self.setup.clock.monotonic(); // the host's code: under no lock
        let mut doomed = self.trimming.lock();
        let readied = self.check_healthy("compact").and_then(|()| {
            if !self.holds_run(old) {
                return Ok(false);
            }
            self.ready_to_swap(new, compacted, keeper).map(|()| true)
        });
        if !matches!(readied, Ok(true)) {
            self.take_back(new)?;
        }
        if !readied.map_err(|error| self.named(error))? {
            return Ok(Swapped::Overtaken);
        }
        let freed = self.show_swapped(old, new);
        if let Err(error) = self.settle_names(&mut doomed, now, old, new) {
            self.latch.trip(&error);
            return Err(self.named(error));
        }
        drop(doomed);
        if let (_, Err(error)) = self.unlink_dropped(false) {
            log::warn!("{error}");
        }
        Ok(Swapped::Done { freed })
    }

    /// Whether the segments lie in the log, one behind the other.
    fn holds_run(&self, run: &[Arc<Segment>]) -> bool {
        let segments = self.segments.load();
        segments
            .windows(run.len().max(1))
            .any(|window| window.iter().zip(run).all(|(one, other)| Arc::ptr_eq(one, other)))
    }

    /// Steps 1 to 3: until a file is called `.swap`, all of it can be taken back.
    fn ready_to_swap(&self, new: &Rewritten, compacted: Offset, keeper: &dyn Keeper) -> Result<()> {
        self.sync_directory()?;
        let offsets = self.offsets.snapshot();
        let compacted = compacted.max(offsets.compacted);
        // the recovery point too: it may have been recorded without a sync, and below it alone
        // may anything be missing
        let facts = [
            (self.setup.id, LogFact::RecoveryPoint(offsets.recovery_point)),
            (self.setup.id, LogFact::Compacted(compacted)),
        ];
        keeper.record(&facts, Durable::Now)?;
        self.offsets.set_compacted(compacted);
        new.rename_to_swap()?;
        self.sync_directory()
    }

    /// Takes back what was readied. If it cannot be, the next open may take it for finished: the
    /// log, which goes on without it, must not go on.
    fn take_back(&self, new: &Rewritten) -> Result<()> {
        new.discard().map_err(|error| {
            self.latch.trip(&error);
            self.named(error)
        })
    }

    /// Step 4, for readers: list, then counter, then flags; whoever saw the old list knows.
    fn show_swapped(&self, old: &[Arc<Segment>], new: &Rewritten) -> u64 {
        let segment = new.segment();
        let before: u64 = old.iter().map(|segment| segment.published()).sum();
        let mut no_roll = self.writer.lock();
        let is_old = |known: &Arc<Segment>| old.iter().any(|gone| Arc::ptr_eq(gone, known));
        let mut list = Vec::clone(&self.segments.load());
        let at = list.iter().position(is_old).unwrap_or(0);
        list.retain(|known| !is_old(known));
        list.insert(at, segment);
        self.segments.store(Arc::new(list));
        self.swaps.fetch_add(2, Ordering::AcqRel);
        self.replace_aborted(old, new, at);
        let freed = before.saturating_sub(new.len());
        no_roll.freed += freed;
        drop(no_roll);
        old.iter().for_each(|segment| segment.set_replaced());
        self.counters.compactions.add(1);
        self.counters.compacted_bytes.add(freed);
        freed
    }

    /// What became of transactions whose data has gone, nobody asks any more. After the counter: a
    /// reader that still has the old segments looks again.
    fn replace_aborted(&self, old: &[Arc<Segment>], new: &Rewritten, at: usize) {
        let Some(base) = old.first().map(|first| first.base()) else { return };
        let next = self.segments.load().get(at + 1).map(|next| next.base());
        let end = next.unwrap_or(self.offsets.end());
        self.aborted.write().replace(&(base..end), new.aborted());
        self.indexes_were_replaced();
    }

    /// Steps 4 and 5, for the directory.
    fn settle_names(
        &self,
        doomed: &mut Vec<Doomed>,
        due: Duration,
        old: &[Arc<Segment>],
        new: &Rewritten,
    ) -> Result<()> {
        for segment in old {
            let paths = segment.rename_deleted()?;
            doomed.push(Doomed { files: Files::Renamed(paths), due });
        }
        if let [first, .., last] = old {
            for empty in self.unlisted_empty(first.base().next(), last.base())? {
                let paths = empty.rename_deleted()?;
                doomed.push(Doomed { files: Files::Renamed(paths), due });
            }
        }
        self.sync_directory()?;
        new.rename_in_place()?;
        let segments = self.segments.load();
        let own = old.first().map(|first| first.base());
        if let Some(segment) = segments.iter().find(|segment| Some(segment.base()) == own) {
            segment.indexes_are_in_place();
        }
        self.sync_directory()
    }

    /// The empty segments from one offset to another that opening left out of the list: Kafka's
    /// cleaner leaves such files between others, where a reader steps over them. In the middle of a
    /// segment they would hide the rest of it from Kafka, which looks for an offset by names alone.
    pub(super) fn unlisted_empty(&self, from: Offset, to: Offset) -> Result<Vec<Segment>> {
        let dir = &*self.place.dir;
        let entries = self.place.disk.list(dir);
        let entries = entries.map_err(|error| Error::io("list segments", dir, error))?;
        let listed = self.segments.load();
        let bases = entries.iter().filter(|entry| entry.len == 0 && !entry.is_dir);
        let bases = bases.filter_map(|entry| match parse_segment_file(&entry.name) {
            Some((base, SegmentFile::Log, Leftover::None)) => Some(base),
            _ => None,
        });
        let unlisted = bases
            .filter(|base| (from..=to).contains(base))
            .filter(|base| listed.iter().all(|segment| segment.base() != *base));
        Ok(unlisted.map(|base| Segment::on_disk(self.place.clone(), base, 0)).collect())
    }

    /// A directory that could not be synced is never trusted to have been by a later sync.
    fn sync_directory(&self) -> Result<()> {
        let dir = &*self.place.dir;
        self.place.disk.sync_dir(dir).map_err(|error| {
            let error = Error::io("sync directory", dir, error);
            self.latch.trip(&error);
            error
        })
    }
}
