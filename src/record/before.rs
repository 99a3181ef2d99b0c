//! How far the batches reach that lie before an offset, by their headers alone: who looks for a
//! record passes over some dozens of batches on the way from an index entry, and has no use for
//! what is in them.
//!
//! [`len_before`] takes the fields where they lie, and stops at the first batch that is different
//! in any way: the slow look (`BatchHeader::parse`) goes on there, and its word is final. So it
//! must pass over none that the slow look would stop at. Called by `segment`.

use super::header::{BatchHeader, CODEC_MASK, Codec, MAGIC, at, field};
use crate::ids::Offset;

/// Bytes of the whole batches at the front of `bytes` whose offsets lie from `base` on, no further
/// than an index reaches, and below `wanted`.
#[inline]
pub(crate) fn len_before(bytes: &[u8], base: Offset, wanted: Offset) -> usize {
    let (base, mut len) = (base.get().max(0), 0);
    // no index names what lies further from the base
    let end = wanted.get().min(base.saturating_add(1 << 31));
    while let Some(size) = bytes.get(len..).and_then(|bytes| size_before(bytes, base, end)) {
        len += size;
    }
    len
}

/// The size of the batch at the front, if it is one of those.
#[inline(always)]
fn size_before(bytes: &[u8], base: i64, end: i64) -> Option<usize> {
    let head = bytes.first_chunk::<{ BatchHeader::LEN }>()?;
    let size = BatchHeader::size_of(head)?;
    let first = i64::from_be_bytes(field(head, at::BASE_OFFSET));
    let last_delta = i32::from_be_bytes(field(head, at::LAST_OFFSET_DELTA));
    let count = i32::from_be_bytes(field(head, at::COUNT));
    let codec = i16::from_be_bytes(field(head, at::ATTRIBUTES)) & CODEC_MASK;
    let is_possible = i8::from_be_bytes(field(head, at::MAGIC)) == MAGIC
        && codec <= Codec::Zstd.bits()
        && last_delta >= 0
        && (0..=i64::from(last_delta) + 1).contains(&i64::from(count));
    // below the end, so that the last one does not overflow
    let lies_before = (base..end).contains(&first) && i64::from(last_delta) < end - first;
    (is_possible && lies_before && size <= bytes.len()).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::record::tests::{create, encoded, stamp};

    /// Three batches: offsets 7 and 8, 9, 12 and 13.
    fn run() -> (Vec<u8>, [usize; 3]) {
        let batches = [
            encoded(&[Record::new("a"), Record::new("b")], &create(), stamp(7, 3)),
            encoded(&[Record::new("c")], &create(), stamp(9, 3)),
            encoded(&[Record::new("d"), Record::new("e")], &create(), stamp(12, 3)),
        ];
        (batches.concat(), batches.map(|batch| batch.len()))
    }

    fn len(bytes: &[u8], base: i64, wanted: i64) -> usize {
        len_before(bytes, Offset::new(base), Offset::new(wanted))
    }

    #[test]
    fn whole_batches_below_the_offset_are_passed_over() {
        let (bytes, [a, b, c]) = run();
        let wanted = [(8, 0), (9, a), (10, a + b), (12, a + b), (13, a + b), (14, a + b + c)];
        for (wanted, expected) in wanted {
            assert_eq!(len(&bytes, 0, wanted), expected, "{wanted}");
        }
        assert_eq!(len(&bytes, 0, i64::MAX), bytes.len());
        for cut in 0..bytes.len() {
            let whole = [a + b, a].into_iter().find(|end| *end <= cut).unwrap_or(0);
            assert_eq!(len(&bytes[..cut], 0, i64::MAX), whole, "{cut}");
        }
    }

    #[test]
    fn what_does_not_fit_the_segment_is_not() {
        let (bytes, [a, b, c]) = run();
        assert_eq!(len(&bytes, 8, i64::MAX), 0); // it begins before the base
        assert_eq!(len(&bytes, 7, i64::MAX), a + b + c);
        let far = encoded(&[Record::new("x")], &create(), stamp(1 << 31, 3));
        assert_eq!(len(&far, 1, i64::MAX), far.len()); // the last that an index can name
        assert_eq!(len(&far, 0, i64::MAX), 0);
        let last = encoded(&[Record::new("x")], &create(), stamp(i64::MAX - 1, 3));
        assert_eq!(len(&last, i64::MAX - 5, i64::MAX), last.len());
    }

    /// What both looks say of the batch at the front: whether it is passed over.
    fn is_passed_by_the_slow_look(bytes: &[u8], base: i64, wanted: i64) -> bool {
        BatchHeader::parse(bytes, bytes.len()).is_ok_and(|header| {
            let reach = header.last_offset().get().checked_sub(base);
            header.base_offset().get() >= base
                && reach.is_some_and(|reach| i32::try_from(reach).is_ok())
                && header.last_offset().get() < wanted
        })
    }

    #[test]
    fn none_is_passed_over_that_the_slow_look_stops_at() {
        let (whole, [first, ..]) = run();
        let mut different = 0;
        for bit in 0..BatchHeader::LEN * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            for (base, wanted) in [(0, 9), (7, 9), (7, 100), (8, 100), (0, i64::MAX)] {
                let slow = is_passed_by_the_slow_look(&bytes, base, wanted);
                assert_eq!(len(&bytes, base, wanted) > 0, slow, "bit {bit}, {base} to {wanted}");
                different += usize::from(slow != (len(&whole, base, wanted) > 0));
            }
        }
        assert!(different > 100, "{different} bits made a difference, of batches of {first} bytes");
    }
}
