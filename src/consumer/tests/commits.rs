//! Committing: what each call commits, what is refused, what survives, what happens by itself.

use super::*;

fn consumer(world: &World) -> Consumer {
    world.group("g").subscribe(["orders"]).build().unwrap()
}

#[test]
fn a_commit_is_where_the_next_consumer_begins() {
    let mut world = World::new();
    world.create("orders", 2);
    world.send("orders", 0, &["a", "b"]);
    world.send("orders", 1, &["c"]);
    let mut first = consumer(&world);
    assert_eq!(first.try_poll().unwrap().len(), 3);
    first.commit_with(Durability::Power).unwrap();
    world.send("orders", 0, &["d"]);
    drop(first);
    for _ in 0..2 {
        let mut next = consumer(&world);
        assert_eq!(values(&next.try_poll().unwrap()), ["d"], "dropping commits nothing");
    }
    world.reopen();
    let mut next = consumer(&world);
    assert_eq!(values(&next.try_poll().unwrap()), ["d"]);
    next.commit().unwrap();
    world.reopen();
    assert_eq!(world.committed("g", "orders", 0), Some(3));
    let committed = consumer(&world).committed("orders", 0).unwrap().unwrap();
    assert_eq!(committed.leader_epoch(), Some(LeaderEpoch::new(0)));
    assert_eq!((committed.metadata(), committed.committed_at()), ("", START));
}

#[test]
fn only_what_was_returned_is_committed() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c"]);
    let builder = world.group("g").subscribe(["orders"]).max_records(1);
    let mut consumer = builder.build().unwrap();
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), None);
    consumer.try_poll().unwrap();
    consumer.try_poll().unwrap();
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(2));
}

#[test]
fn a_commit_through_a_record() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c"]);
    let mut consumer = consumer(&world);
    let records = consumer.try_poll().unwrap();
    let middle = records.iter().nth(1).unwrap();
    consumer.commit_through(&middle).unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(2));
    let error = consumer.commit_through(&records.iter().next().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetRegression);
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(3));
}

#[test]
fn explicit_offsets_carry_metadata_and_are_all_or_none() {
    let mut world = World::new();
    world.create("orders", 2);
    world.create("returns", 1);
    world.send("orders", 0, &["a", "b"]);
    world.send("orders", 1, &["c"]);
    let mut writer = consumer(&world);
    let good = OffsetCommit::new("orders", 0, Offset::new(1)).metadata("sum=ü");
    let other = OffsetCommit::new("returns", 0, Offset::ZERO);
    writer.commit_offsets(&[good, other]).unwrap();
    let long = "x".repeat(4_097);
    let limit = "y".repeat(4_096);
    let better = OffsetCommit::new("orders", 0, Offset::new(2)).metadata(&limit);
    let refused = [
        (OffsetCommit::new("orders", 1, Offset::ZERO).metadata(&long), ErrorKind::TooLarge),
        (OffsetCommit::new("orders", 1, Offset::new(2)), ErrorKind::OffsetOutOfRange),
        (OffsetCommit::new("orders", 1, Offset::new(-1)), ErrorKind::OffsetOutOfRange),
        (OffsetCommit::new("orders", 2, Offset::ZERO), ErrorKind::NotFound),
        (OffsetCommit::new("nothing", 0, Offset::ZERO), ErrorKind::NotFound),
        (OffsetCommit::new("orders", 0, Offset::new(2)), ErrorKind::InvalidArgument),
    ];
    for (bad, kind) in refused {
        let error = writer.commit_offsets(&[better, bad]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(world.committed("g", "orders", 0), Some(1));
    }
    let back = OffsetCommit::new("orders", 0, Offset::ZERO);
    assert_eq!(writer.commit_offsets(&[back]).unwrap_err().kind(), ErrorKind::OffsetRegression);
    drop(writer);
    world.reopen();
    let mut reader = consumer(&world);
    let committed = reader.committed("orders", 0).unwrap().unwrap();
    assert_eq!((committed.offset(), committed.metadata()), (Offset::new(1), "sum=ü"));
    assert_eq!(reader.committed("orders", 1).unwrap(), None);
    assert_eq!(reader.committed("returns", 0).unwrap().unwrap().offset(), Offset::ZERO);
    reader.commit_offsets(&[better]).unwrap();
    assert_eq!(reader.committed("orders", 0).unwrap().unwrap().metadata(), limit);
}

#[test]
fn a_commit_beyond_the_end_is_refused_and_changes_nothing() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    let mut consumer = consumer(&world);
    consumer.try_poll().unwrap();
    let commit = |offset| [OffsetCommit::new("orders", 0, Offset::new(offset))];
    for wrong in [2, i64::MAX, -1, i64::MIN] {
        let error = consumer.commit_offsets(&commit(wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
        assert_eq!(error.available(), Some((Offset::ZERO, Offset::new(1))));
        assert_eq!(error.partition(), Some(("orders", PartitionId::new(0))));
        assert_eq!(world.committed("g", "orders", 0), None);
    }
    consumer.commit_offsets(&commit(1)).unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(1), "the end itself is legal");
}

#[test]
fn a_commit_leaves_the_metadata_of_the_same_offset_alone() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    let mut consumer = consumer(&world);
    consumer.try_poll().unwrap();
    let mine = OffsetCommit::new("orders", 0, Offset::new(1)).metadata("mine");
    consumer.commit_offsets(&[mine]).unwrap();
    for durability in [Durability::Process, Durability::Power, Durability::Power] {
        consumer.commit_with(durability).unwrap();
        assert_eq!(consumer.committed("orders", 0).unwrap().unwrap().metadata(), "mine");
    }
    assert_eq!(world.offsets.coordinator().counters().commits.get(), 2, "one more, for the sync");
}

