//! Sending later: a record is kept by the store's schedule until its time.
//!
//! The partition is chosen at the call, as for a record that is sent then, and what the topic does
//! not take is refused at the call. From there on the schedule has the record.

use super::topic::TopicProducer;
use crate::error::Result;
use crate::ids::PartitionId;
use crate::record::Record;
use crate::schedule::{ScheduleId, When};
use crate::state_log::kept::{Kept, Target};
use crate::txn::check_record;

impl TopicProducer {
    /// Has a record published at a time or after a while: at that time on the store's clock or
    /// soon after, never before; at once where it lies in the past. Until then no reader sees it
    /// and nothing in the topic waits for it.
    ///
    /// `Ok`: it is kept, as durably as this handle promises, and is published once, whatever
    /// happens in between; [`Store::cancel_scheduled`](crate::Store::cancel_scheduled) takes it
    /// back. Records that are due are published in the order of their times, those of one time in
    /// the order of the calls, in transactions that are power-durable. Times count in milliseconds,
    /// up to the end of the year 9999. The record's timestamp is that of its publication, unless it
    /// has one of its own.
    ///
    /// If the topic is deleted meanwhile, even if another is made under its name, or takes no such
    /// record any more, it goes to the topic `scheduled.dlq`, with headers that say where it was to
    /// go (`dlq.topic`, `dlq.partition`), when (`dlq.due`) and why it is not there (`dlq.error`).
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a time beyond the limit, those of
    /// [`send`](TopicProducer::send), [`TooLarge`](crate::ErrorKind::TooLarge) also for a record of
    /// more than 64 MiB. Blocks for a sync with [`Durability::Power`](crate::Durability::Power).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::{ManualClock, Record, Store, Threads, TopicConfig};
    /// let clock = ManualClock::default();
    /// let store = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host).open()?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// orders.schedule(Record::new("remind me"), Duration::from_secs(10))?;
    ///
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// clock.advance(Duration::from_millis(9_999));
    /// store.run_due();
    /// assert!(consumer.try_poll()?.is_empty());
    /// clock.advance(Duration::from_millis(1));
    /// store.run_due();
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn schedule(&self, record: Record<'_>, when: impl Into<When>) -> Result<ScheduleId> {
        self.schedule_in(self.choose(&record)?, record, when.into())
    }

    /// [`schedule`](TopicProducer::schedule) to a partition of the caller's choice.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{PartitionId, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// orders.schedule_to(1, Record::new("remind me"), Duration::from_secs(10))?;
    /// assert_eq!(store.scheduled(None, 1)?[0].partition(), PartitionId::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn schedule_to(
        &self,
        partition: impl Into<PartitionId>,
        record: Record<'_>,
        when: impl Into<When>,
    ) -> Result<ScheduleId> {
        self.schedule_in(partition.into(), record, when.into())
    }

    fn schedule_in(&self, id: PartitionId, record: Record<'_>, when: When) -> Result<ScheduleId> {
        let topic = self.lanes().topic();
        topic.check_exists("schedule")?;
        let partition = topic.partition(id)?;
        let placed = |error: crate::error::Error| error.at_partition(topic.name(), id);
        check_record(&partition, &record, self.core().wall()).map_err(placed)?;
        let target = Target { topic: topic.id(), name: topic.name(), partition: id };
        self.core().schedule().add(&Kept { target, record }, when, self.word())
    }
}
