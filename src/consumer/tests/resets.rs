//! Where reading begins, and where it goes on when a position holds no more.

use super::*;

fn built(world: &World, policy: Reset) -> Consumer {
    world.group("g").assign([("orders", 0)]).reset(policy).build().unwrap()
}

#[test]
fn policies_place_a_group_that_has_committed_nothing() {
    let world = World::new();
    world.create("orders", 1);
    for second in [30, 20, 10] {
        let at = START.saturating_sub(Duration::from_secs(second));
        let record = Record::new("x").timestamp(at);
        send_one(&world.partition("orders", 0), &[record], START);
    }
    let place = |policy| built(&world, policy).position("orders", 0).unwrap().get();
    assert_eq!(place(Reset::Earliest), 0);
    assert_eq!(place(Reset::Latest), 3);
    assert_eq!(place(Reset::Since(Duration::from_secs(25))), 1);
    assert_eq!(place(Reset::Since(Duration::from_secs(5))), 3);
    assert_eq!(place(Reset::Since(Duration::MAX)), 0);

    let mut consumer = built(&world, Reset::None);
    for _ in 0..2 {
        let error = consumer.try_poll().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.partition(), Some(("orders", PartitionId::new(0))));
    }
    consumer.seek("orders", 0, Offset::new(2)).unwrap();
    assert_eq!(consumer.try_poll().unwrap().len(), 1);
}

#[test]
fn latest_means_from_the_build_on() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["before"]);
    let mut consumer = built(&world, Reset::Latest);
    world.send("orders", 0, &["after"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["after"]);
}

fn fallen_behind(policy: Reset) -> (World, Consumer) {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c", "d"]);
    let builder = world.group("g").assign([("orders", 0)]).reset(policy).max_records(1);
    let mut consumer = builder.build().unwrap();
    consumer.seek_to_beginning("orders", 0).unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["a"]);
    let partition = world.partition("orders", 0);
    world.engine.delete_records_before(&partition, Offset::new(2)).unwrap();
    (world, consumer)
}

#[test]
fn falling_behind_retention() {
    let (_world, mut consumer) = fallen_behind(Reset::Earliest);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["c"]);
    consumer.commit().unwrap();

    let (world, mut consumer) = fallen_behind(Reset::Latest);
    world.send("orders", 0, &["e"]);
    assert!(consumer.try_poll().unwrap().is_empty());
    world.send("orders", 0, &["f"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["f"]);

    let (_world, mut consumer) = fallen_behind(Reset::None);
    for _ in 0..2 {
        let error = consumer.try_poll().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
        assert_eq!(error.available(), Some((Offset::new(2), Offset::new(4))));
        assert_eq!(error.partition(), Some(("orders", PartitionId::new(0))));
    }
    consumer.seek_to_beginning("orders", 0).unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["c"]);
}

#[test]
fn a_committed_offset_behind_retention() {
    let mut world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c"]);
    let mut consumer = built(&world, Reset::None);
    consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::new(1))]).unwrap();
    let partition = world.partition("orders", 0);
    world.engine.delete_records_before(&partition, Offset::new(2)).unwrap();
    drop(partition);
    world.reopen();
    let error = built(&world, Reset::None).try_poll().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert_eq!(values(&built(&world, Reset::Earliest).try_poll().unwrap()), ["c"]);
}

/// Five records of the first epoch, five of the second, and an offset of the first that lies
/// among the second's: as a power cut leaves it that took records a group had read.
fn truncated() -> World {
    let mut world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["0", "1", "2", "3", "4"]);
    world.reopen();
    world.send("orders", 0, &["5", "6", "7", "8", "9"]);
    let lost = OffsetCommit::new("orders", 0, Offset::new(8)).leader_epoch(LeaderEpoch::new(0));
    built(&world, Reset::None).commit_offsets(&[lost]).unwrap();
    world
}

