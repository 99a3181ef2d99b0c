//! Zig-zag variable-length integers, as every length and delta inside a record is written.
//!
//! Seven bits a byte, least significant first, the top bit set on all but the last. Five bytes hold
//! an `i32`, ten an `i64`; more is an error, and so is the end of the input.

/// How many bytes a number takes.
#[inline]
pub(super) const fn len(number: i64) -> usize {
    let zigzag = zigzag(number);
    if zigzag < 0x80 {
        return 1; // as most are
    }
    // one byte per started seven bits
    let bits = 64 - zigzag.leading_zeros();
    bits.div_ceil(7) as usize
}

#[inline]
const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Writes a number and returns what is left of `out`, which must hold it. Nearly all have one byte
/// or two.
#[inline(always)] // see `producer::walk`
pub(super) fn put(out: &mut [u8], number: i64) -> &mut [u8] {
    let number = zigzag(number);
    if number < 0x80 {
        out[0] = low_byte(number);
        return &mut out[1..];
    }
    if number < 0x4000 {
        out[1] = low_byte(number >> 7);
        out[0] = low_byte(number) | 0x80;
        return &mut out[2..];
    }
    put_long(out, number)
}

/// The same of any length, after the sign was put in.
#[inline(never)]
fn put_long(out: &mut [u8], mut rest: u64) -> &mut [u8] {
    let mut at = 0;
    while rest >= 0x80 {
        out[at] = low_byte(rest) | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = low_byte(rest);
    &mut out[at + 1..]
}

#[inline]
fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// Takes a number off the front of `bytes`; `None` where none of at most `most` bytes ends there.
/// Nearly all have one byte or two: those are taken without a loop.
#[inline]
fn take(bytes: &mut &[u8], most: usize) -> Option<i64> {
    let number = match *bytes {
        [first, rest @ ..] if *first < 0x80 => {
            *bytes = rest;
            u64::from(*first)
        }
        [first, second, rest @ ..] if *second < 0x80 => {
            *bytes = rest;
            u64::from(first & 0x7f) | u64::from(*second) << 7
        }
        _ => take_long(bytes, most)?,
    };
    Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
}

/// The same of any length, before the sign is taken out.
#[inline(never)]
fn take_long(bytes: &mut &[u8], most: usize) -> Option<u64> {
    let mut left = *bytes;
    let (mut number, mut shift) = (0, 0);
    for taken in 1..=most {
        let (byte, rest) = left.split_first()?;
        left = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if *byte < 0x80 {
            // the tenth byte holds the last of 64 bits
            if taken == 10 && *byte > 1 {
                return None;
            }
            *bytes = left;
            return Some(number);
        }
        shift += 7;
    }
    None
}

/// Takes an `i32` off the front.
#[inline]
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    i32::try_from(take(bytes, 5)?).ok()
}

/// Takes an `i64` off the front.
#[inline]
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    take(bytes, 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(number: i64) {
            let mut bytes = [0; 10];
            let left = put(&mut bytes, number).len();
            prop_assert_eq!(10 - left, len(number));
            let mut input = &bytes[..len(number)];
            prop_assert_eq!(take_i64(&mut input), Some(number));
            prop_assert!(input.is_empty());
            let mut short = &bytes[..len(number) - 1];
            prop_assert_eq!(take_i64(&mut short), None);
        }
    }

    #[test]
    fn lengths_at_the_edges() {
        for (number, bytes) in
            [(0, 1), (-1, 1), (63, 1), (-64, 1), (64, 2), (8191, 2), (8192, 3), (i64::MIN, 10)]
        {
            assert_eq!(len(number), bytes, "{number}");
        }
    }

    #[test]
    fn numbers_that_do_not_end_or_do_not_fit_are_refused() {
        assert_eq!(take_i32(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]), None);
        assert_eq!(take_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x7f][..]), None);
        assert_eq!(take_i64(&mut &[0xff; 11][..]), None);
        assert_eq!(
            take_i64(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]),
            None
        );
        assert_eq!(take_i32(&mut &[][..]), None);
        assert_eq!(take_i32(&mut &[0x01][..]), Some(-1));
    }
}
