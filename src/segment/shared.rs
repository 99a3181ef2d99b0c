//! The readers' side of a segment: how far it is published, its map, its files and its indexes.
//!
//! Constant: base, place, identity. Atomic: the published end, the map of an active segment and
//! where it lies, the index in memory while it grows, the opened index files once it does not.
//! Locked: the making of an index. Readers hold the segment by `Arc`; a dropped segment's files go
//! when the last of them has let go.
//!
//! The published end only rises, and every byte below it is final.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arc_swap::ArcSwapOption;

use super::cover::Cover;
use super::digest::Identity;
use super::digested::Digested;
use super::index::{Indexer, OffsetEntry, SparseIndex, TimeEntry};
use super::index_file::{Found, IndexFile, SavedEntries, index_bytes};
use super::scan::{Scan, ScanStart, Walk, WalkStep, scan};
use super::tags::Tags;
use crate::disk::copy::is_shared;
use crate::disk::names::{SegmentFile, segment_file};
use crate::disk::replace::replace_file;
use crate::disk::{Access, Disk, DiskFile, MapReader, Near, SharedNear, TailMap};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;

mod room;
mod seal;

/// What all segments of one log share.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: Arc<Path>,
    /// Bytes of log between two index entries.
    pub(crate) index_interval: u64,
    pub(crate) identity: Identity,
    pub(crate) tenancy: Tenancy,
}

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenancy {
    /// This process writes to it.
    Own,
    /// Another process may be writing to it: here nothing is changed, made or mapped.
    Guest,
    /// It is audited: nothing is changed or made.
    Auditor,
}

impl Place {
    pub(crate) fn path(&self, base: Offset, kind: SegmentFile) -> PathBuf {
        self.dir.join(segment_file(base, kind))
    }
}

/// Gives the readers' map a size that an atomic pointer can hold.
#[derive(Debug)]
pub(super) struct Map(pub(super) Arc<dyn MapReader>);

/// The opened index files of a segment that does not grow.
#[derive(Debug)]
pub(super) struct IndexFiles {
    offsets: IndexFile,
    times: IndexFile,
}

/// The largest timestamp has not been looked up yet.
const NOT_KNOWN: i64 = i64::MIN;
/// No record of the segment has a timestamp.
const NONE: i64 = -1;

/// One segment, as its readers share it; what every append looks at lies in front.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Segment {
    published: AtomicU64,
    largest_timestamp: AtomicI64,
    /// Part of a failed append may lie behind the published end.
    littered: AtomicBool,
    pub(super) map: ArcSwapOption<Map>,
    base: Offset,
    place: Arc<Place>,
    pub(super) log: OnceLock<Arc<dyn DiskFile>>,
    /// Of how far the map is published. Not on the front line, which is the writer's to store into.
    map_near: SharedNear,
    pub(super) growing: ArcSwapOption<SparseIndex>,
    files: ArcSwapOption<IndexFiles>,
    /// Bytes that a sync has covered; moved by the log's sync lock only.
    synced: AtomicU64,
    /// It was cut to its length, and no sync has covered that.
    trimmed: AtomicBool,
    /// Its file may have room beyond its end.
    room: AtomicBool,
    /// Its tail has rested since room was last asked for.
    rested: AtomicBool,
    /// Neither this segment nor one before it will ever need a sync again.
    settled: AtomicBool,
    /// Another segment has taken its place, and perhaps its names; see `retire`.
    pub(super) replaced: AtomicBool,
    /// A reader of another process's files has seen whose the log file is that is open.
    pub(super) identified: AtomicBool,
    /// What of the growing indexes their files have, and the handles of those still to be synced.
    pub(super) making_index: Mutex<SavedEntries>,
    pub(super) cover: Cover,
    pub(super) tags: Tags,
}

/// What a tail stores into is on the first line, what a reader finds that by is not. The atomics of
/// a model are larger.
#[cfg(not(any(loom, shuttle)))]
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Segment, base) < Near::LINE);
    assert!(offset_of!(Segment, map_near) >= Near::LINE);
};

