//! Which tags the batches of a segment have, so that a reader of some tags passes over the others.
//!
//! A run is batches that lie one behind the other, with the bits of all their tags: about one index
//! interval of them, and as many more as change nothing. Runs are taken by the writer as it
//! appends, where the topic asks for it, and begin where that began: what lies before the first
//! run or behind the last one is simply read. A run is final but for the last one, and no bit
//! is ever taken from it.
//!
//! They say what need not be read, never what is handed out; so one bit too many costs a read, and
//! one too few would hide a record: whatever is not known is all bits. Locked: all of it, for a
//! moment at a time; in a topic without the setting nobody comes here. Their file is `tag_file`.

use std::collections::VecDeque;

use super::index::relative;
use super::shared::Segment;
use crate::ids::Offset;
use crate::record::TagBits;
use crate::sync::Mutex;

/// How many appends are remembered one by one, for those whose wake-ups they decide.
const RECENT: usize = 32;

/// Batches one behind the other, from where the run before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TagRun {
    pub(super) end: u32,
    /// The offset behind its last, relative to the segment's base.
    pub(super) next: u32,
    pub(super) bits: TagBits,
}

/// One batch, as its tags are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaggedBatch {
    pub(super) position: u64,
    pub(super) size: u64,
    pub(super) first: Offset,
    pub(super) next: Offset,
    pub(super) bits: TagBits,
    /// What it may show to whoever waits: a marker shows records of any tag.
    pub(super) shows: TagBits,
}

/// Runs of a segment, in order and without a gap.
#[derive(Debug, Default)]
pub(crate) struct TagRuns {
    /// Where the first one begins.
    pub(super) from: u32,
    pub(super) runs: Vec<TagRun>,
    /// Where the last batch begins.
    pub(super) last: u32,
}

/// What the writer keeps.
#[derive(Debug, Default)]
struct Kept {
    runs: TagRuns,
    recent: VecDeque<(Offset, TagBits)>,
}

/// What a segment keeps of its tags in memory: until they are saved, and nothing where it was not
/// written to.
#[derive(Debug, Default)]
pub(super) struct Tags(Mutex<Kept>);

/// Batches that are all worth reading, or all not, for who wants some tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Some of them may have such a tag.
    pub(crate) is_wanted: bool,
    /// Where they end.
    pub(crate) end: u64,
    /// The offset behind the last of them.
    pub(crate) next: Offset,
}

impl TagRuns {
    pub(super) fn of(from: u32, runs: Vec<TagRun>, last: u32) -> Self {
        TagRuns { from, runs, last }
    }

    /// Whether there are some, and they reach to `position` and no farther.
    pub(super) fn ends_at(&self, position: u32) -> bool {
        self.runs.last().is_some_and(|last| last.end == position)
    }

    pub(super) fn push(&mut self, base: Offset, interval: u64, batch: TaggedBatch) {
        let place = (|| {
            let start = u32::try_from(batch.position).ok()?;
            let end = u32::try_from(batch.position + batch.size).ok()?;
            relative(base, batch.first)?;
            Some((start, end, u32::try_from(batch.next.get() - base.get()).ok()?))
        })();
        let Some((start, end, next)) = place else { return };
        if !self.ends_at(start) {
            // the first, or batches came meanwhile whose tags were not taken
            *self = TagRuns { from: start, ..TagRuns::default() };
        }
        self.last = start;
        let begins = self.runs.len().checked_sub(2).map_or(self.from, |at| self.runs[at].end);
        match self.runs.last_mut() {
            Some(last) if last.bits == batch.bits || u64::from(last.end - begins) <= interval => {
                (last.end, last.next) = (end, next);
                last.bits = last.bits.and(batch.bits);
            }
            _ => self.runs.push(TagRun { end, next, bits: batch.bits }),
        }
    }

    /// What the tags say of the batches of a segment from `position` on, where one begins, that end
    /// below `bound`: as many as are alike. `None` where nothing is known of the first.
    pub(crate) fn stretch(
        &self,
        base: Offset,
        position: u64,
        bound: Offset,
        wanted: TagBits,
    ) -> Option<Stretch> {
        let bound = u64::try_from(bound.get().checked_sub(base.get())?).ok()?;
        let position = u32::try_from(position).ok().filter(|position| *position >= self.from)?;
        let at = self.runs.partition_point(|run| run.end <= position);
        let first = self.runs.get(at).filter(|run| u64::from(run.next) <= bound)?;
        let is_wanted = first.bits.may_have(wanted);
        let alike = self.runs[at + 1..].iter().take_while(|run| {
            run.bits.may_have(wanted) == is_wanted && u64::from(run.next) <= bound
        });
        let last = alike.last().unwrap_or(first);
        let next = base.checked_add(i64::from(last.next))?;
        Some(Stretch { is_wanted, end: u64::from(last.end), next })
    }
}

