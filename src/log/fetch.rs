//! Reading: one snapshot of the offsets and of the segment list, then no lock at all.
//!
//! A read begins at an offset that need not exist: gaps and emptied segments are stepped over. It
//! returns whole, checked batches, at least one where there is any below the bound, however large.
//! A [`Cursor`] remembers where the next read begins, so that reading on needs no index.
//!
//! Compaction replaces segments: a read during which that happened is done again over the new
//! list, whatever it came to, for the files it read may have got other names meanwhile. So a read
//! is wholly of before or wholly of after.

use super::core::PartitionLog;
use super::offsets::OffsetSnapshot;
use crate::config::IsolationLevel;
use crate::disk::Near;
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{BatchFault, Batches};
use crate::segment::{Chunk, Limits, NEXT_LINES, Segment};
use crate::sync::atomic::Ordering;
use std::sync::Arc;

/// How much a fetch may return, whole batches as they come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchLimits {
    /// Bytes; one batch is returned even if it is larger.
    pub(crate) bytes: usize,
    /// Records, as a soft bound: the batch that reaches it is the last.
    pub(crate) records: u64,
    /// Only what a sync has covered.
    pub(crate) durable_only: bool,
    pub(crate) isolation: IsolationLevel,
}

impl FetchLimits {
    /// What a reader asks for to whom everything is shown.
    pub(super) fn all(bytes: usize) -> Self {
        let isolation = IsolationLevel::ReadUncommitted;
        FetchLimits { bytes, records: u64::MAX, durable_only: false, isolation }
    }

    /// As far as a reader with these limits sees.
    pub(crate) fn bound(&self, offsets: &OffsetSnapshot) -> Offset {
        let bound = offsets.bound(self.isolation);
        if self.durable_only { bound.min(offsets.durable) } else { bound }
    }
}

/// Where a sequential reader goes on.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub(super) segment: Arc<Segment>,
    pub(super) position: u64,
    pub(super) offset: Offset,
    pub(super) era: Era,
    /// Where the next segment begins, which no batch of this one reaches beyond.
    pub(super) until: Option<Offset>,
    /// Of the bytes behind what was read, if those were mapped; else of what lies behind a buffer.
    pub(super) near: Near,
}

impl Cursor {
    /// At the end of a segment, which is at `offset`.
    pub(super) fn at_end(segment: Arc<Segment>, offset: Offset) -> Self {
        let (position, era, until) = (segment.published(), Era::NONE, None);
        Cursor { segment, position, offset, era, until, near: Near::default() }
    }

    /// Has what a read looks at fetched: the lines come over from the writer's processor, all at
    /// once and not each behind the one before. For who knows that there is something: it would
    /// take from the writer what that is about to store into.
    #[inline]
    pub(crate) fn fetch_near(&self) {
        self.segment.fetch_near();
        self.near.fetch_lines::<NEXT_LINES>();
    }

    #[cfg(test)]
    pub(super) fn near(&self) -> Near {
        self.near
    }
}

/// Between two of them segments were replaced or offsets fell: how often each has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era {
    swaps: u64,
    falls: u64,
}

impl Era {
    /// Whoever stands in it looks for its place anew.
    pub(super) const NONE: Era = Era { swaps: u64::MAX, falls: u64::MAX };
}

/// What a fetch found.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// Whole batches, the first of which holds the offset asked for or lies above it; `None`
    /// where there is nothing to read yet.
    pub(crate) chunk: Option<Chunk>,
    /// Where the next read begins: behind what was fetched, or behind a gap.
    pub(crate) next_offset: Offset,
    pub(crate) cursor: Option<Cursor>,
    /// The base offsets of the batches that no reader of the isolation level is to see, in order.
    pub(crate) aborted: Vec<Offset>,
    /// The writer of a followed log removes its files faster than they can be opened: there may be
    /// something all the same.
    pub(crate) is_outrun: bool,
}

impl Fetched {
    /// Nothing; the next read begins at `next_offset`.
    pub(crate) fn nothing(next_offset: Offset, cursor: Option<&Cursor>) -> Self {
        let (cursor, aborted) = (cursor.cloned(), Vec::new());
        Fetched { chunk: None, next_offset, cursor, aborted, is_outrun: false }
    }

    /// What of it may be handed out.
    pub(crate) fn batches(&self) -> Option<Batches> {
        let chunk = self.chunk.as_ref()?;
        let (bytes, aborted) = (chunk.bytes.clone(), self.aborted.clone());
        Some(Batches { bytes, aborted, sound: chunk.sound })
    }

