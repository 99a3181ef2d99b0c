//! Cutting records off the end of a log, for hosts that replicate: a follower's tail that its
//! leader does not have.
//!
//! Whole batches go (`kafka-format.md` 2.9). Published bytes are never cut in place: later segments
//! get `.deleted` names, the one that is cut is copied and renamed, so readers go on with what they
//! hold, and whoever reads anew sees the log without. In order, each step durable before the next:
//!
//! | step | after a stop here the next open finds |
//! | --- | --- |
//! | 1. all segments are synced and sealed | the log as it was |
//! | 2. the journal's frames of the log count no more | the same |
//! | 3. the recovery point is recorded where the cut will be, and the start | the same, or none |
//! | 4. later segments are renamed, the last one first | the log up to some later batch |
//! | 5. a copy replaces the segment that is cut; the directory is synced | the log, cut |
//!
//! Where the log is to start lower than it did, steps 1 to 5 let all of it go where it ends, and
//! the lower start is recorded behind them: of files that are there still, or that a power cut
//! brings back, it would serve again what lay below the start. A stop before that leaves a log that
//! begins and ends where this one ended.
//!
//! Where no record stays, the producers' snapshots go before step 4: without them the next open
//! learns from the records who there is. After step 3 recovery itself puts the log together, as
//! `reopen` has it done, and what it made takes the place of what there was. What is appended
//! afterwards has a new epoch, or, where the host leads the log, what the host says. A failure from
//! step 4 on poisons the log; nothing above the cut is called durable any more by then, so that
//! `reopen` takes what it finds. Under the trim lock, the turn and the writer lock.

use std::time::Duration;

use super::core::{Doomed, Files, Lead, LogSetup, PartitionLog, Refusal, Writer};
use super::keeper::{Durable, Keeper, KnownFacts, LastStop, LogFact};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::segment::Segment;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use crate::time::{Clock, Timestamp};
use crate::wait::commit::Turn;
use std::sync::Arc;

const OPERATION: &str = "truncate";
/// How often a log is synced for a truncation while others append to it.
const MOST_CHECKPOINTS: usize = 100;

/// What a truncation leaves.
#[derive(Clone, Copy, Debug)]
struct Cut {
    start: Offset,
    end: Offset,
    /// How many of the segments stay.
    segments: usize,
    /// To how many bytes the last of these, or one that begins at `end`, is cut, if it is.
    bytes: Option<u64>,
}

/// The time as it was: recovery asks for it under the writer lock, where no host's code may run.
#[derive(Debug)]
struct Stopped(Timestamp, Duration);

impl Clock for Stopped {
    fn wall(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        self.1
    }
}

