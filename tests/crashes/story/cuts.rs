//! What becomes of a partition's promises when its tail is cut off, when offsets are left out, and
//! when it is compacted.
//!
//! While a cut is under way what it takes may be there or not; afterwards it never is again, and
//! who reads it meets a phantom.

use std::collections::BTreeMap;

use super::{Acknowledged, Deed, Kept, numbers};
use crate::verdict::Partition;

/// What a cut may take: batches, and what was acknowledged of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Cutting {
    acknowledged: BTreeMap<i64, Acknowledged>,
    /// The batches that it takes.
    taken: Vec<u64>,
    /// Those whose place is unknown: it may take them.
    unknown: Vec<u64>,
    /// Where it begins afterwards.
    begins: Option<i64>,
    starts: (i64, i64),
}

impl Kept {
    pub(super) fn tell_of_cuts(&mut self, deed: &Deed) {
        match *deed {
            Deed::Cutting { to, is_whole, .. } => self.cutting(to, is_whole),
            Deed::Cut { .. } => {
                let cut = self.cuts.pop().unwrap_or_default();
                self.tried.retain(|number, _| !cut.taken.contains(number));
                if let Some(begins) = cut.begins {
                    self.tried.retain(|number, _| !cut.unknown.contains(number));
                    self.starts = (begins, begins);
                    self.cuts.clear(); // whatever became of them
                }
            }
            Deed::NotCut { .. } => {
                let cut = self.cuts.pop().unwrap_or_default();
                self.acknowledged.extend(cut.acknowledged);
                self.starts = cut.starts;
            }
            Deed::Skipping { .. } => self.has_gaps = true,
            Deed::Thinning { .. } => (self.has_gaps, self.is_thinned) = (true, true),
            _ => {}
        }
    }

    fn cutting(&mut self, to: i64, is_whole: bool) {
        let mut cut = Cutting { starts: self.starts, ..Cutting::default() };
        // a batch goes whole: which begins lower, if one of its records reaches it
        let reaches = |offset: i64| is_whole || offset >= to;
        let reaching = self.acknowledged.iter().filter(|(offset, _)| reaches(**offset));
        cut.taken = reaching.map(|(_, one)| one.number).collect();
        let known = |number| self.acknowledged.values().any(|one| one.number == number);
        cut.unknown = self.tried.keys().copied().filter(|number| !known(*number)).collect();
        if is_whole {
            cut.begins = Some(to);
            let (lowest, highest) = self.starts;
            // of a log that is to begin lower all goes first, to where it ends
            let most = if to < highest { self.end_at_most(&cut.unknown) } else { to };
            self.starts = (lowest.min(to), highest.max(most));
        }
        let all = std::mem::take(&mut self.acknowledged);
        let goes = |(_, one): &(i64, Acknowledged)| cut.taken.contains(&one.number);
        (cut.acknowledged, self.acknowledged) = all.into_iter().partition(goes);
        self.cuts.push(cut);
    }

    /// Where it ends if all of those are there whose place is unknown.
    fn end_at_most(&self, unknown: &[u64]) -> i64 {
        let last = self.acknowledged.keys().next_back().map_or(0, |last| last + 1);
        let more = unknown.iter().map(|number| i64::from(self.tried[number].count)).sum::<i64>();
        last.max(self.starts.1).saturating_add(more)
    }

    /// Whether that record of a batch was served no more when a cut began that may take the batch:
    /// of what was deleted nobody knows any more where it lay.
    pub fn was_deleted(&self, number: u64, offset: i64) -> bool {
        let takes = |cut: &&Cutting| cut.taken.contains(&number) || cut.unknown.contains(&number);
        self.cuts.iter().filter(takes).any(|cut| offset < cut.starts.0)
    }

    /// Whether a cut has failed half way, or is under way.
    pub fn has_doubtful_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// Whether a cut that is under way may take that batch.
    pub(super) fn may_be_cut(&self, number: u64) -> bool {
        self.cuts.iter().any(|cut| cut.taken.contains(&number) || cut.unknown.contains(&number))
    }

    /// A cut that was under way is over: what it took will not come back.
    pub(super) fn settle_cut(&mut self, found: &Partition) {
        let there = |number: u64| {
            let mut all = found.records.iter().filter_map(|(_, _, bytes)| numbers(bytes));
            all.any(|(one, _)| one == number)
        };
        for cut in std::mem::take(&mut self.cuts) {
            self.tried.retain(|number, _| !cut.taken.contains(number) || there(*number));
            if cut.begins.is_some() {
                self.starts = (found.start, found.start);
            }
        }
    }
}
