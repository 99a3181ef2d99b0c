//! Taking back from the journal what a power cut has taken from the segments.
//!
//! After the log's own recovery, which has kept the valid prefix and cut the torn tail. Batch by
//! batch, in the journal's order:
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
//! | above the log end | | error: what comes between is gone |
//!
//! (1) The log was reopened in place after a failed sync, under an epoch of its own; what the
//! journal has was never acknowledged.
//!
//! An error is this log's alone, and nothing of it was overwritten. All of it may be repeated.

use super::core::{PartitionLog, Writer};
use super::fetch::FetchLimits;
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::journal::Frame;
use crate::record::{AppendBatch, Batch, Stamp};
use crate::segment::{Tail, misfit};
use crate::time::Timestamp;

const OPERATION: &str = "replay journal";

/// A batch that is written as it is.
struct Whole<'a>(Batch<'a>);

impl AppendBatch for Whole<'_> {
    fn size(&self) -> usize {
        self.0.header().size()
    }

    fn count(&self) -> u32 {
        self.0.header().count()
    }

    fn first_timestamp(&self) -> Option<Timestamp> {
        self.0.header().base_timestamp()
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        self.0.header().max_timestamp()
    }

    fn write(&self, stamp: Stamp, out: &mut [u8]) {
        debug_assert_eq!(stamp.base_offset, self.0.header().base_offset(), "it has its place");
        out.copy_from_slice(self.0.bytes());
    }
}

/// Whether the rest of a frame is looked at.
enum Then {
    GoOn,
    Skip,
}

impl PartitionLog {
    /// Appends what the frames have and the log has not; returns how many records that were. The
    /// caller makes them durable before anything else is appended.
    ///
    /// # Errors
    /// Corrupt where a frame does not fit; those of the disk.
    pub(crate) fn replay(&self, frames: &[Frame]) -> Result<u64> {
        let mut restored = 0;
        for frame in frames {
            self.replay_frame(frame, &mut restored).map_err(|error| self.named(error))?;
        }
        Ok(restored)
    }

    fn replay_frame(&self, frame: &Frame, restored: &mut u64) -> Result<()> {
        let extent = &frame.extent;
        let mut next = extent.first;
        let mut at = 0;
        while at < frame.batches.len() {
            let batch = Batch::verify(&frame.batches[at..])
                .map_err(|fault| self.misfit(frame, next, &fault.to_string()))?;
            let header = batch.header();
            // the first may begin below, where a log was adopted in the middle of it
            if header.end_offset() <= next || header.end_offset() > extent.end {
                return Err(self.misfit(frame, next, "its batches do not have its offsets"));
            }
            next = header.end_offset();
            let position = extent.position + at as u64;
            at += header.size();
            if let Then::Skip = self.replay_batch(frame, &batch, position, restored)? {
                return Ok(());
            }
        }
        if next != extent.end {
            return Err(self.misfit(frame, next, "its batches end too early"));
        }
        Ok(())
    }

    fn replay_batch(
        &self,
        frame: &Frame,
        batch: &Batch<'_>,
        position: u64,
        restored: &mut u64,
    ) -> Result<Then> {
        let offsets = self.offsets.snapshot();
        let header = batch.header();
        let base = header.base_offset();
        if header.end_offset() <= offsets.start.max(offsets.recovery_point) {
            return Ok(Then::GoOn);
        }
        if base > offsets.end {
            return Err(self.misfit(frame, base, "what comes before it is gone"));
        }
        if base < offsets.end {
            return self.compare(frame, batch, base.max(offsets.start));
        }
        self.restore(frame, batch, position)?;
        *restored += u64::from(header.count());
        Ok(Then::GoOn)
    }

    /// The log has something where the batch would lie.
    fn compare(&self, frame: &Frame, batch: &Batch<'_>, at: Offset) -> Result<Then> {
        let limits = FetchLimits { bytes: 1, records: 1, durable_only: false };
        let found = self.fetch(at, None, limits)?.chunk;
        let found = found.as_ref().and_then(|chunk| Batch::verify(&chunk.bytes).ok());
        match found {
            Some(found) if found.bytes() == batch.bytes() => Ok(Then::GoOn),
            Some(found) if found.header().leader_epoch() > batch.header().leader_epoch() => {
                Ok(Then::Skip)
            }
            _ => Err(self.misfit(frame, at, "the log holds something else there")),
        }
    }

    /// Appends a batch that continues the log.
    fn restore(&self, frame: &Frame, batch: &Batch<'_>, position: u64) -> Result<()> {
        let now = self.setup.clock.wall(); // the host's code: under no lock
        let mut writer = self.writer.lock();
        let header = batch.header();
        let (base, segment) = (header.base_offset(), frame.extent.segment);
        if let Some(refusal) = &writer.refuses {
            return Err(refusal.error(OPERATION));
        }
        let goes_on = |tail: &Tail| tail.segment().base() == segment && tail.is_at(position);
        if !writer.tail.as_ref().is_some_and(goes_on) {
            let begins = segment == base && position == 0;
            if !begins && self.damage.load().is_none() {
                let place = writer.tail.as_ref().map(|tail| {
                    let segment = tail.segment();
                    format!(", at {} of segment {}", segment.published(), segment.base())
                });
                let reason = format!("the log goes on elsewhere{}", place.unwrap_or_default());
                return Err(self.misfit(frame, base, &reason));
            }
            let stands = |tail: &Tail| tail.segment().base() == base && tail.is_empty();
            if !writer.tail.as_ref().is_some_and(stands) {
                self.roll(&mut writer, now)?;
            }
        }
        let latest = self.epochs.lock().latest();
        let epoch = header.leader_epoch().unwrap_or(writer.epoch);
        let stamp = Stamp { base_offset: base, leader_epoch: epoch };
        let tail = writer.tail.as_mut().expect("a roll makes one");
        if let Some(wrong) = misfit(header, tail.segment().base(), base, latest) {
            return Err(self.misfit(frame, base, wrong));
        }
        tail.make_room(header.size() as u64);
        tail.append(&Whole(*batch), stamp, header.last_offset())?;
        self.published(&mut writer, batch);
        Ok(())
    }

    fn published(&self, writer: &mut Writer, batch: &Batch<'_>) {
        let header = batch.header();
        if let Some(epoch) = header.leader_epoch() {
            self.epochs.lock().assign(epoch, header.base_offset());
        }
        writer.next_offset = header.end_offset();
        self.offsets.set_end(header.end_offset());
    }

    fn misfit(&self, frame: &Frame, offset: Offset, reason: &str) -> Error {
        let extent = &frame.extent;
        let path = self.place.path(extent.segment, crate::disk::names::SegmentFile::Log);
        let reason = format!(
            "records {} to {}, which the journal holds, do not fit: {reason}",
            extent.first, extent.end
        );
        Error::corrupt(OPERATION, &path, extent.position, reason).at_offset(offset)
    }
}
