//! The first append to a partition: what it makes, and what it finds in a directory that was there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::Engine;
use super::{append, create, options, values};
use crate::config::{Durability, TopicConfig};
use crate::disk::{Access, Disk, MemoryDisk, write_all_at};

const ROOT: &str = "/store";
const KINDS: [&str; 6] = ["log", "index", "timeindex", "txnindex", "digest", "tags"];

fn file_of(kind: &str) -> PathBuf {
    Path::new(ROOT).join("orders-0").join(format!("{:020}.{kind}", 0))
}

/// Of a failure before, or of a power cut that left names without what was to come.
#[test]
fn what_is_found_in_a_directory_is_not_taken_for_its_own() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let engine = Engine::open(options(disk.clone()), ROOT.as_ref()).unwrap();
    let topic = create(&engine, "orders", TopicConfig::new());
    disk.create_dir_all(&Path::new(ROOT).join("orders-0")).unwrap();
    for kind in KINDS {
        let file = disk.open(&file_of(kind), Access::Create).unwrap();
        write_all_at(&*file, &[0xab; 300], 0).unwrap();
    }
    append(&topic.partitions()[0], "first", Durability::Process).unwrap();
    assert_eq!(values(&topic.partitions()[0]), ["first"]);
    for kind in KINDS {
        let found = disk.metadata(&file_of(kind)).unwrap().is_some();
        assert_eq!(found, kind == "log", "{kind}");
    }
    drop(topic);
    engine.close().unwrap();
    let engine = Engine::open(options(disk), ROOT.as_ref()).unwrap();
    assert_eq!(values(&engine.topic("orders").unwrap().partitions()[0]), ["first"]);
    engine.close().unwrap();
}

/// Calls that the first append to a partition makes, where its directory is there or not.
#[cfg(feature = "sim")]
fn calls_of_a_first_append(is_there: bool) -> u64 {
    let disk = crate::disk::SimDisk::new(1);
    let engine = Engine::open(options(Arc::new(disk.clone())), ROOT.as_ref()).unwrap();
    let topic = create(&engine, "orders", TopicConfig::new());
    if is_there {
        disk.create_dir_all(&Path::new(ROOT).join("orders-0")).unwrap();
    }
    let before = disk.operations();
    append(&topic.partitions()[0], "first", Durability::Process).unwrap();
    let calls = disk.operations() - before;
    drop(topic);
    engine.close().unwrap();
    calls
}

#[cfg(feature = "sim")]
#[test]
fn a_directory_that_was_just_made_is_not_searched() {
    let (new, there) = (calls_of_a_first_append(false), calls_of_a_first_append(true));
    // the six names of a segment, and the lengths of the log and of `partition.metadata`
    assert_eq!(there - new, 8, "{new} calls, {there} in a directory that was there");
}

/// The directory is not new to who tries again.
#[cfg(feature = "sim")]
#[test]
fn what_a_failed_first_append_leaves_is_searched() {
    use crate::disk::{Fault, Operation, Plan};
    let disk = crate::disk::SimDisk::new(1);
    let engine = Engine::open(options(Arc::new(disk.clone())), ROOT.as_ref()).unwrap();
    let topic = create(&engine, "orders", TopicConfig::new());
    let partition = &topic.partitions()[0];
    // the second file that is opened is the log
    disk.fail(Plan::new(Fault::Error(5)).on(Operation::Open).nth(2));
    append(partition, "first", Durability::Process).unwrap_err();
    disk.heal();
    assert!(disk.metadata(&file_of("log")).unwrap().is_none(), "its opening has failed");
    let left = disk.open(&file_of("index"), Access::Create).unwrap();
    write_all_at(&*left, &[0xab; 300], 0).unwrap();
    append(partition, "first", Durability::Process).unwrap();
    assert_eq!(values(partition), ["first"]);
    assert!(disk.metadata(&file_of("index")).unwrap().is_none(), "an index of nothing");
    engine.close().unwrap();
}
