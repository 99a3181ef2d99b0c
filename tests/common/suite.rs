//! What a suite that counts states says at its end: one line that a script can read,
//! `suite NAME: N states, D distinct, F failures, S s`.
//!
//! A state counts as distinct once for each (scenario, hash of the image after the crash). The
//! line is written past the capture of tests, so that `.ci/run` finds it in any run; a suite that
//! unwinds says one failure more. Each suite shows in the same run that it can fail: without
//! [`Suite::control`] having been told of a loss it saw, the run is void.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Display;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A suite at work, perhaps on several threads. Dropping it prints its line.
pub struct Suite {
    name: &'static str,
    began: Instant,
    states: AtomicU64,
    distinct: Mutex<HashSet<u64>>,
    failures: AtomicU64,
    controls: AtomicU64,
}

impl Suite {
    pub fn new(name: &'static str) -> Self {
        Suite {
            name,
            began: Instant::now(),
            states: AtomicU64::default(),
            distinct: Mutex::default(),
            failures: AtomicU64::default(),
            controls: AtomicU64::default(),
        }
    }

    /// Counts a state; says whether it is the first of its scenario and image.
    pub fn state(&self, scenario: impl Hash, image: impl Hash) -> bool {
        self.states.fetch_add(1, Ordering::Relaxed);
        let mut hasher = DefaultHasher::new();
        (scenario, image).hash(&mut hasher);
        let mut distinct = self.distinct.lock().unwrap_or_else(PoisonError::into_inner);
        distinct.insert(hasher.finish())
    }

    /// Counts a failure and tells how to repeat it; the run goes on and fails at its end, or here
    /// where TIDELOG_FIRST is set: who only asks whether it fails need not wait.
    ///
    /// # Panics
    /// In that case.
    pub fn fail(&self, what: impl Display, repeat: impl Display) {
        if self.failures.fetch_add(1, Ordering::Relaxed) < 5 {
            say(&format!("FAILED {}: {what}\nrepeat: {repeat}", self.name));
        }
        assert!(std::env::var_os("TIDELOG_FIRST").is_none(), "{} has failed once", self.name);
    }

    /// Something was broken on purpose, and it was seen.
    pub fn control(&self, seen: u64) {
        self.controls.fetch_add(seen, Ordering::Relaxed);
    }

    pub fn states(&self) -> u64 {
        self.states.load(Ordering::Relaxed)
    }

    pub fn distinct(&self) -> u64 {
        self.distinct.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// The end of a run.
    ///
    /// # Panics
    /// When a state failed; when the suite has shown nothing, or not that it can fail.
    pub fn end(self) {
        let verdict = self.verdict();
        drop(self);
        verdict.unwrap_or_else(|why| panic!("{why}"));
    }

    fn verdict(&self) -> Result<(), String> {
        let (name, failures) = (self.name, self.failures.load(Ordering::Relaxed));
        match (self.states(), failures, self.controls.load(Ordering::Relaxed)) {
            (0, ..) => Err(format!("{name} is void: it looked at nothing")),
            (_, 0, 0) => Err(format!("{name} is void: its control was not seen to fail")),
            (_, 0, _) => Ok(()),
            _ => Err(format!("{name}: {failures} failures, see above")),
        }
    }

    fn line(&self) -> String {
        let (name, states) = (self.name, self.states());
        let failures = self.failures.load(Ordering::Relaxed);
        let failures = failures + u64::from(std::thread::panicking());
        let (distinct, seconds) = (self.distinct(), self.began.elapsed().as_secs_f64());
        format!(
            "suite {name}: {states} states, {distinct} distinct, {failures} failures, \
             {seconds:.1} s"
        )
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        say(&self.line());
    }
}

/// Says something that no test harness keeps to itself, on a line of its own. Nobody may be
/// listening.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("\n{line}\n").as_bytes());
}

mod own {
    use super::*;

    #[test]
    fn states_count_once_a_scenario_and_image() {
        let suite = Suite::new("own");
        assert!(suite.state("a", 1) && suite.state("b", 1) && !suite.state("a", 1));
        assert_eq!((suite.states(), suite.distinct()), (3, 2));
        suite.control(1);
        assert!(suite.line().starts_with("suite own: 3 states, 2 distinct, 0 failures, "));
        std::mem::forget(suite); // it is no suite, its line would be one
    }

    #[test]
    fn a_run_without_its_control_is_void() {
        for (controls, failures, fine) in [(1, 0, true), (0, 0, false), (1, 1, false)] {
            let suite = Suite::new("own");
            suite.state("a", 1);
            suite.control(controls);
            suite.failures.store(failures, Ordering::Relaxed);
            assert_eq!(suite.verdict().is_ok(), fine);
            std::mem::forget(suite);
        }
    }
}
