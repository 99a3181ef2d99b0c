//! The public door: opening a store, its topics, and what operators want to know.
//!
//! `builder` says how a store is run, `handle` is the [`Store`] itself, `admin` what it does with
//! topics, `partition` a handle for one partition (`replication` and `hosted` what replicating
//! hosts do with it), `stable` what it says of transactions, `groups` with groups, their offsets
//! and holds, `reset` how offsets are moved, `share_groups` with groups that share, `transactions`
//! with transactions over all partitions, `schedule` with records that wait for their time,
//! `prepared` with those that wait for local work, `dead_letters` with those that were given up.
//! `describe`, `group_view` and `stats` are the snapshots it answers with, `backup` is how it is
//! copied while in use, `read_only` the door for readers in other processes. Nothing is decided
//! here: each call goes down to the engine or a coordinator.

mod admin;
mod backup;
mod builder;
mod dead_letters;
mod describe;
mod group_view;
mod groups;
mod handle;
mod hosted;
mod partition;
mod prepared;
mod read_only;
mod replication;
mod reset;
mod schedule;
mod share_groups;
mod stable;
mod stats;
mod transactions;

pub use backup::{BackupBuilder, BackupTask};
pub use builder::StoreBuilder;
pub use dead_letters::{RedriveBuilder, Redriven};
pub use describe::{PartitionDescription, TopicDescription};
pub use group_view::{GroupDescription, GroupListing, GroupMember, GroupPartition};
pub use handle::Store;
pub use partition::Partition;
pub use read_only::{ReadOnlyStore, ReadOnlyStoreBuilder};
pub use reset::{GroupReset, OffsetMove, ResetPlan, ResetTo};
pub use share_groups::{ShareGroupDescription, ShareGroupPartition, StoppedRecord};
pub use stats::{
    GroupStats, HoldStats, PartitionStats, PreparedStats, ScheduleStats, StoreStats, TopicStats,
};

#[cfg(all(test, target_os = "linux"))]
mod tests;
