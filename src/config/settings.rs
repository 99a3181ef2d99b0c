//! The table of a topic's settings: each key with how its value is written and read as text.
//!
//! The keys and the texts are Kafka's where Kafka has the setting. "No bound" is written as Kafka
//! writes it: -1 for the retention settings, the largest number for the two timestamp settings.
//! Ranges are not checked here but where the configuration is used, in `TopicConfig::validate`.

use std::time::Duration;

use super::cleanup::POLICIES;
use super::holds::{read_holds, write_holds};
use super::ratio::Ratio;
use super::topic::TopicConfig;
use super::words::refuse;

use crate::error::Error;
use crate::time::millis;

/// One setting as text: its key, how to write it, how to read it.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) write: fn(&TopicConfig) -> String,
    pub(super) read: fn(&mut TopicConfig, &str) -> Option<()>,
    /// What `read` takes, for the error.
    pub(super) takes: &'static str,
}

const MILLIS: &str = "a whole number of milliseconds";
const MILLIS_OR_NONE: &str = "a whole number of milliseconds, or -1 for no bound";
const BYTES: &str = "a whole number of bytes";
const BYTES_OR_NONE: &str = "a whole number of bytes, or -1 for no bound";

/// Every setting but the number of partitions.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "segment.bytes",
        write: |c| c.segment_bytes.to_string(),
        read: |c, text| text.parse().ok().map(|bytes| c.segment_bytes = bytes),
        takes: BYTES,
    },
    Setting {
        key: "segment.ms",
        write: |c| write_millis(c.segment_ms),
        read: |c, text| read_millis(text).map(|age| c.segment_ms = age),
        takes: MILLIS,
    },
    Setting {
        key: "segment.jitter.ms",
        write: |c| write_millis(c.segment_jitter),
        read: |c, text| read_millis(text).map(|jitter| c.segment_jitter = jitter),
        takes: MILLIS,
    },
    Setting {
        key: "segment.index.bytes",
        write: |c| c.segment_index_bytes.to_string(),
        read: |c, text| text.parse().ok().map(|bytes| c.segment_index_bytes = bytes),
        takes: BYTES,
    },
    Setting {
        key: "index.interval.bytes",
        write: |c| c.index_interval_bytes.to_string(),
        read: |c, text| text.parse().ok().map(|bytes| c.index_interval_bytes = bytes),
        takes: BYTES,
    },
    Setting {
        key: "max.message.bytes",
        write: |c| c.max_batch_bytes.to_string(),
        read: |c, text| text.parse().ok().map(|bytes| c.max_batch_bytes = bytes),
        takes: BYTES,
    },
    Setting {
        key: "retention.ms",
        write: |c| c.retention.map_or_else(|| "-1".into(), write_millis),
        read: |c, text| read_or_none(text, read_millis).map(|age| c.retention = age),
        takes: MILLIS_OR_NONE,
    },
    Setting {
        key: "retention.bytes",
        write: |c| c.retention_bytes.map_or_else(|| "-1".into(), |bytes| bytes.to_string()),
        read: |c, text| {
            read_or_none(text, |text| text.parse().ok()).map(|bytes| c.retention_bytes = bytes)
        },
        takes: BYTES_OR_NONE,
    },
    Setting {
        key: "cleanup.policy",
        write: |c| c.cleanup_policy.to_string(),
        read: |c, text| text.parse().ok().map(|policy| c.cleanup_policy = policy),
        takes: POLICIES,
    },
    Setting {
        key: "min.cleanable.dirty.ratio",
        write: |c| c.min_dirty.to_string(),
        read: |c, text| text.parse().ok().map(|ratio| c.min_dirty = Ratio::of(ratio)),
        takes: "a number from 0 to 1",
    },
    Setting {
        key: "min.compaction.lag.ms",
        write: |c| write_millis(c.min_compaction_lag),
        read: |c, text| read_millis(text).map(|lag| c.min_compaction_lag = lag),
        takes: MILLIS,
    },
    Setting {
        key: "max.compaction.lag.ms",
        write: |c| write_bound(c.max_compaction_lag),
        read: |c, text| read_bound(text).map(|lag| c.max_compaction_lag = lag),
        takes: MILLIS,
    },
    Setting {
        key: "delete.retention.ms",
        write: |c| write_millis(c.delete_retention),
        read: |c, text| read_millis(text).map(|age| c.delete_retention = age),
        takes: MILLIS,
    },
    Setting {
        key: "file.delete.delay.ms",
        write: |c| write_millis(c.file_delete_delay),
        read: |c, text| read_millis(text).map(|delay| c.file_delete_delay = delay),
        takes: MILLIS,
    },
    Setting {
        key: "message.timestamp.type",
        write: |c| c.timestamp_type.to_string(),
        read: |c, text| text.parse().ok().map(|kind| c.timestamp_type = kind),
        takes: "CreateTime or LogAppendTime",
    },
    Setting {
        key: "message.timestamp.before.max.ms",
        write: |c| write_bound(c.timestamp_before_max),
        read: |c, text| read_bound(text).map(|age| c.timestamp_before_max = age),
        takes: MILLIS,
    },
    Setting {
        key: "message.timestamp.after.max.ms",
        write: |c| write_bound(c.timestamp_after_max),
        read: |c, text| read_bound(text).map(|lead| c.timestamp_after_max = lead),
        takes: MILLIS,
    },
    Setting {
        key: "compression.type",
        write: |c| c.compression.kind.to_string(),
        read: |c, text| text.parse().ok().map(|kind| c.compression.kind = kind),
        takes: "producer, uncompressed, none, gzip, snappy, lz4 or zstd",
    },
    Setting {
        key: "compression.gzip.level",
        write: |c| c.compression.gzip_level.to_string(),
        read: |c, text| text.parse().ok().map(|level| c.compression.gzip_level = level),
        takes: "-1 or 1 to 9",
    },
    Setting {
        key: "compression.lz4.level",
        write: |c| c.compression.lz4_level.to_string(),
        read: |c, text| text.parse().ok().map(|level| c.compression.lz4_level = level),
        takes: "1 to 17",
    },
    Setting {
        key: "compression.zstd.level",
        write: |c| c.compression.zstd_level.to_string(),
        read: |c, text| text.parse().ok().map(|level| c.compression.zstd_level = level),
        takes: "-131072 to 22",
    },
    Setting {
        key: "flush.messages",
        write: |c| c.flush_records.map_or_else(|| i64::MAX.to_string(), |most| most.to_string()),
        read: |c, text| {
            let most = text.parse().ok().filter(|most| *most <= i64::MAX.unsigned_abs())?;
            c.flush_records = Some(most).filter(|most| *most < i64::MAX.unsigned_abs());
            Some(())
        },
        takes: "a whole number of records",
    },
    Setting {
        key: "flush.ms",
        write: |c| write_bound(c.flush_interval),
        read: |c, text| read_bound(text).map(|interval| c.flush_interval = interval),
        takes: MILLIS,
    },
    Setting {
        key: "tidelog.max.bytes",
        write: |c| c.max_bytes.map_or_else(|| "-1".into(), |bytes| bytes.to_string()),
        read: |c, text| {
            read_or_none(text, |text| text.parse().ok()).map(|bytes| c.max_bytes = bytes)
        },
        takes: BYTES_OR_NONE,
    },
    Setting {
        key: "tidelog.when.full",
        write: |c| c.when_full.to_string(),
        read: |c, text| text.parse().ok().map(|when| c.when_full = when),
        takes: "fail, drop-oldest or block:MILLISECONDS",
    },
    Setting {
        key: "tidelog.retain.for",
        write: |c| write_holds(&c.retain_for),
        read: |c, text| read_holds(text).map(|holds| c.retain_for = holds),
        takes: "GROUP=bytes:N,ms:N;..., names with other bytes than letters, digits, `._-` as %xx",
    },
    Setting {
        key: "producer.id.expiration.ms",
        write: |c| write_millis(c.producer_id_expiration),
        read: |c, text| read_millis(text).map(|age| c.producer_id_expiration = age),
        takes: MILLIS,
    },
    Setting {
        key: "tidelog.max.producers",
        write: |c| c.max_producers.to_string(),
        read: |c, text| text.parse().ok().map(|most| c.max_producers = most),
        takes: "a whole number",
    },
    Setting {
        key: "tidelog.deduplication.window.ms",
        write: |c| c.deduplication_window.map_or_else(|| "-1".into(), write_millis),
        read: |c, text| read_or_none(text, read_millis).map(|age| c.deduplication_window = age),
        takes: MILLIS_OR_NONE,
    },
    Setting {
        key: "tidelog.deduplication.max.ids",
        write: |c| c.deduplication_max_ids.to_string(),
        read: |c, text| text.parse().ok().map(|most| c.deduplication_max_ids = most),
        takes: "a whole number",
    },
    Setting {
        key: "tidelog.priority.lanes",
        write: |c| c.priority_lanes.to_string(),
        read: |c, text| text.parse().ok().map(|lanes| c.priority_lanes = lanes),
        takes: "a whole number",
    },
];

