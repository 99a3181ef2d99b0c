//! Many topics: `topics10`, `topics100`, `topics1000`, `topics10000`. One thread sends 100-byte
//! values round robin over that many topics of one partition.
//!
//! First with a handle kept for each, then `by-name`: with each topic looked up for each send.
//! What creating them and the first append to each took is printed before.

use std::hint::black_box;
use std::time::Instant;

use criterion::Throughput;
use tidelog::{Producer, Record, Store, TopicConfig, TopicProducer};

use crate::place::Place;
use crate::rounds::Run;

const VALUE: [u8; 100] = [7; 100];

pub fn topics10(run: &Run) {
    topics(run, 10);
}

pub fn topics100(run: &Run) {
    topics(run, 100);
}

pub fn topics1000(run: &Run) {
    topics(run, run.count(1_000));
}

pub fn topics10000(run: &Run) {
    topics(run, run.count(10_000));
}

/// A store with that many topics, each with one record.
fn made(place: &Place, names: &[String]) -> (Store, Producer, Vec<TopicProducer>) {
    let store = Store::open(&place.0).expect("a new store");
    let configs = names.iter().map(|name| (name.as_str(), TopicConfig::new()));
    let began = Instant::now();
    store.create_topics(configs).expect("new topics");
    println!("{} topics: created in {:?}", names.len(), began.elapsed());
    let producer = store.producer().build().expect("a producer");
    let topics: Vec<_> =
        names.iter().map(|name| producer.topic(name).expect("the topic")).collect();
    let began = Instant::now();
    for topic in &topics {
        topic.send(Record::new("first")).expect("an append");
    }
    println!("{} topics: first append to each {:?}", names.len(), began.elapsed());
    (store, producer, topics)
}

fn topics(run: &Run, count: u64) {
    let names: Vec<_> = (0..count).map(|number| format!("t{number}")).collect();
    let place = Place::warmed(run);
    let (_store, producer, topics) = made(&place, &names);
    let turns = (200_000 / count).max(1);
    let unit = || Throughput::Elements(count * turns);
    run.criterion(run.name, unit(), || {
        for _ in 0..turns {
            for topic in &topics {
                black_box(topic.send(Record::new(&VALUE)).expect("an append"));
            }
        }
    });
    run.criterion(&format!("{}/by-name", run.name), unit(), || {
        for _ in 0..turns {
            for name in &names {
                let topic = producer.topic(name).expect("the topic");
                black_box(topic.send(Record::new(&VALUE)).expect("an append"));
            }
        }
    });
}
