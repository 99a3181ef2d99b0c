//! What is sent at once: receipts, batches, partitions, partitioners, words.
//!
//! Refusals are tested with what they leave behind: no record and no offset.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::{Durability, TimestampType};
use crate::error::{ErrorKind, Outcome};
use crate::ids::Offset;

fn is_shareable<T: Send + Sync + 'static>() {}

#[test]
fn handles_are_shared_and_futures_sent() {
    is_shareable::<Producer>();
    is_shareable::<TopicProducer>();
    is_shareable::<Pending>();
    fn is_sent<T: Send + 'static>(_: T) {}
    let world = World::by_hand();
    let (_, orders) = world.orders(TopicConfig::new(), world.producer());
    is_sent(orders.send_batch_async(&[]));
    is_sent(orders.flush_async());
}

#[test]
fn a_send_is_in_the_log_when_it_returns() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new().partitions(2), world.producer());
    for number in 0..3 {
        let receipt = orders.send_to(partition(1), Record::new("hello")).unwrap();
        assert_eq!((receipt.topic(), receipt.partition()), ("orders", partition(1)));
        assert_eq!(receipt.offset(), Offset::new(number));
        assert_eq!(receipt.timestamp(), Some(START));
        assert_eq!(receipt.leader_epoch().get(), 0);
    }
    assert_eq!(batches(&topic, 1), [["hello"], ["hello"], ["hello"]]);
    assert!(batches(&topic, 0).is_empty());
}

#[test]
fn receipts_carry_the_timestamp_that_was_stored() {
    let world = World::by_hand();
    let at = Timestamp::from_millis(START.as_millis() - 5);
    let (_, orders) = world.orders(TopicConfig::new(), world.producer());
    assert_eq!(orders.send(Record::new("v").timestamp(at)).unwrap().timestamp(), Some(at));
    assert_eq!(orders.send(Record::new("v").without_timestamp()).unwrap().timestamp(), None);
    let pending = orders.enqueue(Record::new("v").timestamp(at)).unwrap();
    let none = orders.enqueue(Record::new("v").without_timestamp()).unwrap();
    orders.flush().unwrap();
    assert_eq!(pending.wait().unwrap().timestamp(), Some(at));
    assert_eq!(none.wait().unwrap().timestamp(), None);
    for _ in 0..2 {
        // the second batch lies in the memory of the first
        let mixed = [Some(at), Some(START), Some(START), None, Some(START), Some(at)];
        let pending = mixed.map(|timestamp| {
            let record = Record::new("v").without_timestamp();
            orders.enqueue(timestamp.map_or(record, |at| Record::new("v").timestamp(at))).unwrap()
        });
        orders.flush().unwrap();
        assert_eq!(pending.map(|pending| pending.wait().unwrap().timestamp()), mixed);
    }
    world.create("logged", TopicConfig::new().timestamp_type(TimestampType::LogAppendTime));
    let logged = world.producer().build().unwrap().topic("logged").unwrap();
    assert_eq!(logged.send(Record::new("v").timestamp(at)).unwrap().timestamp(), Some(START));
    let pending = logged.enqueue(Record::new("v").timestamp(at)).unwrap();
    world.clock.advance(std::time::Duration::from_millis(7));
    logged.flush().unwrap();
    let stamped = pending.wait().unwrap().timestamp().unwrap();
    assert_eq!(stamped.as_millis(), START.as_millis() + 7, "that of the append");
}

