//! What is done when the power goes: each scenario a function on a stage. A new one is a function
//! and a line in the table.
//!
//! Every scenario is played mapped and by position. What is recorded, and so stopped at, begins
//! behind what is there `before`, the open as a rule, or where the scenario says `begin`. Those
//! with a journal are in `journals`, those about copies, adoption and the offsets topic in
//! `copies`, of lone logs in `lone`, of transactions in `transactions`, of truncation and
//! partitions that the host leads in `replicas`, of tags in `tagged`, of work that is owed in
//! `work`.

use std::time::Duration;

use tidelog::Durability::{Power, Process};
use tidelog::disk::{IoMode, SimDisk};
use tidelog::{Journal, TopicConfig};

use crate::common::budget::Budget;
use crate::stage::{Stage, small};
use crate::{copies, journals, lone, producers, replicas, tagged, transactions, work};

/// A scenario and how it is played.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    door: Open,
    journal: Journal,
    pub cost: Cost,
    /// What is there before it begins: nothing fails meanwhile, and nothing is recorded.
    before: fn(&mut Stage),
    play: fn(&mut Stage),
}

/// What one of its states costs: what is cheap is looked at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cost {
    Quick,
    /// Several times that: a journal is read with it, or a backup.
    Fair,
    /// As much, for the logs of state that are opened with it: it has fewer, but in deep runs.
    Dear,
    /// Its files are large: it is stopped at fewer points, and in one suite only.
    Heavy,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
    Store,
    Log,
}

const fn store(name: &'static str, play: fn(&mut Stage)) -> Scenario {
    let (door, journal, before) = (Open::Store, Journal::Off, Stage::open);
    Scenario { name, door, journal, cost: Cost::Quick, before, play }
}

/// With a journal, as small as it can be.
const fn journaled(name: &'static str, play: fn(&mut Stage)) -> Scenario {
    let journal = Journal::Bytes(1 << 20);
    Scenario { journal, before: journals::made, ..store(name, play).fair() }
}

const fn log(name: &'static str, play: fn(&mut Stage)) -> Scenario {
    Scenario { door: Open::Log, ..store(name, play) }
}

impl Scenario {
    const fn fair(self) -> Scenario {
        Scenario { cost: Cost::Fair, ..self }
    }

    const fn dear(self) -> Scenario {
        Scenario { cost: Cost::Dear, ..self }
    }

    const fn heavy(self) -> Scenario {
        Scenario { cost: Cost::Heavy, ..self }
    }

    /// By how much less is looked at in it.
    pub fn thinned(&self, by: usize) -> usize {
        if self.cost == Cost::Dear && Budget::get() != Budget::Deep { by } else { 1 }
    }

    /// In place of an open door.
    const fn after(self, before: fn(&mut Stage)) -> Scenario {
        Scenario { before, ..self }
    }
}

fn nothing(_: &mut Stage) {}

