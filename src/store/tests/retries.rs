//! Records that ordinary consumers give back for later: when they come again, to whom, how often,
//! what is refused, and what restarts and other owners do to that. `crashes` stops a program of all
//! this at every call to the disk and has calls fail.

#[cfg(feature = "sim")]
mod crashes;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{BackgroundSync, HoldCap, Threads, TopicConfig};
use crate::consumer::{Consumer, ConsumerBuilder};
use crate::dead_letters::DeadLetter;
use crate::disk::{Disk, MemoryDisk};
use crate::error::ErrorKind;
use crate::ids::Offset;
use crate::record::{Record, Records};
use crate::store::{ShareGroupPartition, Store};
use crate::time::{ManualClock, Timestamp};

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

    fn open(&self) -> Store {
        let builder = Store::builder("/store").disk(self.disk.clone()).clock(self.clock.clone());
        builder.threads(Threads::Host).background_sync(BackgroundSync::OFF).open().unwrap()
    }

    fn pass(&self, store: &Store, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        tend(store);
    }
}

fn tend(store: &Store) {
    for _ in 0..4 {
        store.run_due();
        store.run_maintenance();
    }
}

fn begin(partitions: u32) -> (World, Store) {
    let world = World::on(Arc::new(MemoryDisk::new()));
    let store = world.open();
    store.ensure_topic("orders", TopicConfig::new().partitions(partitions)).unwrap();
    (world, store)
}

fn send(store: &Store, values: &[&str]) {
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    values.iter().for_each(|value| drop(orders.send(Record::new(value)).unwrap()));
}

fn builder(store: &Store) -> ConsumerBuilder {
    store.consumer("billing").subscribe(["orders"])
}

fn consumer(store: &Store) -> Consumer {
    builder(store).build().unwrap()
}

fn poll(consumer: &mut Consumer) -> Records {
    consumer.try_poll().unwrap()
}

fn values(records: &Records) -> Vec<String> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    records.iter().map(|record| text(record.value())).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Gives back what of a poll has one of these values.
fn retry(consumer: &mut Consumer, records: &Records, wanted: &[&str], delay: Duration) {
    for record in records {
        if wanted.iter().any(|value| record.value() == Some(value.as_bytes())) {
            consumer.retry_later(&record, delay).unwrap();
        }
    }
}

/// What the group gave back in the first partition.
fn waiting(store: &Store) -> ShareGroupPartition {
    store.describe_share_group("%RETRY%billing").unwrap().partitions[0].clone()
}

#[test]
fn it_comes_again_after_its_delay_and_is_done_with_the_commit() {
    let (world, store) = begin(1);
    send(&store, &["1", "2", "3"]);
    let mut billing = consumer(&store);
    let records = poll(&mut billing);
    retry(&mut billing, &records, &["3"], seconds(20));
    retry(&mut billing, &records, &["1"], seconds(10)); // in any order
    billing.commit().unwrap();
    assert_eq!((waiting(&store).open, waiting(&store).lag), (2, Some(2)));
    send(&store, &["4"]);
    assert_eq!(values(&poll(&mut billing)), ["4"]); // nobody waits for it
    world.clock.advance(Duration::from_millis(9_999));
    assert!(poll(&mut billing).is_empty());
    world.clock.advance(Duration::from_millis(1));
    let again = poll(&mut billing);
    assert_eq!(values(&again), ["1"]);
    let record = again.iter().next().unwrap();
    assert_eq!((billing.attempt(&record), record.offset()), (2, Offset::ZERO));
    assert!(poll(&mut billing).is_empty()); // it is held, not done
    retry(&mut billing, &again, &["1"], seconds(10));
    billing.commit().unwrap();
    world.pass(&store, 10);
    let again = poll(&mut billing);
    assert_eq!(values(&again), ["1", "3"]);
    assert_eq!(again.iter().map(|it| billing.attempt(&it)).collect::<Vec<_>>(), [3, 2]);
    billing.commit().unwrap();
    assert_eq!(waiting(&store).open, 0);
    world.pass(&store, 1_000);
    assert!(poll(&mut billing).is_empty());
    drop(billing);
    assert!(poll(&mut consumer(&store)).is_empty());
}

#[test]
fn given_back_after_the_last_attempt_it_is_a_dead_letter() {
    let (_, store) = begin(1);
    send(&store, &["1"]);
    let mut billing = builder(&store).max_attempts(2).build().unwrap();
    for attempt in 1..=2 {
        let records = poll(&mut billing);
        let record = records.iter().next().unwrap();
        assert_eq!(billing.attempt(&record), attempt);
        billing.retry_later_because(&record, Duration::ZERO, "no answer").unwrap();
        billing.commit().unwrap();
    }
    assert!(poll(&mut billing).is_empty());
    tend(&store);
    assert_eq!((waiting(&store).open, waiting(&store).dead_letters), (0, 1));
    let mut letters = store.consumer("x").subscribe(["billing.dlq"]).build().unwrap();
    let letters = poll(&mut letters);
    let letter = DeadLetter::of(letters.iter().next().unwrap()).unwrap();
    assert_eq!((letter.group, letter.attempts), (Some("billing"), Some(2)));
    assert_eq!((letter.error, letter.offset), (Some("no answer"), Some(Offset::ZERO)));
    store.redrive_dead_letters("billing.dlq").run().unwrap();
    assert_eq!(values(&poll(&mut billing)), ["1"]);
}

