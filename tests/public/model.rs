//! The whole store against a plain reference: random work through the public doors, with reopens,
//! on every form of disk.
//!
//! The reference is a vector of records per partition and a map of committed offsets. After each
//! reopen, and at random in between, everything readable is read and compared, record by record.
//! On the simulated disk (feature `sim`) the process is also killed and the power cut: a kill takes
//! nothing that was acknowledged, a power cut takes at most what was not promised to survive one.
//! A failure prints its seed and the command that repeats it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::common::budget;
#[cfg(feature = "sim")]
use crate::common::worlds::Simulated;
use crate::common::worlds::{InMemory, Real, World};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::IoMode;
#[cfg(feature = "sim")]
use tidelog::disk::SimDisk;
use tidelog::{
    Durability, ManualClock, Offset, OffsetCommit, PartitionId, Record, RecordView, Store,
    Timestamp, TopicConfig,
};

const BIRTH: i64 = 1_700_000_000_000;
const GROUP: &str = "billing";

/// A record as the reference keeps it.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: Option<i64>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Kept {
    fn of(view: &RecordView<'_>) -> Self {
        Kept {
            offset: view.offset().get(),
            key: view.key().map(<[u8]>::to_vec),
            value: view.value().map(<[u8]>::to_vec),
            timestamp: view.timestamp().map(Timestamp::as_millis),
            headers: view
                .headers()
                .map(|header| (header.name().to_owned(), header.value().map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    fn record(&self) -> Record<'_> {
        let mut record = match &self.value {
            Some(value) => Record::new(value),
            None => Record::tombstone(),
        };
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        for (name, value) in &self.headers {
            record = match value {
                Some(value) => record.header(name, value),
                None => record.null_header(name),
            };
        }
        match self.timestamp {
            Some(millis) => record.timestamp(Timestamp::from_millis(millis)),
            None => record.without_timestamp(),
        }
    }
}

/// One partition of the reference.
#[derive(Clone, Debug, Default)]
struct Partition {
    records: Vec<Kept>,
    start: i64,
    /// The start that was durable: a later one may be lost with the power.
    end: i64,
    /// Everything below was acknowledged with power durability.
    durable: i64,
}

/// The reference.
#[derive(Debug, Default)]
struct Model {
    topics: BTreeMap<String, Vec<Partition>>,
    /// The committed offset, and every one since the last that was durable.
    committed: BTreeMap<(String, u32), Vec<Option<i64>>>,
    /// Commits that outlived the records they name, in some power cut: the log was truncated below
    /// them, so that a consumer may start over by its reset policy and commit less. One that was
    /// made again since may stand for new records; then committing less may be refused as well.
    truncated: BTreeSet<(String, u32, i64)>,
}

/// A store under test beside its reference.
struct Run<'w> {
    world: &'w mut dyn World,
    random: StdRng,
    clock: ManualClock,
    store: Store,
    model: Model,
}

impl Run<'_> {
    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..4 => self.create(),
            4..5 => self.delete(),
            5..6 => self.add_partitions(),
            6..60 => self.append(),
            60..64 => self.check_some(),
            64..72 => self.commit(),
            72..74 => self.delete_records(),
            74..77 => self.retain(),
            77..81 => self.maintain(),
            81..83 => self.flush(),
            83..86 => self.find_timestamp(),
            86..92 => self.reopen(),
            _ => self.crash(),
        }
    }

    fn pick(&mut self) -> Option<(String, u32)> {
        let all: Vec<_> = self
            .model
            .topics
            .iter()
            .flat_map(|(name, partitions)| (0..partitions.len()).map(move |at| (name, at)))
            .collect();
        if all.is_empty() {
            return None;
        }
        let (name, at) = all[self.random.random_range(0..all.len())];
        Some((name.clone(), at as u32))
    }

    fn partition(&mut self, name: &str, at: u32) -> &mut Partition {
        &mut self.model.topics.get_mut(name).expect("picked")[at as usize]
    }

    fn create(&mut self) {
        let name = format!("t{}", self.random.random_range(0..4));
        let partitions = self.random.random_range(1..4);
        let config = TopicConfig::new()
            .partitions(partitions)
            .segment_bytes(self.random.random_range(2048..8000))
            .index_interval_bytes(self.random.random_range(0..600))
            .timestamp_after_max(None)
            .file_delete_delay(Duration::ZERO);
        let made = self.store.create_topic(&name, config);
        assert_eq!(made.is_err(), self.model.topics.contains_key(&name), "{made:?}");
        if made.is_ok() {
            self.model.topics.insert(name, vec![Partition::default(); partitions as usize]);
        }
    }

    fn delete(&mut self) {
        let Some((name, _)) = self.pick() else { return };
        self.store.delete_topic(&name).expect("a delete");
        self.model.topics.remove(&name);
        self.model.committed.retain(|(topic, _), _| *topic != name);
        self.model.truncated.retain(|(topic, ..)| *topic != name);
    }

    fn add_partitions(&mut self) {
        let Some((name, _)) = self.pick() else { return };
        let partitions = self.model.topics.get_mut(&name).expect("picked");
        let total = partitions.len() + 1;
        self.store.add_partitions(&name, total as u32).expect("one more");
        partitions.resize_with(total, Partition::default);
    }

    fn bytes(&mut self, longest: usize) -> Option<Vec<u8>> {
        if self.random.random_bool(0.1) {
            return None;
        }
        let len = self.random.random_range(0..longest);
        Some((0..len).map(|_| self.random.random()).collect())
    }

    fn kept(&mut self, offset: i64) -> Kept {
        let headers = self.random.random_range(0..3);
        let jitter = self.random.random_range(-5_000..5_000);
        Kept {
            offset,
            key: self.bytes(20),
            value: self.bytes(300),
            timestamp: self.random.random_bool(0.9).then_some(BIRTH + offset * 100 + jitter),
            headers: (0..headers).map(|at| (format!("h{}", at % 2), self.bytes(9))).collect(),
        }
    }

    fn append(&mut self) {
        let Some((name, at)) = self.pick() else { return };
        let base = self.partition(&name, at).end;
        let count = [1, 1, 1, 2, 7][self.random.random_range(0..5)];
        let batch: Vec<_> = (0..count).map(|more| self.kept(base + more)).collect();
        if batch.iter().map(|kept| kept.value.as_ref().map_or(0, Vec::len)).sum::<usize>() > 900 {
            return; // might not fit the smallest segment
        }
        let power = self.random.random_bool(0.15);
        let word = if power { Durability::Power } else { Durability::Process };
        let producer = self.store.producer().durability(word).build().expect("a producer");
        let topic = producer.topic(&name).expect("picked");
        let records: Vec<_> = batch.iter().map(Kept::record).collect();
        if self.random.random_bool(0.3) {
            let pending: Vec<_> = records
                .into_iter()
                .map(|record| topic.enqueue_to(PartitionId::new(at), record).expect("room"))
                .collect();
            producer.flush().expect("a flush");
            for (pending, kept) in pending.into_iter().zip(&batch) {
                assert_eq!(pending.wait().expect("an append").offset().get(), kept.offset);
            }
        } else {
            let receipt = topic.send_batch_to(PartitionId::new(at), &records).expect("an append");
            assert_eq!(receipt.base_offset().get(), base);
        }
        let partition = self.partition(&name, at);
        partition.end += count;
        partition.records.extend(batch);
        if power {
            partition.durable = partition.end;
        }
    }

    /// Reads one partition from a random offset with random limits.
    fn check_some(&mut self) {
        let Some((name, at)) = self.pick() else { return };
        let partition = self.partition(&name, at).clone();
        let from = self.random.random_range(partition.start..=partition.end);
        let mut reader = self
            .store
            .reader()
            .assign([(name.as_str(), at)])
            .max_bytes(self.random.random_range(1..3000))
            .max_records(self.random.random_range(1..9))
            .build()
            .expect("a reader");
        reader.seek(&name, at, Offset::new(from)).expect("an offset it has");
        let mut read = Vec::new();
        loop {
            let fetched = reader.try_poll().expect("a poll");
            if fetched.is_empty() {
                break;
            }
            read.extend(fetched.iter().map(|view| Kept::of(&view)));
        }
        let expected: Vec<_> =
            partition.records.iter().filter(|kept| kept.offset >= from).cloned().collect();
        assert_eq!(read, expected, "{name}-{at} from {from}");
    }

    fn check_all(&mut self) {
        for (name, partitions) in &self.model.topics {
            for (at, partition) in (0..).zip(partitions) {
                let mut reader =
                    self.store.reader().assign([(name.as_str(), at)]).build().expect("a reader");
                let mut read = Vec::new();
                loop {
                    let fetched = reader.try_poll().expect("a poll");
                    if fetched.is_empty() {
                        break;
                    }
                    read.extend(fetched.iter().map(|view| Kept::of(&view)));
                }
                assert_eq!(read, partition.records, "{name}-{at}");
            }
        }
        for ((name, at), history) in &self.model.committed {
            let mut consumer = self.store.consumer(GROUP);
            consumer = consumer.assign([(name.as_str(), *at)]);
            let consumer = consumer.build().expect("a consumer");
            let committed = consumer.committed(name, *at).expect("a look-up");
            let committed = committed.map(|committed| committed.offset().get());
            assert_eq!(Some(&committed), history.last(), "{name}-{at}");
        }
    }

    fn commit(&mut self) {
        let Some((name, at)) = self.pick() else { return };
        let partition = self.partition(&name, at).clone();
        let offset = self.random.random_range(partition.start..=partition.end);
        let mut consumer =
            self.store.consumer(GROUP).assign([(name.as_str(), at)]).build().expect("a consumer");
        let committed =
            consumer.commit_offsets(&[OffsetCommit::new(&name, at, Offset::new(offset))]);
        let place = (name, at);
        let history = self.model.committed.entry(place.clone()).or_insert_with(|| vec![None]);
        let before = history.last().copied().flatten();
        let forward = before.is_none_or(|before| before <= offset);
        let truncated = before.is_some_and(|before| {
            self.model.truncated.contains(&(place.0.clone(), place.1, before))
        });
        let expected = if truncated { committed.is_ok() } else { forward };
        assert_eq!(
            committed.is_ok(),
            expected,
            "{place:?}: {before:?} then {offset}: {committed:?}"
        );
        if committed.is_ok() {
            history.push(Some(offset));
        }
    }

    fn delete_records(&mut self) {
        let Some((name, at)) = self.pick() else { return };
        let partition = self.partition(&name, at).clone();
        let before = self.random.random_range(partition.start..=partition.end);
        self.store.delete_records_before(&name, at, Offset::new(before)).expect("within the log");
        let partition = self.partition(&name, at);
        partition.start = before;
        partition.records.retain(|kept| kept.offset >= before);
        if before > partition.durable {
            partition.durable = before; // the data below a start is synced before it is recorded
        }
    }

    /// Lets retention by size take what it wants, and holds it to its rules.
    fn retain(&mut self) {
        let Some((name, _)) = self.pick() else { return };
        let config = self.store.describe(&name).expect("picked").config().clone();
        self.store.alter_topic(&name, config.clone().retention_bytes(4_000)).expect("a policy");
        self.store.apply_retention().expect("a run");
        let stats = self.store.stats();
        let topic = stats.topics.iter().find(|topic| topic.name == name).expect("picked");
        for seen in &topic.partitions {
            let partition = self.partition(&name, seen.id.get());
            let start = seen.start_offset.get();
            assert!((partition.start..=partition.end).contains(&start));
            assert!(start == partition.start || seen.bytes >= 4_000, "never below its limit");
            partition.start = start;
            partition.records.retain(|kept| kept.offset >= start);
            partition.durable = partition.durable.max(start);
        }
        let config = config.set("retention.bytes", "-1").expect("a setting");
        self.store.alter_topic(&name, config).expect("a policy");
    }

    fn maintain(&mut self) {
        self.clock.advance(Duration::from_secs(self.random.random_range(1..40)));
        self.store.run_maintenance();
        self.store.run_due();
    }

    fn flush(&mut self) {
        self.store.flush().expect("a flush");
        for partition in self.model.topics.values_mut().flatten() {
            partition.durable = partition.end;
        }
        for history in self.model.committed.values_mut() {
            history.drain(..history.len() - 1);
        }
    }

    fn find_timestamp(&mut self) {
        let Some((name, at)) = self.pick() else { return };
        let partition = self.partition(&name, at).clone();
        let wanted = BIRTH + self.random.random_range(-9_000..partition.end * 100 + 9_000);
        let found = self.store.offset_at(&name, at, Timestamp::from_millis(wanted));
        let found = found.expect("a look-up").map(Offset::get);
        let expected = partition
            .records
            .iter()
            .find(|kept| kept.timestamp.is_some_and(|timestamp| timestamp >= wanted));
        assert_eq!(found, expected.map(|kept| kept.offset), "{name}-{at} at {wanted}");
    }

    fn reopen(&mut self) {
        self.store.close().expect("a clean close");
        for partition in self.model.topics.values_mut().flatten() {
            partition.durable = partition.end;
        }
        for history in self.model.committed.values_mut() {
            history.drain(..history.len() - 1);
        }
        self.store = self.world.open(&self.clock);
        assert!(self.store.open_report().was_closed_cleanly());
        self.check_all();
    }

    fn crash(&mut self) {
        let Some(power) = self.world.crash(&mut self.random) else { return };
        self.store = self.world.open(&self.clock);
        if power {
            self.forget_what_was_lost();
        }
        self.check_all();
    }

    /// Cuts the reference to what the power cut left, which must be all that was promised.
    fn forget_what_was_lost(&mut self) {
        for (name, partitions) in &mut self.model.topics {
            let seen = self.store.describe(name).expect("a topic that was made is there");
            assert_eq!(seen.partitions().len(), partitions.len(), "{name}");
            for (partition, seen) in partitions.iter_mut().zip(seen.partitions()) {
                let at = format!("{name}-{}", seen.id());
                assert_eq!(seen.failure(), None, "{at}");
                let end = seen.end_offset().get();
                assert!(end >= partition.durable, "{at}: {end} lost some of {}", partition.durable);
                assert!(end <= partition.end, "{at}: {end} was never written");
                assert_eq!(seen.start_offset().get(), partition.start, "{at}");
                partition.records.retain(|kept| kept.offset < end);
                partition.end = end;
            }
        }
        for ((name, at), history) in &mut self.model.committed {
            let mut consumer = self.store.consumer(GROUP);
            consumer = consumer.assign([(name.as_str(), *at)]);
            let committed = consumer.build().expect("a consumer").committed(name, *at);
            let committed = committed.expect("a look-up").map(|committed| committed.offset().get());
            assert!(history.contains(&committed), "{name}-{at}: {committed:?} of {history:?}");
            *history = vec![committed];
            let end = self.model.topics[name][*at as usize].end;
            if let Some(committed) = committed.filter(|committed| *committed > end) {
                self.model.truncated.insert((name.clone(), *at, committed));
            }
        }
    }
}

