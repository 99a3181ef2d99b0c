//! The pure state of one group in one partition: which records are finished, leased, owed.
//!
//! From `start` on; everything below is finished. Up to `end` records were looked at: each is open,
//! with a phase, or finished. What is handed out is planned as a [`Delta`] by `take`, what is said
//! of it by `leases`; both take effect with [`apply`](ShareState::apply), which cannot fail.
//!
//! Invariants (`check`): each of `start..end` is open or said to be finished; the lists
//! (ready, parked, leased, exhausted, behind) are those of the phases, and what is owed to the
//! dead-letter topic is exhausted too; of a key only the earliest open record is ever ready, leased
//! or out of deliveries.

mod leases;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use self::leases::Settled;
use super::change::{Delta, Open, To};
use super::deliveries::{Due, Finished, Move, Moved, Phase};
use super::owed::AtLast;
use super::saved::{SavedRun, SavedState};
use crate::ids::LeaderEpoch;
use crate::state_log::runs::Runs;
use crate::time::Timestamp;

/// How many open records a state out of the log may have: more than are ever left open here.
const MOST_RESTORED: u64 = 1_000_000;

/// What the clock shows, both faces of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) mono: Duration,
    pub(super) wall: Timestamp,
}

/// One group in one partition.
#[derive(Clone, Debug)]
pub(super) struct ShareState {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) most: u16,
    pub(super) at_last: AtLast,
    /// Of the last record that was fetched.
    pub(super) epoch: Option<LeaderEpoch>,
    pub(super) open: BTreeMap<i64, Open>,
    /// What the log is to say of all that lies in `start..end`.
    pub(super) said: Runs<SavedRun>,
    ready: BTreeSet<i64>,
    parked: BTreeSet<(Duration, i64)>,
    leased: BTreeSet<(Duration, i64)>,
    /// With those that are owed.
    pub(super) exhausted: BTreeSet<i64>,
    /// What went wrong with records that are owed.
    pub(super) texts: BTreeMap<i64, Arc<str>>,
    /// The open records of each key.
    keys: HashMap<u64, BTreeSet<i64>>,
    settled: Settled,
    /// What the log's newest snapshot does not say.
    pub(super) touched: Runs<()>,
}

/// Rounded up.
pub(super) fn whole_millis(delay: Duration) -> Duration {
    let up = delay.saturating_add(Duration::from_nanos(999_999));
    Duration::from_millis(u64::try_from(up.as_millis()).unwrap_or(u64::MAX))
}

impl ShareState {
    pub(super) fn new(start: i64, most: u16) -> Self {
        ShareState {
            start,
            end: start,
            most,
            at_last: AtLast::default(),
            epoch: None,
            open: BTreeMap::new(),
            said: Runs::default(),
            ready: BTreeSet::new(),
            parked: BTreeSet::new(),
            leased: BTreeSet::new(),
            exhausted: BTreeSet::new(),
            texts: BTreeMap::new(),
            keys: HashMap::new(),
            settled: Settled::default(),
            touched: Runs::default(),
        }
    }

    /// What an earlier life has left: nothing is leased any more. Where the wall went back
    /// meanwhile nothing waits longer than was asked for.
    pub(super) fn restore(saved: &SavedState, most: u16, now: Now) -> Self {
        let mut state = ShareState::new(saved.start, most);
        state.epoch = saved.epoch;
        let end = saved.runs.last().map_or(saved.start, |last| last + 1).max(saved.start);
        let mut delta = Delta { end: Some(end), ..Delta::default() };
        let mut next = saved.start;
        for (first, last, run) in saved.runs.within(saved.start, i64::MAX - 1) {
            let opened = match run {
                SavedRun::Open { .. } | SavedRun::Owed { .. } => last.abs_diff(next),
                SavedRun::Done(_) => first.abs_diff(next),
            };
            if opened.saturating_add(delta.len() as u64) > MOST_RESTORED {
                // nobody wrote this here: what is behind is handed out again
                delta.end = Some(next);
                break;
            }
            // what nothing is said of was not finished
            (next..first).for_each(|at| delta.open(at, Open::again(0, Phase::Available)));
            next = last + 1;
            match run {
                SavedRun::Done(how) => delta.done(first, last, how),
                SavedRun::Open { count, due } => {
                    let phase = match due {
                        _ if count >= most => Phase::Exhausted,
                        Some((wall, delay)) => {
                            let left = wall.as_millis().saturating_sub(now.wall.as_millis());
                            let left = Duration::from_millis(left.max(0).unsigned_abs());
                            let at = now.mono.saturating_add(left.min(delay));
                            Phase::Parked(Due { at, wall, delay })
                        }
                        None => Phase::Available,
                    };
                    (first..=last).for_each(|at| delta.open(at, Open::again(count, phase)));
                }
                SavedRun::Owed { count, death } => {
                    let open = Open::again(count, Phase::Owed(death));
                    (first..=last).for_each(|at| delta.open(at, open));
                }
            }
        }
        delta.texts.extend(saved.texts.iter().map(|(at, text)| (*at, text.clone())));
        state.apply(&delta);
        state.touched.clear();
        state
    }

