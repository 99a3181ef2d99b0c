//! A live group: its state behind its one lock, and the signals that wake its members.
//!
//! Every change is made under the lock, and whoever it concerns is told after the lock is let go,
//! through a signal of the member's own: wakers are user code. A member that waits arms its
//! signal, looks, and sleeps; so a hand-over (release, wake, acquire) is never slept through. One
//! member plans at a time; who comes meanwhile goes on, and is woken if the plan concerns it.
//!
//! A task that waits shows no sign of life until it is woken. So one that has waited for its whole
//! poll interval is woken and counts as away from then on: if it comes it is polling again, and if
//! nobody drives it any more it is expelled.
//!
//! Called by the coordinator, which brings time, files and assignors; loom runs this very file.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::identity::{MemberId, TopicPartition};
use super::membership::{
    Departed, Fenced, GroupSnapshot, GroupState, Installed, JoinRefused, Joining, Plan, Rebalance,
    TopicList,
};
use crate::ids::Generation;
use crate::ids::{Offset, PartitionId, TopicId};
use crate::sync::{Arc, Mutex};
use crate::wait::Signal;

/// One group with everything that is not kept on disk.
#[derive(Debug)]
pub(crate) struct LiveGroup(Mutex<Locked>);

#[derive(Debug)]
struct Locked {
    state: GroupState,
    signals: HashMap<MemberId, Arc<Signal>>,
    /// Somebody has a snapshot out and will come back with a plan.
    is_planning: bool,
    /// Tasks that wait in a poll, and when they are asked for a sign of life.
    tasks: HashMap<MemberId, Duration>,
    asks: BTreeSet<(Duration, MemberId)>,
    /// The earliest time for which the group's timer is set.
    alarm: Option<Duration>,
    /// What there was when the group's first member joined: all else is new to it.
    began_with: std::sync::Arc<TopicList>,
    /// Where a reset policy has begun to read, for whoever reads on before a commit; of topics that
    /// are there.
    starts: HashMap<(TopicId, PartitionId), Offset>,
}

/// What a change asks of the caller, who has the clock and the disk.
#[derive(Debug)]
#[must_use = "the timer is to be set and an empty group to be noted"]
pub(crate) struct Changed<T> {
    pub(crate) value: T,
    /// Set the group's timer for this time.
    pub(crate) alarm: Option<Duration>,
    /// The last member has gone, in this generation.
    pub(crate) emptied: Option<Generation>,
}

/// A member's part in what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Began {
    Lost,
    /// It is to look: something may have to be planned, given up or taken.
    ToLook,
    /// Nothing, and all it owns is its own in this generation.
    Quiet(Generation),
}

/// What a member is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Give these up: they are the member's until it releases them.
    Revoke(Vec<TopicPartition>),
    /// These have just become its own.
    Acquired(Vec<TopicPartition>),
    /// Nothing, until it is woken; all it owns is its own in this generation.
    Settled(Generation),
}

/// What became of a plan.
#[derive(Debug)]
pub(crate) enum Planned {
    Installed(Generation),
    /// Something changed meanwhile: plan on this.
    Again(Rebalance),
    /// Nobody is left to plan for. The generation that was meant, this one, is not had by anybody.
    Idle(Generation),
}

/// Whom to tell after the lock.
type Tell = Vec<Arc<Signal>>;

impl Locked {
    fn tell(&self, members: Vec<MemberId>, tell: &mut Tell) {
        tell.extend(members.iter().filter_map(|member| self.signals.get(member).cloned()));
    }

    /// Expels who was away for too long; asks tasks that have waited for as long for a sign.
    fn expire(&mut self, now: Duration, tell: &mut Tell) {
        while let Some((_, member)) = self.asks.first().filter(|(at, _)| *at <= now).copied() {
            self.forget_task(member);
            if let Ok(others) = self.state.poll_ended(member, now) {
                self.tell(others, tell);
                self.tell(vec![member], tell);
            }
        }
        let (expelled, others) = self.state.expire(now);
        self.tell(others, tell);
        for member in expelled {
            tell.extend(self.signals.remove(&member));
            self.forget_task(member);
        }
    }

    fn forget_task(&mut self, member: MemberId) {
        if let Some(at) = self.tasks.remove(&member) {
            self.asks.remove(&(at, member));
        }
    }

    /// When something is to be done next that nobody calls for.
    fn next_alarm(&self) -> Option<Duration> {
        let ask = self.asks.first().map(|(at, _)| *at);
        [ask, self.state.next_expiry()].into_iter().flatten().min()
    }
}

