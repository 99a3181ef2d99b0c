//! One sync for all files of a store, where that is as strong as those it stands for.
//!
//! `syncfs` writes everything of a file system, so of thousands of files it makes one wait. It
//! stands for the sync of each handle only where all of this holds, else nothing is said to be
//! synced and each file's own sync decides, by its own mark, as ever:
//!
//! - The file system is ext2/3/4 or XFS, where one commit carries all names, sizes and bytes; the
//!   kernel is 5.8 or later, which reports lost pages of any file to it.
//! - It is made through the directory's lock, opened before anything there was written, so that no
//!   earlier failure is missed; handles on another device are not covered by it.
//! - Afterwards the file system is still writable and a sync of one file succeeds: one that was
//!   shut down by an error writes nothing, and `syncfs` may be silent about that.
//!
//! Of directories it is remembered which have changed since: the others need no sync of their own.
//! That is bounded: with too many changed ones nothing is remembered. Called by the disk.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::Shared;
use super::os;
use crate::sweep;
use crate::sync::Mutex;

/// With fewer unsynced files, or changed directories, their own syncs cost less than writing all
/// that others left unwritten.
const MANY: usize = 64;
/// Changed directories that are remembered.
const MOST_CHANGED: usize = 65_536;

/// What syncs of all files go by.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// The directories that are locked, each with the file of its lock.
    locked: Mutex<Vec<(PathBuf, Weak<File>)>>,
    /// Held through a sync: what one remembers of names must not pass for the work of another. Who
    /// only locks a directory does not wait for it.
    turn: Mutex<()>,
    /// How often names have changed.
    changes: AtomicU64,
    names: Mutex<Option<Names>>,
}

/// Whose names have changed.
#[derive(Debug)]
struct Names {
    device: u64,
    /// The sync that began this has succeeded.
    counts: bool,
    /// Directories by inode, each with the number of its last change, which no other has.
    changed: HashMap<u64, u64>,
}

impl Whole {
    /// A directory was locked: its lock outlives all that is written there.
    pub(super) fn locked(&self, lock_file: &Path, file: &Arc<File>) {
        let Some(dir) = lock_file.parent() else { return };
        let entry = (dir.to_owned(), Arc::downgrade(file));
        sweep::push(&mut self.locked.lock(), entry, |(_, file)| file.strong_count() > 0);
    }

    /// Syncs everything, if there is much to sync; says whether it did.
    pub(super) fn sync(&self, shared: &Shared, dir: &Path) -> io::Result<bool> {
        let _turn = self.turn.lock();
        let Some(lock) = self.lock_of(dir) else { return Ok(false) };
        if !os::syncs_whole(&lock)? {
            return Ok(false);
        }
        let device = os::identity(&lock.metadata()?).device();
        let covering = shared.registry.covering(device);
        let files = covering.iter().filter(|file| file.is_unsynced()).count();
        {
            let mut names = self.names.lock();
            let directories = names.as_ref().map_or(0, |known| known.changed.len());
            if files < MANY && directories < MANY {
                return Ok(false);
            }
            *names = Some(Names { device, counts: false, changed: HashMap::new() });
        }
        if let Err(error) = os::sync_whole(&lock) {
            self.forget();
            return Err(error);
        }
        covering.into_iter().for_each(|file| file.end());
        if let Some(names) = &mut *self.names.lock() {
            names.counts = true;
        }
        Ok(true)
    }

    /// The file of a directory's lock, if it is locked.
    fn lock_of(&self, dir: &Path) -> Option<Arc<File>> {
        let locked = self.locked.lock();
        locked.iter().filter(|(known, _)| known == dir).find_map(|(_, file)| file.upgrade())
    }

    fn forget(&self) {
        *self.names.lock() = None;
    }

    /// The names in these directories have changed: said after they have, before anyone relies on
    /// it.
    pub(super) fn changed<'a>(&self, dirs: impl IntoIterator<Item = &'a Path>) {
        let mut names = self.names.lock();
        let Some(known) = &mut *names else { return };
        let found = dirs.into_iter().try_for_each(|dir| {
            let (device, inode) = os::identity_of(dir)?;
            if device == known.device {
                let number = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
                known.changed.insert(inode, number);
            }
            Ok::<(), io::Error>(())
        });
        if found.is_err() || known.changed.len() > MOST_CHANGED {
            *names = None;
        }
    }

    /// Syncs the names in a directory by `sync`, unless they have not changed since all were.
    pub(super) fn sync_names(
        &self,
        dir: &Path,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(before) = self.change_of(dir)? else { return sync() };
        let Change { inode, number: Some(number) } = before else { return Ok(()) };
        sync().inspect_err(|_| self.forget())?;
        if let Some(known) = &mut *self.names.lock()
            && known.changed.get(&inode) == Some(&number)
        {
            known.changed.remove(&inode);
        }
        Ok(())
    }

    /// `None` where nothing is known.
    fn change_of(&self, dir: &Path) -> io::Result<Option<Change>> {
        let names = self.names.lock();
        let Some(known) = names.as_ref().filter(|known| known.counts) else { return Ok(None) };
        let (device, inode) = os::identity_of(dir)?;
        let number = known.changed.get(&inode).copied();
        Ok((device == known.device).then_some(Change { inode, number }))
    }
}

/// Whether a directory has changed, and the number of its last change.
struct Change {
    inode: u64,
    number: Option<u64>,
}

#[cfg(test)]
mod tests;
