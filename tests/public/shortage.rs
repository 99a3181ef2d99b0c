//! What a machine may lack: the right to write, handles, room, a file system that is known, a
//! device that keeps its word. Each is a typed error with its place and outcome; the store goes on
//! serving what it held, and takes records again once the want is over.
//!
//! On real directories, in processes of their own; and on the simulated disk, for every machine.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::path::Path;

use crate::common::child::{self, Wrapper};
use crate::common::orders::*;
use tidelog::disk::IoMode;
#[cfg(feature = "sim")]
use tidelog::disk::{Fault, Operation, Plan, SimDisk};
use tidelog::{Durability, Error, ErrorKind, Outcome, Record, Result, Store, TopicConfig};

const EIO: i32 = 5;
const EACCES: i32 = 13;
const EMFILE: i32 = 24;
const EROFS: i32 = 30;

fn errno(error: &Error) -> Option<i32> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<std::io::Error>()?.raw_os_error()
}

/// A failure of the system's, with its place, that took nothing and gave nothing.
fn assert_refused(error: &Error, number: i32, below: &Path, retriable: bool) {
    assert_eq!((error.kind(), errno(error)), (ErrorKind::Io, Some(number)), "{error}");
    assert!(error.path().is_some_and(|path| path.starts_with(below)), "{error}");
    assert_eq!(error.outcome(), Outcome::NotWritten, "{error}");
    assert_eq!(error.is_retriable(), retriable, "{error}");
}

fn open_where_nothing_may_be_written(dir: &Path, number: i32) {
    for mode in MODES {
        for name in ["store", "empty", "missing"] {
            let error = builder(&dir.join(name), mode).open().unwrap_err();
            assert_refused(&error, number, dir, false);
        }
    }
    assert!(!dir.join("missing").exists());
    assert_eq!(fs::read_dir(dir.join("empty")).unwrap().count(), 0);
}

fn a_store_and_an_empty_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    kept(Store::builder(dir.path().join("store")), 1);
    dir
}

fn assert_as_it_was(dir: &Path) {
    let store = Store::open(dir.join("store")).unwrap();
    assert!(store.open_report().was_closed_cleanly());
    assert_eq!(values(&store, 0).unwrap(), ["kept"]);
    send(&store, 0, "more", Durability::Power).unwrap();
    store.close().unwrap();
}

#[test]
fn a_read_only_file_system_refuses_the_open_and_keeps_the_store() {
    const TEST: &str = "shortage::a_read_only_file_system_refuses_the_open_and_keeps_the_store";
    if let Some((_, dir)) = child::part() {
        open_where_nothing_may_be_written(&dir, EROFS);
        return child::done();
    }
    let dir = a_store_and_an_empty_directory();
    let script = "mount --bind \"$D\" \"$D\" && mount -o remount,bind,ro \"$D\"";
    child::run(TEST, "open", dir.path(), &Wrapper::mounts(script, dir.path()));
    assert_as_it_was(dir.path());
}

