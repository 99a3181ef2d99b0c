//! The lock of a directory in memory: its file's name in a set.
//!
//! Held until it is unlocked or dropped, whatever becomes of the file. Taken by the disk itself,
//! which clones share, so that a second store in the process finds the directory taken.

use std::io;
use std::path::PathBuf;

use super::super::{DirLock, sealed};
use super::MemoryDisk;

pub(in crate::disk) fn held_by_another() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "another holder has the directory locked")
}

#[derive(Debug)]
pub(super) struct MemoryLock {
    pub(super) disk: MemoryDisk,
    pub(super) held: Option<PathBuf>,
}

impl sealed::Sealed for MemoryLock {}

impl DirLock for MemoryLock {
    fn unlock(&mut self) -> io::Result<()> {
        if let Some(name) = self.held.take() {
            self.disk.shared.tree.lock().locks.remove(&name);
        }
        Ok(())
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        // Never fails.
        let _ = self.unlock();
    }
}
