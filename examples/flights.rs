//! The main job: a file of flights goes through a topic, and out comes a table per carrier.
//!
//! `cargo run --release --example flights [-- FILE] [--data DIR] [--json]`. One thread sends every
//! row, keyed by its carrier, to a topic of four partitions, while a group of two consumers shares
//! them, counts flights and averages their departure delays. With `--data` the store stays: killed
//! at any moment and run again on the same file, it ends with the same exact table. Two things make
//! it so.
//!
//! - **Sending goes on where it stopped.** Each record carries its row's line number. Rows are
//!   sent in the order of the file, so a partition that ends with line 500 has all of its rows up
//!   to there: on restart the file is reread and those rows are skipped.
//! - **Result and offset are one write.** Each commit of a partition carries the integer sums of
//!   its carriers, up to that very offset, in its metadata. Whoever gets the partition, in this run
//!   or the next, takes both up again: nothing is counted twice, nothing is left out, and no
//!   committed record is read again. The table is the sum of what is committed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tidelog::{
    Assigned, Committed, Consumer, Offset, OffsetCommit, PartitionId, RebalanceListener, Record,
    RecordView, Revoked, Store, TopicConfig,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const TOPIC: &str = "flights";
const GROUP: &str = "carrier-table";
const PARTITIONS: u32 = 4;
const CONSUMERS: u32 = 2;

/// How many records a consumer counts between two commits, if more are waiting.
const BETWEEN_COMMITS: u64 = 5_000;

/// The header that carries a row's line number, eight bytes, big-endian.
const LINE: &str = "line";

/// A departure delay that is not known: the flight was cancelled.
const MISSING: &[u8] = b"NA";

fn main() -> Result<(), Failure> {
    let matches = arguments().get_matches();
    let input = matches.get_one::<PathBuf>("file").expect("it has a default");
    let kept = matches.get_one::<PathBuf>("data");
    let temporary = if kept.is_none() { Some(tempfile::tempdir()?) } else { None };
    let dir = kept.map(PathBuf::as_path).or(temporary.as_ref().map(|dir| dir.path()));
    let store = Store::open(dir.expect("one of the two"))?;
    store.ensure_topic(TOPIC, TopicConfig::new().partitions(PARTITIONS))?;

    let run = run(&store, input)?;
    store.close()?;
    report(&run, &matches);
    Ok(())
}

