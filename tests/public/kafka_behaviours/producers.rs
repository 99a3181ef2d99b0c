//! Producers that number their records: what is next, what is a repetition, who is fenced, what is
//! remembered, and for how long.

use super::*;
use tidelog::ErrorKind;

fn kind(result: Result<LogReceipt>) -> ErrorKind {
    result.expect_err("it is refused").kind()
}

fn next(log: &Log, us: ProducerIdentity) -> u32 {
    u32::try_from(log.next_sequence(us).expect("not fenced").get()).expect("never below 0")
}

#[test]
fn a_repetition_is_told_by_its_sequences_alone() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    log.append(&[Record::new("of nobody")]).expect("an append");
    send(&log, by(7, 0), 0, 2).expect("the first");
    send(&log, by(7, 0), 2, 3).expect("the second");
    let others = vec![Record::new("others").key("k"); 2];
    let again = log.append_produced(&others, by(7, 0), seq(0)).expect("known");
    assert!(again.is_duplicate());
    assert_eq!((again.first_offset(), again.next_offset()), (off(1), off(3)));
    assert_eq!((again.sequence(), log.end_offset()), (Some(seq(0)), off(6)));
}

#[test]
fn the_receipt_of_a_repetition_has_the_timestamp_of_the_original() {
    let stamps = TopicConfig::new().timestamp_type(tidelog::TimestampType::LogAppendTime);
    let (bench, log) = Bench::new(stamps);
    let first = send(&log, by(7, 0), 0, 2).expect("the first");
    bench.clock.advance(seconds(5));
    let again = send(&log, by(7, 0), 0, 2).expect("known");
    assert!(again.is_duplicate());
    assert_eq!(again.timestamp(), first.timestamp());
    let next = send(&log, by(7, 0), 2, 1).expect("the second");
    assert!(next.timestamp() > first.timestamp());
}

#[test]
fn a_batch_that_repeats_another_in_part_is_out_of_order() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    send(&log, by(7, 0), 0, 3).expect("the first");
    send(&log, by(7, 0), 3, 3).expect("the second");
    for (first, count) in [(3, 2), (3, 4), (4, 2), (5, 1), (0, 6), (2, 2), (1, 2), (5, 3)] {
        let refused = kind(send(&log, by(7, 0), first, count));
        assert_eq!(refused, ErrorKind::OutOfOrderSequence, "{count} from {first} on");
    }
    assert_eq!((log.end_offset(), next(&log, by(7, 0))), (off(6), 6));
}

#[test]
fn a_gap_is_out_of_order_and_changes_nothing() {
    let (bench, log) = Bench::new(TopicConfig::new());
    send(&log, by(7, 0), 0, 1).expect("the first");
    assert_eq!(kind(send(&log, by(7, 0), 2, 1)), ErrorKind::OutOfOrderSequence);
    let log = bench.reopen(&log);
    assert_eq!(kind(send(&log, by(7, 0), 2, 1)), ErrorKind::OutOfOrderSequence);
    assert_eq!(send(&log, by(7, 0), 1, 1).expect("the next").first_offset(), off(1));
}

#[test]
fn a_higher_epoch_begins_with_the_first_sequence() {
    let (bench, log) = Bench::new(TopicConfig::new());
    send(&log, by(7, 0), 0, 3).expect("the first");
    assert_eq!(kind(send(&log, by(7, 1), 3, 1)), ErrorKind::OutOfOrderSequence);
    assert_eq!(next(&log, by(7, 1)), 0);
    send(&log, by(7, 0), 3, 1).expect("what was refused has fenced nobody");
    assert!(!send(&log, by(7, 5), 0, 1).expect("a later epoch").is_duplicate());
    let check = |log: &Log| {
        let fenced = send(log, by(7, 4), 4, 1).unwrap_err();
        assert!(fenced.is_fenced() && fenced.kind() == ErrorKind::InvalidProducerEpoch);
        assert_eq!(next(log, by(7, 5)), 1);
    };
    check(&log);
    check(&bench.reopen(&log));
}

#[test]
fn what_an_old_epoch_sends_again_is_fenced_and_no_repetition() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    send(&log, by(7, 0), 0, 1).expect("the first");
    send(&log, by(7, 1), 0, 1).expect("a new epoch");
    assert_eq!(kind(send(&log, by(7, 0), 0, 1)), ErrorKind::InvalidProducerEpoch);
    let again = send(&log, by(7, 1), 0, 1).expect("known");
    assert_eq!((again.is_duplicate(), again.first_offset()), (true, off(1)));
}

#[test]
fn the_highest_epoch_is_one_like_any_other() {
    let (bench, log) = Bench::new(TopicConfig::new());
    send(&log, by(7, i16::MAX), 0, 1).expect("the first");
    assert_eq!(kind(send(&log, by(7, i16::MAX - 1), 1, 1)), ErrorKind::InvalidProducerEpoch);
    let log = bench.reopen(&log);
    send(&log, by(7, i16::MAX), 1, 1).expect("the next");
}

