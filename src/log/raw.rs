//! Batches as they lie in the log: for hosts that hand them on, to followers or to consumers of
//! their own, without taking them apart.
//!
//! A read returns whole batches of one segment, checked as any read checks them and never
//! decompressed: as bytes, mostly the mapped memory itself where the segment has some, and as a
//! range of its file. How far it sees is the caller's choice: the end for followers, the high
//! watermark or the last stable offset for consumers. Called by both doors.

use bytes::Bytes;

use super::core::PartitionLog;
use super::door::Log;
use super::fetch::{Cursor, FetchLimits, Fetched};
use super::offsets::OffsetSnapshot;
use crate::config::IsolationLevel;
use crate::disk::FileRange;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::segment::AbortedTransaction;
use crate::stats::{Pin, PinCounter};
use std::ops::Range;
use std::sync::Arc;

/// How much a raw read returns, and how far it sees.
///
/// ```
/// use tidelog::RawLimits;
/// let for_a_follower = RawLimits::to_end(1 << 20);
/// let for_a_consumer = RawLimits::to_high_watermark(1 << 20).strict();
/// # let _ = (for_a_follower, for_a_consumer);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLimits {
    max_bytes: usize,
    sees: Sees,
    first_whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    End,
    HighWatermark,
    LastStable,
}

impl RawLimits {
    const fn new(max_bytes: usize, sees: Sees) -> Self {
        RawLimits { max_bytes, sees, first_whole: true }
    }

    /// Up to the end: what a follower fetches. At most `max_bytes`, but one batch in any case.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1))?;
    /// assert_eq!(read.next_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub const fn to_end(max_bytes: usize) -> Self {
        RawLimits::new(max_bytes, Sees::End)
    }

    /// Up to the high watermark: what a consumer sees that reads uncommitted.
    ///
    /// ```
    /// # use tidelog::{LeaderEpoch, Leadership, Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.set_leadership(Leadership::HostLed)?;
    /// log.append_as_leader(LeaderEpoch::new(0), &[Record::new("a")])?;
    /// assert!(log.read_batches(Offset::ZERO, RawLimits::to_high_watermark(1 << 20))?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub const fn to_high_watermark(max_bytes: usize) -> Self {
        RawLimits::new(max_bytes, Sees::HighWatermark)
    }

    /// Up to the last stable offset: no record of a transaction that has not ended, but those of
    /// aborted ones, which [`RawBatches::aborted`] names.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// assert!(!log.read_batches(Offset::ZERO, RawLimits::to_last_stable(1 << 20))?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub const fn to_last_stable(max_bytes: usize) -> Self {
        RawLimits::new(max_bytes, Sees::LastStable)
    }

    /// Never more than the bytes asked for, not even one batch: nothing where the first is larger.
    /// For the second partition and later ones of a fetch of many.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// assert!(log.read_batches(Offset::ZERO, RawLimits::to_end(1).strict())?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub const fn strict(mut self) -> Self {
        self.first_whole = false;
        self
    }

    /// What a reader asks for who sees no further than consumers do; `None` for the end.
    fn of_reader(self) -> Option<FetchLimits> {
        let isolation = match self.sees {
            Sees::End => return None,
            Sees::HighWatermark => IsolationLevel::ReadUncommitted,
            Sees::LastStable => IsolationLevel::ReadCommitted,
        };
        let bytes = self.max_bytes;
        Some(FetchLimits { bytes, records: u64::MAX, durable_only: false, isolation })
    }
}

/// Whole batches as they lie in the log, one after the other.
///
/// The first may begin below the offset that was asked for: a batch is returned whole. It holds
/// its memory and its file, nothing of the log, and may outlive both.
///
/// ```
/// use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
/// let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
/// log.append(&[Record::new("a"), Record::new("b")])?;
/// let read = log.read_batches(Offset::new(1), RawLimits::to_end(1 << 20))?;
/// assert_eq!((read.first_offset(), read.next_offset()), (Offset::ZERO, Offset::new(2)));
/// assert_eq!(read.bytes()[16], 2); // the format's version
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct RawBatches {
    bytes: Bytes,
    cursor: Option<Cursor>,
    first_offset: Offset,
    next_offset: Offset,
    offsets: OffsetSnapshot,
    aborted: Vec<AbortedTransaction>,
    sees: Sees,
    _pin: Pin,
}

