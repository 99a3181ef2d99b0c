//! A program of takes and words, stopped at every call to the disk, by a power cut or by the end of
//! the process: what was acknowledged durably is never handed out again, what was not always is,
//! and no record that is not there is ever counted as done.

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
use crate::error::Outcome;
use crate::seeds::{pick, seeds};

const RECORDS: i64 = 12;

/// Looks are many here.
fn patient(store: &Store) -> ShareConsumerBuilder {
    builder(store).max_deliveries(1_000)
}

/// What the program had been told when a call to the disk was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Told {
    acked: BTreeSet<i64>,
    /// Under way.
    acking: BTreeSet<i64>,
}

fn program(disk: &SimDisk, durability: Durability) -> Vec<(u64, Told)> {
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    store.flush().unwrap();
    disk.record();
    let mut told = vec![(0, Told::default())];
    let mut consumer = patient(&store).durability(durability).max_records(4).build().unwrap();
    for round in 0..4 {
        let texts: Vec<String> = (0..3).map(|at| (round * 3 + at).to_string()).collect();
        send(&store, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        for (at, record) in poll(&mut consumer).iter().enumerate() {
            let offset = record.offset().get();
            match (at + round) % 4 {
                0 => consumer.release_after(record, Duration::from_secs(5)).unwrap(),
                1 => consumer.release(record).unwrap(),
                _ => {
                    let mut now = told.last().unwrap().1.clone();
                    now.acking = BTreeSet::from([offset]);
                    told.push((disk.operations(), now.clone()));
                    consumer.ack(record).unwrap();
                    now.acking.clear();
                    now.acked.insert(offset);
                    told.push((disk.operations(), now));
                }
            }
        }
        world.pass(&store, 3);
        if round == 1 {
            store.flush().unwrap();
        }
    }
    drop(consumer);
    store.close().unwrap();
    told
}

/// What a reopened store hands out, all of it.
fn owed(world: &World, store: &Store) -> BTreeSet<i64> {
    let mut consumer = patient(store).build().unwrap();
    world.pass(store, 10);
    let mut owed = BTreeSet::new();
    loop {
        let leased = poll(&mut consumer);
        if leased.is_empty() {
            return owed;
        }
        for record in &leased {
            let value = std::str::from_utf8(record.value().unwrap()).unwrap();
            assert_eq!(value, record.offset().get().to_string());
            assert!(owed.insert(record.offset().get()));
        }
    }
}

fn check(image: SimDisk, told: &Told, context: &str) {
    let world = World::on(Arc::new(image));
    let store = world.open();
    let end = store.partition("jobs", 0).unwrap().end_offset().unwrap().get();
    let owed = owed(&world, &store);
    for at in 0..end {
        let may_be_done = told.acked.contains(&at) || told.acking.contains(&at);
        assert!(may_be_done || owed.contains(&at), "{context}: {at} is lost; {told:?} {owed:?}");
        let comes_back = told.acked.contains(&at) && owed.contains(&at);
        assert!(!comes_back, "{context}: {at} comes back; {told:?} {owed:?}");
    }
    store.close().unwrap();
    let store = world.open();
    assert_eq!(self::owed(&world, &store), owed, "{context}: after one more open");
    // what was cut off and is written anew is owed again
    let next: Vec<String> = (end..RECORDS + 2).map(|at| at.to_string()).collect();
    send(&store, &next.iter().map(String::as_str).collect::<Vec<_>>());
    let again = self::owed(&world, &store);
    assert!((end..RECORDS + 2).all(|at| again.contains(&at)), "{context}: {end} {again:?}");
}

fn stop_everywhere(seed: u64, durability: Durability) {
    let disk = SimDisk::new(seed);
    disk.set_mode(if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Positioned });
    let told = program(&disk, durability);
    let mut images = HashSet::new();
    let every = pick(29, 9, 1);
    for moment in disk.moments() {
        if moment.operation() % every != seed % every {
            continue;
        }
        let before = told.iter().rev().find(|(at, _)| *at < moment.operation());
        let told = before.map(|(_, told)| told.clone()).unwrap_or_default();
        let cuts = [Crash::Nothing, Crash::Everything, Crash::Random(seed)];
        let cuts = cuts.into_iter().map(|crash| (format!("{crash:?}"), moment.crash(crash)));
        let cuts = cuts.filter(|_| durability == Durability::Power);
        for (how, image) in cuts.chain([("kill".to_owned(), moment.kill())]) {
            if images.insert((image.image_hash(), told.clone())) {
                let at = moment.operation();
                let context =
                    format!("before call {at}, {how}, {durability:?}; TIDELOG_SEED={seed}");
                check(image, &told, &context);
            }
        }
    }
    assert!(images.len() > 1, "the control: {} images", images.len());
}

