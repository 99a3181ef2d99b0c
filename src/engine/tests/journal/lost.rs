//! Who reads before anybody has recovered; and a journal that was taken away, or another put in its
//! place: told of, never passed over.

use super::*;
use crate::config::IsolationLevel;
use crate::disk::replace::read_file;
use crate::disk::{Access, Operation, write_all_at};
use crate::engine::Engine;
use crate::ids::Offset;
use crate::log::FetchLimits;
use std::sync::Arc;

fn path() -> std::path::PathBuf {
    Path::new(ROOT).join(JOURNAL)
}

fn take_away(history: &History) {
    history.disk.remove_file(&path()).unwrap();
    history.disk.sync_dir(Path::new(ROOT)).unwrap();
}

fn bytes(history: &History) -> Vec<u8> {
    read_file(&history.disk, &path(), 1 << 20).unwrap().unwrap()
}

fn put(history: &History, bytes: &[u8]) {
    let file = history.disk.open(&path(), Access::Create).unwrap();
    file.set_len(0).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file.sync_data().unwrap();
    history.disk.sync_dir(Path::new(ROOT)).unwrap();
}

/// Stops the machine over records that only the journal holds.
fn stopped() -> History {
    let mut history = ready(APPEND);
    history.append("b", 0, Power).unwrap();
    cut_power(&mut history);
    history
}

fn restored(engine: &Engine) -> u64 {
    engine.open_report().partitions().iter().map(|one| one.restored_records()).sum()
}

#[test]
fn who_reads_before_any_writer_sees_what_only_the_journal_has() {
    let mut history = stopped();
    let image = history.disk.image_hash();
    let reading = history.follow().unwrap();
    let partition = reading.topic("b").unwrap().partitions()[0].clone();
    let offsets = partition.offsets().unwrap();
    assert!(offsets.end.get() > 0);
    assert_eq!(offsets.durable, offsets.end, "it was read from the disk");
    let limits = FetchLimits {
        bytes: 1 << 20,
        records: 100,
        durable_only: true,
        isolation: IsolationLevel::ReadUncommitted,
    };
    let last = Offset::new(offsets.end.get() - 1);
    let fetched = partition.fetch(last, None, limits).unwrap();
    assert_eq!(fetched.next_offset, offsets.end);
    history.verify_as_guest(Promise::Power, "before any writer");
    assert_eq!(history.disk.image_hash(), image);
    reopen(&mut history, "the writer");
    let engine = history.engine().unwrap();
    assert!(restored(&engine) > 0, "the control: the segments had less");
    let writer = engine.topic("b").unwrap().partitions()[0].offsets().unwrap();
    assert_eq!(writer.end, offsets.end, "both saw the same");
    // who was reading goes on behind the writer, which has given all of it back
    history.append("b", 0, Process).unwrap();
    history.clock.advance(std::time::Duration::from_millis(11));
    reading.look().unwrap();
    assert_eq!(partition.offsets().unwrap().end, writer.end.next());
    assert_eq!(super::super::records(&partition).len() as i64, writer.end.next().get());
}

#[test]
fn who_reads_sees_what_was_put_aside_of_a_partition_that_fails() {
    let mut history = stopped();
    let mut seen = 0;
    for nth in 1..80 {
        history.disk.heal();
        history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Read).nth(nth));
        let opened = history.open();
        history.disk.heal();
        let failed = history.engine().is_ok_and(|engine| {
            opened.is_ok() && !engine.open_report().failed_partitions().is_empty()
        });
        if failed {
            history.verify_as_guest(Promise::Power, &format!("read {nth} failed"));
            seen += 1;
        }
        if history.engine.is_some() {
            cut_power(&mut history);
        }
    }
    assert!(seen > 0, "some open went on without a partition");
    reopen(&mut history, "healed");
    history.verify(Promise::Power, "healed");
}

#[test]
fn a_journal_that_was_taken_away_is_told_of() {
    let mut history = stopped();
    take_away(&history);
    let error = history.follow().unwrap_err();
    assert!(error.is_corrupt() && error.path() == Some(&*path()), "{error}");
    reopen(&mut history, "without it");
    let report = history.engine().unwrap().open_report().clone();
    assert!(report.journal_was_missing(), "{report:?}");
    assert!(report.notes().iter().any(|note| note.contains(JOURNAL)), "{report:?}");
    drop(history.follow().expect("somebody has opened it since"));
    history.step(Step::Close).unwrap();
    reopen(&mut history, "after a clean close");
    assert!(!history.engine().unwrap().open_report().journal_was_missing());
}

