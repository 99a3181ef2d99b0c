//! What an append answers: where the records went.
//!
//! A receipt is made only for records that are in the log, with the durability that was asked for.

use std::fmt;

use super::topic_name::TopicName;
use crate::ids::{LeaderEpoch, Offset, PartitionId, Sequence};
use crate::time::Timestamp;

/// A timestamp or none in eight bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct MaybeTimestamp(i64);

impl MaybeTimestamp {
    /// No record has it, and no clock shows it.
    const NONE: i64 = i64::MIN;

    #[inline]
    pub(super) fn of(timestamp: Option<Timestamp>) -> Self {
        MaybeTimestamp(timestamp.map_or(Self::NONE, Timestamp::as_millis))
    }

    #[inline]
    pub(super) fn get(self) -> Option<Timestamp> {
        (self.0 != Self::NONE).then_some(Timestamp::from_millis(self.0))
    }
}

impl fmt::Debug for MaybeTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// One record's place in its partition: it is in the log, as durable as was asked for.
///
/// ```
/// use tidelog::{Offset, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let receipt = store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// assert_eq!(receipt.topic(), "orders");
/// assert_eq!(receipt.offset(), Offset::ZERO);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionId,
    pub(super) offset: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) timestamp: MaybeTimestamp,
    pub(super) sequence: Option<Sequence>,
    pub(super) is_duplicate: bool,
}

impl Receipt {
    /// The topic the record went to.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send(Record::new("hello"))?.topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition the record went to.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send(Record::new("hello"))?.partition(), PartitionId::new(0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The record's offset in its partition.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send(Record::new("first"))?.offset(), Offset::new(0));
    /// assert_eq!(orders.send(Record::new("second"))?.offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The epoch the record was written under: with the offset it names one record for good.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert!(orders.send(Record::new("hello"))?.leader_epoch().get() >= 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The timestamp the record carries: its own, or that of the append where the topic sets it;
    /// `None` for a record sent without one.
    ///
    /// ```
    /// # use tidelog::{Record, Store, Timestamp, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let at = Timestamp::from_millis(1_700_000_000_000);
    /// assert_eq!(orders.send(Record::new("hello").timestamp(at))?.timestamp(), Some(at));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp.get()
    }

    /// The record's sequence, where an idempotent producer sent it.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().idempotent(true).build()?.topic("orders")?;
    /// assert_eq!(orders.send(Record::new("a"))?.sequence().map(|it| it.get()), Some(0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn sequence(&self) -> Option<Sequence> {
        self.sequence
    }

    /// Whether it was there before, and nothing was written: only what
    /// [`send_once`](crate::TopicProducer::send_once) and
    /// [`send_numbered`](crate::TopicProducer::send_numbered) send ever is.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().idempotent(true).build()?.topic("orders")?;
    /// assert!(!orders.send(Record::new("a"))?.is_duplicate());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_duplicate(&self) -> bool {
        self.is_duplicate
    }
}

/// The place of a batch that was sent whole: its records have the offsets from
/// [`base_offset`](BatchReceipt::base_offset) up to [`end_offset`](BatchReceipt::end_offset).
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let orders = store.producer().build()?.topic("orders")?;
/// let receipt = orders.send_batch(&[Record::new("one"), Record::new("two")])?;
/// assert_eq!(receipt.record_count(), 2);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchReceipt {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionId,
    pub(super) base_offset: Offset,
    pub(super) end_offset: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) max_timestamp: Option<Timestamp>,
    pub(super) base_sequence: Option<Sequence>,
    pub(super) is_duplicate: bool,
}

impl BatchReceipt {
    /// The topic the batch went to.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send_batch(&[Record::new("one")])?.topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition the batch went to.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send_batch(&[Record::new("one")])?.partition(), PartitionId::new(0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The offset of the first record.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send_batch(&[Record::new("one")])?.base_offset(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// One past the offset of the last record.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send_batch(&[Record::new("one")])?.end_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// How many records the batch has.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert_eq!(orders.send_batch(&[Record::new("one")])?.record_count(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn record_count(&self) -> u64 {
        self.end_offset.since(self.base_offset)
    }

    /// The epoch the batch was written under.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// assert!(orders.send_batch(&[Record::new("one")])?.leader_epoch().get() >= 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The largest timestamp among the records; `None` if none carries one.
    ///
    /// ```
    /// # use tidelog::{Record, Store, Timestamp, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let [early, late] = [1_700_000_000_000, 1_700_000_000_009].map(Timestamp::from_millis);
    /// let records = [Record::new("1").timestamp(late), Record::new("2").timestamp(early)];
    /// assert_eq!(orders.send_batch(&records)?.max_timestamp(), Some(late));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        self.max_timestamp
    }

    /// The first record's sequence, where an idempotent producer sent them; those of the others
    /// follow it.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().idempotent(true).build()?.topic("orders")?;
    /// let receipt = orders.send_batch(&[Record::new("a")])?;
    /// assert_eq!(receipt.base_sequence().map(|it| it.get()), Some(0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn base_sequence(&self) -> Option<Sequence> {
        self.base_sequence
    }

    /// Whether the batch was there before: nothing was written, and the offsets are those it got
    /// the first time.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().idempotent(true).build()?.topic("orders")?;
    /// let (first, rows) = (tidelog::Sequence::FIRST, [Record::new("row")]);
    /// let receipt = orders.send_numbered(0, first, &rows)?;
    /// let again = orders.send_numbered(0, first, &rows)?;
    /// assert!(again.is_duplicate() && again.base_offset() == receipt.base_offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_duplicate(&self) -> bool {
        self.is_duplicate
    }
}
