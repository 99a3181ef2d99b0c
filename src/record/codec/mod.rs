//! The four codecs of Kafka's batches: bytes to bytes, in the frames Kafka writes and reads.
//!
//! Only what stands behind a batch's header is compressed. Each codec is a feature of this crate;
//! one that is not built in is a fault that names the feature. `unpack` trusts no length: memory
//! grows with what was in fact decompressed, or stays within a small multiple of the compressed
//! bytes, and never goes beyond the limit the caller gives. Called by `batch` for reading and by
//! `pack` and `rewrite` for writing. No codec keeps anything between two calls but contexts.

use super::fault::BatchFault;
use super::header::Codec;

#[cfg(fuzzing)]
pub(super) mod fuzz;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(test)]
mod tests;

/// Why bytes could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "a build without a codec knows the first alone")]
enum CodecFault {
    NotBuilt,
    /// More comes out than the limit allows.
    TooLarge,
    Malformed(&'static str),
}

/// How much memory one batch may take decompressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlainLimit(Option<usize>);

impl PlainLimit {
    /// 8 MiB, or 32 times the compressed bytes where that is more.
    pub(crate) const DEFAULT: PlainLimit = PlainLimit(None);

    /// Exactly `bytes`, however large the batch is.
    pub(crate) fn bytes(bytes: usize) -> Self {
        PlainLimit(Some(bytes))
    }

    /// The limit for a batch of `packed` bytes.
    pub(super) fn of(self, packed: usize) -> usize {
        self.0.unwrap_or_else(|| packed.saturating_mul(32).max(8 << 20))
    }
}

/// Whether this build reads and writes a codec.
pub(super) const fn is_built(codec: Codec) -> bool {
    match codec {
        Codec::None => true,
        Codec::Gzip => cfg!(feature = "gzip"),
        Codec::Snappy => cfg!(feature = "snappy"),
        Codec::Lz4 => cfg!(feature = "lz4"),
        Codec::Zstd => cfg!(feature = "zstd"),
    }
}

/// Decompresses `packed` into `out`, whose contents are replaced and whose memory is reused.
pub(super) fn unpack(
    codec: Codec,
    packed: &[u8],
    limit: PlainLimit,
    out: &mut Vec<u8>,
) -> Result<(), BatchFault> {
    out.clear();
    let limit = limit.of(packed.len());
    let unpacked = match codec {
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::unpack(packed, limit, out),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::unpack(packed, limit, out),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::unpack(packed, limit, out),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::unpack(packed, limit, out),
        _ => Err(CodecFault::NotBuilt),
    };
    unpacked.map_err(|fault| match fault {
        CodecFault::NotBuilt => BatchFault::NotBuilt(codec),
        CodecFault::TooLarge => BatchFault::Expands { codec, limit },
        CodecFault::Malformed(what) => BatchFault::Malformed { codec, what },
    })
}

/// Compresses `plain` and appends it to `out`. The level is one the codec has; `None` stands for
/// its default.
pub(super) fn pack(
    codec: Codec,
    level: Option<i32>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BatchFault> {
    let _ = (level, plain, &out); // a build without codecs uses none of them
    match codec {
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::pack(level, plain, out),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::pack(plain, out),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::pack(plain, out),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::pack(level, plain, out),
        _ => return Err(BatchFault::NotBuilt(codec)),
    }
    Ok(())
}
