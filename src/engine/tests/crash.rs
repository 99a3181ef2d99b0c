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

const TRUNCATE: &[Step] = &[
    Step::Create("a", 2),
    Step::Append("a", 0, 12, Process),
    Step::Append("a", 1, 2, Power),
    Step::Truncate("a", 0, 9),
    Step::Append("a", 0, 2, Power),
    Step::Append("a", 0, 3, Process),
    Step::Truncate("a", 0, 4),
    Step::Background,
    Step::Append("a", 0, 2, Process),
    Step::StartAt("a", 1, 40),
    Step::Append("a", 1, 1, Power),
    Step::Truncate("a", 1, 7),
    Step::Append("a", 1, 2, Process),
    Step::Close,
    Step::Reopen,
    Step::Truncate("a", 0, 5),
    Step::Append("a", 0, 1, Power),
];

/// A follower whose leader leaves offsets out.
const FOLLOW: &[Step] = &[
    Step::Create("led", 1),
    Step::Lead("led"),
    Step::Follow("led", 0, 0, 3),
    Step::Follow("led", 0, 5, 4),
    Step::Flush,
    Step::Follow("led", 0, 2, 6),
    Step::Background,
    Step::Follow("led", 0, 3, 2),
    Step::Truncate("led", 0, 15),
    Step::Follow("led", 0, 1, 2),
    Step::DeleteRecords("led", 0, 9),
    Step::Flush,
    Step::Close,
    Step::Reopen,
    Step::Follow("led", 0, 40, 1),
    Step::StartAt("led", 0, 90),
    Step::Follow("led", 0, 7, 2),
    Step::Flush,
];

pub(super) const SCENARIOS: [(&str, &[Step]); 8] = [
    ("follow", FOLLOW),
    ("create", CREATE),
    ("roll", ROLL),
    ("trim", TRIM),
    ("truncate", TRUNCATE),
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

/// A scenario, how it is stopped, and how often the opens after it are.
#[derive(Clone, Debug)]
pub(super) struct Course<'a> {
    pub(super) name: &'a str,
    pub(super) steps: &'a [Step],
    pub(super) seed: u64,
    pub(super) journal: Option<u64>,
    /// The call it is stopped at.
    pub(super) cut: u64,
    pub(super) stop: Stop,
    /// The call that each open after it is stopped at, before the one that comes through.
    pub(super) opens: Vec<u64>,
}

impl Course<'_> {
    fn history(&self) -> History {
        let mut history = History::new(disk(self.seed));
        history.journal = self.journal;
        history
    }

    /// How many calls the scenario takes.
    pub(super) fn calls(&self) -> u64 {
        let mut history = self.history();
        run(&mut history, self.steps);
        history.disk.operations()
    }

    /// The scenario as it was stopped.
    pub(super) fn stopped(&self) -> History {
        let mut history = self.history();
        history.disk.cut_after(self.cut);
        run(&mut history, self.steps);
        history.disk = self.stop.next(&history.disk);
        history
    }

    /// Stops, opens, checks all, for readers before the next writer and for that; appends, cuts the
    /// power once more and checks all again. Returns how much was gone of what was acknowledged.
    pub(super) fn run(&self, suite: &Suite) -> u64 {
        let Course { name, seed, cut, stop, opens, .. } = self;
        let context = format!(
            "{name}, seed {seed}, cut {cut}, {stop:?}, opens cut at {opens:?}; \
             TIDELOG_SEED={seed} repeats it"
        );
        let mut history = self.stopped();
        for again in opens {
            history.disk.cut_after(*again);
            let _ = history.open(); // cut short, or it came through
            history.engine = None;
            history.disk = stop.next(&history.disk);
        }
        suite.state(name, history.disk.image_hash());
        history.verify_as_guest(stop.promise(), &context);
        reopen(&mut history, &context);
        let clean = history.engine().unwrap().open_report().was_closed_cleanly();
        // a close that says it came to its end has lost nothing, whatever stopped it later
        let promise = if clean { Promise::Process } else { stop.promise() };
        let gone = history.verify(promise, &context);
        for topic in ["a", "b"] {
            if history.engine().is_ok_and(|engine| engine.topic(topic).is_ok()) {
                self.append_more(&mut history, topic, &context);
            }
        }
        history.engine = None;
        history.disk = history.disk.crash(Crash::Nothing);
        let context = format!("{context}, second");
        reopen(&mut history, &context);
        history.verify(Promise::Power, &context);
        gone
    }

    /// Where there is a journal often enough for it to be made.
    fn append_more(&self, history: &mut History, topic: &'static str, context: &str) {
        for more in (0..if self.journal.is_some() { 3 } else { 1 }).rev() {
            let appended = history.append(topic, 0, Power);
            appended.unwrap_or_else(|error| panic!("{context}: append after: {error}"));
            if more > 0 {
                history.step(Step::Background).unwrap();
            }
        }
    }
}

/// Opens, and every partition with it.
pub(super) fn reopen(history: &mut History, context: &str) {
    history.open().unwrap_or_else(|error| panic!("{context}: reopen: {error}"));
    let failed = history.engine().unwrap().open_report().failed_partitions().to_vec();
    assert!(failed.is_empty(), "{context}: {failed:?}");
}

/// Every kind of power cut, the last by chance.
pub(super) fn power_cuts(seed: u64) -> [Stop; 3] {
    [Crash::Nothing, Crash::Everything, Crash::Random(seed)].map(Stop::Cut)
}

/// Calls to stop at: all of them, or as many as the budget allows, evenly.
pub(super) fn cuts(total: u64, most: u64) -> impl Iterator<Item = u64> {
    let stride = total.div_ceil(most.max(1)).max(1);
    (1..=total).step_by(usize::try_from(stride).unwrap())
}

fn course<'a>((name, steps): (&'a str, &'a [Step]), seed: u64) -> Course<'a> {
    let stop = Stop::Cut(Crash::Nothing);
    Course { name, steps, seed, journal: None, cut: 0, stop, opens: Vec::new() }
}

fn enumerate(suite: &Suite, stops: impl Fn(u64) -> Vec<Stop>, again: bool) -> u64 {
    let mut gone = 0;
    let most = pick(if again { 12 } else { 40 }, if again { 30 } else { 100 }, 100_000);
    for scenario in SCENARIOS {
        for seed in seeds(2, 2, 200) {
            let course = course(scenario, seed);
            for cut in cuts(course.calls() + 1, most) {
                for stop in stops(seed ^ (cut << 8)) {
                    let retry = if again { cuts(60, pick(3, 5, 60)).collect() } else { vec![0] };
                    for at in retry {
                        let opens = again.then_some(at + cut % 7).into_iter().collect();
                        gone += Course { cut, stop, opens, ..course.clone() }.run(suite);
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
    let gone = enumerate(&suite, |seed| power_cuts(seed).to_vec(), false);
    suite.control(gone); // what was promised less must be seen to vanish
    suite.end();
}

#[test]
fn a_kill_at_any_call_takes_nothing_that_was_acknowledged() {
    let suite = Suite::new("engine-kills");
    let gone = enumerate(&suite, |_| vec![Stop::Kill], false);
    assert_eq!(gone, 0, "nothing at all");
    let roll = course(("roll", ROLL), 0);
    let cut_at = |cut| Course { cut, ..roll.clone() }.run(&suite);
    let gone = cuts(roll.calls(), 40).map(cut_at).sum();
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
