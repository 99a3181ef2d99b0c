//! A producer with a transactional id to itself.
//!
//! It holds the id until it is dropped or another one takes it. What it sends it sends in
//! transactions, one after the other; it is moved to another thread, not shared: a transaction is
//! shared, by reference.

use std::fmt;
use std::sync::Arc;

use super::super::handle::Producer;
use super::open::Transaction;
use crate::config::Durability;
use crate::error::Result;
use crate::txn::{Taken, Transactions};

/// Sends in transactions: all of what one has sent, to any partitions, and the offsets it commits
/// for groups, take effect together, or none of it does.
///
/// There is one producer of a transactional id at a time. Building another one fences the first,
/// which then fails as [`is_fenced`](crate::Error::is_fenced); what it has open is aborted. So a
/// program that is started again under the same id ends what its former life left, and two that run
/// by mistake do not write twice.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new().partitions(4))?;
/// store.ensure_topic("payments", TopicConfig::new())?;
/// let mut producer = store.producer().transactional("checkout").build()?;
/// let transaction = producer.begin()?;
/// transaction.topic("orders")?.send(Record::new("order 7").key("customer-3"))?;
/// transaction.topic("payments")?.send(Record::new("of order 7"))?;
/// transaction.commit()?; // readers see both from now on, after a power cut too
/// # Ok::<(), tidelog::Error>(())
/// ```
pub struct TransactionalProducer {
    pub(super) producer: Producer,
    pub(super) transactions: Arc<Transactions>,
    pub(super) taken: Taken,
    pub(super) durability: Durability,
}

impl TransactionalProducer {
    pub(super) fn new(
        producer: Producer,
        transactions: Arc<Transactions>,
        taken: Taken,
        durability: Durability,
    ) -> Self {
        TransactionalProducer { producer, transactions, taken, durability }
    }

    /// The transactional id.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let producer = store.producer().transactional("checkout").build()?;
    /// assert_eq!(producer.transactional_id(), "checkout");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn transactional_id(&self) -> &str {
        self.taken.id()
    }

    /// Begins a transaction. Nothing is written before its first record; its timeout counts from
    /// there.
    ///
    /// # Errors
    /// [`InvalidProducerEpoch`](crate::ErrorKind::InvalidProducerEpoch), which
    /// [`is_fenced`](crate::Error::is_fenced), once another producer has taken the id;
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) while the end of the
    /// last transaction cannot be written to every partition;
    /// [`Poisoned`](crate::ErrorKind::Poisoned) while it is in doubt how the last one ended;
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// drop(transaction); // aborts it
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn begin(&mut self) -> Result<Transaction<'_>> {
        let identity = self.transactions.begin(&self.taken)?;
        Ok(Transaction::new(self, identity))
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        if !self.producer.core().engine().gate().is_forked_child() {
            self.transactions.give_back(&self.taken);
        }
    }
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer")
            .field("transactional_id", &self.transactional_id())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