impl Tags {
    /// Has `look` see the runs; not for long.
    pub(super) fn with<T>(&self, look: impl FnOnce(&TagRuns) -> T) -> T {
        look(&self.0.lock().runs)
    }

    /// The writer goes on behind those that were saved.
    pub(super) fn take_up(&self, runs: TagRuns) {
        self.0.lock().runs = runs;
    }

    /// They are saved.
    pub(super) fn let_go(&self) {
        *self.0.lock() = Kept::default();
    }
}

impl Segment {
    /// The tail's side: takes the tags of the batch that was appended last.
    pub(super) fn note_tags(&self, batch: TaggedBatch) {
        let mut kept = self.tags.0.lock();
        if kept.recent.len() == RECENT {
            kept.recent.pop_front();
        }
        kept.recent.push_back((batch.first, batch.shows));
        kept.runs.push(self.base(), self.place().index_interval, batch);
    }

    /// [`TagRuns::stretch`] of the runs in memory; `None` where there are none.
    pub(crate) fn stretch(
        &self,
        position: u64,
        bound: Offset,
        wanted: TagBits,
    ) -> Option<Option<Stretch>> {
        self.tags.with(|runs| {
            let is_known = !runs.runs.is_empty();
            is_known.then(|| runs.stretch(self.base(), position, bound, wanted))
        })
    }

    /// The tags of records that the append which began at `first` may show; all where it was not
    /// among the last ones.
    pub(crate) fn shown_by(&self, first: Offset) -> TagBits {
        let kept = self.tags.0.lock();
        let mut recent = kept.recent.iter().rev();
        recent.find(|(offset, _)| *offset == first).map_or(TagBits::ANY, |(_, bits)| *bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Offset = Offset::new(1_000);

    fn batch(number: i64, tag: &[u8]) -> TaggedBatch {
        let first = Offset::new(1_000 + number);
        let bits = TagBits::of(tag);
        let position = number.cast_unsigned() * 100;
        TaggedBatch { position, size: 100, first, next: first.next(), bits, shows: bits }
    }

    fn runs(tags: &[&[u8]]) -> TagRuns {
        let mut runs = TagRuns::default();
        for (number, tag) in (0..).zip(tags) {
            runs.push(BASE, 150, batch(number, tag));
        }
        runs
    }

    #[test]
    fn a_run_ends_behind_the_interval_unless_nothing_changes() {
        let runs = runs(&[b"a", b"b", b"a", b"a", b"a", b"a", b"b"]);
        let shape: Vec<_> = runs.runs.iter().map(|run| (run.end, run.next)).collect();
        assert_eq!(shape, [(200, 2), (600, 6), (700, 7)]);
    }

    #[test]
    fn a_stretch_is_as_long_as_it_is_alike_and_ends_below_the_bound() {
        let runs = runs(&[b"a", b"a", b"a", b"b", b"b", b"c", b"c", b"a"]);
        let look = |position, bound: i64| {
            let bound = Offset::new(1_000 + bound);
            let found = runs.stretch(BASE, position, bound, TagBits::of(b"b"));
            found.map(|found| (found.is_wanted, found.end))
        };
        assert_eq!(look(0, 9), Some((false, 300)));
        assert_eq!(look(100, 9), Some((false, 300)));
        assert_eq!(look(300, 9), Some((true, 500)));
        assert_eq!(look(500, 9), Some((false, 800)));
        assert_eq!(look(500, 7), Some((false, 700)), "the bound lies behind one run");
        assert_eq!(look(500, 6), None, "the bound lies within the run");
        assert_eq!(look(800, 9), None, "nothing is known there");
    }

    #[test]
    fn what_was_not_taken_is_not_known() {
        let mut runs = runs(&[b"a", b"a"]);
        runs.push(BASE, 150, batch(5, b"a"));
        let look = |at| runs.stretch(BASE, at, Offset::new(1_009), TagBits::of(b"b"));
        assert_eq!(look(0), None, "a gap lies behind it");
        assert!(look(500).is_some_and(|found| !found.is_wanted && found.next.get() == 1_006));
    }
}
