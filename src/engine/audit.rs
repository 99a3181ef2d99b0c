//! A root as an audit sees it: which partitions there are, and what is recorded of each.
//!
//! The state log is read as those read it who follow another process, so that a root in use and
//! one that nobody has open are looked at alike. Nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::root::followed::FollowedRoot;
use super::root::last_writer::{LastWriter, Trace, who_wrote_last};
use super::root::{KAFKA_DIRS, exports};
use crate::config::TopicConfig;
use crate::disk::Disk;
use crate::disk::names::{
    JOURNAL, PartitionDir, STATE_LOG, STORE_MARKER, parse_journal_aside, parse_partition_dir,
    parse_segment_file, partition_dir,
};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Offset, PartitionId};
use crate::journal::{self, Reign};
use crate::log::checkpoint::OffsetLine;
use crate::log::{AuditFacts, Finding, FindingKind, LogId, PartitionAudit, list_lone, unlisted};

/// A root, listed.
#[derive(Debug, Default)]
pub(crate) struct RootAudit {
    pub(crate) findings: Vec<Finding>,
    pub(crate) partitions: Vec<PartitionAudit>,
    /// The journal, or what was put aside of it, holds records that an open gives to their
    /// partitions, by the places that these have now.
    pub(crate) awaits_replay: Option<AwaitsReplay>,
    /// What gave away that another hand wrote to it last.
    pub(crate) another_hand: Option<String>,
}

/// A file with records that are not in their partitions yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwaitsReplay {
    pub(crate) path: PathBuf,
    /// Of the one partition it is of, if it was put aside: no open could bring it there so far.
    pub(crate) partition: Option<String>,
}

impl RootAudit {
    /// What lies beside the partitions of a root that nobody has open.
    fn look_at_rest(&mut self, disk: &dyn Disk, root: &FollowedRoot) -> Result<()> {
        if let Some(torn) = root.torn() {
            let what = format!("{} bytes behind the last whole entry are none", torn.bytes);
            let path = root.path().join(STATE_LOG);
            let (position, bytes) = (torn.position, torn.bytes);
            let finding = Finding::new(FindingKind::TornTail, &path, what);
            self.findings.push(Finding { position, bytes, ..finding });
        }
        let known = root.known();
        let path = root.path().join(JOURNAL);
        let store = *root.store_id().as_bytes();
        if known.state.is_open()
            && let Some(epoch) = known.state.reign()
        {
            match journal::read(disk, &path, &Reign { store, epoch }) {
                Ok(frames) => {
                    let holds = frames.is_some_and(|some| !some.is_empty());
                    let path = path.clone();
                    self.awaits_replay = holds.then_some(AwaitsReplay { path, partition: None });
                }
                Err(error) if error.is_corrupt() => {
                    let position = error.position().unwrap_or(0);
                    let finding = Finding::new(FindingKind::State, &path, error.to_string());
                    self.findings.push(Finding { position, ..finding });
                }
                Err(error) => return Err(error),
            }
        }
        let fail = |error| Error::io("verify", root.path(), error);
        let entries = disk.list(root.path()).map_err(fail)?;
        for entry in entries {
            let Some(log) = parse_journal_aside(&entry.name) else { continue };
            let Some(topic) = known.state.topic(log.topic) else { continue };
            let partition = Some(partition_dir(&topic.name, log.partition));
            let path = root.path().join(&entry.name);
            self.awaits_replay.get_or_insert(AwaitsReplay { path, partition });
        }
        Ok(())
    }
}

