//! Rolling, indexes, retention, readers that hold on.

use std::time::Duration;

use super::super::keeper::LogFact;
use super::*;
use crate::sync::Mutex;

/// Remembers what it was told.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Vec<LogFact>>);

impl Keeper for Told {
    fn record(&self, facts: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        self.0.lock().extend(facts.iter().map(|(_, fact)| *fact));
        Ok(())
    }
}

fn bases(bench: &Bench) -> Vec<i64> {
    let names = bench.names();
    let logs = names.iter().filter_map(|name| name.strip_suffix(".log"));
    logs.map(|name| name.parse().unwrap()).collect()
}

#[test]
fn segments_roll_by_size_time_and_index() {
    let mut bench = Bench::new();
    let size = batch(0, &[1; 100]).len() as u64;
    bench.config = bench.config.segment_bytes(1024).index_interval_bytes(4096);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let fit = i64::try_from(1024 / size).unwrap();
    for _ in 0..2 * fit + 1 {
        append(&log, &[1; 100], 5).unwrap();
    }
    assert_eq!(bases(&bench), [0, fit, 2 * fit], "by size");

    let mut bench = Bench::new();
    bench.config = bench.config.segment_ms(Duration::from_millis(100));
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for at in [1000, 1100, 1050, 1101, 1102] {
        append(&log, b"v", at).unwrap();
    }
    assert_eq!(bases(&bench), [0, 3], "by the records' own time");

    let mut bench = Bench::new();
    bench.config = bench.config.segment_index_bytes(24);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for at in 0..6 {
        append(&log, b"v", at).unwrap();
    }
    assert!(bases(&bench).len() > 1, "a full index: {:?}", bases(&bench));
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2, 3, 4, 5]);
}

/// Whether a scan saw its first batch or began behind it.
#[test]
fn an_opened_segment_has_the_age_of_its_first_batch() {
    for stop in [LastStop::Clean, LastStop::KilledSameBoot, LastStop::AnotherHand] {
        for point in 0..=3 {
            let mut bench = Bench::new();
            bench.config = bench.config.segment_ms(Duration::from_millis(100));
            let (log, _) = bench.open(facts(0, LastStop::Clean));
            for at in [1000, 1050, 1060] {
                append(&log, b"v", at).unwrap();
            }
            log.close().unwrap();
            let (log, _) = bench.open(facts(point, stop));
            for at in [1100, 1101, 1102] {
                append(&log, b"v", at).unwrap();
            }
            assert_eq!(bases(&bench), [0, 4], "{stop:?} at {point}");
        }
    }
}

#[test]
fn settings_that_change_count_from_the_next_append_or_segment() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let config = TopicConfig::new().index_interval_bytes(1 << 20).flush_records(Some(2));
    let log = Log::builder("/wal").disk(disk).config(config.clone()).open().unwrap();
    let append = || log.append(&[Record::new("x")]).unwrap();
    let durable = || log.durable_offset().get();
    append();
    assert_eq!(durable(), 0);
    append();
    assert_eq!(durable(), 2);
    log.set_config(config.flush_records(None).flush_interval(Some(Duration::ZERO))).unwrap();
    append();
    assert_eq!(durable(), 2);
    log.maintain().unwrap();
    assert_eq!(durable(), 3);
    log.close().unwrap();

    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024).index_interval_bytes(1 << 20);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append_until(&log, 1);
    log.set_config(Arc::new(bench.config.clone().index_interval_bytes(0)));
    append_until(&log, 3);
    let entries = |base| bench.bytes(&Bench::path(base, SegmentFile::OffsetIndex)).len() / 8;
    log.checkpoint().unwrap();
    let bases = bases(&bench);
    assert_eq!(entries(bases[0]), 0, "the segment that was begun before");
    assert!(entries(bases[1]) > 0, "the next one");
}

/// Appends until the log has so many segments.
fn append_until(log: &PartitionLog, segments: usize) {
    while log.size().1 < segments {
        append(log, &[1; 100], 5).unwrap();
    }
}

