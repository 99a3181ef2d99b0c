//! Power cuts, kills and failing calls at any step of `Log`: within an append, a transaction or its
//! end, a sync, a roll, a retention, a truncation, a close, a recovery, the recovery of a recovery.
//!
//! What may be lost, and nothing else, is what was not acknowledged, or was acknowledged with the
//! process word before a power cut. Nothing that was durable is ever reported as damaged.

#![cfg(feature = "sim")]

#[path = "log_faults/by_hand.rs"]
mod by_hand;
mod common;
#[path = "log_faults/promised.rs"]
mod promised;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
use tidelog::{Durability, ErrorKind, Log, LogReceipt, ManualClock, MarkerKind, Offset, Outcome};
use tidelog::{Record, Result, Sequence, Timestamp, TopicConfig};

use common::budget::{Budget, for_each_seed, seeds};
use common::decided::{What, identity};
use common::suite::Suite;
use promised::{Model, Sent};

const SUITE: &str = "log_faults";

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
        let perhaps = model.perhaps.take();
        let came = perhaps.filter(|sent| end == model.records.len() + sent.values.len());
        if let Some(sent) = came.clone() {
            let durability = Durability::Process; // it was not acknowledged
            model.keep(Sent { durability, ..sent });
        }
        // a truncation that was stopped may be done, or half of it, segment by segment
        let floor = model.cut.take().map(|target| model.batches.floor(model.start, target));
        model.durable = floor.map_or(model.durable, |floor| model.durable.min(floor));
        let least = match ending {
            Ending::Kill => floor.unwrap_or(model.records.len()),
            Ending::PowerCut => model.durable,
        };
        assert!(end >= least, "after {ending:?}: {end} lost what was promised: {least}");
        let whole = end <= model.start || model.batches.is_end(end);
        assert!(whole && end <= model.records.len(), "{end} is no batch's end");
        if ending == Ending::PowerCut {
            self.gone += (model.records.len() - end) as u64;
            model.durable = end;
            assert_eq!(log.durable_offset(), log.end_offset());
        }
        model.records.truncate(end);
        model.batches.cut(end);
        let start = usize::try_from(log.start_offset().get()).unwrap();
        assert!(start == model.start || (model.start_unsure && start > model.start));
        model.start = start;
        model.start_unsure = false;
        self.check_records(log);
        if let Some(sent) = came {
            self.check_sent_again(log, &sent);
        }
    }

    /// Whoever does not know whether a numbered batch was appended may send it again.
    fn check_sent_again(&self, log: &Log, sent: &Sent) {
        let (What::Data(id), Some(sequence)) = (sent.what, sent.sequence) else { return };
        let first = self.model.records.len() - sent.values.len();
        if first < self.model.start {
            return;
        }
        let again = self.send(log, sent, identity(id, self.epoch_of(id)), sequence).unwrap();
        assert!(again.is_duplicate(), "it was there");
        assert_eq!(again.first_offset().get(), first as i64);
    }

    fn epoch_of(&self, id: i64) -> i16 {
        self.model.producer_epochs.get(&id).copied().unwrap_or(0)
    }

    fn send(
        &self,
        log: &Log,
        sent: &Sent,
        us: tidelog::ProducerIdentity,
        sequence: Sequence,
    ) -> Result<LogReceipt> {
        let records: Vec<Record<'_>> = sent.values.iter().map(Record::new).collect();
        log.append_transactional_with(&records, us, sequence, sent.durability)
    }

    /// Readers get what is committed, each record as it was sent, and the log knows why.
    fn check_records(&self, log: &Log) {
        let [start, end, stable] =
            [log.start_offset(), log.end_offset(), log.last_stable_offset()].map(number);
        let (batches, records) = self.model.seen(end);
        batches.check(log, start);
        let mut next = log.start_offset();
        let mut found = Vec::new();
        loop {
            let read = log.read(next, 3000).unwrap();
            let Some(last) = read.iter().last() else { break };
            next = Offset::new(last.offset().get() + 1);
            for record in &read {
                let at = number(record.offset());
                assert!(record.value() == records.get(at).map(Vec::as_slice), "offset {at}");
                found.push(at);
            }
        }
        assert_eq!(found, batches.shown(start, stable, true));
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
            (_, 1) if self.random.random_bool(0.5) => Fault::DoneError(5),
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

    fn random_durability(&mut self) -> Durability {
        if self.random.random_bool(0.2) { Durability::Power } else { Durability::Process }
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
        let durability = self.random_durability();
        let id = self.random.random_range(-2..=3);
        if id <= 0 {
            let sent = Sent { values, what: What::Plain, sequence: None, durability };
            let records: Vec<Record<'_>> = sent.values.iter().map(Record::new).collect();
            let appended = log.append_with(&records, durability);
            return self.appended(log, appended, sent.clone());
        }
        let us = identity(id, self.epoch_of(id));
        let next = log.next_sequence(us).unwrap();
        let sent = Sent { values, what: What::Data(id), sequence: Some(next), durability };
        let appended = self.send(log, &sent, us, next);
        self.appended(log, appended, sent);
    }

    fn end_transaction(&mut self, log: &Log) {
        let id = self.random.random_range(1..=3);
        let commits = self.random.random_bool(0.5);
        let kind = if commits { MarkerKind::Commit } else { MarkerKind::Abort };
        let epoch = self.epoch_of(id) + i16::from(self.random.random_bool(0.5));
        self.model.producer_epochs.insert(id, epoch);
        let durability = self.random_durability();
        let ended = log.append_marker_with(identity(id, epoch), 0, kind, durability);
        let what = What::Marker(id, kind);
        self.appended(
            log,
            ended,
            Sent { values: vec![Vec::new()], what, sequence: None, durability },
        );
    }

    fn appended(&mut self, log: &Log, appended: Result<LogReceipt>, sent: Sent) {
        let power = sent.durability == Durability::Power;
        let before = self.model.records.len();
        let cut = self.disk.is_cut();
        assert!(self.model.is_sure(), "nothing is appended behind what is unsure");
        let unacknowledged = |sent| Sent { durability: Durability::Process, ..sent };
        match appended {
            // the store into a map cannot fail, and may have come after the cut
            Ok(_) if cut && !power => self.model.perhaps = Some(sent),
            Ok(receipt) => {
                assert_eq!(receipt.first_offset().get(), before as i64);
                self.model.keep(sent);
            }
            Err(error) if cut => {
                if error.outcome() != Outcome::NotWritten || power {
                    self.model.perhaps = Some(sent);
                }
            }
            Err(error) => match error.outcome() {
                Outcome::NotWritten => assert_eq!(number(log.end_offset()), before),
                Outcome::WrittenNotDurable => self.model.keep(unacknowledged(sent)),
                _ => self.model.perhaps = Some(sent),
            },
        }
    }

    fn truncate(&mut self, log: &Log) {
        let (start, end) = (number(log.start_offset()), self.model.records.len());
        let target = self.random.random_range(start..=end);
        let done = log.truncate_to(Offset::new(target as i64));
        match done {
            _ if target == end => {}
            Ok(left) if !self.disk.is_cut() => {
                assert_eq!(number(left), self.model.batches.floor(start, target));
                self.model.records.truncate(number(left));
                self.model.batches.cut(number(left));
                self.model.durable = number(left); // all of it was synced before it was cut
                assert_eq!(log.durable_offset(), left);
            }
            Err(error) if !self.disk.is_cut() && error.outcome() == Outcome::NotWritten => {
                assert_eq!(number(log.end_offset()), end, "{error}");
            }
            _ => self.model.cut = Some(target),
        }
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
        match self.random.random_range(0..24) {
            0..12 => self.append(log),
            20..23 => self.end_transaction(log),
            23 => self.truncate(log),
            12..14 => {
                let flushed = log.flush();
                if flushed.is_ok() && self.model.is_sure() {
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
                if !self.disk.is_cut() && self.model.is_sure() {
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
        if self.model.cut.is_some() {
            // what readers get meanwhile is what is left of either
            assert!(log.append(&[Record::new("probe")]).unwrap_err().is_poisoned());
            return;
        }
        let end = log.end_offset();
        self.check_records(log);
        let (values, durability) = (vec![b"probe".to_vec()], Durability::Process);
        match log.append(&[Record::new("probe")]) {
            Ok(_) => {
                assert!(self.model.is_sure(), "nothing is appended behind what is unsure");
                self.model.keep(Sent { values, what: What::Plain, sequence: None, durability });
            }
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
        if closed.is_ok() && self.model.is_sure() {
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

fn number(offset: Offset) -> usize {
    usize::try_from(offset.get()).unwrap()
}
