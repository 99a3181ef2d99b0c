//! What recovery asks of one segment: where a scan may begin, scanning it, and cutting it.
//!
//! A scan need not begin at the front: entries that were saved below the recovery point are taken
//! over, the last of them only if the batch it names is there, whole. So opening costs what lies
//! above the recovery point, not what the segment holds. Cutting is for files nobody reads yet.

use std::path::PathBuf;

use super::index::{Indexer, relative};
use super::index_file::{LoadedIndexes, load_indexes};
use super::legacy::legacy_at;
use super::scan::{Scan, ScanStart, Stop, Walk, WalkStep, scan};
use super::shared::Segment;
use crate::disk::copy::{begins_with, beside, copy_file};
use crate::disk::names::SegmentFile;
use crate::disk::{Access, DiskFile};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{BatchFault, BatchHeader};
use crate::time::Timestamp;
use std::sync::Arc;

impl Segment {
    /// Where a scan may begin that has to find everything from `recovery_point` on.
    pub(crate) fn scan_start(&self, recovery_point: Offset) -> Result<ScanStart> {
        let place = self.place();
        let below = match relative(self.base(), recovery_point) {
            Some(below) => below,
            None if recovery_point > self.base() => i32::MAX.unsigned_abs(),
            None => 0,
        };
        let loaded = load_indexes(
            &*place.disk,
            &place.path(self.base(), SegmentFile::OffsetIndex),
            &place.path(self.base(), SegmentFile::TimeIndex),
            (self.published(), below),
        )?;
        if let Some(loaded) = loaded
            && let Some(entry) = loaded.offsets.last()
        {
            let file = self.log()?;
            let position = u64::from(entry.position);
            let mut walk = Walk::nearby(&**file, position, self.published());
            if let WalkStep::Batch(_, batch) = walk.step()?
                && relative(self.base(), batch.header().last_offset()) == Some(entry.relative)
                && self.is_told_newest(&loaded, batch.header())?
            {
                let (base, interval) = (self.base(), place.index_interval);
                let start = ScanStart {
                    position,
                    next_offset: batch.header().base_offset(),
                    indexer: Indexer::resume(base, interval, &loaded.offsets, &loaded.times),
                    epoch: None,
                    gapless_from: None,
                };
                self.set_saved(loaded.saved);
                return Ok(start);
            }
        }
        Ok(self.scan_start_at_front())
    }

    /// Whether the last of the time entries that are to be taken over is true, and none is missing
    /// behind it that the batch of the last offset entry would have had made. What the segment's
    /// largest timestamp is rests on it, and so what retention does.
    fn is_told_newest(&self, loaded: &LoadedIndexes, behind: &BatchHeader) -> Result<bool> {
        let newest = Timestamp::to_wire(behind.max_timestamp());
        let Some(last) = loaded.times.last() else { return Ok(newest < 0) };
        if newest > last.timestamp {
            return Ok(false);
        }
        let before = loaded.offsets.partition_point(|entry| entry.relative <= last.relative);
        let from = before.checked_sub(1).map_or(0, |at| u64::from(loaded.offsets[at].position));
        let file = self.log()?;
        let mut walk = Walk::nearby(&**file, from, self.published());
        while let WalkStep::Batch(_, batch) = walk.step()? {
            let (header, base) = (batch.header(), self.base());
            let Some(reached) = relative(base, header.last_offset()) else { break };
            if reached >= last.relative {
                let says = Timestamp::to_wire(header.max_timestamp()) == last.timestamp;
                return Ok(reached == last.relative && (says || header.count() == 0));
            }
        }
        Ok(false)
    }

    /// A scan of the whole segment.
    pub(crate) fn scan_start_at_front(&self) -> ScanStart {
        ScanStart {
            position: 0,
            next_offset: self.base(),
            indexer: Indexer::new(self.base(), self.place().index_interval),
            epoch: None,
            gapless_from: None,
        }
    }

    /// A scan that goes on behind damage, from an index entry above `offset` that its batch
    /// agrees with, and that ends before `bound`, where the next segment begins.
    pub(crate) fn scan_start_behind(
        &self,
        offset: Offset,
        damaged: u64,
        epoch: Option<LeaderEpoch>,
        bound: Offset,
    ) -> Result<Option<ScanStart>> {
        let behind = self.resume_behind(offset, Some(damaged), bound)?;
        let Some((position, next_offset)) = behind else {
            return Ok(None);
        };
        let mut start = self.scan_start_at_front();
        start.position = position;
        start.next_offset = next_offset;
        start.epoch = epoch;
        Ok(Some(start))
    }

    /// Scans to the end of the file, or to where digests of what lies below the recovery point
    /// say that it is not what it was.
    pub(crate) fn scan(&self, start: ScanStart, recovery_point: Offset) -> Result<Scan> {
        let file = self.log()?;
        let digested = self.digested(recovery_point)?;
        let misfit = self.first_misfit(&digested, start.position, recovery_point)?;
        let end = misfit.as_ref().map_or(self.published(), |misfit| misfit.bytes.start);
        let mut found = scan(&**file, self.base(), start, end, digested)?;
        if misfit.is_some() && found.position == end {
            let fault = BatchFault::Header("what no checksum covers does not fit its digest");
            found.stop = Stop::Bad { fault, later_batch: None };
        }
        Ok(found)
    }

