//! Looking at files as they lie: which partitions a path leads to, without opening any of them.
//!
//! A path is a root, a partition's directory or one `.log` file. Nothing is written, made, locked
//! or rebuilt, and nothing is believed that a file says of itself: what is damaged is an error that
//! names the place, and what lies before it is shown.
//!
//! Called by users, and by the command `tidelog dump`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::OPERATION;
use super::partition::DumpedPartition;
use crate::disk::names::{
    CLEAN_SHUTDOWN, LEADER_EPOCHS, Leftover, PARTITION_METADATA, PartitionDir, RECOVERY_POINTS,
    SegmentFile, parse_partition_dir, parse_segment_file,
};
use crate::disk::{Disk, Entry, RealDisk};
use crate::engine::root::{KAFKA_DIRS, has_root_files};
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId};
use crate::log::checkpoint::{parse_offsets, read_small_file};
use crate::record::PlainLimit;

/// What lies in a root, in one partition's directory or in one `.log` file: batches, records,
/// indexes, snapshots and epochs, as they are written. It takes no lock and changes nothing.
///
/// Unlike a [`ReadOnlyStore`](crate::ReadOnlyStore) it applies nothing: no log start, no recovery,
/// no isolation; control records are shown, and what is not yet acknowledged or lies in a torn tail
/// is shown as far as it is readable. Files that another process changes meanwhile are seen before
/// or after the change.
///
/// ```
/// use std::ops::ControlFlow;
/// use tidelog::{Dump, Record, Store, TopicConfig};
/// let dir = tempfile::tempdir().unwrap();
/// let store = Store::open(dir.path())?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
///
/// let dump = Dump::open(dir.path())?; // while the store is open
/// let mut values = Vec::new();
/// dump.partitions()[0].read(|batch| {
///     let records = batch.records().into_iter().flatten().flatten();
///     values.extend(records.map(|record| record.value.map(<[u8]>::to_vec)));
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(values, [Some(b"hello".to_vec())]);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dump {
    partitions: Vec<DumpedPartition>,
    has_clean_mark: bool,
    root: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Dump {
    /// Looks at a path on the real disk. In a root, `__cluster_metadata-0` (Kafka's own log) and
    /// directories that wait for their deletion are left out; each can be named by itself.
    ///
    /// # Errors
    /// [`NotAStore`](crate::ErrorKind::NotAStore) where the path leads to none of the three; those
    /// of the disk.
    ///
    /// ```
    /// let error = tidelog::Dump::open("/nowhere").unwrap_err();
    /// assert_eq!(error.kind(), tidelog::ErrorKind::NotAStore);
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Dump> {
        let path = path.as_ref();
        let disk = RealDisk::for_directory(path);
        let disk = disk.map_err(|error| Error::io(OPERATION, path, error))?;
        let path = std::path::absolute(path).map_err(|error| Error::io(OPERATION, path, error))?;
        Dump::open_on(path, Arc::new(disk))
    }

    /// The same on a disk of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// use std::sync::Arc;
    /// let disk = Arc::new(tidelog::disk::MemoryDisk::new());
    /// assert!(tidelog::Dump::open_on("/nowhere", disk).is_err());
    /// ```
    pub fn open_on(path: impl AsRef<Path>, disk: Arc<dyn Disk>) -> Result<Dump> {
        let path = path.as_ref();
        let nothing = |what: &str| {
            Err(Error::new(OPERATION, Cause::NotAStore(what.to_owned())).at_path(path))
        };
        let made = |partitions, has_clean_mark| Dump {
            partitions,
            has_clean_mark,
            root: path.to_owned(),
            disk: disk.clone(),
        };
        let found = disk.metadata(path).map_err(|error| Error::io(OPERATION, path, error))?;
        let Some(found) = found else { return nothing("there is nothing") };
        if !found.is_dir {
            return match DumpedPartition::of_file(&disk, path, found.len) {
                Some(partition) => Ok(made(vec![partition], false)),
                None => nothing("it is a file, and not named as a segment's `.log`"),
            };
        }
        let entries = disk.list(path).map_err(|error| Error::io(OPERATION, path, error))?;
        let mut dirs = partition_dirs(path, &entries);
        if dirs.is_empty() || entries.iter().any(is_log) {
            let is_partition = entries.iter().any(is_log) || is_empty_partition(path, &entries);
            if !is_partition {
                return match has_root_files(&entries) {
                    true => Ok(made(Vec::new(), false)),
                    false => nothing("it holds neither segments nor partitions"),
                };
            }
            dirs = vec![path.to_owned()];
        }
        let has_clean_mark = entries.iter().any(|entry| entry.name == CLEAN_SHUTDOWN);
        let partitions = dirs.iter().map(|dir| DumpedPartition::of_dir(&disk, dir));
        Ok(made(partitions.collect::<Result<_>>()?, has_clean_mark))
    }

    /// How many bytes one compressed batch may take decompressed; of one that takes more the
    /// records are an error. Default 8 MiB, or 32 times the batch's own size where that is more;
    /// at least 1.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?.max_decompressed_bytes(64 << 20);
    /// # drop(dump);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[must_use]
    pub fn max_decompressed_bytes(mut self, bytes: usize) -> Dump {
        let plain = PlainLimit::bytes(bytes.max(1));
        self.partitions.iter_mut().for_each(|partition| partition.set_plain(plain));
        self
    }

    /// Whether whoever closed the root last has marked it as closed cleanly, as Kafka does. A lone
    /// partition's directory holds no such mark.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = tidelog::Store::open(dir.path())?;
    /// store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(tidelog::Record::new("hello"))?;
    /// assert!(!tidelog::Dump::open(dir.path())?.has_clean_mark());
    /// store.close()?;
    /// assert!(tidelog::Dump::open(dir.path())?.has_clean_mark());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn has_clean_mark(&self) -> bool {
        self.has_clean_mark
    }

    /// Up to where each partition of a root was known to be on disk, by topic and number, as the
    /// root's checkpoint says; none where there is no such file.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where a line of the file is none; those of the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// assert!(tidelog::Dump::open(dir.path())?.recovery_points()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn recovery_points(&self) -> Result<Vec<(String, PartitionId, Offset)>> {
        let path = self.root.join(RECOVERY_POINTS);
        let bytes = match self.disk.metadata(&self.root) {
            Ok(Some(found)) if found.is_dir => read_small_file(&*self.disk, &path, OPERATION)?,
            _ => None,
        };
        let lines = parse_offsets(&bytes.unwrap_or_default());
        let lines = lines.map_err(|fault| fault.into_error(OPERATION, &path))?;
        Ok(lines.into_iter().map(|line| (line.topic, line.partition, line.offset)).collect())
    }

    /// The partitions, by topic and number; one where the path is a partition's or a file.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// assert_eq!(tidelog::Dump::open(dir.path())?.partitions().len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partitions(&self) -> &[DumpedPartition] {
        &self.partitions
    }
}

fn is_log(entry: &Entry) -> bool {
    let parsed = parse_segment_file(&entry.name);
    !entry.is_dir && matches!(parsed, Some((_, SegmentFile::Log, Leftover::None)))
}

/// Whether a directory without segments is a partition's all the same.
fn is_empty_partition(path: &Path, entries: &[Entry]) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let of_a_partition = |entry: &Entry| {
        let is_segments = parse_segment_file(&entry.name).is_some();
        !entry.is_dir
            && (is_segments || [LEADER_EPOCHS, PARTITION_METADATA].contains(&&*entry.name))
    };
    let is_named = matches!(parse_partition_dir(name), Some(PartitionDir::Live { .. }));
    (is_named && entries.iter().all(|entry| !entry.is_dir)) || entries.iter().any(of_a_partition)
}

/// The partitions' directories in a root, by topic and number.
fn partition_dirs(root: &Path, entries: &[Entry]) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        if KAFKA_DIRS.contains(&&*entry.name) {
            continue;
        }
        if let Some(PartitionDir::Live { topic, partition }) = parse_partition_dir(&entry.name) {
            dirs.push((topic, partition, root.join(&entry.name)));
        }
    }
    dirs.sort();
    dirs.into_iter().map(|(_, _, path)| path).collect()
}
