//! Moving records in one commit with the note that they were moved.
//!
//! The copies go to their targets, the note to `__dead_letters`, in one transaction: after a crash
//! at any point both are there or neither. A share group takes its note over into its own state and
//! then has it forgotten; a redrive's note says all that was ever sent back from a partition.
//!
//! Locks: the turn, held across I/O by whoever moves; then the state's, never across I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{Durability, TopicConfig};
use crate::engine::Engine;
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{LeaderEpoch, PartitionId, TopicId};
use crate::record::Record;
use crate::state_log::runs::Runs;
use crate::state_log::wire::SchemaFault;
use crate::state_log::{Change, Replayed, StateLog};
use crate::stats::Counter;
use crate::sync::{Mutex, MutexGuard};
use crate::txn::{Part, Publisher, Transactions, Unpublished};

/// Where the notes lie.
const TOPIC: &str = "__dead_letters";
/// Notes that are forgotten in one batch, at most.
const MOST_FORGOTTEN: usize = 4096;
/// Its one partition.
const PARTITION: PartitionId = PartitionId::new(0);

/// Whose records, by where they are moved from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MovedFrom {
    /// The share group that buries; `None` for a redrive.
    pub(crate) group: Option<Arc<str>>,
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
}

/// Which records were moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) runs: Runs<()>,
    /// Of the last one: a log that was cut has others at those offsets.
    pub(crate) epoch: Option<LeaderEpoch>,
}

/// What has the turn; one at a time.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// A publication that may or may not have come to be.
    in_doubt: Option<(MovedFrom, Moved)>,
}

#[derive(Debug, Default)]
struct State {
    moved: BTreeMap<MovedFrom, Moved>,
    /// Decided in an earlier life, but not carried through: the next open tells.
    undecided: BTreeSet<MovedFrom>,
}

/// All moves of a store.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    pub(super) engine: Arc<Engine>,
    log: StateLog,
    publisher: Publisher,
    state: Mutex<State>,
    turn: Mutex<Turn>,
    /// Why it is not known what was moved.
    unread: Option<Error>,
    unreadable: Counter,
}

impl DeadLetters {
    /// Reads what was moved. Costs nothing in a store that never had a dead letter.
    pub(crate) fn open(engine: Arc<Engine>, transactions: Arc<Transactions>) -> Result<Arc<Self>> {
        let config = TopicConfig::new()
            .partitions(1)
            .segment_bytes(16 << 20)
            .max_batch_bytes(64 << 20)
            .delete_retention(std::time::Duration::ZERO);
        let log = StateLog::new(engine.clone(), TOPIC, config);
        let mut faults = 0;
        let (mut state, mut skipped) = log.fold(State::default, |state, record| {
            if let Err(fault) = take(state, &record) {
                faults += 1;
                let error = fault.into_error("replay dead letters", record.offset);
                log::warn!("{TOPIC}: skipped: {error}");
            }
        })?;
        for waiting in &skipped.waiting {
            if let Some(Ok(key)) = waiting.key.as_deref().map(MovedFrom::parse) {
                state.undecided.insert(key);
            }
        }
        let unreadable = Counter::default();
        unreadable.add(faults + skipped.places + skipped.unread.len() as u64);
        Ok(Arc::new(DeadLetters {
            publisher: Publisher::new(transactions, "dead_letters"),
            engine,
            log,
            state: Mutex::new(state),
            turn: Mutex::default(),
            unread: skipped.unread.pop_first().map(|(_, error)| error),
            unreadable,
        }))
    }

