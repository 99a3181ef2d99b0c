//! What a consumer has been given, as something to be committed in a transaction.
//!
//! Made by a consumer, taken by a producer: neither knows the other. It borrows the consumer, so
//! that nothing is polled in between, and remembers who is to commit: a member that was expelled
//! meanwhile is fenced when the offsets are written.

use std::sync::Arc;

use super::committed::{Commit, CommitMode};
use super::offsets::OffsetStore;
use super::seat::Committer;
use crate::engine::Partition;
use crate::ids::{LeaderEpoch, Offset};

/// What a consumer was given by its polls, to be committed in a transaction.
///
/// Made by [`Consumer::consumed`](crate::Consumer::consumed), taken by
/// [`Transaction::send_offsets`](crate::Transaction::send_offsets).
///
/// ```
/// # use tidelog::{Record, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.ensure_topic("orders", TopicConfig::new())?;
/// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// let mut producer = store.producer().transactional("billing").build()?;
/// consumer.try_poll()?;
/// let transaction = producer.begin()?;
/// transaction.send_offsets(&consumer.consumed()?)?;
/// transaction.commit()?;
/// assert_eq!(store.committed("billing")?[0].2.offset().get(), 1);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it commits nothing by itself"]
pub struct ConsumedOffsets<'c> {
    offsets: &'c Arc<OffsetStore>,
    by: Committer<'c>,
    group: &'c str,
    parts: Vec<ConsumedPart>,
}

/// One partition's part.
#[derive(Debug)]
pub(crate) struct ConsumedPart {
    pub(crate) partition: Arc<Partition>,
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) metadata: Arc<str>,
    pub(crate) mode: CommitMode,
}

impl<'c> ConsumedOffsets<'c> {
    pub(crate) fn new(
        offsets: &'c Arc<OffsetStore>,
        by: Committer<'c>,
        group: &'c str,
        parts: Vec<ConsumedPart>,
    ) -> Self {
        ConsumedOffsets { offsets, by, group, parts }
    }

    /// Whether nothing was given since the last commit.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.try_poll()?;
    /// assert!(consumer.consumed()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn offsets(&self) -> &'c Arc<OffsetStore> {
        self.offsets
    }

    pub(crate) fn by(&self) -> Committer<'c> {
        self.by
    }

    pub(crate) fn group(&self) -> &'c str {
        self.group
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.parts.iter().map(|part| &part.partition)
    }

    /// How far each partition was read.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&Arc<Partition>, Offset)> {
        self.parts.iter().map(|part| (&part.partition, part.offset))
    }

    pub(super) fn commits(&self) -> Vec<Commit<'_>> {
        let mut commits = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            commits.push(Commit {
                partition: &part.partition,
                offset: part.offset,
                leader_epoch: part.leader_epoch,
                metadata: &part.metadata,
                mode: part.mode,
            });
        }
        commits
    }
}
