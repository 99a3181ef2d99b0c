//! Groups whose members run on threads of their own, share one thread, or are tasks that are given
//! up: whatever waits for whatever, every record is delivered and nobody waits for ever. A failure
//! prints its seed and the command that repeats it.

use crate::common;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::budget;
use common::suite::Suite;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::{Consumer, ManualClock, RangeAssignor, Record, Records, Store, Threads, TopicConfig};

const GROUP: &str = "billing";

/// Members in threads of their own, that come and go while records are sent: each record is
/// delivered, and committed once all is quiet.
#[test]
fn threads_share_a_group() {
    const RECORDS: usize = 4_000;
    const PARTITIONS: u32 = 8;
    let store = Store::in_memory().expect("a store");
    store.create_topic("orders", TopicConfig::new().partitions(PARTITIONS)).expect("made");
    let seen = Mutex::new(BTreeSet::new());
    let count = AtomicUsize::new(0);
    let read_some = |consumer: &mut Consumer| {
        let records = consumer.poll(Duration::from_millis(20)).expect("a poll");
        let mut seen = seen.lock().expect("no panic");
        for record in &records {
            seen.insert((record.partition().get(), record.offset().get()));
        }
        count.store(seen.len(), Ordering::Release);
        drop(seen);
        match consumer.commit() {
            Ok(()) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, read_some, done) = (&store, &read_some, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let builder = store.consumer(GROUP).subscribe(["orders"]);
                    let mut consumer =
                        builder.assignor(RangeAssignor::new()).build().expect("a member");
                    for _ in 0..5 + thread * 7 {
                        read_some(&mut consumer);
                    }
                }
            });
        }
        let orders = store.producer().build().and_then(|producer| producer.topic("orders"));
        let orders = orders.expect("a producer");
        for number in 0..RECORDS {
            orders.send_to(number as u32 % PARTITIONS, Record::new("x")).expect("sent");
        }
        let mut last = store.consumer(GROUP).subscribe(["orders"]).assignor(RangeAssignor::new());
        last = last.max_records(100);
        let mut last = last.build().expect("a member");
        while count.load(Ordering::Acquire) < RECORDS {
            read_some(&mut last);
        }
        done.store(true, Ordering::Release);
    });
    let committed = store.committed(GROUP).expect("offsets");
    let total: i64 = committed.iter().map(|(_, _, committed)| committed.offset().get()).sum();
    assert_eq!(total, RECORDS as i64);
    store.close().expect("closed");
}

/// One thread, many members, whatever the timeouts: no poll waits for another's.
#[test]
fn many_members_on_one_thread_never_wait_for_each_other() {
    let suite = Suite::new("groups_one_thread");
    let seeds = budget::seeds(8, 20, 1_000);
    let test = "many_members_on_one_thread_never_wait_for_each_other";
    budget::for_each_seed("public", test, seeds, |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let clock = ManualClock::default();
        let store = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host);
        let store = store.open().expect("a store");
        store.create_topic("orders", TopicConfig::new().partitions(7)).expect("made");
        let orders = store.producer().build().and_then(|producer| producer.topic("orders"));
        let orders = orders.expect("a producer");
        let mut members: Vec<Consumer> = Vec::new();
        let (mut sent, mut seen) = (0_usize, BTreeSet::new());
        for _ in 0..80 {
            match random.random_range(0..6) {
                0 if members.len() < 6 => {
                    let builder = store.consumer(GROUP).subscribe(["orders"]);
                    members.push(builder.build().expect("a member"));
                }
                1 if !members.is_empty() => {
                    drop(members.swap_remove(random.random_range(0..members.len())));
                }
                2 => {
                    orders.send_to(sent as u32 % 7, Record::new("x")).expect("sent");
                    sent += 1;
                }
                _ => {}
            }
            for member in &mut members {
                let timeout = Duration::from_millis(random.random_range(0..3));
                for record in &member.poll(timeout).expect("a poll") {
                    seen.insert((record.partition().get(), record.offset().get()));
                }
            }
            let owned: Vec<usize> =
                members.iter().map(|member| member.assignment().len()).collect();
            assert!(owned.iter().sum::<usize>() <= 7);
            suite.state((), (owned, sent, seen.len()));
        }
        let mut last = store.consumer(GROUP).subscribe(["orders"]).build().expect("a member");
        members.clear();
        while seen.len() < sent {
            for record in &last.poll(Duration::from_secs(30)).expect("a poll") {
                seen.insert((record.partition().get(), record.offset().get()));
            }
        }
    });
}

/// A task that is given up at each of its waits, in turn, loses and repeats nothing.
#[test]
fn a_stream_given_up_anywhere_loses_nothing() {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};
    let seeds = budget::seeds(20, 50, 2_000);
    let suite = Suite::new("groups_cancelled");
    let test = "a_stream_given_up_anywhere_loses_nothing";
    budget::for_each_seed("public", test, seeds, |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let store = Store::builder_in_memory().threads(Threads::Host).open().expect("a store");
        store.create_topic("orders", TopicConfig::new().partitions(3)).expect("made");
        let orders = store.producer().build().and_then(|producer| producer.topic("orders"));
        let orders = orders.expect("a producer");
        let builder = store.consumer(GROUP).subscribe(["orders"]).max_records(5);
        let mut consumer = builder.min_bytes(random.random_range(1..400)).build().expect("built");
        let mut cx = Context::from_waker(Waker::noop());
        let mut next = [0_i64; 3];
        let mut take = |records: &Records| {
            for record in records {
                let at = &mut next[record.partition().get() as usize];
                assert_eq!(record.offset().get(), *at, "in order, once");
                *at += 1;
            }
            next.iter().sum::<i64>()
        };
        let (mut sent, mut seen, mut given_up) = (0_i64, 0, 0_u32);
        while seen < 200 {
            let looked = match random.random_bool(0.5) {
                true => {
                    let mut future = pin!(consumer.poll_async());
                    let mut looks = random.random_range(1..3);
                    loop {
                        let looked = future.as_mut().poll(&mut cx);
                        looks -= 1;
                        if looked.is_ready() || looks == 0 {
                            break looked;
                        }
                    }
                }
                false => match futures_core::Stream::poll_next(Pin::new(&mut consumer), &mut cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(item) => Poll::Ready(item.expect("the store is open")),
                },
            };
            match looked {
                Poll::Ready(records) => seen = take(&records.expect("records")),
                Poll::Pending => given_up += 1,
            }
            suite.state((), (seen, sent, given_up));
            let more = random.random_range(0..4).min(200 - sent);
            for _ in 0..more {
                let partition = random.random_range(0..3_u32);
                orders.send_to(partition, Record::new("hello")).expect("sent");
                sent += 1;
            }
            if sent == 200 {
                seen = take(&consumer.try_poll().expect("the rest"));
            }
        }
        assert!(given_up > 0, "nothing was given up");
    });
}
