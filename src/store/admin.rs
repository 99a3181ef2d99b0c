//! What a store does with its topics: making, finding, changing, trimming and deleting them.
//!
//! Each change is durable when it returns, and costs one write to the store's state log.

use super::describe::TopicDescription;
use super::handle::Store;
use crate::config::{IsolationLevel, Leadership, TopicConfig};
use crate::engine::{NewTopic, Topic};
use crate::error::{Cause, Error, ErrorKind, Outcome, Result};
use crate::ids::{Offset, PartitionId};
use crate::time::Timestamp;

/// Topics.
impl Store {
    /// Makes a topic. Its directories come with its first records. Durable when it returns.
    ///
    /// # Errors
    /// [`AlreadyExists`](ErrorKind::AlreadyExists), [`InvalidName`](ErrorKind::InvalidName),
    /// [`InvalidConfig`](ErrorKind::InvalidConfig), those of the operating system;
    /// [`TooLarge`](ErrorKind::TooLarge) where the store's files have no room for more: for some
    /// 600,000 partitions of all topics there is.
    ///
    /// ```
    /// use tidelog::{ErrorKind, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new().partitions(4))?;
    /// let error = store.create_topic("orders", TopicConfig::new()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<()> {
        self.create_topics([(name, config)])
    }

    /// Makes topics, all or none, with one write. Durable when it returns.
    ///
    /// # Errors
    /// Those of [`Store::create_topic`], of the first topic that has one.
    ///
    /// ```
    /// use tidelog::{Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topics([("orders", TopicConfig::new()), ("bills", TopicConfig::new())])?;
    /// assert_eq!(store.topics()?.len(), 2);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn create_topics<'a>(
        &self,
        topics: impl IntoIterator<Item = (&'a str, TopicConfig)>,
    ) -> Result<()> {
        self.make_topics(topics, Leadership::SelfLed)
    }

    /// Makes a topic that the host replicates: it leads every partition of it, those that are
    /// added later too. Durable when it returns; see [`Leadership::HostLed`].
    ///
    /// # Errors
    /// Those of [`Store::create_topic`].
    ///
    /// ```
    /// use tidelog::{ErrorKind, Leadership, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_host_led_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let refused = orders.send(Record::new("a")).unwrap_err(); // no leader yet
    /// assert_eq!(refused.kind(), ErrorKind::NotLeader);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn create_host_led_topic(&self, name: &str, config: TopicConfig) -> Result<()> {
        self.make_topics([(name, config)], Leadership::HostLed)
    }

    fn make_topics<'a>(
        &self,
        topics: impl IntoIterator<Item = (&'a str, TopicConfig)>,
        leadership: Leadership,
    ) -> Result<()> {
        let new: Vec<_> = topics
            .into_iter()
            .map(|(name, config)| NewTopic { name, config, internal: false })
            .collect();
        if let Some(topic) = new.iter().find(|topic| topic.name.starts_with("__")) {
            let reason = "names that begin with two underscores are the store's own";
            let name = topic.name.to_owned();
            return Err(Error::new(
                "create topic",
                Cause::InvalidName { what: "topic", name, reason },
            ));
        }
        for topic in &new {
            // a power cut may have kept offsets of a deleted topic of this name, and an adopted
            // store may hold some of topics it does not have
            if self.engine.topic(topic.name).is_err() {
                self.offsets.forget_topic(topic.name)?;
            }
        }
        self.engine.create_topics_led(&new, leadership).map(|_| ())
    }

    /// Makes a topic, or accepts one that is there and equal. An adopted topic with as many
    /// partitions takes the configuration and is adopted no longer.
    ///
    /// # Errors
    /// Those of [`Store::create_topic`]; [`AlreadyExists`](ErrorKind::AlreadyExists) names the
    /// first difference to the topic that is there.
    ///
    /// ```
    /// use tidelog::{Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let error = store.ensure_topic("orders", TopicConfig::new().partitions(2)).unwrap_err();
    /// assert!(error.to_string().contains("partitions"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn ensure_topic(&self, name: &str, config: TopicConfig) -> Result<()> {
        loop {
            match self.create_topic(name, config.clone()) {
                // with a path it is no topic, but a directory in its way
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists && error.path().is_none() => {}
                created => return created,
            }
            match self.accept_topic(name, &config) {
                Err(error) if error.kind() == ErrorKind::NotFound => {} // deleted since
                accepted => return accepted,
            }
        }
    }

    fn accept_topic(&self, name: &str, config: &TopicConfig) -> Result<()> {
        let topic = self.engine.topic(name)?;
        match difference(&topic, config) {
            Some(("partitions", difference)) => Err(exists(name, difference)),
            _ if topic.is_adopted() => self.alter_topic(name, config.clone()),
            Some((_, difference)) => Err(exists(name, difference)),
            None => Ok(()),
        }
    }

    /// Deletes a topic with its records and its committed offsets. Its handles fail from then on;
    /// records that were fetched stay valid. Durable when it returns.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), those of the operating system. With the outcome
    /// [`Unknown`](Outcome::Unknown) the topic may be gone and some of its offsets not.
    ///
    /// ```
    /// use tidelog::{Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.delete_topic("orders")?;
    /// assert!(store.topics()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        self.not_internal("delete topic", name)?;
        let id = self.engine.topic(name).ok().map(|topic| topic.id());
        self.engine.delete_topic(name)?;
        let shared = id.map_or(Ok(()), |id| {
            let letters = self.letters.forget_topic(id);
            self.shares.forget_topic(id).and(letters)
        });
        let forgotten = self.offsets.forget_topic(name).and(shared);
        forgotten.map_err(|error| error.with_outcome(Outcome::Unknown)) // the topic is gone
    }

    /// Every topic but the internal ones, by name.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed).
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.topics()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.engine.check_open("list topics")?;
        let topics = self.engine.topics();
        let shown = topics.iter().filter(|topic| !topic.is_internal());
        Ok(shown.map(|topic| TopicDescription::of(topic)).collect())
    }

    /// A topic, internal ones too.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`Closed`](ErrorKind::Closed).
    ///
    /// ```
    /// use tidelog::{Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// assert_eq!(store.describe("orders")?.partitions().len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn describe(&self, name: &str) -> Result<TopicDescription> {
        Ok(TopicDescription::of(&*self.engine.topic(name)?))
    }

    /// Gives a topic another configuration; its number of partitions stays. The active segment
    /// heeds it from the next append on. Durable when it returns.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`InvalidConfig`](ErrorKind::InvalidConfig), those of
    /// the operating system.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.alter_topic("orders", TopicConfig::new().retention(Duration::from_secs(60)))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn alter_topic(&self, name: &str, config: TopicConfig) -> Result<()> {
        self.not_internal("alter topic", name)?;
        self.engine.alter_topic(name, config)?;
        let topic = self.engine.topic(name)?;
        self.offsets.hold_again(&topic);
        self.shares.hold_again(&topic);
        Ok(())
    }

    /// Gives a topic more partitions, `total` in all. Keys may go to other partitions from then
    /// on. Durable when it returns.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`InvalidArgument`](ErrorKind::InvalidArgument) for
    /// fewer than there are, [`InvalidConfig`](ErrorKind::InvalidConfig) for too many of one topic,
    /// [`TooLarge`](ErrorKind::TooLarge) as [`Store::create_topic`].
    ///
    /// ```
    /// use tidelog::{Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.add_partitions("orders", 3)?;
    /// assert_eq!(store.describe("orders")?.partitions().len(), 3);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn add_partitions(&self, name: &str, total: u32) -> Result<()> {
        self.not_internal("add partitions", name)?;
        self.engine.add_partitions(name, total)
    }

    /// Raises where a partition starts: records below `offset` are gone for readers, and their
    /// segments from the disk once all of a segment's records are. Durable when it returns.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange)
    /// beyond the end, [`PolicyViolation`](ErrorKind::PolicyViolation) for a topic that is
    /// compacted and not deleted from, those of the operating system.
    ///
    /// ```
    /// use tidelog::{Offset, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// store.delete_records_before("orders", 0, Offset::new(1))?;
    /// assert_eq!(store.describe("orders")?.partitions()[0].start_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delete_records_before(
        &self,
        topic: &str,
        partition: impl Into<PartitionId>,
        offset: Offset,
    ) -> Result<()> {
        self.not_internal("delete records", topic)?;
        let partition = self.engine.topic(topic)?.partition(partition.into())?;
        self.engine.delete_records_before(&partition, offset)
    }

    /// [`delete_records_before`](Store::delete_records_before) for several partitions, each for
    /// itself: where it fails for one it goes on with the next. Returns the start each has then, in
    /// the order given, or why it has not changed.
    ///
    /// ```
    /// use tidelog::{Offset, PartitionId, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let (first, one) = (PartitionId::new(0), Offset::new(1));
    /// let starts = store.delete_records(&[("orders", first, one), ("paid", first, one)]);
    /// assert_eq!(*starts[0].as_ref().unwrap(), one);
    /// assert!(starts[1].is_err()); // there is no such topic
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delete_records(&self, before: &[(&str, PartitionId, Offset)]) -> Vec<Result<Offset>> {
        let delete = |(topic, partition, offset): &(&str, PartitionId, Offset)| {
            let partition = self.partition(topic, *partition)?;
            partition.delete_records_before(*offset)?;
            partition.start_offset()
        };
        before.iter().map(delete).collect()
    }

    /// The offset of the first record at or after `timestamp`, first by offset; `None` where no
    /// record is that late.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`Corrupt`](ErrorKind::Corrupt), those of the operating
    /// system.
    ///
    /// ```
    /// use tidelog::{Offset, Record, Store, Timestamp, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let record = Record::new("hello").timestamp(Timestamp::from_millis(1_000));
    /// store.producer().build()?.topic("orders")?.send(record)?;
    /// let find = |millis| store.offset_at("orders", 0, Timestamp::from_millis(millis));
    /// assert_eq!(find(999)?, Some(Offset::ZERO));
    /// assert_eq!(find(1_001)?, None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset_at(
        &self,
        topic: &str,
        partition: impl Into<PartitionId>,
        timestamp: Timestamp,
    ) -> Result<Option<Offset>> {
        let partition = self.engine.topic(topic)?.partition(partition.into())?;
        partition.offset_at(timestamp, IsolationLevel::ReadCommitted)
    }

    /// Applies every topic's retention now, and that of committed offsets, without waiting for the
    /// background's next run. Blocks for syncs where something is removed.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed). What a single partition fails with is logged.
    ///
    /// ```
    /// tidelog::Store::in_memory()?.apply_retention()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn apply_retention(&self) -> Result<()> {
        self.engine.check_open("apply retention")?;
        self.offsets.expire_all();
        self.engine.retain_all();
        Ok(())
    }

    /// Internal topics are changed by the store alone.
    pub(super) fn not_internal(&self, operation: &'static str, name: &str) -> Result<()> {
        if self.engine.topic(name)?.is_internal() {
            let text = format!("`{name}` is the store's own topic");
            return Err(Error::new(operation, Cause::InvalidArgument(text)));
        }
        Ok(())
    }
}

fn exists(name: &str, difference: String) -> Error {
    Error::new("ensure topic", Cause::AlreadyExists { name: name.to_owned(), difference })
}

/// The first setting in which a topic differs from a configuration, and how.
fn difference(topic: &Topic, wanted: &TopicConfig) -> Option<(&'static str, String)> {
    let partitions = topic.partitions().len();
    let wanted_partitions = usize::try_from(wanted.partitions).unwrap_or(usize::MAX);
    if partitions != wanted_partitions {
        let text = format!("it has {partitions} partitions, not {wanted_partitions}");
        return Some(("partitions", text));
    }
    let config = topic.config();
    wanted.entries().into_iter().find_map(|(key, value)| {
        let has = config.get(&key)?;
        (has != value).then(|| ("setting", format!("its {key} is {has}, not {value}")))
    })
}
