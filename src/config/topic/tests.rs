//! Settings as text and back, and what is out of its range.

use super::*;
use crate::config::Compression;
use crate::error::ErrorKind;

#[test]
fn every_setting_reads_what_it_writes() {
    let config = TopicConfig::new()
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
        .zstd_level(-3);
    let kept = config.changed_entries();
    assert_eq!(kept.len(), SETTINGS.len(), "all differ: {kept:?}");
    assert_eq!(TopicConfig::from_entries(3, &kept).unwrap(), config);
    assert!(TopicConfig::new().changed_entries().is_empty());
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
        ("no.such.key", "1", "known: segment.bytes"),
    ] {
        let error = TopicConfig::new().set(key, value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(says), "{key}={value}: {error}");
    }
    assert!(TopicConfig::new().partitions(0).validate().is_err());
}
