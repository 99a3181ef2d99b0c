//! Transactions on one log: the last stable offset, aborted lists, markers and who is fenced.

use super::*;
use MarkerKind::{Abort, Commit};
use tidelog::ErrorKind;

/// First and last offsets of the aborted transactions that reach into a range.
fn aborted(log: &Log, from: i64, to: i64) -> Vec<(i64, i64)> {
    let found = log.aborted_transactions(off(from)..off(to));
    found.into_iter().map(|entry| (entry.first.get(), entry.last.get())).collect()
}

fn stable(log: &Log) -> i64 {
    log.last_stable_offset().get()
}

#[test]
fn the_last_stable_offset_is_where_the_oldest_open_transaction_began() {
    let (bench, log) = Bench::new(TopicConfig::new());
    fill(&log, 1);
    sent(&log, by(1, 0), 2); // 1, 2
    fill(&log, 1);
    sent(&log, by(2, 0), 1); // 4
    sent(&log, by(3, 0), 1); // 5
    assert_eq!((stable(&log), log.first_unstable_offset()), (1, Some(off(1))));
    end(&log, by(2, 0), Commit); // 6
    assert_eq!(stable(&log), 1, "an older one is open");
    let log = bench.reopen(&log);
    end(&log, by(1, 0), Abort); // 7
    assert_eq!(stable(&log), 5, "the next oldest");
    sent(&log, by(1, 0), 1); // 8
    end(&log, by(3, 0), Commit); // 9
    assert_eq!(stable(&log), 8);
    end(&log, by(1, 0), Commit); // 10
    assert_eq!((stable(&log), log.first_unstable_offset()), (11, None));
    assert_eq!(offsets(&log, 0), [0, 3, 4, 5, 8]);
}

#[test]
fn records_of_nobody_are_stable_at_once_and_hidden_behind_an_open_transaction() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    fill(&log, 2);
    send(&log, by(9, 0), 0, 1).expect("idempotent alone");
    assert_eq!((stable(&log), log.first_unstable_offset()), (3, None));
    sent(&log, by(1, 0), 1);
    fill(&log, 2);
    assert_eq!((stable(&log), offsets(&log, 0)), (3, vec![0, 1, 2]));
}

#[test]
fn what_was_aborted_is_seen_by_uncommitted_readers_and_markers_by_none() {
    let (bench, log) = Bench::new(TopicConfig::new());
    sent(&log, by(1, 0), 2);
    end(&log, by(1, 0), Abort);
    sent(&log, by(1, 0), 1);
    end(&log, by(1, 0), Commit);
    sent(&log, by(1, 0), 1);
    assert_eq!(offsets(&log, 0), [3]);
    log.close().expect("it closes");
    let log = bench.builder().read_uncommitted().open().expect("it opens");
    assert_eq!(offsets(&log, 0), [0, 1, 3, 5]);
}

#[test]
fn aborted_transactions_are_listed_over_segments_with_where_they_lie() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    sent(&log, by(1, 0), 1); // 0
    fill(&log, 6); // 1..7
    sent(&log, by(2, 0), 1); // 7
    end(&log, by(2, 0), Abort); // 8
    fill(&log, 4); // 9..13
    end(&log, by(1, 0), Abort); // 13
    sent(&log, by(1, 0), 1); // 14
    end(&log, by(1, 0), Commit); // 15
    assert!(bench.segments().len() > 4);
    let check = |log: &Log| {
        assert_eq!(aborted(log, 0, 16), [(7, 8), (0, 13)], "in the order of the markers");
        assert_eq!(aborted(log, 0, 2), [(0, 13)]);
        assert_eq!(aborted(log, 3, 7), [(0, 13)]);
        assert_eq!(aborted(log, 8, 9), [(7, 8), (0, 13)]);
        assert_eq!(aborted(log, 9, 10), [(0, 13)]);
        assert_eq!(aborted(log, 14, 16), []);
        let raw = log.read_batches(off(1), RawLimits::to_last_stable(1)).expect("read");
        let named: Vec<_> =
            raw.aborted().iter().map(|it| (it.first.get(), it.last.get())).collect();
        assert_eq!(named, [(0, 13)], "with the batches it lies around");
        assert_eq!(offsets(log, 0), [1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 14]);
    };
    check(&log);
    let log = bench.reopen(&log);
    check(&log);
    log.close().expect("it closes");
    assert!(bench.remove(".txnindex") > 0);
    let log = bench.open();
    check(&log);
    check(&bench.killed(&log).1);
}

