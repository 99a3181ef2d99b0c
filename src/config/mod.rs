//! Options: each with its default, unit and range, refused when out of it.
//!
//! `topic` holds what a topic is configured by, under Kafka's names where Kafka has the setting;
//! `words` holds the small enums that options and calls share, `compression` the codecs, `flush`
//! when a log syncs by itself, `deduplication` which ids are remembered, `priorities` how urgent
//! records are, `holds` what is kept for groups, `leadership` who leads a partition, `fixed` what
//! of Kafka's can have one value here or none. What configures a store as a whole is set on its
//! builder. Nothing is clamped in silence: a bad value is an error that names the key, the value
//! and what would have been allowed.

mod cleanup;
mod compression;
mod deduplication;
mod fixed;
mod flush;
mod holds;
mod leadership;
mod priorities;
mod producers;
mod ratio;
mod settings;
mod topic;
mod words;

pub use cleanup::CleanupPolicy;
pub use compression::Compression;
pub(crate) use compression::{Packing, TopicCompression};
pub use holds::HoldCap;
pub(crate) use holds::OffsetsRetention;
pub use leadership::Leadership;
pub use priorities::Priority;
pub(crate) use ratio::Ratio;
pub use topic::TopicConfig;
pub(crate) use words::IsolationLevel;
pub use words::{BackgroundSync, Durability, Journal, Threads, TimestampType, WhenFull};
