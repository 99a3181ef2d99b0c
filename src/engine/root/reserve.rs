//! Space held in reserve, `tidelog.reserve`: a file of zeros that is emptied when the disk is full
//! and a store must still be able to say what it removes, where it stands and that it closed.
//!
//! It is let go all at once, by whoever could not write otherwise, and taken back in the background
//! once there is room. What is in it means nothing; that it is missing means that there is none.
//! Not having it is never an error. Called by the state log and by the engine's maintenance.

use std::path::{Path, PathBuf};

use crate::disk::{Access, Disk, names, write_all_at};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};

/// What small files and their blocks take, beside two copies of the state log.
const SMALL_FILES: u64 = 32 << 10;

/// The reserve of one root.
#[derive(Debug)]
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    held: AtomicBool,
}

impl Reserve {
    /// The reserve as an earlier open has left it. Nothing is taken yet.
    pub(super) fn found(disk: Arc<dyn Disk>, root: &Path, state_bytes: u64) -> Self {
        let path = root.join(names::RESERVE);
        let bytes = SMALL_FILES + 2 * state_bytes;
        let held = matches!(disk.metadata(&path), Ok(Some(found)) if found.len > 0);
        Reserve { disk, path, bytes, held: AtomicBool::new(held) }
    }

    /// Frees the space; `false` if there was none.
    pub(super) fn let_go(&self) -> bool {
        if !self.held.swap(false, Ordering::AcqRel) {
            return false;
        }
        let emptied = self.disk.open(&self.path, Access::Write).and_then(|file| file.set_len(0));
        match &emptied {
            Ok(()) => log::warn!("the disk is full: the space in reserve is let go"),
            Err(error) => log::warn!("{}: {error}", self.path.display()),
        }
        emptied.is_ok()
    }

    /// Takes the space if there is room for it and it is not held.
    pub(super) fn regain(&self) {
        if self.held.load(Ordering::Acquire) {
            return;
        }
        let take = || {
            let file = self.disk.open(&self.path, Access::Create)?;
            let zeros = vec![0; usize::try_from(self.bytes).unwrap_or(0)];
            write_all_at(&*file, &zeros, 0).inspect_err(|_| drop(file.set_len(0)))
        };
        match take() {
            Ok(()) => self.held.store(true, Ordering::Release),
            Err(error) => log::debug!("no space to hold in reserve: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn space_is_let_go_once_and_taken_back() {
        let disk = MemoryDisk::new();
        let root = Path::new("/store");
        disk.create_dir_all(root).unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let len = || disk.metadata(&root.join(names::RESERVE)).unwrap().map(|found| found.len);
        let reserve = Reserve::found(shared.clone(), root, 100);
        assert!(!reserve.let_go(), "there is none");
        reserve.regain();
        assert_eq!(len(), Some(SMALL_FILES + 200));
        let reserve = Reserve::found(shared, root, 0);
        assert!(reserve.let_go(), "the next open has it too");
        assert_eq!(len(), Some(0));
        assert!(!reserve.let_go());
        reserve.regain();
        assert_eq!(len(), Some(SMALL_FILES));
    }
}
