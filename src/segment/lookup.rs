//! Finding and reading batches in one segment: by offset, by timestamp, behind damage.
//!
//! An index entry only says where to begin: the batch it points to is checked, and an index that
//! points wrong is made again. What is handed up is whole batches whose CRC, offsets and epochs
//! have been checked; bytes that fail are an error that names their place.

use std::path::Path;

use bytes::Bytes;

use super::index::{OffsetEntry, TimeEntry, relative};
use super::index_file::Found;
use super::region::Region;
use super::scan::{Walk, WalkStep, misfit};
use super::shared::Segment;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::record::{Batch, BatchFault, BatchHeader, PlainLimit, Sound, len_before};
use crate::time::Timestamp;

/// How far a search for an offset reads at a time: what lies between two index entries by default.
const SEARCHED: usize = 4096;
/// A record that is asked for is taken to be this large at least, before one was seen.
const LEAST_RECORD: usize = 64;

/// How much a read may return. One whole batch is always returned, however large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    /// Soft: whole batches are returned until it is reached.
    pub(crate) records: u64,
    /// No batch that reaches this offset is returned.
    pub(crate) bound: Offset,
    /// The offset from which on none may be left out; `None` where any may.
    pub(crate) gapless_from: Option<Offset>,
}

impl Limits {
    /// How many bytes may be returned of records that take `each`.
    fn may_take(&self, each: usize) -> usize {
        let records = usize::try_from(self.records).unwrap_or(usize::MAX);
        self.bytes.min(records.saturating_mul(each))
    }
}

/// Whole, checked batches as they lie in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// Where the first batch's offsets begin.
    pub(crate) first_offset: Offset,
    /// Where the batch after the last one begins.
    pub(crate) next_position: u64,
    /// The offset after the last one.
    pub(crate) next_offset: Offset,
    /// What was found of their records on the way, if every one can be lent as it lies.
    pub(crate) sound: Option<Sound>,
}

impl Chunk {
    /// The header of each batch, with the position at which that begins.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (u64, BatchHeader)> {
        let mut bytes = &self.bytes[..];
        std::iter::from_fn(move || {
            let header = BatchHeader::parse(bytes, bytes.len()).ok()?;
            let position = self.next_position - bytes.len() as u64;
            bytes = &bytes[header.size()..];
            Some((position, header))
        })
    }
}

impl Segment {
    /// Reads whole batches from the one that holds `from`, or the first above it. `hint` is a
    /// position this segment gave out as the place of `from`. `None` where nothing lies between
    /// `from` and the bound in this segment.
    pub(crate) fn read(
        &self,
        from: Offset,
        hint: Option<u64>,
        limits: Limits,
    ) -> Result<Option<Chunk>> {
        let (mut position, mut region) = match hint {
            Some(hint) => (hint, Region::empty()),
            None => self.place_before(from)?,
        };
        let mut ahead = match hint {
            Some(_) if limits.may_take(LEAST_RECORD) >= limits.bytes => limits.bytes.max(SEARCHED),
            _ => SEARCHED,
        };
        loop {
            match self.read_at((position, region), from, limits, ahead) {
                // damage on the way, be it in what says how far a batch reaches: what lies behind
                // it may still be named as what is wanted
                Err(error) if error.is_corrupt() => match self.named_place_of(from)? {
                    Some(named) if named > position => {
                        (position, region, ahead) = (named, Region::empty(), limits.bytes);
                    }
                    _ => return Err(error),
                },
                read => return read,
            }
        }
    }

    /// Reads from the batch at or behind `position` that holds `from`, or lies above it. While it
    /// looks for that one it reads `ahead` bytes at a time, where it lacks them in `region`.
    fn read_at(
        &self,
        (mut position, mut region): (u64, Region),
        from: Offset,
        limits: Limits,
        ahead: usize,
    ) -> Result<Option<Chunk>> {
        let published = self.published();
        let (wanted, mut in_doubt) = (from.min(limits.bound), false);
        let first_offset = loop {
            if position >= published {
                return Ok(None);
            }
            region.cover(self, position, BatchHeader::LEN, ahead, published)?;
            if !in_doubt {
                let passed = self.pass_over(&region, position, wanted);
                position += passed.unwrap_or(0);
                in_doubt = passed.is_none();
                if passed > Some(0) {
                    continue;
                }
            }
            let left = published - position;
            self.vouch_with(position, position + 1, (region.start, &region.bytes))?;
            let header = self.header_at(region.from(position), position, left, from)?;
            if header.base_offset() >= limits.bound {
                return Ok(None);
            }
            if header.last_offset() >= from {
                // as much as may be returned from here on, not from where the search began; who
                // wants few records gets by with what batches like this one take
                let each = header.size() / header.count().max(1) as usize + 1; // u32 fits
                let likely = limits.may_take(each);
                let ahead = limits.bytes.min(likely.saturating_add(likely / 4)).max(header.size());
                region.cover(self, position, likely.max(header.size()), ahead, published)?;
                if header.end_offset() > limits.bound {
                    // it says itself how far it reaches, which its checksum has to vouch for
                    let fail = |fault: BatchFault| self.unreadable(fault, position, from);
                    return Batch::verify(region.from(position)).map(|_| None).map_err(fail);
                }
                break header.base_offset();
            }
            position += header.size() as u64;
        };
        let first = (position, first_offset);
        let mut taken = self.collect(&region, first, from, limits, u64::MAX)?;
        let next_position = position + taken.bytes as u64;
        match self.misfit_in(position, next_position, (region.start, &region.bytes))? {
            None => {}
            // what lies before is handed out first; the next read meets it
            Some(misfit) if misfit.bytes.start > position => {
                taken = self.collect(&region, first, from, limits, misfit.bytes.start)?;
            }
            Some(misfit) => return Err(self.misfit_error(&misfit)),
        }
        Ok(Some(taken.into_chunk(region, first)))
    }

