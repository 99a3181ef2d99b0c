//! The same at random over several lives: takes, words, time, burials, redrives, and ends of every
//! kind between them. At the end everything is drained and compared with what was told.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::crashes::{Sets, check};
use super::*;
use crate::disk::{Crash, SimDisk};
use crate::seeds::seeds;

#[derive(Debug, Default)]
struct Told {
    sent: BTreeSet<String>,
    acked: BTreeSet<String>,
    rejected: BTreeSet<String>,
}

struct Life<'a> {
    random: &'a mut StdRng,
    told: &'a mut Told,
    world: &'a World,
    store: Store,
    consumer: ShareConsumer,
}

impl Life<'_> {
    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..25 => {
                let name = self.told.sent.len().to_string();
                send(&self.store, &[&name]);
                self.told.sent.insert(name);
            }
            25..70 => self.take(),
            70..80 => self.world.clock.advance(Duration::from_secs(20)),
            80..90 => drop(self.store.run_maintenance()),
            90..95 => drop(self.store.run_due()),
            _ if self.store.describe("g.dlq").is_ok() => {
                let most = self.random.random_range(1..4);
                let redrive = self.store.redrive_dead_letters("g.dlq").to("again");
                let odd = self.random.random_bool(0.5);
                let chosen = move |at: i64| !odd || at % 2 == 1;
                redrive.filter(|it| chosen(it.offset().get())).max_records(most).run().unwrap();
            }
            _ => {}
        }
    }

    fn take(&mut self) {
        for record in &poll(&mut self.consumer) {
            let name = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
            match self.random.random_range(0..10) {
                0..2 => {
                    self.consumer.ack(record).unwrap();
                    self.told.acked.insert(name);
                }
                2..5 => {
                    self.consumer.reject(record).unwrap();
                    self.told.rejected.insert(name);
                }
                5..7 => self.consumer.release(record).unwrap(),
                7 => self.consumer.release_after(record, Duration::from_secs(15)).unwrap(),
                _ => {} // its lease ends
            }
        }
    }
}

#[test]
fn whatever_ends_a_life_each_record_ends_once() {
    for seed in seeds(2, 12, 2_000) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut told = Told::default();
        let mut disk = SimDisk::new(seed);
        for _ in 0..random.random_range(2..5) {
            let world = World::on(Arc::new(disk.clone()));
            let store = world.open();
            store.ensure_topic("jobs", TopicConfig::new()).unwrap();
            store.ensure_topic("again", TopicConfig::new()).unwrap();
            let settings = builder(&store).max_deliveries(2).max_records(3);
            let consumer = settings.build().unwrap();
            let steps = random.random_range(5..60);
            let (random, told) = (&mut random, &mut told);
            let mut life = Life { random, told, world: &world, store, consumer };
            (0..steps).for_each(|_| life.step());
            let Life { random, store, consumer, .. } = life;
            disk = match random.random_range(0..4) {
                0 => {
                    drop(consumer);
                    store.close().unwrap();
                    disk.kill()
                }
                1 => disk.kill(),
                2 => disk.crash(Crash::Nothing),
                _ => disk.crash(Crash::Random(seed)),
            };
        }
        let doubtful = BTreeSet::new();
        let Told { sent, acked, rejected } = &told;
        let sets = Sets { sent, acked, rejected, doubtful: &doubtful };
        check(disk, &told, sets, &format!("TIDELOG_SEED={seed}"));
    }
}
