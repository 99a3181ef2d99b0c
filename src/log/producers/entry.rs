//! One producer, as its partition knows it.
//!
//! The last five batches tell a repetition from a gap: who sends one of them again gets the
//! offsets it has. They are of the current epoch only. A producer that is known by a marker alone
//! has none, and begins with the first sequence.

use std::collections::VecDeque;

use super::batch::{Content, ProducedBatch};
use crate::ids::{Offset, ProducerEpoch, Sequence};
use crate::time::Timestamp;

/// As many batches as Kafka remembers: a client may have that many on their way.
pub(super) const REMEMBERED: usize = 5;

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchMeta {
    pub(super) last_sequence: Option<Sequence>,
    pub(super) last_offset: Offset,
    pub(super) span: u32,
    pub(super) timestamp: Option<Timestamp>,
}

/// Where a batch lies that is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Original {
    pub(crate) first_offset: Offset,
    pub(crate) last_offset: Offset,
    pub(crate) timestamp: Option<Timestamp>,
}

/// A producer's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub(super) epoch: ProducerEpoch,
    /// Oldest first.
    pub(super) batches: VecDeque<BatchMeta>,
    /// The timestamp of its last batch or marker, the records' own.
    pub(super) last_timestamp: Option<Timestamp>,
    /// When this process last heard of it, by the clock.
    pub(super) heard: Timestamp,
    pub(super) coordinator_epoch: Option<i32>,
    pub(super) transaction_start: Option<Offset>,
}

impl ProducerEntry {
    pub(super) fn new(epoch: ProducerEpoch, now: Timestamp) -> Self {
        ProducerEntry {
            epoch,
            batches: VecDeque::new(),
            last_timestamp: None,
            heard: now,
            coordinator_epoch: None,
            transaction_start: None,
        }
    }

    pub(super) fn last_sequence(&self) -> Option<Sequence> {
        self.batches.back()?.last_sequence
    }

    /// What it sends next under its epoch.
    pub(super) fn next_sequence(&self) -> Sequence {
        self.last_sequence().map_or(Sequence::FIRST, |last| last.after(1))
    }

    /// The batch among the last ones that has these sequences.
    pub(super) fn find(&self, first: Sequence, last: Sequence) -> Option<Original> {
        let same = |known: &&BatchMeta| {
            known.last_sequence == Some(last) && last.before(known.span) == first
        };
        let found = self.batches.iter().find(same)?;
        let first_offset = found.last_offset.get().saturating_sub(i64::from(found.span));
        Some(Original {
            first_offset: Offset::new(first_offset),
            last_offset: found.last_offset,
            timestamp: found.timestamp,
        })
    }

    /// Takes an epoch; another one forgets the batches of the last.
    pub(super) fn enter(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    /// Takes in a batch; the caller sees to the transaction.
    pub(super) fn take_in(&mut self, batch: &ProducedBatch, now: Timestamp) {
        self.enter(batch.epoch);
        match batch.content {
            Content::Records { sequences, .. } => self.remember(BatchMeta {
                last_sequence: sequences.map(|(_, last)| last),
                last_offset: batch.last_offset,
                span: batch.span(),
                timestamp: batch.timestamp,
            }),
            Content::Marker(marker) => self.coordinator_epoch = Some(marker.coordinator_epoch),
        }
        self.last_timestamp = batch.timestamp;
        self.heard = now;
    }

    pub(super) fn remember(&mut self, meta: BatchMeta) {
        if self.batches.len() == REMEMBERED {
            self.batches.pop_front();
        }
        self.batches.push_back(meta);
    }

    /// When it was last active: by the clock of this process or by its records, whichever is later.
    pub(super) fn active(&self) -> i64 {
        let told = self.last_timestamp.map_or(i64::MIN, Timestamp::as_millis);
        told.max(self.heard.as_millis())
    }
}
