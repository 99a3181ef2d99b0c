//! Passes over one log: what they leave and how they end. `beside` has what goes on meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{IsolationLevel, Packing, TopicConfig};
use crate::disk::names::SegmentFile;
use crate::disk::{Access, Disk, MemoryDisk, read_full_at, write_all_at};
use crate::error::Result;
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};
use crate::log::{
    Attention, Cursor, Durable, FetchLimits, Keeper, KnownFacts, LastStop, LogFact, LogId, LogName,
    LogSetup, PartitionLog,
};
use crate::record::{Batch, BatchRules, BorrowedBatch, PlainLimit, Record, TimestampRule};
use crate::sync::Mutex;
use crate::time::{ManualClock, Timestamp};

mod beside;
mod transactions;
#[cfg(feature = "gzip")]
mod unreadable;
mod vouching;

const DIR: &str = "/state-0";
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
struct Unattended;

impl Attention for Unattended {
    fn dirty(&self, _: Option<Duration>) {}
    fn due(&self) {}
}

/// Remembers what it was told, for the next open.
#[derive(Debug, Default)]
struct Kept(Mutex<[i64; 3]>);

impl Keeper for Kept {
    fn record(&self, facts: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        let mut kept = self.0.lock();
        for (_, fact) in facts {
            match fact {
                LogFact::RecoveryPoint(offset) => kept[0] = offset.get(),
                LogFact::LogStart(offset) => kept[1] = offset.get(),
                LogFact::Compacted(offset) => kept[2] = offset.get(),
                _ => panic!("the disk is well, and nobody leads"),
            }
        }
        Ok(())
    }
}

/// A log on a disk of its own, and what was appended to it.
struct Bench {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
    id: LogId,
    kept: Kept,
    /// What a batch may take decompressed for it to be read.
    plain: PlainLimit,
    /// Key and value by offset.
    history: BTreeMap<i64, (String, Option<String>)>,
}

type Read = Vec<(i64, String, Option<String>)>;

impl Bench {
    fn new() -> Self {
        let disk = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new(DIR)).unwrap();
        Bench {
            disk,
            clock: ManualClock::new(Timestamp::from_millis(1_000_000)),
            id: LogId { topic: TopicId::random(), partition: PartitionId::new(0) },
            kept: Kept::default(),
            plain: PlainLimit::DEFAULT,
            history: BTreeMap::new(),
        }
    }

    fn open(&self, last_stop: LastStop) -> (PartitionLog, usize) {
        let config = TopicConfig::new().segment_bytes(1024).index_interval_bytes(0);
        let setup = LogSetup {
            name: LogName { topic: Arc::from("state"), partition: PartitionId::new(0) },
            id: self.id,
            config: Arc::new(config),
            clock: Arc::new(self.clock.clone()),
            sync_after: None,
            attention: Arc::new(Unattended),
            pinned: Arc::default(),
            journal: None,
            plain: self.plain,
        };
        let [point, start, compacted] = *self.kept.0.lock();
        let known = KnownFacts {
            recovery_point: Offset::new(point),
            log_start: Offset::new(start),
            last_stop,
            adopted: false,
            ours_from: None,
            compacted: Offset::new(compacted),
            sparse: Offset::ZERO,
            host_led: None,
            sync_failed: false,
        };
        let (log, report) = PartitionLog::open(&self.disk, Path::new(DIR), setup, known).unwrap();
        log.begin_epoch(LeaderEpoch::new(log.latest_epoch().map_or(0, |last| last.get() + 1)));
        (log, report.damage().len())
    }

    fn reopen(&self, log: PartitionLog) -> PartitionLog {
        let point = log.close().unwrap();
        self.kept.record(&[(self.id, LogFact::RecoveryPoint(point))], Durable::Now).unwrap();
        drop(log);
        let (log, damage) = self.open(LastStop::Clean);
        assert_eq!(damage, 0);
        log
    }

    fn put(&mut self, log: &PartitionLog, key: &str, value: Option<&str>) -> i64 {
        self.put_batch(log, &[(key, value)])
    }

    fn put_batch(&mut self, log: &PartitionLog, changes: &[(&str, Option<&str>)]) -> i64 {
        let now = self.clock_now();
        let rules = BatchRules {
            timestamps: TimestampRule::Append { now },
            max_bytes: 1 << 20,
            keyed: false,
            tagged: false,
            packing: Packing::default(),
        };
        let records: Vec<_> = changes
            .iter()
            .map(|(key, value)| value.map_or(Record::tombstone(), Record::new).key(*key))
            .collect();
        let batch = BorrowedBatch::measure(&records, &rules).unwrap();
        let base = log.append(&batch, now).unwrap().base_offset.get();
        for (at, (key, value)) in (base..).zip(changes) {
            self.history.insert(at, ((*key).to_owned(), value.map(str::to_owned)));
        }
        base
    }

    fn clock_now(&self) -> Timestamp {
        use crate::time::Clock as _;
        self.clock.wall()
    }

    fn settings(&self) -> Settings {
        Settings { step_bytes: 300, ..Settings::at(self.clock_now()) }
    }

    /// Seals all there is, so that the next pass sees it.
    fn seal(&self, log: &PartitionLog) {
        log.roll_active(self.clock_now()).unwrap();
        let point = log.checkpoint().unwrap();
        self.kept.record(&[(self.id, LogFact::RecoveryPoint(point))], Durable::Now).unwrap();
        log.recovery_point_recorded(point);
    }

    fn compact_from(&self, log: &PartitionLog, from: i64, settings: Settings) -> Result<Done> {
        self.seal(log);
        let mut pass = Pass::begin(log, Offset::new(from), settings)?.expect("something sealed");
        loop {
            if let Progress::Done(done) = pass.step(log, &self.kept)? {
                return Ok(done);
            }
        }
    }

    /// Passes until one frees nothing: each joins what the one before has made small enough.
    fn compact(&self, log: &PartitionLog) -> u64 {
        let mut freed = 0;
        loop {
            let done = self.compact_from(log, 0, self.settings()).unwrap();
            assert_eq!(done.next_from, log.offsets().end());
            freed += done.freed;
            if done.freed == 0 {
                return freed;
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = self.disk.list(Path::new(DIR)).unwrap();
        let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }

    /// The state as the history has it.
    fn state(&self) -> BTreeMap<String, String> {
        fold(self.history.iter().map(|(_, (key, value))| (key, value)))
    }

    /// What is read is of the history, in order, gives its state, and ends where it ends.
    fn check(&self, log: &PartitionLog) -> Read {
        let read = read(log);
        assert!(read.is_sorted_by(|one, other| one.0 < other.0));
        for (offset, key, value) in &read {
            assert_eq!(self.history.get(offset), Some(&(key.clone(), value.clone())), "{offset}");
        }
        assert_eq!(fold(read.iter().map(|(_, key, value)| (key, value))), self.state());
        let end = self.history.keys().next_back().map_or(0, |last| last + 1);
        assert_eq!(log.offsets().end().get(), end);
        read
    }
}

fn fold<'a>(
    records: impl Iterator<Item = (&'a String, &'a Option<String>)>,
) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for (key, value) in records {
        match value {
            Some(value) => drop(state.insert(key.clone(), value.clone())),
            None => drop(state.remove(key)),
        }
    }
    state
}

