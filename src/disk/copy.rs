//! Copying the bytes of a file into a new one, durably, in bounded memory.
//!
//! The name of the copy is durable once the caller has synced its directory. Called by whoever must
//! not change a file in place, keeps aside what it cuts off, or writes a backup. [`own`] is for
//! those who write in place: a file with a second name is another's too, a backup's perhaps.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::REPLACEMENT_SUFFIX;
use super::replace::parent;
use super::{Access, Disk, DiskFile, read_full_at, write_all_at};

/// Bytes copied at a time.
const BUFFER: u64 = 256 << 10;

/// Copies what `from` holds of `range` into the file `to`, which is made or emptied, and syncs it.
/// Returns how many bytes there were.
///
/// # Errors
/// Those of the operating system; the copy may be there in part.
pub(crate) fn copy_file(
    disk: &dyn Disk,
    from: &dyn DiskFile,
    range: Range<u64>,
    to: &Path,
) -> io::Result<u64> {
    copy_file_while(disk, from, range, to, &|_| true)
}

/// The same, telling `go_on` of bytes as they are copied; where it says no the copy ends there,
/// unsynced.
pub(crate) fn copy_file_while(
    disk: &dyn Disk,
    from: &dyn DiskFile,
    range: Range<u64>,
    to: &Path,
    go_on: &dyn Fn(u64) -> bool,
) -> io::Result<u64> {
    let to: Arc<dyn DiskFile> = disk.open(to, Access::Create)?;
    to.set_len(0)?;
    let len = range.end.saturating_sub(range.start);
    let mut buffer = vec![0; usize::try_from(len.min(BUFFER)).unwrap_or(0)];
    let mut done = 0;
    while done < len {
        // at most the buffer's length, so that it is not cut
        let wanted = (len - done).min(BUFFER) as usize;
        let got = read_full_at(from, &mut buffer[..wanted], range.start + done)?;
        if got == 0 {
            break;
        }
        write_all_at(&*to, &buffer[..got], done)?;
        done += got as u64;
        if !go_on(got as u64) {
            return Ok(done);
        }
    }
    to.sync_data()?;
    Ok(done)
}

/// Whether a failed [`link`](Disk::link) says that a file can have no second name there, and is to
/// be copied.
pub(crate) fn is_unlinkable(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

/// Gives the file at `from` the name `to` as well, which must be free, or has a copy there where it
/// can have no second name.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn keep_as(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    match disk.link(from, to) {
        Err(error) if is_unlinkable(&error) => {
            copy_file(disk, &*disk.open(from, Access::Read)?, 0..u64::MAX, to).map(drop)
        }
        linked => linked,
    }
}

/// Whether what a file holds from `position` on begins with all that the file at `path` holds.
pub(crate) fn begins_with(
    disk: &dyn Disk,
    from: &dyn DiskFile,
    position: u64,
    path: &Path,
) -> io::Result<bool> {
    let begun = disk.open(path, Access::Read)?;
    let mut buffers = [vec![0; BUFFER as usize], vec![0; BUFFER as usize]]; // 256 KiB
    let [own, other] = &mut buffers;
    let mut done = 0;
    loop {
        let got = read_full_at(&*begun, own, done)?;
        if read_full_at(from, &mut other[..got], position.saturating_add(done))? < got
            || own[..got] != other[..got]
        {
            return Ok(false);
        }
        done += got as u64;
        if got < own.len() {
            return Ok(true);
        }
    }
}

/// Whether a file has more than one name.
pub(crate) fn is_shared(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    Ok(disk.metadata(path)?.is_some_and(|found| found.links > 1))
}

/// Where the file that is to take the place of `path` is written. The name is no segment's: one
/// that says "rewritten" would have the next open take back a rewrite of another segment that was
/// finished, should a power cut have undone the last renaming of that.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(REPLACEMENT_SUFFIX);
    PathBuf::from(beside)
}

/// Sees to it that the file at `path`, if there is one, has no other name, before it is changed in
/// place: one that has is copied beside, synced, renamed over the name it shares, and the directory
/// synced. Costs a look at the file where it has not. No handle of it may be open.
///
/// # Errors
/// Those of the operating system; the shared file still has the name then, unless only the name's
/// durability is open.
pub(crate) fn own(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if !is_shared(disk, path)? {
        return Ok(());
    }
    let beside = beside(path);
    let copied = (|| {
        let from = disk.open(path, Access::Read)?;
        copy_file(disk, &*from, 0..u64::MAX, &beside)?;
        disk.rename(&beside, path)
    })();
    if let Err(error) = copied {
        let _ = disk.remove_file(&beside); // what is left of it, the next open tidies away
        return Err(error);
    }
    disk.sync_dir(parent(path))
}
