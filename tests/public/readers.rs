//! Readers in processes of their own, on directories that are not as a writer would have them:
//! mounted read-only, without the right to write, without a store, with half a batch at the end.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::common::child::{self, Wrapper};
use tidelog::{
    ErrorKind, Offset, OffsetCommit, ReadOnlyStore, Record, Result, Store, Timestamp, TopicConfig,
};

const LOG: &str = "orders-0/00000000000000000000.log";

fn write(store: &Store, numbers: std::ops::Range<u32>) {
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    numbers.for_each(|number| drop(orders.send(Record::new(&number.to_string())).unwrap()));
}

fn begin(dir: &Path) -> Store {
    let store = Store::open(dir).unwrap();
    store.ensure_topic("orders", TopicConfig::new().segment_bytes(4_000)).unwrap();
    write(&store, 0..100);
    let mut consumer = store.consumer("billing").assign([("orders", 0)]).build().unwrap();
    consumer.commit_offsets(&[OffsetCommit::new("orders", 0, Offset::new(70))]).unwrap();
    store
}

/// All that can be read from the start on.
fn values(reading: &ReadOnlyStore) -> Result<Vec<String>> {
    let mut reader = reading.reader().subscribe(["orders"]).build()?;
    let mut values = Vec::new();
    for records in reader.read_to_end()? {
        for record in &records? {
            values.push(String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned());
        }
    }
    Ok(values)
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Every file below a directory, with its length and when it was changed.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(std::result::Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        found.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found
}

/// Everything a reader can ask, where it may write nothing.
fn ask_everything(dir: &Path) {
    assert!(fs::write(dir.join("probe"), "").is_err(), "the control: nothing can be written");
    let reading = Store::open_read_only(dir).unwrap();
    assert_eq!(values(&reading).unwrap(), numbers(0..100));
    assert_eq!(reading.committed("billing").unwrap()[0].2.offset(), Offset::new(70));
    assert_eq!(reading.group_names().unwrap(), ["billing"]);
    assert_eq!(reading.describe("orders").unwrap().partitions()[0].end_offset().get(), 100);
    let first = reading.offset_at("orders", 0, Timestamp::from_millis(0)).unwrap();
    assert_eq!(first, Some(Offset::ZERO));
    let mut consumer = reading.consumer("billing").assign([("orders", 0)]).build().unwrap();
    let records = consumer.poll(Duration::from_secs(1)).unwrap();
    assert_eq!(records.iter().next().map(|record| record.offset().get()), Some(70));
    assert_eq!(consumer.commit().unwrap_err().kind(), ErrorKind::ReadOnly);
    reading.close().unwrap();
}

#[test]
fn a_read_only_file_system_serves_readers_closed_or_killed() {
    const TEST: &str = "readers::a_read_only_file_system_serves_readers_closed_or_killed";
    if let Some((_, dir)) = child::part() {
        ask_everything(&dir);
        return child::done();
    }
    for part in ["closed", "killed", "at work"] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let store = match part {
            "killed" => {
                die(&root, "begin");
                None
            }
            _ => Some(begin(&root)),
        };
        if part == "closed" {
            store.as_ref().unwrap().close().unwrap();
        }
        let before = (part != "at work").then(|| listing(dir.path()));
        let script = "mount --bind \"$D\" \"$D\" && mount -o remount,bind,ro \"$D\"";
        child::run(TEST, part, &root, &Wrapper::mounts(script, &root));
        if let Some(before) = before {
            assert_eq!(listing(dir.path()), before, "{part}: a reader changed something");
        }
    }
}

#[test]
fn a_directory_without_the_right_to_write_serves_readers() {
    use std::os::unix::fs::PermissionsExt as _;
    const TEST: &str = "readers::a_directory_without_the_right_to_write_serves_readers";
    if let Some((_, dir)) = child::part() {
        ask_everything(&dir);
        return child::done();
    }
    let dir = tempfile::tempdir().unwrap();
    begin(dir.path()).close().unwrap();
    let allow = |mode: u32, path: &Path, is_dir: bool| {
        let mode = if is_dir { mode | 0o111 } else { mode };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let all = |mode: u32| {
        for path in listing(dir.path()).into_keys() {
            allow(mode, &path, path.is_dir());
        }
        allow(mode, dir.path(), true);
    };
    all(0o444);
    child::run(TEST, "ask", dir.path(), &Wrapper::without_rights());
    all(0o644);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.open_report().was_closed_cleanly());
}

