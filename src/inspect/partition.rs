//! The files of one partition's directory, read as they lie: no lock, no recovery, no write.
//!
//! It knows which files are Kafka's and walks the segments in order, so that batches are held
//! against what comes before them over segments too. What only the whole log tells,
//! transactions, is told from it here.
//!
//! Made by `dump`, which finds the directories.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::{DumpedBatch, OPERATION};
use super::committed::DumpedTransactions;
use super::segment::{Before, DumpedSegment};
use super::snapshot::{DumpedSnapshot, read_snapshot};
use crate::disk::Disk;
use crate::disk::names::{
    LEADER_EPOCHS, Leftover, PARTITION_METADATA, PartitionDir, SegmentFile, parse_partition_dir,
    parse_segment_file,
};
use crate::disk::replace::read_file;
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};
use crate::log::checkpoint::{read_epochs, read_partition_metadata};
use crate::log::producers::MAX_SNAPSHOT;
use crate::record::PlainLimit;

/// A partition's directory, or one `.log` file of it, as [`Dump`](crate::Dump) found it.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # tidelog::Log::open(dir.path().join("orders-3"))?.append(&[tidelog::Record::new("a")])?;
/// let dump = tidelog::Dump::open(dir.path())?;
/// let partition = &dump.partitions()[0];
/// assert_eq!(partition.topic(), Some("orders"));
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DumpedPartition {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    name: Option<(String, PartitionId)>,
    segments: Vec<DumpedSegment>,
    /// Names of the producer snapshots, by their offset.
    snapshots: Vec<(Offset, String)>,
    /// Every file of Kafka's, with its length.
    files: Vec<(String, u64)>,
}

/// Whether a name is one that Kafka gives to a file of a partition.
fn is_kafkas(name: &str) -> bool {
    let passing = |leftover| matches!(leftover, Leftover::None | Leftover::Deleted);
    match parse_segment_file(name) {
        Some((_, SegmentFile::Digests | SegmentFile::Tags, _)) => false,
        Some((_, _, leftover)) => passing(leftover),
        None => [LEADER_EPOCHS, PARTITION_METADATA].contains(&name),
    }
}

