//! `Monitor`: a value under a lock, and threads that sleep until it changes.
//!
//! The standard library's lock and condition variable, not parking_lot's: these are a word each
//! that the system itself sleeps on. To tell all is one call that makes all of them runnable, where
//! parking_lot wakes one, who wakes the next when it has had the lock: of 64 threads that wait for
//! a sync most then sleep on for a while, with a processor idle. And who is told touches no table
//! of sleeping threads. Nothing poisons: a panic under the lock leaves the value as it is.
//!
//! Under `cfg(loom)` and `cfg(shuttle)` it is the checker's. Neither knows time: a wait with a
//! deadline is one without, so a model that relies on a timeout to go on is reported as a deadlock,
//! which is what a lost wake-up must look like.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Instant;

use super::under::sync::{Condvar, Mutex, MutexGuard};
use crate::time::left_until;

/// A value under a lock that threads wait for changes of.
pub(crate) struct Monitor<T> {
    value: Mutex<T>,
    changed: Condvar,
}

/// The value, locked. It is waited with.
pub(crate) struct Held<'a, T> {
    value: MutexGuard<'a, T>,
    changed: &'a Condvar,
}

impl<T> Monitor<T> {
    pub(crate) fn new(value: T) -> Self {
        Monitor { value: Mutex::new(value), changed: Condvar::new() }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, T> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Held { value, changed: &self.changed }
    }

    /// Wakes one thread that waits. Called with the lock free, or it would meet that first.
    #[inline]
    pub(crate) fn notify_one(&self) {
        self.changed.notify_one();
    }

    /// Wakes all threads that wait, at once; as [`notify_one`](Monitor::notify_one).
    #[inline]
    pub(crate) fn notify_all(&self) {
        self.changed.notify_all();
    }
}

impl<T> Held<'_, T> {
    /// Sleeps, with the lock free, until told; also for no reason at all.
    pub(crate) fn wait(self) -> Self {
        let Held { value, changed } = self;
        Held { value: changed.wait(value).unwrap_or_else(PoisonError::into_inner), changed }
    }

    /// The same until the deadline at most; whether that has passed.
    pub(crate) fn wait_until(self, deadline: Instant) -> (Self, bool) {
        let Held { value, changed } = self;
        let waited = changed.wait_timeout(value, left_until(deadline));
        let (value, how) = waited.unwrap_or_else(PoisonError::into_inner);
        (Held { value, changed }, how.timed_out())
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
