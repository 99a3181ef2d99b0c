//! Compaction side by side with Kafka's cleaner, and a directory that goes from us to Kafka, which
//! appends and compacts, and back.
//!
//! Both get the same records with the same segments, transactions among them that commit or abort,
//! and clean what they may; what is left must be the same records at the same offsets. When a pass
//! is due is each side's own matter.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::IoMode;
use tidelog::{
    CleanupPolicy, Clock as _, ManualClock, Record, Store, Threads, Timestamp, TopicConfig,
    TransactionalProducer, Verifier,
};

use crate::common::budget::{for_each_seed, seeds};
use crate::common::scratch::{in_memory, scratch};
use crate::driver::Kafka;

const SUITE: &str = "kafka_roots";
const TOPIC: &str = "prices";
const START: i64 = 1_700_000_000_000;
const SETTINGS: &str = "segment.bytes=1500 cleanup.policy=compact min.cleanable.dirty.ratio=0.0 \
                        delete.retention.ms=3600000 segment.index.bytes=65536";

fn config() -> TopicConfig {
    let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact).segment_bytes(1_500);
    config.min_cleanable_dirty_ratio(0.0).delete_retention(Duration::from_secs(3_600))
}

fn open(root: &Path, clock: &ManualClock) -> Store {
    let builder = Store::builder(root).io_mode(IoMode::Positioned).clock(clock.clone());
    builder.threads(Threads::Host).open().expect("a root that opens")
}

/// Lets the background do what is due, until it has long changed nothing.
fn settle(store: &Store, clock: &ManualClock) {
    store.flush().expect("it syncs");
    for _ in 0..40 {
        clock.advance(Duration::from_millis(100));
        store.run_maintenance();
    }
}

/// Offset, timestamp, key and checksum of the value of all there is, as the driver prints it.
fn held(store: &Store) -> String {
    let mut consumer = store.reader().assign([(TOPIC, 0)]).build().expect("a reader");
    consumer.seek_to_beginning(TOPIC, 0).expect("it seeks");
    let mut texts = Vec::new();
    for records in consumer.read_to_end().expect("an end") {
        for record in &records.expect("it reads") {
            let key = String::from_utf8_lossy(record.key().expect("a key")).into_owned();
            let value = record.value().map(|value| format!("{:x}", crc32c::crc32c(value)));
            let (offset, time) = (record.offset(), record.timestamp().expect("one").as_millis());
            texts.push(format!("{offset}@{time}/{key}/{}", value.unwrap_or("-".to_owned())));
        }
    }
    texts.join(" ")
}

fn asked(kafka: &mut Kafka, line: &str) -> String {
    let said = kafka.ask(line);
    let said = said.strip_prefix("ok").unwrap_or_else(|| panic!("{line}: {said}"));
    said.split(" | ").next().expect("an answer").trim().to_owned()
}

/// Appends one record to both; a tombstone where there is no length.
fn put(store: &Store, kafka: &mut Kafka, clock: &ManualClock, key: u32, value: Option<String>) {
    let topic = store.producer().build().expect("a producer").topic(TOPIC).expect("the topic");
    let now = clock.wall();
    let record = value.as_ref().map_or_else(Record::tombstone, Record::new);
    let key = format!("k{key}");
    let receipt = topic.send(record.key(&key).timestamp(now)).expect("an append");
    let value = value.unwrap_or("-".to_owned());
    let (epoch, now) = (store.open_report().leader_epoch(), now.as_millis());
    let said = asked(kafka, &format!("append {epoch} none -1 -1 -1 plain {now}:{key}:{value}"));
    assert_eq!(said, format!("{0} {0}", receipt.offset()));
}

