//! Tests of the engine as a whole: coming up, going down, changing topics, keeping bounds.

mod background;
#[cfg(feature = "sim")]
mod backup;
mod beside;
mod budgets;
mod commit;
#[cfg(feature = "sim")]
mod compaction;
#[cfg(feature = "sim")]
mod crash;
#[cfg(feature = "sim")]
mod faults;
mod first;
#[cfg(feature = "sim")]
mod full;
#[cfg(feature = "sim")]
mod history;
#[cfg(feature = "sim")]
mod journal;
mod led;
#[cfg(target_os = "linux")]
mod many;
mod opening;
mod recorded;
#[cfg(feature = "sim")]
mod reopening;
mod settings;
#[cfg(feature = "sim")]
#[allow(dead_code)] // shared with the integration tests, which use the rest
#[path = "../../tests/common/suite.rs"]
mod suite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::core::*;
use super::*;
use crate::config::{BackgroundSync, IsolationLevel, Threads, WhenFull};
use crate::config::{Durability, TopicConfig};
use crate::disk::Disk;
use crate::disk::{IoMode, MemoryDisk, RealDisk};
use crate::error::ErrorKind;
use crate::error::Result;
use crate::ids::{Offset, PartitionId};
use crate::log::{Appended, FetchLimits};
use crate::record::{Batch, BorrowedBatch, Record};
use crate::time::{ManualClock, Timestamp};

pub(crate) fn options(disk: Arc<dyn Disk>) -> EngineOptions {
    EngineOptions {
        disk,
        clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000))),
        threads: Threads::Host,
        background_sync: BackgroundSync::default(),
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    }
}

fn engine(disk: &Arc<dyn Disk>) -> Arc<Engine> {
    Engine::open(options(disk.clone()), Path::new("/store")).unwrap()
}

fn memory() -> Arc<dyn Disk> {
    Arc::new(MemoryDisk::new())
}

fn create(engine: &Engine, name: &str, config: TopicConfig) -> Arc<Topic> {
    let new = [NewTopic { name, config, internal: false }];
    engine.create_topics(&new).unwrap().remove(0)
}

fn append(partition: &Partition, value: &str, durability: Durability) -> Result<Offset> {
    appended(partition, value, durability).map(|appended| appended.base_offset)
}

fn appended(partition: &Partition, value: &str, durability: Durability) -> Result<Appended> {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let records = [Record::new(value)];
    let batch = BorrowedBatch::measure(&records, &partition.batch_rules(now)?)?;
    partition.append(&batch, now, durability)
}

/// All records from the log start on, with their offsets.
fn records(partition: &Partition) -> Vec<(i64, String)> {
    let mut records = Vec::new();
    let mut from = partition.offsets().unwrap().start;
    loop {
        let fetched = match partition.log() {
            Ok(log) => log.fetch_all(from, None, 1 << 16).unwrap(), // whatever its host says
            Err(_) => {
                let isolation = IsolationLevel::ReadUncommitted;
                let (bytes, records) = (1 << 16, u64::MAX);
                let limits = FetchLimits { bytes, records, durable_only: false, isolation };
                partition.fetch(from, None, limits).unwrap()
            }
        };
        let Some(chunk) = fetched.chunk else { return records };
        let mut bytes = &chunk.bytes[..];
        while !bytes.is_empty() {
            let batch = Batch::verify(bytes).unwrap();
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                if record.offset() >= from {
                    records.push((record.offset().get(), value));
                }
            }
            bytes = &bytes[batch.header().size()..];
        }
        from = fetched.next_offset;
    }
}

fn values(partition: &Partition) -> Vec<String> {
    records(partition).into_iter().map(|(_, value)| value).collect()
}

fn disks() -> Vec<(tempfile::TempDir, Arc<dyn Disk>)> {
    let real = |mode| Arc::new(RealDisk::new(mode).unwrap()) as Arc<dyn Disk>;
    vec![
        (tempfile::tempdir().unwrap(), real(IoMode::Mapped)),
        (tempfile::tempdir().unwrap(), real(IoMode::Positioned)),
        (tempfile::tempdir().unwrap(), Arc::new(MemoryDisk::new())),
    ]
}

#[test]
fn records_survive_a_close_and_a_reopen() {
    for (dir, disk) in disks() {
        let root = dir.path().join("store");
        for round in 0..3 {
            let engine = Engine::open(options(disk.clone()), &root).unwrap();
            assert_eq!(engine.open_report().was_new(), round == 0);
            assert_eq!(engine.open_report().was_closed_cleanly(), round > 0);
            assert_eq!(engine.open_report().leader_epoch().get(), round);
            if round == 0 {
                create(&engine, "orders", TopicConfig::new().partitions(2));
            }
            let topic = engine.topic("orders").unwrap();
            let partition = topic.partition(PartitionId::new(1)).unwrap();
            let offset = append(&partition, &format!("v{round}"), Durability::Power).unwrap();
            assert_eq!(offset.get(), i64::from(round));
            let expected: Vec<_> = (0..=round).map(|round| format!("v{round}")).collect();
            assert_eq!(values(&partition), expected);
            engine.close().unwrap();
            engine.close().unwrap();
            assert_eq!(
                append(&partition, "late", Durability::Process).unwrap_err().kind(),
                ErrorKind::Closed
            );
        }
    }
}

