//! What logs and the journal have asked the background for, until it is taken.
//!
//! A log says once that it has become dirty, and when it needs attention at once; its tasks have
//! the timer called. The journal has its file seen to, and the segments of logs synced that pin its
//! space. Each request wakes whoever carries it out.
//!
//! Locks: two, for a moment each, never one in the other. Taken by `maintenance`, `flush`,
//! `journal`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::threads::Wakeup;
use crate::config::BackgroundSync;
use crate::journal::Upkeep;
use crate::log::{Attention, LogId};
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
    /// Logs that want a sync at a time of their own, the next first.
    flushes: BinaryHeap<Reverse<(Duration, LogId)>>,
    /// The logs in `flushes`: each is there once, as `dirty` has it.
    flushing: HashSet<LogId>,
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

    /// Whether the journal's file is to be seen to.
    pub(super) fn take_journal(&self) -> bool {
        std::mem::take(&mut self.asked.lock().journal)
    }

    /// Takes the logs whose segments are to be synced now.
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
    pub(super) fn take_due(&self, now: Duration) -> Vec<LogId> {
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
        while let Some(Reverse((at, id))) = asked.flushes.peek().copied()
            && at <= now
        {
            asked.flushes.pop();
            asked.flushing.remove(&id);
            if taken.insert(id) {
                due.push(id);
            }
        }
        due
    }

    /// A log has something to be synced so long from now.
    fn flush_within(&self, id: LogId, within: Duration) {
        let at = self.clock.monotonic().saturating_add(within);
        let mut asked = self.asked.lock();
        let is_next = asked.flushes.peek().is_none_or(|Reverse((next, _))| at < *next);
        if asked.flushing.insert(id) {
            asked.flushes.push(Reverse((at, id)));
        }
        drop(asked);
        if is_next {
            self.wakeup.wake();
        }
    }

    /// A log has something to be synced one interval from now.
    pub(super) fn note_dirty(&self, id: LogId) {
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
    pub(super) fn next(&self, with_retention: bool) -> Option<Duration> {
        let asked = self.asked.lock();
        if !asked.due.is_empty() || !asked.pinning.is_empty() || asked.journal {
            return Some(Duration::ZERO);
        }
        let oldest = asked.dirty.front().map(|(since, _)| *since);
        let sync = oldest.and_then(|since| Some(since.saturating_add(self.sync.interval?)));
        let retention = with_retention.then_some(asked.next_retention);
        let flush = asked.flushes.peek().map(|Reverse((at, _))| *at);
        [sync, flush, asked.unlink, retention].into_iter().flatten().min()
    }

    pub(super) fn retention_due(&self, now: Duration) -> bool {
        let mut asked = self.asked.lock();
        if asked.next_retention > now {
            return false;
        }
        asked.next_retention = now + RETENTION_INTERVAL;
        true
    }

    pub(super) fn unlink_due(&self, now: Duration) -> bool {
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
    fn dirty(&self, within: Option<Duration>) {
        self.requests.note_dirty(self.id);
        if let Some(within) = within {
            self.requests.flush_within(self.id, within);
        }
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

impl Upkeep for Requests {
    fn due(&self) {
        self.asked.lock().journal = true;
        self.wakeup.wake();
    }

    fn sync_segments(&self, logs: &[LogId]) {
        self.asked.lock().pinning.extend(logs);
        self.wakeup.wake();
    }
}
