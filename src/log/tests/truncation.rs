//! Truncation against a list of what was appended, with reopens, deletions and readers that hold
//! what is cut off. What a stop in the middle leaves is the engine's enumeration of crashes.

use super::*;
use crate::config::Durability;
#[cfg(feature = "sim")]
use crate::error::Outcome;
use crate::seeds::seeds;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a log should hold: value and epoch by offset, and where each batch begins.
#[derive(Debug, Default)]
struct Model {
    start: i64,
    end: i64,
    records: Vec<(i64, String, LeaderEpoch)>,
    batches: Vec<i64>,
}

impl Model {
    fn append(&mut self, log: &Log, random: &mut StdRng, number: u64) {
        let count = random.random_range(1..5);
        let values: Vec<String> = (0..count).map(|at| format!("{number}.{at}")).collect();
        let records: Vec<_> = values.iter().map(|value| Record::new(value.as_bytes())).collect();
        let power = random.random_bool(0.2);
        let durability = if power { Durability::Power } else { Durability::Process };
        let receipt = log.append_with(&records, durability).unwrap();
        assert_eq!(receipt.first_offset().get(), self.end);
        self.batches.push(self.end);
        for value in values {
            self.records.push((self.end, value, receipt.epoch()));
            self.end += 1;
        }
    }

    fn truncate(&mut self, log: &Log, target: i64) {
        let found = log.truncate_to(Offset::new(target)).unwrap();
        if target < self.end {
            let cut = match self.batches.iter().find(|base| **base > target) {
                Some(next) if self.batches.contains(&target) || *next <= target => target,
                _ => self.batches.iter().rev().find(|base| **base <= target).map_or(0, |b| *b),
            };
            if target <= self.start {
                (self.start, self.end) = (target, target);
            } else {
                self.end = cut.max(self.start);
            }
            let end = self.end;
            self.records.retain(|(offset, ..)| *offset < end);
            self.batches.retain(|base| *base < end);
            if self.start == self.end {
                self.records.clear();
                self.batches.clear();
            }
        }
        assert_eq!(found.get(), self.end, "truncated to {target}");
    }

    fn start_at(&mut self, log: &Log, target: i64) {
        log.truncate_fully_and_start_at(Offset::new(target)).unwrap();
        *self = Model { start: target, end: target, ..Model::default() };
    }

    fn delete(&mut self, log: &Log, before: i64) {
        log.delete_records_before(Offset::new(before)).unwrap();
        self.start = self.start.max(before);
        let start = self.start;
        self.records.retain(|(offset, ..)| *offset >= start);
    }

    fn check(&self, log: &Log, what: &str) {
        let bounds = (log.start_offset().get(), log.end_offset().get());
        assert_eq!(bounds, (self.start, self.end), "{what}");
        assert!(log.durable_offset() <= log.end_offset(), "{what}");
        let mut found = Vec::new();
        let mut next = log.start_offset();
        while next < log.end_offset() {
            let records = log.read(next, 300).unwrap_or_else(|error| panic!("{what}: {error}"));
            for record in &records {
                let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                found.push((record.offset().get(), value));
                next = Offset::new(record.offset().get() + 1);
            }
        }
        let expected: Vec<_> =
            self.records.iter().map(|(offset, value, _)| (*offset, value.clone())).collect();
        assert_eq!(found, expected, "{what}");
        let beyond = log.read(Offset::new(self.end + 1), 1).unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::OffsetOutOfRange, "{what}");
        self.check_epochs(log, what);
    }

    fn check_epochs(&self, log: &Log, what: &str) {
        let Some((_, _, latest)) = self.records.last() else { return };
        for (_, _, epoch) in &self.records {
            let next = self.records.iter().find(|(_, _, other)| other > epoch);
            let end = next.map_or(self.end, |(offset, ..)| *offset);
            let expected = Some((*epoch, Offset::new(end)));
            assert_eq!(log.end_offset_for_epoch(*epoch).unwrap(), expected, "{what}");
        }
        let above = LeaderEpoch::new(latest.get() + 1);
        assert_eq!(log.end_offset_for_epoch(above).unwrap(), None, "{what}");
    }
}

