//! Where what an append looks at behind a partition lies; see `disk::near`.
//!
//! Taken down once, by whoever makes a lane for the partition (`producer::lane`): a partition keeps
//! its log, its budget and its signal for good, so the addresses stay right. One that has no log to
//! append to has nowhere in its place, which is asked for in vain: appends to it fail anyway.
//! Fetched by `producer::walk`, for a topic's only partition through its handle (`producer::near`).

use super::partition::Partition;
use crate::disk::Near;
use crate::log::LogNear;

/// Where a partition's log, its topic's budget and its signal lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionNear {
    log: LogNear,
    budget: Near,
    signal: Near,
}

impl PartitionNear {
    /// Has all of it fetched.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn fetch(self) {
        self.log.fetch();
        self.budget.fetch();
        self.signal.fetch();
    }
}

impl Partition {
    pub(crate) fn near(&self) -> PartitionNear {
        PartitionNear {
            log: self.log().map(|log| log.near()).unwrap_or_default(),
            budget: Near::of(&*self.topic_budget),
            signal: Near::of(&**self.signal()),
        }
    }
}
