//! A batch compressed: what a lingering batch or a batch of borrowed records becomes on its way in.
//!
//! Compression comes before the log's writer lock, and the header and checksum with it, so that
//! under the lock there is a copy. The size that a topic limits is the compressed one. A batch that
//! would be too large compressed and is not as it is stays as it is; and none is written that
//! decompresses to more than readers take by default. Called by producers and by `Log`.

use super::buffer::BatchBuffer;
use super::codec::{self, PlainLimit};
use super::encode::{
    AppendBatch as _, BatchRules, BorrowedBatch, limit, record_too_large, too_large,
};
use super::header::{BatchHeader, Codec};
use crate::config::Compression;
use crate::error::{Cause, Error, Result};

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Codec {
        match compression {
            Compression::Producer | Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        }
    }
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Compression {
        match codec {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }
    }
}

/// Fails where a codec is not built in.
pub(crate) fn check_built(operation: &'static str, compression: Compression) -> Result<()> {
    let codec = Codec::from(compression);
    if codec::is_built(codec) {
        return Ok(());
    }
    let text = format!("{codec}: this program was built without the feature `{codec}`");
    Err(Error::new(operation, Cause::Unsupported(text)))
}

/// Borrowed records as one batch, compressed as the rules say.
pub(crate) fn packed(records: &[super::Record<'_>], rules: &BatchRules) -> Result<BatchBuffer> {
    let plain = BatchBuffer::of(&BorrowedBatch::measure(records, rules)?);
    Ok(plain.packed(rules)?.unwrap_or(plain))
}

impl BatchBuffer {
    /// The batch compressed as the rules say; `None` where it is stored as it is.
    pub(crate) fn packed(&self, rules: &BatchRules) -> Result<Option<BatchBuffer>> {
        if rules.packing.is_plain() {
            return Ok(None);
        }
        check_built("append", rules.packing.codec())?;
        let codec = Codec::from(rules.packing.codec());
        let plain = self.records_bytes();
        let mut bytes = Vec::with_capacity(BatchHeader::LEN + plain.len() / 2);
        bytes.resize(BatchHeader::LEN, 0);
        codec::pack(codec, rules.packing.level(), plain, &mut bytes)
            .map_err(|fault| Error::new("append", fault.cause()))?;
        let most = PlainLimit::DEFAULT.of(bytes.len() - BatchHeader::LEN);
        if bytes.len() <= limit(rules) && plain.len() <= most {
            let tags = rules.tagged.then(|| self.tag_bits());
            return Ok(Some(self.with_records(bytes, codec, tags)));
        }
        if self.size() <= limit(rules) {
            return Ok(None);
        }
        if bytes.len() > limit(rules) {
            return Err(self.too_large(bytes.len(), limit(rules)));
        }
        let (what, size, limit) = ("the batch, decompressed,", plain.len() as u64, most as u64);
        Err(Error::new("append", Cause::TooLarge { what, size, limit }))
    }
    /// The error of a batch that is larger than its topic allows; a record alone in it is why.
    fn too_large(&self, size: usize, limit: usize) -> Error {
        match self.count() {
            1 => record_too_large(0, size, limit),
            _ => too_large(size, limit),
        }
    }
}
