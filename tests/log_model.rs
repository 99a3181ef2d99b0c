//! Random walks over `Log` on every disk, held against a plain list of records.
//!
//! A walk appends, in transactions or out of them, commits, aborts, reads from anywhere with any
//! limit, looks timestamps up, rolls, retains, deletes, truncates, syncs, changes the
//! configuration, closes, kills, and on the simulated disk cuts the power; after each step the log
//! must say what the list says. `TIDELOG_SEED=N` repeats one walk.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::IoMode;
use tidelog::{Durability, ErrorKind, Log, LogReceipt, ManualClock, MarkerKind, Offset};
use tidelog::{OffsetSpec, Record, Result, Timestamp, TopicConfig};

use common::budget::{Budget, for_each_seed, seeds};
use common::decided::{Batches, What, identity};
#[cfg(feature = "sim")]
use common::log_worlds::Simulated;
use common::log_worlds::{Copied, Ending, World};

const SUITE: &str = "log_model";

/// A record as the list keeps it.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What the log must say.
#[derive(Default)]
struct Model {
    /// By offset from 0.
    records: Vec<Kept>,
    batches: Batches,
    start: usize,
    /// Everything below survives a power cut.
    durable: usize,
    epoch: i32,
    /// Of producers that have ended a transaction.
    producer_epochs: BTreeMap<i64, i16>,
}

impl Model {
    /// Nothing is left from `end` on.
    fn cut(&mut self, end: usize) {
        self.records.truncate(end);
        self.batches.cut(end);
    }
}

struct Walk<'w> {
    world: &'w mut dyn World,
    random: StdRng,
    clock: ManualClock,
    config: TopicConfig,
    log: Option<Log>,
    is_committed: bool,
    model: Model,
    /// Records held over retention, rolls, closes and all, with what they must hold.
    held: Vec<(tidelog::Records, Vec<(usize, Kept)>)>,
}

fn random_config(random: &mut StdRng) -> TopicConfig {
    let mut config = TopicConfig::new()
        .segment_bytes([1024, 3000, 10_000, 100_000, 1 << 20][random.random_range(0..5)])
        .index_interval_bytes([0, 100, 1000, 4096][random.random_range(0..4)])
        .segment_index_bytes([240, 2400, 1 << 20][random.random_range(0..3)])
        .segment_ms(Duration::from_millis([50, 10_000, 1 << 40][random.random_range(0..3)]))
        .file_delete_delay(Duration::from_secs(random.random_range(0..3)))
        .timestamp_after_max(None);
    if random.random_bool(0.3) {
        config = config.retention_bytes(random.random_range(0..60_000));
    }
    if random.random_bool(0.2) {
        config = config.retention(Duration::from_secs(random.random_range(1..100)));
    }
    config
}

fn bytes(random: &mut StdRng, most: usize) -> Vec<u8> {
    let len = random.random_range(0..=most);
    let byte = random.random::<u8>();
    vec![byte; len]
}

impl<'w> Walk<'w> {
    fn new(world: &'w mut dyn World, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let config = random_config(&mut random);
        let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
        let model = Model { epoch: -1, ..Model::default() };
        let (log, is_committed, held) = (None, true, Vec::new());
        let mut walk = Walk { world, random, clock, config, log, is_committed, model, held };
        walk.open(Ending::Close);
        walk
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("a walk always has an open log")
    }

    fn open(&mut self, after: Ending) {
        let builder = Log::builder(self.world.dir())
            .disk(self.world.disk())
            .clock(Arc::new(self.clock.clone()))
            .config(self.config.clone());
        self.is_committed = self.random.random_bool(0.8);
        let builder = if self.is_committed { builder } else { builder.read_uncommitted() };
        let log = builder.open().unwrap_or_else(|error| panic!("open after {after:?}: {error}"));
        assert!(log.report().damage().is_empty(), "after {after:?}: {:?}", log.report());
        let end = usize::try_from(log.end_offset().get()).unwrap();
        let model = &mut self.model;
        match after {
            Ending::PowerCut => {
                assert!(end >= model.durable, "{end} lost what was durable: {}", model.durable);
                assert!(end <= model.records.len(), "{end} of {}", model.records.len());
                assert!(
                    end == 0 || end == model.start || model.batches.is_end(end),
                    "half a batch: {end}"
                );
                model.cut(end);
                model.durable = end; // what recovery keeps it makes durable
                assert_eq!(log.durable_offset(), offset(end));
            }
            _ => assert_eq!(end, model.records.len(), "after {after:?}"),
        }
        if matches!(after, Ending::Close | Ending::Drop) {
            assert!(!log.report().is_notable(), "after {after:?}: {:?}", log.report());
            model.durable = end;
            assert_eq!(log.durable_offset(), offset(end));
        }
        assert_eq!(log.start_offset().get(), model.start as i64, "after {after:?}");
        self.log = Some(log);
        self.check_offsets();
    }

