//! What a program may do when partitions come to its consumer or go.
//!
//! The library calls a [`RebalanceListener`] within the member's own poll and under no lock, with
//! what can be done at that moment: positions can still be changed when partitions have come,
//! offsets can still be committed before they go, and nothing is left to do once they are lost.

use super::commit::OffsetCommit;
use super::handle::Consumer;
use crate::error::Result;
use crate::group::{Committed, TopicPartition};
use crate::ids::{Offset, PartitionId};
use crate::time::Timestamp;

/// Told of a group member's partitions as they come and go; given to
/// [`rebalance_listener`](crate::ConsumerBuilder::rebalance_listener).
///
/// Each method does nothing unless it is written. It is called within the member's own poll (any
/// call that fetches), before that returns records, and may use other consumers and the store as
/// it likes. An error it returns goes out of that poll once the change is complete, and so does a
/// panic: partitions that came stay, those that were to go are gone.
///
/// ```
/// use tidelog::{Assigned, RebalanceListener, Result, Revoked, Store, TopicConfig};
/// struct Commit;
/// impl RebalanceListener for Commit {
///     fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> Result<()> {
///         println!("come: {:?}", assigned.partitions());
///         Ok(())
///     }
///     fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> Result<()> {
///         revoked.commit() // what was returned of them so far
///     }
/// }
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
/// let member = || store.consumer("billing").subscribe(["orders"]).rebalance_listener(Commit);
/// let (mut first, mut second) = (member().build()?, member().build()?);
/// second.try_poll()?;
/// first.try_poll()?; // two come, then one is to go
/// second.try_poll()?; // and comes here
/// assert_eq!((first.assignment().len(), second.assignment().len()), (1, 1));
/// # Ok::<(), tidelog::Error>(())
/// ```
pub trait RebalanceListener: Send {
    /// These partitions have come; the next records may be theirs. Positions may be changed.
    ///
    /// ```
    /// use tidelog::{Assigned, RebalanceListener, Result};
    /// struct FromTheStart;
    /// impl RebalanceListener for FromTheStart {
    ///     fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> Result<()> {
    ///         for partition in assigned.partitions().to_vec() {
    ///             assigned.seek_to_beginning(partition.topic(), partition.partition())?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # let store = tidelog::Store::in_memory()?;
    /// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
    /// # let group = store.consumer("billing").subscribe(["orders"]);
    /// # group.rebalance_listener(FromTheStart).build()?.try_poll()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> Result<()> {
        let _ = assigned;
        Ok(())
    }

    /// These partitions are about to go: the last moment to commit for them. They go whatever
    /// this returns.
    ///
    /// ```
    /// use tidelog::{RebalanceListener, Result, Revoked};
    /// struct Commit;
    /// impl RebalanceListener for Commit {
    ///     fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> Result<()> {
    ///         revoked.commit()
    ///     }
    /// }
    /// # let store = tidelog::Store::in_memory()?;
    /// # let group = store.consumer("billing").subscribe(["orders"]);
    /// # group.rebalance_listener(Commit).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> Result<()> {
        let _ = revoked;
        Ok(())
    }

    /// These partitions are gone: the member was away for too long and was expelled. Others may
    /// read them by now, and a commit for them would be refused.
    ///
    /// ```
    /// use tidelog::{RebalanceListener, Result, TopicPartition};
    /// struct Forget(Vec<TopicPartition>);
    /// impl RebalanceListener for Forget {
    ///     fn on_lost(&mut self, lost: &[TopicPartition]) -> Result<()> {
    ///         self.0.retain(|partition| !lost.contains(partition));
    ///         Ok(())
    ///     }
    /// }
    /// # let store = tidelog::Store::in_memory()?;
    /// # let group = store.consumer("billing").subscribe(["orders"]);
    /// # group.rebalance_listener(Forget(Vec::new())).build()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    fn on_lost(&mut self, lost: &[TopicPartition]) -> Result<()> {
        let _ = lost;
        Ok(())
    }
}

