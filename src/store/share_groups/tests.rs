//! Consumers of share groups through the public door: who is given what, and what time, restarts,
//! retention and other consumers do to that. `waiting` is about who is woken, `words` about words
//! in odd company, `filters` about groups that want some records only, `stops` about those that
//! stop at what they give up, `damage` about what cannot be read, `crashes` stops a program of
//! takes and acknowledgements at every call to the disk and has calls fail, `workers` runs
//! handlers.

#[cfg(feature = "sim")]
mod crashes;
mod damage;
mod filters;
mod stops;
mod waiting;
mod words;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{BackgroundSync, Durability, HoldCap, Threads, TopicConfig};
use crate::disk::{Disk, MemoryDisk};
use crate::error::ErrorKind;
use crate::group::GroupKind;
use crate::ids::Offset;
use crate::record::Record;
use crate::share::ShareStart;
use crate::share_consumer::{LeasedRecords, ShareConsumer, ShareConsumerBuilder};
use crate::store::Store;
use crate::time::{ManualClock, Timestamp};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A disk and a clock that outlive stores.
struct World {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
}

impl World {
    fn new() -> World {
        World::on(Arc::new(MemoryDisk::new()))
    }

    fn on(disk: Arc<dyn Disk>) -> World {
        World { disk, clock: ManualClock::new(START) }
    }

    fn open(&self) -> Store {
        let builder = Store::builder("/store").disk(self.disk.clone()).clock(self.clock.clone());
        builder.threads(Threads::Host).background_sync(BackgroundSync::OFF).open().unwrap()
    }

    fn pass(&self, store: &Store, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        store.run_due();
    }
}

fn store() -> (World, Store) {
    let world = World::new();
    let store = world.open();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    (world, store)
}

fn send(store: &Store, values: &[&str]) {
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    values.iter().for_each(|value| drop(jobs.send(Record::new(value)).unwrap()));
}

fn send_keyed(store: &Store, values: &[(&str, &str)]) {
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    values.iter().for_each(|(key, value)| drop(jobs.send(Record::new(value).key(key)).unwrap()));
}

fn builder(store: &Store) -> ShareConsumerBuilder {
    store.share_consumer("g").subscribe(["jobs"])
}

fn values(leased: &LeasedRecords) -> Vec<String> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    leased.iter().map(|record| text(record.value())).collect()
}

fn poll(consumer: &mut ShareConsumer) -> LeasedRecords {
    consumer.try_poll().unwrap()
}

#[test]
fn each_record_is_leased_to_one() {
    let (_, store) = store();
    send(&store, &["1", "2", "3", "4"]);
    let mut first = builder(&store).max_records(2).build().unwrap();
    let mut second = builder(&store).build().unwrap();
    let (a, b) = (poll(&mut first), poll(&mut second));
    assert_eq!(
        (values(&a), values(&b)),
        (vec!["1".into(), "2".into()], vec!["3".into(), "4".into()])
    );
    assert!(poll(&mut first).is_empty());
    first.ack_all(&a).unwrap();
    first.ack_all(&b).unwrap(); // a lease is a token: whoever has it settles it
    assert!(poll(&mut second).is_empty());
}

#[test]
fn a_lease_that_ends_brings_the_record_back() {
    let (world, store) = store();
    send(&store, &["1"]);
    let mut consumer = builder(&store).lease(Duration::from_secs(10)).build().unwrap();
    let first = poll(&mut consumer);
    world.pass(&store, 9);
    assert!(poll(&mut consumer).is_empty());
    world.pass(&store, 1);
    let second = poll(&mut consumer);
    assert_eq!(
        (values(&second), second.iter().next().unwrap().delivery_count()),
        (vec!["1".into()], 2)
    );
    for result in [consumer.ack_all(&first), consumer.release_all(&first)] {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.offset()),
            (ErrorKind::InvalidRecordState, Some(Offset::ZERO))
        );
        assert_eq!(error.partition().map(|(topic, _)| topic), Some("jobs"));
    }
    let record = second.iter().next().unwrap();
    consumer.extend(record, Duration::from_secs(60)).unwrap();
    world.pass(&store, 59);
    assert!(poll(&mut consumer).is_empty());
    consumer.ack(record).unwrap();
    consumer.ack(record).unwrap();
    assert_eq!(consumer.release(record).unwrap_err().kind(), ErrorKind::InvalidRecordState);
    world.pass(&store, 100);
    assert!(poll(&mut consumer).is_empty());
}

