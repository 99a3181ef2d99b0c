//! What an assignor answers, and the rules it must keep.
//!
//! Invariant of a checked assignment: every partition of every topic that has a subscriber goes to
//! exactly one member, and that subscribes to its topic. [`GroupView::check`] names the first
//! thing that breaks it.
//!
//! Built by assignors, checked by `membership` before it becomes a target.

use std::collections::BTreeMap;
use std::fmt;

use super::view::GroupView;
use crate::group::identity::{MemberId, TopicPartition};

/// Which partitions each member is to read.
///
/// ```
/// use tidelog::{Assignment, GroupView, MemberId};
/// let one = MemberId::new(1);
/// let group = GroupView::new().topic("orders", 2).member(one, None, ["orders"]);
/// let mut assignment = Assignment::new();
/// for partition in group.topics().flat_map(|topic| topic.partitions()) {
///     assignment.give(one, partition);
/// }
/// assert_eq!(group.check(&assignment), Ok(()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    given: BTreeMap<MemberId, Vec<TopicPartition>>,
}

impl Assignment {
    /// Nothing for nobody.
    ///
    /// ```
    /// use tidelog::{Assignment, MemberId};
    /// assert!(Assignment::new().partitions_of(MemberId::new(1)).is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Assignment::default()
    }

    /// Gives one more partition to a member.
    ///
    /// ```
    /// use tidelog::{Assignment, MemberId, PartitionId, TopicId, TopicPartition};
    /// let first = TopicPartition::new("orders", TopicId::random(), PartitionId::new(0));
    /// let mut assignment = Assignment::new();
    /// assignment.give(MemberId::new(1), first.clone());
    /// assert_eq!(assignment.partitions_of(MemberId::new(1)), [first]);
    /// ```
    pub fn give(&mut self, member: MemberId, partition: TopicPartition) {
        self.given.entry(member).or_default().push(partition);
    }

    /// What a member was given, in the order in which it was.
    ///
    /// ```
    /// use tidelog::{Assignment, MemberId};
    /// assert!(Assignment::new().partitions_of(MemberId::new(1)).is_empty());
    /// ```
    pub fn partitions_of(&self, member: MemberId) -> &[TopicPartition] {
        self.given.get(&member).map_or(&[], Vec::as_slice)
    }

    /// Every member that was given something, with what it was given.
    ///
    /// ```
    /// assert_eq!(tidelog::Assignment::new().iter().count(), 0);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, &[TopicPartition])> {
        self.given.iter().map(|(member, given)| (*member, given.as_slice()))
    }
}

/// The rule that an [`Assignment`] breaks.
///
/// ```
/// use tidelog::{Assignment, AssignmentFault, GroupView, MemberId};
/// let group = GroupView::new().topic("orders", 2).member(MemberId::new(1), None, ["orders"]);
/// let fault = group.check(&Assignment::new()).unwrap_err();
/// assert!(matches!(&fault, AssignmentFault::LeftOut(first) if first.topic() == "orders"));
/// assert_eq!(fault.to_string(), "orders-0 is given to nobody, though its topic has a subscriber");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssignmentFault {
    /// Something is given to a member that the group does not have.
    UnknownMember(MemberId),
    /// A partition is given that the group's topics do not have, perhaps one of a topic that was
    /// deleted and made again.
    UnknownPartition(TopicPartition),
    /// A partition is given to a member that does not subscribe to its topic.
    NotSubscribed(TopicPartition, MemberId),
    /// A partition is given twice: to this member first, then to that.
    Twice(TopicPartition, MemberId, MemberId),
    /// A partition is given to nobody, though its topic has a subscriber.
    LeftOut(TopicPartition),
}

impl fmt::Display for AssignmentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AssignmentFault::UnknownMember(member) => {
                write!(f, "{member} is not a member of the group")
            }
            AssignmentFault::UnknownPartition(partition) => {
                write!(f, "{partition:?} is not a partition of the group's topics")
            }
            AssignmentFault::NotSubscribed(partition, member) => {
                write!(f, "{partition} is given to {member}, which does not subscribe to its topic")
            }
            AssignmentFault::Twice(partition, first, second) => {
                write!(f, "{partition} is given twice, to {first} and to {second}")
            }
            AssignmentFault::LeftOut(partition) => {
                write!(f, "{partition} is given to nobody, though its topic has a subscriber")
            }
        }
    }
}

impl std::error::Error for AssignmentFault {}

impl GroupView {
    /// Whether an assignment keeps the rules, and which it breaks first.
    ///
    /// ```
    /// use tidelog::{Assignor, GroupView, MemberId, RangeAssignor};
    /// let group = GroupView::new().topic("orders", 2).member(MemberId::new(1), None, ["orders"]);
    /// assert_eq!(group.check(&RangeAssignor::new().assign(&group)), Ok(()));
    /// ```
    ///
    /// # Errors
    /// The first rule that is broken: by what is given, in order of the members; then by what is
    /// not, in order of the partitions.
    pub fn check(&self, assignment: &Assignment) -> Result<(), AssignmentFault> {
        let (topics, members) = (self.viewed_topics(), self.viewed_members());
        let mut holders: Vec<Vec<Option<MemberId>>> =
            topics.iter().map(|topic| vec![None; topic.numbers().count()]).collect();
        for (id, given) in assignment.iter() {
            let at = members.binary_search_by_key(&id, |member| member.id);
            let member = &members[at.map_err(|_| AssignmentFault::UnknownMember(id))?];
            for partition in given {
                let unknown = || AssignmentFault::UnknownPartition(partition.clone());
                let topic = self.place(partition.topic()).ok_or_else(unknown)?;
                if topics[topic].id != partition.topic_id() {
                    return Err(unknown());
                }
                let holder = holders[topic].get_mut(partition.partition().index());
                let holder = holder.ok_or_else(unknown)?;
                if !member.subscribes(topic) {
                    return Err(AssignmentFault::NotSubscribed(partition.clone(), id));
                }
                if let Some(first) = holder.replace(id) {
                    return Err(AssignmentFault::Twice(partition.clone(), first, id));
                }
            }
        }
        let mut has_subscriber = vec![false; topics.len()];
        for member in members {
            member.topics.iter().for_each(|topic| has_subscriber[*topic] = true);
        }
        for (at, topic) in topics.iter().enumerate().filter(|(at, _)| has_subscriber[*at]) {
            if let Some(number) =
                topic.numbers().find(|number| holders[at][number.index()].is_none())
            {
                return Err(AssignmentFault::LeftOut(topic.partition(number)));
            }
        }
        Ok(())
    }
}
