//! The engine itself: what an open root consists of, and what those above may ask of it.
//!
//! Constant: options, footing, report. Locked: the topic table, the catalog's turn, the hooks.
//! The other rooms of `engine` are this type's deeds, a file each.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::{BackgroundSync, Threads, WhenFull};
use crate::disk::Disk;
use crate::error::{Cause, Error, Result};
use crate::ids::TopicId;
use crate::journal::Journal;
use crate::log::{Keeper, LogId};
use crate::record::PlainLimit;
use crate::stats::PinCounter;
use crate::sweep;
use crate::sync::{Mutex, RwLock};
use crate::time::Clock;

use super::budget::Budget;
use super::changes::CatalogChanges;
use super::chores::Chores;
use super::ending::Ending;
use super::follow::{Applied, Follower};
use super::gate::Gate;
use super::partition::Partition;
use super::producer_ids::ProducerIds;
use super::report::OpenReport;
use super::timers::Timers;
use super::topic::Topic;
use super::{compaction, requests, root, threads};

/// How a store is run; the builder above documents each.
#[derive(Clone, Debug)]
pub(crate) struct EngineOptions {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) threads: Threads,
    pub(crate) background_sync: BackgroundSync,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) when_full: WhenFull,
    /// How large a journal the store has, in bytes, if any.
    pub(crate) journal: Option<u64>,
    /// What one compressed batch may take decompressed.
    pub(crate) plain: PlainLimit,
}

/// Called when the store closes, while it still takes appends: the last moment to flush.
pub(crate) trait CloseHook: Send + Sync {
    /// Brings out what is still held back.
    fn before_close(&self) -> Result<()>;
}

/// The table of topics, by name and by identity.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) names: BTreeMap<Arc<str>, Arc<Topic>>,
    pub(super) ids: HashMap<TopicId, Arc<Topic>>,
    /// How many topics have left it, each marked as deleted before.
    left: u64,
}

impl Table {
    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        self.ids.insert(topic.id(), topic.clone());
        self.names.insert(topic.name().clone(), topic);
    }

    pub(super) fn remove(&mut self, topic: &Topic) {
        self.ids.remove(&topic.id());
        self.names.remove(topic.name());
        self.left += 1;
    }
}

/// How an engine stands in its root.
#[derive(Debug)]
pub(super) enum Footing {
    /// It holds the lock and writes.
    Owner(Owner),
    /// It reads what another process may be writing.
    Guest(Arc<Follower>),
}

/// What the one who writes has.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) root: Arc<root::Root>,
    pub(super) keeper: super::keeper::RootKeeper,
    pub(super) epoch: crate::ids::LeaderEpoch,
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) ending: Ending,
    pub(super) producer_ids: ProducerIds,
}

/// One open root.
pub(crate) struct Engine {
    pub(super) options: EngineOptions,
    pub(super) gate: Arc<Gate>,
    pub(super) footing: Footing,
    /// One change of the catalog at a time.
    pub(super) catalog: Mutex<Applied>,
    pub(super) catalog_changes: CatalogChanges,
    pub(super) table: RwLock<Table>,
    /// Held for writing by who truncates a log: a recovery point is not recorded that was read
    /// before.
    pub(super) points: RwLock<()>,
    pub(super) budget: Arc<Budget>,
    pub(super) timers: Timers,
    pub(super) chores: Chores,
    pub(super) requests: Arc<requests::Requests>,
    pub(super) compaction: compaction::Compaction,
    pub(super) timer_wakeup: Arc<threads::Wakeup>,
    pub(super) maintenance_wakeup: Arc<threads::Wakeup>,
    pub(super) running: threads::Running,
    pub(super) by_hand: bool,
    pub(super) hooks: Mutex<Vec<Weak<dyn CloseHook>>>,
    pub(super) pinned: Arc<PinCounter>,
    pub(super) report: OpenReport,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let topics = self.table.read().names.len();
        f.debug_struct("Engine")
            .field("root", &self.path())
            .field("topics", &topics)
            .finish_non_exhaustive()
    }
}

