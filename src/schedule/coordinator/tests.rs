//! The schedule over an engine in memory, one step of its timer after the other.

use std::path::Path;

use super::*;
use crate::config::{BackgroundSync, Leadership, Threads, WhenFull};
use crate::disk::{Access, Disk, MemoryDisk};
use crate::engine::{EngineOptions, NewTopic};
use crate::error::ErrorKind;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::record::{BorrowedBatch, PlainLimit, ProducerIdentity, Record};
use crate::state_log::kept::Target;
use crate::time::{Clock, ManualClock};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A schedule, with a topic `a` that takes everything and one `full` that has no room now.
fn begin() -> (ManualClock, Arc<Schedule>) {
    begin_on(Arc::new(MemoryDisk::new()))
}

fn begin_on(disk: Arc<dyn Disk>) -> (ManualClock, Arc<Schedule>) {
    let clock = ManualClock::new(START);
    let it = open_on(disk, &clock);
    let new = |name, config| NewTopic { name, config, internal: false };
    let full = TopicConfig::new().max_bytes(1 << 20, WhenFull::Fail);
    it.engine.create_topics(&[new("a", TopicConfig::new()), new("full", full)]).unwrap();
    let full = it.engine.topic("full").unwrap().partition(PartitionId::new(0)).unwrap();
    let (rules, value) = (full.batch_rules(START).unwrap(), vec![7; 900 << 10]);
    let filler = [Record::new(&value)];
    let filler = BorrowedBatch::measure(&filler, &rules).unwrap();
    full.append(&filler, START, Durability::Process).unwrap();
    (clock, it)
}

fn open_on(disk: Arc<dyn Disk>, clock: &ManualClock) -> Arc<Schedule> {
    let options = EngineOptions {
        disk,
        clock: Arc::new(clock.clone()),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: PlainLimit::DEFAULT,
    };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let transactions = Transactions::open(engine.clone()).unwrap();
    Schedule::open(engine, transactions).unwrap()
}

fn make(it: &Schedule, name: &str, config: TopicConfig) {
    it.engine.create_topics(&[NewTopic { name, config, internal: false }]).unwrap();
}