    /// Bytes of the batches from `position` on that lie before `wanted`, by a look at their headers
    /// alone. `None` where what a digest says of them has to be looked into.
    #[inline]
    fn pass_over(&self, region: &Region, position: u64, wanted: Offset) -> Option<u64> {
        let len = len_before(region.from(position), self.base(), wanted) as u64;
        let misfit = self.misfit_in(position, position + len, (region.start, &region.bytes));
        matches!(misfit, Ok(None)).then_some(len)
    }

    fn header_at(
        &self,
        bytes: &[u8],
        position: u64,
        left: u64,
        offset: Offset,
    ) -> Result<BatchHeader> {
        let limit = usize::try_from(left).unwrap_or(usize::MAX);
        let parsed = BatchHeader::parse(bytes, limit).and_then(|header| {
            // no checksum covers the offsets: a wrong one must not pass for one beyond a bound
            match misfit(&header, self.base(), self.base(), None) {
                Some(wrong) => Err(BatchFault::Header(wrong)),
                None => Ok(header),
            }
        });
        parsed.map_err(|fault| self.unreadable(fault, position, offset))
    }

    /// The error of bytes that are no batch.
    #[cold]
    pub(super) fn unreadable(&self, fault: BatchFault, position: u64, from: Offset) -> Error {
        let looked = match fault {
            BatchFault::Legacy { .. } => self.legacy_at(position),
            _ => Ok(None),
        };
        match looked {
            Ok(found) => {
                fault.looked_at(found).into_error("read", &self.path(), position, Some(from))
            }
            Err(error) => error,
        }
    }

    /// Where a batch begins that lies at or before the one with `offset`.
    pub(super) fn position_before(&self, offset: Offset) -> Result<u64> {
        Ok(self.place_before(offset)?.0)
    }

    /// The same, with what was read there on the way.
    fn place_before(&self, offset: Offset) -> Result<(u64, Region)> {
        let at = |position: u64| (position, Region::empty());
        let Some(relative) = self.relative_floor(offset) else { return Ok(at(0)) };
        let source = self.index_files()?;
        match source.offsets_around(relative)?.0 {
            Found::Nothing => return Ok(at(0)),
            Found::Entry(entry) => match self.fitting(entry, offset)? {
                Some(region) => return Ok((region.start, region)),
                // it was taken over from a file that was damaged, and is the writer's
                None if source.is_memory() => return Ok(at(self.digested_before(offset)?)),
                None => {}
            },
            Found::Unusable => {}
        }
        let index = self.rebuild_indexes()?;
        Ok(at(index.floor_offset(relative).map_or(0, |entry| u64::from(entry.position))))
    }

