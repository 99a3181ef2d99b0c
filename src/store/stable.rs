//! A partition's door for who watches over its transactions: how far they are decided, which are
//! open, which were aborted, and ending one that nobody ends.
//!
//! Transactions are begun and ended by producers; this is for hosts that serve readers of their
//! own, and for operators: an open transaction that nobody ends, as a directory of Kafka's may
//! hold, keeps readers at `read_committed` from all that comes after it.

use std::ops::Range;

use super::partition::Partition;
use crate::error::Result;
use crate::ids::{Offset, ProducerId};
use crate::log::ProducerState;
use crate::segment::AbortedTransaction;

impl Partition {
    /// Up to where every transaction is decided: where the oldest open one begins, or the end.
    /// Readers at `read_committed` see no further.
    ///
    /// # Errors
    /// Those of [`start_offset`](Partition::start_offset).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("a"))?;
    /// let partition = store.partition("orders", 0)?;
    /// assert_eq!(partition.last_stable_offset()?, partition.end_offset()?);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn last_stable_offset(&self) -> Result<Offset> {
        Ok(self.partition.offsets()?.last_stable())
    }

    /// The producers that have a transaction open here, in the order in which these began; where
    /// one began is [`transaction_start`](ProducerState::transaction_start).
    ///
    /// # Errors
    /// Those of [`start_offset`](Partition::start_offset), and
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// assert!(store.partition("orders", 0)?.open_transactions()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open_transactions(&self) -> Result<Vec<ProducerState>> {
        self.partition.open_transactions()
    }

    /// The aborted transactions that reach into a range of offsets, in the order of their markers:
    /// what a consumer of Kafka's protocol has to be told with the batches of that range.
    ///
    /// # Errors
    /// Those of [`open_transactions`](Partition::open_transactions).
    ///
    /// ```
    /// # use tidelog::{Offset, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// let all = Offset::ZERO..partition.end_offset()?;
    /// assert!(partition.aborted_transactions(all)?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn aborted_transactions(&self, range: Range<Offset>) -> Result<Vec<AbortedTransaction>> {
        self.partition.aborted_transactions(&range)
    }

    /// Aborts the transaction that a producer has open here. One that a transactional id of this
    /// store knows is aborted in all its partitions; any other, such as a directory of Kafka's may
    /// hold, in this one alone, as by Kafka's `kafka-transactions abort`, and power-durably: that
    /// blocks for a sync.
    ///
    /// # Errors
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) where the producer
    /// has none open here, or one whose end is decided already: that is carried through instead.
    /// Those of an append.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, ProducerId, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// for hung in partition.open_transactions()? {
    ///     partition.abort_transaction(hung.identity().id())?;
    /// }
    /// let none = partition.abort_transaction(ProducerId::new(7)).unwrap_err();
    /// assert_eq!(none.kind(), ErrorKind::InvalidTransactionState);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn abort_transaction(&self, producer: ProducerId) -> Result<()> {
        self.store.transactions.abort_in_partition(&self.partition, producer)
    }
}
