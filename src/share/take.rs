//! Taking: records that came back first, in the order of their offsets, then new ones.
//!
//! A take is one change: what it leases, with how often, is in the log before it is handed out, so
//! that a record that ends the process each time it is tried is counted all the same. That append
//! is not synced: a power cut may forget a count, never a record.
//!
//! Offsets without a record (markers, what compaction took, what a transaction aborted) are
//! archived on the way; so is what the log has lost, and counted. Called by consumers.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::change::{Delta, Open};
use super::damage::{Damage, Unread};
use super::deliveries::{Finished, LeaseId, Move, Moved, Phase};
use super::place::{Place, Slot};
use super::settings::{Intake, MOST_OPEN};
use super::sieve::Sifted;
use crate::config::IsolationLevel;
use crate::error::Result;
use crate::ids::Offset;
use crate::log::{Cursor, FetchLimits};
use crate::record::{Batches, Records, TakeRules};

/// How much one take may bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakeRequest {
    pub(crate) lease: LeaseId,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    pub(crate) max_records: usize,
    pub(crate) max_bytes: usize,
}

/// What there is to say of one record that was handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakenNote {
    /// How often it was handed out, this time too.
    pub(crate) count: u16,
}

/// A take under way.
pub(super) struct Taking<'a> {
    place: &'a Place,
    request: TakeRequest,
    step: Move,
    phase: Phase,
    pub(super) delta: Delta,
    pub(super) damage: Option<Damage>,
    records: Records,
    notes: Vec<TakenNote>,
    bytes: usize,
    room: usize,
    isolation: IsolationLevel,
    rules: TakeRules,
    pub(super) cursor: Option<Cursor>,
}

impl Place {
    /// Leases records; none where there are none now. Never waits. Returns when the lease ends, on
    /// the monotonic clock. On an error nothing is leased.
    pub(crate) fn take(
        &self,
        request: TakeRequest,
        out: &mut Records,
        notes: &mut Vec<TakenNote>,
    ) -> Result<Duration> {
        let now = self.now();
        let deadline = now.mono.saturating_add(request.lasts);
        let mut slot = self.slot.lock();
        self.notice_cuts(&mut slot)?;
        self.settle_time(&mut slot, now)?;
        if slot.lacks_keys {
            self.learn_keys(&mut slot)?;
        }
        let room = slot.settings.max_in_flight.saturating_sub(slot.state.leased_len());
        let rules = TakeRules { max_records: usize::MAX, until: None, plain: slot.settings.plain };
        let mut taking = Taking {
            place: self,
            request,
            step: Move::Take { lease: request.lease, deadline },
            phase: Phase::Leased { lease: request.lease, deadline },
            delta: Delta::default(),
            damage: None,
            records: Records::default(),
            notes: Vec::new(),
            bytes: 0,
            room: room.min(request.max_records),
            isolation: slot.settings.isolation,
            rules,
            cursor: slot.cursor.clone(),
        };
        let log_start = self.partition.offsets()?.start.get();
        if log_start > slot.state.start() {
            slot.state.plan_log_start(log_start, &mut taking.delta);
            self.write(&mut slot, &std::mem::take(&mut taking.delta), now)?;
        }
        if slot.is_stopped() {
            return Ok(deadline);
        }
        taking.take_again(&slot)?;
        if slot.settings.intake == Intake::Log && taking.damage.is_none() {
            taking.take_new(&slot)?;
        }
        if slot.may_be_cut(&self.partition)? {
            return Ok(deadline); // cut meanwhile: the next look sees what is there
        }
        let Taking { delta, damage, records, notes: taken, cursor, .. } = taking;
        if !delta.is_empty() {
            self.write(&mut slot, &delta, now)?;
        }
        slot.cursor = cursor;
        self.show(&mut slot);
        drop(slot);
        if let Some(Damage { records, error }) = damage {
            self.damaged.add(records);
            log::error!("group `{}` goes on behind {records} records: {error}", self.group);
            return Err(error);
        }
        self.partition.note_reads(records.len() as u64);
        out.absorb(records);
        notes.extend(taken);
        Ok(deadline)
    }