    /// What is said of records of Kafka's formats 0 or 1 at `position`, if that is what they are.
    pub(crate) fn legacy_at(&self, position: u64) -> Result<Option<BatchFault>> {
        legacy_at(&**self.log()?, position, self.published())
    }

    /// The segment cut to its first `len` bytes, before anyone reads it. `synced` is for bytes
    /// that were not zeros: unless their cutting is durable before anything is appended, they
    /// could come back behind what is appended, in place of what was lost.
    pub(crate) fn cut(self: &Arc<Self>, len: u64, synced: bool) -> Result<Arc<Segment>> {
        let file = self.log()?;
        let cut = || {
            file.set_len(len)?;
            if synced { file.sync_data() } else { Ok(()) }
        };
        cut().map_err(|error| Error::io("cut segment", &file.path(), error))?;
        let cut = Segment::on_disk(self.place().clone(), self.base(), len);
        if synced {
            let _ = cut.log.set(file.clone()); // of a dirty one the pool could not let go
        }
        Ok(Arc::new(cut))
    }

    /// The segment as a fresh file of its first `len` bytes, on the disk under its name when this
    /// returns: a sync of the old file has failed, and another one of it would prove nothing. The
    /// old file is whole for whoever has it open; the indexes are made again.
    pub(crate) fn renew(&self, len: u64) -> Result<Arc<Segment>> {
        let (place, base) = (self.place(), self.base());
        let disk = &place.disk;
        let path = place.path(base, SegmentFile::Log);
        let beside = beside(&path);
        let from = self.log()?;
        let renew = || {
            if copy_file(&**disk, &**from, 0..len, &beside)? < len {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let fresh = disk.open(&beside, Access::Write)?;
            for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::Tags] {
                let index = place.path(base, kind);
                if disk.metadata(&index)?.is_some() {
                    disk.remove_file(&index)?;
                }
            }
            disk.rename(&beside, &path)?;
            fresh.renamed(&path);
            disk.sync_dir(&place.dir)?;
            Ok(fresh)
        };
        let fresh = renew().map_err(|error| Error::io("renew segment", &path, error))?;
        let segment = Segment::on_disk(place.clone(), base, len);
        let _ = segment.log.set(fresh);
        segment.assume_synced();
        Ok(Arc::new(segment))
    }

    /// The offset behind the last whole batch of a log file that begins at `base`, and whether
    /// whole batches in their order are all there is, one at least.
    pub(crate) fn end_offset_of(
        file: &dyn DiskFile,
        base: Offset,
        len: u64,
    ) -> Result<(Offset, bool)> {
        let mut walk = Walk::new(file, 0, len);
        let (mut end, mut is_ordered) = (base, true);
        loop {
            match walk.step()? {
                WalkStep::Batch(_, batch) => {
                    is_ordered &= batch.header().base_offset() >= end;
                    end = batch.header().end_offset();
                }
                WalkStep::End => return Ok((end, is_ordered && end > base)),
                WalkStep::Bad(..) => return Ok((end, false)),
            }
        }
    }

    /// Removes the files of a segment that is no longer part of its log. Snapshots of producers
    /// speak for themselves: they stay.
    pub(crate) fn remove_files(&self) -> Result<()> {
        let disk = &self.place().disk;
        let kinds = SegmentFile::ALL.into_iter();
        for kind in kinds.filter(|kind| *kind != SegmentFile::ProducerSnapshot) {
            let path = self.place().path(self.base(), kind);
            let fail = |error| Error::io("remove segment", &path, error);
            if disk.metadata(&path).map_err(fail)?.is_some() {
                disk.remove_file(&path).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Removes the digests, which are of other bytes than the segment's.
    pub(crate) fn remove_digests(&self) -> Result<()> {
        let path = self.digest_path();
        match self.place().disk.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove digests", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Copies the bytes from `position` on into a file beside the segment, synced, and returns
    /// its path: what recovery cuts off is never thrown away unseen, nor what an earlier one has
    /// saved from the same position. A copy that was cut short is made again.
    pub(crate) fn save_aside(&self, position: u64) -> Result<PathBuf> {
        let disk = &self.place().disk;
        let from = self.log()?;
        let mut number = 1;
        loop {
            let path = self.aside(position, number);
            let fail = |error| Error::io("save aside", &path, error);
            let is_anothers = disk.metadata(&path).map_err(fail)?.is_some()
                && !begins_with(&**disk, &**from, position, &path).map_err(fail)?;
            if is_anothers {
                number += 1;
                continue;
            }
            copy_file(&**disk, &**from, position..u64::MAX, &path).map_err(fail)?;
            disk.sync_dir(&self.place().dir).map_err(fail)?;
            return Ok(path);
        }
    }

    /// Where what was cut off at `position` is saved, for the so manieth time.
    pub(super) fn aside(&self, position: u64, number: u32) -> PathBuf {
        let mut path = self.path().into_os_string();
        path.push(match number {
            1 => format!(".{position}.cut"),
            _ => format!(".{position}-{number}.cut"),
        });
        PathBuf::from(path)
    }
}