    fn reopen(&mut self, ending: Ending) {
        let log = self.log.take().expect("open");
        match ending {
            Ending::Close => log.close().unwrap(),
            Ending::Drop => drop(log),
            Ending::Kill | Ending::PowerCut => self.world.end(log, ending, &mut self.random),
        }
        if self.random.random_bool(0.3) {
            self.config = random_config(&mut self.random);
        }
        self.open(ending);
    }

    fn check_offsets(&self) {
        let log = self.log();
        assert_eq!(log.end_offset().get(), self.model.records.len() as i64);
        assert_eq!(log.start_offset().get(), self.model.start as i64);
        // after a kill it is not known how far earlier syncs reached, only how far was recorded
        assert!(log.durable_offset() <= log.end_offset());
        self.model.batches.check(log, self.model.start);
    }

    /// Below it readers are shown what is there.
    fn bound(&self) -> usize {
        let (stable, end) = (self.log().last_stable_offset(), self.log().end_offset());
        usize::try_from(if self.is_committed { stable } else { end }.get()).unwrap()
    }

    /// What readers get from `from` on, in order.
    fn shown(&self, from: usize) -> Vec<(usize, Kept)> {
        let offsets = self.model.batches.shown(self.model.start, self.bound(), self.is_committed);
        let from_there = offsets.into_iter().filter(|at| *at >= from);
        from_there.map(|at| (at, self.model.records[at].clone())).collect()
    }

    fn random_records(&mut self) -> Vec<Kept> {
        let random = &mut self.random;
        let count = if random.random_bool(0.7) { 1 } else { random.random_range(1..20) };
        let room = 900 / count;
        let now = self.clock_millis();
        let random = &mut self.random;
        let kept: Vec<Kept> = (0..count)
            .map(|_| Kept {
                timestamp: match random.random_range(0..10) {
                    0 => None,
                    1 => Some(random.random_range(0..2_000_000)),
                    2..6 => Some(now + random.random_range(-50..50)),
                    _ => Some(now),
                },
                key: random.random_bool(0.5).then(|| bytes(random, room / 8)),
                value: random.random_bool(0.9).then(|| bytes(random, room / 2)),
                headers: (0..random.random_range(0..3))
                    .map(|number| {
                        let value = random.random_bool(0.7).then(|| bytes(random, 4));
                        (format!("h{number}"), value)
                    })
                    .collect(),
            })
            .collect();
        let mut kept = kept;
        if self.config.get("segment.bytes").unwrap().parse::<usize>().unwrap() >= 100_000
            && self.random.random_bool(0.05)
        {
            kept[0].value = Some(vec![7; self.random.random_range(60_000..90_000)]);
        }
        kept
    }

    fn random_durability(&mut self, power: f64) -> Durability {
        if self.random.random_bool(power) { Durability::Power } else { Durability::Process }
    }

    fn append(&mut self) {
        let kept = self.random_records();
        let records: Vec<Record<'_>> = kept.iter().map(record).collect();
        let durability = self.random_durability(0.05);
        let id = self.random.random_range(-3..=3);
        if id <= 0 {
            let appended = self.log().append_with(&records, durability);
            self.appended(appended, kept, What::Plain, durability);
            return;
        }
        let us = identity(id, self.model.producer_epochs.get(&id).copied().unwrap_or(0));
        let next = self.log().next_sequence(us).unwrap();
        let send = |log: &Log| log.append_transactional_with(&records, us, next, durability);
        let appended = send(self.log());
        let first = self.model.records.len();
        if self.appended(appended, kept.clone(), What::Data(id), durability)
            && self.random.random_bool(0.1)
        {
            let again = send(self.log()).unwrap();
            assert!(again.is_duplicate() && again.first_offset() == offset(first));
            let outside = self.log().append_produced(&records, us, next.after(kept.len() as u32));
            assert_eq!(outside.unwrap_err().kind(), ErrorKind::InvalidTransactionState);
        }
    }

    fn end_transaction(&mut self) {
        let id = self.random.random_range(1..=3);
        let commits = self.random.random_bool(0.5);
        let kind = if commits { MarkerKind::Commit } else { MarkerKind::Abort };
        let bump = i16::from(self.random.random_bool(0.5));
        let epoch = self.model.producer_epochs.entry(id).or_default();
        *epoch += bump;
        let us = identity(id, *epoch);
        let durability = self.random_durability(0.2);
        let ended = self.log().append_marker_with(us, 0, kind, durability);
        let timestamp = Some(self.clock_millis());
        let marker = Kept { timestamp, key: None, value: None, headers: Vec::new() };
        assert!(self.appended(ended, vec![marker], What::Marker(id, kind), durability));
    }

