//! Power cuts, kills and failing calls at any step of `Log`: within an append, a sync, a roll, a
//! retention, a close, a recovery, the recovery of a recovery.
//!
//! What may be lost, and nothing else, is what was not acknowledged, or was acknowledged with the
//! process word before a power cut. Nothing that was durable is ever reported as damaged.

#![cfg(feature = "sim")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelog::disk::{Crash, Disk as _, Fault, IoMode, Operation, Plan, SimDisk};
use tidelog::{Durability, ErrorKind, Log, ManualClock, Offset, Outcome, Record};
use tidelog::{Timestamp, TopicConfig};

use common::budget::{Budget, for_each_seed, seeds};
use common::suite::Suite;

const SUITE: &str = "log_faults";

/// What the log must hold, and what it may.
#[derive(Default)]
struct Model {
    records: Vec<Vec<u8>>,
    batch_ends: Vec<usize>,
    /// A batch whose fate is unknown.
    perhaps: Vec<Vec<u8>>,
    start: usize,
    /// A delete or a retention may or may not have raised the start.
    start_unsure: bool,
    durable: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Kill,
    PowerCut,
}

struct Trial {
    disk: SimDisk,
    random: StdRng,
    clock: ManualClock,
    config: TopicConfig,
    model: Model,
    written: u32,
    /// What each stop left, and how many records went that were promised less.
    images: Vec<u64>,
    gone: u64,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        if random.random_bool(0.5) {
            disk.set_mode(IoMode::Positioned);
        }
        let mut config = TopicConfig::new()
            .segment_bytes([1024, 5000, 20_000][random.random_range(0..3)])
            .index_interval_bytes([0, 200, 1000][random.random_range(0..3)])
            .file_delete_delay(Duration::ZERO);
        if random.random_bool(0.5) {
            config = config.retention_bytes(random.random_range(2000..20_000));
        }
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        let model = Model::default();
        Trial { disk, random, clock, config, model, written: 0, images: Vec::new(), gone: 0 }
    }

    fn try_open(&self) -> tidelog::Result<Log> {
        Log::builder("/orders-0")
            .disk(Arc::new(self.disk.clone()))
            .clock(Arc::new(self.clock.clone()))
            .config(self.config.clone())
            .open()
    }

    /// Opens, through cuts and failures of the opening itself.
    fn open(&mut self, mut ending: Ending) -> Log {
        for attempt in 0.. {
            let troubled = attempt < 4 && self.random.random_bool(0.5);
            if troubled {
                self.arm();
            }
            let opened = self.try_open();
            if self.disk.is_cut() {
                drop(opened);
                ending = self.end(Some(ending));
                continue;
            }
            self.calm();
            match opened {
                Ok(log) => {
                    self.check_opened(&log, ending);
                    return log;
                }
                Err(error) => assert!(troubled, "open after {ending:?}: {error}"),
            }
        }
        unreachable!("an untroubled attempt opens");
    }

    fn check_opened(&mut self, log: &Log, ending: Ending) {
        assert!(log.report().damage().is_empty(), "after {ending:?}: {:?}", log.report());
        let model = &mut self.model;
        let end = usize::try_from(log.end_offset().get()).unwrap();
        let with_perhaps = model.records.len() + model.perhaps.len();
        if end == with_perhaps {
            model.records.append(&mut model.perhaps);
            model.batch_ends.push(end);
        }
        model.perhaps.clear();
        match ending {
            Ending::Kill => assert_eq!(end, model.records.len(), "a kill loses nothing"),
            Ending::PowerCut => {
                assert!(end >= model.durable, "{end} lost what was durable: {}", model.durable);
                let whole = end <= model.start || model.batch_ends.contains(&end);
                assert!(whole && end <= model.records.len(), "{end} is no batch's end");
                self.gone += (model.records.len() - end) as u64;
                model.records.truncate(end);
                model.batch_ends.retain(|batch_end| *batch_end <= end);
                model.durable = end;
                assert_eq!(log.durable_offset(), log.end_offset());
            }
        }
        let start = usize::try_from(log.start_offset().get()).unwrap();
        assert!(start == model.start || (model.start_unsure && start > model.start));
        model.start = start;
        model.start_unsure = false;
        self.check_records(log);
    }

    fn check_records(&self, log: &Log) {
        let mut next = log.start_offset();
        while next < log.end_offset() {
            let records = log.read(next, 3000).unwrap();
            assert!(!records.is_empty(), "nothing at {next}");
            for record in &records {
                assert_eq!(record.offset(), next);
                let at = usize::try_from(next.get()).unwrap();
                let expected =
                    self.model.records.get(at).or_else(|| {
                        self.model.perhaps.get(at.checked_sub(self.model.records.len())?)
                    });
                assert!(record.value() == expected.map(Vec::as_slice), "offset {next}");
                next = Offset::new(next.get() + 1);
            }
        }
    }

    /// Something is about to go wrong.
    fn arm(&mut self) {
        if self.random.random_bool(0.5) {
            self.disk.cut_after(self.random.random_range(1..30));
            return;
        }
        let operations = [
            Operation::Open,
            Operation::List,
            Operation::Metadata,
            Operation::Rename,
            Operation::RemoveFile,
            Operation::SyncDir,
            Operation::Len,
            Operation::Read,
            Operation::Write,
            Operation::Write,
            Operation::SetLen,
            Operation::Sync,
            Operation::Sync,
            Operation::Map,
            Operation::Allocate,
        ];
        let on = operations[self.random.random_range(0..operations.len())];
        let fault = match (on, self.random.random_range(0..4)) {
            (Operation::Write, 0) => Fault::ShortWrite(self.random.random_range(1..100)),
            (Operation::Read, 0) => Fault::ShortRead(self.random.random_range(1..100)),
            (_, 1) => Fault::Error(5),
            (_, 2) => Fault::Error(24),
            _ => Fault::Error(28),
        };
        let mut plan = Plan::new(fault).on(on).nth(self.random.random_range(1..6));
        if self.random.random_bool(0.3) {
            plan = plan.for_ever();
        }
        self.disk.fail(plan);
    }

    /// Nothing goes wrong from here on.
    fn calm(&self) {
        self.disk.heal();
        self.disk.cut_after(u64::MAX);
    }

    fn end(&mut self, at_least: Option<Ending>) -> Ending {
        let power = at_least == Some(Ending::PowerCut) || self.random.random_bool(0.6);
        self.disk = match power {
            true => self.disk.crash(match self.random.random_range(0..5) {
                0 => Crash::Nothing,
                1 => Crash::Everything,
                _ => Crash::Random(self.random.random()),
            }),
            false => self.disk.kill(),
        };
        self.images.push(self.disk.image_hash());
        if power { Ending::PowerCut } else { Ending::Kill }
    }

    fn append(&mut self, log: &Log) {
        let count = self.random.random_range(1..4);
        let values: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                self.written += 1;
                let mut value = self.written.to_be_bytes().to_vec();
                value.resize(self.random.random_range(4..300), 9);
                value
            })
            .collect();
        let records: Vec<Record<'_>> = values.iter().map(Record::new).collect();
        let power = self.random.random_bool(0.2);
        let durability = if power { Durability::Power } else { Durability::Process };
        let before = self.model.records.len();
        let appended = log.append_with(&records, durability);
        let cut = self.disk.is_cut();
        match appended {
            // the store into a map cannot fail, and may have come after the cut
            Ok(_) if cut && !power => self.model.perhaps = values,
            Ok(receipt) => {
                assert_eq!(receipt.first_offset().get(), before as i64);
                self.keep(values);
                if power {
                    self.model.durable = self.model.records.len();
                }
            }
            Err(error) if cut => {
                if error.outcome() != Outcome::NotWritten || power {
                    self.model.perhaps = values;
                }
            }
            Err(error) => match error.outcome() {
                Outcome::NotWritten => assert_eq!(log.end_offset().get(), before as i64),
                Outcome::WrittenNotDurable => self.keep(values),
                _ => self.model.perhaps = values,
            },
        }
    }

    fn keep(&mut self, values: Vec<Vec<u8>>) {
        assert!(self.model.perhaps.is_empty(), "nothing is appended behind what is unsure");
        self.model.records.extend(values);
        self.model.batch_ends.push(self.model.records.len());
    }

    /// A call that may raise the start.
    fn trim(&mut self, log: &Log, call: impl FnOnce(&Log) -> tidelog::Result<()>) {
        let done = call(log);
        let cut = self.disk.is_cut();
        if done.is_err() || cut {
            self.model.start_unsure = true;
        }
        if !cut {
            let start = usize::try_from(log.start_offset().get()).unwrap();
            assert!(start >= self.model.start);
            if start > self.model.start {
                self.model.start = start;
                self.model.durable = self.model.durable.max(start);
            }
        }
    }

    fn step(&mut self, log: &Log) {
        match self.random.random_range(0..20) {
            0..12 => self.append(log),
            12..14 => {
                let flushed = log.flush();
                if flushed.is_ok() && self.model.perhaps.is_empty() {
                    self.model.durable = self.model.records.len();
                }
            }
            14..17 => {
                self.clock.advance(Duration::from_secs(20));
                self.trim(log, Log::maintain);
            }
            17 => self.trim(log, |log| log.apply_retention().map(drop)),
            18 => {
                let end = log.end_offset().get();
                let before = self.random.random_range(0..=end);
                self.trim(log, |log| log.delete_records_before(Offset::new(before)));
            }
            _ => {
                let from = self.random.random_range(0..=log.end_offset().get());
                let _ = log.read(Offset::new(from), 1000); // a failing read harms nothing
                let _ = log.offset_for_timestamp(Timestamp::from_millis(from * 100));
            }
        }
    }

    fn run(&mut self) {
        let lives = Budget::get().pick(8, 12, 20);
        let mut log = Some(self.open(Ending::Kill));
        for _ in 0..lives {
            let open = log.take().expect("open");
            let calm = self.random.random_range(0..25);
            for _ in 0..calm {
                self.step(&open);
            }
            self.arm();
            for _ in 0..self.random.random_range(1..12) {
                if !self.disk.is_cut() && self.model.perhaps.is_empty() {
                    self.step(&open);
                }
            }
            if !self.disk.is_cut() {
                self.check_poison(&open);
            }
            let ending = self.leave(open);
            log = Some(self.open(ending));
        }
    }

    /// Reads go on after any failure; appends too, or they say for good why not.
    fn check_poison(&mut self, log: &Log) {
        self.calm();
        let end = log.end_offset();
        self.check_records(log);
        match log.append(&[Record::new("probe")]) {
            Ok(_) => self.keep(vec![b"probe".to_vec()]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
                assert_eq!(
                    log.append(&[Record::new("x")]).unwrap_err().kind(),
                    ErrorKind::Poisoned
                );
                let durable = log.durable_offset();
                assert!(durable == end || log.flush().is_err(), "nothing more becomes durable");
                assert_eq!(log.durable_offset(), durable);
                assert_eq!(log.end_offset(), end);
            }
        }
    }

    fn leave(&mut self, log: Log) -> Ending {
        if self.disk.is_cut() || self.random.random_bool(0.4) {
            let ending = self.end(None);
            drop(log);
            return ending;
        }
        if self.random.random_bool(0.5) {
            self.arm();
        }
        let closed = log.close();
        if self.disk.is_cut() {
            drop(log);
            return self.end(None);
        }
        self.calm();
        if closed.is_ok() {
            self.model.durable = self.model.records.len();
            if self.random.random_bool(0.5) {
                return self.end(Some(Ending::PowerCut));
            }
        }
        Ending::Kill
    }
}

