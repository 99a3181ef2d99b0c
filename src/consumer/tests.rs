//! Tests of consumers over an engine in memory: a world of one store, on a clock moved by hand.

mod commits;
mod damage;
mod filter_model;
mod filters;
mod followed;
mod groups;
mod listeners;
mod model;
mod reading;
mod resets;
mod straight;
mod tag_files;
mod transactions;
mod waiting;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{BackgroundSync, Durability, Threads, TopicConfig, WhenFull};
use crate::disk::{Access, Disk, MemoryDisk};
use crate::engine::{Claim, Engine, EngineOptions, NewTopic, Partition};
use crate::error::{ErrorKind, Result};
use crate::group::OffsetStore;
use crate::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId};
use crate::record::{
    AppendBatch, BorrowedBatch, Marker, MarkerKind, Produced, ProducerClaim, ProducerIdentity,
    Record, Records, Stamp, Sum,
};
use crate::time::{Clock, ManualClock, Timestamp};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const US: ProducerIdentity = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
const NONE: Duration = Duration::ZERO;
/// A test that waits this long has failed.
const LONG: Duration = Duration::from_secs(30);
/// How long a member may be away, unless it says otherwise.
const INTERVAL: Duration = Duration::from_secs(300);

struct World {
    disk: Arc<MemoryDisk>,
    clock: ManualClock,
    threads: Threads,
    engine: Claim,
    offsets: Arc<OffsetStore>,
}

impl World {
    fn new() -> Self {
        World::with(Threads::Own)
    }

    fn with(threads: Threads) -> Self {
        let disk = Arc::new(MemoryDisk::new());
        let clock = ManualClock::new(START);
        let (engine, offsets) = open(&disk, &clock, threads);
        World { disk, clock, threads, engine, offsets }
    }

    /// Closes the store and opens it again: another epoch.
    fn reopen(&mut self) {
        self.engine.close().unwrap();
        (self.engine, self.offsets) = open(&self.disk, &self.clock, self.threads);
    }

    fn create(&self, name: &str, partitions: u32) {
        self.create_with(name, TopicConfig::new().partitions(partitions));
    }

    fn create_with(&self, name: &str, config: TopicConfig) {
        self.engine.create_topics(&[NewTopic { name, config, internal: false }]).unwrap();
    }

    /// As the store does it.
    fn delete(&self, name: &str) {
        self.engine.delete_topic(name).unwrap();
        self.offsets.forget_topic(name).unwrap();
    }

    fn partition(&self, topic: &str, id: u32) -> Arc<Partition> {
        self.engine.topic(topic).unwrap().partition(PartitionId::new(id)).unwrap()
    }

    /// Sends each value in a batch of its own.
    fn send(&self, topic: &str, id: u32, values: &[&str]) {
        let partition = self.partition(topic, id);
        for value in values {
            send_one(&partition, &[Record::new(*value)], self.clock.wall());
        }
    }

    /// Sends the values in one batch.
    fn send_batch(&self, topic: &str, id: u32, values: &[&str]) {
        let records: Vec<_> = values.iter().map(|value| Record::new(*value)).collect();
        send_one(&self.partition(topic, id), &records, self.clock.wall());
    }

    /// Sends records in a transaction of `US`, which begins with them unless it is open.
    fn send_open(&self, records: &[Record<'_>]) {
        let partition = self.partition("orders", 0);
        let rules = partition.batch_rules(START).unwrap();
        let batch = BorrowedBatch::measure(records, &rules).unwrap();
        let claim = Some(ProducerClaim { identity: US, sequence: None, transactional: true });
        partition.append(&Produced { batch: &batch, claim }, START, Durability::Process).unwrap();
    }

    /// Ends the transaction of `US`.
    fn end(&self, kind: MarkerKind) {
        let marker = Marker { kind, coordinator_epoch: 0 };
        let partition = self.partition("orders", 0);
        partition.append_marker(US, marker, START, Durability::Process).unwrap();
    }

    fn group(&self, group: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(self.engine.clone(), self.offsets.clone(), Some(group.to_owned()))
    }

    fn reader(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.engine.clone(), self.offsets.clone(), None)
    }

