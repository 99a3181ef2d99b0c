//! The bytes of `.index` and `.timeindex`, and searching them where they lie.
//!
//! The layouts are Kafka's: 8 bytes (relative offset, position) and 12 bytes (timestamp, relative
//! offset), big-endian, ordered, with no header and no checksum. So nothing read from them is
//! believed on its own: a search that meets disorder says so, and the caller checks the batch an
//! entry points to. Files are written whole, once, when a segment is sealed or rebuilt.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use byteorder::{BigEndian, ByteOrder as _};

use super::index::{OffsetEntry, SparseIndex, TimeEntry};
use crate::disk::copy::own;
use crate::disk::{Access, Disk, DiskFile, read_full_at, write_all_at};
use crate::error::{Error, Result};
use crate::record::BatchHeader;
use crate::sync::atomic::{AtomicI64, Ordering};

/// What a search reads in one piece, once it knows which: less than a page of either kind.
const BLOCK_ENTRIES: u64 = 256;

/// How entries of one kind lie in their file.
pub(crate) trait Layout {
    const SIZE: u64;
    type Key: Ord + Copy + Into<i64>;

    fn read(bytes: &[u8]) -> Self;
    fn key(&self) -> Self::Key;
}

impl Layout for OffsetEntry {
    const SIZE: u64 = 4 + 4;
    type Key = u32;

    fn read(bytes: &[u8]) -> Self {
        OffsetEntry {
            relative: BigEndian::read_u32(&bytes[0..4]),
            position: BigEndian::read_u32(&bytes[4..8]),
        }
    }

    fn key(&self) -> u32 {
        self.relative
    }
}

impl Layout for TimeEntry {
    const SIZE: u64 = 8 + 4;
    type Key = i64;

    fn read(bytes: &[u8]) -> Self {
        TimeEntry {
            timestamp: BigEndian::read_i64(&bytes[0..8]),
            relative: BigEndian::read_u32(&bytes[8..12]),
        }
    }

    fn key(&self) -> i64 {
        self.timestamp
    }
}

/// What a search found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<E> {
    Entry(E),
    /// No entry is that low (or, for a search above, that high).
    Nothing,
    /// The file is missing, torn or out of order: make it again.
    Unusable,
}

/// One index file, opened for searching.
#[derive(Debug)]
pub(crate) struct IndexFile {
    file: Arc<dyn DiskFile>,
    len: u64,
    /// The first key of each block, for those that a search has looked at: the next search finds
    /// its block in memory.
    firsts: OnceLock<Box<[AtomicI64]>>,
}

/// A block's first key is not known yet.
const NOT_READ: i64 = i64::MIN;

