//! Compaction of what producers and transactions wrote: partitions that a host of its own left,
//! adopted by a store whose topic is compacted then.

use super::*;
use std::ops::ControlFlow;
use tidelog::{CleanupPolicy, Dump, DumpedControl, Store, Threads};

const ROOT: &str = "/logs";

/// A store over the bench's disk, with a compacted topic.
struct Cleaned {
    store: Store,
    bench: Bench,
}

/// A batch that is left: its first offset, records, and marker, or delete horizon.
#[derive(Debug, PartialEq)]
struct Left {
    offset: i64,
    keys: Vec<Vec<u8>>,
    marker: bool,
    horizon: bool,
}

impl Cleaned {
    fn of(bench: Bench, log: &Log) -> Cleaned {
        log.close().expect("it closes");
        for ours in ["tidelog.keeper", "tidelog.aborted", "tidelog.producers", ".lock"] {
            bench.remove(ours);
        }
        let builder = Store::builder(ROOT).disk(bench.disk.clone()).clock(bench.clock.clone());
        let store = builder.threads(Threads::Host).open().expect("a store");
        let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact).segment_bytes(1_024);
        let config = config.min_cleanable_dirty_ratio(0.0).delete_retention(seconds(3_600));
        store.alter_topic("orders", config).expect("a policy");
        let cleaned = Cleaned { store, bench };
        cleaned.settle();
        cleaned
    }

    fn settle(&self) {
        for _ in 0..60 {
            self.bench.clock.advance(Duration::from_millis(100));
            self.store.run_maintenance();
        }
    }

    /// Appends what seals the active segment, lets time pass, and compacts.
    fn pass(&self, time: Duration) {
        self.bench.clock.advance(time);
        let topic = self.store.producer().build().expect("a producer").topic("orders");
        let topic = topic.expect("there");
        for _ in 0..6 {
            topic.send(Record::new(&big()).key("filler")).expect("an append");
        }
        self.store.flush().expect("a sync");
        self.settle();
        self.bench.clock.advance(seconds(300));
        self.settle();
    }

    /// What is left below an offset.
    fn left(&self, below: i64) -> Vec<Left> {
        self.store.flush().expect("a sync");
        let dump = Dump::open_on(ROOT, self.bench.disk.clone()).expect("it opens");
        let mut left = Vec::new();
        let partition = dump.partitions().iter().find(|it| it.topic() == Some("orders"));
        partition
            .expect("there")
            .read(|batch| {
                if batch.base_offset < off(below) {
                    let key = |key: Option<&[u8]>| key.map(<[u8]>::to_vec).unwrap_or_default();
                    let records = batch.records().expect("they parse");
                    let keys = records.map(|it| key(it.expect("it parses").key));
                    let keys: Vec<_> = keys.collect();
                    let is_end = |it: &DumpedControl| !matches!(it, DumpedControl::Emptied);
                    let marker = batch.control.as_ref().is_some_and(is_end);
                    let horizon = batch.delete_horizon.is_some();
                    let keys = if marker { Vec::new() } else { keys };
                    left.push(Left { offset: batch.base_offset.get(), keys, marker, horizon });
                }
                ControlFlow::Continue(())
            })
            .expect("it reads");
        left
    }

    fn offsets(&self) -> Vec<i64> {
        let mut reader = self.store.reader().assign([("orders", 0)]).build().expect("a reader");
        reader.seek_to_beginning("orders", 0).expect("it seeks");
        let mut found = Vec::new();
        for records in reader.read_to_end().expect("an end") {
            found.extend(records.expect("it reads").iter().map(|record| record.offset().get()));
        }
        found
    }
}

fn bench() -> (Bench, Log) {
    Bench::new(TopicConfig::new().segment_bytes(1_024))
}

fn keyed(log: &Log, keys: &[&str]) -> Vec<i64> {
    let value = big();
    let append = |key: &&str| log.append(&[Record::new(&value).key(key)]).expect("an append");
    keys.iter().map(append).map(|receipt| receipt.first_offset().get()).collect()
}

fn keyed_by(log: &Log, us: ProducerIdentity, keys: &[&str]) {
    let records: Vec<_> = keys.iter().map(|key| Record::new("value").key(*key)).collect();
    let next = log.next_sequence(us).expect("not fenced");
    log.append_transactional(&records, us, next).expect("an append");
}

