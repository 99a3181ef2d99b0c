//! Scenarios in which a store is copied, one that Kafka wrote is taken over, and the store's own
//! topic is compacted and expires.

use std::time::Duration;

use tidelog::Durability::{Power, Process};

use crate::foreign::plain;
use crate::stage::{ALONE, Stage, small};

const HOUR: Duration = Duration::from_secs(3600);

/// Sealed segments, one in use, a start that has risen, commits.
pub fn for_a_backup(stage: &mut Stage) {
    stage.open();
    stage.create("a", 1, small());
    stage.create("b", 1, small());
    stage.send("a", 0, 9, Process);
    stage.delete_records("a", 0, 5);
    stage.send("b", 0, 2, Power);
    stage.commit("g", "b", 0, 2, Process);
}

pub fn backup(stage: &mut Stage) {
    stage.send("b", 0, 1, Process);
    stage.back_up();
    stage.send("a", 0, 1, Power);
}

/// What is shared with the backup is trimmed, deleted and appended to.
pub fn backup_and_go_on(stage: &mut Stage) {
    stage.back_up();
    stage.begin();
    stage.send("a", 0, 2, Process);
    stage.delete_records("a", 0, 9);
    stage.wait(Duration::from_secs(61));
    stage.reopen();
    stage.send("a", 0, 2, Power);
    stage.delete("b");
    stage.create("b", 1, small());
    stage.send("b", 0, 1, Process);
    stage.commit("g", "a", 0, 10, Power);
}

/// Commits that expire after an hour.
pub fn short_memory(stage: &mut Stage) {
    stage.setup.offsets_retention = Some(HOUR);
    stage.open();
    stage.create("a", 1, small());
    stage.send("a", 0, 3, Process);
    stage.commit("g", "a", 0, 1, Power);
    stage.commit("h", "a", 0, 2, Process);
}

pub fn expiry(stage: &mut Stage) {
    stage.expiring(&["g", "h"]);
    (0..3).for_each(|_| stage.wait(HOUR));
    stage.commit("g", "a", 0, 3, Power);
    stage.send("a", 0, 1, Process);
    stage.reopen();
    (0..2).for_each(|_| stage.wait(2 * HOUR));
}

/// The offsets topic has grown to where it is compacted.
pub fn long_history(stage: &mut Stage) {
    stage.open();
    stage.create("a", 1, small());
    stage.send("a", 0, 3, Process);
    stage.commit_at_length("g", "a", 180);
}

pub fn compaction(stage: &mut Stage) {
    (0..10).for_each(|_| stage.wait(Duration::from_millis(110)));
    stage.commit("g", "a", 0, 2, Power);
    stage.commit("h", "a", 0, 1, Process);
    stage.wait(Duration::from_secs(61));
    stage.reopen();
    stage.commit("g", "a", 0, 3, Process);
}

/// Kafka wrote a partition.
pub fn of_kafka(stage: &mut Stage) {
    stage.find("codec-none", plain());
}

pub fn adopt(stage: &mut Stage) {
    stage.open();
    stage.send("codec-none", 0, 2, Process);
    stage.send("codec-none", 0, 1, Power);
    stage.create("a", 1, small());
    stage.send("a", 0, 1, Process);
    stage.delete_records("codec-none", 0, 20);
    stage.reopen();
    stage.send("codec-none", 0, 1, Power);
}

pub fn log_of_kafka(stage: &mut Stage) {
    stage.find(ALONE, plain());
}

pub fn log_adopt(stage: &mut Stage) {
    stage.open();
    stage.send(ALONE, 0, 6, Process);
    stage.send(ALONE, 0, 1, Power);
    stage.delete_records(ALONE, 0, 20);
    stage.reopen();
    stage.send(ALONE, 0, 1, Power);
}
