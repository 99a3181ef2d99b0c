//! Workers: a handler run over the records of a share group, a few at a time.
//!
//! `builder` says how, `job` is what a handler is given and what it answers, `running` the threads
//! that call it and their end, `tasks` the same for async handlers, `keeping` extends leases while
//! handlers run, `retry` says when a job that failed is tried again, `failing` who is told of
//! what else fails.
//!
//! Invariants: a record is settled once, by what its handler said; a panic is a retry; a worker
//! that is stopped waits for the handlers that run and takes nothing new.
//!
//! Callers: `store` makes builders.

mod builder;
mod failing;
mod job;
mod keeping;
mod retry;
mod running;
mod tasks;

pub use builder::WorkerBuilder;
pub use job::{Job, JobOutcome};
pub use retry::RetryPolicy;
pub use running::Worker;
