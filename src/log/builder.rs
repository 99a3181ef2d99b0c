//! Opening a lone log: lock its directory, read what was remembered of it, recover, remember anew.
//!
//! The order is the crash story. Nothing is touched before the lock is held. The keeper's slot
//! that says "open", with the epoch of this open, is durable before the first append. A directory
//! that another hand wrote is made durable as it is before the slot calls it ours, so that gaps
//! which its compaction left lie below the recovery point and are never taken for a torn tail.

use std::path::{Path, PathBuf};

use super::core::{LogName, LogSetup, PartitionLog};
use super::door::{Asked, Log};
use super::keeper::{Durable, KnownFacts, LastStop, LogId};
use super::slots::{self, Slot, SlotKeeper, next_epoch};
use super::{checkpoint, report::PartitionReport};
use crate::clock::SystemClock;
use crate::config::{BackgroundSync, IsolationLevel, TopicConfig};
use crate::disk::directory::sync_way_to;
use crate::disk::names::{
    LOCK, PARTITION_METADATA, PartitionDir, STORE_MARKER, parse_partition_dir, parse_segment_file,
};
use crate::disk::replace::parent;
use crate::disk::{DirLock, Disk, RealDisk};
use crate::error::{Cause, Error, Result};
use crate::ids::{Offset, PartitionId, TopicId};
use crate::record::{PlainLimit, TakeRules};
use crate::time::Clock;
use std::sync::Arc;

/// How a [`Log`] is opened; made by [`Log::builder`].
///
/// ```
/// use std::sync::Arc;
/// use tidelog::disk::MemoryDisk;
/// use tidelog::{Log, TopicConfig};
/// let log = Log::builder("/wal")
///     .config(TopicConfig::new().segment_bytes(1 << 20))
///     .disk(Arc::new(MemoryDisk::new()))
///     .open()?;
/// log.close()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct LogBuilder {
    dir: PathBuf,
    config: TopicConfig,
    disk: Option<Arc<dyn Disk>>,
    clock: Option<Arc<dyn Clock>>,
    kafkas: Kafkas,
    background_sync: BackgroundSync,
    take: TakeRules,
    isolation: IsolationLevel,
}

impl LogBuilder {
    pub(super) fn new(dir: &Path) -> Self {
        LogBuilder {
            dir: dir.to_owned(),
            config: TopicConfig::default(),
            disk: None,
            clock: None,
            kafkas: Kafkas::default(),
            background_sync: BackgroundSync::default(),
            take: TakeRules { max_records: usize::MAX, until: None, plain: PlainLimit::DEFAULT },
            isolation: IsolationLevel::ReadCommitted,
        }
    }

    /// Segment sizes, index interval, retention and the rest; default [`TopicConfig::new`], which
    /// keeps everything. The number of partitions and `max_bytes` mean nothing to a lone log.
    ///
    /// ```
    /// use tidelog::{Log, TopicConfig};
    /// let builder = Log::builder("/wal").config(TopicConfig::new().segment_bytes(1 << 20));
    /// # let _ = builder;
    /// ```
    pub fn config(mut self, config: TopicConfig) -> Self {
        self.config = config;
        self
    }

