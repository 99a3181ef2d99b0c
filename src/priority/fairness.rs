//! Whose turn it is among priorities that have something: the highest first, and none starves.
//!
//! Deficit round robin. In each round a priority may take so many records: its weight times 64;
//! its weight is one more than its number where nobody says otherwise. The highest that has
//! something and may still take goes first; once nobody may, the next round begins. Who takes
//! more than it may, by the rest of a batch, pays in the next round. So what comes for a high
//! priority overtakes all that waits below it, and under full load each gets its weight's part of
//! what all get, at the latest after one round of the others. Who is alone takes what it wants,
//! and is not charged.

use crate::config::Priority;
use crate::error::{Cause, Error, Result};

/// Records for each unit of weight in a round.
pub(crate) const QUANTUM: i64 = 64;

const COUNT: usize = Priority::COUNT as usize;

/// How many units of a round each priority gets, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weights([u32; COUNT]);

/// What each priority may still take.
#[derive(Clone, Debug)]
pub(crate) struct Fairness {
    weights: Weights,
    round: u64,
    shares: [Share; COUNT],
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Records it may take in this round; below 0 what it took too many.
    credit: i64,
    /// The last round in which it had something.
    round: u64,
}

/// Who is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) priority: Priority,
    /// How many records it may take before it is somebody else's turn; `None` for as many as there
    /// are.
    pub(crate) most: Option<u64>,
}

impl Weights {
    const MOST: u32 = 1000;

    pub(crate) fn new(weights: [u32; COUNT]) -> Self {
        Weights(weights)
    }

    /// Refuses what would have a priority starve, or the others wait for very long.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        let is_wrong = |weight: &&u32| !(1..=Self::MOST).contains(*weight);
        let Some(weight) = self.0.iter().find(is_wrong) else { return Ok(()) };
        let allowed = format!("1 to {} each", Self::MOST);
        let (key, value) = ("priority_weights".to_owned(), weight.to_string());
        Err(Error::new(operation, Cause::InvalidConfig { key, value, allowed }))
    }

    fn of(&self, priority: u8) -> i64 {
        self.0[usize::from(priority)].into()
    }
}

impl Default for Weights {
    fn default() -> Self {
        Weights([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    }
}

impl Fairness {
    pub(crate) fn new(weights: Weights) -> Self {
        Fairness { weights, round: 1, shares: [Share::default(); COUNT] }
    }

    /// The next of those that have something.
    pub(crate) fn next(&mut self, has_some: impl Fn(Priority) -> bool) -> Option<Turn> {
        let ready = |number: &u8| has_some(Priority::new(*number));
        let mut waiting = (0..=Priority::HIGHEST.get()).rev().filter(ready);
        let highest = waiting.next()?;
        let Some(second) = waiting.next() else {
            return Some(Turn { priority: Priority::new(highest), most: None });
        };
        let mut all = vec![highest, second];
        all.extend(waiting);
        loop {
            for number in &all {
                let share = &mut self.shares[usize::from(*number)];
                if share.round != self.round {
                    let owed = if share.round + 1 == self.round { share.credit.min(0) } else { 0 };
                    let credit = owed + self.weights.of(*number) * QUANTUM;
                    *share = Share { credit, round: self.round };
                }
                if share.credit > 0 {
                    let most = Some(share.credit.unsigned_abs());
                    return Some(Turn { priority: Priority::new(*number), most });
                }
            }
            self.round += 1;
        }
    }

    /// What came of a turn.
    pub(crate) fn charge(&mut self, turn: Turn, records: usize) {
        if turn.most.is_some() {
            let share = &mut self.shares[usize::from(turn.priority.get())];
            let records = i64::try_from(records).unwrap_or(i64::MAX);
            share.credit = share.credit.saturating_sub(records);
        }
    }
}
