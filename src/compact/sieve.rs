//! Which records of a batch stay, and what is written in the batch's place. Pure.
//!
//! A record stays if the map does not reach it, if it has no key (Kafka drops those; in a log of
//! state they are somebody's that we do not know), if no later record of its key is known, and, for
//! a tombstone, until its **delete horizon**: the first pass that keeps a tombstone writes the time
//! into its batch from which on it may go, a day later (KIP-534), so that whoever reads slowly
//! still sees the deletion. A batch of which all stays is copied as it is.
//!
//! Compressed batches are decompressed to be looked into; what is written of them has their codec.
//!
//! **Transactions** (`transactions`): what was committed is sifted like anything else, what was
//! aborted goes, whatever it holds, and says nothing about other records; a marker goes by its own
//! rules, with a delete horizon like a tombstone's.
//!
//! **Batches that cannot be read here** (compressed with a codec that is not built in or to more
//! than a reader takes, or with contents that do not parse) are copied as they are, and say nothing
//! about other records. That is safe: what goes is only superseded by a later record that can be
//! read and stays. One thing could be lost by them: a tombstone whose older value lies in such a
//! batch must not go, or the value would be back. So **above the first such batch no last tombstone
//! of a key goes.** The next open may be able to read it, with another limit or codec, and then its
//! keys have to be mapped: so what is recorded to be compacted ends where it begins. A batch that
//! would grow by more than its segment has to `spare` (its records have to be written plain) is
//! treated alike.
//!
//! An emptied batch goes too, unless it alone says how far its producer has come. The last batch of
//! what is written stays, emptied if need be: see `log::swap`.

use std::time::Duration;

use super::key_map::KeyMap;
use super::transactions::Transactions;
use crate::ids::Offset;
use crate::record::{Batch, BatchFault, BatchHeader, ControlRecord, MarkerKind, PlainLimit};
use crate::time::{Timestamp, millis};

/// How much goes and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) now: Timestamp,
    /// How long a tombstone stays after the first pass that kept it.
    pub(super) delete_retention: Duration,
    /// Records from here on stay: not all of their keys are known.
    pub(super) mapped_end: Offset,
    /// What one batch may take decompressed.
    pub(super) plain: PlainLimit,
}

/// What is written in a batch's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The batch, as it is.
    Whole,
    /// The batch, with fewer records, none, or a delete horizon.
    Rewritten(Vec<u8>),
    /// Nothing; the batch's emptied form, should it be the last.
    Gone(Vec<u8>),
}

/// The batch with its records at hand, decompressed into `room` if need be; `None` where they
/// cannot be taken for what they say.
pub(super) fn readable<'r>(
    batch: &Batch<'r>,
    room: &'r mut Vec<u8>,
    plain: PlainLimit,
) -> Option<Batch<'r>> {
    if batch.header().is_control() {
        return None;
    }
    let batch = batch.unpacked(room, plain).ok()?;
    batch.check_records().ok()?;
    Some(batch)
}

/// Goes through a log's batches in order.
#[derive(Debug)]
pub(super) struct Sieve {
    rules: Rules,
    pub(super) transactions: Transactions,
    /// Where the first batch begins that cannot be read, or not written, of those that were met.
    pub(super) unreadable_from: Option<Offset>,
    /// By how much what is written may still be longer than what it is written of.
    pub(super) spare: u64,
    /// Where compressed records are decompressed.
    room: Vec<u8>,
}

impl Sieve {
    pub(super) fn new(rules: Rules, transactions: Transactions) -> Self {
        Sieve { rules, transactions, unreadable_from: None, spare: u64::MAX, room: Vec::new() }
    }

    /// What becomes of the next batch.
    pub(super) fn sift(&mut self, batch: &Batch<'_>, map: &KeyMap) -> Result<Fate, BatchFault> {
        let header = batch.header();
        if header.is_control() {
            return Ok(self.sift_marker(batch));
        }
        self.transactions.meet_data(header);
        if self.transactions.is_aborted(header) {
            return Ok(self.without_records(batch));
        }
        let mut room = std::mem::take(&mut self.room);
        let fate = match readable(batch, &mut room, self.rules.plain) {
            Some(batch) => self.sift_readable(&batch, map),
            None => {
                self.unreadable_from.get_or_insert(header.base_offset());
                Ok(Fate::Whole)
            }
        };
        self.room = room;
        fate
    }

