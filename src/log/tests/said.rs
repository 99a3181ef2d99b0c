//! What a log says of itself, of what was appended, and of what was read.

use super::*;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::record::{MarkerKind, ProducerIdentity};

fn of(id: i64) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(0))
}

fn number(sequence: i32) -> Sequence {
    Sequence::new(sequence).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn open(disk: &Arc<MemoryDisk>, dir: &str) -> Log {
    let clock = Arc::new(ManualClock::new(at(1_000_000)));
    Log::builder(dir).disk(disk.clone()).clock(clock).open().unwrap()
}

#[test]
fn a_log_has_the_name_of_its_directory_and_reports_under_it() {
    for (dir, topic, partition) in [
        ("/data/orders-3", "orders", 3),
        ("/data/wal", "wal", 0),
        ("/data/orders-x", "orders-x", 0),
        ("/data/orders-03", "orders-03", 0),
    ] {
        let disk = Arc::new(MemoryDisk::new());
        let log = open(&disk, dir);
        let report = log.report();
        assert_eq!((report.topic(), report.partition().get()), (topic, partition));
        assert_eq!(report.restored_records(), 0);
        assert!(!report.is_notable() && report.put_aside().is_empty(), "{report:?}");
    }
}

#[test]
fn a_report_names_what_is_damaged_and_what_was_put_aside() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk, "/wal");
    log.append(&[Record::new("a")]).unwrap();
    log.close().unwrap();
    let path = Path::new("/wal/00000000000000000000.log");
    write_all_at(&*disk.open(path, Access::Write).unwrap(), b"bad", 64).unwrap();
    disk.open(Path::new("/wal/00000000000000000000.log.swap"), Access::Create).unwrap();
    let log = open(&disk, "/wal");
    let report = log.report();
    let [damage] = report.damage() else { panic!("{report:?}") };
    assert!(damage.reason().contains("checksum"), "{damage:?}");
    assert_eq!(report.put_aside(), [path.with_extension("log.swap.cut")]);
}

#[test]
fn a_receipt_says_what_was_appended() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk, "/wal");
    let records = [Record::new("a").timestamp(at(7)), Record::new("b").timestamp(at(9))];
    let plain = log.append(&records).unwrap();
    assert_eq!((plain.first_offset().get(), plain.next_offset().get()), (0, 2));
    assert_eq!((plain.sequence(), plain.is_duplicate()), (None, false));
    assert_eq!(plain.timestamp(), Some(at(9)), "the largest of the records' own");
    let produced = log.append_produced(&[Record::new("c")], of(7), number(0)).unwrap();
    assert_eq!((produced.sequence(), produced.is_duplicate()), (Some(number(0)), false));
    let again = log.append_produced(&[Record::new("c")], of(7), number(0)).unwrap();
    assert_eq!((again.first_offset(), again.is_duplicate()), (produced.first_offset(), true));
    let config = TopicConfig::new().timestamp_type(crate::config::TimestampType::LogAppendTime);
    log.set_config(config).unwrap();
    let stamped = log.append(&records).unwrap();
    assert_eq!(stamped.timestamp(), Some(at(1_000_000)));
}

#[test]
fn offsets_are_found_by_place_and_time_with_the_epoch_before_them() {
    let disk = Arc::new(MemoryDisk::new());
    for _ in 0..2 {
        open(&disk, "/wal").append(&[Record::new("a").timestamp(at(30))]).unwrap();
    }
    let log = open(&disk, "/wal");
    let late = log.append(&[Record::new("b").timestamp(at(50))]).unwrap();
    let epoch = |number: i32| Some(LeaderEpoch::new(number));
    assert_eq!(Some(late.epoch()), epoch(2), "the control: each open has an epoch of its own");
    let find = |wanted| {
        let found = log.find_offset(wanted).unwrap()?;
        Some((found.offset().get(), found.timestamp(), found.epoch()))
    };
    assert_eq!(find(OffsetSpec::Earliest), Some((0, None, epoch(0))));
    assert_eq!(find(OffsetSpec::Latest), Some((3, None, epoch(2))));
    assert_eq!(find(OffsetSpec::MaxTimestamp), Some((2, Some(at(50)), epoch(2))));
    assert_eq!(find(OffsetSpec::AtOrAfter(at(20))), Some((0, Some(at(30)), epoch(0))));
    assert_eq!(find(OffsetSpec::AtOrAfter(at(51))), None);
    assert_eq!(log.offset_for_timestamp(at(31)).unwrap(), Some((Offset::new(2), at(50))));
    log.delete_records_before(Offset::new(3)).unwrap();
    assert_eq!(find(OffsetSpec::Earliest), Some((3, None, None)), "there is no record at it");
    let empty = open(&disk, "/none");
    let found = empty.find_offset(OffsetSpec::Latest).unwrap().unwrap();
    assert_eq!((found.offset(), found.epoch()), (Offset::ZERO, None));
}

/// The first record of all that have it; what is deleted has none.
#[test]
fn the_newest_record_is_the_first_with_the_largest_time_in_reach() {
    let disk = Arc::new(MemoryDisk::new());
    let config = TopicConfig::new().segment_bytes(1024).timestamp_after_max(None);
    let log = Log::builder("/wal").disk(disk).config(config).open().unwrap();
    let times = [10, 90, 90, 40, 70, 70, 90, 20];
    for time in times {
        log.append(&[Record::new(&[1; 400][..]).timestamp(at(time))]).unwrap();
    }
    assert!(log.log.size().1 > 3, "the control");
    for start in 0..8_usize {
        log.delete_records_before(Offset::new(i64::try_from(start).unwrap())).unwrap();
        let left = times[start..].iter().max().unwrap();
        let first = start + times[start..].iter().position(|time| time == left).unwrap();
        let found = log.find_offset(OffsetSpec::MaxTimestamp).unwrap().unwrap();
        assert_eq!(found.offset().get(), i64::try_from(first).unwrap(), "from {start}");
        assert_eq!(found.timestamp(), Some(at(*left)), "from {start}");
    }
}

