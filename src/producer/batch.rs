//! A batch that lingers, and the promise that comes with it.
//!
//! Every record in it shares one [`Ticket`], which its `Pending`s wait for. The [`Promise`] is the
//! other end: whoever takes a batch on its way to the log keeps it with the outcome. One that is
//! dropped instead, which takes a panic of ours, fails its waiters rather than leave them.

use std::sync::{Arc, Weak};

use super::core::Core;
use super::lane::Lane;
use super::memory::Grant;
use super::receipt::{MaybeTimestamp, Receipt};
use super::topic_name::TopicName;
use crate::config::Durability;
use crate::disk::Near;
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::log::Appended;
use crate::record::{AppendBatch, BatchBuffer, BatchRules, Produced, ProducerClaim, Record, Times};
use crate::sync::Arc as SharedArc;
use crate::time::Timestamp;
use crate::wait::Completion;

use std::time::Duration;

/// Where a batch went; what its records' receipts have in common.
#[derive(Debug)]
pub(super) struct Written {
    topic: TopicName,
    partition: PartitionId,
    pub(super) appended: Appended,
    times: Times,
}

impl Written {
    pub(super) fn new(lane: &Lane, appended: Appended, times: Times) -> Self {
        let (topic, partition) = (lane.topic_name().clone(), lane.id());
        Written { topic, partition, appended, times }
    }

    /// The receipt of the record at `index`.
    #[inline]
    pub(super) fn receipt(&self, index: u32) -> Receipt {
        Receipt {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: Offset::new(self.appended.base_offset.get() + i64::from(index)),
            leader_epoch: self.leader_epoch(),
            timestamp: MaybeTimestamp::of(self.times.of(index)),
            sequence: self.appended.sequence.map(|first| first.after(index)),
            is_duplicate: self.appended.is_duplicate,
        }
    }

    fn leader_epoch(&self) -> LeaderEpoch {
        self.appended.epoch
    }
}

/// How a batch ended, shared by all that wait for it.
pub(super) type Ending = Arc<Result<Written>>;

/// Whose due work a thread runs while it waits; `None` where the store has a timer thread.
pub(super) type Helped = Option<Weak<Core>>;

/// What the records of one batch wait for.
pub(super) type Ticket = Completion<Ending, Helped>;

/// The duty to end a ticket.
#[derive(Debug)]
pub(super) struct Promise(Option<SharedArc<Ticket>>);

impl Promise {
    pub(super) fn new(helped: Helped) -> Self {
        Promise(Some(SharedArc::new(Ticket::about(helped))))
    }

    pub(super) fn ticket(&self) -> &SharedArc<Ticket> {
        self.0.as_ref().expect("a promise has its ticket until it is kept")
    }

    /// Ends the ticket. Runs wakers: call it with no lock held.
    pub(super) fn keep(mut self, ending: Result<Written>) {
        if let Some(ticket) = self.0.take() {
            ticket.complete(Arc::new(ending));
        }
    }

    /// Lets the ticket go that nobody waits for.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            let error = Error::new("append", Cause::Panicked("the flush of a producer"));
            ticket.complete(Arc::new(Err(error.with_outcome(Outcome::Unknown))));
        }
    }
}

/// Records that wait for company.
#[derive(Debug)]
pub(super) struct LingerBatch {
    pub(super) buffer: BatchBuffer,
    /// As large as its topic and its store allow one to be.
    most: usize,
    pub(super) grant: Grant,
    pub(super) promise: Promise,
    /// The strongest word any of its records asked for.
    pub(super) durability: Durability,
    /// When it is written at the latest, on the monotonic clock; `None` until someone read that.
    pub(super) due: Option<Duration>,
}

/// So many bytes beyond a record two lines are asked for, to be stored into: memory that is used
/// again was read by who appended it, mostly on another processor, which has its lines still.
const AHEAD: usize = 512;

/// What became of a record that was to join a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It is in, as the record with that index.
    At(u32),
    /// The batch holds records, and with this one would be too large.
    Full,
    /// There is no memory for it.
    NoRoom,
}

impl LingerBatch {
    pub(super) fn new((buffer, most): (BatchBuffer, usize), grant: Grant, helped: Helped) -> Self {
        LingerBatch {
            buffer,
            most,
            grant,
            promise: Promise::new(helped),
            durability: Durability::Process,
            due: None,
        }
    }

    /// Encodes a record behind the others, which takes `bound` bytes at most.
    #[inline(always)] // see `linger`
    pub(super) fn join(
        &mut self,
        (record, bound): (&Record<'_>, usize),
        rules: &BatchRules,
        durability: Durability,
    ) -> Result<Joined> {
        let needed = self.buffer.len() + bound;
        if needed > self.most && !self.buffer.is_empty() {
            return Ok(Joined::Full);
        }
        if !self.grant.covers(needed) {
            return Ok(Joined::NoRoom);
        }
        let Some(index) = self.buffer.try_push(record, rules)? else { return Ok(Joined::Full) };
        if let Some(ahead) = self.buffer.room().get(AHEAD..) {
            Near::of(ahead).fetch_to_write();
            Near::of(ahead).plus(Near::LINE).fetch_to_write();
        }
        if durability == Durability::Power {
            self.durability = durability;
        }
        Ok(Joined::At(index))
    }

    /// An empty batch ends without anybody having waited for it.
    pub(super) fn discard(mut self) -> BatchBuffer {
        debug_assert!(self.buffer.is_empty(), "records are not dropped");
        self.promise.release();
        self.buffer
    }

    /// Appends it. Durability is not waited for, and nobody is woken yet.
    pub(super) fn append_to(
        &mut self,
        core: &Core,
        lane: &Lane,
        now: Timestamp,
    ) -> Result<Written> {
        let partition = lane.partition();
        let rules = core.rules(partition, now)?;
        self.buffer.seal(&rules.timestamps);
        let packed = self.buffer.packed(&rules)?;
        let identity = core.settings().identity;
        let claim = identity.map(ProducerClaim::next);
        let batch = Produced { batch: packed.as_ref().unwrap_or(&self.buffer), claim };
        let appended = partition.append_quietly(&batch, now)?;
        debug_assert_eq!(appended.end_offset.since(appended.base_offset), u64::from(self.count()));
        Ok(Written::new(lane, appended, self.buffer.times()))
    }

    pub(super) fn count(&self) -> u32 {
        self.buffer.count()
    }
}

/// At least as many bytes as the record can take in a batch: what it holds and, for each length
/// and number, the longest form the format has.
#[inline]
pub(super) fn size_bound(record: &Record<'_>) -> usize {
    const NUMBERS: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
    const HEADER_NUMBERS: usize = 5 + 5;
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let mut bound = NUMBERS + len(record.key_bytes()) + len(record.value());
    for header in record.headers() {
        bound += HEADER_NUMBERS + header.name().len() + len(header.value());
    }
    bound
}
