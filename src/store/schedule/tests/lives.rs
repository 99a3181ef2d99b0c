//! Delayed records where something takes nothing or tells nothing: a target that follows, a
//! publication that is decided and not finished, a partition that cannot be read to its end.

use super::*;
use crate::config::Leadership;
use crate::ids::{PartitionId, ProducerEpoch, ProducerId};
use crate::record::ProducerIdentity;
use crate::state_log::{Change, StateLog};

#[test]
fn a_target_that_follows_holds_up_nobody_and_gets_its_own_later() {
    let (world, store, a) = begin();
    store.ensure_topic("b", TopicConfig::new()).unwrap();
    topic(&store, "b").schedule(Record::new("b"), after(1)).unwrap();
    let led = store.partition("b", 0).unwrap();
    led.set_leadership(Leadership::HostLed).unwrap();
    for delay in 1..4 {
        a.schedule(Record::new(&delay.to_string()), after(delay)).unwrap();
        world.advance(&store, 1);
    }
    world.advance(&store, 10);
    assert_eq!(values(&store, "a"), ["1", "2", "3"]);
    assert_eq!(store.stats().scheduled.stuck, 1);
    led.set_leadership(Leadership::SelfLed).unwrap();
    world.advance(&store, 1000);
    assert_eq!(values(&store, "b"), ["b"]);
}

#[test]
fn a_target_with_room_for_less_than_is_due_gets_as_much_and_the_rest_later() {
    for when_full in [WhenFull::Fail, WhenFull::Block(HOUR), WhenFull::DropOldest] {
        let (world, store, a) = begin();
        let config = TopicConfig::new().max_bytes(64 << 10, when_full).segment_bytes(8 << 10);
        store.ensure_topic("small", config).unwrap();
        let small = topic(&store, "small");
        for number in 0..200 {
            small.schedule(Record::new(&format!("{number:0800}")), after(10)).unwrap();
        }
        a.schedule(Record::new("1"), after(10)).unwrap();
        world.advance(&store, 10);
        assert_eq!(values(&store, "a"), ["1"]);
        let numbers = || -> Vec<u64> {
            values(&store, "small").iter().map(|text| text.parse().unwrap()).collect()
        };
        let (first, pending) = (numbers(), store.stats().scheduled.pending);
        if when_full == WhenFull::DropOldest {
            assert_eq!((pending, first.last()), (0, Some(&199)));
            let kept = *first.first().unwrap()..200;
            assert_eq!(first, kept.collect::<Vec<_>>(), "in order");
            continue;
        }
        assert!(first.len() > 50 && pending == 200 - first.len() as u64, "{pending} pending");
        world.advance(&store, 1000);
        assert_eq!(numbers(), first, "there is no more room");
        store.alter_topic("small", TopicConfig::new()).unwrap();
        world.advance(&store, 1000);
        assert_eq!(numbers(), (0..200).collect::<Vec<_>>());
    }
}

/// So many that each publication goes to a few of them.
#[test]
fn what_is_due_in_many_partitions_comes_to_each_in_order() {
    let (world, store, _) = begin();
    store.ensure_topic("many", TopicConfig::new().partitions(50)).unwrap();
    let many = topic(&store, "many");
    for number in 0..500u32 {
        let (text, key) = (format!("{number:03}"), (number % 97).to_string());
        many.schedule(Record::new(&text).key(&key), after(10)).unwrap();
    }
    world.advance(&store, 10);
    assert_eq!(store.stats().scheduled.pending, 0);
    let all = records(&store, "many");
    let mut last: std::collections::BTreeMap<Vec<u8>, Vec<u8>> = std::collections::BTreeMap::new();
    for record in &all {
        let (key, value) = (record.key().unwrap().to_vec(), record.value().unwrap().to_vec());
        assert!(last.insert(key, value.clone()).is_none_or(|before| before < value));
    }
    assert_eq!(all.len(), 500);
}

/// Its tombstone lies in a transaction whose marker is missing: what became of it cannot be told.
#[test]
fn what_may_be_published_already_is_neither_published_nor_cancelled() {
    let (world, store, a) = begin();
    let id = a.schedule(Record::new("x"), after(10)).unwrap();
    let due = id.due().as_millis();
    let sequence = u64::from_str_radix(id.to_string().split('-').nth(1).unwrap(), 16).unwrap();
    let key = [&[0u8; 2][..], &due.to_be_bytes(), &sequence.to_be_bytes()].concat();
    let log = StateLog::new(store.engine.engine().clone(), "__schedule", TopicConfig::new());
    let partition = PartitionId::new(u32::try_from((due >> 16) % 64).unwrap());
    let writer = ProducerIdentity::new(ProducerId::new(77), ProducerEpoch::new(0));
    log.append_produced(partition, &[Change { key: &key, value: None }], writer).unwrap();
    store.close().unwrap();
    drop((log, a, store));
    let store = world.open();
    let undecided = store.cancel_scheduled(&id).unwrap_err();
    assert_eq!(undecided.outcome(), Outcome::Unknown);
    world.advance(&store, 100);
    assert_eq!(values(&store, "a"), Vec::<String>::new());
}

#[test]
#[cfg(feature = "sim")]
fn of_a_partition_that_was_not_read_to_its_end_nothing_is_published_again() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let disk = SimDisk::new(1);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("a", TopicConfig::new().max_batch_bytes(4 << 20)).unwrap();
    let a = topic(&store, "a");
    let large = vec![7; 5 << 18]; // the entry and what resolves it are not read at once
    let id = a.schedule(Record::new(&large), after(1)).unwrap();
    world.advance(&store, 1);
    assert_eq!(records(&store, "a").len(), 1);
    drop(a);
    store.close().unwrap();
    drop(store);
    let mut refused = 0;
    for nth in 1..=60 {
        let disk = disk.kill();
        let world = World { disk: Arc::new(disk.clone()), clock: world.clock.clone() };
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Read).nth(nth));
        let Ok(store) = world.try_open() else { continue };
        disk.heal();
        let Ok(a) = store.producer().build().unwrap().topic("a") else { continue };
        let numbers = store.stats().scheduled;
        let cancelled = store.cancel_scheduled(&id).unwrap_err();
        match numbers.unreadable {
            0 => assert_eq!(cancelled.kind(), ErrorKind::AlreadyResolved, "read {nth}"),
            _ => {
                refused += 1;
                assert_eq!(cancelled.kind(), ErrorKind::Io, "read {nth}");
                assert_eq!(
                    a.schedule(Record::new("x"), id.due()).unwrap_err().kind(),
                    ErrorKind::Io
                );
            }
        }
        world.advance(&store, 10);
        assert_eq!((numbers.pending, store.stats().scheduled.published), (0, 0), "read {nth}");
    }
    assert!(refused > 0);
}
