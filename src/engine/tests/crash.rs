//! Every scenario, stopped at every call to the disk, by a power cut or by the end of the process;
//! and the recovery after it stopped once more. What must hold each time is in `history`.
//!
//! Each suite carries its control: records that were only promised to survive the process do
//! vanish in some cut.

use super::history::{History, Promise, Step};
use super::suite::Suite;
use crate::config::Durability::{Power, Process};
use crate::disk::{Crash, Disk, IoMode, SimDisk};
use crate::seeds::{pick, seeds};

const CREATE: &[Step] = &[
    Step::Create("a", 2),
    Step::Append("a", 0, 2, Power),
    Step::Create("b", 1),
    Step::Append("a", 1, 2, Process),
    Step::Append("b", 0, 1, Power),
    Step::AddPartitions("b", 3),
    Step::Append("b", 2, 2, Power),
    Step::Append("b", 2, 1, Process),
];

const ROLL: &[Step] = &[
    Step::Create("a", 1),
    Step::Append("a", 0, 5, Process),
    Step::Append("a", 0, 1, Power),
    Step::Append("a", 0, 6, Process),
    Step::Background,
    Step::Append("a", 0, 5, Process),
    Step::Flush,
    Step::Append("a", 0, 2, Process),
    Step::Close,
    Step::Reopen,
    Step::Append("a", 0, 5, Process),
];

const TRIM: &[Step] = &[
    Step::Create("a", 2),
    Step::Append("a", 0, 12, Process),
    Step::Append("a", 1, 2, Power),
    Step::DeleteRecords("a", 0, 6),
    Step::Append("a", 0, 4, Process),
    Step::Unlink,
    Step::Append("a", 0, 1, Power),
    Step::DeleteRecords("a", 0, 17),
    Step::Append("a", 0, 2, Process),
];

const RETAIN: &[Step] = &[
    Step::Create("a", 1),
    Step::Append("a", 0, 9, Process),
    Step::Alter("a"),
    Step::Retain,
    Step::Append("a", 0, 5, Process),
    Step::Unlink,
    Step::Retain,
    Step::Append("a", 0, 2, Power),
    Step::Close,
    Step::Reopen,
    Step::Append("a", 0, 1, Process),
];

const DELETE: &[Step] = &[
    Step::Create("a", 2),
    Step::Create("b", 1),
    Step::Append("a", 0, 6, Power),
    Step::Append("a", 1, 2, Process),
    Step::Append("b", 0, 2, Power),
    Step::Delete("a"),
    Step::Append("b", 0, 2, Process),
    Step::Create("a", 1),
    Step::Append("a", 0, 3, Power),
    Step::Delete("a"),
    Step::Create("a", 2),
    Step::Append("a", 0, 2, Process),
    Step::Background,
    Step::Append("a", 1, 2, Process),
];

/// What is appended behind it needs no new segment, and so no new name.
const CLOSE: &[Step] = &[
    Step::Create("a", 2),
    Step::Append("a", 0, 5, Process),
    Step::Close,
    Step::Reopen,
    Step::Append("a", 1, 1, Power),
];

pub(super) const SCENARIOS: [(&str, &[Step]); 6] = [
    ("create", CREATE),
    ("roll", ROLL),
    ("trim", TRIM),
    ("retain", RETAIN),
    ("delete", DELETE),
    ("close", CLOSE),
];

pub(super) fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.set_mode(if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Positioned });
    disk
}

/// Runs a scenario until it ends or the power goes.
pub(super) fn run(history: &mut History, steps: &[Step]) {
    let mut steps = steps.iter();
    let mut done = history.open();
    while done.is_ok()
        && let Some(step) = steps.next()
    {
        done = history.step(*step);
    }
    if let Err(error) = done {
        assert!(history.disk.is_cut(), "only the cut fails: {error}");
    }
    history.engine = None;
}

pub(super) fn operations(steps: &[Step], seed: u64) -> u64 {
    let mut history = History::new(disk(seed));
    run(&mut history, steps);
    history.disk.operations()
}

/// What stops a scenario.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    Cut(Crash),
    Kill,
}

impl Stop {
    pub(super) fn promise(self) -> Promise {
        match self {
            Stop::Cut(_) => Promise::Power,
            Stop::Kill => Promise::Process,
        }
    }

    pub(super) fn next(self, disk: &SimDisk) -> SimDisk {
        match self {
            Stop::Cut(crash) => disk.crash(crash),
            Stop::Kill => disk.kill(),
        }
    }
}

