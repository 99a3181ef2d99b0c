//! Sending at once: one record or one batch, appended before the call returns.
//!
//! What programs call is here, the walk of a send in `walk`. The doors differ in three things: one
//! record or a batch of several, a partition that is named or chosen, a thread that blocks or a
//! task.

use std::fmt;
use std::sync::Arc;

use super::band::Band;
use super::core::Core;
use super::handle::Lease;
use super::lanes::Lanes;
use super::near::TopicNear;
use super::pending::Pending;
use super::receipt::{BatchReceipt, Receipt};
use crate::config::{Durability, Priority};
use crate::error::Result;
use crate::ids::PartitionId;
use crate::record::Record;

/// A producer's handle for one topic: everything that sends.
///
/// It belongs to the topic that had the name when it was made: partitions that are added are seen,
/// and once the topic is deleted each call fails as [`ErrorKind::NotFound`], also if another topic
/// was made under the name since. Cheap to clone and to share between threads.
///
/// The records of one partition are in the log in the order in which calls took them, whichever
/// calls: a `send` first writes what lingers for its partition.
///
/// ```
/// use tidelog::{PartitionId, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
/// let orders = store.producer().build()?.topic("orders")?;
/// orders.send(Record::new("chosen by the key").key("customer-7"))?;
/// orders.send_to(PartitionId::new(1), Record::new("chosen by the caller"))?;
/// let pending = orders.enqueue(Record::new("in company"))?;
/// orders.flush()?;
/// assert_eq!(pending.wait()?.topic(), "orders");
/// # Ok::<(), tidelog::Error>(())
/// ```
///
/// [`ErrorKind::NotFound`]: crate::ErrorKind::NotFound
#[derive(Clone)]
pub struct TopicProducer {
    lease: Lease,
    lanes: Arc<Lanes>,
    durability: Durability,
    pub(super) near: Option<TopicNear>,
    /// Of a topic with priority lanes.
    band: Option<Arc<Band>>,
}

impl TopicProducer {
    pub(super) fn new(lease: Lease, lanes: Arc<Lanes>) -> Self {
        let durability = lease.core().settings().durability;
        let band = Band::of(lanes.topic(), Priority::default());
        let near = TopicNear::of(&lanes);
        TopicProducer { lease, lanes, durability, near, band }
    }

    pub(super) fn in_band(&self, band: Arc<Band>) -> Self {
        TopicProducer { band: Some(band), ..self.clone() }
    }

    #[inline]
    pub(super) fn band(&self) -> Option<&Band> {
        self.band.as_deref()
    }

    #[inline]
    pub(super) fn core(&self) -> &Arc<Core> {
        self.lease.core()
    }

    pub(super) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    pub(super) fn word(&self) -> Durability {
        self.durability
    }

