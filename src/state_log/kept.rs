//! A record that is kept for later, with where it is to go: its bytes inside a coordinator's state.
//!
//! The target's topic id (16 bytes), its name (a string), its partition (four bytes); the record's
//! timestamp (a byte: 0 that of its publication, 1 none, 2 and eight bytes), key and value with
//! lengths of four bytes (-1 for null), a count of headers and each one's name and value.
//! Everything is big-endian. The version is the value's that it lies in.
//!
//! Rules against foreign bytes are those of `wire`. Callers: the schemas of `schedule` and
//! `prepared`.

use super::wire::{Input, SchemaFault, put_string, too_large};
use crate::error::{Error, Result};
use crate::ids::{PartitionId, TopicId};
use crate::record::Record;
use crate::time::Timestamp;

/// Where a record is to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target<'a> {
    pub(crate) topic: TopicId,
    pub(crate) name: &'a str,
    pub(crate) partition: PartitionId,
}

/// A record for later.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept<'a> {
    pub(crate) target: Target<'a>,
    pub(crate) record: Record<'a>,
}

impl<'a> Kept<'a> {
    /// Writes it behind `bytes`. Fails for what the format cannot hold.
    pub(crate) fn put(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let Kept { target, record } = self;
        bytes.extend_from_slice(target.topic.as_bytes());
        put_string(bytes, "topic", target.name)?;
        bytes.extend_from_slice(&target.partition.get().to_be_bytes());
        match record.wanted_timestamp() {
            None => bytes.push(0),
            Some(None) => bytes.push(1),
            Some(Some(timestamp)) => {
                bytes.push(2);
                bytes.extend_from_slice(&timestamp.as_millis().to_be_bytes());
            }
        }
        put_nullable(bytes, record.key_bytes())?;
        put_nullable(bytes, record.value())?;
        let count = i32::try_from(record.headers().len()).map_err(|_| past_the_format())?;
        bytes.extend_from_slice(&count.to_be_bytes());
        for header in record.headers() {
            put_nullable(bytes, Some(header.name().as_bytes()))?;
            put_nullable(bytes, header.value())?;
        }
        Ok(())
    }

    /// Reads one.
    pub(crate) fn read(input: &mut Input<'a>) -> Result<Self, SchemaFault> {
        let mut topic = [0; 16];
        topic.copy_from_slice(input.take("topic id", 16)?);
        let none = SchemaFault::Number { field: "topic id", number: 0 };
        let topic = TopicId::from_bytes(topic).ok_or(none)?;
        let target = Target { topic, name: input.string("topic")?, partition: input.partition()? };
        let mut record = Record::tombstone();
        record = match input.i8("kind of timestamp")? {
            0 => record,
            1 => record.without_timestamp(),
            2 => record.timestamp(Timestamp::from_millis(input.i64("timestamp")?)),
            other => {
                let (field, number) = ("kind of timestamp", other.into());
                return Err(SchemaFault::Number { field, number });
            }
        };
        if let Some(key) = nullable(input, "key")? {
            record = record.key(key);
        }
        if let Some(value) = nullable(input, "value")? {
            record = record.with_value(value);
        }
        for _ in 0..input.i32("count of headers")?.max(0) {
            let name = std::str::from_utf8(input.bytes("header name")?);
            let name = name.map_err(|_| SchemaFault::NotUtf8("header name"))?;
            record = match nullable(input, "header value")? {
                Some(value) => record.header(name, value),
                None => record.null_header(name),
            };
        }
        Ok(Kept { target, record })
    }
}

/// A length of four bytes, -1 for null, then as many bytes.
fn nullable<'a>(
    input: &mut Input<'a>,
    field: &'static str,
) -> Result<Option<&'a [u8]>, SchemaFault> {
    if input.0.starts_with(&[0xff; 4]) {
        input.take(field, 4)?;
        return Ok(None);
    }
    input.bytes(field).map(Some)
}

fn put_nullable(bytes: &mut Vec<u8>, field: Option<&[u8]>) -> Result<()> {
    let Some(field) = field else {
        bytes.extend_from_slice(&[0xff; 4]);
        return Ok(());
    };
    let length = i32::try_from(field.len()).map_err(|_| past_the_format())?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(field);
    Ok(())
}

fn past_the_format() -> Error {
    too_large("encode record", "a field of the record", "", i32::MAX as usize)
}
