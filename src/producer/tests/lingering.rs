//! What lingers: until it is full, until it is due, within its memory, in order.
//!
//! Time is the test's own: nothing is due before the clock was moved.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::*;
use crate::config::Durability;
use crate::engine::Due;
use crate::error::{ErrorKind, Outcome};
use crate::wait::WaitSet;

const LINGER: Duration = Duration::from_millis(5);

#[test]
fn a_batch_is_written_when_it_is_due() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new(), world.producer());
    let one = orders.enqueue(Record::new("one")).unwrap();
    world.clock.advance(LINGER - Duration::from_millis(1));
    let two = orders.enqueue(Record::new("two")).unwrap();
    world.engine.run_due();
    assert!(one.try_get().is_none() && values(&topic, 0).is_empty(), "not acknowledged");
    world.clock.advance(Duration::from_millis(1));
    world.engine.run_due();
    assert_eq!(batches(&topic, 0), [["one", "two"]]);
    assert_eq!(one.try_get().unwrap().unwrap().offset().get(), 0);
    assert_eq!(two.try_get().unwrap().unwrap().offset().get(), 1);
    let three = orders.enqueue(Record::new("three")).unwrap();
    assert_eq!(world.engine.run_due(), Some(2 * LINGER), "the clock stands at one linger");
    assert!(three.try_get().is_none());
    world.clock.advance(LINGER);
    world.engine.run_due();
    assert_eq!(three.try_get().unwrap().unwrap().offset().get(), 2);
}

#[test]
fn a_batch_is_written_when_it_is_full() {
    let world = World::by_hand();
    let builder = world.producer().batch_records(3);
    let (topic, orders) = world.orders(TopicConfig::new(), builder);
    let pending: Vec<_> =
        (0..7).map(|n| orders.enqueue(Record::new(&n.to_string())).unwrap()).collect();
    assert_eq!(batches(&topic, 0), [["0", "1", "2"], ["3", "4", "5"]]);
    assert!(pending[5].try_get().is_some() && pending[6].try_get().is_none());
    let full = world.producer().batch_bytes(500).build().unwrap().topic("orders").unwrap();
    let value = "x".repeat(200);
    for _ in 0..3 {
        full.enqueue(Record::new(&value)).unwrap();
    }
    assert_eq!(batches(&topic, 0)[2].len(), 3, "it passes its bytes by its last record alone");
}

/// Keeps the timer's thread busy.
struct Busy {
    begins: Barrier,
    ends: Barrier,
}

impl Due for Busy {
    fn run(&self, _: Duration) -> Option<Duration> {
        self.begins.wait();
        self.ends.wait();
        None
    }
}

#[test]
fn large_batches_are_left_to_the_timer_until_it_is_behind() {
    let world = World::with_threads();
    let builder = world.producer().linger(Duration::from_secs(3_600));
    let (topic, orders) = world.orders(TopicConfig::new(), builder);
    let busy = Arc::new(Busy { begins: Barrier::new(2), ends: Barrier::new(2) });
    let due: Weak<dyn Due> = Arc::downgrade(&busy) as Weak<dyn Due>;
    world.engine.timers().schedule(Duration::ZERO, due);
    busy.begins.wait();
    let value = "x".repeat(16_000); // five make a batch of the default size
    let enqueue = |records: usize| {
        (0..records).map(|_| orders.enqueue(Record::new(&value)).unwrap()).collect::<Vec<_>>()
    };
    let left = enqueue(16 * 5);
    assert!(values(&topic, 0).is_empty() && left.iter().all(|left| left.try_get().is_none()));
    let last = enqueue(5).pop().unwrap();
    assert_eq!(last.try_get().unwrap().unwrap().offset().get(), 84, "one batch more than may wait");
    assert!(left.iter().all(|left| left.try_get().is_some()), "those before it were not overtaken");
    let left = enqueue(5).pop().unwrap();
    busy.ends.wait();
    assert_eq!(left.wait().unwrap().offset().get(), 89, "by the timer");
    assert_eq!(batches(&topic, 0).len(), 18);
}

