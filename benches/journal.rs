//! What the journal gives and takes (`docs/performance.md`): `sync1`, `sync64`, `synctopics`, each
//! without and with it, in turn, so that both sides meet the same machine.
//!
//! `cargo bench --bench journal -- [ROUNDS]`. Data goes to the system's temporary directory, or to
//! `TIDELOG_BENCH_DIR`; on a tmpfs a sync costs nothing and the figures mean nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidelog::{Durability, Journal, Record, Store, TopicConfig, TopicProducer};

const VALUE: [u8; 1024] = [7; 1024];

/// A workload: name, threads, partitions.
const WORK: [(&str, u32, u32); 4] =
    [("sync1", 1, 1), ("sync16", 16, 1), ("sync64", 64, 1), ("synctopics", 16, 200)];

fn open(dir: &Path, journal: Journal, partitions: u32) -> (Store, TopicProducer) {
    let store = Store::builder(dir).journal(journal).open().expect("a new store");
    let config = TopicConfig::new().partitions(partitions);
    store.create_topic("bench", config).expect("a new topic");
    let producer = store.producer().durability(Durability::Power).build();
    let topic = producer.expect("a producer").topic("bench").expect("the topic");
    (store, topic)
}

/// Thousands of sends a second for about a second, and how many syncs of logs that took.
fn measure(dir: &Path, journal: Journal, threads: u32, partitions: u32) -> (f64, u64) {
    let _ = std::fs::remove_dir_all(dir);
    let (store, topic) = open(dir, journal, partitions);
    for _ in 0..2 {
        for partition in 0..partitions {
            topic.send_to(partition, Record::new(&VALUE)).expect("an append");
        }
        std::thread::sleep(Duration::from_millis(400)); // the journal is made
    }
    let before = store.stats().syncs;
    let began = Instant::now();
    let sent: u32 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let topic = topic.clone();
                scope.spawn(move || {
                    let mut sent = 0;
                    while began.elapsed() < Duration::from_secs(1) {
                        let to = (thread * 37 + sent) % partitions;
                        topic.send_to(to, Record::new(&VALUE)).expect("an append");
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).sum()
    });
    let rate = f64::from(sent) / began.elapsed().as_secs_f64() / 1_000.0;
    let syncs = store.stats().syncs - before;
    store.close().expect("a clean close");
    (rate, syncs)
}

fn main() {
    let rounds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(5usize);
    let root = std::env::var_os("TIDELOG_BENCH_DIR").map(PathBuf::from);
    let root = root.unwrap_or_else(std::env::temp_dir);
    let dir = root.join(format!("tidelog-bench-journal-{}", std::process::id()));
    println!("k sends/s: median (least-most) of {rounds} rounds; syncs of logs in the last");
    for (name, threads, partitions) in WORK {
        let mut rates = [Vec::new(), Vec::new()];
        let mut syncs = [0; 2];
        for _ in 0..rounds {
            for (way, journal) in [Journal::Off, Journal::default()].into_iter().enumerate() {
                let (rate, made) = measure(&dir, journal, threads, partitions);
                rates[way].push(rate);
                syncs[way] = made;
            }
        }
        for (way, word) in ["off", "on"].into_iter().enumerate() {
            rates[way].sort_by(f64::total_cmp);
            let (least, most) = (rates[way][0], rates[way][rounds - 1]);
            let median = rates[way][rounds / 2];
            println!(
                "{name:>10} {word:>3}: {median:6.1} ({least:.1}-{most:.1}), {} syncs",
                syncs[way]
            );
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
}
