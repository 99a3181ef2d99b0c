//! Who is to read what: the [`Assignor`] trait, which hosts may implement, and three that come
//! with the crate.
//!
//! An assignor is a pure function from a [`GroupView`] to an [`Assignment`]; `view` has the one,
//! `assignment` the other and the rules it must keep, `sticky`, `range` and `round_robin` the
//! assignors. The library's own see nothing that a host's does not.
//!
//! Called by `membership` when it plans a rebalance, under no lock.

mod assignment;
mod range;
mod round_robin;
mod sticky;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;

pub use assignment::{Assignment, AssignmentFault};
pub use range::RangeAssignor;
pub use round_robin::RoundRobinAssignor;
pub use sticky::StickyAssignor;
pub use view::{GroupView, MemberView, TopicView};
pub(crate) use view::{ViewedMember, ViewedTopic};

/// Divides the partitions of a group's topics among its members.
///
/// It is asked after every change of the group: a member that comes or goes, a topic that
/// appears, disappears or grows. It runs inside some member's `poll`, under no lock of the
/// library's, and must not block for long: that member reads nothing meanwhile, the others read
/// on. It must be deterministic only in what it wants to be: the result is what counts.
///
/// Each partition of each topic in the view must go to exactly one member that subscribes to the
/// topic. An answer that breaks this, or a panic, is refused whole: [`StickyAssignor`] divides
/// that generation, and the group's description says why. All members of a group must use
/// assignors of one [`name`](Assignor::name).
///
/// ```
/// use tidelog::{Assignment, Assignor, GroupView, MemberId, StickyAssignor};
///
/// /// One member reads it all, the others stand by: the first that joined, or for each topic the
/// /// first that subscribes to it.
/// #[derive(Debug)]
/// struct OneReads;
///
/// impl Assignor for OneReads {
///     fn name(&self) -> &str {
///         "one-reads"
///     }
///
///     fn assign(&self, group: &GroupView) -> Assignment {
///         let mut assignment = Assignment::new();
///         for topic in group.topics() {
///             let reader = group.members().find(|member| member.subscribes_to(topic.name()));
///             for partition in topic.partitions() {
///                 assignment.give(reader.expect("a topic in the view has one").id(), partition);
///             }
///         }
///         assignment
///     }
/// }
///
/// let (one, two) = (MemberId::new(1), MemberId::new(2));
/// let group = GroupView::new()
///     .topic("orders", 3)
///     .topic("refunds", 1)
///     .member(one, None, ["orders"])
///     .member(two, None, ["orders", "refunds"]);
/// let assignment = OneReads.assign(&group);
/// group.check(&assignment).expect("keeps the rules");
/// assert_eq!(assignment.partitions_of(one).len(), 3);
/// assert_eq!(assignment.partitions_of(two).len(), 1);
/// ```
pub trait Assignor: Send + Sync + fmt::Debug + 'static {
    /// What all members of a group must agree on.
    ///
    /// ```
    /// use tidelog::{Assignor, RangeAssignor};
    /// assert_eq!(RangeAssignor::new().name(), "range");
    /// ```
    fn name(&self) -> &str;

    /// Who is to read what from now on.
    ///
    /// ```
    /// use tidelog::{Assignor, GroupView, MemberId, StickyAssignor};
    /// let group = GroupView::new().topic("orders", 2).member(MemberId::new(1), None, ["orders"]);
    /// let assignment = StickyAssignor::new().assign(&group);
    /// assert_eq!(assignment.partitions_of(MemberId::new(1)).len(), 2);
    /// ```
    fn assign(&self, group: &GroupView) -> Assignment;
}
