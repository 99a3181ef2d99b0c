//! The waiting primitive with real threads, real parking and real wakers.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::commit::{Commit, Joined};
use super::{Completed, Completion, Signal, WaitSet, Woken};

const LONG: Duration = Duration::from_secs(30);

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(20))
}

fn long() -> Option<Instant> {
    Some(Instant::now() + LONG)
}

fn drained(set: &WaitSet) -> Vec<usize> {
    let mut ready = Vec::new();
    set.drain_ready(&mut ready);
    ready
}

/// A waker that counts its calls, and looks at something while it is called.
#[derive(Default)]
struct Counting {
    calls: AtomicUsize,
    during: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(during) = &self.during {
            during();
        }
    }
}

impl Counting {
    fn calling(during: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Counting { calls: AtomicUsize::new(0), during: Some(Box::new(during)) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// The same under loom, in every interleaving: `loom_tests`.
#[test]
fn what_is_announced_is_ready_at_once() {
    let (signal, set) = (Arc::new(Signal::new()), WaitSet::new());
    let registration = set.register(&signal, 4);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                signal.notify(); // another reason to look
            }
        });
        let missed = (0..100_000).filter(|turn| {
            set.arm(&registration);
            (0..turn % 64).for_each(|_| std::hint::spin_loop()); // the other one takes the link
            signal.notify();
            drained(&set).is_empty()
        });
        let missed = missed.count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(missed, 0, "announced, and not ready");
    });
}

#[test]
fn nothing_armed_is_nothing_ready() {
    let (signal, set) = (Arc::new(Signal::new()), WaitSet::new());
    let _registration = set.register(&signal, 3);
    signal.notify();
    assert_eq!(set.wait(soon()), Woken::TimedOut);
    assert_eq!(drained(&set), [] as [usize; 0]);
}

#[test]
fn one_arming_is_one_wake_up() {
    let (signal, set) = (Arc::new(Signal::new()), WaitSet::new());
    let registration = set.register(&signal, 3);
    set.arm(&registration);
    set.arm(&registration);
    assert_eq!(signal.armed_count(), 1);
    signal.notify();
    signal.notify();
    assert_eq!(set.wait(long()), Woken::Ready);
    assert_eq!(set.wait(long()), Woken::Ready, "ready until it is drained");
    assert_eq!(drained(&set), [3]);
    assert_eq!(set.wait(soon()), Woken::TimedOut);
    set.arm(&registration);
    signal.notify();
    set.arm(&registration);
    signal.notify();
    assert_eq!(drained(&set), [3], "once, however often it was announced");
}

#[test]
fn only_what_is_ready_is_answered_in_its_order() {
    let set = WaitSet::new();
    let signals: Vec<_> = (0..2_000).map(|_| Arc::new(Signal::new())).collect();
    let registrations: Vec<_> =
        signals.iter().enumerate().map(|(token, signal)| set.register(signal, token)).collect();
    for registration in &registrations {
        set.arm(registration);
    }
    signals[1_500].notify();
    signals[4].notify();
    assert_eq!(set.wait(long()), Woken::Ready);
    assert_eq!(drained(&set), [1_500, 4]);
    drop(registrations);
    assert!(signals.iter().all(|signal| signal.armed_count() == 0));
}

#[test]
fn a_parked_thread_is_woken_and_a_spinning_one() {
    for spin in [Duration::ZERO, LONG] {
        let signal = Arc::new(Signal::new());
        let appender = {
            let signal = Arc::clone(&signal);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(30));
                signal.notify();
            })
        };
        let set = WaitSet::new().spin(spin);
        let registration = set.register(&signal, 1);
        set.arm(&registration);
        assert_eq!(set.wait(None), Woken::Ready);
        appender.join().unwrap();
    }
}

#[test]
fn spinning_keeps_to_the_deadline() {
    let set = WaitSet::new().spin(LONG);
    let start = Instant::now();
    assert_eq!(set.wait(soon()), Woken::TimedOut);
    assert!(start.elapsed() < LONG / 2);
}

