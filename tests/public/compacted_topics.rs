//! Compaction of topics of a program's own, through the public API and against a plain map: the
//! last value of each key is always there, at its offset; a deletion stays seen for its time; what
//! the configuration says of ratio and age decides when.

use crate::common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::budget::Budget;
use common::kafka_check::kafka_check;
use common::scratch::scratch;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::IoMode;
use tidelog::{
    CleanupPolicy, ErrorKind, Log, ManualClock, MarkerKind, Offset, ProducerEpoch, ProducerId,
    ProducerIdentity, Record, Store, Threads, Timestamp, TopicConfig, TopicProducer, Verifier,
};

const TOPIC: &str = "prices";
const START: i64 = 1_700_000_000_000;

/// The last offset and value of each key; `None` for one that was deleted.
type Last = BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)>;

struct Bench {
    store: Store,
    clock: ManualClock,
}

impl Bench {
    fn open(root: &Path, mode: IoMode) -> Bench {
        let clock = ManualClock::new(Timestamp::from_millis(START));
        Bench { store: open(root, mode, &clock), clock }
    }

    fn in_memory(config: TopicConfig) -> (Bench, TopicProducer) {
        let clock = ManualClock::new(Timestamp::from_millis(START));
        let builder = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host);
        let bench = Bench { store: builder.open().expect("a store"), clock };
        bench.store.create_topic(TOPIC, config).expect("a topic");
        let topic = bench.topic();
        (bench, topic)
    }

    fn topic(&self) -> TopicProducer {
        self.store.producer().build().expect("a producer").topic(TOPIC).expect("the topic")
    }

    fn compactions(&self) -> u64 {
        let stats = self.store.stats();
        let topic = stats.topics.iter().find(|topic| topic.name == TOPIC).expect("the topic");
        topic.partitions.iter().map(|partition| partition.compactions).sum()
    }

    /// Lets the background do what is due, as its threads would, until it changes nothing.
    fn settle(&self) {
        self.settle_for(50);
    }

    /// The same where so many steps may go by before one changes anything.
    fn settle_for(&self, steps: u32) {
        let (mut idle, mut before) = (0, u64::MAX);
        while idle < steps {
            self.clock.advance(Duration::from_millis(100));
            self.store.run_maintenance();
            let now = self.compactions();
            idle = if now == before { idle + 1 } else { 0 };
            before = now;
        }
    }

    /// Lets that much time go by, and what is due by it be done.
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.settle();
    }

    /// All there is, in order: offset, key, value.
    fn read(&self) -> Vec<(i64, Vec<u8>, Option<Vec<u8>>)> {
        let mut found = Vec::new();
        let assigned = self.store.consumer("reader").assign([(TOPIC, 0)]);
        let mut consumer = assigned.build().expect("a consumer");
        consumer.seek_to_beginning(TOPIC, 0).expect("it seeks");
        for records in consumer.read_to_end().expect("an end") {
            for record in &records.expect("it reads") {
                let value = record.value().map(<[u8]>::to_vec);
                found.push((record.offset().get(), record.key().expect("a key").to_vec(), value));
            }
        }
        found
    }

    /// What is read holds the last record of each key, nothing that was not written, in order.
    fn check(&self, last: &Last) {
        let found = self.read();
        assert!(found.windows(2).all(|two| two[0].0 < two[1].0), "out of order");
        let mut left = Last::new();
        for (offset, key, value) in found {
            let (newest, _) = last[&key];
            assert!(offset <= newest, "{key:?} at {offset}, written last at {newest}");
            left.insert(key, (offset, value));
        }
        for (key, written) in last {
            match left.get(key) {
                Some(found) => assert_eq!(found, written, "{key:?}"),
                None => assert_eq!(written.1, None, "{key:?} is gone"),
            }
        }
    }
}

fn open(root: &Path, mode: IoMode, clock: &ManualClock) -> Store {
    let builder = Store::builder(root).io_mode(mode).clock(clock.clone());
    builder.threads(Threads::Host).open().expect("a root that opens")
}

fn compacted() -> TopicConfig {
    TopicConfig::new().cleanup_policy(CleanupPolicy::Compact).segment_bytes(4_096)
}

