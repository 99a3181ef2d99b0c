//! The workloads, each a function of a side and a directory, named as in `docs/performance.md`.
//!
//! Values are slices of one block of noise: no two neighbours are alike, nothing compresses, and
//! making one costs nothing. `many100` is 100 values of 100 bytes a call. Times are of the calls
//! alone: opening, reading back to compare, and dropping are outside. Rows "by CPU" are of the same
//! calls by the calling thread's processor time, which other programs move least.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::sides::{Job, Neighbour, Side};

/// A row of the results and a figure for it.
pub type Figure = (&'static str, f64);

pub struct Workload {
    pub name: &'static str,
    pub run: fn(&Workload, &Neighbour, &Path) -> Vec<Figure>,
    size: usize,
    count: usize,
    threads: usize,
    topics: usize,
}

const fn workload(
    name: &'static str,
    run: fn(&Workload, &Neighbour, &Path) -> Vec<Figure>,
) -> Workload {
    Workload { name, run, size: 100, count: 5_000_000, threads: 1, topics: 1 }
}

/// As many as there is time for, about.
const fn workload_synced(name: &'static str, threads: usize, topics: usize) -> Workload {
    Workload { size: 1024, count: 100_000, threads, topics, ..workload(name, synced) }
}

pub const WORKLOADS: &[Workload] = &[
    workload("single100", single),
    workload("many100", many),
    workload("linger100", linger),
    Workload { size: 1024, count: 500_000, ..workload("batch1k", many) },
    Workload { threads: 2, count: 2_000_000, ..workload("threads2", threads) },
    Workload { threads: 16, count: 2_000_000, ..workload("threads16", threads) },
    Workload { topics: 1_000, count: 2_000_000, ..workload("topics1000", topics) },
    Workload { topics: 10_000, count: 2_000_000, ..workload("topics10000", topics) },
    workload_synced("sync1", 1, 1),
    workload_synced("sync16", 16, 1),
    workload_synced("sync64", 64, 1),
    workload_synced("synctopics", 16, 200),
];

const STEP: usize = 8;
const KINDS: usize = 8192;
/// As long as any side's own background sync may wait, and write.
const REST: Duration = Duration::from_millis(2500);

/// The value of a number: a slice of noise.
fn value(number: usize, size: usize) -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    let noise = NOISE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..KINDS * STEP + 1024).map(|_| next()).collect()
    });
    &noise[number % KINDS * STEP..][..size]
}

/// The processor time of the calling thread, in seconds.
fn cpu() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a time of ours
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// When something began, by the clock and by the processor's time.
struct Began(Instant, f64);

impl Began {
    fn now() -> Self {
        Began(Instant::now(), cpu())
    }

    /// How many a second, by either.
    fn rates(&self, count: usize) -> [f64; 2] {
        let by_cpu = count as f64 / (cpu() - self.1);
        [count as f64 / self.0.elapsed().as_secs_f64(), by_cpu]
    }
}