#[test]
fn trials() {
    let suite = Suite::new("log-crashes");
    for_each_seed(SUITE, "trials", seeds(150, 1200, 100_000), |seed| {
        let mut trial = Trial::new(seed);
        trial.run();
        for image in trial.images {
            suite.state(seed, image);
        }
        suite.control(trial.gone);
    });
    suite.end();
}

fn open(disk: &SimDisk) -> Log {
    let config = TopicConfig::new().segment_bytes(1 << 20);
    Log::builder("/orders-0").disk(Arc::new(disk.clone())).config(config).open().unwrap()
}

fn values(log: &Log) -> Vec<Vec<u8>> {
    let (mut found, mut next) = (Vec::new(), log.start_offset());
    while next < log.end_offset() {
        for record in &log.read(next, 1 << 20).unwrap() {
            found.push(record.value().unwrap().to_vec());
            next = Offset::new(record.offset().get() + 1);
        }
    }
    found
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let disk = SimDisk::new(1);
        disk.set_mode(mode);
        let log = open(&disk);
        disk.set_capacity(60_000);
        let mut kept = Vec::new();
        let error = loop {
            // small ones through the map, large ones by position
            let size = if kept.len() % 3 == 2 { 9000 } else { 700 };
            let value = vec![u8::try_from(kept.len() % 251).unwrap(); size];
            match log.append(&[Record::new(&value)]) {
                Ok(_) => kept.push(value),
                Err(error) => break error,
            }
            assert!(kept.len() < 100, "{mode:?}: more than there is room for");
        };
        assert!(error.is_full() && error.is_retriable(), "{error}");
        assert_eq!(error.outcome(), Outcome::NotWritten);
        assert_eq!(log.end_offset().get(), kept.len() as i64);
        assert!(values(&log) == kept, "{mode:?}: reads go on");
        disk.set_capacity(1 << 30);
        log.append(&[Record::new("room again")]).unwrap();
        kept.push(b"room again".to_vec());
        let after = disk.kill();
        drop(log);
        let log = open(&after);
        assert!(values(&log) == kept, "{mode:?}: and so does the next process");
    }
}

