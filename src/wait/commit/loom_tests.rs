//! Group commit under loom: every interleaving within the bound of callers that lead, follow, ride,
//! close and fail, over the very [`Commit`] that ships. A caller left waiting is a deadlock.
//!
//! What stands in: the log. Its end, its names and its latch are atomics here, written and read in
//! the order of `append` and `durable`; its disk is a number, how far a sync has come. (A roll sets
//! its flag by a swap: loom lets a plain store be lost beside one, which no memory model does.)
//! Each model of a promise has a twin with a mistake planted, which must be found.
//!
//! Run with `.ci/loom`, and with more threads under shuttle with `.ci/shuttle`.

use std::pin::pin;
use std::sync::Arc as PlainArc;
use std::task::{Context, Poll, Waker};

use super::{Commit, Ending, Joined, Ride, Turn};
use crate::error::{Cause, Error, Outcome};
use crate::ids::Offset;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::explore::{MANY_THREADS, breaks, thread};

/// A mistake that is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// A sync is said to cover what is published while it is under way.
    CoverTooMuch,
    /// How far a sync goes is read before those it serves are counted.
    EndReadEarly,
    /// What becomes durable is read after the sync.
    EndReadLate,
    /// A leader whose sync failed tells those who shared it that it went well.
    FailureKept,
    /// A roll says that a name is new only after it has published records under it.
    NameToldLate,
    /// A close leaves those who wait.
    ClosedSilently,
    /// Nobody comes for tasks.
    TimerDeaf,
}

struct Log {
    commit: Commit<Offset>,
    mistake: Mistake,
    end: AtomicUsize,
    durable: AtomicUsize,
    /// How far the disk has what was appended, and whether it has the last file's name.
    disk: AtomicUsize,
    named_on_disk: AtomicBool,
    names_changed: AtomicBool,
    /// The offset from which records lie in a file with a new name; `usize::MAX` before a roll.
    rolled_at: AtomicUsize,
    /// The device fails every sync.
    fails: bool,
    latched: AtomicBool,
    syncs: AtomicUsize,
    timer_calls: Arc<AtomicUsize>,
    closed: AtomicBool,
}

fn offset(number: usize) -> Offset {
    Offset::new(i64::try_from(number).expect("small"))
}

impl Log {
    fn new(mistake: Mistake, fails: bool) -> Arc<Log> {
        let timer_calls = Arc::new(AtomicUsize::new(0));
        let calls = timer_calls.clone();
        Arc::new(Log {
            commit: Commit::new(Box::new(move || {
                calls.fetch_add(1, Ordering::AcqRel);
            })),
            mistake,
            end: AtomicUsize::new(0),
            durable: AtomicUsize::new(0),
            disk: AtomicUsize::new(0),
            named_on_disk: AtomicBool::new(true),
            names_changed: AtomicBool::new(false),
            rolled_at: AtomicUsize::new(usize::MAX),
            fails,
            latched: AtomicBool::new(false),
            syncs: AtomicUsize::new(0),
            timer_calls,
            closed: AtomicBool::new(false),
        })
    }

