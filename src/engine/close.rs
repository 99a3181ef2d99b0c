//! Closing a store: flush, stop, sync, export, stamp, unlock; in that order.
//!
//! What is still held back is flushed while appends are taken. Then the gate closes and everyone
//! who waits is woken. Then every log is sealed and synced, its recovery point recorded, Kafka's
//! checkpoint files written, and last the stamp that says all of this is so. A log that could not
//! be brought to the disk keeps the stamp from being given: the next open recovers. The lock is
//! free when it returns, whatever failed. In a forked child nothing at all is done.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::core::{Footing, Owner};
use super::partition::Partition;
use super::root::Root;
use super::root::exports::{Exports, Occasion};
use super::root::state::RootState;
use crate::disk::{DirLock, Disk};
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;
use crate::log::checkpoint::OffsetLine;
use crate::log::{Durable, LogFact, PartitionLog};

impl Engine {
    /// Closes the store for who cannot be told how that went.
    pub(super) fn close_unasked(&self) {
        if self.gate.is_forked_child() {
            return;
        }
        if let Err(error) = self.close() {
            log::error!("closing the store: {error}");
        }
    }

    /// Closes the store. Safe to repeat: a call during another waits for its end and returns the
    /// same, later ones return `Ok` at once.
    pub(crate) fn close(&self) -> Result<()> {
        if self.gate.is_forked_child() {
            return Err(Error::new("close store", Cause::Forked));
        }
        let Footing::Owner(owner) = &self.footing else {
            self.stop_following();
            return Ok(());
        };
        owner.ending.close(self.running.is_own_thread(), |lock| self.close_with(owner, lock))
    }

    fn close_with(&self, owner: &Owner, mut lock: Box<dyn DirLock>) -> Result<()> {
        let mut first_error = None;
        keep_first(&mut first_error, self.run_hooks());
        self.gate.close();
        // whoever came between is told too: what it holds back can only fail now
        keep_first(&mut first_error, self.run_hooks());
        self.wake_everyone();
        self.running.join();
        self.compaction.end();
        owner.journal.iter().for_each(|journal| journal.give_up_making());
        // a change of the catalog that began before the gate closed ends first
        let catalog = self.catalog.lock();
        self.wake_everyone();
        let partitions = self.all_partitions();
        let closed = self
            .close_logs(&owner.root, &partitions)
            .and_then(|()| export(&owner.root, &partitions));
        keep_first(&mut first_error, closed);
        owner.root.log().end();
        owner.root.log().regain_reserve(); // for the next open
        drop(catalog);
        let root = owner.root.path();
        let unlocked = lock.unlock().map_err(|error| Error::io("unlock store", root, error));
        keep_first(&mut first_error, unlocked);
        first_error.map_or(Ok(()), Err)
    }

