//! Every call to the disk failing in turn (row 9 of `docs/reliability.md`): each error a kernel
//! has for it, and calls that do a part of their work; once and for ever; in every scenario. The
//! host goes on as hosts do; then the process ends, or the power goes, and all is compared.
//!
//! Each error is held to its outcome: where it says that nothing was written, nothing is there, at
//! once and after reopening, be it records, a topic, a deletion, a trim, a commit; records that it
//! calls written are in the log, all of them; and none that may be tried again left anything.

use std::sync::atomic::{AtomicU64, Ordering};

use tidelog::disk::{Crash, Fault, IoMode, Operation, Plan, SimDisk};
use tidelog::{Error, Offset, Outcome, Record, TopicConfig};

use crate::common::budget::Budget;
use crate::common::crew::{each, portion};
use crate::common::suite::Suite;
use crate::points::mix;
use crate::runs::{Run, guarded};
use crate::scenarios::{Scenario, light};
use crate::stage::{Setup, open_log};
use crate::story::Model;
use crate::verdict::{Promise, later};

/// EINTR, EIO, EMFILE, EFBIG, ENOSPC, EROFS, EDQUOT; half the work; and all of it, with an error.
const FAULTS: [Fault; 11] = [
    Fault::Error(4),
    Fault::Error(5),
    Fault::Error(24),
    Fault::Error(27),
    Fault::Error(28),
    Fault::Error(30),
    Fault::Error(122),
    Fault::ShortWrite(3),
    Fault::ShortWrite(0),
    Fault::ShortRead(7),
    Fault::DoneError(5),
];

/// What one failing call led to.
struct Failed {
    run: Run,
    disk: SimDisk,
    failures: u64,
}

fn play(scenario: &Scenario, mode: IoMode, plan: Plan) -> Result<Failed, String> {
    guarded(|| {
        let mut stage = scenario.stage(mode);
        stage.goes_on = true;
        stage.disk.fail(plan);
        scenario.play_unrecorded(&mut stage);
        stage.disk.heal();
        let name = format!("{}-{mode:?}", scenario.name);
        let (setup, story) = (stage.setup.clone(), stage.story.clone());
        let run = Run { name, mode, setup, story, moments: Vec::new() };
        let disk = stage.disk.kill();
        let failures = stage.failures;
        Ok(Failed { run, disk, failures })
    })
}

/// Looks at what is left after the end of the process, and after a cut that leaves this.
fn compare(failed: &Failed, seed: u64, suite: &Suite, repeat: &str) {
    let model = Model::before(&failed.run.story, u64::MAX);
    let ends = [None, Some(Crash::Nothing), Some(Crash::Random(mix(seed)))];
    for end in ends {
        // the process that ended leaves its disk to each of them
        let mut disk = match end {
            None => failed.disk.moments()[0].kill(),
            Some(crash) => failed.disk.moments()[0].crash(crash),
        };
        let image = match end {
            None => failed.disk.moments()[0].cut(|_| true).image_hash(),
            Some(_) => disk.image_hash(),
        };
        if !suite.state((&failed.run.name, end.is_none()), image) {
            continue;
        }
        let promise = if end.is_none() { Promise::Process } else { Promise::Power };
        if let Err(error) = failed.run.judge(&mut disk, &model, promise) {
            suite.fail(error, format!("{repeat}, then {end:?}"));
        }
    }
}

