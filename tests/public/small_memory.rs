//! Logs far larger than the memory that the process may have: they are written, read, compacted,
//! verified and recovered after the end of the process, and never more than a small part of them is
//! held or mapped at once.
//!
//! Each part is a process of its own under a limit on its address space (`RLIMIT_AS`): what it has
//! when it begins, and a tenth of either log. So heap and mappings count alike, in either mode.
//! With `TIDELOG_BUDGET=deep` the logs are of 640 MiB each, else of less.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::common::budget::Budget;
use crate::common::child::{self, Wrapper};
use tidelog::disk::IoMode;
use tidelog::{
    BackgroundSync, CleanupPolicy, Journal, ManualClock, Record, Store, Threads, Timestamp,
    TopicConfig, Verifier,
};

const MIB: u64 = 1 << 20;
const TEST: &str = "small_memory::a_log_ten_times_the_memory_is_lived_with";
const VALUE: u64 = 4000;
/// Records of one append.
const TOGETHER: u64 = 16;
/// Of the compacted topic; so a key is written many times.
const KEYS: u64 = 500;
/// One segment that nothing has synced, and small ones of which all but the last are compacted.
const TAIL: &str = "tail";
const KEYED: &str = "keyed";

/// Bytes of memory beyond what a process begins with.
fn extra() -> u64 {
    Budget::get().pick(12, 12, 64) * MIB
}

/// Records of each log: together ten times that memory.
fn records() -> u64 {
    (10 * extra() / VALUE).next_multiple_of(TOGETHER)
}

fn mapped_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("a size");
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// From here on there is so much and no more.
fn limit() {
    let mut limit = getrlimit(Resource::As);
    limit.current = Some(mapped_bytes() + extra());
    setrlimit(Resource::As, limit).expect("anybody may have less");
    let much = Vec::<u8>::new().try_reserve_exact(usize::try_from(extra()).expect("64-bit"));
    assert!(much.is_err(), "the control: there is no more");
}

fn open(dir: &Path, mode: IoMode, clock: &ManualClock) -> Store {
    let builder = Store::builder(dir.join("store")).io_mode(mode).clock(clock.clone());
    let builder = builder.threads(Threads::Host).background_sync(BackgroundSync::OFF);
    builder.journal(Journal::Off).open().expect("it opens")
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(1_700_000_000_000))
}

/// What a record of that number holds; none is like another.
fn value(number: u64) -> Vec<u8> {
    let mixed = |at: u64| (number << 20 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..VALUE / 8).flat_map(|at| mixed(at).to_le_bytes()).collect()
}

fn fill(store: &Store) {
    let small = u32::try_from(extra() / 4).expect("small");
    let keyed = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    store.create_topic(KEYED, keyed.segment_bytes(small.into())).expect("created");
    store.create_topic(TAIL, TopicConfig::new()).expect("created");
    let producer = store.producer().build().expect("a producer");
    let topics = [KEYED, TAIL].map(|name| producer.topic(name).expect("it is there"));
    for first in (0..records()).step_by(TOGETHER as usize) {
        let numbers: Vec<u64> = (first..first + TOGETHER).collect();
        let keys: Vec<_> = numbers.iter().map(|number| (number % KEYS).to_le_bytes()).collect();
        let values: Vec<_> = numbers.iter().map(|number| value(*number)).collect();
        let pairs = keys.iter().zip(&values);
        let batch: Vec<_> = pairs.map(|(key, value)| Record::new(value).key(key)).collect();
        for topic in &topics {
            topic.send_batch_to(0, &batch).expect("appended");
        }
    }
}

/// Reads all of a topic; how many records there are, each as it was written.
fn count(store: &Store, topic: &str) -> u64 {
    let mut consumer = store.consumer("reader").assign([(topic, 0)]).build().expect("a consumer");
    consumer.seek_to_beginning(topic, 0).expect("it seeks");
    let (mut count, mut last) = (0, 0);
    for records in consumer.read_to_end().expect("an end") {
        for record in &records.expect("it reads") {
            let number = u64::try_from(record.offset().get()).expect("an offset");
            assert!(record.value().expect("one") == value(number), "{topic}: {number} is another");
            assert!(number >= last, "{topic}: {number} after {last}");
            (count, last) = (count + 1, number);
        }
    }
    assert_eq!(last + 1, records(), "{topic}: the newest is always there");
    count
}

fn verify(dir: &Path) {
    let report = Verifier::new(dir.join("store")).threads(1).run().expect("it is verified");
    assert!(report.is_clean() && report.is_complete(), "{:?}", report.findings());
}

/// The process ends without a close, and nothing was synced but by a roll.
fn written_and_read(dir: &Path, mode: IoMode) {
    let store = open(dir, mode, &clock());
    fill(&store);
    assert_eq!([KEYED, TAIL].map(|topic| count(&store, topic)), [records(); 2]);
    child::done();
    std::process::exit(0);
}

fn recovered_and_compacted(dir: &Path, mode: IoMode) {
    let clock = clock();
    let store = open(dir, mode, &clock);
    assert!(!store.open_report().was_closed_cleanly(), "the control: it is recovered");
    assert_eq!(count(&store, TAIL), records());
    for _ in 0..1000 {
        clock.advance(Duration::from_millis(100));
        store.run_maintenance();
    }
    let left = count(&store, KEYED);
    assert!(left < records() / 2, "the control: {left} of {} are left", records());
    store.close().expect("closed");
    verify(dir);
    let store = open(dir, mode, &clock);
    assert_eq!([KEYED, TAIL].map(|topic| count(&store, topic)), [left, records()]);
    store.close().expect("closed");
}

#[test]
fn a_log_ten_times_the_memory_is_lived_with() {
    if let Some((part, dir)) = child::part() {
        let (mode, part) = part.split_once(' ').expect("two words");
        let mode = if mode == "Mapped" { IoMode::Mapped } else { IoMode::Positioned };
        limit();
        match part {
            "write" => written_and_read(&dir, mode),
            _ => recovered_and_compacted(&dir, mode),
        }
        return child::done();
    }
    let modes = [IoMode::Mapped, IoMode::Positioned];
    let most = match Budget::get() {
        Budget::Small => return, // a quarter of a GiB on a machine that is busy
        Budget::Ci => 1,
        Budget::Deep => 2,
    };
    for mode in &modes[..most] {
        let dir = tempfile::tempdir().expect("a directory");
        // one arena: each further one takes 64 MiB of addresses; a backtrace takes memory too, and
        // waits for itself where there is none
        let alone = Wrapper::with(&["MALLOC_ARENA_MAX=1", "RUST_BACKTRACE=0"]);
        for part in ["write", "recover"] {
            child::run(TEST, &format!("{mode:?} {part}"), dir.path(), &alone);
        }
    }
}