impl Segment {
    /// A segment that lies on disk, `len` bytes of which are valid. Nothing is opened yet.
    pub(crate) fn on_disk(place: Arc<Place>, base: Offset, len: u64) -> Self {
        Segment {
            place,
            base,
            log: OnceLock::new(),
            published: AtomicU64::new(len),
            map: ArcSwapOption::empty(),
            map_near: SharedNear::default(),
            growing: ArcSwapOption::empty(),
            files: ArcSwapOption::empty(),
            largest_timestamp: AtomicI64::new(NOT_KNOWN),
            synced: AtomicU64::new(0),
            trimmed: AtomicBool::new(false),
            room: AtomicBool::new(false),
            rested: AtomicBool::new(false),
            littered: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            identified: AtomicBool::new(false),
            making_index: Mutex::new(SavedEntries::default()),
            cover: Cover::of_file(),
            tags: Tags::default(),
        }
    }

    /// A new, empty segment. A file of its name, left behind by an earlier failure, is emptied;
    /// one that has another name too only loses this one.
    pub(crate) fn create(place: Arc<Place>, base: Offset) -> Result<Self> {
        let path = place.path(base, SegmentFile::Log);
        let fail = |error| Error::io("create segment", &path, error);
        use SegmentFile::{Digests, OffsetIndex, TimeIndex, TransactionIndex};
        for kind in [OffsetIndex, TimeIndex, TransactionIndex, Digests, SegmentFile::Tags] {
            let beside = place.path(base, kind);
            if place.disk.metadata(&beside).map_err(fail)?.is_some() {
                place.disk.remove_file(&beside).map_err(fail)?;
            }
        }
        if is_shared(&*place.disk, &path).map_err(fail)? {
            place.disk.remove_file(&path).map_err(fail)?;
        }
        let segment = Segment::create_unsearched(place, base)?;
        let file = segment.log()?;
        if file.len().map_err(fail)? > 0 {
            file.set_len(0).map_err(fail)?;
        }
        Ok(segment)
    }

    /// The same without a look for what was left behind.
    pub(crate) fn create_unsearched(place: Arc<Place>, base: Offset) -> Result<Self> {
        let path = place.path(base, SegmentFile::Log);
        let file = place.disk.open(&path, Access::Create);
        let file = file.map_err(|error| Error::io("create segment", &path, error))?;
        let segment = Segment::on_disk(place, base, 0);
        let _ = segment.log.set(file);
        segment.largest_timestamp.store(NONE, Ordering::Relaxed);
        segment.appends_from(0);
        Ok(segment)
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Bytes that readers may see.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self.log.get() {
            Some(file) => file.path(),
            None => self.place.path(self.base, SegmentFile::Log),
        }
    }

    /// The log file, opened when it is first needed. It is opened for writing, so that one handle
    /// serves whoever reads, appends, trims and syncs; read-only where the directory is.
    pub(crate) fn log(&self) -> Result<&Arc<dyn DiskFile>> {
        if let Some(file) = self.log.get() {
            return Ok(file);
        }
        let path = self.place.path(self.base, SegmentFile::Log);
        let disk = &self.place.disk;
        let access = match self.place.tenancy {
            Tenancy::Own => Access::Write,
            Tenancy::Guest | Tenancy::Auditor => Access::Read,
        };
        let file =
            disk.open(&path, access)
                .or_else(|error| match error.kind() {
                    std::io::ErrorKind::PermissionDenied
                    | std::io::ErrorKind::ReadOnlyFilesystem => disk.open(&path, Access::Read),
                    _ => Err(error),
                })
                .map_err(|error| Error::io("open segment", &path, error))?;
        Ok(self.log.get_or_init(|| file))
    }

    /// The log file, if it is open already.
    pub(super) fn opened_log(&self) -> Option<&Arc<dyn DiskFile>> {
        self.log.get()
    }

    /// The tail's side: more bytes are final.
    #[inline]
    pub(super) fn publish(&self, end: u64, largest_timestamp: Option<i64>) {
        if let Some(largest) = largest_timestamp {
            self.largest_timestamp.store(largest, Ordering::Relaxed);
        }
        self.published.store(end, Ordering::Release);
    }

    /// The tail's side: what is appended is mapped from now on.
    pub(super) fn set_map(&self, map: &dyn TailMap) {
        self.map.store(Some(Arc::new(Map(map.reader()))));
        self.map_near.set(map.lines().map(|[_, mapping]| Near::at(mapping)).unwrap_or_default());
    }

    /// Has the lines fetched that the tail stores into and each reader looks at.
    #[inline]
    pub(crate) fn fetch_near(&self) {
        Near::of(&self.published).fetch();
        self.map_near.get().fetch();
    }

