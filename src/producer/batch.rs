//! A batch that lingers, and the promise that comes with it.
//!
//! Every record in it shares one [`Ticket`], which its `Pending`s wait for. The [`Promise`] is the
//! other end: whoever takes a batch on its way to the log keeps it with the outcome. One that is
//! dropped instead, which takes a panic of ours, fails its waiters rather than leave them.
//!
//! What every record would have to ask anew or make for itself is there before it comes: an open
//! batch knows up to where it takes more with no question ([`Known`]), and a batch that has been
//! written leaves memory and shares in a new ticket behind for the next ([`Spare`]).

use std::sync::{Arc, Weak};

use super::builder::Settings;
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
use crate::record::{
    AppendBatch, BatchBuffer, BatchRules, Produced, ProducerClaim, Record, Times, TimestampRule,
};
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

/// A ticket, and shares in it for records to come.
#[derive(Debug)]
struct Tickets {
    ticket: SharedArc<Ticket>,
    shares: Vec<SharedArc<Ticket>>,
}

impl Tickets {
    /// With shares for so many records, which lie in `memory`. To make one is an exchange on
    /// memory that threads share, so it is done beforehand, by who wrote the last batch: mostly
    /// not who fills the next.
    fn new(records: u32, mut memory: Vec<SharedArc<Ticket>>, helped: Helped) -> Self {
        let ticket = SharedArc::new(Ticket::about(helped));
        memory.clear();
        let shares = usize::try_from(records).unwrap_or(usize::MAX).min(MOST_SHARES);
        memory.reserve_exact(shares);
        memory.extend(std::iter::repeat_n(&ticket, shares).cloned());
        Tickets { ticket, shares: memory }
    }
}

/// The duty to end a ticket.
#[derive(Debug)]
pub(super) struct Promise(Option<Tickets>);

impl Promise {
    pub(super) fn ticket(&self) -> &SharedArc<Ticket> {
        &self.0.as_ref().expect("a promise has its ticket until it is kept").ticket
    }

    /// A share in the ticket for one record more.
    #[inline(always)] // see `linger`
    pub(super) fn share(&mut self) -> SharedArc<Ticket> {
        let ready = self.0.as_mut().and_then(|tickets| tickets.shares.pop());
        ready.unwrap_or_else(|| self.ticket().clone())
    }

    /// Gives the shares up that nobody took: no record comes any more.
    pub(super) fn leave_shares(&mut self) -> Vec<SharedArc<Ticket>> {
        self.0.as_mut().map(|tickets| std::mem::take(&mut tickets.shares)).unwrap_or_default()
    }

    /// Ends the ticket. Runs wakers: call it with no lock held.
    pub(super) fn keep(mut self, ending: Result<Written>) {
        if let Some(Tickets { ticket, .. }) = self.0.take() {
            ticket.complete(Arc::new(ending));
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(Tickets { ticket, .. }) = self.0.take() {
            let error = Error::new("append", Cause::Panicked("the flush of a producer"));
            ticket.complete(Arc::new(Err(error.with_outcome(Outcome::Unknown))));
        }
    }
}

/// An empty batch's memory and tickets, which a batch is begun with.
#[derive(Debug)]
pub(super) struct Spare {
    buffer: BatchBuffer,
    tickets: Tickets,
}

/// What a batch leaves behind that was written, or has failed.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) buffer: BatchBuffer,
    pub(super) shares: Vec<SharedArc<Ticket>>,
}

impl Spare {
    /// A first one.
    pub(super) fn new(capacity: usize, helped: Helped) -> Self {
        let tickets = Tickets::new(0, Vec::new(), helped);
        Spare { buffer: BatchBuffer::new(capacity), tickets }
    }

    /// Of what a batch left behind. The next is likely to have as many records.
    pub(super) fn of(Left { mut buffer, shares }: Left, helped: Helped) -> Self {
        let tickets = Tickets::new(buffer.count(), shares, helped);
        buffer.clear();
        Spare { buffer, tickets }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

/// What a topic asks of records.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) rules: BatchRules,
    /// Of the rules: while the log shows the same, it asks for the same.
    pub(super) version: u64,
}

/// What a batch has looked at beforehand: a record that stays within this is taken with no other
/// question.
#[derive(Debug)]
struct Known {
    timestamps: TimestampRule,
    /// Whether each record has to have a key.
    keyed: bool,
    /// How large the batch may become, and still not be full.
    bytes: usize,
    records: u32,
    /// Of the rules.
    version: u64,
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
    /// `None` until it holds a record.
    known: Option<Known>,
}

/// So many bytes beyond a record two lines are asked for, to be stored into: memory that is used
/// again was read by who appended it, mostly on another processor, which has its lines still.
const AHEAD: usize = 512;
/// At most so many shares are made beforehand; beyond them each record makes its own.
const MOST_SHARES: usize = 1024;

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
    pub(super) fn new(Spare { buffer, tickets }: Spare, most: usize, grant: Grant) -> Self {
        LingerBatch {
            buffer,
            most,
            grant,
            promise: Promise(Some(tickets)),
            durability: Durability::Process,
            due: None,
            known: None,
        }
    }