/// Steps of the timer at one time, without those that fail.
fn step(it: &Schedule, clock: &ManualClock, steps: u32) {
    let turn = &mut it.turn.lock();
    for _ in 0..steps {
        let _ = it.step(turn, clock.monotonic());
    }
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

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_is_not_read_yet_has_its_turn_before_what_cannot_be_published_is_tried_again() {
    let (clock, it) = begin();
    let large = vec![7; 300 << 10];
    for _ in 0..50 {
        add(&it, "full", &large, When::After(SECOND));
    }
    add(&it, "a", b"in another bucket", When::After(10 * MINUTE));
    clock.advance(11 * MINUTE);
    for _ in 0..40 {
        clock.advance(SECOND); // each step takes a second
        step(&it, &clock, 1);
    }
    assert_eq!((it.numbers().published, it.numbers().pending), (1, 50));
}

#[test]
fn a_dead_letter_without_a_topic_to_go_to_holds_up_nobody() {
    let (clock, it) = begin();
    make(&it, "gone", TopicConfig::new());
    add(&it, "gone", b"dead", When::After(SECOND));
    add(&it, "a", b"behind it", When::After(2 * SECOND));
    it.engine.delete_topic("gone").unwrap();
    let taken = NewTopic { name: "scheduled.dlq", config: TopicConfig::new(), internal: true };
    it.engine.create_topics(&[taken]).unwrap();
    clock.advance(3 * SECOND);
    step(&it, &clock, 9);
    assert_eq!((it.numbers().published, it.numbers().stuck), (1, 1));
    it.engine.delete_topic("scheduled.dlq").unwrap();
    clock.advance(SECOND);
    step(&it, &clock, 9);
    let ScheduleNumbers { published, dead_letters, pending, stuck, .. } = it.numbers();
    assert_eq!((published, dead_letters, pending, stuck), (2, 1, 0, 0));
}

#[test]
fn a_dead_letter_that_its_topic_never_takes_holds_up_no_other() {
    let (clock, it) = begin();
    make(&it, "gone", TopicConfig::new());
    make(&it, "scheduled.dlq", TopicConfig::new().max_bytes(4_096, WhenFull::Fail));
    add(&it, "gone", &[7; 5_000], When::After(SECOND));
    add(&it, "gone", b"behind it", When::After(2 * SECOND));
    it.engine.delete_topic("gone").unwrap();
    for _ in 0..4 {
        clock.advance(SECOND);
        step(&it, &clock, 9);
    }
    assert_eq!((it.numbers().dead_letters, it.numbers().stuck), (1, 1));
    it.engine.alter_topic("scheduled.dlq", TopicConfig::new()).unwrap();
    clock.advance(SECOND);
    step(&it, &clock, 9);
    assert_eq!((it.numbers().dead_letters, it.numbers().pending), (2, 0));
}

#[test]
fn a_partition_of_the_schedule_that_takes_nothing_holds_up_no_other() {
    let (clock, it) = begin();
    let one = add(&it, "a", b"held", When::After(SECOND));
    add(&it, "a", b"in another bucket", When::After(10 * MINUTE));
    let own = it.log.partition(one.key.partition()).unwrap();
    it.engine.set_leadership(&own, Leadership::HostLed).unwrap();
    clock.advance(11 * MINUTE);
    step(&it, &clock, 9);
    assert_eq!((it.numbers().published, it.numbers().stuck), (1, 1));
    it.engine.set_leadership(&own, Leadership::SelfLed).unwrap();
    clock.advance(SECOND);
    step(&it, &clock, 9);
    assert_eq!((it.numbers().published, it.numbers().pending), (2, 0));
}

#[test]
#[cfg(feature = "sim")]
fn a_partition_of_the_schedule_that_cannot_be_read_holds_up_no_other() {
    use crate::disk::{Fault, IoMode, Operation, Plan as Failing, SimDisk};
    let disk = SimDisk::new(1);
    disk.set_mode(IoMode::Positioned);
    let (clock, it) = begin_on(Arc::new(disk.clone()));
    make(&it, "large", TopicConfig::new().max_batch_bytes(4 << 20));
    let large = vec![7; 2 << 20];
    add(&it, "large", &large, When::After(SECOND));
    add(&it, "a", b"in another bucket", When::After(2 * MINUTE));
    clock.advance(3 * MINUTE);
    let turn = &mut it.turn.lock();
    while it.state.lock().due(clock.wall(), 9).len() < 2 {
        it.read_some(turn, Duration::MAX).unwrap();
    }
    disk.fail(Failing::new(Fault::Error(5)).on(Operation::Read));
    it.fire(turn, clock.wall(), clock.monotonic() + SECOND).unwrap();
    assert_eq!((turn.held.len(), it.numbers().published), (1, 0));
    for _ in 0..9 {
        it.step(turn, clock.monotonic()).unwrap();
    }
    assert_eq!((it.numbers().published, it.numbers().stuck), (1, 1));
    clock.advance(SECOND);
    for _ in 0..9 {
        it.step(turn, clock.monotonic()).unwrap();
    }
    assert_eq!((it.numbers().published, it.numbers().pending), (2, 0));
}

#[test]
#[cfg(feature = "sim")]
fn a_bucket_that_cannot_be_read_holds_up_no_other() {
    use crate::disk::{Fault, IoMode, Operation, Plan as Failing, SimDisk};
    let disk = SimDisk::new(1);
    disk.set_mode(IoMode::Positioned);
    let (clock, it) = begin_on(Arc::new(disk.clone()));
    make(&it, "large", TopicConfig::new().max_batch_bytes(4 << 20));
    add(&it, "large", &vec![7; 2 << 20], When::After(SECOND));
    add(&it, "a", b"in another bucket", When::After(2 * MINUTE));
    clock.advance(3 * MINUTE);
    disk.fail(Failing::new(Fault::Error(5)).on(Operation::Read));
    let turn = &mut it.turn.lock();
    for _ in 0..9 {
        it.step(turn, clock.monotonic()).unwrap();
    }
    assert_eq!((it.numbers().published, it.numbers().pending), (1, 1));
    clock.advance(SECOND);
    for _ in 0..9 {
        it.step(turn, clock.monotonic()).unwrap();
    }
    assert_eq!((it.numbers().published, it.numbers().pending), (2, 0));
}

/// That it is damaged is known once it was to be published.
#[test]
fn what_is_damaged_and_put_aside_may_be_cancelled() {
    let disk = Arc::new(MemoryDisk::new());
    let (clock, it) = begin_on(disk.clone());
    let one = add(&it, "a", b"x", When::After(SECOND));
    let partition = one.key.partition();
    let path = format!("/store/__schedule-{partition}/00000000000000000000.log");
    let file = disk.open(Path::new(&path), Access::Write).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, 80).unwrap();
    clock.advance(2 * SECOND);
    step(&it, &clock, 1); // is known of
    file.write_at(&[byte[0] ^ 0xff], 80).unwrap();
    step(&it, &clock, 9);
    assert_eq!((it.numbers().pending, it.numbers().unreadable), (1, 1));
    it.cancel(&one).unwrap();
    assert_eq!((it.numbers().pending, it.numbers().unreadable), (0, 0));
    assert_eq!(it.cancel(&one).unwrap_err().kind(), ErrorKind::AlreadyResolved);
}

