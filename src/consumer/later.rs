//! Giving a record back for later: the words of consumers, and of their builders, on it.
//!
//! A record is given back by who was given it and has its partition still. Where that is, and who
//! brings it again, is `retrying`'s. Called by programs.

use std::sync::Arc;
use std::time::Duration;

use super::builder::ConsumerBuilder;
use super::handle::Consumer;
use super::retrying::{OPERATION, refused};
use crate::config::Durability;
use crate::dead_letters::bounded;
use crate::error::{Cause, Error, Result};
use crate::group::{Commit, CommitMode};
use crate::record::RecordView;
use crate::share::{Again, LONGEST_DELAY, LeaseId, Letters, Place, Resolution, Settling, Word};

/// How a record is given back.
enum Way {
    /// It came again already.
    Held(LeaseId),
    First(Again),
}

impl ConsumerBuilder {
    /// How often a record comes to the group at most that is given back by
    /// [`Consumer::retry_later`], the first time counted: 1 to 10,000, default 5. The consumers of
    /// a group agree on it.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).max_attempts(16).build()?;
    /// assert!(store.consumer("b").subscribe(["orders"]).max_attempts(0).build().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_attempts(mut self, times: u16) -> Self {
        self.retrying.max_attempts = times;
        self
    }

    /// Where a record goes that is given back after its last attempt; default `<group>.dlq`. See
    /// [`ShareConsumerBuilder::dead_letter_topic`](crate::ShareConsumerBuilder::dead_letter_topic).
    /// The consumers of a group agree on it.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let consumer = builder.dead_letter_topic("orders.failed").build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self {
        self.retrying.letters = Letters::To(topic.into());
        self
    }

    /// Gives up a record that is given back after its last attempt: it is counted
    /// ([`ShareGroupPartition::archived`](crate::ShareGroupPartition::archived)).
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.consumer("billing").subscribe(["orders"]);
    /// let consumer = builder.without_dead_letters().build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn without_dead_letters(mut self) -> Self {
        self.retrying.letters = Letters::Nowhere;
        self
    }
}

impl Consumer {
    /// Has a record that a poll returned come to this group again, in a poll `delay` from now or
    /// later (up to ten years, rounded up to a millisecond): to whoever has its partition then.
    /// Commit as usual: the record is not waited for, and stays where it is, without a copy.
    ///
    /// It comes as often as [`max_attempts`](ConsumerBuilder::max_attempts) says, the first time
    /// counted; given back after the last it goes to the
    /// [dead-letter topic](ConsumerBuilder::dead_letter_topic). A record that came again is done
    /// with the next [`commit`](Consumer::commit) (or when it is given back again); until then it
    /// belongs to this consumer, and comes to the next owner where that goes. Never early, by the
    /// monotonic clock; over a restart by the wall, and where that went back, not longer than
    /// `delay`.
    ///
    /// When it returns the record and this word are on disk, so a commit that follows loses
    /// nothing. A process that ends between this word and the commit is given the record twice: as
    /// what follows the committed offset, and when the delay is over. Retention takes what waits,
    /// too (it is counted: [`ShareGroupPartition::lost`](crate::ShareGroupPartition::lost)), unless
    /// the topic keeps records [for the group](crate::TopicConfig::retain_for). What waits is shown
    /// by [`describe_share_group`](crate::Store::describe_share_group) of `%RETRY%<group>`. Blocks
    /// for two syncs.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a reader without a group, a
    /// longer delay, a record that this consumer was not given or one of the dead-letter topic, and
    /// other settings than the group's; [`NotFound`](crate::ErrorKind::NotFound) for a partition
    /// that is not this consumer's, [`Fenced`](crate::ErrorKind::Fenced) for one that is another's
    /// by now, [`Full`](crate::ErrorKind::Full) where 100,000 wait in the partition;
    /// [`InvalidName`](crate::ErrorKind::InvalidName) where the group's name makes no topic's; and
    /// those of an append: unless their outcome is [`NotWritten`](crate::Outcome::NotWritten) the
    /// record may come again or not. Do not commit past it then.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{ManualClock, Record, Store, Threads, TopicConfig};
    /// let clock = ManualClock::default();
    /// # let builder = Store::builder_in_memory().threads(Threads::Host);
    /// # let store = builder.clock(clock.clone()).open()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.retry_later(&record, Duration::from_secs(10))?; // the bank does not answer
    /// }
    /// consumer.commit()?;
    /// assert!(consumer.try_poll()?.is_empty());
    /// clock.advance(Duration::from_secs(10));
    /// let again = consumer.try_poll()?;
    /// assert_eq!(consumer.attempt(&again.iter().next().unwrap()), 2);
    /// consumer.commit()?; // now it is done
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn retry_later(&mut self, record: &RecordView<'_>, delay: Duration) -> Result<()> {
        self.give_back(record, delay, None)
    }

