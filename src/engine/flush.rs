//! Flushing on request: one partition, several or all, for threads and for tasks.
//!
//! A thread syncs itself or shares a sync (`wait::commit`). A task never does: it takes a place
//! among those that the next sync serves, and where no thread makes one, the timer thread does, or
//! the host in `run_due`. So nothing here blocks inside a poll, and a future that is dropped
//! midway leaves nothing behind. Who syncs several begins all before it ends the first, so that one
//! sync of the journal serves them; it holds their turns meanwhile, so it waits for no other's.

use std::future::Future;
use std::sync::Arc;

use super::Engine;
use super::partition::Partition;
use crate::error::Result;
use crate::ids::Offset;
use crate::log::{BegunSync, Durable};
use crate::wait::commit::Ride;

impl Partition {
    /// Makes everything appended so far durable; blocks for a sync unless one covers it already.
    pub(crate) fn flush(&self) -> Result<()> {
        self.make_durable(self.open_log("flush")?.offsets().end())
    }

    fn begin_if_free(&self, offset: Offset) -> Result<Option<BegunSync<'_>>> {
        Ok(self.open_log("sync")?.begin_if_free(offset))
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
        let flushes = partitions.iter().map(|partition| partition.flush_later()).collect();
        async move { open.and(all_of(flushes, |flushed| flushed).await) }
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
        let mut begun: Vec<(&Partition, BegunSync<'_>)> = waiting
            .iter()
            .filter_map(|partition| Some((&**partition, partition.log().ok()?.begin_for_tasks()?)))
            .collect();
        begun.sort_by_key(|(_, sync)| !sync.is_gathered());
        for (partition, sync) in begun {
            if let Err(error) = partition.told(sync.end()) {
                log::debug!("{error}"); // those it was made for are told
            }
        }
    }
}

/// Makes each partition durable below its offset, all by one sync of the journal where that takes
/// them; blocks for it. `allow` says of each whether its failure counts.
///
/// # Errors
/// The first failure that counts, once all were tried.
pub(crate) fn make_all_durable<'a>(
    ends: impl IntoIterator<Item = (&'a Partition, Offset)>,
    allow: impl Fn(Result<()>) -> Result<()>,
) -> Result<()> {
    let (mut begun, mut led_by_others, mut all) = (Vec::new(), Vec::new(), Ok(()));
    for (partition, end) in ends {
        match partition.begin_if_free(end) {
            Ok(Some(sync)) => begun.push((partition, sync)),
            Ok(None) => led_by_others.push((partition, end)),
            Err(error) => all = all.and(allow(Err(error))),
        }
    }
    begun.sort_by_key(|(_, sync)| !sync.is_gathered());
    for (partition, sync) in begun {
        all = all.and(allow(partition.told(sync.end())));
    }
    for (partition, end) in led_by_others {
        all = all.and(allow(partition.make_durable(end)));
    }
    all
}

/// The same for a task. The places among those who are served are taken at the call.
pub(crate) fn make_all_durable_later<'a>(
    ends: impl IntoIterator<Item = (&'a Partition, Offset)>,
    allow: fn(Result<()>) -> Result<()>,
) -> impl Future<Output = Result<()>> {
    let syncs = ends.into_iter().map(|(partition, end)| partition.make_durable_later(end));
    all_of(syncs.collect(), allow)
}

async fn all_of(
    syncs: Vec<impl Future<Output = Result<()>>>,
    allow: fn(Result<()>) -> Result<()>,
) -> Result<()> {
    let mut all = Ok(());
    for sync in syncs {
        all = all.and(allow(sync.await));
    }
    all
}
