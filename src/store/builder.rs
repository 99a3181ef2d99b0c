//! How a store is run: which disk, whose clock and threads, how often to sync, how much to hold.
//!
//! Everything has a default that suits a program with one store in a directory. Bad values are
//! refused by `open`, with the key, the value and what is allowed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::handle::Store;
use crate::clock::SystemClock;
use crate::config::{BackgroundSync, Journal, OffsetsRetention, Threads, WhenFull};
use crate::disk::{Disk, IoMode, MemoryDisk, RealDisk};
use crate::engine::{Engine, EngineOptions};
use crate::error::{Cause, Error, Result};
use crate::record::PlainLimit;
use crate::time::Clock;

/// Builds a [`Store`].
///
/// ```
/// use tidelog::{BackgroundSync, ManualClock, Store, Threads, WhenFull};
/// let store = Store::builder_in_memory()
///     .clock(ManualClock::default())
///     .threads(Threads::Host)
///     .background_sync(BackgroundSync::OFF)
///     .max_bytes(1 << 30, WhenFull::Fail)
///     .open()?;
/// store.close()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct StoreBuilder {
    path: PathBuf,
    place: Place,
    clock: Arc<dyn Clock>,
    threads: Threads,
    background_sync: BackgroundSync,
    journal: Option<Journal>,
    max_bytes: Option<u64>,
    when_full: WhenFull,
    plain: PlainLimit,
    upkeep: Upkeep,
}

/// What coordinators forget, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Upkeep {
    pub(super) offsets_retention: OffsetsRetention,
    /// Zero is for ever, `None` the default.
    pub(super) transactional_id_expiration: Option<Duration>,
}

#[derive(Debug)]
enum Place {
    /// The real disk, in the mode its file system asks for.
    Suited,
    Mode(IoMode),
    Disk(Arc<dyn Disk>),
}

impl StoreBuilder {
    pub(super) fn new(path: &Path) -> Self {
        StoreBuilder {
            path: path.to_owned(),
            place: Place::Suited,
            clock: Arc::new(SystemClock::new()),
            threads: Threads::Own,
            background_sync: BackgroundSync::default(),
            journal: None,
            max_bytes: None,
            when_full: WhenFull::Fail,
            plain: PlainLimit::DEFAULT,
            upkeep: Upkeep::default(),
        }
    }

    pub(super) fn in_memory() -> Self {
        StoreBuilder::new(Path::new("/store")).disk(Arc::new(MemoryDisk::new()))
    }

