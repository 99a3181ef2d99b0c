//! Writing a batch: measured and checked once, then stored where it goes to stay.
//!
//! [`BorrowedBatch`] takes borrowed records: `measure` finds everything that can be wrong with
//! them before any lock is taken, and the size, so that under the writer lock there is nothing but
//! stores into the tail and one checksum over bytes that are still in the cache.

use std::cell::Cell;
use std::time::Duration;

use super::fields::{body_len, lent, put_in_pieces, put_record, signed};
use super::filter::TagBits;
use super::header::{APPEND_TIME, BatchHeader, LENGTH_EXCLUDES, MAGIC, TRANSACTIONAL, at};
use super::marker::Marker;
use super::pieces::Pieces;
use super::produced::{ProducerClaim, ProducerStamp};
use super::single::{Record, WantedTimestamp};
use super::varint;
use crate::config::Packing;
use crate::error::{Cause, Error, RecordError, RecordRefusal, Refused, Result};
use crate::ids::{LeaderEpoch, Offset, Sequence};
use crate::sync::atomic::{Ordering, fence};
use crate::time::{Timestamp, millis};

/// What is known of a batch only when it is appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) base_offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Whose batch it is, where it is a producer's with an id.
    pub(crate) producer: Option<ProducerStamp>,
}

/// A batch that can be appended: what the log has to know of it, and how it writes itself.
pub(crate) trait AppendBatch {
    /// Bytes of the whole batch.
    fn size(&self) -> usize;
    /// Records, at least one.
    fn count(&self) -> u32;
    fn max_timestamp(&self) -> Option<Timestamp>;
    /// Who sends it, where that is to be written down.
    fn claim(&self) -> Option<ProducerClaim> {
        None
    }
    /// What it says where it ends the transaction of who sends it.
    fn marker(&self) -> Option<Marker> {
        None
    }
    /// The bits of its records' tags, where that is not to be read from the batch: it is
    /// compressed, and its topic keeps them.
    fn tags(&self) -> Option<TagBits> {
        None
    }
    /// Writes the whole batch into `out`, which is `size` bytes long. `sum` goes on with checksums.
    fn write(&self, stamp: Stamp, out: &mut [u8], sum: impl Sum);

    /// The same, put together in memory that is used again.
    fn whole(&self, stamp: Stamp, memory: Vec<u8>, sum: impl Sum) -> Pieces<'_> {
        let mut built = memory;
        built.resize(self.size(), 0);
        self.write(stamp, &mut built, sum);
        Pieces::whole(built)
    }

    /// The same with what is large left where it lies.
    fn pieces(&self, stamp: Stamp, memory: Vec<u8>, sum: impl Sum) -> Pieces<'_> {
        self.whole(stamp, memory, sum)
    }
}

/// How a CRC-32C goes on over more bytes: `crc32c::crc32c_append`, or what is quicker than it.
pub(crate) trait Sum: Fn(u32, &[u8]) -> u32 {}

impl<F: Fn(u32, &[u8]) -> u32> Sum for F {}

/// What a topic asks of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRules {
    pub(crate) timestamps: TimestampRule,
    /// The largest batch in bytes, header included.
    pub(crate) max_bytes: usize,
    /// Whether every record must have a key: the topic is compacted.
    pub(crate) keyed: bool,
    /// How it is compressed, which `max_bytes` comes after.
    pub(crate) packing: Packing,
    /// Whether the topic keeps the tags of batches.
    pub(crate) tagged: bool,
}

impl BatchRules {
    /// What the fields of a record leave to be said of it: the timestamp it gets, or why the topic
    /// refuses it.
    #[inline(always)] // see `producer::walk`
    pub(super) fn admit(&self, record: &Record<'_>) -> Result<i64, RecordRefusal> {
        if self.keyed && record.key.is_none() {
            return Err(RecordRefusal::NoKey);
        }
        self.timestamps.resolve(record.timestamp)
    }

    /// The same of a record that was read from a batch.
    pub(super) fn admit_read(
        &self,
        key: Option<&[u8]>,
        timestamp: Option<Timestamp>,
    ) -> Result<i64, RecordRefusal> {
        if self.keyed && key.is_none() {
            return Err(RecordRefusal::NoKey);
        }
        self.timestamps.resolve(timestamp.map_or(WantedTimestamp::None, WantedTimestamp::At))
    }
}