    /// Notes what was appended; says whether it was.
    fn appended(
        &mut self,
        appended: Result<LogReceipt>,
        kept: Vec<Kept>,
        what: What,
        durability: Durability,
    ) -> bool {
        let receipt = match appended {
            Ok(receipt) => receipt,
            Err(error) if error.kind() == ErrorKind::TooLarge => return false,
            Err(error) => panic!("append: {error}"),
        };
        let model = &mut self.model;
        let first = model.records.len();
        assert_eq!(receipt.first_offset(), offset(first));
        assert_eq!(receipt.next_offset(), offset(first + kept.len()));
        assert!(receipt.epoch().get() >= model.epoch.max(0), "epochs rise");
        model.epoch = receipt.epoch().get();
        model.batches.push(first, kept.len(), what);
        model.records.extend(kept);
        if durability == Durability::Power {
            model.durable = model.records.len();
        }
        true
    }

    fn truncate(&mut self) {
        let (start, end) = (self.model.start, self.model.records.len());
        let target = self.random.random_range(start..=end);
        let left = if target < end { self.model.batches.floor(start, target) } else { end };
        assert_eq!(self.log().truncate_to(offset(target)).unwrap(), offset(left));
        self.model.cut(left);
        if target < end {
            self.model.durable = left; // all of it was synced before it was cut
            assert_eq!(self.log().durable_offset(), offset(left));
        }
    }

    fn clock_millis(&self) -> i64 {
        use tidelog::Clock;
        self.clock.wall().as_millis()
    }

    fn read(&mut self) {
        let (start, end) = (self.model.start, self.model.records.len());
        let from = self.random.random_range(start..=end);
        let limit = [1, 100, 5000, 1 << 20][self.random.random_range(0..4)];
        let records = self.log().read(offset(from), limit).unwrap();
        let mut expected = self.shown(from);
        assert_eq!(records.is_empty(), expected.is_empty(), "read {from} of {start}..{end}");
        expected.truncate(records.len());
        compare(&records, &expected);
        if self.held.len() < 4 && !records.is_empty() {
            self.held.push((records, expected));
        }
        for outside in [start.checked_sub(1), Some(end + 1)].into_iter().flatten() {
            let error = self.log().read(offset(outside), limit).unwrap_err();
            assert_eq!(error.available(), Some((offset(start), offset(end))));
        }
    }

    /// Reads everything, and what was held says what it said.
    fn read_all(&mut self) {
        let expected = self.shown(self.model.start);
        let (mut next, mut done) = (self.model.start, 0);
        loop {
            let records = self.log().read(offset(next), 10_000).unwrap();
            let Some(last) = records.iter().last() else { break };
            next = usize::try_from(last.offset().get()).unwrap() + 1;
            compare(&records, &expected[done..done + records.len()]);
            done += records.len();
        }
        assert_eq!(done, expected.len());
        for (records, expected) in std::mem::take(&mut self.held) {
            compare(&records, &expected);
        }
    }

    fn look_up(&mut self) {
        let wanted = match self.random.random_range(0..3) {
            0 => self.random.random_range(0..2_000_000),
            1 => self.clock_millis() + self.random.random_range(-100..100),
            _ => self.model.records.last().and_then(|last| last.timestamp).unwrap_or(0),
        };
        let found = self.log().offset_for_timestamp(Timestamp::from_millis(wanted)).unwrap();
        // markers count, as for Kafka, and so does what was aborted
        let times = (self.model.start..self.bound())
            .filter_map(|at| Some((at as i64, self.model.records[at].timestamp?)));
        let found = found.map(|(at, timestamp)| (at.get(), timestamp.as_millis()));
        let expected = times.clone().find(|(_, at)| *at >= wanted);
        assert_eq!(found, expected, "first at or after {wanted}");
        let newest = self.log().find_offset(OffsetSpec::MaxTimestamp).unwrap();
        let newest = newest.map(|it| (it.offset().get(), it.timestamp().unwrap().as_millis()));
        let largest = times.clone().map(|(_, at)| at).max();
        assert_eq!(newest, times.clone().find(|(_, at)| Some(*at) == largest), "the newest");
        let latest = self.log().find_offset(OffsetSpec::Latest).unwrap().unwrap();
        assert_eq!(latest.offset(), offset(self.bound()));
    }

