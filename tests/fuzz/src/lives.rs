//! The stateful target: bytes are what a store, or a lone log, is asked to do, where its power goes
//! and which of its calls fail; what is found then is held against what was promised.
//!
//! The stage, the story and the judgement are those of `tests/crashes`: I1 to I4, I8, I9, I10.

use std::time::Duration;

use tidelog::Durability::{self, Power, Process};
use tidelog::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};

use crate::feed::Feed;
use crate::stage::{ALONE, Door, Stage, small};
use crate::story::Model;
use crate::verdict::{self, Promise};

const TOPICS: [&str; 2] = ["a", "b"];
const GROUPS: [&str; 2] = ["g", "h"];
const SIZES: [usize; 6] = [60, 200, 400, 900, 5_000, 20_000];
const ERRORS: [i32; 6] = [4, 5, 24, 27, 28, 122];
const OPERATIONS: [Operation; 8] = [
    Operation::Write,
    Operation::Sync,
    Operation::Rename,
    Operation::Open,
    Operation::SyncDir,
    Operation::SetLen,
    Operation::Allocate,
    Operation::RemoveFile,
];

struct Lives<'a> {
    feed: Feed<'a>,
    stage: Stage,
    model: Model,
    /// How much of the story the model has been told.
    told: usize,
}

/// One input: lives on one disk, one after the other.
pub fn run(input: &[u8]) {
    let mut feed = Feed(input);
    let flags = feed.byte();
    let disk = SimDisk::new(u64::from(feed.byte()));
    let mode = if flags & 1 == 0 { IoMode::Mapped } else { IoMode::Positioned };
    disk.set_mode(mode);
    let mut stage = Stage::new(disk);
    (stage.goes_on, stage.setup.is_log) = (true, flags & 2 != 0);
    let mut lives = Lives { feed, stage, model: Model::default(), told: 0 };
    for _ in 0..8 {
        if lives.feed.is_empty() {
            break;
        }
        lives.live();
        if let Err(broken) = lives.survive() {
            panic!("{broken}");
        }
    }
}

