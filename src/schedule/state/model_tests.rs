//! The state against a plain sorted map of everything pending, with random entries, cancels,
//! publications that come to be or do not, clock jumps both ways, and new lives.
//!
//! Whatever is handed out as due is compared with the map's own first entries: nothing early,
//! nothing left out, nothing twice, in order.

use std::collections::BTreeSet;
use std::time::Instant;

use super::*;
use crate::seeds::{end_suite, pick, seeds};

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

const WINDOW: usize = 8;
/// When all is due; nothing is added from then on.
const END: i64 = i64::MAX / 4;

struct World {
    dice: Dice,
    now: i64,
    state: State,
    /// What lies in each partition: an entry, or that it is resolved.
    log: Vec<Vec<(Key, bool)>>,
    pending: BTreeSet<Key>,
    parked: BTreeSet<Key>,
    /// A bucket could not be read since all was tried again.
    has_failed: bool,
    /// Of so many chances to try what is parked again one is taken.
    patience: u64,
    /// Where the partition that is being read is read next.
    read: usize,
    published: u64,
    cancelled: u64,
    added: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let lead = Duration::from_millis(seed % 3 * 40_000);
        World {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 1_700_000_000_000,
            state: State::new(Limits { window: WINDOW, lead }),
            log: vec![Vec::new(); PARTITIONS as usize],
            pending: BTreeSet::new(),
            parked: BTreeSet::new(),
            has_failed: false,
            patience: [1, 3, 50][(seed / 3 % 3) as usize],
            read: 0,
            published: 0,
            cancelled: 0,
            added: 0,
        }
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn add(&mut self) {
        let spans = [1, 50, 1_000, 70_000, 10_000_000, 400_000_000, 300_000_000_000];
        let span = spans[self.dice.below(spans.len() as u64) as usize];
        let ahead = self.dice.below(span) as i64;
        let due = match self.dice.below(8) {
            0 => self.now - ahead,
            1 => (self.now + ahead) / 100_000 * 100_000, // many of one time
            _ => self.now + ahead,
        };
        let key = Key { due: due.max(0), sequence: self.state.draw_sequence() };
        let partition = &mut self.log[key.partition().index()];
        let offset = Offset::new(partition.len() as i64);
        partition.push((key, true));
        self.pending.insert(key);
        self.added += 1;
        let now = self.wall();
        self.state.add(key, offset, now);
    }

    fn resolve(&mut self, key: Key) {
        self.log[key.partition().index()].push((key, false));
        assert!(self.pending.remove(&key) && self.state.is_live(key));
        self.parked.remove(&key);
        assert!(self.state.resolve(key) && !self.state.resolve(key));
    }

    fn cancel(&mut self) {
        let spans = [1_000, 1_000_000, 400_000_000];
        let span = spans[self.dice.below(spans.len() as u64) as usize];
        let due = self.now + self.dice.below(span) as i64;
        let from = Key { due, sequence: 0 };
        let near = self.pending.range(from..).next().or_else(|| self.pending.first());
        if let Some(key) = near.copied() {
            self.resolve(key);
            self.cancelled += 1;
        }
    }

    /// Cancels what a reading has found last, which says how far it covers.
    fn cancel_found(&mut self) {
        let found = self.state.reading.as_ref().and_then(|reading| reading.found.last_key_value());
        if let Some(key) = found.map(|(key, _)| *key) {
            self.resolve(key);
            self.cancelled += 1;
        }
    }

    fn step(&mut self) -> Plan {
        let plan = self.state.plan(self.wall());
        match plan {
            Plan::Fire => {
                let due = self.state.due(self.wall(), 5);
                let end = Key { due: self.now, sequence: u64::MAX };
                let own = self.pending.range(..=end).filter(|key| !self.parked.contains(key));
                let expected: Vec<Key> = own.take(due.len()).copied().collect();
                let keys: Vec<Key> = due.iter().map(|(key, _)| *key).collect();
                assert_eq!(keys, expected);
                for (key, offset) in &due {
                    let at = usize::try_from(offset.get()).unwrap();
                    assert_eq!(self.log[key.partition().index()][at], (*key, true));
                }
                match self.dice.below(10) {
                    0 => {} // it failed
                    1 => {
                        self.state.park(keys.iter().copied());
                        self.parked.extend(keys);
                    }
                    _ => keys.into_iter().for_each(|key| {
                        self.resolve(key);
                        self.published += 1;
                    }),
                }
            }
            Plan::Read => {
                if self.now < END && self.dice.below(32) == 0 {
                    self.add(); // between the plan and what comes of it
                }
                if !self.state.is_reading() {
                    self.state.begin_reading();
                    self.read = 0;
                }
                let partition = self.state.reading_in().unwrap();
                let log = &self.log[partition.index()];
                let most = [4, 200][self.dice.below(2) as usize];
                let end = log.len().min(self.read + 1 + self.dice.below(most) as usize);
                for (at, (key, is_entry)) in log.iter().enumerate().take(end).skip(self.read) {
                    if *is_entry {
                        self.state.found(*key, Offset::new(at as i64));
                    }
                }
                self.read = end;
                if self.now < END && self.dice.below(64) == 0 {
                    self.fail_to_read();
                } else if end == log.len() {
                    self.state.end_reading();
                } else if self.dice.below(4) == 0 {
                    self.cancel_found();
                }
            }
            Plan::Wait(_) => {
                let mut due = self.pending.range(..=Key::last_at(self.wall()));
                assert!(due.all(|key| self.parked.contains(key)), "left lying");
                assert!(self.state.has_had_turns(self.wall()), "it would wait for what is done");
            }
        }
        let most = WINDOW * 8;
        assert!(self.state.in_memory() <= most, "{} in memory", self.state.in_memory());
        plan
    }

