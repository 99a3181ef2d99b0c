//! Appending: under the writer lock, number the batch, roll if due, store it, publish it.
//!
//! A batch arrives measured and checked; what is left under the lock is arithmetic, the store into
//! the tail and, rarely, a roll. A failure before the store leaves the log as it was. A failure
//! that leaves bytes in doubt, or a panic on the way, latches the log: no later append may build
//! on it. Whoever maintains the log is told after the lock is free.

use super::claims::Admitted;
use super::core::{Lead, PartitionLog, Writer, tail_limits};
use super::counting::Count;
use super::directory;
use super::producers::{Original, ProducedBatch};
use crate::disk::Near;
use crate::disk::latch::Latch;
use crate::disk::names::SegmentFile;
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{LeaderEpoch, Offset, Sequence};
use crate::record::{AppendBatch, ProducerClaim, ProducerStamp, Stamp};
use crate::segment::{Indexer, Segment, Tail};
use crate::sync::atomic::Ordering;
use crate::time::Timestamp;
use std::sync::Arc;

/// Where a batch went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) base_offset: Offset,
    /// One past the batch's last record.
    pub(crate) end_offset: Offset,
    pub(crate) epoch: LeaderEpoch,
    /// The count of bytes that the log had joined before.
    pub(crate) count: Count,
    /// The first record's, where it is an idempotent producer's.
    pub(crate) sequence: Option<Sequence>,
    /// It was there before; nothing was written.
    pub(crate) is_duplicate: bool,
    /// Somebody may wait for it.
    pub(crate) is_awaited: bool,
    /// Where the next one is expected to be stored.
    pub(crate) next: Near,
    /// The largest timestamp of the batch that was there before.
    original_timestamp: Option<Timestamp>,
}

impl Appended {
    /// The largest timestamp in the log, of a batch that was sent with `sent`.
    #[inline]
    pub(crate) fn timestamp(&self, sent: Option<Timestamp>) -> Option<Timestamp> {
        if self.is_duplicate { self.original_timestamp } else { sent }
    }
}

/// Held while the writer's state is changed, and forgotten at the end: dropped by a panic on the
/// way, it latches the log. Made behind the lock, so that it goes before that does.
struct Unfinished<'a>(&'a Latch);

impl Drop for Unfinished<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.trip(&Error::new("append", Cause::Panicked("an append")));
    }
}

/// One past the last offset that a batch will have.
#[inline]
fn end_of<B: AppendBatch>(writer: &Writer, batch: &B) -> Result<Offset> {
    let count = i64::from(batch.count());
    let end = writer.next_offset.checked_add(count).filter(|_| count > 0);
    end.ok_or_else(|| no_offsets(writer.next_offset))
}

#[cold]
fn no_offsets(base: Offset) -> Error {
    let why = "the partition has no offsets left for it".to_owned();
    Error::new("append", Cause::InvalidArgument(why)).at_offset(base)
}

impl PartitionLog {
    /// Appends one batch, all of it or nothing. Returns once readers can see it and `kill -9`
    /// cannot take it.
    #[inline(always)] // see `producer::walk`
    pub(crate) fn append<B: AppendBatch>(&self, batch: &B, now: Timestamp) -> Result<Appended> {
        // no closure, which would be a body of code of its own
        let mut writer = self.writer.lock();
        let unfinished = Unfinished(&self.latch);
        let rolled = writer.rolled.len();
        if let Some(tail) = &writer.tail {
            tail.fetch_near();
        }
        let appended = match writer.lead {
            Lead::Itself | Lead::Leads => self.append_locked(&mut writer, batch, now),
            Lead::Follows => Err(Error::new("append", Cause::NotLeader)),
        };
        let rolled = writer.rolled.len() > rolled;
        std::mem::forget(unfinished); // and nothing else before the lock goes
        drop(writer);
        match appended {
            Ok(appended) => {
                self.tell_appended(rolled);
                Ok(appended)
            }
            Err(error) => Err(self.not_appended(error)),
        }
    }

    /// Fails where every append would: the log is poisoned or closed, or it follows.
    pub(crate) fn check_appends(&self) -> Result<()> {
        let writer = self.writer.lock();
        let leads = match writer.lead {
            Lead::Itself | Lead::Leads => Ok(()),
            Lead::Follows => Err(Error::new("append", Cause::NotLeader)),
        };
        leads.and_then(|()| self.check_takes(&writer)).map_err(|error| self.named(error))
    }

