//! `tidelog consume`: prints the records of a topic, up to the end it has or for as long as it is
//! let run.
//!
//! Without a group it reads beside whoever writes to the store: from the beginning, an offset or a
//! time on. With a group it opens the store for writing, goes on where the group is, and commits
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
    #[arg(long, conflicts_with_all = ["from", "from_time", "to", "partition"])]
    group: Option<String>,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Begin at this offset of the partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    from: Option<i64>,
    /// Begin at the first record at or after this time, in ms since 1970
    #[arg(long, value_name = "MS", conflicts_with = "from")]
    from_time: Option<i64>,
    /// End before this offset of the partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    to: Option<i64>,
    /// Records of transactions that are open or were aborted, too
    #[arg(long)]
    read_uncommitted: bool,
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
    let reader = store.reader().assign(assigned);
    let reader = if arguments.read_uncommitted { reader.read_uncommitted() } else { reader };
    let mut reader = reader.build()?;
    begin(arguments, &mut reader)?;
    read_to_end(&mut printer, &mut reader)?;
    while arguments.follow && printer.left > 0 {
        let records = reader.poll(Duration::from_secs(3600))?;
        printer.records(&records)?;
    }
    drop(reader);
    Ok(store.close()?)
}

/// Goes to where the records that are wanted begin.
fn begin(arguments: &Arguments, reader: &mut Consumer) -> Result<(), Failure> {
    if arguments.from.is_some_and(|from| from < 0) {
        return Err(Failure::Usage("an offset is a number from 0 on".to_owned()));
    }
    if let (Some(partition), Some(from)) = (arguments.partition, arguments.from) {
        reader.seek(&arguments.topic, partition, Offset::new(from))?;
    }
    if let Some(at) = arguments.from_time {
        for (topic, partition) in reader.assignment() {
            reader.seek_to_timestamp(&topic, partition, Timestamp::from_millis(at))?;
        }
    }
    Ok(())
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
    let consumer = store.consumer(group).subscribe([arguments.topic.clone()]);
    let consumer = if arguments.read_uncommitted { consumer.read_uncommitted() } else { consumer };
    let mut consumer = consumer.build()?;
    let mut reading = consumer.read_to_end()?;
    while printer.left > 0
        && let Some(records) = reading.next()
    {
        let records = records?;
        for last in printer.records(&records)? {
            reading.consumer().commit_through(&last)?;
        }
    }
    while arguments.follow && printer.left > 0 {
        let records = consumer.poll(Duration::from_secs(3600))?;
        for last in printer.records(&records)? {
            consumer.commit_through(&last)?;
        }
    }
    consumer.close()?;
    Ok(store.close()?)
}

impl Printer<'_> {
    /// Prints them, and tells the last of each partition that was printed.
    fn records<'r>(&mut self, records: &'r Records) -> Result<Vec<RecordView<'r>>, Failure> {
        let mut lasts: Vec<RecordView<'r>> = Vec::new();
        for record in records {
            if self.arguments.to.is_some_and(|to| record.offset().get() >= to) {
                self.left = 0; // of one partition, whose offsets rise
            }
            if self.left == 0 {
                break;
            }
            let line = if self.arguments.json { json_line(&record) } else { text_line(&record) };
            self.out.write_all(&line)?;
            self.left -= 1;
            let is_its = |last: &RecordView<'_>| last.partition() == record.partition();
            match lasts.iter().position(is_its) {
                Some(at) => lasts[at] = record,
                None => lasts.push(record),
            }
        }
        self.out.flush()?;
        Ok(lasts)
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
