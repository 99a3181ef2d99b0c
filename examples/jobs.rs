//! A job queue: workers that fail now and then, retries with back-off, order by key.
//!
//! `cargo run --release --example jobs [-- DIR]`. With a directory jobs outlive the program: kill
//! it whenever you like, run it again, and each job is done at least once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use tidelog::{JobOutcome, Record, RetryPolicy, Store, TopicConfig};

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
    let tries = std::sync::Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
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
                return JobOutcome::Retry; // the network was down, say
            }
            let _ = tell.send(job.record().offset());
            JobOutcome::Done
        })?;
    let done = told.iter().take(JOBS as usize).count();
    worker.stop()?; // waits for the handlers that run

    println!("{done} jobs done in {} tries", tries.load(Ordering::Relaxed));
    for partition in store.describe_share_group("workers")?.partitions {
        println!("jobs-{}: {} left", partition.partition, partition.lag.unwrap_or(0));
    }
    store.close()
}
