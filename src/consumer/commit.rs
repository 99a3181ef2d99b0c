//! Committing: what was returned, up to one record, or offsets the caller names.
//!
//! A commit is one batch for all partitions it names: all of it or nothing. What was committed for
//! a partition only grows, unless the reset policy has answered a truncation there. Nothing here
//! is called by a timer or a drop.

use std::sync::Arc;

use super::assignment::{Delivered, Slot};
use super::handle::Consumer;
use super::reset::Reset;
use crate::config::Durability;
use crate::engine::{Partition, make_all_durable_later};
use crate::error::{Cause, Outcome, Result};
use crate::group::{Commit, CommitMode, Committed};
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::record::RecordView;

/// An offset to commit for one partition, with a text if there is something to keep beside it.
///
/// ```
/// use tidelog::{Offset, OffsetCommit, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// let commit = OffsetCommit::new("orders", 0, Offset::ZERO).metadata("sum=0");
/// consumer.commit_offsets(&[commit])?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct OffsetCommit<'a> {
    topic: &'a str,
    partition: PartitionId,
    offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
    metadata: &'a str,
}

impl<'a> OffsetCommit<'a> {
    /// The offset to read next of a partition.
    ///
    /// ```
    /// use tidelog::{Offset, OffsetCommit};
    /// let commit = OffsetCommit::new("orders", 0, Offset::new(7));
    /// # let _ = commit;
    /// ```
    pub fn new(topic: &'a str, partition: impl Into<PartitionId>, offset: Offset) -> Self {
        let partition = partition.into();
        OffsetCommit { topic, partition, offset, leader_epoch: None, metadata: "" }
    }

    /// A text of at most 4,096 bytes to keep with it; empty by default.
    ///
    /// ```
    /// use tidelog::{Offset, OffsetCommit};
    /// let commit = OffsetCommit::new("orders", 0, Offset::new(7)).metadata("sum=42");
    /// # let _ = commit;
    /// ```
    pub fn metadata(mut self, metadata: &'a str) -> Self {
        self.metadata = metadata;
        self
    }

    /// The epoch of the last record read. By default that of the record below the offset as the
    /// log has it now.
    ///
    /// ```
    /// use tidelog::{LeaderEpoch, Offset, OffsetCommit};
    /// let commit = OffsetCommit::new("orders", 0, Offset::new(7));
    /// let commit = commit.leader_epoch(LeaderEpoch::new(3));
    /// # let _ = commit;
    /// ```
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = Some(epoch);
        self
    }
}

/// A part of a commit, with what it is made of.
pub(super) struct Part {
    /// `None` for a partition that is not assigned.
    index: Option<usize>,
    pub(super) partition: Arc<Partition>,
    pub(super) offset: Offset,
    pub(super) leader_epoch: Option<LeaderEpoch>,
    /// What is kept of an earlier commit of the same offset.
    pub(super) kept: Option<Committed>,
    pub(super) mode: CommitMode,
}

