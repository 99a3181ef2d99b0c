//! Waking some of those who wait: the one that has waited longest, who passes on what it leaves
//! (`notify_one`), and those who want what has changed (`notify_wanting`).

use super::super::{Signal, WaitSet, Woken};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::explore::{MANY_THREADS, breaks, model, thread};

/// Work that any of those who wait can take, a piece at a time.
#[derive(Default)]
struct Work {
    left: AtomicUsize,
    signal: Arc<Signal>,
}

impl Work {
    fn bring<const FENCED: bool>(&self, pieces: usize) {
        self.left.fetch_add(pieces, Ordering::Release);
        self.signal.notify_one_fenced::<FENCED>();
    }

    fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire) > 0
    }

    fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
    }

    fn pass_on(&self) {
        if self.is_left() {
            self.signal.notify_one();
        }
    }

    /// As a consumer of a share group does it: looks, arms, looks again, waits, and passes on what
    /// it leaves.
    fn take_one(&self) {
        let set = WaitSet::new();
        let registration = set.register(&self.signal, 0);
        loop {
            set.disarm(&registration);
            set.drain_ready(&mut Vec::new());
            if self.take() {
                self.pass_on();
                return;
            }
            set.arm(&registration);
            if !self.is_left() {
                assert_eq!(set.wait(None), Woken::Ready);
            }
        }
    }
}

/// One announcement for two pieces: the second taker is woken by the first.
#[test]
fn who_is_woken_alone_passes_on_what_it_leaves() {
    model(2, || {
        let work = Arc::new(Work::default());
        let other = {
            let work = Arc::clone(&work);
            thread::spawn(move || work.take_one())
        };
        let bringer = {
            let work = Arc::clone(&work);
            thread::spawn(move || work.bring::<true>(2))
        };
        work.take_one();
        other.join().unwrap();
        bringer.join().unwrap();
        assert!(!work.is_left());
    });
}

/// Two announcements of a piece each: the second never goes to one that the first has woken.
#[test]
fn two_pieces_that_come_one_by_one_wake_two() {
    model(2, || {
        let work = Arc::new(Work::default());
        let other = {
            let work = Arc::clone(&work);
            thread::spawn(move || work.take_one())
        };
        let bringer = {
            let work = Arc::clone(&work);
            thread::spawn(move || {
                work.bring::<true>(1);
                work.bring::<true>(1);
            })
        };
        work.take_one();
        other.join().unwrap();
        bringer.join().unwrap();
        assert!(!work.is_left());
    });
}

/// Four takers, three bringers: only shuttle goes through so many.
#[test]
fn many_takers_many_bringers() {
    if !MANY_THREADS {
        return;
    }
    model(0, || {
        let work = Arc::new(Work::default());
        let takers = [(); 4].map(|()| {
            let work = Arc::clone(&work);
            thread::spawn(move || work.take_one())
        });
        let bringers = [1, 2, 1].map(|pieces: usize| {
            let work = Arc::clone(&work);
            thread::spawn(move || work.bring::<true>(pieces))
        });
        takers.into_iter().chain(bringers).for_each(|thread| thread.join().unwrap());
        assert!(!work.is_left());
    });
}

/// Whether some execution ends with work left and everybody who waits for it asleep: two wait, and
/// a third, who does not, takes a piece as two are brought. The functions that ship; only the
/// fence and the passing on can be left out.
fn some_execution_strands<const FENCED: bool>(passes_on: bool) -> bool {
    breaks(3, move || {
        let work = Arc::new(Work::default());
        let sets = [WaitSet::new(), WaitSet::new()];
        let bringer = {
            let work = Arc::clone(&work);
            thread::spawn(move || work.bring::<FENCED>(2))
        };
        let registrations = sets.each_ref().map(|set| set.register(&work.signal, 0));
        let mut sleeps = [false; 2];
        for ((set, registration), sleeps) in sets.iter().zip(&registrations).zip(&mut sleeps) {
            set.arm(registration);
            *sleeps = !work.is_left();
        }
        bringer.join().expect("it ends");
        for (set, sleeps) in sets.iter().zip(&mut sleeps) {
            let mut ready = Vec::new();
            set.drain_ready(&mut ready);
            if *sleeps && ready.is_empty() {
                continue;
            }
            *sleeps = false;
            if work.take() && passes_on {
                work.pass_on();
            }
        }
        let woken = sets.iter().any(|set| {
            let mut ready = Vec::new();
            set.drain_ready(&mut ready);
            !ready.is_empty()
        });
        work.is_left() && sleeps.contains(&true) && !woken
    })
}

