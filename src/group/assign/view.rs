//! A group as an assignor sees it.
//!
//! Owns the view's layout: topics in order of name, members in order of id, subscriptions as
//! ascending places among the topics (shared by members that subscribe alike), owned partitions in
//! order. Invariants: every topic has a subscriber, every subscribed topic exists, every owned
//! partition exists.
//!
//! Built by `membership` for each rebalance, and by hosts that test an assignor of theirs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::group::identity::{MemberId, TopicPartition};
use crate::ids::{PartitionId, TopicId};

/// A topic of the view.
#[derive(Clone, Debug)]
pub(crate) struct ViewedTopic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
}

/// A member of the view.
#[derive(Clone, Debug)]
pub(crate) struct ViewedMember {
    pub(crate) id: MemberId,
    pub(crate) instance: Option<Arc<str>>,
    /// Places among the view's topics, ascending.
    pub(crate) topics: Arc<[usize]>,
    /// Places among the view's topics, with partition numbers.
    pub(crate) owned: Vec<(usize, PartitionId)>,
}

/// The members of a group, the topics they subscribe to, and who owns what now.
///
/// The library makes one for each rebalance. Hosts make one to test an assignor of theirs:
/// topics first, then the members, then what they own.
///
/// ```
/// use tidelog::{GroupView, MemberId};
/// let one = MemberId::new(1);
/// let group = GroupView::new()
///     .topic("orders", 4)
///     .member(one, None, ["orders"])
///     .owns(one, "orders", [0, 1]);
/// assert_eq!(group.members().next().unwrap().owned().count(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct GroupView {
    topics: Vec<ViewedTopic>,
    members: Vec<ViewedMember>,
}

