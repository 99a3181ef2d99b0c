//! `Signal`: the place where a change is announced and where waiters say that they wait.
//!
//! A waiter *arms* its link, then looks at its condition once more, then sleeps. An announcement
//! takes every armed link off the queue (one shot) and puts it on its set's ready list; the set's
//! owner arms it again when it has read all there was.
//!
//! Why no wake-up is lost: both sides store, fence, load. The waiter stores `armed`, fences, loads
//! the condition; the notifier has stored the condition, fences, loads `armed`. Of two `SeqCst`
//! fences one comes first, so at least one side sees the other's store. That a notifier sees
//! `armed` cleared again means that another one has taken the link and is waking it; its owner
//! then arms and looks again before it sleeps.
//!
//! Nobody sees a link out of the queue before it is on its set's ready list: whoever announces and
//! finds nothing armed may count on it that the set is ready, be it by another's announcement. So a
//! look without waiting brings all that was announced before it.
//!
//! Lock order: a signal's lock, then a set's. Wakers run under neither.

use super::queue::Queue;
use super::set::{Link, Roused};
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{Arc, Mutex};

/// What can be waited for; one per partition, shared by all that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// Whether `state.armed` has links: written under its lock, read without.
    armed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    armed: Queue,
    closed: bool,
}

/// A link that was taken off, and whom that is to wake.
type Taken = (Arc<Link>, Roused);

impl State {
    /// Takes off who has waited longest, and puts it on its set's list before anyone can see that
    /// it is not armed.
    fn take_first(&mut self) -> Option<Taken> {
        let link = self.armed.pop()?;
        let roused = Link::make_ready(&link);
        Some((link, roused))
    }

    /// Takes off those who want one of the bits; the others stay in their order. The first apart:
    /// mostly there is one, and who announces gets by without memory for a list.
    fn take_wanting(&mut self, bits: u64) -> (Option<Taken>, Vec<Taken>) {
        let (mut first, mut others) = (None, Vec::new());
        for _ in 0..self.armed.len() {
            let Some(link) = self.armed.pop() else { break };
            if !link.wants(bits) {
                self.armed.push(link);
                continue;
            }
            let roused = Link::make_ready(&link); // as in `take_first`
            match first {
                None => first = Some((link, roused)),
                Some(_) => others.push((link, roused)),
            }
        }
        (first, others)
    }
}

impl Signal {
    pub(crate) fn new() -> Self {
        Signal::default()
    }

    /// Announces a change that the caller has already published with a Release store (or under
    /// a lock that the waiter's check takes too). Call it with no lock held: it may run wakers.
    #[inline]
    pub(crate) fn notify(&self) {
        self.notify_fenced::<true>();
    }

    /// `FENCED` is false only in the test that shows loom catching the missing fence.
    #[inline]
    pub(super) fn notify_fenced<const FENCED: bool>(&self) {
        if FENCED {
            fence(Ordering::SeqCst);
        }
        // what was taken off before is on its set's list, for who looks there without the lock
        if self.armed.load(Ordering::Acquire) {
            self.wake_armed();
        }
    }

    /// The same for a change that has some bits, which are asked for once somebody waits: it wakes
    /// those who registered for one of them, or for all. The others stay armed, and see the change
    /// when they are woken for another.
    #[inline]
    pub(crate) fn notify_wanting(&self, bits: impl FnOnce() -> u64) {
        self.notify_wanting_fenced::<true>(bits);
    }

    /// As `notify_fenced`.
    #[inline]
    pub(super) fn notify_wanting_fenced<const FENCED: bool>(&self, bits: impl FnOnce() -> u64) {
        if FENCED {
            fence(Ordering::SeqCst);
        }
        if self.armed.load(Ordering::Acquire) {
            self.wake_wanting(bits());
        }
    }

    /// The same for one waiter, the one that has waited longest: for changes that one can deal
    /// with, which passes on what it leaves.
    pub(crate) fn notify_one(&self) {
        self.notify_one_fenced::<true>();
    }

    /// As `notify_fenced`.
    pub(super) fn notify_one_fenced<const FENCED: bool>(&self) {
        if FENCED {
            fence(Ordering::SeqCst);
        }
        if self.armed.load(Ordering::Relaxed) {
            self.wake_at_most(1);
        }
    }

    /// Wakes every waiter, and every later one as soon as it arms.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake_armed();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// How many links wait now.
    pub(crate) fn armed_count(&self) -> usize {
        self.state.lock().armed.len()
    }

    /// One link per turn, so that its waker is called outside our lock. Links armed while this runs
    /// go behind those counted first and are left for the next call: a waiter that arms at once
    /// cannot keep a notifier here.
    #[cold]
    fn wake_armed(&self) {
        self.wake_at_most(usize::MAX);
    }

    /// In one turn, so that two of them and a link that neither takes cannot hide another from one
    /// of the two. What is taken off is roused once the lock is free.
    #[cold]
    fn wake_wanting(&self, bits: u64) {
        let (first, others) = {
            let mut state = self.state.lock();
            let taken = state.take_wanting(bits);
            self.show(&state);
            taken
        };
        for (link, roused) in first.into_iter().chain(others) {
            link.rouse(roused);
        }
    }

    fn wake_at_most(&self, most: usize) {
        let mut left = most;
        loop {
            let (link, roused) = {
                let mut state = self.state.lock();
                left = left.min(state.armed.len());
                if left == 0 {
                    return;
                }
                let Some(taken) = state.take_first() else { return };
                self.show(&state);
                taken
            };
            left -= 1;
            link.rouse(roused);
        }
    }

    pub(super) fn arm<const FENCED: bool>(&self, link: &Arc<Link>) {
        let closed = {
            let mut state = self.state.lock();
            if !state.closed && !state.armed.has(link) {
                state.armed.push(Arc::clone(link));
                self.show(&state);
            }
            state.closed
        };
        if closed {
            link.rouse(Link::make_ready(link));
        }
        if FENCED {
            fence(Ordering::SeqCst);
        }
    }

    pub(super) fn disarm(&self, link: &Link) {
        let mut state = self.state.lock();
        if state.armed.leave(link) {
            self.show(&state);
        }
    }

    /// Called under the lock after each change of the queue.
    fn show(&self, state: &State) {
        self.armed.store(!state.armed.is_empty(), Ordering::Release);
    }
}
