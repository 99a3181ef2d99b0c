//! A group's generation, and since when it is empty: kept over a close and over a kill.
//!
//! They lie in the group's own record, as Kafka's do, without members: those live in this process
//! only. A group that had members when the process ended is, at the next open, empty since that
//! open; this is written once, so that a process that is killed again and again does not keep a
//! dead group's offsets for ever. A generation is written before anybody acts in it: none is had
//! twice, though one may be left out.
//!
//! A record of an older generation never takes the place of a newer one's, whichever thread comes
//! first. Called by the coordinator, with no lock of its own held, and by the open.

use std::sync::Arc;

use super::committed::Group;
use super::identity::Distribution;
use super::offsets::{OffsetStore, in_the_log};
use super::records::{ClassicRecord, Phase, Protocol};
use super::schema::{GroupKind, GroupValue, group_key};
use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::ids::Generation;
use crate::state_log::Change;
use crate::time::Timestamp;

impl OffsetStore {
    /// The generation a group last had, here or in Kafka; 0 for one that never had members.
    pub(crate) fn generation(&self, group: &str) -> Generation {
        let group = self.existing(group);
        group.map_or_else(Generation::default, |group| group.records.lock().generation())
    }

    /// Records a group's generation, and since when it has no members; `None` while it has some.
    /// An older generation than the recorded one changes nothing. A KIP-848 group becomes a
    /// classic one, in Kafka's order: tombstones for its records, then the classic record, in one
    /// batch. Survives the end of the process when it returns. Blocks while a commit of the group
    /// is under way; not to be called with a lock held.
    ///
    /// # Errors
    /// `Unsupported` for a share or streams group, `InvalidName`, those of an append.
    pub(crate) fn record_generation(
        &self,
        group: &Arc<str>,
        generation: Generation,
        empty_since: Option<Timestamp>,
    ) -> Result<()> {
        self.record(group, generation, empty_since, None)
    }

    /// The same for members of this process, and what their name is used for from now on. Fails as
    /// [`check_distribution`](OffsetStore::check_distribution) does.
    pub(super) fn record_members(
        &self,
        (group, distribution): (&Arc<str>, Distribution),
        generation: Generation,
        empty_since: Option<Timestamp>,
    ) -> Result<()> {
        self.record(group, generation, empty_since, Some(distribution))
    }

    fn record(
        &self,
        group: &Arc<str>,
        generation: Generation,
        empty_since: Option<Timestamp>,
        distribution: Option<Distribution>,
    ) -> Result<()> {
        const OPERATION: &str = "record generation";
        self.engine.check_open(OPERATION)?;
        let log_partition = self.partition_of(group)?;
        let (name, group) = self.existing_or_new(group);
        let _turn = group.turn.lock();
        if let Some(distribution) = distribution {
            group.check_distribution(OPERATION, &name, distribution)?;
        }
        let (newer, protocol): (Vec<Box<[u8]>>, _) = {
            let records = group.records.lock();
            check_kind(OPERATION, &name, records.kind())?;
            if records.classic.is_some() && generation < records.generation() {
                return Ok(());
            }
            let newer = records.newer.iter().map(|key| key.bytes.clone()).collect();
            let kept = if records.kind() == GroupKind::Broadcast {
                Distribution::Broadcast
            } else {
                Distribution::Divided
            };
            (newer, Protocol::of(distribution.unwrap_or(kept)))
        };
        let key = group_key(&name)?;
        let value = GroupValue::of_consumers(generation, empty_since);
        let value = GroupValue { protocol_type: protocol.name(), ..value }.encode()?;
        let mut changes: Vec<Change<'_>> =
            newer.iter().map(|key| Change { key, value: None }).collect();
        changes.push(Change { key: &key, value: Some(&value) });
        let appended = self.log.append(log_partition, &changes, Durability::Process);
        if in_the_log(&appended) {
            let phase = empty_since.map_or(Phase::Live, Phase::EmptySince);
            let record = ClassicRecord { generation, protocol, phase };
            group.records.lock().become_classic(record);
        }
        appended.map(|_| ())
    }

    /// Fails as `InvalidArgument` where a name is used for the other distribution, or, for a
    /// broadcast, for offsets of consumers without members.
    pub(super) fn check_distribution(
        &self,
        operation: &'static str,
        name: &str,
        wanted: Distribution,
    ) -> Result<()> {
        let Some(group) = self.existing(name) else { return Ok(()) };
        group.check_distribution(operation, name, wanted)
    }

    /// Groups that had members of this library have none in a process that has just begun: they
    /// are empty since now. What cannot be written is logged; the next open tries again.
    pub(super) fn end_lives_of_before(&self) {
        self.end_lives(Phase::Live);
    }

    /// The same for groups that had members of a Kafka broker: once the host says that offsets
    /// expire here, time counts for them too.
    pub(super) fn end_lives_elsewhere(&self) {
        self.end_lives(Phase::LiveElsewhere);
    }

    fn end_lives(&self, of: Phase) {
        let now = self.engine.clock().wall();
        let all: Vec<Arc<str>> = self.groups.lock().keys().cloned().collect();
        for name in all {
            let Some(group) = self.existing(&name) else { continue };
            let generation = match group.records.lock().classic.as_mut() {
                Some(it) if it.phase == of && it.protocol.is_ours() => {
                    it.phase = Phase::EmptySince(now);
                    it.generation
                }
                _ => continue,
            };
            if let Err(error) = self.record_generation(&name, generation, Some(now)) {
                log::warn!("group `{name}` is empty, which cannot be written: {error}");
            }
        }
    }
}

impl Group {
    fn check_distribution(
        &self,
        operation: &'static str,
        name: &str,
        wanted: Distribution,
    ) -> Result<()> {
        let kind = self.records.lock().kind();
        let text = match (wanted, kind) {
            (Distribution::Divided, GroupKind::Broadcast) => {
                format!("`{name}` is a broadcast consumer, not a group")
            }
            (Distribution::Divided, _) | (Distribution::Broadcast, GroupKind::Broadcast) => {
                return Ok(());
            }
            (Distribution::Broadcast, _) if self.is_unused() => return Ok(()),
            (Distribution::Broadcast, _) => {
                format!("`{name}` is a {kind} group, not a broadcast consumer")
            }
        };
        Err(Error::new(operation, Cause::InvalidArgument(text)))
    }
}

/// Groups that only Kafka can lead are left alone.
pub(super) fn check_kind(operation: &'static str, group: &str, kind: GroupKind) -> Result<()> {
    match kind {
        GroupKind::Share | GroupKind::Streams => {
            let text = format!("`{group}` is one of Kafka's {kind} groups");
            Err(Error::new(operation, Cause::Unsupported(text)))
        }
        GroupKind::Standalone | GroupKind::Classic | GroupKind::Consumer | GroupKind::Broadcast => {
            Ok(())
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
