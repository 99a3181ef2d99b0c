//! What happens in the background: syncs that bound the unsynced tail, sealing, retention,
//! unlinking, compaction.
//!
//! A log says once that it has become dirty, and when it needs attention at once; nothing here
//! looks at partitions that did not. One run takes what is due, partition by partition, and
//! records all recovery points in one write. A partition that fails is logged once and left to
//! its own latch; the others go on.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::close::sync_ahead;
use super::partition::Partition;
use super::threads::Wakeup;
use crate::config::BackgroundSync;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::log::{Attention, Durable, LogFact, LogId};
use crate::sync::Mutex;
use crate::time::Clock;

/// Kafka's `log.initial.task.delay.ms` and `log.retention.check.interval.ms`.
const FIRST_RETENTION: Duration = Duration::from_secs(30);
const RETENTION_INTERVAL: Duration = Duration::from_secs(300);

/// What logs have asked for.
#[derive(Debug)]
pub(super) struct Requests {
    asked: Mutex<Asked>,
    wakeup: Arc<Wakeup>,
    /// Logs whose tasks wait for a sync by the timer.
    tasks: Mutex<Vec<LogId>>,
    timer_wakeup: Arc<Wakeup>,
    clock: Arc<dyn Clock>,
    sync: BackgroundSync,
}

#[derive(Debug, Default)]
struct Asked {
    /// Since when a log has had unsynced bytes, oldest first; each is there once, however often it
    /// is synced by others and made dirty again.
    dirty: VecDeque<(Duration, LogId)>,
    /// The logs in `dirty`.
    waiting: HashSet<LogId>,
    /// Logs that want to be looked at now, in the order they asked, and the same as a set.
    due: Vec<LogId>,
    asking: HashSet<LogId>,
    /// When files of dropped segments may be unlinked.
    unlink: Option<Duration>,
    next_retention: Duration,
    /// The journal's file is to be seen to.
    journal: bool,
    /// Logs that pin space in the journal until their segments are synced.
    pinning: Vec<LogId>,
}

impl Requests {
    pub(super) fn new(
        [wakeup, timer_wakeup]: [Arc<Wakeup>; 2],
        clock: Arc<dyn Clock>,
        sync: BackgroundSync,
    ) -> Self {
        let asked =
            Asked { next_retention: clock.monotonic() + FIRST_RETENTION, ..Asked::default() };
        let tasks = Mutex::default();
        Requests { asked: Mutex::new(asked), wakeup, tasks, timer_wakeup, clock, sync }
    }

    /// A log was opened with records that no recovery point covers.
    pub(super) fn opened_dirty(&self, id: LogId) {
        self.note_dirty(id);
    }

    /// What a log reports to.
    pub(super) fn attention(self: &Arc<Self>, id: LogId) -> Arc<dyn Attention> {
        Arc::new(LogAttention { requests: self.clone(), id })
    }

    /// Has the journal's file seen to.
    pub(super) fn journal_due(&self) {
        self.asked.lock().journal = true;
        self.wakeup.wake();
    }

    pub(super) fn take_journal(&self) -> bool {
        std::mem::take(&mut self.asked.lock().journal)
    }

    /// Has the segments of these logs synced now.
    pub(super) fn unpin(&self, logs: &[LogId]) {
        self.asked.lock().pinning.extend(logs);
        self.wakeup.wake();
    }

    pub(super) fn take_pinning(&self) -> Vec<LogId> {
        std::mem::take(&mut self.asked.lock().pinning)
    }

    /// Files were dropped that may be unlinked at `at`.
    pub(super) fn unlink_at(&self, at: Duration) {
        let mut asked = self.asked.lock();
        asked.unlink = Some(asked.unlink.map_or(at, |before| before.min(at)));
        drop(asked);
        self.wakeup.wake();
    }

