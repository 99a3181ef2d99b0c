//! Dead letters through the public door: which records become some, what they say, what keeps them
//! waiting and what that costs others. `redrives` sends them back; `crashes` stops a program of all
//! this at every call to the disk and has calls fail, `lives` runs it at random over many lives;
//! `room` is about topics that have little of it.
//!
//! Some of the names are what users of RocketMQ report broken.

#[cfg(feature = "sim")]
mod crashes;
#[cfg(feature = "sim")]
mod lives;
mod redrives;
mod room;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{BackgroundSync, Durability, Threads, TopicConfig, WhenFull};
use crate::dead_letters::DeadLetter;
use crate::disk::{Disk, MemoryDisk};
use crate::error::ErrorKind;
use crate::ids::{Offset, PartitionId};
use crate::producer::TopicProducer;
use crate::record::{OwnedRecord, Record, Records};
use crate::share_consumer::{LeasedRecords, ShareConsumer, ShareConsumerBuilder};
use crate::store::{ShareGroupPartition, Store, StoreBuilder};
use crate::time::{ManualClock, Timestamp};
use crate::worker::JobOutcome;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A disk and a clock that outlive stores.
struct World {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
}

impl World {
    fn on(disk: Arc<dyn Disk>) -> World {
        World { disk, clock: ManualClock::new(START) }
    }

    fn builder(&self) -> StoreBuilder {
        let builder = Store::builder("/store").disk(self.disk.clone()).clock(self.clock.clone());
        builder.threads(Threads::Host).background_sync(BackgroundSync::OFF)
    }

    fn open(&self) -> Store {
        self.builder().open().unwrap()
    }

    /// Lets time pass, and the store do what is due then.
    fn pass(&self, store: &Store, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        tend(store);
    }
}

/// What the store's own threads would do.
fn tend(store: &Store) {
    for _ in 0..8 {
        store.run_due();
        store.run_maintenance();
    }
}

fn begin() -> (World, Store) {
    let world = World::on(Arc::new(MemoryDisk::new()));
    let store = world.open();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    (world, store)
}

fn producer(store: &Store, topic: &str) -> TopicProducer {
    store.producer().build().unwrap().topic(topic).unwrap().with_durability(Durability::Power)
}

fn send(store: &Store, values: &[&str]) {
    let jobs = producer(store, "jobs");
    values.iter().for_each(|value| drop(jobs.send(Record::new(value)).unwrap()));
}

fn builder(store: &Store) -> ShareConsumerBuilder {
    store.share_consumer("g").subscribe(["jobs"])
}

fn consumer(store: &Store) -> ShareConsumer {
    builder(store).build().unwrap()
}

fn poll(consumer: &mut ShareConsumer) -> LeasedRecords {
    consumer.try_poll().unwrap()
}

fn reject_all(consumer: &mut ShareConsumer) -> usize {
    let leased = poll(consumer);
    leased.iter().for_each(|record| consumer.reject(record).unwrap());
    leased.len()
}

fn all(store: &Store, topic: &str) -> Vec<Records> {
    let Ok(mut reader) = store.reader().subscribe([topic]).build() else { return Vec::new() };
    reader.read_to_end().map_or_else(|_| Vec::new(), |all| all.map(Result::unwrap).collect())
}

fn records(store: &Store, topic: &str) -> Vec<OwnedRecord> {
    all(store, topic).iter().flatten().map(|record| record.to_owned()).collect()
}

fn values(store: &Store, topic: &str) -> Vec<String> {
    let text = |record: &OwnedRecord| String::from_utf8(record.value().unwrap().to_vec()).unwrap();
    records(store, topic).iter().map(text).collect()
}

/// The texts of all letters.
fn errors(store: &Store, topic: &str) -> Vec<String> {
    let letters = all(store, topic);
    let letters = letters.iter().flatten().map(|record| DeadLetter::of(record).unwrap());
    letters.map(|letter| letter.error.unwrap().to_owned()).collect()
}

