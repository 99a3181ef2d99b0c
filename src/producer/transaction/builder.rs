//! How a transactional producer is made: its id and timeout beside what any producer has.
//!
//! Called by `store`'s builder of producers, whose settings it takes over.

use std::sync::Arc;
use std::time::Duration;

use super::super::builder::Settings;
use super::super::core::Core;
use super::super::handle::Producer;
use super::handle::TransactionalProducer;
use crate::config::Durability;
use crate::deduplication::Deduplication;
use crate::engine::Claim;
use crate::error::{Cause, Error, Result};
use crate::schedule::Schedule;
use crate::txn::{Transactions, check_not_own};

/// Kafka's `transaction.timeout.ms` and `transaction.max.timeout.ms`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_TIMEOUT: Duration = Duration::from_secs(900);

/// What it needs of the store.
type Coordinators = (Arc<Transactions>, Arc<Schedule>, Arc<Deduplication>);

/// Builds a [`TransactionalProducer`]; it comes from
/// [`ProducerBuilder::transactional`](crate::ProducerBuilder::transactional).
///
/// ```
/// use std::time::Duration;
/// use tidelog::Store;
/// let store = Store::in_memory()?;
/// let mut producer = store
///     .producer()
///     .transactional("enricher")
///     .timeout(Duration::from_secs(10))
///     .build()?;
/// producer.begin()?.abort()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct TransactionalProducerBuilder {
    claim: Claim,
    transactions: Arc<Transactions>,
    schedule: Arc<Schedule>,
    deduplication: Arc<Deduplication>,
    settings: Settings,
    id: String,
    timeout: Duration,
    durability: Durability,
}

impl TransactionalProducerBuilder {
    pub(in crate::producer) fn new(
        claim: Claim,
        (transactions, schedule, deduplication): Coordinators,
        settings: Settings,
        id: String,
    ) -> Self {
        let (timeout, durability) = (DEFAULT_TIMEOUT, Durability::Power);
        TransactionalProducerBuilder {
            claim,
            transactions,
            schedule,
            deduplication,
            settings,
            id,
            timeout,
            durability,
        }
    }

    /// How long a transaction may be open before it is aborted, on the store's clock; default 60 s,
    /// 1 ms to 15 min (Kafka's `transaction.timeout.ms`).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.producer().transactional("enricher");
    /// assert!(builder.timeout(Duration::from_secs(901)).build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What a commit promises; default [`Durability::Power`], whatever the producer's own word is:
    /// a committed transaction is there after a power cut, whole. With
    /// [`Durability::Process`] that holds for `kill -9`, costs no sync, and after a power cut a
    /// committed transaction may be gone, or be there in some of its partitions only.
    ///
    /// ```
    /// use tidelog::Durability;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.producer().transactional("enricher");
    /// let producer = builder.commit_durability(Durability::Process).build()?;
    /// # drop(producer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Takes the transactional id. Whoever had it in this process is fenced from then on, and a
    /// transaction it has open is aborted. Blocks for a sync.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for options out of range,
    /// [`InvalidName`](crate::ErrorKind::InvalidName) for an id that is empty, over 32,767 bytes,
    /// or begins with `__tidelog_`,
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) while the end of the
    /// id's last transaction cannot be written to every partition, and those of an append.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let mut first = store.producer().transactional("enricher").build()?;
    /// let _second = store.producer().transactional("enricher").build()?;
    /// assert!(first.begin().unwrap_err().is_fenced());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn build(self) -> Result<TransactionalProducer> {
        self.settings.validate()?;
        check_not_own(&self.id)?;
        if !(Duration::from_millis(1)..=MOST_TIMEOUT).contains(&self.timeout) {
            let (key, allowed) = ("transaction.timeout", "1 ms to 15 min".to_owned());
            let (key, value) = (key.to_owned(), format!("{:?}", self.timeout));
            return Err(Error::new("build producer", Cause::InvalidConfig { key, value, allowed }));
        }
        let (taken, _) = self.transactions.take(&self.id, self.timeout)?;
        let engine = self.claim.engine().clone();
        let coordinators = (self.schedule, self.deduplication);
        let producer = Producer::new(Core::new(engine, coordinators, self.settings), self.claim);
        Ok(TransactionalProducer::new(producer, self.transactions, taken, self.durability))
    }
}
