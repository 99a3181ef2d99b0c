//! What is pending, as operators see it: a page at a time, in the order in which it is due.
//!
//! A page is read from the log, not from memory, so it costs a reading of all that is scheduled. It
//! takes no turn: what is published meanwhile may or may not be in it. Called by `store`.

use super::coordinator::Schedule;
use super::id::ScheduleId;
use super::reading::Place;
use super::schema::parse;
use crate::error::Result;
use crate::ids::{PartitionId, TopicId};
use crate::time::Timestamp;

/// A record that waits for its time; see [`Store::scheduled`](crate::Store::scheduled).
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let orders = store.producer().build()?.topic("orders")?;
/// let id = orders.schedule(Record::new("remind me").key("c7"), Duration::from_secs(3600))?;
/// let pending = store.scheduled(None, 10)?;
/// assert_eq!((pending[0].id(), pending[0].topic()), (id, "orders"));
/// assert_eq!(pending[0].value(), Some(&b"remind me"[..]));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledRecord {
    id: ScheduleId,
    topic: String,
    topic_id: TopicId,
    partition: PartitionId,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl ScheduledRecord {
    /// Its name.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let record = tidelog::Record::new("later").key("k");
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # let id = orders.schedule(record, std::time::Duration::from_secs(60))?;
    /// let one = store.scheduled(None, 1)?.remove(0);
    /// assert_eq!(one.id(), id);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn id(&self) -> ScheduleId {
        self.id
    }

    /// When it is due.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let record = tidelog::Record::new("later").key("k");
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # let id = orders.schedule(record, std::time::Duration::from_secs(60))?;
    /// let one = store.scheduled(None, 1)?.remove(0);
    /// assert_eq!(one.due(), id.due());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn due(&self) -> Timestamp {
        self.id.due()
    }

    /// The topic's name, when it was scheduled.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let record = tidelog::Record::new("later").key("k");
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # let _id = orders.schedule(record, std::time::Duration::from_secs(60))?;
    /// let one = store.scheduled(None, 1)?.remove(0);
    /// assert_eq!(one.topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The topic's identity: one made later under the name has another.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let record = tidelog::Record::new("later").key("k");
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # let _id = orders.schedule(record, std::time::Duration::from_secs(60))?;
    /// let one = store.scheduled(None, 1)?.remove(0);
    /// assert_eq!(one.topic_id(), store.describe("orders")?.id());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// The partition.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let record = tidelog::Record::new("later").key("k");
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # let _id = orders.schedule(record, std::time::Duration::from_secs(60))?;
    /// let one = store.scheduled(None, 1)?.remove(0);
    /// assert_eq!(one.partition().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The record's key.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let record = tidelog::Record::new("later").key("k");
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # let _id = orders.schedule(record, std::time::Duration::from_secs(60))?;
    /// let one = store.scheduled(None, 1)?.remove(0);
    /// assert_eq!(one.key(), Some(&b"k"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The record's value.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let record = tidelog::Record::new("later").key("k");
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # let _id = orders.schedule(record, std::time::Duration::from_secs(60))?;
    /// let one = store.scheduled(None, 1)?.remove(0);
    /// assert_eq!(one.value(), Some(&b"later"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
}

impl Schedule {
    /// Pending entries behind `after`, in the order in which they are due; none only where there
    /// are no more that can be read.
    pub(crate) fn list(
        &self,
        after: Option<ScheduleId>,
        most: usize,
    ) -> Result<Vec<ScheduledRecord>> {
        self.engine.check_open("list scheduled records")?;
        let (mut listed, mut after) = (Vec::new(), after.map(|id| id.key));
        while listed.is_empty() {
            let places = self.smallest(after, most)?;
            let Some(last) = places.last() else { break };
            after = Some(last.key); // all of them may be published meanwhile, or damaged
            listed = self.view(&places)?;
        }
        Ok(listed)
    }

    /// Entries at their places, without those that are gone or cannot be read.
    fn view(&self, places: &[Place]) -> Result<Vec<ScheduledRecord>> {
        let mut listed = Vec::with_capacity(places.len());
        for loaded in self.load_all(places)? {
            let Ok(entry) = parse(&loaded.bytes) else { continue };
            listed.push(ScheduledRecord {
                id: ScheduleId { key: loaded.key, offset: loaded.offset },
                topic: entry.target.name.to_owned(),
                topic_id: entry.target.topic,
                partition: entry.target.partition,
                key: entry.record.key_bytes().map(<[u8]>::to_vec),
                value: entry.record.value().map(<[u8]>::to_vec),
            });
        }
        Ok(listed)
    }
}