/// Stops at call `cut`, opens (cut short at its own call `again`, if any), checks all, appends,
/// stops once more and checks all again.
fn stop_at(
    (name, steps): (&str, &[Step]),
    seed: u64,
    cut: u64,
    stop: Stop,
    again: Option<u64>,
    suite: &Suite,
) -> u64 {
    let context = format!("{name}, seed {seed}, cut {cut}, {stop:?}, again {again:?}");
    let mut history = History::new(disk(seed));
    history.disk.cut_after(cut);
    run(&mut history, steps);
    history.disk = stop.next(&history.disk);
    if let Some(again) = again {
        history.disk.cut_after(again);
        let _ = history.open(); // cut short, or it came through
        history.engine = None;
        history.disk = stop.next(&history.disk);
    }
    suite.state(name, history.disk.image_hash());
    history.open().unwrap_or_else(|error| panic!("{context}: reopen: {error}"));
    let failed = history.engine().unwrap().open_report().failed_partitions().to_vec();
    assert!(failed.is_empty(), "{context}: {failed:?}");
    let gone = history.verify(stop.promise(), &context);
    let topics = ["a", "b"]
        .into_iter()
        .filter(|name| history.engine().is_ok_and(|engine| engine.topic(name).is_ok()));
    for topic in topics.collect::<Vec<_>>() {
        let appended = history.append(topic, 0, Power);
        appended.unwrap_or_else(|error| panic!("{context}: append after: {error}"));
    }
    history.engine = None;
    history.disk = history.disk.crash(Crash::Nothing);
    history.open().unwrap_or_else(|error| panic!("{context}: second reopen: {error}"));
    history.verify(Promise::Power, &format!("{context}, second"));
    gone
}

/// Calls to stop at: all of them, or as many as the budget allows, evenly.
pub(super) fn cuts(total: u64, most: u64) -> impl Iterator<Item = u64> {
    let stride = total.div_ceil(most.max(1)).max(1);
    (1..=total).step_by(usize::try_from(stride).unwrap())
}

fn enumerate(suite: &Suite, stops: impl Fn(u64) -> Vec<Stop>, again: bool) -> u64 {
    let mut gone = 0;
    let most = pick(if again { 12 } else { 40 }, 100, 100_000);
    for (name, steps) in SCENARIOS {
        for seed in seeds(2, 2, 200) {
            let total = operations(steps, seed);
            for cut in cuts(total + 1, most) {
                for stop in stops(seed ^ (cut << 8)) {
                    let retry = if again { cuts(60, pick(3, 5, 60)).collect() } else { vec![0] };
                    for at in retry {
                        let again = again.then_some(at + cut % 7);
                        gone += stop_at((name, steps), seed, cut, stop, again, suite);
                    }
                }
            }
        }
    }
    gone
}

#[test]
fn a_power_cut_at_any_call_takes_nothing_that_was_promised() {
    let suite = Suite::new("engine-cuts");
    let gone = enumerate(
        &suite,
        |seed| [Crash::Nothing, Crash::Everything, Crash::Random(seed)].map(Stop::Cut).to_vec(),
        false,
    );
    suite.control(gone); // what was promised less must be seen to vanish
    suite.end();
}

#[test]
fn a_kill_at_any_call_takes_nothing_that_was_acknowledged() {
    let suite = Suite::new("engine-kills");
    let gone = enumerate(&suite, |_| vec![Stop::Kill], false);
    assert_eq!(gone, 0, "nothing at all");
    let power = Stop::Cut(Crash::Nothing);
    let cut_at = |cut| stop_at(("roll", ROLL), 0, cut, power, None, &suite);
    let gone = cuts(operations(ROLL, 0), 40).map(cut_at).sum();
    suite.control(gone); // the same count sees what a power cut takes
    suite.end();
}

#[test]
fn a_recovery_cut_short_is_recovered_from() {
    let suite = Suite::new("engine-recovery");
    let stops = |seed| vec![Stop::Cut(Crash::Random(seed)), Stop::Kill];
    let gone = enumerate(&suite, stops, true);
    suite.control(gone);
    suite.end();
}

#[test]
fn what_is_dropped_is_gone_after_a_stop_in_the_middle() {
    let total = operations(TRIM, 0);
    for cut in cuts(total + 1, pick(100, 100_000, 100_000)) {
        let mut history = History::new(disk(0));
        history.disk.cut_after(cut);
        run(&mut history, TRIM);
        history.disk = history.disk.kill();
        history.open().unwrap();
        let engine = history.engine().unwrap();
        let Ok(topic) = engine.topic("a") else { continue };
        let partition = topic.partitions()[0].clone();
        let (start, log) = (partition.offsets().unwrap().start, partition.log().unwrap());
        let bases: Vec<_> = log.segment_facts(false).unwrap();
        assert!(
            bases.iter().rev().skip(1).all(|segment| segment.end > start),
            "cut {cut}: {bases:?}"
        );
        drop((topic, partition, engine));
        history.step(Step::Close).unwrap();
        let dir = history.disk.list(&std::path::Path::new(super::history::ROOT).join("a-0"));
        let names = dir.unwrap_or_default().into_iter().map(|entry| entry.name);
        let left: Vec<_> = names.filter(|name| name.ends_with(".deleted")).collect();
        assert!(left.is_empty(), "cut {cut}: {left:?}");
    }
}
