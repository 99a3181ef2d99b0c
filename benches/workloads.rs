//! The workloads of `docs/performance.md`, one benchmark each: `cargo bench -- single100`.
//!
//! Counts are fixed, so that runs compare; one workload ends within a minute once it is built.
//! Data goes to the system's temporary directory, or to `TIDELOG_BENCH_DIR`. Background syncs are
//! on, as they are for users.

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::Place;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group};
use criterion::{criterion_main, measurement::WallTime};
use tidelog::{Consumer, Record, Store, TopicConfig, TopicProducer};

fn topic(store: &Store, name: &str) -> TopicProducer {
    store.create_topic(name, TopicConfig::new()).expect("a new topic");
    store.producer().build().expect("a producer").topic(name).expect("the topic")
}

fn reader(store: &Store) -> Consumer {
    let assigned = store.reader().assign([("bench", 0)]).max_bytes(1 << 20);
    assigned.max_records(usize::MAX).build().expect("a reader")
}

/// Ten samples of one round each, as far as criterion lets us say so.
fn group<'c>(c: &'c mut Criterion, unit: Throughput) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group("tidelog");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(unit);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group
}

/// One thread, one partition, one `send` for each 100-byte value.
fn single100(c: &mut Criterion) {
    const ROUND: u64 = 500_000;
    let place = Place::new("single100");
    let mut group = group(c, Throughput::Elements(ROUND));
    let mut made = None;
    group.bench_function("single100", |b| {
        let (_, bench) = made.get_or_insert_with(|| {
            let store = Store::open(&place.0).expect("a new store");
            let bench = topic(&store, "bench");
            (store, bench)
        });
        let value = [7u8; 100];
        b.iter(|| {
            for _ in 0..ROUND {
                black_box(bench.send(Record::new(&value)).expect("an append"));
            }
        });
    });
}

/// One thread enqueues 100-byte records with default lingering and waits for every receipt.
fn linger100(c: &mut Criterion) {
    const ROUND: u64 = 500_000;
    let place = Place::new("linger100");
    let mut group = group(c, Throughput::Elements(ROUND));
    let mut made = None;
    group.bench_function("linger100", |b| {
        let (_, bench) = made.get_or_insert_with(|| {
            let store = Store::open(&place.0).expect("a new store");
            let bench = topic(&store, "bench");
            (store, bench)
        });
        let value = [7u8; 100];
        let mut pending = Vec::with_capacity(ROUND as usize);
        b.iter(|| {
            for _ in 0..ROUND {
                pending.push(bench.enqueue(Record::new(&value)).expect("room in the buffer"));
            }
            for pending in pending.drain(..) {
                black_box(pending.wait().expect("an append"));
            }
        });
    });
}

/// One thread, one partition, 100 values of 1 KiB a call.
fn batch1k(c: &mut Criterion) {
    const CALLS: u64 = 500;
    let place = Place::new("batch1k");
    let mut group = group(c, Throughput::Bytes(CALLS * 100 * 1024));
    let mut made = None;
    group.bench_function("batch1k", |b| {
        let (_, bench) = made.get_or_insert_with(|| {
            let store = Store::open(&place.0).expect("a new store");
            let bench = topic(&store, "bench");
            (store, bench)
        });
        let value = [7u8; 1024];
        let records: Vec<_> = (0..100).map(|_| Record::new(&value)).collect();
        b.iter(|| {
            for _ in 0..CALLS {
                black_box(bench.send_batch(&records).expect("an append"));
            }
        });
    });
}

/// Reads a partition from its first record to its end; returns records and value bytes.
fn read_all(consumer: &mut Consumer) -> (u64, u64) {
    consumer.seek_to_beginning("bench", 0).expect("a seek");
    let (mut records, mut bytes) = (0, 0);
    loop {
        let fetched = consumer.try_poll().expect("a poll");
        if fetched.is_empty() {
            return (records, bytes);
        }
        for record in &fetched {
            records += 1;
            bytes += record.value().map_or(0, |value| black_box(value).len() as u64);
        }
    }
}

/// Reads everything back through the consumer, CRC checked, the page cache warm.
fn read100(c: &mut Criterion) {
    const RECORDS: u64 = 1_000_000;
    let place = Place::new("read100");
    let mut group = group(c, Throughput::Elements(RECORDS));
    let mut made = None;
    group.bench_function("read100", |b| {
        let (_, consumer) = made.get_or_insert_with(|| {
            let store = Store::open(&place.0).expect("a new store");
            let bench = topic(&store, "bench");
            for _ in 0..RECORDS {
                bench.send(Record::new(&[7u8; 100])).expect("an append");
            }
            let consumer = reader(&store);
            (store, consumer)
        });
        b.iter(|| assert_eq!(read_all(consumer), (RECORDS, RECORDS * 100)));
    });
}

/// As `read100`, of values of 1 KiB written 100 a batch.
fn read1k(c: &mut Criterion) {
    const BATCHES: u64 = 3_000;
    let place = Place::new("read1k");
    let mut group = group(c, Throughput::Bytes(BATCHES * 100 * 1024));
    let mut made = None;
    group.bench_function("read1k", |b| {
        let (_, consumer) = made.get_or_insert_with(|| {
            let store = Store::open(&place.0).expect("a new store");
            let bench = topic(&store, "bench");
            let records: Vec<_> = (0..100).map(|_| Record::new(&[7u8; 1024])).collect();
            for _ in 0..BATCHES {
                bench.send_batch(&records).expect("an append");
            }
            let consumer = reader(&store);
            (store, consumer)
        });
        b.iter(|| assert_eq!(read_all(consumer), (BATCHES * 100, BATCHES * 100 * 1024)));
    });
}

/// One thread, round robin over 1,000 topics of one partition, handles cached.
fn topics1000(c: &mut Criterion) {
    const TOPICS: usize = 1_000;
    const ROUNDS: usize = 200;
    let place = Place::new("topics1000");
    let mut group = group(c, Throughput::Elements((TOPICS * ROUNDS) as u64));
    let mut made = None;
    group.bench_function("topics1000", |b| {
        let (_, topics) = made.get_or_insert_with(|| {
            let store = Store::open(&place.0).expect("a new store");
            let names: Vec<_> = (0..TOPICS).map(|number| format!("t{number}")).collect();
            let configs = names.iter().map(|name| (name.as_str(), TopicConfig::new()));
            store.create_topics(configs).expect("new topics");
            let producer = store.producer().build().expect("a producer");
            let topics: Vec<_> =
                names.iter().map(|name| producer.topic(name).expect("the topic")).collect();
            let first = Instant::now();
            for topic in &topics {
                topic.send(Record::new("first")).expect("an append");
            }
            println!("topics1000: first append to each topic {:?}", first.elapsed());
            (store, topics)
        });
        b.iter(|| {
            for _ in 0..ROUNDS {
                for topic in &*topics {
                    black_box(topic.send(Record::new(&[7u8; 100])).expect("an append"));
                }
            }
        });
    });
}

criterion_group!(workloads, single100, linger100, batch1k, read100, read1k, topics1000);
criterion_main!(workloads);
