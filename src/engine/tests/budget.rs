//! How much the enumerations do, by the words that `tests/common/budget.rs` explains.

use std::env;
#[cfg(feature = "sim")]
use std::ops::Range;

/// The figure of `TIDELOG_BUDGET`.
pub(super) fn pick(small: u64, ci: u64, deep: u64) -> u64 {
    match env::var("TIDELOG_BUDGET").as_deref() {
        Err(_) | Ok("" | "small") => small,
        Ok("ci") => ci,
        Ok("deep") => deep,
        Ok(word) => panic!("TIDELOG_BUDGET={word}: small, ci or deep"),
    }
}

#[cfg(feature = "sim")]
/// The seeds of `TIDELOG_SEED` (`N` or `A..B`), else as many as the budget allows.
pub(super) fn seeds(small: u64, ci: u64, deep: u64) -> Range<u64> {
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