#[test]
fn as_shipped_nothing_is_stranded() {
    assert!(!some_execution_strands::<true>(true));
}

#[test]
fn planted_faults_of_waking_one_are_caught() {
    assert!(some_execution_strands::<true>(false), "what is left is not passed on");
    if !MANY_THREADS {
        assert!(some_execution_strands::<false>(true), "no fence in notify_one");
    }
}

/// Two kinds of changes beside each other.
#[derive(Default)]
struct Kinds {
    ends: [AtomicUsize; 2],
    signal: Arc<Signal>,
}

impl Kinds {
    fn append<const FENCED: bool>(&self, kind: usize) {
        self.ends[kind].fetch_add(1, Ordering::Release);
        self.signal.notify_wanting_fenced::<FENCED>(|| 1 << kind);
    }

    fn has(&self, kind: usize) -> bool {
        self.ends[kind].load(Ordering::Acquire) > 0
    }

    /// Waits for a change of that kind.
    fn await_one(&self, kind: usize) {
        let set = WaitSet::new();
        let registration = set.register_for(&self.signal, kind, 1 << kind);
        loop {
            set.arm(&registration);
            if self.has(kind) {
                return;
            }
            assert_eq!(set.wait(None), Woken::Ready);
            set.drain_ready(&mut Vec::new());
        }
    }
}

/// Each is woken for its own kind, though others wait for another one.
#[test]
fn each_is_woken_for_what_it_wants() {
    model(2, || {
        let kinds = Arc::new(Kinds::default());
        let appender = {
            let kinds = Arc::clone(&kinds);
            thread::spawn(move || {
                kinds.append::<true>(1);
                kinds.append::<true>(0);
            })
        };
        let other = {
            let kinds = Arc::clone(&kinds);
            thread::spawn(move || kinds.await_one(0))
        };
        kinds.await_one(1);
        other.join().unwrap();
        appender.join().unwrap();
    });
}

/// Two who announce at once, and one who waits for neither: whoever has announced finds the one
/// who wants it ready, and the bystander sleeps on.
#[test]
fn what_is_wanted_is_ready_at_once_beside_one_who_wants_nothing_of_it() {
    model(3, || {
        let kinds = Arc::new(Kinds::default());
        let (bystander, wanting) = (WaitSet::new(), WaitSet::new());
        let first = bystander.register_for(&kinds.signal, 7, 1 << 5);
        let second = wanting.register_for(&kinds.signal, 4, 1 << 0);
        bystander.arm(&first);
        wanting.arm(&second);
        let other = {
            let kinds = Arc::clone(&kinds);
            thread::spawn(move || {
                kinds.append::<true>(1);
                kinds.append::<true>(0);
            })
        };
        kinds.append::<true>(0);
        let mut ready = Vec::new();
        wanting.drain_ready(&mut ready);
        assert_eq!(ready, [4], "announced, and not ready");
        other.join().unwrap();
        bystander.drain_ready(&mut ready);
        assert_eq!((ready.len(), kinds.signal.armed_count()), (1, 1), "who wants none of it");
    });
}

/// Whether some execution ends with the record there, nobody told, and the waiter about to sleep.
fn some_execution_loses_what_is_wanted<const FENCED: bool>() -> bool {
    breaks(3, || {
        let kinds = Arc::new(Kinds::default());
        let set = WaitSet::new();
        let registration = set.register_for(&kinds.signal, 0, 1);
        let appender = {
            let kinds = Arc::clone(&kinds);
            thread::spawn(move || kinds.append::<FENCED>(0))
        };
        set.arm(&registration);
        let looked = kinds.has(0);
        appender.join().expect("it ends");
        let mut ready = Vec::new();
        set.drain_ready(&mut ready);
        !looked && ready.is_empty()
    })
}

#[test]
fn nothing_that_is_wanted_is_lost_and_a_missing_fence_is_caught() {
    assert!(!some_execution_loses_what_is_wanted::<true>());
    if !MANY_THREADS {
        assert!(some_execution_loses_what_is_wanted::<false>(), "no fence in notify_wanting");
    }
}
