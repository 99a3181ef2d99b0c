//! One segment written again under other names, to take the place of several: compaction's output.
//!
//! The order is the crash story (`kafka-format.md` 2.7). All files are made as `.cleaned`
//! and synced; then they are renamed to `.swap`, which says that they are whole; then, once what
//! they replace is out of the way, they get their own names. Whoever moves them on syncs the
//! directory in between: see `log::swap`. What a stop leaves, `log::leftovers` tidies.
//!
//! A [`Rewrite`] is filled, a [`Rewritten`] is whole and on the disk. The segment it becomes
//! keeps its index in memory until its index files have their names.

use super::digest::{DigestedBatch, Digester, Origin};
use super::index::{IndexedBatch, Indexer};
use super::index_file::{SavedEntries, write_indexes};
use super::shared::{Place, Segment};
use super::sidecar::write_runs;
use super::transaction_index::{AbortedTransaction, transaction_index_bytes};
use crate::disk::names::{Leftover, SegmentFile, leftover_file};
use crate::disk::{Access, DiskFile, write_all_at};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::record::BatchHeader;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// The files of a rewritten segment, in Kafka's order. There need not be an index of transactions.
const KINDS: [SegmentFile; 5] = [
    SegmentFile::Log,
    SegmentFile::OffsetIndex,
    SegmentFile::TimeIndex,
    SegmentFile::TransactionIndex,
    SegmentFile::Digests,
];

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct Rewrite {
    place: Arc<Place>,
    base: Offset,
    log: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    written: u64,
    indexer: Indexer,
    digester: Digester,
}

impl Rewrite {
    /// Begins one; files of its names, left by an earlier try, are emptied.
    pub(crate) fn create(place: Arc<Place>, base: Offset) -> Result<Self> {
        let path = place.dir.join(leftover_file(base, SegmentFile::Log, Leftover::Cleaned));
        let fail = |error| Error::io("compact", &path, error);
        let log = place.disk.open(&path, Access::Create).map_err(fail)?;
        log.set_len(0).map_err(fail)?;
        let indexer = Indexer::new(base, place.index_interval);
        let digester = Digester::new(place.identity, base, place.index_interval, Origin::File);
        Ok(Rewrite { place, base, log, buffer: Vec::new(), written: 0, indexer, digester })
    }

