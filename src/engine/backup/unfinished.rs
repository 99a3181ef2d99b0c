//! Where a backup is made: a directory beside its target, which passes for a store only once it is
//! whole.
//!
//! `<target>.unfinished` is locked as a store's root is and carries a mark, durable before anything
//! else is in it, that every open refuses. In order: mark; contents, durable; mark gone; renamed to
//! the target; the parent synced. Cut short before the mark goes, the next backup to the target
//! takes it over; cut short after, it is whole and only lacks its name. What is taken away again
//! goes before the mark does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::catalog::remove_dir;
use super::super::root::directory;
use super::super::root::marker::{StoreId, read_unfinished, write_unfinished};
use crate::disk::names::{LOCK, REPLACEMENT_SUFFIX, UNFINISHED_BACKUP, UNFINISHED_SUFFIX};
use crate::disk::replace::parent;
use crate::disk::{DirLock, Disk};
use crate::error::{Cause, Error, Result};

const BACK_UP: &str = "back up store";

/// The directory of a backup that is being made.
#[derive(Debug)]
pub(super) struct Unfinished {
    disk: Arc<dyn Disk>,
    source: StoreId,
    target: PathBuf,
    path: PathBuf,
    lock: Box<dyn DirLock>,
}

impl Unfinished {
    /// Makes it, empty but for its mark and its lock; what an earlier backup to the same target
    /// left there goes.
    ///
    /// # Errors
    /// `InvalidArgument` where something else is in the way, at the target or beside it; `Locked`
    /// while another backup is made there; those of the disk.
    pub(super) fn begin(disk: &Arc<dyn Disk>, target: &Path, source: StoreId) -> Result<Self> {
        let path = beside(target)?;
        check_free(&**disk, target)?;
        check_ours(&**disk, &path)?;
        directory::make(&**disk, &path)?;
        let lock_file = path.join(LOCK);
        let lock = disk.lock(&lock_file).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                let text = "another backup is made there".to_owned();
                Error::new(BACK_UP, Cause::Locked(text)).at_path(&lock_file)
            }
            _ => Error::io(BACK_UP, &lock_file, error),
        })?;
        let target = target.to_owned();
        let unfinished = Unfinished { disk: disk.clone(), source, target, path, lock };
        check_ours(&**disk, &unfinished.path)?; // now that nobody else can fill it
        unfinished.clear()?;
        write_unfinished(&**disk, &unfinished.path, source)?;
        directory::sync_own_name(&**disk, &unfinished.path)?;
        Ok(unfinished)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all away but the mark and the lock, durably.
    fn clear(&self) -> Result<()> {
        let disk = &*self.disk;
        let fail = |error| Error::io(BACK_UP, &self.path, error);
        for entry in disk.list(&self.path).map_err(fail)? {
            let path = self.path.join(&entry.name);
            if entry.is_dir {
                remove_dir(disk, &path)?;
            } else if entry.name != LOCK && entry.name != UNFINISHED_BACKUP {
                disk.remove_file(&path).map_err(|error| Error::io(BACK_UP, &path, error))?;
            }
        }
        disk.sync_dir(&self.path).map_err(fail)
    }

    /// Gives what is now whole and durable its name.
    ///
    /// # Errors
    /// Those of the disk: then all of it is taken away again, unless it already has its name and
    /// only the name's durability is open.
    pub(super) fn finish(mut self) -> Result<()> {
        let disk = self.disk.clone();
        let named = self.unmark().and_then(|()| {
            let fail = |error| Error::io(BACK_UP, &self.target, error);
            check_free(&*disk, &self.target)?;
            disk.rename(&self.path, &self.target).map_err(fail)
        });
        if let Err(error) = named {
            self.give_up();
            return Err(error);
        }
        // the lock's file has its final name; whoever opens the store wants it
        let unlocked = self.lock.unlock();
        unlocked.map_err(|error| Error::io(BACK_UP, &self.target, error))?;
        disk.sync_dir(parent(&self.target)).map_err(|error| Error::io(BACK_UP, &self.target, error))
    }

    fn unmark(&self) -> Result<()> {
        let mark = self.path.join(UNFINISHED_BACKUP);
        let sync = || self.disk.sync_dir(&self.path);
        sync()
            .and_then(|()| self.disk.remove_file(&mark))
            .and_then(|()| sync())
            .map_err(|error| Error::io(BACK_UP, &self.path, error))
    }

    /// Takes it away as far as that is possible, its mark last.
    pub(super) fn give_up(mut self) {
        let disk = self.disk.clone();
        let marked = write_unfinished(&*disk, &self.path, self.source);
        let removed = marked.and_then(|()| self.clear()).and_then(|()| {
            let fail = |error| Error::io(BACK_UP, &self.path, error);
            disk.remove_file(&self.path.join(UNFINISHED_BACKUP)).map_err(fail)?;
            disk.remove_file(&self.path.join(LOCK)).map_err(fail)?;
            disk.remove_dir(&self.path).map_err(fail)
        });
        if let Err(error) = removed {
            log::warn!("{error}: what is left of the backup goes with the next one made there");
        }
        if let Err(error) = self.lock.unlock() {
            log::warn!("{}", Error::io(BACK_UP, &self.path, error));
        }
    }
}

fn beside(target: &Path) -> Result<PathBuf> {
    let Some(name) = target.file_name() else {
        let text = "the directory of a backup needs a name of its own".to_owned();
        return Err(Error::new(BACK_UP, Cause::InvalidArgument(text)).at_path(target));
    };
    let mut name = OsString::from(name);
    name.push(UNFINISHED_SUFFIX);
    Ok(target.with_file_name(name))
}

/// Fails unless nothing, or an empty directory, is at the target.
fn check_free(disk: &dyn Disk, target: &Path) -> Result<()> {
    let fail = |error| Error::io(BACK_UP, target, error);
    let free = match disk.metadata(target).map_err(fail)? {
        None => true,
        Some(found) => found.is_dir && disk.list(target).map_err(fail)?.is_empty(),
    };
    if free {
        return Ok(());
    }
    let text = "it exists and is not an empty directory".to_owned();
    Err(Error::new(BACK_UP, Cause::InvalidArgument(text)).at_path(target))
}

/// Fails where something is there that no backup has left.
fn check_ours(disk: &dyn Disk, path: &Path) -> Result<()> {
    let fail = |error| Error::io(BACK_UP, path, error);
    let text = match disk.metadata(path).map_err(fail)? {
        None => return Ok(()),
        Some(found) if !found.is_dir => "it is no directory",
        Some(_) => {
            let is_first = |name: &str| {
                let name = name.strip_suffix(REPLACEMENT_SUFFIX).unwrap_or(name);
                [LOCK, UNFINISHED_BACKUP].contains(&name)
            };
            let entries = disk.list(path).map_err(fail)?;
            if entries.iter().all(|entry| !entry.is_dir && is_first(&entry.name))
                || read_unfinished(disk, path)?.is_some()
            {
                return Ok(());
            }
            "it holds something else than what a backup that was cut short leaves"
        }
    };
    Err(Error::new(BACK_UP, Cause::InvalidArgument(text.to_owned())).at_path(path))
}
