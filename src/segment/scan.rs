//! Walking a segment's batches from a known place: the one reader of recovery and of every rebuild.
//!
//! A [`Walk`] steps from batch to batch and says why it stopped; [`scan`] runs one to the end,
//! checks what a CRC does not cover (offsets never fall, epochs never fall, all fit the segment)
//! and makes the indexes again on the way. Whether what stopped it is a torn tail or damage is not
//! decided here: that depends on the recovery point, which `log/` knows.
//!
//! Memory is bounded by the buffer and by the one batch at hand, which is never longer than what
//! is left of the file.

use std::ops::Range;
use std::path::Path;

use super::digested::Digested;
use super::index::{IndexedBatch, Indexer, relative};
use crate::disk::{DiskFile, read_full_at};
use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{Batch, BatchFault, BatchHeader};
use crate::time::Timestamp;

/// Bytes asked of the disk at a time.
const BUFFER: usize = 256 << 10;
/// The first bytes that are asked for by who looks for something nearby.
const NEARBY: usize = 8 << 10;

/// One step of a [`Walk`].
#[derive(Debug)]
pub(crate) enum WalkStep<'w> {
    /// A batch whose CRC fits, and where it begins.
    Batch(u64, Batch<'w>),
    /// The last batch ended where the file does.
    End,
    /// What lies here is no batch.
    Bad(u64, BatchFault),
}

/// Steps over the batches of a file.
#[derive(Debug)]
pub(crate) struct Walk<'f> {
    file: &'f dyn DiskFile,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffered_from: u64,
    /// How much is asked for next.
    ahead: usize,
}

impl<'f> Walk<'f> {
    /// Walks from `position`, where a batch must begin, to `end`.
    pub(crate) fn new(file: &'f dyn DiskFile, position: u64, end: u64) -> Self {
        let (buffer, buffered_from) = (Vec::new(), position);
        Walk { file, position, end, buffer, buffered_from, ahead: BUFFER }
    }

    /// The same for who expects to go a short way: little is read at first, more each time.
    pub(crate) fn nearby(file: &'f dyn DiskFile, position: u64, end: u64) -> Self {
        Walk { ahead: NEARBY, ..Walk::new(file, position, end) }
    }

    /// Where the next batch should begin.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch, checked, or why there is none. After anything but a batch the walk stays.
    pub(crate) fn step(&mut self) -> Result<WalkStep<'_>> {
        let position = self.position;
        if position >= self.end {
            return Ok(WalkStep::End);
        }
        let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
        let have = self.fill(position, BatchHeader::LEN.min(left))?;
        let header = match BatchHeader::parse(&self.buffer[have..], left) {
            Ok(header) => header,
            Err(fault) => return Ok(WalkStep::Bad(position, fault)),
        };
        let at = self.fill(position, header.size())?;
        match Batch::verify(&self.buffer[at..]) {
            Ok(batch) => {
                self.position = position + header.size() as u64;
                Ok(WalkStep::Batch(position, batch))
            }
            Err(fault) => Ok(WalkStep::Bad(position, fault)),
        }
    }

    /// Has `wanted` bytes from `position` in the buffer, or what the file holds; returns where in
    /// the buffer they begin.
    fn fill(&mut self, position: u64, wanted: usize) -> Result<usize> {
        let buffered_end = self.buffered_from + self.buffer.len() as u64;
        if position >= self.buffered_from && position + wanted as u64 <= buffered_end {
            return Ok(usize::try_from(position - self.buffered_from).unwrap_or(0));
        }
        let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
        self.buffer.resize(wanted.max(self.ahead).min(left), 0);
        self.ahead = (self.ahead * 2).min(BUFFER);
        let got = read_full_at(self.file, &mut self.buffer, position)
            .map_err(|error| Error::io("read segment", &self.file.path(), error))?;
        self.buffer.truncate(got);
        self.buffered_from = position;
        Ok(0)
    }
}

/// Why a [`scan`] stopped.
#[derive(Debug, PartialEq)]
pub(crate) enum Stop {
    /// At the end of the file, on a batch's boundary.
    End,
    /// At zeros that reach to the end of the file: a window not filled, or a trim not done.
    Zeros,
    /// At bytes that are no batch.
    Bad {
        /// What is wrong with them.
        fault: BatchFault,
        /// Where a batch follows that would fit behind the ones before, if there is one.
        later_batch: Option<u64>,
    },
}

