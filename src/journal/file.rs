//! The journal's file: made whole before its name is, reused as it is where it fits.
//!
//! Its space is written with zeros once, so that a sync later has to carry data alone: a portion at
//! a time, each synced, so that whoever makes it can do other work in between. Two halves follow
//! the head. What an earlier reign left in it counts for nothing and is written over.
//!
//! Called by `core`, on the maintenance thread; the head is read by `replay` too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use super::frame::FILE_HEAD;
use super::frame::{FILE_LEN, FileHead, HeadFault, StoreId, VERSION};
use crate::disk::copy::is_shared;
use crate::disk::names::{JOURNAL, REPLACEMENT_SUFFIX};
use crate::disk::{Access, Disk, DiskFile, read_full_at, write_all_at};
use crate::error::{Cause, Error, Result};

const MAKE: &str = "make journal";
pub(super) const READ: &str = "read journal";
/// Bytes written at a time.
const CHUNK: usize = 256 << 10;
/// Bytes written and synced before other work has its turn.
const PORTION: u64 = 4 << 20;
/// A new file takes at most this part of what is free.
const SHARE: u64 = 8;
/// Halves are whole sectors.
const GRAIN: u64 = 512;

/// How large each half of a journal of `size` bytes is.
pub(super) fn half_of(size: u64) -> u64 {
    let half = size.saturating_sub(FILE_HEAD) / 2;
    (half - half % GRAIN).max(GRAIN)
}

/// The head of the journal of `root`, `None` where there is no file.
///
/// # Errors
/// `NewerVersion`, `Corrupt`, those of the disk.
pub(super) fn read_head(disk: &dyn Disk, path: &Path) -> Result<Option<FileHead>> {
    match disk.open(path, Access::Read) {
        Ok(file) => head_in(&*file, path).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(READ, path, error)),
    }
}

/// The head of an open file.
pub(super) fn head_in(file: &dyn DiskFile, path: &Path) -> Result<FileHead> {
    let mut bytes = [0; FILE_LEN];
    let got = read_full_at(file, &mut bytes, 0).map_err(|error| Error::io(READ, path, error))?;
    FileHead::parse(&bytes[..got]).map_err(|fault| match fault {
        HeadFault::Newer { found } => {
            Error::new(READ, Cause::NewerVersion { found, known: VERSION }).at_path(path)
        }
        HeadFault::Damage(reason) => Error::corrupt(READ, path, 0, reason),
    })
}

/// How a journal's file comes to be there.
#[derive(Debug)]
pub(super) enum Making {
    /// One that fits was there.
    Found(Arc<dyn DiskFile>),
    Anew(NewFile),
}

/// A file that is being made, under another name.
#[derive(Debug)]
pub(super) struct NewFile {
    file: Arc<dyn DiskFile>,
    beside: PathBuf,
    path: PathBuf,
    head: FileHead,
    len: u64,
    written: u64,
}

/// Opens the file for writing; begins to make it where there is none that fits.
///
/// # Errors
/// Those of the disk; nothing is left behind then. `NewerVersion` where it must not be replaced.
pub(super) fn begin_making(
    disk: &dyn Disk,
    root: &Path,
    store: &StoreId,
    half: u64,
) -> Result<Making> {
    let path = root.join(JOURNAL);
    let head = FileHead { store: *store, half };
    let fail = |error| Error::io(MAKE, &path, error);
    let there = match read_head(disk, &path) {
        Ok(there) => there,
        Err(error) if error.is_corrupt() => None, // an unclean open has refused it before
        Err(error) => return Err(error),
    };
    let len = FILE_HEAD + 2 * half;
    // what it holds counts no more: one that has another name too is not written to but replaced
    if there == Some(head) && !is_shared(disk, &path).map_err(fail)? {
        let file = disk.open(&path, Access::Write).map_err(fail)?;
        if file.len().map_err(fail)? == len {
            file.keep_open().map_err(fail)?;
            return Ok(Making::Found(file));
        }
    }
    // rather none than one that leaves little for records
    let free = disk.available(root).map_err(fail)?;
    if free.is_some_and(|free| free / SHARE < len) {
        let text = format!("a journal of {len} bytes would take too much of what is left");
        return Err(Error::new(MAKE, Cause::Full(text)).at_path(&path));
    }
    let beside = beside(&path);
    let file = disk.open(&beside, Access::Create).map_err(fail)?;
    let new = NewFile { file, beside, path: path.clone(), head, len, written: 0 };
    match new.file.set_len(0) {
        Ok(()) => Ok(Making::Anew(new)),
        Err(error) => Err(new.given_up(disk, error)),
    }
}

impl NewFile {
    /// Writes the next portion and syncs it; with the last the file gets its name.
    ///
    /// # Errors
    /// Those of the disk; nothing is left behind then.
    pub(super) fn go_on(mut self, disk: &dyn Disk, root: &Path) -> Result<Making> {
        let step = self.write_portion().and_then(|()| {
            if self.written < self.len {
                return Ok(false);
            }
            disk.rename(&self.beside, &self.path)?;
            self.file.renamed(&self.path);
            disk.sync_dir(root)?;
            Ok(true)
        });
        match step {
            Ok(true) => Ok(Making::Found(self.file)),
            Ok(false) => Ok(Making::Anew(self)),
            Err(error) => Err(self.given_up(disk, error)),
        }
    }

    fn write_portion(&mut self) -> std::io::Result<()> {
        let zeros = vec![0; CHUNK];
        let end = self.len.min(self.written + PORTION);
        while self.written < end {
            let wanted = usize::try_from(end - self.written).unwrap_or(CHUNK).min(CHUNK);
            write_all_at(&*self.file, &zeros[..wanted], self.written)?;
            self.written += wanted as u64;
        }
        if self.written == self.len {
            write_all_at(&*self.file, &self.head.encode(), 0)?;
            self.file.keep_open()?;
        }
        self.file.sync_data()
    }

    fn given_up(&self, disk: &dyn Disk, error: std::io::Error) -> Error {
        // what is left of it is only litter: the first error is the one to report
        let _ = disk.remove_file(&self.beside);
        Error::io(MAKE, &self.path, error)
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.to_owned().into_os_string();
    beside.push(REPLACEMENT_SUFFIX);
    PathBuf::from(beside)
}

/// Removes what nobody needs: a file that was not made to its end, and the journal's own where the
/// store is to have none and its last reign is over.
pub(crate) fn remove_files(disk: &dyn Disk, root: &Path, keep: bool) {
    let path = root.join(JOURNAL);
    let unfinished = beside(&path);
    for path in [Some(unfinished), (!keep).then_some(path)].into_iter().flatten() {
        let removed = match disk.metadata(&path) {
            Ok(Some(_)) => disk.remove_file(&path),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            log::warn!("{}", Error::io("remove journal", &path, error));
        }
    }
}
