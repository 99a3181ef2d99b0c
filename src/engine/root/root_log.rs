//! The state log of a root, `tidelog.state`: facts appended under a checksum, never edited.
//!
//! One call to `record` is one frame, so its facts become so together or not at all. `open` reads
//! the file, then begins a new one with the state as a snapshot, synced before it takes the old
//! one's name: a torn tail is gone with the old file, the log starts short, and nothing rests on
//! pages that an earlier process may have failed to write (a second sync of those would lie).
//!
//! Failures. Short of space, the reserve is let go and the write made again; short of it still, or
//! of descriptors, before the sync: the file is cut back, the call may be made again. Any other
//! failed write, a failed sync, a failed cut: the latch trips and nothing is recorded any more. A
//! failed compaction leaves the old file in force, unless the new one has already taken its name:
//! where no descriptor was to be had for the sync of that, nothing is durable before it is made.
//!
//! Invariant: the state in the lock is the fold of the frames below `end`. Fields: `disk`, `root`,
//! `path` constant, `latch` atomic, the rest inside the lock. Called by the engine from any thread;
//! a call may sync.

use std::path::{Path, PathBuf};

use super::capacity::Capacity;
use super::fact::Fact;
pub(crate) use super::frame::TornTail;
use super::frame::{self, Fault, HEADER_LEN, Header, MAX_PAYLOAD, VERSION};
use super::marker::StoreId;
use super::reserve::Reserve;
use super::state::RootState;
use crate::disk::latch::Latch;
use crate::disk::replace::replace_file;
use crate::disk::{Access, Disk, DiskFile, names, write_all_at};
use crate::error::{Cause, Error, Outcome, Result};
use crate::log::Durable;
use crate::log::checkpoint::{MOST_SMALL, read_small_file};
use crate::sync::{Arc, Mutex};

/// Below this size a state log is never compacted.
const COMPACT_FLOOR: u64 = 1 << 20;
/// A state log is compacted when it is this many times the size of a fresh one.
const COMPACT_FACTOR: u64 = 4;
/// Facts to a frame of a snapshot.
const SNAPSHOT_CHUNK: usize = 4096;

/// What `open` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootReport {
    /// How often the file had been begun anew before.
    pub(crate) generation: u64,
    /// How many facts were read.
    pub(crate) facts: usize,
    /// The end of the file that was dropped.
    pub(crate) torn: Option<TornTail>,
}

/// The open state log.
#[derive(Debug)]
pub(crate) struct RootLog {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    path: PathBuf,
    latch: Latch,
    reserve: Reserve,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Arc<dyn DiskFile>,
    header: Header,
    end: u64,
    next_sequence: u64,
    durable_through: u64,
    compact_above: u64,
    /// Shared with whoever opens the root, until then.
    state: Arc<RootState>,
    capacity: Capacity,
    scratch: Vec<u8>,
    /// The file has its name, and no sync of that has begun.
    unnamed: bool,
    /// Nothing may be recorded any more: the store is closed and its lock given up.
    ended: bool,
}

const READ: &str = "read state log";

fn read(disk: &dyn Disk, root: &Path, store_id: Option<StoreId>) -> Result<frame::Scan> {
    let path = root.join(names::STATE_LOG);
    let Some(bytes) = read_small_file(disk, &path, READ)? else {
        return Err(Error::corrupt(READ, &path, 0, "the file is missing"));
    };
    let scan = frame::scan(&bytes).map_err(|fault| match fault {
        Fault::Newer { found } => {
            Error::new(READ, Cause::NewerVersion { found, known: VERSION }).at_path(&path)
        }
        Fault::Damage { position, reason } => Error::corrupt(READ, &path, position, reason),
    })?;
    if store_id.is_some_and(|id| id != scan.header.store_id) {
        let reason = format!("it belongs to another store, {}", scan.header.store_id);
        return Err(Error::corrupt(READ, &path, 12, reason));
    }
    Ok(scan)
}

fn report_of(scan: &frame::Scan) -> RootReport {
    let (generation, facts) = (scan.header.generation, scan.facts.len());
    RootReport { generation, facts, torn: scan.torn }
}

