//! One round over the ready partitions: fetch, take in, note how far.
//!
//! What a round fetches is staged: the slots' positions move only when the stage is handed out, so
//! a poll that is given up loses and skips nothing. The round goes on where the last one stopped:
//! a partition that was read goes to the end of the list, and none starves another. An error is
//! met after the records before it; it goes out by itself, before anything else, and the position
//! is then where it was met. A little behind where a slot stands goes the straight way
//! (`straight`).

use super::assignment::{Position, Slot, Step};
use super::handle::Consumer;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Offset;
use crate::log::{FetchLimits, Fetched, Rest};
use crate::record::{BatchFault, Batches, Records, RecordsOrigin, TakeRules};
use std::sync::Arc;

/// Records that are fetched and not handed out yet.
#[derive(Debug, Default)]
pub(super) struct Stage {
    records: Records,
    bytes: usize,
    /// Slots whose position moves when the stage is handed out.
    touched: Vec<usize>,
    /// The next batch did not fit.
    is_full: bool,
}

impl Stage {
    pub(super) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// All of what was read at the end of a log, from `from` on.
    #[inline(always)] // see `log::rest`
    pub(super) fn take(
        &mut self,
        origin: &Arc<RecordsOrigin>,
        rest: Rest,
        from: Offset,
        touched: Option<usize>,
    ) {
        self.touched.extend(touched);
        self.bytes += rest.bytes.len();
        self.records.take_whole(origin, rest.bytes, from, rest.sound);
    }

    /// What comes again goes out with the rest.
    pub(super) fn add(&mut self, records: Records, bytes: usize) {
        self.records.absorb(records);
        self.bytes += bytes;
    }
}

/// What came of reading a slot once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// There may be more.
    More,
    /// There is more, and no room for it.
    Full,
    /// Nothing is left; the partition will wake us.
    Drained,
}

impl Consumer {
    /// Whether the stage holds as much as one call returns.
    pub(super) fn is_full(&self) -> bool {
        self.stage.is_full
            || self.stage.bytes >= self.options.max_bytes
            || self.stage.records.len() >= self.options.max_records
            || self.filtering.is_over()
    }

    /// Whether the stage is worth returning before its time.
    pub(super) fn is_enough(&self) -> bool {
        let enough = self.stage.bytes >= self.options.min_bytes || self.failed.is_some();
        self.filtering.is_over() || self.stage.has_records() && (enough || self.is_full())
    }

    /// Looks once at everything that is ready. Fails only if nothing is staged.
    pub(super) fn gather(&mut self) -> Result<()> {
        self.engine.check_open("poll")?;
        self.take_changes()?;
        self.look_at_watched();
        self.take_retries()?;
        for _ in 0..self.assignment.turns() {
            if self.is_full() || self.failed.is_some() {
                break;
            }
            let Some(index) = self.assignment.pop() else { break };
            let before = self.stage.records.len();
            let read = match self.read_straight(index) {
                Some(read) => Ok(read),
                None => self.read(index, None),
            };
            self.assignment.charge(self.stage.records.len() - before);
            match read {
                Ok(Read::More) => self.assignment.queue(index),
                Ok(Read::Full) => {
                    self.stage.is_full = true;
                    self.assignment.queue_first(index);
                }
                Ok(Read::Drained) => {}
                Err(error) => self.note_failure(index, error)?,
            }
        }
        Ok(())
    }

    /// An error of one partition: it goes out now, or after what is staged. The partition stays
    /// ready, so that it is met again unless something is done about it.
    fn note_failure(&mut self, index: usize, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::NotFound {
            self.engine.look()?; // another process may have deleted the topic just now
        }
        let gone = self
            .assignment
            .get(index)
            .is_none_or(|slot| self.engine.topic_by_id(slot.partition.topic_id()).is_none());
        if gone && self.is_following() && error.kind() == ErrorKind::NotFound {
            return Ok(()); // off the ready list: the change of the catalog takes it away
        }
        self.assignment.queue(index);
        if !self.stage.has_records() {
            self.move_positions();
            return Err(error);
        }
        self.failed = Some((index, error));
        Ok(())
    }

