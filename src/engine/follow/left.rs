//! What an unclean stop left in the journal, for readers that come before the next writer.
//!
//! Only where the machine has gone down since: in the same life of it all that the journal has is
//! in the page cache, and so in the segments. Where the store's own record says that there are
//! records in the journal and the file is missing, nothing is read: a reader must not take what is
//! left for all there is. The next open for writing says what may be missing and goes on.
//!
//! Lock: one, held across the reading of the file, once a reign.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::held::Whose;
use super::super::root::exports;
use super::super::root::followed::FollowedRoot;
use super::super::root::last_writer::{LastWriter, who_wrote_last};
use super::super::root::state::{Opening, RootState};
use crate::disk::Disk;
use crate::disk::names::{JOURNAL, journal_aside};
use crate::error::{Error, Result};
use crate::ids::LeaderEpoch;
use crate::journal::Frame;
use crate::log::LogId;
use crate::sync::Mutex;

/// How often what changes under the reader is read anew.
const ATTEMPTS: usize = 5;
const OPERATION: &str = "open store read-only";

type Frames = HashMap<LogId, Vec<Frame>>;

/// What was read of the journal, and of which reign that is.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<Option<(LeaderEpoch, Frames)>>);

impl Left {
    /// Reads the journal where the reign that `state` tells of has left one.
    ///
    /// # Errors
    /// `Corrupt` where it has lost what was durable or is missing, `NewerVersion`; the disk's.
    pub(super) fn learn(&self, root: &FollowedRoot, state: &RootState) -> Result<()> {
        let mut left = self.0.lock();
        let reign = state.reign();
        if left.as_ref().map(|(known, _)| *known) == reign {
            return Ok(());
        }
        let frames = read_journal(root)?;
        *left = reign.map(|reign| (reign, frames));
        Ok(())
    }

    /// What is held of one log that nobody has recovered since.
    ///
    /// # Errors
    /// Those of [`Left::learn`].
    pub(super) fn of(&self, root: &FollowedRoot, id: LogId) -> Result<Vec<Frame>> {
        let state = root.known().state;
        self.learn(root, &state)?;
        let mut frames = aside(root, &state, id)?;
        let left = self.0.lock();
        if let Some((reign, left)) = &*left
            && Some(*reign) == state.reign()
        {
            frames.extend(left.get(&id).into_iter().flatten().cloned());
        }
        Ok(frames)
    }
}

fn whose(root: &FollowedRoot) -> Whose<'_> {
    let (disk, store) = (&**root.disk(), *root.store_id().as_bytes());
    Whose { disk, root: root.path(), store }
}

/// The state, and who wrote last by it and by the exports beside it, both of one moment.
fn last_writer(root: &FollowedRoot) -> Result<(Arc<RootState>, LastWriter)> {
    let disk = &**root.disk();
    let mut before = root.look()?;
    for _ in 1..ATTEMPTS {
        let found = exports::read_all(disk, root.path())?.digests;
        let after = root.look()?;
        if after.serial == before.serial {
            return Ok((after.state.clone(), who_wrote_last(&after.state, &found, boot(disk))));
        }
        before = after;
    }
    // a writer that is at work
    Ok((before.state, LastWriter::OursUnclean { same_boot: true }))
}

fn boot(disk: &dyn Disk) -> Option<[u8; 16]> {
    disk.boot_id().ok()
}

/// The frames of partitions that live.
fn read_journal(root: &FollowedRoot) -> Result<Frames> {
    let mut by_log = Frames::new();
    match root.look()?.state.opening() {
        Opening::Open { boot_id } if Some(boot_id) != boot(&**root.disk()) => {}
        _ => return Ok(by_log),
    }
    for attempt in 1.. {
        let (state, last_writer) = last_writer(root)?;
        if last_writer != (LastWriter::OursUnclean { same_boot: false }) {
            return Ok(by_log);
        }
        let read = whose(root).left_by(&state);
        if root.look()?.state.reign() != state.reign() && attempt < ATTEMPTS {
            continue; // somebody has opened it meanwhile, and writes the file over
        }
        let Some(frames) = read? else { return Err(missing(root)) };
        let is_final = |frame: &Frame| {
            let topic = state.topic(frame.extent.log.topic);
            let kept = topic.and_then(|topic| topic.partition(frame.extent.log.partition));
            kept.is_some_and(|kept| frame.extent.end <= kept.recovery_point)
        };
        for frame in frames.into_iter().filter(|frame| !is_final(frame)) {
            by_log.entry(frame.extent.log).or_default().push(frame);
        }
        break;
    }
    Ok(by_log)
}

fn missing(root: &FollowedRoot) -> Error {
    let path = root.path().join(JOURNAL);
    let reason = "it is missing, or another, and records that were promised to survive a power cut \
                  may have been in it alone: open the store for writing to go on without them";
    Error::corrupt(OPERATION, &path, 0, reason)
}

/// What was put aside of a partition that could not be opened.
fn aside(root: &FollowedRoot, state: &RootState, id: LogId) -> Result<Vec<Frame>> {
    let path = root.path().join(journal_aside(id));
    let there = root.disk().metadata(&path);
    let there = there.map_err(|error| Error::io(OPERATION, &path, error))?;
    let foreign = state.topic(id.topic).is_none_or(|topic| topic.foreign);
    if there.is_none() || foreign || !last_writer(root)?.1.is_ours() {
        return Ok(Vec::new());
    }
    whose(root).aside(id)
}