/// Each fails as invalid for a reader without a group, and, with nothing written, as fenced: for a
/// member that was expelled, for a partition that another live member has, and for a consumer that
/// only assigns while its group has members.
impl Consumer {
    /// Commits, for each assigned partition, the position after the last record that any poll
    /// returned, with the builder's durability. See [`commit_with`](Consumer::commit_with).
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.try_poll()?;
    /// consumer.commit()?;
    /// let committed = consumer.committed("orders", 0)?.expect("just committed");
    /// assert_eq!(committed.offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit(&mut self) -> Result<()> {
        self.commit_with(self.options.durability)
    }

    /// [`commit`](Consumer::commit) with a durability of its own. Partitions that have nothing new
    /// since this consumer's last commit are left out, and keep the metadata it gave them. Blocks
    /// while another commit of the group is appended; with
    /// [`Durability::Power`](crate::Durability::Power) also for syncs, first of the records that
    /// the offsets stand for, then of the commit, which shares one with all other commits of the
    /// group that were made by then.
    ///
    /// `Ok` promises that a consumer of the group begins there, after the end of this process or
    /// after a power cut, as the durability says. On an error nothing was committed, unless its
    /// outcome says that it was and only the sync failed. An offset below the committed one fails
    /// as a regression (seeking back and polling leads there); that is right only after the log
    /// was truncated, and then allowed. Where the log no longer reaches what was returned, what is
    /// left of that is committed; with [`Reset::None`](crate::Reset::None) it fails as out of
    /// range.
    ///
    /// ```
    /// # use tidelog::{Durability, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.try_poll()?;
    /// consumer.commit_with(Durability::Power)?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit_with(&mut self, durability: Durability) -> Result<()> {
        self.group_name()?;
        self.engine.check_open("commit")?;
        let indexes = self.all_indexes();
        let parts = self.delivered_parts(&indexes, durability)?;
        self.commit_parts(&parts, durability, None)?;
        self.finish_retries(&indexes, durability)
    }

    /// [`commit`](Consumer::commit) as a future of no particular runtime. The commit begins when it
    /// is first polled; syncs, where the durability asks for them, are made by the store's timer
    /// or shared with threads, never inside a poll. Dropped before it is polled it commits nothing;
    /// dropped while it waits for a sync, the commit may have been made or not.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// pollster::block_on(consumer.commit_async())?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub async fn commit_async(&mut self) -> Result<()> {
        let durability = self.options.durability;
        if durability == Durability::Process {
            return self.commit();
        }
        let group = self.group_name()?.to_owned();
        self.engine.check_open("commit")?;
        let parts = self.delivered_parts(&self.all_indexes(), durability)?;
        let ends = parts.iter().map(|part| (&*part.partition, part.offset));
        let synced = make_all_durable_later(ends, |synced| synced).await;
        synced.map_err(|error| error.with_outcome(Outcome::NotWritten))?;
        self.offsets.commit_unsynced(self.committer(), &group, &commits_of(&parts, None))?;
        self.note_committed(&parts, Durability::Process);
        self.offsets.make_durable_later(&group).await?;
        self.offsets.move_holds(&group, &commits_of(&parts, None));
        self.note_committed(&parts, durability);
        self.finish_retries_later(durability).await
    }

    /// Commits the position after this record, for its partition alone, with the builder's
    /// durability: all before it counts as done. Fails as [`commit`](Consumer::commit) does.
    ///
    /// ```
    /// # use tidelog::{Offset, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # let orders = store.producer().build()?.topic("orders")?;
    /// # orders.send(Record::new("a"))?;
    /// # orders.send(Record::new("b"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let records = consumer.try_poll()?;
    /// consumer.commit_through(&records.iter().next().unwrap())?;
    /// let committed = consumer.committed("orders", 0)?.expect("just committed");
    /// assert_eq!(committed.offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit_through(&mut self, record: &RecordView<'_>) -> Result<()> {
        self.group_name()?;
        if self.attempt(record) > 1 {
            let index = self.assignment.index_of(record.topic(), record.partition());
            let slot = index.and_then(|index| Some((index, self.assignment.get(index)?)));
            let stood_for = match slot {
                Some((index, slot)) => self.stood_for(index, slot, self.options.durability)?,
                None => None,
            };
            // refused where that is
            self.commit_parts(stood_for.as_slice(), self.options.durability, None)?;
            return self.finish_retry(record).unwrap_or(Ok(()));
        }
        let index = self.assignment.find(record.topic(), record.partition())?;
        let Some(slot) = self.assignment.get(index) else { return Ok(()) };
        let part = Part {
            index: Some(index),
            partition: slot.partition.clone(),
            offset: record.offset().next(),
            leader_epoch: record.leader_epoch(),
            kept: None,
            mode: slot.commit_mode(),
        };
        self.commit_parts(&[part], self.options.durability, None)
    }

    /// Commits offsets the caller names, each with its metadata, in one write with the builder's
    /// durability: all of them or none. The partitions need not be assigned. Fails, with nothing
    /// written, as not found for a topic or partition there is none of, as out of range beyond the
    /// end of the log, as too large for metadata over 4,096 bytes, as a regression for an offset
    /// below the committed one, as invalid for a partition named twice.
    ///
    /// ```
    /// # use tidelog::{Offset, OffsetCommit, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let commit = OffsetCommit::new("orders", 0, Offset::new(1)).metadata("sum=42");
    /// consumer.commit_offsets(&[commit])?;
    /// let back = OffsetCommit::new("orders", 0, Offset::ZERO);
    /// assert!(consumer.commit_offsets(&[back]).is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit_offsets(&mut self, commits: &[OffsetCommit<'_>]) -> Result<()> {
        self.commit_offsets_with(commits, self.options.durability)
    }

    /// [`commit_offsets`](Consumer::commit_offsets) with a durability of its own.
    ///
    /// ```
    /// # use tidelog::{Durability, Offset, OffsetCommit};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let commit = OffsetCommit::new("orders", 0, Offset::ZERO);
    /// consumer.commit_offsets_with(&[commit], Durability::Power)?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn commit_offsets_with(
        &mut self,
        commits: &[OffsetCommit<'_>],
        durability: Durability,
    ) -> Result<()> {
        self.group_name()?;
        let mut parts = Vec::with_capacity(commits.len());
        for commit in commits {
            let index = self.assignment.index_of(commit.topic, commit.partition);
            let slot = index.and_then(|index| self.assignment.get(index));
            parts.push(Part {
                index,
                partition: self.partition(slot, commit.topic, commit.partition)?,
                offset: commit.offset,
                leader_epoch: commit.leader_epoch,
                kept: None,
                mode: slot.map_or(CommitMode::Forward, Slot::commit_mode),
            });
        }
        self.commit_parts(&parts, durability, Some(commits))
    }

    /// What the group has committed for a partition, by whichever consumer; `None` if nothing.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert_eq!(consumer.committed("orders", 0)?, None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn committed(
        &self,
        topic: &str,
        partition: impl Into<PartitionId>,
    ) -> Result<Option<Committed>> {
        self.engine.check_open("look up committed offset")?;
        let partition = partition.into();
        let index = self.assignment.index_of(topic, partition);
        let slot = index.and_then(|index| self.assignment.get(index));
        let partition = self.partition(slot, topic, partition)?;
        self.offsets.committed(self.group_name()?, &partition)
    }

    fn partition(
        &self,
        slot: Option<&Slot>,
        topic: &str,
        id: PartitionId,
    ) -> Result<Arc<Partition>> {
        match slot {
            Some(slot) => Ok(slot.partition.clone()),
            None => self.engine.topic(topic)?.partition(id),
        }
    }

    /// Commits what was returned of these slots.
    pub(super) fn commit_delivered_of(&mut self, indexes: &[usize]) -> Result<()> {
        let durability = self.options.durability;
        let parts = self.delivered_parts(indexes, durability)?;
        self.commit_parts(&parts, durability, None)?;
        self.finish_retries(indexes, durability)
    }

    fn all_indexes(&self) -> Vec<usize> {
        self.assignment.iter().map(|(index, _)| index).collect()
    }

    /// What was returned of these slots and is not committed yet, or not as durably.
    pub(super) fn delivered_parts(
        &self,
        indexes: &[usize],
        durability: Durability,
    ) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for index in indexes.iter().copied() {
            let Some(slot) = self.assignment.get(index) else { continue };
            let Some(delivered) = slot.delivered else {
                parts.extend(self.stood_for(index, slot, durability)?);
                continue;
            };
            if self.engine.topic_by_id(slot.partition.topic_id()).is_none() {
                continue; // a deleted topic keeps no offsets
            }
            let (Delivered { offset, epoch }, mode) = self.to_commit(slot, delivered)?;
            let mut kept = None;
            if let Some((committed, so_durably)) = slot.committed
                && committed == offset
            {
                // unless somebody has reset it meanwhile
                kept = self.offsets.committed(self.group_name()?, &slot.partition)?;
                let stands = kept.as_ref().is_some_and(|kept| kept.offset() == offset);
                let enough = so_durably == durability || so_durably == Durability::Power;
                if stands && enough {
                    continue;
                }
            }
            parts.push(Part {
                index: Some(index),
                partition: slot.partition.clone(),
                offset,
                leader_epoch: epoch,
                kept: kept.filter(|kept| kept.offset() == offset),
                mode,
            });
        }
        Ok(parts)
    }

    /// What a commit of what was handed out says. Where the log was cut and does not reach there
    /// any more, it is what is left of that, as far as a reset policy may answer for it.
    fn to_commit(&self, slot: &Slot, delivered: Delivered) -> Result<(Delivered, CommitMode)> {
        let Delivered { offset, epoch } = delivered;
        let end = slot.partition.offsets().map_err(|error| slot.named(error))?.end;
        if offset <= end || self.options.reset == Reset::None {
            return Ok((delivered, slot.commit_mode()));
        }
        let cut = epoch.map(|epoch| slot.partition.check_epoch("commit", offset, epoch));
        let left = match cut {
            Some(Err(error)) => match *error.cause() {
                Cause::LogTruncated { epoch_end, .. } => epoch_end.min(end),
                _ => return Err(error),
            },
            _ => end,
        };
        Ok((Delivered { offset: left, epoch: None }, CommitMode::Reset))
    }

    /// What another consumer of the group has committed, where this one was handed nothing but
    /// records that came again. They are done for good only if that commit lasts too: else a power
    /// cut takes it, and they come once more by themselves.
    fn stood_for(&self, index: usize, slot: &Slot, durability: Durability) -> Result<Option<Part>> {
        let is_durable = slot.committed.is_some_and(|(_, so)| so == Durability::Power);
        if durability != Durability::Power || is_durable || !self.retrying.has_handed_out(index) {
            return Ok(None);
        }
        let kept = self.offsets.committed(self.group_name()?, &slot.partition)?;
        Ok(kept.map(|kept| Part {
            index: Some(index),
            partition: slot.partition.clone(),
            offset: kept.offset(),
            leader_epoch: kept.leader_epoch(),
            kept: Some(kept),
            mode: slot.commit_mode(),
        }))
    }

    /// Commits the parts; `named` has their metadata where the caller gave any.
    fn commit_parts(
        &mut self,
        parts: &[Part],
        durability: Durability,
        named: Option<&[OffsetCommit<'_>]>,
    ) -> Result<()> {
        let (by, commits) = (self.committer(), commits_of(parts, named));
        self.offsets.commit_as(by, self.group_name()?, &commits, durability)?;
        self.note_committed(parts, durability);
        Ok(())
    }

    fn note_committed(&mut self, parts: &[Part], durability: Durability) {
        for part in parts {
            let Some(slot) = part.index.and_then(|index| self.assignment.get_mut(index)) else {
                continue;
            };
            slot.committed = Some((part.offset, durability));
            slot.truncated = false;
        }
    }

    /// The automatic commit, if its time has come: of what was returned before this poll.
    pub(super) fn commit_if_due(&mut self) -> Result<()> {
        let Some(interval) = self.options.auto_commit else { return Ok(()) };
        let now = self.engine.clock().monotonic();
        if self.auto_commit_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        let is_first = self.auto_commit_at.is_none();
        self.auto_commit_at = Some(now.saturating_add(interval));
        if is_first { Ok(()) } else { self.commit_by_itself() }
    }

    /// Commits what was returned, but never moves an offset back: who has sought back reads again
    /// what is committed already.
    pub(super) fn commit_by_itself(&mut self) -> Result<()> {
        self.commit_by_itself_of(&self.all_indexes())
    }

    /// [`commit_by_itself`](Consumer::commit_by_itself) for these slots.
    pub(super) fn commit_by_itself_of(&mut self, indexes: &[usize]) -> Result<()> {
        let durability = self.options.durability;
        let mut parts = self.delivered_parts(indexes, durability)?;
        let group = self.group_name()?;
        let mut behind = Vec::with_capacity(parts.len());
        for part in &parts {
            let committed = self.offsets.committed(group, &part.partition)?;
            let is_behind = committed.is_some_and(|committed| committed.offset() > part.offset);
            behind.push(is_behind && part.mode == CommitMode::Forward);
        }
        let mut behind = behind.into_iter();
        parts.retain(|_| !behind.next().unwrap_or(false));
        self.commit_parts(&parts, durability, None)?;
        self.finish_retries(indexes, durability)
    }
}

/// What a commit of these parts says; the metadata of those the caller named is theirs.
fn commits_of<'a>(parts: &'a [Part], named: Option<&[OffsetCommit<'a>]>) -> Vec<Commit<'a>> {
    let commit = |(at, part): (usize, &'a Part)| Commit {
        partition: &part.partition,
        offset: part.offset,
        leader_epoch: part.leader_epoch,
        metadata: match (named, &part.kept) {
            (Some(named), _) => named[at].metadata,
            (None, Some(kept)) => kept.metadata(),
            (None, None) => "",
        },
        mode: part.mode,
    };
    parts.iter().enumerate().map(commit).collect()
}

impl Slot {
    fn commit_mode(&self) -> CommitMode {
        if self.truncated { CommitMode::Reset } else { CommitMode::Forward }
    }
}