fn group(store: &Store) -> ShareGroupPartition {
    store.describe_share_group("g").unwrap().partitions[0].clone()
}

#[test]
fn a_dead_letter_has_all_the_record_had_and_says_where_from_and_why() {
    let (world, store) = begin();
    let sent = Record::new("v").key("k").header("trace", "1").null_header("flag");
    let at = Timestamp::from_millis(5_000);
    producer(&store, "jobs").send(Record::new("first")).unwrap();
    producer(&store, "jobs").send(sent.timestamp(at)).unwrap();
    let mut consumer = builder(&store).max_deliveries(2).build().unwrap();
    let leased = poll(&mut consumer);
    let leases: Vec<_> = leased.iter().map(|record| record.lease()).collect();
    consumer.ack(&leases[0]).unwrap();
    consumer.release_because(&leases[1], Duration::ZERO, "first try").unwrap();
    tend(&store);
    assert!(store.describe("g.dlq").is_err(), "it is made with the first letter");
    for record in &poll(&mut consumer) {
        consumer.release_because(record, Duration::from_secs(9), "second try").unwrap();
    }
    assert_eq!((group(&store).owed, group(&store).lag), (1, Some(1)));
    assert_eq!(group(&store).start, Offset::new(1), "it stays until it is a letter");
    world.pass(&store, 1);
    let letters = all(&store, "g.dlq");
    let record = letters[0].iter().next().unwrap();
    assert_eq!((record.key(), record.value()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(record.timestamp(), Some(at));
    let headers: Vec<_> = record.headers().map(|it| (it.name(), it.value())).take(2).collect();
    assert_eq!(headers, [("trace", Some(&b"1"[..])), ("flag", None)]);
    let letter = DeadLetter::of(record).unwrap();
    assert_eq!((letter.topic, letter.partition), ("jobs", Some(PartitionId::new(0))));
    assert_eq!(letter.topic_id, Some(store.describe("jobs").unwrap().id()));
    assert_eq!((letter.offset, letter.group), (Some(Offset::new(1)), Some("g")));
    assert_eq!((letter.attempts, letter.cause), (Some(2), Some("attempts")));
    assert_eq!((letter.error, letter.redriven), (Some("second try"), 0));
    assert!(letter.time.unwrap() >= START);
    let now = group(&store);
    assert_eq!((now.archived, now.dead_letters, now.owed, now.lag), (1, 1, 0, Some(0)));
    assert!(poll(&mut consumer).is_empty());
}

#[test]
fn what_nobody_answered_for_says_so() {
    let (world, store) = begin();
    send(&store, &["expires", "rejected"]);
    let mut consumer = builder(&store).max_deliveries(1).build().unwrap();
    let leased = poll(&mut consumer);
    let rejected = leased.iter().last().unwrap().lease();
    consumer.reject(&rejected).unwrap();
    consumer.reject(&rejected).unwrap(); // no harm
    let late = consumer.ack(&rejected).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::InvalidRecordState);
    world.pass(&store, 31);
    assert_eq!(values(&store, "g.dlq"), ["expires", "rejected"]);
    assert_eq!(errors(&store, "g.dlq"), ["handed out as often as it may", "rejected"]);
}

/// RocketMQ drops such messages without a word where a group has no retry queue.
#[test]
fn nothing_is_dropped_where_the_dead_letter_topic_is_gone() {
    let (world, store) = begin();
    send(&store, &["1", "2", "3"]);
    let mut consumer = builder(&store).max_records(1).build().unwrap();
    reject_all(&mut consumer);
    tend(&store);
    assert_eq!(values(&store, "g.dlq"), ["1"]);
    store.delete_topic("g.dlq").unwrap();
    reject_all(&mut consumer);
    world.pass(&store, 1);
    assert_eq!(values(&store, "g.dlq"), ["2"], "made again");
}

#[test]
fn without_dead_letters_records_are_archived_and_counted() {
    let (world, store) = begin();
    send(&store, &["1", "2"]);
    let build = || builder(&store).without_dead_letters().max_deliveries(1).build().unwrap();
    let mut consumer = build();
    let leased = poll(&mut consumer);
    consumer.reject(leased.iter().next().unwrap()).unwrap();
    world.pass(&store, 31);
    let now = group(&store);
    assert_eq!((now.archived, now.dead_letters, now.lag), (2, 0, Some(0)));
    assert!(store.describe("g.dlq").is_err());
}

#[test]
fn consumers_of_a_group_agree_on_the_topic_and_bad_ones_are_refused() {
    let (_, store) = begin();
    let kind = |builder: ShareConsumerBuilder| builder.build().unwrap_err().kind();
    let _first = consumer(&store);
    assert_eq!(kind(builder(&store).dead_letter_topic("x")), ErrorKind::InvalidArgument);
    assert_eq!(kind(builder(&store).without_dead_letters()), ErrorKind::InvalidArgument);
    drop(builder(&store).dead_letter_topic("g.dlq").build().unwrap()); // that is the default
    let other = || store.share_consumer("über").subscribe(["jobs"]);
    assert_eq!(kind(other()), ErrorKind::InvalidName);
    drop(other().dead_letter_topic("uber.dlq").build().unwrap());
    assert_eq!(kind(other().dead_letter_topic("")), ErrorKind::InvalidName);
    assert_eq!(kind(other().dead_letter_topic("jobs")), ErrorKind::InvalidArgument);
    assert_eq!(kind(other().dead_letter_topic("__share_group_state")), ErrorKind::InvalidArgument);
    assert_eq!(kind(other().without_dead_letters().max_deliveries(0)), ErrorKind::InvalidConfig);
}

#[test]
fn a_full_topic_keeps_them_waiting_and_nothing_is_lost() {
    let (world, store) = begin();
    let small = TopicConfig::new().max_bytes(1024, WhenFull::Fail);
    store.ensure_topic("g.dlq", small).unwrap();
    let large = "x".repeat(2_000);
    let jobs = producer(&store, "jobs");
    for (key, value) in [("a", large.as_str()), ("a", "behind"), ("b", "other")] {
        jobs.send(Record::new(value).key(key)).unwrap();
    }
    let mut consumer = builder(&store).ordered_by_key().build().unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(leased.len(), 2);
    consumer.reject_because(leased.iter().next().unwrap(), "why").unwrap();
    consumer.ack(leased.iter().last().unwrap()).unwrap();
    for _ in 0..3 {
        world.pass(&store, 31);
        assert!(poll(&mut consumer).is_empty(), "its key waits until it is safe");
        assert_eq!((group(&store).owed, group(&store).start), (1, Offset::ZERO));
    }
    store.alter_topic("g.dlq", TopicConfig::new()).unwrap();
    world.pass(&store, 31);
    assert_eq!(errors(&store, "g.dlq"), ["why"]);
    assert_eq!(poll(&mut consumer).len(), 1);
}

#[test]
fn one_that_its_topic_does_not_take_holds_up_no_other() {
    let (world, store) = begin();
    store.ensure_topic("g.dlq", TopicConfig::new().max_batch_bytes(1_024)).unwrap();
    let large = "x".repeat(2_000);
    send(&store, &[&large, "2", "3"]);
    let mut consumer = consumer(&store);
    reject_all(&mut consumer);
    world.pass(&store, 1);
    assert_eq!(values(&store, "g.dlq"), ["2", "3"]);
    assert_eq!((group(&store).owed, group(&store).dead_letters), (1, 2));
    store.alter_topic("g.dlq", TopicConfig::new()).unwrap();
    world.pass(&store, 31);
    assert_eq!(values(&store, "g.dlq"), ["2", "3", large.as_str()]);
    assert_eq!(group(&store).lag, Some(0));
}

#[test]
fn more_than_a_commit_takes_come_in_order() {
    let (_, store) = begin();
    let texts: Vec<String> = (0..2_300).map(|at| at.to_string()).collect();
    let texts: Vec<Record<'_>> = texts.iter().map(Record::new).collect();
    producer(&store, "jobs").send_batch(&texts).unwrap();
    let mut consumer = builder(&store).max_records(10_000).max_in_flight(10_000).build().unwrap();
    for record in &poll(&mut consumer) {
        if record.offset().get() % 7 != 3 {
            consumer.reject(record).unwrap();
        }
    }
    tend(&store);
    let letters = values(&store, "g.dlq");
    let expected = (0..2_300).filter(|at| at % 7 != 3).map(|at: i64| at.to_string());
    assert_eq!(letters, expected.collect::<Vec<_>>());
}

#[test]
fn what_was_owed_when_the_store_closed_waits_for_the_next_consumer() {
    let (world, store) = begin();
    send(&store, &["1", "2"]);
    let mut consumer = builder(&store).max_deliveries(9).build().unwrap();
    let leased = poll(&mut consumer);
    consumer.reject_because(leased.iter().next().unwrap(), "bad").unwrap();
    drop((consumer, leased));
    store.close().unwrap();
    let store = world.open();
    // nobody has said yet what becomes of it, whoever looks
    assert_eq!((group(&store).owed, group(&store).open), (1, 2));
    world.pass(&store, 60);
    assert_eq!((group(&store).owed, group(&store).archived), (1, 0));
    let mut consumer = builder(&store).max_deliveries(9).build().unwrap();
    tend(&store);
    assert_eq!(errors(&store, "g.dlq"), ["bad"]);
    assert_eq!(poll(&mut consumer).len(), 1);
}

#[test]
fn a_rejected_record_stays_rejected_whatever_settings_come() {
    let (world, store) = begin();
    let jobs = producer(&store, "jobs");
    for value in ["1", "2", "3"] {
        jobs.send(Record::new(value).key("k")).unwrap();
    }
    let mut consumer = consumer(&store);
    let leased = poll(&mut consumer);
    consumer.reject(leased.iter().nth(1).unwrap()).unwrap();
    drop((consumer, leased));
    store.close().unwrap();
    let store = world.open();
    let build = || builder(&store).ordered_by_key().max_deliveries(50).without_dead_letters();
    let mut consumer = build().build().unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        for record in &poll(&mut consumer) {
            seen.push(record.offset().get());
            consumer.ack(record).unwrap();
        }
    }
    assert_eq!((seen, group(&store).archived), (vec![0, 2], 1));
}

