//! A program that gives back, commits and lets delays end, stopped at every call to the disk by a
//! power cut or by the end of the process, and with each call failing: what was neither committed
//! nor given back comes, what was given back comes once, and nothing that is done comes at all.

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::config::Durability;
use crate::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
use crate::error::Outcome;
use crate::seeds::{pick, seeds};

/// What is certain of a record: how often it comes to the next life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owed {
    Once,
    AtLeastOnce,
    Never,
    /// The word on it is under way.
    Perhaps,
}

type Told = BTreeMap<i64, Owed>;

fn durable(store: &Store) -> Consumer {
    builder(store).durability(Durability::Power).max_attempts(1_000).build().unwrap()
}

fn program(disk: &SimDisk) -> Vec<(u64, Told)> {
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("orders", TopicConfig::new()).unwrap();
    store.flush().unwrap();
    disk.record();
    let mut told: Vec<(u64, Told)> = vec![(0, Told::new())];
    let mut tell = |disk: &SimDisk, change: &mut dyn FnMut(&mut Told)| {
        let mut now = told.last().unwrap().1.clone();
        change(&mut now);
        told.push((disk.operations(), now));
    };
    let mut billing = durable(&store);
    for round in 0..4 {
        let texts: Vec<String> = (0..3).map(|at| (round * 3 + at).to_string()).collect();
        send(&store, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        store.flush().unwrap();
        let records = poll(&mut billing);
        let offsets: Vec<i64> = records.iter().map(|it| it.offset().get()).collect();
        tell(disk, &mut |now| {
            // what came is owed until something is said of it
            for at in &offsets {
                now.entry(*at).or_insert(Owed::AtLeastOnce);
            }
        });
        let mut given_back = Vec::new();
        for record in records.iter().filter(|it| (it.offset().get() + round) % 3 == 0) {
            let at = record.offset().get();
            tell(disk, &mut |now| {
                now.insert(at, Owed::AtLeastOnce);
            });
            billing.retry_later(&record, seconds(2)).unwrap();
            given_back.push(at);
        }
        tell(disk, &mut |now| {
            for at in &offsets {
                let owed = if given_back.contains(at) { Owed::AtLeastOnce } else { Owed::Perhaps };
                now.insert(*at, owed);
            }
        });
        billing.commit().unwrap();
        tell(disk, &mut |now| {
            for at in &offsets {
                let owed = if given_back.contains(at) { Owed::Once } else { Owed::Never };
                now.insert(*at, owed);
            }
        });
        world.pass(&store, 2);
    }
    drop(billing);
    store.close().unwrap();
    told
}

/// How often each record comes to the next life.
fn come(world: &World, store: &Store) -> BTreeMap<i64, usize> {
    let mut billing = durable(store);
    world.pass(store, 10);
    let mut come = BTreeMap::new();
    loop {
        let records = poll(&mut billing);
        if records.is_empty() {
            return come;
        }
        for record in &records {
            let value = std::str::from_utf8(record.value().unwrap()).unwrap();
            assert_eq!(value, record.offset().get().to_string());
            *come.entry(record.offset().get()).or_default() += 1;
        }
    }
}

fn check(image: SimDisk, told: &Told, context: &str) {
    let world = World::on(Arc::new(image));
    let store = world.open();
    let come = come(&world, &store);
    for (at, owed) in told {
        let times = come.get(at).copied().unwrap_or(0);
        let fits = match owed {
            Owed::Once => times == 1,
            Owed::AtLeastOnce => (1..=2).contains(&times),
            Owed::Never => times == 0,
            Owed::Perhaps => times <= 1,
        };
        assert!(fits, "{context}: {at} comes {times} times: {told:?} {come:?}");
    }
    let mut again = durable(&store); // nobody has committed
    let before: usize = come.values().sum();
    let after: usize = std::iter::from_fn(|| Some(poll(&mut again)).filter(|it| !it.is_empty()))
        .map(|records| records.len())
        .sum();
    assert_eq!(before, after, "{context}: to the next consumer");
}

#[test]
fn a_stop_anywhere_loses_nothing_and_repeats_nothing_that_is_done() {
    for seed in seeds(1, 3, 32) {
        let disk = SimDisk::new(seed);
        disk.set_mode(if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Positioned });
        let told = program(&disk);
        let mut images = HashSet::new();
        let every = pick(23, 7, 1);
        for moment in disk.moments() {
            if moment.operation() % every != seed % every {
                continue;
            }
            let before = told.iter().rev().find(|(at, _)| *at < moment.operation());
            let told = before.map(|(_, told)| told.clone()).unwrap_or_default();
            let cuts = [Crash::Nothing, Crash::Everything, Crash::Random(seed)];
            let cuts = cuts.into_iter().map(|crash| (format!("{crash:?}"), moment.crash(crash)));
            for (how, image) in cuts.chain([("kill".to_owned(), moment.kill())]) {
                if images.insert((image.image_hash(), told.clone())) {
                    let at = moment.operation();
                    check(image, &told, &format!("before call {at}, {how}; TIDELOG_SEED={seed}"));
                }
            }
        }
        assert!(images.len() > 1, "the control: {} images", images.len());
    }
}

/// Each call to the disk fails in turn, as a broken or a full disk has it.
#[test]
fn it_says_what_became_of_the_record_whatever_fails() {
    let (mut refused, mut granted) = (0, 0);
    for (operation, code) in [(Operation::Sync, 5), (Operation::Write, 28)] {
        for nth in (0..pick(8, 12, 60)).map(|step| 1 + step * step * step) {
            let disk = SimDisk::new(nth);
            let world = World::on(Arc::new(disk.clone()));
            let store = world.open();
            store.ensure_topic("orders", TopicConfig::new()).unwrap();
            send(&store, &["0", "1"]);
            let mut billing = durable(&store);
            let records = poll(&mut billing);
            disk.fail(Plan::new(Fault::Error(code)).on(operation).nth(nth).for_ever());
            let record = records.iter().next().unwrap();
            let answer = billing.retry_later(&record, seconds(1));
            disk.heal();
            if answer.is_ok() {
                assert!(billing.commit().is_ok() || nth > 1, "{operation:?} {nth}");
            }
            let is_committed = store.committed("billing").is_ok_and(|all| !all.is_empty());
            for image in [disk.kill(), disk.crash(Crash::Everything)] {
                let world = World::on(Arc::new(image));
                let store = world.open();
                let times = come(&world, &store).get(&0).copied().unwrap_or(0);
                match &answer {
                    Ok(()) if is_committed => assert_eq!(times, 1, "{operation:?} {nth}"),
                    Err(error) if error.outcome() == Outcome::NotWritten => {
                        assert_eq!(times, 1, "{operation:?} {nth}: {error}");
                    }
                    _ => assert!((1..=2).contains(&times), "{operation:?} {nth}: {times}"),
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
