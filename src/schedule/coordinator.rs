//! The schedule of a store: what is added, cancelled and resolved, and when to look again.
//!
//! Entries lie in `__schedule`, which is made with the first of them; `state` knows which are
//! pending. Adding takes the state's lock for a moment, never during I/O. What resolves entries
//! (publishing them, cancelling one) and what reads buckets takes the *turn* first and holds it
//! across I/O: so of a publication and a cancel one wins.
//!
//! Locks: the turn, then the state's. The timer only tries for the turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::id::{ScheduleId, When};
use super::reading::Place;
use super::schema::encode;
use super::state::{Key, Limits, PARTITIONS, Plan, State};
use crate::config::{Durability, TopicConfig};
use crate::engine::{Alarm, Due, Engine};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{Offset, PartitionId, TopicId};
use crate::state_log::kept::Kept;
use crate::state_log::{Change, Replayed, StateLog};
use crate::stats::Counter;
use crate::sync::Mutex;
use crate::time::{Timestamp, millis};
use crate::txn::{Publisher, Transactions};

/// Where entries lie.
pub(super) const SCHEDULE_TOPIC: &str = "__schedule";

const LIMITS: Limits = Limits { window: 1 << 19, lead: Duration::from_secs(30) };
/// While something is pending the wall is looked at so often, for it may jump.
const LOOK: Duration = Duration::from_secs(1);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// How soon the timer comes back while somebody else has the turn.
const IN_USE: Duration = Duration::from_millis(1);

/// Records that wait for their time.
#[derive(Debug)]
pub(crate) struct Schedule {
    this: Weak<Schedule>,
    pub(super) engine: Arc<Engine>,
    pub(super) log: StateLog,
    pub(super) publisher: Publisher,
    pub(super) state: Mutex<State>,
    /// Partitions of the log whose entries are not known.
    unread: Mutex<BTreeMap<PartitionId, Error>>,
    turn: Mutex<Turn>,
    alarm: Alarm,
    pub(super) counters: Counters,
}

/// What has happened since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    published: Counter,
    dead_letters: Counter,
    cancelled: Counter,
    /// Records that could not be understood.
    unreadable: Counter,
}

/// What whoever has the turn goes by.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Where the bucket that is being read is read next.
    pub(super) reading: Offset,
    /// A publication that may or may not have come to be.
    pub(super) in_doubt: Option<Portion>,
    /// Partitions that take nothing at the moment, each with why.
    pub(super) stuck: HashMap<(TopicId, PartitionId), Error>,
    /// Those of the schedule itself that take nothing or cannot be read, each with why.
    pub(super) held: BTreeMap<PartitionId, Error>,
    /// Why dead letters have nowhere to go at the moment.
    pub(super) no_dead_letters: Option<Error>,
    /// When all these are tried again.
    pub(super) retry_at: Option<Duration>,
    /// All that was due at this time, when the first of them was met, has its turn before that.
    pub(super) retry_behind: Option<Timestamp>,
}

/// Entries that are published together.
#[derive(Debug)]
pub(super) struct Portion {
    pub(super) keys: Vec<Key>,
    /// How many of them are dead letters.
    pub(super) buried: u64,
}

/// The schedule in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScheduleNumbers {
    pub(crate) pending: u64,
    pub(crate) stuck: u64,
    pub(crate) published: u64,
    pub(crate) dead_letters: u64,
    pub(crate) cancelled: u64,
    pub(crate) unreadable: u64,
}

impl Schedule {
    /// Reads what is pending. Costs nothing in a store that never had any.
    pub(crate) fn open(engine: Arc<Engine>, transactions: Arc<Transactions>) -> Result<Arc<Self>> {
        let this = Self::with_limits(engine, transactions, LIMITS);
        this.replay()?;
        if this.state.lock().pending() > 0 {
            this.wake(Duration::ZERO);
        }
        Ok(this)
    }

    pub(super) fn with_limits(
        engine: Arc<Engine>,
        transactions: Arc<Transactions>,
        limits: Limits,
    ) -> Arc<Self> {
        // what is resolved goes with the next compaction: nobody follows this log but its own fold
        let config = TopicConfig::new()
            .partitions(PARTITIONS)
            .segment_bytes(128 << 20)
            .max_batch_bytes(64 << 20)
            .delete_retention(Duration::ZERO);
        Arc::new_cyclic(|this| Schedule {
            this: this.clone(),
            log: StateLog::new(engine.clone(), SCHEDULE_TOPIC, config),
            publisher: Publisher::new(transactions, "schedule"),
            engine,
            state: Mutex::new(State::new(limits)),
            unread: Mutex::default(),
            turn: Mutex::default(),
            alarm: Alarm::default(),
            counters: Counters::default(),
        })
    }

