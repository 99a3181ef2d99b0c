//! Appending to a state log, and making what was appended durable.
//!
//! One append is one batch. Within a producer's transaction it takes effect with the marker; the
//! coordinator that appends so is told of that by others. Called by the coordinators.

use std::sync::Arc;

use super::{Change, StateLog};
use crate::config::Durability;
use crate::engine::Partition;
use crate::error::{Outcome, Result};
use crate::ids::{Offset, PartitionId};
use crate::record::{BorrowedBatch, Produced, ProducerClaim, ProducerIdentity, Record};

impl StateLog {
    /// Appends changes to one partition as one batch; returns the offset behind them. Blocks for a
    /// sync with [`Durability::Power`].
    pub(crate) fn append(
        &self,
        partition: PartitionId,
        changes: &[Change<'_>],
        durability: Durability,
    ) -> Result<Offset> {
        let partition = self.existing_or_new()?.partition(partition)?;
        let now = self.engine.clock().wall();
        let records: Vec<Record<'_>> = changes.iter().map(Change::as_record).collect();
        let batch = BorrowedBatch::measure(&records, &partition.batch_rules(now)?)?;
        Ok(partition.append(&batch, now, durability)?.end_offset)
    }

    /// Appends changes as part of a producer's transaction: they take effect with its marker.
    pub(crate) fn append_produced(
        &self,
        partition: PartitionId,
        changes: &[Change<'_>],
        identity: ProducerIdentity,
    ) -> Result<Offset> {
        let partition = self.existing_or_new()?.partition(partition)?;
        let now = self.engine.clock().wall();
        let records: Vec<Record<'_>> = changes.iter().map(Change::as_record).collect();
        let batch = BorrowedBatch::measure(&records, &partition.batch_rules(now)?)?;
        let claim = Some(ProducerClaim { identity, sequence: None, transactional: true });
        let batch = Produced { batch: &batch, claim };
        Ok(partition.append(&batch, now, Durability::Process)?.end_offset)
    }

    /// One partition of the topic, which is made if there is none.
    pub(crate) fn partition(&self, id: PartitionId) -> Result<Arc<Partition>> {
        self.existing_or_new()?.partition(id)
    }

    /// Makes everything in a partition durable; blocks for a sync.
    pub(crate) fn make_durable(&self, partition: PartitionId) -> Result<()> {
        let Some(topic) = self.existing()? else { return Ok(()) };
        let partition = topic.partition(partition)?;
        partition.make_durable(partition.offsets()?.end)
    }

    /// Makes what was appended below `end` durable; blocks for a sync, its own or one that others
    /// share. On an error the changes are in the log.
    pub(crate) fn make_durable_below(&self, partition: PartitionId, end: Offset) -> Result<()> {
        let sync = || match self.existing()? {
            Some(topic) => topic.partition(partition)?.make_durable(end),
            None => Ok(()),
        };
        sync().map_err(|error| error.with_outcome(Outcome::WrittenNotDurable))
    }

    /// The same for a task.
    pub(crate) fn make_durable_later(
        &self,
        partition: PartitionId,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let partition = self.existing().and_then(|topic| match topic {
            Some(topic) => topic.partition(partition).map(Some),
            None => Ok(None),
        });
        let waiting = partition.map(|partition| partition.map(|it| it.flush_later()));
        async move {
            match waiting? {
                Some(waiting) => waiting.await,
                None => Ok(()),
            }
        }
    }
}

impl<'a> Change<'a> {
    fn as_record(&self) -> Record<'a> {
        // borrowed for 'a, not from self
        let (key, value): (&'a [u8], Option<&'a [u8]>) = (self.key, self.value);
        match value {
            Some(value) => Record::new(value).key(key),
            None => Record::tombstone().key(key),
        }
    }
}
