//! `WaitSet`: one waiter, thread or task, for any number of signals.
//!
//! The owner keeps to this order, and then misses nothing and pays only for what is ready:
//!
//! 1. `register` each signal once with a token of its choice, and take it as ready at first;
//! 2. for each ready token: read until nothing is left, `arm`, look once more; if there is
//!    something after all, keep the token as ready (being woken for it later does no harm);
//! 3. with nothing ready: `wait`, `drain_ready` into the list of ready tokens, go to 2.
//!
//! One waits at a time; anyone may interrupt. Dropping a [`Registration`] takes its link off both
//! lists; dropping the set makes links that are still under way go nowhere.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::queue::Place;
use super::signal::Signal;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Monitor, spin_loop};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// At least one registered signal was announced or closed; `drain_ready` says which.
    Ready,
    /// The deadline passed.
    TimedOut,
    /// [`WaitSet::interrupt`] was called; consumed by this answer.
    Interrupted,
}

/// The waiting side, owned by one waiter.
#[derive(Debug)]
pub(crate) struct WaitSet {
    shared: Arc<Shared>,
    spin: Duration,
}

/// Interrupts a [`WaitSet`] from elsewhere; outliving it does no harm.
#[derive(Clone, Debug)]
pub(crate) struct Interrupter(Arc<Shared>);

/// A signal's place in a set; dropping it ends the waiting for that signal.
#[derive(Debug)]
pub(crate) struct Registration {
    signal: Arc<Signal>,
    link: Arc<Link>,
}

/// What a signal's queue and a set's ready list point to.
#[derive(Debug)]
pub(super) struct Link {
    set: Arc<Shared>,
    token: usize,
    /// What it is woken for, as bits; all of it where there are none.
    interest: u64,
    /// Its place in the signal's queue.
    place: Place,
    /// On the set's ready list; touched under the set's lock only.
    queued: AtomicBool,
    /// The registration is gone; touched under the set's lock only.
    dead: AtomicBool,
}

/// Whom a change of a set has to wake, once no lock is held.
#[derive(Debug)]
#[must_use = "a waiter that is not woken may sleep for ever"]
pub(super) enum Roused {
    Nobody,
    /// The set's waiter: its thread, and its task if that left a waker.
    Waiter(Option<Waker>),
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether a wait would return at once: written under the lock, read by a spinning waiter.
    pending: AtomicBool,
    state: Monitor<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order they became ready; each link at most once. Holds `Arc`s of links that hold
    /// the set: the set's drop breaks that circle.
    ready: Vec<Arc<Link>>,
    /// How many of `ready` lost their registration; always fewer than all of them.
    dead: usize,
    interrupted: bool,
    /// The set is gone.
    closed: bool,
    waker: Option<Waker>,
}

impl WaitSet {
    pub(crate) fn new() -> Self {
        WaitSet { shared: Arc::new(Shared::default()), spin: Duration::ZERO }
    }

    /// Lets `wait` spin this long before it parks its thread: less latency for a busy core.
    #[must_use]
    pub(crate) fn spin(mut self, before_parking: Duration) -> Self {
        self.spin = before_parking;
        self
    }

    /// Adds a signal, not armed. `token` is what [`drain_ready`](WaitSet::drain_ready) answers.
    pub(crate) fn register(&self, signal: &Arc<Signal>, token: usize) -> Registration {
        self.register_for(signal, token, 0)
    }

    /// The same for one that is woken only by changes that have one of the bits of `interest`, or
    /// do not say which they have; by all of them where it is 0.
    pub(crate) fn register_for(
        &self,
        signal: &Arc<Signal>,
        token: usize,
        interest: u64,
    ) -> Registration {
        Registration { signal: Arc::clone(signal), link: self.link(token, interest) }
    }

    /// A link of this set, in no queue.
    pub(super) fn link(&self, token: usize, interest: u64) -> Arc<Link> {
        Arc::new(Link {
            set: Arc::clone(&self.shared),
            token,
            interest,
            place: Place::default(),
            queued: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        })
    }

