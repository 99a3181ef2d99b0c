//! The same words with what went wrong: if the record becomes a dead letter, that says it.
//!
//! Of a text as much is kept as a header is to hold, and only where it is the last word on a record.

use std::time::Duration;

use super::handle::ShareConsumer;
use super::leased::Lease;
use super::settling::check_delay;
use crate::dead_letters::bounded;
use crate::error::Result;
use crate::share::{Resolution, Word};

impl ShareConsumer {
    /// [`reject`](ShareConsumer::reject) with what is wrong with the record, which its dead letter
    /// says in the header `dlq.error`: the first 1,024 bytes.
    ///
    /// # Errors
    /// Those of [`ack`](ShareConsumer::ack).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.reject_because(record, "no such customer")?;
    /// }
    /// assert!(consumer.try_poll()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reject_because(&self, record: impl Into<Lease>, error: &str) -> Result<()> {
        self.settle_one("reject", &record.into(), because(Resolution::Reject, error))
    }

    /// [`reject_because`](ShareConsumer::reject_because) as a future of no particular runtime.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let lease = consumer.try_poll()?.iter().next().expect("one was sent").lease();
    /// pollster::block_on(consumer.reject_because_async(lease, "no such customer"))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reject_because_async(
        &self,
        lease: Lease,
        error: &str,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let items = self.items("reject", &[lease]);
        self.settle_later("reject", items, because(Resolution::Reject, error))
    }

    /// [`release_after`](ShareConsumer::release_after) with what went wrong: if this was the
    /// record's last delivery, its dead letter says so in the header `dlq.error`.
    ///
    /// # Errors
    /// Those of [`release_after`](ShareConsumer::release_after).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.release_because(record, Duration::from_secs(10), "no route to host")?;
    /// }
    /// assert!(consumer.try_poll()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn release_because(
        &self,
        record: impl Into<Lease>,
        delay: Duration,
        error: &str,
    ) -> Result<()> {
        check_delay(delay)?;
        self.settle_one("release", &record.into(), because(Resolution::Release { delay }, error))
    }

    /// [`release_because`](ShareConsumer::release_because) as a future of no particular runtime.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let lease = consumer.try_poll()?.iter().next().expect("one was sent").lease();
    /// let delay = Duration::from_secs(10);
    /// pollster::block_on(consumer.release_because_async(lease, delay, "no route to host"))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn release_because_async(
        &self,
        lease: Lease,
        delay: Duration,
        error: &str,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let items = check_delay(delay).and_then(|()| self.items("release", &[lease]));
        self.settle_later("release", items, because(Resolution::Release { delay }, error))
    }
}

fn because(how: Resolution, error: &str) -> Word {
    Word { how, error: Some(bounded(error)) }
}
