//! The end of a transaction: decided by one record, then carried through.
//!
//! Order, and why. Of a commit with power durability first every record it is about is synced, with
//! what its offsets stand for; then the record that decides, `PrepareCommit`, is appended and
//! synced: from there on the transaction is committed whatever happens. Then each partition gets
//! its marker, which readers see; the markers are synced before the last record says that they are
//! there, for a later life looks no further than that one. An abort needs no sync: what is not
//! committed is aborted by the next life anyway. Where epochs have run out the last record names
//! who goes on, and is synced, of an abort too.
//!
//! What fails behind the decision is tried again, by the timer and by whoever uses the id next: the
//! timer comes after a second, and after twice as long each time up to a minute. Of one trouble it
//! tells once. A decision whose sync failed is in doubt until its log is written to fresh files,
//! which whoever comes by tries, or the store is opened again.

use std::sync::Arc;
use std::time::Duration;

use super::coordinator::{Entry, Reached, Slot, Taken, Transactions};
use super::publish::OWN_PREFIX;
use super::state::{Move, Partitions, TransactionPhase, TransactionState};
use crate::config::Durability;
use crate::engine::{Due, Partition, make_all_durable, make_all_durable_later};
use crate::error::{Cause, Error, ErrorKind, Outcome, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::ProducerState;
use crate::record::{Marker, MarkerKind, ProducerIdentity};

/// How long after a first failure the rest of an end is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest time between two tries.
const AT_MOST: Duration = Duration::from_secs(60);
/// How soon the timer comes back to an id that is in use.
const IN_USE: Duration = Duration::from_millis(100);

/// What is left to do of an end that is decided.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) kind: MarkerKind,
    pub(super) durability: Durability,
    /// The end of the record that decides, until it is as durable as that.
    pub(super) undurable: Option<Offset>,
    /// Where markers are still to be written.
    pub(super) unmarked: Partitions,
    /// Where they are, and are to be synced.
    pub(super) marked: Vec<Reached>,
    /// A partition may have an earlier transaction open, whose marker was cut off.
    pub(super) of_earlier_life: bool,
}

impl Pending {
    /// What an earlier life has left; as durable as any.
    pub(super) fn of_recovered(state: &TransactionState) -> Option<Self> {
        Some(Pending {
            kind: state.prepared()?,
            durability: Durability::Power,
            undurable: None,
            unmarked: state.partitions.clone(),
            marked: Vec::new(),
            of_earlier_life: true,
        })
    }

    pub(super) fn unfinished(&self, id: &str) -> Error {
        let done = match self.kind {
            MarkerKind::Commit => "committed",
            MarkerKind::Abort => "aborted",
        };
        let text = format!("the last transaction of `{id}` is {done}, but not in every partition");
        Error::new("begin transaction", Cause::InvalidTransactionState(text))
    }
}

impl Transactions {
    /// Ends the transaction of that identity; one that has reached no partition has no end.
    /// `reached` is what is to be on disk before it is committed with power durability. Blocks for
    /// syncs then.
    ///
    /// # Errors
    /// The outcome says whether it may be committed: with `NotWritten` it is still open.
    pub(crate) fn end(
        &self,
        taken: &Taken,
        identity: ProducerIdentity,
        (kind, durability): (MarkerKind, Durability),
        reached: &[Reached],
    ) -> Result<()> {
        self.engine.check_open(operation(kind))?;
        if kind == MarkerKind::Commit && durability == Durability::Power {
            make_all_durable(reached.iter().map(Reached::parts), if_it_exists)?;
        }
        let mut slot = taken.entry.slot.lock();
        slot.check(operation(kind), taken, identity)?;
        if !slot.is_open() {
            return Ok(());
        }
        self.decide(&taken.entry, &mut slot, kind, durability)?;
        self.finish(&taken.entry, &mut slot)
    }

