//! The read path's two walks over records: the check when they are taken in, the step to the next
//! one when they are lent.
//!
//! Both keep every bound of [`RecordIter`](super::batch::RecordIter), and neither decodes more than
//! it must: a check looks at lengths alone, a step takes a record's offset and leaves key, value
//! and headers where they are until somebody asks. What is wrong with a record the check does not
//! say: in doubt it says no, and `Batch::check_records` asks the slow walk, whose word is final.
//! Called by `batch` and `records`; what is lent is read by `view`.

use super::batch::{Batch, Headers, take_bytes};
use super::header::{BatchHeader, Opened};
use super::varint::{signed, take_i32, take_i64, take_length};
use crate::ids::Offset;

/// Whether `left` is `count` records as they should be, with offsets that rise to `last_delta` at
/// most.
#[inline(always)]
pub(super) fn are_sound(mut left: &[u8], count: u32, last_delta: i32) -> bool {
    let mut before = -1;
    for _ in 0..count {
        match take_sound(&mut left) {
            Some(delta) if delta > before && delta <= last_delta => before = delta,
            _ => return false,
        }
    }
    left.is_empty()
}

/// Takes a record off the front; its offset delta, if it is as it should be.
#[inline(always)]
fn take_sound(left: &mut &[u8]) -> Option<i32> {
    let Front { delta, fields, .. } = take_front(left)?;
    let fields = match bare_value(fields) {
        Some((_value, rest)) => rest,
        None => skip_bytes(skip_bytes(fields)?)?,
    };
    (fields == [0] || has_sound_headers(fields)).then_some(delta)
}

/// What a record begins with.
struct Front<'a> {
    timestamp_delta: i64,
    delta: i32,
    /// From the key's length on.
    fields: &'a [u8],
}

/// Takes a record off the front, decoded as far as its key.
///
/// Nearly every one has a byte for its timestamp delta, and at most two for its length and its
/// offset delta: a comparison of the word that it begins with says so.
#[inline(always)]
fn take_front<'a>(left: &mut &'a [u8]) -> Option<Front<'a>> {
    let word = left.first_chunk().map_or(u64::MAX, |word| u64::from_le_bytes(*word));
    // length, length, attributes, timestamp delta, offset delta, offset delta; the length is even
    let (front, rest) = if word & 0x80_80_00_80_81 == 0x80 {
        short_front(left, (2, 3), two(word), [word >> 24, word >> 32 & 0xff])?
    } else if word & 0x80_80_80_00_80_81 == 0x80_00_00_00_80 {
        short_front(left, (2, 4), two(word), [word >> 24, two(word >> 32)])?
    // length, attributes, timestamp delta, offset delta, offset delta
    } else if word & 0x80_80_00_81 == 0 {
        short_front(left, (1, 3), word & 0xff, [word >> 16, word >> 24 & 0xff])?
    } else if word & 0x80_80_80_00_81 == 0x80_00_00_00 {
        short_front(left, (1, 4), word & 0xff, [word >> 16, two(word >> 24)])?
    } else {
        any_front(left)?
    };
    *left = rest;
    Some(front)
}

/// A number of two bytes at the front of a word.
#[inline(always)]
fn two(word: u64) -> u64 {
    word & 0x7f | (word & 0x7f00) >> 1
}

/// One whose length has so many bytes, and what follows that up to the key; with the length and the
/// deltas, their signs still in the lowest bit. The first delta is the lowest byte alone.
#[inline(always)]
fn short_front(
    left: &[u8],
    (before, fields_at): (usize, usize),
    len: u64,
    [timestamp_delta, delta]: [u64; 2],
) -> Option<(Front<'_>, &[u8])> {
    let (record, rest) = left.get(before..)?.split_at_checked((len >> 1) as usize)?; // 64 bits
    let fields = record.get(fields_at..)?;
    let number = |zigzag: u64| signed(zigzag as u32); // it has 14 bits
    let timestamp_delta = i64::from(number(timestamp_delta & 0xff));
    Some((Front { timestamp_delta, delta: number(delta), fields }, rest))
}