    /// Encodes a record behind the others, which takes `bound` bytes at most.
    pub(super) fn join(
        &mut self,
        (record, bound): (&Record<'_>, usize),
        asked: &Asked,
        settings: &Settings,
        durability: Durability,
    ) -> Result<Joined> {
        let needed = self.buffer.len() + bound;
        if needed > self.most && !self.buffer.is_empty() {
            return Ok(Joined::Full);
        }
        if !self.grant.covers(needed) {
            return Ok(Joined::NoRoom);
        }
        let Some(index) = self.buffer.try_push(record, &asked.rules)? else {
            return Ok(Joined::Full);
        };
        self.fetch_ahead();
        if durability == Durability::Power {
            self.durability = durability;
        }
        self.note_known(asked, settings);
        Ok(Joined::At(index))
    }

    /// What `join` would find of the next record, as long as it says yes.
    fn note_known(&mut self, asked: &Asked, settings: &Settings) {
        let Asked { rules, version } = asked;
        let most = [
            rules.max_bytes.min(i32::MAX as usize),
            self.most,
            self.grant.bytes(),
            self.buffer.capacity(),
            settings.batch_bytes.saturating_sub(1),
        ];
        self.known = Some(Known {
            timestamps: rules.timestamps,
            keyed: rules.keyed,
            bytes: most.into_iter().fold(usize::MAX, usize::min),
            records: settings.batch_records.saturating_sub(1),
            version: *version,
        });
    }

    /// [`join`](LingerBatch::join) where what is known says yes and leaves the batch open; `None`
    /// where that has to look.
    #[inline(always)] // see `linger`
    pub(super) fn join_known(
        &mut self,
        (record, now): (&Record<'_>, Timestamp),
        version: u64,
        durability: Durability,
    ) -> Option<u32> {
        let known = self.known.as_ref()?;
        let is_weaker = durability == Durability::Power && self.durability != durability;
        if version != known.version || self.buffer.count() >= known.records || is_weaker {
            return None;
        }
        if known.keyed && record.key_bytes().is_none() {
            return None;
        }
        let index = self.buffer.try_push_known(record, &known.timestamps.at(now), known.bytes)?;
        self.fetch_ahead();
        Some(index)
    }

    #[inline(always)] // see `linger`
    fn fetch_ahead(&self) {
        if let Some(ahead) = self.buffer.room().get(AHEAD..) {
            Near::of(ahead).fetch_to_write();
            Near::of(ahead).plus(Near::LINE).fetch_to_write();
        }
    }

    /// What an empty batch was begun with: nobody has a share in its ticket.
    pub(super) fn discard(mut self) -> Option<Spare> {
        debug_assert!(self.buffer.is_empty(), "records are not dropped");
        let tickets = self.promise.0.take()?;
        Some(Spare { buffer: self.buffer, tickets })
    }

    /// Appends it. Durability is not waited for, and nobody is woken yet.
    pub(super) fn append_to(
        &mut self,
        core: &Core,
        lane: &Lane,
        now: Timestamp,
    ) -> Result<Written> {
        let partition = lane.partition();
        let Asked { rules, .. } = core.asked(partition, now)?;
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Packing;

    #[test]
    fn a_batch_leaves_shares_for_as_many_records_as_it_had_and_not_without_end() {
        for (records, shares) in [(0, 0), (3, 3), (5_000, MOST_SHARES)] {
            let mut buffer = BatchBuffer::new(0);
            let rules = BatchRules {
                timestamps: TimestampRule::Append { now: Timestamp::from_millis(5) },
                max_bytes: 1 << 20,
                keyed: false,
                packing: Packing::default(),
                tagged: false,
            };
            for _ in 0..records {
                assert!(buffer.try_push(&Record::new("v"), &rules).unwrap().is_some());
            }
            let left = Left { buffer, shares: Tickets::new(7, Vec::new(), None).shares };
            let spare = Spare::of(left, None);
            let Tickets { ticket, shares: made } = &spare.tickets;
            assert_eq!(made.len(), shares);
            assert!(made.iter().all(|share| SharedArc::ptr_eq(share, ticket)), "in a new ticket");
            assert!(spare.buffer.is_empty());
        }
    }

    #[test]
    fn shares_that_are_ready_are_taken_first_and_left_when_no_record_comes() {
        let mut promise = Promise(Some(Tickets::new(2, Vec::new(), None)));
        let count = |promise: &Promise| SharedArc::strong_count(promise.ticket());
        let taken: Vec<_> = (0..2).map(|_| promise.share()).collect();
        assert_eq!(count(&promise), 3, "none was made");
        let own = promise.share();
        assert_eq!(count(&promise), 4);
        assert!(taken.iter().chain([&own]).all(|it| SharedArc::ptr_eq(it, promise.ticket())));
        let mut promise = Promise(Some(Tickets::new(2, Vec::new(), None)));
        let _taken = promise.share();
        assert_eq!(promise.leave_shares().len(), 1);
        assert_eq!(count(&promise), 2);
    }
}
