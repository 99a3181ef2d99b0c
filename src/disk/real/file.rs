//! An open file of the real disk: a pooled descriptor, its maps, and what is not yet synced.
//!
//! Invariants. Bytes written by position are unsynced until a sync that began after the write
//! ended; while there are any that no map covers, the descriptor they were written through stays
//! open (`dirtied != synced`), or a mapping of it that nobody looks into keeps its file (`anchor`).
//! A map that was dropped with unsynced bytes is kept until the next sync, for only its own file
//! can report what became of them. The first failed sync is latched: every later one returns it.
//!
//! Locks: one per file, never held across a system call but when the pool closes a dirty victim;
//! that of the syncs, taken before it, for the system tells a failure once, to one of those who
//! ask; and that of the window ahead, held while a piece of it is made, which nests with no other.
//! Called through the trait, and by `pool.rs`, `map.rs`, `whole.rs` and the disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::{Access, DiskFile, IoMode, TailMap, sealed};
use super::os::{self, Identity};
use super::state::{Failure, State, Unsynced, anchor};
#[cfg(target_os = "linux")]
use super::state::{MOST_RETIRED, Mapping};
use super::{Shared, room};
#[cfg(target_os = "linux")]
use super::{ahead, map};
use crate::sync::Mutex;

/// The handle that callers share.
#[derive(Debug)]
pub(super) struct RealFile {
    pub(super) inner: Arc<Inner>,
}

/// What the pool and the disk's registry also reach, weakly.
pub(super) struct Inner {
    access: Access,
    identity: Identity,
    pub(super) shared: Arc<Shared>,
    lately_used: AtomicBool,
    syncing: Mutex<()>,
    state: Mutex<State>,
    /// What lies behind the window of its mapped tail, being made ready.
    #[cfg(target_os = "linux")]
    pub(super) ahead: ahead::Window<map::Ahead>,
}

/// A file that a sync of all of them is to cover.
pub(super) struct Covering {
    file: Arc<Inner>,
    unsynced: Unsynced,
}

impl Covering {
    /// Whether its own sync would have anything to do.
    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced.by_descriptor || !self.unsynced.maps.is_empty()
    }

    /// Lets the file's own sync have failed.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        let failure = Failure::of(&io::Error::from_raw_os_error(5));
        self.file.state.lock().failed = Some(failure);
    }

    /// That sync has succeeded.
    pub(super) fn end(self) {
        let mut state = self.file.state.lock();
        if state.failed.is_none() {
            state.note_synced(&self.unsynced);
            state.was_covered = true;
        }
    }
}

/// What became of an attempt to close a descriptor.
pub(super) enum Closing {
    Closed,
    NotOpen,
    /// It has unsynced writes.
    Dirty,
    /// It is in use, was lately, or leads to an unlinked file.
    Needed,
}

impl Inner {
    /// Opens a file for the first time; the pool has made room for it.
    pub(super) fn open(shared: &Arc<Shared>, path: &Path, access: Access) -> io::Result<Arc<Self>> {
        let file = shared.pool.relieve(|| options(access).open(path))?;
        let found = file.metadata()?;
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let identity = os::identity(&found);
        let state = State {
            path: Arc::from(path),
            file: Some(Arc::new(file)),
            unlinked: false,
            kept: false,
            writing: 0,
            dirtied: 0,
            synced: 0,
            live: None,
            covered: 0,
            flushed: None,
            retired: Vec::new(),
            was_covered: false,
            failed: None,
        };
        let inner = Arc::new(Inner {
            access,
            identity,
            shared: shared.clone(),
            lately_used: AtomicBool::new(true),
            syncing: Mutex::new(()),
            state: Mutex::new(state),
            #[cfg(target_os = "linux")]
            ahead: ahead::Window::new(),
        });
        shared.pool.opened(&inner);
        Ok(inner)
    }

