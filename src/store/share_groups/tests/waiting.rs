//! Who is woken: one for each append, for what comes back, for what another leaves; nobody sleeps
//! over a record, and a thousand that wait cost an append no more than one.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Instant;

use super::*;
use crate::error::Result;
use crate::worker::JobOutcome;

const LONG: Duration = Duration::from_secs(60);

fn live_store() -> Store {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("jobs", TopicConfig::new()).unwrap();
    store
}

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls each, drops those that are done; returns how many.
fn poll_all<F>(futures: &mut Vec<Pin<Box<F>>>, waker: &Waker) -> usize
where
    F: Future<Output = Result<LeasedRecords>>,
{
    let before = futures.len();
    futures.retain_mut(|it| it.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    before - futures.len()
}

#[test]
fn an_append_wakes_one_of_a_thousand() {
    let store = live_store();
    let mut consumers: Vec<_> = (0..1_000).map(|_| builder(&store).build().unwrap()).collect();
    let counter = Arc::new(Counting::default());
    let waker = Waker::from(counter.clone());
    let mut futures: Vec<_> =
        consumers.iter_mut().map(|consumer| Box::pin(consumer.poll_async())).collect();
    assert_eq!(poll_all(&mut futures, &waker), 0);
    for sent in 1..=5 {
        send(&store, &["x"]);
        assert_eq!(counter.0.load(Ordering::Relaxed), sent, "one for each append");
    }
    assert_eq!(poll_all(&mut futures, &waker), 1, "the first to look takes all five");
}

#[test]
fn what_one_leaves_wakes_the_next() {
    let store = live_store();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mut consumer = builder(&store).max_records(1).build().unwrap();
            thread::spawn(move || {
                let leased = consumer.poll(LONG).unwrap();
                consumer.ack_all(&leased).unwrap();
                leased.len()
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(30));
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    jobs.send_batch(&[Record::new("1"), Record::new("2"), Record::new("3"), Record::new("4")])
        .unwrap();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 1));
}

/// RocketMQ parks a POP until a sweep comes by; here what ends a lease wakes who waits.
#[test]
fn a_record_that_comes_back_wakes_who_waits() {
    let store = live_store();
    send(&store, &["1"]);
    let mut first = builder(&store).lease(Duration::from_millis(80)).build().unwrap();
    let begun = Instant::now();
    assert_eq!(first.poll(LONG).unwrap().len(), 1);
    let mut second = builder(&store).build().unwrap();
    let leased = second.poll(LONG).unwrap(); // the lease ends
    assert!(begun.elapsed() >= Duration::from_millis(80));
    let other = thread::spawn(move || first.poll(LONG).unwrap().len());
    thread::sleep(Duration::from_millis(20));
    second.release_after(leased.iter().next().unwrap(), Duration::from_millis(30)).unwrap();
    assert_eq!(other.join().unwrap(), 1, "the delay is over");
}

#[test]
fn a_future_that_is_dropped_passes_its_wake_up_on() {
    let store = live_store();
    let mut first = builder(&store).build().unwrap();
    let mut second = builder(&store).build().unwrap();
    let [one, two] = [(); 2].map(|()| Arc::new(Counting::default()));
    let (first_waker, second_waker) = (Waker::from(one.clone()), Waker::from(two.clone()));
    let mut waits = pin!(second.poll_async());
    {
        let mut given_up = pin!(first.poll_async());
        assert!(given_up.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending());
        assert!(waits.as_mut().poll(&mut Context::from_waker(&second_waker)).is_pending());
        send(&store, &["1"]);
        assert_eq!((one.0.load(Ordering::Relaxed), two.0.load(Ordering::Relaxed)), (1, 0));
    }
    // the pinned future is dropped with its scope
    assert_eq!(two.0.load(Ordering::Relaxed), 1);
    assert!(waits.as_mut().poll(&mut Context::from_waker(&second_waker)).is_ready());
}

