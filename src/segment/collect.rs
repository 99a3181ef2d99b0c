//! Takes whole, checked batches out of bytes that were read.
//!
//! Nearly all batches are plain: they follow one another, lie within all limits, and each of their
//! records can be lent as it lies. `walk` goes over those in one loop that keeps a few numbers of
//! them. It says nothing of the first that is different: that one is looked at by itself, with one
//! rule after the other, and the walk goes on behind it. What is wrong with a batch, only this slow
//! look says.
//!
//! Called by `lookup`, which finds where to begin and reads the bytes; who reads at the end calls
//! `take_rest` at once.

use bytes::Bytes;

use super::lookup::{Chunk, Limits};
use super::region::Region;
use super::scan::{misfit, skips};
use super::shared::Segment;
use crate::disk::{Near, crc32c_of};
use crate::error::Result;
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{Batch, BatchFault, BatchHeader, Follows, Plain, Sound};

/// Of small batches the processor is asked for what lies so far ahead. It would guess that by
/// itself, but no further than to the end of the page.
const AHEAD: usize = 2048;

/// Larger ones are summed faster than they come.
const SMALL: usize = 768;

/// How much may be left of a segment for who would have all of it looked at once.
const REST: u64 = 4096;

/// All that a segment had left: whole, checked batches, each of whose records can be lent.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) bytes: Bytes,
    pub(crate) sound: Sound,
    /// Where the batch after the last one begins.
    pub(crate) end: u64,
}

/// What was taken so far.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) bytes: usize,
    next_offset: Offset,
    epoch: Option<LeaderEpoch>,
    records: u64,
    /// How many of them can be lent as they lie; `None` once some cannot.
    sound: Option<usize>,
}

impl Collected {
    /// Nothing; the first batch begins at `offset`.
    fn behind(offset: Offset) -> Self {
        Collected { bytes: 0, next_offset: offset, epoch: None, records: 0, sound: Some(0) }
    }

    /// All of it, with the bytes of the region that it was taken out of.
    pub(super) fn into_chunk(self, region: Region, (first, first_offset): (u64, Offset)) -> Chunk {
        let Collected { bytes, next_offset, epoch, sound, .. } = self;
        let next_position = first + bytes as u64;
        let bytes = region.into_bytes(first, bytes);
        let sound = sound.map(|records| Sound { records, first_offset, next_offset, epoch });
        Chunk { bytes, first_offset, next_position, next_offset, sound }
    }
}

impl Segment {
    /// All that a segment has from `position` on, where a batch begins, if that is little, in
    /// mapped memory, plain and within the limits: who reads at the end gets by with one look at
    /// each header. `None` says nothing about what lies there.
    #[inline(always)] // into who reads at the end: it is to touch little memory, code included
    pub(crate) fn take_rest(&self, position: u64, from: Offset, limits: Limits) -> Option<Rest> {
        let end = self.published();
        let most = (limits.bytes as u64).min(REST);
        if !(1..=most).contains(&end.saturating_sub(position)) {
            return None;
        }
        let bytes = self.mapped(position, end)?.ok()?;
        let first_offset = BatchHeader::base_offset_at(&bytes).filter(|first| *first >= from)?;
        let (mut taken, len) = (Collected::behind(first_offset), bytes.len());
        self.walk((&bytes, len), limits, len, &mut taken);
        let is_all = taken.bytes == len
            && matches!(self.misfit_in(position, end, (position, &bytes)), Ok(None));
        let Collected { next_offset, epoch, sound, .. } = taken;
        let records = sound.filter(|_| is_all)?;
        Some(Rest { bytes, sound: Sound { records, first_offset, next_offset, epoch }, end })
    }

