//! When a topic's partitions are synced without a call that asks for it; Kafka's `flush.messages`
//! and `flush.ms`.
//!
//! Both say sooner than the store's own background sync does, never later. After so many records
//! the append that is one too many waits for the sync, as one with power durability does; after so
//! long the background makes it. Read by the log and by the engine's requests.

use std::time::Duration;

use super::topic::{TopicConfig, within};
use crate::error::Error;

impl TopicConfig {
    /// `flush.messages`: the append that leaves this many records of its partition unsynced, or
    /// more, waits for a sync of them all, as one with
    /// [`Durability::Power`](crate::Durability::Power) does; its errors are that one's. 1 syncs
    /// every append. At least 1; default `None`: syncs are left to producers and the background.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().flush_records(Some(1_000));
    /// assert_eq!(config.get("flush.messages").as_deref(), Some("1000"));
    /// ```
    #[must_use]
    pub fn flush_records(mut self, most: Option<u64>) -> Self {
        self.flush_records = most;
        self
    }

    /// `flush.ms`: a partition is synced in the background once records have been unsynced this
    /// long, where the store's [`BackgroundSync`](crate::BackgroundSync) does not come first. From
    /// 0, which syncs as soon as the background can; default `None`: the store's word alone.
    ///
    /// ```
    /// use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().flush_interval(Some(Duration::from_millis(50)));
    /// assert_eq!(config.get("flush.ms").as_deref(), Some("50"));
    /// ```
    #[must_use]
    pub fn flush_interval(mut self, interval: Option<Duration>) -> Self {
        self.flush_interval = interval;
        self
    }

    pub(super) fn validate_flush(&self) -> Result<(), Error> {
        let Some(most) = self.flush_records else { return Ok(()) };
        within("flush.messages", most, 1, i64::MAX.unsigned_abs(), " records")
    }
}
