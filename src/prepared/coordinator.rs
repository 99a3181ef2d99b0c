//! The prepared transactions of a store: kept, resolved, remembered.
//!
//! A transaction's records lie in `__prepared` until it is resolved. Committing publishes them and
//! writes the outcome in one commit of a transaction of the store's own; rolling back writes the
//! outcome alone. Both may be said again. The outcome takes the place of the records under their
//! key, so that compaction takes them; the last outcomes are remembered, older ones are forgotten.
//!
//! Locks: the turn of a sequence's partition, which is held across I/O, then the state's or that of
//! what a lane has forgotten. No code of the program's runs under any: `asking` calls it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::asking::Askers;
use super::schema::{Key, Questions, Value};
use super::state::{Known, Outcome, Pending, Phase, State};
use crate::config::{Durability, TopicConfig};
use crate::engine::{Alarm, Engine, Partition};
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId, TopicId};
use crate::record::Record;
use crate::state_log::kept::{Kept, Target};
use crate::state_log::{Change, Replayed, StateLog};
use crate::stats::Counter;
use crate::sync::Mutex;
use crate::time::Timestamp;
use crate::txn::{Part, Publisher, Transactions};

const PREPARED_TOPIC: &str = "__prepared";
/// Partitions of the log; transactions of different ones are resolved at the same time.
const PARTITIONS: u32 = 4;
/// Outcomes that are remembered.
const REMEMBERED: usize = 100_000;
/// Outcomes that are taken out of the log by one resolution: what an earlier life left goes in
/// several.
const MOST_GONE: usize = 256;

/// Transactions that wait for their resolution.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) this: Weak<Prepared>,
    pub(super) engine: Arc<Engine>,
    pub(super) log: StateLog,
    lanes: Vec<Lane>,
    pub(super) state: Mutex<State>,
    pub(super) askers: Mutex<Askers>,
    pub(super) alarm: Alarm,
    /// Partitions of the log whose transactions are not known.
    unread: Mutex<BTreeMap<PartitionId, Error>>,
    /// Records that could not be understood.
    unreadable: Counter,
}

/// What resolves the transactions of one partition, one at a time.
#[derive(Debug)]
struct Lane {
    publisher: Publisher,
    turn: Mutex<Turn>,
    /// Outcomes that are forgotten but still lie in the log: with the next resolutions they go from
    /// the front, by whoever has the turn. Whoever resolves in another lane adds to its end.
    forgotten: Mutex<VecDeque<u64>>,
}

#[derive(Debug, Default)]
struct Turn {
    /// A commit that may or may not have come to be.
    in_doubt: Option<InDoubt>,
}

#[derive(Clone, Copy, Debug)]
struct InDoubt {
    sequence: u64,
    /// How many forgotten outcomes go along.
    gone: usize,
}

/// Prepared transactions in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PreparedNumbers {
    pub(crate) pending: u64,
    pub(crate) parked: u64,
    pub(crate) unreadable: u64,
}

fn partition_of(sequence: u64) -> PartitionId {
    PartitionId::new((sequence % u64::from(PARTITIONS)) as u32) // below 4
}

impl Prepared {
    /// Reads what is prepared. Costs nothing in a store that never had any.
    pub(crate) fn open(
        engine: Arc<Engine>,
        transactions: &Arc<Transactions>,
    ) -> Result<Arc<Prepared>> {
        Self::with_remembered(engine, transactions, REMEMBERED)
    }

    fn with_remembered(
        engine: Arc<Engine>,
        transactions: &Arc<Transactions>,
        remembered: usize,
    ) -> Result<Arc<Prepared>> {
        // what is resolved goes with the next compaction: nobody follows this log but its own fold
        let config = TopicConfig::new()
            .partitions(PARTITIONS)
            .segment_bytes(128 << 20)
            .max_batch_bytes(64 << 20)
            .delete_retention(Duration::ZERO);
        let lane = |number: u32| Lane {
            publisher: Publisher::new(transactions.clone(), &format!("prepared_{number}")),
            turn: Mutex::default(),
            forgotten: Mutex::default(),
        };
        let this = Arc::new_cyclic(|this| Prepared {
            this: this.clone(),
            log: StateLog::new(engine.clone(), PREPARED_TOPIC, config),
            engine,
            lanes: (0..PARTITIONS).map(lane).collect(),
            state: Mutex::new(State::new(remembered)),
            askers: Mutex::default(),
            alarm: Alarm::default(),
            unread: Mutex::default(),
            unreadable: Counter::default(),
        });
        this.replay()?;
        this.begin_asking();
        Ok(this)
    }