fn open(disk: &Arc<dyn Disk>) -> Log {
    let config = TopicConfig::new().segment_bytes(1024).index_interval_bytes(100);
    Log::builder("/log").config(config).disk(disk.clone()).open().unwrap()
}

#[test]
fn a_truncated_log_is_as_if_the_rest_had_never_been() {
    for seed in seeds(40, 150, 5_000) {
        let random = &mut StdRng::seed_from_u64(seed);
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let mut log = open(&disk);
        let mut model = Model::default();
        for number in 0..60 {
            let what = format!("step {number}; TIDELOG_SEED={seed} repeats it");
            match random.random_range(0..100) {
                0..60 => model.append(&log, random, number),
                60..75 => {
                    let least = (model.end - 30).max(0);
                    model.truncate(&log, random.random_range(least..=model.end + 1));
                }
                75..78 => {
                    let least = (model.start - 9).max(0);
                    model.start_at(&log, random.random_range(least..=model.end + 9));
                }
                78..83 => model.delete(&log, random.random_range(model.start..=model.end)),
                83..90 => log.maintain().unwrap(),
                90..93 => log.flush().unwrap(),
                93..96 => {
                    log.close().unwrap();
                    log = open(&disk);
                    assert!(!log.report().is_notable(), "{what}: {:?}", log.report());
                }
                _ => {
                    let report = log.verifier().run().unwrap();
                    assert!(report.is_clean(), "{what}: {:?}", report.findings());
                }
            }
            model.check(&log, &what);
        }
    }
}

#[test]
fn readers_keep_what_they_hold_and_see_what_took_its_place() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    for number in 0..40 {
        log.append(&[Record::new(format!("old {number}").as_bytes())]).unwrap();
    }
    let held = log.read(Offset::new(10), 1 << 20).unwrap();
    let before: Vec<_> = held.iter().map(|record| record.value().unwrap().to_vec()).collect();
    assert_eq!(log.truncate_to(Offset::new(11)).unwrap().get(), 11);
    log.append(&[Record::new("new")]).unwrap();
    let after: Vec<_> = held.iter().map(|record| record.value().unwrap().to_vec()).collect();
    assert_eq!(before, after);
    let read = log.read(Offset::new(11), 1 << 20).unwrap();
    assert_eq!(read.iter().next().unwrap().value(), Some(&b"new"[..]));
    let gone = log.read(Offset::new(20), 1).unwrap_err();
    assert_eq!(gone.available(), Some((Offset::ZERO, Offset::new(12))));
}

#[test]
fn a_read_beside_truncations_is_wholly_of_before_or_of_after() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2i64 {
            let (log, done) = (&log, &done);
            scope.spawn(move || {
                let mut at = reader;
                while !done.load(Ordering::Relaxed) {
                    at = (at + 7) % 60;
                    let from = Offset::new(at);
                    let records = match log.read(from, 500) {
                        Ok(records) => records,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
                            continue;
                        }
                    };
                    for (expected, record) in (at..).zip(&records) {
                        assert_eq!(record.offset().get(), expected);
                        let value = String::from_utf8_lossy(record.value().unwrap()).into_owned();
                        assert!(value.ends_with(&format!("@{expected}")), "{value}");
                    }
                }
            });
        }
        let _done = Done(&done);
        let random = &mut StdRng::seed_from_u64(7);
        for round in 0..150 {
            while log.end_offset().get() < 60 {
                let value = format!("{round:-<40}@{}", log.end_offset());
                log.append(&[Record::new(value.as_bytes())]).unwrap();
            }
            log.truncate_to(Offset::new(random.random_range(1..60))).unwrap();
        }
    });
}

