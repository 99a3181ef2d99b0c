//! Random lives of a few producers beside a reference that remembers everything.
//!
//! The reference keeps each producer's whole history as a list and asks it plain questions; ours
//! keeps five batches. Batches follow, repeat, overlap, leave gaps, come from stale or new epochs,
//! span the wrap; snapshots are taken and loaded in between, after which one batch is remembered.

use std::collections::BTreeMap;

use super::*;
use crate::seeds::seeds;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % end
    }

    fn small(&mut self, end: u32) -> u32 {
        u32::try_from(self.below(u64::from(end))).unwrap()
    }
}

/// One producer: its epoch, and each batch of it as numbers that do not wrap.
#[derive(Default)]
struct Known {
    epoch: i16,
    /// First sequence, count, offset; none behind a marker.
    batches: Vec<(i64, i64, i64)>,
    /// How many of the last may be repeated.
    remembered: usize,
    open: Option<i64>,
}

#[derive(Debug, PartialEq)]
enum Fate {
    Append,
    Duplicate(i64),
    OutOfOrder,
    Fenced,
    TransactionOpen,
}

const WRAP: i64 = 1 << 31;

impl Known {
    fn judge(&self, epoch: i16, first: i64, count: i64, transactional: bool) -> Fate {
        let same = epoch == self.epoch;
        let recent = self.batches.iter().rev().take(self.remembered);
        let twin = recent.rev().find(|known| (known.0, known.1) == (first, count));
        if let (true, Some(twin)) = (same, twin) {
            return Fate::Duplicate(twin.2);
        }
        if epoch < self.epoch {
            return Fate::Fenced;
        }
        let next = self.batches.last().map_or(0, |(first, count, _)| (first + count) % WRAP);
        if first != if same { next } else { 0 } {
            return Fate::OutOfOrder;
        }
        if self.open.is_some() && !transactional { Fate::TransactionOpen } else { Fate::Append }
    }
}

struct Life {
    random: Random,
    ours: Producers,
    theirs: BTreeMap<i64, Known>,
    end: i64,
}

impl Life {
    fn send(&mut self) -> Fate {
        let producer = i64::from(self.random.small(4));
        let count = 1 + i64::from(self.random.small(3));
        let known = self.theirs.get(&producer);
        let epoch = known.map_or(0, |known| known.epoch);
        let epoch = epoch + [0, 0, 0, 0, 0, 0, 0, -1, 1][self.random.small(9) as usize];
        let epoch = epoch.max(0);
        let next = known.and_then(|known| known.batches.last());
        let next = next.map_or(0, |(first, count, _)| first + count);
        let (first, count) = match (self.random.small(6), known) {
            (0, Some(known)) if !known.batches.is_empty() => {
                let back = self.random.small(8) as usize % known.batches.len();
                let twin = known.batches[known.batches.len() - 1 - back];
                (twin.0, twin.1)
            }
            (1, _) => (next + i64::from(self.random.small(4)) - 2, count),
            (_, None) => (WRAP - 1 - i64::from(self.random.small(20)), count),
            (_, Some(known)) if epoch != known.epoch => (0, count),
            _ => (next, count),
        };
        let first = first.rem_euclid(WRAP);
        let fits = known.is_some_and(|known| known.open.is_some());
        let in_transaction = if self.random.small(8) == 0 { !fits } else { fits };
        let fate =
            known.map_or(Fate::Append, |known| known.judge(epoch, first, count, in_transaction));
        let first = i32::try_from(first).unwrap();
        let mut batch = records(producer, epoch, first, u32::try_from(count).unwrap(), self.end);
        if in_transaction {
            batch = transactional(batch);
        }
        let got = match send(&mut self.ours, batch) {
            Ok(Checked::Append) => Fate::Append,
            Ok(Checked::Duplicate(original)) => Fate::Duplicate(original.first_offset.get()),
            Err(ProducerFault::OutOfOrder { .. }) => Fate::OutOfOrder,
            Err(ProducerFault::Fenced { .. }) => Fate::Fenced,
            Err(ProducerFault::TransactionOpen { .. }) => Fate::TransactionOpen,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, fate, "{batch:?}");
        if fate == Fate::Append {
            let known = self.theirs.entry(producer).or_default();
            if known.epoch != epoch {
                *known = Known { epoch, open: known.open, ..Known::default() };
            }
            known.batches.push((i64::from(first), count, self.end));
            known.remembered = (known.remembered + 1).min(5);
            if in_transaction && known.open.is_none() {
                known.open = Some(self.end);
            }
            self.end += count;
        }
        fate
    }

    fn end_transaction(&mut self) {
        let producer = i64::from(self.random.small(4));
        let Some(known) = self.theirs.get_mut(&producer) else { return };
        let epoch = known.epoch + 1;
        let ended = self.ours.apply(&marker(producer, epoch, 0, self.end), at(0));
        assert_eq!(ended.map(|it| it.first_offset.get()), known.open);
        *known = Known { epoch, ..Known::default() };
        self.end += 1;
    }

    fn snapshot(&mut self) {
        let bytes = encode(self.ours.recorded());
        self.ours = Producers::new(LIMITS);
        assert!(self.ours.load(&decode(&bytes).unwrap(), Offset::new(self.end), at(0)));
        for known in self.theirs.values_mut() {
            known.remembered = known.remembered.min(1);
        }
    }
}

#[test]
fn random_producers_fare_as_the_reference_says() {
    let mut fates = [0; 5];
    for seed in seeds(60, 600, 20_000) {
        println!("repeat: TIDELOG_SEED={seed} cargo test --lib random_producers_fare");
        let (random, ours) = (Random(seed), Producers::new(LIMITS));
        let mut life = Life { random, ours, theirs: BTreeMap::new(), end: 1000 };
        for _ in 0..200 {
            match life.random.small(20) {
                0 => life.end_transaction(),
                1 => life.snapshot(),
                _ => match life.send() {
                    Fate::Append => fates[0] += 1,
                    Fate::Duplicate(_) => fates[1] += 1,
                    Fate::OutOfOrder => fates[2] += 1,
                    Fate::Fenced => fates[3] += 1,
                    Fate::TransactionOpen => fates[4] += 1,
                },
            }
            life.ours.high_watermark_moved(Offset::new(life.end));
            let open = life.theirs.values().filter_map(|known| known.open).min();
            assert_eq!(life.ours.first_unstable().map(Offset::get), open);
        }
    }
    assert!(fates.iter().all(|seen| *seen > 0) || std::env::var_os("TIDELOG_SEED").is_some());
}
