//! The coordinator: the live groups of a store.
//!
//! One per store, shared by all its consumers. It brings to a [`LiveGroup`] what that has not of
//! its own: the timers, the catalog, the log that keeps generations. A group is kept here while
//! anybody has a seat in it; what outlives that is its generation, in the log.
//!
//! Locks: the table of groups, then a group's; a commit's turn is taken before both. None is held
//! when assignors, clocks, wakers or files are at work.
//!
//! Callers: `seat`, the places of members; `roster`, which shows them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::identity::{Distribution, MemberId};
use super::live::{Changed, LiveGroup};
use super::membership::{GroupSnapshot, KnownTopic, TopicList, Visibility};
use super::offsets::OffsetStore;
use crate::engine::{Due, Engine, Topic};
use crate::error::{Cause, Error, Result};
use crate::ids::Generation;
use crate::stats::{Apart, Counter};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The live groups of one store, and what all its readers count together.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    groups: Mutex<BTreeMap<Arc<str>, Held>>,
    /// The catalog as it was looked at last, for all groups.
    topics: Mutex<Arc<TopicList>>,
    members: AtomicU64,
    counters: Arc<ReadCounters>,
}

#[derive(Debug)]
struct Held {
    group: Arc<Group>,
    seats: usize,
}

/// What all readers of a store have done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    readers: Mutex<Readers>,
    /// Commits that took effect.
    pub(crate) commits: Counter,
}

#[derive(Debug, Default)]
struct Readers {
    /// Each counts by itself: who polls all the time waits for nobody.
    live: Vec<Arc<Apart<ReaderCounters>>>,
    /// What those did that are gone.
    gone: ReaderCounters,
}

/// A reader's own counters, part of the sum; what it counted stays there when it goes.
#[derive(Debug)]
pub(crate) struct Tally {
    own: Arc<Apart<ReaderCounters>>,
    all: Arc<ReadCounters>,
}

/// What some of a store's readers have done.
#[derive(Debug, Default)]
pub(crate) struct ReaderCounters {
    /// Calls that fetch, whatever they returned.
    pub(crate) polls: Counter,
    /// Times a reader went to sleep, or left its waker.
    pub(crate) waits: Counter,
    /// Records handed out.
    pub(crate) records: Counter,
}

impl ReadCounters {
    /// The counters of a new reader.
    pub(crate) fn begin(self: &Arc<Self>) -> Tally {
        let own = Arc::new(Apart::default());
        self.readers.lock().live.push(Arc::clone(&own));
        Tally { own, all: Arc::clone(self) }
    }

    pub(crate) fn polls(&self) -> u64 {
        self.sum(|some| &some.polls)
    }

    pub(crate) fn waits(&self) -> u64 {
        self.sum(|some| &some.waits)
    }

    pub(crate) fn records(&self) -> u64 {
        self.sum(|some| &some.records)
    }

    fn sum(&self, counter: impl Fn(&ReaderCounters) -> &Counter) -> u64 {
        let readers = self.readers.lock();
        let live: u64 = readers.live.iter().map(|own| counter(own).get()).sum();
        live + counter(&readers.gone).get()
    }
}

impl Deref for Tally {
    type Target = ReaderCounters;

    fn deref(&self) -> &ReaderCounters {
        &self.own
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let mut readers = self.all.readers.lock();
        let gone = &readers.gone;
        gone.polls.add_alone(self.polls.get());
        gone.waits.add_alone(self.waits.get());
        gone.records.add_alone(self.records.get());
        if let Some(at) = readers.live.iter().rposition(|own| Arc::ptr_eq(own, &self.own)) {
            readers.live.swap_remove(at);
        }
    }
}

/// A group somebody has a seat in.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    pub(super) live: LiveGroup,
    /// That of its first consumer.
    pub(super) distribution: Distribution,
    offsets: Weak<OffsetStore>,
}

impl Coordinator {
    pub(crate) fn counters(&self) -> &Arc<ReadCounters> {
        &self.counters
    }

    /// A group as it is now; `None` if nobody has a seat in it.
    pub(crate) fn describe(&self, group: &str) -> Option<GroupSnapshot> {
        Some(self.group(group)?.live.describe())
    }

