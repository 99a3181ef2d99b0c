//! A partition's door for hosts that replicate: where an epoch ends, and cutting off a tail that
//! its leader does not have. Decisions are the host's; each call goes down to the engine, which
//! gives what is appended afterwards a new epoch.

use super::partition::Partition;
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset};

impl Partition {
    /// Where the records of `epoch` end, with the epoch that answers: `epoch` itself, or the
    /// nearest one below it that has records here. For an epoch below all of them it is where the
    /// first of them begins. `None` for an epoch above all of them, or where there are none: then
    /// this partition cannot tell. As Kafka answers `OffsetsForLeaderEpoch`: a follower asks its
    /// leader for the end of its own last epoch, and truncates to what it is told.
    ///
    /// # Errors
    /// Those of [`start_offset`](Partition::start_offset), and
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// use tidelog::{Offset, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let epoch = orders.send(Record::new("a"))?.leader_epoch();
    /// let partition = store.partition("orders", 0)?;
    /// assert_eq!(partition.end_offset_for_epoch(epoch)?, Some((epoch, Offset::new(1))));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
    ) -> Result<Option<(LeaderEpoch, Offset)>> {
        self.partition.end_offset_for_epoch(epoch)
    }

    /// Cuts off every batch that holds a record at or above `target`; returns where the partition
    /// ends then: at `target`, or at the first offset of the batch that `target` lay within. An
    /// offset at or above the end changes nothing; at or below the start all records go, and the
    /// partition starts at `target`. `Ok` means that what was cut off never comes back, power cut
    /// or not. What is appended afterwards has a new leader epoch, so that a position in what was
    /// cut off is a typed [`LogTruncated`](crate::ErrorKind::LogTruncated); in a partition that the
    /// host leads it has the host's.
    ///
    /// Records that readers hold stay as they are. A transaction whose marker is cut off is open
    /// again, and is aborted by [`abort_transaction`](Partition::abort_transaction), the next
    /// transaction of its producer here or the next opening, whatever it was before. Blocks for
    /// syncs and for a copy of the segment that is cut; appends to the partition wait meanwhile,
    /// and so do background syncs.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) below 0 and for a topic of the
    /// store's own; [`Full`](crate::ErrorKind::Full), where the journal has no room to note it:
    /// again later; those of a sync and of the disk. One that meets the partition half cut poisons
    /// it, and [`reopen`](Partition::reopen) goes on with what is left.
    ///
    /// ```
    /// use tidelog::{Offset, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let orders = store.producer().build()?.topic("orders")?;
    /// let before = orders.send(Record::new("agreed"))?;
    /// orders.send(Record::new("only here"))?;
    /// let partition = store.partition("orders", 0)?;
    /// assert_eq!(partition.truncate_to(Offset::new(1))?, Offset::new(1));
    /// let after = orders.send(Record::new("everywhere"))?;
    /// assert_eq!(after.offset(), Offset::new(1));
    /// assert!(after.leader_epoch() > before.leader_epoch());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn truncate_to(&self, target: Offset) -> Result<Offset> {
        self.check_truncation(target)?;
        self.store.engine.truncate_to(&self.partition, target)
    }

    /// Lets all records go: the partition is empty then, and the next record gets `target`, which
    /// may lie anywhere; for a follower whose leader starts beyond its end. `Ok` means that it
    /// survives a power cut. Blocks for syncs.
    ///
    /// Stopped half way it has left the records as they were, or those from `target` on, or none:
    /// then the partition begins at `target` or, where that is below its start, where it ended.
    /// What lay below its start is never served again.
    ///
    /// # Errors
    /// Those of [`truncate_to`](Partition::truncate_to).
    ///
    /// ```
    /// use tidelog::{Offset, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.create_topic("orders", TopicConfig::new())?;
    /// let partition = store.partition("orders", 0)?;
    /// partition.truncate_fully_and_start_at(Offset::new(1_000))?;
    /// let receipt = store.producer().build()?.topic("orders")?.send(Record::new("a"))?;
    /// assert_eq!(receipt.offset(), Offset::new(1_000));
    /// assert_eq!(partition.start_offset()?, Offset::new(1_000));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn truncate_fully_and_start_at(&self, target: Offset) -> Result<()> {
        self.check_truncation(target)?;
        self.store.engine.truncate_fully_and_start_at(&self.partition, target)
    }

    fn check_truncation(&self, target: Offset) -> Result<()> {
        self.store.not_internal("truncate", self.topic())?;
        if target < Offset::ZERO {
            let why = format!("offset {target} is below 0");
            return Err(Error::new("truncate", Cause::InvalidArgument(why)));
        }
        Ok(())
    }
}