#[test]
fn the_first_failed_sync_ends_writing_and_nothing_is_believed_after_it() {
    let disk = SimDisk::new(1);
    let log = open(&disk);
    log.append_with(&[Record::new("safe")], Durability::Power).unwrap();
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    let error = log.append_with(&[Record::new("doubtful")], Durability::Power).unwrap_err();
    assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
    assert!(!error.is_retriable());
    let syncs = disk.syncs();
    assert!(log.append(&[Record::new("late")]).unwrap_err().is_poisoned());
    assert!(log.flush().unwrap_err().is_poisoned());
    assert!(log.close().is_err());
    assert_eq!(disk.syncs(), syncs, "no sync is tried again");
    drop(log);
    // the next open writes the doubtful bytes again before it vouches for them
    let log = open(&disk);
    assert_eq!(values(&log), [b"safe".to_vec(), b"doubtful".to_vec()]);
    log.flush().unwrap();
    let after = disk.crash(Crash::Nothing);
    drop(log);
    assert_eq!(values(&open(&after)), [b"safe".to_vec(), b"doubtful".to_vec()]);
}

#[test]
fn a_torn_tail_is_cut_once() {
    let disk = SimDisk::new(1);
    disk.set_mode(IoMode::Positioned);
    let file = "/orders-0/00000000000000000000.log".as_ref();
    let log = open(&disk);
    log.append_with(&[Record::new("kept")], Durability::Power).unwrap();
    let torn = disk.metadata(file).unwrap().unwrap().len;
    for value in ["torn", "whole, behind it"] {
        log.append_with(&[Record::new(value)], Durability::Power).unwrap();
    }
    let killed = disk.kill();
    drop(log);
    killed.corrupt(file, torn + 70, 1).unwrap();
    let log = open(&killed);
    assert_eq!(log.report().torn_tails().len(), 1);
    let after = killed.crash(Crash::Nothing);
    drop(log);
    let log = open(&after);
    assert!(!log.report().is_notable(), "it is back: {:?}", log.report());
    assert_eq!(values(&log), [b"kept".to_vec()]);
}

#[test]
fn a_kill_keeps_what_a_power_cut_may_take() {
    let disk = SimDisk::new(1);
    let log = open(&disk);
    log.append_with(&[Record::new("durable")], Durability::Power).unwrap();
    log.append(&[Record::new("written")]).unwrap();
    let killed = disk.kill();
    drop(log);
    let log = open(&killed);
    assert_eq!(values(&log), [b"durable".to_vec(), b"written".to_vec()]);
    assert!(!log.report().is_notable());
    let cut = killed.crash(Crash::Nothing);
    drop(log);
    assert_eq!(values(&open(&cut)), [b"durable".to_vec()]);
}
