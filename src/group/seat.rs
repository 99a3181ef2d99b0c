//! A seat in a group: one consumer's place, and what it does from there.
//!
//! A [`Seat`] brings the clock, the catalog and its assignor to the group's live state, in the
//! order in which a member's polls need it. A member that was expelled takes its seat again as
//! another member. [`Committer`] says what somebody must be to commit.
//!
//! Callers: `consumer`, which drives a seat from its polls; `offsets`, in a commit's turn.

use std::sync::Arc;
use std::time::Duration;

use super::assign::Assignor;
use super::committed::Commit;
use super::coordinator::Group;
use super::identity::{Distribution, MemberId, TopicPartition};
use super::live::{Began, Changed, Next, Planned};
use super::membership::{Departed, Fenced, Interest, JoinRefused, Joining};
use super::offsets::OffsetStore;
use crate::error::{Cause, Error, Result};
use crate::ids::{Generation, Offset, PartitionId, TopicId};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::wait::Signal;

/// What a consumer brings when it joins.
#[derive(Clone)]
pub(crate) struct JoinRequest {
    pub(crate) interest: Interest,
    pub(crate) assignor: Arc<dyn Assignor>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) max_poll_interval: Duration,
    pub(crate) distribution: Distribution,
}

/// What a member is to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// It was expelled: it owns nothing, and may take its seat again.
    Lost,
    /// Give these up: they are the member's until it releases them.
    Revoke(Vec<TopicPartition>),
    /// These are its own from now on.
    Acquired(Vec<TopicPartition>),
    /// Nothing, until it is woken; all it owns is its own in this generation.
    Settled(Generation),
}

/// One consumer's place in a group.
pub(crate) struct Seat {
    offsets: Arc<OffsetStore>,
    group: Arc<Group>,
    request: JoinRequest,
    /// The member that sits here now.
    member: AtomicU64,
    signal: Arc<Signal>,
}

/// Who commits: what it must be to do so.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Committer<'a> {
    /// A live member, for partitions that no other one owns.
    Member(&'a Seat),
    /// Somebody without a seat: only while the group has no members.
    Outsider,
}

impl OffsetStore {
    /// Takes a seat in a group and joins it.
    ///
    /// # Errors
    /// `InvalidArgument` for an assignor other than the group's, `Locked` for an instance id that
    /// a live member has.
    pub(crate) fn join(
        self: &Arc<Self>,
        group: &Arc<str>,
        request: JoinRequest,
    ) -> Result<Arc<Seat>> {
        self.engine.check_open("join group")?;
        self.check_distribution("join group", group, request.distribution)?;
        let seat = Seat {
            offsets: self.clone(),
            group: self.coordinator().take_seat(self, group, request.distribution)?,
            request,
            member: AtomicU64::new(0),
            signal: Arc::new(Signal::new()),
        };
        seat.sit_down(false)?;
        Ok(Arc::new(seat))
    }
}

impl Seat {
    /// Announced whenever the group wants something done.
    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    pub(crate) fn group(&self) -> &Arc<str> {
        &self.group.name
    }

    /// The member that sits here now; after it was expelled, the one that did.
    pub(crate) fn id(&self) -> MemberId {
        MemberId::new(self.member.load(Ordering::Acquire))
    }

    fn now(&self) -> Duration {
        self.offsets.engine.clock().monotonic()
    }

    fn follow_up<T>(&self, changed: Changed<T>) -> T {
        self.group.follow_up(&self.offsets, changed)
    }

