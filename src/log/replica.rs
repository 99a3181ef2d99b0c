//! The lone log's door for hosts that replicate: where an epoch ends, and cutting off a tail that
//! others do not have. What it does is `truncate`'s; this room adds the new epoch, and sees to it
//! that no recovery point is recorded that was read before the cut.

use super::door::Log;
use crate::config::Leadership;
use crate::error::Result;
use crate::ids::{LeaderEpoch, Offset};

impl Log {
    /// Where the records of `epoch` end, with the epoch that answers: `epoch` itself, or the
    /// nearest one below it that has records here. For an epoch below all of them it is where the
    /// first of them begins. `None` for an epoch above all of them, or where there are none: then
    /// this log cannot tell. As Kafka answers `OffsetsForLeaderEpoch`.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{LeaderEpoch, Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// let receipt = log.append(&[Record::new("a"), Record::new("b")])?;
    /// let epoch = receipt.epoch();
    /// assert_eq!(log.end_offset_for_epoch(epoch)?, Some((epoch, Offset::new(2))));
    /// assert_eq!(log.end_offset_for_epoch(LeaderEpoch::new(epoch.get() + 1))?, None);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
    ) -> Result<Option<(LeaderEpoch, Offset)>> {
        self.check_open("look up epoch")?;
        Ok(self.log.end_offset_for_epoch(epoch))
    }

    /// Cuts off every batch that holds a record at or above `target`; returns where the log ends
    /// then: at `target`, or at the first offset of the batch that `target` lay within. An offset
    /// at or above the end changes nothing; at or below the start all records go, and the log
    /// starts at `target`. `Ok` means that the cut survives a power cut: what was cut off never
    /// comes back. What is appended afterwards has a new leader epoch, or the host's, if that
    /// leads.
    ///
    /// Records that readers hold stay as they are. Blocks for syncs and for a copy of the segment
    /// that is cut; appends wait meanwhile.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) below 0. Those of a sync and of the
    /// disk; one that meets the log half cut ends writing, and [`Log::reopen`] goes on with what
    /// is left.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// log.append(&[Record::new("b"), Record::new("c")])?;
    /// assert_eq!(log.truncate_to(Offset::new(2))?, Offset::new(1)); // a batch goes whole
    /// assert_eq!(log.end_offset(), Offset::new(1));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn truncate_to(&self, target: Offset) -> Result<Offset> {
        if target >= self.log.offsets().end() {
            self.check_open("truncate")?;
            return self.log.check_healthy("truncate").map(|()| self.log.offsets().end());
        }
        self.cut(|epoch| self.log.truncate_to(target, epoch, &self.keeper))
    }

    /// Lets all records go: the log is empty then, and the next record gets `target`, which may
    /// lie anywhere. Durable when it returns; blocks for syncs.
    ///
    /// Stopped half way it has left the records as they were, or those from `target` on, or none:
    /// then the log begins at `target` or, where that is below its start, where it ended. What lay
    /// below its start is never served again.
    ///
    /// # Errors
    /// Those of [`Log::truncate_to`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidelog::{Log, Offset, Record, disk::MemoryDisk};
    /// # let log = Log::builder("/wal").disk(Arc::new(MemoryDisk::new())).open()?;
    /// log.append(&[Record::new("a")])?;
    /// log.truncate_fully_and_start_at(Offset::new(1_000))?;
    /// assert_eq!(log.start_offset(), Offset::new(1_000));
    /// assert_eq!(log.append(&[Record::new("b")])?.first_offset(), Offset::new(1_000));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn truncate_fully_and_start_at(&self, target: Offset) -> Result<()> {
        self.cut(|epoch| self.log.truncate_fully_and_start_at(target, epoch, &self.keeper))
    }

    fn cut<T>(&self, cut: impl FnOnce(Option<LeaderEpoch>) -> Result<T>) -> Result<T> {
        let _neither_closed_nor_reopened_meanwhile = self.lock.lock();
        self.check_open("truncate")?;
        let _no_point = self.points.write();
        let epoch = self.draw_epoch()?;
        let done = cut(epoch);
        self.record_failure();
        done
    }

    /// The epoch that the log goes on with after a break; `None` where it comes from the host.
    pub(super) fn draw_epoch(&self) -> Result<Option<LeaderEpoch>> {
        match self.log.leadership() {
            Leadership::SelfLed => self.keeper.draw_epoch(self.log.highest_epoch()).map(Some),
            Leadership::HostLed => Ok(None),
        }
    }
}
