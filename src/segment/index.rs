//! The sparse index of a segment that grows: one writer pushes, readers search without a lock.
//!
//! An offset entry says "the batch at this position ends at this offset"; a time entry says "every
//! record later than this timestamp lies beyond this offset". Both are kept as Kafka defines them
//! (`kafka-format.md` 1.6), with offsets relative to the segment's base in 31 bits.
//!
//! Entries are atomics in chunks that never move, each four times the one before: a push is two or
//! three relaxed stores and one release of the length. Nothing is allocated before the first entry:
//! ten thousand idle partitions have ten thousand of these.
//! [`Indexer`] decides when an entry is due, for the tail and for every rebuild alike.

use std::sync::OnceLock;

use crate::ids::Offset;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

/// Entries of the first chunk.
const FIRST_CHUNK: usize = 64;
/// Chunks of a column: 64 * (4^12 - 1) / 3, over 350 million entries.
const CHUNKS: usize = 12;

/// Made one by one, in order.
type Chunks = [OnceLock<Box<[AtomicU64]>>; CHUNKS];

/// An append-only array of numbers, written by one thread and read by any.
#[derive(Debug, Default)]
struct Column {
    chunks: OnceLock<Box<Chunks>>,
    len: AtomicUsize,
}

impl Column {
    /// Where entry `at` lies: its chunk and its place in the chunk.
    fn locate(at: usize) -> (usize, usize) {
        let mut first = 0;
        let mut size = FIRST_CHUNK;
        for chunk in 0..CHUNKS {
            if at < first + size {
                return (chunk, at - first);
            }
            first += size;
            size *= 4;
        }
        (CHUNKS, 0)
    }

    /// Adds a number; only the segment's one writer calls it.
    fn push(&self, number: u64) {
        let len = self.len.load(Ordering::Relaxed);
        let (chunk, place) = Column::locate(len);
        debug_assert!(chunk < CHUNKS, "the index is full long before its column is");
        let Some(slot) = self.chunks.get_or_init(Box::default).get(chunk) else { return };
        let numbers = slot
            .get_or_init(|| (0..FIRST_CHUNK << (2 * chunk)).map(|_| AtomicU64::new(0)).collect());
        numbers[place].store(number, Ordering::Relaxed);
        self.len.store(len + 1, Ordering::Release);
    }

    #[inline]
    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Entry `at`, which must lie below a length that was read before.
    fn get(&self, at: usize) -> u64 {
        let (chunk, place) = Column::locate(at);
        self.chunks
            .get()
            .and_then(|chunks| chunks.get(chunk)?.get())
            .map_or(0, |numbers| numbers[place].load(Ordering::Relaxed))
    }

    /// How many of the first `len` entries satisfy `low`, which must hold for a prefix.
    fn partition_point(&self, len: usize, low: impl Fn(u64) -> bool) -> usize {
        let (mut left, mut right) = (0, len);
        while left < right {
            let middle = left + (right - left) / 2;
            if low(self.get(middle)) {
                left = middle + 1;
            } else {
                right = middle;
            }
        }
        left
    }
}

/// An entry of the offset index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// Last offset of the batch at `position`, relative to the segment's base.
    pub(crate) relative: u32,
    pub(crate) position: u32,
}

impl OffsetEntry {
    fn pack(self) -> u64 {
        u64::from(self.relative) << 32 | u64::from(self.position)
    }

