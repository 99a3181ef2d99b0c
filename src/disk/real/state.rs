//! What an open file remembers under its lock: its descriptor, its maps, what is not synced.
//!
//! Pure but for the anchor. A sync looks at what is `unsynced` before it begins and notes it as
//! synced when it has ended; what changed in between is told apart by the counters. Called by
//! `file`.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

#[cfg(target_os = "linux")]
pub(super) use super::super::island::Mapping;

/// Stands in where nothing is ever mapped.
#[cfg(not(target_os = "linux"))]
pub(super) enum Mapping {}

#[cfg(not(target_os = "linux"))]
impl Mapping {
    fn covers(&self, _end: u64) -> bool {
        match *self {}
    }
    fn allocated(&self) -> u64 {
        match *self {}
    }
    fn published(&self) -> u64 {
        match *self {}
    }
    fn flush(&self) -> io::Result<()> {
        match *self {}
    }
}

/// The state of a file.
pub(super) struct State {
    pub(super) path: Arc<Path>,
    pub(super) file: Option<Arc<File>>,
    /// Its name is gone: the descriptor is all that leads to it.
    pub(super) unlinked: bool,
    /// Its user wants never to wait for a descriptor.
    pub(super) kept: bool,
    /// Positioned writes under way.
    pub(super) writing: u32,
    /// Steps each time positioned writes outside a live map begin or end.
    pub(super) dirtied: u64,
    /// What `dirtied` was when the last good sync began.
    pub(super) synced: u64,
    pub(super) live: Option<Arc<Mapping>>,
    /// Positioned changes that a map covers, counted.
    pub(super) covered: u64,
    /// What the live map held when its last good sync began.
    pub(super) flushed: Option<Flushed>,
    pub(super) retired: Vec<Arc<Mapping>>,
    /// A sync of all files has covered this one.
    pub(super) was_covered: bool,
    pub(super) failed: Option<Failure>,
}

/// How far a live map had come: equal ones have nothing unsynced between them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Flushed {
    published: u64,
    allocated: u64,
    pub(super) covered: u64,
}

impl State {
    pub(super) fn progress(&self) -> Option<Flushed> {
        let map = self.live.as_ref()?;
        let (published, allocated) = (map.published(), map.allocated());
        Some(Flushed { published, allocated, covered: self.covered })
    }

    /// Whether a sync has covered all that the live map has, and nobody writes to it.
    #[cfg(target_os = "linux")]
    pub(super) fn is_flushed(&self) -> bool {
        self.flushed == self.progress() && self.writing == 0
    }

    /// Whether the sync of a map takes a change that ends at `end` along.
    pub(super) fn is_covered(&self, end: u64) -> bool {
        self.live.iter().chain(&self.retired).any(|map| map.covers(end))
    }

    /// What a sync that begins now has to cover.
    pub(super) fn unsynced(&self) -> Unsynced {
        let progress = self.progress();
        let is_flushed = progress.is_some() && self.flushed == progress;
        let live = self.live.iter().filter(|_| !is_flushed);
        Unsynced {
            by_descriptor: self.dirtied != self.synced,
            generation: self.dirtied,
            covered: self.covered,
            progress,
            maps: self.retired.iter().chain(live).cloned().collect(),
        }
    }

    /// A sync has covered what was unsynced when it began.
    pub(super) fn note_synced(&mut self, done: &Unsynced) {
        self.synced = self.synced.max(done.generation);
        // Should the map have been changed for another meanwhile, its numbers differ too.
        self.flushed = done.progress;
        // a write that is under way may have come too late for it, and counts on a map
        if self.covered == done.covered && self.writing == 0 {
            self.retired.retain(|map| !done.maps.iter().any(|done| Arc::ptr_eq(done, map)));
        }
    }
}

/// What of a file was unsynced at one moment.
pub(super) struct Unsynced {
    pub(super) by_descriptor: bool,
    generation: u64,
    pub(super) covered: u64,
    progress: Option<Flushed>,
    pub(super) maps: Vec<Arc<Mapping>>,
}

/// The first failed sync.
#[derive(Clone)]
pub(super) struct Failure {
    kind: io::ErrorKind,
    errno: Option<i32>,
    text: Arc<str>,
}

impl Failure {
    pub(super) fn of(error: &io::Error) -> Self {
        let text = error.to_string().into();
        Failure { kind: error.kind(), errno: error.raw_os_error(), text }
    }

    pub(super) fn to_error(&self) -> io::Error {
        match self.errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(self.kind, &*self.text),
        }
    }
}

/// More maps than this wait for a sync only when a caller maps, or the pool closes, over and over.
pub(super) const MOST_RETIRED: usize = 4;

/// A mapping that keeps a descriptor's file and what it has to report, if there can be one.
#[cfg(target_os = "linux")]
pub(super) fn anchor(file: &File, retired: usize) -> Option<Arc<Mapping>> {
    (retired < MOST_RETIRED).then(|| Mapping::anchor(file).ok()).flatten()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn anchor(_file: &File, _retired: usize) -> Option<Arc<Mapping>> {
    None
}
