//! How late delayed records are, and that none is early: percentiles of the lateness.
//!
//! `cargo run --release --example delays [-- --count 100000 --seconds 10 --data DIR]`. Records are
//! scheduled at random times within the next seconds; a consumer notes when it got each. Killed and
//! run again over the same `--data` it goes on: what was pending is delivered, once.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Arg, Command, value_parser};
use hdrhistogram::Histogram;
use tidelog::{Record, Store, Timestamp, TopicConfig};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let matches = arguments().get_matches();
    let count = *matches.get_one::<u64>("count").expect("it has a default");
    let seconds = *matches.get_one::<u64>("seconds").expect("it has a default");
    let kept = matches.get_one::<PathBuf>("data");
    let temporary = if kept.is_none() { Some(tempfile::tempdir()?) } else { None };
    let dir = kept.map(PathBuf::as_path).or(temporary.as_ref().map(|dir| dir.path()));
    let store = Store::open(dir.expect("one of the two"))?;
    store.ensure_topic("reminders", TopicConfig::new())?;
    let left = store.stats().scheduled.pending;
    if left > 0 {
        println!("{left} were pending when the store was opened");
    }

    let mut consumer = store.consumer("delays").subscribe(["reminders"]).build()?;
    schedule(&store, count, seconds)?;
    let late = receive(&mut consumer, left + count, Duration::from_secs(seconds + 60))?;
    println!("{} records, none early, none twice; lateness in ms:", late.len());
    for percentile in [50.0, 90.0, 99.0, 99.9, 100.0] {
        println!("{percentile:>6} %  {}", late.value_at_percentile(percentile));
    }
    store.close()?;
    Ok(())
}

fn arguments() -> Command {
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(u64)).default_value(default)
    };
    Command::new("delays")
        .about("Schedules records and measures how late they come")
        .arg(number("count", "100000"))
        .arg(number("seconds", "10"))
        .arg(Arg::new("data").long("data").value_parser(value_parser!(PathBuf)))
}

/// Schedules as many records at random times; each says when it is due.
fn schedule(store: &Store, count: u64, seconds: u64) -> Result<(), Failure> {
    let reminders = store.producer().build()?.topic("reminders")?;
    let (began, mut state) = (now(), 1_u64);
    for number in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        let delay = (state >> 33) % (seconds * 1000).max(1);
        let due = now() + i64::try_from(delay)?;
        let text = format!("{due} {began}-{number}");
        reminders.schedule(Record::new(&text), Timestamp::from_millis(due))?;
    }
    println!("{count} scheduled in {} ms", now() - began);
    Ok(())
}

/// Receives them all; the lateness of each in milliseconds.
fn receive(
    consumer: &mut tidelog::Consumer,
    count: u64,
    patience: Duration,
) -> Result<Histogram<u64>, Failure> {
    let mut late = Histogram::<u64>::new(3)?;
    let mut seen = HashSet::new();
    while (seen.len() as u64) < count {
        let records = consumer.poll(patience)?;
        let got = now();
        if records.is_empty() {
            return Err(format!("{} of {count} came", seen.len()).into());
        }
        for record in &records {
            let text = std::str::from_utf8(record.value().unwrap_or_default())?;
            let due: i64 = text.split(' ').next().unwrap_or_default().parse()?;
            late.record(u64::try_from(got - due).map_err(|_| format!("{text} is early"))?)?;
            if !seen.insert(text.to_owned()) {
                return Err(format!("{text} came twice").into());
            }
        }
        consumer.commit()?;
    }
    Ok(late)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
