//! The soak (row 18 of `docs/reliability.md`): a mixed load on real files for as long as it is
//! told, killed, cut off and started again, everything compared each time, and what a process takes
//! from the machine (memory, handles, mappings, threads, disk) watched for growth.
//!
//! `SOAK_SECONDS` says how long, 2 by default; `.ci/soak` runs it. Lanes run side by side, each
//! with a store of its own: one that is killed every 5 to 60 s, one that is never killed, one of
//! jobs and what belongs to them, and where root allows one on ext4 that loses power. Beside the
//! first a reader in another process follows.
//!
//! `load` is what a child does, `work` what that of jobs does, `reader` the other process, `lane`
//! starts and ends them, `promise` is what was acknowledged and whether it is there, `figures` what
//! is watched.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod figures;
mod lane;
mod load;
mod promise;
mod reader;
mod work;

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::child;
use common::machine::{self, Machine};
use common::suite::{Suite, say};
use figures::Figures;
use lane::{Lane, Report};

const TEST: &str = "a_mixed_load_survives_whatever_ends_it_and_takes_no_more_with_time";

/// How long to run.
pub fn time() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok().filter(|text| !text.is_empty());
    let seconds = seconds.map(|text| text.parse().expect("SOAK_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(2))
}

/// The children's part; nothing without a role.
#[test]
fn role() {
    lane::play_role();
}

/// Runs the lanes to their end and judges what they report.
fn run(dir: &Path, machine: Option<Machine>) {
    let (suite, began, time) = (Suite::new("soak"), Instant::now(), time());
    let (told, reports) = mpsc::channel();
    let until = began + time;
    std::thread::scope(|scope| {
        let places = ["killed", "long", "work"].map(|name| dir.join(name));
        let lanes: [Box<dyn FnOnce(Lane) + Send>; 3] =
            [Box::new(Lane::run_killed), Box::new(Lane::run_long), Box::new(Lane::run_work)];
        for (lane, place) in lanes.into_iter().zip(&places) {
            let lane_of = Lane::new(place, until, time, told.clone());
            scope.spawn(move || lane(lane_of));
        }
        if let Some(machine) = machine {
            let lane = Lane::new(&machine.place().join("store"), until, time, told.clone());
            scope.spawn(move || lane.run_cut(machine));
        }
        drop(told);
        for report in reports {
            match report {
                Report::State { lane, image } => drop(suite.state(lane, image)),
                Report::Failed { lane, what } => {
                    suite.fail(what, format!("{lane}: SOAK_SECONDS={} .ci/soak", time.as_secs()));
                }
                Report::Control(seen) => suite.control(u64::from(seen)),
                Report::Figures(name, figures) => judge(&suite, name, &figures, time),
            }
        }
    });
    suite.end();
}

/// What grew, where there was time enough to tell growth from the beginning.
fn judge(suite: &Suite, name: &str, figures: &Figures, time: Duration) {
    for (phase, series) in figures.series() {
        say(&format!("figures soak, {name}, {phase:?}: {}", series.line()));
        if time >= Duration::from_secs(30)
            && let Err(grown) = series.is_flat(phase)
        {
            suite.fail(
                grown,
                format!("{name}, {phase:?}: SOAK_SECONDS={} .ci/soak", time.as_secs()),
            );
        }
    }
}

#[test]
fn a_mixed_load_survives_whatever_ends_it_and_takes_no_more_with_time() {
    if let Some((_, dir)) = child::part() {
        let stores = tempfile::tempdir().expect("a directory");
        run(stores.path(), Some(Machine::new(&dir)));
        return child::done();
    }
    let dir = tempfile::tempdir().expect("a directory");
    if !child::run(TEST, "with power cuts", dir.path(), &machine::wrapper(dir.path())) {
        run(dir.path(), None);
    }
}

/// The control of the watch: a child that lets go of nothing, in as many looks as a short run has.
#[test]
fn a_process_that_lets_go_of_nothing_is_noticed() {
    let figures = lane::leaks();
    assert_eq!(figures.series().count(), 2, "at work and at rest");
    for (phase, series) in figures.series() {
        let grown = series.is_flat(phase).expect_err("it leaks");
        for what in ["handles", "memory", "mappings", "threads", "disk"] {
            assert!(grown.contains(what), "{what} grew unnoticed: {grown}");
        }
    }
}
