//! Which leader epoch began at which offset, in memory and in `leader-epoch-checkpoint`.
//!
//! The rules are Kafka's (`kafka-format.md` 2.9). An epoch enters with its first batch. The file
//! is written before a recovery point rises past an epoch's start, since recovery finds again only
//! the epochs of the batches it scans.

use crate::ids::{LeaderEpoch, Offset};

/// The epochs of one log, oldest first, both numbers rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EpochCache {
    entries: Vec<(LeaderEpoch, Offset)>,
    /// Whether the file says something else.
    changed: bool,
}

impl EpochCache {
    /// The cache of a file's entries and of the epochs met in batches that were scanned, cut to
    /// those that have records in `start..end`. A scan begins in the middle of an epoch, so what
    /// it says of an offset counts only where the file says something else. From `scanned_from` on
    /// all was scanned: what the file says of it may be of records that were cut off since.
    pub(crate) fn recovered(
        file: &[(LeaderEpoch, Offset)],
        scanned: &[(LeaderEpoch, Offset)],
        scanned_from: Option<Offset>,
        (start, end): (Offset, Offset),
    ) -> Self {
        let mut cache = EpochCache::default();
        let is_told = |first| scanned_from.is_none_or(|from| first < from);
        for (epoch, first) in file.iter().filter(|(_, first)| is_told(*first)) {
            cache.assign(*epoch, *first);
        }
        for (epoch, first) in scanned {
            let at = cache.entries.partition_point(|(_, known)| known <= first);
            let known = at.checked_sub(1).map(|at| cache.entries[at].0);
            if known != Some(*epoch) {
                cache.assign(*epoch, *first);
            }
        }
        cache.truncate_from_end(end);
        cache.truncate_from_start(start);
        cache.changed = cache.entries != file;
        cache.entries.shrink_to_fit();
        cache
    }

    pub(crate) fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The entries, if the file does not have them yet. They count as written from then on.
    pub(crate) fn take_changed(&mut self) -> Option<Vec<(LeaderEpoch, Offset)>> {
        std::mem::take(&mut self.changed).then(|| self.entries.clone())
    }

    /// The file could not be written after all.
    pub(crate) fn set_changed(&mut self) {
        self.changed = true;
    }

