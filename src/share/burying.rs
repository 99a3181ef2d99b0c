//! Making dead letters of what a group gives up: copies into its dead-letter topic, and the note
//! that they are there, in one commit; then the group's own state says so too, and the note goes.
//!
//! A record stays open, and held, until that commit is durable, and the state that names it as open
//! is durable before. Whatever happens in between, the note is found when the store opens and laid
//! over what the state says: so there is one letter of each record. What cannot be buried now (the
//! topic is full, its disk is, it takes no such record) stays owed, and is tried again, with
//! growing pauses.
//!
//! A chore of the store: one portion of one place in each step. Locks: the turn of `dead_letters`,
//! then a place; the queue is the innermost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::change::{Delta, Open};
use super::deliveries::{Finished, Phase};
use super::place::Place;
use super::settings::Fate;
use crate::dead_letters::{
    DeadLetters, Death, Moved, MovedFrom, Obituary, Turn, dead_letter_topic, is_of_records,
};
use crate::engine::{Alarm, Due, Engine, Partition};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::FetchLimits;
use crate::record::{Record, Records, TakeRules};
use crate::sync::Mutex;
use crate::time::Timestamp;
use crate::txn::{Part, check_record};

/// Records of one commit, and their bytes.
const MOST: usize = 1_000;
const MOST_BYTES: usize = 8 << 20;
/// The first pause after a failure, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The places that owe dead letters.
#[derive(Debug)]
pub(super) struct Burying {
    this: Weak<Burying>,
    engine: Arc<Engine>,
    pub(super) letters: Arc<DeadLetters>,
    alarm: Alarm,
    queue: Mutex<Vec<Owing>>,
}

#[derive(Debug)]
struct Owing {
    place: Weak<Place>,
    not_before: Duration,
    failures: u32,
    /// What the topic does not take; tried again after a pause.
    refused: BTreeSet<i64>,
    /// How many records go at a time: fewer where the topic had no room for as many.
    most: usize,
}

/// What a step has come to.
enum Step {
    Done,
    More,
    /// All that is left was refused.
    Refused,
}

/// A record that is owed.
struct Owed {
    at: i64,
    open: Open,
    text: Option<Arc<str>>,
}

/// What of it was read.
#[derive(Default)]
struct Read {
    /// Others lie between them.
    records: Records,
    /// Of those that are to be buried, by offset.
    obituaries: BTreeMap<i64, Obituary>,
    /// What is not there any more.
    lost: Vec<i64>,
    unreadable: Vec<i64>,
    /// What is damaged: no letter is ever made of it.
    damaged: Vec<i64>,
}

impl Burying {
    pub(super) fn new(engine: Arc<Engine>, letters: Arc<DeadLetters>) -> Arc<Self> {
        Arc::new_cyclic(|this| Burying {
            this: this.clone(),
            engine,
            letters,
            alarm: Alarm::default(),
            queue: Mutex::default(),
        })
    }

    /// Has the chore look at a place soon.
    pub(super) fn ask(&self, place: Weak<Place>) {
        let (not_before, failures, refused) = (Duration::ZERO, 0, BTreeSet::new());
        self.queue.lock().push(Owing { place, not_before, failures, refused, most: MOST });
        self.alarm.set_chore(self.engine.chores(), Duration::ZERO, self.this.clone());
    }

    fn next_due(&self, now: Duration) -> Option<Owing> {
        let mut queue = self.queue.lock();
        let at = queue.iter().position(|owing| owing.not_before <= now)?;
        Some(queue.remove(at))
    }

    /// One portion of one place; returns when there is more.
    fn step(&self, now: Duration) -> Option<Duration> {
        if let Some(mut owing) = self.next_due(now)
            && let Some(place) = owing.place.upgrade()
        {
            match self.bury(&place, &mut owing.refused, &mut owing.most) {
                Ok(Step::Done) => {}
                Ok(Step::More) => {
                    owing.failures = 0;
                    self.queue.lock().push(owing);
                }
                Ok(Step::Refused) => {
                    owing.refused.clear();
                    owing.not_before = now + LONGEST;
                    self.queue.lock().push(owing);
                }
                Err(error) if error.is_closed() => {}
                Err(error) => {
                    let pause = PAUSE.saturating_mul(1 << owing.failures.min(5)).min(LONGEST);
                    log::warn!("dead letters of `{}` have to wait: {error}", place.group);
                    owing.failures += 1;
                    owing.not_before = now + pause;
                    self.queue.lock().push(owing);
                }
            }
        }
        self.queue.lock().iter().map(|owing| owing.not_before.max(now)).min()
    }

