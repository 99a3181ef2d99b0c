//! Random operations on a log of ours and, side by side, on Kafka's own log class: after every one
//! of them both must say the same of it, of where the log begins and ends, and of what it holds.
//!
//! `script` draws what is done, `side` does it, `driver` is Kafka's side. A script that shows a
//! difference is made shorter as long as it shows one, and printed with the lines Kafka was told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::budget::{for_each_seed, seeds};
use crate::common::scratch::in_memory;
use crate::driver::Kafka;
use crate::script::Script;
use crate::side::Sides;

const SUITE: &str = "kafka_roots";
/// How often a failing script is tried shorter.
const MOST_TRIES: usize = 150;

/// What differs, if anything, and what Kafka was told up to there.
fn run(kafka: &mut Kafka, script: &Script) -> Option<(String, Vec<String>)> {
    // what is synced is no matter here, and there it takes no time
    let dir = in_memory();
    let mut sides = Sides::begin(kafka, dir.path(), script);
    for op in &script.ops {
        let step = catch_unwind(AssertUnwindSafe(|| sides.step(op)));
        let difference = match step {
            Ok(Ok(())) => continue,
            Ok(Err(difference)) => difference,
            Err(_) => format!("a panic at {op:?}"),
        };
        return Some((difference, std::mem::take(&mut sides.told)));
    }
    None
}

/// As few operations as still show a difference.
fn shortened(kafka: &mut Kafka, mut script: Script) -> Script {
    let mut tries = 0;
    let mut chunk = script.ops.len() / 2;
    while chunk > 0 && tries < MOST_TRIES {
        let mut at = 0;
        while at < script.ops.len() && tries < MOST_TRIES {
            let mut shorter = script.clone();
            shorter.ops.drain(at..(at + chunk).min(script.ops.len()));
            tries += 1;
            if run(kafka, &shorter).is_some() {
                script = shorter;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    script
}

#[test]
fn random_operations_give_what_kafkas_log_gives() {
    const TEST: &str = "differ::random_operations_give_what_kafkas_log_gives";
    let Some(kafka) = Kafka::start(TEST) else { return };
    let kafka = std::cell::RefCell::new(kafka);
    for_each_seed(SUITE, TEST, seeds(0, 60, 4_000), |seed| {
        let kafka = &mut *kafka.borrow_mut();
        let script = Script::drawn(seed);
        if run(kafka, &script).is_none() {
            return;
        }
        let script = shortened(kafka, script);
        let (difference, told) = run(kafka, &script).expect("it differed");
        let ops: Vec<_> = script.ops.iter().map(|op| format!("  {op:?}")).collect();
        panic!(
            "seed {seed}: {difference}\nsettings: {:?}\nsteps:\n{}\nKafka was told:\n{}",
            script.settings,
            ops.join("\n"),
            told.join("\n")
        );
    });
}
