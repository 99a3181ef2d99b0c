//! Every power cut, at every call: what is known of producers and of their transactions is what
//! their batches in the log make, snapshot or not, and goes on being so.

use std::collections::HashSet;

use super::*;
use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
use crate::log::claims::{Tracked, limits_of};
use crate::log::producers::encode;
use crate::record::{Marker, MarkerKind};
use crate::segment::AbortedTransaction;

/// The producers, the transactions that were aborted, and the first offset that is not decided.
type Known = (Vec<u8>, Vec<AbortedTransaction>, Option<Offset>);

/// What the batches of the log make, read from its start.
fn folded(bench: &Bench, log: &PartitionLog) -> Known {
    let mut tracked = Tracked::new(limits_of(&bench.config));
    let now = Timestamp::from_millis(1_000_000);
    let all = Offset::ZERO..log.offsets().end();
    let aborted = log.replay_producers(&mut tracked, all.clone(), now).unwrap();
    tracked.producers.high_watermark_moved(all.end);
    (encode(tracked.producers.recorded()), aborted, tracked.producers.first_unstable())
}

fn known(log: &PartitionLog) -> Known {
    let offsets = log.offsets().snapshot();
    let aborted = log.aborted_transactions(&(Offset::ZERO..offsets.end));
    let writer = log.writer.lock();
    let producers =
        encode(writer.producers.as_deref().map_or(Vec::new(), |known| known.producers.recorded()));
    (producers, aborted, offsets.first_unstable)
}

/// Plays a life and notes when each recovery point was recorded, as a keeper would.
fn play(bench: &Bench, disk: &SimDisk) -> Vec<(u64, i64)> {
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let mut points = vec![(0, 0)];
    for number in 0..48 {
        match number % 6 {
            0 => plain(&log, &[1; 150]),
            one @ (1 | 2) => drop(send(&log, one, &[2; 90])),
            one @ (3 | 4) => drop(send_in(&log, one, &[2; 90], true)),
            _ => {
                let kind = if number % 4 == 1 { MarkerKind::Abort } else { MarkerKind::Commit };
                let marker = Marker { kind, coordinator_epoch: 0 };
                let now = Timestamp::from_millis(1_000_000);
                log.append_marker(of(3 + number / 6 % 2), marker, now).unwrap();
            }
        }
        if number % 7 == 6 {
            let point = log.checkpoint().unwrap();
            log.recovery_point_recorded(point);
            points.push((disk.operations(), point.get()));
        }
    }
    points.push((u64::MAX, log.close().unwrap().get()));
    points
}

#[test]
fn after_every_cut_producers_are_what_their_batches_make() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut bench = Bench::on(Arc::new(disk.clone()));
    bench.config = bench.config.segment_bytes(1024);
    disk.record();
    let points = play(&bench, &disk);
    let (mut images, mut with_snapshots, mut shorter) = (HashSet::new(), 0, 0);
    for moment in disk.moments() {
        let point = points.iter().rev().find(|(at, _)| *at < moment.operation());
        let point = point.map_or(0, |(_, point)| *point);
        let random = (0..4).map(Crash::Random);
        for crash in [Crash::Nothing, Crash::Everything].into_iter().chain(random) {
            let cut = moment.crash(crash);
            if !images.insert((cut.image_hash(), point)) {
                continue;
            }
            let bench = Bench { disk: Arc::new(cut), config: bench.config.clone(), ..Bench::new() };
            let shown = format!("before call {}, {crash:?}", moment.operation());
            let snapshots_before = snapshots(&bench);
            with_snapshots += usize::from(!snapshots_before.is_empty());
            let (log, _) = bench.open(facts(point, LastStop::PowerCut));
            let end = log.offsets().end().get();
            shorter += usize::from(snapshots_before.iter().any(|at| *at > end));
            assert_eq!(known(&log), folded(&bench, &log), "{shown}");
            assert!(snapshots(&bench).iter().all(|at| *at <= end), "{shown}");
            send(&log, 1, b"goes on");
            let point = log.close().unwrap().get();
            let (log, _) = bench.open(facts(point, LastStop::Clean));
            assert_eq!(known(&log), folded(&bench, &log), "{shown}, closed");
        }
    }
    assert!(with_snapshots > 50 && shorter > 0, "the control: {with_snapshots}, {shorter}");
}

/// On a disk that can fail, with records of one producer.
fn three_segments_of(producer: i64, bytes: usize) -> (SimDisk, Bench, PartitionLog) {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let mut bench = Bench::on(Arc::new(disk.clone()));
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    while log.size().1 < 3 {
        send(&log, producer, &vec![1; bytes]);
    }
    (disk, bench, log)
}

/// A recovery from where a segment begins has the producers of that place.
#[test]
fn snapshots_that_found_no_room_are_written_by_the_next_checkpoint() {
    let (disk, bench, log) = three_segments_of(1, 100);
    disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).for_ever());
    assert!(log.checkpoint().unwrap_err().is_full());
    assert_eq!(snapshots(&bench).len(), 0, "the control");
    disk.heal();
    let point = log.checkpoint().unwrap();
    let rolled = log.segments.load().iter().skip(1).map(|segment| segment.base().get()).collect();
    let expected: Vec<_> = [rolled, vec![point.get()]].concat();
    assert_eq!(snapshots(&bench), expected);
}

