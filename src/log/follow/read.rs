//! Reading what a look has shown: the same questions as to a log of one's own.
//!
//! A view may be out of date the moment it is read from: files are renamed, compacted, cut and
//! written again by another process. So a read that fails, or that meets a batch of an epoch the
//! view does not know, takes the directory in once more and tries again; what fails on views that
//! were taken anew is an error, but for files that go again and again while the writer goes on.

use std::sync::Arc;
use std::time::Duration;

use super::patience::{Patience, is_vanished};
use super::{FollowedLog, View};
use crate::config::IsolationLevel;
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::log::fetch::{Cursor, FetchLimits, Fetched, base_below, hint, segments_from};
use crate::log::lookup::{FoundOffset, OffsetSpec, first_late, newest};
use crate::log::offsets::OffsetSnapshot;
use crate::record::BatchHeader;
use crate::segment::{Chunk, Limits, Segment};
use crate::stats::LogCounters;
use crate::sync::atomic::Ordering;

/// How often a read is tried on views that surveys have shown.
const ATTEMPTS: usize = 3;
/// Bytes that are looked through at a time for where doubt ends.
const STRETCH: usize = 64 << 10;
/// How often where the writer goes on each time.
const OUTRUN: usize = 10;

/// Why a view gives no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// It may be out of date.
    Unread(Error),
    /// Damage hides what became of a transaction: of a view that was taken anew this is the last
    /// word.
    InDoubt(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Unread(error)
    }
}

impl Failed {
    fn into_error(self) -> Error {
        match self {
            Failed::Unread(error) | Failed::InDoubt(error) => error,
        }
    }
}

impl FollowedLog {
    /// The offsets as of the last look. What is durable is what the writer has recorded as such.
    pub(crate) fn offsets(&self) -> OffsetSnapshot {
        self.view.load().offsets
    }

    /// Every epoch with its first offset.
    pub(crate) fn epoch_entries(&self) -> Vec<(LeaderEpoch, Offset)> {
        self.view.load().epochs.entries().to_vec()
    }

    /// How many bytes and segments can be read.
    pub(crate) fn size(&self) -> (u64, usize) {
        let view = self.view.load();
        (view.segments.iter().map(|segment| segment.published()).sum(), view.segments.len())
    }

    pub(crate) fn counters(&self) -> &LogCounters {
        &self.counters
    }

    /// Reads from `from` on; see [`PartitionLog::fetch`](crate::log::PartitionLog::fetch). Where a
    /// writer removes the files faster than they can be opened, there is nothing yet.
    pub(crate) fn fetch(
        &self,
        from: Offset,
        cursor: Option<&Cursor>,
        limits: FetchLimits,
        now: Duration,
    ) -> Result<Fetched> {
        let nothing = Fetched { is_outrun: true, ..Fetched::nothing(from, None) };
        self.steadily(now, Some(nothing), |view| {
            let bound = limits.bound(&view.offsets);
            self.fetch_in(view, from, cursor, (limits, bound))
        })
    }

    /// The offset that is wanted; see [`PartitionLog::find_offset`](crate::log::PartitionLog).
    pub(crate) fn find_offset(
        &self,
        (wanted, isolation): (OffsetSpec, IsolationLevel),
        now: Duration,
    ) -> Result<Option<FoundOffset>> {
        self.steadily(now, None, |view| {
            let open = |segment: &Segment| self.open(segment);
            let bound = view.offsets.bound(isolation);
            Ok(wanted.find(
                (view.offsets, isolation),
                || newest(&view.segments, (view.offsets, bound), self.plain, open),
                |at| {
                    let reach = (view.offsets.start, bound);
                    first_late(&view.segments, reach, (at, self.plain), open)
                },
                |offset| view.epochs.before(offset),
            )?)
        })
    }

    /// The epoch of the record before `offset`, as of the last look: `None` where there is none.
    pub(crate) fn epoch_before(&self, offset: Offset) -> Option<LeaderEpoch> {
        let view = self.view.load();
        let OffsetSnapshot { start, end, .. } = view.offsets;
        (start < offset && offset <= end).then(|| view.epochs.before(offset)).flatten()
    }

    /// Fails as truncated where `epoch` ended before `offset`.
    pub(crate) fn check_epoch(
        &self,
        operation: &'static str,
        offset: Offset,
        epoch: LeaderEpoch,
    ) -> Result<()> {
        let view = self.view.load();
        match view.epochs.end_offset_for(epoch, view.offsets.end) {
            Some((_, epoch_end)) if epoch_end < offset => {
                let cause = Cause::LogTruncated { epoch, epoch_end };
                Err(self.named(Error::new(operation, cause).at_offset(offset)))
            }
            _ => Ok(()),
        }
    }

