//! A program that rejects, gives back, lets leases end, buries and sends back, stopped at every
//! call to the disk by a power cut or by the end of the process, and with each call failing: of
//! each record that is given up there is one letter, each letter is sent back once, nothing that
//! was acknowledged becomes a letter, and nothing is lost.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
use crate::error::{Outcome, Result};
use crate::seeds::{pick, seeds};

/// What the program had been told when a call to the disk was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Told {
    sent: BTreeSet<String>,
    acked: BTreeSet<String>,
    rejected: BTreeSet<String>,
    /// Said, and not answered, or with an error.
    doubtful: BTreeSet<String>,
}

struct Program<'a> {
    disk: &'a SimDisk,
    world: World,
    store: Store,
    consumer: ShareConsumer,
    told: RefCell<Vec<(u64, Told)>>,
}

/// Two deliveries each; small letters so that all is small.
fn two_deliveries(store: &Store) -> ShareConsumer {
    builder(store).max_deliveries(2).max_records(4).build().unwrap()
}

impl<'a> Program<'a> {
    fn begin(disk: &'a SimDisk) -> Self {
        let world = World::on(Arc::new(disk.clone()));
        let store = world.open();
        store.ensure_topic("jobs", TopicConfig::new()).unwrap();
        store.ensure_topic("again", TopicConfig::new()).unwrap();
        send(&store, &["first"]);
        let mut consumer = two_deliveries(&store);
        assert_eq!(reject_all(&mut consumer), 1);
        tend(&store);
        store.redrive_dead_letters("g.dlq").to("again").run().unwrap();
        store.flush().unwrap();
        let names = BTreeSet::from(["first".to_owned()]);
        let told = Told { sent: names.clone(), rejected: names, ..Told::default() };
        Program { disk, world, store, consumer, told: RefCell::new(vec![(0, told)]) }
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        let mut told = self.told.borrow_mut();
        let mut now = told.last().unwrap().1.clone();
        change(&mut now);
        told.push((self.disk.operations(), now));
    }

    /// Says something of a record; what it is told then is in `list`.
    fn say(
        &self,
        name: &str,
        list: impl FnOnce(&mut Told) -> &mut BTreeSet<String>,
        word: impl FnOnce() -> Result<()>,
    ) {
        self.tell(|told| told.doubtful.extend([name.to_owned()]));
        if word().is_ok() {
            self.tell(|told| {
                told.doubtful.remove(name);
                list(told).insert(name.to_owned());
            });
        }
    }

    fn run(&mut self) {
        for round in 0..3 {
            for at in 0..4 {
                let name = format!("{round}.{at}");
                let send = || {
                    let jobs = self.store.producer().build()?.topic("jobs")?;
                    jobs.with_durability(Durability::Power).send(Record::new(&name)).map(drop)
                };
                self.say(&name, |told| &mut told.sent, send);
            }
            let Ok(leased) = self.consumer.try_poll() else { continue };
            for (at, record) in leased.iter().enumerate() {
                let name = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                match (at + round) % 4 {
                    0 => self.say(&name, |told| &mut told.acked, || self.consumer.ack(record)),
                    1 => self.say(
                        &name,
                        |told| &mut told.rejected,
                        || self.consumer.reject_because(record, "bad"),
                    ),
                    2 => drop(self.consumer.release_because(record, Duration::ZERO, "later")),
                    _ => {} // its lease ends
                }
            }
            self.world.pass(&self.store, 31);
            if round == 1 {
                let _ = self.store.redrive_dead_letters("g.dlq").to("again").run();
            }
        }
        self.world.pass(&self.store, 31);
        let _ = self.store.redrive_dead_letters("g.dlq").to("again").run();
    }
}

/// Each of them once.
fn once(all: &[String], context: &str) -> BTreeSet<String> {
    let set: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(set.len(), all.len(), "{context}: twice: {all:?}");
    set
}

