//! Going on behind damage: only where an index entry or a digest names the place.
//!
//! A value may hold a whole forged batch, so that what merely looks like one proves nothing. An
//! index entry names a batch by its place and its last offset; digests that fit vouch for every
//! length in their run, and so for the place of each batch in it, whatever became of the bodies.

use bytes::Bytes;

use super::digest::{OpenHeader, Run};
use super::index_file::Found;
use super::locate::Fitness;
use super::scan::{Walk, WalkStep};
use super::shared::Segment;
use crate::error::Result;
use crate::ids::Offset;
use crate::record::BatchHeader;

impl Segment {
    /// The first offset above `offset` at which reading may go on behind damage. `None` where
    /// this segment vouches for none below `bound`, where the next one begins.
    pub(crate) fn resume_above(&self, offset: Offset, bound: Offset) -> Result<Option<Offset>> {
        Ok(self.resume_behind(offset, None, bound)?.map(|(_, resume)| resume))
    }

    /// The place and base offset of the first batch above `offset`, and behind `damaged` if that
    /// is given, that is named and whole. One that would reach beyond `bound` is not where it was:
    /// an index that was made again names it all the same.
    pub(super) fn resume_behind(
        &self,
        offset: Offset,
        damaged: Option<u64>,
        bound: Offset,
    ) -> Result<Option<(u64, Offset)>> {
        let fits =
            |header: &BatchHeader| header.base_offset() > offset && header.end_offset() <= bound;
        let indexed = self.indexed_behind(offset, damaged, fits)?;
        let digested = self.digested_behind(offset, damaged, fits)?;
        Ok(indexed.into_iter().chain(digested).min())
    }

    fn indexed_behind(
        &self,
        offset: Offset,
        damaged: Option<u64>,
        fits: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<(u64, Offset)>> {
        let mut relative = self.relative_floor(offset).unwrap_or(0);
        let source = self.index_files_as_they_are()?;
        while let Some(source) = &source
            && let (_, Found::Entry(entry)) = source.offsets_around(relative)?
        {
            let position = u64::from(entry.position);
            if damaged.is_none_or(|damaged| position > damaged)
                && let Some(header) = self.whole_batch(position, self.published())?
            {
                let named = self.base().checked_add(i64::from(entry.relative));
                let is_named = named == Some(header.last_offset());
                if is_named && fits(&header) && self.is_vouched(position)? {
                    return Ok(Some((position, header.base_offset())));
                }
            }
            relative = entry.relative;
        }
        Ok(None)
    }

    fn digested_behind(
        &self,
        offset: Offset,
        damaged: Option<u64>,
        fits: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<(u64, Offset)>> {
        let Some(sidecar) = self.sidecar()? else { return Ok(None) };
        let relative = self.relative_floor(offset).unwrap_or(0);
        for run in sidecar.runs_beyond(relative) {
            let run = run?;
            if damaged.is_some_and(|damaged| u64::from(run.end) <= damaged) {
                continue;
            }
            for (position, end) in self.vouched_places(&run)? {
                if damaged.is_none_or(|damaged| position > damaged)
                    && let Some(header) = self.whole_batch(position, end)?
                    && fits(&header)
                {
                    return Ok(Some((position, header.base_offset())));
                }
            }
        }
        Ok(None)
    }

    /// Where to go on behind damage to find `offset`: the place of a batch at or before its own
    /// that the index or digests name.
    pub(super) fn named_place_of(&self, offset: Offset) -> Result<Option<u64>> {
        let Some(relative) = self.relative_floor(offset) else { return Ok(None) };
        if let (_, Found::Entry(entry)) = self.index_files()?.offsets_around(relative)? {
            let position = u64::from(entry.position);
            if let Some(header) = self.whole_batch(position, self.published())?
                && header.base_offset() <= offset
                && offset <= header.last_offset()
                && self.is_vouched(position)?
            {
                return Ok(Some(position));
            }
        }
        let Some(sidecar) = self.sidecar()? else { return Ok(None) };
        let run = sidecar.runs_beyond(relative).next().transpose()?;
        let places = match run.filter(|run| run.first <= relative) {
            Some(run) => self.vouched_places(&run)?,
            None => return Ok(None),
        };
        for (position, end) in places {
            // how many offsets a header says it has counts only if its batch is whole
            if let Some(header) = self.whole_batch(position, end)?
                && header.base_offset() <= offset
                && offset <= header.last_offset()
            {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// The place of a batch at or before the one with `offset`, by the digests alone.
    pub(super) fn digested_before(&self, offset: Offset) -> Result<u64> {
        let Some(relative) = self.relative_floor(offset) else { return Ok(0) };
        let Some(sidecar) = self.sidecar()? else { return Ok(0) };
        let run = sidecar.runs_beyond(relative).next().transpose()?;
        Ok(run.filter(|run| run.first <= relative).map_or(0, |run| u64::from(run.start)))
    }

    /// An offset above `damaged` that who asks for it may get, where what was asked for cannot be
    /// read for what lies at `position`: that of the batch there, or the next one's as far as this
    /// one's header says where that begins.
    pub(crate) fn led_behind(&self, damaged: Offset, position: u64) -> Result<Option<Offset>> {
        if let Some(misfit) = self.misfit_in(position, position + 1, (0, &Bytes::new()))? {
            return Ok(Some(misfit.offsets.end));
        }
        let header = |position: u64| {
            let end = self.published().min(position.saturating_add(BatchHeader::LEN as u64));
            if position >= end {
                return Ok(None);
            }
            let left = usize::try_from(self.published() - position).unwrap_or(usize::MAX);
            match self.bytes(position, end) {
                Err(error) if error.is_corrupt() => Ok(None),
                bytes => Ok(BatchHeader::parse(&bytes?, left).ok()),
            }
        };
        let Some(first) = header(position)? else { return Ok(None) };
        if first.base_offset() > damaged {
            return Ok(Some(first.base_offset()));
        }
        let next = header(position + first.size() as u64)?;
        Ok(next.map(|next| next.base_offset()))
    }

    /// Whether nothing speaks against the header of the batch at `position`.
    fn is_vouched(&self, position: u64) -> Result<bool> {
        match self.vouch(position, position + 1) {
            Ok(()) => Ok(true),
            Err(error) if error.is_corrupt() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The header of the batch at `position`, if that is whole.
    fn whole_batch(&self, position: u64, end: u64) -> Result<Option<BatchHeader>> {
        let file = self.log()?;
        let mut walk = Walk::new(&**file, position, end);
        match walk.step()? {
            WalkStep::Batch(_, batch) => Ok(Some(*batch.header())),
            _ => Ok(None),
        }
    }

    /// Where each batch of a run begins and ends whose header is what it was.
    fn vouched_places(&self, run: &Run) -> Result<Vec<(u64, u64)>> {
        match self.fitness(run, (0, &Bytes::new()))? {
            Fitness::But { damaged, mut places, .. } => {
                places.retain(|place| *place != damaged);
                return Ok(places);
            }
            Fitness::None => return Ok(Vec::new()),
            Fitness::Whole => {}
        }
        let mut places = Vec::new();
        let (mut position, end) = (u64::from(run.start), u64::from(run.end));
        while position < end {
            let head = self.bytes(position, end.min(position + BatchHeader::LEN as u64))?;
            let Some(size) = OpenHeader::of(&head).and_then(|header| header.size()) else { break };
            places.push((position, position + size));
            position += size;
        }
        Ok(places)
    }
}