const LIMITS: FetchLimits = FetchLimits {
    bytes: 400,
    records: u64::MAX,
    durable_only: false,
    isolation: IsolationLevel::ReadUncommitted,
};

fn taken(chunk: &[u8], from: i64) -> Read {
    let mut left = chunk;
    let mut read = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    while !left.is_empty() {
        let batch = Batch::verify(left).unwrap();
        left = &left[batch.header().size()..];
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            if record.offset().get() >= from {
                let key = text(record.key().unwrap());
                read.push((record.offset().get(), key, record.value().map(text)));
            }
        }
    }
    read
}

fn read_from(log: &PartitionLog, mut from: Offset, mut cursor: Option<Cursor>) -> Read {
    let mut all = Vec::new();
    loop {
        let fetched = log.fetch(from, cursor.as_ref(), LIMITS).unwrap();
        let Some(chunk) = &fetched.chunk else { return all };
        all.extend(taken(&chunk.bytes, from.get()));
        (from, cursor) = (fetched.next_offset, fetched.cursor);
    }
}

fn read(log: &PartitionLog) -> Read {
    read_from(log, log.offsets().snapshot().start, None)
}

/// Forty values of four keys, in batches of two, over several segments.
fn filled(bench: &mut Bench) -> PartitionLog {
    let (log, _) = bench.open(LastStop::Clean);
    for round in 0..40 {
        let value = format!("value {round}");
        let keys = ["a", "b", "c", "d"];
        let (one, other) = (keys[round % 4], keys[(round * 7 + 1) % 4]);
        bench.put_batch(&log, &[(one, Some(&value)), (other, Some(&value))]);
    }
    log
}

#[test]
fn the_state_stays_and_the_rest_goes() {
    let mut bench = Bench::new();
    let log = filled(&mut bench);
    let before = log.size();
    assert!(before.1 > 3, "several segments");
    let freed = bench.compact(&log);
    let after = bench.check(&log);
    assert_eq!(after.len(), 4, "one record a key: {after:?}");
    assert_eq!(log.size(), (before.0 - freed, 2), "one segment, and the active one");
    assert!(log.size().0 < 500, "{:?}", log.size());
    let files = ["digest", "index", "log"].map(|kind| format!("00000000000000000000.{kind}"));
    assert_eq!(bench.names()[..3], files, "nothing is left beside: {:?}", bench.names());
    assert_eq!(bench.names().iter().filter(|name| name.ends_with(".log")).count(), 2);
    // every offset can be asked for, those that are gone too, and by time
    for from in 0..=80 {
        let read = read_from(&log, Offset::new(from), None);
        let expected: Vec<_> = after.iter().filter(|record| record.0 >= from).cloned().collect();
        assert_eq!(read, expected, "from {from}");
    }
    assert!(
        log.find_timestamp(Timestamp::from_millis(1), IsolationLevel::ReadUncommitted)
            .unwrap()
            .is_some()
    );
    assert!(log.counters().compactions.get() > 0);
    assert_eq!(log.counters().compacted_bytes.get(), freed);
    // appends go on, and a second pass joins what was added
    bench.put(&log, "a", Some("new"));
    bench.compact(&log);
    assert_eq!(bench.check(&log).len(), 4);
    let log = bench.reopen(log);
    assert_eq!(bench.check(&log).len(), 4);
}

