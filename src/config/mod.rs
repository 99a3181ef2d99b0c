//! Options: each with its default, unit and range, refused when out of it.
//!
//! `topic` holds what a topic is configured by, under Kafka's names where Kafka has the setting;
//! `words` holds the small enums that options and calls share, `holds` what is kept for groups.
//! What configures a store as a whole is set on its builder. Nothing is clamped in silence: a bad
//! value is an error that names the key, the value and what would have been allowed.

mod holds;
mod producers;
mod settings;
mod topic;
mod words;

pub use holds::HoldCap;
pub(crate) use holds::OffsetsRetention;
pub use topic::TopicConfig;
pub use words::{
    BackgroundSync, CleanupPolicy, Durability, Journal, Threads, TimestampType, WhenFull,
};
