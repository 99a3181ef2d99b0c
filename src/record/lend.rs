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
#[cfg_attr(test, derive(Debug, PartialEq))]
struct Front<'a> {
    timestamp_delta: i64,
    delta: i32,
    /// From the key's length on.
    fields: &'a [u8],
}

/// Takes a record off the front, decoded as far as its key.
///
/// Nearly every one has a byte for its timestamp delta, and at most two for its length and its
/// offset delta: of the word that it begins with, one comparison tells each of these four shapes.
#[inline(always)]
fn take_front<'a>(left: &mut &'a [u8]) -> Option<Front<'a>> {
    let word = left.first_chunk().map_or(u64::MAX, |word| u64::from_le_bytes(*word));
    // length, length, attributes, timestamp delta, offset delta, offset delta; the length is even
    let (front, rest) = if word & 0x80_80_00_80_81 == 0x80 {
        short_front(left, (2, 3), [two(word), one(word >> 24), one(word >> 32)])?
    } else if word & 0x80_80_80_00_80_81 == 0x80_00_00_00_80 {
        short_front(left, (2, 4), [two(word), one(word >> 24), two(word >> 32)])?
    // length, attributes, timestamp delta, offset delta, offset delta
    } else if word & 0x80_80_00_81 == 0 {
        short_front(left, (1, 3), [one(word), one(word >> 16), one(word >> 24)])?
    } else if word & 0x80_80_80_00_81 == 0x80_00_00_00 {
        short_front(left, (1, 4), [one(word), one(word >> 16), two(word >> 24)])?
    } else {
        any_front(left)?
    };
    *left = rest;
    Some(front)
}

/// A number of one byte at the front of a word.
#[inline(always)]
fn one(word: u64) -> u32 {
    (word & 0x7f) as u32 // fits
}

/// A number of two.
#[inline(always)]
fn two(word: u64) -> u32 {
    (word & 0x7f | (word & 0x7f00) >> 1) as u32 // fits
}

/// Such a record: the bytes of its length, and from there those before the key; its length and its
/// deltas, the signs still in their lowest bits.
#[inline(always)]
fn short_front(
    left: &[u8],
    (len_size, front_size): (usize, usize),
    [len, timestamp_delta, delta]: [u32; 3],
) -> Option<(Front<'_>, &[u8])> {
    let (record, rest) = left.get(len_size..)?.split_at_checked((len >> 1) as usize)?;
    let fields = record.get(front_size..)?;
    let timestamp_delta = i64::from(signed(timestamp_delta));
    Some((Front { timestamp_delta, delta: signed(delta), fields }, rest))
}

/// The same of any record, number by number.
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

