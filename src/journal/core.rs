//! The journal itself: group commit over all partitions, and what becomes of it when it fails.
//!
//! Constant: place, size, whom to ask. Atomic: how far frames are durable, whether there is a file.
//! Locked: the ring, with the standing. Who leads (`wait::commit`) writes and syncs what all have
//! gathered; nobody syncs under the lock.
//!
//! | standing | commits | left by |
//! | --- | --- | --- |
//! | asleep: nothing was appended yet, or there is to be none | decline | `begin` |
//! | missing | decline, and ask for the file once | `make`, a portion at a time |
//! | ready | are served | a failure |
//! | retired: a write or a sync has failed | decline | the last log's sync: then the file goes |
//! | gone | decline | |
//!
//! A failed sync is told to those whose frames were in it; everybody else is declined.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, Making, NewFile};
use super::frame::{Extent, Reign};
use super::ring::{Placed, Ring, Run};
use crate::disk::names::JOURNAL;
use crate::disk::{Disk, DiskFile, write_all_at};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, LogId, Offset};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::wait::commit::{Commit, Ending, Joined, Turn};

/// Those who pin space are asked again after so many frames found none.
const ASK_AGAIN: u64 = 256;

/// What a journal asks whoever maintains it for; called under no lock.
pub(crate) trait Upkeep: Send + Sync + fmt::Debug {
    /// [`Journal::keep_up`] has something to do.
    fn due(&self);
    /// These logs are to sync their segments: they pin space.
    fn sync_segments(&self, logs: &[LogId]);
}

/// What is to be recorded of a reign's journal, durably, before it becomes so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Frames may be relied on.
    Begins,
    /// Nothing in it is needed any more.
    Ends,
}

/// A frame that was gathered, to be made durable by [`Journal::settle`].
#[derive(Debug)]
pub(crate) struct Ticket(u64);

/// Whether the journal has taken an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is durable.
    Yes,
    /// It is not here: the caller syncs the segment.
    No,
}

#[derive(Debug)]
enum Standing {
    Asleep,
    Missing { asked: bool },
    Ready { file: Arc<dyn DiskFile>, ring: Ring },
    Retired { ring: Ring, failed: Option<Failed> },
    Gone { failed: Option<Failed> },
}

/// The frames of a sync that failed.
#[derive(Clone, Debug)]
struct Failed {
    first: u64,
    last: u64,
    error: Arc<Error>,
}

#[derive(Debug)]
struct Inner {
    standing: Standing,
    reign: Option<Reign>,
    declined: u64,
    /// Kept from run to run.
    spare: Vec<u8>,
}

/// One store's journal.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    half: u64,
    upkeep: Arc<dyn Upkeep>,
    commit: Commit<u64>,
    durable: AtomicU64,
    ready: AtomicBool,
    inner: Mutex<Inner>,
    /// The file that is being made, held across the writing of a portion; before `inner`.
    making: Mutex<Option<NewFile>>,
}