/// Any other.
#[inline(always)]
fn any_front(left: &[u8]) -> Option<(Front<'_>, &[u8])> {
    let mut left = left;
    let len = take_length(&mut left)??;
    let (record, rest) = left.split_at_checked(len)?;
    let (_attributes, mut fields) = record.split_first()?;
    let timestamp_delta = take_i64(&mut fields)?;
    let delta = take_i32(&mut fields)?;
    Some((Front { timestamp_delta, delta, fields }, rest))
}

/// The value of a record without a key, and what follows it, if no more than two bytes say how long
/// it is: one comparison tells.
#[inline(always)]
fn bare_value(fields: &[u8]) -> Option<(&[u8], &[u8])> {
    let word = u32::from_le_bytes(*fields.first_chunk()?);
    // null, length, length; the length is even
    if word & 0x80_81_ff == 0x80_01 {
        let len = (word & 0x7f_00) >> 9 | (word & 0x7f_00_00) >> 10;
        fields[3..].split_at_checked(len as usize) // 64 bits
    } else if word & 0x81_ff == 0x01 {
        fields[2..].split_at_checked((word & 0x7f_00) as usize >> 9)
    } else {
        None
    }
}

/// What follows bytes and their length, or null.
#[inline(always)]
fn skip_bytes(mut fields: &[u8]) -> Option<&[u8]> {
    let len = take_length(&mut fields)?.unwrap_or(0);
    fields.get(len..)
}

/// Whether headers, if there are any, are as they should be.
fn has_sound_headers(mut fields: &[u8]) -> bool {
    match take_i32(&mut fields).map(u32::try_from) {
        Some(Ok(0)) => fields.is_empty(),
        Some(Ok(count)) => Headers::of(fields, count).are_sound(),
        _ => false,
    }
}

/// Takes a record off the front; its headers, if it is one as far as they begin.
pub(super) fn take_headers<'a>(left: &mut &'a [u8]) -> Option<Headers<'a>> {
    let Front { mut fields, .. } = take_front(left)?;
    take_bytes(&mut fields)?;
    take_bytes(&mut fields)?;
    let count = u32::try_from(take_i32(&mut fields)?).ok()?;
    Some(Headers::of(fields, count))
}

/// A record of a checked batch, as far as it is decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct LentRecord<'a> {
    head: &'a [u8; BatchHeader::LEN],
    offset: Offset,
    timestamp_delta: i64,
    /// From the key's length on.
    fields: &'a [u8],
}

impl<'a> LentRecord<'a> {
    /// That of its batch.
    #[inline]
    pub(super) fn header(&self) -> BatchHeader {
        BatchHeader::of_verified(self.head)
    }

    #[inline]
    pub(super) fn offset(&self) -> Offset {
        self.offset
    }

    /// The header of its batch, as it lies there.
    pub(super) fn head(&self) -> &'a [u8; BatchHeader::LEN] {
        self.head
    }

    #[inline]
    pub(super) fn timestamp_delta(&self) -> i64 {
        self.timestamp_delta
    }

    #[inline]
    pub(super) fn key(&self) -> Option<&'a [u8]> {
        take_bytes(&mut { self.fields })?
    }

    #[inline]
    pub(super) fn value(&self) -> Option<&'a [u8]> {
        let mut fields = self.fields;
        if let Some((value, _)) = bare_value(fields) {
            return Some(value);
        }
        take_bytes(&mut fields)?;
        take_bytes(&mut fields)?
    }

    #[inline]
    pub(super) fn headers(&self) -> Headers<'a> {
        let mut fields = self.fields;
        let mut count = || {
            take_bytes(&mut fields)?;
            take_bytes(&mut fields)?;
            u32::try_from(take_i32(&mut fields)?).ok()
        };
        let count = count().unwrap_or(0); // a checked record has it
        Headers::of(fields, count)
    }
}

