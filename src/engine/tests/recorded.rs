//! What is recorded of a partition while others record too, and after another hand has.

use super::*;
use crate::disk::{Access, names, write_all_at};
use crate::log::{Durable, LogFact};

#[test]
fn what_is_recorded_late_lowers_nothing() {
    let disk = memory();
    let engine = engine(&disk);
    let partition = create(&engine, "orders", TopicConfig::new()).partitions()[0].clone();
    let id = partition.log().unwrap().id();
    let record = |facts: &[LogFact]| {
        let facts: Vec<_> = facts.iter().map(|fact| (id, *fact)).collect();
        engine.keeper().unwrap().record(&facts, Durable::Later).unwrap();
        engine.owner("look").unwrap().root.log().with_state(|state| {
            let kept = state.topic(id.topic).unwrap().partition(id.partition).unwrap();
            [kept.recovery_point, kept.sparse, kept.compacted].map(Offset::get)
        })
    };
    let all = |offset: i64| {
        let offset = Offset::new(offset);
        [LogFact::RecoveryPoint(offset), LogFact::Sparse(offset), LogFact::Compacted(offset)]
    };
    assert_eq!(record(&all(60)), [60; 3]);
    assert_eq!(record(&all(50)), [60; 3], "somebody else was faster");
    assert_eq!(record(&all(70)), [70; 3]);
    let lowered = Offset::new(20);
    let cut = [LogFact::Lowered(lowered), LogFact::RecoveryPoint(lowered)];
    assert_eq!(record(&cut), [20; 3], "a truncation lowers all");
    assert_eq!(record(&[LogFact::Lowered(Offset::new(30))]), [20; 3]);
    assert_eq!(record(&all(25)), [25; 3]);
}

/// Kafka may record a recovery point above the end of a log that it has truncated.
#[test]
fn a_recovery_point_of_kafkas_above_the_end_is_no_promise_of_ours_after_a_kill() {
    for cleanly in [true, false] {
        let disk = memory();
        let engine = engine(&disk);
        let partition = create(&engine, "orders", TopicConfig::new()).partitions()[0].clone();
        for value in ["a", "b", "c"] {
            append(&partition, value, Durability::Process).unwrap();
        }
        engine.close().unwrap();
        drop(engine);
        let put = |name: &str, text: &str| {
            let file = disk.open(&Path::new("/store").join(name), Access::Create).unwrap();
            file.set_len(0).unwrap();
            write_all_at(&*file, text.as_bytes(), 0).unwrap();
        };
        put(names::RECOVERY_POINTS, "0\n1\norders 0 9\n");
        if cleanly {
            put(names::CLEAN_SHUTDOWN, "{\"version\":0,\"brokerEpoch\":1}");
        }
        let first = self::engine(&disk);
        assert!(first.open_report().another_hand().is_some());
        let end = |engine: &Engine| {
            let partition = engine.topic("orders").unwrap().partitions()[0].clone();
            partition.offsets().unwrap().end.get()
        };
        assert_eq!(end(&first), 3);
        let recorded = first.owner("look").unwrap().root.log().with_state(|state| {
            let topic = state.topic_named("orders").unwrap();
            topic.partition(PartitionId::new(0)).unwrap().recovery_point
        });
        assert!(recorded.get() <= 3, "cleanly: {cleanly}, {recorded} is recorded as ours");
    }
}

/// Kafka goes by them: no line for what has no directory, and a start where it lies within a file.
#[test]
fn a_close_leaves_kafkas_checkpoints_of_what_has_records() {
    let disk = memory();
    let engine = engine(&disk);
    let value = "x".repeat(400); // two of them fill a segment
    let log_of = |name: &str, records: usize| {
        let config = TopicConfig::new().segment_bytes(1024);
        let partition = create(&engine, name, config).partitions()[0].clone();
        for _ in 0..records {
            append(&partition, &value, Durability::Process).unwrap();
        }
        partition
    };
    log_of("empty", 0);
    log_of("whole", 3);
    engine.delete_records_before(&log_of("even", 7), Offset::new(4)).unwrap();
    engine.delete_records_before(&log_of("odd", 7), Offset::new(5)).unwrap();
    engine.close().unwrap();
    let lines = |name: &str| {
        let file = disk.open(&Path::new("/store").join(name), Access::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        crate::disk::read_full_at(&*file, &mut bytes, 0).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<_> = text.lines().skip(2).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(lines(names::RECOVERY_POINTS), ["even 0 7", "odd 0 7", "whole 0 3"]);
    assert_eq!(lines(names::HIGH_WATERMARKS), ["even 0 7", "odd 0 7", "whole 0 3"]);
    assert_eq!(lines(names::LOG_STARTS), ["odd 0 5"]);
}