#[test]
fn a_durable_commit_makes_its_records_durable() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b"]);
    let builder = world.group("g").subscribe(["orders"]).durability(Durability::Power);
    let mut consumer = builder.build().unwrap();
    consumer.try_poll().unwrap();
    assert_eq!(world.partition("orders", 0).offsets().unwrap().durable, Offset::ZERO);
    consumer.commit().unwrap();
    assert_eq!(world.partition("orders", 0).offsets().unwrap().durable, Offset::new(2));
}

#[test]
fn reading_again_does_not_move_a_commit_back() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b", "c"]);
    let mut consumer = world.group("g").subscribe(["orders"]).max_records(1).build().unwrap();
    consumer.read_to_end().unwrap().for_each(|records| assert_eq!(records.unwrap().len(), 1));
    consumer.commit().unwrap();
    consumer.seek_to_beginning("orders", 0).unwrap();
    consumer.try_poll().unwrap();
    assert_eq!(consumer.commit().unwrap_err().kind(), ErrorKind::OffsetRegression);
    assert_eq!(world.committed("g", "orders", 0), Some(3));
    consumer.read_to_end().unwrap().for_each(drop);
    consumer.commit().unwrap();
}

#[test]
fn automatic_commits_act_in_the_next_poll_and_in_close() {
    let world = World::new();
    world.create("orders", 1);
    let second = Duration::from_secs(1);
    let build = || world.group("g").subscribe(["orders"]).auto_commit(second).build().unwrap();
    let committed = || world.committed("g", "orders", 0);
    let mut consumer = build();
    world.send("orders", 0, &["a"]);
    assert_eq!(consumer.try_poll().unwrap().len(), 1);
    world.clock.advance(2 * second);
    assert_eq!(committed(), None, "no timer does it");
    world.send("orders", 0, &["b"]);
    assert_eq!(values(&consumer.try_poll().unwrap()), ["b"]);
    assert_eq!(committed(), Some(1), "what was returned before this poll");
    consumer.try_poll().unwrap();
    assert_eq!(committed(), Some(1), "the interval is not over");
    drop(consumer);
    assert_eq!(committed(), Some(1), "no drop does it");

    let mut consumer = build();
    assert_eq!(values(&consumer.try_poll().unwrap()), ["b"]);
    consumer.close().unwrap();
    assert_eq!(committed(), Some(2));

    let mut consumer = build();
    consumer.seek_to_beginning("orders", 0).unwrap();
    world.clock.advance(2 * second);
    consumer.try_poll().unwrap();
    consumer.seek_to_beginning("orders", 0).unwrap();
    world.clock.advance(2 * second);
    consumer.try_poll().unwrap();
    consumer.close().unwrap();
    assert_eq!(committed(), Some(2), "never back");

    let mut consumer = world.group("g").subscribe(["orders"]).build().unwrap();
    world.send("orders", 0, &["c"]);
    consumer.try_poll().unwrap();
    consumer.close().unwrap();
    assert_eq!(committed(), Some(2), "off by default");
}

