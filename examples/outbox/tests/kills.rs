//! The program killed again and again, at any moment: the topics say what the database says.
//!
//! `cargo test --release` in this directory, or `.ci/outbox` from the library's, which kills more
//! often. `OUTBOX_KILLS` is how often; default 20. Kills come while the program starts, settles
//! what an earlier life left, prepares, works, commits, and while it compares. The test looks at
//! the database and the topics itself as well, at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tidelog::Store;

fn outbox(dir: &Path, second: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
    command.arg(dir).arg(second);
    command
}

fn check(dir: &Path) -> Output {
    outbox(dir, "--check").output().expect("it runs")
}

fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// The orders of the database, each with how often it is there.
fn in_database(dir: &Path) -> BTreeMap<i64, usize> {
    let database = Connection::open(dir.join("orders.sqlite")).expect("a database");
    let mut query = database.prepare("SELECT number FROM orders").expect("a table");
    let rows = query.query_map([], |row| row.get(0)).expect("rows");
    count(rows.map(|row| row.expect("a number")))
}

/// The records of a topic, the same.
fn in_topic(store: &Store, topic: &str) -> BTreeMap<i64, usize> {
    let mut reader = store.reader().subscribe([topic]).build().expect("a reader");
    let mut numbers = Vec::new();
    for records in reader.read_to_end().expect("a topic") {
        for record in &records.expect("records") {
            let text = std::str::from_utf8(record.value().expect("a value")).expect("text");
            numbers.push(text.parse().expect("a number"));
        }
    }
    count(numbers.into_iter())
}

fn count(numbers: impl Iterator<Item = i64>) -> BTreeMap<i64, usize> {
    let mut counted = BTreeMap::new();
    numbers.for_each(|number| *counted.entry(number).or_insert(0) += 1);
    counted
}

/// Waits until the program has placed an order, on a busy machine a while.
fn wait_for_an_order(dir: &Path) {
    let last = || -> Option<i64> {
        let database = Connection::open(dir.join("orders.sqlite")).ok()?;
        database.query_row("SELECT max(number) FROM orders", [], |row| row.get(0)).ok()?
    };
    let (before, until) = (last(), Instant::now() + Duration::from_secs(20));
    while last() == before && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_there_twice_however_often_it_is_killed() {
    let kills = std::env::var("OUTBOX_KILLS").map_or(20, |text| text.parse().expect("a number"));
    let (dir, began) = (tempfile::tempdir().expect("a directory"), Instant::now());
    let mut state = u64::from(std::process::id());
    for kill in 0..kills {
        let compares = random(&mut state, 5) == 0;
        let mut child = outbox(dir.path(), if compares { "--check" } else { "1000000" });
        let mut child = child.stdout(std::process::Stdio::null()).spawn().expect("it starts");
        if random(&mut state, 2) == 0 && !compares {
            wait_for_an_order(dir.path());
        }
        let span = [20, 100, 600][usize::try_from(random(&mut state, 3)).expect("small")];
        std::thread::sleep(Duration::from_millis(random(&mut state, span)));
        child.kill().expect("it runs, or has ended");
        child.wait().expect("it is a child");
        if kill % 5 == 4 {
            let checked = check(dir.path());
            assert!(checked.status.success(), "after kill {kill}: {checked:?}");
        }
    }
    let checked = check(dir.path()); // settles what the last life left
    assert!(checked.status.success(), "{checked:?}");
    let orders = in_database(dir.path());
    let store = Store::open(dir.path().join("records")).expect("it opens");
    for topic in ["orders", "audit"] {
        assert_eq!(in_topic(&store, topic), orders, "`{topic}` against the database");
    }
    assert!(orders.len() as u64 > kills / 4, "the control: {} orders", orders.len());
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{} orders", orders.len());
    eprintln!("suite outbox: {kills} states, {kills} distinct, 0 failures, {seconds:.1} s");
}