impl Journal {
    /// A journal that sleeps until [`begin`](Journal::begin): `size` bytes at most.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        root: &Path,
        size: u64,
        upkeep: Arc<dyn Upkeep>,
    ) -> Self {
        let (standing, spare) = (Standing::Asleep, Vec::new());
        Journal {
            disk,
            root: root.to_owned(),
            half: file::half_of(size),
            upkeep,
            commit: Commit::new(Box::new(|| {})), // no task ever waits for it
            durable: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            inner: Mutex::new(Inner { standing, reign: None, declined: 0, spare }),
            making: Mutex::new(None),
        }
    }

    /// Takes commits from now on, under an epoch that is durable and new: frames of earlier ones
    /// count no more.
    pub(crate) fn begin(&self, store: [u8; 16], epoch: LeaderEpoch) {
        let mut inner = self.inner.lock();
        inner.reign = Some(Reign { store, epoch });
        inner.standing = Standing::Missing { asked: false };
    }

    fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Whether that many bytes are ever taken at once.
    pub(crate) fn takes(&self, bytes: u64) -> bool {
        Ring::takes(self.half, bytes)
    }

    /// Gathers an extent, whose bytes are `batches`, for the next sync. `None`: the journal does
    /// not take it, and the caller syncs the segment.
    pub(crate) fn gather(&self, extent: &Extent, batches: &[u8]) -> Option<Ticket> {
        if !self.ready.load(Ordering::Acquire) {
            self.ask_for_file();
            return None;
        }
        self.place(|ring, durable| ring.add(extent, batches, durable)).map(Ticket)
    }

    /// Has earlier frames of a log count no more, durably: it is to be truncated. Its segments are
    /// synced. Blocks for a sync, where it has any. `false`: there is no room for now, which takes
    /// very many logs, or a failed journal is still needed by others; once those that
    /// [`pinning`](Journal::pinning) names have synced their segments, it may be asked again.
    ///
    /// # Errors
    /// That of the sync.
    pub(crate) fn bar(&self, log: LogId) -> Result<bool> {
        match &self.inner.lock().standing {
            Standing::Asleep | Standing::Missing { .. } | Standing::Gone { .. } => return Ok(true),
            Standing::Retired { .. } => return Ok(false),
            Standing::Ready { ring, .. } if !ring.has_frames(log) => return Ok(true),
            Standing::Ready { .. } => {}
        }
        match self.place(|ring, durable| ring.bar(log, durable)) {
            Some(sequence) => Ok(self.settle(Ticket(sequence))? == Kept::Yes),
            None => Ok(false),
        }
    }

    /// Those whose segments are to be synced before a bar that was refused finds room.
    pub(crate) fn pinning(&self) -> Vec<LogId> {
        match &self.inner.lock().standing {
            Standing::Ready { ring, .. } => ring.pinning(),
            Standing::Retired { ring, .. } => ring.pinning_any(),
            Standing::Asleep | Standing::Missing { .. } | Standing::Gone { .. } => Vec::new(),
        }
    }

    /// Makes a gathered frame durable, with whatever others have gathered meanwhile. Blocks for one
    /// sync, unless another's has had it.
    ///
    /// # Errors
    /// That of the sync that had it; it may or may not be on the disk then.
    pub(crate) fn settle(&self, Ticket(sequence): Ticket) -> Result<Kept> {
        match self.commit.join(sequence, || self.durable()) {
            Joined::Lead(turn) => self.lead(turn),
            Joined::Covered | Joined::Served(_) => {}
        }
        if self.durable() >= sequence { Ok(Kept::Yes) } else { self.fate(sequence) }
    }

    fn ask_for_file(&self) {
        let mut inner = self.inner.lock();
        if let Standing::Missing { asked } = &mut inner.standing
            && !std::mem::replace(asked, true)
        {
            drop(inner);
            self.upkeep.due();
        }
    }

    /// Places a frame by `add`; `None` where it finds no place.
    fn place(&self, add: impl FnOnce(&mut Ring, u64) -> Placed) -> Option<u64> {
        let mut inner = self.inner.lock();
        let Standing::Ready { ring, .. } = &mut inner.standing else { return None };
        let (sequence, ask) = match add(ring, self.durable()) {
            Placed::At { sequence, turned } => (Some(sequence), turned),
            Placed::TooLarge => (None, Vec::new()),
            Placed::Pinned => {
                let pinning = ring.pinning();
                inner.declined += 1;
                let again = inner.declined.is_multiple_of(ASK_AGAIN);
                (None, if again { pinning } else { Vec::new() })
            }
        };
        drop(inner);
        if !ask.is_empty() {
            self.upkeep.sync_segments(&ask);
        }
        sequence
    }

    /// Writes and syncs what was gathered.
    fn lead(&self, mut turn: Turn<'_, u64>) {
        turn.begin(|| match &self.inner.lock().standing {
            Standing::Ready { ring, .. } => ring.last_sequence(),
            _ => u64::MAX, // whoever is left is declined
        });
        let ending = self.write();
        turn.end_and_release(&ending);
    }

    fn write(&self) -> Ending {
        let (file, runs, last) = {
            let inner = &mut *self.inner.lock();
            let Standing::Ready { file, ring } = &mut inner.standing else { return Ok(()) };
            let runs = ring.take(std::mem::take(&mut inner.spare));
            (file.clone(), runs, ring.last_sequence())
        };
        let path = file.path();
        for Run { at, bytes } in &runs {
            let written = write_all_at(&*file, bytes, *at);
            if let Err(error) = written {
                let error = Error::io("write journal", &path, error).at_position(*at);
                return Err(self.retire(error, None));
            }
            if let Err(error) = file.sync_data() {
                let error = Error::io("sync journal", &path, error);
                let begun = error.is_of_a_sync_begun();
                return Err(self.retire(error, begun.then(|| (self.durable() + 1, last))));
            }
        }
        self.durable.store(last, Ordering::Release);
        if let Some(mut run) = runs.into_iter().next_back() {
            run.bytes.clear();
            self.inner.lock().spare = run.bytes;
        }
        Ok(())
    }

    /// Ends it for this open. Frames in a sync that failed are in doubt; others were not written,
    /// or not said to be durable.
    fn retire(&self, error: Error, in_doubt: Option<(u64, u64)>) -> Arc<Error> {
        log::error!("{error}: the journal is not used any more, partitions are synced one by one");
        let error = Arc::new(error);
        self.ready.store(false, Ordering::Release);
        let mut inner = self.inner.lock();
        let failed = in_doubt.map(|(first, last)| Failed { first, last, error: error.clone() });
        let mut pinning = Vec::new();
        match std::mem::replace(&mut inner.standing, Standing::Asleep) {
            Standing::Ready { ring, .. } => {
                pinning = ring.pinning_any();
                inner.standing = Standing::Retired { ring, failed };
            }
            other => inner.standing = other,
        }
        drop(inner);
        self.upkeep.sync_segments(&pinning);
        self.upkeep.due(); // it may be that nobody needs the file
        error
    }

    /// What became of a frame that is not durable.
    fn fate(&self, sequence: u64) -> Result<Kept> {
        let inner = self.inner.lock();
        let (Standing::Retired { failed, .. } | Standing::Gone { failed }) = &inner.standing else {
            return Ok(Kept::No);
        };
        match failed {
            Some(failed) if (failed.first..=failed.last).contains(&sequence) => {
                Err(failed.error.again())
            }
            _ => Ok(Kept::No),
        }
    }

    /// A log's segments are synced up to `offset`: what the journal has of it below is not needed.
    pub(crate) fn synced(&self, log: LogId, offset: Offset) {
        let mut inner = self.inner.lock();
        match &mut inner.standing {
            Standing::Ready { ring, .. } => ring.synced(log, offset),
            Standing::Retired { ring, .. } => {
                ring.synced(log, offset);
                if ring.pinning_any().is_empty() {
                    drop(inner);
                    self.upkeep.due();
                }
            }
            Standing::Asleep | Standing::Missing { .. } | Standing::Gone { .. } => {}
        }
    }

    /// Makes the next portion of the file where it was asked for, and removes it where it has
    /// failed and nobody needs it any more. `record` has what it is told recorded durably. Asks to
    /// be called again while there is more to do.
    pub(crate) fn keep_up(&self, record: impl Fn(Use) -> Result<()>) {
        let inner = self.inner.lock();
        match &inner.standing {
            Standing::Missing { asked: true } => {
                let Some(reign) = inner.reign else { return };
                drop(inner);
                self.make(reign, record);
            }
            Standing::Retired { ring, failed } if ring.pinning_any().is_empty() => {
                let failed = failed.clone();
                drop(inner);
                // a file whose end is not recorded stays: all that is in it fits
                match record(Use::Ends) {
                    Ok(()) => self.remove(failed),
                    Err(error) => log::warn!("{error}: the journal's file stays"),
                }
            }
            _ => {}
        }
    }

    fn make(&self, reign: Reign, record: impl Fn(Use) -> Result<()>) {
        let mut making = self.making.lock();
        let made = match making.take() {
            Some(new) => Ok(Making::Anew(new)),
            None => file::begin_making(&*self.disk, &self.root, &reign.store, self.half),
        };
        let made = made.and_then(|made| match made {
            Making::Anew(new) => new.go_on(&*self.disk, &self.root),
            found @ Making::Found(_) => Ok(found),
        });
        let begun = made.and_then(|made| match made {
            Making::Anew(new) => {
                *making = Some(new);
                Ok(None)
            }
            Making::Found(file) => {
                let ring = begin_reign(&*file, reign, self.half)?;
                record(Use::Begins)?;
                Ok(Some((file, ring)))
            }
        });
        match begun {
            Ok(None) => self.upkeep.due(),
            Ok(Some((file, ring))) => {
                self.durable.store(ring.last_sequence(), Ordering::Release);
                self.inner.lock().standing = Standing::Ready { file, ring };
                self.ready.store(true, Ordering::Release);
            }
            Err(error) => {
                log::warn!("there is no journal, partitions are synced one by one: {error}");
                self.inner.lock().standing = Standing::Asleep;
            }
        }
    }

    /// The store closes: a file that is not made to its end goes.
    pub(crate) fn give_up_making(&self) {
        let mut making = self.making.lock();
        if making.take().is_some() {
            file::remove_files(&*self.disk, &self.root, true);
        }
    }

    /// What a failed sync left in it is of no use, and must not be met by a later open.
    fn remove(&self, failed: Option<Failed>) {
        let path = self.root.join(JOURNAL);
        let gone = match self.disk.remove_file(&path) {
            // removed before, and its name was not synced then
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        let removed = gone.and_then(|()| self.disk.sync_dir(&self.root));
        match removed {
            Ok(()) => self.inner.lock().standing = Standing::Gone { failed },
            Err(error) => log::warn!("{}", Error::io("remove journal", &path, error)),
        }
    }
}

/// Writes the first frame of a reign, durably.
fn begin_reign(file: &dyn DiskFile, reign: Reign, half: u64) -> Result<Ring> {
    let mut ring = Ring::new(reign, half);
    ring.begin();
    let fail = |error| Error::io("begin journal", &file.path(), error);
    for run in ring.take(Vec::new()) {
        write_all_at(file, &run.bytes, run.at).map_err(fail)?;
    }
    file.sync_data().map_err(fail)?;
    Ok(ring)
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("root", &self.root)
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}
