//! Where a log ends that ends below its start, at an empty file, or as another hand has left it.

use super::*;

/// Nothing is promised below it; what goes on above it is no part of a segment that ends below.
#[test]
fn a_log_that_ends_below_its_start_has_lost_nothing_and_goes_on_there() {
    let bench = Bench::new();
    for torn in [0, 5] {
        let bytes = batches(0, 4);
        bench.put(&Bench::log_path(0), &bytes[..bytes.len() - torn]);
        let known = KnownFacts { log_start: Offset::new(5), ..facts(5, LastStop::PowerCut) };
        let (log, report) = bench.open(known);
        assert!(report.damage().is_empty(), "{report:?}");
        assert_eq!(report.torn_tails().len(), usize::from(torn > 0), "{report:?}");
        assert_eq!(append(&log, b"goes on", 9).unwrap(), 5);
        assert!(bench.exists(&Bench::log_path(5)), "{:?}", bench.names());
        bench.disk.remove_file(&Bench::log_path(5)).unwrap();
    }
}

/// A roll that failed has left it, and its predecessor went on beyond.
#[test]
fn a_segment_that_has_grown_past_an_empty_file_is_looked_at_all_the_same() {
    let bench = Bench::new();
    bench.put(&Bench::log_path(0), &batches(0, 8));
    bench.put(&Bench::log_path(5), b"");
    let known = KnownFacts { adopted: true, ..facts(7, LastStop::KilledSameBoot) };
    let (log, report) = bench.open(known);
    assert!(report.damage().is_empty(), "{report:?}");
    assert_eq!(log.offsets().end().get(), 8);
    assert_eq!(offsets(&read_from(&log, 0).unwrap()), (0..8).collect::<Vec<_>>());
}

/// What Kafka's cleaner leaves at the end of a log says where it ends; what this library wrote
/// begins there.
#[test]
fn an_empty_file_of_kafkas_where_this_library_went_on_is_the_logs_end() {
    let bench = Bench::new();
    bench.put(&Bench::log_path(0), &batches(0, VALID));
    bench.put(&Bench::log_path(7), b"");
    let ours_from = Some(Offset::new(7));
    let known = KnownFacts { adopted: true, ours_from, ..facts(7, LastStop::PowerCut) };
    let (log, report) = bench.open(known);
    assert!(!report.is_notable(), "{report:?}");
    assert!(bench.exists(&Bench::log_path(7)));
    assert_eq!(append(&log, b"goes on", 9).unwrap(), 7);
}

/// A clean end is its word for all there was, whatever recovery point came with it.
#[test]
fn what_another_hand_closed_is_damaged_where_a_segment_follows_and_torn_at_its_end() {
    let third = batches(0, VALID).len();
    for is_damage in [true, false] {
        let bench = Bench::new();
        let mut spoilt = batches(0, 4);
        spoilt[third + 70] ^= 1;
        bench.put(&Bench::log_path(0), &spoilt);
        if is_damage {
            bench.put(&Bench::log_path(4), &batches(4, 6));
        }
        let known = KnownFacts { adopted: true, ..facts(0, LastStop::AnotherHandClean) };
        let (log, report) = bench.open(known);
        let found = (report.damage().len(), report.torn_tails().len());
        assert_eq!(found, if is_damage { (1, 0) } else { (0, 1) }, "{report:?}");
        let end = if is_damage { 6 } else { VALID };
        assert_eq!(log.offsets().end().get(), end, "{report:?}");
    }
}
