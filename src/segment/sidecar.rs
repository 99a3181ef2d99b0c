//! The file beside a segment that keeps its digests: `<base offset>.digest`.
//!
//! Layout, big-endian. A head of 40 bytes:
//!
//! ```text
//! 0 magic "TDLD"  4 version u32  8 topic id 16 bytes  24 partition u32  28 base offset i64
//! 36 crc32c of bytes 0..36
//! ```
//!
//! then runs of 32 bytes each, ordered by position, none over another:
//!
//! ```text
//! 0 start u32  4 end u32  8 first offset u32  12 next offset u32 (both relative to the base)
//! 16 digest u64  24 origin u32 (0 appended, 1 from the file)  28 crc32c, begun with the head's
//! ```
//!
//! Runs are only ever added at the end, and a torn end is cut. The file vouches for the log, not
//! the other way round: one that is missing, damaged or another segment's vouches for nothing, and
//! costs no record.

use std::io;
use std::path::Path;
use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder as _};

use super::digest::{Identity, Origin, Run};
use crate::disk::copy::own;
use crate::disk::{Access, Disk, DiskFile, read_full_at, write_all_at};
use crate::error::{Cause, Error, Result};
use crate::ids::Offset;
use crate::record::BatchHeader;

const MAGIC: [u8; 4] = *b"TDLD";
const VERSION: u32 = 1;
const TOPIC_AT: usize = 8;
const PARTITION_AT: usize = TOPIC_AT + 16;
const BASE_AT: usize = PARTITION_AT + 4;
const HEAD_CRC_AT: usize = BASE_AT + 8;
/// The length of the head.
pub(crate) const HEAD_LEN: usize = HEAD_CRC_AT + 4;
pub(super) const RUN_CRC_AT: usize = 28;
/// The length of a run.
pub(crate) const RUN_LEN: usize = RUN_CRC_AT + 4;
/// Runs read at a time.
const BLOCK: u64 = 256;

/// The head of the sidecar of one segment.
pub(super) fn head(identity: Identity, base: Offset) -> [u8; HEAD_LEN] {
    let mut bytes = [0; HEAD_LEN];
    bytes[..4].copy_from_slice(&MAGIC);
    BigEndian::write_u32(&mut bytes[4..8], VERSION);
    bytes[TOPIC_AT..PARTITION_AT].copy_from_slice(identity.topic.as_bytes());
    BigEndian::write_u32(&mut bytes[PARTITION_AT..BASE_AT], identity.partition.get());
    BigEndian::write_i64(&mut bytes[BASE_AT..HEAD_CRC_AT], base.get());
    let crc = crc32c::crc32c(&bytes[..HEAD_CRC_AT]);
    BigEndian::write_u32(&mut bytes[HEAD_CRC_AT..], crc);
    bytes
}

/// What every run's checksum begins with: a run of another segment's sidecar fails.
pub(super) fn run_seed(identity: Identity, base: Offset) -> u32 {
    crc32c::crc32c(&head(identity, base)[..HEAD_CRC_AT])
}

fn encode(run: &Run, seed: u32) -> [u8; RUN_LEN] {
    let mut bytes = [0; RUN_LEN];
    for (at, number) in [run.start, run.end, run.first, run.next].into_iter().enumerate() {
        BigEndian::write_u32(&mut bytes[at * 4..at * 4 + 4], number);
    }
    BigEndian::write_u64(&mut bytes[16..24], run.digest);
    bytes[27] = u8::from(run.origin == Origin::File);
    let crc = crc32c::crc32c_append(seed, &bytes[..RUN_CRC_AT]);
    BigEndian::write_u32(&mut bytes[RUN_CRC_AT..], crc);
    bytes
}

fn decode(bytes: &[u8], seed: u32) -> Option<Run> {
    let crc = crc32c::crc32c_append(seed, bytes.get(..RUN_CRC_AT)?);
    if bytes.len() < RUN_LEN || crc != BigEndian::read_u32(&bytes[RUN_CRC_AT..]) {
        return None;
    }
    let number = |at: usize| BigEndian::read_u32(&bytes[at..at + 4]);
    let run = Run {
        start: number(0),
        end: number(4),
        first: number(8),
        next: number(12),
        digest: BigEndian::read_u64(&bytes[16..24]),
        origin: if bytes[27] == 0 { Origin::Append } else { Origin::File },
    };
    (run.start < run.end && run.first < run.next).then_some(run)
}

/// Whether a head was begun at most: what is there of it, `got` bytes, and zeros. One whose last
/// bytes are zeros and missing is no more than begun either.
fn is_unwritten(found: &[u8; HEAD_LEN], got: usize, right: &[u8; HEAD_LEN]) -> bool {
    let begun = found.iter().zip(right).take_while(|(found, right)| found == right).count();
    (got < HEAD_LEN || found != right) && found[begun..].iter().all(|byte| *byte == 0)
}

