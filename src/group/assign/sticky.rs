//! The sticky assignor: even, and moving no more than it must.
//!
//! In four steps: everybody keeps what it owns and still subscribes to; what is free goes to the
//! least loaded subscriber; partitions pass from the most loaded along chains of members until no
//! chain makes the group more even (`division`); chains that change nothing in that but move fewer
//! partitions are taken (`fewest_moves`).
//!
//! Called through [`Assignor`], and in place of an assignor whose answer is refused.

mod division;
mod fewest_moves;

use super::{Assignment, Assignor, GroupView};
use division::Division;

/// Divides partitions evenly and leaves them where they are as far as that allows. The default.
///
/// *Even*: the squares of the members' loads (their counts of partitions) sum to the least that
/// the subscriptions allow. Then no member can be relieved of a partition in favour of one that
/// has two less, not even by way of others; where all subscribe alike, loads differ by one at
/// most. This holds always.
///
/// *Sticky*: among all assignments as even as that, the result is one that moves the fewest
/// partitions from their owners. This holds always where all members subscribe alike; where
/// subscriptions differ it holds up to a bound on the work spent on it, some tens of milliseconds,
/// beyond which a few more than needed may move: the exact answer is a flow problem whose cost
/// grows with partitions times subscriptions.
///
/// ```
/// use tidelog::{Assignor, GroupView, MemberId, StickyAssignor};
/// let (one, two) = (MemberId::new(1), MemberId::new(2));
/// let group = GroupView::new()
///     .topic("orders", 4)
///     .member(one, None, ["orders"])
///     .member(two, None, ["orders"]) // has just joined
///     .owns(one, "orders", [0, 1, 2, 3]);
/// let assignment = StickyAssignor::new().assign(&group);
/// assert_eq!(assignment.partitions_of(one).len(), 2);
/// assert_eq!(assignment.partitions_of(two).len(), 2);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StickyAssignor(());

impl StickyAssignor {
    /// The assignor.
    ///
    /// ```
    /// use tidelog::{Assignor, StickyAssignor};
    /// assert_eq!(StickyAssignor::new().name(), "sticky");
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        StickyAssignor(())
    }
}

impl Assignor for StickyAssignor {
    fn name(&self) -> &str {
        "sticky"
    }

    fn assign(&self, group: &GroupView) -> Assignment {
        let mut division = Division::keeping(group);
        division.give_out_what_is_free();
        division.even_out();
        division.move_fewer();
        division.into_assignment(group)
    }
}
