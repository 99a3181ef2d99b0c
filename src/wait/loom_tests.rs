//! The waiting primitive under loom: every interleaving within the bound, and every value that
//! the memory model lets a load see. A lost wake-up shows as a deadlock. Under shuttle the same,
//! with more threads and without the memory model.
//!
//! Run with `.ci/loom` and `.ci/shuttle`.

mod choosing;
mod errands;
mod wanted;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{Completed, Completion, Numbers, Registration, Signal, WaitSet, Woken};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::explore::{MANY_THREADS, block_on, breaks, model, thread};

/// A partition as the waiter sees it: an end that rises, and the signal beside it.
#[derive(Default)]
struct Source {
    end: AtomicUsize,
    signal: Arc<Signal>,
}

impl Source {
    fn append(&self) {
        self.end.fetch_add(1, Ordering::Release);
        self.signal.notify();
    }

    fn end(&self) -> usize {
        self.end.load(Ordering::Acquire)
    }
}

/// A consumer's loop in small: arms, looks again, waits, until every source has reached its goal.
fn consume(set: &WaitSet, sources: &[(&Source, &Registration)], goals: &[usize]) {
    let mut ready: Vec<usize> = (0..sources.len()).collect();
    let mut met = vec![false; sources.len()];
    while met.contains(&false) {
        let Some(token) = ready.pop() else {
            assert_eq!(set.wait(None), Woken::Ready);
            set.drain_ready(&mut ready);
            assert!(!ready.is_empty(), "ready without a token");
            continue;
        };
        if met[token] {
            continue;
        }
        set.arm(sources[token].1);
        met[token] = sources[token].0.end() >= goals[token];
    }
}

#[test]
fn one_waiter_one_notifier() {
    model(3, || {
        let source = Arc::new(Source::default());
        let appender = {
            let source = Arc::clone(&source);
            thread::spawn(move || source.append())
        };
        let set = WaitSet::new();
        let registration = set.register(&source.signal, 0);
        consume(&set, &[(&source, &registration)], &[1]);
        appender.join().unwrap();
    });
}

#[test]
fn one_waiter_one_notifier_twice() {
    model(3, || {
        let source = Arc::new(Source::default());
        let appender = {
            let source = Arc::clone(&source);
            thread::spawn(move || {
                source.append();
                source.append();
            })
        };
        let set = WaitSet::new();
        let registration = set.register(&source.signal, 0);
        consume(&set, &[(&source, &registration)], &[2]);
        appender.join().unwrap();
    });
}

#[test]
fn one_waiter_two_notifiers_of_one_signal() {
    model(3, || {
        let source = Arc::new(Source::default());
        let appenders = [(); 2].map(|()| {
            let source = Arc::clone(&source);
            thread::spawn(move || source.append())
        });
        let set = WaitSet::new();
        let registration = set.register(&source.signal, 0);
        consume(&set, &[(&source, &registration)], &[2]);
        for appender in appenders {
            appender.join().unwrap();
        }
    });
}

#[test]
fn one_waiter_over_two_signals_two_notifiers() {
    model(3, || {
        let sources = [(); 2].map(|()| Arc::new(Source::default()));
        let appenders = [0, 1].map(|index: usize| {
            let source = Arc::clone(&sources[index]);
            thread::spawn(move || source.append())
        });
        let set = WaitSet::new();
        let first = set.register(&sources[0].signal, 0);
        let second = set.register(&sources[1].signal, 1);
        consume(&set, &[(&sources[0], &first), (&sources[1], &second)], &[1, 1]);
        for appender in appenders {
            appender.join().unwrap();
        }
    });
}

/// Three notifiers of two signals and three waiters on both: only shuttle goes through so many.
#[test]
fn many_waiters_many_notifiers() {
    if !MANY_THREADS {
        return;
    }
    model(0, || {
        let sources = [(); 2].map(|()| Arc::new(Source::default()));
        let appenders = [0, 1, 1].map(|index: usize| {
            let source = Arc::clone(&sources[index]);
            thread::spawn(move || source.append())
        });
        let waiters = [(); 3].map(|()| {
            let sources = sources.clone();
            thread::spawn(move || {
                let set = WaitSet::new();
                let first = set.register(&sources[0].signal, 0);
                let second = set.register(&sources[1].signal, 1);
                consume(&set, &[(&sources[0], &first), (&sources[1], &second)], &[1, 2]);
            })
        });
        for thread in appenders.into_iter().chain(waiters) {
            thread.join().unwrap();
        }
    });
}

#[test]
fn two_waiters_one_notifier() {
    model(3, || {
        let source = Arc::new(Source::default());
        let other = {
            let source = Arc::clone(&source);
            thread::spawn(move || {
                let set = WaitSet::new();
                let registration = set.register(&source.signal, 0);
                consume(&set, &[(&source, &registration)], &[1]);
            })
        };
        let appender = {
            let source = Arc::clone(&source);
            thread::spawn(move || source.append())
        };
        let set = WaitSet::new();
        let registration = set.register(&source.signal, 0);
        consume(&set, &[(&source, &registration)], &[1]);
        appender.join().unwrap();
        other.join().unwrap();
    });
}

/// Whoever has announced a change finds it on the ready list at once, though another one, who
/// announces at the same time, has taken the link: a look without waiting counts on it.
#[test]
fn what_is_announced_is_ready_at_once() {
    model(3, || {
        let source = Arc::new(Source::default());
        let set = WaitSet::new();
        let registration = set.register(&source.signal, 4);
        set.arm(&registration);
        let other = {
            let source = Arc::clone(&source);
            thread::spawn(move || source.signal.notify())
        };
        source.append();
        let mut ready = Vec::new();
        set.drain_ready(&mut ready);
        assert!(ready.contains(&4), "announced, and not ready");
        other.join().unwrap();
    });
}

