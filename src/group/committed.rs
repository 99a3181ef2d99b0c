//! What a group has committed for a partition, and what a commit asks for.
//!
//! [`Group`] is one group's memory. Its `turn` lets one commit through at a time, from the check
//! to the change of memory; `entries` and `records` are locked only to look or to change, never
//! during I/O, and never both at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::records::GroupRecords;
use super::schema::CommittedValue;
use crate::engine::Partition;
use crate::ids::{LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
use crate::sync::Mutex;
use crate::time::Timestamp;

/// What a group has committed for one partition.
///
/// ```
/// use tidelog::{Offset, Record, Store, TopicConfig};
/// use std::time::Duration;
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// consumer.poll(Duration::from_secs(1))?;
/// consumer.commit()?;
/// let committed = consumer.committed("orders", 0)?.expect("just committed");
/// assert_eq!(committed.offset(), Offset::new(1));
/// assert_eq!(committed.metadata(), "");
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub(super) offset: Offset,
    pub(super) leader_epoch: Option<LeaderEpoch>,
    pub(super) metadata: Arc<str>,
    pub(super) committed_at: Timestamp,
}

impl Committed {
    /// The offset to read next.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let committed = consumer.committed("orders", 0)?;
    /// assert_eq!(committed.map(|committed| committed.offset()), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The epoch of the last record read; it tells whether the offset still means the same. `None`
    /// where the committer knew none.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let committed = consumer.committed("orders", 0)?;
    /// assert_eq!(committed.and_then(|committed| committed.leader_epoch()), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// The text committed with it; empty where there was none.
    ///
    /// ```
    /// # use tidelog::{Offset, OffsetCommit};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let commit = OffsetCommit::new("orders", 0, Offset::ZERO).metadata("sum=7");
    /// consumer.commit_offsets(&[commit])?;
    /// let committed = consumer.committed("orders", 0)?.expect("just committed");
    /// assert_eq!(committed.metadata(), "sum=7");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    /// When it was committed, by the store's clock.
    ///
    /// ```
    /// # use tidelog::{Offset, OffsetCommit};
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::ZERO)])?;
    /// let committed = consumer.committed("orders", 0)?.expect("just committed");
    /// assert!(committed.committed_at().as_millis() > 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn committed_at(&self) -> Timestamp {
        self.committed_at
    }

    pub(super) fn of(value: &CommittedValue<'_>) -> Self {
        Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: Arc::from(value.metadata),
            committed_at: value.committed_at,
        }
    }
}

/// Whether a commit may move an offset back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CommitMode {
    /// A lower offset than the committed one is refused.
    #[default]
    Forward,
    /// Any offset will do: an operator, or a reset policy, says so.
    Reset,
}

/// One partition's part of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) offset: Offset,
    /// That of the last record read; looked up where it is `None`.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) metadata: &'a str,
    pub(crate) mode: CommitMode,
}

/// What is remembered of one partition.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The topic it was committed for; `None` where the log names one that did not exist at open.
    pub(super) topic_id: Option<TopicId>,
    pub(super) committed: Committed,
    /// Only values of version 1 have one.
    pub(super) expires_at: Option<Timestamp>,
}

/// By topic and partition.
pub(super) type Entries = BTreeMap<Arc<str>, BTreeMap<PartitionId, Entry>>;

/// An offset that counts once the transaction it is committed in does.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    pub(super) producer: ProducerId,
    pub(super) partition: Arc<Partition>,
    pub(super) committed: Committed,
    /// The end of its batch in the log.
    pub(super) end: Offset,
}

impl Staged {
    fn is_for(&self, topic: &str, partition: PartitionId) -> bool {
        **self.partition.topic_name() == *topic && self.partition.id() == partition
    }
}

/// One group's memory.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) turn: Mutex<()>,
    pub(super) entries: Mutex<Entries>,
    /// In the order of the log. What is written for a partition later ends what is staged for it.
    pub(super) staged: Mutex<Vec<Staged>>,
    pub(super) records: Mutex<GroupRecords>,
}

impl Group {
    /// What is committed for this very partition, not for an older one of its name.
    pub(super) fn committed(&self, partition: &Partition) -> Option<Committed> {
        let entries = self.entries.lock();
        let entry = entries.get(partition.topic_name())?.get(&partition.id())?;
        let same = entry.topic_id == Some(partition.topic_id());
        same.then(|| entry.committed.clone())
    }

    pub(super) fn insert(&self, partition: &Partition, committed: Committed) {
        self.unstage(partition.topic_name(), partition.id());
        let mut entries = self.entries.lock();
        let topic = entries.entry(partition.topic_name().clone()).or_default();
        let topic_id = Some(partition.topic_id());
        topic.insert(partition.id(), Entry { topic_id, committed, expires_at: None });
    }

    /// Stages an offset; one that was staged for the partition before it counts no more.
    pub(super) fn stage(&self, staged: Staged) {
        let (topic, partition) = (staged.partition.topic_name(), staged.partition.id());
        let mut all = self.staged.lock();
        all.retain(|it| it.producer != staged.producer || !it.is_for(topic, partition));
        all.push(staged);
    }

    pub(super) fn has_staged(&self, partition: &Partition) -> bool {
        let (topic, id) = (partition.topic_id(), partition.id());
        let is_for = |it: &Staged| (it.partition.topic_id(), it.partition.id()) == (topic, id);
        self.staged.lock().iter().any(is_for)
    }

    fn unstage(&self, topic: &str, partition: PartitionId) {
        self.staged.lock().retain(|it| !it.is_for(topic, partition));
    }

    /// Takes out what is staged in a producer's transaction.
    pub(super) fn take_staged(&self, producer: ProducerId) -> Vec<Staged> {
        let mut all = self.staged.lock();
        let (taken, left) = std::mem::take(&mut *all)
            .into_iter()
            .partition::<Vec<_>, _>(|staged| staged.producer == producer);
        *all = left;
        taken
    }

    /// Takes in what a committed transaction has staged. It stands where it does in the log: what
    /// another transaction has staged behind it comes later, what it has staged before it goes.
    pub(super) fn take_in(&self, staged: Staged) {
        let Staged { partition, committed, end, .. } = staged;
        let (name, id) = (partition.topic_name(), partition.id());
        self.staged.lock().retain(|it| it.end > end || !it.is_for(name, id));
        let mut entries = self.entries.lock();
        let topic = entries.entry(name.clone()).or_default();
        let topic_id = Some(partition.topic_id());
        topic.insert(id, Entry { topic_id, committed, expires_at: None });
    }

    /// The places something is staged for.
    pub(super) fn staged_places(&self) -> Vec<(Arc<str>, PartitionId)> {
        let staged = self.staged.lock();
        let place = |it: &Staged| (it.partition.topic_name().clone(), it.partition.id());
        staged.iter().map(place).collect()
    }

    /// Whether nothing is known of it that counts.
    pub(super) fn is_unused(&self) -> bool {
        self.entries.lock().is_empty() && self.records.lock().is_empty()
    }

    pub(super) fn forget(&self, places: &[(Arc<str>, PartitionId)]) {
        let mut entries = self.entries.lock();
        for (topic, partition) in places {
            self.unstage(topic, *partition);
            if let Some(partitions) = entries.get_mut(topic) {
                partitions.remove(partition);
                if partitions.is_empty() {
                    entries.remove(topic);
                }
            }
        }
    }
}
