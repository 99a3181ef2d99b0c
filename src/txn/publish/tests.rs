//! Publications over an engine in memory: all of one or nothing, whichever part fails, also where
//! the end is in doubt.

use std::path::Path;

use super::*;
use crate::config::{BackgroundSync, IsolationLevel, Leadership, Threads, TopicConfig, WhenFull};
use crate::disk::{Disk, MemoryDisk};
use crate::engine::{Engine, EngineOptions, NewTopic};
use crate::ids::PartitionId;
use crate::log::FetchLimits;
use crate::record::Batch;
use crate::time::ManualClock;

fn engine(b: TopicConfig) -> Arc<Engine> {
    engine_on(Arc::new(MemoryDisk::new()), b)
}

fn engine_on(disk: Arc<dyn Disk>, b: TopicConfig) -> Arc<Engine> {
    let options = EngineOptions {
        disk,
        clock: Arc::new(ManualClock::default()),
        threads: Threads::Host,
        background_sync: BackgroundSync::OFF,
        max_bytes: None,
        when_full: WhenFull::Fail,
        journal: None,
        plain: crate::record::PlainLimit::DEFAULT,
    };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let new = |name, config| NewTopic { name, config, internal: false };
    engine.create_topics(&[new("a", TopicConfig::new()), new("b", b)]).unwrap();
    engine
}

fn partition(engine: &Engine, topic: &str) -> Arc<Partition> {
    engine.topic(topic).unwrap().partition(PartitionId::new(0)).unwrap()
}

/// The values that are committed, with how many batches they came in.
fn committed(engine: &Engine, topic: &str) -> (Vec<Vec<u8>>, usize) {
    let isolation = IsolationLevel::ReadCommitted;
    let limits = FetchLimits { bytes: 1 << 20, records: u64::MAX, durable_only: false, isolation };
    let fetched = partition(engine, topic).fetch(Offset::ZERO, None, limits).unwrap();
    let (mut values, mut batches) = (Vec::new(), 0);
    let Some(chunk) = fetched.chunk else { return (values, 0) };
    let mut bytes = &chunk.bytes[..];
    while !bytes.is_empty() {
        let batch = Batch::verify(bytes).unwrap();
        bytes = &bytes[batch.header().size()..];
        if batch.header().is_control() || fetched.aborted.contains(&batch.header().base_offset()) {
            continue;
        }
        batches += 1;
        values.extend(batch.records().unwrap().map(|it| it.unwrap().value().unwrap().to_vec()));
    }
    (values, batches)
}

fn publisher(engine: &Arc<Engine>) -> Publisher {
    Publisher::new(Transactions::open(engine.clone()).unwrap(), "test")
}

#[test]
fn a_publication_is_all_or_nothing_and_the_next_one_goes_on() {
    let engine = engine(TopicConfig::new().max_batch_bytes(200));
    let it = publisher(&engine);
    let large = [0; 300];
    let part = |topic, record| Part { partition: partition(&engine, topic), records: vec![record] };
    let refused = it
        .publish(&[part("a", Record::new("1")), part("b", Record::new(&large))], Durability::Power);
    let refused = refused.unwrap_err();
    assert_eq!((refused.part, refused.error.kind()), (Some(1), ErrorKind::TooLarge));
    assert_eq!(refused.error.outcome(), Outcome::NotWritten);
    assert_eq!(committed(&engine, "a").0, Vec::<Vec<u8>>::new());
    let nothing = Part { partition: partition(&engine, "b"), records: Vec::new() };
    it.publish(&[part("a", Record::new("2")), nothing], Durability::Power).unwrap();
    it.publish(&[], Durability::Power).unwrap();
    assert_eq!(committed(&engine, "a").0, [b"2".to_vec()]);
    assert_eq!(committed(&engine, "b").1, 0);
    assert!(it.settle().unwrap(), "the last one with records is committed");
}

#[test]
fn what_no_batch_of_the_topic_can_hold_goes_in_several() {
    let engine = engine(TopicConfig::new().max_batch_bytes(200));
    let it = publisher(&engine);
    let values: Vec<String> = (0..50).map(|number| format!("value {number}")).collect();
    let records = values.iter().map(Record::new).collect();
    let part = Part { partition: partition(&engine, "b"), records };
    it.publish(&[part], Durability::Power).unwrap();
    let (found, batches) = committed(&engine, "b");
    assert!(batches > 4, "{batches}");
    let expected: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
    assert_eq!(found, expected, "in order");
}

#[test]
fn a_full_partition_fails_a_publication_at_once() {
    let block = WhenFull::Block(Duration::from_secs(3600));
    let engine = engine(TopicConfig::new().max_bytes(1024, block));
    let it = publisher(&engine);
    let value = [0; 700];
    let part = || Part { partition: partition(&engine, "b"), records: vec![Record::new(&value)] };
    it.publish(&[part()], Durability::Process).unwrap();
    let full = it.publish(&[part()], Durability::Process).unwrap_err();
    assert_eq!((full.part, full.error.is_full()), (Some(0), true));
}

