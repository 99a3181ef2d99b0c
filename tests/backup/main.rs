//! Backups of a store in use, on real files: taken while producers, a consumer group, retention
//! and compaction run, opened beside their source, compared, judged by Kafka's own classes; and the
//! two left to go their own ways afterwards.
//!
//! What stops or fails in the middle is enumerated on the simulated disk, in `engine::tests`.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod links;
mod tasks;
mod unthrottled;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::budget::Budget;
use common::kafka_check::{kafka_check, skip};
use common::scratch::scratch;
use tidelog::{Offset, Record, Store, TopicConfig};

const PARTITIONS: u32 = 3;
const GROUP: &str = "billing";

fn config() -> TopicConfig {
    TopicConfig::new().partitions(PARTITIONS).segment_bytes(16 << 10)
}

/// What lies at an offset is known from the offset: a record in a wrong place shows.
fn value(topic: &str, partition: u32, offset: i64) -> String {
    format!("{topic}/{partition}#{offset:-<100}")
}

/// One writer a partition: appends to `first`, then the same number to `second`.
fn write(store: &Store, partition: u32, stop: &AtomicBool, written: &AtomicU64) {
    let producer = store.producer().build().expect("a producer");
    let topics = ["first", "second"].map(|topic| (topic, producer.topic(topic).expect("it")));
    for offset in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        for (topic, handle) in &topics {
            let value = value(topic, partition, offset);
            let receipt = handle.send_to(partition, Record::new(&value)).expect("a send");
            assert_eq!(receipt.offset().get(), offset);
        }
        written.fetch_add(1, Ordering::Relaxed);
        if offset % 4 == 0 {
            // enough to be in the middle of, and the less the longer it takes: all of it is judged
            std::thread::sleep(Duration::from_millis(1 + offset.unsigned_abs() / 1000));
        }
    }
}

fn consume(store: &Store, stop: &AtomicBool) {
    let consumer = store.consumer(GROUP).subscribe(["first", "second"]);
    let mut consumer = consumer.build().expect("a consumer");
    while !stop.load(Ordering::Relaxed) {
        if !consumer.poll(Duration::from_millis(5)).expect("a poll").is_empty() {
            consumer.commit().expect("a commit");
        }
    }
}

