//! A batch that is put together record by record: what lingering producers fill.
//!
//! Records are encoded as they come, so a caller's bytes are copied once and need not live on.
//! Sealing writes the header and the checksum; the offset and the epoch lie outside the checksum
//! and are stamped when the batch is appended. A batch that was not sealed, or grew since, is
//! sealed as it is written, as one of an idempotent producer always is, whose sequence only the
//! log knows: right as well, only later and under the lock.

use super::encode::{
    AppendBatch, BatchRules, BorrowedBatch, HeaderFields, Stamp, Sum, TimestampRule, delta, limit,
    plain_limit, present, put, put_length, record_too_large,
};
use super::fields::{body_len, framed, put_fitting, put_record};
use super::filter::TagBits;
use super::header::{APPEND_TIME, BatchHeader, Codec, at};
use super::pieces::Pieces;
use super::single::Record;
use super::times::Times;
use crate::error::{Cause, Error, Refused, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::time::Timestamp;

/// The stamp of a batch that is yet to be appended.
const NOWHERE: Stamp =
    Stamp { base_offset: Offset::ZERO, leader_epoch: LeaderEpoch::new(-1), producer: None };

/// A batch in the making.
#[derive(Debug)]
pub(crate) struct BatchBuffer {
    /// The batch, as long as its fields say; behind it room for more, made zero once and not again
    /// when the memory is used for another batch.
    bytes: Vec<u8>,
    fields: HeaderFields,
    /// Whether the header in `bytes` is that of the records behind it.
    sealed: bool,
    /// Of its records' tags, where it is compressed and its topic keeps them.
    tags: Option<TagBits>,
    /// Whether records that were added one by one have other timestamps than the first.
    is_mixed: bool,
}

impl BatchBuffer {
    /// An empty batch that has room for about `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity.max(BatchHeader::LEN)];
        BatchBuffer { bytes, fields: EMPTY, sealed: false, tags: None, is_mixed: false }
    }

    /// Adds a record; returns its place in the batch, or `None` where it would make a batch that
    /// is not empty larger than the rules allow.
    pub(crate) fn try_push(
        &mut self,
        record: &Record<'_>,
        rules: &BatchRules,
    ) -> Result<Option<u32>> {
        let index = self.fields.count;
        let refuse = |reason| Error::new("enqueue", Cause::InvalidRecord(Refused::one(0, reason)));
        let timestamp = rules.admit(record).map_err(refuse)?;
        let base = if index == 0 { timestamp } else { self.fields.base_timestamp };
        let body = body_len(record, delta(timestamp, base), index);
        let start = self.fields.size;
        let size = start.saturating_add(framed(body));
        if size > limit(rules) || index == i32::MAX.cast_unsigned() {
            // offset and timestamp may take more bytes here than they would in a batch of its own
            let alone = BatchHeader::LEN.saturating_add(framed(body_len(record, 0, 0)));
            let most = plain_limit(rules);
            if alone > most {
                return Err(record_too_large(0, alone, most));
            }
            if index > 0 {
                return Ok(None);
            }
        }
        if size > self.bytes.len() {
            self.grow(size);
        }
        put_record(&mut self.bytes[start..size], record, body, delta(timestamp, base), index);
        self.fields = HeaderFields {
            size,
            count: index + 1,
            attributes: rules.timestamps.attributes(),
            base_timestamp: base,
            max_timestamp: if index == 0 {
                timestamp
            } else {
                self.fields.max_timestamp.max(timestamp)
            },
        };
        self.is_mixed |= timestamp != base;
        self.sealed = false;
        Ok(Some(index))
    }

    /// Adds a record to others, in a batch of at most `most` bytes; returns its place, or `None`
    /// where [`try_push`](BatchBuffer::try_push) has to say. What that asks of a record, but for
    /// its timestamp, the caller knows.
    #[inline(always)] // see `producer::linger`
    pub(crate) fn try_push_known(
        &mut self,
        record: &Record<'_>,
        timestamps: &TimestampRule,
        most: usize,
    ) -> Option<u32> {
        let HeaderFields { size: start, count: index, base_timestamp: base, .. } = self.fields;
        if index == 0 {
            return None;
        }
        let timestamp = timestamps.resolve(record.timestamp).ok()?;
        let room = self.bytes.get_mut(start..most)?;
        let len = put_fitting(room, record, delta(timestamp, base), index)?;
        self.fields.size = start + len;
        self.fields.count = index + 1;
        self.fields.max_timestamp = self.fields.max_timestamp.max(timestamp);
        self.is_mixed |= timestamp != base;
        self.sealed = false;
        Some(index)
    }

    /// How many bytes there is memory for.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Room for a batch of `size` bytes, and for as much again as there was.
    #[cold]
    fn grow(&mut self, size: usize) {
        self.bytes.resize(size.max(self.bytes.len().saturating_mul(2)), 0);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.count == 0
    }

    /// Bytes so far, the header included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.fields.size
    }

    /// The memory that is there for more.
    #[inline]
    pub(crate) fn room(&self) -> &[u8] {
        &self.bytes[self.fields.size..]
    }

    /// The timestamps its records got, for their receipts.
    pub(crate) fn times(&self) -> Times {
        let HeaderFields { count, attributes, base_timestamp, max_timestamp, .. } = self.fields;
        if attributes & APPEND_TIME != 0 || !self.is_mixed {
            return Times::Same(max_timestamp);
        }
        Times::each(count, base_timestamp, self.records_bytes())
    }

    /// Writes header and checksum; under a topic that stamps its own time, that of now.
    pub(crate) fn seal(&mut self, timestamps: &TimestampRule) {
        if let TimestampRule::Append { now } = timestamps {
            self.fields.attributes = timestamps.attributes();
            self.fields.base_timestamp = present(*now);
            self.fields.max_timestamp = self.fields.base_timestamp;
        }
        self.fields.write(NOWHERE, &mut self.bytes[..self.fields.size], crc32c::crc32c_append);
        self.sealed = true;
    }

    /// Borrowed records, written out.
    pub(super) fn of(batch: &BorrowedBatch<'_>) -> Self {
        let mut bytes = vec![0; batch.size()];
        batch.write(NOWHERE, &mut bytes, crc32c::crc32c_append);
        let fields = batch.fields;
        BatchBuffer { bytes, fields, sealed: true, tags: None, is_mixed: false }
    }

    /// The bits of its records' tags.
    pub(super) fn tag_bits(&self) -> TagBits {
        TagBits::of_plain(self.fields.count, self.records_bytes())
    }

    /// The records as they were written.
    pub(super) fn records_bytes(&self) -> &[u8] {
        &self.bytes[BatchHeader::LEN..self.fields.size]
    }

    /// The same batch, whose records are `bytes` behind the room for a header, in this codec.
    pub(super) fn with_records(
        &self,
        mut bytes: Vec<u8>,
        codec: Codec,
        tags: Option<TagBits>,
    ) -> Self {
        let attributes = self.fields.attributes | codec.bits();
        let fields = HeaderFields { size: bytes.len(), attributes, ..self.fields };
        fields.write(NOWHERE, &mut bytes, crc32c::crc32c_append);
        BatchBuffer { bytes, fields, sealed: true, tags, is_mixed: false }
    }

    /// Empties it; the memory is kept.
    pub(crate) fn clear(&mut self) {
        self.fields = EMPTY;
        (self.sealed, self.tags, self.is_mixed) = (false, None, false);
    }
}

