//! What an open refuses, with which error, and what it leaves behind; and how a close ends.

use std::path::Path;
use std::sync::Arc;

use super::super::{CloseHook, Engine};
use super::{append, create, options, values};
use crate::config::{Durability, TopicConfig};
use crate::disk::{Access, Disk, IoMode, MemoryDisk, RealDisk, names, write_all_at};
use crate::error::{ErrorKind, Outcome, Result};
use crate::ids::PartitionId;
use crate::record::{AppendBatch, Stamp, Sum};
use crate::time::Timestamp;

fn put(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, Access::Create).unwrap();
    file.set_len(0).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
}

fn store_with_records(disk: &Arc<dyn Disk>, root: &Path) {
    let engine = Engine::open(options(disk.clone()), root).unwrap();
    let topic = create(&engine, "orders", TopicConfig::new());
    append(&topic.partitions()[0], "kept", Durability::Process).unwrap();
    engine.close().unwrap();
}

#[test]
fn a_directory_that_is_not_ours_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(IoMode::Positioned).unwrap());
    put(&*disk, &dir.path().join("holiday.jpg"), b"sun");
    for lock_was_there in [false, true] {
        let lock = dir.path().join(names::LOCK);
        if lock_was_there {
            put(&*disk, &lock, b"theirs");
        }
        let error = Engine::open(options(disk.clone()), dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
        assert_eq!(error.outcome(), Outcome::NotWritten);
        assert_eq!(disk.metadata(&lock).unwrap().is_some(), lock_was_there);
        assert_eq!(disk.list(dir.path()).unwrap().len(), 1 + usize::from(lock_was_there));
    }
    let file = dir.path().join("holiday.jpg");
    let error = Engine::open(options(disk.clone()), &file).unwrap_err();
    assert!(error.path().is_some_and(|path| path.starts_with(&file)), "{error}");
}

#[test]
fn files_of_ours_that_cannot_be_read_are_typed_errors() {
    for file in [names::STORE_MARKER, names::STATE_LOG] {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let root = Path::new("/store");
        store_with_records(&disk, root);
        let path = root.join(file);
        let whole = crate::disk::replace::read_file(&*disk, &path, 1 << 20).unwrap().unwrap();
        let mut newer = whole.clone();
        newer[8..12].copy_from_slice(&9u32.to_be_bytes());
        for (bytes, kinds) in [
            (newer, vec![ErrorKind::NewerVersion, ErrorKind::Corrupt]),
            (whole[..10].to_vec(), vec![ErrorKind::Corrupt]),
            (vec![0x55; whole.len()], vec![ErrorKind::Corrupt]),
        ] {
            put(&*disk, &path, &bytes);
            let error = Engine::open(options(disk.clone()), root).unwrap_err();
            assert!(kinds.contains(&error.kind()), "{file}: {error}");
            assert_eq!(error.path(), Some(&*path), "{error}");
        }
        disk.remove_file(&path).unwrap();
        let error = Engine::open(options(disk.clone()), root).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{file} missing: {error}");
        put(&*disk, &path, &whole);
        let engine = Engine::open(options(disk.clone()), root).unwrap();
        let partition = engine.topic("orders").unwrap().partition(PartitionId::new(0)).unwrap();
        assert_eq!(values(&partition), ["kept"]);
    }
}

#[test]
fn a_name_that_is_taken_by_a_foreign_directory_is_refused() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let root = Path::new("/store");
    store_with_records(&disk, root);
    let foreign = root.join("parcels-0");
    disk.create_dir_all(&foreign).unwrap();
    put(&*disk, &foreign.join("00000000000000000000.log"), b"");
    let engine = Engine::open(options(disk.clone()), root).unwrap();
    let new = super::NewTopic { name: "parcels", config: TopicConfig::new(), internal: false };
    let error = engine.create_topics(&[new]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(error.path(), Some(&*foreign));
    assert!(engine.topic("parcels").is_err());
}

struct Failing;

impl CloseHook for Failing {
    fn before_close(&self) -> Result<()> {
        Err(crate::error::Error::new("flush", crate::error::Cause::Panicked("a producer")))
    }
}

#[test]
fn what_a_client_fails_to_flush_is_told_and_the_store_is_closed_cleanly_all_the_same() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let root = Path::new("/store");
    let engine = Engine::open(options(disk.clone()), root).unwrap();
    let hook: Arc<dyn CloseHook> = Arc::new(Failing);
    engine.on_close(Arc::downgrade(&hook));
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Panicked);
    engine.close().unwrap();
    let again = Engine::open(options(disk), root).unwrap();
    assert!(again.open_report().was_closed_cleanly());
}

/// Holds a close up until the other thread has had time to come in, and makes it fail.
struct Slow {
    begun: std::sync::Barrier,
    engine: std::sync::Weak<Engine>,
}

impl CloseHook for Slow {
    fn before_close(&self) -> Result<()> {
        let engine = self.engine.upgrade().unwrap();
        if engine.gate().is_closed() {
            return Ok(()); // the second round of the same close
        }
        engine.close().unwrap(); // out of the closing itself: it must not wait for itself
        self.begun.wait();
        std::thread::sleep(std::time::Duration::from_millis(50));
        Err(crate::error::Error::new("flush", crate::error::Cause::Panicked("a producer")))
    }
}