    /// One record; as under the writer lock.
    fn append(&self) -> usize {
        self.end.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// A roll and a record in the new file; by one thread, as under the writer lock.
    fn roll_and_append(&self) -> usize {
        let base = self.end.load(Ordering::Acquire);
        self.named_on_disk.store(false, Ordering::Relaxed);
        if self.mistake != Mistake::NameToldLate {
            self.names_changed.swap(true, Ordering::AcqRel);
        }
        self.rolled_at.store(base, Ordering::Release);
        self.end.store(base + 1, Ordering::Release);
        if self.mistake == Mistake::NameToldLate {
            self.names_changed.swap(true, Ordering::AcqRel);
        }
        base + 1
    }

    fn durable(&self) -> Offset {
        offset(self.durable.load(Ordering::Acquire))
    }

    /// `PartitionLog::make_durable`.
    fn make_durable(&self, target: usize) -> Ending {
        match self.commit.join(offset(target), || self.durable()) {
            Joined::Covered => Ok(()),
            Joined::Served(ending) => ending,
            Joined::Lead(turn) => self.lead(turn),
        }
    }

    fn ride(&self, target: usize) -> Option<Ride> {
        self.commit.ride(offset(target), || self.durable())
    }

    /// `PartitionLog::lead`.
    fn lead(&self, mut turn: Turn<'_, Offset>) -> Ending {
        let ending = self.cover(&mut turn);
        let told = if self.mistake == Mistake::FailureKept { Ok(()) } else { ending.clone() };
        turn.end_and_release(&told);
        ending
    }

    /// `PartitionLog::cover`.
    fn cover(&self, turn: &mut Turn<'_, Offset>) -> Ending {
        let read = || self.end.load(Ordering::Acquire);
        let mut end = read();
        turn.begin(|| {
            if self.mistake != Mistake::EndReadEarly {
                end = read();
            }
            offset(if self.mistake == Mistake::CoverTooMuch { 9 } else { end })
        });
        self.sync(end)?;
        let late = self.mistake == Mistake::EndReadLate;
        let durable = if late { self.end.load(Ordering::Acquire) } else { end };
        self.durable.store(durable, Ordering::Release);
        Ok(())
    }

    /// `PartitionLog::cover_by_segments`: the latch, the files, then their names.
    fn sync(&self, end: usize) -> Ending {
        let failed = || {
            let error = Error::new("sync", Cause::Panicked("the disk"));
            Err(PlainArc::new(error.with_outcome(Outcome::WrittenNotDurable)))
        };
        if self.latched.load(Ordering::Acquire) {
            return failed();
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        if self.fails {
            self.latched.store(true, Ordering::Release);
            return failed();
        }
        self.disk.store(end, Ordering::Release); // at least that much
        if self.names_changed.swap(false, Ordering::AcqRel) {
            self.named_on_disk.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// `PartitionLog::close`, its appends stopped before.
    fn close(&self) {
        let mut turn = self.commit.take();
        let ending = self.cover(&mut turn);
        turn.end(&ending);
        drop(turn);
        self.closed.store(true, Ordering::Release);
        if self.mistake != Mistake::ClosedSilently {
            let error = PlainArc::new(Error::new("sync", Cause::Closed("the log")));
            self.commit.take().close(&error);
        }
    }

    /// What the timer thread does once it was called.
    fn run_timer(&self) {
        if self.timer_calls.load(Ordering::Acquire) > 0
            && self.mistake != Mistake::TimerDeaf
            && !self.closed.load(Ordering::Acquire)
            && let Some(turn) = self.commit.lead_for_tasks()
        {
            let _ = self.lead(turn);
        }
    }

    /// Whether the disk holds everything below `target`, under names that it holds too.
    fn holds(&self, target: usize) -> bool {
        let named = self.rolled_at.load(Ordering::Acquire) >= target
            || self.named_on_disk.load(Ordering::Acquire);
        self.disk.load(Ordering::Acquire) >= target && named
    }
}

/// How a ride has ended, if it has.
fn ended(ride: Ride) -> Option<Ending> {
    let mut served = pin!(ride);
    match served.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ending) => Some(ending),
        Poll::Pending => None,
    }
}

/// Appends and makes it durable; whether an `Ok` was given for what the disk does not hold.
fn write(log: &Log) -> bool {
    let end = log.append();
    log.make_durable(end).is_ok() && !log.holds(end)
}

fn two_writers(mistake: Mistake, fails: bool) -> bool {
    breaks(2, move || {
        let log = Log::new(mistake, fails);
        let other = {
            let log = log.clone();
            thread::spawn(move || write(&log))
        };
        let broken = write(&log) | write(&log);
        let broken = broken | other.join().unwrap();
        assert!(!fails || log.syncs.load(Ordering::Relaxed) == 1, "no sync is tried again");
        broken || log.durable.load(Ordering::Acquire) > log.disk.load(Ordering::Acquire)
    })
}

#[test]
fn two_writers_share_syncs() {
    assert!(!two_writers(Mistake::None, false));
    assert!(two_writers(Mistake::CoverTooMuch, false));
    assert!(two_writers(Mistake::EndReadEarly, false));
    assert!(two_writers(Mistake::EndReadLate, false));
}

fn many_writers(threads: usize, mistake: Mistake, fails: bool) -> bool {
    breaks(2, move || {
        let log = Log::new(mistake, fails);
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let log = log.clone();
                thread::spawn(move || write(&log))
            })
            .collect();
        let broken = write(&log);
        others.into_iter().fold(broken, |broken, other| broken | other.join().unwrap())
    })
}

#[test]
fn three_writers_share_syncs() {
    assert!(!many_writers(3, Mistake::None, false));
}

#[test]
fn many_writers_share_syncs() {
    if MANY_THREADS {
        assert!((4..9).all(|threads| !many_writers(threads, Mistake::None, false)));
        assert!(!many_writers(6, Mistake::None, true));
        assert!(many_writers(6, Mistake::EndReadEarly, false));
        assert!(many_writers(6, Mistake::FailureKept, true));
    }
}

/// Writers, one of them across a roll, tasks and the timer, and a close in the midst of them.
fn a_crowd(mistake: Mistake, fails: bool) -> bool {
    breaks(2, move || {
        let log = Log::new(mistake, fails);
        let (base, first) = (log.append(), log.roll_and_append());
        let writers = [base, first].map(|end| {
            let log = log.clone();
            thread::spawn(move || log.make_durable(end).is_ok() && !log.holds(end))
        });
        let tasks = [base, first].map(|end| {
            let log = log.clone();
            thread::spawn(move || (end, log.ride(end)))
        });
        let timer = {
            let log = log.clone();
            thread::spawn(move || log.run_timer())
        };
        log.close();
        timer.join().unwrap();
        let broken = writers.into_iter().fold(false, |broken, one| broken | one.join().unwrap());
        tasks.into_iter().fold(broken, |broken, task| match task.join().unwrap() {
            (_, None) => broken,
            (end, Some(ride)) => match ended(ride) {
                Some(ending) => broken | (ending.is_ok() && !log.holds(end)),
                None => true, // it waits for ever
            },
        })
    })
}

