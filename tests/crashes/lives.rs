//! Random lives (row 3 of `docs/reliability.md`): a store, or a lone log, that does a little at
//! random, is stopped somewhere in it or in its own recovery, and is compared; many times over on
//! one disk, so that what one crash left is what the next one meets.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::Durability::{self, Power, Process};
use tidelog::Journal;
use tidelog::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};

use crate::common::budget::{Budget, repeatable, seeds};
use crate::common::crew::each;
use crate::common::suite::Suite;
use crate::runs::GROUPS;
use crate::stage::transactions::{End, Step};
use crate::stage::{ALONE, Door, Setup, Stage, small};
use crate::story::Model;
use crate::verdict::{self, Promise};

const TOPICS: [&str; 2] = ["a", "b"];

struct Lives {
    stage: Stage,
    model: Model,
    /// How much of the story the model has been told.
    told: usize,
    random: StdRng,
    commits: bool,
    backups: bool,
    transactions: bool,
    /// Tails are cut off, as hosts that replicate do.
    cuts: bool,
    seed: u64,
}

impl Lives {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mode = if random.random_bool(0.5) { IoMode::Mapped } else { IoMode::Positioned };
        disk.set_mode(mode);
        let mut stage = Stage::new(disk);
        stage.goes_on = true;
        stage.setup.is_log = random.random_bool(0.4);
        if random.random_bool(0.08) {
            stage.setup.journal = Journal::Bytes(1 << 20);
        }
        let commits = !stage.setup.is_log && random.random_bool(0.05);
        let backups = !stage.setup.is_log && random.random_bool(0.2);
        let transactions = !stage.setup.is_log && random.random_bool(0.04);
        let cuts = !transactions && random.random_bool(0.2);
        let (model, told) = (Model::default(), 0);
        Lives { stage, model, told, random, commits, backups, transactions, cuts, seed }
    }

    fn word(&mut self) -> Durability {
        if self.random.random_bool(0.25) { Power } else { Process }
    }

    fn topic(&mut self) -> &'static str {
        if self.stage.setup.is_log {
            ALONE
        } else {
            TOPICS[self.random.random_range(0..TOPICS.len())]
        }
    }

    fn partition(&mut self) -> u32 {
        if self.stage.setup.is_log { 0 } else { self.random.random_range(0..2) }
    }

    /// The end of a partition, as its host knows it.
    fn end(&mut self, topic: &'static str, partition: u32) -> i64 {
        self.tell();
        let last = self.model.topics.get(topic).and_then(|all| all.last());
        let kept = last.and_then(|topic| topic.kept.get(&partition));
        let last = kept.and_then(|kept| kept.acknowledged.keys().next_back().copied());
        last.map_or(0, |last| last + 1)
    }

    fn tell(&mut self) {
        let new = &self.stage.story[self.told..];
        new.iter().for_each(|(_, deed)| self.model.tell(deed));
        self.told = self.stage.story.len();
    }

    fn step(&mut self) {
        let (topic, partition, word) = (self.topic(), self.partition(), self.word());
        if self.cuts && self.random.random_bool(0.08) {
            return self.cut(topic, partition);
        }
        match self.random.random_range(0..25) {
            0..12 => {
                let count = self.random.random_range(1..4);
                let size = [60, 200, 400, 5000][usize::from(self.random.random_bool(0.3))
                    + 2 * usize::from(self.random.random_bool(0.1))];
                self.stage.batch(topic, partition, count, size, word);
            }
            12 => self.stage.flush(),
            13 | 14 => self.stage.wait(Duration::from_secs(31)),
            15 | 16 => {
                let end = self.end(topic, partition);
                self.stage.delete_records(topic, partition, self.random.random_range(0..=end));
            }
            17 => self.stage.retain(),
            18 => self.stage.reopen(),
            _ if self.stage.setup.is_log => self.stage.wait(Duration::from_secs(5)),
            19 => self.stage.delete(topic),
            20 => self.stage.grow(topic, 3),
            21 if self.commits => {
                let end = self.end(topic, partition);
                let group = GROUPS[self.random.random_range(0..GROUPS.len())];
                self.stage.commit(group, topic, partition, end, word);
            }
            22 if self.commits => self.stage.forget(GROUPS[0]),
            23 if self.backups => self.stage.back_up(),
            24 if self.transactions => self.transact(),
            24 => self.stage.wait(Duration::from_millis(110)), // the maintenance's next step
            _ => {
                let bytes = self.random.random_range(1500..6000);
                self.stage.alter(topic, small().retention_bytes(bytes));
            }
        }
    }

    /// Cuts a tail off, or lets all go to begin elsewhere.
    fn cut(&mut self, topic: &'static str, partition: u32) {
        let Some((start, end)) = self.stage.extent(topic, partition) else { return };
        if self.random.random_bool(0.8) {
            self.stage.truncate(topic, partition, self.random.random_range(start..=end));
        } else {
            self.stage.start_anew(topic, partition, self.random.random_range(0..=end + 5));
        }
    }

    /// A transaction over a few partitions, and perhaps what a group has read of one.
    fn transact(&mut self) {
        let mut steps = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            steps.push(Step::Send(self.topic(), self.partition(), self.random.random_range(1..3)));
        }
        let topic = self.topic();
        let end = self.end(topic, 0);
        let before = self.model.commits.get(&(GROUPS[1], topic, 0));
        if end > before.and_then(|all| all.tried.iter().max().copied()).unwrap_or(0) {
            steps.push(Step::Offsets(GROUPS[1], topic, 0, end));
        }
        let ends = [End::Commit, End::Commit, End::Abort, End::TimeOut];
        let end = ends[self.random.random_range(0..ends.len())];
        let who = ["t", "u"][self.random.random_range(0..2)];
        self.stage.transact(who, &steps, end);
    }

    /// A life: a little work, and a stop somewhere in it.
    fn live(&mut self) -> (Promise, SimDisk) {
        if self.random.random_bool(0.2) {
            let faults = [4, 5, 24, 28].map(Fault::Error).into_iter();
            let faults: Vec<Fault> = faults.chain([Fault::DoneError(5)]).collect();
            let fault = faults[self.random.random_range(0..faults.len())];
            let operations = match fault {
                Fault::DoneError(_) => {
                    [Operation::SetLen, Operation::RemoveFile, Operation::Rename, Operation::Link]
                }
                _ => [Operation::Write, Operation::Sync, Operation::Rename, Operation::Open],
            };
            let on = operations[self.random.random_range(0..operations.len())];
            let nth = self.random.random_range(1..8);
            self.stage.disk.fail(Plan::new(fault).on(on).nth(nth));
        }
        self.stage.disk.cut_after(self.random.random_range(1..60));
        let has_journal = self.stage.setup.journal != Journal::Off;
        if !self.stage.setup.is_log && self.random.random_bool(0.02) {
            // the next open does without it, or is the first to ask for it
            self.stage.setup.journal =
                if has_journal { Journal::Off } else { Journal::Bytes(1 << 20) };
        }
        self.stage.open();
        if !self.stage.setup.is_log {
            for topic in TOPICS {
                self.stage.ensure(topic, 2, small());
            }
        }
        for _ in 0..self.random.random_range(1..12) {
            if self.stage.disk.is_cut() {
                break;
            }
            self.step();
        }
        let power = self.random.random_bool(0.6);
        let next = match self.random.random_range(0..6) {
            _ if !power => self.stage.disk.kill(),
            0 => self.stage.disk.crash(Crash::Nothing),
            1 => self.stage.disk.crash(Crash::Everything),
            _ => self.stage.disk.crash(Crash::Random(self.random.random())),
        };
        (if power { Promise::Power } else { Promise::Process }, next)
    }

    /// Lives, and compares what is left; recovery itself may be stopped.
    fn survive(&mut self, suite: &Suite) -> u64 {
        let (mut promise, mut disk) = self.live();
        self.stage.door = Door::Shut;
        self.tell();
        while self.random.random_bool(0.3) {
            disk.cut_after(self.random.random_range(1..40));
            let opened = verdict::open(&disk, &self.stage.setup);
            let power = self.random.random_bool(0.6);
            let next = match power {
                true => disk.crash(Crash::Random(self.random.random())),
                false => disk.kill(),
            };
            drop(opened);
            disk = next;
            if power {
                promise = Promise::Power;
            }
            suite.state(self.seed, disk.image_hash());
        }
        suite.state(self.seed, disk.image_hash());
        let has_groups = self.commits || self.transactions;
        let groups = if has_groups { &GROUPS[..] } else { &[] };
        let door = verdict::open(&disk, &self.stage.setup);
        let door = door.unwrap_or_else(|error| panic!("{error}"));
        let mut found = verdict::read(&door, groups).unwrap_or_else(|error| panic!("{error}"));
        if self.backups {
            let read = verdict::read_backups(&disk, groups, &mut found);
            read.unwrap_or_else(|error| panic!("{error}"));
        }
        let gone = self.model.check(&found, promise).unwrap_or_else(|error| panic!("{error}"));
        self.model.settle(&found, promise);
        let next = disk.kill();
        drop(door);
        self.stage.disk = next;
        self.stage.go_on(&self.model);
        gone
    }
}

