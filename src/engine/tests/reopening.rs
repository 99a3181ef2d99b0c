//! A sync that failed, and the way back: the failure is remembered, fresh files take the place of
//! what no sync may vouch for, and a power cut anywhere on the way takes nothing promised.

use std::sync::Arc;

use super::super::{Engine, Partition};
use super::crash::disk;
use super::history::{History, Promise, Step};
use super::records;
use crate::config::Durability::{Power, Process};
use crate::disk::{Crash, Fault, Operation, Plan};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::seeds::pick;
use crate::wait::WaitSet;

const EIO: i32 = 5;

fn partition(engine: &Engine, id: usize) -> Arc<Partition> {
    engine.topic("a").unwrap().partitions()[id].clone()
}

/// Two partitions with durable records, then work on the first with a sync of this kind failing;
/// returns what failed.
fn poisoned(seed: u64, operation: Operation, nth: u64) -> (History, Option<Error>) {
    let mut history = History::new(disk(seed));
    history.open().unwrap();
    history.step(Step::Create("a", 2)).unwrap();
    history.append("a", 0, Power).unwrap();
    history.append("a", 1, Power).unwrap();
    for _ in 0..4 {
        history.append("a", 0, Process).unwrap();
    }
    history.disk.fail(Plan::new(Fault::Error(EIO)).on(operation).nth(nth));
    let steps = [Step::Append("a", 0, 9, Power), Step::Flush, Step::Append("a", 0, 9, Power)];
    let failed = steps.into_iter().find_map(|step| history.step(step).err());
    history.disk.heal();
    (history, failed)
}

fn reopen(history: &History) -> Result<bool> {
    let engine = history.engine()?;
    let partition = partition(&engine, 0);
    let was = partition.offsets()?;
    let reopened = engine.reopen(&partition)?;
    let is = partition.offsets()?;
    assert!(reopened.is_none() || is.recovery_point == is.end && is.end >= was.durable);
    Ok(reopened.is_some())
}

fn cut_and_verify(mut history: History, crash: Crash, context: &str) {
    history.engine = None;
    history.disk = history.disk.crash(crash);
    history.open().unwrap_or_else(|error| panic!("{context}: {error}"));
    history.verify(Promise::Power, context);
    history.append("a", 0, Power).unwrap_or_else(|error| panic!("{context}: {error}"));
    history.verify(Promise::Power, context);
}

#[test]
fn a_poisoned_partition_is_reopened_in_place_and_promises_again() {
    let mut reopened = 0;
    for seed in 0..2 {
        for (operation, nth) in
            (1..=12).flat_map(|nth| [(Operation::Sync, nth), (Operation::SyncDir, nth)])
        {
            let context = format!("seed {seed}, {operation:?} {nth}");
            let (mut history, Some(_)) = poisoned(seed, operation, nth) else { continue };
            let engine = history.engine().unwrap();
            let handle = partition(&engine, 0);
            let before = records(&handle);
            let set = WaitSet::new();
            let registration = handle.register(&set, 0, 0);
            set.arm(&registration);
            match reopen(&history) {
                Ok(true) => reopened += 1,
                Ok(false) => continue, // it was another file's sync
                Err(error) => {
                    assert!(error.is_poisoned(), "{context}: {error}"); // the state log's
                    continue;
                }
            }
            assert_eq!(records(&handle), before, "{context}");
            let mut told = Vec::new();
            set.drain_ready(&mut told);
            assert_eq!(told, [0], "{context}: who waits is told of the reopening");
            set.arm(&registration);
            history.append("a", 0, Process).unwrap();
            told.clear();
            set.drain_ready(&mut told);
            assert_eq!(told, [0], "{context}: who waited before is told of what is appended now");
            let before = records(&handle);
            history.append("a", 0, Power).unwrap();
            assert_eq!(records(&handle).len(), before.len() + 1, "{context}");
            history.append("a", 1, Power).unwrap();
            history.step(Step::Flush).unwrap();
            drop((engine, handle));
            cut_and_verify(history, Crash::Nothing, &context);
        }
    }
    assert!(reopened >= 10, "{reopened}");
}

