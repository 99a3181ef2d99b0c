//! What a read says of the place that it came to: of a batch that turned out bad, of offsets that
//! are not there, and of the epoch before one.

use super::*;

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
    let (from, name) = (Offset::new(1), log.name());
    let fetched = log.fetch(from, None, FetchLimits::all(1 << 20)).unwrap();
    let plain = PlainLimit::DEFAULT;
    let rules = TakeRules { max_records: usize::MAX, until: None, plain };
    let batches = fetched.batches().unwrap();
    let mut records = Records::default();
    let taken = records.take_in(&name.topic, name.partition, batches, from, rules, log.pinned());
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