#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    for (dir, disk) in disks() {
        let root = dir.path().join("store");
        let engine = Engine::open(options(disk.clone()), &root).unwrap();
        let error = Engine::open(options(disk.clone()), &root).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        drop(engine);
        Engine::open(options(disk.clone()), &root).unwrap();
    }
}

#[test]
fn a_topic_made_again_has_none_of_the_old_records() {
    for (dir, disk) in disks() {
        let root = dir.path().join("store");
        let engine = Engine::open(options(disk.clone()), &root).unwrap();
        let old = create(&engine, "orders", TopicConfig::new());
        let partition = old.partition(PartitionId::new(0)).unwrap();
        append(&partition, "old", Durability::Power).unwrap();
        engine.delete_topic("orders").unwrap();
        assert_eq!(
            append(&partition, "x", Durability::Process).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(engine.topic("orders").unwrap_err().kind(), ErrorKind::NotFound);
        let new = create(&engine, "orders", TopicConfig::new());
        assert_ne!(new.id(), old.id());
        let partition = new.partition(PartitionId::new(0)).unwrap();
        assert!(values(&partition).is_empty());
        append(&partition, "new", Durability::Process).unwrap();
        drop(partition);
        engine.close().unwrap();
        let engine = Engine::open(options(disk.clone()), &root).unwrap();
        let partition = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
        assert_eq!(values(&partition), ["new"]);
    }
}

#[test]
fn max_bytes_fails_or_drops_the_oldest() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let engine = Engine::open(options(disk), Path::new("/store")).unwrap();
    let config = TopicConfig::new().segment_bytes(1024);
    let fail = create(&engine, "fail", config.clone().max_bytes(4096, WhenFull::Fail));
    let partition = fail.partition(PartitionId::new(0)).unwrap();
    let value = "x".repeat(400);
    let error =
        (0..20).find_map(|_| append(&partition, &value, Durability::Process).err()).unwrap();
    assert!(error.is_full() && error.is_retriable(), "{error}");
    let drop = create(&engine, "drop", config.max_bytes(4096, WhenFull::DropOldest));
    let partition = drop.partition(PartitionId::new(0)).unwrap();
    for _ in 0..50 {
        append(&partition, &value, Durability::Process).unwrap();
    }
    let offsets = partition.offsets().unwrap();
    assert_eq!(offsets.end.get(), 50);
    assert!(offsets.start.get() > 40, "{offsets:?}");
    partition.hold("billing", offsets.start);
    let error =
        (0..20).find_map(|_| append(&partition, &value, Durability::Process).err()).unwrap();
    assert!(error.to_string().contains("`billing` holds"), "{error}");
    partition.release("billing");
    append(&partition, &value, Durability::Process).unwrap();
}

#[test]
fn what_the_store_never_has_room_for_costs_its_topic_nothing() {
    let (path, options) = (Path::new("/store"), options(memory()));
    let engine = Engine::open(EngineOptions { max_bytes: Some(5_000), ..options }, path).unwrap();
    let config = TopicConfig::new().segment_bytes(1024).max_bytes(6_000, WhenFull::DropOldest);
    let partition = create(&engine, "orders", config).partition(PartitionId::new(0)).unwrap();
    for _ in 0..8 {
        append(&partition, &"x".repeat(400), Durability::Process).unwrap();
    }
    engine
        .alter_topic("orders", TopicConfig::new().max_bytes(6_000, WhenFull::DropOldest))
        .unwrap();
    let error = append(&partition, &"x".repeat(5_500), Durability::Process).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(partition.offsets().unwrap().start, Offset::ZERO);
}

#[test]
fn background_syncs_and_retention_run_on_the_clock() {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = EngineOptions { clock: Arc::new(clock.clone()), ..options(disk) };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let config = TopicConfig::new().segment_bytes(1024).retention(Duration::from_secs(60));
    let topic = create(&engine, "orders", config);
    let partition = topic.partition(PartitionId::new(0)).unwrap();
    for _ in 0..20 {
        append(&partition, &"x".repeat(300), Durability::Process).unwrap();
    }
    assert_eq!(partition.offsets().unwrap().durable.get(), 0);
    engine.run_maintenance();
    let sealed = partition.offsets().unwrap();
    assert_eq!(sealed.durable.get(), 20, "rolling asks for attention at once");
    append(&partition, "one more", Durability::Process).unwrap();
    clock.advance(Duration::from_secs(29));
    engine.run_maintenance();
    assert_eq!(partition.offsets().unwrap().durable.get(), 20);
    clock.advance(Duration::from_secs(1));
    engine.run_maintenance();
    assert_eq!(partition.offsets().unwrap().recovery_point.get(), 21);
    clock.advance(Duration::from_secs(600));
    engine.run_maintenance();
    let offsets = partition.offsets().unwrap();
    assert_eq!((offsets.start, offsets.end), (Offset::new(21), Offset::new(21)));
}
