//! What is done to a partition while something else is under way: truncation beside compaction,
//! deletion beside compaction and flushes.

use super::*;
use crate::config::CleanupPolicy;
use crate::error::Outcome;
use crate::log::Durable;
use crate::time::Clock as _;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn put(partition: &Partition, key: &str, value: Option<&str>, now: Timestamp) {
    let record = value.map_or(Record::tombstone(), Record::new).key(key);
    let records = [record];
    let batch = BorrowedBatch::measure(&records, &partition.batch_rules(now).unwrap()).unwrap();
    partition.append(&batch, now, Durability::Process).unwrap();
}

/// Offsets of the records with that key.
fn of_key(partition: &Partition, key: &str) -> Vec<i64> {
    let (log, mut found) = (partition.log().unwrap(), Vec::new());
    let mut from = log.offsets().snapshot().start;
    while let Some(chunk) = {
        let fetched = log.fetch_all(from, None, 1 << 16).unwrap();
        from = fetched.next_offset;
        fetched.chunk
    } {
        let mut bytes = &chunk.bytes[..];
        while !bytes.is_empty() {
            let batch = Batch::verify(bytes).unwrap();
            let records = batch.records().unwrap().map(Result::unwrap);
            let its = records.filter(|record| record.key() == Some(key.as_bytes()));
            found.extend(its.map(|record| record.offset().get()));
            bytes = &bytes[batch.header().size()..];
        }
    }
    found
}

/// Has the maintenance come to the end of what it has to do, for more than a minute.
fn compact(engine: &Engine, clock: &ManualClock) {
    for _ in 0..400 {
        clock.advance(Duration::from_millis(1_000));
        engine.run_maintenance();
    }
}

fn compacted(clock: &ManualClock) -> (Arc<Engine>, Arc<Partition>) {
    let options = EngineOptions { clock: Arc::new(clock.clone()), ..options(memory()) };
    let engine = Engine::open(options, Path::new("/store")).unwrap();
    let config = TopicConfig::new()
        .segment_bytes(1024)
        .cleanup_policy(CleanupPolicy::Compact)
        .min_cleanable_dirty_ratio(0.0)
        .delete_retention(Duration::from_secs(3600));
    let partition = create(&engine, "keyed", config).partitions()[0].clone();
    (engine, partition)
}

fn fill(partition: &Partition, count: usize, now: Timestamp) {
    for number in 0..count {
        put(partition, &format!("filler {}", number % 3), Some(&"x".repeat(100)), now);
    }
}

/// Below the cut all was compacted; what came in its place was not. A tombstone among that must not
/// go before what it deletes.
#[test]
fn a_key_that_was_deleted_behind_a_cut_stays_deleted() {
    let clock = ManualClock::new(NOW);
    let (engine, partition) = compacted(&clock);
    fill(&partition, 60, clock.wall());
    compact(&engine, &clock);
    let reached = partition.log().unwrap().offsets().compacted();
    assert!(reached > Offset::new(30), "the control: {reached}");
    let end = engine.truncate_to(&partition, Offset::new(10)).unwrap();
    assert!(end <= Offset::new(10), "{end}");
    put(&partition, "key", Some("value"), clock.wall());
    put(&partition, "key", None, clock.wall());
    assert_eq!(of_key(&partition, "key").len(), 2);
    for _ in 0..2 {
        fill(&partition, 100, clock.wall());
        compact(&engine, &clock);
        clock.advance(Duration::from_secs(2 * 3600));
    }
    fill(&partition, 40, clock.wall());
    compact(&engine, &clock);
    let found = of_key(&partition, "key");
    assert!(found.is_empty(), "it is back: {found:?}");
}

#[test]
fn compaction_remembers_nothing_of_topics_that_are_gone() {
    let clock = ManualClock::new(NOW);
    let (engine, partition) = compacted(&clock);
    fill(&partition, 60, clock.wall());
    compact(&engine, &clock);
    assert!(engine.compaction.remembers() > 0, "the control");
    engine.delete_topic("keyed").unwrap();
    compact(&engine, &clock);
    assert_eq!(engine.compaction.remembers(), 0);
}

#[test]
fn a_flush_does_not_fail_for_what_is_deleted_meanwhile() {
    let disk = memory();
    let engine = engine(&disk);
    let partition = create(&engine, "orders", TopicConfig::new()).partitions()[0].clone();
    append(&partition, "gone", Durability::Process).unwrap();
    let listed = engine.dirty_partitions();
    assert_eq!(listed.len(), 1);
    engine.delete_topic("orders").unwrap();
    let failed = engine.checkpoint(&listed, Durable::Now);
    assert!(failed.is_none(), "{failed:?}");
}

/// A record was there, and read perhaps, before its topic was deleted.
#[test]
fn records_that_a_deletion_overtakes_on_their_way_to_the_disk_were_written() {
    let disk = memory();
    let engine = engine(&disk);
    let partition = create(&engine, "orders", TopicConfig::new()).partitions()[0].clone();
    append(&partition, "gone", Durability::Process).unwrap();
    engine.delete_topic("orders").unwrap();
    let overtaken = partition.log().unwrap().make_durable(Offset::new(1)).unwrap_err();
    assert_eq!(overtaken.kind(), ErrorKind::Closed);
    assert_eq!(overtaken.outcome(), Outcome::WrittenNotDurable, "{overtaken}");
}