    /// Reads a slot once, up to `until` if that is given.
    pub(super) fn read(&mut self, index: usize, until: Option<Offset>) -> Result<Read> {
        if !self.assignment.take_near(index) && self.has_moved(index) {
            self.assignment.fetch_near(index);
        }
        self.resolve(index)?;
        if self.is_undecided(index) {
            self.wait_for_decision(index)?;
            if self.is_undecided(index) {
                return Ok(Read::Drained);
            }
        }
        let Some(slot) = self.assignment.get_mut(index) else { return Ok(Read::Drained) };
        slot.learn_epoch().map_err(|error| slot.named(error))?;
        let mut limits = self.limits();
        if let Some(read) = self.pass_over(index, &mut limits) {
            return Ok(read);
        }
        let fetched = match self.fetch(index, limits) {
            Ok(Some(fetched)) => fetched,
            Ok(None) => return Ok(Read::Drained),
            Err(error) if error.kind() == ErrorKind::OffsetOutOfRange => {
                return self.fall_back(index, error);
            }
            Err(error) => {
                return Err(match self.assignment.get(index) {
                    Some(slot) => slot.named(error),
                    None => error,
                });
            }
        };
        let Some(slot) = self.assignment.get_mut(index) else { return Ok(Read::Drained) };
        let Some(from) = slot.next().map(|at| at.offset) else { return Ok(Read::Drained) };
        if let Err(error) = slot.check_cut() {
            return self.follow_truncation(index, error);
        }
        let Some(chunk) = fetched.chunk else {
            // offsets without records: read on behind them. How far, the fetch alone can say: a
            // followed log may have been cut since it was asked for its end
            self.step_over(index, fetched.next_offset);
            return Ok(Read::More);
        };
        let (bytes, aborted) = (chunk.bytes, fetched.aborted);
        let mut batches = Batches { bytes, aborted, sound: chunk.sound };
        let bytes = &mut batches.bytes;
        let position = chunk.next_position.saturating_sub(bytes.len() as u64);
        if self.stage.bytes > 0 && self.stage.bytes + bytes.len() > self.options.max_bytes {
            return Ok(Read::Full);
        }
        if let Some(until) = until
            && fetched.next_offset > until
        {
            bytes.truncate(len_below(bytes, until));
            batches.sound = None; // that was all of it
            if bytes.is_empty() {
                self.step_over(index, until.max(from));
                return Ok(Read::More);
            }
        }
        self.take_in(index, (batches, position), (fetched.next_offset, fetched.cursor))
    }

    /// How many records and bytes may still be staged.
    #[inline]
    pub(super) fn room(&self) -> (usize, usize) {
        let records = self.options.max_records.saturating_sub(self.stage.records.len());
        (records, self.options.max_bytes.saturating_sub(self.stage.bytes).max(1))
    }

    /// How much there is room for. How many records of it a filter will want, nobody knows.
    #[inline]
    pub(super) fn limits(&self) -> FetchLimits {
        let (records, bytes) = self.room();
        let left = match self.filtering.filter {
            Some(_) => u64::MAX,
            None => records as u64,
        };
        FetchLimits {
            bytes,
            records: self.assignment.most().unwrap_or(u64::MAX).min(left),
            durable_only: self.options.durable_only,
            isolation: self.options.isolation,
        }
    }

