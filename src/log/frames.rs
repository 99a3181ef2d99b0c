//! Laying a journal's frames against a log: which of their batches it lacks.
//!
//! After recovery, which has kept the log's valid prefix. Batch by batch, in the journal's order:
//!
//! | a batch lies | and | then |
//! | --- | --- | --- |
//! | below the log start or the recovery point | | it is skipped |
//! | below the log end | the log has the same bytes there | it is skipped |
//! | | the log has a batch of a newer epoch there | it and all of its frame are skipped (1) |
//! | | the log has anything else there | error |
//! | at the log end | the frame's segment ends right there | it is appended |
//! | | the frame's segment begins there | that is made anew: its name was lost |
//! | | neither | error, but in a log with damage: a new segment |
//! | above the log end | a leader left a gap there | as at the log end |
//! | | else | error: what comes between is gone |
//!
//! (1) The log was reopened in place after a failed sync, under an epoch of its own; what the
//! journal has was never acknowledged.
//!
//! Called for the log's owner by `replay`, which appends, and for who only reads by `follow`, which
//! shows. An error is that log's alone, and nothing of it was overwritten.

use bytes::Bytes;

use crate::disk::names::SegmentFile;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::journal::Frame;
use crate::record::Batch;
use crate::segment::Place;

const OPERATION: &str = "replay journal";

/// A log that frames are laid against.
pub(super) trait Ground {
    fn place(&self) -> &Place;

    /// Everything below the first is final, or gone for good; the second is where the log ends.
    fn bounds(&self) -> (Offset, Offset);

    /// The bytes from the batch on that holds the record at an offset below the end.
    fn batch_at(&self, offset: Offset) -> Result<Option<Bytes>>;

    /// Below it a leader may have left offsets out.
    fn sparse(&self) -> Offset;

    /// Where the log goes on.
    fn standing(&self) -> Standing;

    /// Adds a batch at the log's end: in the segment at hand, or as the first of a new one. Where
    /// it does not continue the log, nothing is added, and this is why.
    fn add(&mut self, batch: &Batch<'_>, goes: Goes) -> Result<Option<&'static str>>;
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The last segment's base offset and the position behind its last batch, if there is one.
    pub(super) tail: Option<(Offset, u64)>,
    pub(super) is_damaged: bool,
}

/// Where a batch is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    On,
    /// Into a segment that it is the first batch of, and that begins there.
    Anew(Offset),
}

/// Whether the rest of a frame is looked at.
enum Then {
    GoOn,
    Skip,
}

/// Adds what the frames have and the log has not; returns how many records that were.
///
/// # Errors
/// `Corrupt` where a frame does not fit; those of the ground.
pub(super) fn lay(frames: &[Frame], ground: &mut dyn Ground) -> Result<u64> {
    let mut added = 0;
    frames.iter().try_for_each(|frame| lay_frame(frame, ground, &mut added))?;
    Ok(added)
}

fn lay_frame(frame: &Frame, ground: &mut dyn Ground, added: &mut u64) -> Result<()> {
    let extent = &frame.extent;
    let mut next = extent.first;
    let mut at = 0;
    while at < frame.batches.len() {
        let batch = Batch::verify(&frame.batches[at..])
            .map_err(|fault| misfit(ground.place(), frame, next, &fault.to_string()))?;
        let header = batch.header();
        // the first may begin below, where a log was adopted in the middle of it
        if header.end_offset() <= next || header.end_offset() > extent.end {
            let reason = "its batches do not have its offsets";
            return Err(misfit(ground.place(), frame, next, reason));
        }
        next = header.end_offset();
        let position = extent.position + at as u64;
        at += header.size();
        if let Then::Skip = lay_batch(frame, &batch, position, ground, added)? {
            return Ok(());
        }
    }
    if next != extent.end {
        return Err(misfit(ground.place(), frame, next, "its batches end too early"));
    }
    Ok(())
}

fn lay_batch(
    frame: &Frame,
    batch: &Batch<'_>,
    position: u64,
    ground: &mut dyn Ground,
    added: &mut u64,
) -> Result<Then> {
    let (floor, end) = ground.bounds();
    let header = batch.header();
    let base = header.base_offset();
    if header.end_offset() <= floor {
        return Ok(Then::GoOn);
    }
    if base > end && base > ground.sparse() {
        return Err(misfit(ground.place(), frame, base, "what comes before it is gone"));
    }
    if base < end {
        return compare(frame, batch, ground, floor);
    }
    let goes = goes(frame, base, position, ground)?;
    if let Some(wrong) = ground.add(batch, goes)? {
        return Err(misfit(ground.place(), frame, base, wrong));
    }
    *added += u64::from(header.count());
    Ok(Then::GoOn)
}

/// The log has something where the batch would lie.
fn compare(
    frame: &Frame,
    batch: &Batch<'_>,
    ground: &mut dyn Ground,
    floor: Offset,
) -> Result<Then> {
    let at = batch.header().base_offset().max(floor);
    let found = ground.batch_at(at)?;
    let found = found.as_ref().and_then(|bytes| Batch::verify(bytes).ok());
    match found {
        Some(found) if found.bytes() == batch.bytes() => Ok(Then::GoOn),
        Some(found) if found.header().leader_epoch() > batch.header().leader_epoch() => {
            Ok(Then::Skip)
        }
        _ => Err(misfit(ground.place(), frame, at, "the log holds something else there")),
    }
}

/// Where a batch at the log's end is added.
fn goes(frame: &Frame, base: Offset, position: u64, ground: &dyn Ground) -> Result<Goes> {
    let segment = frame.extent.segment;
    let Standing { tail, is_damaged } = ground.standing();
    if tail == Some((segment, position)) {
        return Ok(Goes::On);
    }
    let (_, end) = ground.bounds();
    if position == 0 && (segment == base || segment == end) {
        return Ok(Goes::Anew(segment)); // behind a leader's gap it may begin below its first batch
    }
    if is_damaged {
        return Ok(Goes::Anew(base));
    }
    let place = tail.map(|(segment, position)| format!(", at {position} of segment {segment}"));
    let reason = format!("the log goes on elsewhere{}", place.unwrap_or_default());
    Err(misfit(ground.place(), frame, base, &reason))
}

fn misfit(place: &Place, frame: &Frame, offset: Offset, reason: &str) -> Error {
    let extent = &frame.extent;
    let path = place.path(extent.segment, SegmentFile::Log);
    let reason = format!(
        "records {} to {}, which the journal holds, do not fit: {reason}",
        extent.first, extent.end
    );
    Error::corrupt(OPERATION, &path, extent.position, reason).at_offset(offset)
}

#[cfg(test)]
mod tests;
