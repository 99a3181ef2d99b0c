//! Tests of state logs: lazily made, replayed in order, transactions and damage on the way.

use std::path::Path;

use super::replay::Skipped;
use super::*;
use crate::config::{BackgroundSync, Durability, Threads, WhenFull};
use crate::disk::{Access, Disk, MemoryDisk};
use crate::engine::EngineOptions;
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::record::{AppendBatch, BorrowedBatch, Record, Stamp, Sum};
use crate::time::{ManualClock, Timestamp};

fn engine_on(disk: &Arc<MemoryDisk>) -> Arc<Engine> {
    let options = EngineOptions {
        disk: disk.clone(),
        clock: Arc::new(ManualClock::default()),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    Engine::open(options, Path::new("/store")).unwrap()
}

fn state_log(engine: &Arc<Engine>) -> StateLog {
    StateLog::new(engine.clone(), "__state", TopicConfig::new().partitions(2))
}

fn replayed(log: &StateLog) -> (Vec<String>, Skipped) {
    let mut seen = Vec::new();
    let skipped = log.replay(|record| {
        let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
        let (key, value) = (text(record.key), text(record.value));
        seen.push(format!("{} {} {value:?}", record.partition, key.unwrap_or_default()));
    });
    (seen, skipped.unwrap())
}

fn put(log: &StateLog, partition: u32, key: &str, value: Option<&str>) {
    let change = Change { key: key.as_bytes(), value: value.map(str::as_bytes) };
    log.append(PartitionId::new(partition), &[change], Durability::Process).unwrap();
}

#[test]
fn the_topic_comes_with_the_first_append() {
    let engine = engine_on(&Arc::new(MemoryDisk::new()));
    let log = state_log(&engine);
    assert!(replayed(&log).0.is_empty());
    assert!(engine.topics().is_empty());
    assert_eq!(log.partition_count().unwrap(), 2);
    put(&log, 1, "k", Some("v"));
    assert!(engine.topic("__state").unwrap().is_internal());
    let empty = state_log(&engine).append(PartitionId::new(1), &[], Durability::Process);
    assert!(empty.is_err());
}

#[test]
fn changes_are_replayed_in_order_after_a_reopen() {
    let disk = Arc::new(MemoryDisk::new());
    let engine = engine_on(&disk);
    let log = state_log(&engine);
    put(&log, 0, "a", Some("1"));
    put(&log, 1, "b", Some("2"));
    put(&log, 0, "a", None);
    engine.close().unwrap();
    let engine = engine_on(&disk);
    let (seen, skipped) = replayed(&state_log(&engine));
    assert_eq!(seen, ["0 a Some(\"1\")", "0 a None", "1 b Some(\"2\")"]);
    assert_eq!((skipped.places, skipped.unread.len()), (0, 0));
}

/// A batch of a producer's transaction, or its marker.
struct Transactional(Vec<u8>);

impl Transactional {
    fn new(partition: &Partition, record: Record<'_>, attributes: i16, producer: i64) -> Self {
        let now = Timestamp::from_millis(0);
        let records = [record];
        let batch = BorrowedBatch::measure(&records, &partition.batch_rules(now).unwrap()).unwrap();
        let mut bytes = vec![0; batch.size()];
        batch.write(
            Stamp { base_offset: Offset::ZERO, leader_epoch: LeaderEpoch::new(0), producer: None },
            &mut bytes,
            crc32c::crc32c_append,
        );
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[43..51].copy_from_slice(&producer.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Transactional(bytes)
    }
}

impl AppendBatch for Transactional {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn count(&self) -> u32 {
        1
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        None
    }

    fn write(&self, stamp: Stamp, out: &mut [u8], _: impl Sum) {
        out.copy_from_slice(&self.0);
        out[..8].copy_from_slice(&stamp.base_offset.get().to_be_bytes());
        out[12..16].copy_from_slice(&stamp.leader_epoch.get().to_be_bytes());
    }
}

#[test]
fn records_of_transactions_wait_for_their_marker() {
    let engine = engine_on(&Arc::new(MemoryDisk::new()));
    let log = state_log(&engine);
    put(&log, 0, "a", Some("1"));
    let partition = engine.topic("__state").unwrap().partition(PartitionId::new(0)).unwrap();
    let append = |record: Record<'_>, attributes, producer| {
        let batch = Transactional::new(&partition, record, attributes, producer);
        partition.append(&batch, Timestamp::from_millis(0), Durability::Process).unwrap();
    };
    let marker = |kind| Record::new(&[0; 6]).key(kind);
    append(Record::new("kept").key("k"), 0x10, 7);
    append(Record::new("dropped").key("d"), 0x10, 8);
    append(Record::new("open").key("o"), 0x10, 9);
    put(&log, 0, "a", Some("2"));
    append(marker(&[0, 0, 0, 0]), 0x30, 8);
    append(marker(&[0, 0, 0, 1]), 0x30, 7);
    append(Record::new("compressed").key("c"), 1, -1);
    let (seen, skipped) = replayed(&log);
    assert_eq!(seen, ["0 a Some(\"1\")", "0 a Some(\"2\")", "0 k Some(\"kept\")"]);
    assert_eq!(skipped.places, 1);
}

/// Damages the eleventh of forty changes, after `reopened` of which the store was opened again, and
/// so in another epoch; what is replayed then.
fn replayed_around_damage(reopened: u32) -> (Vec<String>, Skipped) {
    let disk = Arc::new(MemoryDisk::new());
    let mut engine = engine_on(&disk);
    let config = TopicConfig::new().index_interval_bytes(200).partitions(1);
    let mut log = StateLog::new(engine.clone(), "__state", config.clone());
    for number in 0..40 {
        if number == reopened {
            engine.close().unwrap();
            engine = engine_on(&disk);
            log = StateLog::new(engine.clone(), "__state", config.clone());
        }
        put(&log, 0, &format!("{number:03}"), Some("value"));
    }
    let partition = engine.topic("__state").unwrap().partition(PartitionId::new(0)).unwrap();
    let batch = partition.log().unwrap().size().0 / 40;
    engine.close().unwrap();
    let path = Path::new("/store/__state-0/00000000000000000000.log");
    let file = disk.open(path, Access::Write).unwrap();
    file.write_at(&[0xff; 4], batch * 10 + 65).unwrap();
    replayed(&state_log(&engine_on(&disk)))
}

#[test]
fn damage_costs_what_is_damaged() {
    let (seen, skipped) = replayed_around_damage(0);
    assert_eq!(skipped.places, 1);
    assert!((20..40).contains(&seen.len()), "{}", seen.len());
    assert!(seen.last().unwrap().contains("039"));
}

/// The epoch that was read last ended in what was stepped over: no sign of a truncation.
#[test]
fn damage_where_an_epoch_begins_costs_no_more() {
    let (seen, skipped) = replayed_around_damage(10);
    assert_eq!((skipped.places, skipped.unread.len()), (1, 0));
    assert!(seen.last().unwrap().contains("039"));
}
