//! A small store for tests of want: one topic, `orders`, in both ways of writing, no thread of its
//! own syncing behind the test's back.

use std::path::Path;

use tidelog::disk::IoMode;
use tidelog::{BackgroundSync, Durability, Record, Result, Store, StoreBuilder, TopicConfig};

pub const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];

pub fn builder(path: &Path, mode: IoMode) -> StoreBuilder {
    Store::builder(path).io_mode(mode).background_sync(BackgroundSync::OFF)
}

/// Makes a store whose topic has a record in each of its partitions, and closes it.
pub fn kept(builder: StoreBuilder, partitions: u32) {
    let store = builder.open().unwrap();
    store.ensure_topic("orders", TopicConfig::new().partitions(partitions)).unwrap();
    for partition in 0..partitions {
        send(&store, partition, "kept", Durability::Process).unwrap();
    }
    store.close().unwrap();
}

pub fn send(store: &Store, partition: u32, value: &str, durability: Durability) -> Result<()> {
    send_to(store, "orders", partition, value, durability)
}

pub fn send_to(
    store: &Store,
    topic: &str,
    partition: u32,
    value: &str,
    durability: Durability,
) -> Result<()> {
    let topic = store.producer().durability(durability).build()?.topic(topic)?;
    topic.send_to(partition, Record::new(value)).map(drop)
}

/// All values of a partition, in order.
pub fn values(store: &Store, partition: u32) -> Result<Vec<String>> {
    values_of(store, "orders", partition)
}

pub fn values_of(store: &Store, topic: &str, partition: u32) -> Result<Vec<String>> {
    let mut consumer = store.reader().assign([(topic, partition)]).build()?;
    let mut values = Vec::new();
    loop {
        let records = consumer.try_poll()?;
        if records.is_empty() {
            return Ok(values);
        }
        for record in &records {
            values.push(String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned());
        }
    }
}