/// Who sets timestamps, and how far they may lie from the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimestampRule {
    Create { now: Timestamp, before_max: Reach, after_max: Reach },
    Append { now: Timestamp },
}

/// How far from the clock a timestamp may lie: milliseconds, as they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach(i64);

impl Reach {
    pub(crate) const ANY: Reach = Reach(i64::MAX);

    pub(crate) fn of(most: Option<Duration>) -> Self {
        most.map_or(Reach::ANY, |most| Reach(millis(most)))
    }

    #[inline]
    pub(crate) const fn from_millis(millis: i64) -> Self {
        Reach(millis)
    }

    pub(crate) const fn as_millis(self) -> i64 {
        self.0
    }

    fn duration(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }
}

impl TimestampRule {
    /// The same at another time.
    #[inline]
    pub(crate) fn at(self, now: Timestamp) -> Self {
        match self {
            TimestampRule::Create { before_max, after_max, .. } => {
                TimestampRule::Create { now, before_max, after_max }
            }
            TimestampRule::Append { .. } => TimestampRule::Append { now },
        }
    }

    /// The timestamp field of a record, in milliseconds, or why it is refused.
    #[inline]
    pub(super) fn resolve(&self, wanted: WantedTimestamp) -> Result<i64, RecordRefusal> {
        match (*self, wanted) {
            (TimestampRule::Append { now }, _)
            | (TimestampRule::Create { now, .. }, WantedTimestamp::Now) => Ok(present(now)),
            (TimestampRule::Create { .. }, WantedTimestamp::None) => Ok(-1),
            (TimestampRule::Create { now, before_max, after_max }, WantedTimestamp::At(at)) => {
                check_timestamp(at, now, before_max, after_max)
            }
        }
    }

    #[inline]
    pub(super) fn attributes(&self) -> i16 {
        match self {
            TimestampRule::Create { .. } => 0,
            TimestampRule::Append { .. } => APPEND_TIME,
        }
    }
}

/// The field for the clock's time: the format writes none for a clock that stands before 1970.
#[inline]
pub(super) fn present(now: Timestamp) -> i64 {
    now.as_millis().max(-1)
}

/// What a record's timestamp field is counted from the batch's; readers wrap as this does.
#[inline]
pub(super) fn delta(timestamp: i64, base: i64) -> i64 {
    timestamp.wrapping_sub(base)
}

/// Not made part of its callers: most records leave their timestamp to the clock.
#[inline(never)]
fn check_timestamp(
    at: Timestamp,
    now: Timestamp,
    before_max: Reach,
    after_max: Reach,
) -> Result<i64, RecordRefusal> {
    let timestamp = at.as_millis();
    if timestamp < 0 {
        return Err(RecordRefusal::NegativeTimestamp { timestamp });
    }
    let distance = timestamp.saturating_sub(now.as_millis()); // at least `-i64::MAX`
    let apart = Duration::from_millis(distance.unsigned_abs());
    if distance > after_max.0 {
        return Err(RecordRefusal::TimestampTooNew { ahead: apart, most: after_max.duration() });
    }
    if distance < -before_max.0 {
        return Err(RecordRefusal::TimestampTooOld { behind: apart, most: before_max.duration() });
    }
    Ok(timestamp)
}

/// What a header of nobody's says that a checksum covers: attributes, count, timestamps.
type Said = (i16, u32, i64, i64);

thread_local! {
    /// What the last header of this thread said, and the checksum of that. No batch has no records.
    static LAST_SUM: Cell<(Said, u32)> = const { Cell::new(((0, 0, 0, 0), 0)) };
}

/// What the header of a batch says, apart from its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderFields {
    pub(super) size: usize,
    pub(super) count: u32,
    pub(super) attributes: i16,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
}

impl HeaderFields {
    /// Writes the header and, over the records that stand behind it, the checksum; the length
    /// last of all.
    #[inline(always)] // see `producer::walk`
    pub(super) fn write(&self, stamp: Stamp, out: &mut [u8], sum: impl Sum) {
        let (out, records) = out.split_at_mut(at::RECORDS);
        let out: &mut [u8; at::RECORDS] = out.try_into().expect("so long it was cut");
        let begun = self.begin(stamp, out);
        let crc = sum(begun, &records[..self.size - at::RECORDS]);
        put(out, at::CRC, crc.to_be_bytes());
        put_length(out, self.size);
    }

