//! Transactions of one log beside a reference that keeps every batch in a list: what is open, what
//! was aborted and what readers get, through rolls, truncation, deletion, kills and power cuts.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::seeds::seeds;

/// One batch as it lies in the log.
#[derive(Clone, Debug)]
struct Kept {
    first: i64,
    values: Vec<String>,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Plain,
    Data(i64),
    Marker(i64, MarkerKind),
}

impl Kept {
    fn end(&self) -> i64 {
        self.first + i64::try_from(self.values.len()).unwrap()
    }
}

/// What the batches of a log make.
#[derive(Debug, Default)]
struct Reference {
    open: BTreeMap<i64, i64>,
    /// Producer, first, last, last stable.
    aborted: Vec<[i64; 4]>,
    committed: Vec<(i64, String)>,
    all: Vec<(i64, String)>,
}

impl Reference {
    fn stable(&self, start: i64, end: i64) -> i64 {
        self.open.values().min().copied().unwrap_or(end).max(start)
    }
}

fn reference(batches: &[Kept], start: i64, end: i64) -> Reference {
    let mut made = Reference::default();
    let mut left_out = Vec::new();
    let mut owned: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for batch in batches {
        match batch.what {
            What::Plain => {}
            What::Data(id) => {
                made.open.entry(id).or_insert(batch.first);
                owned.entry(id).or_default().push(batch.first);
            }
            What::Marker(id, kind) => {
                let (first, data) = (made.open.remove(&id), owned.remove(&id));
                if let (Some(first), MarkerKind::Abort) = (first, kind) {
                    let stable = made.open.values().min().copied().unwrap_or(batch.end());
                    made.aborted.push([id, first, batch.first, stable]);
                    left_out.extend(data.unwrap());
                }
            }
        }
    }
    let stable = made.open.values().min().copied().unwrap_or(end);
    for batch in batches.iter().filter(|batch| !matches!(batch.what, What::Marker(..))) {
        for (offset, value) in (batch.first..).zip(&batch.values) {
            if offset >= start {
                let record = (offset, value.clone());
                made.all.push(record.clone());
                if batch.first < stable && !left_out.contains(&batch.first) {
                    made.committed.push(record);
                }
            }
        }
    }
    made
}

/// A log's life.
struct Life {
    seed: u64,
    random: StdRng,
    log: Option<Log>,
    batches: Vec<Kept>,
    start: i64,
    number: u64,
    epochs: BTreeMap<i64, i16>,
}