    fn replay(&self) -> Result<()> {
        let mut state = self.state.lock();
        let now = self.engine.clock().monotonic();
        let new = || Read::new(state.emptied());
        let (read, skipped) = self.log.fold(new, |read, record| read.take(&record, now))?;
        *state = read.state;
        let mut faults = read.faults;
        // decided, but the marker could not be written: ended or not, not to be ended otherwise
        for waiting in &skipped.waiting {
            let key = waiting.key.as_deref().and_then(|key| Key::parse(key).ok());
            let value = waiting.value.as_deref().map(Value::parse);
            if let (Some(Key::Transaction(sequence)), Some(Ok(Value::Ended(_)))) = (key, value) {
                state.set_undecided(sequence);
                faults += 1;
            }
        }
        self.unreadable.add(faults + skipped.places + skipped.unread.len() as u64);
        *self.unread.lock() = skipped.unread;
        let epoch = u64::try_from(self.engine.open_report().leader_epoch().get()).unwrap_or(0);
        state.begin_sequences(epoch << 32);
        for sequence in read.forgotten {
            self.lane(sequence).forgotten.lock().push_back(sequence);
        }
        Ok(())
    }

    /// Fails where it is not known what lies in a partition of the log.
    fn check_read(&self, partition: PartitionId) -> Result<()> {
        match self.unread.lock().get(&partition) {
            Some(error) => Err(error.again()),
            None => Ok(()),
        }
    }

    fn lane(&self, sequence: u64) -> &Lane {
        &self.lanes[partition_of(sequence).index()]
    }

    /// Keeps records until they are resolved under the sequence that is returned. Blocks for a
    /// sync with [`Durability::Power`].
    pub(crate) fn prepare(
        &self,
        name: &Arc<str>,
        records: Vec<Kept<'_>>,
        durability: Durability,
    ) -> Result<u64> {
        self.engine.check_open("prepare")?;
        if records.is_empty() {
            let text = "a prepared transaction has at least one record".to_owned();
            return Err(Error::new("prepare", Cause::InvalidArgument(text)));
        }
        let prepared = self.engine.clock().wall();
        let value = Value::Prepared { name, prepared, records }.encode()?;
        let sequence = self.state.lock().draw_sequence();
        let key = Key::Transaction(sequence).encode();
        let change = Change { key: &key, value: Some(&value) };
        let partition = partition_of(sequence);
        self.check_read(partition)?;
        let end = self.log.append(partition, &[change], Durability::Process)?;
        let offset = Offset::new(end.get() - 1);
        let phase = Phase::Waiting(self.engine.clock().monotonic());
        let pending = Pending { name: name.clone(), offset, prepared, asked: 0, phase };
        self.state.lock().add(sequence, pending);
        self.expect_questions(name);
        if durability == Durability::Power {
            self.log.make_durable_below(partition, end)?;
        }
        Ok(sequence)
    }

    /// Ends a transaction, power-durably; saying so again is no error. Blocks for syncs.
    ///
    /// # Errors
    /// `AlreadyResolved` where it ended otherwise, `NotFound` for an unknown one and, of a commit,
    /// where a topic exists no longer: it stays prepared then. The outcome `Unknown` of a commit is
    /// cleared up by saying it again.
    pub(crate) fn resolve(&self, sequence: u64, outcome: Outcome) -> Result<()> {
        let operation = operation(outcome);
        self.engine.check_open(operation)?;
        self.check_read(partition_of(sequence))?;
        let lane = self.lane(sequence);
        let turn = &mut lane.turn.lock();
        self.settle(lane, turn).map_err(|error| match turn.in_doubt {
            Some(it) if it.sequence == sequence => {
                error.with_outcome(crate::error::Outcome::Unknown)
            }
            _ => error,
        })?;
        let known = self.state.lock().get(sequence);
        let pending = match known {
            Known::Pending(pending) => pending,
            // where it was said first, that may have failed, or been killed, before its sync
            Known::Ended(ended) if ended == outcome => {
                let synced = self.log.make_durable(partition_of(sequence));
                let outcome = crate::error::Outcome::WrittenNotDurable;
                return synced.map_err(|error| error.with_outcome(outcome));
            }
            Known::Ended(_) => {
                let how = match outcome {
                    Outcome::Committed => "rolled back",
                    Outcome::RolledBack => "committed",
                };
                let text = format!("prepared transaction {sequence:x} is {how} already");
                return Err(Error::new(operation, Cause::AlreadyResolved(text)));
            }
            Known::Undecided => return Err(undecided(operation, sequence)),
            Known::Unknown => return Err(unknown(operation, sequence)),
        };
        match outcome {
            Outcome::Committed => self.publish(lane, turn, sequence, &pending),
            Outcome::RolledBack => self.roll_back(lane, sequence),
        }
    }

