//! The `.snapshot` files of a log's directory: written before a recovery point may rise, removed
//! once they serve nobody.
//!
//! A snapshot is written under its own name and synced; its checksum tells a torn one, and an older
//! one then takes its place. Its name is durable with the directory sync of the same checkpoint.
//! Kept are those at the bases of segments, for whoever truncates or recovers there, and the two
//! newest. What a snapshot says is a function of the log below its offset, so one that survives its
//! removal does no harm, but where it lies beyond the log's end: that one is gone durably before
//! anything is appended.
//!
//! With the first of them a file is made that stays, `tidelog.producers`: magic "TDLP", version
//! u32, a crc32c of both, big-endian. It says by being there that a log without snapshots has lost
//! them.
//!
//! By whoever has the turn, under the trim lock, or while the log is opened.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::claims::Taken;
use super::core::PartitionLog;
use super::producers::{MAX_SNAPSHOT, Recorded, decode, encode};
use crate::disk::names::{PRODUCERS, SegmentFile};
use crate::disk::replace::read_file;
use crate::disk::{Access, Disk, DiskFile, write_all_at};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::sync::atomic::Ordering;
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"TDLP";
const VERSION: u32 = 1;

/// How many of the newest are kept wherever they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newest {
    One,
    Two,
}

/// Writes a snapshot; its bytes await a sync, its name the directory's.
pub(super) fn write_snapshot(
    disk: &dyn Disk,
    path: &Path,
    taken: &Taken,
) -> Result<Arc<dyn DiskFile>> {
    let bytes = encode(taken.recorded.clone());
    let fail = |error| Error::io("write producer snapshot", path, error);
    let file = disk.open(path, Access::Create).map_err(fail)?;
    file.set_len(0).map_err(fail)?;
    write_all_at(&*file, &bytes, 0).map_err(fail)?;
    Ok(file)
}

impl PartitionLog {
    fn snapshot_path(&self, at: Offset) -> PathBuf {
        self.place.path(at, SegmentFile::ProducerSnapshot)
    }

    /// Notes that the log has producers, once; its name awaits the directory's sync.
    fn note_producers(&self) -> Result<()> {
        if self.producers_noted.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        let path = self.place.dir.join(PRODUCERS);
        let fail = |error| Error::io("note producers", &path, error);
        let file = self.place.disk.open(&path, Access::Create).map_err(fail)?;
        write_all_at(&*file, &bytes, 0).map_err(fail)?;
        self.sync_made(&*file, fail)?;
        self.producers_noted.store(true, Ordering::Release);
        Ok(())
    }

