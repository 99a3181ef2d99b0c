//! Appends that survive a kill: `single100`, `linger100`, `batch1k`, `threads2`, `threads16`.
//!
//! After the rate of `single100` and of the threads comes a pass in which each send is timed: the
//! tail is where windows, rolls and background syncs would show. Of threads it also says what part
//! each had of what was sent in two seconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Throughput;
use hdrhistogram::Histogram;
use tidelog::{Record, Store, TopicConfig, TopicProducer};

use crate::place::Place;
use crate::rounds::{Run, histogram, keep, print};
use crate::tails;

const VALUE: [u8; 100] = [7; 100];

fn topic(place: &Place) -> (Store, TopicProducer) {
    let store = Store::open(&place.0).expect("a new store");
    store.create_topic("bench", TopicConfig::new()).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("bench").expect("the topic");
    (store, topic)
}

fn send(topic: &TopicProducer, count: u64) {
    for _ in 0..count {
        black_box(topic.send(Record::new(&VALUE)).expect("an append"));
    }
}

/// One thread, one partition, one `send` for each 100-byte value.
pub fn single100(run: &Run) {
    let round = run.count(500_000);
    let place = Place::warmed(run);
    let (_store, topic) = topic(&place);
    run.criterion(run.name, Throughput::Elements(round), || send(&topic, round));
    let sends = run.count(5_000_000);
    let (times, slow) = tails::closed_loop(&topic, |times, _| times.len() >= sends);
    print("single100, each send", &times);
    slow.print();
}

/// One thread enqueues 100-byte records with default lingering and waits for every receipt.
pub fn linger100(run: &Run) {
    let round = run.count(500_000);
    let place = Place::warmed(run);
    let (_store, topic) = topic(&place);
    let mut pending = Vec::with_capacity(usize::try_from(round).expect("a small count"));
    run.criterion(run.name, Throughput::Elements(round), || {
        for _ in 0..round {
            pending.push(topic.enqueue(Record::new(&VALUE)).expect("room in the buffer"));
        }
        for pending in pending.drain(..) {
            black_box(pending.wait().expect("an append"));
        }
    });
}

/// One thread, one partition, 100 values of 1 KiB a call.
pub fn batch1k(run: &Run) {
    let calls = run.count(500);
    let place = Place::warmed(run);
    let (_store, topic) = topic(&place);
    let value = [7u8; 1024];
    let records: Vec<_> = (0..100).map(|_| Record::new(&value)).collect();
    run.criterion(run.name, Throughput::Bytes(calls * 100 * 1024), || {
        for _ in 0..calls {
            black_box(topic.send_batch(&records).expect("an append"));
        }
    });
}

pub fn threads2(run: &Run) {
    threads(run, 2);
}

pub fn threads16(run: &Run) {
    threads(run, 16);
}

/// As `single100` from several threads: the total, then each thread's part and the tail.
fn threads(run: &Run, threads: u64) {
    let each = run.count(400_000 / threads);
    let place = Place::warmed(run);
    let (_store, topic) = topic(&place);
    run.criterion(run.name, Throughput::Elements(each * threads), || {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let topic = topic.clone();
                scope.spawn(move || send(&topic, each));
            }
        });
    });
    let time = Duration::from_millis(run.count(2_000));
    let all: Vec<_> = std::thread::scope(|scope| {
        let one = |topic: TopicProducer| scope.spawn(move || timed(&topic, time));
        let workers: Vec<_> = (0..threads).map(|_| one(topic.clone())).collect();
        workers.into_iter().map(|worker| worker.join().expect("a sender")).collect()
    });
    let total: u64 = all.iter().map(Histogram::len).sum();
    let part = |times: &Histogram<u64>| 100.0 * times.len() as f64 / total.max(1) as f64;
    let parts: Vec<_> = all.iter().map(|times| format!("{:.0}", part(times))).collect();
    let mut times = histogram();
    all.iter().for_each(|one| times.add(one).expect("the same bounds"));
    println!("{}: each thread's part, %: {}", run.name, parts.join(" "));
    print(&format!("{}, each send", run.name), &times);
}

fn timed(topic: &TopicProducer, time: Duration) -> Histogram<u64> {
    let mut times = histogram();
    let began = Instant::now();
    let mut before = began;
    while before - began < time {
        black_box(topic.send(Record::new(&VALUE)).expect("an append"));
        let now = Instant::now();
        keep(&mut times, now - before);
        before = now;
    }
    times
}
