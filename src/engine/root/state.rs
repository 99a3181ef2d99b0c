//! What the store knows of itself: the fold over the facts of its state log.
//!
//! `apply` is pure and total: it takes any fact in any order, so that replay never fails on what a
//! checksum vouches for. A word about a topic that is not (or no longer) there changes nothing: a
//! background sync may report a recovery point after the deletion was recorded. A deleted topic's
//! id never comes back to life; a name belongs to the topic that was created last under it.
//!
//! Invariants: `names` holds exactly the live topics; a topic's `partitions` is as long as its
//! number of partitions; no id is both live and deleted; `snapshot` folds back to an equal state.
//!
//! Read by the engine's catalog and by the pure decisions next door (`last_writer`, `reconcile`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::fact::{ExportDigests, Fact};
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};

/// The store's own knowledge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootState {
    topics: BTreeMap<TopicId, TopicState>,
    names: BTreeMap<Arc<str>, TopicId>,
    deleted: BTreeMap<TopicId, String>,
    highest_epoch: Option<LeaderEpoch>,
    /// No producer id below is given out.
    producer_ids: i64,
    opening: Opening,
    /// The epoch of the last opening.
    reign: Option<LeaderEpoch>,
    /// That reign has a journal in use.
    journal: bool,
    exported: ExportDigests,
    begun: Vec<ExportDigests>,
}

/// How the last reign over the store began and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The directory was taken, no more.
    #[default]
    Never,
    /// Opened, not closed cleanly since.
    Open { boot_id: [u8; 16] },
    /// Closed cleanly.
    Clean { boot_id: [u8; 16] },
}

/// A live topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicState {
    pub(crate) id: TopicId,
    pub(crate) name: Arc<str>,
    pub(crate) config: Vec<(String, String)>,
    /// Another program made it and the host has set no policy yet.
    pub(crate) adopted: bool,
    /// Another program has written to it at some time, so that its offsets may have gaps.
    pub(crate) foreign: bool,
    pub(crate) internal: bool,
    pub(crate) partitions: Vec<PartitionState>,
}

impl TopicState {
    /// The state of one of its partitions.
    pub(crate) fn partition(&self, partition: PartitionId) -> Option<&PartitionState> {
        self.partitions.get(partition.index())
    }
}

/// What is recorded of a partition; a partition that never held anything has it all at zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) recovery_point: Offset,
    pub(crate) log_start: Offset,
    /// Compaction may have taken records below.
    pub(crate) compacted: Offset,
    /// A leader may have left out offsets below.
    pub(crate) sparse: Offset,
    /// The host leads it.
    pub(crate) host_led: bool,
    /// Where the host has set the high watermark; 0 where it does not lead.
    pub(crate) high_watermark: Offset,
    /// How far it was durable when a sync failed, until the recovery point has risen above that.
    pub(crate) sync_failed: Option<Offset>,
}

impl PartitionState {
    /// Whether anything durable was ever recorded: then its directory must exist.
    pub(crate) fn holds_something(&self) -> bool {
        self.recovery_point > Offset::ZERO || self.log_start > Offset::ZERO
    }

    /// Only a host that leads says how far.
    fn replicate_to(&mut self, offset: Offset) {
        self.high_watermark = if self.host_led { offset } else { Offset::ZERO };
    }
}

/// Reading.
impl RootState {
    /// The live topics, by id.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicState> {
        self.topics.values()
    }

    pub(crate) fn topic(&self, id: TopicId) -> Option<&TopicState> {
        self.topics.get(&id)
    }

    pub(crate) fn topic_named(&self, name: &str) -> Option<&TopicState> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    /// Topics that are deleted while their files may remain.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = (TopicId, &str)> {
        self.deleted.iter().map(|(id, name)| (*id, name.as_str()))
    }

    pub(crate) fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted.contains_key(&id)
    }

    /// Whether a deleted topic whose files may remain had this name.
    pub(crate) fn is_deleted_name(&self, name: &str) -> bool {
        self.deleted.values().any(|deleted| deleted == name)
    }

    /// The deleted topics that had this name and are not forgotten.
    pub(crate) fn deleted_of_name(&self, name: &str) -> Vec<TopicId> {
        let of_name = self.deleted.iter().filter(|(_, deleted)| *deleted == name);
        of_name.map(|(id, _)| *id).collect()
    }

    /// The highest epoch that was ever given out.
    pub(crate) fn highest_epoch(&self) -> Option<LeaderEpoch> {
        self.highest_epoch
    }

    /// The epoch of the next reign: above every one recorded and above `seen`, the highest found
    /// in the partitions.
    ///
    /// # Errors
    /// `Unsupported` when the 31 bits of an epoch are used up.
    pub(crate) fn next_epoch(&self, seen: Option<LeaderEpoch>) -> Result<LeaderEpoch> {
        let Some(highest) = self.highest_epoch.max(seen) else { return Ok(LeaderEpoch::new(0)) };
        highest.get().checked_add(1).map(LeaderEpoch::new).ok_or_else(|| {
            let text = "the leader epochs are used up: copy the records into a new store";
            Error::new("draw leader epoch", Cause::Unsupported(text.to_owned()))
        })
    }

    /// Where the producer ids begin that were never given out.
    pub(crate) fn free_producer_ids(&self) -> i64 {
        self.producer_ids
    }

    /// The epoch that the last opening drew.
    pub(crate) fn reign(&self) -> Option<LeaderEpoch> {
        self.reign
    }

    /// Whether records of that reign may lie in its journal alone.
    pub(crate) fn has_journal(&self) -> bool {
        self.journal
    }

    /// Whether the last opening was not closed cleanly.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.opening, Opening::Open { .. })
    }

    pub(crate) fn opening(&self) -> Opening {
        self.opening
    }

    /// The exports as last confirmed, and the sets begun since: each file is as in one of them.
    pub(crate) fn exported(&self) -> (&ExportDigests, &[ExportDigests]) {
        (&self.exported, &self.begun)
    }
}

