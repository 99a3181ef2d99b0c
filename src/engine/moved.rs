//! What readers look at in place of being woken: whether a partition has something new, and the log
//! of one that can be read at once.
//!
//! It looks at the end alone as long as nothing is appended: the one number an append changes
//! anyway. A partition that is gone has moved, so that whoever watches it is told.

use super::partition::Partition;
use crate::ids::Offset;
use crate::log::{FetchLimits, PartitionLog};
use crate::sync::atomic::Ordering;

impl Partition {
    /// This process's own log, if nothing is in the way of reading it; else there is no error to
    /// build.
    #[inline(always)] // see `log::rest`
    pub(crate) fn readable_log(&self) -> Option<&PartitionLog> {
        if self.followed().is_some() || self.is_deleted() || !self.gate().is_open() {
            return None;
        }
        self.log().ok()
    }

    /// Whether a reader at `from`, who found nothing there, may find something by now, be it an
    /// error. A partition without a log of this process's has always moved.
    #[inline]
    pub(crate) fn has_moved(&self, from: Offset, limits: FetchLimits) -> bool {
        let Ok(log) = self.log() else { return true };
        let offsets = log.offsets();
        if offsets.end() == from {
            return self.deleted.load(Ordering::Relaxed);
        }
        let now = offsets.snapshot();
        limits.bound(&now) > from || now.end < from || self.deleted.load(Ordering::Relaxed)
    }
}
