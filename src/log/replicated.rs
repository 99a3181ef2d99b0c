//! Taking a leader's batches as they are: the follower's append.
//!
//! Offsets, epochs and bytes stay what they are at the leader. All batches are checked before the
//! first is stored: format, checksum, counts and lengths, that offsets rise from the log's end on
//! and epochs never fall. Sequences are not checked, nor sizes: the leader has. Offsets may be left
//! out, as compaction at the leader leaves them; how far such gaps may reach is recorded, durably,
//! before the first batch behind one is there, so that recovery takes none of them for damage. That
//! sync is made without the writer lock, with truncation kept away: it would record less.
//!
//! Called by both doors, with the log's keeper.

use super::core::{Lead, PartitionLog, Writer};
use super::counting::Count;
use super::keeper::{Durable, FAR, Keeper, LogFact};
use super::replay::Whole;
use crate::error::{Cause, Error, Outcome, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{AppendBatch as _, Batch, BatchFault, Stamp};
use crate::segment::relative;
use crate::sync::RwLock;
use crate::time::Timestamp;

const OPERATION: &str = "append as follower";

/// Whole batches of a leader, in order, each fit to be appended behind the one before.
#[derive(Debug)]
pub(crate) struct LeaderBatches<'a> {
    batches: Vec<Batch<'a>>,
    size: usize,
}

/// What became of them.
#[derive(Debug)]
pub(crate) struct Followed {
    /// Where the log ends.
    pub(crate) end: Offset,
    /// Bytes that were appended.
    pub(crate) bytes: u64,
    pub(crate) count: Count,
    /// Why the rest was not: the disk failed.
    pub(crate) failure: Option<Error>,
}

impl<'a> LeaderBatches<'a> {
    /// Takes bytes apart and checks them; an error says where in them the fault is.
    pub(crate) fn check(bytes: &'a [u8]) -> Result<Self> {
        let mut batches: Vec<Batch<'a>> = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let fail = |error: Error| error.at_position(at as u64);
            let batch = check_batch(&bytes[at..])
                .map_err(|fault| fail(Error::new(OPERATION, fault.cause())))?;
            if let Some(before) = batches.last() {
                let (next, epoch) = (before.header().end_offset(), before.header().leader_epoch());
                check_order(&batch, next, epoch).map_err(fail)?;
            }
            at += batch.header().size();
            batches.push(batch);
        }
        Ok(LeaderBatches { batches, size: bytes.len() })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size as u64
    }

    /// One past the last gap, if there is any behind `end`.
    fn sparse_from(&self, end: Offset) -> Option<Offset> {
        let ends = self.batches.iter().map(|batch| batch.header().end_offset());
        let bases = self.batches.iter().map(|batch| batch.header().base_offset());
        let gaps = std::iter::once(end).chain(ends).zip(bases).filter(|(end, base)| end < base);
        gaps.last().map(|(_, base)| base)
    }
}

/// The batch at the front of `bytes`, checked as far as it can be without decompressing it.
fn check_batch(bytes: &[u8]) -> Result<Batch<'_>, BatchFault> {
    let batch = Batch::verify(bytes)?;
    let header = batch.header();
    if header.is_control() {
        batch.control()?;
    }
    if !batch.is_packed() {
        for record in batch.all_records()? {
            record?.check_headers()?;
        }
    }
    if header.count() == 0 && header.size() > crate::record::BatchHeader::LEN {
        return Err(BatchFault::Header("bytes of records, and a count of none"));
    }
    Ok(batch)
}

/// Whether a batch goes on where `next` says, under `epoch` or a later one.
fn check_order(batch: &Batch<'_>, next: Offset, epoch: Option<LeaderEpoch>) -> Result<()> {
    let header = batch.header();
    let base = header.base_offset();
    if base < next {
        let why = format!("a batch begins at {base}, and everything below {next} is there");
        return Err(Error::new(OPERATION, Cause::UnexpectedOffset(why)).at_offset(base));
    }
    match (header.leader_epoch(), epoch) {
        (Some(found), Some(least)) if found < least => {
            let cause = Cause::FencedLeaderEpoch { found, least };
            Err(Error::new(OPERATION, cause).at_offset(base))
        }
        _ => Ok(()),
    }
}

