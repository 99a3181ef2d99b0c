//! Behaviours that Kafka's own tests of its log hold, each tried here through the public API on a
//! log of its own in memory: one subject after the other, one small test each.

use std::sync::Arc;
use std::time::Duration;

use tidelog::disk::MemoryDisk;
use tidelog::{
    ErrorKind, Log, ManualClock, MarkerKind, Offset, OffsetSpec, ProducerEpoch, ProducerId,
    ProducerIdentity, Record, Sequence, Timestamp, TimestampType, TopicConfig,
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

#[test]
#[cfg(feature = "gzip")]
fn the_newest_record_is_found_in_a_compressed_batch_that_the_start_lies_within() {
    let (_bench, log) = Bench::new(TopicConfig::new().compression(tidelog::Compression::Gzip));
    let times = [10, 90, 20, 70];
    let values = ["x".repeat(200), "y".repeat(200), "z".repeat(200), "w".repeat(200)];
    let records =
        times.iter().zip(&values).map(|(time, value)| Record::new(value).timestamp(at(*time)));
    log.append(&records.collect::<Vec<_>>()).expect("an append");
    let newest = |log: &Log| {
        let found = log.find_offset(OffsetSpec::MaxTimestamp).expect("a look-up").expect("one");
        (found.offset().get(), found.timestamp())
    };
    assert_eq!(newest(&log), (1, Some(at(90))));
    log.delete_records_before(Offset::new(2)).expect("within the log");
    assert_eq!(newest(&log), (3, Some(at(70))));
}

#[test]
#[cfg(feature = "gzip")]
fn any_limit_of_decompressed_bytes_may_be_set() {
    let disk = Arc::new(MemoryDisk::new());
    let config = TopicConfig::new().compression(tidelog::Compression::Gzip);
    for limit in [1 << 20, usize::MAX] {
        let builder = Log::builder("/logs/orders-0").config(config.clone()).disk(disk.clone());
        let log = builder.max_decompressed_bytes(limit).open().expect("it opens");
        log.append(&[Record::new(&[7; 5_000])]).expect("an append");
        let records = log.read(log.start_offset(), 1).expect("it reads");
        assert_eq!(records.iter().next().and_then(|record| record.value()), Some(&[7; 5_000][..]));
    }
}

#[test]
fn sequences_wrap_within_a_batch_and_between_two() {
    let (bench, log) = Bench::new(TopicConfig::new());
    let last = Sequence::FIRST.after(i32::MAX.unsigned_abs());
    let two = [Record::new("a"), Record::new("b")];
    log.append_produced(&two, us(0), last).expect("an unknown producer begins anywhere");
    let again = log.append_produced(&two, us(0), last).expect("a repetition");
    assert!(again.is_duplicate());
    let gap = log.append_produced(&two, us(0), Sequence::FIRST.after(2)).unwrap_err();
    assert_eq!(gap.kind(), ErrorKind::OutOfOrderSequence, "{gap}");
    log.append_produced(&two, us(0), Sequence::FIRST.after(1)).expect("the next one");
    log.close().expect("it closes");
    let log = bench.open();
    assert_eq!(log.next_sequence(us(0)).expect("known"), Sequence::FIRST.after(3));
}

#[test]
fn the_last_five_batches_of_a_producer_are_known_and_no_more() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    for number in 0..6_u32 {
        let sequence = Sequence::FIRST.after(number);
        log.append_produced(&[Record::new("a")], us(0), sequence).expect("an append");
    }
    for number in 1..6_u32 {
        let sequence = Sequence::FIRST.after(number);
        let again = log.append_produced(&[Record::new("a")], us(0), sequence).expect("known");
        assert!(again.is_duplicate());
        assert_eq!(again.first_offset(), Offset::new(i64::from(number)));
    }
    let old = log.append_produced(&[Record::new("a")], us(0), Sequence::FIRST).unwrap_err();
    assert_eq!((old.kind(), log.end_offset().get()), (ErrorKind::OutOfOrderSequence, 6));
}

#[test]
fn a_marker_raises_the_epoch_and_the_next_batch_begins_anew() {
    let (_bench, log) = Bench::new(TopicConfig::new());
    log.append_transactional(&[Record::new("a")], us(0), Sequence::FIRST).expect("an append");
    log.append_marker(us(1), 0, MarkerKind::Commit).expect("its end");
    let stale = log.append_transactional(&[Record::new("b")], us(0), Sequence::FIRST.after(1));
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::InvalidProducerEpoch);
    let amid = log.append_transactional(&[Record::new("b")], us(1), Sequence::FIRST.after(1));
    assert_eq!(amid.unwrap_err().kind(), ErrorKind::OutOfOrderSequence);
    log.append_transactional(&[Record::new("b")], us(1), Sequence::FIRST).expect("anew");
    assert_eq!(log.last_stable_offset(), Offset::new(2));
}