/// Makes the empty state log of a root that is being taken; durable when it returns.
///
/// It comes before the marker, so one without a marker is either a creation cut short, which tells
/// of nothing and is replaced, or a store whose marker was lost. The former need not be the empty
/// file that is made here: where the creation was killed, its marker has a name that a power cut
/// may yet take, and the next opening begins the file anew before it makes both names durable.
///
/// # Errors
/// `Corrupt` where a state log is there that tells of a store or cannot be read; the disk's.
pub(crate) fn create(disk: &dyn Disk, root: &Path, store_id: StoreId) -> Result<()> {
    let path = root.join(names::STATE_LOG);
    let there = disk.metadata(&path).map_err(|error| Error::io(READ, &path, error))?;
    let tells = |scan: frame::Scan| RootState::fold(&scan.facts) != RootState::default();
    if there.is_some() && tells(read(disk, root, None)?) {
        let reason = "it holds a store's state, but the store's marker is missing";
        return Err(Error::corrupt("create state log", &path, 0, reason));
    }
    let header = Header { store_id, generation: 1, first_sequence: 1, snapshot_through: 0 };
    replace_file(disk, &path, &header.encode())
        .map_err(|error| Error::io("create state log", &path, error))
}

/// Makes the state log of a root that begins with `state`; durable when it returns.
pub(super) fn create_holding(
    disk: &dyn Disk,
    root: &Path,
    store_id: StoreId,
    state: &RootState,
) -> Result<()> {
    let before = Header { store_id, generation: 0, first_sequence: 1, snapshot_through: 0 };
    let fresh = Fresh::of(state, &before, 1);
    let path = root.join(names::STATE_LOG);
    let file = fresh.write(disk, &path)?;
    fresh.name(disk, root, &path, &*file)
}

