//! A log copied out of its directory as it stood at one moment, while appends go on.
//!
//! In three steps. [`cut_all`] notes where many logs stand at one instant: it stills their
//! retention and compaction, takes all their writer locks, notes, and lets the writers go on; under
//! those locks there is no I/O. [`Cut::secure`] sees to it that what was noted can be had later,
//! whatever becomes of the names: a segment that is final gets a second name, any other an open
//! handle. [`Secured::copy`] then copies at leisure, under no lock but for the sidecars, and
//! [`Secured::finish`] brings the copy to the form of a closed log by opening and closing it.
//!
//! A segment is final once a recorded recovery point covers it, nothing of it is left to be sealed
//! and nothing to be written again: its file is synced and will never be changed in place.
//!
//! Lock order as in `core`: all trim locks in the order given, then all writer locks. Nobody else
//! holds two of a kind.

use super::aborted::Aborted;
use super::aborted_files::write_index;
use super::checkpoint::{self, EpochLine};
use super::claims::Taken;
use super::core::{Doomed, LogSetup, PartitionLog, Writer};
use super::keeper::{KnownFacts, LastStop, LogId};
use super::snapshots::write_snapshot;
use crate::disk::copy::{copy_file, copy_file_while, is_unlinkable};
use crate::disk::names::{
    LEADER_EPOCHS, PARTITION_METADATA, SegmentFile, parse_sidecar, segment_file,
};
use crate::disk::{Access, Disk};
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;
use crate::segment::Segment;
use crate::sync::MutexGuard;
use std::path::Path;
use std::sync::Arc;

const COPY: &str = "copy log";

/// Whether a copy may share the files that will never change again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// By a second name, where the file system allows it.
    Links,
    /// Never: each file is copied.
    Nothing,
}

/// Told of bytes and segments of log as they are in the copy; says whether to go on. Called under
/// no lock.
pub(crate) type GoOn<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// How much was taken over, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) linked_files: u64,
    pub(crate) linked_bytes: u64,
    pub(crate) copied_files: u64,
    pub(crate) copied_bytes: u64,
}

impl Amounts {
    pub(crate) fn add(&mut self, other: Amounts) {
        self.linked_files += other.linked_files;
        self.linked_bytes += other.linked_bytes;
        self.copied_files += other.copied_files;
        self.copied_bytes += other.copied_bytes;
    }
}

/// Where a log stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutOffsets {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) compacted: Offset,
    pub(crate) sparse: Offset,
    pub(crate) set_watermark: Option<Offset>,
    /// Where the first segment of the copy begins; `None` where there is none.
    pub(crate) first_base: Option<Offset>,
}

/// A log as it stood at one moment; nothing leaves it while this lives.
#[derive(Debug)]
pub(crate) struct Cut<'a> {
    log: &'a PartitionLog,
    noted: Noted,
    start: Offset,
    compacted: Offset,
    sparse: Offset,
    set_watermark: Option<Offset>,
    epochs: Vec<EpochLine>,
    falls: u64,
    still: MutexGuard<'a, Vec<Doomed>>,
}

/// What is noted under the writer lock.
#[derive(Debug)]
struct Noted {
    segments: Arc<Vec<Arc<Segment>>>,
    /// Whether the last of them grows.
    grows: bool,
    /// How far the last of them was published.
    position: u64,
    end: Offset,
    /// Of the producers at the end, where there are any.
    producers: Option<Taken>,
    aborted: Aborted,
}

impl Noted {
    fn of(log: &PartitionLog, writer: &Writer) -> Self {
        let segments = log.segments.load_full();
        Noted {
            grows: writer.tail.is_some(),
            position: segments.last().map_or(0, |last| last.published()),
            end: writer.next_offset,
            producers: writer.producers.as_deref().map(|tracked| Taken {
                at: writer.next_offset,
                recorded: tracked.producers.recorded(),
            }),
            aborted: log.aborted.read().clone(),
            segments,
        }
    }
}

