//! Producers that number their records, over the lives of a log: random walks beside a plain list.
//!
//! A walk sends batches that follow, repeat, overlap or leave a gap, rolls, deletes, syncs, closes,
//! kills, cuts the power, and spoils snapshots; after each opening every producer must be known as
//! the list knows it, the last batch of each must be a duplicate with its offsets, and the log must
//! hold each batch once. `TIDELOG_SEED=N` repeats one walk.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::budget::{for_each_seed, seeds};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelog::disk::{Access, Disk, MemoryDisk};
use tidelog::{
    ErrorKind, Log, Offset, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence,
    TopicConfig,
};

const DIR: &str = "/orders-0";

/// A batch as the list keeps it; `None` of nobody.
#[derive(Clone, Debug)]
struct Sent {
    by: Option<(ProducerIdentity, Sequence)>,
    count: u32,
    offset: i64,
}

fn identity(id: i64, epoch: i16) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch))
}

/// The bytes of every file of a directory.
type Image = BTreeMap<String, Vec<u8>>;

fn read(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    let mut done = 0;
    while done < bytes.len() {
        done += file.read_at(&mut bytes[done..], done as u64).unwrap();
    }
    bytes
}

fn image(disk: &dyn Disk) -> Image {
    let entries = disk.list(Path::new(DIR)).unwrap();
    let names = entries.into_iter().map(|entry| entry.name);
    names.map(|name| (name.clone(), read(disk, &Path::new(DIR).join(name)))).collect()
}

fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let file = disk.open(&Path::new(DIR).join(name), Access::Create).unwrap();
    file.set_len(0).unwrap();
    let mut done = 0;
    while done < bytes.len() {
        done += file.write_at(&bytes[done..], done as u64).unwrap();
    }
}