    /// The same in front of records in pieces.
    pub(super) fn write_in_pieces(&self, stamp: Stamp, pieces: &mut Pieces<'_>, sum: impl Sum) {
        let head = pieces.built_mut().first_chunk_mut().expect("room for a header is built first");
        let begun = self.begin(stamp, head);
        let crc = pieces.sum_from(at::RECORDS, begun, sum);
        put(pieces.built_mut(), at::CRC, crc.to_be_bytes());
        put_length(pieces.built_mut(), self.size);
    }

    /// All but the checksum and the length; returns the checksum so far.
    #[inline(always)] // see `producer::walk`
    fn begin(&self, stamp: Stamp, out: &mut [u8; at::RECORDS]) -> u32 {
        let count = i32::try_from(self.count).unwrap_or(i32::MAX);
        put(out, at::BASE_OFFSET, stamp.base_offset.get().to_be_bytes());
        put(out, at::LEADER_EPOCH, stamp.leader_epoch.get().to_be_bytes());
        put(out, at::MAGIC, MAGIC.to_be_bytes());
        let transactional = stamp.producer.is_some_and(|stamp| stamp.transactional);
        let attributes = self.attributes | if transactional { TRANSACTIONAL } else { 0 };
        put(out, at::ATTRIBUTES, attributes.to_be_bytes());
        put(out, at::LAST_OFFSET_DELTA, (count - 1).to_be_bytes());
        put(out, at::BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(out, at::MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        // no producer id, no producer epoch, no sequence: all bits set
        put(out, at::PRODUCER_ID, [0xff; at::COUNT - at::PRODUCER_ID]);
        if let Some(ProducerStamp { identity, first, .. }) = stamp.producer {
            put(out, at::PRODUCER_ID, identity.id().get().to_be_bytes());
            put(out, at::PRODUCER_EPOCH, identity.epoch().get().to_be_bytes());
            put(out, at::BASE_SEQUENCE, Sequence::to_wire(first).to_be_bytes());
        }
        put(out, at::COUNT, count.to_be_bytes());
        self.header_sum(stamp, out)
    }

    /// The checksum so far, of what it covers of a header that is written. Most headers say what
    /// the one before said: batches of one record, sent within one millisecond.
    #[inline]
    fn header_sum(&self, stamp: Stamp, header: &[u8; at::RECORDS]) -> u32 {
        let of_out = || crc32c::crc32c(&header[at::ATTRIBUTES..]);
        if stamp.producer.is_some() {
            return of_out();
        }
        let says = (self.attributes, self.count, self.base_timestamp, self.max_timestamp);
        let (last, sum) = LAST_SUM.get();
        if last == says {
            return sum;
        }
        let sum = of_out();
        LAST_SUM.set((says, sum));
        sum
    }
}

/// Stores the length of a batch whose every other byte is in place. `out` may be memory that
/// readers in other processes look into: bytes that no checksum covers (offset, epoch) must not
/// be missing once there is a length. Such a reader looks at the length first.
#[inline]
pub(super) fn put_length(out: &mut [u8], size: usize) {
    let length = i32::try_from(size - LENGTH_EXCLUDES).unwrap_or(i32::MAX);
    fence(Ordering::Release);
    put(out, at::LENGTH, length.to_be_bytes());
}

/// Stores a field.
#[inline]
pub(super) fn put<const N: usize>(out: &mut [u8], at: usize, field: [u8; N]) {
    out[at..at + N].copy_from_slice(&field);
}

/// The largest batch the rules and the format allow.
#[inline]
pub(super) fn limit(rules: &BatchRules) -> usize {
    rules.max_bytes.min(i32::MAX as usize)
}

/// The largest batch that may yet be made to fit.
#[inline]
pub(super) fn plain_limit(rules: &BatchRules) -> usize {
    if rules.packing.is_plain() { limit(rules) } else { i32::MAX as usize }
}

#[cold]
fn no_record() -> Error {
    let why = "a batch has at least one record".to_owned();
    Error::new("append", Cause::InvalidArgument(why))
}

/// The error of a batch that is larger than its topic allows.
#[cold]
pub(super) fn too_large(size: usize, limit: usize) -> Error {
    let (size, limit) = (size as u64, limit as u64);
    Error::new("append", Cause::TooLarge { what: "the batch", size, limit })
}

/// The error of a batch that this record makes larger than its topic allows.
#[cold]
pub(super) fn record_too_large(index: usize, size: usize, limit: usize) -> Error {
    let (size, limit) = (size as u64, limit as u64);
    let refused = Refused::one(index, RecordRefusal::TooLarge { size, limit });
    Error::new("append", Cause::BatchTooLarge(refused))
}

/// The error of a batch of which the topic does not admit at least one record: all of those.
#[cold]
fn refused(records: &[Record<'_>], rules: BatchRules) -> Error {
    let refusals = records.iter().map(|record| rules.admit(record).err());
    let errors = (0..).zip(refusals);
    let errors = errors.filter_map(|(index, reason)| Some(RecordError::new(index, reason?)));
    let cause = match Refused::all(errors.collect()) {
        Some(refused) => Cause::InvalidRecord(refused),
        None => Cause::InvalidArgument("a record is refused".to_owned()),
    };
    Error::new("append", cause)
}

/// Borrowed records, checked and measured as one batch.
#[derive(Debug)]
pub(crate) struct BorrowedBatch<'a> {
    records: &'a [Record<'a>],
    timestamps: TimestampRule,
    /// Of the first record, which most batches have alone: what it was measured to be.
    first_body: usize,
    pub(super) fields: HeaderFields,
}

impl<'a> BorrowedBatch<'a> {
    /// Checks records against a topic's rules and measures the batch they make.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn measure(records: &'a [Record<'a>], rules: &BatchRules) -> Result<Self> {
        let Some((first, rest)) = records.split_first() else { return Err(no_record()) };
        let count = i32::try_from(records.len())
            .map_err(|_| too_large(records.len(), i32::MAX as usize))?
            .cast_unsigned();
        let limit = plain_limit(rules);
        let base = rules.admit(first).map_err(|_| refused(records, *rules))?;
        let first_body = body_len(first, 0, 0);
        let mut size =
            BatchHeader::LEN.saturating_add(first_body + varint::len(signed(first_body)));
        if size > limit {
            return Err(record_too_large(0, size, limit));
        }
        let mut max_timestamp = base;
        for (index, record) in (1..).zip(rest) {
            let timestamp = rules.admit(record).map_err(|_| refused(records, *rules))?;
            max_timestamp = max_timestamp.max(timestamp);
            let body = body_len(record, delta(timestamp, base), index);
            size = size.saturating_add(body + varint::len(signed(body)));
            if size > limit {
                return Err(record_too_large(index as usize, size, limit));
            }
        }
        let fields = HeaderFields {
            size,
            count,
            attributes: rules.timestamps.attributes(),
            base_timestamp: base,
            max_timestamp,
        };
        Ok(BorrowedBatch { records, timestamps: rules.timestamps, first_body, fields })
    }
}

