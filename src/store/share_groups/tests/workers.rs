//! Workers through the public door: what handlers say, panics, stops, order, leases that are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::config::{Threads, TopicConfig};
use crate::record::Record;
use crate::store::Store;
use crate::sync::Mutex;
use crate::time::ManualClock;
use crate::wait::{Completed, Completion};
use crate::worker::{JobOutcome, RetryPolicy};

fn store() -> Store {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("jobs", TopicConfig::new().partitions(2)).unwrap();
    store
}

fn send(store: &Store, values: impl Iterator<Item = u32>) {
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    for value in values {
        let (key, value) = ((value % 5).to_string(), value.to_string());
        jobs.send(Record::new(&value).key(&key)).unwrap();
    }
}

fn number(value: Option<&[u8]>) -> u32 {
    std::str::from_utf8(value.unwrap()).unwrap().parse().unwrap()
}

#[test]
fn each_job_is_done_once_and_failures_are_tried_again() {
    let store = store();
    let (tell, told) = channel();
    let builder = store.worker("g").topic("jobs").concurrency(4).max_attempts(4);
    let worker = builder
        .without_dead_letters()
        .run(move |job| {
            let number = number(job.record().value());
            match (number % 4, job.attempt()) {
                (0, 1) => JobOutcome::Retry,
                (1, 1) => std::panic::resume_unwind(Box::new("as handlers do")),
                (2, 1..3) => JobOutcome::RetryAfter(Duration::from_millis(1)),
                (3, _) if number % 8 == 7 => {
                    tell.send((number, false)).unwrap();
                    JobOutcome::Reject
                }
                _ => {
                    tell.send((number, true)).unwrap();
                    JobOutcome::Done
                }
            }
        })
        .unwrap();
    send(&store, 0..200);
    let mut all: Vec<(u32, bool)> = told.iter().take(200).collect();
    all.sort_unstable();
    assert_eq!(all, (0..200).map(|at| (at, at % 8 != 7)).collect::<Vec<_>>());
    worker.stop().unwrap();
    let group = store.describe_share_group("g").unwrap();
    assert_eq!(group.partitions.iter().map(|it| it.open).sum::<usize>(), 0);
    assert_eq!(group.partitions.iter().map(|it| it.archived).sum::<u64>(), 25);
    assert!(told.try_recv().is_err());
}

/// Only threads that look for jobs run the store's timer here, and this one: where the one worker
/// there is has its job, this one comes to each moment before the clock goes on.
#[test]
fn a_lease_is_kept_while_its_handler_runs_and_no_longer_than_it_may() {
    for (longest, concurrency) in [(600, 1), (15, 2)] {
        let clock = ManualClock::default();
        let builder = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host);
        let store = builder.open().unwrap();
        store.ensure_topic("jobs", TopicConfig::new()).unwrap();
        let (tell, told) = channel();
        let (to_go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let builder = store.worker("g").topic("jobs").concurrency(concurrency);
        let worker = builder
            .longest(Duration::from_secs(longest))
            .run(move |job| {
                tell.send(job.attempt()).unwrap();
                if job.attempt() == 1 {
                    wait.lock().recv().unwrap();
                }
                JobOutcome::Done
            })
            .unwrap();
        let go = to_go; // a failure ends the handler before it waits for it
        send(&store, 0..1);
        assert_eq!(told.recv(), Ok(1));
        let mut again = None;
        for _ in 0..if concurrency == 1 { 6 } else { 1000 } {
            clock.advance(Duration::from_secs(10));
            store.run_due();
            if concurrency == 2 {
                again = told.recv_timeout(Duration::from_millis(60)).ok();
            }
            if again.is_some() {
                break;
            }
        }
        assert_eq!(again, (concurrency == 2).then_some(2));
        go.send(()).unwrap();
        worker.stop().unwrap();
        assert_eq!(store.describe_share_group("g").unwrap().partitions[0].lag, Some(0));
        assert!(told.try_recv().is_err(), "the job is done by the first who may say so");
    }
}

#[test]
fn a_stop_waits_for_handlers_and_begins_nothing_new() {
    let store = store();
    let (begun, begins) = channel();
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let worker = store
        .worker("g")
        .topic("jobs")
        .run(move |_| {
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            count.fetch_add(1, Ordering::AcqRel);
            JobOutcome::Done
        })
        .unwrap();
    send(&store, 0..10);
    begins.recv().unwrap();
    worker.stop().unwrap();
    assert_eq!(done.load(Ordering::Acquire), 1);
    let group = store.describe_share_group("g").unwrap();
    assert_eq!(group.partitions.iter().filter_map(|it| it.lag).sum::<u64>(), 9);
    assert_eq!(group.consumers, 0);
}