#[test]
fn a_coordinator_of_a_lower_epoch_is_fenced_with_and_without_a_transaction() {
    let (bench, log) = Bench::new(TopicConfig::new());
    log.append_marker(us(0), 5, MarkerKind::Abort).expect("of no transaction");
    let late = log.append_marker(us(0), 4, MarkerKind::Abort).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Fenced, "{late}");
    log.append_transactional(&[Record::new("a")], us(0), Sequence::FIRST).expect("an append");
    log.close().expect("it closes");
    let log = bench.open();
    let late = log.append_marker(us(0), 4, MarkerKind::Abort).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Fenced, "{late}");
    let fenced = log.append_transactional(&[Record::new("a")], us(0), Sequence::FIRST.after(9));
    assert_eq!(fenced.unwrap_err().kind(), ErrorKind::OutOfOrderSequence);
    log.append_marker(us(0), 5, MarkerKind::Commit).expect("the same coordinator");
    assert_eq!(log.last_stable_offset(), log.end_offset());
}

#[test]
fn the_last_stable_offset_never_lies_below_the_log_start() {
    let (bench, log) = Bench::new(TopicConfig::new());
    log.append_transactional(&[Record::new("a"), Record::new("b")], us(0), Sequence::FIRST)
        .expect("an append");
    log.append(&[Record::new("c")]).expect("an append");
    assert_eq!(log.last_stable_offset(), Offset::ZERO);
    log.delete_records_before(Offset::new(1)).expect("within the log");
    assert_eq!(log.last_stable_offset(), Offset::new(1), "within the transaction");
    log.delete_records_before(Offset::new(3)).expect("within the log");
    assert_eq!(log.last_stable_offset(), Offset::new(3), "behind it");
    log.close().expect("it closes");
    let log = bench.open();
    assert_eq!(log.last_stable_offset(), Offset::new(3), "and after a reopening");
}

#[test]
fn segments_roll_by_size_and_by_time_on_append_alone() {
    let config = TopicConfig::new().segment_ms(Duration::from_secs(10)).segment_bytes(1_024);
    let (bench, log) = Bench::new(config.timestamp_after_max(None));
    bench.clock.advance(Duration::from_secs(3_600));
    log.maintain().expect("upkeep");
    assert_eq!(bench.segments(), Vec::<u64>::new(), "an empty log does not roll");
    log.append(&[Record::new("a").timestamp(at(0))]).expect("an append");
    bench.clock.advance(Duration::from_secs(3_600));
    log.maintain().expect("upkeep");
    log.append(&[Record::new("b").timestamp(at(10_000))]).expect("an append");
    assert_eq!(bench.segments(), [0], "the clock alone rolls nothing");
    log.append(&[Record::new("c").timestamp(at(10_001))]).expect("an append");
    assert_eq!(bench.segments(), [0, 2]);
    log.append(&[Record::new(&[7; 900]).timestamp(at(10_001))]).expect("an append");
    log.append(&[Record::new(&[7; 900]).timestamp(at(10_001))]).expect("an append");
    assert_eq!(bench.segments(), [0, 2, 3, 4]);
}

