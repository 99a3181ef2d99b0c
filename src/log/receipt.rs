//! What a lone log hands back for a batch it took: where it went, and under which epoch.
//!
//! A receipt is numbers only and holds nothing of the log; its offsets are the batch's for good,
//! unless the durability word it was appended with allowed a power cut to take it.

use super::append::Appended;
use crate::ids::{LeaderEpoch, Offset, Sequence};
use crate::time::Timestamp;

/// Where a batch of records went.
///
/// ```
/// use std::sync::Arc;
/// use tidelog::{Log, Offset, Record, disk::MemoryDisk};
/// let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
/// let receipt = log.append(&[Record::new("a"), Record::new("b")])?;
/// assert_eq!(receipt.first_offset(), Offset::ZERO);
/// assert_eq!(receipt.next_offset(), Offset::new(2));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogReceipt {
    first_offset: Offset,
    next_offset: Offset,
    epoch: LeaderEpoch,
    timestamp: Option<Timestamp>,
    sequence: Option<Sequence>,
    is_duplicate: bool,
}

impl LogReceipt {
    pub(crate) fn of(appended: &Appended, timestamp: Option<Timestamp>) -> Self {
        LogReceipt {
            first_offset: appended.base_offset,
            next_offset: appended.end_offset,
            epoch: appended.epoch,
            timestamp: appended.timestamp(timestamp),
            sequence: appended.sequence,
            is_duplicate: appended.is_duplicate,
        }
    }

    /// The offset of the first record.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.append(&[Record::new("a")])?.first_offset(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn first_offset(&self) -> Offset {
        self.first_offset
    }

    /// The offset after the last record.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.append(&[Record::new("a")])?.next_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The epoch the records were written under: every open has its own, unless the host leads the
    /// log.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{LeaderEpoch, Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.append(&[Record::new("a")])?.epoch(), LeaderEpoch::new(0));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The latest timestamp among the records, `None` where they have none.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, Timestamp, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let at = Timestamp::from_millis(5);
    /// assert_eq!(log.append(&[Record::new("a").timestamp(at)])?.timestamp(), Some(at));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// The sequence of the first record, where they are a producer's that numbers them.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.append(&[Record::new("a")])?.sequence(), None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn sequence(&self) -> Option<Sequence> {
        self.sequence
    }

    /// Whether the batch had been appended before: then nothing was written, and the offsets are
    /// those it got the first time.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert!(!log.append(&[Record::new("a")])?.is_duplicate());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_duplicate(&self) -> bool {
        self.is_duplicate
    }
}