    pub(super) fn start(&self) -> i64 {
        self.start
    }

    pub(super) fn end(&self) -> i64 {
        self.end
    }

    pub(super) fn leased_len(&self) -> usize {
        self.leased.len()
    }

    pub(super) fn parked_len(&self) -> usize {
        self.parked.len()
    }

    pub(super) fn open_len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The first records that may be handed out again, with how often they were.
    pub(super) fn ready(&self, most: usize) -> Vec<(i64, Open)> {
        let ready = self.ready.iter().take(most);
        ready.filter_map(|at| Some((*at, *self.open.get(at)?))).collect()
    }

    /// Whether an earlier record of its key is open.
    pub(super) fn is_behind(&self, at: i64, key: u64) -> bool {
        self.keys.get(&key).is_some_and(|all| all.range(..at).next().is_some())
    }

    /// Whether an earlier record of a key is open.
    pub(super) fn has_key(&self, key: u64) -> bool {
        self.keys.contains_key(&key)
    }

    /// Open records of which no key is known, in order.
    pub(super) fn open_offsets(&self) -> Vec<i64> {
        self.open.keys().copied().collect()
    }

    /// When the clock changes something next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let parked = self.parked.first().map(|(at, _)| *at);
        let leased = self.leased.first().map(|(at, _)| *at);
        parked.into_iter().chain(leased).min()
    }

    /// Lets time pass: what is due becomes ready, leases that are over end. Nothing of that is
    /// written: a restart finds the same. Returns how many leases have expired.
    pub(super) fn tick(&mut self, now: Duration) -> usize {
        let mut expired = 0;
        while let Some((_, at)) = self.leased.first().copied().filter(|(due, _)| *due <= now) {
            self.step(at, Move::Tick { now });
            expired += 1;
        }
        while let Some((_, at)) = self.parked.first().copied().filter(|(due, _)| *due <= now) {
            self.step(at, Move::Tick { now });
        }
        expired
    }

    fn step(&mut self, at: i64, step: Move) {
        let Some(open) = self.open.get(&at).copied() else { return };
        if let Ok(Moved::To(phase)) = open.phase.after(step, open.count, self.most) {
            let waits = || open.key.is_some_and(|key| self.is_behind(at, key));
            let phase = match phase {
                Phase::Available | Phase::Exhausted if waits() => Phase::Behind,
                phase => phase,
            };
            self.set_open(at, Open { phase, ..open });
        }
    }

    /// Changes how often a record is handed out at most; what is leased keeps its lease.
    pub(super) fn set_most(&mut self, most: u16) {
        self.most = most;
        let all: Vec<(i64, Open)> = self.open.iter().map(|(at, open)| (*at, *open)).collect();
        for (at, open) in all {
            let waits = open.key.is_some_and(|key| self.is_behind(at, key));
            let phase = match open.phase {
                // behind an earlier one of its key its turn decides, not the limit of the moment
                Phase::Available | Phase::Parked(_) if open.count >= most && !waits => {
                    Phase::Exhausted
                }
                Phase::Exhausted if open.count < most => Phase::Available,
                phase => phase,
            };
            if phase != open.phase {
                self.set_open(at, Open { phase, ..open });
            }
        }
    }

    /// Plans that everything open below `offset` is not there any more.
    pub(super) fn plan_log_start(&self, offset: i64, delta: &mut Delta) {
        for at in self.open.range(..offset).map(|(at, _)| *at) {
            delta.done(at, at, Finished::Archived);
            delta.lost += 1;
        }
        if offset > self.end {
            delta.done(self.end, offset - 1, Finished::Archived);
            delta.end = Some(offset);
        }
    }

    /// The log was cut: it ends at `end` now, and what comes there is something else.
    pub(super) fn cut(&mut self, end: i64) {
        if self.end <= end {
            return;
        }
        let gone: Vec<i64> = self.open.range(end..).map(|(at, _)| *at).collect();
        gone.into_iter().for_each(|at| self.remove_open(at));
        self.said.clear_from(end);
        self.touched.clear_from(end);
        self.end = end;
        self.start = self.start.min(end);
        self.settle_start();
    }

    /// Takes a planned change over.
    pub(super) fn apply(&mut self, delta: &Delta) {
        if let Some(end) = delta.end {
            self.end = self.end.max(end);
        }
        self.epoch = delta.epoch.or(self.epoch);
        self.start = delta.start.map_or(self.start, |start| start.min(self.start));
        for (first, last, to) in &delta.changes {
            match to {
                To::Open(open) => {
                    self.texts.remove(first); // what is owed anew says why anew
                    self.put_open(*first, *open);
                }
                To::Done(_) => {
                    let gone: Vec<i64> = self.open.range(*first..=*last).map(|it| *it.0).collect();
                    gone.into_iter().for_each(|at| self.remove_open(at));
                }
            }
        }
        for (first, last, run) in delta.to_saved() {
            self.touched.set(first, last, ());
            self.said.set(first, last, run);
        }
        self.note_texts(&delta.texts);
        self.settled.take_in(&delta.settled);
        self.settle_start();
    }

    fn settle_start(&mut self) {
        let start = self.open.first_key_value().map_or(self.end, |(at, _)| *at);
        if start > self.start {
            self.start = start;
            self.said.clear_below(start);
            self.touched.clear_below(start);
        }
    }

    pub(super) fn set_open(&mut self, at: i64, open: Open) {
        let said = open.as_saved();
        if self.open.get(&at).is_none_or(|before| before.as_saved() != said) {
            self.said.set(at, at, said);
        }
        self.put_open(at, open);
    }

    /// The same where what the log says of it is seen to by the caller.
    fn put_open(&mut self, at: i64, open: Open) {
        if let Some(before) = self.open.insert(at, open) {
            self.unlist(at, before.phase);
        }
        if let Some(key) = open.key {
            self.keys.entry(key).or_default().insert(at);
        }
        self.list(at, open.phase);
    }

    fn remove_open(&mut self, at: i64) {
        let Some(open) = self.open.remove(&at) else { return };
        self.texts.remove(&at);
        self.unlist(at, open.phase);
        let Some(key) = open.key else { return };
        let Some(all) = self.keys.get_mut(&key) else { return };
        all.remove(&at);
        let next = all.first().copied();
        if next.is_none() {
            self.keys.remove(&key);
        }
        if let Some(next) = next
            && let Some(behind) = self.open.get(&next).copied()
            && behind.phase == Phase::Behind
        {
            let phase = if behind.count >= self.most { Phase::Exhausted } else { Phase::Available };
            self.set_open(next, Open { phase, ..behind });
        }
    }

    fn list(&mut self, at: i64, phase: Phase) {
        match phase {
            Phase::Behind => {}
            Phase::Available => drop(self.ready.insert(at)),
            Phase::Parked(due) => drop(self.parked.insert((due.at, at))),
            Phase::Leased { deadline, .. } => drop(self.leased.insert((deadline, at))),
            Phase::Exhausted | Phase::Owed(_) => drop(self.exhausted.insert(at)),
        }
    }

    fn unlist(&mut self, at: i64, phase: Phase) {
        match phase {
            Phase::Behind => {}
            Phase::Available => drop(self.ready.remove(&at)),
            Phase::Parked(due) => drop(self.parked.remove(&(due.at, at))),
            Phase::Leased { deadline, .. } => drop(self.leased.remove(&(deadline, at))),
            Phase::Exhausted | Phase::Owed(_) => drop(self.exhausted.remove(&at)),
        }
    }

    /// Tells the keys of records that came out of an earlier life: of each key the earliest goes
    /// first, the others behind it.
    pub(super) fn learn_keys(&mut self, keys: &[(i64, u64)]) {
        for (at, key) in keys {
            let Some(open) = self.open.get(at).copied() else { continue };
            let phase = match open.phase {
                owed @ Phase::Owed(_) => owed, // it is handed out no more, in whatever order
                parked @ Phase::Parked(_) => parked, // not before its time, and then behind
                _ if self.is_behind(*at, *key) => Phase::Behind,
                phase => phase,
            };
            self.set_open(*at, Open { phase, key: Some(*key), ..open });
        }
    }
}