/// What is there, in two lives more: everything is handed out, buried and sent back.
pub(super) fn check(image: SimDisk, told: &dyn std::fmt::Debug, sets: Sets<'_>, context: &str) {
    let world = World::on(Arc::new(image));
    let mut handed = Vec::new();
    for _ in 0..2 {
        let store = world.open();
        let mut consumer = two_deliveries(&store);
        for _ in 0..12 {
            world.pass(&store, 31);
            for record in &poll(&mut consumer) {
                handed.push(String::from_utf8(record.value().unwrap().to_vec()).unwrap());
                consumer.ack(record).unwrap();
            }
        }
        tend(&store);
        if store.describe("g.dlq").is_ok() {
            store.redrive_dead_letters("g.dlq").to("again").run().unwrap();
        }
        let now = store.describe_share_group("g").unwrap();
        assert_eq!((now.partitions[0].owed, now.partitions[0].open), (0, 0), "{context}: {told:?}");
        drop(consumer);
        store.close().unwrap();
    }
    let store = world.open();
    let letters = once(&values(&store, "g.dlq"), &format!("{context}, letters, {told:?}"));
    let again = once(&values(&store, "again"), &format!("{context}, sent back, {told:?}"));
    assert_eq!(letters, again, "{context}: {told:?}");
    let handed: BTreeSet<String> = handed.into_iter().collect();
    let context = format!("{context}: {told:?}, handed out {handed:?}, letters {letters:?}");
    assert!(letters.is_disjoint(&handed), "a letter was handed out: {context}");
    for name in sets.acked.difference(sets.doubtful) {
        assert!(!letters.contains(name) && !handed.contains(name), "{name} comes back: {context}");
    }
    for name in sets.rejected.difference(sets.doubtful) {
        assert!(letters.contains(name), "no letter of {name}: {context}");
    }
    for name in sets.sent.difference(sets.doubtful) {
        let is_done = sets.acked.contains(name) || letters.contains(name);
        assert!(is_done || handed.contains(name), "{name} is lost: {context}");
    }
}

/// What a check goes by.
#[derive(Clone, Copy)]
pub(super) struct Sets<'a> {
    pub(super) sent: &'a BTreeSet<String>,
    pub(super) acked: &'a BTreeSet<String>,
    pub(super) rejected: &'a BTreeSet<String>,
    pub(super) doubtful: &'a BTreeSet<String>,
}

impl Told {
    fn sets(&self) -> Sets<'_> {
        let Told { sent, acked, rejected, doubtful } = self;
        Sets { sent, acked, rejected, doubtful }
    }
}

#[test]
fn a_stop_anywhere_makes_one_letter_of_each_and_sends_each_back_once() {
    for seed in seeds(1, 2, 16) {
        let disk = SimDisk::new(seed);
        disk.set_mode(if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Positioned });
        let mut program = Program::begin(&disk);
        disk.record();
        program.run();
        let Program { store, consumer, told, .. } = program;
        drop(consumer);
        store.close().unwrap();
        let told = told.into_inner();
        let mut images = HashSet::new();
        let every = pick(23, 9, 1);
        for moment in disk.moments() {
            if moment.operation() % every != seed % every {
                continue;
            }
            let before = told.iter().rposition(|(at, _)| *at < moment.operation()).unwrap_or(0);
            let cuts = [Crash::Nothing, Crash::Everything, Crash::Random(seed)];
            let cuts = cuts.into_iter().map(|crash| (format!("{crash:?}"), moment.crash(crash)));
            for (how, image) in cuts.chain([("kill".to_owned(), moment.kill())]) {
                if images.insert((image.image_hash(), before)) {
                    let at = moment.operation();
                    let context = format!("before call {at}, {how}; TIDELOG_SEED={seed}");
                    let told = &told[before].1;
                    check(image, told, told.sets(), &context);
                }
            }
        }
        assert!(images.len() > 10, "the control: {} images", images.len());
    }
}