/// Folding.
impl RootState {
    /// The state after these facts.
    pub(crate) fn fold<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Self {
        let mut state = RootState::default();
        facts.into_iter().for_each(|fact| state.apply(fact));
        state
    }

    /// Takes one fact in.
    pub(crate) fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Opened { leader_epoch, boot_id } => {
                self.raise_epoch(*leader_epoch);
                self.reign = Some(*leader_epoch);
                self.journal = false;
                self.opening = Opening::Open { boot_id: *boot_id };
            }
            Fact::CleanClose { digests } => {
                self.confirm_exports(digests);
                if let Opening::Open { boot_id } = self.opening {
                    self.opening = Opening::Clean { boot_id };
                    self.journal = false;
                }
            }
            Fact::ExportBegun { digests } => {
                if !self.begun.contains(digests) {
                    self.begun.push(digests.clone());
                }
            }
            Fact::Exported { digests } => self.confirm_exports(digests),
            Fact::TopicCreated { .. } => self.create(fact),
            Fact::TopicAltered { id, config } => self.change(*id, |topic| {
                topic.config.clone_from(config);
                topic.adopted = false;
            }),
            Fact::PartitionsAdded { id, total } => self.change(*id, |topic| {
                let count = topic.partitions.len().max(PartitionId::new(*total).index());
                topic.partitions.resize_with(count, PartitionState::default);
            }),
            Fact::TopicDeleted { id, name } => {
                self.remove(*id);
                self.deleted.insert(*id, name.clone());
            }
            Fact::TopicForgotten { id } => {
                self.deleted.remove(id);
            }
            Fact::RecoveryPoint { id, partition, offset } => {
                self.change_partition(*id, *partition, |state| {
                    state.recovery_point = *offset;
                    state.sync_failed = state.sync_failed.filter(|durable| durable >= offset);
                });
            }
            Fact::LogStart { id, partition, offset } => {
                self.change_partition(*id, *partition, |state| state.log_start = *offset);
            }
            Fact::Compacted { id, partition, offset } => {
                self.change_partition(*id, *partition, |state| state.compacted = *offset);
            }
            Fact::Sparse { id, partition, offset } => {
                self.change_partition(*id, *partition, |state| state.sparse = *offset);
            }
            Fact::HighWatermark { id, partition, offset } => {
                self.change_partition(*id, *partition, |state| state.replicate_to(*offset));
            }
            Fact::Leadership { id, first, end, host_led } => {
                self.lead(*id, first.index()..end.index(), *host_led);
            }
            Fact::SyncFailed { id, partition, offset } => {
                self.change_partition(*id, *partition, |state| {
                    state.sync_failed = Some(*offset).filter(|at| *at >= state.recovery_point);
                });
            }
            Fact::ProducerIds { end } => self.producer_ids = self.producer_ids.max(*end),
            Fact::JournalBegun => self.journal = self.is_open(),
            Fact::JournalEnded => self.journal = false,
            Fact::HighestEpoch { epoch } => self.raise_epoch(*epoch),
            Fact::OthersWrote { id } => self.change(*id, |topic| topic.foreign = true),
        }
    }

    fn lead(&mut self, id: TopicId, range: Range<usize>, host_led: bool) {
        self.change(id, |topic| {
            for state in topic.partitions.iter_mut().take(range.end).skip(range.start) {
                (state.host_led, state.high_watermark) = (host_led, Offset::ZERO);
            }
        });
    }

    fn raise_epoch(&mut self, epoch: LeaderEpoch) {
        self.highest_epoch = self.highest_epoch.max(Some(epoch));
    }

    fn confirm_exports(&mut self, digests: &ExportDigests) {
        self.exported.clone_from(digests);
        self.begun.clear();
    }

    fn create(&mut self, fact: &Fact) {
        let Fact::TopicCreated { id, name, config, partitions, adopted, internal } = fact else {
            return;
        };
        if self.topics.contains_key(id) || self.deleted.contains_key(id) {
            return; // said before
        }
        let name: Arc<str> = name.as_str().into();
        if let Some(&older) = self.names.get(&name) {
            self.remove(older);
            self.deleted.insert(older, name.to_string());
        }
        self.names.insert(name.clone(), *id);
        let count = PartitionId::new(*partitions).index();
        let topic = TopicState {
            id: *id,
            name,
            config: config.clone(),
            adopted: *adopted,
            foreign: *adopted,
            internal: *internal,
            partitions: vec![PartitionState::default(); count],
        };
        self.topics.insert(*id, topic);
    }

    fn remove(&mut self, id: TopicId) {
        if let Some(topic) = self.topics.remove(&id) {
            self.names.remove(&topic.name);
        }
    }

    fn change(&mut self, id: TopicId, change: impl FnOnce(&mut TopicState)) {
        if let Some(topic) = self.topics.get_mut(&id) {
            change(topic);
        }
    }

    fn change_partition(
        &mut self,
        id: TopicId,
        partition: PartitionId,
        change: impl FnOnce(&mut PartitionState),
    ) {
        self.change(id, |topic| {
            if let Some(state) = topic.partitions.get_mut(partition.index()) {
                change(state);
            }
        });
    }

    /// The shortest facts that fold to this state, for compaction.
    pub(crate) fn snapshot(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        facts.extend(self.highest_epoch.map(|epoch| Fact::HighestEpoch { epoch }));
        if self.producer_ids > 0 {
            facts.push(Fact::ProducerIds { end: self.producer_ids });
        }
        self.snapshot_opening(&mut facts);
        let begun = self.begun.iter().cloned();
        facts.extend(begun.map(|digests| Fact::ExportBegun { digests }));
        for topic in self.topics.values() {
            snapshot_topic(topic, &mut facts);
        }
        facts.extend(self.snapshot_deleted());
        facts
    }

    /// The facts of a snapshot that make its topics.
    pub(super) fn snapshot_topics(&self) -> impl Iterator<Item = Fact> {
        self.topics.values().map(created)
    }

    /// And those that tell of deleted ones whose files may remain.
    pub(super) fn snapshot_deleted(&self) -> impl Iterator<Item = Fact> {
        let deleted = self.deleted.iter();
        deleted.map(|(id, name)| Fact::TopicDeleted { id: *id, name: name.clone() })
    }

    fn snapshot_opening(&self, facts: &mut Vec<Fact>) {
        let digests = self.exported.clone();
        match (self.opening, self.reign) {
            (Opening::Open { boot_id }, Some(leader_epoch)) => {
                facts.push(Fact::Opened { leader_epoch, boot_id });
                facts.extend(self.journal.then_some(Fact::JournalBegun));
                facts.push(Fact::Exported { digests });
            }
            (Opening::Clean { boot_id }, Some(leader_epoch)) => {
                facts.push(Fact::Opened { leader_epoch, boot_id });
                facts.push(Fact::CleanClose { digests });
            }
            // whoever opened drew an epoch, so the rest is a store never opened
            _ => facts.push(Fact::Exported { digests }),
        }
    }
}

