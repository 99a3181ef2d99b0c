//! What all handles of one producer share: the lanes, the memory, the way out and the end.
//!
//! Records that linger are brought out by whoever fills a batch, by the timer when one is due, by
//! a flush, or, when memory runs short, by a sweep over all lanes; what needs a sync goes to the
//! timer too, as errands, so that a caller who did not ask to wait does not. The last handle to
//! go, or the store's close, ends the producer: nothing is taken from then on, and everything that
//! was taken is brought out or fails.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::batch::{Asked, Ending, Helped, Left, LingerBatch, Spare, Ticket};
use super::builder::{BufferFull, Settings};
use super::lane::{Lane, closed};
use super::lanes::{Failures, Lanes};
use super::memory::{Grant, Memory};
use super::topics::Topics;
use crate::config::Threads;
use crate::deduplication::Deduplication;
use crate::engine::{CloseHook, Due, Engine, Partition, Topic};
use crate::error::{Cause, Error, Result};
use crate::log::PartitionLog;
use crate::record::{AppendBatch, BatchRules, check_built};
use crate::schedule::Schedule;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Arc as SharedArc, Mutex};
use crate::time::{Timestamp, deadline_after};
use crate::wait::errands::{Errand, Errands, Tell};
use crate::wait::{WaitSet, Woken};

/// Batches are begun with this much memory and grow; one that was filled is used again.
const FIRST_BATCH_BYTES: usize = 1024;
/// Emptied batches kept for use, at most.
const SPARES: usize = 16;

/// One producer, whatever its handles.
#[derive(Debug)]
pub(super) struct Core {
    engine: Arc<Engine>,
    schedule: Arc<Schedule>,
    deduplication: Arc<Deduplication>,
    settings: Settings,
    memory: Arc<Memory>,
    this: Weak<Core>,
    handles: AtomicUsize,
    ended: AtomicBool,
    topics: Mutex<Topics>,
    /// The first failure among topics that are gone, which no flush of the producer has told yet.
    left: Arc<Failures>,
    spares: Mutex<Vec<Spare>>,
    errands: Errands<Arc<Lane>>,
}

impl Core {
    /// A producer with one handle.
    pub(super) fn new(
        engine: Arc<Engine>,
        (schedule, deduplication): (Arc<Schedule>, Arc<Deduplication>),
        settings: Settings,
    ) -> Arc<Core> {
        let core = Arc::new_cyclic(|this: &Weak<Core>| Core {
            memory: Arc::new(Memory::new(settings.buffer_bytes)),
            engine,
            schedule,
            deduplication,
            settings,
            this: this.clone(),
            handles: AtomicUsize::new(1),
            ended: AtomicBool::new(false),
            topics: Mutex::default(),
            left: Arc::default(),
            spares: Mutex::new(Vec::new()),
            errands: Errands::default(),
        });
        let hook: Weak<dyn CloseHook> = Arc::downgrade(&core) as Weak<dyn CloseHook>;
        core.engine.on_close(hook);
        core
    }

    #[inline]
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    pub(super) fn deduplication(&self) -> &Deduplication {
        &self.deduplication
    }

    #[inline]
    pub(super) fn wall(&self) -> Timestamp {
        self.engine.clock().wall()
    }

    /// What a log asks of a batch that is appended at `now` by this very call, which looks whether
    /// it may be; the codec is the caller's to check.
    #[inline(always)] // see `producer::walk`
    pub(super) fn rules_in(&self, log: &PartitionLog, now: Timestamp) -> BatchRules {
        log.rules_for(now, self.settings.compression, self.settings.compression_level)
    }

    /// What a partition asks of what lingers at `now`, and until when; how it is compressed too.
    pub(super) fn asked(&self, partition: &Partition, now: Timestamp) -> Result<Asked> {
        let Settings { compression, compression_level, .. } = self.settings;
        let log = partition.log_to_append()?;
        let (rules, version) = log.lasting_rules_for(now, compression, compression_level);
        if !rules.packing.is_plain() {
            check_built("append", rules.packing.codec())?;
        }
        Ok(Asked { rules, version })
    }