impl RootLog {
    /// Opens the state log of `root` for recording and begins it anew with the state it held.
    ///
    /// # Errors
    /// As [`load`], and what the disk says against writing.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        store_id: StoreId,
    ) -> Result<(RootLog, Arc<RootState>, RootReport)> {
        let scan = read(&*disk, root, Some(store_id))?;
        let report = report_of(&scan);
        let state = Arc::new(RootState::fold(&scan.facts));
        let fresh = Fresh::of(&state, &scan.header, scan.next_sequence);
        drop(scan);
        let path = root.join(names::STATE_LOG);
        let reserve = Reserve::found(disk.clone(), root, fresh.bytes.len() as u64);
        let file = using(&reserve, || fresh.write(&*disk, &path))?;
        fresh.name(&*disk, root, &path, &*file)?;
        let capacity = Capacity::of(&state, MOST_SMALL as u64);
        let inner = Mutex::new(fresh.into_inner(file, state.clone(), capacity));
        let root = root.to_owned();
        let log = RootLog { disk, root, path, latch: Latch::default(), reserve, inner };
        Ok((log, state, report))
    }

    /// Runs `write`, again on the space in reserve if there was none else.
    pub(crate) fn with_reserve<T>(&self, write: impl Fn() -> Result<T>) -> Result<T> {
        using(&self.reserve, write)
    }

    /// Takes back the space in reserve, if it was let go and there is room again.
    pub(crate) fn regain_reserve(&self) {
        self.reserve.regain();
    }

    /// The facts recorded so far, folded.
    pub(crate) fn with_state<T>(&self, read: impl FnOnce(&RootState) -> T) -> T {
        read(&self.inner.lock().state)
    }

    /// Records `facts` as one: all of them or none will be found.
    ///
    /// # Errors
    /// `InvalidArgument` or `TooLarge` for what could not be read back, be it for all that is
    /// there; `Full` and other passing shortages, after which nothing was written; anything else
    /// is final (`Poisoned` from then on), and its outcome unknown.
    pub(crate) fn record(&self, facts: &[Fact], durable: Durable) -> Result<()> {
        self.record_locked(&mut self.inner.lock(), facts, durable)
    }

    /// The same for facts that are made of what is recorded then: nobody comes in between.
    pub(crate) fn record_made(
        &self,
        make: impl FnOnce(&RootState) -> Vec<Fact>,
        durable: Durable,
    ) -> Result<()> {
        let mut inner = self.inner.lock();
        let facts = make(&inner.state);
        self.record_locked(&mut inner, &facts, durable)
    }

    fn record_locked(&self, inner: &mut Inner, facts: &[Fact], durable: Durable) -> Result<()> {
        const OPERATION: &str = "record facts";
        if let Some(reason) = facts.iter().find_map(Fact::refusal) {
            return Err(Error::new(OPERATION, Cause::InvalidArgument(reason.to_owned())));
        }
        self.latch.check(OPERATION).map_err(|error| error.at_path(&self.path))?;
        if inner.ended {
            return Err(Error::new(OPERATION, Cause::Closed("the store")));
        }
        if inner.unnamed && durable == Durable::Now {
            self.sync_name(inner)?;
        }
        if !facts.is_empty() {
            let admitted = inner.capacity.admit(&inner.state, facts);
            admitted.map_err(|error| error.at_path(&self.path))?;
            self.append(inner, facts)?;
        }
        if durable == Durable::Now {
            self.sync_locked(inner)?;
        }
        let state = Arc::make_mut(&mut inner.state);
        facts.iter().for_each(|fact| state.apply(fact));
        if inner.end > inner.compact_above {
            self.compact_if_due(inner);
        }
        Ok(())
    }

    /// Makes every fact recorded so far survive a power cut.
    ///
    /// # Errors
    /// A failed sync is final.
    #[cfg(test)]
    pub(crate) fn sync(&self) -> Result<()> {
        self.record(&[], Durable::Now)
    }

    /// Ends recording: whoever comes late must not write behind the stamp of a close, nor into a
    /// directory that may have another owner by now.
    pub(crate) fn end(&self) {
        self.inner.lock().ended = true;
    }

    fn append(&self, inner: &mut Inner, facts: &[Fact]) -> Result<()> {
        let mut bytes = std::mem::take(&mut inner.scratch);
        let written = self.frame(inner, facts, &mut bytes).and_then(|()| {
            using(&self.reserve, || {
                write_all_at(&*inner.file, &bytes, inner.end)
                    .map_err(|error| self.write_failed(inner, error))
            })
        });
        let len = bytes.len() as u64;
        inner.scratch = bytes;
        written?;
        inner.end += len;
        inner.next_sequence += 1;
        Ok(())
    }

    /// Makes the next frame; where the file would get too long to be read again, for one that is
    /// begun anew.
    fn frame(&self, inner: &mut Inner, facts: &[Fact], bytes: &mut Vec<u8>) -> Result<()> {
        for attempt in 0.. {
            bytes.clear();
            frame::put_frame(bytes, inner.next_sequence, inner.durable_through, facts).map_err(
                |size| self.too_large("a set of facts", size as u64, MAX_PAYLOAD as u64),
            )?;
            let (end, limit) = (inner.end + bytes.len() as u64, inner.capacity.limit());
            if end <= limit {
                break;
            }
            if attempt > 0 {
                return Err(self.too_large("the state log", end, limit));
            }
            let fresh = Fresh::of(&inner.state, &inner.header, inner.next_sequence);
            self.begin_anew(inner, fresh)?;
            self.latch.check("record facts").map_err(|error| error.at_path(&self.path))?;
        }
        Ok(())
    }

    /// Takes back what a failed write may have left; latches unless it was a passing shortage.
    fn write_failed(&self, inner: &Inner, error: std::io::Error) -> Error {
        let error = Error::io("record facts", &self.path, error).at_position(inner.end);
        let cut = inner.file.set_len(inner.end);
        if cut.is_ok() && error.is_retriable() {
            return error;
        }
        self.latch.trip(&error);
        error.with_outcome(Outcome::Unknown)
    }

    /// Makes up for a sync that could not begin when the file was named.
    fn sync_name(&self, inner: &mut Inner) -> Result<()> {
        let synced = self.disk.sync_dir(&self.root);
        let synced = synced.map_err(|error| Error::io("begin state log", &self.path, error));
        self.named(inner, synced)
    }

    /// What came of the sync of the file's name; latches unless it was not begun.
    fn named(&self, inner: &mut Inner, synced: Result<()>) -> Result<()> {
        match &synced {
            Err(error) if error.is_of_a_sync_begun() => self.latch.trip(error),
            Err(_) => inner.unnamed = true,
            Ok(()) => inner.unnamed = false,
        }
        synced
    }

    fn sync_locked(&self, inner: &mut Inner) -> Result<()> {
        let last = inner.next_sequence - 1;
        if inner.durable_through == last {
            return Ok(());
        }
        if let Err(error) = inner.file.sync_data() {
            let error = Error::io("sync state log", &self.path, error);
            self.latch.trip(&error);
            return Err(error.with_outcome(Outcome::Unknown));
        }
        inner.durable_through = last;
        Ok(())
    }

    /// Begins the file anew when most of it is history. The facts that led here are recorded
    /// whatever becomes of this, so it has no error to return.
    fn compact_if_due(&self, inner: &mut Inner) {
        let fresh = Fresh::of(&inner.state, &inner.header, inner.next_sequence);
        inner.compact_above = fresh.compact_above();
        if inner.end <= inner.compact_above {
            return;
        }
        if let Err(error) = self.begin_anew(inner, fresh) {
            log::warn!("the state log grows on: {error}");
            inner.compact_above = inner.end + COMPACT_FLOOR;
        }
    }

    fn too_large(&self, what: &'static str, size: u64, limit: u64) -> Error {
        Error::new("record facts", Cause::TooLarge { what, size, limit }).at_path(&self.path)
    }

    /// Puts a new file in place of this one; fails where that stays in force.
    fn begin_anew(&self, inner: &mut Inner, fresh: Fresh) -> Result<()> {
        let file = fresh.write(&*self.disk, &self.path)?;
        let named = fresh.name(&*self.disk, &self.root, &self.path, &*file);
        if let Err(error) = self.named(inner, named) {
            log::error!("{error}");
            if self.latch.is_tripped() {
                return Ok(()); // which of the two has the name now, or after a cut, is not known
            }
        }
        let (state, unnamed) = (std::mem::take(&mut inner.state), inner.unnamed);
        let capacity = Capacity::of(&state, inner.capacity.limit());
        *inner = Inner { unnamed, ..fresh.into_inner(file, state, capacity) };
        Ok(())
    }
}

