//! A job queue: workers that fail now and then, retries with back-off, order by key, dead letters
//! and sending them back once the bug is mended.
//!
//! `cargo run --release --example jobs [-- DIR]`. With a directory jobs outlive the program: kill
//! it whenever you like, run it again, and each job is done at least once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use tidelog::{DeadLetter, JobOutcome, Record, RetryPolicy, Store, TopicConfig};

const JOBS: u32 = 200;

fn main() -> tidelog::Result<()> {
    let store = match std::env::args().nth(1) {
        Some(dir) => Store::open(dir)?,
        None => Store::in_memory()?,
    };
    store.ensure_topic("jobs", TopicConfig::new().partitions(4))?;
    let jobs = store.producer().build()?.topic("jobs")?;
    for number in 0..JOBS {
        let (key, value) = (format!("customer-{}", number % 7), number.to_string());
        jobs.send(Record::new(&value).key(&key))?;
    }

    let (tell, told) = channel();
    let (tries, has_bug) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, buggy) = (tries.clone(), has_bug.clone());
    let worker = store
        .worker("workers")
        .topic("jobs")
        .concurrency(8)
        .ordered_by_key() // one customer's jobs one after the other, all customers side by side
        .retry(RetryPolicy::exponential(Duration::from_millis(5), Duration::from_secs(60)))
        .max_attempts(10)
        .run(move |job| {
            let tried = counted.fetch_add(1, Ordering::Relaxed);
            if tried % 10 == 9 {
                job.note_error("the network was down"); // in its dead letter, if it becomes one
                return JobOutcome::Retry;
            }
            let is_odd = job.record().value().is_some_and(|value| value.ends_with(b"13"));
            if is_odd && buggy.load(Ordering::Relaxed) {
                job.note_error("13 is bad luck");
                return JobOutcome::Reject; // never again: a dead letter
            }
            let _ = tell.send(job.record().offset());
            JobOutcome::Done
        })?;

    let mut letters = store.consumer("post").subscribe(["workers.dlq"]).build()?;
    let mut dead = 0;
    while dead < 2 {
        for record in &letters.poll(Duration::from_secs(60))? {
            let Some(letter) = DeadLetter::of(record) else { continue };
            let (Some(partition), Some(offset)) = (letter.partition, letter.offset) else {
                continue;
            };
            let error = letter.error.unwrap_or("nobody said why");
            println!("dead: {}-{partition}, offset {offset}: {error}", letter.topic);
            dead += 1;
        }
    }
    letters.commit()?;

    has_bug.store(false, Ordering::Relaxed); // mended: they are worked on like any others
    let redriven = store.redrive_dead_letters("workers.dlq").run()?;
    println!("{} of {dead} dead letters sent back", redriven.records);
    let done = told.iter().take(JOBS as usize).count();
    worker.stop()?; // waits for the handlers that run

    println!("{done} jobs done in {} tries", tries.load(Ordering::Relaxed));
    for partition in store.describe_share_group("workers")?.partitions {
        println!("jobs-{}: {} left", partition.partition, partition.lag.unwrap_or(0));
    }
    store.close()
}
