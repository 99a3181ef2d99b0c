//! Offsets by what is wanted of them: the first, the end, the newest record, the first late enough.
//!
//! As Kafka answers `ListOffsets` (`kafka-format.md` 2.6): by time it is the first record *by
//! offset* that is late enough, not the nearest in time; what lies at or above the bound of the
//! isolation level is not there yet. A list of segments is looked at from the oldest on; most are
//! judged by the largest timestamp their time index holds. Called by both doors, for logs of ours
//! and followed.

use super::core::PartitionLog;
use super::offsets::OffsetSnapshot;
use crate::config::IsolationLevel;
use crate::error::Result;
use crate::ids::{LeaderEpoch, Offset};
use crate::record::PlainLimit;
use crate::segment::Segment;
use crate::time::Timestamp;
use std::sync::Arc;

/// Which offset of a partition is wanted; Kafka's `OffsetSpec`.
///
/// ```
/// use tidelog::{OffsetSpec, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// let partition = store.partition("orders", 0)?;
/// assert!(partition.find_offset(OffsetSpec::MaxTimestamp)?.is_none()); // no record yet
/// assert_eq!(partition.find_offset(OffsetSpec::Latest)?.unwrap().offset().get(), 0);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// The first that can be read.
    Earliest,
    /// One past the last that can be read: the last stable offset, but for a reader at
    /// `read_uncommitted`.
    Latest,
    /// That of the record with the largest timestamp, the first of them if several have it.
    MaxTimestamp,
    /// That of the first record, by offset, with this timestamp or a later one.
    AtOrAfter(Timestamp),
}

/// An offset that was looked up.
///
/// ```
/// use tidelog::{Log, Offset, OffsetSpec, Record, Timestamp, disk::MemoryDisk};
/// let log = Log::builder("/wal").disk(std::sync::Arc::new(MemoryDisk::new())).open()?;
/// let at = Timestamp::from_millis;
/// log.append(&[Record::new("a").timestamp(at(20)), Record::new("b").timestamp(at(10))])?;
/// let newest = log.find_offset(OffsetSpec::MaxTimestamp)?.unwrap();
/// assert_eq!((newest.offset(), newest.timestamp()), (Offset::ZERO, Some(at(20))));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    offset: Offset,
    timestamp: Option<Timestamp>,
    epoch: Option<LeaderEpoch>,
}

impl FoundOffset {
    /// The offset.
    ///
    /// ```
    /// # use tidelog::{OffsetSpec, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let found = store.partition("orders", 0)?.find_offset(OffsetSpec::Earliest)?.unwrap();
    /// assert_eq!(found.offset().get(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The timestamp of the record, where it was looked up by time.
    ///
    /// ```
    /// # use tidelog::{OffsetSpec, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let found = store.partition("orders", 0)?.find_offset(OffsetSpec::Earliest)?.unwrap();
    /// assert!(found.timestamp().is_none());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// The leader epoch of the record at the offset; of the last record for
    /// [`Latest`](OffsetSpec::Latest). `None` where no epoch is known.
    ///
    /// ```
    /// # use tidelog::{OffsetSpec, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.create_topic("orders", TopicConfig::new())?;
    /// let found = store.partition("orders", 0)?.find_offset(OffsetSpec::Latest)?.unwrap();
    /// assert!(found.epoch().is_none()); // nothing was appended
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        self.epoch
    }
}

