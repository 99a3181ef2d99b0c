//! `max_bytes`: how many published bytes a topic, or the whole store, may hold.
//!
//! Bytes are reserved before an append and given back if it fails, or when segments leave their
//! log. A budget without a limit still counts, since one may be set later. What happens when there
//! is no room is the caller's: `partition` carries `WhenFull` out.

use std::time::Instant;

use crate::config::WhenFull;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::Mutex;
use std::sync::Arc;
use crate::wait::{Signal, WaitSet};

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
    pub(crate) fn new(limit: Option<u64>, when_full: WhenFull) -> Self {
        Budget {
            used: AtomicU64::new(0),
            limit: AtomicU64::new(limit.unwrap_or(UNLIMITED)),
            when_full: Mutex::new(when_full),
            freed: Arc::new(Signal::new()),
        }
    }

    pub(crate) fn set_limit(&self, limit: Option<u64>, when_full: WhenFull) {
        *self.when_full.lock() = when_full;
        self.limit.store(limit.unwrap_or(UNLIMITED), Ordering::Release);
        self.freed.notify();
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Acquire)).filter(|limit| *limit != UNLIMITED)
    }

    pub(crate) fn when_full(&self) -> WhenFull {
        *self.when_full.lock()
    }

    /// Takes bytes, if there is room for them.
    pub(crate) fn try_reserve(&self, bytes: u64) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used.saturating_add(bytes) <= self.limit.load(Ordering::Acquire) {
            return true;
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// Takes bytes that are there already, found at open.
    pub(crate) fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    pub(crate) fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            self.freed.notify();
        }
    }

    /// Waits until bytes may have been given back, or the deadline; `false` after the deadline.
    pub(crate) fn wait_freed(&self, bytes: u64, deadline: Instant) -> bool {
        let mut waiting = WaitSet::new();
        let registration = waiting.register(&self.freed, 0);
        waiting.arm(&registration);
        let limit = self.limit.load(Ordering::Acquire);
        if self.used().saturating_add(bytes) <= limit {
            return true;
        }
        !matches!(waiting.wait(Some(deadline)), crate::wait::Woken::TimedOut)
    }

    pub(crate) fn close(&self) {
        self.freed.close();
    }
}
