//! `tidelog consume`: prints the records of a topic, up to the end it has or for as long as it is
//! let run.
//!
//! Without a group it reads beside whoever writes to the store, from the beginning or from an
//! offset. With a group it opens the store for writing, goes on where the group is, and commits
//! what it has printed, after it has printed it.
//!
//! Called by `main`.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use tidelog::{Consumer, Dump, Offset, PartitionId, RecordView, Records, Store, Timestamp};

use super::failure::Failure;
use super::json::{Object, bytes, list};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The store's root
    path: PathBuf,
    /// The topic
    topic: String,
    /// One JSON object a line, keys and values in base64
    #[arg(long)]
    json: bool,
    /// Go on where this group is, and commit
    #[arg(long, conflicts_with_all = ["from", "partition", "follow"])]
    group: Option<String>,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Begin at this offset of the partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    from: Option<i64>,
    /// End after so many records
    #[arg(long, value_name = "COUNT")]
    max: Option<u64>,
    /// Wait for more at the end
    #[arg(long)]
    follow: bool,
}

/// Prints records until there are enough of them.
struct Printer<'a> {
    arguments: &'a Arguments,
    out: BufWriter<io::StdoutLock<'static>>,
    left: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let printer = Printer { arguments, out, left: arguments.max.unwrap_or(u64::MAX) };
    match &arguments.group {
        Some(group) => run_group(printer, group),
        None => run_reader(printer),
    }
}

fn run_reader(mut printer: Printer<'_>) -> Result<(), Failure> {
    let arguments = printer.arguments;
    let store = Store::open_read_only(&arguments.path)?;
    let topic = store.describe(&arguments.topic)?;
    let all = topic.partitions().iter().map(|partition| partition.id());
    let wanted = |id: &PartitionId| arguments.partition.is_none_or(|only| id.get() == only);
    let assigned: Vec<_> = all.filter(wanted).map(|id| (arguments.topic.clone(), id)).collect();
    if assigned.is_empty() {
        let count = topic.partitions().len();
        return Err(Failure::Usage(format!("the topic has {count} partitions, from 0 on")));
    }
    let mut reader = store.reader().assign(assigned).build()?;
    if let (Some(partition), Some(from)) = (arguments.partition, arguments.from) {
        if from < 0 {
            return Err(Failure::Usage("an offset is a number from 0 on".to_owned()));
        }
        reader.seek(&arguments.topic, partition, Offset::new(from))?;
    }
    read_to_end(&mut printer, &mut reader)?;
    while arguments.follow && printer.left > 0 {
        let records = reader.poll(Duration::from_secs(3600))?;
        printer.records(&records)?;
    }
    drop(reader);
    Ok(store.close()?)
}

fn read_to_end(printer: &mut Printer<'_>, reader: &mut Consumer) -> Result<(), Failure> {
    for records in reader.read_to_end()? {
        printer.records(&records?)?;
        if printer.left == 0 {
            break;
        }
    }
    Ok(())
}

fn run_group(mut printer: Printer<'_>, group: &str) -> Result<(), Failure> {
    let arguments = printer.arguments;
    Dump::open(&arguments.path)?;
    let store = Store::open(&arguments.path)?;
    let mut consumer = store.consumer(group).subscribe([arguments.topic.clone()]).build()?;
    let mut reading = consumer.read_to_end()?;
    while let Some(records) = reading.next() {
        let records = records?;
        let last = printer.records(&records)?;
        if printer.left > 0 {
            reading.consumer().commit()?;
        } else {
            last.map_or(Ok(()), |record| reading.consumer().commit_through(&record))?;
            break;
        }
    }
    consumer.close()?;
    Ok(store.close()?)
}

impl Printer<'_> {
    /// Prints them, and tells the last that was printed.
    fn records<'r>(&mut self, records: &'r Records) -> Result<Option<RecordView<'r>>, Failure> {
        let mut last = None;
        for record in records {
            if self.left == 0 {
                break;
            }
            let line = if self.arguments.json { json_line(&record) } else { text_line(&record) };
            self.out.write_all(&line)?;
            self.left -= 1;
            last = Some(record);
        }
        self.out.flush()?;
        Ok(last)
    }
}

fn json_line(record: &RecordView<'_>) -> Vec<u8> {
    let mut headers = record.headers().peekable();
    let headers = headers
        .peek()
        .is_some()
        .then(|| list(headers, |header| vec![header.name().into(), bytes(header.value())].into()));
    let line = Object::new()
        .field("topic", record.topic())
        .field("partition", record.partition().get())
        .field("offset", record.offset().get())
        .field("timestamp", record.timestamp().map_or(-1, Timestamp::as_millis))
        .field("key", bytes(record.key()))
        .field("value", bytes(record.value()))
        .maybe("headers", headers);
    line.line().into_bytes()
}

/// The value as it is.
fn text_line(record: &RecordView<'_>) -> Vec<u8> {
    let mut line = record.value().unwrap_or_default().to_vec();
    line.push(b'\n');
    line
}