fn arguments() -> Command {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights-week1.csv.gz");
    let path = || value_parser!(PathBuf);
    Command::new("flights")
        .about("Counts flights and mean departure delays per carrier through a store")
        .arg(
            Arg::new("file")
                .value_parser(path())
                .default_value(sample)
                .help("Rows with the columns `carrier` and `dep_delay`, gzip or not"),
        )
        .arg(
            Arg::new("data")
                .long("data")
                .value_name("DIR")
                .value_parser(path())
                .help("Keep the store here and go on where it was stopped"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print the table as one line of JSON"),
        )
}

/// What one run did, and the table after it.
struct Run {
    sent: u64,
    /// Rows of the input that an earlier run had stored.
    stored_before: u64,
    /// Records that an earlier run had counted and this one did not read.
    counted_before: u64,
    read: u64,
    table: Sums,
    took: Duration,
}

fn run(store: &Store, input: &Path) -> Result<Run, Failure> {
    let began = Instant::now();
    let lines = stored_lines(store)?;
    // Set once everything is stored: where each partition then ends.
    let ends: OnceLock<Vec<Offset>> = OnceLock::new();
    let delay_column = columns(input)?.delay;

    let (before, _) = committed_sums(store)?;

    let (produced, counted) = thread::scope(|scope| {
        let ends = &ends;
        let counters: Vec<_> =
            (0..CONSUMERS).map(|_| scope.spawn(move || count(store, delay_column, ends))).collect();
        let produced = produce(store, input, &lines);
        // Consumers end at the ends, and after a failure at whatever is there.
        let stored = (0..PARTITIONS).map(|partition| end_of(store, PartitionId::new(partition)));
        let _ = ends.set(stored.collect::<Result<_, _>>().unwrap_or_default());
        let counted = counters.into_iter().map(|counter| counter.join().expect("no panic"));
        (produced, counted.collect::<Result<Vec<u64>, Failure>>())
    });
    let (sent, stored_before) = produced?;
    let read = counted?.iter().sum();
    let took = began.elapsed();
    let (_, table) = committed_sums(store)?;
    Ok(Run { sent, stored_before, counted_before: before, read, table, took })
}

/// How many flights the group has counted, and their sums.
fn committed_sums(store: &Store) -> Result<(u64, Sums), Failure> {
    let mut table = Sums::default();
    for (_, _, committed) in store.committed(GROUP)? {
        table.add(&Sums::from_metadata(committed.metadata())?);
    }
    Ok((table.flights(), table))
}

// The input

struct Columns {
    carrier: usize,
    delay: usize,
}

/// Opens the input, packed or not, counting its bytes as they are read.
fn open(input: &Path, progress: &ProgressBar) -> Result<csv::Reader<Box<dyn Read>>, Failure> {
    let named = |error| format!("{}: {error}", input.display());
    let mut start = Vec::new();
    File::open(input).map_err(named)?.take(2).read_to_end(&mut start)?;
    let file = progress.wrap_read(BufReader::new(File::open(input)?));
    let unpacked: Box<dyn Read> = match start.as_slice() {
        [0x1f, 0x8b] => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    Ok(csv::Reader::from_reader(unpacked))
}

fn columns(input: &Path) -> Result<Columns, Failure> {
    let mut rows = open(input, &ProgressBar::hidden())?;
    let header = rows.headers()?;
    let column = |name: &str| {
        let found = header.iter().position(|column| column == name);
        found.ok_or_else(|| format!("{}: no column `{name}`", input.display()))
    };
    Ok(Columns { carrier: column("carrier")?, delay: column("dep_delay")? })
}

/// The row as it goes into a record: its fields between commas.
fn join(row: &csv::ByteRecord, line: u64, into: &mut Vec<u8>) -> Result<(), Failure> {
    into.clear();
    for (number, field) in row.iter().enumerate() {
        if field.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
            return Err(format!("line {line}: a field with a comma, quote or line break").into());
        }
        if number > 0 {
            into.push(b',');
        }
        into.extend_from_slice(field);
    }
    Ok(())
}

// The sending side

/// Sends every row that its partition does not hold yet; returns how many it sent and how many
/// were there.
fn produce(
    store: &Store,
    input: &Path,
    lines: &BTreeMap<PartitionId, u64>,
) -> Result<(u64, u64), Failure> {
    let flights = store.producer().build()?.topic(TOPIC)?;
    let columns = columns(input)?;
    let progress = ProgressBar::new(std::fs::metadata(input)?.len());
    progress.set_style(ProgressStyle::with_template(
        "{bar:40} {bytes}/{total_bytes} read, {msg} rows sent, {elapsed}",
    )?);
    let mut rows = open(input, &progress)?;
    let (mut row, mut value) = (csv::ByteRecord::new(), Vec::new());
    let (mut sent, mut stored_before) = (0_u64, 0_u64);
    while rows.read_byte_record(&mut row)? {
        let line = row.position().map_or(0, csv::Position::line);
        let carrier = &row[columns.carrier];
        let partition = flights.partition_for_key(carrier)?;
        if lines.get(&partition).is_some_and(|stored| line <= *stored) {
            stored_before += 1;
            continue;
        }
        join(&row, line, &mut value)?;
        let number = line.to_be_bytes();
        // `send`, not `enqueue`: the first row that fails ends the run, so no partition can hold
        // a later row than one it lacks, and its last line says what it holds.
        flights.send(Record::new(&value).key(carrier).header(LINE, &number))?;
        sent += 1;
        if sent.is_multiple_of(1_000) {
            progress.set_message(sent.to_string());
        }
    }
    progress.finish_and_clear();
    Ok((sent, stored_before))
}

/// The line number of the last record of each partition that has one.
fn stored_lines(store: &Store) -> Result<BTreeMap<PartitionId, u64>, Failure> {
    let mut lines = BTreeMap::new();
    for number in 0..PARTITIONS {
        let partition = PartitionId::new(number);
        let end = end_of(store, partition)?;
        if end == Offset::new(0) {
            continue;
        }
        let mut last = store.reader().assign([(TOPIC, partition)]).build()?;
        last.seek(TOPIC, partition, Offset::new(end.get() - 1))?;
        let records = last.try_poll()?;
        let record = records.iter().last().ok_or("the last record is not there")?;
        lines.insert(partition, line_of(&record)?);
    }
    Ok(lines)
}

fn end_of(store: &Store, partition: PartitionId) -> Result<Offset, Failure> {
    let topic = store.describe(TOPIC)?;
    let partitions = topic.partitions();
    let found = partitions.iter().find(|description| description.id() == partition);
    Ok(found.ok_or("a partition is missing")?.end_offset())
}

fn line_of(record: &RecordView<'_>) -> Result<u64, Failure> {
    let line = record.headers().find(|header| header.name() == LINE);
    let bytes = line.and_then(|header| header.value()).ok_or("a record without its line")?;
    Ok(u64::from_be_bytes(bytes.try_into()?))
}

// The counting side

/// Flights, those with unknown delay, and the sum of the known delays, in whole minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    flights: u64,
    missing: u64,
    minutes: i64,
}