/// Partitions that have come, and what can be done with them; given to
/// [`on_assigned`](RebalanceListener::on_assigned).
///
/// ```
/// use tidelog::{Assigned, RebalanceListener, Result};
/// struct Print;
/// impl RebalanceListener for Print {
///     fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> Result<()> {
///         for partition in assigned.partitions().to_vec() {
///             let at = assigned.position(partition.topic(), partition.partition())?;
///             println!("{partition} from offset {at} on");
///         }
///         Ok(())
///     }
/// }
/// # let store = tidelog::Store::in_memory()?;
/// # store.ensure_topic("orders", tidelog::TopicConfig::new())?;
/// # let group = store.consumer("billing").subscribe(["orders"]);
/// # group.rebalance_listener(Print).build()?.try_poll()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct Assigned<'a> {
    pub(super) consumer: &'a mut Consumer,
    pub(super) partitions: &'a [TopicPartition],
}

/// Each but the first fails as its namesake of [`Consumer`] does.
impl<'a> Assigned<'a> {
    /// Those that have come, in order; the consumer may have others besides.
    ///
    /// ```
    /// # use tidelog::{Assigned, Result};
    /// fn count(assigned: &Assigned<'_>) -> usize {
    ///     assigned.partitions().len()
    /// }
    /// # let _ = count;
    /// ```
    pub fn partitions(&self) -> &'a [TopicPartition] {
        self.partitions
    }

    /// What the group has committed for a partition: where it is read from.
    ///
    /// ```
    /// # use tidelog::{Assigned, Result};
    /// fn sums(assigned: &Assigned<'_>, partition: u32) -> Result<Option<String>> {
    ///     let committed = assigned.committed("orders", partition)?;
    ///     Ok(committed.map(|committed| committed.metadata().to_owned()))
    /// }
    /// # let _ = sums;
    /// ```
    pub fn committed(
        &self,
        topic: &str,
        partition: impl Into<PartitionId>,
    ) -> Result<Option<Committed>> {
        self.consumer.committed(topic, partition)
    }

    /// The offset of the next record of a partition.
    ///
    /// ```
    /// # use tidelog::{Assigned, Offset, Result};
    /// fn next(assigned: &mut Assigned<'_>, partition: u32) -> Result<Offset> {
    ///     assigned.position("orders", partition)
    /// }
    /// # let _ = next;
    /// ```
    pub fn position(&mut self, topic: &str, partition: impl Into<PartitionId>) -> Result<Offset> {
        self.consumer.position(topic, partition)
    }

    /// Goes to an offset.
    ///
    /// ```
    /// # use tidelog::{Assigned, Offset, Result};
    /// fn go_to(assigned: &mut Assigned<'_>, partition: u32, kept: Offset) -> Result<()> {
    ///     assigned.seek("orders", partition, kept)
    /// }
    /// # let _ = go_to;
    /// ```
    pub fn seek(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
        offset: Offset,
    ) -> Result<()> {
        self.consumer.seek(topic, partition, offset)
    }

    /// Goes to the first record there is; returns its offset.
    ///
    /// ```
    /// # use tidelog::{Assigned, Offset, Result};
    /// fn again(assigned: &mut Assigned<'_>, partition: u32) -> Result<Offset> {
    ///     assigned.seek_to_beginning("orders", partition)
    /// }
    /// # let _ = again;
    /// ```
    pub fn seek_to_beginning(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
    ) -> Result<Offset> {
        self.consumer.seek_to_beginning(topic, partition)
    }

    /// Goes to the end: only what comes later is read; returns that offset.
    ///
    /// ```
    /// # use tidelog::{Assigned, Offset, Result};
    /// fn only_new(assigned: &mut Assigned<'_>, partition: u32) -> Result<Offset> {
    ///     assigned.seek_to_end("orders", partition)
    /// }
    /// # let _ = only_new;
    /// ```
    pub fn seek_to_end(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
    ) -> Result<Offset> {
        self.consumer.seek_to_end(topic, partition)
    }

    /// Goes to the first record whose timestamp is `timestamp` or later; returns its offset.
    ///
    /// ```
    /// # use tidelog::{Assigned, Offset, Result, Timestamp};
    /// fn since(assigned: &mut Assigned<'_>, partition: u32, at: Timestamp) -> Result<Offset> {
    ///     assigned.seek_to_timestamp("orders", partition, at)
    /// }
    /// # let _ = since;
    /// ```
    pub fn seek_to_timestamp(
        &mut self,
        topic: &str,
        partition: impl Into<PartitionId>,
        timestamp: Timestamp,
    ) -> Result<Offset> {
        self.consumer.seek_to_timestamp(topic, partition, timestamp)
    }
}

