//! Waiting: woken by the append, by a close, by hand; threads and tasks; giving up.

use super::*;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_append_wakes_a_poll() {
    for spin in [Duration::ZERO, Duration::from_millis(5)] {
        let world = World::new();
        world.create("orders", 2);
        let mut consumer = world.group("g").subscribe(["orders"]).spin(spin).build().unwrap();
        thread::scope(|scope| {
            let polled = scope.spawn(move || {
                let mut seen = 0;
                while seen < 200 {
                    seen += consumer.poll(LONG).unwrap().len();
                }
                seen
            });
            for number in 0..200 {
                world.send("orders", number % 2, &["x"]);
                if number % 50 == 0 {
                    thread::sleep(Duration::from_millis(2));
                }
            }
            assert_eq!(polled.join().unwrap(), 200);
        });
    }
}

/// The wait's own deadline is far away and the clock stands still: only a wake-up ends it.
#[test]
fn a_sync_wakes_who_sees_durable_records_only() {
    for how in ["flush", "flush_later", "all"] {
        let world = World::new();
        world.create("orders", 1);
        let partition = world.partition("orders", 0);
        let mut consumer = world.group("g").subscribe(["orders"]).durable_only().build().unwrap();
        thread::scope(|scope| {
            let polled = scope.spawn(|| values(&consumer.poll(LONG).unwrap()));
            thread::sleep(Duration::from_millis(10));
            world.send("orders", 0, &["a"]);
            thread::sleep(Duration::from_millis(10));
            assert!(!polled.is_finished(), "{how}: nothing is durable");
            match how {
                "flush" => partition.flush().unwrap(),
                "flush_later" => pollster::block_on(partition.flush_later()).unwrap(),
                _ => world.engine.flush().unwrap(),
            }
            assert_eq!(polled.join().unwrap(), ["a"], "{how}");
        });
    }
}

#[test]
fn a_poll_without_records_ends_in_time() {
    let world = World::new();
    world.create("orders", 1);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    assert!(consumer.poll(Duration::from_millis(20)).unwrap().is_empty());
    assert!(consumer.poll(NONE).unwrap().is_empty());
    let counters = world.offsets.coordinator().counters();
    assert_eq!((counters.polls(), counters.waits()), (2, 1));
    let mut other = world.group("h").subscribe(["orders"]).build().unwrap();
    world.send("orders", 0, &["a"]);
    assert_eq!(other.poll(LONG).unwrap().len(), 1);
    drop(consumer); // what it counted stays
    assert_eq!((counters.polls(), counters.waits(), counters.records()), (3, 1, 1));
    other.poll(NONE).unwrap();
    assert_eq!(counters.polls(), 4);
    drop(other);
    assert_eq!((counters.polls(), counters.records()), (4, 1));
}

#[test]
fn an_interrupt_ends_the_wait() {
    let world = World::new();
    world.create("orders", 1);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    let interrupt = consumer.interrupt_handle();
    thread::scope(|scope| {
        let polled = scope.spawn(|| consumer.poll(LONG).unwrap().len());
        thread::sleep(Duration::from_millis(10));
        interrupt.interrupt();
        assert_eq!(polled.join().unwrap(), 0);
    });
    drop(consumer);
    interrupt.interrupt();
}

