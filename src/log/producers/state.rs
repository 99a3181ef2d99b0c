//! A partition's producers: what becomes of a batch, and taking it in.
//!
//! `check` changes nothing, `apply` cannot fail: a batch is checked, written, applied. Rules are
//! Kafka's (`kafka-format.md` 2.8). Bounded by age and number: a producer that was not active for
//! the expiration is forgotten; above `most` the ones that have been still the longest go first,
//! a sixteenth at a time. Who has a transaction open stays in any case; where all have, a new
//! producer is refused.

use std::collections::HashMap;
use std::time::Duration;

use super::batch::{Content, ProducedBatch};
use super::entry::{Original, ProducerEntry};
use super::fault::ProducerFault;
use super::transactions::{Completed, Transactions};
use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence};
use crate::record::Marker;
use crate::time::{Timestamp, millis};

/// Where a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A producer sends it: its sequence has to follow.
    Client,
    /// It was in the log before, here or at the leader: it is taken as it is.
    Replay,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// It is to be appended.
    Append,
    /// It was appended before, and lies there.
    Duplicate(Original),
}

/// How many producers are remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerLimits {
    pub(crate) expiration: Duration,
    pub(crate) most: usize,
}

/// All producers of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Producers {
    pub(super) entries: HashMap<ProducerId, ProducerEntry>,
    pub(super) transactions: Transactions,
    limits: ProducerLimits,
}

impl Producers {
    pub(crate) fn new(limits: ProducerLimits) -> Self {
        Producers { entries: HashMap::new(), transactions: Transactions::default(), limits }
    }

    pub(super) fn limits(&self) -> ProducerLimits {
        self.limits
    }

