//! Groups that stop at what they give up: what goes on, what waits, who ends it, and restarts.

use super::*;
use crate::share_consumer::Lease;

fn stopping(store: &Store) -> ShareConsumerBuilder {
    builder(store).max_deliveries(2).stop_when_exhausted()
}

fn lease_of(leased: &LeasedRecords, value: &str) -> Lease {
    leased.iter().find(|it| it.value() == Some(value.as_bytes())).unwrap().lease()
}

#[test]
fn a_key_stops_at_what_is_given_up_and_the_others_go_on() {
    let (world, mut store) = store();
    send_keyed(&store, &[("a", "1"), ("b", "2"), ("a", "3"), ("b", "4"), ("a", "5")]);
    let mut consumer = stopping(&store).ordered_by_key().build().unwrap();
    let leased = poll(&mut consumer);
    consumer.reject_because(lease_of(&leased, "1"), "no such account").unwrap();
    consumer.ack(lease_of(&leased, "2")).unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(values(&leased), ["4"]);
    consumer.ack_all(&leased).unwrap();
    for _ in 0..2 {
        assert!(poll(&mut consumer).is_empty());
        let stopped = store.stopped_records("g").unwrap();
        assert_eq!(stopped.len(), 1);
        assert_eq!((stopped[0].offset, stopped[0].attempts), (Offset::ZERO, 1));
        assert_eq!(stopped[0].error.as_deref(), Some("no such account"));
        assert_eq!(store.describe_share_group("g").unwrap().partitions[0].stopped, 1);
        drop(consumer);
        store.close().unwrap();
        store = world.open();
        consumer = stopping(&store).ordered_by_key().build().unwrap();
    }
    store.release_stopped("g", "jobs", 0, Offset::ZERO).unwrap();
    let leased = poll(&mut consumer);
    assert_eq!(
        (values(&leased), leased.iter().next().unwrap().delivery_count()),
        (vec!["1".into()], 1)
    );
    consumer.release_all(&leased).unwrap();
    let leased = poll(&mut consumer);
    consumer.release_all(&leased).unwrap(); // the last delivery
    assert!(poll(&mut consumer).is_empty());
    store.skip_stopped("g", "jobs", 0, Offset::ZERO).unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["3"]);
    let partition = store.describe_share_group("g").unwrap().partitions[0].clone();
    assert_eq!((partition.archived, partition.stopped, partition.dead_letters), (1, 0, 0));
}

#[test]
fn without_order_by_key_the_partition_stops() {
    let (world, store) = store();
    send(&store, &["1", "2", "3"]);
    let mut consumer = stopping(&store).max_records(2).build().unwrap();
    let leased = poll(&mut consumer);
    consumer.reject(lease_of(&leased, "1")).unwrap();
    consumer.release(lease_of(&leased, "2")).unwrap(); // what is leased may be settled
    assert!(poll(&mut consumer).is_empty());
    world.pass(&store, 3_600);
    assert!(poll(&mut consumer).is_empty());
    store.skip_stopped("g", "jobs", 0, Offset::ZERO).unwrap();
    assert_eq!(values(&poll(&mut consumer)), ["2", "3"]);
}

#[test]
fn who_waits_is_woken_when_the_stop_ends() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, &["1", "2"]);
    let mut consumer = stopping(&store).max_records(1).build().unwrap();
    let leased = poll(&mut consumer);
    consumer.reject_all_of(&leased);
    let waits =
        std::thread::spawn(move || values(&consumer.poll(Duration::from_secs(600)).unwrap()));
    store.release_stopped("g", "jobs", 0, Offset::ZERO).unwrap();
    assert_eq!(waits.join().unwrap(), ["1"]);
}

#[test]
fn a_stop_that_is_none_is_not_ended() {
    let (_, store) = store();
    send(&store, &["1", "2"]);
    let mut buries = builder(&store).build().unwrap();
    let leased = poll(&mut buries);
    buries.reject(lease_of(&leased, "1")).unwrap();
    let kind = |result: crate::error::Result<()>| result.unwrap_err().kind();
    let skip = |offset: i64| kind(store.skip_stopped("g", "jobs", 0, Offset::new(offset)));
    assert_eq!(skip(0), ErrorKind::InvalidRecordState, "it becomes a dead letter");
    assert_eq!(skip(1), ErrorKind::InvalidRecordState);
    assert_eq!(kind(store.skip_stopped("x", "jobs", 0, Offset::ZERO)), ErrorKind::NotFound);
    assert_eq!(kind(store.release_stopped("g", "x", 0, Offset::ZERO)), ErrorKind::NotFound);
    assert!(store.stopped_records("g").unwrap().is_empty());
    let other = stopping(&store).build();
    assert_eq!(other.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

impl ShareConsumer {
    fn reject_all_of(&self, leased: &LeasedRecords) {
        leased.iter().for_each(|record| self.reject(record).unwrap());
    }
}
