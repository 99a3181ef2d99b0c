//! The bytes of state records as Kafka's coordinators write them: what all schemas share.
//!
//! Strings, varints, tagged fields, and which partition a name's records lie in. The schemas
//! themselves belong to the rooms whose state it is: `group` and `txn`.
//!
//! Invariants: a length is checked against the bytes that are left before it is used, nothing
//! panics on foreign bytes, and bytes left over after a known schema are a fault: the record was
//! not written by that schema. Everything is big-endian.

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId};

/// Longest string of a key, and of a value as Kafka's own reader accepts it.
pub(crate) const STRING_LIMIT: usize = 0x7fff;

/// Why bytes are not a key or value of a coordinator's topic.
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
    /// `offset` is that of the record.
    pub(crate) fn into_error(self, operation: &'static str, offset: Offset) -> Error {
        let cause = match self {
            SchemaFault::Version { .. } => Cause::Unsupported(self.to_string()),
            _ => Cause::Corrupt(self.to_string()),
        };
        Error::new(operation, cause).at_offset(offset)
    }
}

/// Writes a length of two bytes and UTF-8. Fails for what that cannot hold.
pub(crate) fn put_string(bytes: &mut Vec<u8>, what: &'static str, string: &str) -> Result<()> {
    let length = i16::try_from(string.len())
        .map_err(|_| too_large("encode state", what, string, STRING_LIMIT))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(string.as_bytes());
    Ok(())
}

pub(crate) fn too_large(
    operation: &'static str,
    what: &'static str,
    text: &str,
    limit: usize,
) -> Error {
    // usize to u64 never loses: 64-bit targets only.
    Error::new(operation, Cause::TooLarge { what, size: text.len() as u64, limit: limit as u64 })
}

/// Writes seven bits a byte, the lowest first.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u32) {
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80); // masked to seven bits
        number >>= 7;
    }
    bytes.push(number as u8); // below 0x80
}

/// Foreign bytes not read yet; every read is bounded by what is left.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(
        &mut self,
        field: &'static str,
        needed: usize,
    ) -> Result<&'a [u8], SchemaFault> {
        let available = self.0.len();
        let (taken, left) = self.0.split_at_checked(needed).ok_or(SchemaFault::Short {
            field,
            needed,
            available,
        })?;
        self.0 = left;
        Ok(taken)
    }

    pub(crate) fn i8(&mut self, field: &'static str) -> Result<i8, SchemaFault> {
        Ok(self.take(field, 1)?[0].cast_signed())
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, SchemaFault> {
        self.take(field, 2).map(BigEndian::read_i16)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, SchemaFault> {
        self.take(field, 4).map(BigEndian::read_i32)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, SchemaFault> {
        self.take(field, 8).map(BigEndian::read_i64)
    }

    pub(crate) fn partition(&mut self) -> Result<PartitionId, SchemaFault> {
        let number = self.i32("partition")?;
        let checked = u32::try_from(number).map(PartitionId::new);
        checked.map_err(|_| SchemaFault::Number { field: "partition", number: number.into() })
    }

    pub(crate) fn string(&mut self, field: &'static str) -> Result<&'a str, SchemaFault> {
        let length = self.i16(field)?;
        let bound = usize::try_from(length);
        let length = bound.map_err(|_| SchemaFault::Length { field, length: length.into() })?;
        self.text(field, length)
    }

    /// A length one too high in a varint, 0 for null, then UTF-8.
    pub(crate) fn compact_string(&mut self, field: &'static str) -> Result<&'a str, SchemaFault> {
        let stored = self.varint(field)?;
        match stored.checked_sub(1) {
            Some(length) if length as usize <= STRING_LIMIT => self.text(field, length as usize),
            _ => Err(SchemaFault::Length { field, length: i64::from(stored) - 1 }),
        }
    }

    pub(crate) fn text(
        &mut self,
        field: &'static str,
        length: usize,
    ) -> Result<&'a str, SchemaFault> {
        let bytes = self.take(field, length)?;
        std::str::from_utf8(bytes).map_err(|_| SchemaFault::NotUtf8(field))
    }

    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u32, SchemaFault> {
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

    /// Hands out tag and bytes of each. A field takes at least two bytes, so a forged count ends
    /// with the input.
    pub(crate) fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, &'a [u8]) -> Result<(), SchemaFault>,
    ) -> Result<(), SchemaFault> {
        let count = self.varint("count of tagged fields")?;
        for _ in 0..count {
            let tag = self.varint("tag")?;
            let length = self.varint("length of a tagged field")?;
            // u32 always fits: 64-bit targets only
            field(tag, self.take("tagged field", length as usize)?)?;
        }
        Ok(())
    }

    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), SchemaFault> {
        self.tagged_fields(|_, _| Ok(()))
    }

    /// How many follow, one too high in a varint; `None` for a list that is null.
    pub(crate) fn compact_count(
        &mut self,
        field: &'static str,
    ) -> Result<Option<u32>, SchemaFault> {
        self.varint(field).map(|stored| stored.checked_sub(1))
    }

    /// A length of two bytes, -1 for null, then UTF-8.
    pub(crate) fn nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<&'a str>, SchemaFault> {
        if self.0.starts_with(&[0xff, 0xff]) {
            self.take(field, 2)?;
            return Ok(None);
        }
        self.string(field).map(Some)
    }

    /// A length of four bytes, then as many bytes.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], SchemaFault> {
        let length = self.i32(field)?;
        let bound = usize::try_from(length);
        self.take(field, bound.map_err(|_| SchemaFault::Length { field, length: length.into() })?)
    }

    pub(crate) fn end(&self) -> Result<(), SchemaFault> {
        if self.0.is_empty() { Ok(()) } else { Err(SchemaFault::LeftOver(self.0.len())) }
    }
}

/// The partition of a coordinator's topic that holds a name: Java's hash of it over the number of
/// partitions, as Kafka's coordinators compute it. No partitions answer 0.
pub(crate) fn partition_of_name(name: &str, partitions: u32) -> u32 {
    let hash = name
        .encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's `abs` answers 0 for the one number without a positive counterpart.
    let positive = hash.checked_abs().map_or(0, i32::unsigned_abs);
    positive.checked_rem(partitions).unwrap_or(0)
}
