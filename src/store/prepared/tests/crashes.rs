//! A program that prepares, commits and rolls back, stopped at every call to the disk by a power
//! cut or by the end of the process, and with each call failing: each transaction is there whole
//! and once, or not at all, as it was resolved; what was prepared and not resolved is still
//! prepared.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
use crate::error::{Outcome, Result};
use crate::seeds::{pick, seeds};

/// What the program knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Prepared,
    /// It is being committed, or may be.
    Committing,
    RollingBack,
    Committed,
    RolledBack,
}

type AllTold = BTreeMap<PreparedId, (String, Told)>;

struct Program<'a> {
    disk: &'a SimDisk,
    store: Store,
    outbox: PreparedProducer,
    told: RefCell<Vec<(u64, AllTold)>>,
}

impl<'a> Program<'a> {
    fn begin(disk: &'a SimDisk) -> Self {
        let store = World::on(Arc::new(disk.clone())).open();
        make_topics(&store);
        let outbox = store.prepared("shop").build().unwrap();
        let first = prepare(&outbox, "first");
        outbox.commit(first).unwrap();
        store.flush().unwrap();
        let told = AllTold::from([(first, ("first".to_owned(), Told::Committed))]);
        Program { disk, store, outbox, told: RefCell::new(vec![(0, told)]) }
    }

    fn tell(&self, id: PreparedId, name: &str, what: Told) {
        let mut told = self.told.borrow_mut();
        let mut now = told.last().unwrap().1.clone();
        now.insert(id, (name.to_owned(), what));
        told.push((self.disk.operations(), now));
    }

    fn prepare(&self, name: &str) -> Option<PreparedId> {
        let records = [("a", Record::new(name)), ("b", Record::new(name))];
        let id = self.outbox.prepare(&records).ok()?;
        self.tell(id, name, Told::Prepared);
        Some(id)
    }

    fn resolve(&self, id: Option<PreparedId>, name: &str, commits: bool) {
        let Some(id) = id else { return };
        self.tell(id, name, if commits { Told::Committing } else { Told::RollingBack });
        let resolved: Result<()> =
            if commits { self.outbox.commit(id) } else { self.outbox.roll_back(id) };
        match resolved {
            Ok(()) => self.tell(id, name, if commits { Told::Committed } else { Told::RolledBack }),
            Err(error) if error.outcome() == Outcome::NotWritten => {
                self.tell(id, name, Told::Prepared);
            }
            Err(_) => {}
        }
    }

    fn run(&self) {
        let ids: Vec<_> = (0..3).map(|number| self.prepare(&number.to_string())).collect();
        self.resolve(ids[0], "0", true);
        self.resolve(ids[1], "1", false);
        self.resolve(ids[0], "0", true);
        let last = self.prepare("3");
        self.resolve(last, "3", true);
    }
}

fn check(image: SimDisk, told: &AllTold, context: &str) {
    let store = World::on(Arc::new(image)).open();
    let (a, b) = (values(&store, "a"), values(&store, "b"));
    let own: Vec<_> = b.iter().filter(|value| *value != "more").cloned().collect();
    let mut sorted = (a.clone(), own);
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1, "{context}: torn");
    let once: HashSet<_> = a.iter().collect();
    assert_eq!(once.len(), a.len(), "{context}: twice: {a:?}");
    let left = store.prepared_transactions(None, 99).unwrap();
    for (id, (name, what)) in told {
        let (is_seen, is_left) = (a.contains(name), left.iter().any(|it| it.id() == *id));
        let fits = match what {
            Told::Prepared => !is_seen && is_left,
            Told::Committing => is_seen != is_left,
            Told::RollingBack => !is_seen,
            Told::Committed => is_seen && !is_left,
            Told::RolledBack => !is_seen && !is_left,
        };
        assert!(fits, "{context}: {name}, {what:?}: seen {is_seen}, left {is_left}");
        // whatever it is, it can be brought to an end, once
        let ended = match what {
            Told::RolledBack | Told::RollingBack => store.roll_back_prepared(*id),
            _ => store.commit_prepared(*id),
        };
        assert!(ended.is_ok(), "{context}: {name}: {ended:?}");
    }
    let expected =
        told.values().filter(|(_, what)| !matches!(what, Told::RolledBack | Told::RollingBack));
    let mut expected: Vec<_> = expected.map(|(name, _)| name.clone()).collect();
    let mut seen = values(&store, "a");
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected, "{context}");
}

fn stop_everywhere(seed: u64, has_power: bool) {
    let disk = SimDisk::new(seed);
    disk.set_mode(if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Positioned });
    let program = Program::begin(&disk);
    disk.record();
    program.run();
    program.store.close().unwrap();
    let told = program.told.into_inner();
    let mut images = HashSet::new();
    let every = pick(7, 3, 1);
    for moment in disk.moments() {
        if moment.operation() % every != seed % every {
            continue;
        }
        let before = told.iter().rposition(|(at, _)| *at < moment.operation()).unwrap_or(0);
        let cuts = [Crash::Nothing, Crash::Everything, Crash::Random(seed)];
        let cuts = cuts.into_iter().map(|crash| (format!("{crash:?}"), moment.crash(crash)));
        let cuts = cuts.filter(|_| !has_power);
        for (how, image) in cuts.chain([("kill".to_owned(), moment.kill())]) {
            if images.insert((image.image_hash(), before)) {
                let at = moment.operation();
                let context = format!("before call {at}, {how}; TIDELOG_SEED={seed}");
                check(image, &told[before].1, &context);
            }
        }
    }
    assert!(images.len() > 10, "the control: {} images", images.len());
}

#[test]
fn a_power_cut_anywhere_leaves_each_whole_and_once_or_prepared() {
    seeds(1, 3, 16).for_each(|seed| stop_everywhere(seed, false));
}

#[test]
fn the_end_of_the_process_anywhere_leaves_each_whole_and_once_or_prepared() {
    seeds(1, 2, 8).for_each(|seed| stop_everywhere(seed, true));
}

#[test]
fn a_failing_disk_tears_nothing_and_repeats_nothing() {
    let faults = [(Operation::Sync, 5), (Operation::Write, 28), (Operation::Open, 5)];
    let mut unfinished = 0;
    for (operation, code) in faults {
        for nth in 1..=pick(5, 25, 200) {
            for lasting in [false, true] {
                let disk = SimDisk::new(nth);
                let program = Program::begin(&disk);
                let plan = Plan::new(Fault::Error(code)).on(operation).nth(nth);
                disk.fail(if lasting { plan.for_ever() } else { plan });
                program.run();
                let told = program.told.borrow().last().unwrap().1.clone();
                let committed = told.values().filter(|it| it.1 == Told::Committed).count();
                unfinished += u64::from(committed < 3);
                disk.heal();
                let context = format!("{operation:?} {nth}, lasting: {lasting}");
                for (how, image) in [
                    ("kill", disk.kill()),
                    ("cut", disk.crash(Crash::Nothing)),
                    ("late cut", disk.crash(Crash::Everything)),
                ] {
                    check(image, &told, &format!("{context}, {how}"));
                }
            }
        }
    }
    assert!(unfinished > 0, "the control");
}