impl PartitionLog {
    /// Appends a leader's batches as they are; from now on this replica follows. Where the disk
    /// fails midway, those before are in the log. `points` is what a truncation holds for writing.
    pub(crate) fn append_as_follower(
        &self,
        batches: &LeaderBatches<'_>,
        now: Timestamp,
        (keeper, points): (&dyn Keeper, &RwLock<()>),
    ) -> Result<Followed> {
        loop {
            let followed = self.appending(|writer| {
                self.check_follows(writer, batches)?;
                match self.unrecorded(batches, writer.next_offset) {
                    Some(sparse) => Ok(Err(sparse)),
                    None => Ok(Ok(self.append_all(writer, batches, now))),
                }
            })?;
            match followed {
                Ok(followed) => return Ok(followed),
                Err(sparse) => self.record_gaps(sparse, keeper, points)?,
            }
        }
    }

    /// Whether batches of a leader are taken, and these go on at the log's end.
    fn check_follows(&self, writer: &mut Writer, batches: &LeaderBatches<'_>) -> Result<()> {
        self.check_takes(writer)?;
        self.check_host_leads(writer, OPERATION)?;
        writer.lead = Lead::Follows;
        let Some(first) = batches.batches.first() else { return Ok(()) };
        let latest = self.epochs.lock().latest();
        check_order(first, writer.next_offset, latest).map_err(|error| error.at_position(0))
    }

    fn append_all(
        &self,
        writer: &mut Writer,
        batches: &LeaderBatches<'_>,
        now: Timestamp,
    ) -> Followed {
        let (mut bytes, mut failure) = (0, None);
        for batch in &batches.batches {
            if let Err(error) = self.append_whole(writer, batch, now) {
                if error.outcome() != Outcome::NotWritten {
                    self.latch.trip(&error);
                }
                let offset = batch.header().base_offset();
                failure = Some(self.named(error.at_offset(offset)));
                break;
            }
            bytes += batch.header().size() as u64;
        }
        Followed { end: writer.next_offset, bytes, count: writer.count, failure }
    }

    /// How far batches leave out offsets behind `end`, where that is not recorded.
    fn unrecorded(&self, batches: &LeaderBatches<'_>, end: Offset) -> Option<Offset> {
        let sparse = batches.sparse_from(end).filter(|_| self.gapless)?;
        (sparse > self.offsets.sparse()).then_some(sparse)
    }

    /// Offsets that are left out are recorded as such before what lies behind them is there.
    fn record_gaps(&self, sparse: Offset, keeper: &dyn Keeper, points: &RwLock<()>) -> Result<()> {
        let _no_truncation = points.read();
        let recorded = keeper.record(&[(self.setup.id, LogFact::Sparse(sparse))], Durable::Now);
        recorded.map_err(|error| self.named(error))?;
        self.offsets.raise_sparse(sparse);
        Ok(())
    }

    fn append_whole(&self, writer: &mut Writer, batch: &Batch<'_>, now: Timestamp) -> Result<()> {
        let header = batch.header();
        let (base, last) = (header.base_offset(), header.last_offset());
        let whole = Whole(*batch);
        if self.segments.load().is_empty() {
            self.roll(writer, now)?; // the first segment of a log begins where the log does
        }
        if writer.tail.as_ref().is_none_or(|tail| tail.is_due(&whole, last, now)) {
            // where the one before it ends, if that is in reach: what is missing between two
            // segments is then known to be lost
            let is_far = base.since(writer.next_offset) >= FAR;
            let reaches = relative(writer.next_offset, last).is_some() && !is_far;
            self.roll_at(writer, if reaches { writer.next_offset } else { base }, now)?;
        }
        let Some(tail) = &mut writer.tail else {
            return Err(Error::new(OPERATION, Cause::Closed("the log")));
        };
        if tail.is_empty() {
            tail.make_room(whole.size() as u64); // a leader's batch may be larger than a segment
        }
        let epoch = header.leader_epoch().unwrap_or(writer.epoch);
        let stamp = Stamp { base_offset: base, leader_epoch: epoch, producer: None };
        tail.append(&whole, stamp, last)?;
        self.published(writer, batch, now);
        self.count_appended(&whole);
        Ok(())
    }
}
