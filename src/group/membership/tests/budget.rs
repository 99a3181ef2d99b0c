//! How many seeds the random test takes, by the words that `tests/common/budget.rs` explains.

use std::env;
use std::ops::Range;

/// The seeds of `TIDELOG_SEED` (`N` or `A..B`), else as many as `TIDELOG_BUDGET` allows.
pub(super) fn seeds(small: u64, ci: u64, deep: u64) -> Range<u64> {
    let text = env::var("TIDELOG_SEED").unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().expect("TIDELOG_SEED is N or A..B");
    match (text.as_str(), text.split_once("..")) {
        ("", _) => 0..pick(small, ci, deep),
        (_, Some((start, end))) => number(start)..number(end),
        (one, None) => number(one)..number(one) + 1,
    }
}

fn pick(small: u64, ci: u64, deep: u64) -> u64 {
    match env::var("TIDELOG_BUDGET").as_deref() {
        Err(_) | Ok("" | "small") => small,
        Ok("ci") => ci,
        Ok("deep") => deep,
        Ok(word) => panic!("TIDELOG_BUDGET={word}: small, ci or deep"),
    }
}
