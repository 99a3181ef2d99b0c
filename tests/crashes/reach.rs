//! Scenarios reach what they are named for: a journal that is used and goes around, a compaction
//! that ends, a backup that is there. And the control of those with a journal: without its file
//! what was promised is missed.

use std::collections::HashSet;
use std::path::Path;

use tidelog::disk::{Access, Disk as _, IoMode, SimDisk};

use crate::runs::Run;
use crate::scenarios::{MODES, SCENARIOS, Scenario};
use crate::stage::{BACKUP, Door};
use crate::verdict::Promise;

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
fn the_journal_goes_around() {
    let run = Run::of(scenario("journal-laps"), IoMode::Mapped);
    let seen = run.moments.iter().filter_map(|moment| first_frame(&moment.cut(|_| true)));
    let seen: HashSet<[u8; 64]> = seen.collect();
    assert!(seen.len() > 2, "nothing, its first frame, and one that is written over it");
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
