//! Settings that the engine answers for: syncs after a topic's own time, and what a policy refuses.

use super::*;
use crate::config::CleanupPolicy;

const MS: Duration = Duration::from_millis(1);

fn open(background_sync: BackgroundSync, clock: &ManualClock) -> Arc<Engine> {
    let clock = Arc::new(clock.clone());
    let options = EngineOptions { background_sync, clock, ..options(Arc::new(MemoryDisk::new())) };
    Engine::open(options, Path::new("/store")).unwrap()
}

fn durable(topic: &Topic) -> i64 {
    topic.partitions()[0].offsets().unwrap().durable.get()
}

#[test]
fn a_partition_is_synced_after_its_topics_time() {
    for sync in [BackgroundSync::default(), BackgroundSync::OFF] {
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let engine = open(sync, &clock);
        let slow = create(&engine, "slow", TopicConfig::new());
        let quick = create(&engine, "quick", TopicConfig::new().flush_interval(Some(50 * MS)));
        for topic in [&slow, &quick] {
            append(&topic.partitions()[0], "one", Durability::Process).unwrap();
        }
        let now = engine.clock().monotonic();
        assert_eq!(engine.run_maintenance(), Some(now + 50 * MS));
        clock.advance(49 * MS);
        engine.run_maintenance();
        assert_eq!(durable(&quick), 0);
        clock.advance(MS);
        engine.run_maintenance();
        assert_eq!((durable(&quick), durable(&slow)), (1, 0));
        append(&quick.partitions()[0], "two", Durability::Process).unwrap();
        clock.advance(50 * MS);
        engine.run_maintenance();
        assert_eq!(durable(&quick), 2, "each time anew");
        let hurried = TopicConfig::new().flush_interval(Some(MS));
        engine.alter_topic("slow", hurried).unwrap();
        clock.advance(MS);
        engine.run_maintenance();
        assert_eq!(durable(&slow), 1, "what is unsynced when it is set counts from then");
        engine.close().unwrap();
    }
}

#[test]
fn records_of_a_topic_that_is_only_compacted_are_not_deleted() {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let engine = open(BackgroundSync::default(), &clock);
    let topic = create(&engine, "orders", TopicConfig::new());
    let partition = &topic.partitions()[0];
    append(partition, "one", Durability::Process).unwrap();
    for (policy, refused) in [
        (CleanupPolicy::Compact, true),
        (CleanupPolicy::CompactDelete, false),
        (CleanupPolicy::Delete, false),
    ] {
        engine.alter_topic("orders", TopicConfig::new().cleanup_policy(policy)).unwrap();
        let deleted = engine.delete_records_before(partition, Offset::new(1));
        let kind = deleted.err().map(|error| error.kind());
        assert_eq!(kind, refused.then_some(ErrorKind::PolicyViolation), "{policy}");
    }
    assert_eq!(partition.offsets().unwrap().start, Offset::new(1));
    engine.close().unwrap();
}
