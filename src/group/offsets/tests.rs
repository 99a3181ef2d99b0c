//! Tests of the offset store: the fold over what Kafka and others write, commits of many threads,
//! what is refused, what becomes of deleted topics.

#[cfg(feature = "sim")]
mod forgetting;

use std::path::Path;

use super::*;
use crate::config::{BackgroundSync, Durability, Threads, WhenFull};
use crate::disk::MemoryDisk;
use crate::engine::{EngineOptions, NewTopic};
use crate::error::ErrorKind;
use crate::group::schema::committed_key;
use crate::group::{Commit, CommitMode};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{BorrowedBatch, Record};
use crate::time::{ManualClock, Timestamp};

pub(in crate::group) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(in crate::group) fn engine_on(disk: &Arc<MemoryDisk>, now: Timestamp) -> Arc<Engine> {
    let options = EngineOptions {
        disk: disk.clone(),
        clock: Arc::new(ManualClock::new(now)),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    Engine::open(options, Path::new("/store")).unwrap()
}

pub(in crate::group) fn store() -> (Arc<MemoryDisk>, Arc<Engine>, Arc<OffsetStore>) {
    let disk = Arc::new(MemoryDisk::new());
    let engine = engine_on(&disk, NOW);
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    (disk, engine, offsets)
}

pub(in crate::group) fn reopen(
    disk: &Arc<MemoryDisk>,
    engine: &Engine,
) -> (Arc<Engine>, Arc<OffsetStore>) {
    engine.close().unwrap();
    let engine = engine_on(disk, NOW);
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    (engine, offsets)
}

/// Makes a topic of one partition with that many records.
pub(in crate::group) fn topic(engine: &Engine, name: &str, records: usize) -> Arc<Partition> {
    let config = TopicConfig::new();
    let topics = engine.create_topics(&[NewTopic { name, config, internal: false }]).unwrap();
    let partition = topics[0].partition(PartitionId::new(0)).unwrap();
    (0..records).for_each(|_| send(&partition, None, Some(b"x")));
    partition
}

pub(in crate::group) fn send(partition: &Partition, key: Option<&[u8]>, value: Option<&[u8]>) {
    let record = value.map_or(Record::tombstone(), Record::new);
    let records = [match key {
        Some(key) => record.key(key),
        None => record,
    }];
    let batch = BorrowedBatch::measure(&records, &partition.batch_rules(NOW).unwrap()).unwrap();
    partition.append(&batch, NOW, Durability::Process).unwrap();
}

pub(in crate::group) fn commit(partition: &Partition, offset: i64, mode: CommitMode) -> Commit<'_> {
    Commit { partition, offset: Offset::new(offset), leader_epoch: None, metadata: "", mode }
}

pub(in crate::group) fn forward(partition: &Partition, offset: i64) -> [Commit<'_>; 1] {
    [commit(partition, offset, CommitMode::Forward)]
}

pub(in crate::group) fn offset_of(
    offsets: &OffsetStore,
    group: &str,
    partition: &Partition,
) -> Option<i64> {
    offsets.committed(group, partition).unwrap().map(|committed| committed.offset().get())
}

/// A topic like Kafka's, with what the test puts in, before any offset store looks.
pub(in crate::group) fn kafka_topic(engine: &Engine) -> Arc<Partition> {
    let config = TopicConfig::new().partitions(1);
    let new = NewTopic { name: OFFSETS_TOPIC, config, internal: true };
    engine.create_topics(&[new]).unwrap()[0].partition(PartitionId::new(0)).unwrap()
}

#[test]
fn commits_move_forward_unless_reset() {
    let (disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 9);
    assert!(engine.topic(OFFSETS_TOPIC).is_err(), "made by the first commit");
    offsets.commit("g", &[], Durability::Process).unwrap();
    assert!(engine.topic(OFFSETS_TOPIC).is_err());
    offsets.commit("g", &forward(&orders, 5), Durability::Process).unwrap();
    assert_eq!(engine.topic(OFFSETS_TOPIC).unwrap().partitions().len(), 50);
    offsets.commit("g", &forward(&orders, 5), Durability::Power).unwrap();
    let error = offsets.commit("g", &forward(&orders, 4), Durability::Process).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::OffsetRegression, Outcome::NotWritten));
    assert_eq!(offset_of(&offsets, "g", &orders), Some(5));
    let back = [commit(&orders, 1, CommitMode::Reset)];
    offsets.commit("g", &back, Durability::Process).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), Some(1));
    assert_eq!(offset_of(&offsets, "h", &orders), None);

    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), Some(1));
    let all = offsets.all_committed("g").unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].1.leader_epoch(), Some(LeaderEpoch::new(0)), "that of the record below");
    assert_eq!(offsets.groups(), ["g".into()]);
}

#[test]
fn group_names_are_checked() {
    let (_disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 1);
    for name in ["", &"g".repeat(32_768)] {
        let error = offsets.commit(name, &forward(&orders, 1), Durability::Process).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName);
        assert!(offsets.committed(name, &orders).is_err());
    }
    let longest = "g".repeat(32_767);
    offsets.commit(&longest, &forward(&orders, 1), Durability::Process).unwrap();
    assert_eq!(offset_of(&offsets, &longest, &orders), Some(1));
}

