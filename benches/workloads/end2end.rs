//! The main job, `end2end`: one thread sends rows of flights, keyed by their carrier, to four
//! partitions while a group of two consumers counts them and adds up their departure delays.
//!
//! The rows are those of `examples/data`, over and over, unpacked before the clock starts;
//! `TIDELOG_BENCH_ROWS` names another file, packed by gzip or not. The sums are compared with those
//! of the rows themselves. Beside the rate it tells how long a row took from its send to being
//! counted.

use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidelog::{Record, Store, TopicConfig};

use crate::place::Place;
use crate::rounds::{Run, histogram, keep, print, print_spread};

const PARTITIONS: u32 = 4;
const CONSUMERS: usize = 2;

/// Carrier, delay in minutes where it is known, and the row as it goes into a record.
struct Row {
    carrier: Vec<u8>,
    delay: i64,
    line: Vec<u8>,
}

fn rows() -> Vec<Row> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/flights-week1.csv.gz");
    let path = std::env::var("TIDELOG_BENCH_ROWS").unwrap_or_else(|_| sample.to_owned());
    let packed = std::fs::read(&path).expect("a file of rows");
    let mut text = Vec::new();
    match packed.as_slice() {
        [0x1f, 0x8b, ..] => {
            let mut unpacked = flate2::read::MultiGzDecoder::new(packed.as_slice());
            unpacked.read_to_end(&mut text).expect("a packed file");
        }
        _ => text = packed,
    }
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let header = reader.headers().expect("a header").clone();
    let column = |name: &str| header.iter().position(|column| column == name).expect(name);
    let (carrier, delay) = (column("carrier"), column("dep_delay"));
    let row = |fields: csv::StringRecord| Row {
        carrier: fields[carrier].as_bytes().to_vec(),
        delay: fields[delay].parse().unwrap_or(0),
        line: fields.iter().collect::<Vec<_>>().join(",").into_bytes(),
    };
    reader.records().map(|fields| row(fields.expect("a row"))).collect()
}

/// The sixth field of a row.
fn delay(line: &[u8]) -> i64 {
    let field = line.split(|byte| *byte == b',').nth(5).expect("six fields");
    std::str::from_utf8(field).expect("text").parse().unwrap_or(0)
}

/// Counts until all members together have counted `total`; returns delays and times.
fn count(store: &Store, total: u64, counted: &AtomicU64, began: Instant) -> (i64, Histogram<u64>) {
    let mut consumer = store.consumer("bench").subscribe(["flights"]).build().expect("a member");
    let (mut minutes, mut times) = (0, histogram());
    while counted.load(Ordering::Relaxed) < total {
        let records = consumer.poll(Duration::from_millis(20)).expect("a poll");
        let now = began.elapsed();
        for record in &records {
            let sent = record.headers().next().and_then(|header| header.value());
            let sent = sent.expect("a time").try_into().expect("eight bytes");
            keep(&mut times, now.saturating_sub(Duration::from_nanos(u64::from_be_bytes(sent))));
            minutes += delay(record.value().expect("a row"));
        }
        if !records.is_empty() {
            consumer.commit().expect("a commit");
            counted.fetch_add(records.len() as u64, Ordering::Relaxed);
        }
    }
    consumer.close().expect("a close");
    (minutes, times)
}

/// One round in a store of its own: thousands of rows a second, and the times.
fn round(place: &Place, rows: &[Row], total: u64) -> (f64, Histogram<u64>) {
    let _ = std::fs::remove_dir_all(&place.0);
    let store = Store::open(&place.0).expect("a new store");
    let config = TopicConfig::new().partitions(PARTITIONS);
    store.create_topic("flights", config).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("flights").expect("the topic");
    let counted = AtomicU64::new(0);
    let began = Instant::now();
    let (mut sent, mut got, mut times) = (0, 0, histogram());
    std::thread::scope(|scope| {
        let members: Vec<_> =
            (0..CONSUMERS).map(|_| scope.spawn(|| count(&store, total, &counted, began))).collect();
        for (row, _) in rows.iter().cycle().zip(0..total) {
            let now = u64::try_from(began.elapsed().as_nanos()).expect("a short run").to_be_bytes();
            let record = Record::new(&row.line).key(&row.carrier).header("sent", &now);
            topic.send(record).expect("a send");
            sent += row.delay;
        }
        for member in members {
            let (minutes, one) = member.join().expect("a member");
            got += minutes;
            times.add(one).expect("the same bounds");
        }
    });
    let took = began.elapsed();
    assert_eq!((got, times.len()), (sent, total), "each row is counted once");
    store.close().expect("a close");
    (total as f64 / took.as_secs_f64() / 1e3, times)
}

pub fn end2end(run: &Run) {
    let place = Place::new(run.name);
    let rows = rows();
    let total = run.count(600_000);
    let mut all = histogram();
    let rounds = (0..run.rounds()).map(|_| {
        let (rate, times) = round(&place, &rows, total);
        all.add(times).expect("the same bounds");
        rate
    });
    print_spread(run.name, "k rows/s", rounds.collect());
    print("end2end, from the send to being counted", &all);
}
