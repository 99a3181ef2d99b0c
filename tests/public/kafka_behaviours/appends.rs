//! Appending, rolling, reading, truncating, syncing, and what opens leave.

use super::*;
use tidelog::{Durability, ErrorKind};

#[test]
fn offsets_rise_by_one_over_segments_and_reads_begin_where_they_are_asked_to() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    fill(&log, 30);
    assert_eq!(bench.segments().len(), 15);
    for from in 0..30 {
        assert_eq!(offsets(&log, from), (from..30).collect::<Vec<_>>());
    }
}

#[test]
fn a_read_at_the_end_is_empty_and_one_beyond_or_below_is_out_of_range() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    log.append(&[Record::new("a"), Record::new("b")]).expect("an append");
    log.delete_records_before(off(1)).expect("within");
    assert!(log.read(off(2), 1_000).expect("the end").is_empty());
    for wrong in [0, 3, i64::MAX] {
        let error = log.read(off(wrong), 1_000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
        assert_eq!(error.available(), Some((off(1), off(2))));
    }
    assert_eq!(log.read(off(-1), 1_000).unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
}

#[test]
fn one_batch_is_read_however_few_bytes_are_asked_for() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    fill(&log, 3);
    for bytes in [0, 1, 100] {
        let first = log.read(off(1), bytes).expect("it reads");
        assert_eq!(first.iter().map(|it| it.offset().get()).collect::<Vec<_>>(), [1]);
        assert!(!log.read_batches(off(1), RawLimits::to_end(bytes)).expect("read").is_empty());
        let strict = RawLimits::to_end(bytes).strict();
        assert!(log.read_batches(off(1), strict).expect("read").is_empty());
    }
}

#[test]
fn keys_values_and_headers_come_back_as_they_were_null_or_empty() {
    let (bench, log) = Bench::new(TopicConfig::new());
    let records = [
        Record::new("").key(""),
        Record::tombstone().key("k"),
        Record::tombstone(),
        Record::new("v").header("h", "").null_header("h").header("", "x"),
    ];
    log.append(&records).expect("an append");
    let log = bench.reopen(&log);
    let read = log.read(off(0), 1_000).expect("it reads");
    for (found, sent) in read.iter().zip(&records) {
        assert_eq!((found.key(), found.value()), (sent.key_bytes(), sent.value()));
        let headers: Vec<_> = found.headers().map(|it| (it.name(), it.value())).collect();
        let wanted: Vec<_> = sent.headers().iter().map(|it| (it.name(), it.value())).collect();
        assert_eq!(headers, wanted);
    }
    assert_eq!(read.len(), 4);
}

#[test]
fn jitter_rolls_earlier_never_later() {
    let config = TopicConfig::new().timestamp_after_max(None).segment_ms(seconds(10));
    for _ in 0..20 {
        let (bench, log) = Bench::new(config.clone().segment_jitter(seconds(4)));
        log.append(&[Record::new("a").timestamp(at(0))]).expect("an append");
        log.append(&[Record::new("b").timestamp(at(6_000))]).expect("an append");
        assert_eq!(bench.segments(), [0], "not before the jitter allows");
        log.append(&[Record::new("c").timestamp(at(10_001))]).expect("an append");
        assert_eq!(bench.segments().len(), 2, "not later than without");
    }
}

#[test]
fn a_record_from_before_the_segments_first_does_not_roll_it() {
    let config = TopicConfig::new().segment_ms(seconds(10));
    let (bench, log) = Bench::new(config);
    log.append(&[Record::new("a")]).expect("an append");
    log.append(&[Record::new("b").timestamp(at(-1_000_000))]).expect("an append");
    assert_eq!(bench.segments(), [0]);
}

#[test]
fn records_without_timestamps_roll_by_the_age_of_the_segment() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_ms(seconds(10)));
    let none = || log.append(&[Record::new("a").without_timestamp()]).expect("an append");
    none();
    bench.clock.advance(seconds(10));
    none();
    assert_eq!(bench.segments(), [0]);
    bench.clock.advance(Duration::from_millis(1));
    none();
    assert_eq!(bench.segments(), [0, 2]);
}

#[test]
fn a_full_index_rolls_the_segment() {
    let config = TopicConfig::new().index_interval_bytes(0).segment_index_bytes(240);
    let (bench, log) = Bench::new(config);
    for number in 0..100 {
        log.append(&[Record::new("a").timestamp(at(number))]).expect("an append");
    }
    let segments = bench.segments();
    assert!((4..12).contains(&segments.len()), "{segments:?}");
    assert_eq!(offsets(&log, 0), (0..100).collect::<Vec<_>>());
}

