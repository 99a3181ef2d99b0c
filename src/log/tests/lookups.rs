//! Looking offsets up by time and place, against a list of what was appended.

use super::*;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::time::Duration;

/// Random batches over a few segments; the timestamps by offset.
fn filled(bench: &Bench, random: &mut StdRng) -> (PartitionLog, Vec<i64>) {
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut times = Vec::new();
    let now = Timestamp::from_millis(100);
    for _ in 0..random.random_range(1..40) {
        let batch: Vec<i64> =
            (0..random.random_range(1..6)).map(|_| random.random_range(0..90)).collect();
        let record = |time: &i64| Record::new("v").timestamp(Timestamp::from_millis(*time));
        let records: Vec<_> = batch.iter().map(record).collect();
        let batch_of = BorrowedBatch::measure(&records, &log.batch_rules(now)).unwrap();
        log.append(&batch_of, now).unwrap();
        times.extend(batch);
    }
    (log, times)
}

fn pair(found: Option<FoundOffset>) -> Option<(i64, i64)> {
    found.map(|found| (found.offset().get(), found.timestamp().unwrap().as_millis()))
}

fn check(log: &PartitionLog, times: &[i64], start: usize, what: &str) {
    let in_reach = || (0i64..).zip(times).skip(start).map(|(offset, time)| (offset, *time));
    let largest = in_reach().map(|(_, time)| time).max();
    let expected = in_reach().find(|(_, time)| Some(*time) == largest);
    let newest = log.find_offset(OffsetSpec::MaxTimestamp, IsolationLevel::default()).unwrap();
    assert_eq!(pair(newest), expected, "{what}: the newest");
    for wanted in 0..92 {
        let spec = OffsetSpec::AtOrAfter(Timestamp::from_millis(wanted));
        let expected = in_reach().find(|(_, time)| *time >= wanted);
        assert_eq!(
            pair(log.find_offset(spec, IsolationLevel::default()).unwrap()),
            expected,
            "{what}: {wanted}"
        );
    }
    let offset = |spec| log.find_offset(spec, IsolationLevel::default()).unwrap().unwrap();
    let first = i64::try_from(start).unwrap();
    let end = i64::try_from(times.len()).unwrap();
    assert_eq!(offset(OffsetSpec::Earliest).offset().get(), first, "{what}");
    assert_eq!(offset(OffsetSpec::Latest).offset().get(), end, "{what}");
    let epoch = (start < times.len()).then_some(LeaderEpoch::new(0)); // none without a record
    assert_eq!(offset(OffsetSpec::Latest).epoch(), epoch, "{what}");
    assert_eq!(offset(OffsetSpec::Earliest).epoch(), epoch, "{what}");
}

#[test]
fn lookups_find_what_a_list_would_before_and_after_records_are_deleted() {
    let told = upkeep::Told::default();
    for seed in 0..60 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut bench = Bench::new();
        let interval = random.random_range(0..600);
        bench.config = bench.config.segment_bytes(1024).index_interval_bytes(interval);
        let (log, times) = filled(&bench, random);
        let end = times.len();
        check(&log, &times, 0, &format!("seed {seed}"));
        let start = random.random_range(0..=end);
        log.delete_records_before(Offset::new(i64::try_from(start).unwrap()), &told).unwrap();
        check(&log, &times, start, &format!("seed {seed} from {start}"));
        let point = log.close().unwrap();
        drop(log);
        let known = KnownFacts {
            log_start: Offset::new(i64::try_from(start).unwrap()),
            ..facts(point.get(), LastStop::Clean)
        };
        let (log, _) = bench.open(known);
        check(&log, &times, start, &format!("seed {seed} from {start}, opened again"));
    }
}

#[test]
fn an_empty_log_has_no_newest_record() {
    let (log, _) = Bench::new().open(facts(0, LastStop::Clean));
    assert_eq!(log.find_offset(OffsetSpec::MaxTimestamp, IsolationLevel::default()).unwrap(), None);
    let found = log.find_offset(OffsetSpec::Earliest, IsolationLevel::default()).unwrap().unwrap();
    assert_eq!((found.offset(), found.epoch()), (Offset::ZERO, None));
}

