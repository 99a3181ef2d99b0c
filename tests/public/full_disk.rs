//! A full disk: appends fail as retriable, reads go on, so do retention and deletions, the store
//! opens and closes, and appends resume once there is room, without reopening. Never a signal.
//!
//! On real file systems of a few megabytes, tmpfs and ext4, in processes of their own; the
//! simulated disk has the same in `engine::tests::full`.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::child::{self, Wrapper};
use crate::common::orders::*;
use tidelog::disk::IoMode;
use tidelog::{Durability, Error, Offset, Outcome, TopicConfig, WhenFull};

fn assert_full(error: &Error, dir: &Path) {
    assert!(error.is_full() && error.is_retriable(), "{error}");
    assert_eq!(error.outcome(), Outcome::NotWritten);
    assert!(error.path().is_some_and(|path| path.starts_with(dir)), "{error}");
}

/// Takes all the room that is left on the file system of `dir`.
fn fill_up(dir: &Path) -> std::path::PathBuf {
    use std::io::Write as _;
    let path = dir.join("filler");
    let mut file = File::options().create(true).append(true).open(&path).unwrap();
    for block in [1 << 20, 4096, 1] {
        let block = vec![7; block];
        while file.write_all(&block).is_ok() {}
    }
    path
}

fn open_on_a_full_disk(dir: &Path, mode: IoMode) {
    kept(builder(&dir.join("store"), mode), 2);
    let filler = fill_up(dir);
    assert_full(&builder(&dir.join("new"), mode).open().unwrap_err(), dir);
    // the store has space in reserve, enough to open and close on
    for round in 0..2 {
        let store = builder(&dir.join("store"), mode).open().unwrap();
        assert!(store.open_report().was_closed_cleanly(), "round {round}");
        assert_eq!(values(&store, 1).unwrap(), ["kept"]);
        store.close().unwrap();
        fill_up(dir);
    }
    fs::remove_file(filler).unwrap();
    let store = builder(&dir.join("store"), mode).open().unwrap();
    assert!(store.open_report().was_closed_cleanly());
    assert_eq!(values(&store, 1).unwrap(), ["kept"]);
    store.close().unwrap();
    builder(&dir.join("new"), mode).open().unwrap().close().unwrap();
}

fn append_on_a_full_disk(dir: &Path, mode: IoMode) {
    let store = builder(&dir.join("store"), mode).open().unwrap();
    let [first, second] = ["first", "second"].map(|name| dir.join(name));
    for filler in [&first, &second] {
        fs::write(filler, vec![1; 2 << 20]).unwrap();
    }
    let mut expected = values(&store, 0).unwrap();
    for round in 0..2 {
        let mut refused = Vec::new();
        for number in 0..40_000 {
            let size = if number % 50 == 0 { 100_000 } else { 900 }; // by position; through the map
            let value = format!("{round}-{number}-{}", "x".repeat(size));
            match send(&store, 0, &value, Durability::Process) {
                Ok(()) => expected.push(value),
                Err(error) => refused.push(error),
            }
            if refused.len() == 30 {
                break;
            }
        }
        assert_eq!(refused.len(), 30, "the disk is full");
        refused.iter().for_each(|error| assert_full(error, dir));
        assert!(values(&store, 0).unwrap() == expected, "reads go on");
        assert_eq!(values(&store, 1).unwrap(), ["kept"]);
        if round == 0 {
            fs::remove_file(&first).unwrap();
        }
    }
    fill_up(dir);
    let closed = store.close(); // the reserve may have gone already
    fs::remove_file(&second).unwrap();
    let store = builder(&dir.join("store"), mode).open().unwrap();
    assert_eq!(store.open_report().was_closed_cleanly(), closed.is_ok());
    assert!(values(&store, 0).unwrap() == expected);
    store.close().unwrap();
}

#[test]
fn a_full_file_system_is_a_retriable_error_and_never_a_signal() {
    const TEST: &str = "full_disk::a_full_file_system_is_a_retriable_error_and_never_a_signal";
    if let Some((part, dir)) = child::part() {
        let mode = MODES[usize::from(part == "positioned")];
        open_on_a_full_disk(&dir, mode);
        append_on_a_full_disk(&dir, mode);
        return child::done();
    }
    for part in ["mapped", "positioned"] {
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=8m none \"$D\"";
        child::run(TEST, part, dir.path(), &Wrapper::mounts(script, dir.path()));
    }
}