#[test]
fn what_others_wrote_is_read_and_what_is_unknown_is_left() {
    let (disk, engine, _) = store();
    topic(&engine, "orders", 9);
    let log = kafka_topic(&engine);
    let key = committed_key("g", "orders", PartitionId::new(0)).unwrap();
    let version_0 = [&0i16.to_be_bytes()[..], &3i64.to_be_bytes(), &0i16.to_be_bytes(), &[0; 8]];
    send(&log, Some(&key), Some(&version_0.concat()));
    send(&log, Some(&[0, 9, 1, 2]), Some(b"a kind to come"));
    send(&log, Some(&[0, 2, 0, 1, b'g']), Some(b"members"));
    send(&log, None, Some(b"no key"));
    send(&log, Some(&key[..5]), Some(b"cut short"));
    send(&log, Some(&key), Some(&[0, 77]));
    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), Some(3));
    assert_eq!(offsets.skipped(), 4);
    let end = || {
        let log = engine.topic(OFFSETS_TOPIC).unwrap().partition(PartitionId::new(0)).unwrap();
        log.offsets().unwrap()
    };
    assert_eq!((end().start, end().end), (Offset::ZERO, Offset::new(6)));
    offsets.commit("g", &forward(&orders, 4), Durability::Process).unwrap();
    assert_eq!(end().end, Offset::new(7));
}

#[test]
fn tombstones_end_an_offset() {
    let (disk, engine, _) = store();
    topic(&engine, "orders", 9);
    let log = kafka_topic(&engine);
    let key = committed_key("g", "orders", PartitionId::new(0)).unwrap();
    let value = CommittedValue {
        offset: Offset::new(3),
        leader_epoch: None,
        metadata: "m",
        committed_at: NOW,
        expires_at: None,
    };
    send(&log, Some(&key), Some(&value.encode().unwrap()));
    send(&log, Some(&key), None);
    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), None);
    assert!(offsets.groups().is_empty());
}

#[test]
fn a_deleted_topics_offsets_are_forgotten_for_good() {
    let (disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 9);
    let returns = topic(&engine, "returns", 9);
    for group in ["g", "h"] {
        let both = [forward(&orders, 5)[0], forward(&returns, 6)[0]];
        offsets.commit(group, &both, Durability::Process).unwrap();
    }
    engine.delete_topic("orders").unwrap();
    let late = offsets.commit("g", &forward(&orders, 7), Durability::Process).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound);
    let again = topic(&engine, "orders", 9);
    assert_eq!(offset_of(&offsets, "g", &again), None, "by its identity");
    offsets.forget_topic("orders").unwrap();
    assert_eq!(offset_of(&offsets, "g", &returns), Some(6));
    let (engine, offsets) = reopen(&disk, &engine);
    for group in ["g", "h"] {
        let all = offsets.all_committed(group).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(&**all[0].0.topic_name(), "returns");
    }
    drop(engine);
}

/// Two threads make sure of a topic: the slower one looked before the other had made it. Once it
/// took along what was committed for the new topic meanwhile.
#[test]
fn what_is_committed_for_a_topic_that_is_there_is_not_forgotten() {
    let (disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 9);
    offsets.commit("g", &forward(&orders, 5), Durability::Process).unwrap();
    offsets.forget_topic("orders").unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), Some(5));
    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), Some(5));
}

#[test]
fn offsets_of_topics_that_are_not_here_are_kept_until_one_is_made() {
    let (disk, engine, _) = store();
    let log = kafka_topic(&engine);
    let key = committed_key("g", "orders", PartitionId::new(0)).unwrap();
    let value = [&0i16.to_be_bytes()[..], &3i64.to_be_bytes(), &0i16.to_be_bytes(), &[0; 8]];
    send(&log, Some(&key), Some(&value.concat()));
    let (engine, offsets) = reopen(&disk, &engine);
    assert_eq!(offsets.all_committed("g").unwrap().len(), 0);
    let log = engine.topic(OFFSETS_TOPIC).unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(log.offsets().unwrap().end, Offset::new(1), "opening writes nothing");
    offsets.forget_topic("orders").unwrap(); // as the store does before it makes one
    offsets.forget_topic("orders").unwrap();
    assert_eq!(log.offsets().unwrap().end, Offset::new(2));
    topic(&engine, "orders", 9);
    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), None);
}

#[test]
fn concurrent_commits_of_a_group_take_turns() {
    let (disk, engine, offsets) = store();
    let partitions = [topic(&engine, "orders", 99), topic(&engine, "returns", 99)];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (offsets, partitions) = (&offsets, &partitions);
            scope.spawn(move || {
                for offset in 0..100 {
                    let partition = &partitions[(thread % 2) as usize];
                    match offsets.commit("g", &forward(partition, offset), Durability::Process) {
                        Ok(()) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::OffsetRegression),
                    }
                }
            });
        }
    });
    assert!(partitions.iter().all(|each| offset_of(&offsets, "g", each) == Some(99)));
    let (engine, offsets) = reopen(&disk, &engine);
    for name in ["orders", "returns"] {
        let partition = engine.topic(name).unwrap().partition(PartitionId::new(0)).unwrap();
        assert_eq!(offset_of(&offsets, "g", &partition), Some(99), "memory and log agree");
    }
}

#[test]
fn a_refused_commit_leaves_no_group_behind() {
    let (_disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 9);
    for number in 0..3 {
        let group = format!("g{number}");
        let error = offsets.commit(&group, &forward(&orders, 10), Durability::Process);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
        assert!(offsets.existing(&group).is_none(), "{group}");
    }
    offsets.commit("g0", &forward(&orders, 9), Durability::Process).unwrap();
    offsets.commit("g0", &forward(&orders, 10), Durability::Process).unwrap_err();
    assert_eq!(offset_of(&offsets, "g0", &orders), Some(9));
}

#[test]
fn a_failed_append_changes_nothing() {
    let (_disk, engine, offsets) = store();
    let orders = topic(&engine, "orders", 9);
    offsets.commit("g", &forward(&orders, 1), Durability::Process).unwrap();
    engine.close().unwrap();
    let error = offsets.commit("g", &forward(&orders, 2), Durability::Process).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(error.outcome(), Outcome::NotWritten);
}