/// How many runs a file of so many bytes has room for, beyond those that no segment has: a run is a
/// batch at least. Sparse files are as long as whoever left them wants.
fn runs_in(bytes: u64) -> u64 {
    const MOST: u64 = (1 << 31) / BatchHeader::LEN as u64;
    (bytes.saturating_sub(HEAD_LEN as u64) / RUN_LEN as u64).min(MOST)
}

/// What lies under a sidecar's name.
#[derive(Debug)]
pub(crate) enum Found {
    /// The digests of this segment.
    Sidecar(Sidecar),
    Missing,
    /// Its name, and of its head nothing or the beginning: it was made, and never synced.
    Unwritten,
    /// It is no sidecar, or another segment's.
    Unusable(&'static str),
}

/// An opened sidecar, for reading.
#[derive(Debug)]
pub(crate) struct Sidecar {
    file: Arc<dyn DiskFile>,
    seed: u32,
    len: u64,
    /// Of each block, where its first whole run begins and with which offset.
    fences: Vec<(u32, u32)>,
}

impl Sidecar {
    /// Opens the sidecar of a segment and reads it through once: 8 MiB for a segment of 1 GiB.
    /// One that is no longer than a block is not read before it is asked.
    ///
    /// # Errors
    /// Those of the disk, and `NewerVersion` for a head that is whole and of a later format.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        identity: Identity,
        base: Offset,
    ) -> Result<Found> {
        let fail = |error| Error::io("open digests", path, error);
        let mut bytes = [0; HEAD_LEN];
        let opened = disk.open(path, Access::Read).and_then(|file| {
            let got = read_full_at(&*file, &mut bytes, 0)?;
            Ok((file, got))
        });
        let (file, got) = match opened {
            Ok(opened) => opened,
            // or dropped meanwhile; what takes its place is not asked for
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            // no handle is needed to find that it is none
            Err(error) => match disk.metadata(path) {
                Ok(found) if found.is_none_or(|found| found.is_dir) => return Ok(Found::Missing),
                _ => return Err(fail(error)),
            },
        };
        if is_unwritten(&bytes, got, &head(identity, base)) {
            return Ok(Found::Unwritten);
        }
        if got < HEAD_LEN || bytes[..4] != MAGIC {
            return Ok(Found::Unusable("it does not begin like one"));
        }
        let crc = crc32c::crc32c(&bytes[..HEAD_CRC_AT]);
        if crc != BigEndian::read_u32(&bytes[HEAD_CRC_AT..]) {
            return Ok(Found::Unusable("its head does not fit its checksum"));
        }
        let version = BigEndian::read_u32(&bytes[4..8]);
        if version > VERSION {
            let cause = Cause::NewerVersion { found: version, known: VERSION };
            return Err(Error::new("open digests", cause).at_path(path));
        }
        if bytes != head(identity, base) {
            return Ok(Found::Unusable("it names another segment"));
        }
        let len = runs_in(file.len().map_err(fail)?);
        let seed = run_seed(identity, base);
        let mut sidecar = Sidecar { file, seed, len, fences: Vec::new() };
        sidecar.survey()?;
        Ok(Found::Sidecar(sidecar))
    }

    fn survey(&mut self) -> Result<()> {
        let mut fence = (0, 0);
        if self.len <= BLOCK {
            self.fences = vec![fence; usize::from(self.len > 0)]; // one block is read as it is
            return Ok(());
        }
        for block in 0..self.len.div_ceil(BLOCK) {
            let runs = self.block(block)?;
            if let Some(first) = runs.iter().flatten().next() {
                fence = (first.start, first.first);
            }
            self.fences.push(fence);
        }
        Ok(())
    }

    /// Leaves only its first runs.
    pub(crate) fn with_first(mut self, runs: u64) -> Self {
        self.len = self.len.min(runs);
        self.fences.truncate(usize::try_from(self.len.div_ceil(BLOCK)).unwrap_or(usize::MAX));
        self
    }

    /// How many runs there is room for; not all of them need be whole.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many of its runs are damaged that begin below an offset relative to the base. Where a
    /// damaged one begins, the whole one before it says.
    pub(crate) fn damaged_below(&self, relative: u64) -> Result<u64> {
        let (mut damaged, mut begins) = (0, 0);
        for block in 0..self.len.div_ceil(BLOCK) {
            for run in self.block(block)? {
                match run {
                    Some(run) => begins = u64::from(run.next),
                    None => damaged += u64::from(begins < relative),
                }
            }
        }
        Ok(damaged)
    }

