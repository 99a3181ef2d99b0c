//! Every scenario with its Nth call to the disk failing: typed errors, nothing lost, nothing that
//! was refused ever seen, and the store goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Engine, EngineOptions};
use super::crash::{SCENARIOS, cuts, disk, operations};
use super::history::{History, Promise, Step};
use super::suite::Suite;
use crate::config::Durability::{Power, Process};
use crate::config::{TopicConfig, WhenFull};
use crate::disk::{Crash, Disk as _, Fault, Operation, Plan, SimDisk};
use crate::error::{ErrorKind, Outcome};
use crate::ids::Offset;
use crate::seeds::{pick, seeds};
use crate::time::{ManualClock, Timestamp};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EMFILE: i32 = 24;
const EROFS: i32 = 30;

/// Goes on after each failure, as a host would; what fails says how.
pub(super) fn run_on(history: &mut History, steps: &[Step]) -> u64 {
    let mut failures = 0;
    let mut note = |done: crate::error::Result<()>| failures += u64::from(done.is_err());
    note(history.open());
    if history.engine.is_none() {
        note(history.open());
    }
    for step in steps {
        note(history.step(*step));
        if history.engine.is_none() && !matches!(step, Step::Close) {
            note(history.open());
        }
    }
    failures
}

fn fail_at(
    (name, steps): (&str, &[Step]),
    seed: u64,
    nth: u64,
    fault: Fault,
    suite: &Suite,
) -> u64 {
    let context = format!("{name}, seed {seed}, call {nth}, {fault:?}");
    let mut history = History::new(disk(seed));
    history.disk.fail(Plan::new(fault).nth(nth));
    let failures = run_on(&mut history, steps);
    history.disk.heal();
    if history.engine.is_none() {
        history.open().unwrap_or_else(|error| panic!("{context}: open: {error}"));
    }
    let failed = !history.engine().unwrap().open_report().failed_partitions().is_empty();
    if failed {
        history.engine = None; // the partition said why; the next open finds it well
        history.open().unwrap_or_else(|error| panic!("{context}: open: {error}"));
    }
    history.verify(Promise::Process, &format!("{context}, still open"));
    history.engine = None;
    history.disk = history.disk.kill();
    suite.state((name, nth), history.disk.image_hash());
    history.open().unwrap_or_else(|error| panic!("{context}: reopen: {error}"));
    history.verify(Promise::Process, &format!("{context}, killed"));
    failures
}

#[test]
fn any_call_may_fail_once_and_nothing_is_lost() {
    let suite = Suite::new("engine-faults");
    let faults = [ENOSPC, EIO, EMFILE, EROFS].map(Fault::Error);
    let faults = faults.into_iter().chain([
        Fault::ShortWrite(3),
        Fault::ShortRead(7),
        Fault::DoneError(EIO),
    ]);
    for fault in faults {
        for (name, steps) in SCENARIOS {
            for seed in seeds(2, 2, 50) {
                let total = operations(steps, seed);
                for nth in cuts(total, pick(20, 50, 100_000)) {
                    let felt = fail_at((name, steps), seed, nth, fault, &suite);
                    suite.control(felt); // the control: faults are felt
                }
            }
        }
    }
    suite.end();
}

