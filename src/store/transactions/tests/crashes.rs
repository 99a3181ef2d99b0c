//! A program of transactions, stopped at every call to the disk, by a power cut or by the end of
//! the process: each transaction is there whole, in all its partitions and with its offset, or not
//! at all; what was acknowledged is there; what was aborted never is; and the next life goes on.

use std::collections::HashSet;

use super::*;
use crate::config::CleanupPolicy;
use crate::disk::{Crash, IoMode, SimDisk};
use crate::seeds::{pick, seeds};

/// What the program had been told when a call to the disk was made.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Committed for certain.
    committed: Vec<u64>,
    /// Under way, and to be committed.
    committing: Option<u64>,
}

const INPUT: usize = 12;

fn begin(disk: &SimDisk) -> (World, Store) {
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    make_topics(&store);
    let input: Vec<String> = (0..INPUT).map(|number| number.to_string()).collect();
    send_plain(&store, "in", &input.iter().map(String::as_str).collect::<Vec<_>>());
    store.flush().unwrap();
    (world, store)
}

/// Carries one record of the input over, in one transaction; aborts each third.
fn carry(store: &Store, producer: &mut TransactionalProducer, number: u64, told: impl Fn(bool)) {
    let mut consumer = store.consumer("g").assign([("in", 0)]).max_records(1).build().unwrap();
    let records = consumer.try_poll().unwrap();
    let text = number.to_string();
    assert_eq!(records.iter().next().unwrap().value(), Some(text.as_bytes()));
    let transaction = producer.begin().unwrap();
    let a = transaction.topic("a").unwrap();
    a.send_to(0, Record::new(&text)).unwrap();
    if number.is_multiple_of(2) {
        a.send_to(1, Record::new(&text)).unwrap();
    }
    transaction.send_offsets(&consumer.consumed().unwrap()).unwrap();
    transaction.topic("b").unwrap().send(Record::new(&text)).unwrap();
    told(false);
    transaction.commit().unwrap();
    told(true);
}

fn abort(producer: &mut TransactionalProducer) {
    let transaction = producer.begin().unwrap();
    transaction.topic("a").unwrap().send_to(0, Record::new("aborted")).unwrap();
    transaction.topic("b").unwrap().send(Record::new("aborted")).unwrap();
    transaction.abort().unwrap();
}

fn program(disk: &SimDisk, durability: Durability) -> Vec<(u64, Told)> {
    let (_world, store) = begin(disk);
    disk.record();
    let told = std::cell::RefCell::new(vec![(0, Told::default())]);
    let build = || {
        let builder = store.producer().transactional("t");
        builder.commit_durability(durability).build().unwrap()
    };
    let mut producer = build();
    for number in 0..6 {
        carry(&store, &mut producer, number, |done| {
            let mut told = told.borrow_mut();
            let mut now = told.last().unwrap().1.clone();
            now.committing = Some(number).filter(|_| !done);
            now.committed.extend(Some(number).filter(|_| done));
            told.push((disk.operations(), now));
        });
        match number {
            1 => abort(&mut producer),
            3 => producer = build(),
            4 => store.flush().unwrap(),
            _ => {}
        }
    }
    store.close().unwrap();
    told.into_inner()
}

/// What is there after a stop, and that it is whole.
fn check(store: &Store, told: &Told, context: &str) -> u64 {
    let numbers = |topic: &str, partition: u32| -> Vec<u64> {
        let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{context}: {text}"));
        values(store, topic, partition).into_iter().map(parse).collect()
    };
    let there = numbers("b", 0);
    assert_eq!(numbers("a", 0), there, "{context}: torn");
    let even: Vec<u64> = there.iter().copied().filter(|number| number.is_multiple_of(2)).collect();
    assert_eq!(numbers("a", 1), even, "{context}: torn");
    let count = there.len() as u64;
    assert_eq!(there, (0..count).collect::<Vec<_>>(), "{context}: lost or twice");
    let offset = committed(store).map_or(0, |offset| offset.get().cast_unsigned());
    assert_eq!(offset, count, "{context}: the offset is not of what is there");
    let acknowledged = told.committed.len() as u64;
    let most = acknowledged + u64::from(told.committing.is_some());
    assert!((acknowledged..=most).contains(&count), "{context}: {count} of {told:?}");
    assert!(store.open_transactions().unwrap().is_empty(), "{context}: left open");
    count
}

