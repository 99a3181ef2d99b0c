//! One open root: the lock, the catalog, every partition, and what runs in the background.
//!
//! Everything above reaches a log through [`Partition`] alone. The rooms: `core` is the [`Engine`]
//! itself, `open` and `close` are the order in which a store comes up and goes down, `catalog`
//! changes what topics there are, `partition`, `budget`, `room` and `holds` are the append's way in
//! and the retention's way out, `held` is what the journal left for an open, `hosted` are
//! partitions that the host leads, `shared` what each partition is opened with, `requests`,
//! `maintenance`, `chores`, `timers`, `alarm` and `threads` are the background, `root` is what the
//! directory itself knows, `follow` reads a root that another process writes, and `backup` copies
//! all of it while it is in use.
//!
//! Lock order: catalog, then the topic table, then whatever a log takes. No lock here is held
//! while a log is appended to, and none while code of the host's runs.

mod alarm;
mod audit;
mod backup;
mod budget;
mod catalog;
mod changes;
mod chores;
mod claim;
mod cleaning;
mod close;
mod compaction;
mod core;
mod ending;
mod flush;
mod follow;
mod gate;
mod held;
mod holds;
mod hosted;
mod journal;
mod keeper;
mod known;
mod maintenance;
mod moved;
mod near;
mod open;
mod partition;
mod producer_ids;
mod reopen;
mod report;
mod requests;
mod room;
pub(crate) mod root;
mod shared;
mod tagged;
mod threads;
mod timers;
mod topic;
mod truncate;

#[cfg(test)]
mod tests;

pub(crate) use alarm::Alarm;
pub(crate) use audit::{AwaitsReplay, RootAudit, is_root, list_kafkas, list_root};
pub(crate) use backup::Watch;
pub use backup::{BackupProgress, BackupReport};
pub(crate) use catalog::NewTopic;
pub(crate) use claim::Claim;
use core::Table;
pub(crate) use core::{CloseHook, Engine, EngineOptions};
pub(crate) use flush::{make_all_durable, make_all_durable_later};
pub(crate) use follow::{FollowOptions, FollowedPartition, Waiting};
pub(crate) use holds::HoldState;
pub(crate) use near::PartitionNear;
pub(crate) use partition::Partition;
pub use report::OpenReport;
pub(crate) use room::Needed;
pub(crate) use timers::Due;
pub(crate) use topic::Topic;