#[test]
fn records_keep_their_offsets_and_the_log_its_end() {
    let (bench, log) = bench();
    keyed(&log, &["a", "b", "a", "c", "b", "a", "x", "y", "z", "x"]);
    let cleaned = Cleaned::of(bench, &log);
    let found = cleaned.offsets();
    assert!(!found.contains(&0) && !found.contains(&1) && !found.contains(&2), "{found:?}");
    assert!([3, 4, 5].iter().all(|kept| found.contains(kept)), "{found:?}");
    let partition = cleaned.store.partition("orders", 0).expect("there");
    assert_eq!(partition.end_offset().expect("open"), off(10));
    assert_eq!(partition.start_offset().expect("open"), off(0));
}

#[test]
fn the_active_segment_is_left_alone() {
    let (bench, log) = bench();
    keyed(&log, &["a", "a", "b", "b"]);
    let active = bench.segments().last().copied().expect("one");
    keyed(&log, &[]);
    let cleaned = Cleaned::of(bench, &log);
    let found = cleaned.offsets();
    assert!((active..4).all(|offset| found.contains(&offset)), "{found:?} from {active} on");
}

#[test]
fn what_was_aborted_goes_and_supersedes_nothing() {
    let (bench, log) = bench();
    keyed(&log, &["a", "b"]); // 0, 1
    keyed_by(&log, by(1, 0), &["a", "b"]); // 2, 3
    end(&log, by(1, 0), MarkerKind::Abort); // 4
    keyed(&log, &["x", "y", "z", "w", "x", "y"]);
    let cleaned = Cleaned::of(bench, &log);
    let found = cleaned.offsets();
    assert!(found.starts_with(&[0, 1]), "{found:?}");
    let left = cleaned.left(5);
    assert!(left.iter().all(|it| !(2..4).contains(&it.offset) || it.keys.is_empty()), "{left:?}");
}

#[test]
fn what_was_committed_supersedes_and_is_superseded() {
    let (bench, log) = bench();
    keyed(&log, &["a", "b"]); // 0, 1
    keyed_by(&log, by(1, 0), &["a", "c"]); // 2, 3
    end(&log, by(1, 0), MarkerKind::Commit); // 4
    keyed(&log, &["c", "y", "z", "w", "x", "y", "x"]); // 5..
    let cleaned = Cleaned::of(bench, &log);
    let found = cleaned.offsets();
    assert!(found.starts_with(&[1, 2, 5]), "{found:?}");
}

#[test]
fn nothing_from_an_open_transaction_on_is_compacted() {
    let (bench, log) = bench();
    keyed(&log, &["a", "a", "b"]); // 0, 1, 2
    keyed_by(&log, by(1, 0), &["t"]); // 3
    let behind = keyed(&log, &["k", "k", "k", "k", "k", "k"]);
    let cleaned = Cleaned::of(bench, &log);
    let left: Vec<_> = cleaned.left(99).iter().map(|it| it.offset).collect();
    assert!(behind.iter().all(|offset| left.contains(offset)), "{left:?}");
    assert_eq!(cleaned.offsets(), left.into_iter().take_while(|it| *it < 3).collect::<Vec<_>>());
}

#[test]
fn a_marker_stays_for_its_time_once_its_records_are_gone() {
    for kind in [MarkerKind::Commit, MarkerKind::Abort] {
        let (bench, log) = bench();
        keyed_by(&log, by(1, 0), &["a"]); // 0
        let marker = end(&log, by(1, 0), kind); // 1
        keyed_by(&log, by(1, 0), &["last"]); // 2: what tells how far the producer has come
        end(&log, by(1, 0), MarkerKind::Commit);
        keyed(&log, &["a", "x", "y", "z", "w", "v"]);
        let cleaned = Cleaned::of(bench, &log);
        let at_marker = |cleaned: &Cleaned| {
            let left = cleaned.left(2);
            left.into_iter().find(|it| it.offset == marker).map(|it| (it.marker, it.horizon))
        };
        assert!(at_marker(&cleaned).is_some_and(|(marker, _)| marker), "{kind:?}: it is there");
        cleaned.pass(seconds(1));
        assert_eq!(at_marker(&cleaned), Some((true, true)), "{kind:?}: its time has begun");
        cleaned.pass(seconds(600));
        assert_eq!(at_marker(&cleaned), Some((true, true)), "{kind:?}: its time is not over");
        cleaned.pass(seconds(3_600));
        assert!(!at_marker(&cleaned).is_some_and(|(marker, _)| marker), "{kind:?}: it is");
    }
}

