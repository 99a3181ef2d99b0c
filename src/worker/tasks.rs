//! Async handlers: as many side by side as is asked for, in one task of any runtime.
//!
//! One future polls for jobs, drives the handlers' futures and settles what they say. Each wake-up
//! looks at all of them, which suits the tens that a worker runs at once.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::builder::WorkerBuilder;
use super::job::{Job, JobOutcome, Word};
use super::keeping::{Keeping, Kept};
use super::retry::RetryPolicy;
use crate::error::{ErrorKind, Result};
use crate::share_consumer::{Lease, ShareConsumer};

/// A handler's future, or the settling of what it said.
struct Running<Fut> {
    lease: Lease,
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
    /// is.
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
        let mut is_over = false;
        poll_fn(|cx| {
            if !is_over && until.as_mut().poll(cx).is_ready() {
                is_over = true;
                consumer.stop_polling();
            }
            loop {
                drive(&mut running, &consumer, &builder.retry, cx);
                if is_over {
                    return if running.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
                if running.len() >= builder.concurrency {
                    return Poll::Pending;
                }
                let Poll::Ready(leased) = consumer.poll_leased(cx) else { return Poll::Pending };
                let job = match leased.map(Job::of) {
                    Ok(Some(job)) => job,
                    Ok(None) => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                let lease = job.lease().clone();
                let _kept = keeping.keep(&lease, consumer.now());
                let state = State::Handler(Box::pin(handler(job)));
                running.push(Running { lease, state, _kept });
            }
        })
        .await
    }
}

/// Polls everything that runs once; what is settled goes.
fn drive<Fut: Future<Output = JobOutcome>>(
    running: &mut Vec<Running<Fut>>,
    consumer: &ShareConsumer,
    retry: &RetryPolicy,
    cx: &mut Context<'_>,
) {
    running.retain_mut(|one| {
        loop {
            match &mut one.state {
                State::Handler(handler) => {
                    let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)));
                    let said = match polled {
                        Ok(Poll::Pending) => return true,
                        Ok(Poll::Ready(said)) => said,
                        Err(payload) => {
                            std::mem::forget(payload); // its drop may panic again
                            log::error!("a handler of `{}` panicked", consumer.group());
                            JobOutcome::Retry
                        }
                    };
                    let lease = one.lease.clone();
                    one.state = State::Settling(match said.word(retry, &lease) {
                        Word::After(delay) => Box::pin(consumer.release_after_async(lease, delay)),
                        Word::Ack => Box::pin(consumer.ack_async(lease)),
                        Word::Reject => Box::pin(consumer.reject_async(lease)),
                    });
                }
                State::Settling(settling) => {
                    let Poll::Ready(settled) = settling.as_mut().poll(cx) else { return true };
                    if let Err(error) = settled
                        && !error.is_closed()
                    {
                        let late = error.kind() == ErrorKind::InvalidRecordState;
                        let why = if late { "took too long" } else { "is not settled" };
                        log::warn!("a job of `{}` {why}: {error}", consumer.group());
                    }
                    return false;
                }
            }
        }
    });
}