#[test]
fn the_next_open_knows_of_a_failed_sync_whatever_the_cache_says() {
    for seed in 0..2 {
        let (mut history, failed) = poisoned(seed, Operation::Sync, 1);
        assert!(failed.is_some());
        history.engine = None; // its close fails: the partition is poisoned
        history.disk = history.disk.kill();
        history.open().unwrap();
        let engine = history.engine().unwrap();
        let offsets = partition(&engine, 0).offsets().unwrap();
        assert_eq!(offsets.durable, offsets.end, "it was put in fresh files at once");
        let offsets = partition(&engine, 1).offsets().unwrap();
        assert!(offsets.durable <= offsets.end);
        drop(engine);
        history.step(Step::Flush).unwrap();
        cut_and_verify(history, Crash::Nothing, "power cut after the next open");
    }
}

#[test]
fn a_power_cut_anywhere_in_a_reopen_takes_nothing_promised() {
    let (mut cuts, mut done) = (0, false);
    for n in (0..400).step_by(if pick(0, 1, 1) == 0 { 3 } else { 1 }) {
        if done {
            break;
        }
        for crash in [Crash::Nothing, Crash::Everything, Crash::Random(n)] {
            let (history, failed) = poisoned(n % 2, Operation::Sync, 1);
            assert!(failed.is_some());
            history.disk.cut_after(n);
            let reopened = reopen(&history);
            done |= reopened.is_ok() && !history.disk.is_cut();
            cut_and_verify(history, crash, &format!("cut after {n} calls, {crash:?}"));
            cuts += 1;
        }
    }
    assert!(done && cuts > 20, "{cuts} cuts reached the end: {done}");
}

#[test]
fn all_that_shared_a_failed_sync_fail_and_none_is_tried_again() {
    let (history, _) = poisoned(0, Operation::Len, 1_000_000);
    let engine = history.engine().unwrap();
    let partition = partition(&engine, 0);
    super::append(&partition, "x", Process).unwrap();
    let waiting = partition.flush_later();
    history.disk.fail(Plan::new(Fault::Error(EIO)).on(Operation::Sync));
    let before = history.disk.syncs();
    let led = super::append(&partition, "y", Power).unwrap_err();
    let rode = pollster::block_on(waiting).unwrap_err();
    for error in [&led, &rode] {
        assert_eq!(error.outcome(), crate::error::Outcome::WrittenNotDurable, "{error}");
        assert!(!error.is_retriable() && error.partition().is_some(), "{error}");
    }
    for _ in 0..3 {
        assert!(partition.flush().unwrap_err().is_poisoned());
        assert!(partition.make_durable(Offset::new(100)).unwrap_err().is_poisoned());
        engine.run_maintenance();
    }
    // its own that failed, and that of the state log, which remembers
    assert_eq!(history.disk.syncs() - before, 2);
}

#[test]
fn what_a_forgotten_failure_left_is_written_again_before_a_sync_vouches_for_it() {
    let mut history = History::new(disk(0));
    history.open().unwrap();
    history.step(Step::Create("a", 1)).unwrap();
    history.append("a", 0, Power).unwrap();
    history.append("a", 0, Process).unwrap();
    history.disk.fail(Plan::new(Fault::Error(EIO)).on(Operation::Sync));
    history.disk.fail(Plan::new(Fault::Error(EIO)).on(Operation::Write).for_ever());
    history.append("a", 0, Power).unwrap_err(); // and nothing can be recorded of it
    let killed = history.disk.kill();
    history.engine = None;
    history.disk = killed;
    history.open().unwrap();
    let before = records(&partition(&history.engine().unwrap(), 0));
    assert_eq!(before.len(), 3, "the cache has all of it");
    history.append("a", 0, Power).unwrap();
    history.disk = history.disk.crash(Crash::Nothing);
    history.engine = None;
    history.open().unwrap();
    let after = records(&partition(&history.engine().unwrap(), 0));
    assert_eq!(after[..3], before, "a promise covers what lies below it");
    assert_eq!(after.len(), 4);
}
