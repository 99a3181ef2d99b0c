//! Read, enrich, write, exactly once: rows of flights become records of delays, and whatever moment
//! this is killed at, run again it ends with one record for each row.
//!
//! `cargo run --release --example exactly_once [-- FILE] [--data DIR] [--rows N] [--process]`.
//!
//! - **Loading.** The rows of the file go into a topic in transactions of N. Each transaction also
//!   writes how many rows are loaded: what the last one says is where the next run goes on.
//! - **Enriching.** A consumer reads the rows; what becomes of them and the offsets up to which
//!   they are read are committed by one transaction. A row whose result is not there is not read
//!   either, so the next run reads it again; one whose result is there is not.
//!
//! A kill leaves a transaction open or half told. Taking the transactional id again ends it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use flate2::read::MultiGzDecoder;
use serde_json::json;
use tidelog::{Durability, Record, Store, TopicConfig, TransactionalProducer};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROWS: &str = "flights";
const LOADED: &str = "flights-loaded";
const DELAYS: &str = "delays";
const GROUP: &str = "enricher";
const PARTITIONS: u32 = 4;

fn main() -> Result<(), Failure> {
    let matches = arguments().get_matches();
    let input = matches.get_one::<PathBuf>("file").expect("it has a default");
    let kept = matches.get_one::<PathBuf>("data");
    let temporary = if kept.is_none() { Some(tempfile::tempdir()?) } else { None };
    let dir = kept.map(PathBuf::as_path).or(temporary.as_ref().map(|dir| dir.path()));
    let store = Store::open(dir.expect("one of the two"))?;
    store.ensure_topic(ROWS, TopicConfig::new().partitions(PARTITIONS))?;
    store.ensure_topic(DELAYS, TopicConfig::new().partitions(PARTITIONS))?;
    store.ensure_topic(LOADED, TopicConfig::new())?;
    let size = *matches.get_one::<u64>("rows").expect("it has a default");

    let loaded = load(&store, input, size, &mut producer(&store, "loader", &matches)?)?;
    let enriched = enrich(&store, &mut producer(&store, "enricher", &matches)?)?;
    eprintln!("{loaded} rows loaded, {enriched} enriched by this run");
    println!("{}", result(&store)?);
    store.close()?;
    Ok(())
}

fn arguments() -> Command {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights-week1.csv.gz");
    let path = || value_parser!(PathBuf);
    Command::new("exactly_once")
        .about("Reads, enriches and writes flights, each exactly once")
        .arg(Arg::new("file").value_parser(path()).default_value(sample))
        .arg(
            Arg::new("data")
                .long("data")
                .value_name("DIR")
                .value_parser(path())
                .help("Keep the store here and go on where it was stopped"),
        )
        .arg(
            Arg::new("rows")
                .long("rows")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .default_value("500")
                .help("How many rows a transaction carries, at most"),
        )
        .arg(
            Arg::new("process")
                .long("process")
                .action(ArgAction::SetTrue)
                .help("Commits survive kill -9, not a power cut: no syncs"),
        )
}

/// Takes a transactional id, which ends what an earlier run has left of it.
fn producer(
    store: &Store,
    id: &str,
    matches: &ArgMatches,
) -> Result<TransactionalProducer, Failure> {
    let word = if matches.get_flag("process") { Durability::Process } else { Durability::Power };
    Ok(store.producer().transactional(id).commit_durability(word).build()?)
}