    /// Whether `last`, the last entry of a time index, is true, and no record behind it in reach
    /// of the offset index says otherwise: a time index that lost its end says too little.
    pub(super) fn is_newest(&self, last: TimeEntry) -> Result<bool> {
        let named = self.base().checked_add(i64::from(last.relative)).unwrap_or(self.base());
        if !self.time_entry_fits(named, last.timestamp)? {
            return Ok(false);
        }
        let position = self.position_before(Offset::new(i64::MAX))?;
        let file = self.log()?;
        let mut walk = Walk::nearby(&**file, position, self.published());
        while let WalkStep::Batch(_, batch) = walk.step()? {
            if Timestamp::to_wire(batch.header().max_timestamp()) > last.timestamp {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The offset relative to the base; the largest one for offsets beyond it.
    pub(super) fn relative_floor(&self, offset: Offset) -> Option<u32> {
        if offset < self.base() {
            return None;
        }
        Some(relative(self.base(), offset).unwrap_or(i32::MAX.unsigned_abs()))
    }

    /// What lies where an entry points to, if the batch there begins at or before the offset that
    /// it names, and the one that is looked for.
    fn fitting(&self, entry: OffsetEntry, offset: Offset) -> Result<Option<Region>> {
        let (position, published) = (u64::from(entry.position), self.published());
        if position >= published {
            return Ok(None);
        }
        let mut region = Region::empty();
        region.cover(self, position, BatchHeader::LEN, SEARCHED, published)?;
        let left = usize::try_from(published - position).unwrap_or(usize::MAX);
        let parsed = BatchHeader::parse(&region.bytes, left);
        let fits = parsed.is_ok_and(|header| {
            (self.base()..=offset).contains(&header.base_offset())
                && relative(self.base(), header.base_offset())
                    .is_some_and(|first| first <= entry.relative)
        });
        Ok(fits.then_some(region))
    }

    /// The first record at or above `from` and below `bound` whose timestamp is at least
    /// `wanted`, as Kafka finds it: first by offset, not nearest in time.
    pub(crate) fn find_timestamp(
        &self,
        wanted: Timestamp,
        (from, bound): (Offset, Offset),
        plain: PlainLimit,
    ) -> Result<Option<(Offset, Timestamp)>> {
        let after = self.offset_before_timestamp(wanted)?.max(from);
        let position = self.position_before(after)?;
        let path = self.path();
        let file = self.log()?;
        let mut walk = Walk::nearby(&**file, position, self.published());
        loop {
            self.vouch(walk.position(), walk.position() + 1)?;
            let (position, batch) = match walk.step()? {
                WalkStep::Batch(position, batch) => (position, batch),
                WalkStep::End => return Ok(None),
                WalkStep::Bad(position, fault) => {
                    return Err(fault.into_error("look up timestamp", &path, position, None));
                }
            };
            let header = batch.header();
            if header.base_offset() >= bound {
                return Ok(None);
            }
            let late = header.max_timestamp().is_some_and(|newest| newest >= wanted);
            if !late || header.last_offset() < from {
                continue;
            }
            if let Some(found) = first_at_least(&batch, (wanted, from), plain, (&path, position))? {
                return Ok((found.0 < bound).then_some(found));
            }
        }
    }

    /// An offset before which no record is as late as `wanted`.
    fn offset_before_timestamp(&self, wanted: Timestamp) -> Result<Offset> {
        let source = self.index_files()?;
        let found = source.floor_time(wanted.as_millis())?;
        let offset_of =
            |relative: u32| self.base().checked_add(i64::from(relative)).unwrap_or(self.base());
        match found {
            Found::Nothing => return Ok(self.base()),
            Found::Entry(entry)
                if self.time_entry_fits(offset_of(entry.relative), entry.timestamp)? =>
            {
                return Ok(offset_of(entry.relative));
            }
            // it was taken over from a file that was damaged, and is the writer's
            Found::Entry(_) if source.is_memory() => return Ok(self.base()),
            Found::Entry(_) | Found::Unusable => {}
        }
        let index = self.rebuild_indexes()?;
        let entry = index.floor_time(wanted.as_millis());
        Ok(entry.map_or(self.base(), |entry| offset_of(entry.relative)))
    }

    /// Whether the batch that ends at `offset` has `timestamp` as its largest; one that
    /// compaction has emptied vouches for nothing and is believed.
    fn time_entry_fits(&self, offset: Offset, timestamp: i64) -> Result<bool> {
        let position = self.position_before(offset)?;
        let file = self.log()?;
        let mut walk = Walk::nearby(&**file, position, self.published());
        loop {
            let WalkStep::Batch(_, batch) = walk.step()? else { return Ok(false) };
            let header = batch.header();
            if header.last_offset() >= offset {
                let named = header.last_offset() == offset
                    && Timestamp::to_wire(header.max_timestamp()) == timestamp;
                return Ok(named || header.count() == 0);
            }
        }
    }
}

/// The first record of a batch that is late enough; a marker counts, as it does for Kafka.
pub(super) fn first_at_least(
    batch: &Batch<'_>,
    (wanted, from): (Timestamp, Offset),
    plain: PlainLimit,
    (path, position): (&Path, u64),
) -> Result<Option<(Offset, Timestamp)>> {
    let header = batch.header();
    if header.is_control() {
        return Ok(header.max_timestamp().map(|timestamp| (header.base_offset(), timestamp)));
    }
    let fail = |fault: BatchFault| {
        fault.into_error("look up timestamp", path, position, Some(header.base_offset()))
    };
    let mut room = Vec::new();
    let batch = batch.unpacked(&mut room, plain).map_err(fail)?;
    for record in batch.records().map_err(fail)? {
        let record = record.map_err(fail)?;
        match record.timestamp() {
            Some(timestamp) if timestamp >= wanted && record.offset() >= from => {
                return Ok(Some((record.offset(), timestamp)));
            }
            _ => {}
        }
    }
    Ok(None)
}
