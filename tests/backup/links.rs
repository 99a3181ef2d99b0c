//! A file with more than one name is never written or cut in place, whatever it is: each kind of
//! writing is done to a store all of whose files have a second name, and the second names still
//! lead to what was there before.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tidelog::{Durability, Journal, Offset, Record, Repair, Store};

use super::*;

/// Gives every file below `from` a second name below `to`.
fn link_all(from: &Path, to: &Path) {
    for path in hashes(from).keys() {
        let to = to.join(path.strip_prefix(from).expect("below it"));
        std::fs::create_dir_all(to.parent().expect("a directory")).expect("it");
        std::fs::hard_link(path, to).expect("a link");
    }
}

/// What a store does to its files. Each begins with a store that was closed or killed.
type Writer = (&'static str, fn(&Path));

fn send(store: &Store, topic: &str, count: usize) {
    let producer = store.producer().build().expect("a producer");
    let topic = producer.topic(topic).expect("it");
    for number in 0..count {
        let value = format!("{number:-<100}");
        topic.send_to(number as u32 % PARTITIONS, Record::new(&value)).expect("a send");
    }
}

/// The last log file of a partition ends in half a batch, as a power cut may leave it.
fn tear(path: &Path) {
    let logs = hashes(&path.join("first-0")).into_keys();
    let last = logs.filter(|path| path.extension().is_some_and(|kind| kind == "log")).max();
    let file = std::fs::OpenOptions::new().append(true).open(last.expect("one"));
    std::io::Write::write_all(&mut file.expect("it"), &[7; 50]).expect("a write");
}

/// A store's process that ends without a word.
fn kill(store: Store, path: &Path) {
    let copy = path.with_extension("killed");
    for file in hashes(path).into_keys() {
        let to = copy.join(file.strip_prefix(path).expect("below it"));
        std::fs::create_dir_all(to.parent().expect("a directory")).expect("it");
        match std::fs::copy(&file, &to) {
            // a file that was being made has got its name since
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.expect("a copy")),
        }
    }
    store.close().expect("a close");
    std::fs::remove_dir_all(path).expect("gone");
    std::fs::rename(copy, path).expect("its place");
}

const WRITERS: &[Writer] = &[
    ("an append and a close", |path| {
        let store = Store::open(path).expect("a store");
        send(&store, "first", 1);
        store.close().expect("a close");
    }),
    ("appends, syncs, indexes and digests that grow", |path| {
        let store = Store::open(path).expect("a store");
        for _ in 0..3 {
            send(&store, "first", 60);
            store.flush().expect("a flush");
        }
        store.close().expect("a close");
    }),
    ("rolls", |path| {
        let store = Store::open(path).expect("a store");
        send(&store, "first", 900);
        store.close().expect("a close");
    }),
    ("retention and deleted records", |path| {
        let store = Store::open(path).expect("a store");
        store.apply_retention().expect("retention");
        store.delete_records_before("first", 0, Offset::new(5)).expect("a deletion");
        store.close().expect("a close");
    }),
    ("commits and their compaction", |path| {
        let store = Store::open(path).expect("a store");
        for _ in 0..40 {
            let consumer = store.consumer(GROUP).assign([("first", 0)]).max_records(3);
            let mut consumer = consumer.build().expect("a consumer");
            consumer.try_poll().expect("a poll");
            consumer.commit().expect("a commit");
        }
        let _due = store.run_maintenance();
        store.close().expect("a close");
    }),
    ("durable appends, by the journal", |path| {
        let journal = Journal::Bytes(1 << 20);
        let store = Store::builder(path).journal(journal).open().expect("a store");
        let producer = store.producer().durability(Durability::Power).build().expect("it");
        for _ in 0..5 {
            let topic = producer.topic("first").expect("it");
            topic.send_to(1, Record::new("durable")).expect("a send");
            let _due = store.run_maintenance();
        }
        kill(store, path);
    }),
    ("recovery after a kill", |path| {
        let store = Store::open(path).expect("a store");
        send(&store, "first", 7);
        kill(store, path);
        tear(path);
    }),
    ("a recovery that cuts a torn end", |path| {
        Store::open(path).expect("a store").close().expect("a close");
    }),
    ("damaged indexes made again", |path| {
        for file in hashes(path).into_keys() {
            if file.extension().is_some_and(|kind| kind == "index" || kind == "timeindex") {
                std::fs::remove_file(file).expect("gone");
            }
        }
        let store = Store::open(path).expect("a store");
        let bounds = bounds(&store);
        assert!(!bounds.is_empty());
        send(&store, "first", 30);
        store.close().expect("a close");
        Repair::begin(path).expect("a repair").run().expect("it");
    }),
    ("a deleted topic", |path| {
        let store = Store::open(path).expect("a store");
        store.delete_topic("second").expect("gone");
        store.close().expect("a close");
    }),
];

/// Whatever has a second name (as in a tree made by `cp -al`) is another's as well.
#[test]
fn no_writer_changes_a_file_that_has_another_name() {
    let dir = scratch();
    let data = dir.path().join("data");
    let store = Store::open(&data).expect("a store");
    store.create_topic("first", config().index_interval_bytes(512)).expect("a topic");
    store.create_topic("second", config()).expect("a topic");
    send(&store, "first", 500);
    send(&store, "second", 5);
    store.close().expect("a close");
    for (number, (what, write)) in WRITERS.iter().enumerate() {
        let twin = dir.path().join(format!("twin-{number}"));
        link_all(&data, &twin);
        let links = |path: &PathBuf| std::fs::metadata(path).expect("a file").nlink();
        assert!(hashes(&twin).keys().all(|path| links(path) == 2), "{what}");
        let before = hashes(&twin);
        write(&data);
        let after = hashes(&twin);
        for (path, hash) in &before {
            assert_eq!(after.get(path), Some(hash), "{what} changed {}", path.display());
        }
        std::fs::remove_dir_all(&twin).expect("gone");
    }
}
