//! `max_bytes`: how many published bytes a topic, or the whole store, may hold.
//!
//! Bytes are reserved before an append and given back if it fails, or when segments leave their
//! log. Without a limit nothing is counted, so that appends of different partitions share no
//! number; a limit that is set later starts from the sizes of the logs. What happens when there is
//! no room is the caller's: `room` carries `WhenFull` out.

use std::sync::Arc;
use std::time::Instant;

use crate::config::WhenFull;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::wait::{Signal, WaitSet, Woken};

/// No limit is set.
const UNLIMITED: u64 = u64::MAX;

/// Bytes in use and bytes allowed.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    limit: AtomicU64,
    when_full: Mutex<WhenFull>,
    /// Told when bytes are given back.
    freed: Arc<Signal>,
}

impl Budget {
    pub(super) fn new(limit: Option<u64>, when_full: WhenFull) -> Self {
        Budget {
            used: AtomicU64::new(0),
            limit: AtomicU64::new(limit.unwrap_or(UNLIMITED)),
            when_full: Mutex::new(when_full),
            freed: Arc::new(Signal::new()),
        }
    }

    /// Sets the limit; `used` is what the logs hold at this moment.
    pub(super) fn set_limit(&self, limit: Option<u64>, when_full: WhenFull, used: u64) {
        *self.when_full.lock() = when_full;
        self.used.store(used, Ordering::Release);
        self.limit.store(limit.unwrap_or(UNLIMITED), Ordering::Release);
        self.freed.notify();
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Acquire)).filter(|limit| *limit != UNLIMITED)
    }

    pub(super) fn when_full(&self) -> WhenFull {
        *self.when_full.lock()
    }

    /// Takes bytes, if there is room for them or no limit.
    pub(super) fn try_reserve(&self, bytes: u64) -> bool {
        let Some(limit) = self.limit() else { return true };
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used.saturating_add(bytes) <= limit {
            return true;
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// Gives bytes back.
    pub(super) fn give_back(&self, bytes: u64) {
        if bytes == 0 || self.limit().is_none() {
            return;
        }
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.freed.notify();
    }

    /// Waits until there may be room for `bytes`; `false` after the deadline or a close.
    pub(super) fn wait_for_room(&self, bytes: u64, deadline: Instant) -> bool {
        let waiting = WaitSet::new();
        let registration = waiting.register(&self.freed, 0);
        waiting.arm(&registration);
        let room = self.limit().is_none_or(|limit| self.used().saturating_add(bytes) <= limit);
        if room {
            return true;
        }
        !self.freed.is_closed() && waiting.wait(Some(deadline)) != Woken::TimedOut
    }

    pub(super) fn close(&self) {
        self.freed.close();
    }
}
