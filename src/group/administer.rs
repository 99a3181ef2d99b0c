//! What an operator does to groups: looking, resetting, deleting, cloning.
//!
//! Each change is one batch under the group's turn, made only while the group rests (a member's
//! positions would not follow) and carried into memory only once it is in the log. What is deleted
//! is deleted for good when the call returns: the tombstones are synced. A group exists while it
//! has offsets, records of its own, or members.
//!
//! Called by `store`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::committed::{Commit, Committed, Entries, Entry, Group};
use super::generations::check_kind;
use super::identity::Distribution;
use super::offsets::{Holds, InTurn, OffsetStore, in_the_log};
use super::schema::{CommittedValue, GroupKind, committed_key, group_key};
use crate::config::Durability;
use crate::engine::make_all_durable;
use crate::error::{Cause, Error, Result};
use crate::ids::{Generation, PartitionId};
use crate::state_log::Change;

/// What is kept of a group.
#[derive(Clone, Debug)]
pub(crate) struct KeptGroup {
    pub(crate) kind: GroupKind,
    pub(crate) generation: Generation,
}

impl OffsetStore {
    /// The names of all groups there are, in order: those that have committed something, those
    /// with records of their own, those with members.
    pub(crate) fn groups(&self) -> Vec<Arc<str>> {
        self.catch_up_all();
        let mut names: BTreeSet<Arc<str>> = self.coordinator().live_groups().into_iter().collect();
        let groups = self.groups.lock();
        let used = groups.iter().filter(|(_, group)| !group.is_unused());
        names.extend(used.map(|(name, _)| name.clone()));
        names.into_iter().collect()
    }

    /// What is kept of a group; nothing is found of one that does not exist.
    ///
    /// # Errors
    /// `NotFound`, `InvalidName`, and why its place in the log cannot be read.
    pub(crate) fn kept(&self, operation: &'static str, group_name: &str) -> Result<KeptGroup> {
        self.engine.check_open(operation)?;
        self.partition_of(group_name)?;
        let is_live = self.roster(group_name).is_some();
        match self.existing(group_name).filter(|group| is_live || !group.is_unused()) {
            Some(group) => {
                let records = group.records.lock();
                let kind = match records.kind() {
                    GroupKind::Standalone if is_live => self.live_kind(group_name),
                    kind => kind,
                };
                Ok(KeptGroup { kind, generation: records.generation() })
            }
            None if is_live => {
                let generation = Generation::default();
                Ok(KeptGroup { kind: self.live_kind(group_name), generation })
            }
            None => Err(unknown(operation, group_name)),
        }
    }

    /// Of a group that has members and no record of them yet.
    fn live_kind(&self, group: &str) -> GroupKind {
        match self.coordinator().group(group).map(|group| group.distribution) {
            Some(Distribution::Broadcast) => GroupKind::Broadcast,
            Some(Distribution::Divided) | None => GroupKind::Classic,
        }
    }