    fn unpack(packed: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = packed.to_be_bytes();
        OffsetEntry {
            relative: u32::from_be_bytes([a, b, c, d]),
            position: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

/// An entry of the time index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// Milliseconds: the largest timestamp up to `relative`.
    pub(crate) timestamp: i64,
    /// Last offset of the earliest batch with that timestamp, relative to the segment's base.
    pub(crate) relative: u32,
}

/// Both indexes of one segment, growing.
#[derive(Debug, Default)]
pub(crate) struct SparseIndex {
    offsets: Column,
    timestamps: Column,
    /// Pushed after `timestamps`: its length is the number of whole time entries.
    timestamp_offsets: Column,
}

impl SparseIndex {
    pub(crate) fn offset_entries(&self) -> impl Iterator<Item = OffsetEntry> {
        (0..self.offsets.len()).map(|at| OffsetEntry::unpack(self.offsets.get(at)))
    }

    pub(crate) fn time_entries(&self) -> impl Iterator<Item = TimeEntry> {
        (0..self.timestamp_offsets.len()).map(|at| self.time_entry(at))
    }

    #[inline]
    pub(crate) fn offset_len(&self) -> usize {
        self.offsets.len()
    }

    #[inline]
    pub(crate) fn time_len(&self) -> usize {
        self.timestamp_offsets.len()
    }

    /// The last entry at or below `relative`.
    pub(crate) fn floor_offset(&self, relative: u32) -> Option<OffsetEntry> {
        let count = self.offsets.partition_point(self.offsets.len(), |packed| {
            OffsetEntry::unpack(packed).relative <= relative
        });
        count.checked_sub(1).map(|at| OffsetEntry::unpack(self.offsets.get(at)))
    }

    /// The first entry above `relative`.
    pub(crate) fn above_offset(&self, relative: u32) -> Option<OffsetEntry> {
        let len = self.offsets.len();
        let at = self
            .offsets
            .partition_point(len, |packed| OffsetEntry::unpack(packed).relative <= relative);
        (at < len).then(|| OffsetEntry::unpack(self.offsets.get(at)))
    }

    /// The last time entry at or before `timestamp`.
    pub(crate) fn floor_time(&self, timestamp: i64) -> Option<TimeEntry> {
        let count = self
            .timestamps
            .partition_point(self.timestamp_offsets.len(), |bits| bits.cast_signed() <= timestamp);
        count.checked_sub(1).map(|at| self.time_entry(at))
    }

    pub(crate) fn last_time(&self) -> Option<TimeEntry> {
        self.timestamp_offsets.len().checked_sub(1).map(|at| self.time_entry(at))
    }

    fn time_entry(&self, at: usize) -> TimeEntry {
        TimeEntry {
            timestamp: self.timestamps.get(at).cast_signed(),
            relative: OffsetEntry::unpack(self.timestamp_offsets.get(at)).position,
        }
    }

    fn push_offset(&self, entry: OffsetEntry) {
        self.offsets.push(entry.pack());
    }

    /// Adds a time entry unless it says nothing new.
    fn push_time(&self, entry: TimeEntry) {
        if self.last_time().is_some_and(|last| entry.timestamp <= last.timestamp) {
            return;
        }
        self.timestamps.push(entry.timestamp.cast_unsigned());
        self.timestamp_offsets.push(u64::from(entry.relative));
    }
}

/// One batch as an index sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexedBatch {
    pub(crate) position: u64,
    pub(crate) size: u64,
    pub(crate) last_offset: Offset,
    /// Milliseconds, -1 for none.
    pub(crate) max_timestamp: i64,
}

/// Decides, batch by batch, when an entry is due.
#[derive(Debug)]
#[repr(C)] // one cache line, where its owner puts it on one
pub(crate) struct Indexer {
    base: Offset,
    interval: u64,
    index: Arc<SparseIndex>,
    /// How many entries it has: offsets, then times.
    entries: [u32; 2],
    bytes_since_entry: u64,
    /// The largest timestamp so far and the last offset of the earliest batch that has it.
    largest: Option<TimeEntry>,
}

impl Indexer {
    pub(crate) fn new(base: Offset, interval: u64) -> Self {
        let (index, entries) = (Arc::default(), [0; 2]);
        Indexer { base, interval, index, entries, bytes_since_entry: 0, largest: None }
    }

    /// Goes on with entries that were saved, the last of which points to the next batch pushed.
    pub(crate) fn resume(
        base: Offset,
        interval: u64,
        offsets: &[OffsetEntry],
        times: &[TimeEntry],
    ) -> Self {
        let mut indexer = Indexer::new(base, interval);
        for entry in offsets {
            indexer.index.push_offset(*entry);
        }
        for entry in times {
            indexer.index.push_time(*entry);
        }
        indexer.count();
        indexer.largest = times.last().copied();
        indexer
    }

    pub(crate) fn index(&self) -> &Arc<SparseIndex> {
        &self.index
    }

    /// The largest timestamp seen, in milliseconds.
    #[inline]
    pub(crate) fn largest_timestamp(&self) -> Option<i64> {
        self.largest.map(|entry| entry.timestamp)
    }

    /// Takes note of the next batch; the caller has checked that its offsets fit the segment.
    #[inline]
    pub(crate) fn push(&mut self, batch: IndexedBatch) {
        let Some(relative) = relative(self.base, batch.last_offset) else { return };
        let newer = self.largest.is_none_or(|largest| batch.max_timestamp > largest.timestamp);
        if newer && batch.max_timestamp >= 0 {
            self.largest = Some(TimeEntry { timestamp: batch.max_timestamp, relative });
        }
        if self.bytes_since_entry > self.interval
            && let Ok(position) = u32::try_from(batch.position)
        {
            self.enter(OffsetEntry { relative, position });
        }
        self.bytes_since_entry += batch.size;
    }

    #[cold]
    fn enter(&mut self, entry: OffsetEntry) {
        self.index.push_offset(entry);
        if let Some(largest) = self.largest {
            self.index.push_time(largest);
        }
        self.count();
        self.bytes_since_entry = 0;
    }

