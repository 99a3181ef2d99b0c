//! What the word of another hand, who wrote a log last, is worth to its recovery.
//!
//! Kafka records recovery points now and then, also after a truncation, so one of its may lie above
//! the log's end; and it closes a log with all of it on disk, whatever point was recorded before.
//! Our own word is exact, and none of this is asked of it. Called by `open`, for each segment that
//! may hold something above the recovery point.

use super::*;

impl Recovery<'_> {
    /// Whether a log of another hand ends here, with a whole batch. Kafka's recovery point may lie
    /// above that: it records it now and then, also after a truncation.
    pub(super) fn is_end_of_anothers(&self, scan: &Scan, next: Option<Offset>) -> bool {
        let is_whole = !matches!(scan.stop, Stop::Bad { .. });
        !self.known.last_stop.is_ours() && next.is_none() && is_whole
    }

    /// Whether whoever closed the log, another hand, had what lies behind the valid batches too: a
    /// clean end is a promise for all there was, whatever recovery point it came with.
    pub(super) fn is_vouched_for_by_another(
        &self,
        segment: &Segment,
        scan: &Scan,
        next: Option<Offset>,
    ) -> Result<bool> {
        if self.known.last_stop != LastStop::AnotherHandClean {
            return Ok(false);
        }
        if next.is_some() {
            return Ok(true);
        }
        let Stop::Bad { later_batch: Some(_), .. } = scan.stop else { return Ok(false) };
        let (from, at, end) = (scan.next_offset, scan.position, Offset::new(i64::MAX));
        Ok(segment.scan_start_behind(from, at, None, end)?.is_some())
    }
}
