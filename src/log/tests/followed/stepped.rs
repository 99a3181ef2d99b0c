//! A disk on which the test does something before a call. The calls that it makes on its part are
//! just made.

use std::io;

use super::*;
use crate::disk::{DirLock, DiskFile, Entry, ForkCheck, Metadata, TailMap, sealed::Sealed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Names,
    Open,
    Length,
    Read,
    /// Of those that change anything, which a reader is refused.
    Change,
}

type Before = Box<dyn FnMut(Call, &Path) -> io::Result<()> + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Reader,
    Writer,
}

/// Leads to another disk; refuses a reader what changes anything.
#[derive(Clone)]
pub(super) struct Stepped {
    disk: Arc<dyn Disk>,
    user: User,
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
        Stepped::of(User::Reader, disk, Box::new(before))
    }

    /// For a writer, whose every change is one step.
    pub(super) fn under_writer(
        disk: &Arc<dyn Disk>,
        before: impl FnMut(Call, &Path) -> io::Result<()> + Send + 'static,
    ) -> Arc<dyn Disk> {
        Stepped::of(User::Writer, disk, Box::new(before))
    }

    fn of(user: User, disk: &Arc<dyn Disk>, before: Before) -> Arc<dyn Disk> {
        let before = Arc::new(Mutex::new(Some(before)));
        Arc::new(Stepped { disk: disk.clone(), user, before })
    }

    fn change(&self, path: &Path) -> io::Result<()> {
        match self.user {
            User::Reader => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            User::Writer => self.step(Call::Change, path),
        }
    }

    fn step(&self, call: Call, path: &Path) -> io::Result<()> {
        let taken = self.before.lock().take();
        let Some(mut before) = taken else { return Ok(()) };
        let stepped = before(call, path);
        *self.before.lock() = Some(before);
        stepped
    }
}

impl Sealed for Stepped {}

impl Disk for Stepped {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.step(Call::Open, path)?;
        let (file, disk) = (self.disk.open(path, access)?, self.clone());
        Ok(Arc::new(SteppedFile { file, disk }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(path)?;
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.step(Call::Names, dir)?;
        self.disk.list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.disk.metadata(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(from)?;
        self.disk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(from)?;
        self.disk.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(path)?;
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(path)?;
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(path)?;
        self.disk.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.change(path)?;
        self.disk.lock(path)
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        self.disk.boot_id()
    }

    fn fork_check(&self) -> ForkCheck {
        ForkCheck::never()
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

    fn renamed(&self, path: &Path) {
        self.file.renamed(path);
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.step(Call::Length, &self.file.path())?;
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.disk.step(Call::Read, &self.file.path())?;
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.disk.change(&self.file.path())?;
        self.file.write_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change(&self.file.path())?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.change(&self.file.path())?;
        self.file.sync_data()
    }

    /// No writes but those that are seen.
    fn map_tail(&self, _: u64, _: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        Ok(None)
    }
}
