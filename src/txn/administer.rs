//! What operators see of transactions and do to them, what time does, and what a close does.
//!
//! Also transactions of which no state speaks: a partition that came with a directory may hold one
//! open for ever, and readers of what is committed stop there. They are found by the partition and
//! ended there.
//!
//! Called by `store`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::coordinator::{Entry, STATE_TOPIC, Transactions};
use super::schema::state_key;
use super::state::{Move, TransactionPhase, TransactionState};
use crate::config::Durability;
use crate::engine::{CloseHook, Due, Partition};
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId, ProducerId};
use crate::record::{Marker, MarkerKind, ProducerIdentity};
use crate::state_log::Change;
use crate::time::Timestamp;

/// Kafka's `transactional.id.expiration.ms`.
const EXPIRATION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often ids that nobody uses are looked for; Kafka's.
const INTERVAL: Duration = Duration::from_secs(3600);

/// A transactional id and its last or open transaction, as they were.
///
/// ```
/// use tidelog::{Store, TransactionPhase};
/// let store = Store::in_memory()?;
/// let producer = store.producer().transactional("enricher").build()?;
/// let description = store.describe_transaction("enricher")?;
/// assert_eq!(description.id(), "enricher");
/// assert_eq!(description.phase(), TransactionPhase::Empty);
/// assert!(description.partitions().is_empty() && description.started().is_none());
/// assert!(description.is_held());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TransactionDescription {
    id: Arc<str>,
    state: TransactionState,
    is_held: bool,
}

impl TransactionDescription {
    /// The transactional id.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # let _producer = store.producer().transactional("enricher").build()?;
    /// let described = store.describe_transaction("enricher")?;
    /// assert_eq!(described.id(), "enricher");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it stands.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # let _producer = store.producer().transactional("enricher").build()?;
    /// let described = store.describe_transaction("enricher")?;
    /// assert_eq!(described.phase(), tidelog::TransactionPhase::Empty);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn phase(&self) -> TransactionPhase {
        self.state.phase
    }

    /// Producer id and epoch: those of the open transaction's records, and, once an end is decided,
    /// those of its markers, which the next transaction has too.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # let _producer = store.producer().transactional("enricher").build()?;
    /// let described = store.describe_transaction("enricher")?;
    /// assert_eq!(described.identity().epoch().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn identity(&self) -> ProducerIdentity {
        self.state.identity()
    }

    /// How long a transaction of it may be open.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # let _producer = store.producer().transactional("enricher").build()?;
    /// let described = store.describe_transaction("enricher")?;
    /// assert_eq!(described.timeout().as_secs(), 60);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn timeout(&self) -> Duration {
        self.state.timeout
    }

    /// When the last transaction began; `None` where there was none since a producer took the id.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # let _producer = store.producer().transactional("enricher").build()?;
    /// let described = store.describe_transaction("enricher")?;
    /// assert_eq!(described.started(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn started(&self) -> Option<Timestamp> {
        self.state.started
    }

    /// When its state changed last.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # let _producer = store.producer().transactional("enricher").build()?;
    /// let described = store.describe_transaction("enricher")?;
    /// assert!(described.updated().as_millis() > 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn updated(&self) -> Timestamp {
        self.state.updated
    }

    /// Whether a producer of this process has it.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # let _producer = store.producer().transactional("enricher").build()?;
    /// let described = store.describe_transaction("enricher")?;
    /// assert!(described.is_held());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// The partitions that the open transaction may have written to, `__consumer_offsets` among
    /// them.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # let _producer = store.producer().transactional("enricher").build()?;
    /// let described = store.describe_transaction("enricher")?;
    /// assert!(described.partitions().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partitions(&self) -> Vec<(&str, PartitionId)> {
        let all = self.state.partitions.iter();
        all.flat_map(|(topic, ids)| ids.iter().map(|id| (&**topic, *id))).collect()
    }
}