#[test]
fn an_aborted_entry_says_where_the_oldest_other_one_began() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    sent(&log, by(1, 0), 1); // 0
    sent(&log, by(2, 0), 1); // 1
    end(&log, by(2, 0), Abort); // 2
    end(&log, by(1, 0), Abort); // 3
    let found = log.aborted_transactions(off(0)..off(9));
    let entries: Vec<_> =
        found.iter().map(|it| (it.producer_id.get(), it.last_stable.get())).collect();
    assert_eq!(entries, [(2, 0), (1, 4)]);
}

#[test]
fn a_marker_of_no_transaction_counts_as_none() {
    let (bench, log) = Bench::new(TopicConfig::new());
    end(&log, by(1, 0), Abort);
    send(&log, by(2, 0), 0, 1).expect("in none");
    end(&log, by(2, 0), Abort);
    let log = &bench.killed(&log).1;
    assert_eq!((aborted(log, 0, 9), stable(log)), (vec![], 3));
    assert_eq!(offsets(log, 0), [1]);
    sent(log, by(1, 0), 1);
    assert_eq!(stable(log), 3);
}

#[test]
fn a_producers_transactions_follow_each_other_with_one_sequence() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    for (round, kind) in [Commit, Abort, Commit, Abort, Abort, Commit].into_iter().enumerate() {
        let receipt = sent(&log, by(1, 0), 2);
        let first = u32::try_from(round * 2).expect("small");
        assert_eq!(receipt.sequence(), Some(seq(first)), "a marker of its epoch begins nothing");
        end(&log, by(1, 0), kind);
    }
    assert_eq!(offsets(&log, 0), [0, 1, 6, 7, 15, 16]);
    assert_eq!(aborted(&log, 0, 18), [(3, 5), (9, 11), (12, 14)]);
}

#[test]
fn a_repetition_within_a_transaction_begins_none() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    sent(&log, by(1, 0), 1);
    end(&log, by(1, 0), Commit);
    let again = log.append_transactional(&[Record::new("value")], by(1, 0), seq(0));
    assert!(again.expect("known").is_duplicate());
    assert_eq!((stable(&log), log.open_transactions().len()), (2, 0));
}

#[test]
fn a_marker_of_a_higher_epoch_ends_what_a_lower_one_began() {
    let (bench, log) = Bench::new(TopicConfig::new());
    sent(&log, by(1, 3), 2);
    end(&log, by(1, 4), Abort);
    let log = &bench.killed(&log).1;
    assert_eq!((aborted(log, 0, 3), stable(log)), (vec![(0, 2)], 3));
    let zombie = log.append_transactional(&[Record::new("late")], by(1, 3), seq(2));
    assert_eq!(zombie.unwrap_err().kind(), ErrorKind::InvalidProducerEpoch);
    assert_eq!(sent(log, by(1, 4), 1).sequence(), Some(seq(0)));
}

#[test]
fn a_marker_of_a_lower_epoch_is_fenced() {
    let (bench, log) = Bench::new(TopicConfig::new());
    sent(&log, by(1, 5), 1);
    let log = bench.reopen(&log);
    let late = log.append_marker(by(1, 4), 0, Abort).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::InvalidProducerEpoch, "{late}");
    assert_eq!((log.end_offset(), stable(&log)), (off(1), 0));
    end(&log, by(1, 5), Commit);
    let late = log.append_marker(by(1, 4), 0, Commit).unwrap_err();
    assert!(late.is_fenced(), "of no transaction too");
}

#[test]
fn coordinators_are_fenced_for_each_producer_on_its_own() {
    let (bench, log) = Bench::new(TopicConfig::new());
    log.append_marker(by(1, 0), 9, Commit).expect("of none");
    log.append_marker(by(2, 0), 3, Commit).expect("another producer's may be older");
    let log = bench.killed(&log).1;
    let zombie = log.append_marker(by(1, 0), 8, Commit).unwrap_err();
    assert_eq!(zombie.kind(), ErrorKind::Fenced, "{zombie}");
    log.append_marker(by(1, 1), 9, Commit).expect("a repetition, of a new epoch");
    log.append_marker(by(2, 0), 8, Commit).expect("a later one");
    let negative = log.append_marker(by(1, 1), -1, Commit).unwrap_err();
    assert_eq!(negative.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_transaction_spans_opens_and_kills() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    sent(&log, by(1, 0), 1);
    fill(&log, 3);
    let log = bench.reopen(&log);
    sent(&log, by(1, 0), 1);
    fill(&log, 3);
    let (bench, log) = bench.killed(&log);
    assert_eq!(stable(&log), 0);
    let open = log.open_transactions();
    assert_eq!((open.len(), open[0].transaction_start()), (1, Some(off(0))));
    sent(&log, by(1, 0), 1);
    end(&log, by(1, 0), Commit);
    assert_eq!(offsets(&bench.reopen(&log), 0), (0..9).collect::<Vec<_>>());
}

#[test]
fn a_cut_opens_a_transaction_whose_marker_it_takes() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    sent(&log, by(1, 0), 1); // 0
    fill(&log, 4); // 1..5
    let marker = end(&log, by(1, 0), Abort);
    fill(&log, 3);
    assert_eq!((marker, stable(&log)), (5, 9));
    log.truncate_to(off(marker)).expect("within");
    let check = |log: &Log| {
        assert_eq!((stable(log), aborted(log, 0, 9)), (0, vec![]));
        assert_eq!(log.open_transactions()[0].identity(), by(1, 0));
    };
    check(&log);
    let log = bench.reopen(&log);
    check(&log);
    end(&log, by(1, 0), Commit);
    assert_eq!(offsets(&log, 0), [0, 1, 2, 3, 4]);
    log.truncate_to(off(0)).expect("all of it");
    assert_eq!((stable(&log), log.open_transactions().len()), (0, 0));
}

