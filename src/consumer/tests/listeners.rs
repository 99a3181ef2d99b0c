//! What a member's listener hears and may do: of all that moves, in its own polls, under no lock.

use super::*;
use crate::error::Error;
use crate::group::TopicPartition;

/// A listener that writes down what it hears.
#[derive(Default)]
pub(super) struct Heard(crate::sync::Mutex<Vec<String>>);

impl Heard {
    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        let numbers = partitions.iter().map(|p| format!(" {}", p.partition()));
        self.0.lock().push(format!("{what}{}", numbers.collect::<String>()));
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl RebalanceListener for Arc<Heard> {
    fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> Result<()> {
        self.note("come", assigned.partitions());
        Ok(())
    }

    fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> Result<()> {
        self.note("going", revoked.partitions());
        Ok(())
    }

    fn on_lost(&mut self, lost: &[TopicPartition]) -> Result<()> {
        self.note("lost", lost);
        Ok(())
    }
}

#[test]
fn the_listener_hears_of_all_that_moves_in_its_own_polls() {
    let world = World::new();
    world.create("orders", 2);
    let heard = Arc::new(Heard::default());
    let builder = world.group("g").subscribe(["orders"]).rebalance_listener(heard.clone());
    let mut first = builder.build().unwrap();
    assert!(heard.take().is_empty(), "`build` is no poll");
    first.try_poll().unwrap();
    assert_eq!(heard.take(), ["come 0 1"]);
    let mut second = member(&world);
    second.try_poll().unwrap();
    assert!(heard.take().is_empty());
    first.try_poll().unwrap();
    assert_eq!(heard.take(), ["going 1"]);
    drop(second);
    first.try_poll().unwrap();
    assert_eq!(heard.take(), ["come 1"]);
    world.delete("orders");
    first.try_poll().unwrap();
    assert_eq!(heard.take(), ["going 0 1"]);
    drop(first);
    assert!(heard.take().is_empty(), "who drops a consumer knows");
}

/// A listener made of closures.
struct Calls<A, R>(A, R);

impl<A, R> RebalanceListener for Calls<A, R>
where
    A: FnMut(&mut Assigned<'_>) -> Result<()> + Send,
    R: FnMut(&mut Revoked<'_>) -> Result<()> + Send,
{
    fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> Result<()> {
        (self.0)(assigned)
    }

    fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> Result<()> {
        (self.1)(revoked)
    }
}

fn calls<A, R>(assigned: A, revoked: R) -> Calls<A, R>
where
    A: FnMut(&mut Assigned<'_>) -> Result<()> + Send,
    R: FnMut(&mut Revoked<'_>) -> Result<()> + Send,
{
    Calls(assigned, revoked)
}

fn come(_: &mut Assigned<'_>) -> Result<()> {
    Ok(())
}

fn go(_: &mut Revoked<'_>) -> Result<()> {
    Ok(())
}

#[test]
fn a_listener_commits_before_partitions_go_and_seeks_when_they_come() {
    let world = World::new();
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["a", "b"]));
    let builder = world.group("g").subscribe(["orders"]);
    let commits = calls(come, |revoked: &mut Revoked<'_>| revoked.commit());
    let mut first = builder.rebalance_listener(commits).build().unwrap();
    assert_eq!(first.try_poll().unwrap().len(), 4);
    let seek = |assigned: &mut Assigned<'_>| {
        for partition in assigned.partitions() {
            let (topic, id) = (partition.topic(), partition.partition());
            assert_eq!(assigned.position(topic, id)?, Offset::new(2), "where it was committed");
            assert_eq!(assigned.committed(topic, id)?.unwrap().offset(), Offset::new(2));
            assigned.seek(topic, id, Offset::new(1))?;
        }
        Ok(())
    };
    let builder = world.group("g").subscribe(["orders"]);
    let mut second = builder.rebalance_listener(calls(seek, go)).build().unwrap();
    assert_eq!(settle(&mut [&mut second, &mut first]), ["b"]);
    assert_eq!(world.committed("g", "orders", owned(&second)[0]), Some(2));
    assert_eq!(world.committed("g", "orders", owned(&first)[0]), None, "only what goes");
}

#[test]
fn a_listener_calls_back_into_its_own_consumer() {
    let world = World::new();
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["a", "b"]));
    let come = |assigned: &mut Assigned<'_>| {
        for partition in assigned.partitions() {
            let (topic, id) = (partition.topic(), partition.partition());
            assert_eq!(assigned.seek_to_end(topic, id)?, Offset::new(2));
            assert_eq!(assigned.seek_to_timestamp(topic, id, START)?, Offset::ZERO);
            assigned.seek(topic, id, Offset::new(1))?;
            let beyond = assigned.seek(topic, id, Offset::new(3)).unwrap_err();
            assert_eq!(beyond.kind(), ErrorKind::OffsetOutOfRange);
            assert_eq!(assigned.position(topic, id)?, Offset::new(1));
            assert_eq!(assigned.committed(topic, id)?, None);
        }
        assert!(assigned.seek_to_beginning("returns", 0).is_err(), "not one of its own");
        Ok(())
    };
    let going = |revoked: &mut Revoked<'_>| {
        revoked.commit()?;
        for partition in revoked.partitions() {
            let (topic, id) = (partition.topic(), partition.partition());
            assert_eq!(revoked.position(topic, id)?, Offset::new(2));
            assert_eq!(revoked.committed(topic, id)?.unwrap().offset(), Offset::new(2));
            let back = OffsetCommit::new(topic, id.get(), Offset::new(1));
            let refused = revoked.commit_offsets(&[back]).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::OffsetRegression);
        }
        Ok(())
    };
    let builder = world.group("g").subscribe(["orders"]).rebalance_listener(calls(come, going));
    let mut first = builder.build().unwrap();
    assert_eq!(values(&first.try_poll().unwrap()), ["b", "b"]);
    let mut second = member(&world);
    assert!(settle(&mut [&mut second, &mut first]).is_empty(), "what went is committed");
    assert_eq!((owned(&first).len(), owned(&second).len()), (1, 1));
}