/// Notes where all of `logs` stand, at one instant.
pub(crate) fn cut_all<'a>(logs: &[&'a PartitionLog]) -> Vec<Cut<'a>> {
    let mut stilled = Vec::with_capacity(logs.len());
    stilled.extend(logs.iter().map(|log| log.trimming.lock()));
    let mut writers = Vec::with_capacity(logs.len());
    let mut noted = Vec::with_capacity(logs.len());
    writers.extend(logs.iter().map(|log| log.writer.lock()));
    noted.extend(logs.iter().zip(&writers).map(|(log, writer)| Noted::of(log, writer)));
    drop(writers);
    let cut = |((log, noted), still): ((&&'a PartitionLog, Noted), _)| {
        let offsets = log.offsets.snapshot();
        // start and what was compacted move under the trim lock only; an epoch that began since
        // begins at or above the noted end
        let epochs = log.epochs.lock().entries().to_vec();
        let epochs = epochs.into_iter().filter(|(_, start)| *start < noted.end);
        let epochs = epochs.map(|(epoch, start)| EpochLine { epoch, start }).collect();
        let (start, compacted) = (offsets.start, offsets.compacted);
        // a gap below the noted end was recorded before what lies behind it
        let (sparse, set_watermark) = (offsets.sparse.min(noted.end), offsets.set_watermark);
        let falls = log.offsets.falls(); // under the trim lock only, too
        Cut { log, noted, start, compacted, sparse, set_watermark, epochs, falls, still }
    };
    logs.iter().zip(noted).zip(stilled).map(cut).collect()
}

/// A segment of the copy.
#[derive(Debug)]
struct Piece {
    segment: Arc<Segment>,
    len: u64,
    is_final: bool,
    linked: bool,
}

/// A log whose bytes, as of a cut, can be had whatever becomes of its names.
#[derive(Debug)]
pub(crate) struct Secured<'a> {
    log: &'a PartitionLog,
    pieces: Vec<Piece>,
    offsets: CutOffsets,
    epochs: Vec<EpochLine>,
    /// How often its offsets had fallen.
    falls: u64,
    producers: Option<Taken>,
    aborted: Aborted,
}

impl<'a> Cut<'a> {
    /// Links what is final into `dir`, which is made, and opens the rest.
    pub(crate) fn secure(self, dir: &Path, sharing: Sharing) -> Result<Secured<'a>> {
        let (log, noted) = (self.log, &self.noted);
        let disk = &*log.place.disk;
        if !noted.segments.is_empty() {
            disk.create_dir_all(dir)
                .map_err(|error| log.named(Error::io("make partition directory", dir, error)))?;
        }
        let turn = log.commit.take(); // no sync or sealing under way
        let unproven = log.unproven.lock();
        let rolled = log.writer.lock().rolled.clone();
        let point = log.offsets.snapshot().recovery_point;
        let mut pieces = Vec::with_capacity(noted.segments.len());
        for (at, segment) in noted.segments.iter().enumerate() {
            let next = noted.segments.get(at + 1).map(|next| next.base());
            if next.is_some_and(|next| next <= self.start) {
                continue; // retention has not come to drop it
            }
            let to_come = rolled.iter().chain(unproven.iter().map(|range| &range.segment));
            let is_final = (next.is_some() || !noted.grows)
                && next.unwrap_or(noted.end) <= point
                && to_come.into_iter().all(|other| !Arc::ptr_eq(other, segment));
            let len = if next.is_some() { segment.published() } else { noted.position };
            let linked = is_final
                && sharing == Sharing::Links
                && link(disk, segment, len, dir).map_err(|error| log.named(error))?;
            if !linked {
                segment.log().map_err(|error| log.named(error))?;
            }
            pieces.push(Piece { segment: segment.clone(), len, is_final, linked });
        }
        drop((unproven, turn, self.still));
        let offsets = CutOffsets {
            start: self.start,
            end: noted.end,
            compacted: self.compacted,
            sparse: self.sparse,
            set_watermark: self.set_watermark.map(|set| set.min(noted.end)),
            first_base: pieces.first().map(|piece| piece.segment.base()),
        };
        let Noted { producers, aborted, .. } = self.noted;
        let (epochs, falls) = (self.epochs, self.falls);
        Ok(Secured { log, pieces, offsets, epochs, falls, producers, aborted })
    }
}

