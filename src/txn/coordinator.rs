//! The transactional ids of a store: who has one, and what its transaction has reached.
//!
//! An id is had by one producer of this process at a time: whoever takes it fences who had it,
//! whose open transaction is aborted first. A token tells holders apart, the epoch tells a holder
//! whose transaction was ended behind its back (by its timeout, by an operator): that one may go on
//! with the next.
//!
//! Where an append leaves in doubt whether a state is in the log, the slot says so; whoever comes
//! next reads it from the log again, once that can be trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::administer::Expiry;
use super::ending::Pending;
use super::schema::{StateKey, state_key};
use super::state::{Move, Partitions, Refused, TransactionState};
use crate::config::{Durability, TopicConfig};
use crate::engine::{Engine, Partition};
use crate::error::{Cause, Error, ErrorKind, Outcome, Result};
use crate::ids::{Offset, PartitionId, ProducerId};
use crate::record::{MarkerKind, ProducerIdentity};
use crate::state_log::wire::partition_of_name;
use crate::state_log::{Change, Progress, StateLog};
use crate::stats::Counter;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Kafka's name for the topic.
pub(crate) const STATE_TOPIC: &str = "__transaction_state";

/// The longest transactional id, in bytes: what the format can hold.
const ID_LIMIT: usize = 0x7fff;

/// Told of each marker as soon as it is in the log, for what waits there for it.
pub(crate) trait MarkerFollower: Send + Sync + std::fmt::Debug {
    fn marked(&self, partition: &Partition, producer: ProducerId, kind: MarkerKind);
}

/// All transactional ids of a store.
#[derive(Debug)]
pub(crate) struct Transactions {
    pub(super) this: Weak<Transactions>,
    pub(super) engine: Arc<Engine>,
    pub(super) log: StateLog,
    pub(super) entries: Mutex<BTreeMap<Arc<str>, Arc<Entry>>>,
    /// Partitions of the log whose ids are not known.
    pub(super) unread: Mutex<BTreeMap<PartitionId, Error>>,
    pub(super) skipped: Counter,
    pub(super) follower: Mutex<Option<Weak<dyn MarkerFollower>>>,
    /// When the timer comes, on the monotonic clock.
    pub(super) alarm: Mutex<Option<Duration>>,
    /// What forgets ids that nobody uses, if any is forgotten.
    pub(super) expiry: Mutex<Option<Arc<Expiry>>>,
    holders: AtomicU64,
}

/// One transactional id.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Arc<str>,
    pub(super) slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// `None` for an id nobody had before.
    pub(super) state: Option<TransactionState>,
    /// The token of who has it, in this process.
    pub(super) holder: Option<u64>,
    /// When the timer has something to do: a transaction is overdue, an end is to be carried on.
    pub(super) deadline: Option<Duration>,
    /// What is left to do of an end that is decided.
    pub(super) pending: Option<Pending>,
    /// The log may hold another state.
    pub(super) in_doubt: bool,
    /// How often in a row an end has met a failure.
    pub(super) tries: u32,
    /// No longer in the table.
    pub(super) is_gone: bool,
}

/// An id, as who has it knows it.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(super) entry: Arc<Entry>,
    pub(super) holder: u64,
}

/// A partition, and the end of what a transaction says of it.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) partition: Arc<Partition>,
    pub(crate) end: Offset,
}

impl Reached {
    pub(super) fn parts(&self) -> (&Partition, Offset) {
        (&self.partition, self.end)
    }
}

impl Taken {
    pub(crate) fn id(&self) -> &str {
        &self.entry.id
    }
}

impl Transactions {
    pub(super) fn new(engine: Arc<Engine>) -> Arc<Self> {
        // Kafka's: 50 partitions, segments of 100 MiB; compacted, like all internal topics
        let config = TopicConfig::new().partitions(50).segment_bytes(100 << 20);
        Arc::new_cyclic(|this| Transactions {
            this: this.clone(),
            log: StateLog::new(engine.clone(), STATE_TOPIC, config),
            engine,
            entries: Mutex::default(),
            unread: Mutex::default(),
            skipped: Counter::default(),
            follower: Mutex::new(None),
            alarm: Mutex::new(None),
            expiry: Mutex::new(None),
            holders: AtomicU64::new(0),
        })
    }