    /// How the real disk writes. Default: mapped where the file system is known to overwrite in
    /// place (ext2 to ext4, XFS, tmpfs), positioned elsewhere.
    ///
    /// ```
    /// use tidelog::{Store, disk::IoMode};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Store::builder(dir.path()).io_mode(IoMode::Positioned).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn io_mode(mut self, mode: IoMode) -> Self {
        self.place = Place::Mode(mode);
        self
    }

    /// Another disk than the real one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidelog::{Store, disk::MemoryDisk};
    /// let disk = Arc::new(MemoryDisk::new());
    /// Store::builder("/a").disk(disk.clone()).open()?.close()?;
    /// assert!(Store::builder("/a").disk(disk).open()?.open_report().was_closed_cleanly());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.place = Place::Disk(disk);
        self
    }

    /// The clock the store decides by; default the machine's.
    ///
    /// ```
    /// use tidelog::{ManualClock, Store, Timestamp};
    /// let clock = ManualClock::new(Timestamp::from_millis(1_000));
    /// let store = Store::builder_in_memory().clock(clock.clone()).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Who lends the time for what happens later; default threads of the store's own.
    ///
    /// ```
    /// use tidelog::{Store, Threads};
    /// let store = Store::builder_in_memory().threads(Threads::Host).open()?;
    /// let _when_to_call_again = store.run_due();
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn threads(mut self, threads: Threads) -> Self {
        self.threads = threads;
        self
    }

    /// When partitions are synced without anybody asking; default after 64 MiB or 30 s.
    ///
    /// ```
    /// use tidelog::{BackgroundSync, Store};
    /// let sync = BackgroundSync { bytes: Some(1 << 20), interval: None };
    /// let store = Store::builder_in_memory().background_sync(sync).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn background_sync(mut self, sync: BackgroundSync) -> Self {
        self.background_sync = sync;
        self
    }

    /// Whether power-durable appends share the syncs of one journal, and how large that is: from
    /// 1 MiB to 1 GiB. Default 64 MiB on the real disk, none on another.
    ///
    /// The file `tidelog.journal` is made in the background, 4 MiB at a time, once power-durable
    /// appends go on; until then, where it cannot be made or would take more than an eighth of the
    /// free space, and while all of it is needed, each partition is synced by itself. It stays
    /// when the store is closed, and goes when the store is opened with [`Journal::Off`]. After an
    /// unclean stop the next open takes from it what the segments lack, whatever is chosen here;
    /// Kafka does not: open with this library first. A file that is missing then is told of by
    /// [`OpenReport::journal_was_missing`](crate::OpenReport::journal_was_missing).
    ///
    /// ```
    /// use tidelog::{Journal, Store};
    /// let store = Store::builder_in_memory().journal(Journal::Off).open()?;
    /// assert!(Store::builder_in_memory().journal(Journal::Bytes(1)).open().is_err());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// How many published bytes all topics but the internal ones may hold together, and what an
    /// append does when there is no room; at least 1 KiB, default no bound.
    ///
    /// ```
    /// use tidelog::{Store, WhenFull};
    /// let store = Store::builder_in_memory().max_bytes(1 << 20, WhenFull::DropOldest).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_bytes(mut self, bytes: u64, when_full: WhenFull) -> Self {
        self.max_bytes = Some(bytes);
        self.when_full = when_full;
        self
    }

    /// How many bytes one compressed batch may take decompressed, whoever looks into it: consumers
    /// that name no limit of their own, lookups by time, compaction, [`Store::verifier`]. No more
    /// than this is allocated for it, and one that takes more is an error where its records are
    /// wanted. Default 8 MiB, or 32 times the batch's own size where that is more; at least 1.
    ///
    /// What is written here stays within the default: this is for what others wrote.
    ///
    /// ```
    /// use tidelog::Store;
    /// let store = Store::builder_in_memory().max_decompressed_bytes(64 << 20).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_decompressed_bytes(mut self, bytes: usize) -> Self {
        self.plain = PlainLimit::bytes(bytes.max(1));
        self
    }

    /// How long committed offsets outlive their group (Kafka's `offsets.retention.minutes`); at
    /// least 1 ms, `None` for ever. Default 7 days, and for ever where the offsets came with a
    /// directory that Kafka wrote.
    ///
    /// Time counts from when the group lost its last member; for groups that never had members,
    /// and for topics that no member follows, from the commit. Looked at every ten minutes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::Store;
    /// let day = Duration::from_secs(24 * 3600);
    /// let store = Store::builder_in_memory().offsets_retention(day).open()?;
    /// let store = Store::builder_in_memory().offsets_retention(None).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offsets_retention(mut self, age: impl Into<Option<Duration>>) -> Self {
        let age = age.into();
        self.upkeep.offsets_retention = age.map_or(OffsetsRetention::Never, OffsetsRetention::For);
        self
    }

    /// How long a transactional id that no producer has is remembered after its last use (Kafka's
    /// `transactional.id.expiration.ms`); at least 1 ms, `None` for ever. Default 7 days, and for
    /// ever where the ids came with a directory that Kafka wrote. Looked at every hour. Whoever
    /// takes a forgotten id takes a new one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidelog::Store;
    /// let day = Duration::from_secs(24 * 3600);
    /// let store = Store::builder_in_memory().transactional_id_expiration(day).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn transactional_id_expiration(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.upkeep.transactional_id_expiration = Some(age.into().unwrap_or(Duration::ZERO));
        self
    }

    /// Opens the store, recovering what an earlier stop left. Blocks for that: work is
    /// proportional to what was not synced, and done on every core.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) while another store or program uses the directory,
    /// [`NotAStore`](crate::ErrorKind::NotAStore) for a directory of something else,
    /// [`NewerVersion`](crate::ErrorKind::NewerVersion), [`Corrupt`](crate::ErrorKind::Corrupt)
    /// for the store's own files, [`InvalidConfig`](crate::ErrorKind::InvalidConfig), and those of
    /// the operating system. A damaged partition does not keep the store from opening: see
    /// [`Store::open_report`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = tidelog::Store::builder(dir.path()).open()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open(self) -> Result<Store> {
        self.validate()?;
        let fail = |error| Error::io("open store", &self.path, error);
        let suited = match self.place {
            Place::Suited | Place::Mode(_) => Journal::default(),
            Place::Disk(_) => Journal::Off,
        };
        let journal = self.journal.unwrap_or(suited).bytes();
        let disk: Arc<dyn Disk> = match self.place {
            Place::Suited => Arc::new(RealDisk::for_directory(&self.path).map_err(fail)?),
            Place::Mode(mode) => Arc::new(RealDisk::new(mode).map_err(fail)?),
            Place::Disk(disk) => disk,
        };
        let options = EngineOptions {
            disk,
            clock: self.clock,
            threads: self.threads,
            background_sync: self.background_sync,
            max_bytes: self.max_bytes,
            when_full: self.when_full,
            journal,
            plain: self.plain,
        };
        Store::over(Engine::open_quiet(options, &self.path)?, self.upkeep)
    }

    fn validate(&self) -> Result<()> {
        let refuse = |key: &str, value: u64, allowed: &str| {
            let (key, value, allowed) = (key.to_owned(), value.to_string(), allowed.to_owned());
            Err(Error::new("open store", Cause::InvalidConfig { key, value, allowed }))
        };
        if let Some(bytes) = self.max_bytes.filter(|bytes| *bytes < 1024) {
            return refuse("max_bytes", bytes, "at least 1024 bytes");
        }
        if let OffsetsRetention::For(age) = self.upkeep.offsets_retention
            && age < Duration::from_millis(1)
        {
            return refuse("offsets.retention", 0, "at least 1 ms, or none");
        }
        if let Some(bytes) = self.journal.and_then(Journal::bytes)
            && !(Journal::LEAST..=Journal::MOST).contains(&bytes)
        {
            return refuse("journal", bytes, "1 MiB to 1 GiB, or off");
        }
        if self.background_sync.bytes == Some(0) {
            return refuse("background_sync.bytes", 0, "at least 1 byte, or none");
        }
        Ok(())
    }
}
