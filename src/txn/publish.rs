//! Transactions of the store's own: what a coordinator publishes, and what it resolves by that, in
//! one commit.
//!
//! A [`Publisher`] has a transactional id of the store's own, taken at its first publication. A
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
use crate::engine::Partition;
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

/// Publishes in transactions under one id of the store's own.
#[derive(Debug)]
pub(crate) struct Publisher {
    transactions: Arc<Transactions>,
    id: String,
    /// Held across a publication: one at a time.
    taken: Mutex<Option<Taken>>,
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
    /// A publisher with the id that `name` stands for; one publisher of a name in a store.
    pub(crate) fn new(transactions: Arc<Transactions>, name: &str) -> Self {
        Publisher { transactions, id: format!("{OWN_PREFIX}{name}"), taken: Mutex::new(None) }
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
        let mut had = self.taken.lock();
        let (taken, identity) = self
            .begin(&mut had)
            .map_err(|error| Unpublished::whole(error.with_outcome(Outcome::NotWritten)))?;
        let mut reached = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate().filter(|(_, it)| !it.records.is_empty()) {
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
        let had = self.taken.lock();
        let Some(taken) = had.as_ref() else { return Ok(false) };
        self.transactions.begin(taken)?;
        let phase = taken.entry.slot.lock().state.as_ref().map(|state| state.phase);
        Ok(phase == Some(TransactionPhase::CompleteCommit))
    }

    /// Who the next publication is written as; takes the id if it is not had yet.
    fn begin(&self, had: &mut Option<Taken>) -> Result<(Taken, ProducerIdentity)> {
        let taken = match had {
            Some(taken) => taken.clone(),
            None => had.insert(self.transactions.take(&self.id, TIMEOUT)?.0).clone(),
        };
        let identity = self.transactions.begin(&taken)?;
        Ok((taken, identity))
    }

    /// An abort that fails now comes with the next publication, or with the next open.
    fn give_up(&self, taken: &Taken, identity: ProducerIdentity) {
        let how = (MarkerKind::Abort, Durability::Process);
        if let Err(error) = self.transactions.end(taken, identity, how, &[]) {
            log::warn!("a publication of `{}` is not aborted yet: {error}", self.id);
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
        // what is enlisted has to be ended: not where no marker could be written either
        partition.check_appends().map_err(placed)?;
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

/// Fails where a partition does not take a record now, in whatever batch it comes.
pub(crate) fn check_record(
    partition: &Partition,
    record: &Record<'_>,
    now: Timestamp,
) -> Result<()> {
    let (one, rules) = (std::slice::from_ref(record), partition.batch_rules(now)?);
    match rules.packing.is_plain() {
        true => BorrowedBatch::measure(one, &rules).map(drop),
        false => packed(one, &rules).map(drop),
    }
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