impl IndexFile {
    /// Opens an index file of a log of `log_len` bytes; `None` where it is missing or its length
    /// cannot be right: no batch has two entries, but that a time index may end with one more.
    pub(crate) fn open<E: Layout>(
        disk: &dyn Disk,
        path: &Path,
        log_len: u64,
    ) -> Result<Option<Self>> {
        let fail = |error| Error::io("open index", path, error);
        let file = match disk.open(path, Access::Read) {
            Ok(opened) => opened,
            // what takes its place meanwhile is not asked for
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // no handle is needed to find that it is none
            Err(error) => match disk.metadata(path) {
                Ok(found) if found.is_none_or(|found| found.is_dir) => return Ok(None),
                _ => return Err(fail(error)),
            },
        };
        let len = file.len().map_err(fail)?;
        let most = log_len / BatchHeader::LEN as u64 + 1;
        if len % E::SIZE != 0 || len / E::SIZE > most {
            return Ok(None);
        }
        Ok(Some(IndexFile { file, len: len / E::SIZE, firsts: OnceLock::new() }))
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Entries from `first` on, at most `count`.
    fn read<E: Layout>(&self, first: u64, count: u64) -> Result<Vec<E>> {
        let count = count.min(BLOCK_ENTRIES).min(self.len.saturating_sub(first));
        let size = usize::try_from(count * E::SIZE).unwrap_or(0);
        let mut bytes = vec![0; size];
        let got = read_full_at(&*self.file, &mut bytes, first * E::SIZE)
            .map_err(|error| Error::io("read index", &self.file.path(), error))?;
        bytes.truncate(got);
        let step = usize::try_from(E::SIZE).unwrap_or(1);
        Ok(bytes.chunks_exact(step).map(E::read).collect())
    }

    /// Every entry; the file is no longer than its log's index may grow.
    fn read_all<E: Layout>(&self) -> Result<Vec<E>> {
        let mut entries = Vec::new();
        while (entries.len() as u64) < self.len {
            let block = self.read::<E>(entries.len() as u64, BLOCK_ENTRIES)?;
            if block.is_empty() {
                break;
            }
            entries.extend(block);
        }
        Ok(entries)
    }

    /// The last entry.
    pub(crate) fn last<E: Layout>(&self) -> Result<Option<E>> {
        match self.len.checked_sub(1) {
            Some(last) => Ok(self.read(last, 1)?.pop()),
            None => Ok(None),
        }
    }

    /// The first key of a block.
    fn first_of<E: Layout>(&self, block: u64) -> Result<Option<i64>> {
        let blocks = usize::try_from(self.len.div_ceil(BLOCK_ENTRIES)).unwrap_or(0);
        let firsts =
            self.firsts.get_or_init(|| (0..blocks).map(|_| AtomicI64::new(NOT_READ)).collect());
        let known = usize::try_from(block).ok().and_then(|block| firsts.get(block));
        let Some(known) = known else { return Ok(None) };
        let first = known.load(Ordering::Relaxed);
        if first != NOT_READ {
            return Ok(Some(first));
        }
        let first =
            self.read::<E>(block * BLOCK_ENTRIES, 1)?.first().map(|entry| entry.key().into());
        known.store(first.unwrap_or(NOT_READ), Ordering::Relaxed);
        Ok(first)
    }

    /// The last entry whose key is at most `key`, and the one behind it.
    pub(crate) fn around<E: Layout + Copy>(&self, key: &E::Key) -> Result<(Found<E>, Found<E>)> {
        // the last block that begins at or below the key; of none the first, which says so
        let (mut block, mut above) = (0, self.len.div_ceil(BLOCK_ENTRIES).max(1));
        while above - block > 1 {
            let middle = block + (above - block) / 2;
            match self.first_of::<E>(middle)? {
                Some(first) if first <= (*key).into() => block = middle,
                Some(_) => above = middle,
                None => return Ok((Found::Unusable, Found::Unusable)),
            }
        }
        let left = block * BLOCK_ENTRIES;
        let right = self.len.min(left + BLOCK_ENTRIES);
        let block = self.read::<E>(left, right - left)?;
        let complete = u64::try_from(block.len()) == Ok(right - left);
        if !complete || !block.windows(2).all(|pair| pair[0].key() < pair[1].key()) {
            return Ok((Found::Unusable, Found::Unusable));
        }
        let count = block.partition_point(|entry| entry.key() <= *key);
        let floor = count.checked_sub(1).map_or(Found::Nothing, |at| Found::Entry(block[at]));
        let above = match block.get(count) {
            Some(entry) => Found::Entry(*entry),
            None if right < self.len => self
                .read::<E>(right, 1)?
                .first()
                .map_or(Found::Unusable, |entry| Found::Entry(*entry)),
            None => Found::Nothing,
        };
        Ok((floor, above))
    }
}

/// How many entries of a growing index its files already hold, and the handles of those files that
/// are still to be synced.
#[derive(Debug, Default)]
pub(crate) struct SavedEntries {
    offsets: usize,
    times: usize,
    /// Both files exist and hold these entries and no others.
    exact: bool,
    /// What nobody has synced since it was written.
    pub(in crate::segment) unsynced: Vec<Arc<dyn DiskFile>>,
}

impl SavedEntries {
    /// Whether the files say all that `index` says.
    pub(crate) fn cover(&self, index: &SparseIndex) -> bool {
        self.exact && self.offsets == index.offset_len() && self.times == index.time_len()
    }
}

/// Brings both index files of a segment up to date: what is saved stays, the rest is written
/// behind it. They are not synced here; whenever they turn out wrong, they are made again.
pub(crate) fn write_indexes(
    disk: &dyn Disk,
    offset_path: &Path,
    time_path: &Path,
    index: &SparseIndex,
    saved: &mut SavedEntries,
) -> Result<[Arc<dyn DiskFile>; 2]> {
    let (offsets, times) = index_bytes(index, saved);
    let kept = [saved.offsets as u64 * OffsetEntry::SIZE, saved.times as u64 * TimeEntry::SIZE];
    let files = [
        write_behind(disk, offset_path, kept[0], &offsets)?,
        write_behind(disk, time_path, kept[1], &times)?,
    ];
    let entries = |bytes: &[u8], size: u64| bytes.len() / usize::try_from(size).unwrap_or(1);
    saved.offsets += entries(&offsets, OffsetEntry::SIZE);
    saved.times += entries(&times, TimeEntry::SIZE);
    saved.exact = true;
    Ok(files)
}

/// The bytes of both indexes behind what is saved already.
pub(crate) fn index_bytes(index: &SparseIndex, saved: &SavedEntries) -> (Vec<u8>, Vec<u8>) {
    let mut offsets = Vec::new();
    let mut times = Vec::new();
    for entry in index.offset_entries().skip(saved.offsets) {
        offsets.extend_from_slice(&entry.relative.to_be_bytes());
        offsets.extend_from_slice(&entry.position.to_be_bytes());
    }
    for entry in index.time_entries().skip(saved.times) {
        times.extend_from_slice(&entry.timestamp.to_be_bytes());
        times.extend_from_slice(&entry.relative.to_be_bytes());
    }
    (offsets, times)
}

/// Cut first, so that a crash in between leaves a short file, never a mixture of two.
fn write_behind(
    disk: &dyn Disk,
    path: &Path,
    kept: u64,
    bytes: &[u8],
) -> Result<Arc<dyn DiskFile>> {
    let write = || {
        own(disk, path)?;
        let file = disk.open(path, Access::Create)?;
        file.set_len(kept)?;
        write_all_at(&*file, bytes, kept)?;
        Ok(file)
    };
    write().map_err(|error| Error::io("write index", path, error))
}

/// Every entry of an index file, in order or not; `None` where it is missing or its length cannot
/// be right.
pub(crate) fn entries_of<E: Layout>(
    disk: &dyn Disk,
    path: &Path,
    log_len: u64,
) -> Result<Option<Vec<E>>> {
    IndexFile::open::<E>(disk, path, log_len)?.map(|file| file.read_all()).transpose()
}

/// The entries of both files of a segment, for a writer that goes on with them; `None` where they
/// cannot be right. Only offset entries below `end` (relative) are taken, and time entries with
/// them.
pub(crate) fn load_indexes(
    disk: &dyn Disk,
    offset_path: &Path,
    time_path: &Path,
    (log_len, end): (u64, u32),
) -> Result<Option<LoadedIndexes>> {
    let Some(offsets) = IndexFile::open::<OffsetEntry>(disk, offset_path, log_len)? else {
        return Ok(None);
    };
    let Some(times) = IndexFile::open::<TimeEntry>(disk, time_path, log_len)? else {
        return Ok(None);
    };
    let mut offset_entries: Vec<OffsetEntry> = offsets.read_all()?;
    offset_entries.truncate(offset_entries.partition_point(|entry| entry.relative < end));
    let mut time_entries: Vec<TimeEntry> = times.read_all()?;
    let last = offset_entries.last().map(|entry| entry.relative);
    let is_within = |entry: &TimeEntry| last.is_some_and(|last| entry.relative <= last);
    time_entries.truncate(time_entries.partition_point(is_within)); // the file keeps as many
    let ordered = offset_entries
        .windows(2)
        .all(|pair| pair[0].relative < pair[1].relative && pair[0].position < pair[1].position)
        && time_entries.windows(2).all(|pair| {
            pair[0].timestamp < pair[1].timestamp && pair[0].relative < pair[1].relative
        });
    let begins = offset_entries.first().is_none_or(|entry| entry.position > 0);
    let saved = SavedEntries {
        offsets: offset_entries.len(),
        times: time_entries.len(),
        exact: offset_entries.len() as u64 == offsets.len()
            && time_entries.len() as u64 == times.len(),
        unsynced: Vec::new(),
    };
    let loaded = LoadedIndexes { offsets: offset_entries, times: time_entries, saved };
    Ok((ordered && begins).then_some(loaded))
}

/// Entries taken over from files, and what of the files they are.
#[derive(Debug)]
pub(crate) struct LoadedIndexes {
    pub(crate) offsets: Vec<OffsetEntry>,
    pub(crate) times: Vec<TimeEntry>,
    pub(crate) saved: SavedEntries,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    /// The second of these time entries lies beyond the offsets that are taken over.
    #[test]
    fn time_entries_that_are_taken_over_are_those_the_file_keeps() {
        let disk = MemoryDisk::new();
        let (offsets, times) = (Path::new("/offsets"), Path::new("/times"));
        let write = |path: &Path, bytes: &[u8]| {
            write_all_at(&*disk.open(path, Access::Create).unwrap(), bytes, 0).unwrap();
        };
        write(offsets, &[7u32, 100].map(u32::to_be_bytes).concat());
        let time = |time: u64, at: u32| [&time.to_be_bytes()[..], &at.to_be_bytes()].concat();
        write(times, &[time(40, 5), time(50, 1000), time(60, 7)].concat());
        let loaded = load_indexes(&disk, offsets, times, (1_000, 8));
        let mut loaded = loaded.unwrap().expect("in order");
        let index = SparseIndex::default();
        write_indexes(&disk, offsets, times, &index, &mut loaded.saved).unwrap();
        let kept = entries_of::<TimeEntry>(&disk, times, 1_000).unwrap().expect("whole entries");
        assert_eq!(kept, loaded.times);
    }