#[test]
fn readers_keep_no_offsets() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a"]);
    let mut reader = world.reader().assign([("orders", 0)]).build().unwrap();
    assert_eq!(reader.group(), None);
    let records = reader.try_poll().unwrap();
    let record = records.iter().next().unwrap();
    let commit = OffsetCommit::new("orders", 0, Offset::ZERO);
    let errors = [
        reader.commit().unwrap_err(),
        reader.commit_through(&record).unwrap_err(),
        reader.commit_offsets(&[commit]).unwrap_err(),
        reader.committed("orders", 0).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidArgument));
    assert!(world.engine.topic("__consumer_offsets").is_err(), "nothing was committed yet");
    reader.close().unwrap();
}

#[test]
fn a_topic_made_again_has_none_of_the_old_offsets() {
    let mut world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b"]);
    let mut old = world.group("g").assign([("orders", 0)]).build().unwrap();
    old.try_poll().unwrap();
    old.commit().unwrap();
    world.send("orders", 0, &["c"]);
    let records = old.try_poll().unwrap();
    world.delete("orders");
    let error = old.commit_through(&records.iter().next().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world.create("orders", 1);
    world.send("orders", 0, &["new"]);
    assert_eq!(world.committed("g", "orders", 0), None);
    world.reopen();
    assert_eq!(world.committed("g", "orders", 0), None);
    assert_eq!(values(&consumer(&world).try_poll().unwrap()), ["new"]);
}

#[test]
fn a_commit_holds_after_somebody_has_reset_the_offset() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b"]);
    let mut consumer = consumer(&world);
    consumer.try_poll().unwrap();
    consumer.commit().unwrap();
    let back = crate::group::Commit {
        partition: &world.partition("orders", 0),
        offset: Offset::ZERO,
        leader_epoch: None,
        metadata: "",
        mode: crate::group::CommitMode::Reset,
    };
    world.offsets.commit("g", &[back], Durability::Process).unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(0));
    consumer.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(2));
}

#[test]
fn a_durable_commit_of_a_task_makes_no_sync_in_a_poll() {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};
    let world = World::with(Threads::Host);
    world.create("orders", 1);
    world.send("orders", 0, &["a", "b"]);
    let builder = world.group("g").subscribe(["orders"]).durability(Durability::Power);
    let mut consumer = builder.build().unwrap();
    assert_eq!(consumer.try_poll().unwrap().len(), 2);
    let partition = world.partition("orders", 0);
    let syncs = |partition: &Partition| partition.log().unwrap().counters().syncs.get();
    {
        let mut commit = std::pin::pin!(consumer.commit_async());
        let mut look = || commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        for _ in 0..3 {
            assert!(look().is_pending());
            assert_eq!(syncs(&partition), 0, "a poll syncs nothing");
        }
        assert_eq!(world.committed("g", "orders", 0), None, "the records come first");
        world.engine.run_due();
        assert!(look().is_pending());
        assert_eq!(world.committed("g", "orders", 0), Some(2), "made, and not yet durable");
        world.engine.run_due();
        assert!(matches!(look(), Poll::Ready(Ok(()))));
    }
    assert_eq!(syncs(&partition), 1);
    pollster::block_on(consumer.commit_async()).unwrap(); // nothing is new
}

/// A hold that moved with a commit which a power cut takes back would let go of what is to be read
/// again after it.
#[test]
fn what_a_group_keeps_moves_once_its_commit_is_durable() {
    use crate::config::HoldCap;
    use std::task::{Context, Waker};

    let world = World::with(Threads::Host);
    world.create_with("orders", TopicConfig::new().retain_for("g", HoldCap::bytes(1 << 30)));
    world.send("orders", 0, &["a"]);
    let builder = world.group("g").subscribe(["orders"]).durability(Durability::Power);
    let mut consumer = builder.build().unwrap();
    consumer.try_poll().unwrap();
    consumer.commit().unwrap();
    let partition = world.partition("orders", 0);
    let held = || partition.holds()[0].offset.get();
    assert_eq!(held(), 1);
    world.send("orders", 0, &["b"]);
    consumer.try_poll().unwrap();
    let mut committing = Box::pin(consumer.commit_async());
    let mut context = Context::from_waker(Waker::noop());
    let mut was_made = false;
    while committing.as_mut().poll(&mut context).is_pending() {
        if world.committed("g", "orders", 0) == Some(2) {
            was_made = true;
            assert_eq!(held(), 1, "its sync has not been made");
        }
        world.engine.run_due();
    }
    assert!(was_made, "the control");
    assert_eq!(held(), 2);
}
