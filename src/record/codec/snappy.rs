//! snappy in the frame of Java's `snappy-java`, which Kafka's clients write.
//!
//! A header of 16 bytes, then blocks of 32 KiB of input, each behind its compressed length, to the
//! end of the batch. Without the header all of it is one raw block, as some clients write it and
//! Kafka reads it. A block says how long it will be: that is believed only as far as snappy can
//! expand at all. Called by `codec` alone.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::CodecFault;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The magic, the version and the oldest version that can read it, both 1.
const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK: usize = 32 << 10;
/// Three bytes copy at most 64.
const EXPANSION: usize = 22;

pub(super) fn unpack(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecFault> {
    if !packed.starts_with(&MAGIC) {
        return block(packed, limit, out);
    }
    let mut left = packed;
    while !left.is_empty() {
        if left.starts_with(&MAGIC) {
            // streams may follow each other
            let (header, rest) = left.split_at_checked(HEADER.len()).ok_or(CUT_OFF)?;
            if i32::from_be_bytes([header[8], header[9], header[10], header[11]]) < 1 {
                return Err(CodecFault::Malformed("a frame version below 1"));
            }
            left = rest;
            continue;
        }
        let (len, rest) = left.split_first_chunk::<4>().ok_or(CUT_OFF)?;
        let len = usize::try_from(i32::from_be_bytes(*len))
            .map_err(|_| CodecFault::Malformed("a negative block length"))?;
        let (packed, rest) = rest.split_at_checked(len).ok_or(CUT_OFF)?;
        block(packed, limit, out)?;
        left = rest;
    }
    Ok(())
}

const CUT_OFF: CodecFault = CodecFault::Malformed("the frame ends too early");

/// Appends one raw block.
fn block(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecFault> {
    let bad = |_| CodecFault::Malformed("a block that is none");
    let len = decompress_len(packed).map_err(bad)?;
    if len > packed.len().saturating_mul(EXPANSION) {
        return Err(CodecFault::Malformed("a block that cannot be as long as it says"));
    }
    let from = out.len();
    if from.saturating_add(len) > limit {
        return Err(CodecFault::TooLarge);
    }
    out.resize(from + len, 0);
    let written = Decoder::new().decompress(packed, &mut out[from..]).map_err(bad)?;
    out.truncate(from + written);
    Ok(())
}

pub(super) fn pack(plain: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&HEADER);
    let mut coder = Encoder::new();
    for block in plain.chunks(BLOCK) {
        let from = out.len();
        out.resize(from + 4 + max_compress_len(block.len()), 0);
        // the room is the largest a block can need
        let written = coder.compress(block, &mut out[from + 4..]).unwrap_or(0);
        debug_assert!(written > 0, "a block has bytes");
        let len = i32::try_from(written).unwrap_or(i32::MAX); // about 32 KiB
        out[from..from + 4].copy_from_slice(&len.to_be_bytes());
        out.truncate(from + 4 + written);
    }
}
