//! Bringing a poisoned log back without closing it.
//!
//! Recovery runs over the directory as an open would run it after a known sync error: what lies
//! above the recovery point is copied to fresh files, which are synced before they take the old
//! ones' names, because the old ones' pages may be clean in memory and lost on the disk. Then the
//! segments change places under the readers, who go on with what they hold, and the latch is
//! lifted. Where recovery fails, or has less than was durable, the log stays as it was: poisoned.
//!
//! Called by the engine, which has drawn a new epoch: an offset may come to mean another record
//! only under another epoch. A log that its host leads asks that for a higher one. Under the trim
//! lock and the turn; appends fail meanwhile.

use super::core::{Lead, PartitionLog, Refusal, Writer};
use super::keeper::{KnownFacts, LastStop};
use super::offsets::Offsets;
use super::report::PartitionReport;
use crate::error::{Cause, Error, Result};
use crate::ids::LeaderEpoch;
use crate::sync::atomic::Ordering;

impl PartitionLog {
    /// Recovers a poisoned log in place; `None` if it is not poisoned. All of it is durable then.
    /// Blocks for reading and writing what lies above the recovery point. What is appended from
    /// now on has `epoch`, if the log leads itself.
    ///
    /// # Errors
    /// Those of the disk; damaged where records that were durable are not there.
    pub(crate) fn reopen(&self, epoch: Option<LeaderEpoch>) -> Result<Option<PartitionReport>> {
        let mut doomed = self.trimming.lock();
        let _turn = self.commit.take();
        if !self.latch.is_tripped() {
            return Ok(None);
        }
        self.end_tail()?;
        for gone in doomed.iter_mut() {
            if let Err(error) = gone.rename() {
                log::debug!("{error}"); // below the log start: recovery removes it
            }
        }
        let mut setup = self.setup.clone();
        setup.config = self.config();
        let offsets = self.offsets.snapshot();
        let known = KnownFacts {
            recovery_point: offsets.recovery_point,
            log_start: self.offsets.recorded_start(),
            last_stop: LastStop::KilledSameBoot,
            adopted: !self.gapless,
            ours_from: None,
            compacted: offsets.compacted,
            sparse: offsets.sparse,
            host_led: offsets.set_watermark,
            sync_failed: true,
        };
        let (fresh, report) = PartitionLog::open(&self.place.disk, &self.place.dir, setup, known)?;
        let end = fresh.offsets.end();
        if end < offsets.durable {
            let missing = format!("the records from offset {end} to {} are gone", offsets.durable);
            let error = Error::corrupt("reopen log", &self.place.dir, 0, missing);
            return Err(self.named(error.at_offset(end)));
        }
        doomed.clear(); // recovery has removed them
        self.take_over(fresh, epoch)?;
        Ok(Some(report))
    }

    /// Gives up the writer's side of the active segment. A log that was closed stays so.
    fn end_tail(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        if matches!(writer.refuses, Some(Refusal::Closed)) {
            return Err(self.named(Error::new("reopen log", Cause::Closed("the log"))));
        }
        drop(writer.tail.take());
        Ok(())
    }

    /// Puts what recovery has made in the place of what there was.
    fn take_over(&self, fresh: PartitionLog, epoch: Option<LeaderEpoch>) -> Result<()> {
        let mut writer = self.writer.lock();
        if matches!(writer.refuses, Some(Refusal::Closed)) {
            return Err(self.named(Error::new("reopen log", Cause::Closed("the log"))));
        }
        if writer.lead != Lead::Itself {
            // what was lost may have been led under the latest epoch: it names no other records
            let latest = self.epochs.lock().latest().map_or(-1, LeaderEpoch::get);
            let next = latest.max(writer.epoch.get()).saturating_add(1);
            writer.epoch = LeaderEpoch::new(next);
        }
        let found = fresh.offsets.snapshot();
        let reopened = |offsets: &Offsets| offsets.reopened(found.start, found.end);
        self.put_in_place(&mut writer, fresh, epoch, reopened);
        self.names_changed.store(true, Ordering::Release);
        self.own_name_changed.store(true, Ordering::Release);
        self.latch.lift();
        Ok(())
    }

    /// The same under the writer lock; `move_offsets` says where the log ends now. For readers: the
    /// list of segments, then the counter, then the flags.
    pub(super) fn put_in_place(
        &self,
        writer: &mut Writer,
        fresh: PartitionLog,
        epoch: Option<LeaderEpoch>,
        move_offsets: impl FnOnce(&Offsets),
    ) {
        let after = fresh.size().0;
        let mut new = fresh.writer.into_inner();
        (new.epoch, new.epoch_entered) = (epoch.unwrap_or(writer.epoch), false);
        new.heed(&self.config.load()); // it may have changed since recovery began
        let old = self.segments.load_full();
        (new.count, new.announces) = (writer.count, writer.announces);
        new.freed = writer.freed + self.size().0.saturating_sub(after);
        let undecided = fresh.offsets.snapshot().first_unstable;
        let before = self.offsets.snapshot().first_unstable;
        // nothing is shown on the way that one of both does not show: who has the old segments
        // still is not to see what was aborted in them
        self.offsets.set_first_unstable(before.into_iter().chain(undecided).min());
        let fresh_aborted = fresh.aborted.into_inner();
        self.aborted.write().add_all(&fresh_aborted);
        self.has_aborted.store(true, Ordering::Release); // readers are to look at the list
        *self.aborted_files.lock() = fresh.aborted_files.into_inner();
        move_offsets(&self.offsets);
        self.offsets.set_first_unstable(undecided);
        *writer = new;
        *self.snapshots.lock() = fresh.snapshots.into_inner();
        *self.epochs.lock() = fresh.epochs.into_inner();
        *self.beside.lock() = None; // of what was there before
        *self.unproven.lock() = fresh.unproven.into_inner();
        *self.covered.lock() = fresh.covered.into_inner();
        *self.bare.lock() = fresh.bare.into_inner();
        self.damage.store(fresh.damage.load_full());
        self.segments.store(fresh.segments.load_full());
        self.swaps.fetch_add(2, Ordering::AcqRel);
        self.has_aborted.store(!fresh_aborted.is_empty(), Ordering::Release);
        *self.aborted.write() = fresh_aborted;
        for segment in old.iter() {
            segment.set_replaced();
            segment.settle();
        }
        let appended = self.counters.appended_bytes();
        self.synced_bytes.store(appended, Ordering::Relaxed);
        self.marks.sync_ended(appended);
    }
}
