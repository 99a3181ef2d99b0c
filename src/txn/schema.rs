//! The records of `__transaction_state` in Kafka's bytes: which id, and its state.
//!
//! Keys are of version 0. Values are written in version 1, the flexible one with tagged fields, as
//! Kafka 4 does; version 0 is read too, and so are tags that are not known. Tags: 0 the previous
//! producer id, 1 the next one, 2 the client's version of the protocol; what has its default is
//! left out. Keys of other versions are somebody else's records and are left as they are.
//!
//! Rules against foreign bytes are those of `state_log::wire`. Called by `coordinator`.

#[cfg(fuzzing)]
pub(crate) mod fuzz;

use std::sync::Arc;
use std::time::Duration;

use byteorder::{BigEndian, ByteOrder};

use super::state::{Partitions, TransactionPhase, TransactionState};
use crate::error::{Cause, Error, Result};
use crate::ids::{PartitionId, ProducerEpoch, ProducerId};
use crate::state_log::wire::{Input, SchemaFault, put_string, put_varint};
use crate::time::{Timestamp, millis};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 1;

/// What a key says its record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateKey<'a> {
    /// The state of a transactional id.
    Transaction(&'a str),
    /// Of a kind not known here.
    Unknown,
}

impl<'a> StateKey<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        if input.i16("key version")? != KEY_VERSION {
            return Ok(StateKey::Unknown);
        }
        let id = input.string("transactional id")?;
        input.end()?;
        Ok(StateKey::Transaction(id))
    }
}

/// The key of an id's state. Fails for an id longer than the format holds.
pub(super) fn state_key(id: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4 + id.len());
    bytes.extend_from_slice(&KEY_VERSION.to_be_bytes());
    put_string(&mut bytes, "transactional id", id)?;
    Ok(bytes)
}

fn status(phase: TransactionPhase) -> i8 {
    match phase {
        TransactionPhase::Empty => 0,
        TransactionPhase::Ongoing => 1,
        TransactionPhase::PrepareCommit => 2,
        TransactionPhase::PrepareAbort => 3,
        TransactionPhase::CompleteCommit => 4,
        TransactionPhase::CompleteAbort => 5,
        TransactionPhase::Dead => 6,
    }
}

fn phase(status: i8) -> Result<TransactionPhase, SchemaFault> {
    Ok(match status {
        0 => TransactionPhase::Empty,
        1 => TransactionPhase::Ongoing,
        2 => TransactionPhase::PrepareCommit,
        3 => TransactionPhase::PrepareAbort,
        4 => TransactionPhase::CompleteCommit,
        5 => TransactionPhase::CompleteAbort,
        6 => TransactionPhase::Dead,
        other => return Err(SchemaFault::Number { field: "status", number: other.into() }),
    })
}

impl TransactionState {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SchemaFault> {
        let mut input = Input(bytes);
        let version = input.i16("value version")?;
        if !(0..=VALUE_VERSION).contains(&version) {
            return Err(SchemaFault::Version { what: "a transaction's state", version });
        }
        let producer = not_negative("producer id", input.i64("producer id")?)?;
        // -1 is an id whose first producer never came; no batch carries it
        let epoch = input.i16("producer epoch")?;
        let timeout = not_negative("timeout", input.i32("timeout")?.into())?;
        let phase = phase(input.i8("status")?)?;
        let partitions = if version == 0 { plain(&mut input)? } else { compact(&mut input)? };
        let mut state = TransactionState {
            producer: ProducerId::new(producer),
            epoch: ProducerEpoch::new(epoch.max(0)),
            previous: None,
            next: None,
            timeout: Duration::from_millis(timeout.unsigned_abs()),
            phase,
            partitions,
            updated: Timestamp::from_millis(input.i64("last update")?),
            started: Timestamp::from_wire(input.i64("start")?),
            client_version: 0,
        };
        if version > 0 {
            input.tagged_fields(|tag, bytes| state.take_tagged(tag, bytes))?;
        }
        input.end()?;
        Ok(state)
    }

    fn take_tagged(&mut self, tag: u32, bytes: &[u8]) -> Result<(), SchemaFault> {
        let mut input = Input(bytes);
        let id = |number: i64| (number >= 0).then_some(ProducerId::new(number));
        match tag {
            0 => self.previous = id(input.i64("previous producer id")?),
            1 => self.next = id(input.i64("next producer id")?),
            2 => self.client_version = input.i16("client version")?,
            _ => return Ok(()),
        }
        input.end()
    }