    /// Has `follower` told of markers from now on.
    pub(crate) fn set_follower(&self, follower: Weak<dyn MarkerFollower>) {
        *self.follower.lock() = Some(follower);
    }

    /// Takes an id, fencing whoever had it; an open transaction of it is aborted, one that is
    /// decided carried through. Blocks for a sync: an id's producer must not be given another's
    /// after a power cut.
    pub(crate) fn take(&self, id: &str, timeout: Duration) -> Result<(Taken, ProducerIdentity)> {
        const OPERATION: &str = "build producer";
        self.engine.check_open(OPERATION)?;
        self.engine.check_writable(OPERATION)?;
        self.partition_of(id)?;
        loop {
            let entry = self.existing_or_new(id);
            let mut slot = entry.slot.lock();
            if slot.is_gone {
                continue; // it expired just now
            }
            let taken = self.take_in(&entry, &mut slot, timeout);
            if taken.is_err() && slot.state.is_none() && !slot.in_doubt {
                slot.is_gone = true; // nobody has it, and nothing is known of it
                self.entries.lock().remove(id);
            }
            drop(slot);
            return taken.map(|(holder, identity)| (Taken { entry, holder }, identity));
        }
    }

    /// Has an id begin anew, for another holder.
    fn take_in(
        &self,
        entry: &Arc<Entry>,
        slot: &mut Slot,
        timeout: Duration,
    ) -> Result<(u64, ProducerIdentity)> {
        self.end_what_is_open(entry, slot)?;
        let now = self.engine.clock().wall();
        let state = match &slot.state {
            None => TransactionState::new(self.engine.draw_producer_id()?, timeout, now),
            Some(state) => {
                let fresh = self.fresh_id(state)?;
                let taken = state.after(Move::Take { timeout, fresh }, now);
                taken.map_err(|refused| refused.into_error("build producer", &entry.id))?
            }
        };
        let identity = state.identity();
        self.write(entry, slot, state, Durability::Power)?;
        let holder = self.holders.fetch_add(1, Ordering::AcqRel) + 1;
        slot.holder = Some(holder);
        Ok((holder, identity))
    }

    /// Gives an id back; its state stays.
    pub(crate) fn give_back(&self, taken: &Taken) {
        let mut slot = taken.entry.slot.lock();
        if slot.holder == Some(taken.holder) {
            slot.holder = None;
        }
    }

    /// Who the next transaction is written as. Carries through what the last one left.
    pub(crate) fn begin(&self, taken: &Taken) -> Result<ProducerIdentity> {
        self.engine.check_open("begin transaction")?;
        let mut slot = taken.entry.slot.lock();
        slot.check_holder("begin transaction", taken)?;
        self.end_what_is_open(&taken.entry, &mut slot)?;
        slot.known("begin transaction", taken).map(TransactionState::identity)
    }

    /// Ends what is open or decided, so that something new can begin.
    fn end_what_is_open(&self, entry: &Arc<Entry>, slot: &mut Slot) -> Result<()> {
        self.settle_doubt(entry, slot)?;
        if slot.is_open() {
            self.decide(entry, slot, MarkerKind::Abort, Durability::Process)?;
        }
        if slot.pending.is_some() {
            self.finish(entry, slot)?;
        }
        match &slot.pending {
            Some(pending) => Err(pending.unfinished(&entry.id)),
            None => Ok(()),
        }
    }

    /// Whether the last transaction of an id is decided, for good, and not everywhere yet.
    pub(super) fn waits_for_markers(&self, id: &str) -> bool {
        let Some(entry) = self.existing(id) else { return false };
        let slot = entry.slot.lock();
        let is_decided = |it: &Pending| it.undurable.is_none();
        !slot.in_doubt && slot.pending.as_ref().is_some_and(is_decided)
    }

