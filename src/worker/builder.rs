//! How a worker is made.
//!
//! Setters only note; `run` and `run_async` check everything once. Called by `store`.

use std::time::Duration;

use super::failing::Failing;
use super::job::{Job, JobOutcome};
use super::retry::RetryPolicy;
use super::running::Worker;
use crate::config::Durability;
use crate::engine::Claim;
use crate::error::{Cause, Error, Result};
use crate::record::RecordFilter;
use crate::share_consumer::ShareConsumerBuilder;

/// How long a handler may run where nothing is said.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// Makes a [`Worker`]; begun by [`Store::worker`](crate::Store::worker).
///
/// ```
/// use std::time::Duration;
/// use tidelog::{JobOutcome, RetryPolicy, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("jobs", TopicConfig::new())?;
/// let worker = store
///     .worker("workers")
///     .topic("jobs")
///     .concurrency(2)
///     .retry(RetryPolicy::exponential(Duration::from_secs(1), Duration::from_secs(600)))
///     .max_attempts(10)
///     .run(|_job| JobOutcome::Done)?;
/// worker.stop()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[must_use = "a builder does nothing until `run` is called"]
#[derive(Debug)]
pub struct WorkerBuilder {
    pub(super) engine: Claim,
    pub(super) consumers: ShareConsumerBuilder,
    topics: Vec<String>,
    pub(super) concurrency: usize,
    pub(super) lease: Duration,
    pub(super) longest: Duration,
    pub(super) retry: RetryPolicy,
    pub(super) failing: Failing,
}

impl WorkerBuilder {
    pub(crate) fn new(engine: Claim, consumers: ShareConsumerBuilder) -> Self {
        WorkerBuilder {
            engine,
            consumers: consumers.max_records(1),
            topics: Vec::new(),
            concurrency: 1,
            lease: Duration::from_secs(30),
            longest: LONGEST,
            retry: RetryPolicy::default(),
            failing: Failing::default(),
        }
    }

