//! Compaction of the store's own topics, through the public API: their size on disk follows the
//! state and not its history, commits and readers go on meanwhile, and Kafka accepts what is left.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::budget::Budget;
use crate::common::kafka_check::kafka_check;
use crate::common::scratch::scratch;
use tidelog::disk::IoMode;
use tidelog::{
    Consumer, ManualClock, Offset, OffsetCommit, Record, Store, StoreStats, Threads, Timestamp,
    TopicConfig, Verifier,
};

const OFFSETS: &str = "__consumer_offsets";
const PARTITIONS: u32 = 4;

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(1_700_000_000_000))
}

fn open(root: &Path, mode: IoMode, clock: &ManualClock) -> Store {
    let builder = Store::builder(root).io_mode(mode).clock(clock.clone());
    builder.threads(Threads::Host).open().expect("a root that opens")
}

/// A topic with records enough for offsets to be committed.
fn with_records(store: &Store, records: u32) {
    let config = TopicConfig::new().partitions(PARTITIONS);
    store.create_topic("orders", config).expect("a topic");
    let orders = store.producer().build().expect("a producer").topic("orders").expect("it");
    for number in 0..records * PARTITIONS {
        orders.send_to(number % PARTITIONS, Record::new("v")).expect("an append");
    }
}

fn groups(store: &Store, count: u32) -> Vec<Consumer> {
    let places = (0..PARTITIONS).map(|partition| ("orders", partition));
    let group = |number: u32| {
        let builder = store.consumer(format!("group-{number}"));
        builder.assign(places.clone()).build().expect("a consumer")
    };
    (0..count).map(group).collect()
}

fn commit(consumer: &mut Consumer, offset: u32) {
    let offset = Offset::from(offset);
    let commits: Vec<_> =
        (0..PARTITIONS).map(|partition| OffsetCommit::new("orders", partition, offset)).collect();
    consumer.commit_offsets(&commits).expect("a commit");
}

/// Lets the background do what is due, as its threads would, until it has long changed nothing.
fn run_all(store: &Store, clock: &ManualClock) {
    let (mut idle, mut before) = (0, u64::MAX);
    while idle < 50 {
        clock.advance(Duration::from_millis(100));
        store.run_maintenance();
        let now = compacted(&store.stats());
        idle = if now == before { idle + 1 } else { 0 };
        before = now;
    }
}

fn offsets_topic(stats: &StoreStats) -> &tidelog::TopicStats {
    stats.topics.iter().find(|topic| topic.name == OFFSETS).expect("the topic")
}

fn compacted(stats: &StoreStats) -> u64 {
    offsets_topic(stats).partitions.iter().map(|partition| partition.compactions).sum()
}

/// Bytes of all files of the offsets topic.
fn on_disk(root: &Path) -> u64 {
    let mut bytes = 0;
    for dir in std::fs::read_dir(root).expect("the root").filter_map(Result::ok) {
        if dir.file_name().to_string_lossy().starts_with(OFFSETS) {
            let files = std::fs::read_dir(dir.path()).expect("a partition").filter_map(Result::ok);
            bytes += files.map(|file| file.metadata().map_or(0, |file| file.len())).sum::<u64>();
        }
    }
    bytes
}

fn assert_committed(store: &Store, groups: u32, expected: u32) {
    for number in 0..groups {
        let committed = store.committed(&format!("group-{number}")).expect("its offsets");
        let offsets: Vec<_> = committed.iter().map(|(_, _, one)| one.offset()).collect();
        assert_eq!(offsets, [Offset::from(expected); PARTITIONS as usize], "group-{number}");
    }
}

#[test]
fn an_epoch_whose_first_records_compaction_took_is_no_finding() {
    let (clock, dir) = (clock(), scratch());
    let root = dir.path().join("store");
    let store = open(&root, IoMode::Positioned, &clock);
    with_records(&store, 10);
    let mut group = groups(&store, 1).remove(0);
    let metadata = "m".repeat(1000);
    for _ in 0..800 {
        let one = OffsetCommit::new("orders", 0, Offset::from(3)).metadata(&metadata);
        group.commit_offsets(&[one]).expect("a commit");
    }
    drop(group);
    run_all(&store, &clock);
    assert!(compacted(&store.stats()) > 0, "there was something to compact");
    let live = store.verifier().run().expect("it reads");
    store.close().expect("closed");
    let report = Verifier::new(&root).run().expect("it reads");
    assert!(live.is_clean() && report.is_clean(), "{live}\n{report}");
}

