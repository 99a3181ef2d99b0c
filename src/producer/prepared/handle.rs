//! Prepares records, and resolves them.
//!
//! Partitions are chosen and records checked at the call; from there on the coordinator has them.
//! Dropping the handle ends the questions to its resolver and resolves nothing.

use std::fmt;
use std::sync::Arc;

use super::super::handle::Producer;
use crate::config::Durability;
use crate::error::Result;
use crate::prepared::{Asker, Outcome, Prepared, PreparedId};
use crate::record::Record;
use crate::state_log::kept::{Kept, Target};
use crate::txn::check_record;

/// Publishes records if, and only if, the program's own work is done: a row in a database, a file,
/// a call to somebody else.
///
/// [`prepare`](PreparedProducer::prepare) keeps the records where no reader sees them; the program
/// does its work, keeping the id with it; then [`commit`](PreparedProducer::commit) publishes them
/// all at once, or [`roll_back`](PreparedProducer::roll_back) drops them. If the program is
/// stopped in between, or forgets, the resolver is asked: it looks for the id where the work keeps
/// it. So for every transaction that was prepared the records are published exactly once or never,
/// as the work was done or not.
///
/// It may be shared between threads. Dropping it ends the questions and resolves nothing.
///
/// ```
/// use std::collections::HashSet;
/// use std::sync::{Arc, Mutex};
/// use tidelog::{Record, Resolution, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.ensure_topic("bills", TopicConfig::new())?;
/// let done = Arc::new(Mutex::new(HashSet::new())); // a table of the program's database
/// let table = done.clone();
/// let outbox = store
///     .prepared("shop")
///     .resolver(move |transaction| match table.lock().unwrap().contains(&transaction.id()) {
///         true => Resolution::Commit,
///         false => Resolution::RollBack,
///     })
///     .build()?;
///
/// let id = outbox.prepare(&[("orders", Record::new("7")), ("bills", Record::new("of 7"))])?;
/// done.lock().unwrap().insert(id); // in the database's transaction, with the order itself
/// outbox.commit(id)?;
/// # Ok::<(), tidelog::Error>(())
/// ```
pub struct PreparedProducer {
    producer: Producer,
    prepared: Arc<Prepared>,
    name: Arc<str>,
    durability: Durability,
    asker: Option<Arc<Asker>>,
}

impl PreparedProducer {
    pub(super) fn new(
        producer: Producer,
        prepared: Arc<Prepared>,
        (name, durability): (Arc<str>, Durability),
        asker: Option<Arc<Asker>>,
    ) -> Self {
        PreparedProducer { producer, prepared, name, durability, asker }
    }

    /// Keeps records for any topics until they are resolved. The partitions are chosen now, and a
    /// record that its topic does not take is refused now. Blocks for a sync unless the builder
    /// says otherwise.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for no records,
    /// [`TooLarge`](crate::ErrorKind::TooLarge) for more than 64 MiB of them, those of
    /// [`TopicProducer::send`](crate::TopicProducer::send). If it fails, do not do the work.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let outbox = store.prepared("shop").build()?;
    /// assert!(outbox.prepare(&[]).is_err());
    /// let id = outbox.prepare(&[("orders", Record::new("order 7").key("c3"))])?;
    /// assert_eq!(store.stats().prepared.pending, 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn prepare(&self, records: &[(&str, Record<'_>)]) -> Result<PreparedId> {
        let now = self.producer.core().wall();
        let mut topics = Vec::with_capacity(records.len());
        for (name, _) in records {
            topics.push(self.producer.topic(name)?);
        }
        let mut kept = Vec::with_capacity(records.len());
        for (topic, (_, record)) in topics.iter().zip(records) {
            let id = topic.choose(record)?;
            let known = topic.lanes().topic();
            let target = Target { topic: known.id(), name: known.name(), partition: id };
            check_record(&*known.partition(id)?, record, now)
                .map_err(|error| error.at_partition(known.name(), id))?;
            kept.push(Kept { target, record: record.clone() });
        }
        self.prepared.prepare(&self.name, kept, self.durability).map(PreparedId::new)
    }

    /// Publishes what was prepared, all of it in one commit. `Ok`: readers see it, and it is there
    /// after a power cut. Saying so again is `Ok` too. Blocks for syncs.
    ///
    /// # Errors
    /// [`AlreadyResolved`](crate::ErrorKind::AlreadyResolved) where it was rolled back;
    /// [`NotFound`](crate::ErrorKind::NotFound) for an id that was never given out, or whose
    /// outcome is forgotten (the last hundred thousand are remembered), and where one of its topics
    /// was deleted since: it stays prepared then, as with every outcome
    /// [`NotWritten`](crate::Outcome::NotWritten). With
    /// [`Unknown`](crate::Outcome::Unknown) say it again: that tells.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let outbox = store.prepared("shop").build()?;
    /// let id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// outbox.commit(id)?;
    /// outbox.commit(id)?; // nothing happens
    /// assert_eq!(outbox.roll_back(id).unwrap_err().kind(), ErrorKind::AlreadyResolved);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit(&self, id: PreparedId) -> Result<()> {
        self.prepared.resolve(id.get(), Outcome::Committed)
    }

    /// Drops what was prepared: no reader ever sees it. Saying so again is `Ok` too. Blocks for a
    /// sync.
    ///
    /// # Errors
    /// Those of [`commit`](PreparedProducer::commit), with
    /// [`AlreadyResolved`](crate::ErrorKind::AlreadyResolved) where it was committed.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let outbox = store.prepared("shop").build()?;
    /// let id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// outbox.roll_back(id)?;
    /// assert_eq!(outbox.commit(id).unwrap_err().kind(), ErrorKind::AlreadyResolved);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn roll_back(&self, id: PreparedId) -> Result<()> {
        self.prepared.resolve(id.get(), Outcome::RolledBack)
    }

    /// Asks the resolver about everything that is due, and heeds what it says; returns about how
    /// many it was asked. With [`Threads::Host`](crate::Threads::Host) nothing else does; with
    /// threads of the store's own there is no need. Blocks for the resolver and for syncs.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{ManualClock, Record, Resolution, Store, Threads, TopicConfig};
    /// let clock = ManualClock::default();
    /// let store = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host).open()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let outbox = store.prepared("shop").resolver(|_| Resolution::Commit).build()?;
    /// let id = outbox.prepare(&[("orders", Record::new("order 7"))])?;
    /// assert_eq!(outbox.check_due(), 0);
    /// clock.advance(Duration::from_secs(6));
    /// assert_eq!(outbox.check_due(), 1);
    /// assert_eq!(store.describe("orders")?.partitions()[0].end_offset().get(), 2); // a marker too
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn check_due(&self) -> usize {
        self.asker.as_ref().map_or(0, |asker| self.prepared.ask_all(asker))
    }
}

impl Drop for PreparedProducer {
    fn drop(&mut self) {
        if let Some(asker) = &self.asker
            && !self.producer.core().engine().gate().is_forked_child()
        {
            self.prepared.unregister(asker);
        }
    }
}

impl fmt::Debug for PreparedProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedProducer").field("name", &self.name).finish_non_exhaustive()
    }
}
