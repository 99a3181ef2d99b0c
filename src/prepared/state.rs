//! Which transactions are prepared, when their owner is asked about them, and how the last ones
//! ended. Pure.
//!
//! A transaction waits, is being asked about, or is parked; resolving it is possible in any of
//! these, once. Times are those of the monotonic clock: how the wall jumps does not matter, and a
//! new life counts its delays from its opening. Of those that have ended, the outcomes of the last
//! ones are remembered, so that a resolution may be said twice.
//!
//! Who waits lies in a row by name and by how often it was asked about: those of one row wait
//! equally long, so that the next question is found without a look at all of them.
//!
//! Called by `coordinator` under its lock, and by the model's tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::Offset;
use crate::time::Timestamp;

/// How a prepared transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    RolledBack,
}

/// What becomes of a prepared transaction that its resolver cannot tell of, however often it is
/// asked.
///
/// ```
/// use tidelog::Exhausted;
/// assert_eq!(Exhausted::default(), Exhausted::Park);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exhausted {
    /// It is kept and not asked about any more: somebody commits it or rolls it back by hand.
    #[default]
    Park,
    /// It is rolled back; one that its resolver commits and that cannot be committed, for a topic
    /// is gone, is parked.
    RollBack,
    /// It is asked about for ever, at the longest interval.
    KeepAsking,
}

/// When and how often a resolver is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks {
    pub(crate) first: Duration,
    /// Each interval is twice the last one, and at most this.
    pub(crate) longest: Duration,
    pub(crate) most: u32,
    pub(crate) exhausted: Exhausted,
}

impl Checks {
    /// How long after the last event the next question comes, when `asked` were asked.
    fn delay(&self, asked: u32) -> Duration {
        let doubled = 1u32 << asked.min(MOST_DOUBLED);
        self.first.saturating_mul(doubled).min(self.longest.max(self.first))
    }
}

/// From so many questions on intervals do not grow.
const MOST_DOUBLED: u32 = 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Since then, on the monotonic clock, nothing happened.
    Waiting(Duration),
    Asking,
    Parked,
}

/// A prepared transaction.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) name: Arc<str>,
    pub(super) offset: Offset,
    pub(super) prepared: Timestamp,
    pub(super) asked: u32,
    pub(super) phase: Phase,
}

/// What follows from an answer that tells nothing, or that could not be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wait,
    Park,
    RollBack,
}

/// What is known of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Pending(Pending),
    Ended(Outcome),
    /// It has ended, and this life cannot tell how.
    Undecided,
    /// It never was, or ended so long ago that it is forgotten.
    Unknown,
}

/// Those that wait equally long, with since when they do.
type Row = BTreeSet<(Duration, u64)>;

/// When a transaction ended, and its number among those that were taken in.
type Place = (Timestamp, u64);

/// All prepared transactions of a store, by sequence.
#[derive(Debug)]
pub(super) struct State {
    pending: BTreeMap<u64, Pending>,
    /// Of those the waiting ones, since when, by name and by how often they were asked about.
    waiting: HashMap<Arc<str>, BTreeMap<u32, Row>>,
    parked: usize,
    ended: HashMap<u64, (Outcome, Place)>,
    /// The same, by when they ended.
    order: BTreeMap<Place, u64>,
    /// How many were taken in.
    endings: u64,
    /// How many of them are remembered.
    remembered: usize,
    /// Those that have ended, and this life cannot tell how.
    undecided: BTreeSet<u64>,
    next_sequence: u64,
}

impl State {
    pub(super) fn new(remembered: usize) -> Self {
        State {
            pending: BTreeMap::new(),
            waiting: HashMap::new(),
            parked: 0,
            ended: HashMap::new(),
            order: BTreeMap::new(),
            endings: 0,
            remembered,
            undecided: BTreeSet::new(),
            next_sequence: 0,
        }
    }

    /// One that knows of nothing, and remembers as many.
    pub(super) fn emptied(&self) -> Self {
        State::new(self.remembered)
    }

