//! The 61 bytes in front of every record batch: their layout, and bounding what they say.
//!
//! A [`BatchHeader`] exists only if its fields are possible: format 2, a size within the limit it
//! was read under, offsets that do not overflow, a codec that exists, no more records than
//! offsets. The first 21 bytes (offset, length, epoch, format, checksum) are not covered by the
//! batch's checksum, so their neighbours have to vouch for them: see `segment::scan`.

use std::fmt;

use super::fault::BatchFault;
use crate::config::TimestampType;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::time::Timestamp;

/// Where each field begins; sums of the sizes before it.
pub(super) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = BASE_OFFSET + 8;
    pub(crate) const LEADER_EPOCH: usize = LENGTH + 4;
    pub(crate) const MAGIC: usize = LEADER_EPOCH + 4;
    pub(crate) const CRC: usize = MAGIC + 1;
    /// The checksum covers everything from here on.
    pub(crate) const ATTRIBUTES: usize = CRC + 4;
    pub(crate) const LAST_OFFSET_DELTA: usize = ATTRIBUTES + 2;
    pub(crate) const BASE_TIMESTAMP: usize = LAST_OFFSET_DELTA + 4;
    pub(crate) const MAX_TIMESTAMP: usize = BASE_TIMESTAMP + 8;
    pub(crate) const PRODUCER_ID: usize = MAX_TIMESTAMP + 8;
    pub(crate) const PRODUCER_EPOCH: usize = PRODUCER_ID + 8;
    pub(crate) const BASE_SEQUENCE: usize = PRODUCER_EPOCH + 2;
    pub(crate) const COUNT: usize = BASE_SEQUENCE + 4;
    pub(crate) const RECORDS: usize = COUNT + 4;
}

/// What the length field does not count.
pub(super) const LENGTH_EXCLUDES: usize = at::LENGTH + 4;
pub(super) const MAGIC: i8 = 2;

pub(super) const CODEC_MASK: i16 = 0x07;
pub(super) const APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;
pub(super) const DELETE_HORIZON: i16 = 0x40;
/// What of the attributes a batch keeps that has lost its records: no codec, no horizon.
pub(super) const KEPT_WHEN_EMPTIED: i16 = APPEND_TIME | TRANSACTIONAL | CONTROL;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// As the attributes of a batch have it.
    pub(super) fn bits(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        })
    }
}

/// A batch header whose fields are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    base_offset: i64,
    size: u32,
    leader_epoch: i32,
    crc: u32,
    attributes: i16,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: u32,
    codec: Codec,
}

/// A batch whose records lie open, and what follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened<'a> {
    pub(super) head: &'a [u8; BatchHeader::LEN],
    pub(super) base: i64,
    pub(super) records: &'a [u8],
    pub(super) rest: &'a [u8],
}