const EMPTY: HeaderFields = HeaderFields {
    size: BatchHeader::LEN,
    count: 0,
    attributes: 0,
    base_timestamp: -1,
    max_timestamp: -1,
};

impl AppendBatch for BatchBuffer {
    fn size(&self) -> usize {
        self.fields.size
    }

    fn count(&self) -> u32 {
        self.fields.count
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_wire(self.fields.max_timestamp)
    }

    fn tags(&self) -> Option<TagBits> {
        self.tags
    }

    fn write(&self, stamp: Stamp, out: &mut [u8], sum: impl Sum) {
        // all but the fields that are stored below, of which the length comes last
        out[at::MAGIC..].copy_from_slice(&self.bytes[at::MAGIC..self.fields.size]);
        if !self.sealed || stamp.producer.is_some() {
            return self.fields.write(stamp, out, sum);
        }
        put(out, at::BASE_OFFSET, stamp.base_offset.get().to_be_bytes());
        put(out, at::LEADER_EPOCH, stamp.leader_epoch.get().to_be_bytes());
        put_length(out, self.fields.size);
    }

    fn pieces(&self, stamp: Stamp, memory: Vec<u8>, sum: impl Sum) -> Pieces<'_> {
        let mut pieces = Pieces::begin(memory, BatchHeader::LEN);
        pieces.lend(BatchHeader::LEN, self.records_bytes());
        if !self.sealed || stamp.producer.is_some() {
            self.fields.write_in_pieces(stamp, &mut pieces, sum);
            return pieces;
        }
        let out = pieces.built_mut();
        out[at::MAGIC..].copy_from_slice(&self.bytes[at::MAGIC..BatchHeader::LEN]);
        put(out, at::BASE_OFFSET, stamp.base_offset.get().to_be_bytes());
        put(out, at::LEADER_EPOCH, stamp.leader_epoch.get().to_be_bytes());
        put_length(out, self.fields.size);
        pieces
    }
}
