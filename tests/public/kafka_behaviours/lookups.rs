//! Offsets by timestamp: the time index, the newest record, what isolation and the start hide.

use super::*;
use tidelog::OffsetSpec;

fn by_time(log: &Log, millis: i64) -> Option<i64> {
    log.offset_for_timestamp(at(millis)).expect("a look-up").map(|(offset, _)| offset.get())
}

fn newest(log: &Log) -> Option<i64> {
    let found = log.find_offset(OffsetSpec::MaxTimestamp).expect("a look-up");
    found.map(|found| found.offset().get())
}

fn timed(config: TopicConfig, times: &[i64]) -> (Bench, Log) {
    let (bench, log) = Bench::new(config);
    for time in times {
        log.append(&[Record::new(&big()).timestamp(at(*time))]).expect("an append");
    }
    (bench, log)
}

#[test]
fn the_first_record_by_offset_that_is_late_enough_is_found() {
    for interval in [0, 4_096] {
        let config = TopicConfig::new().segment_bytes(2_048).index_interval_bytes(interval);
        let times = [10, 30, 20, 50, 40, 50, 60, 5, 70, 65];
        let (bench, log) = timed(config, &times);
        let check = |log: &Log| {
            for wanted in 0..80 {
                let first = times.iter().position(|time| *time >= wanted);
                let first = first.map(|at| i64::try_from(at).expect("small"));
                assert_eq!(by_time(log, wanted), first, "{wanted}");
            }
        };
        check(&log);
        check(&bench.reopen(&log));
    }
}

#[test]
fn the_largest_timestamps_first_record_is_the_newest() {
    let config = TopicConfig::new().segment_bytes(1_024);
    let (bench, log) = timed(config, &[10, 90, 90, 20, 90, 30]);
    assert_eq!(newest(&log), Some(1));
    assert_eq!(newest(&bench.reopen(&log)), Some(1));
}

#[test]
fn the_newest_record_of_a_batch_is_found_within_it() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    let records = [5, 9, 9, 1].map(|time| Record::new("a").timestamp(at(time)));
    let receipt = log.append(&records).expect("an append");
    assert_eq!(receipt.timestamp(), Some(at(9)));
    assert_eq!((newest(&log), by_time(&log, 6), by_time(&log, 5)), (Some(1), Some(1), Some(0)));
}

#[test]
fn an_empty_log_has_two_ends_and_no_times() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
        let found = log.find_offset(spec).expect("a look-up").expect("one");
        assert_eq!((found.offset(), found.timestamp(), found.epoch()), (off(0), None, None));
    }
    assert_eq!((newest(&log), by_time(&log, i64::MIN / 2)), (None, None));
}

#[test]
fn records_without_timestamps_are_found_by_none() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    log.append(&[Record::new("a").without_timestamp()]).expect("an append");
    assert_eq!((newest(&log), by_time(&log, -START)), (None, None));
    log.append(&[Record::new("b").timestamp(at(3))]).expect("an append");
    assert_eq!((newest(&log), by_time(&log, -START)), (Some(1), Some(1)));
}

#[test]
fn offsets_that_are_found_name_their_epochs() {
    let (bench, log) = timed(TopicConfig::new(), &[10]);
    let first = log.find_offset(OffsetSpec::Latest).expect("found").expect("one").epoch();
    let log = bench.reopen(&log);
    log.append(&[Record::new("b").timestamp(at(20))]).expect("an append");
    let epoch = |spec| log.find_offset(spec).expect("a look-up").expect("one").epoch();
    assert_eq!(epoch(OffsetSpec::Earliest), first);
    assert_eq!(epoch(OffsetSpec::AtOrAfter(at(10))), first);
    assert!(epoch(OffsetSpec::AtOrAfter(at(11))) > first);
    assert_eq!(epoch(OffsetSpec::MaxTimestamp), epoch(OffsetSpec::Latest));
}

#[test]
fn records_of_an_open_transaction_are_found_by_time_by_uncommitted_readers_alone() {
    let (bench, log) = Bench::new(TopicConfig::new());
    log.append(&[Record::new("a").timestamp(at(1))]).expect("an append");
    let open = [Record::new("b").timestamp(at(9))];
    log.append_transactional(&open, by(7, 0), seq(0)).expect("an append");
    assert_eq!((by_time(&log, 2), newest(&log)), (None, Some(0)));
    let latest = |log: &Log| log.find_offset(OffsetSpec::Latest).expect("found").expect("one");
    assert_eq!(latest(&log).offset(), off(1));
    log.close().expect("it closes");
    let log = bench.builder().read_uncommitted().open().expect("it opens");
    assert_eq!((by_time(&log, 2), newest(&log)), (Some(1), Some(1)));
    assert_eq!(latest(&log).offset(), off(2));
}

#[test]
fn what_lies_below_the_start_is_found_by_no_time() {
    let config = TopicConfig::new().segment_bytes(1_024).index_interval_bytes(0);
    let (bench, log) = timed(config, &[10, 90, 20, 80, 30, 40]);
    log.delete_records_before(off(3)).expect("within");
    let check = |log: &Log| {
        assert_eq!((by_time(log, 0), by_time(log, 50), by_time(log, 81)), (Some(3), Some(3), None));
        assert_eq!(newest(log), Some(3));
    };
    check(&log);
    check(&bench.reopen(&log));
}

#[test]
fn times_are_those_of_the_records_that_are_left_after_a_cut() {
    let config = TopicConfig::new().segment_bytes(1_024).index_interval_bytes(0);
    let (bench, log) = timed(config, &[10, 20, 30, 90, 40]);
    log.truncate_to(off(3)).expect("within");
    assert_eq!((newest(&log), by_time(&log, 31)), (Some(2), None));
    let log = bench.reopen(&log);
    log.append(&[Record::new("new").timestamp(at(25))]).expect("an append");
    assert_eq!((newest(&log), by_time(&log, 21)), (Some(2), Some(2)));
}

#[test]
fn followers_find_by_time_what_their_leader_finds() {
    let (_leaders, leader) = led(0);
    for time in [10, 40, 30, 70] {
        leader.append(&[Record::new(&big()).timestamp(at(time))]).expect("an append");
    }
    let (_bench, log) = follower(TopicConfig::new().segment_bytes(1_024));
    log.append_as_follower(&batches(&leader, 0)).expect("its batches");
    assert_eq!(by_time(&log, 35), None, "above the high watermark");
    for log in [&leader, &log] {
        log.set_high_watermark(off(4)).expect("the end");
        assert_eq!((by_time(log, 35), by_time(log, 41), newest(log)), (Some(1), Some(3), Some(3)));
    }
}
