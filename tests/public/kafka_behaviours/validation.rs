//! What a record may be: timestamps, keys, sizes, codecs, and settings that are refused.

use super::*;
use tidelog::{CleanupPolicy, ErrorKind, RecordRefusal, Store, TimestampType};

#[test]
fn every_record_out_of_bounds_is_named_with_its_index() {
    let bound = Some(seconds(10));
    let config = TopicConfig::new().timestamp_before_max(bound).timestamp_after_max(bound);
    let (_bench, log) = Bench::new(config);
    let records = [0, -10_001, 10_000, 10_007, -10_000];
    let records = records.map(|time| Record::new("a").timestamp(at(time)));
    let error = log.append(&records).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{error}");
    let named = error.record_errors();
    assert_eq!(named.iter().map(|it| it.index()).collect::<Vec<_>>(), [1, 3]);
    assert!(matches!(named[0].reason(), RecordRefusal::TimestampTooOld { .. }));
    assert!(matches!(named[1].reason(), RecordRefusal::TimestampTooNew { .. }));
    assert_eq!(log.end_offset(), off(0));
}

#[test]
fn the_bounds_move_with_the_clock() {
    let config = TopicConfig::new().timestamp_after_max(Some(seconds(10)));
    let (bench, log) = Bench::new(config);
    let ahead = [Record::new("a").timestamp(at(10_001))];
    assert_eq!(log.append(&ahead).unwrap_err().kind(), ErrorKind::InvalidRecord);
    bench.clock.advance(Duration::from_millis(1));
    log.append(&ahead).expect("within");
}

#[test]
fn a_time_of_the_logs_own_has_no_bounds_and_tells_its_kind() {
    let config = TopicConfig::new().timestamp_type(TimestampType::LogAppendTime);
    let zero = Some(Duration::ZERO);
    let config = config.timestamp_before_max(zero).timestamp_after_max(zero);
    let (_bench, log) = Bench::new(config);
    let records = [-START, 0, START].map(|time| Record::new("a").timestamp(at(time)));
    assert_eq!(log.append(&records).expect("whatever they say").timestamp(), Some(at(0)));
    let read = log.read(off(0), 1_000).expect("it reads");
    for record in &read {
        let found = (record.timestamp(), record.timestamp_type());
        assert_eq!(found, (Some(at(0)), TimestampType::LogAppendTime));
    }
    assert_eq!(read.len(), 3);
}

#[test]
fn records_keep_the_kind_of_time_they_were_written_with() {
    let (bench, log) = Bench::new(TopicConfig::new());
    log.append(&[Record::new("a").timestamp(at(-5))]).expect("an append");
    let own = TopicConfig::new().timestamp_type(TimestampType::LogAppendTime);
    log.set_config(own).expect("a legal one");
    bench.clock.advance(seconds(1));
    log.append(&[Record::new("b").timestamp(at(-5))]).expect("an append");
    let read = log.read(off(0), 1_000).expect("it reads");
    let mut found: Vec<_> = read.iter().map(|it| it.timestamp()).collect();
    found.extend(log.read(off(1), 1_000).expect("it reads").iter().map(|it| it.timestamp()));
    assert_eq!((found[0], found.last().copied().flatten()), (Some(at(-5)), Some(at(1_000))));
}

#[test]
fn without_a_bound_any_time_is_taken_but_one_before_1970() {
    let (bench, log) = Bench::new(TopicConfig::new().timestamp_after_max(None));
    for time in [0, 1, i64::MAX] {
        log.append(&[Record::new("a").timestamp(Timestamp::from_millis(time))]).expect("taken");
    }
    let error = log.append(&[Record::new("a").timestamp(Timestamp::from_millis(-2))]).unwrap_err();
    let named = error.record_errors();
    assert_eq!(named[0].reason(), &RecordRefusal::NegativeTimestamp { timestamp: -2 });
    let log = bench.reopen(&log);
    let late = log.offset_for_timestamp(Timestamp::from_millis(2)).expect("a look-up");
    assert_eq!(late, Some((off(2), Timestamp::from_millis(i64::MAX))));
}