impl RawBatches {
    fn of(
        fetched: Fetched,
        limits: RawLimits,
        from: Offset,
        offsets: OffsetSnapshot,
        pinned: &Arc<PinCounter>,
    ) -> Self {
        let chunk = fetched.chunk.as_ref();
        let fits = |bytes: &Bytes| limits.first_whole || bytes.len() <= limits.max_bytes;
        match chunk.filter(|chunk| fits(&chunk.bytes)) {
            Some(chunk) => RawBatches {
                _pin: Pin::new(pinned, chunk.bytes.len()),
                bytes: chunk.bytes.clone(),
                first_offset: chunk.first_offset,
                next_offset: fetched.next_offset,
                cursor: fetched.cursor,
                offsets,
                aborted: Vec::new(),
                sees: limits.sees,
            },
            None => RawBatches {
                _pin: Pin::new(pinned, 0),
                bytes: Bytes::new(),
                first_offset: from,
                next_offset: if chunk.is_some() { from } else { fetched.next_offset },
                cursor: None,
                offsets,
                aborted: Vec::new(),
                sees: limits.sees,
            },
        }
    }

    /// The same with the transactions that a reader at `read_committed` leaves out of it.
    fn but_for(mut self, aborted: impl FnOnce(&Range<Offset>) -> Vec<AbortedTransaction>) -> Self {
        if self.sees == Sees::LastStable && !self.is_empty() {
            self.aborted = aborted(&(self.first_offset..self.next_offset));
        }
        self
    }

    /// The aborted transactions whose records lie among the batches, where they were read up to the
    /// last stable offset: a consumer leaves those records out. Empty for any other read.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_last_stable(1 << 20))?;
    /// assert!(read.aborted().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn aborted(&self) -> &[AbortedTransaction] {
        &self.aborted
    }

    /// The bytes of the batches, as Kafka's protocol sends them.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert!(read.bytes().len() > 61);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is none.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// assert!(log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The same bytes as a range of the segment's file, which stays open and unchanged for as long
    /// as the range lives, whatever becomes of the segment: for `sendfile`. `None` where there are
    /// no batches, and on a disk without files of the system's. Opens the file where it is not
    /// open.
    ///
    /// # Errors
    /// Those of the operating system; that the file is gone among them, which an offset below the
    /// start explains: ask for the range while the read is fresh.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let log = Log::open(dir.path())?;
    /// log.append(&[Record::new("a")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert_eq!(read.file_range()?.unwrap().len(), read.bytes().len() as u64);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn file_range(&self) -> Result<Option<FileRange>> {
        let Some(cursor) = self.cursor.as_ref().filter(|_| !self.is_empty()) else {
            return Ok(None);
        };
        let path = cursor.segment.path();
        let file = cursor.segment.log()?.system_file();
        let file = file.map_err(|error| Error::io("open file range", &path, error))?;
        let len = self.bytes.len() as u64;
        let position = cursor.position.saturating_sub(len);
        Ok(file.map(|file| FileRange::new(file, path, position, len)))
    }

    /// Where the first batch's offsets begin; what was asked for, where there is none.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a"), Record::new("b")])?;
    /// let read = log.read_batches(Offset::new(1), RawLimits::to_end(1 << 20))?;
    /// assert_eq!(read.first_offset(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn first_offset(&self) -> Offset {
        self.first_offset
    }

    /// Where to read on: behind the last batch, or behind a gap.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a"), Record::new("b")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert_eq!(read.next_offset(), Offset::new(2));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Where the log started at the read: a follower that is below it begins anew there.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert_eq!(read.log_start(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn log_start(&self) -> Offset {
        self.offsets.start
    }

    /// Where the high watermark was at the read.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert_eq!(read.high_watermark(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn high_watermark(&self) -> Offset {
        self.offsets.high_watermark()
    }

    /// Where the log ended at the read.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert_eq!(read.log_end(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn log_end(&self) -> Offset {
        self.offsets.end
    }
}

impl PartitionLog {
    /// Reads whole batches from the one that holds `from` on.
    pub(crate) fn read_batches(&self, from: Offset, limits: RawLimits) -> Result<RawBatches> {
        let fetched = match limits.of_reader() {
            Some(limits) => self.fetch(from, None, limits)?,
            None => self.fetch_all(from, None, limits.max_bytes)?,
        };
        let read = RawBatches::of(fetched, limits, from, self.offsets.snapshot(), self.pinned());
        Ok(read.but_for(|range| self.aborted_transactions(range)))
    }
}

impl Log {
    /// Reads whole batches as they lie in the log, from the one that holds `from` on, compressed
    /// or not, control batches included. Empty where there is nothing to read as far as `limits`
    /// sees. Of one segment at a time. Blocks for the disk at most.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) below the start or above the end,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the next batch is damaged.
    ///
    /// ```
    /// use tidelog::{Log, Offset, RawLimits, Record, disk::MemoryDisk};
    /// let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert_eq!(&read.bytes()[..8], &0u64.to_be_bytes()); // the base offset
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read_batches(&self, from: Offset, limits: RawLimits) -> Result<RawBatches> {
        self.check_open("read batches")?;
        self.log.read_batches(from, limits)
    }
}