#[test]
fn without_dead_letters_the_last_attempt_is_counted() {
    let (_, store) = begin(1);
    send(&store, &["1", "2"]);
    let mut billing = builder(&store).max_attempts(1).without_dead_letters().build().unwrap();
    let records = poll(&mut billing);
    retry(&mut billing, &records, &["1"], seconds(1));
    billing.commit().unwrap();
    tend(&store);
    assert_eq!((waiting(&store).open, waiting(&store).archived), (0, 1));
    assert!(store.describe("billing.dlq").is_err());
}

#[test]
fn what_cannot_be_given_back_is_refused_by_kind() {
    let (_, store) = begin(1);
    send(&store, &["1", "2"]);
    store.ensure_topic("other", TopicConfig::new()).unwrap();
    store.producer().build().unwrap().topic("other").unwrap().send(Record::new("x")).unwrap();
    let mut billing = builder(&store).max_records(1).build().unwrap();
    let records = poll(&mut billing);
    let record = records.iter().next().unwrap();
    let kind = |result: crate::error::Result<()>| result.unwrap_err().kind();
    let long = seconds(11 * 366 * 24 * 3600);
    assert_eq!(kind(billing.retry_later(&record, long)), ErrorKind::InvalidArgument);
    let mut reader = store.reader().assign([("orders", 0), ("other", 0)]).build().unwrap();
    let all = poll(&mut reader);
    assert_eq!(kind(reader.retry_later(&record, seconds(1))), ErrorKind::InvalidArgument);
    let unread = all.iter().find(|it| it.value() == Some(b"2")).unwrap();
    assert_eq!(kind(billing.retry_later(&unread, seconds(1))), ErrorKind::InvalidArgument);
    let foreign = all.iter().find(|it| it.topic() == "other").unwrap();
    assert_eq!(kind(billing.retry_later(&foreign, seconds(1))), ErrorKind::NotFound);
    assert!(store.describe_share_group("%RETRY%billing").is_err(), "nothing was noted");
    let shared = store.share_consumer("%RETRY%billing").subscribe(["orders"]).build();
    assert_eq!(shared.unwrap_err().kind(), ErrorKind::InvalidArgument);
    billing.retry_later(&record, seconds(1)).unwrap();
    let mut other = builder(&store).max_attempts(9).build().unwrap();
    poll(&mut other);
    drop(billing);
    // nobody else is left to disagree with
    assert_eq!(values(&poll(&mut other)).len(), 2);
}

