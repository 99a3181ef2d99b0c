//! A batch that a producer made, as a host took it off a wire: checked as a leader of Kafka's
//! checks it, and changed no more than it must be.
//!
//! Checked is all that a client can get wrong: that there is one whole batch of format 2, its
//! checksum, its counts, offsets from 0 on without a gap, every record, no control batch, a
//! sequence where there is a producer; then the topic's rules, record by record. Offset and epoch
//! are put in front of the checksum's reach. Anew are computed: the checksum, where the largest
//! timestamp or the timestamp type changes; the records, where the topic names another codec. Then
//! only the header's fields change, and the bytes behind it are lent through.
//!
//! Called by both doors, before any lock is taken.

use std::borrow::Cow;

use super::batch::Batch;
use super::codec::{self, PlainLimit};
use super::encode::{
    AppendBatch, BatchRules, Stamp, Sum, TimestampRule, limit, put, put_length, too_large,
};
use super::fault::BatchFault;
use super::filter::TagBits;
use super::header::{APPEND_TIME, BatchHeader, CODEC_MASK, CONTROL, Codec, TRANSACTIONAL, at};
use super::pack::check_built;
use super::pieces::Pieces;
use super::produced::{ProducerClaim, ProducerIdentity};
use crate::config::Compression;
use crate::error::{Cause, Error, RecordError, Refused, Result};
use crate::ids::{Offset, Sequence};
use crate::time::Timestamp;

const OPERATION: &str = "append batch";

/// A batch of a producer's, fit to be appended.
#[derive(Debug)]
pub(crate) struct SentBatch<'a> {
    head: [u8; BatchHeader::LEN],
    records: Cow<'a, [u8]>,
    count: u32,
    max_timestamp: i64,
    claim: Option<ProducerClaim>,
    /// Of its records' tags, where it is compressed and its topic keeps them.
    tags: Option<TagBits>,
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(OPERATION, Cause::InvalidArgument(why.into()))
}

fn faulty(fault: &BatchFault) -> Error {
    Error::new(OPERATION, fault.cause())
}

impl<'a> SentBatch<'a> {
    /// Checks the one batch in `bytes` against a topic's rules; of a compressed one the records may
    /// take `plain`.
    pub(crate) fn check(bytes: &'a [u8], rules: &BatchRules, plain: PlainLimit) -> Result<Self> {
        let batch = Batch::verify(bytes).map_err(|fault| faulty(&fault))?;
        let header = *batch.header();
        let claim = check_header(&header, bytes.len())?;
        if header.size() > limit(rules) {
            return Err(too_large(header.size(), limit(rules)));
        }
        let mut room = Vec::new();
        let unpacked = batch.unpacked(&mut room, plain).map_err(|fault| faulty(&fault))?;
        let newest = check_records(&unpacked, rules)?;
        let max_timestamp = match rules.timestamps {
            TimestampRule::Create { .. } => newest,
            TimestampRule::Append { now } => super::encode::present(now),
        };
        let records = &bytes[BatchHeader::LEN..];
        let plain_records = unpacked.plain.unwrap_or(records);
        let repacked = repacked(plain_records, header.codec(), rules, plain)?;
        let (codec, records) = match repacked {
            Some((codec, records)) => (codec, Cow::Owned(records)),
            None => (header.codec(), Cow::Borrowed(records)),
        };
        let attributes = header.attributes() & !CODEC_MASK | codec.bits();
        let attributes = attributes | rules.timestamps.attributes();
        let mut head = [0; BatchHeader::LEN];
        head.copy_from_slice(&bytes[..BatchHeader::LEN]);
        let same = (header.attributes(), Timestamp::to_wire(header.max_timestamp()));
        if same != (attributes, max_timestamp) {
            put(&mut head, at::ATTRIBUTES, attributes.to_be_bytes());
            put(&mut head, at::MAX_TIMESTAMP, max_timestamp.to_be_bytes());
            let crc = crc32c::crc32c(&head[at::ATTRIBUTES..]);
            let crc = crc32c::crc32c_append(crc, &records);
            put(&mut head, at::CRC, crc.to_be_bytes());
        }
        let tags = (rules.tagged && codec != Codec::None)
            .then(|| TagBits::of_plain(header.count(), plain_records));
        Ok(SentBatch { head, records, count: header.count(), max_timestamp, claim, tags })
    }
}

