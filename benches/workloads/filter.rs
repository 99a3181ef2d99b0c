//! A filtered scan, one record in a hundred of the wanted tag: `filterone` (scattered, in a topic
//! that keeps tags), `filterrun` (in stretches of 200 records, in such a topic), `filterall`
//! (scattered, without that: everything is read).
//!
//! 100-byte values in batches of one, as `send` writes them; through a reader of the public API, to
//! the end and back. The rate is that of the log's bytes, read or passed over; the page cache is
//! warm.

use std::hint::black_box;

use criterion::Throughput;
use tidelog::{Consumer, Record, RecordFilter, Store, TopicConfig};

use crate::place::Place;
use crate::rounds::Run;

/// Bytes of a batch of one such record: its header, and 118.
const BATCH: u64 = 61 + 118;
/// Records of one tag that lie together in `filterrun`.
const STRETCH: u64 = 200;

/// Reads what a filter leaves of a partition; returns how many records.
fn read_all(reader: &mut Consumer) -> u64 {
    reader.seek_to_beginning("bench", 0).expect("a seek");
    let mut records = 0;
    for fetched in reader.read_to_end().expect("an open store") {
        for record in &fetched.expect("a sound log") {
            records += 1;
            black_box(record.value());
        }
    }
    records
}

fn scan(run: &Run, config: TopicConfig, is_wanted: impl Fn(u64) -> bool) {
    let records = run.count(1_000_000);
    let place = Place::new(run.name);
    let store = Store::open(&place.0).expect("a new store");
    store.create_topic("bench", config).expect("a new topic");
    let topic = store.producer().build().expect("a producer").topic("bench").expect("the topic");
    for number in 0..records {
        let tag = if is_wanted(number) { "paid" } else { "sent" };
        topic.send(Record::new(&[7u8; 100]).tag(tag)).expect("an append");
    }
    let builder = store.reader().assign([("bench", 0)]).max_records(usize::MAX);
    let filter = RecordFilter::tags(["paid"]);
    let mut reader = builder.filter(filter).build().expect("a reader");
    let bytes = records * BATCH;
    let wanted = (0..records).filter(|number| is_wanted(*number)).count() as u64;
    run.criterion(run.name, Throughput::Bytes(bytes), || {
        assert_eq!(read_all(&mut reader), wanted);
    });
}

fn scattered(number: u64) -> bool {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / 100
}

pub fn filterone(run: &Run) {
    scan(run, TopicConfig::new().tag_index(true), scattered);
}

pub fn filterrun(run: &Run) {
    scan(run, TopicConfig::new().tag_index(true), |number| scattered(number / STRETCH));
}

pub fn filterall(run: &Run) {
    scan(run, TopicConfig::new(), scattered);
}
