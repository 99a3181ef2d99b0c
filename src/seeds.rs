//! How much the unit tests with random work do, and which seeds they take.
//!
//! One room for all of them; only in builds with tests. The words are those of
//! `tests/common/budget.rs`: `TIDELOG_BUDGET` is `small` (the default), `ci` or `deep`;
//! `TIDELOG_SEED=N` runs one seed, `TIDELOG_SEED=A..B` those seeds. A failure prints its seed and
//! the command that repeats it. A misspelt word is a panic: it must not pass as a small budget.

use std::env;
use std::io::Write;
use std::ops::Range;
use std::time::Instant;

/// The figure of `TIDELOG_BUDGET`.
pub(crate) fn pick(small: u64, ci: u64, deep: u64) -> u64 {
    match env::var("TIDELOG_BUDGET").as_deref() {
        Err(_) | Ok("" | "small") => small,
        Ok("ci") => ci,
        Ok("deep") => deep,
        Ok(word) => panic!("TIDELOG_BUDGET={word}: small, ci or deep"),
    }
}

/// The seeds of `TIDELOG_SEED` (`N` or `A..B`), else as many from 0 as the budget allows.
pub(crate) fn seeds(small: u64, ci: u64, deep: u64) -> Range<u64> {
    let text = env::var("TIDELOG_SEED").unwrap_or_default();
    if text.is_empty() {
        return 0..pick(small, ci, deep);
    }
    let number = |text: &str| text.parse::<u64>().expect("TIDELOG_SEED is N or A..B");
    match text.split_once("..") {
        Some((start, end)) => number(start)..number(end),
        None => number(&text)..number(&text) + 1,
    }
}

/// Ends a model's run that began then: the line that scripts add up, past the capture of tests.
/// Each step is another of its seed, so as many are distinct.
pub(crate) fn end_suite(name: &str, steps: u64, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let line = format!("{steps} states, {steps} distinct, 0 failures, {seconds:.1} s");
    writeln!(std::io::stderr(), "\nsuite {name}: {line}").expect("standard error is open");
}
