//! A handle of the simulated disk, and its mapped tail.
//!
//! A handle names a file of the world, not a path: it goes on working when the name is gone. Every
//! call goes through the faults and is counted as a step at which the power may be cut.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::memory::{index, slice_at};
use super::super::tail::{Backing, Bounds, BufferedTail};
use super::super::{DiskFile, IoMode, TailMap, sealed};
use super::sectors::By;
use super::world::no_space;
use super::{Operation, Shared};
use crate::sync::Mutex;

/// Keeps a file's contents while anyone can reach them.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) file: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.world.lock().closed(self.file);
    }
}

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) handle: Arc<Handle>,
    pub(super) is_writable: bool,
    pub(super) path: Mutex<PathBuf>,
}

impl SimFile {
    fn writable(&self) -> io::Result<()> {
        if self.is_writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl sealed::Sealed for SimFile {}

impl DiskFile for SimFile {
    fn path(&self) -> PathBuf {
        self.path.lock().clone()
    }

    fn renamed(&self, path: &Path) {
        *self.path.lock() = path.to_owned();
    }

    fn len(&self) -> io::Result<u64> {
        let mut world = self.handle.shared.world.lock();
        world.enter(Operation::Len)?;
        Ok(world.file(self.handle.file).bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut world = self.handle.shared.world.lock();
        let limit = world.enter(Operation::Read)?.min(buffer.len());
        let found = slice_at(&world.file(self.handle.file).bytes, position, limit);
        buffer[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.writable()?;
        let start = index(position)?;
        index(position.saturating_add(bytes.len() as u64))?;
        let mut world = self.handle.shared.world.lock();
        let limit = world.enter(Operation::Write)?.min(bytes.len());
        if limit == 0 {
            return Ok(0);
        }
        let room = world.room(self.handle.file, position, limit);
        if room == 0 {
            return Err(no_space());
        }
        let modified = world.now();
        let file = world.file_mut(self.handle.file);
        file.write(start, &bytes[..room], By::Write);
        file.overwrites.note(position, position + room as u64);
        file.modified = modified;
        Ok(room)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let mut world = self.handle.shared.world.lock();
        world.enter(Operation::SetLen)?;
        let modified = world.now();
        let file = world.file_mut(self.handle.file);
        file.set_len(index(len)?);
        file.overwrites.note(len, u64::MAX);
        file.modified = modified;
        world.faults.answer()
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.handle.shared.world.lock();
        world.faults.syncs += 1;
        let entered = world.enter(Operation::Sync);
        while world.faults.hanging {
            drop(world);
            std::thread::sleep(std::time::Duration::from_millis(1));
            world = self.handle.shared.world.lock();
        }
        match entered {
            Ok(0) => {} // it lies
            Ok(_) => world.file_mut(self.handle.file).sync(),
            Err(_) => world.file_mut(self.handle.file).fail_sync(),
        }
        entered.map(drop)
    }

    fn map_tail(&self, published: u64, capacity: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        self.writable()?;
        let mut world = self.handle.shared.world.lock();
        if world.mode == IoMode::Positioned {
            return Ok(None);
        }
        world.enter(Operation::Map)?;
        let file = world.handle_mut(self.handle.file);
        let bounds = Bounds::new(published, file.bytes.len() as u64, capacity)?;
        if std::mem::replace(&mut file.is_mapped, true) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the file is mapped already"));
        }
        Ok(Some(Box::new(BufferedTail::new(SimBacking(self.handle.clone()), bounds))))
    }
}

/// A file as a tail stores into it.
#[derive(Debug)]
struct SimBacking(Arc<Handle>);

impl Backing for SimBacking {
    fn lend(&self, position: u64, buffer: &mut [u8]) {
        let mut world = self.0.shared.world.lock();
        let file = world.handle_mut(self.0.file);
        let found = slice_at(&file.bytes, position, buffer.len());
        buffer[..found.len()].copy_from_slice(found);
        let found = found.len();
        buffer[found..].fill(0);
        file.overwrites.lend();
    }

    fn give_back(&self, position: u64, bytes: &[u8]) {
        let mut world = self.0.shared.world.lock();
        let file = world.handle_mut(self.0.file);
        let end = (position + bytes.len() as u64).min(file.bytes.len() as u64);
        for (from, to) in file.overwrites.take_rest(position, end.max(position)) {
            // Within `bytes`, which is memory, so neither number is cut.
            let part = &bytes[(from - position) as usize..(to - position) as usize];
            let held = slice_at(&world.file(self.0.file).bytes, from, part.len());
            if held != part {
                world.file_mut(self.0.file).write(from as usize, part, By::MappedStore);
            }
        }
    }

    fn extend(&self, from: u64, end: u64) -> io::Result<()> {
        let mut world = self.0.shared.world.lock();
        let limit = world.enter(Operation::Allocate);
        let start = index(from)?;
        let len = index(end)? - start;
        limit?;
        if world.file(self.0.file).bytes.len() > start {
            world.file_mut(self.0.file).set_len(start);
        }
        if world.room(self.0.file, from, len) < len {
            return Err(no_space());
        }
        let modified = world.now();
        let file = world.file_mut(self.0.file);
        file.write(start, &vec![0; len], By::Write);
        file.modified = modified;
        Ok(())
    }

    fn publishing(&self) {
        // It cannot fail; that the power went is learnt at the next call.
        let _ = self.0.shared.world.lock().enter(Operation::Publish);
    }

    fn view(&self, start: u64, end: u64) -> Bytes {
        let world = self.0.shared.world.lock();
        let len = usize::try_from(end - start).unwrap_or(usize::MAX);
        Bytes::copy_from_slice(slice_at(&world.file(self.0.file).bytes, start, len))
    }

    fn unmapped(&self) {
        self.0.shared.world.lock().handle_mut(self.0.file).is_mapped = false;
    }
}