/// Gives a final segment's log a second name in `dir`, unless there can be none.
fn link(disk: &dyn Disk, segment: &Segment, len: u64, dir: &Path) -> Result<bool> {
    let from = segment.path();
    let fail = |error| Error::io("link segment", &from, error);
    let found = disk.metadata(&from).map_err(fail)?;
    if len == 0 || found.is_none_or(|found| found.len != len) {
        return Ok(false);
    }
    match disk.link(&from, &dir.join(segment_file(segment.base(), SegmentFile::Log))) {
        Ok(()) => Ok(true),
        Err(error) if is_unlinkable(&error) => Ok(false),
        Err(error) => Err(fail(error)),
    }
}

/// Fails where whoever looks on wants no more.
fn check(goes_on: bool) -> Result<()> {
    if goes_on { Ok(()) } else { Err(Error::new(COPY, Cause::Cancelled)) }
}

impl Secured<'_> {
    pub(crate) fn id(&self) -> LogId {
        self.log.id()
    }

    pub(crate) fn offsets(&self) -> CutOffsets {
        self.offsets
    }

    /// The bytes and segments of log that there are.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.pieces.iter().map(|piece| piece.len).sum(), self.pieces.len() as u64)
    }

    /// Copies into `dir` what is not linked, synced; the names are durable once the copy is
    /// finished.
    ///
    /// # Errors
    /// `Cancelled` where `go_on` says no; those of the disk.
    pub(crate) fn copy(&self, dir: &Path, go_on: GoOn<'_>) -> Result<Amounts> {
        let mut amounts = Amounts::default();
        self.copy_pieces(dir, &mut amounts, go_on)
            .and_then(|()| self.copy_sidecars(dir, &mut amounts))
            .map_err(|error| self.log.named(error))?;
        Ok(amounts)
    }

    fn copy_pieces(&self, dir: &Path, amounts: &mut Amounts, go_on: GoOn<'_>) -> Result<()> {
        let disk = &*self.log.place.disk;
        for Piece { segment, len, linked, .. } in &self.pieces {
            if *linked {
                amounts.linked_files += 1;
                amounts.linked_bytes += len;
                check(go_on(*len, 1))?;
                continue;
            }
            let to = dir.join(segment_file(segment.base(), SegmentFile::Log));
            let copied = |bytes| go_on(bytes, 0);
            let done = copy_file_while(disk, &**segment.log()?, 0..*len, &to, &copied)
                .map_err(|error| Error::io(COPY, &to, error))?;
            check(go_on(0, 1))?;
            if done < *len {
                let short = "the file ends before what was appended to it";
                return Err(Error::corrupt(COPY, &segment.path(), done, short));
            }
            amounts.copied_files += 1;
            amounts.copied_bytes += done;
        }
        Ok(())
    }

    /// Copies what lies beside final segments that are still the log's own. What has gone since
    /// is made again by [`Secured::finish`].
    fn copy_sidecars(&self, dir: &Path, amounts: &mut Amounts) -> Result<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let place = &self.log.place;
        let _still = self.log.trimming.lock();
        if self.log.check_healthy(COPY).is_err() {
            return Ok(()); // the directory may already be another's
        }
        let now = self.log.segments.load_full();
        let finals = self.pieces.iter().filter(|piece| piece.is_final).map(|piece| &piece.segment);
        let bases: Vec<Offset> = finals
            .filter(|segment| now.iter().any(|listed| Arc::ptr_eq(listed, segment)))
            .map(|segment| segment.base())
            .collect();
        // a snapshot is of the records below it, which are others where the log was cut since
        let with_snapshots = self.log.offsets.falls() == self.falls;
        let names = place.disk.list(&place.dir);
        for entry in names.map_err(|error| Error::io(COPY, &place.dir, error))? {
            if entry.name.ends_with(SegmentFile::TransactionIndex.suffix()) {
                continue; // what it should say is written by `finish`
            }
            let snapshot = entry.name.ends_with(SegmentFile::ProducerSnapshot.suffix());
            let belongs = parse_sidecar(&entry.name).is_some_and(|base| match snapshot {
                true => with_snapshots && base <= self.offsets.end,
                false => bases.contains(&base),
            });
            if !belongs || entry.is_dir {
                continue;
            }
            let from = place.dir.join(&entry.name);
            if snapshot && place.disk.metadata(&from).is_ok_and(|found| found.is_none()) {
                continue; // a checkpoint had no more use for it
            }
            let copy = || {
                let file = place.disk.open(&from, Access::Read)?;
                copy_file(&*place.disk, &*file, 0..u64::MAX, &dir.join(&entry.name))
            };
            amounts.copied_bytes += copy().map_err(|error| Error::io(COPY, &from, error))?;
            amounts.copied_files += 1;
        }
        Ok(())
    }

    /// Brings the copy in `dir` to the form of a closed log: what was not copied is made by the
    /// log's own opening and closing, which also read the end of it and check every batch there.
    /// All of it is durable then but the directory's own name.
    ///
    /// # Errors
    /// As [`Secured::copy`]; `Corrupt` where the copy lacks what the log has.
    pub(crate) fn finish(
        &self,
        dir: &Path,
        setup: LogSetup,
        foreign: bool,
        go_on: GoOn<'_>,
    ) -> Result<()> {
        if self.offsets.first_base.is_none() {
            return Ok(()); // nothing was ever appended
        }
        let disk = &self.log.place.disk;
        let metadata = dir.join(PARTITION_METADATA);
        checkpoint::affirm_partition_metadata_name_later(&**disk, &metadata, setup.id.topic)?;
        if !self.epochs.is_empty() {
            checkpoint::write_epochs(&**disk, &dir.join(LEADER_EPOCHS), &self.epochs)?;
        }
        if let Some(taken) = &self.producers {
            let name = segment_file(taken.at, SegmentFile::ProducerSnapshot);
            let path = dir.join(name);
            let file = write_snapshot(&**disk, &path, taken)?;
            file.sync_data().map_err(|error| Error::io(COPY, &path, error))?;
        }
        self.write_aborted(dir)?;
        let known = KnownFacts {
            recovery_point: self.offsets.end,
            log_start: self.offsets.start,
            last_stop: LastStop::Clean,
            adopted: foreign,
            ours_from: None,
            compacted: self.offsets.compacted,
            sparse: self.offsets.sparse,
            host_led: self.offsets.set_watermark,
            sync_failed: false,
        };
        let (log, report) = PartitionLog::open(disk, dir, setup, known)?;
        if let Some(lost) = report.damage.first().filter(|_| self.log.damage.load().is_none()) {
            let text = format!("the copy lacks what the log has: {}", lost.reason);
            let error = Error::corrupt(COPY, &lost.path, lost.position, text);
            return Err(self.log.named(error));
        }
        log.make_missing_indexes(go_on).map_err(|error| log.named(error))?;
        log.close()?;
        disk.sync_dir(dir).map_err(|error| log.named(Error::io("sync directory", dir, error)))
    }
}

