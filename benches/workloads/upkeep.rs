//! `compact`: how fast a topic of a million keyed records, a tenth of them live, is compacted.
//! `seek`: lookups of times and of offsets a second, at random over a whole log.
//!
//! The clock of `compact` is stepped by hand, and maintenance runs in the calling thread, so that
//! nothing is measured but the compaction. `TIDELOG_BENCH_MIB` says how large the log of `seek` is,
//! 1024 by default.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tidelog::{
    CleanupPolicy, ManualClock, Offset, Record, Store, StoreStats, Threads, Timestamp, TopicConfig,
};

use crate::place::Place;
use crate::rounds::{Run, histogram, keep, print, print_spread};

const START: i64 = 1_700_000_000_000;

fn bytes_and_compactions(stats: &StoreStats) -> (u64, u64) {
    let topic = stats.topics.iter().find(|topic| topic.name == "bench").expect("the topic");
    (topic.bytes, topic.partitions.iter().map(|partition| partition.compactions).sum())
}

/// Writes and compacts once; megabytes a second, and what part of them is left.
pub fn compacted(place: &Place, records: u64) -> (f64, f64) {
    let _ = std::fs::remove_dir_all(&place.0);
    let clock = ManualClock::new(Timestamp::from_millis(START));
    let builder = Store::builder(&place.0).clock(clock.clone()).threads(Threads::Host);
    let store = builder.open().expect("a new store");
    let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    // some eight segments
    store.create_topic("bench", config.segment_bytes(records * 16)).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("bench").expect("the topic");
    let keys: Vec<_> = (0..records).map(|number| (number % (records / 10)).to_be_bytes()).collect();
    for keys in keys.chunks(100) {
        let records: Vec<_> = keys.iter().map(|key| Record::new(&[7; 100]).key(key)).collect();
        topic.send_batch(&records).expect("an append");
    }
    let (before, _) = bytes_and_compactions(&store.stats());
    let began = Instant::now();
    let mut took = Duration::ZERO;
    let (mut idle, mut last) = (0, 0);
    // a pass counts once it has ended, and goes over all of it twice, by steps of a mebibyte
    while idle < 100 + before / (1 << 18) {
        clock.advance(Duration::from_secs(1));
        store.run_maintenance();
        let (_, compactions) = bytes_and_compactions(&store.stats());
        idle += 1;
        if compactions != last {
            (idle, last, took) = (0, compactions, began.elapsed());
        }
    }
    let (after, compactions) = bytes_and_compactions(&store.stats());
    assert!(compactions > 0, "something was compacted");
    store.close().expect("a close");
    (before as f64 / 1e6 / took.as_secs_f64(), after as f64 / before as f64)
}

pub fn compact(run: &Run) {
    let place = Place::new(run.name);
    let records = run.count(1_000_000);
    let rounds: Vec<_> = (0..run.rounds()).map(|_| compacted(&place, records)).collect();
    println!("compact: {:.0} % of the bytes are left", rounds[0].1 * 100.0);
    print_spread(run.name, "MB/s", rounds.into_iter().map(|(speed, _)| speed).collect());
}

pub fn seek(run: &Run) {
    let mib = std::env::var("TIDELOG_BENCH_MIB").ok().and_then(|mib| mib.parse::<u64>().ok());
    let records = run.count(mib.unwrap_or(1024) * 1024);
    let place = Place::new(run.name);
    let store = Store::open(&place.0).expect("a new store");
    let config = TopicConfig::new().segment_bytes(128 << 20);
    store.create_topic("bench", config).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("bench").expect("the topic");
    let at = |number: u64| Timestamp::from_millis(START + i64::try_from(number).expect("small"));
    for first in (0..records).step_by(16) {
        let numbers = first..(first + 16).min(records);
        let record = |number| Record::new(&[7; 1024]).timestamp(at(number));
        topic.send_batch(&numbers.map(record).collect::<Vec<_>>()).expect("an append");
    }
    let mut seeds = StdRng::seed_from_u64(7);
    let lookups = run.count(50_000);
    let mut times = histogram();
    for _ in 0..lookups {
        let wanted = seeds.random_range(0..records);
        let began = Instant::now();
        let found = store.offset_at("bench", 0, at(wanted)).expect("a lookup");
        keep(&mut times, began.elapsed());
        assert_eq!(found, Some(Offset::from(u32::try_from(wanted).expect("small"))));
    }
    report("seek, the offset of a time", &times);
    let mut reader = store.reader().assign([("bench", 0)]).max_records(1).build().expect("it");
    let mut times = histogram();
    for _ in 0..lookups {
        let wanted = Offset::from(u32::try_from(seeds.random_range(0..records)).expect("small"));
        let began = Instant::now();
        reader.seek("bench", 0, wanted).expect("a seek");
        let records = reader.try_poll().expect("a poll");
        keep(&mut times, began.elapsed());
        let first = black_box(&records).iter().next().expect("a record");
        assert_eq!(first.offset(), wanted);
    }
    report("seek, an offset and the first record there", &times);
}

fn report(name: &str, times: &hdrhistogram::Histogram<u64>) {
    println!("{name}: {:.0} k/s", 1e6 / times.mean());
    print(name, times);
}
