//! The simulated disk: forgets what was not synced, tears what was half written, fails on demand,
//! all from a seed.
//!
//! It stands for the worst a real disk may do within its promises. Bytes are kept by sector in
//! `sectors`, names in `names`, planned failures in `faults`, all of it in `world`; here is the
//! door: the crashes, the faults and the trait. One lock guards all of it: it is for tests, which
//! want the same run from the same seed, not for speed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::memory::{held_by_another, normal};
use super::{Access, DirLock, Disk, DiskFile, Entry, ForkCheck, IoMode, Metadata, sealed};
use crate::sync::Mutex;

mod faults;
mod file;
mod moments;
mod names;
mod random;
mod sectors;
#[cfg(test)]
mod tests;
mod world;

pub use faults::{Fault, Operation, Plan};
pub use moments::Moment;

use file::{Handle, SimFile};
use names::Link;
use sectors::SimContents;
use world::World;

/// What a power cut leaves of what was not synced.
///
/// ```
/// use std::path::Path;
/// use tidelog::disk::{Access, Crash, Disk, SimDisk};
/// let disk = SimDisk::new(1);
/// disk.open(Path::new("a"), Access::Create)?;
/// assert!(disk.crash(Crash::Nothing).list(Path::new("/"))?.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Crash {
    /// Nothing of it.
    Nothing,
    /// All of it.
    Everything,
    /// Some of it, chosen by this seed and the disk's: any sector in any content it had since the
    /// file's last sync, any of the file's lengths, any of the names.
    Random(u64),
}

/// A disk that loses, tears and fails, the same way for the same seed. Clones show the same disk.
///
/// Part of the feature `sim`, which is outside semantic versioning.
///
/// ```
/// use std::path::Path;
/// use tidelog::disk::{Access, Crash, Disk, SimDisk};
/// let disk = SimDisk::new(42);
/// let path = Path::new("a");
/// let file = disk.open(path, Access::Create)?;
/// disk.sync_dir(Path::new("/"))?;
/// file.write_at(b"synced", 0)?;
/// file.sync_data()?;
/// file.write_at(b"lost..", 0)?;
///
/// let after = disk.crash(Crash::Nothing);
/// assert!(file.sync_data().is_err(), "the old disk is gone");
/// let mut bytes = [0; 6];
/// after.open(path, Access::Read)?.read_at(&mut bytes, 0)?;
/// assert_eq!(&bytes, b"synced");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
}