    /// How many logs wait for their background sync.
    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.asked.lock().dirty.len()
    }

    /// Takes the logs whose tasks wait for the timer.
    pub(super) fn take_tasks(&self) -> Vec<LogId> {
        std::mem::take(&mut *self.tasks.lock())
    }

    pub(super) fn has_tasks(&self) -> bool {
        !self.tasks.lock().is_empty()
    }

    /// Takes the logs that are due at `now`.
    fn take_due(&self, now: Duration) -> Vec<LogId> {
        let mut asked = self.asked.lock();
        let mut due = std::mem::take(&mut asked.due);
        let mut taken = std::mem::take(&mut asked.asking);
        while let Some(interval) = self.sync.interval
            && let Some((since, id)) = asked.dirty.front().copied()
            && since.saturating_add(interval) <= now
        {
            asked.dirty.pop_front();
            asked.waiting.remove(&id);
            if taken.insert(id) {
                due.push(id);
            }
        }
        due
    }

    /// A log has something to be synced one interval from now.
    fn note_dirty(&self, id: LogId) {
        if self.sync.interval.is_none() {
            return;
        }
        let now = self.clock.monotonic();
        let mut asked = self.asked.lock();
        let first = asked.dirty.is_empty();
        if asked.waiting.insert(id) {
            asked.dirty.push_back((now, id));
        }
        drop(asked);
        if first {
            self.wakeup.wake();
        }
    }

    /// When something is due next.
    fn next(&self, with_retention: bool) -> Option<Duration> {
        let asked = self.asked.lock();
        if !asked.due.is_empty() || !asked.pinning.is_empty() || asked.journal {
            return Some(Duration::ZERO);
        }
        let oldest = asked.dirty.front().map(|(since, _)| *since);
        let sync = oldest.and_then(|since| Some(since.saturating_add(self.sync.interval?)));
        let retention = with_retention.then_some(asked.next_retention);
        [sync, asked.unlink, retention].into_iter().flatten().min()
    }

    fn retention_due(&self, now: Duration) -> bool {
        let mut asked = self.asked.lock();
        if asked.next_retention > now {
            return false;
        }
        asked.next_retention = now + RETENTION_INTERVAL;
        true
    }

    fn unlink_due(&self, now: Duration) -> bool {
        let mut asked = self.asked.lock();
        let due = asked.unlink.is_some_and(|at| at <= now);
        if due {
            asked.unlink = None;
        }
        due
    }
}

/// One log's way to ask.
#[derive(Debug)]
struct LogAttention {
    requests: Arc<Requests>,
    id: LogId,
}

impl Attention for LogAttention {
    fn dirty(&self) {
        self.requests.note_dirty(self.id);
    }

    fn due(&self) {
        let mut asked = self.requests.asked.lock();
        let new = asked.asking.insert(self.id);
        if new {
            asked.due.push(self.id);
        }
        drop(asked);
        if new {
            self.requests.wakeup.wake();
        }
    }

    fn tasks_wait(&self) {
        self.requests.tasks.lock().push(self.id);
        self.requests.timer_wakeup.wake();
    }
}

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
        if self.requests().retention_due(now) {
            self.retain_all();
        }
        if self.requests().unlink_due(now) {
            self.unlink_dropped(false);
        }
        if let Ok(owner) = self.owner("maintain") {
            owner.root.log().regain_reserve();
        }
        let chores = self.chores.run_due(now);
        let compaction = self.compact_some(&partitions, now);
        let next = self.requests().next(self.has_retention());
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
        let mut points = Vec::new();
        let mut failed = None;
        let logs: Vec<_> = partitions.iter().filter_map(|partition| partition.log().ok()).collect();
        sync_ahead(&*self.options.disk, self.path(), &logs);
        for partition in partitions {
            let Ok(log) = partition.log() else { continue };
            let checkpoint = || log.checkpoint();
            let root = self.owner("sync").map(|owner| owner.root.log());
            match root.and_then(|root| root.with_reserve(checkpoint)) {
                Ok(point) => points.push((log, (log.id(), LogFact::RecoveryPoint(point)), point)),
                Err(error) => {
                    if log.check_healthy("sync").is_ok() {
                        self.requests().note_dirty(log.id()); // a passing shortage: again later
                    }
                    partition.note_failure();
                    // a full disk may have no room for indexes: the records need none
                    let durable = error.is_full() && log.make_durable(log.offsets().end()).is_ok();
                    failed = failed.or(Some(error).filter(|_| !durable));
                }
            }
            partition.signal().notify(); // for those who wait for durable records only
        }
        if points.is_empty() {
            return failed;
        }
        let facts: Vec<_> = points.iter().map(|(_, fact, _)| *fact).collect();
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
    pub(crate) fn delete_records_before(
        &self,
        partition: &Partition,
        offset: Offset,
    ) -> Result<()> {
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

    fn has_retention(&self) -> bool {
        let table = self.table.read();
        table.names.values().any(|topic| !topic.is_adopted() && topic.config().has_retention())
    }
}