    fn publish(
        &self,
        lane: &Lane,
        turn: &mut Turn,
        sequence: u64,
        pending: &Pending,
    ) -> Result<()> {
        let bytes = self.load(sequence, pending.offset)?;
        let Ok(Value::Prepared { records, .. }) = Value::parse(&bytes) else {
            return Err(lost(sequence, pending.offset));
        };
        let mut parts: Vec<Part<'_>> = Vec::new();
        let mut numbers: HashMap<(TopicId, PartitionId), usize> = HashMap::new();
        for Kept { target, record } in records {
            let place = (target.topic, target.partition);
            let number = match numbers.get(&place) {
                Some(number) => *number,
                None => {
                    parts.push(Part { partition: self.target(target)?, records: Vec::new() });
                    numbers.insert(place, parts.len() - 1);
                    parts.len() - 1
                }
            };
            parts[number].records.push(record);
        }
        let gone = lane.gone();
        let changes = Changes::new(sequence, Outcome::Committed, &gone)?;
        let partition = self.log.partition(partition_of(sequence))?;
        parts.push(Part { partition, records: changes.records() });
        match lane.publisher.publish(&parts, Durability::Power) {
            Ok(()) => {
                self.ended(lane, (sequence, Outcome::Committed), gone.len());
                Ok(())
            }
            Err(failed) => {
                if failed.error.outcome() != crate::error::Outcome::NotWritten {
                    turn.in_doubt = Some(InDoubt { sequence, gone: gone.len() });
                }
                Err(failed.error)
            }
        }
    }

    fn roll_back(&self, lane: &Lane, sequence: u64) -> Result<()> {
        let gone = lane.gone();
        let changes = Changes::new(sequence, Outcome::RolledBack, &gone)?;
        let partition = partition_of(sequence);
        let end = self.log.append(partition, &changes.all(), Durability::Process)?;
        self.ended(lane, (sequence, Outcome::RolledBack), gone.len());
        self.log.make_durable_below(partition, end)
    }

    /// What became of a transaction lies in the log; so many forgotten outcomes went along.
    fn ended(&self, lane: &Lane, (sequence, outcome): (u64, Outcome), gone: usize) {
        lane.went(gone);
        let now = self.engine.clock().wall();
        let forgotten = self.state.lock().resolve(sequence, outcome, now);
        for gone in forgotten {
            self.lane(gone).forgotten.lock().push_back(gone);
        }
    }

    /// Learns what became of a commit that was in doubt.
    fn settle(&self, lane: &Lane, turn: &mut Turn) -> Result<()> {
        let Some(InDoubt { sequence, gone }) = turn.in_doubt else { return Ok(()) };
        let is_committed = lane.publisher.settle()?;
        turn.in_doubt = None;
        if is_committed {
            self.ended(lane, (sequence, Outcome::Committed), gone);
        }
        Ok(())
    }

    fn target(&self, target: Target<'_>) -> Result<Arc<Partition>> {
        let topic = self.engine.topic_by_id(target.topic).ok_or_else(|| {
            let (what, name) = ("topic as it was when the records were prepared", target.name);
            Error::new("commit prepared", Cause::NotFound { what, name: name.to_owned() })
        })?;
        topic.partition(target.partition)
    }

    /// A prepared transaction's value.
    pub(super) fn load(&self, sequence: u64, offset: Offset) -> Result<Vec<u8>> {
        let key = Key::Transaction(sequence).encode();
        let found = self.log.value_at(partition_of(sequence), offset, &key)?;
        found.ok_or_else(|| lost(sequence, offset))
    }

    /// Keeps what was asked, for the lives to come.
    pub(super) fn record_questions(&self, sequence: u64, questions: Questions) -> Result<()> {
        let turn = self.lane(sequence).turn.lock();
        let is_in_doubt = turn.in_doubt.is_some_and(|it| it.sequence == sequence);
        if is_in_doubt || !matches!(self.state.lock().get(sequence), Known::Pending(_)) {
            return Ok(()); // resolved meanwhile, or perhaps: its tombstone is there
        }
        let (key, value) = (Key::Questions(sequence).encode(), questions.encode());
        let change = Change { key: &key, value: Some(&value) };
        self.log.append(partition_of(sequence), &[change], Durability::Process).map(drop)
    }

