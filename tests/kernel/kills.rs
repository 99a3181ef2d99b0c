//! SIGKILL at random instants of a victim with several threads: whatever was acknowledged is there.
//!
//! What a victim had said when it ended is in the pipe. The next one opens what it left, and says
//! what it found; now and then all is read. The control counts as acknowledged what the next batch
//! would have been, and must miss it.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::Durability;
use tidelog::disk::IoMode;

use crate::common::budget::{for_each_seed, seeds};
use crate::common::suite::Suite;
use crate::writer::{Ends, LARGE, Manner, SMALL, Victim, Word, judge};

const KILLS: u64 = 20;

fn wait_until_at_work(victim: &mut Victim) {
    let begun = std::time::Instant::now();
    while victim.acknowledged().is_empty() && begun.elapsed() < Duration::from_secs(20) {
        assert!(!victim.has_ended(), "the victim failed by itself");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_kill_takes_nothing_that_was_acknowledged() {
    let suite = Suite::new("kills");
    let test = "kills::a_kill_takes_nothing_that_was_acknowledged";
    for_each_seed("kernel", test, seeds(1, 100, 5_000), |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        // in memory: the end of a process has nothing to do with syncs, and they take their time
        let place = Path::new("/dev/shm");
        let dir = if place.is_dir() { tempfile::tempdir_in(place) } else { tempfile::tempdir() };
        let dir = dir.expect("a directory");
        let mode = [IoMode::Mapped, IoMode::Positioned][usize::from(seed % 2 == 1)];
        // a victim of large segments lives as long as it takes until windows are made ready ahead
        let (segment, longest) = if seed % 4 < 2 { (SMALL, 3_000) } else { (LARGE, 30_000) };
        let mut acknowledged = Ends::new();
        for kill in 0..KILLS {
            let word =
                if random.random_bool(0.2) { Durability::Power } else { Durability::Process };
            let manner = Manner { mode, word: Word::Of(word), segment };
            let mut victim = Victim::start(dir.path(), manner);
            if random.random_bool(0.8) {
                wait_until_at_work(&mut victim);
            }
            std::thread::sleep(Duration::from_micros(random.random_range(0..longest)));
            let (found, said) = victim.kill();
            for (partition, end) in found {
                let promised = acknowledged.get(&partition).copied().unwrap_or(0);
                assert!(
                    end >= promised,
                    "seed {seed}, kill {kill}: {partition} ends at {end}, {promised} acknowledged"
                );
            }
            acknowledged.extend(said);
            let image =
                acknowledged.values().fold(0, |hash: u64, end| hash * 31 + end.unsigned_abs());
            suite.state((seed, kill), image);
        }
        match judge(dir.path(), mode, &acknowledged) {
            Ok(mut ends) => {
                ends.values_mut().for_each(|end| *end += 1);
                suite.control(u64::from(judge(dir.path(), mode, &ends).is_err()));
            }
            Err(error) => suite.fail(error, format!("TIDELOG_SEED={seed}")),
        }
    });
    suite.end();
}
