//! Group commit: who may sync, whom a sync serves, and how the others wait for it.
//!
//! One caller at a time has the *turn*. A leader begins a sync that covers all that is published by
//! then, and ends it for everybody whose records lie there, with its success or its failure; it
//! waits for nobody. Meanwhile the next *round* gathers. Its first thread is the heir: it is woken
//! before all others and leads at once. Tasks never lead: where no thread does, the timer is
//! called. A checkpoint waits in line for the turn itself, ahead of the heir, whom its own sync
//! serves.
//!
//! Invariants: how far a sync goes is read under the lock that joins those it serves, who have
//! published before; a round ends with the sync that covers it; a leader begins a sync, or its
//! round fails; while the turn is free no thread waits, and tasks only with the timer called. A
//! lone writer wakes nobody, and nobody wakes it. What is counted is the caller's: offsets of a
//! log, frames of the journal. Called under no lock of the caller's; loom runs this file.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as PlainArc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::{Completed, Completion};
use crate::error::{Cause, Error, Outcome};
use crate::sync::{Arc, Mutex};

/// How a sync ended, for all that it served.
pub(crate) type Ending = Result<(), PlainArc<Error>>;

/// What one who waits is told.
#[derive(Clone, Debug)]
enum Call {
    /// The turn is yours.
    Lead,
    Served(Ending),
}

type Waiter = Completion<Call>;

/// Those that one sync serves.
#[derive(Debug, Default)]
struct Round {
    /// The first thread, which leads unless it is served before.
    heir: Option<Arc<Waiter>>,
    /// Everybody else.
    shared: Option<Arc<Waiter>>,
}

impl Round {
    fn share(&mut self) -> Arc<Waiter> {
        self.shared.get_or_insert_with(|| Arc::new(Waiter::new())).clone()
    }

    fn enter(&mut self) -> Arc<Waiter> {
        if self.heir.is_some() {
            return self.share();
        }
        self.heir.insert(Arc::new(Waiter::new())).clone()
    }

    /// Tells everybody; runs wakers.
    fn serve(self, ending: &Ending) {
        for waiter in [self.heir, self.shared].into_iter().flatten() {
            waiter.complete(Call::Served(ending.clone()));
        }
    }
}

/// Where the turn is.
#[derive(Debug)]
enum Phase<N> {
    Free,
    /// Somebody has it, and no sync is under way.
    Taken,
    /// A sync is under way for all below `cover`.
    Syncing {
        cover: N,
        round: Round,
    },
}

/// What may happen to the turn.
#[derive(Debug)]
enum Step<N> {
    Take,
    Begin {
        cover: N,
    },
    End,
    /// To the next in line, or the heir; free if there is neither.
    Release,
}

#[derive(Debug)]
struct State<N> {
    phase: Phase<N>,
    /// Served by the next sync to begin.
    gathering: Round,
    /// Threads that want the turn itself.
    line: VecDeque<Arc<Waiter>>,
    /// Why nobody is served any more.
    closed: Option<PlainArc<Error>>,
}

/// What is left to do once the state's lock is free.
#[derive(Debug, Default)]
struct After {
    ended: Round,
    next: Option<Arc<Waiter>>,
    call_timer: bool,
}

impl<N: Copy + Ord + fmt::Debug> State<N> {
    /// The only way from one phase to another.
    fn step(&mut self, step: Step<N>, after: &mut After) {
        self.phase = match (std::mem::replace(&mut self.phase, Phase::Free), step) {
            (Phase::Free, Step::Take) => Phase::Taken,
            (Phase::Taken, Step::Begin { cover }) => {
                Phase::Syncing { cover, round: std::mem::take(&mut self.gathering) }
            }
            (Phase::Syncing { round, .. }, Step::End) => {
                after.ended = round;
                Phase::Taken
            }
            (Phase::Taken, Step::Release) => {
                after.next = self.line.pop_front().or_else(|| self.gathering.heir.take());
                after.call_timer = after.next.is_none() && self.gathering.shared.is_some();
                if after.next.is_some() { Phase::Taken } else { Phase::Free }
            }
            (phase, step) => unreachable!("{step:?} while {phase:?}"),
        };
    }
}