    /// Has everyone who holds something back bring it out; returns the first failure.
    fn run_hooks(&self) -> Result<()> {
        let hooks = self.hooks.lock().clone();
        let mut first_error = None;
        for hook in hooks.iter().filter_map(std::sync::Weak::upgrade) {
            keep_first(&mut first_error, hook.before_close());
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Ends all waiting: for records, for room, for a time to come.
    fn wake_everyone(&self) {
        self.timer_wakeup.wake();
        self.maintenance_wakeup.wake();
        if let Some(windows) = self.options.disk.windows() {
            windows.wake();
        }
        self.budget.close();
        for topic in self.topics() {
            topic.budget.close();
        }
        for partition in self.all_partitions() {
            partition.signal().close();
        }
        self.catalog_changes.signal().close();
    }

    pub(super) fn all_partitions(&self) -> Vec<Arc<Partition>> {
        self.topics().iter().flat_map(|topic| topic.partitions().to_vec()).collect()
    }

    /// Nothing is held back, held or written by who only reads: they who wait are told.
    fn stop_following(&self) {
        self.gate.close();
        self.wake_everyone();
        self.running.join();
        let _no_change = self.catalog.lock(); // one that came between is told too
        self.wake_everyone();
    }

    /// Closes every log and records how far each is safe, in one write.
    fn close_logs(&self, root: &Root, partitions: &[Arc<Partition>]) -> Result<()> {
        let mut first_error = None;
        let mut facts = Vec::new();
        let mut points = Vec::new();
        let closed = close_each(root, &*self.options.disk, partitions);
        partitions.iter().for_each(|partition| partition.note_failure());
        for (log, closed) in closed {
            facts.extend(log.high_watermark_fact());
            match closed {
                Ok(point) if point > log.offsets().snapshot().recovery_point => {
                    facts.push((log.id(), LogFact::RecoveryPoint(point)));
                    points.push((log, point));
                }
                Ok(_) => {}
                Err(error) => keep_first(&mut first_error, Err(error)),
            }
        }
        if !facts.is_empty() {
            keep_first(
                &mut first_error,
                self.keeper().and_then(|keeper| keeper.record(&facts, Durable::Now)),
            );
        }
        if first_error.is_none() {
            points.iter().for_each(|(log, point)| log.recovery_point_recorded(*point));
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// Writes Kafka's checkpoint files, and the stamp unless a partition is still in doubt from an
/// earlier unclean stop: the next open has to know.
fn export(root: &Root, partitions: &[Arc<Partition>]) -> Result<()> {
    let in_doubt = partitions.iter().any(|partition| partition.is_in_doubt());
    let occasion = if in_doubt { Occasion::Interim } else { Occasion::CleanClose };
    let exports = root.log().with_state(|state| exports_of(partitions, state));
    root.export(&exports, occasion)
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close_unasked();
    }
}

/// Closes the logs. Where the disk syncs many at once, each first writes what it has to write. One
/// that finds no room for its indexes closes on the space in reserve.
fn close_each<'a>(
    root: &Root,
    disk: &dyn Disk,
    partitions: &'a [Arc<Partition>],
) -> Vec<(&'a PartitionLog, Result<Offset>)> {
    let logs: Vec<_> = partitions.iter().filter_map(|partition| partition.log().ok()).collect();
    on_each(&logs, PartitionLog::stop_appends);
    sync_ahead(disk, root.path(), &logs);
    let closed = on_each(&logs, |log| root.log().with_reserve(|| log.close()));
    let panicked = || Err(Error::new("close store", Cause::Panicked("a close")));
    logs.into_iter().zip(closed.into_iter().map(|closed| closed.unwrap_or_else(panicked))).collect()
}

/// Has what these logs are to sync made durable at once, if the disk does that: written first, and
/// in a second round named. Where they are few the disk would decline, and the writing ahead be
/// for nothing: a file system that is synced whole brings along what other programs wrote to it.
pub(super) fn sync_ahead(disk: &dyn Disk, root: &Path, logs: &[&PartitionLog]) {
    const MANY: usize = 64;
    if logs.len() >= MANY {
        on_each(logs, PartitionLog::write_ahead);
        disk.sync_ahead(root);
        on_each(logs, PartitionLog::finish_ahead);
        disk.sync_ahead(root);
    }
}

/// Runs `work` over the logs, many at a time: each waits for the disk, which can put such waits
/// together. `None` for those of a thread that panicked.
fn on_each<R: Send>(
    logs: &[&PartitionLog],
    work: impl Fn(&PartitionLog) -> R + Sync,
) -> Vec<Option<R>> {
    const LOGS_PER_THREAD: usize = 64;
    const MOST_THREADS: usize = 16;
    let run = |share: &[&PartitionLog]| share.iter().map(|log| Some(work(log))).collect::<Vec<_>>();
    let threads = (logs.len() / LOGS_PER_THREAD).clamp(1, MOST_THREADS);
    if threads == 1 {
        return run(logs);
    }
    let share = logs.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let shares: Vec<_> =
            logs.chunks(share).map(|share| (share, scope.spawn(|| run(share)))).collect();
        shares
            .into_iter()
            .flat_map(|(share, thread)| {
                thread.join().unwrap_or_else(|_| share.iter().map(|_| None).collect())
            })
            .collect()
    })
}

fn keep_first(first: &mut Option<Error>, result: Result<()>) {
    if let Err(error) = result {
        match first {
            None => *first = Some(error),
            Some(_) => log::error!("closing the store: {error}"),
        }
    }
}

/// Kafka's checkpoint files for logs that are closed.
fn exports_of(partitions: &[Arc<Partition>], state: &RootState) -> Exports {
    let mut exports = Exports::default();
    for partition in partitions {
        let Ok(log) = partition.log() else {
            export_recorded(partition, state, &mut exports);
            continue;
        };
        if !log.has_directory() {
            continue;
        }
        let offsets = log.offsets().snapshot();
        let line = |offset| OffsetLine {
            topic: partition.topic_name().to_string(),
            partition: partition.id(),
            offset,
        };
        exports.recovery_points.push(line(offsets.recovery_point));
        exports.high_watermarks.push(line(offsets.high_watermark()));
        if log.first_base().is_some_and(|base| offsets.start > base) {
            exports.log_starts.push(line(offsets.start));
        }
    }
    exports
}

/// What was recorded of a partition that could not be opened.
fn export_recorded(partition: &Partition, state: &RootState, exports: &mut Exports) {
    let topic = state.topic(partition.topic_id());
    let Some(recorded) = topic.and_then(|topic| topic.partition(partition.id())) else { return };
    let line = |offset| OffsetLine {
        topic: partition.topic_name().to_string(),
        partition: partition.id(),
        offset,
    };
    if recorded.recovery_point > Offset::ZERO {
        exports.recovery_points.push(line(recorded.recovery_point));
        exports.high_watermarks.push(line(recorded.recovery_point));
    }
    if recorded.log_start > Offset::ZERO {
        exports.log_starts.push(line(recorded.log_start));
    }
}
