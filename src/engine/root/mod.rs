//! The root of a store: what the directory itself knows, before any partition is opened.
//!
//! Owns the marker, the state log, Kafka's checkpoint files, and the two decisions made of them at
//! open: who wrote last, and what becomes of each directory. It opens no partition and takes no
//! lock: the engine has locked the directory before, and carries the plan out after.
//!
//! Order of creation: state log, then marker. So a marker without a state log is damage, and a
//! state log without a marker is a creation cut short (it holds no fact). Order of an opening: the
//! engine reads the plan, records what it adopted together with the open mark in one frame
//! ([`Root::begin_reign`]), and only then is the clean mark removed and anything appended.
//! Order of a close: data, exports, clean mark, stamp.
//!
//! Called by the engine only.

mod capacity;
mod closed;
pub(crate) mod directory;
pub(crate) mod exports;
pub(crate) mod fact;
pub(crate) mod followed;
mod frame;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
pub(crate) mod last_writer;
pub(crate) mod marker;
mod open_root;
pub(crate) mod reconcile;
mod reserve;
pub(crate) mod root_log;
pub(crate) mod state;
mod survey;
mod unadopted;

#[cfg(test)]
mod fault_disk;
#[cfg(test)]
mod tests;

pub(crate) use open_root::{Root, RootOpening};
pub(crate) use survey::{KAFKA_DIRS, RootKind, has_root_files};
