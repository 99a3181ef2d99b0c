//! The state of one transactional id, and the one function that moves it.
//!
//! Pure: no clock, no log, no lock. States and rules are those of Kafka's coordinator with
//! transactions of version 2: every end of a transaction raises the epoch, its markers carry the
//! raised one, and the producer goes on with that. Epochs run out at 32,767: the end that reaches
//! it also names the producer id to go on with, from epoch 0.
//!
//! Invariants: only `Ongoing` and the two prepared states have partitions; nothing leaves a
//! prepared state but its completion; an epoch never falls while the producer id stays.
//!
//! Called by `coordinator`, which writes the new state before it takes effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{PartitionId, ProducerEpoch, ProducerId};
use crate::record::{MarkerKind, ProducerIdentity};
use crate::time::{Timestamp, millis};

/// Where a transactional id stands; Kafka's names.
///
/// ```
/// assert_eq!(tidelog::TransactionPhase::PrepareCommit.to_string(), "PrepareCommit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransactionPhase {
    /// A producer has the id and has sent nothing yet.
    Empty,
    /// Records of a transaction that is not decided.
    Ongoing,
    /// It is committed; partitions are still being told.
    PrepareCommit,
    /// It is aborted; partitions are still being told.
    PrepareAbort,
    /// The last transaction was committed, everywhere.
    CompleteCommit,
    /// The last transaction was aborted, everywhere.
    CompleteAbort,
    /// The id was not used for so long that it is forgotten.
    Dead,
}

impl std::fmt::Display for TransactionPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            TransactionPhase::Empty => "Empty",
            TransactionPhase::Ongoing => "Ongoing",
            TransactionPhase::PrepareCommit => "PrepareCommit",
            TransactionPhase::PrepareAbort => "PrepareAbort",
            TransactionPhase::CompleteCommit => "CompleteCommit",
            TransactionPhase::CompleteAbort => "CompleteAbort",
            TransactionPhase::Dead => "Dead",
        })
    }
}

/// The partitions of a transaction, by topic.
pub(crate) type Partitions = BTreeMap<Arc<str>, BTreeSet<PartitionId>>;

/// The state of one transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionState {
    pub(crate) producer: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    /// Whose epochs have run out before.
    pub(crate) previous: Option<ProducerId>,
    /// Who goes on once the end that is prepared is complete.
    pub(crate) next: Option<ProducerId>,
    pub(crate) timeout: Duration,
    pub(crate) phase: TransactionPhase,
    pub(crate) partitions: Partitions,
    pub(crate) updated: Timestamp,
    pub(crate) started: Option<Timestamp>,
    /// Kafka's version of the transaction protocol; 2 is what is spoken here.
    pub(crate) client_version: i16,
}

/// What happens to a transactional id. Where a fresh producer id may be needed the caller brings
/// one: [`TransactionState::needs_fresh_id`] says so.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    /// A producer takes the id over.
    Take { timeout: Duration, fresh: Option<ProducerId> },
    /// The producer is about to write to these partitions.
    Enlist(Partitions),
    /// The transaction is decided.
    Prepare { kind: MarkerKind, fresh: Option<ProducerId> },
    /// Every partition has its marker.
    Complete,
    /// The id was not used for `age`, and no longer exists if it was not.
    Expire { age: Duration },
}

/// Why a step cannot happen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("a transaction of it is open")]
    Open,
    #[error("no transaction of it is open")]
    NotOpen,
    #[error("its last transaction is still being ended")]
    Ending,
    #[error("no end is prepared")]
    NotPrepared,
    #[error("it was used not long enough ago")]
    InUse,
    #[error("it is forgotten")]
    Dead,
    #[error("its epochs have run out, and there is no producer id to go on with")]
    NoFreshId,
}

/// The version of the protocol that every end raises the epoch in.
pub(crate) const CLIENT_VERSION: i16 = 2;

impl TransactionState {
    /// That of an id nobody had before.
    pub(crate) fn new(producer: ProducerId, timeout: Duration, now: Timestamp) -> Self {
        TransactionState {
            producer,
            epoch: ProducerEpoch::new(0),
            previous: None,
            next: None,
            timeout,
            phase: TransactionPhase::Empty,
            partitions: Partitions::new(),
            updated: now,
            started: None,
            client_version: 0,
        }
    }

    pub(crate) fn identity(&self) -> ProducerIdentity {
        ProducerIdentity::new(self.producer, self.epoch)
    }