/// Retention by hand, deletion of records, maintenance, topics that come and go.
fn tend(store: &Store, stop: &AtomicBool) {
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        store.apply_retention().expect("retention");
        let passing = format!("passing-{round}");
        store.create_topic(&passing, TopicConfig::new()).expect("a topic");
        let producer = store.producer().build().expect("a producer");
        let topic = producer.topic(&passing).expect("it");
        topic.send(Record::new("short-lived")).expect("a send");
        store.delete_topic(&passing).expect("gone");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Start and end by topic and partition.
type Bounds = BTreeMap<(String, u32), (i64, i64)>;

fn bounds(store: &Store) -> Bounds {
    let mut bounds = Bounds::new();
    for name in ["first", "second"] {
        for partition in store.describe(name).expect("the topic").partitions() {
            let range = (partition.start_offset().get(), partition.end_offset().get());
            bounds.insert((name.to_owned(), partition.id().get()), range);
        }
    }
    bounds
}

/// Reads every record and holds it against what must be at its offset; nothing is missing.
fn check_records(store: &Store, bounds: &Bounds) {
    for ((topic, partition), (start, end)) in bounds {
        let reader = store.reader().assign([(topic.as_str(), *partition)]);
        let mut reader = reader.build().expect("a reader");
        let mut next = *start;
        while next < *end {
            for record in &reader.poll(Duration::from_secs(5)).expect("a poll") {
                assert_eq!(record.offset().get(), next, "{topic}-{partition}");
                let expected = value(topic, *partition, next);
                assert_eq!(record.value(), Some(expected.as_bytes()), "{topic}-{partition}");
                next += 1;
            }
        }
        assert_eq!(next, *end, "{topic}-{partition}");
    }
}

/// Opens a backup and holds it against the moment before and the moment after it was taken.
fn check_copy(path: &Path, source: &Store, before: &Bounds, after: &Bounds) {
    let copy = Store::open(path).expect("a store");
    let report = copy.open_report();
    assert!(report.was_closed_cleanly(), "{report:?}");
    assert!(report.failed_partitions().is_empty() && report.partitions().is_empty(), "{report:?}");
    assert_ne!(copy.id(), source.id());
    let at = bounds(&copy);
    for (place, (start, end)) in &at {
        assert!(before[place].0 <= *start && *start <= after[place].0, "{place:?}");
        assert!(before[place].1 <= *end && *end <= after[place].1, "{place:?}");
    }
    for partition in 0..PARTITIONS {
        let end = |topic: &str| at[&(topic.to_owned(), partition)].1;
        let (first, second) = (end("first"), end("second"));
        assert!(second == first || second + 1 == first, "an effect without its cause");
    }
    check_records(&copy, &at);
    let committed = copy.committed(GROUP).expect("the group");
    assert!(!committed.is_empty());
    for (topic, partition, offset) in committed {
        let end = at[&(topic.clone(), partition.get())].1;
        assert!(offset.offset().get() <= end, "{topic}-{partition}: {offset:?} beyond {end}");
    }
    for name in ["first", "second"] {
        let of = |store: &Store| store.describe(name).expect("the topic");
        let (ours, theirs) = (of(source), of(&copy));
        assert_eq!((ours.id(), ours.config()), (theirs.id(), theirs.config()));
    }
    for topic in copy.topics().expect("topics") {
        // one that was there for a moment is there whole
        assert!(topic.partitions().iter().all(|one| one.failure().is_none()), "{topic:?}");
    }
    let producer = copy.producer().build().expect("a producer");
    producer.topic("first").expect("it").send(Record::new("onward")).expect("a send");
    copy.close().expect("a close");
}

/// Every file below a directory with a hash of its bytes.
fn hashes(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut hashes = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            hashes.extend(self::hashes(&path));
        } else {
            let mut hasher = DefaultHasher::new();
            match std::fs::read(&path) {
                // one that was being made has got its name since
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.expect("a file").hash(&mut hasher),
            }
            hashes.insert(path, hasher.finish());
        }
    }
    hashes
}

/// A store in use, backed up `times` into directories below `copies`, by links where it can be.
fn under_load(data: &Path, copies: &Path, times: usize, links: bool) -> (Store, Vec<PathBuf>) {
    let store = Store::open(data).expect("a store");
    store.create_topic("first", config()).expect("a topic");
    store.create_topic("second", config().retention_bytes(40 << 10)).expect("a topic");
    let stop = AtomicBool::new(false);
    let written: Vec<_> = (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect();
    let mut made = Vec::new();
    std::thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        for (partition, written) in (0..PARTITIONS).zip(&written) {
            scope.spawn(move || write(store, partition, stop, written));
        }
        scope.spawn(move || consume(store, stop));
        scope.spawn(move || tend(store, stop));
        let ends = scope.spawn(|| {
            for round in 0..times {
                let goal = 300 * (round as u64 + 1);
                let has = |one: &AtomicU64| one.load(Ordering::Relaxed) >= goal;
                while !written.iter().all(has)
                    || store.committed(GROUP).map_or(true, |found| found.is_empty())
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                let path = copies.join(format!("copy-{round}"));
                let before = bounds(store);
                let builder = store.backup_builder(&path);
                let builder = if links { builder } else { builder.copies_only() };
                let report = builder.run().expect("a backup");
                let after = bounds(store);
                assert!(links || report.files_linked() == 0, "{report:?}");
                made.push((path, before, after, report));
            }
        });
        let ended = ends.join();
        stop.store(true, Ordering::Relaxed);
        ended.expect("the backups");
    });
    for (path, before, after, report) in &made {
        println!("{report:?}");
        check_copy(path, &store, before, after);
    }
    (store, made.into_iter().map(|(path, ..)| path).collect())
}

fn times() -> usize {
    match Budget::get() {
        Budget::Small => 2,
        Budget::Ci => 6,
        Budget::Deep => 60,
    }
}