#[test]
fn a_batch_with_one_ended_lease_changes_nothing_and_each_answers_for_itself() {
    let (_, store) = store();
    send(&store, &["1", "2", "3"]);
    let mut consumer = builder(&store).build().unwrap();
    let leased = poll(&mut consumer);
    let leases: Vec<_> = leased.iter().map(|record| record.lease()).collect();
    consumer.release(&leases[1]).unwrap();
    assert!(consumer.ack_all(&leased).is_err());
    assert_eq!(store.describe_share_group("g").unwrap().partitions[0].leased, 2);
    let answers = consumer.ack_each(&leases).unwrap();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(values(&poll(&mut consumer)), ["2"]);
    let foreign = store.share_consumer("other").subscribe(["jobs"]).build().unwrap();
    assert_eq!(foreign.ack(&leases[1]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_wall_that_goes_back_makes_nothing_wait_longer() {
    let (world, store) = store();
    send(&store, &["1"]);
    let mut consumer = builder(&store).build().unwrap();
    let leased = poll(&mut consumer);
    consumer.release_after(leased.iter().next().unwrap(), Duration::from_secs(60)).unwrap();
    drop(consumer);
    store.close().unwrap();
    world.clock.set_wall(Timestamp::from_millis(START.as_millis() - 24 * 3_600_000));
    let store = world.open();
    let mut consumer = builder(&store).build().unwrap();
    world.pass(&store, 59);
    assert!(poll(&mut consumer).is_empty());
    world.pass(&store, 1);
    assert_eq!(poll(&mut consumer).len(), 1);
}

#[test]
fn a_record_is_given_up_after_its_last_delivery_and_counted() {
    let (world, store) = store();
    send(&store, &["1", "2"]);
    let mut consumer = builder(&store).without_dead_letters().max_deliveries(2).build().unwrap();
    for count in 1..=2 {
        let leased = poll(&mut consumer);
        assert_eq!((leased.len(), leased.iter().next().unwrap().delivery_count()), (2, count));
        world.pass(&store, 31);
    }
    assert!(poll(&mut consumer).is_empty());
    let group = store.describe_share_group("g").unwrap();
    assert_eq!((group.partitions[0].archived, group.partitions[0].lag), (2, Some(0)));
}

#[test]
fn a_key_waits_for_its_earlier_record_and_other_keys_go_on() {
    let (world, store) = store();
    send_keyed(&store, &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")]);
    send(&store, &["free"]);
    let mut consumer = builder(&store).ordered_by_key().build().unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(values(&leased), ["a1", "b1", "free"]);
    let leases: Vec<_> = leased.iter().map(|record| record.lease()).collect();
    consumer.release_after(&leases[0], Duration::from_secs(20)).unwrap();
    consumer.ack(&leases[1]).unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["b2"]);
    drop((consumer, leased, leases));
    store.close().unwrap();
    let store = world.open();
    let mut consumer = builder(&store).ordered_by_key().build().unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(values(&leased), ["b2", "free"], "keys are learnt again");
    world.pass(&store, 20);
    let leased = poll(&mut consumer);
    assert_eq!(values(&leased), ["a1"]);
    consumer.reject(leased.iter().next().unwrap()).unwrap();
    store.run_maintenance(); // its dead letter is made
    assert_eq!(values(&poll(&mut consumer)), ["a2"]);
}

#[test]
fn a_group_begins_where_it_was_told_to_and_once() {
    let (_, store) = store();
    send(&store, &["old"]);
    drop(builder(&store).start(ShareStart::Latest).build().unwrap());
    send(&store, &["new"]);
    let mut consumer = builder(&store).build().unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["new"]);
    let at = ShareStart::At(Timestamp::from_millis(0));
    let mut other = store.share_consumer("h").subscribe(["jobs"]).start(at).build().unwrap();
    assert_eq!(values(&poll(&mut other)), ["old", "new"]);
}

#[test]
fn what_a_transaction_aborts_is_not_handed_out_and_what_is_open_waits() {
    let (_, store) = store();
    let mut producer = store.producer().transactional("t").build().unwrap();
    let open = producer.begin().unwrap();
    open.topic("jobs").unwrap().send(Record::new("aborted")).unwrap();
    send(&store, &["plain"]);
    let mut consumer = builder(&store).build().unwrap();
    assert!(poll(&mut consumer).is_empty());
    open.abort().unwrap();
    let committed = producer.begin().unwrap();
    committed.topic("jobs").unwrap().send(Record::new("committed")).unwrap();
    committed.commit().unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(values(&leased), ["plain", "committed"]);
    consumer.ack_all(&leased).unwrap();
    let group = store.describe_share_group("g").unwrap();
    assert_eq!((group.partitions[0].lag, group.partitions[0].open), (Some(0), 0));
}

#[test]
fn limits_hold_and_a_group_agrees_on_its_settings() {
    let (_, store) = store();
    send(&store, &["1", "2", "3"]);
    let mut consumer = builder(&store).max_in_flight(2).build().unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(leased.len(), 2);
    assert!(poll(&mut consumer).is_empty());
    let refused = builder(&store).max_in_flight(3).build().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    consumer.ack_all(&leased).unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["3"]);
    for bad in [
        builder(&store).max_deliveries(0),
        builder(&store).max_in_flight(0),
        builder(&store).lease(Duration::from_secs(25 * 3600)),
        builder(&store).max_records(0),
    ] {
        assert_eq!(bad.build().unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
    let mut ordinary = store.consumer("ordinary").subscribe(["jobs"]).build().unwrap();
    ordinary.poll(Duration::ZERO).unwrap();
    let refused = store.share_consumer("ordinary").subscribe(["jobs"]).build().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let lease = consumer.try_poll().unwrap().iter().next().map(|record| record.lease());
    assert!(lease.is_none());
}

#[test]
fn a_consumer_that_goes_gives_up_what_it_holds() {
    let (_, store) = store();
    send(&store, &["1", "2"]);
    let mut first = builder(&store).build().unwrap();
    let mut second = builder(&store).build().unwrap();
    assert_eq!(poll(&mut first).len(), 2);
    drop(first);
    assert_eq!(values(&poll(&mut second)), ["1", "2"]);
}

#[test]
fn groups_are_listed_reset_and_deleted() {
    let (world, store) = store();
    send(&store, &["1", "2"]);
    let mut consumer = builder(&store).build().unwrap();
    let leased = poll(&mut consumer);
    consumer.ack_all(&leased).unwrap();
    let listed = store.groups().unwrap();
    assert_eq!(
        (listed[0].name.as_str(), listed[0].kind, listed[0].members),
        ("g", GroupKind::Share, 1)
    );
    let to = |store: &Store, at| {
        store.reset_share_group("g", "jobs", 0, Offset::new(at), Durability::Power)
    };
    assert_eq!(to(&store, 0).unwrap_err().kind(), ErrorKind::GroupNotEmpty);
    assert_eq!(store.delete_group("g").unwrap_err().kind(), ErrorKind::GroupNotEmpty);
    drop(consumer);
    assert_eq!(to(&store, 3).unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
    to(&store, 1).unwrap();
    store.close().unwrap();
    let store = world.open();
    let mut consumer = builder(&store).build().unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["2"]);
    drop(consumer);
    store.delete_group("g").unwrap();
    assert_eq!(store.describe_share_group("g").unwrap_err().kind(), ErrorKind::NotFound);
    store.close().unwrap();
    let store = world.open();
    assert!(store.groups().unwrap().is_empty());
    let mut consumer = builder(&store).build().unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["1", "2"]);
}

#[test]
fn a_topic_made_again_is_another_topic() {
    let (_, store) = store();
    send(&store, &["1"]);
    let mut consumer = builder(&store).build().unwrap();
    let leased = poll(&mut consumer);
    store.delete_topic("jobs").unwrap();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, &["again"]);
    assert_eq!(values(&poll(&mut consumer)), ["again"]);
    assert_eq!(consumer.ack_all(&leased).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn retention_keeps_what_is_owed_where_it_is_told_to_and_counts_it_elsewhere() {
    for holds in [false, true] {
        let world = World::new();
        let store = world.open();
        let mut config = TopicConfig::new().segment_bytes(1 << 14).retention_bytes(1);
        if holds {
            config = config.retain_for("g", HoldCap::bytes(1 << 30));
        }
        store.ensure_topic("jobs", config).unwrap();
        let mut consumer = builder(&store).build().unwrap();
        let large = "x".repeat(4_000);
        send(&store, &[large.as_str(); 20]);
        let leased = poll(&mut consumer);
        let first = leased.iter().next().unwrap().lease();
        store.apply_retention().unwrap();
        let start = store.partition("jobs", 0).unwrap().start_offset().unwrap();
        assert_eq!(start == Offset::ZERO, holds);
        world.pass(&store, 31);
        let again = poll(&mut consumer);
        assert_eq!(again.iter().next().unwrap().offset(), start);
        let partition = &store.describe_share_group("g").unwrap().partitions[0];
        assert_eq!(partition.lost, start.get().unsigned_abs());
        assert!(consumer.ack(&first).is_err());
    }
}

#[test]
fn many_takes_and_words_leave_a_small_log_that_says_it_all() {
    let (world, store) = store();
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    let all: Vec<String> = (0..3_000).map(|number: u32| number.to_string()).collect();
    let records: Vec<Record<'_>> = all.iter().map(Record::new).collect();
    records.chunks(100).for_each(|chunk| drop(jobs.send_batch(chunk).unwrap()));
    let weak = || builder(&store).durability(Durability::Process).max_records(7);
    let mut consumer = weak().build().unwrap();
    let mut kept = Vec::new();
    for round in 0.. {
        let leased = poll(&mut consumer);
        if leased.is_empty() {
            break;
        }
        for (at, record) in leased.iter().enumerate() {
            if (round + at) % 13 == 0 {
                kept.push(record.offset());
            } else {
                consumer.ack(record).unwrap();
            }
        }
    }
    consumer.flush().unwrap();
    drop(consumer);
    store.close().unwrap();
    let store = world.open();
    let mut consumer = builder(&store).max_records(10_000).build().unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(leased.iter().map(|record| record.offset()).collect::<Vec<_>>(), kept);
    assert!(leased.iter().all(|record| record.delivery_count() == 2));
}