    /// Takes the next batch, as it is to lie in the segment. `origin` is what vouched for it, or
    /// for the batch it was made from, when that was read: no more does its new digest.
    pub(crate) fn push(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        origin: Origin,
    ) -> Result<()> {
        let position = self.written + self.buffer.len() as u64;
        self.digester.set_origin(origin);
        self.indexer.push(IndexedBatch::of(header, position));
        self.digester.push(DigestedBatch::of(header, bytes, position));
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<()> {
        write_all_at(&*self.log, &self.buffer, self.written)
            .map_err(|error| Error::io("compact", &self.log.path(), error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and the indexes, and syncs all of it; removes the files where it fails.
    /// `aborted` are the transactions that its index is to tell.
    pub(crate) fn finish(mut self, aborted: Vec<AbortedTransaction>) -> Result<Rewritten> {
        match self.write_and_sync(&aborted) {
            Ok(()) => Ok(Rewritten {
                place: self.place,
                base: self.base,
                log: self.log,
                len: self.written,
                indexer: self.indexer,
                aborted,
            }),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    fn write_and_sync(&mut self, aborted: &[AbortedTransaction]) -> Result<()> {
        self.write_out()?;
        self.indexer.finish();
        let path = |kind| self.place.dir.join(leftover_file(self.base, kind, Leftover::Cleaned));
        let (offsets, times) = (path(SegmentFile::OffsetIndex), path(SegmentFile::TimeIndex));
        let saved = &mut SavedEntries::default();
        let disk = &*self.place.disk;
        let indexes = write_indexes(disk, &offsets, &times, self.indexer.index(), saved)?;
        let whose = (self.place.identity, self.base);
        let runs = self.digester.take();
        let digests = write_runs(disk, &path(SegmentFile::Digests), whose, 0, &runs)?;
        let transactions = self.write_transaction_index(aborted)?;
        for file in indexes.iter().chain(&transactions).chain([&digests, &self.log]) {
            file.sync_data().map_err(|error| Error::io("compact", &file.path(), error))?;
        }
        Ok(())
    }

    /// Writes it if there is something to tell; one of an earlier try goes.
    fn write_transaction_index(
        &self,
        aborted: &[AbortedTransaction],
    ) -> Result<Option<Arc<dyn DiskFile>>> {
        let kind = SegmentFile::TransactionIndex;
        let path = self.place.dir.join(leftover_file(self.base, kind, Leftover::Cleaned));
        let fail = |error| Error::io("compact", &path, error);
        if aborted.is_empty() {
            return match self.place.disk.remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fail(error)),
                _ => Ok(None),
            };
        }
        let file = self.place.disk.open(&path, Access::Create).map_err(fail)?;
        file.set_len(0).map_err(fail)?;
        write_all_at(&*file, &transaction_index_bytes(aborted), 0).map_err(fail)?;
        Ok(Some(file))
    }

    /// Gives it up. What cannot be removed, the next open removes.
    pub(crate) fn discard(self) {
        remove(&self.place, self.base, Leftover::Cleaned).unwrap_or_else(|error| {
            log::debug!("{error}");
        });
    }
}

/// A segment that was written and synced, under names that are not its own yet.
#[derive(Debug)]
pub(crate) struct Rewritten {
    place: Arc<Place>,
    base: Offset,
    log: Arc<dyn DiskFile>,
    len: u64,
    indexer: Indexer,
    aborted: Vec<AbortedTransaction>,
}

impl Rewritten {
    /// The transactions that its index tells.
    pub(crate) fn aborted(&self) -> &[AbortedTransaction] {
        &self.aborted
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Says that the files are whole: from now on an open takes them for what they replace.
    pub(crate) fn rename_to_swap(&self) -> Result<()> {
        self.rename(Leftover::Cleaned, Leftover::Swap)
    }

    /// Gives the files their own names.
    pub(crate) fn rename_in_place(&self) -> Result<()> {
        self.rename(Leftover::Swap, Leftover::None)
    }

    fn rename(&self, from: Leftover, to: Leftover) -> Result<()> {
        let is_there =
            |kind: &SegmentFile| *kind != SegmentFile::TransactionIndex || !self.aborted.is_empty();
        for kind in KINDS.into_iter().filter(is_there) {
            let path = |leftover| self.place.dir.join(leftover_file(self.base, kind, leftover));
            let (from, to): (PathBuf, PathBuf) = (path(from), path(to));
            let disk = &self.place.disk;
            disk.rename(&from, &to).map_err(|error| Error::io("compact", &from, error))?;
            if kind == SegmentFile::Log {
                self.log.renamed(&to);
            }
        }
        Ok(())
    }

    /// The segment for readers. Until [`Segment::indexes_are_in_place`] it is searched by the
    /// index in memory.
    pub(crate) fn segment(&self) -> Arc<Segment> {
        let (place, file) = (self.place.clone(), self.log.clone());
        let segment = Segment::on_file(place, self.base, self.len, file);
        segment.set_growing(self.indexer.index().clone(), self.indexer.largest_timestamp());
        segment.appends_from(0); // its digests have another name until then
        segment.assume_synced();
        segment.settle();
        Arc::new(segment)
    }

    /// Takes the files away again, the ones called whole first: as long as one says that it is not,
    /// an open believes none of them.
    ///
    /// # Errors
    /// What is left may be taken for whole by an open.
    pub(crate) fn discard(&self) -> Result<()> {
        let fail = |error| Error::io("compact", &self.place.dir, error);
        remove(&self.place, self.base, Leftover::Swap)?;
        self.place.disk.sync_dir(&self.place.dir).map_err(fail)?;
        remove(&self.place, self.base, Leftover::Cleaned)
    }
}

fn remove(place: &Arc<Place>, base: Offset, leftover: Leftover) -> Result<()> {
    for kind in KINDS {
        let path = place.dir.join(leftover_file(base, kind, leftover));
        match place.disk.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("compact", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}