    /// Reads the keys of what an earlier life left open, and little else. What is damaged keeps
    /// none: the take that comes to it says so.
    fn learn_keys(&self, slot: &mut Slot) -> Result<()> {
        let wanted: BTreeSet<i64> = slot.state.open_offsets().into_iter().collect();
        let mut keys = Vec::with_capacity(wanted.len());
        let rules = TakeRules { max_records: usize::MAX, until: None, plain: slot.settings.plain };
        let limits = FetchLimits {
            bytes: 64 << 10,
            records: u64::MAX,
            durable_only: false,
            isolation: slot.settings.isolation,
        };
        let (mut from, mut cursor) = (self.partition.offsets()?.start, None);
        while let Some(next) = wanted.range(from.get()..).next().copied() {
            from = Offset::new(next);
            let fetched = match self.partition.fetch(from, cursor.as_ref(), limits) {
                Err(error) if error.is_corrupt() => {
                    (from, cursor) = (self.partition.resume_above(from)?.max(from.next()), None);
                    continue;
                }
                fetched => fetched?,
            };
            let Some(batches) = fetched.batches() else { break };
            let mut records = Records::default();
            let taken = records.take_in(&self.origin, batches.clone(), from, rules);
            for record in &records {
                let offset = record.offset().get();
                if let Some(key) = record.key().filter(|_| wanted.contains(&offset)) {
                    keys.push((offset, hash_of(key)));
                }
            }
            if let Some((at, _)) = taken.fault {
                let behind = batches.header_at(at).map(|header| header.end_offset());
                (from, cursor) = (behind.unwrap_or(from).max(from.next()), None);
                continue;
            }
            from = taken.next_offset;
            cursor = fetched.cursor.filter(|_| from == fetched.next_offset);
        }
        slot.state.learn_keys(&keys);
        slot.lacks_keys = false;
        Ok(())
    }
}

