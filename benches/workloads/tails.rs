//! `tails`: what one send of 100 bytes takes at worst while other partitions roll, sync, are
//! deleted, are compacted and are recovered.
//!
//! For each an open loop of 1,000 sends a second, each timed from when it was due, and a closed one
//! without a pause; one thread makes the noise meanwhile. Compaction and recovery are those of a
//! second store of this process, whose clock is stepped by hand or which was killed. Beside the
//! percentiles it says of the slow sends how many had waited for a processor, as Linux counts it:
//! two cores have the sender, the noise and the store's own threads to run.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidelog::{Durability, Record, Store, TopicConfig, TopicProducer};

use crate::place::Place;
use crate::rounds::{Run, histogram, keep, print, scheduled};
use crate::{many, upkeep, wake};

const VALUE: [u8; 100] = [7; 100];
const PERIOD: Duration = Duration::from_millis(1);

pub fn tails(run: &Run) {
    let noises: &[(&str, Noise)] = &[
        ("alone", |beside| beside.until_told(|_| std::thread::sleep(PERIOD))),
        ("beside rolls", rolling),
        ("beside syncs", syncing),
        ("beside deletions", deleting),
        ("beside compaction", compacting),
        ("beside recovery", recovering),
    ];
    let place = Place::new(run.name);
    let store = Store::open(place.0.join("measured")).expect("a new store");
    store.create_topic("bench", TopicConfig::new()).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("bench").expect("the topic");
    for (name, noise) in noises {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let beside = Beside { dir: &place.0, store: &store, stop: &stop, small: run.is_test };
            let told = Told(&stop);
            scope.spawn(move || noise(&beside));
            // what it takes to begin is not what is measured
            std::thread::sleep(Duration::from_millis(run.count(1_000)));
            open_loop(name, &topic, u32::try_from(run.count(4_000)).expect("few"));
            let (times, slow) = closed_loop(&topic, |times, began| {
                times.len() > run.count(5_000_000) || began.elapsed() > Duration::from_secs(2)
            });
            print(&format!("tails {name}, each send"), &times);
            slow.print();
            drop(told);
        });
    }
}

/// Tells the noise to end, also where a send has failed: the scope would wait for it for ever.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where a noise is made, and until when.
struct Beside<'a> {
    dir: &'a Path,
    store: &'a Store,
    stop: &'a AtomicBool,
    small: bool,
}

type Noise = fn(&Beside<'_>);

impl Beside<'_> {
    fn until_told(&self, mut once: impl FnMut(u64)) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            once(number);
            number += 1;
        }
    }

    fn topic(&self, name: &str, config: TopicConfig) -> TopicProducer {
        self.store.create_topic(name, config).expect("a new topic");
        self.store.producer().build().expect("a producer").topic(name).expect("the topic")
    }
}

/// Appends 100 values of 1 KiB.
fn send_many(topic: &TopicProducer) {
    let records: Vec<_> = (0..100).map(|_| Record::new(&[7; 1024])).collect();
    topic.send_batch(&records).expect("an append");
}

/// A segment of a mebibyte is full each tenth call, some fifty times a second.
fn rolling(beside: &Beside<'_>) {
    let config = TopicConfig::new().segment_bytes(1 << 20).retention_bytes(64 << 20);
    let topic = beside.topic("rolls", config);
    beside.until_told(|_| {
        send_many(&topic);
        std::thread::sleep(2 * PERIOD);
    });
}

/// A power-durable value after the other.
fn syncing(beside: &Beside<'_>) {
    let topic = beside.topic("syncs", TopicConfig::new()).with_durability(Durability::Power);
    beside.until_told(|_| _ = topic.send(Record::new(&[7; 1024])).expect("an append"));
}

/// Topics with eight mebibytes in as many segments come and go, and another loses all but the last.
fn deleting(beside: &Beside<'_>) {
    let small = || TopicConfig::new().segment_bytes(1 << 20).file_delete_delay(Duration::ZERO);
    let kept = beside.topic("kept", small().retention_bytes(1 << 20));
    beside.until_told(|number| {
        let name = format!("gone-{number}");
        let gone = beside.topic(&name, small());
        for _ in 0..80 {
            send_many(&gone);
            send_many(&kept);
        }
        beside.store.apply_retention().expect("retention");
        beside.store.delete_topic(&name).expect("a deletion");
        std::thread::sleep(50 * PERIOD);
    });
}

fn compacting(beside: &Beside<'_>) {
    let place = Place::new("tails-compacting");
    let records = if beside.small { 10_000 } else { 100_000 };
    beside.until_told(|_| _ = black_box(upkeep::compacted(&place, records)));
}

/// What a killed process left of a hundred partitions is copied and opened, again and again.
fn recovering(beside: &Beside<'_>) {
    let (killed, copy) = (beside.dir.join("killed"), beside.dir.join("copy"));
    many::fill(&killed, if beside.small { 10 } else { 100 }, "any");
    beside.until_told(|_| {
        let _ = std::fs::remove_dir_all(&copy);
        copy_all(&killed, &copy);
        let store = Store::open(&copy).expect("a store that was killed");
        store.close().expect("a close");
    });
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// Sends on time, whatever became of those before.
fn open_loop(name: &str, topic: &TopicProducer, count: u32) {
    let (mut times, mut slow) = (histogram(), Slow::default());
    let start = Instant::now() + PERIOD;
    for number in 0..count {
        let due = start + PERIOD * number;
        let waited = scheduled().1;
        wake::wait_until(due);
        topic.send(Record::new(&VALUE)).expect("an append");
        let took = due.elapsed();
        keep(&mut times, took);
        slow.note(took, waited);
    }
    print(&format!("tails {name}, each of 1,000 a second"), &times);
    slow.print();
}

/// Sends between two looks at how long the thread has waited for a processor.
const LOOK: u64 = 250;
/// What is a slow send.
const SLOW: Duration = Duration::from_millis(1);

/// Sends without a pause until `is_over`, each timed.
pub fn closed_loop(
    topic: &TopicProducer,
    is_over: impl Fn(&Histogram<u64>, Instant) -> bool,
) -> (Histogram<u64>, Slow) {
    let (mut times, mut slow) = (histogram(), Slow::default());
    let began = Instant::now();
    while !is_over(&times, began) {
        let waited = scheduled().1;
        let mut longest = Duration::ZERO;
        let mut before = Instant::now();
        for _ in 0..LOOK {
            black_box(topic.send(Record::new(&VALUE)).expect("an append"));
            let now = Instant::now();
            keep(&mut times, now - before);
            longest = longest.max(now - before);
            before = now;
        }
        slow.note(longest, waited);
    }
    (times, slow)
}

/// What slow sends have waited for: a processor that others had, or the system itself.
#[derive(Default)]
pub struct Slow {
    sends: u32,
    longest_queued: Duration,
    longest_held: Duration,
    held: u32,
}

impl Slow {
    /// The longest of some sends; the thread had waited so long for a processor before them.
    fn note(&mut self, took: Duration, waited: Duration) {
        if took <= SLOW {
            return;
        }
        let queued = scheduled().1.saturating_sub(waited);
        self.sends += 1;
        let held = took.saturating_sub(queued);
        self.longest_queued = self.longest_queued.max(took.min(queued));
        self.longest_held = self.longest_held.max(held);
        self.held += u32::from(held > SLOW);
    }

    pub fn print(&self) {
        println!(
            "  over {SLOW:?}: {}, of which {} were held for as long by the system itself, {:?} at \
             most; a processor was waited for {:?} at most",
            self.sends, self.held, self.longest_held, self.longest_queued
        );
    }
}
