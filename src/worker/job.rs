//! What a handler is given, and what it answers.
//!
//! A job owns its record and its lease. Made by `running` and `tasks`, one for each poll.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::retry::RetryPolicy;
use crate::dead_letters::bounded;
use crate::share_consumer::{Lease, LeasedRecord, LeasedRecords};
use crate::sync::Mutex;

/// What becomes of a job.
///
/// ```
/// use tidelog::JobOutcome;
/// let answer = |ok: bool| if ok { JobOutcome::Done } else { JobOutcome::Retry };
/// assert_eq!(answer(true), JobOutcome::Done);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobOutcome {
    /// It is done: the record is acknowledged.
    Done,
    /// Again, when the group's [`RetryPolicy`](crate::RetryPolicy) says.
    Retry,
    /// Again, so long from now at the earliest; up to ten years.
    RetryAfter(Duration),
    /// Never again: it becomes a dead letter.
    Reject,
}

/// The same with its delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Ack,
    After(Duration),
    Reject,
}

impl JobOutcome {
    pub(super) fn word(self, retry: &RetryPolicy, lease: &Lease) -> Word {
        match self {
            JobOutcome::Done => Word::Ack,
            JobOutcome::Reject => Word::Reject,
            JobOutcome::RetryAfter(delay) => Word::After(delay),
            JobOutcome::Retry => {
                let count = lease.delivery_count();
                // another for each record and delivery, that is all jitter asks for
                let draw = RandomState::new().hash_one((lease.offset(), count));
                Word::After(retry.delay(count, draw))
            }
        }
    }
}

/// One record to be worked on.
///
/// ```
/// # use std::time::Duration;
/// # use tidelog::{JobOutcome, Record, Store, TopicConfig};
/// # let store = Store::in_memory()?;
/// # store.ensure_topic("jobs", TopicConfig::new())?;
/// # store.producer().build()?.topic("jobs")?.send(Record::new("resize 17.png"))?;
/// let (done, seen) = std::sync::mpsc::channel();
/// let worker = store.worker("workers").topic("jobs").run(move |job| {
///     let _ = done.send(job.record().value().map(<[u8]>::to_vec));
///     JobOutcome::Done
/// })?;
/// assert_eq!(seen.recv().unwrap().as_deref(), Some(&b"resize 17.png"[..]));
/// worker.stop()?;
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug)]
pub struct Job {
    leased: LeasedRecords,
    lease: Lease,
    noted: Noted,
}

/// What its handler says went wrong; outlives the job.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted(Arc<Mutex<Option<Arc<str>>>>);

impl Noted {
    fn note(&self, text: &str) {
        *self.0.lock() = Some(bounded(text));
    }

    /// What a panic says of itself.
    pub(super) fn note_panic(&self, payload: &(dyn Any + Send)) {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        self.note(&format!("the handler panicked: {}", text.unwrap_or("without a text")));
    }

    pub(super) fn text(&self) -> Option<Arc<str>> {
        self.0.lock().clone()
    }
}

impl Job {
    /// One job for each record of a poll of one record; `None` for an empty one.
    pub(super) fn of(leased: LeasedRecords) -> Option<Job> {
        let lease = leased.iter().next()?.lease();
        Some(Job { leased, lease, noted: Noted::default() })
    }

    /// The record: its key, value, headers, and where it lies.
    ///
    /// ```
    /// # use tidelog::{Job, JobOutcome};
    /// fn handle(job: &Job) -> JobOutcome {
    ///     match job.record().value() {
    ///         Some(_) => JobOutcome::Done,
    ///         None => JobOutcome::Reject,
    ///     }
    /// }
    /// ```
    pub fn record(&self) -> LeasedRecord<'_> {
        // one that was made has one
        self.leased.iter().next().expect("a job has a record")
    }

    /// How often it has been tried, this time too; counted over restarts.
    ///
    /// ```
    /// # use tidelog::{Job, JobOutcome};
    /// fn handle(job: &Job) -> JobOutcome {
    ///     if job.attempt() < 3 { JobOutcome::Retry } else { JobOutcome::Reject }
    /// }
    /// ```
    pub fn attempt(&self) -> u32 {
        self.lease.delivery_count()
    }

    /// Notes what went wrong. If this was the job's last attempt, or the handler rejects it, its
    /// dead letter says so in the header `dlq.error`: the last note, its first 1,024 bytes. A
    /// handler that panics has its panic's text noted.
    ///
    /// ```
    /// # use tidelog::{Job, JobOutcome};
    /// fn handle(job: &Job) -> JobOutcome {
    ///     match std::str::from_utf8(job.record().value().unwrap_or_default()) {
    ///         Ok(_text) => JobOutcome::Done,
    ///         Err(error) => {
    ///             job.note_error(error);
    ///             JobOutcome::Reject
    ///         }
    ///     }
    /// }
    /// ```
    pub fn note_error(&self, error: impl std::fmt::Display) {
        self.noted.note(&error.to_string());
    }

    pub(super) fn noted(&self) -> Noted {
        self.noted.clone()
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }
}