    pub(crate) fn set_limits(&mut self, limits: ProducerLimits) {
        self.limits = limits;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn highest_below(&self, limit: ProducerId) -> Option<ProducerId> {
        self.entries.keys().copied().filter(|id| *id < limit).max()
    }

    /// The lowest offset whose transaction is not decided for every reader.
    pub(crate) fn first_unstable(&self) -> Option<Offset> {
        self.transactions.first_unstable()
    }

    pub(crate) fn high_watermark_moved(&mut self, high_watermark: Offset) {
        self.transactions.settle_below(high_watermark);
    }

    /// What `producer` sends next under `epoch`.
    pub(crate) fn next_sequence(
        &self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        now: Timestamp,
    ) -> Result<Sequence, ProducerFault> {
        let Some(entry) = self.known(producer, now) else { return Ok(Sequence::FIRST) };
        check_epoch(producer, entry, epoch)?;
        Ok(if entry.epoch == epoch { entry.next_sequence() } else { Sequence::FIRST })
    }

    /// Whether a batch is to be appended. Of one that is not in the log yet the offsets count for
    /// nothing but their distance.
    pub(crate) fn check(
        &self,
        batch: &ProducedBatch,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Checked, ProducerFault> {
        if origin == Origin::Replay {
            return Ok(Checked::Append);
        }
        let producer = batch.producer;
        if let Content::Records { sequences: None, .. } = batch.content {
            return Err(ProducerFault::NoSequence { producer });
        }
        let Some(entry) = self.known(producer, now) else {
            let most = self.limits.most;
            let is_full = self.entries.len() >= most && self.transactions.open() >= most;
            return match is_full && matches!(batch.content, Content::Records { .. }) {
                true => Err(ProducerFault::Crowded { most }),
                false => Ok(Checked::Append),
            };
        };
        match batch.content {
            Content::Marker(marker) => {
                check_epoch(producer, entry, batch.epoch)?;
                check_coordinator(producer, entry, marker)?;
                Ok(Checked::Append)
            }
            Content::Records { sequences, transactional } => {
                let (first, last) = sequences.ok_or(ProducerFault::NoSequence { producer })?;
                if entry.epoch == batch.epoch
                    && let Some(original) = entry.find(first, last)
                {
                    return Ok(Checked::Duplicate(original));
                }
                check_epoch(producer, entry, batch.epoch)?;
                let expected = match entry.epoch == batch.epoch {
                    true => entry.next_sequence(),
                    false => Sequence::FIRST,
                };
                if first != expected {
                    return Err(ProducerFault::OutOfOrder { producer, expected, found: first });
                }
                if entry.transaction_start.is_some() && !transactional {
                    return Err(ProducerFault::TransactionOpen { producer });
                }
                Ok(Checked::Append)
            }
        }
    }

    /// Takes in a batch that is in the log; says which transaction it ends.
    pub(crate) fn apply(&mut self, batch: &ProducedBatch, now: Timestamp) -> Option<Completed> {
        if let Some(entry) = self.entries.get(&batch.producer)
            && self.is_expired(entry, now)
        {
            self.entries.remove(&batch.producer);
        }
        if self.entries.len() >= self.limits.most && !self.entries.contains_key(&batch.producer) {
            self.make_room(now);
        }
        let producer = batch.producer;
        let entry =
            self.entries.entry(producer).or_insert_with(|| ProducerEntry::new(batch.epoch, now));
        entry.take_in(batch, now);
        match batch.content {
            Content::Records { transactional, .. } => {
                if transactional && entry.transaction_start.is_none() {
                    entry.transaction_start = Some(batch.first_offset);
                    self.transactions.begin(batch.first_offset, producer);
                }
                None
            }
            Content::Marker(marker) => {
                let first_offset = entry.transaction_start.take()?;
                let last_offset = batch.last_offset;
                self.transactions.end(first_offset, last_offset);
                let last_stable = self.transactions.first_ongoing().unwrap_or(last_offset.next());
                let kind = marker.kind;
                Some(Completed { producer, first_offset, last_offset, kind, last_stable })
            }
        }
    }

    /// Forgets who was not active for the expiration.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let limits = self.limits;
        self.entries.retain(|_, entry| !is_expired(entry, limits, now));
    }

    fn is_expired(&self, entry: &ProducerEntry, now: Timestamp) -> bool {
        is_expired(entry, self.limits, now)
    }

    fn known(&self, producer: ProducerId, now: Timestamp) -> Option<&ProducerEntry> {
        self.entries.get(&producer).filter(|entry| !self.is_expired(entry, now))
    }

    /// Has room for one producer more, as far as it may.
    pub(super) fn make_room(&mut self, now: Timestamp) {
        self.expire(now);
        let most = self.limits.most.max(1);
        if self.entries.len() < most {
            return;
        }
        let mut still: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.transaction_start.is_none())
            .map(|(producer, entry)| (entry.active(), entry.last_timestamp, *producer))
            .collect();
        let excess = self.entries.len() - most + most.div_ceil(16);
        let goes = excess.min(still.len());
        if goes > 0 {
            still.select_nth_unstable(goes - 1);
        }
        for (_, _, producer) in &still[..goes] {
            self.entries.remove(producer);
        }
    }
}

fn is_expired(entry: &ProducerEntry, limits: ProducerLimits, now: Timestamp) -> bool {
    let age = now.as_millis().saturating_sub(entry.active());
    entry.transaction_start.is_none() && age >= millis(limits.expiration)
}

fn check_epoch(
    producer: ProducerId,
    entry: &ProducerEntry,
    found: ProducerEpoch,
) -> Result<(), ProducerFault> {
    let current = entry.epoch;
    match found < current {
        true => Err(ProducerFault::Fenced { producer, current, found }),
        false => Ok(()),
    }
}

fn check_coordinator(
    producer: ProducerId,
    entry: &ProducerEntry,
    marker: Marker,
) -> Result<(), ProducerFault> {
    let found = marker.coordinator_epoch;
    match entry.coordinator_epoch {
        Some(current) if found < current => {
            Err(ProducerFault::CoordinatorFenced { producer, current, found })
        }
        _ => Ok(()),
    }
}
