//! Making records durable by the journal in place of a sync of their segment.
//!
//! What lies between the durable offset and the log's end is read back from the segment, where it
//! is published, and handed to the journal as it is: so the journal's frame covers the whole
//! prefix, and appending knows nothing of it. Where that is more than one segment has, or more
//! than a frame takes, or begins where nobody knows a position, or in a directory that is new, the
//! segments are synced.
//!
//! Called by `durable`, by whoever has the turn, under no lock.

use super::core::PartitionLog;
use super::fetch::Cursor;
use crate::error::Result;
use crate::ids::Offset;
use crate::journal::{Extent, Kept, Ticket};
use crate::segment::Tail;
use crate::sync::atomic::Ordering;
use std::sync::Arc;

/// What the journal's next sync makes durable of a log.
#[derive(Debug)]
pub(super) struct Gathered {
    ticket: Ticket,
    /// Where the log ended.
    mark: Cursor,
}

/// More than this at once is faster by a sync of its own.
const MOST: u64 = 1 << 20;

impl PartitionLog {
    /// Where the log ends: its active segment, how far that is published, the end offset. Without
    /// an active segment there is the offset alone.
    pub(super) fn mark(&self) -> (Offset, Option<Cursor>) {
        let writer = self.writer.lock();
        let offset = writer.next_offset;
        let cursor =
            writer.tail.as_ref().map(|tail| Cursor::at_end(tail.segment().clone(), offset));
        (offset, cursor)
    }

    /// The segments are synced up to the mark.
    pub(super) fn note_synced(&self, (offset, cursor): (Offset, Option<Cursor>)) {
        self.offsets.set_synced(offset);
        *self.covered.lock() = cursor;
        if let Some(journal) = &self.setup.journal {
            journal.synced(self.setup.id, offset);
        }
    }

    /// Has the journal gather everything published that is not durable; `None` where it does not
    /// take it.
    pub(super) fn gather_for_journal(&self) -> Result<Option<Gathered>> {
        let Some(journal) = &self.setup.journal else { return Ok(None) };
        self.latch.check("sync")?;
        if self.own_name_changed.load(Ordering::Acquire) {
            return Ok(None); // a directory is durable, with its owner, before what is in it
        }
        let (_, Some(mark)) = self.mark() else { return Ok(None) };
        let Some(position) = self.first_uncovered(&mark) else { return Ok(None) };
        let size = mark.position.saturating_sub(position);
        if size == 0 || size > MOST || !journal.takes(size) {
            return Ok(None);
        }
        let Ok(batches) = mark.segment.bytes(position, mark.position) else {
            return Ok(None); // a sync needs no reading
        };
        let extent = Extent {
            log: self.setup.id,
            segment: mark.segment.base(),
            position,
            first: self.offsets.durable(),
            end: mark.offset,
        };
        let ticket = journal.gather(&extent, &batches);
        Ok(ticket.map(|ticket| Gathered { ticket, mark }))
    }

    /// Makes durable what the journal has gathered; `false` where it did not come to that, and the
    /// segments are to be synced.
    ///
    /// # Errors
    /// That of the journal's sync. The log is poisoned: what the journal has of it is in doubt.
    pub(super) fn settle_by_journal(&self, gathered: Gathered) -> Result<bool> {
        let Some(journal) = &self.setup.journal else { return Ok(false) };
        match journal.settle(gathered.ticket) {
            Ok(Kept::Yes) => {
                self.offsets.set_durable(gathered.mark.offset);
                *self.covered.lock() = Some(gathered.mark);
                Ok(true)
            }
            Ok(Kept::No) => Ok(false),
            Err(error) => {
                self.latch.trip(&error);
                Err(error)
            }
        }
    }

    /// Where in the mark's segment the first byte lies that is not durable; `None` where it lies in
    /// another, or nobody knows.
    fn first_uncovered(&self, mark: &Cursor) -> Option<u64> {
        let durable = self.offsets.durable();
        if mark.segment.base() == durable {
            return Some(0);
        }
        let covered = self.covered.lock();
        let covered = covered.as_ref()?;
        let fits = Arc::ptr_eq(&covered.segment, &mark.segment) && covered.offset == durable;
        fits.then_some(covered.position)
    }
}

/// Where the durable offset lies, where nothing lies above it.
pub(super) fn covered(tail: Option<&Tail>, recovery_point: Offset, end: Offset) -> Option<Cursor> {
    let segment = tail.filter(|_| recovery_point.min(end) == end)?.segment().clone();
    Some(Cursor::at_end(segment, end))
}
