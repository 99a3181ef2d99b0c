//! The short way into an open batch: it takes what the long one would take, and leaves the rest.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{CleanupPolicy, Durability, TimestampType};
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

/// A handle of a producer that has written a large batch: its next begins with that one's memory.
fn after_a_large_batch(world: &World, builder: ProducerBuilder, name: &str) -> TopicProducer {
    let producer = builder.build().unwrap();
    if world.engine.topic("other").is_err() {
        world.create("other", TopicConfig::new());
    }
    for _ in 0..50 {
        producer.topic("other").unwrap().enqueue(Record::new(&[7; 1_000])).unwrap();
    }
    producer.flush().unwrap();
    producer.topic(name).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a task enqueues goes the long way.
    #[test]
    fn both_ways_make_one_log(
        records in prop::collection::vec(
            (
                prop_oneof![8 => 0..110_usize, 1 => 8_100..8_300_usize],
                prop::option::weighted(0.2, 0..20_usize),
                prop::bool::weighted(0.1),
                prop_oneof![4 => Just(0), 1 => 1..3_u64, 1 => 60..70_u64],
                prop::option::weighted(0.2, -100..100_i64),
            ),
            1..300,
        ),
        batch_bytes in prop_oneof![300..2_000_usize, 60_000..70_000_usize],
        batch_records in prop_oneof![1..100_u32, Just(10_000)],
        limit in prop::option::of(1_100..5_000_usize),
        (codec, append_time, idempotent) in any::<(bool, bool, bool)>(),
    ) {
        let world = World::by_hand();
        let mut config = TopicConfig::new();
        if codec && cfg!(feature = "lz4") {
            config = config.set("compression.type", "lz4").unwrap();
        }
        if append_time {
            config = config.timestamp_type(TimestampType::LogAppendTime);
        }
        if let Some(limit) = limit {
            config = config.set("max.message.bytes", &limit.to_string()).unwrap();
        }
        let topics = ["short", "long"].map(|name| world.create(name, config.clone()));
        let producers = ["short", "long"].map(|name| {
            let builder = world.producer().linger(Duration::from_secs(3_600));
            let builder = builder.batch_bytes(batch_bytes).batch_records(batch_records);
            after_a_large_batch(&world, builder.idempotent(idempotent), name)
        });
        let text = vec![b'v'; 8_300];
        let mut pending = [Vec::new(), Vec::new()];
        for (size, key, has_header, passed, own) in &records {
            world.clock.advance(Duration::from_millis(*passed));
            let size = if limit.is_some() { size % 900 } else { *size };
            let mut record = Record::new(&text[..size]);
            if let Some(key) = key {
                record = record.key(&text[..*key]);
            }
            if *has_header {
                record = record.header("h", "1").null_header("n");
            }
            if let Some(own) = own {
                let at = world.clock.wall().as_millis() + own;
                record = record.timestamp(Timestamp::from_millis(at));
            }
            let long = pollster::block_on(producers[1].enqueue_async(record.clone()));
            pending[1].push(long.unwrap());
            pending[0].push(producers[0].enqueue(record).unwrap());
        }
        for producer in &producers {
            producer.flush().unwrap();
        }
        let [short, long] = pending.map(|pending| {
            let receipts = pending.into_iter().map(|pending| pending.wait().unwrap());
            receipts.map(|it| (it.offset(), it.timestamp(), it.sequence())).collect::<Vec<_>>()
        });
        prop_assert_eq!(short, long);
        if !idempotent {
            prop_assert!(bytes(&topics[0]) == bytes(&topics[1]), "the logs differ");
        }
        prop_assert_eq!(shape(&topics[0]), shape(&topics[1]));
    }
}

/// How many bytes each batch has.
fn shape(topic: &Topic) -> Vec<usize> {
    let (bytes, mut sizes, mut at) = (bytes(topic), Vec::new(), 0);
    while at < bytes.len() {
        sizes.push(Batch::verify(&bytes[at..]).unwrap().header().size());
        at += sizes[sizes.len() - 1];
    }
    sizes
}