/// Whether a directory is a store's root.
pub(crate) fn is_root(disk: &dyn Disk, path: &Path) -> Result<bool> {
    for name in [STORE_MARKER, STATE_LOG] {
        let found = disk.metadata(&path.join(name));
        if found.map_err(|error| Error::io("verify", path, error))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lists a root that only Kafka has written to: every partition as a lone log's. `None` where
/// `path` has none, or is a log's directory itself.
pub(crate) fn list_kafkas(
    disk: &Arc<dyn Disk>,
    path: &Path,
    is_live: bool,
) -> Result<Option<RootAudit>> {
    let entries = disk.list(path).map_err(|error| Error::io("verify", path, error))?;
    if entries.iter().any(|entry| parse_segment_file(&entry.name).is_some()) {
        return Ok(None);
    }
    let mut listed =
        RootAudit { another_hand: Some(Trace::NeverOpened.to_string()), ..RootAudit::default() };
    let is_its = |name: &str| !KAFKA_DIRS.contains(&name);
    for entry in entries.iter().filter(|entry| entry.is_dir && is_its(&entry.name)) {
        if let Some(PartitionDir::Live { .. }) = parse_partition_dir(&entry.name) {
            let (findings, partitions) = list_lone(disk, &path.join(&entry.name), is_live)?;
            listed.findings.extend(findings);
            listed.partitions.extend(partitions);
        }
    }
    Ok((!listed.partitions.is_empty()).then_some(listed))
}

/// What a checkpoint says of a partition.
fn said_of(lines: &[OffsetLine], topic: &str, partition: PartitionId) -> Offset {
    let mut lines = lines.iter();
    let line = lines.find(|line| *line.topic == *topic && line.partition == partition);
    line.map_or(Offset::ZERO, |line| line.offset)
}

/// Lists a root. Where its own state is damaged that is the finding, and no partition is listed:
/// nothing says what they should hold.
pub(crate) fn list_root(disk: &Arc<dyn Disk>, path: &Path, is_live: bool) -> Result<RootAudit> {
    let mut listed = RootAudit::default();
    let root = match FollowedRoot::open(disk.clone(), path) {
        Ok(root) => root,
        Err(error) if error.is_corrupt() => {
            let place = error.path().unwrap_or(path).to_owned();
            let position = error.position().unwrap_or(0);
            let finding = Finding::new(FindingKind::State, &place, error.to_string());
            listed.findings.push(Finding { position, ..finding });
            return Ok(listed);
        }
        Err(error) => return Err(error),
    };
    if !is_live {
        listed.look_at_rest(&**disk, &root)?;
    }
    let exports = exports::read_all(&**disk, path)?;
    let known = root.known();
    let last = who_wrote_last(&known.state, &exports.digests, disk.boot_id().ok());
    if let (false, LastWriter::AnotherHand { why }) = (is_live, last) {
        listed.another_hand = Some(why.to_string());
    }
    let foreign = listed.another_hand.is_some();
    for fault in exports.faults {
        let place = fault.path().unwrap_or(path).to_owned();
        let position = fault.position().unwrap_or(0);
        let finding = Finding::new(FindingKind::Checkpoint, &place, fault.to_string());
        listed.findings.push(Finding { position, ..finding });
    }
    for topic in known.state.topics() {
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX).max(1);
        let index_interval = TopicConfig::from_entries(count, &topic.config)?.index_interval_bytes;
        for (number, kept) in (0..).zip(&topic.partitions) {
            let partition = PartitionId::new(number);
            let dir = path.join(partition_dir(&topic.name, partition));
            let id = LogId { topic: topic.id, partition };
            let said = |lines: &[OffsetLine]| said_of(lines, &topic.name, partition);
            let (recovery_point, log_start) = match foreign {
                true => {
                    (said(&exports.contents.recovery_points), said(&exports.contents.log_starts))
                }
                false => (kept.recovery_point, kept.log_start),
            };
            let facts = AuditFacts {
                recovery_point,
                log_start,
                gapless: !topic.foreign && !topic.adopted && !foreign,
                compacted: kept.compacted,
                sparse: kept.sparse,
                is_live,
                foreign,
                may_lack_id: false,
                index_interval,
            };
            match PartitionAudit::list(disk, &dir, id, facts) {
                Ok(audit) => listed.partitions.push(audit),
                Err(error) if error.kind() == ErrorKind::Io => {
                    listed.findings.push(unlisted(&dir, &error));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(listed)
}
