//! The mixed load of one process: it opens the store, works for a few seconds and closes it, again
//! and again, and says of everything that returned what it promises. One that is not to be killed
//! lives so for a while, then in one life to its end. It looks at itself when the store is closed,
//! and again and again in that one life.
//!
//! A thread a partition appends; two members of a group read and compare, leave and join; one
//! commits by hand; one makes, alters and deletes topics and groups, applies retention and takes
//! backups.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::{
    BackgroundSync, Consumer, Durability, Journal, Offset, OffsetCommit, Record, Records, Store,
    TopicConfig, Verifier,
};

use crate::figures::{self, Phase};
use crate::promise::{JOURNAL, KEPT, PARTITIONS, PASSING, SEGMENT, STEADY, is_at_home, value};
use crate::time;

pub fn say(line: &str) {
    // nobody listens any more: the end is near
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

/// A failure is told, and ends what met it: the driver knows whether it was to be.
fn told<T>(what: &str, done: tidelog::Result<T>) -> Option<T> {
    done.inspect_err(|error| say(&format!("failed to {what}: {error:?}"))).ok()
}

fn steady() -> TopicConfig {
    let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(SEGMENT);
    config.retention_bytes(KEPT[1]).file_delete_delay(Duration::from_millis(50))
}

/// Short enough for many lives in a run, long enough to do something of everything.
pub fn longest_life() -> Duration {
    (time() / 75).min(Duration::from_secs(4))
}

/// Works until it is killed; with `lasting` in one life from then on.
pub fn work(root: &Path, lasting: Option<Duration>) {
    let (began, longest) = (Instant::now(), longest_life());
    let mut random = StdRng::seed_from_u64(u64::from(std::process::id()));
    for life in 0.. {
        let sync = BackgroundSync { bytes: Some(1 << 20), interval: Some(Duration::from_secs(1)) };
        let builder = Store::builder(root).journal(Journal::Bytes(JOURNAL)).background_sync(sync);
        let Some(store) = told("open", builder.open()) else { return };
        say("opened");
        for topic in STEADY.iter().filter(|topic| store.describe(topic).is_err()) {
            told("create", store.create_topic(topic, steady()));
        }
        let is_last = lasting.is_some_and(|lasting| began.elapsed() > lasting);
        let time = (!is_last).then(|| random.random_range(longest / 13..longest));
        live(&store, root, time);
        told("close", store.close());
        drop(store); // what was read through it may be held as long as it is
        if life > 0 {
            say(&figures::line(Phase::Rest, root));
        }
    }
}

/// One life between opening and closing; without a time it lasts.
fn live(store: &Store, root: &Path, time: Option<Duration>) {
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for topic in STEADY {
            for partition in 0..PARTITIONS {
                scope.spawn(move || write(store, topic, partition, stop));
            }
        }
        for member in 0..2 {
            scope.spawn(move || read_in_group(store, member, stop));
        }
        scope.spawn(move || commit(store, stop));
        scope.spawn(move || change(store, root, stop));
        match time {
            Some(time) => std::thread::sleep(time),
            None => look_at_work(root),
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// In the life that lasts; half of a run has some 150 looks.
pub fn look_every() -> Duration {
    (time() / 300).min(Duration::from_secs(1))
}

/// Looks at itself until it is killed.
pub fn look_at_work(root: &Path) {
    loop {
        std::thread::sleep(look_every());
        say(&figures::line(Phase::Work, root));
    }
}

fn word(topic: &str) -> Durability {
    if topic == "power" { Durability::Power } else { Durability::Process }
}

fn write(store: &Store, topic: &str, partition: u32, stop: &AtomicBool) {
    let producer = store.producer().durability(word(topic)).build().expect("a producer");
    let described = store.describe(topic).expect("the topic");
    let handle = producer.topic(topic).expect("the topic");
    let mut end = described.partitions()[partition as usize].end_offset().get();
    while !stop.load(Ordering::Relaxed) {
        let count = 1 + end % 3;
        let values: Vec<String> =
            (end..end + count).map(|at| value(topic, partition, at)).collect();
        let records: Vec<Record<'_>> = values.iter().map(Record::new).collect();
        let sent = handle.send_batch_to(partition, &records);
        let Some(receipt) = told("send", sent) else { return };
        assert_eq!(receipt.base_offset().get(), end, "{topic}-{partition}");
        end += count;
        say(&format!("sent {topic} {partition} {end}"));
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every record is the one that belongs there, and within a partition none is left out but by
/// retention.
pub fn compare(records: &Records, start: &dyn Fn(&str, u32) -> i64) {
    let mut next = std::collections::BTreeMap::new();
    for record in records {
        let (topic, at, offset) = (record.topic(), record.partition().get(), record.offset().get());
        assert!(is_at_home(topic, at, offset, record.value()), "{topic}-{at}: another at {offset}");
        let before = next.insert((topic, at), offset + 1).unwrap_or(offset);
        assert!(before == offset || start(topic, at) >= offset, "{topic}-{at}: {before}, {offset}");
    }
}

fn start_of(store: &Store, topic: &str, partition: u32) -> i64 {
    let described = store.describe(topic).expect("the topic");
    described.partitions()[partition as usize].start_offset().get()
}

fn member(store: &Store) -> Consumer {
    store.consumer("readers").subscribe(STEADY).max_records(200).build().expect("a member")
}

fn read_in_group(store: &Store, seed: u64, stop: &AtomicBool) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut consumer = member(store);
    while !stop.load(Ordering::Relaxed) {
        let polled = consumer.poll(Duration::from_millis(20));
        let Some(records) = told("poll", polled) else { return };
        compare(&records, &|topic, partition| start_of(store, topic, partition));
        if random.random_bool(0.3) {
            match consumer.commit() {
                Err(error) if error.is_fenced() => {} // another has it by now
                done => drop(told("commit", done)),
            }
        }
        if random.random_bool(0.02) {
            told("leave", consumer.close());
            consumer = member(store);
        }
    }
}

/// Commits rise, as durable as what they speak of.
fn commit(store: &Store, stop: &AtomicBool) {
    let places = STEADY.iter().flat_map(|topic| (0..PARTITIONS).map(move |at| (*topic, at)));
    let group = store.consumer("by-hand").assign(places.clone()).build();
    let mut group = group.expect("a consumer");
    let end = |topic: &str, at: u32| -> Option<Offset> {
        Some(store.describe(topic).ok()?.partitions()[at as usize].end_offset())
    };
    let mut turn = 0u64;
    while !stop.load(Ordering::Relaxed) {
        for (topic, at) in places.clone() {
            let Some(end) = end(topic, at) else { return };
            turn += 1;
            let metadata = format!("turn {turn} of process {}", std::process::id());
            let one = OffsetCommit::new(topic, at, end).metadata(&metadata);
            let done = group.commit_offsets_with(&[one], word(topic));
            let Some(()) = told("commit by hand", done) else { return };
            say(&format!("committed by-hand {topic} {at} {}", end.get()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What comes and goes.
fn change(store: &Store, root: &Path, stop: &AtomicBool) {
    let Some(topics) = told("list", store.topics()) else { return };
    for topic in topics.iter().filter(|topic| topic.name().starts_with(PASSING)) {
        told("delete", delete(store, topic.name()));
    }
    // a name is never used again
    static TURN: AtomicU64 = AtomicU64::new(0);
    loop {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("{PASSING}{}-{}", std::process::id(), turn);
        let Some(()) = told("change", pass(store, &name, turn)) else { return };
        if turn % 40 == 5 {
            let Some(()) = told("back up", back_up(store, root)) else { return };
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// A topic with a few records and a group of its own, which both go again; retention is applied.
fn pass(store: &Store, name: &str, turn: u64) -> tidelog::Result<()> {
    store.create_topic(name, TopicConfig::new().segment_bytes(4096))?;
    say(&format!("created {name}"));
    let topic = store.producer().build()?.topic(name)?;
    for _ in 0..30 {
        topic.send(Record::new(&"passing by ".repeat(20)))?;
    }
    let group = format!("group-{}", turn % 5);
    let mut consumer = store.consumer(&group).assign([(name, 0)]).build()?;
    assert!(!consumer.poll(Duration::from_secs(1))?.is_empty(), "what was sent is there");
    consumer.commit()?;
    consumer.close()?;
    let kept = KEPT[usize::try_from(turn % 2).expect("small")];
    store.alter_topic(STEADY[0], steady().retention_bytes(kept))?;
    store.apply_retention()?;
    store.delete_group(&group)?;
    delete(store, name)
}

fn delete(store: &Store, name: &str) -> tidelog::Result<()> {
    say(&format!("deleting {name}"));
    store.delete_topic(name)?;
    say(&format!("deleted {name}"));
    Ok(())
}

/// A backup under load is whole; it goes again.
fn back_up(store: &Store, root: &Path) -> tidelog::Result<()> {
    let backup = root.with_extension("backup");
    std::fs::remove_dir_all(&backup).unwrap_or_default();
    store.backup(&backup)?;
    let report = Verifier::new(&backup).run()?;
    if !report.is_clean() {
        say(&format!("failed to take a whole backup: {report:?}"));
    }
    say("verified backup");
    std::fs::remove_dir_all(&backup).unwrap_or_default();
    Ok(())
}