    /// The bytes of version 1. Fails for partitions and names that the format cannot hold.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&VALUE_VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.producer.get().to_be_bytes());
        bytes.extend_from_slice(&self.epoch.get().to_be_bytes());
        let timeout = i32::try_from(millis(self.timeout)).unwrap_or(i32::MAX);
        bytes.extend_from_slice(&timeout.to_be_bytes());
        bytes.push(status(self.phase).cast_unsigned());
        if self.phase == TransactionPhase::Empty {
            put_varint(&mut bytes, 0); // null, as Kafka has it
        } else {
            put_partitions(&mut bytes, &self.partitions)?;
        }
        bytes.extend_from_slice(&self.updated.as_millis().to_be_bytes());
        let started = self.started.map_or(-1, Timestamp::as_millis);
        bytes.extend_from_slice(&started.to_be_bytes());
        let id = |id: Option<ProducerId>| id.map(|id| id.get().to_be_bytes().to_vec());
        let version = (self.client_version != 0).then(|| self.client_version.to_be_bytes());
        let tagged = [id(self.previous), id(self.next), version.map(|bytes| bytes.to_vec())];
        put_varint(&mut bytes, count(tagged.iter().flatten().count())?);
        for (tag, field) in (0..).zip(tagged) {
            let Some(field) = field else { continue };
            put_varint(&mut bytes, tag);
            put_varint(&mut bytes, count(field.len())?);
            bytes.extend_from_slice(&field);
        }
        Ok(bytes)
    }
}

fn not_negative(field: &'static str, number: i64) -> Result<i64, SchemaFault> {
    if number < 0 { Err(SchemaFault::Number { field, number }) } else { Ok(number) }
}

fn partition(bytes: &[u8]) -> Result<PartitionId, SchemaFault> {
    let number = BigEndian::read_i32(bytes);
    let id = u32::try_from(number).map(PartitionId::new);
    id.map_err(|_| SchemaFault::Number { field: "partition", number: number.into() })
}

/// The partitions of version 0: lists with counts of four bytes, -1 for none at all.
fn plain(input: &mut Input<'_>) -> Result<Partitions, SchemaFault> {
    let mut partitions = Partitions::new();
    for _ in 0..input.i32("count of topics")?.max(0) {
        let topic = Arc::<str>::from(input.string("topic")?);
        let field = "count of partitions";
        let count = input.i32(field)?;
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(4));
        let fault = SchemaFault::Length { field, length: count.into() };
        let ids = input.take("partitions", length.ok_or(fault)?)?.chunks_exact(4).map(partition);
        partitions.entry(topic).or_default().extend(ids.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(partitions)
}

/// Those of version 1: compact ones, each topic with tagged fields.
fn compact(input: &mut Input<'_>) -> Result<Partitions, SchemaFault> {
    let mut partitions = Partitions::new();
    for _ in 0..input.compact_count("count of topics")?.unwrap_or(0) {
        let topic = Arc::<str>::from(input.compact_string("topic")?);
        let count = input.compact_count("count of partitions")?.unwrap_or(0);
        // 64-bit targets only: it cannot overflow
        let ids = input.take("partitions", count as usize * 4)?.chunks_exact(4).map(partition);
        partitions.entry(topic).or_default().extend(ids.collect::<Result<Vec<_>, _>>()?);
        input.skip_tagged_fields()?;
    }
    Ok(partitions)
}

fn put_partitions(bytes: &mut Vec<u8>, partitions: &Partitions) -> Result<()> {
    put_varint(bytes, count(partitions.len())? + 1);
    for (topic, ids) in partitions {
        put_varint(bytes, count(topic.len())? + 1);
        bytes.extend_from_slice(topic.as_bytes());
        put_varint(bytes, count(ids.len())? + 1);
        for id in ids {
            let number = i32::try_from(id.get()).map_err(|_| too_many())?;
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        put_varint(bytes, 0); // tagged fields
    }
    Ok(())
}

/// A length that leaves room for one more, as the format stores it.
fn count(length: usize) -> Result<u32> {
    i32::try_from(length).map(i32::cast_unsigned).map_err(|_| too_many())
}

fn too_many() -> Error {
    let text = "a transaction's partitions and their names pass what the format holds".to_owned();
    Error::new("encode state", Cause::InvalidArgument(text))
}

#[cfg(all(test, not(loom)))]
mod tests;
