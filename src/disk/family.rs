//! The family of traits itself: a disk, its files, the two sides of a mapped one, a held lock.
//!
//! What each promises is said at the top of `disk`; every form is held to it by one suite. Sealed,
//! so that what is promised can grow in 0.x without breaking anyone.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{ForkCheck, Windows, sealed};
use crate::time::Timestamp;

/// How the real disk writes the active segment.
///
/// ```
/// use tidelog::disk::{IoMode, RealDisk};
/// let disk = RealDisk::new(IoMode::Positioned)?;
/// assert_eq!(disk.mode(), IoMode::Positioned);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoMode {
    /// Small appends are stores into a mapped window of the file, large ones positioned writes.
    Mapped,
    /// Positioned reads and writes only: nothing is read or stored through a mapping, and so there
    /// is no SIGBUS whatever happens to a file.
    Positioned,
}

/// What a file is opened for.
///
/// ```
/// use tidelog::disk::{Access, Disk, MemoryDisk};
/// let disk = MemoryDisk::new();
/// assert!(disk.open("a".as_ref(), Access::Read).is_err());
/// disk.open("a".as_ref(), Access::CreateNew)?;
/// assert!(disk.open("a".as_ref(), Access::CreateNew).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Reading an existing file.
    Read,
    /// Reading and writing an existing file.
    Write,
    /// Reading and writing a file that is made if it is missing.
    Create,
    /// Reading and writing a file that must not exist yet.
    CreateNew,
}

/// One name in a directory.
///
/// ```
/// use tidelog::disk::{Disk, Entry, MemoryDisk};
/// let disk = MemoryDisk::new();
/// disk.create_dir_all("/data".as_ref())?;
/// let data = Entry { name: "data".to_owned(), is_dir: true, len: 0 };
/// assert_eq!(disk.list("/".as_ref())?, [data]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name; bytes that are not UTF-8 are replaced, so such a name matches nothing of ours.
    pub name: String,
    /// Whether it is itself a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
}

/// What is known of a path without opening it.
///
/// ```
/// use tidelog::disk::{Disk, MemoryDisk};
/// let disk = MemoryDisk::new();
/// assert!(disk.metadata("/data".as_ref())?.is_none());
/// disk.create_dir_all("/data".as_ref())?;
/// assert!(disk.metadata("/data".as_ref())?.is_some_and(|found| found.is_dir));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// When its contents last changed.
    pub modified: Timestamp,
    /// How many names lead to the file; 1 for a directory, and where the system does not count.
    pub links: u32,
}

