//! Batches that somebody has to remember: left to the timer, or of a topic that is gone.

use std::time::Duration;

use super::*;
use crate::config::Durability;
use crate::error::ErrorKind;

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