impl OffsetSpec {
    /// The offset and the timestamp that is wanted of a log, which looks up what must be searched.
    /// `epoch_before` is the epoch of the record before an offset.
    pub(crate) fn find(
        self,
        (offsets, isolation): (OffsetSnapshot, IsolationLevel),
        newest: impl FnOnce() -> Result<Option<(Offset, Timestamp)>>,
        late: impl FnOnce(Timestamp) -> Result<Option<(Offset, Timestamp)>>,
        epoch_before: impl FnOnce(Offset) -> Option<LeaderEpoch>,
    ) -> Result<Option<FoundOffset>> {
        let found = match self {
            OffsetSpec::Earliest => Some((offsets.start, None)),
            OffsetSpec::Latest => Some((offsets.bound(isolation), None)),
            OffsetSpec::MaxTimestamp => newest()?.map(|(offset, at)| (offset, Some(at))),
            OffsetSpec::AtOrAfter(wanted) => late(wanted)?.map(|(offset, at)| (offset, Some(at))),
        };
        Ok(found.map(|(offset, timestamp)| {
            let behind = match self {
                OffsetSpec::Latest => Some(offset),
                _ if offset < offsets.end => offset.checked_add(1),
                _ => None, // there is no record at it
            };
            FoundOffset { offset, timestamp, epoch: behind.and_then(epoch_before) }
        }))
    }
}

impl PartitionLog {
    /// The offset that is wanted; `None` where no record is as late, or none has a timestamp.
    pub(crate) fn find_offset(
        &self,
        wanted: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Result<Option<FoundOffset>> {
        wanted.find(
            (self.offsets.snapshot(), isolation),
            || self.find_newest(isolation),
            |timestamp| self.find_timestamp(timestamp, isolation),
            |offset| self.epochs.lock().before(offset),
        )
    }

    /// The first record at or after `wanted`, first by offset; `None` where none is that late.
    pub(crate) fn find_timestamp(
        &self,
        wanted: Timestamp,
        isolation: IsolationLevel,
    ) -> Result<Option<(Offset, Timestamp)>> {
        self.over_segments(|segments, offsets| {
            let reach = (offsets.start, offsets.bound(isolation));
            first_late(segments, reach, (wanted, self.setup.plain), |_| Ok(()))
        })
        .map_err(|error| self.named(error))
    }

    /// The first record of those with the largest timestamp.
    fn find_newest(&self, isolation: IsolationLevel) -> Result<Option<(Offset, Timestamp)>> {
        self.over_segments(|segments, offsets| {
            let bound = offsets.bound(isolation);
            newest(segments, (offsets, bound), self.setup.plain, |_| Ok(()))
        })
        .map_err(|error| self.named(error))
    }
}

/// The first record of some segments that is at or after `wanted`. `open` is called before a
/// segment is looked at.
pub(super) fn first_late(
    segments: &[Arc<Segment>],
    (start, bound): (Offset, Offset),
    (wanted, plain): (Timestamp, PlainLimit),
    open: impl Fn(&Segment) -> Result<()>,
) -> Result<Option<(Offset, Timestamp)>> {
    for segment in segments {
        open(segment)?;
        let largest = segment.largest_timestamp()?;
        if largest.is_none_or(|largest| largest < wanted.as_millis()) {
            continue;
        }
        if let Some(found) = segment.find_timestamp(wanted, (start, bound), plain)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first record of some segments that has the largest timestamp of all in reach.
pub(super) fn newest(
    segments: &[Arc<Segment>],
    (offsets, bound): (OffsetSnapshot, Offset),
    plain: PlainLimit,
    open: impl Fn(&Segment) -> Result<()>,
) -> Result<Option<(Offset, Timestamp)>> {
    let start = offsets.start;
    let mut best: Option<(Offset, Timestamp)> = None;
    let ends = segments.iter().skip(1).map(|next| next.base()).chain([offsets.end]);
    for (segment, end) in segments.iter().zip(ends) {
        open(segment)?;
        let Some(largest) = segment.largest_timestamp()?.map(Timestamp::from_millis) else {
            continue;
        };
        if best.is_some_and(|(_, newest)| newest >= largest) {
            continue;
        }
        let whole = segment.base() >= start && end <= bound;
        let reach = (start, bound);
        let by_index = if whole { segment.find_timestamp(largest, reach, plain)? } else { None };
        let found = match by_index {
            Some(found) => Some(found),
            // out of reach, or of a batch that compaction has emptied
            None => segment.newest_between(reach, plain)?,
        };
        if found.map(|(_, newest)| newest) > best.map(|(_, newest)| newest) {
            best = found;
        }
    }
    Ok(best)
}