/// A place that holds directories and files.
///
/// ```
/// use std::path::Path;
/// use tidelog::disk::{Access, Disk, MemoryDisk};
///
/// fn store_durably(disk: &dyn Disk, dir: &Path, bytes: &[u8]) -> std::io::Result<()> {
///     disk.create_dir_all(dir)?;
///     let file = disk.open(&dir.join("new"), Access::Create)?;
///     file.write_at(bytes, 0)?;
///     file.sync_data()?;
///     disk.rename(&dir.join("new"), &dir.join("value"))?;
///     disk.sync_dir(dir)
/// }
/// let disk = MemoryDisk::new();
/// store_durably(&disk, Path::new("/data"), b"1")?;
/// assert_eq!(disk.list(Path::new("/data"))?[0].name, "value");
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Disk: sealed::Sealed + Send + Sync + fmt::Debug {
    /// Opens a file. The handle holds no descriptor of its own for longer than it must.
    ///
    /// # Errors
    /// Those of the operating system; `CreateNew` on an existing file is `AlreadyExists`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory and those above it; an existing one is fine.
    ///
    /// # Errors
    /// Those of the operating system.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// What a directory holds, in no order. What is renamed meanwhile may be left out.
    ///
    /// # Errors
    /// Those of the operating system.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// The names in a directory, in no order: less to ask for than [`Disk::list`].
    ///
    /// # Errors
    /// Those of the operating system.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.list(dir)?.into_iter().map(|entry| entry.name).collect())
    }

    /// What lies at a path, `None` where nothing does.
    ///
    /// # Errors
    /// Those of the operating system, but for a missing path.
    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>>;

    /// Renames a file or directory, replacing a file of the new name.
    ///
    /// # Errors
    /// Those of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must not exist yet: both then lead to the same bytes.
    ///
    /// # Errors
    /// Those of the operating system. `CrossesDevices`, `Unsupported`, `PermissionDenied` and
    /// `TooManyLinks` say that this file can have no second name there, and must be copied.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Handles and views that are open keep reading it.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Those of the operating system; the names may or may not survive a power cut then. One that
    /// says the sync never began, for want of a handle, left things as they were.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Has everything written below `dir`, which is locked through this disk, made durable at once
    /// where that is cheaper than file by file. A wish, and no promise: whoever needs a file or a
    /// directory durable syncs it as ever, which then may have nothing left to do. Blocks for the
    /// disk.
    fn sync_ahead(&self, dir: &Path) {
        let _ = dir;
    }

    /// Takes the exclusive lock of a directory by its lock file, which is made if missing.
    ///
    /// # Errors
    /// `WouldBlock` when anyone else holds it, in this process or another.
    fn lock(&self, lock_file: &Path) -> io::Result<Box<dyn DirLock>>;

    /// An identity of the running kernel: the same until the machine restarts.
    ///
    /// # Errors
    /// Those of the operating system, where it names none.
    fn boot_id(&self) -> io::Result<[u8; 16]>;

    /// How many bytes are free for files below `dir`; `None` where nobody knows.
    ///
    /// # Errors
    /// Those of the operating system.
    fn available(&self, dir: &Path) -> io::Result<Option<u64>> {
        let _ = dir;
        Ok(None)
    }

    /// What tells a forked child from the process that made this disk; every door keeps it.
    fn fork_check(&self) -> ForkCheck;

    /// The windows of mapped files that a thread may make ready ahead of their writers; `None`
    /// where a disk has none. See [`Windows`].
    fn windows(&self) -> Option<Arc<dyn Windows>> {
        None
    }
}

