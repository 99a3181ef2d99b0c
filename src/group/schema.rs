//! The records of `__consumer_offsets` in Kafka's bytes, and which partition a group's lie in.
//!
//! Owns: keys v0 and v1 (a committed offset), v2 (a classic group's metadata; only its name is
//! read), every other version as `Unknown`, which callers keep as it is; committed values v0 to
//! v4 read, v4 written as Kafka 4.1.1 writes it (no tagged fields; 4.3 adds one, which is
//! skipped). A null value is a tombstone and never comes here.
//!
//! Invariants: a length is checked against the bytes that are left before it is used, nothing
//! panics on foreign bytes, and bytes left over after a known schema are a fault: the record was
//! not written by that schema. Everything is big-endian.
//!
//! Callers: the group room's fold over its log, and commits.

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::time::Timestamp;

/// Most bytes of UTF-8 that a commit's metadata may take; Kafka's `offset.metadata.max.bytes`.
pub(crate) const METADATA_LIMIT: usize = 4_096;

/// Longest string of a key, and of a value as Kafka's own reader accepts it.
const STRING_LIMIT: usize = 0x7fff;

const KEY_VERSION: i16 = 1;
const VALUE_VERSION: i16 = 4;

/// What the key of a record in `__consumer_offsets` says the record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetsKey<'a> {
    /// A group's committed offset of one partition.
    Committed { group: &'a str, topic: &'a str, partition: PartitionId },
    /// A classic group's members and protocol.
    GroupMetadata { group: &'a str },
    /// Of a kind not known here: kept as it is, through compaction too.
    Unknown { version: i16 },
}

/// The value of a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommittedValue<'a> {
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the last record read; before v3 there was none.
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: &'a str,
    pub committed_at: Timestamp,
    /// Only v1 has one.
    pub expires_at: Option<Timestamp>,
}

/// Why bytes are not a key or value of `__consumer_offsets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SchemaFault {
    #[error("{field} needs {needed} bytes, {available} are left")]
    Short { field: &'static str, needed: usize, available: usize },
    #[error("the length {length} of {field} is illegal")]
    Length { field: &'static str, length: i64 },
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("{field} is {number}")]
    Number { field: &'static str, number: i64 },
    #[error("a variable-length number does not end within 32 bits")]
    Varint,
    #[error("{0} bytes are left over")]
    LeftOver(usize),
    #[error("version {0} of a committed offset's value is not known")]
    Version(i16),
}

impl SchemaFault {
    /// `offset` is that of the record in `__consumer_offsets`.
    pub(crate) fn into_error(self, operation: &'static str, offset: Offset) -> Error {
        let cause = match self {
            SchemaFault::Version(_) => Cause::Unsupported(self.to_string()),
            _ => Cause::Corrupt(self.to_string()),
        };
        Error::new(operation, cause).at_offset(offset)
    }
}

impl<'a> OffsetsKey<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let key = match input.i16("key version")? {
            0 | 1 => OffsetsKey::Committed {
                group: input.string("group")?,
                topic: input.string("topic")?,
                partition: input.partition()?,
            },
            2 => OffsetsKey::GroupMetadata { group: input.string("group")? },
            version => return Ok(OffsetsKey::Unknown { version }),
        };
        input.end()?;
        Ok(key)
    }
}

/// The key under which a group's offset of one partition is committed.
///
/// Fails for names longer than the format holds (32,767 bytes) and for a partition above
/// `i32::MAX`.
pub(crate) fn committed_key(group: &str, topic: &str, partition: PartitionId) -> Result<Vec<u8>> {
    let partition = i32::try_from(partition.get()).map_err(|_| {
        let text = format!("partition {partition} is above {}", i32::MAX);
        Error::new("encode committed offset", Cause::InvalidArgument(text))
    })?;
    let mut bytes = Vec::with_capacity(10 + group.len() + topic.len());
    bytes.extend_from_slice(&KEY_VERSION.to_be_bytes());
    put_string(&mut bytes, "group name", group)?;
    put_string(&mut bytes, "topic name", topic)?;
    bytes.extend_from_slice(&partition.to_be_bytes());
    Ok(bytes)
}

fn put_string(bytes: &mut Vec<u8>, what: &'static str, string: &str) -> Result<()> {
    let length = i16::try_from(string.len())
        .map_err(|_| too_large("encode committed offset", what, string, STRING_LIMIT))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(string.as_bytes());
    Ok(())
}

fn too_large(operation: &'static str, what: &'static str, text: &str, limit: usize) -> Error {
    // usize to u64 never loses: 64-bit targets only.
    Error::new(operation, Cause::TooLarge { what, size: text.len() as u64, limit: limit as u64 })
}

/// Refuses metadata that a commit may not carry; asked before anything is written.
pub(crate) fn check_metadata(metadata: &str) -> Result<()> {
    if metadata.len() > METADATA_LIMIT {
        return Err(too_large("commit", "commit metadata", metadata, METADATA_LIMIT));
    }
    Ok(())
}

