//! How much the random tests do, and which seeds they take.
//!
//! `TIDELOG_BUDGET` is `small` (the default: plain `cargo test` stays quick), `ci` or `deep`.
//! `TIDELOG_SEED=N` runs one seed and nothing else: every failure prints the command with it.
//! `TIDELOG_SEED=A..B` runs those seeds (end exclusive), for long runs in portions.

use std::env;
use std::ops::Range;

/// How long the random tests may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    Small,
    Ci,
    Deep,
}

impl Budget {
    /// The budget the environment asks for.
    ///
    /// # Panics
    /// On a word that names none: a misspelt budget must not pass as a small one.
    pub fn get() -> Self {
        let word = env::var("TIDELOG_BUDGET").ok();
        Self::parse(word.as_deref())
            .unwrap_or_else(|| panic!("TIDELOG_BUDGET={word:?}: small, ci or deep"))
    }

    fn parse(word: Option<&str>) -> Option<Self> {
        match word {
            None | Some("" | "small") => Some(Budget::Small),
            Some("ci") => Some(Budget::Ci),
            Some("deep") => Some(Budget::Deep),
            Some(_) => None,
        }
    }

    /// The figure of this budget.
    pub fn pick(self, small: u64, ci: u64, deep: u64) -> u64 {
        match self {
            Budget::Small => small,
            Budget::Ci => ci,
            Budget::Deep => deep,
        }
    }
}

/// What stands before a command that repeats a failure of this budget.
pub fn words() -> &'static str {
    match Budget::get() {
        Budget::Small => "",
        Budget::Ci => "TIDELOG_BUDGET=ci ",
        Budget::Deep => "TIDELOG_BUDGET=deep ",
    }
}

/// The seeds to run: what the environment names, else as many from 0 as the budget allows.
///
/// # Panics
/// When `TIDELOG_SEED` is neither a number nor a range.
pub fn seeds(small: u64, ci: u64, deep: u64) -> Range<u64> {
    match env::var("TIDELOG_SEED") {
        Ok(text) if !text.is_empty() => {
            chosen(&text).unwrap_or_else(|| panic!("TIDELOG_SEED={text}: N or A..B"))
        }
        _ => 0..Budget::get().pick(small, ci, deep),
    }
}

fn chosen(text: &str) -> Option<Range<u64>> {
    let (start, end) = match text.split_once("..") {
        Some((start, end)) => (start.parse().ok()?, end.parse().ok()?),
        None => {
            let seed: u64 = text.parse().ok()?;
            (seed, seed.checked_add(1)?)
        }
    };
    (start < end).then_some(start..end)
}

/// Runs `body` for each seed; a panic is followed by the command that repeats it.
///
/// `suite` is the name of the integration test's file, `test` that of the function.
pub fn for_each_seed(suite: &str, test: &str, seeds: Range<u64>, body: impl Fn(u64)) {
    let count = seeds.end.saturating_sub(seeds.start);
    for seed in seeds {
        repeatable(suite, test, seed, || body(seed));
    }
    println!("{suite}::{test}: {count} seeds");
}

/// Runs `body`, which takes that seed; a panic is followed by the command that repeats it.
pub fn repeatable(suite: &str, test: &str, seed: u64, body: impl FnOnce()) {
    /// Prints only when a panic unwinds past it.
    struct Repeat<'a>(&'a str, &'a str, u64);
    impl Drop for Repeat<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let Repeat(suite, test, seed) = self;
                let all = if cfg!(feature = "sim") { " --all-features" } else { "" };
                let budget = words(); // a walk is longer with a larger one
                eprintln!(
                    "repeat: {budget}TIDELOG_SEED={seed} cargo test{all} --test {suite} {test}"
                );
            }
        }
    }
    let _repeat = Repeat(suite, test, seed);
    body();
}

mod own {
    use super::*;

    #[test]
    fn words_and_seeds_are_read_and_misspelt_ones_refused() {
        assert_eq!(Budget::parse(None), Some(Budget::Small));
        assert_eq!(Budget::parse(Some("deep")), Some(Budget::Deep));
        assert_eq!(Budget::Ci.pick(1, 2, 3), 2);
        assert_eq!(Budget::parse(Some("large")), None);
        assert_eq!(chosen("7"), Some(7..8));
        assert_eq!(chosen("100..250"), Some(100..250));
        for wrong in ["x", "5..5", "5..", "-1", "1...2"] {
            assert_eq!(chosen(wrong), None, "{wrong}");
        }
    }
}
