//! Reading as part of a transaction: what was returned, to be committed with its results, and the
//! way back where that was aborted.
//!
//! A transaction's commit is not this consumer's: what it has been given stays as it is, so after
//! an abort it goes back to what the group has committed. Callers: programs.

use super::handle::Consumer;
use crate::config::Durability;
use crate::error::Result;
use crate::group::{ConsumedOffsets, ConsumedPart};

/// Each fails as invalid for a reader without a group.
impl Consumer {
    /// What polls have returned and the group has not committed, to be committed by a
    /// transaction: [`Transaction::send_offsets`](crate::Transaction::send_offsets). Commits
    /// nothing by itself; a consumer whose offsets are committed by transactions commits none
    /// itself, and has no [`auto_commit`](crate::ConsumerBuilder::auto_commit).
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// consumer.try_poll()?;
    /// assert!(!consumer.consumed()?.is_empty());
    /// consumer.commit()?;
    /// assert!(consumer.consumed()?.is_empty());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn consumed(&self) -> Result<ConsumedOffsets<'_>> {
        let group = self.group_name()?;
        self.engine.check_open("commit")?;
        let indexes: Vec<usize> = self.assignment.iter().map(|(index, _)| index).collect();
        let mut parts = Vec::new();
        for part in self.delivered_parts(&indexes, Durability::Process)? {
            let committed = self.offsets.committed(group, &part.partition)?;
            if committed.is_some_and(|committed| committed.offset() == part.offset) {
                continue; // by a transaction, which this consumer is not told of
            }
            parts.push(ConsumedPart {
                metadata: part.kept.map_or_else(|| "".into(), |kept| kept.metadata().into()),
                partition: part.partition,
                offset: part.offset,
                leader_epoch: part.leader_epoch,
                mode: part.mode,
            });
        }
        let by = self.committer();
        Ok(ConsumedOffsets::new(&self.offsets, by, group, parts))
    }

    /// Goes back, in every assigned partition, to what the group has committed, or to where it
    /// began: what was returned since is returned again, and counts as not returned. For after a
    /// transaction that was to commit it was aborted.
    ///
    /// # Errors
    /// Those of deciding where to begin, as a poll has them; the next poll tries again.
    ///
    /// ```
    /// # use tidelog::{Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("orders", TopicConfig::new())?;
    /// # store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
    /// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// consumer.rewind()?;
    /// assert_eq!(consumer.try_poll()?.len(), 1);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn rewind(&mut self) -> Result<()> {
        self.group_name()?;
        self.engine.check_open("rewind")?;
        let indexes: Vec<usize> = self.assignment.iter().map(|(index, _)| index).collect();
        self.retrying.let_go_of_held();
        for index in &indexes {
            self.forget_fetched_of(*index);
            if let Some(slot) = self.assignment.get_mut(*index) {
                (slot.position, slot.ahead, slot.delivered) = (None, None, None);
            }
            self.assignment.queue(*index);
        }
        indexes.into_iter().try_for_each(|index| self.resolve(index))
    }
}