fn stop_everywhere(seed: u64, durability: Durability) {
    let disk = SimDisk::new(seed);
    disk.set_mode(if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Positioned });
    let told = program(&disk, durability);
    let (mut images, mut counts) = (HashSet::new(), HashSet::new());
    let every = pick(9, 3, 1);
    for moment in disk.moments() {
        if moment.operation() % every != seed % every {
            continue;
        }
        let before = told.iter().rev().find(|(at, _)| *at <= moment.operation());
        let told = before.map(|(_, told)| told.clone()).unwrap_or_default();
        let cuts =
            [Crash::Nothing, Crash::Everything, Crash::Random(seed), Crash::Random(seed + 1)];
        let cuts = cuts.into_iter().map(|crash| (format!("{crash:?}"), moment.crash(crash)));
        let cuts = cuts.filter(|_| durability == Durability::Power);
        for (how, image) in cuts.chain([("kill".to_owned(), moment.kill())]) {
            if !images.insert((image.image_hash(), told.committed.len(), told.committing)) {
                continue;
            }
            let at = moment.operation();
            let context = format!(
                "seed {seed}, {durability:?}, before call {at}, {how}; TIDELOG_SEED={seed}"
            );
            let world = World::on(Arc::new(image));
            let store = world.open();
            let count = check(&store, &told, &context);
            counts.insert(count);
            let mut producer = transactional(&store, "t");
            carry(&store, &mut producer, count, |_| {});
            let next = Told { committed: (0..=count).collect(), committing: None };
            check(&store, &next, &context);
            drop(producer);
            store.close().unwrap();
            check(&world.open(), &next, &context);
        }
    }
    assert!(counts.len() > 5, "the control: stops at {counts:?} transactions");
}

#[test]
fn a_power_cut_anywhere_leaves_whole_transactions() {
    seeds(2, 4, 16).for_each(|seed| stop_everywhere(seed, Durability::Power));
}

#[test]
fn the_end_of_the_process_anywhere_leaves_whole_transactions() {
    seeds(1, 2, 8).for_each(|seed| stop_everywhere(seed, Durability::Process));
}

#[test]
fn a_marker_that_a_power_cut_has_left_is_not_written_again() {
    let disk = SimDisk::new(1);
    let (_world, store) = begin(&disk);
    let mut producer = transactional(&store, "t");
    carry(&store, &mut producer, 0, |_| {});
    let ends = |store: &Store| {
        let end = |topic, partition| store.partition(topic, partition).unwrap().end_offset();
        [("a", 0), ("a", 1), ("b", 0)].map(|(topic, partition)| end(topic, partition).unwrap())
    };
    let before = ends(&store);
    // the markers are synced, the record that says that they are everywhere is not
    let store = World::on(Arc::new(disk.crash(Crash::Nothing))).open();
    assert_eq!(ends(&store), before);
    let phase = store.describe_transaction("t").unwrap().phase();
    assert_eq!(phase, TransactionPhase::CompleteCommit);
}

/// Found by the scenario `transactions-cut`: with the marker of an aborted transaction cut off, the
/// commit that came next stood for its records too; one that was carried through after a crash, and
/// one of a transaction begun after the cut.
#[test]
fn what_was_aborted_stays_so_when_its_marker_is_cut_off() {
    for is_carried_through in [true, false] {
        let disk = SimDisk::new(1);
        let (_world, mut store) = begin(&disk);
        let mut producer = transactional(&store, "t");
        carry(&store, &mut producer, 0, |_| {});
        abort(&mut producer);
        carry(&store, &mut producer, 1, |_| {});
        let a = store.partition("a", 0).unwrap();
        let marker = a.aborted_transactions(Offset::ZERO..a.end_offset().unwrap()).unwrap()[0].last;
        a.truncate_to(marker).unwrap();
        let open = a.open_transactions().unwrap();
        assert_eq!(open.len(), 1, "the control: without its marker it is open again");
        if is_carried_through {
            // what says that the last commit is everywhere is lost, what decided it is not
            store = World::on(Arc::new(disk.crash(Crash::Nothing))).open();
        } else {
            carry(&store, &mut producer, 2, |_| {});
        }
        assert!(store.open_transactions().unwrap().is_empty());
        let a = store.partition("a", 0).unwrap();
        assert!(a.open_transactions().unwrap().is_empty());
        let expected: &[_] = if is_carried_through { &["0"] } else { &["0", "2"] };
        assert_eq!(values(&store, "a", 0), expected, "{is_carried_through}");
    }
}

/// The older value is durable, the newer one too, but not the marker that commits it: the older one
/// goes only once that is as well.
#[test]
fn compaction_and_a_power_cut_leave_one_of_two_values() {
    let disk = SimDisk::new(1);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    let config = config.segment_bytes(1_024).min_cleanable_dirty_ratio(0.0);
    store.create_topic("k", config).unwrap();
    let plain = store.producer().build().unwrap().topic("k").unwrap();
    let filling = "x".repeat(300);
    let others = || {
        for _ in 0..12 {
            plain.send(Record::new(&filling).key("another")).unwrap();
        }
    };
    let builder = store.producer().transactional("t");
    let mut producer = builder.commit_durability(Durability::Process).build().unwrap();
    plain.send(Record::new("older").key("k")).unwrap();
    others();
    let transaction = producer.begin().unwrap();
    transaction.topic("k").unwrap().send(Record::new("newer").key("k")).unwrap();
    others();
    store.flush().unwrap();
    transaction.commit().unwrap();
    for _ in 0..200 {
        world.clock.advance(Duration::from_millis(100));
        store.run_maintenance();
    }
    let stats = store.stats();
    let compacted = stats.topics.iter().find(|topic| topic.name == "k").unwrap();
    assert!(compacted.partitions[0].compactions > 0, "the control");
    let store = World::on(Arc::new(disk.crash(Crash::Nothing))).open();
    let left = values(&store, "k", 0);
    assert!(left.iter().any(|value| value == "older" || value == "newer"), "{left:?}");
}