#[test]
fn another_journal_in_its_place_is_told_of() {
    let mut history = ready(APPEND);
    history.step(Step::Close).unwrap();
    let older = bytes(&history);
    history.open().unwrap();
    for step in [Step::Append("b", 0, 1, Power), Step::Background, Step::Append("b", 0, 1, Power)] {
        history.step(step).unwrap();
    }
    cut_power(&mut history);
    let newer = bytes(&history);
    put(&history, &older);
    assert!(history.follow().unwrap_err().is_corrupt());
    for damaged in [&newer[..0], &newer[..20], &newer[..4096 + 40], &older[..older.len() / 2]] {
        put(&history, damaged);
        let told = match history.open() {
            Ok(()) => history.engine().unwrap().open_report().journal_was_missing(),
            Err(error) => error.is_corrupt(),
        };
        assert!(told, "cut to {} bytes", damaged.len());
        if history.engine.is_some() {
            break; // it went on without it
        }
    }
}

#[test]
fn where_nothing_was_in_it_alone_nothing_is_missed() {
    // none was in use yet
    let mut history = history(0);
    history.open().unwrap();
    history.step(Step::Create("a", 1)).unwrap();
    history.append("a", 0, Power).unwrap();
    cut_power(&mut history);
    reopen(&mut history, "none yet");
    assert!(!history.engine().unwrap().open_report().journal_was_missing());
    // the process ended, the machine did not: the segments have all of it
    let mut history = ready(APPEND);
    let engine = history.engine.take();
    history.disk = history.disk.kill();
    drop(engine);
    take_away(&history);
    history.verify_as_guest(Promise::Process, "killed");
    reopen(&mut history, "killed");
    let report = history.engine().unwrap().open_report().clone();
    assert!(!report.journal_was_missing() && !report.notes().is_empty(), "{report:?}");
    history.verify(Promise::Process, "killed");
}

#[test]
fn a_journal_taken_away_while_it_is_in_use_does_no_harm_until_the_power_goes() {
    for ends in ["cleanly", "by a power cut"] {
        let mut history = ready(APPEND);
        take_away(&history);
        history.append("b", 0, Power).unwrap();
        history.append("a", 0, Power).unwrap();
        if ends == "cleanly" {
            history.step(Step::Close).unwrap();
        } else {
            cut_power(&mut history);
        }
        reopen(&mut history, ends);
        let told = history.engine().unwrap().open_report().journal_was_missing();
        assert_eq!(told, ends != "cleanly");
        if ends == "cleanly" {
            history.verify(Promise::Power, ends);
        }
        for _ in 0..2 {
            history.append("b", 0, Power).unwrap();
            history.step(Step::Background).unwrap();
        }
        assert!(history.disk.metadata(&path()).unwrap().is_some(), "another was made");
    }
}

#[test]
fn a_large_file_is_made_between_other_work() {
    const RUNS: u32 = 3; // of 4 MiB each
    let mut history = history(0);
    history.journal = Some(10 << 20);
    history.open().unwrap();
    history.step(Step::Create("a", 1)).unwrap();
    history.append("a", 0, Power).unwrap(); // the directory is new
    history.append("a", 0, Power).unwrap();
    let engine: Arc<Engine> = history.engine().unwrap();
    let syncs = |history: &History| history.disk.syncs();
    for run in 1..=RUNS {
        assert!(history.disk.metadata(&path()).unwrap().is_none(), "run {run}");
        let before = syncs(&history);
        let next = engine.run_maintenance().unwrap();
        assert!(syncs(&history) <= before + 4, "run {run}");
        assert_eq!(next.is_zero(), run < RUNS, "run {run}: asked for the next at once");
    }
    let before = syncs(&history);
    history.append("a", 0, Power).unwrap();
    let log = engine.topic("a").unwrap().partitions()[0].clone();
    assert_eq!(syncs(&history), before + 1);
    assert_eq!(log.log().unwrap().counters().syncs.get(), 2, "by the journal");
}

#[test]
fn a_file_that_is_not_made_to_its_end_leaves_nothing() {
    let litter = || Path::new(ROOT).join(format!("{JOURNAL}.tmp"));
    for ends in ["closed", "cut"] {
        let mut history = history(0);
        history.journal = Some(10 << 20);
        history.open().unwrap();
        history.step(Step::Create("a", 1)).unwrap();
        history.append("a", 0, Power).unwrap();
        history.append("a", 0, Power).unwrap();
        let engine = history.engine().unwrap();
        engine.run_maintenance();
        assert!(history.disk.metadata(&litter()).unwrap().is_some(), "{ends}");
        drop(engine);
        if ends == "closed" {
            history.step(Step::Close).unwrap();
            assert!(history.disk.metadata(&litter()).unwrap().is_none(), "{ends}");
        } else {
            let engine = history.engine.take();
            history.disk = history.disk.crash(Crash::Everything);
            drop(engine);
        }
        history.journal = None;
        reopen(&mut history, ends);
        assert!(history.disk.metadata(&litter()).unwrap().is_none(), "{ends}");
    }
}
