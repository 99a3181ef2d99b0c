//! Who is in a group and who reads what: the group's state and every decision about it, pure.
//!
//! No clock, no lock, no thread, no callback lives here: time comes in as the monotonic
//! [`Duration`](std::time::Duration), what others have to be told comes out as the members to wake.
//! `state` has the comings and goings, `reconcile` the hand-over of partitions, `rebalance` the
//! snapshot an assignor works on and the plan made of it, `places` each partition's owner and
//! target, `topics` what is known of topics and wanted of them, `describe` what is shown.
//!
//! # How it is driven
//!
//! One [`GroupState`] per group stands behind one lock of the coordinator. Every call below is
//! made under it, but for [`Rebalance::plan`], which runs the assignor and must not be. Each list
//! of members that comes back is woken, through each member's own signal, after the lock is let go;
//! one that has gone meanwhile is passed over.
//!
//! ```text
//! build   set_topics if the catalog moved; join                                 -> wake
//! poll    poll_began             Departed: it was expelled: drop all, join as another, begin anew
//!         again, at every wake and before every sleep:
//!           set_topics if the catalog moved                                     -> wake
//!           while let Some(rebalance) = rebalance():
//!               plan = rebalance.plan(assignor)         no lock of ours; logs plan.fallback()
//!               install(plan)                    Stale: something changed, look again -> wake
//!           to_revoke: the listener first, without the lock, then release       -> wake
//!           acquire: positions from the committed offsets, then the listener
//!         poll_ended, however the poll ends                                     -> wake
//! timer   expire(now), then set anew for next_expiry()                          -> wake
//! commit  may_commit, under the group's commit turn
//! drop    leave                                                                 -> wake
//! ```
//!
//! A member needs no look at the state while nobody wakes it. What keeps that true for a rebalance
//! that is due while everybody sleeps in a poll: the state appoints one polling member to see to
//! it, and another when that one's poll ends.

mod describe;
mod places;
mod rebalance;
mod reconcile;
mod state;
mod topics;

#[cfg(test)]
mod tests;

pub(crate) use describe::{GroupSnapshot, Phase};
pub(crate) use rebalance::{Plan, Rebalance};
pub(crate) use reconcile::{Fenced, Installed};
pub(crate) use state::{Departed, GroupState, JoinRefused, Joining};
pub(crate) use topics::{Interest, KnownTopic, NamePattern, TopicList, Visibility};
#[cfg(test)]
use {
    describe::{GroupCounters, MemberSnapshot},
    rebalance::Fallback,
    state::Presence,
};