/// The value of a record without a key, and what follows it, where at most two bytes say how long
/// it is, as of nearly all of these. `None` says nothing: look number by number.
#[inline(always)]
fn bare_value(fields: &[u8]) -> Option<(&[u8], &[u8])> {
    let word = u32::from_le_bytes(*fields.first_chunk()?);
    // null, length, length; the length is even
    if word & 0x80_81_ff == 0x80_01 {
        fields[3..].split_at_checked((two(u64::from(word >> 8)) >> 1) as usize)
    } else if word & 0x81_ff == 0x01 {
        fields[2..].split_at_checked((one(u64::from(word >> 8)) >> 1) as usize)
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

/// Takes a record off the front; how far its timestamp lies from its batch's.
pub(super) fn take_timestamp_delta(left: &mut &[u8]) -> Option<i64> {
    Some(take_front(left)?.timestamp_delta)
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
    use super::super::varint::put;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const TIMESTAMP_DELTAS: [i64; 8] = [0, 1, -1, 63, -64, 64, -65, 1 << 40];
    const DELTAS: [i64; 8] = [0, 1, 63, 64, 8191, 8192, -1, -8192];

    fn number(number: i64) -> Vec<u8> {
        let mut bytes = [0; 10];
        let free = put(&mut bytes, number).len();
        bytes[..10 - free].to_vec()
    }

    /// The same with a byte more than it needs.
    fn overlong(number: Vec<u8>) -> Vec<u8> {
        let mut bytes = number;
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(0);
        bytes
    }

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![0..24_u8, 0x7e..0x83_u8, Just(0xff)], 0..most)
    }

    /// Records of all shapes; some have a wrong length, or one byte too many for a number, or end
    /// too early.
    fn records() -> impl Strategy<Value = Vec<u8>> {
        use proptest::sample::select;
        let deltas = (select(&TIMESTAMP_DELTAS[..]), select(&DELTAS[..]));
        let wrong = (prop_oneof![4 => Just(0), 1 => -3..=3_i64], any::<(bool, bool)>());
        let cut = prop_oneof![2 => Just(usize::MAX), 1 => 0..220_usize];
        (any::<u8>(), deltas, bytes(200), wrong, cut).prop_map(
            |(attributes, (timestamp_delta, delta), fields, (off, (long_len, long_delta)), cut)| {
                let longer = |long, bytes| if long { overlong(bytes) } else { bytes };
                let delta = longer(long_delta, number(delta));
                let record = [vec![attributes], number(timestamp_delta), delta, fields].concat();
                let len = longer(long_len, number(record.len() as i64 + off));
                let mut all = [len, record, vec![7; 9]].concat();
                all.truncate(cut);
                all
            },
        )
    }

    proptest! {
        #[test]
        fn the_front_of_a_record_is_the_same_by_either_way(
            left in prop_oneof![bytes(80), records()]
        ) {
            let mut rest = &left[..];
            let taken = take_front(&mut rest).map(|front| (front, rest));
            prop_assert_eq!(taken, any_front(&left));
        }

        #[test]
        fn a_value_is_the_same_by_either_way(
            any in bytes(80), len in 0..400_i64, left in bytes(400)
        ) {
            for fields in [any, [vec![1], number(len), left].concat()] {
                if let Some((value, rest)) = bare_value(&fields) {
                    let mut left = &fields[..];
                    prop_assert_eq!(take_bytes(&mut left), Some(None));
                    prop_assert_eq!(take_bytes(&mut left), Some(Some(value)));
                    prop_assert_eq!(left, rest);
                }
            }
        }
    }

    #[test]
    fn a_front_is_what_was_put_there() {
        for (timestamp_delta, delta) in
            TIMESTAMP_DELTAS.iter().flat_map(|at| DELTAS.map(|delta| (*at, delta)))
        {
            for size in [0, 3, 55, 56, 60, 64, 200, 8180, 9000] {
                let (fields, behind) = (vec![5; size], [9; 8]);
                let record = [&[3][..], &number(timestamp_delta), &number(delta), &fields].concat();
                let all = [&number(record.len() as i64), &record[..], &behind].concat();
                let mut left = &all[..];
                let front = take_front(&mut left).expect("one");
                let delta = i32::try_from(delta).unwrap();
                assert_eq!(front, Front { timestamp_delta, delta, fields: &fields });
                assert_eq!(left, behind);
            }
        }
    }

    #[test]
    fn nearly_every_value_without_a_key_is_bare() {
        for len in [1_usize, 2, 63, 64, 127, 128, 8191] {
            let (value, rest) = (vec![7; len], [0]);
            let mut fields = [&[1], &number(len as i64)[..], &value, &rest].concat();
            assert_eq!(bare_value(&fields), Some((&value[..], &rest[..])));
            fields.truncate(fields.len() - 2);
            assert_eq!(bare_value(&fields), None, "a byte is missing");
        }
        let long = [&[1], &number(8192)[..], &[7; 8193]].concat();
        let none = [1, 1, 0, 0];
        let negative = [1, 0x81, 1, 0];
        let overlong_null = [0x81, 0, 2, 7, 0];
        let keyed = [2, 7, 2, 7, 0];
        for fields in [&long[..], &none, &negative, &overlong_null, &keyed] {
            assert_eq!(bare_value(fields), None, "{:?}", &fields[..4]);
        }
    }
}
