//! `max_bytes`: how many published bytes a topic, or the whole store, may hold.
//!
//! Bytes are reserved before an append and given back if it fails, or when segments leave their
//! log. Without a limit nothing is counted, so that appends of different partitions share no
//! number. A limit that is set later begins a new count, which each log joins with what it holds
//! (`log::counting`); an append that spans the moment its log joined is told by it and put right
//! once it is done, so that what is used is exact again as soon as no append is under way. What
//! happens when there is no room is the caller's: `room` carries `WhenFull` out.
//!
//! Lock order: a log's writer lock, then the budget's.

use std::sync::Arc;
use std::time::Instant;

use crate::config::WhenFull;
use crate::log::Count;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::wait::{Signal, WaitSet, Woken};

/// No limit is set.
const UNLIMITED: u64 = u64::MAX;

/// Bytes in use and bytes allowed.
#[derive(Debug)]
#[repr(C)] // what every append reads lies in front
pub(crate) struct Budget {
    /// Written under the lock of `counted`, the limit before the count.
    limit: AtomicU64,
    count: AtomicU64,
    counted: Mutex<Counted>,
    /// Told when bytes are given back.
    freed: Arc<Signal>,
}

#[derive(Debug)]
struct Counted {
    used: u64,
    when_full: WhenFull,
}

/// Room that was reserved, in the count of that moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    bytes: u64,
    count: Count,
}

impl Budget {
    pub(super) fn new(limit: Option<u64>, when_full: WhenFull) -> Self {
        Budget {
            limit: AtomicU64::new(limit.unwrap_or(UNLIMITED)),
            count: AtomicU64::new(0),
            counted: Mutex::new(Counted { used: 0, when_full }),
            freed: Arc::new(Signal::new()),
        }
    }

    /// Sets the limit and begins a new count: what the logs hold is to be [added](Budget::add) as
    /// they join it. One at a time.
    pub(super) fn begin_count(&self, limit: Option<u64>, when_full: WhenFull) -> Count {
        let mut counted = self.counted.lock();
        *counted = Counted { used: 0, when_full };
        self.limit.store(limit.unwrap_or(UNLIMITED), Ordering::Release);
        Count(self.count.fetch_add(1, Ordering::Release) + 1)
    }

    /// The count that logs are to join.
    #[inline]
    pub(super) fn count(&self) -> Count {
        Count(self.count.load(Ordering::Acquire))
    }

    /// Adds what a log holds.
    pub(super) fn add(&self, bytes: u64) {
        self.counted.lock().used += bytes;
    }

    pub(crate) fn used(&self) -> u64 {
        self.counted.lock().used
    }

    #[inline]
    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Acquire)).filter(|limit| *limit != UNLIMITED)
    }

    pub(super) fn when_full(&self) -> WhenFull {
        self.counted.lock().when_full
    }

    /// Takes bytes, if there is room for them or no limit.
    #[inline]
    pub(super) fn try_reserve(&self, bytes: u64) -> Option<Reserved> {
        let count = self.count(); // before the limit, which is then that of this count or later
        if self.limit().is_none() {
            return Some(Reserved { bytes, count });
        }
        self.reserve_counted(bytes)
    }

    fn reserve_counted(&self, bytes: u64) -> Option<Reserved> {
        let mut counted = self.counted.lock();
        let limit = self.limit.load(Ordering::Relaxed);
        let used = counted.used.saturating_add(bytes);
        if used > limit {
            return None;
        }
        if limit != UNLIMITED {
            counted.used = used;
        }
        Some(Reserved { bytes, count: self.count() })
    }

    /// Takes bytes, whether there is room for them or not.
    pub(super) fn take(&self, bytes: u64) -> Reserved {
        let mut counted = self.counted.lock();
        if self.limit().is_some() {
            counted.used = counted.used.saturating_add(bytes);
        }
        Reserved { bytes, count: self.count() }
    }

    /// What was reserved is published, in a log that was part of the count `published` then.
    #[inline]
    pub(super) fn settle(&self, reserved: Reserved, published: Count) {
        if reserved.count != published {
            self.put_right(reserved, published);
        }
    }

    /// A new count began while a batch was on its way.
    #[cold]
    fn put_right(&self, reserved: Reserved, published: Count) {
        let mut counted = self.counted.lock();
        if self.limit().is_none() {
            return;
        }
        let current = self.count();
        if published == current {
            counted.used += reserved.bytes; // not part of this count yet, nor of the log's sum
        } else if reserved.count == current {
            counted.less(reserved.bytes); // it is, or will be, in the log's sum too
        }
    }

    /// What was reserved is not needed.
    pub(super) fn give_back(&self, reserved: Reserved) {
        self.freed(reserved.bytes, reserved.count);
        self.announce_room();
    }

    /// Bytes that are part of `count` are in use no more. Wakes nobody: it may be called under a
    /// lock; [`announce_room`](Budget::announce_room) follows.
    pub(super) fn freed(&self, bytes: u64, count: Count) {
        if bytes == 0 || self.limit().is_none() {
            return;
        }
        let mut counted = self.counted.lock();
        if self.count() == count && self.limit().is_some() {
            counted.less(bytes);
        }
    }

    /// Whoever waits for room looks again.
    pub(super) fn announce_room(&self) {
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

    pub(super) fn is_closed(&self) -> bool {
        self.freed.is_closed()
    }

    pub(super) fn close(&self) {
        self.freed.close();
    }
}

impl Counted {
    fn less(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "{bytes} of {} bytes", self.used);
        self.used = self.used.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests;