    /// Where files are kept; default [`RealDisk::for_directory`] of the directory.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidelog::{Log, disk::MemoryDisk};
    /// let builder = Log::builder("/wal").disk(Arc::new(MemoryDisk::new()));
    /// # let _ = builder;
    /// ```
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Where time comes from; default [`SystemClock`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidelog::{Log, ManualClock};
    /// let builder = Log::builder("/wal").clock(Arc::new(ManualClock::default()));
    /// # let _ = builder;
    /// ```
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The first offset to serve of a directory that Kafka wrote, which keeps that number outside
    /// of it; default 0. A directory this library has opened before knows its own.
    ///
    /// ```
    /// use tidelog::{Log, Offset};
    /// let builder = Log::builder("/adopted/orders-0").log_start(Offset::new(120));
    /// # let _ = builder;
    /// ```
    pub fn log_start(mut self, start: Offset) -> Self {
        self.kafkas.log_start = start;
        self
    }

    /// Up to where a directory that Kafka wrote was known to be on disk, which Kafka keeps outside
    /// of it; default 0, with which all of it is recovered. What is damaged below is kept. One
    /// above the end of the log counts for that end. A directory this library has opened before
    /// knows its own.
    ///
    /// ```
    /// use tidelog::{Log, Offset};
    /// let builder = Log::builder("/adopted/orders-0").recovery_point(Offset::new(120));
    /// # let _ = builder;
    /// ```
    pub fn recovery_point(mut self, point: Offset) -> Self {
        self.kafkas.recovery_point = point;
        self
    }

    /// Says that Kafka closed the directory that it wrote; by default it is recovered as after a
    /// kill. Damage that something follows is kept then, wherever the recovery point lies. A
    /// directory this library has opened before knows how it was closed.
    ///
    /// ```
    /// use tidelog::Log;
    /// let builder = Log::builder("/adopted/orders-0").closed_cleanly();
    /// # let _ = builder;
    /// ```
    pub fn closed_cleanly(mut self) -> Self {
        self.kafkas.closed_cleanly = true;
        self
    }

    /// When [`Log::maintain`] syncs without being asked to; default 64 MiB or 30 s.
    ///
    /// ```
    /// use tidelog::{BackgroundSync, Log};
    /// let builder = Log::builder("/wal").background_sync(BackgroundSync::OFF);
    /// # let _ = builder;
    /// ```
    pub fn background_sync(mut self, sync: BackgroundSync) -> Self {
        self.background_sync = sync;
        self
    }

    /// Lets [`Log::read`] return the records of transactions that are open or were aborted too, and
    /// has lookups count them. Without it, which is Kafka's `read_committed`, it returns what was
    /// committed, up to where the oldest open transaction begins.
    ///
    /// ```
    /// use tidelog::Log;
    /// let builder = Log::builder("/adopted/orders-0").read_uncommitted();
    /// # let _ = builder;
    /// ```
    pub fn read_uncommitted(mut self) -> Self {
        self.isolation = IsolationLevel::ReadUncommitted;
        self
    }

    /// How many bytes one compressed batch may take decompressed for [`Log::read`], lookups by time
    /// and [`Log::verifier`] to look into it; one that takes more is an error where its records are
    /// wanted, and no more than this is allocated for it. Default 8 MiB, or 32 times the batch's
    /// own size where that is more; at least 1.
    ///
    /// ```
    /// use tidelog::Log;
    /// let builder = Log::builder("/adopted/orders-0").max_decompressed_bytes(64 << 20);
    /// # let _ = builder;
    /// ```
    pub fn max_decompressed_bytes(mut self, bytes: usize) -> Self {
        self.take.plain = PlainLimit::bytes(bytes.max(1));
        self
    }

    /// Opens the log, making its directory if it is missing. Blocks for recovery, and for the
    /// sync that makes this open known.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) while anyone else has it open,
    /// [`NotAStore`](crate::ErrorKind::NotAStore) for a partition of a store, which only its
    /// store may open, [`InvalidConfig`](crate::ErrorKind::InvalidConfig),
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for batches of Kafka's formats 0 and 1,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where what this library keeps beside the segments
    /// is damaged, and those of the disk. Damaged segments are no error here: see
    /// [`Log::report`].
    ///
    /// ```
    /// use tidelog::{ErrorKind, Log};
    /// let dir = tempfile::tempdir().unwrap();
    /// let log = Log::builder(dir.path()).open()?;
    /// let again = Log::builder(dir.path()).open();
    /// assert_eq!(again.unwrap_err().kind(), ErrorKind::Locked);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open(self) -> Result<Log> {
        self.config.validate()?;
        self.config.refuse_compaction()?;
        let dir = self.dir.clone();
        let fail = |error| Error::io("open log", &dir, error);
        let disk = match self.disk.clone() {
            Some(disk) => disk,
            None => Arc::new(RealDisk::for_directory(&dir).map_err(fail)?),
        };
        refuse_store(&*disk, &dir)?;
        disk.create_dir_all(&dir).map_err(fail)?;
        let lock = lock(&*disk, &dir)?;
        self.open_locked(disk, lock)
    }

