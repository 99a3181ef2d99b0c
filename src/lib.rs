//! Tidelog: Apache Kafka's and Apache RocketMQ's storage and messaging semantics inside one
//! process, with no networking.
#![deny(unsafe_code, missing_docs)]
#![allow(dead_code, unused_imports)] // until the last branch is in

#[cfg(not(target_pointer_width = "64"))]
compile_error!("tidelog needs a 64-bit target: segments are mapped whole");

mod config;
mod error;
mod ids;
mod stats;
mod sync;
mod time;

pub mod disk;
mod record;
mod wait;

mod segment;

mod log;

mod engine;

mod state_log;

mod group;

mod consumer;
mod producer;

mod store;

pub use config::{
    BackgroundSync, CleanupPolicy, Durability, Threads, TimestampType, TopicConfig, WhenFull,
};
pub use consumer::{Consumer, ConsumerBuilder, Interrupt, OffsetCommit, ReadToEnd, Reset};
pub use engine::OpenReport;
pub use error::{Error, ErrorKind, Outcome, Result};
pub use group::Committed;
pub use ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId};
pub use log::{Damage, Log, LogBuilder, LogReceipt, PartitionReport, TornTail};
pub use producer::partitioner::{DefaultPartitioner, Partitioner, RoundRobin};
pub use producer::{
    BatchReceipt, BufferFull, Pending, Producer, ProducerBuilder, Receipt, TopicProducer,
};
pub use record::{Header, Headers, OwnedRecord, Record, RecordView, Records, RecordsIter};
pub use store::{
    PartitionDescription, PartitionStats, Store, StoreBuilder, StoreStats, TopicDescription,
    TopicStats,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
