//! What the holders of leases say of records, and what of that is remembered.
//!
//! A word that settles is planned: it changes nothing until it is written and the plan is applied.
//! What gives a lease back without a word, or moves its end, is not written at all. What was said
//! is remembered for who says the same again, because the answer was lost: the newest records, and
//! all of the last call. Called by `settle`, `place` and the state itself.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::super::change::{Delta, Open, To};
use super::super::deliveries::{
    Due, Finished, LeaseFault, LeaseId, Move, Moved, Phase, Resolution, Settle,
};
use super::super::owed::AtLast;
use super::{Now, ShareState, whole_millis};
use crate::dead_letters::Death;

/// How many settled records are remembered for who says the same again; more where one word was
/// about more.
const REMEMBERED: usize = 4_096;

/// What was said of records that are settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    said: HashMap<i64, (LeaseId, Resolution)>,
    /// In the order in which they were settled.
    order: VecDeque<i64>,
}

impl Settled {
    fn has(&self, offset: i64, said: (LeaseId, Resolution)) -> bool {
        self.said.get(&offset) == Some(&said)
    }

    /// Takes in what one call has settled, and forgets the oldest.
    pub(super) fn take_in(&mut self, settled: &[(i64, (LeaseId, Resolution))]) {
        for (offset, said) in settled {
            if self.said.insert(*offset, *said).is_none() {
                self.order.push_back(*offset);
            }
        }
        while self.order.len() > REMEMBERED.max(settled.len()) {
            if let Some(offset) = self.order.pop_front() {
                self.said.remove(&offset);
            }
        }
    }
}

impl ShareState {
    /// Plans what the holder of a lease says of one record; an error changes nothing. `false`
    /// where the same has been said before, word for word.
    pub(in crate::share) fn plan_settle(
        &self,
        (offset, lease): (i64, LeaseId),
        how: Resolution,
        now: Now,
        delta: &mut Delta,
    ) -> Result<bool, LeaseFault> {
        let said = (lease, how);
        if self.settled.has(offset, said) {
            return Ok(false);
        }
        let open = self.find(offset)?;
        let how = match how {
            Resolution::Ack => Settle::Ack,
            Resolution::Reject => self.at_last.rejected(),
            Resolution::Release { .. }
                if self.at_last == AtLast::Bury && open.count >= self.most =>
            {
                Settle::Bury(Death::Attempts)
            }
            Resolution::Release { delay } if delay.is_zero() => Settle::Release(None),
            Resolution::Release { delay } => {
                let delay = whole_millis(delay); // what is written is not earlier than what is said
                let wall = now.wall.saturating_add(delay);
                let at = now.mono.saturating_add(delay);
                Settle::Release(Some(Due { at, wall, delay }))
            }
        };
        let to = match open.phase.after(Move::Settle { lease, how }, open.count, self.most)? {
            Moved::Done(how) => To::Done(how),
            Moved::To(phase) => To::Open(Open { phase, ..open }),
        };
        delta.changes.push((offset, offset, to));
        delta.settled.push((offset, said));
        Ok(true)
    }

    /// Gives up all that a member holds; nothing of that is written.
    pub(in crate::share) fn give_up(&mut self, is_gone: impl Fn(u64) -> bool) {
        let all: Vec<i64> = self.leased.iter().map(|(_, at)| *at).collect();
        for at in all {
            if let Some(Phase::Leased { lease, .. }) = self.open.get(&at).map(|open| open.phase)
                && is_gone(lease.member)
            {
                self.step(at, Move::Settle { lease, how: Settle::Release(None) });
            }
        }
    }

    /// Moves the end of a lease; nothing of that is written.
    pub(in crate::share) fn extend(
        &mut self,
        offset: i64,
        lease: LeaseId,
        deadline: Duration,
    ) -> Result<(), LeaseFault> {
        let open = self.find(offset)?;
        let step = Move::Extend { lease, deadline };
        if let Moved::To(phase) = open.phase.after(step, open.count, self.most)? {
            self.set_open(offset, Open { phase, ..open });
        }
        Ok(())
    }

    fn find(&self, offset: i64) -> Result<Open, LeaseFault> {
        match self.open.get(&offset) {
            Some(open) => Ok(*open),
            None if offset >= self.end => Err(LeaseFault::NeverTaken),
            None => Err(self.finished(offset).map_or(LeaseFault::Finished, Finished::fault)),
        }
    }
}