    /// The topic's name.
    ///
    /// ```
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// assert_eq!(store.producer().build()?.topic("orders")?.name(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        self.lanes.topic().name()
    }

    /// The partition that a record with this key would go to now. With more partitions it may be
    /// another.
    ///
    /// # Errors
    /// [`Panicked`](crate::ErrorKind::Panicked) and
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) by a partitioner of the caller's,
    /// [`NotFound`](crate::ErrorKind::NotFound) for a deleted topic.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().partitions(8))?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let receipt = orders.send(Record::new("hello").key("customer-7"))?;
    /// assert_eq!(orders.partition_for_key("customer-7")?, receipt.partition());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition_for_key(&self, key: impl AsRef<[u8]>) -> Result<PartitionId> {
        self.lanes.topic().check_exists("choose partition")?;
        self.choose(&Record::tombstone().key(key.as_ref()))
    }

    /// The same handle with another durability word: for one call, or to keep.
    ///
    /// Records that linger together share the strongest word among them.
    ///
    /// ```
    /// use tidelog::{Durability, Record};
    /// # use tidelog::{Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// orders.send(Record::new("survives the process"))?;
    /// orders.with_durability(Durability::Power).send(Record::new("survives a power cut"))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> TopicProducer {
        TopicProducer { durability, ..self.clone() }
    }

    /// Appends one record to the partition its key, or else the partitioner, chooses.
    ///
    /// `Ok`: readers can see it, and it is as durable as the producer promises. With
    /// [`Durability::Power`] the call blocks for a sync; otherwise only where the topic's
    /// `max_bytes` says so.
    ///
    /// # Errors
    /// `outcome()` says what became of the record. Among others:
    /// [`InvalidRecord`](crate::ErrorKind::InvalidRecord) and
    /// [`TooLarge`](crate::ErrorKind::TooLarge) by the topic's rules,
    /// [`Full`](crate::ErrorKind::Full), [`Panicked`](crate::ErrorKind::Panicked) by the
    /// partitioner, [`NotFound`](crate::ErrorKind::NotFound) for a deleted topic,
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let receipt = orders.send(Record::new("hello").key("customer-7"))?;
    /// assert_eq!(receipt.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send(&self, record: Record<'_>) -> Result<Receipt> {
        self.send_one(None, &record)
    }

    /// [`send`](TopicProducer::send) to a partition of the caller's choice.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let receipt = orders.send_to(PartitionId::new(1), Record::new("hello"))?;
    /// assert_eq!(receipt.partition(), PartitionId::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_to(
        &self,
        partition: impl Into<PartitionId>,
        record: Record<'_>,
    ) -> Result<Receipt> {
        self.send_one(Some(partition.into()), &record)
    }

    /// Appends records as exactly one record batch, all or none, to the one partition that all of
    /// them map to. Otherwise as [`send`](TopicProducer::send).
    ///
    /// # Errors
    /// [`InvalidRecord`](crate::ErrorKind::InvalidRecord) with [all](crate::Error::record_errors)
    /// that map to another partition than the first does, or else that break the topic's rules;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for no records at all. Nothing is
    /// written then.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(4))?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let both = [Record::new("order").key("c7"), Record::new("payment").key("c7")];
    /// assert_eq!(orders.send_batch(&both)?.record_count(), 2);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_batch(&self, records: &[Record<'_>]) -> Result<BatchReceipt> {
        self.send_many(None, records)
    }

    /// [`send_batch`](TopicProducer::send_batch) to a partition of the caller's choice, whatever
    /// the keys.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let records = [Record::new("one").key("a"), Record::new("two").key("b")];
    /// let receipt = orders.send_batch_to(PartitionId::new(1), &records)?;
    /// assert_eq!((receipt.base_offset().get(), receipt.end_offset().get()), (0, 2));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_batch_to(
        &self,
        partition: impl Into<PartitionId>,
        records: &[Record<'_>],
    ) -> Result<BatchReceipt> {
        self.send_many(Some(partition.into()), records)
    }

    /// [`send`](TopicProducer::send) for tasks: the record is in the log when this returns, and
    /// the future waits for the partition's next sync, which a thread makes that needs one, or
    /// else the store's timer for all who wait; without [`Durability::Power`] it is ready at once.
    /// Dropping it takes nothing back: [`flush`](TopicProducer::flush) waits for its sync too, and
    /// reports its failure. The append itself may still wait for room in a topic with
    /// `WhenFull::Block`.
    ///
    /// ```
    /// # use tidelog::{Durability, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().durability(Durability::Power).build()?.topic("orders")?;
    /// let receipt = pollster::block_on(orders.send_async(Record::new("hello")))?;
    /// assert_eq!(receipt.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use = "its error is known only from here"]
    pub fn send_async(&self, record: Record<'_>) -> Pending {
        self.send_later(None, &record)
    }

    /// [`send_async`](TopicProducer::send_async) to a partition of the caller's choice.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let sending = orders.send_to_async(PartitionId::new(1), Record::new("hello"));
    /// assert_eq!(pollster::block_on(sending)?.partition(), PartitionId::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use = "its error is known only from here"]
    pub fn send_to_async(&self, partition: impl Into<PartitionId>, record: Record<'_>) -> Pending {
        self.send_later(Some(partition.into()), &record)
    }

    /// [`send_batch`](TopicProducer::send_batch) for tasks, as
    /// [`send_async`](TopicProducer::send_async) is for one record.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let records = [Record::new("one"), Record::new("two")];
    /// assert_eq!(pollster::block_on(orders.send_batch_async(&records))?.record_count(), 2);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_batch_async(
        &self,
        records: &[Record<'_>],
    ) -> impl Future<Output = Result<BatchReceipt>> + Send + Unpin + 'static + use<> {
        self.send_batch_later(None, records)
    }

    /// [`send_batch_to`](TopicProducer::send_batch_to) for tasks.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let sending = orders.send_batch_to_async(PartitionId::new(0), &[Record::new("one")]);
    /// assert_eq!(pollster::block_on(sending)?.record_count(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn send_batch_to_async<P: Into<PartitionId>>(
        &self,
        partition: P,
        records: &[Record<'_>],
    ) -> impl Future<Output = Result<BatchReceipt>> + Send + Unpin + 'static + use<P> {
        self.send_batch_later(Some(partition.into()), records)
    }
}
impl fmt::Debug for TopicProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicProducer")
            .field("topic", &self.name())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