#[test]
fn a_directory_without_the_right_to_write_refuses_the_open_and_keeps_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    const TEST: &str =
        "shortage::a_directory_without_the_right_to_write_refuses_the_open_and_keeps_the_store";
    if let Some((_, dir)) = child::part() {
        open_where_nothing_may_be_written(&dir, EACCES);
        return child::done();
    }
    let dir = a_store_and_an_empty_directory();
    let allow = |mode| {
        for name in ["store", "empty", ""] {
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    allow(0o555);
    child::run(TEST, "open", dir.path(), &Wrapper::without_rights());
    allow(0o755);
    assert_as_it_was(dir.path());
}

/// Handles held by nobody of ours, until there are no more.
struct Hog(Vec<File>);

impl Hog {
    fn all() -> Self {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(48);
        setrlimit(Resource::Nofile, limit).unwrap();
        let mut hog = Hog(Vec::new());
        hog.take_the_rest();
        hog
    }

    fn take_the_rest(&mut self) {
        while let Ok(file) = File::open("/dev/null") {
            self.0.push(file);
        }
    }
}

/// A batch that says it is two gigabytes long costs no memory: an abort would take the host along.
#[test]
fn a_hostile_length_takes_no_memory() {
    const TEST: &str = "shortage::a_hostile_length_takes_no_memory";
    if let Some((_, dir)) = child::part() {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Data);
        limit.current = Some(512 << 20);
        setrlimit(Resource::Data, limit).unwrap();
        let mut much = Vec::<u8>::new();
        assert!(much.try_reserve_exact(1 << 30).is_err(), "the control: there is none");
        let store = Store::open(&dir).unwrap();
        let error = values(&store, 0).unwrap_err();
        assert!(error.is_corrupt() && error.position() == Some(0), "{error}");
        assert_eq!(values(&store, 1).unwrap(), ["kept"]);
        store.close().unwrap();
        return child::done();
    }
    let dir = tempfile::tempdir().unwrap();
    kept(Store::builder(dir.path()), 2);
    let path = dir.path().join("orders-0/00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&(i32::MAX - 100).to_be_bytes());
    fs::write(&path, bytes).unwrap();
    fs::remove_file(path.with_extension("digest")).unwrap(); // it would be believed, not the length
    child::run(TEST, "small", dir.path(), &Wrapper::none());
}

#[test]
fn an_open_without_handles_may_be_tried_again() {
    const TEST: &str = "shortage::an_open_without_handles_may_be_tried_again";
    let mode = |part: &str| MODES[usize::from(part == "positioned")];
    if let Some((part, dir)) = child::part() {
        let mut hog = Hog::all();
        let mut refused = 0;
        let store = loop {
            match builder(&dir, mode(&part)).open() {
                Ok(store) if store.open_report().failed_partitions().is_empty() => break store,
                Ok(store) => store.close().unwrap(), // it opened, and says which could not
                Err(error) => {
                    assert_refused(&error, EMFILE, &dir, true);
                    refused += 1;
                }
            }
            hog.0.pop().expect("with all handles free it opens");
        };
        assert!(refused > 0, "the control: there were no handles");
        drop(hog);
        for partition in 0..3 {
            send(&store, partition, "more", Durability::Power).unwrap();
            assert_eq!(values(&store, partition).unwrap(), ["kept", "more"]);
        }
        store.close().unwrap();
        return child::done();
    }
    for part in ["mapped", "positioned"] {
        let dir = tempfile::tempdir().unwrap();
        kept(builder(dir.path(), mode(part)), 3);
        child::run(TEST, part, dir.path(), &Wrapper::none());
    }
}

fn first_record(store: &Store, topic: &str) -> Result<()> {
    store.ensure_topic(topic, TopicConfig::new())?;
    let producer = store.producer().durability(Durability::Power).build()?;
    producer.topic(topic)?.send(Record::new("first")).map(drop)
}

/// Everything a store does, with no handle to be had: each call succeeds or may be made again.
fn work_without_handles(store: &Store, dir: &Path, expected: &mut [Vec<String>]) -> usize {
    let mut hog = Hog::all();
    let mut refused = 0;
    let mut round = 0;
    while refused < 20 && round < 200 {
        round += 1;
        for (partition, expected) in (0..).zip(&mut *expected) {
            for durability in [Durability::Process, Durability::Power] {
                hog.take_the_rest();
                let value = format!("{round}-{durability:?}");
                match send(store, partition, &value, durability) {
                    Ok(()) => expected.push(value),
                    Err(error) => {
                        assert_eq!(errno(&error), Some(EMFILE), "{error}");
                        assert!(error.path().is_some_and(|at| at.starts_with(dir)), "{error}");
                        match error.outcome() {
                            Outcome::NotWritten => assert!(error.is_retriable(), "{error}"),
                            Outcome::WrittenNotDurable => expected.push(value),
                            other => panic!("{other:?}: {error}"),
                        }
                        refused += 1;
                    }
                }
            }
            hog.take_the_rest();
            match values(store, partition) {
                Ok(values) => assert!(values == *expected),
                Err(error) => assert_refused(&error, EMFILE, dir, true),
            }
        }
        hog.take_the_rest();
        // the names of a new directory are synced through a handle of their own, which the hog
        // takes when it comes free
        if let Err(error) = first_record(store, &format!("topic-{round}")) {
            assert_eq!((error.kind(), errno(&error)), (ErrorKind::Io, Some(EMFILE)), "{error}");
            assert!(error.path().is_some_and(|at| at.starts_with(dir)), "{error}");
            refused += 1;
        }
        hog.take_the_rest();
        if let Err(error) = store.flush() {
            assert_eq!(errno(&error), Some(EMFILE), "{error}");
        }
    }
    refused
}

#[test]
fn work_without_handles_may_be_tried_again_and_goes_on_once_there_are_some() {
    const TEST: &str =
        "shortage::work_without_handles_may_be_tried_again_and_goes_on_once_there_are_some";
    let mode = |part: &str| MODES[usize::from(part == "positioned")];
    if let Some((part, dir)) = child::part() {
        let store = builder(&dir, mode(&part)).open().unwrap();
        let mut expected = vec![vec!["kept".to_owned()], vec!["kept".to_owned()], Vec::new()];
        store.add_partitions("orders", 3).unwrap();
        let refused = work_without_handles(&store, &dir, &mut expected);
        assert!(refused > 0, "the control: handles were missed");
        for (partition, expected) in (0..).zip(&mut expected) {
            send(&store, partition, "again", Durability::Power).unwrap();
            expected.push("again".to_owned());
            assert!(values(&store, partition).unwrap() == *expected, "{part} {partition}");
        }
        store.create_topic("parcels", TopicConfig::new()).unwrap();
        store.close().unwrap();
        let store = builder(&dir, mode(&part)).open().unwrap();
        assert!(store.open_report().was_closed_cleanly());
        for (partition, expected) in (0..).zip(&expected) {
            assert!(values(&store, partition).unwrap() == *expected, "{part} {partition}");
        }
        store.close().unwrap();
        return child::done();
    }
    for part in ["mapped", "positioned"] {
        let dir = tempfile::tempdir().unwrap();
        kept(builder(dir.path(), mode(part)), 2);
        child::run(TEST, part, dir.path(), &Wrapper::none());
    }
}

#[test]
fn an_unknown_file_system_is_written_by_position_and_one_without_files_refused() {
    const TEST: &str =
        "shortage::an_unknown_file_system_is_written_by_position_and_one_without_files_refused";
    let error = Store::open("/proc/self/store").unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Io, Outcome::NotWritten), "{error}");
    assert!(error.path().is_some_and(|path| path.starts_with("/proc")), "{error}");
    if let Some((_, dir)) = child::part() {
        kept(Store::builder(dir.join("store")), 2);
        let path = dir.join("store/orders-0/00000000000000000000.log");
        let store = Store::open(dir.join("store")).unwrap();
        send(&store, 0, "more", Durability::Power).unwrap();
        assert_eq!(values(&store, 0).unwrap(), ["kept", "more"]);
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(&*path.to_string_lossy()), "nothing is mapped here");
        store.close().unwrap();
        return child::done();
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t ramfs none \"$D\"";
    child::run(TEST, "ramfs", dir.path(), &Wrapper::mounts(script, dir.path()));
}