#[test]
fn the_largest_batch_is_taken_and_one_byte_more_is_not_but_from_a_leader() {
    let config = TopicConfig::new().max_batch_bytes(200);
    let (bench, log) = Bench::new(config.clone());
    let fits = (0..200).rev().map(|size| vec![7; size]);
    let fits = fits.into_iter().find(|value| log.append(&[Record::new(value)]).is_ok());
    let fits = fits.expect("one fits").len();
    let raw = log.read_batches(off(0), RawLimits::to_end(1_000)).expect("read");
    assert_eq!(raw.bytes().len(), 200);
    let error = log.append(&[Record::new(&vec![7; fits + 1])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!((log.end_offset(), bench.segments()), (off(1), vec![0]));

    let (_leaders, leader) = led(0);
    fill(&leader, 1);
    let (_followers, follower) = follower(config);
    follower.append_as_follower(&batches(&leader, 0)).expect("whatever the topic allows");
    assert_eq!(follower.end_offset(), off(1));
}

#[test]
fn a_log_begins_anywhere() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    log.truncate_fully_and_start_at(off(1 << 40)).expect("anywhere");
    fill(&log, 5);
    let log = bench.reopen(&log);
    assert_eq!(offsets(&log, 1 << 40), (0..5).map(|n| (1 << 40) + n).collect::<Vec<_>>());
    let (bench, _log) = Bench::new(TopicConfig::new());
    let copy = bench.copied(".log");
    let log = copy.builder().log_start(off(1 << 40)).open().expect("it opens");
    assert_eq!(log.start_offset(), log.end_offset());
}

#[test]
fn indexes_that_are_gone_or_nonsense_are_made_anew() {
    let config = TopicConfig::new().segment_bytes(2_048).index_interval_bytes(0);
    let (bench, log) = Bench::new(config);
    for number in 0..40 {
        log.append(&[Record::new(&big()).timestamp(at(number * 10))]).expect("an append");
    }
    let check = |log: &Log| {
        assert_eq!(offsets(log, 7), (7..40).collect::<Vec<_>>());
        for number in 0..40 {
            let found = log.offset_for_timestamp(at(number * 10 - 5)).expect("a look-up");
            assert_eq!(found, Some((off(number), at(number * 10))));
        }
    };
    log.close().expect("it closes");
    assert!(bench.remove("index") > 10);
    let log = bench.open();
    check(&log);
    log.close().expect("it closes");
    for name in bench.files("index") {
        put(&bench.disk, &name, &[7; 100]);
    }
    check(&bench.open());
}

#[test]
fn an_index_of_no_segment_is_removed() {
    let (bench, log) = Bench::new(TopicConfig::new());
    fill(&log, 3);
    log.close().expect("it closes");
    for name in ["00000000000000000007.index", "00000000000000000007.timeindex"] {
        put(&bench.disk, name, &[7; 24]);
    }
    let log = bench.open();
    assert!(bench.files("7.index").is_empty() && bench.files("7.timeindex").is_empty());
    assert_eq!(offsets(&log, 0), [0, 1, 2]);
}

#[test]
fn files_that_are_let_go_are_unlinked_later_or_by_the_next_open() {
    let config = TopicConfig::new().segment_bytes(1_024).file_delete_delay(seconds(60));
    let (bench, log) = Bench::new(config);
    fill(&log, 8);
    log.flush().expect("a sync");
    log.delete_records_before(off(6)).expect("within");
    assert_eq!(bench.segments(), [6]);
    assert!(!bench.files(".log.deleted").is_empty());
    log.maintain().expect("upkeep");
    assert!(!bench.files(".log.deleted").is_empty(), "not yet");
    bench.clock.advance(seconds(61));
    log.maintain().expect("upkeep");
    assert!(bench.files(".deleted").is_empty());
    put(&bench.disk, "00000000000000000002.log.deleted", &[1; 9]);
    put(&bench.disk, "00000000000000000002.log.cleaned", &[1; 9]);
    let log = bench.reopen(&log);
    assert!(bench.files(".deleted").is_empty() && bench.files(".cleaned").is_empty());
    assert_eq!(offsets(&log, 6), [6, 7]);
}

#[test]
fn flushing_moves_the_durable_offset_and_nothing_moves_it_back_but_truncation() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    log.flush().expect("of an empty log");
    assert_eq!(log.durable_offset(), off(0));
    fill(&log, 5);
    log.flush().expect("a sync");
    assert_eq!(log.durable_offset(), off(5));
    fill(&log, 1);
    log.flush().expect("a sync");
    log.flush().expect("nothing to do");
    assert_eq!(log.durable_offset(), off(6));
    log.truncate_to(off(4)).expect("within");
    assert_eq!((log.durable_offset(), log.end_offset()), (off(4), off(4)));
    let log = bench.reopen(&log);
    assert_eq!(log.durable_offset(), off(4), "a clean close needs no recovery");
}