impl AppendBatch for BorrowedBatch<'_> {
    #[inline]
    fn size(&self) -> usize {
        self.fields.size
    }

    #[inline]
    fn count(&self) -> u32 {
        self.fields.count
    }

    #[inline]
    fn max_timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_wire(self.fields.max_timestamp)
    }

    #[inline(always)] // see `producer::walk`
    fn write(&self, stamp: Stamp, out: &mut [u8], sum: impl Sum) {
        let base = self.fields.base_timestamp;
        let mut left = &mut out[BatchHeader::LEN..];
        let (first, rest) = self.records.split_at(1); // measured: there is one
        left = put_record(left, &first[0], self.first_body, 0, 0);
        for (index, record) in (1..).zip(rest) {
            // measured before: it resolves again to what it did then
            let timestamp = self.timestamps.resolve(record.timestamp).unwrap_or(base);
            let body = body_len(record, delta(timestamp, base), index);
            left = put_record(left, record, body, delta(timestamp, base), index);
        }
        debug_assert!(left.is_empty(), "a batch is as long as it was measured");
        self.fields.write(stamp, out, sum);
    }

    fn pieces(&self, stamp: Stamp, memory: Vec<u8>, sum: impl Sum) -> Pieces<'_> {
        let large: usize = self.records.iter().filter_map(lent).map(<[u8]>::len).sum();
        if large == 0 {
            return self.whole(stamp, memory, sum);
        }
        let base = self.fields.base_timestamp;
        let mut pieces = Pieces::begin(memory, self.fields.size - large);
        for (index, record) in (0..).zip(self.records) {
            let timestamp = self.timestamps.resolve(record.timestamp).unwrap_or(base);
            put_in_pieces(&mut pieces, record, delta(timestamp, base), index);
        }
        self.fields.write_in_pieces(stamp, &mut pieces, sum);
        pieces
    }
}
