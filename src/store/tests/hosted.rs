//! Partitions that the host leads, through the store: producers, consumers that wait, what is
//! remembered, what retention leaves.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Durability, Leadership, Threads, TopicConfig};
use crate::disk::{Disk, MemoryDisk};
use crate::error::ErrorKind;
use crate::ids::{LeaderEpoch, Offset};
use crate::log::RawLimits;
use crate::record::Record;
use crate::store::Store;
use crate::time::{ManualClock, Timestamp};

const EPOCH: LeaderEpoch = LeaderEpoch::new(7);

fn open(disk: &Arc<dyn Disk>) -> Store {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let builder = Store::builder("/store").disk(disk.clone()).clock(clock);
    builder.threads(Threads::Host).open().unwrap()
}

#[test]
fn leadership_and_the_high_watermark_are_remembered_and_new_partitions_follow_the_first() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let store = open(&disk);
    store.create_host_led_topic("orders", TopicConfig::new()).unwrap();
    store.create_topic("bills", TopicConfig::new().partitions(2)).unwrap();
    store.partition("bills", 1).unwrap().set_leadership(Leadership::HostLed).unwrap();
    store.add_partitions("orders", 2).unwrap();
    let orders = store.partition("orders", 0).unwrap();
    orders.append_as_leader(EPOCH, &[Record::new("a")]).unwrap();
    orders.append_as_leader(EPOCH, &[Record::new("b")]).unwrap();
    orders.set_high_watermark(Offset::new(1)).unwrap();
    store.close().unwrap();
    let store = open(&disk);
    let led = |topic, number| store.partition(topic, number).unwrap().leadership().unwrap();
    assert_eq!([led("orders", 0), led("orders", 1)], [Leadership::HostLed; 2]);
    assert_eq!([led("bills", 0), led("bills", 1)], [Leadership::SelfLed, Leadership::HostLed]);
    let orders = store.partition("orders", 0).unwrap();
    let offsets = (orders.high_watermark().unwrap().get(), orders.end_offset().unwrap().get());
    assert_eq!(offsets, (1, 2));
    let refused = store.producer().build().unwrap().topic("orders").unwrap();
    assert_eq!(refused.send(Record::new("c")).unwrap_err().kind(), ErrorKind::NotLeader);
    orders.become_leader(EPOCH).unwrap();
    assert_eq!(refused.send_to(0, Record::new("c")).unwrap().leader_epoch(), EPOCH);
}

#[test]
fn a_consumer_that_waits_is_woken_by_the_high_watermark_and_not_before() {
    let store = Store::in_memory().unwrap();
    store.create_host_led_topic("orders", TopicConfig::new()).unwrap();
    let orders = store.partition("orders", 0).unwrap();
    orders.append_as_leader(EPOCH, &[Record::new("a")]).unwrap();
    let mut reader = store.reader().assign([("orders", 0)]).build().unwrap();
    assert!(reader.poll(Duration::from_millis(20)).unwrap().is_empty());
    let waiting = std::thread::spawn(move || reader.poll(Duration::from_secs(60)).unwrap().len());
    std::thread::sleep(Duration::from_millis(20));
    orders.set_high_watermark(Offset::new(1)).unwrap();
    assert_eq!(waiting.join().unwrap(), 1);
}

#[test]
fn a_consumer_that_spins_waits_no_longer_for_a_high_watermark_within_a_batch() {
    let store = Store::in_memory().unwrap();
    store.create_host_led_topic("orders", TopicConfig::new()).unwrap();
    let orders = store.partition("orders", 0).unwrap();
    orders.append_as_leader(EPOCH, &["a", "b", "c"].map(Record::new)).unwrap();
    orders.set_high_watermark(Offset::new(1)).unwrap();
    let reader = store.reader().assign([("orders", 0)]).spin(Duration::from_secs(60));
    let mut reader = reader.build().unwrap();
    assert!(reader.poll(Duration::from_millis(20)).unwrap().is_empty());
    {
        let mut polled = std::pin::pin!(reader.poll_async());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(polled.as_mut().poll(&mut context).is_pending());
    }
    orders.set_high_watermark(Offset::new(3)).unwrap();
    assert_eq!(reader.poll(Duration::from_secs(60)).unwrap().len(), 3);
}

#[test]
fn retention_and_deletion_stay_below_the_high_watermark() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let store = open(&disk);
    let config = TopicConfig::new().segment_bytes(1024).retention_bytes(0);
    store.create_host_led_topic("orders", config).unwrap();
    let orders = store.partition("orders", 0).unwrap();
    for number in 0..20 {
        let value = format!("{number:-<200}");
        orders.append_as_leader(EPOCH, &[Record::new(value.as_bytes())]).unwrap();
    }
    store.apply_retention().unwrap();
    assert_eq!(orders.start_offset().unwrap(), Offset::ZERO);
    orders.set_high_watermark(Offset::new(7)).unwrap();
    store.apply_retention().unwrap();
    let start = orders.start_offset().unwrap().get();
    assert!((1..=7).contains(&start), "{start}");
    let beyond = orders.delete_records_before(Offset::new(8)).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::OffsetOutOfRange);
    orders.delete_records_before(Offset::new(7)).unwrap();
    assert_eq!(orders.set_high_watermark(Offset::ZERO).unwrap().get(), 7);
}

#[test]
fn the_stores_own_topics_are_led_by_the_store() {
    let store = Store::in_memory().unwrap();
    store.create_topic("orders", TopicConfig::new()).unwrap();
    let mut consumer = store.consumer("g").assign([("orders", 0)]).build().unwrap();
    consumer.seek("orders", 0, Offset::ZERO).unwrap();
    consumer.commit().unwrap();
    let Ok(offsets) = store.partition("__consumer_offsets", 0) else { return };
    let refused = offsets.set_leadership(Leadership::HostLed).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn what_a_truncation_has_cut_off_is_not_seen_again_nor_taken_twice() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let store = open(&disk);
    store.create_host_led_topic("orders", TopicConfig::new()).unwrap();
    let orders = store.partition("orders", 0).unwrap();
    for value in ["a", "b", "c"] {
        orders.append_as_leader(EPOCH, &[Record::new(value)]).unwrap();
    }
    orders.set_high_watermark(Offset::new(3)).unwrap();
    let sent = orders.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20)).unwrap();
    orders.truncate_to(Offset::new(1)).unwrap();
    orders.append_as_leader(LeaderEpoch::new(8), &[Record::new("d")]).unwrap();
    assert_eq!(orders.high_watermark().unwrap().get(), 1, "no replica has it yet");
    orders.become_follower().unwrap();
    let again = orders.append_as_follower(sent.bytes()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::UnexpectedOffset);
    assert_eq!(orders.end_offset().unwrap().get(), 2);
}

#[test]
fn what_is_refused_names_its_partition() {
    let store = open(&(Arc::new(MemoryDisk::new()) as Arc<dyn Disk>));
    store.create_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    let orders = store.partition("orders", 1).unwrap();
    let errors = [
        orders.append_batch(&[1, 2, 3], Durability::Process).unwrap_err(),
        orders.append_batch_as_leader(EPOCH, &[1, 2, 3]).unwrap_err(),
        orders.append_as_leader(EPOCH, &[]).unwrap_err(),
        orders.append_as_follower(&[1, 2, 3]).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.partition(), Some(("orders", orders.id())), "{error}");
    }
}
