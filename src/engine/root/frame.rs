//! The bytes of the state log: a header, then frames of facts. Pure: bytes in, facts out.
//!
//! Layout, big-endian. Header: 8 bytes magic, u32 version, 16 bytes store id, u64 generation, u64
//! sequence of the first frame, u64 sequence up to which frames were durable when the file got its
//! name (its snapshot), u32 CRC-32C over all before it. Frame: u32 length of the payload, u32
//! CRC-32C over length, sequence and payload, u64 sequence, payload: u64 sequence up to which
//! frames were known to be durable when this one was written, then facts. Sequences have no gap.
//!
//! Torn or damaged? A bad frame is *damage* if anything vouches that it was durable once: the
//! header's snapshot mark, or a whole frame behind it. Otherwise a crash explains it, with or
//! without whole frames behind it, since a disk writes what was never synced in any order: then
//! the tail from there on is *torn* and was never promised to anyone as surviving a power cut.

use super::fact::Fact;
use super::marker::StoreId;

const MAGIC: [u8; 8] = *b"TIDESTAT";
/// The version written and the newest read. The first has no fact `Compacted`, the second no
/// `SyncFailed`, the third no `JournalBegun` and `JournalEnded`, the fourth no `ProducerIds`.
pub(super) const VERSION: u32 = 6;
const OLDEST: u32 = 1;
pub(super) const HEADER_LEN: usize = 8 + 4 + 16 + 8 + 8 + 8 + 4;
const CRC_AT: usize = HEADER_LEN - 4;
pub(super) const FRAME_HEAD: usize = 4 + 4 + 8;
const VOUCH_LEN: usize = 8;
/// The most a frame's payload may take: some 500,000 recovery points.
pub(super) const MAX_PAYLOAD: usize = 16 << 20;
/// Sequences stay far from overflowing their arithmetic.
const MAX_SEQUENCE: u64 = 1 << 62;

/// What the first bytes of a state log say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) store_id: StoreId,
    pub(super) generation: u64,
    pub(super) first_sequence: u64,
    pub(super) snapshot_through: u64,
}

/// Why a state log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Newer { found: u32 },
    Damage { position: u64, reason: &'static str },
}

fn damage<T>(position: usize, reason: &'static str) -> Result<T, Fault> {
    Err(Fault::Damage { position: position as u64, reason })
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
        bytes[12..28].copy_from_slice(self.store_id.as_bytes());
        bytes[28..36].copy_from_slice(&self.generation.to_be_bytes());
        bytes[36..44].copy_from_slice(&self.first_sequence.to_be_bytes());
        bytes[44..CRC_AT].copy_from_slice(&self.snapshot_through.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Header, Fault> {
        let Some(head) = bytes.first_chunk::<HEADER_LEN>() else {
            return damage(bytes.len(), "the file ends within its header");
        };
        if head[..8] != MAGIC {
            return damage(0, "not a state log");
        }
        if crc32c::crc32c(&head[..CRC_AT]) != word(head, CRC_AT) {
            return damage(CRC_AT, "the header's checksum does not fit");
        }
        let version = word(head, 8);
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(Fault::Newer { found: version });
        }
        let header = Header {
            store_id: StoreId::from_bytes(std::array::from_fn(|i| head[12 + i])),
            generation: long(head, 28),
            first_sequence: long(head, 36),
            snapshot_through: long(head, 44),
        };
        let sound = header.first_sequence <= header.snapshot_through.saturating_add(1)
            && (1..MAX_SEQUENCE).contains(&header.first_sequence)
            && header.snapshot_through < MAX_SEQUENCE
            && header.generation < MAX_SEQUENCE;
        if sound { Ok(header) } else { damage(28, "the header's numbers make no sense") }
    }
}

/// The caller has checked that four bytes are there.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// The caller has checked that eight bytes are there.
fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Appends a frame of `facts`; an error is the size its payload would have had.
pub(super) fn put_frame(
    out: &mut Vec<u8>,
    sequence: u64,
    durable_through: u64,
    facts: &[Fact],
) -> Result<(), usize> {
    let start = out.len();
    out.extend([0; FRAME_HEAD]);
    out.extend(durable_through.to_be_bytes());
    facts.iter().for_each(|fact| fact.encode(out));
    let size = out.len() - start - FRAME_HEAD;
    let length = u32::try_from(size).ok().filter(|_| size <= MAX_PAYLOAD);
    let Some(length) = length else {
        out.truncate(start);
        return Err(size);
    };
    let frame = &mut out[start..];
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame[8..FRAME_HEAD].copy_from_slice(&sequence.to_be_bytes());
    let crc = frame_crc(frame);
    frame[4..8].copy_from_slice(&crc.to_be_bytes());
    Ok(())
}

