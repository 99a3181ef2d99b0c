//! Reading everything back: `read100` (a batch a record, as `send` writes), `read100b` (batches as
//! lingering writes them), `read1k` (100 values of 1 KiB a batch).
//!
//! Through a reader of the public API, with the checksums compared and every value's bytes handed
//! to the caller; the page cache is warm. `readcold` reads what the page cache has lost, from an
//! active segment and from sealed ones, and beside it the files plainly.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use criterion::Throughput;
use rustix::fs::{Advice, fadvise};
use tidelog::{Consumer, Record, Store, TopicConfig, TopicProducer};

use crate::place::Place;
use crate::rounds::Run;

/// Fills a partition and returns it with a reader.
fn filled(place: &Place, fill: impl FnOnce(&TopicProducer)) -> (Store, Consumer) {
    filled_with(place, TopicConfig::new(), fill)
}

fn filled_with(
    place: &Place,
    config: TopicConfig,
    fill: impl FnOnce(&TopicProducer),
) -> (Store, Consumer) {
    let store = Store::open(&place.0).expect("a new store");
    store.create_topic("bench", config).expect("a new topic");
    fill(&store.producer().build().expect("a producer").topic("bench").expect("the topic"));
    let reader = store.reader().assign([("bench", 0)]).max_bytes(1 << 20);
    let reader = reader.max_records(usize::MAX).build().expect("a reader");
    (store, reader)
}

/// Reads a partition from its first record to its end; returns records and value bytes.
fn read_all(reader: &mut Consumer) -> (u64, u64) {
    reader.seek_to_beginning("bench", 0).expect("a seek");
    let (mut records, mut bytes) = (0, 0);
    loop {
        let fetched = reader.try_poll().expect("a poll");
        if fetched.is_empty() {
            return (records, bytes);
        }
        for record in &fetched {
            records += 1;
            bytes += record.value().map_or(0, |value| black_box(value).len() as u64);
        }
    }
}

pub fn read100(run: &Run) {
    let records = run.count(1_000_000);
    let place = Place::new(run.name);
    let (_store, mut reader) = filled(&place, |topic| {
        for _ in 0..records {
            topic.send(Record::new(&[7u8; 100])).expect("an append");
        }
    });
    run.criterion(run.name, Throughput::Elements(records), || {
        assert_eq!(read_all(&mut reader), (records, records * 100));
    });
}

pub fn read100b(run: &Run) {
    let records = run.count(3_000_000);
    let place = Place::new(run.name);
    let (_store, mut reader) = filled(&place, |topic| {
        for _ in 0..records {
            drop(topic.enqueue(Record::new(&[7u8; 100])).expect("room in the buffer"));
        }
        topic.flush().expect("what lingers is appended");
    });
    run.criterion(run.name, Throughput::Elements(records), || {
        assert_eq!(read_all(&mut reader), (records, records * 100));
    });
}

pub fn read1k(run: &Run) {
    let batches = run.count(3_000);
    let place = Place::new(run.name);
    let (_store, mut reader) = filled(&place, |topic| {
        let records: Vec<_> = (0..100).map(|_| Record::new(&[7u8; 1024])).collect();
        for _ in 0..batches {
            topic.send_batch(&records).expect("an append");
        }
    });
    run.criterion(run.name, Throughput::Bytes(batches * 100 * 1024), || {
        assert_eq!(read_all(&mut reader), (batches * 100, batches * 100 * 1024));
    });
}

/// Has the page cache lose what was synced and is mapped by nobody.
fn evict(dir: &Path) {
    for file in log_files(dir) {
        fadvise(&file, 0, None, Advice::DontNeed).expect("advice that is taken");
    }
}

fn log_files(dir: &Path) -> Vec<File> {
    let entries = std::fs::read_dir(dir.join("bench-0")).expect("the partition's directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let logs = paths.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
    logs.map(|path| File::open(path).expect("a log file")).collect()
}

pub fn readcold(run: &Run) {
    let records = run.count(1_000_000);
    for (what, segment_bytes) in [("active", 1 << 30), ("sealed", 16 << 20)] {
        for round in 0..run.rounds() {
            let place = Place::new(run.name);
            let config = TopicConfig::new().segment_bytes(segment_bytes);
            let (store, mut reader) = filled_with(&place, config, |topic| {
                for _ in 0..records {
                    topic.send(Record::new(&[7u8; 100])).expect("an append");
                }
            });
            store.flush().expect("a flush"); // the log rests, and maps nothing
            evict(&place.0);
            let began = Instant::now();
            assert_eq!(read_all(&mut reader), (records, records * 100));
            let took = began.elapsed().as_secs_f64();
            drop((reader, store));
            evict(&place.0);
            let (began, mut buffer, mut bytes) = (Instant::now(), vec![0; 1 << 20], 0);
            for mut file in log_files(&place.0) {
                loop {
                    match file.read(&mut buffer).expect("a read") {
                        0 => break,
                        got => bytes += got,
                    }
                }
            }
            let plainly = bytes as f64 / began.elapsed().as_secs_f64() / 1e6;
            let (rate, log) = (records as f64 / took / 1e6, bytes as f64 / took / 1e6);
            println!(
                "{what}, round {round}: {rate:.2} M/s, {log:.0} MB/s; plainly {plainly:.0} MB/s"
            );
        }
    }
}
