//! Filtering what was fetched: the records that are wanted, copied out of their batches.
//!
//! What is chosen owns its bytes: few records out of many do not keep the others in memory. Each
//! batch of which something is wanted is written again with those records as they lie, under its
//! own header, so that offsets, timestamps, epochs and sequences stay what they are. Nothing but
//! [`RecordsIter`] ever reads such a batch, so it has no checksum that fits.
//!
//! Predicates are user code: they run under no lock, and nothing has changed when one panics.
//! Called by `consumer` and by `log`'s door.

use super::encode::put;
use super::filter::RecordFilter;
use super::header::{BatchHeader, CODEC_MASK, LENGTH_EXCLUDES, at};
use super::iter::RecordsIter;
use super::records::{Part, Records};
use super::view::RecordView;
use crate::ids::{LeaderEpoch, Offset};

/// What became of records that a filter was asked about.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) records: Records,
    /// Bytes that the chosen ones take.
    pub(crate) bytes: usize,
    /// Records that were looked at.
    pub(crate) scanned: usize,
    /// Where it ended, with the last record's epoch, if it had enough before the end.
    pub(crate) cut: Option<(Offset, Option<LeaderEpoch>)>,
}

impl Records {
    /// Those that a filter wants, at most `most` of them.
    pub(crate) fn choose(&self, filter: &RecordFilter, most: usize) -> Chosen {
        let mut chosen = Chosen::default();
        for part in self.parts() {
            let before = chosen.records.len();
            let mut matched = 0;
            let bytes = part.choose(filter, most - before, (&mut chosen, &mut matched));
            if matched > 0 {
                chosen.bytes += bytes.len();
                let end = chosen.cut.map_or(part.end, |(offset, _)| offset);
                chosen.records.push(part.chosen(bytes, end), matched);
            }
            if chosen.cut.is_some() {
                break;
            }
        }
        chosen
    }
}

impl Part {
    /// The chosen records of this part, in batches of their own.
    fn choose(
        &self,
        filter: &RecordFilter,
        most: usize,
        (chosen, matched): (&mut Chosen, &mut usize),
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut batches = RecordsIter::of(Some(self), &[]);
        while let Some(mut lent) = batches.next_batch() {
            let (start, mut count) = (bytes.len(), 0i32);
            loop {
                let from = lent.left();
                let Some(record) = lent.next() else { break };
                if record.offset() < self.from {
                    continue;
                }
                if record.offset() >= self.end {
                    break;
                }
                chosen.scanned += 1;
                if !filter.wants(&RecordView::new(self, record)) {
                    continue;
                }
                if count == 0 {
                    bytes.extend_from_slice(record.head());
                }
                bytes.extend_from_slice(&from[..from.len() - lent.left().len()]);
                (count, *matched) = (count + 1, *matched + 1);
                if *matched == most {
                    chosen.cut = Some((record.offset().next(), record.header().leader_epoch()));
                    break;
                }
            }
            if count > 0 {
                finish(&mut bytes[start..], count);
            }
            if chosen.cut.is_some() {
                break;
            }
        }
        bytes
    }
}

/// Makes the head of a batch right for the records that now follow it.
fn finish(batch: &mut [u8], count: i32) {
    let length = i32::try_from(batch.len() - LENGTH_EXCLUDES).unwrap_or(i32::MAX);
    let attributes = batch
        .first_chunk()
        .map_or(0, |head| BatchHeader::of_verified(head).attributes() & !CODEC_MASK);
    put(batch, at::LENGTH, length.to_be_bytes());
    put(batch, at::ATTRIBUTES, attributes.to_be_bytes());
    put(batch, at::COUNT, count.to_be_bytes());
}
