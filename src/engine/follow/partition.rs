//! One followed partition: its log, and when that was looked at.
//!
//! Whoever asks for offsets looks first, if the last look is older than the interval. A partition
//! that is waited for (its signal has armed links) is on the follower's list; asking for its
//! offsets after arming puts it there, so no wait goes unwatched.

use std::sync::Arc;

use super::follower::{Follower, LookedAt};
use crate::config::IsolationLevel;
use crate::error::Result;
use crate::ids::{LeaderEpoch, Offset};
use crate::log::{
    Cursor, FetchLimits, Fetched, FollowedLog, FoundOffset, OffsetSnapshot, OffsetSpec,
};
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::wait::Signal;

/// One partition, followed.
#[derive(Debug)]
pub(crate) struct FollowedPartition {
    log: FollowedLog,
    follower: Arc<Follower>,
    signal: Arc<Signal>,
    looked: LookedAt,
    watched: AtomicBool,
}

impl FollowedPartition {
    pub(super) fn new(log: FollowedLog, follower: Arc<Follower>) -> Arc<Self> {
        Arc::new(FollowedPartition {
            log,
            follower,
            signal: Arc::new(Signal::new()),
            looked: LookedAt::default(),
            watched: AtomicBool::new(false),
        })
    }

    pub(in crate::engine) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// The log, looked at lately.
    pub(crate) fn log(&self) -> Result<&FollowedLog> {
        if self.looked.is_due(self.follower.now(), self.follower.interval()) {
            self.look()?;
        }
        Ok(&self.log)
    }

    /// Looks now; those who wait are told of what is new.
    pub(in crate::engine) fn look(&self) -> Result<()> {
        let now = self.follower.now();
        let changed = self.log.look(now)?;
        self.looked.set(now);
        if changed {
            self.signal.notify();
        }
        Ok(())
    }

    pub(crate) fn offsets(self: &Arc<Self>) -> Result<OffsetSnapshot> {
        self.watch();
        Ok(self.log()?.offsets())
    }

    pub(crate) fn fetch(
        &self,
        from: Offset,
        cursor: Option<&Cursor>,
        limits: FetchLimits,
    ) -> Result<Fetched> {
        self.log()?.fetch(from, cursor, limits, self.follower.now())
    }

    pub(crate) fn find_offset(
        &self,
        wanted: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Result<Option<FoundOffset>> {
        self.log()?.find_offset((wanted, isolation), self.follower.now())
    }

    /// By the view of the last look, as the fetch before it used: what that returned is judged.
    pub(crate) fn check_epoch(
        &self,
        operation: &'static str,
        offset: Offset,
        epoch: LeaderEpoch,
    ) -> Result<()> {
        self.log()?.check_epoch(operation, offset, epoch)
    }

    /// The epoch of the record before `offset`, where one is seen.
    pub(crate) fn epoch_before(&self, offset: Offset) -> Result<Option<LeaderEpoch>> {
        Ok(self.log()?.epoch_before(offset))
    }

    pub(crate) fn resume_above(&self, offset: Offset) -> Result<Offset> {
        self.log()?.resume_above(offset, self.follower.now())
    }

    pub(in crate::engine) fn note_reads(&self, records: u64) {
        self.log.counters().fetched.records.add(records);
    }

    /// Called by whoever is about to wait, after the signal was armed.
    fn watch(self: &Arc<Self>) {
        if !self.watched.load(Ordering::Relaxed) && !self.watched.swap(true, Ordering::AcqRel) {
            self.follower.watch(Arc::downgrade(self));
        }
    }

    /// The timer's look; those who wait are told of an error too, which they meet themselves.
    pub(super) fn look_for_waiters(&self) {
        if self.signal.armed_count() > 0
            && let Err(error) = self.look()
        {
            log::debug!("{error}");
            self.signal.notify();
        }
    }

    /// Whether the timer goes on looking; if not, the next one to wait puts it on the list.
    pub(super) fn is_still_watched(&self) -> bool {
        if self.signal.armed_count() > 0 {
            return true;
        }
        self.watched.store(false, Ordering::Relaxed);
        // arming stores, fences and then loads `watched`: one of both sees the other's store
        fence(Ordering::SeqCst);
        self.signal.armed_count() > 0 && !self.watched.swap(true, Ordering::AcqRel)
    }
}