#[test]
fn who_wants_no_company_or_has_no_room_appends_large_batches_himself() {
    let world = World::with_threads();
    let value = "x".repeat(70_000);
    let at_once = world.producer().linger(Duration::ZERO);
    let (topic, orders) = world.orders(TopicConfig::new(), at_once);
    let short = world.producer().buffer_bytes(100_000).build().unwrap().topic("orders").unwrap();
    for (records, orders) in [(1, orders), (2, short)] {
        let pending = orders.enqueue(Record::new(&value)).unwrap();
        assert!(pending.try_get().is_some());
        assert_eq!(values(&topic, 0).len(), records);
    }
}

#[test]
fn large_batches_keep_the_order_of_the_calls() {
    const RECORDS: i64 = 400;
    let world = World::with_threads();
    let (topic, orders) = world.orders(TopicConfig::new(), world.producer());
    let send = |sender: &str| {
        let mut before = -1;
        let mut pending = Vec::new();
        for number in 0..RECORDS {
            let value = format!("{sender}{number:>999}");
            match number % 97 {
                50 => before = orders.send(Record::new(&value)).unwrap().offset().get(),
                _ => pending.push((before, orders.enqueue(Record::new(&value)).unwrap())),
            }
        }
        orders.flush().unwrap();
        for (before, pending) in pending {
            assert!(pending.wait().unwrap().offset().get() > before);
        }
    };
    std::thread::scope(|scope| {
        for sender in ["a", "b"] {
            let send = &send;
            scope.spawn(move || send(sender));
        }
    });
    let values = values(&topic, 0);
    for sender in ["a", "b"] {
        let own = values.iter().filter_map(|value| value.strip_prefix(sender));
        assert!(own.map(|number| number.trim().parse::<i64>().unwrap()).eq(0..RECORDS), "{sender}");
    }
}

#[test]
fn a_timer_that_naps_finds_what_is_handed_over_meanwhile() {
    let engine = open(Threads::Own, Arc::new(SystemClock::new()), Arc::new(MemoryDisk::new()));
    let config = TopicConfig::new();
    let new = [NewTopic { name: "orders", config, internal: false }];
    engine.create_topics(&new).unwrap();
    let builder = builder(&engine).linger(Duration::from_secs(3_600));
    let orders = builder.build().unwrap().topic("orders").unwrap();
    let value = "x".repeat(40_000); // two make a batch of the default size
    for batch in 0..300_u64 {
        let last = [(); 2].map(|()| orders.enqueue(Record::new(&value)).unwrap());
        let pause = Duration::from_micros(batch % 17 * 20);
        if batch % 3 != 0 {
            continue; // and the next comes right behind it
        }
        std::thread::sleep(pause);
        for pending in last {
            let receipt = pending.wait_for(Duration::from_secs(10)).expect("the timer came");
            assert!(receipt.is_ok());
        }
    }
}

#[test]
fn a_timer_that_was_set_for_a_full_batch_serves_the_next() {
    let world = World::by_hand();
    let builder = world.producer().batch_records(2);
    let (topic, orders) = world.orders(TopicConfig::new(), builder);
    orders.enqueue(Record::new("a")).unwrap();
    world.clock.advance(Duration::from_millis(3));
    orders.enqueue(Record::new("b")).unwrap(); // full: written
    orders.enqueue(Record::new("c")).unwrap(); // due at 8 ms; the timer comes at 5
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(world.engine.run_due(), Some(Duration::from_millis(8)));
    assert_eq!(batches(&topic, 0), [["a", "b"]]);
    world.clock.advance(Duration::from_millis(3));
    world.engine.run_due();
    assert_eq!(batches(&topic, 0), [vec!["a", "b"], vec!["c"]]);
}

