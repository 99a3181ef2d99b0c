//! How a consumer is made: which partitions, from where, how much at once, how offsets are kept.
//!
//! Setters only note; `build` checks everything once and refuses what is out of its range. A
//! consumer's first positions are decided in `build`, so that what is sent after it is seen.

use std::sync::Arc;
use std::time::Duration;

use super::assignment::Assignment;
use super::fetch::Stage;
use super::handle::Consumer;
use super::reset::Reset;
use super::subscription::Subscribed;
use crate::config::Durability;
use crate::disk::names::validate_topic_name;
use crate::engine::Engine;
use crate::error::{Cause, Error, Result};
use crate::group::{OffsetStore, check_group_name};
use crate::ids::PartitionId;

/// How a consumer reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) reset: Reset,
    pub(super) max_bytes: usize,
    pub(super) max_records: usize,
    pub(super) min_bytes: usize,
    pub(super) max_wait: Duration,
    pub(super) auto_commit: Option<Duration>,
    pub(super) durability: Durability,
    pub(super) read_uncommitted: bool,
    pub(super) durable_only: bool,
    pub(super) spin: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            reset: Reset::Earliest,
            max_bytes: 1 << 20,
            max_records: 10_000,
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
            auto_commit: None,
            durability: Durability::Process,
            read_uncommitted: false,
            durable_only: false,
            spin: Duration::ZERO,
        }
    }
}

/// Makes a [`Consumer`]; begun by [`Store::consumer`](crate::Store::consumer) and
/// [`Store::reader`](crate::Store::reader). It needs partitions: by
/// [`assign`](ConsumerBuilder::assign) or by [`subscribe`](ConsumerBuilder::subscribe).
///
/// ```
/// use tidelog::{Reset, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let consumer = store
///     .consumer("billing")
///     .subscribe(["orders"])
///     .reset(Reset::Latest)
///     .max_records(500)
///     .build()?;
/// assert_eq!(consumer.group(), Some("billing"));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConsumerBuilder {
    engine: Arc<Engine>,
    offsets: Arc<OffsetStore>,
    group: Option<String>,
    assigned: Vec<(String, PartitionId)>,
    subscribed: Vec<String>,
    options: Options,
}

impl ConsumerBuilder {
    pub(crate) fn new(
        engine: Arc<Engine>,
        offsets: Arc<OffsetStore>,
        group: Option<String>,
    ) -> Self {
        ConsumerBuilder {
            engine,
            offsets,
            group,
            assigned: Vec::new(),
            subscribed: Vec::new(),
            options: Options::default(),
        }
    }