    /// The epoch of a transaction's records, once its end is prepared: before the second version of
    /// the protocol an end raises no epoch, and its markers carry that of the records.
    pub(crate) fn epoch_of_records(&self) -> ProducerEpoch {
        match self.client_version < CLIENT_VERSION {
            true => self.epoch,
            false => ProducerEpoch::new((self.epoch.get() - 1).max(0)),
        }
    }

    /// Whether the next raise of the epoch needs another producer id.
    pub(crate) fn needs_fresh_id(&self) -> bool {
        self.epoch.get() >= i16::MAX - 1
    }

    /// The end that is decided and not everywhere yet.
    pub(crate) fn prepared(&self) -> Option<MarkerKind> {
        match self.phase {
            TransactionPhase::PrepareCommit => Some(MarkerKind::Commit),
            TransactionPhase::PrepareAbort => Some(MarkerKind::Abort),
            _ => None,
        }
    }

    /// The state after a step; this one stays as it is.
    pub(crate) fn after(&self, step: Move, now: Timestamp) -> Result<Self, Refused> {
        use TransactionPhase::{
            CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit,
        };
        let now = now.max(self.updated); // a clock that was set back orders nothing anew
        let here = || TransactionState { updated: now, ..self.clone() };
        match (self.phase, step) {
            (Dead, _) => Err(Refused::Dead),
            (PrepareCommit | PrepareAbort, Move::Complete) => Ok(self.completed(now)),
            (PrepareCommit | PrepareAbort, _) => Err(Refused::Ending),
            (_, Move::Complete) => Err(Refused::NotPrepared),
            (Ongoing, Move::Take { .. } | Move::Expire { .. }) => Err(Refused::Open),
            (Empty | CompleteCommit | CompleteAbort, Move::Take { timeout, fresh }) => {
                let mut state = here();
                (state.phase, state.timeout, state.started) = (Empty, timeout, None);
                if self.needs_fresh_id() {
                    state.previous = Some(self.producer);
                    state.producer = fresh.ok_or(Refused::NoFreshId)?;
                    state.epoch = ProducerEpoch::new(0);
                } else {
                    state.epoch = raised(self.epoch);
                }
                Ok(state)
            }
            (Empty | CompleteCommit | CompleteAbort, Move::Enlist(partitions)) => {
                let mut state = here();
                (state.phase, state.started) = (Ongoing, Some(now));
                (state.partitions, state.client_version) = (partitions, CLIENT_VERSION);
                Ok(state)
            }
            (Ongoing, Move::Enlist(partitions)) => {
                let mut state = here();
                for (topic, ids) in partitions {
                    state.partitions.entry(topic).or_default().extend(ids);
                }
                Ok(state)
            }
            (Ongoing, Move::Prepare { kind, fresh }) => {
                let mut state = here();
                state.phase = match kind {
                    MarkerKind::Commit => PrepareCommit,
                    MarkerKind::Abort => PrepareAbort,
                };
                if self.needs_fresh_id() {
                    state.next = Some(fresh.ok_or(Refused::NoFreshId)?);
                }
                (state.epoch, state.client_version) = (raised(self.epoch), CLIENT_VERSION);
                Ok(state)
            }
            (Empty | CompleteCommit | CompleteAbort, Move::Prepare { .. }) => Err(Refused::NotOpen),
            (Empty | CompleteCommit | CompleteAbort, Move::Expire { age }) => {
                let unused = now.as_millis().saturating_sub(self.updated.as_millis());
                let state = TransactionState { phase: Dead, ..here() };
                if unused >= millis(age) { Ok(state) } else { Err(Refused::InUse) }
            }
        }
    }

    fn completed(&self, now: Timestamp) -> Self {
        let phase = match self.phase {
            TransactionPhase::PrepareCommit => TransactionPhase::CompleteCommit,
            _ => TransactionPhase::CompleteAbort,
        };
        let partitions = Partitions::new();
        let mut state = TransactionState { phase, partitions, updated: now, ..self.clone() };
        if let Some(next) = state.next.take() {
            state.previous = Some(self.producer);
            (state.producer, state.epoch) = (next, ProducerEpoch::new(0));
        }
        state
    }
}

/// The next epoch; the highest stays.
fn raised(epoch: ProducerEpoch) -> ProducerEpoch {
    ProducerEpoch::new(epoch.get().saturating_add(1))
}

#[cfg(all(test, not(loom)))]
mod tests;
