//! The schedule over an engine in memory, one step of its timer after the other.

use std::path::Path;

use super::*;
use crate::config::{BackgroundSync, Threads, WhenFull};
use crate::disk::MemoryDisk;
use crate::engine::{EngineOptions, NewTopic};
use crate::record::{PlainLimit, Record};
use crate::state_log::kept::Target;
use crate::time::{Clock, ManualClock};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A schedule, with a topic `a` that takes everything and one `full` that takes nothing.
fn begin() -> (ManualClock, Arc<Schedule>) {
    let clock = ManualClock::new(START);
    let options = EngineOptions {
        disk: Arc::new(MemoryDisk::new()),
        clock: Arc::new(clock.clone()),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: PlainLimit::DEFAULT,
    };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let new = |name, config| NewTopic { name, config, internal: false };
    let full = TopicConfig::new().max_bytes(1024, WhenFull::Fail);
    engine.create_topics(&[new("a", TopicConfig::new()), new("full", full)]).unwrap();
    let transactions = Transactions::open(engine.clone()).unwrap();
    (clock, Schedule::open(engine, transactions).unwrap())
}

fn add(it: &Schedule, topic: &str, value: &[u8], when: When) -> ScheduleId {
    let topic = it.engine.topic(topic).unwrap();
    let (topic, name, partition) = (topic.id(), topic.name().to_owned(), PartitionId::new(0));
    let target = Target { topic, name: &name, partition };
    it.add(&Kept { target, record: Record::new(value) }, when, Durability::Process).unwrap()
}

#[test]
fn an_entry_that_comes_between_the_plan_and_the_reading_is_not_passed_over() {
    let (clock, it) = begin();
    let at = |minutes: u32| When::After(minutes * 60 * SECOND);
    add(&it, "a", b"later", at(10));
    clock.advance(10 * 60 * SECOND);
    let turn = &mut it.turn.lock();
    let (now, wall) = (clock.monotonic(), clock.wall());
    let plan = it.state.lock().plan(wall);
    add(&it, "a", b"earlier", When::At(wall.saturating_sub(5 * 60 * SECOND)));
    it.carry_out(turn, plan, (now, wall)).unwrap();
    for _ in 0..100 {
        it.step(turn, now).unwrap();
    }
    assert_eq!((it.numbers().published, it.numbers().pending), (2, 0));
}

#[test]
fn what_cannot_be_published_is_not_tried_again_before_all_others_had_their_turn() {
    let (clock, it) = begin();
    let large = vec![7; 300 << 10];
    for _ in 0..50 {
        add(&it, "full", &large, When::After(SECOND));
    }
    add(&it, "a", b"behind them", When::After(2 * SECOND));
    clock.advance(3 * SECOND);
    let turn = &mut it.turn.lock();
    for _ in 0..40 {
        // each step takes a second
        clock.advance(SECOND);
        it.step(turn, clock.monotonic()).unwrap();
    }
    assert_eq!((it.numbers().published, it.numbers().pending), (1, 50));
    let full = it.engine.topic("full").unwrap();
    it.engine.alter_topic(full.name(), TopicConfig::new()).unwrap();
    for _ in 0..40 {
        clock.advance(SECOND);
        it.step(turn, clock.monotonic()).unwrap();
    }
    assert_eq!((it.numbers().published, it.numbers().pending), (51, 0));
}

#[test]
fn what_was_resolved_while_a_listing_read_it_is_not_put_aside() {
    let (_clock, it) = begin();
    let ScheduleId { key, .. } = add(&it, "a", b"x", When::After(SECOND));
    let state = &mut it.state.lock();
    state.resolve(key);
    state.put_aside(key);
    assert_eq!(state.aside(), 0);
}