/// Publishes to `a` and `b`, which takes nothing, then to `a` alone.
fn goes_on_without_b(engine: &Arc<Engine>, it: &Publisher, refused: ErrorKind) {
    let part = |topic, value| {
        let records = vec![Record::new(value)];
        Part { partition: partition(engine, topic), records }
    };
    for _ in 0..2 {
        let both = it.publish(&[part("a", "no"), part("b", "no")], Durability::Power);
        let both = both.unwrap_err();
        assert_eq!((both.part, both.error.kind()), (Some(1), refused));
    }
    it.publish(&[part("a", "yes")], Durability::Power).unwrap();
    assert_eq!(committed(engine, "a").0, [b"yes".to_vec()]);
}

#[test]
fn a_partition_that_follows_holds_up_no_other_publication() {
    let engine = engine(TopicConfig::new());
    engine.set_leadership(&partition(&engine, "b"), Leadership::HostLed).unwrap();
    goes_on_without_b(&engine, &publisher(&engine), ErrorKind::NotLeader);
}

#[test]
#[cfg(feature = "sim")]
fn a_poisoned_partition_holds_up_no_other_publication() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let disk = SimDisk::new(1);
    let engine = engine_on(Arc::new(disk.clone()), TopicConfig::new());
    let (it, b) = (publisher(&engine), partition(&engine, "b"));
    let one = Part { partition: b.clone(), records: vec![Record::new("x")] };
    it.publish(&[one], Durability::Process).unwrap();
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    b.make_durable(b.offsets().unwrap().end).unwrap_err();
    disk.heal();
    let poisoned = b.check_appends().unwrap_err().kind();
    goes_on_without_b(&engine, &it, poisoned);
}

/// The sync of `b` that fails is that of its records, so that nothing is committed, and then that
/// of its marker, when everything is decided: no marker can be written there, or none vouched for.
#[test]
#[cfg(feature = "sim")]
fn an_end_that_waits_for_a_poisoned_partition_holds_up_no_other_publication() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    for (sync, is_committed) in [(1, false), (5, true)] {
        let disk = SimDisk::new(1);
        let engine = engine_on(Arc::new(disk.clone()), TopicConfig::new());
        let it = publisher(&engine);
        let part = |topic, value| {
            let records = vec![Record::new(value)];
            Part { partition: partition(&engine, topic), records }
        };
        it.publish(&[part("b", "0"), part("a", "0")], Durability::Power).unwrap();
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync).nth(sync));
        let both = it.publish(&[part("b", "1"), part("a", "1")], Durability::Power);
        disk.heal();
        assert_eq!(both.is_ok(), is_committed, "{both:?}");
        partition(&engine, "b").check_appends().unwrap_err();
        for value in ["2", "3"] {
            it.publish(&[part("a", value)], Durability::Power).unwrap();
        }
        let expected: &[&str] = if is_committed { &["0", "1", "2", "3"] } else { &["0", "2", "3"] };
        let seen = committed(&engine, "a").0;
        assert_eq!(seen, expected.iter().map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>());
        let held = it.publish(&[part("b", "4")], Durability::Power).unwrap_err();
        assert_eq!(held.part, Some(0), "{held:?}");
    }
}

#[test]
fn a_part_there_is_no_room_for_leaves_nothing_behind_anywhere() {
    let engine = engine(TopicConfig::new().max_bytes(4096, WhenFull::Fail).max_batch_bytes(1024));
    let it = publisher(&engine);
    let value = [7; 400];
    let part = |topic, count| {
        let records = (0..count).map(|_| Record::new(&value)).collect();
        Part { partition: partition(&engine, topic), records }
    };
    for _ in 0..50 {
        let full = it.publish(&[part("a", 1), part("b", 20)], Durability::Power).unwrap_err();
        assert_eq!((full.part, full.error.is_full()), (Some(1), true));
    }
    it.publish(&[part("a", 1), part("b", 5)], Durability::Power).unwrap();
    assert_eq!(committed(&engine, "b").0.len(), 5);
    let end = partition(&engine, "a").offsets().unwrap().end;
    assert_eq!(end, Offset::new(2), "a record and its marker");
}

/// Else what comes second makes room with what came first, and a part of all is never seen.
#[test]
fn what_drops_its_oldest_keeps_what_an_open_transaction_has_written() {
    let engine = engine(TopicConfig::new().max_bytes(4_096, WhenFull::DropOldest));
    let it = publisher(&engine);
    let publish = |values: &[Vec<u8>]| {
        let part = |value| Part { partition: partition(&engine, "b"), records: vec![value] };
        let parts: Vec<Part<'_>> = values.iter().map(|value| part(Record::new(value))).collect();
        it.publish(&parts, Durability::Process)
    };
    let (old, new) = (vec![1; 1_200], [vec![2; 1_400], vec![3; 1_400]]);
    publish(std::slice::from_ref(&old)).unwrap();
    let full = publish(&new).unwrap_err().error;
    assert!(full.is_full() && full.to_string().contains("a transaction that is open"), "{full}");
    assert_eq!(committed(&engine, "b").0, [old], "and nothing is dropped for it");
    publish(&new[..1]).unwrap();
}

#[test]
fn its_ids_are_not_for_programs() {
    assert_eq!(check_not_own("__tidelog_x").unwrap_err().kind(), ErrorKind::InvalidName);
    assert!(check_not_own("__x").is_ok());
}
