//! Members of a group: who reads what, what moves and when, and what a stale member may not.

use super::listeners::Heard;
use super::*;
use crate::group::{Assignment, Assignor, GroupView, RangeAssignor, RoundRobinAssignor};
use std::collections::BTreeMap;

#[test]
fn members_divide_and_only_what_moves_is_revoked() {
    let world = World::new();
    world.create("orders", 4);
    (0..4).for_each(|id| world.send("orders", id, &[&format!("{id}a")]));
    let mut first = member(&world);
    assert_eq!(owned(&first), [0, 1, 2, 3]);
    assert_eq!(first.try_poll().unwrap().len(), 4);
    first.commit().unwrap();

    let mut second = member(&world);
    assert!(owned(&second).is_empty());
    (0..4).for_each(|id| world.send("orders", id, &[&format!("{id}b")]));
    assert!(second.try_poll().unwrap().is_empty(), "nothing is free yet");
    assert_eq!(owned(&first).len(), 4, "what moves goes in its owner's own poll");
    let kept = first.try_poll().unwrap();
    assert_eq!((kept.len(), owned(&first).len()), (2, 2));
    let moved = second.try_poll().unwrap();
    assert_eq!((moved.len(), owned(&second).len()), (2, 2));
    let mut all: Vec<String> = values(&kept);
    all.extend(values(&moved));
    all.sort();
    assert_eq!(all, ["0b", "1b", "2b", "3b"]);
    drop(first);
    assert_eq!(settle(&mut [&mut second]).len(), 2, "what was not committed comes again");
    assert_eq!(owned(&second), [0, 1, 2, 3]);
}

#[test]
fn what_is_staged_of_a_revoked_partition_is_not_delivered() {
    let world = World::new();
    world.create("orders", 2);
    let builder = world.group("g").subscribe(["orders"]).min_bytes(1 << 16);
    let mut first = builder.build().unwrap();
    (0..2).for_each(|id| world.send("orders", id, &[&format!("{id}")]));
    {
        let mut future = std::pin::pin!(first.poll_async());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending(), "it waits for more");
    }
    assert!(first.stage.has_records());
    let mut second = member(&world);
    second.try_poll().unwrap();
    let kept = first.try_poll().unwrap();
    let moved = second.try_poll().unwrap();
    assert_eq!((kept.len(), moved.len()), (1, 1));
    assert_ne!(values(&kept), values(&moved));
    assert_eq!(owned(&first), [kept.iter().next().unwrap().partition().get()]);
}

#[test]
fn who_is_away_too_long_is_expelled_and_fenced() {
    for threads in [Threads::Own, Threads::Host] {
        let world = World::with(threads);
        world.create("orders", 2);
        (0..2).for_each(|id| world.send("orders", id, &["x"]));
        let heard = Arc::new(Heard::default());
        let mut stale =
            world.group("g").subscribe(["orders"]).rebalance_listener(heard.clone()).build();
        let stale = stale.as_mut().unwrap();
        assert_eq!(stale.try_poll().unwrap().len(), 2);
        let was = stale.membership().unwrap().member_id();
        let mut other = member(&world);
        world.clock.advance(INTERVAL + Duration::from_secs(1));
        other.try_poll().unwrap(); // its own time is over too: it joins anew
        assert_eq!(owned(&other), [0, 1], "at once: nobody has them");

        let error = stale.commit().unwrap_err();
        assert!(error.is_fenced(), "{error}");
        assert!(!error.is_retriable());
        assert_eq!(world.committed("g", "orders", 0), None);
        other.commit().unwrap();
        assert_eq!(world.committed("g", "orders", 0), Some(1));
        assert_eq!(owned(stale), [0, 1], "it does not know yet");
        assert!(stale.try_poll().unwrap().is_empty());
        assert!(owned(stale).is_empty());
        assert_eq!(heard.take(), ["come 0 1", "lost 0 1"]);
        assert!(stale.membership().unwrap().member_id() > was);
        settle(&mut [stale, &mut other]);
        assert_eq!((owned(stale).len(), owned(&other).len()), (1, 1));
    }
}

/// Else a store that fences by it could not tell a member that was expelled from its successor.
#[test]
fn a_stale_member_does_not_know_the_generation_of_who_came_after_it() {
    let world = World::new();
    world.create("orders", 2);
    let generation = |consumer: &Consumer| consumer.membership().unwrap().generation().get();
    let mut stale = member(&world);
    stale.try_poll().unwrap();
    let mut other = member(&world);
    assert_eq!((generation(&stale), generation(&other)), (1, 1));
    other.try_poll().unwrap();
    assert_eq!((generation(&stale), generation(&other)), (1, 2), "it has not given up anything");
    stale.try_poll().unwrap();
    assert_eq!(generation(&stale), 2);
    other.try_poll().unwrap();

    world.clock.advance(INTERVAL);
    other.try_poll().unwrap();
    assert_eq!(owned(&other), [0, 1]);
    assert_eq!((owned(&stale).len(), generation(&stale)), (1, 2));
    assert!(generation(&other) > 2);
    stale.try_poll().unwrap();
    assert!(generation(&stale) > generation(&other), "it divides anew");
    other.try_poll().unwrap();
    assert_eq!(generation(&stale), generation(&other));
}

