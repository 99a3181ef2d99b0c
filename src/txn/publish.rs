//! Transactions of the store's own: what a coordinator publishes, and what it resolves by that, in
//! one commit.
//!
//! A [`Publisher`] has transactional ids of the store's own, the first taken at its first
//! publication; where one waits for a partition that takes no marker, it goes on with the next. A
//! publication appends many records to many partitions, those of programs and those that hold the
//! coordinator's state, and commits: all of it is there, once, or nothing is, whenever the process
//! or the power stops. What an earlier life left undecided is aborted when the store opens, before
//! any coordinator reads its state; what was decided is carried through.
//!
//! A publication never waits for room in a partition: one that is full fails it. It blocks for
//! syncs, and for another publication of the same publisher. Callers: the coordinators above.

use std::sync::Arc;
use std::time::Duration;

use super::coordinator::{Reached, Taken, Transactions};
use super::state::TransactionPhase;
use crate::config::Durability;
use crate::engine::{Needed, Partition};
use crate::error::{Cause, Error, ErrorKind, Outcome, Result};
use crate::ids::Offset;
use crate::record::{
    AppendBatch, BatchRules, BorrowedBatch, MarkerKind, Produced, ProducerClaim, ProducerIdentity,
    Record, packed,
};
use crate::sync::Mutex;
use crate::time::Timestamp;

/// What the ids of the store's own begin with; programs cannot take such.
pub(crate) const OWN_PREFIX: &str = "__tidelog_";

/// Longer than any publication takes.
const TIMEOUT: Duration = Duration::from_secs(900);

/// How many ids a publisher has: so many ends may wait for partitions that take no marker.
const IDS: usize = 8;

/// Publishes in transactions under ids of the store's own.
#[derive(Debug)]
pub(crate) struct Publisher {
    transactions: Arc<Transactions>,
    ids: [String; IDS],
    /// Held across a publication: one at a time.
    held: Mutex<Held>,
}

/// The ids that were taken, and under which the last publication went.
#[derive(Debug, Default)]
struct Held {
    taken: [Option<Taken>; IDS],
    last: usize,
}

/// What a publication appends to one partition, in order; of no records it is nothing.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) partition: Arc<Partition>,
    pub(crate) records: Vec<Record<'a>>,
}

/// Why nothing was published, or why that is in doubt: the error's outcome says which.
#[derive(Debug)]
pub(crate) struct Unpublished {
    /// The part that could not be appended, by number; `None` where it was not one part's fault.
    pub(crate) part: Option<usize>,
    pub(crate) error: Error,
}

impl Unpublished {
    fn whole(error: Error) -> Self {
        Unpublished { part: None, error }
    }
}

impl Publisher {
    /// A publisher with the ids that `name` stands for; one publisher of a name in a store.
    pub(crate) fn new(transactions: Arc<Transactions>, name: &str) -> Self {
        let id = |number| match number {
            0 => format!("{OWN_PREFIX}{name}"),
            _ => format!("{OWN_PREFIX}{name}_spare_{number}"),
        };
        Publisher { transactions, ids: std::array::from_fn(id), held: Mutex::default() }
    }

