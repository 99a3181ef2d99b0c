//! How a followed engine comes up, and how its topics follow the writer's state log.
//!
//! A change of the state is applied to the table by whoever sees it first, one at a time; those
//! who wait for topics, or for partitions that are gone, are told after.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::budget::Budget;
use super::super::changes::CatalogChanges;
use super::super::chores::Chores;
use super::super::compaction::Compaction;
use super::super::core::Footing;
use super::super::gate::Gate;
use super::super::partition::{Backing, NewPartition, Partition};
use super::super::report::OpenReport;
use super::super::requests::Requests;
use super::super::root::followed::FollowedRoot;
use super::super::root::state::{RootState, TopicState};
use super::super::threads::{Running, Wakeup};
use super::super::timers::Timers;
use super::super::topic::Topic;
use super::super::{Engine, EngineOptions, Table};
use super::follower::Follower;
use super::partition::FollowedPartition;
use crate::config::{BackgroundSync, Threads, TopicConfig, WhenFull};
use crate::disk::Disk;
use crate::disk::names::partition_dir;
use crate::error::Result;
use crate::ids::PartitionId;
use crate::log::{FollowedLog, LogId, LogName};
use crate::record::PlainLimit;
use crate::sync::{Mutex, RwLock};
use crate::time::Clock;

/// How a store is followed; the builder above documents each.
#[derive(Clone, Debug)]
pub(crate) struct FollowOptions {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) threads: Threads,
    pub(crate) interval: Duration,
    pub(crate) plain: PlainLimit,
}

impl Engine {
    /// Opens the root at `path` for reading alone: takes no lock, changes nothing.
    pub(crate) fn follow(options: FollowOptions, path: &Path) -> Result<Arc<Engine>> {
        let FollowOptions { disk, clock, threads, interval, plain } = options;
        let root = FollowedRoot::open(disk.clone(), path)?;
        let follower = Arc::new(Follower::new(root, clock.clone(), interval));
        let timer_wakeup = Arc::new(Wakeup::default());
        let wakeup = timer_wakeup.clone();
        let by_hand = clock.watch(Arc::new(move || wakeup.wake()));
        let maintenance_wakeup = Arc::new(Wakeup::default());
        let no_sync = BackgroundSync::OFF;
        let wakeups = [maintenance_wakeup.clone(), timer_wakeup.clone()];
        let requests = Requests::new(wakeups, clock.clone(), no_sync);
        let gate = Arc::new(Gate::new(&*disk));
        let engine = Arc::new(Engine {
            gate,
            footing: Footing::Guest(follower.clone()),
            catalog: Mutex::new(Applied::default()),
            catalog_changes: CatalogChanges::default(),
            table: RwLock::new(Table::default()),
            points: RwLock::default(),
            budget: Arc::new(Budget::new(None, WhenFull::Fail)),
            timers: Timers::new(timer_wakeup.clone()),
            chores: Chores::new(maintenance_wakeup.clone()),
            requests: Arc::new(requests),
            compaction: Compaction::default(),
            timer_wakeup: timer_wakeup.clone(),
            maintenance_wakeup,
            running: Running::default(),
            by_hand,
            hooks: Mutex::new(Vec::new()),
            pinned: Arc::default(),
            report: OpenReport::default(),
            options: EngineOptions {
                disk,
                clock,
                threads,
                background_sync: no_sync,
                max_bytes: None,
                when_full: WhenFull::Fail,
                journal: None,
                plain,
            },
        });
        engine.gate.set_engine(Arc::downgrade(&engine));
        follower.set_engine(Arc::downgrade(&engine));
        engine.look()?;
        if threads == Threads::Own {
            let weak = Arc::downgrade(&engine);
            engine.running.start("follow", weak, timer_wakeup, Engine::run_due)?;
        }
        Ok(engine)
    }

