//! Roots that lie: names that look like partitions, checkpoints that are garbage. The partitions
//! that are there are served whole, and what is not understood stays as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog::disk::{Access, Disk, MemoryDisk};
use tidelog::{
    ErrorKind, ManualClock, Offset, Record, Result, Store, Threads, Timestamp, TopicConfig,
};

const ROOT: &str = "/root";
const RECORDS: usize = 30;
const START: i64 = 1_700_000_000_000;

/// Whose the root is and how it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Closed,
    OthersClosed,
    OthersKilled,
}

const LEFT: [Left; 3] = [Left::Closed, Left::OthersClosed, Left::OthersKilled];

/// A root's files, by path below it.
type Tree = std::collections::BTreeMap<String, Vec<u8>>;

fn open(disk: &Arc<MemoryDisk>) -> Result<Store> {
    let clock = ManualClock::new(Timestamp::from_millis(START));
    Store::builder(ROOT).disk(disk.clone()).threads(Threads::Host).clock(clock).open()
}

fn value(topic: &str, number: usize) -> String {
    format!("{topic} {number} {}", "v".repeat(80))
}

fn tree(disk: &MemoryDisk) -> Tree {
    let (mut tree, mut dirs) = (Tree::new(), vec![PathBuf::from(ROOT)]);
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(&dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                dirs.push(path);
                continue;
            }
            let file = disk.open(&path, Access::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            let mut done = 0;
            while done < bytes.len() {
                done += file.read_at(&mut bytes[done..], done as u64).unwrap();
            }
            let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
            if name != ".lock" {
                tree.insert(name, bytes);
            }
        }
    }
    tree
}

fn disk_of(tree: &Tree) -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    for (name, bytes) in tree {
        let path = Path::new(ROOT).join(name);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        let file = disk.open(&path, Access::Create).unwrap();
        if !bytes.is_empty() {
            assert_eq!(file.write_at(bytes, 0).unwrap(), bytes.len());
        }
    }
    disk
}

/// Two topics, three partitions of several segments each, and a group.
fn source() -> Tree {
    let disk = Arc::new(MemoryDisk::new());
    let store = open(&disk).unwrap();
    for (topic, partitions) in [("orders", 2), ("bills", 1)] {
        let config = TopicConfig::new().partitions(partitions).segment_bytes(1_024);
        store.create_topic(topic, config).unwrap();
        let sender = store.producer().build().unwrap().topic(topic).unwrap();
        for number in 0..RECORDS {
            for partition in 0..partitions {
                let value = value(topic, number);
                let time = Timestamp::from_millis(START);
                sender.send_to(partition, Record::new(&value).timestamp(time)).unwrap();
            }
        }
    }
    store.close().unwrap();
    tree(&disk)
}

fn left(source: &Tree, left: Left) -> Tree {
    let ours = |name: &str| name.contains("tidelog") || name.ends_with(".digest");
    let mut tree = source.clone();
    if left != Left::Closed {
        tree.retain(|name, _| !ours(name));
    }
    if left == Left::OthersClosed {
        tree.insert(
            ".kafka_cleanshutdown".to_owned(),
            b"{\"version\":0,\"brokerEpoch\":1}".to_vec(),
        );
    }
    tree
}

fn assert_whole(store: &Store, context: &str) {
    for (topic, partition) in [("orders", 0), ("orders", 1), ("bills", 0)] {
        let reader = store.reader().assign([(topic, partition)]).build();
        let mut reader = reader.unwrap_or_else(|error| panic!("{context}: {topic}: {error}"));
        let mut found = Vec::new();
        loop {
            let records = reader.try_poll();
            let records = records.unwrap_or_else(|error| panic!("{context}: {topic}: {error}"));
            if records.is_empty() {
                break;
            }
            let values = records.iter().map(|record| record.value().unwrap().to_vec());
            found.extend(values.map(|value| String::from_utf8(value).unwrap()));
        }
        let whole = (0..RECORDS).map(|number| value(topic, number));
        let appended = found.iter().position(|value| value == "appended").unwrap_or(found.len());
        assert!(found[..appended].iter().cloned().eq(whole), "{context}: {topic}-{partition}");
    }
}

