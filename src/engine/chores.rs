//! Long work of those above that the maintenance thread does in steps.
//!
//! A chore is a [`Due`] held weakly, as on the timers, but for work that may read and write. Each
//! run of maintenance does one step of each chore that is due, so that syncs come between steps;
//! a chore that wants to go on at once says so by asking for the time it was given.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::threads::Wakeup;
use super::timers::Due;
use crate::sync::Mutex;

/// The chores of a store.
pub(crate) struct Chores {
    waiting: Mutex<Vec<(Duration, Weak<dyn Due>)>>,
    wakeup: Arc<Wakeup>,
}

impl std::fmt::Debug for Chores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chores").field("waiting", &self.waiting.lock().len()).finish()
    }
}

impl Chores {
    pub(super) fn new(wakeup: Arc<Wakeup>) -> Self {
        Chores { waiting: Mutex::default(), wakeup }
    }

    /// Has `due` called at `at`, on the monotonic clock, or soon after.
    pub(crate) fn schedule(&self, at: Duration, due: Weak<dyn Due>) {
        self.waiting.lock().push((at, due));
        self.wakeup.wake();
    }

    /// One step of each chore that is due at `now`; returns when the next one is.
    pub(super) fn run_due(&self, now: Duration) -> Option<Duration> {
        let due: Vec<Weak<dyn Due>> = {
            let mut waiting = self.waiting.lock();
            let (due, later) =
                std::mem::take(&mut *waiting).into_iter().partition(|it| it.0 <= now);
            *waiting = later;
            let due: Vec<(Duration, Weak<dyn Due>)> = due;
            due.into_iter().map(|(_, due)| due).collect()
        };
        for weak in due {
            let Some(chore) = weak.upgrade() else { continue };
            if let Some(again) = chore.run(now) {
                self.waiting.lock().push((again, weak));
                if again <= now {
                    self.wakeup.wake(); // on a clock moved by hand nothing else would
                }
            }
        }
        self.waiting.lock().iter().map(|(at, _)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Needs three steps for a round, and begins one a second.
    struct Round(AtomicU64);

    impl Due for Round {
        fn run(&self, now: Duration) -> Option<Duration> {
            let steps = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            let rest =
                if steps.is_multiple_of(3) { Duration::from_secs(1) } else { Duration::ZERO };
            Some(now + rest)
        }
    }

    #[test]
    fn a_run_does_one_step_of_each() {
        let chores = Chores::new(Arc::default());
        let second = Duration::from_secs(1);
        let round = Arc::new(Round(AtomicU64::new(0)));
        let weak: Weak<dyn Due> = Arc::downgrade(&round) as Weak<dyn Due>;
        chores.schedule(second, weak);
        assert_eq!(chores.run_due(Duration::ZERO), Some(second));
        for (steps, next) in [(1, second), (2, second), (3, 2 * second), (3, 2 * second)] {
            assert_eq!(chores.run_due(second), Some(next));
            assert_eq!(round.0.load(Ordering::Relaxed), steps);
        }
        drop(round);
        assert_eq!(chores.run_due(9 * second), None);
    }
}
