//! A disk that is full: what the engine goes on doing there, and that it resumes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Engine, EngineOptions};
use super::{append, create, options, values};
use crate::config::Durability::{Power, Process};
use crate::config::{BackgroundSync, TopicConfig, WhenFull};
use crate::disk::{Crash, Disk as _, Fault, IoMode, Operation, Plan, SimDisk};
use crate::error::{ErrorKind, Outcome};
use crate::ids::Offset;
use crate::time::{ManualClock, Timestamp};

const ROOT: &str = "/store";

/// Every want above the published end: what it is called, and whether it means a full disk.
const WANTS: [(Fault, ErrorKind); 6] = [
    (Fault::Error(28), ErrorKind::Full),  // ENOSPC
    (Fault::Error(122), ErrorKind::Full), // EDQUOT
    (Fault::Error(24), ErrorKind::Io),    // EMFILE
    (Fault::Error(4), ErrorKind::Io),     // EINTR
    (Fault::Error(27), ErrorKind::Io),    // EFBIG
    (Fault::ShortWrite(7), ErrorKind::Io),
];

fn disk(mode: IoMode) -> SimDisk {
    let disk = SimDisk::new(7);
    disk.set_mode(mode);
    disk
}

fn open(disk: &SimDisk, clock: &ManualClock) -> Arc<Engine> {
    let options = EngineOptions {
        clock: Arc::new(clock.clone()),
        background_sync: BackgroundSync::OFF,
        ..options(Arc::new(disk.clone()))
    };
    Engine::open(options, Path::new(ROOT)).unwrap()
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(1_700_000_000_000))
}

#[test]
fn a_want_above_the_published_end_is_retriable_and_poisons_nothing() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        for (fault, kind) in WANTS {
            for large in [false, true] {
                let context = format!("{mode:?} {fault:?} large {large}");
                let disk = disk(mode);
                let engine = open(&disk, &clock());
                let topic = create(&engine, "orders", TopicConfig::new().partitions(2));
                let [one, other] = [0, 1].map(|id| topic.partitions()[id].clone());
                let value = if large { "x".repeat(100_000) } else { "x".repeat(500) };
                append(&one, "first", Power).unwrap();
                append(&other, "first", Power).unwrap();
                let by_position = large || mode == IoMode::Positioned;
                let call = if by_position { Operation::Write } else { Operation::Allocate };
                // a write that was interrupted is made again: for ever, it would be so for ever
                let plan = match fault {
                    Fault::Error(4) => Plan::new(fault).on(call),
                    Fault::Error(_) => Plan::new(fault).on(call).for_ever(),
                    _ => Plan::new(fault).for_ever(),
                };
                disk.fail(plan);
                let mut failed = None;
                let mut taken = 1;
                for _ in 0..40 {
                    match append(&one, &value, Process) {
                        Ok(_) => taken += 1,
                        Err(error) => failed = Some(error),
                    }
                }
                if let Some(error) = &failed {
                    assert_eq!(error.kind(), kind, "{context}: {error}");
                    assert!(error.is_retriable(), "{context}: {error}");
                    assert_eq!(error.outcome(), Outcome::NotWritten, "{context}");
                } else {
                    let passes = matches!(fault, Fault::ShortWrite(_) | Fault::Error(4));
                    assert!(passes, "{context}: the fault was felt");
                }
                assert_eq!(values(&one).len(), taken, "{context}: reads go on");
                disk.heal();
                append(&one, "after", Power).unwrap_or_else(|error| panic!("{context}: {error}"));
                append(&other, "after", Power).unwrap();
                assert_eq!(values(&one).len(), taken + 1, "{context}");
                let bytes = one.log().unwrap().size().0;
                let raw = disk
                    .open(
                        Path::new("/store/orders-0/00000000000000000000.log"),
                        crate::disk::Access::Read,
                    )
                    .unwrap();
                let mut behind = vec![1; 1 << 20];
                let got = raw.read_at(&mut behind, bytes).unwrap();
                assert!(behind[..got].iter().all(|byte| *byte == 0), "{context}: zeros behind");
                engine.close().unwrap();
            }
        }
    }
}

/// A large append goes by position into a file whose next window is mapped.
#[test]
fn a_part_of_a_failed_append_is_taken_back() {
    let disk = disk(IoMode::Mapped);
    let engine = open(&disk, &clock());
    let partition = create(&engine, "orders", TopicConfig::new()).partitions()[0].clone();
    append(&partition, "first", Power).unwrap();
    disk.fail(Plan::new(Fault::ShortWrite(1000)).on(Operation::Write));
    disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).nth(2));
    let error = append(&partition, &"x".repeat(100_000), Process).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Full, Outcome::NotWritten));
    disk.heal();
    append(&partition, "after", Process).unwrap();
    let path = Path::new("/store/orders-0/00000000000000000000.log");
    let raw = disk.open(path, crate::disk::Access::Read).unwrap();
    let mut behind = vec![1; 1 << 20];
    let got = raw.read_at(&mut behind, partition.log().unwrap().size().0).unwrap();
    assert!(got > 0 && behind[..got].iter().all(|byte| *byte == 0), "zeros behind the end");
}