/// An open file; reads and writes name their position, there is no cursor.
///
/// Shared by readers and one writer: the bytes a writer has published are never changed, so a
/// read needs no lock.
///
/// ```
/// use tidelog::disk::{Access, Disk, MemoryDisk};
/// let file = MemoryDisk::new().open("a".as_ref(), Access::Create)?;
/// assert_eq!(file.write_at(b"hello", 0)?, 5);
/// let mut buffer = [0; 8];
/// assert_eq!(file.read_at(&mut buffer, 1)?, 4);
/// assert_eq!(&buffer[..4], b"ello");
/// file.set_len(2)?;
/// file.sync_data()?;
/// assert_eq!(file.len()?, 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait DiskFile: sealed::Sealed + Send + Sync + fmt::Debug {
    /// The path it was opened by, or was renamed to through [`DiskFile::renamed`].
    fn path(&self) -> std::path::PathBuf;

    /// Tells the handle that its file has been renamed, so that errors name the new path and a
    /// pooled descriptor is reopened there.
    fn renamed(&self, path: &Path);

    /// The length in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads up to `buffer.len()` bytes from `position`; fewer at the end of the file or when the
    /// system chooses so, 0 only at or past the end.
    ///
    /// # Errors
    /// Those of the operating system.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes up to `bytes.len()` bytes at `position`, extending the file; returns how many.
    ///
    /// # Errors
    /// Those of the operating system.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// Writes up to all of some pieces, one behind the other, from `position` on, like
    /// [`write_at`](DiskFile::write_at); returns how many bytes: none only where all are empty. A
    /// disk that cannot take them from where they lie puts up to a mebibyte of them together.
    ///
    /// # Errors
    /// Those of the operating system.
    ///
    /// ```
    /// use std::io::IoSlice;
    /// use tidelog::disk::{Access, Disk, MemoryDisk};
    /// let file = MemoryDisk::new().open("a".as_ref(), Access::Create)?;
    /// let pieces = [IoSlice::new(b""), IoSlice::new(b"hello")];
    /// assert_eq!(file.write_pieces_at(&pieces, 0)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn write_pieces_at(&self, pieces: &[io::IoSlice<'_>], position: u64) -> io::Result<usize> {
        const MOST: usize = 1 << 20;
        let len = pieces.iter().map(|piece| piece.len()).fold(0, usize::saturating_add);
        let mut together = Vec::with_capacity(len.min(MOST));
        for piece in pieces {
            let room = MOST - together.len();
            together.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        self.write_at(&together, position)
    }

    /// Cuts the file or extends it with a hole.
    ///
    /// # Errors
    /// Those of the operating system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Asks the system to find room up to `end` for what is soon to be written, where that costs
    /// less in one piece than write by write, and much is free. Neither length nor bytes change. A
    /// wish, and no promise; says whether there may be such room now. What is not used is given
    /// back by [`release`](DiskFile::release) and by [`set_len`](DiskFile::set_len).
    fn reserve(&self, end: u64) -> bool {
        let _ = end;
        false
    }

    /// Gives back what was reserved, by whomever, beyond the end of a file that is `len` bytes long
    /// and that nobody makes longer or shorter meanwhile; says whether none is left.
    fn release(&self, len: u64) -> bool {
        let _ = len;
        true
    }

    /// Keeps what the file needs to be written and synced, a handle of the system's, for as long as
    /// this value lives: neither will ever fail for want of one.
    ///
    /// # Errors
    /// Those of the operating system.
    fn keep_open(&self) -> io::Result<()> {
        Ok(())
    }

    /// The open file itself, for hosts that hand a range of it to the system; `None` on a disk that
    /// has none. It stays open for as long as it is held, whatever becomes of its name.
    ///
    /// # Errors
    /// Those of the operating system.
    fn system_file(&self) -> io::Result<Option<Arc<std::fs::File>>> {
        Ok(None)
    }

    /// Makes every byte written so far, through this handle or its maps, and the length durable.
    ///
    /// # Errors
    /// Those of the operating system. After an error the same handle may wrongly report success:
    /// latch the first.
    fn sync_data(&self) -> io::Result<()>;

    /// Maps the file for a writer that appends, `capacity` bytes of address space from 0; bytes
    /// below `published` are final. `None` where this disk writes by position only.
    ///
    /// # Errors
    /// Those of the operating system; the caller then writes by position.
    fn map_tail(&self, published: u64, capacity: u64) -> io::Result<Option<Box<dyn TailMap>>>;
}

