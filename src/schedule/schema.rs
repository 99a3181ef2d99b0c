//! The records of `__schedule`, in bytes of our own: an entry under its key, and a tombstone of the
//! key once it is published or cancelled.
//!
//! Key of version 0: the version (two bytes), when it is due, the sequence (eight bytes each).
//! Value of version 0: the version and the record that is kept, with its target, as
//! `state_log::kept` has it. Everything is big-endian.
//!
//! Rules against foreign bytes are those of `state_log::wire`. Called by `coordinator`, `firing`
//! and `reading`.

#[cfg(fuzzing)]
pub(crate) mod fuzz;

use super::state::Key;
use crate::error::Result;
use crate::state_log::kept::Kept;
use crate::state_log::wire::{Input, SchemaFault};

const VERSION: i16 = 0;

/// Key bytes.
pub(super) const KEY_LEN: usize = 18;

impl Key {
    pub(super) fn encode(self) -> [u8; KEY_LEN] {
        let mut bytes = [0; KEY_LEN];
        bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        bytes[2..10].copy_from_slice(&self.due.to_be_bytes());
        bytes[10..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let version = input.i16("key version")?;
        if version != VERSION {
            return Err(SchemaFault::Version { what: "a schedule's key", version });
        }
        let due = input.i64("due time")?;
        if !(0..=super::id::LATEST).contains(&due) {
            return Err(SchemaFault::Number { field: "due time", number: due });
        }
        let sequence = input.i64("sequence")?;
        input.end()?;
        let fault = SchemaFault::Number { field: "sequence", number: sequence };
        Ok(Key { due, sequence: u64::try_from(sequence).map_err(|_| fault)? })
    }
}

/// The bytes of an entry. Fails for what the format cannot hold.
pub(super) fn encode(entry: &Kept<'_>) -> Result<Vec<u8>> {
    let value = entry.record.value().map_or(0, <[u8]>::len);
    let mut bytes = Vec::with_capacity(96 + entry.target.name.len() + value);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    entry.put(&mut bytes)?;
    Ok(bytes)
}

/// An entry, borrowed from its bytes.
pub(super) fn parse(bytes: &[u8]) -> Result<Kept<'_>, SchemaFault> {
    let mut input = Input(bytes);
    let version = input.i16("value version")?;
    if version != VERSION {
        return Err(SchemaFault::Version { what: "a scheduled entry", version });
    }
    let entry = Kept::read(&mut input)?;
    input.end()?;
    Ok(entry)
}

#[cfg(all(test, not(loom)))]
mod tests;
