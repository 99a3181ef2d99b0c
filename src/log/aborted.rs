//! A log's aborted transactions, in memory: which batches readers at `read_committed` do not get.
//!
//! An entry is a producer, the offset at which its transaction began and that of the marker that
//! aborted it. A batch is left out if it is transactional and lies within an entry of its producer:
//! what Kafka's reader finds out by walking (`kafka-format.md` 2.6), for any batch on its own. The
//! entries of one producer do not overlap, and markers rise.
//!
//! The log is what is true: an entry is added before the marker is published, and made again from
//! the log where a stop took it. `.txnindex`, written by `aborted_files`, saves reading the log
//! below the recovery point. Readers take the lock for a moment, and only where there is an entry.

use std::collections::HashMap;
use std::ops::Range;

use crate::ids::{Offset, ProducerId};
use crate::record::BatchHeader;
use crate::segment::{AbortedTransaction, Chunk};

/// All aborted transactions of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aborted {
    /// In the order of their markers.
    entries: Vec<AbortedTransaction>,
    /// First and last offset, in order.
    of_producer: HashMap<ProducerId, Vec<(Offset, Offset)>>,
}

impl Aborted {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds one whose marker lies behind all others.
    pub(super) fn push(&mut self, entry: AbortedTransaction) {
        debug_assert!(self.entries.last().is_none_or(|last| last.last < entry.last));
        self.entries.push(entry);
        let of_producer = self.of_producer.entry(entry.producer_id).or_default();
        of_producer.push((entry.first, entry.last));
    }

    /// Those whose markers lie from one offset up to another.
    pub(crate) fn marked_in(&self, range: Range<Offset>) -> &[AbortedTransaction] {
        let at = |offset| self.entries.partition_point(|entry| entry.last < offset);
        let (from, to) = (at(range.start), at(range.end));
        &self.entries[from..to.max(from)]
    }

    /// A copy to write files from; `None` where there is nothing to write: no file is stale, and
    /// no marker lies at or behind `saved_to`.
    pub(super) fn clone_unless_saved(&self, saved_to: Offset, none_stale: bool) -> Option<Aborted> {
        let saved = self.entries.last().is_none_or(|last| last.last < saved_to);
        (!(saved && none_stale)).then(|| self.clone())
    }

    /// Those that reach into a range of offsets, in the order of their markers.
    pub(super) fn within(&self, range: &Range<Offset>) -> Vec<AbortedTransaction> {
        let behind = self.marked_in(range.start..Offset::new(i64::MAX));
        behind.iter().filter(|entry| entry.first < range.end).copied().collect()
    }

    /// Forgets those whose markers lie below an offset: the log begins there.
    pub(super) fn drop_below(&mut self, first: Offset) {
        let gone = self.entries.partition_point(|entry| entry.last < first);
        if gone > 0 {
            let kept = self.entries.split_off(gone);
            *self = Aborted::default();
            kept.into_iter().for_each(|entry| self.push(entry));
        }
    }

    /// Puts others in the place of those whose markers lie in a range.
    pub(super) fn replace(&mut self, range: &Range<Offset>, by: &[AbortedTransaction]) {
        if self.marked_in(range.clone()) == by {
            return;
        }
        let outside = |entry: &&AbortedTransaction| !range.contains(&entry.last);
        let mut entries: Vec<_> = self.entries.iter().filter(outside).chain(by).copied().collect();
        entries.sort_unstable_by_key(|entry| entry.last);
        *self = entries.into_iter().collect();
    }

    /// Adds those of another list of the same log that are not here: markers tell them apart.
    pub(super) fn add_all(&mut self, other: &Aborted) {
        let mut entries: Vec<_> = self.entries.iter().chain(&other.entries).copied().collect();
        entries.sort_by_key(|entry| entry.last);
        entries.dedup_by_key(|entry| entry.last);
        *self = entries.into_iter().collect();
    }

    /// Whether a transactional batch belongs to one of them.
    pub(crate) fn covers(&self, header: &BatchHeader) -> bool {
        let Some(producer) = header.producer_id() else { return false };
        let Some(spans) = self.of_producer.get(&producer) else { return false };
        let offset = header.base_offset();
        let next = spans.partition_point(|(_, last)| *last < offset);
        spans.get(next).is_some_and(|(first, _)| *first <= offset)
    }

    /// The base offsets of the batches in a chunk that are left out.
    pub(super) fn batches_in(&self, chunk: &Chunk) -> Vec<Offset> {
        if self.entries.last().is_none_or(|last| last.last < chunk.first_offset) {
            return Vec::new();
        }
        let headers = chunk.headers().map(|(_, header)| header);
        let left_out =
            headers.filter(|header| header.is_data_of_transaction() && self.covers(header));
        left_out.map(|header| header.base_offset()).collect()
    }
}

impl FromIterator<AbortedTransaction> for Aborted {
    fn from_iter<I: IntoIterator<Item = AbortedTransaction>>(entries: I) -> Self {
        let mut aborted = Aborted::default();
        entries.into_iter().for_each(|entry| aborted.push(entry));
        aborted
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// While one list takes the place of another, as where a log is cut, both are left out.
    #[test]
    fn a_list_with_another_added_leaves_out_what_either_does() {
        let entry = |producer: i64, first, last| AbortedTransaction {
            producer_id: ProducerId::new(producer),
            first: Offset::new(first),
            last: Offset::new(last),
            last_stable: Offset::new(first),
        };
        let before: Aborted =
            [entry(1, 0, 5), entry(2, 3, 8), entry(1, 9, 12)].into_iter().collect();
        let after: Aborted = [entry(1, 0, 5), entry(2, 3, 6)].into_iter().collect();
        for (one, other) in [(&before, &after), (&after, &before)] {
            let mut both = one.clone();
            both.add_all(other);
            assert_eq!(
                both.entries.iter().map(|it| it.last.get()).collect::<Vec<_>>(),
                [5, 6, 8, 12]
            );
            both.add_all(one);
            assert_eq!(both.entries.len(), 4);
        }
        let mut none = Aborted::default();
        none.add_all(&after);
        assert_eq!(none, after);
    }

    /// A list that nothing leaves grows as long as the log is written to.
    #[test]
    fn what_was_aborted_below_the_logs_first_segment_is_forgotten_and_nothing_else() {
        let entry = |producer: i64, first, last| AbortedTransaction {
            producer_id: ProducerId::new(producer),
            first: Offset::new(first),
            last: Offset::new(last),
            last_stable: Offset::new(first),
        };
        let entries = [entry(1, 0, 3), entry(2, 1, 7), entry(1, 4, 9)];
        let all: Aborted = entries.into_iter().collect();
        for (first, left) in [(0, 0), (3, 0), (4, 1), (7, 1), (8, 2), (9, 2), (10, 3), (99, 3)] {
            let mut dropped = all.clone();
            dropped.drop_below(Offset::new(first));
            let expected: Aborted = entries[left..].iter().copied().collect();
            assert_eq!(dropped, expected, "below {first}");
        }
    }
}
