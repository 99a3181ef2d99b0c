//! What a store does with groups, and with holds on records that are still owed.
//!
//! Committed offsets only grow by themselves; moving one back is an operator's word, said here, and
//! only while the group rests. A hold is a number with a name: nothing at or above it is removed
//! until it is released. Holds by name are not kept over a close; whoever needs one sets it again.

use super::group_view::{GroupDescription, GroupListing};
use super::handle::Store;
use super::reset::{GroupReset, reset_commit};
use crate::config::Durability;
use crate::engine::Partition;
use crate::error::{ErrorKind, Result};
use crate::group::Committed;
use crate::ids::{Offset, PartitionId};
use crate::share::retries_of;

impl Store {
    /// All groups, by name: those that have committed something, those that Kafka's members left,
    /// those with members now, and share groups.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), and why part of `__consumer_offsets` cannot be read.
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.groups()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn groups(&self) -> Result<Vec<GroupListing>> {
        self.engine.check_open("list groups")?;
        let mut listed = Vec::new();
        for name in self.offsets.groups() {
            match GroupListing::of(self, &name) {
                Ok(group) => listed.push(group),
                Err(error) if error.kind() == ErrorKind::NotFound => {} // it has just gone
                Err(error) => return Err(error),
            }
        }
        for (name, consumers) in self.shares.list() {
            match listed.iter_mut().find(|group| *group.name == *name) {
                Some(group) => group.members += consumers,
                None => listed.push(GroupListing::of_share_group(&name, consumers)),
            }
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// A group with its members, and what it has committed with how much is left to read. Of a
    /// share group it says how far everything is finished;
    /// [`describe_share_group`](Store::describe_share_group) says more.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// use tidelog::{ErrorKind, Store};
    /// let error = Store::in_memory()?.describe_group("nobody").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        GroupDescription::of(self, group)
    }

    /// All that a group has committed, by topic and partition; empty for a group that has not.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), and those of the operating system.
    ///
    /// ```
    /// use tidelog::{Offset, OffsetCommit, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
    /// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
    /// let all = store.committed("billing")?;
    /// assert_eq!((all[0].0.as_str(), all[0].2.offset()), ("orders", Offset::ZERO));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn committed(&self, group: &str) -> Result<Vec<(String, PartitionId, Committed)>> {
        self.engine.check_open("look up offsets")?;
        let all = self.offsets.all_committed(group)?;
        let named = |(partition, committed): (std::sync::Arc<Partition>, Committed)| {
            (partition.topic_name().to_string(), partition.id(), committed)
        };
        Ok(all.into_iter().map(named).collect())
    }

