//! Random work of a writer, with reads beside it and in the middle of it, on every form of disk.
//!
//! Each value is a number used once, so that a record that was never written, stands elsewhere or
//! comes out of order is seen at once. While the writer works, no record may be handed out that it
//! did not append there. When it rests, a reader must have got every record that is left, in the
//! state it has now, and the offsets that are committed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::config::TopicConfig;
use crate::consumer::{Consumer, OffsetCommit, Reset};
#[cfg(feature = "sim")]
use crate::disk::{Crash, SimDisk};
use crate::error::ErrorKind;
use crate::ids::Offset;
use crate::seeds::seeds;
use crate::sync::Mutex;

const TOPICS: [&str; 3] = ["a", "b", "c"];
const GROUPS: [&str; 2] = ["billing", "audit"];

/// What is known of one partition of one incarnation of a topic.
#[derive(Debug, Default)]
struct Part {
    /// By offset, the numbers of the values.
    records: BTreeMap<i64, u64>,
    start: i64,
    end: i64,
}

/// Where a record was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    topic: u64,
    partition: u32,
    offset: i64,
}

/// How the store can stop without being closed.
enum World {
    Lasting(Arc<dyn Disk>),
    #[cfg(feature = "sim")]
    Simulated(SimDisk),
}

impl World {
    fn disk(&self) -> Arc<dyn Disk> {
        match self {
            World::Lasting(disk) => disk.clone(),
            #[cfg(feature = "sim")]
            World::Simulated(disk) => Arc::new(disk.clone()),
        }
    }
}

/// The writer, and all that it did.
struct Writer {
    world: World,
    path: PathBuf,
    #[cfg(feature = "sim")]
    guest: Arc<GuestDisk>,
    clock: ManualClock,
    random: StdRng,
    store: Option<Store>,
    /// Live topics by name: their incarnation, and their partitions.
    topics: BTreeMap<&'static str, (u64, Vec<Part>)>,
    incarnations: u64,
    numbers: u64,
    written: HashMap<u64, Place>,
    /// How often the power was cut.
    cuts: u64,
}

impl Writer {
    fn store(&self) -> Store {
        self.store.clone().expect("the writer is at work")
    }

