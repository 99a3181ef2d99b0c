//! Compaction of logs with transactions, beside a reference that keeps every batch in a list.

use super::*;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::record::{Marker, MarkerKind, Produced, ProducerClaim, ProducerIdentity};
use crate::seeds::seeds;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::ops::Range;

/// A batch as it was appended.
struct Batched {
    first: i64,
    records: Vec<(String, Option<String>)>,
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Plain,
    Data(i64),
    Marker(i64, MarkerKind),
}

/// A batch as it lies in the log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Lying {
    offsets: (i64, i64),
    producer: Option<i64>,
    transactional: bool,
    control: bool,
    count: u32,
}

struct Life {
    seed: u64,
    random: StdRng,
    bench: Bench,
    batches: Vec<Batched>,
    end: i64,
    number: u32,
}

/// What a reader at `read_committed` should be given, and what is open.
#[derive(Default)]
struct Reference {
    committed: BTreeMap<i64, (String, Option<String>)>,
    stable: i64,
    left_out: Vec<(i64, Range<i64>)>,
}

fn identity(id: i64) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0))
}

impl Life {
    fn now(&self) -> Timestamp {
        self.bench.clock_now()
    }

    fn append(&mut self, log: &PartitionLog) {
        let id = self.random.random_range(0..4);
        let now = self.now();
        if id > 0 && self.random.random_bool(0.35) {
            let kind = match self.random.random_bool(0.5) {
                true => MarkerKind::Commit,
                false => MarkerKind::Abort,
            };
            let marker = Marker { kind, coordinator_epoch: 0 };
            let appended = log.append_marker(identity(id), marker, now).unwrap();
            return self.note(appended.base_offset, Vec::new(), What::Marker(id, kind));
        }
        let count = self.random.random_range(1..4);
        let mut records = Vec::new();
        for _ in 0..count {
            self.number += 1;
            let key = format!("key {}", self.random.random_range(0..6));
            let value = self.random.random_bool(0.8).then(|| format!("value {}", self.number));
            records.push((key, value));
        }
        let rules = log.batch_rules(now);
        let sent: Vec<_> = records
            .iter()
            .map(|(key, value)| {
                value.as_deref().map_or(Record::tombstone(), Record::new).key(key.as_str())
            })
            .collect();
        let batch = BorrowedBatch::measure(&sent, &rules).unwrap();
        let claim = (id > 0).then(|| ProducerClaim {
            identity: identity(id),
            sequence: None,
            transactional: true,
        });
        let appended = log.append(&Produced { batch: &batch, claim }, now).unwrap();
        let what = if id > 0 { What::Data(id) } else { What::Plain };
        self.note(appended.base_offset, records, what);
    }

    fn note(&mut self, first: Offset, records: Vec<(String, Option<String>)>, what: What) {
        assert_eq!(first.get(), self.end, "seed {}", self.seed);
        self.end += i64::try_from(records.len().max(1)).unwrap();
        self.batches.push(Batched { first: first.get(), records, what });
    }

    fn reference(&self) -> Reference {
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        let mut made = Reference::default();
        for batch in &self.batches {
            match batch.what {
                What::Plain => {}
                What::Data(id) => drop(open.entry(id).or_insert(batch.first)),
                What::Marker(id, kind) => {
                    if let (Some(first), MarkerKind::Abort) = (open.remove(&id), kind) {
                        made.left_out.push((id, first..batch.first));
                    }
                }
            }
        }
        made.stable = open.values().min().copied().unwrap_or(self.end);
        for batch in self.batches.iter().take_while(|batch| batch.first < made.stable) {
            let aborted = |(id, range): &(i64, Range<i64>)| {
                batch.what == What::Data(*id) && range.contains(&batch.first)
            };
            if !made.left_out.iter().any(aborted) {
                made.committed.extend((batch.first..).zip(batch.records.iter().cloned()));
            }
        }
        made
    }