#[test]
fn a_close_during_another_returns_with_it_and_says_the_same() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let root = Path::new("/store");
    let engine = Engine::open(options(disk.clone()), root).unwrap();
    let begun = std::sync::Barrier::new(2);
    let hook = Arc::new(Slow { begun, engine: Arc::downgrade(&engine) });
    let weak: std::sync::Weak<dyn CloseHook> = Arc::downgrade(&hook) as _;
    engine.on_close(weak);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| engine.close());
        hook.begun.wait();
        let second = engine.close().unwrap_err();
        let again = Engine::open(options(disk.clone()), root).expect("the lock is free");
        assert_eq!(second.kind(), ErrorKind::Panicked);
        assert_eq!(second.to_string(), first.join().unwrap().unwrap_err().to_string());
        again.close().unwrap();
    });
    engine.close().unwrap();
}

/// They write ahead what a sync of everything would take along. This disk makes none, so each of
/// them syncs what it has written.
#[cfg(feature = "sim")]
#[test]
fn a_power_cut_takes_nothing_of_what_a_close_of_many_partitions_left() {
    use crate::disk::{Crash, SimDisk, read_full_at};
    let files = |disk: &SimDisk| {
        let mut files = std::collections::BTreeMap::new();
        for number in 0..70 {
            let dir = Path::new("/store").join(format!("orders-{number}"));
            for name in disk.names(&dir).unwrap() {
                let file = disk.open(&dir.join(&name), Access::Read).unwrap();
                let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
                read_full_at(&*file, &mut bytes, 0).unwrap();
                files.insert((number, name), bytes);
            }
        }
        files
    };
    let sim = SimDisk::new(1);
    sim.create_dir_all(Path::new("/store")).unwrap();
    let engine = Engine::open(options(Arc::new(sim.clone())), Path::new("/store")).unwrap();
    let config = TopicConfig::new().partitions(70).segment_bytes(1024).index_interval_bytes(300);
    let topic = create(&engine, "orders", config);
    for partition in topic.partitions().iter() {
        (0..15).for_each(|_| drop(append(partition, &"x".repeat(100), Durability::Process)));
    }
    engine.close().unwrap();
    let left = files(&sim);
    let indexes =
        left.iter().filter(|((_, name), bytes)| name.ends_with("index") && !bytes.is_empty());
    assert!(indexes.count() > 4 * 70, "the control: segments with both indexes");
    assert_eq!(files(&sim.crash(Crash::Nothing)), left);
}

#[test]
fn nothing_is_recorded_once_the_store_is_closed() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let engine = Engine::open(options(disk), Path::new("/store")).unwrap();
    let topic = create(&engine, "orders", TopicConfig::new());
    engine.close().unwrap();
    let new = super::NewTopic { name: "b", config: TopicConfig::new(), internal: false };
    for error in [
        engine.create_topics(&[new]).unwrap_err(),
        engine.delete_topic("orders").unwrap_err(),
        engine.alter_topic("orders", TopicConfig::new()).unwrap_err(),
        engine.add_partitions("orders", 3).unwrap_err(),
        engine.flush().unwrap_err(),
        topic.partitions()[0].offsets().unwrap_err(),
        engine
            .owner("record")
            .unwrap()
            .root
            .log()
            .record(&[], crate::log::Durable::Now)
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    assert_eq!((engine.run_maintenance(), engine.run_due()), (None, None));
}

/// A batch that panics while it is written.
struct Bomb;

impl AppendBatch for Bomb {
    fn size(&self) -> usize {
        100
    }

    fn count(&self) -> u32 {
        1
    }

    fn max_timestamp(&self) -> Option<Timestamp> {
        None
    }

    fn write(&self, _: Stamp, _: &mut [u8], _: impl Sum) {
        panic!("as planned");
    }
}

#[test]
fn a_panic_in_an_append_ends_appends_to_its_partition_alone() {
    for (dir, disk) in super::disks() {
        let root = dir.path().join("store");
        let engine = Engine::open(options(disk.clone()), &root).unwrap();
        let topic = create(&engine, "orders", TopicConfig::new().partitions(2));
        let partitions = topic.partitions();
        append(&partitions[0], "kept", Durability::Process).unwrap();
        let now = Timestamp::from_millis(1);
        let bomb = || partitions[0].append(&Bomb, now, Durability::Process);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(bomb)).unwrap_err();
        let error = append(&partitions[0], "x", Durability::Process).unwrap_err();
        assert!(error.is_poisoned() && error.to_string().contains("panicked"), "{error}");
        append(&partitions[1], "fine", Durability::Power).unwrap();
        assert_eq!(values(&partitions[0]), ["kept"]);
        assert!(engine.close().is_err());
        drop(engine);
        let engine = Engine::open(options(disk), &root).unwrap();
        let partitions = engine.topic("orders").unwrap().partitions();
        assert_eq!(values(&partitions[0]), ["kept"]);
        append(&partitions[0], "again", Durability::Process).unwrap();
        assert_eq!(values(&partitions[1]), ["fine"]);
    }
}