/// A transaction that is open in a partition.
///
/// ```
/// # use tidelog::{Offset, Record, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.ensure_topic("orders", TopicConfig::new())?;
/// let mut producer = store.producer().transactional("enricher").build()?;
/// let transaction = producer.begin()?;
/// transaction.topic("orders")?.send(Record::new("hello"))?;
/// let open = store.open_transactions()?;
/// assert_eq!((open[0].topic(), open[0].start()), ("orders", Offset::ZERO));
/// assert_eq!(open[0].partition().get(), 0);
/// assert_eq!(open[0].identity(), transaction.identity());
/// assert_eq!(open[0].transactional_id(), Some("enricher"));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenTransaction {
    topic: Arc<str>,
    partition: PartitionId,
    identity: ProducerIdentity,
    start: Offset,
    id: Option<Arc<str>>,
}

impl OpenTransaction {
    /// The topic.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// for open in store.open_transactions()? {
    ///     println!("{}", open.topic());
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition of it.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// for open in store.open_transactions()? {
    ///     println!("{}", open.partition());
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Who writes it.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// for open in store.open_transactions()? {
    ///     println!("{}", open.identity());
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn identity(&self) -> ProducerIdentity {
        self.identity
    }

    /// Where it begins in the partition: readers of what is committed go no further.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// for open in store.open_transactions()? {
    ///     println!("{}", open.start());
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The transactional id whose open transaction it is; `None` for one of which no state speaks:
    /// only [`Partition::abort_transaction`](crate::Partition::abort_transaction) ends it.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// for open in store.open_transactions()? {
    ///     println!("{:?}", open.transactional_id());
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn transactional_id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

impl Transactions {
    /// All ids, in order.
    pub(crate) fn list(&self) -> Result<Vec<TransactionDescription>> {
        self.engine.check_open("list transactions")?;
        Ok(self.all().iter().filter_map(|entry| describe(entry)).collect())
    }

    pub(crate) fn describe(&self, id: &str) -> Result<TransactionDescription> {
        const OPERATION: &str = "describe transaction";
        self.engine.check_open(OPERATION)?;
        self.partition_of(id)?;
        let entry = self.existing(id).ok_or_else(|| unknown(OPERATION, id))?;
        self.settle_doubt(&entry, &mut entry.slot.lock())?;
        describe(&entry).ok_or_else(|| unknown(OPERATION, id))
    }

    /// Aborts the open transaction of an id; whoever has it may begin another.
    pub(crate) fn abort(&self, id: &str) -> Result<()> {
        const OPERATION: &str = "abort transaction";
        self.engine.check_open(OPERATION)?;
        self.partition_of(id)?;
        let entry = self.existing(id).ok_or_else(|| unknown(OPERATION, id))?;
        let mut slot = entry.slot.lock();
        self.settle_doubt(&entry, &mut slot)?;
        if !slot.is_open() {
            let text = format!("transactional id `{id}`: no transaction of it is open");
            return Err(Error::new(OPERATION, Cause::InvalidTransactionState(text)));
        }
        self.decide(&entry, &mut slot, MarkerKind::Abort, Durability::Process)?;
        self.finish(&entry, &mut slot)
    }

    /// All transactions that are open in partitions, whether or not a state speaks of them.
    pub(crate) fn open_in_partitions(&self) -> Result<Vec<OpenTransaction>> {
        self.engine.check_open("list transactions")?;
        let mut found = Vec::new();
        for topic in self.engine.topics() {
            for partition in topic.partitions().iter() {
                for producer in partition.open_transactions().unwrap_or_default() {
                    let Some(start) = producer.transaction_start() else { continue };
                    let (topic, identity) = (topic.name().clone(), producer.identity());
                    let (partition, id) = (partition.id(), None);
                    found.push(OpenTransaction { topic, partition, identity, start, id });
                }
            }
        }
        for entry in self.all() {
            let slot = entry.slot.lock();
            for open in &mut found {
                if slot.reaches(&open.topic, open.partition, open.identity.id()) {
                    open.id = Some(entry.id.clone());
                }
            }
        }
        Ok(found)
    }

