//! Each partition's place in the group: who owns it, whose it is to be.
//!
//! Owns the one table of owners and targets and the one function that changes it. Every list a
//! member has (owned, target, surplus, claimable) is a view of that table, kept by the same
//! function, so that a hand-over costs what moves and not what is assigned.
//!
//! Called by `state` and `reconcile`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::state::Member;
use crate::group::identity::{MemberId, TopicPartition};
use crate::ids::{PartitionId, TopicId};

/// A partition, by identity, without its name.
pub(super) type Key = (TopicId, PartitionId);

/// The one who may read a partition now, and the one who is to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) owner: Option<MemberId>,
    pub(super) target: Option<MemberId>,
}

impl Place {
    fn is_vacant(self) -> bool {
        self == Place::default()
    }
}

/// The partitions that have an owner or a target.
#[derive(Debug, Default)]
pub(super) struct Places {
    topics: HashMap<TopicId, TopicPlaces>,
    /// Places whose owner is not their target: 0 once everything is handed over.
    unsettled: usize,
}

#[derive(Debug)]
struct TopicPlaces {
    name: Arc<str>,
    places: Vec<Place>,
    /// How many of them are not vacant.
    taken: usize,
}

/// What a member's lists say of one partition.
pub(super) fn key_of(partition: &TopicPartition) -> Key {
    (partition.topic_id(), partition.partition())
}

impl Places {
    pub(super) fn get(&self, (topic, partition): Key) -> Place {
        let topic = self.topics.get(&topic);
        topic.and_then(|topic| topic.places.get(partition.index())).copied().unwrap_or_default()
    }

    /// How many partitions of a topic have an owner or a target.
    pub(super) fn taken(&self, topic: TopicId) -> usize {
        self.topics.get(&topic).map_or(0, |topic| topic.taken)
    }

    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Every topic that has a place taken: its id, its name.
    pub(super) fn topics(&self) -> impl Iterator<Item = (TopicId, &Arc<str>)> {
        self.topics.iter().map(|(id, topic)| (*id, &topic.name))
    }

    /// The partitions of a topic from number `first` on that are somebody's target.
    pub(super) fn targeted_from(&self, topic: TopicId, first: u32) -> Vec<Key> {
        let places = self.topics.get(&topic).map_or(&[][..], |topic| &topic.places);
        let numbered = (0..).map(PartitionId::new).zip(places);
        numbered
            .filter(|(number, place)| number.get() >= first && place.target.is_some())
            .map(|(number, _)| (topic, number))
            .collect()
    }

    /// Partitions with their topics' names, in order.
    pub(super) fn named<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> Vec<TopicPartition> {
        let named = |(topic, partition): &Key| {
            let name = &self.topics.get(topic)?.name;
            Some(TopicPartition::new(name.clone(), *topic, *partition))
        };
        let mut named: Vec<TopicPartition> = keys.into_iter().filter_map(named).collect();
        named.sort_unstable();
        named
    }

    /// The one way a place changes: `next` takes the place of what is there, and the lists of the
    /// members it names follow. Whoever then has something to give up or to take is put into
    /// `wake`. `name` is the topic's, and is kept while a place of the topic is taken.
    ///
    /// Both members that `next` names must be in `members`.
    pub(super) fn set(
        &mut self,
        members: &mut BTreeMap<MemberId, Member>,
        name: &Arc<str>,
        key: Key,
        next: Place,
        wake: &mut BTreeSet<MemberId>,
    ) {
        let before = self.get(key);
        if before == next {
            return;
        }
        self.store(name, key, before, next);
        if let Some(member) = before.owner.and_then(|owner| members.get_mut(&owner)) {
            member.owned.remove(&key);
            member.surplus.remove(&key);
        }
        if let Some(member) = before.target.and_then(|target| members.get_mut(&target)) {
            member.target.remove(&key);
            member.claimable.remove(&key);
        }
        debug_assert!(
            next.owner.is_none() || before.owner.is_none() || next.owner == before.owner,
            "{key:?} passes from {before:?} to {next:?} without being given up"
        );
        if let Some(owner) = next.owner {
            let member = members.get_mut(&owner).expect("an owner is a member");
            member.owned.insert(key);
            if next.target != Some(owner) {
                member.surplus.insert(key);
                wake.insert(owner);
            }
        }
        if let Some(target) = next.target {
            let member = members.get_mut(&target).expect("a target is a member's");
            member.target.insert(key);
            if next.owner.is_none() {
                member.claimable.insert(key);
                wake.insert(target);
            }
        }
    }

    /// [`set`](Self::set) for a place that is taken, or to be vacant.
    pub(super) fn update(
        &mut self,
        members: &mut BTreeMap<MemberId, Member>,
        key: Key,
        next: Place,
        wake: &mut BTreeSet<MemberId>,
    ) {
        if let Some(topic) = self.topics.get(&key.0) {
            let name = topic.name.clone();
            self.set(members, &name, key, next, wake);
        }
    }

    fn store(&mut self, name: &Arc<str>, key: Key, before: Place, next: Place) {
        let unsettled = |place: Place| usize::from(place.owner != place.target);
        self.unsettled = self.unsettled + unsettled(next) - unsettled(before);
        let topic = self.topics.entry(key.0).or_insert_with(|| TopicPlaces {
            name: name.clone(),
            places: Vec::new(),
            taken: 0,
        });
        let index = key.1.index();
        if topic.places.len() <= index {
            topic.places.resize(index + 1, Place::default());
        }
        topic.places[index] = next;
        topic.taken = topic.taken + usize::from(before.is_vacant()) - usize::from(next.is_vacant());
        if topic.taken == 0 {
            self.topics.remove(&key.0);
        }
    }

    /// Every place that is taken.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Place)> {
        self.topics.iter().flat_map(|(id, topic)| {
            let numbered = (0..).map(PartitionId::new).zip(topic.places.iter().copied());
            numbered
                .filter(|(_, place)| !place.is_vacant())
                .map(|(number, place)| ((*id, number), place))
        })
    }
}
