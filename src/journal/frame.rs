//! The bytes of the journal: the head of its file, and frames. Pure: bytes in, values out.
//!
//! Big-endian. The file begins with 8 bytes magic, u32 version, 16 bytes store id, u64 bytes of a
//! half, u32 CRC-32C of all before; zeros up to [`FILE_HEAD`]; then two halves.
//!
//! | frame | | |
//! | --- | --- | --- |
//! | 0 | 4 bytes magic | |
//! | 4 | u32 length, without padding | 8: u32 CRC-32C |
//! | 12 | u32 kind: 1 records, 2 end of a lap, 3 bar | 16: 16 bytes store id |
//! | 32 | i32 reign | 36: u32 partition |
//! | 40 | u64 lap | 48: u64 sequence |
//! | 56 | u64 durable through | 64: u64 oldest sequence that counts |
//! | 72 | 16 bytes topic id | 88: i64 base offset of the segment |
//! | 96 | u64 position in it | 104: i64 first offset, 112: i64 end offset |
//! | 120 | whole batches; zeros up to a multiple of 8 | |
//!
//! The CRC covers the frame's own position in the file, as u64, then all but itself: a frame copied
//! to another place, or into a record's value, is none. A frame that ends a lap has no batches, and
//! zeros from 72 on. A bar says that earlier frames of its log count no more, for the log was
//! truncated: it has no batches, and zeros from 88 on.

use crate::ids::{LeaderEpoch, LogId, Offset, PartitionId, TopicId};

/// What the file's head takes.
pub(crate) const FILE_HEAD: u64 = 4096;
const FILE_MAGIC: [u8; 8] = *b"TIDEJRNL";
/// The version written, and the only one read.
pub(super) const VERSION: u32 = 1;
const FILE_CRC_AT: usize = 36;
/// What of the head is not zeros.
pub(super) const FILE_LEN: usize = FILE_CRC_AT + 4;

const MAGIC: [u8; 4] = *b"TJFR";
const LEN_AT: usize = 4;
const CRC_AT: usize = 8;
const KIND_AT: usize = 12;
/// What comes before a frame's batches.
pub(super) const HEAD: usize = 120;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;

const RECORDS: u32 = 1;
const LAP_END: u32 = 2;
const BAR: u32 = 3;

/// An identity of the store, as its marker has it.
pub(crate) type StoreId = [u8; 16];

/// What the head of a journal's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) store: StoreId,
    /// Bytes of each half.
    pub(super) half: u64,
}

/// Why a file is not a journal of this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    Newer { found: u32 },
    Damage(&'static str),
}

impl FileHead {
    pub(super) fn encode(&self) -> [u8; FILE_LEN] {
        let mut bytes = [0; FILE_LEN];
        bytes[..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
        bytes[12..28].copy_from_slice(&self.store);
        bytes[28..FILE_CRC_AT].copy_from_slice(&self.half.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[..FILE_CRC_AT]);
        bytes[FILE_CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<FileHead, HeadFault> {
        let Some(head) = bytes.first_chunk::<FILE_LEN>() else {
            return Err(HeadFault::Damage("the file ends within its head"));
        };
        if head[..8] != FILE_MAGIC {
            return Err(HeadFault::Damage("not a journal"));
        }
        if crc32c::crc32c(&head[..FILE_CRC_AT]) != word(head, FILE_CRC_AT) {
            return Err(HeadFault::Damage("the checksum of its head does not fit"));
        }
        match word(head, 8) {
            VERSION => {}
            0 => return Err(HeadFault::Damage("version 0 never was")),
            found => return Err(HeadFault::Newer { found }),
        }
        let half = long(head, 28);
        if half == 0 || half > MOST_HALF {
            return Err(HeadFault::Damage("its size makes no sense"));
        }
        Ok(FileHead { store: sixteen(head, 12), half })
    }
}

/// A half is never larger: what one damaged number could make us read.
const MOST_HALF: u64 = 1 << 30;

/// Which journal, and which part of its life, frames belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reign {
    pub(crate) store: StoreId,
    /// The epoch that the open drew.
    pub(crate) epoch: LeaderEpoch,
}

/// Where a frame stands among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) lap: u64,
    pub(super) sequence: u64,
    /// Frames up to here were durable when this one was written.
    pub(super) durable_through: u64,
    /// What frames before this one say is in the synced segments.
    pub(super) oldest: u64,
}

/// Which bytes of which log a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) log: LogId,
    /// The base offset of the segment they lie in.
    pub(crate) segment: Offset,
    /// Where in it they begin.
    pub(crate) position: u64,
    pub(crate) first: Offset,
    /// One past the last record.
    pub(crate) end: Offset,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Records(Extent, &'a [u8]),
    /// The last frame of a lap.
    LapEnd,
    /// What came before of this log counts no more.
    Bar(LogId),
}

/// How many bytes a frame with that many bytes of batches takes; `None` where no frame can.
pub(super) fn frame_size(batches: usize) -> Option<usize> {
    let len = batches.checked_add(HEAD).filter(|len| u32::try_from(*len).is_ok())?;
    len.checked_next_multiple_of(ALIGN)
}

/// Appends a frame that will lie at `at` in the file. It must have a size.
pub(super) fn put(
    out: &mut Vec<u8>,
    at: u64,
    reign: &Reign,
    standing: &Standing,
    content: Content<'_>,
) {
    let start = out.len();
    out.extend(MAGIC);
    out.extend([0; 8]); // length and checksum
    let (kind, partition, batches): (_, _, &[u8]) = match content {
        Content::Records(extent, batches) => (RECORDS, extent.log.partition.get(), batches),
        Content::LapEnd => (LAP_END, 0, &[]),
        Content::Bar(log) => (BAR, log.partition.get(), &[]),
    };
    out.extend(kind.to_be_bytes());
    out.extend(reign.store);
    out.extend(reign.epoch.get().to_be_bytes());
    out.extend(partition.to_be_bytes());
    for number in [standing.lap, standing.sequence, standing.durable_through, standing.oldest] {
        out.extend(number.to_be_bytes());
    }
    match content {
        Content::Records(extent, _) => {
            out.extend(extent.log.topic.as_bytes());
            out.extend(extent.segment.get().to_be_bytes());
            out.extend(extent.position.to_be_bytes());
            out.extend(extent.first.get().to_be_bytes());
            out.extend(extent.end.get().to_be_bytes());
        }
        Content::LapEnd => out.resize(start + HEAD, 0),
        Content::Bar(log) => {
            out.extend(log.topic.as_bytes());
            out.resize(start + HEAD, 0);
        }
    }
    out.extend_from_slice(batches);
    let len = out.len() - start;
    let length = u32::try_from(len).expect("the caller has asked for its size");
    out[start + LEN_AT..start + CRC_AT].copy_from_slice(&length.to_be_bytes());
    let crc = checksum(at, &out[start..]);
    out[start + CRC_AT..start + KIND_AT].copy_from_slice(&crc.to_be_bytes());
    out.resize(start + len.next_multiple_of(ALIGN), 0);
}

fn checksum(at: u64, frame: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&at.to_be_bytes());
    let crc = crc32c::crc32c_append(crc, &frame[..CRC_AT]);
    crc32c::crc32c_append(crc, &frame[KIND_AT..])
}

