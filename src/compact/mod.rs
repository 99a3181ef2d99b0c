//! Compaction: a log keeps the last record of each key, and its size follows its keys.
//!
//! `plan` decides when a log is due and which segments are written again together, `key_map` knows
//! where each key was written last, `sieve` says which records of a batch stay, `transactions`
//! what it has to know of those; these are pure. `pass` carries out one compaction of one log, a
//! bounded step at a time, through the log's own doors (`log::swap`): it blocks neither appends nor
//! readers, and whatever stops it leaves the old segments or the new ones.
//!
//! What must hold: the fold over the log from its start gives the same state before and after; no
//! offset changes; nothing goes that only a record replaces which a power cut may take (only what
//! lies below the recorded recovery point is looked at, once its markers are durable). Called by
//! `engine/`, which says which logs are compacted: the internal topics, and those whose
//! `cleanup.policy` says so.

mod key_map;
mod pass;
mod plan;
mod sieve;
#[cfg(all(test, not(loom)))]
mod tests;
mod transactions;

pub(crate) use pass::{Done, Pass, Progress, Settings};
pub(crate) use plan::{Candidate, Need, Terms, due, need};
