//! Producers of a log below its door: what is written of them when, and from what they are known.

mod aborted;
#[cfg(feature = "sim")]
mod crashes;
mod relearning;

use super::facts;
use super::*;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::log::copy_out::{Sharing, cut_all};
use crate::log::keeper::{Durable, LastStop, LogFact};
use crate::record::{Produced, ProducerClaim, ProducerIdentity};

#[derive(Debug)]
struct Forgetful;

impl Keeper for Forgetful {
    fn record(&self, _: &[(LogId, LogFact)], _: Durable) -> Result<()> {
        Ok(())
    }
}

fn of(id: i64) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0))
}

fn send(log: &PartitionLog, id: i64, value: &[u8]) -> Appended {
    send_in(log, id, value, false)
}

fn send_in(log: &PartitionLog, id: i64, value: &[u8], transactional: bool) -> Appended {
    let now = Timestamp::from_millis(1_000_000);
    let records = [Record::new(value)];
    let batch = BorrowedBatch::measure(&records, &log.batch_rules(now)).unwrap();
    let claim = Some(ProducerClaim { identity: of(id), sequence: None, transactional });
    log.append(&Produced { batch: &batch, claim }, now).unwrap()
}

fn plain(log: &PartitionLog, value: &[u8]) {
    let now = Timestamp::from_millis(1_000_000);
    let records = [Record::new(value)];
    let batch = BorrowedBatch::measure(&records, &log.batch_rules(now)).unwrap();
    log.append(&batch, now).unwrap();
}

fn next(log: &PartitionLog, id: i64) -> i32 {
    log.next_sequence(of(id), Timestamp::from_millis(1_000_000)).unwrap().get()
}

fn snapshots(bench: &Bench) -> Vec<i64> {
    let names = bench.names();
    let names = names.iter().filter_map(|name| name.strip_suffix(".snapshot"));
    names.map(|digits| digits.parse().unwrap()).collect()
}

#[test]
fn a_log_without_producers_has_no_snapshots_and_one_with_has_them_where_kafka_has() {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for _ in 0..30 {
        plain(&log, &[0; 100]);
    }
    log.checkpoint().unwrap();
    log.close().unwrap();
    assert!(snapshots(&bench).is_empty());
    let (log, _) = bench.open(facts(30, LastStop::Clean));
    for number in 0..30 {
        assert_eq!(send(&log, 7, &[0; 100]).sequence.unwrap().get(), number);
        if number % 3 == 0 {
            log.checkpoint().unwrap();
        }
    }
    log.close().unwrap();
    let bases: Vec<_> = log.segments.load().iter().map(|segment| segment.base().get()).collect();
    let kept = snapshots(&bench);
    assert_eq!(kept.last(), Some(&60));
    let after = kept.len().checked_sub(2).unwrap();
    assert!(kept[..after].iter().all(|at| bases.contains(at)), "{kept:?} {bases:?}");
    assert!(bases.iter().filter(|base| **base > 35).all(|base| kept.contains(base)), "{kept:?}");
}

#[test]
fn producers_are_known_from_each_place_there_is() {
    for spoilt in 0..4 {
        let mut bench = Bench::new();
        bench.config = bench.config.segment_bytes(1024);
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        for _ in 0..20 {
            send(&log, 7, &[0; 100]);
            send(&log, 8, &[0; 100]);
        }
        assert_eq!(log.checkpoint().unwrap().get(), 40);
        for _ in 0..3 {
            send(&log, 8, b"behind the recovery point");
        }
        drop(log);
        let all = snapshots(&bench);
        assert_eq!(all.last(), Some(&40));
        for at in all.iter().rev().take([0, 1, usize::MAX, usize::MAX][spoilt]) {
            let path = Bench::path(*at, SegmentFile::ProducerSnapshot);
            match spoilt {
                3 => bench.disk.remove_file(&path).unwrap(),
                _ => bench.put(&path, b"garbage"),
            }
        }
        let (log, _) = bench.open(facts(40, LastStop::KilledSameBoot));
        assert_eq!((next(&log, 7), next(&log, 8)), (20, 23), "spoilt {spoilt}");
    }
}

#[test]
fn a_snapshot_beyond_the_end_goes_before_anything_is_appended() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    send(&log, 7, b"one");
    log.close().unwrap();
    let one = bench.bytes(&Bench::path(1, SegmentFile::ProducerSnapshot));
    bench.put(&Bench::path(5, SegmentFile::ProducerSnapshot), &one);
    let (log, _) = bench.open(facts(1, LastStop::KilledSameBoot));
    assert_eq!(snapshots(&bench), [1]);
    assert_eq!(next(&log, 7), 1);
}

