//! A process that schedules and cancels without a pause, killed with SIGKILL while what it has
//! scheduled is published, and run again on the same directory.
//!
//! The test's own binary is the process. What it was told goes into a file of notes that outlives
//! it. At the end everything that was acknowledged is there once, whatever was cancelled is not,
//! nothing is there twice, and no record was published before its time. With the deep budget that
//! is a million delays and a hundred kills.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::common::budget::{Budget, for_each_seed, seeds};
use crate::common::suite::Suite;
use tidelog::{Durability, Outcome, Record, Store, Timestamp, TopicConfig};

const DIR: &str = "TIDELOG_DELAYS_KILLED_DIR";
/// What is noted of a delay, in bytes.
const NOTED: u64 = 36;
const PATIENCE: Duration = Duration::from_secs(30);

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
    // the process goes, the machine stays
    let producer = store.producer().durability(Durability::Process).build().unwrap();
    let a = producer.topic("a").unwrap();
    let longest = Budget::get().pick(200, 500, 5_000);
    let cancels = Budget::get().pick(50, 200, 500); // each waits for a sync
    let life = std::process::id();
    for number in 0_u64.. {
        let delay = number.wrapping_mul(2_654_435_761) % longest;
        let due = now() + i64::try_from(delay).unwrap();
        let text = format!("{due}/{life}/{number}");
        let id = a.schedule(Record::new(&text), Timestamp::from_millis(due)).unwrap();
        note("scheduled", &text).unwrap();
        if number.is_multiple_of(cancels) {
            note("cancelling", &text).unwrap();
            match store.cancel_scheduled(&id) {
                Ok(()) => note("cancelled", &text).unwrap(),
                Err(error) => assert_eq!(error.outcome(), Outcome::NotWritten, "{error}"),
            }
            sleep(Duration::from_millis(1));
        }
    }
}

/// What is wrong with what is there, by the notes; how many were scheduled.
fn judge(notes: &str, there: &BTreeMap<String, u64>) -> Result<u64, String> {
    let of = |word: &str| -> BTreeSet<&str> {
        let lines = notes.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(first, _)| *first == word).map(|(_, text)| text).collect()
    };
    let (scheduled, cancelling, cancelled) = (of("scheduled"), of("cancelling"), of("cancelled"));
    for (text, count) in there {
        if *count != 1 {
            return Err(format!("{text} is there {count} times"));
        }
        if cancelled.contains(text.as_str()) {
            return Err(format!("{text} was cancelled"));
        }
    }
    match scheduled.difference(&cancelling).find(|text| !there.contains_key(**text)) {
        Some(text) => Err(format!("{text} is lost")),
        None => Ok(scheduled.len() as u64),
    }
}

/// Kills the process so often, each time once it has scheduled its part of them.
fn kill(dir: &Path, (seed, delays, kills): (u64, u64, u64), suite: &Suite) {
    let noted = || std::fs::metadata(dir.join("notes")).map_or(0, |notes| notes.len());
    for kill in 0..kills {
        let mut command = Command::new(env::current_exe().expect("this test has a path"));
        command.args(["--exact", "delays_killed::role", "--nocapture", "--test-threads=1"]);
        command.env(DIR, dir).stdout(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let (until, patience) = (noted() + NOTED * delays / kills, Instant::now() + PATIENCE);
        while noted() < until && Instant::now() < patience {
            sleep(Duration::from_millis(2));
        }
        sleep(Duration::from_millis((seed + kill) * 37 % 50));
        child.kill().expect("it runs");
        let status = child.wait().expect("it is a child");
        assert_eq!(status.code(), None, "it ended by itself");
        suite.state((seed, kill), noted());
    }
}

/// What the topic has in the end, each with how often.
fn published(dir: &Path) -> BTreeMap<String, u64> {
    let store = open(dir);
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
    assert_eq!(store.stats().scheduled.unreadable, 0);
    there
}

#[test]
fn delays_of_a_process_that_is_killed_come_once_and_never_early() {
    let budget = Budget::get();
    let (delays, kills) = (budget.pick(2_000, 20_000, 1_000_000), budget.pick(2, 6, 100));
    let suite = Suite::new("delays_killed");
    for_each_seed("public", "delays_killed::", seeds(1, 1, 1), |seed| {
        let dir = tempfile::tempdir().unwrap();
        kill(dir.path(), (seed, delays, kills), &suite);
        let (mut there, notes) = (published(dir.path()), dir.path().join("notes"));
        let notes = std::fs::read_to_string(notes).unwrap();
        match judge(&notes, &there) {
            Ok(scheduled) if scheduled >= delays / 2 => {
                println!("{scheduled} delays, {} published, {kills} kills", there.len());
            }
            Ok(scheduled) => suite.fail(format!("{scheduled} scheduled only"), "run it again"),
            Err(wrong) => suite.fail(wrong, "run it again"),
        }
        // the control: one that was acknowledged and is not to be cancelled
        let counts = |text: &&String| {
            notes.contains(&format!("scheduled {text}\n"))
                && !notes.contains(&format!("cancelling {text}\n"))
        };
        let one = there.keys().find(counts).expect("some are published").clone();
        there.insert(one.clone(), 2);
        let twice = judge(&notes, &there);
        there.remove(&one);
        suite.control(u64::from(twice.is_err() && judge(&notes, &there).is_err()));
    });
    suite.end();
}
