//! Consumers of share groups: any number of them on one partition, each record leased to one.
//!
//! `builder` says how, `handle` is the [`ShareConsumer`], `poll` how it waits, `ranked` how it
//! looks where places have priorities, `leased` what it
//! is given, `settling` what it says of that.
//!
//! Invariants: who is woken and does not look, or leaves something, wakes the next; what a consumer
//! holds is given up when it is dropped.
//!
//! Callers: `store` makes builders, `worker` runs handlers over one.

mod builder;
mod explaining;
mod handle;
mod leased;
mod poll;
mod ranked;
mod settling;

pub use builder::ShareConsumerBuilder;
pub use handle::ShareConsumer;
pub use leased::{Lease, LeasedIter, LeasedRecord, LeasedRecords};
