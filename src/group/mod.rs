//! Consumer groups: their committed offsets, in Kafka's `__consumer_offsets`, and who reads.
//!
//! `schema` owns the bytes, `committed` what an offset store remembers and hands out, `records`
//! what else a group has in the log, `offsets` the store itself (replay, commit, forgetting a
//! topic), `generations` the part of it that keeps generations, `registry` which groups have a
//! live subscriber and what all readers of a store count together.
//!
//! Callers: `consumer` commits and asks, `store` opens it, lists and resets offsets, and tells it
//! of topics that go.

mod committed;
mod generations;
mod offsets;
mod records;
mod registry;
pub(crate) mod schema;

pub use committed::Committed;
pub(crate) use committed::{Commit, CommitMode};
pub(crate) use offsets::{OffsetStore, check_group_name};
pub(crate) use registry::Subscription;
pub use schema::GroupKind;