#[test]
fn of_a_group_or_a_topic_that_is_deleted_nothing_is_buried() {
    let (_, store) = begin();
    store.ensure_topic("more", TopicConfig::new()).unwrap();
    send(&store, &["1"]);
    producer(&store, "more").send(Record::new("2")).unwrap();
    let mut consumer = store.share_consumer("g").subscribe(["jobs", "more"]).build().unwrap();
    while reject_all(&mut consumer) > 0 {}
    store.delete_topic("more").unwrap();
    tend(&store);
    assert_eq!(values(&store, "g.dlq"), ["1"]);
    send(&store, &["3"]);
    let leased = poll(&mut consumer);
    let lease = leased.iter().next().unwrap().lease();
    consumer.reject(&lease).unwrap();
    drop((consumer, leased));
    store.delete_group("g").unwrap();
    tend(&store);
    assert_eq!((values(&store, "g.dlq"), lease.topic()), (vec!["1".to_owned()], "jobs"));
}

#[test]
fn a_group_that_is_moved_back_buries_again() {
    let (_, store) = begin();
    send(&store, &["1"]);
    let mut first = consumer(&store);
    reject_all(&mut first);
    tend(&store);
    drop(first);
    store.reset_share_group("g", "jobs", 0, Offset::ZERO, Durability::Power).unwrap();
    let mut second = consumer(&store);
    assert_eq!(reject_all(&mut second), 1);
    tend(&store);
    assert_eq!(values(&store, "g.dlq"), ["1", "1"]);
}

