//! How a consumer is made: which partitions, from where, how much at once, how offsets are kept.
//!
//! Setters only note; `build` checks everything once and refuses what is out of its range. A
//! consumer's first positions are decided in `build`, so that what is sent after it is seen.

use std::sync::Arc;
use std::time::Duration;

use super::assignment::Assignment;
use super::fetch::Stage;
use super::filter::Filtering;
use super::handle::Consumer;
use super::member::Member;
use super::options::{Options, check_range};
use super::place::{MAX_POLL_INTERVAL, Place, check_not_shared};
use super::reset::Reset;
use super::retrying::{RetryTerms, Retrying};
use super::subscription::{Following, Subscribed};
use crate::config::{Durability, IsolationLevel};
use crate::disk::names::validate_topic_name;
use crate::engine::Claim;
use crate::error::{Cause, Error, Result};
use crate::group::{
    Distribution, Interest, JoinRequest, OffsetStore, StickyAssignor, TopicPattern,
    check_group_name,
};
use crate::ids::PartitionId;
use crate::record::{PlainLimit, TagBits};
use crate::share::ShareGroups;

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
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConsumerBuilder {
    engine: Claim,
    offsets: Arc<OffsetStore>,
    group: Option<String>,
    assigned: Vec<(String, PartitionId)>,
    subscribed: Vec<String>,
    pattern: Option<String>,
    distribution: Distribution,
    pub(super) place: Place,
    pub(super) filtering: Filtering,
    pub(super) retrying: RetryTerms,
    pub(super) options: Options,
    shares: Option<Arc<ShareGroups>>,
}

impl ConsumerBuilder {
    pub(crate) fn new(engine: Claim, offsets: Arc<OffsetStore>, group: Option<String>) -> Self {
        let options = Options { plain: engine.plain_limit(), ..Options::default() };
        ConsumerBuilder {
            engine,
            offsets,
            group,
            assigned: Vec::new(),
            subscribed: Vec::new(),
            pattern: None,
            distribution: Distribution::Divided,
            place: Place::default(),
            filtering: Filtering::default(),
            retrying: RetryTerms::default(),
            options,
            shares: None,
        }
    }

    /// Whose names are not for its group.
    pub(crate) fn beside(mut self, shares: Arc<ShareGroups>) -> Self {
        self.shares = Some(shares);
        self
    }

    /// For the only reader under its name.
    pub(crate) fn broadcast(mut self) -> Self {
        self.distribution = Distribution::Broadcast;
        self
    }

    /// Reads these partitions, by topic and number; they must exist. Any number of consumers of a
    /// group may do so: dividing the partitions is up to them. While the group has members, which
    /// [`subscribe`](ConsumerBuilder::subscribe), their commits are refused as fenced.
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