fn accepted(roots: &[PathBuf], what: &str) {
    drop(kafka_check(roots, &[]).accepted(what));
}

fn shared_files(dir: &Path) -> usize {
    let links = |path: &PathBuf| std::fs::metadata(path).expect("a file").nlink();
    hashes(dir).keys().filter(|path| links(path) > 1).count()
}

#[test]
fn a_backup_under_load_shows_one_moment() {
    let mut judged = Vec::new();
    let mut kept = Vec::new();
    for links in [true, false] {
        let dir = scratch();
        let data = dir.path().join("data");
        let (store, made) = under_load(&data, &dir.path().join("copies"), times(), links);
        let last = made.last().expect("one");
        assert_eq!(shared_files(last) > 0, links);
        store.close().expect("a close");
        judged.extend([last.clone(), data]);
        kept.push(dir);
    }
    accepted(&judged, "backups under load, and their stores");
}

#[test]
fn a_backup_to_another_file_system_copies() {
    const WHAT: &str = "a backup to another file system";
    let shm = Path::new("/dev/shm");
    let dir = tempfile::tempdir().expect("a directory");
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev());
    let here = device(dir.path()).expect("its device");
    if !device(shm).is_ok_and(|there| there != here) {
        return skip(WHAT, "there is no other file system at /dev/shm");
    }
    let Ok(copies) = tempfile::tempdir_in(shm) else {
        return skip(WHAT, "/dev/shm cannot be written to");
    };
    let (store, made) = under_load(&dir.path().join("data"), copies.path(), 1, true);
    assert_eq!(shared_files(&made[0]), 0);
    store.close().expect("a close");
}

/// Writes to every partition, deletes records and a topic, closes; opens and closes again.
fn go_on(path: &Path) {
    let store = Store::open(path).expect("a store");
    let producer = store.producer().build().expect("a producer");
    let first = producer.topic("first").expect("it");
    for partition in 0..PARTITIONS {
        for _ in 0..400 {
            let value = "x".repeat(120);
            first.send_to(partition, Record::new(&value)).expect("a send");
        }
    }
    store.flush().expect("a flush");
    let end = store.describe("first").expect("it").partitions()[0].end_offset();
    store.delete_records_before("first", 0, Offset::new(end.get() - 1)).expect("a deletion");
    store.delete_topic("second").expect("gone");
    store.close().expect("a close");
    Store::open(path).expect("a store").close().expect("a close");
}

#[test]
fn a_backup_and_its_store_go_their_own_ways() {
    let dir = scratch();
    let data = dir.path().join("data");
    let (store, made) = under_load(&data, &dir.path().join("copies"), 1, true);
    store.close().expect("a close");
    assert!(shared_files(&made[0]) > 0);
    let copy = hashes(&made[0]);
    go_on(&data);
    assert!(hashes(&made[0]) == copy, "the store changed its backup");
    let source = hashes(&data);
    go_on(&made[0]);
    assert!(hashes(&data) == source, "the backup changed its store");
    accepted(&[data, made[0].clone()], "a store and its backup, gone on");
}

/// A restored tree of links (`cp -al`): every log file has two names, the last ones too.
#[test]
fn a_tree_of_links_is_written_without_harm_to_the_other() {
    let dir = scratch();
    let data = dir.path().join("data");
    let (store, made) = under_load(&data, &dir.path().join("copies"), 1, false);
    store.close().expect("a close");
    let twin = dir.path().join("twin");
    for path in hashes(&made[0]).keys() {
        let to = twin.join(path.strip_prefix(&made[0]).expect("below it"));
        std::fs::create_dir_all(to.parent().expect("a directory")).expect("it");
        if path.extension().is_some_and(|kind| kind == "log") {
            std::fs::hard_link(path, to).expect("a link");
        } else {
            std::fs::copy(path, to).map(drop).expect("a copy");
        }
    }
    let before = hashes(&made[0]);
    go_on(&twin);
    assert!(hashes(&made[0]) == before, "one name's writer changed the other's file");
}
