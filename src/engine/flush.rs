//! Flushing on request: one partition or all, for threads and for tasks.
//!
//! A thread syncs itself or shares a sync (`wait::commit`). A task never does: it takes a place
//! among those that the next sync serves, and where no thread makes one, the timer thread does, or
//! the host in `run_due`. So nothing here blocks inside a poll, and a future that is dropped
//! midway leaves nothing behind.

use std::future::Future;
use std::sync::Arc;

use super::Engine;
use super::partition::Partition;
use crate::error::Result;
use crate::ids::Offset;
use crate::log::{Durable, TaskSync};
use crate::wait::commit::Ride;

impl Partition {
    /// Makes everything appended so far durable; blocks for a sync unless one covers it already.
    pub(crate) fn flush(&self) -> Result<()> {
        self.make_durable(self.open_log("flush")?.offsets().end())
    }

    /// The same for a task: what was appended before this call counts.
    pub(crate) fn flush_later(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let end = self.open_log("flush").map(|log| log.offsets().end());
        let waiting = end.map(|end| self.make_durable_later(end));
        async move { waiting?.await }
    }

    /// Makes everything below `offset`, which is published, durable for a task. The place among
    /// those who are served is taken at the call.
    pub(crate) fn make_durable_later(
        &self,
        offset: Offset,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let ride = self.ride(offset);
        async move {
            match ride? {
                None => Ok(()),
                Some(ride) => ride.await.map_err(|error| error.again()),
            }
        }
    }

    /// The place itself, for who waits in a way of his own; `None` if all of it is durable.
    pub(crate) fn ride(&self, offset: Offset) -> Result<Option<Ride>> {
        Ok(self.open_log("sync")?.make_durable_later(offset))
    }
}

impl Engine {
    /// Makes everything appended so far durable and records it.
    pub(crate) fn flush(&self) -> Result<()> {
        self.check_open("flush")?;
        self.checkpoint(&self.dirty_partitions(), Durable::Now).map_or(Ok(()), Err)
    }

    /// Makes everything appended before this call durable, for a task; that it is, the background
    /// records later.
    pub(crate) fn flush_later(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let open = self.check_open("flush");
        let partitions = if open.is_ok() { self.dirty_partitions() } else { Vec::new() };
        let waiting: Vec<_> = partitions.iter().map(|partition| partition.flush_later()).collect();
        async move {
            open?;
            let mut first = None;
            for waiting in waiting {
                if let Err(error) = waiting.await {
                    first.get_or_insert(error);
                }
            }
            first.map_or(Ok(()), Err)
        }
    }

    pub(super) fn dirty_partitions(&self) -> Vec<Arc<Partition>> {
        self.topics()
            .iter()
            .flat_map(|topic| topic.partitions().to_vec())
            .filter(|partition| partition.log().is_ok_and(|log| log.is_dirty()))
            .collect()
    }

    /// Makes the syncs that tasks wait for while no thread does: one of the journal for all that it
    /// has gathered, then those of segments.
    pub(super) fn sync_for_tasks(&self) {
        let waiting = self.requests().take_tasks();
        let waiting: Vec<_> = waiting.iter().filter_map(|id| self.partition_by_id(*id)).collect();
        let mut begun: Vec<(&Partition, TaskSync<'_>)> = waiting
            .iter()
            .filter_map(|partition| Some((&**partition, partition.log().ok()?.begin_for_tasks()?)))
            .collect();
        begun.sort_by_key(|(_, sync)| !sync.is_gathered());
        for (partition, sync) in begun {
            sync.end();
            partition.signal().notify(); // for those who wait for durable records only
            partition.note_failure();
        }
    }
}
