//! `tidelog dump`: what lies in the files, record by record, batch by batch or file by file.
//!
//! The library reads; here it is only put into lines. At damage all that is readable before it has
//! been printed when the error is; the other partitions of a root are printed nevertheless.
//!
//! Called by `main`.

use std::cell::Cell;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;
use tidelog::{
    Dump, DumpedBatch, DumpedControl, DumpedPartition, DumpedRecord, LeaderEpoch, ProducerEpoch,
    ProducerId, Timestamp, TimestampType,
};

use super::decode;
use super::failure::{Failure, Severity, tell};
use super::json::{Object, bytes, list};
use super::table::Bar;

#[derive(Debug, clap::Args)]
#[command(after_help = "At damage, what is readable before it is printed, then an error, and the \
    exit code is 3. Zeros at a file's end are no damage.")]
pub(super) struct Arguments {
    /// A store's or Kafka's root, a partition's directory, or one `.log` file
    path: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Batches in place of records
    #[arg(long)]
    batches: bool,
    /// The offset index of each segment
    #[arg(long)]
    index: bool,
    /// The time index of each segment
    #[arg(long)]
    timeindex: bool,
    /// The index of aborted transactions of each segment that has one
    #[arg(long)]
    txnindex: bool,
    /// The producer snapshots
    #[arg(long)]
    snapshot: bool,
    /// The leader epochs of the checkpoint file, and the topic's id
    #[arg(long)]
    epochs: bool,
    /// Coordinators' records decoded: of `__consumer_offsets`, `__transaction_state` and
    /// `__share_group_state`
    #[arg(long, conflicts_with = "batches")]
    decode: bool,
    /// Only records of decided transactions that were not aborted, and no control records
    #[arg(long)]
    read_committed: bool,
}

impl Arguments {
    fn wants_files(&self) -> bool {
        self.index || self.timeindex || self.txnindex || self.snapshot || self.epochs
    }
}

/// How far it is; a terminal that gets the lines gets no bar.
struct Reading {
    bar: Bar,
    total: u64,
    done: Cell<u64>,
}

impl Reading {
    fn of(dump: &Dump) -> Self {
        let segments = dump.partitions().iter().flat_map(|partition| partition.segments());
        let total = segments.map(|segment| segment.bytes()).sum();
        let bar = if io::stdout().is_terminal() { Bar::hidden() } else { Bar::new("reading") };
        Reading { bar, total, done: Cell::new(0) }
    }

    fn go_on(&self, bytes: u64) {
        self.done.set(self.done.get() + bytes);
        self.bar.at(self.done.get(), self.total);
    }
}

type Out = BufWriter<io::StdoutLock<'static>>;

/// Why a partition's lines end early.
enum Stopped {
    Library(tidelog::Error),
    Output(io::Error),
}

