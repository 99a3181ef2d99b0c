//! Random administration against a plain reference: commits, resets, generations, deletes, clones,
//! expiry, topics that go and come again, reopens, and with the feature `sim` kills, on a clock
//! moved by hand. After every reopen, and at random in between, everything is compared.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::offsets::OffsetStore;
use super::offsets::tests::{NOW, commit, topic};
use super::records::Phase;
use super::{CommitMode, GroupKind};
use crate::config::{BackgroundSync, Durability, OffsetsRetention, Threads, WhenFull};
use crate::disk::Disk;
use crate::engine::{Engine, EngineOptions, Partition};
use crate::error::ErrorKind;
use crate::ids::{Generation, PartitionId};
use crate::seeds::seeds;
use crate::sync::Arc;
use crate::time::{Clock, ManualClock, Timestamp};

const GROUPS: [&str; 4] = ["a", "b", "c", "d"];
const TOPICS: [&str; 3] = ["orders", "returns", "bills"];
const RECORDS: i64 = 20;
const RETENTION: Duration = Duration::from_secs(100);

/// What must be true of one group; times in milliseconds.
#[derive(Clone, Debug, Default, Hash)]
struct Expected {
    /// By topic: the offset and when it was committed.
    offsets: BTreeMap<&'static str, (i64, i64)>,
    generation: i32,
    /// `None` without a record; else since when it is empty, `None` while it is live.
    record: Option<Option<i64>>,
}

impl Expected {
    fn exists(&self) -> bool {
        !self.offsets.is_empty() || self.record.is_some()
    }

    fn has_expired(&self, committed_at: i64, now: i64) -> bool {
        let age = i64::try_from(RETENTION.as_millis()).unwrap();
        match self.record {
            Some(None) => false,
            Some(Some(since)) => now - since.max(committed_at) >= age,
            None => now - committed_at >= age,
        }
    }

    fn expire(&mut self, now: i64) {
        let before = self.clone();
        self.offsets.retain(|_, (_, at)| !before.has_expired(*at, now));
        if self.offsets.is_empty() && matches!(self.record, Some(Some(_))) {
            *self = Expected::default();
        }
    }
}

struct World {
    #[cfg(feature = "sim")]
    disk: crate::disk::SimDisk,
    #[cfg(not(feature = "sim"))]
    disk: crate::disk::MemoryDisk,
    clock: ManualClock,
    engine: Arc<Engine>,
    offsets: Arc<OffsetStore>,
}

