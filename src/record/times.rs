//! The timestamps of a batch's records, for their receipts.
//!
//! A program may keep receipts by the million, so what they have in common is kept once: most
//! batches are filled within a millisecond. Of others the timestamps are taken from the batch when
//! it has been appended, eight bytes a record, and kept for as long as a receipt of it is.

use super::lend::take_timestamp_delta;
use crate::time::Timestamp;

/// The timestamp of each record, as it is on disk.
#[derive(Debug)]
pub(crate) enum Times {
    Same(i64),
    Each(Box<[i64]>),
}

impl Times {
    /// Those of `count` records, one behind the other as batches have them.
    #[cold]
    pub(super) fn each(count: u32, base: i64, records: &[u8]) -> Self {
        let mut left = records;
        let deltas = (0..count).map_while(|_| take_timestamp_delta(&mut left));
        Times::Each(deltas.map(|delta| base.wrapping_add(delta)).collect())
    }

    /// Of the record with that index; `None` if it has none.
    #[inline]
    pub(crate) fn of(&self, index: u32) -> Option<Timestamp> {
        match self {
            Times::Same(timestamp) => Timestamp::from_wire(*timestamp),
            Times::Each(each) => Timestamp::from_wire(*each.get(index as usize)?), // u32 fits
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::super::buffer::BatchBuffer;
    use super::super::single::Record;
    use super::super::tests::create;
    use super::*;

    fn sent(timestamp: Option<i64>) -> Record<'static> {
        let record = Record::new("value").header("name", "bytes");
        match timestamp {
            Some(millis) => record.timestamp(Timestamp::from_millis(millis)),
            None => record.without_timestamp(),
        }
    }

    proptest! {
        #[test]
        fn each_record_has_its_own(
            batches in prop::collection::vec(
                prop::collection::vec(prop::option::of(prop_oneof![0..3_i64, 0..=i64::MAX]), 1..40),
                1..3,
            ),
        ) {
            let mut buffer = BatchBuffer::new(0);
            for timestamps in batches {
                buffer.clear();
                for timestamp in &timestamps {
                    prop_assert!(buffer.try_push(&sent(*timestamp), &create()).unwrap().is_some());
                }
                let times = buffer.times();
                let are_same = timestamps.iter().all(|timestamp| *timestamp == timestamps[0]);
                prop_assert_eq!(matches!(times, Times::Same(_)), are_same);
                for (index, timestamp) in (0..).zip(&timestamps) {
                    prop_assert_eq!(times.of(index), timestamp.map(Timestamp::from_millis));
                }
            }
        }
    }
}
