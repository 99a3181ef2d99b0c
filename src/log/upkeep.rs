//! The upkeep of a lone log: syncs, sealing, retention, the recovery point it records.
//!
//! A log under a store has a thread for this; a lone one has its host, who calls `maintain`. What
//! must not wait for a host that never calls (the sealing of rolled segments) an append does. Tasks
//! that wait for a sync are served by whoever makes one, `maintain` among them. After a failed sync
//! `reopen` is the way back: a new epoch, recovery in place, a checkpoint.

use super::door::Log;
use super::keeper::{Durable, Keeper as _, LogFact};
use super::report::PartitionReport;
use crate::config::TopicConfig;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::sync::atomic::Ordering;
use std::future::Future;
use std::sync::Arc;

impl Log {
    /// Raises the start to `offset`, which becomes the first that can be read. Durable when it
    /// returns; blocks for syncs. Whole segments below it are dropped and unlinked later; an
    /// offset at or below the start changes nothing.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) above the end, and those of a
    /// sync.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a"), Record::new("b")])?;
    /// log.delete_records_before(Offset::new(1))?;
    /// assert_eq!(log.start_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn delete_records_before(&self, offset: Offset) -> Result<()> {
        self.check_open("delete records")?;
        let deleted = self.log.delete_records_before(offset, &self.keeper);
        self.record_failure(); // of a sync on the way, whether or not it kept the start from rising
        deleted.map(drop)
    }

    /// Drops the segments that the configured retention no longer keeps; returns how many. Blocks
    /// for syncs where any go.
    ///
    /// # Errors
    /// Those of a sync, and of the disk.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, TopicConfig, disk::MemoryDisk};
    /// let config = TopicConfig::new().segment_bytes(1024).retention_bytes(2048);
    /// let disk = Arc::new(MemoryDisk::new());
    /// let log = Log::builder("/wal").config(config).disk(disk).open()?;
    /// for _ in 0..50 {
    ///     log.append(&[Record::new(&[0; 100])])?;
    /// }
    /// assert!(log.apply_retention()? > 0);
    /// assert!(log.start_offset() > tidelog::Offset::ZERO);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn apply_retention(&self) -> Result<usize> {
        self.check_open("apply retention")?;
        let now = self.clock.wall();
        match self.log.plan_retention(now, None, &[])?.plan {
            Some(plan) => Ok(self.log.apply_retention(&plan, &self.keeper, now)?.segments),
            None => Ok(0),
        }
    }

    /// Makes everything appended so far durable; blocks for a sync where it is not already.
    ///
    /// # Errors
    /// Those of a sync; writing ends with the first one that fails. To go on, [`Log::reopen`] it,
    /// or close and open it: either puts fresh files in place of what no sync may vouch for any
    /// more.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// log.flush()?;
    /// assert_eq!(log.durable_offset(), log.end_offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.check_open("flush")?;
        self.make_durable(self.log.offsets().end())
    }

    /// [`flush`](Log::flush) as a future of any runtime, for what was appended before this call. It
    /// never blocks and never syncs: the next sync that a thread makes serves it, be it that of a
    /// power-durable append, of a flush or of [`maintain`](Log::maintain), which makes one for
    /// tasks that wait. A host that has tasks alone calls that. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// Those of the sync, as for [`flush`](Log::flush).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// let flushed = log.flush_async();
    /// log.maintain()?; // elsewhere, every second or so
    /// pollster::block_on(flushed)?;
    /// assert_eq!(log.durable_offset(), log.end_offset());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn flush_async(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let end = self.log.offsets().end();
        let ride = self.check_open("flush").map(|()| self.log.make_durable_later(end));
        async move {
            match ride? {
                None => Ok(()),
                Some(ride) => ride.await.map_err(|error| error.again()),
            }
        }
    }

    /// Recovers the log in place after a failed sync has ended writing, without closing it:
    /// `None` if nothing has, and nothing is done. What lies above the recovery point is copied to
    /// fresh files, because no later sync may vouch for the old ones; then all the log holds is
    /// durable, and appends go on, under a new leader epoch. Reads go on meanwhile. Blocks for
    /// reading and writing what lies above the recovery point.
    ///
    /// # Errors
    /// Those of the disk: then writing stays ended, and the call may be made again.
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where records that were durable are gone;
    /// [`Poisoned`](crate::ErrorKind::Poisoned) where a sync of the log's own small file
    /// `tidelog.keeper` has failed: only closing and opening the log helps then.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// assert!(log.reopen()?.is_none()); // nothing was wrong
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn reopen(&self) -> Result<Option<PartitionReport>> {
        const OPERATION: &str = "reopen log";
        let _neither_closed_nor_reopened_meanwhile = self.lock.lock();
        self.check_open(OPERATION)?;
        if self.log.check_healthy(OPERATION).is_ok() {
            return Ok(None);
        }
        let epoch = self.draw_epoch()?;
        self.keeper.check()?; // a log that its host leads draws none
        let Some(report) = self.log.reopen(epoch)? else { return Ok(None) };
        let point = self.log.checkpoint().inspect_err(|error| self.note_failure(error))?;
        self.keeper.update(Durable::Now, |slot| {
            slot.recovery_point = point;
            slot.sync_failed = false;
        })?;
        self.log.recovery_point_recorded(point);
        log::warn!("{} was reopened", self.log.place.dir.display());
        Ok(Some(report))
    }

    /// Syncs up to `target`; a failure is remembered, for the next open not to trust what it finds
    /// in the page cache.
    pub(super) fn make_durable(&self, target: Offset) -> Result<()> {
        self.log.make_durable(target).inspect_err(|error| self.note_failure(error))
    }

    fn note_failure(&self, error: &Error) {
        if !error.is_poisoned() {
            self.record_failure(); // else it is known already
        }
    }

    /// Records that a sync has failed, if one has.
    pub(super) fn record_failure(&self) {
        if self.log.check_healthy("sync").is_ok() {
            return; // nothing is in doubt
        }
        let fact = (self.log.id(), LogFact::SyncFailed(self.log.offsets().durable()));
        if let Err(error) = self.keeper.record(&[fact], Durable::Now) {
            log::warn!("that a sync has failed could not be recorded: {error}");
        }
    }

    /// Does what is due: seals rolled segments, syncs in the background and for tasks that wait,
    /// applies retention, unlinks what was dropped. Call it every second or so; it blocks for the
    /// disk where there is something to do, and costs next to nothing where there is not.
    ///
    /// # Errors
    /// Those of a sync, and of the disk.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// log.maintain()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn maintain(&self) -> Result<()> {
        self.check_open("maintain log")?;
        if self.sync_is_due() {
            self.checkpoint()?;
        }
        if let Some(sync) = self.log.begin_for_tasks() {
            if let Err(error) = sync.end() {
                log::debug!("{error}"); // those it was made for are told
            }
            self.record_failure();
        }
        self.apply_retention()?;
        let digested = self.log.digest_one();
        self.log.unlink_dropped(false).1.and(digested)
    }

    fn sync_is_due(&self) -> bool {
        let unsynced = self.log.unsynced_bytes();
        let waited = self.clock.monotonic().saturating_sub(*self.last_sync.lock());
        let intervals = [self.background.interval, self.log.config().flush_interval];
        self.asked.rolls.load(Ordering::Relaxed) > 0
            || self.background.bytes.is_some_and(|most| unsynced >= most)
            || (unsynced > 0 && intervals.into_iter().flatten().any(|most| waited >= most))
    }

    /// Syncs, seals, and records how far the log is known to be whole.
    pub(super) fn checkpoint(&self) -> Result<()> {
        let _no_truncation = self.points.read();
        self.asked.rolls.store(0, Ordering::Relaxed);
        let point = self.log.checkpoint().inspect_err(|error| self.note_failure(error))?;
        let mut facts = vec![(self.log.id(), LogFact::RecoveryPoint(point))];
        facts.extend(self.log.high_watermark_fact());
        self.keeper.record(&facts, Durable::Later)?;
        self.log.recovery_point_recorded(point);
        *self.last_sync.lock() = self.clock.monotonic();
        Ok(())
    }

    /// Takes a new configuration: limits of segments count from the next append on.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, TopicConfig, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.set_config(TopicConfig::new().segment_bytes(1 << 20))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn set_config(&self, config: TopicConfig) -> Result<()> {
        config.validate()?;
        self.log.set_config(Arc::new(config));
        Ok(())
    }
}
