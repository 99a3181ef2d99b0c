//! Announcing once somebody has said that he may wait, and not before. He says it under the lock
//! that appends are made under, as `PartitionLog::announce_appends` does.

use super::super::{Registration, Signal, WaitSet};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::explore::{MANY_THREADS, breaks, model, thread};
use crate::sync::{Arc, Mutex};

/// A partition whose writer keeps whether it has to announce.
#[derive(Default)]
struct Source {
    end: AtomicUsize,
    announces: Mutex<bool>,
    /// The same where no lock guards it, for the control.
    unguarded: AtomicBool,
    signal: Arc<Signal>,
}

impl Source {
    fn append<const GUARDED: bool>(&self) {
        let awaited = {
            let announces = self.announces.lock();
            self.end.fetch_add(1, Ordering::Release);
            if GUARDED { *announces } else { self.unguarded.load(Ordering::Relaxed) }
        };
        if awaited {
            self.signal.notify();
        }
    }

    fn register<const GUARDED: bool>(&self, set: &WaitSet) -> Registration {
        if GUARDED {
            *self.announces.lock() = true;
        } else {
            self.unguarded.store(true, Ordering::Relaxed);
        }
        set.register(&self.signal, 0)
    }
}

/// Whether an append is made that nobody is told of, and that who waits does not see.
fn some_execution_loses<const GUARDED: bool>() -> bool {
    breaks(3, || {
        let source = Arc::new(Source::default());
        let appender = {
            let source = Arc::clone(&source);
            thread::spawn(move || source.append::<GUARDED>())
        };
        let set = WaitSet::new();
        let registration = source.register::<GUARDED>(&set);
        set.arm(&registration);
        let looked = source.end.load(Ordering::Acquire);
        appender.join().expect("it ends");
        let mut ready = Vec::new();
        set.drain_ready(&mut ready);
        looked == 0 && ready.is_empty()
    })
}

#[test]
fn who_registers_while_others_append_is_told() {
    assert!(!some_execution_loses::<true>());
}

/// The negative control, by loom alone, which has a memory model.
#[test]
fn a_word_that_no_lock_guards_is_missed() {
    if !MANY_THREADS {
        assert!(some_execution_loses::<false>());
    }
}

#[test]
fn two_appenders_and_one_who_registers_meanwhile() {
    model(3, || {
        let source = Arc::new(Source::default());
        let appenders = [(); 2].map(|()| {
            let source = Arc::clone(&source);
            thread::spawn(move || source.append::<true>())
        });
        let set = WaitSet::new();
        let registration = source.register::<true>(&set);
        let mut ready = Vec::new();
        loop {
            set.arm(&registration);
            if source.end.load(Ordering::Acquire) == 2 {
                break;
            }
            set.wait(None);
            set.drain_ready(&mut ready);
        }
        for appender in appenders {
            appender.join().expect("it ends");
        }
    });
}