fn put(topic: &TopicProducer, last: &mut Last, key: &[u8], value: Option<&[u8]>) {
    let record = value.map_or(Record::tombstone(), Record::new).key(key);
    let offset = topic.send(record).expect("an append").offset().get();
    last.insert(key.to_vec(), (offset, value.map(<[u8]>::to_vec)));
}

#[test]
fn the_last_value_of_each_key_is_left() {
    let (bench, topic) = Bench::in_memory(compacted());
    let mut last = Last::new();
    for round in 0..200_u32 {
        for key in ["a", "b", "c"] {
            put(&topic, &mut last, key.as_bytes(), Some(format!("{key} {round}").as_bytes()));
        }
    }
    bench.settle();
    assert!(bench.compactions() > 0);
    bench.check(&last);
    let found = bench.read().len();
    assert!(found < 200, "{found} of 600 records are left");
    let error = topic.send(Record::new("no key")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{error}");
    assert!(error.to_string().contains("key"), "{error}");
    let error = topic.enqueue(Record::new("no key")).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{error}");
}

#[test]
fn a_deletion_is_seen_for_its_time_and_then_gone() {
    let day = Duration::from_secs(24 * 3600);
    let config = compacted().delete_retention(day).min_cleanable_dirty_ratio(0.0);
    let (bench, topic) = Bench::in_memory(config);
    let mut last = Last::new();
    put(&topic, &mut last, b"gone", Some(b"value"));
    put(&topic, &mut last, b"gone", None);
    let fill = |last: &mut Last| {
        for number in 0..100_u32 {
            put(&topic, last, b"other", Some(&number.to_be_bytes().repeat(20)));
        }
    };
    fill(&mut last);
    bench.settle();
    let of_gone = || bench.read().into_iter().filter(|record| record.1 == b"gone").count();
    assert_eq!(of_gone(), 1, "the tombstone alone");
    bench.pass(day / 2);
    fill(&mut last);
    bench.settle();
    assert_eq!(of_gone(), 1, "not yet");
    bench.pass(day);
    fill(&mut last);
    bench.settle();
    assert_eq!(of_gone(), 0);
    bench.check(&last);
}

#[test]
fn the_ratio_and_the_ages_decide_when() {
    let minute = Duration::from_secs(60);
    // nothing is dirty enough, until a record is too old to wait, in the active segment too
    let config = compacted().min_cleanable_dirty_ratio(1.0);
    let (bench, topic) = Bench::in_memory(config.clone());
    let mut last = Last::new();
    for number in 0..20_u32 {
        put(&topic, &mut last, b"key", Some(&number.to_be_bytes()));
    }
    bench.pass(100 * minute);
    assert_eq!((bench.compactions(), bench.read().len()), (0, 20));
    bench.store.alter_topic(TOPIC, config.max_compaction_lag(Some(minute))).expect("altered");
    bench.pass(10 * minute);
    assert!(bench.compactions() > 0);
    assert_eq!(bench.read().len(), 1);
    bench.check(&last);

    // what is young stays
    let config = compacted().min_cleanable_dirty_ratio(0.0).min_compaction_lag(60 * minute);
    let (bench, topic) = Bench::in_memory(config);
    let mut last = Last::new();
    for number in 0..200_u32 {
        put(&topic, &mut last, b"key", Some(&number.to_be_bytes().repeat(20)));
    }
    bench.pass(30 * minute);
    assert_eq!((bench.compactions(), bench.read().len()), (0, 200));
    bench.pass(60 * minute);
    assert!(bench.compactions() > 0, "an hour old");
    bench.check(&last);
}

#[test]
fn the_policy_decides_what_retention_removes() {
    let (bench, topic) = Bench::in_memory(compacted().retention_bytes(5_000));
    let mut last = Last::new();
    for number in 0..300_u32 {
        put(&topic, &mut last, &number.to_be_bytes(), Some(&[7; 50]));
    }
    bench.pass(Duration::from_secs(3_600));
    assert_eq!(bench.read().len(), 300, "compact keeps each key, whatever its age");
    let both = compacted().cleanup_policy(CleanupPolicy::CompactDelete).retention_bytes(5_000);
    bench.store.alter_topic(TOPIC, both).expect("altered");
    bench.pass(Duration::from_secs(3_600));
    let left = bench.read();
    assert!((1..200).contains(&left.len()), "{} records are left", left.len());
    assert_eq!(left.last().map(|record| record.0), Some(299));
    // and it is compacted as well
    for _ in 0..2 {
        for number in 0..40_u32 {
            put(&topic, &mut last, b"again", Some(&number.to_be_bytes().repeat(20)));
        }
    }
    bench.settle();
    let again = bench.read().into_iter().filter(|record| record.1 == b"again").count();
    assert!(again < 60, "{again} of 80 are left");
}

#[test]
fn a_log_without_a_store_is_not_compacted() {
    let dir = scratch();
    let error = Log::builder(dir.path().join("log")).config(compacted()).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("store"), "{error}");
}