impl Life {
    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, Kept::end).max(self.start)
    }

    fn identity(&self, id: i64) -> ProducerIdentity {
        of(id, self.epochs.get(&id).copied().unwrap_or(0))
    }

    fn is_open(&self, id: i64) -> bool {
        self.log().open_transactions().iter().any(|open| open.identity().id().get() == id)
    }

    fn new_values(&mut self) -> Vec<String> {
        let count = self.random.random_range(1..4);
        self.number += 1;
        (0..count).map(|at| format!("{}.{at}", self.number)).collect()
    }

    fn note(&mut self, receipt: LogReceipt, values: Vec<String>, what: What) {
        let first = receipt.first_offset().get();
        assert_eq!(first, self.end(), "seed {}", self.seed);
        self.batches.push(Kept { first, values, what });
    }

    fn send(&mut self) {
        let values = self.new_values();
        let records: Vec<_> = values.iter().map(|value| Record::new(value.as_str())).collect();
        let id = self.random.random_range(0..4);
        let durability = match self.random.random_bool(0.1) {
            true => Durability::Power,
            false => Durability::Process,
        };
        if id == 0 {
            let receipt = self.log().append_with(&records, durability).unwrap();
            return self.note(receipt, values, What::Plain);
        }
        let us = self.identity(id);
        let next = self.log().next_sequence(us).unwrap();
        if self.random.random_bool(0.1) && self.is_open(id) {
            let error = self.log().append_produced(&records, us, next).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidTransactionState);
            return;
        }
        let receipt = self.log().append_transactional_with(&records, us, next, durability);
        self.note(receipt.unwrap(), values, What::Data(id));
    }

    fn end_one(&mut self) {
        let id = self.random.random_range(1..4);
        let kind = match self.random.random_bool(0.5) {
            true => MarkerKind::Commit,
            false => MarkerKind::Abort,
        };
        let bump = i16::from(self.random.random_bool(0.5));
        let epoch = self.identity(id).epoch().get() + bump;
        self.epochs.insert(id, epoch);
        let durability = match self.random.random_bool(0.5) {
            true => Durability::Power,
            false => Durability::Process,
        };
        let receipt = self.log().append_marker_with(of(id, epoch), 0, kind, durability).unwrap();
        self.note(receipt, vec![String::new()], What::Marker(id, kind));
    }

    fn truncate(&mut self) {
        let target = self.random.random_range(self.start..=self.end());
        let end = self.log().truncate_to(Offset::new(target)).unwrap().get();
        self.cut(end);
        if target <= self.start {
            (self.start, self.batches) = (target, Vec::new());
        }
    }

    /// The log ends there.
    fn cut(&mut self, end: i64) {
        self.batches.retain(|batch| batch.end() <= end);
        assert!(self.end() == end || self.batches.is_empty(), "seed {}", self.seed);
    }

    fn delete(&mut self) {
        let stable = self.log().last_stable_offset().get();
        let start = self.random.random_range(self.start..=stable);
        self.log().delete_records_before(Offset::new(start)).unwrap();
        self.start = start;
    }

    fn step(&mut self) {
        match self.random.random_range(0..40) {
            0..22 => self.send(),
            22..34 => self.end_one(),
            34 => self.log().flush().unwrap(),
            35..37 => self.log().maintain().unwrap(),
            37 => self.truncate(),
            38 => self.delete(),
            _ => {}
        }
    }

    /// Where a transaction begins below the log's start, its first record that is left counts as
    /// well: nothing else is left to tell.
    fn check(&self) {
        let (log, seed) = (self.log(), self.seed);
        assert_eq!(log.end_offset().get(), self.end(), "seed {seed}");
        let left: Vec<_> =
            self.batches.iter().filter(|batch| batch.end() > self.start).cloned().collect();
        let whole = reference(&self.batches, self.start, self.end());
        let made = reference(&left, self.start, self.end());
        let stable = log.last_stable_offset().get();
        let wanted = [&whole, &made].map(|made| made.stable(self.start, self.end()));
        assert!(wanted.contains(&stable), "seed {seed}: {stable} of {wanted:?}");
        for open in log.open_transactions() {
            let id = open.identity().id().get();
            let at = open.transaction_start().map(Offset::get);
            let known = [&whole, &made].map(|made| made.open.get(&id).copied());
            let below = known[0] <= at && at < Some(self.start);
            assert!(below || known.contains(&at), "seed {seed}: {at:?} of {known:?}");
        }
        assert!(log.open_transactions().len() >= made.open.len(), "seed {seed}");
        let aborted = log.aborted_transactions(Offset::ZERO..log.end_offset());
        let aborted = aborted.iter().map(|entry| {
            let [first, last, stable] = [entry.first, entry.last, entry.last_stable];
            [entry.producer_id.get(), first.get(), last.get(), stable.get()]
        });
        let aborted: Vec<_> = aborted.filter(|entry| entry[2] >= self.start).collect();
        for entry in &aborted {
            let known = made.aborted.contains(entry) || whole.aborted.contains(entry);
            // what was open beside it may begin below the start, too
            let mixed = made.aborted.iter().chain(&whole.aborted);
            let alike = |it: &[i64; 4]| (it[0], it[2]) == (entry[0], entry[2]) && it[1] <= entry[1];
            let mixed = self.start > 0 && mixed.clone().any(alike);
            assert!(known || mixed, "seed {seed}: {entry:?} of {whole:?}");
        }
        let markers = |aborted: &[[i64; 4]]| aborted.iter().map(|it| it[2]).collect::<Vec<_>>();
        let wanted = markers(&made.aborted);
        assert!(wanted.iter().all(|at| markers(&aborted).contains(at)), "seed {seed}");
        let made = if stable == whole.stable(self.start, self.end()) { whole } else { made };
        let mut next = log.start_offset();
        let mut read = Vec::new();
        loop {
            let records = log.read(next, 300).unwrap();
            let Some(last) = records.iter().last() else { break };
            next = last.offset().next();
            read.extend(records.iter().map(|record| {
                let value = record.value().unwrap().to_vec();
                (record.offset().get(), String::from_utf8(value).unwrap())
            }));
        }
        assert_eq!(read, made.committed, "seed {seed}");
        let all = read_from(&log.log, log.start_offset().get()).unwrap();
        let wanted: Vec<_> =
            made.all.into_iter().map(|(at, value)| (at, value.into_bytes())).collect();
        assert_eq!(all, wanted, "seed {seed}");
    }
}

fn live(seed: u64, disk: Arc<dyn Disk>, mut stop: impl FnMut(&mut Life) -> Arc<dyn Disk>) {
    let mut life = Life {
        seed,
        random: StdRng::seed_from_u64(seed),
        log: Some(open(disk)),
        batches: Vec::new(),
        start: 0,
        number: 0,
        epochs: BTreeMap::new(),
    };
    for step in 0..120 {
        life.step();
        if step % 8 == 7 {
            life.check();
        }
        if life.random.random_bool(0.06) {
            let durable = life.log().durable_offset().get();
            let disk = stop(&mut life);
            life.log = Some(open(disk));
            let end = life.log().end_offset().get();
            assert!(end >= durable, "seed {seed}: {end} of {durable}");
            life.cut(end);
            life.check();
        }
    }
}

const REPLAY: &str =
    "replay: TIDELOG_SEED=N cargo test --all-features --lib log::tests::transactions";

#[test]
fn a_log_that_is_closed_and_reopened_keeps_its_transactions() {
    println!("{REPLAY}");
    for seed in seeds(30, 100, 5000) {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        live(seed, disk.clone(), |life| {
            life.log.take().unwrap().close().unwrap();
            disk.clone()
        });
    }
}

#[test]
#[cfg(feature = "sim")]
fn kills_and_power_cuts_leave_what_the_log_says() {
    use crate::disk::{Crash, SimDisk};
    println!("{REPLAY}");
    for seed in seeds(40, 150, 10_000) {
        let mut disk = SimDisk::new(seed);
        live(seed, Arc::new(disk.clone()), |life| {
            disk = match life.random.random_range(0..6) {
                0 => disk.kill(),
                1 => disk.crash(Crash::Nothing),
                2 => disk.crash(Crash::Everything),
                3 => {
                    life.log.take().unwrap().close().unwrap();
                    disk.clone()
                }
                _ => disk.crash(Crash::Random(life.random.random())),
            };
            drop(life.log.take());
            Arc::new(disk.clone())
        });
    }
}
