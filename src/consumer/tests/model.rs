//! Random calls against a plain reference: every record once and in order from each position,
//! commits exactly what was handed out, whatever is sought, paused, given up, deleted or reopened.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::seeds::seeds;

const PARTITIONS: u32 = 3;

/// What must be true of one partition.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    start: i64,
    end: i64,
    position: i64,
    delivered: Option<i64>,
    committed: Option<i64>,
    paused: bool,
}

struct Model {
    random: StdRng,
    world: World,
    expected: BTreeMap<u32, Expected>,
    max_records: usize,
    seed: u64,
}

fn value(partition: u32, offset: i64) -> String {
    format!("{partition}:{offset}")
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new();
        let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(2_000);
        world.create_with("orders", config);
        let expected = (0..PARTITIONS).map(|id| (id, Expected::default())).collect();
        let max_records = random.random_range(1..20);
        Model { random, world, expected, max_records, seed }
    }

    fn build(&mut self) -> Consumer {
        for expected in self.expected.values_mut() {
            let position = expected.committed.unwrap_or(expected.start).max(expected.start);
            (expected.position, expected.delivered, expected.paused) = (position, None, false);
        }
        let min_bytes = if self.random.random_bool(0.5) { 1 } else { 1_000 };
        let builder = self.world.group("g").subscribe(["orders"]).max_records(self.max_records);
        let max_bytes = self.random.random_range(1_000..4_000);
        builder.min_bytes(min_bytes).max_bytes(max_bytes).max_wait(LONG).build().unwrap()
    }

    fn send(&mut self) {
        let id = self.random.random_range(0..PARTITIONS);
        let count = self.random.random_range(1..6);
        let expected = self.expected.get_mut(&id).unwrap();
        let values: Vec<_> = (0..count).map(|more| value(id, expected.end + more)).collect();
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        expected.end += count;
        match self.random.random_bool(0.5) {
            true => self.world.send("orders", id, &values),
            false => self.world.send_batch("orders", id, &values),
        }
    }

    /// Records were handed out: they go on where the positions are.
    fn take(&mut self, records: &Records) {
        for record in records {
            let id = record.partition().get();
            let expected = self.expected.get_mut(&id).unwrap();
            if (expected.position..=expected.start).contains(&record.offset().get()) {
                // behind what was deleted, or what was fetched before more of it was deleted
                expected.position = record.offset().get();
            }
            assert_eq!(record.offset().get(), expected.position, "seed {}", self.seed);
            assert_eq!(text(record.value()), value(id, expected.position));
            assert!(!expected.paused);
            expected.position += 1;
            expected.delivered = Some(expected.position);
        }
    }

    fn poll(&mut self, consumer: &mut Consumer) {
        let records = consumer.try_poll().unwrap();
        assert!(records.len() <= self.max_records);
        let waiting = self.expected.values().any(|e| !e.paused && e.position.max(e.start) < e.end);
        assert!(!records.is_empty() || !waiting, "seed {}", self.seed);
        self.take(&records);
    }

    fn give_up(&mut self, consumer: &mut Consumer) {
        let mut future = pin!(consumer.poll_async());
        let mut cx = Context::from_waker(Waker::noop());
        if let std::task::Poll::Ready(records) = future.as_mut().poll(&mut cx) {
            self.take(&records.unwrap());
        }
    }

    fn move_about(&mut self, consumer: &mut Consumer) {
        let id = self.random.random_range(0..PARTITIONS);
        let expected = self.expected.get_mut(&id).unwrap();
        match self.random.random_range(0..4) {
            0 => {
                let offset = self.random.random_range(expected.start..=expected.end);
                consumer.seek("orders", id, Offset::new(offset)).unwrap();
                expected.position = offset;
            }
            1 => {
                consumer.pause("orders", id).unwrap();
                expected.paused = true;
            }
            _ => {
                consumer.resume("orders", id).unwrap();
                expected.paused = false;
            }
        }
    }

    fn commit(&mut self, consumer: &mut Consumer) {
        let back =
            |e: &Expected| e.delivered.is_some_and(|delivered| e.committed > Some(delivered));
        match consumer.commit() {
            Ok(()) => {
                assert!(!self.expected.values().any(back), "seed {}", self.seed);
                for expected in self.expected.values_mut() {
                    expected.committed = expected.delivered.or(expected.committed);
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OffsetRegression);
                assert!(self.expected.values().any(back), "seed {}", self.seed);
            }
        }
        for (id, expected) in &self.expected {
            let committed = self.world.committed("g", "orders", *id);
            assert_eq!(committed, expected.committed, "seed {}", self.seed);
        }
    }

    fn delete_records(&mut self) {
        let id = self.random.random_range(0..PARTITIONS);
        let expected = self.expected.get_mut(&id).unwrap();
        expected.start = self.random.random_range(expected.start..=expected.end);
        let partition = self.world.partition("orders", id);
        let engine = &self.world.engine;
        engine.delete_records_before(&partition, Offset::new(expected.start)).unwrap();
    }

    fn read_to_end(&mut self, consumer: &mut Consumer) {
        for records in consumer.read_to_end().unwrap() {
            let records = records.unwrap();
            self.take(&records);
        }
        for (id, expected) in &self.expected {
            let done = expected.paused || expected.position.max(expected.start) == expected.end;
            assert!(done, "seed {} partition {id}", self.seed);
        }
    }

    fn run(&mut self, steps: usize) {
        let mut consumer = self.build();
        for _ in 0..steps {
            match self.random.random_range(0..100) {
                0..35 => self.send(),
                35..60 => self.poll(&mut consumer),
                60..70 => self.give_up(&mut consumer),
                70..80 => self.move_about(&mut consumer),
                80..88 => self.commit(&mut consumer),
                88..91 => self.read_to_end(&mut consumer),
                91..95 => self.delete_records(),
                95..98 => {
                    drop(consumer);
                    consumer = self.build();
                }
                _ => {
                    drop(consumer);
                    self.world.reopen();
                    consumer = self.build();
                }
            }
        }
        self.read_to_end(&mut consumer);
    }
}

#[test]
fn random_calls_agree_with_a_plain_reference() {
    for seed in seeds(40, 400, 10_000) {
        println!("seed {seed}: TIDELOG_SEED={seed} cargo test --lib random_calls_agree");
        Model::new(seed).run(300);
    }
}
