//! The disk of the operating system, mapped or positioned.
//!
//! Owns the pool of descriptors and the registry of open handles. A handle is a path, an identity
//! and, for as long as the pool grants it, a descriptor; a mapping lives without one. Everything
//! of `std::fs` and of the system's own calls that the crate makes is made below this module.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use super::Windows;
use super::{Access, DirLock, Disk, DiskFile, Entry, ForkCheck, IoMode, Metadata, sealed};
use crate::time::Timestamp;

#[cfg(target_os = "linux")]
mod ahead;
mod file;
mod lock;
#[cfg(target_os = "linux")]
mod map;
mod os;
mod pool;
#[cfg(target_os = "linux")]
mod reading;
mod registry;
mod room;
mod state;
#[cfg(test)]
mod tests;
mod whole;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use super::island::ticks::ticks;
pub(crate) use os::tells_time_by_ticks;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) use os::ticks;

/// The disk of the operating system. Clones share one pool of descriptors.
///
/// The pool holds at most a quarter of the process's limit of open files (64 to 4,096), read when
/// the disk is made; files beyond that are opened again as they are touched.
///
/// ```
/// use tidelog::disk::{Access, Disk, IoMode, RealDisk};
/// # fn main() -> std::io::Result<()> {
/// # let directory = tempfile::tempdir()?;
/// let disk = RealDisk::new(IoMode::Positioned)?;
/// let file = disk.open(&directory.path().join("a"), Access::Create)?;
/// file.write_at(b"kept", 0)?;
/// file.sync_data()?;
/// disk.sync_dir(directory.path())?;
/// assert_eq!(file.len()?, 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RealDisk {
    shared: Arc<Shared>,
}

/// What all handles of a disk share.
#[derive(Debug)]
struct Shared {
    mode: IoMode,
    pool: pool::Pool,
    registry: registry::Registry,
    whole: whole::Whole,
    fork: ForkCheck,
    #[cfg(target_os = "linux")]
    ahead: ahead::Queue<Task>,
}

/// What the thread that serves does ahead of others.
#[cfg(target_os = "linux")]
#[derive(Debug)]
enum Task {
    /// For a file's writer.
    Window(std::sync::Weak<file::Inner>),
    /// For who reads a map.
    Pages(reading::Pages),
}

impl RealDisk {
    /// A disk of the given mode.
    ///
    /// # Errors
    /// `Unsupported` for [`IoMode::Mapped`] elsewhere than on Linux.
    ///
    /// ```
    /// use tidelog::disk::{IoMode, RealDisk};
    /// assert_eq!(RealDisk::new(IoMode::Positioned)?.mode(), IoMode::Positioned);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(mode: IoMode) -> io::Result<Self> {
        if mode == IoMode::Mapped && !cfg!(target_os = "linux") {
            let reason = "files are mapped on Linux only";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
        Ok(Self::with_budget(mode, os::descriptor_budget()))
    }

    /// A disk of the mode that suits the file system under `path`, which need not exist yet:
    /// mapped on ext2/3/4, XFS and tmpfs, which overwrite in place; positioned on any other.
    ///
    /// # Errors
    /// Those of the operating system when it is asked for the file system.
    ///
    /// ```
    /// use tidelog::disk::RealDisk;
    /// let disk = RealDisk::for_directory(std::env::temp_dir())?;
    /// println!("{:?}", disk.mode());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn for_directory(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(os::mode_for(path.as_ref())?)
    }

    /// How this disk writes active segments.
    ///
    /// ```
    /// use tidelog::disk::{IoMode, RealDisk};
    /// assert_eq!(RealDisk::new(IoMode::Positioned)?.mode(), IoMode::Positioned);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn mode(&self) -> IoMode {
        self.shared.mode
    }

    /// With so many handles open at a time, as far as that can be kept to.
    pub(crate) fn with_budget(mode: IoMode, budget: usize) -> Self {
        let shared = Shared {
            mode,
            pool: pool::Pool::new(budget),
            registry: registry::Registry::default(),
            whole: whole::Whole::default(),
            fork: ForkCheck::new(),
            #[cfg(target_os = "linux")]
            ahead: ahead::Queue::new(),
        };
        RealDisk { shared: Arc::new(shared) }
    }
}

impl sealed::Sealed for RealDisk {}