#[test]
fn the_timer_expels_without_anybody_polling() {
    let world = World::with(Threads::Host);
    world.create("orders", 1);
    let consumer = member(&world);
    let coordinator = world.offsets.coordinator();
    assert!(coordinator.has_members("g"));
    world.clock.advance(INTERVAL - Duration::from_secs(1));
    world.engine.run_due();
    assert!(coordinator.has_members("g"));
    world.clock.advance(Duration::from_secs(1));
    world.engine.run_due();
    assert!(!coordinator.has_members("g"));
    drop(consumer);
    assert!(coordinator.describe("g").is_none(), "nobody has a seat");
}

#[test]
fn a_poll_that_waits_is_not_away() {
    let world = World::new();
    world.create("orders", 1);
    let mut consumer = member(&world);
    let id = consumer.membership().unwrap();
    let clock = world.clock.clone();
    let partition = world.partition("orders", 0);
    let waiting = std::thread::spawn(move || (consumer.poll(LONG).unwrap().len(), consumer));
    while partition.signal().armed_count() == 0 {
        std::thread::yield_now();
    }
    clock.advance(INTERVAL * 3);
    world.send("orders", 0, &["x"]);
    let (count, mut consumer) = waiting.join().unwrap();
    assert_eq!((count, consumer.membership().unwrap()), (1, id));
    consumer.commit().unwrap();
}

#[test]
fn a_task_that_nobody_drives_is_away_after_a_warning() {
    let world = World::with(Threads::Host);
    world.create("orders", 1);
    let mut driven = member(&world);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let id = driven.membership().unwrap();
    {
        let mut future = std::pin::pin!(driven.poll_async());
        for _ in 0..3 {
            assert!(future.as_mut().poll(&mut cx).is_pending());
            world.clock.advance(INTERVAL * 2);
            world.engine.run_due();
        }
    }
    assert_eq!(driven.membership().unwrap(), id);
    driven.commit().unwrap();

    let mut stream = std::pin::pin!(&mut driven);
    assert!(futures_core::Stream::poll_next(stream.as_mut(), &mut cx).is_pending());
    for _ in 0..2 {
        world.clock.advance(INTERVAL);
        world.engine.run_due();
    }
    assert!(!world.offsets.coordinator().has_members("g"));
}

#[test]
fn an_outsider_commits_only_while_there_are_no_members() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["x"]);
    let mut outsider = world.group("g").assign([("orders", 0)]).build().unwrap();
    let inside = member(&world);
    assert_eq!(outsider.try_poll().unwrap().len(), 1, "it may read");
    assert!(outsider.commit().unwrap_err().is_fenced());
    assert_eq!(world.committed("g", "orders", 0), None);
    drop(inside);
    outsider.commit().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(1));
}

#[test]
fn a_member_may_not_commit_what_another_one_has() {
    let world = World::new();
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["x"]));
    let (mut first, mut second) = (member(&world), member(&world));
    settle(&mut [&mut first, &mut second]);
    let theirs = owned(&second)[0];
    let commits = [0, 1].map(|id| OffsetCommit::new("orders", id, Offset::new(1)));
    let error = first.commit_offsets(&commits).unwrap_err();
    assert!(error.is_fenced(), "{error}");
    assert_eq!(error.partition(), Some(("orders", PartitionId::new(theirs))));
    assert_eq!(world.committed("g", "orders", 0), None, "all or none");
    assert_eq!(world.committed("g", "orders", 1), None);
    first.commit().unwrap();
    second.commit().unwrap();
}

#[test]
fn members_agree_on_the_assignor() {
    let world = World::new();
    world.create("orders", 2);
    let builder = || world.group("g").subscribe(["orders"]);
    let first = builder().assignor(RangeAssignor::new()).build().unwrap();
    let other = builder().assignor(RoundRobinAssignor::new()).build().unwrap_err();
    assert_eq!(other.kind(), ErrorKind::InvalidArgument, "{other}");
    drop(first);
    builder().build().unwrap(); // an empty group has no assignor
}