    fn retain(&mut self) {
        self.log().apply_retention().unwrap();
        let start = usize::try_from(self.log().start_offset().get()).unwrap();
        assert!(start >= self.model.start && start <= self.model.records.len());
        if start > self.model.start {
            self.model.start = start;
            self.model.durable = self.model.durable.max(start);
        }
    }

    fn delete(&mut self) {
        let (start, end) = (self.model.start, self.model.records.len());
        let before = self.random.random_range(start.saturating_sub(1)..=end);
        self.log().delete_records_before(offset(before)).unwrap();
        self.model.start = before.max(start);
        self.model.durable = self.model.durable.max(self.model.start);
        assert!(self.log().delete_records_before(offset(end + 1)).is_err());
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..40 => self.append(),
            40..50 => self.end_transaction(),
            50..65 => self.read(),
            65..66 => self.truncate(),
            66..72 => self.look_up(),
            72..76 => {
                let by = self.random.random_range(0..40_000);
                self.clock.advance(Duration::from_millis(by));
            }
            76..81 => {
                self.log().maintain().unwrap();
                let start = self.log().start_offset().get();
                self.model.start = usize::try_from(start).unwrap().max(self.model.start);
                self.model.durable = self.model.durable.max(self.model.start);
            }
            81..84 => {
                self.log().flush().unwrap();
                self.model.durable = self.model.records.len();
            }
            84..87 => self.retain(),
            87..89 => self.delete(),
            89..91 => {
                self.config = random_config(&mut self.random);
                self.log().set_config(self.config.clone()).unwrap();
            }
            91..93 => self.read_all(),
            93..95 => self.reopen(Ending::Close),
            95..96 => self.reopen(Ending::Drop),
            96..98 => self.reopen(Ending::Kill),
            _ if self.world.has_power() => self.reopen(Ending::PowerCut),
            _ => self.reopen(Ending::Kill),
        }
        self.check_offsets();
    }
}

fn compare(records: &tidelog::Records, expected: &[(usize, Kept)]) {
    assert_eq!(records.len(), expected.len());
    for (view, (at, expected)) in records.iter().zip(expected) {
        assert_eq!(view.offset(), offset(*at));
        let headers = view.headers();
        let found = Kept {
            timestamp: view.timestamp().map(Timestamp::as_millis),
            key: view.key().map(<[u8]>::to_vec),
            value: view.value().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.name().to_owned(), header.value().map(<[u8]>::to_vec)))
                .collect(),
        };
        assert!(found == *expected, "offset {at} holds another record");
    }
}

fn offset(at: usize) -> Offset {
    Offset::new(i64::try_from(at).unwrap())
}

fn record(kept: &Kept) -> Record<'_> {
    let mut record = match &kept.value {
        Some(value) => Record::new(value),
        None => Record::tombstone(),
    };
    if let Some(key) = &kept.key {
        record = record.key(key);
    }
    for (name, value) in &kept.headers {
        record = match value {
            Some(value) => record.header(name, value),
            None => record.null_header(name),
        };
    }
    match kept.timestamp {
        Some(timestamp) => record.timestamp(Timestamp::from_millis(timestamp)),
        None => record.without_timestamp(),
    }
}

fn walk(world: &mut dyn World, seed: u64) {
    let steps = Budget::get().pick(300, 600, 2000);
    let mut walk = Walk::new(world, seed);
    for _ in 0..steps {
        walk.step();
    }
    walk.read_all();
    walk.reopen(Ending::Close);
    walk.read_all();
}

#[test]
#[cfg(target_os = "linux")]
fn walks_on_the_mapped_disk() {
    for_each_seed(SUITE, "walks_on_the_mapped_disk", seeds(4, 8, 2000), |seed| {
        walk(&mut Copied::real(IoMode::Mapped), seed);
    });
}

#[test]
fn walks_on_the_positioned_disk() {
    for_each_seed(SUITE, "walks_on_the_positioned_disk", seeds(4, 8, 2000), |seed| {
        walk(&mut Copied::real(IoMode::Positioned), seed);
    });
}

#[test]
fn walks_in_memory() {
    for_each_seed(SUITE, "walks_in_memory", seeds(40, 150, 20_000), |seed| {
        walk(&mut Copied::in_memory(), seed);
    });
}

#[test]
#[cfg(feature = "sim")]
fn walks_on_the_simulated_disk() {
    for_each_seed(SUITE, "walks_on_the_simulated_disk", seeds(60, 200, 20_000), |seed| {
        let disk = tidelog::disk::SimDisk::new(seed);
        if seed % 2 == 1 {
            disk.set_mode(IoMode::Positioned);
        }
        walk(&mut Simulated(disk), seed);
    });
}
