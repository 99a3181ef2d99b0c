//! How a consumer of a share group is made.
//!
//! Setters only note; `build` checks everything once, joins the group and decides where it begins.
//! Called by `store`.

use std::sync::Arc;
use std::time::Duration;

use super::handle::{Options, ShareConsumer, Wanted};
use crate::config::{Durability, IsolationLevel};
use crate::disk::names::validate_topic_name;
use crate::engine::Claim;
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::group::{GroupKind, OffsetStore};
use crate::ids::PartitionId;
use crate::priority::Weights;
use crate::record::{PlainLimit, RecordFilter};
use crate::share::{
    GroupSettings, LEASE, Letters, RETRIES_OF, ShareGroups, ShareStart, Terms, check_settings,
};

/// Makes a [`ShareConsumer`]; begun by [`Store::share_consumer`](crate::Store::share_consumer).
///
/// What is said of the group (deliveries, order, isolation, records in flight) is the same for all
/// its consumers as long as there are any; the lease and the size of a poll are each consumer's
/// own.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// let consumer = store
///     .share_consumer("workers")
///     .subscribe(["jobs"])
///     .lease(Duration::from_secs(60))
///     .max_deliveries(10)
///     .build()?;
/// assert_eq!(consumer.group(), "workers");
/// # Ok::<(), tidelog::Error>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Clone)]
pub struct ShareConsumerBuilder {
    engine: Claim,
    shares: Arc<ShareGroups>,
    offsets: Arc<OffsetStore>,
    group: String,
    subscribed: Vec<String>,
    assigned: Vec<(String, PartitionId)>,
    start: ShareStart,
    settings: GroupSettings,
    letters: Letters,
    filter: Option<RecordFilter>,
    pub(super) options: Options,
}

impl ShareConsumerBuilder {
    pub(crate) fn new(
        engine: Claim,
        shares: Arc<ShareGroups>,
        offsets: Arc<OffsetStore>,
        group: String,
    ) -> Self {
        ShareConsumerBuilder {
            engine,
            shares,
            offsets,
            group,
            subscribed: Vec::new(),
            assigned: Vec::new(),
            start: ShareStart::default(),
            settings: GroupSettings::default(),
            letters: Letters::Own,
            filter: None,
            options: Options {
                lease: LEASE,
                max_records: 500,
                max_bytes: 1 << 20,
                durability: Durability::Power,
                weights: Weights::default(),
            },
        }
    }

    /// Takes records of these topics, all their partitions, those that come later too. A topic
    /// that does not exist yet is waited for.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let consumer = store.share_consumer("workers").subscribe(["jobs", "mail"]).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn subscribe<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.subscribed.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Takes records of these partitions only, by topic and number; they must exist.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let consumer = store.share_consumer("workers").assign([("jobs", 0)]).build()?;
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

