//! What the journal, and files beside it, hold of partitions after an unclean stop of ours.
//!
//! Read by who opens the root for writing, to be given to the logs, and by who only reads it, to be
//! shown. What a partition that cannot be opened has in the journal is put aside, durably, in a
//! file of the root; the open that finds the partition well takes it from there.
//!
//! A reign whose journal the state log knows to be in use has frames in the file, one at least: a
//! file without any is missing, or another in its place, and is told of. Nothing here is changed
//! but by `put_aside` and `let_go`.

use std::collections::HashMap;
use std::path::Path;

use super::core::Table;
use super::report::OpenReport;
use super::root::RootOpening;
use super::root::last_writer::LastWriter;
use super::root::state::RootState;
use crate::disk::Disk;
use crate::disk::names::{JOURNAL, journal_aside, parse_journal_aside};
use crate::disk::replace::replace_file;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::journal::{self, Frame, Reign};
use crate::log::{LogId, PartitionLog, PartitionReport};

/// The root whose journal it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) root: &'a Path,
    pub(super) store: [u8; 16],
}

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

impl Whose<'_> {
    /// The frames that the last reign left of partitions that live; `None` where the file should
    /// have some and has none.
    ///
    /// # Errors
    /// `NewerVersion`; `Corrupt` where the journal has lost what was durable; the disk's.
    pub(super) fn left_by(&self, state: &RootState) -> Result<Option<Vec<Frame>>> {
        let Some(epoch) = state.reign() else { return Ok(Some(Vec::new())) };
        let reign = Reign { store: self.store, epoch };
        let Some(mut frames) = journal::read(self.disk, &self.root.join(JOURNAL), &reign)? else {
            return Ok((!state.has_journal()).then(Vec::new));
        };
        frames.retain(|frame| lives(state, frame.extent.log));
        Ok(Some(frames))
    }

    /// What was put aside of one partition.
    ///
    /// # Errors
    /// `Corrupt` where it cannot be read; the disk's.
    pub(super) fn aside(&self, log: LogId) -> Result<Vec<Frame>> {
        let path = self.root.join(journal_aside(log));
        let frames = journal::read(self.disk, &path, &Reign::aside(self.store))?;
        Ok(frames.unwrap_or_default())
    }
}

fn lives(state: &RootState, log: LogId) -> bool {
    state.topic(log.topic).is_some_and(|topic| topic.partition(log.partition).is_some())
}

impl Holdings {
    /// Reads what there is; `state` knows which topics live.
    ///
    /// # Errors
    /// Those of [`Whose::left_by`].
    pub(super) fn read(
        whose: Whose<'_>,
        opening: &RootOpening,
        state: &RootState,
        report: &mut OpenReport,
    ) -> Result<Holdings> {
        let mut holdings = Holdings::default();
        holdings.read_aside(whose, opening, state, report)?;
        let path = whose.root.join(JOURNAL);
        match opening.last_writer {
            LastWriter::OursUnclean { same_boot } => {
                let Some(frames) = whose.left_by(&opening.state)? else {
                    report.lacks_journal(&path, same_boot);
                    return Ok(holdings);
                };
                for frame in frames {
                    let log = frame.extent.log;
                    if lives(state, log) {
                        holdings.0.entry(log).or_default().frames.push(frame);
                    }
                }
            }
            LastWriter::AnotherHand { .. } if opening.state.is_open() => {
                let found = whose.disk.metadata(&path);
                if found.map_err(|error| Error::io("open store", &path, error))?.is_some() {
                    let note = "the journal was not replayed: another program has written since";
                    report.notes.push(note.to_owned());
                }
            }
            LastWriter::OursClean | LastWriter::AnotherHand { .. } => {}
        }
        Ok(holdings)
    }

    /// What earlier opens have put aside.
    fn read_aside(
        &mut self,
        whose: Whose<'_>,
        opening: &RootOpening,
        state: &RootState,
        report: &mut OpenReport,
    ) -> Result<()> {
        let Whose { disk, root, .. } = whose;
        let fail = |error| Error::io("open store", root, error);
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
            match whose.aside(log) {
                Ok(frames) => held.frames = frames,
                Err(error) => held.unreadable = Some(error),
            }
        }
        Ok(())
    }

    pub(super) fn of(&self, log: LogId) -> &Held {
        self.0.get(&log).unwrap_or(&NOTHING)
    }

    /// Keeps what is held of a partition that could not be opened for an open that can.
    pub(super) fn put_aside(&self, whose: Whose<'_>, log: LogId) -> Result<()> {
        let held = self.of(log);
        if held.frames.is_empty() {
            return Ok(());
        }
        if let Some(error) = &held.unreadable {
            return Err(error.again()); // what is there cannot be kept together with this
        }
        let path = whose.root.join(journal_aside(log));
        let bytes = journal::encode_aside(&held.frames, &Reign::aside(whose.store));
        replace_file(whose.disk, &path, &bytes)
            .map_err(|error| Error::io("put journal aside", &path, error))
    }

    /// Partitions that are open have what was held of them, durably and recorded so.
    pub(super) fn let_go(&self, whose: Whose<'_>, table: &Table) {
        for (log, _) in self.0.iter().filter(|(_, held)| held.is_aside) {
            let topic = table.ids.get(&log.topic);
            let partition = topic.and_then(|topic| topic.partition(log.partition).ok());
            if partition.is_none_or(|partition| partition.log().is_err()) {
                continue;
            }
            let path = whose.root.join(journal_aside(*log));
            if let Err(error) = whose.disk.remove_file(&path) {
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

impl OpenReport {
    /// The journal that the last reign had in use is not there.
    fn lacks_journal(&mut self, path: &Path, same_boot: bool) {
        self.journal_missing = !same_boot;
        let so = match same_boot {
            true => "the machine has not gone down since, so nothing was in it alone",
            false => "records that were promised to survive a power cut may be missing",
        };
        let note = format!(
            "{} is missing, or not the one that was in use when the store was stopped: {so}",
            path.display()
        );
        log::error!("{note}");
        self.notes.push(note);
    }
}