#[test]
fn random_lives_lose_nothing_that_was_promised() {
    let suite = Suite::new("random-crashes");
    let lives = Budget::get().pick(20, 23, 40);
    let test = "lives::random_lives_lose_nothing_that_was_promised";
    let seeds: Vec<u64> = seeds(40, 4300, 200_000).collect();
    each(&seeds, |seed| {
        repeatable("crashes", test, *seed, || {
            let mut one = Lives::new(*seed);
            for _ in 0..lives {
                let gone = one.survive(&suite);
                suite.control(gone);
            }
        });
    });
    suite.control(crate::points::losses_on_a_lying_disk());
    suite.end();
}

/// Found by seed 1111: the opening that took the directory was killed before it had synced the
/// directory's own name, and the next one took that for done.
#[test]
fn a_store_whose_making_was_killed_keeps_its_directory() {
    for cut in 1..60 {
        let disk = SimDisk::new(cut);
        disk.cut_after(cut);
        let setup = Setup::default();
        drop(verdict::open(&disk, &setup));
        let disk = disk.kill();
        let door = verdict::open(&disk, &setup).unwrap_or_else(|error| panic!("{error}"));
        let Door::Store(store) = &door else { unreachable!("a store was asked for") };
        store.ensure_topic("a", small()).expect("it is durable when it is said to be");
        let disk = disk.crash(Crash::Nothing);
        drop(door);
        let door = verdict::open(&disk, &setup).unwrap_or_else(|error| panic!("{error}"));
        let Door::Store(store) = &door else { unreachable!("a store was asked for") };
        assert!(store.describe("a").is_ok(), "cut {cut}: the topic is gone");
    }
}

/// Found by fuzzing (`tests/fuzz/found/lives`): the judge took for a loss what retention had taken
/// in the background.
#[test]
fn what_retention_takes_in_the_background_is_no_loss() {
    let mut stage = Stage::new(SimDisk::new(1));
    stage.open();
    stage.create("a", 1, small().retention_bytes(1500));
    stage.send("a", 0, 12, Process);
    stage.wait(Duration::from_secs(31));
    let found = verdict::read(&stage.door, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert!(found.topics["a"].partitions[0].start > 0, "retention has not been applied");
    let model = Model::before(&stage.story, u64::MAX);
    model.check(&found, Promise::Process).unwrap_or_else(|error| panic!("{error}"));
}
