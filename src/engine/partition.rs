//! One partition as everything above the engine sees it: the one door to its log.
//!
//! An append goes through the gate, takes its room from the budgets, is appended, wakes who waits,
//! and, if power durability was asked for, waits for the sync. Holds are numbers that those above
//! push down: retention keeps what lies at or above the lowest. A partition whose directory cannot
//! be read exists all the same; each call to it says why it fails.

use std::ops::Range;
use std::sync::Arc;

use super::budget::Budget;
use super::follow::FollowedPartition;
use super::gate::Gate;
use super::holds::Holds;
use super::room::{self, Room};
use crate::config::{Durability, IsolationLevel};
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId, Sequence, TopicId};
use crate::log::{
    Appended, CappedHold, Count, Cursor, Dropped, FetchLimits, Fetched, FoundOffset, Keeper, LogId,
    OffsetSnapshot, OffsetSpec, PartitionLog, ProducerState,
};
use crate::record::{AppendBatch, BatchRules, Marker, MarkerBatch, ProducerIdentity};
use crate::segment::AbortedTransaction;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::Timestamp;
use crate::wait::Signal;

/// One partition; what an append looks at lies in front, on one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Partition {
    backing: Backing,
    gate: Arc<Gate>,
    pub(super) topic_budget: Arc<Budget>,
    /// `None` for internal topics, which live on a reserve of their own.
    pub(super) store_budget: Option<Arc<Budget>>,
    signal: Arc<Signal>,
    pub(super) deleted: AtomicBool,
    topic: Arc<str>,
    id: LogId,
    pub(super) holds: Mutex<Holds>,
    /// That the log is poisoned has been recorded.
    pub(super) failure_noted: AtomicBool,
    /// Held while the log is cut, reopened or changes hands: each draws an epoch for what follows.
    pub(super) recast: Mutex<()>,
}

/// What a partition stands on.
#[derive(Debug)]
pub(super) enum Backing {
    Log(Box<PartitionLog>),
    /// Another process may be writing to it.
    Followed(Arc<FollowedPartition>),
    /// It could not be opened, and why; whether what an unclean stop left is to be recovered.
    Failed {
        error: Error,
        in_doubt: bool,
    },
}

/// Everything a partition is made of.
pub(super) struct NewPartition {
    pub(super) topic: Arc<str>,
    pub(super) id: LogId,
    pub(super) backing: Backing,
    pub(super) topic_budget: Arc<Budget>,
    pub(super) store_budget: Option<Arc<Budget>>,
    pub(super) gate: Arc<Gate>,
}

impl Partition {
    pub(super) fn new(new: NewPartition) -> Self {
        let signal = match &new.backing {
            Backing::Followed(followed) => followed.signal().clone(),
            Backing::Log(_) | Backing::Failed { .. } => Arc::new(Signal::new()),
        };
        Partition {
            topic: new.topic,
            id: new.id,
            backing: new.backing,
            signal,
            holds: Mutex::default(),
            topic_budget: new.topic_budget,
            store_budget: new.store_budget,
            gate: new.gate,
            deleted: AtomicBool::new(false),
            failure_noted: AtomicBool::new(false),
            recast: Mutex::default(),
        }
    }