#[test]
fn an_offset_that_does_not_fit_the_segment_begins_another() {
    let mut bench = Bench::new();
    bench.config = bench.config.index_interval_bytes(4096);
    bench.put(&Bench::log_path(0), &batch(i64::from(i32::MAX) - 1, b"near the edge"));
    let adopted = KnownFacts { adopted: true, ..facts(0, LastStop::AnotherHand) };
    let (log, _) = bench.open(adopted);
    let next = i64::from(i32::MAX);
    assert_eq!(append(&log, b"fits", 1).unwrap(), next);
    assert_eq!(append(&log, b"does not", 1).unwrap(), next + 1);
    assert_eq!(bases(&bench), [0, next + 1]);
    assert_eq!(offsets(&read_from(&log, 5).unwrap()), [next - 1, next, next + 1]);
}

/// Five closed segments of four records, at times that rise, repeat and fall.
fn closed() -> (Bench, Vec<i64>) {
    let mut bench = Bench::new();
    let size = batch(0, b"v").len() as u64;
    bench.config = bench.config.segment_bytes(1024.max(size * 4));
    let per_segment = i64::try_from(1024 / size).unwrap();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let times: Vec<i64> = (0..per_segment * 5).map(|at| 10 + (at * 7) % 23 + at / 2).collect();
    for at in &times {
        append(&log, b"v", *at).unwrap();
    }
    let point = log.close().unwrap();
    assert_eq!(point.get(), i64::try_from(times.len()).unwrap());
    (bench, times)
}

fn assert_lookups(log: &PartitionLog, times: &[i64], what: &str) {
    for wanted in 0..times.iter().max().unwrap() + 3 {
        let found =
            log.find_timestamp(Timestamp::from_millis(wanted), IsolationLevel::default()).unwrap();
        let expected = times.iter().position(|at| *at >= wanted);
        let found = found.map(|(at, timestamp)| (at.get(), timestamp.as_millis()));
        let expected = expected.map(|at| (i64::try_from(at).unwrap(), times[at]));
        assert_eq!(found, expected, "{what}: first at or after {wanted}");
    }
    assert_reads(log, times, what);
}

fn assert_reads(log: &PartitionLog, times: &[i64], what: &str) {
    for from in 0..times.len() {
        let limits = FetchLimits {
            bytes: 1,
            records: 1,
            durable_only: false,
            isolation: IsolationLevel::ReadUncommitted,
        };
        let from = Offset::new(i64::try_from(from).unwrap());
        let fetched = log.fetch(from, None, limits).unwrap();
        assert_eq!(fetched.chunk.unwrap().first_offset, from, "{what}");
    }
}

#[test]
fn indexes_are_made_again_for_their_segment_alone() {
    let (bench, times) = closed();
    let end = i64::try_from(times.len()).unwrap();
    let base = bases(&bench)[2];
    let index = Bench::path(base, SegmentFile::OffsetIndex);
    let time_index = Bench::path(base, SegmentFile::TimeIndex);
    let (good_index, good_times) = (bench.bytes(&index), bench.bytes(&time_index));
    assert!(good_index.len() > 16 && good_times.len() >= 24);
    let untouched = Bench::path(bases(&bench)[1], SegmentFile::TimeIndex);
    let before = bench.bytes(&untouched);
    let mut flipped = good_index.clone();
    flipped[6] ^= 0x10; // a position
    let mut within = good_index.clone();
    within[7] ^= 0x04;
    let mut beyond = good_index.clone();
    let last = beyond
        .last_chunk::<8>()
        .map(|last| u32::from_be_bytes([last[0], last[1], last[2], last[3]]));
    beyond.extend(last.unwrap().wrapping_add(1).to_be_bytes());
    beyond.extend((1_u32 << 20).to_be_bytes());
    let mut late = good_times.clone();
    let last = late.len() - 12;
    late[last] = 0x7f; // a timestamp
    type Case<'a> = (&'a str, Option<&'a [u8]>, Option<&'a [u8]>);
    let cases: [Case<'_>; 10] = [
        ("as they were", Some(&good_index), Some(&good_times)),
        ("missing", None, None),
        ("no offset index", None, Some(&good_times)),
        ("torn", Some(&good_index[..11]), Some(&good_times[..13])),
        ("its end lost", Some(&good_index[..8]), Some(&good_times[..last])),
        ("empty", Some(&[]), Some(&[])),
        ("a position flipped", Some(&flipped), Some(&good_times)),
        ("a position within a batch", Some(&within), Some(&good_times)),
        ("a position beyond the end", Some(&beyond), Some(&good_times)),
        ("a timestamp flipped", Some(&good_index), Some(&late)),
    ];
    for (what, offsets, times_of) in cases {
        // what is looked up first may have the other made again
        for look in [assert_reads, assert_lookups] {
            for (path, bytes) in [(&index, offsets), (&time_index, times_of)] {
                match bytes {
                    Some(bytes) => bench.put(path, bytes),
                    None if bench.exists(path) => bench.disk.remove_file(path).unwrap(),
                    None => {}
                }
            }
            let (log, report) = bench.open(facts(end, LastStop::Clean));
            assert!(!report.is_notable(), "{what}");
            look(&log, &times, what);
        }
    }
    assert_eq!(bench.bytes(&untouched), before);
    assert_eq!(bench.bytes(&time_index), good_times, "and what is made again is the same");
}

