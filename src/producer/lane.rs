//! One partition's lane: what lingers for it, and the order in which it gets to the log.
//!
//! Records are encoded into the open batch (`joining`); a batch that is full or due is sealed;
//! sealed batches are appended first come, first served, by whoever sealed them or by the timer. A
//! large one that is full is left to the timer, which appends it while its sender fills the next; a
//! sender that is quicker than the timer finds several waiting, and appends them itself. Those
//! whose records asked for power durability then wait for one sync that serves all of them. A
//! record that was sent, not enqueued, waits for its sync by itself; the lane keeps how far, for
//! flushes.
//!
//! Locks: `queue` guards the batches and is held for a push or a look; `line` is held while
//! batches are taken and appended, so that none overtakes another; `line` is taken before `queue`.
//! Promises are kept and memory is given back with neither held.

mod joining;

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::batch::{Left, LingerBatch, Promise, Ticket, Written};
use super::core::Core;
use super::lanes::Failures;
use super::topic_name::TopicName;
use crate::config::Durability;
use crate::engine::{Due, Partition, PartitionNear};
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{Offset, PartitionId};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Arc as SharedArc, Mutex};
use crate::wait::commit::Ride;

pub(super) use joining::{Joint, Pushed, Taken};

/// One partition's lane; what a send looks at lies in front, on one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Lane {
    partition: Arc<Partition>,
    id: PartitionId,
    /// Batches with records that are not in the log yet.
    unwritten: AtomicUsize,
    near: PartitionNear,
    /// That of the topic, for receipts.
    name: TopicName,
    core: Weak<Core>,
    /// Shared with the other lanes of the topic.
    failures: Arc<Failures>,
    /// On the core's list of errands.
    pub(super) called: AtomicBool,
    queue: Mutex<Queue>,
    line: Mutex<()>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Takes the next record. Holds at least one whenever `queue` is free.
    open: Option<LingerBatch>,
    sealed: Vec<LingerBatch>,
    /// In the log, but the sync they need has not begun.
    unsynced: Vec<Unsynced>,
    /// Of all promises that are not kept yet.
    tickets: Vec<SharedArc<Ticket>>,
    /// Whether the timer is going to call the lane.
    alarm: bool,
    /// Below this everything was promised to be made durable, by sends that wait for themselves:
    /// a flush waits for it too.
    owed: Option<Offset>,
}

/// Records that are in the log and whose promise needs a sync.
#[derive(Debug)]
struct Unsynced {
    promise: Promise,
    written: Written,
}

impl Queue {
    fn seal(&mut self) {
        self.sealed.extend(self.open.take());
    }

    fn settle(&mut self, ticket: &SharedArc<Ticket>) {
        self.tickets.retain(|held| !SharedArc::ptr_eq(held, ticket));
    }
}

impl Lane {
    pub(super) fn new(
        partition: Arc<Partition>,
        name: TopicName,
        core: Weak<Core>,
        failures: Arc<Failures>,
    ) -> Self {
        Lane {
            id: partition.id(),
            near: partition.near(),
            partition,
            name,
            core,
            failures,
            unwritten: AtomicUsize::new(0),
            called: AtomicBool::new(false),
            queue: Mutex::new(Queue::default()),
            line: Mutex::new(()),
        }
    }

    #[inline]
    pub(super) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Where what an append looks at behind the partition lies.
    #[inline]
    pub(super) fn near(&self) -> PartitionNear {
        self.near
    }

    #[inline]
    pub(super) fn id(&self) -> PartitionId {
        self.id
    }

    pub(super) fn topic_name(&self) -> &TopicName {
        &self.name
    }

    /// Whether a record sent now would overtake one that lingers.
    #[inline]
    pub(super) fn holds_records(&self) -> bool {
        self.unwritten.load(Ordering::Acquire) > 0
    }

    /// Whether a batch of it has not ended.
    pub(super) fn owes_answers(&self) -> bool {
        !self.queue.lock().tickets.is_empty()
    }

    /// Appends what is sealed, and leaves the sync that it needs to the timer.
    #[cold]
    pub(super) fn clear(self: &Arc<Self>, core: &Core) {
        if self.write(core) {
            core.call_soon(self);
        }
    }

    /// Gives the open batch its time and has the timer come for it. Reads the clock, so no lock is
    /// held; by then the batch may be another, which only makes its time come a little early.
    #[cold]
    fn set_alarm(self: &Arc<Self>, core: &Core) {
        let at = core.due_time();
        {
            let mut queue = self.queue.lock();
            match &mut queue.open {
                Some(open) if open.due.is_none() => open.due = Some(at),
                _ => return,
            }
            if std::mem::replace(&mut queue.alarm, true) {
                return; // it is set for an earlier batch, and will be set again for this one
            }
        }
        let due: Weak<dyn Due> = Arc::downgrade(self) as Weak<dyn Due>;
        core.call_at(at, due);
    }

    /// Closes the open batch; returns the tickets of everything that has not ended.
    pub(super) fn seal(&self) -> Vec<SharedArc<Ticket>> {
        let mut queue = self.queue.lock();
        queue.seal();
        queue.tickets.clone()
    }