#[test]
fn an_identity_below_zero_is_none() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    for us in [by(-1, 0), by(7, -1), by(i64::MIN, 0)] {
        assert_eq!(kind(send(&log, us, 0, 1)), ErrorKind::InvalidArgument);
    }
    assert_eq!(log.end_offset(), off(0));
}

#[test]
fn producers_know_nothing_of_each_other() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    for number in 0..20 {
        for id in 0..3 {
            send(&log, by(id, 0), number, 1).expect("the next");
        }
    }
    let log = &bench.killed(&log).1;
    for id in 0..3 {
        assert_eq!(next(log, by(id, 0)), 20);
        assert!(send(log, by(id, 0), 19, 1).expect("known").is_duplicate());
    }
    assert_eq!(log.producers().len(), 3);
}

#[test]
fn the_last_batch_of_each_is_known_after_an_open_over_the_wrap_as_well() {
    let (bench, log) = Bench::new(TopicConfig::new());
    let last = i32::MAX.unsigned_abs();
    send(&log, by(7, 0), last - 1, 4).expect("unknown: anything");
    let log = bench.reopen(&log);
    let again = send(&log, by(7, 0), last - 1, 4).expect("known");
    assert_eq!((again.is_duplicate(), again.next_offset()), (true, off(4)));
    assert_eq!(next(&log, by(7, 0)), 2);
    assert_eq!(kind(send(&log, by(7, 0), 0, 1)), ErrorKind::OutOfOrderSequence);
}

#[test]
fn a_sequence_of_zero_follows_the_largest_alone() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    let last = i32::MAX.unsigned_abs();
    send(&log, by(7, 0), last - 1, 1).expect("unknown: anything");
    assert_eq!(kind(send(&log, by(7, 0), 0, 1)), ErrorKind::OutOfOrderSequence);
    send(&log, by(7, 0), last, 1).expect("the largest");
    send(&log, by(7, 0), 0, 1).expect("the first again");
}

#[test]
fn an_idle_producer_is_forgotten_and_begins_anywhere() {
    let config = TopicConfig::new().set("producer.id.expiration.ms", "10000").expect("known");
    let (bench, log) = Bench::new(config);
    send(&log, by(7, 3), 0, 1).expect("the first");
    bench.clock.advance(seconds(9));
    send(&log, by(7, 3), 1, 1).expect("it is heard of again");
    bench.clock.advance(seconds(9));
    assert_eq!(next(&log, by(7, 3)), 2, "not idle for long enough");
    bench.clock.advance(seconds(1));
    assert_eq!(next(&log, by(7, 3)), 0);
    assert!(!send(&log, by(7, 3), 1, 1).expect("unknown").is_duplicate());
    bench.clock.advance(seconds(10));
    send(&log, by(7, 0), 50, 1).expect("a lower epoch too");
}

#[test]
fn a_producer_with_an_open_transaction_is_never_forgotten() {
    let config = TopicConfig::new().set("producer.id.expiration.ms", "1000").expect("known");
    let (bench, log) = Bench::new(config);
    sent(&log, by(7, 0), 2);
    bench.clock.advance(seconds(100));
    assert_eq!(next(&log, by(7, 0)), 2);
    let log = bench.reopen(&log);
    bench.clock.advance(seconds(100));
    assert_eq!((next(&log, by(7, 0)), log.last_stable_offset()), (2, off(0)));
    end(&log, by(7, 0), MarkerKind::Abort);
    bench.clock.advance(seconds(100));
    assert_eq!((next(&log, by(7, 0)), log.last_stable_offset()), (0, off(3)));
}

#[test]
fn a_cut_takes_producers_back_to_what_is_left() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    let value = big();
    for number in 0..12 {
        let records = [Record::new(&value)];
        log.append_produced(&records, by(7, 0), seq(number)).expect("the next");
    }
    send(&log, by(8, 0), 0, 1).expect("another");
    for cut in [11, 6, 4] {
        log.truncate_to(off(cut)).expect("within");
        assert_eq!(i64::from(next(&log, by(7, 0))), cut);
        assert_eq!(log.producers().len(), 1, "the other one's are gone");
        let last = u32::try_from(cut - 1).expect("small");
        assert!(send(&log, by(7, 0), last, 1).expect("known").is_duplicate());
    }
    for files in ["", ".snapshot"] {
        log.truncate_to(off(4)).expect("within");
        if !files.is_empty() {
            bench.remove(files);
        }
    }
    let receipt = send(&log, by(7, 0), 4, 1).expect("it is new");
    assert_eq!((receipt.is_duplicate(), receipt.first_offset()), (false, off(4)));
}

