//! One record as it is lent: what it says of itself, and where it was read.
//!
//! A view borrows from the [`Records`](super::Records) it was fetched with and copies nothing; it
//! can be copied itself. Its batch was checked when the records were taken in; key, value and
//! headers are found when they are asked for, so who asks for one does not pay for the others.

use super::batch::Headers;
use super::lend::LentRecord;
use super::records::Part;
use super::single::OwnedRecord;
use crate::config::TimestampType;
use crate::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId};
use crate::time::Timestamp;

/// One record, lent by the [`Records`](crate::Records) it was fetched with.
///
/// ```
/// use tidelog::{Offset, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello").key("k"))?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// for record in &consumer.try_poll()? {
///     assert_eq!((record.topic(), record.offset()), ("orders", Offset::ZERO));
///     assert_eq!(record.key(), Some(&b"k"[..]));
///     assert!(record.timestamp().is_some());
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    part: &'a Part,
    record: LentRecord<'a>,
}

impl<'a> RecordView<'a> {
    #[inline]
    pub(super) fn new(part: &'a Part, record: LentRecord<'a>) -> Self {
        RecordView { part, record }
    }

    /// The topic it was read from.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert_eq!(record.topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn topic(&self) -> &'a str {
        &self.part.origin.topic
    }

    /// The partition it was read from.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert_eq!(record.partition().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn partition(&self) -> PartitionId {
        self.part.origin.partition
    }

    /// Its offset: its place in the partition.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert_eq!(record.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn offset(&self) -> Offset {
        self.record.offset()
    }

    /// The epoch it was written under; `None` where the writer knew none.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert!(record.leader_epoch().is_some());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.record.header().leader_epoch()
    }

    /// Its timestamp, `None` where it has none.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert!(record.timestamp().is_some());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn timestamp(&self) -> Option<Timestamp> {
        let header = self.record.header();
        match header.timestamp_type() {
            TimestampType::CreateTime => {
                let delta = self.record.timestamp_delta();
                Timestamp::from_wire(header.raw_base_timestamp().wrapping_add(delta))
            }
            TimestampType::LogAppendTime => header.max_timestamp(),
        }
    }

    /// Who set the timestamp.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert_eq!(record.timestamp_type(), tidelog::TimestampType::CreateTime);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn timestamp_type(&self) -> TimestampType {
        self.record.header().timestamp_type()
    }

    /// Its key, `None` for null.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert_eq!(record.key(), Some(&b"k"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.record.key()
    }

    /// Its value, `None` for null.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert_eq!(record.value(), Some(&b"hello"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.record.value()
    }

    /// Its headers, in order.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert_eq!(record.headers().next().unwrap().name(), "trace");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn headers(&self) -> Headers<'a> {
        self.record.headers()
    }

    /// Whether it was written within a transaction.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert!(!record.is_transactional());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn is_transactional(&self) -> bool {
        self.record.header().is_transactional()
    }

    /// The idempotent or transactional producer that wrote it, with its incarnation and the
    /// record's number there; `None` where it was written without.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// assert_eq!(record.producer(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn producer(&self) -> Option<(ProducerId, ProducerEpoch, i32)> {
        let header = self.record.header();
        let first = header.base_sequence()?;
        let place = self.offset().since(header.base_offset());
        // sequences run to the largest i32 and begin again at 0
        let sequence = (i64::from(first) + i64::try_from(place).ok()?) & i64::from(i32::MAX);
        let sequence = i32::try_from(sequence).ok()?;
        Some((header.producer_id()?, header.producer_epoch()?, sequence))
    }

    /// Copies it out.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let record = records.iter().next().expect("one was sent");
    /// let kept = record.to_owned();
    /// assert_eq!(kept.value(), record.value());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            topic: self.topic().to_owned(),
            partition: self.partition(),
            offset: self.offset(),
            leader_epoch: self.leader_epoch(),
            timestamp: self.timestamp(),
            key: self.key().map(<[u8]>::to_vec),
            value: self.value().map(<[u8]>::to_vec),
            headers: self
                .headers()
                .map(|header| (header.name().to_owned(), header.value().map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}