    fn replay(&self) -> Result<()> {
        let mut state = self.state.lock();
        let new = || (state.emptied(), 0u64);
        let ((read, faults), skipped) = self.log.fold(new, |(state, faults), record| {
            *faults += u64::from(!take(state, &record));
        })?;
        *state = read;
        // decided, but the marker could not be written: published or not, not to be done again
        for waiting in &skipped.waiting {
            if let Some(key) = waiting.key.as_deref().and_then(|key| Key::parse(key).ok()) {
                state.set_undecided(key); // put aside: it counts as unreadable by that
            }
        }
        self.counters.unreadable.add(faults + skipped.places + skipped.unread.len() as u64);
        *self.unread.lock() = skipped.unread;
        // above all that any life before has given out
        let epoch = u64::try_from(self.engine.open_report().leader_epoch().get()).unwrap_or(0);
        state.begin_sequences(epoch << 32);
        Ok(())
    }

    /// Fails where it is not known what lies in a partition of the log.
    fn check_read(&self, partition: PartitionId) -> Result<()> {
        match self.unread.lock().get(&partition) {
            Some(error) => Err(error.again()),
            None => Ok(()),
        }
    }

    /// Whether what lies in a partition of the log is not known.
    pub(super) fn is_unread(&self, partition: PartitionId) -> bool {
        self.unread.lock().contains_key(&partition)
    }

    /// Keeps a record until its time.
    pub(crate) fn add(
        &self,
        entry: &Kept<'_>,
        when: When,
        durability: Durability,
    ) -> Result<ScheduleId> {
        self.engine.check_open("schedule")?;
        let now = self.engine.clock().wall();
        let due = when.due(&**self.engine.clock())?;
        let value = encode(entry)?;
        let key = Key { due, sequence: self.state.lock().draw_sequence() };
        self.check_read(key.partition())?;
        let bytes = key.encode();
        let change = Change { key: &bytes, value: Some(&value) };
        let end = self.log.append(key.partition(), &[change], Durability::Process)?;
        let offset = Offset::new(end.get() - 1);
        let wake = self.state.lock().add(key, offset, now);
        if let Some(at) = wake {
            self.wake(delay_until(at, now));
        }
        if durability == Durability::Power {
            self.log.make_durable_below(key.partition(), end)?;
        }
        Ok(ScheduleId { key, offset })
    }

    /// Takes an entry back, power-durably. Blocks for that, and for a publication under way.
    pub(crate) fn cancel(&self, id: &ScheduleId) -> Result<()> {
        const OPERATION: &str = "cancel scheduled record";
        self.engine.check_open(OPERATION)?;
        let ScheduleId { key, offset } = *id;
        self.check_read(key.partition())?;
        let turn = &mut self.turn.lock();
        self.settle(turn)?;
        let unknown = || {
            let name = id.to_string();
            Error::new(OPERATION, Cause::NotFound { what: "scheduled record", name })
        };
        {
            let state = self.state.lock();
            if !state.was_drawn(key.sequence) {
                return Err(unknown());
            }
            if state.is_undecided(key) {
                let text = format!("{id} may be published: the next open of the store tells");
                let error = Error::new(OPERATION, Cause::InvalidTransactionState(text));
                return Err(error.with_outcome(Outcome::Unknown));
            }
            if !state.is_live(key) {
                let text = format!("{id} is published or cancelled already");
                return Err(Error::new(OPERATION, Cause::AlreadyResolved(text)));
            }
        }
        let place = Place { key, offset };
        // where it is put aside, that it cannot be read is known
        if !self.state.lock().is_aside(key) && !self.lies_at(place)? {
            return Err(unknown());
        }
        let change = Change { key: &key.encode(), value: None };
        let end = self.log.append(key.partition(), &[change], Durability::Process)?;
        self.state.lock().resolve(key);
        self.counters.cancelled.add(1);
        self.log.make_durable_below(key.partition(), end)
    }

