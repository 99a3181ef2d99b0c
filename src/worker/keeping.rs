//! Extending the leases of jobs under way, by the store's timer.
//!
//! Each is extended when a third of it is over, for as long as its handler may run. A handler that
//! does not return in that time keeps its thread, and loses its record to the next that asks.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::engine::{Claim, Due};
use crate::share_consumer::Lease;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The jobs of a worker that are under way.
#[derive(Debug)]
pub(super) struct Keeping {
    lasts: Duration,
    longest: Duration,
    numbers: AtomicU64,
    /// With when its handler is given up, on the monotonic clock.
    jobs: Mutex<HashMap<u64, (Lease, Duration)>>,
}

/// A job that is kept as long as this lives.
pub(super) struct Kept {
    keeping: Arc<Keeping>,
    number: u64,
}

impl Keeping {
    pub(super) fn begin(engine: &Claim, lasts: Duration, longest: Duration) -> Arc<Keeping> {
        let (numbers, jobs) = (AtomicU64::new(0), Mutex::default());
        let keeping = Arc::new(Keeping { lasts, longest, numbers, jobs });
        let due: Weak<dyn Due> = Arc::downgrade(&keeping) as _;
        engine.timers().schedule(engine.clock().monotonic() + keeping.period(), due);
        keeping
    }

    fn period(&self) -> Duration {
        (self.lasts / 3).max(Duration::from_millis(1))
    }

    pub(super) fn keep(self: &Arc<Self>, lease: &Lease, now: Duration) -> Kept {
        let number = self.numbers.fetch_add(1, Ordering::AcqRel);
        let until = now.saturating_add(self.longest);
        self.jobs.lock().insert(number, (lease.clone(), until));
        Kept { keeping: self.clone(), number }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeping.jobs.lock().remove(&self.number);
    }
}

impl Due for Keeping {
    fn run(&self, now: Duration) -> Option<Duration> {
        let jobs: Vec<(Lease, Duration)> = self.jobs.lock().values().cloned().collect();
        for (lease, until) in jobs {
            if now < until {
                lease.extend(self.lasts);
            }
        }
        Some(now + self.period())
    }
}