    /// Syncs a file that was made, whose name awaits the directory's sync.
    fn sync_made(
        &self,
        file: &dyn DiskFile,
        fail: impl FnOnce(std::io::Error) -> Error,
    ) -> Result<()> {
        file.sync_data().map_err(|error| {
            let error = fail(error);
            if error.is_of_a_sync_begun() {
                self.latch.trip(&error);
            }
            error
        })?;
        self.names_changed.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes what was taken, each once.
    pub(super) fn save_snapshots(&self, taken: &[Taken]) -> Result<()> {
        if taken.iter().any(|taken| taken.at > Offset::ZERO) {
            self.note_producers()?;
        }
        for taken in taken {
            if taken.at == Offset::ZERO || self.snapshots.lock().contains(&taken.at) {
                continue;
            }
            let path = self.snapshot_path(taken.at);
            let file = write_snapshot(&*self.place.disk, &path, taken)?;
            self.sync_made(&*file, |error| Error::io("sync producer snapshot", &path, error))?;
            self.snapshots.lock().insert(taken.at);
        }
        Ok(())
    }

    /// Removes the snapshots that serve nobody. Where one cannot be removed it is tried again.
    pub(super) fn prune_snapshots(&self, newest: Newest) {
        let start = self.offsets.snapshot().start;
        let bases: Vec<_> = self.segments.load().iter().map(|segment| segment.base()).collect();
        let mut all = self.snapshots.lock();
        let last = all.last().copied();
        let before = all.iter().nth_back(1).copied();
        let serves = |at: Offset| {
            let is_new = Some(at) == last || (newest == Newest::Two && Some(at) == before);
            let in_log = at > start || (at == start && Some(at) == last);
            let at_base = || bases.binary_search(&at).is_ok() || self.has_emptied(at);
            in_log && (is_new || at_base()) || Some(at) == last
        };
        let gone: Vec<_> = all.iter().copied().filter(|at| !serves(*at)).collect();
        for at in gone {
            let path = self.snapshot_path(at);
            match self.place.disk.remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    log::debug!("{} stays: {error}", path.display());
                }
                _ => drop(all.remove(&at)),
            }
        }
    }

    /// Whether a segment begins there that compaction has emptied: Kafka keeps its files.
    fn has_emptied(&self, base: Offset) -> bool {
        let log = self.place.path(base, SegmentFile::Log);
        self.place.disk.metadata(&log).is_ok_and(|found| found.is_some())
    }

    /// Removes the snapshots beyond the log's end, durably: what they speak of is not there, and
    /// what comes there will be other records.
    pub(super) fn remove_snapshots_beyond(&self, end: Offset) -> Result<()> {
        let mut all = self.snapshots.lock();
        let beyond: BTreeSet<_> = all.iter().copied().filter(|at| *at > end).collect();
        for at in &beyond {
            self.remove_snapshot(*at)?;
        }
        all.retain(|at| *at <= end);
        drop(all);
        if beyond.is_empty() {
            return Ok(());
        }
        let dir = &*self.place.dir;
        let synced = self.place.disk.sync_dir(dir);
        synced.map_err(|error| Error::io("sync directory", dir, error))
    }

    /// Removes every snapshot; the caller makes that durable.
    pub(super) fn remove_all_snapshots(&self) -> Result<()> {
        let mut all = self.snapshots.lock();
        while let Some(at) = all.last().copied() {
            self.remove_snapshot(at)?;
            all.remove(&at);
        }
        Ok(())
    }

    /// Forgets the snapshots above where the segment of a recovery point begins: another hand was
    /// stopped there, and Kafka tells producers from the log again too. The files that are to be
    /// made anew go, and those at no segment; the others lie there until an open looks for strays.
    pub(super) fn forget_snapshots_above(&self, point: Offset) -> Result<()> {
        let segments = self.segments.load();
        let bases: Vec<_> = segments.iter().map(|segment| segment.base()).collect();
        let from = bases.iter().rfind(|base| **base <= point).copied().unwrap_or(point);
        let anew = &bases[bases.len().saturating_sub(2)..];
        let forgotten = self.snapshots.lock().split_off(&from.next());
        let stays = |at: &Offset| {
            let at_base = bases.binary_search(at).is_ok() || self.has_emptied(*at);
            at_base && !anew.contains(at)
        };
        forgotten.into_iter().filter(|at| !stays(at)).try_for_each(|at| self.remove_snapshot(at))
    }

    fn remove_snapshot(&self, at: Offset) -> Result<()> {
        let path = self.snapshot_path(at);
        match self.place.disk.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove producer snapshot", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// The newest snapshot at or above `from` that is whole, and what it says; what is not whole
    /// goes.
    pub(super) fn newest_snapshot(&self, from: Offset) -> Result<Option<Taken>> {
        loop {
            let Some(at) = self.snapshots.lock().last().copied().filter(|at| *at >= from) else {
                return Ok(None);
            };
            match self.read_snapshot(at)? {
                Some(recorded) => return Ok(Some(Taken { at, recorded })),
                None => {
                    self.remove_snapshot(at)?;
                    self.snapshots.lock().remove(&at);
                }
            }
        }
    }

    /// The newest whole snapshot from `from` up to `most`, and what it says.
    pub(super) fn snapshot_at_most(&self, most: Offset, from: Offset) -> Result<Option<Taken>> {
        let found: Vec<_> =
            self.snapshots.lock().iter().rev().copied().filter(|at| *at <= most).collect();
        for at in found.into_iter().take_while(|at| *at >= from) {
            if let Some(recorded) = self.read_snapshot(at)? {
                return Ok(Some(Taken { at, recorded }));
            }
        }
        Ok(None)
    }

    fn read_snapshot(&self, at: Offset) -> Result<Option<Vec<Recorded>>> {
        let path = self.snapshot_path(at);
        let bytes = match read_file(&*self.place.disk, &path, MAX_SNAPSHOT) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                log::warn!("{} is set aside: {error}", path.display());
                return Ok(None);
            }
            Err(error) => return Err(Error::io("read producer snapshot", &path, error)),
        };
        let why = match decode(&bytes) {
            Ok(recorded) if recorded.iter().all(|recorded| recorded.fits(at)) => {
                return Ok(Some(recorded));
            }
            Ok(_) => "it speaks of offsets beyond its own".to_owned(),
            Err(fault) => fault.to_string(),
        };
        log::warn!("{} is made again: {why}", path.display());
        Ok(None)
    }
}