/// Copies a field of `N` bytes; the caller has checked that the header is whole.
#[inline]
pub(super) fn field<const N: usize>(bytes: &[u8; BatchHeader::LEN], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

impl BatchHeader {
    /// The length of a header.
    pub(crate) const LEN: usize = at::RECORDS;

    /// Reads the header of a batch that may be at most `limit` bytes long. `bytes` may be longer
    /// or shorter than the batch.
    #[inline]
    pub(crate) fn parse(bytes: &[u8], limit: usize) -> Result<Self, BatchFault> {
        let Some(bytes) = bytes.first_chunk::<{ BatchHeader::LEN }>() else {
            return Err(too_short(bytes));
        };
        let magic = i8::from_be_bytes(field(bytes, at::MAGIC));
        let length = i32::from_be_bytes(field(bytes, at::LENGTH));
        if magic != MAGIC {
            return Err(other_format(bytes, magic, length));
        }
        let size = i64::from(length) + LENGTH_EXCLUDES as i64;
        let limit = limit.min(i32::MAX as usize);
        let fits = usize::try_from(size).is_ok_and(|size| (Self::LEN..=limit).contains(&size));
        if !fits {
            return Err(BatchFault::Size { size, limit });
        }
        let count = i32::from_be_bytes(field(bytes, at::COUNT));
        if count < 0 {
            return Err(BatchFault::Header("a negative count"));
        }
        codec_of(i16::from_be_bytes(field(bytes, at::ATTRIBUTES)))?;
        let header = BatchHeader::of_verified(bytes);
        header.check_offsets()?;
        Ok(header)
    }

    /// The fields of a header that was parsed before, when its batch was verified. Of any other it
    /// is what stands there.
    #[inline]
    pub(super) fn of_verified(bytes: &[u8; BatchHeader::LEN]) -> Self {
        let attributes = i16::from_be_bytes(field(bytes, at::ATTRIBUTES));
        let size = i64::from(i32::from_be_bytes(field(bytes, at::LENGTH))) + LENGTH_EXCLUDES as i64;
        BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, at::BASE_OFFSET)),
            size: u32::try_from(size).unwrap_or(0),
            leader_epoch: i32::from_be_bytes(field(bytes, at::LEADER_EPOCH)),
            crc: u32::from_be_bytes(field(bytes, at::CRC)),
            attributes,
            last_offset_delta: i32::from_be_bytes(field(bytes, at::LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(field(bytes, at::BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(bytes, at::MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(bytes, at::PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(bytes, at::PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(bytes, at::BASE_SEQUENCE)),
            count: u32::from_be_bytes(field(bytes, at::COUNT)),
            codec: codec_of(attributes).unwrap_or(Codec::None),
        }
    }

    /// Where the offsets of a batch begin, by the first bytes of it.
    #[inline(always)]
    pub(crate) fn base_offset_at(bytes: &[u8]) -> Option<Offset> {
        let head = bytes.first_chunk::<{ BatchHeader::LEN }>()?;
        Some(Offset::new(i64::from_be_bytes(field(head, at::BASE_OFFSET))))
    }

    /// The size that a header states, if that is one that a batch can have.
    #[inline(always)]
    pub(super) fn size_of(head: &[u8; BatchHeader::LEN]) -> Option<usize> {
        let length = i32::from_be_bytes(field(head, at::LENGTH));
        let size = usize::try_from(i64::from(length) + LENGTH_EXCLUDES as i64).ok()?;
        (Self::LEN..=i32::MAX as usize).contains(&size).then_some(size)
    }

    /// Whether the records are there for everybody to read: neither compressed nor a marker.
    #[inline(always)]
    pub(super) fn is_open(head: &[u8; BatchHeader::LEN]) -> bool {
        i16::from_be_bytes(field(head, at::ATTRIBUTES)) & (CODEC_MASK | CONTROL) == 0
    }

    /// The base offset and the bytes of the records of the batch at the front of `bytes`, which was
    /// verified before, if those are there for everybody to read: neither compressed nor a marker.
    #[inline(always)]
    pub(super) fn open(bytes: &[u8]) -> Option<Opened<'_>> {
        let head = bytes.first_chunk::<{ BatchHeader::LEN }>()?;
        if !BatchHeader::is_open(head) {
            return None;
        }
        let (batch, rest) = bytes.split_at_checked(BatchHeader::size_of(head)?)?;
        let base = i64::from_be_bytes(field(head, at::BASE_OFFSET));
        Some(Opened { head, base, records: batch.get(Self::LEN..)?, rest })
    }

    #[inline]
    fn check_offsets(&self) -> Result<(), BatchFault> {
        let delta = i64::from(self.last_offset_delta);
        if delta < 0 {
            return Err(BatchFault::Header("a negative last offset delta"));
        }
        let last = self.base_offset.checked_add(delta);
        if self.base_offset < 0 || last.is_none_or(|last| last == i64::MAX) {
            return Err(BatchFault::Header("offsets out of range"));
        }
        if i64::from(self.count) > delta + 1 {
            return Err(BatchFault::Header("more records than offsets"));
        }
        Ok(())
    }

    /// Bytes of the whole batch.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.size as usize // u32 always fits: 64-bit targets only
    }

    #[inline]
    pub(crate) fn base_offset(&self) -> Offset {
        Offset::new(self.base_offset)
    }

    #[inline]
    pub(crate) fn last_offset(&self) -> Offset {
        Offset::new(self.base_offset + i64::from(self.last_offset_delta))
    }

    /// One past the last offset.
    #[inline]
    pub(crate) fn end_offset(&self) -> Offset {
        self.last_offset().next()
    }

    #[inline]
    pub(crate) fn last_offset_delta(&self) -> i32 {
        self.last_offset_delta
    }

    #[inline]
    pub(crate) fn leader_epoch(&self) -> Option<LeaderEpoch> {
        LeaderEpoch::from_wire(self.leader_epoch)
    }

    #[inline]
    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    #[inline]
    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    #[inline]
    pub(crate) fn attributes(&self) -> i16 {
        self.attributes
    }

    #[inline]
    pub(crate) fn timestamp_type(&self) -> TimestampType {
        match self.attributes & APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    #[inline]
    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    #[inline]
    pub(crate) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether what becomes of a transaction decides who is shown the batch.
    #[inline]
    pub(crate) fn is_data_of_transaction(&self) -> bool {
        self.is_transactional() && !self.is_control()
    }

    /// Whether the base timestamp is a delete horizon.
    #[inline]
    pub(crate) fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    /// From when on the batch's tombstones may go.
    #[inline]
    pub(crate) fn delete_horizon(&self) -> Option<Timestamp> {
        self.has_delete_horizon().then(|| Timestamp::from_millis(self.base_timestamp))
    }

    /// The field as it stands: record deltas are relative to it, whatever it means.
    #[inline]
    pub(crate) fn raw_base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    #[inline]
    pub(crate) fn max_timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_wire(self.max_timestamp)
    }

    #[inline]
    pub(crate) fn producer_id(&self) -> Option<ProducerId> {
        (self.producer_id >= 0).then(|| ProducerId::new(self.producer_id))
    }

    #[inline]
    pub(crate) fn producer_epoch(&self) -> Option<ProducerEpoch> {
        (self.producer_epoch >= 0).then(|| ProducerEpoch::new(self.producer_epoch))
    }

    #[inline]
    pub(crate) fn base_sequence(&self) -> Option<i32> {
        (self.base_sequence >= 0).then_some(self.base_sequence)
    }

    /// How many records the batch holds.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

/// What stands where not even a header has room.
#[cold]
fn too_short(bytes: &[u8]) -> BatchFault {
    match !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) {
        true => BatchFault::Zeros,
        false => BatchFault::Short { needed: BatchHeader::LEN, available: bytes.len() },
    }
}

/// What stands where a header of format 2 does not.
///
/// A header that a crash tore off goes on in zeros, which looks like format 0. A record of that
/// format goes on in attributes and lengths, of which only those of an empty record are all zero.
#[cold]
fn other_format(bytes: &[u8; BatchHeader::LEN], magic: i8, length: i32) -> BatchFault {
    let torn = bytes[at::MAGIC..].iter().all(|byte| *byte == 0);
    match magic {
        0 if length == 0 => BatchFault::Zeros,
        0 if torn => BatchFault::Header("zeros from the format on"),
        0 | 1 => BatchFault::Legacy { magic, last: None },
        _ => BatchFault::Magic(magic),
    }
}

#[inline]
fn codec_of(attributes: i16) -> Result<Codec, BatchFault> {
    match attributes & CODEC_MASK {
        0 => Ok(Codec::None),
        1 => Ok(Codec::Gzip),
        2 => Ok(Codec::Snappy),
        3 => Ok(Codec::Lz4),
        4 => Ok(Codec::Zstd),
        _ => Err(BatchFault::Header("an unknown codec")),
    }
}
