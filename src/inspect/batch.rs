//! One batch as it lies in a file, and its records, with every field Kafka's format has.
//!
//! What is shown is what the bytes say: a batch whose checksum fits, at its place. Records are read
//! in place, first to last, each checked before it is shown; the first that is wrong ends them with
//! an error that names its place. Records of control batches are shown too.
//!
//! Made by `partition`, which walks the files.

use std::cell::OnceCell;
use std::fmt;
use std::path::Path;

use crate::config::TimestampType;
use crate::error::Result;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::record::{
    Batch, BatchFault, BatchHeader, ControlRecord, Headers, PlainLimit, RecordIter,
};
use crate::time::Timestamp;

pub(super) const OPERATION: &str = "dump";

/// What a control batch says.
///
/// ```
/// assert_eq!(tidelog::DumpedControl::Commit { coordinator_epoch: 0 }.to_string(), "COMMIT");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpedControl {
    /// A producer's transaction ends and does not count.
    Abort {
        /// The epoch of the coordinator that wrote the marker.
        coordinator_epoch: i32,
    },
    /// A producer's transaction ends and counts.
    Commit {
        /// The epoch of the coordinator that wrote the marker.
        coordinator_epoch: i32,
    },
    /// Another kind, by Kafka's number; in ordinary topics there is none.
    Other(i16),
    /// Compaction has taken its record away.
    Emptied,
}

impl fmt::Display for DumpedControl {
    /// Kafka's names of the kinds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DumpedControl::Abort { .. } => "ABORT",
            DumpedControl::Commit { .. } => "COMMIT",
            DumpedControl::Other(2) => "LEADER_CHANGE",
            DumpedControl::Other(3) => "SNAPSHOT_HEADER",
            DumpedControl::Other(4) => "SNAPSHOT_FOOTER",
            DumpedControl::Other(5) => "KRAFT_VERSION",
            DumpedControl::Other(6) => "KRAFT_VOTERS",
            DumpedControl::Other(_) => "UNKNOWN",
            DumpedControl::Emptied => "EMPTIED",
        })
    }
}

/// A record batch whose checksum fits, where it lies. `None` stands where the file says -1.
///
/// ```
/// use std::ops::ControlFlow;
/// # let dir = tempfile::tempdir().unwrap();
/// # let log = tidelog::Log::open(dir.path())?;
/// # log.append(&[tidelog::Record::new("a"), tidelog::Record::new("b")])?;
/// # log.close()?;
/// let dump = tidelog::Dump::open(dir.path())?;
/// dump.partitions()[0].read(|batch| {
///     assert_eq!((batch.position, batch.count), (0, 2));
///     assert_eq!(batch.codec().to_string(), "none");
///     ControlFlow::Continue(())
/// })?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct DumpedBatch<'a> {
    /// Base offset of the segment it lies in.
    pub segment: Offset,
    /// Where in the `.log` file it begins.
    pub position: u64,
    /// Its bytes, the header included.
    pub size: u64,
    /// The offset it begins at, be its first record still there or not.
    pub base_offset: Offset,
    /// The last offset it stands for (inclusive).
    pub last_offset: Offset,
    /// The epoch of the leader that appended it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Its checksum, CRC-32C.
    pub crc: u32,
    /// The attributes as they are written.
    pub attributes: i16,
    /// Who gave its records their timestamps.
    pub timestamp_type: TimestampType,
    /// Whether it belongs to a transaction.
    pub is_transactional: bool,
    /// What it says, where it is a control batch.
    pub control: Option<DumpedControl>,
    /// From when on its tombstones, or itself as a marker, may go.
    pub delete_horizon: Option<Timestamp>,
    /// The field that records' timestamps are relative to, as it is written.
    pub base_timestamp: i64,
    /// The largest timestamp of its records.
    pub max_timestamp: Option<Timestamp>,
    /// Who produced it.
    pub producer_id: Option<ProducerId>,
    /// That producer's epoch.
    pub producer_epoch: Option<ProducerEpoch>,
    /// The sequence of its first record.
    pub base_sequence: Option<i32>,
    /// The sequence of its last record; after 2^31-1 comes 0.
    pub last_sequence: Option<i32>,
    /// How many records it holds.
    pub count: u32,
    batch: Batch<'a>,
    /// Its records decompressed, once they were asked for.
    plain: OnceCell<Vec<u8>>,
    path: &'a Path,
    limit: PlainLimit,
}

