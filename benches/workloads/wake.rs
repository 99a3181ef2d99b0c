//! `wake`: from the append to the consumer thread that holds the record.
//!
//! An open loop of 1,000 records a second for 20 s, each timed from when it was meant to be sent,
//! once with a consumer that parks and once with one that spins first; then a ping-pong of two
//! spinning threads. Prints percentiles; beside them, in the same run, the parked and the spinning
//! hand-over of two bare threads.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidelog::{PartitionId, Record, Store, TopicConfig};

use crate::rounds::{Run, histogram, keep, print};

const PERIOD: Duration = Duration::from_millis(1);
const RECORDS: u64 = 20_000;
const ROUND_TRIPS: u64 = 200_000;

pub fn wake(run: &Run) {
    let records = u32::try_from(run.count(RECORDS)).expect("a small count");
    open_loop("wake, parked", Duration::ZERO, records);
    open_loop("wake, spinning", Duration::from_secs(1), records);
    let trips = run.count(ROUND_TRIPS);
    ping_pong(trips);
    bare_park(records);
    [0, 1, 3].into_iter().for_each(|lines| bare_spin(trips, lines));
}

/// Sends on time, whatever became of the records before; the value is the intended time.
fn open_loop(name: &str, spin: Duration, records: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("a new store");
    store.create_topic("wake", TopicConfig::new()).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("wake").expect("the topic");
    let mut consumer = store.reader().assign([("wake", 0)]).spin(spin).build().expect("a reader");
    let start = Instant::now() + Duration::from_millis(100);
    let reading = std::thread::spawn(move || {
        let mut histogram = histogram();
        while histogram.len() < u64::from(records) {
            let fetched = consumer.poll(Duration::from_secs(5)).expect("a poll");
            let now = start.elapsed();
            for record in &fetched {
                let value = record.value().expect("a value").try_into().expect("8 bytes");
                let intended = Duration::from_nanos(u64::from_be_bytes(value));
                keep(&mut histogram, now.saturating_sub(intended));
            }
        }
        histogram
    });
    for number in 0..records {
        let intended = PERIOD * number;
        wait_until(start + intended);
        topic.send(Record::new(&nanos_of(intended).to_be_bytes())).expect("an append");
    }
    print(name, &reading.join().expect("the reader"));
}

/// Sleeps for the most of it and spins for the rest.
pub fn wait_until(at: Instant) {
    loop {
        let left = at.saturating_duration_since(Instant::now());
        match left {
            Duration::ZERO => return,
            left if left > Duration::from_micros(200) => {
                std::thread::sleep(left - Duration::from_micros(150));
            }
            _ => std::hint::spin_loop(),
        }
    }
}

/// Two threads, two partitions, each answering the other; both spin.
fn ping_pong(trips: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("a new store");
    store.create_topic("ball", TopicConfig::new().partitions(2)).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("ball").expect("the topic");
    let spin = Duration::from_secs(5);
    let consumer = |partition: u32| {
        store.reader().assign([("ball", partition)]).spin(spin).build().expect("a reader")
    };
    let (mut here, mut there) = (consumer(0), consumer(1));
    let answering = {
        let topic = topic.clone();
        std::thread::spawn(move || {
            for _ in 0..trips {
                while there.poll(spin).expect("a poll").is_empty() {}
                topic.send_to(PartitionId::new(0), Record::new("pong")).expect("an append");
            }
        })
    };
    let mut histogram = histogram();
    for _ in 0..trips {
        let sent = Instant::now();
        topic.send_to(PartitionId::new(1), Record::new("ping")).expect("an append");
        while here.poll(spin).expect("a poll").is_empty() {}
        keep(&mut histogram, sent.elapsed() / 2);
    }
    answering.join().expect("the other side");
    print("wake, hot loop, one way", &histogram);
}

/// What a wake of a parked thread takes by itself, in the same open loop: from the intended time
/// until the thread that was parked has it.
fn bare_park(records: u32) {
    let intended = AtomicU64::new(0);
    let start = Instant::now() + Duration::from_millis(100);
    let last = nanos_of(PERIOD * records);
    let mut histogram = histogram();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut seen = 0;
            while seen < last {
                match intended.load(Ordering::Acquire) {
                    found if found == seen => std::thread::park(),
                    found => {
                        let now = start.elapsed();
                        while seen < found {
                            seen += nanos_of(PERIOD); // each that was due meanwhile, as records are
                            keep(&mut histogram, now.saturating_sub(Duration::from_nanos(seen)));
                        }
                    }
                }
            }
        });
        for number in 1..=records {
            wait_until(start + PERIOD * number);
            intended.store(nanos_of(PERIOD * number), Ordering::Release);
            waiting.thread().unpark();
        }
    });
    print("bare park and unpark", &histogram);
}

fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What two spinning threads take by themselves, and with so many lines of memory that the one
/// stores and the other loads: a record has two and its log's end another.
fn bare_spin(trips: u64, lines: usize) {
    let turn = AtomicU64::new(0);
    let handed: Vec<Line> = (0..lines).map(|_| Line::default()).collect();
    let hand = |trip: u64| handed.iter().for_each(|line| line.0.store(trip, Ordering::Relaxed));
    let take = || {
        handed.iter().for_each(|line| _ = black_box(line.0.load(Ordering::Relaxed)));
    };
    let mut histogram = histogram();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for trip in 0..trips {
                while turn.load(Ordering::Acquire) != 2 * trip + 1 {
                    std::hint::spin_loop();
                }
                take();
                hand(trip);
                turn.store(2 * trip + 2, Ordering::Release);
            }
        });
        for trip in 0..trips {
            let sent = Instant::now();
            hand(trip);
            turn.store(2 * trip + 1, Ordering::Release);
            while turn.load(Ordering::Acquire) != 2 * trip + 2 {
                std::hint::spin_loop();
            }
            take();
            keep(&mut histogram, sent.elapsed() / 2);
        }
    });
    print(&format!("bare spinning, {lines} lines handed over, one way"), &histogram);
}

/// A line of memory, as two processors hand it to each other: they may fetch its neighbour too.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);
