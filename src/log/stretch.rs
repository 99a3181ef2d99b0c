//! What a reader of some tags may pass over: where the topic keeps the tags of its batches.
//!
//! Asked before a fetch, with the place where the last one ended. What is passed over is not read,
//! so damage in it is not met. Nothing here can fail: what is not known is fetched. The tags of a
//! segment that is not written any more are read from its file, when a reader comes to it, and are
//! the reader's for as long as it is in it; where there is none, and the topic keeps tags, it is
//! made again then.

use super::core::PartitionLog;
use super::fetch::{Cursor, FetchLimits, segments_from};
use crate::disk::Near;
use crate::ids::Offset;
use crate::record::TagBits;
use crate::segment::{Missing, TagReader};
use std::sync::Arc;

/// What lies at a reader's place.
#[derive(Debug)]
pub(crate) enum Ahead {
    /// No more than a fetch will tell.
    Unknown,
    /// So many bytes that are worth reading, before some that are not.
    Wanted(usize),
    /// Records without such a tag alone.
    Skipped(Skipped),
}

/// What is passed over.
#[derive(Debug)]
pub(crate) struct Skipped {
    pub(crate) bytes: u64,
    pub(crate) next_offset: Offset,
    pub(crate) cursor: Cursor,
}

impl PartitionLog {
    /// What lies from `from` on, as far as the tags of batches tell.
    pub(crate) fn look_ahead(
        &self,
        from: Offset,
        cursor: Option<&Cursor>,
        limits: FetchLimits,
        (wanted, reader): (TagBits, &mut TagReader),
    ) -> Ahead {
        let era = self.era();
        let offsets = self.offsets.snapshot();
        let segments = self.segments.load();
        let Some(segment) = segments_from(&segments, from).first() else { return Ahead::Unknown };
        let stands = cursor.filter(|cursor| {
            cursor.offset == from && cursor.era == era && Arc::ptr_eq(&cursor.segment, segment)
        });
        let position = match stands {
            Some(cursor) => cursor.position,
            None if from == segment.base() => 0,
            None => return Ahead::Unknown,
        };
        let bound = limits.bound(&offsets);
        let is_active = segments.last().is_some_and(|last| Arc::ptr_eq(last, segment));
        let stretch = match segment.stretch(position, bound, wanted) {
            Some(stretch) => stretch,
            None if is_active => None,
            None => {
                let missing = if self.keeps_tags() { Missing::IsMade } else { Missing::Stays };
                reader.of(segment, missing).stretch(segment.base(), position, bound, wanted)
            }
        };
        let Some(stretch) = stretch.filter(|stretch| stretch.next > from) else {
            return Ahead::Unknown;
        };
        if from < self.offsets.start() || era != self.era() {
            return Ahead::Unknown; // the fetch finds out what became of it
        }
        let bytes = stretch.end.saturating_sub(position);
        if stretch.is_wanted {
            return Ahead::Wanted(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        let (segment, position, offset) = (segment.clone(), stretch.end, stretch.next);
        let cursor = Cursor { segment, position, offset, era, until: None, near: Near::default() };
        Ahead::Skipped(Skipped { bytes, next_offset: offset, cursor })
    }

    /// The tags of records that an append which began at `first` may show.
    pub(crate) fn shown_by(&self, first: Offset) -> TagBits {
        let segments = self.segments.load();
        let holds = segments.iter().rev().find(|segment| segment.base() <= first);
        holds.map_or(TagBits::ANY, |segment| segment.shown_by(first))
    }
}
