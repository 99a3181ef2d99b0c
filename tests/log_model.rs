//! Random walks over `Log` on every disk, held against a plain list of records.
//!
//! A walk appends, reads from anywhere with any limit, looks timestamps up, rolls, retains,
//! deletes, syncs, changes the configuration, closes, kills, and on the simulated disk cuts the
//! power; after each step the log must say what the list says. `TIDELOG_SEED=N` repeats one walk.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelog::disk::{Access, Disk, IoMode, MemoryDisk, RealDisk};
use tidelog::{Durability, Log, ManualClock, Offset, Record, Timestamp, TopicConfig};

use common::budget::{Budget, for_each_seed, seeds};

const SUITE: &str = "log_model";

/// A record as the list keeps it.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// How a walk ends one life of the log and begins the next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Close,
    Drop,
    Kill,
    PowerCut,
}

/// The disk of a walk, and how its process or its power is taken away.
trait World {
    fn disk(&self) -> Arc<dyn Disk>;
    fn dir(&self) -> PathBuf;
    /// Leaves `log` behind as a kill (or a power cut) would.
    fn end(&mut self, log: Log, ending: Ending, random: &mut StdRng);
    fn has_power(&self) -> bool {
        false
    }
}

/// A kill is played by copying what every other process would see, then looking at the copy.
struct Copied {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    lives: u32,
    _held: Option<tempfile::TempDir>,
}

impl World for Copied {
    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    fn dir(&self) -> PathBuf {
        self.root.join(format!("{}", self.lives)).join("orders-0")
    }

    fn end(&mut self, log: Log, _: Ending, _: &mut StdRng) {
        let from = self.dir();
        self.lives += 1;
        copy_dir(&*self.disk, &from, &self.dir());
        drop(log);
        remove_dir(&*self.disk, &from);
    }
}

fn copy_dir(disk: &dyn Disk, from: &Path, to: &Path) {
    disk.create_dir_all(to).unwrap();
    for entry in disk.list(from).unwrap() {
        let source = disk.open(&from.join(&entry.name), Access::Read).unwrap();
        let len = source.len().unwrap();
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let mut done = 0;
        while done < bytes.len() {
            match source.read_at(&mut bytes[done..], done as u64).unwrap() {
                0 => break,
                got => done += got,
            }
        }
        let copy = disk.open(&to.join(&entry.name), Access::Create).unwrap();
        let mut done = 0;
        while done < bytes.len() {
            done += copy.write_at(&bytes[done..], done as u64).unwrap();
        }
    }
}

fn remove_dir(disk: &dyn Disk, dir: &Path) {
    for entry in disk.list(dir).unwrap() {
        disk.remove_file(&dir.join(&entry.name)).unwrap();
    }
    disk.remove_dir(dir).unwrap();
}

/// What the log must say.
#[derive(Default)]
struct Model {
    /// By offset from 0.
    records: Vec<Kept>,
    /// Where each batch ends.
    batch_ends: Vec<usize>,
    start: usize,
    /// Everything below survives a power cut.
    durable: usize,
    epoch: i32,
}

