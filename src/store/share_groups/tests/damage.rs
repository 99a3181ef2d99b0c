//! What cannot be read: the group goes on behind it, says so once, and counts it.

use std::path::Path;

use super::*;
#[cfg(feature = "gzip")]
use crate::config::Compression;
use crate::disk::Access;
use crate::error::Error;

/// A topic of a hundred batches, of which one is damaged while the store is closed.
fn damaged(world: &World, at: u64) -> Store {
    let store = world.open();
    let config = TopicConfig::new().index_interval_bytes(1_000);
    store.ensure_topic("jobs", config).unwrap();
    let value = "v".repeat(100);
    let values: Vec<String> = (0..100).map(|number| format!("{number:03}{value}")).collect();
    send(&store, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let batch = store.stats().topics.iter().find(|it| it.name == "jobs").unwrap().bytes / 100;
    store.close().unwrap();
    let path = Path::new("/store/jobs-0/00000000000000000000.log");
    let file = world.disk.open(path, Access::Write).unwrap();
    let (mut byte, position) = ([0], batch * at + 80);
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[byte[0] ^ 0xff], position).unwrap();
    drop(file);
    world.open()
}

/// What a consumer is given until it has nothing more, and what it is told beside that.
fn drain(consumer: &mut ShareConsumer) -> (Vec<i64>, Vec<Error>) {
    let (mut given, mut errors) = (Vec::new(), Vec::new());
    loop {
        match consumer.try_poll() {
            Ok(leased) if leased.is_empty() => return (given, errors),
            Ok(leased) => {
                given.extend(leased.iter().map(|record| record.offset().get()));
                consumer.ack_all(&leased).unwrap();
            }
            Err(error) => errors.push(error),
        }
    }
}

#[test]
fn a_damaged_record_stops_nobody() {
    for ordered in [false, true] {
        let world = World::new();
        let store = damaged(&world, 20);
        let builder = builder(&store).max_records(7);
        let builder = if ordered { builder.ordered_by_key() } else { builder };
        let mut consumer = builder.build().unwrap();
        let (given, errors) = drain(&mut consumer);
        let lost: Vec<i64> = (0..100).filter(|at| !given.contains(at)).collect();
        assert!(lost.contains(&20) && lost.len() < 20, "{lost:?}");
        assert_eq!(errors.len(), 1, "it is said once");
        assert!(errors[0].is_corrupt() && errors[0].path().is_some());
        let partition = store.describe_share_group("g").unwrap().partitions[0].clone();
        assert_eq!((partition.damaged, partition.open), (lost.len() as u64, 0));
        drop(consumer);
        store.close().unwrap();
        let store = world.open();
        assert_eq!(drain(&mut builder_of(&store)).1.len(), 0, "nor after a restart");
    }
}

fn builder_of(store: &Store) -> ShareConsumer {
    builder(store).build().unwrap()
}

#[test]
fn a_record_that_is_damaged_after_it_was_given_back_stops_nobody() {
    let world = World::new();
    let store = damaged(&world, 20);
    store.close().unwrap();
    // the first life reads it whole
    let path = Path::new("/store/jobs-0/00000000000000000000.log");
    let file = world.disk.open(path, Access::Write).unwrap();
    let batch = file.len().unwrap() / 100;
    let flip = || {
        let (mut byte, position) = ([0], batch * 20 + 80);
        file.read_at(&mut byte, position).unwrap();
        file.write_at(&[byte[0] ^ 0xff], position).unwrap();
    };
    flip();
    let store = world.open();
    let mut consumer = builder_of(&store);
    let leased = poll(&mut consumer);
    assert_eq!(leased.len(), 100);
    for record in &leased {
        match record.offset().get() {
            20 | 50 => consumer.release(record).unwrap(),
            _ => consumer.ack(record).unwrap(),
        }
    }
    drop(consumer);
    store.close().unwrap();
    flip();
    let store = world.open();
    let (given, errors) = drain(&mut builder_of(&store));
    assert_eq!((given, errors.len()), (vec![50], 1));
    assert_eq!(store.describe_share_group("g").unwrap().partitions[0].damaged, 1);
}

#[test]
fn a_filter_is_not_asked_of_what_is_damaged() {
    let world = World::new();
    let store = damaged(&world, 20);
    let filter = crate::record::RecordFilter::by(|record| record.offset().get() % 2 == 1);
    let mut consumer = builder(&store).filter(filter).max_records(7).build().unwrap();
    let (given, errors) = drain(&mut consumer);
    assert!(given.iter().all(|at| at % 2 == 1) && given.len() > 40, "{given:?}");
    assert_eq!(errors.len(), 1);
    assert!(given.contains(&99));
}

/// Neither does one that is to become a dead letter keep what is behind it for ever.
#[test]
fn a_dead_letter_that_cannot_be_read_keeps_nobody() {
    let world = World::new();
    let store = damaged(&world, 20);
    store.close().unwrap();
    let flip = || {
        let path = Path::new("/store/jobs-0/00000000000000000000.log");
        let file = world.disk.open(path, Access::Write).unwrap();
        let (mut byte, position) = ([0], file.len().unwrap() / 100 * 20 + 80);
        file.read_at(&mut byte, position).unwrap();
        file.write_at(&[byte[0] ^ 0xff], position).unwrap();
    };
    flip();
    let store = world.open();
    let mut consumer = builder_of(&store);
    let leased = poll(&mut consumer);
    for record in &leased {
        match record.offset().get() {
            20 => consumer.reject(record).unwrap(),
            _ => consumer.ack(record).unwrap(),
        }
    }
    drop(consumer);
    store.close().unwrap();
    flip();
    let store = world.open();
    let _consumer = builder_of(&store);
    for _ in 0..4 {
        store.run_due();
        store.run_maintenance();
    }
    let partition = store.describe_share_group("g").unwrap().partitions[0].clone();
    assert_eq!((partition.owed, partition.damaged, partition.open), (0, 1, 0));
}

#[cfg(feature = "gzip")]
#[test]
fn what_exceeds_a_limit_does_not_keep_what_lies_before_it() {
    for ordered in [false, true] {
        let (_, store) = store();
        send(&store, &["1", "2"]);
        let packed = store.producer().compression(Compression::Gzip).build().unwrap();
        packed.topic("jobs").unwrap().send(Record::new(&"x".repeat(100_000))).unwrap();
        let builder = builder(&store).max_decompressed_bytes(1_000);
        let builder = if ordered { builder.ordered_by_key() } else { builder };
        let mut consumer = builder.build().unwrap();
        assert_eq!(values(&poll(&mut consumer)), ["1", "2"]);
        assert!(consumer.try_poll().is_err(), "until the limit is raised");
    }
}
