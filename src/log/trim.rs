//! Letting go of old records: raising the log start, dropping segments, unlinking their files.
//!
//! The order is the crash story: the data up to the new start is synced, the start is recorded and
//! durable, then segments leave the list, then their files get a `.deleted` name, and only after
//! `file.delete.delay.ms` are they unlinked. A crash in between leaves files that the next open
//! finds below the recorded start, or under a `.deleted` name, and removes. Readers that hold a
//! dropped segment or a view of it go on reading it.
//!
//! All under the trim lock, one at a time; appends and reads are not held up.

use super::core::{Doomed, Files, PartitionLog};
use super::keeper::{Durable, Keeper, LogFact};
use super::retain::{CappedHold, Retention, RetentionLimits, RetentionPlan, SegmentFacts, plan};
use super::snapshots::Newest;
use crate::config::IsolationLevel;
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;
use crate::segment::Segment;
use crate::sync::atomic::Ordering;
use crate::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What left the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
}

impl PartitionLog {
    /// What retention would remove now; `hold` is the lowest offset someone still needs, `capped`
    /// those that are needed up to a point.
    pub(crate) fn plan_retention(
        &self,
        now: Timestamp,
        hold: Option<Offset>,
        capped: &[CappedHold],
    ) -> Result<Retention> {
        let config = self.config.load();
        let swaps = self.swaps.load(Ordering::Acquire); // before the segments
        let offsets = self.offsets.snapshot();
        let limits = RetentionLimits {
            age: config.retention.filter(|_| config.cleanup_policy.deletes()),
            bytes: config.retention_bytes.filter(|_| config.cleanup_policy.deletes()),
            log_start: offsets.start,
            high_watermark: offsets.high_watermark(),
            hold,
            swaps,
        };
        let with_age = limits.age.is_some() || capped.iter().any(|hold| hold.cap.age.is_some());
        let facts = self.segment_facts(with_age)?;
        Ok(plan(&facts, now, &limits, capped))
    }

    /// The segments as retention sees them, oldest first. Timestamps are looked up only for age.
    pub(crate) fn segment_facts(&self, with_age: bool) -> Result<Vec<SegmentFacts>> {
        let end = self.offsets.end();
        let segments = self.segments.load_full();
        let ends = segments.iter().skip(1).map(|segment| segment.base()).chain([end]);
        segments
            .iter()
            .zip(ends)
            .map(|(segment, end)| {
                let newest = if with_age { newest(segment)? } else { Timestamp::from_millis(0) };
                Ok(SegmentFacts { end, bytes: segment.published(), newest })
            })
            .collect::<Result<_>>()
            .map_err(|error| self.named(error))
    }

    /// Raises the log start to `offset`, which may lie within a batch. Returns once the new start
    /// is durable; whole segments below it are dropped then, or by the next open where a sync of
    /// what lies above has failed meanwhile: that undoes nothing, so it is no failure of this.
    pub(crate) fn delete_records_before(
        &self,
        offset: Offset,
        keeper: &dyn Keeper,
    ) -> Result<Dropped> {
        let now = self.setup.clock.monotonic(); // the host's code: under no lock
        let mut doomed = self.trimming.lock();
        let offsets = self.offsets.snapshot();
        if offset > offsets.high_watermark() || offset < Offset::ZERO {
            return Err(self.out_of_range("delete records", offset));
        }
        if offset <= offsets.start {
            return Ok(Dropped::default());
        }
        self.raise_start(offset, keeper)?;
        if let Err(error) = self.check_healthy("drop segments") {
            log::warn!("{error}");
            return Ok(Dropped::default());
        }
        self.drop_below_start(&mut doomed, now)
    }

    /// Carries out a retention plan; rolls first if the active segment goes too. One that was made
    /// before a truncation, a reopening or a compaction says nothing of what is there now: the next
    /// run looks again.
    pub(crate) fn apply_retention(
        &self,
        plan: &RetentionPlan,
        keeper: &dyn Keeper,
        now: Timestamp,
    ) -> Result<Dropped> {
        let monotonic = self.setup.clock.monotonic();
        let mut doomed = self.trimming.lock();
        if plan.swaps != self.swaps.load(Ordering::Acquire) {
            return Ok(Dropped::default());
        }
        if plan.takes_active && !self.roll_empty(plan.log_start, now)? {
            // something was appended meanwhile: the next run looks again
            return Ok(Dropped::default());
        }
        if plan.log_start > self.offsets.start() {
            self.raise_start(plan.log_start, keeper)?;
        }
        self.drop_below_start(&mut doomed, monotonic)
    }