    /// Names a partition as one the transaction writes to; to be called before it does.
    pub(crate) fn enlist(
        &self,
        taken: &Taken,
        identity: ProducerIdentity,
        partition: &Partition,
    ) -> Result<()> {
        const OPERATION: &str = "send in transaction";
        let entry = &taken.entry;
        let mut slot = entry.slot.lock();
        let state = slot.check(OPERATION, taken, identity)?;
        let (topic, id) = (partition.topic_name(), partition.id());
        let was_open = slot.is_open();
        if was_open && state.partitions.get(topic).is_some_and(|ids| ids.contains(&id)) {
            return Ok(());
        }
        let places = Partitions::from([(topic.clone(), BTreeSet::from([id]))]);
        let after = state.after(Move::Enlist(places), self.engine.clock().wall());
        let after = after.map_err(|refused| refused.into_error(OPERATION, &entry.id))?;
        self.abort_earlier(partition, identity)?;
        let timeout = after.timeout;
        self.write(entry, &mut slot, after, Durability::Process)?;
        if !was_open {
            self.set_deadline(&mut slot, timeout);
        }
        Ok(())
    }

    /// Fails where the transaction of that identity is not the one that goes on.
    pub(crate) fn check(&self, taken: &Taken, identity: ProducerIdentity) -> Result<()> {
        taken.entry.slot.lock().check("send in transaction", taken, identity).map(drop)
    }

    /// The id to go on with where epochs run out.
    pub(super) fn fresh_id(&self, state: &TransactionState) -> Result<Option<ProducerId>> {
        state.needs_fresh_id().then(|| self.engine.draw_producer_id()).transpose()
    }

    pub(super) fn existing(&self, id: &str) -> Option<Arc<Entry>> {
        self.entries.lock().get(id).cloned()
    }

    fn existing_or_new(&self, id: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(id) {
            return entry.clone();
        }
        let id = Arc::<str>::from(id);
        let entry = Arc::new(Entry { id: id.clone(), slot: Mutex::default() });
        entries.insert(id, entry.clone());
        entry
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().values().cloned().collect()
    }

    /// Where an id's state lies; fails for an illegal id and where that place is lost.
    pub(super) fn partition_of(&self, id: &str) -> Result<PartitionId> {
        check_id(id)?;
        let partition = PartitionId::new(partition_of_name(id, self.log.partition_count()?));
        match self.unread.lock().get(&partition) {
            Some(error) => Err(error.again()),
            None => Ok(partition),
        }
    }

    /// Appends a state and takes it over. On an error that leaves in doubt whether it is in the
    /// log nothing is known of the id until the log has been asked.
    pub(super) fn write(
        &self,
        entry: &Entry,
        slot: &mut Slot,
        state: TransactionState,
        durability: Durability,
    ) -> Result<Offset> {
        let partition = self.partition_of(&entry.id)?;
        let (key, value) = (state_key(&entry.id)?, state.encode()?);
        let change = Change { key: &key, value: Some(&value) };
        let written = self.log.append(partition, &[change], Durability::Process);
        let written = written.and_then(|end| match durability {
            Durability::Power => self.log.make_durable_below(partition, end).map(|()| end),
            Durability::Process => Ok(end),
        });
        match written {
            Ok(_) => slot.state = Some(state),
            Err(ref error) => slot.in_doubt = error.outcome() != Outcome::NotWritten,
        }
        written.map_err(|error| match error.outcome() {
            Outcome::NotWritten => error,
            _ => error.with_outcome(Outcome::Unknown),
        })
    }