impl Open {
    /// A record out of an earlier life; keys are learnt later.
    pub(super) fn again(count: u16, phase: Phase) -> Self {
        Open { count, phase, key: None }
    }
}

#[cfg(test)]
impl ShareState {
    /// Fails where an invariant does not hold.
    pub(super) fn check(&self) {
        let mut at = self.start;
        while at < self.end {
            match (self.open.get(&at), self.said.get(at)) {
                (Some(open), Some(said)) if open.as_saved() == said => at += 1,
                (None, Some(SavedRun::Done(_))) => at += 1,
                found => panic!("offset {at} of {}..{}: {found:?}", self.start, self.end),
            }
        }
        assert!(self.open.range(..self.start).next().is_none());
        assert!(self.open.range(self.end..).next().is_none());
        assert!(self.start == self.end || self.open.contains_key(&self.start), "start not moved");
        let (mut ready, mut parked, mut leased, mut exhausted) = (0, 0, 0, 0);
        for (at, open) in &self.open {
            match open.phase {
                Phase::Available => ready += usize::from(self.ready.contains(at)),
                Phase::Parked(due) => {
                    parked += usize::from(self.parked.contains(&(due.at, *at)));
                    continue;
                }
                Phase::Leased { deadline, .. } => {
                    leased += usize::from(self.leased.contains(&(deadline, *at)));
                }
                Phase::Exhausted => exhausted += usize::from(self.exhausted.contains(at)),
                Phase::Owed(_) => {
                    exhausted += usize::from(self.exhausted.contains(at));
                    continue;
                }
                Phase::Behind => continue,
            }
            if let Some(key) = open.key {
                assert_eq!(self.keys[&key].first(), Some(at), "{at} overtakes its key");
            }
        }
        assert!(self.texts.keys().all(|at| self.exhausted.contains(at)), "texts of others");
        let lists = (self.ready.len(), self.parked.len(), self.leased.len(), self.exhausted.len());
        assert_eq!((ready, parked, leased, exhausted), lists);
    }
}
