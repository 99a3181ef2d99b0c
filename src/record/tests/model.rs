//! Records drawn at random, and batches put together by hand: what a sound writer never makes.
//!
//! The hand-made ones are sealed with a fitting checksum, so that what they get wrong is met
//! where records are read.

use proptest::prelude::*;

use crate::record::batch::BatchRecord;
use crate::record::header::at;
use crate::record::single::Record;
use crate::record::varint;
use crate::time::Timestamp;

/// What a reader sees of a record, owned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) time: Option<Timestamp>,
}

impl Model {
    pub(super) fn of(record: &BatchRecord<'_>) -> Self {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Model {
            key: owned(record.key()),
            value: owned(record.value()),
            headers: record
                .headers()
                .map(|header| (header.name().to_owned(), owned(header.value())))
                .collect(),
            time: record.timestamp(),
        }
    }

    pub(super) fn value(value: &str) -> Self {
        Model { value: Some(value.into()), ..Model::default() }
    }

    pub(super) fn key(self, key: &str) -> Self {
        Model { key: Some(key.into()), ..self }
    }

    pub(super) fn time(self, time: Timestamp) -> Self {
        Model { time: Some(time), ..self }
    }

    pub(super) fn header(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.push((name.into(), value.map(Into::into)));
        self
    }

    /// The record to send for a reader to see this.
    pub(super) fn record(&self) -> Record<'_> {
        let mut record = match &self.value {
            Some(value) => Record::new(value),
            None => Record::tombstone(),
        };
        if let Some(key) = &self.key {
            record = record.key(key);
        }
        for (name, value) in &self.headers {
            record = match value {
                Some(value) => record.header(name, value),
                None => record.null_header(name),
            };
        }
        match self.time {
            Some(time) => record.timestamp(time),
            None => record.without_timestamp(),
        }
    }
}

/// Null, empty, short, and around the lengths whose numbers grow by a byte.
fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let length = prop_oneof![Just(0), 1usize..40, 60usize..70, 8_185usize..8_200];
    let some = (length, any::<u8>()).prop_map(|(length, fill)| Some(vec![fill; length]));
    prop_oneof![1 => Just(None), 4 => some]
}

pub(super) fn model() -> impl Strategy<Value = Model> {
    let time =
        prop_oneof![Just(None), (0i64..20_000).prop_map(Some), (0..=i64::MAX).prop_map(Some),];
    let headers = prop::collection::vec(("[a-cé]{0,3}", bytes()), 0..4);
    (bytes(), bytes(), headers, time).prop_map(|(key, value, headers, time)| Model {
        key,
        value,
        headers,
        time: time.map(Timestamp::from_millis),
    })
}

pub(super) fn models() -> impl Strategy<Value = Vec<Model>> {
    prop::collection::vec(model(), 1..12)
}

/// A number as records hold it.
pub(super) fn number(number: i64) -> Vec<u8> {
    let mut bytes = [0; 10];
    let left = varint::put(&mut bytes, number).len();
    bytes[..10 - left].to_vec()
}

/// Bytes behind their length.
pub(super) fn field(bytes: Option<&[u8]>) -> Vec<u8> {
    match bytes {
        Some(bytes) => [number(bytes.len().try_into().unwrap()), bytes.to_vec()].concat(),
        None => number(-1),
    }
}

/// A record with its length in front; `tail` is its header count and headers.
pub(super) fn body(
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    tail: &[u8],
) -> Vec<u8> {
    let deltas = [number(timestamp_delta), number(offset_delta)].concat();
    field(Some(&[&[0], &deltas[..], &field(key), &field(value), tail].concat()))
}

/// A batch at offset 0 around these records, whatever they are, with a checksum that fits.
pub(super) fn batch(
    attributes: i16,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    records: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; at::RECORDS];
    bytes[at::MAGIC] = 2;
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(at::ATTRIBUTES, &attributes.to_be_bytes());
    put(at::LAST_OFFSET_DELTA, &last_offset_delta.to_be_bytes());
    put(at::BASE_TIMESTAMP, &base_timestamp.to_be_bytes());
    put(at::MAX_TIMESTAMP, &max_timestamp.to_be_bytes());
    put(at::PRODUCER_ID, &[0xff; 14]);
    put(at::COUNT, &count.to_be_bytes());
    bytes.extend(records);
    sealed(bytes)
}

/// The same bytes with their length and checksum made to fit.
pub(super) fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[at::LENGTH..at::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
    bytes[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    bytes
}