#[test]
fn a_position_whose_records_are_gone_is_noticed() {
    let mut world = truncated();
    for _ in 0..2 {
        let mut consumer = built(&world, Reset::None);
        let error = consumer.try_poll().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LogTruncated);
        assert_eq!(error.partition(), Some(("orders", PartitionId::new(0))));
        consumer.seek("orders", 0, Offset::new(6)).unwrap();
        assert_eq!(consumer.try_poll().unwrap().len(), 4);
        world.reopen();
    }
    let mut consumer = built(&world, Reset::Latest);
    assert!(consumer.try_poll().unwrap().is_empty());
    let builder = world.group("g").assign([("orders", 0)]).max_records(1);
    let mut consumer = builder.build().unwrap();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["5"], "the first that may be another");
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(6), "back, this once");
    consumer.seek_to_beginning("orders", 0).unwrap();
    consumer.try_poll().unwrap();
    assert_eq!(consumer.commit().unwrap_err().kind(), ErrorKind::OffsetRegression);
}

#[test]
fn an_automatic_commit_goes_back_after_a_truncation_too() {
    let world = truncated();
    let builder = world.group("g").assign([("orders", 0)]).max_records(1);
    let mut consumer = builder.auto_commit(Duration::from_secs(1)).build().unwrap();
    consumer.try_poll().unwrap();
    consumer.close().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(6));
}

#[test]
fn a_paused_position_is_checked_when_it_is_resumed() {
    let world = truncated();
    let mut consumer = world.group("h").assign([("orders", 0)]).build().unwrap();
    consumer.pause("orders", 0).unwrap();
    let index = consumer.assignment.find("orders", PartitionId::new(0)).unwrap();
    let slot = consumer.assignment.get_mut(index).unwrap();
    slot.move_to(Offset::new(8), Some(LeaderEpoch::new(0)));
    consumer.resume("orders", 0).unwrap();
    assert_eq!(consumer.position("orders", 0).unwrap(), Offset::new(5));
}