impl PartitionLog {
    /// Where the records of `epoch` end, or of the nearest epoch below it that has any; `None` for
    /// an epoch above all that are known, and for a log without epochs. The epoch that the host has
    /// this replica lead begins where the log ends, until it has a record.
    pub(crate) fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let writer = self.writer.lock();
        let end = writer.next_offset;
        let epochs = self.epochs.lock();
        let known = epochs.latest().filter(|latest| epoch <= *latest);
        let led = (writer.lead == Lead::Leads).then_some(writer.epoch);
        match (known, led.filter(|led| epoch <= *led)) {
            (Some(_), _) => epochs.end_offset_for(epoch, end),
            (None, Some(led)) => {
                let mut begun = epochs.clone();
                begun.assign(led, end);
                begun.end_offset_for(epoch, end)
            }
            (None, None) => None,
        }
    }

    /// Cuts off every batch that reaches `target`; what is appended from then on has `epoch`, if
    /// the log leads itself.
    /// Returns where the log ends: at `target`, or before it where that lay within a batch or in a
    /// gap. At or below the log start all records go, and the log starts at `target`. Durable when
    /// it returns.
    pub(crate) fn truncate_to(
        &self,
        target: Offset,
        epoch: Option<LeaderEpoch>,
        keeper: &dyn Keeper,
    ) -> Result<Offset> {
        self.truncate(epoch, keeper, |segments| {
            let offsets = self.offsets.snapshot();
            let Some(at) = segments.partition_point(|part| part.base() < target).checked_sub(1)
            else {
                return Ok(Some(Cut::whole(target)));
            };
            if target >= offsets.end {
                return Ok(None);
            }
            if target <= offsets.start {
                return Ok(Some(Cut::whole(target)));
            }
            for (number, segment) in segments[..=at].iter().enumerate().rev() {
                let point = segment.cut_point(target)?;
                let Some(end) = point.end.filter(|end| *end > offsets.start) else { continue };
                let bytes = (point.position < segment.published()).then_some(point.position);
                let (start, segments) = (offsets.start, number + 1);
                return Ok(Some(Cut { start, end, segments, bytes }));
            }
            Ok(Some(Cut::whole(offsets.start))) // the only batch left is one that goes
        })
    }

    /// Lets all records go; the next one gets `target`, which may lie anywhere. Durable when it
    /// returns.
    pub(crate) fn truncate_fully_and_start_at(
        &self,
        target: Offset,
        epoch: Option<LeaderEpoch>,
        keeper: &dyn Keeper,
    ) -> Result<()> {
        self.truncate(epoch, keeper, |_| Ok(Some(Cut::whole(target)))).map(drop)
    }

    /// Carries out what `plan` makes of the segments, if anything.
    fn truncate(
        &self,
        epoch: Option<LeaderEpoch>,
        keeper: &dyn Keeper,
        plan: impl FnOnce(&[Arc<Segment>]) -> Result<Option<Cut>>,
    ) -> Result<Offset> {
        let clock = &self.setup.clock;
        let time = Arc::new(Stopped(clock.wall(), clock.monotonic()));
        let mut doomed = self.trimming.lock();
        let (_turn, mut writer) = self.stand_still().map_err(|error| self.nothing_cut(error))?;
        if self.segments.load().is_empty() {
            self.make_directory(&mut writer, time.0).map_err(|error| self.named(error))?;
        }
        let segments = self.segments.load_full();
        let Some(cut) = plan(&segments).map_err(|error| self.named(error))? else {
            return Ok(writer.next_offset);
        };
        if cut.start < Offset::ZERO {
            let why = format!("offset {} is below 0", cut.start);
            return Err(self.named(Error::new(OPERATION, Cause::InvalidArgument(why))));
        }
        let lowers = cut.start < self.offsets.snapshot().start;
        let recorded = if lowers { Cut::whole(writer.next_offset) } else { cut };
        if let Err(error) = self.ready_to_cut(recorded, keeper) {
            if error.outcome() != Outcome::NotWritten {
                self.latch.trip(&error); // a start may be recorded that what follows lies below
            }
            return Err(self.named(error));
        }
        self.swaps.fetch_add(1, Ordering::AcqRel);
        for segment in segments.iter() {
            segment.set_replaced(); // no reader puts an index made anew among what is cut off
        }
        let done = self.cut_files(&mut doomed, &mut writer, &segments, cut, time.1);
        let done = done.and_then(|()| if lowers { self.record(cut, keeper) } else { Ok(()) });
        let done = done.and_then(|()| self.take_cut(&mut writer, cut, epoch, time));
        self.swaps.fetch_add(1, Ordering::AcqRel);
        done.map_err(|error| {
            let error = error.with_outcome(Outcome::Unknown); // the next open goes on with the cut
            self.latch.trip(&error);
            self.named(error)
        })?;
        doomed.clear(); // recovery has removed them
        Ok(cut.end)
    }

    /// Step 1: nobody syncs or appends, and all there is is synced and sealed.
    fn stand_still(&self) -> Result<(Turn<'_, Offset>, MutexGuard<'_, Writer>)> {
        for _ in 0..MOST_CHECKPOINTS {
            let point = self.checkpoint()?;
            let turn = self.commit.take();
            let writer = self.writer.lock();
            self.check_healthy(OPERATION)?;
            if let Some(refusal @ Refusal::Closed) = &writer.refuses {
                return Err(self.named(refusal.error(OPERATION)));
            }
            if writer.next_offset == point {
                return Ok((turn, writer));
            }
        }
        let why = "records are appended faster than they are synced".to_owned();
        Err(self.named(Error::new(OPERATION, Cause::Locked(why))))
    }

    /// What a checkpoint says of the records that it was to make durable is not what became of the
    /// truncation, which had not begun. One that ended writing says what it says.
    fn nothing_cut(&self, error: Error) -> Error {
        match self.latch.check(OPERATION) {
            Ok(()) => error.with_outcome(Outcome::NotWritten),
            Err(_) => error,
        }
    }

    /// A log start is recorded only of a directory that is there, durably: a sync that fails here
    /// ends writing like any other, for the names it was for may be lost and no later one says so.
    fn make_directory(&self, writer: &mut Writer, now: Timestamp) -> Result<()> {
        self.roll(writer, now)?;
        self.cover_by_segments()
    }

    /// Steps 2 and 3.
    fn ready_to_cut(&self, cut: Cut, keeper: &dyn Keeper) -> Result<()> {
        if let Some(journal) = &self.setup.journal
            && !journal.bar(self.setup.id)?
        {
            let why = "the journal has no room to note a truncation, and needs what it holds";
            return Err(Error::new(OPERATION, Cause::Full(why.to_owned())));
        }
        self.record(cut, keeper)
    }

    fn record(&self, cut: Cut, keeper: &dyn Keeper) -> Result<()> {
        let facts = [
            LogFact::Lowered(cut.end),
            LogFact::RecoveryPoint(cut.end), // it may have been lower
            LogFact::LogStart(cut.start),
        ];
        keeper.record(&facts.map(|fact| (self.setup.id, fact)), Durable::Now)?;
        self.offsets.start_recorded(cut.start);
        Ok(())
    }

    /// Steps 4 and 5.
    fn cut_files(
        &self,
        doomed: &mut Vec<Doomed>,
        writer: &mut Writer,
        segments: &[Arc<Segment>],
        cut: Cut,
        due: Duration,
    ) -> Result<()> {
        drop(writer.tail.take());
        self.offsets.promise_no_more_than(cut.end);
        *self.covered.lock() = None;
        if cut.is_whole() {
            self.remove_all_snapshots()?; // no record, no producer: who sends again sends anew
        }
        let stays = segments.iter().find(|part| cut.is_whole() && part.base() == cut.end);
        if cut.is_whole() && stays.is_none() {
            // a log that is recorded to start somewhere has a file at all times
            Segment::create(self.place.clone(), cut.end)?;
            self.sync_cut()?;
        }
        for empty in self.unlisted_empty(cut.end.next(), Offset::new(i64::MAX))?.iter().rev() {
            doomed.push(Doomed { files: Files::Renamed(empty.rename_deleted()?), due });
        }
        for segment in segments[cut.segments..].iter().rev() {
            if stays.is_some_and(|stays| Arc::ptr_eq(stays, segment)) {
                continue;
            }
            let paths = segment.rename_deleted()?;
            doomed.push(Doomed { files: Files::Renamed(paths), due });
        }
        for gone in doomed.iter_mut() {
            match gone.rename() {
                Err(error) if cut.start < self.offsets.snapshot().start => return Err(error),
                Err(error) => log::debug!("{error}"), // below the log start: recovery removes it
                Ok(_) => {}
            }
        }
        let last = segments[..cut.segments].last();
        if let (Some(bytes), Some(last)) = (cut.bytes, stays.or(last)) {
            last.renew(bytes)?;
        }
        self.sync_cut()
    }

    fn sync_cut(&self) -> Result<()> {
        let dir = &*self.place.dir;
        let synced = self.place.disk.sync_dir(dir);
        synced.map_err(|error| Error::io("sync directory", dir, error))
    }

    /// Has recovery put together what is left, and puts it in place.
    fn take_cut(
        &self,
        writer: &mut Writer,
        cut: Cut,
        epoch: Option<LeaderEpoch>,
        time: Arc<Stopped>,
    ) -> Result<()> {
        let setup = LogSetup { config: self.config(), clock: time, ..self.setup.clone() };
        let known = KnownFacts {
            recovery_point: cut.end,
            log_start: cut.start,
            last_stop: LastStop::Clean,
            adopted: !self.gapless,
            ours_from: None,
            compacted: self.offsets.compacted(),
            sparse: self.offsets.sparse(),
            host_led: self.offsets.set_watermark(),
            sync_failed: false,
        };
        let (fresh, _) = PartitionLog::open(&self.place.disk, &self.place.dir, setup, known)?;
        let found = fresh.offsets.snapshot();
        if (found.start, found.end) != (cut.start, cut.end) {
            let reason = format!(
                "cut to {}..{}, it was found to have {}..{}",
                cut.start, cut.end, found.start, found.end
            );
            return Err(Error::corrupt(OPERATION, &self.place.dir, 0, reason));
        }
        if cut.is_whole() {
            fresh.epochs.lock().clear();
        }
        self.put_in_place(writer, fresh, epoch, |offsets| offsets.cut_to(cut.start, cut.end));
        Ok(())
    }
}

impl Cut {
    /// Nothing is left, and the log begins again at `target`.
    fn whole(target: Offset) -> Self {
        Cut { start: target, end: target, segments: 0, bytes: Some(0) }
    }

    fn is_whole(&self) -> bool {
        self.segments == 0
    }
}