    /// Aborts the transaction that a producer has open in a partition: all of it where a
    /// transactional id has it, else in this partition, power-durably.
    pub(crate) fn abort_in_partition(
        &self,
        partition: &Partition,
        producer: ProducerId,
    ) -> Result<()> {
        const OPERATION: &str = "abort transaction";
        // before the states: what is begun from here on is not what is aborted below
        let open = partition.open_transactions()?;
        for entry in self.all() {
            let mut slot = entry.slot.lock();
            if !slot.reaches(partition.topic_name(), partition.id(), producer) {
                continue;
            }
            if slot.is_open() {
                drop(slot);
                return self.abort(&entry.id);
            }
            // its end is decided, and is the same everywhere
            self.settle_doubt(&entry, &mut slot)?;
            self.finish(&entry, &mut slot)?;
            let text = format!("the transaction of `{}` is decided already", entry.id);
            return Err(Error::new(OPERATION, Cause::InvalidTransactionState(text)));
        }
        let Some(open) = open.into_iter().find(|open| open.identity().id() == producer) else {
            let why = format!("producer {producer} has none open in this partition");
            return Err(Error::new(OPERATION, Cause::InvalidTransactionState(why)));
        };
        let coordinator_epoch = open.coordinator_epoch().unwrap_or(0);
        let marker = Marker { kind: MarkerKind::Abort, coordinator_epoch };
        self.append_marker(partition, open.identity(), marker, Durability::Power).map(drop)
    }

    /// States that could not be read, since the store was opened.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.get()
    }

    /// Has what is open aborted at the close, and what was not used for `age` forgotten. Called
    /// once, before the store is handed out.
    pub(crate) fn begin_upkeep(&self, age: Option<Duration>) {
        let hook: Weak<dyn CloseHook> = self.this.clone();
        self.engine.on_close(hook);
        let adopted = self.engine.topic(STATE_TOPIC).is_ok_and(|topic| topic.is_adopted());
        let Some(age) = age.or((!adopted).then_some(EXPIRATION)).filter(|age| !age.is_zero())
        else {
            return;
        };
        let expiry = Arc::new(Expiry { transactions: self.this.clone(), age });
        let due: Weak<dyn Due> = Arc::downgrade(&expiry) as _;
        *self.expiry.lock() = Some(expiry);
        self.engine.chores().schedule(self.engine.clock().monotonic() + INTERVAL, due);
    }

    fn expire_one(&self, entry: &Entry, age: Duration) -> Result<bool> {
        let Some(mut slot) = entry.slot.try_lock() else { return Ok(false) };
        let Some(state) = slot.state.as_ref().filter(|_| slot.holder.is_none()) else {
            return Ok(false);
        };
        if slot.in_doubt || state.after(Move::Expire { age }, self.engine.clock().wall()).is_err() {
            return Ok(false);
        }
        let change = Change { key: &state_key(&entry.id)?, value: None };
        let partition = self.partition_of(&entry.id)?;
        self.log.append(partition, &[change], Durability::Process)?;
        (slot.state, slot.is_gone) = (None, true);
        self.entries.lock().remove(&entry.id);
        Ok(true)
    }
}

/// Forgets ids that nobody uses.
#[derive(Debug)]
pub(super) struct Expiry {
    transactions: Weak<Transactions>,
    age: Duration,
}

impl Due for Expiry {
    fn run(&self, now: Duration) -> Option<Duration> {
        let transactions = self.transactions.upgrade()?;
        for entry in transactions.all() {
            match transactions.expire_one(&entry, self.age) {
                Ok(true) => log::info!("transactional id `{}` has expired", entry.id),
                Ok(false) => {}
                Err(error) => log::warn!("`{}` could not expire: {error}", entry.id),
            }
        }
        Some(now + INTERVAL)
    }
}

impl CloseHook for Transactions {
    /// Aborts what producers of this process have open: nobody can go on with it.
    fn before_close(&self) -> Result<()> {
        let mut first_error = Ok(());
        for entry in self.all() {
            let mut slot = entry.slot.lock();
            if slot.holder.is_none() || !slot.is_open() || slot.in_doubt {
                continue;
            }
            let aborted = self
                .decide(&entry, &mut slot, MarkerKind::Abort, Durability::Process)
                .and_then(|()| self.finish(&entry, &mut slot));
            first_error = first_error.and(aborted);
        }
        first_error
    }
}

fn describe(entry: &Entry) -> Option<TransactionDescription> {
    let slot = entry.slot.lock();
    let (state, is_held) = (slot.state.clone()?, slot.holder.is_some());
    Some(TransactionDescription { id: entry.id.clone(), state, is_held })
}

fn unknown(operation: &'static str, id: &str) -> Error {
    let name = id.chars().take(64).collect();
    Error::new(operation, Cause::NotFound { what: "transactional id", name })
}