fn run(world: &mut dyn World, seed: u64, steps: u64) {
    let clock = ManualClock::new(Timestamp::from_millis(BIRTH));
    let store = world.open(&clock);
    let random = StdRng::seed_from_u64(seed);
    let mut run = Run { world, random, clock, store, model: Model::default() };
    run.create();
    for _ in 0..steps {
        run.step();
    }
    run.check_all();
    run.reopen();
}

#[test]
fn memory() {
    budget::for_each_seed("public", "memory", budget::seeds(30, 150, 20_000), |seed| {
        run(&mut InMemory::default(), seed, 200);
    });
}

#[test]
fn mapped() {
    budget::for_each_seed("public", "mapped", budget::seeds(3, 15, 2_000), |seed| {
        run(&mut Real::new(IoMode::Mapped), seed, 200);
    });
}

#[test]
fn positioned() {
    budget::for_each_seed("public", "positioned", budget::seeds(3, 15, 2_000), |seed| {
        run(&mut Real::new(IoMode::Positioned), seed, 200);
    });
}

#[cfg(feature = "sim")]
#[test]
fn simulated_mapped() {
    simulated("simulated_mapped", IoMode::Mapped);
}

#[cfg(feature = "sim")]
#[test]
fn simulated_positioned() {
    simulated("simulated_positioned", IoMode::Positioned);
}

#[cfg(feature = "sim")]
fn simulated(test: &str, mode: IoMode) {
    budget::for_each_seed("public", test, budget::seeds(40, 200, 50_000), |seed| {
        let disk = SimDisk::new(seed);
        disk.set_mode(mode);
        run(&mut Simulated(disk), seed, 150);
    });
}

/// The reference must be able to fail: a record it never saw is noticed.
#[test]
fn a_difference_is_noticed() {
    let mut world = InMemory::default();
    let clock = ManualClock::new(Timestamp::from_millis(BIRTH));
    let store = world.open(&clock);
    let random = StdRng::seed_from_u64(0);
    let mut run = Run { world: &mut world, random, clock, store, model: Model::default() };
    run.create();
    let (name, at) = run.pick().expect("one topic");
    let topic = run.store.producer().build().unwrap().topic(&name).unwrap();
    topic.send_to(PartitionId::new(at), Record::new("behind the reference's back")).unwrap();
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.check_all()));
    assert!(noticed.is_err());
}
