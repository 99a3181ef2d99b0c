//! Tests of generations: kept, never going back, ended by the next open, taken over from Kafka's
//! newer kinds of groups.

use super::super::offsets::OFFSETS_TOPIC;
use super::super::offsets::tests::{
    NOW, engine_on, forward, kafka_topic, offset_of, reopen, send, store, topic,
};
use super::*;
use crate::disk::MemoryDisk;
use crate::engine::Engine;
use crate::error::ErrorKind;
use crate::group::{
    Assignment, Assignor, GroupView, Interest, JoinRequest, Seat, Step, StickyAssignor,
};
use crate::ids::{Offset, PartitionId};

fn name(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn log_end(engine: &Engine, group: &str) -> Offset {
    let topic = engine.topic(OFFSETS_TOPIC).unwrap();
    let partitions = u32::try_from(topic.partitions().len()).unwrap();
    let partition = super::super::schema::group_partition(group, partitions);
    topic.partition(PartitionId::new(partition)).unwrap().offsets().unwrap().end
}

fn phase(offsets: &OffsetStore, group: &str) -> Option<Phase> {
    let group = offsets.existing(group)?;
    let classic = group.records.lock().classic;
    classic.map(|classic| classic.phase)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

#[test]
fn a_generation_is_kept_and_never_goes_back() {
    let (disk, engine, offsets) = store();
    let group = name("billing");
    assert_eq!(offsets.generation("billing"), Generation::default());
    offsets.record_generation(&group, Generation::new(4), None).unwrap();
    offsets.record_generation(&group, Generation::new(5), Some(at(7))).unwrap();
    let end = log_end(&engine, "billing");
    offsets.record_generation(&group, Generation::new(4), None).unwrap(); // the slower thread
    assert_eq!(log_end(&engine, "billing"), end, "nothing is written for it");
    assert_eq!(offsets.generation("billing"), Generation::new(5));
    let (engine, offsets) = reopen(&disk, &engine);
    assert_eq!(offsets.generation("billing"), Generation::new(5));
    assert_eq!(phase(&offsets, "billing"), Some(Phase::EmptySince(at(7))));
    assert_eq!(log_end(&engine, "billing"), end, "it was empty: opening writes nothing");
}

#[test]
fn a_group_that_was_live_is_empty_since_the_first_open_after() {
    let disk = Arc::new(MemoryDisk::new());
    let engine = engine_on(&disk, NOW);
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    offsets.record_generation(&name("billing"), Generation::new(4), None).unwrap();
    assert_eq!(phase(&offsets, "billing"), Some(Phase::Live));
    engine.close().unwrap(); // without a word from the coordinator, as a kill leaves it
    let mut ends = Vec::new();
    for later in [10, 20, 30] {
        let engine = engine_on(&disk, at(later));
        let offsets = OffsetStore::open(engine.clone()).unwrap();
        assert_eq!(phase(&offsets, "billing"), Some(Phase::EmptySince(at(10))));
        assert_eq!(offsets.generation("billing"), Generation::new(4));
        ends.push(log_end(&engine, "billing").get());
        engine.close().unwrap();
    }
    assert_eq!(ends, [2, 2, 2], "written once");
}

fn join(offsets: &Arc<OffsetStore>, assignor: impl Assignor + 'static) -> Arc<Seat> {
    let request = JoinRequest {
        distribution: Distribution::Divided,
        interest: Interest::Topics([Arc::from("orders")].into()),
        assignor: Arc::new(assignor),
        instance_id: None,
        max_poll_interval: std::time::Duration::MAX,
    };
    offsets.join(&name("g"), request).unwrap()
}

/// Else a process that is killed before it has written a generation has it again afterwards.
#[test]
fn nobody_acts_in_a_generation_that_is_not_in_the_log() {
    let (disk, engine, offsets) = store();
    topic(&engine, "orders", 1);
    let first = join(&offsets, StickyAssignor::new());
    first.plan_if_vacant().unwrap();
    assert_eq!(offsets.generation("g"), Generation::new(1));
    let second = join(&offsets, StickyAssignor::new());
    engine.close().unwrap(); // it cannot be written any more
    second.next_step().unwrap_err();
    let live = offsets.coordinator().describe("g").unwrap();
    assert_eq!(live.generation, Generation::new(1), "and is nobody's");
    let (_engine, offsets) = reopen(&disk, &engine);
    assert_eq!(offsets.generation("g"), Generation::new(1));
}

/// An assignor in the middle of whose work its only member leaves.
#[derive(Debug)]
struct Leaves(crate::sync::Mutex<Option<Arc<Seat>>>);

impl Assignor for Arc<Leaves> {
    fn name(&self) -> &str {
        "leaves"
    }

    fn assign(&self, group: &GroupView) -> Assignment {
        if let Some(seat) = self.0.lock().take() {
            seat.leave();
        }
        StickyAssignor::new().assign(group)
    }
}

#[test]
fn a_group_that_empties_while_it_is_divided_is_empty_in_the_log() {
    let (_disk, engine, offsets) = store();
    topic(&engine, "orders", 1);
    let leaves = Arc::new(Leaves(crate::sync::Mutex::default()));
    let seat = join(&offsets, leaves.clone());
    *leaves.0.lock() = Some(seat.clone());
    seat.plan_if_vacant().unwrap();
    assert!(matches!(seat.planned_step(), Step::Lost));
    assert_eq!(phase(&offsets, "g"), Some(Phase::EmptySince(NOW)));
    assert_eq!(offsets.generation("g"), Generation::new(1), "it was written, and is left out");
    let next = join(&offsets, leaves);
    assert!(matches!(next.next_step().unwrap(), Step::Acquired(_)));
    let Step::Settled(generation) = next.next_step().unwrap() else { panic!("it has all") };
    assert_eq!(generation, Generation::new(2));
    assert_eq!(phase(&offsets, "g"), Some(Phase::Live));
}

/// Who left writes that the group is empty after the next one has begun: once its word stood, and
/// a group that lived for weeks from then on was empty since that day for the life after a kill.
#[test]
fn a_group_that_is_taken_up_again_is_not_empty_in_the_log() {
    let (_disk, engine, offsets) = store();
    topic(&engine, "orders", 1);
    let first = join(&offsets, StickyAssignor::new());
    first.plan_if_vacant().unwrap();
    let group = offsets.coordinator().group("g").unwrap();
    let left = group.live.leave(first.id());
    let second = join(&offsets, StickyAssignor::new());
    second.plan_if_vacant().unwrap();
    assert_eq!(phase(&offsets, "g"), Some(Phase::Live));
    group.follow_up(&offsets, left); // the slower thread
    assert_eq!(phase(&offsets, "g"), Some(Phase::Live));
    second.leave();
    assert_eq!(phase(&offsets, "g"), Some(Phase::EmptySince(NOW)));
}

/// One member sees to it that a change is planned for, and sleeps if another is at it already.
#[test]
fn who_sleeps_while_another_plans_is_called_where_that_fails() {
    let (_disk, engine, offsets) = store();
    topic(&engine, "orders", 1);
    let first = join(&offsets, StickyAssignor::new());
    first.plan_if_vacant().unwrap();
    let waiting = crate::wait::WaitSet::new();
    let registration = waiting.register(first.signal(), 7);
    waiting.arm(&registration);
    first.poll_began();
    let second = join(&offsets, StickyAssignor::new());
    second.poll_began();
    let mut called = Vec::new();
    waiting.drain_ready(&mut called);
    assert_eq!(called, [7], "to see to it");
    let live = &offsets.coordinator().group("g").unwrap().live;
    let plan = live.begin_plan();
    assert!(plan.is_some());
    waiting.arm(&registration);
    while let Step::Acquired(_) = first.next_step().unwrap() {}
    called.clear();
    waiting.drain_ready(&mut called);
    assert!(called.is_empty(), "somebody is at it");
    let _ = live.give_up_plan(); // as where the generation cannot be written
    waiting.drain_ready(&mut called);
    assert_eq!(called, [7], "it sleeps, and nobody else wakes it");
    assert!(live.begin_plan().is_some());
}

#[test]
fn names_and_a_closed_store_are_refused() {
    let (_disk, engine, offsets) = store();
    let record = |group: &str| offsets.record_generation(&name(group), Generation::new(1), None);
    assert_eq!(record("").unwrap_err().kind(), ErrorKind::InvalidName);
    engine.close().unwrap();
    assert_eq!(record("billing").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(offsets.generation("billing"), Generation::default());
}

/// A record of a newer kind: its key's version, its group, a member where it has one.
fn newer(version: i16, group: &str, member: Option<&str>) -> Vec<u8> {
    let mut key = version.to_be_bytes().to_vec();
    for part in [Some(group), member].into_iter().flatten() {
        key.extend(i16::try_from(part.len()).unwrap().to_be_bytes());
        key.extend(part.as_bytes());
    }
    key
}

#[test]
fn a_kip_848_group_becomes_classic_in_one_batch_and_keeps_its_offsets() {
    let (disk, engine, _) = store();
    let orders = topic(&engine, "orders", 9);
    let log = kafka_topic(&engine);
    let epoch = [0, 0, 0, 0, 0, 9, 0];
    send(&log, Some(&newer(3, "g", None)), Some(&epoch));
    for version in [5, 7, 8] {
        send(&log, Some(&newer(version, "g", Some("m"))), Some(b"value"));
    }
    send(&log, Some(&newer(8, "g", Some("left"))), Some(b"value"));
    send(&log, Some(&newer(8, "g", Some("left"))), None);
    send(&log, Some(&newer(6, "g", None)), Some(b"value"));
    send(&log, Some(&newer(11, "s", None)), Some(b"value"));
    send(&log, Some(&newer(99, "g", None)), Some(b"what is it"));
    let (engine, offsets) = reopen(&disk, &engine);
    drop(orders);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    offsets.commit("g", &forward(&orders, 5), crate::config::Durability::Process).unwrap();
    assert_eq!(offsets.generation("g"), Generation::new(9), "its epoch");
    let before = log_end(&engine, "g");
    offsets.record_generation(&name("g"), Generation::new(10), None).unwrap();
    assert_eq!(log_end(&engine, "g").since(before), 6, "five tombstones and the record");
    let refused = offsets.record_generation(&name("s"), Generation::new(1), None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);

    let (engine, offsets) = reopen(&disk, &engine);
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offsets.generation("g"), Generation::new(10));
    assert_eq!(offset_of(&offsets, "g", &orders), Some(5));
    let kinds = |group| offsets.existing(group).unwrap().records.lock().kind();
    assert_eq!((kinds("g"), kinds("s")), (GroupKind::Classic, GroupKind::Share));
    assert_eq!(offsets.skipped(), 0);
}

#[test]
fn records_that_cannot_be_read_are_counted_and_change_nothing() {
    let (disk, engine, _) = store();
    let log = kafka_topic(&engine);
    let value = GroupValue::of_consumers(Generation::new(3), Some(NOW)).encode().unwrap();
    send(&log, Some(&group_key("g").unwrap()), Some(&value));
    send(&log, Some(&group_key("g").unwrap()), Some(&value[..9]));
    send(&log, Some(&newer(3, "g", Some("not of that key"))), Some(b""));
    send(&log, Some(&newer(3, "h", None)), Some(&[0, 9]));
    let (_engine, offsets) = reopen(&disk, &engine);
    assert_eq!(offsets.skipped(), 3);
    assert_eq!(offsets.generation("g"), Generation::new(3));
    let kind = offsets.existing("h").unwrap().records.lock().kind();
    assert_eq!(kind, GroupKind::Consumer, "it can be ended all the same");
}
