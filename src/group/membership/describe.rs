//! A group as it is shown: a snapshot of everything, and what it has counted.
//!
//! The phases are those of Kafka's consumer groups: empty, assigning (a rebalance is due),
//! reconciling (partitions are on their way), stable.
//!
//! Called by the store's admin side through the coordinator.

use std::sync::Arc;

use super::rebalance::Fallback;
use super::state::{GroupState, Presence};
use super::topics::Interest;
use crate::group::identity::{MemberId, TopicPartition};
use crate::ids::Generation;

/// What a group has seen since its state was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupCounters {
    pub(crate) joined: u64,
    pub(crate) left: u64,
    pub(crate) expelled: u64,
    /// Plans installed.
    pub(crate) rebalances: u64,
    /// Plans that came too late.
    pub(crate) stale: u64,
    /// Plans installed that the sticky assignor made in place of the group's own.
    pub(crate) fallbacks: u64,
    /// Partitions given up by members that stayed.
    pub(crate) released: u64,
    /// Partitions taken.
    pub(crate) acquired: u64,
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has no members.
    Empty,
    /// A rebalance is due.
    Assigning,
    /// The target is up to date, and some partitions are not with their target yet.
    Reconciling,
    /// Everything is where it is to be.
    Stable,
}

/// A group at one moment.
#[derive(Clone, Debug)]
pub(crate) struct GroupSnapshot {
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests compare it"))]
    pub(crate) generation: Generation,
    pub(crate) phase: Phase,
    /// What its members divide by; `None` while there are none.
    pub(crate) assignor: Option<Arc<str>>,
    /// Why the sticky assignor made this generation's target instead.
    pub(crate) fallback: Option<Fallback>,
    /// In order of joining.
    pub(crate) members: Vec<MemberSnapshot>,
    pub(crate) counters: GroupCounters,
}

/// A member at one moment; partitions are in order.
#[derive(Clone, Debug)]
pub(crate) struct MemberSnapshot {
    pub(crate) id: MemberId,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) interest: Arc<Interest>,
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests compare it"))]
    pub(crate) presence: Presence,
    pub(crate) owned: Vec<TopicPartition>,
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests compare it"))]
    pub(crate) target: Vec<TopicPartition>,
}

impl GroupState {
    #[cfg(test)]
    pub(crate) fn counters(&self) -> GroupCounters {
        self.counters
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.is_empty() {
            Phase::Empty
        } else if self.is_due() {
            Phase::Assigning
        } else if self.places.unsettled() > 0 {
            Phase::Reconciling
        } else {
            Phase::Stable
        }
    }

    /// Everything there is to show.
    pub(crate) fn describe(&self) -> GroupSnapshot {
        let members = self.members.iter().map(|(id, member)| MemberSnapshot {
            id: *id,
            instance: member.instance.clone(),
            interest: member.interest.clone(),
            presence: member.presence,
            owned: self.places.named(&member.owned),
            target: self.places.named(&member.target),
        });
        GroupSnapshot {
            generation: self.generation,
            phase: self.phase(),
            assignor: self.assignor.clone(),
            fallback: self.fallback.clone(),
            members: members.collect(),
            counters: self.counters,
        }
    }
}
