//! One open root: the lock, the catalog, every partition, and what runs in the background.
//!
//! Everything above reaches a log through [`Partition`] alone. The rooms: `open` and `close` are
//! the order in which a store comes up and goes down, `catalog` changes what topics there are,
//! `partition`, `budget` and `room` are the append's way in, `maintenance`, `timers` and `threads`
//! are the background, `root` is what the directory itself knows.
//!
//! Lock order: catalog, then the topic table, then whatever a log takes. No lock here is held
//! while a log is appended to, and none while code of the host's runs.

mod budget;
mod catalog;
mod close;
mod gate;
mod keeper;
mod maintenance;
mod open;
mod partition;
mod report;
mod room;
pub(crate) mod root;
mod threads;
mod timers;
mod topic;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::{BackgroundSync, Threads, WhenFull};
use crate::disk::{DirLock, Disk};
use crate::error::{Cause, Error, Result};
use crate::ids::TopicId;
use crate::log::{Keeper, LogId};
use crate::stats::PinCounter;
use crate::sync::{Mutex, RwLock};
use crate::time::Clock;

pub(crate) use budget::Budget;
pub(crate) use catalog::{CatalogChanges, NewTopic};
pub(crate) use gate::Gate;
pub(crate) use partition::Partition;
pub use report::OpenReport;
pub(crate) use timers::{Due, Timers};
pub(crate) use topic::Topic;

/// How a store is run; the builder above documents each.
#[derive(Clone, Debug)]
pub(crate) struct EngineOptions {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) threads: Threads,
    pub(crate) background_sync: BackgroundSync,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) when_full: WhenFull,
}

/// Called when the store closes, while it still takes appends: the last moment to flush.
pub(crate) trait CloseHook: Send + Sync {
    /// Brings out what is still held back.
    fn before_close(&self) -> Result<()>;
}

/// The table of topics, by name and by identity.
#[derive(Debug, Default)]
struct Table {
    names: BTreeMap<Arc<str>, Arc<Topic>>,
    ids: HashMap<TopicId, Arc<Topic>>,
}

/// One open root.
pub(crate) struct Engine {
    options: EngineOptions,
    gate: Arc<Gate>,
    root: Arc<root::Root>,
    keeper: keeper::RootKeeper,
    epoch: crate::ids::LeaderEpoch,
    /// One change of the catalog at a time.
    catalog: Mutex<()>,
    catalog_changes: CatalogChanges,
    table: RwLock<Table>,
    budget: Arc<Budget>,
    timers: Timers,
    requests: Arc<maintenance::Requests>,
    timer_wakeup: Arc<threads::Wakeup>,
    maintenance_wakeup: Arc<threads::Wakeup>,
    running: threads::Running,
    by_hand: bool,
    hooks: Mutex<Vec<Weak<dyn CloseHook>>>,
    lock: Mutex<Option<Box<dyn DirLock>>>,
    pinned: Arc<PinCounter>,
    report: OpenReport,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let topics = self.table.read().names.len();
        f.debug_struct("Engine")
            .field("root", &self.root.path())
            .field("topics", &topics)
            .finish_non_exhaustive()
    }
}

/// What those above ask of it.
impl Engine {
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.options.clock
    }

    pub(super) fn clock_is_manual(&self) -> bool {
        self.by_hand
    }

    /// Who runs what is due.
    pub(crate) fn threads(&self) -> Threads {
        self.options.threads
    }

    pub(crate) fn catalog_changes(&self) -> &CatalogChanges {
        &self.catalog_changes
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    pub(crate) fn pinned(&self) -> &Arc<PinCounter> {
        &self.pinned
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(crate) fn keeper(&self) -> &dyn Keeper {
        &self.keeper
    }

    pub(crate) fn open_report(&self) -> &OpenReport {
        &self.report
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn requests(&self) -> &Arc<maintenance::Requests> {
        &self.requests
    }

    /// Fails once the store is closed, and in a forked child.
    pub(crate) fn check_open(&self, operation: &'static str) -> Result<()> {
        self.gate.check(operation)
    }

    /// Has `hook` called when the store closes.
    pub(crate) fn on_close(&self, hook: Weak<dyn CloseHook>) {
        let mut hooks = self.hooks.lock();
        hooks.retain(|hook| hook.strong_count() > 0);
        hooks.push(hook);
    }

    /// The topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        self.check_open("find topic")?;
        self.table.read().names.get(name).cloned().ok_or_else(|| {
            Error::new("find topic", Cause::NotFound { what: "topic", name: name.to_owned() })
        })
    }

    /// The topic of that identity, while it exists.
    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.table.read().ids.get(&id).cloned()
    }

    fn partition_by_id(&self, id: LogId) -> Option<Arc<Partition>> {
        self.topic_by_id(id.topic)?.partitions().get(id.partition.index()).cloned()
    }

    /// All topics, internal ones too, by name.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.table.read().names.values().cloned().collect()
    }

    /// Calls the timers that are due; returns when the next one is, on the monotonic clock.
    pub(crate) fn run_due(&self) -> Option<Duration> {
        self.timers.run_due(self.clock().monotonic())
    }

    /// Whether calls that block have to run what is due themselves.
    pub(crate) fn is_run_by_host(&self) -> bool {
        self.options.threads == Threads::Host
    }

    /// What a call that blocks does first where the store has no threads of its own: the work it
    /// might be waiting for. Returns when there is more.
    pub(crate) fn run_own_work(&self) -> Option<Duration> {
        match self.options.threads {
            Threads::Own => None,
            Threads::Host => self.run_due(),
        }
    }
}