#[test]
fn random_histories_keep_the_last_of_each_key() {
    let budget = Budget::get();
    for seed in 0..budget.pick(3, 8, 2_000) {
        let mut random = StdRng::seed_from_u64(seed);
        let dir = scratch();
        let root = dir.path().join("store");
        let mode = [IoMode::Mapped, IoMode::Positioned][(seed % 2) as usize];
        let mut bench = Bench::open(&root, mode);
        let config = compacted()
            .segment_bytes(random.random_range(1_024..8_192))
            .min_cleanable_dirty_ratio(f64::from(random.random_range(0..10)) / 10.0)
            .delete_retention(Duration::from_secs(random.random_range(0..100)));
        bench.store.create_topic(TOPIC, config).expect("a topic");
        let mut topic = bench.topic();
        let mut last = Last::new();
        let keys = random.random_range(1..200_u32);
        for _ in 0..random.random_range(50..600) {
            match random.random_range(0..100) {
                0..3 => bench.pass(Duration::from_secs(random.random_range(0..200))),
                3..6 => {
                    bench.store.close().expect("closed");
                    bench.store = open(&root, mode, &bench.clock);
                    topic = bench.topic();
                    bench.check(&last);
                }
                6..12 => {
                    let key = random.random_range(0..keys).to_be_bytes();
                    put(&topic, &mut last, &key, None);
                }
                _ => {
                    let key = random.random_range(0..keys).to_be_bytes();
                    let value = vec![random.random(); random.random_range(0..120)];
                    put(&topic, &mut last, &key, Some(&value));
                }
            }
        }
        bench.settle();
        bench.check(&last);
        bench.store.close().expect("closed");
        let report = Verifier::new(&root).run().expect("it reads");
        assert!(report.is_clean(), "seed {seed}: {report}");
    }
}

#[test]
fn more_keys_than_are_mapped_at_once_take_several_passes() {
    // at the full budget more than the 917,504 keys of one map
    let keys = u32::try_from(Budget::get().pick(20_000, 100_000, 3_000_000)).expect("small");
    let (bench, topic) = Bench::in_memory(compacted().segment_bytes(64 << 10));
    for round in 0..2_u8 {
        for key in (0..keys).step_by(1_000) {
            let bytes: Vec<_> = (key..key + 1_000).map(u32::to_be_bytes).collect();
            let records: Vec<_> = bytes
                .iter()
                .map(|key| Record::new(std::slice::from_ref(&round)).key(key))
                .collect();
            topic.send_batch_to(0, &records).expect("an append");
        }
    }
    bench.settle_for(50 + keys / 4_000);
    let end = i64::from(keys) * 2;
    let (mut newest, mut older) = (0, 0);
    let mut seen = vec![false; keys as usize];
    for (offset, key, value) in bench.read() {
        let key = u32::from_be_bytes(key.try_into().expect("four bytes"));
        let round = value.expect("a value")[0];
        assert_eq!(offset, i64::from(key) + i64::from(round) * i64::from(keys));
        if round == 1 {
            assert!(!std::mem::replace(&mut seen[key as usize], true));
            newest += 1;
        } else {
            older += 1;
        }
        assert!(offset < end);
    }
    assert_eq!(newest, keys, "the last of each is there");
    // what the active segment supersedes, 64 KiB of it, and less than half of the rest
    assert!(older < 5_000 + keys / 5, "{older} superseded records are left, of {keys}");
}