#[test]
fn a_marker_stays_while_a_record_of_its_transaction_does() {
    let (bench, log) = bench();
    keyed_by(&log, by(1, 0), &["kept"]); // 0
    let marker = end(&log, by(1, 0), MarkerKind::Commit);
    keyed(&log, &["a", "x", "y", "z", "w", "v"]);
    let cleaned = Cleaned::of(bench, &log);
    for _ in 0..3 {
        cleaned.pass(seconds(7_200));
    }
    let left = cleaned.left(2);
    assert_eq!(
        left.iter().map(|it| (it.offset, it.marker)).collect::<Vec<_>>(),
        [(0, false), (marker, true)]
    );
    assert_eq!((cleaned.offsets()[0], left[1].horizon), (0, false));
}

#[test]
fn the_last_batch_of_a_producer_stays_without_its_records() {
    let (bench, log) = bench();
    for number in 0..3 {
        let records = [Record::new(&[7; 20]).key("k")];
        log.append_produced(&records, by(7, 2), seq(number)).expect("the next"); // 0, 1, 2
    }
    keyed(&log, &["k", "x", "y", "z", "w", "v"]);
    let cleaned = Cleaned::of(bench, &log);
    cleaned.pass(seconds(1));
    let left = cleaned.left(3);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((left[0].offset, left[0].keys.len()), (2, 0));
    assert!(cleaned.offsets()[0] > 2);
    let known = cleaned.store.partition("orders", 0).expect("there").producers().expect("open");
    let ours = known.iter().find(|it| it.identity() == by(7, 2)).expect("known");
    assert_eq!(ours.last_sequence(), Some(seq(2)));
    cleaned.store.close().expect("it closes");
    let log = cleaned.bench.copied(".log").open();
    let again = send(&log, by(7, 2), 2, 1).expect("known");
    assert!(again.is_duplicate(), "told by the emptied batch alone");
    assert_eq!(again.first_offset(), off(2));
}

#[test]
fn a_last_batch_that_was_aborted_stays_without_its_records_and_with_its_marker() {
    let (bench, log) = bench();
    keyed_by(&log, by(1, 0), &["a", "b"]); // 0, 1
    let marker = end(&log, by(1, 0), MarkerKind::Abort);
    keyed(&log, &["c", "x", "y", "z", "w", "v"]);
    let cleaned = Cleaned::of(bench, &log);
    for _ in 0..3 {
        cleaned.pass(seconds(3_000));
    }
    let left = cleaned.left(3);
    let found: Vec<_> = left.iter().map(|it| (it.offset, it.keys.len(), it.marker)).collect();
    assert!(found.contains(&(marker, 0, true)), "{found:?}");
    assert!(found.iter().all(|(_, keys, _)| *keys == 0), "{found:?}");
    assert_eq!(cleaned.offsets()[0], 3);
}

#[test]
fn a_key_that_looks_like_a_markers_is_a_key() {
    let (bench, log) = bench();
    let commits: &[u8] = &[0, 0, 0, 1];
    log.append(&[Record::new("mine").key(commits)]).expect("an append"); // 0
    keyed_by(&log, by(1, 0), &["t"]); // 1
    end(&log, by(1, 0), MarkerKind::Commit); // 2, whose key is the same
    keyed(&log, &["c", "x", "y", "z", "w", "v"]);
    let cleaned = Cleaned::of(bench, &log);
    cleaned.pass(seconds(1));
    assert!(cleaned.offsets().starts_with(&[0, 1]), "{:?}", cleaned.offsets());
    assert!(cleaned.left(3).iter().any(|it| it.marker));
}

#[test]
fn a_tombstone_stays_for_its_time_and_takes_the_value_at_once() {
    let (bench, log) = bench();
    keyed(&log, &["gone"]); // 0
    log.append(&[Record::tombstone().key("gone")]).expect("an append"); // 1
    keyed(&log, &["c", "x", "y", "z", "w", "v"]);
    let cleaned = Cleaned::of(bench, &log);
    let horizons = |cleaned: &Cleaned| -> Vec<_> {
        cleaned.left(2).iter().map(|it| (it.offset, it.horizon)).collect()
    };
    assert_eq!(horizons(&cleaned), [(1, true)], "the first pass begins its time");
    cleaned.pass(seconds(1_800));
    assert_eq!(horizons(&cleaned), [(1, true)]);
    cleaned.pass(seconds(3_600));
    assert_eq!(horizons(&cleaned), []);
}

#[test]
fn records_without_keys_from_before_the_policy_stay() {
    let (bench, log) = bench();
    fill(&log, 4);
    keyed(&log, &["a", "a", "x", "y", "z"]);
    let cleaned = Cleaned::of(bench, &log);
    cleaned.pass(seconds(1));
    assert!(cleaned.offsets().starts_with(&[0, 1, 2, 3, 5]), "{:?}", cleaned.offsets());
}
