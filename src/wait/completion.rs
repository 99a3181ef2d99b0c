//! `Completion`: a result that is set once and that any number of threads and tasks wait for.
//!
//! The first `complete` wins; from then on every wait, poll and look has the value at once, without
//! a lock. It is set under the lock that wakers are left under, so a waiter either sees it or
//! leaves its waker before it comes. Wakers are called after the lock is gone. A task's place is
//! held by its [`Completed`] future and given up when that is dropped. Programs keep such futures
//! by the million, so both ends have room for a word of their owners', and places are small
//! numbers.
//!
//! Callers: linger receipts, waits for durability, senders blocked on a full buffer.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Monitor};

/// A one-shot result with many waiters.
#[derive(Debug)]
pub(crate) struct Completion<T, C = ()> {
    /// What its maker lets all who wait know.
    about: C,
    /// Whether there is a value: what loom sees of it. Set after it, under the lock.
    done: AtomicBool,
    value: OnceLock<T>,
    state: Monitor<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last place that was given out.
    last_place: u32,
    wakers: BTreeMap<NonZeroU32, Waker>,
}

/// The future of a [`Completion`]. Also what a receipt keeps: it can be waited for by a thread.
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub(crate) struct Completed<T, C = (), N = ()> {
    completion: Arc<Completion<T, C>>,
    /// Where this future's waker lies; `None` until it was left there.
    place: Option<NonZeroU32>,
    note: N,
}

impl State {
    /// A place where no waker lies.
    fn new_place(&mut self) -> NonZeroU32 {
        loop {
            self.last_place = self.last_place.wrapping_add(1);
            if let Some(place) = NonZeroU32::new(self.last_place)
                && !self.wakers.contains_key(&place)
            {
                return place;
            }
        }
    }
}

impl<T> Completion<T> {
    pub(crate) fn new() -> Self {
        Completion::about(())
    }
}

impl<T, C> Completion<T, C> {
    pub(crate) fn about(about: C) -> Self {
        Completion {
            about,
            done: AtomicBool::new(false),
            value: OnceLock::new(),
            state: Monitor::default(),
        }
    }

    /// The result, if it is there.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        if self.done.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    /// Blocks until the result is there, or answers `None` once the deadline has passed; no
    /// deadline is no limit.
    #[inline]
    pub(crate) fn get_by(&self, deadline: Option<Instant>) -> Option<&T> {
        self.get().or_else(|| self.park(deadline))
    }

    fn park(&self, deadline: Option<Instant>) -> Option<&T> {
        let mut state = self.state.lock();
        while self.get().is_none() {
            let Some(deadline) = deadline else {
                state = state.wait();
                continue;
            };
            let timed_out;
            (state, timed_out) = state.wait_until(deadline);
            if timed_out {
                break;
            }
        }
        self.get()
    }

    /// Sets the result and wakes all that wait. `false`: it was set before, and that one stays.
    /// Call it with no lock held: it runs wakers.
    pub(crate) fn complete(&self, value: T) -> bool {
        let (wakers, refused) = {
            let mut state = self.state.lock();
            match self.value.set(value) {
                Err(value) => (BTreeMap::new(), Some(value)),
                Ok(()) => {
                    self.done.store(true, Ordering::Release);
                    (std::mem::take(&mut state.wakers), None)
                }
            }
        };
        if refused.is_some() {
            return false;
        }
        self.state.notify_all();
        for waker in wakers.into_values() {
            super::wake(waker);
        }
        true
    }

    /// How many tasks have left a waker.
    #[cfg(test)]
    pub(crate) fn waiting_tasks(&self) -> usize {
        self.state.lock().wakers.len()
    }
}

impl<T: Clone, C> Completion<T, C> {
    /// A clone of what [`get`](Completion::get) answers.
    pub(crate) fn try_get(&self) -> Option<T> {
        self.get().cloned()
    }

    /// A clone of what [`get_by`](Completion::get_by) answers.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<T> {
        self.get_by(deadline).cloned()
    }

    /// `place` is the caller's own: `None` at first, then where its waker lies.
    fn poll(&self, place: &mut Option<NonZeroU32>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.get() {
            return Poll::Ready(value.clone());
        }
        {
            let state = self.state.lock();
            let left = place.and_then(|place| state.wakers.get(&place));
            if self.get().is_none() && left.is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
        }
        // Cloning and dropping a waker is user code: both happen outside the lock, and then
        // the look is taken again.
        let waker = cx.waker().clone();
        let unused = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            if let Some(value) = self.get() {
                drop(guard);
                return Poll::Ready(value.clone());
            }
            let place = *place.get_or_insert_with(|| state.new_place());
            state.wakers.insert(place, waker)
        };
        drop(unused);
        Poll::Pending
    }
}

impl<T> Default for Completion<T> {
    fn default() -> Self {
        Completion::new()
    }
}

impl<T: Clone, C> Completed<T, C> {
    /// A future for this completion; each waiting task needs its own.
    pub(crate) fn of(completion: &Arc<Completion<T, C>>) -> Self {
        Completed::new(Arc::clone(completion))
    }

    /// The same, of a share that the caller has to spare.
    pub(crate) fn new(completion: Arc<Completion<T, C>>) -> Self {
        Completed::noting(completion, ())
    }
}

impl<T: Clone, C, N> Completed<T, C, N> {
    /// The same, with a note of its owner's.
    #[inline]
    pub(crate) fn noting(completion: Arc<Completion<T, C>>, note: N) -> Self {
        Completed { completion, place: None, note }
    }

    #[inline]
    pub(crate) fn note(&self) -> &N {
        &self.note
    }

    /// What the completion's maker lets all know.
    #[inline]
    pub(crate) fn about(&self) -> &C {
        &self.completion.about
    }

    /// See [`Completion::wait`].
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<T> {
        self.completion.wait(deadline)
    }

    /// See [`Completion::try_get`].
    pub(crate) fn try_get(&self) -> Option<T> {
        self.completion.try_get()
    }

    /// See [`Completion::get`].
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        self.completion.get()
    }

    /// See [`Completion::get_by`].
    #[inline]
    pub(crate) fn get_by(&self, deadline: Option<Instant>) -> Option<&T> {
        self.completion.get_by(deadline)
    }
}

impl<T: Clone, C, N: Unpin> Future for Completed<T, C, N> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        this.completion.poll(&mut this.place, cx)
    }
}

impl<T, C, N> Drop for Completed<T, C, N> {
    #[inline]
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let waker = self.completion.state.lock().wakers.remove(&place);
        drop(waker);
    }
}
