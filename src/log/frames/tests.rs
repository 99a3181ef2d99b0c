//! Rows of the table and their limits, against a log that is a list of batches.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::MemoryDisk;
use crate::ids::{PartitionId, TopicId};
use crate::journal::Extent;
use crate::log::LogId;
use crate::record::one_batch;
use crate::segment::Tenancy;

/// A log whose last segment begins at `segment`.
struct List {
    place: Place,
    log: LogId,
    floor: i64,
    sparse: i64,
    segment: i64,
    is_damaged: bool,
    batches: Vec<Bytes>,
    added: Vec<(i64, Goes)>,
}

fn batch(base: i64, epoch: i32, value: &str) -> Bytes {
    one_batch(base, epoch, value.as_bytes(), 1).into()
}

fn header(bytes: &Bytes) -> (i64, i64) {
    let batch = Batch::verify(bytes).unwrap();
    (batch.header().base_offset().get(), batch.header().end_offset().get())
}

impl List {
    /// Three batches of one record each, of epoch 2, in one segment.
    fn new() -> Self {
        let log = LogId { topic: TopicId::random(), partition: PartitionId::new(0) };
        let place = Place {
            disk: Arc::new(MemoryDisk::new()),
            dir: Arc::from(Path::new("/orders-0")),
            index_interval: 4096,
            identity: log.identity(),
            tenancy: Tenancy::Own,
        };
        let batches = (0..3).map(|base| batch(base, 2, "there")).collect();
        let (floor, sparse, segment, is_damaged) = (0, 0, 0, false);
        List { place, log, floor, sparse, segment, is_damaged, batches, added: Vec::new() }
    }

    fn position(&self, offset: i64) -> u64 {
        let before = self.batches.iter().filter(|bytes| {
            let (base, _) = header(bytes);
            base >= self.segment && base < offset
        });
        before.map(|bytes| bytes.len() as u64).sum()
    }

    /// What the journal has from `first` to `end` as of where the log's own bytes lie.
    fn frame(&self, first: i64, end: i64, batches: &[Bytes]) -> Frame {
        let extent = Extent {
            log: self.log,
            segment: Offset::new(self.segment),
            position: self.position(first),
            first: Offset::new(first),
            end: Offset::new(end),
        };
        Frame { extent, batches: batches.concat().into() }
    }

    fn lay(&mut self, frame: Frame) -> Result<u64> {
        lay(&[frame], self)
    }
}

impl Ground for List {
    fn place(&self) -> &Place {
        &self.place
    }

    fn bounds(&self) -> (Offset, Offset) {
        let end = self.batches.last().map_or(self.floor, |bytes| header(bytes).1);
        (Offset::new(self.floor), Offset::new(end))
    }

    fn batch_at(&self, offset: Offset) -> Result<Option<Bytes>> {
        Ok(self.batches.iter().find(|bytes| header(bytes).1 > offset.get()).cloned())
    }

    fn sparse(&self) -> Offset {
        Offset::new(self.sparse)
    }

    fn standing(&self) -> Standing {
        let tail = Some((Offset::new(self.segment), self.position(i64::MAX)));
        Standing { tail, is_damaged: self.is_damaged }
    }

    fn add(&mut self, batch: &Batch<'_>, goes: Goes) -> Result<Option<&'static str>> {
        let base = batch.header().base_offset().get();
        if let Goes::Anew(from) = goes {
            self.segment = from.get();
        }
        self.batches.push(Bytes::copy_from_slice(batch.bytes()));
        self.added.push((base, goes));
        Ok(None)
    }
}

#[test]
fn what_the_log_has_is_passed_over_and_the_rest_goes_on_behind_it() {
    let mut log = List::new();
    let new = [batch(3, 2, "new"), batch(4, 2, "new")];
    let frame = log.frame(1, 5, &[&log.batches[1..], &new].concat());
    assert_eq!(log.lay(frame.clone()).unwrap(), 2);
    assert_eq!(log.added, [(3, Goes::On), (4, Goes::On)]);
    assert_eq!(log.lay(frame).unwrap(), 0, "once is enough");
}

/// A later epoch is that of a reopening after a failed sync: what the frame has was promised to
/// nobody. Of anything else the log or the journal is wrong.
#[test]
fn other_bytes_than_the_journals_stand_under_a_later_epoch_alone() {
    for (epoch, is_passed_over) in [(1, true), (2, false), (3, false)] {
        let mut log = List::new();
        let batches = [batch(2, epoch, "other"), batch(3, epoch, "new")];
        let frame = log.frame(2, 4, &batches);
        match log.lay(frame) {
            Ok(added) => assert!(is_passed_over && added == 0, "epoch {epoch}"),
            Err(error) => assert!(!is_passed_over && error.is_corrupt(), "{epoch}: {error}"),
        }
        assert!(log.added.is_empty(), "epoch {epoch}: {:?}", log.added);
    }
    // below what is final nothing is compared
    let mut log = List::new();
    log.floor = 3;
    let frame = log.frame(2, 4, &[batch(2, 2, "other"), batch(3, 2, "new")]);
    assert_eq!(log.lay(frame).unwrap(), 1);
}

#[test]
fn a_gap_is_a_leaders_where_that_is_recorded_and_else_a_loss() {
    for (sparse, fits) in [(0, false), (4, false), (5, true), (6, true)] {
        let mut log = List::new();
        log.sparse = sparse;
        let mut frame = log.frame(3, 6, &[batch(5, 2, "behind a gap")]);
        frame.extent.first = Offset::new(5);
        let found = log.lay(frame);
        assert_eq!(found.is_ok(), fits, "sparse {sparse}: {found:?}");
        assert_eq!(log.added.len(), usize::from(fits), "sparse {sparse}");
    }
}

#[test]
fn a_segment_whose_name_was_lost_is_made_anew_where_the_frame_says() {
    let laid = |segment: i64, position: u64, base: i64, is_damaged: bool| {
        let mut log = List::new();
        log.sparse = 5;
        log.is_damaged = is_damaged;
        let mut frame = log.frame(base, base + 1, &[batch(base, 2, "first")]);
        (frame.extent.segment, frame.extent.position) = (Offset::new(segment), position);
        let found = log.lay(frame);
        found.map(|_| log.added[0].1)
    };
    assert_eq!(laid(3, 0, 3, false).unwrap(), Goes::Anew(Offset::new(3)));
    // a leader's gap: it begins at the log's end, or at its first batch
    assert_eq!(laid(3, 0, 5, false).unwrap(), Goes::Anew(Offset::new(3)));
    assert_eq!(laid(5, 0, 5, false).unwrap(), Goes::Anew(Offset::new(5)));
    for (segment, position, base) in [(4, 0, 5), (3, 9, 3), (0, 9, 3)] {
        assert!(laid(segment, position, base, false).unwrap_err().is_corrupt());
        // where there is damage nothing goes on as it was
        assert_eq!(laid(segment, position, base, true).unwrap(), Goes::Anew(Offset::new(base)));
    }
}

#[test]
fn a_frame_has_its_offsets_and_no_others() {
    for (first, end, bases) in [
        (3, 4, &[3, 4][..]), // more than it says
        (3, 6, &[3, 4]),     // less
        (4, 5, &[3]),        // below
        (3, 4, &[]),
    ] {
        let mut log = List::new();
        let batches: Vec<_> = bases.iter().map(|base| batch(*base, 2, "new")).collect();
        let frame = log.frame(first, end, &batches);
        let error = log.lay(frame).unwrap_err();
        assert!(error.is_corrupt(), "{first} to {end}: {error}");
    }
}
