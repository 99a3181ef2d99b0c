//! Producers that number their records, over the lives of a log: random walks beside a plain list.
//!
//! A walk sends batches that follow, repeat, overlap or leave a gap, rolls, deletes, syncs, closes,
//! kills, cuts the power, and spoils snapshots; after each opening every producer must be known as
//! the list knows it, the last batch of each must be a duplicate with its offsets, and the log must
//! hold each batch once. `TIDELOG_SEED=N` repeats one walk.

use crate::common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::budget::{for_each_seed, seeds};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::{Access, Disk, MemoryDisk};
use tidelog::{
    ErrorKind, Log, Offset, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence, Store,
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
    for_each_seed("public", "producers_are_known", seeds(30, 400, 10_000), |seed| {
        let mut walk = Walk::new(seed);
        for _ in 0..200 {
            walk.step();
        }
        walk.check();
        walk.end_life();
        walk.check();
    });
}

fn store(dir: &Path) -> Store {
    let store = Store::open(dir).unwrap();
    store.ensure_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    store
}

#[test]
fn sends_of_many_threads_are_numbered_in_the_order_of_appends() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("orders", TopicConfig::new()).unwrap();
    let producer = store.producer().idempotent(true).build().unwrap();
    let receipts = std::thread::scope(|scope| {
        let send = |thread: u32| {
            let orders = producer.topic("orders").unwrap();
            let mut all = Vec::new();
            for number in 0..200 {
                all.push(match (thread + number) % 3 {
                    0 => orders.enqueue(Record::new("lingers")).unwrap().wait().unwrap(),
                    _ => orders.send(Record::new("goes at once")).unwrap(),
                });
            }
            all
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || send(thread))).collect();
        let mut all = Vec::new();
        threads.into_iter().for_each(|thread| all.extend(thread.join().unwrap()));
        all
    });
    assert_eq!(receipts.len(), 800);
    for receipt in receipts {
        let sequence = receipt.sequence().map(|it| i64::from(it.get()));
        assert_eq!(sequence, Some(receipt.offset().get()));
    }
}

#[test]
fn a_producer_goes_on_after_a_crash_and_its_id_is_nobody_elses() {
    let held = tempfile::tempdir().unwrap();
    let (before, after) = (held.path().join("before"), held.path().join("after"));
    let first = store(&before);
    let producer = first.producer().idempotent(true).build().unwrap();
    let us = producer.identity().unwrap();
    let orders = producer.topic("orders").unwrap();
    let rows = [Record::new("row 0"), Record::new("row 1")];
    let sent = orders.send_numbered(1, Sequence::FIRST, &rows).unwrap();
    copy_tree(&before, &after); // as a kill leaves it
    let again = store(&after);
    let other = again.producer().idempotent(true).build().unwrap();
    assert_ne!(other.identity().map(|it| it.id()), Some(us.id()));
    let orders = again.producer().resume(us).build().unwrap().topic("orders").unwrap();
    assert_eq!(orders.next_sequence(1).unwrap().get(), 2);
    assert_eq!(orders.next_sequence(0).unwrap(), Sequence::FIRST);
    let repeated = orders.send_numbered(1, Sequence::FIRST, &rows).unwrap();
    assert!(repeated.is_duplicate() && !sent.is_duplicate());
    assert_eq!(repeated.base_offset(), sent.base_offset());
    assert_eq!(
        (repeated.end_offset(), repeated.base_sequence()),
        (sent.end_offset(), sent.base_sequence())
    );
    let receipt = orders.send_to(1, Record::new("row 2")).unwrap();
    assert_eq!((receipt.offset().get(), receipt.sequence().map(|it| it.get())), (2, Some(2)));
    let plain = again.producer().build().unwrap().topic("orders").unwrap();
    let refused = plain.send_numbered(1, Sequence::FIRST, &rows).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let strange = ProducerIdentity::new(ProducerId::new(5_000), ProducerEpoch::new(3));
    drop(again.producer().resume(strange).build().unwrap());
    let ids = (0..3).map(|_| again.producer().idempotent(true).build().unwrap());
    let ids: Vec<_> = ids.map(|it| it.identity().unwrap().id().get()).collect();
    assert_eq!(ids, [5_001, 5_002, 5_003]);
    let negative = ProducerIdentity::new(ProducerId::new(-1), ProducerEpoch::new(0));
    let error = again.producer().resume(negative).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to),
            false => {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}
