//! A process that schedules and cancels without a pause, killed with SIGKILL while what it has
//! scheduled is published, and run again on the same directory.
//!
//! The test's own binary is the process. What it was told goes into a file of notes that outlives
//! it. At the end everything that was acknowledged is there once, whatever was cancelled is not,
//! nothing is there twice, and no record was published before its time.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::budget::Budget;
use tidelog::{Outcome, Record, Store, Timestamp, TopicConfig};

const DIR: &str = "TIDELOG_DELAYS_KILLED_DIR";

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 9999")
}

fn open(dir: &Path) -> Store {
    let store = Store::open(dir.join("store")).expect("it opens");
    store.ensure_topic("a", TopicConfig::new().partitions(2)).expect("a topic");
    store
}

/// The process that is killed.
#[test]
fn role() {
    let Some(dir) = env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let store = open(dir);
    let mut notes = OpenOptions::new().create(true).append(true).open(dir.join("notes")).unwrap();
    let mut note = |word: &str, text: &str| notes.write_all(format!("{word} {text}\n").as_bytes());
    let a = store.producer().build().unwrap().topic("a").unwrap();
    let life = std::process::id();
    for number in 0_u64.. {
        let delay = number.wrapping_mul(2_654_435_761) % 200;
        let due = now() + i64::try_from(delay).unwrap();
        let text = format!("{due}/{life}/{number}");
        let id = a.schedule(Record::new(&text), Timestamp::from_millis(due)).unwrap();
        note("scheduled", &text).unwrap();
        if number.is_multiple_of(50) {
            note("cancelling", &text).unwrap();
            match store.cancel_scheduled(&id) {
                Ok(()) => note("cancelled", &text).unwrap(),
                Err(error) => assert_eq!(error.outcome(), Outcome::NotWritten, "{error}"),
            }
            sleep(Duration::from_millis(1));
        }
    }
}

/// What became of each record by the notes, last word last.
fn judge(dir: &Path, there: &BTreeMap<String, u64>) -> usize {
    let notes = std::fs::read_to_string(dir.join("notes")).unwrap_or_default();
    let of = |word: &str| -> BTreeSet<&str> {
        let lines = notes.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(first, _)| *first == word).map(|(_, text)| text).collect()
    };
    let (scheduled, cancelling, cancelled) = (of("scheduled"), of("cancelling"), of("cancelled"));
    for (text, count) in there {
        assert_eq!(*count, 1, "{text} is there {count} times");
        assert!(!cancelled.contains(text.as_str()), "{text} was cancelled");
    }
    for text in scheduled.difference(&cancelling) {
        assert!(there.contains_key(*text), "{text} is lost");
    }
    scheduled.len()
}

#[test]
fn delays_of_a_process_that_is_killed_come_once_and_never_early() {
    let kills = Budget::get().pick(2, 6, 150);
    let dir = tempfile::tempdir().unwrap();
    for kill in 0..kills {
        let mut command = Command::new(env::current_exe().expect("this test has a path"));
        command.args(["--exact", "delays_killed::role", "--nocapture", "--test-threads=1"]);
        command.env(DIR, dir.path()).stdout(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        sleep(Duration::from_millis(150 + kill * 37 % 200));
        child.kill().expect("it runs");
        let status = child.wait().expect("it is a child");
        assert_eq!(status.code(), None, "it ended by itself");
    }
    let store = open(dir.path());
    while store.stats().scheduled.pending > 0 {
        sleep(Duration::from_millis(5));
    }
    let mut there = BTreeMap::new();
    for records in store.reader().subscribe(["a"]).build().unwrap().read_to_end().unwrap() {
        for record in &records.unwrap() {
            let text = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
            let due: i64 = text.split('/').next().unwrap().parse().unwrap();
            assert!(record.timestamp().unwrap().as_millis() >= due, "{text} is early");
            *there.entry(text).or_insert(0) += 1;
        }
    }
    let scheduled = judge(dir.path(), &there);
    assert!(scheduled > 100, "the control: {scheduled} scheduled");
    assert_eq!(store.stats().scheduled.unreadable, 0);
}