pub const SCENARIOS: &[Scenario] = &[
    store("append-process", append_process),
    store("append-power", append_power),
    store("batches", batches),
    store("roll", roll),
    store("idempotent", producers::idempotent),
    store("sparse-index", sparse_index),
    store("background-sync", background_sync),
    store("delete-records", delete_records),
    store("retention-size", retention_size),
    store("retention-time", retention_time),
    store("create", create),
    store("recreate", recreate),
    store("add-partitions", add_partitions),
    store("alter", alter),
    store("close-and-open", close_and_open),
    store("large-appends", large_appends),
    store("small-and-large", small_and_large),
    store("commits", commits),
    store("group-deletion", group_deletion),
    store("first-open", first_open).after(nothing),
    store("huge-appends", huge_appends).heavy(),
    store("state-log", state_log).after(long_state_log).heavy(),
    store("digests", digests),
    store("tags", tagged::tags),
    store("expiry", copies::expiry).after(copies::short_memory),
    store("compaction", copies::compaction).after(copies::long_history).heavy(),
    store("backup", copies::backup).after(copies::for_a_backup).fair(),
    store("backup-and-go-on", copies::backup_and_go_on).after(copies::for_a_backup).fair(),
    store("adopt", copies::adopt).after(copies::of_kafka),
    journaled("journal-append", journals::append),
    journaled("journal-roll", journals::roll),
    journaled("journal-checkpoint", journals::checkpoint),
    journaled("journal-recreate", journals::recreate),
    journaled("journal-trim", journals::trim),
    journaled("journal-retention", journals::retention),
    journaled("journal-reopen", journals::reopen),
    journaled("journal-off-and-on", journals::off_and_on),
    journaled("journal-commits", journals::commits),
    journaled("journal-backup", journals::backup),
    journaled("journal-first", journals::first).after(nothing),
    journaled("journal-laps", journals::laps).heavy(),
    store("two-topics", two_topics),
    store("rolls-and-trims", rolls_and_trims),
    store("interleaved", interleaved),
    store("trim-and-open", trim_and_open),
    store("transactions", transactions::ended).after(transactions::topics).dear(),
    store("transactions-first", transactions::first).dear(),
    store("transactions-interleaved", transactions::interleaved).after(transactions::topics).dear(),
    store("transactions-lost", transactions::lost).after(transactions::topics).dear(),
    store("transactions-rolled", transactions::rolled).after(transactions::topics).dear(),
    store("transactions-open", transactions::left_open).after(transactions::topics).dear(),
    store("transactions-cut", transactions::cut).after(transactions::topics).dear(),
    store("compacted", transactions::compacted).after(transactions::to_compact).dear(),
    journaled("journal-transactions", transactions::ended).after(transactions::topics).dear(),
    store("work-shared", work::shared).after(work::topics).dear(),
    store("work-dead-letters", work::dead_letters).after(work::topics).dear(),
    store("work-given-back", work::given_back).after(work::topics).dear(),
    store("work-delayed", work::delayed).after(work::topics).dear(),
    store("work-prepared", work::prepared).after(work::topics).dear(),
    store("work-sent-once", work::sent_once).after(work::topics).dear(),
    store("truncate", replicas::truncate),
    store("led", replicas::led).after(replicas::led_elsewhere),
    store("led-and-cut", replicas::led_and_cut).after(replicas::led_elsewhere),
    journaled("journal-truncate", replicas::truncate_journaled),
    log("log-truncate", replicas::truncate_alone),
    log("log-interleaved", lone::interleaved),
    log("log-trim-and-open", lone::trim_and_open),
    log("log-append", lone::append),
    log("log-roll", lone::roll),
    log("log-trim", lone::trim),
    log("log-retention", lone::retention),
    log("log-close-and-open", lone::close_and_open),
    log("log-first-open", lone::first_open).after(nothing),
    log("log-adopt", copies::log_adopt).after(copies::log_of_kafka),
];

/// The ways a scenario is played.
pub const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];

/// Every scenario in every mode, but for the heavy ones.
pub fn light() -> impl Iterator<Item = (&'static Scenario, IoMode)> {
    every().filter(|(scenario, _)| scenario.cost != Cost::Heavy)
}

/// Every scenario in every mode; `TIDELOG_SCENARIO=roll` takes those whose names begin so.
pub fn every() -> impl Iterator<Item = (&'static Scenario, IoMode)> {
    let wanted = std::env::var("TIDELOG_SCENARIO").unwrap_or_default();
    let all = SCENARIOS.iter().filter(move |one| one.name.starts_with(&wanted));
    all.flat_map(|scenario| MODES.map(|mode| (scenario, mode)))
}

impl Scenario {
    /// A stage for it, with what is there before it begins.
    pub fn stage(&self, mode: IoMode) -> Stage {
        let disk = SimDisk::new(1);
        disk.set_mode(mode);
        let mut stage = Stage::new(disk);
        stage.setup.is_log = self.door == Open::Log;
        stage.setup.journal = self.journal;
        (self.before)(&mut stage);
        stage
    }

    /// Plays it on a stage, and records.
    pub fn play(&self, stage: &mut Stage) {
        stage.begin();
        (self.play)(stage);
    }

