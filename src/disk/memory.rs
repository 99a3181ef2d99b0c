//! A disk in the process's memory: for tests of programs that use the library, and for stores
//! that need not outlive their process.
//!
//! It keeps every promise of the family but durability, of which there is nothing to keep: a sync
//! does nothing. A removed file stays readable through its handles and views. Paths are compared
//! by their text, `.` and `..` taken out; no link is symbolic. Every directory above a file must
//! exist, but for the root and the current directory.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::tail::{Backing, Bounds, BufferedTail, Overwrites};
use super::{Access, DirLock, Disk, DiskFile, Entry, ForkCheck, Metadata, TailMap, sealed};
use crate::sync::{Mutex, RwLock};
use crate::time::Timestamp;

mod lock;

use lock::MemoryLock;
pub(super) use lock::held_by_another;

/// A disk in memory. Clones show the same files.
///
/// ```
/// use std::path::Path;
/// use tidelog::disk::{Access, Disk, MemoryDisk};
/// let disk = MemoryDisk::new();
/// disk.create_dir_all(Path::new("/data"))?;
/// let file = disk.open(Path::new("/data/a"), Access::CreateNew)?;
/// file.write_at(b"hello", 0)?;
/// assert_eq!(disk.clone().list(Path::new("/data"))?[0].len, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tree: Mutex<Tree>,
    boot_id: [u8; 16],
}

#[derive(Debug, Default)]
struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
    locks: HashSet<PathBuf>,
}

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File(Arc<Contents>),
}

/// A file's bytes, whatever its names.
struct Contents {
    /// How many lead here; changed under the tree's lock.
    names: AtomicU32,
    inside: RwLock<Inside>,
}

impl std::fmt::Debug for Contents {
    /// Without the bytes, which may be gigabytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

struct Inside {
    bytes: Vec<u8>,
    modified: Timestamp,
    is_mapped: bool,
    overwrites: Overwrites,
}

impl MemoryDisk {
    /// An empty disk.
    ///
    /// ```
    /// use tidelog::disk::{Disk, MemoryDisk};
    /// assert!(MemoryDisk::new().list("/".as_ref())?.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> Self {
        let shared =
            Shared { tree: Mutex::new(Tree::default()), boot_id: *uuid::Uuid::new_v4().as_bytes() };
        MemoryDisk { shared: Arc::new(shared) }
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        MemoryDisk::new()
    }
}

/// The path as it is compared: without `.` and, as far as there is something to leave, `..`.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

/// Whether the path is one that always exists: the root or the current directory.
pub(super) fn is_root(normal: &Path) -> bool {
    normal.parent().is_none_or(|parent| normal == parent)
}

fn now() -> Timestamp {
    Timestamp::now()
}

impl Tree {
    /// # Errors
    /// `NotFound`, or `NotADirectory` for a file.
    fn directory(&self, path: &Path) -> io::Result<()> {
        match self.nodes.get(path) {
            _ if is_root(path) => Ok(()),
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |parent| self.directory(parent))
    }

    /// Everything under a directory, at any depth.
    fn below(&self, dir: &Path) -> impl Iterator<Item = (&PathBuf, &Node)> {
        self.nodes
            .range(dir.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(dir))
            .filter(move |(path, _)| path.as_path() != dir)
    }
}