impl Secured<'_> {
    /// Writes which transactions were aborted up to the cut: files of the log may say less or more.
    fn write_aborted(&self, dir: &Path) -> Result<()> {
        let bases = self.pieces.iter().map(|piece| piece.segment.base());
        let ends = bases.clone().skip(1).chain([self.offsets.end]);
        for (base, end) in bases.zip(ends) {
            let entries = self.aborted.marked_in(base..end);
            if !entries.is_empty() {
                let name = segment_file(base, SegmentFile::TransactionIndex);
                write_index(&*self.log.place.disk, &dir.join(name), entries)?;
            }
        }
        Ok(())
    }
}

impl PartitionLog {
    /// Makes the indexes of sealed segments that have none, from their logs.
    fn make_missing_indexes(&self, go_on: GoOn<'_>) -> Result<()> {
        let disk = &self.place.disk;
        let segments = self.segments.load_full();
        for segment in segments.iter().rev().skip(1) {
            check(go_on(0, 0))?;
            for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
                let path = self.place.path(segment.base(), kind);
                let found = disk.metadata(&path).map_err(|error| Error::io(COPY, &path, error))?;
                if found.is_none() {
                    segment.largest_timestamp()?; // makes the indexes it looks into
                    break;
                }
            }
        }
        Ok(())
    }
}
