//! A lone log and what it keeps of itself: segments that wait to be sealed, syncs that failed, the
//! end of a handle, and the epochs and cursors that its readers and writers come back with.

use super::*;
use crate::log::slots::{self, Slot};

fn open(disk: &Arc<dyn Disk>, config: TopicConfig) -> Log {
    Log::builder("/log").config(config).disk(disk.clone()).open().unwrap()
}

fn in_memory() -> (Arc<dyn Disk>, Log) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(&disk, TopicConfig::new().segment_bytes(1024));
    (disk, log)
}

fn append(log: &Log, value: &[u8]) -> LogReceipt {
    log.append(&[Record::new(value)]).unwrap()
}

fn recorded(disk: &Arc<dyn Disk>) -> Slot {
    slots::read(&**disk, Path::new("/log")).unwrap().unwrap().1
}

/// Each is mapped as long as it waits.
#[test]
fn segments_that_were_rolled_are_sealed_by_upkeep_and_many_by_an_append() {
    let (disk, log) = in_memory();
    while log.log.size().1 < 3 {
        append(&log, &[1; 300]);
    }
    assert_eq!(log.durable_offset(), Offset::ZERO, "the control: nothing has asked for a sync");
    log.maintain().unwrap();
    assert_eq!(log.durable_offset(), log.end_offset());
    assert_eq!(recorded(&disk).recovery_point, log.end_offset());

    let sealed = log.durable_offset();
    while log.log.size().1 < 12 {
        append(&log, &[1; 300]);
    }
    assert!(log.durable_offset() > sealed, "nobody called for upkeep");
}

#[test]
fn a_log_that_is_dropped_is_closed() {
    let (disk, log) = in_memory();
    append(&log, b"a");
    assert!(!recorded(&disk).clean, "the control");
    drop(log);
    let slot = recorded(&disk);
    assert_eq!((slot.clean, slot.recovery_point), (true, Offset::new(1)));
}

#[test]
fn a_log_that_is_closed_does_nothing_more() {
    let (_, log) = in_memory();
    append(&log, b"a");
    log.close().unwrap();
    let wanted = OffsetSpec::Latest;
    for error in [
        log.append(&[Record::new("b")]).unwrap_err(),
        log.read(Offset::ZERO, 1).unwrap_err(),
        log.read_batches(Offset::ZERO, RawLimits::to_end(1)).unwrap_err(),
        log.find_offset(wanted).unwrap_err(),
        log.skip_damage(Offset::ZERO).unwrap_err(),
        log.delete_records_before(Offset::ZERO).unwrap_err(),
        log.flush().unwrap_err(),
        log.maintain().unwrap_err(),
    ] {
        assert!(error.is_closed(), "{error}");
    }
}

#[test]
fn a_read_brings_no_more_than_was_asked_for_and_is_counted() {
    let (_, log) = in_memory();
    for _ in 0..3 {
        append(&log, b"a");
    }
    assert_eq!(log.read(Offset::ZERO, 1).unwrap().len(), 1);
    let counted = log.log.counters().fetched.records.get();
    assert_eq!(log.read(Offset::new(1), 1 << 20).unwrap().len(), 2);
    assert_eq!(log.log.counters().fetched.records.get(), counted + 2);
}

#[test]
fn damage_is_skipped_only_where_there_is_some() {
    let (_, log) = in_memory();
    append(&log, b"a");
    let beyond = log.skip_damage(Offset::new(7)).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::OffsetOutOfRange, "{beyond}");
}

/// A reader that comes back with a place in a segment that is not the log's any more.
#[test]
fn a_cursor_of_what_was_cut_off_or_deleted_shows_nothing_of_it() {
    let (_, log) = in_memory();
    for number in 0..3 {
        append(&log, format!("old {number}").as_bytes());
    }
    let limits = FetchLimits {
        bytes: 1,
        records: 1,
        durable_only: false,
        isolation: IsolationLevel::ReadUncommitted,
    };
    let first = log.log.fetch(Offset::ZERO, None, limits).unwrap();
    let cursor = first.cursor.unwrap();
    assert_eq!(cursor.offset, Offset::new(1), "the control");
    log.truncate_to(Offset::new(1)).unwrap();
    append(&log, b"a new one, of another size");
    append(&log, b"and one more");
    let read = |cursor| {
        let fetched = log.log.fetch(Offset::new(1), cursor, limits).map_err(|it| it.kind())?;
        let chunk = fetched.chunk.unwrap();
        Ok::<_, ErrorKind>((chunk.first_offset.get(), chunk.bytes, fetched.cursor))
    };
    let (base, bytes, fresh) = read(Some(&cursor)).unwrap();
    assert_eq!((base, &bytes), (1, &read(None).unwrap().1), "of what stands now");
    let fresh = fresh.unwrap();
    log.delete_records_before(Offset::new(3)).unwrap();
    assert_eq!(read(Some(&cursor)).unwrap_err(), ErrorKind::OffsetOutOfRange);
    let gone = log.log.fetch(fresh.offset, Some(&fresh), limits).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::OffsetOutOfRange, "below the start");
}

/// Who seeks comes with a place that lies elsewhere.
#[test]
fn a_cursor_of_another_offset_is_not_read_from() {
    let (_, log) = in_memory();
    for number in 0..4 {
        append(&log, format!("{number}").as_bytes());
    }
    let one = FetchLimits { records: 1, bytes: 1, ..FetchLimits::all(1) };
    let second = log.log.fetch(Offset::new(1), None, one).unwrap().cursor.unwrap();
    for from in [0, 1, 3] {
        let fetched = log.log.fetch(Offset::new(from), Some(&second), one).unwrap();
        assert_eq!(fetched.chunk.unwrap().first_offset.get(), from);
    }
}

