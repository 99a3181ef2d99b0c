//! What goes by size, by age and by the start of the log, and what stays.

use super::*;
use tidelog::ErrorKind;

fn segmented() -> TopicConfig {
    TopicConfig::new().segment_bytes(1_024)
}

/// The bytes of two records of [`big`], which make a segment.
fn segment_bytes() -> u64 {
    let (_bench, log) = Bench::new(segmented());
    fill(&log, 2);
    batches(&log, 0).len() as u64
}

#[test]
fn a_log_of_exactly_the_bytes_that_stay_loses_nothing() {
    let size = segment_bytes();
    for (keep, left) in [(3 * size, 0), (3 * size - 1, 0), (2 * size + 1, 0), (2 * size, 2)] {
        let (_bench, log) = Bench::new(segmented().retention_bytes(keep));
        fill(&log, 6);
        log.apply_retention().expect("a run");
        assert_eq!(log.start_offset(), off(left), "{keep} of {}", 3 * size);
    }
}

#[test]
fn no_bytes_and_no_time_take_all_but_no_offsets() {
    let (bench, log) = Bench::new(segmented().retention_bytes(0));
    fill(&log, 5);
    log.apply_retention().expect("a run");
    assert_eq!((log.start_offset(), log.end_offset()), (off(5), off(5)));
    assert_eq!(bench.reopen(&log).start_offset(), off(5));
    let (bench, log) = Bench::new(segmented().retention(Duration::ZERO));
    fill(&log, 5);
    log.apply_retention().expect("a run");
    assert_eq!(log.start_offset(), off(0), "as old as now is not older");
    bench.clock.advance(Duration::from_millis(1));
    log.apply_retention().expect("a run");
    assert_eq!((log.start_offset(), log.end_offset()), (off(5), off(5)));
}

#[test]
fn a_record_from_the_future_keeps_its_segment_and_all_after_it() {
    let config = segmented().retention(seconds(10)).timestamp_after_max(None);
    let (bench, log) = Bench::new(config);
    fill(&log, 3);
    log.append(&[Record::new(&big()).timestamp(at(1_000_000))]).expect("an append");
    fill(&log, 4);
    bench.clock.advance(seconds(60));
    log.apply_retention().expect("a run");
    assert_eq!(log.start_offset(), off(2));
    bench.clock.advance(seconds(1_000));
    log.apply_retention().expect("a run");
    assert_eq!(log.start_offset(), off(8));
}

#[test]
fn a_segment_is_as_old_as_its_newest_record() {
    let (bench, log) = Bench::new(segmented().retention(seconds(10)));
    log.append(&[Record::new(&big()).timestamp(at(-100_000))]).expect("an append");
    log.append(&[Record::new(&big())]).expect("an append");
    fill(&log, 2);
    bench.clock.advance(seconds(10));
    log.apply_retention().expect("a run");
    assert_eq!(log.start_offset(), off(0));
}

#[test]
fn records_that_are_old_already_go_at_once() {
    let (_bench, log) = Bench::new(segmented().retention(seconds(10)));
    for _ in 0..5 {
        log.append(&[Record::new(&big()).timestamp(at(-10_001))]).expect("an append");
    }
    log.apply_retention().expect("a run");
    assert_eq!((log.start_offset(), log.end_offset()), (off(5), off(5)));
}

#[test]
fn without_bounds_nothing_goes() {
    let (bench, log) = Bench::new(segmented());
    fill(&log, 9);
    bench.clock.advance(seconds(1 << 30));
    assert_eq!(log.apply_retention().expect("a run"), 0);
    assert_eq!(log.start_offset(), off(0));
}

#[test]
fn the_start_takes_whole_segments_below_it_and_never_falls() {
    let (bench, log) = Bench::new(segmented());
    fill(&log, 9);
    log.delete_records_before(off(1)).expect("within");
    assert_eq!(bench.segments()[0], 0, "its segment has more");
    log.delete_records_before(off(2)).expect("within");
    log.maintain().expect("upkeep");
    assert_eq!(bench.segments()[0], 2);
    log.delete_records_before(off(7)).expect("within");
    log.delete_records_before(off(3)).expect("nothing to do");
    assert_eq!(log.start_offset(), off(7));
    let (_bench, log) = bench.killed(&log);
    assert_eq!((log.start_offset(), offsets(&log, 7)), (off(7), vec![7, 8]));
    log.delete_records_before(off(9)).expect("all of it");
    fill(&log, 1);
    assert_eq!(offsets(&log, 9), [9]);
}

#[test]
fn the_start_stays_where_it_was_put_when_older_segments_go() {
    let (_bench, log) = Bench::new(segmented().retention_bytes(2 * segment_bytes()));
    fill(&log, 8);
    log.delete_records_before(off(7)).expect("within");
    log.apply_retention().expect("a run");
    assert_eq!(log.start_offset(), off(7));
}

#[test]
fn neither_retention_nor_deletion_goes_beyond_the_high_watermark() {
    let (_bench, log) = led(0);
    fill(&log, 8);
    log.set_high_watermark(off(5)).expect("within");
    log.set_config(segmented().retention_bytes(0)).expect("a legal one");
    log.apply_retention().expect("a run");
    assert_eq!(log.start_offset(), off(4));
    let beyond = log.delete_records_before(off(6)).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::OffsetOutOfRange, "{beyond}");
    log.delete_records_before(off(5)).expect("up to it");
    assert_eq!(log.start_offset(), off(5));
}

#[test]
fn epochs_and_readers_follow_the_start() {
    let (bench, log) = Bench::new(segmented().retention_bytes(0));
    fill(&log, 3);
    let log = bench.reopen(&log);
    fill(&log, 2);
    log.apply_retention().expect("a run");
    let gone = log.read(off(2), 1_000).unwrap_err();
    assert_eq!(gone.available(), Some((off(5), off(5))));
    assert!(log.leader_epochs().expect("open").len() <= 1);
    assert!(log.read(off(5), 1_000).expect("the end").is_empty());
}

#[test]
fn a_clock_that_goes_back_takes_nothing() {
    let (bench, log) = Bench::new(segmented().retention(seconds(10)));
    fill(&log, 5);
    bench.clock.set_wall(at(-1_000_000));
    assert_eq!(log.apply_retention().expect("a run"), 0);
    bench.clock.set_wall(at(10_001));
    log.apply_retention().expect("a run");
    assert_eq!(log.start_offset(), off(5));
}
