//! A log that its host leads: what a follower takes, gaps, the high watermark, and what is left of
//! each after a reopening.

mod leading;

use super::*;
use crate::config::Leadership;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::record::ProducerIdentity;
use std::sync::atomic::{AtomicUsize, Ordering};

fn open(disk: &Arc<dyn Disk>) -> Log {
    let config = TopicConfig::new().segment_bytes(1024).index_interval_bytes(100);
    Log::builder("/log").config(config).disk(disk.clone()).open().unwrap()
}

fn host_led() -> (Arc<dyn Disk>, Log) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    log.set_leadership(Leadership::HostLed).unwrap();
    (disk, log)
}

fn epoch(number: i32) -> LeaderEpoch {
    LeaderEpoch::new(number)
}

/// One batch of one record with its place and epoch.
fn of_leader(base: i64, epoch: i32) -> Vec<u8> {
    let mut bytes = batch(base, format!("value {base}").as_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes
}

fn offsets_of(log: &Log) -> Vec<i64> {
    let (mut found, mut next) = (Vec::new(), log.start_offset());
    loop {
        let records = log.read(next, 1 << 20).unwrap();
        let Some(last) = records.iter().last() else { return found };
        next = last.offset().next();
        found.extend(records.iter().map(|record| record.offset().get()));
    }
}

#[test]
fn a_batch_that_does_not_fit_leaves_the_log_as_it_was_and_says_where_it_is() {
    let (_, log) = host_led();
    log.append_as_follower(&of_leader(0, 3)).unwrap();
    let good = of_leader(1, 3);
    let mut flipped = of_leader(2, 3);
    *flipped.last_mut().unwrap() ^= 1;
    let mut old = of_leader(2, 3);
    old[16] = 1;
    let cases = [
        (flipped, ErrorKind::Corrupt),
        (of_leader(2, 3)[..40].to_vec(), ErrorKind::Corrupt),
        (old, ErrorKind::Unsupported),
        (of_leader(1, 3), ErrorKind::UnexpectedOffset),
        (of_leader(2, 2), ErrorKind::FencedLeaderEpoch),
    ];
    for (bad, kind) in cases {
        let bytes = [&good[..], &bad, &of_leader(9, 9)].concat();
        let error = log.append_as_follower(&bytes).unwrap_err();
        assert_eq!((error.kind(), error.position()), (kind, Some(good.len() as u64)), "{error}");
        assert_eq!(log.end_offset().get(), 1, "{error}");
    }
    for (bad, kind) in [
        (of_leader(0, 3), ErrorKind::UnexpectedOffset),
        (of_leader(1, 2), ErrorKind::FencedLeaderEpoch),
    ] {
        let error = log.append_as_follower(&bad).unwrap_err();
        assert_eq!((error.kind(), error.position()), (kind, Some(0)), "{error}");
    }
    log.append_as_follower(&good).unwrap();
    assert_eq!(log.append_as_follower(&[]).unwrap().get(), 2);
}

#[test]
fn gaps_of_a_leader_are_no_damage_before_and_after_an_open() {
    let (disk, log) = host_led();
    for base in [3, 4, 9, 10, 11, 40, 41, 90] {
        log.append_as_follower(&of_leader(base, 0)).unwrap();
    }
    let far = i64::from(i32::MAX) + 200; // more than a segment spans
    log.append_as_follower(&[of_leader(far, 0), of_leader(far + 5, 1)].concat()).unwrap();
    log.set_high_watermark(log.end_offset()).unwrap();
    let all = [3, 4, 9, 10, 11, 40, 41, 90, far, far + 5];
    assert_eq!(offsets_of(&log), all);
    assert!(log.verifier().run().unwrap().is_clean());
    log.close().unwrap();
    let log = open(&disk);
    assert!(!log.report().is_notable(), "{:?}", log.report());
    assert_eq!(offsets_of(&log), all);
    assert!(log.verifier().run().unwrap().is_clean());
    assert_eq!(
        log.leader_epochs().unwrap(),
        [(epoch(0), Offset::new(3)), (epoch(1), Offset::new(far + 5))]
    );
}

#[test]
fn a_log_may_begin_far_above_where_it_starts() {
    let (disk, log) = host_led();
    let far = i64::from(i32::MAX) * 3;
    log.append_as_follower(&of_leader(far, 0)).unwrap();
    log.flush().unwrap();
    log.close().unwrap();
    let log = open(&disk);
    assert!(!log.report().is_notable(), "{:?}", log.report());
    log.append_as_follower(&of_leader(far + 1, 0)).unwrap();
    log.set_high_watermark(log.end_offset()).unwrap();
    assert_eq!(offsets_of(&log), [far, far + 1]);
    assert_eq!(log.start_offset(), Offset::ZERO);
}

#[test]
fn the_high_watermark_bounds_readers_and_stays_within_the_log() {
    let (disk, log) = host_led();
    log.append_as_leader(epoch(0), &[Record::new("a"), Record::new("b")]).unwrap();
    log.append_as_leader(epoch(0), &[Record::new("c"), Record::new("d")]).unwrap();
    assert_eq!(log.high_watermark(), Offset::ZERO);
    assert!(log.read(Offset::ZERO, 1 << 20).unwrap().is_empty());
    log.set_high_watermark(Offset::new(3)).unwrap(); // within the second batch
    assert_eq!(offsets_of(&log), [0, 1]);
    let read = log.read_batches(Offset::new(2), RawLimits::to_high_watermark(1 << 20)).unwrap();
    assert!(read.is_empty() && read.next_offset().get() == 2, "a record must not be skipped");
    assert!(log.delete_records_before(Offset::new(4)).is_err());
    assert_eq!(log.set_high_watermark(Offset::new(99)).unwrap().get(), 4);
    assert_eq!(offsets_of(&log), [0, 1, 2, 3]);
    log.flush().unwrap();
    log.close().unwrap();
    let log = open(&disk);
    assert_eq!(log.high_watermark().get(), 4);
    log.truncate_to(Offset::new(2)).unwrap();
    log.append_as_leader(epoch(1), &[Record::new("e")]).unwrap();
    assert_eq!(log.high_watermark().get(), 2);
    log.delete_records_before(Offset::new(1)).unwrap();
    assert_eq!(log.set_high_watermark(Offset::ZERO).unwrap().get(), 1);
}

#[test]
fn a_follower_knows_the_producers_it_has_batches_of() {
    let (_, leader) = host_led();
    let (disk, follower) = host_led();
    leader.become_leader(epoch(0)).unwrap();
    let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    leader.append_produced(&[Record::new("a"), Record::new("b")], us, Sequence::FIRST).unwrap();
    let read = leader.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20)).unwrap();
    follower.append_as_follower(read.bytes()).unwrap();
    assert_eq!(follower.producers(), leader.producers());
    assert_eq!(follower.next_sequence(us).unwrap().get(), 2);
    drop(follower);
    assert_eq!(open(&disk).next_sequence(us).unwrap().get(), 2);
}