/// Has the readers end, whatever becomes of the writer.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_target_below_zero_is_refused_and_the_log_stays() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(&disk);
    log.append(&[Record::new("a")]).unwrap();
    for error in [
        log.truncate_to(Offset::new(-1)).unwrap_err(),
        log.truncate_fully_and_start_at(Offset::new(-1)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    log.append(&[Record::new("b")]).unwrap();
    assert_eq!(log.end_offset().get(), 2);
}

/// Kafka's cleaner leaves files without a byte between others. One above the cut would hide from
/// Kafka what is appended there.
#[test]
fn empty_files_of_kafkas_go_with_the_tail_that_is_cut_off() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let dir = Path::new("/log");
    disk.create_dir_all(dir).unwrap();
    for (base, bytes) in [(0, batches(0, 4)), (4, vec![]), (6, vec![]), (8, batches(8, 10))] {
        let path = dir.join(segment_file(Offset::new(base), SegmentFile::Log));
        let file = disk.open(&path, Access::Create).unwrap();
        write_all_at(&*file, &bytes, 0).unwrap();
    }
    let builder = Log::builder(dir).recovery_point(Offset::new(10)).closed_cleanly();
    let log = builder.disk(disk.clone()).open().unwrap();
    assert_eq!(log.end_offset().get(), 10);
    log.truncate_to(Offset::new(2)).unwrap();
    for number in 2..9 {
        assert_eq!(
            log.append(&[Record::new("behind the cut")]).unwrap().first_offset().get(),
            number
        );
    }
    log.close().unwrap();
    let gone = [4, 6, 8].map(|base| segment_file(Offset::new(base), SegmentFile::Log));
    let names = disk.list(dir).unwrap().into_iter().map(|entry| entry.name);
    let stays: Vec<_> = names.filter(|name| gone.contains(name)).collect();
    assert!(stays.is_empty(), "{stays:?}");
}

/// What is promised after a truncation that failed is there after a power cut, and a log that was
/// poisoned by it comes back without closing it: nothing above the cut counts as durable by then.
#[test]
#[cfg(feature = "sim")]
fn a_truncation_that_fails_at_any_call_promises_nothing_above_the_cut() {
    let mut poisoned = 0;
    for then_reopened in [false, true] {
        let found: Vec<_> = (1..).map_while(|nth| cut_failing_at(nth, then_reopened)).collect();
        poisoned += found.iter().filter(|outcome| **outcome == Some(Outcome::Unknown)).count();
        let refused = found.iter().filter(|outcome| **outcome == Some(Outcome::NotWritten)).count();
        assert!(refused > 3, "the control: {found:?}");
    }
    assert!(poisoned > 6, "the control: {poisoned}");
}

/// Names and all, once that has been said.
#[test]
#[cfg(feature = "sim")]
fn what_was_cut_off_stays_gone_whatever_a_power_cut_takes() {
    use crate::disk::{Crash, SimDisk};
    for target in [0, 5, 12, 23] {
        let random = (0..8).map(Crash::Random);
        for crash in [Crash::Nothing, Crash::Everything].into_iter().chain(random) {
            let sim = SimDisk::new(1);
            let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
            for number in 0..24 {
                log.append(&[Record::new(format!("{number:-<80}").as_bytes())]).unwrap();
            }
            log.flush().unwrap();
            let bases = log.log.segments.load();
            let kept = bases.iter().filter(|part| part.base().get() < target).count().max(1);
            assert_eq!(log.truncate_to(Offset::new(target)).unwrap().get(), target);
            assert_eq!(log.log.size().1, kept, "no segment but those that hold what is left");
            let after = open(&(Arc::new(sim.crash(crash)) as Arc<dyn Disk>));
            assert_eq!(after.end_offset().get(), target, "{crash:?}");
            let report = after.report();
            assert!(report.damage().is_empty(), "to {target}, {crash:?}: {report:?}");
        }
    }
}

