//! Async handlers: as many side by side as is asked for, in one task of any runtime.
//!
//! One future polls for jobs, drives the handlers' futures and settles what they say. Each wake-up
//! looks at all of them, which suits the tens that a worker runs at once. A job that cannot be
//! taken is logged, and tried again after a moment by the store's timer; whatever ends the worker,
//! the handlers that run come to their end first.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use super::builder::WorkerBuilder;
use super::failing::Failing;
use super::job::{Job, JobOutcome, Noted, Word};
use super::keeping::{Keeping, Kept};
use super::retry::RetryPolicy;
use super::running::AGAIN;
use crate::engine::{Claim, Due};
use crate::error::Result;
use crate::share_consumer::{Lease, ShareConsumer};
use crate::wait::{Completed, Completion};

/// A handler's future, or the settling of what it said.
struct Running<Fut> {
    lease: Lease,
    noted: Noted,
    state: State<Fut>,
    _kept: Kept,
}

enum State<Fut> {
    Handler(Pin<Box<Fut>>),
    Settling(Pin<Box<dyn Future<Output = Result<()>> + Send>>),
}

impl WorkerBuilder {
    /// [`run`](WorkerBuilder::run) with an async handler, as a future of no particular runtime:
    /// up to [`concurrency`](WorkerBuilder::concurrency) handlers side by side, all driven by the
    /// task that awaits this. When `until` is over it begins nothing new, waits for the handlers
    /// that run, and returns. Dropped before, it gives up what runs: those jobs are tried again.
    ///
    /// # Errors
    /// Those of [`run`](WorkerBuilder::run); [`Closed`](crate::ErrorKind::Closed) once the store
    /// is, and the handlers that run are done. What fails otherwise is logged, and tried again
    /// after a moment.
    ///
    /// ```
    /// # use tidelog::{JobOutcome, Record, Store, TopicConfig};
    /// # let store = Store::in_memory()?;
    /// # store.ensure_topic("jobs", TopicConfig::new())?;
    /// let worker = store.worker("workers").topic("jobs").concurrency(8);
    /// let handler = |job: tidelog::Job| async move {
    ///     println!("{:?}", job.record().value());
    ///     JobOutcome::Done
    /// };
    /// let stop = async {}; // the end of the program, say
    /// pollster::block_on(worker.run_async(handler, stop))?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub async fn run_async<F, Fut>(
        self,
        mut handler: F,
        until: impl Future<Output = ()>,
    ) -> Result<()>
    where
        F: FnMut(Job) -> Fut,
        Fut: Future<Output = JobOutcome>,
    {
        let builder = self.checked()?;
        let keeping = Keeping::begin(&builder.engine, builder.lease, builder.longest);
        let mut consumer = builder.consumers.build()?;
        let mut running: Vec<Running<Fut>> = Vec::new();
        let mut until = pin!(until);
        let mut pause: Option<Pause> = None;
        let mut end: Option<Result<()>> = None;
        poll_fn(|cx| {
            if end.is_none() && until.as_mut().poll(cx).is_ready() {
                end = Some(Ok(()));
                consumer.stop_polling();
            }
            loop {
                drive(&mut running, &consumer, (&builder.retry, &builder.failing), cx);
                if end.is_some() && running.is_empty() {
                    return Poll::Ready(end.take().unwrap_or(Ok(())));
                }
                let is_resting = pause.as_mut().is_some_and(|pause| pause.is_on(cx));
                if end.is_some() || is_resting || running.len() >= builder.concurrency {
                    return Poll::Pending;
                }
                pause = None;
                let Poll::Ready(leased) = consumer.poll_leased(cx) else { return Poll::Pending };
                match leased.map(Job::of) {
                    Ok(Some(job)) => {
                        let kept = keeping.keep(job.lease(), consumer.now());
                        running.push(begin(job, kept, &mut handler, &consumer, &builder.retry));
                    }
                    Ok(None) => {}
                    Err(error) if error.is_closed() => end = Some(Err(error)),
                    Err(error) => {
                        builder.failing.found_none(consumer.group(), &error);
                        pause = Some(Pause::begin(&builder.engine));
                    }
                }
            }
        })
        .await
    }
}