#[test]
fn a_directory_without_a_store_is_said_to_have_none_and_stays_as_it_is() {
    const TEST: &str =
        "readers::a_directory_without_a_store_is_said_to_have_none_and_stays_as_it_is";
    if let Some((_, dir)) = child::part() {
        for name in ["missing", "empty", "a file", "others", "deep/er"] {
            let error = Store::open_read_only(dir.join(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotAStore, "{name}: {error}");
            assert!(error.path().is_some_and(|path| path.starts_with(&dir)), "{name}: {error}");
        }
        let kafka = Store::open_read_only(dir.join("kafka")).unwrap(); // one of Kafka's is read
        assert_eq!(kafka.describe("orders").unwrap().partitions().len(), 1);
        return child::done();
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["empty", "others", "kafka", "kafka/orders-0"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("a file"), "no store").unwrap();
    fs::write(dir.path().join("others/letter.txt"), "dear reader").unwrap();
    fs::write(dir.path().join("kafka/meta.properties"), "version=1\n").unwrap();
    fs::write(dir.path().join("kafka").join(LOG), "").unwrap();
    let before = listing(dir.path());
    child::run(TEST, "ask", dir.path(), &Wrapper::none());
    assert_eq!(listing(dir.path()), before);
}

const DIE: &str = "TIDELOG_READERS_DIE";

/// Has a writer in another process do something and die of it, without any farewell.
fn die(root: &Path, what: &str) {
    use std::os::unix::process::ExitStatusExt as _;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "readers::dies", "--nocapture"]).env(DIE, what);
    let ended = command.env("TIDELOG_READERS_ROOT", root).output().unwrap().status;
    assert_eq!(ended.signal(), Some(9), "{what}: {ended}");
}

/// The dying writer's part; the tests have none here.
#[test]
fn dies() {
    let Some(what) = std::env::var_os(DIE) else { return };
    let root = PathBuf::from(std::env::var_os("TIDELOG_READERS_ROOT").unwrap());
    let _store = match what.to_str() {
        Some("begin") => begin(&root),
        _ => {
            let store = Store::open(&root).unwrap();
            write(&store, 100..150);
            store
        }
    };
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
}

/// A batch of which any part has arrived, when the writer dies: a reader that is open, and one
/// that comes, get all before it, and what the next writer puts in its place.
#[test]
fn a_writer_that_dies_in_the_middle_of_a_batch_leaves_readers_with_whole_ones() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    {
        let store = Store::open(&root).unwrap();
        store.ensure_topic("orders", TopicConfig::new()).unwrap();
        write(&store, 0..100);
        store.flush().unwrap();
        store.close().unwrap();
    }
    let closed = fs::read(root.join(LOG)).unwrap();
    die(&root, "append");
    let died = fs::read(root.join(LOG)).unwrap();
    let size =
        |at: usize| 12 + u32::from_be_bytes(died[at + 8..at + 12].try_into().unwrap()) as usize;
    let reading = Store::open_read_only(&root).unwrap();
    let mut open = reading.reader().assign([("orders", 0)]).build().unwrap();
    let mut given = Vec::new();
    let mut take = |open: &mut tidelog::Consumer| {
        loop {
            let records = open.poll(Duration::from_millis(15)).unwrap();
            if records.is_empty() {
                break given.len();
            }
            given.extend(records.iter().map(|record| {
                String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned()
            }));
        }
    };
    // what lies there as the last bytes arrive, for a batch in the middle of those that came
    let mut at = closed.len();
    for _ in 0..20 {
        at += size(at);
    }
    for arrived in (0..size(at)).step_by(7) {
        for zeros in [0, 3_000] {
            let mut bytes = died[..at + arrived].to_vec();
            bytes.resize(at + arrived + zeros, 0);
            if bytes.starts_with(&died[..at + size(at)]) {
                continue; // what is missing of it is zeros: it is whole
            }
            fs::write(root.join(LOG), &bytes).unwrap();
            let coming = Store::open_read_only(&root).unwrap();
            assert_eq!(values(&coming).unwrap(), numbers(0..120), "{arrived} of {}", size(at));
        }
    }
    assert_eq!(take(&mut open), 120);
    let store = Store::open(&root).unwrap();
    assert!(!store.open_report().was_closed_cleanly());
    write(&store, 500..520);
    assert_eq!(take(&mut open), 140);
    assert_eq!(given, [numbers(0..120), numbers(500..520)].concat());
}
