//! Fuzzing without coverage: what is in the corpus is changed over and over, and run.
//!
//! libFuzzer never changes an input in which it saw nothing new, and without coverage it sees
//! nothing. So each of the first runs, `FUZZ_INPUTS` of them, which are those of the corpus, is one
//! feature here, in counters of the caller's that libFuzzer reads after each run and sets to zero
//! before the next.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A counter tells as many features apart as there are ranges of its value.
const RANGES: [u8; 8] = [1, 2, 3, 4, 8, 16, 32, 128];
const COUNTERS: usize = 2048;

// SAFETY: a section of its own, which libFuzzer takes for an array of bytes; atomic bytes are that.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
#[used]
static SEEN: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];
static RUNS: AtomicUsize = AtomicUsize::new(0);
static INPUTS: LazyLock<usize> = LazyLock::new(|| {
    let told = std::env::var("FUZZ_INPUTS").ok().and_then(|number| number.parse().ok());
    told.unwrap_or(0).min(COUNTERS * RANGES.len())
});

/// To be called at each run.
pub fn count() {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    if run <= *INPUTS {
        // one more: libFuzzer begins with an input of its own
        SEEN[run / RANGES.len() % COUNTERS].store(RANGES[run % RANGES.len()], Ordering::Relaxed);
    }
}
