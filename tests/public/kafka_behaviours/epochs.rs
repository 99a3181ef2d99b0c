//! Leader epochs and where they end: Kafka's cache of epochs, through truncations, kills and
//! followers that fetch with gaps.

use super::*;
use tidelog::{CleanupPolicy, ErrorKind, Store, Threads};

fn entries(log: &Log) -> Vec<(i32, i64)> {
    let entries = log.leader_epochs().expect("open");
    entries.into_iter().map(|(epoch, start)| (epoch.get(), start.get())).collect()
}

fn end_of(log: &Log, epoch: i32) -> Option<(i32, i64)> {
    let end = log.end_offset_for_epoch(LeaderEpoch::new(epoch)).expect("open");
    end.map(|(epoch, end)| (epoch.get(), end.get()))
}

fn append_under(log: &Log, epochs: &[i32]) {
    for epoch in epochs {
        log.append_as_leader(LeaderEpoch::new(*epoch), &[Record::new("a")]).expect("an append");
    }
}

#[test]
fn an_epoch_without_records_ends_where_the_log_does() {
    let (_bench, log) = led(2);
    append_under(&log, &[2, 2]);
    log.become_leader(LeaderEpoch::new(5)).expect("a new leader");
    assert_eq!(entries(&log), [(2, 0)], "it has none yet");
    assert_eq!((end_of(&log, 5), end_of(&log, 2)), (Some((5, 2)), Some((2, 2))));
    append_under(&log, &[5]);
    assert_eq!(entries(&log), [(2, 0), (5, 2)]);
    assert_eq!((end_of(&log, 5), end_of(&log, 2)), (Some((5, 3)), Some((2, 2))));
}

#[test]
fn epochs_need_not_begin_with_zero_nor_follow_each_other() {
    let (bench, log) = led(7);
    append_under(&log, &[7, 7, 20]);
    let check = |log: &Log| {
        assert_eq!(entries(log), [(7, 0), (20, 2)]);
        assert_eq!(end_of(log, 3), Some((3, 0)), "below all of them: where the first begins");
        assert_eq!(end_of(log, 7), Some((7, 2)));
        assert_eq!(end_of(log, 19), Some((7, 2)), "the nearest below");
        assert_eq!((end_of(log, 20), end_of(log, 21)), (Some((20, 3)), None));
    };
    check(&log);
    check(&bench.reopen(&log));
}

#[test]
fn an_epoch_that_falls_is_fenced_and_changes_nothing() {
    let (_bench, log) = led(3);
    append_under(&log, &[3]);
    let fenced = log.append_as_leader(LeaderEpoch::new(2), &[Record::new("old")]).unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::FencedLeaderEpoch, "{fenced}");
    assert_eq!((entries(&log), log.end_offset()), (vec![(3, 0)], off(1)));
    append_under(&log, &[3]);
}

#[test]
fn epochs_are_found_again_in_the_records_where_their_file_is_gone() {
    let (bench, log) = led(1);
    append_under(&log, &[1, 4, 4, 6]);
    let killed = bench.copied("");
    log.close().expect("out of the way");
    killed.remove("leader-epoch-checkpoint");
    assert_eq!(entries(&killed.open()), [(1, 0), (4, 1), (6, 3)]);
}

#[test]
fn a_cut_to_where_an_epoch_begins_takes_its_entry_and_one_behind_does_not() {
    let (bench, log) = led(1);
    append_under(&log, &[1, 1, 2, 2, 3]);
    log.truncate_to(off(3)).expect("within");
    assert_eq!(entries(&log), [(1, 0), (2, 2)]);
    log.truncate_to(off(2)).expect("within");
    assert_eq!(entries(&log), [(1, 0)]);
    assert_eq!(entries(&bench.reopen(&log)), [(1, 0)]);
}

#[test]
fn a_log_that_begins_anew_has_no_epochs_and_no_producers() {
    let (bench, log) = led(1);
    append_under(&log, &[1, 2]);
    log.append_produced(&[Record::new("a")], by(7, 0), seq(0)).expect("numbered");
    log.truncate_fully_and_start_at(off(100)).expect("anywhere");
    assert_eq!((entries(&log), log.producers().len()), (vec![], 0));
    assert_eq!((log.start_offset(), log.end_offset()), (off(100), off(100)));
    log.become_leader(LeaderEpoch::new(9)).expect("the leader again");
    append_under(&log, &[9]);
    assert_eq!(entries(&log), [(9, 100)]);
    log.append_produced(&[Record::new("a")], by(7, 0), seq(40)).expect("it may begin anywhere");
    let log = bench.reopen(&log);
    assert_eq!((entries(&log), log.producers().len()), (vec![(9, 100)], 1));
}

#[test]
fn a_cut_within_a_gap_leaves_what_lies_before_it() {
    let (_leaders, leader) = led(0);
    fill(&leader, 10);
    let (bench, log) = follower(TopicConfig::new());
    for offset in [0, 1, 5, 9] {
        let batch = leader.read_batches(off(offset), RawLimits::to_end(1)).expect("read");
        log.append_as_follower(batch.bytes()).expect("upwards");
    }
    let end = log.truncate_to(off(3)).expect("a gap");
    assert_eq!((end, log.end_offset()), (off(2), off(2)));
    log.set_high_watermark(off(2)).expect("the end");
    assert_eq!(offsets(&bench.reopen(&log), 0), [0, 1]);
}

/// A follower that was cut takes the leader's records at the offsets that it had others at.
#[test]
fn what_a_follower_had_of_a_former_leader_gives_way() {
    let (_former, former) = led(1);
    append_under(&former, &[1, 1, 1]);
    let (_leaders, leader) = led(1);
    append_under(&leader, &[1, 2, 2, 2]);
    let (bench, log) = follower(TopicConfig::new());
    log.append_as_follower(&batches(&former, 0)).expect("the former's");
    let (_, end) = leader.end_offset_for_epoch(LeaderEpoch::new(1)).expect("open").expect("known");
    log.truncate_to(end).expect("where they part");
    log.append_as_follower(&batches(&leader, end.get())).expect("the leader's");
    assert_eq!(entries(&log), [(1, 0), (2, 1)]);
    assert_eq!(batches(&log, 1), batches(&leader, 1), "the same bytes");
    assert_eq!(entries(&bench.reopen(&log)), [(1, 0), (2, 1)]);
}

/// Kafka's log manager leaves compacted topics to the cleaner.
#[test]
fn retention_takes_nothing_of_a_topic_that_is_compacted_alone() {
    let clock = ManualClock::new(at(0));
    let builder = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host);
    let store = builder.open().expect("a store");
    let policies = [("alone", CleanupPolicy::Compact), ("both", CleanupPolicy::CompactDelete)];
    for (topic, policy) in policies {
        let config = TopicConfig::new().cleanup_policy(policy).segment_bytes(1_024);
        store.create_topic(topic, config.retention(seconds(60))).expect("a topic");
        let sender = store.producer().build().expect("one").topic(topic).expect("it");
        for number in 0..8 {
            let (key, value) = (format!("key {number}"), big());
            sender.send(Record::new(&value).key(&key).timestamp(at(0))).expect("sent");
        }
    }
    clock.advance(seconds(3_600));
    store.apply_retention().expect("a run");
    let start = |topic| store.partition(topic, 0).expect("it").start_offset().expect("open");
    assert_eq!((start("alone"), start("both")), (off(0), off(8)));
}
