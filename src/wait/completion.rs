//! `Completion`: a result that is set once and that any number of threads and tasks wait for.
//!
//! The first `complete` wins; from then on every wait, poll and look answers a clone at once.
//! Value and wakers lie behind one lock, so there is no order to get wrong: a waiter either sees
//! the value or leaves its waker before the value comes. Wakers are called after the lock is gone.
//! A task's place is held by its [`Completed`] future and given up when that is dropped.
//!
//! Callers: linger receipts, waits for durability, senders blocked on a full buffer.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex};

/// A one-shot result with many waiters. `T`'s clone runs under the lock, so it must be cheap and
/// ours (a copy, or an `Arc`).
#[derive(Debug)]
pub(crate) struct Completion<T> {
    state: Mutex<State<T>>,
    parked: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    /// The next place to give out; 64 bits do not wrap.
    next_place: u64,
    wakers: BTreeMap<u64, Waker>,
}

/// The future of a [`Completion`]. Also what a receipt keeps: it can be waited for by a thread.
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub(crate) struct Completed<T> {
    completion: Arc<Completion<T>>,
    /// Where this future's waker lies; `None` until it was left there.
    place: Option<u64>,
}

impl<T> Completion<T> {
    pub(crate) fn new() -> Self {
        let state = State { value: None, next_place: 0, wakers: BTreeMap::new() };
        Completion { state: Mutex::new(state), parked: Condvar::new() }
    }

    /// Sets the result and wakes all that wait. `false`: it was set before, and that one stays.
    /// Call it with no lock held: it runs wakers.
    pub(crate) fn complete(&self, value: T) -> bool {
        let (wakers, refused) = {
            let mut state = self.state.lock();
            if state.value.is_some() {
                (BTreeMap::new(), Some(value))
            } else {
                state.value = Some(value);
                (std::mem::take(&mut state.wakers), None)
            }
        };
        if refused.is_some() {
            return false;
        }
        self.parked.notify_all();
        for waker in wakers.into_values() {
            super::wake(waker);
        }
        true
    }

    /// How many tasks have left a waker.
    pub(crate) fn waiting_tasks(&self) -> usize {
        self.state.lock().wakers.len()
    }
}

impl<T: Clone> Completion<T> {
    /// The result, if it is there.
    pub(crate) fn try_get(&self) -> Option<T> {
        self.state.lock().value.clone()
    }

    /// Blocks until the result is there, or answers `None` once the deadline has passed; no
    /// deadline is no limit.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<T> {
        let mut state = self.state.lock();
        while state.value.is_none() {
            let Some(deadline) = deadline else {
                self.parked.wait(&mut state);
                continue;
            };
            if self.parked.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.value.clone()
    }

    /// `place` is the caller's own: `None` at first, then where its waker lies.
    fn poll(&self, place: &mut Option<u64>, cx: &mut Context<'_>) -> Poll<T> {
        {
            let state = self.state.lock();
            if let Some(value) = &state.value {
                return Poll::Ready(value.clone());
            }
            let left = place.and_then(|place| state.wakers.get(&place));
            if left.is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
        }
        // Cloning and dropping a waker is user code: both happen outside the lock, and then
        // the look is taken again.
        let waker = cx.waker().clone();
        let unused = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            if let Some(value) = &state.value {
                let value = value.clone();
                drop(guard);
                return Poll::Ready(value);
            }
            let place = *place.get_or_insert_with(|| {
                state.next_place += 1;
                state.next_place
            });
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

impl<T: Clone> Completed<T> {
    /// A future for this completion; each waiting task needs its own.
    pub(crate) fn of(completion: &Arc<Completion<T>>) -> Self {
        Completed::new(Arc::clone(completion))
    }

    /// The same, of a share that the caller has to spare.
    pub(crate) fn new(completion: Arc<Completion<T>>) -> Self {
        Completed { completion, place: None }
    }

    /// See [`Completion::wait`].
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<T> {
        self.completion.wait(deadline)
    }

    /// See [`Completion::try_get`].
    pub(crate) fn try_get(&self) -> Option<T> {
        self.completion.try_get()
    }
}

impl<T: Clone> Future for Completed<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        this.completion.poll(&mut this.place, cx)
    }
}

impl<T> Drop for Completed<T> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let waker = self.completion.state.lock().wakers.remove(&place);
        drop(waker);
    }
}
