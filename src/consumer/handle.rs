//! The consumer itself: what it is made of, and what may be asked of it at any time.
//!
//! One thread or task uses it at a time (`&mut`), it can move between threads. Dropping it commits
//! nothing; a member leaves its group at once.

use std::sync::Arc;

use super::assignment::Assignment;
use super::fetch::Stage;
use super::filter::Filtering;
use super::options::Options;
use super::retrying::Retrying;
use super::stream::Waiting;
use super::subscription::Following;
use crate::engine::Claim;
use crate::error::{Cause, Error, Result};
use crate::group::{OffsetStore, Tally};
use crate::ids::PartitionId;
use crate::wait::Interrupter;
use std::time::Duration;

/// Reads partitions in order and remembers how far.
///
/// Made by [`Store::consumer`](crate::Store::consumer), which gives it a group to keep offsets
/// under, or by [`Store::reader`](crate::Store::reader), which does not. [`poll`](Consumer::poll)
/// returns owned [`Records`](crate::Records); what was returned is committed by
/// [`commit`](Consumer::commit), or by the next poll with
/// [`auto_commit`](crate::ConsumerBuilder::auto_commit), and by nothing else.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// for record in &consumer.poll(Duration::from_secs(1))? {
///     assert_eq!(record.value(), Some(&b"hello"[..]));
/// }
/// consumer.commit()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
pub struct Consumer {
    pub(super) offsets: Arc<OffsetStore>,
    pub(super) group: Option<Arc<str>>,
    pub(super) options: Options,
    pub(super) assignment: Assignment,
    pub(super) following: Following,
    pub(super) filtering: Filtering,
    pub(super) retrying: Retrying,
    /// Fetched and not handed out yet.
    pub(super) stage: Stage,
    /// What the next poll reports before anything else: met behind records that went out first.
    pub(super) failed: Option<(usize, Error)>,
    /// When the next poll commits by itself, on the store's monotonic clock.
    pub(super) auto_commit_at: Option<Duration>,
    /// The poll that waits as a task, between two looks of its.
    pub(super) waiting: Option<Waiting>,
    /// Where it counts what it does; nobody else does.
    pub(super) tally: Tally,
    /// The last to be dropped: what comes before it may still need the store.
    pub(super) engine: Claim,
}

/// Wakes a consumer that waits in another thread or task.
///
/// ```
/// use std::time::Duration;
/// use tidelog::{Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// let interrupt = consumer.interrupt_handle();
/// let other = std::thread::spawn(move || interrupt.interrupt());
/// assert!(consumer.poll(Duration::from_secs(60))?.is_empty()); // returns at once
/// # other.join().unwrap();
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Interrupt(pub(super) Interrupter);

impl Interrupt {
    /// Makes the poll that waits return with what it has, be it nothing; if none waits, the next
    /// one that would. Never blocks; harmless once the consumer is gone.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.interrupt_handle().interrupt();
    /// assert!(consumer.poll(Duration::from_secs(60))?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl Consumer {
    /// The group whose offsets it keeps; `None` for a reader.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert_eq!(consumer.group(), Some("billing"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The partitions it reads now, by topic and number. With
    /// [`subscribe`](crate::ConsumerBuilder::subscribe) they change within a poll.
    ///
    /// ```
    /// # use tidelog::{PartitionId, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let second = ("orders".to_owned(), PartitionId::new(1));
    /// assert_eq!(consumer.assignment()[1], second);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn assignment(&self) -> Vec<(String, PartitionId)> {
        let mut assigned: Vec<_> = self
            .assignment
            .iter()
            .map(|(_, slot)| (slot.partition.topic_name().to_string(), slot.partition.id()))
            .collect();
        assigned.sort();
        assigned
    }

    /// A handle that ends this consumer's waiting from another thread or task.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let interrupt = consumer.interrupt_handle();
    /// interrupt.interrupt();
    /// assert!(consumer.poll(Duration::from_secs(60))?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn interrupt_handle(&self) -> Interrupt {
        Interrupt(self.assignment.set().interrupter())
    }

    /// Ends reading. With [`auto_commit`](crate::ConsumerBuilder::auto_commit) it commits what was
    /// returned and not committed yet, and fails if that does; without, it is the same as dropping
    /// the consumer, which never commits. A member leaves its group at once: the others get its
    /// partitions in their next polls. Blocks as [`commit`](Consumer::commit) does.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.close()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn close(mut self) -> Result<()> {
        match self.options.auto_commit {
            Some(_) => self.commit_by_itself(),
            None => Ok(()),
        }
    }

    /// [`close`](Consumer::close) as a future, of no particular runtime. What there is to commit
    /// is committed when it is first polled, a sync included.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// pollster::block_on(consumer.close_async())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub async fn close_async(self) -> Result<()> {
        self.close()
    }

    pub(super) fn group_name(&self) -> Result<&Arc<str>> {
        self.group.as_ref().ok_or_else(|| {
            let text = "a reader without a group keeps no offsets".to_owned();
            Error::new("commit", Cause::InvalidArgument(text))
        })
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .field("partitions", &self.assignment.iter().count())
            .finish_non_exhaustive()
    }
}