#[test]
fn a_close_ends_the_wait() {
    for topics in [&["orders"][..], &["not-there-yet"]] {
        let world = World::new();
        world.create("orders", 1);
        let mut consumer = world.group("g").subscribe(topics.iter().copied()).build().unwrap();
        let mut paused = world.group("h").subscribe(["orders"]).build().unwrap();
        paused.pause("orders", 0).unwrap();
        thread::scope(|scope| {
            let first = scope.spawn(|| consumer.poll(LONG).unwrap_err().kind());
            let second =
                scope.spawn(|| pollster::block_on(paused.poll_async()).unwrap_err().kind());
            thread::sleep(Duration::from_millis(10));
            world.engine.close().unwrap();
            assert_eq!(first.join().unwrap(), ErrorKind::Closed);
            assert_eq!(second.join().unwrap(), ErrorKind::Closed);
        });
        assert_eq!(consumer.try_poll().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(consumer.commit().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(consumer.read_to_end().unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn a_new_topic_wakes_its_subscriber() {
    let world = World::new();
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    thread::scope(|scope| {
        let polled = scope.spawn(|| values(&consumer.poll(LONG).unwrap()));
        thread::sleep(Duration::from_millis(10));
        world.create("orders", 1);
        world.send("orders", 0, &["a"]);
        assert_eq!(polled.join().unwrap(), ["a"]);
    });
}

#[test]
fn a_poll_waits_for_enough_but_not_for_ever() {
    let world = World::new();
    world.create("orders", 1);
    let builder = world.group("g").subscribe(["orders"]).min_bytes(1_000);
    let mut consumer = builder.max_wait(Duration::from_millis(30)).build().unwrap();
    world.send("orders", 0, &["a", "b"]);
    assert_eq!(consumer.poll(LONG).unwrap().len(), 2, "max_wait is over");
    let large = "x".repeat(600);
    thread::scope(|scope| {
        let world = &world;
        let sender = scope.spawn(move || {
            for _ in 0..2 {
                thread::sleep(Duration::from_millis(2));
                world.send("orders", 0, &[&large]);
            }
        });
        let mut seen = 0;
        while seen < 2 {
            seen += consumer.poll(LONG).unwrap().len();
        }
        sender.join().unwrap();
    });
    world.send("orders", 0, &["c"]);
    assert_eq!(consumer.try_poll().unwrap().len(), 1, "it never waits");
}

#[test]
fn a_future_is_woken_by_the_append() {
    let world = World::new();
    world.create("orders", 1);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(consumer.poll_async());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
    world.send("orders", 0, &["a"]);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(records) = future.as_mut().poll(&mut cx) else { panic!("still pending") };
    assert_eq!(values(&records.unwrap()), ["a"]);
}

#[test]
fn a_future_that_is_dropped_loses_nothing() {
    let world = World::new();
    world.create("orders", 1);
    let builder = world.group("g").subscribe(["orders"]).min_bytes(10_000).max_wait(LONG);
    let mut consumer = builder.build().unwrap();
    let mut sent = 0;
    for _ in 0..20 {
        let waker = Waker::from(Arc::new(Count::default()));
        let mut future = pin!(consumer.poll_async());
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        world.send("orders", 0, &[&sent.to_string()]);
        sent += 1;
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::ZERO, "nothing was handed out");
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), None);
    let expected: Vec<_> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(values(&consumer.try_poll().unwrap()), expected);
}

#[test]
fn what_is_staged_is_fetched_again_after_a_seek() {
    let world = World::new();
    world.create("orders", 2);
    world.send("orders", 0, &["a", "b"]);
    world.send("orders", 1, &["c"]);
    let builder = world.group("g").subscribe(["orders"]).min_bytes(10_000).max_wait(LONG);
    let mut consumer = builder.build().unwrap();
    {
        let waker = Waker::from(Arc::new(Count::default()));
        let mut future = pin!(consumer.poll_async());
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    consumer.seek("orders", 0, Offset::new(1)).unwrap();
    let mut seen = values(&consumer.try_poll().unwrap());
    seen.sort();
    assert_eq!(seen, ["b", "c"]);
}

#[test]
fn a_futures_patience_goes_by_the_stores_clock() {
    let world = World::with(Threads::Host);
    world.create("orders", 1);
    let builder = world.group("g").subscribe(["orders"]).min_bytes(10_000);
    let mut consumer = builder.max_wait(Duration::from_secs(5)).build().unwrap();
    world.send("orders", 0, &["a"]);
    let waker = Waker::from(Arc::new(Count::default()));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(consumer.poll_async());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    world.clock.advance(Duration::from_secs(4));
    world.engine.run_due();
    assert!(future.as_mut().poll(&mut cx).is_pending());
    world.clock.advance(Duration::from_secs(2));
    world.engine.run_due();
    let Poll::Ready(records) = future.as_mut().poll(&mut cx) else { panic!("still pending") };
    assert_eq!(records.unwrap().len(), 1);
}

#[test]
fn without_threads_a_poll_runs_what_is_due() {
    struct Sender(Arc<Partition>);
    impl crate::engine::Due for Sender {
        fn run(&self, _now: Duration) -> Option<Duration> {
            send_one(&self.0, &[Record::new("late")], START);
            None
        }
    }
    let world = World::with(Threads::Host);
    world.create("orders", 1);
    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    let sender = Arc::new(Sender(world.partition("orders", 0)));
    let weak: std::sync::Weak<dyn crate::engine::Due> = Arc::downgrade(&sender) as _;
    let due = world.clock.monotonic() + Duration::from_secs(1);
    world.engine.timers().schedule(due, weak);
    thread::scope(|scope| {
        let polled = scope.spawn(|| values(&consumer.poll(LONG).unwrap()));
        thread::sleep(Duration::from_millis(20));
        world.clock.advance(Duration::from_secs(2));
        assert_eq!(polled.join().unwrap(), ["late"]);
    });
}

#[test]
fn consumers_and_their_futures_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let world = World::new();
    world.create("orders", 1);
    let mut consumer = is_send(world.group("g").subscribe(["orders"]).build().unwrap());
    is_send(consumer.interrupt_handle());
    drop(is_send(consumer.poll_async()));
    drop(is_send(consumer.commit_async()));
    drop(is_send(consumer.close_async()));
}

/// Who spins looks for itself: appends find nobody to wake, until it has spun for long enough.
#[test]
fn a_consumer_that_spins_is_not_armed_until_it_parks() {
    let world = World::new();
    world.create("orders", 1);
    let partition = world.partition("orders", 0);
    let spin = Duration::from_millis(50);
    let mut consumer = world.group("g").subscribe(["orders"]).spin(spin).build().unwrap();
    assert!(consumer.try_poll().unwrap().is_empty());
    assert_eq!(partition.signal().armed_count(), 0);
    world.send("orders", 0, &["a"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a"], "all that was sent before");
    thread::scope(|scope| {
        let polled = scope.spawn(|| values(&consumer.poll(LONG).unwrap()));
        while partition.signal().armed_count() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        world.send("orders", 0, &["b"]);
        assert_eq!(polled.join().unwrap(), ["b"]);
    });
    // a task leaves its waker: it arms as well
    let mut waiting = pin!(consumer.poll_async());
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(partition.signal().armed_count(), 1);
    world.send("orders", 0, &["c"]);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(values(&pollster::block_on(waiting).unwrap()), ["c"]);
}

/// While it spins it is told of all that it is told of while it is parked.
#[test]
fn what_ends_a_wait_ends_spinning() {
    for partitions in [1, 20] {
        let world = World::new();
        world.create("orders", partitions);
        let assigned = (0..partitions).map(|id| ("orders", id));
        let mut consumer = world.reader().assign(assigned).spin(LONG).build().unwrap();
        let interrupt = consumer.interrupt_handle();
        let (reached, steps) = mpsc::channel();
        thread::scope(|scope| {
            let polled = scope.spawn(move || {
                let mut seen = 0;
                while seen < partitions as usize {
                    seen += consumer.poll(LONG).unwrap().len();
                }
                reached.send(()).unwrap();
                let interrupted = consumer.poll(LONG).unwrap().is_empty();
                let timed_out = consumer.poll(Duration::from_millis(5)).unwrap().is_empty();
                reached.send(()).unwrap();
                (interrupted, timed_out, consumer.poll(LONG).unwrap_err().kind())
            });
            for id in 0..partitions {
                thread::sleep(Duration::from_millis(1));
                world.send("orders", id, &["x"]);
            }
            steps.recv().unwrap();
            thread::sleep(Duration::from_millis(10));
            interrupt.interrupt();
            steps.recv().unwrap();
            thread::sleep(Duration::from_millis(10));
            world.delete("orders");
            assert_eq!(polled.join().unwrap(), (true, true, ErrorKind::NotFound));
        });
    }
}

/// A partition that is paused or moved while it is watched is not lost.
#[test]
fn what_is_watched_can_be_paused_and_moved() {
    let world = World::new();
    world.create("orders", 1);
    let mut consumer = world.group("g").subscribe(["orders"]).spin(LONG).build().unwrap();
    assert!(consumer.try_poll().unwrap().is_empty());
    consumer.pause("orders", 0).unwrap();
    world.send("orders", 0, &["a", "b"]);
    assert!(consumer.try_poll().unwrap().is_empty());
    consumer.resume("orders", 0).unwrap();
    assert_eq!(values(&consumer.poll(LONG).unwrap()), ["a", "b"]);
    assert!(consumer.try_poll().unwrap().is_empty());
    consumer.seek("orders", 0, Offset::new(1)).unwrap();
    assert_eq!(values(&consumer.poll(LONG).unwrap()), ["b"]);
}
