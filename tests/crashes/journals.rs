//! Scenarios with a journal: appends with the word power over several partitions, and all that
//! frees, moves or forgets its frames.
//!
//! Each begins with the journal made and in use, but for the first, which is its making.

use std::time::Duration;

use tidelog::Durability::{Power, Process};
use tidelog::Journal;

use crate::stage::{Stage, small};

const SECOND: Duration = Duration::from_secs(1);

/// Topics are there; the journal is asked for by an append that is not its partition's first, and
/// made.
pub fn made(stage: &mut Stage) {
    stage.open();
    stage.create("a", 2, small());
    stage.create("b", 1, small());
    stage.send("a", 0, 2, Power);
    stage.send("a", 1, 1, Power);
    stage.send("b", 0, 1, Power);
    stage.wait(31 * SECOND);
}

pub fn append(stage: &mut Stage) {
    stage.send("a", 0, 1, Power);
    stage.send("a", 1, 2, Process);
    stage.send("a", 1, 1, Power);
    stage.send("b", 0, 1, Power);
    stage.batch("a", 0, 3, 150, Process);
    stage.batch("a", 0, 2, 150, Power);
    stage.send("b", 0, 1, Process);
}

pub fn roll(stage: &mut Stage) {
    stage.send("a", 0, 4, Power);
    stage.send("b", 0, 2, Power);
    stage.send("a", 0, 3, Process);
    stage.send("a", 0, 2, Power);
    stage.batch("b", 0, 3, 250, Power);
    stage.send("b", 0, 1, Power);
    stage.send("a", 1, 1, Process);
}

/// The segments are synced, frames become free; once in the background, once on demand.
pub fn checkpoint(stage: &mut Stage) {
    stage.send("a", 0, 2, Power);
    stage.send("b", 0, 1, Power);
    stage.wait(31 * SECOND);
    stage.send("a", 0, 1, Power);
    stage.send("a", 1, 2, Power);
    stage.flush();
    stage.send("b", 0, 2, Power);
    stage.send("a", 1, 1, Process);
    stage.wait(31 * SECOND);
    stage.send("a", 1, 1, Power);
}

pub fn recreate(stage: &mut Stage) {
    stage.send("a", 0, 2, Power);
    stage.send("b", 0, 1, Power);
    stage.delete("a");
    stage.send("b", 0, 1, Power);
    stage.create("a", 2, small());
    stage.send("a", 0, 3, Power);
    stage.send("a", 1, 1, Process);
    stage.send("b", 0, 1, Power);
    stage.delete("b");
    stage.create("b", 1, small());
    stage.send("b", 0, 1, Power);
}

pub fn trim(stage: &mut Stage) {
    stage.send("a", 0, 7, Power);
    stage.delete_records("a", 0, 6);
    stage.send("a", 0, 2, Power);
    stage.send("a", 1, 2, Power);
    stage.delete_records("a", 1, 3);
    stage.wait(61 * SECOND);
    stage.send("a", 1, 1, Power);
    stage.delete_records("a", 0, 11);
    stage.send("a", 0, 1, Power);
}

pub fn retention(stage: &mut Stage) {
    stage.alter("a", small().retention_bytes(1500));
    stage.send("a", 0, 8, Power);
    stage.send("b", 0, 1, Power);
    stage.retain();
    stage.send("a", 0, 4, Power);
    stage.wait(61 * SECOND);
    stage.retain();
    stage.send("a", 1, 1, Power);
}

pub fn reopen(stage: &mut Stage) {
    stage.send("a", 0, 2, Power);
    stage.reopen();
    stage.send("a", 0, 1, Power);
    stage.send("a", 1, 1, Power);
    stage.wait(31 * SECOND);
    stage.send("a", 0, 2, Power);
    stage.send("b", 0, 1, Power);
    stage.reopen();
    stage.send("b", 0, 1, Power);
}

/// It goes with the open that does not want it, and comes again.
pub fn off_and_on(stage: &mut Stage) {
    let journal = stage.setup.journal;
    stage.send("a", 0, 1, Power);
    stage.send("b", 0, 1, Power);
    stage.setup.journal = Journal::Off;
    stage.reopen();
    stage.send("a", 0, 1, Power);
    stage.setup.journal = journal;
    stage.reopen();
    stage.send("a", 1, 1, Power);
    stage.wait(31 * SECOND);
    stage.send("a", 0, 1, Power);
    stage.send("b", 0, 1, Power);
}

pub fn commits(stage: &mut Stage) {
    stage.commit("g", "a", 0, 1, Power);
    stage.begin();
    stage.send("a", 0, 3, Power);
    stage.commit("g", "a", 0, 2, Power);
    stage.commit("h", "a", 1, 1, Process);
    stage.commit("g", "b", 0, 1, Power);
    stage.send("b", 0, 1, Power);
    stage.commit("g", "a", 0, 4, Process);
    stage.commit("h", "a", 1, 1, Power);
    stage.forget("h");
}

pub fn backup(stage: &mut Stage) {
    stage.send("a", 0, 4, Power);
    stage.send("b", 0, 1, Process);
    stage.back_up();
    stage.send("a", 0, 2, Power);
    stage.send("b", 0, 1, Power);
}

/// It is asked for and made.
pub fn first(stage: &mut Stage) {
    stage.open();
    stage.create("a", 2, small());
    stage.send("a", 0, 2, Power);
    stage.send("a", 1, 1, Power);
    stage.wait(SECOND);
    stage.send("a", 0, 1, Power);
    stage.send("a", 1, 1, Power);
}

/// Over both halves and into the first again, pinned for a while.
pub fn laps(stage: &mut Stage) {
    stage.alter("a", small().segment_bytes(400_000));
    stage.alter("b", small().segment_bytes(400_000));
    stage.begin();
    let large = |stage: &mut Stage, topic, partition, times| {
        (0..times).for_each(|_| stage.batch(topic, partition, 1, 60_000, Power));
    };
    large(stage, "a", 0, 5);
    large(stage, "b", 0, 3);
    stage.wait(SECOND);
    large(stage, "a", 0, 4);
    large(stage, "a", 1, 8);
    stage.send("b", 0, 1, Process);
    stage.wait(31 * SECOND);
    large(stage, "b", 0, 12);
    stage.send("a", 1, 2, Power);
}