/// With its name, and all that it says.
#[test]
fn a_snapshot_that_a_checkpoint_made_is_on_the_disk() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let bench = Bench::on(Arc::new(disk.clone()));
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for _ in 0..3 {
        send(&log, 1, b"once");
    }
    log.checkpoint().unwrap();
    let path = |at: i64| Path::new(DIR).join(format!("{at:020}.snapshot"));
    let made: Vec<_> =
        snapshots(&bench).into_iter().map(|at| (at, bench.bytes(&path(at)))).collect();
    assert!(!made.is_empty(), "the control");
    let cut = Bench { disk: Arc::new(disk.crash(Crash::Nothing)), ..bench };
    for (at, bytes) in made {
        assert_eq!(cut.bytes(&path(at)), bytes, "{at}");
    }
}

/// The log says nothing of them any more: what was written of them must be on the disk by then, and
/// have its name.
#[test]
fn producers_whose_records_were_deleted_are_known_after_every_cut() {
    let open = |disk: &SimDisk| {
        let config = TopicConfig::new().segment_bytes(1024).file_delete_delay(Duration::ZERO);
        Log::builder(DIR).config(config).disk(Arc::new(disk.clone())).open().unwrap()
    };
    let disk = SimDisk::new(1);
    let log = open(&disk);
    for _ in 0..3 {
        let next = log.next_sequence(of(1)).unwrap();
        log.append_produced(&[Record::new("once")], of(1), next).unwrap();
    }
    for _ in 0..20 {
        log.append(&[Record::new(&[2; 100][..])]).unwrap();
    }
    log.flush().unwrap();
    disk.record();
    for before in [9, 20] {
        log.delete_records_before(Offset::new(before)).unwrap();
        log.maintain().unwrap();
    }
    let (mut gone, mut cuts) = (0, 0);
    for moment in disk.moments() {
        for crash in [Crash::Nothing, Crash::Everything, Crash::Random(1), Crash::Random(2)] {
            let log = open(&moment.crash(crash));
            let shown = format!("before call {}, {crash:?}", moment.operation());
            assert_eq!(log.next_sequence(of(1)).unwrap().get(), 3, "{shown}");
            gone += usize::from(log.start_offset().get() > 3);
            cuts += 1;
        }
    }
    assert!(gone > 20 && cuts > gone, "the control: {gone} of {cuts}");
}

/// No sync of a checkpoint is passed over, and what a later one says is true all the same.
#[test]
fn a_checkpoint_fails_with_each_of_its_syncs() {
    for (operation, least) in [(Operation::Sync, 12), (Operation::SyncDir, 1)] {
        let failed: Vec<_> = (1..60).map(|nth| fails_with_sync(operation, nth)).collect();
        let count = failed.iter().filter(|failed| **failed).count();
        assert!(count >= least, "the control: {operation:?}, {failed:?}");
        assert!(failed[..count].iter().all(|failed| *failed), "{operation:?}, {failed:?}");
    }
}

/// Whether a checkpoint fails if its `nth` sync of a kind does.
fn fails_with_sync(operation: Operation, nth: u64) -> bool {
    let disk = SimDisk::new(nth);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut bench = Bench::on(Arc::new(disk.clone()));
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for _ in 0..10 {
        send(&log, 1, &[1; 100]);
        send_in(&log, 3, &[2; 100], true);
        let marker = Marker { kind: MarkerKind::Abort, coordinator_epoch: 0 };
        log.append_marker(of(3), marker, Timestamp::from_millis(1_000_000)).unwrap();
    }
    disk.fail(Plan::new(Fault::Error(5)).on(operation).nth(nth));
    let failed = log.checkpoint().is_err();
    disk.heal();
    let Ok(point) = log.checkpoint() else { return failed };
    assert_eq!(point, log.offsets().end());
    let expected = known(&log);
    let config = bench.config.clone();
    let cut = Bench { disk: Arc::new(disk.crash(Crash::Nothing)), config, ..Bench::new() };
    let (log, _) = cut.open(facts(point.get(), LastStop::PowerCut));
    assert_eq!(known(&log), expected, "{operation:?} {nth}");
    assert_eq!(known(&log), folded(&cut, &log), "{operation:?} {nth}");
    failed
}

/// What is damaged is not there; what could not be read may be, and nothing is taken for unsent.
#[test]
fn producers_are_learnt_from_around_damage_but_not_past_a_failing_disk() {
    let (disk, bench, log) = three_segments_of(7, 200);
    let (sent, end) = (next(&log, 7), log.close().unwrap().get());
    let first = log.segments.load()[0].path();
    drop(log);
    let forget = || {
        for at in snapshots(&bench) {
            bench.disk.remove_file(&Bench::path(at, SegmentFile::ProducerSnapshot)).unwrap();
        }
    };
    let mut failed = 0;
    for nth in 1..=40 {
        forget();
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Read).nth(nth));
        let opened = bench.try_open(facts(end, LastStop::Clean));
        disk.heal();
        match opened {
            Ok((log, _)) => assert_eq!(next(&log, 7), sent, "read {nth}"),
            Err(error) => failed += usize::from(!error.is_corrupt()),
        }
    }
    assert!(failed > 0, "the control");
    forget();
    disk.corrupt(&first, 300, 1).unwrap();
    let (log, _) = bench.open(facts(end, LastStop::Clean));
    assert_eq!(next(&log, 7), sent);
}