    /// Looks at the state log if the last look is older than the interval. An engine that writes
    /// knows by itself.
    pub(crate) fn look_if_due(&self) -> Result<()> {
        match self.follower() {
            Some(follower) if follower.looked().is_due(follower.now(), follower.interval()) => {
                self.look()
            }
            _ => Ok(()),
        }
    }

    /// Looks at the state log and takes over what has changed.
    pub(crate) fn look(&self) -> Result<()> {
        let Some(follower) = self.follower() else { return Ok(()) };
        let now = follower.now();
        let mut gone = Vec::new();
        let changed = {
            let mut applied = self.catalog.lock();
            let known = follower.root().look()?;
            let changed = known.serial != applied.serial;
            if changed {
                follower.learn_what_is_left(&known.state)?;
                self.apply(follower, &applied.state, &known.state, &mut gone)?;
                *applied = Applied { serial: known.serial, state: known.state };
            }
            changed
        };
        follower.looked().set(now);
        for topic in &gone {
            topic.partitions().iter().for_each(|partition| partition.set_deleted());
        }
        if changed {
            self.catalog_changes.announce();
        }
        Ok(())
    }

    fn apply(
        &self,
        follower: &Arc<Follower>,
        before: &RootState,
        now: &RootState,
        gone: &mut Vec<Arc<Topic>>,
    ) -> Result<()> {
        let mut changes = Vec::new();
        for topic in now.topics() {
            let same = |old: &TopicState| {
                (&old.config, old.adopted, old.partitions.len())
                    == (&topic.config, topic.adopted, topic.partitions.len())
            };
            if before.topic(topic.id).is_some_and(same) {
                continue;
            }
            changes.push((self.topic_of(topic)?, topic));
        }
        let removed = before.topics().filter(|old| now.topic(old.id).is_none());
        for old in removed.filter_map(|old| self.topic_by_id(old.id)) {
            old.set_deleted();
            self.table.write().remove(&old);
            gone.push(old);
        }
        for (topic, state) in changes {
            let mut partitions = topic.partitions().to_vec();
            let first = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
            let total = u32::try_from(state.partitions.len()).unwrap_or(u32::MAX);
            let new = (first..total).map(PartitionId::new);
            partitions.extend(new.map(|id| self.followed(follower, &topic, id)));
            topic.set_partitions(partitions);
            self.table.write().insert(topic);
        }
        Ok(())
    }

    /// The topic as it is now: a new one, or the known one with its new configuration.
    fn topic_of(&self, state: &TopicState) -> Result<Arc<Topic>> {
        let count = u32::try_from(state.partitions.len()).unwrap_or(u32::MAX).max(1);
        let config = Arc::new(TopicConfig::from_entries(count, &state.config)?);
        if let Some(known) = self.topic_by_id(state.id) {
            if !state.adopted {
                known.set_config(config);
            }
            return Ok(known);
        }
        let marks = (state.internal, state.adopted);
        let budget = Arc::new(Budget::new(None, WhenFull::Fail));
        Ok(Arc::new(Topic::new(state.name.clone(), state.id, marks, config, budget)))
    }

    fn followed(
        &self,
        follower: &Arc<Follower>,
        topic: &Topic,
        partition: PartitionId,
    ) -> Arc<Partition> {
        let id = LogId { topic: topic.id(), partition };
        let name = LogName { topic: topic.name().clone(), partition };
        let dir = self.path().join(partition_dir(topic.name(), partition));
        let reading = (topic.config().index_interval_bytes, self.plain_limit());
        let log = FollowedLog::new(&self.options.disk, &dir, (name, id), reading, follower.clone());
        Arc::new(Partition::new(NewPartition {
            topic: topic.name().clone(),
            id,
            backing: Backing::Followed(FollowedPartition::new(log, follower.clone())),
            topic_budget: topic.budget.clone(),
            store_budget: None,
            gate: self.gate.clone(),
        }))
    }
}

/// The state that the table shows; of no meaning where this process writes.
#[derive(Debug, Default)]
pub(in crate::engine) struct Applied {
    serial: u64,
    state: Arc<RootState>,
}
