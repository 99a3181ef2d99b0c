//! Tests of expiry: Kafka's rules one by one on the pure plan, then in a store on a clock moved by
//! hand.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::committed::Committed;
use super::super::offsets::tests::{NOW, forward, kafka_topic, offset_of, send, topic};
use super::super::records::ClassicRecord;
use super::super::roster::{GroupPhase, RosterMember};
use super::super::schema::committed_key;
use super::*;
use crate::config::{BackgroundSync, Durability, Threads, WhenFull};
use crate::disk::MemoryDisk;
use crate::engine::{Engine, EngineOptions};
use crate::ids::{Generation, Offset, PartitionId};
use crate::time::ManualClock;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn entry(committed_at: i64, expires_at: Option<i64>) -> Entry {
    let committed = Committed {
        offset: Offset::new(1),
        leader_epoch: None,
        metadata: Arc::from(""),
        committed_at: at(committed_at),
    };
    Entry { topic_id: None, committed, expires_at: expires_at.map(at) }
}

/// A group that committed for `a` at 100 and for `b` at 300.
fn entries() -> Entries {
    let of = |name: &str, entry| (Arc::from(name), BTreeMap::from([(PartitionId::new(0), entry)]));
    BTreeMap::from([of("a", entry(100, None)), of("b", entry(300, None))])
}

fn classic(protocol: Protocol, phase: Phase) -> GroupRecords {
    let classic = ClassicRecord { generation: Generation::new(3), protocol, phase };
    GroupRecords { classic: Some(classic), ..GroupRecords::default() }
}

fn following(topics: &[&str]) -> Roster {
    let member = RosterMember {
        id: "m".to_owned(),
        instance_id: None,
        topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
        owned: Vec::new(),
    };
    let members = vec![member];
    Roster { phase: GroupPhase::Stable, assignor: None, fallback: None, fallbacks: 0, members }
}

/// The topics whose offsets go at `now` with a retention of 50 ms, and whether the group does.
fn planned(records: &GroupRecords, roster: Option<&Roster>, now: i64) -> (String, bool) {
    let plan = plan(&entries(), records, roster, at(now), Duration::from_millis(50));
    (plan.offsets.iter().map(|(topic, _)| &**topic).collect(), plan.is_over)
}

fn says(topics: &str, is_over: bool) -> (String, bool) {
    (topics.to_owned(), is_over)
}

#[test]
fn without_members_ever_each_offset_goes_by_its_commit() {
    for records in [GroupRecords::default(), classic(Protocol::None, Phase::EmptySince(at(1)))] {
        let has_record = records.classic.is_some();
        assert_eq!(planned(&records, None, 149), says("", false));
        assert_eq!(planned(&records, None, 150), says("a", false));
        assert_eq!(planned(&records, None, 350), says("ab", has_record));
    }
}

#[test]
fn an_empty_groups_offsets_go_since_it_is_empty() {
    let records = classic(Protocol::Consumer, Phase::EmptySince(at(200)));
    assert_eq!(planned(&records, None, 249), says("", false));
    assert_eq!(planned(&records, None, 250), says("a", false), "b was committed later");
    assert_eq!(planned(&records, None, 350), says("ab", true), "and its record with them");
}

#[test]
fn in_a_live_group_only_what_nobody_follows_goes() {
    let records = classic(Protocol::Consumer, Phase::Live);
    let member = following(&["b"]);
    assert_eq!(planned(&records, Some(&member), 149), says("", false));
    assert_eq!(planned(&records, Some(&member), 1_000), says("a", false));
    let member = following(&[]);
    assert_eq!(planned(&records, Some(&member), 1_000), says("ab", false), "it has members");
    let again = classic(Protocol::Consumer, Phase::EmptySince(at(900)));
    let member = following(&["a", "b"]);
    assert_eq!(planned(&again, Some(&member), 1_000), says("", false));
}

#[test]
fn groups_that_others_lead_are_left_alone() {
    let elsewhere = classic(Protocol::Consumer, Phase::LiveElsewhere);
    assert_eq!(planned(&elsewhere, None, 1_000), says("", false));
    let just_left = classic(Protocol::Consumer, Phase::Live);
    assert_eq!(planned(&just_left, None, 1_000), says("", false));
    let mut share = GroupRecords::default();
    share.note_newer(11, b"\0\x0b\0\x01s", true);
    assert_eq!(planned(&share, None, 1_000), says("", false));
    let mut consumer = GroupRecords::default();
    consumer.note_newer(3, b"\0\x03\0\x01s", true);
    assert_eq!(planned(&consumer, None, 150), says("a", false), "KIP-848: by its commit");
    assert_eq!(planned(&consumer, None, 350), says("ab", true));
}

#[test]
fn an_offsets_own_time_of_expiry_counts_alone() {
    let of =
        |entry| BTreeMap::from([(Arc::from("a"), BTreeMap::from([(PartitionId::new(0), entry)]))]);
    let own = of(entry(100, Some(1_000)));
    let records = GroupRecords::default();
    let goes =
        |now| !plan(&own, &records, None, at(now), Duration::from_millis(50)).offsets.is_empty();
    assert!(!goes(999));
    assert!(goes(1_000));
}