/// Four appenders, four sources, one waiter: every record is seen and nobody hangs.
#[test]
fn many_appenders_lose_nothing() {
    const EACH: usize = 20_000;
    let sources: Vec<_> =
        (0..4).map(|_| (Arc::new(Signal::new()), Arc::new(AtomicUsize::new(0)))).collect();
    let appenders: Vec<_> = sources
        .iter()
        .cloned()
        .map(|(signal, end)| {
            thread::spawn(move || {
                for _ in 0..EACH {
                    end.fetch_add(1, Ordering::Release);
                    signal.notify();
                }
            })
        })
        .collect();
    let set = WaitSet::new();
    let registrations: Vec<_> =
        (0..4).map(|token| set.register(&sources[token].0, token)).collect();
    let mut positions = [0; 4];
    let mut ready = vec![0, 1, 2, 3];
    while positions.iter().sum::<usize>() < 4 * EACH {
        let Some(token) = ready.pop() else {
            assert_eq!(set.wait(long()), Woken::Ready, "stuck at {positions:?}");
            set.drain_ready(&mut ready);
            continue;
        };
        set.arm(&registrations[token]);
        let end = sources[token].1.load(Ordering::Acquire);
        if end > positions[token] {
            positions[token] = end;
            ready.push(token);
        }
    }
    for appender in appenders {
        appender.join().unwrap();
    }
}

#[test]
fn close_wakes_now_and_later() {
    let signal = Arc::new(Signal::new());
    let set = WaitSet::new();
    let registration = set.register(&signal, 9);
    set.arm(&registration);
    assert!(!signal.is_closed());
    signal.close();
    signal.close();
    assert!(signal.is_closed());
    assert_eq!(set.wait(None), Woken::Ready);
    assert_eq!(drained(&set), [9]);
    set.arm(&registration);
    assert_eq!(set.wait(None), Woken::Ready);
    let late = set.register(&signal, 10);
    set.arm(&late);
    assert_eq!(drained(&set), [9, 10]);
}

#[test]
fn an_interrupt_is_kept_and_answered_once() {
    let set = WaitSet::new();
    let interrupter = set.interrupter();
    set.interrupt();
    interrupter.interrupt();
    assert_eq!(set.wait(None), Woken::Interrupted);
    assert_eq!(set.wait(soon()), Woken::TimedOut);
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        interrupter.interrupt();
        interrupter
    });
    assert_eq!(set.wait(None), Woken::Interrupted);
    let interrupter = other.join().unwrap();
    drop(set);
    interrupter.interrupt();
}

#[test]
fn dropped_registrations_are_not_answered() {
    let set = WaitSet::new();
    let signal = Arc::new(Signal::new());
    let mut registrations: Vec<_> = (0..5).map(|token| set.register(&signal, token)).collect();
    for registration in &registrations {
        set.arm(registration);
    }
    signal.notify();
    registrations.remove(1);
    registrations.remove(0);
    assert_eq!(drained(&set), [2, 3, 4]);
    for registration in &registrations {
        set.arm(registration);
    }
    signal.notify();
    registrations.clear();
    assert_eq!(set.wait(soon()), Woken::TimedOut, "a list of the dead is an empty list");
    assert_eq!(Arc::strong_count(&signal), 1);
}

#[test]
fn a_set_may_go_before_its_registrations() {
    let set = WaitSet::new();
    let signal = Arc::new(Signal::new());
    let registration = set.register(&signal, 0);
    set.arm(&registration);
    drop(set);
    signal.notify();
    drop(registration);
    assert_eq!(signal.armed_count(), 0);
}

#[test]
fn a_task_is_woken_outside_every_lock() {
    let signal = Arc::new(Signal::new());
    let set = Arc::new(WaitSet::new());
    let registration = set.register(&signal, 2);
    set.arm(&registration);
    // The waker uses the signal and the set itself: it would hang if a lock were held.
    let waker = {
        let (signal, set) = (Arc::clone(&signal), Arc::clone(&set));
        Counting::calling(move || {
            signal.notify();
            assert_eq!(drained(&set), [2]);
        })
    };
    let task = Waker::from(Arc::clone(&waker));
    assert_eq!(set.poll_wait(&mut Context::from_waker(&task)), Poll::Pending);
    assert_eq!(set.poll_wait(&mut Context::from_waker(&task)), Poll::Pending);
    signal.notify();
    assert_eq!(waker.calls(), 1);
    drop(task);
    set.forget_waker();
}