/// What an entry of a listing is; `None` where another process has renamed or removed it since.
fn look_at(entry: &fs::DirEntry) -> io::Result<Option<Entry>> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let found = match entry.metadata() {
        // A link is followed, as opening it would.
        Ok(found) if found.is_symlink() => match fs::metadata(entry.path()) {
            Err(error) if is_gone(&error) => found,
            followed => followed?,
        },
        Err(error) if is_gone(&error) => return Ok(None),
        found => found?,
    };
    let is_dir = found.is_dir();
    let len = if is_dir { 0 } else { found.len() };
    Ok(Some(Entry { name: entry.file_name().to_string_lossy().into_owned(), is_dir, len }))
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let shared = &self.shared;
        shared.pool.make_room(); // it may sync: not under the registry's lock
        let opened = shared.registry.add(|| file::Inner::open(shared, path, access));
        if matches!(access, Access::Create | Access::CreateNew) {
            shared.whole.changed(path.parent());
        }
        let inner = opened?;
        Ok(Arc::new(file::RealFile { inner }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let made = fs::create_dir_all(path);
        let above = path.ancestors().filter(|dir| !dir.as_os_str().is_empty());
        self.shared.whole.changed(above);
        made
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in self.shared.pool.relieve(|| fs::read_dir(dir))? {
            entries.extend(look_at(&entry?)?);
        }
        Ok(entries)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = self.shared.pool.relieve(|| fs::read_dir(dir))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some(Metadata {
                len: if found.is_dir() { 0 } else { found.len() },
                is_dir: found.is_dir(),
                modified: Timestamp::from(found.modified()?),
                links: os::links(&found),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let renamed = self.shared.registry.rename(from, to, || fs::rename(from, to));
        self.shared.whole.changed(from.parent().into_iter().chain(to.parent()));
        renamed
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if fs::symlink_metadata(from)?.is_symlink() {
            // the second name would lead to the symbolic link, not to the file
            return Err(io::ErrorKind::Unsupported.into());
        }
        let linked = fs::hard_link(from, to);
        self.shared.whole.changed(to.parent());
        linked
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.shared.registry.remove(path, || fs::remove_file(path));
        self.shared.whole.changed(path.parent());
        removed
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let removed = fs::remove_dir(path);
        self.shared.whole.changed(path.parent());
        removed
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.shared.whole.sync_names(dir, || {
            match self.shared.pool.relieve(|| os::open_dir(dir)).map_err(os::not_begun)? {
                Some(dir) => dir.sync_all(),
                None => Ok(()),
            }
        })
    }

    fn sync_ahead(&self, dir: &Path) {
        match self.shared.whole.sync(&self.shared, dir) {
            Ok(done) => log::debug!("{} synced at once: {done}", dir.display()),
            Err(error) => log::warn!("{} is not synced at once: {error}", dir.display()),
        }
    }

    fn lock(&self, lock_file: &Path) -> io::Result<Box<dyn DirLock>> {
        let fork = self.shared.fork;
        let lock = self.shared.pool.relieve(|| lock::RealLock::take(lock_file, fork))?;
        if let Some(file) = lock.file() {
            self.shared.whole.changed(lock_file.parent());
            self.shared.whole.locked(lock_file, file);
        }
        Ok(Box::new(lock))
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        os::boot_id()
    }

    fn available(&self, dir: &Path) -> io::Result<Option<u64>> {
        os::available(dir)
    }

    fn fork_check(&self) -> ForkCheck {
        self.shared.fork
    }

    #[cfg(target_os = "linux")]
    fn windows(&self) -> Option<Arc<dyn Windows>> {
        (self.mode() == IoMode::Mapped).then(|| self.shared.clone() as Arc<dyn Windows>)
    }
}

#[cfg(target_os = "linux")]
impl sealed::Sealed for Shared {}

#[cfg(target_os = "linux")]
impl Windows for Shared {
    fn ready(&self, goes_on: &dyn Fn() -> bool) {
        self.ahead.serve(goes_on, |task| match task {
            Task::Window(file) => {
                if let Some(file) = file.upgrade()
                    && file.ahead.is_asked_for()
                    && let Ok(opened) = file.descriptor()
                {
                    file.ahead.serve(&opened);
                }
                None
            }
            Task::Pages(pages) => pages.bring_in().map(Task::Pages),
        });
    }

    fn wake(&self) {
        self.ahead.wake();
    }
}