impl Lives<'_> {
    fn topic(&mut self) -> &'static str {
        let number = self.feed.byte();
        if self.stage.setup.is_log { ALONE } else { TOPICS[usize::from(number & 1)] }
    }

    fn partition(&mut self) -> u32 {
        let number = self.feed.byte();
        if self.stage.setup.is_log { 0 } else { u32::from(number & 1) }
    }

    fn end(&mut self, topic: &'static str, partition: u32) -> i64 {
        self.tell();
        let last = self.model.topics.get(topic).and_then(|all| all.last());
        let kept = last.and_then(|topic| topic.kept.get(&partition));
        let last = kept.and_then(|kept| kept.acknowledged.keys().next_back().copied());
        last.map_or(0, |last| last + 1)
    }

    fn offset(&mut self, topic: &'static str, partition: u32) -> i64 {
        let end = self.end(topic, partition);
        self.feed.below(end.cast_unsigned() + 1).cast_signed()
    }

    fn tell(&mut self) {
        let new = &self.stage.story[self.told..];
        new.iter().for_each(|(_, deed)| self.model.tell(deed));
        self.told = self.stage.story.len();
    }

    fn step(&mut self) {
        let step = self.feed.byte();
        let (topic, partition) = (self.topic(), self.partition());
        let word: Durability = if step & 0x80 == 0 { Process } else { Power };
        match step & 0x1f {
            0..12 => {
                let size = SIZES[self.feed.below(SIZES.len() as u64) as usize];
                self.stage.batch(topic, partition, u32::from(step >> 5 & 3) + 1, size, word);
            }
            12 => self.stage.flush(),
            13 | 14 => self.stage.wait(Duration::from_secs(u64::from(self.feed.byte()))),
            15 | 16 => {
                let offset = self.offset(topic, partition);
                self.stage.delete_records(topic, partition, offset);
            }
            17 => self.stage.retain(),
            18 => self.stage.reopen(),
            19 => self.fail(),
            20 => self.read(),
            _ if self.stage.setup.is_log => self.stage.wait(Duration::from_secs(5)),
            21 => self.stage.delete(topic),
            22 => self.stage.grow(topic, 2 + u32::from(step >> 5 & 3)),
            23 => {
                let offset = self.offset(topic, partition);
                let group = GROUPS[usize::from(step >> 5 & 1)];
                self.stage.commit(group, topic, partition, offset, word);
            }
            24 => self.stage.forget(GROUPS[0]),
            25 => self.stage.ensure(topic, 2, small()),
            _ => {
                let bytes = 1_500 + self.feed.below(5_000);
                self.stage.alter(topic, small().retention_bytes(bytes));
            }
        }
    }

    /// A call to the disk is going to fail.
    fn fail(&mut self) {
        let (which, nth) = (self.feed.byte(), self.feed.byte());
        let on = OPERATIONS[usize::from(which & 7)];
        let error = ERRORS[usize::from(which >> 3) % ERRORS.len()];
        let fault = match on {
            Operation::Write if which >> 6 == 3 => Fault::ShortWrite(usize::from(nth)),
            _ => Fault::Error(error),
        };
        self.stage.disk.fail(Plan::new(fault).on(on).nth(u64::from(nth & 7) + 1));
    }

    /// Whatever can be read now is what was sent: a store that lives loses nothing.
    fn read(&mut self) {
        if matches!(self.stage.door, Door::Shut) || self.stage.disk.is_cut() {
            return;
        }
        self.stage.disk.heal();
        let Ok(found) = verdict::read(&self.stage.door, &[]) else {
            return; // a partition that failed to open says so
        };
        self.tell();
        for (name, topic) in &found.topics {
            for partition in &topic.partitions {
                let count = partition.end - partition.start;
                assert_eq!(partition.records.len() as i64, count, "I3: in {name}");
                let offsets = partition.records.iter().map(|(offset, ..)| *offset);
                assert!(offsets.eq(partition.start..partition.end), "I3: in {name}");
            }
        }
    }

    /// A life: a little work, with the power going somewhere in it, or not.
    fn live(&mut self) {
        let flags = self.feed.byte();
        if flags & 1 != 0 {
            let after = self.feed.byte();
            self.stage.disk.cut_after(u64::from(after) + 1);
        }
        if flags & 2 != 0 {
            self.fail();
        }
        self.stage.open();
        if !self.stage.setup.is_log {
            TOPICS.iter().for_each(|topic| self.stage.ensure(topic, 2, small()));
        }
        for _ in 0..flags >> 3 {
            if self.feed.is_empty() || self.stage.disk.is_cut() {
                break;
            }
            self.step();
        }
    }

    fn stop(&mut self, disk: &SimDisk) -> (Promise, SimDisk) {
        let how = self.feed.byte();
        match how & 7 {
            0..3 => (Promise::Process, disk.kill()),
            3 => (Promise::Power, disk.crash(Crash::Nothing)),
            4 => (Promise::Power, disk.crash(Crash::Everything)),
            _ => (Promise::Power, disk.crash(Crash::Random(u64::from(how >> 3)))),
        }
    }

    /// The stop, perhaps others in the recovery from it, and what is found.
    fn survive(&mut self) -> Result<(), String> {
        let before = self.stage.disk.clone();
        let (mut promise, mut disk) = self.stop(&before);
        self.stage.door = Door::Shut;
        self.tell();
        for _ in 0..self.feed.byte() >> 6 {
            disk.cut_after(u64::from(self.feed.byte() & 63) + 1);
            let opened = verdict::open(&disk, &self.stage.setup);
            let (again, next) = self.stop(&disk.clone());
            drop(opened);
            disk = next;
            if again == Promise::Power {
                promise = Promise::Power;
            }
        }
        let groups: &[&str] = if self.stage.setup.is_log { &[] } else { &GROUPS };
        let door = verdict::open(&disk, &self.stage.setup)?;
        let found = verdict::read(&door, groups)?;
        self.model.check(&found, promise)?;
        self.model.settle(&found, promise);
        let next = disk.kill();
        drop(door);
        self.stage.disk = next;
        self.stage.go_on(&self.model);
        Ok(())
    }
}

/// Lives of both doors and modes, with every step.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for flags in 0..4 {
        for how in [0, 3, 5] {
            let mut seed = vec![flags, how];
            for life in 0..3u8 {
                seed.extend([0xf8 | (life & 1), 40 + 20 * life]);
                for step in 0..12u8 {
                    seed.extend([step * 9 % 32 | (step & 1) << 7, step, step >> 1, step * 3]);
                }
                seed.extend([how, 0x40, 9, how]);
            }
            seeds.push(seed);
        }
    }
    seeds
}
