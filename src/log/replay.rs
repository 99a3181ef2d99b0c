//! Taking back from the journal what a power cut has taken from the segments.
//!
//! After the log's own recovery, which has kept the valid prefix and cut the torn tail; what is
//! missing is decided by `frames`, and appended here as it is. Nothing is overwritten, whatever
//! fails, and all of it may be repeated.
//!
//! Called while the store is opened, before anything else is appended.

use bytes::Bytes;

use super::core::{PartitionLog, Writer};
use super::frames::{Goes, Ground, Standing, lay};
use super::producers::ProducedBatch;
use crate::error::Result;
use crate::ids::Offset;
use crate::journal::Frame;
use crate::record::{AppendBatch, Batch, BatchHeader, Pieces, Stamp, Sum};
use crate::segment::{Place, Tail, misfit};
use crate::time::Timestamp;

/// A batch that is written as it is.
pub(super) struct Whole<'a>(pub(super) Batch<'a>);

impl AppendBatch for Whole<'_> {
    fn size(&self) -> usize {
        self.0.header().size()
    }

    fn count(&self) -> u32 {
        self.0.header().count()
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        self.0.header().max_timestamp()
    }

    fn write(&self, stamp: Stamp, out: &mut [u8], _: impl Sum) {
        debug_assert_eq!(stamp.base_offset, self.0.header().base_offset(), "it has its place");
        out.copy_from_slice(self.0.bytes());
    }

    fn pieces(&self, _: Stamp, memory: Vec<u8>, _: impl Sum) -> Pieces<'_> {
        let (head, records) = self.0.bytes().split_at(BatchHeader::LEN);
        let mut pieces = Pieces::begin(memory, head.len());
        pieces.built_mut().copy_from_slice(head);
        pieces.lend(head.len(), records);
        pieces
    }
}

/// A log that is being opened.
struct Recovered<'a>(&'a PartitionLog);

impl PartitionLog {
    /// Appends what the frames have and the log has not; returns how many records that were. The
    /// caller makes them durable before anything else is appended.
    ///
    /// # Errors
    /// Corrupt where a frame does not fit; those of the disk.
    pub(crate) fn replay(&self, frames: &[Frame]) -> Result<u64> {
        lay(frames, &mut Recovered(self)).map_err(|error| self.named(error))
    }

    /// Takes in a batch that was appended as it is.
    pub(super) fn published(&self, writer: &mut Writer, batch: &Batch<'_>, now: Timestamp) {
        let header = batch.header();
        if let Some(epoch) = header.leader_epoch() {
            self.epochs.lock().assign(epoch, header.base_offset());
        }
        if let Ok(Some(produced)) = ProducedBatch::of(batch) {
            self.note_produced(writer, &produced, now);
        }
        writer.next_offset = header.end_offset();
        self.offsets.set_end(header.end_offset());
        self.settle_transactions(writer);
    }
}

impl Ground for Recovered<'_> {
    fn place(&self) -> &Place {
        &self.0.place
    }

    fn bounds(&self) -> (Offset, Offset) {
        let offsets = self.0.offsets.snapshot();
        (offsets.start.max(offsets.recovery_point), offsets.end)
    }

    fn batch_at(&self, offset: Offset) -> Result<Option<Bytes>> {
        Ok(self.0.fetch_all(offset, None, 1)?.chunk.map(|chunk| chunk.bytes))
    }

    fn sparse(&self) -> Offset {
        self.0.offsets.sparse()
    }

    fn standing(&self) -> Standing {
        let writer = self.0.writer.lock();
        let tail = writer.tail.as_ref().map(Tail::segment);
        let tail = tail.map(|segment| (segment.base(), segment.published()));
        Standing { tail, is_damaged: self.0.damage.load().is_some() }
    }

    fn add(&mut self, batch: &Batch<'_>, goes: Goes) -> Result<Option<&'static str>> {
        let log = self.0;
        let now = log.setup.clock.wall(); // the host's code: under no lock
        let mut writer = log.writer.lock();
        let header = batch.header();
        let base = header.base_offset();
        if let Some(refusal) = &writer.refuses {
            return Err(refusal.error("replay journal"));
        }
        if let Goes::Anew(from) = goes {
            let stands = |tail: &Tail| tail.segment().base() == from && tail.is_empty();
            if !writer.tail.as_ref().is_some_and(stands) {
                log.roll_at(&mut writer, from, now)?;
            }
        }
        let latest = log.epochs.lock().latest();
        let epoch = header.leader_epoch().unwrap_or(writer.epoch);
        let stamp = Stamp { base_offset: base, leader_epoch: epoch, producer: None };
        let tail = writer.tail.as_mut().expect("a roll makes one");
        if let Some(wrong) = misfit(header, tail.segment().base(), base, latest) {
            return Ok(Some(wrong));
        }
        tail.make_room(header.size() as u64);
        tail.append(&Whole(*batch), stamp, header.last_offset())?;
        log.published(&mut writer, batch, now);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaderEpoch;
    use crate::record::{check_pieces, one_batch};

    #[test]
    fn a_batch_goes_in_as_it_is_whole_and_in_pieces() {
        let bytes = one_batch(7, 3, &[5; 9_000], 1);
        let batch = Whole(Batch::verify(&bytes).unwrap());
        let (base_offset, leader_epoch) = (Offset::new(7), LeaderEpoch::new(3));
        let stamp = Stamp { base_offset, leader_epoch, producer: None };
        assert_eq!(check_pieces(&batch, stamp), bytes.len() - BatchHeader::LEN);
        assert!(batch.whole(stamp, vec![1; 9], crc32c::crc32c_append).built() == bytes);
    }
}
