//! What damage leaves in doubt of a log's transactions.
//!
//! What was passed over may have held anything: data, or the marker that ended a transaction. So
//! nobody knows what became of transactional batches in there, which may be found by their offset
//! all the same, nor of those before it whose transaction was open where it begins. Readers of what
//! was committed are told of them as of damage; all that lies behind is as certain as ever.
//!
//! There are no more ranges than places behind damage at which an index or a digest names a batch,
//! and no more transactions than were read.

use std::collections::HashMap;
use std::ops::Range;

use crate::ids::{Offset, ProducerId};
use crate::record::BatchHeader;
use crate::segment::Chunk;

/// Which transactional batches nobody knows the fate of.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts {
    /// What was passed over, in order.
    skipped: Vec<Range<Offset>>,
    /// From where a transaction began to where damage did, in order.
    left_open: HashMap<ProducerId, Vec<Range<Offset>>>,
}

impl Doubts {
    /// Adds what lies behind all others: a range that was passed over, and what was open before it.
    pub(super) fn push(
        &mut self,
        skipped: Range<Offset>,
        open: impl IntoIterator<Item = (ProducerId, Offset)>,
    ) {
        debug_assert!(self.skipped.last().is_none_or(|last| last.end <= skipped.start));
        for (producer, first) in open {
            self.left_open.entry(producer).or_default().push(first..skipped.start);
        }
        match self.skipped.last_mut() {
            Some(last) if last.end == skipped.start => last.end = skipped.end,
            _ => self.skipped.push(skipped),
        }
    }

    /// Whether some of it lies wholly below an offset.
    pub(super) fn reach_below(&self, start: Offset) -> bool {
        self.skipped.first().is_some_and(|first| first.end <= start)
    }

    /// Forgets what lies wholly below an offset: the log begins there.
    pub(super) fn drop_below(&mut self, start: Offset) {
        self.skipped.retain(|range| range.end > start);
        self.left_open.retain(|_, ranges| {
            ranges.retain(|range| range.end > start);
            !ranges.is_empty()
        });
    }

    /// Whether anything at an offset or above it may be in doubt.
    pub(super) fn reach_above(&self, offset: Offset) -> bool {
        self.skipped.last().is_some_and(|last| last.end > offset)
    }

    /// The first batch of a chunk that is in doubt, and where in the file it begins.
    pub(super) fn first_in(&self, chunk: &Chunk) -> Option<(u64, BatchHeader)> {
        let mut headers = chunk.headers().filter(|_| self.reach_above(chunk.first_offset));
        headers.find(|(_, header)| self.has_skipped(header) || self.has_left_open(header))
    }

    /// Where those batches end with which a chunk begins and that are in doubt for what follows
    /// them; `None` where it begins with another.
    pub(super) fn end_of_left_open(&self, chunk: &Chunk) -> Option<Offset> {
        let headers = chunk.headers().map(|(_, header)| header);
        let in_doubt =
            headers.take_while(|header| self.has_left_open(header) && !self.has_skipped(header));
        in_doubt.last().map(|header| header.end_offset())
    }

    /// Whether a batch lies in what was passed over.
    fn has_skipped(&self, header: &BatchHeader) -> bool {
        header.is_data_of_transaction() && holds(&self.skipped, header.base_offset())
    }

    fn has_left_open(&self, header: &BatchHeader) -> bool {
        let producer = header.producer_id().filter(|_| header.is_data_of_transaction());
        let of_producer = producer.and_then(|producer| self.left_open.get(&producer));
        of_producer.is_some_and(|ranges| holds(ranges, header.base_offset()))
    }
}

/// Whether one of these ranges, which are in order, holds an offset.
fn holds(ranges: &[Range<Offset>], offset: Offset) -> bool {
    let next = ranges.partition_point(|range| range.end <= offset);
    ranges.get(next).is_some_and(|range| range.start <= offset)
}
