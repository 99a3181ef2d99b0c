//! What is done to all of a store at once (`docs/performance.md`): `backup` prints how long senders
//! waited for one send, at most and at the last thousandth, without a backup and while one is made,
//! by links and by copies, while four go on sending, some thousands of values of 1 KiB a second
//! each; `verify` prints how fast a closed store is read through, and beside it, in turn, plain
//! reading of the same files.
//!
//! Data goes to the system's temporary directory, or to `TIDELOG_BENCH_DIR`;
//! `TIDELOG_BENCH_MIB` says how large the store for `verify` is, 512 by default.
//! `verify cold` drops the page cache before each reading, as root.

use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tidelog::{Record, Store, TopicConfig, Verifier};

use crate::place::Place;
use crate::rounds::Run;

/// What goes on while a send is made.
const PHASES: [&str; 3] = ["no backup", "backup by links", "backup by copies"];
const QUIET: usize = 0;

/// Sends until told to stop; for each phase how long each send took.
fn send(store: &Store, partition: u32, phase: &AtomicU8, stop: &AtomicBool) -> [Vec<u32>; 3] {
    let topic = store.producer().build().expect("a producer").topic("bench").expect("the topic");
    let value = [7; 1024];
    let mut took: [Vec<u32>; 3] = Default::default();
    while !stop.load(Ordering::Relaxed) {
        let now = usize::from(phase.load(Ordering::Relaxed));
        let began = Instant::now();
        topic.send_to(partition, Record::new(&value[..])).expect("a send");
        took[now].push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        // without a break they fill the disk before retention comes round
        std::thread::sleep(Duration::from_micros(100));
    }
    took
}

pub fn backup(run: &Run) {
    const PARTITIONS: u32 = 4;
    let place = Place::new(run.name);
    let store = Store::open(place.0.join("data")).expect("a new store");
    let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(4 << 20);
    store.create_topic("bench", config.retention_bytes(128 << 20)).expect("a new topic");
    let (phase, stop) = (AtomicU8::new(0), AtomicBool::new(false));
    let mut took: [Vec<u32>; 3] = Default::default();
    std::thread::scope(|scope| {
        let (store, phase, stop) = (&store, &phase, &stop);
        let senders: Vec<_> = (0..PARTITIONS)
            .map(|partition| scope.spawn(move || send(store, partition, phase, stop)))
            .collect();
        std::thread::sleep(Duration::from_millis(run.count(4_000)));
        for (number, name) in (1..).zip(&PHASES[1..]) {
            let copy = place.0.join(format!("copy-{number}"));
            let builder = store.backup_builder(&copy);
            let builder = if number == 1 { builder } else { builder.copies_only() };
            phase.store(number, Ordering::Relaxed);
            let began = Instant::now();
            let report = builder.run().expect("a backup");
            let seconds = began.elapsed().as_secs_f64();
            phase.store(0, Ordering::Relaxed);
            let mib = |bytes: u64| bytes >> 20;
            let (linked, copied) = (mib(report.bytes_linked()), mib(report.bytes_copied()));
            println!("{name}: {seconds:.2} s, {linked} MiB linked, {copied} MiB copied");
            std::fs::remove_dir_all(&copy).expect("it is there");
            std::thread::sleep(Duration::from_millis(run.count(2_000)));
        }
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            for (all, one) in took.iter_mut().zip(sender.join().expect("a sender")) {
                all.extend(one);
            }
        }
    });
    for (name, mut took) in PHASES.into_iter().zip(took) {
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 10_000).copied().unwrap_or(0);
        let (last, most) = (at(9_990), took.last().copied().unwrap_or(0));
        println!("{name}: {} sends, 99.9 % within {last} us, longest {most} us", took.len());
    }
    assert!(PHASES[QUIET].starts_with("no"), "the first is the one to compare with");
}

/// Reads every file below a directory with plain reads; returns the bytes.
fn read_plainly(dir: &Path, buffer: &mut [u8]) -> u64 {
    let mut total = 0;
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            total += read_plainly(&path, buffer);
            continue;
        }
        let mut file = std::fs::File::open(path).expect("a file");
        loop {
            match file.read(buffer).expect("a read") {
                0 => break,
                got => total += got as u64,
            }
        }
    }
    total
}

fn drop_page_cache(wanted: bool) {
    if wanted {
        std::fs::write("/proc/sys/vm/drop_caches", "1").expect("root may do it");
    }
}

pub fn verify(run: &Run) {
    const PARTITIONS: u64 = 4;
    let cold = run.words.iter().any(|word| word == "cold");
    let mib = std::env::var("TIDELOG_BENCH_MIB").ok().and_then(|mib| mib.parse::<u64>().ok());
    let place = Place::new(run.name);
    let store = Store::open(&place.0).expect("a new store");
    let config = TopicConfig::new().partitions(PARTITIONS as u32).segment_bytes(256 << 20);
    store.create_topic("bench", config).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("bench").expect("the topic");
    // batches of about 16 KiB, as a lingering producer makes them, of values of 1 KiB
    let value: Vec<u8> = (0..1024_u32).map(|at| (at * 7 % 251) as u8).collect();
    let records: Vec<_> = (0..16).map(|_| Record::new(&value)).collect();
    for number in 0..run.count(mib.unwrap_or(512) * 64) {
        topic.send_batch_to((number % PARTITIONS) as u32, &records).expect("a send");
    }
    store.close().expect("a close");
    let mut buffer = vec![0; 1 << 20];
    let speed = |bytes: u64, began: Instant| (bytes >> 20) as f64 / began.elapsed().as_secs_f64();
    for round in 0..run.rounds() {
        drop_page_cache(cold);
        let began = Instant::now();
        let plain = speed(read_plainly(&place.0, &mut buffer), began);
        let mut verified = [0.0; 2];
        for (threads, speed_of) in (1..).zip(&mut verified) {
            drop_page_cache(cold);
            let began = Instant::now();
            let report = Verifier::new(&place.0).threads(threads).run().expect("a verification");
            assert!(report.is_clean(), "{report}");
            *speed_of = speed(report.bytes(), began);
        }
        let [one, two] = verified;
        println!("round {round}: read {plain:.0}, verify {one:.0}, by two threads {two:.0} MiB/s");
    }
}