#[test]
fn a_recovered_log_looks_up_like_one_that_was_closed() {
    let (bench, times) = closed();
    for name in bench.names() {
        if name.ends_with("index") {
            bench.disk.remove_file(&Path::new(DIR).join(name)).unwrap();
        }
    }
    let (log, _) = bench.open(facts(0, LastStop::PowerCut));
    assert_lookups(&log, &times, "recovered");
    log.close().unwrap();
    let (log, _) = bench.open(facts(i64::try_from(times.len()).unwrap(), LastStop::Clean));
    assert_lookups(&log, &times, "closed again");
}

#[test]
fn retention_keeps_views_readable_and_records_the_start_first() {
    let (bench, times) = closed();
    let end = i64::try_from(times.len()).unwrap();
    let told = Told::default();
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    let limits = FetchLimits {
        bytes: 4000,
        records: 100,
        durable_only: true,
        isolation: IsolationLevel::ReadUncommitted,
    };
    let fetched = log.fetch(Offset::ZERO, None, limits).unwrap();
    let held = fetched.chunk.clone().unwrap();
    let copy = held.bytes.to_vec();
    let middle = Offset::new(end / 2 + 1);
    let dropped = log.delete_records_before(middle, &told).unwrap();
    assert!(dropped.segments >= 2, "{dropped:?}");
    let expected = [LogFact::RecoveryPoint(Offset::new(end)), LogFact::LogStart(middle)];
    assert_eq!(*told.0.lock(), expected);
    assert_eq!(held.bytes, copy);
    let error = log.fetch(Offset::ZERO, fetched.cursor.as_ref(), limits).unwrap_err();
    assert_eq!(error.available(), Some((middle, Offset::new(end))));
    let rest: Vec<i64> = (middle.get()..end).collect();
    assert_eq!(offsets(&read_from(&log, middle.get()).unwrap()), rest);
    assert!(bench.names().iter().any(|name| name.ends_with(".deleted")));
    let (due, done) = log.unlink_dropped(false);
    done.unwrap();
    assert!(bench.names().iter().any(|name| name.ends_with(".deleted")), "not before it is due");
    bench.clock.advance(due.unwrap());
    let (due, done) = log.unlink_dropped(false);
    done.unwrap();
    assert_eq!(due, None);
    assert!(!bench.names().iter().any(|name| name.ends_with(".deleted")));
    // all of it, the active segment included
    append(&log, b"last", 9).unwrap();
    log.set_config(Arc::new(bench.config.clone().retention_bytes(0)));
    let now = Timestamp::from_millis(10);
    let plan = log.plan_retention(now, None, &[]).unwrap().plan.unwrap();
    assert!(plan.takes_active);
    let hold = log.plan_retention(now, Some(Offset::new(end)), &[]).unwrap().plan;
    assert!(hold.is_none_or(|plan| plan.log_start <= Offset::new(end)), "a hold keeps");
    log.apply_retention(&plan, &told, now).unwrap();
    assert_eq!(log.offsets().snapshot().start.get(), end + 1);
    assert_eq!(append(&log, b"first", 9).unwrap(), end + 1);
}

#[test]
fn a_start_that_was_recorded_and_not_carried_out_is_carried_out_by_the_open() {
    let (bench, times) = closed();
    let end = i64::try_from(times.len()).unwrap();
    let bases_before = bases(&bench);
    let known = KnownFacts {
        log_start: Offset::new(bases_before[3] + 1),
        ..facts(end, LastStop::PowerCut)
    };
    let (log, report) = bench.open(known);
    assert_eq!(report.removed().len(), 3);
    assert_eq!(bases(&bench), bases_before[3..]);
    assert_eq!(log.offsets().snapshot().start, known.log_start);
}