/// Sends the rows that are not loaded yet; returns how many.
fn load(
    store: &Store,
    input: &Path,
    size: u64,
    producer: &mut TransactionalProducer,
) -> Result<u64, Failure> {
    let mut rows = open(input)?;
    let columns = rows.headers()?.clone();
    let carrier = columns.iter().position(|it| it == "carrier").ok_or("no column `carrier`")?;
    let delay = columns.iter().position(|it| it == "dep_delay").ok_or("no column `dep_delay`")?;
    let before = loaded_rows(store)?;
    let mut left = rows.records().skip(usize::try_from(before)?).peekable();
    let mut loaded = before;
    while left.peek().is_some() {
        let transaction = producer.begin()?;
        let flights = transaction.topic(ROWS)?;
        for row in left.by_ref().take(usize::try_from(size)?) {
            let row = row?;
            loaded += 1;
            let value = format!("{loaded},{}", &row[delay]);
            flights.send(Record::new(&value).key(&row[carrier]))?;
        }
        transaction.topic(LOADED)?.send(Record::new(&loaded.to_string()))?;
        transaction.commit()?;
    }
    Ok(loaded - before)
}

/// How many rows the transactions that were committed have loaded.
fn loaded_rows(store: &Store) -> Result<u64, Failure> {
    let mut loaded = 0;
    let mut reader = store.reader().assign([(LOADED, 0)]).build()?;
    loop {
        let records = reader.try_poll()?;
        let Some(last) = records.iter().last() else { return Ok(loaded) };
        loaded = std::str::from_utf8(last.value().unwrap_or_default())?.parse()?;
    }
}

/// Makes a record of delays of each row that has none; returns of how many.
fn enrich(store: &Store, producer: &mut TransactionalProducer) -> Result<u64, Failure> {
    let mut consumer = store.consumer(GROUP).subscribe([ROWS]).max_records(500).build()?;
    let mut enriched = 0;
    loop {
        let rows = consumer.poll(Duration::ZERO)?;
        if rows.is_empty() {
            consumer.close()?;
            return Ok(enriched);
        }
        let transaction = producer.begin()?;
        let delays = transaction.topic(DELAYS)?;
        for row in &rows {
            let (line, delay) = parse(row.value())?;
            let class = match delay.map(str::parse::<i64>).transpose()? {
                None => "cancelled",
                Some(..=0) => "early",
                Some(1..=15) => "soon",
                Some(_) => "late",
            };
            let value = format!("{line},{class}");
            delays.send(Record::new(&value).key(row.key().unwrap_or_default()))?;
        }
        transaction.send_offsets(&consumer.consumed()?)?;
        transaction.commit()?;
        enriched += rows.len() as u64;
    }
}

fn parse(value: Option<&[u8]>) -> Result<(u64, Option<&str>), Failure> {
    let text = std::str::from_utf8(value.ok_or("a row without a value")?)?;
    let (line, rest) = text.split_once(',').ok_or("a row without its line")?;
    Ok((line.parse()?, Some(rest).filter(|rest| *rest != "NA")))
}

/// What came out: how many rows, how many of them more than once, and what each class counts.
fn result(store: &Store) -> Result<serde_json::Value, Failure> {
    let (mut seen, mut classes) = (BTreeMap::<u64, u64>::new(), BTreeMap::<String, u64>::new());
    for partition in 0..PARTITIONS {
        let mut reader = store.reader().assign([(DELAYS, partition)]).build()?;
        loop {
            let records = reader.try_poll()?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                let (line, class) = parse(record.value())?;
                *seen.entry(line).or_default() += 1;
                *classes.entry(class.unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
    }
    let twice = seen.values().filter(|count| **count > 1).count();
    let missing = seen.keys().last().copied().unwrap_or(0) - seen.len() as u64;
    Ok(json!({"rows": seen.len(), "twice": twice, "missing": missing, "classes": classes}))
}

/// Opens the input, packed or not.
fn open(input: &Path) -> Result<csv::Reader<Box<dyn Read>>, Failure> {
    let named = |error| format!("{}: {error}", input.display());
    let mut start = Vec::new();
    File::open(input).map_err(named)?.take(2).read_to_end(&mut start)?;
    let file = BufReader::new(File::open(input)?);
    let unpacked: Box<dyn Read> = match start.as_slice() {
        [0x1f, 0x8b] => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    Ok(csv::Reader::from_reader(unpacked))
}
