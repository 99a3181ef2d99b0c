//! What a store does with share groups beside consuming: showing them, and moving them.
//!
//! They are listed and deleted with the other groups (`groups`); what only they have is here. A
//! group is moved only while nobody consumes, so that no lease is in doubt.

use super::handle::Store;
use crate::config::Durability;
use crate::error::Result;
use crate::ids::{Offset, PartitionId};
use crate::share::{Intake, PlaceView, StoppedAt, Verdict};

/// A share group as it was at one moment; made by [`Store::describe_share_group`].
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
/// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
/// let leased = consumer.try_poll()?;
/// let group = store.describe_share_group("workers")?;
/// assert_eq!((group.consumers, group.partitions[0].leased), (1, 1));
/// # drop(leased);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareGroupDescription {
    /// The name.
    pub name: String,
    /// How many consumers it has in this process.
    pub consumers: usize,
    /// What it has read, by topic and partition.
    pub partitions: Vec<ShareGroupPartition>,
}

/// A partition as a share group sees it.
///
/// ```
/// # use tidelog::{Offset, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.ensure_topic("jobs", TopicConfig::new())?;
/// let consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
/// let partition = &store.describe_share_group("workers")?.partitions[0];
/// assert_eq!((partition.start, partition.lag), (Offset::ZERO, Some(0)));
/// # drop(consumer);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareGroupPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
    /// Every record below it is finished.
    pub start: Offset,
    /// Every record below it has been looked at.
    pub end: Offset,
    /// Records that consumers hold now.
    pub leased: usize,
    /// Records that are given back for later.
    pub delayed: usize,
    /// Records that were looked at and are not finished: leased, delayed, given back, behind
    /// others of their key, owed to the dead-letter topic.
    pub open: usize,
    /// Records that are not finished, with those nobody has looked at yet; an upper bound, for
    /// offsets without a record count. `None` where the partition cannot be looked at.
    pub lag: Option<u64>,
    /// Records that were given up since the store was opened: rejected, or handed out as often as
    /// they may.
    pub archived: u64,
    /// Those of them that became dead letters; the others were archived, for want of a topic.
    pub dead_letters: u64,
    /// Records that are to become dead letters and are none yet.
    pub owed: usize,
    /// Records that were still owed when retention or a deletion took them, since the store was
    /// opened. [`TopicConfig::retain_for`](crate::TopicConfig::retain_for) keeps them.
    pub lost: u64,
    /// Records that could not be read, since the store was opened: the group goes on behind them,
    /// and a poll has said so.
    pub damaged: u64,
    /// Records that it stops at
    /// ([`stop_when_exhausted`](crate::ShareConsumerBuilder::stop_when_exhausted)); known while the
    /// group has consumers.
    pub stopped: usize,
}

/// A record that a share group stops at; see [`Store::stopped_records`].
///
/// ```
/// # let store = tidelog::Store::in_memory()?;
/// # store.ensure_topic("jobs", tidelog::TopicConfig::new())?;
/// # let consumer = store.share_consumer("g").subscribe(["jobs"]).build()?;
/// for stopped in store.stopped_records("g")? {
///     println!("{}-{} {}", stopped.topic, stopped.partition, stopped.offset);
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoppedRecord {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// How often it was handed out.
    pub attempts: u32,
    /// What its last holder said went wrong, if it said so.
    pub error: Option<String>,
}

impl ShareGroupPartition {
    fn of(view: &PlaceView) -> Self {
        let offsets = view.partition.offsets().ok();
        let unseen = offsets.map(|offsets| match view.intake {
            Intake::Log => offsets.last_stable().since(view.end),
            Intake::GivenBack => 0,
        });
        ShareGroupPartition {
            topic: view.partition.topic_name().to_string(),
            partition: view.partition.id(),
            start: view.start,
            end: view.end,
            leased: view.leased,
            delayed: view.delayed,
            open: view.open,
            lag: unseen.map(|unseen| unseen + view.open as u64),
            archived: view.archived,
            dead_letters: view.buried,
            owed: view.owed,
            lost: view.lost,
            damaged: view.damaged,
            stopped: view.stopped,
        }
    }
}