#[test]
fn a_dropped_future_leaves_no_waker() {
    let (signal, set) = (Arc::new(Signal::new()), WaitSet::new());
    let registration = set.register(&signal, 2);
    set.arm(&registration);
    let waker = Arc::new(Counting::default());
    let task = Waker::from(Arc::clone(&waker));
    {
        let mut ready = pin!(set.ready());
        assert!(ready.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
        assert_eq!(Arc::strong_count(&waker), 3);
    }
    assert_eq!(Arc::strong_count(&waker), 2);
    signal.notify();
    assert_eq!(waker.calls(), 0);
    assert_eq!(set.wait(long()), Woken::Ready, "the readiness itself is kept");
}

#[test]
fn a_later_waker_replaces_the_earlier() {
    let set = WaitSet::new();
    let [first, second] = [(); 2].map(|()| Arc::new(Counting::default()));
    for waker in [&first, &second] {
        let task = Waker::from(Arc::clone(waker));
        assert_eq!(set.poll_wait(&mut Context::from_waker(&task)), Poll::Pending);
    }
    set.interrupt();
    assert_eq!((first.calls(), second.calls()), (0, 1));
    assert_eq!(pollster::block_on(set.ready()), Woken::Interrupted);
}

#[test]
fn pollster_waits_for_a_signal() {
    let signal = Arc::new(Signal::new());
    let appender = {
        let signal = Arc::clone(&signal);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            signal.notify();
        })
    };
    let set = WaitSet::new();
    let registration = set.register(&signal, 6);
    set.arm(&registration);
    assert_eq!(pollster::block_on(set.ready()), Woken::Ready);
    assert_eq!(drained(&set), [6]);
    appender.join().unwrap();
}

#[test]
fn a_panicking_waker_does_not_keep_others_asleep() {
    let signal = Arc::new(Signal::new());
    let sets = [(); 3].map(|()| WaitSet::new());
    let registrations = [0, 1, 2].map(|index: usize| sets[index].register(&signal, index));
    let bad = Counting::calling(|| panic!("a waker's own fault"));
    let task = Waker::from(Arc::clone(&bad));
    for (set, registration) in sets.iter().zip(&registrations) {
        set.arm(registration);
        assert_eq!(set.poll_wait(&mut Context::from_waker(&task)), Poll::Pending);
    }
    signal.notify();
    assert_eq!(bad.calls(), 3);
    for (index, set) in sets.iter().enumerate() {
        assert_eq!(set.wait(long()), Woken::Ready);
        assert_eq!(drained(set), [index]);
    }
    set_and_signal_still_work(&sets[0], &registrations[0], &signal);
}

fn set_and_signal_still_work(set: &WaitSet, registration: &super::Registration, signal: &Signal) {
    set.arm(registration);
    signal.notify();
    assert_eq!(set.wait(long()), Woken::Ready);
}

#[test]
fn the_first_completion_stays() {
    let completion = Arc::new(Completion::new());
    assert_eq!(completion.try_get(), None);
    assert_eq!(completion.wait(soon()), None);
    assert!(completion.complete(1));
    assert!(!completion.complete(2));
    assert_eq!(completion.try_get(), Some(1));
    assert_eq!(completion.wait(None), Some(1));
    assert_eq!(Completed::of(&completion).wait(soon()), Some(1));
    assert_eq!(Completed::of(&completion).try_get(), Some(1));
    assert_eq!(pollster::block_on(Completed::of(&completion)), 1);
}

