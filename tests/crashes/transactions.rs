//! Scenarios of transactions over several partitions and a group's offsets: how they end, by their
//! producer, by another one, by time, by an operator, by the end of the store; what lies between
//! them; the files that say what was aborted; and topics of theirs that are compacted or cut.
//!
//! What dies in between needs no scenario: each is stopped at all of its calls.

use std::time::Duration;

use tidelog::Durability::{Power, Process};

use crate::stage::transactions::End::{Abort, Commit, Lost, TimeOut};
use crate::stage::transactions::Step::{Beside, Offsets, Send};
use crate::stage::{Stage, small};

const SECOND: Duration = Duration::from_secs(1);

/// A topic to read from, and two to write to; there have been transactions before.
pub fn topics(stage: &mut Stage) {
    stage.open();
    stage.create("in", 1, small());
    stage.create("a", 2, small());
    stage.create("b", 1, small());
    stage.send("in", 0, 4, Process);
    stage.transact("t", &[Send("b", 0, 1), Offsets("g", "in", 0, 1)], Commit);
    stage.transact("u", &[Send("b", 0, 1)], Abort);
}

/// The store has never had one.
pub fn first(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.send("a", 0, 1, Process);
    stage.transact("t", &[Send("a", 0, 1), Send("a", 1, 1), Offsets("g", "a", 0, 1)], Commit);
}

pub fn ended(stage: &mut Stage) {
    let whole = [Send("a", 0, 1), Send("a", 1, 2), Offsets("g", "in", 0, 2), Send("b", 0, 1)];
    stage.transact("t", &whole, Commit);
    stage.transact("t", &[Send("a", 0, 1), Offsets("g", "in", 0, 3), Send("b", 0, 2)], Abort);
    stage.send("a", 0, 1, Process);
    stage.transact("t", &[Offsets("g", "in", 0, 4), Send("a", 1, 1), Send("a", 0, 1)], Commit);
}

/// Two at a time, in the same partitions, and records of no transaction between theirs.
pub fn interleaved(stage: &mut Stage) {
    let inner = |stage: &mut Stage| {
        stage.transact("u", &[Send("a", 0, 1), Offsets("h", "in", 0, 1), Send("b", 0, 1)], Commit);
    };
    let plain = |stage: &mut Stage| stage.send("a", 0, 2, Process);
    let steps = [Send("a", 0, 1), Beside(inner), Send("b", 0, 1), Beside(plain), Send("a", 1, 1)];
    stage.transact("t", &steps, Commit);
    let inner = |stage: &mut Stage| {
        stage.transact("u", &[Send("a", 0, 2), Send("a", 1, 1)], Abort);
    };
    let durable = |stage: &mut Stage| stage.send("a", 0, 1, Power);
    stage.transact(
        "t",
        &[Send("a", 0, 1), Beside(inner), Send("b", 0, 1), Beside(durable)],
        Commit,
    );
}

/// Too late, fenced, aborted by an operator.
pub fn lost(stage: &mut Stage) {
    stage.transact("t", &[Send("a", 0, 1), Offsets("g", "in", 0, 2), Send("b", 0, 1)], TimeOut);
    stage.send("a", 0, 1, Power);
    let next = |stage: &mut Stage| stage.transact("t", &[Send("b", 0, 1)], Commit);
    stage.transact("t", &[Send("a", 0, 1), Beside(next)], Lost);
    stage.transact("u", &[Send("a", 1, 1), Beside(|stage| stage.abort_for("u"))], Lost);
    stage.transact("u", &[Send("a", 1, 1), Offsets("g", "in", 0, 3), Send("a", 0, 1)], Commit);
}

/// Over several segments, with recovery points and deleted records: what was aborted is in files.
pub fn rolled(stage: &mut Stage) {
    for _ in 0..2 {
        stage.transact("t", &[Send("a", 0, 2), Send("b", 0, 1)], Commit);
        stage.transact("t", &[Send("a", 0, 2)], Abort);
        stage.wait(31 * SECOND);
    }
    stage.delete_records("a", 0, 5);
    let many = |stage: &mut Stage| {
        stage.send("a", 0, 4, Process);
        stage.flush();
    };
    stage.transact("u", &[Send("a", 0, 1), Beside(many), Send("a", 0, 1)], Abort);
    stage.transact("u", &[Send("a", 0, 1), Beside(many), Send("b", 0, 1)], Commit);
    stage.close();
}

/// The store is closed and opened while they are open.
pub fn left_open(stage: &mut Stage) {
    let reopen = |stage: &mut Stage| stage.reopen();
    let steps = [Send("a", 0, 1), Offsets("g", "in", 0, 2), Send("b", 0, 1), Beside(reopen)];
    stage.transact("t", &steps, Lost);
    stage.transact("t", &[Send("a", 0, 1), Offsets("g", "in", 0, 2)], Commit);
    stage.transact("u", &[Send("a", 1, 1), Beside(reopen)], Lost);
    stage.send("a", 1, 1, Process);
    stage.close();
}

/// Their records are cut off a partition, and markers with them.
pub fn cut(stage: &mut Stage) {
    stage.transact("t", &[Send("a", 0, 1), Send("b", 0, 1)], Commit);
    stage.transact("t", &[Send("a", 0, 1)], Abort);
    stage.flush();
    stage.transact("t", &[Send("a", 0, 1), Offsets("g", "in", 0, 2), Send("b", 0, 1)], Commit);
    stage.transact("u", &[Send("a", 0, 3)], Abort);
    stage.truncate("a", 0, 4);
    stage.transact("t", &[Send("a", 0, 2), Send("a", 1, 1)], Commit);
    stage.truncate("a", 0, 3);
    stage.send("a", 0, 1, Power);
    stage.start_anew("a", 0, 30);
    stage.transact("u", &[Send("a", 0, 1), Send("b", 0, 1)], Commit);
}

/// Topics of few keys, compacted as soon as they can be.
pub fn to_compact(stage: &mut Stage) {
    stage.open();
    stage.create("in", 1, small());
    stage.create("b", 1, small());
    stage.create_compacted("c", 1);
    stage.send("in", 0, 2, Process);
    for _ in 0..2 {
        stage.transact("t", &[Send("c", 0, 1), Send("b", 0, 1)], Commit);
        stage.transact("u", &[Send("c", 0, 1)], Abort);
        stage.send("c", 0, 3, Process);
    }
    stage.flush();
}

pub fn compacted(stage: &mut Stage) {
    let idle = |stage: &mut Stage| (0..8).for_each(|_| stage.wait(Duration::from_millis(110)));
    idle(stage);
    stage.transact("t", &[Send("c", 0, 1), Offsets("g", "in", 0, 1), Send("b", 0, 1)], Commit);
    stage.transact("u", &[Send("c", 0, 1), Beside(idle), Send("c", 0, 1)], Abort);
    stage.send("c", 0, 3, Power);
    stage.wait(31 * SECOND);
    idle(stage);
    stage.reopen();
    stage.send("c", 0, 1, Process);
}
