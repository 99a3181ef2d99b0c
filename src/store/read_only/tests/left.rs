//! A reader between a power cut and the next writer: it finds all that was promised, wherever it
//! lies, and leaves the disk as it is.

use super::*;
use crate::config::{Durability, Journal, TopicConfig};
use crate::consumer::OffsetCommit;
use crate::disk::names::JOURNAL;
use crate::disk::{Crash, SimDisk};
use crate::seeds::seeds;

const PARTITIONS: u32 = 3;

/// A store whose promises lie in its journal alone, for the most part, when the power goes. What
/// was promised is returned, by partition.
fn cut(seed: u64, clock: &ManualClock) -> (SimDisk, Vec<Vec<String>>) {
    let disk = SimDisk::new(seed);
    disk.set_mode(if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Positioned });
    let builder = Store::builder(root()).disk(Arc::new(disk.clone())).clock(clock.clone());
    let store = builder.threads(Threads::Host).journal(Journal::Bytes(1 << 20)).open().unwrap();
    let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(3_000);
    store.create_topic("t", config).unwrap();
    let topic = store.producer().durability(Durability::Power).build().unwrap();
    let topic = topic.topic("t").unwrap();
    let mut promised = vec![Vec::new(); PARTITIONS as usize];
    for number in 0..60u32 {
        let (partition, value) = (number % PARTITIONS, format!("{number:->90}"));
        topic.send_to(partition, Record::new(&value)).unwrap();
        promised[partition as usize].push(value);
        if number % 20 == 10 {
            store.run_maintenance(); // the journal is made, and asked to let go
        }
    }
    let mut consumer = store.consumer("g").assign([("t", 0)]).build().unwrap();
    let commit = OffsetCommit::new("t", 0, Offset::new(7));
    consumer.commit_offsets_with(&[commit], Durability::Power).unwrap();
    let lost = topic.with_durability(Durability::Process);
    lost.send_to(0, Record::new("not promised")).unwrap();
    let crash = if seed.is_multiple_of(3) { Crash::Nothing } else { Crash::Random(seed) };
    let cut = disk.crash(crash);
    drop((store, topic, consumer));
    (cut, promised)
}

/// All values of a partition.
fn read(reading: &ReadOnlyStore, partition: u32, durable_only: bool) -> Vec<String> {
    let builder = reading.reader().assign([("t", partition)]);
    let builder = if durable_only { builder.durable_only() } else { builder };
    let mut reader = builder.build().unwrap();
    let mut found = Vec::new();
    for records in reader.read_to_end().unwrap() {
        found.extend(values(&records.unwrap()));
    }
    found
}

#[test]
fn a_reader_before_any_writer_sees_all_that_was_promised() {
    let mut restored = 0;
    for seed in seeds(6, 40, 2_000) {
        let repeat = format!("TIDELOG_SEED={seed} cargo test --all-features --lib before_any");
        let clock = ManualClock::default();
        let (disk, promised) = cut(seed, &clock);
        let image = disk.image_hash();
        let guest = Arc::new(GuestDisk::new(Arc::new(disk.clone())));
        let reading = open_reader(guest.clone(), root(), &clock);
        for (partition, values) in (0..).zip(&promised) {
            let all = read(&reading, partition, false);
            assert_eq!(all[..values.len()], values[..], "{repeat}");
            assert!(all.len() <= values.len() + 1, "{repeat}: no phantom");
            let durable = read(&reading, partition, true);
            assert!(all.starts_with(&durable), "{repeat}");
        }
        let committed = reading.committed("g").unwrap();
        assert_eq!(committed[0].2.offset(), Offset::new(7), "{repeat}: a commit is a record too");
        assert_eq!((disk.image_hash(), guest.refused()), (image, 0), "{repeat}");
        // the control: the next writer had to give records back
        let store = open_writer(&(Arc::new(disk) as Arc<dyn Disk>), &clock);
        let partitions = store.open_report().partitions().iter();
        restored += partitions.map(|one| one.restored_records()).sum::<u64>();
        // the reader goes on behind it
        clock.advance(Duration::from_secs(2));
        for (partition, values) in (0..).zip(&promised) {
            assert_eq!(read(&reading, partition, false)[..values.len()], values[..], "{repeat}");
        }
    }
    assert!(restored > 0, "the control");
}

#[test]
fn a_reader_is_told_when_the_journal_is_gone_until_somebody_writes() {
    let clock = ManualClock::default();
    let (disk, _) = cut(0, &clock);
    disk.remove_file(&root().join(JOURNAL)).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let open = || Store::read_only(root()).disk(disk.clone()).threads(Threads::Host).open();
    let error = open().unwrap_err();
    assert!(error.is_corrupt() && error.path() == Some(&*root().join(JOURNAL)), "{error}");
    let store = open_writer(&disk, &clock);
    assert!(store.open_report().journal_was_missing());
    open().unwrap();
}