/// In the life that deletes it nothing was done yet of what the one before had only noted.
#[test]
fn a_group_that_is_deleted_has_no_letter_made_twice_wherever_that_stops() {
    let disk = SimDisk::new(7);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, &["first"]);
    let mut consumer = two_deliveries(&store);
    poll(&mut consumer).iter().for_each(|record| consumer.ack(record).unwrap());
    send(&store, &["second"]);
    disk.record();
    assert_eq!(reject_all(&mut consumer), 1);
    tend(&store);
    let mut noted = 0;
    for moment in disk.moments() {
        let image = moment.kill();
        let store = World::on(Arc::new(image.clone())).open();
        let is_made = store.describe("g.dlq").is_ok() && values(&store, "g.dlq").len() == 1;
        image.record();
        store.delete_group("g").unwrap();
        for stop in image.moments() {
            let world = World::on(Arc::new(stop.kill()));
            let store = world.open();
            let is_left = store.describe_share_group("g").is_ok();
            let _consumer = two_deliveries(&store);
            tend(&store);
            let context = format!("{} and then {}", moment.operation(), stop.operation());
            let letters = values(&store, "g.dlq");
            assert!(once(&letters, &context).len() == 1 || !is_made, "{context}: it is gone");
            noted += usize::from(is_left && is_made);
        }
    }
    assert!(noted > 0, "the control");
}

/// Whoever asked hears of it: what was sent is counted, or is in doubt.
#[test]
fn a_redrive_whose_commit_is_in_doubt_says_so() {
    let mut doubtful = 0;
    for nth in 1..=8 {
        let disk = SimDisk::new(nth);
        let store = World::on(Arc::new(disk.clone())).open();
        for topic in ["jobs", "again"] {
            store.ensure_topic(topic, TopicConfig::new()).unwrap();
        }
        send(&store, &["1", "2", "3", "4", "5", "6"]);
        reject_all(&mut consumer(&store));
        tend(&store);
        disk.fail(Plan::new(Fault::Error(28)).on(Operation::Sync).nth(nth));
        let done = store.redrive_dead_letters("g.dlq").to("again").max_records(4).run();
        disk.heal();
        let sent = values(&store, "again").len() as u64;
        match done {
            Ok(done) => assert_eq!((done.records, sent), (4, 4), "sync {nth} fails"),
            Err(error) if error.outcome() == Outcome::NotWritten => {
                assert_eq!(sent, 0, "sync {nth} fails: {error}");
            }
            Err(_) => doubtful += 1,
        }
    }
    assert!(doubtful > 0, "the control");
}

/// An ordinary group with records that it gave back: whatever of it goes first, the deletion can
/// be said again until all of it is gone.
#[test]
fn a_deletion_that_failed_halfway_is_ended_by_saying_it_again() {
    let mut failed = 0;
    for nth in 1..=12 {
        let disk = SimDisk::new(nth);
        let world = World::on(Arc::new(disk.clone()));
        let store = world.open();
        store.ensure_topic("jobs", TopicConfig::new()).unwrap();
        send(&store, &["1", "2"]);
        let mut consumer = store.consumer("g").subscribe(["jobs"]).build().unwrap();
        let records = consumer.try_poll().unwrap();
        consumer.retry_later(&records.iter().next().unwrap(), Duration::from_secs(60)).unwrap();
        consumer.commit().unwrap();
        drop(consumer);
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).nth(nth));
        let is_deleted = store.delete_group("g").is_ok();
        disk.heal();
        store.close().unwrap_or_default();
        let store = world.open();
        failed += usize::from(!is_deleted);
        let kind = |name| store.delete_group(name).err().map(|error| error.kind());
        let not_found = Some(ErrorKind::NotFound);
        assert!([None, not_found].contains(&kind("g")), "sync {nth} failed");
        assert_eq!([kind("g"), kind("%RETRY%g")], [not_found; 2], "sync {nth} failed");
    }
    assert!(failed > 1, "the control");
}

