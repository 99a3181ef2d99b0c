//! Apache Kafka's own classes as the judge of directories: `tests/kafka-check/run.sh`.
//!
//! They are asked with the larger budgets: a plain run is to stay quick, and each question starts
//! a JVM. It needs a JDK 17 and, the first time, Maven. Where they are missing the verdict is a
//! skip, and the test says so and passes; with `TIDELOG_REQUIRE=all`, as in the project's own
//! gate, a skip fails.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::budget::Budget;

const EXIT_REFUSED: i32 = 1;
const EXIT_SKIP: i32 = 77;

/// What the checker said.
#[derive(Debug)]
pub enum KafkaVerdict {
    /// Everything was accepted: one line per partition and per root.
    Accepted(Vec<Value>),
    /// Something was refused: lines with `ok` false carry `errors`.
    Refused(Vec<Value>),
    /// There is no Java here, for the reason given.
    Skip(String),
    /// The budget is too small for it.
    NotAsked,
}

impl KafkaVerdict {
    /// The lines of accepted directories; `None` where it was not asked, or, with a printed reason,
    /// skipped.
    ///
    /// # Panics
    /// When something was refused, and on a skip under `TIDELOG_REQUIRE=all`.
    pub fn accepted(self, test: &str) -> Option<Vec<Value>> {
        match self {
            KafkaVerdict::Accepted(lines) => Some(lines),
            KafkaVerdict::Refused(lines) => {
                let refused = lines.iter().filter(|line| line["ok"] != true);
                let shown: Vec<String> = refused.map(Value::to_string).collect();
                panic!("{test}: Kafka refuses:\n{}", shown.join("\n"));
            }
            KafkaVerdict::Skip(reason) => {
                skip(test, &reason);
                None
            }
            KafkaVerdict::NotAsked => None,
        }
    }
}

/// Says that a test was skipped.
///
/// # Panics
/// Under `TIDELOG_REQUIRE=all`: what the gate promises to run must run there.
pub fn skip(test: &str, reason: &str) {
    let required = std::env::var("TIDELOG_REQUIRE").is_ok_and(|word| word == "all");
    assert!(!required, "{test} was skipped, and TIDELOG_REQUIRE=all: {reason}");
    // Past the harness, which would keep the line of a passing test to itself.
    let _ = writeln!(std::io::stderr(), "SKIP 1: {test}: {reason}");
}

/// Judges partition directories or roots; `args` are the checker's own (`--unclean`, `--no-gaps`,
/// `--log-start-offset N`). The directories are not changed.
///
/// # Panics
/// When the checker itself fails.
pub fn kafka_check(dirs: &[PathBuf], args: &[&str]) -> KafkaVerdict {
    if Budget::get() == Budget::Small {
        return KafkaVerdict::NotAsked;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka-check/run.sh");
    let output = match Command::new(&script).args(args).args(dirs).output() {
        Ok(output) => output,
        Err(error) => return KafkaVerdict::Skip(format!("{}: {error}", script.display())),
    };
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let lines = || {
        let printed = String::from_utf8_lossy(&output.stdout);
        let parse = |line: &str| serde_json::from_str(line).expect("a line of JSON");
        printed.lines().map(parse).collect::<Vec<Value>>()
    };
    match output.status.code() {
        Some(0) => KafkaVerdict::Accepted(lines()),
        Some(EXIT_REFUSED) if !output.stdout.is_empty() => KafkaVerdict::Refused(lines()),
        Some(EXIT_SKIP) => KafkaVerdict::Skip(complaint),
        other => panic!("kafka-check ended with {other:?}: {complaint}"),
    }
}
