//! Producers under the writer lock: whether a batch is to be appended, and taking it in.
//!
//! A log keeps no state for producers until it meets the first; one that never does pays a look at
//! an empty field. State at an offset is that of the batches below it, so what is snapshot at a
//! roll is taken there and written by the next checkpoint, outside the lock.

use std::collections::HashMap;
use std::ops::Range;

use super::aborted::Aborted;
use super::append::Appended;
use super::core::{PartitionLog, Writer};
use super::producers::{
    Checked, Completed, Content, Origin, Original, ProducedBatch, ProducerLimits, ProducerState,
    Producers, Recorded,
};
use crate::config::TopicConfig;
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::record::{
    AppendBatch, Marker, MarkerBatch, MarkerKind, ProducerClaim, ProducerIdentity, ProducerStamp,
};
use crate::segment::AbortedTransaction;
use crate::sync::atomic::Ordering;
use crate::time::Timestamp;

/// A log's producers, from the first on.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) producers: Producers,
    /// Taken at rolls, and not written yet.
    pub(super) taken: Vec<Taken>,
}

/// What a snapshot at an offset is to hold.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) at: Offset,
    pub(super) recorded: Vec<Recorded>,
}

/// What a reader has to know of a transaction that has ended, if it was aborted.
pub(super) fn aborted_entry(completed: Completed) -> Option<AbortedTransaction> {
    let Completed { producer, first_offset, last_offset, kind, last_stable } = completed;
    let entry = AbortedTransaction::new(producer, first_offset, last_offset, last_stable);
    (kind == MarkerKind::Abort).then_some(entry)
}

/// How far a producer has come that is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastBatch {
    pub(crate) epoch: ProducerEpoch,
    /// That of its last record; `None` where only a marker is known.
    pub(crate) last_offset: Option<Offset>,
}

/// What becomes of a batch for its producer's sake.
pub(super) enum Admitted {
    New(ProducedBatch, ProducerStamp),
    Duplicate(Original, Option<Sequence>),
}

pub(super) fn limits_of(config: &TopicConfig) -> ProducerLimits {
    ProducerLimits { expiration: config.producer_id_expiration, most: config.max_producers }
}

impl Tracked {
    /// More wait only where no checkpoint comes; the newest ones serve best.
    const MOST_TAKEN: usize = 8;

    pub(super) fn new(limits: ProducerLimits) -> Self {
        Tracked { producers: Producers::new(limits), taken: Vec::new() }
    }

    /// Takes what a snapshot at `at` is to hold: the log ends there, or did.
    pub(super) fn take_snapshot(&mut self, at: Offset) {
        if self.taken.last().is_some_and(|taken| taken.at >= at) {
            return;
        }
        if self.taken.len() == Self::MOST_TAKEN {
            self.taken.remove(0);
        }
        self.taken.push(Taken { at, recorded: self.producers.recorded() });
    }

    /// All that is to be written by a checkpoint of a log that ends at `end`.
    pub(super) fn take_all(&mut self, end: Offset, now: Timestamp) -> Vec<Taken> {
        self.producers.expire(now);
        self.take_snapshot(end);
        std::mem::take(&mut self.taken)
    }

    /// Takes back what could not be written; the one at the log's end is taken anew.
    pub(super) fn put_back(&mut self, mut taken: Vec<Taken>, end: Offset) {
        taken.retain(|taken| taken.at < end);
        self.taken.splice(0..0, taken);
    }
}

impl PartitionLog {
    /// Whether a batch that claims a producer is to be appended at the log's end.
    pub(super) fn admit<B: AppendBatch>(
        &self,
        writer: &Writer,
        batch: &B,
        claim: ProducerClaim,
        now: Timestamp,
    ) -> Result<Admitted> {
        let (producer, epoch) = (claim.identity.id(), claim.identity.epoch());
        if !claim.identity.is_legal() {
            let why = format!("{} is no producer's identity", claim.identity);
            return Err(Error::new("append", Cause::InvalidArgument(why)));
        }
        let known = writer.producers.as_deref().map(|tracked| &tracked.producers);
        let refuse = |fault: super::producers::ProducerFault| fault.into_error("append");
        let next = |producers: &Producers| producers.next_sequence(producer, epoch, now);
        let first = match (batch.marker(), claim.sequence, known) {
            (Some(_), _, _) => None,
            (None, Some(first), _) => Some(first),
            (None, None, Some(producers)) => Some(next(producers).map_err(refuse)?),
            (None, None, None) => Some(Sequence::FIRST),
        };
        let transactional = claim.transactional;
        let content = match batch.marker() {
            Some(marker) => Content::Marker(marker),
            None => {
                let last = |first: Sequence| first.after(batch.count().saturating_sub(1));
                let sequences = first.map(|first| (first, last(first)));
                Content::Records { sequences, transactional }
            }
        };
        let base = writer.next_offset;
        let produced = ProducedBatch {
            producer,
            epoch,
            first_offset: base,
            last_offset: Offset::new(base.get() + i64::from(batch.count()) - 1),
            timestamp: batch.max_timestamp(),
            content,
        };
        let checked = match known {
            Some(producers) => producers.check(&produced, Origin::Client, now).map_err(refuse)?,
            None => Checked::Append,
        };
        Ok(match checked {
            Checked::Append => {
                let identity = claim.identity;
                Admitted::New(produced, ProducerStamp { identity, first, transactional })
            }
            Checked::Duplicate(original) => Admitted::Duplicate(original, first),
        })
    }

