//! Records that a group has given up and stops at, until somebody says what becomes of them.
//!
//! Where a group is to stop, a record that was rejected, or handed out as often as it may, stays
//! open: with order by key nothing later of its key goes out, without it nothing of its partition.
//! An operator releases it, and it goes out as if for the first time, or skips it. Either is on
//! disk when the call returns. Called by `store`.

use std::sync::Arc;

use super::change::{Delta, Open};
use super::deliveries::{Finished, Phase};
use super::groups::ShareGroups;
use super::place::Place;
use super::settings::Fate;
use super::state::ShareState;
use crate::engine::Partition;
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;

/// What becomes of a record that a group stops at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes out again, with all its deliveries.
    Release,
    /// It is finished.
    Skip,
}

/// A record that a group stops at.
#[derive(Clone, Debug)]
pub(crate) struct StoppedAt {
    pub(crate) partition: Arc<Partition>,
    pub(crate) offset: Offset,
    pub(crate) count: u16,
    pub(crate) error: Option<Arc<str>>,
}

impl ShareState {
    /// Ends the stop at a record; `false` where there is none.
    pub(super) fn plan_verdict(&self, at: i64, verdict: Verdict, delta: &mut Delta) -> bool {
        let Some(open) = self.open.get(&at).filter(|_| self.exhausted.contains(&at)) else {
            return false;
        };
        match verdict {
            Verdict::Skip => delta.done(at, at, Finished::Archived),
            Verdict::Release => {
                let phase = match open.key.is_some_and(|key| self.is_behind(at, key)) {
                    true => Phase::Behind,
                    false => Phase::Available,
                };
                delta.open(at, Open { count: 0, phase, key: open.key });
            }
        }
        true
    }
}

impl ShareGroups {
    /// What a group stops at, in the order of topics, partitions and offsets.
    pub(crate) fn stopped(&self, name: &str) -> Result<Vec<StoppedAt>> {
        let (_, views) = self.describe(name)?;
        let group = self.known("list stopped records", name)?;
        let mut all = Vec::new();
        for view in views {
            if let Some(place) = group.used(&view.partition) {
                all.extend(place.stopped());
            }
        }
        Ok(all)
    }

    /// Says what becomes of a record that a group stops at; durable when it returns.
    pub(crate) fn end_stop(
        &self,
        name: &str,
        partition: &Arc<Partition>,
        offset: Offset,
        verdict: Verdict,
    ) -> Result<()> {
        const OPERATION: &str = "end stop";
        self.kept.engine.check_writable(OPERATION)?;
        self.describe(name)?; // makes places of what an earlier life has left
        let group = self.known(OPERATION, name)?;
        let not_stopped = || {
            let text = format!("share group `{name}` does not stop there");
            let error = Error::new(OPERATION, Cause::InvalidRecordState(text)).at_offset(offset);
            error.at_partition(partition.topic_name(), partition.id())
        };
        let place = group.used(partition).ok_or_else(not_stopped)?;
        let mut turn = self.kept.burying.letters.turn(); // nothing is buried meanwhile
        self.kept.burying.take_over(&place, &mut turn)?;
        match place.end_stop(offset, verdict)? {
            true => self.kept.log.make_durable(place.log_partition),
            false => Err(not_stopped()),
        }
    }
}

impl Place {
    fn stopped(&self) -> Vec<StoppedAt> {
        let slot = self.slot.lock();
        if matches!(slot.fate, Fate::Bury(_) | Fate::Archive) {
            return Vec::new(); // they are on their way
        }
        let state = &slot.state;
        let exhausted = state.exhausted();
        let stopped = exhausted.map(|(at, open)| StoppedAt {
            partition: self.partition.clone(),
            offset: Offset::new(at),
            count: open.count,
            error: state.texts.get(&at).cloned(),
        });
        stopped.collect()
    }

    fn end_stop(&self, offset: Offset, verdict: Verdict) -> Result<bool> {
        let now = self.now();
        let mut slot = self.slot.lock();
        self.notice_cuts(&mut slot)?;
        slot.state.tick(now.mono);
        let mut delta = Delta::default();
        let is_buried = matches!(slot.fate, Fate::Bury(_) | Fate::Archive);
        if is_buried || !slot.state.plan_verdict(offset.get(), verdict, &mut delta) {
            return Ok(false);
        }
        self.write(&mut slot, &delta, now).map_err(|error| self.named(error))?;
        if verdict == Verdict::Skip {
            self.note_archived(1);
        }
        self.show(&mut slot);
        let (settings, ready) = (slot.settings, slot.state.ready_len());
        drop(slot);
        self.wake_for(ready, &settings);
        Ok(true)
    }
}