#[test]
fn flush_messages_and_flush_ms_sync_by_themselves() {
    let (_bench, log) = Bench::new(TopicConfig::new().set("flush.messages", "3").expect("known"));
    fill(&log, 2);
    assert_eq!(log.durable_offset(), off(0));
    fill(&log, 1);
    assert_eq!(log.durable_offset(), off(3));
    let (bench, log) = Bench::new(TopicConfig::new().set("flush.ms", "1000").expect("known"));
    fill(&log, 1);
    log.maintain().expect("upkeep");
    assert_eq!(log.durable_offset(), off(0));
    bench.clock.advance(seconds(1));
    log.maintain().expect("upkeep");
    assert_eq!(log.durable_offset(), off(1));
}

#[test]
fn a_killed_process_loses_nothing_and_scans_from_its_recovery_point_alone() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    fill(&log, 10);
    log.append_with(&[Record::new("safe")], Durability::Power).expect("an append");
    log.maintain().expect("upkeep");
    fill(&log, 3);
    let (_bench, log) = bench.killed(&log);
    assert_eq!(offsets(&log, 0), (0..14).collect::<Vec<_>>());
    assert!(log.report().scanned_records() < 10, "{}", log.report().scanned_records());
}

#[test]
fn a_new_configuration_counts_from_the_next_append_on() {
    let (bench, log) = Bench::new(TopicConfig::new());
    fill(&log, 6);
    assert_eq!(bench.segments(), [0]);
    log.set_config(TopicConfig::new().segment_bytes(1_024)).expect("a legal one");
    fill(&log, 3);
    assert_eq!(bench.segments(), [0, 6, 8]);
    let error = log.set_config(TopicConfig::new().segment_bytes(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
}

#[test]
fn a_truncation_inside_a_batch_takes_all_of_it() {
    let (bench, log) = Bench::new(TopicConfig::new());
    for _ in 0..3 {
        log.append(&[Record::new("a"), Record::new("b"), Record::new("c")]).expect("an append");
    }
    assert_eq!(log.truncate_to(off(5)).expect("within"), off(3));
    let log = bench.reopen(&log);
    assert_eq!(offsets(&log, 0), [0, 1, 2]);
    log.truncate_fully_and_start_at(off(50)).expect("anywhere");
    assert_eq!((log.start_offset(), log.end_offset()), (off(50), off(50)));
    let log = bench.reopen(&log);
    fill(&log, 1);
    assert_eq!(offsets(&log, 50), [50]);
}

#[test]
fn a_cut_at_or_above_the_end_changes_nothing_and_one_below_the_start_begins_there() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    fill(&log, 6);
    for beyond in [6, 7, i64::MAX] {
        assert_eq!(log.truncate_to(off(beyond)).expect("nothing to do"), off(6));
    }
    log.delete_records_before(off(4)).expect("within");
    assert_eq!(log.truncate_to(off(2)).expect("below the start"), off(2));
    assert_eq!((log.start_offset(), log.end_offset()), (off(2), off(2)));
    let log = bench.reopen(&log);
    fill(&log, 1);
    assert_eq!(offsets(&log, 2), [2]);
    assert_eq!(log.truncate_to(off(-1)).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_clock_that_goes_back_rolls_nothing() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_ms(seconds(10)));
    log.append(&[Record::new("a").without_timestamp()]).expect("an append");
    log.append(&[Record::new("b")]).expect("an append");
    bench.clock.set_wall(at(-1_000_000));
    log.append(&[Record::new("c").without_timestamp()]).expect("an append");
    log.append(&[Record::new("d")]).expect("an append");
    assert_eq!((bench.segments(), offsets(&log, 0)), (vec![0], vec![0, 1, 2, 3]));
}