    fn open(&mut self) {
        let builder = Store::builder(&self.path).disk(self.world.disk()).clock(self.clock.clone());
        self.store = Some(builder.threads(Threads::Host).open().expect("it opens"));
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => self.append(),
            45..52 => self.linger(),
            52..58 => self.store().flush().expect("a flush"),
            58..64 => self.delete_records(),
            64..70 => self.upkeep(),
            70..76 => self.create(),
            76..79 => self.delete(),
            79..82 => self.grow(),
            82..92 => self.commit(),
            92..95 => self.reopen(),
            _ => self.crash(),
        }
    }

    fn some_topic(&mut self) -> Option<&'static str> {
        let names: Vec<_> = self.topics.keys().copied().collect();
        (!names.is_empty()).then(|| names[self.random.random_range(0..names.len())])
    }

    fn note(&mut self, name: &str, partition: u32, offset: i64, number: u64) {
        let (topic, parts) = self.topics.get_mut(name).expect("a live topic");
        let part = &mut parts[partition as usize];
        assert_eq!(offset, part.end, "the writer's own offsets");
        part.records.insert(offset, number);
        part.end = offset + 1;
        let place = Place { topic: *topic, partition, offset };
        self.written.insert(number, place);
    }

    fn append(&mut self) {
        let Some(name) = self.some_topic() else { return };
        let handle = self.store().producer().build().expect("built").topic(name).expect("there");
        let partition = self.random.random_range(0..self.topics[name].1.len()) as u32;
        let segment = self.store().describe(name).expect("there").config().get("segment.bytes");
        let roomy = segment.is_some_and(|bytes| bytes.len() >= 5);
        let large = roomy && self.random.random_bool(0.3);
        for _ in 0..self.random.random_range(1..6) {
            self.numbers += 1;
            let length = if large { 70_000 } else { self.random.random_range(0..200) };
            let value = format!("{}:{}", self.numbers, "x".repeat(length));
            let receipt = handle.send_to(partition, Record::new(&value)).expect("an append");
            self.note(name, partition, receipt.offset().get(), self.numbers);
        }
    }

    fn linger(&mut self) {
        let Some(name) = self.some_topic() else { return };
        let store = self.store();
        let producer = store.producer().linger(Duration::from_millis(5)).build().expect("built");
        let handle = producer.topic(name).expect("there");
        let mut pending = Vec::new();
        for _ in 0..self.random.random_range(1..20) {
            self.numbers += 1;
            let value = format!("{}:", self.numbers);
            let enqueued = handle.enqueue(Record::new(&value)).expect("enqueued");
            pending.push((self.numbers, enqueued));
        }
        producer.flush().expect("a flush");
        for (number, pending) in pending {
            let receipt = pending.wait().expect("appended");
            self.note(name, receipt.partition().get(), receipt.offset().get(), number);
        }
    }

    fn delete_records(&mut self) {
        let Some(name) = self.some_topic() else { return };
        let partition = self.random.random_range(0..self.topics[name].1.len());
        let part = &self.topics[name].1[partition];
        let offset = self.random.random_range(part.start..=part.end);
        let store = self.store();
        store.delete_records_before(name, partition as u32, Offset::new(offset)).expect("raised");
        self.topics.get_mut(name).expect("live").1[partition].start = offset;
    }

    /// Retention by size, and unlinking of what was dropped.
    fn upkeep(&mut self) {
        let store = self.store();
        store.apply_retention().expect("retention");
        self.clock.advance(Duration::from_secs(61));
        store.run_maintenance();
        for (name, (_, parts)) in &mut self.topics {
            let seen = store.describe(name).expect("there");
            for (part, seen) in parts.iter_mut().zip(seen.partitions()) {
                part.start = seen.start_offset().get();
            }
        }
    }

    fn create(&mut self) {
        let free: Vec<_> =
            TOPICS.iter().copied().filter(|name| !self.topics.contains_key(name)).collect();
        if free.is_empty() {
            return;
        }
        let name = free[self.random.random_range(0..free.len())];
        let count = self.random.random_range(1..3);
        // small segments roll all the time, the others have room for large batches
        let (least, most) =
            if self.random.random_bool(0.5) { (1_500, 6_000) } else { (90_000, 300_000) };
        let segment = self.random.random_range(least..most);
        let mut config = TopicConfig::new().partitions(count).segment_bytes(segment);
        if self.random.random_bool(0.3) {
            config = config.retention_bytes(self.random.random_range(2_000..300_000));
        }
        self.store().create_topic(name, config).expect("made");
        self.incarnations += 1;
        let parts = (0..count).map(|_| Part::default()).collect();
        self.topics.insert(name, (self.incarnations, parts));
    }

    fn delete(&mut self) {
        let Some(name) = self.some_topic() else { return };
        self.store().delete_topic(name).expect("deleted");
        self.topics.remove(name);
    }

    fn grow(&mut self) {
        let Some(name) = self.some_topic() else { return };
        let parts = &mut self.topics.get_mut(name).expect("live").1;
        if parts.len() < 4 {
            parts.push(Part::default());
            let total = parts.len() as u32;
            self.store().add_partitions(name, total).expect("grown");
        }
    }

    fn commit(&mut self) {
        let Some(name) = self.some_topic() else { return };
        let group = GROUPS[self.random.random_range(0..GROUPS.len())];
        let partition = self.random.random_range(0..self.topics[name].1.len());
        let end = self.topics[name].1[partition].end;
        let offset = Offset::new(self.random.random_range(0..=end));
        let store = self.store();
        let mut consumer =
            store.consumer(group).assign([(name, partition as u32)]).build().expect("built");
        match consumer.commit_offsets(&[OffsetCommit::new(name, partition as u32, offset)]) {
            Err(error) if error.kind() == ErrorKind::OffsetRegression => {}
            committed => committed.expect("a commit"),
        }
    }

    fn reopen(&mut self) {
        self.store.take().expect("at work").close().expect("closed");
        self.open();
    }

    #[cfg(not(feature = "sim"))]
    fn crash(&mut self) {
        self.reopen();
    }

    /// The process is killed, and the reader lives on; or the power is cut, and it does not.
    #[cfg(feature = "sim")]
    fn crash(&mut self) {
        let World::Simulated(disk) = &self.world else { return self.reopen() };
        let power = self.random.random_bool(0.5);
        self.cuts += u64::from(power);
        let left = match power {
            false => disk.kill(),
            true => disk.crash(Crash::Random(self.random.random())),
        };
        self.guest.set_world(Arc::new(left.clone()));
        self.world = World::Simulated(left);
        self.open();
        for (name, (_, parts)) in &mut self.topics {
            let seen = self.store.as_ref().expect("open").describe(name).expect("there");
            for (part, seen) in parts.iter_mut().zip(seen.partitions()) {
                assert_eq!(seen.failure(), None);
                let end = seen.end_offset().get();
                assert!(power || end == part.end, "{name}: a kill took records");
                part.records.retain(|offset, _| *offset < end);
                (part.start, part.end) = (seen.start_offset().get(), end);
            }
        }
    }
}

