//! `tidelog produce`: appends the lines of standard input to a topic.
//!
//! A line is a value, with a separator a key and a value, or, with `--json`, an object as
//! `tidelog dump --json` and `consume --json` print it: keys and values in base64. What a run says
//! it has written is as durable as it was asked for.
//!
//! Called by `main`.

use std::io::{self, BufRead as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tidelog::{Dump, Durability, Receipt, Record, Store, Timestamp, TopicProducer};

use super::failure::Failure;
use super::json::{Object, print};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --json a line is {\"key\": BASE64 or null, \"value\": BASE64 or null, \
    \"headers\": [[NAME, BASE64 or null]], \"partition\": N, \"timestamp\": MS}; each field may be \
    missing. A line that is none ends the run; those before it have been written."
)]
pub(super) struct Arguments {
    /// The store's root
    path: PathBuf,
    /// The topic, which must exist
    topic: String,
    /// Lines are JSON objects, and the receipts are printed as such
    #[arg(long)]
    json: bool,
    /// Divides a line into key and value
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    key_separator: Option<String>,
    /// The partition for lines that name none; default by the key
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Sync before the run ends, so that a power cut takes nothing of it
    #[arg(long)]
    power: bool,
}

/// A line, read.
#[derive(Default)]
struct Line {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    partition: Option<u32>,
    timestamp: Option<i64>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    Dump::open(&arguments.path)?;
    let store = Store::open(&arguments.path)?;
    let topic = store.producer().durability(Durability::Process).build()?;
    let topic = topic.topic(&arguments.topic)?;
    let mut count: u64 = 0;
    for (at, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        let parsed = match arguments.json {
            true => json_line(&line),
            false => Ok(text_line(&line, arguments.key_separator.as_deref())),
        };
        let parsed = parsed.map_err(|what| {
            Failure::Usage(format!("line {}: {what}; {count} records were written", at + 1))
        })?;
        let receipt = send(&topic, &parsed, parsed.partition.or(arguments.partition))?;
        count += 1;
        if arguments.json {
            let line = Object::new()
                .field("topic", receipt.topic())
                .field("partition", receipt.partition().get())
                .field("offset", receipt.offset().get());
            print(line.line().as_bytes())?;
        }
    }
    if arguments.power {
        store.flush()?;
    }
    store.close()?;
    if !arguments.json {
        print(format!("{count} records written\n").as_bytes())?;
    }
    Ok(())
}

fn send(topic: &TopicProducer, line: &Line, partition: Option<u32>) -> tidelog::Result<Receipt> {
    let mut record = match &line.value {
        Some(value) => Record::new(value),
        None => Record::tombstone(),
    };
    if let Some(key) = &line.key {
        record = record.key(key);
    }
    for (name, value) in &line.headers {
        record = match value {
            Some(value) => record.header(name, value),
            None => record.null_header(name),
        };
    }
    if let Some(timestamp) = line.timestamp {
        record = record.timestamp(Timestamp::from_millis(timestamp));
    }
    match partition {
        Some(partition) => topic.send_to(partition, record),
        None => topic.send(record),
    }
}

fn text_line(line: &str, separator: Option<&str>) -> Line {
    match separator.and_then(|separator| line.split_once(separator)) {
        Some((key, value)) => {
            Line { key: Some(key.into()), value: Some(value.into()), ..Line::default() }
        }
        None => Line { value: Some(line.into()), ..Line::default() },
    }
}

fn json_line(line: &str) -> Result<Line, String> {
    let json: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let json = json.as_object().ok_or("an object is expected")?;
    let mut headers = Vec::new();
    match json.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Array(pairs)) => {
            for pair in pairs {
                let name = pair.get(0).and_then(Value::as_str);
                let name = name.ok_or("`headers` holds pairs of a name and base64 or null")?;
                headers.push((name.to_owned(), bytes("headers", pair.get(1))?));
            }
        }
        Some(_) => return Err("`headers` is a list of pairs".to_owned()),
    }
    let number = |field: &str| match json.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or(format!("`{field}` is a number")),
    };
    let partition = number("partition")?.map(u32::try_from).transpose();
    Ok(Line {
        key: bytes("key", json.get("key"))?,
        value: bytes("value", json.get("value"))?,
        headers,
        partition: partition.map_err(|_| "`partition` is a number from 0 on")?,
        timestamp: number("timestamp")?.filter(|millis| *millis >= 0),
    })
}

fn bytes(field: &str, value: Option<&Value>) -> Result<Option<Vec<u8>>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(format!("`{field}` is not base64: {error}")),
        },
        Some(_) => Err(format!("`{field}` is base64 in a string, or null")),
    }
}
