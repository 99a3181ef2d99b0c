//! Logs that a host leads: followers' offsets, leaders' epochs, the high watermark.

use super::*;
use tidelog::ErrorKind;

#[test]
fn a_follower_takes_gaps_and_nothing_below_its_end() {
    let (_leaders, leader) = led(0);
    fill(&leader, 10);
    let (bench, log) = follower(TopicConfig::new());
    let raw = |at: i64| {
        let one = RawLimits::to_end(1);
        leader.read_batches(off(at), one).expect("read").bytes().to_vec()
    };
    for offset in [0, 1, 5, 9] {
        log.append_as_follower(&raw(offset)).expect("upwards");
    }
    for offset in [9, 3] {
        let error = log.append_as_follower(&raw(offset)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedOffset, "{error}");
    }
    let check = |log: &Log| {
        log.set_high_watermark(off(10)).expect("its end");
        assert_eq!((log.end_offset(), offsets(log, 0)), (off(10), vec![0, 1, 5, 9]));
        for (from, first) in [(2, 5), (4, 5), (5, 5), (6, 9)] {
            assert_eq!(offsets(log, from)[0], first, "at a gap the next one");
        }
    };
    check(&log);
    check(&bench.reopen(&log));
}

#[test]
fn offsets_too_far_from_a_segments_first_roll_it() {
    let far = i64::from(i32::MAX) + 10;
    let (_leaders, leader) = led(0);
    fill(&leader, 1);
    let (bench, log) = follower(TopicConfig::new());
    log.append_as_follower(&batches(&leader, 0)).expect("the first");
    leader.truncate_fully_and_start_at(off(far)).expect("anywhere");
    leader.append_as_leader(LeaderEpoch::new(1), &[Record::new("far")]).expect("an append");
    log.append_as_follower(&batches(&leader, far)).expect("the far one");
    assert_eq!(bench.segments(), [0, far]);
    log.set_high_watermark(off(far + 1)).expect("its end");
    let log = bench.reopen(&log);
    assert_eq!((log.end_offset(), offsets(&log, 0)), (off(far + 1), vec![0, far]));
}

#[test]
fn the_high_watermark_bounds_readers_and_stays_within_the_log() {
    let (bench, log) = led(3);
    fill(&log, 6);
    assert_eq!((log.high_watermark(), offsets(&log, 0)), (off(0), vec![]));
    assert_eq!(log.set_high_watermark(off(4)).expect("within"), off(4));
    assert_eq!(offsets(&log, 0), [0, 1, 2, 3]);
    assert_eq!(log.set_high_watermark(off(99)).expect("the end"), off(6));
    log.truncate_to(off(3)).expect("within");
    assert_eq!(log.high_watermark(), off(3));
    log.delete_records_before(off(2)).expect("below it");
    assert_eq!(log.set_high_watermark(off(0)).expect("the start"), off(2));
    log.set_high_watermark(off(3)).expect("within");
    let log = bench.reopen(&log);
    assert_eq!(log.high_watermark(), off(3));
}

#[test]
fn epochs_are_where_they_began_and_go_with_what_is_cut() {
    let (bench, log) = led(1);
    for epoch in [1, 1, 3, 3, 5] {
        log.append_as_leader(LeaderEpoch::new(epoch), &[Record::new("a")]).expect("an append");
    }
    let entries = |log: &Log| -> Vec<(i32, i64)> {
        let entries = log.leader_epochs().expect("open");
        entries.into_iter().map(|(epoch, start)| (epoch.get(), start.get())).collect()
    };
    let end_of = |log: &Log, epoch: i32| {
        let end = log.end_offset_for_epoch(LeaderEpoch::new(epoch)).expect("open");
        end.map(|(epoch, end)| (epoch.get(), end.get()))
    };
    assert_eq!(entries(&log), [(1, 0), (3, 2), (5, 4)]);
    let wanted =
        [(0, Some((0, 0))), (1, Some((1, 2))), (2, Some((1, 2))), (4, Some((3, 4))), (6, None)];
    for (epoch, end) in wanted {
        assert_eq!(end_of(&log, epoch), end, "{epoch}");
    }
    assert_eq!(end_of(&log, 5), Some((5, 5)));
    log.truncate_to(off(4)).expect("within");
    assert_eq!(entries(&log), [(1, 0), (3, 2)]);
    log.set_high_watermark(off(4)).expect("the end");
    log.delete_records_before(off(3)).expect("within");
    assert_eq!(entries(&log), [(3, 3)], "the first one begins where the log does");
    assert_eq!(entries(&bench.reopen(&log)), [(3, 3)]);
}

#[test]
fn what_a_leader_sends_is_taken_whole_or_not_at_all() {
    let (_leaders, leader) = led(4);
    fill(&leader, 3);
    let whole = batches(&leader, 0);
    let (_bench, log) = follower(TopicConfig::new());
    assert_eq!(log.append_as_follower(&[]).expect("nothing"), off(0));
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    for bad in [&flipped[..], &whole[..whole.len() - 1], &[7; 90]] {
        let error = log.append_as_follower(bad).unwrap_err();
        assert!(error.is_corrupt() && error.position().is_some(), "{error}");
        assert_eq!(log.end_offset(), off(0), "nothing of it");
    }
    log.append_as_follower(&whole).expect("as it was");
    leader.truncate_to(off(0)).expect("all of it");
    let (_others, other) = led(3);
    fill(&other, 4);
    let error = log.append_as_follower(&batches(&other, 3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FencedLeaderEpoch, "{error}");
    assert_eq!(log.append(&[Record::new("a")]).unwrap_err().kind(), ErrorKind::NotLeader);
    assert_eq!(log.end_offset(), off(3));
}