impl Taking<'_> {
    pub(super) fn has_some(&self) -> bool {
        !self.notes.is_empty()
    }

    fn is_full(&self) -> bool {
        self.notes.len() >= self.room || self.bytes >= self.request.max_bytes
    }

    fn limits(&self, records: usize) -> FetchLimits {
        FetchLimits {
            bytes: self.request.max_bytes.saturating_sub(self.bytes).max(1),
            records: records as u64,
            durable_only: false,
            isolation: self.isolation,
        }
    }

    /// Takes in the records of `batches` in a range of offsets, as many as are wanted.
    fn read(
        &self,
        batches: Batches,
        from: i64,
        until: Option<i64>,
        most: usize,
    ) -> Result<(Records, Offset), Unread> {
        let rules = TakeRules { max_records: most, until: until.map(Offset::new), ..self.rules };
        let mut records = Records::default();
        let from = Offset::new(from);
        let mut taken = records.take_in(&self.place.origin, batches.clone(), from, rules);
        if let Some(unread) = self.place.untaken(&batches, &mut taken) {
            return Err(unread);
        }
        Ok((records, taken.next_offset))
    }

    /// Records that were handed out before and have come back.
    fn take_again(&mut self, slot: &Slot) -> Result<()> {
        let ready = slot.state.ready(self.room);
        let mut rest = &ready[..];
        while let Some((first, _)) = rest.first().copied() {
            if self.is_full() || self.damage.is_some() {
                return Ok(());
            }
            let run = rest.iter().zip(first..).take_while(|((at, _), next)| at == next).count();
            let (run, behind) = rest.split_at(run);
            let last = run.last().map_or(first, |(at, _)| *at);
            rest = behind;
            self.take_run(run, first, last)?;
        }
        Ok(())
    }

    /// A run of neighbours; what of it has no record any more is lost.
    fn take_run(&mut self, run: &[(i64, Open)], first: i64, last: i64) -> Result<()> {
        let mut from = first;
        let mut cursor = None;
        while from <= last && !self.is_full() {
            let left = usize::try_from(last - from + 1).unwrap_or(usize::MAX);
            let fetched =
                self.place.partition.fetch(Offset::new(from), cursor.as_ref(), self.limits(left));
            let owed = || run.iter().map(|(at, _)| *at);
            let fetched = match fetched {
                Ok(fetched) => fetched,
                Err(error) => {
                    let unread = self.place.unfetched(from, error);
                    return self.pass_damage_of(owed(), from, unread);
                }
            };
            let next = match fetched.batches() {
                None => fetched.next_offset.get().max(last + 1),
                Some(batches) => {
                    let most = self.room - self.notes.len();
                    let (records, next) = match self.read(batches, from, Some(last + 1), most) {
                        Ok(read) => read,
                        Err(unread) => return self.pass_damage_of(owed(), from, unread),
                    };
                    let next = next.get().min(last + 1).max(from);
                    self.lease_again(run, &records, from, next);
                    self.records.absorb(records);
                    if next == from { last + 1 } else { next }
                }
            };
            cursor = fetched.cursor.filter(|_| fetched.next_offset.get() == next);
            from = next;
        }
        Ok(())
    }

    fn lease_again(&mut self, run: &[(i64, Open)], records: &Records, from: i64, next: i64) {
        let mut expected = from;
        for record in records {
            let at = record.offset().get();
            self.lose(expected, at);
            expected = at + 1;
            let open = usize::try_from(at - run[0].0).ok().and_then(|index| run.get(index));
            let Some((_, open)) = open else { continue };
            let count = open.count.saturating_add(1);
            let Ok(Moved::To(phase)) = open.phase.after(self.step, open.count, u16::MAX) else {
                continue; // only what is available is listed as ready
            };
            self.delta.open(at, Open { count, phase, key: open.key });
            self.notes.push(TakenNote { count });
            self.bytes += size_of(record.key(), record.value());
        }
        self.lose(expected, next);
    }

    /// Offsets that were owed and have no record.
    fn lose(&mut self, from: i64, to: i64) {
        for at in from..to {
            self.delta.done(at, at, Finished::Archived);
            self.delta.lost += 1;
        }
    }

    /// Records that nobody was given yet.
    fn take_new(&mut self, slot: &Slot) -> Result<()> {
        let mut next = slot.state.end();
        let mut open = slot.state.open_len();
        while !self.is_full() && open < MOST_OPEN {
            let bound = self.place.partition.offsets()?.bound(self.isolation).get();
            let until = match slot.sieve.as_ref().map_or(Sifted::All, |sieve| sieve.at(next)) {
                Sifted::All => None,
                Sifted::Wanted { until } => Some(until.min(bound)),
                Sifted::Blocked => return self.meet_damage(next),
                Sifted::Unwanted { end } => {
                    self.pass_over(next, end);
                    next = end;
                    continue;
                }
            };
            if next >= until.unwrap_or(bound) {
                break;
            }
            let left = until.map_or(usize::MAX, |until| width(next, until));
            let limits = self.limits((self.room - self.notes.len()).min(left));
            let from = Offset::new(next);
            let fetched = match self.place.partition.fetch(from, self.cursor.as_ref(), limits) {
                Ok(fetched) => fetched,
                Err(error) => {
                    let unread = self.place.unfetched(next, error);
                    return self.pass_damage(next, unread);
                }
            };
            let Some(batches) = fetched.batches() else {
                let behind = fetched.next_offset.get();
                if behind <= next {
                    break;
                }
                self.pass_over(next, behind);
                next = behind;
                continue;
            };
            let most = if slot.settings.ordered {
                MOST_OPEN - open
            } else {
                (self.room - self.notes.len()).min(MOST_OPEN - open)
            };
            let (records, behind) = match self.read(batches.clone(), next, until, most) {
                Ok(read) => read,
                Err(unread) => return self.pass_damage(next, unread),
            };
            let behind = until.map_or(behind.get(), |until| behind.get().min(until));
            if behind <= next {
                break; // the log was cut meanwhile
            }
            self.delta.epoch =
                records.iter().last().and_then(|it| it.leader_epoch()).or(self.delta.epoch);
            open += records.len();
            if slot.settings.ordered {
                next = self.lease_in_order(slot, &batches, &records, (next, behind))?;
            } else {
                self.lease_new(&records, next, behind);
                self.records.absorb(records);
                next = behind;
            }
            self.cursor = fetched.cursor.filter(|_| fetched.next_offset.get() == next);
            self.delta.end = Some(next);
        }
        Ok(())
    }

    /// Damage that kept the filter from being asked.
    fn meet_damage(&mut self, from: i64) -> Result<()> {
        let fetched = self.place.partition.fetch(Offset::new(from), None, self.limits(1));
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                let unread = self.place.unfetched(from, error);
                return self.pass_damage(from, unread);
            }
        };
        let Some(batches) = fetched.batches() else { return Ok(()) };
        match self.read(batches, from, None, 1) {
            Ok(_) => Ok(()), // it can be read again
            Err(unread) => self.pass_damage(from, unread),
        }
    }

    /// Offsets that are not for anybody.
    fn pass_over(&mut self, from: i64, to: i64) {
        self.delta.done(from, to - 1, Finished::Archived);
        self.delta.end = Some(to);
    }

    fn lease_new(&mut self, records: &Records, from: i64, next: i64) {
        let mut expected = from;
        for record in records {
            let at = record.offset().get();
            self.delta.done(expected, at - 1, Finished::Archived);
            expected = at + 1;
            self.delta.open(at, Open { count: 1, phase: self.phase, key: None });
            self.notes.push(TakenNote { count: 1 });
            self.bytes += size_of(record.key(), record.value());
        }
        self.delta.done(expected, next - 1, Finished::Archived);
    }

    /// The same where a key's records go one after the other: those behind an open one wait.
    /// Returns how far it went.
    fn lease_in_order(
        &mut self,
        slot: &Slot,
        batches: &Batches,
        records: &Records,
        (from, next): (i64, i64),
    ) -> Result<i64> {
        let mut seen: HashSet<u64> = HashSet::new();
        for (_, _, to) in &self.delta.changes {
            if let super::change::To::Open(Open { key: Some(key), .. }) = to {
                seen.insert(*key);
            }
        }
        let mut expected = from;
        let mut wanted: Vec<i64> = Vec::new();
        for record in records {
            let at = record.offset().get();
            if self.is_full() {
                break;
            }
            self.delta.done(expected, at - 1, Finished::Archived);
            expected = at + 1;
            let key = record.key().map(hash_of);
            let waits = key.is_some_and(|key| !seen.insert(key) || slot.state.has_key(key));
            if waits {
                self.delta.open(at, Open { count: 0, phase: Phase::Behind, key });
                continue;
            }
            self.delta.open(at, Open { count: 1, phase: self.phase, key });
            self.notes.push(TakenNote { count: 1 });
            self.bytes += size_of(record.key(), record.value());
            wanted.push(at);
        }
        let ended = if self.is_full() { expected } else { next };
        self.delta.done(expected, ended - 1, Finished::Archived);
        let mut rest = &wanted[..];
        while let Some(first) = rest.first().copied() {
            let run = rest.iter().zip(first..).take_while(|(at, next)| **at == *next).count();
            let (run, behind) = rest.split_at(run);
            let until = run.last().map_or(first, |last| *last) + 1;
            rest = behind;
            let read = self.read(batches.clone(), first, Some(until), usize::MAX);
            let (records, _) = read.map_err(|unread| unread.error)?;
            self.records.absorb(records);
        }
        Ok(ended)
    }
}

fn width(from: i64, to: i64) -> usize {
    usize::try_from(to - from).unwrap_or(0)
}

fn size_of(key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + 16
}

/// Keys of one hash are taken for one: records may wait for one another without need, never
/// overtake.
fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