/// Appends a transaction to both, with records of nobody in between, and ends it either way.
fn transact(
    store: &Store,
    kafka: &mut Kafka,
    clock: &ManualClock,
    (producer, random, number): (&mut TransactionalProducer, &mut StdRng, &mut u32),
) {
    let transaction = producer.begin().expect("begun");
    let identity = transaction.identity();
    let (id, epoch) = (identity.id(), identity.epoch().get());
    let leader = store.open_report().leader_epoch();
    let topic = transaction.topic(TOPIC).expect("the topic");
    for _ in 0..random.random_range(1..6) {
        *number += 1;
        let (key, value) = (format!("k{}", random.random_range(0..5)), format!("of-{number}"));
        let now = clock.wall();
        let receipt = topic.send(Record::new(&value).key(&key).timestamp(now)).expect("sent");
        let sequence = receipt.sequence().expect("one").get();
        let record = format!("{}:{key}:{value}", now.as_millis());
        let line = format!("append {leader} none {id} {epoch} {sequence} txn {record}");
        assert_eq!(asked(kafka, &line), format!("{0} {0}", receipt.offset()));
        if random.random_bool(0.5) {
            let value = random.random_bool(0.8).then(|| format!("between-{number}"));
            put(store, kafka, clock, random.random_range(0..5), value);
        }
    }
    let commits = random.random_bool(0.6);
    match commits {
        true => transaction.commit().expect("committed"),
        false => transaction.abort().expect("aborted"),
    }
    let end = store.partition(TOPIC, 0).expect("there").end_offset().expect("an end").get();
    let (kind, now) = (if commits { "COMMIT" } else { "ABORT" }, clock.wall().as_millis());
    let line = format!("marker {leader} {id} {} {kind} {leader} {now}", epoch + 1);
    assert_eq!(asked(kafka, &line), format!("{0} {0}", end - 1));
}

fn compare(store: &Store, kafka: &mut Kafka, clock: &ManualClock) {
    settle(store, clock);
    asked(kafka, &format!("time {}", clock.wall().as_millis()));
    for _ in 0..3 {
        asked(kafka, "compact");
    }
    let (ours, kafkas) = (held(store), asked(kafka, "dump"));
    assert_eq!(ours.replace(' ', "\n"), kafkas.replace(' ', "\n"));
}

#[test]
fn compaction_leaves_what_kafkas_cleaner_leaves() {
    const TEST: &str = "compacting::compaction_leaves_what_kafkas_cleaner_leaves";
    let Some(kafka) = Kafka::start(TEST) else { return };
    let kafka = std::cell::RefCell::new(kafka);
    for_each_seed(SUITE, TEST, seeds(0, 4, 300), |seed| {
        let kafka = &mut *kafka.borrow_mut();
        let random = &mut StdRng::seed_from_u64(seed);
        let dir = in_memory();
        let clock = ManualClock::new(Timestamp::from_millis(START));
        let store = open(&dir.path().join("ours"), &clock);
        store.create_topic(TOPIC, config()).expect("a topic");
        asked(kafka, "isolation TXN_COMMITTED");
        asked(kafka, &format!("time {START}"));
        let kafkas = dir.path().join("kafka").join("prices-0");
        asked(kafka, &format!("open {} clean 0 0 {SETTINGS}", kafkas.display()));
        let keys = [3, 20, 200][random.random_range(0..3)];
        let transactions = [0.0, 0.1, 0.4][random.random_range(0..3)];
        let mut producer = store.producer().transactional("t").build().expect("a producer");
        let mut number = 0;
        for _ in 0..random.random_range(2..7) {
            for _ in 0..random.random_range(5..80) {
                if random.random_bool(transactions) {
                    let drawn = (&mut producer, &mut *random, &mut number);
                    transact(&store, kafka, &clock, drawn);
                }
                number += 1;
                let lives = random.random_bool(0.8);
                let value = lives.then(|| format!("value-{number}"));
                put(&store, kafka, &clock, random.random_range(0..keys), value);
            }
            clock.advance(Duration::from_secs([1, 1_000, 4_000][random.random_range(0..3)]));
            compare(&store, kafka, &clock);
        }
        asked(kafka, "close");
        drop(producer);
        store.close().expect("it closes");
    });
}