/// At the end there is nothing, with a cursor as without; beyond it there is no place.
#[test]
fn a_cursor_at_the_end_waits_and_goes_on() {
    let (_, log) = in_memory();
    append(&log, b"a");
    let limits = FetchLimits::all(1 << 20);
    let read = log.log.fetch(Offset::ZERO, None, limits).unwrap();
    let cursor = read.cursor.unwrap();
    let none = log.log.fetch(cursor.offset, Some(&cursor), limits).unwrap();
    assert!(none.chunk.is_none());
    append(&log, b"b");
    let some = log.log.fetch(cursor.offset, Some(&cursor), limits).unwrap();
    assert_eq!(some.chunk.unwrap().first_offset, Offset::new(1));
    let beyond = Cursor { offset: Offset::new(9), ..cursor };
    let error = log.log.fetch(beyond.offset, Some(&beyond), limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
}

/// It may have left gaps there, which are no damage from then on.
#[test]
fn what_another_hand_wrote_behind_a_clean_end_is_taken_over() {
    let (disk, log) = in_memory();
    append(&log, b"a");
    log.close().unwrap();
    let open = || open(&disk, TopicConfig::new());
    open().close().unwrap();
    assert!(!recorded(&disk).adopted, "nobody else has written");
    let path = Path::new("/log/00000000000000000000.log");
    let file = disk.open(path, Access::Write).unwrap();
    write_all_at(&*file, &super::batch(1, b"theirs"), file.len().unwrap()).unwrap();
    let log = open();
    assert_eq!(log.end_offset(), Offset::new(2));
    let slot = recorded(&disk);
    assert_eq!((slot.adopted, slot.recovery_point), (true, Offset::new(2)));
    log.close().unwrap();
    let log = open();
    assert_eq!((recorded(&disk).adopted, log.end_offset().get()), (true, 2), "and stays so");
}

/// Who has read what was cut off is told so by its epoch.
#[test]
fn a_log_that_leads_itself_goes_on_behind_a_cut_under_another_epoch() {
    let (_, log) = in_memory();
    let before = [append(&log, b"a"), append(&log, b"b")].map(|receipt| receipt.epoch());
    assert_eq!(before[0], before[1], "the control");
    log.truncate_to(Offset::new(1)).unwrap();
    let second = append(&log, b"c").epoch();
    assert!(second > before[1]);
    log.truncate_fully_and_start_at(Offset::new(9)).unwrap();
    let first = append(&log, b"d");
    assert_eq!(first.first_offset(), Offset::new(9));
    assert!(first.epoch() > second);
}

/// Who sends again learns the epoch that the batch has, whoever leads by then.
#[test]
fn a_batch_that_was_sent_again_is_answered_with_the_epoch_of_the_first_time() {
    use crate::ids::{ProducerEpoch, ProducerId, Sequence};
    use crate::record::ProducerIdentity;
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let producer = ProducerIdentity::new(ProducerId::new(7), ProducerEpoch::new(0));
    let send = |log: &Log, number: i32| {
        let number = Sequence::new(number).unwrap();
        log.append_produced(&[Record::new("x")], producer, number).unwrap()
    };
    let mut sent = Vec::new();
    for number in 0..3 {
        let log = open(&disk, TopicConfig::new());
        append(&log, b"the epoch begins before it");
        sent.push(send(&log, number).epoch());
    }
    assert!(sent[0] < sent[1] && sent[1] < sent[2], "the control: each open has its own, {sent:?}");
    let log = open(&disk, TopicConfig::new());
    let again = send(&log, 2); // the last one is known after an open
    assert_eq!((again.is_duplicate(), again.epoch()), (true, sent[2]));
}

#[cfg(feature = "sim")]
mod on_a_failing_disk {
    use super::*;
    use crate::config::Durability;
    use crate::disk::{Fault, Operation, Plan, SimDisk};

    /// What the page cache has of it is not on the disk, and another sync says nothing of that: the
    /// next open is to know, whoever the sync was made for.
    #[test]
    fn a_sync_that_failed_is_recorded_whoever_asked_for_it() {
        type Ask = fn(&Log) -> Result<()>;
        let asks: [(&str, Ask); 4] = [
            ("an append", |log| log.append_with(&[Record::new("b")], Durability::Power).map(drop)),
            ("a flush", Log::flush),
            ("upkeep", Log::maintain),
            ("a deletion", |log| log.delete_records_before(Offset::new(1))),
        ];
        for (who, ask) in asks {
            let sim = SimDisk::new(1);
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let config = TopicConfig::new().flush_interval(Some(Duration::ZERO));
            let log = open(&disk, config);
            append(&log, b"a");
            assert!(!recorded(&disk).sync_failed, "the control");
            sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
            assert!(ask(&log).is_err(), "{who}");
            sim.heal();
            assert!(recorded(&disk).sync_failed, "{who}");
        }
    }

    /// A file that stayed would say that the segment before it ends where it begins.
    #[test]
    fn a_roll_that_fails_leaves_no_file() {
        let mut failed = 0;
        for nth in 1..12 {
            let sim = SimDisk::new(1);
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let log = open(&disk, TopicConfig::new().segment_bytes(1024));
            for _ in 0..2 {
                append(&log, &[1; 400]);
            }
            sim.fail(Plan::new(Fault::Error(28)).nth(nth));
            let rolled = log.append(&[Record::new(&[1; 400][..])]);
            sim.heal();
            let names = disk.list(Path::new("/log")).unwrap().into_iter().map(|entry| entry.name);
            let logs = names.filter(|name| name.ends_with(".log")).count();
            assert_eq!(logs, log.log.size().1, "call {nth}: {rolled:?}");
            failed += usize::from(rolled.is_err());
        }
        assert!(failed > 1, "the control");
    }
}
