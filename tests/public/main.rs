//! What a program finds behind the public doors, a room for each subject.
//!
//! They are one program because each further one costs a build some seconds: what has roles to play
//! in processes of its own, or limits its process, is a program for itself. Where a room takes
//! seeds, a failure names the test, and `cargo test --test public NAME` repeats it.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod compacted_topics;
mod compression;
mod delays_killed;
mod golden;
mod golden_read;
mod groups;
mod groups_admin;
mod groups_threads;
mod idempotence;
mod instructions;
mod jobs_killed;
mod kafka_behaviours;
mod log_door;
mod producer;
mod replication;
mod transactions;
