//! What a store does with committed offsets, and with holds on records that are still owed.
//!
//! Committed offsets only grow by themselves; moving one back is an operator's word, said here. A
//! hold is a number with a name: nothing at or above it is removed until it is released. Holds are
//! not kept over a close; whoever needs one sets it again.

use super::handle::Store;
use crate::config::Durability;
use crate::engine::Partition;
use crate::error::Result;
use crate::group::{Commit, CommitMode, Committed};
use crate::ids::{Offset, PartitionId};

impl Store {
    /// The names of all groups that have committed something, in order.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// assert!(tidelog::Store::in_memory()?.groups()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn groups(&self) -> Result<Vec<String>> {
        self.engine.check_open("list groups")?;
        Ok(self.offsets.groups().iter().map(ToString::to_string).collect())
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

    /// Sets committed offsets of a group to whatever the caller says, lower ones too, all of them
    /// or none; their metadata becomes empty. Consumers that run go on from where they are: reset
    /// a group while it rests. Blocks for the sync that `durability` may ask for.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a topic or partition there is none of,
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) beyond the end,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for one named twice, those of an
    /// append.
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
        let mut places = Vec::new();
        for (topic, partition, offset) in offsets {
            places.push((self.engine.topic(topic)?.partition(partition.into())?, offset));
        }
        let commits: Vec<_> = places
            .iter()
            .map(|(partition, offset)| Commit {
                partition,
                offset: *offset,
                leader_epoch: None,
                metadata: "",
                mode: CommitMode::Reset,
            })
            .collect();
        self.offsets.commit(group, &commits, durability)
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
