//! A transaction while it is open: what it has reached, and its end.
//!
//! It names each partition to the coordinator before the first record goes there, and keeps what
//! has to be on disk before a commit may be: the partitions it wrote to, and those whose records
//! its offsets stand for. Lock: `reached`, for a look or an entry, never during I/O.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::super::topic::TopicProducer;
use super::handle::TransactionalProducer;
use super::topic::TransactionTopic;
use crate::config::Durability;
use crate::engine::Partition;
use crate::error::{Cause, Error, ErrorKind, Outcome, Result};
use crate::group::ConsumedOffsets;
use crate::ids::{Offset, PartitionId, TopicId};
use crate::record::{MarkerKind, ProducerIdentity};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::txn::Reached;

/// One open transaction of a [`TransactionalProducer`], which it borrows.
///
/// What is sent lies in the log at once, but readers see it only once the transaction is committed,
/// and never if it is aborted; readers that ask for uncommitted records do see it. Dropping a
/// transaction aborts it; so does its timeout, and its producer's successor.
///
/// It may be shared between threads by reference.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let mut producer = store.producer().transactional("checkout").build()?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// let transaction = producer.begin()?;
/// transaction.topic("orders")?.send(Record::new("hello"))?;
/// assert!(consumer.try_poll()?.is_empty());
/// transaction.commit()?;
/// assert_eq!(consumer.poll(Duration::from_secs(1))?.len(), 1);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[must_use = "dropping it aborts it"]
pub struct Transaction<'p> {
    producer: &'p mut TransactionalProducer,
    identity: ProducerIdentity,
    reached: Mutex<HashMap<(TopicId, PartitionId), Reached>>,
    /// An append left in doubt what it wrote: a commit might commit what was reported as failed.
    is_tainted: AtomicBool,
    has_ended: bool,
}

impl<'p> Transaction<'p> {
    pub(super) fn new(producer: &'p mut TransactionalProducer, identity: ProducerIdentity) -> Self {
        let (reached, is_tainted) = (Mutex::default(), AtomicBool::new(false));
        Transaction { producer, identity, reached, is_tainted, has_ended: false }
    }

