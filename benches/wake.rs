//! `wake`: from the append to the consumer thread that holds the record.
//!
//! An open loop of 1,000 records a second for 20 s, each timed from when it was meant to be sent,
//! once with a consumer that parks and once with one that spins first; then a ping-pong of two
//! spinning threads. Prints percentiles. `cargo bench -- wake`; other names leave it out.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidelog::{PartitionId, Record, Store, TopicConfig};

const PERIOD: Duration = Duration::from_millis(1);
const RECORDS: u32 = 20_000;
const ROUND_TRIPS: u32 = 200_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("wake: benchmark");
        return;
    }
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if !names.is_empty() && !names.iter().any(|name| "wake".contains(name.as_str())) {
        return;
    }
    if arguments.iter().any(|argument| argument == "--test") {
        open_loop("parked", Duration::ZERO, 20);
        return;
    }
    open_loop("parked", Duration::ZERO, RECORDS);
    open_loop("spinning", Duration::from_secs(1), RECORDS);
    ping_pong();
}

fn print(name: &str, histogram: &Histogram<u64>) {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "wake/{name}: p50 {:.2} us, p99 {:.2} us, p99.9 {:.2} us, max {:.2} us ({} records)",
        at(0.5),
        at(0.99),
        at(0.999),
        histogram.max() as f64 / 1e3,
        histogram.len()
    );
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("legal bounds")
}

/// Sends on time, whatever became of the records before; the value is the intended time.
fn open_loop(name: &str, spin: Duration, records: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("a new store");
    store.create_topic("wake", TopicConfig::new()).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("wake").expect("the topic");
    let mut consumer = store.reader().assign([("wake", 0)]).spin(spin).build().expect("a reader");
    let start = Instant::now() + Duration::from_millis(100);
    let reading = std::thread::spawn(move || {
        let mut histogram = histogram();
        while histogram.len() < u64::from(records) {
            let fetched = consumer.poll(Duration::from_secs(5)).expect("a poll");
            let now = start.elapsed();
            for record in &fetched {
                let value = record.value().expect("a value").try_into().expect("8 bytes");
                let intended = Duration::from_nanos(u64::from_be_bytes(value));
                let late = now.saturating_sub(intended).as_nanos();
                histogram.saturating_record(u64::try_from(late).unwrap_or(u64::MAX).max(1));
            }
        }
        histogram
    });
    for number in 0..records {
        let intended = PERIOD * number;
        wait_until(start + intended);
        let nanos = u64::try_from(intended.as_nanos()).unwrap_or(u64::MAX);
        topic.send(Record::new(&nanos.to_be_bytes())).expect("an append");
    }
    print(name, &reading.join().expect("the reader"));
}

/// Sleeps for the most of it and spins for the rest.
fn wait_until(at: Instant) {
    loop {
        let left = at.saturating_duration_since(Instant::now());
        match left {
            Duration::ZERO => return,
            left if left > Duration::from_micros(200) => {
                std::thread::sleep(left - Duration::from_micros(150));
            }
            _ => std::hint::spin_loop(),
        }
    }
}

/// Two threads, two partitions, each answering the other; both spin.
fn ping_pong() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("a new store");
    store.create_topic("ball", TopicConfig::new().partitions(2)).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("ball").expect("the topic");
    let spin = Duration::from_secs(5);
    let consumer = |partition: u32| {
        store.reader().assign([("ball", partition)]).spin(spin).build().expect("a reader")
    };
    let (mut here, mut there) = (consumer(0), consumer(1));
    let answering = {
        let topic = topic.clone();
        std::thread::spawn(move || {
            for _ in 0..ROUND_TRIPS {
                while there.poll(spin).expect("a poll").is_empty() {}
                topic.send_to(PartitionId::new(0), Record::new("pong")).expect("an append");
            }
        })
    };
    let mut histogram = histogram();
    for _ in 0..ROUND_TRIPS {
        let sent = Instant::now();
        topic.send_to(PartitionId::new(1), Record::new("ping")).expect("an append");
        while here.poll(spin).expect("a poll").is_empty() {}
        let one_way = sent.elapsed().as_nanos() / 2;
        histogram.saturating_record(u64::try_from(one_way).unwrap_or(u64::MAX).max(1));
    }
    answering.join().expect("the other side");
    print("hot loop, one way", &histogram);
}
