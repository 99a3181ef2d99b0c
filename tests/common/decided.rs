//! What the batches of one log come to: which transactions are open, which were aborted, what a
//! reader gets at either level of isolation. A plain list, gone through anew for each question.
//!
//! Where records were deleted, a log may know where a transaction began or only what is left of
//! it: each of its batches up to the first that is left is a right answer then, and no other.

use std::collections::{BTreeMap, HashSet};

use tidelog::{Log, MarkerKind, Offset, ProducerEpoch, ProducerId, ProducerIdentity};

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    Plain,
    /// Of this producer's transaction.
    Data(i64),
    Marker(i64, MarkerKind),
}

#[derive(Clone, Debug)]
struct Batch {
    first: usize,
    end: usize,
    what: What,
}

/// The batches of a log, in order.
#[derive(Clone, Debug, Default)]
pub struct Batches(Vec<Batch>);

/// The first offsets and ends of a transaction's batches.
type Owned = Vec<(usize, usize)>;

#[derive(Debug)]
struct Aborted {
    id: i64,
    batches: Owned,
    marker: usize,
    /// Where the oldest began that was open then.
    beside: Option<usize>,
}

impl Batches {
    pub fn push(&mut self, first: usize, count: usize, what: What) {
        self.0.push(Batch { first, end: first + count, what });
    }

    /// Nothing is left from `end` on.
    pub fn cut(&mut self, end: usize) {
        self.0.retain(|batch| batch.end <= end);
    }

    pub fn is_end(&self, at: usize) -> bool {
        self.0.iter().any(|batch| batch.end == at)
    }

    /// Where a log that starts at `start` ends once it is truncated to `target`.
    pub fn floor(&self, start: usize, target: usize) -> usize {
        let ends = self.0.iter().map(|batch| batch.end).filter(|end| *end <= target);
        ends.max().unwrap_or(start).max(start)
    }

    fn decided(&self) -> (BTreeMap<i64, Owned>, Vec<Aborted>) {
        let (mut open, mut aborted) = (BTreeMap::<i64, Owned>::new(), Vec::new());
        for batch in &self.0 {
            match batch.what {
                What::Plain => {}
                What::Data(id) => open.entry(id).or_default().push((batch.first, batch.end)),
                What::Marker(id, kind) => {
                    let batches = open.remove(&id);
                    let beside = open.values().map(|owned| owned[0].0).min();
                    if let (Some(batches), MarkerKind::Abort) = (batches, kind) {
                        aborted.push(Aborted { id, batches, marker: batch.first, beside });
                    }
                }
            }
        }
        (open, aborted)
    }

    /// The offsets of the records that a reader gets who is shown what lies below `bound`, and of
    /// aborted ones nothing if it is `committed`.
    pub fn shown(&self, start: usize, bound: usize, committed: bool) -> Vec<usize> {
        let (_, aborted) = self.decided();
        let hidden: HashSet<usize> =
            aborted.iter().flat_map(|it| &it.batches).map(|(first, _)| *first).collect();
        let is_shown = |batch: &&Batch| {
            !matches!(batch.what, What::Marker(..))
                && batch.first < bound
                && !(committed && hidden.contains(&batch.first))
        };
        let shown = self.0.iter().filter(is_shown).flat_map(|batch| batch.first..batch.end);
        shown.filter(|at| (start..bound.max(start)).contains(at)).collect()
    }

    /// The log knows of these transactions and of no other.
    pub fn check(&self, log: &Log, start: usize) {
        let (open, aborted) = self.decided();
        let told: BTreeMap<i64, usize> = log
            .open_transactions()
            .iter()
            .map(|it| (it.identity().id().get(), number(it.transaction_start().unwrap())))
            .collect();
        for (id, at) in &told {
            let batches = open.get(id).unwrap_or_else(|| panic!("{id} has none open, but at {at}"));
            assert!(may_begin(batches, *at, start), "{id} at {at} of {batches:?}, start {start}");
        }
        for (id, batches) in &open {
            let is_left = batches.iter().any(|(_, end)| *end > start);
            assert!(!is_left || told.contains_key(id), "{id} is open: {batches:?}");
        }
        let oldest = told.values().min().copied();
        let stable = oldest.unwrap_or(number(log.end_offset())).max(start);
        assert_eq!(number(log.last_stable_offset()), stable, "what is open: {told:?}");
        assert_eq!(log.first_unstable_offset().map(number), oldest);
        check_aborted(log, start, &aborted);
    }
}

fn check_aborted(log: &Log, start: usize, aborted: &[Aborted]) {
    let told = log.aborted_transactions(Offset::ZERO..log.end_offset());
    assert!(told.is_sorted_by_key(|entry| entry.last), "in the order of their markers");
    let in_reach: Vec<_> = told.iter().filter(|entry| number(entry.last) >= start).collect();
    for entry in &in_reach {
        let known = aborted.iter().find(|it| it.marker == number(entry.last));
        let known = known.unwrap_or_else(|| panic!("{entry:?} was not aborted"));
        assert_eq!(entry.producer_id.get(), known.id);
        assert!(may_begin(&known.batches, number(entry.first), start), "{entry:?} of {known:?}");
        let (stable, behind) = (number(entry.last_stable), known.marker + 1);
        let exact = known.beside.unwrap_or(behind);
        assert!(
            stable == exact || start > 0 && (exact..=behind).contains(&stable),
            "{entry:?} of {known:?}"
        );
    }
    for known in aborted.iter().filter(|it| it.marker >= start) {
        let is_left = known.batches.iter().any(|(_, end)| *end > start);
        let count = in_reach.iter().filter(|it| number(it.last) == known.marker).count();
        assert!(count == 1 || count == 0 && !is_left, "{known:?} is told of {count} times");
    }
}

fn may_begin(batches: &Owned, at: usize, start: usize) -> bool {
    let left = batches.iter().find(|(_, end)| *end > start).map(|(first, _)| *first);
    batches.iter().any(|(first, _)| *first == at) && left.is_none_or(|left| at <= left)
}

fn number(offset: Offset) -> usize {
    usize::try_from(offset.get()).unwrap()
}

pub fn identity(id: i64, epoch: i16) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch))
}