#[test]
fn a_letter_is_not_given_back_to_its_own_topic() {
    let (_, store) = begin(1);
    send(&store, &["1"]);
    let mut billing = builder(&store).dead_letter_topic("orders").build().unwrap();
    let records = poll(&mut billing);
    let error = billing.retry_later(&records.iter().next().unwrap(), seconds(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn who_was_expelled_gives_nothing_back() {
    let (world, store) = begin(1);
    send(&store, &["1"]);
    let mut first = builder(&store).max_poll_interval(seconds(60)).build().unwrap();
    let records = poll(&mut first);
    world.pass(&store, 61);
    let mut second = consumer(&store);
    assert_eq!(values(&poll(&mut second)), ["1"]);
    let error = first.retry_later(&records.iter().next().unwrap(), seconds(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(store.describe_share_group("%RETRY%billing").is_err());
}

#[test]
fn it_comes_to_whoever_has_the_partition_then() {
    let (world, store) = begin(1);
    send(&store, &["1", "2"]);
    let mut first = builder(&store).max_poll_interval(seconds(60)).build().unwrap();
    let records = poll(&mut first);
    retry(&mut first, &records, &["1"], seconds(10));
    first.commit().unwrap();
    world.pass(&store, 10);
    let held = poll(&mut first);
    assert_eq!(values(&held), ["1"]);
    world.pass(&store, 61); // it hangs, and holds what came again
    let mut second = consumer(&store);
    let again = poll(&mut second);
    assert_eq!(values(&again), ["1"]);
    assert_eq!(second.attempt(&again.iter().next().unwrap()), 3);
    assert_eq!(first.commit().unwrap_err().kind(), ErrorKind::Fenced);
    let late = first.retry_later(&held.iter().next().unwrap(), seconds(1));
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Fenced);
    second.commit().unwrap();
    drop((first, second));
    assert!(poll(&mut consumer(&store)).is_empty());
}

#[test]
fn who_ends_without_a_commit_leaves_it_to_the_next() {
    let (world, store) = begin(1);
    send(&store, &["1"]);
    let mut first = consumer(&store);
    let records = poll(&mut first);
    retry(&mut first, &records, &["1"], seconds(10));
    first.commit().unwrap();
    world.pass(&store, 10);
    assert_eq!(values(&poll(&mut first)), ["1"]);
    drop(first);
    let mut second = consumer(&store);
    let again = poll(&mut second);
    assert_eq!(values(&again), ["1"]);
    second.commit_through(&again.iter().next().unwrap()).unwrap(); // that one alone
    drop(second);
    assert!(poll(&mut consumer(&store)).is_empty());
    assert_eq!(store.committed("billing").unwrap()[0].2.offset(), Offset::new(1));
}

#[test]
fn delays_and_counts_outlive_a_restart_and_a_wall_that_goes_back() {
    let (world, store) = begin(1);
    send(&store, &["1", "2"]);
    let mut billing = consumer(&store);
    let records = poll(&mut billing);
    retry(&mut billing, &records, &["1"], seconds(60));
    billing.commit().unwrap();
    drop(billing);
    store.close().unwrap();
    world.clock.advance(seconds(20));
    world.clock.set_wall(Timestamp::from_millis(START.as_millis() - 24 * 3_600_000));
    let store = world.open();
    let mut billing = consumer(&store);
    assert!(poll(&mut billing).is_empty());
    world.pass(&store, 60); // no longer than was asked for
    let again = poll(&mut billing);
    assert_eq!(values(&again), ["1"]);
    assert_eq!(billing.attempt(&again.iter().next().unwrap()), 2);
    billing.commit().unwrap();
}

#[test]
fn what_was_fetched_and_not_handed_out_comes_again() {
    let (world, store) = begin(1);
    send(&store, &["1"]);
    let mut billing = builder(&store).min_bytes(1 << 10).max_bytes(1 << 20).build().unwrap();
    let records = billing.poll(Duration::from_millis(1)).unwrap();
    retry(&mut billing, &records, &["1"], seconds(10));
    billing.commit().unwrap();
    world.pass(&store, 10);
    {
        let mut waits = Box::pin(billing.poll_async());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending()); // for more bytes
    }
    billing.commit().unwrap(); // not of what nobody has seen
    billing.seek("orders", 0, Offset::new(1)).unwrap();
    let again = billing.poll(Duration::from_millis(1)).unwrap();
    assert_eq!(values(&again), ["1"]);
}

#[test]
fn a_poll_that_waits_is_woken_when_the_delay_is_over() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("orders", TopicConfig::new()).unwrap();
    send(&store, &["1"]);
    let mut billing = consumer(&store);
    let records = poll(&mut billing);
    retry(&mut billing, &records, &["1"], Duration::from_millis(20));
    billing.commit().unwrap();
    assert_eq!(values(&billing.poll(seconds(600)).unwrap()), ["1"]);
    billing.close().unwrap();
    let mut next = consumer(&store);
    assert_eq!(values(&pollster::block_on(next.poll_async()).unwrap()), ["1"]);
}

#[test]
fn a_topic_that_keeps_records_for_the_group_keeps_what_waits() {
    let (_, store) = begin(1);
    let kept = TopicConfig::new().retain_for("billing", HoldCap::bytes(1 << 30));
    store.alter_topic("orders", kept).unwrap();
    send(&store, &["1", "2", "3"]);
    let held = |store: &Store| {
        let stats = store.stats();
        let orders = stats.topics.iter().find(|it| it.name == "orders").unwrap();
        orders.partitions[0]
            .holds
            .iter()
            .map(|hold| (hold.holder.clone(), hold.offset))
            .collect::<Vec<_>>()
    };
    let mut billing = consumer(&store);
    let records = poll(&mut billing);
    retry(&mut billing, &records, &["2"], Duration::ZERO);
    billing.commit().unwrap();
    let retries = ("%RETRY%billing".to_owned(), Offset::new(1));
    assert!(held(&store).contains(&retries));
    assert_eq!(values(&poll(&mut billing)), ["2"]);
    billing.commit().unwrap();
    assert_eq!(held(&store), [("billing".to_owned(), Offset::new(3))]);
}

#[test]
fn a_group_takes_what_it_gave_back_with_it() {
    let (_, store) = begin(1);
    send(&store, &["1"]);
    let mut billing = consumer(&store);
    let records = poll(&mut billing);
    retry(&mut billing, &records, &["1"], seconds(10));
    billing.commit().unwrap();
    let names: Vec<String> = store.groups().unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["%RETRY%billing", "billing"]);
    assert!(store.delete_group("billing").is_err());
    drop(billing);
    store.delete_group("billing").unwrap();
    assert!(store.groups().unwrap().is_empty());
}