    /// Appends whatever lingers here, so that the caller's records come behind it.
    #[cold]
    pub(super) fn clear_the_way(self: &Arc<Self>, core: &Core) {
        self.seal();
        self.clear(core);
    }

    /// The same for who does not know the producer. One that is gone has brought everything out.
    #[cold]
    pub(super) fn bring_out(self: &Arc<Self>) {
        if let Some(core) = self.core.upgrade() {
            self.clear_the_way(&core);
        }
    }

    /// Appends what is sealed. `true`: something waits for a sync now.
    pub(super) fn write(&self, core: &Core) -> bool {
        let now = core.wall();
        let mut done = Vec::new();
        {
            let _line = self.line.lock();
            let batches = std::mem::take(&mut self.queue.lock().sealed);
            done.reserve_exact(batches.len());
            for mut batch in batches {
                let result = batch.append_to(core, self, now);
                done.push((batch, result));
            }
            self.unwritten.fetch_sub(done.len(), Ordering::Release);
        }
        let written = || done.iter().filter_map(|(_, result)| result.as_ref().ok());
        // wakers are user code: no lock is held
        self.partition.announce_all(written().map(|written| &written.appended));
        let mut waiting = false;
        let flush = self.partition.is_flush_due();
        for (batch, result) in done {
            let LingerBatch { buffer, grant, mut promise, durability, .. } = batch;
            let left = Left { buffer, shares: promise.leave_shares() };
            drop(grant);
            match result {
                Ok(written) if durability == Durability::Power || flush => {
                    self.queue.lock().unsynced.push(Unsynced { promise, written });
                    waiting = true;
                }
                result => self.end(promise, result),
            }
            core.recycle(left); // after those who wait for this batch have been told
        }
        waiting
    }

    /// Makes what was appended with a promise of power durability durable: one sync for all.
    pub(super) fn sync(&self) {
        let (unsynced, owed) = {
            let mut queue = self.queue.lock();
            (std::mem::take(&mut queue.unsynced), queue.owed)
        };
        let ends = unsynced.iter().map(|unsynced| unsynced.written.appended.end_offset);
        let Some(end) = ends.chain(owed).max() else { return };
        let synced = self.partition.make_durable(end);
        for Unsynced { promise, written } in unsynced {
            self.end(
                promise,
                match &synced {
                    Ok(()) => Ok(written),
                    Err(error) => Err(error.again().with_outcome(Outcome::WrittenNotDurable)),
                },
            );
        }
        if let Some(owed) = owed {
            self.settle_owed(owed, &synced);
        }
    }

    /// A place in the next sync, for records that are in the log already and end at `end`; `None`
    /// if they are durable.
    pub(super) fn ride(&self, end: Offset) -> Result<Option<Ride>> {
        {
            let mut queue = self.queue.lock();
            queue.owed = queue.owed.max(Some(end));
        }
        self.partition.ride(end).map_err(|error| self.not_durable(&error))
    }

    /// Waits, as a task, for what [`sync`](Lane::sync) would make durable of records that wait for
    /// themselves.
    pub(super) fn sync_owed_later(
        self: &Arc<Self>,
    ) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        let owed = self.queue.lock().owed?;
        let (lane, waiting) = (self.clone(), self.partition.make_durable_later(owed));
        Some(async move { lane.settle_owed(owed, &waiting.await) })
    }

    /// Once it is known what became of it: a failure is the next report's.
    fn settle_owed(&self, owed: Offset, synced: &Result<()>) {
        {
            let mut queue = self.queue.lock();
            queue.owed = queue.owed.filter(|end| *end > owed);
        }
        if let Err(error) = synced {
            self.failures.note(&self.not_durable(error));
        }
    }

    /// The failure of a sync, as it is for records of this lane.
    pub(super) fn not_durable(&self, error: &Error) -> Error {
        self.placed(error.again().with_outcome(Outcome::WrittenNotDurable))
    }

    fn placed(&self, error: Error) -> Error {
        error.at_partition(self.partition.topic_name(), self.partition.id())
    }

    fn end(&self, promise: Promise, result: Result<Written>) {
        let result = result.map_err(|error| self.placed(error));
        if let Err(error) = &result {
            self.failures.note(error);
        }
        let ticket = promise.ticket().clone();
        promise.keep(result);
        self.queue.lock().settle(&ticket);
    }
}

impl Due for Lane {
    fn run(&self, now: Duration) -> Option<Duration> {
        let core = self.core.upgrade()?;
        {
            let mut queue = self.queue.lock();
            let due = queue.open.as_ref().and_then(|open| open.due);
            if due.is_some_and(|due| due <= now) {
                queue.seal();
            }
        }
        if self.write(&core) {
            self.sync();
        }
        let mut queue = self.queue.lock();
        let next = queue.open.as_ref().and_then(|open| open.due);
        queue.alarm = next.is_some();
        next
    }
}

/// The error of a record that comes after its producer has ended.
pub(super) fn closed(operation: &'static str) -> Error {
    Error::new(operation, Cause::Closed("the producer"))
}