    pub(crate) fn numbers(&self) -> PreparedNumbers {
        let state = self.state.lock();
        PreparedNumbers {
            pending: state.len() as u64,
            parked: state.parked() as u64,
            unreadable: self.unreadable.get(),
        }
    }
}

impl Lane {
    /// The outcomes that go along with a resolution.
    fn gone(&self) -> Vec<u64> {
        self.forgotten.lock().iter().take(MOST_GONE).copied().collect()
    }

    /// So many have gone.
    fn went(&self, gone: usize) {
        let mut forgotten = self.forgotten.lock();
        let gone = gone.min(forgotten.len());
        forgotten.drain(..gone);
    }
}

/// What was read of the log.
struct Read {
    state: State,
    /// Records that could not be understood.
    faults: u64,
    /// When the last one of a partition ended: its log is in order, be the wall set back meanwhile.
    ended: BTreeMap<PartitionId, Timestamp>,
    /// Outcomes that are forgotten but still lie in the log.
    forgotten: BTreeSet<u64>,
}

impl Read {
    fn new(state: State) -> Self {
        Read { state, faults: 0, ended: BTreeMap::new(), forgotten: BTreeSet::new() }
    }

    fn take(&mut self, record: &Replayed<'_>, now: Duration) {
        let state = &mut self.state;
        let key = record.key.and_then(|key| Key::parse(key).ok());
        match (key, record.value) {
            (Some(Key::Transaction(sequence)), None) => {
                self.forgotten.remove(&sequence);
                state.forget(sequence);
            }
            (Some(Key::Transaction(sequence)), Some(value)) => match Value::parse(value) {
                Ok(Value::Prepared { name, prepared, .. }) => {
                    let (name, offset) = (Arc::from(name), record.offset);
                    let phase = Phase::Waiting(now);
                    state.add(sequence, Pending { name, offset, prepared, asked: 0, phase });
                }
                Ok(Value::Ended(outcome)) => {
                    let at = record.timestamp.unwrap_or(Timestamp::from_millis(i64::MIN));
                    let last = self.ended.entry(record.partition).or_insert(at);
                    *last = at.max(*last);
                    self.forgotten.extend(state.restore_outcome(sequence, outcome, *last));
                }
                Err(_) => self.faults += 1,
            },
            (Some(Key::Questions(sequence)), value) => {
                if let Some(Ok(it)) = value.map(Questions::parse) {
                    state.restore_checks(sequence, it.asked, it.is_parked);
                }
            }
            (None, _) => self.faults += 1,
        }
    }
}

/// What a resolution writes to the log.
struct Changes {
    key: [u8; 10],
    value: Vec<u8>,
    /// Keys that go: what was asked, and outcomes that are forgotten.
    gone: Vec<[u8; 10]>,
}

impl Changes {
    fn new(sequence: u64, outcome: Outcome, forgotten: &[u64]) -> Result<Self> {
        let mut gone = vec![Key::Questions(sequence).encode()];
        gone.extend(forgotten.iter().map(|it| Key::Transaction(*it).encode()));
        let key = Key::Transaction(sequence).encode();
        Ok(Changes { key, value: Value::Ended(outcome).encode()?, gone })
    }

    fn all(&self) -> Vec<Change<'_>> {
        let own = Change { key: &self.key, value: Some(&self.value) };
        let gone = self.gone.iter().map(|key| Change { key, value: None });
        [own].into_iter().chain(gone).collect()
    }

    fn records(&self) -> Vec<Record<'_>> {
        let own = Record::new(&self.value).key(&self.key);
        let gone = self.gone.iter().map(|key| Record::tombstone().key(key));
        [own].into_iter().chain(gone).collect()
    }
}

fn operation(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Committed => "commit prepared",
        Outcome::RolledBack => "roll back prepared",
    }
}

fn unknown(operation: &'static str, sequence: u64) -> Error {
    let what = "prepared transaction";
    Error::new(operation, Cause::NotFound { what, name: format!("{sequence:x}") })
}

fn undecided(operation: &'static str, sequence: u64) -> Error {
    let text = format!(
        "prepared transaction {sequence:x} has ended, but not in every partition: the next open \
         of the store tells how"
    );
    let error = Error::new(operation, Cause::InvalidTransactionState(text));
    error.with_outcome(crate::error::Outcome::Unknown)
}

fn lost(sequence: u64, offset: Offset) -> Error {
    let text = format!("the records of prepared transaction {sequence:x} cannot be read");
    Error::new("read prepared", Cause::Corrupt(text)).at_offset(offset)
}

#[cfg(all(test, not(loom)))]
mod tests;