    /// The runs of one block; `None` where one is damaged.
    fn block(&self, block: u64) -> Result<Vec<Option<Run>>> {
        let first = block * BLOCK;
        let count = self.len.saturating_sub(first).min(BLOCK);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0) * RUN_LEN];
        let position = HEAD_LEN as u64 + first * RUN_LEN as u64;
        let got = read_full_at(&*self.file, &mut bytes, position).map_err(|error| {
            Error::io("read digests", &self.file.path(), error).at_position(position)
        })?;
        bytes.truncate(got);
        Ok(bytes.chunks_exact(RUN_LEN).map(|run| decode(run, self.seed)).collect())
    }

    /// The whole runs, in order, from the block on in which `fence` begins.
    fn runs_from(&self, fence: usize) -> impl Iterator<Item = Result<(u64, Run)>> + '_ {
        let blocks = fence as u64..self.fences.len() as u64;
        blocks.flat_map(move |block| {
            let (runs, failed) = match self.block(block) {
                Ok(runs) => (runs, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let numbered = (block * BLOCK..).zip(runs);
            let whole = numbered.filter_map(|(number, run)| Some(Ok((number, run?))));
            whole.chain(failed)
        })
    }

    /// Every whole run with its number, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Result<(u64, Run)>> + '_ {
        self.runs_from(0)
    }

    /// The whole runs that reach behind `position`, in order.
    pub(crate) fn runs_behind(&self, position: u64) -> impl Iterator<Item = Result<Run>> + '_ {
        let fence = self.fences.partition_point(|(start, _)| u64::from(*start) <= position);
        self.runs_from(fence.saturating_sub(1))
            .map(|run| run.map(|(_, run)| run))
            .filter(move |run| run.as_ref().map_or(true, |run| u64::from(run.end) > position))
    }

    /// The whole runs that reach beyond an offset relative to the base, in order.
    pub(crate) fn runs_beyond(&self, relative: u32) -> impl Iterator<Item = Result<Run>> + '_ {
        let fence = self.fences.partition_point(|(_, first)| *first <= relative);
        self.runs_from(fence.saturating_sub(1))
            .map(|run| run.map(|(_, run)| run))
            .filter(move |run| run.as_ref().map_or(true, |run| run.next > relative))
    }
}

/// Writes `runs` behind the first `kept` ones, in one piece; the file is made where it is missing.
/// What lay behind those goes first. Not synced here.
pub(crate) fn write_runs(
    disk: &dyn Disk,
    path: &Path,
    (identity, base): (Identity, Offset),
    kept: u64,
    runs: &[Run],
) -> Result<Arc<dyn DiskFile>> {
    let head = head(identity, base);
    let seed = run_seed(identity, base);
    let position = if kept == 0 { 0 } else { HEAD_LEN as u64 + kept * RUN_LEN as u64 };
    let mut bytes = Vec::with_capacity(HEAD_LEN + runs.len() * RUN_LEN);
    if kept == 0 {
        bytes.extend_from_slice(&head);
    }
    bytes.extend(runs.iter().flat_map(|run| encode(run, seed)));
    let write = || {
        own(disk, path)?;
        let file = disk.open(path, Access::Create)?;
        if file.len()? > position {
            file.set_len(position)?;
        }
        write_all_at(&*file, &bytes, position)?;
        Ok(file)
    };
    write().map_err(|error| Error::io("write digests", path, error))
}

/// The bytes of a whole sidecar.
pub(crate) fn sidecar_bytes(identity: Identity, base: Offset, runs: &[Run]) -> Vec<u8> {
    let seed = run_seed(identity, base);
    let mut bytes = head(identity, base).to_vec();
    bytes.extend(runs.iter().flat_map(|run| encode(run, seed)));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its name comes in one step: who asked before, and looks after, has seen none.
    #[cfg(feature = "sim")]
    #[test]
    fn one_that_comes_while_it_is_asked_for_was_missing() {
        use crate::disk::{Fault, Operation, Plan, SimDisk};
        use crate::ids::{PartitionId, TopicId};
        let (disk, path) = (SimDisk::new(1), Path::new("/a"));
        let identity = Identity { topic: TopicId::random(), partition: PartitionId::new(0) };
        write_runs(&disk, path, (identity, Offset::ZERO), 0, &[]).unwrap();
        disk.fail(Plan::new(Fault::Error(2)).on(Operation::Open));
        let open = || Sidecar::open(&disk, path, identity, Offset::ZERO);
        assert!(matches!(open(), Ok(Found::Missing)));
        assert!(matches!(open(), Ok(Found::Sidecar(_))));
        disk.fail(Plan::new(Fault::Error(13)).on(Operation::Open));
        assert!(open().is_err(), "it is there, and may not be opened");
    }

    #[test]
    fn a_sparse_file_is_read_no_further_than_a_segment_goes() {
        assert_eq!(runs_in(0), 0);
        assert_eq!(runs_in((HEAD_LEN + 3 * RUN_LEN + 1) as u64), 3);
        assert!(runs_in(1 << 40) < 1 << 26);
    }
}
