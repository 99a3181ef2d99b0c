//! A consumer as a member of its group: what it does in its own polls to follow the group.
//!
//! The group says in steps what is to be done; each is done here, in this order: what was lost is
//! dropped and the group joined anew; what is to go is shown to the listener, committed if the
//! consumer commits by itself, let go of and only then released; what has come is placed at its
//! committed offset, behind every commit that was under way when it came, and then shown.
//!
//! The listener is user code: no lock is held, and the consumer is whole before it is called and
//! put in order after it, whether it returns, fails or panics.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::handle::Consumer;
use super::rebalance::{Assigned, RebalanceListener, Revoked};
use super::subscription::Following;
use crate::error::Result;
use crate::group::{Began, Committer, MemberId, Seat, Step, TopicPartition};
use crate::ids::Generation;

type Listener = dyn RebalanceListener;

/// A consumer's place in its group.
pub(super) struct Member {
    pub(super) seat: Arc<Seat>,
    listener: Option<Box<Listener>>,
    /// In which all it owns is its own, as of its last look.
    generation: Generation,
    /// Acquired, and not shown to the listener yet.
    unannounced: BTreeSet<TopicPartition>,
}

/// Who a consumer is in its group, for what has to be tied to it; see
/// [`Consumer::membership`].
///
/// ```
/// # let store = tidelog::Store::in_memory()?;
/// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
/// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// let membership = consumer.membership().expect("it subscribes with a group");
/// println!("{} in generation {}", membership.member_id(), membership.generation());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    member: MemberId,
    generation: Generation,
}

impl Membership {
    /// The member; another one after it was expelled and has joined again.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// let first = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let second = store.consumer("billing").subscribe(["orders"]).build()?;
    /// let id = |consumer: &tidelog::Consumer| consumer.membership().unwrap().member_id();
    /// assert!(id(&first) < id(&second));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn member_id(&self) -> MemberId {
        self.member
    }

    /// The group's generation as of this member's last poll (or `build`); it rises with every new
    /// division of the partitions, and none comes twice, not even after a kill. Whoever has a
    /// partition after this member has it in a later one. So a store that keeps with each partition
    /// the generation of the last write, and refuses lower ones, is safe from members that were
    /// away and do not know yet that they were expelled.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert_eq!(consumer.membership().unwrap().generation().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn generation(&self) -> Generation {
        self.generation
    }
}

/// Marks a member as polling for as long as it lives.
pub(super) struct Polling(Option<Arc<Seat>>);

impl Drop for Polling {
    fn drop(&mut self) {
        if let Some(seat) = &self.0 {
            seat.poll_ended();
        }
    }
}

impl Member {
    pub(super) fn new(seat: Arc<Seat>, listener: Option<Box<Listener>>) -> Self {
        let generation = Generation::default();
        Member { seat, listener, generation, unannounced: BTreeSet::new() }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.seat.leave();
    }
}