#[test]
fn jobs_of_a_key_keep_their_order_through_retries() {
    let store = store();
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let (tell, told) = channel();
    let builder = store.worker("g").topic("jobs").concurrency(4).ordered_by_key();
    let worker = builder
        .retry(RetryPolicy::fixed(Duration::from_millis(2)))
        .run(move |job| {
            let number = number(job.record().value());
            if number.is_multiple_of(3) && job.attempt() < 3 {
                return JobOutcome::Retry;
            }
            seen.lock().push(number);
            tell.send(()).unwrap();
            JobOutcome::Done
        })
        .unwrap();
    send(&store, 0..60);
    (0..60).for_each(|_| told.recv().unwrap());
    worker.stop().unwrap();
    let order = order.lock();
    for key in 0..5 {
        let of_key: Vec<u32> = order.iter().copied().filter(|number| number % 5 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
}

#[test]
fn a_closed_store_ends_its_workers() {
    let store = store();
    let worker = store.worker("g").topic("jobs").concurrency(3).run(|_| JobOutcome::Done).unwrap();
    store.close().unwrap();
    worker.stop().unwrap();
}

#[test]
fn async_handlers_run_side_by_side_and_end_when_they_are_told_to() {
    let store = store();
    send(&store, 0..40);
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let end = Arc::new(Completion::new());
    let until = Completed::of(&end);
    let worked = store.worker("g").topic("jobs").concurrency(8).run_async(
        move |job| {
            let (count, end) = (count.clone(), end.clone());
            async move {
                assert!(job.attempt() > 1 || number(job.record().value()) % 10 != 3, "a panic");
                if count.fetch_add(1, Ordering::AcqRel) == 39 {
                    end.complete(());
                }
                JobOutcome::Done
            }
        },
        until,
    );
    pollster::block_on(worked).unwrap();
    assert_eq!(done.load(Ordering::Acquire), 40);
    let group = store.describe_share_group("g").unwrap();
    assert_eq!(group.partitions.iter().map(|it| it.open).sum::<usize>(), 0);
}

#[test]
fn an_async_handler_that_panics_before_its_future_is_tried_again() {
    let store = store();
    send(&store, 0..3);
    let end = Arc::new(Completion::new());
    let until = Completed::of(&end);
    let mut calls = 0;
    let worked = store.worker("g").topic("jobs").run_async(
        move |job| {
            calls += 1;
            if job.attempt() == 1 {
                std::panic::resume_unwind(Box::new("as handlers do"));
            }
            if calls == 6 {
                end.complete(());
            }
            std::future::ready(JobOutcome::Done)
        },
        until,
    );
    pollster::block_on(worked).unwrap();
    let group = store.describe_share_group("g").unwrap();
    assert_eq!(group.partitions.iter().map(|it| it.open).sum::<usize>(), 0);
}

#[test]
fn an_async_worker_waits_for_its_handlers_when_the_store_is_closed() {
    let store = store();
    send(&store, 0..1);
    let (go, ready) = (Arc::new(Completion::new()), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (go.clone(), ready.clone());
    let builder = store.worker("g").topic("jobs").concurrency(2);
    let mut worked = Box::pin(builder.run_async(
        move |_| {
            let (wait, count) = (wait.clone(), count.clone());
            async move {
                Completed::of(&wait).await;
                count.fetch_add(1, Ordering::AcqRel);
                JobOutcome::Done
            }
        },
        std::future::pending(),
    ));
    let mut context = Context::from_waker(Waker::noop());
    assert!(worked.as_mut().poll(&mut context).is_pending());
    store.close().unwrap();
    assert!(worked.as_mut().poll(&mut context).is_pending(), "a handler runs");
    go.complete(());
    let Poll::Ready(end) = worked.as_mut().poll(&mut context) else { panic!("it is over") };
    assert!(end.unwrap_err().is_closed());
    assert_eq!(ready.load(Ordering::Acquire), 1);
}

/// What fails is tried again after a moment, as by a worker with threads.
#[cfg(feature = "sim")]
#[test]
fn an_async_worker_goes_on_where_a_take_fails() {
    use crate::disk::{Fault, IoMode, Operation, Plan, SimDisk};
    let disk = SimDisk::new(1);
    disk.set_mode(IoMode::Positioned);
    let world = super::World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, 0..1);
    let end = Arc::new(Completion::new());
    let until = Completed::of(&end);
    let handler = move |_| {
        end.complete(());
        std::future::ready(JobOutcome::Done)
    };
    let mut worked = Box::pin(store.worker("g").topic("jobs").run_async(handler, until));
    let mut context = Context::from_waker(Waker::noop());
    // the group's first record of its own is written when its consumer is made
    drop(store.share_consumer("g").subscribe(["jobs"]).build().unwrap());
    disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).for_ever());
    assert!(worked.as_mut().poll(&mut context).is_pending());
    disk.heal();
    assert!(worked.as_mut().poll(&mut context).is_pending(), "a moment");
    world.pass(&store, 1);
    let mut polls = (0..100).map(|_| {
        world.pass(&store, 1);
        worked.as_mut().poll(&mut context)
    });
    assert!(polls.any(|polled| matches!(polled, Poll::Ready(Ok(())))));
    assert_eq!(store.describe_share_group("g").unwrap().partitions[0].lag, Some(0));
}

#[test]
fn rocketmq_s_schedule_is_its_own() {
    let policy = RetryPolicy::rocketmq();
    let seconds: Vec<u64> = (1..=16).map(|count| policy.delay(count, 0).as_secs()).collect();
    let minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120].map(|minute| minute * 60);
    assert_eq!(seconds[..2], [10, 30]);
    assert_eq!(seconds[2..], minutes);
}

/// What goes wrong beside the handlers is told to the program, by threads and by tasks.
#[test]
fn a_program_is_told_of_what_could_not_be_settled() {
    let clock = ManualClock::default();
    let store = Store::builder_in_memory().clock(clock.clone()).open().unwrap();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    send(&store, 0..1);
    let (tell, told) = channel();
    let builder = store.worker("g").topic("jobs").longest(Duration::from_secs(1));
    let builder = builder.lease(Duration::from_secs(10)).on_error(move |error| {
        tell.send(error.kind()).unwrap();
        panic!("as programs do");
    });
    let hangs = clock.clone();
    let worker = builder.run(move |job| {
        if job.attempt() == 1 {
            hangs.advance(Duration::from_secs(20)); // its lease has ended when it answers
        }
        JobOutcome::Done
    });
    let worker = worker.unwrap();
    assert_eq!(told.recv(), Ok(crate::error::ErrorKind::InvalidRecordState));
    worker.stop().unwrap();
}
