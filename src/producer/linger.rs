//! Sending later: records that linger for company, and the flush of one topic.
//!
//! An enqueue encodes the record into its partition's open batch under one short lock and returns
//! a share in the batch's ticket. Full batches are written by the timer if they are large and few,
//! else by who fills them; the timer writes what is due.

use super::batch::{Asked, size_bound};
use super::core::Core;
use super::lane::{Joint, Lane, Pushed, Taken};
use super::pending::Pending;
use super::topic::TopicProducer;
use crate::error::{Error, Result};
use crate::ids::PartitionId;
use crate::record::{BatchHeader, Record};
use crate::time::Timestamp;
use std::sync::Arc;

/// Sending in company.
impl TopicProducer {
    /// Takes a record to be appended with others of its partition as one batch: when the batch is
    /// full, when the linger time is over, when a flush or a `send` to the partition comes.
    ///
    /// `Ok` acknowledges nothing: the record is copied into memory, its [`Pending`] says what
    /// became of it. Dropping that is fine: the next [`flush`](TopicProducer::flush) reports what
    /// failed. A batch that fails takes all of its records with it; those enqueued after it are
    /// served all the same. Blocks while the producer's buffer is full, if built so. A batch that
    /// is full is appended by the caller, or, if it is large, by the store's timer thread while the
    /// caller goes on, up to sixteen of a partition, at once or within some 0.2 ms.
    ///
    /// # Errors
    /// Those of [`send`](TopicProducer::send) that can be told of the record alone, at once; and
    /// [`Full`](crate::ErrorKind::Full) if the buffer has no room, with nothing taken.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let pending = orders.enqueue(Record::new("hello").key("customer-7"))?;
    /// assert_eq!(pending.wait()?.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn enqueue(&self, record: Record<'_>) -> Result<Pending> {
        self.take(None, &record)
    }

    /// [`enqueue`](TopicProducer::enqueue) to a partition of the caller's choice.
    ///
    /// ```
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let pending = orders.enqueue_to(PartitionId::new(1), Record::new("hello"))?;
    /// assert_eq!(pending.wait()?.partition(), PartitionId::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[inline]
    pub fn enqueue_to(
        &self,
        partition: impl Into<PartitionId>,
        record: Record<'_>,
    ) -> Result<Pending> {
        self.take(Some(partition.into()), &record)
    }

    /// [`enqueue`](TopicProducer::enqueue) for tasks: awaits room in the producer's buffer, for as
    /// long as it is polled. The outer result is whether the record was taken, the [`Pending`] is
    /// what became of it. Lazy: nothing is taken before the first poll.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let receipt = pollster::block_on(async {
    ///     orders.enqueue_async(Record::new("hello")).await?.await
    /// })?;
    /// assert_eq!(receipt.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub async fn enqueue_async(&self, record: Record<'_>) -> Result<Pending> {
        let place = self.place(None, &record)?;
        loop {
            match place.push(self, &record)? {
                Some(pending) => return Ok(pending),
                None => self.core().room(needed(&record)).await?,
            }
        }
    }

    /// Writes what lingers for this topic and blocks until it is in the log, as durable as was
    /// asked for; see [`Producer::flush`](crate::Producer::flush), which does it for all topics.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let pending = orders.enqueue(Record::new("hello"))?;
    /// orders.flush()?;
    /// assert!(pending.try_get().is_some());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        let core = self.core();
        core.engine().check_open("flush")?;
        core.flush(std::slice::from_ref(self.lanes()))
    }

    /// [`flush`](TopicProducer::flush) as a future of no runtime: appends are made in the call,
    /// syncs are waited for in the future.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// let pending = orders.enqueue(Record::new("hello"))?;
    /// pollster::block_on(orders.flush_async())?;
    /// assert!(pending.try_get().is_some());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush_async(&self) -> impl Future<Output = Result<()>> + Send + Unpin + 'static + use<> {
        let core = self.core();
        let flushing = core
            .engine()
            .check_open("flush")
            .map(|()| core.flush_async(vec![self.lanes().clone()]));
        Box::pin(async move { flushing?.await })
    }

    /// The `Pending` is put together here, in the caller: returned through memory it would be
    /// stored in pieces and loaded whole.
    #[inline]
    fn take(&self, wanted: Option<PartitionId>, record: &Record<'_>) -> Result<Pending> {
        match self.take_known(wanted, record) {
            Some((ticket, index)) => Ok(Pending::batched(ticket, index)),
            None => self.take_apart(wanted, record),
        }
    }

    /// The short way of a record whose partition nobody has to choose, in one body of code with
    /// all that it calls, as a send is: see `walk`.
    #[inline(never)]
    fn take_known(&self, wanted: Option<PartitionId>, record: &Record<'_>) -> Option<Joint> {
        if self.core().settings().linger.is_zero() {
            return None; // no batch is open
        }
        let lane = match wanted {
            None => self.lanes().only()?,
            Some(id) => self.lanes().lane(id).ok()?,
        };
        let now = self.core().wall();
        lane.push_known(self.core(), (record, now), self.word())
    }

    /// Any record, whatever is in its way.
    #[inline(never)]
    fn take_apart(&self, wanted: Option<PartitionId>, record: &Record<'_>) -> Result<Pending> {
        let now = self.core().wall();
        let lane = self.lane_of(wanted, record)?;
        if wanted.is_none()
            && !self.lanes().are_single()
            && let Some((ticket, index)) = lane.push_known(self.core(), (record, now), self.word())
        {
            self.tell_taken(wanted, lane, size_bound(record));
            return Ok(Pending::batched(ticket, index));
        }
        let place = self.place_in(lane, now, wanted)?;
        match place.push(self, record)? {
            Some(pending) => Ok(pending),
            None => self.take_with_room(&place, record),
        }
    }

    /// The same once there is room for it.
    #[cold]
    #[inline(never)]
    fn take_with_room(&self, place: &Place<'_>, record: &Record<'_>) -> Result<Pending> {
        let mut deadline = None;
        loop {
            self.core().wait_for_room(needed(record), &mut deadline)?;
            if let Some(pending) = place.push(self, record)? {
                return Ok(pending);
            }
        }
    }

    /// Where a record goes, decided once however long it waits for room.
    pub(super) fn place(
        &self,
        wanted: Option<PartitionId>,
        record: &Record<'_>,
    ) -> Result<Place<'_>> {
        let now = self.core().wall();
        self.place_in(self.lane_of(wanted, record)?, now, wanted)
    }

    fn place_in<'p>(
        &'p self,
        lane: &'p Arc<Lane>,
        now: Timestamp,
        wanted: Option<PartitionId>,
    ) -> Result<Place<'p>> {
        let partition = lane.partition();
        let placed = |error: Error| error.at_partition(partition.topic_name(), partition.id());
        let asked = self.core().asked(partition, now).map_err(placed)?;
        Ok(Place { lane, asked, wanted })
    }
}

