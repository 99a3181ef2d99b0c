//! The stage a scenario plays on: a store, or a lone log, on a simulated disk with a clock set by
//! hand, and the story of what it did.
//!
//! A scenario says what is done, the stage what becomes of it. By default a failing call fails the
//! test. With `goes_on` the host goes on after each failure, as hosts do; once the power is cut
//! nothing is done any more. Here are the door, time, and how failures are borne; what can be done
//! is told in the rooms below, a duty each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidelog::disk::{Disk as _, Moment, SimDisk};
use tidelog::{
    BackgroundSync, Error, Journal, Log, ManualClock, Outcome, Result, Store, Threads, Timestamp,
    TopicConfig,
};

use crate::story::{Deed, Model, Story};

// the paths, since the fuzz targets take this room in from elsewhere
#[path = "stage/groups.rs"]
mod groups;
#[path = "stage/records.rs"]
mod records;
#[path = "stage/replicas.rs"]
mod replicas;
#[path = "stage/topics.rs"]
mod topics;
#[path = "stage/transactions.rs"]
pub mod transactions;
#[path = "stage/work.rs"]
pub mod work;

pub const ROOT: &str = "/store";
pub const LOG: &str = "/orders-0";
pub const BACKUP: &str = "/backup";
/// The topic that a lone log stands for.
pub const ALONE: &str = "orders";
pub const BIRTH: i64 = 1_700_000_000_000;

pub enum Door {
    Shut,
    Store(Store),
    Log(Box<Log>),
}

/// How the door is opened, by the scenario and by who comes after the crash.
#[derive(Clone)]
pub struct Setup {
    pub is_log: bool,
    pub idempotent: bool,
    /// Of a lone log.
    pub config: TopicConfig,
    pub journal: Journal,
    pub offsets_retention: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        let offsets_retention = Some(Duration::from_secs(7 * 24 * 3600));
        Setup {
            is_log: false,
            idempotent: false,
            config: small(),
            journal: Journal::Off,
            offsets_retention,
        }
    }
}

impl Door {
    pub fn close(self) -> Result<()> {
        match self {
            Door::Shut => Ok(()),
            Door::Store(store) => store.close(),
            Door::Log(log) => log.close(),
        }
    }
}

pub struct Stage {
    pub disk: SimDisk,
    pub clock: ManualClock,
    pub door: Door,
    pub story: Story,
    /// Failures are borne, and counted.
    pub goes_on: bool,
    pub failures: u64,
    pub keeps_moments: bool,
    pub setup: Setup,
    number: u64,
    incarnations: BTreeMap<&'static str, usize>,
    /// Topics that are compacted: their records need keys.
    compacted: BTreeSet<&'static str>,
    /// The leader epoch of each topic that the host leads.
    led: BTreeMap<&'static str, i32>,
}

pub fn small() -> TopicConfig {
    TopicConfig::new().segment_bytes(1024).index_interval_bytes(400)
}

impl Stage {
    pub fn new(disk: SimDisk) -> Self {
        Stage {
            disk,
            clock: ManualClock::new(Timestamp::from_millis(BIRTH)),
            door: Door::Shut,
            story: Vec::new(),
            goes_on: false,
            failures: 0,
            keeps_moments: true,
            setup: Setup::default(),
            number: 0,
            incarnations: BTreeMap::new(),
            compacted: BTreeSet::new(),
            led: BTreeMap::new(),
        }
    }

    pub fn note(&mut self, deed: Deed) {
        self.story.push((self.disk.operations(), deed));
    }

