//! What is due at a time: a heap of tasks, on the store's clock.
//!
//! A task is a [`Due`] held weakly: who has gone is not called. `run_due` calls those whose time
//! has come, outside the lock, and says when the next one is due. With threads of its own the
//! store runs that on its timer thread; a host without them calls it itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::threads::Wakeup;
use crate::sync::Mutex;

/// Something to be done at a time; short work only, the timer thread serves all.
pub(crate) trait Due: Send + Sync {
    /// Does what is due at `now`, on the monotonic clock; returns when to come again.
    fn run(&self, now: Duration) -> Option<Duration>;
}

struct Task {
    at: Duration,
    /// Tasks of one time run in the order they came.
    sequence: u64,
    due: Weak<dyn Due>,
}

impl PartialEq for Task {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Task {}

impl PartialOrd for Task {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Task {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

#[derive(Default)]
struct Heap {
    tasks: BinaryHeap<Reverse<Task>>,
    sequence: u64,
}

/// The tasks of a store.
pub(crate) struct Timers {
    heap: Mutex<Heap>,
    wakeup: Arc<Wakeup>,
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers").field("tasks", &self.heap.lock().tasks.len()).finish()
    }
}

impl Timers {
    pub(super) fn new(wakeup: Arc<Wakeup>) -> Self {
        Timers { heap: Mutex::new(Heap::default()), wakeup }
    }

    /// Has `due` called at `at`, on the monotonic clock, or soon after.
    pub(crate) fn schedule(&self, at: Duration, due: Weak<dyn Due>) {
        let first = {
            let mut heap = self.heap.lock();
            let first = heap.tasks.peek().is_none_or(|Reverse(task)| at < task.at);
            heap.sequence += 1;
            let sequence = heap.sequence;
            heap.tasks.push(Reverse(Task { at, sequence, due }));
            first
        };
        if first {
            self.wakeup.wake();
        }
    }

    /// The first task, if it is due still and has not gone.
    fn pop(&self, now: Duration) -> Option<Arc<dyn Due>> {
        let mut heap = self.heap.lock();
        let is_due = heap.tasks.peek().is_some_and(|Reverse(task)| task.at <= now);
        let task = if is_due { heap.tasks.pop() } else { None };
        task.and_then(|Reverse(task)| task.due.upgrade())
    }

    /// Calls what is due by the clock, and `between` before each; returns when the next task is.
    /// The clock is read again for each: who comes back at once, many times over, is followed by
    /// what has come due meanwhile.
    pub(super) fn run_due(
        &self,
        clock: impl Fn() -> Duration,
        between: impl Fn(),
    ) -> Option<Duration> {
        loop {
            let now = clock();
            match self.heap.lock().tasks.peek() {
                Some(Reverse(task)) if task.at <= now => {}
                next => return next.map(|Reverse(task)| task.at),
            }
            between(); // first: a panic in it takes no task with it
            let Some(due) = self.pop(now) else { continue };
            if let Some(again) = due.run(now) {
                self.schedule(again, Arc::downgrade(&due));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Every {
        period: Duration,
        calls: AtomicU64,
    }

    impl Due for Every {
        fn run(&self, now: Duration) -> Option<Duration> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            Some(now + self.period)
        }
    }

    #[test]
    fn tasks_run_when_due_and_again() {
        let timers = Timers::new(Arc::default());
        let second = Duration::from_secs(1);
        let every = Arc::new(Every { period: second, calls: AtomicU64::new(0) });
        let weak: Weak<dyn Due> = Arc::downgrade(&every) as Weak<dyn Due>;
        timers.schedule(second, weak);
        assert_eq!(timers.run_due(|| Duration::ZERO, || ()), Some(second));
        assert_eq!(timers.run_due(|| second, || ()), Some(2 * second));
        assert_eq!(timers.run_due(|| 5 * second, || ()), Some(6 * second));
        assert_eq!(every.calls.load(Ordering::Relaxed), 2);
        drop(every);
        assert_eq!(timers.run_due(|| 9 * second, || ()), None);
    }

    #[test]
    fn a_panic_before_a_task_leaves_it_due() {
        let timers = Timers::new(Arc::default());
        let every = Arc::new(Every { period: Duration::MAX, calls: AtomicU64::new(0) });
        timers.schedule(Duration::ZERO, Arc::downgrade(&every) as Weak<dyn Due>);
        let runs = |between: fn()| {
            let run = || timers.run_due(|| Duration::ZERO, between);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_ok()
        };
        assert!(!runs(|| panic!("on purpose")));
        assert!(runs(|| ()));
        assert_eq!(every.calls.load(Ordering::Relaxed), 1);
    }

    /// Comes back at once until it has worked enough; each time takes a while.
    struct Works {
        clock: Arc<AtomicU64>,
        left: AtomicU64,
    }

    impl Due for Works {
        fn run(&self, now: Duration) -> Option<Duration> {
            self.clock.fetch_add(1_000, Ordering::Relaxed);
            (self.left.fetch_sub(1, Ordering::Relaxed) > 1).then_some(now)
        }
    }

    /// Notes when it was called.
    struct Notes {
        clock: Arc<AtomicU64>,
        called: AtomicU64,
    }

    impl Due for Notes {
        fn run(&self, _: Duration) -> Option<Duration> {
            self.called.store(self.clock.load(Ordering::Relaxed), Ordering::Relaxed);
            None
        }
    }

    #[test]
    fn work_that_goes_on_holds_up_nobody_who_comes_due_meanwhile() {
        let timers = Timers::new(Arc::default());
        let clock = Arc::new(AtomicU64::new(0));
        let works = Arc::new(Works { clock: clock.clone(), left: AtomicU64::new(100) });
        let notes = Arc::new(Notes { clock: clock.clone(), called: AtomicU64::new(0) });
        let weak = Arc::downgrade(&works);
        timers.schedule(Duration::ZERO, weak);
        let weak = Arc::downgrade(&notes);
        timers.schedule(Duration::from_millis(5_500), weak);
        let now = || Duration::from_millis(clock.load(Ordering::Relaxed));
        assert_eq!(timers.run_due(now, || ()), None);
        assert_eq!(now(), Duration::from_secs(100));
        assert!(notes.called.load(Ordering::Relaxed) <= 8_000, "within two steps of the other");
    }
}