    /// A reset of a group's committed offsets, to be looked at and carried out while the group has
    /// no members.
    ///
    /// ```
    /// use tidelog::{Durability, ErrorKind, ResetTo, Store};
    /// let store = Store::in_memory()?;
    /// let reset = store.reset_group("nobody").to(ResetTo::Earliest);
    /// assert_eq!(reset.execute(Durability::Power).unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reset_group(&self, group: &str) -> GroupReset {
        GroupReset::new(self, group)
    }

    /// The explicit form of [`Store::reset_group`]: sets committed offsets of a group to whatever
    /// the caller says, lower ones too, all of them or none; their metadata becomes empty. Makes
    /// the group if there is none. Blocks for the sync that `durability` may ask for.
    ///
    /// # Errors
    /// [`GroupNotEmpty`](crate::ErrorKind::GroupNotEmpty) while the group has members,
    /// [`NotFound`](crate::ErrorKind::NotFound) for a topic or partition there is none of,
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) beyond the end,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for one named twice and for a share
    /// group, those of an append.
    ///
    /// ```
    /// use tidelog::{Durability, Offset, OffsetCommit, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
    /// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::new(1))])?;
    /// drop(consumer);
    /// store.reset_offsets("billing", [("orders", 0, Offset::ZERO)], Durability::Power)?;
    /// assert_eq!(store.committed("billing")?[0].2.offset(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reset_offsets<'a, P: Into<PartitionId>>(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (&'a str, P, Offset)>,
        durability: Durability,
    ) -> Result<()> {
        self.shares.check_free("reset offsets", group)?;
        let mut places = Vec::new();
        for (topic, partition, offset) in offsets {
            places.push((self.engine.topic(topic)?.partition(partition.into())?, offset));
        }
        let commits: Vec<_> =
            places.iter().map(|(partition, offset)| reset_commit(partition, *offset)).collect();
        self.offsets.reset(group, &commits, durability)
    }

    /// Deletes a group: everything it has committed and every record of it; of a share group
    /// everything it has read. Durable when it returns; blocks for a sync.
    ///
    /// # Errors
    /// [`GroupNotEmpty`](crate::ErrorKind::GroupNotEmpty) while it has members,
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Unsupported`](crate::ErrorKind::Unsupported)
    /// for Kafka's own share and streams groups, whose records lie elsewhere too; those of an
    /// append. A share group whose dead letters a stop left noted alone is deleted once its state
    /// says so too: where the partition they come from cannot be opened that error is returned, and
    /// nothing is deleted. After another error some of it may be gone: to say it again is safe.
    ///
    /// ```
    /// use tidelog::{ErrorKind, Offset, OffsetCommit, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
    /// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
    /// store.delete_group("billing")?;
    /// assert_eq!(store.delete_group("billing").unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delete_group(&self, group: &str) -> Result<()> {
        let retries = retries_of(group);
        let mut shares = vec![group, &retries];
        shares.retain(|name| self.shares.contains(name));
        // before anything goes of a name that is both, or that has retries
        shares.iter().try_for_each(|name| self.shares.prepare_deletion(name))?;
        match self.offsets.delete_group(group) {
            // or it went in an earlier call, which failed then
            Err(error) if error.kind() == ErrorKind::NotFound && !shares.is_empty() => {}
            deleted => deleted?,
        }
        shares.iter().try_for_each(|name| self.shares.delete(name))
    }

    /// Deletes what a group has committed for a topic, which need not exist any more; returns for
    /// how many partitions. Durable when it returns; blocks for a sync.
    ///
    /// # Errors
    /// [`GroupNotEmpty`](crate::ErrorKind::GroupNotEmpty) while a member follows the topic,
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown group,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for Kafka's share and streams groups; those
    /// of an append.
    ///
    /// ```
    /// use tidelog::{Offset, OffsetCommit, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
    /// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
    /// assert_eq!(store.delete_group_offsets("billing", "orders")?, 1);
    /// assert!(store.committed("billing")?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delete_group_offsets(&self, group: &str, topic: &str) -> Result<usize> {
        self.offsets.delete_offsets(group, topic)
    }

    /// Gives a new group the committed offsets of another, with their metadata, as they are now;
    /// all of them or none. Blocks for the sync that `durability` may ask for.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown `from`,
    /// [`GroupNotEmpty`](crate::ErrorKind::GroupNotEmpty) if there is a group `to`,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if that is a share group,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for Kafka's share and streams groups; those
    /// of an append.
    ///
    /// ```
    /// use tidelog::{Durability, Offset, OffsetCommit, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
    /// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
    /// store.clone_group("billing", "audit", Durability::Process)?;
    /// assert_eq!(store.committed("audit")?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn clone_group(&self, from: &str, to: &str, durability: Durability) -> Result<()> {
        self.shares.check_free("clone group", to)?;
        self.offsets.clone_group(from, to, durability)
    }

    /// Keeps the records of a partition from `offset` on from being removed by retention or a
    /// budget, under a name, until [`Store::release`] or the close; a second hold of the name
    /// takes the place of the first. [`Store::delete_records_before`] is not held.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// use tidelog::{Offset, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.hold("orders", 0, "export", Offset::ZERO)?;
    /// store.release("orders", 0, "export")?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn hold(
        &self,
        topic: &str,
        partition: impl Into<PartitionId>,
        name: &str,
        offset: Offset,
    ) -> Result<()> {
        self.engine.topic(topic)?.partition(partition.into())?.hold(name, offset);
        Ok(())
    }

    /// Lets go of a hold; nothing happens where there is none of the name.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// use tidelog::{Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// store.release("orders", 0, "export")?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn release(
        &self,
        topic: &str,
        partition: impl Into<PartitionId>,
        name: &str,
    ) -> Result<()> {
        self.engine.topic(topic)?.partition(partition.into())?.release(name);
        Ok(())
    }
}
