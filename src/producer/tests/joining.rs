//! The short way into an open batch: it takes what the long one would take, and leaves the rest.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{CleanupPolicy, Durability};
use crate::error::ErrorKind;

/// The bytes of a partition's log.
fn bytes(topic: &Topic) -> Vec<u8> {
    let partition = topic.partition(partition(0)).unwrap();
    let limits = FetchLimits {
        bytes: 64 << 20,
        records: u64::MAX,
        durable_only: false,
        isolation: IsolationLevel::ReadUncommitted,
    };
    let start = partition.offsets().unwrap().start;
    partition.fetch(start, None, limits).unwrap().chunk.unwrap().bytes.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A record that names the very time the clock shows goes the long way.
    #[test]
    fn both_ways_make_one_log(
        records in prop::collection::vec(
            (
                prop_oneof![0..70_usize, 100..110_usize, 8_100..8_300_usize],
                prop::option::weighted(0.2, 0..20_usize),
                prop::bool::weighted(0.1),
                prop_oneof![4 => Just(0), 1 => 1..3_u64, 1 => 60..70_u64],
            ),
            1..300,
        ),
        batch_bytes in prop_oneof![300..2_000_usize, 60_000..70_000_usize],
        batch_records in prop_oneof![1..100_u32, Just(10_000)],
        codec in prop::bool::ANY,
    ) {
        let world = World::by_hand();
        let builder = || {
            let built = world.producer().linger(Duration::from_secs(3_600));
            built.batch_bytes(batch_bytes).batch_records(batch_records)
        };
        let codec = if codec && cfg!(feature = "lz4") { "lz4" } else { "producer" };
        let config = || TopicConfig::new().set("compression.type", codec).unwrap();
        let topics = ["short", "long"].map(|name| world.create(name, config()));
        let handle = |name| builder().build().unwrap().topic(name).unwrap();
        let producers = ["short", "long"].map(handle);
        let text = vec![b'v'; 8_300];
        let mut pending = [Vec::new(), Vec::new()];
        for (size, key, has_header, passed) in &records {
            world.clock.advance(Duration::from_millis(*passed));
            let mut record = Record::new(&text[..*size]);
            if let Some(key) = key {
                record = record.key(&text[..*key]);
            }
            if *has_header {
                record = record.header("h", "1").null_header("n");
            }
            let long = record.clone().timestamp(world.clock.wall());
            pending[0].push(producers[0].enqueue(record).unwrap());
            pending[1].push(producers[1].enqueue(long).unwrap());
        }
        for producer in &producers {
            producer.flush().unwrap();
        }
        let [short, long] = pending.map(|pending| {
            let receipts = pending.into_iter().map(|pending| pending.wait().unwrap());
            receipts.map(|receipt| (receipt.offset(), receipt.timestamp())).collect::<Vec<_>>()
        });
        prop_assert_eq!(short, long);
        prop_assert!(bytes(&topics[0]) == bytes(&topics[1]), "the logs differ");
    }
}

#[test]
fn rules_that_change_while_a_batch_is_open_are_asked_anew() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new(), world.producer());
    let value = "x".repeat(400);
    for _ in 0..3 {
        orders.enqueue(Record::new(&value)).unwrap();
    }
    let tight = TopicConfig::new().set("max.message.bytes", "1000").unwrap();
    world.engine.alter_topic("orders", tight).unwrap();
    for _ in 0..5 {
        orders.enqueue(Record::new(&value)).unwrap();
    }
    orders.flush().unwrap();
    assert_eq!(batches(&topic, 0).iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 2, 1]);

    for _ in 0..2 {
        orders.enqueue(Record::new("kept").key("k")).unwrap();
    }
    let compacted = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    world.engine.alter_topic("orders", compacted).unwrap();
    for _ in 0..2 {
        let error = orders.enqueue(Record::new("refused")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord);
        orders.enqueue(Record::new("kept").key("k")).unwrap();
    }
    orders.flush().unwrap();
    assert_eq!(values(&topic, 0)[8..], ["kept", "kept", "kept", "kept"]);
}

#[test]
fn the_strongest_word_counts_for_all_whenever_it_joins() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new(), world.producer());
    let durable = || topic.partition(partition(0)).unwrap().offsets().unwrap().durable.get();
    let power = orders.with_durability(Durability::Power);
    for (times, handle) in [(3, &orders), (2, &power), (2, &orders)] {
        for _ in 0..times {
            handle.enqueue(Record::new("v")).unwrap();
        }
    }
    assert_eq!(durable(), 0);
    world.clock.advance(Duration::from_millis(5));
    world.engine.run_due();
    world.engine.run_due();
    assert_eq!((values(&topic, 0).len(), durable()), (7, 7));
}

#[test]
fn nothing_joins_an_open_batch_of_a_store_that_is_closed_or_a_topic_that_is_deleted() {
    let world = World::by_hand();
    let (_, orders) = world.orders(TopicConfig::new(), world.producer());
    let lingers = orders.enqueue(Record::new("v")).unwrap();
    world.engine.delete_topic("orders").unwrap();
    let error = orders.enqueue(Record::new("v")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(orders.flush().is_err() && lingers.try_get().unwrap().is_err());

    let world = World::by_hand();
    let (_, orders) = world.orders(TopicConfig::new(), world.producer());
    let lingers = orders.enqueue(Record::new("v")).unwrap();
    world.engine.close().unwrap();
    assert_eq!(orders.enqueue(Record::new("v")).unwrap_err().kind(), ErrorKind::Closed);
    assert!(lingers.try_get().unwrap().is_ok());
}