#[test]
fn a_batch_larger_than_a_segment_is_refused_and_one_as_large_is_not() {
    let (bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024));
    let fits = 1_024 - 61 - 9; // header, and a record's own fields
    log.append(&[Record::new(&vec![7; fits])]).expect("exactly a segment");
    let error = log.append(&[Record::new(&vec![7; fits + 1])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!((log.end_offset().get(), bench.segments()), (1, vec![0]));
}

#[test]
fn time_based_retention_takes_the_active_segment_too_and_the_offset_goes_on() {
    let config = TopicConfig::new().retention(Duration::from_secs(10)).segment_bytes(1_024);
    let (bench, log) = Bench::new(config);
    for _ in 0..9 {
        log.append(&[Record::new(&[7; 300])]).expect("an append");
    }
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(log.apply_retention().expect("a run"), 0, "not older yet");
    bench.clock.advance(Duration::from_millis(1));
    assert!(log.apply_retention().expect("a run") > 0);
    assert_eq!((log.start_offset().get(), log.end_offset().get()), (9, 9));
    assert_eq!(log.append(&[Record::new("next")]).expect("an append").first_offset().get(), 9);
    log.close().expect("it closes");
    assert_eq!(bench.open().start_offset().get(), 9);
}

#[test]
fn size_based_retention_never_goes_below_its_size() {
    let config = TopicConfig::new().segment_bytes(1_024).retention_bytes(2_500);
    let (_bench, log) = Bench::new(config);
    for _ in 0..12 {
        log.append(&[Record::new(&[7; 300])]).expect("an append"); // two fill a segment
    }
    log.apply_retention().expect("a run");
    let held = log.end_offset().get() - log.start_offset().get();
    assert!(held * 371 >= 2_500, "{held} records are left");
    assert!((held - 2) * 371 < 2_500, "{held} records are left");
}

#[test]
fn deleting_records_bounds_reads_and_keeps_epochs() {
    let (bench, log) = Bench::new(TopicConfig::new());
    log.append(&[Record::new("a"), Record::new("b"), Record::new("c")]).expect("an append");
    log.delete_records_before(Offset::new(2)).expect("within the log");
    let gone = log.read(Offset::new(1), 100).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::OffsetOutOfRange, "{gone}");
    assert_eq!(offsets(&log, 2, 100), [2], "of the batch only what is not deleted");
    log.delete_records_before(Offset::new(1)).expect("it changes nothing");
    assert_eq!(log.start_offset().get(), 2);
    let beyond = log.delete_records_before(Offset::new(4)).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::OffsetOutOfRange, "{beyond}");
    let epoch = log.find_offset(OffsetSpec::Earliest).expect("a look-up").expect("one").epoch();
    log.delete_records_before(Offset::new(3)).expect("all of it");
    log.close().expect("it closes");
    let log = bench.open();
    assert_eq!((log.start_offset().get(), log.end_offset().get()), (3, 3));
    assert!(offsets(&log, 3, 100).is_empty());
    let end = log.end_offset_for_epoch(epoch.expect("it had one")).expect("open");
    assert!(end.is_none_or(|(_, end)| end.get() == 3));
}

#[test]
fn truncating_lets_new_records_take_the_offsets_and_lookups_forget_the_old() {
    let (_bench, log) = Bench::new(TopicConfig::new().segment_bytes(1_024).index_interval_bytes(0));
    for number in 0..12 {
        let record = Record::new(&[7; 300]).timestamp(at(number * 10));
        log.append(&[record]).expect("an append");
    }
    assert_eq!(log.truncate_to(Offset::new(20)).expect("beyond"), Offset::new(12));
    assert_eq!(log.truncate_to(Offset::new(5)).expect("within"), Offset::new(5));
    assert_eq!(log.offset_for_timestamp(at(50)).expect("a look-up"), None);
    let newest = log.find_offset(OffsetSpec::MaxTimestamp).expect("a look-up").expect("one");
    assert_eq!((newest.offset().get(), newest.timestamp()), (4, Some(at(40))));
    let receipt = log.append(&[Record::new("new").timestamp(at(45))]).expect("an append");
    assert_eq!(receipt.first_offset().get(), 5);
    let found = log.offset_for_timestamp(at(41)).expect("a look-up");
    assert_eq!(found, Some((Offset::new(5), at(45))));
    assert_eq!(log.truncate_to(Offset::ZERO).expect("all of it"), Offset::ZERO);
    assert_eq!(log.append(&[Record::new("first")]).expect("an append").first_offset().get(), 0);
}

#[test]
fn a_batch_with_a_timestamp_out_of_bounds_is_refused_whole() {
    let hour = Duration::from_secs(3_600);
    let config =
        TopicConfig::new().timestamp_before_max(Some(hour)).timestamp_after_max(Some(hour));
    let (_bench, log) = Bench::new(config);
    for wrong in [-3_600_001, 3_600_001] {
        let records = [Record::new("a"), Record::new("b").timestamp(at(wrong))];
        let error = log.append(&records).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{error}");
    }
    let bounds =
        [Record::new("a").timestamp(at(-3_600_000)), Record::new("b").timestamp(at(3_600_000))];
    log.append(&bounds).expect("the bounds themselves are within");
    log.append(&[Record::new("none").without_timestamp()]).expect("none is within any bounds");
    assert_eq!(log.end_offset().get(), 3);
}

#[test]
fn the_logs_own_time_is_that_of_every_record_of_the_batch() {
    let config = TopicConfig::new().timestamp_type(TimestampType::LogAppendTime);
    let (bench, log) = Bench::new(config);
    bench.clock.advance(Duration::from_secs(5));
    let records = [Record::new("a").timestamp(at(-9)), Record::new("b").timestamp(at(99_000_000))];
    let receipt = log.append(&records).expect("what they say is no matter");
    assert_eq!(receipt.timestamp(), Some(at(5_000)));
    let read = log.read(Offset::ZERO, 1_000).expect("it reads");
    assert!(read.iter().all(|record| record.timestamp() == Some(at(5_000))));
    assert_eq!(
        log.offset_for_timestamp(at(5_000)).expect("a look-up"),
        Some((Offset::ZERO, at(5_000)))
    );
}