    /// Where reading may go on behind damage at `offset`.
    pub(crate) fn resume_above(&self, offset: Offset, now: Duration) -> Result<Offset> {
        self.steadily(now, None, |view| Ok(self.resume_in(view, offset)?))
    }

    pub(super) fn resume_in(&self, view: &View, offset: Offset) -> Result<Offset> {
        if let Some(behind) = self.behind_doubt(view, offset)? {
            return Ok(behind);
        }
        let (segments, end) = (&view.segments, view.offsets.end);
        if let Some(first) = segments.first().filter(|first| first.base() > offset) {
            return Ok(first.base().min(end)); // everything before it is missing
        }
        let at = segments.partition_point(|segment| segment.base() <= offset).saturating_sub(1);
        let next = segments.get(at + 1).map_or(end, |segment| segment.base());
        if let Some(segment) = segments.get(at) {
            self.open(segment)?;
            if let Some(resume) = segment.resume_above(offset, next)? {
                return Ok(resume);
            }
        }
        Ok(next.max(offset))
    }

    /// Where the batches end that can be read and are in doubt for what follows them: the next one
    /// lies there. In what was passed over itself only what is named is gone on to.
    fn behind_doubt(&self, view: &View, offset: Offset) -> Result<Option<Offset>> {
        let Some(told) = &view.transactions else { return Ok(None) };
        let (mut next, mut cursor) = (offset, None);
        while told.doubts().reach_above(next) {
            let fetched = match self.fetch_all_in(view, next, cursor.as_ref(), STRETCH) {
                // the log may begin behind it by now
                Err(error) if error.is_corrupt() || is_out_of_range(&error) => break,
                fetched => fetched?,
            };
            let Some(chunk) = &fetched.chunk else { break };
            let behind = told.doubts().end_of_left_open(chunk);
            next = behind.unwrap_or(next);
            if behind != Some(fetched.next_offset) {
                break;
            }
            cursor = fetched.cursor;
        }
        Ok(Some(next).filter(|next| *next > offset))
    }

    /// Runs `read` on the view, and on a new one if that fails for what may have changed. A reader
    /// that is outrun gets `outrun`, if there is such a thing.
    fn steadily<T>(
        &self,
        now: Duration,
        outrun: Option<T>,
        read: impl Fn(&View) -> Result<T, Failed>,
    ) -> Result<T> {
        let mut patience = Patience::new(ATTEMPTS, OUTRUN);
        let mut is_fresh = false;
        loop {
            let view = self.view.load_full();
            let (error, is_final) = match read(&view) {
                Ok(done) => return Ok(done),
                Err(Failed::InDoubt(error)) => (error, is_fresh),
                Err(Failed::Unread(error)) if is_out_of_range(&error) => {
                    return Err(self.named(error));
                }
                Err(Failed::Unread(error)) => (error, false),
            };
            // only a vanished file may be the writer's doing each time anew
            let facts = is_vanished(&error).then(|| self.source.known(self.id)).flatten();
            if is_final || !patience.lasts(facts) {
                if let Some(outrun) = outrun.filter(|_| patience.is_outrun()) {
                    return Ok(outrun);
                }
                self.counters.failed_reads.add(1);
                return Err(self.named(error));
            }
            is_fresh |= self.renew(&view, now)?;
        }
    }

    /// Takes the directory in again, unless someone has meanwhile; says whether what is shown now
    /// was taken in by this. That costs each failing read of damage a scan of what is not synced:
    /// what only looks like damage must not pass for it.
    fn renew(&self, read: &Arc<View>, now: Duration) -> Result<bool> {
        let mut following = self.following.lock();
        if !Arc::ptr_eq(read, &self.view.load()) {
            return Ok(false);
        }
        self.survey(&mut following, now).map_err(|error| self.named(error))?;
        Ok(!Arc::ptr_eq(read, &self.view.load())) // one that was outrun shows nothing new
    }

    /// Reads for somebody to whom everything is shown: of that nothing is in doubt.
    pub(super) fn fetch_all_in(
        &self,
        view: &View,
        from: Offset,
        cursor: Option<&Cursor>,
        bytes: usize,
    ) -> Result<Fetched> {
        let all = (FetchLimits::all(bytes), view.offsets.end);
        self.fetch_in(view, from, cursor, all).map_err(Failed::into_error)
    }

