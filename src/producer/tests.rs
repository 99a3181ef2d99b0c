//! A producer on an engine in memory: what is sent at once, what lingers, and how it all ends.
//!
//! Here is the world the tests share: an engine on a clock that is moved by hand, with threads of
//! its own or none, and a reader that shows which records share a batch.

mod endings;
mod flushing;
mod joining;
mod left;
mod lingering;
mod sending;

use std::path::Path;
use std::sync::Arc;

use super::partitioner::{Partitioner, RoundRobin};
use super::*;
use crate::clock::SystemClock;
use crate::config::{BackgroundSync, IsolationLevel, Threads, TopicConfig, WhenFull};
use crate::deduplication::Deduplication;
use crate::disk::{Disk, MemoryDisk};
use crate::engine::{Claim, Engine, EngineOptions, NewTopic, Topic};
use crate::ids::PartitionId;
use crate::log::FetchLimits;
use crate::record::{Batch, Record};
use crate::schedule::Schedule;
use crate::time::{Clock, ManualClock, Timestamp};
use crate::txn::Transactions;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// An engine of its own world.
struct World {
    engine: Claim,
    transactions: Arc<Transactions>,
    schedule: Arc<Schedule>,
    clock: ManualClock,
}

impl World {
    /// No threads, and a clock that is moved by hand.
    fn by_hand() -> World {
        World::new(Threads::Host)
    }

    /// The engine's own threads, and a clock that is moved by hand.
    fn with_threads() -> World {
        World::new(Threads::Own)
    }

    fn new(threads: Threads) -> World {
        let clock = ManualClock::new(START);
        let engine = open(threads, Arc::new(clock.clone()), Arc::new(MemoryDisk::new()));
        let (transactions, schedule) = coordinators(&engine);
        World { engine, transactions, schedule, clock }
    }

    fn producer(&self) -> ProducerBuilder {
        let (transactions, schedule) = (self.transactions.clone(), self.schedule.clone());
        ProducerBuilder::new(self.engine.clone(), transactions, schedule, ids(&self.engine))
    }

    fn create(&self, name: &str, config: TopicConfig) -> Arc<Topic> {
        let new = [NewTopic { name, config, internal: false }];
        self.engine.create_topics(&new).unwrap().remove(0)
    }

    /// A topic `orders` and a handle for it.
    fn orders(&self, config: TopicConfig, builder: ProducerBuilder) -> (Arc<Topic>, TopicProducer) {
        let topic = self.create("orders", config);
        (topic, builder.build().unwrap().topic("orders").unwrap())
    }
}

fn builder(engine: &Claim) -> ProducerBuilder {
    let (transactions, schedule) = coordinators(engine);
    ProducerBuilder::new(engine.clone(), transactions, schedule, ids(engine))
}

fn ids(engine: &Claim) -> Arc<Deduplication> {
    Arc::new(Deduplication::new(engine.plain_limit()))
}

fn coordinators(engine: &Claim) -> (Arc<Transactions>, Arc<Schedule>) {
    let transactions = Transactions::open(engine.engine().clone()).unwrap();
    let schedule = Schedule::open(engine.engine().clone(), transactions.clone()).unwrap();
    (transactions, schedule)
}

fn open(threads: Threads, clock: Arc<dyn Clock>, disk: Arc<dyn Disk>) -> Claim {
    let options = EngineOptions {
        disk,
        clock,
        threads,
        background_sync: BackgroundSync::default(),
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    Claim::new(Engine::open(options, Path::new("/store")).unwrap())
}

fn partition(number: u32) -> PartitionId {
    PartitionId::new(number)
}

/// The values of a partition, batch by batch.
fn batches(topic: &Topic, number: u32) -> Vec<Vec<String>> {
    let partition = topic.partition(PartitionId::new(number)).unwrap();
    let mut batches = Vec::new();
    let mut from = partition.offsets().unwrap().start;
    loop {
        let limits = FetchLimits {
            bytes: 1 << 20,
            records: u64::MAX,
            durable_only: false,
            isolation: IsolationLevel::ReadUncommitted,
        };
        let fetched = partition.fetch(from, None, limits).unwrap();
        let Some(chunk) = fetched.chunk else { return batches };
        let mut bytes = &chunk.bytes[..];
        while !bytes.is_empty() {
            let batch = Batch::verify(bytes).unwrap();
            let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
            let records = batch.records().unwrap();
            batches.push(records.map(|record| text(record.unwrap().value())).collect());
            bytes = &bytes[batch.header().size()..];
        }
        from = fetched.next_offset;
    }
}

/// The values of a partition.
fn values(topic: &Topic, number: u32) -> Vec<String> {
    batches(topic, number).concat()
}
