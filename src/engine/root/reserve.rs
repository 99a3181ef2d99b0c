//! Space held in reserve, `tidelog.reserve`: a file of zeros that is emptied when the disk is full
//! and a store must still be able to say what it removes, where it stands and that it closed.
//!
//! It is let go a step at a time, by whoever could not write otherwise, so that others who write to
//! a full disk cannot take all of it at once, and taken back in the background once there is room.
//! What is in it means nothing; that it is missing means that there is none. Not having it is never
//! an error. Called by the state log and by the engine's close and maintenance.

use std::path::{Path, PathBuf};

use crate::disk::copy::is_shared;
use crate::disk::{Access, Disk, names, write_all_at};
use crate::error::Error;
use crate::sync::{Arc, Mutex};

/// What small files and their blocks take, beside two copies of the state log.
const SMALL_FILES: u64 = 32 << 10;
/// It is let go in so many steps, of two usual blocks at least.
const STEPS: u64 = 16;
const LEAST_STEP: u64 = 8 << 10;

/// The reserve of one root.
#[derive(Debug)]
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    held: Mutex<u64>,
}

impl Reserve {
    /// The reserve as an earlier open has left it. Nothing is taken yet.
    pub(super) fn found(disk: Arc<dyn Disk>, root: &Path, state_bytes: u64) -> Self {
        let path = root.join(names::RESERVE);
        let bytes = SMALL_FILES + 2 * state_bytes;
        let found = disk.metadata(&path).ok().flatten().map_or(0, |found| found.len);
        Reserve { disk, path, bytes, held: Mutex::new(found.min(bytes)) }
    }

    /// Frees some of the space; `false` if there was none left.
    pub(super) fn let_go(&self) -> bool {
        let mut held = self.held.lock();
        self.drop_shared(&mut held);
        if *held == 0 {
            return false;
        }
        if *held == self.bytes {
            log::warn!("the disk is full: space in reserve is let go");
        }
        let left = held.saturating_sub(LEAST_STEP.max(self.bytes / STEPS));
        let cut = self.disk.open(&self.path, Access::Write).and_then(|file| file.set_len(left));
        if let Err(error) = cut {
            let error = Error::io("let reserve go", &self.path, error);
            log::warn!("{error}");
            if !error.is_retriable() {
                *held = 0; // else it is still there: no descriptor was to be had, say
            }
            return false;
        }
        *held = left;
        true
    }

    /// A file that has another name too is another's, and cutting it would free nothing: it only
    /// loses this name.
    fn drop_shared(&self, held: &mut u64) {
        if matches!(is_shared(&*self.disk, &self.path), Ok(true)) {
            match self.disk.remove_file(&self.path) {
                Ok(()) => *held = 0,
                Err(error) => log::debug!("{}: {error}", self.path.display()),
            }
        }
    }

    /// Takes the space if there is room for it and it is not held.
    pub(super) fn regain(&self) {
        let mut held = self.held.lock();
        if *held + LEAST_STEP > self.bytes {
            return; // less than a step is missing, as the state log has grown
        }
        self.drop_shared(&mut held);
        let take = || {
            let file = self.disk.open(&self.path, Access::Create)?;
            let zeros = vec![0; usize::try_from(self.bytes - *held).unwrap_or(0)];
            write_all_at(&*file, &zeros, *held).inspect_err(|_| drop(file.set_len(*held)))
        };
        match take() {
            Ok(()) => *held = self.bytes,
            Err(error) => log::debug!("no space to hold in reserve: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn space_is_let_go_step_by_step_and_taken_back() {
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
        assert_eq!(len(), Some(SMALL_FILES - LEAST_STEP), "so much, and no more");
        reserve.regain();
        assert_eq!(len(), Some(SMALL_FILES));
        let steps = (0..100).take_while(|_| reserve.let_go()).count() as u64;
        assert_eq!((steps, len()), (SMALL_FILES / LEAST_STEP, Some(0)));
        reserve.regain();
        assert_eq!(len(), Some(SMALL_FILES));
    }

    #[cfg(feature = "sim")]
    #[test]
    fn space_that_could_not_be_let_go_for_want_of_a_descriptor_is_still_held() {
        use crate::disk::{Fault, Operation, Plan, SimDisk};
        const EMFILE: i32 = 24;
        let (disk, root) = (SimDisk::new(1), Path::new("/store"));
        disk.create_dir_all(root).unwrap();
        let reserve = Reserve::found(Arc::new(disk.clone()), root, 0);
        reserve.regain();
        disk.fail(Plan::new(Fault::Error(EMFILE)).on(Operation::Open));
        assert!(!reserve.let_go());
        disk.heal();
        assert!(reserve.let_go());
    }
}
