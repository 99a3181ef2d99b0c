//! A topic's configuration: typed setters, and the same settings as Kafka's strings.
//!
//! `settings` is the one table of keys; every range is checked in `validate`, whichever way a
//! value came in. The catalog keeps what differs from the defaults as text, so a topic written by
//! an older version keeps its meaning.

use std::time::Duration;

use super::cleanup::CleanupPolicy;
use super::compression::TopicCompression;
use super::fixed;
use super::holds::{GroupHolds, HoldCap};
use super::ratio::Ratio;
use super::settings::SETTINGS;
use super::words::{TimestampType, WhenFull, refuse};
use crate::error::Error;
use crate::time::millis;

/// How a topic is kept. Everything has a default; a topic made with them keeps everything.
///
/// The names and defaults are Kafka's, but for retention: a topic born here keeps its records
/// until it is told otherwise, [`TopicConfig::kafka_defaults`] keeps them for seven days.
///
/// ```
/// use std::time::Duration;
/// use tidelog::TopicConfig;
/// let config = TopicConfig::new().partitions(4).retention(Duration::from_secs(3600));
/// assert_eq!(config.get("retention.ms").as_deref(), Some("3600000"));
/// let same = TopicConfig::new().partitions(4).set("retention.ms", "3600000")?;
/// assert_eq!(config, same);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    pub(crate) partitions: u32,
    pub(crate) segment_bytes: u64,
    pub(crate) segment_ms: Duration,
    pub(crate) segment_jitter: Duration,
    pub(crate) segment_index_bytes: u64,
    pub(crate) index_interval_bytes: u64,
    pub(crate) max_batch_bytes: u64,
    pub(crate) retention: Option<Duration>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) cleanup_policy: CleanupPolicy,
    pub(crate) min_dirty: Ratio,
    pub(crate) min_compaction_lag: Duration,
    pub(crate) max_compaction_lag: Option<Duration>,
    pub(crate) delete_retention: Duration,
    pub(crate) file_delete_delay: Duration,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) timestamp_before_max: Option<Duration>,
    pub(crate) timestamp_after_max: Option<Duration>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) when_full: WhenFull,
    pub(crate) retain_for: GroupHolds,
    pub(crate) producer_id_expiration: Duration,
    pub(crate) max_producers: usize,
    pub(crate) compression: TopicCompression,
    pub(crate) flush_records: Option<u64>,
    pub(crate) flush_interval: Option<Duration>,
    pub(crate) deduplication_window: Option<Duration>,
    pub(crate) deduplication_max_ids: usize,
    pub(crate) priority_lanes: u32,
}

/// The largest segment: Kafka's files stay below 2^31 bytes.
const MAX_SEGMENT_BYTES: u64 = (1 << 31) - 1;
/// More partitions than one process could serve; bounds what a bad number can allocate.
const MAX_PARTITIONS: u32 = 100_000;

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            partitions: 1,
            segment_bytes: 1 << 30,
            segment_ms: Duration::from_secs(7 * 24 * 3600),
            segment_jitter: Duration::ZERO,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_batch_bytes: (1 << 20) + 12,
            retention: None,
            retention_bytes: None,
            cleanup_policy: CleanupPolicy::Delete,
            min_dirty: Ratio::HALF,
            min_compaction_lag: Duration::ZERO,
            max_compaction_lag: None,
            delete_retention: Duration::from_secs(24 * 3600),
            file_delete_delay: Duration::from_secs(60),
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max: None,
            timestamp_after_max: Some(Duration::from_secs(3600)),
            max_bytes: None,
            when_full: WhenFull::Fail,
            retain_for: GroupHolds::new(),
            producer_id_expiration: Duration::from_secs(24 * 3600),
            max_producers: 100_000,
            compression: TopicCompression::default(),
            flush_records: None,
            flush_interval: None,
            deduplication_window: None,
            deduplication_max_ids: 1_000_000,
            priority_lanes: 1,
        }
    }
}

