//! What becomes of a partition whose sync has failed: the failure is remembered, and the way back.
//!
//! That a sync failed is recorded durably where the state log can still be written, so that the
//! next open, whatever it finds in the page cache, puts fresh files in place of what was in doubt.
//! `reopen` does the same without closing the store: a new epoch, recovery in place, a checkpoint.

use std::sync::Arc;

use super::Engine;
use super::partition::Partition;
use crate::error::Result;
use crate::log::{Durable, LogFact, PartitionReport};
use crate::sync::atomic::Ordering;

impl Partition {
    /// Called after a failure: records it, once, if it has poisoned the log.
    pub(super) fn note_failure(&self) {
        let Ok(log) = self.log() else { return };
        if log.check_healthy("sync").is_ok() || self.failure_noted.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(engine) = self.gate().engine() else { return };
        let fact = (log.id(), LogFact::SyncFailed(log.offsets().durable()));
        let recorded = engine.keeper().and_then(|keeper| keeper.record(&[fact], Durable::Now));
        if let Err(error) = recorded {
            log::warn!("that a sync has failed could not be recorded: {error}");
        }
    }
}

impl Engine {
    /// Recovers a poisoned partition in place; `None` if it is not poisoned. All that it holds is
    /// durable then, and recorded so. Blocks for reading and writing what lies above its recovery
    /// point.
    pub(crate) fn reopen(&self, partition: &Arc<Partition>) -> Result<Option<PartitionReport>> {
        let log = partition.open_log("reopen partition")?;
        let neither_cut_nor_handed_over = partition.recast.lock();
        if log.check_healthy("reopen partition").is_ok() {
            return Ok(None);
        }
        let epoch = self.draw_epoch_of("reopen partition", log)?;
        // what failed may have been recorded or not: nobody goes on before that is known
        self.keeper()?.record(&[], Durable::Later)?;
        let Some(report) = log.reopen(epoch)? else { return Ok(None) };
        partition.give_back_freed();
        partition.failure_noted.store(false, Ordering::Release);
        log::warn!("{}-{} was reopened", partition.topic_name(), partition.id());
        let failed = self.checkpoint(std::slice::from_ref(partition), Durable::Now);
        drop(neither_cut_nor_handed_over); // wakers are the host's
        partition.signal().notify();
        failed.map_or(Ok(Some(report)), Err)
    }
}