/// Partition 0 loses its second sync; everything else goes on, and so does it where it is reopened.
fn lose_a_sync(dir: &Path, mode: IoMode, reopened: bool) {
    let store = builder(dir, mode).open().unwrap();
    store.ensure_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    send(&store, 0, "safe", Durability::Power).unwrap();
    send(&store, 1, "safe", Durability::Power).unwrap();
    let error = send(&store, 0, "doubtful", Durability::Power).unwrap_err();
    assert_eq!(errno(&error), Some(EIO), "{error}");
    assert_eq!(error.outcome(), Outcome::WrittenNotDurable);
    assert!(!error.is_retriable());
    assert_eq!(error.partition().map(|(topic, at)| (topic, at.get())), Some(("orders", 0)));
    for durability in [Durability::Process, Durability::Power] {
        let error = send(&store, 0, "late", durability).unwrap_err();
        assert!(error.is_poisoned(), "{error}");
        assert_eq!(error.outcome(), Outcome::NotWritten);
    }
    assert_eq!(values(&store, 0).unwrap(), ["safe", "doubtful"], "reads go on");
    send(&store, 1, "others go on", Durability::Power).unwrap();
    if !reopened {
        assert!(store.close().unwrap_err().is_poisoned());
        return;
    }
    let partition = store.partition("orders", 0).unwrap();
    let report = partition.reopen().unwrap().expect("it was poisoned");
    assert!(report.damage().is_empty() && report.torn_tails().is_empty(), "{report:?}");
    assert_eq!(partition.durable_offset().unwrap(), partition.end_offset().unwrap());
    assert!(partition.reopen().unwrap().is_none());
    assert_eq!(values(&store, 0).unwrap(), ["safe", "doubtful"]);
    send(&store, 0, "back", Durability::Power).unwrap();
    store.close().unwrap();
}