/// What a [`scan`] found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Where the valid batches end.
    pub(crate) position: u64,
    /// The offset after the last valid batch.
    pub(crate) next_offset: Offset,
    pub(crate) stop: Stop,
    pub(crate) indexer: Indexer,
    /// Each epoch that begins in what was scanned, with its first offset.
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
    /// Whether any batch carries a producer id or belongs to a transaction.
    pub(crate) has_producers: bool,
    pub(crate) records: u64,
    /// What the first batch of the segment says its largest timestamp is, in milliseconds; `None`
    /// where the scan began behind it.
    pub(crate) first_timestamp: Option<Option<i64>>,
    /// What digests there are, and those taken on the way.
    pub(crate) digests: Digested,
}

/// Where a scan begins and what it may assume.
#[derive(Debug)]
pub(crate) struct ScanStart {
    pub(crate) position: u64,
    /// No batch may begin below this offset.
    pub(crate) next_offset: Offset,
    /// Indexes of what lies before.
    pub(crate) indexer: Indexer,
    /// The epoch of what lies before.
    pub(crate) epoch: Option<LeaderEpoch>,
    /// The offset from which on none may be left out; `None` where any may.
    pub(crate) gapless_from: Option<Offset>,
}

/// Scans `file` from `start` to `end`.
pub(crate) fn scan(
    file: &dyn DiskFile,
    base: Offset,
    start: ScanStart,
    end: u64,
    digests: Digested,
) -> Result<Scan> {
    let mut walk = Walk::new(file, start.position, end);
    let mut found = Scan {
        position: start.position,
        next_offset: start.next_offset,
        stop: Stop::End,
        indexer: start.indexer,
        epochs: Vec::new(),
        has_producers: false,
        records: 0,
        first_timestamp: None,
        digests,
    };
    let mut epoch = start.epoch;
    let fault = loop {
        match walk.step()? {
            WalkStep::Batch(position, batch) => {
                let header = batch.header();
                if let Some(wrong) = misfit(header, base, found.next_offset, epoch) {
                    break BatchFault::Header(wrong);
                }
                if start.gapless_from.is_some_and(|from| skips(header, found.next_offset, from)) {
                    let fault = BatchFault::Header(SKIPS);
                    found.stop = Stop::Bad { fault, later_batch: Some(position) };
                    return Ok(found);
                }
                if header.leader_epoch() > epoch {
                    epoch = header.leader_epoch();
                    found.epochs.extend(epoch.map(|epoch| (epoch, header.base_offset())));
                }
                found.has_producers |= header.producer_id().is_some();
                found.has_producers |= header.is_transactional();
                found.records += u64::from(header.count());
                found.next_offset = header.end_offset();
                found.indexer.push(IndexedBatch::of(header, position));
                found.digests.push(&batch, position);
                if position == 0 {
                    found.first_timestamp = Some(header.max_timestamp().map(Timestamp::as_millis));
                }
                found.position = position + header.size() as u64;
            }
            WalkStep::End => return Ok(found),
            WalkStep::Bad(_, fault) => break fault,
        }
    };
    found.stop = classify(file, base, &found, fault, end)?;
    Ok(found)
}

impl IndexedBatch {
    /// What an index needs of a batch at `position`.
    pub(crate) fn of(header: &BatchHeader, position: u64) -> Self {
        IndexedBatch {
            position,
            size: header.size() as u64,
            last_offset: header.last_offset(),
            max_timestamp: Timestamp::to_wire(header.max_timestamp()),
        }
    }
}

/// What of a header does not fit its place, where its CRC cannot tell.
#[inline]
pub(crate) fn misfit(
    header: &BatchHeader,
    base: Offset,
    next_offset: Offset,
    epoch: Option<LeaderEpoch>,
) -> Option<&'static str> {
    if header.base_offset() < next_offset {
        return Some("its base offset falls behind the batch before it");
    }
    if relative(base, header.last_offset()).is_none() {
        return Some("its offsets do not fit the segment");
    }
    // a batch without an epoch, as other writers may leave, says nothing
    if header.leader_epoch().is_some_and(|own| Some(own) < epoch) {
        return Some("its leader epoch falls behind the batch before it");
    }
    None
}

const SKIPS: &str = "its base offset does not follow the batch before it";

/// Whether a batch leaves offsets out above `gapless_from`.
#[inline]
pub(crate) fn skips(header: &BatchHeader, next_offset: Offset, gapless_from: Offset) -> bool {
    header.base_offset() > next_offset && header.base_offset() > gapless_from
}