/// Over all of a frame but the checksum itself.
pub(super) fn frame_crc(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

/// A frame whose checksum fits.
struct Frame<'a> {
    len: usize,
    durable_through: u64,
    facts: &'a [u8],
}

/// The frame at the front of `bytes`, if it is whole and its sequence is within `sequences`.
fn frame(bytes: &[u8], sequences: std::ops::RangeInclusive<u64>) -> Option<Frame<'_>> {
    let head = bytes.first_chunk::<FRAME_HEAD>()?;
    let size = usize::try_from(word(head, 0)).ok()?;
    if !(VOUCH_LEN..=MAX_PAYLOAD).contains(&size) || !sequences.contains(&long(head, 8)) {
        return None;
    }
    let len = FRAME_HEAD + size;
    let whole = bytes.get(..len)?;
    (frame_crc(whole) == word(head, 4)).then(|| Frame {
        len,
        durable_through: long(whole, FRAME_HEAD),
        facts: &whole[FRAME_HEAD + VOUCH_LEN..],
    })
}

/// Everything in a state log that can be believed.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) header: Header,
    pub(super) facts: Vec<Fact>,
    pub(super) next_sequence: u64,
    /// Where the last whole frame begins.
    pub(super) last: Option<usize>,
    pub(super) torn: Option<TornTail>,
}

/// The end of a state log that a crash left unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TornTail {
    /// Where it begins in the file.
    pub(crate) position: u64,
    /// How long it is.
    pub(crate) bytes: u64,
    /// How many whole frames lay behind the bad one; none was known to be durable.
    pub(crate) whole_frames: usize,
}

/// Reads a whole state log.
pub(super) fn scan(bytes: &[u8]) -> Result<Scan, Fault> {
    let header = Header::parse(bytes)?;
    scan_on(bytes, HEADER_LEN, header, header.first_sequence)
}

/// Reads on in a state log from the frame of sequence `next_sequence`, which begins at `at` in
/// `bytes`; positions are counted in `bytes`.
pub(super) fn scan_on(
    bytes: &[u8],
    mut at: usize,
    header: Header,
    next_sequence: u64,
) -> Result<Scan, Fault> {
    let mut scan = Scan { header, facts: Vec::new(), next_sequence, last: None, torn: None };
    while at < bytes.len() {
        let expected = scan.next_sequence;
        let Some(frame) = frame(&bytes[at..], expected..=expected) else {
            scan.torn = Some(judge_bad_frame(bytes, at, &header, expected)?);
            return Ok(scan);
        };
        scan.last = Some(at);
        let mut rest = frame.facts;
        while !rest.is_empty() {
            let fact_at = at + frame.len - rest.len();
            match Fact::decode(&mut rest) {
                Ok(fact) => scan.facts.push(fact),
                Err(reason) => return damage(fact_at, reason),
            }
        }
        scan.next_sequence += 1;
        at += frame.len;
    }
    if scan.next_sequence <= header.snapshot_through {
        return damage(at, "the file ends within the state it was begun with");
    }
    Ok(scan)
}

/// Torn, or an error: see the head of this room.
fn judge_bad_frame(
    bytes: &[u8],
    at: usize,
    header: &Header,
    expected: u64,
) -> Result<TornTail, Fault> {
    if expected <= header.snapshot_through {
        return damage(at, "a bad frame in the state the file was begun with");
    }
    let left = bytes.len() - at;
    let newest = expected + (left / FRAME_HEAD) as u64;
    let mut whole_frames = 0;
    let mut from = at + 1;
    while from < bytes.len() {
        let Some(behind) = frame(&bytes[from..], expected + 1..=newest) else {
            from += 1;
            continue;
        };
        if behind.durable_through >= expected {
            return damage(at, "a bad frame that later ones know to have been durable");
        }
        whole_frames += 1;
        from += behind.len;
    }
    Ok(TornTail { position: at as u64, bytes: left as u64, whole_frames })
}

#[cfg(test)]
mod tests;