    pub(crate) fn numbers(&self) -> ScheduleNumbers {
        let state = self.state.lock();
        let counters = &self.counters;
        ScheduleNumbers {
            pending: state.pending(),
            stuck: state.parked(),
            published: counters.published.get(),
            dead_letters: counters.dead_letters.get(),
            cancelled: counters.cancelled.get(),
            unreadable: counters.unreadable.get() + state.aside(),
        }
    }

    /// Learns what became of a publication that was in doubt.
    fn settle(&self, turn: &mut Turn) -> Result<()> {
        if turn.in_doubt.is_none() {
            return Ok(());
        }
        let is_committed = self.publisher.settle()?;
        if let Some(portion) = turn.in_doubt.take().filter(|_| is_committed) {
            self.resolve(&portion);
        }
        Ok(())
    }

    /// Entries were published.
    pub(super) fn resolve(&self, portion: &Portion) {
        let mut state = self.state.lock();
        for key in &portion.keys {
            state.resolve(*key);
        }
        drop(state);
        self.counters.published.add(portion.keys.len() as u64);
        self.counters.dead_letters.add(portion.buried);
    }

    /// Has the timer come after `delay`, unless it comes before.
    fn wake(&self, delay: Duration) {
        let at = self.engine.clock().monotonic().saturating_add(delay);
        self.alarm.set(self.engine.timers(), at, self.this.clone());
    }

    /// Does a bounded part of what is due; returns when there is more.
    fn step(&self, turn: &mut Turn, now: Duration) -> Result<Option<Duration>> {
        self.settle(turn)?;
        let wall = self.engine.clock().wall();
        if turn.retry_at.is_some_and(|at| at <= now) {
            let mut state = self.state.lock();
            // else, with many of them, what is due behind them would never have its turn; of what
            // was due then and, the wall set back, is not now nothing is waited for
            if turn.retry_behind.is_none_or(|due| state.has_had_turns(due.min(wall))) {
                turn.retry();
                state.unpark();
            }
        }
        let plan = self.state.lock().plan(wall);
        self.carry_out(turn, plan, (now, wall))
    }

    /// Does what was planned; entries may have come since.
    fn carry_out(
        &self,
        turn: &mut Turn,
        plan: Plan,
        (now, wall): (Duration, Timestamp),
    ) -> Result<Option<Duration>> {
        match plan {
            Plan::Fire => self.fire(turn, wall, now + AGAIN).map(|()| Some(now)),
            Plan::Read => self.read_some(turn, now + AGAIN).map(|()| Some(now)),
            Plan::Wait(at) => {
                let next = at.map(|at| now + delay_until(at, wall));
                Ok([next, turn.retry_at].into_iter().flatten().min())
            }
        }
    }

    /// The step, by the timer's alarm.
    fn ring(&self, now: Duration) -> Option<Duration> {
        let Some(mut turn) = self.turn.try_lock() else { return Some(now + IN_USE) };
        self.step(&mut turn, now).unwrap_or_else(|error| {
            log::warn!("scheduled records are not published yet: {error}");
            Some(now + AGAIN)
        })
    }
}

impl Turn {
    /// Something waits: it is tried again at `at`, once all that is due by now had its turn.
    pub(super) fn expect_retry(&mut self, at: Duration, wall: Timestamp) {
        if self.retry_at.is_none() {
            (self.retry_at, self.retry_behind) = (Some(at), Some(wall));
        }
    }

    /// What took nothing may take something again.
    fn retry(&mut self) {
        self.stuck.clear();
        self.held.clear();
        self.no_dead_letters = None;
        (self.retry_at, self.retry_behind) = (None, None);
    }
}

/// Takes in a record of the log; whether it was understood.
fn take(state: &mut State, record: &Replayed<'_>) -> bool {
    let Some(key) = record.key.and_then(|key| Key::parse(key).ok()) else { return false };
    if key.partition() != record.partition {
        return false;
    }
    if record.value.is_some() {
        state.add(key, record.offset, Timestamp::from_millis(0));
    } else {
        state.resolve(key);
    }
    true
}

/// How long to wait for a time on the wall, which may jump meanwhile.
fn delay_until(at: Timestamp, wall: Timestamp) -> Duration {
    let left = at.as_millis().saturating_sub(wall.as_millis());
    Duration::from_millis(u64::try_from(left).unwrap_or(0).min(millis(LOOK).unsigned_abs()))
}

impl Due for Schedule {
    fn run(&self, now: Duration) -> Option<Duration> {
        self.alarm.ring(now, || {
            self.engine.check_open("run timers").ok()?;
            self.ring(now)
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
