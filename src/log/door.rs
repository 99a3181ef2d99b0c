//! The public door to one log without a store: a durable, ordered list of records in a directory.
//!
//! For write-ahead logs, and for hosts that bring their own topics. The directory is a Kafka
//! partition directory; beside Kafka's files lie a lock and `tidelog.keeper`, which Kafka ignores.
//! There are no threads: [`Log::maintain`] does what a store does in the background, when the host
//! calls it. Everything goes through [`PartitionLog`]; this room adds the lock, the keeper, the
//! lifecycle, and records in place of batches.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::append::Appended;
use super::builder::LogBuilder;
use super::core::{Attention, PartitionLog};
use super::fetch::FetchLimits;
use super::keeper::Durable;
use super::lookup::{FoundOffset, OffsetSpec};
use super::receipt::LogReceipt;
use super::report::PartitionReport;
use super::slots::SlotKeeper;
use crate::config::{BackgroundSync, Durability, IsolationLevel};
use crate::disk::{DirLock, Disk, ForkCheck};
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{
    AppendBatch as _, BorrowedBatch, PlainLimit, Produced, ProducerClaim, Record, Records,
    TakeRules, packed,
};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::time::{Clock, Timestamp};
use std::sync::Arc;

/// How many segments may wait to be sealed before an append does it, so that a host that never
/// calls `maintain` does not gather maps without end.
const MOST_UNSEALED: usize = 8;

/// What the log asked for since it was last looked after.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) rolls: AtomicUsize,
}

impl Attention for Asked {
    fn dirty(&self, _: Option<Duration>) {}

    fn due(&self) {
        self.rolls.fetch_add(1, Ordering::Relaxed);
    }
}

/// One log in one directory, without a store: append, read, retain, recover.
///
/// It is `Send` and `Sync`: any number of threads read without a lock while others append. One
/// process opens it at a time. Dropping it closes it; [`Log::close`] also says how that went.
///
/// ```
/// use tidelog::{Durability, Log, Record};
/// let dir = tempfile::tempdir().unwrap();
/// let log = Log::open(dir.path())?;
/// log.append(&[Record::new("one"), Record::new("two")])?; // survives `kill -9`
/// log.append_with(&[Record::new("three")], Durability::Power)?; // all three survive a power cut
/// log.close()?;
///
/// let log = Log::open(dir.path())?;
/// let records = log.read(log.start_offset(), 1 << 20)?;
/// let values: Vec<_> = records.iter().filter_map(|record| record.value()).collect();
/// assert_eq!(values, [&b"one"[..], b"two", b"three"]);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct Log {
    pub(super) log: PartitionLog,
    pub(super) keeper: SlotKeeper,
    pub(super) asked: Arc<Asked>,
    report: PartitionReport,
    disk: Arc<dyn Disk>,
    fork: ForkCheck,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) background: BackgroundSync,
    pub(super) take: TakeRules,
    pub(super) isolation: IsolationLevel,
    /// Held for writing by a truncation: a recovery point is not recorded that was read before.
    pub(super) points: RwLock<()>,
    /// When everything was last synced, on the monotonic clock.
    pub(super) last_sync: Mutex<Duration>,
    closed: AtomicBool,
    /// `None` once it is freed.
    pub(super) lock: Mutex<Option<Box<dyn DirLock>>>,
}

impl Log {
    pub(crate) fn plain_limit(&self) -> PlainLimit {
        self.take.plain
    }

    #[allow(clippy::too_many_arguments)] // the builder's one call
    pub(super) fn opened(
        log: PartitionLog,
        keeper: SlotKeeper,
        asked: Arc<Asked>,
        report: PartitionReport,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        lock: Box<dyn DirLock>,
        background: BackgroundSync,
        (take, isolation): (TakeRules, IsolationLevel),
    ) -> Self {
        Log {
            last_sync: Mutex::new(clock.monotonic()),
            log,
            keeper,
            asked,
            report,
            fork: disk.fork_check(),
            disk,
            clock,
            background,
            take,
            isolation,
            points: RwLock::default(),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        }
    }