fn open(disk: &Arc<MemoryDisk>, clock: &ManualClock) -> (Arc<Engine>, Arc<OffsetStore>) {
    let options = EngineOptions {
        disk: disk.clone(),
        clock: Arc::new(clock.clone()),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    (engine, offsets)
}

fn groups(offsets: &OffsetStore) -> Vec<String> {
    offsets.groups().iter().map(ToString::to_string).collect()
}

#[test]
fn maintenance_expires_in_steps_and_a_reopened_store_agrees() {
    let (disk, clock) = (Arc::new(MemoryDisk::new()), ManualClock::new(NOW));
    let (engine, offsets) = open(&disk, &clock);
    let orders = topic(&engine, "orders", 9);
    offsets.begin_expiry(OffsetsRetention::Default);
    let many = STEP + 10;
    for number in 0..many {
        let name = format!("g-{number:04}");
        offsets.commit(&name, &forward(&orders, 1), Durability::Process).unwrap();
    }
    let name: Arc<str> = Arc::from("rested");
    let since = Timestamp::from_millis(NOW.as_millis() + millis(DAY));
    offsets.record_generation(&name, Generation::new(1), Some(since)).unwrap();
    offsets.commit("rested", &forward(&orders, 2), Durability::Process).unwrap();
    clock.advance(7 * DAY - Duration::from_millis(1));
    engine.run_maintenance();
    engine.run_maintenance(); // a whole round
    assert_eq!(groups(&offsets).len(), many + 1);
    clock.advance(INTERVAL);
    let next = engine.run_maintenance();
    assert_eq!(groups(&offsets).len(), many + 1 - STEP, "one step");
    assert!(next.is_some_and(|next| next <= engine.clock().monotonic()), "more at once");
    engine.run_maintenance();
    assert_eq!(groups(&offsets), ["rested"]);
    assert_eq!(offsets.expired(), many as u64);
    clock.advance(DAY);
    engine.run_maintenance();
    assert!(groups(&offsets).is_empty(), "the last offset took the group's record along");
    engine.close().unwrap();
    let (_engine, offsets) = open(&disk, &clock);
    assert!(groups(&offsets).is_empty());
}

#[test]
fn what_came_from_kafka_stays_until_the_host_sets_a_retention() {
    let (disk, clock) = (Arc::new(MemoryDisk::new()), ManualClock::new(NOW));
    let (engine, offsets) = open(&disk, &clock);
    let orders = topic(&engine, "orders", 9);
    offsets.begin_expiry(OffsetsRetention::Never);
    offsets.commit("g", &forward(&orders, 1), Durability::Process).unwrap();
    clock.advance(100 * DAY);
    assert_eq!(offsets.expire_all(), 0, "never is never");
    offsets.begin_expiry(OffsetsRetention::For(101 * DAY));
    assert_eq!(offsets.expire_all(), 0);
    clock.advance(DAY);
    assert_eq!(offsets.expire_all(), 1);
}

#[test]
fn a_group_with_members_of_a_stopped_broker_counts_from_the_open_once_a_retention_is_set() {
    let (disk, clock) = (Arc::new(MemoryDisk::new()), ManualClock::new(NOW));
    let (engine, _) = open(&disk, &clock);
    topic(&engine, "orders", 9);
    let log = kafka_topic(&engine);
    let key = committed_key("g", "orders", PartitionId::new(0)).unwrap();
    let value = [&0i16.to_be_bytes()[..], &3i64.to_be_bytes(), &0i16.to_be_bytes(), &[0; 8]];
    send(&log, Some(&key), Some(&value.concat()));
    let member = b"\0\x01m\xff\xff\0\x01c\0\x01h\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0";
    let head = b"\0\x03\0\x08consumer\0\0\0\x05\0\x01p\0\x01m\0\0\0\0\0\0\0\x07\0\0\0\x01";
    send(&log, Some(b"\0\x02\0\x01g"), Some(&[&head[..], member].concat()));
    engine.close().unwrap();
    let (engine, offsets) = open(&disk, &clock);
    assert_eq!(offsets.skipped(), 0);
    offsets.begin_expiry(OffsetsRetention::Default);
    clock.advance(100 * DAY);
    assert_eq!(offsets.expire_all(), 0, "its members may follow the topic");
    engine.close().unwrap();
    let (engine, offsets) = open(&disk, &clock);
    offsets.begin_expiry(OffsetsRetention::For(DAY));
    assert_eq!(offsets.expire_all(), 0, "empty since this open");
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), Some(3));
    assert_eq!(offsets.generation("g"), Generation::new(5));
    clock.advance(DAY);
    assert_eq!(offsets.expire_all(), 1);
    assert!(groups(&offsets).is_empty());
}