#[test]
fn a_directory_goes_to_kafka_and_comes_back_appended_and_compacted() {
    const TEST: &str = "compacting::a_directory_goes_to_kafka_and_comes_back";
    let Some(mut kafka) = Kafka::start(TEST) else { return };
    let dir = scratch();
    let root = dir.path().join("store");
    let clock = ManualClock::new(Timestamp::from_millis(START));
    let store = open(&root, &clock);
    store.create_topic(TOPIC, config()).expect("a topic");
    let topic = store.producer().build().expect("a producer").topic(TOPIC).expect("the topic");
    for number in 0..60_u32 {
        let (key, value) = (format!("k{}", number % 7), format!("ours-{number}"));
        topic.send(Record::new(&value).key(&key)).expect("an append");
    }
    let epoch = store.open_report().leader_epoch().get() + 5;
    let before = held(&store);
    store.close().expect("it closes");

    asked(&mut kafka, &format!("time {START}"));
    let place = root.join("prices-0");
    asked(&mut kafka, &format!("open {} clean 0 {} {SETTINGS}", place.display(), i64::MAX));
    assert_eq!(asked(&mut kafka, "dump"), before, "Kafka reads what we wrote");
    for number in 0..60_u32 {
        let record = format!("{START}:k{}:kafkas-{number}", number % 9);
        asked(&mut kafka, &format!("append {epoch} none -1 -1 -1 plain {record}"));
    }
    asked(&mut kafka, "compact");
    let left = asked(&mut kafka, "dump");
    assert!(left.len() < before.len(), "something was compacted: {left}");
    asked(&mut kafka, &format!("shutdown {}", root.display()));

    let report = Verifier::new(&root).run().expect("it reads");
    assert!(report.findings().is_empty(), "{report}");
    assert!(report.another_hand().is_some(), "{report}");
    assert!(!report.unvouched().is_empty(), "it says what it cannot vouch for: {report}");
    let store = open(&root, &clock);
    assert!(store.open_report().another_hand().is_some(), "{:?}", store.open_report());
    assert!(store.open_report().leader_epoch().get() > epoch, "no epoch is used twice");
    assert_eq!(held(&store), left, "we read what Kafka left");
    let topic = store.producer().build().expect("a producer").topic(TOPIC).expect("the topic");
    let receipt = topic.send(Record::new("ours again").key("k1")).expect("an append");
    assert_eq!(receipt.offset().get(), 120);
    settle(&store, &clock);
    store.close().expect("it closes");
    let report = Verifier::new(&root).run().expect("it reads");
    assert!(report.is_clean(), "{report}");
    drop(crate::common::kafka_check::kafka_check(&[root], &[]).accepted(TEST));
}

/// Kafka's cleaner leaves files without a byte between others. Once what lies around them is one
/// segment, such a file in the middle of it would hide from Kafka what lies behind.
#[test]
fn empty_segments_of_kafkas_go_with_what_lies_around_them() {
    let dir = scratch();
    let root = dir.path().join("store");
    let clock = ManualClock::new(Timestamp::from_millis(START));
    let store = open(&root, &clock);
    store.create_topic(TOPIC, config()).expect("a topic");
    let topic = store.producer().build().expect("a producer").topic(TOPIC).expect("the topic");
    for number in 0..120_u8 {
        topic.send(Record::new("a value").key(&[number % 5])).expect("an append");
    }
    store.close().expect("it closes");
    let place = root.join("prices-0");
    let logs = || {
        let entries = std::fs::read_dir(&place).expect("it is there").filter_map(Result::ok);
        let logs = entries.filter(|file| file.path().extension().is_some_and(|it| it == "log"));
        let mut logs: Vec<_> = logs.map(|file| file.path()).collect();
        logs.sort();
        logs
    };
    let before = logs();
    assert!(before.len() > 4, "{before:?}");
    for emptied in &before[1..3] {
        std::fs::write(emptied, b"").expect("what a cleaner leaves");
        std::fs::remove_file(emptied.with_extension("index")).expect("it is there");
        std::fs::remove_file(emptied.with_extension("timeindex")).expect("it is there");
    }
    std::fs::write(root.join(".kafka_cleanshutdown"), b"").expect("another hand's mark");

    let store = open(&root, &clock);
    assert!(store.open_report().another_hand().is_some());
    let topic = store.producer().build().expect("a producer").topic(TOPIC).expect("the topic");
    for _ in 0..3 {
        for number in 0..40_u32 {
            topic.send(Record::new("other").key(&number.to_be_bytes())).expect("an append");
        }
        settle(&store, &clock); // the first pass makes them small, a later one joins them
    }
    let stats = store.stats();
    let prices = stats.topics.iter().find(|topic| topic.name == TOPIC).expect("the topic");
    assert!(prices.partitions.iter().any(|partition| partition.compactions > 0));
    assert!(!before[1].exists() && !before[2].exists(), "{:?}", logs());
    store.close().expect("it closes");
    let report = Verifier::new(&root).run().expect("it reads");
    assert!(report.is_clean(), "{report}");
}
