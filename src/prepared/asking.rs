//! Asking the program what became of its local work, for transactions that nobody resolves.
//!
//! Who prepares under a name may register a resolver for it. The timer knows when a question is due
//! and rings; the resolver is called on a thread of its own, or by the host, under no lock: one
//! that never returns holds up the questions of its name and nothing else. A transaction is asked
//! about once at a time; what was asked is kept over restarts.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::coordinator::Prepared;
use super::schema::Questions;
use super::state::{Checks, Next, Outcome};
use super::view::PreparedTransaction;
use crate::config::Threads;
use crate::engine::{CloseHook, Due};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Monitor;

/// What a resolver says of a prepared transaction.
///
/// ```
/// use tidelog::Resolution;
/// let local_work_is_done = true;
/// let answer = if local_work_is_done { Resolution::Commit } else { Resolution::RollBack };
/// assert_eq!(answer, Resolution::Commit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resolution {
    /// The local work is done: the records are to be published.
    Commit,
    /// It is not, and never will be: the records are to be dropped.
    RollBack,
    /// It cannot be told yet: ask again later.
    Unknown,
}

pub(crate) type Resolver = dyn Fn(&PreparedTransaction) -> Resolution + Send + Sync;

/// Who is asked, by name.
pub(super) type Askers = BTreeMap<Arc<str>, Arc<Asker>>;

/// Asks one resolver.
pub(crate) struct Asker {
    name: Arc<str>,
    checks: Checks,
    resolver: Box<Resolver>,
    bell: Monitor<Bell>,
}

#[derive(Debug, Default)]
struct Bell {
    rung: bool,
    ended: bool,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Asker {
    fn ring(&self) {
        self.bell.lock().rung = true;
        self.bell.notify_one();
    }

    fn end(&self) {
        self.bell.lock().ended = true;
        self.bell.notify_one();
    }

    fn has_ended(&self) -> bool {
        self.bell.lock().ended
    }

    /// Sleeps until something is due; `false` at the end.
    fn wait(&self) -> bool {
        let mut bell = self.bell.lock();
        while !bell.rung && !bell.ended {
            bell = bell.wait();
        }
        bell.rung = false;
        !bell.ended
    }
}

impl Prepared {
    /// Called once, before the store is handed out.
    pub(super) fn begin_asking(&self) {
        let hook: Weak<dyn CloseHook> = self.this.clone();
        self.engine.on_close(hook);
    }

    /// Has a resolver asked about the transactions of a name from now on, in place of any other.
    pub(crate) fn register(
        &self,
        name: &Arc<str>,
        checks: Checks,
        resolver: Box<Resolver>,
    ) -> Result<Arc<Asker>> {
        let bell = Monitor::default();
        let asker = Arc::new(Asker { name: name.clone(), checks, resolver, bell });
        if self.engine.threads() == Threads::Own {
            let (prepared, own) = (self.this.clone(), asker.clone());
            let run = move || {
                while own.wait() {
                    let Some(prepared) = prepared.upgrade() else { return };
                    prepared.ask_all(&own);
                }
            };
            let spawned =
                std::thread::Builder::new().name("tidelog-resolver".to_owned()).spawn(run);
            let path = std::path::Path::new("tidelog-resolver");
            spawned.map_err(|error| Error::io("start thread", path, error))?;
        }
        if let Some(other) = self.askers.lock().insert(name.clone(), asker.clone()) {
            other.end();
        }
        self.expect_questions(name);
        Ok(asker)
    }

    /// The resolver is asked no more.
    pub(crate) fn unregister(&self, asker: &Arc<Asker>) {
        asker.end();
        let mut askers = self.askers.lock();
        if askers.get(&asker.name).is_some_and(|other| Arc::ptr_eq(other, asker)) {
            askers.remove(&asker.name);
        }
    }

    /// Sets the timer for the next question of a name, if anybody is asked.
    pub(super) fn expect_questions(&self, name: &str) {
        let Some(asker) = self.askers.lock().get(name).cloned() else { return };
        let next = self.state.lock().next_question(name, &asker.checks);
        if let Some(at) = next {
            self.alarm.set(self.engine.timers(), at, self.this.clone());
        }
    }

