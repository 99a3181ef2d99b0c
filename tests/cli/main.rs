//! The program `tidelog`, run as a user runs it.
//!
//! `golden` holds it against the directories that Apache Kafka wrote; `store` and `commands` run a
//! store of their own from nothing. What is here runs the program and reads what it prints.

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod golden;
mod store;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const DAMAGED: i32 = 3;

/// What a run printed.
struct Ran {
    out: Vec<Value>,
    err: String,
    code: i32,
}

fn raw(arguments: &[&str]) -> (String, String, i32) {
    let program = env!("CARGO_BIN_EXE_tidelog");
    let output = Command::new(program).args(arguments).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr), output.status.code().expect("no signal"))
}

fn dump(path: &Path, flags: &[&str]) -> Ran {
    let path = path.to_str().expect("UTF-8");
    let (out, err, code) = raw(&[&["dump", "--json"], flags, &[path]].concat());
    let line = |line: &str| serde_json::from_str(line).expect("one JSON object a line");
    Ran { out: out.lines().map(line).collect(), err, code }
}

/// Runs with lines on standard input.
fn fed(arguments: &[&str], input: &str) -> (String, String, i32) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidelog"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr), output.status.code().expect("no signal"))
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Runs what must do its work.
fn done(arguments: &[&str]) -> String {
    let (out, err, code) = raw(arguments);
    assert_eq!(code, DONE, "{arguments:?}: {err}");
    out
}