    pub(super) fn of(segment: &Arc<Segment>, chunk: Chunk) -> Self {
        let next_offset = chunk.next_offset;
        let (segment, position) = (segment.clone(), chunk.next_position);
        let (era, until, near) = (Era::NONE, None, Near::behind(&chunk.bytes));
        let cursor = Cursor { segment, position, offset: next_offset, era, until, near };
        let (chunk, cursor, aborted) = (Some(chunk), Some(cursor), Vec::new());
        Fetched { chunk, next_offset, cursor, aborted, is_outrun: false }
    }
}

/// The segments that may hold `from` or what comes after it.
pub(super) fn segments_from(segments: &[Arc<Segment>], from: Offset) -> &[Arc<Segment>] {
    let first = segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
    &segments[first.min(segments.len())..]
}

/// Where the batch begins that a bound below the end lies within, behind `from`, if it does.
pub(super) fn base_below(
    segments: &[Arc<Segment>],
    from: Offset,
    (bound, end): (Offset, Offset),
) -> Result<Option<Offset>> {
    if bound == end {
        return Ok(None);
    }
    let limits = Limits { bytes: 1, records: 1, bound: end, gapless_from: None };
    for segment in segments_from(segments, from) {
        if let Some(chunk) = segment.read(from.max(segment.base()), None, limits)? {
            return Ok(Some(chunk.first_offset).filter(|base| *base < bound));
        }
    }
    Ok(None)
}

/// Where `from` lies in a segment, if the last read ended right before it.
pub(super) fn hint(cursor: Option<&Cursor>, segment: &Arc<Segment>, from: Offset) -> Option<u64> {
    cursor
        .filter(|cursor| cursor.offset == from && Arc::ptr_eq(&cursor.segment, segment))
        .map(|cursor| cursor.position)
}

/// Reads a segment that is followed by `next`. A batch that says it reaches beyond where that one
/// begins, whatever its checksum says, would hide what really lies there.
fn read_before(
    segment: &Segment,
    from: Offset,
    hint: Option<u64>,
    limits: Limits,
    next: Option<&Arc<Segment>>,
) -> Result<Option<Chunk>> {
    let from = from.max(segment.base());
    let read = segment.read(from, hint, limits)?;
    let beyond = |chunk: &Chunk| next.filter(|next| chunk.next_offset > next.base());
    let Some((chunk, next)) = read.as_ref().and_then(|chunk| Some((chunk, beyond(chunk)?))) else {
        return Ok(read);
    };
    let all = Limits { bytes: 1, records: 1, bound: Offset::new(i64::MAX), gapless_from: None };
    let first = next.read(next.base(), None, all).ok().flatten().map(|chunk| chunk.first_offset);
    if first.is_none_or(|first| chunk.next_offset <= first) {
        return Ok(read); // it holds less than its name says, or nothing that can be read
    }
    let before = Limits { bound: next.base().min(limits.bound), ..limits };
    match segment.read(from, hint, before)? {
        Some(chunk) => Ok(Some(chunk)),
        None => {
            let why =
                format!("a batch reaches into the next file, which begins at {}", next.base());
            let position = chunk.next_position - chunk.bytes.len() as u64;
            Err(Error::corrupt("read", &segment.path(), position, why).at_offset(from))
        }
    }
}

impl PartitionLog {
    /// Reads from `from` on. At the end of the log that is nothing, not an error.
    pub(crate) fn fetch(
        &self,
        from: Offset,
        cursor: Option<&Cursor>,
        limits: FetchLimits,
    ) -> Result<Fetched> {
        if let Some(cursor) = cursor.filter(|cursor| cursor.offset == from)
            && let Some(fetched) = self.fetch_on(cursor, limits)?
        {
            return Ok(fetched);
        }
        let era = self.era();
        let mut fetched = self.over_segments(|segments, offsets| {
            let bound = limits.bound(&offsets);
            self.fetch_from((segments, offsets), from, cursor, (limits, bound))
        })?;
        // a cursor that was only handed back may stand in a segment of before
        if let Some(cursor) = fetched.cursor.as_mut().filter(|_| fetched.chunk.is_some()) {
            cursor.era = era;
        }
        Ok(fetched)
    }

    pub(super) fn era(&self) -> Era {
        Era { swaps: self.swaps.load(Ordering::Acquire), falls: self.offsets.falls() }
    }