    fn sit_down(&self, is_polling: bool) -> Result<()> {
        let id = self.offsets.coordinator().next_member();
        let now = self.now();
        let request = &self.request;
        let assignor = request.assignor.name(); // the host's code
        let joining = Joining {
            id,
            instance: request.instance_id.clone(),
            interest: request.interest.clone(),
            assignor: Arc::from(assignor),
            max_poll_interval: request.max_poll_interval,
        };
        self.take_in_topics();
        let joined = self.group.live.join(joining, &self.signal, now, is_polling);
        let group = &self.group.name;
        match self.follow_up(joined) {
            Ok(()) => {
                self.member.store(id.get(), Ordering::Release);
                Ok(())
            }
            Err(JoinRefused::InstanceInUse(holder)) => {
                let instance = request.instance_id.as_deref().unwrap_or_default();
                let text = format!("{holder} of group `{group}` has the instance id `{instance}`");
                Err(Error::new("join group", Cause::Locked(text)))
            }
            Err(JoinRefused::OtherAssignor(other)) => {
                let text = format!(
                    "group `{group}` divides its partitions by `{other}`, not by `{assignor}`"
                );
                Err(Error::new("join group", Cause::InvalidArgument(text)))
            }
            Err(JoinRefused::IdInUse) => {
                let text = format!("{id} is a member of group `{group}` already");
                Err(Error::new("join group", Cause::InvalidArgument(text)))
            }
        }
    }

    /// Joins again, as another member, within a poll.
    pub(crate) fn rejoin(&self) -> Result<()> {
        self.offsets.engine.check_open("join group")?;
        self.sit_down(true)
    }

    /// Leaves at once. In a forked child, whose locks may be held by nobody, nothing is done.
    pub(crate) fn leave(&self) {
        if self.offsets.engine.gate().is_forked_child() {
            return;
        }
        let left = self.group.live.leave(self.id());
        self.follow_up(left);
    }

    pub(crate) fn poll_began(&self) -> Began {
        let began = self.group.live.poll_began(self.id(), self.now());
        self.follow_up(began)
    }

    pub(crate) fn poll_ended(&self) {
        let ended = self.group.live.poll_ended(self.id(), self.now());
        self.follow_up(ended);
    }

    /// The poll waits as a task, which may never be driven again.
    pub(crate) fn task_waits(&self) {
        let interval = self.request.max_poll_interval;
        let waits = self.group.live.task_waits(self.id(), interval, self.now());
        self.follow_up(waits);
    }

    fn take_in_topics(&self) {
        let topics = self.offsets.coordinator().topics(&self.offsets.engine);
        if self.group.live.topics_seen() < topics.count() {
            let taken = self.group.live.set_topics(&topics);
            self.follow_up(taken);
        }
    }

    /// Divides what nobody has among those who want it, for a member that has just joined. Where
    /// all it wants is somebody's, the plan is left to the next poll, its own or another's: many
    /// that join in a row cost one plan.
    ///
    /// # Errors
    /// What keeps a new generation from being recorded.
    pub(crate) fn plan_if_vacant(&self) -> Result<()> {
        self.take_in_topics();
        if self.group.live.has_vacancy(self.id()) { self.plan() } else { Ok(()) }
    }

    /// What the member is to do next, of what is planned already.
    pub(crate) fn planned_step(&self) -> Step {
        match self.group.live.next(self.id()) {
            Err(Departed) => Step::Lost,
            Ok(Next::Revoke(partitions)) => Step::Revoke(partitions),
            Ok(Next::Acquired(partitions)) => Step::Acquired(partitions),
            Ok(Next::Settled(generation)) => Step::Settled(generation),
        }
    }

    /// What is to be done next. Plans anew what is due, with the member's assignor.
    ///
    /// # Errors
    /// What keeps a new generation from being recorded.
    pub(crate) fn next_step(&self) -> Result<Step> {
        self.take_in_topics();
        self.plan()?;
        Ok(self.planned_step())
    }

