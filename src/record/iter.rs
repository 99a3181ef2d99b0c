//! Lending what was fetched, record by record.
//!
//! Part by part, batch by batch. A part that is lent as it lies needs a look at each batch's header
//! alone; of any other each batch is asked whether it is left out, lies below where the part
//! begins, or has its records beside it, decompressed.
//!
//! Called through [`Records::iter`](super::Records::iter), and by `choose`.

use super::batch::Batch;
use super::lend::LentRecords;
use super::records::{Part, Records, is_among, is_below};
use super::view::RecordView;

impl<'a> IntoIterator for &'a Records {
    type Item = RecordView<'a>;
    type IntoIter = RecordsIter<'a>;

    fn into_iter(self) -> RecordsIter<'a> {
        self.iter()
    }
}

/// Lends the records of a [`Records`], one after the other.
///
/// ```
/// let records = tidelog::Records::default();
/// assert!(records.iter().next().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct RecordsIter<'a> {
    records: LentRecords<'a>,
    /// The part that is being lent; there is none in no records at all.
    part: Option<&'a Part>,
    left: &'a [u8],
    plain: std::slice::Iter<'a, Vec<u8>>,
    next: Option<&'a Part>,
    others: &'a [Part],
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = RecordView<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordView<'a>> {
        loop {
            while let Some(record) = self.records.next()
                && let Some(part) = self.part
            {
                if part.is_whole {
                    return Some(RecordView::new(part, record));
                }
                if record.offset() >= part.end {
                    self.left = &[];
                    break;
                }
                if record.offset() >= part.from {
                    return Some(RecordView::new(part, record));
                }
            }
            self.records = match self.next_open() {
                Some(records) => records,
                None if self.left.is_empty() && self.next.is_none() => return None, // no search
                None => self.next_batch()?,
            };
        }
    }
}

impl<'a> RecordsIter<'a> {
    pub(super) fn of(first: Option<&'a Part>, others: &'a [Part]) -> Self {
        let (left, plain) =
            first.map_or((&[][..], &[][..]), |part| (&part.bytes[..], part.plain()));
        let (next, others) = (others.first(), others.get(1..).unwrap_or(&[]));
        let (records, plain) = (LentRecords::none(), plain.iter());
        RecordsIter { records, part: first, left, plain, next, others }
    }

    /// The records of the next batch of a part that is lent as it lies; `None` where it ends, and
    /// where `next_batch` has to look.
    #[inline(always)]
    fn next_open(&mut self) -> Option<LentRecords<'a>> {
        if !self.part?.is_whole {
            return None;
        }
        LentRecords::take(&mut self.left)
    }

    /// The records of the next batch that has some to be lent, of this part or the next.
    #[inline(never)]
    pub(super) fn next_batch(&mut self) -> Option<LentRecords<'a>> {
        loop {
            let Some(mut batch) = Batch::trust(self.left) else {
                let part = self.next?;
                (self.part, self.next) = (Some(part), self.others.first());
                self.others = self.others.get(1..).unwrap_or(&[]);
                (self.left, self.plain) = (&part.bytes, part.plain().iter());
                // most are whole: then nobody has to decode its first header either
                match self.next_open() {
                    Some(records) => return Some(records),
                    None => continue,
                }
            };
            let part = self.part?;
            self.left = &self.left[batch.header().size()..];
            if is_among(part.aborted(), batch.header().base_offset()) {
                continue;
            }
            if batch.is_packed() {
                if is_below(&batch, part.from) {
                    continue;
                }
                let Some(plain) = self.plain.next() else {
                    self.left = &[];
                    continue;
                };
                batch = batch.with_plain(plain);
            }
            if let Some(records) = LentRecords::of(&batch) {
                return Some(records);
            }
        }
    }
}