#[test]
fn kafka_accepts_what_compaction_left() {
    let dir = scratch();
    let root = dir.path().join("store");
    let bench = Bench::open(&root, IoMode::Mapped);
    bench.store.create_topic(TOPIC, compacted()).expect("a topic");
    let topic = bench.topic();
    let mut last = Last::new();
    for number in 0..600_u32 {
        let key = (number % 7).to_be_bytes();
        put(&topic, &mut last, &key, (number % 50 != 3).then_some(&[7; 30]));
    }
    bench.settle();
    assert!(bench.compactions() > 0);
    bench.check(&last);
    bench.store.close().expect("a clean close");
    drop(kafka_check(std::slice::from_ref(&root), &[]).accepted("kafka_accepts_compacted_topics"));
    let reopened = open(&root, IoMode::Mapped, &bench.clock);
    let bench = Bench { store: reopened, clock: bench.clock };
    bench.check(&last);
    let end = bench.store.partition(TOPIC, 0).expect("the partition").end_offset();
    assert_eq!(end.expect("an offset"), Offset::new(600));
}

/// A partition as a host that coordinates transactions itself leaves it: what was committed last of
/// each key.
fn transactions(dir: &Path, clock: &ManualClock, random: &mut StdRng) -> Last {
    let config = TopicConfig::new().segment_bytes(4_096);
    let builder = Log::builder(dir).config(config).clock(Arc::new(clock.clone()));
    let log = builder.open().expect("a log");
    let (mut last, mut pending) = (Last::new(), BTreeMap::<i64, Last>::new());
    for number in 0..600_u32 {
        let id = random.random_range(0..4_i64);
        let us = ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0));
        if id > 0 && random.random_bool(0.3) {
            let commits = random.random_bool(0.5);
            let kind = if commits { MarkerKind::Commit } else { MarkerKind::Abort };
            log.append_marker(us, 0, kind).expect("a marker");
            let ended = pending.remove(&id).unwrap_or_default();
            for (key, written) in ended.into_iter().filter(|_| commits) {
                // the later one of a key counts, whenever its transaction ended
                let known = last.get(&key).is_some_and(|known| known.0 > written.0);
                if !known {
                    last.insert(key, written);
                }
            }
            continue;
        }
        let (key, value) = (random.random_range(0..9_u32).to_be_bytes(), number.to_be_bytes());
        let value = random.random_bool(0.9).then_some(&value[..]);
        let record = value.map_or(Record::tombstone(), Record::new).key(&key);
        let receipt = match id {
            0 => log.append(&[record]),
            _ => log.append_transactional(&[record], us, log.next_sequence(us).expect("one")),
        };
        let written = (receipt.expect("an append").first_offset().get(), value.map(<[u8]>::to_vec));
        let of = if id == 0 { &mut last } else { pending.entry(id).or_default() };
        of.insert(key.to_vec(), written);
    }
    for id in pending.into_keys() {
        let us = ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0));
        log.append_marker(us, 0, MarkerKind::Abort).expect("a marker");
    }
    log.close().expect("a clean close");
    for ours in ["tidelog.keeper", "tidelog.aborted", "tidelog.producers", ".lock"] {
        drop(std::fs::remove_file(dir.join(ours)));
    }
    last
}

#[test]
fn kafka_accepts_compacted_transactions() {
    for seed in 0..2 {
        let dir = scratch();
        let root = dir.path().join("store");
        let clock = ManualClock::new(Timestamp::from_millis(START));
        let partition = root.join(format!("{TOPIC}-0"));
        std::fs::create_dir_all(&partition).expect("directories");
        let mut last = transactions(&partition, &clock, &mut StdRng::seed_from_u64(seed));
        let bench = Bench { store: open(&root, IoMode::Mapped, &clock), clock };
        bench.check(&last);
        bench.store.alter_topic(TOPIC, compacted()).expect("a policy");
        for _ in 0..3 {
            bench.pass(Duration::from_secs(48 * 3600));
            bench.check(&last);
            for _ in 0..60 {
                put(&bench.topic(), &mut last, b"another key", Some(&[1; 60])); // makes a pass due
            }
            bench.check(&last);
        }
        assert!(bench.compactions() > 1, "seed {seed}: {}", bench.compactions());
        bench.store.close().expect("a clean close");
        let test = "kafka_accepts_compacted_transactions";
        drop(kafka_check(std::slice::from_ref(&root), &[]).accepted(test));
    }
}
