//! Offsets committed within a transaction: written with it, in force with its marker.
//!
//! They lie in the log as the producer's, under its transaction; nobody is told of them before the
//! marker is there, and an abort drops them. What is written for a partition outside of the
//! transaction, later in the log, counts instead of them: compaction would keep that one too.
//!
//! Callers: `producer` stages, `txn` tells of markers.

use std::sync::Arc;

use super::commits::{Encoded, changes};
use super::{OFFSETS_TOPIC, OffsetStore};
use crate::config::Durability;
use crate::engine::Partition;
use crate::error::Result;
use crate::group::committed::{Committed, Staged};
use crate::group::consumed::ConsumedOffsets;
use crate::group::generations::check_kind;
use crate::group::schema::{CommittedValue, OffsetsKey};
use crate::ids::{Offset, ProducerId};
use crate::log::ProducerState;
use crate::record::{MarkerKind, ProducerIdentity};
use crate::state_log::Waiting;
use crate::txn::MarkerFollower;
use crate::wait::Signal;

impl OffsetStore {
    /// Where a group's offsets are written, which a transaction enlists first.
    pub(crate) fn log_partition_of(&self, group: &str) -> Result<Arc<Partition>> {
        self.log.partition(self.partition_of(group)?)
    }

    /// Writes offsets as part of a producer's transaction, all of them or none; returns the end of
    /// their batch. Who may not commit them is fenced, as with a commit.
    pub(crate) fn stage(
        &self,
        consumed: &ConsumedOffsets<'_>,
        identity: ProducerIdentity,
    ) -> Result<Offset> {
        let (by, commits) = (consumed.by(), consumed.commits());
        let log_partition = self.before_commit(consumed.group(), &commits, Durability::Process)?;
        by.look_before_the_turn(self, consumed.group())?;
        let (name, group) = self.existing_or_new(consumed.group());
        let staged = {
            let _turn = group.turn.lock();
            by.check(self, &name, &commits)
                .and_then(|()| check_kind("commit", &name, group.records.lock().kind()))
                .and_then(|()| self.encode(&name, &group, &commits))
                .and_then(|Encoded { keys, values, committed }| {
                    let changes = changes(&keys, &values);
                    // first: a marker that comes right behind them has to find the group
                    self.staging.lock().entry(identity.id()).or_default().insert(name.clone());
                    let end = self.log.append_produced(log_partition, &changes, identity)?;
                    for (part, committed) in consumed.partitions().zip(committed) {
                        let (producer, partition) = (identity.id(), part.clone());
                        group.stage(Staged { producer, partition, committed, end });
                    }
                    Ok(end)
                })
        };
        if staged.is_err() {
            self.prune(&name, group); // it may be known by this commit only
        }
        staged
    }
}

impl OffsetStore {
    /// Whether a transaction that is not over may be about to commit an offset for a partition.
    pub(crate) fn is_open(&self, group: &str, partition: &Partition) -> bool {
        let Some(group) = self.existing(group) else { return false };
        let _turn = group.turn.lock(); // a marker is taken in whole or not at all
        group.has_staged(partition)
    }

    /// Given when a transaction has ended that had staged offsets of any group.
    pub(crate) fn decided(&self) -> &Arc<Signal> {
        &self.decided
    }

    /// What transactions that are not over have staged for a group.
    #[cfg(test)]
    pub(crate) fn staged_of(&self, group: &str) -> Vec<(Arc<str>, crate::ids::PartitionId)> {
        self.existing(group).map(|group| group.staged_places()).unwrap_or_default()
    }

    /// Takes up what an earlier life, or Kafka, has staged in a transaction that is open still.
    pub(super) fn stage_again(&self, waiting: &Waiting) {
        let key = waiting.key.as_deref().map(OffsetsKey::parse);
        let value = waiting.value.as_deref().map(CommittedValue::parse);
        let (Some(Ok(OffsetsKey::Committed { group, topic, partition })), Some(Ok(value))) =
            (key, value)
        else {
            return;
        };
        let partition = self.engine.topic(topic).and_then(|topic| topic.partition(partition));
        let Ok(partition) = partition else { return };
        // its marker may lie in what was damaged and stepped over
        let log_partition = self.log_partition_of(group).and_then(|log| log.open_transactions());
        let is_its = |it: &ProducerState| it.identity().id() == waiting.producer;
        if !log_partition.is_ok_and(|open| open.iter().any(is_its)) {
            return;
        }
        let (producer, end) = (waiting.producer, waiting.offset.next());
        let (name, group) = self.existing_or_new(group);
        group.stage(Staged { producer, partition, committed: Committed::of(&value), end });
        self.staging.lock().entry(producer).or_default().insert(name);
    }
}

impl MarkerFollower for OffsetStore {
    fn marked(&self, partition: &Partition, producer: ProducerId, kind: MarkerKind) {
        if **partition.topic_name() != *OFFSETS_TOPIC {
            return;
        }
        let groups = self.staging.lock().get(&producer).cloned().unwrap_or_default();
        for name in groups {
            let lies_here = self.partition_of(&name).is_ok_and(|id| id == partition.id());
            let Some(group) = self.existing(&name).filter(|_| lies_here) else { continue };
            {
                let _turn = group.turn.lock();
                let staged = group.take_staged(producer);
                if kind == MarkerKind::Commit && !staged.is_empty() {
                    self.coordinator().counters().commits.add(1);
                    for staged in staged {
                        let offset = staged.committed.offset();
                        staged.partition.hold_for_group(&name, offset);
                        group.take_in(staged);
                    }
                }
                let mut staging = self.staging.lock();
                if let Some(groups) = staging.get_mut(&producer) {
                    groups.remove(&name);
                    if groups.is_empty() {
                        staging.remove(&producer);
                    }
                }
            }
            self.prune(&name, group);
        }
        self.decided.notify();
    }
}