    /// Who its records are written as.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let first = producer.begin()?.identity();
    /// assert_eq!(producer.begin()?.identity().id(), first.id());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn identity(&self) -> ProducerIdentity {
        self.identity
    }

    /// A handle that sends to a topic within this transaction.
    ///
    /// # Errors
    /// Those of [`Producer::topic`](crate::Producer::topic).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// let orders = transaction.topic("orders")?; // resolves the name once
    /// orders.send(Record::new("one"))?;
    /// orders.send(Record::new("two"))?;
    /// transaction.commit()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self, name: &str) -> Result<TransactionTopic<'_>> {
        let topic: TopicProducer = self.producer.producer.topic(name)?;
        Ok(TransactionTopic::new(self, topic.with_durability(Durability::Process)))
    }

    /// Commits what a consumer was given, for its group, with this transaction: a consumer of the
    /// group begins behind it if the transaction is committed, and as if nothing had been said if
    /// it is not. See [`Consumer::rewind`](crate::Consumer::rewind) for the way back. Does nothing
    /// where nothing was given since the last commit.
    ///
    /// # Errors
    /// Those of [`Consumer::commit`](crate::Consumer::commit): as fenced for a member that was
    /// expelled, say; and those of [`TransactionTopic::send`]. Nothing of it is written then, and
    /// the transaction is best dropped.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.ensure_topic("bills", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("order 7"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let mut producer = store.producer().transactional("billing").build()?;
    /// let records = consumer.poll(Duration::from_secs(1))?;
    /// let transaction = producer.begin()?;
    /// let bills = transaction.topic("bills")?;
    /// for order in &records {
    ///     bills.send(Record::new(order.value().unwrap_or_default()))?;
    /// }
    /// transaction.send_offsets(&consumer.consumed()?)?;
    /// transaction.commit()?; // a bill for each order, however often this is killed and run again
    /// assert_eq!(consumer.committed("orders", 0)?.unwrap().offset().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_offsets(&self, consumed: &ConsumedOffsets<'_>) -> Result<()> {
        if consumed.is_empty() {
            return Ok(());
        }
        let offsets = consumed.offsets();
        let partition = offsets.log_partition_of(consumed.group())?;
        self.enlist(&partition)?;
        let end = self.note(offsets.stage(consumed, self.identity))?;
        self.reach(&partition, end);
        for (partition, end) in consumed.ends() {
            self.reach(partition, end);
        }
        Ok(())
    }

    /// Commits everything the transaction has sent, in all partitions, and its offsets.
    ///
    /// `Ok`: it is committed, as durably as the producer's
    /// [`commit_durability`](crate::TransactionalProducerBuilder::commit_durability) says, and
    /// readers see it; a partition that cannot be written to at the moment shows its part as soon
    /// as it can. One that has sent nothing is committed by doing nothing. Blocks for syncs with
    /// [`Durability::Power`]: of the records, of the decision, of the partitions' markers.
    ///
    /// # Errors
    /// The outcome says what became of it. [`NotWritten`](crate::Outcome::NotWritten): it is
    /// aborted. [`Unknown`](crate::Outcome::Unknown): the decision may or may not have come to be.
    /// Then [`Store::describe_transaction`](crate::Store::describe_transaction) says so as soon as
    /// that is certain (`PrepareCommit` or `CompleteCommit`, or one of the abort's), for good once
    /// the store was opened again. Kinds: as fenced once another producer has the id,
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) where its timeout or
    /// an operator has aborted it, those of an append and a sync.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// transaction.topic("orders")?.send(Record::new("hello"))?;
    /// store.abort_transaction("checkout")?; // an operator was faster
    /// let error = transaction.commit().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidTransactionState);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit(mut self) -> Result<()> {
        self.check_committable()?;
        let how = (MarkerKind::Commit, self.producer.durability);
        let reached = self.take_reached();
        let producer = &self.producer;
        let ended = producer.transactions.end(&producer.taken, self.identity, how, &reached);
        self.ended(ended)
    }

    /// [`commit`](Transaction::commit) as a future of no particular runtime. Nothing is committed
    /// before it is polled, and no poll blocks for a sync; those are made by the store's timer or
    /// shared with threads, and with [`Threads::Host`](crate::Threads::Host) by whoever calls
    /// [`run_due`](crate::Store::run_due). Dropped before its end the transaction is aborted, or
    /// committed where that was decided already.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// transaction.topic("orders")?.send(Record::new("hello"))?;
    /// pollster::block_on(transaction.commit_async())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub async fn commit_async(mut self) -> Result<()> {
        self.check_committable()?;
        let how = (MarkerKind::Commit, self.producer.durability);
        let reached = self.take_reached();
        let (transactions, taken) = (&self.producer.transactions, &self.producer.taken);
        let ending = transactions.clone().end_later(taken.clone(), self.identity, how, reached);
        let ended = ending.await;
        self.ended(ended)
    }

    /// Aborts it: nothing it has sent is ever shown to readers of what is committed. Never blocks
    /// for a sync; dropping it does the same.
    ///
    /// # Errors
    /// Those of [`commit`](Transaction::commit). Whatever it is, it is not committed: what could
    /// not be written now is written when the id is used next, or when the store is opened.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// transaction.topic("orders")?.send(Record::new("hello"))?;
    /// transaction.abort()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn abort(mut self) -> Result<()> {
        self.has_ended = true;
        self.abort_now()
    }

    fn abort_now(&self) -> Result<()> {
        let how = (MarkerKind::Abort, Durability::Process);
        let producer = &self.producer;
        producer.transactions.end(&producer.taken, self.identity, how, &[])
    }

    fn check_committable(&self) -> Result<()> {
        if !self.is_tainted.load(Ordering::Acquire) {
            return Ok(());
        }
        let text = "a record that failed may be part of it; it is aborted".to_owned();
        Err(Error::new("commit transaction", Cause::InvalidTransactionState(text)))
    }

    fn take_reached(&self) -> Vec<Reached> {
        std::mem::take(&mut *self.reached.lock()).into_values().collect()
    }

    /// What is decided, or may be, is not to be aborted by the drop.
    fn ended(&mut self, ended: Result<()>) -> Result<()> {
        self.has_ended =
            ended.as_ref().err().is_none_or(|error| error.outcome() != Outcome::NotWritten);
        ended
    }
}

/// For the handles that send.
impl Transaction<'_> {
    /// Has the coordinator know of a partition before it is written to.
    pub(super) fn enlist(&self, partition: &Arc<Partition>) -> Result<()> {
        let place = (partition.topic_id(), partition.id());
        if self.reached.lock().contains_key(&place) {
            return Ok(());
        }
        let producer = &self.producer;
        producer.transactions.enlist(&producer.taken, self.identity, partition)?;
        self.reach(partition, Offset::ZERO);
        Ok(())
    }

    /// Keeps how far a partition is to be on disk before a commit.
    pub(super) fn reach(&self, partition: &Arc<Partition>, end: Offset) {
        let place = (partition.topic_id(), partition.id());
        let mut reached = self.reached.lock();
        let new = || Reached { partition: partition.clone(), end };
        let reached = reached.entry(place).or_insert_with(new);
        reached.end = reached.end.max(end);
    }

    /// An append's result, as it is for the transaction: one that the log fences has lost its
    /// transaction, and the coordinator says to what.
    pub(super) fn note<T>(&self, appended: Result<T>) -> Result<T> {
        appended.map_err(|error| {
            if error.outcome() != Outcome::NotWritten {
                self.is_tainted.store(true, Ordering::Release);
            }
            if error.kind() == ErrorKind::InvalidProducerEpoch {
                let producer = &self.producer;
                let checked = producer.transactions.check(&producer.taken, self.identity);
                return checked.err().unwrap_or(error);
            }
            error
        })
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let engine = self.producer.producer.core().engine();
        if self.has_ended || engine.gate().is_forked_child() {
            return;
        }
        match self.abort_now() {
            // already aborted, or nobody's any more
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Closed
                        | ErrorKind::InvalidTransactionState
                        | ErrorKind::InvalidProducerEpoch
                ) => {}
            Err(error) => log::error!("a transaction that was dropped is not aborted yet: {error}"),
            Ok(()) => {}
        }
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("transactional_id", &self.producer.transactional_id())
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