#[test]
fn a_failed_sync_poisons_its_partition_alone() {
    let mut history = History::new(disk(0));
    history.open().unwrap();
    history.step(Step::Create("a", 2)).unwrap();
    history.append("a", 0, Process).unwrap();
    history.append("a", 1, Power).unwrap();
    history.disk.fail(Plan::new(Fault::Error(EIO)).on(Operation::Sync));
    let error = history.append("a", 0, Power).unwrap_err();
    assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
    assert!(!error.is_retriable());
    for durability in [Process, Power] {
        let error = history.append("a", 0, durability).unwrap_err();
        assert!(error.is_poisoned(), "{error}");
        assert_eq!(error.outcome(), Outcome::NotWritten);
    }
    let topic = history.engine().unwrap().topic("a").unwrap();
    let partition = topic.partitions()[0].clone();
    assert_eq!(partition.make_durable(Offset::new(1)).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(super::records(&partition).len(), 2, "reads go on");
    history.append("a", 1, Power).unwrap();
    let error = history.engine().unwrap().close().unwrap_err();
    assert!(error.is_poisoned(), "{error}");
    drop((topic, partition));
    history.engine = None;
    history.disk = history.disk.kill();
    history.open().unwrap();
    assert!(!history.engine().unwrap().open_report().was_closed_cleanly());
    history.verify(Promise::Process, "reopened");
    history.append("a", 0, Power).unwrap();
    history.engine = None;
    history.disk = history.disk.crash(Crash::Nothing);
    history.open().unwrap();
    history.verify(Promise::Power, "after a power cut");
}

#[test]
fn a_full_disk_is_a_retriable_error_and_appends_resume() {
    for seed in 0..2 {
        let mut history = History::new(disk(seed));
        history.open().unwrap();
        history.step(Step::Create("a", 1)).unwrap();
        history.append("a", 0, Process).unwrap();
        for operation in [Operation::Write, Operation::Allocate, Operation::Open] {
            history.disk.fail(Plan::new(Fault::Error(ENOSPC)).on(operation).for_ever());
            let error = (0..40).find_map(|_| history.append("a", 0, Process).err());
            history.disk.heal();
            if let Some(error) = error {
                assert!(error.is_full() && error.is_retriable(), "{operation:?}: {error}");
            }
            history.append("a", 0, Process).unwrap();
        }
        history.step(Step::Close).unwrap();
        history.step(Step::Reopen).unwrap();
        assert!(history.engine().unwrap().open_report().was_closed_cleanly());
        history.verify(Promise::Process, "after a full disk");
    }
}

#[test]
fn a_topic_whose_files_cannot_be_removed_is_deleted_all_the_same() {
    for operation in [Operation::Rename, Operation::SyncDir, Operation::RemoveFile, Operation::List]
    {
        let mut history = History::new(disk(0));
        history.open().unwrap();
        history.step(Step::Create("a", 2)).unwrap();
        history.append("a", 0, Power).unwrap();
        history.append("a", 1, Power).unwrap();
        history.disk.fail(Plan::new(Fault::Error(EIO)).on(operation).for_ever());
        history.step(Step::Delete("a")).unwrap();
        history.disk.heal();
        history.step(Step::Create("a", 1)).unwrap();
        history.verify(Promise::Process, "made again");
        history.append("a", 0, Power).unwrap();
        history.engine = None;
        history.disk = history.disk.crash(Crash::Random(3));
        history.open().unwrap();
        history.verify(Promise::Power, "reopened");
        let engine = history.engine().unwrap();
        assert!(engine.open_report().failed_partitions().is_empty());
        engine.add_partitions("a", 2).unwrap();
        history.append("a", 1, Power).unwrap();
        history.verify(Promise::Process, "grown");
    }
}

#[test]
fn a_topic_made_again_after_half_a_deletion_survives_a_power_cut() {
    for seed in 0..60 {
        let mut history = History::new(disk(0));
        history.open().unwrap();
        history.step(Step::Create("a", 2)).unwrap();
        history.append("a", 1, Process).unwrap();
        history.disk.fail(Plan::new(Fault::Error(ENOSPC)).on(Operation::RemoveFile));
        history.step(Step::Delete("a")).unwrap();
        history.step(Step::Create("a", 2)).unwrap();
        history.append("a", 1, Process).unwrap();
        history.engine = None;
        history.disk = history.disk.crash(Crash::Random(seed));
        history.open().unwrap();
        let failed = history.engine().unwrap().open_report().failed_partitions().to_vec();
        assert!(failed.is_empty(), "seed {seed}: {failed:?}");
        history.verify(Promise::Power, "reopened");
    }
}

#[test]
fn segments_whose_files_cannot_be_renamed_or_unlinked_are_gone_and_tried_again() {
    for operation in [Operation::Rename, Operation::RemoveFile] {
        let disk = SimDisk::new(0);
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let options = EngineOptions {
            clock: Arc::new(clock.clone()),
            ..super::options(Arc::new(disk.clone()))
        };
        let engine = Engine::open(options, Path::new("/store")).unwrap();
        let config = TopicConfig::new().segment_bytes(1024).max_bytes(1 << 20, WhenFull::Fail);
        let topic = super::create(&engine, "orders", config);
        let partition = topic.partitions()[0].clone();
        for _ in 0..12 {
            super::append(&partition, &"x".repeat(300), Process).unwrap();
        }
        let files = || {
            let entries = disk.list(Path::new("/store/orders-0")).unwrap();
            entries.iter().filter(|entry| entry.name.contains(".log")).count()
        };
        let before = files();
        engine.flush().unwrap(); // what comes now needs neither call but to drop segments
        disk.fail(Plan::new(Fault::Error(EIO)).on(operation).for_ever());
        engine.delete_records_before(&partition, Offset::new(9)).unwrap();
        assert_eq!(partition.offsets().unwrap().start, Offset::new(9));
        let log = partition.log().unwrap();
        assert_eq!(topic.budget().used(), log.size().0, "their bytes are given back");
        assert!(log.first_base().unwrap() > Offset::ZERO);
        for _ in 0..3 {
            clock.advance(Duration::from_secs(61));
            let next = engine.run_maintenance().expect("it is tried again");
            assert!(next > engine.clock().monotonic(), "and not at once");
        }
        assert_eq!(files(), before, "{operation:?}: nothing could be removed");
        disk.heal();
        clock.advance(Duration::from_secs(61));
        engine.run_maintenance();
        assert_eq!(files(), log.size().1, "{operation:?}");
        super::append(&partition, "goes on", Power).unwrap();
        engine.close().unwrap();
    }
}