    /// Takes whole batches out of a region that holds at least the first of them, which begins at
    /// `first` with `first_offset`, up to `end`.
    pub(super) fn collect(
        &self,
        region: &Region,
        (first, first_offset): (u64, Offset),
        from: Offset,
        limits: Limits,
        end: u64,
    ) -> Result<Collected> {
        let all = region.from(first);
        let before = |end: u64| usize::try_from(end.saturating_sub(first)).unwrap_or(usize::MAX);
        let (end, published) = (before(end), before(self.published()));
        let mut taken = Collected::behind(first_offset);
        loop {
            self.walk((all, published), limits, end, &mut taken);
            let left = all.get(taken.bytes..).unwrap_or(&[]);
            match self.step(left, limits, end, &mut taken) {
                Ok(true) => {}
                Ok(false) => break,
                // what lies before is handed out first; the next read meets the fault again
                Err(_) if taken.bytes > 0 => break,
                Err(fault) => return Err(self.unreadable(fault, first, from)),
            }
        }
        Ok(taken)
    }

    /// Takes plain batches, up to the first that is not, or may not be taken any more, out of
    /// `all`; so many bytes are published from there on.
    #[inline(always)]
    fn walk(
        &self,
        (all, published): (&[u8], usize),
        limits: Limits,
        end: usize,
        taken: &mut Collected,
    ) {
        let within = &all[..all.len().min(limits.bytes)];
        let end = end.min(within.len());
        let (mut at, mut next_offset, mut records) =
            (taken.bytes, taken.next_offset, taken.records);
        let mut leader_epoch = taken.epoch.map_or(-1, LeaderEpoch::get);
        let may_skip = limits.gapless_from.is_none();
        if next_offset < self.base() {
            return; // the slow look says what that is; from here on no offset falls behind this one
        }
        // no index names what lies further from the base
        let bound = limits.bound.min(Offset::new(self.base().get().saturating_add(1 << 31)));
        while at < end && records < limits.records {
            let follows = Follows { next_offset, may_skip, leader_epoch };
            let Some(batch) = Plain::at_front(&within[at..], follows, crc32c_of) else { break };
            let last = batch.last_offset;
            if last >= bound {
                break;
            }
            (next_offset, leader_epoch) = (last.next(), batch.leader_epoch);
            records += u64::from(batch.count);
            // not what is still to be written: the writer would have to ask for it back
            if at + AHEAD + batch.size <= published {
                let ahead = Near::of(&within[at..]).plus(AHEAD);
                if batch.size <= 3 * Near::LINE {
                    ahead.fetch_lines::<4>(); // without a loop; often they touch one more
                } else if batch.size < SMALL {
                    ahead.fetch_all(batch.size);
                }
            }
            at += batch.size;
        }
        let more = usize::try_from(records - taken.records).unwrap_or(usize::MAX);
        taken.sound = taken.sound.map(|sound| sound.saturating_add(more));
        (taken.bytes, taken.next_offset, taken.records) = (at, next_offset, records);
        taken.epoch = LeaderEpoch::from_wire(leader_epoch);
    }

    /// Takes one batch, whatever it is, from what is left; whether it did, and what is wrong.
    #[inline(never)]
    fn step(
        &self,
        left: &[u8],
        limits: Limits,
        end: usize,
        taken: &mut Collected,
    ) -> Result<bool, BatchFault> {
        let is_first = taken.bytes == 0;
        let wanted = is_first || (taken.bytes < limits.bytes && taken.records < limits.records);
        if left.len() < BatchHeader::LEN || !wanted || taken.bytes >= end {
            return Ok(false);
        }
        let batch = Batch::verify(left)?;
        let header = batch.header();
        let within = taken.bytes + header.size() <= limits.bytes || is_first;
        let gap = limits.gapless_from.is_some_and(|gapless_from| {
            !is_first && skips(header, taken.next_offset, gapless_from)
        });
        if header.end_offset() > limits.bound || !within || gap {
            return Ok(false);
        }
        if let Some(wrong) = misfit(header, self.base(), taken.next_offset, taken.epoch) {
            return Err(BatchFault::Header(wrong));
        }
        taken.next_offset = header.end_offset();
        taken.epoch = header.leader_epoch().max(taken.epoch);
        taken.records += u64::from(header.count());
        taken.bytes += header.size();
        let sound = taken.sound.zip(batch.sound_count());
        taken.sound = sound.map(|(sum, more)| sum + more as usize); // u32 fits
        Ok(true)
    }
}
