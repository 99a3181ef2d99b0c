//! Fuzzing without coverage: what is in the corpus is changed over and over, and run.
//!
//! libFuzzer never changes an input in which it saw nothing new, and without coverage it sees
//! nothing. So each of the first inputs, which are those of the corpus, is one feature here, in
//! counters of the caller's that libFuzzer reads after each run and sets to zero before the next.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A counter tells as many features apart as there are ranges of its value.
const RANGES: [u8; 8] = [1, 2, 3, 4, 8, 16, 32, 128];
const COUNTERS: usize = 2048;

// SAFETY: a section of its own, which libFuzzer takes for an array of bytes; atomic bytes are that.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
#[used]
static SEEN: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// To be called at each run.
pub fn count() {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    if let Some(counter) = SEEN.get(run / RANGES.len()) {
        counter.store(RANGES[run % RANGES.len()], Ordering::Relaxed);
    }
}
