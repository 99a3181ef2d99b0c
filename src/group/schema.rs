//! The records of `__consumer_offsets` in Kafka's bytes, and which partition a group's lie in.
//!
//! `key` owns what a record is about: a committed offset, a classic group, a record of a group of
//! one of Kafka's newer kinds (kept, never written), every other version as `Unknown`, which
//! callers keep as it is. `committed` owns the values of committed offsets, `group` those of
//! groups. A null value is a tombstone and never comes here. How Kafka writes strings, varints and
//! the like is in `state_log::wire`, with the rules against foreign bytes.
//!
//! Callers: the group room's fold over its log, and what writes there.

mod committed;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod group;
mod key;

#[cfg(test)]
use crate::ids::{Offset, PartitionId};
#[cfg(test)]
use crate::state_log::wire::STRING_LIMIT;
pub(crate) use crate::state_log::wire::SchemaFault;
pub(crate) use crate::state_log::wire::partition_of_name as group_partition;
use crate::state_log::wire::{Input, put_string, put_varint, too_large};

pub(crate) use committed::{CommittedValue, check_metadata};
pub(crate) use group::{BROADCAST_PROTOCOL, CONSUMER_PROTOCOL, GroupValue, consumer_group_epoch};
pub use key::GroupKind;
pub(crate) use key::{CONSUMER_GROUP_KEY, OffsetsKey, committed_key, group_key, tombstone_order};

#[cfg(all(test, not(loom)))]
mod tests;
