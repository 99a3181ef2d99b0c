//! Forgetting what groups have committed for a topic that is deleted.
//!
//! The log names a topic by its name alone, so what was committed for one must not come back to
//! another that is made under it. Tombstones are written, and synced before the name is used again:
//! whatever fails, and whichever process has written them, they are owed until a sync of theirs has
//! succeeded. What was committed for a topic that is there by now stays: another thread may have
//! made it, and a group may have read from it, between a look at the catalog and this.
//!
//! Called by `store`, when a topic is deleted and before one is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Group, OffsetStore};
use crate::config::Durability;
use crate::error::Result;
use crate::group::schema::committed_key;
use crate::ids::{PartitionId, TopicId};
use crate::state_log::Change;
use crate::sync::Mutex;

/// Where tombstones lie that may not be durable, by the name of the topic they are for.
#[derive(Debug, Default)]
pub(super) struct Owed(Mutex<BTreeMap<Box<str>, BTreeSet<PartitionId>>>);

impl Owed {
    pub(super) fn note(&self, topic: &str, log_partition: PartitionId) {
        let mut all = self.0.lock();
        match all.get_mut(topic) {
            Some(partitions) => drop(partitions.insert(log_partition)),
            None => drop(all.insert(Box::from(topic), BTreeSet::from([log_partition]))),
        }
    }

    fn of(&self, topic: &str) -> BTreeSet<PartitionId> {
        self.0.lock().get(topic).cloned().unwrap_or_default()
    }

    fn settle(&self, topic: &str, log_partition: PartitionId) {
        let mut all = self.0.lock();
        let Some(partitions) = all.get_mut(topic) else { return };
        partitions.remove(&log_partition);
        if partitions.is_empty() {
            all.remove(topic);
        }
    }
}

impl OffsetStore {
    /// Forgets everything that any group has committed for a topic of that name, but for one that
    /// exists. To be called after a topic was deleted, before the call that deleted it returns, and
    /// before one is created, for a store may hold offsets of topics it does not have. Blocks for
    /// syncs if there is anything to forget. Of a failure the rest is done all the same.
    pub(crate) fn forget_topic(&self, name: &str) -> Result<()> {
        let groups: Vec<(Arc<str>, Arc<Group>)> = {
            let groups = self.groups.lock();
            groups.iter().map(|(name, group)| (name.clone(), group.clone())).collect()
        };
        let mut done = Ok(());
        for (group_name, group) in groups {
            done = done.and(self.forget_of(&group_name, &group, name));
        }
        // else a power cut could bring the offsets back, to a topic made again under the name
        for partition in self.owed.of(name) {
            let synced = self.log.make_durable(partition);
            if synced.is_ok() {
                self.owed.settle(name, partition);
            }
            done = done.and(synced);
        }
        done
    }

    fn forget_of(&self, group_name: &str, group: &Group, topic: &str) -> Result<()> {
        // a commit that comes after this turn finds the topic deleted
        let _turn = group.turn.lock();
        let there = self.engine.topic(topic).ok().map(|topic| topic.id());
        let partitions = group.places_of_others(topic, there);
        if partitions.is_empty() {
            return Ok(());
        }
        let log_partition = self.partition_of(group_name)?;
        let mut keys = Vec::with_capacity(partitions.len());
        for partition in &partitions {
            keys.push(committed_key(group_name, topic, *partition)?);
        }
        let changes: Vec<Change<'_>> = keys.iter().map(|key| Change { key, value: None }).collect();
        self.log.append(log_partition, &changes, Durability::Process)?;
        self.owed.note(topic, log_partition);
        let topic = Arc::<str>::from(topic);
        let places: Vec<_> = partitions.into_iter().map(|it| (topic.clone(), it)).collect();
        group.forget(&places);
        Ok(())
    }
}

impl Group {
    /// The partitions of a topic of that name that something is committed or staged for, but for
    /// those of the one that is `there`.
    fn places_of_others(&self, topic: &str, there: Option<TopicId>) -> BTreeSet<PartitionId> {
        let is_other = |id: Option<TopicId>| id.is_none() || id != there;
        let mut partitions = BTreeSet::new();
        for (partition, entry) in self.entries.lock().get(topic).into_iter().flatten() {
            if is_other(entry.topic_id) {
                partitions.insert(*partition);
            }
        }
        for staged in self.staged.lock().iter() {
            let partition = &staged.partition;
            if **partition.topic_name() == *topic && is_other(Some(partition.topic_id())) {
                partitions.insert(partition.id());
            }
        }
        partitions
    }
}
