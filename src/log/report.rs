//! What opening a log found and did, for people and for programs.
//!
//! Recovery never acts in silence: what it cut, what it saved aside, what it found damaged and
//! which leftovers it removed are here, each with its place.

use std::path::{Path, PathBuf};

use crate::ids::{Offset, PartitionId};

/// Bytes behind the last whole batch that recovery cut off: a write that had not finished.
///
/// ```no_run
/// let log = tidelog::Log::open("data")?;
/// for torn in log.report().torn_tails() {
///     println!("{} bytes of {} were torn", torn.bytes(), torn.path().display());
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub(super) path: PathBuf,
    pub(super) position: u64,
    pub(super) bytes: u64,
    pub(super) offset: Offset,
    pub(super) saved: Vec<PathBuf>,
}

impl TornTail {
    /// The segment file that was cut.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # let file = disk.open(path, Access::Write).unwrap();
    /// # file.write_at(b"torn", file.len().unwrap()).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let torn = &log.report().torn_tails()[0];
    /// assert!(torn.path().ends_with("00000000000000000000.log"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it was cut, in bytes.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # let file = disk.open(path, Access::Write).unwrap();
    /// # file.write_at(b"torn", file.len().unwrap()).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let torn = &log.report().torn_tails()[0];
    /// assert!(torn.position() > 61); // behind one whole batch
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes were cut off, later segments included.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # let file = disk.open(path, Access::Write).unwrap();
    /// # file.write_at(b"torn", file.len().unwrap()).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let torn = &log.report().torn_tails()[0];
    /// assert_eq!(torn.bytes(), 4);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The offset the log goes on with.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # let file = disk.open(path, Access::Write).unwrap();
    /// # file.write_at(b"torn", file.len().unwrap()).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let torn = &log.report().torn_tails()[0];
    /// assert_eq!(torn.offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Where what was cut was saved: not empty if whole batches were among it, which may have
    /// been acknowledged with [`Durability::Process`](crate::Durability::Process).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # let file = disk.open(path, Access::Write).unwrap();
    /// # file.write_at(b"torn", file.len().unwrap()).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let torn = &log.report().torn_tails()[0];
    /// assert!(torn.saved().is_empty()); // no whole batch was cut
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn saved(&self) -> &[PathBuf] {
        &self.saved
    }
}

/// Records that were promised and cannot be read.
///
/// ```no_run
/// let log = tidelog::Log::open("data")?;
/// for damage in log.report().damage() {
///     println!("offsets {} to {} are damaged", damage.from(), damage.to());
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub(super) path: PathBuf,
    pub(super) position: u64,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) reason: String,
}

impl Damage {
    /// The file.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # disk.open(path, Access::Write).unwrap().write_at(b"bad", 64).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let damage = &log.report().damage()[0];
    /// assert!(damage.path().ends_with("00000000000000000000.log"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in it the damage begins, in bytes.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # disk.open(path, Access::Write).unwrap().write_at(b"bad", 64).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let damage = &log.report().damage()[0];
    /// assert_eq!(damage.position(), 0); // where its batch begins
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The first offset that cannot be read.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # disk.open(path, Access::Write).unwrap().write_at(b"bad", 64).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let damage = &log.report().damage()[0];
    /// assert_eq!(damage.from(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn from(&self) -> Offset {
        self.from
    }

    /// The first offset behind the damage.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # disk.open(path, Access::Write).unwrap().write_at(b"bad", 64).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let damage = &log.report().damage()[0];
    /// assert_eq!(damage.to(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn to(&self) -> Offset {
        self.to
    }

    /// What is wrong.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let path = std::path::Path::new("/wal/00000000000000000000.log");
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # disk.open(path, Access::Write).unwrap().write_at(b"bad", 64).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?;
    /// let damage = &log.report().damage()[0];
    /// assert!(damage.reason().contains("checksum"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// What opening one partition's log found and did.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let log = tidelog::Log::open(dir.path())?;
/// assert!(!log.report().is_notable()); // nothing to tell
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionReport {
    pub(super) topic: String,
    pub(super) partition: PartitionId,
    pub(super) scanned_records: u64,
    pub(super) torn_tails: Vec<TornTail>,
    pub(super) damage: Vec<Damage>,
    pub(super) removed: Vec<PathBuf>,
    pub(super) put_aside: Vec<PathBuf>,
    pub(super) restored_records: u64,
}

impl PartitionReport {
    /// The topic.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/data/orders-3").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.report().topic(), "orders");
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/data/orders-3").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.report().partition(), tidelog::PartitionId::new(3));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Records that were checked because no recorded sync covered them.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/data/orders-3").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.report().scanned_records(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn scanned_records(&self) -> u64 {
        self.scanned_records
    }

    /// Records that a power cut had taken from the segments, and the store's journal gave back.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/data/orders-3").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.report().restored_records(), 0); // a lone log has no journal
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn restored_records(&self) -> u64 {
        self.restored_records
    }

    pub(crate) fn restored(&mut self, records: u64) {
        self.restored_records += records;
    }

    /// What was cut off.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/data/orders-3").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert!(log.report().torn_tails().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn torn_tails(&self) -> &[TornTail] {
        &self.torn_tails
    }

    /// What cannot be read.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/data/orders-3").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert!(log.report().damage().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Leftovers of an earlier stop that were removed.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/data/orders-3").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert!(log.report().removed().is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn removed(&self) -> &[PathBuf] {
        &self.removed
    }

    /// Rewritten logs of a compaction that are empty, cut or damaged, under the names they were
    /// given: what they were made of stands, so they took the place of nothing.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, disk::{Access, Disk, MemoryDisk}};
    /// # let disk = Arc::new(MemoryDisk::new());
    /// # let log = Log::builder("/wal").disk(disk.clone()).open()?;
    /// # log.append(&[Record::new("whole")])?;
    /// # log.close()?;
    /// # disk.open("/wal/00000000000000000000.log.swap".as_ref(), Access::Create).unwrap();
    /// let log = Log::builder("/wal").disk(disk).open()?; // an empty `.log.swap` lay there
    /// assert!(log.report().put_aside()[0].ends_with("00000000000000000000.log.swap.cut"));
    /// assert_eq!(log.read(log.start_offset(), 1 << 20)?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn put_aside(&self) -> &[PathBuf] {
        &self.put_aside
    }

    /// Whether there is anything here that a person should look at.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/data/orders-3").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert!(!log.report().is_notable());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn is_notable(&self) -> bool {
        let told = self.torn_tails.is_empty() && self.damage.is_empty() && self.removed.is_empty();
        !told || !self.put_aside.is_empty() || self.restored_records > 0
    }
}