#[test]
fn many_commits_leave_a_few_mib_and_open_as_fast() {
    const GROUPS: u32 = 100;
    let per_group = u32::try_from(Budget::get().pick(1_000, 2_000, 50_000)).expect("small");
    let clock = clock();
    let dir = scratch();
    let root = dir.path().join("store");
    let store = open(&root, IoMode::Mapped, &clock);
    with_records(&store, per_group);
    let mut consumers = groups(&store, GROUPS);
    let appended_before = store.stats().appended_bytes;
    for offset in 1..=per_group {
        for consumer in &mut consumers {
            commit(consumer, offset);
        }
        clock.advance(Duration::from_millis(20));
        store.run_maintenance();
    }
    drop(consumers);
    run_all(&store, &clock);
    let stats = store.stats();
    let appended = stats.appended_bytes - appended_before;
    let used = offsets_topic(&stats).partitions.iter().filter(|one| one.bytes > 0).count() as u64;
    let (bytes, files) = (offsets_topic(&stats).bytes, on_disk(&root));
    assert!(compacted(&stats) > 0, "there was something to compact");
    assert!(bytes <= used * (2 << 20), "{bytes} bytes in {used} partitions");
    assert!(files <= used * (3 << 20), "{files} bytes of files in {used} partitions");
    assert!(appended > bytes, "{appended}");
    assert_committed(&store, GROUPS, per_group);
    store.close().expect("a clean close");
    let since = Instant::now();
    let store = open(&root, IoMode::Mapped, &clock);
    let opened = since.elapsed();
    assert_committed(&store, GROUPS, per_group);
    println!(
        "{} commits of {GROUPS} groups: {appended} bytes appended, {bytes} left in {used} \
         partitions, {files} on disk, {} compactions, opened again in {opened:?}",
        per_group * GROUPS,
        compacted(&stats),
    );
}

#[test]
fn kafka_accepts_what_is_left() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let clock = clock();
        let dir = scratch();
        let root = dir.path().join("store");
        for round in 0..2 {
            let store = open(&root, mode, &clock);
            if round == 0 {
                with_records(&store, 14_000);
                store.create_topic("gone", TopicConfig::new()).expect("a topic");
                let gone = store.producer().build().expect("a producer").topic("gone");
                gone.expect("the topic").send(Record::new("v")).expect("an append");
                let mut late = store.consumer("group-0").assign([("gone", 0)]).build();
                let commits = [OffsetCommit::new("gone", 0, Offset::from(1u32))];
                late.as_mut().expect("a consumer").commit_offsets(&commits).expect("a commit");
                drop(late);
                store.delete_topic("gone").expect("it was there"); // leaves a tombstone
            }
            let mut consumers = groups(&store, 2);
            let first = 1 + round * 7_000;
            for offset in first..first + 7_000 {
                consumers.iter_mut().for_each(|consumer| commit(consumer, offset));
            }
            drop(consumers);
            run_all(&store, &clock);
            assert!(compacted(&store.stats()) > 0, "{mode:?}, round {round}");
            assert_committed(&store, 2, first + 6_999);
            store.close().expect("a clean close");
            drop(
                kafka_check(std::slice::from_ref(&root), &[])
                    .accepted("kafka_accepts_what_is_left"),
            );
            clock.advance(Duration::from_secs(2 * 24 * 3600));
        }
    }
}

#[test]
fn the_stores_own_threads_compact_beside_commits() {
    let dir = scratch();
    let root = dir.path().join("store");
    let store = Store::builder(&root).open().expect("a root that opens");
    with_records(&store, 20_000);
    let mut consumers = groups(&store, 1);
    for offset in 1..=20_000 {
        commit(&mut consumers[0], offset);
        if offset > 10_000 && compacted(&store.stats()) > 0 {
            break;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while compacted(&store.stats()) == 0 {
        assert!(Instant::now() < deadline, "nobody compacts");
        std::thread::yield_now();
    }
    let last = store.committed("group-0").expect("its offsets")[0].2.offset();
    drop(consumers);
    store.close().expect("a clean close");
    let store = Store::open(&root).expect("it opens again");
    assert_eq!(store.committed("group-0").expect("its offsets")[0].2.offset(), last);
}
