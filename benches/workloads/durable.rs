//! Power-durable sends: `sync1`, `sync16`, `sync64` from that many threads to one partition,
//! `synctopics` from 16 threads to 200 partitions; and `overwrite`, what the device allows: one
//! thread that overwrites 1 KiB of a file and syncs it.
//!
//! Five rounds of two seconds. The syncs that the store made of its logs are printed (the
//! journal's own are not among them; `strace -f -c -e trace=fdatasync` sees all), so that a figure
//! can be told from a weaker promise. On a tmpfs a sync costs nothing and the figures mean nothing.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidelog::{Durability, Record, Store, TopicConfig, TopicProducer};

use crate::place::Place;
use crate::rounds::{Run, histogram, keep, print, print_spread};

const VALUE: [u8; 1024] = [7; 1024];

/// Does something until the time is over, and keeps how long each took.
fn repeat(time: Duration, mut once: impl FnMut(u32)) -> Histogram<u64> {
    let mut times = histogram();
    let began = Instant::now();
    let mut before = began;
    let mut number = 0;
    while before - began < time {
        once(number);
        number += 1;
        let now = Instant::now();
        keep(&mut times, now - before);
        before = now;
    }
    times
}

fn report(name: &str, time: Duration, rounds: &[Histogram<u64>]) {
    let rate = |times: &Histogram<u64>| times.len() as f64 / time.as_secs_f64() / 1e3;
    print_spread(name, "k/s", rounds.iter().map(rate).collect());
    let mut all = histogram();
    rounds.iter().for_each(|one| all.add(one).expect("the same bounds"));
    print(&format!("{name}, each"), &all);
}

pub fn overwrite(run: &Run) {
    const SIZE: u64 = 1 << 20;
    let time = Duration::from_millis(run.count(2_000));
    let place = Place::new(run.name);
    std::fs::create_dir_all(&place.0).expect("a new directory");
    let mut file = std::fs::File::create(place.0.join("file")).expect("a new file");
    file.write_all(&vec![0; 1 << 20]).and_then(|()| file.sync_all()).expect("room for it");
    let mut once = |number: u32| {
        let at = u64::from(number) * 1024 % SIZE;
        file.seek(SeekFrom::Start(at)).expect("a seek");
        file.write_all(&VALUE).and_then(|()| file.sync_data()).expect("a sync");
    };
    let rounds: Vec<_> = (0..run.rounds()).map(|_| repeat(time, &mut once)).collect();
    report(run.name, time, &rounds);
}

pub fn sync1(run: &Run) {
    sends(run, 1, 1);
}

pub fn sync16(run: &Run) {
    sends(run, 16, 1);
}

pub fn sync64(run: &Run) {
    sends(run, 64, 1);
}

pub fn synctopics(run: &Run) {
    sends(run, 16, 200);
}

fn topic(place: &Place, partitions: u32) -> (Store, TopicProducer) {
    let store = Store::open(&place.0).expect("a new store");
    let config = TopicConfig::new().partitions(partitions);
    store.create_topic("bench", config).expect("a new topic");
    let producer = store.producer().durability(Durability::Power).build();
    let topic = producer.expect("a producer").topic("bench").expect("the topic");
    for partition in 0..partitions {
        topic.send_to(partition, Record::new(&VALUE)).expect("an append");
    }
    (store, topic)
}

/// That many threads, each over the partitions of one topic in turn.
fn sends(run: &Run, threads: u32, partitions: u32) {
    let time = Duration::from_millis(run.count(2_000));
    let place = Place::new(run.name);
    let (store, topic) = topic(&place, partitions);
    // the journal is made in the background by the first durable appends
    repeat(Duration::from_millis(run.count(500)), |_| {
        topic.send_to(0, Record::new(&VALUE)).expect("an append");
    });
    let before = store.stats().syncs;
    let round = || {
        std::thread::scope(|scope| {
            let one = |thread: u32| {
                let topic = topic.clone();
                scope.spawn(move || {
                    repeat(time, |number| {
                        let to = (thread * 37 + number) % partitions;
                        topic.send_to(to, Record::new(&VALUE)).expect("an append");
                    })
                })
            };
            let workers: Vec<_> = (0..threads).map(one).collect();
            let mut all = histogram();
            for worker in workers {
                all.add(worker.join().expect("a sender")).expect("the same bounds");
            }
            all
        })
    };
    let rounds: Vec<_> = (0..run.rounds()).map(|_| round()).collect();
    report(run.name, time, &rounds);
    let sent: u64 = rounds.iter().map(Histogram::len).sum();
    println!("{}: {sent} sends, {} syncs of logs", run.name, store.stats().syncs - before);
}