#[test]
fn a_full_truncation_to_the_very_end_forgets_the_producers() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    let us = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    log.append_produced(&[Record::new("a"), Record::new("b")], us, Sequence::FIRST).unwrap();
    log.truncate_fully_and_start_at(log.end_offset()).unwrap();
    assert!(log.producers().is_empty());
    log.close().unwrap();
    let log = open(&disk);
    assert!(log.producers().is_empty());
    assert_eq!(log.start_offset().get(), 2);
}

/// A keeper that is asked while the log takes appends.
#[derive(Debug)]
struct Between<'a>(&'a Log, AtomicUsize);

impl Keeper for Between<'_> {
    fn record(&self, facts: &[(LogId, LogFact)], durable: Durable) -> crate::error::Result<()> {
        assert!(self.0.log.writer.try_lock().is_some(), "the sync is made under the writer lock");
        assert!(self.0.points.try_write().is_none(), "a truncation could come in between");
        self.1.fetch_add(facts.len(), Ordering::Relaxed);
        self.0.keeper.record(facts, durable)
    }
}

#[test]
fn a_leaders_gaps_are_recorded_without_the_writer_lock_and_without_a_truncation() {
    let (_disk, log) = host_led();
    let keeper = Between(&log, 0.into());
    for (base, recorded) in [(0, 0), (5, 1), (6, 1), (9, 2)] {
        let bytes = of_leader(base, 0);
        let batches = LeaderBatches::check(&bytes).unwrap();
        let now = Timestamp::from_millis(0);
        let followed = log.log.append_as_follower(&batches, now, (&keeper, &log.points)).unwrap();
        assert!(followed.failure.is_none() && followed.end.get() == base + 1);
        assert_eq!(followed.bytes, batches.size());
        assert_eq!(keeper.1.load(Ordering::Relaxed), recorded, "at {base}");
    }
}

