//! State kept as a log: keyed records in one internal topic, folded by whoever owns the state.
//!
//! `replay` reads what a coordinator folds when the store opens, [`StateLog`] appends what changes
//! it. Keys and values are bytes here; their schemas belong to the owner. The topic is made with
//! the first append, so that a store that keeps no such state has no such topic.
//!
//! Invariants: one append is one batch, all or nothing; a state of several records is never half
//! written. Callers: the coordinators of the floor above; they serialise appends that concern the
//! same key, and change their memory only after an append has succeeded.

mod replay;
pub(crate) mod wire;

use std::sync::Arc;

use crate::config::{Durability, TopicConfig};
use crate::engine::{Engine, NewTopic, Partition, Topic};
use crate::error::{ErrorKind, Outcome, Result};
use crate::ids::{Offset, PartitionId};
use crate::record::{BorrowedBatch, Produced, ProducerClaim, ProducerIdentity, Record};
use crate::sync::Mutex;

pub(crate) use replay::{Progress, Replayed, Waiting};

/// One internal topic as a log of keyed state.
#[derive(Debug)]
pub(crate) struct StateLog {
    engine: Arc<Engine>,
    name: &'static str,
    /// What the topic is made with.
    config: TopicConfig,
    topic: Mutex<Option<Arc<Topic>>>,
}

/// One change of the state: a key's new value, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

impl StateLog {
    /// The log in the topic `name`; nothing is made or read yet.
    pub(crate) fn new(engine: Arc<Engine>, name: &'static str, config: TopicConfig) -> Self {
        StateLog { engine, name, config, topic: Mutex::new(None) }
    }

    /// The topic, if there is one.
    fn existing(&self) -> Result<Option<Arc<Topic>>> {
        let mut known = self.topic.lock();
        if let Some(topic) = known.as_ref().filter(|topic| !topic.is_deleted()) {
            return Ok(Some(topic.clone()));
        }
        *known = match self.engine.topic(self.name) {
            Ok(topic) => Some(topic),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(known.clone())
    }

    fn existing_or_new(&self) -> Result<Arc<Topic>> {
        if let Some(topic) = self.existing()? {
            return Ok(topic);
        }
        let new = NewTopic { name: self.name, config: self.config.clone(), internal: true };
        match self.engine.create_topics(&[new]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // by another thread
            Err(error) => return Err(error),
        }
        self.engine.topic(self.name)
    }

    /// How many partitions the topic has, or would have. That of a topic another hand made counts.
    pub(crate) fn partition_count(&self) -> Result<u32> {
        let topic = self.existing()?;
        Ok(topic.map_or(self.config.partitions, |topic| {
            u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX)
        }))
    }

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

    fn partitions(&self) -> Result<Vec<Arc<Partition>>> {
        Ok(self.existing()?.map_or_else(Vec::new, |topic| topic.partitions().to_vec()))
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

#[cfg(all(test, not(loom)))]
mod tests;
