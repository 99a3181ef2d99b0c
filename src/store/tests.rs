//! A store in a forked child: every call is refused, nothing is written, flushed or unlocked. And
//! what dropping the last handle of a store means.

mod broadcast;
mod deduplication;
mod hosted;
mod naming;
mod priorities;
#[cfg(feature = "sim")]
mod replicas;
mod retries;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::config::{Durability, Threads, TopicConfig};
use crate::consumer::Consumer;
use crate::disk::{IoMode, in_forked_child};
use crate::error::{ErrorKind, Outcome, Result};
use crate::ids::Offset;
use crate::producer::Producer;
use crate::record::Record;
use crate::store::Store;

/// Every file below a directory, with its bytes.
fn image(dir: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => image(&path, files),
            false => drop(files.insert(path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
}

/// What is wrong with a call's answer in a forked child, if anything is.
fn answer<T>(what: &str, result: Result<T>) -> Option<String> {
    match result {
        Ok(_) => Some(format!("{what}: not refused")),
        Err(error) if error.kind() != ErrorKind::Forked => Some(format!("{what}: {error}")),
        Err(error) if error.outcome() != Outcome::NotWritten => Some(format!("{what}: outcome")),
        Err(_) => None,
    }
}

/// Calls everything in the child; returns how many answers are wrong.
fn call_all(store: &Store, producer: &Producer, consumer: &mut Consumer) -> i32 {
    let config = TopicConfig::new;
    let soon = Duration::from_millis(1);
    let wrong: Vec<String> = [
        answer("create", store.create_topic("parcels", config())),
        answer("ensure", store.ensure_topic("orders", config())),
        answer("delete", store.delete_topic("orders")),
        answer("describe", store.describe("orders")),
        answer("topics", store.topics()),
        answer("alter", store.alter_topic("orders", config())),
        answer("add partitions", store.add_partitions("orders", 2)),
        answer("delete records", store.delete_records_before("orders", 0, Offset::new(1))),
        answer("retention", store.apply_retention()),
        answer("flush", store.flush()),
        answer("producer", store.producer().build()),
        answer("consumer", store.consumer("other").subscribe(["orders"]).build()),
        answer("send", producer.topic("orders").and_then(|orders| orders.send(Record::new("x")))),
        answer("flush producer", producer.flush()),
        answer("poll", consumer.poll(soon)),
        answer("try poll", consumer.try_poll()),
        answer("commit", consumer.commit()),
        answer("groups", store.groups()),
        answer("committed", store.committed("billing")),
        answer("close", store.close()),
        answer("close async", pollster::block_on(store.close_async())),
        (store.run_due().is_some()).then(|| "something is due".to_owned()),
        (store.run_maintenance().is_some()).then(|| "upkeep is due".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    wrong.iter().for_each(|wrong| eprintln!("in the child: {wrong}"));
    i32::try_from(wrong.len()).unwrap_or(1)
}

#[test]
fn a_forked_child_may_do_nothing_and_its_parent_goes_on() {
    for (mode, threads) in [(IoMode::Mapped, Threads::Own), (IoMode::Positioned, Threads::Host)] {
        let dir = tempfile::tempdir().unwrap();
        let builder = || Store::builder(dir.path()).io_mode(mode).threads(threads);
        let store = builder().open().unwrap();
        store.ensure_topic("orders", TopicConfig::new()).unwrap();
        let producer = store.producer().linger(Duration::from_secs(3600)).build().unwrap();
        let orders = producer.topic("orders").unwrap();
        orders.with_durability(Durability::Power).send(Record::new("sent")).unwrap();
        let lingering = orders.enqueue(Record::new("lingers")).unwrap();
        let mut consumer = store.consumer("billing").subscribe(["orders"]).build().unwrap();
        assert_eq!(consumer.try_poll().unwrap().len(), 1);
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        image(dir.path(), &mut before);
        let mut all = Some((store, producer, orders, lingering, consumer));
        let code = in_forked_child(|| {
            let (store, producer, orders, lingering, mut consumer) = all.take().unwrap();
            let wrong = call_all(&store, &producer, &mut consumer);
            let late = answer("enqueue", orders.enqueue(Record::new("late")));
            drop((lingering, orders, producer, consumer, store));
            wrong + i32::from(late.is_some())
        });
        assert_eq!(code, 0, "{mode:?}");
        image(dir.path(), &mut after);
        assert!(before == after, "{mode:?}: the child changed a file");
        assert_eq!(builder().open().unwrap_err().kind(), ErrorKind::Locked, "still the parent's");
        let (store, producer, orders, lingering, mut consumer) = all.take().unwrap();
        orders.send(Record::new("goes on")).unwrap();
        assert!(!consumer.try_poll().unwrap().is_empty());
        consumer.commit().unwrap();
        store.close().unwrap();
        assert!(lingering.wait().is_ok(), "flushed by the parent's close");
        drop((producer, orders, consumer, store));
        let store = builder().open().unwrap();
        assert!(store.open_report().was_closed_cleanly());
        assert_eq!(store.describe("orders").unwrap().partitions()[0].end_offset(), Offset::new(3));
        store.close().unwrap();
    }
}

/// The store's own thread is at work, and holds the engine, when the last handle goes.
#[cfg(feature = "sim")]
#[test]
fn dropping_the_last_handle_closes_before_it_returns() {
    use crate::config::BackgroundSync;
    use crate::disk::{Fault, Plan, SimDisk};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let disk = SimDisk::new(1);
    let sync = BackgroundSync { bytes: Some(1), interval: None };
    let builder = || Store::builder("/store").disk(Arc::new(disk.clone())).background_sync(sync);
    let store = builder().open().unwrap();
    let producer = store.producer().build().unwrap();
    store.create_topic("orders", TopicConfig::new()).unwrap();
    disk.fail(Plan::new(Fault::Hang));
    producer.topic("orders").unwrap().send(Record::new("kept")).unwrap();
    while !disk.is_hanging() {
        std::thread::yield_now();
    }
    let returned = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop((store, producer));
            returned.store(true, Ordering::Release);
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(!returned.load(Ordering::Acquire), "it waits for the sync that is under way");
        disk.heal();
    });
    assert!(builder().open().unwrap().open_report().was_closed_cleanly());
}
