//! A stop anywhere while a golden store is opened and goes on, on the simulated disk: what it held
//! is there afterwards.

use std::path::Path;
use std::sync::Arc;

use tidelog::disk::{Access, Crash, Disk as _, Fault, Moment, Plan, SimDisk};

use crate::archive::{Golden, all, read_files};
use crate::common::budget::Budget;
use crate::common::suite::Suite;
use crate::contents::Than;
use crate::{ROOT, go_on};

/// The golden store on a disk that has all of it.
fn load(golden: &Golden) -> SimDisk {
    let (_held, root) = golden.unpack();
    let disk = SimDisk::new(1);
    for (name, bytes) in read_files(&root) {
        let path = Path::new(ROOT).join(name);
        disk.create_dir_all(path.parent().expect("a parent")).expect("made");
        let file = disk.open(&path, Access::Create).expect("made");
        file.write_at(&bytes, 0).expect("written");
    }
    disk.crash(Crash::Everything)
}

fn play(golden: &Golden, disk: &SimDisk) -> Vec<Moment> {
    disk.record();
    let played = go_on(golden, ROOT.as_ref(), Arc::new(disk.clone()), Than::Equal);
    played.unwrap_or_else(|error| panic!("{}: {error}", golden.name));
    disk.moments()
}

/// What is left at a moment, by each of a few cuts and by the end of the process.
fn left(moment: &Moment) -> [SimDisk; 4] {
    let random = Crash::Random(moment.operation());
    let cuts = [Crash::Nothing, Crash::Everything, random].map(|choice| moment.crash(choice));
    let [nothing, everything, random] = cuts;
    [nothing, everything, random, moment.kill()]
}

/// The control: a device that keeps nothing of what is written, so that a journal or a rewrite
/// that is relied upon comes to nothing.
fn losses_on_a_lying_disk(golden: &Golden) -> u64 {
    let disk = load(golden);
    disk.fail(Plan::new(Fault::Lie).for_ever());
    let last = play(golden, &disk).pop().expect("the end");
    let after = Arc::new(last.crash(Crash::Random(3)));
    u64::from(go_on(golden, ROOT.as_ref(), after, Than::More).is_err())
}

#[test]
fn a_stop_anywhere_takes_nothing_of_a_golden_store() {
    let suite = Suite::new("golden-stores");
    let every = usize::try_from(Budget::get().pick(60, 8, 1)).expect("small");
    for golden in all() {
        let moments = play(&golden, &load(&golden));
        for moment in moments.iter().step_by(every) {
            for (how, disk) in left(moment).into_iter().enumerate() {
                if !suite.state((&golden.name, how == 3), disk.image_hash()) {
                    continue;
                }
                let judged = go_on(&golden, ROOT.as_ref(), Arc::new(disk), Than::More);
                if let Err(error) = judged {
                    let at = moment.operation();
                    suite.fail(error, format!("{} before call {at}, way {how}", golden.name));
                }
            }
        }
        suite.control(losses_on_a_lying_disk(&golden));
    }
    suite.end();
}
