//! Options: each with its default, unit and range, refused when out of it.
//!
//! `topic` holds what a topic is configured by, under Kafka's names where Kafka has the setting;
//! `words` holds the small enums that options and calls share. What configures a store as a whole
//! is set on its builder. Nothing is clamped in silence: a bad value is an error that names the
//! key, the value and what would have been allowed.

mod settings;
mod topic;
mod words;

pub use topic::TopicConfig;
pub use words::{BackgroundSync, CleanupPolicy, Durability, Threads, TimestampType, WhenFull};
