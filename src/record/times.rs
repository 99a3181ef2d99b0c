//! The timestamps of a batch's records, for their receipts.
//!
//! A program may keep receipts by the million, so what they have in common is kept once: most
//! records of a batch have the timestamp of the one before. Only where it changes is it noted, with
//! the index of the record.

use crate::time::Timestamp;

/// The timestamp of each record, as it is on disk.
#[derive(Debug)]
pub(crate) struct Times {
    /// Of the last record; what none has where there is no record yet.
    last: i64,
    /// From which record on there is another one, in order; the first record has one at 0.
    changes: Vec<(u32, i64)>,
}

impl Default for Times {
    fn default() -> Self {
        Times { last: i64::MIN, changes: Vec::new() }
    }
}

impl Times {
    /// The next record, that of `index`, has this one.
    #[inline(always)] // see `producer::linger`
    pub(super) fn push(&mut self, index: u32, timestamp: i64) {
        if timestamp != self.last {
            self.change(index, timestamp);
        }
    }

    #[cold]
    #[inline(never)]
    fn change(&mut self, index: u32, timestamp: i64) {
        self.last = timestamp;
        self.changes.push((index, timestamp));
    }

    /// Of the record with that index; `None` if it has none.
    pub(crate) fn of(&self, index: u32) -> Option<Timestamp> {
        let after = self.changes.partition_point(|(from, _)| *from <= index);
        let (_, timestamp) = self.changes.get(after.checked_sub(1)?)?;
        Timestamp::from_wire(*timestamp)
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.last = i64::MIN;
        self.changes.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_record_keeps_its_own(sent in prop::collection::vec(-1..3_i64, 0..60)) {
            let mut times = Times::default();
            for round in 0..2 {
                times.clear();
                for (index, timestamp) in (0..).zip(&sent) {
                    times.push(index, *timestamp + round);
                }
                for (index, timestamp) in (0..).zip(&sent) {
                    prop_assert_eq!(times.of(index), Timestamp::from_wire(*timestamp + round));
                }
            }
        }
    }

    #[test]
    fn equal_ones_are_kept_once() {
        let mut times = Times::default();
        for (index, timestamp) in (0..).zip([7, 7, 7, 8, 8, 7, 7]) {
            times.push(index, timestamp);
        }
        assert_eq!(times.changes, [(0, 7), (3, 8), (5, 7)]);
        assert_eq!(Times::default().of(0), None);
    }
}