/// A frame whose checksum fits its bytes and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    /// With its padding.
    pub(super) size: usize,
    pub(super) standing: Standing,
    pub(super) content: Content<'a>,
}

/// How far on the next place is where a frame may begin.
pub(super) fn begins(bytes: &[u8]) -> Option<usize> {
    let mut places = bytes.chunks_exact(ALIGN);
    let nth = places.position(|place| place.first_chunk() == Some(&MAGIC))?;
    Some(nth * ALIGN)
}

/// How long the frame of `reign` at the front of `bytes` says it is, and what it takes with its
/// padding.
fn lengths(bytes: &[u8], reign: &Reign) -> Option<(usize, usize)> {
    let head = bytes.first_chunk::<HEAD>().filter(|head| head[..4] == MAGIC)?;
    let len = usize::try_from(word(head, LEN_AT)).ok().filter(|len| *len >= HEAD)?;
    let of_reign = sixteen(head, 16) == reign.store
        && i32::from_be_bytes(std::array::from_fn(|i| head[32 + i])) == reign.epoch.get();
    of_reign.then(|| (len, len.next_multiple_of(ALIGN)))
}

/// How many bytes what looks like a frame of `reign` asks for; its head will do.
pub(super) fn claimed(bytes: &[u8], reign: &Reign) -> Option<usize> {
    lengths(bytes, reign).map(|(_, size)| size)
}

/// The frame of `reign` at the front of `bytes`, which lie at `at` in the file.
pub(super) fn parse<'a>(bytes: &'a [u8], at: u64, reign: &Reign) -> Option<Parsed<'a>> {
    let (len, size) = lengths(bytes, reign)?;
    let head = bytes.first_chunk::<HEAD>()?;
    let whole = bytes.get(..len)?;
    let padding = bytes.get(len..size)?;
    if checksum(at, whole) != word(head, CRC_AT) || padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    let standing = Standing {
        lap: long(head, 40),
        sequence: long(head, 48),
        durable_through: long(head, 56),
        oldest: long(head, 64),
    };
    let content = match word(head, KIND_AT) {
        RECORDS => Content::Records(extent(head)?, &whole[HEAD..]),
        LAP_END if len == HEAD => Content::LapEnd,
        BAR if len == HEAD => Content::Bar(log_id(head)?),
        _ => return None,
    };
    Some(Parsed { size, standing, content })
}

fn extent(head: &[u8; HEAD]) -> Option<Extent> {
    let offset = |at| Offset::new(i64::from_be_bytes(std::array::from_fn(|i| head[at + i])));
    Some(Extent {
        log: log_id(head)?,
        segment: offset(88),
        position: long(head, 96),
        first: offset(104),
        end: offset(112),
    })
}

fn log_id(head: &[u8; HEAD]) -> Option<LogId> {
    let topic = TopicId::from_bytes(sixteen(head, 72))?;
    Some(LogId { topic, partition: PartitionId::new(word(head, 36)) })
}

/// The caller has checked that the bytes are there, as for the two below.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn sixteen(bytes: &[u8], at: usize) -> [u8; 16] {
    std::array::from_fn(|i| bytes[at + i])
}
