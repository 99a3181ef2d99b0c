//! Transactions under SIGKILL, by real processes: the example that reads, enriches and writes, and
//! one with several producers that does nothing but transactions.
//!
//! The second is this test's own binary, run again with a directory in its environment. Each
//! thread writes numbered transactions over several partitions under an id of its own, moves a
//! group's offset with each, commits or aborts, and says so in a file of notes, before and after,
//! that outlives it. The judge reads the store as any reader does: torn is a transaction that is in
//! some of its partitions only, lost one that was acknowledged, phantom one that nobody committed,
//! aborted one that was. Kills that found it at work are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::budget;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tidelog::{Durability, Record, Store, TopicConfig};

const DIR: &str = "TIDELOG_EXACTLY_ONCE_DIR";
const WRITERS: u64 = 3;
const OUTPUT: [(&str, u32); 3] = [("a", 0), ("a", 1), ("b", 0)];

/// The example's binary, built by the run that built this test or else now.
fn example() -> PathBuf {
    let own = std::env::current_exe().expect("this test has a path");
    let profile = own.parent().and_then(Path::parent).expect("target/PROFILE/deps/NAME");
    let binary = profile.join("examples").join("exactly_once");
    if !binary.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--example", "exactly_once"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success());
    }
    binary
}

fn start(data: &Path) -> Command {
    let mut command = Command::new(example());
    command.arg("--data").arg(data).args(["--rows", "200", "--process"]);
    command
}

fn complete(data: &Path) -> Value {
    let output = start(data).output().expect("the example runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(printed.lines().last().expect("a line")).expect("JSON")
}

/// Kills it after a while; whether it was at work.
fn kill(mut child: Child, after: Duration) -> bool {
    std::thread::sleep(after);
    let at_work = child.try_wait().expect("waited for").is_none();
    child.kill().expect("SIGKILL is sent"); // no error where it had ended by itself
    child.wait().expect("waited for");
    at_work
}

#[test]
fn the_example_counts_each_row_once_wherever_it_is_killed() {
    let work = tempfile::tempdir().expect("a temporary directory");
    example(); // built before the time is taken
    let began = Instant::now();
    let expected = complete(&work.path().join("undisturbed"));
    let undisturbed = began.elapsed();
    assert_eq!((&expected["rows"], &expected["twice"]), (&Value::from(6099), &Value::from(0)));
    let test = "exactly_once::the_example_counts_each_row_once_wherever_it_is_killed";
    budget::for_each_seed("flights", test, budget::seeds(1, 1, 100), |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        // the machine may be quicker now than when the time was taken: then anew, killed sooner
        let found = (0..8).any(|halved| {
            let data = work.path().join(format!("store-{seed}-{halved}"));
            let mut hits = 0;
            for _ in 0..budget::Budget::get().pick(2, 3, 6) {
                let mut command = start(&data);
                command.stdout(Stdio::null()).stderr(Stdio::null());
                let share = random.random_range(0.05..0.7) / f64::from(1 << halved);
                let child = command.spawn().expect("started");
                hits += u32::from(kill(child, undisturbed.mul_f64(share)));
            }
            assert_eq!(complete(&data), expected);
            assert_eq!(complete(&data), expected, "whole, it stays as it is");
            fs::remove_dir_all(&data).expect("removed");
            hits > 0
        });
        assert!(found, "no kill found the example at work");
    });
}

/// What a writer says of its transactions.
fn note(dir: &Path, line: &str) {
    let notes = OpenOptions::new().create(true).append(true).open(dir.join("notes"));
    notes.expect("opened").write_all(format!("{line}\n").as_bytes()).expect("noted");
}

fn open(dir: &Path) -> Store {
    let store = Store::open(dir.join("store")).expect("opened");
    store.ensure_topic("a", TopicConfig::new().partitions(2)).expect("made");
    store.ensure_topic("b", TopicConfig::new()).expect("made");
    for writer in 0..WRITERS {
        store.ensure_topic(&format!("in-{writer}"), TopicConfig::new()).expect("made");
    }
    store
}

/// Writes transactions until it is killed.
fn write(store: &Store, dir: &Path, writer: u64, mut number: u64) {
    let (input, group) = (format!("in-{writer}"), format!("g-{writer}"));
    let mut random = StdRng::seed_from_u64(number * WRITERS + writer);
    let word = if writer == 0 { Durability::Power } else { Durability::Process };
    let builder = store.producer().transactional(format!("t-{writer}"));
    let mut producer = builder.commit_durability(word).build().expect("taken");
    let source = store.producer().build().expect("built").topic(&input).expect("there");
    loop {
        number += 1;
        source.send(Record::new("x")).expect("sent");
        let builder = store.consumer(&group).assign([(&*input, 0)]).max_records(1);
        let mut consumer = builder.build().expect("built");
        consumer.try_poll().expect("polled");
        let value = format!("{writer} {number}");
        note(dir, &format!("begun {value}"));
        let transaction = producer.begin().expect("begun");
        for (topic, partition) in OUTPUT {
            let topic = transaction.topic(topic).expect("there");
            topic.send_to(partition, Record::new(&value)).expect("sent");
        }
        transaction.send_offsets(&consumer.consumed().expect("polled")).expect("sent");
        if random.random_bool(0.25) {
            note(dir, &format!("abort {value}"));
            transaction.abort().expect("aborted");
        } else {
            transaction.commit().expect("committed");
            note(dir, &format!("done {value}"));
        }
    }
}

