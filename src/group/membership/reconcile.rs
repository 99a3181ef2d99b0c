//! The hand-over of partitions, one owner at a time.
//!
//! Invariants: a partition passes from one member to another only by being given up (released, or
//! its owner's departure) and then taken; only its target takes it; what stays with its owner is
//! not touched. Whoever waits for a partition is woken when it is free.
//!
//! Called by a member from its own poll, and by commits; [`install`](GroupState::install) by
//! whoever made the plan.

use std::collections::{BTreeSet, HashSet};

use super::places::{Key, Place, key_of};
use super::rebalance::Plan;
use super::state::{Departed, GroupState, Member};
use crate::group::identity::{MemberId, TopicPartition};
use crate::ids::{Generation, PartitionId};

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// It is the target now.
    At {
        generation: Generation,
        /// The members that have something to give up or to take.
        wake: Vec<MemberId>,
    },
    /// Something has changed since the snapshot was taken: nothing was installed, take another.
    Stale,
}

/// Why a commit is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fenced {
    /// The member was expelled or left.
    Departed,
    /// Another member owns this partition.
    OwnedByAnother(TopicPartition, MemberId),
}

impl GroupState {
    /// Makes a plan the target, if nothing has changed since its snapshot was taken.
    pub(crate) fn install(&mut self, plan: Plan) -> Installed {
        if plan.version != self.version || !self.is_due() {
            self.counters.stale += 1;
            return Installed::Stale;
        }
        let mut wake = BTreeSet::new();
        let planned: HashSet<Key> =
            plan.assignment.iter().flat_map(|(_, given)| given).map(key_of).collect();
        let targets = self.members.values().flat_map(|member| &member.target);
        let dropped: Vec<Key> = targets.filter(|key| !planned.contains(*key)).copied().collect();
        for key in dropped {
            let next = Place { target: None, ..self.places.get(key) };
            self.places.update(&mut self.members, key, next, &mut wake);
        }
        for (member, given) in plan.assignment.iter() {
            for partition in given {
                let key = key_of(partition);
                let next = Place { target: Some(member), ..self.places.get(key) };
                let name = partition.topic_name();
                self.places.set(&mut self.members, name, key, next, &mut wake);
            }
        }
        self.planned = self.version;
        self.generation = self.generation.next();
        self.counters.rebalances += 1;
        self.counters.fallbacks += u64::from(plan.fallback.is_some());
        self.fallback = plan.fallback;
        self.discharge();
        self.assert_sound();
        Installed::At { generation: self.generation, wake: wake.into_iter().collect() }
    }

    /// Leaves a generation out: it is in the log, and nobody is left to have it.
    pub(crate) fn skip_generation(&mut self) {
        self.generation = self.generation.next();
    }

    /// What a member owns and is to give up, in order: it is the member's until it calls
    /// [`release`](Self::release).
    pub(crate) fn to_revoke(&self, member: MemberId) -> Result<Vec<TopicPartition>, Departed> {
        let member = self.members.get(&member).ok_or(Departed)?;
        Ok(self.places.named(&member.surplus))
    }

    /// Whether a member that looks finds something to plan, to give up or to take.
    pub(crate) fn has_work(&self, member: MemberId) -> bool {
        let waits = |member: &Member| !member.surplus.is_empty() || !member.claimable.is_empty();
        self.is_due() || self.members.get(&member).is_some_and(waits)
    }

    /// Whether a plan made now would give a member something that nobody has or is to have.
    pub(crate) fn has_vacancy(&self, member: MemberId) -> bool {
        let Some(member) = self.members.get(&member) else { return false };
        let wanted = member.interest.resolve(&self.topics);
        let mut topics = wanted.iter().map(|at| &self.topics.topics()[*at]);
        topics.any(|topic| self.places.taken(topic.id) < PartitionId::new(topic.partitions).index())
    }

    /// Gives partitions up; what the member does not own is passed over. Returns whom to wake: who
    /// waits for them, which is the member itself for one that has become its target again.
    pub(crate) fn release<'a>(
        &mut self,
        member: MemberId,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<Vec<MemberId>, Departed> {
        if !self.contains(member) {
            return Err(Departed);
        }
        let mut wake = BTreeSet::new();
        for key in partitions.into_iter().map(key_of) {
            let place = self.places.get(key);
            if place.owner == Some(member) {
                let next = Place { owner: None, ..place };
                self.places.update(&mut self.members, key, next, &mut wake);
                self.counters.released += 1;
            }
        }
        self.assert_sound();
        Ok(wake.into_iter().collect())
    }

    /// Takes all that is the member's target and free, in order; it owns them from here on.
    pub(crate) fn acquire(&mut self, member: MemberId) -> Result<Vec<TopicPartition>, Departed> {
        let claimable = &self.members.get(&member).ok_or(Departed)?.claimable;
        if claimable.is_empty() {
            return Ok(Vec::new());
        }
        let taken: Vec<Key> = claimable.iter().copied().collect();
        for key in &taken {
            let next = Place { owner: Some(member), target: Some(member) };
            self.places.update(&mut self.members, *key, next, &mut BTreeSet::new());
        }
        self.counters.acquired += u64::try_from(taken.len()).unwrap_or(u64::MAX);
        self.assert_sound();
        Ok(self.places.named(&taken))
    }

    /// Who may read a partition now.
    pub(crate) fn owner_of(&self, partition: &TopicPartition) -> Option<MemberId> {
        self.places.get(key_of(partition)).owner
    }

    /// Whether a member may commit offsets of these partitions: it is live, and none of them has
    /// another owner. One on its way between two owners may still be committed by any member.
    pub(crate) fn may_commit<'a>(
        &self,
        member: MemberId,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<Generation, Fenced> {
        if !self.contains(member) {
            return Err(Fenced::Departed);
        }
        for partition in partitions {
            if let Some(owner) = self.owner_of(partition).filter(|owner| *owner != member) {
                return Err(Fenced::OwnedByAnother(partition.clone(), owner));
            }
        }
        Ok(self.generation)
    }
}
