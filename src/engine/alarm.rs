//! One task's place among the timers: however often it is set, one call of it counts.
//!
//! A task that is to come earlier than it was set for is put on the heap a second time. The alarm
//! knows which call is the one: an earlier time takes its place, and a call that comes without it
//! does nothing and does not come again. So tasks never multiply.

use std::sync::Weak;
use std::time::Duration;

use super::chores::Chores;
use super::timers::{Due, Timers};
use crate::sync::Mutex;

/// When a task is called next, on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Mutex<Option<Duration>>);

impl Alarm {
    /// Has `due` called at `at`, unless it comes before.
    pub(crate) fn set(&self, timers: &Timers, at: Duration, due: Weak<dyn Due>) {
        if self.is_earlier(at) {
            timers.schedule(at, due);
        }
    }

    /// The same for a task of maintenance.
    pub(crate) fn set_chore(&self, chores: &Chores, at: Duration, due: Weak<dyn Due>) {
        if self.is_earlier(at) {
            chores.schedule(at, due);
        }
    }

    /// Whether `at` is before the time it is set to, which it is then.
    fn is_earlier(&self, at: Duration) -> bool {
        let mut set = self.0.lock();
        let is_earlier = set.is_none_or(|set| at < set);
        if is_earlier {
            *set = Some(at);
        }
        is_earlier
    }

    /// What the task's `run` does: its work, if this is the call that counts, and when to come
    /// again, unless it was set meanwhile.
    pub(crate) fn ring(
        &self,
        now: Duration,
        work: impl FnOnce() -> Option<Duration>,
    ) -> Option<Duration> {
        {
            let mut set = self.0.lock();
            if set.is_none_or(|set| set > now) {
                return None;
            }
            *set = None;
        }
        let next = work()?;
        let mut set = self.0.lock();
        if set.is_some_and(|set| set <= next) {
            return None;
        }
        *set = Some(next);
        Some(next)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::atomic::{AtomicU64, Ordering};
    use std::sync::Arc;

    #[derive(Default)]
    struct Task(Alarm, AtomicU64);

    impl Due for Task {
        fn run(&self, now: Duration) -> Option<Duration> {
            self.0.ring(now, || {
                self.1.fetch_add(1, Ordering::Relaxed);
                Some(now + Duration::from_secs(10))
            })
        }
    }

    #[test]
    fn a_task_that_is_set_often_runs_once_at_a_time() {
        let (timers, task) = (Timers::new(Arc::default()), Arc::new(Task::default()));
        let second = Duration::from_secs(1);
        let weak: Weak<dyn Due> = Arc::downgrade(&task) as Weak<dyn Due>;
        for at in (1..9).rev() {
            task.0.set(&timers, at * second, weak.clone());
        }
        assert_eq!(timers.run_due(|| second, || ()), Some(2 * second));
        timers.run_due(|| 9 * second, || ());
        assert_eq!(task.1.load(Ordering::Relaxed), 1);
        assert_eq!(timers.run_due(|| 11 * second, || ()), Some(21 * second));
        assert_eq!(task.1.load(Ordering::Relaxed), 2);
    }
}
