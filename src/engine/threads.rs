//! The store's threads, and how they sleep: the timer, maintenance, and the one that readies
//! windows of mapped files ahead of their writers.
//!
//! A thread sleeps until its next deadline or until it is woken, and costs nothing meanwhile. It
//! holds the engine only while it works: once the last handle is gone it ends. On a clock that is
//! moved by hand it sleeps until the clock moves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use super::Engine;
use crate::disk::Windows;
use crate::error::{Error, Result};
use crate::sync::{Monitor, Mutex};
use crate::time::deadline_after;

/// Wakes one thread; a wake-up before it sleeps is not lost.
#[derive(Debug, Default)]
pub(crate) struct Wakeup {
    woken: Monitor<bool>,
}

impl Wakeup {
    pub(crate) fn wake(&self) {
        *self.woken.lock() = true;
        self.woken.notify_one();
    }

    /// Sleeps until woken, or for at most `longest`.
    fn sleep(&self, longest: Option<Duration>) {
        let mut woken = self.woken.lock();
        let deadline = longest.map(deadline_after);
        while !*woken {
            match deadline {
                Some(deadline) => {
                    let timed_out;
                    (woken, timed_out) = woken.wait_until(deadline);
                    if timed_out {
                        break;
                    }
                }
                None => woken = woken.wait(),
            }
        }
        *woken = false;
    }
}

/// The threads that run; joined at close.
#[derive(Debug, Default)]
pub(super) struct Running {
    handles: Mutex<Vec<JoinHandle<()>>>,
    threads: Mutex<Vec<ThreadId>>,
}

impl Running {
    /// Starts a thread that calls `work` until the engine is closed or gone. `work` returns when
    /// it is due next.
    pub(super) fn start(
        &self,
        name: &str,
        engine: Weak<Engine>,
        wakeup: Arc<Wakeup>,
        work: fn(&Engine) -> Option<Duration>,
    ) -> Result<()> {
        let run = move || loop {
            let longest = {
                let Some(engine) = engine.upgrade() else { return };
                if engine.gate().is_closed() {
                    return;
                }
                let worked = catch_unwind(AssertUnwindSafe(|| work(&engine)));
                let next = worked.unwrap_or_else(|_| {
                    log::error!("work in the background panicked; the rest of it goes on");
                    wakeup.wake(); // not to sleep over what else is due
                    None
                });
                let now = engine.clock().monotonic();
                let by_hand = engine.clock_is_manual();
                next.filter(|_| !by_hand).map(|next| next.saturating_sub(now))
            };
            wakeup.sleep(longest);
        };
        self.spawn(name, run)
    }

    /// Starts the thread that readies windows and pages, until the engine is closed or gone.
    pub(super) fn start_ahead(
        &self,
        engine: Weak<Engine>,
        windows: Arc<dyn Windows>,
    ) -> Result<()> {
        let goes_on = move || engine.upgrade().is_some_and(|engine| !engine.gate().is_closed());
        self.spawn("ahead", move || windows.ready(&goes_on))
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let handle = std::thread::Builder::new()
            .name(format!("tidelog-{name}"))
            .spawn(run)
            .map_err(|error| Error::io("start thread", std::path::Path::new(name), error))?;
        self.threads.lock().push(handle.thread().id());
        self.handles.lock().push(handle);
        Ok(())
    }

    /// Whether the call comes from one of them.
    pub(super) fn is_own_thread(&self) -> bool {
        self.threads.lock().contains(&std::thread::current().id())
    }

    /// Waits for the threads to end, but never for the one that calls.
    pub(super) fn join(&self) {
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            if handle.thread().id() != std::thread::current().id() && handle.join().is_err() {
                log::error!("a thread of the store panicked");
            }
        }
    }
}
