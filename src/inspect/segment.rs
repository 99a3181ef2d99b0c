//! One segment of a partition, read as it lies: its batches in file order and its indexes.
//!
//! A batch is shown if its checksum fits, its offsets follow what comes before and its epoch does
//! not fall. The first that is not so ends the reading with an error that names file, position and
//! the offset that was expected. Zeros up to the file's end are no damage: room made ready for
//! appends that a stop without a close has left. An index is shown as it is, true or not.
//!
//! Made and called by `partition`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::{DumpedBatch, OPERATION};
use crate::disk::names::{SegmentFile, segment_file};
use crate::disk::{Access, Disk, DiskFile, read_full_at};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::log::checkpoint::read_small_file;
use crate::record::{BatchFault, PlainLimit};
use crate::segment::{
    AbortedTransaction, Layout, OffsetEntry, TimeEntry, Walk, WalkStep, entries_of, legacy_at,
    misfit, parse_transaction_index,
};
use crate::time::Timestamp;

/// One segment of a [`DumpedPartition`](crate::DumpedPartition).
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
/// let dump = tidelog::Dump::open(dir.path())?;
/// assert_eq!(dump.partitions()[0].segments()[0].base_offset().get(), 0);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DumpedSegment {
    base: Offset,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    bytes: u64,
    pub(super) plain: PlainLimit,
}

/// The entries of an index file, without the zeros an index made ready for more ends in.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
/// let dump = tidelog::Dump::open(dir.path())?;
/// if let Some(index) = dump.partitions()[0].segments()[0].offset_index()? {
///     println!("{} entries in {} bytes", index.entries.len(), index.bytes);
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpedIndex<E> {
    /// The length of the file.
    pub bytes: u64,
    /// What it holds, in file order.
    pub entries: Vec<E>,
}

/// What a walk carries from batch to batch, over segments too.
#[derive(Debug, Default)]
pub(super) struct Before {
    next_offset: Offset,
    epoch: Option<LeaderEpoch>,
}

impl DumpedSegment {
    pub(super) fn new(disk: &Arc<dyn Disk>, base: Offset, path: PathBuf, bytes: u64) -> Self {
        DumpedSegment { base, path, disk: disk.clone(), bytes, plain: PlainLimit::DEFAULT }
    }