    pub(super) fn begin_sequences(&mut self, least: u64) {
        self.next_sequence = self.next_sequence.max(least);
    }

    /// A sequence above all before.
    pub(super) fn draw_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    pub(super) fn add(&mut self, sequence: u64, pending: Pending) {
        self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
        self.list(sequence, &pending);
        if let Some(before) = self.pending.insert(sequence, pending) {
            self.unlist(sequence, &before);
        }
    }

    fn list(&mut self, sequence: u64, pending: &Pending) {
        match pending.phase {
            Phase::Waiting(since) => {
                let rows = self.waiting.entry(pending.name.clone()).or_default();
                rows.entry(pending.row()).or_default().insert((since, sequence));
            }
            Phase::Parked => self.parked += 1,
            Phase::Asking => {}
        }
    }

    fn unlist(&mut self, sequence: u64, pending: &Pending) {
        match pending.phase {
            Phase::Waiting(since) => {
                let Some(rows) = self.waiting.get_mut(&pending.name) else { return };
                if let Some(row) = rows.get_mut(&pending.row()) {
                    row.remove(&(since, sequence));
                    if row.is_empty() {
                        rows.remove(&pending.row());
                    }
                }
                if rows.is_empty() {
                    self.waiting.remove(&pending.name);
                }
            }
            Phase::Parked => self.parked -= 1,
            Phase::Asking => {}
        }
    }

    /// Takes a transaction out.
    fn take_out(&mut self, sequence: u64) -> Option<Pending> {
        let pending = self.pending.remove(&sequence)?;
        self.unlist(sequence, &pending);
        Some(pending)
    }

    /// Changes a transaction, if it is pending.
    fn change<T>(&mut self, sequence: u64, change: impl FnOnce(&mut Pending) -> T) -> Option<T> {
        let mut pending = self.take_out(sequence)?;
        let changed = change(&mut pending);
        self.list(sequence, &pending);
        self.pending.insert(sequence, pending);
        Some(changed)
    }

    pub(super) fn get(&self, sequence: u64) -> Known {
        if self.undecided.contains(&sequence) {
            return Known::Undecided;
        }
        match (self.pending.get(&sequence), self.ended.get(&sequence)) {
            (Some(pending), _) => Known::Pending(pending.clone()),
            (None, Some((outcome, _))) => Known::Ended(*outcome),
            (None, None) => Known::Unknown,
        }
    }