    /// Takes in a batch that lies in the log and is not published yet: where its transaction
    /// begins, or that it was aborted, is known before anyone can read it.
    pub(super) fn note_produced(
        &self,
        writer: &mut Writer,
        produced: &ProducedBatch,
        now: Timestamp,
    ) {
        let limits = || limits_of(&self.config.load());
        let tracked = writer.producers.get_or_insert_with(|| Box::new(Tracked::new(limits())));
        let completed = tracked.producers.apply(produced, now);
        self.offsets.set_first_unstable(tracked.producers.first_unstable());
        if let Some(entry) = completed.and_then(aborted_entry) {
            self.has_aborted.store(true, Ordering::Release);
            self.aborted.write().push(entry);
        }
    }

    /// What was published may have settled a transaction: a log without replicas has its high
    /// watermark at its end. Under the writer lock, after the end was set.
    pub(super) fn settle_transactions(&self, writer: &mut Writer) {
        if let Some(tracked) = &mut writer.producers {
            tracked.producers.high_watermark_moved(self.offsets.snapshot().high_watermark());
            self.offsets.set_first_unstable(tracked.producers.first_unstable());
        }
    }

    /// Appends the marker that ends a producer's transaction here, if it has one open; one that
    /// has none is legal. Everything below it is decided once this returns, as far as no other
    /// transaction is open.
    pub(crate) fn append_marker(
        &self,
        identity: ProducerIdentity,
        marker: Marker,
        now: Timestamp,
    ) -> Result<Appended> {
        let batch = MarkerBatch::new(identity, marker, &self.batch_rules(now).timestamps, now);
        self.append(&batch, now)
    }

    /// The epoch that the record at `offset` was written under.
    pub(super) fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let epochs = self.epochs.lock();
        let entries = epochs.entries();
        entries.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// What the producer's next batch is to begin with.
    pub(crate) fn next_sequence(
        &self,
        identity: ProducerIdentity,
        now: Timestamp,
    ) -> Result<Sequence> {
        let writer = self.writer.lock();
        let Some(tracked) = writer.producers.as_deref() else { return Ok(Sequence::FIRST) };
        let next = tracked.producers.next_sequence(identity.id(), identity.epoch(), now);
        next.map_err(|fault| self.named(fault.into_error("look up sequence")))
    }

    /// The producers that are remembered, by id.
    pub(crate) fn producer_states(&self) -> Vec<ProducerState> {
        let writer = self.writer.lock();
        let tracked = writer.producers.as_deref();
        let mut states: Vec<_> =
            tracked.into_iter().flat_map(|tracked| tracked.producers.recorded()).collect();
        drop(writer);
        states.sort_unstable_by_key(|recorded| recorded.producer);
        states.into_iter().map(ProducerState::of).collect()
    }

    /// Those of them that have a transaction open, in the order in which these began.
    pub(crate) fn open_transactions(&self) -> Vec<ProducerState> {
        let mut open = self.producer_states();
        open.retain(|state| state.transaction_start().is_some());
        open.sort_by_key(ProducerState::transaction_start);
        open
    }

    /// The aborted transactions that reach into a range of offsets, in the order of their markers.
    pub(crate) fn aborted_transactions(&self, range: &Range<Offset>) -> Vec<AbortedTransaction> {
        self.aborted.read().within(range)
    }

    /// A copy of the list of aborted transactions.
    pub(crate) fn aborted(&self) -> Aborted {
        self.aborted.read().clone()
    }

    /// The last batch of each producer that is remembered.
    pub(crate) fn last_batches(&self) -> HashMap<ProducerId, LastBatch> {
        let writer = self.writer.lock();
        let tracked = writer.producers.as_deref();
        let recorded = tracked.into_iter().flat_map(|tracked| tracked.producers.recorded());
        let last = recorded.map(|Recorded { producer, epoch, last_offset, .. }| {
            (producer, LastBatch { epoch, last_offset })
        });
        last.collect()
    }

    /// The highest id among the producers that are remembered.
    pub(crate) fn highest_producer_below(&self, limit: ProducerId) -> Option<ProducerId> {
        self.writer.lock().producers.as_deref()?.producers.highest_below(limit)
    }
}