/// Nothing comes back, but there is room again: by a last delivery that is over, by a consumer that
/// goes, by one that was woken and goes without having looked.
#[test]
fn room_that_is_freed_wakes_who_waits() {
    for goes in [false, true] {
        let (world, store) = store();
        send(&store, &["1", "2"]);
        let narrow = || builder(&store).max_in_flight(1).max_deliveries(1).build().unwrap();
        let (mut first, mut second) = (narrow(), narrow());
        assert_eq!(values(&poll(&mut first)), ["1"]);
        let counter = Arc::new(Counting::default());
        let waker = Waker::from(counter.clone());
        let mut waits = pin!(second.poll_async());
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        if goes {
            drop(first);
        } else {
            world.pass(&store, 31);
        }
        assert_eq!(counter.0.load(Ordering::Relaxed), 1, "goes: {goes}");
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    }
}

#[test]
fn a_worker_that_is_dropped_passes_its_wake_up_on() {
    let store = live_store();
    let mut second = builder(&store).build().unwrap();
    let counters = [(); 2].map(|()| Arc::new(Counting::default()));
    let [first_waker, second_waker] = counters.clone().map(Waker::from);
    let until = std::future::pending();
    let handler = |_| std::future::ready(JobOutcome::Done);
    let mut worker = Box::pin(store.worker("g").topic("jobs").run_async(handler, until));
    assert!(worker.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending());
    let mut waits = pin!(second.poll_async());
    assert!(waits.as_mut().poll(&mut Context::from_waker(&second_waker)).is_pending());
    send(&store, &["1"]);
    let counts = || counters.clone().map(|counter| counter.0.load(Ordering::Relaxed));
    assert_eq!(counts(), [1, 0]);
    drop(worker);
    assert_eq!(counts(), [1, 1]);
    assert!(waits.as_mut().poll(&mut Context::from_waker(&second_waker)).is_ready());
}

/// A record that is owed and may not be read yet promises something at each look: its transaction
/// is open, and who took it first read uncommitted.
#[test]
fn a_record_that_cannot_be_read_yet_is_waited_for_quietly() {
    let store = live_store();
    let mut producer = store.producer().transactional("t").build().unwrap();
    let open = producer.begin().unwrap();
    open.topic("jobs").unwrap().send(Record::new("open")).unwrap();
    let mut hasty = builder(&store).read_uncommitted().build().unwrap();
    assert_eq!(poll(&mut hasty).len(), 1);
    drop(hasty);
    let [mut first, mut second] = [(); 2].map(|()| builder(&store).build().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let leased = first.poll(Duration::from_millis(50)).unwrap();
        tell.send(leased.len()).unwrap();
    });
    assert_eq!(told.recv_timeout(LONG / 6), Ok(0), "a poll ends when it is to");
    let counter = Arc::new(Counting::default());
    let waker = Waker::from(counter.clone());
    let mut waits = pin!(second.poll_async());
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    open.commit().unwrap();
    assert!(counter.0.load(Ordering::Relaxed) > 0, "the commit wakes it");
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn a_close_wakes_all_who_wait() {
    let store = live_store();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let mut consumer = builder(&store).build().unwrap();
            thread::spawn(move || consumer.poll(LONG).map(|leased| leased.len()))
        })
        .collect();
    thread::sleep(Duration::from_millis(30));
    store.close().unwrap();
    for thread in threads {
        assert!(thread.join().unwrap().unwrap_err().is_closed());
    }
}

#[test]
fn threads_share_a_stream_and_nothing_is_lost_or_twice() {
    const EACH: usize = 500;
    let store = live_store();
    let seen = Arc::new(crate::sync::Mutex::new(Vec::new()));
    let takers: Vec<_> = (0..6)
        .map(|at| {
            let weak = builder(&store).durability(Durability::Process).max_records(1 + at * 3);
            let (mut consumer, seen) = (weak.build().unwrap(), seen.clone());
            thread::spawn(move || {
                while seen.lock().len() < 2 * EACH {
                    let leased = consumer.poll(Duration::from_millis(200)).unwrap();
                    for (at, record) in leased.iter().enumerate() {
                        if at % 7 == 6 && record.delivery_count() < 3 {
                            consumer.release(record).unwrap();
                        } else {
                            consumer.ack(record).unwrap();
                            seen.lock().push(record.offset());
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..2 {
        let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
        (0..EACH).for_each(|_| drop(jobs.send(Record::new("x")).unwrap()));
    }
    takers.into_iter().for_each(|taker| taker.join().unwrap());
    let mut seen = seen.lock().clone();
    seen.sort();
    let expected = (0..1_000).map(Offset::new).collect::<Vec<_>>();
    assert_eq!(seen, expected);
}