fn up(disk: Arc<dyn Disk>, clock: &ManualClock) -> (Arc<Engine>, Arc<OffsetStore>) {
    let options = EngineOptions {
        disk,
        clock: Arc::new(clock.clone()),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let offsets = OffsetStore::open(engine.clone()).unwrap();
    offsets.begin_expiry(OffsetsRetention::For(RETENTION));
    (engine, offsets)
}

struct Model {
    random: StdRng,
    world: World,
    expected: BTreeMap<&'static str, Expected>,
    seed: u64,
    seen: HashSet<u64>,
    states: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        #[cfg(feature = "sim")]
        let disk = crate::disk::SimDisk::new(seed);
        #[cfg(not(feature = "sim"))]
        let disk = crate::disk::MemoryDisk::new();
        let clock = ManualClock::new(NOW);
        let (engine, offsets) = up(Arc::new(disk.clone()), &clock);
        for name in TOPICS {
            topic(&engine, name, usize::try_from(RECORDS).unwrap());
        }
        Model {
            random: StdRng::seed_from_u64(seed),
            world: World { disk, clock, engine, offsets },
            expected: GROUPS.iter().map(|name| (*name, Expected::default())).collect(),
            seed,
            seen: HashSet::new(),
            states: 0,
        }
    }

    fn group(&mut self) -> &'static str {
        GROUPS[self.random.random_range(0..GROUPS.len())]
    }

    fn topic(&mut self) -> &'static str {
        TOPICS[self.random.random_range(0..TOPICS.len())]
    }

    fn partition(&self, name: &str) -> Arc<Partition> {
        self.world.engine.topic(name).unwrap().partition(PartitionId::new(0)).unwrap()
    }

    fn now(&self) -> i64 {
        self.world.clock.wall().as_millis()
    }

    fn durability(&mut self) -> Durability {
        if self.random.random_bool(0.2) { Durability::Power } else { Durability::Process }
    }

    fn commit(&mut self, mode: CommitMode) {
        let (group, durability, now) = (self.group(), self.durability(), self.now());
        let count = self.random.random_range(1..=TOPICS.len());
        let mut wanted = BTreeMap::new();
        for _ in 0..count {
            let offset = self.random.random_range(0..=RECORDS + 1);
            wanted.insert(self.topic(), offset);
        }
        let partitions: Vec<_> =
            wanted.iter().map(|(name, offset)| (self.partition(name), *offset)).collect();
        let commits: Vec<_> =
            partitions.iter().map(|(partition, offset)| commit(partition, *offset, mode)).collect();
        let done = match mode {
            CommitMode::Forward => self.world.offsets.commit(group, &commits, durability),
            CommitMode::Reset => self.world.offsets.reset(group, &commits, durability),
        };
        let expected = self.expected.get_mut(group).unwrap();
        let beyond = wanted.values().any(|offset| *offset > RECORDS);
        let back = mode == CommitMode::Forward
            && wanted.iter().any(|(name, offset)| {
                expected.offsets.get(name).is_some_and(|(committed, _)| offset < committed)
            });
        match done {
            Ok(()) => {
                assert!(!beyond && !back, "seed {}", self.seed);
                expected.offsets.extend(wanted.into_iter().map(|(name, to)| (name, (to, now))));
            }
            Err(error) => {
                let kind = error.kind();
                let fits = beyond && kind == ErrorKind::OffsetOutOfRange
                    || back && kind == ErrorKind::OffsetRegression;
                assert!(fits, "seed {}: {error}", self.seed);
            }
        }
    }

    fn record_generation(&mut self) {
        let (group, now) = (self.group(), self.now());
        let empty = self.random.random_bool(0.5);
        let expected = self.expected.get_mut(group).unwrap();
        let generation = (expected.generation + self.random.random_range(-1..=2)).max(0);
        let since = empty.then(|| Timestamp::from_millis(now));
        let name = Arc::from(group);
        let generation_now = Generation::new(generation);
        self.world.offsets.record_generation(&name, generation_now, since).unwrap();
        if expected.record.is_none() || generation >= expected.generation {
            (expected.generation, expected.record) = (generation, Some(empty.then_some(now)));
        }
    }

    fn delete_group(&mut self) {
        let group = self.group();
        let done = self.world.offsets.delete_group(group);
        let expected = self.expected.get_mut(group).unwrap();
        let kind = done.err().map(|error| error.kind());
        let missing = (!expected.exists()).then_some(ErrorKind::NotFound);
        assert_eq!(kind, missing, "seed {}", self.seed);
        *expected = Expected::default();
    }

    fn delete_offsets(&mut self) {
        let (group, topic) = (self.group(), self.topic());
        let done = self.world.offsets.delete_offsets(group, topic);
        let expected = self.expected.get_mut(group).unwrap();
        match done {
            Ok(count) => {
                let had = usize::from(expected.offsets.remove(topic).is_some());
                assert_eq!(count, had, "seed {}", self.seed);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                assert!(!expected.exists(), "seed {}", self.seed);
            }
        }
    }

    fn clone_group(&mut self) {
        let (from, to, durability) = (self.group(), self.group(), self.durability());
        let (source, target) = (self.expected[from].clone(), self.expected[to].clone());
        let wanted = match (source.exists(), target.exists()) {
            (false, _) => Some(ErrorKind::NotFound),
            (_, true) => Some(ErrorKind::GroupNotEmpty),
            (true, false) => None,
        };
        let done = self.world.offsets.clone_group(from, to, durability);
        assert_eq!(done.err().map(|error| error.kind()), wanted, "seed {}", self.seed);
        if wanted.is_none() {
            let now = self.now();
            let copied = source.offsets.iter().map(|(name, (offset, _))| (*name, (*offset, now)));
            self.expected.get_mut(to).unwrap().offsets = copied.collect();
        }
    }

    fn make_topic_again(&mut self) {
        let name = self.topic();
        self.world.engine.delete_topic(name).unwrap();
        self.world.offsets.forget_topic(name).unwrap();
        topic(&self.world.engine, name, usize::try_from(RECORDS).unwrap());
        for group in self.expected.values_mut() {
            group.offsets.remove(name);
        }
    }

    fn wait(&mut self) {
        let seconds = self.random.random_range(1..80);
        self.world.clock.advance(Duration::from_secs(seconds));
        if self.random.random_bool(0.7) {
            self.world.offsets.expire_all();
            let now = self.now();
            self.expected.values_mut().for_each(|group| group.expire(now));
        }
    }

    fn reopen(&mut self) {
        #[cfg(feature = "sim")]
        if self.random.random_bool(0.5) {
            self.world.disk = self.world.disk.kill();
        } else {
            self.world.engine.close().unwrap();
        }
        #[cfg(not(feature = "sim"))]
        self.world.engine.close().unwrap();
        let (engine, offsets) = up(Arc::new(self.world.disk.clone()), &self.world.clock);
        (self.world.engine, self.world.offsets) = (engine, offsets);
        let now = self.now();
        for group in self.expected.values_mut().filter(|group| group.record == Some(None)) {
            group.record = Some(Some(now));
        }
        self.compare();
    }

    fn compare(&self) {
        let World { offsets, .. } = &self.world;
        let at = format!("seed {}", self.seed);
        let listed: Vec<String> = offsets.groups().iter().map(ToString::to_string).collect();
        let expected = self.expected.iter().filter(|(_, group)| group.exists());
        let names: Vec<String> = expected.map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(listed, names, "{at}");
        for (name, expected) in self.expected.iter().filter(|(_, group)| group.exists()) {
            let committed: BTreeMap<String, (i64, i64)> = offsets
                .all_committed(name)
                .unwrap()
                .iter()
                .map(|(partition, committed)| {
                    let seen = (committed.offset().get(), committed.committed_at().as_millis());
                    (partition.topic_name().to_string(), seen)
                })
                .collect();
            let wanted = expected.offsets.iter().map(|(name, seen)| ((*name).to_owned(), *seen));
            assert_eq!(committed, wanted.collect(), "{at}: {name}");
            let kept = offsets.kept("compare", name).unwrap();
            assert_eq!(kept.generation, Generation::new(expected.generation), "{at}: {name}");
            let kind = match expected.record {
                Some(_) => GroupKind::Classic,
                None => GroupKind::Standalone,
            };
            assert_eq!(kept.kind, kind, "{at}: {name}");
            let classic = offsets.existing(name).unwrap().records.lock().classic;
            let phase = expected.record.map(|since| match since {
                Some(since) => Phase::EmptySince(Timestamp::from_millis(since)),
                None => Phase::Live,
            });
            assert_eq!(classic.map(|classic| classic.phase), phase, "{at}: {name}");
        }
        assert_eq!(offsets.skipped(), 0, "{at}: what it wrote it reads");
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.random_range(0..100) {
                0..40 => self.commit(CommitMode::Forward),
                40..50 => self.commit(CommitMode::Reset),
                50..62 => self.record_generation(),
                62..67 => self.delete_group(),
                67..72 => self.delete_offsets(),
                72..78 => self.clone_group(),
                78..80 => self.make_topic_again(),
                80..92 => self.wait(),
                92..96 => self.compare(),
                _ => self.reopen(),
            }
            let mut hasher = DefaultHasher::new();
            self.expected.hash(&mut hasher);
            self.seen.insert(hasher.finish());
            self.states += 1;
        }
        self.reopen();
    }
}

#[test]
fn random_administration_agrees_with_a_plain_reference() {
    let begun = Instant::now();
    let (mut states, mut distinct) = (0, HashSet::new());
    for seed in seeds(15, 40, 5_000) {
        println!("seed {seed}: TIDELOG_SEED={seed} cargo test --lib random_administration");
        let mut model = Model::new(seed);
        model.run(400);
        states += model.states;
        distinct.extend(model.seen);
    }
    let (distinct, seconds) = (distinct.len(), begun.elapsed().as_secs_f64());
    let line = format!("{states} states, {distinct} distinct, 0 failures, {seconds:.1} s");
    // past the capture of tests, for scripts
    writeln!(std::io::stderr(), "suite group-admin: {line}").unwrap();
}

/// The control: a reference that forgets one rule is caught.
#[test]
#[should_panic(expected = "seed")]
fn a_reference_without_expiry_is_caught() {
    let mut model = Model::new(1);
    for _ in 0..20 {
        model.commit(CommitMode::Forward);
    }
    assert!(model.expected.values().any(Expected::exists));
    model.world.clock.advance(RETENTION);
    model.world.offsets.expire_all();
    model.compare();
}
