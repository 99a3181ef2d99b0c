//! The journal under crashes and failing calls: every scenario over several partitions stopped at
//! every call to the disk, and the replay after it stopped again, two deep. What must hold each
//! time is in `history`: acknowledged is present, nothing is a phantom, offsets keep their records.
//!
//! Controls: without the journal's file the same stops lose what was promised; and what was only
//! promised to survive the process does vanish.

mod cases;
mod lost;
mod stale;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::crash::{Course, Stop, cuts, disk, power_cuts, reopen};
use super::faults::run_on;
use super::history::{History, Promise, ROOT, Step};
use super::suite::Suite;
use crate::config::Durability::{Power, Process};
use crate::disk::names::JOURNAL;
use crate::disk::{Crash, Disk, Fault, Plan};
use crate::seeds::{pick, seeds};

/// Halves of 6 KiB: some fifteen frames each, of two records at most.
const SIZE: u64 = 4096 + 2 * 6144;

/// The directories are there, the journal is asked for and made.
const MADE: [Step; 6] = [
    Step::Create("a", 2),
    Step::Create("b", 1),
    Step::Append("a", 0, 2, Power),
    Step::Append("a", 1, 1, Power),
    Step::Append("b", 0, 1, Power),
    Step::Background,
];

const APPEND: &[Step] = &[
    Step::Append("a", 0, 1, Power),
    Step::Append("a", 1, 2, Process),
    Step::Append("a", 1, 1, Power),
    Step::Append("b", 0, 1, Power),
    Step::Append("a", 0, 1, Process),
];

/// Rolls between frames, then a checkpoint and what comes after it.
const ROLL: &[Step] = &[
    Step::Append("a", 0, 4, Power),
    Step::Append("b", 0, 2, Power),
    Step::Append("a", 0, 2, Process),
    Step::Append("a", 0, 1, Power),
    Step::Background,
    Step::Append("a", 0, 1, Power),
    Step::Append("b", 0, 1, Process),
];

/// Over both halves and into the first again, pinned for a while.
const LAPS: &[Step] = &[
    Step::Append("a", 0, 6, Power),
    Step::Append("a", 1, 5, Power),
    Step::Background,
    Step::Append("a", 0, 9, Power),
    Step::Append("b", 0, 6, Power),
    Step::Append("a", 1, 2, Power),
    Step::Background,
    Step::Append("b", 0, 8, Power),
    Step::Append("a", 1, 1, Process),
];

const DELETE: &[Step] = &[
    Step::Append("a", 0, 2, Power),
    Step::Append("b", 0, 1, Power),
    Step::Delete("a"),
    Step::Append("b", 0, 1, Power),
    Step::Create("a", 2),
    Step::Append("a", 0, 2, Power),
    Step::Append("a", 1, 1, Process),
    Step::Append("b", 0, 1, Power),
];

const TRIM: &[Step] = &[
    Step::Append("a", 0, 7, Power),
    Step::DeleteRecords("a", 0, 5),
    Step::Append("a", 0, 2, Power),
    Step::Append("a", 1, 2, Power),
    Step::DeleteRecords("a", 1, 3),
    Step::Unlink,
    Step::Append("a", 1, 1, Power),
    Step::Append("a", 0, 1, Process),
];

const REOPEN: &[Step] = &[
    Step::Append("a", 0, 2, Power),
    Step::Close,
    Step::Reopen,
    Step::Append("a", 0, 2, Power),
    Step::Append("a", 1, 1, Power),
    Step::Background,
    Step::Append("a", 0, 2, Power),
    Step::Append("a", 1, 1, Power),
    Step::Flush,
    Step::Append("b", 0, 1, Power),
];

const TRUNCATE: &[Step] = &[
    Step::Append("a", 0, 6, Power),
    Step::Append("a", 1, 2, Power),
    Step::Truncate("a", 0, 5),
    Step::Append("a", 0, 2, Power),
    Step::Append("b", 0, 1, Power),
    Step::Truncate("a", 0, 3),
    Step::Append("a", 0, 1, Process),
    Step::StartAt("a", 1, 30),
    Step::Append("a", 1, 1, Power),
    Step::Background,
    Step::Append("a", 0, 1, Power),
];

const SCENARIOS: [(&str, &[Step]); 7] = [
    ("append", APPEND),
    ("roll", ROLL),
    ("laps", LAPS),
    ("delete", DELETE),
    ("trim", TRIM),
    ("truncate", TRUNCATE),
    ("reopen", REOPEN),
];

fn history(seed: u64) -> History {
    let mut history = History::new(disk(seed));
    history.journal = Some(SIZE);
    history
}

fn scenario(steps: &[Step]) -> Vec<Step> {
    [&MADE, steps].concat()
}

fn course<'a>(name: &'a str, steps: &'a [Step], seed: u64) -> Course<'a> {
    let stop = Stop::Cut(Crash::Nothing);
    Course { name, steps, seed, journal: Some(SIZE), cut: 0, stop, opens: Vec::new() }
}

