//! What was committed for a topic that is deleted must not come back to one made again under the
//! name, whatever fails and stops in between.

use super::*;
use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
use crate::state_log::Change;

fn open(disk: &SimDisk) -> (Arc<Engine>, Arc<OffsetStore>) {
    let options = EngineOptions {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(NOW)),
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

/// A topic that a group has committed for, durably, and that is deleted; its offset is there.
fn deleted(disk: &SimDisk) -> (Arc<Engine>, Arc<OffsetStore>) {
    let (engine, offsets) = open(disk);
    let orders = topic(&engine, "orders", 9);
    offsets.commit("g", &forward(&orders, 5), Durability::Power).unwrap();
    engine.delete_topic("orders").unwrap();
    (engine, offsets)
}

/// The store was killed between the tombstone and its sync, and then the power went.
#[test]
fn a_tombstone_that_a_killed_process_wrote_is_durable_before_the_topic_is_made_again() {
    let disk = SimDisk::new(1);
    let (_engine, offsets) = deleted(&disk);
    let at = offsets.partition_of("g").unwrap();
    let key = committed_key("g", "orders", PartitionId::new(0)).unwrap();
    offsets.log.append(at, &[Change { key: &key, value: None }], Durability::Process).unwrap();
    let killed = disk.kill();
    let (engine, offsets) = open(&killed);
    offsets.forget_topic("orders").unwrap(); // as the store does before it makes one
    topic(&engine, "orders", 9);
    let (engine, offsets) = open(&killed.crash(Crash::Nothing));
    let orders = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
    assert_eq!(offset_of(&offsets, "g", &orders), None, "of the topic that was deleted");
}

/// The deletion failed at the sync: whoever makes the topic again must not count on it.
#[test]
fn a_topic_is_not_made_again_before_what_was_committed_for_it_is_forgotten_for_good() {
    let disk = SimDisk::new(2);
    let (_engine, offsets) = deleted(&disk);
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    offsets.forget_topic("orders").unwrap_err();
    offsets.forget_topic("orders").unwrap_err();
    offsets.forget_topic("others").unwrap();
    disk.heal();
    let (engine, offsets) = open(&disk.crash(Crash::Nothing));
    offsets.forget_topic("orders").unwrap();
    let orders = topic(&engine, "orders", 9);
    assert_eq!(offset_of(&offsets, "g", &orders), None);
}

/// Groups whose offsets lie in different partitions of the log, the first of which has failed.
#[test]
fn a_group_whose_tombstones_fail_keeps_no_other_from_being_forgotten() {
    let disk = SimDisk::new(3);
    let (engine, offsets) = open(&disk);
    let orders = topic(&engine, "orders", 9);
    let groups: Vec<String> = (0..4).map(|number| format!("g{number}")).collect();
    let places: BTreeSet<_> =
        groups.iter().map(|group| offsets.partition_of(group).unwrap()).collect();
    assert_eq!(places.len(), groups.len(), "the control: one partition each");
    for group in &groups {
        offsets.commit(group, &forward(&orders, 5), Durability::Power).unwrap();
    }
    engine.delete_topic("orders").unwrap();
    let first = offsets.log.partition(offsets.partition_of(&groups[0]).unwrap()).unwrap();
    send(&first, Some(b"no key of ours"), None);
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    first.make_durable(first.offsets().unwrap().end).unwrap_err();
    offsets.forget_topic("orders").unwrap_err();
    offsets.forget_topic("orders").unwrap_err();
    let left = |offsets: &OffsetStore, orders: &Partition| -> Vec<String> {
        let known = |group: &&String| offset_of(offsets, group, orders).is_some();
        groups.iter().filter(known).cloned().collect()
    };
    // a topic made in spite of that, by a process that does not ask, has the first one's alone
    let (engine, offsets) = open(&disk.crash(Crash::Nothing));
    let orders = topic(&engine, "orders", 9);
    drop(offsets);
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    assert_eq!(left(&offsets, &orders), groups[..1]);
}

/// The same of the syncs: of those that are owed, the first fails.
#[test]
fn a_sync_of_tombstones_that_fails_keeps_no_other_from_being_made() {
    let disk = SimDisk::new(4);
    let (engine, offsets) = open(&disk);
    let orders = topic(&engine, "orders", 9);
    let groups: Vec<String> = (0..4).map(|number| format!("g{number}")).collect();
    for group in &groups {
        offsets.commit(group, &forward(&orders, 5), Durability::Power).unwrap();
    }
    engine.delete_topic("orders").unwrap();
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    offsets.forget_topic("orders").unwrap_err();
    disk.heal();
    let (engine, offsets) = open(&disk.crash(Crash::Nothing));
    let orders = topic(&engine, "orders", 9);
    drop(offsets);
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    let known = groups.iter().filter(|group| offset_of(&offsets, group, &orders).is_some());
    assert_eq!(known.count(), 1, "that of the sync that failed");
}