#[test]
fn a_part_of_a_fact_that_found_no_room_is_taken_back() {
    let disk = disk(IoMode::Mapped);
    let engine = open(&disk, &clock());
    create(&engine, "orders", TopicConfig::new());
    // at every try, of which each step of the reserve gives one
    for attempt in 0..10 {
        let short = Plan::new(Fault::ShortWrite(10)).on(Operation::Write);
        disk.fail(short.nth(1 + 2 * attempt));
        disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).nth(2 + 2 * attempt));
    }
    let error = engine.alter_topic("orders", TopicConfig::new().segment_bytes(4096)).unwrap_err();
    assert!(error.is_full(), "{error}");
    let killed = disk.kill();
    drop(engine);
    let engine = open(&killed, &clock());
    assert!(engine.open_report().notes().is_empty(), "{:?}", engine.open_report());
}

#[test]
fn a_full_disk_is_lived_on_and_left_without_reopening() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let disk = disk(mode);
        let clock = clock();
        let engine = open(&disk, &clock);
        let config = TopicConfig::new().segment_bytes(4096);
        let topic = create(&engine, "orders", config.clone().max_bytes(1 << 20, WhenFull::Fail));
        create(&engine, "doomed", config);
        let partition = topic.partitions()[0].clone();
        append(&engine.topic("doomed").unwrap().partitions()[0], "gone", Power).unwrap();
        let value = "x".repeat(700);
        for _ in 0..20 {
            append(&partition, &value, Process).unwrap();
        }
        engine.flush().unwrap();
        for _ in 0..7 {
            append(&partition, &value, Process).unwrap();
        }
        disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).for_ever());
        // there is no room for a write anywhere, so nothing that needs one can go on
        let error = engine.delete_topic("doomed").unwrap_err();
        assert!(error.is_full() && error.is_retriable(), "{error}");
        disk.heal();
        engine.run_maintenance(); // takes back the space in reserve, which that try let go
        let used: u64 = 400 << 10;
        disk.set_capacity(used);
        let mut count = partition.offsets().unwrap().end.get();
        let error = loop {
            match append(&partition, &value, Process) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
            assert!(count < 2_000, "{mode:?}: the disk is full at last");
        };
        assert!(error.is_full() && error.is_retriable(), "{error}");
        assert_eq!(topic.budget().used(), partition.log().unwrap().size().0, "{mode:?}");
        assert_eq!(values(&partition).len() as i64, count);
        engine.delete_records_before(&partition, Offset::new(count / 2)).unwrap();
        engine.delete_topic("doomed").unwrap();
        partition.flush().unwrap();
        clock.advance(Duration::from_secs(61));
        engine.run_maintenance();
        append(&partition, "resumed", Power).unwrap();
        assert_eq!(topic.budget().used(), partition.log().unwrap().size().0, "{mode:?}");
        drop((topic, partition));
        engine.close().unwrap();
        let engine = open(&disk, &clock);
        assert!(engine.open_report().was_closed_cleanly(), "{mode:?}");
        let partition = engine.topic("orders").unwrap().partitions()[0].clone();
        assert_eq!(values(&partition).len() as i64, count - count / 2 + 1);
        engine.close().unwrap();
    }
}

/// Whatever the reserve has gone to before: what lies on the disk can be called durable.
#[test]
fn what_was_written_is_made_durable_without_any_room() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let disk = disk(mode);
        let engine = open(&disk, &clock());
        let topic = create(&engine, "orders", TopicConfig::new().partitions(2));
        let [one, other] = [0, 1].map(|id| topic.partitions()[id].clone());
        append(&one, "first", Process).unwrap();
        append(&other, "second", Process).unwrap();
        disk.set_capacity(0);
        one.flush().unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        engine.flush().unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        disk.set_capacity(u64::MAX);
        let after = open(&disk.crash(Crash::Nothing), &clock());
        let topic = after.topic("orders").unwrap();
        assert_eq!(values(&topic.partitions()[0]), ["first"], "{mode:?}");
        assert_eq!(values(&topic.partitions()[1]), ["second"], "{mode:?}");
        after.close().unwrap();
    }
}