struct Walk<'w> {
    world: &'w mut dyn World,
    random: StdRng,
    clock: ManualClock,
    config: TopicConfig,
    log: Option<Log>,
    model: Model,
    /// Records held over retention, rolls, closes and all.
    held: Vec<(tidelog::Records, usize, Vec<Kept>)>,
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
        let mut walk = Walk { world, random, clock, config, log: None, model, held: Vec::new() };
        walk.open(Ending::Close);
        walk
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("a walk always has an open log")
    }

    fn open(&mut self, after: Ending) {
        let log = Log::builder(self.world.dir())
            .disk(self.world.disk())
            .clock(Arc::new(self.clock.clone()))
            .config(self.config.clone())
            .open()
            .unwrap_or_else(|error| panic!("open after {after:?}: {error}"));
        assert!(log.report().damage().is_empty(), "after {after:?}: {:?}", log.report());
        let end = usize::try_from(log.end_offset().get()).unwrap();
        let model = &mut self.model;
        match after {
            Ending::PowerCut => {
                assert!(end >= model.durable, "{end} lost what was durable: {}", model.durable);
                assert!(end <= model.records.len(), "{end} of {}", model.records.len());
                assert!(
                    end == 0 || end == model.start || model.batch_ends.contains(&end),
                    "half a batch: {end}"
                );
                model.records.truncate(end);
                model.batch_ends.retain(|batch_end| *batch_end <= end);
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
    }

    fn append(&mut self) {
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
        let records: Vec<Record<'_>> = kept.iter().map(record).collect();
        let power = self.random.random_bool(0.05);
        let durability = if power { Durability::Power } else { Durability::Process };
        let first = self.model.records.len();
        let appended = self.log().append_with(&records, durability);
        let receipt = match appended {
            Ok(receipt) => receipt,
            Err(error) if error.kind() == tidelog::ErrorKind::TooLarge => {
                return self.check_offsets();
            }
            Err(error) => panic!("append: {error}"),
        };
        assert_eq!(receipt.first_offset().get(), first as i64);
        assert_eq!(receipt.next_offset().get(), (first + kept.len()) as i64);
        assert!(receipt.epoch().get() > self.model.epoch || receipt.epoch().get() >= 0);
        self.model.epoch = self.model.epoch.max(receipt.epoch().get());
        assert_eq!(self.model.epoch, receipt.epoch().get(), "epochs rise");
        self.model.records.extend(kept);
        self.model.batch_ends.push(self.model.records.len());
        if power {
            self.model.durable = self.model.records.len();
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
        assert_eq!(records.is_empty(), from == end, "read {from} of {start}..{end}");
        let expected = &self.model.records[from..from + records.len()];
        compare(&records, from, expected);
        if self.held.len() < 4 && !records.is_empty() {
            let expected = expected.to_vec();
            self.held.push((records, from, expected));
        }
        for outside in [start.checked_sub(1), Some(end + 1)].into_iter().flatten() {
            let error = self.log().read(offset(outside), limit).unwrap_err();
            assert_eq!(error.available(), Some((offset(start), offset(end))));
        }
    }

    /// Reads everything, and what was held says what it said.
    fn read_all(&mut self) {
        let mut next = self.model.start;
        while next < self.model.records.len() {
            let records = self.log().read(offset(next), 10_000).unwrap();
            assert!(!records.is_empty());
            compare(&records, next, &self.model.records[next..]);
            next += records.len();
        }
        for (records, from, expected) in std::mem::take(&mut self.held) {
            compare(&records, from, &expected);
        }
    }

    fn look_up(&mut self) {
        let wanted = match self.random.random_range(0..3) {
            0 => self.random.random_range(0..2_000_000),
            1 => self.clock_millis() + self.random.random_range(-100..100),
            _ => self.model.records.last().and_then(|last| last.timestamp).unwrap_or(0),
        };
        let found = self.log().offset_for_timestamp(Timestamp::from_millis(wanted)).unwrap();
        let late = |at: &usize| self.model.records[*at].timestamp.is_some_and(|at| at >= wanted);
        let expected = (self.model.start..self.model.records.len()).find(late);
        let found = found.map(|(at, timestamp)| (at.get(), Some(timestamp.as_millis())));
        let expected = expected.map(|at| (at as i64, self.model.records[at].timestamp));
        assert_eq!(found, expected, "first at or after {wanted}");
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
            0..50 => self.append(),
            50..66 => self.read(),
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

fn compare(records: &tidelog::Records, from: usize, expected: &[Kept]) {
    for ((at, view), expected) in (from..).zip(records).zip(expected) {
        assert_eq!(view.offset(), offset(at));
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

fn real(mode: IoMode) -> Copied {
    let held = tempfile::tempdir().unwrap();
    let root = held.path().to_owned();
    Copied { disk: Arc::new(RealDisk::new(mode).unwrap()), root, lives: 0, _held: Some(held) }
}

#[test]
#[cfg(target_os = "linux")]
fn walks_on_the_mapped_disk() {
    for_each_seed(SUITE, "walks_on_the_mapped_disk", seeds(4, 8, 2000), |seed| {
        walk(&mut real(IoMode::Mapped), seed);
    });
}

#[test]
fn walks_on_the_positioned_disk() {
    for_each_seed(SUITE, "walks_on_the_positioned_disk", seeds(4, 8, 2000), |seed| {
        walk(&mut real(IoMode::Positioned), seed);
    });
}

#[test]
fn walks_in_memory() {
    for_each_seed(SUITE, "walks_in_memory", seeds(40, 150, 20_000), |seed| {
        let disk = Arc::new(MemoryDisk::new());
        walk(&mut Copied { disk, root: PathBuf::from("/"), lives: 0, _held: None }, seed);
    });
}

#[cfg(feature = "sim")]
mod simulated {
    use super::*;
    use tidelog::disk::{Crash, SimDisk};

    struct Simulated(SimDisk);

    impl World for Simulated {
        fn disk(&self) -> Arc<dyn Disk> {
            Arc::new(self.0.clone())
        }

        fn dir(&self) -> PathBuf {
            PathBuf::from("/orders-0")
        }

        fn end(&mut self, log: Log, ending: Ending, random: &mut StdRng) {
            let next = match ending {
                Ending::PowerCut => self.0.crash(match random.random_range(0..5) {
                    0 => Crash::Nothing,
                    1 => Crash::Everything,
                    _ => Crash::Random(random.random()),
                }),
                _ => self.0.kill(),
            };
            drop(log);
            self.0 = next;
        }

        fn has_power(&self) -> bool {
            true
        }
    }

    #[test]
    fn walks_on_the_simulated_disk() {
        for_each_seed(SUITE, "walks_on_the_simulated_disk", seeds(60, 200, 20_000), |seed| {
            let disk = SimDisk::new(seed);
            if seed % 2 == 1 {
                disk.set_mode(IoMode::Positioned);
            }
            walk(&mut Simulated(disk), seed);
        });
    }
}
