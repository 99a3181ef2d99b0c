//! The public door: opening a store, its topics, and what operators want to know.
//!
//! `builder` says how a store is run, `handle` is the [`Store`] itself, `admin` what it does with
//! topics, `groups` with committed offsets and holds, `describe` and `stats` are the snapshots it
//! answers with, `read_only` is the door for readers in other processes. Nothing is decided here: each call goes down to the engine or a coordinator.

mod admin;
mod builder;
mod describe;
mod groups;
mod handle;
mod read_only;
mod stats;

pub use builder::StoreBuilder;
pub use describe::{PartitionDescription, TopicDescription};
pub use handle::Store;
pub use read_only::{ReadOnlyStore, ReadOnlyStoreBuilder};
pub use stats::{GroupStats, PartitionStats, StoreStats, TopicStats};

#[cfg(all(test, target_os = "linux"))]
mod tests;