#[test]
fn aborted_entries_go_with_the_records_below_the_start() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    sent(&log, by(1, 0), 1); // 0
    end(&log, by(1, 0), Abort); // 1
    fill(&log, 4); // 2..6
    sent(&log, by(1, 0), 1); // 6
    fill(&log, 2); // 7, 8
    end(&log, by(1, 0), Abort); // 9
    fill(&log, 1); // 10
    log.delete_records_before(off(8)).expect("within");
    let log = &bench.killed(&log).1;
    assert_eq!(aborted(log, 8, 11), [(6, 9)], "its records are gone in part");
    assert_eq!(offsets(log, 8), [8, 10]);
}

#[test]
fn a_transaction_is_settled_once_its_marker_is_below_the_high_watermark() {
    let (_bench, log) = led(0);
    fill(&log, 2);
    sent(&log, by(1, 0), 1); // 2
    let marker = end(&log, by(1, 0), Commit);
    fill(&log, 1);
    log.set_high_watermark(off(1)).expect("within");
    assert_eq!(stable(&log), 1, "never above the high watermark");
    log.set_high_watermark(off(marker)).expect("within");
    assert_eq!((stable(&log), log.first_unstable_offset()), (2, Some(off(2))));
    log.set_high_watermark(off(marker + 1)).expect("within");
    assert_eq!((stable(&log), log.first_unstable_offset()), (4, None));
    assert_eq!(offsets(&log, 0), [0, 1, 2]);
}

#[test]
fn followers_know_the_transactions_of_their_leader() {
    let (_leaders, leader) = led(0);
    sent(&leader, by(1, 0), 2);
    sent(&leader, by(2, 0), 1);
    end(&leader, by(1, 0), Abort);
    fill(&leader, 3);
    let (bench, log) = follower(TopicConfig::new().segment_bytes(1_024));
    log.append_as_follower(&batches(&leader, 0)).expect("its batches");
    let check = |log: &Log| {
        log.set_high_watermark(off(7)).expect("the end");
        assert_eq!((aborted(log, 0, 7), stable(log)), (vec![(0, 3)], 2));
        assert_eq!(log.open_transactions(), leader.open_transactions());
    };
    check(&log);
    check(&bench.killed(&log).1);
}

#[test]
fn many_aborted_records_in_a_row_end_no_read() {
    let (_bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    for _ in 0..40 {
        let next = log.next_sequence(by(1, 0)).expect("not fenced");
        log.append_transactional(&[Record::new(&big())], by(1, 0), next).expect("an append");
    }
    end(&log, by(1, 0), Abort);
    fill(&log, 1);
    let read = log.read(off(0), 1).expect("it reads");
    assert_eq!(read.iter().map(|it| it.offset().get()).collect::<Vec<_>>(), [41]);
}

#[test]
fn a_log_that_another_hand_left_without_indexes_is_read_for_its_transactions() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    sent(&log, by(1, 0), 1); // 0
    fill(&log, 4); // 1..5
    end(&log, by(1, 0), Abort); // 5
    fill(&log, 4); // 6..10
    sent(&log, by(2, 0), 1); // 10
    log.close().expect("it closes");
    let log = bench.copied(".log").open();
    assert_eq!((aborted(&log, 0, 11), stable(&log)), (vec![(0, 5)], 10));
    assert_eq!(offsets(&log, 0), [1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!(log.open_transactions()[0].identity(), by(2, 0));
}
