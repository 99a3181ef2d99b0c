//! Who vouches for a batch that is about to be written again elsewhere.
//!
//! A digest is worth what was known when it was taken. Of a batch whose writer's digest fits, the
//! new digest says as much as the old one did; of any other (another hand's, one without a digest,
//! one whose digest was taken from the file later) it says no more than "so it was in the file":
//! else a header that had changed before would pass for one that was written so.
//!
//! Asked by compaction and by repair, batch by batch, in order.

use bytes::Bytes;

use super::digest::Origin;
use super::locate::Fitness;
use super::shared::Segment;
use crate::error::Result;

/// Says of one batch of a segment after the other who vouches for its header.
#[derive(Debug, Default)]
pub(crate) struct Vouchers {
    /// What was said last, and up to where the same holds.
    last: Option<(Origin, u64)>,
}

impl Vouchers {
    /// Of the batch at `position`, which is no lower than the one asked about before.
    pub(crate) fn of(&mut self, segment: &Segment, position: u64) -> Result<Origin> {
        if let Some((origin, end)) = self.last
            && position < end
        {
            return Ok(origin);
        }
        let last = segment.origin_at(position)?;
        self.last = Some(last);
        Ok(last.0)
    }
}

impl Segment {
    fn origin_at(&self, position: u64) -> Result<(Origin, u64)> {
        let nobody = |until| Ok((Origin::File, until));
        let asked = self.asked()?;
        let Some(sidecar) = asked.sidecar() else { return nobody(u64::MAX) };
        let run = sidecar.runs_behind(position).next().transpose()?;
        let Some(run) = run else { return nobody(u64::MAX) };
        let (start, end) = (u64::from(run.start), u64::from(run.end));
        if start > position {
            return nobody(start);
        }
        match self.fitness(&run, (0, &Bytes::new()))? {
            Fitness::Whole => Ok((run.origin, end)),
            Fitness::None => nobody(end),
            Fitness::But { damaged, places, .. } => {
                let own = places.iter().find(|(start, end)| (*start..*end).contains(&position));
                match own.filter(|place| **place != damaged) {
                    Some((_, end)) => Ok((run.origin, *end)),
                    None => nobody(position + 1),
                }
            }
        }
    }
}