/// A group of two topics whose deletion meets an error: what it noted of the one is not forgotten
/// before it is taken over, whatever cannot be had of the other.
#[test]
fn a_deletion_that_meets_an_error_has_no_letter_made_twice() {
    let disk = SimDisk::new(7);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    for topic in ["jobs", "others"] {
        store.ensure_topic(topic, TopicConfig::new()).unwrap();
    }
    let join = |store: &Store| {
        let both = store.share_consumer("g").subscribe(["jobs", "others"]);
        both.max_deliveries(2).build().unwrap()
    };
    let mut consumer = join(&store);
    producer(&store, "others").send(Record::new("other")).unwrap();
    poll(&mut consumer).iter().for_each(|record| consumer.ack(record).unwrap());
    send(&store, &["second"]);
    disk.record();
    assert_eq!(reject_all(&mut consumer), 1);
    tend(&store);
    let is_made = |disk: &SimDisk| {
        let store = World::on(Arc::new(disk.clone())).open();
        store.describe("g.dlq").is_ok() && values(&store, "g.dlq").len() == 1
    };
    // noted, and not taken over yet
    let moments = disk.moments();
    let noted = moments.iter().find(|it| is_made(&it.kill())).expect("a letter").kill();
    let mut met = 0;
    for operation in [Operation::Open, Operation::Read, Operation::Write, Operation::Sync] {
        for nth in 1..=8 {
            let image = noted.kill();
            let store = World::on(Arc::new(image.clone())).open();
            image.record();
            image.fail(Plan::new(Fault::Error(5)).on(operation).nth(nth));
            met += usize::from(store.delete_group("g").is_err());
            image.heal();
            for stop in image.moments() {
                for (how, left) in [("kill", stop.kill()), ("cut", stop.crash(Crash::Nothing))] {
                    let store = World::on(Arc::new(left)).open();
                    let _consumer = join(&store);
                    tend(&store);
                    let at = stop.operation();
                    let context = format!("{operation:?} {nth} fails; {how} before call {at}");
                    once(&values(&store, "g.dlq"), &context);
                }
            }
        }
    }
    assert!(met > 0, "the control");
}

#[test]
fn a_failing_disk_loses_no_record_and_doubles_no_letter() {
    let mut unfinished = 0;
    for (operation, code) in [(Operation::Sync, 5), (Operation::Write, 28)] {
        for nth in 1..=pick(3, 10, 150) {
            for lasting in [false, true] {
                let disk = SimDisk::new(nth);
                let mut program = Program::begin(&disk);
                let plan = Plan::new(Fault::Error(code)).on(operation).nth(nth * 3);
                disk.fail(if lasting { plan.for_ever() } else { plan });
                program.run();
                let told = program.told.borrow().last().unwrap().1.clone();
                unfinished += u64::from(told.sent.len() < 13 || !told.doubtful.is_empty());
                disk.heal();
                let context = format!("{operation:?} {}, lasting: {lasting}", nth * 3);
                for (how, image) in [
                    ("kill", disk.kill()),
                    ("cut", disk.crash(Crash::Nothing)),
                    ("late cut", disk.crash(Crash::Everything)),
                ] {
                    check(image, &told, told.sets(), &format!("{context}, {how}"));
                }
            }
        }
    }
    assert!(unfinished > 1, "the control: {unfinished}");
}

/// As for a topic of very many partitions that is deleted, and its group.
#[test]
fn all_notes_of_a_topic_are_forgotten_by_one_sync() {
    use crate::dead_letters::{Moved, MovedFrom};
    let disk = SimDisk::new(1);
    let store = World::on(Arc::new(disk.clone())).open();
    store.ensure_topic("jobs", TopicConfig::new().partitions(8)).unwrap();
    let topic = store.engine.topic("jobs").unwrap().id();
    let letters = &store.letters;
    let of = |number| MovedFrom { group: None, topic, partition: PartitionId::new(number) };
    for number in 0..8 {
        letters.publish(&mut letters.turn(), vec![], (&of(number), Moved::default())).unwrap();
    }
    assert!((0..8).all(|number| letters.moved(&of(number)).is_some()));
    let before = disk.syncs();
    letters.forget_topic(topic).unwrap();
    assert_eq!(disk.syncs() - before, 1);
    assert!((0..8).all(|number| letters.moved(&of(number)).is_none()));
}
