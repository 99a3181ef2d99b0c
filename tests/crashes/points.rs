//! Every point at which the power can go, and what a cut there can leave (rows 1 and 2 of
//! `docs/reliability.md`).
//!
//! A scenario is played once and recorded. Each moment of it is a crash: before the call that
//! comes next, after the one before. What a cut leaves is enumerated over the changes that no sync
//! has covered: none, all, each alone, all but one, every subset where they are few, else random
//! ones. Recovery is recorded as well, and stopped in the same way.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use tidelog::disk::{Fault, IoMode, Moment, Plan, SimDisk};

use crate::common::budget::Budget;
use crate::common::crew::{each, is_portion, portion};
use crate::common::suite::Suite;
use crate::runs::Run;
use crate::scenarios::{Cost, SCENARIOS, every, light};
use crate::story::Model;
use crate::verdict::{Found, Promise};

/// Which of the changes that no sync has covered a cut leaves.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    None,
    All,
    Alone(usize),
    AllBut(usize),
    /// Bits of the changes, of which there are few.
    Subset(u64),
    /// By a seed.
    Random(u64),
}

impl Choice {
    pub fn keeps(self, change: usize) -> bool {
        match self {
            Choice::None => false,
            Choice::All => true,
            Choice::Alone(one) => change == one,
            Choice::AllBut(one) => change != one,
            Choice::Subset(bits) => bits >> change & 1 == 1,
            Choice::Random(seed) => mix(seed ^ (change as u64) << 32) & 1 == 1,
        }
    }
}

/// A number that has nothing to do with the one it is made of.
pub fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Choices among so many changes: where they are few every one, else with so many random ones. At
/// most `most`, of which the first two are always taken.
fn choices(changes: usize, most: usize, random: u64) -> Vec<Choice> {
    let mut all = vec![Choice::None];
    if changes > 0 {
        all.push(Choice::All);
    }
    match changes {
        0 | 1 => {}
        2..=10 => all.extend((1..(1u64 << changes) - 1).map(Choice::Subset)),
        _ => {
            all.extend((0..changes).map(Choice::Alone));
            all.extend((0..changes).map(Choice::AllBut));
            all.extend((0..random).map(Choice::Random));
        }
    }
    if all.len() > most {
        let rest = all.split_off(2);
        let left = most.saturating_sub(2);
        all.extend(rest.iter().step_by(rest.len().div_ceil(left.max(1))).take(left));
    }
    all
}

/// The figure of this run's budget.
fn count(small: u64, ci: u64, deep: u64) -> usize {
    usize::try_from(Budget::get().pick(small, ci, deep)).expect("64 bits")
}

/// What was seen of one scenario: each image once, and each model it was compared with. What an
/// early moment allows a later one may not.
#[derive(Default)]
struct Seen {
    images: HashMap<u64, Result<Found, String>>,
    /// The image, how far the story went, and after what kind of stop.
    compared: HashSet<(u64, usize, Stop)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Stop {
    Cut,
    Kill,
    /// In recovery; that many more stops are to come.
    Recovery(u32),
}

/// How much is looked at of a moment.
#[derive(Clone, Copy)]
struct Most {
    choices: usize,
    random: u64,
}

impl Most {
    fn of(cost: Cost) -> Self {
        let choices = match cost {
            Cost::Quick => count(3, 24, 2000),
            Cost::Fair => count(3, 8, 2000),
            Cost::Dear => count(3, 4, 2000),
            Cost::Heavy => count(3, 6, 6),
        };
        let is_quick = cost == Cost::Quick;
        Most { choices, random: if is_quick { Budget::get().pick(64, 64, 1000) } else { 64 } }
    }
}

/// Judges what each choice leaves at a moment; how much is gone that was promised less.
fn cut_at(run: &Run, moment: &Moment, most: Most, seen: &mut Seen, suite: &Suite) -> u64 {
    let mut gone = 0;
    let (told, model) = run.model(moment);
    for choice in choices(moment.changes(), most.choices, most.random) {
        let mut disk = moment.cut(|change| choice.keeps(change));
        let image = disk.image_hash();
        suite.state(&run.name, image);
        if !seen.compared.insert((image, told, Stop::Cut)) {
            continue;
        }
        let repeat = || format!("{} before call {}, {choice:?}", run.name, moment.operation());
        let found = seen.images.entry(image).or_insert_with(|| {
            let found = run.look(&mut disk);
            if found.is_ok() && image.is_multiple_of(24) {
                run.judge_further(&mut disk)?;
            }
            found
        });
        let checked = found.as_ref().map_err(String::clone);
        match checked.and_then(|found| model.check(found, Promise::Power)) {
            Ok(lost) => gone += lost,
            Err(error) => suite.fail(error, repeat()),
        }
    }
    gone
}

/// The end of the process takes nothing that was acknowledged.
fn kill_at(run: &Run, moment: &Moment, seen: &mut Seen, suite: &Suite) {
    let image = moment.cut(|_| true).image_hash();
    let is_first = suite.state((&run.name, "kill"), image);
    let (told, model) = run.model(moment);
    if !seen.compared.insert((image, told, Stop::Kill)) {
        return;
    }
    let mut disk = moment.kill();
    let mut judged = run.judge(&mut disk, &model, Promise::Process).map(drop);
    if is_first {
        judged = judged.and_then(|()| run.judge_further(&mut disk));
        // the next process relies on what the last one said of itself, those after it do not
        judged = judged.and_then(|()| run.go_on(&mut moment.kill()));
    }
    if let Err(error) = judged {
        suite.fail(error, format!("{} before call {}, kill", run.name, moment.operation()));
    }
}

/// The control of every suite here: the disk drops one sync, each in turn, and what was promised
/// is missed. How often.
pub fn losses_on_a_lying_disk() -> u64 {
    let mut losses = 0;
    let scenarios = SCENARIOS.iter().filter(|one| one.name.ends_with("append-power"));
    for (scenario, nth) in scenarios.flat_map(|one| (1..40).map(move |nth| (one, nth))) {
        let stage = scenario.stage(IoMode::Mapped);
        stage.disk.fail(Plan::new(Fault::Lie).nth(nth));
        let run = Run::on(scenario, IoMode::Mapped, stage);
        let last = run.moments.last().expect("the end");
        let (_, model) = run.model(last);
        let judged = run.judge(&mut last.cut(|_| false), &model, Promise::Power);
        losses += u64::from(judged.is_err());
    }
    losses
}

#[test]
fn a_cut_at_any_point_takes_nothing_that_was_promised() {
    let suite = Suite::new("crash-points");
    let gone = AtomicU64::new(0);
    let small = Budget::get() == Budget::Small;
    let plays = portion(every().filter(|(one, _)| !(small && one.cost == Cost::Heavy)));
    each(&plays, |(scenario, mode)| {
        let run = Run::of(scenario, *mode);
        let mut seen = Seen::default();
        let most = Most::of(scenario.cost);
        // the end too, where every sync that was left out shows
        let some = run.moments.iter().step_by(if small { 12 } else { scenario.thinned(6) });
        for moment in some.chain(run.moments.last()) {
            gone.fetch_add(cut_at(&run, moment, most, &mut seen, &suite), Ordering::Relaxed);
            kill_at(&run, moment, &mut seen, &suite);
        }
    });
    let seen = is_portion() || gone.into_inner() > 0; // some scenarios promise no less
    assert!(seen, "what was promised less must be seen to vanish");
    suite.control(losses_on_a_lying_disk());
    suite.end();
}

/// Stops the recovery of what a crash left at each of its points, so many deep.
struct Recovery<'a> {
    run: &'a Run,
    told: usize,
    model: &'a Model,
    suite: &'a Suite,
    most: usize,
}