    /// Reads on in the segment a cursor stands in, which nothing has touched since: it needs no
    /// list. `None` where that segment ends, or anything else has to be found out.
    #[inline(always)] // what is fetched is large, and moved at each return that is left
    fn fetch_on(&self, cursor: &Cursor, limits: FetchLimits) -> Result<Option<Fetched>> {
        let (from, era) = (cursor.offset, self.era());
        if cursor.era != era {
            return Ok(None);
        }
        let offsets = self.offsets.snapshot();
        let bound = limits.bound(&offsets);
        if from < offsets.start || from >= bound {
            let is_end = offsets.start <= from && from <= offsets.end && from >= bound;
            return Ok((is_end && era == self.era()).then(|| Fetched::nothing(from, None)));
        }
        let gapless_from = self.gapless.then_some(offsets.gapless_from());
        let FetchLimits { bytes, records, .. } = limits;
        let wanted = Limits { bytes, records, bound, gapless_from };
        let Ok(Some(chunk)) = cursor.segment.read(from, Some(cursor.position), wanted) else {
            return Ok(None); // with an error the list may have another segment by now
        };
        if cursor.until.is_some_and(|until| chunk.next_offset > until) {
            return Ok(None);
        }
        let first = chunk.first_offset;
        let mut fetched = self.found(&cursor.segment, chunk, limits.isolation);
        // after the look at what was aborted, which is forgotten once its segment has gone
        if from < self.offsets.start() || era != self.era() {
            return Ok(None);
        }
        self.check_gap(from, first)?;
        if let Some(fresh) = &mut fetched.cursor {
            (fresh.era, fresh.until) = (era, cursor.until);
        }
        Ok(Some(fetched))
    }

    /// What a read of a segment has brought.
    #[inline(always)] // as above
    fn found(&self, segment: &Arc<Segment>, chunk: Chunk, isolation: IsolationLevel) -> Fetched {
        self.counters.fetched.bytes.add(chunk.bytes.len() as u64);
        let aborted = self.aborted_in(&chunk, isolation);
        Fetched { aborted, ..Fetched::of(segment, chunk) }
    }

    /// The same to the end, whatever the high watermark and transactions say: for who replicates
    /// the log, and for the log itself.
    pub(crate) fn fetch_all(
        &self,
        from: Offset,
        cursor: Option<&Cursor>,
        bytes: usize,
    ) -> Result<Fetched> {
        let limits = FetchLimits::all(bytes);
        self.over_segments(|segments, offsets| {
            self.fetch_from((segments, offsets), from, cursor, (limits, offsets.end))
        })
    }

    /// Runs `look` over the segments, again if some were replaced meanwhile. The offsets are those
    /// of a moment before the list was loaded: a list that is older would lack segments below the
    /// end, and what they hold would seem to be missing.
    pub(super) fn over_segments<T>(
        &self,
        look: impl Fn(&[Arc<Segment>], OffsetSnapshot) -> Result<T>,
    ) -> Result<T> {
        loop {
            let swaps = self.swaps.load(Ordering::Acquire); // before the list: it is stored first
            let falls = self.offsets.falls();
            let offsets = self.offsets.snapshot();
            let seen = look(&self.segments.load(), offsets);
            let are_the_same = falls == self.offsets.falls();
            let now = self.swaps.load(Ordering::Acquire);
            if seen.is_err() && !now.is_multiple_of(2) {
                drop(self.trimming.lock()); // files are being cut off: look again after that
            } else if are_the_same && swaps == now {
                return seen;
            }
        }
    }

    fn fetch_from(
        &self,
        (segments, offsets): (&[Arc<Segment>], OffsetSnapshot),
        from: Offset,
        cursor: Option<&Cursor>,
        (limits, bound): (FetchLimits, Offset),
    ) -> Result<Fetched> {
        if from < offsets.start || from > offsets.end {
            return Err(self.out_of_range("read", from));
        }
        if from >= bound {
            return Ok(Fetched::nothing(from, cursor));
        }
        let gapless_from = self.gapless.then_some(offsets.gapless_from());
        let FetchLimits { bytes, records, .. } = limits;
        let wanted = Limits { bytes, records, bound, gapless_from };
        let segments_left = segments_from(segments, from);
        for (at, segment) in segments_left.iter().enumerate() {
            let next = segments_left.get(at + 1);
            match read_before(segment, from, hint(cursor, segment, from), wanted, next) {
                Ok(Some(chunk)) => {
                    self.check_gap(from, chunk.first_offset)?;
                    let mut found = self.found(segment, chunk, limits.isolation);
                    if let Some(cursor) = &mut found.cursor {
                        cursor.until = next.map(|next| next.base());
                    }
                    // if the segment has gone meanwhile, what was aborted in it is forgotten
                    return match from < self.offsets.start() {
                        true => Err(self.out_of_range("read", from)),
                        false => Ok(found),
                    };
                }
                Ok(None) => {}
                Err(error) => return Err(self.read_failed(error, from)),
            }
        }
        // nothing lies between here and the bound: the next read begins there, unless a batch that
        // the bound lies within does
        let below = base_below(segments, from, (bound, offsets.end));
        let next_offset = match below.map_err(|error| self.read_failed(error, from))? {
            Some(base) => base.max(from),
            None => bound,
        };
        self.check_gap(from, next_offset)?;
        Ok(Fetched::nothing(next_offset, None))
    }

