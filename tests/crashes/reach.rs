//! Scenarios reach what they are named for: a journal that is used and goes around, a compaction
//! that ends, a backup that is there. And the control of those with a journal: without its file
//! what was promised is missed.

use std::collections::HashSet;
use std::path::Path;

use tidelog::disk::{Access, Disk as _, Fault, IoMode, Plan, SimDisk};

use crate::common::budget::Budget;
use crate::points::Choice;
use crate::runs::Run;
use crate::scenarios::{MODES, SCENARIOS, Scenario};
use crate::stage::{BACKUP, Door};
use crate::verdict::{Promise, going};

const JOURNAL: &str = "/store/tidelog.journal";

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|one| one.name == name).expect("it is in the table")
}

/// The first bytes behind the head of the journal.
fn first_frame(disk: &SimDisk) -> Option<[u8; 64]> {
    let file = disk.open(Path::new(JOURNAL), Access::Read).ok()?;
    let mut bytes = [0; 64];
    file.read_at(&mut bytes, 4096).ok()?;
    Some(bytes)
}

#[test]
fn without_the_journals_file_what_was_promised_is_missed() {
    for name in ["journal-append", "journal-roll", "journal-trim"] {
        for mode in MODES {
            let run = Run::of(scenario(name), mode);
            let last = run.moments.last().expect("the end");
            let (_, model) = run.model(last);
            let judged = run.judge(&mut last.cut(|_| false), &model, Promise::Power);
            assert!(judged.is_ok(), "{name}, {mode:?}: {judged:?}");
            let mut disk = last.cut(|_| false);
            let removed = disk.remove_file(Path::new(JOURNAL));
            assert!(removed.is_ok(), "{name}, {mode:?}: there is no journal: {removed:?}");
            disk.sync_dir(Path::new("/store")).expect("synced");
            let judged = run.judge(&mut disk, &model, Promise::Power);
            assert!(judged.is_err(), "{name}, {mode:?}: nobody misses the journal");
        }
    }
}

#[test]
fn on_a_disk_that_drops_a_sync_what_was_promised_of_work_is_missed() {
    let is_missed = |one: &Scenario, nth: u64| {
        let stage = one.stage(IoMode::Mapped);
        stage.disk.fail(Plan::new(Fault::Lie).nth(nth));
        let run = Run::on(one, IoMode::Mapped, stage);
        // before the next sync of the file makes up for it
        run.moments.iter().step_by(9).any(|moment| {
            let (_, model) = run.model(moment);
            run.judge(&mut moment.cut(|_| false), &model, Promise::Power).is_err()
        })
    };
    for one in SCENARIOS.iter().filter(|one| one.name.starts_with("work-")) {
        assert!((1..60).any(|nth| is_missed(one, nth)), "{}", one.name);
    }
}

/// What an end of the process leaves of segments that were let go of is gone after the next open,
/// and none of it has become a segment again.
#[test]
fn what_was_on_its_way_out_is_gone_after_the_next_open() {
    let mut met = 0;
    for name in ["retention-size", "delete-records", "truncate", "log-retention"] {
        for mode in MODES {
            let run = Run::of(scenario(name), mode);
            for moment in &run.moments {
                let mut disk = moment.kill();
                let gone = going(&disk, run.setup.is_log);
                if gone.is_empty() {
                    continue;
                }
                met += 1;
                let at = moment.operation();
                run.look(&mut disk).unwrap_or_else(|error| panic!("{name}, {at}: {error}"));
                for path in &gone {
                    let name = path.to_str().expect("ours");
                    let alive = name.strip_suffix(".deleted").expect("so it is named");
                    for there in [name, alive] {
                        let found = disk.metadata(there.as_ref()).expect("asked");
                        assert!(found.is_none(), "{}, {mode:?}, {at}: {there}", run.name);
                    }
                }
            }
        }
    }
    assert!(met > 0, "the control: some are met");
}

