//! Settings as text and back, and what is out of its range.

use super::*;
use crate::config::Compression;
use crate::config::fixed::{FIXED, GONE};
use crate::error::ErrorKind;

/// Every setting another than its default.
fn all_changed() -> TopicConfig {
    TopicConfig::new()
        .partitions(3)
        .segment_bytes(2048)
        .segment_ms(Duration::from_millis(5))
        .segment_jitter(Duration::from_millis(1))
        .segment_index_bytes(240)
        .index_interval_bytes(100)
        .max_batch_bytes(500)
        .retention(Duration::from_secs(1))
        .retention_bytes(7)
        .cleanup_policy(CleanupPolicy::CompactDelete)
        .min_cleanable_dirty_ratio(0.25)
        .min_compaction_lag(Duration::from_millis(3))
        .max_compaction_lag(Some(Duration::from_millis(4)))
        .delete_retention(Duration::from_millis(6))
        .file_delete_delay(Duration::ZERO)
        .timestamp_type(TimestampType::LogAppendTime)
        .timestamp_before_max(Some(Duration::from_secs(2)))
        .timestamp_after_max(None)
        .max_bytes(4096, WhenFull::Block(Duration::from_millis(12)))
        .retain_for("a group", HoldCap::bytes(9))
        .producer_id_expiration(Duration::from_secs(3))
        .max_producers(17)
        .compression(Compression::Zstd)
        .gzip_level(1)
        .lz4_level(2)
        .zstd_level(-3)
        .flush_records(Some(8))
        .flush_interval(Some(Duration::ZERO))
        .deduplicate(Duration::from_millis(2))
        .deduplicate_max_ids(18)
        .priority_lanes(3)
        .tag_index(true)
}

#[test]
fn every_setting_reads_what_it_writes() {
    let config = all_changed();
    let kept = config.changed_entries();
    assert_eq!(kept.len(), SETTINGS.len(), "all differ: {kept:?}");
    assert_eq!(TopicConfig::from_entries(3, &kept).unwrap(), config);
    assert!(TopicConfig::new().changed_entries().is_empty());
}

/// What a topic is made with has to be read again when its store is opened.
#[test]
fn the_largest_values_are_read_as_they_are_written() {
    let ever = Duration::MAX;
    let config = TopicConfig::new()
        .segment_ms(ever)
        .segment_jitter(ever)
        .retention(ever)
        .retention_bytes(i64::MAX as u64)
        .min_compaction_lag(ever)
        .max_compaction_lag(Some(ever))
        .delete_retention(ever)
        .file_delete_delay(ever)
        .timestamp_before_max(Some(ever))
        .timestamp_after_max(Some(ever))
        .max_bytes(i64::MAX as u64, WhenFull::Block(ever))
        .retain_for("g", HoldCap::age(ever).and_bytes(u64::MAX))
        .producer_id_expiration(ever)
        .flush_records(Some(i64::MAX as u64))
        .flush_interval(Some(ever))
        .deduplicate(ever);
    config.validate().unwrap();
    let entries = config.changed_entries();
    let read = TopicConfig::from_entries(1, &entries).unwrap();
    assert_eq!(read.changed_entries(), entries);
}

#[test]
fn values_out_of_range_are_refused_with_the_range_and_unit() {
    for (key, value, says) in [
        ("segment.bytes", "1023", "1024 to 2147483647 bytes"),
        ("segment.bytes", "2147483648", "1024 to 2147483647 bytes"),
        ("segment.ms", "0", "1 to 9223372036854775807 ms"),
        ("retention.ms", "-2", "-1 for no bound"),
        ("cleanup.policy", "compact,purge", "delete, compact, or both"),
        ("cleanup.policy", "", "delete, compact, or both"),
        ("min.cleanable.dirty.ratio", "1.01", "from 0 to 1"),
        ("max.compaction.lag.ms", "0", "1 to 9223372036854775807 ms"),
        ("segment.jitter.ms", "-1", "milliseconds"),
        ("tidelog.when.full", "block:", "block:MILLISECONDS"),
        ("flush.messages", "0", "1 to 9223372036854775807 records"),
        ("flush.messages", "9223372036854775808", "a whole number of records"),
        ("flush.ms", "-1", "milliseconds"),
        ("no.such.key", "1", "known: segment.bytes"),
    ] {
        let error = TopicConfig::new().set(key, value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(says), "{key}={value}: {error}");
    }
    assert!(TopicConfig::new().partitions(0).validate().is_err());
}

