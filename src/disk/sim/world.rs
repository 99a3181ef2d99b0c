//! All there is of a simulated disk, under its one lock: names, contents, plans, handles, power.
//!
//! Every call enters here first, is counted, and fails when its turn to fail has come. When the
//! power is cut the state is set aside as it is: what a program still does to its maps changes
//! only what that program sees.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::IoMode;
use super::super::tail::Overwrites;
use super::Crash;
use super::faults::{Faults, Operation};
use super::moments::{Moment, Recording};
use super::names::{Link, Names, ROOT, Tree};
use super::random::Random;
use super::sectors::SimContents;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) boots: u64,
    pub(super) mode: IoMode,
    pub(super) capacity: Option<u64>,
    pub(super) faults: Faults,
    pub(super) state: State,
    /// The disk as it was when the power went; what runs on changes only what it sees itself.
    pub(super) cut: Option<State>,
    pub(super) is_gone: bool,
    pub(super) locks: HashSet<PathBuf>,
    pub(super) handles: HashMap<u64, usize>,
    pub(super) recording: Option<Recording>,
}

/// What outlives the process. A copy shares what neither side has changed since.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) names: Arc<Names>,
    pub(super) files: HashMap<u64, Arc<SimContents>>,
    pub(super) last_file: u64,
}

pub(super) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn power_is_off() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        World {
            seed,
            boots: 0,
            mode: IoMode::Mapped,
            capacity: None,
            faults: Faults::default(),
            state: State::default(),
            cut: None,
            is_gone: false,
            locks: HashSet::new(),
            handles: HashMap::new(),
            recording: None,
        }
    }

    /// Counts a call and fails it if that is its lot; else how many bytes it may move.
    pub(super) fn enter(&mut self, operation: Operation) -> io::Result<usize> {
        if self.is_gone || self.cut.is_some() {
            return Err(power_is_off());
        }
        self.faults.operations += 1;
        self.keep_moment(self.faults.operations);
        if self.faults.cut_at.is_some_and(|at| self.faults.operations >= at) {
            self.cut = Some(self.state.clone());
            return Err(power_is_off());
        }
        self.faults.strike(operation)
    }

    /// Time on this disk: a millisecond each operation, so that runs are alike.
    pub(super) fn now(&self) -> Timestamp {
        const START: i64 = 1_600_000_000_000;
        Timestamp::from_millis(START.saturating_add_unsigned(self.faults.operations))
    }

    pub(super) fn file(&self, file: u64) -> &SimContents {
        self.state.files.get(&file).expect("a handle keeps its file's contents")
    }

    /// A file whose contents are about to change.
    pub(super) fn file_mut(&mut self, file: u64) -> &mut SimContents {
        self.touch();
        self.handle_mut(file)
    }

    /// A file of which only what handles know is about to change.
    pub(super) fn handle_mut(&mut self, file: u64) -> &mut SimContents {
        let found = self.state.files.get_mut(&file);
        Arc::make_mut(found.expect("a handle keeps its file's contents"))
    }

    pub(super) fn names_mut(&mut self) -> &mut Names {
        self.touch();
        Arc::make_mut(&mut self.state.names)
    }

    fn touch(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.is_dirty = true;
        }
    }

    /// Keeps the moment before a call, in place of the last one where nothing has changed since.
    fn keep_moment(&mut self, operation: u64) {
        if let Some(mut recording) = self.recording.take() {
            recording.keep(operation, || self.moment(operation));
            self.recording = Some(recording);
        }
    }

    /// This moment, before the call of that number.
    pub(super) fn moment(&self, operation: u64) -> Moment {
        let mut world = self.carried_over();
        world.state = self.state.clone();
        Moment::new(operation, world)
    }

    /// How many of `len` bytes at `position` fit.
    pub(super) fn room(&self, file: u64, position: u64, len: usize) -> usize {
        let Some(capacity) = self.capacity else { return len };
        let linked: HashSet<u64> = self.state.names.now.files().collect();
        let is_held = |file| linked.contains(file) || self.handles.contains_key(file);
        let held = self.state.files.iter().filter(|(file, _)| is_held(file));
        let used: u64 = held.map(|(_, contents)| contents.charged).sum();
        let end = self.file(file).charged.saturating_add(capacity.saturating_sub(used));
        usize::try_from(end.saturating_sub(position)).map_or(len, |room| room.min(len))
    }

    /// A handle was dropped.
    pub(super) fn closed(&mut self, file: u64) {
        if let Some(count) = self.handles.get_mut(&file) {
            *count -= 1;
            if *count == 0 {
                self.handles.remove(&file);
            }
        }
    }

    /// Forgets the contents that nobody can reach any more.
    pub(super) fn sweep(&mut self) {
        let reachable = self.state.names.reachable();
        let handles = &self.handles;
        self.state.files.retain(|file, _| reachable.contains(file) || handles.contains_key(file));
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.state.last_file += 1;
        self.state.last_file
    }

    /// What a crash or a kill carries over to the next disk.
    pub(super) fn leave(&mut self) -> World {
        let state = self.cut.take().unwrap_or_else(|| self.state.clone());
        self.is_gone = true;
        World { state, ..self.carried_over() }.restarted()
    }

    /// All but the state.
    pub(super) fn carried_over(&self) -> World {
        let mut next = World::new(self.seed);
        next.boots = self.boots;
        next.mode = self.mode;
        next.capacity = self.capacity;
        next.faults.operations = self.faults.operations;
        next
    }

    /// Without what the old process had of its files.
    pub(super) fn restarted(mut self) -> World {
        for contents in self.state.files.values_mut().filter(|contents| contents.is_mapped) {
            let contents = Arc::make_mut(contents);
            contents.is_mapped = false;
            contents.overwrites = Overwrites::default();
        }
        self
    }
}

impl State {
    pub(super) fn after(&self, crash: Crash, seed: u64) -> State {
        let choice = match crash {
            Crash::Random(choice) => choice,
            Crash::Nothing | Crash::Everything => 0,
        };
        let mut random = Random::new(seed ^ choice.rotate_left(32));
        let names = self.names.after(crash, &mut random);
        self.with(names, |_, contents| contents.after(crash, &mut random))
    }

    /// The state with these names, and what `settle` leaves of each file they lead to that has
    /// anything unsynced.
    pub(super) fn with(
        &self,
        names: Names,
        mut settle: impl FnMut(u64, &SimContents) -> SimContents,
    ) -> State {
        let mut kept: Vec<u64> = names.now.files().collect();
        kept.sort_unstable();
        kept.dedup();
        let contents = kept.into_iter().filter_map(|file| Some((file, self.files.get(&file)?)));
        let files = contents.map(|(file, found)| match found.is_settled() {
            true => (file, found.clone()),
            false => (file, Arc::new(settle(file, found))),
        });
        State { files: files.collect(), names: Arc::new(names), last_file: self.last_file }
    }

    /// A hash of what is on the device.
    pub(super) fn image_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_directory(&self.names.durable, ROOT, &mut hasher);
        hasher.finish()
    }

    fn hash_directory(&self, tree: &Tree, dir: u64, hasher: &mut DefaultHasher) {
        for (name, link) in tree.entries(dir) {
            name.hash(hasher);
            match link {
                Link::Directory(inner) => self.hash_directory(tree, inner, hasher),
                Link::File(file) => self.files[&file].image_hash().hash(hasher),
            }
        }
        // Ends the directory, so that its depth shows.
        0xFFu8.hash(hasher);
    }
}
