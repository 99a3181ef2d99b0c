//! A disk in memory that fails one chosen call: for the faults of this room's own tests.
//!
//! It promises what every disk promises, and remembers what was synced: `power_cut` forgets the
//! rest of each file's bytes. Names are durable at once; the simulated disk is stricter.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{
    Access, DirLock, Disk, DiskFile, Entry, ForkCheck, Metadata, TailMap, sealed::Sealed,
};
use crate::error::NotBegun;
use crate::sync::{Arc, Mutex};
use crate::time::Timestamp;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Write,
    SetLen,
    Sync,
    Rename,
    SyncDir,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FaultDisk(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    dirs: BTreeSet<PathBuf>,
    /// The call to fail, how many of its kind to let pass first, and with what.
    fault: Option<(Call, usize, i32)>,
    bytes_read: u64,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug)]
struct File {
    disk: FaultDisk,
    path: Mutex<PathBuf>,
    content: Arc<Mutex<Content>>,
}

impl FaultDisk {
    pub(super) fn new() -> Self {
        FaultDisk::default()
    }

    /// Lets the call after `pass` calls of that kind fail, once.
    pub(super) fn fail(&self, call: Call, pass: usize, errno: i32) {
        self.0.lock().fault = Some((call, pass, errno));
    }

    /// Takes a fault back that did not strike; says whether it had.
    pub(super) fn has_struck(&self) -> bool {
        self.0.lock().fault.take().is_none()
    }

    /// How many bytes were read since this was last asked.
    pub(super) fn take_bytes_read(&self) -> u64 {
        std::mem::take(&mut self.0.lock().bytes_read)
    }

    /// Forgets all bytes that were not synced.
    pub(super) fn power_cut(&self) {
        for content in self.0.lock().files.values() {
            let mut content = content.lock();
            content.bytes = content.synced.clone();
        }
    }

    pub(super) fn read(&self, path: &Path) -> Vec<u8> {
        self.0.lock().files[path].lock().bytes.clone()
    }

    pub(super) fn write(&self, path: &Path, bytes: &[u8]) {
        let content = Content { bytes: bytes.to_vec(), synced: bytes.to_vec() };
        self.0.lock().files.insert(path.to_owned(), Arc::new(Mutex::new(content)));
    }

    fn strike(&self, call: Call) -> io::Result<()> {
        let mut files = self.0.lock();
        match &mut files.fault {
            Some((chosen, pass @ 1.., _)) if *chosen == call => *pass -= 1,
            Some((chosen, 0, errno)) if *chosen == call => {
                let error = io::Error::from_raw_os_error(*errno);
                files.fault = None;
                return Err(error);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Sealed for FaultDisk {}
impl Sealed for File {}

impl Disk for FaultDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.0.lock();
        let there = files.files.contains_key(path);
        match access {
            Access::Read | Access::Write if !there => return Err(io::ErrorKind::NotFound.into()),
            Access::CreateNew if there => return Err(io::ErrorKind::AlreadyExists.into()),
            _ => {}
        }
        let content = files.files.entry(path.to_owned()).or_default().clone();
        let path = Mutex::new(path.to_owned());
        Ok(Arc::new(File { disk: self.clone(), path, content }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.lock().dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let files = self.0.lock();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let inside = |path: &&PathBuf| path.parent() == Some(dir);
        let entry = |is_dir| move |path: &PathBuf| Entry { name: name(path), is_dir, len: 0 };
        let dirs = files.dirs.iter().filter(inside).map(entry(true));
        Ok(dirs.chain(files.files.keys().filter(inside).map(entry(false))).collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        let files = self.0.lock();
        let is_dir = files.dirs.contains(path);
        let len = files.files.get(path).map(|content| content.lock().bytes.len() as u64);
        let modified = Timestamp::from_millis(0);
        let len_or_zero = len.unwrap_or(0);
        let found = Metadata { len: len_or_zero, is_dir, modified, links: 1 };
        Ok((is_dir || len.is_some()).then_some(found))
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.strike(Call::Rename)?;
        let mut files = self.0.lock();
        let content = files.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.lock().files.remove(path);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.lock().dirs.remove(path);
        Ok(())
    }

    /// As the real disk has it: without a descriptor there is no sync.
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        const EMFILE: i32 = 24;
        self.strike(Call::SyncDir).map_err(|error| match error.raw_os_error() {
            Some(EMFILE) => io::Error::other(NotBegun(error)),
            _ => error,
        })
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn DirLock>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        Ok([1; 16])
    }

    fn fork_check(&self) -> ForkCheck {
        ForkCheck::never()
    }
}

impl DiskFile for File {
    fn path(&self) -> PathBuf {
        self.path.lock().clone()
    }

    fn renamed(&self, path: &Path) {
        *self.path.lock() = path.to_owned();
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let content = self.content.lock();
        let rest = content.bytes.get(usize::try_from(position).unwrap()..).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        drop(content);
        self.disk.0.lock().bytes_read += count as u64;
        Ok(count)
    }

    /// A failing write leaves half of its bytes behind.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let struck = self.disk.strike(Call::Write);
        let count = if struck.is_err() { bytes.len() / 2 } else { bytes.len() };
        let start = usize::try_from(position).unwrap();
        let mut content = self.content.lock();
        if content.bytes.len() < start + count {
            content.bytes.resize(start + count, 0);
        }
        content.bytes[start..start + count].copy_from_slice(&bytes[..count]);
        struck.map(|()| count)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.strike(Call::SetLen)?;
        self.content.lock().bytes.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.strike(Call::Sync)?;
        let mut content = self.content.lock();
        content.synced = content.bytes.clone();
        Ok(())
    }

    fn map_tail(&self, _: u64, _: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        Ok(None)
    }
}