/// Kafka's topic settings with their defaults in 4.x: section 3 of its specification, and what else
/// its documentation lists for topics.
const KAFKAS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("compression.gzip.level", "-1"),
    ("compression.lz4.level", "9"),
    ("compression.type", "producer"),
    ("compression.zstd.level", "3"),
    ("delete.retention.ms", "86400000"),
    ("file.delete.delay.ms", "60000"),
    ("flush.messages", "9223372036854775807"),
    ("flush.ms", "9223372036854775807"),
    ("follower.replication.throttled.replicas", ""),
    ("index.interval.bytes", "4096"),
    ("leader.replication.throttled.replicas", ""),
    ("local.retention.bytes", "-2"),
    ("local.retention.ms", "-2"),
    ("max.compaction.lag.ms", "9223372036854775807"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.after.max.ms", "3600000"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.type", "CreateTime"),
    ("min.cleanable.dirty.ratio", "0.5"),
    ("min.compaction.lag.ms", "0"),
    ("min.insync.replicas", "1"),
    ("preallocate", "false"),
    ("remote.log.copy.disable", "false"),
    ("remote.log.delete.on.disable", "false"),
    ("remote.storage.enable", "false"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.bytes", "1073741824"),
    ("segment.index.bytes", "10485760"),
    ("segment.jitter.ms", "0"),
    ("segment.ms", "604800000"),
    ("unclean.leader.election.enable", "false"),
];

#[test]
fn each_of_kafkas_settings_is_effective_or_refused_for_a_reason() {
    let kafkas = TopicConfig::kafka_defaults();
    for (key, default) in KAFKAS {
        assert_eq!(kafkas.get(key).as_deref(), Some(*default), "{key}");
        let kept = kafkas.clone().set(key, default).unwrap();
        assert_eq!(kept, kafkas, "{key} at its default is taken and changes nothing");
        if let Some(fixed) = FIXED.iter().find(|fixed| fixed.key == *key) {
            for other in ["2", "true", "0:1"] {
                let error = kafkas.clone().set(key, other).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{key}");
                assert!(error.to_string().contains(fixed.why), "{key}: {error}");
            }
            continue;
        }
        let other = all_changed().get(key).unwrap();
        let set = kafkas.clone().set("min.compaction.lag.ms", "1").unwrap();
        let set = set.set(key, &other).unwrap();
        assert_eq!(set.get(key), Some(other), "{key}");
        assert_ne!(set, kafkas, "{key} at another value is kept");
    }
    for (key, why) in GONE {
        let error = kafkas.clone().set(key, "true").unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(kafkas.get(key), None);
    }
}

#[test]
fn the_documented_table_is_the_code_s() {
    let docs = include_str!("../../../docs/kafka.md");
    let (_, settings) = docs.split_once("## Settings of a topic").unwrap();
    let (settings, _) = settings.split_once("\n## ").unwrap();
    let rows: Vec<Vec<&str>> = settings
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let documented: Vec<&str> = rows.iter().map(|row| row[0].split('`').nth(1).unwrap()).collect();
    let own = SETTINGS.iter().map(|it| it.key).chain(FIXED.iter().map(|it| it.key));
    let mut known: Vec<&str> = own.chain(GONE.iter().map(|(key, _)| *key)).collect();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    known.sort_unstable();
    assert_eq!(sorted, known, "a row for each key");
    for row in rows {
        let words = row.last().unwrap().split_whitespace().count();
        assert!(words >= 2, "{}: what it does, or why it is refused", row[0]);
    }
    for (key, _) in KAFKAS {
        assert!(documented.contains(key), "{key}");
    }
}