impl LiveGroup {
    /// A group without members; `topics` is what the catalog has.
    pub(crate) fn new(generation: Generation, topics: std::sync::Arc<TopicList>) -> Self {
        LiveGroup(Mutex::new(Locked {
            state: GroupState::new(generation, topics.clone()),
            signals: HashMap::new(),
            is_planning: false,
            tasks: HashMap::new(),
            asks: BTreeSet::new(),
            alarm: None,
            began_with: topics,
            starts: HashMap::new(),
        }))
    }

    /// The one way to change something: under the lock, and then who it concerns is told.
    fn change<T>(&self, change: impl FnOnce(&mut Locked, &mut Tell) -> T) -> Changed<T> {
        let mut tell = Tell::new();
        let changed = {
            let mut locked = self.0.lock();
            let was_empty = locked.state.is_empty();
            let value = change(&mut locked, &mut tell);
            let next = locked.next_alarm();
            let sooner = next.filter(|at| locked.alarm.is_none_or(|set| *at < set));
            locked.alarm = sooner.or(locked.alarm);
            let emptied = !was_empty && locked.state.is_empty();
            // as it is now: whoever comes next may be in another before this is noted
            let emptied = emptied.then(|| locked.state.generation());
            Changed { value, alarm: sooner, emptied }
        };
        tell.iter().for_each(|signal| signal.notify());
        changed
    }

    /// Takes a member in; it polls already if it `is_polling`.
    pub(crate) fn join(
        &self,
        joining: Joining,
        signal: &Arc<Signal>,
        now: Duration,
        is_polling: bool,
    ) -> Changed<Result<(), JoinRefused>> {
        self.change(|locked, tell| {
            locked.expire(now, tell);
            let id = joining.id;
            let was_empty = locked.state.is_empty();
            let others = locked.state.join(joining, now)?;
            if was_empty {
                locked.began_with = locked.state.topics().clone();
                locked.starts.clear();
            }
            locked.signals.insert(id, signal.clone());
            locked.tell(others, tell);
            if is_polling {
                let _ = locked.state.poll_began(id); // it has just joined
            }
            Ok(())
        })
    }

    /// Lets a member go at once.
    pub(crate) fn leave(&self, member: MemberId) -> Changed<()> {
        self.change(|locked, tell| {
            locked.signals.remove(&member);
            locked.forget_task(member);
            if let Ok(others) = locked.state.leave(member) {
                locked.tell(others, tell);
            }
        })
    }

    /// A member begins to poll, unless its time was over before.
    pub(crate) fn poll_began(&self, member: MemberId, now: Duration) -> Changed<Began> {
        self.change(|locked, tell| {
            locked.expire(now, tell);
            locked.forget_task(member);
            match locked.state.poll_began(member) {
                Err(Departed) => Began::Lost,
                Ok(()) if locked.state.has_work(member) => Began::ToLook,
                Ok(()) => Began::Quiet(locked.state.generation()),
            }
        })
    }

    pub(crate) fn poll_ended(&self, member: MemberId, now: Duration) -> Changed<()> {
        self.change(|locked, tell| {
            locked.forget_task(member);
            if let Ok(others) = locked.state.poll_ended(member, now) {
                locked.tell(others, tell);
            }
        })
    }

    /// A member's poll waits as a task: until it is seen again, its life is in doubt.
    pub(crate) fn task_waits(
        &self,
        member: MemberId,
        interval: Duration,
        now: Duration,
    ) -> Changed<()> {
        self.change(|locked, _| {
            let at = now.checked_add(interval).filter(|_| locked.state.contains(member));
            locked.forget_task(member);
            if let Some(at) = at {
                locked.tasks.insert(member, at);
                locked.asks.insert((at, member));
            }
        })
    }

    /// Does what is due at `now`.
    pub(crate) fn expire(&self, now: Duration) -> Changed<()> {
        self.change(|locked, tell| locked.expire(now, tell))
    }

    /// What the group's timer does; it is to be set again for the alarm that comes back. Of timers
    /// that were set twice only the one that is in force goes on.
    pub(crate) fn ring(&self, now: Duration) -> Changed<()> {
        self.change(|locked, tell| {
            if locked.alarm.is_none_or(|set| set <= now) {
                locked.alarm = None;
                locked.expire(now, tell);
            }
        })
    }

    pub(crate) fn topics_seen(&self) -> u64 {
        self.0.lock().state.topics_seen()
    }

