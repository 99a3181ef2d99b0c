//! Truncating a partition for a host that replicates. The log does it; what only the engine can do
//! is here: each truncation has a new epoch of the store, durable before it begins, unless the host
//! leads the partition; no recovery
//! point is recorded after it that was read before; and where the journal has no room for its bar,
//! room is made. Called by the partition's public door.

use std::sync::Arc;

use super::Engine;
use super::partition::Partition;
use super::root::fact::Fact;
use crate::config::Leadership;
use crate::error::{Error, Outcome, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::log::{Durable, Keeper, PartitionLog, epoch_of_nobody};

/// How often a truncation is tried while the journal has no room to note it.
const ATTEMPTS: usize = 3;

impl Engine {
    /// Cuts off every batch that reaches `target`; returns where the log ends then.
    pub(crate) fn truncate_to(&self, partition: &Arc<Partition>, target: Offset) -> Result<Offset> {
        let log = partition.open_log("truncate")?;
        if target >= log.offsets().end() {
            return log.check_healthy("truncate").map(|()| log.offsets().end());
        }
        self.truncate(partition, |log, epoch, keeper| log.truncate_to(target, epoch, keeper))
    }

    /// Lets all records go; the next one gets `target`.
    pub(crate) fn truncate_fully_and_start_at(
        &self,
        partition: &Arc<Partition>,
        target: Offset,
    ) -> Result<()> {
        self.truncate(partition, |log, epoch, keeper| {
            log.truncate_fully_and_start_at(target, epoch, keeper)
        })
    }

    fn truncate<T>(
        &self,
        partition: &Arc<Partition>,
        cut: impl Fn(&PartitionLog, Option<LeaderEpoch>, &dyn Keeper) -> Result<T>,
    ) -> Result<T> {
        let log = partition.open_log("truncate")?;
        let neither_reopened_nor_handed_over = partition.recast.lock();
        let mut attempt = 1;
        let cut = loop {
            let no_point = self.points.write();
            // of two truncations the one that cuts first has the lower epoch
            let epoch = self.draw_epoch_of("truncate", log)?;
            let done = cut(log, epoch, self.keeper()?);
            drop(no_point);
            match done {
                Err(error) if may_be_tried_again(&error) && attempt < ATTEMPTS => {
                    self.make_room_in_journal();
                    attempt += 1;
                }
                done => break done,
            }
        };
        partition.note_failure();
        partition.give_back_freed();
        drop(neither_reopened_nor_handed_over); // wakers are the host's
        partition.signal().notify();
        cut
    }

    /// The epoch that a log goes on with after a break; `None` where it comes from the host.
    pub(super) fn draw_epoch_of(
        &self,
        operation: &'static str,
        log: &PartitionLog,
    ) -> Result<Option<LeaderEpoch>> {
        match log.leadership() {
            Leadership::SelfLed => self.draw_epoch(operation, log).map(Some),
            Leadership::HostLed => Ok(None),
        }
    }

    /// Draws an epoch above every one that the store or the log has seen; durable when it returns.
    pub(super) fn draw_epoch(
        &self,
        operation: &'static str,
        log: &PartitionLog,
    ) -> Result<LeaderEpoch> {
        let root = &self.owner(operation)?.root;
        let highest = log.highest_epoch();
        let _one_draw_at_a_time = self.catalog.lock();
        let epoch = root.log().with_state(|state| state.next_epoch(highest))?;
        let recorded = root.log().record(&[Fact::HighestEpoch { epoch }], Durable::Now);
        recorded.map_err(epoch_of_nobody)?;
        Ok(epoch)
    }
}

/// One that met the files half cut has ended writing: what another try says is not its outcome.
fn may_be_tried_again(error: &Error) -> bool {
    error.is_full() && error.outcome() == Outcome::NotWritten
}

impl Partition {
    /// The epoch of the record before `offset`, as far as it is known.
    pub(crate) fn epoch_before(&self, offset: Offset) -> Result<Option<LeaderEpoch>> {
        if let Some(followed) = self.open_followed("look up epoch")? {
            return followed.epoch_before(offset);
        }
        Ok(self.open_log("look up epoch")?.epoch_before(offset))
    }

    /// Where the records of `epoch` end; see [`PartitionLog::end_offset_for_epoch`].
    pub(crate) fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
    ) -> Result<Option<(LeaderEpoch, Offset)>> {
        Ok(self.open_log("look up epoch")?.end_offset_for_epoch(epoch))
    }
}