#[test]
fn a_sync_that_fails_on_a_real_file_poisons_its_partition_alone() {
    const TEST: &str = "shortage::a_sync_that_fails_on_a_real_file_poisons_its_partition_alone";
    if let Some((part, dir)) = child::part() {
        let mode = MODES[usize::from(part.starts_with("positioned"))];
        lose_a_sync(&dir, mode, part.ends_with("reopened"));
        return child::done();
    }
    for part in ["mapped", "positioned", "mapped reopened", "positioned reopened"] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let file = root.join("orders-0/00000000000000000000.log");
        let wrapper = match part {
            // the third of all syncs of maps: after the first of each partition
            "mapped" | "mapped reopened" => Wrapper::fault("msync:error=EIO:when=3", None),
            _ => Wrapper::fault("fdatasync:error=EIO:when=2", Some(&file)),
        };
        if !child::run(TEST, part, &root, &wrapper) {
            continue;
        }
        let store = Store::open(&root).unwrap();
        let reopened = part.ends_with("reopened");
        assert_eq!(store.open_report().was_closed_cleanly(), reopened, "{part}");
        let expected =
            if reopened { &["safe", "doubtful", "back"][..] } else { &["safe", "doubtful"] };
        assert_eq!(values(&store, 0).unwrap(), expected, "{part}");
        assert_eq!(values(&store, 1).unwrap(), ["safe", "others go on"]);
        send(&store, 0, "well again", Durability::Power).unwrap();
        store.close().unwrap();
    }
}

#[cfg(feature = "sim")]
#[test]
fn opens_fail_typed_on_any_machine() {
    use std::sync::Arc;
    let calls = [
        (Operation::Lock, EROFS, false),
        (Operation::Lock, EACCES, false),
        (Operation::Open, EROFS, false),
        (Operation::Open, EACCES, false),
        (Operation::Write, EROFS, false),
        (Operation::Open, EMFILE, true),
        (Operation::Lock, EMFILE, true),
        (Operation::List, EMFILE, true),
    ];
    for (operation, number, retriable) in calls {
        let disk = SimDisk::new(1);
        let on = || Store::builder("/store").disk(Arc::new(disk.clone()));
        kept(on(), 2);
        disk.fail(Plan::new(Fault::Error(number)).on(operation).for_ever());
        let error = on().open().err();
        let error = error.unwrap_or_else(|| panic!("{operation:?} {number} was not felt"));
        assert_refused(&error, number, Path::new("/store"), retriable);
        disk.heal();
        let store = on().open().unwrap();
        assert!(store.open_report().was_closed_cleanly(), "{operation:?} {number}");
        assert_eq!(values(&store, 1).unwrap(), ["kept"]);
        store.close().unwrap();
    }
}
