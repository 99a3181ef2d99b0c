//! The writer's side of the active segment: where a batch goes, and what happens when it cannot.
//!
//! Small batches are stored into a mapped window that was first written with zeros, so that the
//! space is there before it is touched; the window starts at 4 KiB and grows while the segment
//! stays busy, and so does what is mapped of the file, from 256 KiB on. Large batches, and all of
//! them on a disk without maps, are positioned writes into the same file. Either way the bytes
//! beyond the published end are zeros (mapped) or absent (positioned) before the next append: a
//! failed append puts that back, and where it cannot, says so, and its log takes no more.
//!
//! Owned by the log's writer lock; readers see a batch once `publish` has run.

use super::digest::{DigestedBatch, Digester, OpenHeader, Origin};
use super::index::{IndexedBatch, Indexer, relative};
use super::shared::Segment;
use super::tags::TaggedBatch;
use crate::disk::{DiskFile, TailMap, crc32c_append, write_all_at};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::Offset;
use crate::record::{AppendBatch, Stamp, TagBits};
use crate::time::Timestamp;
use std::sync::Arc;

/// The first window, and what an idle partition keeps.
const FIRST_WINDOW: u64 = 4 << 10;
/// The largest window: its zeroing is the longest pause an append meets, and costs two system
/// calls, which more than two thousand small appends share.
const LARGEST_WINDOW: u64 = 512 << 10;
const FIRST: Window = Window { calm: 0, next: FIRST_WINDOW };
/// From this size on a window's successor is asked for at once, from a thread that may have one
/// ready in time; of a smaller one when half of it is full: it may be the log's last for long.
const BUSY_WINDOW: u64 = 256 << 10;
/// How much of a file is mapped at first, and by what it is multiplied once that is full. Many
/// small maps lie side by side and share pages of page tables, which large ones do not: an append
/// to one of thousands of logs waits for those as much as for anything.
const FIRST_MAP: u64 = 256 << 10;
const MAP_GROWTH: u64 = 16;
/// Batches from this size on are written by position: the copy into a map costs more.
const LARGE_BATCH: usize = 64 << 10;

/// When the segment is full.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct TailLimits {
    pub(crate) segment_bytes: u64,
    pub(crate) index_bytes: u64,
    /// Milliseconds of record time, jitter taken off.
    pub(crate) segment_ms: i64,
    /// Whether the tags of batches are kept.
    pub(crate) tags: bool,
}

/// The first batch has no timestamp, or is still to come.
const UNBORN: i64 = i64::MIN;

/// The end of the active segment. In front lies what every append looks at, on four cache lines.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Tail {
    map: MapState,
    end: u64,
    /// How far the file is or would be mapped; what is appended stays below.
    capacity: u64,
    limits: TailLimits,
    indexer: Indexer,
    segment: Arc<Segment>,
    /// The largest timestamp of the first batch; without one the time the segment was made counts.
    born: i64,
    window: Window,
    digester: Digester,
    file: Arc<dyn DiskFile>,
    created: Timestamp,
    /// Where a batch is put together that is written by position.
    scratch: Vec<u8>,
}

/// What lies ahead of a mapped segment.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Up to there a batch is stored without a further look; never above what is allocated.
    calm: u64,
    /// How large the next one is to be.
    next: u64,
}

#[derive(Debug)]
enum MapState {
    /// Nothing has been appended since the segment was opened.
    Untried,
    Mapped(Box<dyn TailMap>),
    /// The disk writes by position, or could not map.
    Positioned,
}

