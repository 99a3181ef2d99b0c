//! A disk for readers on which the test does something before a call. The calls that it makes on
//! its part are just made.

use std::io;

use super::*;
use crate::disk::{DirLock, DiskFile, Entry, Metadata, TailMap, sealed::Sealed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Names,
    Open,
    Length,
    Read,
}

type Before = Box<dyn FnMut(Call, &Path) -> io::Result<()> + Send>;

/// Leads to another disk; refuses what changes anything.
#[derive(Clone)]
pub(super) struct Stepped {
    disk: Arc<dyn Disk>,
    before: Arc<Mutex<Option<Before>>>,
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").finish_non_exhaustive()
    }
}

impl Stepped {
    pub(super) fn over(
        disk: &Arc<dyn Disk>,
        before: impl FnMut(Call, &Path) -> io::Result<()> + Send + 'static,
    ) -> Arc<dyn Disk> {
        let before: Before = Box::new(before);
        Arc::new(Stepped { disk: disk.clone(), before: Arc::new(Mutex::new(Some(before))) })
    }

    fn step(&self, call: Call, path: &Path) -> io::Result<()> {
        let taken = self.before.lock().take();
        let Some(mut before) = taken else { return Ok(()) };
        let stepped = before(call, path);
        *self.before.lock() = Some(before);
        stepped
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Sealed for Stepped {}

impl Disk for Stepped {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.step(Call::Open, path)?;
        let (file, disk) = (self.disk.open(path, access)?, self.clone());
        Ok(Arc::new(SteppedFile { file, disk }))
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.step(Call::Names, dir)?;
        self.disk.list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.disk.metadata(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn DirLock>> {
        refused()
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        self.disk.boot_id()
    }

    fn is_forked_child(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct SteppedFile {
    file: Arc<dyn DiskFile>,
    disk: Stepped,
}

impl Sealed for SteppedFile {}

impl DiskFile for SteppedFile {
    fn path(&self) -> PathBuf {
        self.file.path()
    }

    fn renamed(&self, _: &Path) {}

    fn len(&self) -> io::Result<u64> {
        self.disk.step(Call::Length, &self.file.path())?;
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.disk.step(Call::Read, &self.file.path())?;
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    fn map_tail(&self, _: u64, _: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        refused()
    }
}
