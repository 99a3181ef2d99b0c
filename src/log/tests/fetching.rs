//! What a read says of the place that it came to: of a batch that turned out bad, of offsets that
//! are not there, and of the epoch before one; and that who goes on at the end finds what who looks
//! for it does.

use std::os::unix::fs::FileExt;

use super::*;
use crate::segment::{Limits, Segment};

/// Its checksum is right; its records are not. The chunk that it came in begins before it, and does
/// not begin the file.
#[test]
fn a_batch_that_turned_out_bad_is_named_by_its_file_and_its_place_there() {
    let bench = Bench::new();
    let mut bytes = batches(0, 4);
    let size = bytes.len() / 4;
    let third = &mut bytes[2 * size..3 * size];
    third[size - 1] = 0x7f; // more headers than there are bytes
    let crc = crc32c::crc32c(&third[21..]);
    third[17..21].copy_from_slice(&crc.to_be_bytes());
    bench.put(&Bench::log_path(0), &bytes);
    let (log, _) = bench.open(facts(4, LastStop::Clean));
    let from = Offset::new(1);
    let fetched = log.fetch(from, None, FetchLimits::all(1 << 20)).unwrap();
    let plain = PlainLimit::DEFAULT;
    let rules = TakeRules { max_records: usize::MAX, until: None, plain };
    let batches = fetched.batches().unwrap();
    let mut records = Records::default();
    let taken = records.take_in(&log.origin(), batches, from, rules);
    assert_eq!((taken.records, records.len()), (1, 1), "what lies before it");
    let (at, fault) = taken.fault.unwrap();
    let failed = log.counters().failed_reads.get();
    let error = log.batch_failed(&fetched, at, fault);
    assert!(error.is_corrupt(), "{error}");
    assert_eq!(error.path(), Some(&*Bench::log_path(0)));
    assert_eq!(error.position(), Some(2 * size as u64), "{error}");
    assert_eq!(log.counters().failed_reads.get(), failed + 1);
}

/// Compaction took the first; the second was lost, with all that readers are to be told of it.
#[test]
fn a_gap_that_may_be_there_is_no_damage_beside_one_that_is() {
    let bench = Bench::new();
    bench.put(&Bench::log_path(0), &batches(0, 3));
    bench.put(&Bench::log_path(5), &batches(5, 8));
    let compacted = Offset::new(8);
    let known = KnownFacts { compacted, ..facts(12, LastStop::PowerCut) };
    let (log, report) = bench.open(known);
    let damage: Vec<_> =
        report.damage().iter().map(|lost| (lost.from().get(), lost.to().get())).collect();
    assert_eq!(damage, [(8, 12)], "the control");
    for from in [3, 4] {
        let fetched = log.fetch(Offset::new(from), None, FetchLimits::all(1)).unwrap();
        assert_eq!(fetched.chunk.unwrap().first_offset.get(), 5, "from {from}");
    }
    for from in [8, 11] {
        let lost = log.fetch(Offset::new(from), None, FetchLimits::all(1)).unwrap_err();
        assert!(lost.is_corrupt(), "from {from}: {lost}");
    }
}

/// A position is kept with it, so that a truncation is noticed.
#[test]
fn the_epoch_before_an_offset_is_that_of_the_last_record_below_it() {
    let bench = Bench::new();
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    for (epoch, records) in [(3, 2), (5, 1)] {
        log.begin_epoch(LeaderEpoch::new(epoch));
        for _ in 0..records {
            append(&log, b"value", 1).unwrap();
        }
    }
    let before: Vec<_> = (0..4).map(|offset| log.epoch_before(Offset::new(offset))).collect();
    let of = |epoch| Some(LeaderEpoch::new(epoch));
    assert_eq!(before, [None, of(3), of(3), of(5)]);
}

/// With nothing but one look at each batch, where all that is left is like that.
#[test]
fn who_goes_on_at_the_end_is_given_what_who_searches_is() {
    let Some((directory, _bench, log)) = mapped() else { return };
    let mut places = Vec::new();
    for number in 0..30 {
        let segment = log.segments.load().first().cloned();
        places.push(segment.map_or(0, |segment| segment.published()));
        append(&log, &vec![7; 30 * number], 0).unwrap();
    }
    let segment = log.segments.load()[0].clone();
    let all = Limits { bytes: 1 << 20, records: 1_000, bound: Offset::new(30), gapless_from: None };
    let rest = |from: usize, limits: Limits| {
        segment.take_rest(places[from], Offset::new(from as i64), limits)
    };
    let mut taken = 0;
    for from in 0..30 {
        let searched = segment.read(Offset::new(from as i64), None, all).unwrap().unwrap();
        let Some(rest) = rest(from, all) else { continue };
        assert_eq!(rest.bytes, searched.bytes, "from {from}");
        assert_eq!(rest.sound.first_offset, Offset::new(from as i64));
        let next = (rest.end, rest.sound.next_offset, Some(rest.sound));
        assert_eq!(next, (segment.published(), Offset::new(30), searched.sound));
        taken += 1;
    }
    assert!((2..29).contains(&taken), "the last few, not all: {taken}");

    assert!(rest(28, all).is_some(), "the control");
    let below = Offset::new(29);
    assert!(rest(28, Limits { bound: below, ..all }).is_none(), "not all of it is for this reader");
    assert!(rest(28, Limits { records: 1, ..all }).is_none(), "nor is all wanted");
    assert!(rest(28, Limits { bytes: 1_000, ..all }).is_none());
    assert!(segment.take_rest(places[28], below, all).is_none(), "it begins before that offset");
    assert!(segment.take_rest(segment.published(), Offset::new(30), all).is_none(), "nothing left");

    let path = directory.path().join(segment_file(Offset::ZERO, SegmentFile::Log));
    let other_hand = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let change = |at: u64| {
        let mut byte = [0];
        FileExt::read_exact_at(&other_hand, &mut byte, at).unwrap();
        FileExt::write_all_at(&other_hand, &[byte[0] ^ 1], at).unwrap();
    };
    let (base, epoch) = (places[29] + 6, places[28] + 15); // which no checksum covers
    change(base);
    let beyond = Limits { bound: Offset::new(1_000), ..all };
    assert!(rest(28, beyond).is_some(), "what lies between may have been compacted");
    assert!(rest(28, Limits { gapless_from: Some(Offset::ZERO), ..beyond }).is_none());
    change(base);
    change(epoch);
    assert!(rest(28, all).is_none(), "the next one's falls");
    change(epoch);
    assert!(rest(28, all).is_some(), "the control");
    change(segment.published() - 5);
    assert!(rest(28, all).is_none(), "what is damaged, the long way tells");
    let read = |segment: &Segment, from: i64| {
        segment.read(Offset::new(from), Some(places[from as usize]), all)
    };
    assert_eq!(read(&segment, 28).unwrap().unwrap().next_offset, Offset::new(29));
    assert!(read(&segment, 29).unwrap_err().is_corrupt());
    segment.drop_map();
    assert!(rest(28, all).is_none(), "nothing is mapped");
    assert_eq!(read(&segment, 28).unwrap().unwrap().next_offset, Offset::new(29));
}
