//! What fuzzers call: one target for each decoder, and the inputs to begin with.
//!
//! Built with `--cfg fuzzing` only, and no part of the library's interface: anything here may
//! change at any time. A target takes arbitrary bytes and panics where a promise does not hold;
//! most lie beside the code they try, as tests do. Those that go through the public doors are with
//! the runner in `tests/fuzz`.
//!
//! Invariant: a name is never used again for another input format, for corpora are kept by name.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::config::{CleanupPolicy, TimestampType, TopicConfig, WhenFull};
use crate::disk::names;
use crate::ids::{Offset, TopicId};

/// One target.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Tries one input; a panic is a finding.
    pub run: fn(&[u8]),
    /// Small inputs that get far.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! target {
    ($name:literal, $room:path, $run:ident, $seeds:ident) => {{
        use $room as room;
        Target { name: $name, run: room::$run, seeds: room::$seeds }
    }};
}

/// Every target of a decoder.
#[doc(hidden)]
pub const TARGETS: &[Target] = &[
    target!("batch", crate::record::fuzz, batch, batch_seeds),
    target!("codec", crate::record::fuzz, codec, codec_seeds),
    target!("encode", crate::record::fuzz, encode, encode_seeds),
    target!("offset-index", crate::segment::fuzz, offset_index, offset_index_seeds),
    target!("time-index", crate::segment::fuzz, time_index, time_index_seeds),
    target!("digests", crate::segment::fuzz, digests, digests_seeds),
    target!("scan", crate::segment::fuzz, scan, scan_seeds),
    target!("epochs", crate::log::fuzz, epochs, epoch_seeds),
    target!("checkpoints", crate::log::fuzz, checkpoints, checkpoint_seeds),
    target!("keeper", crate::log::fuzz, keeper, keeper_seeds),
    target!("aborted", crate::log::fuzz, aborted, aborted_seeds),
    target!("snapshot", crate::log::producers::fuzz, snapshot, snapshot_seeds),
    target!("journal", crate::journal::fuzz, journal, journal_seeds),
    target!("state-log", crate::engine::root::fuzz, state_log, state_log_seeds),
    target!("followed", crate::engine::root::fuzz, followed, followed_seeds),
    target!("groups", crate::group::schema::fuzz, schema, seeds),
    target!("transactions", crate::txn::fuzz, schema, seeds),
    target!("prepared", crate::prepared::fuzz, schema, seeds),
    target!("shares", crate::share::fuzz, schema, seeds),
    target!("dead-letters", crate::dead_letters::fuzz, schema, seeds),
    target!("schedule", crate::schedule::fuzz, schema, seeds),
    target!("replicated", crate::log::fuzz, replicated, replicated_seeds),
    target!("txnindex", crate::inspect::fuzz, transaction_index, transaction_index_seeds),
    Target { name: "words", run: words, seeds: word_seeds },
];

/// A word reads the same when it is written again.
fn word<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        let again = read.to_string();
        assert_eq!(again.parse::<T>().ok(), Some(read), "{text} is written as {again}");
    }
}

/// Settings, their words, ids and the names of files: a kind, then a text, its parts divided by
/// line ends.
fn words(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match kind & 3 {
        0 => settings(text),
        1 => {
            word::<TimestampType>(text);
            word::<CleanupPolicy>(text);
            word::<WhenFull>(text);
            word::<TopicId>(text);
        }
        2 => file_names(text),
        _ => directory_names(text),
    }
}

fn settings(text: &str) {
    let pairs: Vec<_> = text.split('\n').filter_map(|line| line.split_once(' ')).collect();
    let mut config = TopicConfig::new();
    for (key, value) in &pairs {
        if let Ok(set) = config.clone().set(key, value) {
            let written = set.get(key).expect("it was set");
            let again = config.set(key, &written).expect("it was written");
            assert_eq!(again.entries(), set.entries(), "{key} of {value:?} is {written:?}");
            config = set;
        }
    }
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let _ = TopicConfig::from_entries(1, &pairs.iter().map(own).collect::<Vec<_>>());
    let kept = TopicConfig::from_entries(1, &config.changed_entries());
    let kept = kept.expect("what the catalog keeps is read again");
    assert_eq!(kept.entries(), config.entries());
}

fn file_names(name: &str) {
    if let Some((base, kind, leftover)) = names::parse_segment_file(name) {
        assert_eq!(names::leftover_file(base, kind, leftover), name);
        assert!(base >= Offset::ZERO);
    }
    if let Some(base) = names::parse_sidecar(name) {
        assert!(base >= Offset::ZERO && name.len() > 20);
    }
    if let Some(log) = names::parse_journal_aside(name) {
        assert_eq!(names::journal_aside(log), name);
    }
}

fn directory_names(name: &str) {
    if let Some(names::PartitionDir::Live { topic, partition }) = names::parse_partition_dir(name) {
        assert_eq!(names::partition_dir(&topic, partition), name);
        names::validate_topic_name(&topic).expect("it is a topic's");
        let id = TopicId::from_bytes([7; 16]).expect("not zero");
        let deleting = names::deleting_dir(&topic, partition, id);
        assert_eq!(names::parse_partition_dir(&deleting), Some(names::PartitionDir::Deleting));
        assert!(deleting.len() <= 255);
    }
    if names::validate_topic_name(name).is_ok() {
        let dir = names::partition_dir(name, 7u32.into());
        let live = names::PartitionDir::Live { topic: name.to_owned(), partition: 7u32.into() };
        assert_eq!(names::parse_partition_dir(&dir), Some(live));
    }
}

fn word_seeds() -> Vec<Vec<u8>> {
    let settings = TopicConfig::new().entries();
    let lines: Vec<_> = settings.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let with = |kind: u8, text: &str| [&[kind][..], text.as_bytes()].concat();
    let mut seeds = vec![
        with(0, &lines.join("\n")),
        with(0, "tidelog.retain.for a=bytes:5,ms:7;b%20c=ms:1\ntidelog.max.bytes 4096"),
        with(1, "block:17"),
        with(1, "LogAppendTime"),
        with(1, "BwcHBwcHBwcHBwcHBwcHBw"),
        with(2, "00000000000000000042.timeindex.deleted"),
        with(2, "00000000000000000042.digest"),
        with(2, "tidelog.journal-07070707070707070707070707070707-3"),
        with(3, "orders-0"),
        with(3, "orders-0.07070707070707070707070707070707-delete"),
    ];
    seeds.extend(lines.iter().map(|line| with(0, line)));
    seeds
}

/// Fails behind four bytes that no chance finds: a run that does not is blind, and void.
#[doc(hidden)]
pub fn planted(input: &[u8]) {
    const WANTED: u32 = 0x7464_6c21;
    if let Some(word) = input.first_chunk::<4>() {
        assert_ne!(u32::from_be_bytes(*word), WANTED, "the planted bug");
    }
}