#[test]
fn a_pass_that_finds_nothing_changes_nothing() {
    let mut bench = Bench::new();
    let log = filled(&mut bench);
    bench.compact(&log);
    let (names, swaps) = (bench.names(), log.counters().compactions.get());
    assert_eq!((bench.compact(&log), log.counters().compactions.get()), (0, swaps));
    assert_eq!(bench.names(), names);
}

#[test]
fn the_end_never_moves_back() {
    let mut bench = Bench::new();
    let (log, _) = bench.open(LastStop::Clean);
    for _ in 0..30 {
        bench.put(&log, "a", Some("superseded by what is not sealed yet"));
    }
    bench.seal(&log);
    // everything sealed is superseded, its last batch too, once the newest is sealed as well
    bench.put(&log, "a", None);
    bench.compact(&log);
    bench.clock.advance(2 * DAY);
    bench.compact(&log);
    assert_eq!(bench.check(&log), [], "the tombstone has gone too");
    for stop in [LastStop::Clean, LastStop::PowerCut, LastStop::KilledSameBoot] {
        let (log, damage) = bench.open(stop);
        assert_eq!((damage, log.offsets().end().get()), (0, 31), "{stop:?}");
        bench.check(&log);
    }
    let log = bench.reopen(log);
    assert_eq!(bench.put(&log, "a", Some("again")), 31);
    bench.check(&log);
}

#[test]
fn a_tombstone_stays_for_a_day_from_the_first_pass_on() {
    let mut bench = Bench::new();
    let (log, _) = bench.open(LastStop::Clean);
    bench.put(&log, "a", Some("1"));
    bench.put(&log, "b", Some("1"));
    let at = bench.put(&log, "a", None);
    bench.clock.advance(3 * DAY);
    let tombstone = (at, "a".to_owned(), None);
    for wait in [DAY / 2, DAY / 2 - Duration::from_millis(1), Duration::from_millis(1)] {
        bench.compact(&log);
        let read = bench.check(&log);
        assert!(read.contains(&tombstone), "however old it is");
        assert_eq!(read.len(), 2, "what it hides goes at once");
        bench.clock.advance(wait);
    }
    bench.compact(&log);
    assert_eq!(bench.check(&log).len(), 1);
}

#[test]
fn a_full_map_makes_progress_pass_by_pass() {
    let mut bench = Bench::new();
    let (log, _) = bench.open(LastStop::Clean);
    for round in 0..3 {
        for key in 0..20 {
            bench.put(&log, &format!("key {key}"), Some(&format!("round {round}")));
        }
    }
    let (mut from, mut passes) = (0, 0);
    while from < 60 {
        let settings = Settings { most_keys: 7, ..bench.settings() };
        let done = bench.compact_from(&log, from, settings).unwrap();
        assert!(done.next_from.get() >= from + 7 || done.next_from.get() == 60, "{done:?}");
        from = done.next_from.get();
        passes += 1;
        bench.check(&log);
    }
    assert!(passes > 3);
    assert_eq!(bench.check(&log).len(), 20);
}

fn bytes(bench: &Bench, path: &Path) -> Vec<u8> {
    let file = bench.disk.open(path, Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_full_at(&*file, &mut bytes, 0).unwrap();
    bytes
}

fn log_path(base: i64) -> PathBuf {
    Path::new(DIR).join(format!("{base:020}{}", SegmentFile::Log.suffix()))
}

#[test]
fn gaps_are_damage_where_compaction_has_not_been() {
    let mut bench = Bench::new();
    let log = filled(&mut bench);
    bench.compact(&log);
    let compacted = bench.kept.0.lock()[2];
    assert_eq!(compacted, 80);
    for round in 0..40 {
        bench.put(&log, "e", Some(&format!("value {round}")));
    }
    let log = bench.reopen(log);
    bench.check(&log);
    let bases: Vec<i64> =
        bench.names().iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    assert!(bases.len() > 4, "{bases:?}");
    drop(log);
    // a file in the middle of what was never compacted
    bench.disk.remove_file(&log_path(bases[2])).unwrap();
    let (log, _) = bench.open(LastStop::Clean);
    let missing = Offset::new(bases[2]);
    assert!(log.fetch(missing, None, LIMITS).unwrap_err().is_corrupt());
    drop(log);
    // the first, which compaction wrote and never takes away
    bench.disk.remove_file(&log_path(0)).unwrap();
    let (log, damage) = bench.open(LastStop::Clean);
    assert!(damage > 0);
    assert!(log.fetch(Offset::ZERO, None, LIMITS).unwrap_err().is_corrupt());
}
