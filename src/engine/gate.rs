//! Whether the store may be used: the one check in front of every call.
//!
//! A few loads: closed, or this process is a forked child of the one that opened the store. Shared
//! by every partition and handle, so that a call never has to reach the engine to learn that it is
//! too late.

use std::sync::{Arc, OnceLock, Weak};

use super::Engine;
use crate::disk::{Disk, ForkCheck};
use crate::error::{Cause, Error, Result};
use crate::sync::atomic::{AtomicBool, Ordering};

/// The door every call goes through.
#[derive(Debug)]
pub(crate) struct Gate {
    closed: AtomicBool,
    fork: ForkCheck,
    engine: OnceLock<Weak<Engine>>,
}

impl Gate {
    pub(super) fn new(disk: &dyn Disk) -> Self {
        let closed = AtomicBool::new(false);
        Gate { closed, fork: disk.fork_check(), engine: OnceLock::new() }
    }

    /// Fails where it is not open.
    #[inline]
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        if self.is_open() { Ok(()) } else { Err(self.refusal(operation)) }
    }

    /// Not once the store is closed, and never in a forked child.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        !self.fork.is_forked_child() && !self.is_closed()
    }

    #[cold]
    fn refusal(&self, operation: &'static str) -> Error {
        let forked = self.fork.is_forked_child();
        Error::new(operation, if forked { Cause::Forked } else { Cause::Closed("the store") })
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_forked_child(&self) -> bool {
        self.fork.is_forked_child()
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn set_engine(&self, engine: Weak<Engine>) {
        let _ = self.engine.set(engine); // set once, where the engine is made
    }

    /// The engine behind the gate, while it lives.
    pub(super) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }
}
