//! The writer's side of the active segment: where a batch goes, and what happens when it cannot.
//!
//! Small batches are stored into a mapped window that was first written with zeros, so that the
//! space is there before it is touched (`window`). Large batches, and all of them on a disk
//! without maps, are positioned writes into the same file. Either way the bytes beyond the
//! published end are zeros (mapped) or absent (positioned) before the next append: a failed append
//! puts that back, and where it cannot, says so, and its log takes no more.
//!
//! Owned by the log's writer lock; readers see a batch once `publish` has run.

use super::digest::{DigestedBatch, Digester, OpenHeader, Origin};
use super::index::{IndexedBatch, Indexer, relative};
use super::shared::Segment;
use super::tags::TaggedBatch;
use super::window::{Window, enlarge, grow, map_size};
use crate::disk::{DiskFile, Near, TailMap, crc32c_append, write_all_at, write_all_pieces_at};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::Offset;
use crate::record::{AppendBatch, Stamp, TagBits};
use crate::time::Timestamp;
use std::sync::Arc;

/// Batches from this size on are written by position: the copy into a map costs more.
const LARGE_BATCH: usize = 64 << 10;

/// So many cache lines of the next batch are asked for: what follows the processor guesses.
pub(crate) const NEXT_LINES: usize = 4;

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

/// The end of the active segment. In front lies what every append looks at, on five cache lines.
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
    near: TailNear,
    file: Arc<dyn DiskFile>,
    created: Timestamp,
    /// Where a batch is put together that is written by position, or what of it is small.
    scratch: Vec<u8>,
}

/// Where in memory lies what an append looks at behind pointers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct TailNear {
    /// Of the map.
    map: [Near; 2],
    /// What the next batch is stored into.
    next: Near,
}

impl TailNear {
    /// Where there is no map, the segment stands in for it: what is asked for to be stored into
    /// must not be a line that all logs share.
    fn without_map(segment: &Segment) -> Self {
        TailNear { map: [Near::of(segment); 2], next: Near::default() }
    }

    fn take_map(&mut self, lines: Option<[usize; 2]>) {
        if let Some(lines) = lines {
            self.map = lines.map(Near::at);
        }
    }
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
    /// So many cache lines at its front an append looks at.
    pub(crate) const LINES: usize = 5;

    /// Takes over a segment that is `published` bytes long, indexed by `indexer`. Its first batch
    /// is read for its largest timestamp, unless a scan has seen it: `first`, in milliseconds.
    pub(crate) fn new(
        segment: Arc<Segment>,
        indexer: Indexer,
        first: Option<Option<i64>>,
        limits: TailLimits,
        created: Timestamp,
    ) -> Result<Self> {
        let file = segment.log()?.clone();
        let end = segment.published();
        let first = match first {
            Some(first) => first,
            None if end > 0 => segment.first_batch_timestamp()?,
            None => None,
        };
        segment.set_growing(indexer.index().clone(), indexer.largest_timestamp());
        segment.appends_from(end);
        if limits.tags && end > 0 {
            segment.take_up_tags();
        }
        Ok(Tail {
            digester: segment.digester(Origin::Append),
            near: TailNear::without_map(&segment),
            segment,
            file,
            map: MapState::Untried,
            end,
            window: Window::FIRST,
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

    /// Has the processor fetch what an append looks at behind pointers and stores into: who goes
    /// round many logs would wait for one after the other. What a reader at the end looks at is
    /// asked for to be stored into, which takes it from that reader's processor.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn fetch_near(&self) {
        self.near.map[0].fetch();
        self.near.map[1].fetch_to_write();
        Near::of(&*self.segment).fetch_to_write();
        self.near.next.fetch_lines::<NEXT_LINES>();
    }

    /// Where the next batch is expected to be stored.
    #[inline]
    pub(crate) fn next_near(&self) -> Near {
        self.near.next
    }

    /// Where it lies how far the map is published.
    #[cfg(test)]
    pub(crate) fn map_near(&self) -> Near {
        self.near.map[1]
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
    #[inline(always)] // see `producer::walk`
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
                if end > self.window.calm {
                    fits_map =
                        grow(&mut **map, &mut self.window, end, self.capacity, &self.segment)
                            .map_err(|error| Error::io("append", &self.segment.path(), error))?;
                    self.near.take_map(map.lines());
                }
                if fits_map {
                    let window = map.window(position, batch.size());
                    self.near.next = Near::behind(window);
                    batch.write(stamp, window, crc32c_append);
                    OpenHeader::of(window)
                } else {
                    None
                }
            }
            _ => None,
        };
        if !fits_map {
            self.give_map_up(position); // the batch reaches beyond it and its window
        }
        let header = match stored {
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
        self.near.next.fetch_lines::<NEXT_LINES>(); // for the next one
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
                self.segment.set_map(&*map);
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
        self.near = TailNear::without_map(&self.segment); // what comes next may go anywhere
        let memory = std::mem::take(&mut self.scratch);
        let pieces = match batch.size() {
            LARGE_BATCH.. => batch.pieces(stamp, memory, crc32c_append),
            _ => batch.whole(stamp, memory, crc32c_append),
        };
        let header = OpenHeader::of(pieces.built()).unwrap_or_default();
        let written = match pieces.slices() {
            Some(mut slices) => write_all_pieces_at(&*self.file, &mut slices, position),
            None => write_all_at(&*self.file, pieces.built(), position),
        };
        let memory = pieces.into_memory();
        if memory.capacity() <= LARGE_BATCH * 16 {
            self.scratch = memory;
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
            self.give_map_up(end);
        }
    }

    /// Goes on by position: what was made ready behind a map that cannot be had is cut off.
    #[cold]
    fn give_map_up(&mut self, end: u64) {
        self.map = MapState::Positioned;
        if let Err(error) = self.file.set_len(end) {
            log::debug!("zeros behind {} are kept: {error}", self.segment.path().display());
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
        self.window.rest();
        let mut len = self.end;
        if let MapState::Mapped(map) = &mut self.map {
            map.rest();
            len = map.allocated();
        }
        self.segment.rest(len);
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
        assert!(offset_of!(Tail, near) + size_of::<TailNear>() <= Tail::LINES * 64);
    }
}