/// Typed setters. Ranges are checked when the configuration is used.
impl TopicConfig {
    /// One partition, everything kept.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new();
    /// assert_eq!(config.get("retention.ms").as_deref(), Some("-1"));
    /// ```
    pub fn new() -> Self {
        TopicConfig::default()
    }

    /// Kafka's defaults throughout: records are kept for seven days.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::kafka_defaults();
    /// assert_eq!(config.get("retention.ms").as_deref(), Some("604800000"));
    /// ```
    pub fn kafka_defaults() -> Self {
        TopicConfig::default().retention(Duration::from_secs(7 * 24 * 3600))
    }

    /// How many partitions; 1 to 100,000, default 1. Can grow later, never shrink.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().partitions(4);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn partitions(mut self, count: u32) -> Self {
        self.partitions = count;
        self
    }

    /// `segment.bytes`: a segment is rolled before it would pass this; 1 KiB to 2 GiB - 1,
    /// default 1 GiB. Kafka 4 asks for 1 MiB at least; here small segments are allowed.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().segment_bytes(1 << 20);
    /// assert_eq!(config.get("segment.bytes").as_deref(), Some("1048576"));
    /// ```
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// `segment.ms`: a segment is rolled when a record's timestamp lies this far after its first
    /// one's; at least 1 ms, default 7 days.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().segment_ms(Duration::from_secs(60));
    /// assert_eq!(config.get("segment.ms").as_deref(), Some("60000"));
    /// ```
    #[must_use]
    pub fn segment_ms(mut self, age: Duration) -> Self {
        self.segment_ms = age;
        self
    }

    /// `segment.jitter.ms`: up to this is taken off `segment.ms` at random, per segment; default 0.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().segment_jitter(Duration::from_secs(5));
    /// assert_eq!(config.get("segment.jitter.ms").as_deref(), Some("5000"));
    /// ```
    #[must_use]
    pub fn segment_jitter(mut self, jitter: Duration) -> Self {
        self.segment_jitter = jitter;
        self
    }

    /// `segment.index.bytes`: how large an index may grow before its segment is rolled; 24 bytes
    /// to 1 GiB, default 10 MiB. Nothing is preallocated.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().segment_index_bytes(1 << 16);
    /// assert_eq!(config.get("segment.index.bytes").as_deref(), Some("65536"));
    /// ```
    #[must_use]
    pub fn segment_index_bytes(mut self, bytes: u64) -> Self {
        self.segment_index_bytes = bytes;
        self
    }

    /// `index.interval.bytes`: bytes of log between two index entries; default 4,096.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().index_interval_bytes(1_000);
    /// assert_eq!(config.get("index.interval.bytes").as_deref(), Some("1000"));
    /// ```
    #[must_use]
    pub fn index_interval_bytes(mut self, bytes: u64) -> Self {
        self.index_interval_bytes = bytes;
        self
    }

    /// `max.message.bytes`: the largest record batch, header included; 100 bytes to 1 GiB,
    /// default 1 MiB + 12.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().max_batch_bytes(1 << 20);
    /// assert_eq!(config.get("max.message.bytes").as_deref(), Some("1048576"));
    /// ```
    #[must_use]
    pub fn max_batch_bytes(mut self, bytes: u64) -> Self {
        self.max_batch_bytes = bytes;
        self
    }

    /// `retention.ms`: whole segments go once all their records are older; default: kept.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().retention(Duration::from_secs(60));
    /// assert_eq!(config.get("retention.ms").as_deref(), Some("60000"));
    /// ```
    #[must_use]
    pub fn retention(mut self, age: Duration) -> Self {
        self.retention = Some(age);
        self
    }

    /// `retention.bytes`: the oldest segments of a partition go while at least this much stays;
    /// default: kept.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().retention_bytes(1 << 30);
    /// assert_eq!(config.get("retention.bytes").as_deref(), Some("1073741824"));
    /// ```
    #[must_use]
    pub fn retention_bytes(mut self, bytes: u64) -> Self {
        self.retention_bytes = Some(bytes);
        self
    }

    /// `file.delete.delay.ms`: how long files of a dropped segment stay under a `.deleted` name;
    /// default 60 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().file_delete_delay(Duration::ZERO);
    /// assert_eq!(config.get("file.delete.delay.ms").as_deref(), Some("0"));
    /// ```
    #[must_use]
    pub fn file_delete_delay(mut self, delay: Duration) -> Self {
        self.file_delete_delay = delay;
        self
    }

    /// `message.timestamp.type`: who sets timestamps; default the producer.
    ///
    /// ```
    /// use tidelog::{TimestampType, TopicConfig};
    /// let config = TopicConfig::new().timestamp_type(TimestampType::LogAppendTime);
    /// assert_eq!(config.get("message.timestamp.type").as_deref(), Some("LogAppendTime"));
    /// ```
    #[must_use]
    pub fn timestamp_type(mut self, kind: TimestampType) -> Self {
        self.timestamp_type = kind;
        self
    }

    /// `message.timestamp.before.max.ms`: a record may be at most this much older than the clock;
    /// `None`, the default, sets no bound.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().timestamp_before_max(Some(Duration::from_secs(9)));
    /// assert_eq!(config.get("message.timestamp.before.max.ms").as_deref(), Some("9000"));
    /// ```
    #[must_use]
    pub fn timestamp_before_max(mut self, age: Option<Duration>) -> Self {
        self.timestamp_before_max = age;
        self
    }

    /// `message.timestamp.after.max.ms`: a record may be at most this far in the clock's future;
    /// default 1 hour, as in Kafka 4. `None` sets no bound.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().timestamp_after_max(None);
    /// assert_eq!(
    ///     config.get("message.timestamp.after.max.ms").as_deref(),
    ///     Some("9223372036854775807")
    /// );
    /// ```
    #[must_use]
    pub fn timestamp_after_max(mut self, lead: Option<Duration>) -> Self {
        self.timestamp_after_max = lead;
        self
    }

    /// `tidelog.max.bytes`: a budget for the published bytes of all the topic's partitions, and
    /// what an append does when it is spent; default: none.
    ///
    /// ```
    /// use tidelog::{TopicConfig, WhenFull};
    /// let config = TopicConfig::new().max_bytes(1 << 30, WhenFull::DropOldest);
    /// assert_eq!(config.get("tidelog.max.bytes").as_deref(), Some("1073741824"));
    /// ```
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64, when_full: WhenFull) -> Self {
        self.max_bytes = Some(bytes);
        self.when_full = when_full;
        self
    }

    /// `tidelog.retain.for`: keeps records that retention or a budget would remove while this
    /// group has not committed past them, as far as `cap` goes; a hold begins with the group's
    /// first commit for a partition and ends with its offset. Once for each group; default: none.
    ///
    /// ```
    /// use tidelog::{HoldCap, TopicConfig};
    /// let config = TopicConfig::new().retain_for("billing", HoldCap::bytes(1 << 30));
    /// let text = config.get("tidelog.retain.for");
    /// assert_eq!(text.as_deref(), Some("billing=bytes:1073741824"));
    /// ```
    #[must_use]
    pub fn retain_for(mut self, group: impl Into<String>, cap: HoldCap) -> Self {
        self.retain_for.insert(group.into(), cap);
        self
    }
}

