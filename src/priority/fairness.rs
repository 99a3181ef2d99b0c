//! Whose turn it is among priorities that have something: the highest first, and none starves.
//!
//! Deficit round robin. In each round a priority may take so many records: its weight, one more
//! than its number, times 64. The highest that has something and may still take goes first; once
//! nobody may, the next round begins. Who takes more than it may, by the rest of a batch, pays in
//! the next round. So what comes for a high priority overtakes all that waits below it, and under
//! full load priority `p` gets `p + 1` parts of what all get, at the latest after one round of the
//! others. Who is alone takes what it wants, and is not charged.

use crate::config::Priority;

/// Records for each unit of weight in a round.
pub(crate) const QUANTUM: i64 = 64;

const COUNT: usize = Priority::COUNT as usize;

/// What each priority may still take.
#[derive(Clone, Debug)]
pub(crate) struct Fairness {
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

impl Fairness {
    pub(crate) fn new() -> Self {
        Fairness { round: 1, shares: [Share::default(); COUNT] }
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
                    let weight = i64::from(*number) + 1;
                    *share = Share { credit: owed + weight * QUANTUM, round: self.round };
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
