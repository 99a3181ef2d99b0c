//! Delayed delivery: records that are kept until their time and then published.
//!
//! `state` is what is pending and what of it is in memory, pure; `live` its set of sequences;
//! `schema` the bytes of an entry; `id` its name for programs; `coordinator` the schedule of a
//! store with its timer; `reading` reads buckets and entries, `firing` publishes what is due,
//! `listing` shows what is pending.
//!
//! Invariants: nothing is published before its time, as the wall shows it at that moment; what is
//! due is published in the order of time and sequence, but for what has to wait, with its target or
//! because its own partition of the log takes nothing or cannot be read; publishing an entry and
//! resolving it is one commit; an entry lies where its time says and is never moved. Nothing waits
//! in a target topic.
//!
//! Callers: `producer` adds, `store` opens, cancels and lists; the timer does the rest.

mod coordinator;
mod firing;
mod id;
mod listing;
mod live;
mod reading;
mod schema;
mod state;

#[cfg(fuzzing)]
pub(crate) use schema::fuzz;

pub(crate) use coordinator::{Schedule, ScheduleNumbers};
pub use id::{ScheduleId, When};
pub use listing::ScheduledRecord;