#[test]
fn retention_takes_snapshots_along_and_leaves_the_one_that_is_needed() {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for _ in 0..30 {
        send(&log, 7, &[0; 100]);
    }
    log.delete_records_before(Offset::new(20), &Forgetful).unwrap();
    assert!(snapshots(&bench).iter().all(|at| *at >= 20), "{:?}", snapshots(&bench));
    log.delete_records_before(Offset::new(30), &Forgetful).unwrap();
    assert_eq!(snapshots(&bench), [30]);
    log.close().unwrap();
    let mut known = facts(30, LastStop::Clean);
    known.log_start = Offset::new(30);
    let (log, _) = bench.open(known);
    assert_eq!(next(&log, 7), 30, "its records are gone, it is known all the same");
}

/// What another writer left: a producer's batch is known, and repeated without being written.
#[test]
fn producers_of_another_hand_go_on() {
    let bench = Bench::new();
    let mut bytes = batches(0, 3);
    let at = batches(0, 2).len();
    bytes[at + 43..at + 51].copy_from_slice(&7_i64.to_be_bytes());
    bytes[at + 51..at + 53].copy_from_slice(&0_i16.to_be_bytes());
    bytes[at + 53..at + 57].copy_from_slice(&i32::MAX.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[at + 21..]);
    bytes[at + 17..at + 21].copy_from_slice(&crc.to_be_bytes());
    bench.put(&Bench::log_path(0), &bytes);
    let (log, _) = bench.open(facts(0, LastStop::AnotherHand));
    assert_eq!(next(&log, 7), 0, "behind the largest comes the first");
    let appended = send(&log, 7, b"x");
    assert_eq!((appended.base_offset.get(), appended.sequence), (3, Some(Sequence::FIRST)));
    log.close().unwrap();
    assert_eq!(snapshots(&bench), [4]);
}

/// A log of a record each of these producers, closed.
fn written(ids: [i64; 5]) -> Bench {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for id in ids {
        send(&log, id, b"one");
    }
    log.close().unwrap();
    bench
}

/// What another hand that was stopped has left above its recovery point tells nothing.
#[test]
fn a_snapshot_of_another_hand_that_was_stopped_is_not_believed() {
    let (bench, other) = (written([7; 5]), written([7, 7, 8, 8, 8]));
    let snapshot = Bench::path(5, SegmentFile::ProducerSnapshot);
    bench.put(&snapshot, &other.bytes(&snapshot));
    let (log, _) = bench.open(facts(0, LastStop::AnotherHand));
    assert_eq!((next(&log, 7), next(&log, 8)), (5, 0));
}

#[test]
fn a_full_disk_keeps_the_recovery_point_where_its_snapshot_is() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    send(&log, 7, b"one");
    assert_eq!(log.checkpoint().unwrap().get(), 1);
    assert_eq!(snapshots(&bench), [1]);
    send(&log, 7, b"two");
    let first = Bench::path(2, SegmentFile::ProducerSnapshot);
    bench.disk.create_dir_all(&first).unwrap(); // nothing can be written there
    assert!(log.checkpoint().is_err());
    bench.disk.remove_dir(&first).unwrap();
    assert_eq!(log.checkpoint().unwrap().get(), 2);
    assert_eq!(snapshots(&bench), [1, 2]);
}

/// One that is gone already is gone; one that stays is tried again, and ends what relies on it.
#[test]
fn snapshots_are_forgotten_once_they_are_gone() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let path = |at: i64| Bench::path(at, SegmentFile::ProducerSnapshot);
    let listed = || log.snapshots.lock().iter().map(|at| at.get()).collect::<Vec<_>>();
    let checkpoint = || {
        send(&log, 7, b"more");
        log.checkpoint().unwrap();
    };
    (0..2).for_each(|_| checkpoint());
    assert_eq!(listed(), [1, 2], "the control");
    bench.disk.remove_file(&path(1)).unwrap();
    checkpoint();
    assert_eq!(listed(), [2, 3]);
    bench.disk.remove_file(&path(2)).unwrap();
    bench.disk.create_dir_all(&path(2)).unwrap(); // no file that could be removed
    checkpoint();
    assert_eq!(listed(), [2, 3, 4]);
    assert!(log.remove_all_snapshots().is_err());
    bench.disk.remove_dir(&path(2)).unwrap();
    log.remove_all_snapshots().unwrap();
    assert!(listed().is_empty() && snapshots(&bench).is_empty());
}