/// Makes calls of a scenario fail in turn, so many of them with each fault; what hosts felt of it.
fn fail_in(scenario: &Scenario, mode: IoMode, most: u64, suite: &Suite) -> u64 {
    let calls = {
        let mut stage = scenario.stage(mode);
        let before = stage.disk.operations();
        scenario.play_unrecorded(&mut stage);
        stage.disk.operations() - before
    };
    let stride = calls.div_ceil(most).max(1);
    let mut failures = 0;
    let faults = FAULTS.into_iter().flat_map(|one| [(one, false), (one, true)]);
    for (number, (fault, lasts)) in (0u64..).zip(faults) {
        if (fault, lasts) == (Fault::Error(4), true) {
            continue; // no kernel interrupts a call for ever; who tries again would wait
        }
        // another part of the calls for each fault, so that together they cover all
        let first = 1 + mix(number) % stride;
        for nth in (first..=calls).step_by(usize::try_from(stride).unwrap()) {
            let plan = Plan::new(fault).nth(nth);
            let plan = if lasts { plan.for_ever() } else { plan };
            let for_ever = if lasts { " for ever" } else { "" };
            let repeat = format!("{}-{mode:?}, call {nth}{for_ever}: {fault:?}", scenario.name);
            match play(scenario, mode, plan) {
                Ok(failed) => {
                    failures += failed.failures;
                    compare(&failed, nth << 8 | number, suite, &repeat);
                }
                Err(error) => suite.fail(error, repeat),
            }
        }
    }
    failures
}

#[test]
fn any_call_may_fail_and_nothing_promised_is_lost() {
    let suite = Suite::new("failing-calls");
    let most = Budget::get().pick(1, 8, 100_000);
    let failures = AtomicU64::new(0);
    each(&portion(light()), |(scenario, mode)| {
        let most = (most / scenario.thinned(4) as u64).max(1);
        failures.fetch_add(fail_in(scenario, *mode, most, &suite), Ordering::Relaxed);
    });
    assert!(failures.into_inner() > 0, "faults are felt");
    suite.control(crate::points::losses_on_a_lying_disk());
    suite.end();
}

/// A large append goes by position into a file whose next window is mapped; half of it was written
/// when there was no room for more.
#[test]
fn any_call_that_failed_half_way_leaves_nothing_for_a_recovery_to_cut() {
    let disk = SimDisk::new(1);
    disk.set_mode(IoMode::Mapped);
    let setup = Setup { is_log: true, config: TopicConfig::new(), ..Setup::default() };
    let log = open_log(&disk, &later(), &setup).expect("opened");
    log.append(&[Record::new("first")]).expect("appended");
    disk.fail(Plan::new(Fault::ShortWrite(1000)).on(Operation::Write));
    disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).nth(2));
    log.append(&[Record::new(&"x".repeat(100_000))]).expect_err("no room");
    log.append(&[Record::new("after")]).expect("appended");
    let killed = disk.kill();
    drop(log);
    let log = open_log(&killed, &later(), &setup).expect("opened");
    assert!(log.report().torn_tails().is_empty(), "{:?}", log.report());
    assert_eq!(log.end_offset().get(), 2);
}

/// Found by the scenario `transactions-cut`: a truncation whose files were half cut said that
/// nothing was done, and the next open went on with the cut.
#[test]
fn a_truncation_that_failed_half_way_says_so() {
    let mut half = 0;
    let faults = [Fault::Error(5), Fault::DoneError(5)];
    for (fault, nth) in faults.into_iter().flat_map(|fault| (1..80).map(move |nth| (fault, nth))) {
        let disk = SimDisk::new(nth);
        let setup = Setup { is_log: true, ..Setup::default() };
        let log = open_log(&disk, &later(), &setup).expect("opened");
        for _ in 0..8 {
            log.append(&[Record::new(&"x".repeat(200))]).expect("appended");
        }
        disk.fail(Plan::new(fault).nth(nth));
        let cut = log.truncate_to(Offset::new(3));
        let outcome = cut.as_ref().err().map(Error::outcome);
        let killed = disk.kill();
        drop(log);
        let end = open_log(&killed, &later(), &setup).expect("opened").end_offset().get();
        let fits = match outcome {
            None => end == 3,
            Some(Outcome::NotWritten) => end == 8,
            Some(_) => (3..=8).contains(&end),
        };
        assert!(fits, "{fault:?}, call {nth}: {cut:?}, and it ends at {end}");
        half += u64::from(outcome == Some(Outcome::Unknown) && end < 8);
    }
    assert!(half > 0, "no failure meets it half cut");
}