#[test]
fn the_topics_limit_splits_batches() {
    let world = World::by_hand();
    let config = TopicConfig::new().set("max.message.bytes", "1000").unwrap();
    let (topic, orders) = world.orders(config, world.producer());
    let value = "x".repeat(400);
    let pending: Vec<_> = (0..5).map(|_| orders.enqueue(Record::new(&value)).unwrap()).collect();
    orders.flush().unwrap();
    let sizes: Vec<_> = batches(&topic, 0).iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 1]);
    for (number, pending) in (0..).zip(pending) {
        assert_eq!(pending.wait().unwrap().offset().get(), number);
    }
    let large = "x".repeat(1_000);
    let error = orders.enqueue(Record::new(&large)).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TooLarge, Outcome::NotWritten));
    assert_eq!(error.partition(), Some(("orders", partition(0))));
    orders.flush().unwrap();
    assert_eq!(values(&topic, 0).len(), 5);
}

#[test]
fn a_batch_that_no_segment_takes_any_more_uses_no_offset() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new(), world.producer());
    let large = orders.enqueue(Record::new(&"x".repeat(2_000))).unwrap();
    world.engine.alter_topic("orders", TopicConfig::new().segment_bytes(1024)).unwrap();
    orders.flush().unwrap_err();
    let error = large.try_get().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TooLarge, Outcome::NotWritten));
    assert_eq!(orders.send(Record::new("small")).unwrap().offset().get(), 0);
    assert_eq!(values(&topic, 0), ["small"]);
}

#[test]
fn without_linger_each_is_written_at_once() {
    let world = World::by_hand();
    let builder = world.producer().linger(Duration::ZERO);
    let (topic, orders) = world.orders(TopicConfig::new(), builder);
    assert!(orders.enqueue(Record::new("one")).unwrap().try_get().is_some());
    assert!(orders.enqueue(Record::new("two")).unwrap().try_get().is_some());
    assert_eq!(batches(&topic, 0), [["one"], ["two"]]);
}

#[test]
fn the_order_of_the_calls_is_the_order_of_the_log() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new().partitions(2), world.producer());
    let lingers = orders.enqueue_to(partition(0), Record::new("1")).unwrap();
    let other = orders.enqueue_to(partition(1), Record::new("other")).unwrap();
    orders.send_to(partition(0), Record::new("2")).unwrap();
    assert_eq!(lingers.try_get().unwrap().unwrap().offset().get(), 0, "the send wrote it first");
    assert!(other.try_get().is_none(), "another partition's is none of its business");
    orders.enqueue_to(partition(0), Record::new("3")).unwrap();
    orders.clone().send_batch_to(partition(0), &[Record::new("4")]).unwrap();
    orders.enqueue_to(partition(0), Record::new("5")).unwrap();
    pollster::block_on(orders.send_to_async(partition(0), Record::new("6"))).unwrap();
    assert_eq!(values(&topic, 0), ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_send_leaves_the_sync_of_what_lingered_to_the_timer() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new(), world.producer());
    let durable = || topic.partition(partition(0)).unwrap().offsets().unwrap().durable.get();
    let power = orders.with_durability(Durability::Power);
    let pending = power.enqueue(Record::new("1")).unwrap();
    orders.send(Record::new("2")).unwrap();
    assert_eq!(values(&topic, 0), ["1", "2"]);
    assert!(pending.try_get().is_none(), "it was promised more");
    assert_eq!(durable(), 0);
    world.engine.run_due();
    assert_eq!(pending.try_get().unwrap().unwrap().offset().get(), 0);
    assert!(durable() >= 1);
}

