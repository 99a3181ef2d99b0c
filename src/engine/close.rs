//! Closing a store: flush, stop, sync, export, stamp, unlock; in that order.
//!
//! What is still held back is flushed while appends are taken. Then the gate closes and everyone
//! who waits is woken. Then every log is sealed and synced, its recovery point recorded, Kafka's
//! checkpoint files written, and last the stamp that says all of this is so. A log that could not
//! be brought to the disk keeps the stamp from being given: the next open recovers. The lock is
//! free when it returns, whatever failed. In a forked child nothing at all is done.

use std::sync::Arc;

use super::Engine;
use super::partition::Partition;
use super::root::exports::{Exports, Occasion};
use crate::error::{Cause, Error, Result};
use crate::log::checkpoint::OffsetLine;
use crate::log::{Durable, LogFact};

impl Engine {
    /// Closes the store. Safe to repeat: later calls return `Ok` at once.
    pub(crate) fn close(&self) -> Result<()> {
        if self.gate.is_forked_child() {
            return Err(Error::new("close store", Cause::Forked));
        }
        let Some(mut lock) = self.lock.lock().take() else { return Ok(()) };
        let mut first_error = None;
        let hooks = std::mem::take(&mut *self.hooks.lock());
        for hook in hooks.iter().filter_map(std::sync::Weak::upgrade) {
            keep_first(&mut first_error, hook.before_close());
        }
        self.gate.close();
        self.budget.close();
        self.timer_wakeup.wake();
        self.maintenance_wakeup.wake();
        self.running.join();
        let partitions: Vec<_> =
            self.topics().iter().flat_map(|topic| topic.partitions().to_vec()).collect();
        for topic in self.topics() {
            topic.budget.close();
        }
        for partition in &partitions {
            partition.signal().close();
        }
        self.catalog_changes.signal().close();
        keep_first(&mut first_error, self.close_logs(&partitions));
        if first_error.is_none() {
            let exports = exports_of(&partitions);
            keep_first(&mut first_error, self.root.export(&exports, Occasion::CleanClose));
        }
        let root = self.root.path();
        let unlocked = lock.unlock().map_err(|error| Error::io("unlock store", root, error));
        keep_first(&mut first_error, unlocked);
        first_error.map_or(Ok(()), Err)
    }

    /// Closes every log and records how far each is safe, in one write.
    fn close_logs(&self, partitions: &[Arc<Partition>]) -> Result<()> {
        let mut first_error = None;
        let mut facts = Vec::new();
        let mut points = Vec::new();
        for partition in partitions {
            let Ok(log) = partition.log() else { continue };
            match log.close() {
                Ok(point) if point > log.offsets().snapshot().recovery_point => {
                    facts.push((log.id(), LogFact::RecoveryPoint(point)));
                    points.push((log, point));
                }
                Ok(_) => {}
                Err(error) => keep_first(&mut first_error, Err(error)),
            }
        }
        for facts in facts.chunks(4096) {
            keep_first(&mut first_error, self.keeper().record(facts, Durable::Now));
        }
        if first_error.is_none() {
            points.iter().for_each(|(log, point)| log.recovery_point_recorded(*point));
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.gate.is_forked_child() {
            return;
        }
        if let Err(error) = self.close() {
            log::error!("closing the store: {error}");
        }
    }
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
fn exports_of(partitions: &[Arc<Partition>]) -> Exports {
    let mut exports = Exports::default();
    for partition in partitions {
        let Ok(log) = partition.log() else { continue };
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