/// A reader, and what it was given: by place, the number.
struct Reading {
    guest: Arc<GuestDisk>,
    path: PathBuf,
    clock: ManualClock,
    /// Power cuts that the writer had met before it began.
    cuts: u64,
    store: ReadOnlyStore,
    reader: Consumer,
    given: HashMap<Place, u64>,
}

impl Reading {
    fn open(guest: &Arc<GuestDisk>, path: &Path, clock: &ManualClock, cuts: u64) -> Self {
        let store = open_reader(guest.clone(), path, clock);
        let builder = store.reader().subscribe(TOPICS).reset(Reset::Earliest);
        let reader = builder.max_bytes(40_000).build().expect("built");
        let (guest, path, clock) = (guest.clone(), path.to_owned(), clock.clone());
        Reading { guest, path, clock, cuts, store, reader, given: HashMap::new() }
    }

    /// One poll; returns how many records it gave.
    fn poll(&mut self, writer: &Mutex<Writer>) -> usize {
        let records = self.reader.try_poll();
        let cuts = writer.lock().cuts;
        if cuts != self.cuts {
            // the machine goes down with all its processes: no reader outlives a power cut
            self.guest.set_between(None);
            *self = Reading::open(&self.guest, &self.path, &self.clock, cuts);
            return 1;
        }
        let records = records.expect("a poll");
        let writer = writer.lock();
        let mut last: HashMap<(u64, u32), i64> = HashMap::new();
        for record in &records {
            let value = std::str::from_utf8(record.value().expect("a value")).expect("text");
            let number: u64 = value.split(':').next().expect("a number").parse().expect("one");
            let place = *writer.written.get(&number).expect("a record that was never appended");
            let found = (record.partition().get(), record.offset().get());
            assert_eq!(found, (place.partition, place.offset), "a record in another's place");
            let before = last.insert((place.topic, place.partition), place.offset);
            assert!(before.is_none_or(|before| before < place.offset), "out of order");
            self.given.insert(place, number);
        }
        records.len()
    }

    /// Reads until nothing is left while the writer rests; then all that is left was given.
    fn drain(&mut self, writer: &Mutex<Writer>, clock: &ManualClock) {
        let mut idle = 0;
        while idle < 3 {
            clock.advance(Duration::from_secs(2));
            idle = if self.poll(writer) == 0 { idle + 1 } else { 0 };
        }
        let writer = writer.lock();
        for (name, (topic, parts)) in &writer.topics {
            let seen = self.store.describe(name).expect("described");
            assert_eq!(seen.partitions().len(), parts.len(), "{name}");
            for (partition, part) in (0..).zip(parts) {
                let offsets = &seen.partitions()[partition as usize];
                let found = (offsets.start_offset().get(), offsets.end_offset().get());
                assert_eq!(found, (part.start, part.end), "{name}-{partition}: {seen:?}");
                for (offset, number) in part.records.range(part.start..) {
                    let place = Place { topic: *topic, partition, offset: *offset };
                    let given = self.given.get(&place);
                    let others = || -> Vec<_> {
                        let there =
                            |place: &&Place| (place.topic, place.partition) == (*topic, partition);
                        let mut offsets: Vec<_> =
                            self.given.keys().filter(there).map(|place| place.offset).collect();
                        offsets.sort_unstable();
                        offsets
                    };
                    let at = self.reader.position(name, partition);
                    assert_eq!(
                        given,
                        Some(number),
                        "{name}-{partition} at {offset} was skipped: {:?}, at {at:?}, {part:?}",
                        others()
                    );
                }
            }
        }
        let store = writer.store();
        for group in GROUPS {
            let theirs = self.store.committed(group).expect("looked up");
            let own = store.committed(group).expect("looked up");
            assert_eq!(theirs, own, "{group}");
        }
        let own = store.groups().expect("listed");
        let own: Vec<&str> = own.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(self.store.group_names().expect("listed"), own);
    }
}

