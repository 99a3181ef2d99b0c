//! What the hot paths cost in instructions, which no load of the machine can move: the places that
//! `.ci/instructions` counts under callgrind and compares with those that are allowed.
//!
//! Each path is a function of its own, found by its name, without a closure in it, whose name
//! would be another's. As a test each runs once and has its result looked at. One thread, a clock
//! that stands still, maps where the disk has them: every run takes the same way.

use std::path::Path;

use tidelog::disk::IoMode;
use tidelog::{
    Consumer, Log, ManualClock, Offset, Producer, Record, Store, Threads, Timestamp, TopicConfig,
    TopicProducer,
};

const RECORDS: u32 = 2_000;
const VALUE: [u8; 100] = [7; 100];
const LARGE: [u8; 1024] = [7; 1024];

fn open(dir: &Path) -> Store {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let builder = Store::builder(dir).io_mode(IoMode::Mapped).clock(clock);
    builder.threads(Threads::Host).open().expect("a store")
}

fn topic(store: &Store) -> (Producer, TopicProducer) {
    store.create_topic("t", TopicConfig::new()).expect("a new topic");
    let producer = store.producer().build().expect("a producer");
    let topic = producer.topic("t").expect("the topic");
    (producer, topic)
}

fn reader(store: &Store) -> Consumer {
    let reader = store.reader().assign([("t", 0)]).max_bytes(1 << 20);
    reader.max_records(usize::MAX).build().expect("a reader")
}

#[inline(never)]
fn path_append(topic: &TopicProducer) {
    for _ in 0..RECORDS {
        topic.send(Record::new(&VALUE)).expect("an append");
    }
}

#[inline(never)]
fn path_batch(topic: &TopicProducer, records: &[Record<'_>]) {
    for _ in 0..20 {
        topic.send_batch(records).expect("an append");
    }
}

#[inline(never)]
fn path_linger(producer: &Producer, topic: &TopicProducer) {
    for _ in 0..RECORDS {
        topic.enqueue(Record::new(&VALUE)).expect("room in the buffer");
    }
    producer.flush().expect("what lingers is appended");
}

#[inline(never)]
fn path_fetch(reader: &mut Consumer) -> usize {
    let mut bytes = 0;
    loop {
        let records = reader.try_poll().expect("a poll");
        if records.is_empty() {
            return bytes;
        }
        for record in &records {
            bytes += record.value().expect("a value").len();
        }
    }
}

#[inline(never)]
fn path_poll(reader: &mut Consumer) -> usize {
    let records = reader.try_poll().expect("a poll");
    records.iter().map(|record| record.value().expect("a value").len()).sum()
}

#[inline(never)]
fn path_seek(store: &Store, reader: &mut Consumer) -> usize {
    let mut records = 0;
    for number in 0..100_u32 {
        reader.seek("t", 0, Offset::from(number * 19 + 7)).expect("a seek");
        records += reader.try_poll().expect("a poll").len();
        let time = Timestamp::from_millis(1_700_000_000_000);
        store.offset_at("t", 0, time).expect("a lookup").expect("an offset");
    }
    records
}

#[inline(never)]
fn path_open(dir: &Path) -> Log {
    Log::open(dir).expect("a log that was left open")
}

#[test]
fn append() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let (producer, topic) = topic(&store);
    path_append(&topic);
    path_append(&topic);
    path_linger(&producer, &topic);
    let records: Vec<_> = (0..100).map(|_| Record::new(&LARGE)).collect();
    path_batch(&topic, &records);
    let end = store.partition("t", 0).and_then(|partition| partition.end_offset());
    assert_eq!(end.expect("it is open"), Offset::from(3 * RECORDS + 2_000));
}

#[test]
fn fetch() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let (_producer, topic) = topic(&store);
    path_append(&topic);
    let mut reader = reader(&store);
    assert_eq!(path_fetch(&mut reader), RECORDS as usize * VALUE.len());
    let records: Vec<_> = (0..100).map(|_| Record::new(&LARGE)).collect();
    path_batch(&topic, &records);
    assert_eq!(path_fetch(&mut reader), 2_000 * LARGE.len());
}

#[test]
fn poll() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let (_producer, topic) = topic(&store);
    let mut reader = reader(&store);
    for _ in 0..RECORDS {
        topic.send(Record::new(&VALUE)).expect("an append");
        assert_eq!(path_poll(&mut reader), VALUE.len());
    }
}

#[test]
fn seek() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let (_producer, topic) = topic(&store);
    path_append(&topic);
    let reader = store.reader().assign([("t", 0)]).max_records(1);
    assert_eq!(path_seek(&store, &mut reader.build().expect("a reader")), 100);
}

/// The files of a log that is still open are those of one that was killed.
#[test]
fn recovery() {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("killed-0"), dir.path().join("t-0"));
    let log = Log::open(&from).expect("a new log");
    for _ in 0..RECORDS {
        log.append(&[Record::new(&VALUE)]).expect("an append");
    }
    std::fs::create_dir(&to).expect("a new directory");
    for entry in std::fs::read_dir(&from).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
    assert_eq!(path_open(&to).end_offset(), Offset::from(RECORDS));
}
