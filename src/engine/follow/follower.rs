//! When a followed root is looked at again: by those who read, and by a timer for those who wait.
//!
//! Fields: root, clock, interval constant; the rest locked, each lock held for a moment only and
//! none while a file is read or anyone is woken.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::super::Engine;
use super::super::root::followed::FollowedRoot;
use super::super::root::state::RootState;
use super::super::timers::Due;
use super::left::Left;
use super::partition::FollowedPartition;
use crate::error::Result;
use crate::ids::{LeaderEpoch, Offset};
use crate::journal::Frame;
use crate::log::{FactSource, FollowFacts, LogId};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Clock;

/// Who looks, and how often.
#[derive(Debug)]
pub(in crate::engine) struct Follower {
    root: FollowedRoot,
    left: Left,
    clock: Arc<dyn Clock>,
    interval: Duration,
    /// When the state log was looked at.
    looked: LookedAt,
    /// When all that is watched was.
    looked_at_all: LookedAt,
    /// Partitions someone has waited for, until a look finds that nobody does.
    watched: Mutex<Vec<Weak<FollowedPartition>>>,
    waiting: Mutex<Waiters>,
    engine: OnceLock<Weak<Engine>>,
}

#[derive(Debug, Default)]
struct Waiters {
    count: usize,
    /// Whether the timer is set.
    is_timed: bool,
}

/// When something was looked at last.
#[derive(Debug, Default)]
pub(super) struct LookedAt(AtomicU64);

impl LookedAt {
    /// Nanoseconds of the monotonic clock, one more so that zero is never.
    fn stamp(now: Duration) -> u64 {
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX - 1).saturating_add(1)
    }

    pub(super) fn set(&self, now: Duration) {
        self.0.store(LookedAt::stamp(now), Ordering::Release);
    }

    /// Whether it was never looked at, or longer ago than `interval`.
    pub(super) fn is_due(&self, now: Duration, interval: Duration) -> bool {
        let last = self.0.load(Ordering::Acquire);
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        last == 0 || LookedAt::stamp(now) >= last.saturating_add(interval)
    }
}

impl Follower {
    pub(super) fn new(root: FollowedRoot, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        Follower {
            root,
            left: Left::default(),
            clock,
            interval,
            looked: LookedAt::default(),
            looked_at_all: LookedAt::default(),
            watched: Mutex::default(),
            waiting: Mutex::default(),
            engine: OnceLock::new(),
        }
    }

    pub(super) fn set_engine(&self, engine: Weak<Engine>) {
        let _ = self.engine.set(engine); // set once, where the engine is made
    }

    pub(in crate::engine) fn root(&self) -> &FollowedRoot {
        &self.root
    }

    /// Reads what only the journal has, where a reign has left that.
    pub(super) fn learn_what_is_left(&self, state: &RootState) -> Result<()> {
        self.left.learn(&self.root, state)
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn looked(&self) -> &LookedAt {
        &self.looked
    }

    /// Has the timer look at a partition for as long as someone waits for it.
    pub(super) fn watch(&self, partition: Weak<FollowedPartition>) {
        self.watched.lock().push(partition);
    }

    /// Looks at everything someone waits for, and tells them.
    fn look_at_all(&self, engine: &Engine) -> Result<()> {
        engine.look()?;
        let watched = self.watched.lock().clone();
        for partition in watched.iter().filter_map(Weak::upgrade) {
            partition.look_for_waiters();
        }
        self.watched.lock().retain(|partition| {
            partition.upgrade().is_some_and(|partition| partition.is_still_watched())
        });
        self.looked_at_all.set(self.now());
        Ok(())
    }
}

impl Due for Follower {
    fn run(&self, now: Duration) -> Option<Duration> {
        {
            let mut waiting = self.waiting.lock();
            if waiting.count == 0 {
                waiting.is_timed = false;
                return None;
            }
        }
        let engine = self.engine.get().and_then(Weak::upgrade)?;
        if let Err(error) = self.look_at_all(&engine) {
            // whoever waits is woken and meets it: without the state log nothing else would come
            log::debug!("{error}");
            engine.catalog_changes.rouse();
        }
        Some(now.saturating_add(self.interval))
    }
}

impl FactSource for Follower {
    fn known(&self, id: LogId) -> Option<FollowFacts> {
        facts_of(&self.root.known().state, id, self.root.is_kafkas())
    }

    fn facts(&self, id: LogId) -> Result<Option<FollowFacts>> {
        Ok(facts_of(&self.root.look()?.state, id, self.root.is_kafkas()))
    }

    fn held(&self, id: LogId) -> Result<Vec<Frame>> {
        self.left.of(&self.root, id)
    }
}

fn facts_of(state: &RootState, id: LogId, is_kafkas: bool) -> Option<FollowFacts> {
    let topic = state.topic(id.topic)?;
    let kept = topic.partition(id.partition);
    let host_led = kept.is_some_and(|kept| kept.host_led);
    // the host's epochs, and Kafka's, are no reigns of ours: any may come
    let any = LeaderEpoch::new(i32::MAX);
    Some(FollowFacts {
        log_start: kept.map_or(Offset::ZERO, |kept| kept.log_start),
        recovery_point: kept.map_or(Offset::ZERO, |kept| kept.recovery_point),
        reign: if host_led || is_kafkas { Some(any) } else { state.highest_epoch() },
        // internal topics are compacted, and other writers and leaders may leave gaps
        gapless: !topic.foreign && !topic.internal && !host_led,
        compacted: kept.map_or(Offset::ZERO, |kept| kept.compacted),
        sparse: kept.map_or(Offset::ZERO, |kept| kept.sparse),
        high_watermark: kept.filter(|kept| kept.host_led).map(|kept| kept.high_watermark),
    })
}

/// Someone waits, for as long as it lives: what is followed is looked at meanwhile.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Follower>);

impl Engine {
    /// What a poll does first, and once it was woken: looks at what it waited for before, if the
    /// last look that went well is older than the interval. Where this process writes, appends
    /// tell by themselves.
    pub(crate) fn look_for_news(&self) -> Result<()> {
        match self.follower() {
            Some(follower) if follower.looked_at_all.is_due(follower.now(), follower.interval) => {
                follower.look_at_all(self)
            }
            _ => Ok(()),
        }
    }

    /// To be held while a consumer waits; `None` where appends wake it by themselves.
    pub(crate) fn wait_for_news(&self) -> Option<Waiting> {
        let follower = self.follower()?;
        let set = {
            let mut waiting = follower.waiting.lock();
            waiting.count += 1;
            !std::mem::replace(&mut waiting.is_timed, true)
        };
        if set {
            let weak: Weak<dyn Due> = Arc::downgrade(follower) as _;
            self.timers.schedule(follower.now().saturating_add(follower.interval), weak);
        }
        Some(Waiting(follower.clone()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.lock().count -= 1;
    }
}
