//! What the journal gives and takes (`docs/performance.md`): `sync1`, `sync16`, `sync64` and
//! `synctopics`, each without and with it, in turn, so that both sides meet the same machine.
//!
//! `cargo bench -- journal [NAME] [ROUNDS] [SECONDS]`: all names, 3 rounds of 1 s each by
//! default. A lap of the journal takes some seconds: for what it costs in the long run name more.
//! On a tmpfs a sync costs nothing and the figures mean nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use tidelog::{Durability, Journal, Record, Store, TopicConfig, TopicProducer};

use crate::place::Place;
use crate::rounds::{Run, spread};

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

/// Waits for the journal, where there is to be one: its file has its name once it is whole.
fn warm_up(dir: &Path, topic: &TopicProducer, journal: Journal, partitions: u32) {
    let began = Instant::now();
    let is_made = || journal == Journal::Off || dir.join("tidelog.journal").exists();
    for partition in 0..partitions {
        topic.send_to(partition, Record::new(&VALUE)).expect("an append");
    }
    while !is_made() && began.elapsed() < Duration::from_secs(30) {
        topic.send_to(0, Record::new(&VALUE)).expect("an append");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    for partition in 0..partitions {
        topic.send_to(partition, Record::new(&VALUE)).expect("an append");
    }
}

/// Thousands of sends a second for a while, and how many syncs of logs that took.
fn measure(
    dir: &Path,
    journal: Journal,
    (threads, partitions): (u32, u32),
    time: Duration,
) -> (f64, u64) {
    let _ = std::fs::remove_dir_all(dir);
    let (store, topic) = open(dir, journal, partitions);
    warm_up(dir, &topic, journal, partitions);
    let before = store.stats().syncs;
    let began = Instant::now();
    let sent: u32 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let topic = topic.clone();
                scope.spawn(move || {
                    let mut sent = 0;
                    while began.elapsed() < time {
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

/// Both ways in turn, and what the second of each pair is to the first.
fn compare(place: &Place, (name, threads, partitions): (&str, u32, u32), rounds: u32, time: u64) {
    let mut rates = [Vec::new(), Vec::new()];
    let mut syncs = [0; 2];
    for round in 0..rounds {
        let mut ways = [(0, Journal::Off), (1, Journal::default())];
        if round % 2 == 1 {
            ways.reverse(); // neither side always meets what the other leaves behind
        }
        for (way, journal) in ways {
            let time = Duration::from_secs(time);
            let (rate, made) = measure(&place.0, journal, (threads, partitions), time);
            rates[way].push(rate);
            syncs[way] = made;
        }
    }
    let pairs = rates[0].iter().zip(&rates[1]).map(|(off, on)| on / off).collect();
    for (way, word) in ["off", "on"].into_iter().enumerate() {
        let (median, least, most) = spread(rates[way].clone());
        println!("{name:>10} {word:>3}: {median:6.1} ({least:.1}-{most:.1}), {} syncs", syncs[way]);
    }
    let (median, least, most) = spread(pairs);
    println!("{name:>10} on/off in pairs: {median:.2} ({least:.2}-{most:.2})");
}

pub fn journal(run: &Run) {
    let mut numbers = run.words.iter().filter_map(|word| word.parse::<u32>().ok());
    let (rounds, seconds) = (numbers.next(), numbers.next().unwrap_or(1));
    let rounds = rounds.unwrap_or(if run.is_test { 1 } else { 3 });
    let named = WORK.into_iter().filter(|(name, ..)| run.words.iter().any(|word| word == name));
    let named: Vec<_> = named.collect();
    let place = Place::new(run.name);
    println!(
        "k sends/s: median (least-most) of {rounds} rounds of {seconds} s; \
         syncs of logs in the last"
    );
    for work in if named.is_empty() { WORK.to_vec() } else { named } {
        compare(&place, work, rounds.max(1), u64::from(seconds));
    }
}
