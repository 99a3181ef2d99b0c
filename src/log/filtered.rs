//! The lone log's door for who wants some records only: a filtered read with a definite cost.
//!
//! It looks through a stretch of the log and says how far it came, whatever it found: so a reader
//! that matches nothing advances all the same. What the log keeps of tags spares it what has none
//! of those wanted (`stretch`).

use super::door::Log;
use super::fetch::{Cursor, FetchLimits};
use super::stretch::{Ahead, Skipped};
use crate::error::Result;
use crate::ids::Offset;
use crate::record::{RecordFilter, Records};
use crate::segment::TagReader;

/// Bytes that are passed over cost as much as one that is looked at.
const PASSED_OVER: u64 = 64;

/// What a filtered read found, and how far it came; see [`Log::read_filtered`].
///
/// ```
/// # use std::sync::Arc;
/// use tidelog::{Log, Offset, Record, RecordFilter, disk::MemoryDisk};
/// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
/// log.append(&[Record::new("a").tag("paid"), Record::new("b")])?;
/// let read = log.read_filtered(Offset::ZERO, 1 << 20, &RecordFilter::tags(["paid"]))?;
/// assert_eq!((read.matched(), read.scanned(), read.next_offset().get()), (1, 2, 2));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct FilteredRead {
    records: Records,
    scanned: u64,
    passed_over_bytes: u64,
    next_offset: Offset,
}

impl FilteredRead {
    /// The records that the filter wants, of those that were looked at.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, RecordFilter, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a").tag("paid"), Record::new("b")])?;
    /// let read = log.read_filtered(Offset::ZERO, 1 << 20, &RecordFilter::tags(["paid"]))?;
    /// assert_eq!(read.records().len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// How many records the filter was asked about.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, RecordFilter, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a").tag("paid"), Record::new("b")])?;
    /// let read = log.read_filtered(Offset::ZERO, 1 << 20, &RecordFilter::tags(["paid"]))?;
    /// assert_eq!(read.scanned(), 2);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    /// How many of them it wanted: the number of [`records`](FilteredRead::records).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, RecordFilter, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a").tag("paid"), Record::new("b")])?;
    /// let read = log.read_filtered(Offset::ZERO, 1 << 20, &RecordFilter::tags(["sent"]))?;
    /// assert_eq!(read.matched(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn matched(&self) -> u64 {
        self.records.len() as u64
    }

    /// Bytes of log that were passed over without being read, because none of the tags that are
    /// wanted is among them; see [`TopicConfig::tag_index`](crate::TopicConfig::tag_index).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, RecordFilter, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a").tag("paid"), Record::new("b")])?;
    /// let read = log.read_filtered(Offset::ZERO, 1 << 20, &RecordFilter::tags(["sent"]))?;
    /// assert_eq!(read.passed_over_bytes(), 0); // the log keeps no tags
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn passed_over_bytes(&self) -> u64 {
        self.passed_over_bytes
    }

    /// Where the next read goes on: behind all that was looked at or passed over.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, RecordFilter, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a").tag("paid"), Record::new("b")])?;
    /// let read = log.read_filtered(Offset::ZERO, 1 << 20, &RecordFilter::tags(["sent"]))?;
    /// assert_eq!(read.next_offset(), log.end_offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }
}

impl Log {
    /// Looks through records from `from` on, whole batches up to about `max_bytes` of the log, but
    /// at least one where there is any, and returns those that `filter` wants. What is passed over
    /// by tags counts for a 64th. It always advances: at the end of the log, or where only records
    /// follow whose transaction is open, `next_offset` is `from`. Blocks for the disk at most.
    ///
    /// # Errors
    /// Those of [`Log::read`], where there is nothing to look at before them. Damage in what is
    /// passed over by tags is not met.
    ///
    /// ```
    /// use tidelog::{Log, Offset, Record, RecordFilter, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a").tag("paid"), Record::new("b").tag("sent")])?;
    /// let (filter, mut next) = (RecordFilter::tags(["paid"]), log.start_offset());
    /// while next < log.end_offset() {
    ///     let read = log.read_filtered(next, 1 << 20, &filter)?;
    ///     for record in read.records() {
    ///         println!("{}: {:?}", record.offset(), record.value());
    ///     }
    ///     next = read.next_offset();
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read_filtered(
        &self,
        from: Offset,
        max_bytes: usize,
        filter: &RecordFilter,
    ) -> Result<FilteredRead> {
        self.check_open("read")?;
        let mut read = FilteredRead {
            records: Records::default(),
            scanned: 0,
            passed_over_bytes: 0,
            next_offset: from,
        };
        let mut place =
            Reading { left: max_bytes.max(1), cursor: None, tags: TagReader::default() };
        while place.left > 0 {
            let mut limits = FetchLimits {
                bytes: place.left,
                records: u64::MAX,
                durable_only: false,
                isolation: self.isolation,
            };
            if self.pass_over(&mut read, &mut place, &mut limits, filter) {
                continue;
            }
            match self.look_through(&mut read, &mut place, limits, filter) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) if read.next_offset > from => break, // the next read meets it
                Err(error) => return Err(error),
            }
        }
        self.log.note_reads(read.records.len() as u64);
        Ok(read)
    }

    /// Whether what comes next is passed over; if not, it may be worth less than all of it.
    fn pass_over(
        &self,
        read: &mut FilteredRead,
        place: &mut Reading,
        limits: &mut FetchLimits,
        filter: &RecordFilter,
    ) -> bool {
        let Some(wanted) = filter.tag_bits() else { return false };
        let (at, tags) = (read.next_offset, (wanted, &mut place.tags));
        match self.log.look_ahead(at, place.cursor.as_ref(), *limits, tags) {
            Ahead::Unknown => false,
            Ahead::Wanted(bytes) => {
                limits.bytes = limits.bytes.min(bytes);
                false
            }
            Ahead::Skipped(Skipped { bytes, next_offset, cursor }) => {
                place.spend(usize::try_from(bytes / PASSED_OVER).unwrap_or(usize::MAX));
                read.passed_over_bytes += bytes;
                (read.next_offset, place.cursor) = (next_offset, Some(cursor));
                true
            }
        }
    }

    /// Looks through what one fetch brings; `false` where that is nothing.
    fn look_through(
        &self,
        read: &mut FilteredRead,
        place: &mut Reading,
        limits: FetchLimits,
        filter: &RecordFilter,
    ) -> Result<bool> {
        let at = read.next_offset;
        let fetched = self.log.fetch(at, place.cursor.as_ref(), limits)?;
        let Some(batches) = fetched.batches() else {
            (read.next_offset, place.cursor) = (fetched.next_offset, fetched.cursor);
            return Ok(read.next_offset > at);
        };
        let size = batches.bytes.len();
        let mut all = Records::default();
        let taken = all.take_in(&self.log.origin(), batches, at, self.take);
        if taken.next_offset == at
            && let Some((position, fault)) = taken.fault
        {
            return Err(self.log.batch_failed(&fetched, position, fault));
        }
        let chosen = all.choose(filter, usize::MAX);
        read.scanned += chosen.scanned as u64;
        read.records.absorb(chosen.records);
        place.spend(size.max(taken.plain_bytes));
        place.cursor = fetched.cursor.filter(|_| taken.next_offset == fetched.next_offset);
        read.next_offset = taken.next_offset;
        Ok(true)
    }
}

/// Where a filtered read stands, and how much of it is left.
#[derive(Debug)]
struct Reading {
    left: usize,
    cursor: Option<Cursor>,
    tags: TagReader,
}

impl Reading {
    fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes.max(1));
    }
}