    /// Rolls an empty segment at the end, unless the end has moved from where the plan saw it.
    fn roll_empty(&self, end: Offset, now: Timestamp) -> Result<bool> {
        let mut writer = self.writer.lock();
        if writer.next_offset != end || writer.tail.is_none() {
            return Ok(false);
        }
        self.roll(&mut writer, now).map_err(|error| self.named(error))?;
        Ok(true)
    }

    /// Drops the oldest segment, rolling first if it is the active one. Nothing is dropped where
    /// a hold, a capped one within its cap, the high watermark or an open transaction keeps it:
    /// then the error says what does.
    pub(crate) fn drop_oldest(
        &self,
        hold: Option<(&str, Offset)>,
        capped: &[CappedHold],
        keeper: &dyn Keeper,
        now: Timestamp,
    ) -> Result<Dropped> {
        let monotonic = self.setup.clock.monotonic();
        let mut doomed = self.trimming.lock();
        let facts = self.segment_facts(capped.iter().any(|hold| hold.cap.age.is_some()))?;
        let Some(oldest) = facts.first().filter(|oldest| oldest.bytes > 0) else {
            return Ok(Dropped::default());
        };
        if let Some((name, offset)) = hold
            && offset < oldest.end
        {
            return Err(self.full(format!("`{name}` holds the records from offset {offset} on")));
        }
        let replicated = self.offsets.snapshot().high_watermark();
        if replicated < oldest.end {
            return Err(
                self.full(format!("the high watermark keeps the records from {replicated} on"))
            );
        }
        // else the end of a transaction would show a part of it
        let stable = self.offsets.snapshot().bound(IsolationLevel::ReadCommitted);
        if stable < oldest.end {
            let text = format!("a transaction that is open keeps the records from {stable} on");
            return Err(self.full(text));
        }
        let total = facts.iter().map(|segment| segment.bytes).sum();
        if let Some(hold) = capped.iter().find(|hold| hold.keeps(oldest, total, now)) {
            let CappedHold { holder, offset, cap } = hold;
            let text = format!("the records from {offset} on are kept for group `{holder}`");
            return Err(self.full(format!("{text}, up to {cap}")));
        }
        if facts.len() == 1 && !self.roll_empty(oldest.end, now)? {
            return Ok(Dropped::default());
        }
        if oldest.end > self.offsets.start() {
            self.raise_start(oldest.end, keeper)?;
        }
        self.drop_below_start(&mut doomed, monotonic)
    }

    /// No durable fact may refer to data that is not durable: sync first, then record. A full disk
    /// may have no room for what a checkpoint writes; it must not keep what would free some.
    fn raise_start(&self, start: Offset, keeper: &dyn Keeper) -> Result<()> {
        let point = match self.checkpoint() {
            Err(error) if error.is_full() => {
                if self.offsets.synced() < start {
                    self.sync_segments()?; // the journal skips what lies below a log start
                }
                self.offsets.snapshot().recovery_point
            }
            point => point?,
        };
        let facts = [
            (self.setup.id, LogFact::RecoveryPoint(point)),
            (self.setup.id, LogFact::LogStart(start)),
        ];
        keeper.record(&facts, Durable::Now).map_err(|error| self.named(error))?;
        self.recovery_point_recorded(point);
        self.offsets.set_start(start);
        self.epochs.lock().truncate_from_start(start);
        Ok(())
    }

    /// Drops what a stop between the record of a new start and the dropping has left.
    pub(crate) fn drop_unreachable(&self) -> Result<Dropped> {
        let now = self.setup.clock.monotonic();
        self.drop_below_start(&mut self.trimming.lock(), now)
    }