fn write_millis(duration: Duration) -> String {
    millis(duration).to_string()
}

fn read_millis(text: &str) -> Option<Duration> {
    let millis: i64 = text.parse().ok()?;
    u64::try_from(millis).ok().map(Duration::from_millis)
}

/// Kafka writes "no bound" as the largest number for the timestamp, lag and flush settings.
fn write_bound(bound: Option<Duration>) -> String {
    bound.map_or_else(|| i64::MAX.to_string(), write_millis)
}

fn read_bound(text: &str) -> Option<Option<Duration>> {
    let bound = read_millis(text)?;
    Some((millis(bound) < i64::MAX).then_some(bound))
}

/// Kafka writes "no bound" as -1 for the retention settings.
fn read_or_none<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "-1" { Some(None) } else { read(text).map(Some) }
}

/// A configuration as texts, and back.
impl TopicConfig {
    /// What differs from the defaults, as the catalog keeps it.
    pub(crate) fn changed_entries(&self) -> Vec<(String, String)> {
        let default = TopicConfig::default();
        let mut entries = self.entries();
        entries.retain(|(key, value)| default.get(key).as_ref() != Some(value));
        entries
    }

    /// The configuration the catalog kept. A whole set is checked at once, so that the order of
    /// its entries does not matter.
    pub(crate) fn from_entries(
        partitions: u32,
        entries: &[(String, String)],
    ) -> Result<Self, Error> {
        let mut config = TopicConfig::default().partitions(partitions);
        for (key, value) in entries {
            let setting = SETTINGS
                .iter()
                .find(|setting| setting.key == key)
                .ok_or_else(|| refuse(key, value, "no such setting"))?;
            (setting.read)(&mut config, value).ok_or_else(|| refuse(key, value, setting.takes))?;
        }
        config.validate()?;
        Ok(config)
    }
}