    fn sift_marker(&mut self, batch: &Batch<'_>) -> Fate {
        let header = batch.header();
        let kind = match batch.control() {
            Ok(Some(ControlRecord::Abort { .. })) => MarkerKind::Abort,
            Ok(Some(ControlRecord::Commit { .. })) => MarkerKind::Commit,
            Ok(Some(ControlRecord::Other(_))) => return Fate::Whole,
            Ok(None) => return self.without_records(batch), // it was emptied before
            Err(_) => {
                self.unreadable_from.get_or_insert(header.base_offset());
                return Fate::Whole;
            }
        };
        if !self.transactions.meet_marker(header, kind) {
            return Fate::Whole;
        }
        match header.delete_horizon() {
            None => match batch.thinned(&[true], Some(self.horizon())) {
                Ok(bytes) if self.has_room(header, &bytes) => Fate::Rewritten(bytes),
                _ => Fate::Whole,
            },
            Some(horizon) if horizon <= self.rules.now => self.without_records(batch),
            Some(_) => Fate::Whole,
        }
    }

    /// A batch none of whose records stays.
    fn without_records(&self, batch: &Batch<'_>) -> Fate {
        let header = batch.header();
        match self.transactions.is_last_of_producer(header) {
            false => Fate::Gone(batch.emptied()),
            true if header.count() == 0 => Fate::Whole,
            true => Fate::Rewritten(batch.emptied()),
        }
    }

    fn sift_readable(&mut self, batch: &Batch<'_>, map: &KeyMap) -> Result<Fate, BatchFault> {
        let header = batch.header();
        let mut keep = Vec::new();
        let mut fresh_tombstone = false;
        for record in batch.records()? {
            let record = record?;
            let mapped = record.offset() < self.rules.mapped_end;
            let superseded = mapped
                && record
                    .key()
                    .is_some_and(|key| map.last(key).is_some_and(|last| last > record.offset()));
            let tombstone = mapped && record.key().is_some() && record.value().is_none();
            let stays = !(superseded || tombstone && self.is_over(header));
            fresh_tombstone |= stays && tombstone && !header.has_delete_horizon();
            keep.push(stays);
        }
        let kept = keep.iter().filter(|keep| **keep).count();
        let horizon = fresh_tombstone.then(|| self.horizon());
        if kept == 0 {
            return Ok(self.without_records(batch));
        }
        if kept == keep.len() && horizon.is_none() {
            return Ok(Fate::Whole);
        }
        let bytes = batch.thinned(&keep, horizon)?;
        if !self.has_room(header, &bytes) {
            self.unreadable_from.get_or_insert(header.base_offset());
            return Ok(Fate::Whole);
        }
        Ok(Fate::Rewritten(bytes))
    }

    /// Takes what `bytes` are longer than the batch they were made of, if so much is to spare.
    fn has_room(&mut self, header: &BatchHeader, bytes: &[u8]) -> bool {
        let growth = (bytes.len() as u64).saturating_sub(header.size() as u64);
        let left = self.spare.checked_sub(growth);
        self.spare = left.unwrap_or(self.spare);
        left.is_some()
    }

    /// Whether the tombstones of a batch have been there for long enough.
    fn is_over(&self, header: &BatchHeader) -> bool {
        let horizon = header.delete_horizon();
        self.unreadable_from.is_none() && horizon.is_some_and(|horizon| horizon <= self.rules.now)
    }

    fn horizon(&self) -> Timestamp {
        let now = self.rules.now.as_millis().max(0);
        Timestamp::from_millis(now.saturating_add(millis(self.rules.delete_retention)))
    }
}

#[cfg(test)]
#[path = "sieve/tests.rs"]
mod tests;
