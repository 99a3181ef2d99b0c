//! What a consumer says of what it was given: done, not yet, never, not so fast.
//!
//! One record or a whole poll at a time. What concerns several records of one partition is all or
//! nothing there; `ack_each` answers for each record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::handle::ShareConsumer;
use super::leased::{Lease, LeasedRecords};
use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;
use crate::share::{LONGEST_DELAY, LeaseId, Place, Resolution, Settling, Word};

/// The records of one place.
pub(super) type Items = (Arc<Place>, Vec<(Offset, LeaseId)>);

impl ShareConsumer {
    /// Acknowledges a record: it is done and is never handed out again, as durably as
    /// [`durability`](crate::ShareConsumerBuilder::durability) says. Saying so again with the same
    /// lease is `Ok` and changes nothing: of each partition the group remembers the last 4,096
    /// records that were settled, and all of its last call; after that, and in later lives, it is
    /// refused as below. Blocks for syncs with
    /// [`Durability::Power`](crate::Durability::Power): of the record, of the acknowledgement;
    /// those of others who wait are shared.
    ///
    /// # Errors
    /// [`InvalidRecordState`](crate::ErrorKind::InvalidRecordState) where the lease has ended: the
    /// record is somebody else's, or will be.
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a lease of another group or
    /// store. Those of an append and a sync: unless their outcome is
    /// [`NotWritten`](crate::Outcome::NotWritten), it may count or not.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.ack(record)?;
    ///     consumer.ack(record)?; // no harm
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn ack(&self, record: impl Into<Lease>) -> Result<()> {
        self.settle_one("ack", &record.into(), Resolution::Ack.into())
    }

