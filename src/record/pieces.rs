//! A batch in pieces, to be written by position: what is small is put together in one place, large
//! values and records that are encoded already are left where they lie.
//!
//! A second copy of a mebibyte costs as much as the checksum of it. Small values are copied all the
//! same: to the system a piece of its own costs more than their bytes. The pieces in their order
//! are what [`AppendBatch::write`](super::AppendBatch::write) writes, byte for byte.

use std::io::IoSlice;

use super::encode::Sum;
use super::header::BatchHeader;

/// Values from this size on are left where they lie.
pub(super) const LENT_BYTES: usize = 8 << 10;

/// A whole batch.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    /// The header first.
    built: Vec<u8>,
    /// What belongs in between, each with the place in `built` that it stands before.
    lent: Vec<(usize, &'a [u8])>,
}

impl<'a> Pieces<'a> {
    /// Of a batch that is built throughout.
    pub(super) fn whole(built: Vec<u8>) -> Self {
        Pieces { built, lent: Vec::new() }
    }

    /// Begins with room for a header, in memory that is used again; `len` bytes are to be built.
    pub(crate) fn begin(mut built: Vec<u8>, len: usize) -> Self {
        built.clear();
        built.reserve_exact(len);
        built.resize(BatchHeader::LEN, 0);
        Pieces { built, lent: Vec::new() }
    }

    /// The header, and all else that was built.
    #[inline]
    pub(crate) fn built(&self) -> &[u8] {
        &self.built
    }

    pub(crate) fn built_mut(&mut self) -> &mut Vec<u8> {
        &mut self.built
    }

    /// These bytes come next, before what is built at `place`, which is no earlier than the last.
    pub(crate) fn lend(&mut self, place: usize, bytes: &'a [u8]) {
        debug_assert!(place <= self.built.len());
        debug_assert!(self.lent.last().is_none_or(|(before, _)| *before <= place));
        self.lent.push((place, bytes));
    }

    /// A checksum over all from `start` of what is built on.
    pub(super) fn sum_from(&self, start: usize, begun: u32, sum: impl Sum) -> u32 {
        let (mut at, mut crc) = (start, begun);
        for (place, bytes) in &self.lent {
            crc = sum(sum(crc, &self.built[at..*place]), bytes);
            at = *place;
        }
        sum(crc, &self.built[at..])
    }

    /// In their order; `None` where there is one alone, which is all that is built.
    pub(crate) fn slices(&self) -> Option<Vec<IoSlice<'_>>> {
        if self.lent.is_empty() {
            return None;
        }
        let mut slices = Vec::with_capacity(self.lent.len() * 2 + 1);
        let mut at = 0;
        for (place, bytes) in &self.lent {
            slices.extend([IoSlice::new(&self.built[at..*place]), IoSlice::new(bytes)]);
            at = *place;
        }
        slices.push(IoSlice::new(&self.built[at..]));
        slices.retain(|slice| !slice.is_empty());
        Some(slices)
    }

    /// The memory, to be used again.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.built
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::tests::{create, stamp};
    use super::super::{
        AppendBatch, Batch, BatchBuffer, BatchRules, BorrowedBatch, Produced, ProducerIdentity,
        ProducerStamp, Record, Stamp, TimestampRule,
    };
    use super::*;
    use crate::ids::{ProducerEpoch, ProducerId, Sequence};
    use crate::time::Timestamp;

    fn joined(pieces: &Pieces<'_>) -> Vec<u8> {
        let Some(slices) = pieces.slices() else { return pieces.built().to_vec() };
        assert!(slices.iter().all(|slice| !slice.is_empty()));
        slices.iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    /// That the pieces of a batch are what it writes; how many bytes are lent.
    #[track_caller]
    pub(crate) fn check(batch: &impl AppendBatch, stamp: Stamp) -> usize {
        let mut written = vec![9; batch.size()];
        batch.write(stamp, &mut written, crc32c::crc32c_append);
        let whole = batch.whole(stamp, vec![8; 5], crc32c::crc32c_append);
        assert!(whole.slices().is_none() && whole.built() == written, "put together");
        let pieces = batch.pieces(stamp, vec![8; 100], crc32c::crc32c_append);
        assert!(joined(&pieces) == written, "in pieces");
        written.len() - pieces.built().len()
    }

    fn len() -> impl Strategy<Value = Option<usize>> {
        let around = LENT_BYTES - 2..LENT_BYTES + 3;
        prop_oneof![Just(None), (0..300_usize).prop_map(Some), around.prop_map(Some)]
    }

    proptest! {
        #[test]
        fn they_are_what_a_batch_writes(
            made in prop::collection::vec((len(), len(), 0..3_usize, 0..9_000_i64), 1..12),
            base in 0..i64::MAX - 100,
            (is_numbered, transactional, by_clock) in any::<(bool, bool, bool)>(),
            is_sealed in any::<bool>(),
        ) {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(2 * LENT_BYTES).collect();
            let field = |len: Option<usize>, from: usize| Some(&bytes[from..from + len?]);
            let records: Vec<_> = (0..).zip(&made).map(|(at, (key, value, headers, time))| {
                let mut record = Record::tombstone();
                (record.key, record.value) = (field(*key, at), field(*value, at + 7));
                for _ in 0..*headers {
                    record = record.header("name", &bytes[..at]);
                }
                record.timestamp(Timestamp::from_millis(*time))
            }).collect();
            let identity = ProducerIdentity::new(ProducerId::new(5), ProducerEpoch::new(2));
            let first = Some(Sequence::FIRST);
            let producer = ProducerStamp { identity, first, transactional };
            let stamp = Stamp { producer: is_numbered.then_some(producer), ..stamp(base, 3) };
            let timestamps = match by_clock {
                true => TimestampRule::Append { now: Timestamp::from_millis(5_000) },
                false => create().timestamps,
            };
            let rules = BatchRules { timestamps, ..create() };
            let batch = BorrowedBatch::measure(&records, &rules).unwrap();
            let lens = records.iter().filter_map(|record| Some(record.value?.len()));
            let large: usize = lens.filter(|len| *len >= LENT_BYTES).sum();
            prop_assert_eq!(check(&batch, stamp), large);
            prop_assert_eq!(check(&Produced { batch: &batch, claim: None }, stamp), large);
            let joined = joined(&batch.pieces(stamp, Vec::new(), crc32c::crc32c_append));
            let header = *Batch::verify(&joined).unwrap().header();
            prop_assert_eq!(header.count() as usize, records.len());
            let mut buffer = BatchBuffer::new(0);
            for record in &records {
                prop_assert!(buffer.try_push(record, &rules).unwrap().is_some());
            }
            if is_sealed {
                buffer.seal(&rules.timestamps);
            }
            prop_assert_eq!(check(&buffer, stamp), joined.len() - BatchHeader::LEN);
        }
    }
}