#[test]
fn a_compacted_topic_wants_keys_and_takes_empty_ones() {
    let store = Store::builder_in_memory().open().expect("a store");
    let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    store.create_topic("prices", config.clone()).expect("a topic");
    let topic = store.producer().build().expect("a producer").topic("prices").expect("there");
    let keyless = Record::new("a");
    let mixed = [Record::new("a").key("k"), keyless.clone(), Record::tombstone(), keyless.clone()];
    let error = topic.send_batch_to(0, &mixed).unwrap_err();
    let named: Vec<_> = error.record_errors().iter().map(|it| it.index()).collect();
    assert_eq!((error.kind(), named), (ErrorKind::InvalidRecord, vec![1, 2, 3]));
    let both = config.cleanup_policy(CleanupPolicy::CompactDelete);
    store.alter_topic("prices", both).expect("altered");
    assert_eq!(topic.send(keyless.clone()).unwrap_err().kind(), ErrorKind::InvalidRecord);
    topic.send_batch_to(0, &[Record::new("a").key(""), Record::tombstone().key("k")]).expect("ok");
    store.alter_topic("prices", TopicConfig::new()).expect("altered");
    topic.send(keyless).expect("no key is needed any more");
    let end = store.partition("prices", 0).expect("there").end_offset().expect("open");
    assert_eq!(end, off(3));
}

#[test]
#[cfg(feature = "gzip")]
fn a_batch_that_is_compressed_keeps_its_offsets_times_and_middle() {
    for own in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let config = TopicConfig::new().compression(tidelog::Compression::Gzip).timestamp_type(own);
        let (bench, log) = Bench::new(config);
        let value = "text ".repeat(100);
        let records: Vec<_> =
            (0..20).map(|number| Record::new(&value).timestamp(at(number))).collect();
        log.append(&records).expect("an append");
        log.append(&records).expect("an append");
        assert!(batches(&log, 0).len() < 2_000);
        let log = bench.reopen(&log);
        for from in [0, 1, 19, 20, 33, 39] {
            assert_eq!(offsets(&log, from), (from..40).collect::<Vec<_>>());
        }
        let found = log.offset_for_timestamp(at(7)).expect("a look-up");
        match own {
            TimestampType::CreateTime => assert_eq!(found, Some((off(7), at(7)))),
            _ => assert_eq!(found, None, "all are of the clock's"),
        }
    }
}

#[test]
fn codecs_and_levels_are_known_by_kafkas_names() {
    for (key, good, bad) in [
        ("compression.type", "producer", "brotli"),
        ("compression.type", "uncompressed", ""),
        ("compression.gzip.level", "9", "10"),
        ("compression.lz4.level", "17", "0"),
        ("compression.zstd.level", "22", "23"),
        ("cleanup.policy", "delete,compact", "delete,squash"),
        ("message.timestamp.type", "LogAppendTime", "append"),
        ("retention.ms", "-1", "-2"),
        ("retention.bytes", "-1", "x"),
        ("segment.ms", "1", "0"),
        ("segment.jitter.ms", "0", "-1"),
        ("index.interval.bytes", "0", "-1"),
        ("flush.messages", "1", "0"),
        ("min.cleanable.dirty.ratio", "0.5", "1.1"),
        ("min.compaction.lag.ms", "0", "-1"),
        ("max.compaction.lag.ms", "1", "0"),
        ("file.delete.delay.ms", "0", "-1"),
    ] {
        let set = |value: &str| TopicConfig::new().set(key, value).map(Bench::try_new);
        assert!(matches!(set(good), Ok(true)), "{key}={good}");
        assert!(!matches!(set(bad), Ok(true)), "{key}={bad}");
    }
    let lags =
        TopicConfig::new().min_compaction_lag(seconds(2)).max_compaction_lag(Some(seconds(1)));
    assert!(!Bench::try_new(lags), "the least lag above the largest");
    assert!(TopicConfig::new().set("no.such.setting", "1").is_err());
    let mib = TopicConfig::new().set("segment.bytes", "1048576").expect("known");
    assert_eq!(mib.get("segment.bytes").as_deref(), Some("1048576"));
}

impl Bench {
    /// Whether a topic may have that configuration.
    fn try_new(config: TopicConfig) -> bool {
        let store = Store::builder_in_memory().open().expect("a store");
        store.create_topic("orders", config).is_ok()
    }
}