#[test]
fn that_what_is_damaged_cannot_be_cancelled_before_its_time_is_told_as_damage() {
    let disk = Arc::new(MemoryDisk::new());
    let (_, it) = begin_on(disk.clone());
    let one = add(&it, "a", b"x", When::After(SECOND));
    let path = format!("/store/__schedule-{}/00000000000000000000.log", one.key.partition());
    let file = disk.open(Path::new(&path), Access::Write).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, 80).unwrap();
    file.write_at(&[byte[0] ^ 0xff], 80).unwrap();
    assert_eq!(it.cancel(&one).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(it.numbers().pending, 1);
    let other = ScheduleId { offset: one.offset.next(), ..one };
    assert_eq!(it.cancel(&other).unwrap_err().kind(), ErrorKind::NotFound);
    file.write_at(&byte, 80).unwrap();
    it.cancel(&one).unwrap();
    assert_eq!(it.numbers().pending, 0);
}

#[test]
fn a_portion_is_bounded_by_bytes_however_small_those_before_are() {
    let (clock, it) = begin();
    let large = vec![7; 1 << 20];
    for number in 0..20 {
        add(&it, "a", &large, When::After((20 + number) * SECOND));
        add(&it, "a", b"small", When::After(SECOND));
    }
    clock.advance(MINUTE);
    let (turn, mut seen) = (&mut it.turn.lock(), Vec::new());
    while it.state.lock().due(clock.wall(), 99).len() < 40 {
        it.read_some(turn, Duration::MAX).unwrap();
    }
    for _ in 0..40 {
        let due = it.state.lock().due(clock.wall(), 99);
        let due: Vec<Place> = due.into_iter().map(|(key, offset)| Place { key, offset }).collect();
        let loaded = it.load(turn, &due);
        let bytes: usize = loaded.iter().map(|it| it.bytes.len()).sum();
        assert!(bytes < 6 << 20, "{bytes} bytes in memory");
        assert!(due.is_empty() || !loaded.is_empty());
        let mut state = it.state.lock();
        for loaded in loaded {
            seen.push(loaded.key);
            state.resolve(loaded.key);
        }
    }
    assert!(seen.is_sorted() && seen.len() == 40, "{}", seen.len());
    assert_eq!(it.numbers().unreadable, 0);
}

/// To learn of each is an attempt; what was learnt goes with the portion.
#[test]
fn many_topics_that_take_their_records_no_longer_hold_up_nobody() {
    let (clock, it) = begin();
    let names: Vec<String> = (0..16).map(|number| format!("t{number}")).collect();
    for name in &names {
        make(&it, name, TopicConfig::new());
        add(&it, name, &[7; 3000], When::After(SECOND));
        it.engine.alter_topic(name, TopicConfig::new().max_batch_bytes(1000)).unwrap();
    }
    clock.advance(2 * SECOND);
    step(&it, &clock, 40);
    let ScheduleNumbers { published, dead_letters, pending, .. } = it.numbers();
    assert_eq!((published, dead_letters, pending), (16, 16, 0));
}

