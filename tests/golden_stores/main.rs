//! Stores of each format version, kept as this library wrote them (row 17 of
//! `docs/reliability.md`): each opens, holds what it held, takes more, and survives a stop anywhere
//! in all of that.
//!
//! `tests/golden/stores/` has the archives, with what they hold beside them. They are made by
//! `deeds`, with `TIDELOG_GOLDEN=make`; a format whose version is newer than that of every archive
//! fails `versions`, so no change of a format goes without a golden store.

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod contents;
#[cfg(feature = "sim")]
mod cuts;
mod deeds;
mod versions;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidelog::disk::{Disk, IoMode, RealDisk};
use tidelog::{
    BackgroundSync, Durability, Journal, Log, ManualClock, Offset, OffsetCommit, Record, Store,
    Threads, Timestamp, TopicConfig, Verifier,
};

use archive::Golden;
use common::budget::Budget;
use contents::{Than, check, of_log, of_store};

/// When the golden stores were written, by their clocks.
const BIRTH: i64 = 1_700_000_000_000;

/// A clock for those who open them.
fn later() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(BIRTH + 24 * 3_600_000))
}

fn small() -> TopicConfig {
    TopicConfig::new().segment_bytes(2048).index_interval_bytes(400)
}

fn open(root: &Path, disk: Arc<dyn Disk>, clock: &ManualClock) -> tidelog::Result<Store> {
    let builder = Store::builder(root).disk(disk).clock(clock.clone()).threads(Threads::Host);
    builder.background_sync(BackgroundSync::OFF).journal(Journal::Bytes(1 << 20)).open()
}

fn open_log(dir: &Path, disk: Arc<dyn Disk>, clock: &ManualClock) -> tidelog::Result<Log> {
    Log::builder(dir).config(small()).disk(disk).clock(Arc::new(clock.clone())).open()
}

/// Opens what lies there, compares, appends to each partition, commits, closes.
fn go_on(golden: &Golden, root: &Path, disk: Arc<dyn Disk>, held: Than) -> Result<(), String> {
    let clock = later();
    let told = |error: tidelog::Error| format!("I7, I8: {error}");
    if golden.is_log() {
        let log = open_log(root, disk, &clock).map_err(told)?;
        check(&golden.expected, &of_log(&log).map_err(told)?, held)?;
        log.append_with(&[Record::new("later")], Durability::Power).map_err(told)?;
        return log.close().map_err(told);
    }
    let store = open(root, disk, &clock).map_err(told)?;
    let report = store.open_report();
    if !report.failed_partitions().is_empty() {
        return Err(format!("I8: {:?}", report.failed_partitions()));
    }
    if let Some(damaged) = report.partitions().iter().find(|one| !one.damage().is_empty()) {
        return Err(format!("I10: {damaged:?}"));
    }
    check(&golden.expected, &of_store(&store).map_err(told)?, held)?;
    send_more(&store).map_err(told)?;
    clock.advance(Duration::from_secs(60));
    store.run_due();
    store.run_maintenance();
    check(&golden.expected, &of_store(&store).map_err(told)?, Than::More)?;
    store.close().map_err(told)
}

fn send_more(store: &Store) -> tidelog::Result<()> {
    let producer = store.producer().durability(Durability::Power).build()?;
    for topic in store.topics()?.iter().filter(|topic| !topic.is_internal()) {
        let (name, to) = (topic.name(), producer.topic(topic.name())?);
        for partition in topic.partitions() {
            to.send_to(partition.id(), Record::new("later"))?;
            let mut group = store.consumer("later").assign([(name, partition.id())]).build()?;
            let one = OffsetCommit::new(name, partition.id(), partition.end_offset());
            group.commit_offsets_with(&[one], Durability::Power)?;
        }
    }
    Ok(())
}

/// What a reader finds that may not write, beside nobody.
fn read_only(golden: &Golden, root: &Path, held: Than) -> Result<(), String> {
    let reading = Store::read_only(root).clock(later()).threads(Threads::Host).open();
    let found = reading.and_then(|reading| of_store(&reading));
    check(&golden.expected, &found.map_err(|error| format!("read-only: {error}"))?, held)
}

fn verified(root: &Path) -> Result<(), String> {
    let report = Verifier::new(root).run().map_err(|error| error.to_string())?;
    if report.is_clean() { Ok(()) } else { Err(format!("verify: {report}")) }
}