    fn open_locked(self, disk: Arc<dyn Disk>, lock: Box<dyn DirLock>) -> Result<Log> {
        let dir = &*self.dir;
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()));
        let boot_id =
            disk.boot_id().map_err(|error| Error::io("read boot identity", dir, error))?;
        let found = slots::read(&*disk, dir)?;
        make_way(&*disk, dir, found.as_ref())?;
        let topic = match &found {
            Some((_, slot)) => Some(slot.topic),
            None => checkpoint::read_partition_metadata(&*disk, &dir.join(PARTITION_METADATA))?,
        };
        let name = log_name(dir);
        let asked = Arc::new(Asked::default());
        let setup = LogSetup {
            id: LogId { topic: topic.unwrap_or_else(TopicId::random), partition: name.partition },
            name,
            config: Arc::new(self.config),
            clock: clock.clone(),
            sync_after: self.background_sync.bytes,
            attention: asked.clone(),
            pinned: Arc::default(),
            journal: None,
            plain: self.take.plain,
        };
        let topic = setup.id.topic;
        let adopted = found.map_or_else(|| has_segments(&*disk, dir), |(_, it)| Ok(it.adopted))?;
        // what a killed process wrote may be in the page cache only; recovery removes files by it
        let resume = |(sequence, slot)| SlotKeeper::resume(&*disk, dir, sequence, slot);
        let kept = found.map(resume).transpose()?;
        let known = known_facts(found.map(|(_, slot)| slot), &self.kafkas, adopted, boot_id);
        let (log, report) = PartitionLog::open(&disk, dir, setup, known)?;
        // whoever wrote behind our clean end may have left gaps there too
        let end = log.offsets().end();
        let adopted = adopted || (known.last_stop.is_clean() && end > known.recovery_point);
        let recovery_point = match known.last_stop {
            LastStop::Clean if !adopted => known.recovery_point,
            LastStop::KilledSameBoot => known.recovery_point,
            _ => log.checkpoint()?,
        };
        let drawn = found.map(|(_, slot)| slot.epoch);
        let epoch = match known.host_led {
            Some(_) => drawn.unwrap_or_default(), // the host's are no epochs of ours
            None => next_epoch(drawn.max(log.latest_epoch())).map_err(|it| it.at_path(dir))?,
        };
        let slot = Slot {
            topic,
            recovery_point,
            log_start: log.offsets().snapshot().start,
            epoch,
            clean: false,
            adopted,
            sparse: found.is_some_and(|(_, slot)| slot.sparse),
            sync_failed: false, // fresh files are in place of what was in doubt
            boot_id,
            host_led: known.host_led,
        };
        let keeper = match kept {
            Some(keeper) => {
                keeper.update(Durable::Now, |kept| *kept = slot)?;
                keeper
            }
            None => SlotKeeper::create(&*disk, dir, slot)?,
        };
        log.recovery_point_recorded(recovery_point);
        log.begin_epoch(epoch);
        tell(&report);
        let background = self.background_sync;
        let take = (self.take, self.isolation);
        Ok(Log::opened(log, keeper, asked, report, disk, clock, lock, background, take))
    }
}

/// What the caller says of a directory without state of ours.
#[derive(Debug, Default)]
struct Kafkas {
    log_start: Offset,
    recovery_point: Offset,
    closed_cleanly: bool,
}

