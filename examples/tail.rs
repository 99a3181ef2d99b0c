//! How long after an append a consumer holds the record: percentiles, parked and spinning.
//!
//! `cargo run --release --example tail [-- --seconds 5 --rate 1000]`. An open loop: each record
//! has an intended time, and its latency counts from there, so a stall is charged to every record
//! that it delays. The parked consumer sleeps in the kernel until the append wakes it; the
//! spinning one burns a core to spare the wake-up.

use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, Command, value_parser};
use hdrhistogram::Histogram;
use tidelog::{Record, Store, TopicConfig};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A sleep may end this much late, so the last stretch before an intended time is spun.
const SPUN: Duration = Duration::from_micros(300);

/// Latencies are recorded in nanoseconds up to this many.
const LONGEST: u64 = 10_000_000_000;

struct Load {
    seconds: u64,
    rate: u64,
}

impl Load {
    fn count(&self) -> u64 {
        self.seconds * self.rate
    }

    /// When the record of this number is due after the start.
    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos(number * 1_000_000_000 / self.rate)
    }
}

fn main() -> Result<(), Failure> {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        let range = value_parser!(u64).range(1..=1_000_000);
        Arg::new(name).long(name).default_value(default).value_parser(range).help(help)
    };
    let matches = Command::new("tail")
        .about("Append-to-consumer latency, parked and spinning")
        .arg(number("seconds", "5", "How long each of the two runs takes"))
        .arg(number("rate", "1000", "Records a second"))
        .get_matches();
    let figure = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let load = Load { seconds: figure("seconds"), rate: figure("rate") };

    println!("{} records a second for {} s, in microseconds:", load.rate, load.seconds);
    println!("{:>10} {:>9} {:>9} {:>9} {:>9}", "", "p50", "p99", "p99.9", "max");
    for (name, spin) in [("parked", Duration::ZERO), ("spinning", Duration::from_secs(1))] {
        let latencies = run(&load, spin)?;
        let at = |quantile| micros(latencies.value_at_quantile(quantile));
        let [p50, p99, p999] = [at(0.5), at(0.99), at(0.999)];
        println!("{name:>10} {p50:>9} {p99:>9} {p999:>9} {:>9}", micros(latencies.max()));
    }
    Ok(())
}

fn micros(nanos: u64) -> String {
    format!("{}.{:02}", nanos / 1_000, nanos % 1_000 / 10)
}

/// One run over a store of its own.
fn run(load: &Load, spin: Duration) -> Result<Histogram<u64>, Failure> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    store.ensure_topic("ticks", TopicConfig::new())?;
    let ticks = store.producer().build()?.topic("ticks")?;
    let mut consumer = store.consumer("tail").subscribe(["ticks"]).spin(spin).build()?;

    let start = Instant::now() + Duration::from_millis(50);
    let latencies = thread::scope(|scope| {
        let reader = scope.spawn(move || -> Result<Histogram<u64>, Failure> {
            let mut latencies = Histogram::new_with_bounds(1, LONGEST, 3)?;
            let mut seen = 0;
            while seen < load.count() {
                let records = consumer.poll(Duration::from_secs(5))?;
                let now = start.elapsed();
                for record in &records {
                    let number = record.value().ok_or("a tick without its number")?;
                    let number = u64::from_be_bytes(number.try_into()?);
                    let late = now.saturating_sub(load.due(number));
                    latencies.saturating_record(u64::try_from(late.as_nanos())?.max(1));
                    seen += 1;
                }
            }
            Ok(latencies)
        });
        for number in 0..load.count() {
            wait_until(start + load.due(number));
            ticks.send(Record::new(&number.to_be_bytes()))?;
        }
        reader.join().map_err(|_| "the reader panicked")?
    })?;
    store.close()?;
    Ok(latencies)
}

fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > SPUN {
        thread::sleep(left - SPUN);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}