/// The writer's side of a mapped file that grows at its end.
///
/// One owner: all that changes the mapping takes `&mut self`. Bytes below the published end belong
/// to readers and are never handed out for writing again.
///
/// ```
/// use tidelog::disk::{Access, Disk, MemoryDisk};
/// let file = MemoryDisk::new().open("a".as_ref(), Access::Create)?;
/// if let Some(mut map) = file.map_tail(0, 1 << 20)? {
///     map.allocate(4096)?;
///     map.window(0, 5).copy_from_slice(b"hello");
///     map.publish(5);
///     assert_eq!(map.reader().view(0, 5)?, &b"hello"[..]);
///     drop(map);
///     file.set_len(5)?;
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait TailMap: sealed::Sealed + Send + fmt::Debug {
    /// How far bytes may be stored: everything below is allocated on the device.
    fn allocated(&self) -> u64;

    /// How far the file is mapped.
    fn capacity(&self) -> u64;

    /// Where in memory lies what each append looks at of this map, the second what each reader
    /// does too: hints for the processor, which nothing depends on. They change where the file is
    /// mapped anew.
    #[doc(hidden)]
    fn lines(&self) -> Option<[usize; 2]> {
        None
    }

    /// Maps the file anew, `capacity` bytes of it or, where one was prepared, more; it is then
    /// perhaps allocated further. [`reader`](TailMap::reader) is another one then; those that were
    /// taken before go on with what was published before.
    ///
    /// # Errors
    /// `InvalidInput` where that is less than before; those of the operating system. Everything is
    /// as it was then, but what was being prepared is not.
    fn enlarge(&mut self, capacity: u64) -> io::Result<()>;

    /// Writes zeros from the allocated end up to `end` and readies them to be stored into. The
    /// file, which must end at the allocated end (what a failed positioned write left beyond is cut
    /// first), is then `end` bytes long; longer, and perhaps allocated further, where a thread
    /// makes windows ready ahead ([`Windows`]): zeros too.
    ///
    /// # Errors
    /// Those of the operating system (a full disk, a quota): nothing that was allocated before is
    /// lost, and the call may be made again.
    fn allocate(&mut self, end: u64) -> io::Result<()>;

    /// Says that `bytes` behind the allocated end will be wanted soon. Where a thread makes windows
    /// ready ahead ([`Windows`]) it begins with them, as far as the map reaches; what comes of it
    /// the next [`allocate`](TailMap::allocate) finds. Where the map ends there already they are
    /// readied in another, of `capacity` bytes, which the next [`enlarge`](TailMap::enlarge) goes
    /// on in. Elsewhere nothing happens.
    fn prepare(&mut self, bytes: u64, capacity: u64) {
        let _ = (bytes, capacity);
    }

    /// Says that positioned writes have extended the file to `end`, without a gap above the
    /// allocated end: so a batch too large for the window is written to the file itself, from
    /// the published end on, and then published. Below the allocated end there is nothing to say.
    ///
    /// # Panics
    /// Where `end` is beyond the capacity the file was mapped with: a fault of ours.
    fn written(&mut self, end: u64);

    /// The bytes from `position` on, for storing into.
    ///
    /// # Panics
    /// Where they reach below the published end or beyond the allocated one: a fault of ours.
    fn window(&mut self, position: u64, len: usize) -> &mut [u8];

    /// Hands the bytes below `end` to readers for good.
    ///
    /// # Panics
    /// Where `end` falls back or lies beyond the allocated end: a fault of ours.
    fn publish(&mut self, end: u64);

    /// Gives back memory that can be had again: the next store or view costs a little more.
    fn rest(&mut self) {}

    /// The readers' side.
    fn reader(&self) -> Arc<dyn MapReader>;
}

/// The readers' side of a mapped file.
///
/// ```
/// use tidelog::disk::{Access, Disk, MemoryDisk};
/// let file = MemoryDisk::new().open("a".as_ref(), Access::Create)?;
/// file.write_at(b"hello", 0)?;
/// if let Some(map) = file.map_tail(5, 1 << 20)? {
///     let reader = map.reader();
///     drop((map, file));
///     assert_eq!(reader.published(), 5);
///     assert_eq!(reader.view(1, 3)?, &b"el"[..]);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait MapReader: sealed::Sealed + Send + Sync + fmt::Debug {
    /// The published end: all below may be viewed.
    fn published(&self) -> u64;

    /// A view of published bytes that stays valid while it is held, whatever becomes of the file's
    /// name; on the real disk it is the mapped memory itself.
    ///
    /// # Errors
    /// EIO where bytes that are not in memory cannot be read from the device.
    ///
    /// # Panics
    /// Where the range is not published: a fault of ours.
    fn view(&self, start: u64, end: u64) -> io::Result<Bytes>;

    /// Whether a view of what lies from `start` on asks nothing of the system. Where it has to, a
    /// little is had sooner by a read of the file.
    fn is_at_hand(&self, _start: u64) -> bool {
        true
    }
}

/// A held directory lock, freed by [`DirLock::unlock`] or by dropping it.
///
/// ```
/// use std::io::ErrorKind;
/// use tidelog::disk::{Disk, MemoryDisk};
/// let disk = MemoryDisk::new();
/// let mut lock = disk.lock(".lock".as_ref())?;
/// assert_eq!(disk.lock(".lock".as_ref()).unwrap_err().kind(), ErrorKind::WouldBlock);
/// lock.unlock()?;
/// assert!(disk.lock(".lock".as_ref()).is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait DirLock: sealed::Sealed + Send + Sync + fmt::Debug {
    /// Frees the lock. In a forked child it does nothing: the lock is the parent's.
    ///
    /// # Errors
    /// Those of the operating system; the lock is freed all the same once its file is closed.
    fn unlock(&mut self) -> io::Result<()>;
}