    /// Reads an id's state from the log again where it is in doubt; fails as long as what the log
    /// says might change with a power cut. A log whose sync failed is reopened for it: nobody else
    /// knows that one of the store's own is to be.
    pub(super) fn settle_doubt(&self, entry: &Entry, slot: &mut Slot) -> Result<()> {
        if !slot.in_doubt {
            return Ok(());
        }
        let partition = self.partition_of(&entry.id)?;
        if let Err(error) = self.log.make_durable(partition) {
            self.reopen_log(partition, error)?;
        }
        let mut found = None;
        self.log.replay_partition(partition, &mut Progress::default(), |record| {
            let key = record.key.map(StateKey::parse);
            if key == Some(Ok(StateKey::Transaction(&entry.id))) {
                found = record.value.and_then(|value| TransactionState::parse(value).ok());
            }
        })?;
        slot.pending = found.as_ref().and_then(Pending::of_recovered);
        slot.state = found;
        (slot.in_doubt, slot.tries) = (false, 0);
        if slot.deadline.is_none() && (slot.is_open() || slot.pending.is_some()) {
            let timeout = slot.state.as_ref().map_or(Duration::ZERO, |state| state.timeout);
            self.set_deadline(slot, if slot.is_open() { timeout } else { Duration::ZERO });
        }
        Ok(())
    }
}

impl Transactions {
    /// Puts fresh files in the place of those whose sync has failed; all of them is durable then.
    /// Fails as `failed` where the disk does not take them.
    fn reopen_log(&self, id: PartitionId, failed: Error) -> Result<()> {
        if failed.kind() != ErrorKind::Poisoned {
            return Err(failed);
        }
        let partition = self.log.partition(id)?;
        match self.engine.reopen(&partition) {
            Ok(_) => self.log.make_durable(id), // another may have reopened it meanwhile
            Err(error) => {
                log::debug!("{STATE_TOPIC}-{id} cannot be reopened yet: {error}");
                Err(failed)
            }
        }
    }
}

impl Slot {
    /// Whether a transaction is open.
    pub(super) fn is_open(&self) -> bool {
        let phase = self.state.as_ref().map(|state| state.phase);
        phase == Some(super::TransactionPhase::Ongoing)
    }

    /// Whether a producer's transaction that is not everywhere ended has reached a partition.
    pub(super) fn reaches(&self, topic: &str, id: PartitionId, producer: ProducerId) -> bool {
        let Some(state) = &self.state else { return false };
        let here = state.partitions.get(topic).is_some_and(|ids| ids.contains(&id));
        here && state.producer == producer
    }

    fn known(&self, operation: &'static str, taken: &Taken) -> Result<&TransactionState> {
        match &self.state {
            Some(state) if !self.in_doubt => Ok(state),
            _ => {
                let text = format!("what became of `{}` is in doubt", taken.id());
                Err(Error::new(operation, Cause::InvalidTransactionState(text)))
            }
        }
    }

    fn check_holder(&self, operation: &'static str, taken: &Taken) -> Result<()> {
        if self.holder == Some(taken.holder) {
            return Ok(());
        }
        let text = format!("another producer has taken the transactional id `{}`", taken.id());
        Err(Error::new(operation, Cause::InvalidProducerEpoch(text)))
    }

    /// The state, where the transaction that goes on is that of `identity`.
    pub(super) fn check(
        &self,
        operation: &'static str,
        taken: &Taken,
        identity: ProducerIdentity,
    ) -> Result<&TransactionState> {
        self.check_holder(operation, taken)?;
        let state = self.known(operation, taken)?;
        if state.identity() == identity && self.pending.is_none() {
            return Ok(state);
        }
        let text = format!(
            "the transaction of `{}` was aborted: its timeout of {:?} was over, or an operator \
             did so",
            taken.id(),
            state.timeout
        );
        Err(Error::new(operation, Cause::InvalidTransactionState(text)))
    }
}

impl Refused {
    pub(super) fn into_error(self, operation: &'static str, id: &str) -> Error {
        let text = format!("transactional id `{id}`: {self}");
        Error::new(operation, Cause::InvalidTransactionState(text))
    }
}

/// Refuses what cannot be a transactional id.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let reason = match id.len() {
        0 => "it is empty",
        1..=ID_LIMIT => return Ok(()),
        _ => "it is longer than 32,767 bytes",
    };
    let name = id.chars().take(64).collect();
    Err(Error::new(
        "name transactional id",
        Cause::InvalidName { what: "transactional id", name, reason },
    ))
}
