//! The state of a group, and the comings and goings of its members.
//!
//! Invariants, asserted after every transition: an owner and a target are members; a place has one
//! owner; a member's lists say what the places say; who is polling has no deadline; a rebalance
//! that is due while somebody polls has a polling member appointed to it. `version` rises with all
//! that an assignor must see; the target was computed at `planned`.
//!
//! Called by the coordinator as the facade's head says; `reconcile`, `rebalance` and `describe`
//! next door are more of the same type.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::describe::GroupCounters;
use super::places::{Key, Place, Places};
use super::rebalance::Fallback;
use super::topics::{Interest, TopicList};
use crate::group::identity::MemberId;
use crate::ids::Generation;

/// Whether a member is in a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is in a poll, however long that waits: nothing expels it.
    Polling,
    /// It has not polled since this time of the monotonic clock.
    Away { since: Duration },
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<Arc<str>>,
    pub(super) interest: Arc<Interest>,
    pub(super) max_poll_interval: Duration,
    pub(super) presence: Presence,
    pub(super) owned: BTreeSet<Key>,
    pub(super) target: BTreeSet<Key>,
    /// Owned and not its target: to be given up.
    pub(super) surplus: BTreeSet<Key>,
    /// Its target and nobody's: to be taken.
    pub(super) claimable: BTreeSet<Key>,
}

impl Member {
    /// When it is expelled; `None` while it polls, or where that lies beyond all time.
    fn deadline(&self) -> Option<Duration> {
        match self.presence {
            Presence::Polling => None,
            Presence::Away { since } => since.checked_add(self.max_poll_interval),
        }
    }
}

/// Who wants to be a member.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    /// Never used before in this process.
    pub(crate) id: MemberId,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) interest: Interest,
    /// The name of its assignor: all members of a group name the same.
    pub(crate) assignor: Arc<str>,
    pub(crate) max_poll_interval: Duration,
}

/// Why somebody cannot join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JoinRefused {
    /// A live member has this id: ids are not used twice.
    IdInUse,
    /// This live member has the same instance id.
    InstanceInUse(MemberId),
    /// The group's members divide their partitions by this other assignor.
    OtherAssignor(Arc<str>),
}

/// The member was expelled or left, or never was: it owns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departed;

/// A group: see the facade's head for how it is driven.
#[derive(Debug)]
pub(crate) struct GroupState {
    pub(super) generation: Generation,
    pub(super) version: u64,
    /// The version the target was computed for.
    pub(super) planned: u64,
    pub(super) members: BTreeMap<MemberId, Member>,
    instances: HashMap<Arc<str>, MemberId>,
    /// Equal interests are one, with the number of members that have it.
    interests: BTreeMap<Arc<Interest>, usize>,
    /// While there are members: the assignor all of them name.
    pub(super) assignor: Option<Arc<str>>,
    pub(super) fallback: Option<Fallback>,
    pub(super) topics: Arc<TopicList>,
    pub(super) places: Places,
    polling: BTreeSet<MemberId>,
    deadlines: BTreeSet<(Duration, MemberId)>,
    /// The polling member that is to see to the rebalance that is due.
    appointed: Option<MemberId>,
    pub(super) counters: GroupCounters,
}

