//! The records of `__prepared`, in bytes of our own.
//!
//! Keys are a version of two bytes, which also says of what, and the sequence (eight bytes).
//! Version 0, the transaction: while it is prepared its name (a string), when (eight bytes), a
//! count of records (four) and each of them as `state_log::kept` has it; then, in place of that,
//! how it ended. Version 1, the questions: how many were asked (four bytes) and whether it is
//! parked (one). Values begin with a version of two bytes, 0; that of a transaction goes on with a
//! byte: 0 prepared, 1 committed, 2 rolled back. Everything is big-endian.
//!
//! Rules against foreign bytes are those of `state_log::wire`. Called by `coordinator`.

#[cfg(fuzzing)]
pub(crate) mod fuzz;

use super::state::Outcome;
use crate::error::{Cause, Error, Result};
use crate::state_log::kept::Kept;
use crate::state_log::wire::{Input, SchemaFault, put_string};
use crate::time::Timestamp;

const VERSION: i16 = 0;

/// What a key is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Transaction(u64),
    Questions(u64),
}

/// The value of a transaction's key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Prepared { name: &'a str, prepared: Timestamp, records: Vec<Kept<'a>> },
    Ended(Outcome),
}

/// What was asked about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Questions {
    pub(super) asked: u32,
    pub(super) is_parked: bool,
}

impl Key {
    pub(super) fn encode(self) -> [u8; 10] {
        let (version, sequence) = match self {
            Key::Transaction(sequence) => (0i16, sequence),
            Key::Questions(sequence) => (1, sequence),
        };
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&version.to_be_bytes());
        bytes[2..].copy_from_slice(&sequence.to_be_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let version = input.i16("key version")?;
        let number = input.i64("sequence")?;
        input.end()?;
        let fault = SchemaFault::Number { field: "sequence", number };
        let sequence = u64::try_from(number).map_err(|_| fault)?;
        match version {
            0 => Ok(Key::Transaction(sequence)),
            1 => Ok(Key::Questions(sequence)),
            _ => Err(SchemaFault::Version { what: "a prepared transaction's key", version }),
        }
    }
}

fn checked_version(input: &mut Input<'_>, what: &'static str) -> Result<(), SchemaFault> {
    let version = input.i16("value version")?;
    if version == VERSION { Ok(()) } else { Err(SchemaFault::Version { what, version }) }
}

impl<'a> Value<'a> {
    /// Fails for what the format cannot hold.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        match self {
            Value::Prepared { name, prepared, records } => {
                bytes.push(0);
                put_string(&mut bytes, "name", name)?;
                bytes.extend_from_slice(&prepared.as_millis().to_be_bytes());
                let count = i32::try_from(records.len()).map_err(|_| {
                    let text = "a transaction has too many records".to_owned();
                    Error::new("prepare", Cause::InvalidArgument(text))
                })?;
                bytes.extend_from_slice(&count.to_be_bytes());
                records.iter().try_for_each(|record| record.put(&mut bytes))?;
            }
            Value::Ended(Outcome::Committed) => bytes.push(1),
            Value::Ended(Outcome::RolledBack) => bytes.push(2),
        }
        Ok(bytes)
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        checked_version(&mut input, "a prepared transaction")?;
        let value = match input.i8("phase")? {
            0 => {
                let name = input.string("name")?;
                let prepared = Timestamp::from_millis(input.i64("time of preparation")?);
                let mut records = Vec::new();
                for _ in 0..input.i32("count of records")?.max(0) {
                    records.push(Kept::read(&mut input)?);
                }
                Value::Prepared { name, prepared, records }
            }
            1 => Value::Ended(Outcome::Committed),
            2 => Value::Ended(Outcome::RolledBack),
            other => return Err(SchemaFault::Number { field: "phase", number: other.into() }),
        };
        input.end()?;
        Ok(value)
    }
}

impl Questions {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = VERSION.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.asked.to_be_bytes());
        bytes.push(u8::from(self.is_parked));
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        checked_version(&mut input, "the questions about a prepared transaction")?;
        let asked = input.i32("count of questions")?.cast_unsigned();
        let is_parked = match input.i8("whether it is parked")? {
            0 => false,
            1 => true,
            other => {
                let (field, number) = ("whether it is parked", other.into());
                return Err(SchemaFault::Number { field, number });
            }
        };
        input.end()?;
        Ok(Questions { asked, is_parked })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
