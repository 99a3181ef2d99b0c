//! gzip: RFC 1952 members, one after the other; one is written.
//!
//! `flate2` over `miniz_oxide`, which is Rust throughout. The member's own checksum is checked as
//! well as the batch's. Called by `codec` alone. What is written has no name and no time, as
//! Java's has none.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::CodecFault;

pub(super) fn unpack(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecFault> {
    out.reserve(packed.len().saturating_mul(4).min(limit));
    let mut members = MultiGzDecoder::new(packed).take((limit as u64).saturating_add(1));
    members.read_to_end(out).map_err(|_| CodecFault::Malformed("no gzip stream"))?;
    if out.len() > limit { Err(CodecFault::TooLarge) } else { Ok(()) }
}

pub(super) fn pack(level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecFault> {
    let level = level.and_then(|level| u32::try_from(level).ok());
    let level = level.map_or(Compression::default(), |level| Compression::new(level.min(9)));
    let mut coder = GzEncoder::new(out, level);
    let written = coder.write_all(plain).and_then(|()| coder.try_finish());
    written.map_err(|_| CodecFault::Failed)
}