#[test]
fn journal_crash_a_power_cut_at_any_call_takes_nothing_that_was_promised() {
    let suite = Suite::new("journal_crash");
    for (name, steps) in SCENARIOS {
        let steps = scenario(steps);
        for seed in seeds(1, 1, 100) {
            let course = course(name, &steps, seed);
            for cut in cuts(course.calls() + 1, pick(25, 110, 100_000)) {
                for stop in power_cuts(seed ^ (cut << 8)).into_iter().chain([Stop::Kill]) {
                    let gone = Course { cut, stop, ..course.clone() }.run(&suite);
                    suite.control(gone); // what was promised less must be seen to vanish
                }
            }
        }
    }
    suite.end();
}

#[test]
fn journal_replay_cut_short_twice_is_replayed_again() {
    let suite = Suite::new("journal_replay");
    for (name, steps) in SCENARIOS {
        let steps = scenario(steps);
        for seed in seeds(1, 1, 50) {
            let course = course(name, &steps, seed);
            for cut in cuts(course.calls() + 1, pick(4, 5, 1_000)) {
                let stop = Stop::Cut(Crash::Random(seed ^ (cut << 8)));
                for first in cuts(90, pick(4, 9, 90)) {
                    for second in cuts(90, pick(2, 3, 30)) {
                        let opens = vec![first + cut % 7, second + cut % 5];
                        Course { cut, stop, opens, ..course.clone() }.run(&suite);
                    }
                }
            }
        }
    }
    // what was promised less must be seen to vanish, where it ends before the close has synced that
    let steps = scenario(APPEND);
    let append = course("append", &steps, 0);
    let vanish = |cut| Course { cut, opens: vec![30, 20], ..append.clone() }.run(&suite);
    let seen = (1..=append.calls()).rev().map(vanish).find(|gone| *gone > 0);
    suite.control(seen.unwrap_or(0));
    suite.end();
}

/// Whether a stop at `cut` is noticed when the journal's file is taken away before the open.
fn notices_without_journal(course: &Course<'_>) -> bool {
    let mut history = course.stopped();
    let _ = history.disk.remove_file(&Path::new(ROOT).join(JOURNAL));
    let checked = catch_unwind(AssertUnwindSafe(|| {
        history.open().unwrap();
        history.verify(Promise::Power, "the control");
    }));
    checked.is_err()
}

#[test]
fn journal_control_without_it_records_are_missed() {
    let steps = scenario(APPEND);
    let course = course("append", &steps, 0);
    let without = |cut: &u64| notices_without_journal(&Course { cut: *cut, ..course.clone() });
    let noticed = cuts(course.calls() + 1, 40).filter(without);
    assert!(noticed.count() > 3, "the harness sees what only the journal had");
}

#[test]
fn journal_faults_any_call_may_fail_once_and_nothing_is_lost() {
    let suite = Suite::new("journal_faults");
    let faults = [28, 5, 24, 30].map(Fault::Error);
    let faults =
        faults.into_iter().chain([Fault::ShortWrite(3), Fault::ShortRead(7), Fault::DoneError(5)]);
    for fault in faults {
        for (name, steps) in SCENARIOS {
            let steps = scenario(steps);
            for seed in seeds(1, 1, 50) {
                let total = course(name, &steps, seed).calls();
                for nth in cuts(total, pick(12, 30, 100_000)) {
                    let felt = fail_at(&suite, (name, &steps), (seed, nth), fault);
                    suite.control(felt); // faults are felt
                }
            }
        }
    }
    suite.end();
}

fn fail_at(
    suite: &Suite,
    (name, steps): (&str, &[Step]),
    (seed, nth): (u64, u64),
    fault: Fault,
) -> u64 {
    let context = format!(
        "{name}, seed {seed}, call {nth}, {fault:?}; \
         TIDELOG_SEED={seed} cargo test --features sim --lib journal_faults"
    );
    let mut history = history(seed);
    history.disk.fail(Plan::new(fault).nth(nth));
    let failures = run_on(&mut history, steps);
    history.disk.heal();
    for _ in 0..2 {
        if history.engine.is_none() {
            history.open().unwrap_or_else(|error| panic!("{context}: open: {error}"));
        }
        if !history.engine().unwrap().open_report().failed_partitions().is_empty() {
            history.engine = None; // the partition said why; the next open finds it well
        }
    }
    if history.engine.is_none() {
        history.open().unwrap_or_else(|error| panic!("{context}: open: {error}"));
    }
    history.verify(Promise::Process, &format!("{context}, still open"));
    suite.state(name, history.disk.image_hash());
    // dropped without a clean close where something is latched; then the power goes
    let engine = history.engine.take();
    let cut = history.disk.crash(Crash::Nothing);
    drop(engine);
    history.disk = cut;
    reopen(&mut history, &context);
    history.verify(Promise::Power, &format!("{context}, after a power cut"));
    failures
}

/// A store with a journal, after a scenario.
fn ready(steps: &[Step]) -> History {
    let mut history = history(0);
    history.open().unwrap();
    for step in scenario(steps) {
        history.step(step).unwrap();
    }
    history
}

/// Cuts the power under an engine that is still open.
fn cut_power(history: &mut History) {
    let engine = history.engine.take();
    history.disk = history.disk.crash(Crash::Nothing);
    drop(engine);
}
