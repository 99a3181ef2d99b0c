//! Power cuts on a real ext4: its shutdown call drops every dirty page, and with the second flag
//! the journal that was not written, as a cut of the power does. The image lies on a tmpfs.
//!
//! What is acknowledged is taken before the call: what races with it vanishes rightly. The control
//! is a victim that does not sync: without its losses the run is void.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::Durability;
use tidelog::disk::IoMode;

use crate::common::budget::{for_each_seed, seeds};
use crate::common::child;
use crate::common::machine::{self, Machine};
use crate::common::suite::Suite;
use crate::writer::{LARGE, Manner, SMALL, Victim, Word, judge};

const TEST: &str = "power::a_power_cut_on_ext4_takes_nothing_that_was_promised";

/// The machine, and which directory on it is written to.
struct Bench {
    machine: Machine,
    store: u32,
}

impl Bench {
    fn store(&self) -> PathBuf {
        self.machine.place().join(format!("store-{}", self.store))
    }

    /// Another directory from here on, and room for it.
    fn next_store(&mut self) {
        std::fs::remove_dir_all(self.store()).unwrap_or_default();
        self.store += 1;
    }

    /// Lets a victim write for a while and cuts the power; what is found, compared.
    fn cut(&mut self, manner: Manner, flag: u32, while_: Duration) -> Result<u64, String> {
        let mut victim = Victim::start(&self.store(), manner);
        let begun = std::time::Instant::now();
        while victim.acknowledged().is_empty() && begun.elapsed() < Duration::from_secs(20) {
            assert!(!victim.has_ended(), "the victim failed by itself");
            std::thread::sleep(Duration::from_micros(300));
        }
        std::thread::sleep(while_);
        let acknowledged = victim.acknowledged();
        self.machine.cut(flag);
        victim.kill();
        self.machine.start_again();
        let ends = judge(&self.store(), manner.mode, &acknowledged)?;
        Ok(ends.values().fold(0, |hash: u64, end| {
            hash.wrapping_mul(1_000_003).wrapping_add(end.unsigned_abs())
        }))
    }
}

fn cuts(dir: &Path) {
    let suite = Suite::new("power-cuts");
    let bench = std::cell::RefCell::new(Bench { machine: Machine::new(dir), store: 0 });
    for_each_seed("kernel", TEST, seeds(6, 300, 10_000), |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bench = bench.borrow_mut();
        let mode = [IoMode::Mapped, IoMode::Positioned][usize::from(seed % 2 == 1)];
        let (flag, while_) = (random.random_range(1..3), random.random_range(0..15_000));
        let while_ = Duration::from_micros(while_);
        let (word, while_) = match seed / 5 % 2 {
            0 => (Word::Of(Durability::Power), while_),
            _ => (Word::Together, while_ * 20), // a round takes longer
        };
        let segment = if seed / 10 % 2 == 0 { SMALL } else { LARGE };
        let manner = Manner { mode, word, segment };
        match bench.cut(manner, flag, while_) {
            Ok(found) => drop(suite.state(seed, found)),
            Err(error) => suite.fail(error, format!("TIDELOG_SEED={seed}, flag {flag}, {mode:?}")),
        }
        if seed % 5 == 4 {
            bench.next_store();
        }
        if seed % 10 == 3 {
            // the control: nobody asked for a sync
            bench.next_store();
            let manner = Manner { mode, word: Word::Of(Durability::Process), segment: SMALL };
            let lost = bench.cut(manner, 2, while_).is_err();
            suite.control(u64::from(lost));
            bench.next_store();
        }
    });
    bench.into_inner().machine.stop();
    suite.end();
}

#[test]
fn a_power_cut_on_ext4_takes_nothing_that_was_promised() {
    if let Some((_, dir)) = child::part() {
        cuts(&dir);
        return child::done();
    }
    let dir = tempfile::tempdir().expect("a directory");
    child::run(TEST, "cuts", dir.path(), &machine::wrapper(dir.path()));
}
