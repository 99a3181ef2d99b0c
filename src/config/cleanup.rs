//! What removes old records of a topic, and when compaction is due.
//!
//! Names, texts and defaults are Kafka's (`cleanup.policy`, `min.cleanable.dirty.ratio`,
//! `min.compaction.lag.ms`, `max.compaction.lag.ms`, `delete.retention.ms`). Ranges are checked in
//! `TopicConfig::validate`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::ratio::Ratio;
use super::topic::TopicConfig;
use super::words::refuse;
use crate::error::Error;

/// What removes old records; Kafka's `cleanup.policy`.
///
/// ```
/// use tidelog::CleanupPolicy;
/// assert_eq!(CleanupPolicy::default().to_string(), "delete");
/// assert_eq!("delete,compact".parse::<CleanupPolicy>()?, CleanupPolicy::CompactDelete);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CleanupPolicy {
    /// Whole segments are removed by age and size.
    #[default]
    Delete,
    /// The last record of each key is kept, and those not compacted yet; every record has a key.
    /// `retention` and `retention_bytes` remove nothing.
    Compact,
    /// Both: compacted, and what is left is removed by age and size.
    CompactDelete,
}

impl CleanupPolicy {
    /// Whether it compacts.
    ///
    /// ```
    /// use tidelog::CleanupPolicy;
    /// assert!(CleanupPolicy::CompactDelete.compacts() && !CleanupPolicy::Delete.compacts());
    /// ```
    pub fn compacts(self) -> bool {
        self != CleanupPolicy::Delete
    }

    /// Whether it removes by age and size.
    ///
    /// ```
    /// use tidelog::CleanupPolicy;
    /// assert!(CleanupPolicy::CompactDelete.deletes() && !CleanupPolicy::Compact.deletes());
    /// ```
    pub fn deletes(self) -> bool {
        self != CleanupPolicy::Compact
    }
}

impl fmt::Display for CleanupPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CleanupPolicy::Delete => "delete",
            CleanupPolicy::Compact => "compact",
            CleanupPolicy::CompactDelete => "compact,delete",
        })
    }
}

impl FromStr for CleanupPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (mut compacts, mut deletes) = (false, false);
        for word in text.split(',') {
            match word.trim() {
                "compact" => compacts = true,
                "delete" => deletes = true,
                _ => return Err(refuse("cleanup.policy", text, POLICIES)),
            }
        }
        Ok(match (compacts, deletes) {
            (true, true) => CleanupPolicy::CompactDelete,
            (true, false) => CleanupPolicy::Compact,
            _ => CleanupPolicy::Delete,
        })
    }
}

/// What `cleanup.policy` may be, for the error.
pub(super) const POLICIES: &str = "delete, compact, or both with a comma between";

impl TopicConfig {
    /// For a log without a store, which has nobody to compact it.
    pub(crate) fn refuse_compaction(&self) -> Result<(), Error> {
        if self.cleanup_policy.compacts() {
            let policy = self.cleanup_policy.to_string();
            return Err(refuse("cleanup.policy", &policy, "delete: it takes a store to compact"));
        }
        Ok(())
    }
}

/// Cleaning up.
impl TopicConfig {
    /// `cleanup.policy`: what removes old records; default [`CleanupPolicy::Delete`]. A compacting
    /// policy refuses records without a key.
    ///
    /// ```
    /// use tidelog::{CleanupPolicy, TopicConfig};
    /// let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    /// assert_eq!(config.get("cleanup.policy").as_deref(), Some("compact"));
    /// ```
    #[must_use]
    pub fn cleanup_policy(mut self, policy: CleanupPolicy) -> Self {
        self.cleanup_policy = policy;
        self
    }

    /// `min.cleanable.dirty.ratio`: a partition is compacted once more than this part of its
    /// sealed bytes was appended since the last time; 0 to 1, default 0.5, exact to a millionth.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().min_cleanable_dirty_ratio(0.1);
    /// assert_eq!(config.get("min.cleanable.dirty.ratio").as_deref(), Some("0.1"));
    /// ```
    #[must_use]
    pub fn min_cleanable_dirty_ratio(mut self, ratio: f64) -> Self {
        self.min_dirty = Ratio::of(ratio);
        self
    }

    /// `min.compaction.lag.ms`: a record younger than this is not compacted; default 0.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().min_compaction_lag(Duration::from_secs(5));
    /// assert_eq!(config.get("min.compaction.lag.ms").as_deref(), Some("5000"));
    /// ```
    #[must_use]
    pub fn min_compaction_lag(mut self, lag: Duration) -> Self {
        self.min_compaction_lag = lag;
        self
    }

    /// `max.compaction.lag.ms`: a partition is compacted once a record appended since the last
    /// time is older than this, whatever the ratio says; at least 1 ms and not less than
    /// [`min_compaction_lag`](Self::min_compaction_lag), default: no bound.
    ///
    /// ```
    /// use std::time::Duration;
    /// let hour = Some(Duration::from_secs(3600));
    /// let config = tidelog::TopicConfig::new().max_compaction_lag(hour);
    /// assert_eq!(config.get("max.compaction.lag.ms").as_deref(), Some("3600000"));
    /// ```
    #[must_use]
    pub fn max_compaction_lag(mut self, lag: Option<Duration>) -> Self {
        self.max_compaction_lag = lag;
        self
    }

    /// `delete.retention.ms`: how long a tombstone stays after compaction first passed it, so that
    /// slow readers see the deletion; default a day.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().delete_retention(Duration::from_secs(60));
    /// assert_eq!(config.get("delete.retention.ms").as_deref(), Some("60000"));
    /// ```
    #[must_use]
    pub fn delete_retention(mut self, age: Duration) -> Self {
        self.delete_retention = age;
        self
    }
}