    fn fetch_in(
        &self,
        view: &View,
        from: Offset,
        cursor: Option<&Cursor>,
        (limits, bound): (FetchLimits, Offset),
    ) -> Result<Fetched, Failed> {
        let offsets = view.offsets;
        if from < offsets.start || from > offsets.end {
            let (requested, start, end) = (from, offsets.start, offsets.end);
            return Err(Error::new("read", Cause::OutOfRange { requested, start, end }).into());
        }
        if from >= bound {
            return Ok(Fetched::nothing(from, cursor));
        }
        let FetchLimits { bytes, records, .. } = limits;
        let gapless_from = view.gapless.then_some(offsets.gapless_from());
        let wanted = Limits { bytes, records, bound, gapless_from };
        for segment in segments_from(&view.segments, from) {
            self.open(segment)?;
            let (at, hint) = (from.max(segment.base()), hint(cursor, segment, from));
            if let Some(mut chunk) = segment.read(at, hint, wanted)? {
                if let Some(bound) = sure_below(view, &chunk, limits.isolation) {
                    let sure = segment.read(at, hint, Limits { bound, ..wanted })?;
                    chunk = sure.unwrap_or(chunk); // what is in doubt comes first
                }
                self.check_gap(view, from, chunk.first_offset)?;
                self.check_reign(view, segment, &chunk)?;
                let aborted = self.aborted_in(view, segment, &chunk, limits.isolation)?;
                self.counters.fetched.bytes.add(chunk.bytes.len() as u64);
                return Ok(Fetched { aborted, ..Fetched::of(segment, chunk) });
            }
        }
        // nothing lies between here and the bound: the next read begins there, unless a batch that
        // the bound lies within does
        let next_offset = match base_below(&view.segments, from, (bound, offsets.end))? {
            Some(base) => base.max(from),
            None => bound,
        };
        self.check_gap(view, from, next_offset)?;
        Ok(Fetched::nothing(next_offset, None))
    }

    /// Opens a segment's file, and makes sure that it is this topic's: so does everyone until one
    /// has.
    fn open(&self, segment: &Segment) -> Result<()> {
        if self.taken_over.load(Ordering::Acquire) {
            return Err(self.deleted());
        }
        if !segment.is_identified() {
            segment.log()?;
            self.check_identity()?;
            segment.identify();
        }
        Ok(())
    }

    /// Fails where the offsets from `from` up to `first` should be there and are not.
    fn check_gap(&self, view: &View, from: Offset, first: Offset) -> Result<()> {
        if first <= from || !view.gapless || first <= view.offsets.gapless_from() {
            return Ok(());
        }
        let missing = format!("the records from offset {from} to {first} are missing");
        Err(Error::corrupt("read", &self.place.dir, 0, missing).at_offset(from))
    }

    /// The batches of a chunk that a reader of that isolation level is not to see. Where the view
    /// cannot tell, it fails: the next view can, but for what damage leaves in doubt.
    fn aborted_in(
        &self,
        view: &View,
        segment: &Segment,
        chunk: &Chunk,
        isolation: IsolationLevel,
    ) -> Result<Vec<Offset>, Failed> {
        if isolation == IsolationLevel::ReadUncommitted {
            return Ok(Vec::new());
        }
        if let Some(told) = &view.transactions {
            if let Some(batch) = told.doubts().first_in(chunk) {
                let unknown = "damage hides what became of a transaction";
                return Err(Failed::InDoubt(corrupt(segment, batch, unknown)));
            }
            return Ok(told.aborted().batches_in(chunk));
        }
        if let Some(batch) = chunk.headers().find(|(_, header)| header.is_data_of_transaction()) {
            self.transactional.store(true, Ordering::Release);
            let unknown = "a batch of a transaction whose end was not looked for";
            return Err(corrupt(segment, batch, unknown).into());
        }
        Ok(Vec::new())
    }

    /// Fails where a batch is of a reign that the view does not know: the file was cut and has
    /// grown again since the view was taken.
    fn check_reign(&self, view: &View, segment: &Segment, chunk: &Chunk) -> Result<()> {
        let unknown = chunk.headers().find(|(_, header)| header.leader_epoch() > view.reign);
        match unknown {
            None => Ok(()),
            Some(batch) => Err(corrupt(segment, batch, "a batch of an epoch that is not recorded")),
        }
    }
}

fn is_out_of_range(error: &Error) -> bool {
    error.kind() == ErrorKind::OffsetOutOfRange
}

/// What is wrong with a batch that begins at a position.
fn corrupt(segment: &Segment, (position, header): (u64, BatchHeader), reason: &str) -> Error {
    let error = Error::corrupt("read", &segment.path(), position, reason);
    error.at_offset(header.base_offset())
}

/// Where the first batch of a chunk begins that is in doubt, for who reads what was committed.
fn sure_below(view: &View, chunk: &Chunk, isolation: IsolationLevel) -> Option<Offset> {
    let told = view.transactions.as_ref()?;
    let doubts = (isolation == IsolationLevel::ReadCommitted).then(|| told.doubts());
    doubts?.first_in(chunk).map(|(_, header)| header.base_offset())
}