/// Fills the disk through the store itself, then works on it, and drains it again.
fn live_on_a_full_disk(dir: &Path, mode: IoMode) {
    let root = dir.join("store");
    let store = builder(&root, mode).open().unwrap();
    let config = TopicConfig::new().segment_bytes(256 << 10).file_delete_delay(Duration::ZERO);
    store.create_topic("orders", config.clone()).unwrap();
    store.create_topic("bounded", config.clone().max_bytes(1 << 20, WhenFull::DropOldest)).unwrap();
    store.create_topic("doomed", config).unwrap();
    let value = "x".repeat(3000);
    for _ in 0..300 {
        send_to(&store, "doomed", 0, &value, Durability::Process).unwrap();
        send_to(&store, "bounded", 0, &value, Durability::Process).unwrap();
    }
    let mut kept = 0;
    let mut refused = 0;
    while refused < 30 {
        match send(&store, 0, &value, Durability::Process) {
            Ok(()) => kept += 1,
            Err(error) => {
                assert_full(&error, dir);
                refused += 1;
            }
        }
    }
    fill_up(dir);
    assert_eq!(values(&store, 0).unwrap().len(), kept, "all of it can be read");
    store.flush().unwrap();
    let stats = store.stats();
    let bounded = stats.topics.iter().find(|topic| topic.name == "bounded").unwrap();
    assert!(bounded.bytes <= 1 << 20, "`max_bytes` holds meanwhile");
    // what removes records works, and what removes topics; then there is room again, in time
    let half = Offset::new(i64::try_from(kept / 2).unwrap());
    store.delete_records_before("orders", 0, half).unwrap();
    assert_eq!(store.partition("orders", 0).unwrap().start_offset().unwrap(), half);
    store.delete_topic("doomed").unwrap();
    store.apply_retention().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match send(&store, 0, "resumed", Durability::Power) {
            Ok(()) => break,
            Err(error) => assert_full(&error, dir),
        }
        assert!(Instant::now() < deadline, "appends resume without reopening");
        std::thread::sleep(Duration::from_millis(20));
    }
    let expected = values(&store, 0).unwrap();
    assert_eq!(expected.last().map(String::as_str), Some("resumed"));
    assert_eq!(expected.len(), kept - kept / 2 + 1);
    store.close().unwrap();
    fs::remove_file(dir.join("filler")).unwrap();
    let store = builder(&root, mode).open().unwrap();
    assert!(store.open_report().was_closed_cleanly());
    assert!(values(&store, 0).unwrap() == expected);
    assert!(store.describe("doomed").is_err());
    store.close().unwrap();
}

#[test]
fn a_full_tmpfs_is_lived_on() {
    const TEST: &str = "full_disk::a_full_tmpfs_is_lived_on";
    if let Some((part, dir)) = child::part() {
        live_on_a_full_disk(&dir, MODES[usize::from(part == "positioned")]);
        return child::done();
    }
    for part in ["mapped", "positioned"] {
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=12m none \"$D\"";
        child::run(TEST, part, dir.path(), &Wrapper::mounts(script, dir.path()));
    }
}

#[test]
fn a_full_ext4_is_lived_on() {
    const TEST: &str = "full_disk::a_full_ext4_is_lived_on";
    if let Some((part, dir)) = child::part() {
        live_on_a_full_disk(&dir, MODES[usize::from(part == "positioned")]);
        return child::done();
    }
    for part in ["mapped", "positioned"] {
        let dir = tempfile::tempdir().unwrap();
        let image = "mount -t tmpfs -o size=64m none \"$D\" && truncate -s 24M \"$D/image\"";
        let format = "mkfs.ext4 -q -F \"$D/image\" && mkdir \"$D/in\"";
        let script = format!("{image} && {format} && mount -o loop \"$D/image\" \"$D/in\"");
        let inside = dir.path().join("in");
        child::run(TEST, part, &inside, &Wrapper::mounts_as_root(&script, dir.path()));
    }
}