/// That a note is of no use any more is as durable as what is said of its records then.
#[cfg(feature = "sim")]
#[test]
fn what_a_group_has_come_back_to_is_there_after_a_power_cut() {
    let disk = crate::disk::SimDisk::new(1);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, &["1"]);
    let mut first = consumer(&store);
    reject_all(&mut first);
    tend(&store);
    assert_eq!(values(&store, "g.dlq"), ["1"]);
    drop(first);
    store.reset_share_group("g", "jobs", 0, Offset::ZERO, Durability::Power).unwrap();
    let mut second = consumer(&store);
    assert_eq!(poll(&mut second).len(), 1);
    second.flush().unwrap();
    let world = World::on(Arc::new(disk.crash(crate::disk::Crash::Nothing)));
    drop((second, store));
    let store = world.open();
    let mut third = consumer(&store);
    tend(&store);
    assert_eq!(poll(&mut third).len(), 1, "it was not done");
}

/// Its group reads only what is committed by now: there is no telling yet what it will be.
#[test]
fn what_was_rejected_in_an_open_transaction_waits_for_its_end() {
    for commits in [true, false] {
        let (world, store) = begin();
        let mut producer = store.producer().transactional("t").build().unwrap();
        let open = producer.begin().unwrap();
        open.topic("jobs").unwrap().send(Record::new("1")).unwrap();
        let mut first = builder(&store).read_uncommitted().build().unwrap();
        assert_eq!(reject_all(&mut first), 1);
        drop(first);
        let _second = consumer(&store);
        tend(&store);
        assert_eq!((values(&store, "g.dlq").len(), group(&store).owed), (0, 1));
        match commits {
            true => open.commit().unwrap(),
            false => open.abort().unwrap(),
        }
        world.pass(&store, 31);
        assert_eq!(values(&store, "g.dlq").len(), usize::from(commits));
        let now = group(&store);
        assert_eq!((now.owed, now.lost), (0, u64::from(!commits)));
    }
}

