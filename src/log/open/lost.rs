//! What recovery makes of what is not there: files whose names are gone, epochs of records that
//! were cut off, bytes that the page cache alone may have.
//!
//! Each is asked once, when the log is put together.

use super::*;

impl Recovery<'_> {
    /// Notes what of a segment was promised and cannot be read.
    pub(super) fn damaged(&mut self, segment: &Segment, scan: &Scan, to: Offset) {
        self.hurt = true;
        let from = scan.next_offset.max(self.known.log_start);
        if to <= from {
            return; // nobody is served from there
        }
        let reason = match &scan.stop {
            Stop::End => "the file ends too early".to_owned(),
            Stop::Zeros => "zeros where records were".to_owned(),
            Stop::Bad { fault, .. } => fault.clone().looked_at(None).to_string(),
        };
        self.report.damage.push(Damage {
            path: segment.path(),
            position: scan.position,
            from,
            to,
            reason,
        });
    }

    /// Whole files may be gone, from the front or all of them: nothing else tells.
    pub(super) fn note_missing(&mut self, place: &Arc<Place>, end: Offset) {
        let from = self.known.log_start;
        let to = self.segments.first().map_or(end, |segment| segment.base());
        if !self.known.is_gapless() || to <= from {
            return;
        }
        let reason = "the segment files are missing".to_owned();
        let path = place.path(from, SegmentFile::Log);
        self.report.damage.insert(0, Damage { path, position: 0, from, to, reason });
    }

    /// Whether what the page cache says may not be what the disk holds.
    pub(super) fn must_sync(&self) -> bool {
        let doubted = self.known.sync_failed && !self.segments.is_empty();
        let is_lost = self.known.last_stop != LastStop::KilledSameBoot;
        doubted || (is_lost && !self.unproven.is_empty())
    }

    /// The epochs of what is left, from the file and from what was scanned. All above the recovery
    /// point was: what our own file says of it may be of records that were cut off since.
    pub(super) fn recovered_epochs(&self, start: Offset, end: Offset) -> EpochCache {
        let [file, scanned] = &self.epochs;
        let scanned_from = self.known.last_stop.is_ours().then_some(self.known.recovery_point);
        EpochCache::recovered(file, scanned, scanned_from, (start, end))
    }
}