    fn bury(
        &self,
        place: &Arc<Place>,
        refused: &mut BTreeSet<i64>,
        most: &mut usize,
    ) -> Result<Step> {
        let mut turn = self.letters.turn();
        let from = place.moved_from();
        self.letters.settle(&mut turn, &from)?;
        if self.letters.moved(&from).is_some() {
            self.finish(place, &from, &mut turn)?;
        }
        let Some((topic, owed)) = place.owed(refused, *most)? else { return Ok(Step::Done) };
        if owed.is_empty() {
            return Ok(Step::Refused);
        }
        let read = place.read_owed(owed)?;
        refused.extend(&read.unreadable);
        if !place.confirm(&read)? || read.obituaries.is_empty() {
            return Ok(Step::More);
        }
        let topic = dead_letter_topic(&self.engine, &topic)?;
        let partitions = topic.partitions();
        let number = place.partition.id().index() % partitions.len().max(1);
        let to = topic.partition(PartitionId::new(u32::try_from(number).unwrap_or(0)))?;
        let mut moved = Moved::default();
        let mut letters = Vec::with_capacity(read.obituaries.len());
        for record in &read.records {
            let at = record.offset().get();
            let Some(obituary) = read.obituaries.get(&at) else { continue };
            moved.runs.set(at, at, ());
            moved.epoch = record.leader_epoch().or(moved.epoch);
            letters.push(obituary.letter(record));
        }
        // only what the state on the device names as open can be laid over by the note
        place.kept.log.make_durable(place.log_partition)?;
        let part = Part { partition: to.clone(), records: letters.clone() };
        match self.letters.publish(&mut turn, vec![part], (&from, moved)) {
            Ok(()) => {
                *most = most.saturating_mul(2).min(MOST);
                self.finish(place, &from, &mut turn)?;
            }
            // there may be room for some of them, and never for all
            Err(failed) if failed.error.kind() == ErrorKind::Full && letters.len() > 1 => {
                *most = letters.len() / 2;
            }
            Err(failed) if failed.part.is_some() && is_of_records(failed.error.kind()) => {
                let offsets = read.obituaries.keys().copied();
                self.blame(&to, offsets.zip(&letters), refused, failed.error)?;
            }
            Err(failed) => return Err(failed.error),
        }
        Ok(Step::More)
    }

    /// Learns which letters their topic does not take.
    fn blame<'a>(
        &self,
        to: &Arc<Partition>,
        letters: impl Iterator<Item = (i64, &'a Record<'a>)>,
        refused: &mut BTreeSet<i64>,
        error: Error,
    ) -> Result<()> {
        let now = self.engine.clock().wall();
        let is_refused = |letter: &Record<'_>| {
            check_record(to, letter, now).is_err_and(|error| is_of_records(error.kind()))
        };
        let known = refused.len();
        refused.extend(letters.filter(|(_, letter)| is_refused(letter)).map(|(at, _)| at));
        if refused.len() == known {
            return Err(error);
        }
        log::error!("{} dead letters are not taken: {error}", refused.len() - known);
        Ok(())
    }

    /// The letters are there: the place's state says so, and then no note of it is needed.
    pub(super) fn finish(&self, place: &Place, from: &MovedFrom, turn: &mut Turn) -> Result<()> {
        let Some(moved) = self.letters.moved(from) else { return Ok(()) };
        place.partition.offsets()?;
        place.finish_buried(&moved)?;
        place.kept.log.make_durable(place.log_partition)?;
        self.letters.forget(turn, std::slice::from_ref(from))
    }

    /// What was noted of a place is taken over by its state, if anything was. Nothing is buried
    /// there until the caller gives the turn back.
    pub(super) fn take_over(&self, place: &Place, turn: &mut Turn) -> Result<()> {
        let from = place.moved_from();
        self.letters.settle(turn, &from)?;
        self.finish(place, &from, turn)
    }
}

impl Due for Burying {
    fn run(&self, now: Duration) -> Option<Duration> {
        self.alarm.ring(now, || {
            self.engine.check_open("run maintenance").ok()?;
            self.step(now)
        })
    }
}

impl Place {
    pub(super) fn moved_from(&self) -> MovedFrom {
        let (topic, partition) = (self.partition.topic_id(), self.partition.id());
        MovedFrom { group: Some(self.group.clone()), topic, partition }
    }