impl<'a> CommittedValue<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let version = input.i16("value version")?;
        if !(0..=VALUE_VERSION).contains(&version) {
            return Err(SchemaFault::Version(version));
        }
        let offset = input.i64("offset")?;
        if offset < 0 {
            return Err(SchemaFault::Number { field: "offset", number: offset });
        }
        let epoch = if version >= 3 { input.i32("leader epoch")? } else { -1 };
        let metadata = match version {
            4.. => input.compact_string("metadata")?,
            _ => input.string("metadata")?,
        };
        let committed_at = Timestamp::from_millis(input.i64("commit timestamp")?);
        let expires_at = if version == 1 { input.i64("expire timestamp")? } else { -1 };
        if version >= 4 {
            input.skip_tagged_fields()?;
        }
        input.end()?;
        Ok(CommittedValue {
            offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::from_wire(epoch),
            metadata,
            committed_at,
            expires_at: Timestamp::from_wire(expires_at),
        })
    }

    /// The bytes of v4, which has no place for `expires_at`. Fails for metadata over
    /// [`METADATA_LIMIT`] and for a negative offset.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        check_metadata(self.metadata)?;
        if self.offset < Offset::ZERO {
            let text = format!("the offset {} is negative", self.offset);
            return Err(Error::new("commit", Cause::InvalidArgument(text)));
        }
        let mut bytes = Vec::with_capacity(25 + self.metadata.len());
        bytes.extend_from_slice(&VALUE_VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.offset.get().to_be_bytes());
        let epoch = self.leader_epoch.map_or(-1, LeaderEpoch::get);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        let length = u32::try_from(self.metadata.len()).expect("checked against METADATA_LIMIT");
        put_varint(&mut bytes, length + 1); // 0 would be null, which Kafka refuses here
        bytes.extend_from_slice(self.metadata.as_bytes());
        bytes.extend_from_slice(&self.committed_at.as_millis().to_be_bytes());
        put_varint(&mut bytes, 0); // tagged fields
        Ok(bytes)
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u32) {
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80); // masked to seven bits
        number >>= 7;
    }
    bytes.push(number as u8); // below 0x80
}

/// Foreign bytes not read yet; every read is bounded by what is left.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, field: &'static str, needed: usize) -> Result<&'a [u8], SchemaFault> {
        let available = self.0.len();
        let (taken, left) = self.0.split_at_checked(needed).ok_or(SchemaFault::Short {
            field,
            needed,
            available,
        })?;
        self.0 = left;
        Ok(taken)
    }

    fn i16(&mut self, field: &'static str) -> Result<i16, SchemaFault> {
        self.take(field, 2).map(BigEndian::read_i16)
    }

    fn i32(&mut self, field: &'static str) -> Result<i32, SchemaFault> {
        self.take(field, 4).map(BigEndian::read_i32)
    }

    fn i64(&mut self, field: &'static str) -> Result<i64, SchemaFault> {
        self.take(field, 8).map(BigEndian::read_i64)
    }

    fn partition(&mut self) -> Result<PartitionId, SchemaFault> {
        let number = self.i32("partition")?;
        let checked = u32::try_from(number).map(PartitionId::new);
        checked.map_err(|_| SchemaFault::Number { field: "partition", number: number.into() })
    }

    fn string(&mut self, field: &'static str) -> Result<&'a str, SchemaFault> {
        let length = self.i16(field)?;
        let bound = usize::try_from(length);
        let length = bound.map_err(|_| SchemaFault::Length { field, length: length.into() })?;
        self.text(field, length)
    }

    /// A length one too high in a varint, 0 for null, then UTF-8.
    fn compact_string(&mut self, field: &'static str) -> Result<&'a str, SchemaFault> {
        let stored = self.varint(field)?;
        match stored.checked_sub(1) {
            Some(length) if length as usize <= STRING_LIMIT => self.text(field, length as usize),
            _ => Err(SchemaFault::Length { field, length: i64::from(stored) - 1 }),
        }
    }

    fn text(&mut self, field: &'static str, length: usize) -> Result<&'a str, SchemaFault> {
        let bytes = self.take(field, length)?;
        std::str::from_utf8(bytes).map_err(|_| SchemaFault::NotUtf8(field))
    }

    fn varint(&mut self, field: &'static str) -> Result<u32, SchemaFault> {
        let mut number = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.take(field, 1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).map_err(|_| SchemaFault::Varint);
            }
        }
        Err(SchemaFault::Varint)
    }

    /// Each field takes at least two bytes, so a forged count ends with the input.
    fn skip_tagged_fields(&mut self) -> Result<(), SchemaFault> {
        let count = self.varint("count of tagged fields")?;
        for _ in 0..count {
            self.varint("tag")?;
            let length = self.varint("length of a tagged field")?;
            self.take("tagged field", length as usize)?; // u32 always fits: 64-bit targets only
        }
        Ok(())
    }

    fn end(&self) -> Result<(), SchemaFault> {
        if self.0.is_empty() { Ok(()) } else { Err(SchemaFault::LeftOver(self.0.len())) }
    }
}

/// The partition of `__consumer_offsets` that holds a group: Java's hash of the name over the
/// number of partitions, as Kafka's coordinator computes it. No partitions answer 0.
pub(crate) fn group_partition(group: &str, partitions: u32) -> u32 {
    let hash = group
        .encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's `abs` answers 0 for the one number without a positive counterpart.
    let positive = hash.checked_abs().map_or(0, i32::unsigned_abs);
    positive.checked_rem(partitions).unwrap_or(0)
}

#[cfg(all(test, not(loom)))]
mod tests;