    pub(crate) fn topic_name(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn id(&self) -> PartitionId {
        self.id.partition
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.id.topic
    }

    /// Told of changes that readers see; of appends once somebody has come through `register`.
    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The log, or why there is none to write to.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn log(&self) -> Result<&PartitionLog> {
        match &self.backing {
            Backing::Log(log) => Ok(log),
            Backing::Followed(_) => Err(Error::new("use log", Cause::ReadOnly)),
            Backing::Failed { error, .. } => Err(error.again()),
        }
    }

    /// Whether its topic is deleted, or about to be.
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Whether an unclean stop left something here that could not be recovered.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self.backing, Backing::Failed { in_doubt: true, .. })
    }

    /// The log, if the store is open and the topic exists.
    #[inline(always)] // see `producer::walk`
    pub(super) fn open_log(&self, operation: &'static str) -> Result<&PartitionLog> {
        self.gate.check(operation)?;
        self.check_exists(operation)?;
        self.log()
    }

    /// The log of another process, if it is one.
    pub(crate) fn followed(&self) -> Option<&Arc<FollowedPartition>> {
        match &self.backing {
            Backing::Followed(followed) => Some(followed),
            Backing::Log(_) | Backing::Failed { .. } => None,
        }
    }

    /// The log of another process, if the store is open and the topic exists.
    pub(super) fn open_followed(
        &self,
        operation: &'static str,
    ) -> Result<Option<&Arc<FollowedPartition>>> {
        let Some(followed) = self.followed() else { return Ok(None) };
        self.gate.check(operation)?;
        self.check_exists(operation)?;
        Ok(Some(followed))
    }

    /// Fails once the topic is deleted.
    #[inline]
    fn check_exists(&self, operation: &'static str) -> Result<()> {
        if self.is_deleted() { Err(self.missing(operation)) } else { Ok(()) }
    }

    #[cold]
    fn missing(&self, operation: &'static str) -> Error {
        let name = self.topic.to_string();
        Error::new(operation, Cause::NotFound { what: "topic", name })
    }

    /// The log, if an append may be made to it.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn log_to_append(&self) -> Result<&PartitionLog> {
        self.open_log("append")
    }

    /// What the topic asks of a batch that is appended at `now`.
    pub(crate) fn batch_rules(&self, now: Timestamp) -> Result<BatchRules> {
        Ok(self.open_log("append")?.batch_rules(now))
    }

    /// Fails where no append is taken, whatever it brings.
    pub(crate) fn check_appends(&self) -> Result<()> {
        self.open_log("append")?.check_appends()
    }

    /// Appends one batch, all of it or nothing, and wakes who waits for it. Blocks for a sync with
    /// [`Durability::Power`] and where the topic bounds the unsynced records, and for room where
    /// the budget says so.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn append<B: AppendBatch>(
        &self,
        batch: &B,
        now: Timestamp,
        durability: Durability,
    ) -> Result<Appended> {
        let appended = self.append_quietly(batch, now)?;
        self.announce(&appended);
        if durability == Durability::Power || self.is_flush_due() {
            self.make_durable_in(self.log()?, appended.end_offset)?;
        }
        Ok(appended)
    }

    /// Whether more records are unsynced than the topic allows: a sync is to be waited for before
    /// an append is acknowledged.
    #[inline]
    pub(crate) fn is_flush_due(&self) -> bool {
        matches!(&self.backing, Backing::Log(log) if log.is_flush_due())
    }

    /// The same, process-durable and without waking anybody: for callers who hold a lock of their
    /// own, and [`announce`](Partition::announce) it once that is free.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn append_quietly<B: AppendBatch>(
        &self,
        batch: &B,
        now: Timestamp,
    ) -> Result<Appended> {
        let log = self.open_log("append")?;
        let reserved = self.room_for(batch)?;
        match log.append(batch, now) {
            Ok(appended) => {
                self.settle(reserved, &appended);
                Ok(appended)
            }
            Err(error) => Err(self.not_appended(reserved, error)),
        }
    }

    /// Takes the room that a batch needs.
    #[inline(always)] // see `producer::walk`
    pub(super) fn room_for<B: AppendBatch>(&self, batch: &B) -> Result<Room> {
        let size = batch.size() as u64;
        match batch.marker() {
            Some(_) => Ok(room::take(self, size)),
            None => room::reserve(self, size),
        }
    }

    /// What becomes of the room once the batch is in the log.
    #[inline(always)] // see `producer::walk`
    pub(super) fn settle(&self, reserved: Room, appended: &Appended) {
        if appended.is_duplicate {
            room::give_back(self, reserved);
        } else {
            self.topic_budget.settle(reserved.of_topic, appended.count);
        }
    }

    #[cold]
    pub(super) fn not_appended(&self, reserved: Room, error: Error) -> Error {
        room::give_back(self, reserved);
        self.note_failure();
        self.check_exists("append").err().unwrap_or(error) // deleted meanwhile: that is why
    }

    /// Appends the marker that ends a producer's transaction here; see
    /// [`PartitionLog::append_marker`]. A budget that is spent does not keep it out.
    pub(crate) fn append_marker(
        &self,
        identity: ProducerIdentity,
        marker: Marker,
        now: Timestamp,
        durability: Durability,
    ) -> Result<Appended> {
        let rules = self.batch_rules(now)?;
        let batch = MarkerBatch::new(identity, marker, &rules.timestamps, now);
        self.append(&batch, now, durability)
    }

    /// The producers that have a transaction open here, oldest first.
    pub(crate) fn open_transactions(&self) -> Result<Vec<ProducerState>> {
        Ok(self.open_log("list transactions")?.open_transactions())
    }

    /// The aborted transactions that reach into a range of offsets.
    pub(crate) fn aborted_transactions(
        &self,
        range: &Range<Offset>,
    ) -> Result<Vec<AbortedTransaction>> {
        Ok(self.open_log("list transactions")?.aborted_transactions(range))
    }

    /// What a producer's next batch is to begin with.
    pub(crate) fn next_sequence(
        &self,
        identity: ProducerIdentity,
        now: Timestamp,
    ) -> Result<Sequence> {
        self.open_log("look up sequence")?.next_sequence(identity, now)
    }

    /// What is known of producers, by id.
    pub(crate) fn producers(&self) -> Result<Vec<ProducerState>> {
        Ok(self.open_log("describe producers")?.producer_states())
    }

    /// Reads from `from` on; see [`PartitionLog::fetch`].
    pub(crate) fn fetch(
        &self,
        from: Offset,
        cursor: Option<&Cursor>,
        limits: FetchLimits,
    ) -> Result<Fetched> {
        if let Some(followed) = self.open_followed("read")? {
            return followed.fetch(from, cursor, limits);
        }
        self.open_log("read")?.fetch(from, cursor, limits)
    }

    /// Looks now for what another process has written; one's own log shows it by itself.
    pub(crate) fn look(&self) -> Result<()> {
        self.open_followed("look up offsets")?.map_or(Ok(()), |followed| followed.look())
    }

    pub(crate) fn offsets(&self) -> Result<OffsetSnapshot> {
        if let Some(followed) = self.open_followed("look up offsets")? {
            return followed.offsets();
        }
        Ok(self.open_log("look up offsets")?.offsets().snapshot())
    }

    /// How often offsets have fallen, where the log was cut or opened again: what was read of it
    /// before may be gone. One that another process writes to tells of that by its errors.
    pub(crate) fn falls(&self) -> Result<u64> {
        if self.open_followed("look up offsets")?.is_some() {
            return Ok(0);
        }
        Ok(self.open_log("look up offsets")?.offsets().falls())
    }

    /// The offset that is wanted; see [`PartitionLog::find_offset`].
    pub(crate) fn find_offset(
        &self,
        wanted: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Result<Option<FoundOffset>> {
        if let Some(followed) = self.open_followed("look up offset")? {
            return followed.find_offset(wanted, isolation);
        }
        self.open_log("look up offset")?.find_offset(wanted, isolation)
    }

    /// That of the first record at or after `wanted`.
    pub(crate) fn offset_at(
        &self,
        wanted: Timestamp,
        isolation: IsolationLevel,
    ) -> Result<Option<Offset>> {
        let found = self.find_offset(OffsetSpec::AtOrAfter(wanted), isolation)?;
        Ok(found.map(|found| found.offset()))
    }

    /// Fails as truncated where `epoch` ended before `offset`.
    pub(crate) fn check_epoch(
        &self,
        operation: &'static str,
        offset: Offset,
        epoch: LeaderEpoch,
    ) -> Result<()> {
        if let Some(followed) = self.open_followed(operation)? {
            return followed.check_epoch(operation, offset, epoch);
        }
        self.open_log(operation)?.check_epoch(operation, offset, epoch)
    }

    /// Where reading may go on behind damage at `offset`.
    pub(crate) fn resume_above(&self, offset: Offset) -> Result<Offset> {
        if let Some(followed) = self.open_followed("skip damage")? {
            return followed.resume_above(offset);
        }
        self.open_log("skip damage")?.resume_above(offset)
    }

    /// How many records a reader has got, for the counters.
    pub(crate) fn note_reads(&self, records: u64) {
        match &self.backing {
            Backing::Log(log) => log.note_reads(records),
            Backing::Followed(followed) => followed.note_reads(records),
            Backing::Failed { .. } => {}
        }
    }

    /// Makes everything below `offset` durable; blocks for a sync unless one covers it already.
    pub(crate) fn make_durable(&self, offset: Offset) -> Result<()> {
        self.make_durable_in(self.open_log("sync")?, offset)
    }

    fn make_durable_in(&self, log: &PartitionLog, offset: Offset) -> Result<()> {
        self.told(log.make_durable(offset))
    }

    /// Tells those who follow it how a sync has ended.
    pub(super) fn told(&self, synced: Result<()>) -> Result<()> {
        match &synced {
            Ok(()) => self.signal.notify(), // for those who wait for durable records only
            Err(_) => self.note_failure(),
        }
        synced
    }

    /// Raises the log start; see [`PartitionLog::delete_records_before`].
    pub(crate) fn delete_records_before(&self, offset: Offset, keeper: &dyn Keeper) -> Result<()> {
        let log = self.open_log("delete records")?;
        let dropped = log.delete_records_before(offset, keeper);
        self.note_failure(); // of a sync on the way, whether or not it kept the start from rising
        dropped?;
        self.give_back_freed();
        Ok(())
    }

    /// One run of retention; an adopted topic has no policy and is left alone.
    pub(super) fn retain(&self, keeper: &dyn Keeper, now: Timestamp) -> Result<Dropped> {
        let log = self.open_log("apply retention")?;
        let (hold, capped) = self.holds_now();
        let hold = hold.map(|(_, offset)| offset);
        let planned = log.plan_retention(now, hold, &capped)?;
        if !capped.is_empty() {
            self.holds.lock().note_kept(&capped, &planned.held);
        }
        let Some(plan) = planned.plan else { return Ok(Dropped::default()) };
        let dropped = log.apply_retention(&plan, keeper, now)?;
        self.note_dropped(dropped);
        Ok(dropped)
    }

    /// Drops the oldest segment for room, unless something holds it.
    pub(super) fn drop_oldest(&self, keeper: &dyn Keeper, now: Timestamp) -> Result<u64> {
        let log = self.open_log("append")?;
        let (hold, capped) = self.holds_now();
        let hold = hold.as_ref().map(|(name, offset)| (name.as_str(), *offset));
        let dropped = log.drop_oldest(hold, &capped, keeper, now)?;
        self.note_dropped(dropped);
        Ok(dropped.bytes)
    }

    /// The lowest hold by name, and those of groups.
    fn holds_now(&self) -> (Option<(String, Offset)>, Vec<CappedHold>) {
        let holds = self.holds.lock();
        (holds.lowest_named(), holds.capped())
    }

    /// Segments have gone: their room is free, and some holds may have been overridden.
    fn note_dropped(&self, dropped: Dropped) {
        self.give_back_freed();
        let Ok(log) = self.log() else { return };
        if dropped.segments > 0 {
            let start = log.offsets().snapshot().start;
            self.holds.lock().note_dropped(&self.topic, self.id(), start);
        }
    }

    /// Gives back what has left the log since this was called last.
    pub(super) fn give_back_freed(&self) {
        let Ok(log) = self.log() else { return };
        log.take_freed(|count, bytes| {
            self.topic_budget.freed(bytes, count);
            self.freed_of_store(bytes);
        });
        self.announce_room();
    }

    /// Has the log join a count of its topic's bytes.
    pub(super) fn join_count(&self, count: Count) {
        let Ok(log) = self.log() else { return };
        log.join_count(count, |joining| {
            self.topic_budget.add(joining.held);
            self.freed_of_store(joining.freed);
        });
    }

    fn freed_of_store(&self, bytes: u64) {
        if let Some(store) = &self.store_budget {
            store.freed(bytes, store.count());
        }
    }

    fn announce_room(&self) {
        self.topic_budget.announce_room();
        if let Some(store) = &self.store_budget {
            store.announce_room();
        }
    }

    /// Ends the partition for everyone who holds it: its topic is gone.
    pub(super) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        if let Ok(log) = self.log() {
            log.retire();
            self.give_back_freed();
            self.freed_of_store(log.size().0);
            self.announce_room();
        }
        self.signal.close();
    }
}
