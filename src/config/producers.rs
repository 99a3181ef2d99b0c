//! What a topic's partitions remember of idempotent producers, and for how long.
//!
//! Both settings bound memory, not correctness of what is remembered: a producer that is forgotten
//! is a new one to its partition, and a batch it repeats is appended again. Read by the log.

use std::time::Duration;

use super::topic::TopicConfig;

impl TopicConfig {
    /// How long a partition remembers an idempotent producer that does not write: afterwards a
    /// batch that it sends again is a new one. Counted from its last batch by the clock, by the
    /// batch's timestamp where that is later, and anew when the store is opened; a producer whose
    /// transaction is open is never forgotten. Kafka's `producer.id.expiration.ms`, there a setting
    /// of the broker. Default 24 h, minimum 1 ms.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let config = tidelog::TopicConfig::new().producer_id_expiration(Duration::from_secs(3600));
    /// assert_eq!(config.get("producer.id.expiration.ms").as_deref(), Some("3600000"));
    /// ```
    #[must_use]
    pub fn producer_id_expiration(mut self, age: Duration) -> Self {
        self.producer_id_expiration = age;
        self
    }

    /// How many idempotent producers a partition remembers at most, at about 300 bytes each. Where
    /// there are more, those that have not written for the longest are forgotten first, a sixteenth
    /// of them at a time; one whose transaction is open never is. Default 100,000, minimum 1.
    ///
    /// ```
    /// let config = tidelog::TopicConfig::new().max_producers(1000);
    /// assert_eq!(config.get("tidelog.max.producers").as_deref(), Some("1000"));
    /// ```
    #[must_use]
    pub fn max_producers(mut self, count: usize) -> Self {
        self.max_producers = count;
        self
    }
}
