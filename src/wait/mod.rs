//! The one way to wait, for threads and for tasks of any runtime.
//!
//! - [`Signal`]: embedded in what changes (a partition). Telling nobody costs a fence and a load.
//! - [`WaitSet`]: owned by what waits (a consumer) for any number of signals. It holds a list of
//!   the ready ones, so a wait costs what is ready, never what is registered.
//! - [`Completion`]: a result that is set once and waited for by many (receipts, syncs).
//! - [`errands::Errands`]: what is left to a thread that sleeps, and when it has to be woken.
//! - [`commit::Commit`]: whose turn it is to sync, and who waits for that sync.
//! - [`Numbers`]: for what needs no waiting, a few numbers read all of one change without a lock.
//!
//! Invariants: no wake-up is lost (loom runs these very files, see `loom_tests`); a waker, its
//! clone and its drop are user code and run under no lock; one that panics is swallowed and
//! logged, and the waiters after it are still woken. Nothing here polls or keeps a thread.
//!
//! Callers: `engine` notifies after it published and let its writer lock go, `producer` and
//! `consumer` wait.

pub(crate) mod commit;
mod completion;
pub(crate) mod errands;
mod numbers;
mod queue;
mod set;
mod signal;

#[cfg(all(test, any(loom, shuttle)))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use completion::{Completed, Completion};
pub(crate) use numbers::Numbers;
pub(crate) use set::{Interrupter, Registration, WaitSet, Woken};
pub(crate) use signal::Signal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Calls a user's waker; called under no lock and with all state of ours already consistent, so
/// nothing a panic leaves behind can be seen.
fn wake(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // Dropping a payload may run user code that panics again; leaking it cannot.
        std::mem::forget(payload);
        log::error!("a task's waker panicked; the tasks after it were woken");
    }
}
