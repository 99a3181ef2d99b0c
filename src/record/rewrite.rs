//! Writing a batch again with fewer records, or none: what compaction leaves of it.
//!
//! Everything a record is known by stays: base offset and last offset delta, so that no record
//! changes its offset; epoch; producer, its epoch and sequence; each record's own timestamp, key,
//! value and headers. What changes is the count, the length, the checksum, the largest timestamp
//! where the record that had it is gone, and the base timestamp, from which deltas are counted
//! and which may be a delete horizon instead (`kafka-format.md` 1.1). The codec stays too: what is
//! kept of a compressed batch is compressed again, at the codec's default level. Only where that
//! would expand to more than readers take, for what shrank badly has gone, is it written plain.

use super::batch::{Batch, BatchRecord};
use super::codec::{self, PlainLimit};
use super::encode::{delta, put};
use super::fault::BatchFault;
use super::header::{
    BatchHeader, CODEC_MASK, Codec, DELETE_HORIZON, KEPT_WHEN_EMPTIED, LENGTH_EXCLUDES, at,
};
use super::varint;
use crate::config::TimestampType;
use crate::time::Timestamp;

impl Batch<'_> {
    /// The batch without its records, in Kafka's 61 bytes: it only says that its offsets were
    /// given out, under which epoch and to which producer.
    pub(crate) fn emptied(&self) -> Vec<u8> {
        let mut out = self.bytes()[..BatchHeader::LEN].to_vec();
        let attributes = self.header().attributes() & KEPT_WHEN_EMPTIED;
        put(&mut out, at::ATTRIBUTES, attributes.to_be_bytes());
        put(&mut out, at::BASE_TIMESTAMP, (-1i64).to_be_bytes());
        put(&mut out, at::COUNT, 0i32.to_be_bytes());
        sealed(out)
    }

    /// The batch with those of its records that `keep` says yes to, in their order. `horizon` sets
    /// the time from which on its tombstones, or its marker, may go; without one the batch keeps
    /// what it has.
    ///
    /// # Errors
    /// What is wrong with the records, and that they were not decompressed.
    pub(crate) fn thinned(
        &self,
        keep: &[bool],
        horizon: Option<Timestamp>,
    ) -> Result<Vec<u8>, BatchFault> {
        let header = self.header();
        let (mut base, mut newest, mut count) = (None, -1, 0i32);
        let mut out = self.bytes()[..BatchHeader::LEN].to_vec();
        match horizon {
            Some(horizon) => base = Some(horizon.as_millis()),
            None if header.has_delete_horizon() => base = Some(header.raw_base_timestamp()),
            None => {}
        }
        for (record, keep) in self.all_records()?.zip(keep) {
            let record = record?;
            if !keep {
                continue;
            }
            let timestamp = Timestamp::to_wire(record.timestamp());
            newest = newest.max(timestamp);
            let base = *base.get_or_insert(timestamp);
            self.put_record(&mut out, &record, delta(timestamp, base));
            count += 1;
        }
        put(&mut out, at::BASE_TIMESTAMP, base.unwrap_or(-1).to_be_bytes());
        if header.timestamp_type() == TimestampType::CreateTime {
            put(&mut out, at::MAX_TIMESTAMP, newest.to_be_bytes());
        }
        put(&mut out, at::COUNT, count.to_be_bytes());
        let mut attributes = header.attributes();
        if horizon.is_some() {
            attributes |= DELETE_HORIZON;
        }
        if header.codec() != Codec::None && !header.is_control() {
            let plain = out.split_off(BatchHeader::LEN);
            codec::pack(header.codec(), None, &plain, &mut out)?;
            if plain.len() > PlainLimit::DEFAULT.of(out.len() - BatchHeader::LEN) {
                attributes &= !CODEC_MASK;
                out.truncate(BatchHeader::LEN);
                out.extend_from_slice(&plain);
            }
        }
        put(&mut out, at::ATTRIBUTES, attributes.to_be_bytes());
        Ok(sealed(out))
    }

    fn put_record(&self, out: &mut Vec<u8>, record: &BatchRecord<'_>, timestamp_delta: i64) {
        let offset_delta = record.offset().get() - self.header().base_offset().get();
        let (header_count, headers) = record.written_headers();
        let mut body = vec![0]; // attributes: none are defined
        put_number(&mut body, timestamp_delta);
        put_number(&mut body, offset_delta);
        put_bytes(&mut body, record.key());
        put_bytes(&mut body, record.value());
        put_number(&mut body, i64::from(header_count));
        body.extend_from_slice(headers);
        put_number(out, body.len().cast_signed() as i64);
        out.extend_from_slice(&body);
    }
}

fn put_number(out: &mut Vec<u8>, number: i64) {
    let from = out.len();
    out.resize(from + varint::len(number), 0);
    varint::put(&mut out[from..], number);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_number(out, bytes.len().cast_signed() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_number(out, -1),
    }
}

/// Sets the length and, over all it covers, the checksum.
fn sealed(mut out: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(out.len() - LENGTH_EXCLUDES).unwrap_or(i32::MAX);
    put(&mut out, at::LENGTH, length.to_be_bytes());
    let crc = crc32c::crc32c(&out[at::ATTRIBUTES..]);
    put(&mut out, at::CRC, crc.to_be_bytes());
    out
}