    pub(crate) fn set_topics(&self, topics: &std::sync::Arc<TopicList>) -> Changed<()> {
        self.change(|locked, tell| {
            let others = locked.state.set_topics(topics);
            locked.tell(others, tell);
            if !locked.starts.is_empty() {
                let known = locked.state.topics().topics().iter().map(|topic| topic.id);
                let known: HashSet<TopicId> = known.collect();
                locked.starts.retain(|(topic, _), _| known.contains(topic));
            }
        })
    }

    /// Whether a plan made now would give a member something that is free.
    pub(crate) fn has_vacancy(&self, member: MemberId) -> bool {
        self.0.lock().state.has_vacancy(member)
    }

    /// The snapshot to plan on, if a plan is due and nobody is at it. Whoever gets one comes back
    /// with [`finish_plan`](LiveGroup::finish_plan) or [`give_up_plan`](LiveGroup::give_up_plan).
    pub(crate) fn begin_plan(&self) -> Option<Rebalance> {
        let mut locked = self.0.lock();
        if locked.is_planning {
            return None;
        }
        let rebalance = locked.state.rebalance();
        locked.is_planning = rebalance.is_some();
        rebalance
    }

    /// Puts a plan in force, in the generation behind the last one, which the caller has written
    /// to the log before: nobody acts in one that a kill could take back.
    pub(crate) fn finish_plan(&self, plan: Plan) -> Changed<Planned> {
        self.change(|locked, tell| match locked.state.install(plan) {
            Installed::At { generation, wake } => {
                locked.is_planning = false;
                locked.tell(wake, tell);
                Planned::Installed(generation)
            }
            Installed::Stale => match locked.state.rebalance() {
                Some(rebalance) => Planned::Again(rebalance),
                None => {
                    locked.is_planning = false;
                    locked.state.skip_generation(); // it is in the log
                    Planned::Idle(locked.state.generation())
                }
            },
        })
    }

    /// Calls who was to see to it, and may have gone to sleep because another was at it.
    pub(crate) fn give_up_plan(&self) -> Changed<()> {
        self.change(|locked, tell| {
            locked.is_planning = false;
            let appointed = locked.state.appointed().into_iter().collect();
            locked.tell(appointed, tell);
        })
    }

    /// What a member is to do next; what is free and meant for it is taken at once.
    ///
    /// The generation that comes back is read with the partitions: whoever has one of them after
    /// this member has it in a later one.
    pub(crate) fn next(&self, member: MemberId) -> Result<Next, Departed> {
        let mut locked = self.0.lock();
        let going = locked.state.to_revoke(member)?;
        if !going.is_empty() {
            return Ok(Next::Revoke(going));
        }
        let come = locked.state.acquire(member)?;
        if !come.is_empty() {
            return Ok(Next::Acquired(come));
        }
        Ok(Next::Settled(locked.state.generation()))
    }

    /// Gives partitions up, and wakes who waits for them.
    pub(crate) fn release(&self, member: MemberId, partitions: &[TopicPartition]) -> Changed<()> {
        self.change(|locked, tell| {
            if let Ok(others) = locked.state.release(member, partitions) {
                locked.tell(others, tell);
            }
        })
    }

    /// Whether a member may commit for these partitions; asked under the group's commit turn.
    pub(crate) fn may_commit<'a>(
        &self,
        member: MemberId,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<Generation, Fenced> {
        self.0.lock().state.may_commit(member, partitions)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().state.is_empty()
    }

    pub(crate) fn generation(&self) -> Generation {
        self.0.lock().state.generation()
    }

    pub(crate) fn describe(&self) -> GroupSnapshot {
        self.0.lock().state.describe()
    }

    /// Whether a partition has come since the group's first member joined.
    pub(crate) fn is_new(&self, partition: &TopicPartition) -> bool {
        let locked = self.0.lock();
        let known = locked.began_with.get(partition.topic());
        known.is_none_or(|topic| {
            topic.id != partition.topic_id() || topic.partitions <= partition.partition().get()
        })
    }

    /// Where a member has begun to read a partition that nobody has committed for.
    pub(crate) fn start_of(&self, topic: TopicId, partition: PartitionId) -> Option<Offset> {
        self.0.lock().starts.get(&(topic, partition)).copied()
    }

    pub(crate) fn note_start(&self, topic: TopicId, partition: PartitionId, offset: Offset) {
        self.0.lock().starts.insert((topic, partition), offset);
    }
}