    /// A batch of `epoch` begins at `start`.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if let Some((latest, first)) = self.entries.last()
            && *latest == epoch
            && *first <= start
        {
            return;
        }
        self.entries.retain(|(older, first)| *older < epoch && *first < start);
        self.entries.push((epoch, start));
        self.changed = true;
    }

    /// Nothing at or above `end` is left.
    pub(crate) fn truncate_from_end(&mut self, end: Offset) {
        let before = self.entries.len();
        self.entries.retain(|(_, first)| *first < end);
        self.changed |= self.entries.len() != before;
    }

    /// No record is left, and none of the epochs that reach over the log start.
    pub(crate) fn clear(&mut self) {
        self.changed |= !self.entries.is_empty();
        self.entries.clear();
    }

    /// Nothing below `start` is left; the epoch that reaches over it begins there now.
    pub(crate) fn truncate_from_start(&mut self, start: Offset) {
        let reaching = self.entries.iter().rposition(|(_, first)| *first <= start);
        if let Some(at) = reaching
            && (at > 0 || self.entries[at].1 < start)
        {
            self.entries.drain(..at);
            self.entries[0].1 = start;
            self.changed = true;
        }
    }

    /// That of the record before `offset`, if it is known.
    pub(crate) fn before(&self, offset: Offset) -> Option<LeaderEpoch> {
        let begun = self.entries.partition_point(|(_, first)| *first < offset);
        begun.checked_sub(1).and_then(|last| self.entries.get(last)).map(|(epoch, _)| *epoch)
    }

    /// Where the records of `epoch`, or of the nearest one below it, end. Those of an epoch below
    /// all that are known end where the first of these begins: what lay there is gone. `None` for
    /// a log without epochs.
    pub(crate) fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        let next = self.entries.partition_point(|(known, _)| *known <= epoch);
        let Some((floor, _)) = next.checked_sub(1).and_then(|floor| self.entries.get(floor)) else {
            return self.entries.first().map(|(_, first)| (epoch, *first));
        };
        let end = self.entries.get(next).map_or(log_end, |(_, first)| *first);
        Some((*floor, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for (epoch, start) in entries {
            cache.assign(LeaderEpoch::new(*epoch), Offset::new(*start));
        }
        cache
    }

    #[test]
    fn assigning_drops_what_it_contradicts() {
        let mut epochs = cache(&[(1, 0), (2, 10), (4, 20)]);
        epochs.assign(LeaderEpoch::new(4), Offset::new(25));
        assert_eq!(epochs, cache(&[(1, 0), (2, 10), (4, 20)]));
        epochs.assign(LeaderEpoch::new(3), Offset::new(20));
        assert_eq!(epochs.entries(), cache(&[(1, 0), (2, 10), (3, 20)]).entries());
        epochs.assign(LeaderEpoch::new(5), Offset::new(10));
        assert_eq!(epochs.entries(), cache(&[(1, 0), (5, 10)]).entries());
        let mut epochs = cache(&[(1, 0), (2, 10), (4, 20)]);
        epochs.assign(LeaderEpoch::new(2), Offset::new(15));
        assert_eq!(epochs.entries(), cache(&[(1, 0), (2, 15)]).entries());
    }

    /// Else its file would be written again with the same in it, or what it has would stay.
    #[test]
    fn a_cut_changes_what_it_takes_from_and_nothing_else() {
        let saved = || EpochCache { changed: false, ..cache(&[(1, 3), (2, 10), (4, 20)]) };
        let from_start = |start| {
            let mut epochs = saved();
            epochs.truncate_from_start(Offset::new(start));
            epochs
        };
        for start in [0, 2, 3] {
            assert_eq!(from_start(start), saved(), "{start}");
        }
        let gone: [(i64, &[(i32, i64)]); 4] = [
            (4, &[(1, 4), (2, 10), (4, 20)]),
            (10, &[(2, 10), (4, 20)]),
            (19, &[(2, 19), (4, 20)]),
            (99, &[(4, 99)]),
        ];
        for (start, left) in gone {
            assert_eq!(from_start(start), cache(left), "{start}");
        }
        for (end, left) in [(21, 3), (20, 2), (11, 2), (10, 1), (3, 0)] {
            let mut epochs = saved();
            epochs.truncate_from_end(Offset::new(end));
            assert_eq!(epochs.entries(), &saved().entries()[..left], "{end}");
            assert_eq!(epochs.changed, left < 3, "{end}");
        }
    }

    #[test]
    fn epochs_of_records_that_were_cut_off_do_not_come_back_from_the_file() {
        let entry = |epoch, start| (LeaderEpoch::new(epoch), Offset::new(start));
        // epoch 3 had a record at 1, which was cut; those at 1 and 2 came from another leader
        let file = [entry(2, 0), entry(3, 1)];
        let scanned = [entry(2, 0), entry(4, 2)];
        let (from, bounds) = (Some(Offset::new(1)), (Offset::ZERO, Offset::new(3)));
        let epochs = EpochCache::recovered(&file, &scanned, from, bounds);
        assert_eq!(epochs.entries(), scanned);
        assert!(epochs.changed);
    }

    #[test]
    fn ends_of_epochs_are_kafkas() {
        let epochs = cache(&[(1, 5), (3, 10), (4, 20)]);
        let end = |epoch| {
            epochs
                .end_offset_for(LeaderEpoch::new(epoch), Offset::new(30))
                .map(|(epoch, end)| (epoch.get(), end.get()))
        };
        assert_eq!(end(0), Some((0, 5)));
        assert_eq!(end(1), Some((1, 10)));
        assert_eq!(end(2), Some((1, 10)));
        assert_eq!(end(3), Some((3, 20)));
        assert_eq!(end(4), Some((4, 30)));
        assert_eq!(end(9), Some((4, 30)));
    }

    #[test]
    fn a_record_is_of_the_epoch_that_began_last_before_it() {
        let epochs = cache(&[(1, 5), (3, 10)]);
        let before = |offset| epochs.before(Offset::new(offset)).map(LeaderEpoch::get);
        assert_eq!([5, 6, 10, 11, 99].map(before), [None, Some(1), Some(1), Some(3), Some(3)]);
        assert_eq!(EpochCache::default().before(Offset::new(9)), None);
    }

    #[test]
    fn truncating_keeps_the_epoch_that_reaches_over_the_start() {
        let mut epochs = cache(&[(1, 0), (2, 10), (4, 20)]);
        epochs.truncate_from_start(Offset::new(15));
        assert_eq!(epochs.entries(), cache(&[(2, 15), (4, 20)]).entries());
        epochs.truncate_from_start(Offset::new(15));
        assert_eq!(epochs.entries(), cache(&[(2, 15), (4, 20)]).entries());
        epochs.truncate_from_end(Offset::new(20));
        assert_eq!(epochs.entries(), cache(&[(2, 15)]).entries());
    }

    #[test]
    fn what_could_not_be_written_is_still_to_be_written() {
        let mut epochs = cache(&[(1, 0), (2, 10)]);
        let taken = epochs.take_changed();
        assert_eq!(epochs.take_changed(), None);
        epochs.set_changed();
        assert_eq!(epochs.take_changed(), taken);
    }

    #[test]
    fn what_is_cleared_is_to_be_written() {
        let mut epochs = cache(&[(1, 0), (2, 10)]);
        assert!(epochs.take_changed().is_some());
        epochs.clear();
        assert_eq!((epochs.latest(), epochs.take_changed()), (None, Some(vec![])));
        epochs.clear();
        assert_eq!(epochs.take_changed(), None, "the file has none");
    }
}
