//! The threads of a worker: each polls for one job, calls the handler, settles what it says.
//!
//! A store that is closed ends them. What fails otherwise is logged, and tried again after a
//! moment: a job that could not be settled is tried again when its lease ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::builder::WorkerBuilder;
use super::failing::Failing;
use super::job::{Job, JobOutcome, Word};
use super::keeping::Keeping;
use super::retry::RetryPolicy;
use crate::error::{Error, ErrorKind, Result};
use crate::share_consumer::ShareConsumer;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::wait::Interrupter;

/// How long a thread waits for a job before it looks around.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long after a failure it goes on.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// Threads that call a handler for each record of a share group. Dropping it stops it.
///
/// ```
/// use tidelog::{JobOutcome, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// let worker = store.worker("workers").topic("jobs").run(|_job| JobOutcome::Done)?;
/// worker.stop()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct Worker {
    threads: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
    interrupts: Vec<Interrupter>,
}

impl Worker {
    pub(super) fn start<F>(builder: WorkerBuilder, handler: F) -> Result<Worker>
    where
        F: Fn(Job) -> JobOutcome + Send + Sync + 'static,
    {
        let keeping = Keeping::begin(&builder.engine, builder.lease, builder.longest);
        let handler = Arc::new(handler);
        let stopping = Arc::new(AtomicBool::new(false));
        let (threads, interrupts) = (Vec::new(), Vec::new());
        let mut worker = Worker { threads, stopping, interrupts };
        for number in 0..builder.concurrency {
            let consumer = builder.consumers.clone().build()?;
            worker.interrupts.push(consumer.interrupter());
            let (keeping, handler) = (keeping.clone(), handler.clone());
            let stopping = worker.stopping.clone();
            let words = (builder.retry.clone(), builder.failing.clone());
            let spawned = std::thread::Builder::new().name(format!("tidelog-worker-{number}"));
            let run = move || work(consumer, &keeping, (&words.0, &words.1), &stopping, &*handler);
            let spawned = spawned.spawn(run).map_err(|error| {
                Error::io("start thread", std::path::Path::new("worker"), error)
            })?;
            worker.threads.push(spawned);
        }
        Ok(worker)
    }

    /// Stops it: no new job is begun, but those that polls are just bringing; blocks until the
    /// handlers that run have returned and what they said is settled. Called from a handler it
    /// does not wait for that one.
    ///
    /// ```
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// let worker = store.worker("workers").topic("jobs").run(|_job| JobOutcome::Done)?;
    /// worker.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// None now; what could not be settled is tried again by the group's others.
    pub fn stop(mut self) -> Result<()> {
        self.stop_threads();
        Ok(())
    }

    fn stop_threads(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.interrupts.iter().for_each(Interrupter::interrupt);
        for thread in self.threads.drain(..) {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                log::error!("a thread of a worker panicked");
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

fn work(
    mut consumer: ShareConsumer,
    keeping: &Arc<Keeping>,
    (retry, failing): (&RetryPolicy, &Failing),
    stopping: &AtomicBool,
    handler: &(impl Fn(Job) -> JobOutcome + Sync),
) {
    while !stopping.load(Ordering::Acquire) {
        let polled = consumer.poll(PATIENCE).map(Job::of);
        let job = match polled {
            Ok(Some(job)) => job,
            Ok(None) => continue,
            Err(error) if error.is_closed() => return,
            Err(error) => {
                failing.found_none(consumer.group(), &error);
                std::thread::sleep(AGAIN);
                continue;
            }
        };
        let lease = job.lease().clone();
        let noted = job.noted();
        let kept = keeping.keep(&lease, consumer.now());
        let said = catch_unwind(AssertUnwindSafe(|| handler(job)));
        drop(kept);
        let said = said.unwrap_or_else(|payload| {
            noted.note_panic(&*payload);
            std::mem::forget(payload); // its drop may panic again
            log::error!("a handler of `{}` panicked: its job is tried again", consumer.group());
            JobOutcome::Retry
        });
        let settled = match (said.word(retry, &lease), noted.text()) {
            (Word::Ack, _) => consumer.ack(&lease),
            (Word::Reject, None) => consumer.reject(&lease),
            (Word::Reject, Some(error)) => consumer.reject_because(&lease, &error),
            (Word::After(delay), None) => consumer.release_after(&lease, delay),
            (Word::After(delay), Some(error)) => consumer.release_because(&lease, delay, &error),
        };
        match settled {
            Ok(()) => {}
            Err(error) if error.is_closed() => return,
            Err(error) => {
                failing.not_settled(consumer.group(), &error);
                if error.kind() != ErrorKind::InvalidRecordState {
                    let _ = consumer.release(&lease); // else it comes back when its lease ends
                }
            }
        }
    }
}
