//! What a store does with share groups beside consuming: showing them, and moving them.
//!
//! They are listed and deleted with the other groups (`groups`); what only they have is here. A
//! group is moved only while nobody consumes, so that no lease is in doubt.

use super::handle::Store;
use crate::config::Durability;
use crate::error::Result;
use crate::ids::{Offset, PartitionId};
use crate::share::PlaceView;

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
}

impl ShareGroupPartition {
    fn of(view: &PlaceView) -> Self {
        let offsets = view.partition.offsets().ok();
        let unseen = offsets.map(|offsets| offsets.last_stable().since(view.end));
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

#[cfg(all(test, not(loom)))]
mod tests;
