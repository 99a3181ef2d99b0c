//! Every power cut, at every call: what is known of producers and of their transactions is what
//! their batches in the log make, snapshot or not, and goes on being so.

use std::collections::HashSet;

use super::*;
use crate::disk::{Crash, SimDisk};
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