    /// Runs `append` under the writer lock; the maintainer is told after that.
    pub(super) fn appending<T>(&self, append: impl FnOnce(&mut Writer) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock();
        let unfinished = Unfinished(&self.latch);
        let rolled = writer.rolled.len();
        let appended = append(&mut writer);
        let rolled = writer.rolled.len() > rolled;
        std::mem::forget(unfinished);
        drop(writer);
        let appended = appended.map_err(|error| self.not_appended(error))?;
        self.tell_appended(rolled);
        Ok(appended)
    }

    /// The maintainer is told what it has to know of an append.
    #[inline(always)] // see `producer::walk`
    fn tell_appended(&self, rolled: bool) {
        if rolled || self.marks.are_reached(self.counters.appended_bytes()) {
            self.call_attention(rolled);
        }
    }

    #[cold]
    fn not_appended(&self, error: Error) -> Error {
        self.counters.failed_appends.add(1);
        self.named(error)
    }

    #[inline(always)] // see `producer::walk`
    pub(super) fn check_takes(&self, writer: &Writer) -> Result<()> {
        self.latch.check("append")?;
        match &writer.refuses {
            Some(refusal) => Err(refusal.error("append")),
            None => Ok(()),
        }
    }

    #[inline(always)] // see `producer::walk`
    pub(super) fn append_locked<B: AppendBatch>(
        &self,
        writer: &mut Writer,
        batch: &B,
        now: Timestamp,
    ) -> Result<Appended> {
        self.check_takes(writer)?;
        match batch.claim() {
            None => self.append_admitted(writer, batch, None, now),
            Some(claim) => self.append_claimed(writer, batch, claim, now),
        }
    }

    /// Appends a batch of a producer that numbers its records, if it is to be appended.
    #[inline(never)]
    fn append_claimed<B: AppendBatch>(
        &self,
        writer: &mut Writer,
        batch: &B,
        claim: ProducerClaim,
        now: Timestamp,
    ) -> Result<Appended> {
        end_of(writer, batch)?;
        match self.admit(writer, batch, claim, now)? {
            Admitted::New(produced, stamp) => {
                self.append_admitted(writer, batch, Some((&produced, stamp)), now)
            }
            Admitted::Duplicate(original, sequence) => {
                Ok(self.appended_before(writer, original, sequence))
            }
        }
    }

    #[inline(always)] // see `producer::walk`
    fn append_admitted<B: AppendBatch>(
        &self,
        writer: &mut Writer,
        batch: &B,
        produced: Option<(&ProducedBatch, ProducerStamp)>,
        now: Timestamp,
    ) -> Result<Appended> {
        let base_offset = writer.next_offset;
        let end_offset = end_of(writer, batch)?;
        let last_offset = Offset::new(end_offset.get() - 1);
        let due = match &writer.tail {
            Some(tail) => tail.is_due(batch, last_offset, now),
            None => true,
        };
        if due || writer.tail.as_ref().is_some_and(Tail::is_empty) {
            self.check_fits_segment(batch.size())?;
        }
        if due {
            self.roll(writer, now)?;
        }
        let Some(tail) = &mut writer.tail else {
            return Err(Error::new("append", Cause::Closed("the log")));
        };
        let epoch = writer.epoch;
        let producer = produced.map(|(_, stamp)| stamp);
        let stamp = Stamp { base_offset, leader_epoch: epoch, producer };
        if let Err(error) = tail.append(batch, stamp, last_offset) {
            if error.outcome() != Outcome::NotWritten {
                self.latch.trip(&error);
            }
            return Err(error);
        }
        let next = tail.next_near();
        if !writer.epoch_entered {
            self.epochs.lock().assign(epoch, base_offset);
            writer.epoch_entered = true;
        }
        if let Some((produced, _)) = produced {
            self.note_produced(writer, produced, now);
        }
        writer.next_offset = end_offset;
        self.offsets.set_end(end_offset);
        if producer.is_some_and(|stamp| stamp.transactional) {
            self.settle_transactions(writer);
        }
        self.count_appended(batch);
        Ok(Appended {
            base_offset,
            end_offset,
            epoch,
            count: writer.count,
            sequence: producer.and_then(|stamp| stamp.first),
            is_duplicate: false,
            is_awaited: writer.announces,
            next,
            original_timestamp: None,
        })
    }

