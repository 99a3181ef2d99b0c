//! How it ends: failed batches, drops, closes, and what cannot be built.
//!
//! Whatever happens to a record that was taken, its `Pending` ends, and what went wrong is told by
//! the flush, the close or the log.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::config::Durability;
use crate::error::{ErrorKind, Outcome};

/// A topic that has room for a small record alone.
fn nearly_full(world: &World, partitions: u32) -> (Arc<Topic>, TopicProducer) {
    let config = TopicConfig::new().partitions(partitions).max_bytes(2_048, WhenFull::Fail);
    let (topic, orders) = world.orders(config, world.producer());
    orders.send_to(partition(0), Record::new(&"f".repeat(1_500))).unwrap();
    (topic, orders)
}

#[test]
fn a_failed_batch_fails_all_its_records_and_no_other() {
    let world = World::by_hand();
    let (topic, orders) = nearly_full(&world, 2);
    let value = "x".repeat(300);
    let large: Vec<_> =
        (0..4).map(|_| orders.enqueue_to(partition(0), Record::new(&value)).unwrap()).collect();
    let small = orders.enqueue_to(partition(1), Record::new("small")).unwrap();
    let error = orders.flush().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Full, Outcome::NotWritten));
    for pending in large {
        let same = pending.wait().unwrap_err();
        assert_eq!(same.to_string(), error.to_string());
        assert_eq!(same.partition(), Some(("orders", partition(0))));
    }
    assert_eq!(small.wait().unwrap().offset().get(), 0);
    orders.flush().unwrap(); // it was reported
    let later = orders.enqueue_to(partition(0), Record::new("later")).unwrap();
    orders.flush().unwrap();
    assert_eq!(later.wait().unwrap().offset().get(), 1, "no offset was used");
    assert_eq!(values(&topic, 0)[1..], ["later"]);
}

#[test]
fn records_that_fit_one_by_one_are_not_gathered_to_a_batch_that_never_does() {
    let world = World::by_hand();
    let config = TopicConfig::new().max_bytes(2_048, WhenFull::DropOldest);
    let (topic, orders) = world.orders(config, world.producer());
    let values: Vec<String> = (0..9).map(|number| number.to_string().repeat(300)).collect();
    let taken: Vec<_> =
        values.iter().map(|value| orders.enqueue(Record::new(value)).unwrap()).collect();
    orders.flush().unwrap();
    let offsets = taken.into_iter().map(|pending| pending.wait().unwrap().offset().get());
    assert!(offsets.eq(0..9));
    assert_eq!(super::values(&topic, 0).pop(), values.last().cloned());
    let large = orders.enqueue(Record::new(&"x".repeat(2_048))).unwrap();
    assert_eq!(orders.flush().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(large.wait().unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn a_flush_reports_what_failed_before_it() {
    let world = World::by_hand();
    let (_, orders) = nearly_full(&world, 1);
    drop(orders.enqueue(Record::new(&"x".repeat(1_200))).unwrap());
    world.clock.advance(Duration::from_millis(5));
    world.engine.run_due();
    assert!(orders.flush().unwrap_err().is_full());
    orders.flush().unwrap();
    drop(orders.enqueue(Record::new(&"x".repeat(1_200))).unwrap());
    let flushed = pollster::block_on(orders.flush_async());
    assert!(flushed.unwrap_err().is_full());
}

#[test]
fn the_last_handle_to_go_flushes() {
    let world = World::by_hand();
    let producer = world.producer().build().unwrap();
    let topic = world.create("orders", TopicConfig::new());
    let orders = producer.topic("orders").unwrap();
    let clone = producer.clone();
    let pending = orders.enqueue(Record::new("v")).unwrap();
    drop(producer);
    drop(clone);
    assert!(pending.try_get().is_none(), "the topic's handle is one too");
    drop(orders);
    assert_eq!(pending.try_get().unwrap().unwrap().offset().get(), 0);
    assert_eq!(values(&topic, 0), ["v"]);
    world.clock.advance(Duration::from_secs(1));
    world.engine.run_due(); // the timer's task is gone with it
}

#[test]
fn a_drop_that_cannot_flush_fails_its_records_quietly() {
    let world = World::by_hand();
    let (_, orders) = nearly_full(&world, 1);
    let pending = orders.enqueue(Record::new(&"x".repeat(1_200))).unwrap();
    drop(orders);
    assert!(pending.wait().unwrap_err().is_full());
}

#[test]
fn a_drop_serves_syncs_that_were_asked_for() {
    let world = World::by_hand();
    let builder = world.producer().durability(Durability::Power);
    let (_, orders) = world.orders(TopicConfig::new(), builder);
    let pending = orders.send_async(Record::new("v"));
    assert!(pending.try_get().is_none());
    drop(orders);
    assert!(pending.try_get().unwrap().is_ok());
}

#[test]
fn closing_the_store_flushes_and_then_refuses() {
    for world in [World::by_hand(), World::with_threads()] {
        let builder = world.producer().durability(Durability::Power);
        let builder = builder.linger(Duration::from_secs(3_600));
        let (_, orders) = world.orders(TopicConfig::new(), builder);
        let pending = orders.enqueue(Record::new("v")).unwrap();
        let sent = orders.send_async(Record::new("w"));
        world.engine.close().unwrap();
        assert_eq!(pending.wait().unwrap().offset().get(), 0);
        assert_eq!(sent.wait().unwrap().offset().get(), 1);
        assert_eq!(orders.enqueue(Record::new("v")).unwrap_err().kind(), ErrorKind::Closed);
        drop(orders);
    }
}

#[test]
fn a_close_reports_what_could_not_be_flushed() {
    let world = World::by_hand();
    let (_, orders) = nearly_full(&world, 1);
    let pending = orders.enqueue(Record::new(&"x".repeat(1_200))).unwrap();
    assert!(world.engine.close().unwrap_err().is_full());
    assert!(pending.wait().unwrap_err().is_full());
}

#[test]
fn enqueues_that_race_a_close_end_all_the_same() {
    for _ in 0..20 {
        let world = World::with_threads();
        let builder = world.producer().batch_bytes(300).buffer_bytes(2_000);
        let (topic, orders) = world.orders(TopicConfig::new().partitions(4), builder);
        let count = &AtomicU32::new(0);
        let written = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let orders = orders.clone();
                    scope.spawn(move || {
                        let mut taken = Vec::new();
                        loop {
                            let to = partition((thread + taken.len() as u32) % 4);
                            match orders.enqueue_to(to, Record::new("v")) {
                                Ok(pending) => {
                                    taken.push(pending);
                                    count.fetch_add(1, Ordering::Relaxed);
                                }
                                Err(error) => {
                                    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                                    return taken;
                                }
                            }
                        }
                    })
                })
                .collect();
            while count.load(Ordering::Relaxed) < 100 {
                std::thread::yield_now();
            }
            world.engine.close().unwrap();
            let all = threads.into_iter().flat_map(|thread| thread.join().unwrap());
            all.filter(|pending| pending.try_get().expect("closed: every one ended").is_ok())
                .count()
        });
        drop(topic);
        assert!(written > 0);
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let world = World::by_hand();
    for (builder, key) in [
        (world.producer().batch_bytes(0), "batch_bytes = 0"),
        (world.producer().batch_records(0), "batch_records = 0"),
        (world.producer().buffer_bytes(65_535), "buffer_bytes = 65535"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(key), "{error}");
    }
}
