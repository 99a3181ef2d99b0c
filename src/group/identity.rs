//! Who and what a group speaks of: its members, and partitions by identity.
//!
//! A [`MemberId`] is never used twice while a process runs, so it fences by itself; a
//! [`TopicPartition`] names its topic by id as well as by name, so that a topic deleted and made
//! again is another.
//!
//! Called by `membership` and `assign`, and shown to hosts.

use std::fmt;
use std::sync::Arc;

use crate::ids::{PartitionId, TopicId};

/// A member of a group: one consumer, from the time it joins until it leaves or is expelled.
///
/// Ids are ordered as the members joined. A consumer that was expelled and joins again is another
/// member, with another id.
///
/// ```
/// use tidelog::MemberId;
/// assert!(MemberId::new(1) < MemberId::new(2));
/// assert_eq!(MemberId::new(7).to_string(), "member-7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

impl MemberId {
    /// The member id with this number.
    ///
    /// ```
    /// assert_eq!(tidelog::MemberId::new(7).get(), 7);
    /// ```
    pub const fn new(number: u64) -> Self {
        MemberId(number)
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(tidelog::MemberId::new(7).get(), 7);
    /// ```
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member-{}", self.0)
    }
}

/// How what a group subscribes to comes to its consumers. A name is used for one of them, and kept
/// for it until the group is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distribution {
    /// Each partition goes to one of its members.
    Divided,
    /// Everything goes to its only member.
    Broadcast,
}

/// A partition with the identity of its topic; ordered by topic name, then number, then id.
///
/// ```
/// use tidelog::{PartitionId, TopicId, TopicPartition};
/// let (old, new) = (TopicId::random(), TopicId::random());
/// let before = TopicPartition::new("orders", old, PartitionId::new(0));
/// let after = TopicPartition::new("orders", new, PartitionId::new(0)); // made again
/// assert_ne!(before, after);
/// assert_eq!(before.to_string(), "orders-0");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    topic: Arc<str>,
    partition: PartitionId,
    topic_id: TopicId,
}

impl TopicPartition {
    /// The partition with this number of the topic with this name and identity.
    ///
    /// ```
    /// use tidelog::{PartitionId, TopicId, TopicPartition};
    /// let first = TopicPartition::new("orders", TopicId::random(), PartitionId::new(0));
    /// assert_eq!(first.topic(), "orders");
    /// ```
    pub fn new(topic: impl Into<Arc<str>>, topic_id: TopicId, partition: PartitionId) -> Self {
        TopicPartition { topic: topic.into(), partition, topic_id }
    }

    /// The topic's name.
    ///
    /// ```
    /// use tidelog::{PartitionId, TopicId, TopicPartition};
    /// let first = TopicPartition::new("orders", TopicId::random(), PartitionId::new(0));
    /// assert_eq!(first.topic(), "orders");
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The topic's name, shared.
    pub(crate) fn topic_name(&self) -> &Arc<str> {
        &self.topic
    }

    /// The topic's identity.
    ///
    /// ```
    /// use tidelog::{PartitionId, TopicId, TopicPartition};
    /// let id = TopicId::random();
    /// assert_eq!(TopicPartition::new("orders", id, PartitionId::new(0)).topic_id(), id);
    /// ```
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// The partition's number within the topic.
    ///
    /// ```
    /// use tidelog::{PartitionId, TopicId, TopicPartition};
    /// let third = TopicPartition::new("orders", TopicId::random(), PartitionId::new(2));
    /// assert_eq!(third.partition().get(), 2);
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.partition
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} of {}", self.topic_id)
    }
}