    /// The offset its files are named by.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// assert_eq!(dump.partitions()[0].segments()[0].base_offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn base_offset(&self) -> Offset {
        self.base
    }

    /// The length of its `.log` file.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// assert!(tidelog::Dump::open(dir.path())?.partitions()[0].segments()[0].bytes() > 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The `.index` beside it: last offset and position of a batch each. `None` where the file is
    /// missing.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where its entries are not whole; those of the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// println!("{:?}", dump.partitions()[0].segments()[0].offset_index()?);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset_index(&self) -> Result<Option<DumpedIndex<(Offset, u64)>>> {
        let path = self.beside(SegmentFile::OffsetIndex);
        self.index(&path, |entries: Vec<OffsetEntry>| {
            let empty = |entry: &OffsetEntry| entry.relative == 0 && entry.position == 0;
            let used = entries.iter().rposition(|entry| !empty(entry)).map_or(0, |last| last + 1);
            let shown =
                |entry: &OffsetEntry| (self.absolute(entry.relative), u64::from(entry.position));
            entries[..used].iter().map(shown).collect()
        })
    }

    /// The `.timeindex` beside it: every record behind the offset is later than the timestamp or
    /// as late. `None` where the file is missing.
    ///
    /// # Errors
    /// As [`offset_index`](Self::offset_index).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// println!("{:?}", dump.partitions()[0].segments()[0].time_index()?);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn time_index(&self) -> Result<Option<DumpedIndex<(Timestamp, Offset)>>> {
        let path = self.beside(SegmentFile::TimeIndex);
        self.index(&path, |entries: Vec<TimeEntry>| {
            let empty = |entry: &TimeEntry| entry.relative == 0 && entry.timestamp == 0;
            let used = entries.iter().rposition(|entry| !empty(entry)).map_or(0, |last| last + 1);
            let shown = |entry: &TimeEntry| {
                (Timestamp::from_millis(entry.timestamp), self.absolute(entry.relative))
            };
            entries[..used].iter().map(shown).collect()
        })
    }

    /// The `.txnindex` beside it: the aborted transactions whose markers lie in this segment.
    /// `None` where the file is missing, as it is where nothing was aborted.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) at the first entry that cannot be; those of the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// assert_eq!(dump.partitions()[0].segments()[0].transaction_index()?, None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn transaction_index(&self) -> Result<Option<DumpedIndex<AbortedTransaction>>> {
        let path = self.beside(SegmentFile::TransactionIndex);
        let Some(bytes) = read_small_file(&*self.disk, &path, OPERATION)? else { return Ok(None) };
        let entries = parse_transaction_index(self.base, &bytes)
            .map_err(|fault| Error::corrupt(OPERATION, &path, fault.position, fault.what))?;
        Ok(Some(DumpedIndex { bytes: bytes.len() as u64, entries }))
    }

    fn beside(&self, kind: SegmentFile) -> PathBuf {
        self.path.with_file_name(segment_file(self.base, kind))
    }

    /// An offset of an index; whatever a file says, it stays an offset.
    fn absolute(&self, relative: u32) -> Offset {
        Offset::new(self.base.get().saturating_add(i64::from(relative.cast_signed())).max(0))
    }

    fn index<E: Layout, S>(
        &self,
        path: &Path,
        shown: impl FnOnce(Vec<E>) -> Vec<S>,
    ) -> Result<Option<DumpedIndex<S>>> {
        let found = self.disk.metadata(path);
        let Some(found) = found.map_err(|error| Error::io(OPERATION, path, error))? else {
            return Ok(None);
        };
        match entries_of::<E>(&*self.disk, path, u64::MAX)? {
            Some(entries) => Ok(Some(DumpedIndex { bytes: found.len, entries: shown(entries) })),
            None => {
                let what = "an index whose length is not of whole entries";
                let whole = found.len - found.len % E::SIZE;
                Err(Error::corrupt(OPERATION, path, whole, what))
            }
        }
    }

    /// Shows the batches of this segment, which begin at what `before` says.
    pub(super) fn walk(
        &self,
        before: &mut Before,
        successor: Option<Offset>,
        visit: &mut impl FnMut(&DumpedBatch<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let file = self.disk.open(&self.path, Access::Read);
        let file = file.map_err(|error| Error::io(OPERATION, &self.path, error))?;
        let end = file.len().map_err(|error| Error::io(OPERATION, &self.path, error))?;
        before.next_offset = before.next_offset.max(self.base);
        let mut walk = Walk::new(&*file, 0, end);
        let at = |fault: BatchFault, position, offset| {
            fault.into_error(OPERATION, &self.path, position, Some(offset))
        };
        loop {
            let (position, batch) = match walk.step()? {
                WalkStep::Batch(position, batch) => (position, batch),
                WalkStep::End => return Ok(ControlFlow::Continue(())),
                WalkStep::Bad(position, fault) => {
                    let follows = successor.is_none_or(|next| next == before.next_offset);
                    if follows && self.is_zeros(&*file, position, end)? {
                        return Ok(ControlFlow::Continue(()));
                    }
                    let legacy = match fault {
                        BatchFault::Legacy { .. } => legacy_at(&*file, position, end)?,
                        _ => None,
                    };
                    return Err(at(fault.looked_at(legacy), position, before.next_offset));
                }
            };
            let header = batch.header();
            if let Some(what) = misfit(header, self.base, before.next_offset, before.epoch) {
                return Err(at(BatchFault::Header(what), position, before.next_offset));
            }
            let shown = DumpedBatch::new(self.base, position, (batch, self.plain), &self.path)
                .map_err(|fault| at(fault, position, header.base_offset()))?;
            if visit(&shown).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            before.next_offset = header.end_offset();
            before.epoch = before.epoch.max(header.leader_epoch());
        }
    }

    fn is_zeros(&self, file: &dyn DiskFile, mut position: u64, end: u64) -> Result<bool> {
        let mut buffer = vec![0; 64 << 10];
        while position < end {
            let got = read_full_at(file, &mut buffer, position)
                .map_err(|error| Error::io(OPERATION, &self.path, error))?;
            if buffer[..got].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            if got == 0 {
                break;
            }
            position += got as u64;
        }
        Ok(true)
    }
}
