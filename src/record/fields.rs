//! The bytes of one record: how many they are, and how they are stored.
//!
//! Most records have no key and no headers and lie near the first of their batch: what stands in
//! front of the value of such a one has one of two shapes and is stored at once. All others go
//! field by field; the bytes are the same. Called by whatever writes batches.

use super::pieces::{LENT_BYTES, Pieces};
use super::single::Record;
use super::varint;

/// Lengths of a value for which its own length and its record's take two bytes each.
const VALUES_AT_ONCE: std::ops::Range<usize> = 64..8_184;

/// The bytes of a record behind its length field.
#[inline(always)] // see `producer::walk`
pub(super) fn body_len(record: &Record<'_>, timestamp_delta: i64, offset_delta: u32) -> usize {
    let mut len = 1 + varint::len(timestamp_delta) + varint::len(i64::from(offset_delta));
    len += bytes_len(record.key) + bytes_len(record.value);
    len += varint::len(signed(record.headers.len()));
    for header in &record.headers {
        len += bytes_len(Some(header.name.as_bytes())) + bytes_len(header.value);
    }
    len
}

/// What a record takes with its length in front.
#[inline]
pub(super) fn framed(body: usize) -> usize {
    varint::len(i64::try_from(body).unwrap_or(i64::MAX)).saturating_add(body)
}

#[inline]
fn bytes_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint::len(signed(bytes.len())) + bytes.len(),
        None => 1,
    }
}

/// A length as the format writes it; a slice is never longer than `isize::MAX`.
#[inline]
pub(super) const fn signed(len: usize) -> i64 {
    len.cast_signed() as i64
}

/// Writes a record and returns what is left of `out`.
#[inline(always)] // see `producer::walk`
pub(super) fn put_record<'o>(
    out: &'o mut [u8],
    record: &Record<'_>,
    body_len: usize,
    timestamp_delta: i64,
    offset_delta: u32,
) -> &'o mut [u8] {
    if let Some(value) = bare_value(record)
        && let Some(front) = put_front(out, timestamp_delta, offset_delta, value.len())
    {
        return put_end(&mut out[front..], value);
    }
    put_fields(out, record, [signed(body_len), timestamp_delta, i64::from(offset_delta)])
}

/// The value of a record that has neither a key nor headers.
#[inline(always)] // see `producer::walk`
fn bare_value<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    if record.key.is_none() && record.headers.is_empty() { record.value } else { None }
}

/// Writes a record, if it fits, and returns how many bytes it took. Where it does not, up to nine
/// bytes may have been stored all the same.
#[inline(always)] // see `producer::linger`
pub(super) fn put_fitting(
    out: &mut [u8],
    record: &Record<'_>,
    timestamp_delta: i64,
    offset_delta: u32,
) -> Option<usize> {
    put_value(out, record, timestamp_delta, offset_delta)
        .or_else(|| put_other(out, record, timestamp_delta, offset_delta))
}

/// The same for a record that is a value alone, if what stands in front of that is stored at once:
/// then its length is known without a look at each number.
#[inline(always)] // see `producer::linger`
fn put_value(
    out: &mut [u8],
    record: &Record<'_>,
    timestamp_delta: i64,
    offset_delta: u32,
) -> Option<usize> {
    let value = bare_value(record)?;
    let front = put_front(out, timestamp_delta, offset_delta, value.len())?;
    let size = front + value.len() + 1;
    put_end(out.get_mut(front..size)?, value);
    Some(size)
}

/// The same for any record.
#[inline(never)]
fn put_other(
    out: &mut [u8],
    record: &Record<'_>,
    timestamp_delta: i64,
    offset_delta: u32,
) -> Option<usize> {
    let body = body_len(record, timestamp_delta, offset_delta);
    let size = framed(body);
    let numbers = [signed(body), timestamp_delta, i64::from(offset_delta)];
    put_fields(out.get_mut(..size)?, record, numbers);
    Some(size)
}

/// Writes what comes behind a front, and returns what is left of `out`.
#[inline(always)] // see `producer::walk`
fn put_end<'o>(out: &'o mut [u8], value: &[u8]) -> &'o mut [u8] {
    let (place, rest) = out.split_at_mut(value.len());
    place.copy_from_slice(value);
    rest[0] = 0; // no headers
    &mut rest[1..]
}

/// Writes what stands in front of a value of 64 bytes to some 8 KiB that has no key and no headers
/// behind it, where the timestamp's delta takes one byte and the offset's one or two, and returns
/// how many bytes that takes: one store, where each number by itself waits for the place of the
/// one before.
#[inline(always)] // see `producer::walk`
fn put_front(
    out: &mut [u8],
    timestamp_delta: i64,
    offset_delta: u32,
    value: usize,
) -> Option<usize> {
    const NULL: u64 = 1;
    let (timestamp, offset) = (varint::zigzag(timestamp_delta), u64::from(offset_delta) * 2);
    if !VALUES_AT_ONCE.contains(&value) || timestamp >= 0x80 {
        return None;
    }
    let two = |number: u64| number & 0x7f | 0x80 | number >> 7 << 8;
    let value = value as u64 * 2; // below 2^14, as the body is
    // attributes, of which none are defined, time, key and headers, a byte each, two for a length
    let begin = |offset: u64| two(value + (offset + 6) * 2) | timestamp << 24;
    if offset < 0x80 {
        let front = begin(1) | offset << 32 | NULL << 40 | two(value) << 48;
        out.first_chunk_mut::<8>()?.copy_from_slice(&front.to_le_bytes());
        return Some(8);
    }
    if offset >= 0x4000 {
        return None;
    }
    let front = begin(2) | two(offset) << 32 | NULL << 48 | two(value) << 56;
    let out = out.first_chunk_mut::<9>()?;
    out[..8].copy_from_slice(&front.to_le_bytes());
    out[8] = (value >> 7).to_le_bytes()[0];
    Some(9)
}

