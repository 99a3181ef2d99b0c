//! How long a topic remembers the ids that records are sent once under, and how many.
//!
//! Both belong to the topic, so that all its producers agree. An id is known as long as its record
//! lies in the log and is within the window: so neither time nor compaction may take the record
//! earlier. What does anyway, a budget or a host's cut, takes the id with it. Read by
//! `deduplication`.

use std::time::Duration;

use super::topic::{TopicConfig, within};
use super::words::refuse;
use crate::error::Error;
use crate::time::millis;

const WINDOW: &str = "tidelog.deduplication.window.ms";

impl TopicConfig {
    /// `tidelog.deduplication.window.ms`: for how long a record that was sent under an id
    /// ([`send_once`](crate::TopicProducer::send_once)) keeps the topic from taking another under
    /// it, counted from its timestamp; at least 1 ms, no longer than `retention` and, in a topic
    /// that is compacted, than `min_compaction_lag`. Default: none, and `send_once` is refused.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().deduplicate(Duration::from_secs(600));
    /// assert_eq!(config.get("tidelog.deduplication.window.ms").as_deref(), Some("600000"));
    /// ```
    #[must_use]
    pub fn deduplicate(mut self, window: Duration) -> Self {
        self.deduplication_window = Some(window);
        self
    }

    /// `tidelog.deduplication.max.ids`: how many ids the topic remembers at most, at about 150
    /// bytes of memory and the id's own for each; 1 to 100,000,000, default 1,000,000. Where a
    /// window holds more, a new one is refused as [`Full`](crate::ErrorKind::Full): none is
    /// forgotten early.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().deduplicate_max_ids(10_000);
    /// assert_eq!(config.get("tidelog.deduplication.max.ids").as_deref(), Some("10000"));
    /// ```
    #[must_use]
    pub fn deduplicate_max_ids(mut self, count: usize) -> Self {
        self.deduplication_max_ids = count;
        self
    }

    pub(super) fn validate_deduplication(&self) -> Result<(), Error> {
        let most = self.deduplication_max_ids as u64;
        within("tidelog.deduplication.max.ids", most, 1, 100_000_000, "")?;
        let Some(window) = self.deduplication_window else { return Ok(()) };
        let long = millis(window).unsigned_abs();
        within(WINDOW, long, 1, i64::MAX.unsigned_abs(), " ms")?;
        if self.cleanup_policy.deletes() && self.retention.is_some_and(|age| age < window) {
            return Err(refuse(WINDOW, &long.to_string(), "no longer than retention.ms"));
        }
        if self.cleanup_policy.compacts() && self.min_compaction_lag < window {
            let allowed = "no longer than min.compaction.lag.ms";
            return Err(refuse(WINDOW, &long.to_string(), allowed));
        }
        Ok(())
    }
}
