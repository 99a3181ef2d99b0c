//! What is pending, what of it is in memory, and what is to be done next. Pure.
//!
//! An entry lies in the log under its [`Key`]: when it is due, and its sequence, which orders those
//! of one time. Time falls into buckets of 65.5 s; the entries of a bucket lie in one of 64
//! partitions, together with those of buckets whole laps of 70 minutes away. Nothing is ever moved.
//!
//! In memory are: one bit for each pending entry, counts by lap and by partition, and the *run*:
//! the entries at or below `covered`, all of them, in order. What is due is fired off the front of
//! the run; when the run gets short the next bucket's partition is read for the smallest keys above
//! `covered`, which rises with them. A run that gets too long gives up its end, and `covered`
//! falls. What is due and cannot be published is parked; beyond four windows it is given up, and
//! `covered` falls below it when all of it is tried again. So memory is bounded by the window,
//! whatever is pending and whichever way the clock jumps: where an entry lies and whether it is
//! covered depends on its key alone.
//!
//! Called by `coordinator` under its lock, and by `model_tests` against a plain map.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::live::SequenceSet;
use crate::ids::{Offset, PartitionId};
use crate::time::{Timestamp, millis};

const BUCKET_BITS: u32 = 16;
/// Partitions of the log, and buckets of a lap.
pub(super) const PARTITIONS: u32 = 64;
const LAP_BITS: u32 = PARTITIONS.trailing_zeros();

/// When an entry is due, and its place among those of one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// Milliseconds since the epoch; never negative.
    pub(super) due: i64,
    pub(super) sequence: u64,
}

impl Key {
    pub(super) fn bucket(self) -> i64 {
        self.due >> BUCKET_BITS
    }

    pub(super) fn partition(self) -> PartitionId {
        partition_of(self.bucket())
    }

    /// The last that can be before it; `None` for the first of all.
    fn before(self) -> Option<Self> {
        match self {
            Key { due: 0, sequence: 0 } => None,
            Key { due, sequence: 0 } => Some(Key { due: due - 1, sequence: u64::MAX }),
            Key { due, sequence } => Some(Key { due, sequence: sequence - 1 }),
        }
    }

    /// The last that can be due at a time.
    fn last_at(time: Timestamp) -> Self {
        Key { due: time.as_millis(), sequence: u64::MAX }
    }

    /// The last there can be in a bucket.
    fn last_of(bucket: i64) -> Self {
        Key { due: start_of(bucket + 1) - 1, sequence: u64::MAX }
    }
}

fn start_of(bucket: i64) -> i64 {
    bucket << BUCKET_BITS
}

fn lap_of(bucket: i64) -> i64 {
    bucket >> LAP_BITS
}

/// Where the entries of a bucket lie.
pub(super) fn partition_of(bucket: i64) -> PartitionId {
    let number = bucket.rem_euclid(i64::from(PARTITIONS));
    PartitionId::new(number as u32) // below 64
}

/// How much is held in memory, and how long before its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Entries of the run.
    pub(super) window: usize,
    /// A bucket is read this long before it begins.
    pub(super) lead: Duration,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Entries of the run are due.
    Fire,
    /// The entries of a bucket are to be read; of which one is clear when that begins.
    Read,
    /// Nothing before then, or before something changes.
    Wait(Option<Timestamp>),
}

/// A bucket that is being read.
#[derive(Debug)]
struct Reading {
    bucket: i64,
    /// The smallest keys above what is covered; at most a window of them.
    found: BTreeMap<Key, Offset>,
    /// The smallest that there was no room for: neither it nor what lies above is taken again, be
    /// there room by now, or the next end of what is covered would lie beyond it.
    cut: Option<Key>,
}