    /// Drops the segments that lie wholly below the start; the active one never does. Once they
    /// have left the list they are gone, whatever becomes of their files: those that cannot be
    /// renamed now are renamed when they should be unlinked.
    fn drop_below_start(&self, doomed: &mut Vec<Doomed>, now: Duration) -> Result<Dropped> {
        self.check_healthy("drop segments")?;
        let start = self.offsets.snapshot().start;
        let dropped = {
            let mut writer = self.writer.lock();
            let list = self.segments.load_full();
            let keep_from = list.iter().skip(1).take_while(|next| next.base() <= start).count();
            if keep_from == 0 {
                return Ok(Dropped::default());
            }
            let dropped = list[..keep_from].to_vec();
            writer.rolled.retain(|rolled| !dropped.iter().any(|gone| Arc::ptr_eq(gone, rolled)));
            self.segments.store(Arc::new(list[keep_from..].to_vec()));
            writer.freed += dropped.iter().map(|segment| segment.published()).sum::<u64>();
            dropped
        };
        if let Some(first) = self.first_base() {
            self.aborted.write().drop_below(first);
        }
        let gone = Dropped {
            segments: dropped.len(),
            bytes: dropped.iter().map(|segment| segment.published()).sum(),
        };
        let due = now + self.config.load().file_delete_delay;
        self.prune_snapshots(Newest::Two);
        for segment in dropped {
            self.counters.dropped_segments.add(1);
            let mut gone = Doomed { files: Files::Standing(segment), due };
            if let Err(error) = gone.rename() {
                log::warn!("{}", self.named(error));
            }
            doomed.push(gone);
        }
        Ok(gone)
    }

    /// Unlinks what is due, or everything; returns when the next is due on the monotonic clock,
    /// and the first failure. What cannot be unlinked is due again one delay later.
    pub(crate) fn unlink_dropped(&self, all: bool) -> (Option<Duration>, Result<()>) {
        const SHORTEST_DELAY: Duration = Duration::from_secs(1);
        let now = self.setup.clock.monotonic();
        let mut doomed = self.trimming.lock();
        let again = now + self.config.load().file_delete_delay.max(SHORTEST_DELAY);
        let mut failed = None;
        doomed.retain_mut(|gone| {
            if !all && gone.due > now {
                return true;
            }
            let removed = gone.rename().and_then(|paths| self.remove_files(paths));
            gone.due = again;
            match removed {
                Ok(()) => false,
                Err(error) => {
                    failed.get_or_insert(error);
                    true
                }
            }
        });
        let next = doomed.iter().map(|gone| gone.due).min();
        (next, failed.map_or(Ok(()), |error| Err(self.named(error))))
    }

    /// When the next dropped files may be unlinked, on the monotonic clock.
    pub(crate) fn next_unlink(&self) -> Option<Duration> {
        self.trimming.lock().iter().map(|gone| gone.due).min()
    }

    fn remove_files(&self, paths: &[PathBuf]) -> Result<()> {
        let mut failed = None;
        for path in paths {
            if let Err(error) = self.place.disk.remove_file(path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                failed.get_or_insert(Error::io("remove segment", path, error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The error of an append for which `max_bytes` has no room.
    pub(crate) fn full(&self, what: String) -> Error {
        self.named(Error::new("append", Cause::Full(what)))
    }
}

impl Doomed {
    /// Gives the files their `.deleted` names, if they do not have them yet; returns those.
    pub(super) fn rename(&mut self) -> Result<&[PathBuf]> {
        if let Files::Standing(segment) = &self.files {
            self.files = Files::Renamed(segment.rename_deleted()?);
        }
        match &self.files {
            Files::Renamed(paths) => Ok(paths),
            Files::Standing(_) => Ok(&[]),
        }
    }
}

/// The newest record of a segment: its largest timestamp, or when its file last changed.
fn newest(segment: &Segment) -> Result<Timestamp> {
    if let Some(largest) = segment.largest_timestamp()? {
        return Ok(Timestamp::from_millis(largest));
    }
    let path = segment.path();
    let metadata = segment
        .place()
        .disk
        .metadata(&path)
        .map_err(|error| Error::io("look at segment", &path, error))?;
    Ok(metadata.map_or(Timestamp::from_millis(0), |metadata| metadata.modified))
}
