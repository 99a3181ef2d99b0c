//! Small files that are replaced whole: written beside, synced, renamed, the directory synced.
//!
//! After a crash at any step the name holds all of the old bytes or all of the new ones; once the
//! call has returned, the new ones. Used for checkpoints, `partition.metadata`, the state log's
//! compaction. Reading back is bounded, for a damaged length must not take memory.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, Disk, DiskFile, read_full_at, write_all_at};

/// Replaces or makes the file at `path`, durably, through `<name>.tmp`.
///
/// # Errors
/// Those of the operating system. The old contents stay unless the rename was done; then only
/// the durability of the name is open.
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_file_name_later(disk, path, bytes)?;
    disk.sync_dir(parent(path))
}

/// The same, except that the caller syncs the directory: until then the name may hold the old
/// bytes or, where there were none, be lost.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn replace_file_name_later(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    write_beside(disk, path, bytes)?.put(disk)
}

/// The new bytes of a file, written and not synced, under a name beside its own; or its old ones,
/// written again where they are.
#[derive(Debug)]
pub(crate) struct Beside {
    file: Arc<dyn DiskFile>,
    at: Option<PathBuf>,
    path: PathBuf,
}

/// Writes what is to replace the file at `path`.
///
/// # Errors
/// Those of the operating system; nothing has changed then.
pub(crate) fn write_beside(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<Beside> {
    let at = beside(path)?;
    let write = || {
        let file = disk.open(&at, Access::Create)?;
        file.set_len(0)?;
        write_all_at(&*file, bytes, 0)?;
        Ok::<_, io::Error>(file)
    };
    // What is left of it is only litter: the first error is the one to report.
    let file = write().inspect_err(|_| drop(disk.remove_file(&at)))?;
    Ok(Beside { file, at: Some(at), path: path.to_owned() })
}

/// The same for a file that mostly holds the bytes already: they are written over in place then,
/// which needs no room on the disk and changes nothing however it ends.
///
/// # Errors
/// Those of the operating system; nothing has changed then.
pub(crate) fn affirm_beside(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<Beside> {
    if !matches!(read_file(disk, path, bytes.len()), Ok(Some(found)) if found == bytes) {
        return write_beside(disk, path, bytes);
    }
    let file = disk.open(path, Access::Write)?;
    write_all_at(&*file, bytes, 0)?;
    Ok(Beside { file, at: None, path: path.to_owned() })
}

impl Beside {
    /// Syncs the bytes and gives them the file's name; the caller syncs the directory.
    ///
    /// # Errors
    /// Those of the operating system. The old contents stay.
    pub(crate) fn put(self, disk: &dyn Disk) -> io::Result<()> {
        let synced = self.file.sync_data();
        let Some(at) = &self.at else { return synced };
        let put = synced.and_then(|()| disk.rename(at, &self.path));
        put.inspect_err(|_| drop(disk.remove_file(at)))
    }

    /// The name they are for.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The whole file, `None` where there is none.
///
/// # Errors
/// Those of the operating system; `InvalidData` for a file longer than `limit` bytes.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if len > limit {
        let reason = format!("the file is {len} bytes long, at most {limit} are expected");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let mut bytes = vec![0; len];
    let read = read_full_at(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = OsString::from(name);
    beside.push(super::names::REPLACEMENT_SUFFIX);
    Ok(path.with_file_name(beside))
}

/// The directory a path lies in; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