    /// When a batch that is begun now has to be written.
    pub(super) fn due_time(&self) -> Duration {
        self.engine.clock().monotonic().saturating_add(self.settings.linger)
    }

    pub(super) fn call_at(&self, at: Duration, due: Weak<dyn Due>) {
        self.engine.timers().schedule(at, due);
    }

    /// Fails once the producer has ended.
    #[inline]
    pub(super) fn check_taking(&self) -> Result<()> {
        if self.ended.load(Ordering::Acquire) { Err(closed("enqueue")) } else { Ok(()) }
    }

    /// Whose due work a waiting thread has to run; `None` where a timer thread does.
    #[inline]
    pub(super) fn helped(&self) -> Helped {
        (self.engine.threads() == Threads::Host).then(|| self.this.clone())
    }

    /// Whether a full batch may be left to the timer: there is a thread of it, nobody wants each
    /// record written at once, and a sender that goes on has room to do so.
    pub(super) fn may_hand_over(&self) -> bool {
        self.engine.threads() == Threads::Own
            && !self.settings.linger.is_zero()
            && self.memory.granted() <= self.memory.limit() / 2
    }

    /// Runs the host's due work; returns how long to wait before the next time. On a clock that
    /// is moved by hand nothing tells when that is, so the naps are short.
    pub(super) fn help(&self) -> Duration {
        const NAPS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));
        let next = self.engine.run_own_work();
        let now = self.engine.clock().monotonic();
        next.map_or(NAPS.1, |next| next.saturating_sub(now)).clamp(NAPS.0, NAPS.1)
    }
}

/// Batches and their memory.
impl Core {
    /// A batch of at most so many bytes, unless one record brings more, for a lane to open. Called
    /// under the lane's lock: nothing here waits.
    pub(super) fn new_batch(&self, most: usize) -> LingerBatch {
        let spare = self.spares.lock().pop();
        let spare = spare.unwrap_or_else(|| Spare::new(FIRST_BATCH_BYTES, self.helped()));
        LingerBatch::new(spare, most, Grant::new(&self.memory))
    }

    /// Takes back a batch that stayed empty. With no lock held: it may run wakers.
    pub(super) fn take_back(&self, batch: LingerBatch) {
        if let Some(spare) = batch.discard() {
            self.keep_spare(spare);
        }
    }

    /// Keeps what a batch leaves behind for the next, unless that is larger than usual or there is
    /// enough.
    pub(super) fn recycle(&self, left: Left) {
        let is_large = left.buffer.len() > self.settings.batch_bytes.saturating_mul(2);
        if !is_large && self.spares.lock().len() < self.most_spares() {
            self.keep_spare(Spare::of(left, self.helped()));
        }
    }

    fn keep_spare(&self, spare: Spare) {
        let mut spares = self.spares.lock();
        if spares.len() < self.most_spares() {
            spares.push(spare);
        }
    }

    #[cfg(test)]
    pub(super) fn largest_spare(&self) -> usize {
        self.spares.lock().iter().map(Spare::capacity).max().unwrap_or(0)
    }

    fn most_spares(&self) -> usize {
        (self.settings.buffer_bytes / self.settings.batch_bytes).clamp(1, SPARES)
    }

    /// Whether a batch waits for nothing more.
    #[inline]
    pub(super) fn is_full(&self, batch: &LingerBatch) -> bool {
        let settings = &self.settings;
        batch.buffer.len() >= settings.batch_bytes
            || batch.buffer.count() >= settings.batch_records
            || settings.linger.is_zero()
    }

    /// Makes room by a sweep and, where the producer blocks, waits for it. `deadline` is set by
    /// the first call for a record and used by the next.
    pub(super) fn wait_for_room(
        &self,
        needed: usize,
        deadline: &mut Option<Instant>,
    ) -> Result<()> {
        let patience = self.ask_for_room(needed)?;
        let waiting = WaitSet::new();
        let registration = waiting.register(self.memory.freed(), 0);
        waiting.arm(&registration);
        if self.has_room(needed) {
            return Ok(());
        }
        self.engine.run_own_work();
        let deadline = *deadline.get_or_insert_with(|| deadline_after(patience));
        if waiting.wait(Some(deadline)) == Woken::TimedOut {
            return Err(self.full(&format!("none came free within {patience:?}")));
        }
        Ok(())
    }

