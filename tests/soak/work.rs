//! The load of RocketMQ's half, of a process that lives until it is killed: a share group and a
//! worker that take the same jobs, give some back and some up, delayed records of which some are
//! cancelled, prepared transactions of which some are asked about, records sent once under an id.
//!
//! Every topic of it keeps little, so that what is not let go of shows; and it works at a pace, for
//! what is said of work lies in logs that are compacted by the hundred megabytes. A record says
//! what it is: a delayed one when it was due, one of two halves which number the other has, so that
//! whoever opens the store later sees one that came early, twice or alone.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::{
    Durability, Job, JobOutcome, Journal, OwnedRecord, Record, Resolution, Result, RetryPolicy,
    ShareConsumer, Store, Timestamp, TopicConfig,
};

use crate::load;
use crate::promise::{JOURNAL, KEPT, SEGMENT};

const JOBS: &str = "work-jobs";
const LATE: &str = "work-late";
const ONCE: &str = "work-once";
/// What is prepared has a record in both.
const HALVES: [&str; 2] = ["work-left", "work-right"];
/// Of the group and of the worker.
const LETTERS: [&str; 2] = ["work-crew.dlq", "work-hands.dlq"];
const PACE: Duration = Duration::from_millis(80);
const WINDOW: Duration = Duration::from_secs(1);

/// Works until it is killed.
pub fn work(root: &Path) {
    let store = Store::builder(root).journal(Journal::Bytes(JOURNAL)).open().expect("opened");
    load::say("opened");
    prepare(&store).expect("made");
    let (store, stop) = (&store, &AtomicBool::new(false));
    std::thread::scope(|scope| {
        for part in [offer, take, take, delay, resolve] {
            scope.spawn(move || part(store, stop).expect("nothing is to fail"));
        }
        load::look_at_work(root);
    });
}

/// Makes the topics that are not there yet.
fn prepare(store: &Store) -> Result<()> {
    let config = TopicConfig::new().segment_bytes(SEGMENT).retention_bytes(KEPT[1]);
    let config = config.file_delete_delay(Duration::from_millis(50));
    for topic in [JOBS, LATE].iter().chain(&HALVES).chain(&LETTERS) {
        store.ensure_topic(topic, config.clone())?;
    }
    store.ensure_topic(ONCE, config.deduplicate(WINDOW)).map(drop)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 9999")
}

/// Numbers that no two processes share.
fn numbers() -> impl Iterator<Item = String> {
    let life = format!("{}-{}", std::process::id(), now());
    (0_u64..).map(move |number| format!("{life}-{number}"))
}

/// Until it is to stop, or something fails.
fn again(stop: &AtomicBool, mut turn: impl FnMut(&mut StdRng) -> Result<()>) -> Result<()> {
    let mut random = StdRng::seed_from_u64(now().unsigned_abs());
    while !stop.load(Ordering::Relaxed) {
        turn(&mut random)?;
        std::thread::sleep(PACE);
    }
    Ok(())
}

/// Sends jobs, and has a worker do them too.
fn offer(store: &Store, stop: &AtomicBool) -> Result<()> {
    let run = |job: Job| match job.record().offset().get() % 50 {
        7 => JobOutcome::Reject,
        at if at % 9 == 4 && job.attempt() == 1 => JobOutcome::Retry,
        _ => JobOutcome::Done,
    };
    let worker = store.worker("work-hands").topic(JOBS).concurrency(2);
    let worker = worker.retry(RetryPolicy::fixed(Duration::from_millis(30))).run(run)?;
    let jobs = store.producer().build()?.topic(JOBS)?;
    let mut numbers = numbers();
    again(stop, |_| jobs.send(Record::new(&numbers.next().expect("endless"))).map(drop))?;
    worker.stop()
}

/// Takes jobs and says something of each; no job comes again that it acknowledged.
fn take(store: &Store, stop: &AtomicBool) -> Result<()> {
    let consumer = |store: &Store| -> Result<ShareConsumer> {
        let builder = store.share_consumer("work-crew").subscribe([JOBS]).max_records(20);
        builder.durability(Durability::Process).build()
    };
    let (mut crew, mut done) = (consumer(store)?, HashSet::new());
    again(stop, |random| {
        for record in &crew.poll(Duration::from_millis(20))? {
            let at = record.offset();
            assert!(!done.contains(&at), "the job at {at} was acknowledged and comes again");
            match random.random_range(0..50) {
                0 => crew.reject(record)?,
                1..7 => crew.release_after(record, Duration::from_millis(40))?,
                7 => crew.release(record)?,
                _ => {
                    crew.ack(record)?;
                    done.insert(at);
                }
            }
        }
        if done.len() > 2_000 {
            done.clear();
            crew = consumer(store)?; // another joins as one leaves
        }
        Ok(())
    })
}

