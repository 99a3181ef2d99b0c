//! Closing a log so that the next open, ours or Kafka's, has nothing to recover.
//!
//! The active segment is sealed like any rolled one: its window is cut off, its indexes get their
//! final entries and are synced. What was dropped is unlinked without waiting. After that the end,
//! the durable offset and the recovery point to record are one number.

use super::core::{PartitionLog, Refusal};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::Offset;
use crate::segment::Tail;
use std::sync::Arc;

impl PartitionLog {
    /// Ends appending; reads go on. Every later append fails as closed.
    pub(crate) fn stop_appends(&self) {
        let mut writer = self.writer.lock();
        if let Some(active) = writer.tail.take().map(Tail::finish) {
            writer.rolled.push(active);
        }
        writer.refuses = Some(Refusal::Closed);
    }

    /// Ends everything but reading, for good: the topic is deleted, and the directory's name may
    /// become another's. Waits for a sync or a retention under way; none begins after.
    pub(crate) fn retire(&self) {
        let mut doomed = self.trimming.lock();
        let mut turn = self.commit.take();
        self.stop_appends();
        doomed.clear(); // their files go with the directory
        let error = Error::new("delete topic", Cause::Closed("the log"));
        self.latch.trip(&error);
        for segment in self.segments.load().iter() {
            segment.set_replaced(); // no read under way puts an index among what is another's
        }
        // whoever waits, or comes to wait, has written something
        turn.close(&Arc::new(error.with_outcome(Outcome::WrittenNotDurable)));
        if let Some(journal) = &self.setup.journal {
            journal.synced(self.setup.id, Offset::new(i64::MAX)); // it is needed by nobody
        }
    }

    /// Ends appending and brings everything to the disk; returns the recovery point to record.
    /// Blocks for syncs where anything is unsynced.
    pub(crate) fn close(&self) -> Result<Offset> {
        self.stop_appends();
        let point = self.checkpoint();
        // what became durable just now is; nobody makes the rest so
        let closed = Error::new("sync", Cause::Closed("the log"));
        let closed = self.named(closed.with_outcome(Outcome::WrittenNotDurable));
        self.commit.take().close(&Arc::new(closed));
        let (_, unlinked) = self.unlink_dropped(true);
        let point = point?;
        unlinked?;
        Ok(point)
    }
}
