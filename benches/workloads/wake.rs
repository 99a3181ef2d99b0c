//! `wake`: from the append to the consumer thread that holds the record.
//!
//! An open loop of 1,000 records a second for 20 s, each timed from when it was meant to be sent,
//! once with a consumer that parks and once with one that spins first; then a ping-pong of two
//! spinning threads. Prints percentiles; beside them, in the same run, the parked and the spinning
//! hand-over of two bare threads, and the same three of a bare log: what a batch of one record in
//! Kafka's layout takes, stored into memory that is warm, read back with its checksum compared.
//! Bare open loops last 5 s.

use std::hint::black_box;
use std::sync::Mutex;
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
    let records = records / 4;
    bare_park(records);
    [0, 1, 3].into_iter().for_each(|lines| bare_spin(trips, lines));
    bare_log("bare log, parked", true, records);
    bare_log("bare log, spinning", false, records);
    bare_log_ping_pong(trips);
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

/// The header of a batch and a record of eight bytes without a key, in words.
const BATCH: usize = (61 + 15_usize).div_ceil(8);
/// What a checksum covers begins here.
const SUMMED: usize = 21;

/// Batches in memory behind one mutex, and how many there are: no clock, rules, indexes, digests,
/// segments or readers that are known.
struct BareLog {
    memory: Vec<AtomicU64>,
    writer: Mutex<u64>,
    end: Line,
}

impl BareLog {
    fn of(batches: u64) -> Self {
        let words = BATCH * usize::try_from(batches).expect("few");
        let memory: Vec<_> = (0..words).map(|_| AtomicU64::new(1)).collect(); // not zero: touched
        BareLog { memory, writer: Mutex::new(0), end: Line::default() }
    }

    fn batch(&self, offset: u64) -> &[AtomicU64] {
        let at = BATCH * usize::try_from(offset).expect("few");
        &self.memory[at..at + BATCH]
    }

    fn append(&self, value: u64) {
        let mut offset = self.writer.lock().expect("no panic");
        let mut batch = [0; 8 * BATCH];
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        batch[61..69].copy_from_slice(&value.to_be_bytes());
        let sum = crc32c::crc32c(&batch[SUMMED..]);
        batch[17..SUMMED].copy_from_slice(&sum.to_be_bytes());
        for (word, bytes) in self.batch(*offset).iter().zip(batch.chunks_exact(8)) {
            let bytes = bytes.try_into().expect("eight bytes");
            word.store(u64::from_be_bytes(bytes), Ordering::Relaxed);
        }
        *offset += 1;
        self.end.0.store(*offset, Ordering::Release);
    }

    /// How many there are; what is below is there to be read.
    fn end(&self) -> u64 {
        self.end.0.load(Ordering::Acquire)
    }

    fn read(&self, offset: u64) -> u64 {
        let mut batch = [0; 8 * BATCH];
        for (word, bytes) in self.batch(offset).iter().zip(batch.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_be_bytes());
        }
        let sum = crc32c::crc32c(&batch[SUMMED..]);
        assert_eq!(batch[17..SUMMED], sum.to_be_bytes(), "its checksum");
        u64::from_be_bytes(batch[61..69].try_into().expect("eight bytes"))
    }
}

/// The open loop through a bare log.
fn bare_log(name: &str, parks: bool, records: u32) {
    let log = BareLog::of(u64::from(records));
    let start = Instant::now() + Duration::from_millis(100);
    let mut histogram = histogram();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut offset = 0;
            while offset < u64::from(records) {
                while offset == log.end() {
                    if parks { std::thread::park() } else { std::hint::spin_loop() }
                }
                let intended = Duration::from_nanos(log.read(offset));
                offset += 1;
                keep(&mut histogram, start.elapsed().saturating_sub(intended));
            }
        });
        for number in 0..records {
            let intended = PERIOD * number;
            wait_until(start + intended);
            log.append(nanos_of(intended));
            if parks {
                waiting.thread().unpark();
            }
        }
    });
    print(name, &histogram);
}

/// The ping-pong through two bare logs.
fn bare_log_ping_pong(trips: u64) {
    let (ours, theirs) = (BareLog::of(trips), BareLog::of(trips));
    let take = |log: &BareLog, trip: u64| {
        while log.end() == trip {
            std::hint::spin_loop();
        }
        assert_eq!(log.read(trip), trip);
    };
    let mut histogram = histogram();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for trip in 0..trips {
                take(&ours, trip);
                theirs.append(trip);
            }
        });
        for trip in 0..trips {
            let sent = Instant::now();
            ours.append(trip);
            take(&theirs, trip);
            keep(&mut histogram, sent.elapsed() / 2);
        }
    });
    print("bare log, hot loop, one way", &histogram);
}
