//! From the page cache to the disk: syncs, sealing, and how far the recovery point may rise.
//!
//! One sync at a time, by whoever has the turn (`commit`), never under the writer lock: appends
//! and reads go on. Before a sync may vouch for bytes that an earlier process left unproven, they
//! are written again (`design.md` 1.4): the page cache may say "clean" of what never reached the
//! disk. The first sync that fails latches the log; no sync is ever tried again.
//!
//! A power-durable call is served by the journal where there is one (`journaled`). A checkpoint is
//! always a sync of the segments, that also seals what was rolled, brings the active segment's
//! index and the epoch file up to date, and says how far the recovery point may be recorded.

use super::core::{PartitionLog, Unproven};
use super::journaled::Gathered;
use super::snapshots::Newest;
use crate::disk::{DiskFile, read_full_at, write_all_at};
use crate::error::{Error, Outcome, Result};
use crate::ids::Offset;
use crate::segment::Segment;
use crate::sync::atomic::{Ordering, fence};
use crate::wait::commit::{Ending, Joined, Ride, Turn};
use std::sync::Arc;

/// What a sync is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The journal, where it takes what is to be covered; else the segments.
    Journal,
    Segments,
}

/// A sync that was begun together with those of other logs. Whoever drops it unended takes a panic.
#[must_use]
#[derive(Debug)]
pub(crate) struct BegunSync<'a> {
    log: &'a PartitionLog,
    turn: Turn<'a, Offset>,
    gathered: Result<Option<Gathered>>,
}

impl BegunSync<'_> {
    /// Whether the journal has gathered it: one sync of that ends all of them.
    pub(crate) fn is_gathered(&self) -> bool {
        matches!(self.gathered, Ok(Some(_)))
    }

    /// Ends it: blocks for a sync, unless one of the journal has had it. Those it was made for are
    /// told too.
    pub(crate) fn end(self) -> Result<()> {
        let ending = self.log.end(self.gathered);
        self.turn.end_and_release(&ending);
        ending.map_err(|error| error.again())
    }
}

/// Bytes written again at a time.
const REWRITE_BUFFER: usize = 256 << 10;

impl PartitionLog {
    /// Makes every record below `target` durable, with all before it and the names they need.
    /// Blocks for a sync, its own or one that others share, unless an earlier one covers `target`.
    pub(crate) fn make_durable(&self, target: Offset) -> Result<()> {
        if self.offsets.durable() >= target {
            return Ok(());
        }
        match self.commit.join(target, || self.offsets.durable()) {
            Joined::Covered => Ok(()),
            Joined::Lead(turn) => self.begin_with(turn).end(),
            Joined::Served(ending) => ending.map_err(|error| error.again()),
        }
    }

    /// The same for a task, which never syncs: `None` if it is so already.
    pub(crate) fn make_durable_later(&self, target: Offset) -> Option<Ride> {
        self.commit.ride(target, || self.offsets.durable())
    }