fn run(seed: u64, world: World, path: PathBuf, states: &mut Suite) {
    let clock = ManualClock::default();
    let guest = Arc::new(GuestDisk::new(world.disk()));
    let mut writer = Writer {
        world,
        path: path.clone(),
        #[cfg(feature = "sim")]
        guest: guest.clone(),
        clock: clock.clone(),
        random: StdRng::seed_from_u64(seed),
        store: None,
        topics: BTreeMap::new(),
        incarnations: 0,
        numbers: 0,
        written: HashMap::new(),
        cuts: 0,
    };
    writer.open();
    writer.create();
    let writer = Arc::new(Mutex::new(writer));
    let mut reading = Reading::open(&guest, &path, &clock, 0);
    let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
    for _ in 0..40 {
        let busy = writer.clone();
        let mut chance = StdRng::seed_from_u64(random.random());
        let often = random.random_range(0.0..0.3);
        guest.set_between(Some(Box::new(move |_| {
            if chance.random_bool(often) {
                busy.lock().step();
            }
        })));
        for _ in 0..random.random_range(1..6) {
            if random.random_bool(0.8) {
                clock.advance(INTERVAL);
            }
            reading.poll(&writer);
            states.note(&reading.given.len());
        }
        guest.set_between(None);
        for _ in 0..random.random_range(0..4) {
            writer.lock().step();
        }
        if random.random_bool(0.2) {
            reading.drain(&writer, &clock);
        }
        if random.random_bool(0.1) {
            reading = Reading::open(&guest, &path, &clock, writer.lock().cuts);
        }
    }
    reading.drain(&writer, &clock);
    // one that begins now, and one without a writer
    let cuts = writer.lock().cuts;
    Reading::open(&guest, &path, &clock, cuts).drain(&writer, &clock);
    assert_eq!(guest.refused(), 0, "a reader tried to change something");
}

/// What a suite did, for its one line.
struct Suite {
    name: &'static str,
    began: Instant,
    states: u64,
    distinct: HashSet<u64>,
    seed: u64,
}

impl Suite {
    fn note(&mut self, state: &impl std::hash::Hash) {
        let mut hasher = DefaultHasher::new();
        (self.seed, state).hash(&mut hasher);
        self.states += 1;
        self.distinct.insert(hasher.finish());
    }

    fn over(name: &'static str, seeds: std::ops::Range<u64>, mut body: impl FnMut(u64, &mut Self)) {
        let (began, distinct) = (Instant::now(), HashSet::new());
        let mut suite = Suite { name, began, states: 0, distinct, seed: 0 };
        for seed in seeds {
            suite.seed = seed;
            let repeat = Repeat(name, seed);
            body(seed, &mut suite);
            std::mem::forget(repeat);
        }
        // past the capture of tests, for scripts
        let said = writeln!(
            std::io::stderr(),
            "suite {}: {} states, {} distinct, 0 failures, {:.1} s",
            suite.name,
            suite.states,
            suite.distinct.len(),
            suite.began.elapsed().as_secs_f64()
        );
        said.unwrap();
    }
}

/// Prints the command that repeats a seed when a panic unwinds past it.
struct Repeat(&'static str, u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        let Repeat(name, seed) = self;
        eprintln!("repeat: TIDELOG_SEED={seed} cargo test --all-features --lib {name}");
    }
}

#[test]
fn beside_in_memory() {
    Suite::over("beside_in_memory", seeds(6, 16, 4000), |seed, suite| {
        let world = World::Lasting(Arc::new(MemoryDisk::new()));
        run(seed, world, PathBuf::from("/store"), suite);
    });
}

#[test]
fn beside_on_real_files() {
    Suite::over("beside_on_real_files", seeds(2, 6, 600), |seed, suite| {
        // mostly on files in memory, where there are such: the syncs are not what is tested
        let memory = tempfile::tempdir_in("/dev/shm").ok().filter(|_| seed % 6 != 1);
        let dir = memory.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let mode = if seed % 2 == 0 { IoMode::Mapped } else { IoMode::Positioned };
        let world = World::Lasting(Arc::new(RealDisk::new(mode).unwrap()));
        run(seed, world, dir.path().join("store"), suite);
    });
}

#[cfg(feature = "sim")]
#[test]
fn beside_through_crashes() {
    Suite::over("beside_through_crashes", seeds(6, 16, 6000), |seed, suite| {
        run(seed, World::Simulated(SimDisk::new(seed)), PathBuf::from("/store"), suite);
    });
}