    fn check(&self, log: &PartitionLog) {
        let (seed, made) = (self.seed, self.reference());
        let offsets = log.offsets().snapshot();
        assert_eq!((offsets.end.get(), offsets.last_stable().get()), (self.end, made.stable));
        let read = read_committed(log);
        assert!(read.is_sorted_by(|one, other| one.0 < other.0), "seed {seed}");
        for (offset, key, value) in &read {
            let wanted = made.committed.get(offset);
            assert_eq!(wanted, Some(&(key.clone(), value.clone())), "seed {seed}: {offset}");
        }
        let wanted = fold(made.committed.values().map(|(key, value)| (key, value)));
        let found = fold(read.iter().map(|(_, key, value)| (key, value)));
        assert_eq!(found, wanted, "seed {seed}");
        let lying = lying(log);
        for batch in self.batches.iter().filter(|batch| batch.first >= made.stable) {
            let count = batch.records.len().max(1);
            let here = lying.iter().find(|lying| lying.offsets.0 == batch.first);
            let here = here.map(|here| here.count as usize);
            assert_eq!(here, Some(count), "seed {seed}: at and above the last stable offset");
        }
    }

    /// What is left once everything is decided and every horizon is over.
    fn check_the_rest(&self, log: &PartitionLog) {
        let (seed, lying) = (self.seed, lying(log));
        let made = self.reference();
        let sealed = log.sealed();
        let compacted = sealed.last().map_or(0, |last| last.end.get());
        for batch in lying.iter().filter(|batch| batch.offsets.1 < compacted) {
            let aborted = |(id, range): &(i64, Range<i64>)| {
                batch.producer == Some(*id) && range.contains(&batch.offsets.0)
            };
            let is_aborted = batch.transactional && made.left_out.iter().any(aborted);
            assert!(!is_aborted || batch.control || batch.count == 0, "seed {seed}: {batch:?}");
        }
        for entry in log.aborted().marked_in(Offset::ZERO..Offset::new(compacted)) {
            let of_it = |batch: &&Lying| {
                batch.producer == Some(entry.producer_id.get())
                    && (entry.first.get()..entry.last.get()).contains(&batch.offsets.0)
            };
            assert!(lying.iter().any(|batch| of_it(&batch)), "seed {seed}: {entry:?}");
        }
        let markers = lying.iter().filter(|batch| batch.control && batch.offsets.1 < compacted);
        // each waits for a batch of its transaction, or is the last of a segment or producer
        let data = lying.iter().filter(|batch| batch.transactional && !batch.control).count();
        let most = data + sealed.len() + 3;
        assert!(markers.clone().count() <= most, "seed {seed}: {:?}", markers.collect::<Vec<_>>());
    }
}

fn read_committed(log: &PartitionLog) -> Read {
    let limits = FetchLimits { isolation: IsolationLevel::ReadCommitted, ..LIMITS };
    let (mut from, mut all) = (log.offsets().snapshot().start, Vec::new());
    loop {
        let fetched = log.fetch(from, None, limits).unwrap();
        let Some(chunk) = &fetched.chunk else { return all };
        let mut left = &chunk.bytes[..];
        while !left.is_empty() {
            let size = Batch::verify(left).unwrap().header().size();
            let base = Batch::verify(left).unwrap().header().base_offset();
            if !fetched.aborted.contains(&base) {
                all.extend(taken(&left[..size], from.get()));
            }
            left = &left[size..];
        }
        from = fetched.next_offset;
    }
}

fn lying(log: &PartitionLog) -> Vec<Lying> {
    let (mut from, mut all) = (log.offsets().snapshot().start, Vec::new());
    loop {
        let fetched = log.fetch(from, None, LIMITS).unwrap();
        let Some(chunk) = &fetched.chunk else { return all };
        let mut left = &chunk.bytes[..];
        while !left.is_empty() {
            let batch = Batch::verify(left).unwrap();
            let header = batch.header();
            left = &left[header.size()..];
            all.push(Lying {
                offsets: (header.base_offset().get(), header.last_offset().get()),
                producer: header.producer_id().map(|id| id.get()),
                transactional: header.is_transactional(),
                control: header.is_control(),
                count: header.count(),
            });
        }
        from = fetched.next_offset;
    }
}