/// Tells zeros to the end from bytes that are neither zeros nor a batch, and looks for a batch
/// behind those.
fn classify(
    file: &dyn DiskFile,
    base: Offset,
    found: &Scan,
    fault: BatchFault,
    end: u64,
) -> Result<Stop> {
    let path = file.path();
    let Some(first) = first_nonzero(file, &path, found.position, end)? else {
        return Ok(Stop::Zeros);
    };
    // a batch begins at most a header before its first byte that is not zero
    let from = first.saturating_sub(BatchHeader::LEN as u64).max(found.position + 1);
    let later_batch = find_batch(file, &path, base, found.next_offset, from, end)?;
    Ok(Stop::Bad { fault, later_batch })
}

/// The first position in `from..end` whose byte is not zero.
fn first_nonzero(file: &dyn DiskFile, path: &Path, mut from: u64, end: u64) -> Result<Option<u64>> {
    let mut buffer = vec![0; buffer_for(from..end)];
    while from < end {
        let wanted = buffer_for(from..end);
        let got = read_full_at(file, &mut buffer[..wanted], from)
            .map_err(|error| Error::io("read segment", path, error))?;
        if let Some(at) = nonzero(&buffer[..got]) {
            return Ok(Some(from + at as u64));
        }
        if got < wanted {
            break;
        }
        from += got as u64;
    }
    Ok(None)
}

/// How much of a stretch is looked at at a time.
fn buffer_for(stretch: Range<u64>) -> usize {
    let len = stretch.end.saturating_sub(stretch.start);
    usize::try_from(len).unwrap_or(BUFFER).min(BUFFER)
}

/// The first byte that is not zero. Windows of zeros may be a mebibyte, and are looked through
/// at each open after a kill: piece by piece, not byte by byte.
fn nonzero(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 256] = [0; 256];
    let piece = bytes.chunks(ZEROS.len()).position(|piece| *piece != ZEROS[..piece.len()])?;
    let from = piece * ZEROS.len();
    bytes[from..].iter().position(|byte| *byte != 0).map(|at| from + at)
}

/// The first position in `from..end` at which a whole batch lies that would fit after
/// `next_offset`: its CRC fits, its offsets do, and it is within the file.
fn find_batch(
    file: &dyn DiskFile,
    path: &Path,
    base: Offset,
    next_offset: Offset,
    from: u64,
    end: u64,
) -> Result<Option<u64>> {
    const MAGIC_AT: usize = 16;
    let mut buffer = vec![0; buffer_for(from..end)];
    let mut start = from;
    // hostile bytes may look like many long batches: check at most four times what there is
    let mut checks_left = end.saturating_sub(from).saturating_mul(4);
    while end.saturating_sub(start) >= BatchHeader::LEN as u64 {
        let wanted = buffer_for(start..end);
        let got = read_full_at(file, &mut buffer[..wanted], start)
            .map_err(|error| Error::io("read segment", path, error))?;
        if got < BatchHeader::LEN {
            break;
        }
        let last = got - BatchHeader::LEN;
        for at in 0..=last {
            if buffer[at + MAGIC_AT] != 2 {
                continue;
            }
            let position = start + at as u64;
            let left = usize::try_from(end - position).unwrap_or(usize::MAX);
            let Ok(header) = BatchHeader::parse(&buffer[at..got], left) else { continue };
            if misfit(&header, base, next_offset, None).is_some() || header.count() == 0 {
                continue;
            }
            let Some(rest) = checks_left.checked_sub(header.size() as u64) else {
                return Ok(None);
            };
            checks_left = rest;
            let mut walk = Walk::new(file, position, position + header.size() as u64);
            if matches!(walk.step()?, WalkStep::Batch(..)) {
                return Ok(Some(position));
            }
        }
        start += last as u64 + 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Access, Disk as _, MemoryDisk, write_all_at};

    #[test]
    fn the_first_byte_that_is_not_zero_is_found_wherever_it_lies() {
        for len in [0, 1, 255, 256, 257, 512, 600] {
            assert_eq!(nonzero(&vec![0; len]), None);
            for at in 0..len {
                let mut bytes = vec![0; len];
                bytes[at..].fill(1);
                assert_eq!(nonzero(&bytes), Some(at), "of {len}");
            }
        }
    }

    #[test]
    fn a_length_is_bounded_before_memory_is_taken_for_it() {
        let file = MemoryDisk::new().open(Path::new("/a.log"), Access::Create).unwrap();
        let mut head = [0; BatchHeader::LEN];
        head[8..12].copy_from_slice(&(1_i32 << 30).to_be_bytes());
        head[16] = 2;
        write_all_at(&*file, &head, 0).unwrap();
        let mut walk = Walk::new(&*file, 0, head.len() as u64);
        assert!(matches!(walk.step().unwrap(), WalkStep::Bad(0, BatchFault::Size { .. })));
        assert!(walk.buffer.capacity() <= BUFFER);
    }
}
