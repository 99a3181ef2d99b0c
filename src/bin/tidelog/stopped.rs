//! `tidelog groups stopped`, `release` and `skip`: the records that a share group stops at, and
//! what becomes of them.
//!
//! The store is opened as its owner would. A group that has a dead-letter topic does not stop: what
//! is shown of it is on its way there once a consumer comes. Called by `groups`.

use std::path::{Path, PathBuf};

use tidelog::{Dump, Offset, Store};

use super::failure::Failure;
use super::json::{Object, print};
use super::table::{Side, Table};

#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The store's root
    path: PathBuf,
    /// The group
    group: String,
    /// The record's topic
    topic: String,
    /// Its partition
    partition: u32,
    /// Its offset
    offset: u64,
}

pub(super) fn run_stopped(path: &Path, group: &str, json: bool) -> Result<(), Failure> {
    Dump::open(path)?;
    let store = Store::open(path)?;
    let stopped = store.stopped_records(group)?;
    store.close()?;
    let columns = [
        ("TOPIC", Side::Left),
        ("PARTITION", Side::Right),
        ("OFFSET", Side::Right),
        ("ATTEMPTS", Side::Right),
        ("ERROR", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for record in stopped {
        if json {
            let line = Object::new()
                .field("group", group)
                .field("topic", record.topic)
                .field("partition", record.partition.get())
                .field("offset", record.offset.get())
                .field("attempts", record.attempts)
                .maybe("error", record.error);
            print(line.line().as_bytes())?;
            continue;
        }
        let numbers =
            [record.partition.to_string(), record.offset.to_string(), record.attempts.to_string()];
        let error = record.error.unwrap_or_default();
        table.row([record.topic].into_iter().chain(numbers).chain([error]));
    }
    if json { Ok(()) } else { table.print() }
}

/// Hands it out again, or gives it up.
pub(super) fn run_verdict(place: &Place, is_skipped: bool) -> Result<(), Failure> {
    let Place { path, group, topic, partition, offset } = place;
    Dump::open(path)?;
    let store = Store::open(path)?;
    let at = Offset::new(i64::try_from(*offset).unwrap_or(i64::MAX));
    let verb = match is_skipped {
        true => store.skip_stopped(group, topic, *partition, at).map(|()| "given up"),
        false => store.release_stopped(group, topic, *partition, at).map(|()| "released"),
    }?;
    store.close()?;
    print(format!("{topic}-{partition} offset {offset} {verb}\n").as_bytes())
}