#[test]
fn producers_are_known_when_all_their_records_are_deleted() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024).retention_bytes(0));
    send(&log, by(7, 0), 0, 3).expect("the first");
    fill(&log, 4);
    log.delete_records_before(off(4)).expect("within");
    assert_eq!(next(&log, by(7, 0)), 3);
    let log = bench.reopen(&log);
    assert!(send(&log, by(7, 0), 0, 3).expect("known").is_duplicate());
    log.apply_retention().expect("a run");
    assert_eq!(log.start_offset(), log.end_offset());
    assert_eq!(next(&bench.reopen(&log), by(7, 0)), 3);
}

#[test]
fn what_no_snapshot_tells_the_log_does() {
    let config = TopicConfig::new().segment_bytes(1_024);
    for spoil in ["none", "nonsense", "empty", "short"] {
        let (bench, log) = Bench::new(config.clone());
        for number in 0..30 {
            send(&log, by(7, 2), number, 1).expect("the next");
        }
        sent(&log, by(8, 0), 1);
        log.close().expect("it closes");
        assert!(!bench.files(".snapshot").is_empty());
        for name in bench.files(".snapshot") {
            match spoil {
                "nonsense" => put(&bench.disk, &name, &[7; 90]),
                "empty" => put(&bench.disk, &name, &[]),
                "short" => put(&bench.disk, &name, &[0, 1, 0]),
                _ => bench.disk.remove_file(&Path::new(DIR).join(&name)).expect("it goes"),
            }
        }
        let log = bench.open();
        assert_eq!(next(&log, by(7, 2)), 30, "{spoil}");
        assert!(send(&log, by(7, 2), 29, 1).expect("known").is_duplicate(), "{spoil}");
        assert_eq!(log.last_stable_offset(), off(30), "{spoil}");
    }
}

#[test]
fn old_snapshots_go_and_the_newest_is_at_the_end() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    for number in 0..200 {
        send(&log, by(7, 0), number, 1).expect("the next");
        if number % 10 == 0 {
            log.maintain().expect("upkeep");
        }
    }
    log.delete_records_before(off(180)).expect("within");
    log.close().expect("it closes");
    let snapshots = bench.files(".snapshot");
    assert_eq!(snapshots.last().map(String::as_str), Some("00000000000000000200.snapshot"));
    let of = |name: &String| name.trim_end_matches(".snapshot").parse::<i64>().expect("an offset");
    assert!(snapshots.iter().all(|name| of(name) >= bench.segments()[0]), "{snapshots:?}");
    let log = bench.open();
    log.truncate_to(off(190)).expect("within");
    assert!(bench.files(".snapshot").iter().all(|name| of(name) <= 190));
}

#[test]
fn what_is_known_of_a_producer_can_be_looked_at() {
    let (bench, log) = Bench::new(TopicConfig::new());
    bench.clock.advance(seconds(1));
    send(&log, by(7, 1), 0, 3).expect("the first");
    sent(&log, by(5, 0), 1);
    let check = |log: &Log| {
        let known = log.producers();
        assert_eq!([known[0].identity(), known[1].identity()], [by(5, 0), by(7, 1)]);
        assert_eq!(known[1].last_sequence(), Some(seq(2)));
        assert_eq!(known[1].last_timestamp(), Some(at(1_000)));
        assert_eq!((known[1].coordinator_epoch(), known[1].transaction_start()), (None, None));
        assert_eq!(known[0].transaction_start(), Some(off(3)));
    };
    check(&log);
    let log = bench.reopen(&log);
    check(&log);
    log.append_marker(by(5, 0), 9, MarkerKind::Commit).expect("a marker");
    let known = log.producers();
    assert_eq!((known[0].coordinator_epoch(), known[0].transaction_start()), (Some(9), None));
    assert_eq!(known[0].last_sequence(), Some(seq(0)));
}

#[test]
fn a_follower_takes_its_leaders_sequences_as_they_are() {
    let (_leaders, leader) = led(0);
    send(&leader, by(7, 0), 0, 2).expect("the first");
    send(&leader, by(8, 0), 5, 1).expect("another");
    send(&leader, by(7, 0), 2, 1).expect("the next");
    let (_others, other) = led(0);
    fill(&other, 4);
    send(&other, by(7, 0), 90, 2).expect("unknown there");
    let (bench, log) = follower(TopicConfig::new());
    log.append_as_follower(&batches(&leader, 0)).expect("several producers at once");
    assert_eq!(log.producers(), leader.producers());
    log.append_as_follower(&batches(&other, 4)).expect("a gap in the sequence");
    assert_eq!(next(&log, by(7, 0)), 92);
    let log = bench.reopen(&log);
    assert_eq!((next(&log, by(7, 0)), next(&log, by(8, 0))), (92, 6));
}

#[test]
fn one_id_sends_within_transactions_and_without() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    send(&log, by(7, 0), 0, 1).expect("without");
    sent(&log, by(7, 0), 1);
    assert_eq!(kind(send(&log, by(7, 0), 2, 1)), ErrorKind::InvalidTransactionState);
    end(&log, by(7, 0), MarkerKind::Commit);
    send(&log, by(7, 0), 2, 1).expect("without again");
    assert_eq!(offsets(&log, 0), [0, 1, 3]);
}
