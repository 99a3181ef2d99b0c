//! Consumer groups: their committed offsets, in Kafka's `__consumer_offsets`, and who reads.
//!
//! `schema` owns the bytes, `committed` what an offset store remembers and hands out, `records`
//! what else a group has in the log, `offsets` the store itself: replay, commit, forgetting a
//! topic; `consumed` is what a consumer hands to a transaction. Other parts of it: `generations`
//! keeps generations, `administer` is what operators do, `expiry` what time does, `holds` what
//! groups keep from being removed. `roster` says who is in a group now, as they see it.
//!
//! `membership` is the pure state of a group (who is in it, who owns what), `assign` who is to read
//! what, `identity` the words of both, `pattern` how a subscriber names topics. `live` is that
//! state behind its lock with the signals that wake members, `coordinator` all live groups of a
//! store, `seat` a consumer's place in one.
//!
//! Callers: `consumer` takes a seat, commits and asks, `store` opens it, lists and resets offsets,
//! and tells it of topics that go.

#[cfg(not(loom))]
mod administer;
pub(crate) mod assign;
#[cfg(not(loom))]
mod committed;
#[cfg(not(loom))]
mod consumed;
#[cfg(not(loom))]
mod coordinator;
#[cfg(not(loom))]
mod expiry;
#[cfg(not(loom))]
mod generations;
#[cfg(not(loom))]
mod holds;
mod identity;
mod live;
#[cfg(all(test, any(loom, shuttle)))]
mod loom_tests;
mod membership;
#[cfg(all(test, not(loom)))]
mod model_tests;
#[cfg(not(loom))]
mod offsets;
#[cfg(not(loom))]
mod pattern;
#[cfg(not(loom))]
mod records;
#[cfg(not(loom))]
mod roster;
#[cfg(not(loom))]
pub(crate) mod schema;
#[cfg(not(loom))]
mod seat;

pub use assign::{
    Assignment, AssignmentFault, Assignor, GroupView, MemberView, RangeAssignor,
    RoundRobinAssignor, StickyAssignor, TopicView,
};
#[cfg(not(loom))]
pub use committed::Committed;
#[cfg(not(loom))]
pub(crate) use committed::{Commit, CommitMode};
#[cfg(not(loom))]
pub use consumed::ConsumedOffsets;
#[cfg(not(loom))]
pub(crate) use consumed::ConsumedPart;
#[cfg(not(loom))]
pub(crate) use coordinator::{Tally, known};
pub(crate) use identity::Distribution;
pub use identity::{MemberId, TopicPartition};
#[cfg(not(loom))]
pub(crate) use live::Began;
#[cfg(not(loom))]
pub(crate) use membership::Interest;
#[cfg(not(loom))]
pub(crate) use offsets::{OffsetStore, check_group_name};
#[cfg(not(loom))]
pub(crate) use pattern::TopicPattern;
#[cfg(not(loom))]
pub use roster::GroupPhase;
#[cfg(not(loom))]
pub(crate) use roster::{Roster, RosterMember};
#[cfg(not(loom))]
pub use schema::GroupKind;
#[cfg(not(loom))]
pub(crate) use seat::{Committer, JoinRequest, Seat, Step};
