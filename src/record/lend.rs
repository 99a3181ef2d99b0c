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
use super::varint::{take_i32, take_i64, take_length};
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
    let len = take_length(left)??;
    let (record, rest) = left.split_at_checked(len)?;
    *left = rest;
    let (_attributes, mut fields) = record.split_first()?;
    take_i64(&mut fields)?;
    let delta = take_i32(&mut fields)?;
    let fields = skip_bytes(skip_bytes(fields)?)?;
    (fields == [0] || has_sound_headers(fields)).then_some(delta)
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
    let len = take_length(left)??;
    let (record, rest) = left.split_at_checked(len)?;
    *left = rest;
    let (_attributes, mut fields) = record.split_first()?;
    take_i64(&mut fields)?;
    take_i32(&mut fields)?;
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
        let mut left = self.left;
        let len = take_length(&mut left)??;
        let (record, rest) = left.split_at_checked(len)?;
        self.left = rest;
        let (_attributes, mut fields) = record.split_first()?;
        let timestamp_delta = take_i64(&mut fields)?;
        let delta = i64::from(take_i32(&mut fields)?);
        let offset = Offset::new(self.base.wrapping_add(delta)); // checked: it does not wrap
        Some(LentRecord { head: self.head, offset, timestamp_delta, fields })
    }
}