#[test]
fn a_second_member_of_one_identity_is_refused_while_the_first_lives() {
    let world = World::new();
    world.create("orders", 2);
    let build = || world.group("g").subscribe(["orders"]).instance_id("one").build();
    let mut first = build().unwrap();
    assert_eq!(build().unwrap_err().kind(), ErrorKind::Locked);
    assert!(first.try_poll().unwrap().is_empty());
    assert_eq!(owned(&first), [0, 1], "the first one is untouched");
    drop(first);
    let mut away = build().unwrap();

    // expelled, it cannot come back while another has its identity
    world.clock.advance(INTERVAL);
    let taken = build().unwrap();
    assert_eq!(away.try_poll().unwrap_err().kind(), ErrorKind::Locked);
    drop(taken);
    away.try_poll().unwrap();
    assert_eq!(owned(&away), [0, 1]);
}

/// An assignor that answers nonsense, or panics.
#[derive(Debug)]
struct Nonsense(fn(&GroupView) -> Assignment);

impl Assignor for Nonsense {
    fn name(&self) -> &str {
        "nonsense"
    }

    fn assign(&self, group: &GroupView) -> Assignment {
        (self.0)(group)
    }
}

#[test]
fn an_assignor_that_talks_nonsense_or_panics_is_not_heard() {
    let leaves_out = |_: &GroupView| Assignment::new();
    let panics = |_: &GroupView| panic!("no idea");
    for answer in [leaves_out as fn(&GroupView) -> Assignment, panics] {
        let world = World::new();
        world.create("orders", 2);
        let builder = || world.group("g").subscribe(["orders"]).assignor(Nonsense(answer));
        let (mut first, mut second) = (builder().build().unwrap(), builder().build().unwrap());
        settle(&mut [&mut first, &mut second]);
        assert_eq!((owned(&first).len(), owned(&second).len()), (1, 1));
        let shown = world.offsets.coordinator().describe("g").unwrap();
        assert_eq!(shown.counters.fallbacks, shown.counters.rebalances);
        assert!(shown.fallback.is_some());
    }
}

#[test]
fn a_pattern_finds_topics_as_they_come_but_no_internal_ones() {
    let world = World::new();
    world.create("orders-eu", 1);
    let internal = NewTopic { name: "orders-own", config: TopicConfig::new(), internal: true };
    world.engine.create_topics(&[internal]).unwrap();
    let mut all = world.group("g").subscribe_pattern(".*").build().unwrap();
    let mut reader = world.reader().subscribe_pattern("orders-(eu|us)").build().unwrap();
    all.commit_offsets(&[OffsetCommit::new("orders-eu", 0, Offset::ZERO)]).unwrap();
    world.create("orders-us", 2);
    let names = |consumer: &mut Consumer| {
        consumer.try_poll().unwrap();
        let assigned = consumer.assignment();
        assigned.iter().map(|(topic, id)| format!("{topic}-{id}")).collect::<Vec<_>>()
    };
    let both = ["orders-eu-0", "orders-us-0", "orders-us-1"];
    assert_eq!(names(&mut all), both, "and not `__consumer_offsets`, which there is now");
    assert_eq!(names(&mut reader), both);
    world.delete("orders-eu");
    assert_eq!(names(&mut all), both[1..]);
    let wrong = world.group("h").subscribe_pattern("orders-(").build().unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn topics_that_grow_go_and_come_again_are_followed() {
    let world = World::new();
    world.create("orders", 1);
    let (mut first, mut second) = (member(&world), member(&world));
    settle(&mut [&mut first, &mut second]);
    assert_eq!(owned(&first).len() + owned(&second).len(), 1);
    world.engine.add_partitions("orders", 2).unwrap();
    world.send("orders", 1, &["new"]);
    assert_eq!(settle(&mut [&mut first, &mut second]), ["new"]);
    assert_eq!((owned(&first).len(), owned(&second).len()), (1, 1));
    world.delete("orders");
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["again"]));
    assert_eq!(settle(&mut [&mut first, &mut second]), ["again", "again"]);
}

#[test]
fn dropping_commits_nothing_and_closing_what_was_returned() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["x"]);
    let build = || {
        let builder = world.group("g").subscribe(["orders"]);
        builder.auto_commit(Duration::from_secs(60)).build().unwrap()
    };
    let mut dropped = build();
    assert_eq!(dropped.try_poll().unwrap().len(), 1);
    drop(dropped);
    assert_eq!(world.committed("g", "orders", 0), None);
    let mut closed = build();
    assert_eq!(closed.try_poll().unwrap().len(), 1);
    closed.close().unwrap();
    assert_eq!(world.committed("g", "orders", 0), Some(1));
}

#[test]
fn what_goes_is_committed_first_by_a_consumer_that_commits_by_itself() {
    let world = World::new();
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["x"]));
    let builder = world.group("g").subscribe(["orders"]);
    let mut first = builder.auto_commit(Duration::from_secs(60)).build().unwrap();
    assert_eq!(first.try_poll().unwrap().len(), 2);
    let mut second = member(&world);
    assert!(settle(&mut [&mut second, &mut first]).is_empty(), "nothing twice");
    assert_eq!(world.committed("g", "orders", owned(&second)[0]), Some(1));
    assert_eq!(world.committed("g", "orders", owned(&first)[0]), None, "its time has not come");
}