impl Consumer {
    /// Who it is in its group; `None` for a reader and for a consumer that only assigns. After it
    /// was expelled, it is who it was until its next poll.
    ///
    /// ```
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// let member = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert!(member.membership().is_some());
    /// let reader = store.reader().subscribe(["orders"]).build()?;
    /// assert!(reader.membership().is_none());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn membership(&self) -> Option<Membership> {
        let Following::Group(member) = &self.following else { return None };
        Some(Membership { member: member.seat.id(), generation: member.generation })
    }

    fn member(&mut self) -> Option<&mut Member> {
        match &mut self.following {
            Following::Group(member) => Some(member),
            Following::Nothing | Following::Topics(_) => None,
        }
    }

    pub(super) fn seat(&self) -> Option<&Arc<Seat>> {
        match &self.following {
            Following::Group(member) => Some(&member.seat),
            Following::Nothing | Following::Topics(_) => None,
        }
    }

    /// As whom it commits.
    pub(super) fn committer(&self) -> Committer<'_> {
        self.seat().map_or(Committer::Outsider, |seat| Committer::Member(seat))
    }

    /// Begins a poll in the eyes of the group, which lasts until what it returns is dropped.
    pub(super) fn begin_polling(&mut self) -> Result<Polling> {
        self.give_up_waiting();
        self.be_polling()?;
        Ok(Polling(self.seat().cloned()))
    }

    /// Shows the group that the member polls; one that was expelled joins again.
    pub(super) fn be_polling(&mut self) -> Result<()> {
        let Some(seat) = self.seat().cloned() else { return Ok(()) };
        match seat.poll_began() {
            Began::Quiet(generation) => {
                self.note_generation(generation);
                return Ok(());
            }
            Began::ToLook => {}
            Began::Lost => self.rejoin(&seat)?,
        }
        self.assignment.stir();
        Ok(())
    }

    /// Drops what an expelled member held, and joins as another.
    fn rejoin(&mut self, seat: &Seat) -> Result<()> {
        let told = self.drop_all();
        self.call(&told, |listener, _, lost| listener.on_lost(lost))?;
        seat.rejoin()
    }

    /// What `build` does of [`reconcile`](Consumer::reconcile): the listener waits for a poll.
    pub(super) fn begin_membership(&mut self) -> Result<()> {
        let Some(seat) = self.seat().cloned() else { return Ok(()) };
        self.assignment.arm_changes();
        seat.plan_if_vacant()?;
        loop {
            match seat.planned_step() {
                Step::Acquired(partitions) => self.take_over(&seat, partitions)?,
                Step::Settled(generation) => {
                    self.note_generation(generation);
                    return Ok(());
                }
                Step::Revoke(_) | Step::Lost => return Ok(()), // the first poll sees to it
            }
        }
    }

    fn note_generation(&mut self, generation: Generation) {
        if let Some(member) = self.member() {
            member.generation = generation;
        }
    }

    /// Does what the group wants done, until it wants nothing more.
    pub(super) fn reconcile(&mut self) -> Result<()> {
        let Some(seat) = self.seat().cloned() else { return Ok(()) };
        loop {
            self.engine.check_open("poll")?; // a listener may have closed the store
            self.assignment.arm_changes();
            match seat.next_step()? {
                Step::Lost => self.rejoin(&seat)?,
                Step::Revoke(partitions) => self.revoke(&seat, &partitions)?,
                Step::Acquired(partitions) => self.take_over(&seat, partitions)?,
                Step::Settled(generation) => {
                    self.note_generation(generation);
                    if !self.has_unannounced() {
                        return Ok(());
                    }
                    self.announce()?;
                }
            }
        }
    }

    /// Gives partitions up: whatever the listener or a commit does, they are released.
    fn revoke(&mut self, seat: &Seat, partitions: &[TopicPartition]) -> Result<()> {
        let indexes = self.indexes_of(partitions);
        for index in &indexes {
            self.forget_fetched_of(*index); // positions are where the records returned end
        }
        let mut told = partitions.to_vec();
        if let Some(member) = self.member() {
            told.retain(|partition| !member.unannounced.remove(partition));
        }
        let committed = match self.options.auto_commit {
            Some(_) => self.commit_by_itself_of(&indexes),
            None => Ok(()),
        };
        let called = catch_unwind(AssertUnwindSafe(|| {
            self.call(&told, |listener, consumer, partitions| {
                listener.on_revoked(&mut Revoked { consumer, partitions })
            })
        }));
        self.let_go(&indexes);
        seat.release(partitions);
        committed.and(called.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Begins to read partitions that have become this member's.
    fn take_over(&mut self, seat: &Seat, partitions: Vec<TopicPartition>) -> Result<()> {
        self.offsets.wait_for_commits(seat.group());
        for partition in &partitions {
            // one that is gone meanwhile is revoked as soon as the group knows
            let Some(topic) = self.engine.topic_by_id(partition.topic_id()) else { continue };
            let Ok(found) = topic.partition(partition.partition()) else { continue };
            let index = self.assignment.add(&found, seat.is_new(partition));
            self.resolve_early(index);
        }
        if let Some(member) = self.member() {
            member.unannounced.extend(partitions);
        }
        Ok(())
    }

    fn has_unannounced(&mut self) -> bool {
        self.member().is_some_and(|member| !member.unannounced.is_empty())
    }

    fn announce(&mut self) -> Result<()> {
        let Some(member) = self.member() else { return Ok(()) };
        let told: Vec<TopicPartition> =
            std::mem::take(&mut member.unannounced).into_iter().collect();
        self.call(&told, |listener, consumer, partitions| {
            listener.on_assigned(&mut Assigned { consumer, partitions })
        })
    }

    /// Drops every partition; returns those the listener knows of.
    fn drop_all(&mut self) -> Vec<TopicPartition> {
        let (indexes, mut told): (Vec<usize>, Vec<TopicPartition>) = self
            .assignment
            .iter()
            .map(|(index, slot)| {
                let (topic, id) = (slot.partition.topic_name().clone(), slot.partition.topic_id());
                (index, TopicPartition::new(topic, id, slot.partition.id()))
            })
            .unzip();
        self.let_go(&indexes);
        if let Some(member) = self.member() {
            let unannounced = std::mem::take(&mut member.unannounced);
            told.retain(|partition| !unannounced.contains(partition));
        }
        told.sort_unstable();
        told
    }

    /// Calls the listener, if there is one and something to tell; it stays the consumer's if it
    /// panics.
    fn call(
        &mut self,
        told: &[TopicPartition],
        call: impl FnOnce(&mut Listener, &mut Consumer, &[TopicPartition]) -> Result<()>,
    ) -> Result<()> {
        if told.is_empty() {
            return Ok(());
        }
        let Some(mut listener) = self.member().and_then(|member| member.listener.take()) else {
            return Ok(());
        };
        let called = catch_unwind(AssertUnwindSafe(|| call(&mut *listener, self, told)));
        if let Some(member) = self.member() {
            member.listener = Some(listener);
        }
        called.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The slots of these very partitions.
    pub(super) fn indexes_of(&self, partitions: &[TopicPartition]) -> Vec<usize> {
        let index_of = |partition: &TopicPartition| {
            let index = self.assignment.index_of(partition.topic(), partition.partition())?;
            let slot = self.assignment.get(index)?;
            (slot.partition.topic_id() == partition.topic_id()).then_some(index)
        };
        partitions.iter().filter_map(index_of).collect()
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("seat", &self.seat).finish_non_exhaustive()
    }
}
