//! The id that a record was sent once under: a header, which stays with it wherever it goes.
//!
//! Producers set it, the topic's deduplication and programs read it. A header of the name that a
//! program sets itself is an id like any other to those who read it, but keeps nothing out. Of
//! several in one record the first counts.

use super::single::Record;
use super::view::RecordView;

/// The header's name.
pub(crate) const DEDUPLICATION_ID: &str = "tidelog.deduplication.id";

impl<'a> Record<'a> {
    /// The record under this id and no other.
    pub(crate) fn under(mut self, id: &'a [u8]) -> Self {
        self.headers.retain(|header| header.name() != DEDUPLICATION_ID);
        self.header(DEDUPLICATION_ID, id)
    }
}

impl<'a> RecordView<'a> {
    /// The id it was sent once under ([`send_once`](crate::TopicProducer::send_once)), which is
    /// its header `tidelog.deduplication.id`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().deduplicate(Duration::from_secs(600)))?;
    /// store.producer().build()?.topic("orders")?.send_once("order-7", Record::new("hello"))?;
    /// let mut reader = store.reader().subscribe(["orders"]).build()?;
    /// let records = reader.try_poll()?;
    /// assert_eq!(records.iter().next().unwrap().deduplication_id(), Some(&b"order-7"[..]));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn deduplication_id(&self) -> Option<&'a [u8]> {
        self.headers().find(|header| header.name() == DEDUPLICATION_ID)?.value()
    }
}