    /// [`ack`](ShareConsumer::ack) as a future of no particular runtime; nothing is said before it
    /// is polled, and no poll of it waits for a sync.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let lease = consumer.try_poll()?.iter().next().expect("one was sent").lease();
    /// pollster::block_on(consumer.ack_async(lease))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn ack_async(&self, lease: Lease) -> impl Future<Output = Result<()>> + Send + use<> {
        self.settle_later("ack", self.items("ack", &[lease]), Resolution::Ack.into())
    }

    /// Gives a record back: it is handed out again, to whoever asks next, unless this was its last
    /// delivery. Costs no append.
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
    ///     consumer.release(record)?;
    /// }
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn release(&self, record: impl Into<Lease>) -> Result<()> {
        let how = Resolution::Release { delay: Duration::ZERO };
        self.settle_one("release", &record.into(), how.into())
    }

    /// Gives a record back for later: it is handed out again when `delay` (up to ten years, rounded
    /// up to a millisecond) is over, never before. By the store's monotonic clock while the process
    /// runs; over a restart by the wall, and where that went back, not longer than `delay`.
    /// Meanwhile it keeps nobody from anything else.
    ///
    /// # Errors
    /// Those of [`ack`](ShareConsumer::ack);
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a longer delay.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{ManualClock, Record, Store, Threads, TopicConfig};
    /// let clock = ManualClock::default();
    /// # let builder = Store::builder_in_memory().threads(Threads::Host);
    /// # let store = builder.clock(clock.clone()).open()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.release_after(record, Duration::from_secs(10))?;
    /// }
    /// assert!(consumer.try_poll()?.is_empty());
    /// clock.advance(Duration::from_secs(10));
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn release_after(&self, record: impl Into<Lease>, delay: Duration) -> Result<()> {
        check_delay(delay)?;
        self.settle_one("release", &record.into(), Resolution::Release { delay }.into())
    }

    /// [`release_after`](ShareConsumer::release_after) as a future of no particular runtime.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let lease = consumer.try_poll()?.iter().next().expect("one was sent").lease();
    /// pollster::block_on(consumer.release_after_async(lease, Duration::from_secs(10)))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn release_after_async(
        &self,
        lease: Lease,
        delay: Duration,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let items = check_delay(delay).and_then(|()| self.items("release", &[lease]));
        self.settle_later("release", items, Resolution::Release { delay }.into())
    }

    /// Rejects a record: it is never handed out again, however many deliveries it has left. It
    /// goes to the group's dead-letter topic soon after; where there is none it is archived, and
    /// counted.
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
    ///     consumer.reject(record)?;
    /// }
    /// assert!(consumer.try_poll()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reject(&self, record: impl Into<Lease>) -> Result<()> {
        self.settle_one("reject", &record.into(), Resolution::Reject.into())
    }

    /// [`reject`](ShareConsumer::reject) as a future of no particular runtime.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let lease = consumer.try_poll()?.iter().next().expect("one was sent").lease();
    /// pollster::block_on(consumer.reject_async(lease))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reject_async(&self, lease: Lease) -> impl Future<Output = Result<()>> + Send + use<> {
        self.settle_later("reject", self.items("reject", &[lease]), Resolution::Reject.into())
    }

    /// Lets a lease end `lasts` from now, earlier or later than it would; 1 ms to 24 hours. Never
    /// blocks; a restart ends every lease.
    ///
    /// # Errors
    /// Those of [`ack`](ShareConsumer::ack);
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a time out of its range.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.extend(record, Duration::from_secs(300))?; // this will take a while
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn extend(&self, record: impl Into<Lease>, lasts: Duration) -> Result<()> {
        if lasts < Duration::from_millis(1) || lasts > Duration::from_secs(24 * 3600) {
            let text = format!("a lease lasts 1 ms to 24 hours, not {lasts:?}");
            return Err(Error::new("extend lease", Cause::InvalidArgument(text)));
        }
        for (place, items) in self.items("extend lease", &[record.into()])? {
            first_fault("extend lease", &place, &items, &place.extend(&items, lasts))?;
        }
        Ok(())
    }

    /// Acknowledges a whole poll, each partition's part with one append and one sync: all of a
    /// partition's records, or, where the lease of one has ended, none of them.
    ///
    /// # Errors
    /// Those of [`ack`](ShareConsumer::ack), for the first partition that has one; the parts before
    /// it are acknowledged. See [`ack_each`](ShareConsumer::ack_each) for the rest.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let leased = consumer.try_poll()?;
    /// consumer.ack_all(&leased)?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn ack_all(&self, leased: &LeasedRecords) -> Result<()> {
        self.settle_all("ack", leased, Resolution::Ack)
    }

    /// [`ack_all`](ShareConsumer::ack_all) as a future of no particular runtime.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let leased = consumer.try_poll()?;
    /// pollster::block_on(consumer.ack_all_async(&leased))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn ack_all_async(
        &self,
        leased: &LeasedRecords,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let leases: Vec<Lease> = leased.iter().map(|record| record.lease()).collect();
        self.settle_later("ack", self.items("ack", &leases), Resolution::Ack.into())
    }

    /// Gives a whole poll back.
    ///
    /// # Errors
    /// Those of [`ack_all`](ShareConsumer::ack_all).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let leased = consumer.try_poll()?;
    /// consumer.release_all(&leased)?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn release_all(&self, leased: &LeasedRecords) -> Result<()> {
        self.settle_all("release", leased, Resolution::Release { delay: Duration::ZERO })
    }

    /// Acknowledges records, each for itself, and answers for each: one append and one sync for
    /// all of a partition.
    ///
    /// # Errors
    /// Those of [`ack`](ShareConsumer::ack) that concern more than one record; ended leases are in
    /// the answers.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// # let jobs = store.producer().build()?.topic("jobs")?;
    /// # jobs.send_batch(&[Record::new("one"), Record::new("two")])?;
    /// let mut consumer = store.share_consumer("workers").subscribe(["jobs"]).build()?;
    /// let leased = consumer.try_poll()?;
    /// let leases: Vec<_> = leased.iter().map(|record| record.lease()).collect();
    /// consumer.release(&leases[0])?; // so that its lease has ended
    /// let answers = consumer.ack_each(&leases)?;
    /// assert!(answers[0].is_err() && answers[1].is_ok());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn ack_each(&self, leases: &[Lease]) -> Result<Vec<Result<()>>> {
        let mut answers: BTreeMap<(*const Place, Offset, LeaseId), Error> = BTreeMap::new();
        for (place, items) in self.items("ack", leases)? {
            let how = (Settling::Each, self.options.durability);
            let settled = place.settle(&items, &Resolution::Ack.into(), how)?;
            for ((offset, lease), answer) in items.into_iter().zip(settled) {
                if let Err(fault) = answer {
                    let error = fault.into_error("ack", offset);
                    let partition = place.partition();
                    let error = error.at_partition(partition.topic_name(), partition.id());
                    answers.insert((Arc::as_ptr(&place), offset, lease), error);
                }
            }
        }
        let answer = |lease: &Lease| {
            let key = (Arc::as_ptr(&lease.place), lease.offset, lease.id);
            answers.get(&key).map_or(Ok(()), |error| Err(error.again()))
        };
        Ok(leases.iter().map(answer).collect())
    }

    pub(super) fn settle_one(
        &self,
        operation: &'static str,
        lease: &Lease,
        word: Word,
    ) -> Result<()> {
        self.settle_items(operation, self.items(operation, std::slice::from_ref(lease))?, &word)
    }

    fn settle_all(
        &self,
        operation: &'static str,
        leased: &LeasedRecords,
        how: Resolution,
    ) -> Result<()> {
        let leases: Vec<Lease> = leased.iter().map(|record| record.lease()).collect();
        self.settle_items(operation, self.items(operation, &leases)?, &how.into())
    }

    fn settle_items(&self, operation: &'static str, all: Vec<Items>, word: &Word) -> Result<()> {
        for (place, items) in all {
            let settled = place.settle(&items, word, (Settling::Whole, self.options.durability))?;
            first_fault(operation, &place, &items, &settled)?;
        }
        Ok(())
    }

    pub(super) fn settle_later(
        &self,
        operation: &'static str,
        all: Result<Vec<Items>>,
        word: Word,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let durability: Durability = self.options.durability;
        async move {
            for (place, items) in all? {
                let settling = (Settling::Whole, durability);
                let settled = place.clone().settle_later(items.clone(), word.clone(), settling);
                let settled = settled.await?;
                first_fault(operation, &place, &items, &settled)?;
            }
            Ok(())
        }
    }

    /// What is to be settled, by place, in the order in which places come.
    pub(super) fn items(&self, operation: &'static str, leases: &[Lease]) -> Result<Vec<Items>> {
        self.engine.check_open(operation)?;
        let mut all: Vec<Items> = Vec::new();
        for lease in leases {
            if !Arc::ptr_eq(lease.place.group(), self.group.name()) {
                let text = "the lease is one of another group or another store".to_owned();
                return Err(Error::new(operation, Cause::InvalidArgument(text)));
            }
            let item = (lease.offset, lease.id);
            match all.iter_mut().find(|(place, _)| Arc::ptr_eq(place, &lease.place)) {
                Some((_, items)) => items.push(item),
                None => all.push((lease.place.clone(), vec![item])),
            }
        }
        Ok(all)
    }
}

pub(super) fn check_delay(delay: Duration) -> Result<()> {
    if delay <= LONGEST_DELAY {
        return Ok(());
    }
    let text = format!("a delay of {delay:?} is longer than ten years");
    Err(Error::new("release", Cause::InvalidArgument(text)))
}

fn first_fault(
    operation: &'static str,
    place: &Place,
    items: &[(Offset, LeaseId)],
    settled: &[Result<(), crate::share::LeaseFault>],
) -> Result<()> {
    for ((offset, _), answer) in items.iter().zip(settled) {
        if let Err(fault) = answer {
            let partition = place.partition();
            let error = fault.into_error(operation, *offset);
            return Err(error.at_partition(partition.topic_name(), partition.id()));
        }
    }
    Ok(())
}