/// The one place where callers of one log, or of one journal, meet for its syncs.
pub(crate) struct Commit<N> {
    state: Mutex<State<N>>,
    /// Has the timer call [`Commit::lead_for_tasks`].
    call_timer: Box<dyn Fn() + Send + Sync>,
}

/// How a thread's wish to have its records durable goes on.
#[derive(Debug)]
pub(crate) enum Joined<'a, N: Copy + Ord + fmt::Debug> {
    /// They were already.
    Covered,
    /// The caller syncs.
    Lead(Turn<'a, N>),
    /// Another's sync has ended.
    Served(Ending),
}

impl<N: Copy + Ord + fmt::Debug> Commit<N> {
    pub(crate) fn new(call_timer: Box<dyn Fn() + Send + Sync>) -> Self {
        let state = State {
            phase: Phase::Free,
            gathering: Round::default(),
            line: VecDeque::new(),
            closed: None,
        };
        Commit { state: Mutex::new(state), call_timer }
    }

    /// Leads, or blocks until a sync that covers `target` has ended. Everything below `target` is
    /// published; `durable` reads how far the log is durable.
    pub(crate) fn join(&self, target: N, durable: impl Fn() -> N) -> Joined<'_, N> {
        let waiter = {
            let mut state = self.state.lock();
            if durable() >= target {
                return Joined::Covered;
            }
            if let Some(closed) = &state.closed {
                return Joined::Served(Err(closed.clone()));
            }
            match &mut state.phase {
                Phase::Free => {
                    state.step(Step::Take, &mut After::default());
                    return Joined::Lead(Turn { commit: self, must_sync: true });
                }
                Phase::Syncing { cover, round } if target <= *cover => round.share(),
                Phase::Syncing { .. } | Phase::Taken => state.gathering.enter(),
            }
        };
        match wait(&waiter) {
            Call::Lead => Joined::Lead(Turn { commit: self, must_sync: true }),
            Call::Served(ending) => Joined::Served(ending),
        }
    }

    /// The same for a task: what it waits for, `None` if its records are durable already. To let
    /// go of it is to be served unseen.
    pub(crate) fn ride(&self, target: N, durable: impl Fn() -> N) -> Option<Ride> {
        let (waiter, is_led) = {
            let mut state = self.state.lock();
            if durable() >= target {
                return None;
            }
            if let Some(closed) = state.closed.clone() {
                drop(state);
                let refused = Waiter::new();
                refused.complete(Call::Served(Err(closed)));
                return Some(Ride(Completed::new(Arc::new(refused))));
            }
            match &mut state.phase {
                Phase::Syncing { cover, round } if target <= *cover => (round.share(), true),
                Phase::Syncing { .. } | Phase::Taken => (state.gathering.share(), true),
                Phase::Free => (state.gathering.share(), false),
            }
        };
        if !is_led {
            (self.call_timer)();
        }
        Some(Ride(Completed::new(waiter)))
    }

    /// The turn, for one who has several logs to sync and waits for nobody meanwhile: `None` where
    /// somebody has it, or nothing is to be done; that [`join`](Commit::join) tells afterwards.
    pub(crate) fn lead_if_free(&self, target: N, durable: impl Fn() -> N) -> Option<Turn<'_, N>> {
        let mut state = self.state.lock();
        let is_free = matches!(state.phase, Phase::Free) && state.closed.is_none();
        if !is_free || durable() >= target {
            return None;
        }
        state.step(Step::Take, &mut After::default());
        Some(Turn { commit: self, must_sync: true })
    }

    /// The turn, for the timer that was called: `None` where somebody has it, who serves the tasks
    /// or calls again, and where nobody waits any more.
    pub(crate) fn lead_for_tasks(&self) -> Option<Turn<'_, N>> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Free) || state.gathering.shared.is_none() {
            return None;
        }
        state.step(Step::Take, &mut After::default());
        Some(Turn { commit: self, must_sync: true })
    }

    /// The turn itself, whatever is durable. Blocks while another has it; no caller has it twice.
    pub(crate) fn take(&self) -> Turn<'_, N> {
        let waiter = {
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Free) {
                state.step(Step::Take, &mut After::default());
                return Turn { commit: self, must_sync: false };
            }
            let waiter = Arc::new(Waiter::new());
            state.line.push_back(waiter.clone());
            waiter
        };
        wait(&waiter); // nobody in line is ever served
        Turn { commit: self, must_sync: false }
    }

    fn step(&self, steps: impl IntoIterator<Item = Step<N>>) -> After {
        let mut after = After::default();
        let mut state = self.state.lock();
        steps.into_iter().for_each(|step| state.step(step, &mut after));
        after
    }

    /// The next leader first: its sync can begin while the others are told.
    fn follow_up(&self, after: After, ending: &Ending) {
        if let Some(next) = after.next {
            next.complete(Call::Lead);
        }
        after.ended.serve(ending);
        if after.call_timer {
            (self.call_timer)();
        }
    }
}

