//! Consumer groups: their committed offsets, in Kafka's `__consumer_offsets`, and who reads.
//!
//! `schema` owns the bytes, `committed` what an offset store remembers and hands out, `records`
//! what else a group has in the log, `offsets` the store itself (replay, commit, forgetting a
//! topic), `generations` the part of it that keeps generations, `registry` which groups have a
//! live subscriber and what all readers of a store count together.
//!
//! `membership` is the pure state of a group (who is in it, who owns what), `assign` who is to read
//! what, `identity` the words of both.
//!
//! Callers: `consumer` commits and asks, `store` opens it, lists and resets offsets, and tells it
//! of topics that go.

pub(crate) mod assign;
mod committed;
mod generations;
mod identity;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "consumers are not members of groups yet")
)]
mod membership;
mod offsets;
mod records;
mod registry;
pub(crate) mod schema;

pub use assign::{
    Assignment, AssignmentFault, Assignor, GroupView, MemberView, RangeAssignor,
    RoundRobinAssignor, StickyAssignor, TopicView,
};
pub use committed::Committed;
pub(crate) use committed::{Commit, CommitMode};
pub use identity::{MemberId, TopicPartition};
pub(crate) use offsets::{OffsetStore, check_group_name};
pub(crate) use registry::Subscription;
pub use schema::GroupKind;