    /// A portion of what is owed, and the topic it goes to; `None` where nothing is, or it is not
    /// to be buried.
    fn owed(&self, refused: &BTreeSet<i64>, most: usize) -> Result<Option<(Arc<str>, Vec<Owed>)>> {
        let now = self.now();
        let mut slot = self.slot.lock();
        let offsets = match self.partition.offsets() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None), // deleted
            offsets => offsets?,
        };
        self.notice_cuts(&mut slot)?;
        slot.state.tick(now.mono);
        let mut lost = Delta::default();
        if offsets.start.get() > slot.state.start() {
            slot.state.plan_log_start(offsets.start.get(), &mut lost);
            self.write(&mut slot, &lost, now)?;
        }
        let Fate::Bury(topic) = slot.fate.clone() else {
            slot.asked = false;
            return Ok(None);
        };
        slot.state.owe_exhausted();
        if slot.state.exhausted_len() == 0 {
            slot.asked = false;
            return Ok(None);
        }
        let state = &slot.state;
        let owed = state.exhausted().filter(|(at, _)| !refused.contains(at)).take(most);
        let owed = owed.map(|(at, open)| Owed { at, open, text: state.texts.get(&at).cloned() });
        Ok(Some((topic, owed.collect())))
    }

    /// Reads what is owed, as far as a portion goes.
    fn read_owed(&self, owed: Vec<Owed>) -> Result<Read> {
        let settings = self.slot.lock().settings;
        let wall = self.engine().clock().wall();
        let limits = FetchLimits {
            bytes: 1 << 20,
            records: u64::MAX,
            durable_only: false,
            isolation: settings.isolation,
        };
        let last = owed.last().map_or(0, |owed| owed.at);
        let until = Some(Offset::new(last + 1));
        let rules = TakeRules { max_records: usize::MAX, until, plain: settings.plain };
        let mut read = Read::default();
        let mut rest = &owed[..];
        let mut bytes = 0;
        while let Some(first) = rest.first().filter(|_| bytes < MOST_BYTES) {
            let from = Offset::new(first.at);
            let mut records = Records::default();
            let next = self.partition.fetch(from, None, limits).and_then(|fetched| {
                let Some(batches) = fetched.batches() else { return Ok(fetched.next_offset) };
                let taken = records.take_in(&self.origin, batches, from, rules);
                let stored = fetched.chunk.as_ref().map_or(0, |chunk| chunk.bytes.len());
                bytes += stored.max(taken.plain_bytes); // in memory they may be many times as large
                match taken.fault {
                    Some((_, fault)) if taken.records == 0 => {
                        Err(Error::new("read dead letter", fault.cause()).at_offset(from))
                    }
                    _ => Ok(taken.next_offset),
                }
            });
            let next = match next {
                // it is of a transaction that is open, and the group reads what is committed by now
                Ok(next) if next <= from => {
                    read.unreadable.push(first.at);
                    rest = &rest[1..];
                    continue;
                }
                Ok(next) => next.get().max(first.at + 1),
                Err(error) if error.is_closed() => return Err(error),
                Err(error) => {
                    let is_damaged = error.is_corrupt();
                    log::error!("a dead letter cannot be made: {}", self.named(error));
                    let list = if is_damaged { &mut read.damaged } else { &mut read.unreadable };
                    list.push(first.at);
                    rest = &rest[1..];
                    continue;
                }
            };
            let (these, behind) = rest.split_at(rest.partition_point(|owed| owed.at < next));
            rest = behind;
            let there: BTreeSet<i64> = records.iter().map(|it| it.offset().get()).collect();
            for owed in these {
                match there.contains(&owed.at) {
                    true => drop(read.obituaries.insert(owed.at, self.obituary(owed, wall))),
                    false => read.lost.push(owed.at),
                }
            }
            read.records.absorb(records);
        }
        Ok(read)
    }

    fn obituary(&self, owed: &Owed, wall: Timestamp) -> Obituary {
        let death = match owed.open.phase {
            Phase::Owed(death) => death,
            _ => Death::Attempts,
        };
        Obituary::new(
            (self.partition.topic_name(), self.partition.topic_id()),
            (self.partition.id(), Offset::new(owed.at)),
            (&self.asks_for(), owed.open.count),
            (death, owed.text.as_ref()),
            wall,
        )
    }

    /// Gives up what is owed and has no record any more, or one that is damaged. `false` where the
    /// log was cut since it was read.
    fn confirm(&self, read: &Read) -> Result<bool> {
        let now = self.now();
        let mut slot = self.slot.lock();
        let mut lost = Delta::default();
        if slot.may_be_cut(&self.partition)? {
            return Ok(false);
        }
        for at in &read.lost {
            lost.done(*at, *at, Finished::Archived);
            lost.lost += 1;
        }
        read.damaged.iter().for_each(|at| lost.done(*at, *at, Finished::Archived));
        if !lost.is_empty() {
            self.write(&mut slot, &lost, now)?;
            self.damaged.add(read.damaged.len() as u64);
            let (settings, ready) = (slot.settings, slot.state.ready_len());
            drop(slot);
            self.wake_for(ready, &settings); // what waited behind them
        }
        Ok(true)
    }

    /// What has become a dead letter is finished.
    fn finish_buried(&self, moved: &Moved) -> Result<()> {
        let now = self.now();
        let mut slot = self.slot.lock();
        self.notice_cuts(&mut slot)?;
        let mut delta = Delta::default();
        for (at, open) in slot.state.exhausted() {
            if matches!(open.phase, Phase::Owed(_)) && moved.runs.get(at).is_some() {
                delta.done(at, at, Finished::Archived);
            }
        }
        self.write(&mut slot, &delta, now)?;
        let count = delta.len() as u64;
        self.archived.add(count);
        self.buried.add(count);
        let (settings, ready) = (slot.settings, slot.state.ready_len());
        drop(slot);
        self.wake_for(ready, &settings); // what waited behind them, and for room
        Ok(())
    }
}