impl Tail {
    /// Takes over a segment that is `published` bytes long, indexed by `indexer`.
    pub(crate) fn new(
        segment: Arc<Segment>,
        indexer: Indexer,
        limits: TailLimits,
        created: Timestamp,
    ) -> Result<Self> {
        let file = segment.log()?.clone();
        let end = segment.published();
        let first = if end > 0 { segment.first_batch_timestamp()? } else { None };
        segment.set_growing(indexer.index().clone(), indexer.largest_timestamp());
        segment.appends_from(end);
        if limits.tags && end > 0 {
            segment.take_up_tags();
        }
        Ok(Tail {
            digester: segment.digester(Origin::Append),
            segment,
            file,
            map: MapState::Untried,
            end,
            window: FIRST,
            capacity: limits.segment_bytes.max(end),
            indexer,
            limits,
            born: first.unwrap_or(UNBORN),
            created,
            scratch: Vec::new(),
        })
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.end == 0
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Has room for `bytes` more, whatever the limits say: they may have been others when those
    /// bytes found room. Before anything is appended.
    pub(crate) fn make_room(&mut self, bytes: u64) {
        if !matches!(self.map, MapState::Mapped(_)) {
            self.capacity = self.capacity.max(self.end + bytes);
        }
    }

    pub(crate) fn set_limits(&mut self, limits: TailLimits) {
        self.limits = limits;
    }

    /// Whether `batch` belongs into a new segment (`kafka-format.md` 2.2).
    #[inline]
    pub(crate) fn is_due<B: AppendBatch>(
        &self,
        batch: &B,
        last_offset: Offset,
        now: Timestamp,
    ) -> bool {
        if self.is_empty() {
            return relative(self.segment.base(), last_offset).is_none();
        }
        self.end + batch.size() as u64 > self.limits.segment_bytes.min(self.capacity)
            || self.age(batch.max_timestamp(), now) > self.limits.segment_ms
            || self.indexer.is_full(self.limits.index_bytes)
            || relative(self.segment.base(), last_offset).is_none()
    }

    /// How far the segment's record time reaches; its clock time where its records have none.
    #[inline]
    fn age(&self, newest: Option<Timestamp>, now: Timestamp) -> i64 {
        match (self.born, newest) {
            (UNBORN, _) => now.as_millis().saturating_sub(self.created.as_millis()),
            (born, Some(newest)) => newest.as_millis().saturating_sub(born),
            (_, None) => 0,
        }
    }

    /// Stores a batch behind the last one and publishes its bytes; returns where it begins.
    ///
    /// On an error with [`Outcome::NotWritten`] the file is as it was; on any other the tail must
    /// not be used again.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn append<B: AppendBatch>(
        &mut self,
        batch: &B,
        stamp: Stamp,
        last_offset: Offset,
    ) -> Result<u64> {
        let position = self.end;
        let size = batch.size() as u64;
        let end = position + size;
        if end > self.capacity {
            let (what, limit) = ("the batch, with its segment,", self.capacity);
            return Err(Error::new("append", Cause::TooLarge { what, size: end, limit }));
        }
        if self.segment.is_littered() {
            self.restore(position, position)
                .map_err(|error| Error::io("append", &self.segment.path(), error))?;
            self.segment.set_littered(false);
        }
        if matches!(self.map, MapState::Untried) {
            self.start_map();
        }
        let mut fits_map = true;
        let stored = match &mut self.map {
            MapState::Mapped(map) if batch.size() < LARGE_BATCH => {
                fits_map = end <= self.window.calm
                    || grow(&mut **map, &mut self.window, end, self.capacity, &self.segment)
                        .map_err(|error| Error::io("append", &self.segment.path(), error))?;
                fits_map.then(|| {
                    let window = map.window(position, batch.size());
                    batch.write(stamp, window, crc32c_append);
                    OpenHeader::of(window)
                })
            }
            _ => None,
        };
        if !fits_map {
            self.map = MapState::Positioned; // the batch reaches beyond the map and its window
        }
        let header = match stored.flatten() {
            Some(header) => header,
            None => self.write_by_position(batch, stamp, position)?,
        };
        self.note(batch, position, last_offset);
        let (first, next) = (stamp.base_offset, last_offset.next());
        self.digester.push(DigestedBatch { header, position, size, first, next });
        if let MapState::Mapped(map) = &mut self.map {
            map.publish(end);
        }
        self.end = end;
        self.segment.publish(end, self.indexer.largest_timestamp());
        if self.limits.tags {
            self.note_tags(batch, (position, end), (first, next));
        }
        Ok(position)
    }