    /// Records of the log that could not be read or understood.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.get()
    }

    /// Waits for the turn, and takes it.
    pub(crate) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock()
    }

    /// What was moved from there, as far as that is kept.
    pub(crate) fn moved(&self, from: &MovedFrom) -> Option<Moved> {
        self.state.lock().moved.get(from).cloned()
    }

    /// Learns what became of the last publication; fails as long as that is in doubt.
    pub(crate) fn settle_last(&self, turn: &mut Turn) -> Result<()> {
        if turn.in_doubt.is_some() {
            let is_committed = self.publisher.settle()?;
            if let Some((from, moved)) = turn.in_doubt.take().filter(|_| is_committed) {
                self.state.lock().moved.insert(from, moved);
            }
        }
        Ok(())
    }

    /// Makes sure that nothing is in doubt; fails as long as something is.
    pub(crate) fn settle(&self, turn: &mut Turn, from: &MovedFrom) -> Result<()> {
        self.settle_last(turn)?;
        if let Some(error) = &self.unread {
            return Err(error.again());
        }
        self.check_decided(from)
    }

    /// Fails where an earlier life left it open whether records were moved from there.
    pub(crate) fn check_decided(&self, from: &MovedFrom) -> Result<()> {
        if self.state.lock().undecided.contains(from) {
            let text = "records may have been moved: the next open of the store tells".to_owned();
            let error = Error::new("move dead letters", Cause::InvalidTransactionState(text));
            return Err(error.with_outcome(Outcome::NotWritten));
        }
        Ok(())
    }

    /// Publishes copies of records and notes that they were moved, power-durably, in one commit.
    pub(crate) fn publish<'a>(
        &self,
        turn: &mut Turn,
        copies: Vec<Part<'a>>,
        (from, moved): (&MovedFrom, Moved),
    ) -> Result<(), Unpublished> {
        let whole = |error: Error| {
            let error = error.with_outcome(Outcome::NotWritten);
            Unpublished { part: None, error }
        };
        let (key, value) = (from.encode().map_err(whole)?, moved.encode());
        let notes = self.log.partition(PARTITION).map_err(whole)?;
        let targets = copies.len();
        let mut parts: Vec<Part<'_>> = copies; // that borrow no longer than this call
        parts.push(Part { partition: notes, records: vec![Record::new(&value).key(&key)] });
        match self.publisher.publish(&parts, Durability::Power) {
            Ok(()) => {
                self.state.lock().moved.insert(from.clone(), moved);
                Ok(())
            }
            Err(failed) => {
                if failed.error.outcome() != Outcome::NotWritten {
                    turn.in_doubt = Some((from.clone(), moved));
                }
                let part = failed.part.filter(|part| *part < targets);
                Err(Unpublished { part, ..failed })
            }
        }
    }

    /// Forgets notes that are of no use any more; durably, for what is said of those records from
    /// now on must not be laid over. Blocks for a sync, for one more where there are very many.
    pub(crate) fn forget(&self, _turn: &mut Turn, all: &[MovedFrom]) -> Result<()> {
        let of_use = |from: &&MovedFrom| self.state.lock().moved.contains_key(*from);
        let known: Vec<&MovedFrom> = all.iter().filter(of_use).collect();
        for portion in known.chunks(MOST_FORGOTTEN) {
            let keys: Vec<_> = portion.iter().map(|from| from.encode()).collect::<Result<_>>()?;
            let changes: Vec<_> = keys.iter().map(|key| Change { key, value: None }).collect();
            self.log.append(PARTITION, &changes, Durability::Power)?;
            let mut state = self.state.lock();
            portion.iter().for_each(|from| drop(state.moved.remove(*from)));
        }
        Ok(())
    }

    /// Forgets what was sent back from a topic. To be called once it is deleted.
    pub(crate) fn forget_topic(&self, topic: TopicId) -> Result<()> {
        let mut turn = self.turn();
        let all: Vec<MovedFrom> = {
            let state = self.state.lock();
            let of_topic = |it: &&MovedFrom| it.topic == topic && it.group.is_none();
            state.moved.keys().filter(of_topic).cloned().collect()
        };
        self.forget(&mut turn, &all)
    }
}

/// Takes in a record of the log.
fn take(state: &mut State, record: &Replayed<'_>) -> Result<(), SchemaFault> {
    let Some(key) = record.key else { return Ok(()) };
    let from = MovedFrom::parse(key)?;
    match record.value {
        Some(value) => drop(state.moved.insert(from, Moved::parse(value)?)),
        None => drop(state.moved.remove(&from)),
    }
    Ok(())
}