#[test]
fn a_batch_is_one_batch_or_nothing() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new().partitions(4), world.producer());
    let same = [Record::new("a").key("k"), Record::new("b").key("k"), Record::new("c").key("k")];
    let receipt = orders.send_batch(&same).unwrap();
    assert_eq!((receipt.base_offset().get(), receipt.end_offset().get()), (0, 3));
    assert_eq!(batches(&topic, receipt.partition().get()), [["a", "b", "c"]]);

    let mut mixed: Vec<_> = same.to_vec();
    let keys: Vec<String> = (0..100).map(|key| format!("key-{key}")).collect();
    let elsewhere = keys.iter().find(|key| {
        orders.send(Record::new("x").key(*key)).unwrap().partition() != receipt.partition()
    });
    mixed.push(Record::new("d").key(elsewhere.unwrap()));
    let before = values(&topic, receipt.partition().get());
    let error = orders.send_batch(&mixed).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidRecord, Outcome::NotWritten));
    assert!(error.to_string().contains("record 3"), "{error}");
    assert_eq!(values(&topic, receipt.partition().get()), before);
    assert_eq!(orders.send_batch_to(partition(2), &mixed).unwrap().record_count(), 4);

    let refused = Record::new("late").timestamp(START.saturating_add(TWO_HOURS));
    let error = orders.send_batch_to(partition(3), &[Record::new("fine"), refused]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    assert!(error.to_string().contains("record 1"), "{error}");
    assert_eq!(orders.send_batch(&[]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let large = "x".repeat(2 << 20);
    let error = orders.send_batch_to(partition(3), &[Record::new(&large)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(error.partition(), Some(("orders", partition(3))));
    let offset = orders.send_to(partition(3), Record::new("v")).unwrap().offset();
    let kept = values(&topic, 3).len() as i64 - 1;
    assert_eq!(offset.get(), kept, "no offset was used by what was refused");
}

const TWO_HOURS: std::time::Duration = std::time::Duration::from_secs(7_200);

#[test]
fn a_key_stays_and_partitions_that_are_added_are_seen() {
    let world = World::by_hand();
    let config = TopicConfig::new().partitions(1);
    let (topic, orders) = world.orders(config, world.producer().partitioner(RoundRobin::new()));
    assert_eq!(orders.send(Record::new("v")).unwrap().partition(), partition(0));
    let error = orders.send_to(partition(2), Record::new("v")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("orders-2"), "{error}");
    world.engine.add_partitions("orders", 3).unwrap();
    orders.send_to(partition(2), Record::new("v")).unwrap();
    let seen = [(); 3].map(|()| orders.send(Record::new("v")).unwrap().partition().get());
    assert_eq!(seen, [0, 1, 2], "of one partition none was chosen");
    assert_eq!(topic.partition_count(), 3);
}

#[test]
fn a_deleted_topic_is_not_found_even_if_it_is_made_again() {
    let world = World::by_hand();
    let producer = world.producer().build().unwrap();
    world.create("orders", TopicConfig::new());
    let old = producer.topic("orders").unwrap();
    let lingering = old.enqueue(Record::new("v")).unwrap();
    world.engine.delete_topic("orders").unwrap();
    assert_eq!(old.send(Record::new("v")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(producer.topic("orders").unwrap_err().kind(), ErrorKind::NotFound);
    let new = world.create("orders", TopicConfig::new());
    for _ in 0..2 {
        assert_eq!(old.send(Record::new("v")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(old.enqueue(Record::new("v")).unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(old.flush().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(lingering.wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(values(&new, 0).is_empty());
    producer.topic("orders").unwrap().send(Record::new("new")).unwrap();
    assert_eq!(values(&new, 0), ["new"]);
}

#[test]
fn the_stores_own_topics_and_a_closed_store_are_refused() {
    let world = World::by_hand();
    let new = NewTopic { name: "__own", config: TopicConfig::new(), internal: true };
    world.engine.create_topics(&[new]).unwrap();
    let (_, orders) = world.orders(TopicConfig::new(), world.producer());
    let producer = world.producer().build().unwrap();
    assert_eq!(producer.topic("__own").unwrap_err().kind(), ErrorKind::InvalidArgument);
    let late = world.producer();
    world.engine.close().unwrap();
    let closed = ErrorKind::Closed;
    assert_eq!(late.build().unwrap_err().kind(), closed);
    assert_eq!(producer.topic("orders").unwrap_err().kind(), closed);
    assert_eq!(orders.send(Record::new("v")).unwrap_err().kind(), closed);
    assert_eq!(orders.send_batch(&[Record::new("v")]).unwrap_err().kind(), closed);
    assert_eq!(orders.enqueue(Record::new("v")).unwrap_err().kind(), closed);
    assert_eq!(orders.flush().unwrap_err().kind(), closed);
    let flushed = pollster::block_on(orders.flush_async());
    assert_eq!(flushed.unwrap_err().kind(), closed);
    assert_eq!(orders.send_async(Record::new("v")).wait().unwrap_err().kind(), closed);
}

#[test]
fn power_is_durable_when_it_returns() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new(), world.producer());
    let durable = || topic.partition(partition(0)).unwrap().offsets().unwrap().durable.get();
    orders.send(Record::new("one")).unwrap();
    assert_eq!(durable(), 0);
    let power = orders.with_durability(Durability::Power);
    power.send(Record::new("two")).unwrap();
    assert_eq!(durable(), 2, "the whole prefix");
    let process = orders.enqueue(Record::new("three")).unwrap();
    let pending = power.enqueue(Record::new("four")).unwrap();
    orders.flush().unwrap();
    assert_eq!(durable(), 4, "those who linger together share the strongest word");
    assert_eq!(process.wait().unwrap().offset().get(), 2);
    assert_eq!(pending.wait().unwrap().offset().get(), 3);
    power.send_batch(&[Record::new("five")]).unwrap();
    assert_eq!(durable(), 5);
}

#[test]
fn async_power_is_served_by_the_timer() {
    let world = World::with_threads();
    let builder = world.producer().durability(Durability::Power);
    let (topic, orders) = world.orders(TopicConfig::new(), builder);
    let durable = || topic.partition(partition(0)).unwrap().offsets().unwrap().durable.get();
    let many: Vec<_> = (0..10).map(|_| orders.send_async(Record::new("v"))).collect();
    for (number, pending) in (0..).zip(many) {
        assert_eq!(pollster::block_on(pending).unwrap().offset().get(), number);
        assert!(durable() > number);
    }
    let batch = orders.send_batch_async(&[Record::new("a"), Record::new("b")]);
    assert_eq!(pollster::block_on(batch).unwrap().end_offset().get(), 12);
    assert_eq!(durable(), 12);
    orders.enqueue(Record::new("v")).unwrap();
    pollster::block_on(orders.flush_async()).unwrap();
    assert_eq!(durable(), 13);
    let refused = orders.send_to_async(partition(9), Record::new("v"));
    assert_eq!(pollster::block_on(refused).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn async_power_without_threads_is_served_by_who_waits() {
    let world = World::by_hand();
    let builder = world.producer().durability(Durability::Power);
    let (_, orders) = world.orders(TopicConfig::new(), builder);
    let pending = orders.send_async(Record::new("v"));
    assert!(pending.try_get().is_none());
    assert_eq!(pending.wait().unwrap().offset().get(), 0);
    let pending = orders.send_async(Record::new("v"));
    world.engine.run_due();
    assert_eq!(pollster::block_on(pending).unwrap().offset().get(), 1);
}

/// Nobody runs what is due here: a thread's sync serves the tasks too.
#[test]
fn async_power_rides_the_sync_of_a_thread() {
    let world = World::by_hand();
    let builder = world.producer().durability(Durability::Power);
    let (topic, orders) = world.orders(TopicConfig::new(), builder);
    let pending = orders.send_async(Record::new("a"));
    let batch = orders.send_batch_async(&[Record::new("b"), Record::new("c")]);
    assert!(pending.try_get().is_none());
    topic.partition(partition(0)).unwrap().flush().unwrap();
    assert_eq!(pending.try_get().expect("the sync was made").unwrap().offset().get(), 0);
    assert_eq!(pollster::block_on(batch).unwrap().end_offset().get(), 3);
    let pending = orders.send_async(Record::new("d"));
    assert_eq!(orders.send(Record::new("e")).unwrap().offset().get(), 4);
    assert_eq!(pollster::block_on(pending).unwrap().offset().get(), 3);
    assert_eq!(world.engine.run_due(), None, "and nothing was left to the timer");
}

#[test]
fn a_flush_waits_for_the_syncs_of_sends_that_nobody_waits_for() {
    let world = World::by_hand();
    let builder = world.producer().durability(Durability::Power);
    let (topic, orders) = world.orders(TopicConfig::new(), builder);
    let durable = || topic.partition(partition(0)).unwrap().offsets().unwrap().durable.get();
    drop(orders.send_async(Record::new("a")));
    assert_eq!(durable(), 0);
    orders.flush().unwrap();
    assert_eq!(durable(), 1);
    drop(orders.send_async(Record::new("b")));
    let flushed = orders.flush_async();
    assert_eq!(durable(), 1);
    world.engine.run_due();
    pollster::block_on(flushed).unwrap();
    assert_eq!(durable(), 2);
    pollster::block_on(orders.flush_async()).unwrap(); // nothing is owed any more
}

/// Misbehaves on demand, and counts.
#[derive(Debug, Default)]
struct Moody {
    asked: AtomicU32,
}

impl Partitioner for &'static Moody {
    fn partition(&self, _: &str, key: Option<&[u8]>, partitions: NonZeroU32) -> PartitionId {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match key {
            Some(b"panic") => panic!("the host's own fault"),
            Some(b"beyond") => PartitionId::new(partitions.get()),
            _ => PartitionId::new(0),
        }
    }

    fn taken(&self, _: &str, _: PartitionId, bytes: usize) {
        assert!(bytes < 1_000, "the host's own fault");
    }
}

#[test]
fn a_partitioner_that_misbehaves_costs_one_call() {
    let moody: &'static Moody = Box::leak(Box::default());
    let world = World::by_hand();
    let builder = world.producer().partitioner(moody);
    let (topic, orders) = world.orders(TopicConfig::new().partitions(2), builder);
    for (key, kind) in [("panic", ErrorKind::Panicked), ("beyond", ErrorKind::InvalidArgument)] {
        let record = || Record::new("v").key(key);
        assert_eq!(orders.send(record()).unwrap_err().kind(), kind);
        assert_eq!(orders.send_batch(&[Record::new("v"), record()]).unwrap_err().kind(), kind);
        assert_eq!(orders.enqueue(record()).unwrap_err().kind(), kind);
        assert_eq!(orders.send_async(record()).wait().unwrap_err().kind(), kind);
        let enqueued = pollster::block_on(orders.enqueue_async(record()));
        assert_eq!(enqueued.unwrap_err().kind(), kind);
    }
    assert!(values(&topic, 0).is_empty());
    let before = moody.asked.load(Ordering::Relaxed);
    orders.send(Record::new("fine")).unwrap();
    orders.send(Record::new(&"x".repeat(1_000))).unwrap(); // it is taken all the same
    orders.send_to(partition(0), Record::new("unasked")).unwrap();
    assert_eq!(moody.asked.load(Ordering::Relaxed) - before, 2, "once for each record");
    assert_eq!(values(&topic, 0).len(), 3);
}

#[test]
fn many_threads_share_a_producer() {
    const THREADS: usize = 8;
    const RECORDS: usize = 2_000;
    let world = World::with_threads();
    let builder = world.producer().batch_bytes(2_000);
    let (topic, orders) = world.orders(TopicConfig::new().partitions(3), builder);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let orders = orders.clone();
            scope.spawn(move || {
                let mut pending = Vec::new();
                for number in 0..RECORDS {
                    let (value, to) = (format!("{thread} {number}"), partition(number as u32 % 3));
                    match number % 7 {
                        0 => drop(orders.send_to(to, Record::new(&value)).unwrap()),
                        1 => drop(orders.send_batch_to(to, &[Record::new(&value)]).unwrap()),
                        _ => pending.push(orders.enqueue_to(to, Record::new(&value)).unwrap()),
                    }
                }
                orders.flush().unwrap();
                assert!(pending.iter().all(|pending| pending.try_get().unwrap().is_ok()));
            });
        }
    });
    let mut total = 0;
    for number in 0..3 {
        let mut last = [None; THREADS];
        for value in values(&topic, number) {
            let (thread, number) = value.split_once(' ').unwrap();
            let (thread, number): (usize, usize) =
                (thread.parse().unwrap(), number.parse().unwrap());
            assert!(last[thread] < Some(number), "in the order of the calls");
            last[thread] = Some(number);
            total += 1;
        }
    }
    assert_eq!(total, THREADS * RECORDS);
}

/// Where a record goes is known before, of a topic with one partition alone; that others come later
/// is of no harm.
#[test]
fn what_is_known_of_where_records_go_is_a_hint() {
    let world = World::by_hand();
    for (name, partitions) in [("one", 1), ("two", 2)] {
        world.create(name, TopicConfig::new().partitions(partitions));
    }
    let producer = world.producer().build().unwrap();
    let (one, two) = (producer.topic("one").unwrap(), producer.topic("two").unwrap());
    assert!(one.near.is_some() && two.near.is_none());
    world.engine.add_partitions("one", 3).unwrap();
    for (topic, partitions) in [(one, 3), (two, 2)] {
        let send = |key: u8| topic.send(Record::new("value").key(&[key])).unwrap().partition();
        let sent: std::collections::HashSet<_> = (0..90).map(send).collect();
        assert_eq!(sent.len(), partitions);
    }
}
