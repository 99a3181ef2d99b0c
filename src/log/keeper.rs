//! Who keeps the facts about a log that its own files cannot tell.
//!
//! A log under a store keeps them in the store's state log, many partitions at a time; a log
//! opened alone keeps them in a file of two slots. Both sit behind [`Keeper`]. A recovery point
//! that is lost costs time, one that is too high costs records: so it is recorded after the sync
//! it speaks of. A log start is durable before the files below it go.

use super::offsets::{OffsetSnapshot, Offsets};
use crate::error::Result;
pub(crate) use crate::ids::LogId;
use crate::ids::Offset;
use crate::segment::Identity;

impl LogId {
    /// What the digests of its segments begin with.
    pub(crate) fn identity(self) -> Identity {
        Identity { topic: self.topic, partition: self.partition }
    }
}

/// One fact about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFact {
    /// Everything below is synced; bad bytes there are damage.
    RecoveryPoint(Offset),
    /// The log is to be truncated: its recovery point, its high watermark and how far it may have
    /// gaps are no higher than this. It is durable before the first record goes.
    Lowered(Offset),
    /// Nothing below is served any more.
    LogStart(Offset),
    /// Compaction may have taken records below: gaps there are no damage. It is durable before
    /// the first of them goes.
    Compacted(Offset),
    /// A leader may have left out offsets below: gaps there are no damage. It is durable before the
    /// first batch behind such a gap is there.
    Sparse(Offset),
    /// Where the host has set the high watermark of a log that it leads.
    HighWatermark(Offset),
    /// A sync failed when everything below was durable. It holds until a recovery point above is
    /// recorded.
    SyncFailed(Offset),
}

/// Whether a record of facts has to survive a power cut before the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Now,
    Later,
}

/// Where facts about logs are kept.
pub(crate) trait Keeper: Send + Sync + std::fmt::Debug {
    /// Records facts, all or none of them, in order.
    fn record(&self, facts: &[(LogId, LogFact)], durable: Durable) -> Result<()>;
}

/// How the directory was left by whoever wrote it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastStop {
    /// By us, cleanly: everything up to the recovery point is there and nothing beyond.
    Clean,
    /// By us, in the middle; the machine has not restarted since.
    KilledSameBoot,
    /// By us, in the middle; the machine has restarted, so the page cache was lost.
    PowerCut,
    /// By someone else, whose word the recovery point is; cleanly, as they say.
    AnotherHandClean,
    /// By someone else, in the middle.
    AnotherHand,
}

impl LastStop {
    /// Whether nothing above the recovery point is in doubt.
    pub(crate) fn is_clean(self) -> bool {
        matches!(self, LastStop::Clean | LastStop::AnotherHandClean)
    }

    /// Whether this library wrote last.
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, LastStop::AnotherHand | LastStop::AnotherHandClean)
    }
}

/// Behind a gap as wide as this a follower begins a segment of its own.
pub(super) const FAR: u64 = 1 << 30;

/// What is known of a log before its directory is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownFacts {
    pub(crate) recovery_point: Offset,
    pub(crate) log_start: Offset,
    pub(crate) last_stop: LastStop,
    /// Another hand has written here at some time: there may be gaps between offsets, and nothing
    /// is made of them.
    pub(crate) adopted: bool,
    /// From here on this library alone has written, whoever wrote below: what is missing there was
    /// lost. `None` where nothing tells.
    pub(crate) ours_from: Option<Offset>,
    /// Below it there may be gaps that compaction made.
    pub(crate) compacted: Offset,
    /// Below it there may be gaps that a leader left.
    pub(crate) sparse: Offset,
    /// The high watermark as it was recorded, where the host leads the log.
    pub(crate) host_led: Option<Offset>,
    /// A sync is known to have failed: what the page cache says of bytes above the recovery point
    /// proves nothing, nor would another sync of them.
    pub(crate) sync_failed: bool,
}

impl KnownFacts {
    /// Whether every offset from the log start on must be there, but for what compaction took or
    /// a leader left out. Compaction never takes the first or the last offset of a segment it
    /// writes: what is missing at the front of the log, or of its end, is missing in any case.
    pub(crate) fn is_gapless(&self) -> bool {
        !self.adopted && self.last_stop.is_ours()
    }

    /// Whether the offsets between `end` and `next` may be missing.
    pub(crate) fn allows_gap(&self, end: Offset, next: Offset) -> bool {
        match self.is_gapless() {
            true => next <= self.compacted || self.is_far(end, next),
            false => self.ours_from.is_none_or(|from| end < from),
        }
    }

    /// Whether a leader's gap was too wide for one segment: a narrower one lies within a segment,
    /// which begins where the one before it ends.
    pub(super) fn is_far(&self, end: Offset, next: Offset) -> bool {
        next <= self.sparse && next.since(end) >= FAR
    }

    /// Whether the offsets from here on must all be there.
    pub(super) fn gapless_from(&self) -> Offset {
        self.compacted.max(self.sparse)
    }

    /// The offsets of a log that was recovered from `start` to `end`.
    pub(super) fn offsets(&self, start: Offset, end: Offset) -> Offsets {
        let point = self.recovery_point.min(end);
        Offsets::new(OffsetSnapshot {
            start,
            compacted: self.compacted.min(point),
            sparse: self.sparse, // what the journal has behind a gap is still to come
            set_watermark: self.host_led,
            recovery_point: point,
            durable: point,
            end,
            first_unstable: None,
        })
    }
}