    /// The same for a task, which has no deadline but its own.
    pub(super) async fn room(&self, needed: usize) -> Result<()> {
        self.ask_for_room(needed)?;
        let waiting = WaitSet::new();
        let registration = waiting.register(self.memory.freed(), 0);
        waiting.arm(&registration);
        if !self.has_room(needed) {
            waiting.ready().await;
        }
        Ok(())
    }

    /// Starts a sweep; returns how long to wait for its room, or that it is not waited for.
    fn ask_for_room(&self, needed: usize) -> Result<Duration> {
        // for one that never has room as well: a batch may have made way for it
        self.tell_timer(self.errands.call_all());
        let limit = self.memory.limit();
        if needed > limit {
            let (size, limit) = (needed as u64, limit as u64);
            let what = "the record, which has to fit into the producer's buffer,";
            return Err(Error::new("enqueue", Cause::TooLarge { what, size, limit }));
        }
        match self.settings.when_buffer_full {
            BufferFull::Block(patience) => Ok(patience),
            BufferFull::Fail => Err(self.full("it is being flushed")),
        }
    }

    #[cfg(test)]
    pub(super) fn memory_granted(&self) -> usize {
        self.memory.granted()
    }

    fn has_room(&self, needed: usize) -> bool {
        self.memory.granted().saturating_add(needed) <= self.memory.limit()
    }

    fn full(&self, what: &str) -> Error {
        let limit = self.memory.limit();
        let text = format!("the {limit} bytes of the producer's buffer are taken: {what}");
        Error::new("enqueue", Cause::Full(text))
    }
}

/// Lanes, and bringing out what is in them.
impl Core {
    /// The lanes of a topic, shared by all handles for it.
    pub(super) fn lanes_of(&self, topic: Arc<Topic>) -> Arc<Lanes> {
        let deleted = self.engine.topics_left();
        let make = || Lanes::new(topic.clone(), self.this.clone());
        self.topics.lock().lanes_of(&topic, deleted, &self.left, make)
    }

    fn all_lanes(&self) -> Vec<Arc<Lanes>> {
        self.topics.lock().all()
    }

    /// Has the timer bring out a lane, and sync it, at once.
    pub(super) fn call_soon(&self, lane: &Arc<Lane>) {
        self.tell_timer(self.errands.call(lane.clone()));
    }

    /// Has the timer append a lane's full batches, at once or after its nap.
    pub(super) fn hand_over(&self, lane: &Arc<Lane>, is_behind: bool) {
        self.tell_timer(self.errands.hand_over(lane.clone(), is_behind));
    }

    fn tell_timer(&self, tell: Tell) {
        if tell == Tell::Runner {
            let due: Weak<dyn Due> = self.this.clone() as Weak<dyn Due>;
            self.call_at(Duration::ZERO, due);
        }
    }

    /// Writes what lingers in these lanes, waits for all of it, and reports the first failure
    /// since the last flush. Blocks.
    pub(super) fn flush(&self, topics: &[Arc<Lanes>]) -> Result<()> {
        let tickets = seal(topics);
        for lane in lanes(topics) {
            lane.write(self);
            lane.sync();
        }
        let endings = tickets.iter().map(|ticket| self.ending_of(ticket, topics));
        let failed = endings.filter_map(|ending| ending.as_ref().as_ref().err().map(Error::again));
        report(topics, failed.reduce(|first, _| first))
    }

    /// Waits for a batch to end. Another's append may leave its sync to the timer after the syncs
    /// of this flush. A host that is in here may be who runs that, and a store that closes has none
    /// left: so then syncs that are left are looked for.
    fn ending_of(&self, ticket: &Ticket, topics: &[Arc<Lanes>]) -> Ending {
        const NAP: Duration = Duration::from_millis(1);
        let untimed = self.engine.is_run_by_host() || self.engine.gate().is_closed();
        loop {
            if let Some(ending) = ticket.wait(untimed.then(|| deadline_after(NAP))) {
                return ending;
            }
            lanes(topics).for_each(|lane| lane.sync());
        }
    }

