//! Moving a group's committed offsets: what to move, where to, a look at it first.
//!
//! The plan is computed from what is committed and from where the partitions start and end, and
//! nothing is written for it. Like Kafka's own tool it stays within a partition's offsets where an
//! offset or a shift would lead out of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::handle::Store;
use crate::config::{Durability, IsolationLevel};
use crate::engine::Partition;
use crate::error::{Cause, Error, Result};
use crate::group::{Commit, CommitMode};
use crate::ids::{Offset, PartitionId};
use crate::time::{Timestamp, millis};

/// Where a reset leads, for each partition by itself.
///
/// ```
/// use tidelog::{Offset, OffsetCommit, ResetTo, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
/// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
/// let plan = store.reset_group("billing").to(ResetTo::Latest).dry_run()?;
/// assert_eq!(plan.moves[0].new, Offset::ZERO);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetTo {
    /// Where the partition starts.
    Earliest,
    /// Its end: only what is sent from now on.
    Latest,
    /// The first record at or after this time; the end where there is none.
    Timestamp(Timestamp),
    /// This offset, or the nearest one there is.
    Offset(Offset),
    /// So many records on from what is committed, or back where negative; not beyond what there
    /// is. A partition without a committed offset has nothing to count from.
    Shift(i64),
    /// The first record that is at most so old; the end where there is none.
    Back(Duration),
}

/// A reset to be looked at and carried out; made by [`Store::reset_group`].
///
/// ```
/// use tidelog::{Durability, Offset, OffsetCommit, Record, ResetTo, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
/// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::new(1))])?;
///
/// let reset = store.reset_group("billing").topics(["orders"]).to(ResetTo::Earliest);
/// let plan = reset.dry_run()?;
/// assert_eq!((plan.moves[0].old, plan.moves[0].new), (Some(Offset::new(1)), Offset::ZERO));
/// assert_eq!(reset.execute(Durability::Power)?, plan);
/// assert_eq!(store.committed("billing")?[0].2.offset(), Offset::ZERO);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is done before `execute`"]
pub struct GroupReset {
    store: Store,
    group: String,
    topics: Vec<String>,
    partitions: Vec<(String, PartitionId)>,
    to: Option<ResetTo>,
}

/// What a reset does, by topic and partition.
///
/// ```
/// use tidelog::{Offset, OffsetCommit, ResetTo, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.create_topic("orders", TopicConfig::new())?;
/// # let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
/// # consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
/// let plan = store.reset_group("billing").to(ResetTo::Offset(Offset::new(7))).dry_run()?;
/// assert!(plan.moves[0].is_clamped); // the partition is empty
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResetPlan {
    /// Each partition's part of it.
    pub moves: Vec<OffsetMove>,
}

/// One partition's part of a reset.
///
/// ```
/// # use tidelog::{Offset, OffsetCommit, ResetTo, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.create_topic("orders", TopicConfig::new())?;
/// # let mut consumer = store.consumer("billing").assign([("orders", 0)]).build()?;
/// # consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
/// for step in store.reset_group("billing").to(ResetTo::Earliest).dry_run()?.moves {
///     println!("{}-{}: {:?} -> {}", step.topic, step.partition, step.old, step.new);
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffsetMove {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
    /// What is committed; `None` where nothing is.
    pub old: Option<Offset>,
    /// What is to be committed.
    pub new: Offset,
    /// Whether it is the nearest offset there is instead of the one asked for.
    pub is_clamped: bool,
}

impl GroupReset {
    pub(super) fn new(store: &Store, group: &str) -> Self {
        GroupReset {
            store: store.clone(),
            group: group.to_owned(),
            topics: Vec::new(),
            partitions: Vec::new(),
            to: None,
        }
    }

