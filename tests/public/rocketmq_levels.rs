//! RocketMQ's levels to the millisecond, on a clock set by hand: a worker's retries, what a share
//! consumer gives back for later, and scheduled records come at their time and not a millisecond
//! before; what has failed sixteen retries is a dead letter.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use tidelog::{
    Clock as _, DeadLetter, Job, JobOutcome, ManualClock, Record, RetryPolicy, Store, Threads,
    Timestamp, TopicConfig,
};

const START: i64 = 1_700_000_000_000;
const MILLI: Duration = Duration::from_millis(1);
/// `1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h`.
const LEVELS: [u64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
/// Retries begin with the third.
const FIRST: usize = 2;

fn store(threads: Threads) -> (Store, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_millis(START));
    let store = Store::builder_in_memory().clock(clock.clone()).threads(threads).open();
    let store = store.expect("a store");
    store.create_topic("jobs", TopicConfig::new()).expect("a topic");
    (store, clock)
}

/// The attempts that the dead letters of a topic say, once there are any.
fn letters(store: &Store, topic: &str) -> Vec<u32> {
    let mut attempts = Vec::new();
    while attempts.is_empty() {
        store.run_maintenance();
        std::thread::sleep(MILLI);
        let Ok(mut reader) = store.reader().subscribe([topic]).build() else { continue };
        for records in reader.read_to_end().expect("an end") {
            for record in &records.expect("records") {
                attempts.extend(DeadLetter::of(record).expect("a letter").attempts);
            }
        }
    }
    attempts
}

#[test]
fn a_worker_s_retries_come_at_their_levels_to_the_millisecond() {
    let (store, clock) = store(Threads::default());
    let (tell, told) = channel();
    let now = clock.clone();
    let worker = store.worker("w").topic("jobs").retry(RetryPolicy::rocketmq()).max_attempts(17);
    let worker = worker.lease(Duration::from_secs(12 * 3600)).run(move |job: Job| {
        tell.send((job.attempt(), now.wall().as_millis())).expect("heard");
        JobOutcome::Retry
    });
    let worker = worker.expect("it runs");
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    jobs.send(Record::new("fails")).unwrap();
    let mut due = START;
    for attempt in 1..=17 {
        let (count, at) = told.recv_timeout(Duration::from_secs(60)).expect("it is tried");
        assert_eq!((count, at), (attempt, due));
        let Some(level) = LEVELS.get(FIRST + attempt as usize - 1) else { break };
        while store.describe_share_group("w").unwrap().partitions[0].delayed == 0 {
            std::thread::sleep(MILLI); // the handler has returned, its word is on the way
        }
        clock.advance(Duration::from_secs(*level) - MILLI);
        let early = told.recv_timeout(Duration::from_millis(10));
        assert_eq!(early, Err(RecvTimeoutError::Timeout), "attempt {} is early", attempt + 1);
        clock.advance(MILLI);
        due += i64::try_from(level * 1000).unwrap();
    }
    assert_eq!(letters(&store, "w.dlq"), [17]);
    worker.stop().unwrap();
}

#[test]
fn what_is_given_back_comes_at_its_level_to_the_millisecond() {
    let (store, clock) = store(Threads::Host);
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    jobs.send(Record::new("fails")).unwrap();
    let builder = store.share_consumer("g").subscribe(["jobs"]).max_deliveries(17);
    let mut consumer = builder.build().unwrap();
    let policy = RetryPolicy::rocketmq();
    for count in 1..=17_u32 {
        let leased = consumer.try_poll().unwrap();
        let record = leased.iter().next().expect("it is due");
        assert_eq!(record.delivery_count(), count);
        let delay = policy.delay(count, 0);
        consumer.release_after(record, delay).unwrap();
        if count < 17 {
            assert_eq!(delay.as_secs(), LEVELS[FIRST + count as usize - 1]);
            clock.advance(delay - MILLI);
            store.run_due();
            assert!(consumer.try_poll().unwrap().is_empty(), "after delivery {count}: early");
            clock.advance(MILLI);
        }
    }
    assert_eq!(letters(&store, "g.dlq"), [17]);
    assert!(consumer.try_poll().unwrap().is_empty());
}

#[test]
fn scheduled_records_come_at_their_levels_to_the_millisecond() {
    let (store, clock) = store(Threads::Host);
    let jobs = store.producer().build().unwrap().topic("jobs").unwrap();
    for level in LEVELS.iter().rev() {
        let delay = Duration::from_secs(*level);
        jobs.schedule(Record::new(&level.to_string()), delay).unwrap();
    }
    let mut reader = store.reader().subscribe(["jobs"]).build().unwrap();
    for level in LEVELS {
        let due = START + i64::try_from(level * 1000).unwrap();
        let left = due - clock.wall().as_millis();
        clock.advance(Duration::from_millis(left.unsigned_abs()) - MILLI);
        store.run_due();
        assert!(reader.try_poll().unwrap().is_empty(), "level {level} s is early");
        clock.advance(MILLI);
        store.run_due();
        let records = reader.try_poll().unwrap();
        let record = records.iter().next().expect("it is due");
        assert_eq!(record.value(), Some(level.to_string().as_bytes()));
        assert_eq!((records.len(), record.timestamp().unwrap().as_millis()), (1, due));
    }
    assert_eq!(store.stats().scheduled.pending, 0);
}
