//! Producers: how records get into topics.
//!
//! `builder` is the options and their ranges, `handle` what a program holds; `topic` is the handle
//! for one topic, which sends at once, `linger` its other half, which does not, and `numbered` what
//! an idempotent one has more; `waiting` says how one waits for a sync. `lane` is one partition's
//! linger queue and the order in it, its `joining` a record's way in, `lanes` those of a topic,
//! `topics` those of all, `batch` what lingers there, `memory` bounds it, `core` what all handles
//! of one producer share: its flushes and its end.
//! `receipt` and `pending` are what comes back, `partitioner` decides where a record goes. `once`
//! sends under an id, `band` in a lane of a priority, `scheduling` sends later, `transaction` is
//! the producer that sends all or nothing, `prepared` the one that keeps records until the program
//! says what becomes of them.
//!
//! Invariants: a `send` takes no lock of this room and allocates nothing; the records of one
//! partition reach the log in the order of the calls, lingering or not; nothing that lingers is
//! acknowledged before it is appended; every [`Pending`] ends, whatever happens to its batch.

mod band;
mod batch;
mod builder;
mod core;
mod handle;
mod lane;
mod lanes;
mod linger;
mod memory;
mod near;
mod numbered;
mod once;
pub(crate) mod partitioner;
mod pending;
mod prepared;
mod receipt;
mod scheduling;
mod topic;
mod topic_name;
mod topics;
mod transaction;
mod waiting;
mod walk;

#[cfg(all(test, not(loom)))]
mod tests;

pub use builder::{BufferFull, ProducerBuilder};
pub use handle::Producer;
pub use pending::Pending;
pub use prepared::{PreparedBuilder, PreparedProducer};
pub use receipt::{BatchReceipt, Receipt};
pub use topic::TopicProducer;
pub use transaction::{
    Transaction, TransactionTopic, TransactionalProducer, TransactionalProducerBuilder,
};
