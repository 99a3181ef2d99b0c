//! How a model is explored: every interleaving within a bound of preemptions under loom, so many
//! random ones under shuttle, half of them by PCT.
//!
//! What shuttle does is set by the environment: `SHUTTLE_SCHEDULES` for each model (500 by
//! default), `SHUTTLE_SEED` (0). A failure prints the schedule's own seed; `SHUTTLE_RANDOM_SEED`
//! repeats it. Each model says at its end how many executions there were, on a line of its own:
//! `.ci/loom` and `.ci/shuttle` add them up.

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(loom)]
pub(crate) use loom::{future::block_on, thread};
#[cfg(shuttle)]
pub(crate) use shuttle::{future::block_on, thread};

/// Explores `body`; `preemptions` is loom's bound unless `LOOM_MAX_PREEMPTIONS` says another.
pub(crate) fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    explore(preemptions, &AtomicBool::new(false), body);
}

/// Explores a body that says whether a promise was broken; whether any execution broke one.
pub(crate) fn breaks(preemptions: usize, body: impl Fn() -> bool + Sync + Send + 'static) -> bool {
    let broken: &'static AtomicBool = Box::leak(Box::default());
    explore(preemptions, broken, move || {
        if body() {
            broken.store(true, Ordering::Relaxed);
        }
    });
    broken.load(Ordering::Relaxed)
}

fn tell(executions: usize, distinct: usize) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a model").to_owned();
    println!("\nexplored {test}: {executions} executions, {distinct} distinct");
}

#[cfg(loom)]
fn explore(preemptions: usize, _: &AtomicBool, body: impl Fn() + Sync + Send + 'static) {
    use std::sync::atomic::AtomicUsize;

    let executions: &'static AtomicUsize = Box::leak(Box::default());
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(move || {
        executions.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let executions = executions.load(Ordering::Relaxed);
    tell(executions, executions);
}

/// Whether this is shuttle: more threads, and no memory model to find a missing fence with.
pub(crate) const MANY_THREADS: bool = cfg!(shuttle);

#[cfg(shuttle)]
use shuttled::explore;

#[cfg(shuttle)]
mod shuttled {
    use std::collections::HashSet;
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
    use shuttle::{Config, Runner};

    /// How often a thread may be held back for another under PCT, and one more.
    const DEPTH: usize = 3;
    /// A planted mistake is looked for in portions.
    const PORTION: usize = 100;

    fn number(name: &str, default: usize) -> usize {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty());
        text.map_or(default, |text| text.parse().expect("a number"))
    }

    pub(super) fn explore(_: usize, found: &AtomicBool, body: impl Fn() + Sync + Send + 'static) {
        let (body, seen) = (Arc::new(body), Arc::new(Mutex::new(HashSet::new())));
        let (budget, first) = (number("SHUTTLE_SCHEDULES", 500), number("SHUTTLE_SEED", 0));
        let (mut done, mut portions) = (0, 0);
        while done < budget && !found.load(Ordering::Relaxed) {
            let count = PORTION.min(budget - done);
            let seed = (first as u64) << 32 | portions;
            let scheduler: Box<dyn Scheduler + Send> = match portions % 2 {
                0 => Box::new(RandomScheduler::new_from_seed(seed, count)),
                _ => Box::new(PctScheduler::new_from_seed(seed, DEPTH, count)),
            };
            let (seen, body) = (seen.clone(), body.clone());
            let mut config = Config::new();
            config.silence_warnings = true;
            config.stack_size = 1 << 18;
            let counting = Counting { scheduler, hasher: DefaultHasher::new(), steps: 0, seen };
            done += Runner::new(counting, config).run(move || body());
            portions += 1;
        }
        let distinct = seen.lock().expect("whole").len();
        super::tell(done, distinct);
    }

    /// Notes which schedules there were, by a hash of their choices.
    struct Counting {
        scheduler: Box<dyn Scheduler + Send>,
        hasher: DefaultHasher,
        steps: u64,
        seen: Arc<Mutex<HashSet<u64>>>,
    }

    impl Counting {
        fn note(&mut self) {
            if std::mem::take(&mut self.steps) > 0 {
                let hasher = std::mem::take(&mut self.hasher);
                self.seen.lock().expect("whole").insert(hasher.finish());
            }
        }
    }

    impl Scheduler for Counting {
        fn new_execution(&mut self) -> Option<Schedule> {
            let next = self.scheduler.new_execution();
            self.note();
            next
        }

        fn next_task(
            &mut self,
            runnable: &[&Task],
            current: Option<TaskId>,
            is_yielding: bool,
        ) -> Option<TaskId> {
            let next = self.scheduler.next_task(runnable, current, is_yielding);
            next.map(usize::from).hash(&mut self.hasher);
            self.steps += 1;
            next
        }

        fn next_u64(&mut self) -> u64 {
            self.scheduler.next_u64()
        }
    }
}