impl Store {
    /// A share group: what its consumers hold, and how far they are. Share groups are listed by
    /// [`Store::groups`] and deleted by [`Store::delete_group`] with the others.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Closed`](crate::ErrorKind::Closed), why its
    /// state cannot be read.
    ///
    /// ```
    /// use tidelog::{ErrorKind, Store};
    /// let error = Store::in_memory()?.describe_share_group("nobody").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn describe_share_group(&self, group: &str) -> Result<ShareGroupDescription> {
        let (consumers, views) = self.shares.describe(group)?;
        let partitions = views.iter().map(ShareGroupPartition::of).collect();
        Ok(ShareGroupDescription { name: group.to_owned(), consumers, partitions })
    }

    /// Has a share group go on in a partition with the record at `to`, forwards or back, as if
    /// nothing from there on had been handed out. Only while it has no consumers. Blocks for the
    /// sync that `durability` may ask for.
    ///
    /// # Errors
    /// [`GroupNotEmpty`](crate::ErrorKind::GroupNotEmpty) while it has consumers,
    /// [`NotFound`](crate::ErrorKind::NotFound),
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange), those of an append.
    ///
    /// ```
    /// use tidelog::{Durability, Offset, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new())?;
    /// store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let build = || store.share_consumer("workers").subscribe(["jobs"]).build();
    /// let mut consumer = build()?;
    /// let leased = consumer.try_poll()?;
    /// consumer.ack_all(&leased)?;
    /// drop(consumer);
    /// store.reset_share_group("workers", "jobs", 0, Offset::ZERO, Durability::Power)?;
    /// assert_eq!(build()?.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reset_share_group(
        &self,
        group: &str,
        topic: &str,
        partition: impl Into<PartitionId>,
        to: Offset,
        durability: Durability,
    ) -> Result<()> {
        let partition = self.engine.topic(topic)?.partition(partition.into())?;
        self.shares.reset(group, &partition, to, durability)
    }
}

impl Store {
    /// The records that a group stops at
    /// ([`stop_when_exhausted`](crate::ShareConsumerBuilder::stop_when_exhausted)), by topic,
    /// partition and offset. Of a group without consumers since the store was opened: those that it
    /// owes, whatever becomes of them.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a group there is none of,
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let builder = store.share_consumer("g").subscribe(["jobs"]).stop_when_exhausted();
    /// let mut consumer = builder.build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.reject(record)?;
    /// }
    /// assert_eq!(store.stopped_records("g")?[0].attempts, 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn stopped_records(&self, group: &str) -> Result<Vec<StoppedRecord>> {
        let of = |stopped: StoppedAt| StoppedRecord {
            topic: stopped.partition.topic_name().to_string(),
            partition: stopped.partition.id(),
            offset: stopped.offset,
            attempts: stopped.count.into(),
            error: stopped.error.map(|error| error.to_string()),
        };
        Ok(self.shares.stopped(group)?.into_iter().map(of).collect())
    }

    /// Has a record that a group stops at handed out again, as if for the first time; durable when
    /// it returns. Blocks for a sync.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a group or partition there is none of,
    /// [`InvalidRecordState`](crate::ErrorKind::InvalidRecordState) where the group does not stop
    /// at that record, those of an append.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let builder = store.share_consumer("g").subscribe(["jobs"]).stop_when_exhausted();
    /// let mut consumer = builder.build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.reject(record)?;
    /// }
    /// for stopped in store.stopped_records("g")? {
    ///     store.release_stopped("g", &stopped.topic, stopped.partition, stopped.offset)?;
    /// }
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn release_stopped(
        &self,
        group: &str,
        topic: &str,
        partition: impl Into<PartitionId>,
        offset: Offset,
    ) -> Result<()> {
        self.end_stop(group, (topic, partition.into()), offset, Verdict::Release)
    }

    /// Gives up a record that a group stops at: it is finished, and counted
    /// ([`ShareGroupPartition::archived`]); what waits behind it goes on. Durable when it returns.
    /// Blocks for a sync.
    ///
    /// # Errors
    /// Those of [`release_stopped`](Store::release_stopped).
    ///
    /// ```
    /// # use tidelog::{ErrorKind, Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let builder = store.share_consumer("g").subscribe(["jobs"]).stop_when_exhausted();
    /// let mut consumer = builder.build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.reject(record)?;
    /// }
    /// store.skip_stopped("g", "jobs", 0, Offset::ZERO)?;
    /// let again = store.skip_stopped("g", "jobs", 0, Offset::ZERO).unwrap_err();
    /// assert_eq!(again.kind(), ErrorKind::InvalidRecordState);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn skip_stopped(
        &self,
        group: &str,
        topic: &str,
        partition: impl Into<PartitionId>,
        offset: Offset,
    ) -> Result<()> {
        self.end_stop(group, (topic, partition.into()), offset, Verdict::Skip)
    }

    fn end_stop(
        &self,
        group: &str,
        (topic, partition): (&str, PartitionId),
        offset: Offset,
        verdict: Verdict,
    ) -> Result<()> {
        let partition = self.engine.topic(topic)?.partition(partition)?;
        self.shares.end_stop(group, &partition, offset, verdict)
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(loom)))]
mod tests;