/// Opens, reads, appends, closes and opens again; `false` where it is refused, and nothing changed.
fn is_served(tree_before: &Tree, context: &str) -> bool {
    let disk = disk_of(tree_before);
    let store = match open(&disk) {
        Ok(store) => store,
        Err(error) => {
            let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::NotAStore];
            assert!(kinds.contains(&error.kind()), "{context}: {error}");
            assert!(error.path().is_some(), "{context}: {error} has no path");
            let now = tree(&disk);
            for (name, bytes) in tree_before {
                assert_eq!(now.get(name), Some(bytes), "{context}: {name} changed");
            }
            return false;
        }
    };
    assert_whole(&store, context);
    let sender = store.producer().build().unwrap().topic("orders").unwrap();
    let time = Timestamp::from_millis(START);
    let sent = sender.send_to(0, Record::new("appended").timestamp(time));
    let receipt = sent.unwrap_or_else(|error| panic!("{context}, append: {error}"));
    assert_eq!(receipt.offset(), Offset::new(RECORDS as i64), "{context}");
    store.apply_retention().unwrap_or_else(|error| panic!("{context}: {error}"));
    store.verifier().run().unwrap_or_else(|error| panic!("{context}: {error}"));
    store.close().unwrap_or_else(|error| panic!("{context}: {error}"));
    let store = open(&disk).unwrap_or_else(|error| panic!("{context}, again: {error}"));
    assert_whole(&store, context);
    store.close().unwrap();
    true
}

#[test]
fn names_that_look_like_partitions() {
    let source = source();
    let names = [
        "orders-",
        "orders-x",
        "-0",
        "-",
        "orders-00",
        "orders-+1",
        "orders--1",
        "orders-99999999999",
        "orders-2147483648",
        "orders-2147483647",
        "orders-7",
        "bills-0.4c3f-delete",
        "orders-1.0123456789abcdef0123456789abcdef-future",
        "orders-1.0123456789abcdef0123456789abcdef-stray",
        "a b-0",
        "..-0",
        "stranger-0",
        "stranger-3",
        "ORDERS-0",
        "orders-0 (copy)",
        "orders-0~",
        "orders-0.bak",
        "lost+found",
    ];
    let files = ["00000000000000000000.log", "notes.txt"];
    for left_as in LEFT {
        for name in names.iter().map(|name| (*name).to_owned()).chain(["n".repeat(250) + "-0"]) {
            for (what, bytes) in [("empty", &b""[..]), ("garbage", &b"not a batch at all"[..])] {
                let mut tree_before = left(&source, left_as);
                for file in files {
                    tree_before.insert(format!("{name}/{file}"), bytes.to_vec());
                }
                let context = format!("{left_as:?}, {name}, {what}");
                let disk = disk_of(&tree_before);
                is_served(&tree_before, &context);
                // what is no partition is left alone, whatever it is
                let store = open(&disk);
                if let Ok(store) = store {
                    store.close().unwrap_or_else(|error| panic!("{context}: {error}"));
                }
                let now = tree(&disk);
                let notes = format!("{name}/notes.txt");
                assert_eq!(now.get(&notes).map(Vec::as_slice), Some(bytes), "{context}");
            }
        }
    }
}

/// A file where a partition's directory would be, and a directory where a checkpoint would be.
#[test]
fn files_and_directories_in_each_others_place() {
    let source = source();
    for left_as in LEFT {
        let mut tree_before = left(&source, left_as);
        for name in ["orders-7", "stranger-0", "bills-1", "x-y-0"] {
            tree_before.insert(name.to_owned(), b"a file".to_vec());
        }
        assert!(is_served(&tree_before, &format!("{left_as:?}")));
    }
}

