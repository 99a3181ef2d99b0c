//! What a worker meets beside its handlers: jobs that cannot be taken, answers that do not count.
//!
//! All of it is logged, and told to the program's own function if it has one; the worker goes on.
//! Invariant: no lock is held, and a panic of that function is caught and logged: it ends nothing.
//! Called by `running` and `tasks`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

type Listener = dyn Fn(&Error) + Send + Sync;

/// Who is told.
#[derive(Clone, Default)]
pub(super) struct Failing(Option<Arc<Listener>>);

impl Failing {
    pub(super) fn to(listener: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        Failing(Some(Arc::new(listener)))
    }

    /// No job could be taken; it is tried again after a moment.
    pub(super) fn found_none(&self, group: &str, error: &Error) {
        log::warn!("a worker of `{group}` found no job: {error}");
        self.tell(error);
    }

    /// What a handler said did not take effect.
    pub(super) fn not_settled(&self, group: &str, error: &Error) {
        let late = error.kind() == ErrorKind::InvalidRecordState;
        let why = if late { "took too long" } else { "is not settled" };
        log::warn!("a job of `{group}` {why}: {error}");
        self.tell(error);
    }

    fn tell(&self, error: &Error) {
        let Some(listener) = &self.0 else { return };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| listener(error))) {
            std::mem::forget(payload); // its drop may panic again
            log::error!("who is told of a worker's errors panicked");
        }
    }
}

impl fmt::Debug for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failing").field("is_told", &self.0.is_some()).finish()
    }
}
