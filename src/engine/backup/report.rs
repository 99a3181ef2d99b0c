//! What a backup took over, and how, for people and for programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ids::LeaderEpoch;
use crate::log::Amounts;
use crate::time::Timestamp;

/// What a backup holds and what it cost.
///
/// ```
/// use std::sync::Arc;
/// use tidelog::{Record, Store, TopicConfig, disk::MemoryDisk};
/// let store = Store::builder("/store").disk(Arc::new(MemoryDisk::new())).open()?;
/// store.create_topic("orders", TopicConfig::new().partitions(4))?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let report = store.backup("/backup")?;
/// assert!(report.partitions() > 0 && report.bytes_copied() > 0);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BackupReport {
    pub(super) path: PathBuf,
    pub(super) store_id: String,
    pub(super) cut: Timestamp,
    pub(super) took: Duration,
    pub(super) epoch: LeaderEpoch,
    pub(super) partitions: usize,
    pub(super) amounts: Amounts,
}

impl BackupReport {
    /// The directory of the backup.
    ///
    /// ```
    /// # let report = tidelog::Store::in_memory()?.backup("/backup")?;
    /// assert_eq!(report.path(), std::path::Path::new("/backup"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the store that the backup is: 32 hexadecimal digits, not those of the
    /// store it was made of.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// assert_ne!(store.backup("/backup")?.store_id(), store.id());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// The one moment the backup shows, by the store's clock.
    ///
    /// ```
    /// # let report = tidelog::Store::in_memory()?.backup("/backup")?;
    /// assert!(report.cut_at().as_millis() > 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn cut_at(&self) -> Timestamp {
        self.cut
    }

    /// How long it took, by the store's clock.
    ///
    /// ```
    /// # let report = tidelog::Store::in_memory()?.backup("/backup")?;
    /// println!("{:?}", report.took());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The highest leader epoch in the backup: that of the store it was made of. The backup is
    /// opened under a higher one.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = store.backup("/backup")?;
    /// assert_eq!(report.leader_epoch(), store.open_report().leader_epoch());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// How many partitions there are, those without a record included.
    ///
    /// ```
    /// # let report = tidelog::Store::in_memory()?.backup("/backup")?;
    /// println!("{}", report.partitions());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// How many log files the backup shares with the store, by a second name.
    ///
    /// ```
    /// # let report = tidelog::Store::in_memory()?.backup("/backup")?;
    /// assert_eq!(report.files_linked(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn files_linked(&self) -> u64 {
        self.amounts.linked_files
    }

    /// Their bytes, which take no space of their own until the store drops them.
    ///
    /// ```
    /// # let report = tidelog::Store::in_memory()?.backup("/backup")?;
    /// assert_eq!(report.bytes_linked(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn bytes_linked(&self) -> u64 {
        self.amounts.linked_bytes
    }

    /// How many log files and sidecars were copied. Small files that are written anew for each
    /// partition and for the store do not count.
    ///
    /// ```
    /// # let report = tidelog::Store::in_memory()?.backup("/backup")?;
    /// assert_eq!(report.files_copied(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn files_copied(&self) -> u64 {
        self.amounts.copied_files
    }

    /// Their bytes.
    ///
    /// ```
    /// # let report = tidelog::Store::in_memory()?.backup("/backup")?;
    /// assert_eq!(report.bytes_copied(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn bytes_copied(&self) -> u64 {
        self.amounts.copied_bytes
    }
}
