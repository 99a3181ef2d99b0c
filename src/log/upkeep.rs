//! The upkeep of a lone log: syncs, sealing, retention, the recovery point it records.
//!
//! A log under a store has a thread for this; a lone one has its host, who calls `maintain`. What
//! must not wait for a host that never calls (the sealing of rolled segments) an append does.

use super::door::Log;
use super::keeper::{Durable, Keeper as _, LogFact};
use crate::config::TopicConfig;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::sync::atomic::Ordering;
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
        self.log.delete_records_before(offset, &self.keeper).map(drop)
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
    /// Those of a sync; writing ends with the first one that fails. To go on, close the log and
    /// open it again: that puts fresh files in place of what no sync may vouch for any more.
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

    /// Syncs up to `target`; a failure is remembered, for the next open not to trust what it finds
    /// in the page cache.
    pub(super) fn make_durable(&self, target: Offset) -> Result<()> {
        self.log.make_durable(target).inspect_err(|error| self.note_failure(error))
    }

    fn note_failure(&self, error: &Error) {
        if error.is_poisoned() || self.log.check_healthy("sync").is_ok() {
            return; // known already, or nothing is in doubt
        }
        let fact = (self.log.id(), LogFact::SyncFailed(self.log.offsets().durable()));
        if let Err(error) = self.keeper.record(&[fact], Durable::Now) {
            log::warn!("that a sync has failed could not be recorded: {error}");
        }
    }

    /// Does what is due: seals rolled segments, syncs in the background, applies retention,
    /// unlinks what was dropped. Call it every second or so; it blocks for the disk where there is
    /// something to do, and costs next to nothing where there is not.
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
        self.apply_retention()?;
        self.log.digest_one()?;
        self.log.unlink_dropped(false).1
    }

    fn sync_is_due(&self) -> bool {
        let unsynced = self.log.unsynced_bytes();
        let waited = self.clock.monotonic().saturating_sub(*self.last_sync.lock());
        self.asked.rolls.load(Ordering::Relaxed) > 0
            || self.background.bytes.is_some_and(|most| unsynced >= most)
            || (unsynced > 0 && self.background.interval.is_some_and(|most| waited >= most))
    }

    /// Syncs, seals, and records how far the log is known to be whole.
    pub(super) fn checkpoint(&self) -> Result<()> {
        self.asked.rolls.store(0, Ordering::Relaxed);
        let point = self.log.checkpoint().inspect_err(|error| self.note_failure(error))?;
        self.keeper.record(&[(self.log.id(), LogFact::RecoveryPoint(point))], Durable::Later)?;
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
