//! The value of a committed offset: v0 to v4 read, v4 written as Kafka 4.1.1 writes it (no tagged
//! fields; 4.3 adds one, which is skipped).
//!
//! What a commit may not carry is refused before anything is written; an offset is never negative.

use super::{Input, SchemaFault, put_varint, too_large};
use crate::error::{Cause, Error, Result};
use crate::ids::{LeaderEpoch, Offset};
use crate::time::Timestamp;

/// Most bytes of UTF-8 that a commit's metadata may take; Kafka's `offset.metadata.max.bytes`.
pub(super) const METADATA_LIMIT: usize = 4_096;

const VALUE_VERSION: i16 = 4;

/// The value of a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommittedValue<'a> {
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the last record read; before v3 there was none.
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: &'a str,
    pub committed_at: Timestamp,
    /// Only v1 has one.
    pub expires_at: Option<Timestamp>,
}

/// Refuses metadata that a commit may not carry; asked before anything is written.
pub(crate) fn check_metadata(metadata: &str) -> Result<()> {
    if metadata.len() > METADATA_LIMIT {
        return Err(too_large("commit", "commit metadata", metadata, METADATA_LIMIT));
    }
    Ok(())
}

impl<'a> CommittedValue<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let version = input.i16("value version")?;
        if !(0..=VALUE_VERSION).contains(&version) {
            return Err(SchemaFault::Version { what: "a committed offset's value", version });
        }
        let offset = input.i64("offset")?;
        if offset < 0 {
            return Err(SchemaFault::Number { field: "offset", number: offset });
        }
        let epoch = if version >= 3 { input.i32("leader epoch")? } else { -1 };
        let metadata = match version {
            4.. => input.compact_string("metadata")?,
            _ => input.string("metadata")?,
        };
        let committed_at = Timestamp::from_millis(input.i64("commit timestamp")?);
        let expires_at = if version == 1 { input.i64("expire timestamp")? } else { -1 };
        if version >= 4 {
            input.skip_tagged_fields()?;
        }
        input.end()?;
        Ok(CommittedValue {
            offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::from_wire(epoch),
            metadata,
            committed_at,
            expires_at: Timestamp::from_wire(expires_at),
        })
    }

    /// The bytes of v4, which has no place for `expires_at`. Fails for metadata over
    /// [`METADATA_LIMIT`] and for a negative offset.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        check_metadata(self.metadata)?;
        if self.offset < Offset::ZERO {
            let text = format!("the offset {} is negative", self.offset);
            return Err(Error::new("commit", Cause::InvalidArgument(text)));
        }
        let mut bytes = Vec::with_capacity(25 + self.metadata.len());
        bytes.extend_from_slice(&VALUE_VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.offset.get().to_be_bytes());
        let epoch = self.leader_epoch.map_or(-1, LeaderEpoch::get);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        let length = u32::try_from(self.metadata.len()).expect("checked against METADATA_LIMIT");
        put_varint(&mut bytes, length + 1); // 0 would be null, which Kafka refuses here
        bytes.extend_from_slice(self.metadata.as_bytes());
        bytes.extend_from_slice(&self.committed_at.as_millis().to_be_bytes());
        put_varint(&mut bytes, 0); // tagged fields
        Ok(bytes)
    }
}