    #[cfg(test)]
    pub(crate) fn map_near(&self) -> Near {
        self.map_near.get()
    }

    /// Reads go to the file from now on; views that are held stay valid.
    pub(crate) fn drop_map(&self) {
        self.map.store(None);
        self.map_near.set(Near::default());
    }

    /// Takes the index that recovery made of a segment that no longer grows, until it is sealed.
    pub(crate) fn indexed_by(&self, mut indexer: Indexer) {
        indexer.finish();
        self.set_growing(indexer.index().clone(), indexer.largest_timestamp());
    }

    /// The index this segment's one writer keeps.
    pub(super) fn set_growing(&self, index: Arc<SparseIndex>, largest_timestamp: Option<i64>) {
        self.growing.store(Some(index));
        self.largest_timestamp.store(largest_timestamp.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Makes every published byte durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let end = self.published();
        if self.synced.load(Ordering::Relaxed) >= end {
            return Ok(());
        }
        let file = self.log()?;
        file.sync_data().map_err(|error| Error::io("sync segment", &file.path(), error))?;
        self.synced.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Says that this segment, sealed, and all before it are on the disk for good.
    pub(crate) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Says that an earlier open has recorded a sync of everything published.
    pub(crate) fn assume_synced(&self) {
        self.synced.store(self.published(), Ordering::Relaxed);
    }

    /// The index files, opened; made again if they cannot be right.
    pub(super) fn index_files(&self) -> Result<IndexSource> {
        if let Some(index) = self.growing.load_full() {
            return Ok(IndexSource::Memory(index));
        }
        if let Some(files) = self.files.load_full() {
            return Ok(IndexSource::Files(files));
        }
        match self.open_index_files()? {
            Some(files) => {
                let files = Arc::new(files);
                self.files.store(Some(files.clone()));
                Ok(IndexSource::Files(files))
            }
            None => Ok(IndexSource::Memory(self.rebuild_indexes()?)),
        }
    }

    /// The indexes without making any: an index made from a damaged log ends where the damage
    /// begins, so only one that was there before can vouch for what lies behind it.
    pub(super) fn index_files_as_they_are(&self) -> Result<Option<IndexSource>> {
        if let Some(files) = self.open_index_files()? {
            return Ok(Some(IndexSource::Files(Arc::new(files))));
        }
        Ok(self.growing.load_full().map(IndexSource::Memory))
    }

    fn open_index_files(&self) -> Result<Option<IndexFiles>> {
        if self.replaced.load(Ordering::Acquire) {
            return Ok(None); // the files of these names are another's
        }
        let disk = &*self.place.disk;
        let offset_path = self.place.path(self.base, SegmentFile::OffsetIndex);
        let time_path = self.place.path(self.base, SegmentFile::TimeIndex);
        let len = self.published();
        let Some(offsets) = IndexFile::open::<OffsetEntry>(disk, &offset_path, len)? else {
            return Ok(None);
        };
        let Some(times) = IndexFile::open::<TimeEntry>(disk, &time_path, len)? else {
            return Ok(None);
        };
        let last = offsets.last::<OffsetEntry>()?;
        let fits = last
            .is_none_or(|last| u64::from(last.position) < self.published() && last.position > 0);
        let last = times.last::<TimeEntry>()?;
        let dated = last.is_none_or(|last| last.timestamp > 0 || times.len() == 1);
        // a non-empty log of this library or Kafka always ends its time index with an entry,
        // unless no record has a timestamp, so an empty one is only worth a scan
        let told = last.is_some() || self.published() == 0;
        Ok((fits && dated && told).then_some(IndexFiles { offsets, times }))
    }

    /// Makes the indexes again from the log, for this segment alone, and writes them where that is
    /// possible. Until they are written they are kept in memory.
    pub(super) fn rebuild_indexes(&self) -> Result<Arc<SparseIndex>> {
        let mut saved = self.making_index.lock();
        if let Some(index) = self.growing.load_full() {
            return Ok(index);
        }
        let mut found = self.scan_for_indexes()?;
        found.indexer.finish();
        log::debug!("indexes of {} made again", self.path().display());
        let index = found.indexer.index().clone();
        let largest = found.indexer.largest_timestamp().unwrap_or(NONE);
        self.largest_timestamp.store(largest, Ordering::Relaxed);
        let whole = found.position == self.published();
        *saved = SavedEntries::default();
        let is_own = self.place.tenancy == Tenancy::Own && !self.replaced.load(Ordering::Acquire);
        let may_write = is_own && whole && index.time_len() > 0;
        let written = may_write && self.replace_indexes(&index).is_ok();
        if !written {
            self.growing.store(Some(index.clone()));
        }
        Ok(index)
    }

    /// Scans all of the log, behind damage too where something names the place to go on: this
    /// index may take the place of the one that did.
    fn scan_for_indexes(&self) -> Result<Scan> {
        let (file, end) = (self.log()?, self.published());
        let mut found =
            scan(&**file, self.base, self.scan_start_at_front(), end, Digested::default())?;
        while found.position < end
            && let (from, at) = (found.next_offset, Some(found.position))
            && let Some((position, next_offset)) =
                self.resume_behind(from, at, Offset::new(i64::MAX))?
        {
            let epoch = found.epochs.last().map(|(epoch, _)| *epoch);
            let indexer = found.indexer;
            let start = ScanStart { position, next_offset, indexer, epoch, gapless_from: None };
            found = scan(&**file, self.base, start, end, Digested::default())?;
        }
        Ok(found)
    }

    /// Puts finished indexes in place of files that are wrong, whole or not at all: after a power
    /// cut half of an index could pass for all of it.
    fn replace_indexes(&self, index: &SparseIndex) -> std::io::Result<()> {
        self.files.store(None);
        let disk = &*self.place.disk;
        let path = |kind| self.place.path(self.base, kind);
        let (offsets, times) = index_bytes(index, &SavedEntries::default());
        replace_file(disk, &path(SegmentFile::OffsetIndex), &offsets)?;
        replace_file(disk, &path(SegmentFile::TimeIndex), &times)
    }

    /// The largest timestamp in milliseconds, `None` where no record has one.
    pub(crate) fn largest_timestamp(&self) -> Result<Option<i64>> {
        let mut largest = self.largest_timestamp.load(Ordering::Relaxed);
        if largest == NOT_KNOWN {
            largest = if self.published() == 0 {
                NONE
            } else {
                let last = match self.index_files()? {
                    IndexSource::Memory(index) => index.last_time(),
                    IndexSource::Files(files) => match files.times.last::<TimeEntry>()? {
                        Some(last) if self.is_newest(last)? => Some(last),
                        _ => self.rebuild_indexes()?.last_time(),
                    },
                };
                last.map_or(NONE, |entry| entry.timestamp)
            };
            self.largest_timestamp.store(largest, Ordering::Relaxed);
        }
        Ok((largest >= 0).then_some(largest))
    }

    /// The largest timestamp of the first batch, in milliseconds, of a segment that has one: by it
    /// Kafka tells how old a segment is.
    pub(crate) fn first_batch_timestamp(&self) -> Result<Option<i64>> {
        let file = self.log()?;
        let mut walk = Walk::nearby(&**file, 0, self.published());
        match walk.step()? {
            WalkStep::Batch(_, batch) => {
                Ok(batch.header().max_timestamp().map(crate::time::Timestamp::as_millis))
            }
            _ => Ok(None),
        }
    }
}

/// Where a segment's index is at the moment.
#[derive(Debug)]
pub(super) enum IndexSource {
    Memory(Arc<SparseIndex>),
    Files(Arc<IndexFiles>),
}

impl IndexSource {
    /// The last offset entry at or below `relative` and the first above it.
    pub(super) fn offsets_around(
        &self,
        relative: u32,
    ) -> Result<(Found<OffsetEntry>, Found<OffsetEntry>)> {
        match self {
            IndexSource::Memory(index) => Ok((
                index.floor_offset(relative).map_or(Found::Nothing, Found::Entry),
                index.above_offset(relative).map_or(Found::Nothing, Found::Entry),
            )),
            IndexSource::Files(files) => files.offsets.around(&relative),
        }
    }

    /// The last time entry at or before `timestamp`.
    pub(super) fn floor_time(&self, timestamp: i64) -> Result<Found<TimeEntry>> {
        match self {
            IndexSource::Memory(index) => {
                Ok(index.floor_time(timestamp).map_or(Found::Nothing, Found::Entry))
            }
            IndexSource::Files(files) => Ok(files.times.around(&timestamp)?.0),
        }
    }

    /// Whether the entries lie in memory, where they were made from the log itself.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, IndexSource::Memory(_))
    }
}