    /// Takes the tags of what was published: as the batch knows them, else from its bytes.
    #[cold]
    fn note_tags<B: AppendBatch>(
        &self,
        batch: &B,
        (position, end): (u64, u64),
        (first, next): (Offset, Offset),
    ) {
        let read = || {
            let bytes = self.segment.bytes(position, end);
            bytes.map_or(TagBits::ANY, |bytes| TagBits::of_batch(&bytes))
        };
        let is_marker = batch.marker().is_some();
        let bits = batch.tags().unwrap_or_else(read);
        let shows = if is_marker { TagBits::ANY } else { bits };
        let size = end - position;
        self.segment.note_tags(TaggedBatch { position, size, first, next, bits, shows });
    }

    /// Maps the file on its first append, so that a partition nobody writes to has no map. Where
    /// that fails (too many maps, no memory) the segment is written by position.
    #[cold]
    fn start_map(&mut self) {
        self.map = match self.file.map_tail(self.end, map_size(self.end, self.capacity)) {
            Ok(Some(map)) => {
                self.segment.set_map(map.reader());
                MapState::Mapped(map)
            }
            Ok(None) => MapState::Positioned,
            Err(error) => {
                log::warn!("{} is not mapped: {error}", self.segment.path().display());
                MapState::Positioned
            }
        };
    }

    #[inline(never)]
    fn write_by_position<B: AppendBatch>(
        &mut self,
        batch: &B,
        stamp: Stamp,
        position: u64,
    ) -> Result<OpenHeader> {
        self.scratch.resize(batch.size(), 0);
        batch.write(stamp, &mut self.scratch, crc32c_append);
        let header = OpenHeader::of(&self.scratch).unwrap_or_default();
        let written = write_all_at(&*self.file, &self.scratch, position);
        if self.scratch.capacity() > LARGE_BATCH * 16 {
            self.scratch = Vec::new();
        }
        let end = position + batch.size() as u64;
        match written {
            Ok(()) => {
                self.note_written(end);
                Ok(header)
            }
            Err(error) => {
                let path = self.segment.path();
                let restored = self.restore(position, end);
                let outcome = match restored.map_err(|error| Error::io("append", &path, error)) {
                    Ok(()) => Outcome::NotWritten,
                    // what is there is no whole batch, and goes before the next one is written
                    Err(later) if later.is_retriable() => {
                        self.segment.set_littered(true);
                        Outcome::NotWritten
                    }
                    Err(_) => Outcome::Unknown,
                };
                Err(Error::io("append", &path, error).with_outcome(outcome))
            }
        }
    }

    /// A batch was written by position: the map takes it in, or is given up.
    fn note_written(&mut self, end: u64) {
        let MapState::Mapped(map) = &mut self.map else { return };
        if end <= map.capacity() || enlarge(&mut **map, end, self.capacity, &self.segment) {
            map.written(end);
        } else {
            // the file ends at `end`: beyond the map there is no window
            self.map = MapState::Positioned;
        }
    }

    /// Takes back what a failed write may have left beyond the published end.
    fn restore(&mut self, position: u64, end: u64) -> std::io::Result<()> {
        match &mut self.map {
            MapState::Mapped(map) => {
                let allocated = map.allocated();
                let inside = end.min(allocated).saturating_sub(position);
                let inside = usize::try_from(inside).unwrap_or(0);
                map.window(position, inside).fill(0);
                self.file.set_len(allocated)
            }
            MapState::Untried | MapState::Positioned => self.file.set_len(position),
        }
    }

