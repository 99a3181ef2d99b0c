//! Which threads a store has of its own, by the names that a debugger shows, and that none is left
//! of one that was closed or dropped.
//!
//! In a process of its own: of the tests beside this one, others have stores too.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::child::{self, Wrapper};
use tidelog::disk::IoMode;
use tidelog::{Record, Store, Threads, TopicConfig};

const TEST: &str = "threads::a_store_has_the_threads_that_it_was_given";
/// As the kernel cuts them.
const ALL: [&str; 3] = ["tidelog-ahead", "tidelog-mainten", "tidelog-timer"];

/// How many threads this process has, and what those of the library are called.
fn threads() -> (usize, Vec<String>) {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux has it");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    let names: Vec<_> = tasks.map(|task| task.ok().and_then(name)).collect();
    let ours = names.iter().flatten().map(|name| name.trim_end().to_owned());
    let mut ours: Vec<_> = ours.filter(|name| name.starts_with("tidelog-")).collect();
    ours.sort();
    (names.len(), ours)
}

/// A thread names itself once it runs, and is in the list for a moment after it was joined.
fn wait_for(before: usize, expected: &[&str], when: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    let is_there = |(count, names): &(usize, Vec<String>)| {
        *count == before + expected.len() && names == expected
    };
    while !is_there(&threads()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (count, names) = threads();
    assert_eq!(names, expected, "{when}");
    assert_eq!(count, before + names.len(), "{when}");
}

fn busy_store(dir: &Path, mode: IoMode, threads: Threads) -> Store {
    let store = Store::builder(dir).io_mode(mode).threads(threads).open().expect("it opens");
    let producer = store.producer().build().expect("a producer");
    if producer.topic("t").is_err() {
        store.create_topic("t", TopicConfig::new()).expect("created");
    }
    let topic = producer.topic("t").expect("it is there");
    for _ in 0..500 {
        topic.send_to(0, Record::new(&[1; 4_000])).expect("appended");
    }
    store
}

fn lives(dir: &Path) {
    let before = threads().0;
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let store = busy_store(&dir.join("host"), mode, Threads::Host);
        assert_eq!(threads(), (before, vec![]), "{mode:?}: the host lends its own");
        store.close().expect("it closes");
    }
    let store = busy_store(&dir.join("own"), IoMode::Positioned, Threads::Own);
    wait_for(before, &ALL[1..], "without maps there are no windows");
    store.close().expect("it closes");
    wait_for(before, &[], "closed");
    for is_closed in [true, false] {
        let store = busy_store(&dir.join("own"), IoMode::Mapped, Threads::Own);
        wait_for(before, &ALL, "with maps");
        if is_closed {
            store.close().expect("it closes");
            wait_for(before, &[], "closed, with the handle held");
        }
        drop(store);
        wait_for(before, &[], "dropped");
    }
}

#[test]
fn a_store_has_the_threads_that_it_was_given() {
    if let Some((_, dir)) = child::part() {
        lives(&dir);
        return child::done();
    }
    let directory = tempfile::tempdir().expect("a directory");
    assert!(child::run(TEST, "lives", directory.path(), &Wrapper::none()));
}
