//! Kafka's round-robin assignor: partitions are dealt out one by one.
//!
//! All partitions of all topics go round the members in turn, so members that subscribe alike
//! differ by one at most; where subscriptions differ, whoever cannot take a partition is passed
//! over, and the result may be far from even. Whose partitions move is not looked at.
//!
//! Called through [`Assignor`].

use super::{Assignment, Assignor, GroupView};

/// Deals partitions out in turn, as Kafka's `RoundRobinAssignor` does.
///
/// Members are lined up as for [`RangeAssignor`](crate::RangeAssignor), partitions by topic name
/// and number. Each partition goes to the next member round the line that subscribes to its
/// topic. The rule is that of Kafka's `clients/.../consumer/RoundRobinAssignor`.
///
/// ```
/// use tidelog::{Assignor, GroupView, MemberId, RoundRobinAssignor};
/// let (one, two) = (MemberId::new(1), MemberId::new(2));
/// let group = GroupView::new()
///     .topic("orders", 3)
///     .topic("refunds", 3)
///     .member(one, None, ["orders", "refunds"])
///     .member(two, None, ["orders", "refunds"]);
/// let assignment = RoundRobinAssignor::new().assign(&group);
/// let of_one: Vec<_> = assignment.partitions_of(one).iter().map(|p| p.to_string()).collect();
/// assert_eq!(of_one, ["orders-0", "orders-2", "refunds-1"]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobinAssignor(());

impl RoundRobinAssignor {
    /// The assignor.
    ///
    /// ```
    /// use tidelog::{Assignor, RoundRobinAssignor};
    /// assert_eq!(RoundRobinAssignor::new().name(), "roundrobin");
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        RoundRobinAssignor(())
    }
}

impl Assignor for RoundRobinAssignor {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(&self, group: &GroupView) -> Assignment {
        let (members, line) = (group.viewed_members(), group.lined_up());
        let mut turn = 0;
        let mut assignment = Assignment::new();
        for (at, topic) in group.viewed_topics().iter().enumerate() {
            for number in topic.numbers() {
                // the next in line that subscribes to the topic, from the one whose turn it is
                let next = (0..line.len()).map(|more| (turn + more) % line.len());
                let Some(rank) = { next }.find(|rank| members[line[*rank]].subscribes(at)) else {
                    break; // nobody does
                };
                assignment.give(members[line[rank]].id, topic.partition(number));
                turn = (rank + 1) % line.len();
            }
        }
        assignment
    }
}