    #[inline(always)] // see `producer::walk`
    fn note<B: AppendBatch>(&mut self, batch: &B, position: u64, last_offset: Offset) {
        if position == 0 {
            self.born = batch.max_timestamp().map_or(UNBORN, Timestamp::as_millis);
        }
        self.indexer.push(IndexedBatch {
            position,
            size: batch.size() as u64,
            last_offset,
            max_timestamp: Timestamp::to_wire(batch.max_timestamp()),
        });
    }

    /// Gives back memory until the next append, which takes it up again by itself.
    pub(crate) fn rest(&mut self) {
        self.scratch = Vec::new();
        self.window.next = FIRST_WINDOW; // it is busy no more
        if let MapState::Mapped(map) = &mut self.map {
            map.rest();
        }
    }

    /// Hands the digests of all that was appended so far to the segment, to be saved.
    pub(crate) fn hand_over_digests(&mut self) -> &Arc<Segment> {
        self.segment.add_runs(self.digester.take());
        &self.segment
    }

    /// Ends writing: the final time entry is in, readers go on with what is published.
    ///
    /// The file still has its window of zeros; `trim` takes that away once nothing maps it.
    pub(crate) fn finish(mut self) -> Arc<Segment> {
        self.indexer.finish();
        self.hand_over_digests();
        self.segment
    }
}

/// How much of a file is to be mapped that reaches to `end`, which is at most its limit or, with a
/// batch that goes beyond, its end.
fn map_size(end: u64, limit: u64) -> u64 {
    let sizes = std::iter::successors(Some(FIRST_MAP), |size| size.checked_mul(MAP_GROWTH));
    let size = sizes.into_iter().find(|size| *size > end).unwrap_or(u64::MAX);
    size.min(limit).max(end)
}

/// Maps the file anew, up to `end` at least; `false` where that cannot be had (too many maps, no
/// memory).
#[cold]
fn enlarge(map: &mut dyn TailMap, end: u64, limit: u64, segment: &Segment) -> bool {
    match map.enlarge(map_size(end, limit)) {
        Ok(()) => {
            segment.set_map(map.reader());
            true
        }
        Err(error) => {
            log::warn!("{} is not mapped any further: {error}", segment.path().display());
            false
        }
    }
}

/// Where a batch is about to end beyond the calm part of the window: asks for the next one, or,
/// where the window ends too, readies that. It is four times the last one while the segment stays
/// busy, never past the segment's limit unless the batch itself reaches there. `false`: the map
/// does not reach as far.
#[cold]
fn grow(
    map: &mut dyn TailMap,
    window: &mut Window,
    end: u64,
    limit: u64,
    segment: &Segment,
) -> std::io::Result<bool> {
    let allocated = map.allocated();
    if end > allocated {
        let page_end = end.next_multiple_of(FIRST_WINDOW);
        let wanted = allocated.saturating_add(window.next).min(limit).max(page_end);
        // the last page may reach past the segment's limit; the map's capacity ends there
        let mut wanted = wanted.min(limit.max(end));
        if end <= map.capacity() {
            wanted = wanted.min(map.capacity()); // a larger map once a batch needs it
        } else if !enlarge(map, wanted, limit, segment) {
            return Ok(false);
        }
        map.allocate(wanted)?;
        window.next = (window.next * 4).min(LARGEST_WINDOW);
        let size = map.allocated() - allocated;
        if size < BUSY_WINDOW {
            window.calm = end.max(map.allocated() - size / 2);
            return Ok(true);
        }
    }
    map.prepare(window.next);
    window.calm = map.allocated();
    Ok(true)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// Its log puts it behind a whole cache line.
    #[test]
    fn what_an_append_looks_at_lies_together() {
        assert_eq!(offset_of!(Tail, map), 0);
        assert_eq!(size_of::<Indexer>(), 64);
        assert!(offset_of!(Tail, digester) + Digester::CHANGED <= 4 * 64);
    }
}
