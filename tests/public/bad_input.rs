//! What a store is asked that makes no sense, and what it finds that is not what it wrote: a typed
//! error or a report, with its place, and the store serves what it held.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::scratch::scratch;
use tidelog::{ErrorKind, Offset, Outcome, Record, Result, Store, TopicConfig};

const RECORDS: usize = 40;

fn value(number: usize) -> String {
    format!("{number}-{}", "x".repeat(100))
}

fn filled(dir: &Path) -> Store {
    let store = Store::open(dir).unwrap();
    let config = TopicConfig::new().partitions(2).segment_bytes(2048).max_batch_bytes(900);
    store.ensure_topic("orders", config).unwrap();
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    for number in 0..RECORDS {
        for partition in [0, 1] {
            orders.send_to(partition, Record::new(&value(number))).unwrap();
        }
    }
    store
}

/// The values of a partition until its end or an error.
fn values(store: &Store, partition: u32) -> (Vec<String>, Result<()>) {
    let mut values = Vec::new();
    let mut read = || {
        let mut consumer = store.reader().assign([("orders", partition)]).build()?;
        loop {
            let records = consumer.try_poll()?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                let value = record.value().unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
    };
    let ended = read();
    (values, ended)
}

fn assert_whole(store: &Store, partition: u32, context: &str) {
    let (values, ended) = values(store, partition);
    ended.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(values.into_iter().eq((0..RECORDS).map(value)), "{context}: partition {partition}");
}

#[test]
fn calls_that_make_no_sense_are_typed_and_change_nothing() {
    let dir = scratch();
    let store = filled(dir.path());
    let producer = store.producer().build().unwrap();
    let orders = producer.topic("orders").unwrap();
    let config = TopicConfig::new;
    let (large, huge) = ("y".repeat(2_000), "z".repeat(1 << 20));
    let at = |offset| Offset::new(offset);
    let kinds = [
        (store.describe("nope").err(), ErrorKind::NotFound),
        (store.delete_topic("nope").err(), ErrorKind::NotFound),
        (store.alter_topic("nope", config()).err(), ErrorKind::NotFound),
        (store.add_partitions("nope", 2).err(), ErrorKind::NotFound),
        (store.delete_records_before("nope", 0, at(0)).err(), ErrorKind::NotFound),
        (store.delete_records_before("orders", 9, at(0)).err(), ErrorKind::NotFound),
        (producer.topic("nope").err(), ErrorKind::NotFound),
        (orders.send_to(9, Record::new("x")).err(), ErrorKind::NotFound),
        (store.reader().assign([("nope", 0)]).build().err(), ErrorKind::NotFound),
        (store.reader().assign([("orders", 9)]).build().err(), ErrorKind::NotFound),
        (store.create_topic("orders", config()).err(), ErrorKind::AlreadyExists),
        (store.create_topic("no/slash", config()).err(), ErrorKind::InvalidName),
        (store.create_topic("..", config()).err(), ErrorKind::InvalidName),
        (store.create_topic(&"n".repeat(250), config()).err(), ErrorKind::InvalidName),
        (store.create_topic("a", config().segment_bytes(7)).err(), ErrorKind::InvalidConfig),
        (store.create_topic("a", config().partitions(0)).err(), ErrorKind::InvalidConfig),
        (store.add_partitions("orders", 1).err(), ErrorKind::InvalidArgument),
        (orders.send(Record::new(&large)).err(), ErrorKind::TooLarge),
        (orders.send(Record::new(&huge)).err(), ErrorKind::TooLarge),
        (orders.send_batch(&[Record::new("x"), Record::new(&large)]).err(), ErrorKind::TooLarge),
        (store.delete_records_before("orders", 0, at(99)).err(), ErrorKind::OffsetOutOfRange),
    ];
    for (at, (error, kind)) in kinds.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("call {at} was not refused: {kind:?}"));
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::NotWritten), "{at}: {error}");
    }
    for partition in [0, 1] {
        assert_whole(&store, partition, "after refusals");
    }
    let end = store.describe("orders").unwrap().partitions()[0].end_offset();
    assert_eq!(end, at(RECORDS as i64), "no offset was used");
    store.close().unwrap();
    let closed = [
        store.describe("orders").err(),
        orders.send(Record::new("late")).err(),
        store.flush().err(),
        store.reader().assign([("orders", 0)]).build().err(),
    ];
    assert!(closed.into_iter().all(|error| error.is_some_and(|error| error.is_closed())));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).unwrap()),
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Ways in which a file is not what was written.
fn damages(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut damages = vec![
        ("emptied".to_owned(), Vec::new()),
        ("halved".to_owned(), whole[..whole.len() / 2].to_vec()),
        ("of zeros".to_owned(), vec![0; whole.len()]),
        ("longer".to_owned(), [whole, b"\x07garbage"].concat()),
    ];
    for at in [5, 16, 30, whole.len().saturating_sub(1)] {
        if at < whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x10;
            damages.push((format!("flipped at {at}"), bytes));
        }
    }
    damages
}

