//! What can be wrong with bytes that should be a record batch.
//!
//! A fault knows no file and no offset: whoever read the bytes adds the place and makes an
//! [`Error`] of it.

use std::path::Path;

use super::header::Codec;
use crate::error::{Cause, Error};
use crate::ids::Offset;

/// Why bytes are not a record batch this version reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchFault {
    #[error("{available} bytes where a batch of {needed} should be")]
    Short { needed: usize, available: usize },
    #[error("zeros where a batch should begin")]
    Zeros,
    #[error("a batch of {size} bytes, where 61 to {limit} are possible")]
    Size { size: i64, limit: usize },
    #[error(
        "records of format {magic}, which Kafka wrote before 0.11 and this library does not read{}",
        up_to(*last)
    )]
    Legacy {
        magic: i8,
        /// The last offset that lies there in such formats, where somebody has looked.
        last: Option<Offset>,
    },
    #[error("format {0}, where 2 is known")]
    Magic(i8),
    #[error("the checksum says {stored:08x}, the bytes {computed:08x}")]
    Crc { stored: u32, computed: u32 },
    #[error("in the batch header, {0}")]
    Header(&'static str),
    #[error("in record {index} of the batch, {what}")]
    Record { index: u32, what: &'static str },
    #[error("the batch is compressed with {0}; this program was built without the feature `{0}`")]
    NotBuilt(Codec),
    #[error("{0} failed to compress a batch; memory ran out")]
    NotCompressed(Codec),
    #[error("its records are compressed with {0}, where none may be")]
    Packed(Codec),
    #[error(
        "its records, compressed with {codec}, take more than {limit} bytes decompressed, the limit"
    )]
    Expands { codec: Codec, limit: usize },
    #[error("its records do not decompress: {what}, where {codec} should be")]
    Malformed { codec: Codec, what: &'static str },
}

fn up_to(last: Option<Offset>) -> String {
    last.map_or_else(String::new, |last| format!(", up to offset {last}"))
}

impl BatchFault {
    /// What it is to the caller: damage, or a batch that is sound and not for this reader.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            BatchFault::NotCompressed(_) => Cause::Full(self.to_string()),
            BatchFault::Legacy { .. } | BatchFault::NotBuilt(_) => {
                Cause::Unsupported(self.to_string())
            }
            BatchFault::Expands { .. } => Cause::Expands(self.to_string()),
            _ => Cause::Corrupt(self.to_string()),
        }
    }

    /// Whether the bytes are not what was written there.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.cause(), Cause::Corrupt(_))
    }

    /// The same, once somebody has looked whether records of an old format lie there: bytes that
    /// only look like them are damage like any other.
    pub(crate) fn looked_at(self, found: Option<BatchFault>) -> BatchFault {
        match (self, found) {
            (BatchFault::Legacy { magic, .. }, None) => BatchFault::Magic(magic),
            (BatchFault::Legacy { .. }, Some(found)) => found,
            (fault, _) => fault,
        }
    }

    /// The error of meeting this fault in `path` at `position`.
    pub(crate) fn into_error(
        self,
        operation: &'static str,
        path: &Path,
        position: u64,
        offset: Option<Offset>,
    ) -> Error {
        let error = Error::new(operation, self.cause()).at_path(path).at_position(position);
        match offset {
            Some(offset) => error.at_offset(offset),
            None => error,
        }
    }
}
