//! Holders, their words and the end of leases beside one another under shuttle, over a whole
//! store: consumers of one group that take, acknowledge, give back, reject and keep leases up,
//! and the clock that ends them. Whatever the order, each record is finished once and handed out
//! no more, and none is lost; who waits is woken, or the schedule is a deadlock.
//!
//! Run with `.ci/shuttle share`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{BackgroundSync, Durability, Threads, TopicConfig};
use crate::error::{ErrorKind, Result};
use crate::record::Record;
use crate::share_consumer::ShareConsumer;
use crate::store::Store;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::explore::{block_on, breaks, model, thread};
use crate::sync::{Arc, Mutex};
use crate::time::ManualClock;

const RECORDS: i64 = 3;
const LEASE: Duration = Duration::from_secs(30);

/// What a holder does who is told that its lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// It takes the record for not done.
    Heeds,
    /// It takes it for done, as one would that never asked.
    Ignores,
}

struct Bench {
    clock: ManualClock,
    store: Store,
    /// How often each record was finished, as the holders were told.
    finished: Mutex<BTreeMap<i64, u32>>,
    refusals: AtomicUsize,
    came_again: AtomicBool,
}

impl Bench {
    fn new() -> Arc<Bench> {
        let clock = ManualClock::default();
        let builder = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host);
        let store = builder.background_sync(BackgroundSync::OFF).open().expect("it opens");
        store.ensure_topic("jobs", TopicConfig::new()).expect("a topic");
        let producer = store.producer().durability(Durability::Process).build();
        let jobs = producer.expect("a producer").topic("jobs").expect("the topic");
        for number in 0..RECORDS {
            jobs.send(Record::new(&number.to_string())).expect("sent");
        }
        let (finished, refusals) = (Mutex::default(), AtomicUsize::new(0));
        let came_again = AtomicBool::new(false);
        Arc::new(Bench { clock, store, finished, refusals, came_again })
    }

    fn consumer(&self) -> ShareConsumer {
        let builder = self.store.share_consumer("g").subscribe(["jobs"]).without_dead_letters();
        let builder = builder.lease(LEASE).max_records(2).max_deliveries(1_000);
        builder.durability(Durability::Process).build().expect("a consumer")
    }

    /// The answer to a word that finishes a record.
    fn note(&self, at: i64, answer: Result<()>, refused: Refused) {
        match answer {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidRecordState, "{error}");
                self.refusals.fetch_add(1, Ordering::Relaxed);
                if refused == Refused::Heeds {
                    return;
                }
            }
        }
        *self.finished.lock().entry(at).or_insert(0) += 1;
    }

    /// Takes a few times, and says something of each record.
    fn hold(&self, mut consumer: ShareConsumer, number: i64, refused: Refused) {
        for round in 0..2 {
            let before = self.finished.lock().clone();
            let leased = consumer.try_poll().expect("a poll");
            for record in &leased {
                let at = record.offset().get();
                if before.contains_key(&at) {
                    self.came_again.store(true, Ordering::Relaxed);
                }
                match (number + round + at) % 4 {
                    0 => drop(consumer.release(record)), // may be over
                    1 => self.note(at, consumer.reject(record), refused),
                    2 => {
                        let _ = consumer.extend(record, LEASE);
                        self.note(at, consumer.ack(record), refused);
                    }
                    _ => self.note(at, consumer.ack(record), refused),
                }
            }
        }
    }

    fn end_leases(&self) {
        self.clock.advance(LEASE);
        self.store.run_due();
    }

    /// Finishes what is left; whether some record was lost, or finished or handed out again.
    fn is_broken(&self) -> bool {
        self.end_leases();
        let mut consumer = self.consumer();
        loop {
            let leased = consumer.try_poll().expect("a poll");
            if leased.is_empty() {
                break;
            }
            for record in &leased {
                self.note(record.offset().get(), consumer.ack(record), Refused::Heeds);
            }
        }
        let finished = self.finished.lock();
        let once = (0..RECORDS).all(|at| finished.get(&at) == Some(&1));
        !once || self.came_again.load(Ordering::Relaxed)
    }
}

/// Three holders, and leases that end beside them twice.
fn play(refused: Refused) -> Arc<Bench> {
    let bench = Bench::new();
    let consumers: Vec<ShareConsumer> = (0..3).map(|_| bench.consumer()).collect();
    let holders = (0..).zip(consumers).map(|(number, consumer)| {
        let bench = bench.clone();
        thread::spawn(move || bench.hold(consumer, number, refused))
    });
    let holders: Vec<_> = holders.collect();
    bench.end_leases();
    bench.end_leases();
    holders.into_iter().for_each(|holder| holder.join().expect("it ends"));
    bench
}

#[test]
fn a_record_is_finished_once_whoever_holds_it_when_its_lease_ends() {
    assert!(!breaks(0, || play(Refused::Heeds).is_broken()));
}

/// The control: leases do end under their holders, and who does not heed it does work twice.
#[test]
fn some_schedule_ends_a_lease_before_its_holder_speaks() {
    assert!(breaks(0, || play(Refused::Heeds).refusals.load(Ordering::Relaxed) > 0));
    assert!(breaks(0, || play(Refused::Ignores).is_broken()));
}

/// A record comes back by its holder's word, by the end of its lease, or with its holder, at once:
/// who waits is woken by one of them.
#[test]
fn who_waits_is_woken_whatever_brings_the_record_back() {
    model(0, || {
        let bench = Bench::new();
        let (mut holder, mut waiter) = (bench.consumer(), bench.consumer());
        let leased = holder.try_poll().expect("a poll");
        let rest = bench.consumer().try_poll().expect("a poll"); // goes, and gives up what it has
        assert_eq!((leased.len(), rest.len()), (2, 1));
        let again = waiter.try_poll().expect("a poll");
        waiter.ack_all(&again).expect("it is there again");
        let waiting = thread::spawn(move || {
            let mut seen = 0;
            while seen < 2 {
                let leased = block_on(waiter.poll_async()).expect("a poll");
                // a lease that is over brings the record back once more
                seen += leased.iter().filter(|record| waiter.ack(*record).is_ok()).count();
            }
        });
        let ending = {
            let bench = bench.clone();
            thread::spawn(move || bench.end_leases())
        };
        let first = leased.iter().next().expect("two records");
        let _ = holder.release(first); // unless its lease is over
        drop(holder);
        waiting.join().expect("woken");
        ending.join().expect("it ends");
    });
}
