//! What an earlier life left: decisions to carry through, transactions to abort.
//!
//! What is decided is carried through, what is open is aborted: its producer is gone. A power cut
//! may have taken the newest states while records of theirs are still there, in any partition; so
//! partitions are asked too which producers they know. An epoch is never given twice, and what a
//! producer of ours has open that no state speaks of was never committed: a commit is on disk
//! before anything that comes after it. A marker that a partition has already is not written again:
//! behind it may be records of the next transaction. It is synced, though, as the decision is
//! before the first marker: a killed process may have left either to the page cache.
//!
//! Where the states came with a directory of Kafka's, what is open stays so until its own timeout
//! has passed, and what is decided waits a while, unless somebody takes the id before: opening such
//! a directory to look at it changes nothing that was found in it. Own ids are not left so.
//!
//! Called when a store opens, before groups read what they are told of markers by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::coordinator::{Entry, Reached, STATE_TOPIC, Slot, Transactions};
use super::ending::Pending;
use super::publish::OWN_PREFIX;
use super::schema::StateKey;
use super::state::{Partitions, TransactionPhase, TransactionState};
use crate::config::Durability;
use crate::engine::Engine;
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId, ProducerEpoch, ProducerId};
use crate::record::MarkerKind;
use crate::state_log::Replayed;
use crate::sync::Mutex;

/// How long what Kafka has decided waits after the opening.
const WHILE: Duration = Duration::from_secs(10);

/// A producer, as one partition knows it.
#[derive(Debug)]
struct Known {
    topic: Arc<str>,
    partition: PartitionId,
    epoch: ProducerEpoch,
    is_open: bool,
}

impl Known {
    /// Whether the end that is prepared in `state` has its marker here. Where it raised no epoch,
    /// the transaction that is open under the same one is that which is to be ended.
    fn has_marker_of(&self, state: &TransactionState) -> bool {
        let is_to_be_ended = self.is_open && state.epoch_of_records() == state.epoch;
        self.epoch > state.epoch || (self.epoch == state.epoch && !is_to_be_ended)
    }
}

/// What partitions know, by producer.
type AllKnown = BTreeMap<ProducerId, Vec<Known>>;

impl Transactions {
    /// Reads the ids and ends what an earlier life left. Costs nothing in a store without any.
    pub(crate) fn open(engine: Arc<Engine>) -> Result<Arc<Transactions>> {
        let this = Transactions::new(engine);
        let mut states = BTreeMap::new();
        let mut faults = 0;
        let skipped = this.log.replay(|record| {
            if let Err(error) = take(&mut states, record) {
                faults += 1;
                log::warn!("{STATE_TOPIC}-{}: skipped: {error}", record.partition);
            }
        })?;
        this.skipped.add(faults + skipped.places);
        *this.unread.lock() = skipped.unread;
        if states.is_empty() {
            return Ok(this);
        }
        this.reserve_ids(&states)?;
        let known = this.known(&states);
        for (id, state) in states {
            let pending = Pending::of_recovered(&state);
            let slot = Slot { state: Some(state), pending, ..Slot::default() };
            let entry = Arc::new(Entry { id: id.clone(), slot: Mutex::new(slot) });
            this.recover(&entry, &known);
            this.entries.lock().insert(id, entry);
        }
        Ok(this)
    }

    /// Ids that came with the directory are given to nobody else, remembered in partitions or not.
    fn reserve_ids(&self, states: &BTreeMap<Arc<str>, TransactionState>) -> Result<()> {
        let ids = states.values().flat_map(|state| [Some(state.producer), state.next]);
        self.engine.reserve_producer_ids(ids.flatten())
    }

    /// Asks the partitions, unless nothing can be left there.
    fn known(&self, states: &BTreeMap<Arc<str>, TransactionState>) -> AllKnown {
        let mut known = AllKnown::new();
        let rests = |state: &TransactionState| state.partitions.is_empty();
        if self.engine.open_report().was_closed_cleanly() && states.values().all(rests) {
            return known;
        }
        for topic in self.engine.topics() {
            for partition in topic.partitions().iter() {
                let Ok(log) = partition.log() else { continue };
                for producer in log.producer_states() {
                    let identity = producer.identity();
                    known.entry(identity.id()).or_default().push(Known {
                        topic: topic.name().clone(),
                        partition: partition.id(),
                        epoch: identity.epoch(),
                        is_open: producer.transaction_start().is_some(),
                    });
                }
            }
        }
        known
    }