    /// Every partition of these topics. Default, without this and
    /// [`partitions`](GroupReset::partitions): every partition the group has committed for.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let reset = store.reset_group("billing").topics(["orders"]);
    /// # let _ = reset;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// These partitions.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let reset = store.reset_group("billing").partitions([("orders", 0), ("orders", 3)]);
    /// # let _ = reset;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partitions<T: Into<String>, P: Into<PartitionId>>(
        mut self,
        partitions: impl IntoIterator<Item = (T, P)>,
    ) -> Self {
        let partitions = partitions.into_iter().map(|(topic, id)| (topic.into(), id.into()));
        self.partitions.extend(partitions);
        self
    }

    /// Where to; has to be said.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let reset = store.reset_group("billing").to(tidelog::ResetTo::Shift(-10));
    /// # let _ = reset;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn to(mut self, to: ResetTo) -> Self {
        self.to = Some(to);
        self
    }

    /// What [`execute`](GroupReset::execute) would do now; nothing is changed. Live members do not
    /// keep anybody from looking.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown group, topic or partition,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) without a goal, and for a shift of a
    /// partition without a committed offset; those of reading.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let unknown = store.reset_group("nobody").to(tidelog::ResetTo::Earliest).dry_run();
    /// assert_eq!(unknown.unwrap_err().kind(), tidelog::ErrorKind::NotFound);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn dry_run(&self) -> Result<ResetPlan> {
        Ok(ResetPlan { moves: self.planned()?.into_iter().map(|(_, step)| step).collect() })
    }

    /// Carries the reset out, all of it or nothing; returns what it did. The metadata of the
    /// offsets becomes empty. Blocks for the sync that `durability` may ask for.
    ///
    /// # Errors
    /// [`GroupNotEmpty`](crate::ErrorKind::GroupNotEmpty) while the group has members, those of
    /// [`dry_run`](GroupReset::dry_run) and of a commit.
    ///
    /// ```
    /// use tidelog::{Durability, ErrorKind, ResetTo, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.commit()?;
    /// let reset = store.reset_group("billing").to(ResetTo::Earliest);
    /// let error = reset.execute(Durability::Process).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::GroupNotEmpty);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn execute(&self, durability: Durability) -> Result<ResetPlan> {
        let planned = self.planned()?;
        let commits: Vec<Commit<'_>> =
            planned.iter().map(|(partition, step)| reset_commit(partition, step.new)).collect();
        self.store.offsets.reset(&self.group, &commits, durability)?;
        Ok(ResetPlan { moves: planned.into_iter().map(|(_, step)| step).collect() })
    }

    fn planned(&self) -> Result<Vec<(Arc<Partition>, OffsetMove)>> {
        let operation = "plan reset";
        self.store.offsets.kept(operation, &self.group)?;
        let Some(to) = self.to else {
            let text = "where to is not said".to_owned();
            return Err(Error::new(operation, Cause::InvalidArgument(text)));
        };
        let mut planned = Vec::new();
        for partition in self.meant()? {
            let old = self.store.offsets.committed(&self.group, &partition)?;
            let old = old.map(|committed| committed.offset());
            let (new, is_clamped) = self
                .goal(&partition, old, to)
                .map_err(|error| error.at_partition(partition.topic_name(), partition.id()))?;
            let (topic, id) = (partition.topic_name().to_string(), partition.id());
            planned.push((partition, OffsetMove { topic, partition: id, old, new, is_clamped }));
        }
        Ok(planned)
    }

    /// The partitions that are meant, each once, in order.
    fn meant(&self) -> Result<Vec<Arc<Partition>>> {
        let engine = &self.store.engine;
        let mut meant: Vec<Arc<Partition>> = Vec::new();
        for topic in &self.topics {
            meant.extend(engine.topic(topic)?.partitions().iter().cloned());
        }
        for (topic, partition) in &self.partitions {
            meant.push(engine.topic(topic)?.partition(*partition)?);
        }
        if self.topics.is_empty() && self.partitions.is_empty() {
            let all = self.store.offsets.all_committed(&self.group)?;
            meant.extend(all.into_iter().map(|(partition, _)| partition));
        }
        let mut seen = BTreeSet::new();
        meant.retain(|partition| seen.insert((partition.topic_name().clone(), partition.id())));
        meant.sort_by(|a, b| (a.topic_name(), a.id()).cmp(&(b.topic_name(), b.id())));
        Ok(meant)
    }

    /// Where one partition goes, and whether that is not quite what was asked for.
    fn goal(
        &self,
        partition: &Partition,
        old: Option<Offset>,
        to: ResetTo,
    ) -> Result<(Offset, bool)> {
        let offsets = partition.offsets()?;
        let (start, end) = (offsets.start, offsets.last_stable());
        let within = |wanted: Offset| {
            let nearest = wanted.max(start).min(end);
            (nearest, nearest != wanted)
        };
        let at = |timestamp| {
            let found = partition.offset_at(timestamp, IsolationLevel::ReadCommitted)?;
            Ok(within(found.unwrap_or(end)))
        };
        match to {
            ResetTo::Earliest => Ok((start, false)),
            ResetTo::Latest => Ok((end, false)),
            ResetTo::Offset(offset) => Ok(within(offset)),
            ResetTo::Timestamp(timestamp) => at(timestamp),
            ResetTo::Back(age) => {
                let now = self.store.engine.clock().wall().as_millis();
                at(Timestamp::from_millis(now.saturating_sub(millis(age))))
            }
            ResetTo::Shift(count) => match old {
                Some(old) => Ok(within(Offset::new(old.get().saturating_add(count)))),
                None => {
                    let text = "nothing is committed to shift from".to_owned();
                    Err(Error::new("plan reset", Cause::InvalidArgument(text)))
                }
            },
        }
    }
}

/// An operator's word on one partition.
pub(super) fn reset_commit(partition: &Partition, offset: Offset) -> Commit<'_> {
    Commit { partition, offset, leader_epoch: None, metadata: "", mode: CommitMode::Reset }
}