/// Whatever one file was made of, the open or a read says so, and nothing wrong is ever read.
fn check_damaged(root: &Path, file: &Path, context: &str) -> bool {
    let store = match Store::open(root) {
        Ok(store) => store,
        Err(error) => {
            let kinds = [ErrorKind::Corrupt, ErrorKind::NewerVersion, ErrorKind::NotAStore];
            assert!(kinds.contains(&error.kind()), "{context}: {error}");
            assert!(error.path().is_some_and(|path| path.starts_with(root)), "{context}: {error}");
            return true;
        }
    };
    let mut noticed = false;
    for partition in [0, 1] {
        let own = file.starts_with(root.join(format!("orders-{partition}")));
        if !own {
            assert_whole(&store, partition, context);
            continue;
        }
        let (values, ended) = values(&store, partition);
        let mut expected = (0..RECORDS).map(value);
        assert!(values.iter().all(|value| expected.any(|known| known == *value)), "{context}");
        if let Err(error) = ended {
            let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::OffsetOutOfRange];
            assert!(kinds.contains(&error.kind()), "{context}: {error}");
            noticed = true;
        }
    }
    let _ = store.close(); // a partition that is damaged may say so once more
    noticed
}

#[test]
fn a_damaged_file_of_any_kind_is_typed_and_hurts_nobody_else() {
    let dir = scratch();
    let whole = dir.path().join("whole");
    filled(&whole).close().unwrap();
    let mut noticed = 0;
    let sound = whole.join("orders-1"); // whose like are damaged in the other one
    let files = files(&whole).into_iter().filter(|file| !file.starts_with(&sound));
    // each name stands in several segments: a plain run damages every third file
    let every = if std::env::var_os("TIDELOG_BUDGET").is_some() { 1 } else { 3 };
    for (number, file) in files.enumerate().step_by(every) {
        let name = file.strip_prefix(&whole).unwrap().to_owned();
        let bytes = fs::read(&file).unwrap();
        for (what, damaged) in damages(&bytes) {
            let root = dir.path().join(format!("{number}"));
            copy(&whole, &root);
            fs::write(root.join(&name), damaged).unwrap();
            let context = format!("{} {what}", name.display());
            noticed += u32::from(check_damaged(&root, &root.join(&name), &context));
            fs::remove_dir_all(&root).unwrap();
        }
    }
    assert!(noticed > 0, "the control: damage is felt");
}

#[test]
fn unknown_files_are_left_alone() {
    let dir = scratch();
    filled(dir.path()).close().unwrap();
    let unknown = ["notes.txt", "holiday/sun.jpg", "orders-0/notes.txt", "orders-0/0.log.bak"];
    for name in unknown {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"not ours").unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    for partition in [0, 1] {
        assert_whole(&store, partition, "with unknown files");
    }
    store.apply_retention().unwrap();
    store.close().unwrap();
    for name in unknown {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"not ours", "{name}");
    }
}

/// Panics whenever it is asked.
#[derive(Debug)]
struct Panics;

impl tidelog::Partitioner for Panics {
    fn partition(&self, _: &str, _: Option<&[u8]>, _: NonZeroU32) -> tidelog::PartitionId {
        panic!("as planned")
    }
}

#[test]
fn a_panic_in_the_hosts_code_costs_its_call() {
    let dir = scratch();
    let store = filled(dir.path());
    let producer = store.producer().partitioner(Panics).linger(Duration::ZERO).build().unwrap();
    let orders = producer.topic("orders").unwrap();
    let error = orders.send(Record::new("x")).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Panicked, Outcome::NotWritten));
    for partition in [0, 1] {
        assert_whole(&store, partition, "after a panic");
    }
    orders.send_to(0, Record::new("goes on")).unwrap();
    store.close().unwrap();
}
