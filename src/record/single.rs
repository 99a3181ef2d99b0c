//! What a program hands in and what it gets back: one record, borrowed, lent or owned.
//!
//! [`Record`] borrows what is to be sent, [`RecordView`](super::RecordView) lends what was read,
//! [`OwnedRecord`] keeps it. Key and value are each bytes or null; null is not empty. Headers keep
//! their order and may repeat; a name is text, a value is bytes or null.

use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::time::Timestamp;

/// One header of a record.
///
/// ```
/// use tidelog::Record;
/// let record = Record::new("v").header("trace", "abc").null_header("flag");
/// let header = &record.headers()[0];
/// assert_eq!((header.name(), header.value()), ("trace", Some(&b"abc"[..])));
/// assert_eq!(record.headers()[1].value(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The name; may be empty, may repeat within a record.
    ///
    /// ```
    /// let record = tidelog::Record::new("v").null_header("flag");
    /// assert_eq!(record.headers()[0].name(), "flag");
    /// ```
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The value, `None` for null.
    ///
    /// ```
    /// let record = tidelog::Record::new("v").header("flag", "");
    /// assert_eq!(record.headers()[0].value(), Some(&b""[..]));
    /// ```
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }
}

/// Which timestamp a record asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WantedTimestamp {
    /// That of its sending.
    #[default]
    Now,
    At(Timestamp),
    None,
}

/// A record to be sent; it borrows key, value and headers and copies nothing.
///
/// ```
/// use tidelog::{Record, Timestamp};
/// let record = Record::new("hello")
///     .key("customer-7")
///     .header("source", "web")
///     .timestamp(Timestamp::from_millis(1_700_000_000_000));
/// assert_eq!(record.value(), Some(&b"hello"[..]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<Header<'a>>,
    pub(super) timestamp: WantedTimestamp,
}

impl<'a> Record<'a> {
    /// A record with a value, no key, no headers, and the time of its sending.
    ///
    /// ```
    /// assert_eq!(tidelog::Record::new("hello").key_bytes(), None);
    /// ```
    pub fn new<V: AsRef<[u8]> + ?Sized>(value: &'a V) -> Self {
        Record { value: Some(value.as_ref()), ..Record::default() }
    }

    /// A record with a null value: in a compacted topic it deletes its key.
    ///
    /// ```
    /// assert_eq!(tidelog::Record::tombstone().key("gone").value(), None);
    /// ```
    pub fn tombstone() -> Self {
        Record::default()
    }

    /// Gives it a key; keyed records of one key go to one partition.
    ///
    /// ```
    /// assert_eq!(tidelog::Record::new("v").key("k").key_bytes(), Some(&b"k"[..]));
    /// ```
    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Adds a header behind those it has.
    ///
    /// ```
    /// let record = tidelog::Record::new("v").header("a", "1").header("a", "2");
    /// assert_eq!(record.headers().len(), 2);
    /// ```
    #[must_use]
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.headers.push(Header { name, value: Some(value.as_ref()) });
        self
    }

    /// Adds a header whose value is null.
    ///
    /// ```
    /// let record = tidelog::Record::new("v").null_header("flag");
    /// assert_eq!(record.headers()[0].value(), None);
    /// ```
    #[must_use]
    pub fn null_header(mut self, name: &'a str) -> Self {
        self.headers.push(Header { name, value: None });
        self
    }

    /// Sets its timestamp; a topic with `LogAppendTime` puts its own in its place.
    ///
    /// ```
    /// use tidelog::{Record, Timestamp};
    /// let record = Record::new("v").timestamp(Timestamp::from_millis(5));
    /// # let _ = record;
    /// ```
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = WantedTimestamp::At(timestamp);
        self
    }

    /// Gives it no timestamp at all, which Kafka's format allows.
    ///
    /// ```
    /// let record = tidelog::Record::new("v").without_timestamp();
    /// # let _ = record;
    /// ```
    #[must_use]
    pub fn without_timestamp(mut self) -> Self {
        self.timestamp = WantedTimestamp::None;
        self
    }

    /// The key, `None` for null.
    ///
    /// ```
    /// assert_eq!(tidelog::Record::new("v").key("").key_bytes(), Some(&b""[..]));
    /// ```
    pub fn key_bytes(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value, `None` for null.
    ///
    /// ```
    /// assert_eq!(tidelog::Record::new("v").value(), Some(&b"v"[..]));
    /// ```
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The timestamp it asks for, or that it asks for none; `None` for that of its sending.
    pub(crate) fn wanted_timestamp(&self) -> Option<Option<Timestamp>> {
        match self.timestamp {
            WantedTimestamp::Now => None,
            WantedTimestamp::At(at) => Some(Some(at)),
            WantedTimestamp::None => Some(None),
        }
    }

    /// Gives a record without a value one.
    pub(crate) fn with_value(mut self, value: &'a [u8]) -> Self {
        self.value = Some(value);
        self
    }

    /// The timestamp it carries when it is sent at `now`, unless its topic sets one.
    pub(crate) fn timestamp_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.timestamp {
            WantedTimestamp::Now => Some(now),
            WantedTimestamp::At(at) => Some(at),
            WantedTimestamp::None => None,
        }
    }

    /// The headers, in order.
    ///
    /// ```
    /// assert!(tidelog::Record::new("v").headers().is_empty());
    /// ```
    pub fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }
}

/// A record that was read, copied out of what it was read from.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello").key("k"))?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// let owned = consumer.try_poll()?.iter().next().map(|view| view.to_owned());
/// let owned = owned.expect("one record was sent");
/// assert_eq!(owned.value(), Some(&b"hello"[..]));
/// assert_eq!(owned.as_record().key_bytes(), Some(&b"k"[..])); // to send it on
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub(super) topic: String,
    pub(super) partition: PartitionId,
    pub(super) offset: Offset,
    pub(super) leader_epoch: Option<LeaderEpoch>,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The getters are those of [`RecordView`](super::RecordView).
impl OwnedRecord {
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
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// assert_eq!(owned.topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
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
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// assert_eq!(owned.partition().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Its offset.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// assert_eq!(owned.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The epoch it was written under.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// assert!(owned.leader_epoch().is_some());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// Its timestamp.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// assert!(owned.timestamp().is_some());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
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
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// assert_eq!(owned.key(), Some(&b"k"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
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
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// assert_eq!(owned.value(), Some(&b"hello"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
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
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// assert_eq!(owned.headers().len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() })
    }

    /// The same record, to be sent: key, value, headers and timestamp.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let record = Record::new("hello").key("k").header("trace", "abc");
    /// # store.producer().build()?.topic("orders")?.send(record)?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// # let records = consumer.try_poll()?;
    /// # let owned = records.iter().next().expect("one was sent").to_owned();
    /// let receipt = store.producer().build()?.topic("orders")?.send(owned.as_record())?;
    /// assert_eq!(receipt.offset().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn as_record(&self) -> Record<'_> {
        Record {
            key: self.key(),
            value: self.value(),
            headers: self.headers().collect(),
            timestamp: match self.timestamp {
                Some(timestamp) => WantedTimestamp::At(timestamp),
                None => WantedTimestamp::None,
            },
        }
    }
}
