//! What lies in a root: its directories with what they say of themselves, and what the whole is.
//!
//! The only part of the root that lists directories. It reads `partition.metadata` of each and
//! lists one only where the catalog does not know its id, so ten thousand known partitions cost
//! one small read each. Called by the root at open.

use std::path::Path;

use super::marker::StoreId;
use super::reconcile::{DirKind, SeenDir, SeenId};
use super::state::RootState;
use crate::disk::names::{self, Leftover, PartitionDir, SegmentFile};
use crate::disk::{Disk, Entry};
use crate::error::{Cause, Error, Result};
use crate::log::checkpoint::read_partition_metadata;

/// What a directory is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootKind {
    /// Empty: ours to take.
    Fresh,
    /// Kafka's: its topics are adopted.
    Kafka,
    /// It carries our marker.
    Ours,
}

/// Everything in a root.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) entries: Vec<Entry>,
    pub(super) dirs: Vec<SeenDir>,
}

/// Looks at `root`. In the names' order, so that plans and reports do not depend on the disk.
pub(super) fn survey(disk: &dyn Disk, root: &Path, state: &RootState) -> Result<Survey> {
    let mut entries = list(disk, root)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut dirs = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        let kind = kind_of(&entry.name);
        let mut dir =
            SeenDir { name: entry.name.clone(), kind, id: SeenId::Missing, holds_log: false };
        if matches!(dir.kind, DirKind::Partition { .. }) {
            look_into(disk, &root.join(&entry.name), state, &mut dir)?;
        }
        dirs.push(dir);
    }
    Ok(Survey { entries, dirs })
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Entry>> {
    disk.list(dir).map_err(|error| Error::io("list directory", dir, error))
}

fn look_into(disk: &dyn Disk, path: &Path, state: &RootState, dir: &mut SeenDir) -> Result<()> {
    dir.id = match read_partition_metadata(disk, &path.join(names::PARTITION_METADATA)) {
        Ok(None) => SeenId::Missing,
        Ok(Some(id)) => SeenId::Id(id),
        Err(error) if error.is_corrupt() => SeenId::Unreadable,
        Err(error) => return Err(error),
    };
    if matches!(dir.id, SeenId::Id(id) if state.topic(id).is_some()) {
        return Ok(());
    }
    dir.holds_log = list(disk, path)?.iter().any(is_log);
    Ok(())
}

/// Directories Kafka keeps in a root that are no partitions of ours to serve.
pub(crate) const KAFKA_DIRS: [&str; 2] = ["__cluster_metadata-0", "remote-log-index-cache"];

/// Files by which a directory is known as Kafka's.
const KAFKA_FILES: [&str; 7] = [
    names::META_PROPERTIES,
    names::RECOVERY_POINTS,
    names::LOG_STARTS,
    names::HIGH_WATERMARKS,
    names::CLEANER_OFFSETS,
    names::CLEAN_SHUTDOWN,
    "bootstrap.checkpoint",
];

/// Whether a directory that holds these is a store's or Kafka's root, be it one without partitions.
pub(crate) fn has_root_files(entries: &[Entry]) -> bool {
    let ours = [names::STORE_MARKER, names::STATE_LOG];
    let is_its = |name: &str| ours.contains(&name) || KAFKA_FILES.contains(&name);
    entries.iter().any(|entry| !entry.is_dir && is_its(&entry.name))
}

fn kind_of(name: &str) -> DirKind {
    if KAFKA_DIRS.contains(&name) {
        return DirKind::Kafkas;
    }
    match names::parse_partition_dir(name) {
        Some(PartitionDir::Live { topic, partition }) => DirKind::Partition { topic, partition },
        Some(PartitionDir::Deleting) => DirKind::AwaitsDeletion,
        Some(PartitionDir::Stray | PartitionDir::Future) => DirKind::SetAside,
        None => DirKind::Other,
    }
}