#[test]
fn a_read_of_batches_says_where_they_lie_and_what_the_log_was() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    for value in ["first", "second", "third"] {
        log.append(&[Record::new(value)]).unwrap();
    }
    log.delete_records_before(Offset::new(1)).unwrap();
    let read = |from, bytes| log.read_batches(Offset::new(from), RawLimits::to_end(bytes)).unwrap();
    let one = read(1, 1);
    assert_eq!((one.first_offset().get(), one.next_offset().get()), (1, 2));
    assert_eq!((one.log_start().get(), one.log_end().get()), (1, 3));
    assert_eq!(one.high_watermark().get(), 3);
    assert!(!one.is_empty());
    let range = one.file_range().unwrap().unwrap();
    let file = std::fs::read(range.path()).unwrap();
    let [from, len] = [range.position(), range.len()].map(|at| usize::try_from(at).unwrap());
    assert!(from > 0, "the first batch lies before it");
    assert_eq!(&file[from..from + len], one.bytes());
    let none = read(3, 1 << 20);
    assert!(none.is_empty() && none.file_range().unwrap().is_none());
}

#[test]
fn producers_and_their_transactions_are_told_as_they_are() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk, "/wal");
    assert_eq!((log.producers(), log.open_transactions()), (vec![], vec![]));
    assert_eq!(log.first_unstable_offset(), None);
    log.append_produced(&[Record::new("a").timestamp(at(5))], of(7), number(0)).unwrap();
    log.append_transactional(&[Record::new("b")], of(8), number(0)).unwrap();
    log.append_transactional(&[Record::new("c")], of(9), number(0)).unwrap();
    log.append_marker(of(9), 4, MarkerKind::Abort).unwrap();
    let [plain, open, ended] = &log.producers()[..] else { panic!("{:?}", log.producers()) };
    assert_eq!((plain.identity(), plain.last_sequence()), (of(7), Some(number(0))));
    assert_eq!((plain.last_timestamp(), plain.coordinator_epoch()), (Some(at(5)), None));
    assert_eq!((open.identity(), open.transaction_start()), (of(8), Some(Offset::new(1))));
    assert_eq!((ended.coordinator_epoch(), ended.transaction_start()), (Some(4), None));
    assert_eq!(log.open_transactions(), [*open]);
    assert_eq!(log.first_unstable_offset(), Some(Offset::new(1)));
    log.append_marker(of(8), 4, MarkerKind::Commit).unwrap();
    assert_eq!(log.first_unstable_offset(), None);
    let read = log.read_batches(Offset::ZERO, RawLimits::to_last_stable(1 << 20)).unwrap();
    let [aborted] = read.aborted() else { panic!("{:?}", read.aborted()) };
    assert_eq!((aborted.producer_id, aborted.first.get()), (ProducerId::new(9), 2));
    let all = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20)).unwrap();
    assert!(all.aborted().is_empty(), "who reads all of it is told nothing of them");
}

/// Also where it lies behind what readers are not shown.
#[test]
fn damage_is_named_by_its_place_in_its_file() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk, "/wal");
    log.append_transactional(&[Record::new("is not shown")], of(8), number(0)).unwrap();
    log.append_marker(of(8), 4, MarkerKind::Abort).unwrap();
    let at = log.log.size().0;
    log.append(&[Record::new("a")]).unwrap();
    log.append(&[Record::new("b")]).unwrap();
    let path = Path::new("/wal/00000000000000000000.log");
    write_all_at(&*disk.open(path, Access::Write).unwrap(), b"bad", at + 64).unwrap();
    for from in [0, 2] {
        let error = log.read(Offset::new(from), 1 << 20).unwrap_err();
        assert_eq!(
            (error.position(), error.path()),
            (Some(at), Some(path)),
            "from {from}: {error}"
        );
    }
}

/// Whatever took the place of the log's end.
#[test]
fn what_was_aborted_is_not_shown_after_a_cut_behind_it() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk, "/wal");
    log.append_transactional(&[Record::new("is not shown")], of(8), number(0)).unwrap();
    log.append_marker(of(8), 4, MarkerKind::Abort).unwrap();
    for value in ["stays", "is cut off"] {
        log.append(&[Record::new(value)]).unwrap();
    }
    log.truncate_to(Offset::new(3)).unwrap();
    let records = log.read(Offset::ZERO, 1 << 20).unwrap();
    let values: Vec<_> = records.iter().filter_map(|record| record.value()).collect();
    assert_eq!(values, [b"stays"]);
}

/// Otherwise the first batch is had whatever its size.
#[test]
fn a_strict_read_of_batches_brings_nothing_that_is_larger_than_its_limit() {
    let disk = Arc::new(MemoryDisk::new());
    let log = open(&disk, "/wal");
    log.append(&[Record::new("a")]).unwrap();
    let size = usize::try_from(log.log.size().0).unwrap();
    let read = |limits| log.read_batches(Offset::ZERO, limits).unwrap();
    assert_eq!(read(RawLimits::to_end(size).strict()).bytes().len(), size);
    let none = read(RawLimits::to_end(size - 1).strict());
    assert_eq!((none.bytes().len(), none.next_offset()), (0, Offset::ZERO));
    assert_eq!(read(RawLimits::to_end(1)).bytes().len(), size);
}