impl<'a> DumpedBatch<'a> {
    pub(super) fn new(
        segment: Offset,
        position: u64,
        (batch, limit): (Batch<'a>, PlainLimit),
        path: &'a Path,
    ) -> Result<Self, BatchFault> {
        let header = *batch.header();
        let control = match batch.control()? {
            Some(ControlRecord::Abort { coordinator_epoch }) => {
                Some(DumpedControl::Abort { coordinator_epoch })
            }
            Some(ControlRecord::Commit { coordinator_epoch }) => {
                Some(DumpedControl::Commit { coordinator_epoch })
            }
            Some(ControlRecord::Other(kind)) => Some(DumpedControl::Other(kind)),
            None => header.is_control().then_some(DumpedControl::Emptied),
        };
        Ok(DumpedBatch {
            segment,
            position,
            size: header.size() as u64,
            base_offset: header.base_offset(),
            last_offset: header.last_offset(),
            leader_epoch: header.leader_epoch(),
            crc: header.crc(),
            attributes: header.attributes(),
            timestamp_type: header.timestamp_type(),
            is_transactional: header.is_transactional(),
            control,
            delete_horizon: header.delete_horizon(),
            base_timestamp: header.raw_base_timestamp(),
            max_timestamp: header.max_timestamp(),
            producer_id: header.producer_id(),
            producer_epoch: header.producer_epoch(),
            base_sequence: header.base_sequence(),
            last_sequence: sequence(&header, header.last_offset()),
            count: header.count(),
            batch,
            plain: OnceCell::new(),
            path,
            limit,
        })
    }

    /// How its records are compressed, by Kafka's name: none, gzip, snappy, lz4 or zstd.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// tidelog::Dump::open(dir.path())?.partitions()[0].read(|batch| {
    ///     println!("{}", batch.codec());
    ///     std::ops::ControlFlow::Continue(())
    /// })?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn codec(&self) -> impl fmt::Display + use<> {
        self.batch.header().codec()
    }

    /// Its records in order, those of a control batch too.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where they are compressed with a codec that
    /// this build does not have; [`Corrupt`](crate::ErrorKind::Corrupt) where they do not
    /// decompress; an error where they take more decompressed than
    /// [`Dump::max_decompressed_bytes`](crate::Dump::max_decompressed_bytes) says.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// tidelog::Dump::open(dir.path())?.partitions()[0].read(|batch| {
    ///     for record in batch.records().into_iter().flatten().flatten() {
    ///         assert_eq!(record.value, Some(&b"a"[..]));
    ///     }
    ///     std::ops::ControlFlow::Continue(())
    /// })?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn records(&self) -> Result<DumpedRecords<'_>> {
        let (header, position) = (*self.batch.header(), self.position);
        let records = self.unpacked().and_then(|batch| batch.all_records()).map_err(|fault| {
            fault.into_error(OPERATION, self.path, position, Some(self.base_offset))
        })?;
        Ok(DumpedRecords { header, position, path: self.path, next: self.base_offset, records })
    }

    fn unpacked(&self) -> Result<Batch<'_>, BatchFault> {
        if !self.batch.is_packed() {
            return Ok(self.batch);
        }
        if let Some(plain) = self.plain.get() {
            return Ok(self.batch.with_plain(plain));
        }
        let mut room = Vec::new();
        self.batch.unpacked(&mut room, self.limit)?;
        Ok(self.batch.with_plain(self.plain.get_or_init(|| room)))
    }
}

/// The sequence of the record at `offset`: Kafka's numbers go on with 0 after the largest.
fn sequence(header: &BatchHeader, offset: Offset) -> Option<i32> {
    let sum = i64::from(header.base_sequence()?) + offset.get() - header.base_offset().get();
    i32::try_from(sum & i64::from(i32::MAX)).ok()
}

/// The records of a [`DumpedBatch`], first to last; the first that is wrong ends them.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
/// tidelog::Dump::open(dir.path())?.partitions()[0].read(|batch| {
///     let records: tidelog::DumpedRecords<'_> = batch.records().expect("it is not compressed");
///     assert_eq!(records.count(), 1);
///     std::ops::ControlFlow::Continue(())
/// })?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DumpedRecords<'a> {
    header: BatchHeader,
    position: u64,
    path: &'a Path,
    next: Offset,
    records: RecordIter<'a>,
}

impl<'a> Iterator for DumpedRecords<'a> {
    type Item = Result<DumpedRecord<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        let checked = record.and_then(|record| record.check_headers().map(|()| record));
        Some(match checked {
            Ok(record) => {
                self.next = record.offset().next();
                Ok(DumpedRecord {
                    offset: record.offset(),
                    timestamp: record.timestamp(),
                    sequence: sequence(&self.header, record.offset()),
                    key: record.key(),
                    value: record.value(),
                    headers: record.headers(),
                })
            }
            Err(fault) => {
                Err(fault.into_error(OPERATION, self.path, self.position, Some(self.next)))
            }
        })
    }
}

/// A record as it lies in a batch.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a").key("k")])?;
/// tidelog::Dump::open(dir.path())?.partitions()[0].read(|batch| {
///     for record in batch.records().into_iter().flatten().flatten() {
///         assert_eq!((record.offset.get(), record.key), (0, Some(&b"k"[..])));
///     }
///     std::ops::ControlFlow::Continue(())
/// })?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DumpedRecord<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp; that of its batch where the log's time counts.
    pub timestamp: Option<Timestamp>,
    /// Its number among its producer's.
    pub sequence: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: Headers<'a>,
}
