//! Committed offsets by group: a fold over `__consumer_offsets`.
//!
//! A group's offsets lie in one partition of that topic, chosen by Kafka's hash of its name; a
//! commit is one batch there. Memory changes only after the append, so what a caller is told is
//! what a reopened store will say. An offset belongs to a topic's identity: deleting a topic
//! writes tombstones, and until they are written the identity keeps a topic made again under the
//! name from seeing them. Records of kinds unknown here are left as they are.
//!
//! `commits` is a commit's way, `staged` that of one within a transaction, `forget` what becomes of
//! those of a deleted topic, `follow` keeps the fold going where another process writes the log.
//!
//! Locks: the table of groups, then a group's turn, then its entries. The turn is held across the
//! append, the others never. Under the turn the coordinator is asked who may commit.

mod commits;
mod follow;
mod forget;
mod staged;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(super) use self::commits::{Holds, InTurn};
use self::follow::Following;
use self::forget::Owed;
use super::committed::{Committed, Entry, Group};
use super::coordinator::Coordinator;
use super::expiry::Expiry;
use super::records::ClassicRecord;
use super::schema::{
    CONSUMER_GROUP_KEY, CommittedValue, GroupValue, OffsetsKey, SchemaFault, consumer_group_epoch,
    group_partition,
};
use super::seat::Committer;
use crate::config::TopicConfig;
use crate::engine::{Engine, Partition};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{PartitionId, ProducerId, TopicId};
use crate::state_log::{Replayed, StateLog};
use crate::stats::Counter;
use crate::sync::Mutex;
use crate::wait::Signal;

/// Kafka's name for the topic.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The longest group name, in bytes: what the format can hold.
const GROUP_NAME_LIMIT: usize = 0x7fff;

/// All committed offsets of a store.
#[derive(Debug)]
pub(crate) struct OffsetStore {
    pub(super) engine: Arc<Engine>,
    pub(super) log: StateLog,
    pub(super) groups: Mutex<BTreeMap<Arc<str>, Arc<Group>>>,
    /// The groups that a producer's open transaction has staged offsets of.
    staging: Mutex<HashMap<ProducerId, BTreeSet<Arc<str>>>>,
    /// Partitions whose offsets are not known: their groups get errors, not resets.
    unread: BTreeMap<PartitionId, Error>,
    skipped: Counter,
    pub(super) expiry: Mutex<Expiry>,
    pub(super) expired: Counter,
    coordinator: Coordinator,
    /// Given when a transaction ends that has staged offsets.
    decided: Arc<Signal>,
    /// Tombstones of deleted topics' offsets that may not be durable.
    owed: Owed,
    /// Where another process writes: how far each partition has been read.
    following: Option<Mutex<Following>>,
}

impl OffsetStore {
    /// Reads what is committed, and ends the groups that were live. Costs nothing in a store that
    /// never committed.
    pub(crate) fn open(engine: Arc<Engine>) -> Result<Arc<OffsetStore>> {
        let log = OffsetStore::log_of(&engine);
        let mut fold = Fold::new(&engine, BTreeMap::new());
        let skipped = log.replay(|record| fold.take(record))?;
        let Fold { groups, skipped: faults, owed, .. } = fold;
        let unreadable = Counter::default();
        unreadable.add(faults + skipped.places);
        let store = OffsetStore {
            groups: Mutex::new(groups),
            staging: Mutex::default(),
            engine,
            log,
            unread: skipped.unread,
            skipped: unreadable,
            expiry: Mutex::default(),
            expired: Counter::default(),
            coordinator: Coordinator::default(),
            decided: Arc::default(),
            owed,
            following: None,
        };
        skipped.waiting.iter().for_each(|waiting| store.stage_again(waiting));
        store.end_lives_of_before();
        Ok(Arc::new(store))
    }

    fn log_of(engine: &Arc<Engine>) -> StateLog {
        // Kafka's: 50 partitions, segments of 100 MiB. A commit for very many partitions is one
        // batch all the same. The engine compacts the topic, like all internal ones.
        let config =
            TopicConfig::new().partitions(50).segment_bytes(100 << 20).max_batch_bytes(64 << 20);
        StateLog::new(engine.clone(), OFFSETS_TOPIC, config)
    }

    /// The groups that have members now.
    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// Records of `__consumer_offsets` that could not be understood, since the store was opened.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.get()
    }

    /// All that a group has committed for topics that exist, by topic and partition.
    pub(crate) fn all_committed(&self, group: &str) -> Result<Vec<(Arc<Partition>, Committed)>> {
        self.catch_up(self.partition_of(group)?)?;
        let Some(group) = self.existing(group) else { return Ok(Vec::new()) };
        let entries = group.entries.lock().clone();
        let mut all = Vec::new();
        for (partition, entry) in entries.values().flatten() {
            let topic = entry.topic_id.and_then(|id| self.engine.topic_by_id(id));
            let partition = topic.and_then(|topic| topic.partition(*partition).ok());
            all.extend(partition.map(|partition| (partition, entry.committed.clone())));
        }
        Ok(all)
    }

    /// What a group has committed for one partition.
    pub(crate) fn committed(
        &self,
        group: &str,
        partition: &Partition,
    ) -> Result<Option<Committed>> {
        self.catch_up(self.partition_of(group)?)?;
        Ok(self.existing(group).and_then(|group| group.committed(partition)))
    }

    pub(super) fn existing(&self, group: &str) -> Option<Arc<Group>> {
        self.groups.lock().get(group).cloned()
    }

    /// A group with its name as it is shared.
    pub(super) fn existing_named(&self, group: &str) -> Option<(Arc<str>, Arc<Group>)> {
        let groups = self.groups.lock();
        groups.get_key_value(group).map(|(name, group)| (name.clone(), group.clone()))
    }

    pub(super) fn existing_or_new(&self, group: &str) -> (Arc<str>, Arc<Group>) {
        let mut groups = self.groups.lock();
        if let Some((name, group)) = groups.get_key_value(group) {
            return (name.clone(), group.clone());
        }
        let (name, new) = (Arc::<str>::from(group), Arc::<Group>::default());
        groups.insert(name.clone(), new.clone());
        (name, new)
    }

    /// Where a group's offsets lie; fails for an illegal name and where that place is lost.
    pub(super) fn partition_of(&self, group: &str) -> Result<PartitionId> {
        check_group_name(group)?;
        let partition = PartitionId::new(group_partition(group, self.log.partition_count()?));
        match self.unread.get(&partition) {
            Some(error) => Err(error.again()),
            None => Ok(partition),
        }
    }
}

