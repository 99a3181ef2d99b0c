//! The journal in the life of a store: what an open takes from it, and who looks after it.
//!
//! After an unclean stop of ours its frames go to their partitions, each of which takes back what
//! its log has lost and syncs it, before the new epoch is drawn: from then on all of them count no
//! more. What a partition that cannot be opened has in it is put aside before, durably, in a file
//! of the root; the open that finds the partition well replays that. Cut short anywhere, the next
//! open does the same again.
//!
//! Called by `open` and by the maintenance.

use std::collections::HashMap;
use std::path::Path;

use super::Engine;
use super::core::Table;
use super::maintenance::Requests;
use super::open::Shared;
use super::report::OpenReport;
use super::root::fact::Fact;
use super::root::last_writer::LastWriter;
use super::root::state::RootState;
use super::root::{Root, RootOpening};
use crate::disk::Disk;
use crate::disk::names::{JOURNAL, journal_aside, parse_journal_aside};
use crate::disk::replace::replace_file;
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::journal::{self, Frame, Journal, Reign, Upkeep};
use crate::log::{LogId, PartitionLog, PartitionReport};
use crate::sync::Arc;

/// What the journal, or a file beside it, holds of one partition.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) frames: Vec<Frame>,
    /// Why what was put aside cannot be read.
    pub(super) unreadable: Option<Error>,
    /// There is a file to be removed once the frames are in the log.
    is_aside: bool,
}

/// All that is held for the partitions of a store.
#[derive(Debug, Default)]
pub(super) struct Holdings(HashMap<LogId, Held>);

/// Nothing is held of most partitions.
static NOTHING: Held = Held { frames: Vec::new(), unreadable: None, is_aside: false };

impl Holdings {
    /// Reads what there is; `state` knows which topics live.
    ///
    /// # Errors
    /// `NewerVersion`; `Corrupt` where the journal has lost what was durable; the disk's.
    pub(super) fn read(
        shared: &Shared,
        opening: &RootOpening,
        state: &RootState,
        report: &mut OpenReport,
    ) -> Result<Holdings> {
        let mut holdings = Holdings::default();
        holdings.read_aside(shared, opening, state, report)?;
        let disk = &*shared.options.disk;
        let path = shared.root.path().join(JOURNAL);
        let store = *shared.root.store_id().as_bytes();
        match (opening.last_writer, opening.state.reign()) {
            (LastWriter::OursUnclean { .. }, Some(epoch)) => {
                let frames = journal::read(disk, &path, &Reign { store, epoch })?;
                for frame in frames.unwrap_or_default() {
                    let log = frame.extent.log;
                    if state
                        .topic(log.topic)
                        .is_some_and(|topic| topic.partition(log.partition).is_some())
                    {
                        holdings.0.entry(log).or_default().frames.push(frame);
                    }
                }
            }
            (LastWriter::AnotherHand { .. }, Some(_)) if opening.state.is_open() => {
                let found = disk.metadata(&path);
                if found.map_err(|error| Error::io("open store", &path, error))?.is_some() {
                    let note = "the journal was not replayed: another program has written since";
                    report.notes.push(note.to_owned());
                }
            }
            _ => {}
        }
        Ok(holdings)
    }

    /// What earlier opens have put aside.
    fn read_aside(
        &mut self,
        shared: &Shared,
        opening: &RootOpening,
        state: &RootState,
        report: &mut OpenReport,
    ) -> Result<()> {
        let disk = &*shared.options.disk;
        let root = shared.root.path();
        let fail = |error| Error::io("open store", root, error);
        let reign = Reign::aside(*shared.root.store_id().as_bytes());
        for entry in disk.list(root).map_err(fail)? {
            let Some(log) = parse_journal_aside(&entry.name) else { continue };
            let path = root.join(&entry.name);
            let Some(topic) = state.topic(log.topic) else {
                if let Err(error) = disk.remove_file(&path) {
                    log::debug!("{}", Error::io("remove file", &path, error)); // next time
                }
                continue;
            };
            if topic.foreign || !opening.last_writer.is_ours() {
                report.left_alone.push(path);
                continue;
            }
            let held = self.0.entry(log).or_default();
            held.is_aside = true;
            match journal::read(disk, &path, &reign) {
                Ok(frames) => held.frames = frames.unwrap_or_default(),
                Err(error) => held.unreadable = Some(error),
            }
        }
        Ok(())
    }

    pub(super) fn of(&self, log: LogId) -> &Held {
        self.0.get(&log).unwrap_or(&NOTHING)
    }