/// Where a consumer that has committed nothing began is not where the log ends by now.
#[test]
fn a_rewind_goes_back_to_where_reading_began() {
    let world = World::new();
    world.create("orders", 1);
    let at = |second| START.saturating_add(Duration::from_secs(second));
    send_one(&world.partition("orders", 0), &[Record::new("before").timestamp(at(0))], START);
    for policy in [Reset::Latest, Reset::Since(Duration::from_secs(5))] {
        world.clock.advance(Duration::from_secs(60));
        let mut consumer = built(&world, policy);
        let record = Record::new("after").timestamp(world.clock.wall());
        send_one(&world.partition("orders", 0), &[record], START);
        assert_eq!(values(&consumer.try_poll().unwrap()), ["after"]);
        world.clock.advance(Duration::from_secs(60));
        consumer.rewind().unwrap();
        assert_eq!(values(&consumer.try_poll().unwrap()), ["after"], "{policy:?}");
        consumer.commit().unwrap();
        consumer.rewind().unwrap();
        assert!(consumer.try_poll().unwrap().is_empty(), "{policy:?}: it is committed");
        world.offsets.delete_group("g").unwrap();
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A group that began at the end, was given two records, and then lost them and more: its host has
/// cut the log below where it began.
fn cut_below(world: &World, policy: Reset, commits: bool) -> Consumer {
    cut_below_with(world, policy, commits, |builder| builder)
}

fn cut_below_with(
    world: &World,
    policy: Reset,
    commits: bool,
    with: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder,
) -> Consumer {
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c"]);
    let builder = world.group("g").assign([("orders", 0)]).reset(policy);
    let mut consumer = with(builder).build().unwrap();
    consumer.seek_to_end("orders", 0).unwrap();
    world.send("orders", 0, &["d", "e"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["d", "e"]);
    if commits {
        consumer.commit().unwrap();
    }
    cut(world, 2);
    consumer
}

fn cut(world: &World, target: i64) {
    let partition = world.partition("orders", 0);
    assert_eq!(world.engine.truncate_to(&partition, Offset::new(target)).unwrap().get(), target);
}

#[test]
fn a_commit_after_the_log_was_cut_says_what_is_left() {
    for policy in [Reset::Latest, Reset::Earliest] {
        for (commits, polls) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
            let world = World::new();
            let mut consumer = cut_below(&world, policy, commits);
            for _ in 0..polls {
                assert!(consumer.try_poll().unwrap().is_empty(), "{policy:?}");
            }
            for _ in 0..2 {
                consumer.commit().unwrap();
                assert_eq!(world.committed("g", "orders", 0), Some(2), "{policy:?}");
            }
            assert!(consumer.try_poll().unwrap().is_empty(), "{policy:?}");
            world.send("orders", 0, &["f"]);
            assert_eq!(values(&consumer.try_poll().unwrap()), ["f"], "{policy:?}");
            consumer.commit().unwrap();
            assert_eq!(world.committed("g", "orders", 0), Some(3), "{policy:?}");
        }
    }
}

#[test]
fn an_automatic_commit_after_the_log_was_cut_fails_no_poll_and_no_close() {
    let by_itself = |builder: ConsumerBuilder| builder.auto_commit(SECOND);
    let world = World::new();
    let mut consumer = cut_below_with(&world, Reset::Latest, false, by_itself);
    world.clock.advance(2 * SECOND);
    assert!(consumer.try_poll().unwrap().is_empty());
    assert_eq!(world.committed("g", "orders", 0), Some(2));
    consumer.close().unwrap();
    let world = World::new();
    cut_below_with(&world, Reset::Latest, false, by_itself).close().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(2));
}

#[test]
fn without_a_policy_a_cut_is_told_and_nothing_is_committed_in_its_place() {
    let world = World::new();
    let mut consumer = cut_below(&world, Reset::None, false);
    assert_eq!(consumer.commit().unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
    for _ in 0..2 {
        let error = consumer.try_poll().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LogTruncated, "{error}");
        assert_eq!(error.partition(), Some(("orders", PartitionId::new(0))));
    }
    assert_eq!(world.committed("g", "orders", 0), None);
    consumer.seek("orders", 0, Offset::new(2)).unwrap();
    world.send("orders", 0, &["f"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["f"]);
    consumer.commit().unwrap();
}

/// What comes at offsets that a consumer has been at is new to it, however far it goes by then.
#[test]
fn a_log_that_was_cut_and_has_grown_again_is_read_from_where_it_was_cut() {
    let new = ["v", "w", "x", "y", "z"];
    for (policy, expected) in [(Reset::Earliest, &new[..]), (Reset::Latest, &[])] {
        let world = World::new();
        let mut consumer = cut_below(&world, policy, false);
        world.send("orders", 0, &new);
        assert_eq!(values(&consumer.try_poll().unwrap()), expected, "{policy:?}");
        world.send("orders", 0, &["f"]);
        assert_eq!(values(&consumer.try_poll().unwrap()), ["f"], "{policy:?}");
    }
    let world = World::new();
    let mut consumer = cut_below(&world, Reset::None, false);
    world.send("orders", 0, &new);
    let error = consumer.try_poll().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogTruncated, "{error}");
}

/// A place that was chosen has no record behind it whose epoch would tell.
#[test]
fn a_cut_below_a_place_that_was_chosen_is_noticed_too() {
    for build in [true, false] {
        let world = World::new();
        world.create("orders", 1);
        world.send("orders", 0, &["a", "b", "c", "d"]);
        let mut reader = world.reader().assign([("orders", 0)]).build().unwrap();
        if build {
            reader.seek("orders", 0, Offset::new(4)).unwrap();
        } else {
            drop(reader);
            let commit = OffsetCommit::new("orders", 0, Offset::new(4));
            built(&world, Reset::None).commit_offsets(&[commit]).unwrap();
            reader = built(&world, Reset::Earliest);
            assert!(reader.try_poll().unwrap().is_empty());
        }
        cut(&world, 1);
        world.send("orders", 0, &["v", "w", "x", "y"]);
        assert_eq!(values(&reader.try_poll().unwrap()), ["v", "w", "x", "y"], "{build}");
    }
}