    /// Commits what an operator says, forwards or back, while the group rests.
    ///
    /// # Errors
    /// `GroupNotEmpty`, `Unsupported` for groups that only Kafka can lead, those of a commit.
    pub(crate) fn reset(
        &self,
        group: &str,
        commits: &[Commit<'_>],
        durability: Durability,
    ) -> Result<()> {
        let operation = "reset offsets";
        let log_partition = self.before_commit(group, commits, durability)?;
        let holds = Holds::Move;
        let what = InTurn { operation, log_partition, commits, durability, holds };
        self.commit_in_turn(group, what, |group| self.check_rests(operation, group))
    }

    /// Deletes a group: its offsets and its records, all that is known of it.
    pub(crate) fn delete_group(&self, name: &str) -> Result<()> {
        let operation = "delete group";
        let (name, group) = self.known(operation, name)?;
        {
            let _turn = group.turn.lock();
            check_kind(operation, &name, group.records.lock().kind())?;
            self.check_rests(operation, &name)?;
            if group.is_unused() {
                return Err(unknown(operation, &name)); // another call was faster
            }
            let mut all = places(&group.entries.lock());
            all.extend(group.staged_places());
            all.sort_unstable();
            all.dedup();
            self.remove(&name, &group, &all, Remains::Nothing)?;
        }
        self.prune(&name, group);
        self.make_tombstones_durable(&name)
    }

    /// Deletes what a group has committed for a topic; returns for how many partitions.
    ///
    /// # Errors
    /// `GroupNotEmpty` while a member follows it, `NotFound` for an unknown group.
    pub(crate) fn delete_offsets(&self, name: &str, topic: &str) -> Result<usize> {
        let operation = "delete offsets";
        let (name, group) = self.known(operation, name)?;
        let deleted = {
            let _turn = group.turn.lock();
            check_kind(operation, &name, group.records.lock().kind())?;
            if self.roster(&name).is_some_and(|roster| roster.follows(topic)) {
                let text = format!("a member of group `{name}` follows topic `{topic}`");
                return Err(Error::new(operation, Cause::GroupNotEmpty(text)));
            }
            let mut meant = places(&group.entries.lock());
            meant.extend(group.staged_places());
            meant.sort_unstable();
            meant.dedup();
            meant.retain(|(committed, _)| &**committed == topic);
            self.remove(&name, &group, &meant, Remains::Group)?;
            meant.len()
        };
        self.prune(&name, group);
        self.make_tombstones_durable(&name).map(|()| deleted)
    }

    /// Gives a group that does not exist the offsets of another, as they are now, for topics that
    /// exist: one for another would be the first offset of whatever is made under the name.
    ///
    /// # Errors
    /// `NotFound` for an unknown source, `GroupNotEmpty` for a target that exists.
    pub(crate) fn clone_group(&self, from: &str, to: &str, durability: Durability) -> Result<()> {
        let operation = "clone group";
        let (_, source) = self.known(operation, from)?;
        check_kind(operation, from, source.records.lock().kind())?;
        let log_partition = self.partition_of(to)?;
        let copies = source.entries.lock().clone();
        self.make_committed_durable(&copies, durability)?;
        let (name, group) = self.existing_or_new(to);
        let cloned = self.write_clone(log_partition, (&name, &group), copies, durability);
        self.prune(&name, group);
        cloned
    }

    fn write_clone(
        &self,
        log_partition: PartitionId,
        (name, group): (&Arc<str>, &Group),
        mut copies: Entries,
        durability: Durability,
    ) -> Result<()> {
        let _turn = group.turn.lock();
        if self.roster(name).is_some() || !group.is_unused() {
            let text = format!("group `{name}` exists");
            return Err(Error::new("clone group", Cause::GroupNotEmpty(text)));
        }
        let now = self.engine.clock().wall();
        let mut pairs = Vec::new();
        // under the turn: a topic that goes after this finds the copies and forgets them
        copies.retain(|_, partitions| {
            partitions.retain(|_, entry| self.names_a_topic(entry));
            !partitions.is_empty()
        });
        for (topic, partitions) in &mut copies {
            for (partition, entry) in partitions {
                entry.expires_at = None;
                entry.committed.committed_at = now;
                let Committed { offset, leader_epoch, ref metadata, .. } = entry.committed;
                let value = CommittedValue {
                    offset,
                    leader_epoch,
                    metadata,
                    committed_at: now,
                    expires_at: None,
                };
                pairs.push((committed_key(name, topic, *partition)?, value.encode()?));
            }
        }
        if pairs.is_empty() {
            return Ok(());
        }
        let changes: Vec<Change<'_>> =
            pairs.iter().map(|(key, value)| Change { key, value: Some(value) }).collect();
        let appended = self.log.append(log_partition, &changes, durability);
        if in_the_log(&appended) {
            *group.entries.lock() = copies;
            self.follow_all(name, group);
        }
        appended.map(|_| ())
    }

    fn names_a_topic(&self, entry: &Entry) -> bool {
        entry.topic_id.is_some_and(|id| self.engine.topic_by_id(id).is_some())
    }

    /// A durable offset never refers to lost records.
    fn make_committed_durable(&self, entries: &Entries, durability: Durability) -> Result<()> {
        if durability != Durability::Power {
            return Ok(());
        }
        let existing = entries.values().flatten().filter_map(|(partition, entry)| {
            let topic = self.engine.topic_by_id(entry.topic_id?)?;
            Some((topic.partition(*partition).ok()?, entry.committed.offset))
        });
        let existing: Vec<_> = existing.collect();
        let ends = existing.iter().map(|(partition, offset)| (&**partition, *offset));
        make_all_durable(ends, |synced| synced)
    }

    fn known(&self, operation: &'static str, name: &str) -> Result<(Arc<str>, Arc<Group>)> {
        self.kept(operation, name)?;
        Ok(self.existing_or_new(name))
    }

    /// Writes tombstones in one batch and forgets what they end. Called under the group's turn.
    pub(super) fn remove(
        &self,
        name: &Arc<str>,
        group: &Group,
        places: &[Place],
        remains: Remains,
    ) -> Result<()> {
        let log_partition = self.partition_of(name)?;
        let mut keys = Vec::with_capacity(places.len());
        for (topic, partition) in places {
            keys.push(committed_key(name, topic, *partition)?);
        }
        if remains == Remains::Nothing {
            let records = group.records.lock();
            keys.extend(records.newer.iter().map(|key| key.bytes.to_vec()));
            if records.classic.is_some() {
                keys.push(group_key(name)?);
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let changes: Vec<Change<'_>> = keys.iter().map(|key| Change { key, value: None }).collect();
        let appended = self.log.append(log_partition, &changes, Durability::Process);
        if in_the_log(&appended) {
            self.let_go(name, group, places);
            group.forget(places);
            if remains == Remains::Nothing {
                *group.records.lock() = super::records::GroupRecords::default();
            }
        }
        appended.map(|_| ())
    }

    fn make_tombstones_durable(&self, name: &str) -> Result<()> {
        self.log.make_durable(self.partition_of(name)?)
    }

    /// Takes a group nothing is known of, and nobody is at work on, out of the table.
    pub(super) fn prune(&self, name: &Arc<str>, group: Arc<Group>) {
        drop(group);
        let mut groups = self.groups.lock();
        // whoever has it got it from this table, under this lock
        let idle = groups.get(name).is_some_and(|group| Arc::strong_count(group) == 1);
        let is_over = |group: &Arc<Group>| group.is_unused() && group.staged.lock().is_empty();
        if idle && groups.get(name).is_some_and(is_over) {
            groups.remove(name);
        }
    }
}

/// A topic's partition, by the name under which an offset was committed.
pub(super) type Place = (Arc<str>, PartitionId);

/// What is left of a group whose offsets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// Its own records.
    Group,
    Nothing,
}

fn places(entries: &Entries) -> Vec<Place> {
    let of = |(topic, partitions): (&Arc<str>, &std::collections::BTreeMap<PartitionId, _>)| {
        partitions.keys().map(|partition| (topic.clone(), *partition)).collect::<Vec<_>>()
    };
    entries.iter().flat_map(of).collect()
}

fn unknown(operation: &'static str, group: &str) -> Error {
    let name = group.chars().take(64).collect();
    Error::new(operation, Cause::NotFound { what: "group", name })
}

#[cfg(all(test, not(loom)))]
mod tests;