/// Runs `write`; where the disk has no room for it, again on the space in reserve, step by step.
fn using<T>(reserve: &Reserve, write: impl Fn() -> Result<T>) -> Result<T> {
    loop {
        match write() {
            Err(error) if error.is_full() && reserve.let_go() => {}
            done => return done,
        }
    }
}

/// A state log about to be begun anew.
struct Fresh {
    header: Header,
    bytes: Vec<u8>,
}

impl Fresh {
    fn of(state: &RootState, old: &Header, next_sequence: u64) -> Fresh {
        let snapshot = state.snapshot();
        let mut header = Header {
            store_id: old.store_id,
            generation: old.generation + 1,
            first_sequence: next_sequence,
            snapshot_through: next_sequence - 1,
        };
        let mut bytes = vec![0; HEADER_LEN];
        for facts in snapshot.chunks(SNAPSHOT_CHUNK) {
            header.put(&mut bytes, facts);
        }
        bytes[..HEADER_LEN].copy_from_slice(&header.encode());
        Fresh { header, bytes }
    }

    fn compact_above(&self) -> u64 {
        COMPACT_FLOOR.max(COMPACT_FACTOR * self.bytes.len() as u64)
    }

    /// Writes and syncs the file under its temporary name, which it loses again on failure.
    fn write(&self, disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let temporary = temporary(path);
        let write = || {
            let file = disk.open(&temporary, Access::Create)?;
            file.keep_open()?; // a fact must be recorded though all other handles are taken
            file.set_len(0)?;
            write_all_at(&*file, &self.bytes, 0)?;
            file.sync_data()?;
            Ok(file)
        };
        write().map_err(|error| {
            let _ = disk.remove_file(&temporary); // the next attempt overwrites it anyway
            Error::io("begin state log", &temporary, error)
        })
    }

    /// Gives the written file the state log's name, durably.
    fn name(&self, disk: &dyn Disk, root: &Path, path: &Path, file: &dyn DiskFile) -> Result<()> {
        let named = disk.rename(&temporary(path), path).and_then(|()| {
            file.renamed(path);
            disk.sync_dir(root)
        });
        named.map_err(|error| Error::io("begin state log", path, error))
    }

    fn into_inner(
        self,
        file: Arc<dyn DiskFile>,
        state: Arc<RootState>,
        capacity: Capacity,
    ) -> Inner {
        Inner {
            file,
            header: self.header,
            end: self.bytes.len() as u64,
            next_sequence: self.header.snapshot_through + 1,
            durable_through: self.header.snapshot_through,
            compact_above: self.compact_above(),
            state,
            capacity,
            scratch: Vec::new(),
            unnamed: false,
            ended: false,
        }
    }
}

impl Header {
    /// Adds frames for facts of a snapshot, in halves where one frame would be too large.
    fn put(&mut self, bytes: &mut Vec<u8>, facts: &[Fact]) {
        let sequence = self.snapshot_through + 1;
        match frame::put_frame(bytes, sequence, self.snapshot_through, facts) {
            Ok(()) => self.snapshot_through = sequence,
            Err(_) => {
                // a single fact always fits: it came through `record`, with the same bound
                assert!(facts.len() > 1, "a fact too large for a frame was recorded");
                let (first, second) = facts.split_at(facts.len() / 2);
                self.put(bytes, first);
                self.put(bytes, second);
            }
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
