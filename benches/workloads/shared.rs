//! `shared`: a share group on one partition, and `delays`: delayed delivery.
//!
//! `shared` has 200,000 records of 100 bytes taken and acknowledged by 1, 8, 64 and 1,000
//! consumers, each on a thread of its own, 100 a poll and one by one, with process durability; by 1
//! to 10,000 consumers that one thread polls in turn, which is what consumers alone cost each
//! other; then some given back for later.
//! `delays` schedules records for a far day, prints what they cost in memory, and then has 100,000
//! come due within one second, while another thread lingers for a millisecond again and again: how
//! late they are published, and how late its receipts are. A word says how many are to be pending
//! (`delays 10000000`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use tidelog::{Durability, Record, ShareConsumer, Store, Timestamp, TopicConfig, When};

use crate::rounds::{Run, histogram, keep, print, print_spread};

const JOBS: u64 = 200_000;

pub fn shared(run: &Run) {
    let jobs = run.count(JOBS);
    for (consumers, batch) in [(1, 100), (8, 100), (64, 100), (1000, 100), (1, 1), (8, 1)] {
        let rates: Vec<f64> = (0..run.rounds()).map(|_| drain(jobs, consumers, batch)).collect();
        let name = format!("shared, {consumers} consumers, {batch} a poll: take and ack");
        print_spread(&name, "records/ms", rates);
    }
    for consumers in [1, 8, 64, 1000, 10_000] {
        let rates = (0..run.rounds()).map(|_| in_turn(jobs, consumers)).collect();
        let name = format!("shared, {consumers} consumers of one thread, 100 a poll: take and ack");
        print_spread(&name, "records/ms", rates);
    }
    let rates = (0..run.rounds()).map(|_| retries(jobs / 10)).collect();
    print_spread("shared: given back for later, one by one", "records/ms", rates);
}

fn filled(jobs: u64) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("a new store");
    store.create_topic("jobs", TopicConfig::new()).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("jobs").expect("the topic");
    let records: Vec<Record<'_>> = (0..100).map(|_| Record::new(&[7; 100])).collect();
    for _ in 0..jobs.div_ceil(100) {
        topic.send_batch(&records).expect("an append");
    }
    (dir, store)
}

fn consumer(store: &Store, batch: usize) -> ShareConsumer {
    let builder = store.share_consumer("workers").subscribe(["jobs"]).max_records(batch);
    let builder = builder.durability(Durability::Process).max_in_flight(100_000);
    builder.build().expect("a consumer")
}

/// Records a millisecond, from the first poll to the last acknowledgement.
fn drain(jobs: u64, consumers: usize, batch: usize) -> f64 {
    let (_dir, store) = filled(jobs);
    let left = Arc::new(AtomicU64::new(jobs.div_ceil(100) * 100));
    let begins = Arc::new(Barrier::new(consumers + 1));
    let begin = |_| {
        let (mut consumer, left, begins) = (consumer(&store, batch), left.clone(), begins.clone());
        let run = move || {
            begins.wait();
            while left.load(Ordering::Acquire) > 0 {
                let leased = consumer.poll(Duration::from_millis(20)).expect("a poll");
                if !leased.is_empty() {
                    consumer.ack_all(&leased).expect("acknowledged");
                    left.fetch_sub(leased.len() as u64, Ordering::AcqRel);
                }
            }
        };
        std::thread::Builder::new().stack_size(256 << 10).spawn(run).expect("a thread")
    };
    let threads: Vec<_> = (0..consumers).map(begin).collect();
    begins.wait();
    let start = Instant::now();
    while left.load(Ordering::Acquire) > 0 {
        std::thread::sleep(Duration::from_micros(200));
    }
    let took = start.elapsed();
    threads.into_iter().for_each(|thread| thread.join().expect("a consumer"));
    jobs as f64 / took.as_secs_f64() / 1e3
}