#[test]
fn a_log_without_a_directory_checkpoints_and_closes() {
    let bench = Bench::on(Arc::new(MemoryDisk::new()));
    let (log, report) = bench.open(facts(0, LastStop::KilledSameBoot));
    assert!(!report.is_notable());
    assert_eq!(log.checkpoint().unwrap(), Offset::ZERO);
    assert_eq!(append(&log, b"v", 1).unwrap(), 0);
    assert_eq!(log.close().unwrap().get(), 1);
    assert!(append(&log, b"v", 1).unwrap_err().is_closed());
}

#[test]
fn batches_larger_than_a_segment_are_refused_and_limits_may_change() {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let error = append(&log, &[0; 2000], 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    // one that was put together when segments were larger
    let now = Timestamp::from_millis(1);
    let rules = BatchRules {
        timestamps: TimestampRule::Append { now },
        max_bytes: 1 << 20,
        keyed: false,
        tagged: false,
        packing: Packing::default(),
    };
    let records = [Record::new(&[0; 2000])];
    let large = BorrowedBatch::measure(&records, &rules).unwrap();
    assert_eq!(log.append(&large, now).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(append(&log, &[0; 500], 1).unwrap(), 0);
    assert_eq!(append(&log, &[0; 2000], 1).unwrap_err().kind(), ErrorKind::TooLarge);
    log.set_config(Arc::new(bench.config.clone().segment_bytes(1 << 20)));
    for offset in 1..5 {
        assert_eq!(append(&log, &[0; 90_000], 1).unwrap(), offset);
    }
    log.set_config(Arc::new(bench.config.clone()));
    assert_eq!(append(&log, &[0; 100], 1).unwrap(), 5);
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn checks_of_epochs_say_what_was_truncated() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    append(&log, b"v", 1).unwrap();
    let point = log.close().unwrap().get();
    drop(log);
    let (log, _) = bench.open(facts(point, LastStop::Clean));
    append(&log, b"v", 1).unwrap();
    let check =
        |offset, epoch| log.check_epoch("seek", Offset::new(offset), LeaderEpoch::new(epoch));
    check(1, 0).unwrap();
    check(2, 1).unwrap();
    let error = check(2, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogTruncated, "{error}");
}

#[test]
fn only_what_a_recorded_recovery_point_covers_may_be_written_again() {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut end = 0;
    while log.size().1 < 4 {
        end = append(&log, &[b'x'; 200], end).unwrap() + 1;
    }
    assert!(log.sealed().is_empty(), "nothing is synced");
    let point = log.checkpoint().unwrap();
    assert!(log.sealed().is_empty(), "and the sync is not recorded");
    log.recovery_point_recorded(point);
    assert_eq!(log.sealed().len(), 3);
}

/// From the next step on its names say that it is whole.
#[cfg(feature = "sim")]
#[test]
fn a_rewrite_that_is_finished_is_on_the_disk() {
    use crate::disk::names::{Leftover, leftover_file};
    use crate::disk::{Crash, SimDisk};
    use crate::record::Batch;
    use crate::segment::Origin;
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let bench = Bench::on(Arc::new(disk.clone()));
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut rewrite = log.begin_rewrite(Offset::ZERO).unwrap();
    let bytes = batch(0, b"value");
    let header = *Batch::verify(&bytes).unwrap().header();
    rewrite.push(&header, &bytes, Origin::File).unwrap();
    let _ = rewrite.finish(Vec::new()).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    let kinds = [SegmentFile::Log, SegmentFile::OffsetIndex, SegmentFile::Digests];
    let paths =
        kinds.map(|kind| Path::new(DIR).join(leftover_file(Offset::ZERO, kind, Leftover::Cleaned)));
    let written = paths.each_ref().map(|path| bench.bytes(path));
    let bench = Bench { disk: Arc::new(disk.crash(Crash::Nothing)), ..bench };
    assert_eq!(paths.each_ref().map(|path| bench.bytes(path)), written);
    assert_eq!(written[0], bytes);
}

/// Found by `failing-calls`: a sync on the way fails for want of space, which ends writing, and the
/// new start is durable all the same.
#[cfg(feature = "sim")]
#[test]
fn a_deletion_is_done_exactly_where_its_start_is_recorded() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let mut beside_a_failure = 0;
    for nth in 1..12 {
        let disk = SimDisk::new(nth);
        disk.create_dir_all(Path::new(DIR)).unwrap();
        let mut bench = Bench::on(Arc::new(disk.clone()));
        bench.config = bench.config.segment_bytes(1024);
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        for at in 0..20 {
            append(&log, &[b'x'; 200], at).unwrap();
            if at == 12 {
                log.checkpoint().unwrap(); // the new start lies below
            }
        }
        disk.fail(Plan::new(Fault::Error(28)).on(Operation::Sync).nth(nth));
        let told = Told::default();
        let done = log.delete_records_before(Offset::new(10), &told);
        let is_recorded = told.0.lock().contains(&LogFact::LogStart(Offset::new(10)));
        assert_eq!(done.is_ok(), is_recorded, "sync {nth}: {done:?}");
        let start = log.offsets().snapshot().start.get();
        assert_eq!(start, if is_recorded { 10 } else { 0 }, "sync {nth}");
        beside_a_failure += u32::from(is_recorded && log.check_healthy("append").is_err());
    }
    assert!(beside_a_failure > 0, "no failed sync left the start to be recorded");
}

/// Nothing rests on it, but a close of many logs has little left to do log by log.
#[cfg(feature = "sim")]
#[test]
fn what_was_written_ahead_is_not_written_again() {
    use crate::disk::SimDisk;
    let calls = |is_ahead: bool| {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new(DIR)).unwrap();
        let mut bench = Bench::on(Arc::new(disk.clone()));
        bench.config = bench.config.segment_bytes(1024);
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        let mut found = Vec::new();
        for _ in 0..2 {
            for at in 0..30 {
                append(&log, &[1; 100], at).unwrap();
            }
            if is_ahead {
                log.write_ahead();
                log.finish_ahead(); // what was written beside its name gets it
            }
            let before = disk.operations();
            log.checkpoint().unwrap();
            found.push(disk.operations() - before);
        }
        let end = log.offsets().end();
        assert_eq!(log.close().unwrap(), end);
        let (log, report) = bench.open(facts(end.get(), LastStop::Clean));
        assert!(!report.is_notable());
        (found, bench.names(), log.epoch_entries())
    };
    let (later, names, epochs) = calls(false);
    let (ahead, same_names, same_epochs) = calls(true);
    assert_eq!((names, epochs), (same_names, same_epochs));
    // the second time there is neither a new epoch nor a new directory: the digests are left
    assert!(ahead[0] < later[0] && ahead[1] < later[1], "{ahead:?} calls instead of {later:?}");
}

