//! Behaviours that Kafka's own tests of its log hold, through the public doors: one small test for
//! each, in a room for each subject, on logs in memory and a clock that the test moves.
//!
//! What differs from Kafka on purpose is in the table of `docs/kafka.md`; a test here says what
//! holds. More of them, about what was once found to differ, are in `tests/kafka_roots`.

mod appends;
mod compaction;
mod epochs;
mod lookups;
mod producers;
mod replicas;
mod retention;
mod transactions;
mod validation;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidelog::disk::{Access, Disk, MemoryDisk};
use tidelog::{
    LeaderEpoch, Leadership, Log, LogBuilder, LogReceipt, ManualClock, MarkerKind, Offset,
    ProducerEpoch, ProducerId, ProducerIdentity, RawLimits, Record, Result, Sequence, Timestamp,
    TopicConfig,
};

const DIR: &str = "/logs/orders-0";
const START: i64 = 1_700_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn off(offset: i64) -> Offset {
    Offset::new(offset)
}

fn seq(number: u32) -> Sequence {
    Sequence::FIRST.after(number)
}

fn by(id: i64, epoch: i16) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A log in memory, its disk and its clock.
struct Bench {
    disk: Arc<MemoryDisk>,
    clock: ManualClock,
    config: TopicConfig,
}

impl Bench {
    fn new(config: TopicConfig) -> (Bench, Log) {
        let clock = ManualClock::new(at(0));
        let bench = Bench { disk: Arc::new(MemoryDisk::new()), clock, config };
        let log = bench.open();
        (bench, log)
    }

    fn builder(&self) -> LogBuilder {
        let builder = Log::builder(DIR).config(self.config.clone()).disk(self.disk.clone());
        builder.clock(Arc::new(self.clock.clone()))
    }

    fn open(&self) -> Log {
        self.builder().open().expect("it opens")
    }

    fn reopen(&self, log: &Log) -> Log {
        log.close().expect("it closes");
        self.open()
    }

    /// The files that end so, as they are now, on a disk of their own.
    fn copied(&self, suffix: &str) -> Bench {
        let disk = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new(DIR)).expect("a directory");
        for name in self.files(suffix).into_iter().filter(|name| name != ".lock") {
            let from = self.disk.open(&Path::new(DIR).join(&name), Access::Read).expect("a file");
            let mut bytes = vec![0; usize::try_from(from.len().expect("a length")).expect("small")];
            let read =
                if bytes.is_empty() { 0 } else { from.read_at(&mut bytes, 0).expect("read") };
            assert_eq!(read, bytes.len());
            put(&disk, &name, &bytes);
        }
        Bench { disk, clock: self.clock.clone(), config: self.config.clone() }
    }

    /// The log as a process that is killed now leaves it, opened anew.
    fn killed(&self, log: &Log) -> (Bench, Log) {
        let bench = self.copied("");
        log.close().expect("the old one is out of the way");
        let log = bench.open();
        (bench, log)
    }

    /// The names of the files that end so.
    fn files(&self, suffix: &str) -> Vec<String> {
        let entries = self.disk.list(Path::new(DIR)).expect("its directory");
        let names = entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name);
        let mut names: Vec<_> = names.filter(|name| name.ends_with(suffix)).collect();
        names.sort_unstable();
        names
    }

    fn remove(&self, suffix: &str) -> usize {
        let files = self.files(suffix);
        for name in &files {
            self.disk.remove_file(&Path::new(DIR).join(name)).expect("it goes");
        }
        files.len()
    }

    /// The first offset of each segment.
    fn segments(&self) -> Vec<i64> {
        let names = self.files(".log");
        names.iter().map(|name| name.trim_end_matches(".log").parse().expect("a base")).collect()
    }
}

fn put(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(&Path::new(DIR).join(name), Access::Create).expect("a file");
    file.set_len(0).expect("empty");
    if !bytes.is_empty() {
        assert_eq!(file.write_at(bytes, 0).expect("written"), bytes.len());
    }
}

/// The offsets of all that is read from one on.
fn offsets(log: &Log, from: i64) -> Vec<i64> {
    let (mut next, mut found) = (off(from), Vec::new());
    loop {
        let records = log.read(next, 1 << 20).expect("it reads");
        found.extend(records.iter().map(|record| record.offset().get()));
        match records.iter().last() {
            Some(last) => next = last.offset().next(),
            None => return found,
        }
    }
}

fn big() -> Vec<u8> {
    vec![7; 400] // two fill a segment of 1,024 bytes
}

fn fill(log: &Log, count: usize) {
    for _ in 0..count {
        log.append(&[Record::new(&big())]).expect("an append");
    }
}

fn send(log: &Log, us: ProducerIdentity, first: u32, count: usize) -> Result<LogReceipt> {
    log.append_produced(&vec![Record::new("value"); count], us, seq(first))
}

/// Appends to the producer's transaction, with the sequence that is next.
fn sent(log: &Log, us: ProducerIdentity, count: usize) -> LogReceipt {
    let next = log.next_sequence(us).expect("not fenced");
    log.append_transactional(&vec![Record::new("value"); count], us, next).expect("an append")
}

fn end(log: &Log, us: ProducerIdentity, kind: MarkerKind) -> i64 {
    log.append_marker(us, 0, kind).expect("a marker").first_offset().get()
}

/// A log whose leadership the host has, leading under an epoch.
fn led(epoch: i32) -> (Bench, Log) {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    log.set_leadership(Leadership::HostLed).expect("taken");
    log.become_leader(LeaderEpoch::new(epoch)).expect("the leader");
    (bench, log)
}

/// A follower of the same kind.
fn follower(config: TopicConfig) -> (Bench, Log) {
    let (bench, log) = Bench::new(config);
    log.set_leadership(Leadership::HostLed).expect("taken");
    (bench, log)
}

/// All batches from an offset on as they lie there.
fn batches(log: &Log, from: i64) -> Vec<u8> {
    let (mut next, mut bytes) = (off(from), Vec::new());
    loop {
        let read = log.read_batches(next, RawLimits::to_end(1 << 20)).expect("it reads");
        if read.is_empty() {
            return bytes;
        }
        bytes.extend_from_slice(read.bytes());
        next = read.next_offset();
    }
}
