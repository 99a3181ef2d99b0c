//! Full disks, failed syncs, torn tails and kills, one small story each.

use std::sync::Arc;

use tidelog::disk::{Crash, Disk as _, Fault, IoMode, Operation, Plan, SimDisk};
use tidelog::{Durability, Log, Offset, Outcome, Record, TopicConfig};

fn open(disk: &SimDisk) -> Log {
    let config = TopicConfig::new().segment_bytes(1 << 20);
    Log::builder("/orders-0").disk(Arc::new(disk.clone())).config(config).open().unwrap()
}

fn values(log: &Log) -> Vec<Vec<u8>> {
    let (mut found, mut next) = (Vec::new(), log.start_offset());
    while next < log.end_offset() {
        for record in &log.read(next, 1 << 20).unwrap() {
            found.push(record.value().unwrap().to_vec());
            next = Offset::new(record.offset().get() + 1);
        }
    }
    found
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let disk = SimDisk::new(1);
        disk.set_mode(mode);
        let log = open(&disk);
        disk.set_capacity(60_000);
        let mut kept = Vec::new();
        let error = loop {
            // small ones through the map, large ones by position
            let size = if kept.len() % 3 == 2 { 9000 } else { 700 };
            let value = vec![u8::try_from(kept.len() % 251).unwrap(); size];
            match log.append(&[Record::new(&value)]) {
                Ok(_) => kept.push(value),
                Err(error) => break error,
            }
            assert!(kept.len() < 100, "{mode:?}: more than there is room for");
        };
        assert!(error.is_full() && error.is_retriable(), "{error}");
        assert_eq!(error.outcome(), Outcome::NotWritten);
        assert_eq!(log.end_offset().get(), kept.len() as i64);
        assert!(values(&log) == kept, "{mode:?}: reads go on");
        disk.set_capacity(1 << 30);
        log.append(&[Record::new("room again")]).unwrap();
        kept.push(b"room again".to_vec());
        let after = disk.kill();
        drop(log);
        let log = open(&after);
        assert!(values(&log) == kept, "{mode:?}: and so does the next process");
    }
}

#[test]
fn the_first_failed_sync_ends_writing_and_nothing_is_believed_after_it() {
    let disk = SimDisk::new(1);
    let log = open(&disk);
    log.append_with(&[Record::new("safe")], Durability::Power).unwrap();
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    let error = log.append_with(&[Record::new("doubtful")], Durability::Power).unwrap_err();
    assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
    assert!(!error.is_retriable());
    let syncs = disk.syncs();
    assert!(log.append(&[Record::new("late")]).unwrap_err().is_poisoned());
    assert!(log.flush().unwrap_err().is_poisoned());
    assert!(log.close().is_err());
    assert_eq!(disk.syncs(), syncs, "no sync is tried again");
    drop(log);
    // the next open writes the doubtful bytes again before it vouches for them
    let log = open(&disk);
    assert_eq!(values(&log), [b"safe".to_vec(), b"doubtful".to_vec()]);
    log.flush().unwrap();
    let after = disk.crash(Crash::Nothing);
    drop(log);
    assert_eq!(values(&open(&after)), [b"safe".to_vec(), b"doubtful".to_vec()]);
}

#[test]
fn a_torn_tail_is_cut_once() {
    let disk = SimDisk::new(1);
    disk.set_mode(IoMode::Positioned);
    let file = "/orders-0/00000000000000000000.log".as_ref();
    let log = open(&disk);
    log.append_with(&[Record::new("kept")], Durability::Power).unwrap();
    let torn = disk.metadata(file).unwrap().unwrap().len;
    for value in ["torn", "whole, behind it"] {
        log.append_with(&[Record::new(value)], Durability::Power).unwrap();
    }
    let killed = disk.kill();
    drop(log);
    killed.corrupt(file, torn + 70, 1).unwrap();
    let log = open(&killed);
    assert_eq!(log.report().torn_tails().len(), 1);
    let after = killed.crash(Crash::Nothing);
    drop(log);
    let log = open(&after);
    assert!(!log.report().is_notable(), "it is back: {:?}", log.report());
    assert_eq!(values(&log), [b"kept".to_vec()]);
}

#[test]
fn a_kill_keeps_what_a_power_cut_may_take() {
    let disk = SimDisk::new(1);
    let log = open(&disk);
    log.append_with(&[Record::new("durable")], Durability::Power).unwrap();
    log.append(&[Record::new("written")]).unwrap();
    let killed = disk.kill();
    drop(log);
    let log = open(&killed);
    assert_eq!(values(&log), [b"durable".to_vec(), b"written".to_vec()]);
    assert!(!log.report().is_notable());
    let cut = killed.crash(Crash::Nothing);
    drop(log);
    assert_eq!(values(&open(&cut)), [b"durable".to_vec()]);
}

/// The epoch that the log is to go on with is recorded before anything else is done.
#[test]
fn a_truncation_whose_epoch_could_not_be_recorded_has_cut_nothing() {
    let disk = SimDisk::new(1);
    let log = open(&disk);
    log.append(&[Record::new("a")]).unwrap();
    log.append(&[Record::new("b")]).unwrap();
    disk.fail(Plan::new(Fault::Error(28)).on(Operation::Sync));
    let error = log.truncate_to(Offset::new(1)).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotWritten, "{error}");
    assert_eq!(log.append(&[Record::new("c")]).unwrap().first_offset(), Offset::new(2));
    assert_eq!(values(&log), ["a", "b", "c"].map(|value| value.as_bytes().to_vec()));
}