    /// Asks about everything that is due under a name; returns about how many. What becomes due
    /// meanwhile is left to the next call, or answers that take long would keep this one for ever.
    pub(crate) fn ask_all(&self, asker: &Asker) -> usize {
        let (mut asked, begun) = (0, self.engine.clock().monotonic());
        while !asker.has_ended() && self.engine.check_open("ask").is_ok() {
            let due = self.state.lock().begin_asking(&asker.name, &asker.checks, begun);
            let Some((sequence, pending)) = due else { break };
            asked += 1;
            let told = self
                .load(sequence, pending.offset)
                .and_then(|bytes| PreparedTransaction::new(sequence, &pending, bytes))
                .map(|transaction| ask(asker, &transaction))
                .and_then(|answer| self.heed(asker, sequence, answer));
            if let Err(error) = told {
                log::warn!("prepared transaction {sequence:x} is not resolved yet: {error}");
                self.not_resolved(asker, sequence, &error);
            }
            let now = self.engine.clock().monotonic();
            self.state.lock().put_back(sequence, now);
        }
        self.expect_questions(&asker.name);
        asked
    }

    /// Does what the resolver said.
    fn heed(&self, asker: &Asker, sequence: u64, answer: Resolution) -> Result<()> {
        let outcome = match answer {
            Resolution::Commit => Outcome::Committed,
            Resolution::RollBack => Outcome::RolledBack,
            Resolution::Unknown => return self.told_nothing(asker, sequence),
        };
        match self.resolve(sequence, outcome) {
            // by the program itself, meanwhile: its word is the first
            Err(error) if error.kind() == ErrorKind::AlreadyResolved => Ok(()),
            resolved => resolved,
        }
    }

    /// What was answered cannot be done, or nothing could be asked: that counts as a question, so
    /// that the next one comes later, and where no later one helps, the transaction is parked.
    fn not_resolved(&self, asker: &Asker, sequence: u64, error: &Error) {
        let now = self.engine.clock().monotonic();
        let how = (now, error.is_retriable());
        let counted = self.state.lock().was_not_resolved(sequence, &asker.checks, how);
        let Some((asked, next)) = counted else { return };
        let is_parked = next == Next::Park;
        if is_parked {
            log::error!(
                "prepared transaction {sequence:x} is parked, {asked} times asked: {error}"
            );
        }
        if let Err(error) = self.record_questions(sequence, Questions { asked, is_parked }) {
            log::warn!("how often it was asked about is not kept: {error}");
        }
    }

    fn told_nothing(&self, asker: &Asker, sequence: u64) -> Result<()> {
        let now = self.engine.clock().monotonic();
        let told = self.state.lock().told_nothing(sequence, &asker.checks, now);
        let Some((asked, next)) = told else { return Ok(()) };
        let is_parked = next == Next::Park;
        if is_parked {
            log::warn!("prepared transaction {sequence:x} is parked: {asked} times asked");
        }
        self.record_questions(sequence, Questions { asked, is_parked })?;
        if next == Next::RollBack {
            log::warn!("prepared transaction {sequence:x} is rolled back: {asked} times asked");
            return self.heed(asker, sequence, Resolution::RollBack);
        }
        Ok(())
    }
}

/// A panic tells nothing.
fn ask(asker: &Asker, transaction: &PreparedTransaction) -> Resolution {
    let answer = catch_unwind(AssertUnwindSafe(|| (asker.resolver)(transaction)));
    answer.unwrap_or_else(|payload| {
        // dropping a payload may run the program's code again; leaking it cannot
        std::mem::forget(payload);
        log::error!("the resolver of `{}` panicked", asker.name);
        Resolution::Unknown
    })
}

impl Due for Prepared {
    /// Rings where a question is due; who asks sets the alarm for the next.
    fn run(&self, now: Duration) -> Option<Duration> {
        self.alarm.ring(now, || {
            self.engine.check_open("run timers").ok()?;
            let askers: Vec<_> = self.askers.lock().values().cloned().collect();
            let mut next = None;
            for asker in askers {
                match self.state.lock().next_question(&asker.name, &asker.checks) {
                    Some(at) if at <= now => asker.ring(),
                    Some(at) => next = Some(next.map_or(at, |next: Duration| next.min(at))),
                    None => {}
                }
            }
            next
        })
    }
}

impl CloseHook for Prepared {
    fn before_close(&self) -> Result<()> {
        let askers = std::mem::take(&mut *self.askers.lock());
        askers.values().for_each(|asker| asker.end());
        Ok(())
    }
}
