//! Tidelog: Apache Kafka's and Apache RocketMQ's storage and messaging semantics inside one
//! process, with no networking.
//!
//! Topics of partitioned, append-only segment logs in Kafka's own on-disk format; producers that
//! batch; consumers that are woken by the append; committed offsets; retention and budgets;
//! recovery that tells a torn tail from damage. Link it, and the program has a durable queue.
//!
//! ```
//! use std::time::Duration;
//! use tidelog::{Record, Store, TopicConfig};
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path();
//! let store = Store::open(path)?;
//! store.ensure_topic("orders", TopicConfig::new().partitions(4))?;
//!
//! let orders = store.producer().build()?.topic("orders")?;
//! let receipt = orders.send(Record::new("hello").key("customer-7"))?; // survives `kill -9`
//!
//! let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
//! for record in &consumer.poll(Duration::from_secs(1))? {
//!     assert_eq!(record.offset(), receipt.offset());
//! }
//! consumer.commit()?; // the group's next consumer begins behind it
//! store.close()?;
//! # Ok::<(), tidelog::Error>(())
//! ```
//!
//! # Three doors
//!
//! | I want | door |
//! | --- | --- |
//! | one durable, ordered list of records in a directory | [`Log`] |
//! | topics and partitions, with syncs and retention in the background | [`Store`] |
//! | to send and to read | [`Producer`] and [`Consumer`], made by a [`Store`] |
//!
//! # What `Ok` means
//!
//! [`Durability`] is a word at the call. [`Process`](Durability::Process), the default: what was
//! acknowledged survives the end of the process, `kill -9` included. [`Power`](Durability::Power):
//! it survives a power cut, and so does all of its partition before it. Partitions are also synced
//! in the background, by default after 64 MiB or 30 s ([`BackgroundSync`]). An [`Error`] says what
//! became of the call ([`Error::outcome`]): only after [`Outcome::NotWritten`] may the same call be
//! made again without harm.
//!
//! # Where things are
//!
//! - Topics: [`TopicConfig`], [`Store::ensure_topic`], [`TopicDescription`]. Budgets: [`WhenFull`].
//! - Sending: [`Record`], [`TopicProducer`], [`Receipt`]; in company: [`TopicProducer::enqueue`],
//!   [`Pending`]; who goes where: [`Partitioner`]; smaller: [`Compression`].
//! - All or nothing: [`ProducerBuilder::transactional`], [`Transaction`],
//!   [`Store::transactions`].
//! - Once: [`TopicProducer::send_once`], [`TopicConfig::deduplicate`].
//! - Urgent: [`TopicProducer::with_priority`], [`TopicConfig::priority_lanes`].
//! - Later: [`TopicProducer::schedule`], [`Store::cancel_scheduled`], [`Store::scheduled`].
//! - With local work, both or neither: [`Store::prepared`], [`PreparedProducer`].
//! - Reading: [`ConsumerBuilder`], [`Consumer::poll`], [`Records`], [`RecordView`],
//!   [`Consumer::read_to_end`]; without a valid position: [`Reset`].
//! - Offsets: [`Consumer::commit`], [`OffsetCommit`]. Groups: [`Store::groups`],
//!   [`Store::describe_group`], [`Store::reset_group`], [`Store::delete_group`],
//!   [`StoreBuilder::offsets_retention`], [`TopicConfig::retain_for`].
//! - Everything to each: [`Store::broadcast_consumer`].
//! - Sharing: [`Store::share_consumer`], [`ShareConsumer`], [`LeasedRecords`], [`Lease`]; with
//!   handlers: [`Store::worker`], [`JobOutcome`], [`RetryPolicy`].
//! - Operating: [`Store::open_report`], [`Store::stats`], [`Error`]; looking into files: [`Dump`].
//! - Tests: [`Store::in_memory`], [`ManualClock`], [`Threads::Host`], [`disk`].
//!
//! Blocking calls say so, and have `_async` twins that return futures of no particular runtime.
//! The guide and the documents on durability, the format, and what is as in Kafka and what is not
//! lie in the repository's `docs/`.
//!
//! # Features
//!
//! Default features need no C compiler. `cli` builds the program `tidelog`. `sim` adds
//! `disk::SimDisk`, a disk that loses, tears and fails on demand, for tests; it is unstable and
//! stands outside semantic versioning.
//!
//! # Platform
//!
//! 64-bit only. Linux is what is tested; elsewhere files are read and written by position, and
//! nothing is claimed. One process writes to a directory at a time. Where the active segment is
//! mapped (ext2 to ext4, XFS and tmpfs on Linux), a device read error or another program's cutting
//! of the file under a held view, or an active file whose extents another program shared or that
//! may suddenly not be written any more (made immutable; a file system that an error has turned
//! read-only), can still raise SIGBUS; a full disk, damage inside files, and what this library does
//! itself cannot.
//! [`IoMode::Positioned`](disk::IoMode::Positioned) rules it out.
#![deny(unsafe_code, missing_docs)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("tidelog needs a 64-bit target: segments are mapped whole");

mod config;
mod error;
#[cfg(fuzzing)]
mod feed;
mod ids;
#[cfg(test)]
mod seeds;
mod stats;
mod sweep;
mod sync;
mod time;