impl SimDisk {
    /// An empty disk. The seed takes part in every random crash.
    ///
    /// ```
    /// use tidelog::disk::{Disk, SimDisk};
    /// assert!(SimDisk::new(1).list("/".as_ref())?.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(seed: u64) -> Self {
        Self::of(World::new(seed))
    }

    fn of(world: World) -> Self {
        SimDisk { shared: Arc::new(Shared { world: Mutex::new(world) }) }
    }

    /// Chooses whether tails can be mapped; [`IoMode::Mapped`] unless said otherwise.
    ///
    /// ```
    /// use tidelog::disk::{Access, Disk, IoMode, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.set_mode(IoMode::Positioned);
    /// let file = disk.open("a".as_ref(), Access::Create)?;
    /// assert!(file.map_tail(0, 4096)?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_mode(&self, mode: IoMode) {
        self.shared.world.lock().mode = mode;
    }

    /// Cuts the power and starts again: what `choice` leaves of the disk, as of now or of the
    /// moment of [`cut_after`](SimDisk::cut_after). This disk refuses every further call; the new
    /// one has no locks, no plans and another boot id.
    ///
    /// ```
    /// use tidelog::disk::{Crash, Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// let after = disk.crash(Crash::Random(7));
    /// assert_ne!(after.boot_id()?, SimDisk::new(1).boot_id()?);
    /// assert!(disk.boot_id().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn crash(&self, choice: Crash) -> SimDisk {
        let mut next = self.shared.world.lock().leave();
        next.state = next.state.after(choice, next.seed);
        next.boots += 1;
        Self::of(next)
    }

    /// Kills the process and starts another: all that was written is there, synced or not, as of
    /// now or of the moment of [`cut_after`](SimDisk::cut_after). Locks and handles are gone; the
    /// boot id stays.
    ///
    /// ```
    /// use tidelog::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.open("a".as_ref(), Access::Create)?.write_at(b"x", 0)?;
    /// assert_eq!(disk.kill().list("/".as_ref())?[0].len, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        let mut next = self.shared.world.lock().leave();
        next.sweep();
        Self::of(next)
    }

    /// How many calls were made, over crashes and kills; those after a cut do not count.
    ///
    /// ```
    /// use tidelog::disk::{Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.list("/".as_ref())?;
    /// assert_eq!(disk.operations(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn operations(&self) -> u64 {
        self.shared.world.lock().faults.operations
    }

    /// How many syncs of files were asked for since this disk started, failed ones included.
    ///
    /// ```
    /// use tidelog::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.open("a".as_ref(), Access::Create)?.sync_data()?;
    /// assert_eq!(disk.syncs(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn syncs(&self) -> u64 {
        self.shared.world.lock().faults.syncs
    }

    /// Makes calls fail; several plans count apart.
    ///
    /// ```
    /// use tidelog::disk::{Access, Disk, Fault, Operation, Plan, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.fail(Plan::new(Fault::ShortWrite(2)));
    /// let file = disk.open("a".as_ref(), Access::Create)?;
    /// assert_eq!(file.write_at(b"xyz", 0)?, 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn fail(&self, plan: Plan) {
        self.shared.world.lock().faults.add(plan);
    }

    /// Drops all plans. What failed syncs have lost stays lost.
    ///
    /// ```
    /// use tidelog::disk::{Disk, Fault, Plan, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.fail(Plan::new(Fault::Error(5)).for_ever());
    /// assert!(disk.list("/".as_ref()).is_err());
    /// disk.heal();
    /// assert!(disk.list("/".as_ref()).is_ok());
    /// ```
    pub fn heal(&self) {
        self.shared.world.lock().faults.heal();
    }

    /// Whether a sync waits for [`heal`](SimDisk::heal), by [`Fault::Hang`].
    ///
    /// ```
    /// assert!(!tidelog::disk::SimDisk::new(1).is_hanging());
    /// ```
    pub fn is_hanging(&self) -> bool {
        self.shared.world.lock().faults.hanging
    }

    /// A hash of what is on the device, unsynced bytes and names left out: equal for equal disks,
    /// for counting states.
    ///
    /// ```
    /// use tidelog::disk::{Crash, SimDisk};
    /// let disk = SimDisk::new(1);
    /// assert_eq!(disk.image_hash(), disk.crash(Crash::Nothing).image_hash());
    /// ```
    pub fn image_hash(&self) -> u64 {
        let world = self.shared.world.lock();
        let state = world.cut.as_ref().unwrap_or(&world.state);
        state.image_hash()
    }

    /// Flips the bits of `xor` in one byte of a file, for readers and on the device alike.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` beyond the file's end.
    ///
    /// ```
    /// use tidelog::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// let file = disk.open("a".as_ref(), Access::Create)?;
    /// file.write_at(&[1], 0)?;
    /// disk.corrupt("a".as_ref(), 0, 0x80)?;
    /// let mut byte = [0];
    /// file.read_at(&mut byte, 0)?;
    /// assert_eq!(byte, [0x81]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn corrupt(&self, path: &Path, position: u64, xor: u8) -> io::Result<()> {
        let mut world = self.shared.world.lock();
        let place = world.state.names.locate(path)?;
        match place.and_then(|(dir, name)| world.state.names.now.get(dir, &name)) {
            Some(Link::File(file)) => {
                let contents = world.file_mut(file);
                let at = usize::try_from(position).unwrap_or(usize::MAX);
                if at >= contents.bytes.len() {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                contents.damage(at, xor);
                Ok(())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Limits the bytes that files may take, holes left out; a write beyond it is short and then
    /// fails with ENOSPC. There is no limit at first.
    ///
    /// ```
    /// use tidelog::disk::{Access, Disk, SimDisk};
    /// let disk = SimDisk::new(1);
    /// disk.set_capacity(4);
    /// let file = disk.open("a".as_ref(), Access::Create)?;
    /// assert_eq!(file.write_at(b"hello", 0)?, 4);
    /// assert!(file.write_at(b"o", 4).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.world.lock().capacity = Some(bytes);
    }
}

impl sealed::Sealed for SimDisk {}

impl Disk for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::Open)?;
        let (dir, name) = world.state.names.locate(path)?.ok_or(io::ErrorKind::IsADirectory)?;
        let file = match world.state.names.now.get(dir, &name) {
            Some(Link::Directory(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Link::File(_)) if access == Access::CreateNew => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Some(Link::File(file)) => file,
            None if matches!(access, Access::Read | Access::Write) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            None => {
                let file = world.next_id();
                let contents = SimContents::new(world.now());
                world.state.files.insert(file, Arc::new(contents));
                world.names_mut().change(vec![(dir, name, Some(Link::File(file)))]);
                file
            }
        };
        *world.handles.entry(file).or_default() += 1;
        let handle = Arc::new(Handle { shared: self.shared.clone(), file });
        let is_writable = access != Access::Read;
        Ok(Arc::new(SimFile { handle, is_writable, path: Mutex::new(path.to_owned()) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::CreateDir)?;
        let normal = normal(path);
        let mut ancestors: Vec<&Path> = normal.ancestors().collect();
        ancestors.reverse();
        for path in ancestors {
            let Some((dir, name)) = world.state.names.locate(path)? else { continue };
            match world.state.names.now.get(dir, &name) {
                Some(Link::Directory(_)) => {}
                Some(Link::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let inner = world.next_id();
                    world.names_mut().change(vec![(dir, name, Some(Link::Directory(inner)))]);
                }
            }
        }
        world.faults.answer()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::List)?;
        let dir = world.state.names.directory(dir)?;
        let entries = world.state.names.now.entries(dir).map(|(name, link)| match link {
            Link::Directory(_) => Entry { name: name.clone(), is_dir: true, len: 0 },
            Link::File(file) => {
                let len = world.file(file).bytes.len() as u64;
                Entry { name: name.clone(), is_dir: false, len }
            }
        });
        Ok(entries.collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::Metadata)?;
        let directory = Metadata { len: 0, is_dir: true, modified: world.now(), links: 1 };
        let found = match world.state.names.locate(path) {
            Ok(None) => return Ok(Some(directory)),
            Ok(Some((dir, name))) => world.state.names.now.get(dir, &name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(found.map(|link| match link {
            Link::Directory(_) => directory,
            Link::File(file) => {
                let contents = world.file(file);
                let len = contents.bytes.len() as u64;
                let links = world.state.names.now.links(file);
                Metadata { len, is_dir: false, modified: contents.modified, links }
            }
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::Rename)?;
        let names = &world.state.names;
        let (from_dir, from_name) = names.locate(from)?.ok_or(io::ErrorKind::ResourceBusy)?;
        let (to_dir, to_name) = names.locate(to)?.ok_or(io::ErrorKind::ResourceBusy)?;
        let moved = names.now.get(from_dir, &from_name).ok_or(io::ErrorKind::NotFound)?;
        if (from_dir, &from_name) == (to_dir, &to_name) {
            return Ok(());
        }
        match (moved, names.now.get(to_dir, &to_name)) {
            (Link::File(one), Some(Link::File(other))) if one == other => return Ok(()),
            (_, None) | (Link::File(_), Some(Link::File(_))) => {}
            (Link::File(_), Some(Link::Directory(_))) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            (Link::Directory(_), Some(Link::File(_))) => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            (Link::Directory(_), Some(Link::Directory(replaced))) => {
                if names.now.entries(replaced).next().is_some() {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
            }
        }
        if matches!(moved, Link::Directory(_)) && normal(to).starts_with(normal(from)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let change = vec![(from_dir, from_name, None), (to_dir, to_name, Some(moved))];
        world.names_mut().change(change);
        world.faults.answer()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::Link)?;
        world.names_mut().link(from, to)?;
        world.faults.answer()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::RemoveFile)?;
        let names = &world.state.names;
        let (dir, name) = names.locate(path)?.ok_or(io::ErrorKind::IsADirectory)?;
        match names.now.get(dir, &name) {
            Some(Link::File(_)) => world.names_mut().change(vec![(dir, name, None)]),
            Some(Link::Directory(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        world.faults.answer()
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::RemoveDir)?;
        let names = &world.state.names;
        let (dir, name) = names.locate(path)?.ok_or(io::ErrorKind::ResourceBusy)?;
        let inner = names.directory(path)?;
        if names.now.entries(inner).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        world.names_mut().change(vec![(dir, name, None)]);
        world.faults.answer()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.shared.world.lock();
        let granted = world.enter(Operation::SyncDir)?;
        let dir = world.state.names.directory(dir)?;
        if granted == 0 {
            return Ok(()); // it lies
        }
        world.names_mut().sync(dir);
        world.sweep();
        Ok(())
    }

    fn lock(&self, lock_file: &Path) -> io::Result<Box<dyn DirLock>> {
        self.open(lock_file, Access::Create)?;
        let name = normal(lock_file);
        let mut world = self.shared.world.lock();
        world.enter(Operation::Lock)?;
        if !world.locks.insert(name.clone()) {
            return Err(held_by_another());
        }
        Ok(Box::new(SimLock { shared: self.shared.clone(), held: Some(name) }))
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        let mut world = self.shared.world.lock();
        world.enter(Operation::BootId)?;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&world.seed.to_be_bytes());
        id[8..].copy_from_slice(&(world.boots + 1).to_be_bytes());
        Ok(id)
    }

    fn fork_check(&self) -> ForkCheck {
        ForkCheck::never()
    }
}

#[derive(Debug)]
struct SimLock {
    shared: Arc<Shared>,
    held: Option<PathBuf>,
}

impl sealed::Sealed for SimLock {}

impl DirLock for SimLock {
    fn unlock(&mut self) -> io::Result<()> {
        if let Some(name) = self.held.take() {
            self.shared.world.lock().locks.remove(&name);
        }
        Ok(())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        // Never fails.
        let _ = self.unlock();
    }
}