/// Each is halved down to what there is room for, which is one.
#[test]
fn many_targets_with_little_room_get_what_they_have_room_for() {
    let (clock, it) = begin();
    let names: Vec<String> = (0..6).map(|number| format!("t{number}")).collect();
    let entry = |name: &str| {
        add(&it, name, &[7; 600], When::After(SECOND));
    };
    for name in &names {
        make(&it, name, TopicConfig::new().max_bytes(1024, WhenFull::Fail));
        entry(name);
    }
    for name in names.iter().rev() {
        (1..64).for_each(|_| entry(name));
    }
    clock.advance(2 * SECOND);
    step(&it, &clock, 60);
    let ScheduleNumbers { published, stuck, .. } = it.numbers();
    assert_eq!((published, stuck), (6, 6 * 63));
}

#[test]
fn a_page_of_what_cannot_be_understood_is_not_the_last() {
    let (_clock, it) = begin();
    let good = add(&it, "a", b"x", When::After(2 * SECOND));
    let key = Key { due: good.key.due - 1000, sequence: it.state.lock().draw_sequence() };
    let change = Change { key: &key.encode(), value: Some(b"\xff\xff") };
    let end = it.log.append(key.partition(), &[change], Durability::Process).unwrap();
    it.state.lock().add(key, Offset::new(end.get() - 1), START);
    let listed = it.list(None, 1).unwrap();
    assert_eq!(listed.iter().map(|one| one.id()).collect::<Vec<_>>(), [good]);
    assert!(it.list(Some(good), 1).unwrap().is_empty());
}

#[test]
fn what_may_be_published_already_counts_once_as_unreadable() {
    let disk = Arc::new(MemoryDisk::new());
    let (clock, it) = begin_on(disk.clone());
    let one = add(&it, "a", b"x", When::After(SECOND));
    let writer = ProducerIdentity::new(ProducerId::new(77), ProducerEpoch::new(0));
    let change = Change { key: &one.key.encode(), value: None };
    it.log.append_produced(one.key.partition(), &[change], writer).unwrap();
    it.engine.close().unwrap();
    drop(it);
    let it = open_on(disk, &clock);
    assert_eq!((it.numbers().unreadable, it.numbers().pending), (1, 1));
}

#[test]
#[cfg(feature = "sim")]
fn dead_letters_of_a_publication_that_was_in_doubt_count() {
    use crate::disk::{Fault, Operation, Plan as Failing, SimDisk};
    let mut settled = 0;
    for nth in 1..=20 {
        let disk = SimDisk::new(nth);
        let (clock, it) = begin_on(Arc::new(disk.clone()));
        make(&it, "gone", TopicConfig::new());
        add(&it, "gone", b"dead", When::After(SECOND));
        add(&it, "gone", b"dead", When::After(5 * SECOND));
        it.engine.delete_topic("gone").unwrap();
        clock.advance(2 * SECOND);
        step(&it, &clock, 9); // all topics are there by then
        assert_eq!((it.numbers().dead_letters, it.numbers().pending), (1, 1));
        clock.advance(5 * SECOND);
        while it.state.lock().plan(clock.wall()) != Plan::Fire {
            step(&it, &clock, 1);
        }
        disk.fail(Failing::new(Fault::Error(5)).on(Operation::Sync).nth(nth));
        step(&it, &clock, 1);
        disk.heal();
        let is_in_doubt = it.turn.lock().in_doubt.is_some();
        for _ in 0..60 {
            clock.advance(10 * SECOND);
            it.engine.run_due();
            step(&it, &clock, 1);
        }
        let ScheduleNumbers { published, dead_letters, .. } = it.numbers();
        assert_eq!(published, dead_letters, "sync {nth}");
        settled += u32::from(is_in_doubt && published == 2);
    }
    assert!(settled > 0);
}