    /// Joins the group for these topics: its members divide their partitions, those that are added
    /// later too. A topic that does not exist yet is waited for. A consumer without a group reads
    /// every partition by itself.
    ///
    /// Partitions move within the polls of those concerned: who is to give one up does so in its
    /// next poll, and who is to have it gets it in a poll after that, at the committed offset. A
    /// partition that stays is read on meanwhile. The guide's chapter on groups has the whole.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().partitions(4))?;
    /// let mut first = store.consumer("billing").subscribe(["orders", "returns"]).build()?;
    /// assert_eq!(first.assignment().len(), 4);
    /// let mut second = store.consumer("billing").subscribe(["orders"]).build()?;
    /// second.try_poll()?; // divides anew
    /// first.try_poll()?; // lets go of two partitions
    /// second.try_poll()?; // takes them
    /// assert_eq!((first.assignment().len(), second.assignment().len()), (2, 2));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn subscribe<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.subscribed.extend(topics.into_iter().map(Into::into));
        self
    }

    /// [`subscribe`](ConsumerBuilder::subscribe) to every topic whose whole name matches a regular
    /// expression (crate `regex-lite`), those that are made later too, but never to internal ones.
    /// `build` fails as invalid for what is no pattern.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// store.ensure_topic("orders-eu", TopicConfig::new())?;
    /// store.ensure_topic("orders-us", TopicConfig::new())?;
    /// store.ensure_topic("returns", TopicConfig::new())?;
    /// let consumer = store.consumer("billing").subscribe_pattern("orders-.*").build()?;
    /// assert_eq!(consumer.assignment().len(), 2);
    /// assert!(store.consumer("billing").subscribe_pattern("orders-(").build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn subscribe_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
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

    /// Returns the records of transactions that are open or were aborted too, as Kafka's
    /// `isolation.level=read_uncommitted`. Without it polls return what was committed, up to where
    /// the oldest open transaction begins, and the end of a partition lies there.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]).read_uncommitted();
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read_uncommitted(mut self) -> Self {
        self.options.isolation = IsolationLevel::ReadUncommitted;
        self
    }

    /// How many bytes one compressed batch may take decompressed; one that takes more fails the
    /// poll as too large, and no more than this is allocated for it. Default what the store was
    /// [opened with](crate::StoreBuilder::max_decompressed_bytes); at least 1.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let builder = builder.max_decompressed_bytes(64 << 20);
    /// # builder.build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_decompressed_bytes(mut self, bytes: usize) -> Self {
        self.options.plain = PlainLimit::bytes(bytes.max(1));
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

    /// Lets a poll that waits look for itself this long before its thread sleeps: at the ends of
    /// up to eight partitions, of more at its wake-up flag. Less latency for a busy core, and
    /// meanwhile appends pay for no wake-up. Default: none.
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

    /// Makes the consumer, a member of its group if it subscribes. It never waits for partitions:
    /// those that are free for it are its own at once, others come in its polls. Decides where
    /// reading begins; where that fails (the reset policy may ask for a seek), the first poll
    /// fails instead. Blocks while another commit of the group is under way.
    ///
    /// Fails as not found for an assigned partition there is none of; as invalid for settings out
    /// of their range, a pattern that is none, an assignor other than the group's, and a share
    /// group's name; as locked for an instance id that a live member has; as closed with the store.
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
        if self.options.auto_commit.is_some() || (self.group.is_some() && self.assigned.is_empty())
        {
            self.engine.check_writable("build consumer")?; // groups live in the process that writes
        }
        let group: Option<Arc<str>> = self.group.as_deref().map(Arc::from);
        let shares = self.shares.clone();
        check_not_shared(shares.as_deref(), self.group.as_deref())?;
        let mut assigned = Vec::with_capacity(self.assigned.len());
        for (topic, id) in &self.assigned {
            assigned.push(self.engine.topic(topic)?.partition(*id)?);
        }
        let subscribed = self.interest()?;
        let catalog = self.engine.catalog_changes().signal();
        let interest = self.filtering.tag_bits().map_or(0, TagBits::word);
        let pinned = self.engine.pinned().share();
        let mut assignment = Assignment::new(catalog, &self.options, interest, pinned);
        let following = match (subscribed, &group) {
            (None, _) => Following::Nothing,
            (Some(interest), None) => Following::Topics(Subscribed { interest, first: true }),
            (Some(interest), Some(group)) => {
                let Place { assignor, instance_id, max_poll_interval, listener } = self.place;
                let request = JoinRequest {
                    interest,
                    assignor: assignor.unwrap_or_else(|| Arc::new(StickyAssignor::new())),
                    instance_id: instance_id.as_deref().map(Arc::from),
                    max_poll_interval: max_poll_interval.unwrap_or(MAX_POLL_INTERVAL),
                    distribution: self.distribution,
                };
                let seat = self.offsets.join(group, request)?;
                assignment.listen(seat.signal());
                Following::Group(Box::new(Member::new(seat, listener)))
            }
        };
        let mut consumer = Consumer {
            assignment,
            tally: self.offsets.coordinator().counters().begin(),
            engine: self.engine,
            offsets: self.offsets,
            group,
            options: self.options,
            following,
            filtering: self.filtering,
            retrying: Retrying::new(self.shares, self.retrying),
            stage: Stage::default(),
            failed: None,
            auto_commit_at: None,
            waiting: None,
        };
        for partition in &assigned {
            consumer.assignment.add(partition, false);
        }
        consumer.begin_following()?;
        // of two that take a name at once at least one sees the other
        check_not_shared(shares.as_deref(), consumer.group.as_deref())?;
        Ok(consumer)
    }

    fn interest(&self) -> Result<Option<Interest>> {
        Ok(match &self.pattern {
            Some(pattern) => Some(Interest::Pattern(Arc::new(TopicPattern::parse(pattern)?))),
            None if self.subscribed.is_empty() => None,
            None => {
                let names = self.subscribed.iter().map(|topic| Arc::from(&**topic));
                Some(Interest::Topics(names.collect()))
            }
        })
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
        options.weights.check("build consumer")?;
        let subscribes = !self.subscribed.is_empty() || self.pattern.is_some();
        match (self.assigned.is_empty(), subscribes) {
            (true, false) => return invalid("neither partitions nor topics were given"),
            (false, true) => return invalid("partitions and topics exclude each other"),
            _ => {}
        }
        if !self.subscribed.is_empty() && self.pattern.is_some() {
            return invalid("a list of topics and a pattern exclude each other");
        }
        if options.auto_commit.is_some() && self.group.is_none() {
            return invalid("a reader without a group has nothing to commit by itself");
        }
        let is_broadcast = self.distribution == Distribution::Broadcast;
        if is_broadcast && !subscribes {
            return invalid("a broadcast consumer subscribes: all partitions are its own");
        }
        self.place.validate(subscribes && self.group.is_some(), is_broadcast)?;
        self.filtering.validate()?;
        self.retrying.validate()?;
        check_range("max_bytes", options.max_bytes, usize::MAX)?;
        check_range("max_records", options.max_records, usize::MAX)?;
        check_range("min_bytes", options.min_bytes, options.max_bytes)
    }
}

impl std::fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("group", &self.group)
            .field("assigned", &self.assigned)
            .field("subscribed", &self.subscribed)
            .field("pattern", &self.pattern)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
