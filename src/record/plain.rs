//! Nearly every batch that is read is plain: it follows the one before, its checksum fits, and
//! each of its records can be lent as it lies, neither compressed nor a marker.
//! [`Plain::at_front`] looks at such a batch once, field by field where it lies, and keeps the few
//! numbers that a walk over many needs.
//!
//! What is wrong with any other batch, or different about it, it does not say: in doubt it says no,
//! and who asked looks again with `Batch::verify`, whose word is final. So it must never say yes
//! where that one says no. Called by `segment`.

use super::header::{BatchHeader, MAGIC, at, field};
use super::lend::are_sound;
use crate::ids::Offset;

/// What a walk keeps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    /// Bytes of the whole batch.
    pub(crate) size: usize,
    pub(crate) count: u32,
    pub(crate) last_offset: Offset,
    /// As it stands there: -1 for none.
    pub(crate) leader_epoch: i32,
}

/// How a batch has to follow what lies before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follows {
    /// The one after the last; not negative.
    pub(crate) next_offset: Offset,
    /// Whether offsets may have been left out in between.
    pub(crate) may_skip: bool,
    /// The epoch of the batch before, or -1; none may fall behind it.
    pub(crate) leader_epoch: i32,
}

impl Plain {
    /// The batch at the front of `bytes`, which may go on behind it, with the caller's way to a
    /// CRC-32C.
    #[inline(always)]
    pub(crate) fn at_front(
        bytes: &[u8],
        follows: Follows,
        crc32c_of: impl Fn(&[u8]) -> u32,
    ) -> Option<Self> {
        let head = bytes.first_chunk::<{ BatchHeader::LEN }>()?;
        let size = BatchHeader::size_of(head)?;
        let batch = bytes.get(..size)?;
        let records = batch.get(BatchHeader::LEN..)?;
        let base = i64::from_be_bytes(field(head, at::BASE_OFFSET));
        let leader_epoch = i32::from_be_bytes(field(head, at::LEADER_EPOCH));
        let last_delta = i32::from_be_bytes(field(head, at::LAST_OFFSET_DELTA));
        let count = u32::from_be_bytes(field(head, at::COUNT));
        let next = follows.next_offset.get();
        let fits = i8::from_be_bytes(field(head, at::MAGIC)) == MAGIC
            && BatchHeader::is_open(head)
            && (base == next || (follows.may_skip && base > next))
            && leader_epoch >= follows.leader_epoch
            && last_delta >= 0
            && count <= last_delta.unsigned_abs() + 1;
        let stored = u32::from_be_bytes(field(head, at::CRC));
        if !fits || crc32c_of(&batch[at::ATTRIBUTES..]) != stored {
            return None;
        }
        // one more than the last has to be an offset as well
        let last = base.checked_add(i64::from(last_delta)).filter(|last| *last < i64::MAX)?;
        are_sound(records, count, last_delta).then_some(Plain {
            size,
            count,
            last_offset: Offset::new(last),
            leader_epoch,
        })
    }
}

/// That this look and the slow one agree about what lies at the front of `bytes`, whatever it is.
#[cfg(any(test, fuzzing))]
pub(super) fn check_agreement(bytes: &[u8]) {
    use super::batch::Batch;
    let Some(head) = bytes.first_chunk::<{ BatchHeader::LEN }>() else { return };
    let leader_epoch = i32::from_be_bytes(field(head, at::LEADER_EPOCH));
    let next_offset = Offset::new(i64::from_be_bytes(field(head, at::BASE_OFFSET)));
    if next_offset < Offset::ZERO {
        return; // nobody asks for what follows there
    }
    let slow = Batch::verify(bytes).ok().filter(|batch| !batch.header().is_control());
    let expected = slow.filter(|_| leader_epoch >= -1).and_then(|batch| {
        let (count, header) = (batch.sound_count()?, batch.header());
        Some(Plain { size: header.size(), count, last_offset: header.last_offset(), leader_epoch })
    });
    let follows = Follows { next_offset, may_skip: false, leader_epoch: -1 };
    assert_eq!(Plain::at_front(bytes, follows, crc32c::crc32c), expected);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{create, encoded, stamp};
    use crate::record::{Batch, Record};

    fn look(bytes: &[u8], next: i64, may_skip: bool, leader_epoch: i32) -> Option<Plain> {
        let follows = Follows { next_offset: Offset::new(next), may_skip, leader_epoch };
        Plain::at_front(bytes, follows, crc32c::crc32c)
    }

    #[test]
    fn it_must_follow_what_lies_before_it() {
        let bytes = encoded(&[Record::new("a"), Record::new("b")], &create(), stamp(7, 3));
        let plain = look(&bytes, 7, false, 3).expect("it follows");
        assert_eq!((plain.size, plain.count), (bytes.len(), 2));
        assert_eq!((plain.last_offset, plain.leader_epoch), (Offset::new(8), 3));
        assert_eq!(look(&bytes, 6, false, 3), None); // an offset is left out
        assert_eq!(look(&bytes, 6, true, 3), Some(plain));
        assert_eq!(look(&bytes, 8, true, 3), None); // it falls behind
        assert_eq!(look(&bytes, 7, false, 4), None); // so does its epoch
        assert_eq!(look(&bytes, 7, false, -1), Some(plain));
    }

    #[test]
    fn all_of_it_has_to_be_there_and_what_follows_does_not_matter() {
        let bytes = encoded(&[Record::new("value").key("key")], &create(), stamp(7, 3));
        for len in 0..bytes.len() {
            assert_eq!(look(&bytes[..len], 7, false, -1), None, "{len}");
        }
        let longer = [&bytes[..], &bytes].concat();
        assert_eq!(look(&longer, 7, false, -1), look(&bytes, 7, false, -1));
    }

    #[test]
    fn whatever_a_batch_is_both_looks_agree() {
        let plain = encoded(&[Record::new("a"), Record::new("bc")], &create(), stamp(7, 3));
        let emptied = Batch::verify(&plain).unwrap().emptied();
        for whole in [plain, emptied] {
            for bit in 0..whole.len() * 8 {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                check_agreement(&bytes);
                // and where a checksum was made of what is wrong
                let sum = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
                bytes[at::CRC..at::ATTRIBUTES].copy_from_slice(&sum.to_be_bytes());
                check_agreement(&bytes);
            }
        }
    }
}
