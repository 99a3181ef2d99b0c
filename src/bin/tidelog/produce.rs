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
use tidelog::{
    Compression, Dump, Durability, Pending, Receipt, Record, Store, Timestamp, TopicProducer,
};

use super::failure::Failure;
use super::json::{Object, print};
use super::topics::setting;

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
    /// A header for every record; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    header: Vec<(String, String)>,
    /// Compress with this codec, where the topic leaves it to producers
    #[arg(long, value_name = "CODEC", value_parser = codec)]
    codec: Option<Compression>,
    /// So many lines go into one batch for each partition; default 1, or 500 with a codec
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Option<u32>,
    /// All lines in one transaction of this id: committed at the end, aborted if a line is wrong.
    /// It is durable then
    #[arg(long, value_name = "ID", conflicts_with_all = ["codec", "batch", "power"])]
    transactional: Option<String>,
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

fn codec(text: &str) -> Result<Compression, String> {
    match text.parse() {
        Ok(Compression::Producer) | Err(_) => Err("none, gzip, snappy, lz4 or zstd".to_owned()),
        Ok(codec) => Ok(codec),
    }
}

/// Appends lines and tells of them once they are in the log.
struct Sender<'a> {
    arguments: &'a Arguments,
    topic: TopicProducer,
    /// How many lines share a flush.
    most: usize,
    waiting: Vec<Pending>,
    written: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    Dump::open(&arguments.path)?;
    let store = Store::open(&arguments.path)?;
    let written = match &arguments.transactional {
        Some(id) => run_transaction(arguments, &store, id)?,
        None => run_plain(arguments, &store)?,
    };
    if arguments.power {
        store.flush()?;
    }
    store.close()?;
    if !arguments.json {
        print(format!("{written} records written\n").as_bytes())?;
    }
    Ok(())
}

fn run_plain(arguments: &Arguments, store: &Store) -> Result<u64, Failure> {
    let producer = store
        .producer()
        .durability(Durability::Process)
        .compression(arguments.codec.unwrap_or_default())
        .build()?;
    let most = arguments.batch.unwrap_or(if arguments.codec.is_some() { 500 } else { 1 });
    let topic = producer.topic(&arguments.topic)?;
    let (most, waiting) = (most as usize, Vec::new());
    let mut sender = Sender { arguments, topic, most, waiting, written: 0 };
    let wrong = each_line(arguments, |line| sender.take(line))?;
    sender.flush()?;
    match wrong {
        None => Ok(sender.written),
        Some(what) => {
            Err(Failure::Usage(format!("{what}; {} records were written", sender.written)))
        }
    }
}

/// All lines or none.
fn run_transaction(arguments: &Arguments, store: &Store, id: &str) -> Result<u64, Failure> {
    let mut producer = store.producer().transactional(id).build()?;
    let transaction = producer.begin()?;
    let topic = transaction.topic(&arguments.topic)?;
    let mut receipts = Vec::new();
    let wrong = each_line(arguments, |line| {
        let record = record_of(line, arguments);
        receipts.push(match line.partition.or(arguments.partition) {
            Some(partition) => topic.send_to(partition, record)?,
            None => topic.send(record)?,
        });
        Ok(())
    })?;
    drop(topic);
    if let Some(what) = wrong {
        transaction.abort()?;
        return Err(Failure::Usage(format!("{what}; the transaction was aborted")));
    }
    transaction.commit()?;
    for receipt in receipts.iter().filter(|_| arguments.json) {
        print_receipt(receipt)?;
    }
    Ok(receipts.len() as u64)
}

/// Reads standard input to its end, or to the first line that is none: what is wrong with that.
fn each_line(
    arguments: &Arguments,
    mut each: impl FnMut(&Line) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    for (at, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        let parsed = match arguments.json {
            true => json_line(&line),
            false => Ok(text_line(&line, arguments.key_separator.as_deref())),
        };
        match parsed {
            Ok(parsed) => each(&parsed)?,
            Err(what) => return Ok(Some(format!("line {}: {what}", at + 1))),
        }
    }
    Ok(None)
}

fn record_of<'l>(line: &'l Line, arguments: &'l Arguments) -> Record<'l> {
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
    for (name, value) in &arguments.header {
        record = record.header(name, value);
    }
    if let Some(timestamp) = line.timestamp {
        record = record.timestamp(Timestamp::from_millis(timestamp));
    }
    record
}

fn print_receipt(receipt: &Receipt) -> Result<(), Failure> {
    let line = Object::new()
        .field("topic", receipt.topic())
        .field("partition", receipt.partition().get())
        .field("offset", receipt.offset().get());
    print(line.line().as_bytes())
}

impl Sender<'_> {
    fn take(&mut self, line: &Line) -> Result<(), Failure> {
        let record = record_of(line, self.arguments);
        let pending = match line.partition.or(self.arguments.partition) {
            Some(partition) => self.topic.enqueue_to(partition, record),
            None => self.topic.enqueue(record),
        };
        self.waiting.push(pending?);
        if self.waiting.len() < self.most { Ok(()) } else { self.flush() }
    }

    /// Has what was taken written, and tells where it went.
    fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.topic.flush();
        for pending in std::mem::take(&mut self.waiting) {
            let receipt = pending.wait()?;
            self.written += 1;
            if self.arguments.json {
                print_receipt(&receipt)?;
            }
        }
        Ok(flushed?)
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
