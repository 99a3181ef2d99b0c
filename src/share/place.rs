//! One group in one partition: its state behind its lock, its part of the log, its timer, and who
//! waits for records there.
//!
//! Who waits is armed at `work`, a signal of the place's own that wakes one waiter at a time: one
//! for each append, for each batch of records that comes back. Who is woken takes what it can and
//! passes on what it leaves, so that a thousand consumers cost an append no more than one. What the
//! partition announces the place hears through its `watch`, and only while somebody waits.
//!
//! Lock: `slot`, across the append that goes with a change, never while the clock, a waker or the
//! host's code runs.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::change::Delta;
use super::groups::Kept;
use super::owed::AtLast;
use super::schema::Part;
use super::settings::{Fate, GroupSettings, Intake, MOST_OPEN, RETRIES_OF, Terms};
use super::sieve::Sieve;
use super::state::{Now, ShareState};
use super::watch::Watch;
use crate::engine::{Due, Engine, Partition};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::Cursor;
use crate::record::{RecordFilter, RecordsOrigin};
use crate::stats::Counter;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use crate::wait::Signal;

/// One group in one partition.
pub(crate) struct Place {
    pub(super) group: Arc<str>,
    pub(super) partition: Arc<Partition>,
    pub(super) kept: Arc<Kept>,
    pub(super) log_partition: PartitionId,
    /// What it reads comes from there.
    pub(super) origin: Arc<RecordsOrigin>,
    pub(super) slot: Mutex<Slot>,
    this: Weak<Place>,
    work: Arc<Signal>,
    watch: Watch,
    hints: Hints,
    /// Records that were handed out as often as they may, or rejected.
    pub(super) archived: Counter,
    /// Those of them that have become dead letters.
    pub(super) buried: Counter,
    /// Records that were owed when the log lost them.
    pub(super) lost: Counter,
    /// Records that could not be read.
    pub(super) damaged: Counter,
}

pub(super) struct Slot {
    pub(super) state: ShareState,
    pub(super) settings: GroupSettings,
    pub(super) fate: Fate,
    /// What the group wants of the log, where that is not all of it.
    pub(super) sieve: Option<Sieve>,
    /// The chore that makes dead letters knows of it.
    pub(super) asked: bool,
    /// The number of the newest snapshot in the log.
    pub(super) snapshot: i32,
    /// The next record of the log is to say everything.
    pub(super) must_snapshot: bool,
    pub(super) cursor: Option<Cursor>,
    /// When the timer comes: each time is asked for once, and only where it is the earliest.
    pub(super) alarms: BTreeSet<Duration>,
    /// How often the log's offsets had fallen when a cut was last looked for.
    pub(super) falls: Option<u64>,
    /// Of what an earlier life left open no key is known yet.
    pub(super) lacks_keys: bool,
    /// Its group or its topic is deleted: nothing is written any more.
    pub(super) is_gone: bool,
}

/// What tells from outside the lock whether there is something to take.
#[derive(Debug, Default)]
struct Hints {
    /// As in the slot; none is a number that no log ever has.
    falls: AtomicU64,
    end: AtomicI64,
    ready: AtomicUsize,
    /// How many more may be leased.
    room: AtomicUsize,
    /// The same of records that were not looked at yet.
    room_for_new: AtomicUsize,
    /// How often any of these has changed; raised behind them.
    changes: AtomicU64,
}

/// What a place showed from outside before a look: where that found nothing, the next one finds
/// something only if this has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    changes: u64,
    falls: Option<u64>,
    bound: Option<Offset>,
}

