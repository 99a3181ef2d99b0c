//! What is learnt of producers when a log is opened, and what of it is kept: from files that
//! another hand left, that are missing, that cannot be read, or that lie where nobody needs them.

use super::*;
use crate::disk::RealDisk;
use crate::disk::names::ABORTED;
use crate::record::{Marker, MarkerKind};

/// A log of several segments, each of which begins with a snapshot, closed: its end.
fn closed() -> (Bench, i64) {
    let bench = Bench::new();
    let bench = Bench { config: bench.config.segment_bytes(1024), ..bench };
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    send(&log, 8, b"once, at the front");
    while log.size().1 < 5 {
        send(&log, 7, &[1; 100]);
        log.checkpoint().unwrap();
    }
    send(&log, 7, b"not at a segment");
    let end = log.close().unwrap().get();
    (bench, end)
}

fn bases(log: &PartitionLog) -> Vec<i64> {
    log.segments.load().iter().map(|segment| segment.base().get()).collect()
}

/// The recovery of the last two segments needs no older one.
#[test]
fn snapshots_are_made_again_where_the_last_two_segments_begin() {
    let (bench, end) = closed();
    for at in snapshots(&bench) {
        bench.disk.remove_file(&Bench::path(at, SegmentFile::ProducerSnapshot)).unwrap();
    }
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    let bases = bases(&log);
    log.close().unwrap();
    assert_eq!(snapshots(&bench), [&bases[bases.len() - 2..], &[end]].concat());
    let known = snapshots(&bench);
    for at in &known[1..] {
        bench.disk.remove_file(&Bench::path(*at, SegmentFile::ProducerSnapshot)).unwrap();
    }
    let (log, _) = bench.open(facts(end, LastStop::KilledSameBoot));
    assert_eq!(next(&log, 7), i32::try_from(end).unwrap() - 1, "the one that is left is right");
    assert_eq!(next(&log, 8), 1, "it has all that was sent before it");
}

/// Kafka tells producers from the log there too.
#[test]
fn snapshots_above_where_another_hand_was_stopped_go_but_for_those_that_are_stale_at_most() {
    let (bench, end) = closed();
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    let bases = bases(&log);
    let before = snapshots(&bench);
    assert!(bases[1..].iter().all(|base| before.contains(base)), "the control: {before:?}");
    let point = Offset::new(bases[1] + 1);
    log.forget_snapshots_above(point).unwrap();
    let left = log.snapshots.lock().iter().map(|at| at.get()).collect::<Vec<_>>();
    assert!(left.iter().all(|at| *at <= bases[1]) && left.contains(&bases[1]), "{left:?}");
    let files = snapshots(&bench);
    let count = bases.len();
    // those of older segments lie there until an open looks for strays; the rest is made anew
    let expected: Vec<_> = before
        .iter()
        .copied()
        .filter(|at| *at <= bases[1] || bases[..count - 2].contains(at))
        .collect();
    assert_eq!(files, expected, "of {before:?}, segments {bases:?}");
}

/// Compaction has emptied the segment before the active one: its files stand, and so does the
/// snapshot of where it begins.
#[test]
fn a_snapshot_stays_where_the_file_of_a_segment_without_records_stands() {
    let (bench, end) = closed();
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    let third = bases(&log)[2];
    let mut listed = Vec::clone(&log.segments.load());
    listed.retain(|segment| segment.base().get() != third);
    log.segments.store(Arc::new(listed));
    log.prune_snapshots(crate::log::snapshots::Newest::One);
    assert!(snapshots(&bench).contains(&third));
    bench.disk.remove_file(&Bench::log_path(third)).unwrap();
    log.prune_snapshots(crate::log::snapshots::Newest::One);
    assert!(!snapshots(&bench).contains(&third));
}

