//! Behaviours that Kafka's own tests of its log hold, each tried here through the public API on a
//! log of its own in memory: one subject after the other, one small test each.

use std::sync::Arc;
use std::time::Duration;

use tidelog::disk::MemoryDisk;
use tidelog::{
    Log, ManualClock, Offset, ProducerEpoch, ProducerId, ProducerIdentity, Record, Sequence,
    Timestamp, TimestampType, TopicConfig,
};

const START: i64 = 1_700_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
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

    fn open(&self) -> Log {
        let builder = Log::builder("/logs/orders-0").config(self.config.clone());
        let builder = builder.disk(self.disk.clone()).clock(Arc::new(self.clock.clone()));
        builder.open().expect("it opens")
    }

    fn segments(&self) -> Vec<u64> {
        use tidelog::disk::Disk as _;
        let entries = self.disk.list("/logs/orders-0".as_ref()).expect("its directory");
        let base = |name: &str| name.strip_suffix(".log").map(|base| base.parse().expect("a base"));
        let mut bases: Vec<_> = entries.iter().filter_map(|entry| base(&entry.name)).collect();
        bases.sort_unstable();
        bases
    }
}

fn offsets(log: &Log, from: i64, bytes: usize) -> Vec<i64> {
    let records = log.read(Offset::new(from), bytes).expect("it reads");
    records.iter().map(|record| record.offset().get()).collect()
}

fn us(epoch: i16) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(epoch))
}

#[test]
fn a_read_takes_as_much_as_it_may_wherever_it_begins() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    for _ in 0..6 {
        log.append(&[Record::new(&[7; 100])]).expect("an append"); // 171 bytes each
    }
    for from in 0..=3 {
        assert_eq!(offsets(&log, from, 3 * 171), [from, from + 1, from + 2]);
    }
}

#[test]
fn a_segment_is_as_old_as_the_newest_record_of_its_first_batch() {
    let config = TopicConfig::new().segment_ms(Duration::from_secs(1)).timestamp_after_max(None);
    let (bench, log) = Bench::new(config);
    let first = [Record::new("a").timestamp(at(0)), Record::new("b").timestamp(at(5_000))];
    log.append(&first).expect("an append");
    log.append(&[Record::new("c").timestamp(at(6_000))]).expect("an append");
    assert_eq!(bench.segments(), [0], "not older than a second yet");
    log.close().expect("it closes");
    let log = bench.open();
    log.append(&[Record::new("d").timestamp(at(6_000))]).expect("an append");
    assert_eq!(bench.segments(), [0], "nor after a reopening");
    log.append(&[Record::new("e").timestamp(at(6_001))]).expect("an append");
    assert_eq!(bench.segments(), [0, 4]);
}

#[test]
fn no_producer_is_known_once_all_records_have_gone() {
    let config = TopicConfig::new().segment_bytes(1024).timestamp_type(TimestampType::CreateTime);
    let (bench, log) = Bench::new(config);
    for number in 0..8_u32 {
        let sequence = Sequence::FIRST.after(number);
        log.append_produced(&[Record::new(&[7; 300])], us(0), sequence).expect("an append");
    }
    let base = bench.segments()[1];
    let base = Offset::new(i64::try_from(base).expect("small"));
    log.truncate_fully_and_start_at(base).expect("it is cut");
    assert!(log.producers().is_empty());
    let again = Sequence::FIRST.after(u32::try_from(base.get()).expect("small") - 1);
    let receipt = log.append_produced(&[Record::new(&[7; 300])], us(0), again).expect("it is new");
    assert!(!receipt.is_duplicate(), "what it was once said to be at is gone");
    assert_eq!(receipt.first_offset(), base);
    log.close().expect("it closes");
    assert_eq!(bench.open().producers().len(), 1);
}