    /// Opens the log in `dir` with every default, making the directory if it is missing.
    ///
    /// # Errors
    /// Those of [`LogBuilder::open`].
    ///
    /// ```
    /// let dir = tempfile::tempdir().unwrap();
    /// let log = tidelog::Log::open(dir.path())?;
    /// assert_eq!(log.end_offset(), tidelog::Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn open(dir: impl AsRef<Path>) -> Result<Log> {
        Log::builder(dir).open()
    }

    /// Opens the log in `dir` with choices.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidelog::{Log, disk::MemoryDisk};
    /// let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// # log.close()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn builder(dir: impl AsRef<Path>) -> LogBuilder {
        LogBuilder::new(dir.as_ref())
    }

    /// Appends records as one batch, all of them or none; they are readable and survive the end
    /// of the process once this returns. Does not block for the disk, but for the rare roll of a
    /// segment.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge), [`InvalidRecord`](crate::ErrorKind::InvalidRecord)
    /// and [`Full`](crate::ErrorKind::Full) leave the log as it was;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where it holds what this version does not
    /// continue; [`Poisoned`](crate::ErrorKind::Poisoned) after a failure that ended writing. What
    /// became of the records is in [`Error::outcome`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("hello").key("k").header("trace", "1")])?;
    /// assert_eq!(log.end_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append(&self, records: &[Record<'_>]) -> Result<LogReceipt> {
        self.append_with(records, Durability::Process)
    }

    /// Appends like [`Log::append`]; with [`Durability::Power`] it blocks for a sync, and what
    /// it returns, with everything before it, survives a power cut.
    ///
    /// # Errors
    /// Those of [`Log::append`]. Where the sync fails the outcome is
    /// [`WrittenNotDurable`](crate::Outcome::WrittenNotDurable) and writing ends.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Durability, Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let receipt = log.append_with(&[Record::new("paid")], Durability::Power)?;
    /// assert_eq!(log.durable_offset(), receipt.next_offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn append_with(
        &self,
        records: &[Record<'_>],
        durability: Durability,
    ) -> Result<LogReceipt> {
        self.check_open("append")?;
        let now = self.clock.wall();
        self.append_for((None, None), records, (now, durability))
    }

    /// Appends records as a batch of their producer, if they have one that is to be written down,
    /// and of the leader of an epoch, if the host says which.
    pub(super) fn append_for(
        &self,
        (claim, epoch): (Option<ProducerClaim>, Option<LeaderEpoch>),
        records: &[Record<'_>],
        (now, durability): (Timestamp, Durability),
    ) -> Result<LogReceipt> {
        let rules = self.log.batch_rules(now);
        let (appended, timestamp) = if rules.packing.is_plain() {
            let batch = Produced { batch: &BorrowedBatch::measure(records, &rules)?, claim };
            (self.log.append_under(epoch, &batch, now)?, batch.max_timestamp())
        } else {
            let batch = Produced { batch: &packed(records, &rules)?, claim };
            (self.log.append_under(epoch, &batch, now)?, batch.max_timestamp())
        };
        self.settled(appended, timestamp, durability)
    }

    /// The receipt of what was appended, once it is as durable as asked.
    pub(super) fn settled(
        &self,
        appended: Appended,
        timestamp: Option<Timestamp>,
        durability: Durability,
    ) -> Result<LogReceipt> {
        if durability == Durability::Power || self.log.is_flush_due() {
            self.make_durable(appended.end_offset)?;
        }
        self.seal_if_many();
        Ok(LogReceipt::of(&appended, timestamp))
    }

    /// Seals what waits for it, if much does: after an append.
    pub(super) fn seal_if_many(&self) {
        if self.asked.rolls.load(Ordering::Relaxed) >= MOST_UNSEALED
            && let Err(error) = self.checkpoint()
        {
            log::warn!("{error}"); // the append itself is done; a failed sync is latched
        }
    }

    /// Reads records from `from` on: whole batches up to `max_bytes`, but at least one record where
    /// there is any. Empty at the end of the log, and where only records follow whose transaction
    /// is open. Records of transactions that were aborted are left out, unless the log was opened
    /// with [`read_uncommitted`](crate::LogBuilder::read_uncommitted). Blocks for the disk at most.
    ///
    /// To go on, read from the offset after the last record's.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) below the start or above the end,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the next record is damaged (see
    /// [`Log::skip_damage`]), [`Unsupported`](crate::ErrorKind::Unsupported) where it
    /// is compressed with a codec that is not built in,
    /// [`TooLarge`](crate::ErrorKind::TooLarge) where it decompresses to more than
    /// [`max_decompressed_bytes`](crate::LogBuilder::max_decompressed_bytes).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a"), Record::new("b")])?;
    /// let records = log.read(Offset::new(1), 1 << 20)?;
    /// assert_eq!(records.iter().next().and_then(|record| record.value()), Some(&b"b"[..]));
    /// assert!(log.read(Offset::new(2), 1 << 20)?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Records> {
        self.check_open("read")?;
        let records = self.next_shown(from, max_bytes).map_err(|(_, error)| error)?;
        self.log.note_reads(records.len() as u64);
        Ok(records)
    }

    /// The next records that readers are shown; where that fails, with the offset that could not
    /// be read: what is not shown may lie before it.
    fn next_shown(
        &self,
        from: Offset,
        max_bytes: usize,
    ) -> std::result::Result<Records, (Offset, Error)> {
        let isolation = self.isolation;
        let limits =
            FetchLimits { bytes: max_bytes, records: u64::MAX, durable_only: false, isolation };
        let (mut records, origin) = (Records::default(), self.log.origin());
        let mut next = from;
        loop {
            let fetched = self.log.fetch(next, None, limits).map_err(|error| (next, error))?;
            let Some(batches) = fetched.batches() else { break };
            let taken = records.take_in(&origin, batches, next, self.take);
            if taken.records > 0 {
                break;
            }
            if let Some((at, fault)) = taken.fault {
                return Err((next, self.log.batch_failed(&fetched, at, fault)));
            }
            next = fetched.next_offset; // markers and what was aborted: more may lie behind them
        }
        Ok(records)
    }

    /// The first offset that can be read.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert_eq!(log.start_offset(), Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn start_offset(&self) -> Offset {
        self.log.offsets().snapshot().start
    }

    /// The offset the next record will get.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// assert_eq!(log.end_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn end_offset(&self) -> Offset {
        self.log.offsets().end()
    }

    /// Everything below survives a power cut.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// assert_eq!(log.durable_offset(), Offset::ZERO);
    /// log.flush()?;
    /// assert_eq!(log.durable_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durable_offset(&self) -> Offset {
        self.log.offsets().durable()
    }

    /// Looks an offset up: the first, the end, that of the newest record, or by time. `None` where
    /// no record is that late, or none has a timestamp. Blocks for the disk where it is by time.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the search meets damage, and those of the
    /// disk.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, OffsetSpec, Record, Timestamp, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let at = Timestamp::from_millis;
    /// log.append(&[Record::new("a").timestamp(at(20)), Record::new("b").timestamp(at(10))])?;
    /// let newest = log.find_offset(OffsetSpec::MaxTimestamp)?.unwrap();
    /// assert_eq!(newest.offset(), Offset::ZERO);
    /// assert_eq!(log.find_offset(OffsetSpec::Latest)?.unwrap().offset(), Offset::new(2));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn find_offset(&self, wanted: OffsetSpec) -> Result<Option<FoundOffset>> {
        self.check_open("look up offset")?;
        self.log.find_offset(wanted, self.isolation)
    }

    /// The offset and timestamp of the first record at or after `timestamp`: first by offset,
    /// not nearest in time. `None` where none is that late. Blocks for the disk.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where the search meets damage, and those of the
    /// disk.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, Timestamp, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let at = Timestamp::from_millis;
    /// log.append(&[Record::new("a").timestamp(at(10)), Record::new("b").timestamp(at(20))])?;
    /// assert_eq!(log.offset_for_timestamp(at(15))?, Some((Offset::new(1), at(20))));
    /// assert_eq!(log.offset_for_timestamp(at(21))?, None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn offset_for_timestamp(
        &self,
        timestamp: Timestamp,
    ) -> Result<Option<(Offset, Timestamp)>> {
        self.check_open("look up timestamp")?;
        self.log.find_timestamp(timestamp, self.isolation)
    }

    /// Tells which offsets are gone where reading at `offset` fails as damaged: from there, or
    /// behind what readers are not shown, to the end of the range, where reading goes on. Changes
    /// nothing; blocks for the disk.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where `offset` can be read.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{ErrorKind, Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// let error = log.skip_damage(Offset::ZERO).unwrap_err(); // nothing is wrong there
    /// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn skip_damage(&self, offset: Offset) -> Result<Range<Offset>> {
        self.check_open("skip damage")?;
        match self.next_shown(offset, 1) {
            Err((at, error)) if error.is_corrupt() => Ok(at..self.log.resume_above(at)?),
            Err((_, error)) => Err(error),
            Ok(_) => {
                let why = format!("nothing is damaged at offset {offset}");
                Err(Error::new("skip damage", Cause::InvalidArgument(why)).at_offset(offset))
            }
        }
    }

    /// What opening found and did.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert!(!log.report().is_notable());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn report(&self) -> &PartitionReport {
        &self.report
    }

    /// Closes the log: what was appended becomes durable, the next open has nothing to recover,
    /// and the directory is free. Blocks for syncs. Closing again does nothing; every other call
    /// fails as [`Closed`](crate::ErrorKind::Closed) from then on.
    ///
    /// # Errors
    /// Those of a sync. The log is closed and its directory free all the same; the next open
    /// recovers.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.close()?;
    /// log.close()?;
    /// assert!(log.append(&[Record::new("late")]).unwrap_err().is_closed());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        if self.fork.is_forked_child() {
            return Err(Error::new("close log", Cause::Forked));
        }
        let mut lock = self.lock.lock(); // a second closer waits for the first
        let Some(mut held) = lock.take() else { return Ok(()) };
        self.closed.store(true, Ordering::Release);
        let closed = self.log.close().and_then(|point| {
            self.keeper.update(Durable::Now, |slot| {
                slot.recovery_point = point;
                slot.host_led = self.log.offsets().set_watermark();
                slot.clean = true;
            })
        });
        self.keeper.end(); // whoever came in before the end records nothing after it
        let unlocked = held.unlock().map_err(|error| Error::new("close log", Cause::Io(error)));
        closed.and(unlocked)
    }

    /// Where it lies.
    pub(crate) fn place(&self) -> (&Arc<dyn Disk>, &Path) {
        (&self.disk, &self.log.place.dir)
    }

    pub(super) fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(operation, Cause::Closed("the log")));
        }
        if self.fork.is_forked_child() {
            return Err(Error::new(operation, Cause::Forked));
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !self.fork.is_forked_child()
            && let Err(error) = self.close()
        {
            log::error!("{error}");
        }
    }
}
