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
    if zigzag < 0x4000 {
        return 2;
    }
    // one byte per started seven bits: up to 64 of them, 9/64 of each is as good as a seventh
    let bits = 64 - zigzag.leading_zeros();
    (bits * 9 + 64) as usize / 64
}

/// A number with its sign in the lowest bit.
#[inline]
pub(super) const fn zigzag(number: i64) -> u64 {
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

/// A number of one byte or two at the front of `bytes`, as nearly all are, its sign still in the
/// lowest bit; and what follows it.
#[inline(always)]
fn short(bytes: &[u8]) -> Option<(u32, &[u8])> {
    match bytes {
        [first, rest @ ..] if *first < 0x80 => Some((u32::from(*first), rest)),
        [first, second, rest @ ..] if *second < 0x80 => {
            Some((u32::from(first & 0x7f) | u32::from(*second) << 7, rest))
        }
        _ => None,
    }
}

/// What a number stands for whose sign is in its lowest bit.
#[inline(always)]
pub(super) fn signed(zigzag: u32) -> i32 {
    (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())
}

/// A number of at most `most` bytes, its sign still in the lowest bit; `None` where none ends
/// there.
///
/// It takes the slice by value: one whose place is lent to a call has to lie in memory, and then
/// each number waits until what was left by the one before is stored.
#[cold]
#[inline(never)]
fn long(bytes: &[u8], most: usize) -> Option<(u64, &[u8])> {
    let mut left = bytes;
    let (mut number, mut shift) = (0, 0);
    for taken in 1..=most {
        let (byte, rest) = left.split_first()?;
        left = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if *byte < 0x80 {
            // the tenth byte holds the last of 64 bits
            let fits = taken < 10 || *byte <= 1;
            return fits.then_some((number, left));
        }
        shift += 7;
    }
    None
}

/// The same of an `i32`.
#[cold]
#[inline(never)]
fn long_i32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, left) = long(bytes, 5)?;
    Some((u32::try_from(number).ok()?, left))
}

/// Takes an `i32` off the front, its sign still in the lowest bit.
#[inline(always)]
fn take_zigzag(bytes: &mut &[u8]) -> Option<u32> {
    let (number, left) = match short(bytes) {
        Some(short) => short,
        None => long_i32(bytes)?,
    };
    *bytes = left;
    Some(number)
}

/// Takes an `i32` off the front.
#[inline(always)]
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    take_zigzag(bytes).map(signed)
}

/// Takes an `i64` off the front.
#[inline(always)]
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let (number, left) = match short(bytes) {
        Some((number, left)) => (u64::from(number), left),
        None => long(bytes, 10)?,
    };
    *bytes = left;
    Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
}

/// Takes an `i32` that is a length off the front: `Some(None)` for -1, which stands for null, and
/// `None` for less.
#[inline(always)]
pub(super) fn take_length(bytes: &mut &[u8]) -> Option<Option<usize>> {
    let number = take_zigzag(bytes)?;
    match number & 1 {
        0 => Some(Some((number >> 1) as usize)), // u32 fits
        _ => (number == 1).then_some(None),
    }
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

        #[test]
        fn a_length_is_the_number_that_it_is(number in -3..=i64::from(i32::MAX) + 3) {
            let mut bytes = [0; 10];
            put(&mut bytes, number);
            let (mut input, mut other) = (&bytes[..], &bytes[..]);
            let taken = take_i32(&mut other);
            let length = match taken {
                Some(-1) => Some(None),
                _ => taken.and_then(|number| usize::try_from(number).ok()).map(Some),
            };
            prop_assert_eq!(take_length(&mut input), length);
            prop_assert_eq!(input, other);
        }
    }

    #[test]
    fn lengths_at_the_edges() {
        for (number, bytes) in
            [(0, 1), (-1, 1), (63, 1), (-64, 1), (64, 2), (8191, 2), (8192, 3), (i64::MIN, 10)]
        {
            assert_eq!(len(number), bytes, "{number}");
        }
        for bits in 1_u32..63 {
            for number in [1 << (bits - 1), (1 << bits) - 1, -1 << (bits - 1)] {
                let zigzag = 64 - zigzag(number).leading_zeros();
                assert_eq!(len(number), zigzag.div_ceil(7) as usize, "{number}");
            }
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
