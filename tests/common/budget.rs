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
        Self::parse(env::var("TIDELOG_BUDGET").ok().as_deref())
    }

    fn parse(word: Option<&str>) -> Self {
        match word {
            None | Some("" | "small") => Budget::Small,
            Some("ci") => Budget::Ci,
            Some("deep") => Budget::Deep,
            Some(other) => panic!("TIDELOG_BUDGET={other}: small, ci or deep"),
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

/// The seeds to run: what the environment names, else as many from 0 as the budget allows.
///
/// # Panics
/// When `TIDELOG_SEED` is neither a number nor a range.
pub fn seeds(small: u64, ci: u64, deep: u64) -> Range<u64> {
    chosen(env::var("TIDELOG_SEED").ok().as_deref())
        .unwrap_or_else(|| 0..Budget::get().pick(small, ci, deep))
}

fn chosen(text: Option<&str>) -> Option<Range<u64>> {
    let text = text.filter(|text| !text.is_empty())?;
    let number = |part: &str| -> u64 {
        part.parse().unwrap_or_else(|_| panic!("TIDELOG_SEED={text}: N or A..B"))
    };
    Some(match text.split_once("..") {
        Some((start, end)) => number(start)..number(end),
        None => number(text)..number(text).checked_add(1).expect("a seed below u64::MAX"),
    })
}

/// Runs `body` for each seed; a panic is followed by the command that repeats it.
///
/// `suite` is the name of the integration test's file, `test` that of the function.
pub fn for_each_seed(suite: &str, test: &str, seeds: Range<u64>, body: impl Fn(u64)) {
    /// Prints only when a panic unwinds past it.
    struct Repeat<'a>(&'a str, &'a str, u64);
    impl Drop for Repeat<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let Repeat(suite, test, seed) = self;
                let all = if cfg!(feature = "sim") { " --all-features" } else { "" };
                eprintln!("repeat: TIDELOG_SEED={seed} cargo test{all} --test {suite} {test}");
            }
        }
    }
    let count = seeds.end.saturating_sub(seeds.start);
    for seed in seeds {
        let _repeat = Repeat(suite, test, seed);
        body(seed);
    }
    println!("{suite}::{test}: {count} seeds");
}

mod own {
    use super::*;

    #[test]
    fn words_and_seeds_are_read() {
        assert_eq!(Budget::parse(None), Budget::Small);
        assert_eq!(Budget::parse(Some("ci")).pick(1, 2, 3), 2);
        assert_eq!(Budget::parse(Some("deep")).pick(1, 2, 3), 3);
        assert_eq!(chosen(None), None);
        assert_eq!(chosen(Some("7")), Some(7..8));
        assert_eq!(chosen(Some("100..250")), Some(100..250));
    }

    #[test]
    fn a_misspelt_word_is_refused() {
        assert!(std::panic::catch_unwind(|| Budget::parse(Some("large"))).is_err());
        assert!(std::panic::catch_unwind(|| chosen(Some("x"))).is_err());
    }
}
