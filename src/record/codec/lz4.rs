//! lz4: the frame Kafka writes and reads, around the blocks of `lz4_flex`.
//!
//! Written is one frame of independent 64 KiB blocks without checksums or sizes, whose header is
//! always the same 7 bytes; a block that does not shrink is stored. Read is what Kafka reads: the
//! header's checksum and those of blocks are checked, a content size is stepped over, a content
//! checksum and what follows the end mark is not looked at; dependent blocks, reserved bits and
//! blocks above the declared size are refused. Numbers in the frame are little-endian. Called by
//! `codec` alone.

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use twox_hash::XxHash32;

use super::CodecFault;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1, independent blocks; blocks of 64 KiB; the checksum of these two.
const DESCRIPTOR: [u8; 3] = [0x60, 0x40, 0x82];
const BLOCK: usize = 64 << 10;
const END_MARK: [u8; 4] = [0; 4];
/// In a block's length: it is stored as it was.
const STORED: u32 = 1 << 31;
/// A byte of a block stands for at most as many.
const EXPANSION: usize = 255;

const CUT_OFF: CodecFault = CodecFault::Malformed("the frame ends too early");

/// What a frame's header says of its blocks.
struct Frame {
    block_max: usize,
    block_checksums: bool,
}

pub(super) fn unpack(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecFault> {
    let mut left = packed;
    let frame = header(&mut left)?;
    loop {
        let length = u32::from_le_bytes(take(&mut left)?);
        if length == 0 {
            return Ok(());
        }
        let size = (length & !STORED) as usize; // u32 fits
        if size > frame.block_max {
            return Err(CodecFault::Malformed("a block is larger than the frame allows"));
        }
        let (block, rest) = left.split_at_checked(size).ok_or(CUT_OFF)?;
        left = rest;
        if frame.block_checksums
            && u32::from_le_bytes(take(&mut left)?) != XxHash32::oneshot(0, block)
        {
            return Err(CodecFault::Malformed("the checksum of a block does not fit"));
        }
        append(block, length & STORED != 0, frame.block_max, limit, out)?;
    }
}

fn take<const N: usize>(left: &mut &[u8]) -> Result<[u8; N], CodecFault> {
    let (bytes, rest) = left.split_first_chunk().ok_or(CUT_OFF)?;
    *left = rest;
    Ok(*bytes)
}

fn header(left: &mut &[u8]) -> Result<Frame, CodecFault> {
    if take(left)? != MAGIC {
        return Err(CodecFault::Malformed("no lz4 frame"));
    }
    let described = *left;
    let [flags, size] = take(left)?;
    let wrong = match (flags, size) {
        _ if flags >> 6 != 1 => Some("a frame version other than 1"),
        _ if flags & 0x03 != 0 || size & 0x8f != 0 => Some("reserved bits of the frame are set"),
        _ if flags & 0x20 == 0 => Some("blocks that depend on each other"),
        _ if size >> 4 < 4 => Some("an unknown block size"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(CodecFault::Malformed(wrong));
    }
    if flags & 0x08 != 0 {
        take::<8>(left)?; // the content size
    }
    let described = &described[..described.len() - left.len()];
    let [checksum] = take(left)?;
    if checksum != XxHash32::oneshot(0, described).to_be_bytes()[2] {
        return Err(CodecFault::Malformed("the checksum of the frame header does not fit"));
    }
    let block_max = 1 << (8 + 2 * u32::from(size >> 4)); // 64 KiB to 4 MiB
    Ok(Frame { block_max, block_checksums: flags & 0x10 != 0 })
}

fn append(
    block: &[u8],
    stored: bool,
    block_max: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecFault> {
    let from = out.len();
    let allowed = limit - from.min(limit);
    if stored {
        if block.len() > allowed {
            return Err(CodecFault::TooLarge);
        }
        out.extend_from_slice(block);
        return Ok(());
    }
    let room = block.len().saturating_mul(EXPANSION).min(block_max);
    out.resize(from + room.min(allowed), 0);
    let written = decompress_into(block, &mut out[from..]).map_err(|error| match error {
        lz4_flex::block::DecompressError::OutputTooSmall { .. } if allowed < room => {
            CodecFault::TooLarge
        }
        _ => CodecFault::Malformed("a block that is none"),
    })?;
    out.truncate(from + written);
    Ok(())
}

pub(super) fn pack(plain: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&DESCRIPTOR);
    for block in plain.chunks(BLOCK) {
        let from = out.len();
        out.resize(from + 4 + get_maximum_output_size(block.len()), 0);
        // the room is the largest a block can need
        let written = compress_into(block, &mut out[from + 4..]).unwrap_or(usize::MAX);
        let mut length = u32::try_from(written).unwrap_or(u32::MAX);
        if written >= block.len() {
            length = u32::try_from(block.len()).unwrap_or(u32::MAX) | STORED; // 64 KiB at most
            out[from + 4..from + 4 + block.len()].copy_from_slice(block);
        }
        out[from..from + 4].copy_from_slice(&length.to_le_bytes());
        out.truncate(from + 4 + written.min(block.len()));
    }
    out.extend_from_slice(&END_MARK);
}