    /// What there is at a slot's position. Where that is the end there is nothing, and what comes
    /// will wake us: the slot is armed and looked at once more, or watched by who spins.
    #[inline(always)] // what is fetched is large, and moved at each return that is left
    fn fetch(&mut self, index: usize, limits: FetchLimits) -> Result<Option<Fetched>> {
        let Some(slot) = self.assignment.get(index) else { return Ok(None) };
        let Some(at) = slot.next() else { return Ok(None) };
        let is_nothing = |fetched: &Fetched| {
            fetched.chunk.is_none() && fetched.next_offset == at.offset && !fetched.is_outrun
        };
        let fetched = self.fetch_of(slot, at, limits)?;
        if !is_nothing(&fetched) {
            return Ok(Some(fetched));
        }
        // a bound within a batch lies above a reader that finds nothing: it would seem to move for
        // ever
        if self.assignment.may_watch(slot) && !self.has_moved(index) {
            self.assignment.watch(index);
            return Ok(None);
        }
        self.assignment.arm(index);
        let fetched = self.fetch_of(slot, at, limits)?;
        Ok(Some(fetched).filter(|fetched| !is_nothing(fetched)))
    }

    fn fetch_of(&self, slot: &Slot, at: &Position, limits: FetchLimits) -> Result<Fetched> {
        if slot.partition.followed().is_some() && self.is_at_end(slot, at.offset)? {
            return Ok(Fetched::nothing(at.offset, None));
        }
        slot.partition.fetch(at.offset, at.cursor.as_ref(), limits)
    }

    /// Whether there is nothing at `from` yet. An offset beyond the end is not at it.
    fn is_at_end(&self, slot: &Slot, from: Offset) -> Result<bool> {
        let bound = self.bound(slot)?;
        Ok(from >= bound && from <= slot.partition.offsets()?.end)
    }

    /// Stages what was fetched of a slot.
    fn take_in(
        &mut self,
        index: usize,
        (batches, position): (Batches, u64),
        (next_offset, cursor): (Offset, Option<crate::log::Cursor>),
    ) -> Result<Read> {
        let Some(slot) = self.assignment.get_mut(index) else { return Ok(Read::Drained) };
        let Some((from, epoch)) = slot.next().map(|at| (at.offset, at.epoch)) else {
            return Ok(Read::Drained);
        };
        let (is_filtered, mut fetched) = (self.filtering.filter.is_some(), Records::default());
        let (records, max_records) = match is_filtered {
            true => (&mut fetched, usize::MAX),
            false => {
                let room = self.options.max_records - self.stage.records.len();
                (&mut self.stage.records, room)
            }
        };
        let rules = TakeRules { max_records, until: None, plain: self.options.plain };
        let mut size = batches.bytes.len();
        let mut taken = records.take_in(&slot.origin, batches, from, rules);
        if taken.next_offset == from
            && let Some((at, fault)) = taken.fault.take()
        {
            return Err(slot.named(fault_error(fault, position + at as u64, from)));
        }
        size = size.max(taken.plain_bytes);
        if is_filtered {
            let (chosen, bytes) = self.choose(index, (fetched, &mut taken), size);
            self.stage.records.absorb(chosen);
            size = bytes;
        }
        if taken.records > 0 {
            self.stage.bytes += size;
            if let Some(slot) = self.assignment.get(index) {
                slot.partition.note_reads(taken.records as u64);
            }
        }
        let cursor = cursor.filter(|_| taken.next_offset == next_offset);
        let position = Position { offset: taken.next_offset, epoch: taken.epoch.or(epoch), cursor };
        // what a filter leaves out is done with
        let step = if taken.records > 0 || is_filtered { Step::Records } else { Step::Empty };
        self.go_ahead(index, position, step);
        Ok(Read::More)
    }

    /// Stages a step over offsets that have no records.
    fn step_over(&mut self, index: usize, offset: Offset) {
        let Some(slot) = self.assignment.get(index) else { return };
        let Some(cursor) = slot.next().map(|at| at.cursor.clone()) else { return };
        let epoch = slot.partition.epoch_before(offset).ok().flatten(); // others may end on the way
        let position = Position { offset, epoch, cursor };
        self.go_ahead(index, position, Step::Empty);
    }