/// Sums per carrier. As a commit's metadata: `{"UA":[1067,3,10130]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums(BTreeMap<String, Sum>);

impl Sums {
    fn count(&mut self, record: &RecordView<'_>, delay_column: usize) -> Result<(), Failure> {
        let wrong = |what: &str| format!("offset {}: {what}", record.offset());
        let carrier = record.key().ok_or_else(|| wrong("no carrier"))?;
        let row = record.value().ok_or_else(|| wrong("no row"))?;
        let delay = row.split(|byte| *byte == b',').nth(delay_column);
        let delay = delay.ok_or_else(|| wrong("no departure delay"))?;
        let sum = self.0.entry(std::str::from_utf8(carrier)?.to_owned()).or_default();
        sum.flights += 1;
        if delay == MISSING {
            sum.missing += 1;
        } else {
            let minutes = std::str::from_utf8(delay)?.parse::<i64>();
            sum.minutes += minutes.map_err(|_| wrong("a departure delay that is no number"))?;
        }
        Ok(())
    }

    fn add(&mut self, other: &Sums) {
        for (carrier, more) in &other.0 {
            let sum = self.0.entry(carrier.clone()).or_default();
            sum.flights += more.flights;
            sum.missing += more.missing;
            sum.minutes += more.minutes;
        }
    }

    fn flights(&self) -> u64 {
        self.0.values().map(|sum| sum.flights).sum()
    }

    fn to_metadata(&self) -> String {
        let entry = |sum: &Sum| json!([sum.flights, sum.missing, sum.minutes]);
        let sums = self.0.iter().map(|(carrier, sum)| (carrier.clone(), entry(sum)));
        Value::Object(sums.collect()).to_string()
    }

    fn from_metadata(metadata: &str) -> Result<Self, Failure> {
        let sums: BTreeMap<String, (u64, u64, i64)> = serde_json::from_str(metadata)?;
        let entry =
            |(carrier, (flights, missing, minutes))| (carrier, Sum { flights, missing, minutes });
        Ok(Sums(sums.into_iter().map(entry).collect()))
    }
}

impl Sum {
    /// The mean of the known delays in minutes, to six places.
    fn mean(&self) -> Option<f64> {
        let known = self.flights - self.missing;
        (known > 0).then(|| (self.minutes as f64 / known as f64 * 1e6).round() / 1e6)
    }
}

/// What a consumer has counted of a partition, by this run and those before.
struct Counted {
    sums: Sums,
    /// The offset up to which, once it is another than what is committed.
    uncommitted: Option<Offset>,
}

/// The partitions a consumer has now. Its listener keeps them, its loop counts in them.
#[derive(Clone, Default)]
struct Mine(Arc<Mutex<BTreeMap<PartitionId, Counted>>>);

impl Mine {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what whoever had the partition before has committed.
    fn take(&self, partition: PartitionId, committed: Option<&Committed>) -> Result<(), Failure> {
        let sums = committed.map(|committed| Sums::from_metadata(committed.metadata()));
        let sums = sums.transpose()?.unwrap_or_default();
        self.lock().insert(partition, Counted { sums, uncommitted: None });
        Ok(())
    }