/// A moment after a failure, by the store's timer.
struct Pause {
    over: Completed<()>,
    _ends: Arc<EndsPause>,
}

struct EndsPause(Arc<Completion<()>>);

impl Due for EndsPause {
    fn run(&self, _now: Duration) -> Option<Duration> {
        self.0.complete(());
        None
    }
}

impl Pause {
    fn begin(engine: &Claim) -> Pause {
        let completion = Arc::new(Completion::new());
        let ends = Arc::new(EndsPause(completion.clone()));
        let due: Weak<dyn Due> = Arc::downgrade(&ends) as _;
        engine.timers().schedule(engine.clock().monotonic() + AGAIN, due);
        Pause { over: Completed::of(&completion), _ends: ends }
    }

    fn is_on(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.over).poll(cx).is_pending()
    }
}

/// Calls the handler; where it panics before it has made a future, the job is tried again.
fn begin<Fut>(
    job: Job,
    kept: Kept,
    handler: &mut impl FnMut(Job) -> Fut,
    consumer: &ShareConsumer,
    retry: &RetryPolicy,
) -> Running<Fut> {
    let (lease, noted) = (job.lease().clone(), job.noted());
    let state = match catch_unwind(AssertUnwindSafe(|| handler(job))) {
        Ok(future) => State::Handler(Box::pin(future)),
        Err(payload) => panicked(payload, (&lease, &noted), consumer, retry),
    };
    Running { lease, noted, state, _kept: kept }
}

fn panicked<Fut>(
    payload: Box<dyn Any + Send>,
    (lease, noted): (&Lease, &Noted),
    consumer: &ShareConsumer,
    retry: &RetryPolicy,
) -> State<Fut> {
    noted.note_panic(&*payload);
    std::mem::forget(payload); // its drop may panic again
    log::error!("a handler of `{}` panicked: its job is tried again", consumer.group());
    settling(JobOutcome::Retry, (lease, noted), consumer, retry)
}

/// Begins to settle what a handler said.
fn settling<Fut>(
    said: JobOutcome,
    (lease, noted): (&Lease, &Noted),
    consumer: &ShareConsumer,
    retry: &RetryPolicy,
) -> State<Fut> {
    let word = said.word(retry, lease);
    let lease = lease.clone();
    State::Settling(match (word, noted.text()) {
        (Word::Ack, _) => Box::pin(consumer.ack_async(lease)),
        (Word::Reject, None) => Box::pin(consumer.reject_async(lease)),
        (Word::Reject, Some(error)) => Box::pin(consumer.reject_because_async(lease, &error)),
        (Word::After(delay), None) => Box::pin(consumer.release_after_async(lease, delay)),
        (Word::After(delay), Some(error)) => {
            Box::pin(consumer.release_because_async(lease, delay, &error))
        }
    })
}

/// Polls everything that runs once; what is settled goes.
fn drive<Fut: Future<Output = JobOutcome>>(
    running: &mut Vec<Running<Fut>>,
    consumer: &ShareConsumer,
    (retry, failing): (&RetryPolicy, &Failing),
    cx: &mut Context<'_>,
) {
    running.retain_mut(|one| {
        loop {
            match &mut one.state {
                State::Handler(handler) => {
                    let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)));
                    one.state = match polled {
                        Ok(Poll::Pending) => return true,
                        Ok(Poll::Ready(said)) => {
                            settling(said, (&one.lease, &one.noted), consumer, retry)
                        }
                        Err(payload) => {
                            panicked(payload, (&one.lease, &one.noted), consumer, retry)
                        }
                    };
                }
                State::Settling(under_way) => {
                    let Poll::Ready(settled) = under_way.as_mut().poll(cx) else { return true };
                    if let Err(error) = settled
                        && !error.is_closed()
                    {
                        failing.not_settled(consumer.group(), &error);
                    }
                    return false;
                }
            }
        }
    });
}
