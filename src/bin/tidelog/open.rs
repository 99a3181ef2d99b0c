//! `tidelog open`: opens for writing, closes cleanly, and shows what the log holds then.
//!
//! The names are those of `opened` in `tests/golden/README.md`. A lone partition's directory is
//! recovered as after a kill unless told otherwise; in a root the numbers are in its files. The
//! records are counted and hashed in one pass over the closed files.
//!
//! Called by `main`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tidelog::{
    AbortedTransaction, Clock as _, Dump, DumpedBatch, DumpedPartition, DumpedRecord, Log, Offset,
    PartitionId, PartitionReport, ProducerState, Sequence, Store, SystemClock, Timestamp,
};

use super::failure::{Failure, Severity, tell};
use super::json::{Object, list, print};

/// How long Kafka remembers a producer that writes nothing, by default.
const PRODUCER_EXPIRY_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Prints one JSON object for each partition. A root's own files say where \
    its logs begin and how it was closed; the options are for a lone partition's directory.")]
pub(super) struct Arguments {
    /// A partition's directory, or a store's or Kafka's root
    path: PathBuf,
    /// One JSON object a line, which is how it prints in any case
    #[arg(long)]
    json: bool,
    /// The first offset to serve, which Kafka keeps outside of the directory
    #[arg(long, value_name = "N", value_parser = offset)]
    log_start_offset: Option<i64>,
    /// Up to where the log was known to be on disk, which Kafka keeps outside of the directory
    #[arg(long, value_name = "N", value_parser = offset)]
    recovery_point: Option<i64>,
    /// Kafka closed the directory cleanly
    #[arg(long, conflicts_with = "unclean")]
    clean: bool,
    /// It was not closed cleanly; the default
    #[arg(long)]
    unclean: bool,
    /// Show producers that have written nothing for a day, too
    #[arg(long)]
    no_producer_expiry: bool,
}

fn offset(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(number) if (0..i64::MAX).contains(&number) => Ok(number),
        _ => Err("an offset is a number from 0 on".to_owned()),
    }
}

/// A partition that was opened and closed.
struct Opened {
    start: Offset,
    end: Offset,
    last_stable: Offset,
    recovery_point: Offset,
    producers: Vec<ProducerState>,
    aborted: Vec<AbortedTransaction>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let before = Dump::open(&arguments.path)?;
    let path = std::path::absolute(&arguments.path)?;
    match before.partitions() {
        [partition] if partition.path() == path => run_partition(arguments),
        _ => run_root(arguments, &before),
    }
}

fn run_partition(arguments: &Arguments) -> Result<(), Failure> {
    let path = &arguments.path;
    let point = Offset::new(arguments.recovery_point.unwrap_or(0));
    let start = Offset::new(arguments.log_start_offset.unwrap_or(0));
    let builder = Log::builder(path).log_start(start).recovery_point(point).read_uncommitted();
    let builder = if arguments.clean { builder.closed_cleanly() } else { builder };
    let log = builder.open()?;
    let (start, end) = (log.start_offset(), log.end_offset());
    let (last_stable, producers) = (log.last_stable_offset(), log.producers());
    let aborted = log.aborted_transactions(start..end);
    let is_damaged = tell_found(log.report());
    log.close()?;
    let closed = Dump::open(path)?;
    let recovery_point = match (arguments.recovery_point, arguments.clean) {
        (Some(point), _) => Offset::new(point.min(end.get())),
        (None, true) => end,
        (None, false) => Offset::ZERO,
    };
    let opened = Opened { start, end, last_stable, recovery_point, producers, aborted };
    for partition in closed.partitions() {
        print(line(arguments, partition, &opened)?.as_bytes())?;
    }
    if is_damaged { Err(Failure::Told(Severity::Damaged)) } else { Ok(()) }
}