/// The same settings as text.
impl TopicConfig {
    /// Sets one setting by its key and text, as Kafka's tools would. Every key of Kafka's topics is
    /// known; those that can have but one value here take that.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for a key that is not known
    /// or a value that is out of its range; the text says what is allowed, or why nothing is.
    ///
    /// ```
    /// use tidelog::{ErrorKind, TopicConfig};
    /// let config = TopicConfig::new().set("segment.bytes", "1048576")?;
    /// let error = config.set("segment.bytes", "lots").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn set(mut self, key: &str, value: &str) -> Result<Self, Error> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return fixed::check(key, value).map(|()| self);
        };
        (setting.read)(&mut self, value).ok_or_else(|| refuse(key, value, setting.takes))?;
        self.validate()?;
        Ok(self)
    }

    /// One setting as text, `None` for a key that is not known.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new();
    /// assert_eq!(config.get("index.interval.bytes").as_deref(), Some("4096"));
    /// assert_eq!(config.get("no.such.key"), None);
    /// ```
    pub fn get(&self, key: &str) -> Option<String> {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        setting.map(|setting| (setting.write)(self)).or_else(|| fixed::value(key))
    }

    /// Every setting but the number of partitions, as text; those of Kafka's that have one value
    /// here come last.
    ///
    /// ```
    /// let all = tidelog::TopicConfig::new().entries();
    /// assert!(all.contains(&("segment.bytes".to_owned(), "1073741824".to_owned())));
    /// ```
    pub fn entries(&self) -> Vec<(String, String)> {
        let own = SETTINGS.iter().map(|setting| (setting.key.to_owned(), (setting.write)(self)));
        own.chain(fixed::entries()).collect()
    }

    /// Whether time or size may remove records.
    pub(crate) fn has_retention(&self) -> bool {
        let bounded = self.retention.is_some() || self.retention_bytes.is_some();
        bounded && self.cleanup_policy.deletes()
    }

    /// Every range in one place, whichever way the values came in.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        within("partitions", u64::from(self.partitions), 1, u64::from(MAX_PARTITIONS), "")?;
        within("segment.bytes", self.segment_bytes, 1024, MAX_SEGMENT_BYTES, " bytes")?;
        within("segment.index.bytes", self.segment_index_bytes, 24, 1 << 30, " bytes")?;
        within("index.interval.bytes", self.index_interval_bytes, 0, MAX_SEGMENT_BYTES, " bytes")?;
        within("max.message.bytes", self.max_batch_bytes, 100, 1 << 30, " bytes")?;
        within("segment.ms", millis(self.segment_ms).unsigned_abs(), 1, i64::MAX as u64, " ms")?;
        if !self.min_dirty.is_legal() {
            let shown = self.min_dirty.to_string();
            return Err(refuse("min.cleanable.dirty.ratio", &shown, "a number from 0 to 1"));
        }
        if let Some(lag) = self.max_compaction_lag {
            let least = millis(self.min_compaction_lag).max(1).unsigned_abs();
            let lag = millis(lag).unsigned_abs();
            within("max.compaction.lag.ms", lag, least, i64::MAX as u64, " ms")?;
        }
        if let Some(bytes) = self.max_bytes {
            within("tidelog.max.bytes", bytes, 1024, i64::MAX as u64, " bytes")?;
        }
        let age = millis(self.producer_id_expiration).unsigned_abs();
        within("producer.id.expiration.ms", age, 1, i64::MAX as u64, " ms")?;
        within("tidelog.max.producers", self.max_producers as u64, 1, 10_000_000, "")?;
        for (group, cap) in &self.retain_for {
            if group.is_empty() || group.len() > 0x7fff || !cap.is_legal() {
                let allowed = "a group's name, at least 1 byte, at least 1 ms";
                let shown: String = group.chars().take(64).collect();
                return Err(refuse("tidelog.retain.for", &format!("{shown}={cap}"), allowed));
            }
        }
        self.compression.validate()?;
        self.validate_flush()?;
        self.validate_deduplication()?;
        self.validate_priorities()?;
        if let Some(bytes) = self.retention_bytes {
            within("retention.bytes", bytes, 0, i64::MAX as u64, " bytes")?;
        }
        Ok(())
    }
}

pub(super) fn within(
    key: &str,
    value: u64,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(refuse(key, &value.to_string(), format!("allowed are {least} to {most}{unit}")))
}

#[cfg(test)]
mod tests;
