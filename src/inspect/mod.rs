//! Looking at a store from the outside: does it hold what it should, and mending what can be.
//!
//! `verify` reads everything and changes nothing, of a store in use or of a closed directory;
//! `report` is what it says. `repair` proposes the least that would mend what was found, and does
//! it when told to, on a directory that nobody has open.
//!
//! Called by users, and by the store and the lone log, which lend their disk.

mod repair;
mod report;
mod verify;

pub use repair::{Repair, RepairPlan, RepairStep, Repaired};
pub use report::{VerifyProgress, VerifyReport};
pub use verify::Verifier;
