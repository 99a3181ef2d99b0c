//! What a partition must keep although its retention would let it go: holds by name, which are
//! absolute, and holds of groups, which have a cap.
//!
//! Numbers only; why somebody needs the records is not known here. A hold of a group that its cap
//! overrode is counted each time, and logged once until the group has caught up again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::partition::Partition;
use crate::config::HoldCap;
use crate::ids::{Offset, PartitionId};
use crate::log::CappedHold;

/// The holds of one partition.
#[derive(Debug, Default)]
pub(super) struct Holds {
    pub(super) named: BTreeMap<String, Offset>,
    pub(super) groups: BTreeMap<Arc<str>, GroupHold>,
}

impl Partition {
    /// Keeps everything from `offset` on from being removed, under `name`, until it is released.
    pub(crate) fn hold(&self, name: &str, offset: Offset) {
        self.holds.lock().named.insert(name.to_owned(), offset);
    }

    /// Lets go of the hold under `name`.
    pub(crate) fn release(&self, name: &str) {
        self.holds.lock().named.remove(name);
    }

    /// Keeps what lies at or above a group's committed offset, if the topic asks for it, as far as
    /// it does. Costs a look at the configuration where it does not.
    pub(crate) fn hold_for_group(&self, group: &Arc<str>, offset: Offset) {
        self.hold_for_group_as(group, group, offset);
    }

    /// The same under another name, where the topic keeps records for `group`.
    pub(crate) fn hold_for_group_as(&self, name: &Arc<str>, group: &str, offset: Offset) {
        let Ok(log) = self.log() else { return };
        if let Some(cap) = log.hold_cap_of(group) {
            self.holds.lock().set_group(name, offset, cap);
        }
    }

    /// Lets go of a group's hold.
    pub(crate) fn end_hold_of_group(&self, group: &str) {
        self.holds.lock().groups.remove(group);
    }

    /// Lets go of the holds of all other groups.
    pub(crate) fn retain_holds_of(&self, stays: impl Fn(&str) -> bool) {
        self.holds.lock().groups.retain(|group, _| stays(group));
    }

    /// Who holds what.
    pub(crate) fn holds(&self) -> Vec<HoldState> {
        self.holds.lock().states()
    }
}

/// One group's hold.
#[derive(Clone, Debug)]
pub(super) struct GroupHold {
    offset: Offset,
    cap: HoldCap,
    /// Bytes kept for it alone or with others, as the last run of retention saw it.
    bytes: u64,
    overrides: u64,
    is_overridden: bool,
}

/// A hold as statistics show it.
#[derive(Clone, Debug)]
pub(crate) struct HoldState {
    pub(crate) holder: String,
    pub(crate) offset: Offset,
    /// Only holds of groups have one.
    pub(crate) cap: Option<HoldCap>,
    pub(crate) bytes: u64,
    pub(crate) overrides: u64,
}

impl Holds {
    /// The lowest hold by name.
    pub(super) fn lowest_named(&self) -> Option<(String, Offset)> {
        let lowest = self.named.iter().min_by_key(|(_, offset)| **offset)?;
        Some((lowest.0.clone(), *lowest.1))
    }

    /// Sets or moves a group's hold.
    pub(super) fn set_group(&mut self, group: &Arc<str>, offset: Offset, cap: HoldCap) {
        match self.groups.get_mut(group) {
            Some(hold) => (hold.offset, hold.cap) = (offset, cap),
            None => {
                let (bytes, overrides, is_overridden) = (0, 0, false);
                let hold = GroupHold { offset, cap, bytes, overrides, is_overridden };
                self.groups.insert(group.clone(), hold);
            }
        }
    }

    pub(super) fn capped(&self) -> Vec<CappedHold> {
        let of = |(group, hold): (&Arc<str>, &GroupHold)| CappedHold {
            holder: group.clone(),
            offset: hold.offset,
            cap: hold.cap,
        };
        self.groups.iter().map(of).collect()
    }

    /// What a run of retention kept for each of those holds.
    pub(super) fn note_kept(&mut self, holds: &[CappedHold], kept: &[u64]) {
        for (hold, bytes) in holds.iter().zip(kept) {
            if let Some(group) = self.groups.get_mut(&hold.holder) {
                group.bytes = *bytes;
            }
        }
    }

    /// Segments were dropped, and the log now starts at `start`.
    pub(super) fn note_dropped(&mut self, topic: &str, partition: PartitionId, start: Offset) {
        for (group, hold) in &mut self.groups {
            if hold.offset >= start {
                hold.is_overridden = false;
                continue;
            }
            hold.overrides += 1;
            if !std::mem::replace(&mut hold.is_overridden, true) {
                let (offset, cap) = (hold.offset, hold.cap);
                log::warn!(
                    "{topic}-{partition}: group `{group}` is owed the records from {offset} on; \
                     those below {start} are removed, for its hold is capped at {cap}"
                );
            }
        }
    }

    pub(super) fn states(&self) -> Vec<HoldState> {
        let named = self.named.iter().map(|(name, offset)| HoldState {
            holder: name.clone(),
            offset: *offset,
            cap: None,
            bytes: 0,
            overrides: 0,
        });
        let groups = self.groups.iter().map(|(group, hold)| HoldState {
            holder: group.to_string(),
            offset: hold.offset,
            cap: Some(hold.cap),
            bytes: hold.bytes,
            overrides: hold.overrides,
        });
        named.chain(groups).collect()
    }
}
