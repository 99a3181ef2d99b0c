//! The consumer itself: what it is made of, which places it looks at, what becomes of it.
//!
//! Invariant: it looks at a place as long as its topic exists, and at each partition once. Dropping
//! it takes it out of everything that could wake it, then out of its group.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Durability, Priority};
use crate::engine::{Claim, Partition};
use crate::error::{Error, Result};
use crate::ids::PartitionId;
use crate::priority::{Fairness, Weights};
use crate::share::{GroupSettings, Place, ShareGroup, ShareGroups, ShareStart, Shown, Terms};
use crate::wait::{Interrupter, Registration, WaitSet};

/// How a consumer takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) lease: Duration,
    pub(super) max_records: usize,
    pub(super) max_bytes: usize,
    pub(super) durability: Durability,
    pub(super) weights: Weights,
}

/// What it takes from.
#[derive(Debug)]
pub(super) enum Wanted {
    Topics(Vec<String>),
    Partitions(Vec<Arc<Partition>>),
}

/// A place it takes from, and its place among those who wait there.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) place: Arc<Place>,
    pub(super) registration: Registration,
    /// As it was when the last look at it found nothing.
    pub(super) fruitless: Option<Shown>,
    /// What it counts as beside others.
    pub(super) priority: Priority,
}

/// The token of the catalog's signal; no place has this number.
pub(super) const CATALOG: usize = usize::MAX;

/// Takes records of a share group under leases.
///
/// Any number of consumers of a group may take from one partition: each record is leased to one of
/// them, who acknowledges it, gives it back, now or for later, or rejects it. What is not settled
/// when its lease ends is handed out again, to whoever asks next. Made by
/// [`Store::share_consumer`](crate::Store::share_consumer).
///
/// One thread or task polls at a time (`&mut`); settling takes `&self` and may be done from any.
/// Dropping it gives up what it holds: others get it at once.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// store.producer().build()?.topic("jobs")?.send(Record::new("resize 17.png"))?;
/// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
/// let leased = consumer.poll(Duration::from_secs(1))?;
/// for record in &leased {
///     // do it, then
///     consumer.ack(record)?;
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
pub struct ShareConsumer {
    pub(super) shares: Arc<ShareGroups>,
    pub(super) group: Arc<ShareGroup>,
    pub(super) member: u64,
    pub(super) settings: GroupSettings,
    pub(super) is_filtered: bool,
    pub(super) options: Options,
    /// What a poll met behind what it returned.
    pub(super) failed: Option<Error>,
    wanted: Wanted,
    pub(super) watched: Vec<Watched>,
    /// Where the next poll begins to look.
    pub(super) next: usize,
    /// Once a place has a priority.
    pub(super) fairness: Option<Box<Fairness>>,
    pub(super) set: WaitSet,
    pub(super) catalog: Registration,
    /// How many changes of the catalog have been taken in; `None` before the first look.
    seen: Option<u64>,
    /// The last to be dropped: what comes before it may still need the store.
    pub(super) engine: Claim,
}

impl ShareConsumer {
    pub(super) fn begin(
        (engine, shares, group): (Claim, Arc<ShareGroups>, Arc<ShareGroup>),
        wanted: Wanted,
        start: ShareStart,
        (terms, options): (&Terms, Options),
    ) -> Result<ShareConsumer> {
        let set = WaitSet::new();
        let catalog = set.register(engine.catalog_changes().signal(), CATALOG);
        let member = shares.next_member();
        let mut consumer = ShareConsumer {
            shares,
            group,
            member,
            settings: terms.settings,
            is_filtered: terms.filter.is_some(),
            options,
            failed: None,
            wanted,
            watched: Vec::new(),
            next: 0,
            fairness: None,
            set,
            catalog,
            seen: None,
            engine,
        };
        consumer.follow(start)?; // on an error the drop leaves the group
        Ok(consumer)
    }

