//! What becomes of a segment's files once it grows no more: the window cut off, the indexes
//! written.
//!
//! Called by the tail and by whoever holds the log's sync or trim lock.

use std::sync::Arc;

use super::super::index::SparseIndex;
use super::super::index_file::{SavedEntries, write_indexes};
use super::Segment;
use crate::disk::DiskFile;
use crate::disk::names::SegmentFile;
use crate::error::{Error, Result};
use crate::sync::atomic::Ordering;

impl Segment {
    /// Cuts off what lies behind the last batch of a segment that has stopped growing: a window of
    /// zeros, or a failed append's litter.
    pub(crate) fn trim(&self) -> Result<()> {
        let published = self.published();
        if self.map.load().is_some() || self.is_littered() {
            let file = self.log()?;
            let fail = |error| Error::io("trim segment", &file.path(), error);
            if file.len().map_err(fail)? > published {
                self.trimmed.store(true, Ordering::Relaxed);
                file.set_len(published).map_err(fail)?;
            }
            self.set_littered(false);
        } // else never mapped: no window
        Ok(())
    }

    /// The tail's side: what a failed append left could not be taken back, or now was.
    pub(in crate::segment) fn set_littered(&self, littered: bool) {
        self.littered.store(littered, Ordering::Relaxed);
    }

    pub(in crate::segment) fn is_littered(&self) -> bool {
        self.littered.load(Ordering::Relaxed)
    }

    /// Trims, and says that the length is to be synced too; under the sync lock.
    pub(crate) fn trim_for_sync(&self) -> Result<()> {
        self.trim()?;
        self.give_back_room(self.published());
        if self.trimmed.swap(false, Ordering::Relaxed) {
            self.synced.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Brings the files of the growing indexes up to date, so that recovery need not begin at the
    /// segment's start. The files that hold entries are returned for syncing: a time index that
    /// lost its end would understate what it speaks of, and nothing could tell. Neither has any
    /// before the first interval is full, so that a log of little grows without such syncs.
    pub(crate) fn save_growing_indexes(&self) -> Result<Vec<Arc<dyn DiskFile>>> {
        let mut saved = self.making_index.lock();
        let Some(index) = self.growing.load_full() else { return Ok(Vec::new()) };
        self.write_unsaved(&index, &mut saved)?;
        Ok(std::mem::take(&mut saved.unsynced))
    }

    /// Writes what [`Segment::seal_indexes`] would, which then returns the same files for syncing:
    /// whatever syncs everything before that has them too.
    pub(crate) fn write_indexes_ahead(&self) -> Result<()> {
        let mut saved = self.making_index.lock();
        let Some(index) = self.growing.load_full() else { return Ok(()) };
        self.write_unsaved(&index, &mut saved)
    }

    /// Writes the finished index of a segment that has stopped growing, and lets go of it.
    /// The files that hold entries are returned for syncing. Be it the final time entry alone, of a
    /// segment that is shorter than an interval: Kafka believes it, and takes the age of the
    /// segment from the zeros that a power cut would leave of it.
    pub(crate) fn seal_indexes(&self) -> Result<Vec<Arc<dyn DiskFile>>> {
        let mut saved = self.making_index.lock();
        let Some(index) = self.growing.load_full() else { return Ok(Vec::new()) };
        self.write_unsaved(&index, &mut saved)?;
        self.growing.store(None);
        Ok(std::mem::take(&mut saved.unsynced))
    }

    fn write_unsaved(&self, index: &SparseIndex, saved: &mut SavedEntries) -> Result<()> {
        if saved.cover(index) || self.replaced.load(Ordering::Acquire) {
            return Ok(()); // under its names lies what took its place
        }
        debug_assert!(saved.unsynced.is_empty(), "what grows no more is written once");
        let files = self.write_indexes(index, saved)?;
        let entries = [index.offset_len(), index.time_len()];
        let with_entries = files.into_iter().zip(entries).filter(|(_, len)| *len > 0);
        saved.unsynced = with_entries.map(|(file, _)| file).collect();
        Ok(())
    }

    /// The growing index was taken over from its files.
    pub(in crate::segment) fn set_saved(&self, saved: SavedEntries) {
        *self.making_index.lock() = saved;
    }

    fn write_indexes(
        &self,
        index: &SparseIndex,
        saved: &mut SavedEntries,
    ) -> Result<[Arc<dyn DiskFile>; 2]> {
        self.files.store(None);
        write_indexes(
            &*self.place.disk,
            &self.place.path(self.base, SegmentFile::OffsetIndex),
            &self.place.path(self.base, SegmentFile::TimeIndex),
            index,
            saved,
        )
    }

    /// The index files and the digests, written and synced under another name, have got theirs.
    pub(crate) fn indexes_are_in_place(&self) {
        let _no_rebuild = self.making_index.lock();
        self.growing.store(None);
        self.digests_are_sealed();
    }
}
