//! Dead letters: what they say of themselves, where they lie, and sending them back.
//!
//! `letter` owns the headers of a dead letter, `topic` makes the topics they go to. `coordinator`
//! moves records from one partition to others in one commit with the note that they were moved,
//! `schema` has that note's bytes in `__dead_letters`. `redrive` sends dead letters back.
//!
//! Invariants: a record is moved once, whenever the process or the power stops; who moves has the
//! *turn*, and nothing else is published before it is known what became of a publication that was
//! in doubt.
//!
//! Callers: `share` buries what its groups give up, `schedule` what has no target any more;
//! `store` opens, redrives and forgets deleted topics.

mod coordinator;
mod letter;
mod redrive;
mod schema;
mod topic;

#[cfg(fuzzing)]
pub(crate) use schema::fuzz;

pub(crate) use coordinator::{DeadLetters, Moved, MovedFrom, Turn};
pub use letter::DeadLetter;
pub(crate) use letter::{Death, Obituary, bounded, names};
pub(crate) use redrive::Redrive;
pub(crate) use topic::{dead_letter_topic, is_of_records};