/// What those above ask of it.
impl Engine {
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.options.clock
    }

    pub(crate) fn clock_is_manual(&self) -> bool {
        self.by_hand
    }

    /// Who runs what is due.
    pub(crate) fn threads(&self) -> Threads {
        self.options.threads
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.options.disk
    }

    /// What one compressed batch may take decompressed, unless who reads it says otherwise.
    pub(crate) fn plain_limit(&self) -> PlainLimit {
        self.options.plain
    }

    pub(crate) fn root_path(&self) -> &std::path::Path {
        self.path()
    }

    /// How many topics have been deleted; read before their marks are.
    pub(crate) fn topics_left(&self) -> u64 {
        self.table.read().left
    }

    pub(crate) fn catalog_changes(&self) -> &CatalogChanges {
        &self.catalog_changes
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    pub(crate) fn chores(&self) -> &Chores {
        &self.chores
    }

    pub(crate) fn pinned(&self) -> &Arc<PinCounter> {
        &self.pinned
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Who keeps the facts of every log. Fails as read-only where another process does.
    pub(crate) fn keeper(&self) -> Result<&dyn Keeper> {
        Ok(&self.owner("record facts")?.keeper)
    }

    /// Fails as read-only where another process may be writing.
    pub(crate) fn check_writable(&self, operation: &'static str) -> Result<()> {
        self.owner(operation).map(drop)
    }

    pub(super) fn owner(&self, operation: &'static str) -> Result<&Owner> {
        match &self.footing {
            Footing::Owner(owner) => Ok(owner),
            Footing::Guest(_) => Err(Error::new(operation, Cause::ReadOnly)),
        }
    }

    /// Whoever follows what another process writes; `None` for who writes.
    pub(super) fn follower(&self) -> Option<&Arc<Follower>> {
        match &self.footing {
            Footing::Owner(_) => None,
            Footing::Guest(follower) => Some(follower),
        }
    }

    pub(super) fn path(&self) -> &std::path::Path {
        match &self.footing {
            Footing::Owner(owner) => owner.root.path(),
            Footing::Guest(follower) => follower.root().path(),
        }
    }

    pub(crate) fn open_report(&self) -> &OpenReport {
        &self.report
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn store_id(&self) -> root::marker::StoreId {
        match &self.footing {
            Footing::Owner(owner) => owner.root.store_id(),
            Footing::Guest(follower) => follower.root().store_id(),
        }
    }

    pub(super) fn requests(&self) -> &Arc<requests::Requests> {
        &self.requests
    }

    /// Fails once the store is closed, and in a forked child.
    pub(crate) fn check_open(&self, operation: &'static str) -> Result<()> {
        self.gate.check(operation)
    }

    /// Has `hook` called when the store closes.
    pub(crate) fn on_close(&self, hook: Weak<dyn CloseHook>) {
        sweep::push(&mut self.hooks.lock(), hook, |hook| hook.strong_count() > 0);
    }

    /// The topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        self.check_open("find topic")?;
        self.look_if_due()?;
        self.table.read().names.get(name).cloned().ok_or_else(|| {
            Error::new("find topic", Cause::NotFound { what: "topic", name: name.to_owned() })
        })
    }

    /// The topic of that identity, while it exists.
    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.table.read().ids.get(&id).cloned()
    }

    pub(super) fn partition_by_id(&self, id: LogId) -> Option<Arc<Partition>> {
        self.topic_by_id(id.topic)?.partitions().get(id.partition.index()).cloned()
    }

    /// All topics, internal ones too, by name.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.table.read().names.values().cloned().collect()
    }

    /// Makes the syncs that tasks wait for and calls the timers that are due; returns when there is
    /// more to do, on the monotonic clock.
    /// Nothing is due once the store is closed and in a forked child.
    pub(crate) fn run_due(&self) -> Option<Duration> {
        self.check_open("run timers").ok()?;
        self.sync_for_tasks();
        let now = || self.clock().monotonic();
        // a task may come back at once, many times over
        let next = self.timers.run_due(now, || self.sync_for_tasks());
        if self.requests.has_tasks() { Some(now()) } else { next }
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
