//! Many partitions: `create` makes 1,000 and 10,000 topics in one call, and one by one;
//! `open10k` opens 10,000 partitions of 1 KiB to 1 MiB after a kill, `open1k` 1,000 of 1 MiB.
//!
//! What is killed is a process of its own, this program again, in which everything was appended and
//! nothing flushed or closed. Memory and disk of the opened store are printed.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use tidelog::{Record, Store, TopicConfig};

use crate::place::Place;
use crate::rounds::{Run, print_spread};

const CHILD: &str = "TIDELOG_BENCH_FILL";

fn names(count: u64) -> Vec<String> {
    (0..count).map(|number| format!("t{number}")).collect()
}

fn make(store: &Store, names: &[String]) {
    let configs = names.iter().map(|name| (name.as_str(), TopicConfig::new()));
    store.create_topics(configs).expect("new topics");
}

/// A directory for each round, removed with all others: ext4 gives no inode away again within some
/// seconds of its deletion, and looks at each such inode before it takes another.
fn round_dir(place: &Place, round: usize) -> PathBuf {
    std::fs::create_dir_all(&place.0).expect("a directory");
    place.0.join(round.to_string())
}

/// Creating, the first append to each, and closing, in seconds.
fn created(dir: &Path, names: &[String]) -> [f64; 3] {
    let store = Store::open(dir).expect("a new store");
    let mut at = Instant::now();
    let mut lap = || std::mem::replace(&mut at, Instant::now()).elapsed().as_secs_f64();
    make(&store, names);
    let creating = lap();
    let producer = store.producer().build().expect("a producer");
    for name in names {
        let topic = producer.topic(name).expect("the topic");
        topic.send(Record::new(&[7; 100])).expect("an append");
    }
    let first = lap();
    store.close().expect("a close");
    [creating, first, lap()]
}

pub fn create(run: &Run) {
    let place = Place::new(run.name);
    let mut number = 0;
    let mut next = || {
        number += 1;
        round_dir(&place, number)
    };
    for (count, rounds) in [(1_000, run.rounds()), (10_000, run.rounds().min(2))] {
        let count = run.count(count);
        let names = names(count);
        let rounds: Vec<_> = (0..rounds).map(|_| created(&next(), &names)).collect();
        for (at, what) in ["created", "first append to each", "closed"].into_iter().enumerate() {
            let figures = rounds.iter().map(|round| round[at]).collect();
            print_spread(&format!("create, {count} topics: {what}"), "s", figures);
        }
    }
    let store = Store::open(next()).expect("a new store");
    let single = |name: &String| {
        let began = Instant::now();
        store.create_topic(name, TopicConfig::new()).expect("a new topic");
        began.elapsed().as_secs_f64() * 1e3
    };
    print_spread("create, one topic", "ms", names(run.count(500)).iter().map(single).collect());
}

/// The size of a partition: 1 KiB to 1 MiB, each doubling as likely as another.
fn size(number: u64, most: &str) -> usize {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let part = mixed as f64 / (1u64 << 24) as f64;
    if most == "full" { 1 << 20 } else { (1024.0 * 1024f64.powf(part)) as usize }
}

pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Appends everything and waits to be killed.
pub fn child() {
    let asked = std::env::var(CHILD).expect("it was looked for");
    let mut parts = asked.splitn(3, ':');
    let mut next = || parts.next().expect("three parts").to_owned();
    let (count, most, dir) = (next().parse().expect("a count"), next(), next());
    let store = Store::open(dir).expect("a new store");
    let names = names(count);
    make(&store, &names);
    let producer = store.producer().build().expect("a producer");
    let value = vec![7; 1 << 20];
    for (number, name) in (0..).zip(&names) {
        let topic = producer.topic(name).expect("the topic");
        // a batch of a mebibyte would be over the limit
        for part in value[..size(number, &most)].chunks(256_000) {
            let values: Vec<_> = part.chunks(1000).map(Record::new).collect();
            topic.send_batch(&values).expect("an append");
        }
    }
    println!("filled");
    std::thread::park();
}

/// Has another process fill a store, and kills it.
pub fn fill(dir: &Path, count: u64, most: &str) {
    let mut filling = Command::new(std::env::current_exe().expect("this program"))
        .env(CHILD, format!("{count}:{most}:{}", dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut line = String::new();
    let told = std::io::BufReader::new(filling.stdout.take().expect("it is piped"));
    std::io::BufRead::read_line(&mut { told }, &mut line).expect("a line");
    assert_eq!(line.trim(), "filled");
    filling.kill().expect("it runs");
    assert_eq!(filling.wait().expect("it has ended").signal(), Some(9));
}

/// Bytes on disk below a directory.
fn disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("it"));
    let size = |entry: std::fs::DirEntry| match entry.metadata().expect("it is there") {
        meta if meta.is_dir() => disk(&entry.path()),
        meta => meta.blocks() * 512,
    };
    entries.map(size).sum()
}

/// Resident memory that is no page cache but what we mapped, as the system counts it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines =
        status.lines().filter(|line| line.starts_with("RssAnon") || line.starts_with("RssF"));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

fn opened(run: &Run, count: u64, most: &str) {
    let place = Place::new(run.name);
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for round in 0..run.rounds().min(2) {
        let dir = round_dir(&place, round);
        fill(&dir, count, most);
        let began = Instant::now();
        let store = Store::open(&dir).expect("a store that was killed");
        let names = names(count);
        let read = |name: &String| {
            let mut reader = store.reader().assign([(name, 0)]).max_bytes(1).build().expect("it");
            assert!(!reader.try_poll().expect("a poll").is_empty(), "{name} has its record");
        };
        read(&names[names.len() / 2]);
        first.push(began.elapsed().as_secs_f64());
        for name in &names {
            let partition = store.partition(name, 0).expect("it is ready");
            assert!(partition.end_offset().expect("it is known").get() > 0);
        }
        all.push(began.elapsed().as_secs_f64());
        println!("{}: {}, disk {} MiB", run.name, memory(), disk(&dir) >> 20);
        let began = Instant::now();
        store.close().expect("a close");
        println!("{}: closed in {:?}", run.name, began.elapsed());
    }
    print_spread(&format!("{}: first read of one", run.name), "s", first);
    print_spread(&format!("{}: all ready", run.name), "s", all);
}

pub fn open10k(run: &Run) {
    opened(run, run.count(10_000), "any");
}

pub fn open1k(run: &Run) {
    opened(run, run.count(1_000), "full");
}
