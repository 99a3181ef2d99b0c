//! Holds of groups on the topics that asked for them (`TopicConfig::retain_for`).
//!
//! A hold is the group's committed offset, pushed down to the partition as a number with a cap;
//! retention knows nothing else. It moves with each commit, comes back when the store opens,
//! before anything is removed, and ends with the offset it stands for.

use std::sync::Arc;

use super::administer::Place;
use super::committed::Group;
use super::offsets::OffsetStore;
use crate::engine::{Partition, Topic};

impl OffsetStore {
    /// Sets the holds of every group, from what is committed. Called when the store opens.
    pub(crate) fn hold_all(&self) {
        let groups: Vec<(Arc<str>, Arc<Group>)> = {
            let groups = self.groups.lock();
            groups.iter().map(|(name, group)| (name.clone(), group.clone())).collect()
        };
        groups.iter().for_each(|(name, group)| self.follow_all(name, group));
    }

    /// A topic's configuration has changed: its holds are those it asks for now.
    pub(crate) fn hold_again(&self, topic: &Topic) {
        let config = topic.config();
        for partition in topic.partitions().iter() {
            partition.retain_holds_of(|group| config.retain_for.contains_key(group));
        }
        for name in config.retain_for.keys() {
            let Some((name, group)) = self.existing_named(name) else { continue };
            let _turn = group.turn.lock(); // a commit under way has its hold set after this
            for partition in topic.partitions().iter() {
                if let Some(committed) = group.committed(partition) {
                    partition.hold_for_group(&name, committed.offset());
                }
            }
        }
    }

    /// Sets a group's holds from what it has committed.
    pub(super) fn follow_all(&self, name: &Arc<str>, group: &Group) {
        let entries = group.entries.lock().clone();
        for (partition, entry) in entries.values().flatten() {
            let topic = entry.topic_id.and_then(|id| self.engine.topic_by_id(id));
            if let Some(partition) = topic.and_then(|topic| topic.partition(*partition).ok()) {
                partition.hold_for_group(name, entry.committed.offset);
            }
        }
    }

    /// Ends the holds of offsets that go; called before they are forgotten.
    pub(super) fn let_go(&self, name: &str, group: &Group, places: &[Place]) {
        let partitions: Vec<Arc<Partition>> = {
            let entries = group.entries.lock();
            let find = |(topic, partition): &Place| {
                let entry = entries.get(topic)?.get(partition)?;
                let topic = self.engine.topic_by_id(entry.topic_id?)?;
                topic.partition(*partition).ok()
            };
            places.iter().filter_map(find).collect()
        };
        partitions.iter().for_each(|partition| partition.end_hold_of_group(name));
    }
}
