//! The door `Log`: who may open what, what closed means, what is refused.

use std::sync::Arc;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use tidelog::disk::{Access, Disk, MemoryDisk};
#[cfg(feature = "sim")]
use tidelog::disk::{Crash, Fault, Operation, Plan, SimDisk};
use tidelog::{Durability, ErrorKind, Log, LogBuilder, Offset, Record, Result, TopicConfig};

fn builder(disk: &Arc<MemoryDisk>) -> LogBuilder {
    Log::builder("/root/orders-3").disk(disk.clone())
}

fn write(disk: &MemoryDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(path.as_ref(), Access::Create).unwrap();
    file.set_len(0).unwrap();
    assert_eq!(file.write_at(bytes, 0).unwrap(), bytes.len());
}

#[test]
fn one_opens_at_a_time_and_a_close_frees_the_directory() {
    let disk = Arc::new(MemoryDisk::new());
    let log = builder(&disk).open().unwrap();
    let error = builder(&disk).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.is_retriable() && error.path().is_some());
    log.close().unwrap();
    let again = builder(&disk).open().unwrap();
    assert!(log.append(&[Record::new("late")]).unwrap_err().is_closed());
    assert!(log.read(Offset::ZERO, 1).unwrap_err().is_closed());
    assert!(log.flush().unwrap_err().is_closed());
    assert!(pollster::block_on(log.flush_async()).unwrap_err().is_closed());
    assert!(log.reopen().unwrap_err().is_closed());
    assert!(log.maintain().unwrap_err().is_closed());
    drop(log); // closed already: the other one keeps its lock
    assert_eq!(builder(&disk).open().unwrap_err().kind(), ErrorKind::Locked);
    drop(again);
    builder(&disk).open().unwrap();
}

#[test]
fn a_partition_of_a_store_is_refused() {
    let disk = Arc::new(MemoryDisk::new());
    disk.create_dir_all("/root".as_ref()).unwrap();
    write(&disk, "/root/tidelog.store", b"x");
    assert_eq!(builder(&disk).open().unwrap_err().kind(), ErrorKind::NotAStore);
    let root = Log::builder("/root").disk(disk.clone()).open();
    assert_eq!(root.unwrap_err().kind(), ErrorKind::NotAStore);
}

#[test]
fn a_damaged_keeper_is_an_error_that_names_it() {
    let disk = Arc::new(MemoryDisk::new());
    builder(&disk).open().unwrap().close().unwrap();
    write(&disk, "/root/orders-3/tidelog.keeper", &[7; 600]);
    let error = builder(&disk).open().unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(error.path().is_some_and(|path| path.ends_with("tidelog.keeper")));
}

#[test]
fn a_bad_configuration_opens_nothing() {
    let disk = Arc::new(MemoryDisk::new());
    let config = TopicConfig::new().segment_bytes(7);
    let error = builder(&disk).config(config).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(disk.metadata("/root".as_ref()).unwrap().is_none());
}

#[test]
fn what_is_refused_uses_no_offset() {
    let disk = Arc::new(MemoryDisk::new());
    let config = TopicConfig::new().max_batch_bytes(200).segment_bytes(1024);
    let log = builder(&disk).config(config).open().unwrap();
    let far = tidelog::Timestamp::from_millis(i64::MAX);
    let refused: [(&[Record<'_>], ErrorKind); 3] = [
        (&[], ErrorKind::InvalidArgument),
        (&[Record::new(&[0; 300])], ErrorKind::TooLarge),
        (&[Record::new("ok"), Record::new("x").timestamp(far)], ErrorKind::InvalidRecord),
    ];
    for (records, kind) in refused {
        let error = log.append(records).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(log.end_offset(), Offset::ZERO);
    }
    assert_eq!(log.append(&[Record::new("ok")]).unwrap().first_offset(), Offset::ZERO);
    let error = log.read(Offset::new(2), 1).unwrap_err();
    assert_eq!(error.partition().map(|(topic, at)| (topic, at.get())), Some(("orders", 3)));
    assert_eq!(error.available(), Some((Offset::ZERO, Offset::new(1))));
}

#[test]
fn readers_and_writers_on_many_threads_see_whole_batches_in_order() {
    let held = tempfile::tempdir().unwrap();
    let config = TopicConfig::new().segment_bytes(20_000).index_interval_bytes(500);
    let log = Log::builder(held.path()).config(config).open().unwrap();
    const BATCHES: i64 = 2000;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut next = Offset::ZERO;
                while next.get() < BATCHES * 2 {
                    for record in &log.read(next, 4000).unwrap() {
                        assert_eq!(record.offset(), next);
                        let expected = (next.get() / 2).to_string();
                        assert_eq!(record.value(), Some(expected.as_bytes()));
                        next = Offset::new(next.get() + 1);
                    }
                }
            });
        }
        scope.spawn(|| {
            while log.end_offset().get() < BATCHES * 2 {
                log.maintain().unwrap();
                log.flush().unwrap();
                let late = tidelog::Timestamp::from_millis(i64::MAX);
                assert_eq!(log.offset_for_timestamp(late).unwrap(), None);
            }
        });
        for number in 0..BATCHES {
            let value = number.to_string();
            log.append(&[Record::new(&value), Record::new(&value)]).unwrap();
        }
    });
    log.close().unwrap();
}

