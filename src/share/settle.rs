//! Settling: how a lease ends, by its holder's word or because the holder is gone.
//!
//! With power durability the records come first: an acknowledgement or a rejection that survives
//! must not name a record that does not. Then the word is appended, takes effect, and is synced.
//! What is repeated by the same lease is granted again and changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::change::Delta;
use super::deliveries::{LeaseFault, LeaseId, Resolution, Word};
use super::place::Place;
use super::settings::Fate;
use crate::config::Durability;
use crate::error::{ErrorKind, Outcome, Result};
use crate::ids::Offset;

/// The longest delay.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// What is settled where one of several records cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settling {
    /// All or nothing.
    Whole,
    /// Each for itself.
    Each,
}

/// What came of settling, by record.
pub(crate) type Settled = Vec<Result<(), LeaseFault>>;

/// What is to be on disk for it to last.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// The end of its record in the log.
    end: Option<Offset>,
    /// It was said before.
    repeated: bool,
}

impl Place {
    /// Ends leases. Blocks for syncs with power durability.
    pub(crate) fn settle(
        &self,
        items: &[(Offset, LeaseId)],
        word: &Word,
        (settling, durability): (Settling, Durability),
    ) -> Result<Settled> {
        let is_durable = durability == Durability::Power;
        if is_durable
            && is_final(word.how)
            && let Some(end) = self.end_of(items)
        {
            ungone(self.partition.make_durable(end))?;
        }
        let (settled, written) = self.settle_now(items, word, settling)?;
        if is_durable {
            match written {
                Written { repeated: true, .. } => self.kept.log.make_durable(self.log_partition)?,
                Written { end: Some(end), .. } => {
                    self.kept.log.make_durable_below(self.log_partition, end)?;
                }
                Written { .. } => {}
            }
        }
        Ok(settled)
    }

    /// The same for a task: no poll waits for a sync.
    pub(crate) async fn settle_later(
        self: Arc<Self>,
        items: Vec<(Offset, LeaseId)>,
        word: Word,
        (settling, durability): (Settling, Durability),
    ) -> Result<Settled> {
        let is_durable = durability == Durability::Power;
        if is_durable
            && is_final(word.how)
            && let Some(end) = self.end_of(&items)
        {
            ungone(self.partition.make_durable_later(end).await)?;
        }
        let (settled, written) = self.settle_now(&items, &word, settling)?;
        if is_durable && (written.repeated || written.end.is_some()) {
            let synced = self.kept.log.make_durable_later(self.log_partition).await;
            synced.map_err(|error| error.with_outcome(Outcome::WrittenNotDurable))?;
        }
        Ok(settled)
    }

    fn settle_now(
        &self,
        items: &[(Offset, LeaseId)],
        word: &Word,
        settling: Settling,
    ) -> Result<(Settled, Written)> {
        self.partition.offsets()?; // of a deleted topic nothing is to be written any more
        let now = self.now();
        let mut slot = self.slot.lock();
        self.notice_cuts(&mut slot).map_err(|error| self.named(error))?;
        slot.state.tick(now.mono);
        let mut delta = Delta::default();
        let mut settled = Vec::with_capacity(items.len());
        let mut written = Written::default();
        let mut named = HashMap::with_capacity(items.len());
        for (at, (offset, lease)) in items.iter().enumerate() {
            let first = *named.entry((*offset, *lease)).or_insert(at);
            if first < at {
                settled.push(settled[first]); // said twice in one call
                continue;
            }
            let item = (offset.get(), *lease);
            let planned = slot.state.plan_settle(item, word.how, now, &mut delta);
            if let (Ok(true), Some(error)) = (planned, &word.error) {
                delta.texts.push((item.0, error.clone()));
            }
            written.repeated |= planned == Ok(false);
            settled.push(planned.map(drop));
        }
        if settling == Settling::Whole && settled.iter().any(Result::is_err) {
            self.show(&mut slot);
            return Ok((settled, Written::default()));
        }
        if !delta.is_empty() {
            written.end = self.write(&mut slot, &delta, now).map_err(|error| self.named(error))?;
            if word.how == Resolution::Reject && slot.fate == Fate::Archive {
                self.note_archived(delta.len() as u64);
            }
        }
        if let Err(error) = self.bury(&mut slot, now) {
            // it stays exhausted, is handed to nobody, and is tried again
            log::warn!("group `{}`: what is given up is not written: {error}", self.group);
        }
        self.show(&mut slot);
        let settings = slot.settings;
        drop(slot);
        self.pass_on(&settings);
        Ok((settled, written))
    }

    /// Moves the end of leases to `lasts` from now; each for itself.
    pub(crate) fn extend(&self, items: &[(Offset, LeaseId)], lasts: Duration) -> Settled {
        let now = self.now();
        let deadline = now.mono.saturating_add(lasts);
        let mut slot = self.slot.lock();
        if let Err(error) = self.notice_cuts(&mut slot) {
            log::debug!("group `{}`: {error}", self.group); // the next look or word says so
        }
        slot.state.tick(now.mono);
        let extend =
            |(offset, lease): &(Offset, LeaseId)| slot.state.extend(offset.get(), *lease, deadline);
        let extended = items.iter().map(extend).collect();
        self.show(&mut slot);
        extended
    }

    /// Gives up all that a member holds: it is gone.
    pub(crate) fn give_up(&self, member: u64) {
        self.give_up_if(|by| by == member);
    }

    /// Gives up all that others hold: there is one holder only, and it is another one now.
    pub(crate) fn give_up_others(&self, member: u64) {
        self.give_up_if(|by| by != member);
    }

    fn give_up_if(&self, is_gone: impl Fn(u64) -> bool) {
        let now = self.now();
        let mut slot = self.slot.lock();
        slot.state.give_up(is_gone);
        if let Err(error) = self.bury(&mut slot, now) {
            log::warn!("group `{}`: what is given up is not written: {error}", self.group);
        }
        self.show(&mut slot);
        let (settings, ready) = (slot.settings, slot.state.ready_len());
        drop(slot);
        self.wake_for(ready, &settings);
    }

    /// Where the records end, as far as the log has them still.
    fn end_of(&self, items: &[(Offset, LeaseId)]) -> Option<Offset> {
        let end = items.iter().map(|(offset, _)| offset.next()).max()?;
        Some(self.partition.offsets().map_or(end, |offsets| offsets.end.min(end)))
    }

    /// Makes everything said here so far durable; blocks for a sync.
    pub(crate) fn flush(&self) -> Result<()> {
        self.kept.log.make_durable(self.log_partition)
    }

    /// The same for a task.
    pub(crate) fn flush_later(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        self.kept.log.make_durable_later(self.log_partition)
    }
}

/// Whether the record is never handed out again.
fn is_final(how: Resolution) -> bool {
    matches!(how, Resolution::Ack | Resolution::Reject)
}

/// A topic that is deleted has nothing to make durable.
pub(super) fn ungone(synced: Result<()>) -> Result<()> {
    match synced {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(|error| error.with_outcome(Outcome::NotWritten)),
    }
}