    /// Where the group begins in partitions it has not read yet; default
    /// [`ShareStart::Earliest`].
    ///
    /// ```
    /// # use tidelog::{ShareStart, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let builder = store.share_consumer("workers").subscribe(["jobs"]);
    /// let consumer = builder.start(ShareStart::Latest).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn start(mut self, start: ShareStart) -> Self {
        self.start = start;
        self
    }

    /// How long a record is leased: 1 ms to 24 hours, default 30 s, by the store's monotonic
    /// clock. A record that is not settled by then is handed out again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let builder = store.share_consumer("workers").subscribe(["jobs"]);
    /// assert!(builder.lease(Duration::ZERO).build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn lease(mut self, lasts: Duration) -> Self {
        self.options.lease = lasts;
        self
    }

    /// How many records one poll returns at most; default 500, at least 1.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let consumer = store.share_consumer("g").subscribe(["jobs"]).max_records(1).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_records(mut self, records: usize) -> Self {
        self.options.max_records = records;
        self
    }

    /// How many bytes of keys and values one poll returns, as a soft bound: the record that
    /// reaches it is the last of its fetch. Default 1 MiB, at least 1.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let consumer = store.share_consumer("g").subscribe(["jobs"]).max_bytes(4096).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.options.max_bytes = bytes;
        self
    }

    /// How often a record is handed out at most: 1 to 10,000, default 5 as in Kafka. One that
    /// comes back after its last delivery becomes a dead letter, or is archived, and counted
    /// ([`ShareGroupPartition::archived`](crate::ShareGroupPartition::archived)).
    ///
    /// ```
    /// # use tidelog::{Record, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let builder = store.share_consumer("workers").subscribe(["jobs"]);
    /// let mut consumer = builder.max_deliveries(1).without_dead_letters().build()?;
    /// let leased = consumer.try_poll()?;
    /// consumer.release_all(&leased)?;
    /// assert!(consumer.try_poll()?.is_empty());
    /// assert_eq!(store.describe_share_group("workers")?.partitions[0].archived, 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_deliveries(mut self, times: u16) -> Self {
        self.settings.max_deliveries = times;
        self
    }

    /// The topic that records go to that are rejected or were handed out as often as they may;
    /// default `<group>.dlq`, whose name has to be a topic's. It is made with the first of them,
    /// with one partition and no retention, and again if it was deleted.
    ///
    /// A dead letter has the record's key, value, headers and timestamp and behind those headers of
    /// its own: see [`DeadLetter`](crate::DeadLetter). It is published once for each record,
    /// whenever the process or the power stops, as a part of the store's maintenance. Until it is
    /// durable the record is not finished and stays where it is, and of an
    /// [`ordered_by_key`](ShareConsumerBuilder::ordered_by_key) group nothing later of its key is
    /// handed out. Where the topic is full, or its disk, or does not take the record, that is tried
    /// again at least every 30 s ([`ShareGroupPartition::owed`](crate::ShareGroupPartition::owed));
    /// the letters of an earlier life wait for the group's next consumer.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let builder = store.share_consumer("workers").subscribe(["jobs"]);
    /// let consumer = builder.clone().dead_letter_topic("jobs.failed").build()?;
    /// let error = builder.dead_letter_topic("jobs").build().unwrap_err(); // it would never end
    /// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self {
        self.letters = Letters::To(topic.into());
        self
    }

    /// Archives what is rejected or was handed out as often as it may: it is counted, and handed
    /// out no more.
    ///
    /// ```
    /// # use tidelog::{Record, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let builder = store.share_consumer("workers").subscribe(["jobs"]);
    /// let mut consumer = builder.without_dead_letters().build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.reject(record)?;
    /// }
    /// let partition = &store.describe_share_group("workers")?.partitions[0];
    /// assert_eq!((partition.archived, partition.dead_letters), (1, 0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn without_dead_letters(mut self) -> Self {
        self.letters = Letters::Nowhere;
        self
    }

    /// Stops at a record that is rejected or was handed out as often as it may, until somebody
    /// [releases](crate::Store::release_stopped) or [skips](crate::Store::skip_stopped) it, by the
    /// program or the command `tidelog groups`. With
    /// [`ordered_by_key`](ShareConsumerBuilder::ordered_by_key) nothing later of its key is handed
    /// out meanwhile, and a record without a key stops nothing but itself; without it nothing of
    /// its partition is, but for what is leased already. It is kept over restarts, and shown:
    /// [`stopped_records`](crate::Store::stopped_records),
    /// [`ShareGroupPartition::stopped`](crate::ShareGroupPartition::stopped).
    ///
    /// ```
    /// # use tidelog::{Record, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let jobs = store.producer().build()?.topic("jobs")?;
    /// for (key, value) in [("a", "1"), ("a", "2"), ("b", "3")] {
    ///     jobs.send(Record::new(value).key(key))?;
    /// }
    /// let builder = store.share_consumer("g").subscribe(["jobs"]).ordered_by_key();
    /// let mut consumer = builder.stop_when_exhausted().build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.reject_because(record, "no such account")?; // 1 and 3
    /// }
    /// assert!(consumer.try_poll()?.is_empty()); // 2 waits for 1
    /// let stopped = store.stopped_records("g")?;
    /// assert_eq!(stopped[0].error.as_deref(), Some("no such account"));
    /// store.skip_stopped("g", "jobs", 0, stopped[0].offset)?;
    /// assert_eq!(consumer.try_poll()?.iter().next().unwrap().value(), Some(&b"2"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn stop_when_exhausted(mut self) -> Self {
        self.letters = Letters::Stay;
        self
    }

    /// Hands out only what a filter wants; the rest is passed over for the whole group, counts as
    /// finished, and costs no state of its own. All consumers of the group have the same filter:
    /// one with others is refused, for what one passed over another might have wanted. Filters of
    /// the same tags are the same; one with a predicate is the same as its clones only. Another
    /// filter may come once the group has no consumers: what was handed out before comes back all
    /// the same, and what was passed over stays so.
    ///
    /// A predicate runs in a poll, under no lock, and may be asked of a record more than once. With
    /// [`TopicConfig::tag_index`](crate::TopicConfig::tag_index) stretches that have none of the
    /// tags are not read, and wake nobody: the next poll passes over them.
    ///
    /// ```
    /// # use tidelog::{Record, RecordFilter, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let jobs = store.producer().build()?.topic("jobs")?;
    /// jobs.send(Record::new("1").tag("mail"))?;
    /// jobs.send(Record::new("2").tag("print"))?;
    /// let builder = store.share_consumer("mailers").subscribe(["jobs"]);
    /// let mut consumer = builder.clone().filter(RecordFilter::tags(["mail"])).build()?;
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// assert!(builder.filter(RecordFilter::tags(["print"])).build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn filter(mut self, filter: RecordFilter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// How many records of one partition all consumers of the group may hold at once: 1 to
    /// 100,000, default 2,000.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let consumer = store.share_consumer("g").subscribe(["jobs"]).max_in_flight(64).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_in_flight(mut self, records: usize) -> Self {
        self.settings.max_in_flight = records;
        self
    }

    /// Hands out records of one key one after the other, in their order: nothing later of a key
    /// before the earlier is finished, however often that is retried. Other keys go on, and records
    /// without a key.
    ///
    /// ```
    /// # use tidelog::{Record, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let jobs = store.producer().build()?.topic("jobs")?;
    /// for (key, value) in [("a", "1"), ("a", "2"), ("b", "3")] {
    ///     jobs.send(Record::new(value).key(key))?;
    /// }
    /// let mut consumer = store.share_consumer("g").subscribe(["jobs"]).ordered_by_key().build()?;
    /// let leased = consumer.try_poll()?;
    /// let values: Vec<_> = leased.iter().filter_map(|record| record.value()).collect();
    /// assert_eq!(values, [&b"1"[..], b"3"]);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn ordered_by_key(mut self) -> Self {
        self.settings.ordered = true;
        self
    }

    /// Hands out records of transactions that are not decided yet, and of those that were aborted;
    /// by default only what is committed.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let consumer = store.share_consumer("g").subscribe(["jobs"]).read_uncommitted().build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read_uncommitted(mut self) -> Self {
        self.settings.isolation = IsolationLevel::ReadUncommitted;
        self
    }

    /// What one compressed batch may take decompressed; by default 8 MiB, or 32 times its size
    /// where that is more.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let builder = store.share_consumer("g").subscribe(["jobs"]);
    /// let consumer = builder.max_decompressed_bytes(64 << 20).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_decompressed_bytes(mut self, bytes: usize) -> Self {
        self.settings.plain = PlainLimit::bytes(bytes);
        self
    }

    /// What an acknowledgement means when it returns; default [`Durability::Power`]: the record is
    /// never handed out again, not even after a power cut. With
    /// [`Durability::Process`] a power cut may bring it back; [`ShareConsumer::flush`] makes up
    /// for it.
    ///
    /// ```
    /// # use tidelog::{Durability, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let builder = store.share_consumer("g").subscribe(["jobs"]);
    /// let consumer = builder.durability(Durability::Process).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// Makes the consumer; decides, and writes, where its group begins in partitions it has not
    /// read yet.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for what is out of its range,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for no topics, for settings other
    /// than those of the group's consumers and for the name of a group of consumers that do not
    /// share; [`InvalidName`](crate::ErrorKind::InvalidName),
    /// [`NotFound`](crate::ErrorKind::NotFound) for an assigned partition there is none of,
    /// [`Closed`](crate::ErrorKind::Closed), those of an append.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// let error = store.share_consumer("g").build().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn build(self) -> Result<ShareConsumer> {
        self.check()?;
        let assigned = self.assigned.iter().map(|(topic, _)| topic);
        let read = self.subscribed.iter().chain(assigned).map(|topic| &**topic);
        let fate = self.letters.fate(&self.engine, &self.group, read)?;
        let wanted = match self.assigned.is_empty() {
            true => Wanted::Topics(self.subscribed),
            false => {
                let mut partitions = Vec::with_capacity(self.assigned.len());
                for (topic, id) in &self.assigned {
                    partitions.push(self.engine.topic(topic)?.partition(*id)?);
                }
                Wanted::Partitions(partitions)
            }
        };
        let terms = Terms { settings: self.settings, fate, filter: self.filter };
        let group = self.shares.join(&self.group, &terms)?;
        let (name, offsets) = (self.group, self.offsets);
        let shared = (self.engine, self.shares, group);
        let made = ShareConsumer::begin(shared, wanted, self.start, (&terms, self.options))?;
        check_name_is_free(&offsets, &name)?; // of two that come at once one sees the other
        Ok(made)
    }

    fn check(&self) -> Result<()> {
        const OPERATION: &str = "build share consumer";
        let invalid = |text: &str| Err(Error::new(OPERATION, Cause::InvalidArgument(text.into())));
        check_settings(&self.settings, self.options.lease)?;
        self.options.weights.check(OPERATION)?;
        let refuse = |key: &str| {
            let (key, value, allowed) = (key.to_owned(), "0".to_owned(), "at least 1".to_owned());
            Err(Error::new(OPERATION, Cause::InvalidConfig { key, value, allowed }))
        };
        if self.options.max_records == 0 {
            return refuse("max_records");
        }
        if self.options.max_bytes == 0 {
            return refuse("max_bytes");
        }
        if self.subscribed.is_empty() == self.assigned.is_empty() {
            return invalid("it needs topics or partitions, not both");
        }
        if self.filter.as_ref().is_some_and(|filter| !filter.names_something()) {
            return invalid("a filter of no tags wants nothing");
        }
        if self.group.starts_with(RETRIES_OF) {
            return invalid("the group is one of records that ordinary consumers gave back");
        }
        self.subscribed.iter().try_for_each(|topic| validate_topic_name(topic))?;
        check_name_is_free(&self.offsets, &self.group)
    }
}

/// Refuses the name of a group of consumers that do not share.
fn check_name_is_free(offsets: &OffsetStore, group: &str) -> Result<()> {
    const OPERATION: &str = "build share consumer";
    match offsets.kept(OPERATION, group) {
        Ok(kept) if kept.kind != GroupKind::Share => {
            let text = "the group is one of consumers that do not share".to_owned();
            Err(Error::new(OPERATION, Cause::InvalidArgument(text)))
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl std::fmt::Debug for ShareConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShareConsumerBuilder")
            .field("group", &self.group)
            .field("subscribed", &self.subscribed)
            .field("assigned", &self.assigned)
            .finish_non_exhaustive()
    }
}