impl sealed::Sealed for MemoryDisk {}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let name = normal(path);
        let mut tree = self.shared.tree.lock();
        let contents = match tree.nodes.get(&name) {
            Some(Node::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            None if is_root(&name) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(_)) if access == Access::CreateNew => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Some(Node::File(contents)) => contents.clone(),
            None if matches!(access, Access::Read | Access::Write) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            None => {
                tree.parent(&name)?;
                let contents = Arc::new(Contents::new());
                tree.nodes.insert(name, Node::File(contents.clone()));
                contents
            }
        };
        drop(tree);
        let is_writable = access != Access::Read;
        Ok(Arc::new(MemoryFile { contents, is_writable, path: Mutex::new(path.to_owned()) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let name = normal(path);
        let mut tree = self.shared.tree.lock();
        for dir in name.ancestors().filter(|dir| !is_root(dir)) {
            if let Some(Node::File(_)) = tree.nodes.get(dir) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        for dir in name.ancestors().filter(|dir| !is_root(dir)) {
            tree.nodes.insert(dir.to_owned(), Node::Directory);
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let name = normal(dir);
        let tree = self.shared.tree.lock();
        tree.directory(&name)?;
        let children = tree.below(&name).filter(|(path, _)| path.parent() == Some(&name));
        let entries = children.map(|(path, node)| Entry {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            is_dir: matches!(node, Node::Directory),
            len: match node {
                Node::Directory => 0,
                Node::File(contents) => contents.len(),
            },
        });
        Ok(entries.collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        let name = normal(path);
        let tree = self.shared.tree.lock();
        Ok(match tree.nodes.get(&name) {
            Some(Node::File(contents)) => {
                let inside = contents.inside.read();
                let len = inside.bytes.len() as u64;
                let links = contents.names.load(Ordering::Relaxed);
                Some(Metadata { len, is_dir: false, modified: inside.modified, links })
            }
            None if !is_root(&name) => None,
            _ => Some(Metadata { len: 0, is_dir: true, modified: now(), links: 1 }),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut tree = self.shared.tree.lock();
        let node = tree.nodes.get(&from).cloned().ok_or(io::ErrorKind::NotFound)?;
        tree.parent(&to)?;
        if from == to {
            return Ok(());
        }
        match (&node, tree.nodes.get(&to)) {
            // two names of one file: as elsewhere, nothing is done
            (Node::File(from), Some(Node::File(to))) if Arc::ptr_eq(from, to) => return Ok(()),
            (_, None) | (Node::File(_), Some(Node::File(_))) => {}
            (Node::File(_), Some(Node::Directory)) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            (Node::Directory, Some(Node::File(_))) => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            (Node::Directory, Some(Node::Directory)) => {
                if tree.below(&to).next().is_some() {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
            }
        }
        if matches!(node, Node::Directory) && to.starts_with(&from) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let moved: Vec<_> =
            tree.below(&from).map(|(path, node)| (path.clone(), node.clone())).collect();
        tree.nodes.remove(&from);
        if let Some(Node::File(replaced)) = tree.nodes.insert(to.clone(), node) {
            replaced.names.fetch_sub(1, Ordering::Relaxed);
        }
        for (path, node) in moved {
            tree.nodes.remove(&path);
            let rest = path.strip_prefix(&from).expect("it was found below the directory");
            tree.nodes.insert(to.join(rest), node);
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut tree = self.shared.tree.lock();
        let node = match tree.nodes.get(&from) {
            Some(node @ Node::File(_)) => node.clone(),
            Some(Node::Directory) => return Err(io::ErrorKind::PermissionDenied.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        tree.parent(&to)?;
        if tree.nodes.contains_key(&to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Node::File(contents) = &node {
            contents.names.fetch_add(1, Ordering::Relaxed);
        }
        tree.nodes.insert(to, node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let name = normal(path);
        let mut tree = self.shared.tree.lock();
        match tree.nodes.get(&name) {
            Some(Node::File(contents)) => {
                contents.names.fetch_sub(1, Ordering::Relaxed);
                tree.nodes.remove(&name);
            }
            Some(Node::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let name = normal(path);
        let mut tree = self.shared.tree.lock();
        tree.directory(&name)?;
        if is_root(&name) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        if tree.below(&name).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        tree.nodes.remove(&name);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.shared.tree.lock().directory(&normal(dir))
    }

    fn lock(&self, lock_file: &Path) -> io::Result<Box<dyn DirLock>> {
        self.open(lock_file, Access::Create)?;
        let name = normal(lock_file);
        if !self.shared.tree.lock().locks.insert(name.clone()) {
            return Err(held_by_another());
        }
        Ok(Box::new(MemoryLock { disk: self.clone(), held: Some(name) }))
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        Ok(self.shared.boot_id)
    }

    fn fork_check(&self) -> ForkCheck {
        ForkCheck::never()
    }
}

impl Contents {
    fn new() -> Self {
        let inside = Inside {
            bytes: Vec::new(),
            modified: now(),
            is_mapped: false,
            overwrites: Overwrites::default(),
        };
        Contents { names: AtomicU32::new(1), inside: RwLock::new(inside) }
    }

    fn len(&self) -> u64 {
        self.inside.read().bytes.len() as u64
    }
}

impl Inside {
    /// Stores bytes, extending the file where they reach beyond its end.
    fn store(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[position..end].copy_from_slice(bytes);
    }
}

/// The part of `bytes` that a read of `len` bytes at `position` gives.
pub(super) fn slice_at(bytes: &[u8], position: u64, len: usize) -> &[u8] {
    let start = usize::try_from(position).map_or(bytes.len(), |start| start.min(bytes.len()));
    let end = start.saturating_add(len).min(bytes.len());
    &bytes[start..end]
}

/// A position as an index into memory.
pub(super) fn index(position: u64) -> io::Result<usize> {
    let index = usize::try_from(position).ok().filter(|index| isize::try_from(*index).is_ok());
    index.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

#[derive(Debug)]
struct MemoryFile {
    contents: Arc<Contents>,
    is_writable: bool,
    path: Mutex<PathBuf>,
}

impl MemoryFile {
    fn writable(&self) -> io::Result<()> {
        if self.is_writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl sealed::Sealed for MemoryFile {}

impl DiskFile for MemoryFile {
    fn path(&self) -> PathBuf {
        self.path.lock().clone()
    }

    fn renamed(&self, path: &Path) {
        *self.path.lock() = path.to_owned();
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.contents.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let inside = self.contents.inside.read();
        let found = slice_at(&inside.bytes, position, buffer.len());
        buffer[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.writable()?;
        let start = index(position)?;
        index(position.saturating_add(bytes.len() as u64))?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut inside = self.contents.inside.write();
        inside.store(start, bytes);
        inside.overwrites.note(position, position + bytes.len() as u64);
        inside.modified = now();
        Ok(bytes.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let len = index(len)?;
        let mut inside = self.contents.inside.write();
        inside.bytes.resize(len, 0);
        inside.overwrites.note(len as u64, u64::MAX);
        inside.modified = now();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn map_tail(&self, published: u64, capacity: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        self.writable()?;
        let mut inside = self.contents.inside.write();
        let bounds = Bounds::new(published, inside.bytes.len() as u64, capacity)?;
        if std::mem::replace(&mut inside.is_mapped, true) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the file is mapped already"));
        }
        drop(inside);
        Ok(Some(Box::new(BufferedTail::new(MemoryBacking(self.contents.clone()), bounds))))
    }
}

/// A file's contents as a tail stores into them.
#[derive(Debug)]
struct MemoryBacking(Arc<Contents>);

impl Backing for MemoryBacking {
    fn lend(&self, position: u64, buffer: &mut [u8]) {
        let mut inside = self.0.inside.write();
        let found = slice_at(&inside.bytes, position, buffer.len());
        buffer[..found.len()].copy_from_slice(found);
        let found = found.len();
        buffer[found..].fill(0);
        inside.overwrites.lend();
    }

    fn give_back(&self, position: u64, bytes: &[u8]) {
        let mut inside = self.0.inside.write();
        let end = (position + bytes.len() as u64).min(inside.bytes.len() as u64);
        for (from, to) in inside.overwrites.take_rest(position, end.max(position)) {
            // Within `bytes`, which is memory, so neither number is cut.
            let part = (from - position) as usize..(to - position) as usize;
            inside.store(from as usize, &bytes[part]);
        }
    }

    fn extend(&self, from: u64, end: u64) -> io::Result<()> {
        let (from, end) = (index(from)?, index(end)?);
        let mut inside = self.0.inside.write();
        inside.bytes.truncate(from);
        inside.bytes.resize(end, 0);
        inside.modified = now();
        Ok(())
    }

    fn view(&self, start: u64, end: u64) -> Bytes {
        let len = usize::try_from(end - start).unwrap_or(usize::MAX);
        Bytes::copy_from_slice(slice_at(&self.0.inside.read().bytes, start, len))
    }

    fn unmapped(&self) {
        self.0.inside.write().is_mapped = false;
    }
}