#[test]
fn the_journal_goes_around() {
    let run = Run::of(scenario("journal-laps"), IoMode::Mapped);
    let seen = run.moments.iter().filter_map(|moment| first_frame(&moment.cut(|_| true)));
    let seen: HashSet<[u8; 64]> = seen.collect();
    assert!(seen.len() > 2, "nothing, its first frame, and one that is written over it");
}

#[test]
fn the_state_log_is_begun_anew() {
    let scenario = scenario("state-log");
    let mut stage = scenario.stage(IoMode::Mapped);
    let before = stage.disk_bytes("/store/tidelog.state");
    scenario.play_unrecorded(&mut stage);
    let after = stage.disk_bytes("/store/tidelog.state");
    assert!(after < before / 4, "of {before} {after} are left");
}

#[test]
fn the_offsets_are_compacted_and_a_backup_is_made() {
    for mode in MODES {
        let compaction = scenario("compaction");
        let mut stage = compaction.stage(mode);
        let bytes = |stage: &crate::stage::Stage| match &stage.door {
            Door::Store(store) => {
                let stats = store.stats();
                stats.topics.iter().find(|one| one.name.starts_with("__")).expect("it").bytes
            }
            _ => panic!("it is open"),
        };
        let before = bytes(&stage);
        compaction.play_unrecorded(&mut stage);
        assert!(bytes(&stage) < before / 4, "{mode:?}: of {before} {} are left", bytes(&stage));

        let backup = scenario("backup");
        let mut stage = backup.stage(mode);
        backup.play_unrecorded(&mut stage);
        assert!(stage.disk.metadata(BACKUP.as_ref()).expect("asked").is_some());
    }
}

/// Found by the scenario `led-and-cut`: the digests of what a truncation left were taken anew in
/// place, below the recovery point, and half of them passed for damage.
#[test]
fn a_truncation_that_is_stopped_anywhere_is_no_damage() {
    for name in ["truncate", "led-and-cut"] {
        for mode in MODES {
            let run = Run::of(scenario(name), mode);
            let every = Budget::get().pick(5, 1, 1);
            for moment in run.moments.iter().filter(|one| one.operation().is_multiple_of(every)) {
                let repeat = format!("{name}, {mode:?}, before call {}", moment.operation());
                let done = run.go_on(&mut moment.kill());
                done.unwrap_or_else(|error| panic!("{repeat}, kill: {error}"));
                let done = run.go_on(&mut moment.cut(|change| Choice::Random(57).keeps(change)));
                done.unwrap_or_else(|error| panic!("{repeat}, cut: {error}"));
            }
        }
    }
}

/// Found by the scenario `compacted`: digests that had got their name, while a power cut took that
/// of the log they belong to, were removed as those of the log it replaced.
#[test]
fn digests_that_got_their_name_before_their_log_stay() {
    let run = Run::of(scenario("compacted"), IoMode::Positioned);
    let dir = Path::new("/store/c-0");
    let names = |disk: &SimDisk| -> HashSet<String> {
        disk.list(dir).unwrap_or_default().into_iter().map(|entry| entry.name).collect()
    };
    let mut seen = 0;
    for moment in run.moments.iter() {
        if !names(&moment.cut(|_| false)).iter().any(|name| name.ends_with(".log.swap")) {
            continue;
        }
        for seed in 0..Budget::get().pick(2, 8, 40) {
            let disk = moment.cut(|change| Choice::Random(seed).keeps(change));
            let there = names(&disk);
            let bases = there.iter().filter_map(|name| name.strip_suffix(".log.swap"));
            let named = |base: &&str| !there.contains(&format!("{base}.digest.swap"));
            let bases: Vec<&str> = bases.filter(named).collect();
            let opened = crate::verdict::open(&disk, &run.setup);
            drop(opened.unwrap_or_else(|error| panic!("{error}")));
            let after = names(&disk);
            for base in bases {
                let stays = after.contains(&format!("{base}.digest"));
                assert!(stays, "call {}, {seed}: {after:?}", moment.operation());
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no cut leaves that");
}
