//! Records that an ordinary consumer has read and gives back for later.
//!
//! Its group's place for them is a share group's with another intake: nothing of the log is handed
//! out there but what was given back. Everything else counts as acknowledged, so the state is as
//! long as what waits, and a record that comes again is leased, counted and given up by the rules
//! of all others. Who gives back may do so in any order: a record below the first that waits has
//! the state begin earlier, which a snapshot says.
//!
//! Invariant: when a call returns, what it says is on disk, and so is the record; only then may its
//! consumer commit past it. Called by `consumer`.

use std::sync::Arc;
use std::time::Duration;

use super::change::{Delta, Open};
use super::deliveries::{Due, Finished, Phase, Word};
use super::owed::AtLast;
use super::place::Place;
use super::settings::MOST_OPEN;
use super::settle::ungone;
use super::state::{Now, ShareState, whole_millis};
use crate::dead_letters::Death;
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{LeaderEpoch, Offset};

/// A record that is to come again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    pub(crate) offset: Offset,
    /// Of its batch.
    pub(crate) epoch: Option<LeaderEpoch>,
    /// How long it waits.
    pub(crate) delay: Duration,
}

impl ShareState {
    /// Has a record come again that nobody holds here; returns whether it is given up in place of
    /// that. What is to be a dead letter stays so.
    pub(super) fn plan_again(&self, again: Again, now: Now, delta: &mut Delta) -> bool {
        let at = again.offset.get();
        let before = self.open.get(&at);
        if before.is_some_and(|open| matches!(open.phase, Phase::Owed(_))) {
            return false;
        }
        let count = before.map_or(0, |open| open.count).saturating_add(1);
        let delay = whole_millis(again.delay);
        let phase = match self.at_last {
            AtLast::Bury if count >= self.most => Phase::Owed(Death::Attempts),
            AtLast::Archive if count >= self.most => {
                delta.done(at, at, Finished::Archived);
                self.plan_reach(at, again.epoch, delta);
                return true;
            }
            _ if delay.is_zero() => Phase::Available,
            _ => {
                let (at, wall) = (now.mono.saturating_add(delay), now.wall.saturating_add(delay));
                Phase::Parked(Due { at, wall, delay })
            }
        };
        self.plan_reach(at, again.epoch, delta);
        delta.open(at, Open::again(count, phase));
        false
    }

    /// Has the state reach from or to a record; what lies between is done.
    fn plan_reach(&self, at: i64, epoch: Option<LeaderEpoch>, delta: &mut Delta) {
        if at >= self.end {
            delta.done(self.end, at - 1, Finished::Acknowledged);
            (delta.end, delta.epoch) = (Some(at + 1), epoch);
        }
        if at < self.start {
            delta.start = Some(at);
            delta.done(at + 1, self.start - 1, Finished::Acknowledged);
        }
    }
}

impl Place {
    /// Has a record that was read come again. Blocks for syncs: of the record, of this word.
    pub(crate) fn bring_again(&self, again: Again, word: &Word) -> Result<()> {
        ungone(self.partition.make_durable(self.end_of_again(again)))?;
        match self.note_again(again, word)? {
            Some(end) => self.kept.log.make_durable_below(self.log_partition, end),
            None => Ok(()),
        }
    }

    /// The same for a task.
    pub(crate) async fn bring_again_later(self: Arc<Self>, again: Again, word: Word) -> Result<()> {
        ungone(self.partition.make_durable_later(self.end_of_again(again)).await)?;
        if self.note_again(again, &word)?.is_some() {
            let synced = self.kept.log.make_durable_later(self.log_partition).await;
            synced.map_err(|error| error.with_outcome(Outcome::WrittenNotDurable))?;
        }
        Ok(())
    }

    fn end_of_again(&self, again: Again) -> Offset {
        let end = again.offset.next();
        self.partition.offsets().map_or(end, |offsets| offsets.end.min(end))
    }

    fn note_again(&self, again: Again, word: &Word) -> Result<Option<Offset>> {
        const OPERATION: &str = "retry later";
        let offsets = self.partition.offsets()?;
        let now = self.now();
        let mut slot = self.slot.lock();
        self.notice_cuts(&mut slot).map_err(|error| self.named(error))?;
        if again.offset < offsets.start || again.offset >= offsets.end {
            let (requested, start, end) = (again.offset, offsets.start, offsets.end);
            let cause = Cause::OutOfRange { requested, start, end };
            return Err(self.named(Error::new(OPERATION, cause)));
        }
        if slot.state.open_len() >= MOST_OPEN {
            let text = format!("{MOST_OPEN} records wait there already");
            let error = Error::new(OPERATION, Cause::Full(text));
            return Err(self.named(error.with_outcome(Outcome::NotWritten)));
        }
        slot.state.tick(now.mono);
        let mut delta = Delta::default();
        let is_archived = slot.state.plan_again(again, now, &mut delta);
        if let Some(error) = &word.error {
            delta.texts.push((again.offset.get(), error.clone()));
        }
        if delta.is_empty() {
            return Ok(None); // it is to be a dead letter already
        }
        let written = self.write(&mut slot, &delta, now).map_err(|error| self.named(error))?;
        if is_archived {
            self.note_archived(1);
        }
        self.show(&mut slot);
        let settings = slot.settings;
        drop(slot);
        self.pass_on(&settings);
        Ok(written)
    }
}
