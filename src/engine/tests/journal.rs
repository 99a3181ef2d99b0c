//! The journal under crashes and failing calls: every scenario over several partitions stopped at
//! every call to the disk, and the replay after it stopped again, two deep. What must hold each
//! time is in `history`: acknowledged is present, nothing is a phantom, offsets keep their records.
//!
//! Controls: without the journal's file the same stops lose what was promised; and what was only
//! promised to survive the process does vanish.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use super::crash::{Stop, cuts, disk, run};
use super::faults::run_on;
use super::history::{History, Promise, ROOT, Step};
use crate::config::Durability::{Power, Process};
use crate::disk::names::JOURNAL;
use crate::disk::{Crash, Disk, Fault, Operation, Plan, SimDisk};
use crate::error::Outcome;
use crate::ids::PartitionId;
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

const SCENARIOS: [(&str, &[Step]); 6] = [
    ("append", APPEND),
    ("roll", ROLL),
    ("laps", LAPS),
    ("delete", DELETE),
    ("trim", TRIM),
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

fn operations(steps: &[Step], seed: u64) -> u64 {
    let mut history = history(seed);
    run(&mut history, steps);
    history.disk.operations()
}

/// Counts what a suite has been through; its line is printed at the end.
struct Suite {
    name: &'static str,
    states: u64,
    distinct: HashSet<u64>,
    began: Instant,
}

impl Suite {
    fn new(name: &'static str) -> Self {
        Suite { name, states: 0, distinct: HashSet::new(), began: Instant::now() }
    }

    fn saw(&mut self, disk: &SimDisk) {
        self.states += 1;
        self.distinct.insert(disk.image_hash());
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let failures = u32::from(std::thread::panicking());
        let (name, states, distinct) = (self.name, self.states, self.distinct.len());
        let seconds = self.began.elapsed().as_secs_f64();
        println!(
            "suite {name}: {states} states, {distinct} distinct, {failures} failures, \
             {seconds:.1} s"
        );
    }
}

fn reopened(history: &mut History, context: &str) {
    history.open().unwrap_or_else(|error| panic!("{context}: open: {error}"));
    let failed = history.engine().unwrap().open_report().failed_partitions().to_vec();
    assert!(failed.is_empty(), "{context}: {failed:?}");
}

/// Stops at call `cut`; each further number stops the open after it, at that call. Then all is
/// checked, appended to, lost once more and checked again.
fn stop_at(
    suite: &mut Suite,
    steps: &[Step],
    (seed, cut): (u64, u64),
    stop: Stop,
    opens: &[u64],
) -> u64 {
    let name = suite.name;
    let context = format!(
        "seed {seed}, cut {cut}, {stop:?}, opens cut at {opens:?}; \
         TIDELOG_SEED={seed} cargo test --features sim --lib {name}"
    );
    let mut history = history(seed);
    history.disk.cut_after(cut);
    run(&mut history, steps);
    history.disk = stop.next(&history.disk);
    for again in opens {
        history.disk.cut_after(*again);
        let _ = history.open(); // cut short, or it came through
        history.engine = None;
        history.disk = stop.next(&history.disk);
    }
    suite.saw(&history.disk);
    reopened(&mut history, &context);
    let gone = history.verify(stop.promise(), &context);
    for topic in ["a", "b"] {
        if history.engine().is_ok_and(|engine| engine.topic(topic).is_ok()) {
            for _ in 0..2 {
                let appended = history.append(topic, 0, Power);
                appended.unwrap_or_else(|error| panic!("{context}: append after: {error}"));
                history.step(Step::Background).unwrap();
            }
            let appended = history.append(topic, 0, Power); // by the journal, made by now
            appended.unwrap_or_else(|error| panic!("{context}: append after: {error}"));
        }
    }
    history.engine = None;
    history.disk = history.disk.crash(Crash::Nothing);
    reopened(&mut history, &context);
    history.verify(Promise::Power, &format!("{context}, second"));
    gone
}

fn crashes(seed: u64) -> [Stop; 3] {
    [Crash::Nothing, Crash::Everything, Crash::Random(seed)].map(Stop::Cut)
}

#[test]
fn journal_crash_a_power_cut_at_any_call_takes_nothing_that_was_promised() {
    let mut suite = Suite::new("journal_crash");
    let mut gone = 0;
    for (_, steps) in SCENARIOS {
        let steps = scenario(steps);
        for seed in seeds(1, 2, 100) {
            let total = operations(&steps, seed);
            for cut in cuts(total + 1, pick(25, 200, 100_000)) {
                for stop in crashes(seed ^ (cut << 8)) {
                    gone += stop_at(&mut suite, &steps, (seed, cut), stop, &[]);
                }
                gone += stop_at(&mut suite, &steps, (seed, cut), Stop::Kill, &[]);
            }
        }
    }
    assert!(gone > 0, "the control: what was promised less must be seen to vanish");
}

#[test]
fn journal_replay_cut_short_twice_is_replayed_again() {
    let mut suite = Suite::new("journal_replay");
    for (_, steps) in SCENARIOS {
        let steps = scenario(steps);
        for seed in seeds(1, 1, 50) {
            let total = operations(&steps, seed);
            for cut in cuts(total + 1, pick(4, 12, 1_000)) {
                let crash = Stop::Cut(Crash::Random(seed ^ (cut << 8)));
                for first in cuts(90, pick(4, 15, 90)) {
                    for second in cuts(90, pick(2, 5, 30)) {
                        let opens = [first + cut % 7, second + cut % 5];
                        stop_at(&mut suite, &steps, (seed, cut), crash, &opens);
                    }
                }
            }
        }
    }
}

/// Whether a stop at `cut` is noticed when the journal's file is taken away before the open.
fn notices_without_journal(steps: &[Step], seed: u64, cut: u64) -> bool {
    let mut history = history(seed);
    history.disk.cut_after(cut);
    run(&mut history, steps);
    history.disk = history.disk.crash(Crash::Nothing);
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
    let total = operations(&steps, 0);
    let noticed = cuts(total + 1, 40).filter(|cut| notices_without_journal(&steps, 0, *cut));
    assert!(noticed.count() > 3, "the harness sees what only the journal had");
}

#[test]
fn journal_faults_any_call_may_fail_once_and_nothing_is_lost() {
    let mut suite = Suite::new("journal_faults");
    let mut failures = 0;
    let faults = [28, 5, 24, 30].map(Fault::Error);
    let faults = faults.into_iter().chain([Fault::ShortWrite(3), Fault::ShortRead(7)]);
    for fault in faults {
        for (name, steps) in SCENARIOS {
            let steps = scenario(steps);
            for seed in seeds(1, 1, 50) {
                let total = operations(&steps, seed);
                for nth in cuts(total, pick(12, 100, 100_000)) {
                    failures += fail_at(&mut suite, (name, &steps), (seed, nth), fault);
                }
            }
        }
    }
    assert!(failures > 0, "the control: faults are felt");
}

fn fail_at(
    suite: &mut Suite,
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
    suite.saw(&history.disk);
    // dropped without a clean close where something is latched; then the power goes
    let engine = history.engine.take();
    let cut = history.disk.crash(Crash::Nothing);
    drop(engine);
    history.disk = cut;
    reopened(&mut history, &context);
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

#[test]
fn the_journal_gives_back_what_the_segments_lost() {
    let mut history = ready(APPEND);
    let syncs = history.disk.syncs();
    history.append("b", 0, Power).unwrap();
    assert_eq!(history.disk.syncs(), syncs + 1, "one sync, the journal's");
    cut_power(&mut history);
    reopened(&mut history, "reopen");
    let report = history.engine().unwrap().open_report().clone();
    let restored: u64 = report.partitions().iter().map(|one| one.restored_records()).sum();
    assert!(restored > 0, "{report:?}");
    history.verify(Promise::Power, "given back");
}

#[test]
fn a_clean_close_leaves_nothing_to_replay() {
    let mut history = ready(APPEND);
    history.step(Step::Close).unwrap();
    history.open().unwrap();
    let report = history.engine().unwrap().open_report().clone();
    assert!(report.was_closed_cleanly() && report.partitions().is_empty(), "{report:?}");
}

#[test]
fn no_frame_of_a_deleted_topic_comes_back() {
    let mut history = ready(&[Step::Append("a", 0, 2, Power), Step::Delete("a")]);
    history.step(Step::Create("a", 2)).unwrap();
    cut_power(&mut history);
    reopened(&mut history, "reopen");
    history.verify(Promise::Power, "deleted");
    let topic = history.engine().unwrap().topic("a").unwrap();
    assert_eq!(topic.partitions()[0].offsets().unwrap().end.get(), 0, "a new topic of its name");
}

#[test]
fn no_frame_below_a_new_log_start_comes_back() {
    let mut history = ready(&[Step::Append("a", 0, 3, Power), Step::DeleteRecords("a", 0, 5)]);
    cut_power(&mut history);
    reopened(&mut history, "reopen");
    history.verify(Promise::Power, "deleted records");
    let topic = history.engine().unwrap().topic("a").unwrap();
    let offsets = topic.partitions()[0].offsets().unwrap();
    assert_eq!((offsets.start.get(), offsets.end.get()), (5, 5));
}

#[test]
fn a_log_start_is_not_recorded_of_what_only_the_journal_holds() {
    let mut history = ready(&[Step::Append("a", 0, 7, Power)]);
    history.disk.fail(Plan::new(Fault::Error(28)).on(Operation::Sync));
    history.step(Step::DeleteRecords("a", 0, 5)).unwrap_err();
    cut_power(&mut history);
    reopened(&mut history, "reopen");
    history.verify(Promise::Power, "a start that was not reached");
}

#[test]
fn no_frame_of_an_earlier_open_comes_back() {
    let mut history = ready(&[Step::Append("a", 0, 2, Power)]);
    cut_power(&mut history);
    reopened(&mut history, "first");
    history.append("a", 0, Process).unwrap(); // lost, at an offset that no frame may fill
    cut_power(&mut history);
    reopened(&mut history, "second");
    history.verify(Promise::Power, "an earlier open");
    let topic = history.engine().unwrap().topic("a").unwrap();
    assert_eq!(topic.partitions()[0].offsets().unwrap().end.get(), 4);
}

#[test]
fn a_damaged_journal_is_an_error_and_stays_as_it_is() {
    let mut history = ready(APPEND);
    cut_power(&mut history);
    let path = Path::new(ROOT).join(JOURNAL);
    history.disk.corrupt(&path, 4096 + 130, 1).unwrap();
    for _ in 0..2 {
        let error = history.open().unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        assert_eq!(error.path(), Some(&*path));
    }
    history.disk.corrupt(&path, 4096 + 130, 1).unwrap();
    reopened(&mut history, "mended");
    history.verify(Promise::Power, "mended");
}

#[test]
fn a_failed_sync_of_the_journal_fails_its_partitions_alone() {
    let mut history = ready(APPEND);
    history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    let error = history.append("b", 0, Power).unwrap_err();
    assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
    assert!(error.path().is_some_and(|path| path.ends_with(JOURNAL)), "{error}");
    assert!(history.append("b", 0, Process).unwrap_err().is_poisoned());
    let syncs = history.disk.syncs();
    history.append("a", 1, Power).unwrap();
    assert!(history.disk.syncs() > syncs, "by a sync of its own");
    history.append("a", 0, Power).unwrap();
    cut_power(&mut history);
    reopened(&mut history, "reopen");
    history.verify(Promise::Power, "after a failed sync");
}

#[test]
fn a_partition_reopened_after_a_failed_journal_sync_goes_on_without_it() {
    let mut history = ready(APPEND);
    history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    history.append("b", 0, Power).unwrap_err();
    let path = Path::new(ROOT).join(JOURNAL);
    let engine = history.engine().unwrap();
    let partition = engine.topic("b").unwrap().partitions()[0].clone();
    assert!(engine.reopen(&partition).unwrap().is_some());
    history.append("b", 0, Power).unwrap();
    for _ in 0..2 {
        history.step(Step::Background).unwrap();
    }
    let left = history.disk.metadata(&path).unwrap();
    assert!(left.is_none(), "nobody needs what is in it, and no later open may meet it");
    drop((engine, partition));
    cut_power(&mut history);
    reopened(&mut history, "reopen");
    history.verify(Promise::Power, "after a reopening");
}

#[test]
fn a_deleted_topic_does_not_pin_the_journal() {
    let mut history = ready(&[Step::Append("a", 0, 2, Power), Step::Delete("a")]);
    history.append("b", 0, Power).unwrap();
    let mut declined = 0;
    for _ in 0..60 {
        let log = |history: &History| {
            let topic = history.engine().unwrap().topic("b").unwrap();
            topic.partitions()[0].log().unwrap().counters().syncs.get()
        };
        let before = log(&history);
        history.append("b", 0, Power).unwrap();
        declined += u64::from(log(&history) > before);
        history.engine().unwrap().run_maintenance();
    }
    assert!(declined <= 5, "turns of laps alone may take a sync of the segment: {declined}");
}

#[test]
fn a_partition_that_cannot_be_opened_keeps_what_the_journal_has() {
    let mut history = ready(APPEND);
    cut_power(&mut history);
    // the fault may strike anything: open until only the partition fails
    let mut opened = 0;
    for nth in 1..60 {
        history.disk.heal();
        history.disk.fail(Plan::new(Fault::Error(5)).on(Operation::Read).nth(nth));
        if history.open().is_err() {
            continue;
        }
        history.disk.heal();
        let failed = history.engine().unwrap().open_report().failed_partitions().len();
        opened += u64::from(failed > 0);
        cut_power(&mut history);
    }
    assert!(opened > 0, "some open went on without a partition");
    reopened(&mut history, "healed");
    history.verify(Promise::Power, "healed");
    let partition = PartitionId::new(0);
    let topic = history.engine().unwrap().topic("a").unwrap();
    assert!(topic.partition(partition).unwrap().log().is_ok());
    let names = history.disk.list(Path::new(ROOT)).unwrap();
    let left: Vec<_> =
        names.iter().filter(|entry| entry.name.starts_with("tidelog.journal-")).collect();
    assert!(left.is_empty(), "{left:?}");
}