impl From<tidelog::Error> for Stopped {
    fn from(error: tidelog::Error) -> Self {
        Stopped::Library(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Stopped::Output(error)
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let dump = Dump::open(&arguments.path)?;
    let reading = Reading::of(&dump);
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut worst: Option<Severity> = None;
    for partition in dump.partitions() {
        let dumped = dump_partition(arguments, partition, &reading, &mut out);
        let Err(stopped) = dumped else { continue };
        match stopped {
            Stopped::Output(error) => return Err(error.into()),
            Stopped::Library(error) => {
                out.flush()?;
                worst = worst.max(Some(tell(&error)));
            }
        }
    }
    reading.bar.end();
    out.flush()?;
    worst.map_or(Ok(()), |severity| Err(Failure::Told(severity)))
}

fn dump_partition(
    arguments: &Arguments,
    partition: &DumpedPartition,
    reading: &Reading,
    out: &mut Out,
) -> Result<(), Stopped> {
    if arguments.wants_files() {
        dump_files(arguments, partition, out)?;
    }
    if arguments.batches {
        dump_batches(arguments, partition, reading, out)?;
    }
    if !arguments.batches && !arguments.wants_files() {
        dump_records(arguments, partition, reading, out)?;
    }
    Ok(())
}

/// Runs over the batches until one cannot be written.
fn each_batch(
    partition: &DumpedPartition,
    reading: &Reading,
    mut each: impl FnMut(&DumpedBatch<'_>) -> Result<(), Stopped>,
) -> Result<(), Stopped> {
    let mut stopped = None;
    partition.read(|batch| match each(batch) {
        Ok(()) => {
            reading.go_on(batch.size);
            ControlFlow::Continue(())
        }
        Err(error) => {
            stopped = Some(error);
            ControlFlow::Break(())
        }
    })?;
    stopped.map_or(Ok(()), Err)
}

fn dump_records(
    arguments: &Arguments,
    partition: &DumpedPartition,
    reading: &Reading,
    out: &mut Out,
) -> Result<(), Stopped> {
    let schemas = arguments.decode.then(|| decode::schemas_of(partition.topic())).flatten();
    let transactions = arguments.read_committed.then(|| partition.transactions()).transpose()?;
    each_batch(partition, reading, |batch| {
        if transactions.as_ref().is_some_and(|transactions| !transactions.is_served(batch)) {
            return Ok(());
        }
        for record in batch.records()? {
            let record = record?;
            let line = match (schemas, arguments.json) {
                (Some(schemas), true) => decode::line(schemas, named(partition), batch, &record),
                (Some(schemas), false) => decode::text(schemas, &shown(partition), batch, &record),
                (None, true) => record_line(partition, batch, &record),
                (None, false) => record_text(partition, batch, &record),
            };
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    })
}

fn dump_batches(
    arguments: &Arguments,
    partition: &DumpedPartition,
    reading: &Reading,
    out: &mut Out,
) -> Result<(), Stopped> {
    each_batch(partition, reading, |batch| {
        let line = match arguments.json {
            true => batch_line(partition, batch),
            false => batch_text(partition, batch),
        };
        Ok(out.write_all(line.as_bytes())?)
    })
}

fn dump_files(
    arguments: &Arguments,
    partition: &DumpedPartition,
    out: &mut Out,
) -> Result<(), Stopped> {
    let mut line = |object: Object| out.write_all(object.line().as_bytes());
    if arguments.epochs {
        let id = partition.topic_id()?.map_or(Value::Null, |id| id.to_string().into());
        let epochs =
            list(partition.leader_epochs()?, |(epoch, start)| pair(epoch.get(), start.get()));
        line(named(partition).field("topicId", id).field("leaderEpochs", epochs))?;
    }
    for segment in partition.segments() {
        let named = || named(partition).field("baseOffset", segment.base_offset().get());
        if let Some(index) = arguments.index.then(|| segment.offset_index()).transpose()?.flatten()
        {
            let entries = list(index.entries, |(offset, position)| pair(offset.get(), position));
            line(named().field("indexBytes", index.bytes).field("index", entries))?;
        }
        if let Some(index) =
            arguments.timeindex.then(|| segment.time_index()).transpose()?.flatten()
        {
            let entries = list(index.entries, |(at, offset)| pair(at.as_millis(), offset.get()));
            line(named().field("timeindexBytes", index.bytes).field("timeindex", entries))?;
        }
        let wanted = arguments.txnindex.then(|| segment.transaction_index());
        if let Some(index) = wanted.transpose()?.flatten() {
            let entries = list(index.entries, |aborted| {
                serde_json::json!({
                    "producerId": aborted.producer_id.get(),
                    "firstOffset": aborted.first.get(),
                    "lastOffset": aborted.last.get(),
                    "lastStableOffset": aborted.last_stable.get(),
                })
            });
            line(named().field("txnindexBytes", index.bytes).field("txnindex", entries))?;
        }
    }
    if arguments.snapshot {
        for snapshot in partition.snapshots()? {
            let producers = list(snapshot.producers, |producer| {
                serde_json::json!({
                    "producerId": producer.producer_id.get(),
                    "producerEpoch": producer.producer_epoch,
                    "lastSequence": producer.last_sequence,
                    "lastDataOffset": producer.last_data_offset,
                    "offsetDelta": producer.offset_delta,
                    "lastTimestamp": producer.last_timestamp.as_millis(),
                    "coordinatorEpoch": producer.coordinator_epoch,
                    "currentTxnFirstOffset": producer.current_transaction.map(|at| at.get()),
                })
            });
            let offset = snapshot.offset.get();
            line(named(partition).field("offset", offset).field("producers", producers))?;
        }
    }
    Ok(())
}

fn pair(first: impl Into<Value>, second: impl Into<Value>) -> Value {
    Value::Array(vec![first.into(), second.into()])
}

/// An object that begins with whose it is.
fn named(partition: &DumpedPartition) -> Object {
    let number = partition.partition().map(|partition| partition.get());
    Object::new().field("topic", partition.topic()).field("partition", number)
}

fn millis(timestamp: Option<Timestamp>) -> i64 {
    timestamp.map_or(-1, Timestamp::as_millis)
}

fn timestamp_type(batch: &DumpedBatch<'_>) -> &'static str {
    match batch.timestamp_type {
        TimestampType::LogAppendTime => "LogAppendTime",
        _ => "CreateTime",
    }
}

fn record_line(
    partition: &DumpedPartition,
    batch: &DumpedBatch<'_>,
    record: &DumpedRecord<'_>,
) -> String {
    let mut headers = record.headers.clone().peekable();
    let headers = headers.peek().is_some().then(|| {
        list(headers, |header| Value::Array(vec![header.name().into(), bytes(header.value())]))
    });
    named(partition)
        .field("offset", record.offset.get())
        .field("timestamp", millis(record.timestamp))
        .field("sequence", record.sequence.unwrap_or(-1))
        .field("key", bytes(record.key))
        .field("value", bytes(record.value))
        .maybe("headers", headers)
        .field("timestampType", timestamp_type(batch))
        .field("leaderEpoch", batch.leader_epoch.map_or(-1, LeaderEpoch::get))
        .field("producerId", batch.producer_id.map_or(-1, ProducerId::get))
        .field("producerEpoch", batch.producer_epoch.map_or(-1, ProducerEpoch::get))
        .field("codec", batch.codec().to_string())
        .field("transactional", batch.is_transactional)
        .field("control", batch.control.is_some())
        .maybe("controlType", batch.control.and_then(control_name))
        .line()
}

/// The kind's name; an emptied control batch has none.
fn control_name(control: DumpedControl) -> Option<String> {
    (control != DumpedControl::Emptied).then(|| control.to_string())
}

fn coordinator_epoch(control: DumpedControl) -> Option<i32> {
    match control {
        DumpedControl::Abort { coordinator_epoch }
        | DumpedControl::Commit { coordinator_epoch } => Some(coordinator_epoch),
        _ => None,
    }
}

fn batch_line(partition: &DumpedPartition, batch: &DumpedBatch<'_>) -> String {
    named(partition)
        .field("segment", batch.segment.get())
        .field("position", batch.position)
        .field("size", batch.size)
        .field("baseOffset", batch.base_offset.get())
        .field("lastOffset", batch.last_offset.get())
        .field("leaderEpoch", batch.leader_epoch.map_or(-1, LeaderEpoch::get))
        .field("crc", batch.crc)
        .field("attributes", batch.attributes)
        .field("codec", batch.codec().to_string())
        .field("timestampType", timestamp_type(batch))
        .field("transactional", batch.is_transactional)
        .field("control", batch.control.is_some())
        .maybe("controlType", batch.control.and_then(control_name))
        .maybe("coordinatorEpoch", batch.control.and_then(coordinator_epoch))
        .maybe("deleteHorizonMs", batch.delete_horizon.map(Timestamp::as_millis))
        .field("baseTimestamp", batch.base_timestamp)
        .field("maxTimestamp", millis(batch.max_timestamp))
        .field("producerId", batch.producer_id.map_or(-1, ProducerId::get))
        .field("producerEpoch", batch.producer_epoch.map_or(-1, ProducerEpoch::get))
        .field("baseSequence", batch.base_sequence.unwrap_or(-1))
        .field("lastSequence", batch.last_sequence.unwrap_or(-1))
        .field("count", batch.count)
        .line()
}

/// `orders-0`, or the directory where its name tells nothing.
fn shown(partition: &DumpedPartition) -> String {
    match (partition.topic(), partition.partition()) {
        (Some(topic), Some(number)) => format!("{topic}-{number}"),
        _ => partition.path().display().to_string(),
    }
}

/// Text as it is, anything else escaped.
fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| format!("\"{}\"", bytes.escape_ascii()))
}

fn record_text(
    partition: &DumpedPartition,
    batch: &DumpedBatch<'_>,
    record: &DumpedRecord<'_>,
) -> String {
    let (name, at) = (shown(partition), millis(record.timestamp));
    let offset = record.offset;
    if let Some(control) = batch.control {
        let producer = batch.producer_id.map_or(-1, ProducerId::get);
        return format!("{name} {offset} {at} {control} of producer {producer}\n");
    }
    let mut line = format!("{name} {offset} {at} {} {}", text(record.key), text(record.value));
    for header in record.headers.clone() {
        line.push_str(&format!(" {}={}", header.name(), text(header.value())));
    }
    line.push('\n');
    line
}

fn batch_text(partition: &DumpedPartition, batch: &DumpedBatch<'_>) -> String {
    let (name, codec) = (shown(partition), batch.codec());
    let DumpedBatch { base_offset, last_offset, position, size, count, .. } = batch;
    let kind = batch.control.map_or(String::new(), |control| format!(", {control}"));
    format!(
        "{name} {base_offset}..={last_offset} at {position}, {size} bytes, \
        {count} records, {codec}{kind}\n"
    )
}
