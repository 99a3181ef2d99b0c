//! The coordinator: the live groups of a store, and the seats of their members.
//!
//! One per store, shared by all its consumers. It brings to a [`LiveGroup`] what that has not of
//! its own: the clock and the timers, the catalog, the log that keeps generations, and the
//! members' assignors. A [`Seat`] is one consumer's place; a member that was expelled takes its
//! seat again as another member. A group is kept here while anybody has a seat; what outlives that
//! is its generation, in the log.
//!
//! Locks: the table of groups, then a group's; a commit's turn is taken before both. None is held
//! when assignors, clocks, wakers or files are at work.
//!
//! Callers: `consumer`, which drives a seat from its polls; `offsets`, which asks who may commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::assign::Assignor;
use super::committed::Commit;
use super::identity::{MemberId, TopicPartition};
use super::live::{Began, Changed, LiveGroup, Planned};
use super::membership::{
    Departed, Fenced, GroupSnapshot, Interest, JoinRefused, Joining, KnownTopic, TopicList,
    Visibility,
};
use super::offsets::OffsetStore;
use crate::engine::{Due, Engine, Topic};
use crate::error::{Cause, Error, Result};
use crate::ids::Generation;
use crate::ids::{Offset, PartitionId, TopicId};
use crate::stats::Counter;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::wait::Signal;

/// The live groups of one store, and what all its readers count together.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    groups: Mutex<BTreeMap<Arc<str>, Held>>,
    /// The catalog as it was looked at last, for all groups.
    topics: Mutex<Arc<TopicList>>,
    members: AtomicU64,
    counters: ReadCounters,
}

#[derive(Debug)]
struct Held {
    group: Arc<Group>,
    seats: usize,
}

/// What all readers of a store have done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    /// Calls that fetch, whatever they returned.
    pub(crate) polls: Counter,
    /// Times a reader went to sleep, or left its waker.
    pub(crate) waits: Counter,
    /// Records handed out.
    pub(crate) records: Counter,
    /// Commits that took effect.
    pub(crate) commits: Counter,
}

/// A group somebody has a seat in.
#[derive(Debug)]
struct Group {
    name: Arc<str>,
    live: LiveGroup,
    offsets: Weak<OffsetStore>,
}

/// What a consumer brings when it joins.
#[derive(Clone)]
pub(crate) struct JoinRequest {
    pub(crate) interest: Interest,
    pub(crate) assignor: Arc<dyn Assignor>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) max_poll_interval: Duration,
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
    /// Nothing, until it is woken.
    Settled,
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
    /// An operator, whose word counts.
    Operator,
}

impl Coordinator {
    pub(crate) fn counters(&self) -> &ReadCounters {
        &self.counters
    }

    /// A group as it is now; `None` if nobody has a seat in it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the store does not show groups yet"))]
    pub(crate) fn describe(&self, group: &str) -> Option<GroupSnapshot> {
        Some(self.group(group)?.live.describe())
    }

    /// Whether a group has members now.
    pub(crate) fn has_members(&self, group: &str) -> bool {
        self.group(group).is_some_and(|group| !group.live.is_empty())
    }

    fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.groups.lock().get(name).map(|held| held.group.clone())
    }

    /// The group with one seat more.
    fn take_seat(&self, offsets: &Arc<OffsetStore>, name: &Arc<str>) -> Arc<Group> {
        let topics = self.topics(&offsets.engine);
        let mut groups = self.groups.lock();
        let held = groups.entry(name.clone()).or_insert_with(|| {
            let live = LiveGroup::new(offsets.generation(name), topics);
            let offsets = Arc::downgrade(offsets);
            Held { group: Arc::new(Group { name: name.clone(), live, offsets }), seats: 0 }
        });
        held.seats += 1;
        held.group.clone()
    }

    fn leave_seat(&self, name: &str) {
        let mut groups = self.groups.lock();
        if let Some(held) = groups.get_mut(name) {
            held.seats -= 1;
            if held.seats == 0 {
                groups.remove(name);
            }
        }
    }

    /// The catalog as it is now, looked at once for all groups.
    fn topics(&self, engine: &Engine) -> Arc<TopicList> {
        // never 0, which stands for "not looked at"
        let count = engine.catalog_changes().count() + 1;
        {
            let topics = self.topics.lock();
            if topics.count() >= count {
                return topics.clone();
            }
        }
        let looked = TopicList::new(count, engine.topics().iter().map(|topic| known(topic)));
        let mut topics = self.topics.lock();
        if topics.count() < count {
            *topics = Arc::new(looked);
        }
        topics.clone()
    }
}