/// The place of a task, or of a caller who waits later, among those that a sync will serve.
#[derive(Debug)]
#[must_use = "who lets go of it never learns how the sync ended"]
pub(crate) struct Ride(Completed<Call>);

impl Ride {
    /// How the sync ended, if it has.
    pub(crate) fn try_get(&self) -> Option<Ending> {
        self.0.try_get().map(Ride::ending)
    }

    /// Blocks until the sync has ended, which somebody else makes, or answers `None` once the
    /// deadline has passed.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Ending> {
        self.0.wait(deadline).map(Ride::ending)
    }

    fn ending(call: Call) -> Ending {
        match call {
            Call::Served(ending) => ending,
            Call::Lead => unreachable!("only an heir is told to lead"),
        }
    }
}

/// Waits for the sync, and never leads it.
impl Future for Ride {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        Pin::new(&mut self.0).poll(cx).map(Ride::ending)
    }
}

/// The right to sync; whoever drops it hands it on.
#[must_use]
#[derive(Debug)]
pub(crate) struct Turn<'a, N: Copy + Ord + fmt::Debug> {
    commit: &'a Commit<N>,
    /// Others rely on a sync by this turn.
    must_sync: bool,
}

impl<N: Copy + Ord + fmt::Debug> Turn<'_, N> {
    /// A sync begins that covers everything published, whose end `published` reads; returns that.
    /// All who have joined by now lie below it.
    pub(crate) fn begin(&mut self, published: impl FnOnce() -> N) -> N {
        self.must_sync = false;
        let mut state = self.commit.state.lock();
        let cover = published();
        state.step(Step::Begin { cover }, &mut After::default());
        cover
    }

    /// The sync that was begun has ended. What it made durable can be read already.
    pub(crate) fn end(&mut self, ending: &Ending) {
        let after = self.commit.step([Step::End]);
        self.commit.follow_up(after, ending);
    }

    /// The same, and the turn goes to the next at once.
    pub(crate) fn end_and_release(self, ending: &Ending) {
        let commit = self.commit;
        std::mem::forget(self);
        let after = commit.step([Step::End, Step::Release]);
        commit.follow_up(after, ending);
    }

    /// Nobody is served from now on: those who wait, and those to come, get `error`.
    pub(crate) fn close(&mut self, error: &PlainArc<Error>) {
        let waiting = {
            let mut state = self.commit.state.lock();
            state.closed = Some(error.clone());
            std::mem::take(&mut state.gathering)
        };
        waiting.serve(&Err(error.clone()));
    }
}

/// A sync that was begun and not ended, or not begun though others rely on it, takes a panic.
impl<N: Copy + Ord + fmt::Debug> Drop for Turn<'_, N> {
    fn drop(&mut self) {
        let (left, after) = {
            let mut state = self.commit.state.lock();
            let mut after = After::default();
            let left = matches!(state.phase, Phase::Syncing { .. });
            if left {
                state.step(Step::End, &mut after);
            } else if self.must_sync {
                after.ended = std::mem::take(&mut state.gathering);
            }
            state.step(Step::Release, &mut after);
            (left || self.must_sync, after)
        };
        let panicked = || Error::new("sync", Cause::Panicked("a sync"));
        let ending = match left {
            true => Err(PlainArc::new(panicked().with_outcome(Outcome::WrittenNotDurable))),
            false => Ok(()), // for nobody
        };
        self.commit.follow_up(after, &ending);
    }
}

impl<N: fmt::Debug> fmt::Debug for Commit<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").field("phase", &self.state.lock().phase).finish_non_exhaustive()
    }
}

fn wait(waiter: &Waiter) -> Call {
    waiter.wait(None).expect("a wait without deadline ends with a call")
}

#[cfg(all(test, any(loom, shuttle)))]
mod loom_tests;
