//! Commits of one group at the same time, on a disk whose sync can be held back: one sync is under
//! way, and the next one serves all that have been made meanwhile.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::config::{BackgroundSync, Threads, TopicConfig, WhenFull};
use crate::disk::{Fault, Operation, Plan, SimDisk};
use crate::engine::{Engine, EngineOptions, NewTopic, Topic};
use crate::time::{ManualClock, Timestamp};

/// As many as there are threads.
const PARTITIONS: u32 = 8;

fn store(disk: &SimDisk) -> (Arc<OffsetStore>, Arc<Topic>) {
    let options = EngineOptions {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(Timestamp::from_millis(0))),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    let config = TopicConfig::new().partitions(PARTITIONS);
    let new = NewTopic { name: "orders", config, internal: false };
    let topic = engine.create_topics(&[new]).unwrap().remove(0);
    (offsets, topic)
}

fn commit(offsets: &OffsetStore, topic: &Topic, id: u32, durability: Durability) -> Result<()> {
    let partition = topic.partition(PartitionId::new(id)).unwrap();
    let commit = Commit {
        partition: &partition,
        offset: Offset::ZERO,
        leader_epoch: None,
        metadata: "",
        mode: CommitMode::Forward,
    };
    offsets.commit("g", &[commit], durability)
}

fn is_committed(offsets: &OffsetStore, topic: &Topic, id: u32) -> bool {
    let partition = topic.partition(PartitionId::new(id)).unwrap();
    offsets.committed("g", &partition).unwrap().is_some()
}

/// Whether it comes to hold within a while.
fn comes_to(holds: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
    holds()
}

#[test]
fn commits_of_a_group_share_syncs() {
    let disk = SimDisk::new(1);
    let (offsets, topic) = store(&disk);
    let (offsets, topic) = (&*offsets, &*topic);
    commit(offsets, topic, 0, Durability::Power).unwrap(); // makes files and names
    let before = disk.syncs();
    disk.fail(Plan::new(Fault::Hang));
    thread::scope(|scope| {
        let first = scope.spawn(|| commit(offsets, topic, 0, Durability::Power));
        assert!(comes_to(|| disk.is_hanging()));
        let rest: Vec<_> = (1..PARTITIONS)
            .map(|id| scope.spawn(move || commit(offsets, topic, id, Durability::Power)))
            .collect();
        let made = comes_to(|| (1..PARTITIONS).all(|id| is_committed(offsets, topic, id)));
        let task = made.then(|| offsets.make_durable_later("g"));
        disk.heal();
        first.join().unwrap().unwrap();
        rest.into_iter().for_each(|commit| commit.join().unwrap().unwrap());
        assert!(made, "a commit waits for the sync of another one before it is made");
        pollster::block_on(task.unwrap()).unwrap();
    });
    assert_eq!(disk.syncs() - before, 2, "of eight threads and a task");
}

#[test]
fn a_failed_sync_leaves_a_commit_that_was_made() {
    let disk = SimDisk::new(1);
    let (offsets, topic) = store(&disk);
    commit(&offsets, &topic, 0, Durability::Power).unwrap();
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    let error = commit(&offsets, &topic, 1, Durability::Power).unwrap_err();
    assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
    assert!(is_committed(&offsets, &topic, 1));
    let error = commit(&offsets, &topic, 2, Durability::Power).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotWritten, "{error}");
    assert!(!is_committed(&offsets, &topic, 2));
}

/// The commit is made: whatever keeps its sync from being so much as begun.
#[test]
fn a_commit_whose_sync_is_not_begun_was_made_all_the_same() {
    let disk = SimDisk::new(1);
    let (offsets, topic) = store(&disk);
    commit(&offsets, &topic, 0, Durability::Process).unwrap();
    offsets.engine.close().unwrap();
    let error = pollster::block_on(offsets.make_durable_later("g")).unwrap_err();
    assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
}

/// Who takes a partition over asks whether a transaction is about to commit for it, in the turn of
/// the commits; another member's commit that waits for its sync is not in it any more.
#[test]
fn whoever_takes_a_partition_over_waits_for_no_sync_of_a_commit() {
    let disk = SimDisk::new(1);
    let (offsets, topic) = store(&disk);
    let (offsets, topic) = (&*offsets, &*topic);
    commit(offsets, topic, 0, Durability::Power).unwrap(); // makes files and names
    disk.fail(Plan::new(Fault::Hang));
    thread::scope(|scope| {
        let first = scope.spawn(|| commit(offsets, topic, 0, Durability::Power));
        assert!(comes_to(|| disk.is_hanging()));
        let next = topic.partition(PartitionId::new(1)).unwrap();
        let asked = scope.spawn(move || offsets.is_open("g", &next));
        let answered = comes_to(|| asked.is_finished());
        disk.heal();
        first.join().unwrap().unwrap();
        assert!(!asked.join().unwrap());
        assert!(answered, "it waits for the sync");
    });
}