/// Says on standard error what an open found that a person should know of; whether it is damage.
/// What was cut off or put aside is none: the open mended it, and nothing of it is gone.
fn tell_found(report: &PartitionReport) -> bool {
    for damage in report.damage() {
        let (place, position) = (damage.path().display(), damage.position());
        let (from, to) = (damage.from(), damage.to());
        let reason = damage.reason();
        eprintln!("damage: offsets {from}..{to}: {reason} ({place}, position {position})");
    }
    for torn in report.torn_tails() {
        let (place, position) = (torn.path().display(), torn.position());
        let (bytes, next) = (torn.bytes(), torn.offset());
        let kept = match torn.saved() {
            [] => "no whole batch was among them".to_owned(),
            saved => format!("with whole batches, kept in {}", listed(saved)),
        };
        eprintln!(
            "warning: {bytes} bytes were cut off, {kept}; the log goes on at offset {next} \
             ({place}, position {position})"
        );
    }
    for aside in report.put_aside() {
        eprintln!(
            "warning: a rewritten log is empty or damaged and was put aside; what it was made of \
             stands ({})",
            aside.display()
        );
    }
    !report.damage().is_empty()
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

fn run_root(arguments: &Arguments, before: &Dump) -> Result<(), Failure> {
    let points = before.recovery_points()?;
    let point_of = |topic: &str, id: PartitionId| {
        let named = points.iter().find(|(name, number, _)| name == topic && *number == id);
        named.map_or(Offset::ZERO, |(_, _, point)| *point)
    };
    let store = Store::open(&arguments.path)?;
    let mut opened = Vec::new();
    let mut worst: Option<Severity> = None;
    for report in store.open_report().partitions() {
        if tell_found(report) {
            worst = worst.max(Some(Severity::Damaged));
        }
    }
    for partition in before.partitions() {
        let (Some(topic), Some(id)) = (partition.topic(), partition.partition()) else { continue };
        let known = known(&store, topic, id, point_of(topic, id));
        match known {
            Ok(known) => opened.push(((topic.to_owned(), id), known)),
            Err(error) => worst = worst.max(Some(tell(&error))),
        }
    }
    store.close()?;
    let closed = Dump::open(&arguments.path)?;
    for ((topic, id), opened) in &opened {
        let is_it = |it: &&DumpedPartition| {
            it.topic() == Some(topic.as_str()) && it.partition() == Some(*id)
        };
        let Some(partition) = closed.partitions().iter().find(is_it) else { continue };
        match line(arguments, partition, opened) {
            Ok(line) => print(line.as_bytes())?,
            Err(error) => worst = worst.max(Some(tell(&error))),
        }
    }
    worst.map_or(Ok(()), |severity| Err(Failure::Told(severity)))
}

/// What a store knows of a partition that it has open.
fn known(
    store: &Store,
    topic: &str,
    id: PartitionId,
    recovery_point: Offset,
) -> tidelog::Result<Opened> {
    let partition = store.partition(topic, id)?;
    let (start, end) = (partition.start_offset()?, partition.end_offset()?);
    Ok(Opened {
        start,
        end,
        last_stable: partition.last_stable_offset()?,
        recovery_point: recovery_point.min(end),
        producers: partition.producers()?,
        aborted: partition.aborted_transactions(start..end)?,
    })
}

/// What is counted over the records at or above the log start.
#[derive(Default)]
struct Counted {
    batches: u64,
    control_records: u64,
    records: u64,
    sha256: Sha256,
}

impl Counted {
    fn push(&mut self, batch: &DumpedBatch<'_>, start: Offset) -> tidelog::Result<()> {
        if batch.last_offset < start {
            return Ok(());
        }
        self.batches += 1;
        if batch.control.is_some() {
            self.control_records += u64::from(batch.count);
            return Ok(());
        }
        for record in batch.records()? {
            let record = record?;
            if record.offset >= start {
                self.records += 1;
                self.hash(&record);
            }
        }
        Ok(())
    }

    /// `recordsSha256` of the README.
    fn hash(&mut self, record: &DumpedRecord<'_>) {
        let timestamp = record.timestamp.map_or(-1, Timestamp::as_millis);
        self.sha256.update(record.offset.get().to_be_bytes());
        self.sha256.update(timestamp.to_be_bytes());
        self.bytes(record.key);
        self.bytes(record.value);
        let count = record.headers.clone().count();
        self.sha256.update(i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
        for header in record.headers.clone() {
            self.bytes(Some(header.name().as_bytes()));
            self.bytes(header.value());
        }
    }

    fn bytes(&mut self, bytes: Option<&[u8]>) {
        let len = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.sha256.update(len.to_be_bytes());
        self.sha256.update(bytes.unwrap_or_default());
    }
}

fn count(partition: &DumpedPartition, start: Offset) -> tidelog::Result<Counted> {
    let mut counted = Counted::default();
    let mut failed = None;
    partition.read(|batch| match counted.push(batch, start) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(counted), Err)
}

fn line(
    arguments: &Arguments,
    partition: &DumpedPartition,
    opened: &Opened,
) -> tidelog::Result<String> {
    let counted = count(partition, opened.start)?;
    let mut producers = opened.producers.clone();
    if !arguments.no_producer_expiry {
        let now = SystemClock::new().wall().as_millis();
        let is_due = |it: &ProducerState| {
            let last = it.last_timestamp().map_or(-1, Timestamp::as_millis);
            now.saturating_sub(last) >= PRODUCER_EXPIRY_MS
        };
        producers.retain(|it| it.transaction_start().is_some() || !is_due(it));
    }
    let hash = counted.sha256.finalize();
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let pair = |first: Value, second: Value| Value::Array(vec![first, second]);
    Ok(Object::new()
        .field("topic", partition.topic())
        .field("partition", partition.partition().map(PartitionId::get))
        .field("logStartOffset", opened.start.get())
        .field("logEndOffset", opened.end.get())
        .field("lastStableOffset", opened.last_stable.get())
        .field("recoveryPoint", opened.recovery_point.get())
        .field("batchCount", counted.batches)
        .field("controlRecordCount", counted.control_records)
        .field("recordCount", counted.records)
        .field("recordsSha256", hash)
        .field("abortedTransactions", list(&opened.aborted, aborted_object))
        .field(
            "leaderEpochs",
            list(partition.leader_epochs()?, |(epoch, start)| {
                pair(epoch.get().into(), start.get().into())
            }),
        )
        .field(
            "segments",
            list(partition.segments(), |segment| {
                pair(segment.base_offset().get().into(), segment.bytes().into())
            }),
        )
        .field("producers", list(producers, producer_object))
        .field(
            "filesAfterClose",
            list(partition.files(), |(name, len)| pair(name.as_str().into(), (*len).into())),
        )
        .line())
}

fn aborted_object(aborted: &AbortedTransaction) -> Value {
    serde_json::json!({
        "producerId": aborted.producer_id.get(),
        "firstOffset": aborted.first.get(),
        "lastOffset": aborted.last.get(),
        "lastStableOffset": aborted.last_stable.get(),
    })
}

fn producer_object(producer: ProducerState) -> Value {
    serde_json::json!({
        "producerId": producer.identity().id().get(),
        "producerEpoch": producer.identity().epoch().get(),
        "lastSequence": producer.last_sequence().map_or(-1, Sequence::get),
        "lastTimestamp": producer.last_timestamp().map_or(-1, Timestamp::as_millis),
        "coordinatorEpoch": producer.coordinator_epoch().unwrap_or(-1),
        "currentTxnFirstOffset": producer.transaction_start().map_or(-1, Offset::get),
    })
}
