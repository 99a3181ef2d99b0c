//! The main job under SIGKILL: whatever moment it is killed at, run again it ends with the table
//! that an undisturbed run ends with, and it does not read again what it had committed.
//!
//! It runs the example's own binary. So that the test cannot pass by killing nothing, it counts
//! the kills that found the example still at work.

#[path = "../common/mod.rs"]
mod common;
mod exactly_once;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::budget;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

/// The first week so often over: long enough that a kill finds it at work.
const WEEKS: usize = 12;
const WEEK_ROWS: u64 = 6_099;

/// The example's binary, built by the run that built this test or else now.
fn flights() -> PathBuf {
    let own = std::env::current_exe().expect("this test has a path");
    let profile = own.parent().and_then(Path::parent).expect("target/PROFILE/deps/NAME");
    let binary = profile.join("examples").join("flights");
    if !binary.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--example", "flights"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success());
    }
    binary
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/flights-week1.csv.gz")
}

/// The week several times over in one packed file, under one header.
fn many_weeks(dir: &Path) -> PathBuf {
    let mut week = String::new();
    let packed = fs::File::open(sample()).expect("the sample is there");
    GzDecoder::new(packed).read_to_string(&mut week).expect("gzip");
    let (header, rows) = week.split_once('\n').expect("a header");
    let path = dir.join("weeks.csv.gz");
    let mut packed = GzEncoder::new(fs::File::create(&path).expect("made"), Compression::fast());
    writeln!(packed, "{header}").expect("written");
    for _ in 0..WEEKS {
        packed.write_all(rows.as_bytes()).expect("written");
    }
    packed.finish().expect("written");
    path
}

/// Runs to the end; returns the last line and what was said beside it.
fn complete(input: &Path, data: Option<&Path>) -> (Value, String) {
    let mut command = Command::new(flights());
    command.arg(input).arg("--json");
    if let Some(dir) = data {
        command.arg("--data").arg(dir);
    }
    let output = command.output().expect("the example runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let line = printed.lines().last().expect("a line of JSON");
    (serde_json::from_str(line).expect("JSON"), said)
}

#[test]
fn the_first_week_gives_the_known_table() {
    let (table, _) = complete(&sample(), None);
    assert_eq!(table["rows"], WEEK_ROWS);
    let united = &table["carriers"]["UA"];
    assert_eq!(united["flights"], 1067);
    assert_eq!(united["mean_dep_delay"], 9.520677);
    assert_eq!(united["missing"], 3);
    let carriers = table["carriers"].as_object().expect("carriers");
    let sum: u64 = carriers.values().filter_map(|carrier| carrier["flights"].as_u64()).sum();
    assert_eq!((carriers.len(), sum), (15, WEEK_ROWS));
}

#[test]
fn killed_at_any_moment_it_ends_with_the_same_table() {
    let work = tempfile::tempdir().expect("a temporary directory");
    let input = many_weeks(work.path());
    flights(); // built before the time is taken
    let began = std::time::Instant::now();
    let (expected, _) = complete(&input, None);
    let undisturbed = began.elapsed().max(Duration::from_millis(20));
    assert_eq!(expected["rows"], WEEK_ROWS * WEEKS as u64);

    let seeds = budget::seeds(3, 10, 200);
    let hits = std::cell::Cell::new(0);
    let test = "killed_at_any_moment_it_ends_with_the_same_table";
    budget::for_each_seed("flights", test, seeds, |seed| {
        let data = work.path().join(format!("store-{seed}"));
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..random.random_range(1..6) {
            let after = undisturbed.mul_f64(random.random_range(0.05..0.8));
            hits.set(hits.get() + u32::from(kill(&input, &data, after)));
        }
        let (table, _) = complete(&input, Some(&data));
        assert_eq!(table, expected);
        // Whole, it stays as it is, and nothing is read a second time.
        let (again, said) = complete(&input, Some(&data));
        assert_eq!(again, expected);
        assert!(said.contains("0 rows sent, 0 records read"), "{said}");
        fs::remove_dir_all(&data).expect("removed");
    });
    assert!(hits.get() > 0, "no kill found the example at work");
}

/// Starts a run and kills it after a while, whatever it is doing then; whether it was at work.
fn kill(input: &Path, data: &Path, after: Duration) -> bool {
    let mut command = Command::new(flights());
    command.arg(input).arg("--data").arg(data).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the example starts");
    std::thread::sleep(after);
    let at_work = child.try_wait().expect("waited for").is_none();
    child.kill().expect("SIGKILL is sent"); // no error where it had ended by itself
    child.wait().expect("waited for");
    at_work
}