/// Until then it costs next to nothing.
#[cfg(feature = "sim")]
#[test]
fn upkeep_syncs_once_enough_is_unsynced_or_has_waited() {
    use crate::disk::SimDisk;
    let disk = SimDisk::new(1);
    let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
    let config = TopicConfig::new().flush_interval(Some(Duration::from_secs(5)));
    let builder = Log::builder("/wal").disk(Arc::new(disk.clone())).clock(Arc::new(clock.clone()));
    let log = builder.config(config).open().unwrap();
    let syncs_of = |what: &str| {
        let before = disk.syncs();
        log.maintain().unwrap();
        let made = disk.syncs() - before;
        println!("{what}: {made}");
        made
    };
    assert_eq!(syncs_of("nothing was appended"), 0);
    log.append(&[Record::new("a")]).unwrap();
    assert_eq!(syncs_of("just appended"), 0);
    clock.advance(Duration::from_secs(4));
    assert_eq!(syncs_of("not long enough"), 0);
    clock.advance(Duration::from_secs(1));
    assert!(syncs_of("long enough") > 0);
    assert_eq!(log.durable_offset().get(), 1);
    clock.advance(Duration::from_secs(60));
    assert_eq!(syncs_of("nothing is unsynced"), 0);
}

#[test]
fn retention_by_age_takes_the_segments_that_are_too_old_and_no_others() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
    let config = TopicConfig::new().segment_bytes(1024).retention(Duration::from_secs(10));
    let builder = Log::builder("/wal").disk(disk).clock(Arc::new(clock.clone()));
    let log = builder.config(config).open().unwrap();
    for _ in 0..20 {
        log.append(&[Record::new(&[1; 300][..])]).unwrap();
        clock.advance(Duration::from_secs(1));
    }
    log.maintain().unwrap();
    // a segment holds three records or fewer, and goes with its newest
    let start = log.start_offset().get();
    assert!((7..=10).contains(&start), "{start}");
    assert_eq!(log.end_offset().get(), 20);
}