impl GroupState {
    /// A group without members that had reached this generation.
    pub(crate) fn new(generation: Generation, topics: Arc<TopicList>) -> Self {
        GroupState {
            generation,
            version: 0,
            planned: 0,
            members: BTreeMap::new(),
            instances: HashMap::new(),
            interests: BTreeMap::new(),
            assignor: None,
            fallback: None,
            topics,
            places: Places::default(),
            polling: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            appointed: None,
            counters: GroupCounters::default(),
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether it has no member: commits by who only assigns are refused while it has one.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn contains(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// Whether the target is older than what it was computed from.
    pub(super) fn is_due(&self) -> bool {
        self.version != self.planned && !self.members.is_empty()
    }

    /// Takes a member in, away since `now` until its first poll; returns whom to wake.
    pub(crate) fn join(
        &mut self,
        joining: Joining,
        now: Duration,
    ) -> Result<Vec<MemberId>, JoinRefused> {
        let Joining { id, instance, interest, assignor, max_poll_interval } = joining;
        if self.members.contains_key(&id) {
            return Err(JoinRefused::IdInUse);
        }
        if let Some(holder) = instance.as_ref().and_then(|instance| self.instances.get(instance)) {
            return Err(JoinRefused::InstanceInUse(*holder));
        }
        if let Some(group) = self.assignor.as_ref().filter(|group| **group != assignor) {
            return Err(JoinRefused::OtherAssignor(group.clone()));
        }
        self.assignor = Some(assignor);
        if let Some(instance) = &instance {
            self.instances.insert(instance.clone(), id);
        }
        let interest = self.share(interest);
        let member = Member {
            instance,
            interest,
            max_poll_interval,
            presence: Presence::Polling,
            owned: BTreeSet::new(),
            target: BTreeSet::new(),
            surplus: BTreeSet::new(),
            claimable: BTreeSet::new(),
        };
        self.members.insert(id, member);
        self.set_presence(id, Presence::Away { since: now });
        self.counters.joined += 1;
        Ok(self.changed(BTreeSet::new()))
    }

    /// Lets a member go at once, with all it owns; returns whom to wake.
    pub(crate) fn leave(&mut self, member: MemberId) -> Result<Vec<MemberId>, Departed> {
        let mut wake = BTreeSet::new();
        self.remove(member, &mut wake)?;
        self.counters.left += 1;
        Ok(self.changed(wake))
    }

    /// A member begins to poll: nothing expels it until [`poll_ended`](Self::poll_ended). One that
    /// comes after its deadline, but before anybody looked at the clock, is in time.
    pub(crate) fn poll_began(&mut self, member: MemberId) -> Result<(), Departed> {
        self.set_presence_of(member, Presence::Polling)?;
        if self.is_due() {
            self.appointed.get_or_insert(member); // it is about to look
        }
        self.assert_sound();
        Ok(())
    }

    /// A member's poll ends, however it ends; returns whom to wake: the next to see to a rebalance
    /// that this one leaves behind.
    pub(crate) fn poll_ended(
        &mut self,
        member: MemberId,
        now: Duration,
    ) -> Result<Vec<MemberId>, Departed> {
        self.set_presence_of(member, Presence::Away { since: now })?;
        let mut wake = BTreeSet::new();
        if self.appointed == Some(member) {
            self.appointed = None;
            self.appoint(&mut wake);
        }
        self.assert_sound();
        Ok(wake.into_iter().collect())
    }

    /// Expels everybody whose deadline has come; returns them, and whom to wake.
    pub(crate) fn expire(&mut self, now: Duration) -> (Vec<MemberId>, Vec<MemberId>) {
        let mut wake = BTreeSet::new();
        let mut expelled = Vec::new();
        while let Some((_, member)) = self.deadlines.first().filter(|(at, _)| *at <= now).copied() {
            self.remove(member, &mut wake).expect("who has a deadline is a member");
            self.counters.expelled += 1;
            expelled.push(member);
        }
        if expelled.is_empty() {
            return (expelled, Vec::new());
        }
        (expelled, self.changed(wake))
    }

    /// When [`expire`](Self::expire) has something to do next, if nobody polls or leaves before.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The catalog's count at which the topics were looked at last.
    pub(crate) fn topics_seen(&self) -> u64 {
        self.topics.count()
    }

    /// The latest look at the catalog.
    pub(crate) fn topics(&self) -> &Arc<TopicList> {
        &self.topics
    }

    /// Takes in a newer look at the catalog; an older one, or the same, changes nothing. Partitions
    /// that are gone stop being anybody's target at once: their owners have them to revoke.
    /// Returns whom to wake.
    pub(crate) fn set_topics(&mut self, topics: &Arc<TopicList>) -> Vec<MemberId> {
        if topics.count() <= self.topics.count() {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.topics, topics.clone());
        let mut wake = BTreeSet::new();
        let taken: Vec<_> = self.places.topics().map(|(id, name)| (id, name.clone())).collect();
        for (id, name) in taken {
            let left = topics.get(&name).filter(|known| known.id == id);
            for key in self.places.targeted_from(id, left.map_or(0, |known| known.partitions)) {
                let next = Place { target: None, ..self.places.get(key) };
                self.places.update(&mut self.members, key, next, &mut wake);
            }
        }
        let differing = topics.differing(&before);
        let wanted = |interest: &Arc<Interest>| differing.iter().any(|t| interest.wants(t));
        if self.interests.keys().any(wanted) {
            return self.changed(wake);
        }
        self.assert_sound();
        wake.into_iter().collect()
    }

    /// The assignor must look again: says who sees to it.
    fn changed(&mut self, mut wake: BTreeSet<MemberId>) -> Vec<MemberId> {
        self.version += 1;
        self.appoint(&mut wake);
        self.assert_sound();
        wake.into_iter().collect()
    }

    /// Sees that a rebalance that is due has somebody awake to see to it, if anybody polls.
    fn appoint(&mut self, wake: &mut BTreeSet<MemberId>) {
        if self.is_due() {
            self.appointed = self.appointed.or_else(|| self.polling.first().copied());
            wake.extend(self.appointed);
        }
    }

    /// Who is to see to the rebalance that is due.
    pub(crate) fn appointed(&self) -> Option<MemberId> {
        self.appointed
    }

    /// The target is up to date: nobody has to see to it.
    pub(super) fn discharge(&mut self) {
        self.appointed = None;
    }

    fn set_presence_of(&mut self, member: MemberId, presence: Presence) -> Result<(), Departed> {
        if !self.members.contains_key(&member) {
            return Err(Departed);
        }
        self.set_presence(member, presence);
        Ok(())
    }

    fn set_presence(&mut self, id: MemberId, presence: Presence) {
        let member = self.members.get_mut(&id).expect("the caller has seen it");
        if let Some(deadline) = member.deadline() {
            self.deadlines.remove(&(deadline, id));
        }
        member.presence = presence;
        match presence {
            Presence::Polling => self.polling.insert(id),
            Presence::Away { .. } => self.polling.remove(&id),
        };
        if let Some(deadline) = member.deadline() {
            self.deadlines.insert((deadline, id));
        }
    }

    /// Takes a member out: what it owned is free, what was to be its has no target.
    fn remove(&mut self, id: MemberId, wake: &mut BTreeSet<MemberId>) -> Result<(), Departed> {
        self.set_presence_of(id, Presence::Polling)?; // takes its deadline away
        let member = self.members.get(&id).expect("seen above");
        let keys: Vec<Key> = member.owned.union(&member.target).copied().collect();
        for key in keys {
            let place = self.places.get(key);
            let stays = |holder: &MemberId| *holder != id;
            let next =
                Place { owner: place.owner.filter(stays), target: place.target.filter(stays) };
            self.places.update(&mut self.members, key, next, wake);
        }
        let member = self.members.remove(&id).expect("seen above");
        self.polling.remove(&id);
        self.unshare(&member.interest);
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        self.appointed = self.appointed.filter(|appointed| *appointed != id);
        wake.remove(&id);
        if self.members.is_empty() {
            self.assignor = None;
            self.fallback = None;
        }
        Ok(())
    }

    fn share(&mut self, interest: Interest) -> Arc<Interest> {
        let interest = Arc::new(interest);
        let known = self.interests.get_key_value(&interest).map(|(known, _)| known.clone());
        let interest = known.unwrap_or(interest);
        *self.interests.entry(interest.clone()).or_insert(0) += 1;
        interest
    }

    fn unshare(&mut self, interest: &Arc<Interest>) {
        if let Some(count) = self.interests.get_mut(interest) {
            *count -= 1;
            if *count == 0 {
                self.interests.remove(interest);
            }
        }
    }

    /// In builds with assertions: the whole state while it is small, else what changed has been
    /// asserted on the way.
    pub(super) fn assert_sound(&self) {
        #[cfg(debug_assertions)]
        if let Err(what) = self.check_small() {
            panic!("{what}: {self:?}");
        }
    }

    #[cfg(debug_assertions)]
    fn check_small(&self) -> Result<(), String> {
        /// Above it a check of everything would make every transition cost the whole group.
        const SMALL: usize = 64;
        if self.members.len() + self.places.iter().take(SMALL).count() >= SMALL {
            return Ok(());
        }
        self.check()
    }

    /// What must hold of the state between two transitions.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self) -> Result<(), String> {
        let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let mut listed = (0, 0);
        for (id, member) in &self.members {
            let is_polling = member.presence == Presence::Polling;
            ensure(is_polling == self.polling.contains(id), "who polls is listed")?;
            let timed = member.deadline().is_none_or(|at| self.deadlines.contains(&(at, *id)));
            ensure(timed, "who is away has a deadline")?;
            listed = (listed.0 + member.owned.len(), listed.1 + member.target.len());
            let owned = |key: &Key| self.places.get(*key).owner == Some(*id);
            let target = |key: &Key| self.places.get(*key).target == Some(*id);
            ensure(member.owned.iter().all(owned), "what is listed as owned is")?;
            ensure(member.target.iter().all(target), "what is listed as a target is")?;
            let surplus = member.owned.difference(&member.target);
            ensure(surplus.eq(member.surplus.iter()), "the surplus is owned and no target")?;
            let free = |key: &&Key| self.places.get(**key).owner.is_none();
            let claimable = member.target.iter().filter(free);
            ensure(claimable.eq(member.claimable.iter()), "what can be claimed is free")?;
            let named = self.places.named(&member.target);
            let wanted = named.iter().all(|partition| {
                let known = self.topics.get(partition.topic());
                known.is_some_and(|t| t.id == partition.topic_id() && member.interest.wants(t))
            });
            ensure(wanted, "targets are of topics that are there and subscribed to")?;
        }
        let owners = self.places.iter().filter(|(_, place)| place.owner.is_some()).count();
        let targets = self.places.iter().filter(|(_, place)| place.target.is_some()).count();
        ensure(listed == (owners, targets), "owners and targets are members")?;
        let away = self.members.len() - self.polling.len();
        ensure(self.deadlines.len() <= away, "who polls has no deadline")?;
        let appointed = self.appointed.is_some_and(|member| self.polling.contains(&member));
        let needed = self.is_due() && !self.polling.is_empty();
        ensure(appointed == needed, "a due rebalance has a polling member appointed to it")?;
        ensure(self.interests.values().sum::<usize>() == self.members.len(), "interests count")
    }
}