    /// Reads these partitions, by topic and number; they must exist. Any number of consumers of a
    /// group may do so: dividing the partitions is up to them.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().partitions(4))?;
    /// let consumer = store.consumer("billing").assign([("orders", 0), ("orders", 3)]).build()?;
    /// assert_eq!(consumer.assignment().len(), 2);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn assign<T: Into<String>, P: Into<PartitionId>>(
        mut self,
        partitions: impl IntoIterator<Item = (T, P)>,
    ) -> Self {
        let partitions = partitions.into_iter().map(|(topic, id)| (topic.into(), id.into()));
        self.assigned.extend(partitions);
        self
    }

    /// Reads every partition of these topics, those that are added later too. A topic that does
    /// not exist yet is waited for. A group has one subscriber at a time: `build` fails as locked
    /// while there is another.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let consumer = store.consumer("billing").subscribe(["orders", "returns"]).build()?;
    /// let second = store.consumer("billing").subscribe(["orders"]).build();
    /// assert_eq!(second.unwrap_err().kind(), ErrorKind::Locked);
    /// # drop(consumer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn subscribe<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.subscribed.extend(topics.into_iter().map(Into::into));
        self
    }

    /// What to do without a valid position; default [`Reset::Earliest`].
    ///
    /// ```
    /// # use tidelog::Reset;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]).reset(Reset::Latest);
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reset(mut self, policy: Reset) -> Self {
        self.options.reset = policy;
        self
    }

    /// At most this many bytes of log at once, over all partitions; at least 1, default 1 MiB. One
    /// batch is returned even if it is larger.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]).max_bytes(64 << 10);
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.options.max_bytes = bytes;
        self
    }

    /// At most this many records at once, over all partitions; at least 1, default 10,000.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]).max_records(500);
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_records(mut self, records: usize) -> Self {
        self.options.max_records = records;
        self
    }

    /// Waits until there are this many bytes of log, or until
    /// [`max_wait`](ConsumerBuilder::max_wait) is over; at most `max_bytes`, default 1.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]).min_bytes(16 << 10);
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn min_bytes(mut self, bytes: usize) -> Self {
        self.options.min_bytes = bytes;
        self
    }

    /// How long, from its call on, a poll that has something waits for `min_bytes`; default
    /// 500 ms. It never makes a poll outlast its timeout.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]).min_bytes(16 << 10);
    /// let builder = builder.max_wait(Duration::from_millis(50));
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_wait(mut self, patience: Duration) -> Self {
        self.options.max_wait = patience;
        self
    }

    /// Lets a poll commit, at most once per `interval` of the store's clock, what was returned
    /// before it; and [`close`](Consumer::close), whatever is left. Off by default: records count
    /// as done when the program says so. Never commits on drop or by a timer. Needs a group.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let consumer = builder.auto_commit(Duration::from_secs(5)).build()?;
    /// consumer.close()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn auto_commit(mut self, interval: Duration) -> Self {
        self.options.auto_commit = Some(interval);
        self
    }

    /// How durable commits are that do not say so; default
    /// [`Durability::Process`](crate::Durability::Process).
    ///
    /// ```
    /// # use tidelog::Durability;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let builder = builder.durability(Durability::Power);
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// Returns records of transactions too, whatever became of these. Without it such a record
    /// fails the poll as unsupported: this version does not follow transactions.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]).read_uncommitted();
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read_uncommitted(mut self) -> Self {
        self.options.read_uncommitted = true;
        self
    }

    /// Returns only records that a sync has covered, so that nothing is seen that a power cut can
    /// take back. They come when a producer asks for power durability or with the background sync.
    ///
    /// ```
    /// # use tidelog::{Record, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let builder = store.consumer("billing").subscribe(["orders"]).durable_only();
    /// let mut consumer = builder.build()?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("not synced yet"))?;
    /// assert!(consumer.try_poll()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durable_only(mut self) -> Self {
        self.options.durable_only = true;
        self
    }

    /// Lets a poll that waits look at its wake-up flag this long before its thread sleeps: less
    /// latency for a busy core. Default: none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let builder = builder.spin(Duration::from_micros(50));
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn spin(mut self, before_parking: Duration) -> Self {
        self.options.spin = before_parking;
        self
    }

    /// Makes the consumer. Decides where reading begins; where that fails (the reset policy may
    /// ask for a seek), the first poll fails instead. Fails as not found for an assigned partition
    /// there is none of, as invalid for settings out of their range, as locked for a second
    /// subscriber of a group, as closed with the store.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert!(store.consumer("billing").build().is_err()); // no partitions
    /// # drop(consumer);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn build(self) -> Result<Consumer> {
        self.engine.check_open("build consumer")?;
        self.validate()?;
        if self.options.auto_commit.is_some()
            || (self.group.is_some() && !self.subscribed.is_empty())
        {
            self.engine.check_writable("build consumer")?; // groups live in the process that writes
        }
        let group: Option<Arc<str>> = self.group.as_deref().map(Arc::from);
        let mut assigned = Vec::with_capacity(self.assigned.len());
        for (topic, id) in &self.assigned {
            assigned.push(self.engine.topic(topic)?.partition(*id)?);
        }
        let subscribed = match (self.subscribed.is_empty(), &group) {
            (true, _) => None,
            (false, group) => {
                let registry = self.offsets.registry();
                let turn = group.as_ref().map(|group| registry.subscribe(group)).transpose()?;
                let topics = self.subscribed.iter().map(|topic| Arc::from(&**topic)).collect();
                Some(Subscribed { topics, _turn: turn, seen: None })
            }
        };
        let catalog = self.engine.catalog_changes().signal();
        let mut consumer = Consumer {
            assignment: Assignment::new(catalog, self.options.spin),
            engine: self.engine,
            offsets: self.offsets,
            group,
            options: self.options,
            subscribed,
            stage: Stage::default(),
            failed: None,
            auto_commit_at: None,
        };
        for partition in &assigned {
            consumer.assignment.add(partition, false);
        }
        consumer.refresh()?;
        let indexes: Vec<usize> = consumer.assignment.iter().map(|(index, _)| index).collect();
        for index in indexes {
            if let Err(error) = consumer.resolve(index) {
                log::debug!("the first poll will fail: {error}");
            }
        }
        Ok(consumer)
    }

    fn validate(&self) -> Result<()> {
        let invalid =
            |text: &str| Err(Error::new("build consumer", Cause::InvalidArgument(text.to_owned())));
        if let Some(group) = &self.group {
            check_group_name(group)?;
        }
        for topic in &self.subscribed {
            validate_topic_name(topic)?;
        }
        let options = &self.options;
        match (self.assigned.is_empty(), self.subscribed.is_empty()) {
            (true, true) => return invalid("neither partitions nor topics were given"),
            (false, false) => return invalid("partitions and topics exclude each other"),
            _ => {}
        }
        if options.auto_commit.is_some() && self.group.is_none() {
            return invalid("a reader without a group has nothing to commit by itself");
        }
        check_range("max_bytes", options.max_bytes, usize::MAX)?;
        check_range("max_records", options.max_records, usize::MAX)?;
        check_range("min_bytes", options.min_bytes, options.max_bytes)
    }
}

fn check_range(key: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let allowed = match most {
        usize::MAX => "at least 1".to_owned(),
        most => format!("1 to {most}, the limit that max_bytes sets"),
    };
    let (key, value) = (key.to_owned(), value.to_string());
    Err(Error::new("build consumer", Cause::InvalidConfig { key, value, allowed }))
}