/// The batch with no records counted, and these attributes.
fn emptied(mut bytes: Vec<u8>, attributes: u16) -> Vec<u8> {
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[57..61].copy_from_slice(&0_u32.to_be_bytes());
    let length = u32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Compaction may leave one without records; one that has some and counts none is no batch.
#[test]
fn a_batch_that_counts_no_records_has_none() {
    let (_, log) = host_led();
    for codec in 0..2 {
        let with_bytes = emptied(of_leader(0, 3), codec);
        assert!(log.append_as_follower(&with_bytes).unwrap_err().is_corrupt(), "codec {codec}");
        assert_eq!(log.end_offset().get(), 0);
    }
    let without = emptied(of_leader(0, 3)[..61].to_vec(), 0);
    assert_eq!(log.append_as_follower(&without).unwrap().get(), 1);
}

/// Nothing is handed out with it alone, so nobody's commit moves over it.
#[test]
fn a_batch_without_records_is_not_read_straight() {
    let (_, log) = host_led();
    let append = |bytes: &[u8]| {
        let end = log.append_as_follower(bytes).unwrap();
        log.set_high_watermark(end).unwrap();
    };
    append(&of_leader(0, 3));
    let limits = FetchLimits::all(1 << 20);
    let cursor = log.log.fetch(Offset::ZERO, None, limits).unwrap().cursor.unwrap();
    append(&emptied(of_leader(1, 3)[..61].to_vec(), 0));
    assert!(log.log.rest(&cursor, limits, 10).is_none());
    append(&of_leader(2, 3));
    let rest = log.log.rest(&cursor, limits, 10).expect("one behind it has a record");
    assert_eq!((rest.sound.records, rest.sound.next_offset.get()), (1, 3));
}

/// Its transaction has left the log whole: none begins with it.
#[test]
fn a_marker_that_compaction_has_emptied_concerns_no_producer() {
    let (_, log) = host_led();
    let mut bytes = of_leader(0, 3)[..61].to_vec();
    bytes[43..51].copy_from_slice(&7_i64.to_be_bytes());
    bytes[51..53].copy_from_slice(&0_i16.to_be_bytes());
    let (transactional, control) = (0x10, 0x20);
    log.append_as_follower(&emptied(bytes, transactional | control)).unwrap();
    assert_eq!(log.end_offset().get(), 1);
    assert!(log.log.producer_states().is_empty(), "{:?}", log.log.producer_states());
}

/// Each leader's first record is where its epoch begins, also that of one who led before.
#[test]
fn every_epoch_that_appends_is_entered_where_it_begins() {
    let (_, log) = host_led();
    for (number, records) in [(5, 2), (6, 1), (6, 1), (8, 1)] {
        for _ in 0..records {
            log.append_as_leader(epoch(number), &[Record::new("a")]).unwrap();
        }
    }
    let begun = [(epoch(5), 0), (epoch(6), 2), (epoch(8), 4)];
    let begun = begun.map(|(epoch, at)| (epoch, Offset::new(at)));
    assert_eq!(log.leader_epochs().unwrap(), begun);
    log.become_follower().unwrap();
    log.truncate_to(Offset::new(4)).unwrap();
    assert_eq!(log.leader_epochs().unwrap(), begun[..2]);
    log.append_as_leader(epoch(8), &[Record::new("again")]).unwrap();
    assert_eq!(log.leader_epochs().unwrap(), begun);
}

/// What is missing between two segments is known to be lost: a gap that fits lies within one.
#[test]
fn a_segment_begins_behind_the_last_record_but_behind_a_wide_gap() {
    let far = super::super::keeper::FAR.cast_signed();
    for (next, begins) in [(10, 1), (far, 1), (far + 1, far + 1), (far + 2, far + 2)] {
        let (disk, log) = host_led();
        let large = |base: i64| {
            let mut bytes = batch(base, &[1; 600]);
            bytes[12..16].copy_from_slice(&3_i32.to_be_bytes());
            bytes
        };
        log.append_as_follower(&large(0)).unwrap();
        log.append_as_follower(&large(next)).unwrap();
        let names = disk.list(Path::new("/log")).unwrap().into_iter().map(|entry| entry.name);
        let digits = names.filter_map(|name| name.strip_suffix(".log").map(str::to_owned));
        let mut bases: Vec<i64> = digits.map(|digits| digits.parse().unwrap()).collect();
        bases.sort_unstable();
        assert_eq!(bases, [0, begins], "the next record has offset {next}");
        log.set_high_watermark(log.end_offset()).unwrap();
        assert_eq!(offsets_of(&log), [0, next]);
    }
}

/// A full disk has written nothing of it: the log goes on once there is room.
#[cfg(feature = "sim")]
#[test]
fn a_leaders_batch_that_found_no_room_may_be_sent_again() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    use crate::error::Outcome;
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let log = open(&disk);
    log.set_leadership(Leadership::HostLed).unwrap();
    log.append_as_follower(&of_leader(0, 3)).unwrap();
    let mut large = batch(1, &[1; 1200]);
    large[12..16].copy_from_slice(&3_i32.to_be_bytes());
    sim.fail(Plan::new(Fault::Error(28)).on(Operation::Open).for_ever());
    let error = log.append_as_follower(&large).unwrap_err();
    assert_eq!((error.is_full(), error.outcome()), (true, Outcome::NotWritten), "{error}");
    sim.heal();
    log.append_as_follower(&large).unwrap();
    log.set_high_watermark(log.end_offset()).unwrap();
    assert_eq!(offsets_of(&log), [0, 1]);
}

/// A power cut has taken the segment behind a leader's gap, which no other segment reaches across.
#[test]
fn the_journal_gives_back_a_segment_behind_a_leaders_wide_gap() {
    use crate::journal::{Extent, Frame};
    let bench = Bench::new();
    bench.put(&Bench::log_path(0), b"");
    let base = super::super::keeper::FAR.cast_signed() * 4;
    let sparse = Offset::new(base);
    let known = KnownFacts { sparse, ..facts(0, LastStop::PowerCut) };
    let (log, _) = bench.open(known);
    let end = Offset::new(base + 1);
    let extent = Extent { log: bench.id, segment: sparse, position: 0, first: sparse, end };
    let frame = Frame { extent, batches: batch(base, b"behind it").into() };
    assert_eq!(log.replay(&[frame]).unwrap(), 1);
    assert!(bench.exists(&Bench::log_path(base)));
    assert_eq!(read_from(&log, base).unwrap(), [(base, b"behind it".to_vec())]);
}