/// The same where nobody waits for another thread.
fn in_turn(jobs: u64, consumers: usize) -> f64 {
    let (_dir, store) = filled(jobs);
    let mut all: Vec<ShareConsumer> = (0..consumers).map(|_| consumer(&store, 100)).collect();
    let (start, mut left) = (Instant::now(), jobs.div_ceil(100) * 100);
    for consumer in (0..consumers).cycle() {
        let consumer = &mut all[consumer];
        let leased = consumer.try_poll().expect("a poll");
        consumer.ack_all(&leased).expect("acknowledged");
        left -= leased.len() as u64;
        if left == 0 {
            break;
        }
    }
    jobs as f64 / start.elapsed().as_secs_f64() / 1e3
}

fn retries(jobs: u64) -> f64 {
    let (_dir, store) = filled(jobs);
    let mut consumer = consumer(&store, 1000);
    let start = Instant::now();
    let mut given = 0;
    while given < jobs {
        let leased = consumer.try_poll().expect("a poll");
        for record in &leased {
            consumer.release_after(record, Duration::from_secs(3600)).expect("given back");
        }
        given += leased.len() as u64;
    }
    jobs as f64 / start.elapsed().as_secs_f64() / 1e3
}

pub fn delays(run: &Run) {
    let pending = run.words.first().map_or(Ok(1_000_000), |word| word.parse());
    let pending = run.count(pending.expect("how many are to be pending"));
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("a new store");
    store.create_topic("later", TopicConfig::new()).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("later").expect("the topic");
    let schedule = |when: When| {
        topic.schedule(Record::new(&[7; 100]), when).expect("it is scheduled");
    };
    let before = memory();
    let start = Instant::now();
    for number in 0..pending {
        let delay = Duration::from_secs(86_400 + number % 864_000);
        schedule(When::After(delay));
    }
    let rate = pending as f64 / start.elapsed().as_secs_f64() / 1e3;
    println!("delays: {rate:.1} scheduled/ms; {pending} pending, {} MiB more", memory() - before);
    let due = run.count(100_000);
    let first = now() + 3_000;
    for number in 0..due {
        let at = Timestamp::from_millis(first + i64::try_from(number * 1000 / due).unwrap_or(0));
        schedule(When::At(at));
    }
    let (stops, store) = (Arc::new(AtomicBool::new(false)), Arc::new(store));
    let lingering = linger(&store, &stops);
    while store.stats().scheduled.pending > pending {
        std::thread::sleep(Duration::from_millis(5));
    }
    stops.store(true, Ordering::Release);
    print("delays: a linger of 1 ms meanwhile", &lingering.join().expect("the other thread"));
    let (mut late, mut number) = (histogram(), 0);
    let mut reader = store.reader().subscribe(["later"]).build().expect("a reader");
    for records in reader.read_to_end().expect("an end") {
        for record in &records.expect("records") {
            let at = record.timestamp().expect("a timestamp").as_millis();
            let meant = first + i64::try_from(number * 1000 / due).unwrap_or(0);
            keep(&mut late, Duration::from_millis(u64::try_from(at - meant).unwrap_or(0)));
            number += 1;
        }
    }
    print("delays: 100,000 due within a second, late by", &late);
    println!("delays: {} MiB in all", memory());
}

/// From an `enqueue` to its receipt, which the timer brings after a millisecond.
fn linger(store: &Arc<Store>, stops: &Arc<AtomicBool>) -> JoinHandle<Histogram<u64>> {
    store.create_topic("other", TopicConfig::new()).expect("a new topic");
    let producer = store.producer().linger(Duration::from_millis(1)).build().expect("a producer");
    let (topic, stops) = (producer.topic("other").expect("the topic"), stops.clone());
    std::thread::spawn(move || {
        let mut histogram = histogram();
        while !stops.load(Ordering::Acquire) {
            let start = Instant::now();
            topic.enqueue(Record::new("x")).expect("kept").wait().expect("a receipt");
            keep(&mut histogram, start.elapsed());
        }
        histogram
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 9999")
}

/// Resident, in MiB.
fn memory() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon")).expect("a line");
    let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<i64>().ok());
    kib.expect("a number") / 1024
}
