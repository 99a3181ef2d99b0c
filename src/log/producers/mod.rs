//! What a partition remembers of its idempotent and transactional producers.
//!
//! `batch` is what of a record batch concerns its producer; `entry` is one producer's epoch, open
//! transaction and last five batches; `state` decides what becomes of a batch and takes it in;
//! `transactions` says where the first unstable record lies; `snapshot` is Kafka's file of it all,
//! bytes only; `fault` says why a batch is refused; `described` is what programs see.
//!
//! A pure state machine: no clock, no I/O, no lock. It lives under the log's writer lock and is fed
//! each batch in the order of offsets; what it holds at an offset is a function of the batches
//! below it (and of what has expired).

mod batch;
mod described;
mod entry;
mod fault;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod transactions;

pub(crate) use batch::{Content, ProducedBatch};
pub use described::ProducerState;
pub(crate) use entry::Original;
pub(crate) use fault::ProducerFault;
#[cfg(test)]
pub(crate) use snapshot::SnapshotFault;
pub(crate) use snapshot::{MAX_SNAPSHOT, Recorded, decode, encode};
pub(crate) use state::{Checked, Origin, ProducerLimits, Producers};
pub(crate) use transactions::Completed;