    /// The pending ones behind `after`, in order.
    pub(super) fn after(&self, after: Option<u64>) -> impl Iterator<Item = (u64, &Pending)> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        self.pending.range(from..).map(|(sequence, pending)| (*sequence, pending))
    }

    /// A transaction ends now, after all before it, whatever the wall says. Returns those whose
    /// outcome is forgotten for it.
    pub(super) fn resolve(&mut self, sequence: u64, outcome: Outcome, now: Timestamp) -> Vec<u64> {
        let last = self.order.last_key_value().map(|((at, _), _)| *at);
        self.restore_outcome(sequence, outcome, last.map_or(now, |last| last.max(now)))
    }

    /// A transaction had ended at `at`; of others that did before it and after it some may be known
    /// already. Returns those whose outcome is forgotten for it, it may be this one.
    pub(super) fn restore_outcome(
        &mut self,
        sequence: u64,
        outcome: Outcome,
        at: Timestamp,
    ) -> Vec<u64> {
        self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
        self.take_out(sequence);
        self.forget_outcome(sequence);
        self.endings += 1;
        let place = (at, self.endings);
        self.ended.insert(sequence, (outcome, place));
        self.order.insert(place, sequence);
        let mut forgotten = Vec::new();
        while self.order.len() > self.remembered {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.ended.remove(&oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    /// A transaction may have ended: nobody is asked about it, and it is not to be ended again.
    pub(super) fn set_undecided(&mut self, sequence: u64) {
        self.take_out(sequence);
        self.undecided.insert(sequence);
    }

    /// Nothing is known of a transaction any more.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.take_out(sequence);
        self.forget_outcome(sequence);
    }

    fn forget_outcome(&mut self, sequence: u64) {
        if let Some((_, place)) = self.ended.remove(&sequence) {
            self.order.remove(&place);
        }
    }

    /// What an earlier life has asked.
    pub(super) fn restore_checks(&mut self, sequence: u64, asked: u32, is_parked: bool) {
        self.change(sequence, |pending| {
            pending.asked = asked;
            if is_parked {
                pending.phase = Phase::Parked;
            }
        });
    }
}

impl Pending {
    /// All of one row wait equally long.
    fn row(&self) -> u32 {
        self.asked.min(MOST_DOUBLED)
    }
}

/// Asking.
impl State {
    /// The transaction of a name that is to be asked about next, and when.
    fn next_of(&self, name: &str, checks: &Checks) -> Option<(Duration, u64)> {
        let rows = self.waiting.get(name)?.iter();
        let first = |(asked, row): (&u32, &Row)| {
            let (since, sequence) = row.first()?;
            Some((since.saturating_add(checks.delay(*asked)), *sequence))
        };
        rows.filter_map(first).min()
    }

    /// Takes the next transaction of a name that is to be asked about at `now`.
    pub(super) fn begin_asking(
        &mut self,
        name: &str,
        checks: &Checks,
        now: Duration,
    ) -> Option<(u64, Pending)> {
        let (_, sequence) = self.next_of(name, checks).filter(|(at, _)| *at <= now)?;
        let pending = self.change(sequence, |pending| {
            pending.phase = Phase::Asking;
            pending.clone()
        })?;
        Some((sequence, pending))
    }

    /// When the next question about a transaction of a name is due.
    pub(super) fn next_question(&self, name: &str, checks: &Checks) -> Option<Duration> {
        self.next_of(name, checks).map(|(at, _)| at)
    }

    /// Its resolver could not tell. The count of questions with what follows; `None` where it was
    /// resolved meanwhile.
    pub(super) fn told_nothing(
        &mut self,
        sequence: u64,
        checks: &Checks,
        now: Duration,
    ) -> Option<(u32, Next)> {
        let when_over = match checks.exhausted {
            Exhausted::Park => Next::Park,
            Exhausted::RollBack => Next::RollBack,
            Exhausted::KeepAsking => Next::Wait,
        };
        self.asked_once_more(sequence, checks, now, when_over)
    }

    /// It could not be asked about, or its resolver's answer could not be carried out: that counts
    /// as a question. What `may_pass` is tried for ever; what does not, parks it in the end: to
    /// roll back what was to be committed is not for a policy.
    pub(super) fn was_not_resolved(
        &mut self,
        sequence: u64,
        checks: &Checks,
        (now, may_pass): (Duration, bool),
    ) -> Option<(u32, Next)> {
        if self.pending.get(&sequence)?.phase != Phase::Asking {
            return None; // counted already
        }
        let keeps_on = may_pass || checks.exhausted == Exhausted::KeepAsking;
        let when_over = if keeps_on { Next::Wait } else { Next::Park };
        self.asked_once_more(sequence, checks, now, when_over)
    }

    fn asked_once_more(
        &mut self,
        sequence: u64,
        checks: &Checks,
        now: Duration,
        when_over: Next,
    ) -> Option<(u32, Next)> {
        self.change(sequence, |pending| {
            pending.asked = pending.asked.saturating_add(1);
            let next = if pending.asked >= checks.most { when_over } else { Next::Wait };
            pending.phase = if next == Next::Park { Phase::Parked } else { Phase::Waiting(now) };
            (pending.asked, next)
        })
    }

    /// What was decided on it is not done yet: again later.
    pub(super) fn put_back(&mut self, sequence: u64, now: Duration) {
        self.change(sequence, |pending| {
            if pending.phase == Phase::Asking {
                pending.phase = Phase::Waiting(now);
            }
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