    /// The same for a task: every wait for a sync is one of the future's.
    pub(crate) async fn end_later(
        self: Arc<Self>,
        taken: Taken,
        identity: ProducerIdentity,
        (kind, durability): (MarkerKind, Durability),
        reached: Vec<Reached>,
    ) -> Result<()> {
        if durability == Durability::Process || kind == MarkerKind::Abort {
            return self.end(&taken, identity, (kind, durability), &[]);
        }
        self.engine.check_open(operation(kind))?;
        make_all_durable_later(reached.iter().map(Reached::parts), if_it_exists).await?;
        let (log_partition, decided) = {
            let mut slot = taken.entry.slot.lock();
            slot.check(operation(kind), &taken, identity)?;
            if !slot.is_open() {
                return Ok(());
            }
            self.decide(&taken.entry, &mut slot, kind, durability)?;
            self.set_deadline(&mut slot, AGAIN); // should the future be dropped
            let decided = slot.state.as_ref().map(TransactionState::identity);
            (self.partition_of(&taken.entry.id)?, decided)
        };
        // what comes of these is asked below, where it is waited for no longer
        let _ = self.log.make_durable_later(log_partition).await;
        let marked = {
            let mut slot = taken.entry.slot.lock();
            slot.check_committed(&taken, decided)?;
            self.mark(&taken.entry, &mut slot)?;
            slot.pending.as_ref().map(|pending| pending.marked.clone()).unwrap_or_default()
        };
        let _ = make_all_durable_later(marked.iter().map(Reached::parts), |synced| synced).await;
        self.finish(&taken.entry, &mut taken.entry.slot.lock())
    }

    /// Appends the record that decides how an open transaction ends.
    pub(super) fn decide(
        &self,
        entry: &Entry,
        slot: &mut Slot,
        kind: MarkerKind,
        durability: Durability,
    ) -> Result<()> {
        let Some(state) = &slot.state else { return Ok(()) };
        let fresh = self.fresh_id(state)?;
        let decided = state.after(Move::Prepare { kind, fresh }, self.engine.clock().wall());
        let decided = decided.map_err(|refused| refused.into_error(operation(kind), &entry.id))?;
        let unmarked = decided.partitions.clone();
        let end = self.write(entry, slot, decided, Durability::Process)?;
        let undurable = match (kind, durability) {
            (MarkerKind::Commit, Durability::Power) => Some(end),
            _ => None,
        };
        slot.deadline = None;
        let (marked, of_earlier_life) = (Vec::new(), false);
        slot.pending =
            Some(Pending { kind, durability, undurable, unmarked, marked, of_earlier_life });
        Ok(())
    }

    /// Carries a decision through as far as it goes; what is left the timer comes for.
    ///
    /// # Errors
    /// Only where the decision itself may not last.
    pub(super) fn finish(&self, entry: &Entry, slot: &mut Slot) -> Result<()> {
        self.mark(entry, slot)?;
        if let Err(error) = self.complete(entry, slot) {
            let (id, level) = (&entry.id, slot.level());
            log::log!(level, "the end of a transaction of `{id}` is not everywhere yet: {error}");
            self.try_again(slot);
        }
        Ok(())
    }

    /// Makes the decision durable, if that was asked for, and appends the markers that can be.
    fn mark(&self, entry: &Entry, slot: &mut Slot) -> Result<()> {
        let (Some(pending), Some(state)) = (&mut slot.pending, &slot.state) else { return Ok(()) };
        if let Some(end) = pending.undurable {
            let partition = self.partition_of(&entry.id)?;
            if let Err(error) = self.log.make_durable_below(partition, end) {
                slot.in_doubt = true;
                slot.pending = None;
                self.set_deadline(slot, AGAIN); // until the log can be asked
                return Err(error.with_outcome(Outcome::Unknown));
            }
            pending.undurable = None;
        }
        let level = level(slot.tries);
        let Pending { kind, unmarked, marked, of_earlier_life, .. } = pending;
        let how = (*kind, *of_earlier_life && *kind == MarkerKind::Commit);
        unmarked.retain(|topic, ids| {
            ids.retain(|id| match self.mark_partition((&entry.id, state), how, topic, *id) {
                Ok(reached) => {
                    marked.extend(reached);
                    false
                }
                Err(error) => {
                    log::log!(level, "no marker of `{}` in {topic}-{id} yet: {error}", entry.id);
                    true
                }
            });
            !ids.is_empty()
        });
        Ok(())
    }