    /// Begins a sync for the tasks that wait while nobody leads; for the timer, which begins those
    /// of all such logs before it ends the first. `None`: there is no need.
    pub(crate) fn begin_for_tasks(&self) -> Option<BegunSync<'_>> {
        Some(self.begin_with(self.commit.lead_for_tasks()?))
    }

    /// Begins the sync that [`make_durable`](PartitionLog::make_durable) would make, for one who
    /// has several logs to sync. `None`: there is no need, or that call is to wait for another's.
    pub(crate) fn begin_if_free(&self, target: Offset) -> Option<BegunSync<'_>> {
        let turn = self.commit.lead_if_free(target, || self.offsets.durable())?;
        Some(self.begin_with(turn))
    }

    fn begin_with<'a>(&'a self, mut turn: Turn<'a, Offset>) -> BegunSync<'a> {
        let gathered = self.begin(&mut turn, By::Journal);
        BegunSync { log: self, turn, gathered }
    }

    /// Begins the turn's sync, of everything published by now.
    fn begin(&self, turn: &mut Turn<'_, Offset>, by: By) -> Result<Option<Gathered>> {
        turn.begin(|| self.offsets.end());
        match by {
            By::Journal => self.gather_for_journal(),
            By::Segments => Ok(None),
        }
    }

    /// Makes durable what was published when the sync began. To tell those who wait is left to the
    /// caller.
    fn end(&self, gathered: Result<Option<Gathered>>) -> Ending {
        let ended =
            |error: Error| Arc::new(self.named(error.with_outcome(Outcome::WrittenNotDurable)));
        if let Some(gathered) = gathered.map_err(ended)?
            && self.settle_by_journal(gathered).map_err(ended)?
        {
            return Ok(());
        }
        // bytes before offsets, and both before the sync: it covers what was published by then
        let bytes = self.counters.appended_bytes();
        fence(Ordering::Acquire);
        self.marks.sync_begins();
        let mark = self.mark();
        if let Err(error) = self.cover_by_segments() {
            self.marks.sync_ended(self.counters.appended_bytes());
            return Err(ended(error));
        }
        self.counters.syncs.add(1);
        self.marks.sync_ended(bytes);
        self.synced_bytes.store(bytes, Ordering::Relaxed);
        self.note_synced(mark);
        Ok(())
    }

    /// Brings what was published when the turn's sync began to the disk, where it lies.
    pub(super) fn cover_by_segments(&self) -> Result<()> {
        self.latch.check("sync")?;
        if let Err(error) = self.ready_to_sync() {
            if !error.is_retriable() {
                self.latch.trip(&error);
            }
            return Err(error);
        }
        let synced = self.sync_files();
        if let Err(error) = &synced
            && error.is_of_a_sync_begun()
        {
            self.latch.trip(error);
        }
        synced
    }

    /// What a sync needs and may not get for want of space or handles: nothing is lost by that, so
    /// it does not latch the log, and the sync may be asked for again.
    fn ready_to_sync(&self) -> Result<()> {
        let segments = self.segments.load_full();
        for segment in segments.iter().rev().take_while(|segment| !segment.is_settled()) {
            segment.log()?;
        }
        self.write_unproven_again()?;
        self.write_metadata()
    }

    /// The bytes that no sync may vouch for as they are; by whoever has the turn.
    pub(super) fn write_unproven_again(&self) -> Result<()> {
        let mut unproven = self.unproven.lock();
        if unproven.is_empty() {
            return Ok(());
        }
        let segments = self.segments.load_full();
        let first = segments.first().map(|segment| segment.base());
        for range in unproven.iter().filter(|range| Some(range.segment.base()) >= first) {
            write_again(range)?; // what was dropped needs no proof
        }
        *unproven = Vec::new();
        Ok(())
    }

    fn sync_files(&self) -> Result<()> {
        let segments = self.segments.load_full();
        if segments.is_empty() {
            return Ok(()); // there is no directory yet
        }
        for segment in segments.iter().rev().take_while(|segment| !segment.is_settled()) {
            segment.sync()?;
        }
        if self.names_changed.swap(false, Ordering::AcqRel) {
            let synced = self.sync_names();
            if synced.is_err() {
                self.names_changed.store(true, Ordering::Release);
            }
            return synced;
        }
        Ok(())
    }

    /// Makes the directory's names durable, and its own name where that is new.
    pub(super) fn sync_names(&self) -> Result<()> {
        let dir = &*self.place.dir;
        let disk = &self.place.disk;
        disk.sync_dir(dir).map_err(|error| Error::io("sync directory", dir, error))?;
        let Some(parent) = dir.parent() else { return Ok(()) };
        if !self.own_name_changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = disk.sync_dir(parent);
        if synced.is_err() {
            self.own_name_changed.store(true, Ordering::Release);
        }
        synced.map_err(|error| Error::io("sync directory", parent, error))
    }

    /// Syncs the segments, whatever the journal has: no more than that.
    pub(crate) fn sync_segments(&self) -> Result<()> {
        let mut turn = self.commit.take();
        let gathered = self.begin(&mut turn, By::Segments);
        let ending = self.end(gathered);
        turn.end_and_release(&ending);
        ending.map_err(|error| error.again())
    }

    /// Seals what was rolled, syncs all, and returns how far the recovery point may be recorded.
    /// Once it is, the caller says so with [`PartitionLog::recovery_point_recorded`].
    pub(crate) fn checkpoint(&self) -> Result<Offset> {
        let now = self.setup.clock.wall(); // the host's code: under no lock
        let mut turn = self.commit.take();
        self.latch.check("checkpoint").map_err(|error| self.named(error))?;
        let (rolled, active, taken, end) = {
            let mut writer = self.writer.lock();
            let rolled = std::mem::take(&mut writer.rolled);
            let active = writer.tail.as_mut().map(|tail| tail.hand_over_digests().clone());
            let end = writer.next_offset;
            let taken = writer.producers.as_mut().map(|tracked| tracked.take_all(end, now));
            (rolled, active, taken.unwrap_or_default(), end)
        };
        // what is rolled from here on is synced, but not sealed: the point must not cover it
        let point = self
            .save_snapshots(&taken)
            .and_then(|()| self.save_aborted(end))
            .and_then(|()| self.checkpoint_in_turn(&mut turn, &rolled, active.as_deref()))
            .map(|durable| durable.min(end))
            .map_err(|error| self.named(error.with_outcome(Outcome::WrittenNotDurable)));
        if point.is_err() {
            let mut writer = self.writer.lock();
            writer.rolled.splice(0..0, rolled);
            if let Some(tracked) = &mut writer.producers {
                tracked.put_back(taken, end);
            }
        } else if !taken.is_empty() {
            self.prune_snapshots(Newest::Two);
        }
        point
    }

    fn checkpoint_in_turn(
        &self,
        turn: &mut Turn<'_, Offset>,
        rolled: &[Arc<Segment>],
        active: Option<&Segment>,
    ) -> Result<Offset> {
        for segment in rolled {
            segment.trim_for_sync()?;
        }
        self.save_digests(rolled, active)?;
        self.write_epochs()?; // before the sync, which is then the directory's only one
        if let Some(active) = active {
            active.reserve(self.unsynced_bytes(), self.config.load().segment_bytes);
        }
        let gathered = self.begin(turn, By::Segments);
        let ending = self.end(gathered);
        turn.end(&ending); // whoever waits for this sync has no part in what follows
        ending.map_err(|error| error.again())?;
        for segment in rolled {
            self.sync_indexes(segment.seal_indexes()?)?;
            if let Err(error) = segment.seal_tags() {
                log::warn!("{error}: its batches are read whatever their tags");
            }
            segment.drop_map();
        }
        if let Some(active) = active {
            self.sync_indexes(active.save_growing_indexes()?)?;
        }
        self.rest_if_idle();
        let settled = active.map_or(Offset::new(i64::MAX), Segment::base);
        for segment in self.segments.load().iter().filter(|segment| segment.base() < settled) {
            if active.is_some() || rolled.iter().any(|sealed| Arc::ptr_eq(sealed, segment)) {
                segment.settle();
            }
        }
        Ok(self.offsets.synced())
    }

    /// Gives back the memory of a tail nobody appends to: everything published is on the disk.
    fn rest_if_idle(&self) {
        let mut writer = self.writer.lock();
        if writer.next_offset == self.offsets.synced()
            && let Some(tail) = &mut writer.tail
        {
            tail.rest();
        }
    }

    /// An index that could not be synced must not be relied on by a recovery point, and a second
    /// sync would prove nothing.
    fn sync_indexes(&self, files: Vec<Arc<dyn DiskFile>>) -> Result<()> {
        for file in files {
            let synced =
                file.sync_data().map_err(|error| Error::io("sync index", &file.path(), error));
            if let Err(error) = synced {
                self.latch.trip(&error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The recovery point has been recorded by the log's keeper.
    pub(crate) fn recovery_point_recorded(&self, point: Offset) {
        self.offsets.raise_recovery_point(point);
    }
}

/// Reads bytes that recovery accepted and writes them back as they are, so that the next sync has
/// to carry them to the disk. The bytes do not change: views that are held see the same.
fn write_again(range: &Unproven) -> Result<()> {
    let file: &Arc<dyn DiskFile> = range.segment.log()?;
    let path = file.path();
    let mut buffer = vec![0; REWRITE_BUFFER];
    let mut position = range.from;
    while position < range.to {
        let wanted = usize::try_from(range.to - position).unwrap_or(REWRITE_BUFFER);
        let wanted = wanted.min(REWRITE_BUFFER);
        let fail = |error| Error::io("write again", &path, error).at_position(position);
        let got = read_full_at(&**file, &mut buffer[..wanted], position).map_err(fail)?;
        if got == 0 {
            break;
        }
        write_all_at(&**file, &buffer[..got], position).map_err(fail)?;
        position += got as u64;
    }
    Ok(())
}