impl DumpedPartition {
    /// Lists a directory's segments and snapshots.
    pub(super) fn of_dir(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        let entries = disk.list(dir).map_err(|error| Error::io(OPERATION, dir, error))?;
        let mut partition = DumpedPartition::named(disk, dir);
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            if is_kafkas(&entry.name) {
                partition.files.push((entry.name.clone(), entry.len));
            }
            match parse_segment_file(&entry.name) {
                Some((base, SegmentFile::Log, Leftover::None)) => {
                    partition.push_segment(base, dir.join(&entry.name), entry.len);
                }
                Some((offset, SegmentFile::ProducerSnapshot, Leftover::None)) => {
                    partition.snapshots.push((offset, entry.name));
                }
                _ => {}
            }
        }
        partition.segments.sort_by_key(|segment| segment.base_offset());
        partition.snapshots.sort();
        partition.files.sort();
        Ok(partition)
    }

    /// One `.log` file, be it in its place or left by an operation that was cut short.
    pub(super) fn of_file(disk: &Arc<dyn Disk>, path: &Path, len: u64) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (base, SegmentFile::Log, _) = parse_segment_file(name)? else { return None };
        let mut partition = DumpedPartition::named(disk, path.parent()?);
        partition.push_segment(base, path.to_owned(), len);
        Some(partition)
    }

    fn named(disk: &Arc<dyn Disk>, dir: &Path) -> Self {
        let name = dir.file_name().and_then(|name| parse_partition_dir(name.to_str()?));
        let name = match name {
            Some(PartitionDir::Live { topic, partition }) => Some((topic, partition)),
            _ => None,
        };
        let (dir, disk) = (dir.to_owned(), disk.clone());
        let (segments, snapshots, files) = (Vec::new(), Vec::new(), Vec::new());
        DumpedPartition { dir, disk, name, segments, snapshots, files }
    }

    fn push_segment(&mut self, base: Offset, path: PathBuf, bytes: u64) {
        self.segments.push(DumpedSegment::new(&self.disk, base, path, bytes));
    }

    pub(super) fn set_plain(&mut self, plain: PlainLimit) {
        self.segments.iter_mut().for_each(|segment| segment.plain = plain);
    }

    /// The topic that the directory's name tells; `None` where it is no partition's name.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path().join("orders-3"))?.close()?;
    /// let dump = tidelog::Dump::open(dir.path().join("orders-3"))?;
    /// assert_eq!(dump.partitions()[0].topic(), Some("orders"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> Option<&str> {
        self.name.as_ref().map(|(topic, _)| &**topic)
    }

    /// The partition's number, from the same name.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path().join("orders-3"))?.close()?;
    /// let dump = tidelog::Dump::open(dir.path().join("orders-3"))?;
    /// assert_eq!(dump.partitions()[0].partition().map(|it| it.get()), Some(3));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> Option<PartitionId> {
        self.name.as_ref().map(|(_, partition)| *partition)
    }

    /// The directory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// println!("{}", dump.partitions()[0].path().display());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Its segments, oldest first. Files that an operation cut short has left are not among them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// assert_eq!(tidelog::Dump::open(dir.path())?.partitions()[0].segments().len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn segments(&self) -> &[DumpedSegment] {
        &self.segments
    }

    /// Shows every batch in order of offset, until `visit` breaks off or something is wrong: all
    /// that is readable before it has been shown then. Blocks for as long as the reading takes.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with path, position and offset, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) at batches of formats before 2; those of the
    /// disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// tidelog::Dump::open(dir.path())?.partitions()[0].read(|batch| {
    ///     println!("{}..={}", batch.base_offset, batch.last_offset);
    ///     std::ops::ControlFlow::Continue(())
    /// })?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read(&self, mut visit: impl FnMut(&DumpedBatch<'_>) -> ControlFlow<()>) -> Result<()> {
        let mut before = Before::default();
        for (at, segment) in self.segments.iter().enumerate() {
            let successor = self.segments.get(at + 1).map(|next| next.base_offset());
            if segment.walk(&mut before, successor, &mut visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Its transactions: which were aborted, and up to where all are decided. Reads the whole log,
    /// or what of it is readable. Blocks for as long as that takes.
    ///
    /// # Errors
    /// Those of the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// assert!(dump.partitions()[0].transactions()?.aborted().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn transactions(&self) -> Result<DumpedTransactions> {
        let mut transactions = DumpedTransactions::default();
        let read = self.read(|batch| {
            transactions.push(batch);
            ControlFlow::Continue(())
        });
        match read {
            // of the disk, not of what it holds
            Err(error) if error.position().is_none() => Err(error),
            _ => Ok(transactions),
        }
    }

    /// The files of Kafka's in the directory with their lengths, by name: those that this library
    /// adds are not among them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// let dump = tidelog::Dump::open(dir.path())?;
    /// assert!(dump.partitions()[0].files().iter().any(|(name, _)| name.ends_with(".log")));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn files(&self) -> &[(String, u64)] {
        &self.files
    }

    /// The producer snapshots that lie in the directory, in order of their offset.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for the first that is not whole; those of the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// for snapshot in tidelog::Dump::open(dir.path())?.partitions()[0].snapshots()? {
    ///     println!("{}: {:?}", snapshot.offset, snapshot.producers);
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn snapshots(&self) -> Result<Vec<DumpedSnapshot>> {
        self.snapshots.iter().map(|snapshot| self.snapshot(snapshot)).collect()
    }

    fn snapshot(&self, (offset, name): &(Offset, String)) -> Result<DumpedSnapshot> {
        let path = self.dir.join(name);
        let bytes =
            read_file(&*self.disk, &path, MAX_SNAPSHOT).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => {
                    Error::corrupt(OPERATION, &path, 0, error.to_string())
                }
                _ => Error::io(OPERATION, &path, error),
            })?;
        let producers = read_snapshot(&bytes.unwrap_or_default());
        let producers = producers.map_err(|what| Error::corrupt(OPERATION, &path, 0, what))?;
        Ok(DumpedSnapshot { offset: *offset, producers })
    }

    /// The lines of `leader-epoch-checkpoint`: each epoch with the offset it begins at.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where a line is none; those of the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// for (epoch, start) in tidelog::Dump::open(dir.path())?.partitions()[0].leader_epochs()? {
    ///     println!("{epoch} from {start}");
    /// }
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epochs(&self) -> Result<Vec<(LeaderEpoch, Offset)>> {
        let lines = read_epochs(&*self.disk, &self.dir.join(LEADER_EPOCHS))?;
        Ok(lines.into_iter().map(|line| (line.epoch, line.start)).collect())
    }

    /// The topic's id in `partition.metadata`; `None` where there is no such file.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the file holds something else; those of the
    /// disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tidelog::Log::open(dir.path())?.append(&[tidelog::Record::new("a")])?;
    /// println!("{:?}", tidelog::Dump::open(dir.path())?.partitions()[0].topic_id()?);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic_id(&self) -> Result<Option<TopicId>> {
        read_partition_metadata(&*self.disk, &self.dir.join(PARTITION_METADATA))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::names::segment_file;

    #[test]
    fn what_this_library_adds_to_a_segment_is_none_of_kafkas_files() {
        use SegmentFile::{Digests, Log, OffsetIndex, Tags, TimeIndex, TransactionIndex};
        for (kind, is_theirs) in [
            (Log, true),
            (OffsetIndex, true),
            (TimeIndex, true),
            (TransactionIndex, true),
            (SegmentFile::ProducerSnapshot, true),
            (Digests, false),
            (Tags, false),
        ] {
            let name = segment_file(Offset::ZERO, kind);
            assert_eq!(is_kafkas(&name), is_theirs, "{name}");
            assert_eq!(is_kafkas(&format!("{name}.deleted")), is_theirs, "{name}");
        }
    }
}