const CHECKPOINTS: [&str; 4] = [
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
    "cleaner-offset-checkpoint",
];

/// Texts that no broker writes: none of them says anything.
#[test]
fn checkpoints_that_are_garbage() {
    let source = source();
    let texts = [
        ("empty", ""),
        ("no text", "\0\u{fffd}\u{fffd}"),
        ("a version alone", "0\n"),
        ("another version", "9\n1\norders 0 0\n"),
        ("no line", "0\n0\n"),
        ("fewer lines than it says", "0\n3\norders 0 0\n"),
        ("more lines than it says", "0\n1\norders 0 0\norders 1 0\n"),
        ("a count beyond all", "0\n99999999999999999999\norders 0 0\n"),
        ("the largest count", "0\n2147483647\norders 0 0\n"),
        ("a count below zero", "0\n-1\n"),
        ("a partition below zero", "0\n1\norders -1 0\n"),
        ("a partition beyond all", "0\n1\norders 99999999999 0\n"),
        ("an offset beyond all", "0\n1\norders 0 99999999999999999999\n"),
        ("two words", "0\n1\norders 0\n"),
        ("four words", "0\n1\norders 0 0 0\n"),
        ("letters", "0\n1\norders zero none\n"),
        ("a topic of nobody", "0\n1\nstranger 5 77\n"),
        ("one partition twice", "0\n2\norders 0 0\norders 0 0\n"),
    ];
    for left_as in LEFT {
        for name in CHECKPOINTS {
            for (what, text) in texts {
                let mut tree_before = left(&source, left_as);
                tree_before.insert(name.to_owned(), text.as_bytes().to_vec());
                is_served(&tree_before, &format!("{left_as:?}, {name}: {what}"));
            }
        }
    }
}

/// Numbers that are well formed and not so.
#[test]
fn checkpoints_that_lie() {
    let source = source();
    let lies = [
        ("recovery-point-offset-checkpoint", "0\n1\norders 0 99999\n"),
        ("recovery-point-offset-checkpoint", "0\n1\norders 0 9223372036854775807\n"),
        ("recovery-point-offset-checkpoint", "0\n1\norders 0 -3\n"),
        ("log-start-offset-checkpoint", "0\n1\norders 0 -3\n"),
        ("replication-offset-checkpoint", "0\n1\norders 0 99999\n"),
        ("replication-offset-checkpoint", "0\n1\norders 0 3\n"),
        ("replication-offset-checkpoint", "0\n1\norders 0 -3\n"),
        ("cleaner-offset-checkpoint", "0\n1\norders 0 99999\n"),
        ("cleaner-offset-checkpoint", "0\n1\norders 0 -3\n"),
    ];
    for left_as in LEFT {
        for (name, text) in lies {
            let mut tree_before = left(&source, left_as);
            tree_before.insert(name.to_owned(), text.as_bytes().to_vec());
            is_served(&tree_before, &format!("{left_as:?}, {name}: {text:?}"));
        }
    }
}

#[test]
fn meta_properties_and_the_clean_mark() {
    let source = source();
    let texts = [
        ("meta.properties", ""),
        ("meta.properties", "version=9\n"),
        ("meta.properties", "\0\u{fffd}"),
        ("meta.properties", "version=1\nnode.id=x\ncluster.id=\n"),
        ("meta.properties", "version=1\nversion=1\n"),
        (".kafka_cleanshutdown", ""),
        (".kafka_cleanshutdown", "{"),
        (".kafka_cleanshutdown", "\0\0\0"),
    ];
    for left_as in LEFT {
        for (name, text) in texts {
            let mut tree_before = left(&source, left_as);
            tree_before.insert(name.to_owned(), text.as_bytes().to_vec());
            is_served(&tree_before, &format!("{left_as:?}, {name}: {text:?}"));
        }
    }
}
