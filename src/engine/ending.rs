//! Where a store is between open and closed, and the one close that there is.
//!
//! Whoever closes first does the work, with the directory's lock in hand. Whoever closes meanwhile
//! waits until the lock is free and is told the same; whoever closes later is told `Ok`. A close
//! that comes out of the closing itself (from the thread that closes, or from one of the store's
//! own, which the closing waits for) cannot wait for it and returns at once.

use std::thread::ThreadId;

use crate::disk::DirLock;
use crate::error::{Cause, Error, Result};
use crate::sync::Monitor;

/// The end of one open store.
#[derive(Debug)]
pub(super) struct Ending {
    stage: Monitor<Stage>,
}

#[derive(Debug)]
enum Stage {
    Open(Box<dyn DirLock>),
    Closing(ThreadId),
    /// What the close came to, for those who waited for it.
    Closed(Option<Error>),
}

impl Ending {
    pub(super) fn new(lock: Box<dyn DirLock>) -> Self {
        Ending { stage: Monitor::new(Stage::Open(lock)) }
    }

    /// Has `close` run if nobody closes yet, else waits for who does, unless the call is the
    /// closing's `own`.
    pub(super) fn close(
        &self,
        own: bool,
        close: impl FnOnce(Box<dyn DirLock>) -> Result<()>,
    ) -> Result<()> {
        let mut stage = self.stage.lock();
        match &*stage {
            Stage::Closed(_) => return Ok(()),
            Stage::Closing(by) if own || *by == std::thread::current().id() => return Ok(()),
            Stage::Closing(_) => {
                while !matches!(*stage, Stage::Closed(_)) {
                    stage = stage.wait();
                }
                let Stage::Closed(Some(error)) = &*stage else { return Ok(()) };
                return Err(error.again());
            }
            Stage::Open(_) => {}
        }
        let closing = Stage::Closing(std::thread::current().id());
        let Stage::Open(lock) = std::mem::replace(&mut *stage, closing) else { return Ok(()) };
        drop(stage);
        let mut end = End { ending: self, verdict: None };
        let closed = close(lock);
        end.verdict = Some(closed.as_ref().err().map(Error::again));
        closed
    }
}

/// Tells those who wait, also when the close panics.
struct End<'a> {
    ending: &'a Ending,
    verdict: Option<Option<Error>>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let panicked = || Some(Error::new("close store", Cause::Panicked("the close")));
        *self.ending.stage.lock() = Stage::Closed(self.verdict.take().unwrap_or_else(panicked));
        self.ending.stage.notify_all();
    }
}