// loom explores `wait`, group commit in it too, the hand-over of `group`, and of `disk` who readies
// windows, with its own atomics and locks in `sync`; the other rooms share their state in std's
// `Arc`, which those do not fit
#[cfg(all(test, loom))]
#[path = "disk/real/ahead.rs"]
mod ahead;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
pub mod disk;
#[cfg(not(loom))]
mod record;
mod wait;

#[cfg(not(loom))]
mod segment;

#[cfg(not(loom))]
mod journal;
#[cfg(not(loom))]
mod log;

#[cfg(not(loom))]
mod compact;

#[cfg(not(loom))]
mod engine;

#[cfg(not(loom))]
mod state_log;

#[cfg(not(loom))]
mod txn;

#[cfg(not(loom))]
mod dead_letters;

#[cfg(not(loom))]
mod deduplication;

#[cfg(not(loom))]
mod prepared;
#[cfg(not(loom))]
mod priority;
#[cfg(not(loom))]
mod schedule;

mod group;

#[cfg(not(loom))]
mod share;

#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod producer;
#[cfg(not(loom))]
mod share_consumer;

#[cfg(not(loom))]
mod worker;

#[cfg(not(loom))]
mod inspect;

#[cfg(not(loom))]
mod store;

#[cfg(all(fuzzing, not(loom)))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(not(loom))]
pub use clock::SystemClock;
#[cfg(not(loom))]
pub use config::{
    BackgroundSync, CleanupPolicy, Compression, Durability, HoldCap, Journal, Leadership, Priority,
    Threads, TimestampType, TopicConfig, WhenFull,
};
#[cfg(not(loom))]
pub use consumer::{
    Assigned, Consumer, ConsumerBuilder, Interrupt, Membership, OffsetCommit, PartitionScan,
    ReadToEnd, RebalanceListener, Reset, Revoked,
};
#[cfg(not(loom))]
pub use dead_letters::DeadLetter;
#[cfg(not(loom))]
pub use engine::{BackupProgress, BackupReport, OpenReport};
pub use error::{Error, ErrorKind, Outcome, RecordError, RecordRefusal, Result};
#[cfg(not(loom))]
pub use group::{
    Assignment, AssignmentFault, Assignor, Committed, ConsumedOffsets, GroupKind, GroupPhase,
    GroupView, MemberId, MemberView, RangeAssignor, RoundRobinAssignor, StickyAssignor,
    TopicPartition, TopicView,
};
pub use ids::{
    Generation, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId,
};
#[cfg(not(loom))]
pub use inspect::{
    Dump, DumpedBatch, DumpedControl, DumpedIndex, DumpedPartition, DumpedProducer, DumpedRecord,
    DumpedRecords, DumpedSegment, DumpedSnapshot, DumpedTransactions, Repair, RepairPlan,
    RepairStep, Repaired, Verifier, VerifyProgress, VerifyReport,
};
#[cfg(not(loom))]
pub use log::{
    Damage, FilteredRead, Finding, FindingKind, FoundOffset, Log, LogBuilder, LogReceipt,
    OffsetSpec, PartitionReport, ProducerState, RawBatches, RawLimits, TornTail, Unvouched,
};
#[cfg(not(loom))]
pub use prepared::{Exhausted, PreparedId, PreparedTransaction, Resolution};
#[cfg(not(loom))]
pub use producer::partitioner::{DefaultPartitioner, Partitioner, RoundRobin};
#[cfg(not(loom))]
pub use producer::{
    BatchReceipt, BufferFull, Pending, PreparedBuilder, PreparedProducer, Producer,
    ProducerBuilder, Receipt, TopicProducer, Transaction, TransactionTopic, TransactionalProducer,
    TransactionalProducerBuilder,
};
#[cfg(not(loom))]
pub use record::{
    Header, Headers, MarkerKind, OwnedRecord, ProducerIdentity, Record, RecordFilter, RecordView,
    Records, RecordsIter,
};
#[cfg(not(loom))]
pub use schedule::{ScheduleId, ScheduledRecord, When};
#[cfg(not(loom))]
pub use segment::AbortedTransaction;
#[cfg(not(loom))]
pub use share::ShareStart;
#[cfg(not(loom))]
pub use share_consumer::{
    Lease, LeasedIter, LeasedRecord, LeasedRecords, ShareConsumer, ShareConsumerBuilder,
};
#[cfg(not(loom))]
pub use store::{
    BackupBuilder, BackupTask, GroupDescription, GroupListing, GroupMember, GroupPartition,
    GroupReset, GroupStats, HoldStats, OffsetMove, Partition, PartitionDescription, PartitionStats,
    PreparedStats, ReadOnlyStore, ReadOnlyStoreBuilder, RedriveBuilder, Redriven, ResetPlan,
    ResetTo, ScheduleStats, ShareGroupDescription, ShareGroupPartition, StoppedRecord, Store,
    StoreBuilder, StoreStats, TopicDescription, TopicStats,
};
pub use time::{Clock, ManualClock, Timestamp};
#[cfg(not(loom))]
pub use txn::{OpenTransaction, TransactionDescription, TransactionPhase};

#[cfg(not(loom))]
pub use worker::{Job, JobOutcome, RetryPolicy, Worker, WorkerBuilder};

/// The README's example and the guide's are compiled and run as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}

    #[doc = include_str!("../docs/guide.md")]
    mod guide {}
}
