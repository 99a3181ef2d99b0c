//! Lines of JSON, their fields in the order they were given, and writing to standard output.
//!
//! One object a line, in `tests/golden/README.md`'s names; bytes are base64, a number that stands
//! for nothing is -1, as Kafka writes it.
//!
//! Called by every command.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::failure::Failure;

/// An object in the making.
#[derive(Debug)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Object(String::from("{"))
    }

    /// Adds a field.
    pub(super) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(&value.into().to_string());
        self
    }

    /// Adds a field where there is something to say.
    pub(super) fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// The object's line.
    pub(super) fn line(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

/// Bytes as base64, or null.
pub(super) fn bytes(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| Value::from(STANDARD.encode(bytes)))
}

/// A list.
pub(super) fn list<T>(items: impl IntoIterator<Item = T>, each: impl FnMut(T) -> Value) -> Value {
    Value::Array(items.into_iter().map(each).collect())
}

/// Writes to standard output.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