/// The value of a record, where it is so large that it is left where it lies.
#[inline]
pub(super) fn lent<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    record.value.filter(|value| value.len() >= LENT_BYTES)
}

/// Writes a record behind the others, or what stands around its value, which is lent.
pub(super) fn put_in_pieces<'a>(
    pieces: &mut Pieces<'a>,
    record: &Record<'a>,
    timestamp_delta: i64,
    offset_delta: u32,
) {
    let body = body_len(record, timestamp_delta, offset_delta);
    let numbers = [signed(body), timestamp_delta, i64::from(offset_delta)];
    let lent = lent(record);
    let built = pieces.built_mut();
    let start = built.len();
    let len = varint::len(signed(body)) + body - lent.map_or(0, <[u8]>::len);
    built.resize(start + len, 0);
    let Some(value) = lent else {
        put_record(&mut built[start..], record, body, timestamp_delta, offset_delta);
        return;
    };
    let out = put_before_value(&mut built[start..], record, numbers);
    let out = varint::put(out, signed(value.len()));
    let place = start + len - out.len();
    put_headers(out, record);
    pieces.lend(place, value);
}

/// A record, field by field: the numbers are its length and its deltas.
#[inline(always)] // see `producer::walk`
fn put_fields<'o>(out: &'o mut [u8], record: &Record<'_>, numbers: [i64; 3]) -> &'o mut [u8] {
    let out = put_before_value(out, record, numbers);
    let out = put_bytes(out, record.value);
    put_headers(out, record)
}

#[inline(always)] // see `producer::walk`
fn put_before_value<'o>(out: &'o mut [u8], record: &Record<'_>, numbers: [i64; 3]) -> &'o mut [u8] {
    let [body, timestamp, offset] = numbers;
    let mut out = varint::put(out, body);
    out[0] = 0; // attributes: none are defined
    out = &mut out[1..];
    out = varint::put(out, timestamp);
    out = varint::put(out, offset);
    put_bytes(out, record.key)
}

#[inline(always)] // see `producer::walk`
fn put_headers<'o>(out: &'o mut [u8], record: &Record<'_>) -> &'o mut [u8] {
    let mut out = varint::put(out, signed(record.headers.len()));
    for header in &record.headers {
        out = put_bytes(out, Some(header.name.as_bytes()));
        out = put_bytes(out, header.value);
    }
    out
}

#[inline(always)] // see `producer::walk`
fn put_bytes<'o>(out: &'o mut [u8], bytes: Option<&[u8]>) -> &'o mut [u8] {
    let Some(bytes) = bytes else { return varint::put(out, -1) };
    let out = varint::put(out, signed(bytes.len()));
    let (place, rest) = out.split_at_mut(bytes.len());
    place.copy_from_slice(bytes);
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// At and around where a number takes a byte more.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![0..200_usize, 8_000..8_400_usize]
    }

    proptest! {
        #[test]
        fn a_front_is_what_its_fields_are(
            value in length(),
            has_key in prop::bool::weighted(0.1),
            timestamp in prop_oneof![-70..70_i64, any::<i64>()],
            offset in prop_oneof![0..200_u32, 8_000..8_400_u32, 0..i32::MAX.cast_unsigned()],
        ) {
            let value = vec![7; value];
            let record = Record::new(&value);
            let record = if has_key { record.key("k") } else { record };
            let body = body_len(&record, timestamp, offset);
            let mut at_once = vec![9; varint::len(signed(body)) + body];
            let mut by_field = at_once.clone();
            let rest = put_record(&mut at_once, &record, body, timestamp, offset).len();
            prop_assert_eq!(rest, 0);
            put_fields(&mut by_field, &record, [signed(body), timestamp, offset.into()]);
            prop_assert_eq!(&at_once, &by_field);

            let size = by_field.len();
            let mut fitting = vec![9; size + 1];
            for (room, len) in [(size + 1, Some(size)), (size, Some(size)), (size - 1, None)] {
                let put = put_fitting(&mut fitting[..room], &record, timestamp, offset);
                prop_assert_eq!(put, len);
                prop_assert_eq!(&fitting[..size], &by_field[..]);
            }
        }
    }

    #[test]
    fn a_front_is_stored_at_once_up_to_its_edges_and_no_further() {
        for (value, timestamp, offset, front) in [
            (64, 0, 0, Some(8)),
            (8_183, -64, 63, Some(8)),
            (8_183, -64, 64, Some(9)),
            (100, 63, 64, Some(9)),
            (100, 0, 8_191, Some(9)),
            (100, 0, 8_192, None),
            (100, 64, 0, None),
            (100, -65, 0, None),
            (63, 0, 0, None),
            (8_184, 0, 0, None),
        ] {
            let value = vec![7; value];
            let record = Record::new(&value);
            let body = body_len(&record, timestamp, offset);
            let mut by_field = vec![9; varint::len(signed(body)) + body];
            put_fields(&mut by_field, &record, [signed(body), timestamp, offset.into()]);
            let mut out = [0; 9];
            let stored = put_front(&mut out, timestamp, offset, value.len());
            assert_eq!(stored, front, "{} bytes, {timestamp}, {offset}", value.len());
            let len = stored.unwrap_or(0);
            assert_eq!(out[..len], by_field[..len]);
        }
    }
}
