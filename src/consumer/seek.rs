//! Moving about: positions, seeks, pausing, lag, and stepping over damage.
//!
//! Moving a partition drops what was fetched of it and not handed out. It changes nothing of what
//! a commit commits: that is where the last record returned ended.

use std::ops::Range;

use super::handle::Consumer;
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::FetchLimits;
use crate::record::{Batch, Records, TakeRules};
use crate::time::Timestamp;

/// Each fails as not found for a partition that is not assigned, and as closed with its store.
impl Consumer {
    /// The offset of the next record that a poll returns of this partition. Decides where reading
    /// begins if nothing was polled yet; fails as a poll does if that cannot be decided, and as
    /// [`InvalidTransactionState`](crate::ErrorKind::InvalidTransactionState) while an open
    /// transaction has sent an offset of the group for it: polls return nothing of it until then.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert_eq!(consumer.position("orders", 0)?, Offset::ZERO);
    /// consumer.try_poll()?;
    /// assert_eq!(consumer.position("orders", 0)?, Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn position(&mut self, topic: &str, partition: impl Into<PartitionId>) -> Result<Offset> {
        self.engine.check_open("look up position")?;
        let index = self.assignment.find(topic, partition.into())?;
        self.position_of(index)
    }

    fn position_of(&mut self, index: usize) -> Result<Offset> {
        self.resolve(index)?;
        let position = self.assignment.get(index).and_then(|slot| slot.position.as_ref());
        position.map(|at| at.offset).ok_or_else(|| self.undecided("look up position", index))
    }

    /// Goes to an offset: the next poll returns the record there, or the first one above it.
    /// Fails as out of range, and moves nothing, if it is below the first or above the end.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # orders.send(Record::new("a"))?;
    /// # orders.send(Record::new("b"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.seek("orders", 0, Offset::new(1))?;
    /// assert_eq!(consumer.try_poll()?.iter().next().unwrap().value(), Some(&b"b"[..]));
    /// assert!(consumer.seek("orders", 0, Offset::new(3)).is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn seek(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
        offset: Offset,
    ) -> Result<()> {
        let index = self.assignment.find(topic, partition.into())?;
        let Some(slot) = self.assignment.get(index) else { return Ok(()) };
        let offsets = slot.partition.offsets().map_err(|error| slot.named(error))?;
        let (start, end) = (offsets.start, offsets.end);
        if offset < start || offset > end {
            let cause = Cause::OutOfRange { requested: offset, start, end };
            return Err(slot.named(Error::new("seek", cause)));
        }
        self.go_to(index, offset);
        Ok(())
    }

    /// Goes to the first record there is; returns its offset.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// assert_eq!(consumer.seek_to_beginning("orders", 0)?, Offset::ZERO);
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn seek_to_beginning(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
    ) -> Result<Offset> {
        let index = self.assignment.find(topic, partition.into())?;
        let Some(slot) = self.assignment.get(index) else { return Ok(Offset::ZERO) };
        let start = slot.partition.offsets().map_err(|error| slot.named(error))?.start;
        self.go_to(index, start);
        Ok(start)
    }

    /// Goes to the end: only what comes later is returned. Returns that offset.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert_eq!(consumer.seek_to_end("orders", 0)?, Offset::new(1));
    /// assert!(consumer.try_poll()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn seek_to_end(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
    ) -> Result<Offset> {
        let index = self.assignment.find(topic, partition.into())?;
        let Some(slot) = self.assignment.get(index) else { return Ok(Offset::ZERO) };
        let end = self.bound(slot).map_err(|error| slot.named(error))?;
        self.go_to(index, end);
        Ok(end)
    }

    /// Goes to the first record, by offset, whose timestamp is `timestamp` or later; to the end if
    /// there is none. Returns that offset. Reads the time index and up to one interval of the log.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, Timestamp, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// orders.send(Record::new("a").timestamp(Timestamp::from_millis(10)))?;
    /// orders.send(Record::new("b").timestamp(Timestamp::from_millis(20)))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let at = consumer.seek_to_timestamp("orders", 0, Timestamp::from_millis(11))?;
    /// assert_eq!(at, Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn seek_to_timestamp(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
        timestamp: Timestamp,
    ) -> Result<Offset> {
        let index = self.assignment.find(topic, partition.into())?;
        let Some(slot) = self.assignment.get(index) else { return Ok(Offset::ZERO) };
        let end = self.bound(slot).map_err(|error| slot.named(error))?;
        let found = slot.partition.offset_at(timestamp, self.options.isolation);
        let found = found.map_err(|error| slot.named(error))?;
        let offset = found.map_or(end, |offset| offset.min(end));
        self.go_to(index, offset);
        Ok(offset)
    }

    fn go_to(&mut self, index: usize, offset: Offset) {
        self.forget_fetched_of(index);
        if let Some(slot) = self.assignment.get_mut(index) {
            slot.move_to(offset, None);
            if let Err(error) = slot.learn_epoch() {
                log::debug!("the next poll will try again: {error}");
            }
        }
        self.assignment.queue(index);
    }

    /// Returns nothing of this partition until it is resumed; its position stays.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.pause("orders", 0)?;
    /// assert!(consumer.try_poll()?.is_empty());
    /// consumer.resume("orders", 0)?;
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn pause(&mut self, topic: &str, partition: impl Into<PartitionId>) -> Result<()> {
        let index = self.assignment.find(topic, partition.into())?;
        self.forget_fetched_of(index);
        if let Some(slot) = self.assignment.get_mut(index) {
            slot.paused = true;
        }
        Ok(())
    }

    /// Goes on with a paused partition where it stood. If the log was truncated below that
    /// meanwhile, the reset policy moves it, or the call fails as truncated.
    ///
    /// ```
    /// # use tidelog::TopicConfig;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.pause("orders", 0)?;
    /// assert!(consumer.is_paused("orders", 0)?);
    /// consumer.resume("orders", 0)?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn resume(&mut self, topic: &str, partition: impl Into<PartitionId>) -> Result<()> {
        let index = self.assignment.find(topic, partition.into())?;
        self.check_position(index)?;
        if let Some(slot) = self.assignment.get_mut(index) {
            slot.paused = false;
        }
        self.assignment.queue(index);
        Ok(())
    }

    /// Whether the partition is paused.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert!(!consumer.is_paused("orders", 0)?);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_paused(&self, topic: &str, partition: impl Into<PartitionId>) -> Result<bool> {
        let index = self.assignment.find(topic, partition.into())?;
        Ok(self.assignment.get(index).is_some_and(|slot| slot.paused))
    }

    /// How many offsets lie between the position and the end of this partition.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert_eq!(consumer.lag("orders", 0)?, 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn lag(&mut self, topic: &str, partition: impl Into<PartitionId>) -> Result<u64> {
        let partition = partition.into();
        let position = self.position(topic, partition)?;
        let index = self.assignment.find(topic, partition)?;
        let Some(slot) = self.assignment.get(index) else { return Ok(0) };
        let end = self.bound(slot).map_err(|error| slot.named(error))?;
        Ok(end.since(position))
    }

    /// Goes on behind damaged bytes at this partition's position; returns the offsets that are
    /// gone, none if what lies at the position can be read. A later commit covers them, as if they
    /// had been returned. Reading resumes at the next place that an index entry vouches for, so
    /// whole records before that place are among what is gone. Fails as unsupported or too large
    /// where the batch is not damaged: part of a transaction, compressed with a codec that is not
    /// built in, or larger than [`max_decompressed_bytes`]. Reads the index and the log.
    ///
    /// [`max_decompressed_bytes`]: crate::ConsumerBuilder::max_decompressed_bytes
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// match consumer.try_poll() {
    ///     Err(error) if error.is_corrupt() => {
    ///         let (topic, partition) = error.partition().expect("damage has a place");
    ///         let gone = consumer.skip_damaged(topic, partition)?;
    ///         eprintln!("lost {} to {} of {topic}-{partition}", gone.start, gone.end);
    ///     }
    ///     polled => assert_eq!(polled?.len(), 1),
    /// }
    /// assert!(consumer.skip_damaged("orders", 0)?.is_empty()); // nothing is damaged
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn skip_damaged(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
    ) -> Result<Range<Offset>> {
        self.engine.check_open("skip damage")?;
        let index = self.assignment.find(topic, partition.into())?;
        self.forget_fetched_of(index);
        let from = self.position_of(index)?;
        let Some(slot) = self.assignment.get(index) else { return Ok(from..from) };
        let resume = self.behind_damage(index, from).map_err(|error| slot.named(error))?;
        if let Some(slot) = self.assignment.get_mut(index)
            && resume > from
        {
            slot.skip_to(resume);
        }
        self.assignment.queue(index);
        Ok(from..resume)
    }

    fn behind_damage(&self, index: usize, from: Offset) -> Result<Offset> {
        let Some(slot) = self.assignment.get(index) else { return Ok(from) };
        let isolation = self.options.isolation;
        let limits = FetchLimits { bytes: 1, records: 1, durable_only: false, isolation };
        let fetched = match slot.partition.fetch(from, None, limits) {
            Ok(fetched) => fetched,
            Err(error) if error.is_corrupt() => return slot.partition.resume_above(from),
            Err(error) => return Err(error),
        };
        let Some(batches) = fetched.batches() else { return Ok(from) };
        let Ok(batch) = Batch::verify(&batches.bytes) else { return Ok(from) };
        let end = batch.header().end_offset();
        let rules = TakeRules { max_records: usize::MAX, until: None, plain: self.options.plain };
        let taken = Records::default().take_in(&slot.origin, batches, from, rules);
        match taken.fault {
            Some((0, fault)) if !fault.is_damage() => {
                Err(Error::new("skip damage", fault.cause()).at_offset(from))
            }
            Some((0, _)) => Ok(end), // the checksum fits, so the header's offsets hold
            _ => Ok(from),
        }
    }
}