/// Refuses a name that cannot be a group's.
pub(crate) fn check_group_name(group: &str) -> Result<()> {
    let reason = match group.len() {
        0 => "it is empty",
        1..=GROUP_NAME_LIMIT => return Ok(()),
        _ => "it is longer than 32,767 bytes",
    };
    let name = group.chars().take(64).collect();
    Err(Error::new("name group", Cause::InvalidName { what: "group", name, reason }))
}

/// Whether the records are in the log, so that a reopened store would see them.
pub(super) fn in_the_log<T>(appended: &Result<T>) -> bool {
    match appended {
        Ok(_) => true,
        Err(error) => error.outcome() == Outcome::WrittenNotDurable,
    }
}

/// What is known while the log is read.
struct Fold<'a> {
    engine: &'a Engine,
    /// The identity of each topic named, `None` for one that does not exist.
    topics: HashMap<String, Option<TopicId>>,
    groups: BTreeMap<Arc<str>, Arc<Group>>,
    skipped: u64,
    owed: Owed,
}

impl<'a> Fold<'a> {
    fn new(engine: &'a Engine, groups: BTreeMap<Arc<str>, Arc<Group>>) -> Self {
        Fold { engine, topics: HashMap::new(), groups, skipped: 0, owed: Owed::default() }
    }
}

impl Fold<'_> {
    fn take(&mut self, record: Replayed<'_>) {
        if let Err(error) = self.try_take(record) {
            self.skipped += 1;
            log::warn!("{OFFSETS_TOPIC}-{}: skipped: {error}", record.partition);
        }
    }

    fn try_take(&mut self, record: Replayed<'_>) -> Result<()> {
        let fault = |fault: SchemaFault| fault.into_error("replay groups", record.offset);
        let Some(bytes) = record.key else {
            let text = "a record without a key".to_owned();
            let error = Error::new("replay groups", Cause::Corrupt(text));
            return Err(error.at_offset(record.offset));
        };
        match OffsetsKey::parse(bytes).map_err(fault)? {
            OffsetsKey::Committed { group, topic, partition } => match record.value {
                Some(value) => {
                    let value = CommittedValue::parse(value).map_err(fault)?;
                    self.set(group, topic, partition, &value);
                }
                None => {
                    self.remove(group, topic, partition);
                    self.note_owed(topic, record.partition);
                }
            },
            OffsetsKey::Classic { group } => {
                let value = record.value.map(GroupValue::parse).transpose().map_err(fault)?;
                let mut records = self.group(group).records.lock();
                records.classic = value.as_ref().map(ClassicRecord::of);
            }
            OffsetsKey::Newer { group, version, .. } => {
                let epoch = match record.value {
                    Some(value) if version == CONSUMER_GROUP_KEY => {
                        Some(consumer_group_epoch(value).map_err(fault))
                    }
                    _ => None,
                };
                let mut records = self.group(group).records.lock();
                records.note_newer(version, bytes, record.value.is_some());
                if version == CONSUMER_GROUP_KEY {
                    records.epoch = epoch.transpose()?;
                }
            }
            OffsetsKey::Unknown { .. } => {}
        }
        Ok(())
    }

    fn group(&mut self, name: &str) -> &Group {
        if !self.groups.contains_key(name) {
            self.groups.insert(Arc::from(name), Arc::default());
        }
        &self.groups[name]
    }

    fn set(
        &mut self,
        group: &str,
        topic: &str,
        partition: PartitionId,
        value: &CommittedValue<'_>,
    ) {
        let topic_id = self.id_of(topic);
        let mut entries = self.group(group).entries.lock();
        if !entries.contains_key(topic) {
            entries.insert(Arc::from(topic), BTreeMap::new());
        }
        if let Some(partitions) = entries.get_mut(topic) {
            let (committed, expires_at) = (Committed::of(value), value.expires_at);
            partitions.insert(partition, Entry { topic_id, committed, expires_at });
        }
    }

    fn id_of(&mut self, topic: &str) -> Option<TopicId> {
        if let Some(id) = self.topics.get(topic) {
            return *id;
        }
        let id = self.engine.topic(topic).ok().map(|topic| topic.id());
        self.topics.insert(topic.to_owned(), id);
        id
    }

    /// A process that was killed may have left a tombstone to the page cache alone.
    fn note_owed(&mut self, topic: &str, log_partition: PartitionId) {
        if !self.engine.open_report().was_closed_cleanly() && self.id_of(topic).is_none() {
            self.owed.note(topic, log_partition);
        }
    }

    fn remove(&mut self, group: &str, topic: &str, partition: PartitionId) {
        let Some(group) = self.groups.get(group) else { return };
        let mut entries = group.entries.lock();
        if let Some(partitions) = entries.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                entries.remove(topic);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests;