/// Has the `nth` call of a truncation fail; its outcome, or `None` where it makes fewer calls.
#[cfg(feature = "sim")]
fn cut_failing_at(nth: u64, then_reopened: bool) -> Option<Option<Outcome>> {
    use crate::disk::{Crash, Fault, Plan, SimDisk};
    let (target, count) = (5, 24);
    let sim = SimDisk::new(nth);
    let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
    for number in 0..count {
        log.append(&[Record::new(format!("{number:-<80}").as_bytes())]).unwrap();
    }
    log.flush().unwrap();
    let before = sim.operations();
    sim.fail(Plan::new(Fault::Error(5)).nth(nth));
    let cut = log.truncate_to(Offset::new(target));
    if before + nth > sim.operations() {
        assert_eq!(cut.unwrap().get(), target);
        return None;
    }
    sim.heal();
    let shown = format!("call {nth} failed: {cut:?}");
    let outcome = cut.as_ref().err().map(|error| error.outcome());
    if outcome == Some(Outcome::NotWritten) {
        assert_eq!(log.durable_offset().get(), count, "{shown}");
    }
    match then_reopened.then(|| log.reopen()) {
        Some(Ok(reopened)) => {
            assert!(log.end_offset().get() >= target, "{shown}");
            if reopened.is_some() {
                assert_eq!(log.durable_offset(), log.end_offset(), "{shown}");
            }
            log.append(&[Record::new("goes on")]).unwrap();
        }
        // a sync of `tidelog.keeper` that failed has only an open get over it
        Some(Err(error)) => assert_eq!(error.operation(), "write keeper file", "{shown}: {error}"),
        None => {}
    }
    let promised = log.durable_offset();
    let after = open(&(Arc::new(sim.crash(Crash::Nothing)) as Arc<dyn Disk>));
    assert!(after.end_offset() >= promised, "{shown}: {promised} and {}", after.end_offset());
    assert!(after.report().damage().is_empty(), "{shown}: {:?}", after.report());
    Some(outcome)
}

/// A directory whose sync has failed may have lost its names for good, whatever the next sync says:
/// nothing may be promised of a log that began in it.
#[test]
#[cfg(feature = "sim")]
fn a_log_that_began_with_a_truncation_that_failed_promises_nothing_it_may_lose() {
    use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
    let mut failed = [0; 2];
    for (at, operation) in [Operation::Sync, Operation::SyncDir].into_iter().enumerate() {
        for nth in 1.. {
            let sim = SimDisk::new(nth);
            let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
            let target = Offset::new(100);
            sim.fail(Plan::new(Fault::Error(5)).on(operation).nth(nth));
            let cut = log.truncate_fully_and_start_at(target);
            sim.heal();
            let Err(error) = cut else { break };
            failed[at] += 1;
            let shown = format!("{operation:?} {nth}: {error}");
            let again = log.truncate_fully_and_start_at(target);
            assert!(again.is_err(), "{shown}: no sync is tried a second time");
            let appended = log.append_with(&[Record::new("a")], Durability::Power);
            assert!(
                appended.is_err() || operation == Operation::Sync,
                "{shown}: writing has ended"
            );
            let promised = if appended.is_ok() { log.end_offset() } else { Offset::ZERO };
            let after = open(&(Arc::new(sim.crash(Crash::Nothing)) as Arc<dyn Disk>));
            assert!(after.end_offset() >= promised, "{shown}: {promised} was promised");
            assert!(after.report().damage().is_empty(), "{shown}: {:?}", after.report());
            let (start, end) = (after.start_offset(), after.end_offset());
            let read = (end > start).then(|| after.read(start, 1 << 20).unwrap().len());
            assert_eq!(read.unwrap_or(0) as u64, end.since(start), "{shown}");
        }
    }
    assert!(failed.iter().all(|failed| *failed > 1), "the control: {failed:?}");
}

/// Wherever it stops, the log in memory is the one that is on the disk.
#[cfg(feature = "sim")]
#[test]
fn a_log_that_was_to_begin_elsewhere_is_reopened_as_it_is_recorded() {
    use crate::disk::{Fault, Plan, SimDisk};
    let mut begun = 0;
    for nth in 1.. {
        let sim = SimDisk::new(nth);
        let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
        for number in 0..24 {
            log.append(&[Record::new(format!("{number:-<80}").as_bytes())]).unwrap();
        }
        log.flush().unwrap();
        let before = sim.operations();
        sim.fail(Plan::new(Fault::Error(5)).nth(nth));
        let cut = log.truncate_fully_and_start_at(Offset::new(100));
        sim.heal();
        if before + nth > sim.operations() {
            break; // it makes fewer calls
        }
        if cut.is_err() && log.reopen().is_err() {
            continue; // a sync of `tidelog.keeper` has only an open get over it
        }
        let found = (log.start_offset().get(), log.end_offset().get());
        assert!([(0, 24), (100, 100)].contains(&found), "call {nth}: {found:?}, {cut:?}");
        begun += usize::from(cut.is_err() && found.0 == 100);
        log.flush().unwrap();
        let after = open(&(Arc::new(sim.kill()) as Arc<dyn Disk>));
        assert_eq!((after.start_offset().get(), after.end_offset().get()), found, "call {nth}");
    }
    assert!(begun > 0, "the control");
}

