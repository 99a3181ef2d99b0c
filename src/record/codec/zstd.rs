//! zstd: frames of any kind, read and written whole.
//!
//! A frame is decompressed straight into the room given for it: its window is never allocated,
//! whatever the frame says of it. How much room it needs is not believed but tried, four times as
//! much each time. Contexts are kept per thread. Called by `codec` alone.

use std::cell::RefCell;

use zstd_safe::{CCtx, DCtx, compress_bound, get_frame_content_size, zstd_sys};

use super::CodecFault;

thread_local! {
    static READ: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
    static WRITE: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
}

/// The level that stands for the default.
const DEFAULT_LEVEL: i32 = 3;
/// The first room: enough for most batches, and for a frame that says how much it needs.
const FIRST: usize = 64 << 10;

pub(super) fn unpack(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecFault> {
    let said = get_frame_content_size(packed).ok().flatten().unwrap_or(0);
    let said = usize::try_from(said).unwrap_or(usize::MAX).min(packed.len().saturating_mul(64));
    let mut room = packed.len().saturating_mul(8).max(FIRST).max(said).min(limit);
    loop {
        out.resize(room, 0);
        match READ.with_borrow_mut(|context| context.decompress(&mut out[..], packed)) {
            Ok(written) => {
                out.truncate(written);
                return Ok(());
            }
            Err(code) if !is_too_small(code) => {
                return Err(CodecFault::Malformed("no zstd frame"));
            }
            Err(_) if room == limit => return Err(CodecFault::TooLarge),
            Err(_) => room = room.saturating_mul(4).min(limit),
        }
    }
}

/// Whether the room did not suffice: an error is its number, counted down from zero.
fn is_too_small(code: usize) -> bool {
    let number = zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize;
    code.wrapping_neg() == number
}

pub(super) fn pack(level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + compress_bound(plain.len()), 0);
    let level = level.unwrap_or(DEFAULT_LEVEL);
    let written = WRITE.with_borrow_mut(|context| context.compress(&mut out[from..], plain, level));
    // the room is the largest it can need
    debug_assert!(written.is_ok(), "{written:?}");
    out.truncate(from + written.unwrap_or(0));
}
