//! The records of `__consumer_offsets` in Kafka's bytes, and which partition a group's lie in.
//!
//! `key` owns what a record is about: a committed offset, a classic group, a record of a group of
//! one of Kafka's newer kinds (kept, never written), every other version as `Unknown`, which
//! callers keep as it is. `committed` owns the values of committed offsets, `group` those of
//! groups. A null value is a tombstone and never comes here. This file has what they share.
//!
//! Invariants: a length is checked against the bytes that are left before it is used, nothing
//! panics on foreign bytes, and bytes left over after a known schema are a fault: the record was
//! not written by that schema. Everything is big-endian.
//!
//! Callers: the group room's fold over its log, and what writes there.

mod committed;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod group;
mod key;

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId};

pub(crate) use committed::{CommittedValue, check_metadata};
pub(crate) use group::{GroupValue, consumer_group_epoch};
pub use key::GroupKind;
pub(crate) use key::{CONSUMER_GROUP_KEY, OffsetsKey, committed_key, group_key, tombstone_order};

/// Longest string of a key, and of a value as Kafka's own reader accepts it.
const STRING_LIMIT: usize = 0x7fff;

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
    #[error("version {version} of {what} is not known")]
    Version { what: &'static str, version: i16 },
}

impl SchemaFault {
    /// `offset` is that of the record in `__consumer_offsets`.
    pub(crate) fn into_error(self, operation: &'static str, offset: Offset) -> Error {
        let cause = match self {
            SchemaFault::Version { .. } => Cause::Unsupported(self.to_string()),
            _ => Cause::Corrupt(self.to_string()),
        };
        Error::new(operation, cause).at_offset(offset)
    }
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

    /// A length of two bytes, -1 for null, then UTF-8.
    fn nullable_string(&mut self, field: &'static str) -> Result<Option<&'a str>, SchemaFault> {
        if self.0.starts_with(&[0xff, 0xff]) {
            self.take(field, 2)?;
            return Ok(None);
        }
        self.string(field).map(Some)
    }

    /// A length of four bytes, then as many bytes.
    fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], SchemaFault> {
        let length = self.i32(field)?;
        let bound = usize::try_from(length);
        self.take(field, bound.map_err(|_| SchemaFault::Length { field, length: length.into() })?)
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