/// Partitions that are about to go, and what can still be done for them; given to
/// [`on_revoked`](RebalanceListener::on_revoked).
///
/// ```
/// use tidelog::{RebalanceListener, Result, Revoked};
/// struct Commit;
/// impl RebalanceListener for Commit {
///     fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> Result<()> {
///         println!("going: {:?}", revoked.partitions());
///         revoked.commit()
///     }
/// }
/// # let store = tidelog::Store::in_memory()?;
/// # let group = store.consumer("billing").subscribe(["orders"]);
/// # group.rebalance_listener(Commit).build()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct Revoked<'a> {
    pub(super) consumer: &'a mut Consumer,
    pub(super) partitions: &'a [TopicPartition],
}

/// Each but the first fails as its namesake of [`Consumer`] does.
impl<'a> Revoked<'a> {
    /// Those that are about to go, in order; the consumer may keep others. Some may be of a topic
    /// that was deleted: nothing can be committed for them.
    ///
    /// ```
    /// # use tidelog::{Result, Revoked};
    /// fn count(revoked: &Revoked<'_>) -> usize {
    ///     revoked.partitions().len()
    /// }
    /// # let _ = count;
    /// ```
    pub fn partitions(&self) -> &'a [TopicPartition] {
        self.partitions
    }

    /// Commits what polls have returned of these partitions, with the builder's durability.
    ///
    /// ```
    /// # use tidelog::{Result, Revoked};
    /// fn keep(revoked: &mut Revoked<'_>) -> Result<()> {
    ///     revoked.commit()
    /// }
    /// # let _ = keep;
    /// ```
    pub fn commit(&mut self) -> Result<()> {
        let indexes = self.consumer.indexes_of(self.partitions);
        self.consumer.commit_delivered_of(&indexes)
    }

    /// Commits offsets that the caller names, with their metadata, all or none.
    ///
    /// ```
    /// # use tidelog::{Offset, OffsetCommit, Result, Revoked};
    /// fn keep(revoked: &mut Revoked<'_>, partition: u32, next: Offset, sum: u64) -> Result<()> {
    ///     let metadata = format!("sum={sum}");
    ///     let commit = OffsetCommit::new("orders", partition, next).metadata(&metadata);
    ///     revoked.commit_offsets(&[commit])
    /// }
    /// # let _ = keep;
    /// ```
    pub fn commit_offsets(&mut self, commits: &[OffsetCommit<'_>]) -> Result<()> {
        self.consumer.commit_offsets(commits)
    }

    /// What the group has committed for a partition.
    ///
    /// ```
    /// # use tidelog::{Result, Revoked};
    /// fn is_kept(revoked: &Revoked<'_>, partition: u32) -> Result<bool> {
    ///     Ok(revoked.committed("orders", partition)?.is_some())
    /// }
    /// # let _ = is_kept;
    /// ```
    pub fn committed(
        &self,
        topic: &str,
        partition: impl Into<PartitionId>,
    ) -> Result<Option<Committed>> {
        self.consumer.committed(topic, partition)
    }

    /// The offset of the next record that would have come of a partition.
    ///
    /// ```
    /// # use tidelog::{Offset, Result, Revoked};
    /// fn next(revoked: &mut Revoked<'_>, partition: u32) -> Result<Offset> {
    ///     revoked.position("orders", partition)
    /// }
    /// # let _ = next;
    /// ```
    pub fn position(&mut self, topic: &str, partition: impl Into<PartitionId>) -> Result<Offset> {
        self.consumer.position(topic, partition)
    }
}