/// Once each for a clean close, a kill, and a power cut, with nothing above the recovery point.
#[test]
fn producers_whose_snapshots_are_all_lost_are_learnt_from_the_log() {
    for last_stop in [LastStop::Clean, LastStop::KilledSameBoot, LastStop::PowerCut] {
        let bench = Bench::new();
        let (log, _) = bench.open(facts(0, LastStop::Clean));
        for _ in 0..5 {
            send(&log, 7, b"once");
        }
        log.close().unwrap();
        for at in snapshots(&bench) {
            let path = Bench::path(at, SegmentFile::ProducerSnapshot);
            bench.disk.remove_file(&path).unwrap();
        }
        let (log, _) = bench.open(facts(5, last_stop));
        assert_eq!(next(&log, 7), 5, "{last_stop:?}");
        log.close().unwrap();
        assert_eq!(snapshots(&bench), [5], "{last_stop:?}");
    }
}

/// There is nothing to be read then, and no file that says otherwise.
#[test]
fn a_log_that_never_had_producers_is_not_read_for_them() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    plain(&log, b"of nobody");
    log.close().unwrap();
    let (log, _) = bench.open(facts(1, LastStop::Clean));
    assert!(log.writer.lock().producers.is_none());
    assert!(!bench.names().iter().any(|name| name == "tidelog.producers"));
}

/// Between the moment that a copy shows and the copying of its files the log is cut and goes on
/// otherwise: what a snapshot of then says is not of the records that the copy has.
#[test]
fn a_copy_has_no_snapshot_of_what_the_log_became_after_it() {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for _ in 0..30 {
        send(&log, 7, &[0; 100]);
    }
    log.checkpoint().unwrap();
    let dir = Path::new("/copy");
    let secured = cut_all(&[&log]).remove(0).secure(dir, Sharing::Nothing).unwrap();
    log.truncate_to(Offset::new(5), Some(LeaderEpoch::new(1)), &Forgetful).unwrap();
    for _ in 0..15 {
        send(&log, 9, &[0; 100]);
    }
    log.checkpoint().unwrap();
    let since: Vec<_> = snapshots(&bench).into_iter().filter(|at| (6..=20).contains(at)).collect();
    assert!(!since.is_empty(), "the control");
    secured.copy(dir, &|_, _| true).unwrap();
    secured.finish(dir, bench.setup(), false, &|_, _| true).unwrap();
    let (copy, _) = bench.try_open_at(dir, facts(30, LastStop::Clean)).unwrap();
    assert_eq!(next(&copy, 7), 30);
    for at in since.into_iter().rev() {
        copy.truncate_to(Offset::new(at), Some(LeaderEpoch::new(2)), &Forgetful).unwrap();
        let known: Vec<_> =
            copy.producer_states().iter().map(|state| state.identity().id().get()).collect();
        assert_eq!((known, next(&copy, 7)), (vec![7], i32::try_from(at).unwrap()), "at {at}");
    }
}

/// A truncation of the copy goes back to them; and of what came after the moment it knows nothing.
#[test]
fn a_copy_has_the_snapshots_of_its_records_and_no_later_ones() {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    let fill = |to| {
        for _ in 0..to {
            send(&log, 7, &[0; 100]);
        }
        log.checkpoint().unwrap();
    };
    fill(30);
    let dir = Path::new("/copy");
    let secured = cut_all(&[&log]).remove(0).secure(dir, Sharing::Nothing).unwrap();
    fill(20);
    secured.copy(dir, &|_, _| true).unwrap();
    let copied: Vec<i64> = {
        let names = bench.disk.list(dir).unwrap().into_iter().map(|entry| entry.name);
        names.filter_map(|name| name.strip_suffix(".snapshot")?.parse().ok()).collect()
    };
    let (until, beyond): (Vec<_>, Vec<_>) =
        snapshots(&bench).into_iter().partition(|at| *at <= secured.offsets().end.get());
    assert!(until.len() > 1 && !beyond.is_empty(), "the control: {until:?}, {beyond:?}");
    assert_eq!(copied, until);
}

#[test]
fn an_expiration_that_changes_counts_for_producers_that_are_known() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    send(&log, 7, b"once");
    let later = Timestamp::from_millis(1_060_000);
    let next = || log.next_sequence(of(7), later).unwrap().get();
    assert_eq!(next(), 1);
    let config = bench.config.clone().producer_id_expiration(Duration::from_secs(60));
    log.set_config(Arc::new(config));
    assert_eq!(next(), 0, "it is forgotten");
}