    /// Commits, with `commit`, what has been counted since the last time: in one write the offsets
    /// and the sums up to them.
    fn commit(
        &self,
        mut commit: impl FnMut(&[OffsetCommit<'_>]) -> tidelog::Result<()>,
    ) -> tidelog::Result<()> {
        let mut mine = self.lock();
        let counted: Vec<(PartitionId, Offset, String)> = mine
            .iter()
            .filter_map(|(id, counted)| {
                let next = counted.uncommitted?;
                Some((*id, next, counted.sums.to_metadata()))
            })
            .collect();
        let commits: Vec<OffsetCommit<'_>> = counted
            .iter()
            .map(|(id, next, sums)| OffsetCommit::new(TOPIC, *id, *next).metadata(sums))
            .collect();
        commit(&commits)?;
        mine.values_mut().for_each(|counted| counted.uncommitted = None);
        Ok(())
    }
}

impl RebalanceListener for Mine {
    fn on_assigned(&mut self, assigned: &mut Assigned<'_>) -> tidelog::Result<()> {
        for partition in assigned.partitions() {
            let id = partition.partition();
            let committed = assigned.committed(TOPIC, id)?;
            self.take(id, committed.as_ref()).expect("metadata of this example's own");
        }
        Ok(())
    }

    fn on_revoked(&mut self, revoked: &mut Revoked<'_>) -> tidelog::Result<()> {
        let committed = self.commit(|commits| revoked.commit_offsets(commits));
        let mut mine = self.lock();
        for partition in revoked.partitions() {
            mine.remove(&partition.partition());
        }
        committed
    }

    fn on_lost(&mut self, lost: &[tidelog::TopicPartition]) -> tidelog::Result<()> {
        let mut mine = self.lock();
        lost.iter().for_each(|partition| drop(mine.remove(&partition.partition())));
        Ok(())
    }
}

/// Counts as a member of the group until everything that was stored is counted, by whichever
/// member; returns how many records it has read.
fn count(store: &Store, delay_column: usize, ends: &OnceLock<Vec<Offset>>) -> Result<u64, Failure> {
    let mine = Mine::default();
    let group = store.consumer(GROUP).subscribe([TOPIC]);
    let mut consumer = group.rebalance_listener(mine.clone()).build()?;
    let (mut read, mut uncommitted) = (0, 0);
    while !reached(&consumer, ends)? {
        // The append wakes this; the timeout only bounds how late the end is seen.
        let records = consumer.poll(Duration::from_millis(10))?;
        for record in &records {
            let mut mine = mine.lock();
            let counted = mine.get_mut(&record.partition()).ok_or("a partition not taken up")?;
            counted.sums.count(&record, delay_column)?;
            counted.uncommitted = Some(record.offset().next());
        }
        read += records.len() as u64;
        uncommitted += records.len() as u64;
        if records.is_empty() || uncommitted >= BETWEEN_COMMITS {
            mine.commit(|commits| consumer.commit_offsets(commits))?;
            uncommitted = 0;
        }
    }
    consumer.close()?;
    Ok(read)
}

/// Whether the group has committed all that was stored.
fn reached(consumer: &Consumer, ends: &OnceLock<Vec<Offset>>) -> Result<bool, Failure> {
    let Some(ends) = ends.get() else { return Ok(false) };
    for (partition, end) in (0..).map(PartitionId::new).zip(ends) {
        let committed = consumer.committed(TOPIC, partition)?;
        if committed.map_or(Offset::ZERO, |committed| committed.offset()) < *end {
            return Ok(false);
        }
    }
    Ok(true)
}

// The result

/// The summary goes beside the table, and out of the way of a single line of JSON.
fn report(run: &Run, matches: &ArgMatches) {
    if matches.get_flag("json") {
        eprint!("{}", summary(run));
        println!("{}", to_json(&run.table));
        return;
    }
    print!("{}", summary(run));
    println!("{:>7} {:>8} {:>14} {:>8}", "carrier", "flights", "mean dep delay", "missing");
    for (carrier, sum) in &run.table.0 {
        let mean = sum.mean().map_or("-".to_owned(), |mean| format!("{mean:.6}"));
        println!("{carrier:>7} {:>8} {mean:>14} {:>8}", sum.flights, sum.missing);
    }
    println!("{:>7} {:>8}", "all", run.table.flights());
}

fn summary(run: &Run) -> String {
    let seconds = run.took.as_secs_f64();
    let per_second = run.sent.max(run.read) as f64 / seconds;
    let (sent, read) = (run.sent, run.read);
    let mut text = format!(
        "{sent} rows sent, {read} records read in {seconds:.3} s: {per_second:.0} rows/s\n"
    );
    if run.stored_before + run.counted_before > 0 {
        text += &format!(
            "skipped: {} rows that were stored before, {} records that were counted before\n",
            run.stored_before, run.counted_before
        );
    }
    text
}

fn to_json(table: &Sums) -> String {
    let carrier = |(carrier, sum): (&String, &Sum)| {
        let mean = sum.mean().map_or("null".to_owned(), |mean| mean.to_string());
        format!(
            "{}:{{\"flights\":{},\"mean_dep_delay\":{mean},\"missing\":{}}}",
            Value::from(carrier.as_str()),
            sum.flights,
            sum.missing
        )
    };
    let carriers: Vec<String> = table.0.iter().map(carrier).collect();
    format!("{{\"rows\":{},\"carriers\":{{{}}}}}", table.flights(), carriers.join(","))
}