#[test]
fn a_completion_wakes_threads_and_tasks() {
    let completion = Arc::new(Completion::new());
    let waiting: Vec<_> = (0..6)
        .map(|index| {
            let completed = Completed::of(&completion);
            thread::spawn(move || {
                if index % 2 == 0 {
                    completed.wait(None)
                } else {
                    Some(pollster::block_on(completed))
                }
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(20));
    completion.complete(Arc::<str>::from("done"));
    for thread in waiting {
        assert_eq!(thread.join().unwrap().as_deref(), Some("done"));
    }
    assert_eq!(completion.waiting_tasks(), 0);
}

#[test]
fn a_dropped_completion_future_gives_up_its_place() {
    let completion = Arc::new(Completion::new());
    let [kept, dropped] = [(); 2].map(|()| Arc::new(Counting::default()));
    let tasks = [&kept, &dropped].map(|waker| Waker::from(Arc::clone(waker)));
    let [mut stays, mut goes] = [(); 2].map(|()| Completed::of(&completion));
    assert!(Pin::new(&mut stays).poll(&mut Context::from_waker(&tasks[0])).is_pending());
    assert!(Pin::new(&mut goes).poll(&mut Context::from_waker(&tasks[1])).is_pending());
    assert!(Pin::new(&mut goes).poll(&mut Context::from_waker(&tasks[0])).is_pending());
    assert!(Pin::new(&mut goes).poll(&mut Context::from_waker(&tasks[1])).is_pending());
    assert_eq!(completion.waiting_tasks(), 2);
    drop(goes);
    assert_eq!(completion.waiting_tasks(), 1);
    completion.complete(());
    assert_eq!((kept.calls(), dropped.calls()), (1, 0));
    assert!(Pin::new(&mut stays).poll(&mut Context::from_waker(&tasks[0])).is_ready());
}

#[test]
fn a_completion_survives_a_panicking_waker() {
    let completion = Arc::new(Completion::new());
    let woken = Arc::new(AtomicBool::new(false));
    let bad = Waker::from(Counting::calling(|| panic!("a waker's own fault")));
    let good = {
        let (woken, completion) = (Arc::clone(&woken), Arc::clone(&completion));
        Waker::from(Counting::calling(move || {
            woken.store(completion.try_get() == Some(4), Ordering::Relaxed);
        }))
    };
    let mut futures = [(); 2].map(|()| Completed::of(&completion));
    for (future, waker) in futures.iter_mut().zip([&bad, &good]) {
        assert!(Pin::new(future).poll(&mut Context::from_waker(waker)).is_pending());
    }
    assert!(completion.complete(4));
    assert!(woken.load(Ordering::Relaxed));
}

#[test]
fn a_sync_serves_who_came_before_it_began_and_nobody_else() {
    let commit = Commit::<u64>::new(Box::new(|| {}));
    let Joined::Lead(mut turn) = commit.join(1, || 0) else { panic!("nobody else is there") };
    let before = commit.ride(1, || 0).expect("not durable yet");
    turn.begin(|| 1);
    let during = commit.ride(1, || 0).expect("not durable yet");
    let after = commit.ride(2, || 0).expect("not durable yet");
    turn.end_and_release(&Ok(()));
    for served in [before, during] {
        pollster::block_on(served).unwrap();
    }
    let mut after = pin!(after);
    let mut context = Context::from_waker(Waker::noop());
    assert!(after.as_mut().poll(&mut context).is_pending(), "it waits for the next");
    let mut turn = commit.lead_for_tasks().expect("somebody waits");
    turn.begin(|| 2);
    turn.end_and_release(&Ok(()));
    assert!(after.as_mut().poll(&mut context).is_ready());
}

/// Each in the order in which it was armed; those that want something else stay in theirs.
#[test]
fn who_wants_a_change_is_taken_off_and_the_others_stay_in_line() {
    let (signal, set) = (Arc::new(Signal::new()), WaitSet::new());
    let armed = |(token, interest): (usize, &u64)| {
        let registration = set.register_for(&signal, token, *interest);
        set.arm(&registration);
        registration
    };
    let registrations: Vec<_> = [1, 2, 5, 2, 0].iter().enumerate().map(armed).collect();
    let ready = || {
        let mut ready = Vec::new();
        set.drain_ready(&mut ready);
        ready
    };
    signal.notify_wanting(|| 1);
    assert_eq!((ready(), signal.armed_count()), (vec![0, 2, 4], 2));
    for token in [1, 3] {
        signal.notify_one();
        assert_eq!(ready(), [token]);
    }
    drop(registrations);
}

/// Those who give up leave from anywhere; who stays is woken in its turn, and no other for it.
#[test]
fn who_gives_up_among_many_takes_nobody_elses_place() {
    let (signal, set) = (Arc::new(Signal::new()), WaitSet::new());
    let mut armed: Vec<_> = (0..500)
        .map(|token| {
            let registration = set.register(&signal, token);
            set.arm(&registration);
            Some(registration)
        })
        .collect();
    let stays = |token: &usize| *token == 0 || token % 7 == 3;
    for token in (0..500).filter(|token| !stays(token)) {
        armed[token] = None;
        assert_eq!(drained(&set), [], "nothing was announced");
    }
    let left: Vec<_> = (0..500).filter(stays).collect();
    assert_eq!(signal.armed_count(), left.len());
    for token in &left[..20] {
        signal.notify_one();
        assert_eq!(drained(&set), [*token]);
    }
    signal.notify();
    assert_eq!((drained(&set), signal.armed_count()), (left[20..].to_vec(), 0));
    drop(armed);
}