#[test]
fn a_batch_stays_within_what_its_topic_may_keep() {
    let world = World::by_hand();
    let config = TopicConfig::new().max_bytes(5_000, WhenFull::DropOldest);
    let topic = world.create("orders", config);
    let orders = after_a_large_batch(&world, world.producer(), "orders");
    assert!(orders.core().largest_spare() >= 50_000);
    let taken: Vec<_> = (0..200).map(|_| orders.enqueue(Record::new(&[7; 100])).unwrap()).collect();
    orders.flush().unwrap();
    let offsets = taken.into_iter().map(|pending| pending.wait().unwrap().offset().get());
    assert!(offsets.eq(0..200));
    assert!(shape(&topic).iter().all(|size| *size <= 5_000));
}

#[test]
fn what_joins_in_memory_that_is_used_again_is_granted_all_the_same() {
    let world = World::by_hand();
    world.create("orders", TopicConfig::new());
    let orders = after_a_large_batch(&world, world.producer(), "orders");
    assert!(orders.core().largest_spare() >= 50_000);
    for records in 1..500 {
        orders.enqueue(Record::new(&[7; 100])).unwrap();
        let granted = orders.core().memory_granted();
        assert!(granted >= records * 100, "{granted} for {records} records");
    }
}

/// Says in turn which partition, and counts.
#[derive(Debug, Default)]
struct Counting {
    asked: AtomicU32,
    taken: AtomicUsize,
}

impl Partitioner for &'static Counting {
    fn partition(&self, _: &str, _: Option<&[u8]>, partitions: NonZeroU32) -> PartitionId {
        partition(self.asked.fetch_add(1, Ordering::Relaxed) % partitions)
    }

    fn taken(&self, _: &str, _: PartitionId, bytes: usize) {
        assert!((100..200).contains(&bytes));
        self.taken.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_partitioner_is_asked_once_for_each_record_and_told_what_was_taken() {
    let counting: &'static Counting = Box::leak(Box::default());
    let world = World::by_hand();
    let builder = world.producer().partitioner(counting).batch_records(7);
    let (topic, orders) = world.orders(TopicConfig::new().partitions(2), builder);
    for _ in 0..40 {
        orders.enqueue(Record::new(&"v".repeat(100))).unwrap();
        let at = world.clock.wall();
        orders.enqueue(Record::new(&"v".repeat(100)).timestamp(at)).unwrap();
    }
    orders.enqueue_to(partition(0), Record::new("unasked")).unwrap();
    orders.flush().unwrap();
    assert_eq!(counting.asked.load(Ordering::Relaxed), 80);
    assert_eq!(counting.taken.load(Ordering::Relaxed), 80);
    assert_eq!([0, 1].map(|number| values(&topic, number).len()), [41, 40]);
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
fn timestamps_are_looked_at_by_the_clock_of_their_own_enqueue() {
    let world = World::by_hand();
    let [before, after] = [3, 1].map(|secs| Some(Duration::from_secs(secs)));
    let config = TopicConfig::new().timestamp_before_max(before).timestamp_after_max(after);
    let (topic, orders) = world.orders(config, world.producer());
    let enqueue = |from_now: i64| {
        let at = Timestamp::from_millis(world.clock.wall().as_millis() + from_now);
        orders.enqueue(Record::new("v").timestamp(at)).map_err(|error| error.kind())
    };
    for passed in [0, 5_000, 1] {
        world.clock.advance(Duration::from_millis(passed)); // what is due stays: nobody runs it
        for (from_now, is_taken) in
            [(0, true), (-3_000, true), (-3_001, false), (1_000, true), (1_001, false)]
        {
            let taken = enqueue(from_now);
            assert_eq!(taken.is_ok(), is_taken, "{from_now} ms from now");
            assert!(taken.is_ok() || taken.is_err_and(|kind| kind == ErrorKind::InvalidRecord));
        }
    }
    orders.flush().unwrap();
    assert_eq!(values(&topic, 0).len(), 9);
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
fn nothing_joins_an_open_batch_of_a_topic_that_is_deleted() {
    let world = World::by_hand();
    let (_, orders) = world.orders(TopicConfig::new(), world.producer());
    let lingers = [(); 2].map(|()| orders.enqueue(Record::new("v")).unwrap());
    world.engine.delete_topic("orders").unwrap();
    let error = orders.enqueue(Record::new("v")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(orders.flush().is_err());
    assert!(lingers.iter().all(|lingers| lingers.try_get().unwrap().is_err()));
}