    /// [`retry_later`](Consumer::retry_later) with what went wrong: if the record becomes a dead
    /// letter by this word, its header `dlq.error` says it, its first 1,024 bytes.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     consumer.retry_later_because(&record, Duration::from_secs(10), "no answer")?;
    /// }
    /// consumer.commit()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn retry_later_because(
        &mut self,
        record: &RecordView<'_>,
        delay: Duration,
        error: &str,
    ) -> Result<()> {
        self.give_back(record, delay, Some(error))
    }

    /// [`retry_later`](Consumer::retry_later) for a task of any runtime: no poll of it waits for a
    /// sync. Dropped before its end it may count or not.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let records = consumer.try_poll()?;
    /// let record = records.iter().next().expect("one was sent");
    /// pollster::block_on(consumer.retry_later_async(&record, Duration::from_secs(10)))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub async fn retry_later_async(
        &mut self,
        record: &RecordView<'_>,
        delay: Duration,
    ) -> Result<()> {
        let (index, offset) = (self.index_of(record)?, record.offset());
        let (place, way) = self.way_back(index, record, delay)?;
        let word = Word::from(Resolution::Release { delay });
        match way {
            Way::First(again) => place.bring_again_later(again, word).await?,
            Way::Held(lease) => {
                let how = (Settling::Whole, Durability::Power);
                let settled = place.clone().settle_later(vec![(offset, lease)], word, how).await?;
                refused(&place, offset, settled.first())?;
            }
        }
        self.retrying.forget(index, offset);
        Ok(())
    }

    /// Which time it is that a record has come: 1, or more where it was given back before by
    /// [`retry_later`](Consumer::retry_later). Known from the poll that brings it until it is
    /// committed; 1 of everything else.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// for record in &consumer.try_poll()? {
    ///     assert_eq!(consumer.attempt(&record), 1);
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn attempt(&self, record: &RecordView<'_>) -> u32 {
        let index = self.assignment.index_of(record.topic(), record.partition());
        let held = index.and_then(|index| self.retrying.held(index, record.offset()));
        held.map_or(1, |held| held.count.into())
    }

    fn index_of(&self, record: &RecordView<'_>) -> Result<usize> {
        self.group_name()?;
        self.assignment.find(record.topic(), record.partition())
    }

    fn give_back(
        &mut self,
        record: &RecordView<'_>,
        delay: Duration,
        error: Option<&str>,
    ) -> Result<()> {
        let (index, offset) = (self.index_of(record)?, record.offset());
        let (place, way) = self.way_back(index, record, delay)?;
        let word = Word { error: error.map(bounded), ..Resolution::Release { delay }.into() };
        match way {
            Way::First(again) => place.bring_again(again, &word)?,
            Way::Held(lease) => {
                let how = (Settling::Whole, Durability::Power);
                let settled = place.settle(&[(offset, lease)], &word, how)?;
                refused(&place, offset, settled.first())?;
            }
        }
        self.retrying.forget(index, offset);
        Ok(())
    }

    /// Where a record is given back, and how; refuses what cannot be.
    fn way_back(
        &mut self,
        index: usize,
        record: &RecordView<'_>,
        delay: Duration,
    ) -> Result<(Arc<Place>, Way)> {
        let invalid = |text: String| Err(Error::new(OPERATION, Cause::InvalidArgument(text)));
        self.engine.check_open(OPERATION)?;
        self.engine.check_writable(OPERATION)?;
        if delay > LONGEST_DELAY {
            return invalid(format!("a delay of {delay:?} is longer than ten years"));
        }
        let offset = record.offset();
        let held = self.retrying.held(index, offset).filter(|held| !held.is_staged);
        let Some(slot) = self.assignment.get(index) else {
            return invalid("the partition has gone".to_owned());
        };
        let position = slot.position.as_ref().map(|at| at.offset);
        let is_known = slot.delivered.map(|it| it.offset).max(position) > Some(offset);
        if held.is_none() && !is_known {
            return invalid(format!("this consumer was not given offset {offset}"));
        }
        let by = self.committer();
        let partition = &slot.partition;
        let (mode, metadata, leader_epoch) = (CommitMode::Forward, "", None);
        let commit = Commit { partition, offset: offset.next(), leader_epoch, metadata, mode };
        self.offsets.check_may_commit(by, self.group_name()?, &commit)?;
        let place = self.retry_place(index)?;
        let way = match held {
            Some(held) => Way::Held(held.lease),
            None => Way::First(Again { offset, epoch: record.leader_epoch(), delay }),
        };
        Ok((place, way))
    }
}