    /// Appends every part and commits, as durably as is said: with [`Durability::Power`] what was
    /// published is on disk, with everything before it in those partitions.
    ///
    /// # Errors
    /// With the outcome `NotWritten` nothing was published, and nothing of it ever is. With
    /// `Unknown` that is in doubt: [`settle`](Publisher::settle) tells, and until it does nothing
    /// else may be published.
    pub(crate) fn publish(
        &self,
        parts: &[Part<'_>],
        durability: Durability,
    ) -> Result<(), Unpublished> {
        let mut held = self.held.lock();
        let parts = || parts.iter().enumerate().filter(|(_, part)| !part.records.is_empty());
        let (now, mut needed) = (self.transactions.engine.clock().wall(), Needed::default());
        for (number, part) in parts() {
            // before anything is written: what is aborted takes room all the same
            check_part(part, now, &mut needed).map_err(|error| {
                let error = error.with_outcome(Outcome::NotWritten);
                Unpublished { part: Some(number), error }
            })?;
        }
        let (taken, identity) = self
            .begin(&mut held)
            .map_err(|error| Unpublished::whole(error.with_outcome(Outcome::NotWritten)))?;
        let mut reached = Vec::new();
        for (number, part) in parts() {
            match self.append_part(&taken, identity, part) {
                Ok(end) => reached.push(Reached { partition: part.partition.clone(), end }),
                Err(error) => {
                    self.give_up(&taken, identity);
                    // aborted, or by the next publication: it is never seen
                    let error = error.with_outcome(Outcome::NotWritten);
                    return Err(Unpublished { part: Some(number), error });
                }
            }
        }
        let how = (MarkerKind::Commit, durability);
        let ended = self.transactions.end(&taken, identity, how, &reached);
        ended.map_err(|error| {
            if error.outcome() == Outcome::NotWritten {
                self.give_up(&taken, identity);
            }
            Unpublished::whole(error)
        })
    }

    /// What became of the last publication, where its end was in doubt: whether it is committed.
    /// Fails as long as that cannot be told.
    pub(crate) fn settle(&self) -> Result<bool> {
        let held = self.held.lock();
        let Some(taken) = &held.taken[held.last] else { return Ok(false) };
        match self.transactions.begin(taken) {
            Err(error) if !self.transactions.waits_for_markers(taken.id()) => return Err(error),
            // decided, whatever partition its marker cannot be written to yet
            Ok(_) | Err(_) => {}
        }
        let phase = taken.entry.slot.lock().state.as_ref().map(|state| state.phase);
        Ok(matches!(
            phase,
            Some(TransactionPhase::PrepareCommit | TransactionPhase::CompleteCommit)
        ))
    }

    /// Who the next publication is written as: under the id of the last one, or, where the end of
    /// that is decided and waits for a partition, under another.
    fn begin(&self, held: &mut Held) -> Result<(Taken, ProducerIdentity)> {
        let mut waits = None;
        for number in (0..IDS).map(|step| (held.last + step) % IDS) {
            let begun = match &held.taken[number] {
                Some(taken) => Ok(taken.clone()),
                None => self.transactions.take(&self.ids[number], TIMEOUT).map(|(taken, _)| taken),
            };
            let begun = begun.and_then(|taken| {
                held.taken[number] = Some(taken.clone());
                let identity = self.transactions.begin(&taken)?;
                Ok((taken, identity))
            });
            match begun {
                Ok(begun) => {
                    held.last = number;
                    return Ok(begun);
                }
                Err(error) if self.transactions.waits_for_markers(&self.ids[number]) => {
                    waits.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let text = || format!("no id of `{}` is free", self.ids[0]);
        let none = || Error::new("publish", Cause::InvalidTransactionState(text()));
        Err(waits.unwrap_or_else(none))
    }

    /// An abort that fails now comes with the next publication, or with the next open.
    fn give_up(&self, taken: &Taken, identity: ProducerIdentity) {
        let how = (MarkerKind::Abort, Durability::Process);
        if let Err(error) = self.transactions.end(taken, identity, how, &[]) {
            log::warn!("a publication of `{}` is not aborted yet: {error}", taken.id());
        }
    }

    fn append_part(
        &self,
        taken: &Taken,
        identity: ProducerIdentity,
        part: &Part<'_>,
    ) -> Result<Offset> {
        let Part { partition, records } = part;
        let placed = |error: Error| error.at_partition(partition.topic_name(), partition.id());
        let rules = partition.batch_rules(self.transactions.engine.clock().wall());
        let rules = rules.map_err(placed)?;
        self.transactions.enlist(taken, identity, partition)?;
        let claim = ProducerClaim { identity, sequence: None, transactional: true };
        self.append(partition, records, &rules, claim).map_err(placed)
    }

    /// Appends records as one batch, or as several where one is larger than the topic allows.
    fn append(
        &self,
        partition: &Arc<Partition>,
        records: &[Record<'_>],
        rules: &BatchRules,
        claim: ProducerClaim,
    ) -> Result<Offset> {
        let appended = if rules.packing.is_plain() {
            BorrowedBatch::measure(records, rules)
                .and_then(|batch| self.append_batch(partition, &batch, claim))
        } else {
            packed(records, rules).and_then(|batch| self.append_batch(partition, &batch, claim))
        };
        match appended {
            Err(error) if error.kind() == ErrorKind::TooLarge && records.len() > 1 => {
                let (first, second) = records.split_at(records.len() / 2);
                self.append(partition, first, rules, claim)?;
                self.append(partition, second, rules, claim)
            }
            appended => appended,
        }
    }

    fn append_batch<B: AppendBatch>(
        &self,
        partition: &Arc<Partition>,
        batch: &B,
        claim: ProducerClaim,
    ) -> Result<Offset> {
        partition.check_room(batch.size() as u64)?;
        let now = self.transactions.engine.clock().wall();
        let batch = Produced { batch, claim: Some(claim) };
        Ok(partition.append(&batch, now, Durability::Process)?.end_offset)
    }
}

/// Fails where a partition takes nothing now, or not as much beside what is needed so far. What is
/// enlisted has to be ended: not where no marker could be written either.
fn check_part(part: &Part<'_>, now: Timestamp, needed: &mut Needed) -> Result<()> {
    let Part { partition, records } = part;
    let placed = |error: Error| error.at_partition(partition.topic_name(), partition.id());
    partition.check_appends().map_err(placed)?;
    if partition.largest_batch().is_none() {
        return Ok(());
    }
    let rules = partition.batch_rules(now).map_err(placed)?;
    let (any_size, is_one) = (BatchRules { max_bytes: usize::MAX, ..rules }, records.len() == 1);
    if is_one && !rules.packing.is_plain() {
        return Ok(()); // what it is when it is compressed its append tells
    }
    match BorrowedBatch::measure(records, &any_size) {
        Ok(batch) => needed.add(partition, batch.size() as u64, is_one),
        Err(_) => Ok(()), // why it is refused its append tells
    }
}

/// Fails where a partition does not take a record now, in whatever batch it comes.
pub(crate) fn check_record(
    partition: &Partition,
    record: &Record<'_>,
    now: Timestamp,
) -> Result<()> {
    let (one, rules) = (std::slice::from_ref(record), partition.batch_rules(now)?);
    let size = match rules.packing.is_plain() {
        true => BorrowedBatch::measure(one, &rules)?.size(),
        false => packed(one, &rules)?.size(),
    };
    partition.check_fits(size as u64)
}

/// Refuses a program a transactional id that is the store's own.
pub(crate) fn check_not_own(id: &str) -> Result<()> {
    if !id.starts_with(OWN_PREFIX) {
        return Ok(());
    }
    let (what, reason) = ("transactional id", "names that begin so are the store's own");
    let name = id.chars().take(64).collect();
    Err(Error::new("name transactional id", Cause::InvalidName { what, name, reason }))
}

#[cfg(all(test, not(loom)))]
mod tests;