/// Everything that is known of pending entries.
#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    live: SequenceSet,
    /// Pending entries by lap, and by partition.
    laps: BTreeMap<i64, u64>,
    counts: [u64; PARTITIONS as usize],
    run: BTreeMap<Key, Offset>,
    /// Every pending entry up to here is in the run, parked, given up or put aside.
    covered: Option<Key>,
    reading: Option<Reading>,
    /// Covered and due, but for the time being they cannot be published; at most four windows.
    parked: BTreeMap<Key, Offset>,
    /// Those of them that there was no room for, and buckets that cannot be read: the first, and of
    /// how many it is known. All that is pending, and covered, from the first on and is in no other
    /// place is one of them.
    given_up: Option<(Key, u64)>,
    /// Pending, but nothing can be done with them in this life.
    aside: BTreeSet<Key>,
    /// Of those: published or not, which this life cannot tell.
    undecided: BTreeSet<Key>,
    next_sequence: u64,
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        State {
            limits,
            live: SequenceSet::default(),
            laps: BTreeMap::new(),
            counts: [0; PARTITIONS as usize],
            run: BTreeMap::new(),
            covered: None,
            reading: None,
            parked: BTreeMap::new(),
            given_up: None,
            aside: BTreeSet::new(),
            undecided: BTreeSet::new(),
            next_sequence: 0,
        }
    }

    /// One that knows of nothing, with the same limits.
    pub(super) fn emptied(&self) -> Self {
        State::new(self.limits)
    }

    pub(super) fn pending(&self) -> u64 {
        self.live.len()
    }

    pub(super) fn parked(&self) -> u64 {
        self.parked.len() as u64 + self.given_up.map_or(0, |(_, count)| count)
    }

    pub(super) fn aside(&self) -> u64 {
        self.aside.len() as u64
    }

    /// Entries in memory.
    #[cfg(all(test, not(loom)))]
    pub(super) fn in_memory(&self) -> usize {
        let found = self.reading.as_ref().map_or(0, |reading| reading.found.len());
        self.run.len() + self.parked.len() + found
    }

    pub(super) fn is_live(&self, key: Key) -> bool {
        self.live.contains(key.sequence)
    }

    /// A sequence above all before.
    pub(super) fn draw_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    /// Whether a sequence was given to an entry, in this life or one before.
    pub(super) fn was_drawn(&self, sequence: u64) -> bool {
        sequence < self.next_sequence
    }

    /// Sequences begin at `least` or above.
    pub(super) fn begin_sequences(&mut self, least: u64) {
        self.next_sequence = self.next_sequence.max(least);
    }

    /// Takes in an entry that is in the log at `offset`; returns when there is something to do for
    /// it, if that is not clear already.
    pub(super) fn add(&mut self, key: Key, offset: Offset, now: Timestamp) -> Option<Timestamp> {
        self.next_sequence = self.next_sequence.max(key.sequence.saturating_add(1));
        if !self.live.insert(key.sequence) {
            return None; // read twice
        }
        *self.laps.entry(lap_of(key.bucket())).or_insert(0) += 1;
        self.counts[key.partition().index()] += 1;
        if self.covered.is_some_and(|covered| key <= covered) {
            self.run.insert(key, offset);
            self.shorten_run();
            let is_first = self.run.first_key_value().is_some_and(|(first, _)| *first == key);
            return is_first.then_some(Timestamp::from_millis(key.due));
        }
        if let Some(reading) =
            self.reading.as_mut().filter(|reading| reading.bucket <= key.bucket())
        {
            if reading.bucket == key.bucket() {
                reading.take(key, offset, self.limits.window);
            }
            return None; // who reads looks again
        }
        self.reading = None; // at its end this one, below its bucket, would count as covered
        self.wants_to_read(now)
    }

    /// Takes an entry out: published or cancelled. Whether it was pending.
    pub(super) fn resolve(&mut self, key: Key) -> bool {
        if !self.live.remove(key.sequence) {
            return false;
        }
        let lap = lap_of(key.bucket());
        if let Some(count) = self.laps.get_mut(&lap) {
            *count -= 1;
            if *count == 0 {
                self.laps.remove(&lap);
            }
        }
        self.counts[key.partition().index()] -= 1;
        self.take_given_up(key);
        self.run.remove(&key);
        self.parked.remove(&key);
        self.aside.remove(&key);
        if let Some(reading) = &mut self.reading {
            reading.found.remove(&key);
        }
        true
    }

    /// What is to be done at `now`.
    pub(super) fn plan(&self, now: Timestamp) -> Plan {
        let first = self.run.first_key_value().map(|(key, _)| Timestamp::from_millis(key.due));
        if first.is_some_and(|due| due <= now) {
            return Plan::Fire;
        }
        if self.reading.is_some() {
            return Plan::Read;
        }
        match self.wants_to_read(now) {
            Some(at) if at <= now => Plan::Read,
            at => Plan::Wait([first, at].into_iter().flatten().min()),
        }
    }

    /// What is due at `now`, first things first; at most `most`.
    pub(super) fn due(&self, now: Timestamp, most: usize) -> Vec<(Key, Offset)> {
        let due = self.run.range(..=Key::last_at(now));
        due.take(most).map(|(key, offset)| (*key, *offset)).collect()
    }

    /// Whether all that is due at `now` has had its turn: it is published, parked or put aside, and
    /// nothing of it is still to be read.
    pub(super) fn has_had_turns(&self, now: Timestamp) -> bool {
        let last = Key::last_at(now);
        self.run.first_key_value().is_none_or(|(first, _)| *first > last)
            && (self.covered >= Some(last)
                || self.next_bucket().is_none_or(|bucket| start_of(bucket) > last.due))
    }

    /// Entries that are due and cannot be published now.
    pub(super) fn park(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            let Some(offset) = self.run.remove(&key) else { continue };
            if self.parked.len() < self.limits.window.saturating_mul(4) {
                self.parked.insert(key, offset);
            } else {
                let (first, count) = self.given_up.unwrap_or((key, 0));
                self.given_up = Some((first.min(key), count + 1));
            }
        }
    }

    /// Parked entries are tried again; those that were given up are found again.
    pub(super) fn unpark(&mut self) {
        self.run.append(&mut self.parked);
        if let Some((first, _)) = self.given_up.take() {
            self.uncover(first);
        }
    }

    fn is_given_up(&self, key: Key) -> bool {
        self.given_up.is_some_and(|(first, _)| first <= key)
            && self.covered >= Some(key)
            && !self.run.contains_key(&key)
            && !self.parked.contains_key(&key)
            && !self.aside.contains(&key)
    }

    /// One that was given up, if it was, is so no longer.
    fn take_given_up(&mut self, key: Key) {
        let is_given_up = self.is_given_up(key);
        if let Some((_, count)) = self.given_up.as_mut().filter(|_| is_given_up) {
            *count = count.saturating_sub(1);
        }
    }

    /// Nothing can be done with an entry in this life; it stays pending, if it was.
    pub(super) fn put_aside(&mut self, key: Key) -> bool {
        let is_pending = self.is_live(key);
        if is_pending {
            self.take_given_up(key);
            self.aside.insert(key);
        }
        self.run.remove(&key);
        self.parked.remove(&key);
        is_pending
    }

    /// An entry may be published already: it is put aside, and not to be cancelled either.
    pub(super) fn set_undecided(&mut self, key: Key) {
        self.put_aside(key);
        self.undecided.insert(key);
    }

    pub(super) fn is_aside(&self, key: Key) -> bool {
        self.aside.contains(&key)
    }

    pub(super) fn is_undecided(&self, key: Key) -> bool {
        self.undecided.contains(&key)
    }
}

