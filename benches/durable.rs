//! Power-durable sends (`docs/performance.md`): `sync1`, `sync16`, `sync64` from that many threads
//! to one partition, `synctopics` from 16 threads to 200 partitions, and beside them what the
//! device allows: one thread that overwrites 1 KiB of a file and syncs it.
//!
//! The syncs that the store made are printed, so that a figure can be told from a weaker promise.
//! Data goes to the system's temporary directory, or to `TIDELOG_BENCH_DIR`; on a tmpfs a sync
//! costs nothing and the figures mean nothing.

mod common;

use std::hint::black_box;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use common::Place;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group};
use criterion::{criterion_main, measurement::WallTime};
use tidelog::{Durability, Record, Store, TopicConfig, TopicProducer};

const VALUE: [u8; 1024] = [7; 1024];

fn group<'c>(c: &'c mut Criterion, sends: u64) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group("tidelog");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(sends));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group
}

/// The sync of an overwritten block of a file whose space is there: the device's limit.
fn overwrite(c: &mut Criterion) {
    const ROUND: u64 = 1_000;
    let place = Place::new("overwrite");
    let mut group = group(c, ROUND);
    group.bench_function("overwrite-sync", |b| {
        std::fs::create_dir_all(&place.0).expect("a new directory");
        let mut file = std::fs::File::create(place.0.join("file")).expect("a new file");
        file.write_all(&[0; 1 << 20]).and_then(|()| file.sync_all()).expect("room for it");
        let mut at = 0;
        b.iter(|| {
            for _ in 0..ROUND {
                at = (at + 1024) % (1 << 20);
                file.seek(SeekFrom::Start(at)).expect("a seek");
                file.write_all(&VALUE).and_then(|()| file.sync_data()).expect("a sync");
            }
        });
    });
}

/// `threads` threads, `each` sends a round, over the partitions of one topic in turn.
fn sends(c: &mut Criterion, name: &str, (threads, each): (u64, u64), partitions: u32) {
    let place = Place::new(name);
    let mut group = group(c, threads * each);
    let mut made = None;
    let mut sent = 0;
    group.bench_function(name, |b| {
        let (_, topic): &mut (Store, TopicProducer) = made.get_or_insert_with(|| {
            let store = Store::open(&place.0).expect("a new store");
            store
                .create_topic("bench", TopicConfig::new().partitions(partitions))
                .expect("a new topic");
            let producer = store.producer().durability(Durability::Power).build();
            let topic = producer.expect("a producer").topic("bench").expect("the topic");
            for partition in 0..partitions {
                topic.send_to(partition, Record::new(&VALUE)).expect("an append");
            }
            (store, topic)
        });
        b.iter(|| {
            sent += threads * each;
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let topic = topic.clone();
                    scope.spawn(move || {
                        for number in 0..each {
                            let to = (thread * each + number) % u64::from(partitions);
                            let to = u32::try_from(to).expect("a partition");
                            let sent = topic.send_to(to, Record::new(&VALUE));
                            black_box(sent.expect("an append"));
                        }
                    });
                }
            });
        });
    });
    if let Some((store, _)) = &made {
        println!("{name}: {sent} sends, {} syncs", store.stats().syncs);
    }
}

fn sync1(c: &mut Criterion) {
    sends(c, "sync1", (1, 1_000), 1);
}

fn sync16(c: &mut Criterion) {
    sends(c, "sync16", (16, 200), 1);
}

fn sync64(c: &mut Criterion) {
    sends(c, "sync64", (64, 100), 1);
}

fn synctopics(c: &mut Criterion) {
    sends(c, "synctopics", (16, 100), 200);
}

criterion_group!(durable, overwrite, sync1, sync16, sync64, synctopics);
criterion_main!(durable);