    /// Plays it on a stage that keeps no moments.
    pub fn play_unrecorded(&self, stage: &mut Stage) {
        stage.keeps_moments = false;
        (self.play)(stage);
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn append_process(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.send("a", 0, 3, Process);
    stage.send("a", 1, 2, Process);
    stage.send("a", 0, 2, Process);
}

fn append_power(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.send("a", 0, 2, Power);
    stage.send("a", 1, 1, Process);
    stage.send("a", 1, 1, Power);
    stage.send("a", 0, 1, Process);
}

fn batches(stage: &mut Stage) {
    stage.create("a", 1, small().segment_bytes(4096));
    stage.batch("a", 0, 3, 50, Process);
    stage.batch("a", 0, 7, 90, Power);
    stage.batch("a", 0, 2, 900, Process);
    stage.batch("a", 0, 20, 20, Process);
    stage.batch("a", 0, 1, 0, Power);
}

fn roll(stage: &mut Stage) {
    stage.create("a", 1, small());
    stage.send("a", 0, 5, Process);
    stage.send("a", 0, 1, Power);
    stage.send("a", 0, 6, Process);
    stage.flush();
    stage.send("a", 0, 5, Process);
}

fn sparse_index(stage: &mut Stage) {
    stage.create("a", 1, small().index_interval_bytes(0).segment_bytes(2048));
    stage.send("a", 0, 12, Process);
    stage.wait(31 * SECOND);
    stage.send("a", 0, 8, Process);
    stage.close();
}

/// Sidecars of segments that were rolled, and of the one in use.
fn digests(stage: &mut Stage) {
    stage.create("a", 1, small().index_interval_bytes(0).segment_bytes(1500));
    stage.send("a", 0, 2, Process);
    stage.wait(31 * SECOND);
    stage.send("a", 0, 3, Power);
    stage.wait(31 * SECOND);
    stage.batch("a", 0, 4, 200, Process);
    stage.flush();
    stage.send("a", 0, 5, Process);
    stage.reopen();
    stage.send("a", 0, 2, Process);
    stage.flush();
}

fn background_sync(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.create("b", 1, small());
    stage.send("a", 0, 4, Process);
    stage.send("a", 1, 1, Process);
    stage.send("b", 0, 6, Process);
    stage.wait(31 * SECOND);
    stage.send("b", 0, 2, Process);
    stage.wait(31 * SECOND);
}

fn delete_records(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.send("a", 0, 12, Process);
    stage.send("a", 1, 2, Power);
    stage.delete_records("a", 0, 6);
    stage.send("a", 0, 4, Process);
    stage.wait(61 * SECOND);
    stage.send("a", 0, 1, Power);
    stage.delete_records("a", 0, 17);
    stage.send("a", 0, 2, Process);
}

fn retention_size(stage: &mut Stage) {
    stage.create("a", 1, small().retention_bytes(2000));
    stage.send("a", 0, 14, Process);
    stage.retain();
    stage.send("a", 0, 3, Power);
    stage.wait(61 * SECOND);
    stage.retain();
    stage.send("a", 0, 1, Process);
}

fn retention_time(stage: &mut Stage) {
    stage.create("a", 1, small().retention(60 * SECOND));
    stage.send("a", 0, 9, Process);
    stage.wait(40 * SECOND);
    stage.send("a", 0, 6, Process);
    stage.clock.advance(30 * SECOND);
    stage.retain();
    stage.wait(61 * SECOND);
    stage.retain();
    stage.send("a", 0, 2, Power);
}

fn create(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.create("b", 1, small());
    stage.send("b", 0, 1, Power);
    stage.create("c", 3, small());
    stage.send("c", 2, 1, Process);
}

fn recreate(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.create("b", 1, small());
    stage.send("a", 0, 6, Power);
    stage.send("a", 1, 2, Process);
    stage.delete("a");
    stage.send("b", 0, 2, Process);
    stage.create("a", 1, small());
    stage.send("a", 0, 3, Power);
    stage.delete("a");
    stage.create("a", 2, small());
    stage.send("a", 1, 2, Process);
}

fn add_partitions(stage: &mut Stage) {
    stage.create("a", 1, small());
    stage.send("a", 0, 1, Process);
    stage.grow("a", 3);
    stage.send("a", 2, 2, Power);
    stage.grow("a", 4);
    stage.send("a", 3, 1, Process);
}

fn alter(stage: &mut Stage) {
    stage.create("a", 1, small());
    stage.send("a", 0, 7, Process);
    stage.alter("a", small().retention_bytes(1500));
    stage.retain();
    stage.send("a", 0, 3, Power);
    stage.wait(61 * SECOND);
    stage.alter("a", small());
    stage.send("a", 0, 1, Process);
}

fn close_and_open(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.send("a", 0, 6, Process);
    stage.send("a", 1, 1, Process);
    stage.begin();
    stage.reopen();
    stage.send("a", 0, 3, Process);
    stage.reopen();
    stage.send("a", 1, 1, Power);
}

fn large_appends(stage: &mut Stage) {
    stage.create("a", 1, small().segment_bytes(40_000));
    stage.batch("a", 0, 1, 9_000, Process);
    stage.batch("a", 0, 2, 9_000, Power);
    stage.batch("a", 0, 1, 20_000, Process);
}

fn small_and_large(stage: &mut Stage) {
    stage.create("a", 1, small().segment_bytes(20_000));
    stage.send("a", 0, 2, Process);
    stage.batch("a", 0, 1, 9_000, Process);
    stage.send("a", 0, 2, Process);
    stage.batch("a", 0, 1, 8_000, Power);
    stage.send("a", 0, 2, Process);
    stage.batch("a", 0, 1, 10_000, Process);
}

fn commits(stage: &mut Stage) {
    stage.create("a", 2, small());
    stage.send("a", 0, 5, Process);
    stage.send("a", 1, 3, Process);
    stage.commit("g", "a", 0, 1, Process);
    stage.begin();
    stage.commit("g", "a", 0, 3, Power);
    stage.commit("g", "a", 1, 2, Process);
    stage.commit("h", "a", 0, 5, Process);
    stage.commit("h", "a", 0, 5, Power);
}

fn group_deletion(stage: &mut Stage) {
    stage.create("a", 1, small());
    stage.send("a", 0, 3, Process);
    stage.commit("g", "a", 0, 1, Power);
    stage.commit("h", "a", 0, 2, Power);
    stage.begin();
    stage.forget("g");
    stage.commit("g", "a", 0, 3, Process);
    stage.forget("h");
}

fn first_open(stage: &mut Stage) {
    stage.open();
    stage.create("a", 1, small());
    stage.close();
    stage.open();
}

/// By position into a mapped file.
fn huge_appends(stage: &mut Stage) {
    stage.create("a", 1, small().segment_bytes(300_000));
    stage.send("a", 0, 1, Process);
    stage.batch("a", 0, 1, 66_000, Process);
    stage.send("a", 0, 1, Power);
}

/// A state log with room for few more records.
fn long_state_log(stage: &mut Stage) {
    stage.open();
    stage.create("a", 1, small());
    stage.send("a", 0, 2, Process);
    while stage.disk_bytes("/store/tidelog.state") < (1 << 20) - 1000 {
        stage.alter("a", held_for(stage.disk.operations()));
    }
}

/// The state log is begun anew.
fn state_log(stage: &mut Stage) {
    (0..4).for_each(|number| stage.alter("a", held_for(number)));
    stage.send("a", 0, 1, Power);
    stage.create("b", 1, small());
}

/// A long record in the state log.
fn held_for(number: u64) -> TopicConfig {
    small().retain_for(format!("{number:0>200}"), tidelog::HoldCap::bytes(1 << 20))
}

fn two_topics(stage: &mut Stage) {
    stage.create("a", 1, small());
    stage.create("b", 2, small());
    for partition in [0, 1, 0, 1] {
        stage.send("a", 0, 2, Process);
        stage.send("b", partition, 2, Process);
    }
    stage.flush();
    stage.delete("a");
    stage.send("b", 1, 3, Process);
    stage.grow("b", 3);
    stage.send("b", 2, 1, Power);
}

fn rolls_and_trims(stage: &mut Stage) {
    stage.create("a", 1, small());
    for round in 0..3 {
        stage.send("a", 0, 5, Process);
        stage.delete_records("a", 0, round * 5 + 3);
        stage.wait(31 * SECOND);
    }
    stage.send("a", 0, 1, Power);
}

fn interleaved(stage: &mut Stage) {
    stage.create("a", 3, small());
    for word in [Process, Power, Process] {
        for partition in 0..3 {
            stage.send("a", partition, 3, word);
            stage.batch("a", partition, 2, 300, Process);
        }
    }
}

fn trim_and_open(stage: &mut Stage) {
    stage.create("a", 1, small().retention_bytes(2500));
    stage.send("a", 0, 10, Process);
    stage.delete_records("a", 0, 4);
    stage.reopen();
    stage.send("a", 0, 8, Process);
    stage.retain();
    stage.reopen();
    stage.send("a", 0, 1, Process);
}
