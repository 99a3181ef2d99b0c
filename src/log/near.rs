//! Where what an append looks at of a log lies: the lines that `tests::lines` hold it to.
//!
//! Two rounds, since the second begins at pointers that the first fetches: the log's own lines are
//! asked for before anything is looked at, those of the active segment once the writer lock is
//! taken (`Tail::fetch_near`).

use std::mem::offset_of;

use super::core::PartitionLog;
use crate::disk::Near;
use crate::segment::Tail;

/// Lines from the writer lock on: the lock with the writer's state, and the tail.
const WRITER_LINES: usize = 1 + Tail::LINES;

/// Where a log lies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogNear(Near);

impl LogNear {
    /// Has everything of the log itself fetched that an append looks at.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn fetch(self) {
        self.0.plus(offset_of!(PartitionLog, rules)).fetch();
        self.0.plus(offset_of!(PartitionLog, offsets)).fetch();
        let writer = self.0.plus(offset_of!(PartitionLog, writer)); // where a line begins
        (0..WRITER_LINES).for_each(|line| writer.plus(line * Near::LINE).fetch());
    }
}

impl PartitionLog {
    pub(crate) fn near(&self) -> LogNear {
        LogNear(Near::of(self))
    }
}
