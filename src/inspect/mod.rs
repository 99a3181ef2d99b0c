//! Looking at a store from the outside: does it hold what it should, and mending what can be.
//!
//! `dump` shows what lies in the files, whatever it means: `partition` the files of one directory,
//! `segment` one segment's, `batch` what is in them, `snapshot` a producer snapshot, `committed`
//! which records count.
//! `verify` reads everything and changes nothing, of a store in use or of a closed directory;
//! `report` is what it says. `repair` proposes the least that would mend what was found, and does
//! it when told to, on a directory that nobody has open.
//!
//! Called by users, and by the store and the lone log, which lend their disk.

mod batch;
mod committed;
mod dump;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod partition;
mod repair;
mod report;
mod segment;
mod snapshot;
mod verify;

pub use batch::{DumpedBatch, DumpedControl, DumpedRecord, DumpedRecords};
pub use committed::DumpedTransactions;
pub use dump::Dump;
pub use partition::DumpedPartition;
pub use repair::{Repair, RepairPlan, RepairStep, Repaired};
pub use report::{VerifyProgress, VerifyReport};
pub use segment::{DumpedIndex, DumpedSegment};
pub use snapshot::{DumpedProducer, DumpedSnapshot};
pub use verify::Verifier;