#[test]
fn a_log_that_sets_the_time_finds_by_that() {
    let mut bench = Bench::new();
    bench.config = bench.config.timestamp_type(crate::config::TimestampType::LogAppendTime);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for now in [50, 70, 60] {
        let now = Timestamp::from_millis(now);
        let records = [7, 8].map(|time| Record::new("v").timestamp(Timestamp::from_millis(time)));
        let batch = BorrowedBatch::measure(&records, &log.batch_rules(now)).unwrap();
        log.append(&batch, now).unwrap();
    }
    assert_eq!(
        pair(log.find_offset(OffsetSpec::MaxTimestamp, IsolationLevel::default()).unwrap()),
        Some((2, 70))
    );
    let late = OffsetSpec::AtOrAfter(Timestamp::from_millis(51));
    assert_eq!(pair(log.find_offset(late, IsolationLevel::default()).unwrap()), Some((2, 70)));
}

#[test]
fn jitter_brings_a_roll_forward_and_never_puts_it_off() {
    let mut bench = Bench::new();
    let (whole, jitter) = (Duration::from_millis(1000), Duration::from_millis(400));
    bench.config = bench.config.segment_ms(whole).segment_jitter(jitter);
    let mut rolled_at = Vec::new();
    for _ in 0..20 {
        let disk = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new(DIR)).unwrap();
        bench.disk = disk;
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        append(&log, b"first", 0).unwrap();
        let rolls = |at: &i64| {
            append(&log, b"next", *at).unwrap();
            log.size().1 > 1
        };
        rolled_at.push((1..=1001).step_by(20).find(rolls).unwrap());
    }
    assert!(rolled_at.iter().all(|at| (600..=1020).contains(at)), "{rolled_at:?}");
    assert!(rolled_at.iter().any(|at| *at != rolled_at[0]), "{rolled_at:?}");
}

/// In each of two segments, the second of which has one more that is later and out of reach.
#[test]
fn the_newest_record_in_reach_is_the_first_with_its_time() {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    while log.size().1 < 2 {
        append(&log, &[1; 200], 5).unwrap();
    }
    let bound = Offset::new(append(&log, b"later", 9).unwrap());
    let (segments, offsets) = (log.segments.load_full(), log.offsets().snapshot());
    let plain = PlainLimit::DEFAULT;
    let found = super::super::lookup::newest(&segments, (offsets, bound), plain, |_| Ok(()));
    assert_eq!(found.unwrap(), Some((Offset::ZERO, Timestamp::from_millis(5))));
}

/// No checksum covers where a batch says that it lies. One that says it lies before what is looked
/// for would be passed over, and its record would be gone without a word.
#[test]
fn a_search_passes_over_no_batch_that_lies_about_its_place() {
    let config = TopicConfig::new().index_interval_bytes(4096).segment_bytes(1500);
    let bench = Bench { config, ..Bench::new() };
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for number in 0..40 {
        append(&log, b"value", number).unwrap();
    }
    assert!(log.size().1 > 1, "a sealed one, of which an open looks at nothing");
    log.close().unwrap();
    drop(log);
    let path = Bench::path(0, SegmentFile::Log);
    let mut bytes = bench.bytes(&path);
    let size = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize + 12;
    bytes[8 * size..8 * size + 8].copy_from_slice(&2_i64.to_be_bytes());
    bench.put(&path, &bytes);
    // where compaction may have left a gap, nothing else would notice
    let known = KnownFacts { sparse: Offset::new(40), ..facts(40, LastStop::Clean) };
    let (log, _) = bench.open(known);
    let limits = FetchLimits::all(1);
    let error = log.fetch(Offset::new(8), None, limits).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert_eq!(error.position(), Some(8 * size as u64), "{error}");
    for from in (0..40).filter(|from| *from != 8) {
        let found = log.fetch(Offset::new(from), None, limits).unwrap().chunk.unwrap();
        assert_eq!(found.first_offset, Offset::new(from));
    }
}
