//! What happens in the background: syncs that bound the unsynced tail, sealing, retention,
//! unlinking, compaction.
//!
//! Nothing here looks at partitions that asked for nothing (`requests`). One run takes what is due,
//! partition by partition, and records all recovery points in one write. A partition that fails is
//! logged once and left to its own latch; the others go on. No step is long: the journal's file is
//! made a portion a run.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::close::sync_ahead;
use super::partition::Partition;
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;
use crate::log::{Durable, LogFact};

impl Engine {
    /// One run of background work; returns when the next is due, on the monotonic clock.
    /// Nothing is done, and nothing due, once the store is closed and in a forked child.
    pub(crate) fn run_maintenance(&self) -> Option<Duration> {
        self.check_open("maintain").ok()?;
        self.check_writable("maintain").ok()?;
        let now = self.clock().monotonic();
        self.keep_up_journal();
        let due = self.requests().take_due(now);
        let partitions: Vec<_> = due.iter().filter_map(|id| self.partition_by_id(*id)).collect();
        if let Some(error) = self.checkpoint(&partitions, Durable::Later) {
            log::error!("background sync: {error}");
        }
        self.take_missing_digests(&partitions);
        let mut to_compact = partitions;
        if self.requests().retention_due(now) {
            self.retain_all();
            to_compact.extend(self.look_at_ages(self.clock().wall()));
        }
        if self.requests().unlink_due(now) {
            self.unlink_dropped(false);
        }
        if let Ok(owner) = self.owner("maintain") {
            owner.root.log().regain_reserve();
        }
        let chores = self.chores.run_due(now);
        let compaction = self.compact_some(&to_compact, now);
        let next = self.requests().next(self.has_upkeep());
        [chores, compaction, next].into_iter().flatten().min()
    }

    /// One segment of each partition that lacks digests; the next one is due as a sync is.
    fn take_missing_digests(&self, partitions: &[Arc<Partition>]) {
        for log in partitions.iter().filter_map(|partition| partition.log().ok()) {
            if let Err(error) = log.digest_one() {
                log::warn!("{error}");
            }
            if log.lacks_digests() {
                self.requests().note_dirty(log.id());
            }
        }
    }

    /// Syncs and seals, and records how far each log is safe; returns the first failure.
    pub(super) fn checkpoint(
        &self,
        partitions: &[Arc<Partition>],
        durable: Durable,
    ) -> Option<Error> {
        let _no_truncation = self.points.read();
        let mut points = Vec::new();
        let mut failed = None;
        let logs: Vec<_> = partitions.iter().filter_map(|partition| partition.log().ok()).collect();
        sync_ahead(&*self.options.disk, self.path(), &logs);
        for partition in partitions {
            let Ok(log) = partition.log() else { continue };
            match log.checkpoint() {
                Ok(point) => points.push((log, (log.id(), LogFact::RecoveryPoint(point)), point)),
                Err(_) if partition.is_deleted() => {} // nobody needs it any more
                Err(error) => {
                    if log.check_healthy("sync").is_ok() {
                        self.requests().note_dirty(log.id()); // a passing shortage: again later
                    }
                    partition.note_failure();
                    // a full disk may have no room for indexes: the records need none, and the
                    // space in reserve is for what makes room and for closing
                    let durable = error.is_full() && log.make_durable(log.offsets().end()).is_ok();
                    failed = failed.or(Some(error).filter(|_| !durable));
                }
            }
            partition.signal().notify(); // for those who wait for durable records only
        }
        if points.is_empty() {
            return failed;
        }
        let watermarks = points.iter().filter_map(|(log, ..)| log.high_watermark_fact());
        let facts: Vec<_> = points.iter().map(|(_, fact, _)| *fact).chain(watermarks).collect();
        match self.keeper().and_then(|keeper| keeper.record(&facts, durable)) {
            Ok(()) => {
                for (log, _, point) in points {
                    log.recovery_point_recorded(point);
                }
                failed
            }
            Err(error) => {
                points.iter().for_each(|(log, ..)| self.requests().note_dirty(log.id()));
                // the records are durable: a point that is not recorded costs time, not records
                failed.or(Some(error).filter(|error| !error.is_full()))
            }
        }
    }

    /// Raises a log's start; what is dropped is unlinked in the background.
    ///
    /// # Errors
    /// `PolicyViolation` for a topic whose policy is to compact alone, as in Kafka.
    pub(crate) fn delete_records_before(
        &self,
        partition: &Partition,
        offset: Offset,
    ) -> Result<()> {
        if partition.log().is_ok_and(|log| !log.config().cleanup_policy.deletes()) {
            let why = "the topic's cleanup.policy is compact, without delete".to_owned();
            let error = Error::new("delete records", Cause::PolicyViolation(why));
            return Err(error.at_partition(partition.topic_name(), partition.id()));
        }
        partition.delete_records_before(offset, self.keeper()?)?;
        self.unlink_later(partition);
        Ok(())
    }

    /// Applies every topic's retention now; adopted topics have none.
    pub(crate) fn retain_all(&self) {
        let Ok(keeper) = self.keeper() else { return };
        let now = self.clock().wall();
        for topic in self.topics().iter().filter(|topic| !topic.is_adopted()) {
            for partition in topic.partitions().iter() {
                match partition.retain(keeper, now) {
                    Ok(dropped) if dropped.segments > 0 => {
                        log::info!(
                            "{}-{}: retention dropped {} segments, {} bytes",
                            topic.name(),
                            partition.id(),
                            dropped.segments,
                            dropped.bytes
                        );
                        self.unlink_later(partition);
                    }
                    Ok(_) => {}
                    Err(error) => log::warn!("retention: {error}"),
                }
            }
        }
    }

    /// Drops what lies below a log's start since an earlier stop.
    pub(super) fn drop_unreachable(&self) {
        for topic in self.topics() {
            for partition in topic.partitions().iter() {
                let Ok(log) = partition.log() else { continue };
                match log.drop_unreachable() {
                    Ok(dropped) if dropped.segments > 0 => {
                        partition.give_back_freed();
                        self.unlink_later(partition);
                    }
                    Ok(_) => {}
                    Err(error) => log::warn!("{error}"),
                }
            }
        }
    }

    /// Has the dropped files of a partition unlinked once their delay is over.
    pub(super) fn unlink_later(&self, partition: &Partition) {
        // the log's own time: the clock may have moved since it set it
        if let Some(at) = partition.log().ok().and_then(|log| log.next_unlink()) {
            self.requests().unlink_at(at);
        }
    }

    /// Unlinks what is due.
    fn unlink_dropped(&self, all: bool) {
        for topic in self.topics() {
            for partition in topic.partitions().iter() {
                let Ok(log) = partition.log() else { continue };
                let (next, unlinked) = log.unlink_dropped(all);
                if let Err(error) = unlinked {
                    log::warn!("{error}");
                }
                if let Some(next) = next {
                    self.requests().unlink_at(next);
                }
            }
        }
    }

    /// Whether time alone makes something due in some topic.
    fn has_upkeep(&self) -> bool {
        let table = self.table.read();
        let mut own = table.names.values().filter(|topic| !topic.is_adopted());
        own.any(|topic| {
            let config = topic.config();
            config.has_retention() || config.cleanup_policy.compacts()
        })
    }
}
