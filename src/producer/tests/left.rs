//! Batches that somebody has to remember: sealed by one who then failed, left to the timer, or of
//! a topic that is gone.

use std::sync::Barrier;
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::super::lanes::{Failures, Lanes};
use super::super::topics::Topics;
use super::*;
use crate::config::Durability;
use crate::error::ErrorKind;
use crate::sync::Mutex;
use crate::wait::WaitSet;

#[test]
fn a_sync_that_is_owed_to_a_topic_that_is_gone_outlives_a_sweep() {
    let world = World::by_hand();
    world.create("orders", TopicConfig::new());
    world.create("bills", TopicConfig::new());
    let builder = world.producer().durability(Durability::Power).batch_bytes(200);
    let builder = builder.buffer_bytes(600).when_buffer_full(BufferFull::Fail);
    let producer = builder.build().unwrap();
    let orders = producer.topic("orders").unwrap();
    let [small, full, large] = [100, 250, 450].map(|length| "x".repeat(length));
    let written = orders.enqueue(Record::new(&full)).unwrap();
    assert!(written.try_get().is_none(), "its sync is left to the timer");
    world.engine.delete_topic("orders").unwrap();
    let bills = producer.topic("bills").unwrap();
    bills.enqueue(Record::new(&small)).unwrap();
    let error = bills.enqueue(Record::new(&large)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "and a sweep is asked for");
    world.engine.run_due();
    assert!(written.try_get().is_some(), "whoever waits for it would wait for ever");
}

#[test]
fn a_flush_tells_of_records_whose_topic_is_gone() {
    let world = World::by_hand();
    world.create("orders", TopicConfig::new());
    world.create("bills", TopicConfig::new());
    world.create("parcels", TopicConfig::new());
    for (name, asynchronous) in [("orders", false), ("parcels", true)] {
        let producer = world.producer().build().unwrap();
        let lost = producer.topic(name).unwrap().enqueue(Record::new("lost")).unwrap();
        world.engine.delete_topic(name).unwrap();
        world.clock.advance(Duration::from_secs(1));
        world.engine.run_due();
        assert!(lost.try_get().unwrap().is_err());
        producer.topic("bills").unwrap().enqueue(Record::new("kept")).unwrap();
        let flushed = match asynchronous {
            false => producer.flush(),
            true => pollster::block_on(producer.flush_async()),
        };
        assert_eq!(flushed.unwrap_err().partition(), Some((name, partition(0))));
        producer.flush().unwrap(); // it was told
    }
}

fn names(topics: &Topics) -> Vec<String> {
    let mut names: Vec<_> =
        topics.all().iter().map(|lanes| lanes.topic().name().to_string()).collect();
    names.sort();
    names
}

/// They hold its files; and nobody looks for them where there can be none.
#[test]
fn lanes_of_a_deleted_topic_go_when_the_next_topic_is_asked_for() {
    let world = World::by_hand();
    let [a, b, c, d, e] =
        ["a", "b", "c", "d", "e"].map(|name| world.create(name, TopicConfig::new()));
    let (mut topics, left) = (Topics::default(), Failures::default());
    let mut ask = |topic: &Arc<Topic>, deleted: u64| {
        topics
            .lanes_of(topic, deleted, &left, || Lanes::new(topic.clone(), std::sync::Weak::new()));
        names(&topics)
    };
    ask(&a, 0);
    assert_eq!(ask(&b, 0), ["a", "b"]);
    world.engine.delete_topic("a").unwrap();
    assert_eq!(world.engine.topics_left(), 1);
    assert_eq!(ask(&c, 0), ["a", "b", "c"], "as if it had asked before");
    assert_eq!(ask(&b, 1), ["a", "b", "c"], "it was asked for before");
    assert_eq!(ask(&d, 1), ["b", "c", "d"]);
    // found, deleted, asked for
    assert_eq!(ask(&a, 1), ["a", "b", "c", "d"]);
    assert_eq!(ask(&e, 1), ["b", "c", "d", "e"]);
}

