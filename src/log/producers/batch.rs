//! What of a record batch concerns its producer.
//!
//! Taken from a batch whose checksum fits, or put together by whoever is about to append one. A
//! batch without a producer id concerns none, and neither does a control batch that compaction has
//! emptied: its transaction has left the log whole.

use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence};
use crate::record::{Batch, BatchFault, BatchHeader, ControlRecord, Marker, MarkerKind};
use crate::time::Timestamp;

/// A batch of some producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducedBatch {
    pub(crate) producer: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) first_offset: Offset,
    pub(crate) last_offset: Offset,
    /// The largest of its records'.
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) content: Content,
}

/// What a producer's batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Records {
        /// First and last; other writers may leave none.
        sequences: Option<(Sequence, Sequence)>,
        transactional: bool,
    },
    Marker(Marker),
}

impl ProducedBatch {
    /// What of `batch` concerns its producer, if it has one.
    pub(crate) fn of(batch: &Batch<'_>) -> Result<Option<Self>, BatchFault> {
        let header = batch.header();
        let (Some(producer), Some(epoch)) = (header.producer_id(), header.producer_epoch()) else {
            return Ok(None);
        };
        let content = match batch.control()? {
            Some(ControlRecord::Abort { coordinator_epoch }) => {
                Content::Marker(Marker { kind: MarkerKind::Abort, coordinator_epoch })
            }
            Some(ControlRecord::Commit { coordinator_epoch }) => {
                Content::Marker(Marker { kind: MarkerKind::Commit, coordinator_epoch })
            }
            Some(ControlRecord::Other(_)) => return Ok(None),
            None if header.is_control() => return Ok(None),
            None => Content::Records {
                sequences: sequences(header),
                transactional: header.is_transactional(),
            },
        };
        Ok(Some(ProducedBatch {
            producer,
            epoch,
            first_offset: header.base_offset(),
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp(),
            content,
        }))
    }

    /// How far the last offset lies from the first: what a batch spans, records left or not.
    pub(super) fn span(&self) -> u32 {
        u32::try_from(self.last_offset.since(self.first_offset)).unwrap_or(u32::MAX)
    }
}

fn sequences(header: &BatchHeader) -> Option<(Sequence, Sequence)> {
    let first = header.base_sequence().and_then(Sequence::new)?;
    Some((first, first.after(header.last_offset_delta().unsigned_abs())))
}