impl GroupView {
    /// A group without topics and members.
    ///
    /// ```
    /// assert_eq!(tidelog::GroupView::new().members().count(), 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        GroupView::default()
    }

    /// Adds a topic with so many partitions. In a view made by hand a topic may lack subscribers.
    ///
    /// # Panics
    /// When there is a member already: a member's subscription is resolved as it is added.
    ///
    /// ```
    /// use tidelog::GroupView;
    /// let group = GroupView::new().topic("orders", 4);
    /// assert_eq!(group.topics().next().unwrap().partition_count(), 4);
    /// ```
    #[must_use]
    pub fn topic(mut self, name: &str, partitions: u32) -> Self {
        assert!(self.members.is_empty(), "topics come before members");
        self.topics.retain(|topic| &*topic.name != name);
        let id = TopicId::random();
        self.topics.push(ViewedTopic { name: name.into(), id, partitions });
        self.topics.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// Adds a member that subscribes to these topics; those the view does not have are left out,
    /// as topics that do not exist yet are.
    ///
    /// ```
    /// use tidelog::{GroupView, MemberId};
    /// let group = GroupView::new().topic("orders", 4);
    /// let group = group.member(MemberId::new(1), Some("till-3"), ["orders", "refunds"]);
    /// assert_eq!(group.members().next().unwrap().topics().count(), 1);
    /// ```
    #[must_use]
    pub fn member<'a>(
        mut self,
        id: MemberId,
        instance_id: Option<&str>,
        topics: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let wanted = topics.into_iter().filter_map(|name| self.place(name));
        let topics: BTreeSet<usize> = wanted.collect();
        self.members.retain(|member| member.id != id);
        let (instance, topics) = (instance_id.map(Arc::from), topics.into_iter().collect());
        self.members.push(ViewedMember { id, instance, topics, owned: Vec::new() });
        self.members.sort_by_key(|member| member.id);
        self
    }

    /// Says that a member owns these partitions of a topic now; those that do not exist are left
    /// out.
    ///
    /// ```
    /// use tidelog::{GroupView, MemberId};
    /// let one = MemberId::new(1);
    /// let group = GroupView::new().topic("orders", 4).member(one, None, ["orders"]);
    /// let group = group.owns(one, "orders", [3, 4]);
    /// assert_eq!(group.members().next().unwrap().owned().count(), 1);
    /// ```
    #[must_use]
    pub fn owns(
        mut self,
        id: MemberId,
        topic: &str,
        partitions: impl IntoIterator<Item = u32>,
    ) -> Self {
        let Some(at) = self.place(topic) else { return self };
        let count = self.topics[at].partitions;
        if let Ok(member) = self.members.binary_search_by_key(&id, |member| member.id) {
            let owned = &mut self.members[member].owned;
            let there = partitions.into_iter().filter(|number| *number < count);
            owned.extend(there.map(|number| (at, PartitionId::new(number))));
            owned.sort_unstable();
            owned.dedup();
        }
        self
    }

    /// The view of these topics and members.
    pub(crate) fn of(topics: Vec<ViewedTopic>, mut members: Vec<ViewedMember>) -> Self {
        debug_assert!(topics.is_sorted_by(|a, b| a.name < b.name));
        debug_assert!(members.is_sorted_by(|a, b| a.id < b.id));
        members.iter_mut().for_each(|member| member.owned.sort_unstable());
        GroupView { topics, members }
    }

    /// The topics that members subscribe to, in order of name.
    ///
    /// ```
    /// use tidelog::GroupView;
    /// let group = GroupView::new().topic("refunds", 1).topic("orders", 4);
    /// assert_eq!(group.topics().next().unwrap().name(), "orders");
    /// ```
    pub fn topics(&self) -> impl ExactSizeIterator<Item = TopicView<'_>> {
        self.topics.iter().map(|topic| TopicView { topic })
    }

    /// The members, in the order in which they joined.
    ///
    /// ```
    /// use tidelog::{GroupView, MemberId};
    /// let group = GroupView::new().member(MemberId::new(2), None, []);
    /// let group = group.member(MemberId::new(1), None, []);
    /// assert_eq!(group.members().next().unwrap().id(), MemberId::new(1));
    /// ```
    pub fn members(&self) -> impl ExactSizeIterator<Item = MemberView<'_>> {
        self.members.iter().map(|member| MemberView { group: self, member })
    }

    pub(super) fn viewed_topics(&self) -> &[ViewedTopic] {
        &self.topics
    }

    pub(super) fn viewed_members(&self) -> &[ViewedMember] {
        &self.members
    }

    /// A topic's place among the topics.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.topics.binary_search_by(|topic| (*topic.name).cmp(name)).ok()
    }

    /// The members' places in the order in which Kafka's range and round-robin assignors line them
    /// up: those with an instance id by that, then the others by member id.
    pub(super) fn lined_up(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|at| {
            let member = &self.members[*at];
            (member.instance.is_none(), member.instance.as_deref(), member.id)
        });
        order
    }
}

impl ViewedTopic {
    pub(crate) fn partition(&self, number: PartitionId) -> TopicPartition {
        TopicPartition::new(self.name.clone(), self.id, number)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partitions).map(PartitionId::new)
    }
}

impl ViewedMember {
    pub(crate) fn subscribes(&self, topic: usize) -> bool {
        self.topics.binary_search(&topic).is_ok()
    }
}

/// A topic that a group reads.
///
/// ```
/// use tidelog::GroupView;
/// let group = GroupView::new().topic("orders", 4);
/// let orders = group.topics().next().unwrap();
/// assert_eq!((orders.name(), orders.partition_count()), ("orders", 4));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TopicView<'a> {
    topic: &'a ViewedTopic,
}