impl Place {
    pub(super) fn new(
        kept: Arc<Kept>,
        group: &Arc<str>,
        partition: &Arc<Partition>,
        (log_partition, slot): (PartitionId, Slot),
    ) -> Arc<Place> {
        let place = Arc::new_cyclic(|this: &Weak<Place>| {
            let filter = slot.sieve.as_ref().map(|sieve| &sieve.filter);
            let watch = Watch::new(this.clone(), partition, filter);
            let (topic, id) = (partition.topic_name(), partition.id());
            Place {
                group: group.clone(),
                partition: partition.clone(),
                origin: RecordsOrigin::of(topic, id, kept.engine.pinned()),
                kept,
                log_partition,
                slot: Mutex::new(slot),
                this: this.clone(),
                work: Arc::new(Signal::new()),
                watch,
                hints: Hints::default(),
                archived: Counter::default(),
                buried: Counter::default(),
                lost: Counter::default(),
                damaged: Counter::default(),
            }
        });
        let mut slot = place.slot.lock();
        place.show(&mut slot);
        drop(slot);
        place
    }

    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    pub(crate) fn group(&self) -> &Arc<str> {
        &self.group
    }

    /// The group as programs know it: what was given back is an ordinary group's.
    pub(super) fn asks_for(&self) -> Arc<str> {
        self.group.strip_prefix(RETRIES_OF).map_or_else(|| self.group.clone(), Arc::from)
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.kept.engine
    }

    /// Both faces of the clock; asked for under no lock.
    pub(super) fn now(&self) -> Now {
        let clock = self.engine().clock();
        Now { mono: clock.monotonic(), wall: clock.wall() }
    }

    /// What waits here is armed at; the caller looks once more after [`watch`](Place::watch).
    pub(crate) fn work(&self) -> &Arc<Signal> {
        &self.work
    }

    /// Has appends that may bring something wake who is armed at [`work`](Place::work).
    pub(crate) fn watch(&self) {
        self.watch.arm();
    }

    /// Whether a take would find something now, as far as that can be told without the lock.
    pub(crate) fn has_work(&self, settings: &GroupSettings) -> bool {
        let falls = self.hints.falls.load(Ordering::Acquire);
        if self.partition.falls().is_ok_and(|now| now != falls) {
            return true; // it may have been cut: what is said below is not to be relied on
        }
        if self.hints.room.load(Ordering::Acquire) == 0 {
            return false;
        }
        if self.hints.ready.load(Ordering::Acquire) > 0 {
            return true;
        }
        let bound = self.partition.offsets().map(|offsets| offsets.bound(settings.isolation));
        let end = self.hints.end.load(Ordering::Acquire);
        let is_behind = bound.is_ok_and(|bound| bound.get() > end);
        is_behind && self.hints.room_for_new.load(Ordering::Acquire) > 0
    }

    /// What tells whether it is worth a look, as it is now.
    pub(crate) fn shown(&self, settings: &GroupSettings) -> Shown {
        let bound = self.partition.offsets().map(|offsets| offsets.bound(settings.isolation));
        let changes = self.hints.changes.load(Ordering::Acquire);
        Shown { changes, falls: self.partition.falls().ok(), bound: bound.ok() }
    }

    /// Wakes one more of those who wait, if there is something for it.
    pub(crate) fn pass_on(&self, settings: &GroupSettings) {
        if self.has_work(settings) {
            self.work.notify_one();
        }
    }

    /// Wakes as many as there are records that have come back, and one where none have: there may
    /// be room again for what was not looked at yet.
    pub(super) fn wake_for(&self, ready: usize, settings: &GroupSettings) {
        let waiting = self.work.armed_count();
        (0..ready.max(1).min(waiting)).for_each(|_| self.pass_on(settings));
    }

    /// The group's next consumers have another filter, or none.
    pub(super) fn hear_for(&self, filter: Option<&RecordFilter>) {
        self.watch.want(&self.partition, filter);
    }

    /// The partition has announced something: one of those who wait is to look.
    pub(super) fn ring(&self) {
        let end = || self.partition.offsets().map_or(-1, |offsets| offsets.last_stable().get());
        loop {
            if self.partition.signal().is_closed() {
                self.work.close();
                return;
            }
            let seen = end();
            self.work.notify_one();
            if self.work.armed_count() == 0 {
                return;
            }
            self.watch();
            if end() == seen {
                return; // else what came meanwhile woke nobody
            }
        }
    }