/// The fact that makes a topic as it is, but for what is known of its partitions.
fn created(topic: &TopicState) -> Fact {
    Fact::TopicCreated {
        id: topic.id,
        name: topic.name.to_string(),
        config: topic.config.clone(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
        adopted: topic.adopted,
        internal: topic.internal,
    }
}

fn snapshot_topic(topic: &TopicState, facts: &mut Vec<Fact>) {
    let id = topic.id;
    facts.push(created(topic));
    if topic.foreign && !topic.adopted {
        facts.push(Fact::OthersWrote { id });
    }
    for (first, end) in host_led(&topic.partitions) {
        facts.push(Fact::Leadership { id, first, end, host_led: true });
    }
    for (number, state) in (0u32..).zip(&topic.partitions) {
        let partition = PartitionId::new(number);
        if state.sparse > Offset::ZERO {
            facts.push(Fact::Sparse { id, partition, offset: state.sparse });
        }
        if state.high_watermark > Offset::ZERO {
            let offset = state.high_watermark;
            facts.push(Fact::HighWatermark { id, partition, offset });
        }
        if state.recovery_point > Offset::ZERO {
            let offset = state.recovery_point;
            facts.push(Fact::RecoveryPoint { id, partition, offset });
        }
        if state.log_start > Offset::ZERO {
            facts.push(Fact::LogStart { id, partition, offset: state.log_start });
        }
        if state.compacted > Offset::ZERO {
            facts.push(Fact::Compacted { id, partition, offset: state.compacted });
        }
        if let Some(offset) = state.sync_failed {
            facts.push(Fact::SyncFailed { id, partition, offset });
        }
    }
}

/// The runs of partitions that the host leads: the first of each, and one past its last.
fn host_led(partitions: &[PartitionState]) -> Vec<(PartitionId, PartitionId)> {
    let mut runs: Vec<(PartitionId, PartitionId)> = Vec::new();
    for (number, _) in (0u32..).zip(partitions).filter(|(_, state)| state.host_led) {
        let (this, next) = (PartitionId::new(number), PartitionId::new(number + 1));
        match runs.last_mut().filter(|(_, end)| *end == this) {
            Some((_, end)) => *end = next,
            None => runs.push((this, next)),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