    #[inline]
    pub(super) fn count_appended<B: AppendBatch>(&self, batch: &B) {
        self.counters.appended(u64::from(batch.count()), batch.size() as u64);
    }

    /// What is known of a batch that lies in the log already.
    #[cold]
    fn appended_before(
        &self,
        writer: &Writer,
        first: Original,
        sequence: Option<Sequence>,
    ) -> Appended {
        Appended {
            base_offset: first.first_offset,
            end_offset: first.last_offset.next(),
            epoch: self.epoch_at(first.first_offset).unwrap_or(writer.epoch),
            count: writer.count,
            sequence,
            is_duplicate: true,
            is_awaited: false, // nothing has changed
            next: Near::default(),
            original_timestamp: first.timestamp,
        }
    }

    /// A batch goes whole into one segment. Asked of the first batch of each: a segment in use is
    /// rolled before one that it has no room for.
    #[cold]
    fn check_fits_segment(&self, size: usize) -> Result<()> {
        let limit = self.config.load().segment_bytes;
        let size = size as u64;
        if size <= limit {
            return Ok(());
        }
        let what = "the batch, which must fit into one segment,";
        Err(Error::new("append", Cause::TooLarge { what, size, limit }))
    }

    /// Begins a new active segment at the log's end. The old one is sealed later: nothing slow
    /// happens under the writer lock.
    #[cold]
    pub(super) fn roll(&self, writer: &mut Writer, now: Timestamp) -> Result<()> {
        self.roll_at(writer, writer.next_offset, now)
    }

    /// The same where the next batch begins at `base`, which may lie behind a gap.
    pub(super) fn roll_at(&self, writer: &mut Writer, base: Offset, now: Timestamp) -> Result<()> {
        let mut is_new = false;
        if self.segments.load().is_empty() {
            is_new = directory::make(&self.place, self.setup.id.topic)?;
            self.metadata_unsynced.store(true, Ordering::Release);
            self.own_name_changed.store(true, Ordering::Release);
        }
        let (segment, tail) = self.new_tail(base, now, is_new).inspect_err(|_| {
            // the old segment goes on: a file that says it ended here must not be found later
            let path = self.place.path(base, SegmentFile::Log);
            if self.segments.load().iter().all(|known| known.base() != base) {
                let _ = self.place.disk.remove_file(&path);
            }
        })?;
        let old = writer.tail.replace(tail).map(Tail::finish);
        let mut list = Vec::clone(&self.segments.load());
        list.retain(|known| known.base() != base); // an empty one is made anew
        list.push(segment);
        self.names_changed.store(true, Ordering::Release);
        self.segments.store(Arc::new(list));
        if let Some(old) = old {
            self.counters.rolls.add(1);
            if old.base() != base {
                // so that a kill leaves zeros behind the last segment only: Kafka's recovery drops
                // every segment behind such an end. Where it fails, sealing does it
                if let Err(error) = old.trim() {
                    log::debug!("{error}");
                }
                writer.rolled.push(old);
                if let Some(tracked) = &mut writer.producers {
                    tracked.take_snapshot(base);
                }
            }
        }
        Ok(())
    }

    fn new_tail(&self, base: Offset, now: Timestamp, is_new: bool) -> Result<(Arc<Segment>, Tail)> {
        let create = if is_new { Segment::create_unsearched } else { Segment::create };
        let segment = Arc::new(create(self.place.clone(), base)?);
        let config = self.config.load();
        let indexer = Indexer::new(base, config.index_interval_bytes);
        let limits = tail_limits(&config);
        let tail = Tail::new(segment.clone(), indexer, None, limits, now)?;
        Ok((segment, tail))
    }

    /// Tells the maintainer what changed, outside every lock.
    #[cold]
    fn call_attention(&self, rolled: bool) {
        let attention = &self.setup.attention;
        let reached = self.marks.reach(self.counters.appended_bytes());
        if reached.dirty {
            attention.dirty(self.config.load().flush_interval);
        }
        if rolled || reached.due {
            attention.due();
        }
    }
}