/// Found by random lives (seed 352849): what a power cut had left of a log that was to begin higher
/// was removed by the next open, but was not yet gone from the device when a lower start was
/// recorded, and the next power cut brought it back.
#[cfg(feature = "sim")]
#[test]
fn what_an_open_removes_stays_so_where_the_log_begins_lower() {
    use crate::disk::{Crash, SimDisk};
    let mut lowered = 0;
    for first in 1.. {
        let sim = SimDisk::new(first);
        let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
        for number in 0..6 {
            log.append(&[Record::new(format!("{number:-<80}").as_bytes())]).unwrap();
        }
        log.flush().unwrap();
        sim.cut_after(first);
        let _ = log.truncate_fully_and_start_at(Offset::new(100));
        if !sim.is_cut() {
            break;
        }
        let sim = sim.crash(Crash::Nothing);
        drop(log);
        let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
        if log.start_offset().get() != 100 {
            continue;
        }
        assert_eq!(log.end_offset().get(), 100);
        drop(log);
        for second in 1.. {
            let sim = sim.kill();
            let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
            sim.cut_after(second);
            let _ = log.truncate_fully_and_start_at(Offset::new(3));
            let is_done = !sim.is_cut();
            let after = sim.crash(Crash::Nothing);
            drop(log);
            let after = open(&(Arc::new(after) as Arc<dyn Disk>));
            let found = (after.start_offset().get(), after.end_offset().get());
            assert!([(100, 100), (3, 3)].contains(&found), "{first}, {second}: {found:?}");
            lowered += usize::from(found.0 == 3);
            if is_done {
                break;
            }
        }
    }
    assert!(lowered > 0, "the control");
}

/// The same of what was deleted: of whole segments that have gone, of those that could not be
/// renamed yet, and of the part of one that is served no more.
#[cfg(feature = "sim")]
#[test]
fn what_was_deleted_stays_so_where_the_log_begins_lower() {
    use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
    let (mut lowered, mut standing) = (0, 0);
    for (failing, calls) in (0..6).flat_map(|failing| (1..80).map(move |calls| (failing, calls))) {
        let sim = SimDisk::new(calls);
        let log = open(&(Arc::new(sim.clone()) as Arc<dyn Disk>));
        for number in 0..24 {
            log.append(&[Record::new(format!("{number:-<80}").as_bytes())]).unwrap();
        }
        log.flush().unwrap();
        if failing > 0 {
            sim.fail(Plan::new(Fault::Error(5)).on(Operation::Rename).nth(failing));
        }
        let deleted = log.delete_records_before(Offset::new(20)).is_ok();
        sim.heal();
        let start = log.start_offset();
        standing += usize::from(deleted && sim.metadata(&path_of(0)).unwrap().is_some());
        sim.cut_after(calls);
        let done = log.truncate_fully_and_start_at(Offset::new(3));
        let is_done = !sim.is_cut();
        for crash in [Some(Crash::Nothing), Some(Crash::Everything), None] {
            let after = crash.map_or_else(|| sim.kill(), |crash| sim.crash(crash));
            let after = open(&(Arc::new(after) as Arc<dyn Disk>));
            let found = (after.start_offset(), after.end_offset());
            let shown = format!("{failing}, {calls} calls, {crash:?}: {found:?}, {done:?}");
            let (end, target) = (Offset::new(24), Offset::new(3));
            let mut may_be = vec![(start, end), (end, end), (target, target)];
            if target >= start {
                may_be.push((target, end)); // nothing was deleted: what lies below goes first
            }
            assert!(may_be.contains(&found), "{shown}");
            assert!(done.is_err() || !is_done || found.0 == target, "{shown}");
            assert!(after.report().damage().is_empty(), "{shown}: {:?}", after.report());
            lowered += usize::from(found.0 == target);
        }
    }
    assert!(lowered > 0 && standing > 0, "the control: {lowered}, {standing}");
}

#[cfg(feature = "sim")]
fn path_of(base: i64) -> std::path::PathBuf {
    std::path::Path::new("/log").join(format!("{base:020}.log"))
}