fn per_second(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

/// Two rows of one measurement, in some unit.
fn both(rows: [&'static str; 2], rates: [f64; 2], unit: f64) -> [Figure; 2] {
    [(rows[0], rates[0] / unit), (rows[1], rates[1] / unit)]
}

/// Reads everything back: values a second, and each compared with what it should be.
fn read_back(side: &dyn Side, count: usize, size: usize) -> [f64; 2] {
    let compared = |number: &mut usize, read: &[u8]| {
        assert!(read == value(*number, size), "value {number} is another");
        *number += 1;
    };
    let (mut number, mut bytes) = (0, 0);
    let began = Began::now();
    if side.rereads() {
        side.read(0, &mut |read| {
            bytes += std::hint::black_box(read).len();
            number += 1;
        });
    } else {
        side.read(0, &mut |read| {
            compared(&mut number, read);
            bytes += read.len();
        });
    }
    let rates = began.rates(count);
    assert_eq!((number, bytes), (count, count * size), "everything is read");
    if side.rereads() {
        let mut number = 0;
        side.read(0, &mut |read| compared(&mut number, read));
    }
    rates
}

/// Reads everything once more, after background syncs have ended: values a second.
fn read_at_rest(side: &dyn Side, count: usize, row: &'static str, unit: f64) -> Option<Figure> {
    if !side.rereads() {
        return None;
    }
    std::thread::sleep(REST);
    let mut number = 0;
    let began = Instant::now();
    side.read(0, &mut |read| {
        std::hint::black_box(read);
        number += 1;
    });
    let rate = per_second(count, began);
    assert_eq!(number, count, "everything is read");
    Some((row, rate / unit))
}

impl Workload {
    /// What the values of a topic take, all that may lie around them included.
    fn room(&self) -> usize {
        const AROUND_A_VALUE: usize = 110;
        (self.count / self.topics + 2) * (self.size + AROUND_A_VALUE)
    }

    /// Has the system hold twice the file memory that a side is going to fill, and lets go of it
    /// again. A virtual machine's pages that nothing was in for long are the host's: each comes
    /// back at the first touch, for several times what a page costs else, and who ran after a pause
    /// would pay. In a file: memory of the program's own, touched and freed, does not help.
    pub fn warm_memory(&self, dir: &Path) {
        const PIECE: usize = 1 << 20;
        let path = dir.join("warm");
        let mut file = File::create(&path).expect("a file");
        for _ in 0..(2 * self.room() * self.topics).div_ceil(PIECE) {
            file.write_all(&[0; PIECE]).expect("room on the disk");
        }
        std::fs::remove_file(&path).expect("it is there");
    }
}

fn open(workload: &Workload, side: &Neighbour, dir: &Path, synced: bool) -> Box<dyn Side> {
    (side.open)(&Job {
        dir: &dir.join("data"),
        topics: workload.topics,
        room: workload.room(),
        synced,
    })
}

fn single(work: &Workload, side: &Neighbour, dir: &Path) -> Vec<Figure> {
    let side = open(work, side, dir, false);
    let began = Began::now();
    (0..work.count).for_each(|number| side.append(0, value(number, work.size)));
    let rates = began.rates(work.count);
    let read = read_back(&*side, work.count, work.size);
    let rested = read_at_rest(&*side, work.count, "read100 again, at rest", 1e6);
    let append = both(["single100", "single100 by CPU"], rates, 1e6);
    let read = both(["read100", "read100 by CPU"], read, 1e6);
    append.into_iter().chain(read).chain(rested).collect()
}

/// A hundred values a call.
fn many(work: &Workload, side: &Neighbour, dir: &Path) -> Vec<Figure> {
    let side = open(work, side, dir, false);
    let values: Vec<_> = (0..work.count).map(|number| value(number, work.size)).collect();
    let began = Began::now();
    values.chunks(100).for_each(|values| side.append_many(0, values));
    let rates = began.rates(work.count);
    let read = read_back(&*side, work.count, work.size);
    if work.name == "batch1k" {
        let unit = 1e9 / work.size as f64;
        let rested = read_at_rest(&*side, work.count, "read1k again, at rest", unit);
        let append = both(["batch1k", "batch1k by CPU"], rates, unit);
        let read = both(["read1k", "read1k by CPU"], read, unit);
        return append.into_iter().chain(read).chain(rested).collect();
    }
    let append = both(["many100", "many100 by CPU"], rates, 1e6);
    [append, both(["read100 of many100", "the same by CPU"], read, 1e6)].concat()
}

fn linger(work: &Workload, side: &Neighbour, dir: &Path) -> Vec<Figure> {
    let side = open(work, side, dir, false);
    let began = Began::now();
    side.linger(&mut (0..work.count).map(|number| value(number, work.size)));
    let rates = began.rates(work.count);
    let read = read_back(&*side, work.count, work.size);
    let append = both(["linger100", "linger100 by CPU"], rates, 1e6);
    [append, both(["read100b", "read100b by CPU"], read, 1e6)].concat()
}

/// All threads to one stream; what is read back is counted.
fn threads(work: &Workload, side: &Neighbour, dir: &Path) -> Vec<Figure> {
    let side = open(work, side, dir, false);
    let each = work.count / work.threads;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..work.threads {
            scope.spawn(|| (0..each).for_each(|number| side.append(0, value(number, work.size))));
        }
    });
    let rate = per_second(each * work.threads, began);
    let mut read = 0;
    side.read(0, &mut |_| read += 1);
    assert_eq!(read, each * work.threads, "everything is read");
    vec![(work.name, rate / 1e6)]
}

/// Round robin over the streams, each of which has a value already; some are read back.
fn topics(work: &Workload, side: &Neighbour, dir: &Path) -> Vec<Figure> {
    let side = open(work, side, dir, false);
    let turns = work.count / work.topics;
    let turn = |turn: usize| {
        (0..work.topics).for_each(|topic| side.append(topic, value(turn, work.size)));
    };
    turn(0);
    let began = Began::now();
    (1..=turns).for_each(turn);
    let rates = began.rates(turns * work.topics);
    for topic in (0..work.topics).step_by(work.topics / 10) {
        let mut number = 0;
        side.read(topic, &mut |read| {
            assert!(read == value(number, work.size), "value {number} of {topic} is another");
            number += 1;
        });
        assert_eq!(number, turns + 1, "everything is read");
    }
    let rows = match work.name {
        "topics1000" => ["topics1000", "topics1000 by CPU"],
        _ => ["topics10000", "topics10000 by CPU"],
    };
    both(rows, rates, 1e6).to_vec()
}

/// Threads that append synced for a second, after a quarter of one to get going.
fn synced(work: &Workload, neighbour: &Neighbour, dir: &Path) -> Vec<Figure> {
    let side = open(work, neighbour, dir, true);
    (0..work.topics).for_each(|topic| side.append_synced(topic, value(0, work.size)));
    let total = AtomicU64::new(work.topics as u64);
    let run = |time: Duration| {
        let before = total.load(Ordering::Relaxed);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..work.threads {
                let (side, total) = (&side, &total);
                scope.spawn(move || {
                    let mut sent = 0;
                    while began.elapsed() < time {
                        let topic = (thread * 37 + sent) % work.topics;
                        side.append_synced(topic, value(sent, work.size));
                        sent += 1;
                    }
                    total.fetch_add(sent as u64, Ordering::Relaxed);
                });
            }
        });
        (total.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
    };
    run(Duration::from_millis(250));
    let rate = run(Duration::from_secs(1));
    if neighbour.name != "okaywal 0.3" {
        let mut read = 0;
        (0..work.topics).for_each(|topic| side.read(topic, &mut |_| read += 1));
        assert_eq!(read, total.load(Ordering::Relaxed), "everything is read");
    }
    vec![(work.name, rate / 1e3)]
}