#[test]
fn memory_is_bounded_by_failing() {
    let world = World::by_hand();
    let builder = world.producer().batch_bytes(4_000).buffer_bytes(4_000);
    let builder = builder.when_buffer_full(BufferFull::Fail);
    let (topic, orders) = world.orders(TopicConfig::new().partitions(100), builder);
    let value = "x".repeat(300);
    let mut taken = 0;
    let error = loop {
        match orders.enqueue_to(partition(taken), Record::new(&value)) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_full() && error.is_retriable(), "{error}");
    assert!((3..=9).contains(&taken), "{taken} of about 400 bytes in 4,000");
    assert!(values(&topic, 0).is_empty());
    world.engine.run_due(); // the sweep it asked for
    assert_eq!(values(&topic, 0).len(), 1);
    orders.enqueue_to(partition(taken), Record::new(&value)).unwrap();
    let error = orders.enqueue(Record::new(&"x".repeat(4_000))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let error = pollster::block_on(orders.enqueue_async(Record::new(&"x".repeat(4_000))));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TooLarge);
    orders.flush().unwrap();
    assert_eq!(orders.core().memory_granted(), 0);
}

#[test]
fn memory_is_bounded_by_blocking() {
    for world in [World::by_hand(), World::with_threads()] {
        let builder = world.producer().batch_bytes(1_000).buffer_bytes(3_000);
        let builder = builder.linger(Duration::from_secs(3_600));
        let (topic, orders) = world.orders(TopicConfig::new().partitions(100), builder);
        for number in 0..100 {
            // the clock stands still: only the sweep makes room
            orders.enqueue_to(partition(number), Record::new(&"x".repeat(300))).unwrap();
            assert!(orders.core().memory_granted() <= 3_000);
        }
        orders.flush().unwrap();
        assert!((0..100).all(|number| values(&topic, number).len() == 1));
    }
}

#[test]
fn blocking_ends_at_its_deadline() {
    let world = World::with_threads();
    let patience = Duration::from_millis(20);
    let builder = world.producer().batch_bytes(3_000).buffer_bytes(3_000);
    let builder = builder.when_buffer_full(BufferFull::Block(patience));
    let config = TopicConfig::new();
    let config = config.max_bytes(2_000, WhenFull::Block(Duration::from_millis(200)));
    let (topic, orders) = world.orders(config, builder);
    let value = "x".repeat(1_600);
    orders.send(Record::new(&value)).unwrap();
    // The topic has no room for the batch, so the sweep waits for it and the batch keeps its
    // memory meanwhile.
    let pending = orders.enqueue(Record::new(&value)).unwrap();
    let error = orders.enqueue(Record::new(&value)).unwrap_err();
    assert!(error.is_full() && error.is_retriable(), "{error}");
    assert!(error.to_string().contains("within 20ms"), "{error}");
    assert!(pending.wait().unwrap_err().is_full());
    assert_eq!(values(&topic, 0).len(), 1);
}

#[test]
fn a_task_waits_for_room() {
    let world = World::with_threads();
    let builder = world.producer().batch_bytes(1_000).buffer_bytes(1_000);
    let builder = builder.linger(Duration::from_secs(3_600));
    let (topic, orders) = world.orders(TopicConfig::new().partitions(10), builder);
    pollster::block_on(async {
        for _ in 0..50 {
            orders.enqueue_async(Record::new(&"x".repeat(300)).key("k")).await.unwrap();
        }
        orders.flush_async().await.unwrap();
    });
    let total: usize = (0..10).map(|number| values(&topic, number).len()).sum();
    assert_eq!(total, 50);
}