    /// What is not covered of the bucket counts as parked; how many there are nobody knows.
    fn fail_to_read(&mut self) {
        let bucket = self.state.reading.as_ref().unwrap().bucket;
        self.state.give_up_reading();
        let own = Key { due: start_of(bucket), sequence: 0 }..=Key::last_of(bucket);
        let unread = self.pending.range(own).filter(|key| self.state.is_given_up(**key));
        self.parked.extend(unread);
        self.has_failed = true;
    }

    fn unpark(&mut self) {
        self.state.unpark();
        self.parked.clear();
        self.has_failed = false;
    }

    /// Another life: everything is read from the log.
    fn restart(&mut self) {
        let limits = self.state.limits;
        self.state = State::new(limits);
        self.parked.clear();
        for partition in &self.log {
            for (at, (key, is_entry)) in partition.iter().enumerate() {
                if *is_entry {
                    self.state.add(*key, Offset::new(at as i64), Timestamp::from_millis(0));
                } else {
                    assert!(self.state.resolve(*key));
                }
            }
        }
        self.state.begin_sequences(self.added);
    }

    fn act(&mut self) {
        match self.dice.below(1000) {
            0..300 => self.add(),
            300..340 => self.cancel(),
            340..500 => self.now += self.dice.below(3_000) as i64,
            500..502 => self.now += self.dice.below(20_000_000) as i64,
            502..504 => self.now = (self.now - self.dice.below(90_000_000) as i64).max(0),
            504..510 if self.added.is_multiple_of(self.patience) => self.unpark(),
            510 if self.added.is_multiple_of(7) => self.restart(),
            _ => drop(self.step()),
        }
        // a run that is shortened forgets that those above its end were parked
        self.parked
            .retain(|key| self.state.parked.contains_key(key) || self.state.is_given_up(*key));
        self.has_failed &= self.state.given_up.is_some();
        assert!(self.has_failed || self.state.parked() == self.parked.len() as u64);
        assert_eq!(self.state.pending(), self.pending.len() as u64);
        if self.state.has_had_turns(self.wall()) {
            let mut due = self.pending.range(..=Key::last_at(self.wall()));
            assert!(due.all(|key| self.parked.contains(key)), "it has not had its turn");
        }
    }

    fn finish(&mut self) {
        self.now = END;
        let mut rounds = 0;
        while !self.pending.is_empty() {
            self.unpark();
            while !matches!(self.step(), Plan::Wait(_)) {}
            rounds += 1;
            assert!(rounds < 10_000, "{} are stuck", self.pending.len());
        }
        assert_eq!(self.published + self.cancelled, self.added);
        assert_eq!(self.state.next_bucket(), None);
    }
}

#[test]
fn it_hands_out_what_is_due_as_a_sorted_map_would() {
    // this log is not compacted, and all of it is read each time: many lives are quicker than long
    let (began, steps) = (Instant::now(), pick(3_000, 50_000, 3_000));
    let seeds = seeds(12, 20, 34_000);
    for seed in seeds.clone() {
        let mut world = World::new(seed);
        let run = || {
            (0..steps).for_each(|_| world.act());
            world.finish();
        };
        let run = std::panic::AssertUnwindSafe(run);
        if std::panic::catch_unwind(run).is_err() {
            panic!("TIDELOG_SEED={seed} cargo test --lib sorted_map_would");
        }
    }
    end_suite("schedule-model", (seeds.end - seeds.start) * steps, began);
}

#[test]
fn an_entry_below_a_bucket_that_is_being_read_is_not_passed_over() {
    let mut state = State::new(Limits { window: WINDOW, lead: Duration::ZERO });
    let (late, early) = (Timestamp::from_millis(500_000_000_000), Timestamp::from_millis(1_000));
    let add = |state: &mut State, due: Timestamp| {
        let key = Key { due: due.as_millis(), sequence: state.draw_sequence() };
        state.add(key, Offset::ZERO, late);
        key
    };
    let one = add(&mut state, late);
    assert!(matches!(state.plan(late), Plan::Read));
    state.begin_reading();
    state.found(one, Offset::ZERO);
    let other = add(&mut state, early); // the clock was set back when it was made
    for key in [other, one] {
        while let Plan::Read = state.plan(late) {
            state.begin_reading();
            [one, other].into_iter().for_each(|key| state.found(key, Offset::ZERO));
            state.end_reading();
        }
        let due = state.due(late, 1);
        assert_eq!(due.first().map(|(key, _)| *key), Some(key));
        assert!(state.resolve(key));
    }
}