/// The whole life of a copy, on real files.
fn live(golden: &Golden, mode: IoMode) -> Result<(), String> {
    let (_held, root) = golden.unpack();
    if golden.is_closed() {
        verified(&root)?;
    }
    if !golden.is_log() {
        // what only the journal has is not there for a reader before the store was opened
        read_only(golden, &root, if golden.is_cut() { Than::Less } else { Than::Equal })?;
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(mode).map_err(|error| error.to_string())?);
    go_on(golden, &root, disk.clone(), Than::Equal)?;
    verified(&root)?;
    go_on(golden, &root, disk, Than::More)?;
    if !golden.is_log() {
        read_only(golden, &root, Than::More)?;
    }
    verified(&root)
}

#[test]
fn every_golden_store_opens_reads_equal_and_goes_on() {
    let all = archive::all();
    assert!(all.len() >= 4, "the golden stores are missing");
    for (number, golden) in all.iter().enumerate() {
        let modes = [IoMode::Mapped, IoMode::Positioned];
        let is_small = Budget::get() == Budget::Small; // then in one of the two
        for mode in if is_small { &modes[number % 2..][..1] } else { &modes[..] } {
            live(golden, *mode).unwrap_or_else(|why| panic!("{}, {mode:?}: {why}", golden.name));
        }
    }
}

/// The comparison notices a record that is another, one that is missing, and a commit.
#[test]
fn a_store_that_holds_something_else_is_noticed() {
    let all = archive::all();
    let golden = all.iter().find(|one| one.name.ends_with("-closed")).expect("it is there");
    let fine = check(&golden.expected, &golden.expected, Than::Equal);
    assert_eq!(fine, Ok(()));
    let differs = |change: &dyn Fn(&mut Value)| {
        let mut other = golden.expected.clone();
        change(&mut other);
        assert!(check(&golden.expected, &other, Than::More).is_err());
    };
    let partition = "/topics/orders/partitions/1";
    differs(&|other| drop(other.pointer_mut(&format!("{partition}/records/2/3")).unwrap().take()));
    differs(&|other| {
        let records = other.pointer_mut(&format!("{partition}/records")).unwrap();
        records.as_array_mut().unwrap().pop();
    });
    differs(&|other| drop(other.pointer_mut("/groups/audit/0/2").unwrap().take()));
    differs(&|other| drop(other.pointer_mut("/topics/orders/id").unwrap().take()));
}

#[test]
fn every_format_has_a_golden_store_of_its_version() {
    let kept = versions::newest_kept();
    let written = versions::written_now();
    let missing = versions::missing(&written, &kept);
    assert!(missing.is_empty(), "{}\n{}", missing.join("\n"), versions::ADVICE);
    // a format that is one version further would be noticed, each
    for format in written.keys() {
        let mut newer = written.clone();
        *newer.get_mut(format).expect("it is there") += 1;
        assert_eq!(versions::missing(&newer, &kept).len(), 1, "{format}");
    }
}

/// Makes the golden stores of this version anew where `TIDELOG_GOLDEN=make` asks for it.
#[test]
fn made_anew_where_that_is_asked_for() {
    if std::env::var("TIDELOG_GOLDEN").as_deref() != Ok("make") {
        return;
    }
    #[cfg(feature = "sim")]
    deeds::make_all();
    #[cfg(not(feature = "sim"))]
    panic!("{}", versions::ADVICE);
}

/// Where a golden store lies on the simulated disk.
#[cfg(feature = "sim")]
const ROOT: &str = "/orders-0";

/// How many records a store holds, of all partitions.
fn records(expected: &Value) -> usize {
    let topics = expected["topics"].as_object().expect("topics");
    let partitions = topics.values().flat_map(|topic| topic["partitions"].as_array().unwrap());
    partitions.map(|partition| partition["records"].as_array().unwrap().len()).sum()
}

#[test]
fn the_golden_stores_hold_what_is_worth_keeping() {
    for golden in archive::all() {
        assert!(records(&golden.expected) > 40, "{}", golden.name);
        let start = &golden.expected["topics"]["orders"]["partitions"][0]["start"];
        assert!(start.as_i64().is_some_and(|start| Offset::new(start) > Offset::ZERO));
    }
    let bytes = archive::bytes();
    assert!(bytes < 150 << 10, "{bytes} bytes of golden stores");
}