/// The records of a checked batch, first to last.
#[derive(Clone, Debug)]
pub(super) struct LentRecords<'a> {
    head: &'a [u8; BatchHeader::LEN],
    base: i64,
    left: &'a [u8],
}

impl<'a> LentRecords<'a> {
    /// None at all.
    pub(super) fn none() -> Self {
        LentRecords { head: &[0; BatchHeader::LEN], base: 0, left: &[] }
    }

    /// Those of a batch that is not packed.
    #[inline]
    pub(super) fn of(batch: &Batch<'a>) -> Option<Self> {
        let left = batch.records().ok()?.left();
        let base = batch.header().base_offset().get();
        Some(LentRecords { head: batch.bytes().first_chunk()?, base, left })
    }

    /// Takes the batch at the front of `bytes`, which was verified before, if its records lie open.
    #[inline(always)]
    pub(super) fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let Opened { head, base, records, rest } = BatchHeader::open(bytes)?;
        *bytes = rest;
        Some(LentRecords { head, base, left: records })
    }
}

impl<'a> LentRecords<'a> {
    /// What has not been lent yet.
    pub(super) fn left(&self) -> &'a [u8] {
        self.left
    }
}

impl<'a> Iterator for LentRecords<'a> {
    type Item = LentRecord<'a>;

    #[inline]
    fn next(&mut self) -> Option<LentRecord<'a>> {
        if self.left.is_empty() {
            return None;
        }
        let Front { timestamp_delta, delta, fields } = take_front(&mut self.left)?;
        let offset = Offset::new(self.base.wrapping_add(i64::from(delta))); // checked: no wrap
        Some(LentRecord { head: self.head, offset, timestamp_delta, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Bytes at which numbers end or go on, and lengths that often fit.
    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![0..24_u8, 0x7e..0x83_u8, Just(0xff)];
        vec(byte, 0..most)
    }

    /// Null in place of a key, or the value's length as a key would have it; the value; no headers.
    fn fields_of(null: bool, len: usize) -> Vec<u8> {
        let mut prefix = [0; 10];
        let free = super::super::varint::put(&mut prefix, len as i64).len();
        let null: &[u8] = if null { &[1] } else { &[] };
        [null, &prefix[..10 - free], &vec![7; len], &[0]].concat()
    }

    fn parts<'a>((front, rest): (Front<'a>, &'a [u8])) -> (i64, i32, &'a [u8], &'a [u8]) {
        (front.timestamp_delta, front.delta, front.fields, rest)
    }

    proptest! {
        #[test]
        fn the_front_of_a_record_is_the_same_by_either_way(left in bytes(80)) {
            let mut rest = &left[..];
            let quick = take_front(&mut rest).map(|front| parts((front, rest)));
            prop_assert_eq!(quick, any_front(&left).map(parts));
        }

        #[test]
        fn a_value_is_the_same_by_either_way(fields in bytes(80), len in 0..400_usize, null: bool) {
            for fields in [fields, fields_of(null, len)] {
                if let Some((value, rest)) = bare_value(&fields) {
                    let mut left = &fields[..];
                    prop_assert_eq!(take_bytes(&mut left), Some(None));
                    prop_assert_eq!(take_bytes(&mut left), Some(Some(value)));
                    prop_assert_eq!(left, rest);
                    prop_assert_eq!(skip_bytes(skip_bytes(&fields).unwrap()), Some(rest));
                }
            }
        }
    }

    #[test]
    fn nearly_every_value_without_a_key_is_bare() {
        for len in [1_usize, 63, 64, 127, 128, 8191] {
            let mut fields = fields_of(true, len);
            let (value, rest) = bare_value(&fields).expect("it is");
            assert_eq!((value, rest), (&vec![7; len][..], &[0][..]));
            // null stands for no value, which no length says
            fields[1] = 1;
            assert_eq!(bare_value(&fields), None);
        }
    }
}