    /// Keeps what is held of a partition that could not be opened for an open that can.
    pub(super) fn put_aside(&self, shared: &Shared, log: LogId) -> Result<()> {
        let held = self.of(log);
        if held.frames.is_empty() {
            return Ok(());
        }
        if let Some(error) = &held.unreadable {
            return Err(error.again()); // what is there cannot be kept together with this
        }
        let path = shared.root.path().join(journal_aside(log));
        let reign = Reign::aside(*shared.root.store_id().as_bytes());
        let bytes = journal::encode_aside(&held.frames, &reign);
        replace_file(&*shared.options.disk, &path, &bytes)
            .map_err(|error| Error::io("put journal aside", &path, error))
    }

    /// Partitions that are open have what was held of them, durably and recorded so.
    pub(super) fn let_go(&self, disk: &dyn Disk, root: &Path, table: &Table) {
        for (log, _) in self.0.iter().filter(|(_, held)| held.is_aside) {
            let topic = table.ids.get(&log.topic);
            let partition = topic.and_then(|topic| topic.partition(log.partition).ok());
            if partition.is_none_or(|partition| partition.log().is_err()) {
                continue;
            }
            let path = root.join(journal_aside(*log));
            if let Err(error) = disk.remove_file(&path) {
                log::warn!("{}", Error::io("remove file", &path, error)); // harmless: it all fits
            }
        }
    }
}

impl Held {
    /// Whether something is held that the log may not have.
    pub(super) fn is_something(&self) -> bool {
        !self.frames.is_empty() || self.unreadable.is_some()
    }

    /// Gives a recovered log what it has lost, and makes all of it durable; returns the recovery
    /// point to record before anything is appended.
    pub(super) fn restore(
        &self,
        log: &PartitionLog,
        report: &mut PartitionReport,
    ) -> Result<Option<Offset>> {
        if let Some(error) = &self.unreadable {
            return Err(error.again());
        }
        let Some(end) = self.frames.iter().map(|frame| frame.extent.end).max() else {
            return Ok(None);
        };
        report.restored(log.replay(&self.frames)?);
        let point = log.offsets().snapshot().recovery_point;
        if point >= end { Ok(None) } else { log.checkpoint().map(Some) }
    }
}

/// A partition that has got what the journal held of it.
pub(super) struct Restored {
    pub(super) id: LogId,
    pub(super) point: Offset,
}

impl Restored {
    pub(super) fn fact(&self) -> Fact {
        let (id, partition) = (self.id.topic, self.id.partition);
        Fact::RecoveryPoint { id, partition, offset: self.point }
    }
}

/// The reign before is over: its frames count no more, and the journal serves this one.
pub(super) fn settle(
    shared: &Shared,
    table: &Table,
    held: &Holdings,
    restored: &[Restored],
    epoch: LeaderEpoch,
) {
    for Restored { id, point } in restored {
        let topic = table.ids.get(&id.topic);
        let partition = topic.and_then(|topic| topic.partition(id.partition).ok());
        if let Some(log) = partition.as_ref().and_then(|partition| partition.log().ok()) {
            log.recovery_point_recorded(*point);
        }
    }
    let (disk, root) = (&*shared.options.disk, shared.root.path());
    held.let_go(disk, root, table);
    match &shared.journal {
        Some(journal) => journal.begin(*shared.root.store_id().as_bytes(), epoch),
        None => remove_unused(disk, root),
    }
}

impl Engine {
    /// Makes the journal's file or removes it, and syncs the segments of logs that pin its space.
    pub(super) fn keep_up_journal(&self) {
        for id in self.requests().take_pinning() {
            let Some(partition) = self.partition_by_id(id) else { continue };
            let Ok(log) = partition.log() else { continue };
            if let Err(error) = log.sync_segments() {
                log::debug!("{error}"); // the journal asks again, the log says it to its callers
                partition.note_failure();
            }
            partition.signal().notify(); // for those who wait for durable records only
        }
        if self.requests().take_journal()
            && let Ok(owner) = self.owner("maintain")
            && let Some(journal) = &owner.journal
        {
            journal.keep_up();
        }
    }
}

impl Upkeep for Requests {
    fn due(&self) {
        self.journal_due();
    }

    fn sync_segments(&self, logs: &[LogId]) {
        self.unpin(logs);
    }
}

/// The journal of a store that is about to be opened, where it is to have one.
pub(super) fn of_store(
    disk: &Arc<dyn Disk>,
    root: &Root,
    size: Option<u64>,
    requests: &Arc<Requests>,
) -> Option<Arc<Journal>> {
    let size = size?;
    Some(Arc::new(Journal::new(disk.clone(), root.path(), size, requests.clone())))
}

/// The file of a journal that is not to be used any more, its last reign over, goes.
pub(super) fn remove_unused(disk: &dyn Disk, root: &Path) {
    let path = root.join(JOURNAL);
    let removed = match disk.metadata(&path) {
        Ok(Some(_)) => disk.remove_file(&path),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = removed {
        log::warn!("{}", Error::io("remove journal", &path, error));
    }
}
