//! A log that was cut under a group: by a host that replicates, by a reopening, between two lives.
//!
//! What the group had read from there on counts no more, and what comes at those offsets is new. A
//! cut shows in the log's end, and where the log has grown again, in its epochs. While a place is
//! in use it looks for one only where the log's offsets have fallen since it last did. Called by
//! `take`, `settle` and `groups`, under the place's lock.

use super::place::{Place, Slot};
use crate::engine::Partition;
use crate::error::{Cause, Result};
use crate::ids::Offset;

impl Slot {
    /// Holds the state against the log; `true` where the log was cut below what was read.
    pub(super) fn follow_cuts(&mut self, partition: &Partition) -> Result<bool> {
        let falls = partition.falls()?; // before the offsets: what falls later is met again
        let end = self.state.end();
        let mut cut = partition.offsets()?.end.get();
        if let Some(epoch) = self.state.epoch
            && let Err(error) = partition.check_epoch("read share group", Offset::new(end), epoch)
        {
            match error.cause() {
                Cause::LogTruncated { epoch_end, .. } => cut = cut.min(epoch_end.get()),
                _ => return Err(error),
            }
        }
        self.falls = Some(falls);
        if let Some(sieve) = &mut self.sieve {
            sieve.cut(cut.min(end)); // it looks further ahead, and where it was cut is not known
        }
        if cut >= end {
            return Ok(false);
        }
        let (topic, id) = (partition.topic_name(), partition.id());
        log::warn!("{topic}-{id} was cut at {cut}: what a share group had read there is new");
        self.state.cut(cut);
        self.must_snapshot = true; // the next record of the log says that too
        self.cursor = None;
        Ok(true)
    }

    /// Whether the log's offsets have fallen since it was last looked for a cut.
    pub(super) fn may_be_cut(&self, partition: &Partition) -> Result<bool> {
        Ok(self.falls != Some(partition.falls()?))
    }
}

impl Place {
    /// Looks for a cut, where there may be one. Called before each look and each word.
    pub(super) fn notice_cuts(&self, slot: &mut Slot) -> Result<()> {
        if slot.may_be_cut(&self.partition)? {
            if slot.follow_cuts(&self.partition)? {
                self.hold_from(slot);
            }
            self.show(slot);
        }
        Ok(())
    }
}
