//! Reading everything back: `read100` (a batch a record, as `send` writes), `read100b` (batches as
//! lingering writes them), `read1k` (100 values of 1 KiB a batch).
//!
//! Through a reader of the public API, with the checksums compared and every value's bytes handed
//! to the caller; the page cache is warm.

use std::hint::black_box;

use criterion::Throughput;
use tidelog::{Consumer, Record, Store, TopicConfig, TopicProducer};

use crate::place::Place;
use crate::rounds::Run;

/// Fills a partition and returns it with a reader.
fn filled(place: &Place, fill: impl FnOnce(&TopicProducer)) -> (Store, Consumer) {
    let store = Store::open(&place.0).expect("a new store");
    store.create_topic("bench", TopicConfig::new()).expect("a new topic");
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
