//! Transactions a second: one 100-byte record to each of 1 and 10 partitions, committed, by one
//! producer and by 16 at a time (each in partitions of its own); with and without the offset of a
//! record that was read; for the words power and process. And a power-durable send beside, to see
//! what a sync costs here.
//!
//! `cargo bench -- transactions [ROUNDS]`: rounds of 0.9 s, all rows in turn, so that they meet
//! the same machine. On a tmpfs a sync costs nothing and only the words of process mean something.

use std::time::{Duration, Instant};

use tidelog::{Consumer, Durability, Record, Store, TopicConfig, TransactionalProducer};

use crate::place::Place;
use crate::rounds::{Run, print_spread};

const VALUE: [u8; 100] = [7; 100];

/// Who commits what.
#[derive(Clone, Copy)]
struct Row {
    producers: u32,
    partitions: u32,
    with_offsets: bool,
    durability: Durability,
}

impl Row {
    fn name(self) -> String {
        let Row { producers, partitions, with_offsets, durability } = self;
        let offsets = if with_offsets { ", with offsets" } else { "" };
        format!("{producers} x {partitions} partitions{offsets}, {durability:?}")
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for durability in [Durability::Power, Durability::Process] {
        for partitions in [1, 10] {
            for with_offsets in [false, true] {
                rows.push(Row { producers: 1, partitions, with_offsets, durability });
            }
        }
        rows.push(Row { producers: 16, partitions: 1, with_offsets: false, durability });
    }
    rows
}

/// One producer, and the consumer whose offsets go with its commits.
struct Worker {
    number: u32,
    producer: TransactionalProducer,
    consumer: Option<Consumer>,
}

impl Worker {
    fn new(store: &Store, row: Row, number: u32) -> Self {
        let builder = store.producer().transactional(format!("bench-{number}"));
        let producer = builder.commit_durability(row.durability).build().expect("a producer");
        let consumer = || store.consumer("bench").subscribe(["in"]).build().expect("a consumer");
        Worker { number, producer, consumer: row.with_offsets.then(consumer) }
    }

    fn commit(&mut self, store: &Store, partitions: u32) {
        if let Some(consumer) = &mut self.consumer {
            let input = store.producer().build().and_then(|producer| producer.topic("in"));
            input.expect("the topic").send(Record::new(&VALUE)).expect("an append");
            let read = consumer.poll(Duration::from_secs(10)).expect("what was sent");
            assert_eq!(read.len(), 1, "one record at a time");
        }
        let transaction = self.producer.begin().expect("a transaction");
        let topic = transaction.topic("out").expect("the topic");
        for partition in 0..partitions {
            let to = self.number * partitions + partition;
            topic.send_to(to, Record::new(&VALUE)).expect("an append");
        }
        drop(topic);
        if let Some(consumer) = &mut self.consumer {
            let consumed = consumer.consumed().expect("what was read");
            transaction.send_offsets(&consumed).expect("offsets");
        }
        transaction.commit().expect("a commit");
    }
}

/// Commits a second of one row, each row in a store of its own.
fn measure(row: Row, time: Duration) -> f64 {
    let place = Place::new("transactions");
    let store = Store::open(&place.0).expect("a new store");
    let partitions = TopicConfig::new().partitions(row.producers * row.partitions);
    store.create_topic("out", partitions).expect("a new topic");
    store.create_topic("in", TopicConfig::new()).expect("a new topic");
    let mut workers: Vec<_> =
        (0..row.producers).map(|number| Worker::new(&store, row, number)).collect();
    for worker in &mut workers {
        worker.commit(&store, row.partitions); // files, the journal, the logs of state
    }
    let began = Instant::now();
    let commits: u32 = std::thread::scope(|scope| {
        let store = &store;
        let one = |mut worker: Worker| {
            scope.spawn(move || {
                let mut commits = 0;
                while began.elapsed() < time {
                    worker.commit(store, row.partitions);
                    commits += 1;
                }
                commits
            })
        };
        let threads: Vec<_> = workers.into_iter().map(one).collect();
        threads.into_iter().map(|thread| thread.join().expect("a producer")).sum()
    });
    let rate = f64::from(commits) / began.elapsed().as_secs_f64();
    store.close().expect("a clean close");
    rate
}

/// Power-durable sends a second, one at a time.
fn sends(time: Duration) -> f64 {
    let place = Place::new("transactions");
    let store = Store::open(&place.0).expect("a new store");
    store.create_topic("out", TopicConfig::new()).expect("a new topic");
    let producer = store.producer().durability(Durability::Power).build().expect("a producer");
    let topic = producer.topic("out").expect("the topic");
    topic.send(Record::new(&VALUE)).expect("an append");
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < time {
        topic.send(Record::new(&VALUE)).expect("an append");
        sent += 1;
    }
    f64::from(sent) / began.elapsed().as_secs_f64()
}

pub fn transactions(run: &Run) {
    let asked = run.words.iter().find_map(|word| word.parse().ok());
    let rounds: usize = asked.unwrap_or(run.rounds());
    let time = Duration::from_millis(run.count(900));
    let rows = rows();
    let (mut figures, mut plain) = (vec![Vec::new(); rows.len()], Vec::new());
    for _ in 0..rounds {
        plain.push(sends(time));
        for (row, figures) in rows.iter().zip(&mut figures) {
            figures.push(measure(*row, time));
        }
    }
    print_spread("power-durable sends", "/s", plain);
    for (row, figures) in rows.iter().zip(figures) {
        print_spread(&row.name(), "/s", figures);
    }
}
