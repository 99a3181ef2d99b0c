//! Coordinators' records, decoded: what `tidelog dump --decode` prints of `__consumer_offsets`,
//! `__transaction_state` and `__share_group_state`, in the words of Kafka's own JSON converters.
//!
//! Foreign bytes: a length counts only if so much is left, and what does not fit its schema is
//! shown with the reason in place of its contents, for the file itself is whole.
//!
//! Called by `dump`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use tidelog::{DumpedBatch, DumpedRecord, ProducerEpoch, ProducerId, Timestamp};

use super::json::{Object, bytes};
use super::schemas::{Field, Kind, OFFSETS, SHARES, Schema, TRANSACTIONS};

/// The kinds of records of a coordinator's topic; `None` for any other topic.
pub(super) fn schemas_of(topic: Option<&str>) -> Option<&'static [Schema]> {
    match topic? {
        "__consumer_offsets" => Some(OFFSETS),
        "__transaction_state" => Some(TRANSACTIONS),
        "__share_group_state" => Some(SHARES),
        _ => None,
    }
}

/// A record, as far as it could be decoded.
struct Decoded {
    name: Option<&'static str>,
    key: Value,
    value: Value,
    value_version: Option<i16>,
    fault: Option<String>,
}

/// Adds what a coordinator's record says to an object that names its partition.
pub(super) fn line(
    schemas: &[Schema],
    named: Object,
    batch: &DumpedBatch<'_>,
    record: &DumpedRecord<'_>,
) -> String {
    let timestamp = record.timestamp.map_or(-1, Timestamp::as_millis);
    let named = named.field("offset", record.offset.get()).field("timestamp", timestamp);
    if let Some(control) = batch.control {
        return named
            .field("producerId", batch.producer_id.map_or(-1, ProducerId::get))
            .field("producerEpoch", batch.producer_epoch.map_or(-1, ProducerEpoch::get))
            .field("control", control.to_string())
            .line();
    }
    let decoded = decode(schemas, record);
    named
        .field("keyBytes", bytes(record.key))
        .field("valueBytes", bytes(record.value))
        .field("type", decoded.name)
        .field("key", decoded.key)
        .field("value", decoded.value)
        .maybe("valueVersion", decoded.value_version)
        .maybe("producerId", batch.producer_id.map(ProducerId::get))
        .maybe("producerEpoch", batch.producer_epoch.map(ProducerEpoch::get))
        .maybe("fault", decoded.fault)
        .line()
}

/// The same for people.
pub(super) fn text(
    schemas: &[Schema],
    place: &str,
    batch: &DumpedBatch<'_>,
    record: &DumpedRecord<'_>,
) -> String {
    let offset = record.offset;
    if let Some(control) = batch.control {
        return format!("{place} {offset} {control}\n");
    }
    let decoded = decode(schemas, record);
    let name = decoded.name.unwrap_or("unknown");
    let fault = decoded.fault.map(|fault| format!(" ({fault})")).unwrap_or_default();
    format!("{place} {offset} {name} {} = {}{fault}\n", decoded.key, decoded.value)
}

fn decode(schemas: &[Schema], record: &DumpedRecord<'_>) -> Decoded {
    let mut decoded = Decoded {
        name: None,
        key: Value::Null,
        value: Value::Null,
        value_version: None,
        fault: None,
    };
    let filled = decode_into(schemas, record, &mut decoded);
    decoded.fault = filled.err();
    decoded
}

fn decode_into(
    schemas: &[Schema],
    record: &DumpedRecord<'_>,
    decoded: &mut Decoded,
) -> Result<(), String> {
    let mut key = Input::new(record.key.ok_or("it has no key")?);
    let version = key.i16()?;
    let schema = schemas.iter().find(|schema| schema.version == version);
    let schema = schema.ok_or_else(|| format!("key version {version} is not known"))?;
    decoded.name = Some(schema.name);
    decoded.key = key.whole(schema.key)?;
    let Some(value) = record.value else { return Ok(()) };
    let mut value = Input::new(value);
    let version = value.i16()?;
    decoded.value_version = Some(version);
    if !(0..=schema.newest).contains(&version) {
        return Err(format!("value version {version} is not known"));
    }
    (value.version, value.flexible) = (version, version >= schema.flexible);
    decoded.value = value.whole(schema.value)?;
    Ok(())
}