impl Recovery<'_> {
    fn stop(&self, disk: &SimDisk, deep: u32, path: &str, seen: &mut Seen) {
        disk.record();
        if let Err(error) = self.run.look(&mut disk.clone()) {
            return self.suite.fail(error, path);
        }
        let moments = disk.moments();
        for moment in moments.iter().skip(1) {
            for choice in choices(moment.changes(), self.most, 64) {
                let mut next = moment.cut(|change| choice.keeps(change));
                let image = next.image_hash();
                self.suite.state((&self.run.name, deep), image);
                if !seen.compared.insert((image, self.told, Stop::Recovery(deep))) {
                    continue;
                }
                let path = format!("{path}, {choice:?} before call {}", moment.operation());
                let found = seen.images.entry(image).or_insert_with(|| self.run.look(&mut next));
                let checked = found.as_ref().map_err(String::clone);
                let checked = checked.and_then(|found| self.model.check(found, Promise::Power));
                if let Err(error) = checked {
                    self.suite.fail(error, &path);
                } else if deep > 1 && image.is_multiple_of(16) {
                    let again = moment.cut(|change| choice.keeps(change));
                    self.stop(&again, deep - 1, &path, seen);
                }
            }
        }
    }
}

#[test]
fn a_recovery_cut_short_anywhere_is_recovered_from() {
    let suite = Suite::new("crash-recovery");
    let most = count(4, 8, 200);
    each(&portion(light()), |(scenario, mode)| {
        let run = Run::of(scenario, *mode);
        let mut seen = Seen::default();
        let moments = count(1, if scenario.cost == Cost::Quick { 14 } else { 1 }, u64::MAX);
        // evenly spread, and never none: a stride over the calls' numbers would miss short runs
        let stride = run.moments.len().div_ceil(moments).max(1);
        for moment in run.moments.iter().skip(stride / 2).step_by(stride) {
            let (told, model) = run.model(moment);
            let of_all = [Choice::None, Choice::All, Choice::Random(moment.operation())];
            let is_deep = Budget::get() == Budget::Deep;
            let nth = moment.operation() as usize % of_all.len();
            for choice in if is_deep { &of_all[..] } else { &of_all[nth..=nth] } {
                let disk = moment.cut(|change| choice.keeps(change));
                let path = format!("{} before call {}, {choice:?}", run.name, moment.operation());
                let deep = if scenario.name.contains("open") { 3 } else { 2 };
                let (run, model, suite) = (&run, &model, &suite);
                let recovery = Recovery { run, told, model, suite, most };
                recovery.stop(&disk, deep, &path, &mut seen);
            }
        }
    });
    suite.control(losses_on_a_lying_disk());
    suite.end();
}
