//! What a program finds behind the public doors, a room for each subject.
//!
//! They are one program because each further one costs a build some seconds. What needs a process
//! of its own, for a role or for what it is short of, runs this program again, naming the one test
//! and telling it its part by the environment. Where a room takes seeds, a failure names the test,
//! and `cargo test --test public NAME` repeats it.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod compacted_keys;
mod compacted_topics;
mod compaction;
mod compression;
mod delays_killed;
mod delays_pending;
mod full_disk;
mod golden;
mod golden_read;
mod groups;
mod groups_admin;
mod groups_killed;
mod groups_threads;
mod histories;
mod hostile;
mod idempotence;
mod instructions;
mod jobs_killed;
mod kafka_behaviours;
mod log_door;
mod model;
mod producer;
mod readers;
mod refused_truncations;
mod repair;
mod replication;
mod rocketmq_levels;
mod shortage;
mod small_memory;
mod threads;
mod transactions;
mod two_processes;