#[test]
fn records_that_retention_took_are_lost_and_counted_not_buried() {
    let (_, store) = begin();
    send(&store, &["1", "2"]);
    let mut consumer = consumer(&store);
    reject_all(&mut consumer);
    store.partition("jobs", 0).unwrap().delete_records_before(Offset::new(1)).unwrap();
    tend(&store);
    assert_eq!(values(&store, "g.dlq"), ["2"]);
    let now = group(&store);
    assert_eq!((now.lost, now.dead_letters, now.owed), (1, 1, 0));
}

#[test]
fn a_worker_s_last_error_is_in_the_letter_and_a_panic_s_text() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, &["panics", "fails", "rejected", "done"]);
    let worker = store.worker("g").topic("jobs").max_attempts(2).run(|job| {
        job.note_error("an error before");
        match job.record().value().unwrap() {
            b"panics" => std::panic::resume_unwind(Box::new("out of range".to_owned())),
            b"fails" => {
                job.note_error(format_args!("attempt {}", job.attempt()));
                JobOutcome::Retry
            }
            b"rejected" => JobOutcome::Reject,
            _ => JobOutcome::Done,
        }
    });
    let mut reader = store.consumer("post").subscribe(["g.dlq"]).build().unwrap();
    let mut said = Vec::new();
    while said.len() < 3 {
        for record in &reader.poll(Duration::from_secs(60)).unwrap() {
            let letter = DeadLetter::of(record).unwrap();
            said.push((letter.offset.unwrap().get(), letter.error.unwrap().to_owned()));
        }
    }
    worker.unwrap().stop().unwrap();
    said.sort();
    let said: Vec<&str> = said.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(said, ["the handler panicked: out of range", "attempt 2", "an error before"]);
}