    /// Takes up the partitions that have come and lets go of those that went, if any did.
    pub(super) fn follow(&mut self, start: ShareStart) -> Result<()> {
        let count = self.engine.catalog_changes().count();
        if self.seen == Some(count) {
            return Ok(());
        }
        let mut found = Vec::new();
        match &self.wanted {
            Wanted::Topics(topics) => {
                for topic in topics {
                    if let Ok(topic) = self.engine.topic(topic) {
                        found.extend(topic.partitions().iter().cloned());
                    }
                }
                let engine = &self.engine;
                let is_there = |watched: &Watched| {
                    engine.topic_by_id(watched.place.partition().topic_id()).is_some()
                };
                self.watched.retain(is_there);
            }
            Wanted::Partitions(partitions) if self.seen.is_none() => {
                found.extend(partitions.iter().cloned());
            }
            Wanted::Partitions(_) => {}
        }
        for partition in found {
            let has = |watched: &Watched| Arc::ptr_eq(watched.place.partition(), &partition);
            if self.watched.iter().any(has) {
                continue;
            }
            let place = self.shares.place(&self.group, &partition, start)?;
            let registration = self.set.register(place.work(), self.watched.len());
            let priority = Priority::default();
            self.watched.push(Watched { place, registration, fruitless: None, priority });
            let at = self.watched.len() - 1;
            let weights = self.options.weights;
            if let Some(priority) = self.priority_of(at) {
                self.watched[at].priority = priority;
                self.fairness.get_or_insert_with(|| Box::new(Fairness::new(weights)));
            }
        }
        self.seen = Some(count);
        Ok(())
    }

    /// The group's name.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", tidelog::TopicConfig::new())?;
    /// let consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// assert_eq!(consumer.group(), "workers");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn group(&self) -> &str {
        self.group.name()
    }

    /// The partitions it takes from now, by topic and number.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", tidelog::TopicConfig::new())?;
    /// let consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// assert_eq!(consumer.partitions()[0].0, "jobs");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partitions(&self) -> Vec<(String, PartitionId)> {
        let name = |watched: &Watched| {
            let partition = watched.place.partition();
            (partition.topic_name().to_string(), partition.id())
        };
        self.watched.iter().map(name).collect()
    }

    /// Makes what this consumer has settled with process durability, and all that its group has,
    /// durable in the partitions it takes from. Blocks for syncs.
    ///
    /// # Errors
    /// Those of a sync; [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", tidelog::TopicConfig::new())?;
    /// let consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// consumer.flush()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.watched.iter().try_for_each(|watched| watched.place.flush())
    }

    /// [`flush`](ShareConsumer::flush) as a future of no particular runtime: what was settled
    /// before this call counts.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", tidelog::TopicConfig::new())?;
    /// let consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// pollster::block_on(consumer.flush_async())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush_async(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let flushes: Vec<_> = self.watched.iter().map(|it| it.place.flush_later()).collect();
        async move {
            for flush in flushes {
                flush.await?;
            }
            Ok(())
        }
    }

    /// What ends its waiting from another thread.
    pub(crate) fn interrupter(&self) -> Interrupter {
        self.set.interrupter()
    }

    /// The store's monotonic clock.
    pub(crate) fn now(&self) -> Duration {
        self.engine.clock().monotonic()
    }

    /// Leaves the group: what it holds is given up, and others get it at once. The same as
    /// dropping it.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("jobs", tidelog::TopicConfig::new())?;
    /// store.share_consumer("workers").subscribe(["jobs"]).build()?.close();
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn close(self) {}
}

impl Drop for ShareConsumer {
    fn drop(&mut self) {
        self.stop_waiting();
        self.shares.leave(&self.group, self.member);
    }
}

impl std::fmt::Debug for ShareConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShareConsumer")
            .field("group", &self.group.name())
            .field("partitions", &self.watched.len())
            .finish_non_exhaustive()
    }
}
