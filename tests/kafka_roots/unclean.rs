//! Kafka's directories after a stop in the middle: producers, their transactions and what was
//! aborted are told from the log above the recovery point, as Kafka tells them, whatever the
//! snapshots there say. Whole, cut, flipped, and with zeros where the last batches were.
//!
//! Damage lies above the recovery point. Below it the two differ on purpose: see `docs/kafka.md`.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::{Log, Offset, Sequence, Timestamp};

use crate::common::budget::{for_each_seed, seeds};
use crate::common::golden::{Batch, Partition, Scenario};
use crate::common::scratch::scratch;
use crate::driver::Kafka;

const SUITE: &str = "kafka_roots";
/// Directories with producers in every state.
const SCENARIOS: [&str; 8] = [
    "transactions",
    "transactions-span",
    "compacted-transactions",
    "sequence-wrap",
    "markers",
    "epochs",
    "compacted",
    "segments",
];

fn log_of(dir: &Path, batch: &Batch) -> PathBuf {
    dir.join(format!("{:020}.log", batch.segment))
}

/// Harms one batch, or none; says how.
fn harm(random: &mut StdRng, dirs: &[&Path], from: i64, partition: &Partition) -> String {
    let above = |batch: &&Batch| batch.base_offset >= from && batch.size > 61;
    let batches: Vec<_> = partition.on_disk.batches.iter().filter(above).collect();
    let kind = ["whole", "cut", "flipped", "zeros"][random.random_range(0..4)];
    if kind == "whole" || batches.is_empty() {
        return "whole".to_owned();
    }
    let batch = batches[random.random_range(0..batches.len())];
    let within = random.random_range(21..batch.size);
    let position = batch.position + within;
    for dir in dirs {
        let file = OpenOptions::new().read(true).write(true).open(log_of(dir, batch));
        let file = file.expect("a segment");
        let len = file.metadata().expect("its length").len();
        match kind {
            "cut" => file.set_len(position).expect("cut"),
            "flipped" => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, position).expect("read");
                file.write_all_at(&[byte[0] ^ 0x10], position).expect("flipped");
            }
            _ => {
                file.set_len(batch.position).expect("cut");
                file.set_len(len).expect("zeros");
            }
        }
    }
    format!("{kind} at offset {}, byte {within}", batch.base_offset)
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    let to = to.join(from.file_name().expect("a name"));
    fs::create_dir_all(&to).expect("a directory");
    for file in fs::read_dir(from).expect("it is there").filter_map(Result::ok) {
        fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
    to
}

/// Offsets, producers and aborted transactions in the driver's words.
fn ours(log: &Log) -> [String; 3] {
    let offsets = [log.start_offset(), log.end_offset(), log.last_stable_offset()];
    let producers = log.producers().into_iter().map(|known| {
        let (id, epoch) = (known.identity().id(), known.identity().epoch());
        let sequence = known.last_sequence().map_or(-1, Sequence::get);
        let time = known.last_timestamp().map_or(-1, Timestamp::as_millis);
        let coordinator = known.coordinator_epoch().unwrap_or(-1);
        let start = known.transaction_start().map_or(-1, Offset::get);
        format!("{id}:{epoch}:{sequence}:{time}:{coordinator}:{start}")
    });
    let producers: Vec<_> = producers.collect();
    let aborted = log.aborted_transactions(log.start_offset()..log.end_offset());
    let aborted = aborted.iter().map(|it| format!("{}:{}", it.producer_id, it.first));
    let aborted: Vec<_> = aborted.collect();
    let offsets = offsets.map(|offset| offset.to_string()).join(" ");
    [offsets, producers.join(" "), aborted.join(" ")]
}

fn kafkas(kafka: &mut Kafka, dir: &Path, (start, point): (i64, i64)) -> [String; 3] {
    let mut ask = |line: &str| {
        let said = kafka.ask(line);
        let said = said.strip_prefix("ok").unwrap_or_else(|| panic!("{line}: {said}"));
        let (said, state) = said.split_once(" | ").expect("a state");
        (said.trim().to_owned(), state.to_owned())
    };
    ask("time 0"); // nobody expires
    let (_, state) = ask(&format!("open {} killed {start} {point}", dir.display()));
    let producers = ask("producers").0;
    let mut bounds = state.split(' ');
    let (from, to) = (bounds.next().expect("a start"), bounds.next().expect("an end"));
    let aborted = ask(&format!("aborted {from} {to}")).0;
    ask("close");
    [state, producers, aborted]
}

#[test]
fn producers_are_told_from_the_log_after_a_stop_as_kafka_tells_them() {
    const TEST: &str = "unclean::producers_are_told_from_the_log_after_a_stop_as_kafka_tells_them";
    let Some(kafka) = Kafka::start(TEST) else { return };
    let kafka = std::cell::RefCell::new(kafka);
    let scenarios: Vec<_> = SCENARIOS.iter().map(|name| Scenario::load(name)).collect();
    for_each_seed(SUITE, TEST, seeds(0, 16, 1_000), |seed| {
        let random = &mut StdRng::seed_from_u64(seed);
        let scenario = &scenarios[usize::try_from(seed).expect("a seed") % scenarios.len()];
        let partition = scenario.partition();
        let start = partition.checkpoints.log_start_offset.unwrap_or(0);
        let segments = &partition.on_disk.segments;
        let point = match random.random_range(0..3) {
            0 => 0,
            1 => segments[random.random_range(0..segments.len())].base_offset,
            _ => random.random_range(start..=partition.opened.log_end_offset),
        };
        let held = scratch();
        let [mine, theirs] = ["mine", "theirs"]
            .map(|name| copy(&scenario.partition_path(), &held.path().join(name)));
        let how = harm(random, &[&mine, &theirs], point.max(start), partition);
        let shown = format!("{} {how}, recovery point {point}", scenario.name);
        let builder = Log::builder(&mine).log_start(Offset::new(start));
        let log = builder.recovery_point(Offset::new(point)).open().expect(&shown);
        let wanted = kafkas(&mut kafka.borrow_mut(), &theirs, (start, point));
        assert_eq!(ours(&log), wanted, "{shown}");
    });
}
