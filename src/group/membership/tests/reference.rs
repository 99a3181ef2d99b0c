//! The protocol once more, as plainly as it can be said: sets of pairs, looked through whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;

/// What a member wants, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wants {
    Names(BTreeSet<&'static str>),
    Prefix(&'static str),
}

impl Wants {
    fn has(&self, name: &str) -> bool {
        match self {
            Wants::Names(names) => names.contains(name),
            Wants::Prefix(prefix) => name.starts_with(prefix) && !name.starts_with("__"),
        }
    }

    pub(super) fn interest(&self) -> Interest {
        match self {
            Wants::Names(names) => Interest::Topics(names.iter().map(|n| Arc::from(*n)).collect()),
            Wants::Prefix(prefix) => Interest::Pattern(Arc::new(Prefix(prefix))),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) wants: Wants,
    pub(super) instance: Option<&'static str>,
    pub(super) interval: Duration,
    /// `None` while it polls.
    pub(super) away_since: Option<Duration>,
}

/// The group as it must be.
#[derive(Debug, Default)]
pub(super) struct Reference {
    /// As the group saw them last.
    pub(super) topics: BTreeMap<&'static str, (TopicId, u32)>,
    pub(super) members: BTreeMap<MemberId, Known>,
    pub(super) owners: BTreeMap<TopicPartition, MemberId>,
    pub(super) targets: BTreeMap<TopicPartition, MemberId>,
    pub(super) generation: i32,
    /// How often something changed that an assignor must see, and how often when it last looked.
    pub(super) changes: u64,
    pub(super) planned: u64,
}

impl Reference {
    pub(super) fn is_due(&self) -> bool {
        self.changes != self.planned && !self.members.is_empty()
    }

    pub(super) fn may_join(&self, instance: Option<&str>) -> Result<(), MemberId> {
        let holder =
            self.members.iter().find(|(_, known)| instance.is_some() && known.instance == instance);
        holder.map_or(Ok(()), |(id, _)| Err(*id))
    }

    pub(super) fn join(&mut self, id: MemberId, known: Known) {
        self.members.insert(id, known);
        self.changes += 1;
    }

    pub(super) fn remove(&mut self, id: MemberId) {
        self.members.remove(&id).unwrap();
        self.owners.retain(|_, owner| *owner != id);
        self.targets.retain(|_, target| *target != id);
    }

    /// Who is expelled at `now`.
    pub(super) fn overdue(&self, now: Duration) -> BTreeSet<MemberId> {
        let deadlines = self.members.iter().map(|(id, known)| (*id, known.deadline()));
        deadlines.filter(|(_, at)| at.is_some_and(|at| at <= now)).map(|(id, _)| id).collect()
    }

    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.members.values().filter_map(Known::deadline).min()
    }

    /// The partitions that a member subscribes to.
    pub(super) fn wanted_by(&self, known: &Known) -> BTreeSet<TopicPartition> {
        let wanted = self.topics.iter().filter(|(name, _)| known.wants.has(name));
        wanted.flat_map(|(name, (id, count))| all_of(name, *id, *count)).collect()
    }

    /// The partitions that anybody subscribes to.
    pub(super) fn wanted(&self) -> BTreeSet<TopicPartition> {
        self.members.values().flat_map(|known| self.wanted_by(known)).collect()
    }

    pub(super) fn see(&mut self, topics: &BTreeMap<&'static str, (TopicId, u32)>) {
        let before = self.wanted();
        self.topics.clone_from(topics);
        self.targets.retain(|p, _| {
            topics
                .get(p.topic())
                .is_some_and(|(id, count)| *id == p.topic_id() && p.partition().get() < *count)
        });
        // a wanted topic without partitions is not a thing
        self.changes += u64::from(before != self.wanted());
    }

    /// A new target: everything that is wanted, once, to who wants it.
    pub(super) fn install(&mut self, pairs: Vec<(MemberId, TopicPartition)>) {
        let mut targets = BTreeMap::new();
        for (member, partition) in pairs {
            let known = self.members.get(&member).expect("a target is a member's");
            assert!(self.wanted_by(known).contains(&partition), "{partition} is not wanted");
            assert_eq!(targets.insert(partition, member), None, "a partition has two targets");
        }
        assert_eq!(targets.keys().cloned().collect::<BTreeSet<_>>(), self.wanted());
        self.targets = targets;
        self.generation += 1;
        self.planned = self.changes;
    }

    pub(super) fn to_revoke(&self, member: MemberId) -> Vec<TopicPartition> {
        let moves = |(p, owner): &(&TopicPartition, &MemberId)| {
            **owner == member && self.targets.get(*p) != Some(&member)
        };
        self.owners.iter().filter(moves).map(|(p, _)| p.clone()).collect()
    }

    pub(super) fn to_acquire(&self, member: MemberId) -> Vec<TopicPartition> {
        let free = |(p, target): &(&TopicPartition, &MemberId)| {
            **target == member && !self.owners.contains_key(*p)
        };
        self.targets.iter().filter(free).map(|(p, _)| p.clone()).collect()
    }
}

impl Known {
    fn deadline(&self) -> Option<Duration> {
        self.away_since?.checked_add(self.interval)
    }
}

pub(super) fn all_of(name: &str, id: TopicId, count: u32) -> Vec<TopicPartition> {
    (0..count).map(|number| TopicPartition::new(name, id, PartitionId::new(number))).collect()
}