    /// Works on the records of this topic; say it again for more topics.
    ///
    /// ```
    /// # use tidelog::{JobOutcome, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// let worker = store.worker("g").topic("jobs").topic("mail").run(|_| JobOutcome::Done)?;
    /// worker.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        self.topics.push(name.into());
        self
    }

    /// How many handlers run at once; 1 to 1,000, default 1. With [`run`](WorkerBuilder::run) as
    /// many threads, which are the worker's own.
    ///
    /// ```
    /// # use tidelog::{ErrorKind, JobOutcome};
    /// # let store = tidelog::Store::in_memory()?;
    /// let error = store.worker("g").topic("jobs").concurrency(0).run(|_| JobOutcome::Done);
    /// assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidConfig);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// When a job that failed is tried again; default at once. A policy that says how often
    /// ([`RetryPolicy::rocketmq`]) sets [`max_attempts`](WorkerBuilder::max_attempts) too.
    ///
    /// ```
    /// # use tidelog::{JobOutcome, RetryPolicy};
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").retry(RetryPolicy::rocketmq());
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        if let Some(times) = policy.deliveries() {
            self.consumers = self.consumers.max_deliveries(times);
        }
        self.retry = policy;
        self
    }

    /// How often a job is tried at most; see
    /// [`ShareConsumerBuilder::max_deliveries`](crate::ShareConsumerBuilder::max_deliveries). One
    /// that fails the last time becomes a dead letter, as one that is rejected does.
    ///
    /// ```
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// store.worker("g").topic("jobs").max_attempts(3).run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn max_attempts(mut self, times: u16) -> Self {
        self.consumers = self.consumers.max_deliveries(times);
        self
    }

    /// Where failed jobs go; default `<group>.dlq`. See
    /// [`ShareConsumerBuilder::dead_letter_topic`](crate::ShareConsumerBuilder::dead_letter_topic).
    ///
    /// ```
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").dead_letter_topic("jobs.failed");
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self {
        self.consumers = self.consumers.dead_letter_topic(topic);
        self
    }

    /// Archives failed jobs, and counts them.
    ///
    /// ```
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").without_dead_letters();
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn without_dead_letters(mut self) -> Self {
        self.consumers = self.consumers.without_dead_letters();
        self
    }

    /// Stops at a job that fails the last time or is rejected, until somebody says what becomes of
    /// it, as share consumers do:
    /// [`stop_when_exhausted`](crate::ShareConsumerBuilder::stop_when_exhausted).
    ///
    /// ```
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").ordered_by_key().stop_when_exhausted();
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn stop_when_exhausted(mut self) -> Self {
        self.consumers = self.consumers.stop_when_exhausted();
        self
    }

    /// Works only on what a filter wants; the rest is passed over for the whole group. See
    /// [`ShareConsumerBuilder::filter`](crate::ShareConsumerBuilder::filter).
    ///
    /// ```
    /// # use tidelog::{JobOutcome, RecordFilter};
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").filter(RecordFilter::tags(["mail"]));
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn filter(mut self, filter: RecordFilter) -> Self {
        self.consumers = self.consumers.filter(filter);
        self
    }

    /// How many parts of the work each priority gets while all have something to do, by its number:
    /// 1 to 1000 each. See
    /// [`ConsumerBuilder::priority_weights`](crate::ConsumerBuilder::priority_weights).
    ///
    /// ```
    /// # use tidelog::{JobOutcome, TopicConfig};
    /// # let store = tidelog::Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new().partitions(2).priority_lanes(2))?;
    /// let builder = store.worker("g").topic("jobs").priority_weights([1; 10]); // evenly
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn priority_weights(mut self, weights: [u32; 10]) -> Self {
        self.consumers = self.consumers.priority_weights(weights);
        self
    }

    /// Tells `listener` of every error that the worker meets: a poll that fails (it is tried again
    /// after 200 ms), what a handler said and could not be settled
    /// ([`InvalidRecordState`](crate::ErrorKind::InvalidRecordState) where it took longer than its
    /// lease was kept). All of them are logged too. It is called by the worker's threads, under no
    /// lock, and is not to block.
    ///
    /// ```
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").on_error(|error| eprintln!("{error}"));
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn on_error(mut self, listener: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.failing = Failing::to(listener);
        self
    }

    /// How long a job is safe from others when its worker is gone; it is extended while the
    /// handler runs. See
    /// [`ShareConsumerBuilder::lease`](crate::ShareConsumerBuilder::lease).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").lease(Duration::from_secs(5));
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn lease(mut self, lasts: Duration) -> Self {
        self.lease = lasts;
        self.consumers = self.consumers.lease(lasts);
        self
    }

    /// How long a handler may take; default 12 hours. After that its lease is extended no more:
    /// the job is tried again by another, and what the handler says then counts no longer.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").longest(Duration::from_secs(600));
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn longest(mut self, runs: Duration) -> Self {
        self.longest = runs;
        self
    }

    /// Jobs of one key one after the other, in their order, through their retries.
    ///
    /// ```
    /// # use tidelog::JobOutcome;
    /// # let store = tidelog::Store::in_memory()?;
    /// store.worker("g").topic("jobs").ordered_by_key().run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn ordered_by_key(mut self) -> Self {
        self.consumers = self.consumers.ordered_by_key();
        self
    }

    /// What it means that a job is done; default [`Durability::Power`]. See
    /// [`ShareConsumerBuilder::durability`](crate::ShareConsumerBuilder::durability).
    ///
    /// ```
    /// # use tidelog::{Durability, JobOutcome};
    /// # let store = tidelog::Store::in_memory()?;
    /// let builder = store.worker("g").topic("jobs").durability(Durability::Process);
    /// builder.run(|_| JobOutcome::Done)?.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.consumers = self.consumers.durability(durability);
        self
    }

    /// Starts the threads that call `handler`, and returns at once. A handler that panics has its
    /// job tried again.
    ///
    /// With [`Threads::Host`](crate::Threads::Host) leases are extended only while the host calls
    /// [`run_due`](crate::Store::run_due), or a handler's thread waits for the next job.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for what is out of its range, those of
    /// [`ShareConsumerBuilder::build`](crate::ShareConsumerBuilder::build), and of the operating
    /// system where it has no more threads.
    ///
    /// ```
    /// # use tidelog::{JobOutcome, Record, Store, TopicConfig};
    /// let store = Store::in_memory()?;
    /// store.ensure_topic("jobs", TopicConfig::new())?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let worker = store.worker("workers").topic("jobs").concurrency(4).run(move |job| {
    ///     let _ = tell.send(job.attempt());
    ///     JobOutcome::Done
    /// })?;
    /// store.producer().build()?.topic("jobs")?.send(Record::new("hello"))?;
    /// assert_eq!(told.recv(), Ok(1));
    /// worker.stop()?;
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn run<F>(self, handler: F) -> Result<Worker>
    where
        F: Fn(Job) -> JobOutcome + Send + Sync + 'static,
    {
        Worker::start(self.checked()?, handler)
    }

    pub(super) fn checked(mut self) -> Result<Self> {
        if !(1..=1_000).contains(&self.concurrency) {
            let (key, value) = ("concurrency".to_owned(), self.concurrency.to_string());
            let cause = Cause::InvalidConfig { key, value, allowed: "1 to 1,000".to_owned() };
            return Err(Error::new("run worker", cause));
        }
        self.consumers = self.consumers.subscribe(std::mem::take(&mut self.topics));
        Ok(self)
    }
}