/// A record's way into a lane.
pub(super) struct Place<'p> {
    lane: &'p Arc<Lane>,
    asked: Asked,
    wanted: Option<PartitionId>,
}

impl Place<'_> {
    /// `None`: there is no memory for the record.
    fn push(&self, producer: &TopicProducer, record: &Record<'_>) -> Result<Option<Pending>> {
        let taken = self.push_only(producer, record)?;
        Ok(taken.map(pending))
    }

    /// What comes of it is the caller's to say.
    pub(super) fn push_only(
        &self,
        producer: &TopicProducer,
        record: &Record<'_>,
    ) -> Result<Option<Taken>> {
        let core: &Core = producer.core();
        let taken = match self.lane.push(core, record, &self.asked, producer.word()) {
            Ok(Pushed::Taken(taken)) => taken,
            Ok(Pushed::NoRoom) => return Ok(None), // what made way for it is swept out
            Err(error) => {
                self.lane.clear(core); // a batch that made way for it is nobody else's to write
                return Err(error);
            }
        };
        self.lane.follow_up(core, &taken);
        producer.tell_taken(self.wanted, self.lane, size_bound(record));
        Ok(Some(taken))
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        self.lane
    }
}

/// What a record that was taken waits for.
pub(super) fn pending(taken: Taken) -> Pending {
    Pending::batched(taken.ticket, taken.index)
}

/// The memory that the record takes in a batch of its own.
pub(super) fn needed(record: &Record<'_>) -> usize {
    BatchHeader::LEN + size_bound(record)
}
