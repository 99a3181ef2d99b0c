//! The lock of a directory: two locks on one open file.
//!
//! An open-file-description lock, because Java's `FileLock` (a POSIX lock) conflicts with it and
//! because, unlike a POSIX lock, a second open in this process conflicts too; and a `flock`, for
//! programs that use that. A forked child shares the open file: it must never unlock what its
//! parent holds, and the parent must unlock explicitly, or the child's copy would keep the locks
//! alive after the parent closed its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use super::super::island::{Locking, file_description_lock};
use super::super::{DirLock, sealed};
use super::ForkCheck;

/// A held lock.
#[derive(Debug)]
pub(super) struct RealLock {
    file: Option<Arc<File>>,
    fork: ForkCheck,
}

impl RealLock {
    pub(super) fn take(path: &Path, fork: ForkCheck) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        take(&file)?;
        Ok(RealLock { file: Some(Arc::new(file)), fork })
    }
}

#[cfg(target_os = "linux")]
fn take(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    file_description_lock(file, Locking::Take).map_err(held_by_another)?;
    flock(file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| held_by_another(error.into()))
}

/// The system has two numbers for "someone else holds it".
#[cfg(target_os = "linux")]
fn held_by_another(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => {
            io::Error::new(io::ErrorKind::WouldBlock, "another holder has the directory locked")
        }
        _ => error,
    }
}

#[cfg(target_os = "linux")]
fn free(file: &File) -> io::Result<()> {
    let first = file_description_lock(file, Locking::Free);
    let second = rustix::fs::flock(file, rustix::fs::FlockOperation::Unlock);
    first.and(second.map_err(io::Error::from))
}

#[cfg(not(target_os = "linux"))]
fn take(file: &File) -> io::Result<()> {
    file.try_lock().map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn free(file: &File) -> io::Result<()> {
    file.unlock()
}

impl RealLock {
    /// The open file, until the lock is freed.
    pub(super) fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }
}

impl sealed::Sealed for RealLock {}

impl DirLock for RealLock {
    fn unlock(&mut self) -> io::Result<()> {
        match self.file.take() {
            // Closing the child's copy leaves the parent's lock as it is.
            Some(_) if self.fork.is_forked_child() => Ok(()),
            Some(file) => free(&file),
            None => Ok(()),
        }
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        // The file is closed either way, which frees the lock unless a child was forked.
        let _ = self.unlock();
    }
}