impl<'a> TopicView<'a> {
    /// The topic's name.
    ///
    /// ```
    /// let group = tidelog::GroupView::new().topic("orders", 4);
    /// assert_eq!(group.topics().next().unwrap().name(), "orders");
    /// ```
    pub fn name(&self) -> &'a str {
        &self.topic.name
    }

    /// The topic's identity.
    ///
    /// ```
    /// let group = tidelog::GroupView::new().topic("orders", 4);
    /// let orders = group.topics().next().unwrap();
    /// assert!(orders.partitions().all(|partition| partition.topic_id() == orders.id()));
    /// ```
    pub fn id(&self) -> TopicId {
        self.topic.id
    }

    /// How many partitions it has.
    ///
    /// ```
    /// let group = tidelog::GroupView::new().topic("orders", 4);
    /// assert_eq!(group.topics().next().unwrap().partition_count(), 4);
    /// ```
    pub fn partition_count(&self) -> u32 {
        self.topic.partitions
    }

    /// Its partitions, in order.
    ///
    /// ```
    /// let group = tidelog::GroupView::new().topic("orders", 4);
    /// assert_eq!(group.topics().next().unwrap().partitions().count(), 4);
    /// ```
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + use<'a> {
        let topic = self.topic;
        topic.numbers().map(|number| topic.partition(number))
    }
}

/// A member of a group.
///
/// ```
/// use tidelog::{GroupView, MemberId};
/// let group = GroupView::new().topic("orders", 4);
/// let group = group.member(MemberId::new(1), Some("till-3"), ["orders"]);
/// let member = group.members().next().unwrap();
/// assert_eq!(member.instance_id(), Some("till-3"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MemberView<'a> {
    group: &'a GroupView,
    member: &'a ViewedMember,
}

impl<'a> MemberView<'a> {
    /// Its id.
    ///
    /// ```
    /// use tidelog::{GroupView, MemberId};
    /// let group = GroupView::new().member(MemberId::new(1), None, []);
    /// assert_eq!(group.members().next().unwrap().id(), MemberId::new(1));
    /// ```
    pub fn id(&self) -> MemberId {
        self.member.id
    }

    /// The name the host gave it, by which it is known across restarts.
    ///
    /// ```
    /// use tidelog::{GroupView, MemberId};
    /// let group = GroupView::new().member(MemberId::new(1), Some("till-3"), []);
    /// assert_eq!(group.members().next().unwrap().instance_id(), Some("till-3"));
    /// ```
    pub fn instance_id(&self) -> Option<&'a str> {
        self.member.instance.as_deref()
    }

    /// The topics it subscribes to, in order of name, as far as they exist.
    ///
    /// ```
    /// use tidelog::{GroupView, MemberId};
    /// let group = GroupView::new().topic("orders", 4).topic("refunds", 1);
    /// let group = group.member(MemberId::new(1), None, ["refunds"]);
    /// assert_eq!(group.members().next().unwrap().topics().next().unwrap().name(), "refunds");
    /// ```
    pub fn topics(&self) -> impl ExactSizeIterator<Item = TopicView<'a>> + use<'a> {
        let group = self.group;
        self.member.topics.iter().map(|at| TopicView { topic: &group.topics[*at] })
    }

    /// Whether it subscribes to the topic of this name, and that exists.
    ///
    /// ```
    /// use tidelog::{GroupView, MemberId};
    /// let group = GroupView::new().topic("orders", 4).topic("refunds", 1);
    /// let group = group.member(MemberId::new(1), None, ["refunds"]);
    /// assert!(!group.members().next().unwrap().subscribes_to("orders"));
    /// ```
    pub fn subscribes_to(&self, topic: &str) -> bool {
        self.group.place(topic).is_some_and(|at| self.member.subscribes(at))
    }

    /// The partitions it owns now, in order, as far as they exist: what stays with it is read on
    /// without a pause. It may own some of topics that it does not subscribe to any more.
    ///
    /// ```
    /// use tidelog::{GroupView, MemberId};
    /// let one = MemberId::new(1);
    /// let group = GroupView::new().topic("orders", 4).member(one, None, ["orders"]);
    /// let group = group.owns(one, "orders", [2]);
    /// assert_eq!(group.members().next().unwrap().owned().next().unwrap().to_string(), "orders-2");
    /// ```
    pub fn owned(&self) -> impl ExactSizeIterator<Item = TopicPartition> + use<'a> {
        let group = self.group;
        self.member.owned.iter().map(|(at, number)| group.topics[*at].partition(*number))
    }
}