/// Whether a file holds records, be it that a compaction was cut short in its last step.
fn is_log(entry: &Entry) -> bool {
    let parsed = names::parse_segment_file(&entry.name);
    let holds = matches!(parsed, Some((_, SegmentFile::Log, Leftover::None | Leftover::Swap)));
    holds && !entry.is_dir
}

/// What a root is, by its marker and its names.
///
/// # Errors
/// `NotAStore` for a directory without a marker that holds something neither Kafka nor we put
/// into a root, and no sign of Kafka.
pub(super) fn classify(root: &Path, marker: Option<StoreId>, survey: &Survey) -> Result<RootKind> {
    if marker.is_some() {
        return Ok(RootKind::Ours);
    }
    let holds_records = |dir: &SeenDir| match dir.kind {
        DirKind::Partition { .. } => dir.holds_log,
        DirKind::Kafkas => true,
        _ => false,
    };
    let is_kafkas = |entry: &Entry| !entry.is_dir && KAFKA_FILES.contains(&&*entry.name);
    if survey.dirs.iter().any(holds_records) || survey.entries.iter().any(is_kafkas) {
        return Ok(RootKind::Kafka);
    }
    match survey.entries.iter().find(|entry| !is_harmless(entry)) {
        None => Ok(RootKind::Fresh),
        Some(entry) => {
            let text = format!("it holds `{}` and no sign of a store or of Kafka", entry.name);
            Err(Error::new("open store", Cause::NotAStore(text)).at_path(root))
        }
    }
}

/// What may lie in a directory that counts as empty: our lock, the traces of a creation cut short,
/// and what a file system puts into its root.
fn is_harmless(entry: &Entry) -> bool {
    if entry.is_dir {
        return entry.name == "lost+found";
    }
    let name = entry.name.strip_suffix(names::REPLACEMENT_SUFFIX).unwrap_or(&entry.name);
    [names::LOCK, names::STATE_LOG, names::STORE_MARKER, names::RESERVE].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PartitionId;

    fn of(entries: &[(&str, bool)], dirs: Vec<SeenDir>) -> Survey {
        let entry = |(name, is_dir): &(&str, bool)| Entry {
            name: (*name).to_owned(),
            is_dir: *is_dir,
            len: 0,
        };
        Survey { entries: entries.iter().map(entry).collect(), dirs }
    }

    fn partition(holds_log: bool) -> SeenDir {
        let (topic, partition) = ("t".to_owned(), PartitionId::new(0));
        let kind = DirKind::Partition { topic, partition };
        SeenDir { name: "t-0".into(), kind, id: SeenId::Missing, holds_log }
    }

    #[test]
    fn a_marker_decides_everything() {
        let odd = of(&[("holiday.jpg", false)], vec![]);
        let kind = classify(Path::new("/s"), Some(StoreId::random()), &odd).unwrap();
        assert_eq!(kind, RootKind::Ours);
    }

    #[test]
    fn emptiness_kafka_and_the_rest() {
        let kind = |survey: &Survey| classify(Path::new("/s"), None, survey);
        let fresh = [(".lock", false), ("lost+found", true), ("tidelog.store.tmp", false)];
        assert_eq!(kind(&of(&[], vec![])).unwrap(), RootKind::Fresh);
        assert_eq!(kind(&of(&fresh, vec![])).unwrap(), RootKind::Fresh);
        let meta = of(&[("meta.properties", false), ("holiday.jpg", false)], vec![]);
        assert_eq!(kind(&meta).unwrap(), RootKind::Kafka);
        let logs = of(&[("t-0", true)], vec![partition(true)]);
        assert_eq!(kind(&logs).unwrap(), RootKind::Kafka);

        let no_log = of(&[("t-0", true)], vec![partition(false)]);
        let jpg = of(&[(".lock", false), ("holiday.jpg", false)], vec![]);
        let log = of(&[("00000000000000000000.log", false)], vec![]);
        for (survey, name) in
            [(no_log, "t-0"), (jpg, "holiday.jpg"), (log, "00000000000000000000.log")]
        {
            let error = kind(&survey).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::NotAStore);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
