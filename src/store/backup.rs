//! Backing a store up while it is in use.
//!
//! The door only: how it is done is the engine's.

use std::path::{Path, PathBuf};

use super::handle::Store;
use crate::engine::{BackupReport, Claim};
use crate::error::Result;
use crate::log::Sharing;

impl Store {
    /// Makes a copy of the whole store in `dir`, which must be missing or empty, while everything
    /// goes on: topics, records, groups and their offsets as of one moment, so that no record is
    /// there without those acknowledged before it, and no committed offset without its records.
    ///
    /// `Ok` promises that the copy is whole and durable: a cleanly closed store with an identity of
    /// its own, which is opened like any other. What lingers in producers is not acknowledged and
    /// not in it. It is made in `<dir>.unfinished`, which no open takes for a store, and gets its
    /// name last; whatever stops it, `dir` is missing or whole, and this store as it was.
    ///
    /// Segments that will never change again are shared by a second name (a hard link), which takes
    /// neither time nor space, but shares what damage the device does to them; see
    /// [`BackupBuilder::copies_only`]. On another file system they are copied. The copy needs
    /// the space of what is copied, and later of every shared segment that this store drops.
    ///
    /// Blocks for a flush of the store, for the copying, and for a few syncs a partition. Meanwhile
    /// appends wait once, for less than a millisecond per thousand partitions; retention and
    /// changes of topics wait while the segments are linked or opened.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where something is in the way in
    /// `dir` or `<dir>.unfinished`, or where `dir` lies within this store;
    /// [`Locked`](crate::ErrorKind::Locked) while another backup is made there;
    /// [`Full`](crate::ErrorKind::Full), [`Corrupt`](crate::ErrorKind::Corrupt) where the end of a
    /// partition cannot be read, what a partition that could not be opened fails with, and those of
    /// the operating system. Nothing is left then but `<dir>.unfinished`, where that cannot be
    /// removed either; the next backup to `dir` takes it over.
    ///
    /// ```
    /// use tidelog::{Record, Store, TopicConfig};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = Store::open(path.join("data"))?;
    /// store.ensure_topic("orders", TopicConfig::new())?;
    /// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// store.backup(path.join("monday"))?;
    ///
    /// let copy = Store::open(path.join("monday"))?;
    /// assert!(copy.open_report().was_closed_cleanly());
    /// assert_eq!(copy.describe("orders")?.partitions()[0].end_offset().get(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_builder(dir).run()
    }

    /// A builder for [`backup`](Store::backup), where more than the directory is to be said.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = store.backup_builder("/backup").copies_only().run()?;
    /// assert_eq!(report.files_linked(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn backup_builder(&self, dir: impl AsRef<Path>) -> BackupBuilder {
        BackupBuilder {
            engine: self.engine.clone(),
            dir: dir.as_ref().to_owned(),
            sharing: Sharing::Links,
        }
    }
}

/// Says how a store is backed up, and does it.
///
/// ```
/// let store = tidelog::Store::in_memory()?;
/// store.backup_builder("/backup").run()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BackupBuilder {
    engine: Claim,
    dir: PathBuf,
    sharing: Sharing,
}

impl BackupBuilder {
    /// Copies every file, where by default the files of segments that no longer change are shared
    /// by a second name. What the device damages in one is not damaged in the other then.
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = store.backup_builder("/backup").copies_only().run()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn copies_only(mut self) -> Self {
        self.sharing = Sharing::Nothing;
        self
    }

    /// Makes the backup.
    ///
    /// # Errors
    /// Those of [`Store::backup`].
    ///
    /// ```
    /// let store = tidelog::Store::in_memory()?;
    /// let report = store.backup_builder("/backup").run()?;
    /// assert_eq!(report.path(), std::path::Path::new("/backup"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run(self) -> Result<BackupReport> {
        self.engine.backup(&self.dir, self.sharing)
    }
}
