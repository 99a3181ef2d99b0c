//! Very many delays that are far from due: what they cost in memory, and what is there of them when
//! their process is killed and another one comes.
//!
//! The memory that counts is that of the process itself, without the pages of files: the test's
//! own binary is that process. With the deep budget ten million are pending. `figures` lines say
//! what was measured.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::budget::Budget;
use crate::common::child::{self, Wrapper};
use crate::common::suite::say;
use tidelog::{Durability, Record, Store, TopicConfig};

const DIR: &str = "TIDELOG_DELAYS_PENDING_DIR";
/// So much may lie between a tenth of them and all, in KiB.
const GROWTH: u64 = 96 << 10;
const DAY: u64 = 24 * 3600 * 1000;

fn pending() -> u64 {
    Budget::get().pick(20_000, 200_000, 10_000_000)
}

fn open(dir: &Path) -> Store {
    let store = Store::open(dir.join("store")).expect("it opens");
    store.ensure_topic("a", TopicConfig::new().partitions(2)).expect("a topic");
    store
}

/// Memory of this process that no file is behind, in KiB; `None` where the system does not say.
fn own_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Schedules all of them, from an hour to thirty days ahead, and waits to be killed.
#[test]
fn role() {
    let Some(dir) = env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let store = open(dir);
    let producer = store.producer().durability(Durability::Process).build().unwrap();
    let a = producer.topic("a").unwrap();
    let (all, began) = (pending(), Instant::now());
    let mut figures = String::new();
    for number in 0..all {
        let due = DAY / 24 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (30 * DAY);
        let text = format!("remind customer {number:>9} of order {number:>9}");
        a.schedule(Record::new(&text), Duration::from_millis(due)).unwrap();
        if (number + 1).is_multiple_of(all / 10) {
            let (memory, seconds) = (own_memory().unwrap_or(0), began.elapsed().as_secs_f64());
            figures.push_str(&format!("{} {memory} {seconds:.1}\n", number + 1));
        }
    }
    fs::write(dir.join("figures.part"), figures).unwrap();
    fs::rename(dir.join("figures.part"), dir.join("figures")).unwrap();
    sleep(Duration::from_secs(3600));
}

/// The next life: everything is there, and may be listed, cancelled and waited for.
fn look_again(dir: &Path) {
    let (all, began) = (pending(), Instant::now());
    let store = open(dir);
    let opened = began.elapsed().as_secs_f64();
    assert_eq!(store.stats().scheduled.pending, all, "all that was acknowledged is pending");
    let memory = own_memory().unwrap_or(0);
    say(&format!("figures delays_pending reopened: {all} pending, {opened:.2} s, {memory} KiB"));
    let first = store.scheduled(None, 100).unwrap();
    assert_eq!(first.len(), 100);
    assert!(first.windows(2).all(|two| two[0].due() <= two[1].due()), "in the order of their time");
    first.iter().for_each(|one| store.cancel_scheduled(&one.id()).unwrap());
    assert_eq!(store.stats().scheduled.pending, all - 100);
    let mut reader = store.reader().subscribe(["a"]).build().unwrap();
    assert!(reader.try_poll().unwrap().is_empty(), "none is early");
    store.close().unwrap();
    child::done();
}

#[test]
fn many_that_wait_take_bounded_memory_and_outlive_a_kill() {
    const TEST: &str = "delays_pending::many_that_wait_take_bounded_memory_and_outlive_a_kill";
    if let Some((_, dir)) = child::part() {
        return look_again(&dir);
    }
    let (dir, began) = (tempfile::tempdir().unwrap(), Instant::now());
    let mut command = Command::new(env::current_exe().expect("this test has a path"));
    command.args(["--exact", "delays_pending::role", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir.path()).stdout(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    while !dir.path().join("figures").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        sleep(Duration::from_millis(5));
    }
    child.kill().expect("it runs");
    child.wait().expect("it is a child");
    let figures = fs::read_to_string(dir.path().join("figures")).unwrap();
    let mut memory = Vec::new();
    for line in figures.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("three words");
        let (count, kibibytes, seconds) = (word(), word(), word());
        say(&format!("figures delays_pending: {count} pending, {kibibytes} KiB, {seconds} s"));
        memory.push(kibibytes.parse::<u64>().unwrap());
    }
    assert_eq!(memory.len(), 10, "the control");
    let grown = memory[9].saturating_sub(memory[0]);
    assert!(grown <= GROWTH, "nine tenths of them cost {grown} KiB");
    assert!(child::run(TEST, "look again", dir.path(), &Wrapper::none()));
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("suite delays_pending: 11 states, 11 distinct, 0 failures, {seconds:.1} s"));
}
