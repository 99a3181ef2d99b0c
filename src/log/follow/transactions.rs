//! Which of the records that a follower sees count: the transactions of the log, told from the log
//! alone.
//!
//! What the writer knows of them is in its memory, and what it has saved may be behind. So the
//! first reader that meets a transactional batch has the log read once from its start; from then on
//! each look goes on from where the last one ended. A log without transactions costs nothing. Where
//! something cannot be read, what lies behind it is not decided here until it can be; damage is
//! passed over as readers do it, and leaves `doubts`.
//!
//! A survey, which takes the directory in anew, begins again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::doubts::Doubts;
use super::{FollowedLog, View};
use crate::error::Result;
use crate::ids::{Offset, ProducerId};
use crate::log::aborted::Aborted;
use crate::record::{Batch, ControlRecord};
use crate::segment::AbortedTransaction;

/// Bytes that are looked through at a time.
const STRETCH: usize = 1 << 20;

/// The transactions of a log up to an offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    /// Everything below has been taken in.
    next: Offset,
    open: BTreeMap<ProducerId, Offset>,
    aborted: Arc<Aborted>,
    doubts: Arc<Doubts>,
}

impl Transactions {
    pub(super) fn aborted(&self) -> &Aborted {
        &self.aborted
    }

    pub(super) fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    /// The first offset whose fate is not known, in a log that ends at `end`.
    pub(super) fn first_unstable(&self, end: Offset) -> Option<Offset> {
        let unread = (self.next < end).then_some(self.next);
        self.open.values().copied().chain(unread).min()
    }

    /// Passes over damage. What was open there may have ended in it: it holds readers up no more.
    fn skip_to(&mut self, resumed: Offset) {
        let open = std::mem::take(&mut self.open);
        Arc::make_mut(&mut self.doubts).push(self.next..resumed, open);
        self.next = resumed;
    }

    /// The log begins at `start`. What was open where looking ended may have ended below that.
    fn begin_at(&mut self, start: Offset) {
        if self.next < start {
            self.open.clear();
            self.next = start;
        }
        if self.doubts.reach_below(start) {
            Arc::make_mut(&mut self.doubts).drop_below(start);
        }
        if !self.aborted.marked_in(Offset::ZERO..start).is_empty() {
            Arc::make_mut(&mut self.aborted).drop_below(start);
        }
    }

    fn push(&mut self, batch: &Batch<'_>) {
        let header = batch.header();
        let Some(producer) = header.producer_id().filter(|_| header.is_transactional()) else {
            return;
        };
        if !header.is_control() {
            self.open.entry(producer).or_insert(header.base_offset());
            return;
        }
        let Ok(Some(control)) = batch.control() else { return };
        let first = match control {
            ControlRecord::Commit { .. } | ControlRecord::Abort { .. } => {
                self.open.remove(&producer)
            }
            ControlRecord::Other(_) => return,
        };
        if let (Some(first), ControlRecord::Abort { .. }) = (first, control) {
            let last = header.last_offset();
            let stable = self.open.values().min().copied().unwrap_or(last.next());
            let entry = AbortedTransaction::new(producer, first, last, stable);
            Arc::make_mut(&mut self.aborted).push(entry);
        }
    }
}

impl FollowedLog {
    /// Takes in what a view shows beyond what was taken in before.
    pub(super) fn tell_transactions(&self, told: &mut Transactions, view: &View) {
        if let Err(error) = self.read_transactions(told, view) {
            log::debug!("{error}"); // the next look goes on
        }
    }

    fn read_transactions(&self, told: &mut Transactions, view: &View) -> Result<()> {
        told.begin_at(view.offsets.start);
        let mut cursor = None;
        while told.next < view.offsets.end {
            let fetched = match self.fetch_all_in(view, told.next, cursor.as_ref(), STRETCH) {
                Ok(fetched) => fetched,
                Err(error) if error.is_corrupt() => {
                    let resumed = self.resume_in(view, told.next)?;
                    if resumed <= told.next {
                        return Err(error);
                    }
                    told.skip_to(resumed);
                    cursor = None;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut bytes = fetched.chunk.as_ref().map_or(&[][..], |chunk| &chunk.bytes[..]);
            while let Ok(batch) = Batch::verify(bytes) {
                bytes = &bytes[batch.header().size()..];
                if batch.header().end_offset() > told.next {
                    told.push(&batch);
                }
            }
            if fetched.next_offset <= told.next {
                break;
            }
            (told.next, cursor) = (fetched.next_offset, fetched.cursor);
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A reader may follow a log for as long as that is written to.
    #[test]
    fn what_was_aborted_below_the_logs_start_is_forgotten() {
        let entry = |producer: i64, first, last| {
            let (first, last) = (Offset::new(first), Offset::new(last));
            AbortedTransaction::new(ProducerId::new(producer), first, last, last.next())
        };
        let entries = [entry(1, 0, 3), entry(2, 1, 7), entry(1, 4, 9)];
        let aborted = Arc::new(entries.into_iter().collect());
        let mut told = Transactions { next: Offset::new(10), aborted, ..Transactions::default() };
        for (start, left) in [(0, 0), (3, 0), (4, 1), (7, 1), (8, 2), (10, 3)] {
            let before = told.aborted.clone();
            told.begin_at(Offset::new(start));
            assert_eq!(*told.aborted, entries[left..].iter().copied().collect(), "from {start}");
            let is_same = Arc::ptr_eq(&before, &told.aborted);
            assert!(is_same == (*before == *told.aborted), "copied where something goes: {start}");
        }
    }
}
