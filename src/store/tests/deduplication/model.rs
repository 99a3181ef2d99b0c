//! Random programs against what the log says, read naively, through kills and power cuts; and a
//! program that is stopped anywhere and run again from its start.

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::disk::{Crash, SimDisk};
use crate::seeds::{pick, seeds};

/// The records that readers of what is committed see, by id: newest timestamp, place.
type Visible = BTreeMap<String, (Timestamp, u32, i64)>;

fn visible(store: &Store) -> Visible {
    let mut all = Visible::new();
    let mut reader = store.reader().subscribe(["a"]).build().unwrap();
    for records in reader.read_to_end().unwrap() {
        for record in &records.unwrap() {
            let Some(id) = record.deduplication_id() else { continue };
            let place = (record.timestamp().unwrap(), record.partition().get());
            let place = (place.0, place.1, record.offset().get());
            let newest = all.entry(String::from_utf8(id.to_vec()).unwrap()).or_insert(place);
            *newest = place.max(*newest);
        }
    }
    all
}

struct Play {
    random: u64,
    seed: u64,
    duplicates: u64,
}

impl Play {
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn step(&mut self, world: &World, store: &Store, a: &TopicProducer) {
        let now = world.clock.wall();
        let id = self.draw(6).to_string();
        let before = visible(store);
        let known =
            before.get(&id).filter(|(timestamp, ..)| *timestamp >= now.saturating_sub(WINDOW));
        let receipt = match self.draw(12) {
            0..=3 => {
                let to = u32::try_from(self.draw(3)).unwrap();
                a.send_once_to(to, &id, record()).unwrap()
            }
            4..=5 => {
                let first = a.enqueue_once(&id, record()).unwrap();
                if self.draw(2) == 0 {
                    let again = a.enqueue_once(&id, record()).unwrap().wait().unwrap();
                    assert!(again.is_duplicate(), "seed {}", self.seed);
                }
                a.flush().unwrap();
                first.wait().unwrap()
            }
            6..=7 => {
                let mut producer = store.producer().transactional("t").build().unwrap();
                let transaction = producer.begin().unwrap();
                let sent = transaction.topic("a").unwrap().send_once(&id, record()).unwrap();
                match self.draw(3) {
                    0 => transaction.abort().unwrap(),
                    _ => transaction.commit().unwrap(),
                }
                sent
            }
            8 => {
                a.send(record()).unwrap();
                return;
            }
            9 => {
                let Some((_, partition, offset)) = before.values().next() else { return };
                let end = Offset::new(*offset).next();
                store.delete_records_before("a", *partition, end).unwrap();
                return;
            }
            10 => {
                world.clock.set_wall(now.saturating_sub(Duration::from_millis(self.draw(400_000))));
                return;
            }
            _ => {
                world.clock.advance(Duration::from_millis(self.draw(400_000)));
                return;
            }
        };
        let found = (receipt.partition().get(), receipt.offset().get());
        let found = receipt.is_duplicate().then_some(found);
        let wanted = known.map(|(_, partition, offset)| (*partition, *offset));
        assert_eq!(found, wanted, "seed {}, id {id}", self.seed);
        self.duplicates += u64::from(found.is_some());
    }
}

fn play(seed: u64) {
    let mut disk = SimDisk::new(seed);
    let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut play = Play { random, seed, duplicates: 0 };
    let mut clock = ManualClock::new(START);
    for _ in 0..pick(3, 6, 12) {
        let world = World { disk: Arc::new(disk.clone()), clock };
        let store = world.open();
        store.ensure_topic("a", config()).unwrap();
        let a = topic(&store);
        for _ in 0..30 {
            play.step(&world, &store, &a);
        }
        disk = match play.draw(4) {
            0 => disk.kill(),
            1 => disk.crash(Crash::Nothing),
            2 => disk.crash(Crash::Random(play.random)),
            _ => {
                drop(a);
                store.close().unwrap();
                disk
            }
        };
        clock = world.clock;
    }
    assert!(play.duplicates > 0, "the control: seed {seed}");
}

#[test]
fn random_programs_find_what_the_log_says() {
    seeds(3, 12, 1500).for_each(play);
}

/// Sends everything it has to send, from the start: what a program does that does not know how far
/// it came.
fn send_all(store: &Store, durability: Durability) {
    let a = topic(store).with_durability(durability);
    for number in 0..4_u32 {
        a.send_once(number.to_string(), record()).unwrap();
    }
    let pending: Vec<_> =
        (4..6_u32).map(|it| a.enqueue_once(it.to_string(), record()).unwrap()).collect();
    a.flush().unwrap();
    assert!(pending.into_iter().all(|pending| pending.wait().is_ok()));
    let mut producer = store.producer().transactional("t").build().unwrap();
    let transaction = producer.begin().unwrap();
    for number in 5..8_u32 {
        transaction.topic("a").unwrap().send_once(number.to_string(), record()).unwrap();
    }
    transaction.commit().unwrap();
}

fn stop_everywhere(seed: u64, durability: Durability) {
    let disk = SimDisk::new(seed);
    let store = World::on(Arc::new(disk.clone())).open();
    store.ensure_topic("a", config()).unwrap();
    store.flush().unwrap();
    disk.record();
    send_all(&store, durability);
    store.close().unwrap();
    let (mut images, every) = (HashSet::new(), pick(5, 2, 1));
    for moment in disk.moments().into_iter().filter(|it| it.operation() % every == seed % every) {
        let cuts = [Crash::Nothing, Crash::Everything, Crash::Random(seed)];
        let cuts = cuts.into_iter().map(|crash| (format!("{crash:?}"), moment.crash(crash)));
        for (how, image) in cuts.chain([("kill".to_owned(), moment.kill())]) {
            if !images.insert(image.image_hash()) {
                continue;
            }
            let store = World::on(Arc::new(image)).open();
            send_all(&store, durability);
            let mut seen = HashSet::new();
            let mut reader = store.reader().subscribe(["a"]).build().unwrap();
            for records in reader.read_to_end().unwrap() {
                for record in &records.unwrap() {
                    let at = moment.operation();
                    let once = seen.insert(record.deduplication_id().unwrap().to_vec());
                    assert!(once, "twice: before call {at}, {how}; TIDELOG_SEED={seed}");
                }
            }
            assert_eq!(
                seen.len(),
                8,
                "before call {}, {how}; TIDELOG_SEED={seed}",
                moment.operation()
            );
        }
    }
    assert!(images.len() > 5, "the control: {} images", images.len());
}

#[test]
fn a_program_that_is_stopped_anywhere_and_begins_again_sends_each_once() {
    seeds(1, 2, 10).for_each(|seed| stop_everywhere(seed, Durability::Power));
    seeds(1, 1, 10).for_each(|seed| stop_everywhere(seed, Durability::Process));
}
