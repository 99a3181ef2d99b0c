//! A transaction's handle for one topic: what sends.
//!
//! The walk is that of any producer's `send`; in front of it the partition is named to the
//! coordinator, once for each transaction, and the batch carries the transaction's identity.

use std::sync::Arc;

use super::super::lane::Lane;
use super::super::receipt::{BatchReceipt, Receipt};
use super::super::topic::TopicProducer;
use super::super::waiting::{Sent, Wait};
use super::open::Transaction;
use crate::config::{Durability, Priority};
use crate::error::Result;
use crate::ids::PartitionId;
use crate::record::{ProducerClaim, Record};

/// Sends to one topic within a [`Transaction`], which it borrows.
///
/// Each record or batch lies in the log when its call returns; receipts say where, whether or not
/// the transaction is committed later. To send many at little cost send them in batches.
///
/// ```
/// # use tidelog::{Record, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.ensure_topic("orders", TopicConfig::new())?;
/// let mut producer = store.producer().transactional("checkout").build()?;
/// let transaction = producer.begin()?;
/// let orders = transaction.topic("orders")?;
/// let receipt = orders.send_batch(&[Record::new("one"), Record::new("two")])?;
/// assert_eq!(receipt.record_count(), 2);
/// transaction.commit()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct TransactionTopic<'t> {
    transaction: &'t Transaction<'t>,
    topic: TopicProducer,
}

/// Fails as [`TopicProducer::send`] does; also as fenced once another producer has the
/// transactional id, and as
/// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) once the transaction's
/// timeout or an operator has aborted it. With the outcome
/// [`NotWritten`](crate::Outcome::NotWritten) the transaction goes on without the record; with any
/// other it cannot be committed any more.
impl<'t> TransactionTopic<'t> {
    pub(super) fn new(transaction: &'t Transaction<'_>, topic: TopicProducer) -> Self {
        TransactionTopic { transaction, topic }
    }

    /// The topic's name.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// assert_eq!(producer.begin()?.topic("orders")?.name(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        self.topic.name()
    }

    /// The same handle for records of a priority; see [`TopicProducer::with_priority`].
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new().partitions(2).priority_lanes(2))?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// let urgent = transaction.topic("jobs")?.with_priority(9)?;
    /// assert_eq!(urgent.send(Record::new("hello"))?.partition(), PartitionId::new(1));
    /// # drop(urgent);
    /// # drop(transaction);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn with_priority(&self, priority: impl Into<Priority>) -> Result<TransactionTopic<'t>> {
        let topic = self.topic.with_priority(priority)?;
        Ok(TransactionTopic { transaction: self.transaction, topic })
    }

    /// Sends one record to the partition its key, or else the partitioner, chooses.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// let receipt = transaction.topic("orders")?.send(Record::new("hello").key("customer-7"))?;
    /// assert_eq!(receipt.offset().get(), 0);
    /// # drop(transaction);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send(&self, record: Record<'_>) -> Result<Receipt> {
        let lane = self.topic.lane_of(None, &record)?;
        let sent = self.append(lane, None, std::slice::from_ref(&record))?;
        Ok(self.topic.receipt(&sent))
    }

    /// [`send`](TransactionTopic::send) to a partition of the caller's choice.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    /// # let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// let receipt = transaction.topic("orders")?.send_to(1, Record::new("hello"))?;
    /// assert_eq!(receipt.partition(), PartitionId::new(1));
    /// # drop(transaction);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_to(
        &self,
        partition: impl Into<PartitionId>,
        record: Record<'_>,
    ) -> Result<Receipt> {
        let id = partition.into();
        let lane = self.topic.lanes().lane(id)?;
        let sent = self.append(lane, Some(id), std::slice::from_ref(&record))?;
        Ok(self.topic.receipt(&sent))
    }

    /// Sends records as exactly one record batch, to the one partition that all of them map to.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(4))?;
    /// # let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// let both = [Record::new("order").key("c7"), Record::new("payment").key("c7")];
    /// assert_eq!(transaction.topic("orders")?.send_batch(&both)?.record_count(), 2);
    /// # drop(transaction);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_batch(&self, records: &[Record<'_>]) -> Result<BatchReceipt> {
        let lane = self.topic.lanes().lane(self.topic.choose_one(records)?)?;
        let sent = self.append(lane, None, records)?;
        Ok(self.topic.batch_receipt(&sent))
    }

    /// [`send_batch`](TransactionTopic::send_batch) to a partition of the caller's choice.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    /// # let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// let records = [Record::new("one").key("a"), Record::new("two").key("b")];
    /// let receipt = transaction.topic("orders")?.send_batch_to(1, &records)?;
    /// assert_eq!(receipt.end_offset().get(), 2);
    /// # drop(transaction);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_batch_to(
        &self,
        partition: impl Into<PartitionId>,
        records: &[Record<'_>],
    ) -> Result<BatchReceipt> {
        let id = partition.into();
        let sent = self.append(self.topic.lanes().lane(id)?, Some(id), records)?;
        Ok(self.topic.batch_receipt(&sent))
    }

    /// [`TopicProducer::send_once`] within the transaction: the id counts as taken while it is open,
    /// and is free again if it is aborted. A record that was there before is on disk before the
    /// transaction is committed, as if it had been sent here.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().deduplicate(Duration::from_secs(600)))?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// for is_duplicate in [false, true] {
    ///     let transaction = producer.begin()?;
    ///     let receipt = transaction.topic("orders")?.send_once("order-7", Record::new("hello"))?;
    ///     assert_eq!(receipt.is_duplicate(), is_duplicate);
    ///     transaction.commit()?;
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_once(&self, id: impl AsRef<[u8]>, record: Record<'_>) -> Result<Receipt> {
        let lane = self.topic.lane_of(None, &record)?;
        self.transaction.enlist(lane.partition())?;
        let claim = Some(self.claim());
        let sent = self.topic.once((lane, None), id.as_ref(), record, claim);
        let sent = self.transaction.note(sent)?;
        self.transaction.enlist(sent.lane.partition())?; // it may be there, and elsewhere
        self.transaction.reach(sent.lane.partition(), sent.end());
        Ok(sent.receipt)
    }

    fn claim(&self) -> ProducerClaim {
        let (identity, sequence) = (self.transaction.identity(), None);
        ProducerClaim { identity, sequence, transactional: true }
    }

    fn append(
        &self,
        lane: &Arc<Lane>,
        wanted: Option<PartitionId>,
        records: &[Record<'_>],
    ) -> Result<Sent> {
        let now = self.topic.core().wall();
        let transaction = self.transaction;
        transaction.enlist(lane.partition())?;
        let how = (now, Wait::Blocks(Durability::Process), Some(self.claim()));
        let sent = transaction.note(self.topic.append_as(lane, records, wanted, how))?;
        transaction.reach(lane.partition(), sent.appended.end_offset);
        Ok(sent)
    }
}
