//! A root that only Kafka has written to, for who reads it and nothing else: what an opening for
//! writing would adopt, made anew from names and checkpoints, and recorded nowhere.
//!
//! There is no state log to look at, so a look lists the root and reads Kafka's checkpoints; only
//! where one of these has changed the directories are looked into. An id that no directory names
//! is drawn once, and stays for as long as the root is read. A broker may be writing meanwhile:
//! what goes while it is looked at is looked for again.
//!
//! Called by `followed`, under its lock; by the engine at open for the facts of what it adopts.

use std::collections::HashMap;
use std::path::Path;

use super::exports;
use super::fact::{ExportDigests, Fact};
use super::reconcile::{AdoptedTopic, Authority, Why, reconcile};
use super::state::RootState;
use super::survey::{RootKind, classify, survey};
use crate::disk::{Disk, names};
use crate::error::{Cause, Error, Result};
use crate::ids::TopicId;
use crate::log::checkpoint::OffsetLine;

/// How often a root that changes while it is looked at is looked at again.
const ATTEMPTS: usize = 5;
const OPERATION: &str = "follow Kafka's root";

impl AdoptedTopic {
    /// What makes the topic ours; `known` is the id it had before, if no directory names one.
    pub(crate) fn fact(&self, known: Option<TopicId>) -> Fact {
        Fact::TopicCreated {
            id: self.id.or(known).unwrap_or_else(TopicId::random),
            name: self.name.clone(),
            config: Vec::new(),
            partitions: self.partitions,
            adopted: true,
            internal: self.internal,
        }
    }
}

/// What was seen of a root of Kafka's.
#[derive(Debug, Default)]
pub(super) struct Unadopted {
    names: Vec<String>,
    digests: ExportDigests,
    /// There may be more in the same names: a directory was being made.
    is_unfinished: bool,
}

/// Whether nobody but Kafka has written to the directory. One of ours that has lost its marker is
/// none of Kafka's.
///
/// # Errors
/// Those of the disk; `NotAStore` for a directory of something else.
pub(super) fn is_kafkas(disk: &dyn Disk, path: &Path) -> Result<bool> {
    let fail = |error| Error::io(OPERATION, path, error);
    let is_there = |name: &str| disk.metadata(&path.join(name)).map_err(fail);
    let found = disk.metadata(path).map_err(fail)?;
    if found.is_none_or(|found| !found.is_dir) || is_there(names::STATE_LOG)?.is_some() {
        return Ok(false);
    }
    let seen = survey(disk, path, &RootState::default())?;
    Ok(classify(path, None, &seen)? == RootKind::Kafka)
}

impl Unadopted {
    /// The state that an opening would adopt now; `None` where it is the `known` one.
    ///
    /// # Errors
    /// `NotAStore` once the root is gone or a store has adopted it; those of the disk.
    pub(super) fn look(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        known: &RootState,
    ) -> Result<Option<RootState>> {
        for attempt in 1.. {
            match self.look_once(disk, path, known) {
                Err(error) if attempt < ATTEMPTS && is_vanished(&error) => {}
                looked => return looked,
            }
        }
        Ok(None)
    }

    fn look_once(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        known: &RootState,
    ) -> Result<Option<RootState>> {
        let listed = disk.names(path);
        let mut found = listed.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => no_longer(path, "there is nothing any more"),
            _ => Error::io(OPERATION, path, error),
        })?;
        found.sort_unstable();
        if found.iter().any(|name| name == names::STORE_MARKER) {
            return Err(no_longer(path, "a store has adopted it: open that"));
        }
        let exports = exports::read_all(disk, path)?;
        if !self.is_unfinished && found == self.names && exports.digests == self.digests {
            return Ok(None);
        }
        let seen = survey(disk, path, known)?;
        let plan = reconcile(&RootState::default(), Authority::Directory, &seen.dirs);
        let mut facts = Vec::new();
        for topic in &plan.adopt {
            facts.push(topic.fact(known.topic_named(&topic.name).map(|topic| topic.id)));
        }
        let mut state = RootState::fold(&facts);
        for fact in offsets(&state, &exports.contents) {
            state.apply(&fact);
        }
        self.is_unfinished = plan.foreign.iter().any(|left| left.why == Why::Empty);
        (self.names, self.digests) = (found, exports.digests);
        Ok((state != *known).then_some(state))
    }
}

/// What Kafka's checkpoints say of the topics in `state`.
fn offsets(state: &RootState, said: &exports::Exports) -> Vec<Fact> {
    let ids: HashMap<&str, TopicId> =
        state.topics().map(|topic| (&*topic.name, topic.id)).collect();
    let of = |line: &OffsetLine| Some((*ids.get(&*line.topic)?, line.partition, line.offset));
    let points = said.recovery_points.iter().filter_map(of);
    let points =
        points.map(|(id, partition, offset)| Fact::RecoveryPoint { id, partition, offset });
    let starts = said.log_starts.iter().filter_map(of);
    let starts = starts.map(|(id, partition, offset)| Fact::LogStart { id, partition, offset });
    points.chain(starts).collect()
}

fn no_longer(path: &Path, why: &str) -> Error {
    Error::new(OPERATION, Cause::NotAStore(why.to_owned())).at_path(path)
}

fn is_vanished(error: &Error) -> bool {
    matches!(error.cause(), Cause::Io(io) if io.kind() == std::io::ErrorKind::NotFound)
}