    /// Divides the partitions anew if that is due and nobody is at it. The new generation is in the
    /// log before anybody acts in it, so that it is never had twice, whatever ends the process.
    fn plan(&self) -> Result<()> {
        /// Others may plan again, even if this one comes to an end in between.
        struct Planning<'a>(&'a Seat);
        impl Drop for Planning<'_> {
            fn drop(&mut self) {
                self.0.follow_up(self.0.group.live.give_up_plan());
            }
        }
        let (live, group) = (&self.group.live, &self.group.name);
        let Some(mut rebalance) = live.begin_plan() else { return Ok(()) };
        let planning = Planning(self);
        let generation = live.generation().next(); // as long as this plans, nobody else does
        let members = (group, self.group.distribution);
        self.offsets.record_members(members, generation, None)?;
        loop {
            let plan = rebalance.plan(&*self.request.assignor);
            let fallback = plan.fallback().map(ToString::to_string);
            match self.follow_up(live.finish_plan(plan)) {
                Planned::Again(next) => rebalance = next,
                Planned::Idle(left_out) => {
                    std::mem::forget(planning);
                    self.group.note_empty(&self.offsets, left_out);
                    return Ok(());
                }
                Planned::Installed(installed) => {
                    std::mem::forget(planning);
                    debug_assert_eq!(installed, generation);
                    if let Some(why) = fallback {
                        log::warn!("group `{group}` is divided by the sticky assignor: {why}");
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Gives partitions up.
    pub(crate) fn release(&self, partitions: &[TopicPartition]) {
        let released = self.group.live.release(self.id(), partitions);
        self.follow_up(released);
    }

    /// Whether a partition has come since the group's first member joined.
    pub(crate) fn is_new(&self, partition: &TopicPartition) -> bool {
        self.group.live.is_new(partition)
    }

    /// Where the group has begun to read a partition that nobody has committed for.
    pub(crate) fn start_of(&self, topic: TopicId, partition: PartitionId) -> Option<Offset> {
        self.group.live.start_of(topic, partition)
    }

    pub(crate) fn note_start(&self, topic: TopicId, partition: PartitionId, offset: Offset) {
        self.group.live.note_start(topic, partition, offset);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.offsets.engine.gate().is_forked_child() {
            self.offsets.coordinator().leave_seat(&self.group.name);
        }
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("group", &self.group.name).field("member", &self.id()).finish()
    }
}

impl Committer<'_> {
    /// Has it expelled first if its time is over; called before the commit's turn.
    pub(super) fn look_before_the_turn(
        self,
        offsets: &OffsetStore,
        group_name: &str,
    ) -> Result<()> {
        let group = match self {
            Committer::Member(seat) => Some(seat.group.clone()),
            Committer::Outsider => offsets.coordinator().group(group_name),
        };
        if let Some(group) = group {
            let expired = group.live.expire(offsets.engine.clock().monotonic());
            group.follow_up(offsets, expired);
        }
        match self {
            Committer::Member(_) => Ok(()),
            Committer::Outsider => {
                offsets.check_distribution("commit", group_name, Distribution::Divided)
            }
        }
    }

    /// Whether it may commit; called under the commit's turn.
    pub(super) fn check(
        self,
        offsets: &OffsetStore,
        group: &str,
        commits: &[Commit<'_>],
    ) -> Result<()> {
        let fenced = |text: String| Error::new("commit", Cause::Fenced(text));
        match self {
            Committer::Outsider if offsets.coordinator().has_members(group) => {
                let text =
                    format!("group `{group}` has members, and this consumer is none of them");
                Err(fenced(text))
            }
            Committer::Outsider => Ok(()),
            Committer::Member(seat) => {
                let member = seat.id();
                let named = |commit: &Commit<'_>| {
                    let partition = commit.partition;
                    let name = partition.topic_name().clone();
                    TopicPartition::new(name, partition.topic_id(), partition.id())
                };
                let partitions: Vec<TopicPartition> = commits.iter().map(named).collect();
                match seat.group.live.may_commit(member, &partitions) {
                    Ok(_) => Ok(()),
                    Err(Fenced::Departed) => {
                        let text = format!("{member} is no member of group `{group}` any more");
                        Err(fenced(text))
                    }
                    Err(Fenced::OwnedByAnother(partition, owner)) => {
                        let text = format!("{owner} of group `{group}` has it, not {member}");
                        let (topic, id) = (partition.topic_name(), partition.partition());
                        Err(fenced(text).at_partition(topic, id))
                    }
                }
            }
        }
    }
}