#[test]
fn what_a_listener_fails_with_goes_out_of_the_poll_and_the_change_is_complete() {
    let fails = || Err(Error::new("call listener", crate::error::Cause::Unsupported("no".into())));
    let world = World::new();
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["x"]));
    let builder = world.group("g").subscribe(["orders"]);
    let listener = calls(move |_: &mut Assigned<'_>| fails(), move |_: &mut Revoked<'_>| fails());
    let mut first = builder.rebalance_listener(listener).build().unwrap();
    assert_eq!(first.try_poll().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(first.try_poll().unwrap().len(), 2, "the partitions are there");
    let mut second = member(&world);
    second.try_poll().unwrap();
    assert_eq!(first.try_poll().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(owned(&first).len(), 1, "released all the same");
    assert_eq!(second.try_poll().unwrap().len(), 1);
}

#[test]
fn a_listener_that_panics_leaves_all_usable() {
    let world = World::new();
    world.create("orders", 2);
    (0..2).for_each(|id| world.send("orders", id, &["x"]));
    let builder = world.group("g").subscribe(["orders"]);
    let listener =
        calls(|_: &mut Assigned<'_>| panic!("come"), |_: &mut Revoked<'_>| panic!("going"));
    let mut first = builder.rebalance_listener(listener).build().unwrap();
    let poll = |consumer: &mut Consumer| {
        let polled = std::panic::AssertUnwindSafe(|| consumer.try_poll());
        std::panic::catch_unwind(polled).map_err(|panic| *panic.downcast_ref::<&str>().unwrap())
    };
    assert_eq!(poll(&mut first).unwrap_err(), "come");
    assert_eq!(poll(&mut first).unwrap().unwrap().len(), 2);
    let mut second = member(&world);
    second.try_poll().unwrap();
    assert_eq!(poll(&mut first).unwrap_err(), "going");
    assert_eq!(second.try_poll().unwrap().len(), 1);
    assert!(poll(&mut first).unwrap().unwrap().is_empty());
    assert_eq!((owned(&first).len(), owned(&second).len()), (1, 1));
    first.commit().unwrap();
    // the poll that panicked has ended: the member is away since then
    world.clock.advance(INTERVAL);
    assert!(first.commit().unwrap_err().is_fenced());
}

#[test]
fn a_listener_may_use_the_group_and_the_store() {
    let world = Arc::new(World::new());
    world.create("orders", 4);
    world.create("returns", 1);
    (0..4).for_each(|id| world.send("orders", id, &["x"]));
    let others: Arc<crate::sync::Mutex<Vec<Consumer>>> = Arc::default();
    let (inner, kept) = (world.clone(), others.clone());
    let mut count = 0;
    let listener = calls(come, move |_: &mut Revoked<'_>| {
        count += 1;
        let mut another = member(&inner);
        another.poll(Duration::from_millis(1))?;
        let mut kept = kept.lock();
        kept.iter_mut().try_for_each(|other| other.try_poll().map(drop))?;
        match count {
            1 => kept.push(another), // it stays
            _ => kept.clear(),       // all go
        }
        match inner.engine.topic("returns") {
            Ok(_) => inner.delete("returns"),
            Err(_) => inner.create("returns", 2),
        }
        Ok(())
    });
    let builder = world.group("g").subscribe(["orders", "returns"]).rebalance_listener(listener);
    let mut first = builder.build().unwrap();
    assert_eq!(first.try_poll().unwrap().len(), 4);
    others.lock().push(member(&world));
    for _ in 0..6 {
        first.try_poll().unwrap();
        others.lock().iter_mut().for_each(|other| drop(other.try_poll().unwrap()));
    }
    assert!(others.lock().is_empty(), "the listener was called twice");
    let has = |topic: &str| first.assignment().iter().filter(|(name, _)| name == topic).count();
    let returns = world.engine.topic("returns").map_or(0, |topic| topic.partitions().len());
    assert_eq!((has("orders"), has("returns")), (4, returns));
}

#[test]
fn a_listener_may_close_the_store() {
    let world = World::new();
    world.create("orders", 1);
    world.send("orders", 0, &["x"]);
    let engine = world.engine.clone();
    let listener = calls(move |_: &mut Assigned<'_>| engine.close(), go);
    let builder = world.group("g").subscribe(["orders"]).rebalance_listener(listener);
    let mut consumer = builder.build().unwrap();
    assert!(consumer.poll(LONG).unwrap_err().is_closed());
    assert!(consumer.commit().unwrap_err().is_closed());
}
