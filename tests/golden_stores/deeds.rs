//! What golden stores are made of: topics of all kinds, deletions, groups, a compaction, and the
//! ways to leave a store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidelog::disk::{Disk, IoMode, RealDisk};
use tidelog::{
    Durability, HoldCap, Log, ManualClock, Offset, OffsetCommit, Record, Store, Timestamp,
    TopicConfig, WhenFull,
};

use crate::{BIRTH, open, open_log, small};

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(BIRTH))
}

/// A value that says where it belongs.
fn value(place: &str, number: usize) -> String {
    format!("{place}:{number}:{}", "x".repeat(number * 7 % 50))
}

fn send(store: &Store, clock: &ManualClock, place: (&str, u32), count: usize, word: Durability) {
    let producer = store.producer().durability(word).build().expect("a producer");
    let topic = producer.topic(place.0).expect("the topic");
    for number in 0..count {
        clock.advance(Duration::from_millis(250));
        let value = value(place.0, number);
        let key = format!("key-{}", number % 5);
        let mut record = Record::new(&value);
        if number % 2 == 1 {
            record = record.key(&key);
        }
        if number % 10 == 9 {
            record = Record::tombstone().key(&key);
        }
        if number % 3 == 2 {
            record = record.header("trace", "1").null_header("none");
        }
        let again = Record::new("a batch's second");
        topic.send_batch_to(place.1, &[record, again]).expect("sent");
    }
}

fn commit(store: &Store, group: &str, partition: u32, offset: i64, metadata: &str) {
    let group = store.consumer(group).assign([("orders", partition)]).build();
    let one = OffsetCommit::new("orders", partition, Offset::new(offset)).metadata(metadata);
    let done = group.and_then(|mut it| it.commit_offsets_with(&[one], Durability::Power));
    done.expect("committed");
}

/// What every golden store has been through, all of it durable at the end.
pub fn common(store: &Store, clock: &ManualClock) {
    let held = small().retention_bytes(3000).retain_for("billing", HoldCap::bytes(1 << 20));
    store.create_topic("orders", small().partitions(2)).expect("made");
    store.create_topic("held", held).expect("made");
    for name in ["altered", "gone", "empty"] {
        store.create_topic(name, small()).expect("made");
    }
    store
        .alter_topic("altered", small().max_bytes(1 << 20, WhenFull::DropOldest))
        .expect("altered");
    store.add_partitions("altered", 3).expect("grown");
    for (place, count) in
        [(("orders", 0), 25), (("orders", 1), 25), (("held", 0), 30), (("altered", 2), 8)]
    {
        send(store, clock, place, count, Durability::Process);
    }
    send(store, clock, ("gone", 0), 8, Durability::Process);
    store.create_topic("large", TopicConfig::new()).expect("made");
    let large = "y".repeat(70_000);
    let topic = store.producer().build().and_then(|producer| producer.topic("large"));
    topic.and_then(|it| it.send(Record::new(&large))).expect("sent");
    store.delete_records_before("orders", 0, Offset::new(11)).expect("deleted");
    store.delete_topic("gone").expect("deleted");
    let subscribed = store.consumer("billing").subscribe(["orders", "held"]).max_records(30);
    let mut billing = subscribed.build().expect("a member");
    assert!(!billing.try_poll().expect("polled").is_empty());
    billing.commit_with(Durability::Power).expect("committed");
    billing.close().expect("closed");
    commit(store, "audit", 1, 17, "by hand");
    commit(store, "left", 0, 12, "");
    store.delete_group("left").expect("deleted");
    store.apply_retention().expect("applied");
    store.flush().expect("flushed");
    clock.advance(Duration::from_secs(120));
    store.run_due();
    store.run_maintenance();
}

fn fill_log(log: &Log) {
    for number in 0..60 {
        let value = value("log", number);
        log.append(&[Record::new(&value).key("k")]).expect("appended");
    }
    log.flush().expect("flushed");
    log.delete_records_before(Offset::new(13)).expect("deleted");
}

/// A store and a log that were closed, on real files.
pub fn closed_on_real_files(root: &Path, dir: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(IoMode::Positioned).expect("a disk"));
    let clock = clock();
    let store = open(root, disk.clone(), &clock).expect("opened");
    common(&store, &clock);
    for partition in 0..2 {
        send(&store, &clock, ("orders", partition), 2, Durability::Power);
    }
    store.close().expect("closed");
    let log = open_log(dir, disk, &clock).expect("opened");
    fill_log(&log);
    log.close().expect("closed");
}

#[cfg(feature = "sim")]
pub use making::make_all;

#[cfg(feature = "sim")]
mod making {
    use std::io;