    /// Asks to be woken by the signal's next announcement, once. The caller must look at its
    /// condition again after this call and before it waits. On a closed signal the token is
    /// ready at once.
    pub(crate) fn arm(&self, registration: &Registration) {
        self.arm_fenced::<true>(registration);
    }

    /// Takes back what [`arm`](WaitSet::arm) asked for; a token that is ready already stays so.
    pub(crate) fn disarm(&self, registration: &Registration) {
        debug_assert!(Arc::ptr_eq(&registration.link.set, &self.shared), "of another set");
        registration.signal.disarm(&registration.link);
    }

    /// `FENCED` is false only in the test that shows loom catching the missing fence.
    pub(super) fn arm_fenced<const FENCED: bool>(&self, registration: &Registration) {
        debug_assert!(Arc::ptr_eq(&registration.link.set, &self.shared), "of another set");
        registration.signal.arm::<FENCED>(&registration.link);
    }

    /// Moves the ready tokens to the end of `out`, in the order they became ready. Where there are
    /// none that is one look.
    pub(crate) fn drain_ready(&self, out: &mut Vec<usize>) {
        if !self.shared.pending.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.shared.state.lock();
        for link in state.ready.drain(..) {
            link.queued.store(false, Ordering::Relaxed);
            if !link.dead.load(Ordering::Relaxed) {
                out.push(link.token);
            }
        }
        state.dead = 0;
        self.shared.show(&state);
    }

    /// Blocks until a token is ready, the set is interrupted or the deadline has passed; no
    /// deadline is no limit. Ready tokens stay so until they are drained.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Woken {
        self.spin_while(deadline, || true);
        self.park(deadline)
    }

    /// [`wait`](WaitSet::wait) without spinning first.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> Woken {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        loop {
            if let Some(woken) = shared.take_outcome(&mut state) {
                return woken;
            }
            let Some(deadline) = deadline else {
                state = state.wait();
                continue;
            };
            let timed_out;
            (state, timed_out) = state.wait_until(deadline);
            if timed_out {
                return shared.take_outcome(&mut state).unwrap_or(Woken::TimedOut);
            }
        }
    }

    /// Whether waiting begins with spinning.
    pub(crate) fn spins(&self) -> bool {
        !self.spin.is_zero()
    }

    /// Spins for as long as the set was told to, while there is nothing to wake it for and `idle`
    /// holds: that looks at what the waiter has not armed. Returns whether either ended it.
    pub(crate) fn spin_while(&self, deadline: Option<Instant>, idle: impl Fn() -> bool) -> bool {
        /// Looks between two looks at the clock.
        const LOOKS: u32 = 64;
        if self.spin.is_zero() {
            return false;
        }
        let until = Instant::now().checked_add(self.spin);
        let until = [until, deadline].into_iter().flatten().min();
        while until.is_none_or(|until| Instant::now() < until) {
            for _ in 0..LOOKS {
                if self.shared.pending.load(Ordering::Acquire) || !idle() {
                    return true;
                }
                spin_loop();
            }
        }
        false
    }

    /// The same for a task: `Pending` leaves the task's waker here, replacing an earlier one.
    /// A caller that gives up says so with [`forget_waker`](WaitSet::forget_waker).
    pub(crate) fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<Woken> {
        {
            let mut state = self.shared.state.lock();
            if let Some(woken) = self.shared.take_outcome(&mut state) {
                return Poll::Ready(woken);
            }
            if state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
        }
        // Cloning and dropping a waker is user code: both happen outside the lock, and then
        // the look is taken again.
        let mut waker = Some(cx.waker().clone());
        let outcome = {
            let mut state = self.shared.state.lock();
            let outcome = self.shared.take_outcome(&mut state);
            if outcome.is_none() {
                std::mem::swap(&mut state.waker, &mut waker);
            }
            outcome
        };
        drop(waker);
        outcome.map_or(Poll::Pending, Poll::Ready)
    }

    /// Lets go of the waker that `poll_wait` left.
    pub(crate) fn forget_waker(&self) {
        let waker = self.shared.state.lock().waker.take();
        drop(waker);
    }

    /// `poll_wait` as a future; dropping it lets go of the waker.
    pub(crate) fn ready(&self) -> Ready<'_> {
        Ready { set: self }
    }

    /// Ends the wait under way, or else the next one, with [`Woken::Interrupted`].
    #[cfg(test)]
    pub(crate) fn interrupt(&self) {
        self.shared.interrupt();
    }

    /// A handle that interrupts this set from another thread.
    pub(crate) fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::clone(&self.shared))
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        let (links, waker) = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            (std::mem::take(&mut state.ready), state.waker.take())
        };
        drop(links);
        drop(waker);
    }
}