fn live(seed: u64) {
    let bench = Bench::new();
    let random = StdRng::seed_from_u64(seed);
    let mut life = Life { seed, random, bench, batches: Vec::new(), end: 0, number: 0 };
    let (mut log, _) = life.bench.open(LastStop::Clean);
    for _ in 0..12 {
        for _ in 0..life.random.random_range(5..25) {
            life.append(&log);
        }
        life.bench.clock.advance(Duration::from_secs(life.random.random_range(0..100_000)));
        life.bench.seal(&log);
        let settings = life.bench.settings();
        if let Some(mut pass) = Pass::begin(&log, Offset::ZERO, settings).unwrap() {
            while pass.step(&log, &life.bench.kept).unwrap() == Progress::More {}
        }
        life.check(&log);
        match life.random.random_range(0..4) {
            0 => log = life.bench.reopen(log),
            1 => {
                // killed: what is known of the transactions comes from the files and the log
                drop(log);
                log = life.bench.open(LastStop::KilledSameBoot).0;
            }
            _ => {}
        }
        life.check(&log);
    }
    for id in 1..4 {
        let marker = Marker { kind: MarkerKind::Commit, coordinator_epoch: 0 };
        let at = log.append_marker(identity(id), marker, life.now()).unwrap().base_offset;
        life.note(at, Vec::new(), What::Marker(id, MarkerKind::Commit));
    }
    // segments join until none is small; each ends in a batch, emptied or not
    for _ in 0..8 {
        life.bench.compact_from(&log, 0, life.bench.settings()).unwrap();
        life.bench.clock.advance(DAY * 2);
    }
    life.check(&log);
    life.check_the_rest(&log);
    let log = life.bench.reopen(log);
    life.check(&log);
}

#[test]
fn what_was_committed_stays_and_the_rest_goes() {
    println!("replay: TIDELOG_SEED=N cargo test --lib compact::tests::transactions");
    for seed in seeds(40, 150, 10_000) {
        live(seed);
    }
}

#[test]
fn an_open_transaction_keeps_all_behind_it_from_compaction() {
    let bench = Bench::new();
    let random = StdRng::seed_from_u64(1);
    let mut life = Life { seed: 0, random, bench, batches: Vec::new(), end: 0, number: 0 };
    let (log, _) = life.bench.open(LastStop::Clean);
    while life.reference().stable == life.end {
        life.append(&log);
    }
    let open = life.reference().stable;
    for _ in 0..40 {
        life.bench.put(&log, "k", Some("v"));
    }
    life.bench.seal(&log);
    let above = || lying(&log).into_iter().filter(|batch| batch.offsets.0 >= open);
    let before: Vec<_> = above().collect();
    if let Some(mut pass) = Pass::begin(&log, Offset::ZERO, life.bench.settings()).unwrap() {
        while pass.step(&log, &life.bench.kept).unwrap() == Progress::More {}
    }
    assert!(before.len() > 40 && above().eq(before), "seed {}", life.seed);
}

/// What compaction leaves of the producer, an emptied batch, says how far it has come where nothing
/// else does.
#[test]
fn a_producer_whose_records_are_compacted_away_is_known_once_its_snapshots_are_lost() {
    let mut bench = Bench::new();
    let (log, _) = bench.open(LastStop::Clean);
    let now = bench.clock_now();
    for _ in 0..3 {
        let records = [Record::new("superseded").key("k")];
        let batch = BorrowedBatch::measure(&records, &log.batch_rules(now)).unwrap();
        let claim = Some(ProducerClaim::next(identity(7)));
        log.append(&Produced { batch: &batch, claim }, now).unwrap();
    }
    for _ in 0..20 {
        bench.put(&log, "k", Some("the last"));
    }
    bench.seal(&log);
    bench.compact_from(&log, 0, bench.settings()).unwrap();
    let of_producer: Vec<_> = lying(&log).into_iter().filter(|it| it.producer.is_some()).collect();
    assert_eq!(of_producer.iter().map(|it| it.count).collect::<Vec<_>>(), [0], "{of_producer:?}");
    log.close().unwrap();
    for entry in bench.disk.list(Path::new(DIR)).unwrap() {
        if entry.name.ends_with(SegmentFile::ProducerSnapshot.suffix()) {
            bench.disk.remove_file(&Path::new(DIR).join(&entry.name)).unwrap();
        }
    }
    let (log, _) = bench.open(LastStop::Clean);
    assert_eq!(log.next_sequence(identity(7), bench.clock_now()).unwrap().get(), 3);
}
