//! Random programs of several transactional producers against a plain reference, with everything
//! that may happen to them: fencing, timeouts, operators, reopens, kills and power cuts.
//!
//! The reference keeps, for each open transaction, what it has sent; a commit moves that into the
//! lists of what is visible. A power cut takes nothing that was committed.

use std::collections::BTreeMap;

use super::*;
use crate::disk::{Crash, SimDisk};
use crate::seeds::{pick, seeds};

/// What readers of what is committed see of each partition, in no order between transactions.
type Visible = BTreeMap<(&'static str, u32), Vec<String>>;

const PLACES: [(&str, u32); 3] = [("a", 0), ("a", 1), ("b", 0)];

struct Play {
    seed: u64,
    random: u64,
    disk: SimDisk,
    visible: Visible,
    /// How many records were sent.
    sent: u64,
    offset: u64,
}

impl Play {
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// One life of the store; how it ends is drawn too.
    fn life(&mut self, steps: u64) {
        let world = World::on(Arc::new(self.disk.clone()));
        let store = world.open();
        self.check(&store, "at the opening");
        let mut producers: Vec<_> = ["p", "q"].iter().map(|id| transactional(&store, id)).collect();
        for _ in 0..steps {
            let which = usize::try_from(self.draw(2)).unwrap();
            self.transaction(&world, &store, &mut producers[which]);
            if self.draw(6) == 0 {
                let old = std::mem::replace(&mut producers[which], {
                    transactional(&store, ["p", "q"][which])
                });
                drop(old);
            }
        }
        self.check(&store, "at the end of a life");
        // and one that the end of the life finds open
        let open = producers[0].begin().unwrap();
        open.topic("a").unwrap().send_to(0, Record::new("open")).unwrap();
        match self.draw(4) {
            0 => {
                self.disk = self.disk.kill();
                std::mem::forget(open);
            }
            1 | 2 => {
                let seed = self.random;
                let cuts = [Crash::Nothing, Crash::Everything, Crash::Random(seed)];
                let cut = cuts[usize::try_from(self.draw(3)).unwrap()];
                self.disk = self.disk.crash(cut);
                std::mem::forget(open);
            }
            _ => {
                drop(open);
                drop(producers);
                store.close().unwrap();
            }
        }
    }

    fn transaction(&mut self, world: &World, store: &Store, producer: &mut TransactionalProducer) {
        let id = producer.transactional_id().to_owned();
        let transaction = producer.begin().unwrap();
        let mut sent = Visible::new();
        for _ in 0..=self.draw(4) {
            let place = PLACES[usize::try_from(self.draw(3)).unwrap()];
            self.sent += 1;
            let value = self.sent.to_string();
            let topic = transaction.topic(place.0).unwrap();
            topic.send_to(place.1, Record::new(&value)).unwrap();
            sent.entry(place).or_default().push(value);
        }
        let mut offset = self.offset;
        if self.draw(2) == 0 && offset < 20 {
            let builder = store.consumer("g").assign([("in", 0)]).max_records(1);
            let mut consumer = builder.build().unwrap();
            assert_eq!(consumer.try_poll().unwrap().len(), 1);
            transaction.send_offsets(&consumer.consumed().unwrap()).unwrap();
            offset += 1;
        }
        match self.draw(8) {
            0 => transaction.abort().unwrap(),
            1 => drop(transaction),
            2 => {
                world.clock.advance(Duration::from_secs(11));
                store.run_due();
                assert!(transaction.commit().is_err());
            }
            3 => {
                store.abort_transaction(&id).unwrap();
                assert!(transaction.commit().is_err());
            }
            4 => {
                drop(transactional(store, &id));
                assert!(transaction.commit().unwrap_err().is_fenced());
                *producer = transactional(store, &id);
            }
            _ => {
                transaction.commit().unwrap();
                for (place, values) in sent {
                    self.visible.entry(place).or_default().extend(values);
                }
                self.offset = offset;
            }
        }
    }

    fn check(&self, store: &Store, when: &str) {
        for place in PLACES {
            let expected = self.visible.get(&place).cloned().unwrap_or_default();
            let seen = values(store, place.0, place.1);
            assert_eq!(seen, expected, "seed {}, {place:?} {when}", self.seed);
        }
        let offset = committed(store).map_or(0, |offset| offset.get().cast_unsigned());
        assert_eq!(offset, self.offset, "seed {} {when}", self.seed);
        assert!(store.open_transactions().unwrap().is_empty(), "seed {} {when}", self.seed);
    }
}

fn play(seed: u64) {
    let disk = SimDisk::new(seed);
    let store = World::on(Arc::new(disk.clone())).open();
    make_topics(&store);
    send_plain(&store, "in", &["x"; 20]);
    store.close().unwrap();
    let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut play = Play { seed, random, disk, visible: Visible::new(), sent: 0, offset: 0 };
    for _ in 0..pick(4, 6, 12) {
        play.life(8);
    }
}

#[test]
fn random_transactions_are_what_the_reference_says() {
    seeds(6, 20, 400).for_each(play);
}
