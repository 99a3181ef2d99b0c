//! libFuzzer's binary, for every target: `FUZZ_TARGET` says which; `.ci/fuzz` builds and runs it.
//!
//! One binary is linked once. `FUZZ_SEEDS=DIR` writes each target's first inputs below `DIR` and
//! ends; with `FUZZ_GOLDEN=DIR` also the files that Kafka wrote, found there. `FUZZ_TARGET=names`
//! prints what there is.

#![no_main]

#[cfg(blind)]
mod blind;
mod bounded;
mod feed;
#[allow(dead_code)]
mod foreign;
mod lives;
mod recovery;
mod seeds;

/// Where the crash suites have it.
mod common {
    pub mod golden {
        pub use crate::foreign::Payload;
    }
}

// the crash suites' stage and judgement, as they are
#[allow(dead_code)]
#[path = "../../crashes/stage.rs"]
mod stage;
#[allow(dead_code)]
#[path = "../../crashes/story.rs"]
mod story;
#[allow(dead_code, unused_imports)]
#[path = "../../crashes/verdict.rs"]
mod verdict;

use std::env;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tidelog::fuzzing::{TARGETS, Target, planted};

#[global_allocator]
static MEMORY: bounded::Counted = bounded::Counted;

/// What a decoder may hold at most: this, and this for each byte of its input.
const HELD: usize = 4 << 20;
const HELD_PER_BYTE: usize = 64;

/// And more where a log is read with the default limit: one batch decompressed, and its growing.
const INFLATED: usize = 32 << 20;

/// Targets through the public doors, beside those of the decoders.
const DOORS: &[Target] = &[
    Target { name: "recovery", run: recovery::run, seeds: recovery::seeds },
    Target { name: "lives", run: lives::run, seeds: lives::seeds },
];

/// Must fail, and soon.
const CONTROL: Target = Target { name: "control", run: planted, seeds: Vec::new };

static TARGET: OnceLock<Target> = OnceLock::new();

fn targets() -> impl Iterator<Item = &'static Target> {
    TARGETS.iter().chain(DOORS)
}

fn prepare() {
    if let Ok(dir) = env::var("FUZZ_SEEDS") {
        seeds::write(dir.as_ref(), targets()).expect("the seeds are written");
        std::process::exit(0);
    }
    let wanted = env::var("FUZZ_TARGET").unwrap_or_default();
    if wanted == "names" {
        targets().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    }
    let Some(target) = targets().chain([&CONTROL]).find(|target| target.name == wanted) else {
        eprintln!("FUZZ_TARGET={wanted}: no such target; `names` prints them");
        std::process::exit(2);
    };
    let _ = TARGET.set(*target); // this is called once
}

fuzz_target!(
    init: prepare(),
    |input: &[u8]| {
        let target = TARGET.get().expect("prepared");
        #[cfg(blind)]
        blind::count();
        let held = bounded::most_held(|| (target.run)(input));
        let allowed = HELD + HELD_PER_BYTE * input.len();
        let allowed = if target.name == "recovery" { allowed + INFLATED } else { allowed };
        if target.name != "lives" {
            assert!(held <= allowed, "{held} bytes were held for {} of input", input.len());
        }
    }
);