/// What the header alone tells, and whose batch it is.
fn check_header(header: &BatchHeader, given: usize) -> Result<Option<ProducerClaim>> {
    if header.size() != given {
        let behind = given - header.size();
        return Err(refused(format!("{behind} bytes follow the batch: one is taken at a time")));
    }
    if header.base_offset() != Offset::ZERO {
        let base = header.base_offset();
        return Err(refused(format!("its offsets begin with {base}, where a producer's with 0")));
    }
    let offsets = i64::from(header.last_offset_delta()) + 1;
    if header.count() == 0 || i64::from(header.count()) != offsets {
        let count = header.count();
        return Err(refused(format!("it has {count} records for {offsets} offsets")));
    }
    if header.attributes() & CONTROL != 0 {
        return Err(refused("it is a control batch, which producers do not write"));
    }
    if header.attributes() & APPEND_TIME != 0 {
        return Err(refused("it says that the log has set its timestamps"));
    }
    if header.attributes() & !(CODEC_MASK | TRANSACTIONAL) != 0 {
        let attributes = header.attributes();
        return Err(refused(format!("its attributes, {attributes:#x}, are no producer's")));
    }
    let transactional = header.is_transactional();
    let sequence = header.base_sequence().and_then(Sequence::new);
    match (header.producer_id(), header.producer_epoch(), sequence) {
        (None, ..) if transactional => Err(refused("it is transactional and of no producer")),
        (None, ..) => Ok(None),
        (Some(id), Some(epoch), Some(first)) => {
            let identity = ProducerIdentity::new(id, epoch);
            Ok(Some(ProducerClaim { identity, sequence: Some(first), transactional }))
        }
        (Some(_), ..) => Err(refused("its producer has an id and no epoch, or no sequence")),
    }
}

/// Walks every record; returns the largest timestamp.
fn check_records(batch: &Batch<'_>, rules: &BatchRules) -> Result<i64> {
    let (mut newest, mut errors) = (-1, Vec::new());
    let records = batch.records().map_err(|fault| faulty(&fault))?;
    for (index, record) in records.enumerate() {
        let record = record.map_err(|fault| faulty(&fault))?;
        record.check_headers().map_err(|fault| faulty(&fault))?;
        match rules.admit_read(record.key(), record.timestamp()) {
            Ok(timestamp) => newest = newest.max(timestamp),
            Err(reason) => errors.push(RecordError::new(index, reason)),
        }
    }
    match Refused::all(errors) {
        Some(refused) => Err(Error::new(OPERATION, Cause::InvalidRecord(refused))),
        None => Ok(newest),
    }
}

/// The records in the codec that the topic names; `None` where they have it, and where they are
/// too large in it and not as they are.
fn repacked(
    records: &[u8],
    codec: Codec,
    rules: &BatchRules,
    plain: PlainLimit,
) -> Result<Option<(Codec, Vec<u8>)>> {
    let packing = rules.packing.by(Compression::from(codec), None);
    let wanted = Codec::from(packing.codec());
    if wanted == codec {
        return Ok(None);
    }
    check_built(OPERATION, packing.codec())?;
    let mut packed = Vec::with_capacity(records.len() / 2);
    match wanted {
        Codec::None => packed.extend_from_slice(records),
        _ => codec::pack(wanted, packing.level(), records, &mut packed)
            .map_err(|fault| faulty(&fault))?,
    }
    let fits = packed.len() + BatchHeader::LEN <= limit(rules);
    let fits = fits && (wanted == Codec::None || records.len() <= plain.of(packed.len()));
    Ok(fits.then_some((wanted, packed)))
}

impl SentBatch<'_> {
    fn put_head(&self, stamp: Stamp, head: &mut [u8]) {
        head[at::LEADER_EPOCH..].copy_from_slice(&self.head[at::LEADER_EPOCH..]);
        put(head, at::BASE_OFFSET, stamp.base_offset.get().to_be_bytes());
        put(head, at::LEADER_EPOCH, stamp.leader_epoch.get().to_be_bytes());
        put_length(head, self.size());
    }
}

impl AppendBatch for SentBatch<'_> {
    fn size(&self) -> usize {
        BatchHeader::LEN + self.records.len()
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_wire(self.max_timestamp)
    }

    fn claim(&self) -> Option<ProducerClaim> {
        self.claim
    }

    fn tags(&self) -> Option<TagBits> {
        self.tags
    }

    fn write(&self, stamp: Stamp, out: &mut [u8], _: impl Sum) {
        let (head, records) = out.split_at_mut(BatchHeader::LEN);
        records.copy_from_slice(&self.records);
        self.put_head(stamp, head);
    }

    fn pieces(&self, stamp: Stamp, memory: Vec<u8>, _: impl Sum) -> Pieces<'_> {
        let mut pieces = Pieces::begin(memory, BatchHeader::LEN);
        pieces.lend(BatchHeader::LEN, &self.records);
        self.put_head(stamp, pieces.built_mut());
        pieces
    }
}

#[cfg(test)]
mod tests;
