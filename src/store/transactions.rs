//! What a store does with transactions beside producing them: showing them, and ending those that
//! nobody ends.
//!
//! An open transaction keeps readers of what is committed from going on behind its first record.
//! One of a producer of this process ends by its timeout at the latest; one that came with the
//! directory may have nobody.

use super::handle::Store;
use crate::error::Result;
use crate::txn::{OpenTransaction, TransactionDescription};

impl Store {
    /// All transactional ids, in order, with where each stands.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.transactions()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn transactions(&self) -> Result<Vec<TransactionDescription>> {
        self.transactions.list()
    }

    /// Where a transactional id stands. After a commit that failed with the outcome
    /// [`Unknown`](crate::Outcome::Unknown) this tells what became of it.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`Poisoned`](crate::ErrorKind::Poisoned) while
    /// that is in doubt: [reopen](crate::Partition::reopen) the partition of `__transaction_state`
    /// that the error names, or the store; [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// use tidelog::{Record, Store, TopicConfig, TransactionPhase};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// transaction.topic("orders")?.send(Record::new("hello"))?;
    /// let phase = || Ok::<_, tidelog::Error>(store.describe_transaction("checkout")?.phase());
    /// assert_eq!(phase()?, TransactionPhase::Ongoing);
    /// transaction.commit()?;
    /// assert_eq!(phase()?, TransactionPhase::CompleteCommit);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn describe_transaction(&self, id: &str) -> Result<TransactionDescription> {
        self.transactions.describe(id)
    }

    /// Aborts the open transaction of a transactional id, whoever has it: its next call fails as
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState), and it may begin
    /// another.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown id,
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) where none is open,
    /// those of an append.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut producer = store.producer().transactional("checkout").build()?;
    /// let transaction = producer.begin()?;
    /// transaction.topic("orders")?.send(Record::new("hello"))?;
    /// store.abort_transaction("checkout")?;
    /// assert!(transaction.commit().is_err());
    /// assert!(producer.begin().is_ok());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn abort_transaction(&self, id: &str) -> Result<()> {
        self.transactions.abort(id)
    }

    /// Every transaction that is open in some partition, also those that no transactional id here
    /// knows: Kafka's tools call these hanging, and
    /// [`Partition::abort_transaction`](crate::Partition::abort_transaction) ends them.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.open_transactions()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open_transactions(&self) -> Result<Vec<OpenTransaction>> {
        self.transactions.open_in_partitions()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