    /// Ends what is left of one id. What cannot be ended now the timer comes for.
    fn recover(&self, entry: &Arc<Entry>, known: &AllKnown) {
        let slot = &mut *entry.slot.lock();
        if let (Some(pending), Some(state)) = (&mut slot.pending, &slot.state) {
            for it in known.get(&state.producer).into_iter().flatten() {
                if it.has_marker_of(state)
                    && let Some(ids) = pending.unmarked.get_mut(&it.topic)
                    && ids.remove(&it.partition)
                {
                    pending.marked.extend(self.reached(&it.topic, it.partition));
                }
            }
            // a killed process may have left it, and the markers above, to the page cache alone
            if pending.kind == MarkerKind::Commit {
                pending.undurable = self.end_of_states(&entry.id);
            }
            if self.is_kafkas(&entry.id) {
                self.set_deadline(slot, WHILE);
                return;
            }
            log::info!("the end of a transaction of `{}` is carried through", entry.id);
        }
        let ended = self.finish(entry, slot).and_then(|()| self.abandon(entry, slot, known));
        if let Err(error) = ended {
            log::error!("a transaction of `{}` could not be ended: {error}", entry.id);
        }
    }

    /// Aborts what is open, as the log or as partitions have it.
    fn abandon(&self, entry: &Entry, slot: &mut Slot, known: &AllKnown) -> Result<()> {
        let Some(state) = slot.state.as_mut().filter(|state| state.prepared().is_none()) else {
            return Ok(());
        };
        let here = known.get(&state.producer).into_iter().flatten();
        let mut left = Partitions::new();
        for it in here {
            state.epoch = state.epoch.max(it.epoch);
            // what was carried through just now is open no longer
            if it.is_open && self.is_open(it, state.producer) {
                left.entry(it.topic.clone()).or_default().insert(it.partition);
            }
        }
        if left.is_empty() && state.phase != TransactionPhase::Ongoing {
            return Ok(());
        }
        state.phase = TransactionPhase::Ongoing;
        for (topic, ids) in left {
            state.partitions.entry(topic).or_default().extend(ids);
        }
        if self.is_kafkas(&entry.id) {
            let timeout = state.timeout;
            self.set_deadline(slot, timeout);
            return Ok(());
        }
        log::info!("an open transaction of `{}` is aborted: its producer is gone", entry.id);
        self.decide(entry, slot, MarkerKind::Abort, Durability::Process)?;
        self.finish(entry, slot)
    }

    /// A partition to its end: what lies there is to be synced.
    fn reached(&self, topic: &str, id: PartitionId) -> Option<Reached> {
        let partition = self.engine.topic(topic).and_then(|topic| topic.partition(id)).ok()?;
        let end = partition.offsets().ok()?.end;
        Some(Reached { partition, end })
    }

    /// Where the log of states ends that an id's lie in.
    fn end_of_states(&self, id: &str) -> Option<Offset> {
        let partition = self.partition_of(id).ok()?;
        self.reached(STATE_TOPIC, partition).map(|reached| reached.end)
    }

    /// Whether the state of an id may have come with the directory: never one of the store's own,
    /// whose coordinators count on it that nothing of an earlier life is left.
    fn is_kafkas(&self, id: &str) -> bool {
        let is_adopted = || self.engine.topic(STATE_TOPIC).is_ok_and(|topic| topic.is_adopted());
        !id.starts_with(OWN_PREFIX) && is_adopted()
    }

    fn is_open(&self, known: &Known, producer: ProducerId) -> bool {
        let topic = self.engine.topic(&known.topic);
        let open = topic.and_then(|it| it.partition(known.partition)?.open_transactions());
        open.is_ok_and(|open| open.iter().any(|it| it.identity().id() == producer))
    }
}

/// Takes one record of the log in.
fn take(states: &mut BTreeMap<Arc<str>, TransactionState>, record: Replayed<'_>) -> Result<()> {
    const OPERATION: &str = "replay transactions";
    let Some(key) = record.key else {
        let error = Error::new(OPERATION, Cause::Corrupt("a record without a key".to_owned()));
        return Err(error.at_offset(record.offset));
    };
    let fault =
        |fault: crate::state_log::wire::SchemaFault| fault.into_error(OPERATION, record.offset);
    let StateKey::Transaction(id) = StateKey::parse(key).map_err(fault)? else { return Ok(()) };
    match record.value.map(TransactionState::parse).transpose().map_err(fault)? {
        Some(state) if state.phase != TransactionPhase::Dead => {
            states.insert(Arc::from(id), state);
        }
        _ => drop(states.remove(id)),
    }
    Ok(())
}