    /// The batches of a chunk that a reader of that isolation level is not to see.
    fn aborted_in(&self, chunk: &Chunk, isolation: IsolationLevel) -> Vec<Offset> {
        let any = self.has_aborted.load(Ordering::Acquire);
        match isolation {
            IsolationLevel::ReadCommitted if any => self.aborted.read().batches_in(chunk),
            _ => Vec::new(),
        }
    }

    /// Fails where the offsets from `from` up to `first` should be there and are not.
    fn check_gap(&self, from: Offset, first: Offset) -> Result<()> {
        if first <= from {
            return Ok(());
        }
        let damage = self.damage.load();
        let mut known = damage.iter().flat_map(|damage| damage.iter());
        let known = known.find(|damage| damage.from() < first && damage.to() > from);
        let error = match known {
            Some(damage) => {
                Error::corrupt("read", damage.path(), damage.position(), damage.reason())
            }
            None if self.gapless && first > self.offsets.snapshot().gapless_from() => {
                let missing = format!("the records from offset {from} to {first} are missing");
                Error::corrupt("read", &self.place.dir, 0, missing)
            }
            None => return Ok(()),
        };
        Err(self.read_failed(error.at_offset(from), from))
    }

    /// The error of a fetched batch that turned out bad at byte `at` of the chunk.
    pub(crate) fn batch_failed(&self, fetched: &Fetched, at: usize, fault: BatchFault) -> Error {
        let (path, position) = match (&fetched.cursor, &fetched.chunk) {
            (Some(cursor), Some(chunk)) => {
                let start = chunk.next_position.saturating_sub(chunk.bytes.len() as u64);
                (cursor.segment.path(), start + at as u64)
            }
            _ => (self.place.dir.to_path_buf(), 0),
        };
        self.counters.failed_reads.add(1);
        let offset = fetched.chunk.as_ref().map(|chunk| chunk.first_offset);
        self.named(fault.into_error("read", &path, position, offset))
    }

    /// A segment that retention took meanwhile is "out of range", whatever the file system said.
    fn read_failed(&self, error: Error, from: Offset) -> Error {
        if from < self.offsets.start() {
            return self.out_of_range("read", from);
        }
        self.counters.failed_reads.add(1);
        self.named(error)
    }

    /// Whether a position reached under `epoch` still means the same record: fails as truncated
    /// where that epoch ended before `offset`.
    pub(crate) fn check_epoch(
        &self,
        operation: &'static str,
        offset: Offset,
        epoch: LeaderEpoch,
    ) -> Result<()> {
        let end = self.offsets.end();
        let known = self.epochs.lock().end_offset_for(epoch, end);
        match known {
            // where `epoch` has no batch here any more, the nearest epoch below it answers
            Some((_, epoch_end)) if epoch_end < offset => {
                let cause = Cause::LogTruncated { epoch, epoch_end };
                Err(self.named(Error::new(operation, cause).at_offset(offset)))
            }
            _ => Ok(()),
        }
    }

    /// That of the record before `offset`, if there is one.
    pub(crate) fn epoch_before(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.lock().before(offset)
    }

    /// Every epoch with its first offset.
    pub(crate) fn epoch_entries(&self) -> Vec<(LeaderEpoch, Offset)> {
        self.epochs.lock().entries().to_vec()
    }

    /// Where reading may go on behind damage at `offset`: the first offset above it that an index
    /// entry and its batch agree on, else the next segment's first. The offsets between are gone.
    pub(crate) fn resume_above(&self, offset: Offset) -> Result<Offset> {
        self.over_segments(|segments, offsets| self.resume_above_in(segments, offsets, offset))
    }

    fn resume_above_in(
        &self,
        segments: &[Arc<Segment>],
        offsets: OffsetSnapshot,
        offset: Offset,
    ) -> Result<Offset> {
        let at = segments.partition_point(|segment| segment.base() <= offset).saturating_sub(1);
        if let Some(first) = segments.first().filter(|first| first.base() > offset) {
            return Ok(first.base()); // everything before it is missing
        }
        let next = segments.get(at + 1).map_or(offsets.end, |segment| segment.base());
        let resume = match segments.get(at) {
            Some(segment) => segment.resume_above(offset, next),
            None => Ok(None),
        };
        Ok(resume.map_err(|error| self.named(error))?.unwrap_or(next.max(offset)))
    }

    /// How often records have been fetched, for a reader that counts.
    pub(crate) fn note_reads(&self, records: u64) {
        self.counters.fetched.records.add(records);
    }
}