#[test]
fn skipping_damage_names_the_offsets_that_are_gone() {
    let disk = Arc::new(MemoryDisk::new());
    let config = TopicConfig::new().index_interval_bytes(0);
    let log = builder(&disk).config(config.clone()).open().unwrap();
    for _ in 0..10 {
        log.append(&[Record::new("one"), Record::new("two"), Record::new("three")]).unwrap();
    }
    log.close().unwrap();
    let file =
        disk.open("/root/orders-3/00000000000000000000.log".as_ref(), Access::Write).unwrap();
    let size = file.len().unwrap() / 10;
    file.write_at(b"?", 4 * size + 70).unwrap();
    let log = builder(&disk).config(config).open().unwrap();
    let (mut next, mut seen, mut gone) = (Offset::ZERO, Vec::new(), Vec::new());
    while next < log.end_offset() {
        match log.read(next, 200) {
            Ok(records) => {
                seen.extend(records.iter().map(|record| record.offset().get()));
                next = Offset::new(seen[seen.len() - 1] + 1);
            }
            Err(error) => {
                assert!(error.is_corrupt(), "{error}");
                let range = log.skip_damage(next).unwrap();
                gone.extend(range.start.get()..range.end.get());
                next = range.end;
            }
        }
    }
    assert_eq!(gone, [12, 13, 14]);
    assert_eq!(seen, (0..30).filter(|at| !gone.contains(at)).collect::<Vec<_>>());
    assert_eq!(log.skip_damage(Offset::ZERO).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// What a future has come to, looked at once.
fn look<F: Future<Output = Result<()>>>(flushed: F) -> Option<Result<()>> {
    match pin!(flushed).poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(result) => Some(result),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_flush_as_a_task_is_served_by_the_next_sync_whoever_makes_it() {
    let disk = Arc::new(MemoryDisk::new());
    let log = builder(&disk).open().unwrap();
    look(log.flush_async()).expect("there is nothing to sync").unwrap();
    let syncs: [(&str, &dyn Fn() -> Result<()>); 4] = [
        ("maintain", &|| log.maintain()),
        ("flush", &|| log.flush()),
        ("append", &|| log.append_with(&[Record::new("p")], Durability::Power).map(drop)),
        ("close", &|| log.close()),
    ];
    for (how, sync) in syncs {
        log.append(&[Record::new("a")]).unwrap();
        let end = log.end_offset();
        let mut flushed = pin!(log.flush_async());
        drop(log.flush_async()); // given up: nobody waits for that one
        assert!(look(flushed.as_mut()).is_none(), "{how}: a task never syncs");
        assert!(log.durable_offset() < end);
        sync().unwrap();
        look(flushed).unwrap_or_else(|| panic!("{how}: not served")).unwrap();
        assert!(log.durable_offset() >= end, "{how}");
    }
}

#[cfg(feature = "sim")]
#[test]
fn a_log_whose_sync_has_failed_is_reopened_in_place() {
    let disk = SimDisk::new(5);
    let open = |disk: &SimDisk| Log::builder("/wal").disk(Arc::new(disk.clone())).open().unwrap();
    let values = |log: &Log| -> Vec<Vec<u8>> {
        let records = log.read(log.start_offset(), 1 << 20).unwrap();
        records.iter().map(|record| record.value().unwrap().to_vec()).collect()
    };
    let log = open(&disk);
    let safe = log.append_with(&[Record::new("safe")], Durability::Power).unwrap();
    assert!(log.reopen().unwrap().is_none(), "nothing is wrong");
    for round in 0..2 {
        log.append(&[Record::new("doubtful")]).unwrap();
        let flushed = log.flush_async();
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
        assert!(log.maintain().is_ok() || round > 0);
        let error = pollster::block_on(flushed).unwrap_err();
        assert_eq!(error.outcome(), tidelog::Outcome::WrittenNotDurable, "{error}");
        let refused = log.append(&[Record::new("late")]).unwrap_err();
        assert!(refused.is_poisoned(), "{refused}");
        assert_eq!(refused.outcome(), tidelog::Outcome::NotWritten);

        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Write).for_ever());
        assert!(log.reopen().is_err());
        assert!(log.append(&[Record::new("late")]).unwrap_err().is_poisoned(), "as it was");
        disk.heal();
        assert!(log.reopen().unwrap().is_some());
        assert_eq!(log.durable_offset(), log.end_offset(), "all it holds is durable");
        let more = log.append_with(&[Record::new("more")], Durability::Power).unwrap();
        assert!(more.epoch() > safe.epoch());
    }
    let expected: Vec<_> = ["safe", "doubtful", "more", "doubtful", "more"]
        .map(|value| value.as_bytes().to_vec())
        .into();
    assert_eq!(values(&log), expected);
    for after in [disk.kill(), disk.crash(Crash::Nothing)] {
        assert_eq!(values(&open(&after)), expected);
    }
}