#[test]
fn an_entry_of_a_clock_set_back_is_neither_early_nor_forgotten() {
    let mut state = State::new(Limits { window: WINDOW, lead: Duration::ZERO });
    let (late, early) = (Timestamp::from_millis(500_000_000), Timestamp::from_millis(1_000));
    let one = Key { due: late.as_millis(), sequence: state.draw_sequence() };
    state.add(one, Offset::ZERO, late);
    state.begin_reading();
    state.found(one, Offset::ZERO);
    state.end_reading();
    assert_eq!(state.plan(late), Plan::Fire);
    let two = Key { due: early.as_millis() + 5, sequence: state.draw_sequence() };
    state.add(two, Offset::ZERO, early); // a day before what was read already
    assert_eq!(state.plan(early), Plan::Wait(Some(Timestamp::from_millis(two.due))));
    assert_eq!(state.due(Timestamp::from_millis(two.due), 9), [(two, Offset::ZERO)]);
}

#[test]
fn an_entry_that_a_full_window_gave_up_comes_though_one_before_it_is_cancelled() {
    let mut state = State::new(Limits { window: WINDOW, lead: Duration::ZERO });
    let now = Timestamp::from_millis(1_000);
    let keys: Vec<Key> = (0..WINDOW as u64 + 2)
        .map(|sequence| Key { due: 500_000 + sequence as i64, sequence })
        .collect();
    for key in &keys {
        state.add(*key, Offset::ZERO, now);
    }
    state.begin_reading();
    let (late, early) = keys.split_last().unwrap();
    for key in early {
        state.found(*key, Offset::ZERO); // the last of them has no room
    }
    assert!(state.resolve(early[WINDOW - 1]));
    state.found(*late, Offset::ZERO); // now there is room, but not before what had none
    state.end_reading();
    let mut handed = Vec::new();
    let due = Timestamp::from_millis(600_000);
    loop {
        match state.plan(due) {
            Plan::Fire => {
                let (key, _) = state.due(due, 1)[0];
                assert!(state.resolve(key));
                handed.push(key);
            }
            Plan::Read => {
                state.begin_reading();
                keys.iter().for_each(|key| state.found(*key, Offset::ZERO));
                state.end_reading();
            }
            Plan::Wait(_) => break,
        }
    }
    let left: Vec<Key> = keys.iter().filter(|key| **key != early[WINDOW - 1]).copied().collect();
    assert_eq!(handed, left);
}

/// However many cannot be published: they come again, and what is due behind them comes meanwhile.
#[test]
fn more_than_may_be_parked_hold_up_nobody_and_are_found_again() {
    let mut state = State::new(Limits { window: WINDOW, lead: Duration::ZERO });
    let now = Timestamp::from_millis(10_000_000);
    let count = WINDOW as u64 * 9;
    let keys: Vec<Key> =
        (0..=count).map(|sequence| Key { due: 10_000 * sequence as i64, sequence }).collect();
    for key in &keys {
        state.add(*key, Offset::ZERO, now);
    }
    let (last, stuck) = keys.split_last().unwrap();
    for _ in 0..3 {
        let mut seen = Vec::new();
        loop {
            assert!(state.in_memory() <= WINDOW * 8);
            match state.plan(now) {
                Plan::Fire => {
                    let (key, _) = state.due(now, 1)[0];
                    assert!(!state.has_had_turns(now));
                    seen.push(key);
                    state.park([key]);
                }
                Plan::Read => {
                    state.begin_reading();
                    keys.iter().for_each(|key| state.found(*key, Offset::ZERO));
                    state.end_reading();
                }
                Plan::Wait(_) => break,
            }
        }
        assert_eq!((seen, state.parked()), (keys.clone(), count + 1));
        assert!(state.has_had_turns(now));
        state.unpark();
        assert_eq!(state.parked(), 0);
    }
    assert!(state.resolve(*last));
    // one is cancelled and one cannot be read while they are given up
    while let Plan::Fire = state.plan(now) {
        let due: Vec<Key> = state.due(now, WINDOW).into_iter().map(|(key, _)| key).collect();
        state.park(due);
        while let Plan::Read = state.plan(now) {
            state.begin_reading();
            keys.iter().for_each(|key| state.found(*key, Offset::ZERO));
            state.end_reading();
        }
    }
    assert_eq!(state.parked(), count);
    assert!(state.resolve(stuck[stuck.len() - 1]) && state.put_aside(stuck[stuck.len() - 2]));
    assert_eq!(state.parked(), count - 2);
}
