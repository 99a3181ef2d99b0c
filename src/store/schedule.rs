//! What a store does with records that are scheduled, beside publishing them: cancelling one, and
//! showing what is pending. The schedule decides; each call goes down to it. Scheduling itself is a
//! producer's.

use super::handle::Store;
use crate::error::Result;
use crate::schedule::{ScheduleId, ScheduledRecord};

impl Store {
    /// Takes back a record that was scheduled. `Ok`: it is never published, not after a power cut
    /// either. Of a cancel and the publication one wins; where that is under way, this waits for
    /// it. Blocks for a sync.
    ///
    /// # Errors
    /// [`AlreadyResolved`](crate::ErrorKind::AlreadyResolved) once it is published or cancelled;
    /// [`NotFound`](crate::ErrorKind::NotFound) for an id that this store has not given out;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where what was scheduled cannot be read: it may be
    /// cancelled once it was due and has been put aside; those of an append. With the outcome
    /// [`WrittenNotDurable`](crate::Outcome::WrittenNotDurable) it is cancelled, but after a power
    /// cut it may be pending again. With [`Unknown`](crate::Outcome::Unknown) its publication was
    /// decided in an earlier life and is not finished: the next open of the store tells.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{ErrorKind, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let id = orders.schedule(Record::new("remind me"), Duration::from_secs(3600))?;
    /// store.cancel_scheduled(&id)?;
    /// let again = store.cancel_scheduled(&id).unwrap_err();
    /// assert_eq!(again.kind(), ErrorKind::AlreadyResolved);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn cancel_scheduled(&self, id: &ScheduleId) -> Result<()> {
        self.schedule.cancel(id)
    }

    /// What is pending, in the order in which it is due: the first `most` records behind `after`,
    /// or from the start. To go on, pass the id of the last one: a page may be short, for what is
    /// published meanwhile or cannot be read is left out, but is empty only at the end. Reads all
    /// that is scheduled, so it is for operators: ask for large pages.
    /// [`StoreStats`](crate::StoreStats) has the count.
    ///
    /// # Errors
    /// Those of a read.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// for hours in [3, 1, 2] {
    ///     orders.schedule(Record::new("x"), Duration::from_secs(hours * 3600))?;
    /// }
    /// let first = store.scheduled(None, 2)?;
    /// let rest = store.scheduled(Some(first[1].id()), 2)?;
    /// assert_eq!((first.len(), rest.len()), (2, 1));
    /// assert!(first[0].due() < first[1].due() && first[1].due() < rest[0].due());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn scheduled(
        &self,
        after: Option<ScheduleId>,
        most: usize,
    ) -> Result<Vec<ScheduledRecord>> {
        self.schedule.list(after, most)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