/// Schedules records for soon, and cancels some.
fn delay(store: &Store, stop: &AtomicBool) -> Result<()> {
    let late = store.producer().build()?.topic(LATE)?;
    let mut numbers = numbers();
    again(stop, |random| {
        let due = now() + random.random_range(0..400);
        let text = format!("{due}:{}", numbers.next().expect("endless"));
        let id = late.schedule(Record::new(&text), Timestamp::from_millis(due))?;
        if random.random_bool(0.1) {
            match store.cancel_scheduled(&id) {
                Err(error) if error.kind() == tidelog::ErrorKind::AlreadyResolved => {}
                done => done?,
            }
        }
        Ok(())
    })
}

/// Prepares two halves, and commits, rolls back, or waits to be asked; sends what is sent once.
fn resolve(store: &Store, stop: &AtomicBool) -> Result<()> {
    let outbox = store.prepared("work-outbox").durability(Durability::Process);
    let outbox = outbox.first_check(Duration::from_millis(100)).resolver(|_| Resolution::Commit);
    let outbox = outbox.build()?;
    let once = store.producer().build()?.topic(ONCE)?;
    let mut numbers = numbers();
    again(stop, |random| {
        let number = numbers.next().expect("endless");
        let id = outbox.prepare(&HALVES.map(|topic| (topic, Record::new(&number))))?;
        match random.random_range(0..20) {
            0 => {}
            1..6 => outbox.roll_back(id)?,
            _ => outbox.commit(id)?,
        }
        once.send_once(&number, Record::new(&number))?;
        let again = once.send_once(&number, Record::new(&number))?;
        assert!(again.is_duplicate(), "{number} was sent twice");
        Ok(())
    })
}

fn records(store: &Store, topic: &str) -> Result<Vec<OwnedRecord>> {
    let mut all = Vec::new();
    for records in store.reader().subscribe([topic]).build()?.read_to_end()? {
        all.extend(records?.iter().map(|record| record.to_owned()));
    }
    Ok(all)
}

fn text(record: &OwnedRecord) -> String {
    String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned()
}

/// One of `these` that the others lack, though they begin before it: retention may have taken more
/// of one topic than of the other, and neighbours may have come in another order.
fn alone<'a>(these: &'a [String], others: &[String]) -> Option<&'a String> {
    const NEIGHBOURS: usize = 20;
    let begins = others.first().and_then(|first| these.iter().position(|it| it == first));
    let others: HashSet<&String> = others.iter().collect();
    let behind = these.iter().skip(begins.unwrap_or(0) + NEIGHBOURS);
    behind.into_iter().find(|it| !others.contains(it))
}

/// What a store that was opened again holds of it: none early, none twice, none alone.
pub fn find(store: &Store) -> Result<std::result::Result<(), String>> {
    for topic in [LATE, ONCE].iter().chain(&HALVES) {
        if store.describe(topic).is_err() {
            return Ok(Ok(())); // it was ended before it had made them
        }
        let mut seen = HashSet::new();
        for record in records(store, topic)? {
            let text = text(&record);
            let due = text.split_once(':').map_or(0, |(due, _)| due.parse().unwrap_or(i64::MAX));
            let at = record.timestamp().map_or(0, Timestamp::as_millis);
            if at < due {
                return Ok(Err(format!("I3: {topic}: {text} came at {at}")));
            }
            if !seen.insert(text.clone()) {
                return Ok(Err(format!("I3: {topic}: {text} came twice")));
            }
        }
    }
    let [left, right] = HALVES.map(|topic| records(store, topic));
    let [left, right] = [left?, right?].map(|all| all.iter().map(text).collect::<Vec<_>>());
    if let Some(alone) = alone(&left, &right).or_else(|| alone(&right, &left)) {
        return Ok(Err(format!("I6: {alone} is there by half")));
    }
    if store.stats().unreadable_shares > 0 {
        return Ok(Err("I7: what a share group said cannot be read".to_owned()));
    }
    Ok(Ok(()))
}
