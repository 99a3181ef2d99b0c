//! Whole logs under shuttle, on the simulated disk: writers that share syncs, rolls, readers,
//! deletions and a close in the midst of them, a device that fails a sync; and then the power goes
//! at any moment of it. A caller left waiting is a deadlock.
//!
//! Run with `.ci/shuttle log`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Log;
use crate::config::{Durability, TopicConfig};
use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
use crate::error::{ErrorKind, Result};
use crate::ids::Offset;
use crate::record::Record;
use crate::sync::Mutex;
use crate::sync::explore::{breaks, thread};
use crate::time::ManualClock;

/// Values by offset.
type Values = BTreeMap<i64, String>;

struct Bench {
    disk: SimDisk,
    log: Log,
    acknowledged: Mutex<Values>,
}

fn open(disk: &SimDisk) -> Result<Log> {
    let config = TopicConfig::new().segment_bytes(1024).index_interval_bytes(400);
    let builder = Log::builder("/orders-0").disk(Arc::new(disk.clone())).config(config);
    builder.clock(Arc::new(ManualClock::default())).open()
}

/// Everything from `from` on: right values, one behind the other.
fn read(log: &Log, from: Offset) -> Result<Values> {
    let (mut next, mut found) = (from, Values::new());
    loop {
        let records = log.read(next, 1 << 20)?;
        if records.is_empty() {
            return Ok(found);
        }
        for record in &records {
            assert_eq!(record.offset(), next, "none is left out");
            let value = std::str::from_utf8(record.value().expect("a value")).expect("text");
            found.insert(next.get(), value.trim_end().to_owned());
            next = Offset::new(next.get() + 1);
        }
    }
}

impl Bench {
    fn new() -> Arc<Bench> {
        let disk = SimDisk::new(1);
        let log = open(&disk).expect("it opens");
        Arc::new(Bench { disk, log, acknowledged: Mutex::default() })
    }

    /// Appends durably; what fails once fails for good.
    fn write(&self, writer: usize) {
        let mut has_failed = false;
        for number in 0..3 {
            let value = format!("{writer}:{number}");
            let padded = format!("{value:<200}"); // five to a segment
            match self.log.append_with(&[Record::new(&padded)], Durability::Power) {
                Ok(receipt) => {
                    assert!(!has_failed, "a log that failed goes on");
                    assert!(self.log.durable_offset() >= receipt.next_offset());
                    self.acknowledged.lock().insert(receipt.first_offset().get(), value);
                }
                Err(_) => has_failed = true,
            }
        }
    }

    /// The power goes: whether something that was promised does not come back.
    fn loses_by_a_cut(&self) -> bool {
        let promised = self.acknowledged.lock().clone();
        let log = open(&self.disk.crash(Crash::Nothing)).expect("it opens again");
        let found = read(&log, log.start_offset()).expect("it reads");
        let start = log.start_offset().get();
        promised.iter().any(|(at, value)| *at >= start && found.get(at) != Some(value))
    }
}

fn spawn(bench: &Arc<Bench>, work: impl FnOnce(&Bench) + Send + 'static) -> thread::JoinHandle<()> {
    let bench = bench.clone();
    thread::spawn(move || work(&bench))
}

/// So many writers, something beside them, and a cut at any moment.
fn writers(count: usize, plan: Option<Plan>, beside: fn(&Bench)) -> bool {
    breaks(0, move || {
        let bench = Bench::new();
        if let Some(plan) = &plan {
            bench.disk.fail(plan.clone());
        }
        let threads: Vec<_> =
            (0..count).map(|writer| spawn(&bench, move |bench| bench.write(writer))).collect();
        let other = spawn(&bench, beside);
        let broken = bench.loses_by_a_cut();
        threads.into_iter().chain([other]).for_each(|thread| thread.join().expect("it ends"));
        broken
    })
}

fn nothing(_: &Bench) {}

fn reader(bench: &Bench) {
    for _ in 0..3 {
        let end = bench.log.end_offset();
        if let Ok(found) = read(&bench.log, Offset::ZERO) {
            assert!(found.len() as i64 >= end.get(), "what was published is read");
        }
    }
}

#[test]
fn writers_share_syncs_across_rolls() {
    assert!(!writers(3, None, nothing));
    assert!(!writers(6, None, nothing));
}

/// Negative control: a device that forgets one of its syncs loses what was promised.
#[test]
fn a_sync_that_lies_is_caught() {
    let lie = |nth| Plan::new(Fault::Lie).on(Operation::Sync).nth(nth);
    assert!((1..4).any(|nth| writers(3, Some(lie(nth)), nothing)));
}

#[test]
fn a_reader_beside_writers_and_rolls_misses_nothing() {
    assert!(!writers(4, None, reader));
}

#[test]
fn a_failed_sync_promises_nothing_to_anybody() {
    let fail = |nth| Plan::new(Fault::Error(5)).on(Operation::Sync).nth(nth);
    assert!((1..4).all(|nth| !writers(4, Some(fail(nth)), nothing)));
}

#[test]
fn a_close_serves_or_refuses_all_writers() {
    assert!(!writers(4, None, |bench| drop(bench.log.close())));
}

#[test]
fn records_are_deleted_beside_writers_and_a_reader() {
    assert!(!writers(3, None, |bench| {
        let end = bench.log.end_offset();
        if bench.log.delete_records_before(end).is_ok() {
            match read(&bench.log, Offset::ZERO) {
                Ok(_) => assert_eq!(bench.log.start_offset(), Offset::ZERO),
                Err(error) if end > Offset::ZERO => {
                    let known = [ErrorKind::OffsetOutOfRange, ErrorKind::Io, ErrorKind::Poisoned];
                    assert!(known.contains(&error.kind()), "{error}");
                }
                Err(error) => assert_ne!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}"),
            }
        }
    }));
}

/// The log lives to its end: every acknowledged record is read, closed and read again.
#[test]
fn without_a_cut_all_is_there() {
    crate::sync::explore::model(0, || {
        let bench = Bench::new();
        let threads: Vec<_> =
            (0..5).map(|writer| spawn(&bench, move |bench| bench.write(writer))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        let acknowledged = bench.acknowledged.lock().clone();
        assert_eq!(acknowledged.len(), 15);
        assert_eq!(read(&bench.log, Offset::ZERO).expect("it reads"), acknowledged);
        bench.log.close().expect("closed");
        let again = open(&bench.disk).expect("it opens again");
        assert_eq!(read(&again, Offset::ZERO).expect("it reads"), acknowledged);
    });
}
