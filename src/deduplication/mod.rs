//! Records that are sent once under an id of the program's choice, within a topic's window.
//!
//! The ids lie in the records themselves, in a header, and nowhere else: what is known of them is a
//! fold over the topic's logs (`window` the pure state, `follow` the reading), begun at the start
//! of the window when the first id comes and caught up before each decision. So there is no second
//! fact that could disagree with the log, whatever stops the process, and an id is as durable as
//! its record. `ids` decides, for one topic: a new id is claimed, and nobody else gets it until its
//! record is in the log or has failed. `registry` has one of these for each topic in use.
//!
//! Invariants: no two records under one id are appended within the window by `send_once`; no id is
//! forgotten early to save memory; ids are compared whole. Callers: producers.

mod follow;
mod ids;
mod registry;
mod window;

pub(crate) use ids::{Claimed, Original, Place, Underway};
pub(crate) use registry::Deduplication;

/// The longest id, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 255;