#[test]
fn close_against_wait() {
    model(3, || {
        let signal = Arc::new(Signal::new());
        let closer = {
            let signal = Arc::clone(&signal);
            thread::spawn(move || signal.close())
        };
        let set = WaitSet::new();
        let registration = set.register(&signal, 7);
        set.arm(&registration);
        assert_eq!(set.wait(None), Woken::Ready);
        assert!(signal.is_closed());
        let mut ready = Vec::new();
        set.drain_ready(&mut ready);
        assert_eq!(ready, [7]);
        // For good: who arms later does not sleep either.
        set.arm(&registration);
        assert_eq!(set.wait(None), Woken::Ready);
        closer.join().unwrap();
    });
}

#[test]
fn interrupt_against_wait_and_drop() {
    model(3, || {
        let set = WaitSet::new();
        let interrupter = set.interrupter();
        let other = thread::spawn(move || interrupter.interrupt());
        assert_eq!(set.wait(None), Woken::Interrupted);
        drop(set);
        other.join().unwrap();
    });
}

/// Leaks (a circle of `Arc`s) and links on their way to a set that is gone are loom's to find.
#[test]
fn notify_against_drops() {
    model(3, || {
        let source = Arc::new(Source::default());
        let set = WaitSet::new();
        let registration = set.register(&source.signal, 0);
        set.arm(&registration);
        let appender = {
            let source = Arc::clone(&source);
            thread::spawn(move || source.append())
        };
        drop(set);
        drop(registration);
        appender.join().unwrap();
        assert_eq!(source.signal.armed_count(), 0);
    });
}

#[test]
fn a_task_waits() {
    model(3, || {
        let source = Arc::new(Source::default());
        let appender = {
            let source = Arc::clone(&source);
            thread::spawn(move || source.append())
        };
        let set = WaitSet::new();
        let registration = set.register(&source.signal, 0);
        set.arm(&registration);
        if source.end() == 0 {
            assert_eq!(block_on(set.ready()), Woken::Ready);
            assert_eq!(source.end(), 1);
        }
        appender.join().unwrap();
    });
}

/// A reader never has some numbers of one change and some of another, and never goes back.
#[test]
fn numbers_against_their_changes() {
    model(3, || {
        let numbers = Arc::new(Numbers::new([0, 0]));
        let writer = {
            let numbers = Arc::clone(&numbers);
            thread::spawn(move || {
                numbers.set([1, 1]);
                numbers.set([2, 2]);
            })
        };
        let version = numbers.version();
        let [one, other] = numbers.get();
        assert_eq!(one, other, "of one change");
        let [later, _] = numbers.get();
        assert!(later >= one);
        assert!(numbers.version() != version || later == one, "nothing has changed");
        writer.join().unwrap();
        assert_eq!(numbers.get(), [2, 2]);
    });
}

#[test]
fn completion_against_wait() {
    model(3, || {
        let completion = Arc::new(Completion::new());
        let other = {
            let completion = Arc::clone(&completion);
            thread::spawn(move || completion.wait(None))
        };
        let completer = {
            let completion = Arc::clone(&completion);
            thread::spawn(move || assert!(completion.complete(5)))
        };
        assert_eq!(completion.wait(None), Some(5));
        assert_eq!(other.join().unwrap(), Some(5));
        completer.join().unwrap();
    });
}

#[test]
fn completion_against_poll_and_drop() {
    model(3, || {
        let completion = Arc::new(Completion::new());
        let completer = {
            let completion = Arc::clone(&completion);
            thread::spawn(move || assert!(completion.complete(5)))
        };
        {
            let mut given_up = pin!(Completed::of(&completion));
            let answer = given_up.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(answer, Poll::Pending | Poll::Ready(5)));
        }
        assert_eq!(completion.waiting_tasks(), 0);
        assert_eq!(block_on(Completed::of(&completion)), 5);
        completer.join().unwrap();
        assert!(!completion.complete(6));
        assert_eq!(completion.try_get(), Some(5));
    });
}

/// Whether some execution ends with the record appended, nobody told, and the waiter about to
/// sleep. The very functions that ship run here; only the fences can be left out.
fn some_execution_loses<const ARM_FENCED: bool, const NOTIFY_FENCED: bool>(
    look_before_arming: bool,
) -> bool {
    breaks(3, move || {
        let source = Arc::new(Source::default());
        let set = WaitSet::new();
        let registration = set.register(&source.signal, 0);
        let appender = {
            let source = Arc::clone(&source);
            thread::spawn(move || {
                source.end.store(1, Ordering::Release);
                source.signal.notify_fenced::<NOTIFY_FENCED>();
            })
        };
        let looked = if look_before_arming {
            let end = source.end();
            set.arm_fenced::<ARM_FENCED>(&registration);
            end
        } else {
            set.arm_fenced::<ARM_FENCED>(&registration);
            source.end()
        };
        appender.join().unwrap();
        let mut ready = Vec::new();
        set.drain_ready(&mut ready);
        looked == 0 && ready.is_empty()
    })
}

#[test]
fn as_shipped_nothing_is_lost() {
    assert!(!some_execution_loses::<true, true>(false));
}

/// Negative controls: the wake-up that each planted fault loses must be found; the fences by loom
/// alone, which has a memory model.
#[test]
fn planted_faults_are_caught() {
    if !MANY_THREADS {
        assert!(some_execution_loses::<true, false>(false), "no fence in notify");
        assert!(some_execution_loses::<false, true>(false), "no fence in arm");
    }
    assert!(some_execution_loses::<true, true>(true), "the look before the arming");
}
