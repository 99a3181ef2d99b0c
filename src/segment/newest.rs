//! The newest record of a part of a segment: what a lookup of the largest timestamp asks for.
//!
//! The time index knows the largest timestamp of the whole segment. Where a log start or a bound
//! lies within the segment, the record that holds it may be out of reach; then the batches in reach
//! are walked. A batch that lies in reach whole is judged by its header, which its checksum covers;
//! only the one that wins, and those cut by an end of the reach, are opened. Called by the log.

use super::lookup::first_at_least;
use super::scan::{Walk, WalkStep};
use super::shared::Segment;
use crate::error::Result;
use crate::ids::Offset;
use crate::record::{Batch, BatchFault, PlainLimit};
use crate::time::Timestamp;
use std::path::Path;

const OPERATION: &str = "look up timestamp";

/// The best so far.
#[derive(Clone, Copy, Debug)]
enum Best {
    /// A record.
    Record(Offset, Timestamp),
    /// A whole batch at a position has it.
    Batch(u64, Timestamp),
}

impl Best {
    fn timestamp(best: Option<Best>) -> Option<Timestamp> {
        best.map(|best| match best {
            Best::Record(_, timestamp) | Best::Batch(_, timestamp) => timestamp,
        })
    }
}

impl Segment {
    /// The first record that has the largest timestamp among those at or above `from` and below
    /// `bound`; `None` where none there has a timestamp.
    pub(crate) fn newest_between(
        &self,
        (from, bound): (Offset, Offset),
        plain: PlainLimit,
    ) -> Result<Option<(Offset, Timestamp)>> {
        let path = self.path();
        let file = self.log()?;
        let mut walk = Walk::nearby(&**file, self.position_before(from)?, self.published());
        let mut best = None;
        loop {
            self.vouch(walk.position(), walk.position() + 1)?;
            let (position, batch) = match walk.step()? {
                WalkStep::Batch(position, batch) => (position, batch),
                WalkStep::End => break,
                WalkStep::Bad(position, fault) => {
                    return Err(fault.into_error(OPERATION, &path, position, None));
                }
            };
            let header = batch.header();
            if header.base_offset() >= bound {
                break;
            }
            let Some(newest) = header.max_timestamp() else { continue };
            let is_newer = Some(newest) > Best::timestamp(best);
            if !is_newer || header.last_offset() < from || header.count() == 0 {
                continue;
            }
            if header.base_offset() >= from && header.last_offset() < bound {
                best = Some(Best::Batch(position, newest));
            } else {
                best = newest_of(&batch, (from, bound), best, plain, (&path, position))?;
            }
        }
        match best {
            None => Ok(None),
            Some(Best::Record(offset, timestamp)) => Ok(Some((offset, timestamp))),
            Some(Best::Batch(position, newest)) => {
                let mut walk = Walk::nearby(&**file, position, self.published());
                let WalkStep::Batch(_, batch) = walk.step()? else { return Ok(None) };
                let found = first_at_least(&batch, (newest, from), plain, (&path, position))?;
                Ok(Some(found.unwrap_or((batch.header().last_offset(), newest))))
            }
        }
    }
}

/// The better of `best` and a batch's records at or above `from` and below `bound`.
fn newest_of(
    batch: &Batch<'_>,
    (from, bound): (Offset, Offset),
    mut best: Option<Best>,
    plain: PlainLimit,
    (path, position): (&Path, u64),
) -> Result<Option<Best>> {
    let base = batch.header().base_offset();
    let fail = |fault: BatchFault| fault.into_error(OPERATION, path, position, Some(base));
    let mut room = Vec::new();
    let batch = batch.unpacked(&mut room, plain).map_err(fail)?;
    for record in batch.records().map_err(fail)? {
        let record = record.map_err(fail)?;
        if let Some(timestamp) = record.timestamp()
            && (from..bound).contains(&record.offset())
            && Some(timestamp) > Best::timestamp(best)
        {
            best = Some(Best::Record(record.offset(), timestamp));
        }
    }
    Ok(best)
}
