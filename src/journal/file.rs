//! The journal's file: made whole before its name is, reused as it is where it fits.
//!
//! Its space is written with zeros once, so that a sync later has to carry data alone. Two halves
//! follow the head. What an earlier reign left in it counts for nothing and is written over.
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

/// Bytes written at a time.
const CHUNK: usize = 256 << 10;
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
    const OPERATION: &str = "read journal";
    let fail = |error| Error::io(OPERATION, path, error);
    let file = match disk.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = [0; FILE_LEN];
    let got = read_full_at(&*file, &mut bytes, 0).map_err(fail)?;
    head_of(&bytes[..got], path).map(Some)
}

/// The head at the front of a file's bytes.
pub(super) fn head_of(bytes: &[u8], path: &Path) -> Result<FileHead> {
    const OPERATION: &str = "read journal";
    FileHead::parse(bytes).map_err(|fault| match fault {
        HeadFault::Newer { found } => {
            Error::new(OPERATION, Cause::NewerVersion { found, known: VERSION }).at_path(path)
        }
        HeadFault::Damage(reason) => Error::corrupt(OPERATION, path, 0, reason),
    })
}

/// Opens the file for writing; makes it where there is none that fits.
///
/// # Errors
/// Those of the disk; nothing is left behind then. `NewerVersion` where it must not be replaced.
pub(super) fn make(
    disk: &dyn Disk,
    root: &Path,
    store: &StoreId,
    half: u64,
) -> Result<Arc<dyn DiskFile>> {
    let path = root.join(JOURNAL);
    let head = FileHead { store: *store, half };
    let fail = |error| Error::io("make journal", &path, error);
    let there = match read_head(disk, &path) {
        Ok(there) => there,
        Err(error) if error.is_corrupt() => None, // an unclean open has refused it before
        Err(error) => return Err(error),
    };
    let len = FILE_HEAD + 2 * half;
    // rather none than one that leaves little for records
    let free = disk.available(root).map_err(fail)?;
    let has_room = free.is_none_or(|free| free / SHARE >= len);
    // what it holds counts no more: one that has another name too is not written to but replaced
    if there == Some(head) && !is_shared(disk, &path).map_err(fail)? {
        let file = disk.open(&path, Access::Write).map_err(fail)?;
        if file.len().map_err(fail)? == len {
            file.keep_open().map_err(fail)?;
            return Ok(file);
        }
    }
    if !has_room {
        let text = format!("a journal of {len} bytes would take too much of what is left");
        return Err(Error::new("make journal", Cause::Full(text)).at_path(&path));
    }
    let mut beside = path.clone().into_os_string();
    beside.push(REPLACEMENT_SUFFIX);
    let beside = PathBuf::from(beside);
    let made = write_whole(disk, &beside, &head, len).and_then(|file| {
        disk.rename(&beside, &path)?;
        file.renamed(&path);
        disk.sync_dir(root)?;
        Ok(file)
    });
    made.map_err(|error| {
        // what is left of it is only litter: the first error is the one to report
        let _ = disk.remove_file(&beside);
        fail(error)
    })
}

fn write_whole(
    disk: &dyn Disk,
    path: &Path,
    head: &FileHead,
    len: u64,
) -> std::io::Result<Arc<dyn DiskFile>> {
    let file = disk.open(path, Access::Create)?;
    file.set_len(0)?;
    let zeros = vec![0; CHUNK];
    let mut at = 0;
    while at < len {
        let wanted = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        write_all_at(&*file, &zeros[..wanted], at)?;
        at += wanted as u64;
    }
    write_all_at(&*file, &head.encode(), 0)?;
    file.sync_data()?;
    file.keep_open()?;
    Ok(file)
}