    /// The descriptor, opened again if the pool has closed it. Takes the registry's lock when
    /// the file is missing.
    pub(super) fn descriptor(self: &Arc<Self>) -> io::Result<Arc<File>> {
        match self.descriptor_at_path() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A rename of ours may be under way; the registry is held for as long.
                self.shared.registry.settle();
                self.descriptor_at_path()
            }
            other => other,
        }
    }

    /// The same for those who hold the registry's lock.
    fn descriptor_at_path(self: &Arc<Self>) -> io::Result<Arc<File>> {
        let path = match self.held() {
            Ok(file) => return Ok(file),
            Err(path) => path,
        };
        self.shared.pool.make_room();
        let file = self.reopen(&path)?;
        let mut state = self.state.lock();
        if let Some(file) = &state.file {
            return Ok(file.clone());
        }
        let file = Arc::new(file);
        state.file = Some(file.clone());
        drop(state);
        self.shared.pool.opened(self);
        Ok(file)
    }

    fn held(&self) -> Result<Arc<File>, Arc<Path>> {
        self.lately_used.store(true, Ordering::Relaxed);
        let state = self.state.lock();
        state.file.clone().ok_or_else(|| state.path.clone())
    }

    fn reopen(&self, path: &Path) -> io::Result<File> {
        let access = match self.access {
            Access::Create | Access::CreateNew => Access::Write,
            other => other,
        };
        let file = self.shared.pool.relieve(|| options(access).open(path))?;
        if os::identity(&file.metadata()?) != self.identity {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was replaced"));
        }
        Ok(file)
    }

    /// Runs a positioned change that ends at `end`, keeping what is unsynced provable.
    fn change<T>(
        self: &Arc<Self>,
        end: u64,
        change: impl FnOnce(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        let (file, covered) = loop {
            let file = self.descriptor()?;
            let mut state = self.state.lock();
            // The pool may have closed it just now; a write must go through the one kept.
            if state.file.as_ref().is_some_and(|held| Arc::ptr_eq(held, &file)) {
                let covered = state.is_covered(end);
                state.writing += 1;
                state.dirtied += u64::from(!covered);
                state.covered += u64::from(covered);
                break (file, covered);
            }
        };
        let done = change(&file);
        let mut state = self.state.lock();
        state.writing -= 1;
        // Again: a sync that began meanwhile may have missed the bytes.
        state.dirtied += u64::from(!covered);
        state.covered += u64::from(covered);
        done
    }

    fn sync(self: &Arc<Self>) -> io::Result<()> {
        let _turn = self.syncing.lock();
        let (unsynced, is_unknown) = {
            let state = self.state.lock();
            if let Some(failure) = &state.failed {
                return Err(failure.to_error());
            }
            let known = state.dirtied > 0 || state.was_covered;
            (state.unsynced(), !known && state.live.is_none() && state.retired.is_empty())
        };
        let mut synced = Ok(());
        if unsynced.by_descriptor || is_unknown {
            // Dirty, it is the very descriptor written through; never written through, any will
            // do. Otherwise all of it is synced, perhaps by the pool.
            synced = self.descriptor().map_err(os::not_begun)?.sync_data();
        }
        for map in &unsynced.maps {
            synced = synced.and_then(|()| map.flush());
        }
        self.end_sync(&unsynced, synced)
    }

    /// What came of a sync. Should the pool's have failed meanwhile, the system has told that one.
    fn end_sync(&self, unsynced: &Unsynced, synced: io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Err(error) = synced {
            state.failed.get_or_insert_with(|| Failure::of(&error));
            return Err(error);
        }
        if let Some(failure) = &state.failed {
            return Err(failure.to_error());
        }
        state.note_synced(unsynced);
        Ok(())
    }

    /// What a sync of all files on a device that begins now has to cover of this one; `None` where
    /// it cannot.
    pub(super) fn covering(self: &Arc<Self>, device: u64) -> Option<Covering> {
        if self.identity.device() != device {
            return None;
        }
        let unsynced = self.state.lock().unsynced();
        Some(Covering { file: self.clone(), unsynced })
    }

    /// The pool asks for the descriptor; called under the queue's lock, so it only tries.
    pub(super) fn try_close(&self) -> Closing {
        let Some(mut state) = self.state.try_lock() else { return Closing::Needed };
        if state.file.is_none() {
            return Closing::NotOpen;
        }
        let lately_used = self.lately_used.swap(false, Ordering::Relaxed);
        if lately_used || state.writing > 0 || state.unlinked || state.kept {
            return Closing::Needed;
        }
        if state.dirtied != state.synced {
            return Closing::Dirty;
        }
        state.file = None;
        self.shared.pool.closed();
        Closing::Closed
    }

    /// Closes a dirty descriptor; says whether it did. A mapping keeps its file until the next
    /// sync; where there can be none it is synced now, and what that fails with is latched.
    pub(super) fn close_dirty(&self) -> bool {
        let Some(mut state) = self.state.try_lock() else { return false };
        if state.writing > 0 || state.unlinked || state.kept {
            return false;
        }
        let Some(file) = state.file.take() else { return false };
        match anchor(&file, state.retired.len()) {
            Some(map) => state.retired.push(map),
            None => {
                if let Err(error) = file.sync_data() {
                    state.failed.get_or_insert_with(|| Failure::of(&error));
                }
            }
        }
        state.synced = state.dirtied;
        self.shared.pool.closed();
        true
    }

    /// Holds the descriptor for good, because the name is about to go; for the registry, under
    /// its lock.
    pub(super) fn pin(self: &Arc<Self>) -> io::Result<()> {
        self.with_descriptor(|state| state.unlinked = true)
    }

    /// Marks the state while there is a descriptor for the mark to hold.
    fn with_descriptor(self: &Arc<Self>, mark: impl FnOnce(&mut State)) -> io::Result<()> {
        loop {
            self.descriptor_at_path()?;
            let mut state = self.state.lock();
            if state.file.is_some() {
                mark(&mut state);
                return Ok(());
            }
        }
    }

    /// The name stayed after all.
    pub(super) fn unpin(&self) {
        self.state.lock().unlinked = false;
    }

    pub(super) fn path(&self) -> Arc<Path> {
        self.state.lock().path.clone()
    }

    pub(super) fn set_path(&self, path: &Arc<Path>) {
        self.state.lock().path = path.clone();
    }

    /// At most so many maps wait for a sync: it is made where there are more.
    #[cfg(target_os = "linux")]
    pub(super) fn make_room_for_map(self: &Arc<Self>) -> io::Result<()> {
        if self.state.lock().retired.len() >= MOST_RETIRED {
            self.sync()?;
        }
        Ok(())
    }

    /// The writer goes on in another map of the same bytes: what a sync has covered of the one
    /// before it has covered of both.
    #[cfg(target_os = "linux")]
    pub(super) fn change_map(&self, map: &Arc<Mapping>) {
        let mut state = self.state.lock();
        let is_clean = state.failed.is_none() && state.is_flushed();
        if let Some(before) = state.live.replace(map.clone())
            && !is_clean
        {
            state.retired.push(before);
        }
    }

    /// Whether there is somebody to make windows ready.
    #[cfg(target_os = "linux")]
    pub(super) fn has_servers(&self) -> bool {
        self.shared.ahead.is_served()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn ask_ahead(self: &Arc<Self>, window: map::Ahead) {
        self.ahead.ask(window);
        if !self.shared.ahead.offer(super::Task::Window(Arc::downgrade(self))) {
            self.ahead.call_in();
        }
    }

    /// No window is made ready from now on. A forked child, which has no thread that could be at
    /// it, may have inherited the lock as one held it.
    pub(super) fn call_in_ahead(&self) {
        #[cfg(target_os = "linux")]
        if !self.shared.fork.is_forked_child() {
            self.ahead.call_in();
        }
    }

    /// What is written up to `end` is not zeroed afterwards.
    fn give_way_ahead(&self, end: u64) {
        #[cfg(target_os = "linux")]
        if !self.shared.fork.is_forked_child() {
            self.ahead.give_way(end);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = end;
    }

    /// The writer has dropped its map; what was stored through it may still be unsynced.
    #[cfg(target_os = "linux")]
    pub(super) fn retire_map(&self) {
        let mut state = self.state.lock();
        let is_clean = state.failed.is_none() && state.is_flushed();
        let flushed = state.flushed.take();
        debug_assert!(flushed.is_none() || state.live.is_some());
        if let Some(map) = state.live.take()
            && !is_clean
        {
            state.retired.push(map);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if state.file.is_some() {
            self.shared.pool.closed();
        }
        self.shared.registry.gone(&state.path);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RealFile").field("access", &self.access).finish_non_exhaustive()
    }
}

fn options(access: Access) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    match access {
        Access::Read => &mut options,
        Access::Write => options.write(true),
        Access::Create => options.write(true).create(true),
        Access::CreateNew => options.write(true).create_new(true),
    };
    options
}

impl sealed::Sealed for RealFile {}

impl DiskFile for RealFile {
    fn path(&self) -> PathBuf {
        self.inner.path().to_path_buf()
    }

    fn renamed(&self, path: &Path) {
        self.inner.shared.registry.moved(&self.inner, path);
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inner.descriptor()?.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        os::read_at(&*self.inner.descriptor()?, buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let end = position.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        self.inner.give_way_ahead(end);
        self.inner.change(end, |file| os::write_at(file, bytes, position))
    }

    #[cfg(target_os = "linux")]
    fn write_pieces_at(&self, pieces: &[io::IoSlice<'_>], position: u64) -> io::Result<usize> {
        let empty = pieces.iter().take_while(|piece| piece.is_empty()).count();
        let pieces = &pieces[empty..pieces.len().min(empty + os::MOST_PIECES)];
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        let end = position.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        self.inner.give_way_ahead(end);
        self.inner.change(end, |file| Ok(rustix::io::pwritev(file, pieces, position)?))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let live = self.inner.state.lock().live.as_ref().map(|map| map.allocated());
        if live.is_some_and(|allocated| len < allocated) {
            // Stores into the cut part would raise SIGBUS.
            return Err(super::super::tail::invalid("a file is not cut under its live map"));
        }
        self.inner.call_in_ahead();
        self.inner.change(len, |file| file.set_len(len))
    }

    fn reserve(&self, end: u64) -> bool {
        self.inner.descriptor().is_ok_and(|file| room::reserve(&file, &self.inner.path(), end))
    }

    fn release(&self, len: u64) -> bool {
        self.inner.descriptor().is_ok_and(|file| room::release(&file, &self.inner.path(), len))
    }

    fn keep_open(&self) -> io::Result<()> {
        self.inner.with_descriptor(|state| state.kept = true)
    }

    fn system_file(&self) -> io::Result<Option<Arc<File>>> {
        self.inner.descriptor().map(Some)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync()
    }

    #[cfg(target_os = "linux")]
    fn map_tail(&self, published: u64, capacity: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        if self.inner.shared.mode != IoMode::Mapped {
            return Ok(None);
        }
        self.inner.make_room_for_map()?;
        let file = self.inner.descriptor()?;
        let mut state = self.inner.state.lock();
        if state.live.is_some() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the file is mapped already"));
        }
        let writer = Mapping::create(&file, published, capacity)?;
        state.live = Some(writer.mapping().clone());
        drop(state);
        Ok(Some(Box::new(super::map::RealTail::new(writer, self.inner.clone()))))
    }

    #[cfg(not(target_os = "linux"))]
    fn map_tail(&self, _published: u64, _capacity: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