    /// Its name comes in one step: who asked before, and looks after, has seen none.
    #[cfg(feature = "sim")]
    #[test]
    fn an_index_that_comes_while_it_is_asked_for_was_missing() {
        use crate::disk::{Fault, Operation, Plan, SimDisk};
        let (disk, path) = (SimDisk::new(1), Path::new("/a"));
        disk.open(path, Access::Create).unwrap();
        disk.fail(Plan::new(Fault::Error(2)).on(Operation::Open));
        let open = || IndexFile::open::<OffsetEntry>(&disk, path, 1_000);
        assert!(matches!(open(), Ok(None)));
        assert!(matches!(open(), Ok(Some(_))));
        disk.fail(Plan::new(Fault::Error(13)).on(Operation::Open));
        assert!(open().is_err(), "it is there, and may not be opened");
    }

    /// Sparse files are as long as whoever left them wants.
    #[cfg(feature = "sim")]
    #[test]
    fn an_index_that_is_longer_than_its_log_allows_is_not_read() {
        let disk = crate::disk::SimDisk::new(1);
        let (offsets, times) = (Path::new("/offsets"), Path::new("/times"));
        for path in [offsets, times] {
            disk.open(path, Access::Create).unwrap().set_len(8 << 20).unwrap();
        }
        let before = disk.operations();
        assert!(load_indexes(&disk, offsets, times, (200, 8)).unwrap().is_none());
        assert!(IndexFile::open::<OffsetEntry>(&disk, offsets, 200).unwrap().is_none());
        let calls = disk.operations() - before;
        assert!(calls < 10, "{calls} calls");
    }
}
