//! Partitions that the host leads: its word is kept durably, and what it appends takes its room.
//!
//! The log does it; what only the engine can do is here: who leads is a fact of the state log,
//! durable before it holds; budgets count what a leader's batches take; and whoever waits is woken
//! where the high watermark rises. Called by the partition's public door.

use std::sync::Arc;

use super::Engine;
use super::partition::Partition;
use super::room;
use super::root::fact::Fact;
use crate::config::{Leadership, TopicConfig};
use crate::error::{Outcome, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::log::{
    Appended, Cursor, Durable, Fetched, HandedOver, LeaderBatches, MOST_DRAWS, PartitionLog,
    RawBatches, RawLimits, outrun,
};
use crate::record::AppendBatch;
use crate::time::Timestamp;

const OPERATION: &str = "set leadership";

impl Engine {
    /// Has the host lead a partition, or the partition itself again; durable when it returns.
    pub(crate) fn set_leadership(
        &self,
        partition: &Arc<Partition>,
        leadership: Leadership,
    ) -> Result<()> {
        let log = partition.open_log(OPERATION)?;
        let neither_cut_nor_reopened = partition.recast.lock();
        if log.leadership() == leadership {
            return Ok(());
        }
        let mut ended = outrun(OPERATION).at_partition(partition.topic_name(), partition.id());
        for attempt in 0..MOST_DRAWS {
            match self.hand_over(partition, log, leadership) {
                Ok(HandedOver::Done) => {
                    drop(neither_cut_nor_reopened);
                    partition.signal().notify(); // the high watermark may have risen
                    return Ok(());
                }
                Ok(HandedOver::Overtaken) => {}
                Err(error) if attempt == 0 => return Err(error),
                Err(error) => {
                    ended = error;
                    break;
                }
            }
        }
        // where one of the draws was recorded, it is not what holds
        let watermark = log.offsets().set_watermark().map(|set| set.min(log.offsets().durable()));
        self.record_leadership(partition, log.leadership(), watermark)
            .map_err(|error| error.with_outcome(Outcome::Unknown))?;
        Err(ended)
    }

    /// Tries it once, under an epoch that is drawn for it.
    fn hand_over(
        &self,
        partition: &Partition,
        log: &PartitionLog,
        leadership: Leadership,
    ) -> Result<HandedOver> {
        let epoch = match leadership {
            Leadership::SelfLed => Some(self.draw_epoch(OPERATION, log)?),
            Leadership::HostLed => None,
        };
        let _no_truncation = self.points.write();
        log.set_leadership(leadership, epoch, |watermark| {
            self.record_leadership(partition, leadership, watermark)
        })
    }

    fn record_leadership(
        &self,
        partition: &Partition,
        leadership: Leadership,
        watermark: Option<Offset>,
    ) -> Result<()> {
        let (id, first) = (partition.topic_id(), partition.id());
        let end = PartitionId::new(first.get() + 1);
        let host_led = leadership == Leadership::HostLed;
        let leadership = Fact::Leadership { id, first, end, host_led };
        let watermark =
            watermark.map(|offset| Fact::HighWatermark { id, partition: first, offset });
        let facts: Vec<_> = [leadership].into_iter().chain(watermark).collect();
        self.owner(OPERATION)?.root.log().record(&facts, Durable::Now)
    }

    /// Appends a leader's batches as they are; returns where the log ends then.
    pub(crate) fn append_as_follower(
        &self,
        partition: &Arc<Partition>,
        batches: &LeaderBatches<'_>,
        now: Timestamp,
    ) -> Result<Offset> {
        let log = partition.open_log("append as follower")?;
        let reserved = room::reserve(partition, batches.size())?;
        let followed = log.append_as_follower(batches, now, (self.keeper()?, &self.points));
        let followed = followed.inspect_err(|_| {
            room::give_back(partition, reserved);
            partition.note_failure();
        })?;
        match followed.failure {
            None => {
                partition.topic_budget.settle(reserved.of_topic, followed.count);
                partition.signal().notify();
                if partition.is_flush_due() {
                    partition.make_durable(followed.end)?;
                }
                Ok(followed.end)
            }
            Some(failure) => {
                // what was appended counts, the rest does not
                room::give_back(partition, reserved);
                if let Ok(taken) = room::reserve(partition, followed.bytes) {
                    partition.topic_budget.settle(taken.of_topic, followed.count);
                }
                partition.note_failure();
                partition.signal().notify();
                Err(failure)
            }
        }
    }
}

impl Partition {
    pub(crate) fn leadership(&self) -> Result<Leadership> {
        Ok(self.open_log("look up leadership")?.leadership())
    }

    pub(crate) fn become_leader(&self, epoch: LeaderEpoch) -> Result<()> {
        self.open_log("lead partition")?.become_leader(epoch)
    }

    pub(crate) fn become_follower(&self) -> Result<()> {
        self.open_log("become follower")?.become_follower()
    }

    /// Appends a batch as the leader of `epoch`, and wakes who waits for it.
    pub(crate) fn append_as_leader<B: AppendBatch>(
        &self,
        epoch: LeaderEpoch,
        batch: &B,
        now: Timestamp,
    ) -> Result<Appended> {
        let log = self.open_log("append")?;
        let reserved = self.room_for(batch)?;
        let appended = log.append_as_leader(epoch, batch, now);
        let appended = appended.map_err(|error| self.not_appended(reserved, error))?;
        self.settle(reserved, &appended);
        self.signal().notify();
        if self.is_flush_due() {
            self.make_durable(appended.end_offset)?;
        }
        Ok(appended)
    }

    /// Sets how far readers see, and wakes those who may see more.
    pub(crate) fn set_high_watermark(&self, wanted: Offset) -> Result<Offset> {
        let set = self.open_log("set high watermark")?.set_high_watermark(wanted)?;
        self.signal().notify();
        Ok(set)
    }

    /// Every epoch that has records, with its first offset.
    pub(crate) fn leader_epochs(&self) -> Result<Vec<(LeaderEpoch, Offset)>> {
        Ok(self.open_log("look up epochs")?.epoch_entries())
    }

    /// Reads whole batches from the one that holds `from` on.
    pub(crate) fn read_batches(&self, from: Offset, limits: RawLimits) -> Result<RawBatches> {
        self.open_log("read batches")?.read_batches(from, limits)
    }

    /// Its topic's configuration; `None` of a log that cannot be written to.
    pub(crate) fn config(&self) -> Option<Arc<TopicConfig>> {
        self.log().ok().map(PartitionLog::config)
    }

    /// Reads whole batches from the one that holds `from` to the end of the log, whatever readers
    /// see of it: for who has to know all that was appended.
    pub(crate) fn fetch_all(
        &self,
        from: Offset,
        cursor: Option<&Cursor>,
        bytes: usize,
    ) -> Result<Fetched> {
        self.open_log("read")?.fetch_all(from, cursor, bytes)
    }
}
