//! What a poll of a share group returns: records, each with its lease.
//!
//! Owned as a whole and lent one by one, like [`Records`]; a [`Lease`] is what settles one record
//! and can be kept and sent without the record.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Offset, PartitionId};
use crate::record::{RecordView, Records, RecordsIter};
use crate::share::{LeaseId, Place, TakenNote};

/// Records of a share group, leased to who polled them.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
/// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
/// let leased = consumer.try_poll()?;
/// assert_eq!(leased.len(), 1);
/// for record in &leased {
///     assert_eq!((record.value(), record.delivery_count()), (Some(&b"hello"[..]), 1));
///     consumer.ack(record)?;
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct LeasedRecords {
    pub(super) records: Records,
    pub(super) notes: Vec<TakenNote>,
    pub(super) parts: Vec<LeasedPart>,
}

/// What one partition contributed.
#[derive(Clone, Debug)]
pub(super) struct LeasedPart {
    pub(super) place: Arc<Place>,
    pub(super) lease: LeaseId,
    pub(super) ends: Duration,
    pub(super) len: usize,
}

impl LeasedRecords {
    /// How many records there are.
    ///
    /// ```
    /// assert_eq!(tidelog::LeasedRecords::default().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    ///
    /// ```
    /// assert!(tidelog::LeasedRecords::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Lends the records, partition by partition; within one, those that came back first.
    ///
    /// ```
    /// assert_eq!(tidelog::LeasedRecords::default().iter().count(), 0);
    /// ```
    pub fn iter(&self) -> LeasedIter<'_> {
        LeasedIter { records: self.records.iter(), of: self, next: 0, part: 0, left: None }
    }
}

impl<'a> IntoIterator for &'a LeasedRecords {
    type Item = LeasedRecord<'a>;
    type IntoIter = LeasedIter<'a>;

    fn into_iter(self) -> LeasedIter<'a> {
        self.iter()
    }
}

/// Lends the records of [`LeasedRecords`], one after the other.
///
/// ```
/// assert!(tidelog::LeasedRecords::default().iter().next().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct LeasedIter<'a> {
    records: RecordsIter<'a>,
    of: &'a LeasedRecords,
    next: usize,
    part: usize,
    left: Option<usize>,
}

impl<'a> Iterator for LeasedIter<'a> {
    type Item = LeasedRecord<'a>;

    fn next(&mut self) -> Option<LeasedRecord<'a>> {
        let view = self.records.next()?;
        let note = self.of.notes.get(self.next)?;
        self.next += 1;
        let part = loop {
            let part = self.of.parts.get(self.part)?;
            match self.left.unwrap_or(part.len) {
                0 => (self.part, self.left) = (self.part + 1, None),
                left => {
                    self.left = Some(left - 1);
                    break part;
                }
            }
        };
        Some(LeasedRecord { view, part, count: note.count })
    }
}

/// One leased record; it lends everything a [`RecordView`] does.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// store.producer().build()?.topic("jobs")?.send(Record::new("hello").key("k"))?;
/// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
/// let leased = consumer.try_poll()?;
/// let record = leased.iter().next().expect("one was sent");
/// assert_eq!((record.topic(), record.key()), ("jobs", Some(&b"k"[..])));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LeasedRecord<'a> {
    view: RecordView<'a>,
    part: &'a LeasedPart,
    count: u16,
}

impl<'a> std::ops::Deref for LeasedRecord<'a> {
    type Target = RecordView<'a>;

    fn deref(&self) -> &RecordView<'a> {
        &self.view
    }
}

impl LeasedRecord<'_> {
    /// How often it has been handed out, this time too; counted over restarts.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// for count in 1..4 {
    ///     let leased = consumer.try_poll()?;
    ///     let record = leased.iter().next().expect("it comes back");
    ///     assert_eq!(record.delivery_count(), count);
    ///     consumer.release(record)?;
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delivery_count(&self) -> u32 {
        self.count.into()
    }

    /// When its lease ends unless it is extended, on the store's monotonic clock
    /// ([`Clock::monotonic`](crate::Clock::monotonic)).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{ManualClock, Record, Store, TopicConfig};
    /// # let store = Store::builder_in_memory().clock(ManualClock::default()).open()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let leased = consumer.try_poll()?;
    /// let record = leased.iter().next().expect("one was sent");
    /// assert_eq!(record.lease_ends(), Duration::from_secs(30));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn lease_ends(&self) -> Duration {
        self.part.ends
    }

    /// What settles it, to be kept or sent elsewhere.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let lease = consumer.try_poll()?.iter().next().expect("one was sent").lease();
    /// consumer.ack(lease)?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn lease(&self) -> Lease {
        let (place, id) = (self.part.place.clone(), self.part.lease);
        Lease { place, id, offset: self.view.offset(), count: self.count }
    }
}

impl From<LeasedRecord<'_>> for Lease {
    fn from(record: LeasedRecord<'_>) -> Lease {
        record.lease()
    }
}

impl From<&Lease> for Lease {
    fn from(lease: &Lease) -> Lease {
        lease.clone()
    }
}

/// The right to settle one record, as long as it lasts.
///
/// ```
/// use tidelog::{ErrorKind, Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
/// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
/// let lease = consumer.try_poll()?.iter().next().expect("one was sent").lease();
/// consumer.release(&lease)?;
/// let error = consumer.ack(&lease).unwrap_err(); // given up: it is somebody else's now
/// assert_eq!(error.kind(), ErrorKind::InvalidRecordState);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lease {
    pub(super) place: Arc<Place>,
    pub(super) id: LeaseId,
    pub(super) offset: Offset,
    count: u16,
}

impl Lease {
    /// Lets it end `lasts` from now, if it has not ended yet.
    pub(crate) fn extend(&self, lasts: Duration) -> bool {
        self.place.extend(&[(self.offset, self.id)], lasts).iter().all(Result::is_ok)
    }

    /// The record's topic.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// # let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// # let leased = consumer.try_poll()?;
    /// let lease = leased.iter().next().expect("one was sent").lease();
    /// assert_eq!(lease.topic(), "jobs");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        self.place.partition().topic_name()
    }

    /// Its partition.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// # let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// # let leased = consumer.try_poll()?;
    /// let lease = leased.iter().next().expect("one was sent").lease();
    /// assert_eq!(lease.partition().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.place.partition().id()
    }

    /// Its offset.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// # let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// # let leased = consumer.try_poll()?;
    /// let lease = leased.iter().next().expect("one was sent").lease();
    /// assert_eq!(lease.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// How often the record had been handed out with this lease.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// # let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// # let leased = consumer.try_poll()?;
    /// let lease = leased.iter().next().expect("one was sent").lease();
    /// assert_eq!(lease.delivery_count(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delivery_count(&self) -> u32 {
        self.count.into()
    }
}