/// A topic as interests and assignors see it.
pub(crate) fn known(topic: &Topic) -> KnownTopic {
    let partitions = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
    let visibility = if topic.is_internal() { Visibility::Internal } else { Visibility::Public };
    KnownTopic { name: topic.name().clone(), id: topic.id(), partitions, visibility }
}

impl Group {
    /// Does what a change asks for: sets the timer, notes that nobody is left.
    fn follow_up<T>(self: &Arc<Self>, offsets: &OffsetStore, changed: Changed<T>) -> T {
        if let Some(at) = changed.alarm {
            let weak: Weak<dyn Due> = Arc::downgrade(self) as _;
            offsets.engine.timers().schedule(at, weak);
        }
        if changed.emptied {
            self.note_empty(offsets);
        }
        changed.value
    }

    /// Nobody waits for this, so a failure is only logged: the next open finds the group empty.
    fn note_empty(&self, offsets: &OffsetStore) {
        if offsets.engine.check_open("leave group").is_err() {
            return;
        }
        let since = offsets.engine.clock().wall();
        let generation = self.live.generation();
        if let Err(error) = offsets.record_generation(&self.name, generation, Some(since)) {
            log::warn!("group `{}` is empty, which cannot be written: {error}", self.name);
        }
    }
}

impl Due for Group {
    fn run(&self, now: Duration) -> Option<Duration> {
        let offsets = self.offsets.upgrade()?;
        let rung = self.live.ring(now);
        if rung.emptied {
            self.note_empty(&offsets);
        }
        rung.alarm
    }
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
        let seat = Seat {
            offsets: self.clone(),
            group: self.coordinator().take_seat(self, group),
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

    fn id(&self) -> MemberId {
        MemberId::new(self.member.load(Ordering::Acquire))
    }

    pub(crate) fn membership(&self) -> (MemberId, Generation) {
        (self.id(), self.group.live.generation())
    }

    fn now(&self) -> Duration {
        self.offsets.engine.clock().monotonic()
    }

    fn follow_up<T>(&self, changed: Changed<T>) -> T {
        self.group.follow_up(&self.offsets, changed)
    }

    fn sit_down(&self, is_polling: bool) -> Result<()> {
        let id =
            MemberId::new(self.offsets.coordinator().members.fetch_add(1, Ordering::AcqRel) + 1);
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

    /// What is to be done next. Plans anew what is due, with the member's assignor.
    ///
    /// # Errors
    /// What keeps a new generation from being recorded.
    pub(crate) fn next_step(&self) -> Result<Step> {
        self.take_in_topics();
        self.plan()?;
        let live = &self.group.live;
        match live.to_revoke(self.id()) {
            Err(Departed) => return Ok(Step::Lost),
            Ok(partitions) if !partitions.is_empty() => return Ok(Step::Revoke(partitions)),
            Ok(_) => {}
        }
        match live.acquire(self.id()) {
            Err(Departed) => Ok(Step::Lost),
            Ok(partitions) if !partitions.is_empty() => Ok(Step::Acquired(partitions)),
            Ok(_) => Ok(Step::Settled),
        }
    }

    /// Divides the partitions anew if that is due and nobody is at it.
    fn plan(&self) -> Result<()> {
        /// Others may plan again, even if this one comes to an end in between.
        struct Planning<'a>(&'a LiveGroup);
        impl Drop for Planning<'_> {
            fn drop(&mut self) {
                self.0.give_up_plan();
            }
        }
        let live = &self.group.live;
        let Some(mut rebalance) = live.begin_plan() else { return Ok(()) };
        let planning = Planning(live);
        loop {
            let plan = rebalance.plan(&*self.request.assignor);
            let fallback = plan.fallback().map(ToString::to_string);
            let finished = live.finish_plan(plan);
            match self.follow_up(finished) {
                Planned::Again(next) => rebalance = next,
                Planned::Idle => {
                    std::mem::forget(planning);
                    return Ok(());
                }
                Planned::Installed(generation) => {
                    std::mem::forget(planning);
                    if let Some(why) = fallback {
                        let group = &self.group.name;
                        log::warn!("group `{group}` is divided by the sticky assignor: {why}");
                    }
                    return self.offsets.record_generation(&self.group.name, generation, None);
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
    pub(super) fn look_at_the_clock(self, offsets: &OffsetStore, group: &str) {
        let group = match self {
            Committer::Member(seat) => Some(seat.group.clone()),
            Committer::Outsider => offsets.coordinator().group(group),
            Committer::Operator => None,
        };
        if let Some(group) = group {
            let expired = group.live.expire(offsets.engine.clock().monotonic());
            group.follow_up(offsets, expired);
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
            Committer::Operator => Ok(()),
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