/// The process that is killed.
fn play(dir: &Path) {
    let store = open(dir);
    let last = judge(&store, dir);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, number) = (&store, last.get(&writer).copied().unwrap_or(0));
            scope.spawn(move || write(store, dir, writer, number));
        }
    });
}

/// Judges what is there by the notes; returns the last number of each writer.
fn judge(store: &Store, dir: &Path) -> BTreeMap<u64, u64> {
    let notes = fs::read_to_string(dir.join("notes")).unwrap_or_default();
    let mut said = BTreeMap::<&str, BTreeSet<(u64, u64)>>::new();
    for line in notes.lines().filter(|line| line.split(' ').count() == 3) {
        let mut words = line.split(' ');
        let word = words.next().expect("a word");
        let mut number = || words.next().expect("a number").parse().expect("a number");
        said.entry(word).or_default().insert((number(), number()));
    }
    let of = |word: &str| said.get(word).cloned().unwrap_or_default();
    let (begun, done, aborted) = (of("begun"), of("done"), of("abort"));
    let mut first: Option<BTreeSet<(u64, u64)>> = None;
    for (topic, partition) in OUTPUT {
        let mut there = BTreeSet::new();
        let mut reader = store.reader().assign([(topic, partition)]).build().expect("built");
        loop {
            let records = reader.try_poll().expect("polled");
            if records.is_empty() {
                break;
            }
            for record in &records {
                let text = std::str::from_utf8(record.value().expect("a value")).expect("text");
                let (writer, number) = text.split_once(' ').expect("two numbers");
                let it = (writer.parse().expect("one"), number.parse().expect("one"));
                assert!(there.insert(it), "{it:?} is twice in {topic}-{partition}");
            }
        }
        let first = first.get_or_insert_with(|| there.clone());
        assert_eq!(*first, there, "torn between partitions");
    }
    let there = first.unwrap_or_default();
    assert!(there.is_superset(&done), "lost: {:?}", done.difference(&there));
    assert!(there.is_subset(&begun), "phantom: {:?}", there.difference(&begun));
    assert!(there.is_disjoint(&aborted), "aborted: {:?}", there.intersection(&aborted));
    for writer in 0..WRITERS {
        let count = there.iter().filter(|it| it.0 == writer).count();
        let committed = store.committed(&format!("g-{writer}")).expect("looked up");
        let offset = committed.first().map_or(0, |it| it.2.offset().get());
        assert_eq!(usize::try_from(offset).ok(), Some(count), "the offset of writer {writer}");
    }
    assert!(store.open_transactions().expect("listed").is_empty());
    begun.into_iter().collect() // the last of each
}

#[test]
fn no_kill_tears_loses_or_makes_up_a_transaction() {
    if let Some(dir) = std::env::var_os(DIR) {
        return play(Path::new(&dir));
    }
    let test = "exactly_once::no_kill_tears_loses_or_makes_up_a_transaction";
    let hits = std::cell::Cell::new(0);
    budget::for_each_seed("flights", test, budget::seeds(1, 1, 200), |seed| {
        let work = tempfile::tempdir().expect("a temporary directory");
        let mut random = StdRng::seed_from_u64(seed);
        let kills = budget::Budget::get().pick(3, 8, 60);
        // on a busy machine a child may need longer to come to its work
        let has_begun = || {
            fs::read_to_string(work.path().join("notes")).is_ok_and(|notes| notes.contains("begun"))
        };
        let mut round = 0;
        while round < kills || (!has_begun() && round < 10 * kills) {
            let mut command = Command::new(std::env::current_exe().expect("a path"));
            command.args(["--exact", test]).env(DIR, work.path());
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let after = random.random_range(10..100) * (1 + round / kills);
            round += 1;
            let after = Duration::from_millis(after);
            hits.set(hits.get() + u32::from(kill(child.expect("started"), after)));
        }
        let store = open(work.path());
        let last = judge(&store, work.path());
        assert!(!last.is_empty(), "nothing was begun");
        store.close().expect("closed");
        // the control: one more that is said to be done is missed
        note(work.path(), "done 0 999999");
        let store = open(work.path());
        let missed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            judge(&store, work.path());
        }));
        assert!(missed.is_err());
    });
    assert!(hits.get() > 0, "no kill found it at work");
}