    pub(super) fn go_ahead(&mut self, index: usize, position: Position, step: Step) {
        let Some(slot) = self.assignment.get_mut(index) else { return };
        if slot.go_ahead(position, step) {
            self.stage.touched.push(index);
        }
    }

    /// The position lies outside the log: the policy says where to go on.
    fn fall_back(&mut self, index: usize, error: Error) -> Result<Read> {
        let Some(slot) = self.assignment.get_mut(index) else { return Ok(Read::Drained) };
        if let Err(cut) = slot.check_cut() {
            return self.follow_truncation(index, cut); // it says from where on
        }
        let Some(slot) = self.assignment.get(index) else { return Ok(Read::Drained) };
        let truncated = error.available().zip(error.offset());
        let truncated = truncated.is_some_and(|((_, end), requested)| requested > end);
        let offset = match self.after_out_of_range(slot, error) {
            Ok(offset) => offset,
            Err(error) => return Err(slot.named(error)),
        };
        let position = Position { offset, epoch: None, cursor: None };
        self.go_ahead(index, position, Step::Jump);
        if let Some(slot) = self.assignment.get_mut(index) {
            slot.truncated |= truncated;
        }
        Ok(Read::More)
    }

    /// The log was cut below the position, by its host or by another process: what is there now is
    /// something else, and the policy says where to go on.
    fn follow_truncation(&mut self, index: usize, error: Error) -> Result<Read> {
        let Some(slot) = self.assignment.get(index) else { return Ok(Read::Drained) };
        let offset = self.after_truncation(slot, error).map_err(|error| slot.named(error))?;
        self.go_ahead(index, Position { offset, epoch: None, cursor: None }, Step::Jump);
        if let Some(slot) = self.assignment.get_mut(index) {
            slot.truncated = true;
        }
        Ok(Read::More)
    }

    /// Hands out the stage: only now the positions move.
    pub(super) fn hand_out(&mut self) -> Records {
        self.move_positions();
        self.retrying.hand_out();
        (self.stage.bytes, self.stage.is_full) = (0, false);
        let records = std::mem::take(&mut self.stage.records);
        self.tally.records.add_alone(records.len() as u64);
        records
    }

    /// Moves the positions behind what is staged. Also before an error goes out and no record
    /// does: it is met behind markers and what was aborted, and dealt with where it was met.
    pub(super) fn move_positions(&mut self) {
        self.filtering.hand_out();
        for index in self.stage.touched.drain(..) {
            if let Some(slot) = self.assignment.get_mut(index) {
                slot.hand_out();
            }
        }
    }

    /// Drops the stage if it holds something of this slot, and what failed there: it is moved by
    /// hand. Everything dropped is fetched again.
    pub(super) fn forget_fetched_of(&mut self, index: usize) {
        if self.failed.as_ref().is_some_and(|(failed, _)| *failed == index) {
            self.failed = None;
        }
        if self.stage.touched.contains(&index) || self.retrying.is_staged(index) {
            self.forget_fetched();
        }
    }

    /// Drops the stage.
    pub(super) fn forget_fetched(&mut self) {
        let stage = std::mem::take(&mut self.stage);
        self.filtering.forget();
        self.retrying.forget_staged();
        for index in stage.touched {
            if let Some(slot) = self.assignment.get_mut(index) {
                slot.ahead = None;
            }
            self.assignment.queue(index);
        }
    }
}

/// The error of a batch whose checksum fits and that cannot be lent all the same.
fn fault_error(fault: BatchFault, position: u64, offset: Offset) -> Error {
    Error::new("poll", fault.cause()).at_position(position).at_offset(offset)
}

/// How many of the bytes are batches that begin below `until`.
fn len_below(bytes: &[u8], until: Offset) -> usize {
    let mut len = 0;
    while let Ok(header) = crate::record::BatchHeader::parse(&bytes[len..], usize::MAX)
        && header.base_offset() < until
        && len + header.size() <= bytes.len()
    {
        len += header.size();
    }
    len
}
