//! What a reader finds who has read to the end and is back for more: the little that was appended
//! since, behind where it stands.
//!
//! Nearly every read of one who waits for records is of this kind, and mostly from memory that the
//! processor has not at hand, for the thread slept or the writer runs on another. So it is to touch
//! little, code and stack included. It is inlined where it is used, holds nothing that is not of
//! the nearly always, and moves nothing of what it found. Where anything is different it says
//! nothing, and [`PartitionLog::fetch`] looks, whose word is final: what that would not return,
//! this must not.

use super::core::PartitionLog;
use super::fetch::{Cursor, FetchLimits};
use crate::config::IsolationLevel;
use crate::disk::Near;
use crate::ids::Offset;
use crate::segment::{Limits, Rest};
use crate::sync::atomic::Ordering;

impl Cursor {
    /// Whether it stands at an offset.
    #[inline]
    pub(crate) fn is_at(&self, offset: Offset) -> bool {
        self.offset == offset
    }

    /// Goes on behind what was read where it stands.
    #[inline(always)] // see the head
    pub(crate) fn pass(&mut self, rest: &Rest) {
        (self.position, self.offset) = (rest.end, rest.sound.next_offset);
        self.near = Near::behind(&rest.bytes);
    }
}

impl PartitionLog {
    /// All that the segment has in which a cursor stands, if that is little, at most `room`
    /// records, and there is nothing about it but records: none was aborted, none is compressed,
    /// none is missing. It is counted as read.
    #[inline(always)] // as above
    pub(crate) fn rest(&self, cursor: &Cursor, limits: FetchLimits, room: usize) -> Option<Rest> {
        let FetchLimits { bytes, records, isolation, .. } = limits;
        let (from, era) = (cursor.offset, self.era());
        let offsets = self.offsets.snapshot();
        let bound = limits.bound(&offsets);
        let may_be_aborted =
            isolation == IsolationLevel::ReadCommitted && self.has_aborted.load(Ordering::Acquire);
        let has_nothing = from < offsets.start || from >= bound;
        if cursor.era != era || has_nothing || may_be_aborted {
            return None;
        }
        cursor.fetch_near();
        let gapless_from = self.gapless.then_some(offsets.gapless_from());
        let wanted = Limits { bytes, records, bound, gapless_from };
        let rest = cursor.segment.take_rest(cursor.position, from, wanted)?;
        let sound = &rest.sound;
        let reaches_on = cursor.until.is_some_and(|until| sound.next_offset > until);
        let has_gap = sound.first_offset > from;
        // after the look at what was aborted, which is forgotten once its segment has gone
        let is_as_it_was = from >= self.offsets.start() && era == self.era();
        let fits = (1..=room).contains(&sound.records);
        if reaches_on || has_gap || !fits || !is_as_it_was {
            return None;
        }
        self.counters.fetched.bytes.add(rest.bytes.len() as u64);
        self.note_reads(sound.records as u64);
        Some(rest)
    }
}
