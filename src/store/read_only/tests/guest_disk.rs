//! A disk for guests: reads what another disk holds, and lets nothing be changed.
//!
//! Before each call, and in the middle of a listing, it may run what a test has planned, so that
//! the writer does something in the middle of a reader's look. The disk below may be exchanged for
//! what a crash left of it: handles that are open then lead to what lies at their path.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{
    Access, DirLock, Disk, DiskFile, Entry, ForkCheck, Metadata, TailMap, sealed::Sealed,
};
use crate::sync::Mutex;

type Between = Box<dyn FnMut(&Path) + Send>;

/// The disk; clones are not needed, handles share its inside.
#[derive(Debug)]
pub(super) struct GuestDisk(Arc<Inside>);

struct Inside {
    world: Mutex<Arc<dyn Disk>>,
    worlds: AtomicU64,
    between: Mutex<Option<Between>>,
    /// Calls that would have changed something.
    refused: AtomicU64,
    calls: AtomicU64,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestDisk").field("refused", &self.refused).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct GuestFile {
    disk: Arc<Inside>,
    path: PathBuf,
    file: Mutex<(u64, Arc<dyn DiskFile>)>,
}

impl GuestDisk {
    pub(super) fn new(world: Arc<dyn Disk>) -> Self {
        GuestDisk(Arc::new(Inside {
            world: Mutex::new(world),
            worlds: AtomicU64::new(0),
            between: Mutex::new(None),
            refused: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }))
    }

    /// Has `between` run before each call, with the path it is about, or nothing.
    pub(super) fn set_between(&self, between: Option<Between>) {
        *self.0.between.lock() = between;
    }

    /// What a crash has left of the disk below.
    #[cfg(feature = "sim")]
    pub(super) fn set_world(&self, world: Arc<dyn Disk>) {
        *self.0.world.lock() = world;
        self.0.worlds.fetch_add(1, Ordering::SeqCst);
    }

    /// How often a reader tried to change something.
    pub(super) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::SeqCst)
    }

    /// How many calls there have been.
    pub(super) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }
}

impl Inside {
    fn world(&self, path: &Path) -> Arc<dyn Disk> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let taken = self.between.lock().take();
        if let Some(mut between) = taken {
            between(path);
            self.between.lock().get_or_insert(between);
        }
        self.world.lock().clone()
    }

    fn refuse<T>(&self) -> io::Result<T> {
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl Sealed for GuestDisk {}
impl Sealed for GuestFile {}

impl Disk for GuestDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if access != Access::Read {
            return self.0.refuse();
        }
        let world = self.0.world(path);
        let worlds = self.0.worlds.load(Ordering::SeqCst);
        let file = Mutex::new((worlds, world.open(path, access)?));
        Ok(Arc::new(GuestFile { disk: self.0.clone(), path: path.to_owned(), file }))
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        self.0.refuse()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        // as a real one does it: the names, then what each is, unless it has gone meanwhile
        let names = self.0.world(dir).list(dir)?;
        let world = self.0.world(dir);
        let mut entries = Vec::new();
        for Entry { name, .. } in names {
            if let Some(Metadata { len, is_dir, .. }) = world.metadata(&dir.join(&name))? {
                entries.push(Entry { name, len, is_dir });
            }
        }
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.0.world(path).metadata(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        self.0.refuse()
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        self.0.refuse()
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        self.0.refuse()
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        self.0.refuse()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.0.refuse()
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn DirLock>> {
        self.0.refuse()
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        self.0.world(Path::new("")).boot_id()
    }

    fn fork_check(&self) -> ForkCheck {
        ForkCheck::never()
    }
}

impl GuestFile {
    fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.disk.world(&self.path);
        let worlds = self.disk.worlds.load(Ordering::SeqCst);
        let mut held = self.file.lock();
        if held.0 != worlds {
            *held = (worlds, world.open(&self.path, Access::Read)?);
        }
        Ok(held.1.clone())
    }
}

impl DiskFile for GuestFile {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn renamed(&self, _: &Path) {
        let _: io::Result<()> = self.disk.refuse();
    }

    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file()?.read_at(buffer, position)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        self.disk.refuse()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        self.disk.refuse()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.refuse()
    }

    fn map_tail(&self, _: u64, _: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        self.disk.refuse()
    }
}