#[test]
fn a_crowd_is_served_or_refused_by_a_close() {
    if MANY_THREADS {
        assert!(!a_crowd(Mistake::None, false));
        assert!(!a_crowd(Mistake::None, true));
        assert!(a_crowd(Mistake::ClosedSilently, true));
        assert!(a_crowd(Mistake::FailureKept, true));
    }
}

#[test]
fn a_failing_leader_fails_all_that_shared_its_sync() {
    assert!(!two_writers(Mistake::None, true));
    assert!(two_writers(Mistake::FailureKept, true));
}

/// `make_all_durable`; whether an `Ok` was given for what a disk does not hold.
fn write_to_both(logs: [&Log; 2]) -> bool {
    let ends = logs.map(|log| (log, log.append()));
    let begun = ends.map(|(log, end)| log.commit.lead_if_free(offset(end), || log.durable()));
    let mut broken = false;
    let mut later = Vec::new();
    for ((log, end), turn) in ends.into_iter().zip(begun) {
        match turn {
            Some(turn) => broken |= log.lead(turn).is_ok() && !log.holds(end),
            None => later.push((log, end)),
        }
    }
    later.into_iter().fold(broken, |broken, (log, end)| {
        broken | (log.make_durable(end).is_ok() && !log.holds(end))
    })
}

fn two_who_sync_two_logs(mistake: Mistake, fails: bool) -> bool {
    breaks(2, move || {
        let (one, two) = (Log::new(mistake, fails), Log::new(mistake, false));
        let other = {
            let (one, two) = (one.clone(), two.clone());
            thread::spawn(move || write_to_both([&two, &one]))
        };
        write_to_both([&one, &two]) | other.join().unwrap()
    })
}

#[test]
fn who_holds_two_turns_and_meets_another_holds_nobody_up() {
    assert!(!two_who_sync_two_logs(Mistake::None, false));
    assert!(!two_who_sync_two_logs(Mistake::None, true));
    assert!(two_who_sync_two_logs(Mistake::EndReadEarly, false));
    assert!(two_who_sync_two_logs(Mistake::FailureKept, true));
}

fn a_roll_during_a_sync(mistake: Mistake) -> bool {
    breaks(2, move || {
        let log = Log::new(mistake, false);
        let writer = {
            let log = log.clone();
            thread::spawn(move || {
                let end = log.roll_and_append();
                log.make_durable(end).is_ok() && !log.holds(end)
            })
        };
        let mut turn = log.commit.take(); // a sync at any moment of the roll
        let ending = log.cover(&mut turn);
        turn.end(&ending);
        drop(turn);
        writer.join().unwrap()
    })
}

#[test]
fn a_sync_covers_the_names_of_what_it_covers() {
    assert!(!a_roll_during_a_sync(Mistake::None));
    assert!(a_roll_during_a_sync(Mistake::NameToldLate));
}

fn a_close_during_a_sync(mistake: Mistake, fails: bool) -> bool {
    breaks(2, move || {
        let log = Log::new(mistake, fails);
        let end = log.append();
        let writer = {
            let log = log.clone();
            thread::spawn(move || log.make_durable(end).is_ok() && !log.holds(end))
        };
        let task = {
            let log = log.clone();
            thread::spawn(move || log.ride(end))
        };
        log.close();
        let broken = writer.join().unwrap();
        let Some(ride) = task.join().unwrap() else { return broken };
        match ended(ride) {
            Some(ending) => broken | (ending.is_ok() && !log.holds(end)),
            None => true, // it waits for ever
        }
    })
}

#[test]
fn a_close_serves_or_refuses_all_that_wait() {
    assert!(!a_close_during_a_sync(Mistake::None, false));
    assert!(!a_close_during_a_sync(Mistake::None, true));
    assert!(a_close_during_a_sync(Mistake::ClosedSilently, true));
}

fn a_task_beside_a_writer(mistake: Mistake) -> bool {
    breaks(2, move || {
        let log = Log::new(mistake, false);
        let writer = {
            let log = log.clone();
            thread::spawn(move || write(&log))
        };
        let end = log.append();
        let ride = log.ride(end);
        let broken = writer.join().unwrap();
        log.run_timer();
        match ride.map(ended) {
            None => broken | !log.holds(end),
            Some(Some(ending)) => broken | (ending.is_ok() && !log.holds(end)),
            Some(None) => true,
        }
    })
}

#[test]
fn a_task_is_served_by_a_thread_or_by_the_timer() {
    assert!(!a_task_beside_a_writer(Mistake::None));
    assert!(a_task_beside_a_writer(Mistake::TimerDeaf));
}

#[test]
fn a_checkpoint_serves_those_who_wait_behind_it() {
    assert!(!breaks(2, || {
        let log = Log::new(Mistake::None, false);
        let writer = {
            let log = log.clone();
            thread::spawn(move || write(&log))
        };
        let mut turn = log.commit.take();
        let ending = log.cover(&mut turn);
        turn.end(&ending);
        drop(turn);
        write(&log) | writer.join().unwrap()
    }));
}