#[test]
fn lanes_of_a_deleted_topic_that_owed_an_answer_go_later() {
    let world = World::by_hand();
    for name in ["orders", "bills", "parcels"] {
        world.create(name, TopicConfig::new());
    }
    let builder = world.producer().durability(Durability::Power).batch_bytes(200);
    let producer = builder.build().unwrap();
    let orders = producer.topic("orders").unwrap();
    let written = orders.enqueue(Record::new(&"x".repeat(250))).unwrap();
    assert!(written.try_get().is_none(), "its sync is left to the timer");
    let lanes = Arc::downgrade(orders.lanes());
    drop(orders);
    world.engine.delete_topic("orders").unwrap();
    producer.topic("bills").unwrap();
    assert!(lanes.upgrade().is_some());
    world.engine.run_due();
    assert!(written.try_get().is_some());
    producer.topic("parcels").unwrap();
    assert!(lanes.upgrade().is_none());
}

/// A clock that does something else when it is asked, once.
#[derive(Clone, Debug)]
struct Meddling(ManualClock, Arc<Mutex<Option<Meddler>>>);

struct Meddler(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Meddler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl Clock for Meddling {
    fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    fn monotonic(&self) -> Duration {
        let meddler = self.1.lock().take();
        if let Some(Meddler(meddle)) = meddler {
            meddle();
        }
        self.0.monotonic()
    }
}

/// The record that opens a batch has its time read outside the lane's lock. Whoever comes between
/// seals that batch, and then fails.
#[test]
fn a_batch_that_made_way_for_a_record_that_is_refused_is_written() {
    let clock = Meddling(ManualClock::new(START), Arc::default());
    let engine = open(Threads::Host, Arc::new(clock.clone()), Arc::new(MemoryDisk::new()));
    let small = TopicConfig::new().max_bytes(2_048, WhenFull::Fail);
    // a record that is too large for the topic, and one that is too large to linger
    for (name, config, buffer_bytes) in
        [("orders", small.clone().max_batch_bytes(1_000), 1 << 20), ("bills", small, 2_500)]
    {
        engine.create_topics(&[NewTopic { name, config, internal: false }]).unwrap();
        let builder = builder(&engine).batch_bytes(1_000).buffer_bytes(buffer_bytes);
        let orders = builder.build().unwrap().topic(name).unwrap();
        let other = orders.clone();
        let meddle = move || {
            let refused = other.enqueue(Record::new(&"x".repeat(3_000))).unwrap_err();
            assert_ne!(refused.kind(), ErrorKind::Full, "{refused}");
        };
        *clock.1.lock() = Some(Meddler(Box::new(meddle)));
        let first = orders.enqueue(Record::new("first")).unwrap();
        assert!(clock.1.lock().is_none(), "the other came between");
        clock.0.advance(Duration::from_secs(1));
        engine.run_due();
        assert!(first.try_get().is_some(), "its time is long over");
    }
}

/// Stays in its wake-up until it is let go.
struct Slow(Barrier, Barrier);

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        self.0.wait();
        self.1.wait();
    }
}

/// Between an append and its sync readers are woken, which takes as long as it takes.
#[test]
fn a_flush_makes_the_sync_that_another_leaves_to_a_host_that_waits_in_it() {
    let world = World::by_hand();
    let builder = world.producer().durability(Durability::Power).batch_records(1);
    let (topic, orders) = world.orders(TopicConfig::new(), builder);
    let slow = Arc::new(Slow(Barrier::new(2), Barrier::new(2)));
    let waker = Waker::from(slow.clone());
    let waiting = WaitSet::new();
    let registration = topic.partition(partition(0)).unwrap().register(&waiting, 0, 0);
    waiting.arm(&registration);
    assert!(waiting.poll_wait(&mut Context::from_waker(&waker)).is_pending());
    let sender = orders.clone();
    let sending = std::thread::spawn(move || sender.enqueue(Record::new("v")).unwrap());
    slow.0.wait(); // appended
    let (tell, told) = mpsc::channel();
    let flushing = std::thread::spawn(move || drop(tell.send(orders.flush())));
    std::thread::sleep(Duration::from_millis(50)); // it has looked for syncs and waits
    slow.1.wait();
    let sent = sending.join().unwrap();
    let flushed = told.recv_timeout(Duration::from_secs(10));
    flushed.expect("nobody else would end it").unwrap();
    flushing.join().unwrap();
    assert_eq!(sent.try_get().unwrap().unwrap().offset().get(), 0);
}
