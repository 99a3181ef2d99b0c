//! How a send that goes to the log at once waits for the sync it needs, if it needs one, and what
//! it has then.
//!
//! A thread blocks in the append; a task appends without waiting and rides on the partition's next
//! sync. Which sends need one is the producer's durability word, and the topic's bound on unsynced
//! records. Used by `topic`, `numbered` and `transaction`.

use crate::config::Durability;
use crate::engine::Partition;
use crate::error::Result;
use crate::ids::PartitionId;
use crate::log::Appended;
use crate::record::AppendBatch;
use crate::time::Timestamp;

/// How a send waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Blocks(Durability),
    /// As a task, once the append has returned.
    Rides,
}

impl Wait {
    #[inline(always)] // see `producer::walk`
    pub(super) fn append<B: AppendBatch>(
        self,
        partition: &Partition,
        batch: &B,
        now: Timestamp,
    ) -> Result<Appended> {
        if let Wait::Blocks(durability) = self {
            return partition.append(batch, now, durability);
        }
        let appended = partition.append_quietly(batch, now)?;
        partition.announce(&appended);
        Ok(appended)
    }
}

/// What was appended.
pub(super) struct Sent {
    pub(super) partition: PartitionId,
    pub(super) appended: Appended,
    pub(super) max_timestamp: Option<Timestamp>,
}