    use serde_json::Value;
    use tidelog::disk::{Access, Crash, Fault, Operation, Plan, SimDisk};

    use super::*;
    use crate::archive::{Files, pack};
    use crate::contents::{of_log, of_store};
    use crate::{ROOT, records};

    /// All files of a simulated disk below the root.
    fn dump(disk: &SimDisk) -> Files {
        read_below(disk).expect("read")
    }

    fn read_below(disk: &SimDisk) -> io::Result<Files> {
        let mut files = Files::new();
        let mut dirs = vec![Path::new(ROOT).to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in disk.list(&dir)? {
                let path = dir.join(&entry.name);
                if entry.is_dir {
                    dirs.push(path);
                    continue;
                }
                let mut bytes = vec![0; usize::try_from(entry.len).expect("small")];
                let read = disk.open(&path, Access::Read)?.read_at(&mut bytes, 0)?;
                assert_eq!(read, bytes.len());
                let name = path.strip_prefix(ROOT).expect("below it").to_string_lossy();
                files.insert(name.into_owned(), bytes);
            }
        }
        Ok(files)
    }

    fn keep(how: &str, files: &Files, expected: &Value) {
        let name = format!("{}-{how}", env!("CARGO_PKG_VERSION"));
        pack(&name, files, expected);
        println!("{name}: {} records", records(expected));
    }

    fn begun() -> (SimDisk, ManualClock, Store) {
        let (disk, clock) = (SimDisk::new(17), clock());
        let store = open(ROOT.as_ref(), Arc::new(disk.clone()), &clock).expect("opened");
        common(&store, &clock);
        (disk, clock, store)
    }

    /// Both partitions of `orders` in turn: what the journal is for.
    fn send_durably(store: &Store, clock: &ManualClock) {
        for turn in 0..8 {
            send(store, clock, ("orders", turn % 2), 1, Durability::Power);
        }
    }

    /// Commits until the offsets topic is compacted.
    fn compact(store: &Store, clock: &ManualClock) {
        let metadata = "m".repeat(1000);
        (0..700).for_each(|turn| commit(store, "busy", 1, turn / 25, &metadata));
        commit(store, "busy", 1, 33, "");
        let mut compactions = 0;
        for _ in 0..100 {
            clock.advance(Duration::from_millis(500));
            store.run_due();
            store.run_maintenance();
            let stats = store.stats();
            let all = stats.topics.iter().flat_map(|topic| &topic.partitions);
            compactions = all.map(|partition| partition.compactions).sum();
        }
        assert!(compactions > 0, "it was compacted");
    }

    fn closed() {
        let (disk, clock, store) = begun();
        compact(&store, &clock);
        store.close().expect("closed");
        let store = open(ROOT.as_ref(), Arc::new(disk.clone()), &clock).expect("opened again");
        send_durably(&store, &clock);
        let expected = of_store(&store).expect("read");
        store.close().expect("closed");
        keep("closed", &dump(&disk), &expected);
    }

    /// The end of the process: unsynced tails in windows of zeros, a partition whose sync failed.
    fn killed() {
        let (disk, clock, store) = begun();
        send_durably(&store, &clock);
        send(&store, &clock, ("orders", 0), 5, Durability::Process);
        send(&store, &clock, ("altered", 0), 5, Durability::Process);
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
        let flushed = store.partition("altered", 0).and_then(|partition| partition.flush());
        assert!(flushed.is_err(), "its sync fails");
        disk.heal();
        store.run_due();
        store.run_maintenance();
        let expected = of_store(&store).expect("read");
        keep("killed", &dump(&disk.kill()), &expected);
    }

    /// A power cut: the last records lie in the journal only.
    fn cut() {
        let (disk, clock, store) = begun();
        send_durably(&store, &clock);
        let expected = of_store(&store).expect("read");
        let cut = disk.crash(Crash::Nothing);
        let files = dump(&cut);
        let without = {
            let disk = cut.kill();
            disk.remove_file(&Path::new(ROOT).join("tidelog.journal")).expect("removed");
            let store = open(ROOT.as_ref(), Arc::new(disk), &clock).expect("opened");
            of_store(&store).expect("read")
        };
        assert!(records(&without) < records(&expected), "the journal is of use");
        keep("cut", &files, &expected);
    }

    fn log() {
        let (disk, clock) = (SimDisk::new(17), clock());
        let log = open_log(ROOT.as_ref(), Arc::new(disk.clone()), &clock).expect("opened");
        fill_log(&log);
        log.append(&[Record::new("not synced")]).expect("appended");
        let expected = of_log(&log).expect("read");
        keep("log", &dump(&disk.kill()), &expected);
    }

    pub fn make_all() {
        closed();
        killed();
        cut();
        log();
    }
}
