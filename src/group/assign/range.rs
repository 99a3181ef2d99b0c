//! Kafka's range assignor: neighbouring partitions of each topic stay together.
//!
//! Each topic is divided by itself, so the same numbers of equally wide topics meet at one member
//! (what a join by key wants), and the first members have more of every topic that does not divide
//! evenly. Whose partitions move is not looked at.
//!
//! Called through [`Assignor`].

use super::{Assignment, Assignor, GroupView};
use crate::ids::PartitionId;

/// Divides each topic into runs of neighbouring partitions, as Kafka's `RangeAssignor` does.
///
/// A topic's subscribers are lined up as Kafka lines them up (those with an instance id first, by
/// that; then the others by member id, which here is the order in which they joined) and its
/// partitions by number. Each subscriber gets a run of `partitions / subscribers`, the first
/// `partitions % subscribers` of them one more. The rule is that of Kafka's
/// `clients/.../consumer/RangeAssignor`; racks, which one process does not have, play no part.
///
/// ```
/// use tidelog::{Assignor, GroupView, MemberId, RangeAssignor};
/// let (one, two) = (MemberId::new(1), MemberId::new(2));
/// let group = GroupView::new()
///     .topic("orders", 3)
///     .topic("refunds", 3)
///     .member(one, None, ["orders", "refunds"])
///     .member(two, None, ["orders", "refunds"]);
/// let assignment = RangeAssignor::new().assign(&group);
/// let of_one: Vec<_> = assignment.partitions_of(one).iter().map(|p| p.to_string()).collect();
/// assert_eq!(of_one, ["orders-0", "orders-1", "refunds-0", "refunds-1"]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeAssignor(());

impl RangeAssignor {
    /// The assignor.
    ///
    /// ```
    /// use tidelog::{Assignor, RangeAssignor};
    /// assert_eq!(RangeAssignor::new().name(), "range");
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        RangeAssignor(())
    }
}

impl Assignor for RangeAssignor {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, group: &GroupView) -> Assignment {
        let members = group.viewed_members();
        let mut subscribers: Vec<Vec<usize>> = vec![Vec::new(); group.viewed_topics().len()];
        for at in group.lined_up() {
            members[at].topics.iter().for_each(|topic| subscribers[*topic].push(at));
        }
        let mut assignment = Assignment::new();
        for (topic, subscribers) in group.viewed_topics().iter().zip(subscribers) {
            let Ok(count @ 1..) = u32::try_from(subscribers.len()) else { continue };
            let (each, longer) = (topic.partitions / count, topic.partitions % count);
            let mut next = 0;
            for (rank, at) in (0..count).zip(subscribers) {
                let end = next + each + u32::from(rank < longer);
                for number in next..end {
                    let partition = topic.partition(PartitionId::new(number));
                    assignment.give(members[at].id, partition);
                }
                next = end;
            }
        }
        assignment
    }
}