    /// Tells what has changed to those who look without the lock, and sets the timer. Called under
    /// it, after each change.
    pub(super) fn show(&self, slot: &mut Slot) {
        let state = &slot.state;
        let room = match slot.is_stopped() {
            true => 0,
            false => slot.settings.max_in_flight.saturating_sub(state.leased_len()),
        };
        let new = match slot.settings.intake {
            Intake::Log => MOST_OPEN.saturating_sub(state.open_len()),
            Intake::GivenBack => 0,
        };
        let falls = slot.falls.unwrap_or(u64::MAX);
        let hints = &self.hints;
        let has_changed = (hints.falls.swap(falls, Ordering::AcqRel) != falls)
            | (hints.end.swap(state.end(), Ordering::AcqRel) != state.end())
            | (hints.ready.swap(state.ready_len(), Ordering::AcqRel) != state.ready_len())
            | (hints.room.swap(room, Ordering::AcqRel) != room)
            | (hints.room_for_new.swap(new, Ordering::AcqRel) != new);
        if has_changed {
            hints.changes.fetch_add(1, Ordering::AcqRel);
        }
        if state.exhausted_len() > 0 && !slot.asked && matches!(slot.fate, Fate::Bury(_)) {
            slot.asked = true;
            self.kept.burying.ask(self.this.clone());
        }
        let Some(at) = state.next_due() else { return };
        if slot.alarms.first().is_none_or(|set| at < *set) {
            slot.alarms.insert(at);
            let due: Weak<dyn Due> = self.this.clone();
            self.engine().timers().schedule(at, due);
        }
    }

    /// Lets time pass, and gives up what is exhausted. Called under the lock, before each look.
    pub(super) fn settle_time(&self, slot: &mut Slot, now: Now) -> Result<()> {
        slot.state.tick(now.mono);
        self.bury(slot, now)
    }

    /// What is exhausted is archived, and counted, where it is not to become a dead letter.
    pub(super) fn bury(&self, slot: &mut Slot, now: Now) -> Result<()> {
        if slot.fate != Fate::Archive {
            return Ok(()); // what there is to do is done by `burying`
        }
        let mut delta = Delta::default();
        for (at, _) in slot.state.exhausted() {
            delta.done(at, at, super::deliveries::Finished::Archived);
        }
        if delta.is_empty() {
            return Ok(());
        }
        let count = delta.len() as u64;
        self.write(slot, &delta, now)?;
        self.note_archived(count);
        Ok(())
    }

    pub(super) fn note_archived(&self, count: u64) {
        self.archived.add(count);
        let (topic, id) = (self.partition.topic_name(), self.partition.id());
        log::warn!("group `{}` gives up {count} records of {topic}-{id}", self.group);
    }

    /// Appends a change and takes it over; returns the end of the log's record, where one was
    /// needed. On an error nothing has changed.
    pub(super) fn write(&self, slot: &mut Slot, delta: &Delta, now: Now) -> Result<Option<Offset>> {
        if slot.is_gone {
            let (what, name) = ("share group with what it had read", self.group.to_string());
            return Err(Error::new("write share group", Cause::NotFound { what, name }));
        }
        if !slot.must_snapshot && !slot.state.is_to_be_written(delta) {
            slot.state.apply(delta);
            self.show(slot);
            return Ok(None);
        }
        let (part, saved) = slot.state.to_saved(delta, slot.must_snapshot);
        let is_snapshot = part == Part::Snapshot;
        let number = slot.snapshot.wrapping_add(i32::from(is_snapshot));
        match self.kept.append(self, (part, number), &saved, now.wall) {
            Ok(end) => {
                self.take_over(slot, delta, is_snapshot.then_some(number));
                Ok(Some(end))
            }
            Err(error) => {
                // what is in the log then is laid over by the next record, if that says all
                slot.must_snapshot |= error.outcome() != Outcome::NotWritten;
                Err(error)
            }
        }
    }