#[test]
fn waiting_without_threads_runs_the_due_work() {
    let clock = Arc::new(SystemClock::new());
    let engine = open(Threads::Host, clock, Arc::new(MemoryDisk::new()));
    let new = NewTopic { name: "orders", config: TopicConfig::new(), internal: false };
    engine.create_topics(&[new]).unwrap();
    let producer = builder(&engine).build().unwrap();
    let orders = producer.topic("orders").unwrap();
    assert_eq!(orders.enqueue(Record::new("v")).unwrap().wait().unwrap().offset().get(), 0);
    let pending = orders.enqueue(Record::new("v")).unwrap();
    let receipt = pending.wait_for(Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(receipt.offset().get(), 1);
    let slow = builder(&engine).linger(Duration::MAX).build().unwrap();
    let pending = slow.topic("orders").unwrap().enqueue(Record::new("v")).unwrap();
    assert!(pending.wait_for(Duration::from_millis(20)).is_none());
    drop(slow);
    assert_eq!(pending.wait().unwrap().offset().get(), 2, "the drop flushed");
}

#[test]
fn a_pending_is_a_future_and_a_thread_waits_for_it() {
    let world = World::with_threads();
    let (_, orders) = world.orders(TopicConfig::new(), world.producer());
    let [one, two] = [(); 2].map(|()| orders.enqueue(Record::new("v")).unwrap());
    let thread = std::thread::spawn(move || two.wait().unwrap().offset().get());
    let clock = world.clock.clone();
    let mover = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        clock.advance(LINGER);
    });
    assert_eq!(pollster::block_on(one).unwrap().offset().get(), 0);
    assert_eq!(thread.join().unwrap(), 1);
    mover.join().unwrap();
}

/// Sends from inside a wake-up, as an executor that polls in place would.
struct Eager {
    orders: TopicProducer,
    woken: AtomicU32,
}

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.orders.enqueue(Record::new("from the waker")).unwrap();
        self.orders.send(Record::new("sent by the waker")).unwrap();
    }
}

#[test]
fn a_waker_may_use_the_producer() {
    let world = World::by_hand();
    let (topic, orders) = world.orders(TopicConfig::new(), world.producer());
    let eager = Arc::new(Eager { orders: orders.clone(), woken: AtomicU32::new(0) });
    let waker = Waker::from(eager.clone());
    let mut cx = Context::from_waker(&waker);
    let waiting = WaitSet::new();
    let registration = topic.partition(partition(0)).unwrap().register(&waiting, 0, 0);
    waiting.arm(&registration);
    assert!(waiting.poll_wait(&mut cx).is_pending());
    let mut pending = orders.enqueue(Record::new("first")).unwrap();
    assert!(Pin::new(&mut pending).poll(&mut cx).is_pending());
    orders.flush().unwrap(); // wakes whoever reads, then whoever awaits the record
    assert_eq!(eager.woken.load(Ordering::Relaxed), 2);
    assert_eq!(values(&topic, 0).len(), 5);
    assert_eq!(pending.wait().unwrap().offset().get(), 0);
}

/// Enqueues from inside a wake-up, to the partition whose record was refused.
struct Neighbour {
    orders: TopicProducer,
    woken: AtomicU32,
}

impl Wake for Neighbour {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.orders.enqueue_to(partition(1), Record::new("from the waker")).unwrap();
    }
}

/// The memory of the batch that it would have begun comes free then, and wakes who waits for some.
#[test]
fn a_waker_may_enqueue_where_a_record_was_refused() {
    let world = World::by_hand();
    let builder = world.producer().batch_bytes(1_000).buffer_bytes(4_096);
    let (_, orders) = world.orders(TopicConfig::new().partitions(2), builder);
    let key = (0..)
        .map(|n| n.to_string())
        .find(|key| orders.partition_for_key(key).is_ok_and(|its| its == partition(0)));
    let (key, large) = (key.unwrap(), [7; 3_200]);
    let _held = orders.enqueue_to(partition(0), Record::new(&large[..900])).unwrap();
    let neighbour = Arc::new(Neighbour { orders: orders.clone(), woken: AtomicU32::new(0) });
    let waker = Waker::from(neighbour.clone());
    let mut waiting = Box::pin(orders.enqueue_async(Record::new(&large).key(&key)));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let refused = Record::new("early").timestamp(Timestamp::from_millis(-5));
    let error = orders.enqueue_to(partition(1), refused).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    assert_eq!(neighbour.woken.load(Ordering::Relaxed), 1);
}