struct Walk {
    random: StdRng,
    disk: Arc<dyn Disk>,
    config: TopicConfig,
    log: Option<Log>,
    sent: Vec<Sent>,
    end: i64,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new(DIR)).unwrap();
        let segment = [1024, 3000, 20_000][random.random_range(0..3)];
        let config = TopicConfig::new().segment_bytes(segment).index_interval_bytes(200);
        let mut walk = Walk { random, disk, config, log: None, sent: Vec::new(), end: 0 };
        walk.open();
        walk
    }

    fn open(&mut self) {
        let log = Log::builder(DIR).disk(self.disk.clone()).config(self.config.clone());
        self.log = Some(log.open().unwrap());
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn last_of(&self, id: i64) -> Option<&Sent> {
        let is_its = |sent: &&Sent| sent.by.is_some_and(|by| by.0.id().get() == id);
        self.sent.iter().rev().find(is_its)
    }

    fn next_of(&self, id: i64) -> Sequence {
        let last = self.last_of(id).and_then(|sent| Some((sent.by?.1, sent.count)));
        last.map_or(Sequence::FIRST, |(first, count)| first.after(count))
    }

    fn send(&mut self) {
        let id = self.random.random_range(0..4);
        let count: u32 = self.random.random_range(1..4);
        let value = vec![7; self.random.random_range(1..150)];
        let records: Vec<_> = (0..count).map(|_| Record::new(&value)).collect();
        let epoch = self.last_of(id).map_or(0, |sent| sent.by.unwrap().0.epoch().get());
        let known = self.last_of(id).cloned();
        let next = self.next_of(id);
        let us = identity(id, epoch);
        match (self.random.random_range(0..10), known) {
            (0, _) => {
                let receipt = self.log().append(&records).unwrap();
                assert_eq!((receipt.sequence(), receipt.first_offset().get()), (None, self.end));
                self.sent.push(Sent { by: None, count, offset: self.end });
                self.end += i64::from(count);
            }
            (1, Some(last)) => self.assert_repeated(&last),
            (2, Some(_)) => {
                let gap = self.log().append_produced(&records, us, next.after(1)).unwrap_err();
                assert_eq!(gap.kind(), ErrorKind::OutOfOrderSequence, "{gap}");
            }
            (3, Some(_)) if epoch > 0 => {
                let stale = identity(id, epoch - 1);
                let stale = self.log().append_produced(&records, stale, next).unwrap_err();
                assert!(stale.is_fenced(), "{stale}");
            }
            (4, Some(_)) => self.append(identity(id, epoch + 1), Sequence::FIRST, count, &records),
            (_, None) => {
                let first = Sequence::MAX.after(0).get() - self.random.random_range(0..10);
                self.append(us, Sequence::new(first).unwrap(), count, &records);
            }
            (_, Some(_)) => self.append(us, next, count, &records),
        }
    }

    fn append(&mut self, by: ProducerIdentity, first: Sequence, count: u32, all: &[Record<'_>]) {
        let receipt = self.log().append_produced(all, by, first).unwrap();
        assert!(!receipt.is_duplicate());
        assert_eq!((receipt.sequence(), receipt.first_offset().get()), (Some(first), self.end));
        self.sent.push(Sent { by: Some((by, first)), count, offset: self.end });
        self.end += i64::from(count);
    }

    fn assert_repeated(&self, sent: &Sent) {
        let (by, first) = sent.by.unwrap();
        let records: Vec<_> = (0..sent.count).map(|_| Record::new("again")).collect();
        let receipt = self.log().append_produced(&records, by, first).unwrap();
        assert!(receipt.is_duplicate(), "{sent:?}");
        assert_eq!(receipt.first_offset().get(), sent.offset, "{sent:?}");
        assert_eq!(receipt.next_offset().get(), sent.offset + i64::from(sent.count));
    }

    /// Ends this life and begins the next.
    fn end_life(&mut self) {
        let log = self.log.take().unwrap();
        if self.random.random_bool(0.5) {
            log.close().unwrap();
        } else {
            let left = image(&*self.disk);
            drop(log);
            self.disk = Arc::new(MemoryDisk::new());
            self.disk.create_dir_all(Path::new(DIR)).unwrap();
            left.iter().for_each(|(name, bytes)| put(&*self.disk, name, bytes));
        }
        self.spoil();
        self.open();
        // of whom only deleted records told, and a snapshot that was spoilt
        let known: Vec<_> = self.log().producers().iter().map(|it| it.identity().id()).collect();
        let start = self.log().start_offset().get();
        for id in 0..4 {
            let lost = self.last_of(id).is_some_and(|last| last.offset < start);
            if lost && !known.contains(&ProducerId::new(id)) {
                self.sent.retain(|sent| sent.by.is_none_or(|by| by.0.id().get() != id));
            }
        }
    }

    /// Damages snapshots, or puts some that lie.
    fn spoil(&mut self) {
        let all = image(&*self.disk);
        for (name, bytes) in all.iter().filter(|(name, _)| name.ends_with(".snapshot")) {
            match self.random.random_range(0..6) {
                0 => put(&*self.disk, name, &bytes[..bytes.len() / 2]),
                1 => put(&*self.disk, name, &vec![0; bytes.len()]),
                _ => {}
            }
        }
        if self.random.random_bool(0.2) {
            let beyond = format!("{:020}.snapshot", self.end + 5);
            let any = all.iter().find(|(name, _)| name.ends_with(".snapshot"));
            put(&*self.disk, &beyond, any.map_or(&b"garbage"[..], |any| any.1));
        }
    }

    fn check(&self) {
        let log = self.log();
        assert_eq!(log.end_offset().get(), self.end);
        for id in 0..4 {
            let Some(last) = self.last_of(id) else { continue };
            assert_eq!(log.next_sequence(last.by.unwrap().0).unwrap(), self.next_of(id));
            self.assert_repeated(last);
        }
        assert_eq!(log.end_offset().get(), self.end, "nothing was appended twice");
        for state in log.producers() {
            let last = self.last_of(state.identity().id().get()).expect("one that has sent");
            assert_eq!(state.identity(), last.by.unwrap().0);
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..60) {
            0 => {
                let (start, end) = (self.log().start_offset().get(), self.end);
                let to = Offset::new(self.random.random_range(start..=end));
                self.log().delete_records_before(to).unwrap();
            }
            1 | 2 => self.end_life(),
            3 => self.log().maintain().unwrap(),
            4 => self.log().flush().unwrap(),
            _ => self.send(),
        }
    }
}

#[test]
fn producers_are_known_through_every_life() {
    for_each_seed("idempotence", "producers_are_known", seeds(30, 400, 10_000), |seed| {
        let mut walk = Walk::new(seed);
        for _ in 0..200 {
            walk.step();
        }
        walk.check();
        walk.end_life();
        walk.check();
    });
}