    /// Takes note of how many entries there are: an append need not look into the index.
    fn count(&mut self) {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        self.entries = [count(self.index.offset_len()), count(self.index.time_len())];
    }

    /// Whether either index has as many entries as `limit_bytes` allows; the time index keeps a
    /// slot for its final entry.
    #[inline]
    pub(crate) fn is_full(&self, limit_bytes: u64) -> bool {
        let [offsets, times] = self.entries.map(u64::from);
        (offsets + 1) * 8 > limit_bytes || (times + 2) * 12 > limit_bytes
    }

    /// Adds the final time entry, which tells the segment's largest timestamp.
    pub(crate) fn finish(&mut self) {
        if let Some(largest) = self.largest {
            self.index.push_time(largest);
            self.count();
        }
    }
}

/// An offset relative to a segment's base, where it fits the 31 bits of Kafka's index.
#[inline]
pub(crate) fn relative(base: Offset, offset: Offset) -> Option<u32> {
    let distance = offset.get().checked_sub(base.get())?;
    u32::try_from(distance).ok().filter(|distance| *distance <= i32::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In whole entries of eight and twelve bytes, one of the latter kept free.
    #[test]
    fn an_index_is_full_when_one_more_entry_would_not_fit() {
        for (entries, limit) in (0..6).flat_map(|n| (0..6).map(move |m| [n, m])).zip(0..100) {
            let [offsets, times] = entries.map(u64::from);
            let indexer = Indexer { entries, ..Indexer::new(Offset::ZERO, 10) };
            for limit in [limit, offsets * 8, offsets * 8 + 8, times * 12 + 12, times * 12 + 24] {
                let full = offsets >= limit / 8 || times + 1 >= limit / 12;
                assert_eq!(indexer.is_full(limit), full, "{entries:?} {limit}");
            }
        }
    }

    #[test]
    fn entries_follow_kafkas_rule() {
        let mut indexer = Indexer::new(Offset::new(100), 10);
        let batch = |number: u64, max_timestamp| IndexedBatch {
            position: number * 8,
            size: 8,
            last_offset: Offset::new(100 + number.cast_signed() * 2 + 1),
            max_timestamp,
        };
        for (number, timestamp) in [(0, 5), (1, 9), (2, 9), (3, 2), (4, 11), (5, 11)] {
            indexer.push(batch(number, timestamp));
        }
        // due at the first batch that finds more than 10 bytes behind the last entry
        let offsets: Vec<_> = indexer.index().offset_entries().collect();
        assert_eq!(
            offsets,
            [OffsetEntry { relative: 5, position: 16 }, OffsetEntry { relative: 9, position: 32 },]
        );
        indexer.finish();
        indexer.finish();
        let times: Vec<_> = indexer.index().time_entries().collect();
        assert_eq!(
            times,
            [
                TimeEntry { timestamp: 9, relative: 3 }, // the earliest batch with a 9
                TimeEntry { timestamp: 11, relative: 9 },
            ]
        );
    }

    #[test]
    fn floors_match_a_plain_search_over_many_chunks() {
        let mut indexer = Indexer::new(Offset::ZERO, 0);
        for number in 0..20_000_u64 {
            indexer.push(IndexedBatch {
                position: number * 100,
                size: 100,
                last_offset: Offset::new(number.cast_signed() * 3),
                max_timestamp: number.cast_signed() * 5,
            });
        }
        let index = indexer.index();
        let offsets: Vec<_> = index.offset_entries().collect();
        let times: Vec<_> = index.time_entries().collect();
        assert_eq!(offsets.len(), 19_999, "all but the first batch");
        for wanted in (0..61_000_u32).step_by(37) {
            let floor = offsets.iter().rev().find(|entry| entry.relative <= wanted);
            assert_eq!(index.floor_offset(wanted), floor.copied());
            let above = offsets.iter().find(|entry| entry.relative > wanted);
            assert_eq!(index.above_offset(wanted), above.copied());
            let time = i64::from(wanted) * 2;
            let floor = times.iter().rev().find(|entry| entry.timestamp <= time);
            assert_eq!(index.floor_time(time), floor.copied());
        }
    }

    #[test]
    fn offsets_that_do_not_fit_are_told_apart() {
        let base = Offset::new(10);
        assert_eq!(relative(base, Offset::new(9)), None);
        assert_eq!(relative(base, Offset::new(10)), Some(0));
        assert_eq!(relative(base, Offset::new(10 + i64::from(i32::MAX))), Some(i32::MAX as u32));
        assert_eq!(relative(base, Offset::new(11 + i64::from(i32::MAX))), None);
    }
}