/// What the last open left behind, as recovery wants to know it.
fn known_facts(
    found: Option<Slot>,
    kafkas: &Kafkas,
    adopted: bool,
    boot_id: [u8; 16],
) -> KnownFacts {
    let Some(slot) = found else {
        let last_stop = match (adopted, kafkas.closed_cleanly) {
            (false, _) => LastStop::Clean,
            (true, true) => LastStop::AnotherHandClean,
            (true, false) => LastStop::AnotherHand,
        };
        return KnownFacts {
            recovery_point: if adopted { kafkas.recovery_point } else { Offset::ZERO },
            log_start: kafkas.log_start,
            last_stop,
            adopted,
            ours_from: None,
            compacted: Offset::ZERO,
            sparse: Offset::ZERO,
            host_led: None,
            sync_failed: false,
        };
    };
    let last_stop = match (slot.clean, slot.boot_id == boot_id) {
        (true, _) => LastStop::Clean,
        (false, true) => LastStop::KilledSameBoot,
        (false, false) => LastStop::PowerCut,
    };
    let Slot { recovery_point, log_start, sync_failed, host_led, .. } = slot;
    let (compacted, sparse) = (Offset::ZERO, Offset::ZERO);
    // an open ends with a recovery point at the end of all it found, and a close with a mark
    let ours_from = (!slot.clean && !slot.sparse).then_some(recovery_point);
    let adopted = adopted || slot.sparse; // gaps are no damage either way
    KnownFacts {
        recovery_point,
        log_start,
        last_stop,
        adopted,
        ours_from,
        compacted,
        sparse,
        host_led,
        sync_failed,
    }
}

/// A partition of a store is its store's alone.
fn refuse_store(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for marker in [dir.join(STORE_MARKER), parent(dir).join(STORE_MARKER)] {
        let found = disk.metadata(&marker);
        if found.map_err(|error| Error::io("open log", &marker, error))?.is_some() {
            let why = "it belongs to a store, which alone may open it".to_owned();
            return Err(Error::new("open log", Cause::NotAStore(why)).at_path(dir));
        }
    }
    Ok(())
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DirLock>> {
    let path = dir.join(LOCK);
    disk.lock(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            let why = "another process, or another handle in this one, has the log open";
            Error::new("open log", Cause::Locked(why.to_owned())).at_path(&path)
        }
        _ => Error::io("open log", &path, error),
    })
}

/// The directory of a log of which nothing is kept may have been made a moment ago, by an open that
/// was cut short perhaps.
fn make_way(disk: &dyn Disk, dir: &Path, kept: Option<&(u64, Slot)>) -> Result<()> {
    match kept {
        None => sync_way_to(disk, dir).map_err(|error| Error::io("open log", dir, error)),
        Some(_) => Ok(()),
    }
}

fn has_segments(disk: &dyn Disk, dir: &Path) -> Result<bool> {
    let entries = disk.list(dir).map_err(|error| Error::io("open log", dir, error))?;
    Ok(entries.iter().any(|entry| parse_segment_file(&entry.name).is_some()))
}

/// A directory of Kafka's names its topic and partition; any other goes by its own name.
pub(super) fn log_name(dir: &Path) -> LogName {
    let name = dir.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    match parse_partition_dir(&name) {
        Some(PartitionDir::Live { topic, partition }) => {
            LogName { topic: Arc::from(topic), partition }
        }
        _ => LogName { topic: Arc::from(&*name), partition: PartitionId::new(0) },
    }
}

fn tell(report: &PartitionReport) {
    for damage in report.damage() {
        log::error!(
            "{}: offsets {} to {} are damaged: {}",
            damage.path().display(),
            damage.from(),
            damage.to(),
            damage.reason()
        );
    }
    for torn in report.torn_tails() {
        log::warn!(
            "{}: {} bytes behind position {} were torn and are cut off",
            torn.path().display(),
            torn.bytes(),
            torn.position()
        );
    }
}

#[cfg(test)]
mod tests;