    /// Bears a failure or does not; `None` also for what returned after the cut.
    fn bear<T>(&mut self, done: Result<T>) -> Option<T> {
        if self.disk.is_cut() {
            return None;
        }
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.failures += 1;
                assert!(self.goes_on, "nothing was to fail: {error}");
                let again = !error.is_retriable() || error.outcome() == Outcome::NotWritten;
                assert!(again, "I7: retriable, and {:?}: {error}", error.outcome());
                None
            }
        }
    }

    /// Bears a failure; one that says that nothing was done is taken at its word by what follows.
    fn bear_or<T>(&mut self, done: Result<T>, undone: Deed) -> Option<T> {
        let is_undone = matches!(&done, Err(error) if error.outcome() == Outcome::NotWritten);
        let done = self.bear(done);
        if is_undone && !self.disk.is_cut() {
            self.note(undone);
        }
        done
    }

    /// The store, opened again where a failure has shut it.
    fn store(&mut self) -> Option<Store> {
        self.open();
        match &self.door {
            Door::Store(store) => Some(store.clone()),
            _ => None,
        }
    }

    /// Whether the topic was created once, as far as the host knows.
    fn has(&self, topic: &str) -> bool {
        self.incarnations.get(topic).is_some_and(|count| *count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.open();
        !matches!(self.door, Door::Shut)
    }

    /// What has been recorded is forgotten: the scenario begins here.
    pub fn begin(&mut self) {
        if self.keeps_moments {
            self.disk.record();
        }
    }

    pub fn moments(&mut self) -> Vec<Moment> {
        self.disk.moments()
    }

    pub fn open(&mut self) {
        if !matches!(self.door, Door::Shut) || self.disk.is_cut() {
            return;
        }
        if self.setup.is_log && self.incarnations.is_empty() {
            self.incarnations.insert(ALONE, 1);
            self.note(Deed::Creating { topic: ALONE });
        }
        let opened = if self.setup.is_log {
            let log = open_log(&self.disk, &self.clock, &self.setup);
            log.map(|log| Door::Log(Box::new(log)))
        } else {
            open_store(&self.disk, &self.clock, &self.setup).map(Door::Store)
        };
        if let Some(door) = self.bear(opened) {
            self.door = door;
        }
    }

    pub fn close(&mut self) {
        let door = std::mem::replace(&mut self.door, Door::Shut);
        if matches!(door, Door::Shut) {
            return;
        }
        let closed = door.close();
        if self.bear(closed).is_some() {
            self.note(Deed::AllDurable);
        }
    }

    pub fn reopen(&mut self) {
        self.close();
        self.open();
    }

    /// Another process goes on with what a crash has left.
    pub fn go_on(&mut self, model: &Model) {
        self.door = Door::Shut;
        let known = model.topics.iter().map(|(name, all)| (*name, all.len()));
        self.incarnations = known.collect();
    }

    pub fn flush(&mut self) {
        self.open();
        let flushed = match &self.door {
            Door::Log(log) => log.flush(),
            Door::Store(store) => store.flush(),
            Door::Shut => return,
        };
        if self.bear(flushed).is_some() {
            self.note(Deed::AllDurable);
        }
    }

    /// Time passes, and what is due is done: syncs, retention, unlinks, compaction, expiry.
    pub fn wait(&mut self, time: Duration) {
        self.may_retain();
        self.clock.advance(time);
        match &self.door {
            Door::Shut => {}
            Door::Log(log) => {
                let done = log.maintain();
                self.bear(done);
            }
            Door::Store(store) => {
                let store = store.clone();
                store.run_due();
                store.run_maintenance();
            }
        }
    }

    /// How long a file is.
    pub fn disk_bytes(&self, path: &str) -> u64 {
        let found = self.disk.metadata(path.as_ref());
        found.ok().flatten().map_or(u64::MAX, |found| found.len)
    }
}

pub fn open_store(disk: &SimDisk, clock: &ManualClock, setup: &Setup) -> Result<Store, Error> {
    open_store_at(ROOT, disk, clock, setup)
}

/// A store that lies elsewhere: a backup.
pub fn open_store_at(
    root: &str,
    disk: &SimDisk,
    clock: &ManualClock,
    setup: &Setup,
) -> Result<Store, Error> {
    let builder = Store::builder(root).disk(Arc::new(disk.clone())).clock(clock.clone());
    let builder = builder.journal(setup.journal).offsets_retention(setup.offsets_retention);
    builder.threads(Threads::Host).background_sync(BackgroundSync::default()).open()
}

pub fn open_log(disk: &SimDisk, clock: &ManualClock, setup: &Setup) -> Result<Log, Error> {
    let builder = Log::builder(LOG).disk(Arc::new(disk.clone())).config(setup.config.clone());
    builder.clock(Arc::new(clock.clone())).open()
}