    /// `None` for a partition that exists no longer.
    fn mark_partition(
        &self,
        (name, state): (&str, &TransactionState),
        (kind, aborts_earlier): (MarkerKind, bool),
        topic: &str,
        id: PartitionId,
    ) -> Result<Option<Reached>> {
        let found = self.engine.topic(topic).and_then(|topic| topic.partition(id));
        let partition: Arc<Partition> = match found {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        if aborts_earlier {
            let records = ProducerIdentity::new(state.producer, state.epoch_of_records());
            self.abort_earlier(&partition, records)?;
        }
        let coordinator_epoch = self.engine.open_report().leader_epoch().get();
        let marker = Marker { kind, coordinator_epoch };
        let identity = state.identity();
        let appended = self.append_marker(&partition, identity, marker, Durability::Process);
        match appended {
            Ok(end) => Ok(Some(Reached { partition, end })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            // the producer has gone on there: nothing is open that this could end
            Err(error) if error.is_fenced() => Ok(None),
            // of the store's own: nobody else writes under it, and what it wrote was not taken
            Err(_)
                if kind == MarkerKind::Abort
                    && name.starts_with(OWN_PREFIX)
                    && has_nothing_open(&partition, identity) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Appends one marker and tells who follows them.
    pub(super) fn append_marker(
        &self,
        partition: &Partition,
        identity: ProducerIdentity,
        marker: Marker,
        durability: Durability,
    ) -> Result<Offset> {
        let now = self.engine.clock().wall();
        let appended = partition.append_marker(identity, marker, now, durability)?;
        let follower = self.follower.lock().clone();
        if let Some(follower) = follower.and_then(|follower| follower.upgrade()) {
            follower.marked(partition, identity.id(), marker.kind);
        }
        Ok(appended.end_offset)
    }

    /// Aborts what an earlier transaction of the producer has open in a partition: its marker was
    /// cut off, and that of the one which comes now must not stand for it.
    pub(super) fn abort_earlier(
        &self,
        partition: &Partition,
        identity: ProducerIdentity,
    ) -> Result<()> {
        let is_earlier = |open: &ProducerState| {
            let known = open.identity();
            known.id() == identity.id() && known.epoch() < identity.epoch()
        };
        if !partition.open_transactions()?.iter().any(is_earlier) {
            return Ok(());
        }
        let coordinator_epoch = self.engine.open_report().leader_epoch().get();
        let marker = Marker { kind: MarkerKind::Abort, coordinator_epoch };
        self.append_marker(partition, identity, marker, Durability::Process).map(drop)
    }

    /// Writes that the end is everywhere, where it is.
    fn complete(&self, entry: &Entry, slot: &mut Slot) -> Result<()> {
        let (Some(pending), Some(state)) = (&slot.pending, &slot.state) else { return Ok(()) };
        if !pending.unmarked.is_empty() {
            return Err(pending.unfinished(&entry.id));
        }
        if pending.kind == MarkerKind::Commit && pending.durability == Durability::Power {
            make_all_durable(pending.marked.iter().map(Reached::parts), if_it_exists)?;
        }
        let done = state.after(Move::Complete, self.engine.clock().wall());
        let done = done.map_err(|refused| refused.into_error("end transaction", &entry.id))?;
        // who goes on has to be known to a later life before anything of it can be
        let durability = match state.next {
            Some(_) => Durability::Power,
            None => Durability::Process,
        };
        self.write(entry, slot, done, durability)?;
        (slot.pending, slot.deadline, slot.tries) = (None, None, 0);
        Ok(())
    }

    /// Has the timer come again for an id whose end has met a failure.
    fn try_again(&self, slot: &mut Slot) {
        let delay = AGAIN.saturating_mul(1 << slot.tries.min(6)).min(AT_MOST);
        slot.tries = slot.tries.saturating_add(1);
        self.set_deadline(slot, delay);
    }

    /// Has the timer come for an id after `delay`.
    pub(super) fn set_deadline(&self, slot: &mut Slot, delay: Duration) {
        let at = self.engine.clock().monotonic().saturating_add(delay);
        slot.deadline = Some(at);
        {
            let mut alarm = self.alarm.lock();
            if alarm.is_some_and(|set| set <= at) {
                return;
            }
            *alarm = Some(at);
        }
        self.engine.timers().schedule(at, self.this.clone());
    }

    /// Does what is due of one id; returns when there is more.
    fn ring(&self, entry: &Entry, now: Duration) -> Option<Duration> {
        let Some(mut slot) = entry.slot.try_lock() else { return Some(now + IN_USE) };
        if slot.deadline? > now {
            return slot.deadline;
        }
        slot.deadline = None;
        let done = self.settle_doubt(entry, &mut slot).and_then(|()| {
            if slot.is_open() {
                log::warn!("a transaction of `{}` is overdue and aborted", entry.id);
                self.decide(entry, &mut slot, MarkerKind::Abort, Durability::Process)?;
            }
            self.finish(entry, &mut slot)
        });
        if let Err(error) = done {
            log::log!(slot.level(), "a transaction of `{}` could not be ended: {error}", entry.id);
            self.try_again(&mut slot);
        }
        slot.deadline
    }
}

/// Whether nothing of a producer is open in a partition, as far as that can be told.
fn has_nothing_open(partition: &Partition, producer: ProducerIdentity) -> bool {
    let is_other = |open: &ProducerState| open.identity().id() != producer.id();
    partition.open_transactions().is_ok_and(|open| open.iter().all(is_other))
}

/// How loud a failure is: the first of a row is told, those that follow are there for who looks.
fn level(tries: u32) -> log::Level {
    if tries == 0 { log::Level::Warn } else { log::Level::Debug }
}

impl Slot {
    fn level(&self) -> log::Level {
        level(self.tries)
    }

    /// Fails where it is not certain that the commit which a task has decided as `decided` lasts:
    /// others go on with it while the task waits for a sync, and may have met the failure of that.
    fn check_committed(&self, taken: &Taken, decided: Option<ProducerIdentity>) -> Result<()> {
        let lasts =
            self.state.as_ref().zip(decided).is_some_and(|(state, decided)| match state.phase {
                TransactionPhase::PrepareCommit => state.identity() == decided,
                TransactionPhase::CompleteCommit => {
                    let goes_on = state.epoch.get() == 0 && state.previous == Some(decided.id());
                    state.identity() == decided || goes_on
                }
                _ => false,
            });
        if lasts && !self.in_doubt {
            return Ok(());
        }
        let text = format!("what became of `{}` is in doubt", taken.id());
        let error = Error::new(operation(MarkerKind::Commit), Cause::InvalidTransactionState(text));
        Err(error.with_outcome(Outcome::Unknown))
    }
}

impl Due for Transactions {
    /// Aborts what is overdue, goes on with ends that met a failure.
    fn run(&self, now: Duration) -> Option<Duration> {
        *self.alarm.lock() = None; // what is begun from now on sets it anew
        self.engine.check_open("run timers").ok()?;
        let next = self.all().iter().filter_map(|entry| self.ring(entry, now)).min()?;
        let mut alarm = self.alarm.lock();
        *alarm = Some(alarm.map_or(next, |set| set.min(next)));
        Some(next)
    }
}

/// A sync that comes before a decision, or before it is said to be everywhere. What a topic held
/// that was deleted meanwhile is gone in any case.
fn if_it_exists(synced: Result<()>) -> Result<()> {
    match synced {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(|error| error.with_outcome(Outcome::NotWritten)),
    }
}

pub(super) fn operation(kind: MarkerKind) -> &'static str {
    match kind {
        MarkerKind::Commit => "commit transaction",
        MarkerKind::Abort => "abort transaction",
    }
}