    fn committed(&self, group: &str, topic: &str, id: u32) -> Option<i64> {
        let committed = self.offsets.committed(group, &self.partition(topic, id)).unwrap();
        committed.map(|committed| committed.offset().get())
    }
}

fn open(
    disk: &Arc<MemoryDisk>,
    clock: &ManualClock,
    threads: Threads,
) -> (Claim, Arc<OffsetStore>) {
    let options = EngineOptions {
        disk: disk.clone(),
        clock: Arc::new(clock.clone()),
        threads,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    (Claim::new(engine), offsets)
}

fn send_one(partition: &Partition, records: &[Record<'_>], now: Timestamp) {
    let batch = BorrowedBatch::measure(records, &partition.batch_rules(now).unwrap()).unwrap();
    partition.append(&batch, now, Durability::Process).unwrap();
}

/// The values of records, in the order in which they come.
fn values(records: &Records) -> Vec<String> {
    records.iter().map(|record| text(record.value())).collect()
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

fn member(world: &World) -> Consumer {
    world.group("g").subscribe(["orders"]).build().unwrap()
}

/// The numbers of the partitions of a topic that a consumer has.
fn owned(consumer: &Consumer) -> Vec<u32> {
    consumer.assignment().iter().map(|(_, partition)| partition.get()).collect()
}

/// Polls each in turn until nothing moves any more; returns all values.
fn settle(consumers: &mut [&mut Consumer]) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..4 {
        for consumer in consumers.iter_mut() {
            all.extend(values(&consumer.try_poll().unwrap()));
        }
    }
    all
}

/// A batch with header fields of the test's choice.
struct Forged(Vec<u8>);

impl Forged {
    const ATTRIBUTES: usize = 21;

    fn of(world: &World, records: &[Record<'_>]) -> Self {
        let rules = world.partition("orders", 0).batch_rules(START).unwrap();
        let batch = BorrowedBatch::measure(records, &rules).unwrap();
        let mut bytes = vec![0; batch.size()];
        let stamp =
            Stamp { base_offset: Offset::ZERO, leader_epoch: LeaderEpoch::new(0), producer: None };
        batch.write(stamp, &mut bytes, crc32c::crc32c_append);
        Forged(bytes)
    }

    fn attributes(mut self, bits: i16) -> Self {
        self.0[Self::ATTRIBUTES..][..2].copy_from_slice(&bits.to_be_bytes());
        self
    }

    fn producer(mut self, id: i64) -> Self {
        self.0[43..51].copy_from_slice(&id.to_be_bytes());
        self.0[51..53].copy_from_slice(&0i16.to_be_bytes());
        self
    }

    /// How many offsets it takes.
    fn span(mut self, offsets: i32) -> Self {
        self.0[23..27].copy_from_slice(&(offsets - 1).to_be_bytes());
        self
    }

    fn append(mut self, world: &World) {
        let crc = crc32c::crc32c(&self.0[Self::ATTRIBUTES..]);
        self.0[17..21].copy_from_slice(&crc.to_be_bytes());
        world.partition("orders", 0).append(&self, START, Durability::Process).unwrap();
    }

    /// A commit marker.
    fn marker(world: &World) -> Self {
        let record = Record::new(&[0; 6]).key(&[0, 0, 0, 1]);
        Forged::of(world, &[record]).attributes(0x30).producer(7)
    }
}

impl AppendBatch for Forged {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn count(&self) -> u32 {
        let delta = i32::from_be_bytes(self.0[23..27].try_into().unwrap());
        u32::try_from(delta).unwrap() + 1
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        Some(START)
    }

    fn write(&self, stamp: Stamp, out: &mut [u8], _: impl Sum) {
        out.copy_from_slice(&self.0);
        out[..8].copy_from_slice(&stamp.base_offset.get().to_be_bytes());
        out[12..16].copy_from_slice(&stamp.leader_epoch.get().to_be_bytes());
    }
}