impl Interrupter {
    /// See [`WaitSet::interrupt`].
    pub(crate) fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.signal.disarm(&self.link);
        self.link.set.bury(&self.link);
    }
}

impl Link {
    /// Whether a change with those bits concerns it.
    pub(super) fn wants(&self, bits: u64) -> bool {
        self.interest == 0 || self.interest & bits != 0
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Puts the link on its set's ready list; who waits there is woken by
    /// [`rouse`](Link::rouse), once the caller's lock is free.
    pub(super) fn make_ready(link: &Arc<Link>) -> Roused {
        link.set.change(|state| {
            let unwanted = state.closed || link.dead.load(Ordering::Relaxed);
            if !unwanted && !link.queued.load(Ordering::Relaxed) {
                link.queued.store(true, Ordering::Relaxed);
                state.ready.push(Arc::clone(link));
            }
        })
    }

    /// Wakes whom a change has roused; called under no lock.
    pub(super) fn rouse(&self, roused: Roused) {
        self.set.rouse(roused);
    }
}

impl Shared {
    fn interrupt(&self) {
        let roused = self.change(|state| state.interrupted = true);
        self.rouse(roused);
    }

    /// Changes the state; the waiter is to be woken if there was nothing to wake it for before:
    /// while something is pending no waiter sleeps, since each looks under the lock first.
    fn change(&self, change: impl FnOnce(&mut State)) -> Roused {
        let mut state = self.state.lock();
        let was_pending = state.is_pending();
        change(&mut state);
        self.show(&state);
        match !was_pending && state.is_pending() {
            true => Roused::Waiter(state.waker.take()),
            false => Roused::Nobody,
        }
    }

    fn rouse(&self, roused: Roused) {
        let Roused::Waiter(waker) = roused else { return };
        self.state.notify_one();
        if let Some(waker) = waker {
            super::wake(waker);
        }
    }

    fn take_outcome(&self, state: &mut State) -> Option<Woken> {
        if std::mem::take(&mut state.interrupted) {
            self.show(state);
            return Some(Woken::Interrupted);
        }
        (!state.ready.is_empty()).then_some(Woken::Ready)
    }

    /// Marks a link whose registration is gone. The ready list is swept once half of it is dead:
    /// dropping many registrations stays linear, and a list with links has a live one.
    fn bury(&self, link: &Link) {
        let mut state = self.state.lock();
        link.dead.store(true, Ordering::Relaxed);
        if link.queued.load(Ordering::Relaxed) {
            state.dead += 1;
            if state.dead * 2 >= state.ready.len() {
                state.ready.retain(|link| !link.dead.load(Ordering::Relaxed));
                state.dead = 0;
            }
            self.show(&state);
        }
    }

    /// Called under the lock after each change of what `is_pending` looks at. Released, with what
    /// `Signal` says of its queue behind it: who learns there that a link was taken off finds it
    /// here.
    fn show(&self, state: &State) {
        self.pending.store(state.is_pending(), Ordering::Release);
    }
}

impl State {
    fn is_pending(&self) -> bool {
        self.interrupted || !self.ready.is_empty()
    }
}

/// The future of [`WaitSet::ready`].
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub(crate) struct Ready<'a> {
    set: &'a WaitSet,
}

impl Future for Ready<'_> {
    type Output = Woken;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Woken> {
        self.set.poll_wait(cx)
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        self.set.forget_waker();
    }
}