    fn take_over(&self, slot: &mut Slot, delta: &Delta, snapshot: Option<i32>) {
        let before = (slot.state.start(), slot.state.open_len() > 0);
        slot.state.apply(delta);
        if let Some(number) = snapshot {
            slot.snapshot = number;
            slot.must_snapshot = false;
            slot.state.snapshot_written();
        }
        self.lost.add(delta.lost);
        let now = (slot.state.start(), slot.state.open_len() > 0);
        if now.0 != before.0 || now.1 != before.1 && slot.settings.intake == Intake::GivenBack {
            self.hold_from(slot);
        }
        self.show(slot);
    }

    /// Keeps what is still owed from being removed, where the topic asks for it.
    pub(super) fn hold(&self) {
        self.hold_from(&self.slot.lock());
    }

    /// Where nothing but what was given back is handed out, nothing else is owed.
    pub(super) fn hold_from(&self, slot: &Slot) {
        let (state, group) = (&slot.state, &self.group);
        if slot.settings.intake == Intake::GivenBack && state.open_len() == 0 {
            self.partition.end_hold_of_group(group);
        } else {
            hold(&self.partition, group, Offset::new(state.start()));
        }
    }

    pub(super) fn named(&self, error: Error) -> Error {
        error.at_partition(self.partition.topic_name(), self.partition.id())
    }
}

/// Keeps a group's records from `start` on; what an ordinary group gave back is that group's.
pub(super) fn hold(partition: &Partition, group: &Arc<str>, start: Offset) {
    let asks = group.strip_prefix(RETRIES_OF).unwrap_or(group);
    partition.hold_for_group_as(group, asks, start);
}

impl Due for Place {
    /// Leases end, delays are over: as many waiters are woken as there are records for them.
    fn run(&self, now: Duration) -> Option<Duration> {
        self.engine().check_open("run timers").ok()?;
        let wall = self.engine().clock().wall();
        let (ready, settings) = {
            let mut slot = self.slot.lock();
            slot.alarms.retain(|at| *at > now);
            if let Err(error) = self.settle_time(&mut slot, Now { mono: now, wall }) {
                log::warn!("group `{}`: what is given up is not written: {error}", self.group);
            }
            self.show(&mut slot);
            (slot.state.ready_len(), slot.settings)
        };
        self.wake_for(ready, &settings);
        None // `show` has asked the timer to come; once is enough
    }
}

impl Slot {
    pub(super) fn new(state: ShareState, terms: &Terms) -> Self {
        let state_end = state.end();
        let mut slot = Slot {
            state,
            settings: terms.settings,
            fate: Fate::Unsaid,
            sieve: terms.filter.clone().map(|filter| Sieve::new(filter, state_end)),
            asked: false,
            snapshot: 0,
            must_snapshot: true,
            cursor: None,
            alarms: BTreeSet::new(),
            falls: None,
            lacks_keys: false,
            is_gone: false,
        };
        slot.set_fate(terms.fate.clone());
        slot
    }

    /// Nothing goes out before somebody says what becomes of a record that was given up.
    pub(super) fn is_stopped(&self) -> bool {
        self.fate == Fate::Stop && !self.settings.ordered && self.state.exhausted_len() > 0
    }

    pub(super) fn set_fate(&mut self, fate: Fate) {
        self.state.set_at_last(match fate {
            Fate::Archive => AtLast::Archive,
            Fate::Bury(_) | Fate::Stop | Fate::Unsaid => AtLast::Bury,
        });
        self.fate = fate;
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("group", &self.group)
            .field("topic", self.partition.topic_name())
            .field("partition", &self.partition.id())
            .finish_non_exhaustive()
    }
}
