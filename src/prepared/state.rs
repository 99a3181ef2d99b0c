//! Which transactions are prepared, when their owner is asked about them, and how the last ones
//! ended. Pure.
//!
//! A transaction waits, is being asked about, or is parked; resolving it is possible in any of
//! these, once. Times are those of the monotonic clock: how the wall jumps does not matter, and a
//! new life counts its delays from its opening. Of those that have ended, the outcomes of the last
//! ones are remembered, so that a resolution may be said twice.
//!
//! Called by `coordinator` under its lock, and by the model's tests.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
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
    /// It is rolled back.
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
        let doubled = 1u32.checked_shl(asked.min(31)).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.longest.max(self.first))
    }
}

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

/// What follows from an answer that tells nothing.
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

/// All prepared transactions of a store, by sequence.
#[derive(Debug)]
pub(super) struct State {
    pending: BTreeMap<u64, Pending>,
    ended: HashMap<u64, Outcome>,
    /// The same, oldest first, and some that are forgotten.
    order: VecDeque<u64>,
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
            ended: HashMap::new(),
            order: VecDeque::new(),
            remembered,
            undecided: BTreeSet::new(),
            next_sequence: 0,
        }
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
        self.pending.values().filter(|it| it.phase == Phase::Parked).count()
    }

    pub(super) fn add(&mut self, sequence: u64, pending: Pending) {
        self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
        self.pending.insert(sequence, pending);
    }

    pub(super) fn get(&self, sequence: u64) -> Known {
        if self.undecided.contains(&sequence) {
            return Known::Undecided;
        }
        match (self.pending.get(&sequence), self.ended.get(&sequence)) {
            (Some(pending), _) => Known::Pending(pending.clone()),
            (None, Some(outcome)) => Known::Ended(*outcome),
            (None, None) => Known::Unknown,
        }
    }

    /// The pending ones behind `after`, in order.
    pub(super) fn after(&self, after: Option<u64>) -> impl Iterator<Item = (u64, &Pending)> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        self.pending.range(from..).map(|(sequence, pending)| (*sequence, pending))
    }

    /// A transaction has ended. Returns those whose outcome is forgotten for it.
    pub(super) fn resolve(&mut self, sequence: u64, outcome: Outcome) -> Vec<u64> {
        self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
        self.pending.remove(&sequence);
        if self.ended.insert(sequence, outcome).is_none() {
            self.order.push_back(sequence);
        }
        let mut forgotten = Vec::new();
        while self.ended.len() > self.remembered {
            let Some(oldest) = self.order.pop_front() else { break };
            forgotten.extend(self.ended.remove(&oldest).map(|_| oldest));
        }
        forgotten
    }

    /// A transaction may have ended: nobody is asked about it, and it is not to be ended again.
    pub(super) fn set_undecided(&mut self, sequence: u64) {
        self.pending.remove(&sequence);
        self.undecided.insert(sequence);
    }

    /// Nothing is known of a transaction any more.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.pending.remove(&sequence);
        self.ended.remove(&sequence); // its place in the order is passed over
    }

    /// What an earlier life has asked.
    pub(super) fn restore_checks(&mut self, sequence: u64, asked: u32, is_parked: bool) {
        if let Some(pending) = self.pending.get_mut(&sequence) {
            pending.asked = asked;
            if is_parked {
                pending.phase = Phase::Parked;
            }
        }
    }
}

/// Asking.
impl State {
    /// Takes the next transaction of a name that is to be asked about at `now`.
    pub(super) fn begin_asking(
        &mut self,
        name: &str,
        checks: &Checks,
        now: Duration,
    ) -> Option<(u64, Pending)> {
        let due = |it: &Pending| match it.phase {
            Phase::Waiting(since) => since.saturating_add(checks.delay(it.asked)) <= now,
            Phase::Asking | Phase::Parked => false,
        };
        let mut own = self.pending.iter_mut().filter(|(_, it)| *it.name == *name);
        let (sequence, pending) = own.find(|(_, it)| due(it))?;
        pending.phase = Phase::Asking;
        Some((*sequence, pending.clone()))
    }

    /// When the next question about a transaction of a name is due.
    pub(super) fn next_question(&self, name: &str, checks: &Checks) -> Option<Duration> {
        let own = self.pending.values().filter(|it| *it.name == *name);
        let times = own.filter_map(|it| match it.phase {
            Phase::Waiting(since) => Some(since.saturating_add(checks.delay(it.asked))),
            Phase::Asking | Phase::Parked => None,
        });
        times.min()
    }

    /// Its resolver could not tell. The count of questions with what follows; `None` where it was
    /// resolved meanwhile.
    pub(super) fn told_nothing(
        &mut self,
        sequence: u64,
        checks: &Checks,
        now: Duration,
    ) -> Option<(u32, Next)> {
        let pending = self.pending.get_mut(&sequence)?;
        pending.asked = pending.asked.saturating_add(1);
        let is_over = pending.asked >= checks.most;
        let next = match checks.exhausted {
            Exhausted::Park if is_over => Next::Park,
            Exhausted::RollBack if is_over => Next::RollBack,
            _ => Next::Wait,
        };
        pending.phase = if next == Next::Park { Phase::Parked } else { Phase::Waiting(now) };
        Some((pending.asked, next))
    }

    /// It could not be asked about, or not be resolved as it was answered: again later.
    pub(super) fn put_back(&mut self, sequence: u64, now: Duration) {
        if let Some(pending) = self.pending.get_mut(&sequence)
            && pending.phase == Phase::Asking
        {
            pending.phase = Phase::Waiting(now);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