    /// Whether a group has members now.
    pub(crate) fn has_members(&self, group: &str) -> bool {
        self.group(group).is_some_and(|group| !group.live.is_empty())
    }

    /// The groups that have members now.
    pub(crate) fn live_groups(&self) -> Vec<Arc<str>> {
        let groups: Vec<Arc<Group>> =
            self.groups.lock().values().map(|held| held.group.clone()).collect();
        let live = groups.iter().filter(|group| !group.live.is_empty());
        live.map(|group| group.name.clone()).collect()
    }

    pub(super) fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.groups.lock().get(name).map(|held| held.group.clone())
    }

    /// An id that no member has had before.
    pub(super) fn next_member(&self) -> MemberId {
        MemberId::new(self.members.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The group with one seat more. Fails as `InvalidArgument` where those who sit read otherwise,
    /// as `Locked` where a broadcast consumer does.
    pub(super) fn take_seat(
        &self,
        offsets: &Arc<OffsetStore>,
        name: &Arc<str>,
        distribution: Distribution,
    ) -> Result<Arc<Group>> {
        let topics = self.topics(&offsets.engine);
        let mut groups = self.groups.lock();
        let held = groups.entry(name.clone()).or_insert_with(|| {
            let live = LiveGroup::new(offsets.generation(name), topics);
            let offsets = Arc::downgrade(offsets);
            let group = Group { name: name.clone(), live, distribution, offsets };
            Held { group: Arc::new(group), seats: 0 }
        });
        if held.seats > 0 {
            let cause = match (held.group.distribution, distribution) {
                (Distribution::Divided, Distribution::Divided) => None,
                (Distribution::Broadcast, Distribution::Broadcast) => {
                    Some(Cause::Locked(format!("broadcast consumer `{name}` is open")))
                }
                (Distribution::Broadcast, Distribution::Divided) => {
                    let text = format!("`{name}` is a broadcast consumer, not a group");
                    Some(Cause::InvalidArgument(text))
                }
                (Distribution::Divided, Distribution::Broadcast) => {
                    let text =
                        format!("`{name}` is a group with members, not a broadcast consumer");
                    Some(Cause::InvalidArgument(text))
                }
            };
            if let Some(cause) = cause {
                return Err(Error::new("join group", cause));
            }
        }
        held.seats += 1;
        Ok(held.group.clone())
    }

    pub(super) fn leave_seat(&self, name: &str) {
        let mut groups = self.groups.lock();
        if let Some(held) = groups.get_mut(name) {
            held.seats -= 1;
            if held.seats == 0 {
                groups.remove(name);
            }
        }
    }

    /// The catalog as it is now, looked at once for all groups.
    pub(super) fn topics(&self, engine: &Engine) -> Arc<TopicList> {
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
    pub(super) fn follow_up<T>(self: &Arc<Self>, offsets: &OffsetStore, changed: Changed<T>) -> T {
        if let Some(at) = changed.alarm {
            let weak: Weak<dyn Due> = Arc::downgrade(self) as _;
            offsets.engine.timers().schedule(at, weak);
        }
        if let Some(generation) = changed.emptied {
            self.note_empty(offsets, generation);
        }
        changed.value
    }

    /// Nobody waits for this, so a failure is only logged: the next open finds the group empty.
    pub(super) fn note_empty(&self, offsets: &OffsetStore, generation: Generation) {
        if offsets.engine.check_open("leave group").is_err() {
            return;
        }
        let since = offsets.engine.clock().wall();
        let members = (&self.name, self.distribution);
        if let Err(error) = offsets.record_members(members, generation, Some(since)) {
            log::warn!("group `{}` is empty, which cannot be written: {error}", self.name);
        }
    }
}

impl Due for Group {
    fn run(&self, now: Duration) -> Option<Duration> {
        let offsets = self.offsets.upgrade()?;
        let rung = self.live.ring(now);
        if let Some(generation) = rung.emptied {
            self.note_empty(&offsets, generation);
        }
        rung.alarm
    }
}