/// Reading buckets.
impl State {
    /// Begins to read what [`plan`](State::plan) said, unless that is under way.
    pub(super) fn begin_reading(&mut self) {
        if self.reading.is_none()
            && let Some(bucket) = self.next_bucket()
        {
            self.reading = Some(Reading { bucket, found: BTreeMap::new(), cut: None });
        }
    }

    /// An entry of the log; of those of other buckets, resolved and covered nothing is kept.
    pub(super) fn found(&mut self, key: Key, offset: Offset) {
        let is_new = self.live.contains(key.sequence)
            && self.covered.is_none_or(|covered| key > covered)
            && !self.aside.contains(&key);
        if let Some(reading) = self.reading.as_mut().filter(|_| is_new)
            && reading.bucket == key.bucket()
        {
            reading.take(key, offset, self.limits.window);
        }
    }

    /// All of the partition has been read.
    pub(super) fn end_reading(&mut self) {
        let Some(mut reading) = self.reading.take() else { return };
        let last = reading.found.last_key_value().map(|(key, _)| *key);
        match (reading.cut, last) {
            (None, _) => self.covered = Some(Key::last_of(reading.bucket)),
            (Some(_), Some(last)) => self.covered = Some(last),
            (Some(_), None) => {} // all that was found is resolved by now: it is read again
        }
        self.run.append(&mut reading.found);
    }