/// Bytes not read yet.
struct Input<'a> {
    left: &'a [u8],
    version: i16,
    flexible: bool,
}

impl<'a> Input<'a> {
    /// A key's fields are in every version, and none is flexible.
    fn new(bytes: &'a [u8]) -> Self {
        Input { left: bytes, version: i16::MAX, flexible: false }
    }

    /// The fields, and nothing behind them.
    fn whole(&mut self, fields: &[Field]) -> Result<Value, String> {
        let object = self.object(fields)?;
        match self.left.len() {
            0 => Ok(object),
            left => Err(format!("{left} bytes are left over")),
        }
    }

    fn object(&mut self, fields: &[Field]) -> Result<Value, String> {
        let mut object = Map::new();
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            if (field.since..=field.until).contains(&self.version) {
                object.insert(field.name.to_owned(), self.read(&field.kind)?);
            }
        }
        if self.flexible {
            for _ in 0..self.varint()? {
                let (tag, len) = (self.varint()?, self.varint()?);
                let mut input = Input { left: self.take(len as usize)?, ..*self };
                if let Some(field) = fields.iter().find(|field| field.tag == Some(tag)) {
                    object.insert(field.name.to_owned(), input.read(&field.kind)?);
                }
            }
        }
        Ok(Value::Object(object))
    }

    fn read(&mut self, kind: &Kind) -> Result<Value, String> {
        Ok(match kind {
            Kind::I8 => i8::from_be_bytes(self.array()?).into(),
            Kind::I16 => self.i16()?.into(),
            Kind::I32 => i32::from_be_bytes(self.array()?).into(),
            Kind::I64 => i64::from_be_bytes(self.array()?).into(),
            Kind::Uuid => URL_SAFE_NO_PAD.encode(self.array::<16>()?).into(),
            Kind::Text => match self.text_len()? {
                None => Value::Null,
                Some(len) => {
                    std::str::from_utf8(self.take(len)?).map_err(|error| error.to_string())?.into()
                }
            },
            Kind::Bytes => match self.len()? {
                None => Value::Null,
                Some(len) => STANDARD.encode(self.take(len)?).into(),
            },
            Kind::Numbers => self.list(|input| input.read(&Kind::I32))?,
            Kind::Texts => self.list(|input| input.read(&Kind::Text))?,
            Kind::List(fields) => self.list(|input| input.object(fields))?,
            Kind::Maybe(fields) => match self.varint()? {
                0 => Value::Null,
                _ => self.object(fields)?,
            },
        })
    }

    fn list(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<Value, String>,
    ) -> Result<Value, String> {
        let Some(count) = self.len()? else { return Ok(Value::Null) };
        if count > self.left.len() {
            return Err(format!("a list of {count} in {} bytes", self.left.len()));
        }
        (0..count).map(|_| each(self)).collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    /// A length of a list or of bytes, `None` for null.
    fn len(&mut self) -> Result<Option<usize>, String> {
        if self.flexible {
            return Ok(self.varint()?.checked_sub(1).map(|len| len as usize));
        }
        let len = i32::from_be_bytes(self.array()?);
        if len == -1 {
            return Ok(None);
        }
        usize::try_from(len).map(Some).map_err(|_| format!("the length {len}"))
    }

    fn text_len(&mut self) -> Result<Option<usize>, String> {
        if self.flexible {
            return self.len();
        }
        let len = self.i16()?;
        if len == -1 {
            return Ok(None);
        }
        usize::try_from(len).map(Some).map_err(|_| format!("the length {len}"))
    }

    fn i16(&mut self) -> Result<i16, String> {
        self.array().map(i16::from_be_bytes)
    }

    fn varint(&mut self) -> Result<u32, String> {
        let mut number = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).map_err(|error| error.to_string());
            }
        }
        Err("a length that does not end".to_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (array, left) = self.left.split_first_chunk().ok_or("it ends early")?;
        self.left = left;
        Ok(*array)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, left) = self.left.split_at_checked(len).ok_or("it ends early")?;
        self.left = left;
        Ok(taken)
    }
}