/// One batch of another hand's, of a producer or of none.
fn of_another(producer: Option<(i64, i32)>) -> Bench {
    let bench = Bench::new();
    let mut bytes = batch(0, b"theirs");
    if let Some((id, sequence)) = producer {
        bytes[43..51].copy_from_slice(&id.to_be_bytes());
        bytes[51..53].copy_from_slice(&0_i16.to_be_bytes());
        bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bench.put(&Bench::log_path(0), &bytes);
    bench
}

#[test]
fn a_log_of_another_hands_has_the_producers_that_it_has_and_no_file_for_none() {
    let bench = of_another(Some((7, 5)));
    let (log, _) = bench.open(facts(0, LastStop::AnotherHand));
    assert_eq!(next(&log, 7), 6);
    log.close().unwrap();
    assert_eq!(snapshots(&bench), [1]);
    let bench = of_another(None);
    let (log, _) = bench.open(facts(0, LastStop::AnotherHand));
    log.close().unwrap();
    assert!(snapshots(&bench).is_empty());
}

/// Nothing that is written is as large: it is not read into memory, and what it said is made again.
#[test]
fn files_beyond_all_reason_are_made_again_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("orders-0");
    std::fs::create_dir(&dir).unwrap();
    let bench = Bench::on(Arc::new(RealDisk::for_directory(directory.path()).unwrap()));
    let open = |point| bench.try_open_at(&dir, facts(point, LastStop::Clean)).unwrap().0;
    let aborted =
        |log: &PartitionLog| log.aborted_transactions(&(Offset::ZERO..log.offsets().end()));
    let log = open(0);
    log.begin_epoch(LeaderEpoch::new(0));
    send_in(&log, 3, b"is aborted", true);
    let marker = Marker { kind: MarkerKind::Abort, coordinator_epoch: 0 };
    log.append_marker(of(3), marker, Timestamp::from_millis(1_000_000)).unwrap();
    send(&log, 7, b"x");
    let expected = aborted(&log);
    let end = log.close().unwrap();
    assert_eq!((expected.len(), end.get()), (1, 3), "the control");
    drop(log);
    for name in [
        segment_file(end, SegmentFile::ProducerSnapshot),
        segment_file(Offset::ZERO, SegmentFile::TransactionIndex),
        ABORTED.to_owned(),
    ] {
        let file = std::fs::File::options().write(true).open(dir.join(&name)).unwrap();
        file.set_len((1 << 30) + 1).unwrap(); // no byte of it is on the disk
        let log = open(end.get());
        log.begin_epoch(LeaderEpoch::new(1));
        assert_eq!((next(&log, 7), aborted(&log)), (1, expected.clone()), "{name}");
        log.close().unwrap();
    }
}

/// What it says of a producer whose records are deleted, nothing else does.
#[cfg(feature = "sim")]
#[test]
fn a_snapshot_that_cannot_be_read_ends_the_open_and_stays() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let sim = SimDisk::new(1);
    sim.create_dir_all(Path::new(DIR)).unwrap();
    let bench = Bench::on(Arc::new(sim.clone()));
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for _ in 0..4 {
        send(&log, 7, b"is deleted");
    }
    log.delete_records_before(Offset::new(4), &Forgetful).unwrap();
    let end = log.close().unwrap();
    let known = KnownFacts { log_start: end, ..facts(end.get(), LastStop::Clean) };
    let mut failed = 0;
    for nth in 1..=40 {
        sim.fail(Plan::new(Fault::Error(5)).on(Operation::Read).nth(nth));
        let opened = bench.try_open(known);
        sim.heal();
        match opened {
            Ok((log, _)) => assert_eq!(next(&log, 7), 4, "read {nth}"),
            Err(_) => failed += 1,
        }
        assert_eq!(snapshots(&bench), [4], "read {nth}");
    }
    assert!(failed > 0, "the control");
}

/// They say which indexes are to be believed: one that is not known is no word for all.
#[test]
fn vouchers_that_cannot_be_read_end_the_open() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    send_in(&log, 3, b"is aborted", true);
    let marker = Marker { kind: MarkerKind::Abort, coordinator_epoch: 0 };
    log.append_marker(of(3), marker, Timestamp::from_millis(1_000_000)).unwrap();
    let end = log.close().unwrap().get();
    let path = Path::new(DIR).join(ABORTED);
    bench.disk.remove_file(&path).unwrap();
    bench.disk.create_dir_all(&path).unwrap(); // opens as nothing that can be read
    let error = bench.try_open(facts(end, LastStop::Clean)).unwrap_err();
    assert!(!error.is_corrupt(), "{error}");
}

/// A cut that reaches back to where the log starts leaves no record, and no producer of one.
#[test]
fn a_cut_down_to_the_start_forgets_the_producers() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let now = Timestamp::from_millis(1_000_000);
    for _ in 0..2 {
        let records = [Record::new("a"), Record::new("b"), Record::new("c")];
        let batch = BorrowedBatch::measure(&records, &log.batch_rules(now)).unwrap();
        let claim = Some(ProducerClaim { identity: of(7), sequence: None, transactional: false });
        log.append(&Produced { batch: &batch, claim }, now).unwrap();
    }
    log.delete_records_before(Offset::new(3), &Forgetful).unwrap();
    let end = log.truncate_to(Offset::new(4), Some(LeaderEpoch::new(9)), &Forgetful).unwrap();
    assert_eq!((end.get(), next(&log, 7)), (3, 0));
    let size = log.size();
    assert_eq!(size.0, 0, "{size:?}");
}
