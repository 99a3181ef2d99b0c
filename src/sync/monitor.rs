//! `Monitor`: a value under a lock, and threads that sleep until it changes.
//!
//! The standard library's lock and condition variable, not parking_lot's: on Linux the system
//! itself sleeps on a word of theirs. To tell all is one call that makes all of them runnable,
//! where parking_lot wakes one, who wakes the next when it has had the lock: each
//! of 64 threads that wait for a sync then has those before it to wait for too. Nothing poisons: a
//! panic under the lock leaves the value as it is.
//!
//! That call is made only where somebody sleeps, which is known since sleepers are counted under
//! the lock: who changes the value under the lock and then tells sees each that slept before, and
//! who has the lock later sees the change. So nobody tells of what was not changed there.
//!
//! Under `cfg(loom)` and `cfg(shuttle)` it is the checker's. Neither knows time: a wait with a
//! deadline is one without, so a model that relies on a timeout to go on is reported as a deadlock,
//! which is what a lost wake-up must look like.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Instant;

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(shuttle)]
use shuttle::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(any(loom, shuttle)))]
use std::sync::{Condvar, Mutex, MutexGuard};

use super::atomic::{AtomicU32, Ordering};
use crate::time::left_until;

/// A value under a lock that threads wait for changes of.
pub(crate) struct Monitor<T> {
    value: Mutex<T>,
    changed: Condvar,
    /// How many sleep; changed under the lock.
    sleepers: AtomicU32,
}

/// The value, locked. It is waited with.
pub(crate) struct Held<'a, T> {
    value: MutexGuard<'a, T>,
    monitor: &'a Monitor<T>,
}

impl<T> Monitor<T> {
    pub(crate) fn new(value: T) -> Self {
        let (value, changed) = (Mutex::new(value), Condvar::new());
        Monitor { value, changed, sleepers: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, T> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Held { value, monitor: self }
    }

    /// Wakes one thread that waits, after a change that was made under the lock. Called with that
    /// free, or who is woken would meet it first.
    #[inline]
    pub(crate) fn notify_one(&self) {
        if self.has_sleepers() {
            self.changed.notify_one();
        }
    }

    /// Wakes all threads that wait, at once; as [`notify_one`](Monitor::notify_one).
    #[inline]
    pub(crate) fn notify_all(&self) {
        if self.has_sleepers() {
            self.changed.notify_all();
        }
    }

    /// Under the lock, so that nobody else does.
    fn count(&self, more: i32) {
        let sleepers = self.sleepers.load(Ordering::Relaxed);
        self.sleepers.store(sleepers.wrapping_add_signed(more), Ordering::Relaxed);
    }

    #[inline]
    fn has_sleepers(&self) -> bool {
        self.sleepers.load(Ordering::Relaxed) > 0 // the lock has put it in order
    }
}

impl<T> Held<'_, T> {
    /// Sleeps, with the lock free, until told; also for no reason at all.
    pub(crate) fn wait(self) -> Self {
        let Held { value, monitor } = self;
        monitor.count(1);
        let value = monitor.changed.wait(value).unwrap_or_else(PoisonError::into_inner);
        monitor.count(-1);
        Held { value, monitor }
    }

    /// The same until the deadline at most; whether that has passed.
    pub(crate) fn wait_until(self, deadline: Instant) -> (Self, bool) {
        let left = left_until(deadline);
        if left.is_zero() && !cfg!(any(loom, shuttle)) {
            return (self, true); // the system would let it sleep for a while
        }
        let Held { value, monitor } = self;
        monitor.count(1);
        let waited = monitor.changed.wait_timeout(value, left);
        let (value, how) = waited.unwrap_or_else(PoisonError::into_inner);
        monitor.count(-1);
        (Held { value, monitor }, how.timed_out())
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Default> Default for Monitor<T> {
    fn default() -> Self {
        Monitor::new(T::default())
    }
}

/// Without the value: who prints it may hold the lock.
impl<T> fmt::Debug for Monitor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::time::deadline_after;

    #[test]
    fn all_who_sleep_are_woken_and_none_is_counted_then() {
        let monitor = Arc::new(Monitor::new(false));
        let sleeps = |()| {
            let monitor = monitor.clone();
            thread::spawn(move || {
                let mut told = monitor.lock();
                while !*told {
                    told = told.wait();
                }
            })
        };
        let threads = [(); 5].map(sleeps);
        while monitor.sleepers.load(Ordering::Relaxed) < 5 {
            thread::yield_now();
        }
        monitor.notify_all(); // of nothing: they sleep on
        *monitor.lock() = true;
        monitor.notify_all();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!monitor.has_sleepers());
    }

    #[test]
    fn deadlines_that_are_over_or_far_away_are_taken_as_they_are() {
        let monitor = Monitor::new(0);
        let (_, is_over) = monitor.lock().wait_until(deadline_after(Duration::ZERO));
        assert!(is_over);
        let (held, is_over) = monitor.lock().wait_until(deadline_after(Duration::from_millis(1)));
        assert!(is_over && !monitor.has_sleepers());
        drop(held);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut held = monitor.lock();
                while *held == 0 {
                    let is_over;
                    (held, is_over) = held.wait_until(deadline_after(Duration::MAX));
                    assert!(!is_over);
                }
            });
            while !monitor.has_sleepers() {
                thread::yield_now();
            }
            *monitor.lock() = 7;
            monitor.notify_one();
            waiting.join().unwrap();
        });
    }

    #[test]
    fn a_panic_under_the_lock_leaves_the_value_and_the_lock() {
        let monitor = Monitor::new(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            *monitor.lock() = 2;
            let _held = monitor.lock();
            panic!("under the lock");
        }));
        assert!(panicked.is_err());
        assert_eq!(*monitor.lock(), 2);
    }
}