    /// The same without waiting: appends are made here, syncs by the timer.
    pub(super) fn flush_async(
        &self,
        topics: Vec<Arc<Lanes>>,
    ) -> impl Future<Output = Result<()>> + Send + Unpin + 'static + use<> {
        let tickets = seal(&topics);
        for lane in lanes(&topics) {
            if lane.write(self) {
                self.call_soon(&lane);
            }
        }
        let owed: Vec<_> = lanes(&topics).filter_map(|lane| lane.sync_owed_later()).collect();
        Box::pin(async move {
            for owed in owed {
                owed.await;
            }
            let mut first = None;
            for ticket in tickets {
                if let Err(error) = &*crate::wait::Completed::of(&ticket).await {
                    first.get_or_insert_with(|| error.again());
                }
            }
            report(&topics, first)
        })
    }

    pub(super) fn flush_all(&self) -> Result<()> {
        let flushed = self.flush(&self.all_lanes());
        self.left.take().map_or(flushed, Err)
    }

    pub(super) fn flush_all_async(
        &self,
    ) -> impl Future<Output = Result<()>> + Send + Unpin + 'static + use<> {
        let (flushing, left) = (self.flush_async(self.all_lanes()), self.left.clone());
        Box::pin(async move {
            let flushed = flushing.await;
            left.take().map_or(flushed, Err)
        })
    }

    /// Takes nothing more and brings out what there is.
    fn end(&self) -> Result<()> {
        self.ended.store(true, Ordering::Release);
        self.memory.freed().close();
        self.flush_all()
    }

    /// One handle more.
    pub(super) fn enter(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// One handle less; the last one ends the producer.
    pub(super) fn leave(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if self.engine.gate().is_forked_child() {
            // Locks may be held by threads that are not here: nothing may be touched, nor dropped.
            std::mem::forget(self.this.upgrade());
            return;
        }
        if let Err(error) = self.end() {
            log::error!("records of a producer that was dropped were not written: {error}");
        }
    }
}

fn lanes(topics: &[Arc<Lanes>]) -> impl Iterator<Item = Arc<Lane>> {
    topics.iter().flat_map(|lanes| lanes.made())
}

/// Closes every open batch; what has to end for a flush to end.
fn seal(topics: &[Arc<Lanes>]) -> Vec<SharedArc<Ticket>> {
    let mut tickets = Vec::new();
    for lane in lanes(topics) {
        tickets.append(&mut lane.seal());
    }
    tickets
}

/// The first failure of these topics that no flush has reported, or else `seen`.
fn report(topics: &[Arc<Lanes>], seen: Option<Error>) -> Result<()> {
    let mut first = None;
    for lanes in topics {
        if let Some(error) = lanes.failures().take() {
            first.get_or_insert(error);
        }
    }
    first.or(seen).map_or(Ok(()), Err)
}

impl Errand for Arc<Lane> {
    fn mark(&self) -> bool {
        !self.called.swap(true, Ordering::AcqRel)
    }

    fn unmark(&self) {
        self.called.store(false, Ordering::Release);
    }
}

/// Errands: what callers left to the timer.
impl Due for Core {
    fn run(&self, now: Duration) -> Option<Duration> {
        let mut found = self.errands.take(now);
        if found.all {
            let topics = self.all_lanes();
            let swept: Vec<_> = lanes(&topics).collect();
            swept.iter().for_each(|lane| drop(lane.seal()));
            found.called.extend(swept); // what was called may be of a topic that is gone
        }
        // all appends first: they free memory and cost little, syncs take their time
        for lane in &found.called {
            lane.write(self);
        }
        for lane in &found.called {
            lane.sync();
        }
        // the clock once more, for a nap begins behind the work; on one that is moved by hand none
        // ends by itself
        let naps = !self.engine.clock_is_manual();
        naps.then(|| self.errands.nap(&found, self.engine.clock().monotonic())).flatten()
    }
}

/// The store closes: the last moment to bring things out.
impl CloseHook for Core {
    fn before_close(&self) -> Result<()> {
        self.end()
    }
}
