//! A program that schedules, cancels and lets time pass, stopped at every call to the disk by a
//! power cut or by the end of the process, and with each call failing: whatever was acknowledged is
//! published once, whatever was cancelled never, nothing twice, nothing early.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
use crate::seeds::{pick, seeds};

/// What the program had been told when a call to the disk was made.
#[derive(Clone, Debug, Default)]
struct Told {
    scheduled: BTreeSet<String>,
    cancelled: BTreeSet<String>,
    /// Under way, or failed with an outcome that says neither.
    doubtful: BTreeSet<String>,
    now: i64,
}

struct Program<'a> {
    disk: &'a SimDisk,
    world: World,
    store: Store,
    a: TopicProducer,
    told: RefCell<Vec<(u64, Told)>>,
}

impl<'a> Program<'a> {
    fn begin(disk: &'a SimDisk, durability: Durability) -> Self {
        let world = World::on(Arc::new(disk.clone()));
        let store = world.open();
        store.ensure_topic("a", TopicConfig::new().partitions(2)).unwrap();
        let a = topic(&store, "a").with_durability(durability);
        a.schedule(Record::new("first"), after(5)).unwrap();
        world.advance(&store, 5);
        store.flush().unwrap();
        let mut told = Told { now: START + 5, ..Told::default() };
        told.scheduled.insert("first".to_owned());
        Program { disk, world, store, a, told: RefCell::new(vec![(0, told)]) }
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        let mut told = self.told.borrow_mut();
        let mut now = told.last().unwrap().1.clone();
        change(&mut now);
        told.push((self.disk.operations(), now));
    }

    fn schedule(&self, name: &str, delay: u64) -> Option<ScheduleId> {
        self.tell(|told| told.doubtful.extend([name.to_owned()]));
        match self.a.schedule_to(
            u32::from(delay.is_multiple_of(2)),
            Record::new(name),
            after(delay),
        ) {
            Ok(id) => {
                self.tell(|told| {
                    told.doubtful.remove(name);
                    told.scheduled.insert(name.to_owned());
                });
                Some(id)
            }
            Err(error) => {
                if error.outcome() == Outcome::NotWritten {
                    self.tell(|told| told.doubtful.retain(|it| it != name));
                }
                None
            }
        }
    }

    fn cancel(&self, name: &str, id: Option<ScheduleId>) {
        let Some(id) = id else { return };
        self.tell(|told| told.doubtful.extend([name.to_owned()]));
        match self.store.cancel_scheduled(&id) {
            Ok(()) => self.tell(|told| {
                told.doubtful.remove(name);
                told.scheduled.remove(name);
                told.cancelled.insert(name.to_owned());
            }),
            Err(error) if error.outcome() == Outcome::NotWritten => {
                self.tell(|told| told.doubtful.retain(|it| it != name));
            }
            Err(_) => {}
        }
    }

    fn pass(&self, millis: u64) {
        let now = self.world.clock.wall().saturating_add(Duration::from_millis(millis));
        self.tell(|told| told.now = now.as_millis());
        self.world.advance(&self.store, millis);
    }

    fn run(&self) {
        let mut ids = Vec::new();
        for number in 0..4_u64 {
            ids.push(self.schedule(&format!("a{number}"), 10 + number));
        }
        let far = self.schedule("far", 5_000_000);
        self.cancel("a1", ids[1]);
        self.pass(11);
        self.schedule("b", 3);
        self.pass(5);
        self.cancel("far", far);
        self.schedule("c", 3_000);
        self.pass(1_000);
        self.pass(3_000);
    }
}

/// What is there, in two lives more: at once, and when everything is due.
fn check(image: SimDisk, told: &Told, context: &str) {
    let world = World::on(Arc::new(image));
    world.clock.set_wall(Timestamp::from_millis(told.now));
    let store = world.open();
    store.run_due();
    let due = |name: &str| match name {
        "far" => START + 5_000_005,
        "b" => START + 19,
        "c" => START + 3_021,
        _ => 0,
    };
    for early in values(&store, "a") {
        assert!(due(&early) <= told.now, "{context}: {early} is early at {}", told.now);
    }
    store.close().unwrap();
    world.clock.advance(HOUR * 2);
    let store = world.open();
    store.run_due();
    assert_eq!(store.stats().scheduled.pending, 0, "{context}");
    let all = values(&store, "a");
    let there: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(there.len(), all.len(), "{context}: twice: {all:?}");
    for name in told.scheduled.difference(&told.doubtful) {
        assert!(there.contains(name), "{context}: {name} is lost: {all:?}");
    }
    for name in &there {
        let known = told.scheduled.contains(name) || told.doubtful.contains(name);
        assert!(known, "{context}: {name} was never scheduled, or was cancelled");
    }
}

fn stop_everywhere(seed: u64, durability: Durability) {
    let disk = SimDisk::new(seed);
    disk.set_mode(if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Positioned });
    let program = Program::begin(&disk, durability);
    disk.record();
    program.run();
    program.store.close().unwrap();
    let told = program.told.into_inner();
    let mut images = HashSet::new();
    let every = pick(11, 4, 1);
    for moment in disk.moments() {
        if moment.operation() % every != seed % every {
            continue;
        }
        let before = told.iter().rposition(|(at, _)| *at < moment.operation()).unwrap_or(0);
        let cuts = [Crash::Nothing, Crash::Everything, Crash::Random(seed)];
        let cuts = cuts.into_iter().map(|crash| (format!("{crash:?}"), moment.crash(crash)));
        let cuts = cuts.filter(|_| durability == Durability::Power);
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
fn a_power_cut_anywhere_publishes_each_once() {
    seeds(1, 2, 12).for_each(|seed| stop_everywhere(seed, Durability::Power));
}

#[test]
fn the_end_of_the_process_anywhere_publishes_each_once() {
    seeds(1, 2, 8).for_each(|seed| stop_everywhere(seed, Durability::Process));
}

#[test]
fn a_failing_disk_loses_nothing_and_repeats_nothing() {
    let faults = [(Operation::Sync, 5), (Operation::Write, 28), (Operation::Open, 5)];
    let mut unfinished = 0;
    for (operation, code) in faults {
        for nth in 1..=pick(4, 16, 200) {
            for lasting in [false, true] {
                let disk = SimDisk::new(nth);
                let program = Program::begin(&disk, Durability::Power);
                let plan = Plan::new(Fault::Error(code)).on(operation).nth(nth);
                disk.fail(if lasting { plan.for_ever() } else { plan });
                program.run();
                let told = program.told.borrow().last().unwrap().1.clone();
                unfinished += u64::from(values(&program.store, "a").len() < 6);
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
    assert!(unfinished > 3, "the control: {unfinished}");
}