    /// The bucket cannot be read now: what is not covered of it is given up.
    pub(super) fn give_up_reading(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        let start = Key { due: start_of(reading.bucket), sequence: 0 };
        let (first, count) = self.given_up.unwrap_or((start, 0));
        self.given_up = Some((first.min(start), count));
        self.covered = Some(Key::last_of(reading.bucket));
    }

    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Where the bucket lies that is being read.
    pub(super) fn reading_in(&self) -> Option<PartitionId> {
        self.reading.as_ref().map(|reading| partition_of(reading.bucket))
    }

    /// When the next bucket is to be read, if one is and there is room for it.
    fn wants_to_read(&self, now: Timestamp) -> Option<Timestamp> {
        let Limits { window, lead } = self.limits;
        if self.run.len() > window / 4 {
            return None;
        }
        let bucket = self.next_bucket()?;
        let begins = self.covered.map_or(i64::MIN, |covered| covered.due).max(start_of(bucket));
        Some(Timestamp::from_millis(begins.saturating_sub(millis(lead))).max(now))
    }

    /// The first bucket that may hold what is not covered.
    fn next_bucket(&self) -> Option<i64> {
        let from = match self.covered {
            None => start_lap(*self.laps.first_key_value()?.0),
            Some(covered) if covered == Key::last_of(covered.bucket()) => covered.bucket() + 1,
            Some(covered) => covered.bucket(),
        };
        let laps = self.laps.range(lap_of(from)..);
        let mut buckets = laps.flat_map(|(lap, _)| {
            let end = start_lap(*lap + 1);
            start_lap(*lap).max(from)..end
        });
        buckets.find(|bucket| self.counts[partition_of(*bucket).index()] > 0)
    }

    /// Gives up the end of a run that has grown too long.
    fn shorten_run(&mut self) {
        if self.run.len() <= self.limits.window.saturating_mul(2) {
            return;
        }
        let Some(cut) = self.run.keys().nth(self.limits.window).copied() else { return };
        let given_up = self.given_up.take();
        self.uncover(given_up.map_or(cut, |(first, _)| first.min(cut)));
    }

    /// What lies from here on is not covered any more: it is found again.
    fn uncover(&mut self, first: Key) {
        self.run.split_off(&first);
        self.covered = self.covered.min(first.before());
        // kept, what is parked there would overtake what is read before it
        self.parked.split_off(&first);
        self.reading = None;
    }
}

fn start_lap(lap: i64) -> i64 {
    lap << LAP_BITS
}

impl Reading {
    fn take(&mut self, key: Key, offset: Offset, most: usize) {
        if self.cut.is_some_and(|cut| cut <= key) {
            return;
        }
        self.found.insert(key, offset);
        if self.found.len() > most {
            self.cut = self.found.pop_last().map(|(key, _)| key);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod model_tests;