#[test]
fn a_partition_that_moves_uncommitted_is_read_from_where_the_group_began() {
    let world = World::new();
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["before"]));
    let latest = || world.group("g").subscribe(["orders"]).reset(Reset::Latest).build().unwrap();
    let mut first = latest();
    (0..2).for_each(|id| world.send("orders", id, &["after"]));
    assert_eq!(first.try_poll().unwrap().len(), 2);
    let mut second = latest();
    assert_eq!(settle(&mut [&mut second, &mut first]), ["after"], "not lost with the first");
    drop((first, second));
    assert!(latest().try_poll().unwrap().is_empty(), "the group has begun anew");
}

/// A group that lives long would else remember every topic that ever was.
#[test]
fn where_reading_of_a_deleted_topic_began_is_forgotten() {
    let world = World::new();
    world.create("orders", 1);
    let mut consumer = member(&world);
    let began = |consumer: &Consumer, topic| {
        consumer.seat().unwrap().start_of(topic, PartitionId::new(0)).is_some()
    };
    let old = world.engine.topic("orders").unwrap().id();
    assert!(began(&consumer, old));
    world.delete("orders");
    world.create("orders", 1);
    consumer.try_poll().unwrap();
    let new = world.engine.topic("orders").unwrap().id();
    assert!(began(&consumer, new) && !began(&consumer, old));
}

#[test]
fn a_release_wakes_who_waits_for_it_and_close_ends_all_waiting() {
    let world = World::new();
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["x"]));
    let mut first = member(&world);
    assert_eq!(first.try_poll().unwrap().len(), 2);
    first.commit().unwrap();
    let mut second = member(&world);
    let waiting = std::thread::spawn(move || {
        let records = second.poll(LONG).unwrap();
        (values(&records), second)
    });
    while owned(&first).len() == 2 {
        first.try_poll().unwrap(); // the other one divides, or this one
    }
    let kept = owned(&first)[0];
    world.send("orders", 1 - kept, &["moved"]);
    let (got, mut second) = waiting.join().unwrap();
    assert_eq!(got, ["moved"]);
    let ended = std::thread::spawn(move || second.poll(LONG).unwrap_err().is_closed());
    world.engine.close().unwrap();
    assert!(ended.join().unwrap());
    assert!(first.try_poll().unwrap_err().is_closed());
}

#[test]
fn an_expelled_member_s_partitions_wake_who_waits() {
    let world = World::new();
    world.create("orders", 1);
    let mut away = member(&world);
    away.try_poll().unwrap();
    let mut waits = member(&world);
    let waiting = std::thread::spawn(move || values(&waits.poll(LONG).unwrap()));
    while world.offsets.coordinator().counters().waits() == 0 {
        std::thread::yield_now();
    }
    world.clock.advance(INTERVAL); // the timer's thread sees to it
    world.send("orders", 0, &["x"]);
    assert_eq!(waiting.join().unwrap(), ["x"]);
    assert!(away.commit().unwrap_err().is_fenced());
}

#[test]
fn what_only_members_have_is_refused_elsewhere() {
    let world = World::new();
    world.create("orders", 1);
    let place = |builder: ConsumerBuilder| builder.max_poll_interval(INTERVAL).build();
    for builder in [
        world.group("g").assign([("orders", 0)]),
        world.reader().subscribe(["orders"]),
        world.group("g").subscribe(["orders"]).subscribe_pattern("orders"),
        world.group("g").assign([("orders", 0)]).subscribe_pattern("orders"),
    ] {
        assert_eq!(place(builder).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let group = || world.group("g").subscribe(["orders"]);
    for wrong in [
        group().max_poll_interval(Duration::ZERO),
        group().instance_id(""),
        group().instance_id("x".repeat(40_000)),
    ] {
        assert_eq!(wrong.build().unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
    assert!(!world.offsets.coordinator().has_members("g"));
}

#[test]
fn a_definite_end_outlives_a_rebalance() {
    let world = World::new();
    world.create("orders", 4);
    (0..4).for_each(|id| world.send("orders", id, &["a", "b"]));
    let mut first = world.group("g").subscribe(["orders"]).max_records(1).build().unwrap();
    let mut second = member(&world);
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    for records in first.read_to_end().unwrap() {
        for record in &records.unwrap() {
            *seen.entry(record.partition().get()).or_default() += 1;
        }
        second.try_poll().unwrap(); // divides, and takes what the first lets go of
    }
    let mine = owned(&first);
    assert_eq!(mine.len(), 2);
    assert!(mine.iter().all(|id| seen[id] == 2), "{mine:?} {seen:?}");
}