#[test]
fn a_power_cut_anywhere_loses_and_repeats_nothing() {
    seeds(1, 3, 32).for_each(|seed| stop_everywhere(seed, Durability::Power));
}

#[test]
fn the_end_of_the_process_anywhere_loses_and_repeats_nothing() {
    seeds(1, 2, 16).for_each(|seed| stop_everywhere(seed, Durability::Process));
}

/// With the weaker word a power cut may bring records back; it never takes one.
#[test]
fn a_weak_acknowledgement_never_skips_a_record() {
    for seed in seeds(2, 8, 200) {
        let disk = SimDisk::new(seed);
        let world = World::on(Arc::new(disk.clone()));
        let store = world.open();
        store.ensure_topic("jobs", TopicConfig::new()).unwrap();
        send(&store, &["0", "1"]);
        store.flush().unwrap();
        let mut consumer = builder(&store).durability(Durability::Process).build().unwrap();
        send(&store, &["2", "3"]);
        let leased = poll(&mut consumer);
        consumer.ack_all(&leased).unwrap();
        if seed % 2 == 0 {
            consumer.flush().unwrap(); // the words last, what they are about may not
        }
        let world = World::on(Arc::new(disk.crash(Crash::Random(seed))));
        let store = world.open();
        let end = store.partition("jobs", 0).unwrap().end_offset().unwrap().get();
        let texts: Vec<String> = (end..6).map(|at| at.to_string()).collect();
        send(&store, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let owed = owed(&world, &store);
        assert!((end..6).all(|at| owed.contains(&at)), "seed {seed}: {end} {owed:?}");
    }
}

/// Each call to the disk fails in turn: what a word's answer says is what the next life finds.
#[test]
fn a_word_says_what_became_of_it_whatever_fails() {
    each_call_fails(false);
}

/// A rejection is a word like an acknowledgement: what is granted lasts.
#[test]
fn a_reject_says_what_became_of_it_whatever_fails() {
    each_call_fails(true);
}

fn each_call_fails(rejects: bool) {
    let (mut refused, mut granted) = (0, 0);
    for (operation, code) in [(Operation::Sync, 5), (Operation::Write, 28)] {
        for nth in 1..pick(5, 12, 60) {
            let disk = SimDisk::new(nth);
            let world = World::on(Arc::new(disk.clone()));
            let store = world.open();
            store.ensure_topic("jobs", TopicConfig::new()).unwrap();
            send(&store, &["0", "1"]);
            let mut consumer = builder(&store).build().unwrap();
            let leased = poll(&mut consumer);
            disk.fail(Plan::new(Fault::Error(code)).on(operation).nth(nth).for_ever());
            let record = leased.iter().next().unwrap();
            let answer = if rejects { consumer.reject(record) } else { consumer.ack(record) };
            disk.heal();
            for image in [disk.kill(), disk.crash(Crash::Nothing), disk.crash(Crash::Everything)] {
                let world = World::on(Arc::new(image));
                let store = world.open();
                let end = store.partition("jobs", 0).unwrap().end_offset().unwrap().get();
                let owed = owed(&world, &store);
                match &answer {
                    Ok(()) => assert_eq!(owed, BTreeSet::from_iter(1..end), "{operation:?} {nth}"),
                    Err(error) if error.outcome() == Outcome::NotWritten => {
                        assert_eq!(
                            owed,
                            BTreeSet::from_iter(0..end),
                            "{operation:?} {nth}: {error}"
                        );
                    }
                    Err(_) => assert!((1..end).all(|at| owed.contains(&at))),
                }
            }
            match answer {
                Ok(()) => granted += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 0 && granted > 0, "the control: {refused} {granted}");
}

#[test]
fn acknowledgements_and_delays_outlive_the_process() {
    let disk = SimDisk::new(1);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, &["1", "2", "3", "4", "5"]);
    let mut consumer = builder(&store).build().unwrap();
    let leased = poll(&mut consumer);
    let leases: Vec<_> = leased.iter().map(|record| record.lease()).collect();
    consumer.ack(&leases[1]).unwrap();
    consumer.release_after(&leases[2], Duration::from_secs(60)).unwrap();
    consumer.reject(&leases[3]).unwrap();
    let next = World { disk: Arc::new(disk.kill()), clock: world.clock.clone() };
    let store = next.open();
    let mut consumer = builder(&store).build().unwrap();
    assert_eq!(consumer.ack(&leases[0]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let leased = poll(&mut consumer);
    assert_eq!(values(&leased), ["1", "5"]);
    assert!(leased.iter().all(|record| record.delivery_count() == 2));
    next.pass(&store, 59);
    assert!(!values(&poll(&mut consumer)).contains(&"3".to_owned()));
    next.pass(&store, 1);
    assert!(values(&poll(&mut consumer)).contains(&"3".to_owned()));
}

/// A job that takes the process with it is given up like any other.
#[test]
fn a_record_that_ends_the_process_is_counted() {
    let mut disk = SimDisk::new(1);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, &["1"]);
    for count in 1..=5 {
        disk = disk.kill();
        let store = World::on(Arc::new(disk.clone())).open();
        let mut consumer = builder(&store).build().unwrap();
        let leased = poll(&mut consumer);
        assert_eq!(leased.iter().next().unwrap().delivery_count(), count);
        disk = disk.kill();
    }
    let store = World::on(Arc::new(disk)).open();
    assert!(poll(&mut builder(&store).build().unwrap()).is_empty());
}

/// Has compaction go through the logs of share groups, all of them; returns the bytes it freed.
fn compact(world: &World, store: &Store) -> u64 {
    use crate::compact::{Pass, Progress, Settings};
    use crate::time::Clock as _;
    let engine = store.engine.engine();
    let topic = engine.topic("__share_group_state").unwrap();
    let logs = topic.partitions();
    for partition in logs.iter() {
        partition.log().unwrap().roll_active(world.clock.wall()).unwrap();
    }
    store.flush().unwrap(); // only what is durable is compacted
    let mut freed = 0;
    for partition in logs.iter() {
        let log = partition.log().unwrap();
        let settings = Settings::at(world.clock.wall());
        let Some(mut pass) = Pass::begin(log, Offset::ZERO, settings).unwrap() else { continue };
        freed += loop {
            match pass.step(log, engine.keeper().unwrap()).unwrap() {
                Progress::More => {}
                Progress::Done(done) => break done.freed,
            }
        };
    }
    freed
}

/// Of the updates since a snapshot compaction leaves the last one: that says all that they said.
#[test]
fn nothing_that_was_said_goes_with_the_records_that_said_it() {
    let mut freed = 0;
    for words in [1, 2, 3, 5, 8, 13, 21] {
        let disk = SimDisk::new(words);
        let world = World::on(Arc::new(disk.clone()));
        let store = world.open();
        store.ensure_topic("jobs", TopicConfig::new()).unwrap();
        let texts: Vec<String> = (0..100).map(|at| at.to_string()).collect();
        send(&store, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let mut consumer = builder(&store).max_records(100).build().unwrap();
        let leased = poll(&mut consumer);
        assert_eq!(leased.len(), 100);
        let mut expected = BTreeSet::from_iter(0..100);
        for (at, record) in leased.iter().enumerate().skip(1).step_by(4).take(words as usize) {
            match at % 3 {
                0 => consumer.reject(record).unwrap(),
                _ => consumer.ack(record).unwrap(),
            }
            expected.remove(&record.offset().get());
        }
        freed += compact(&world, &store);
        let world = World { disk: Arc::new(disk.kill()), clock: world.clock.clone() };
        let store = world.open();
        assert_eq!(owed(&world, &store), expected, "{words} words");
    }
    assert!(freed > 0, "the control: records of the log went");
}
