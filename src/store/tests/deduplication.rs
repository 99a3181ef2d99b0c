//! Records sent once under an id, through the public door: what counts as seen, for how long, and
//! what does not. `model` asks a reference at random, stops included.

#[cfg(feature = "sim")]
mod model;

use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::config::{BackgroundSync, CleanupPolicy, Threads, TopicConfig};
use crate::disk::{Disk, MemoryDisk};
use crate::error::ErrorKind;
use crate::ids::{Offset, PartitionId};
use crate::producer::TopicProducer;
use crate::record::Record;
use crate::store::Store;
use crate::time::{Clock, ManualClock, Timestamp};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const WINDOW: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
}

impl World {
    fn on(disk: Arc<dyn Disk>) -> World {
        World { disk, clock: ManualClock::new(START) }
    }

    fn open(&self) -> Store {
        let builder = Store::builder("/store").disk(self.disk.clone()).clock(self.clock.clone());
        builder.threads(Threads::Host).background_sync(BackgroundSync::OFF).open().unwrap()
    }
}

fn config() -> TopicConfig {
    TopicConfig::new().partitions(3).deduplicate(WINDOW)
}

fn begin(config: TopicConfig) -> (World, Store, TopicProducer) {
    let world = World::on(Arc::new(MemoryDisk::new()));
    let store = world.open();
    store.ensure_topic("a", config).unwrap();
    let topic = topic(&store);
    (world, store, topic)
}

fn topic(store: &Store) -> TopicProducer {
    store.producer().linger(HOUR).build().unwrap().topic("a").unwrap()
}

fn record() -> Record<'static> {
    Record::new("x")
}

fn count(store: &Store) -> u64 {
    let described = store.describe("a").unwrap();
    described.partitions().iter().map(|it| it.end_offset().get().unsigned_abs()).sum()
}

#[test]
fn an_id_is_one_of_the_topic_whoever_sends_it_where_and_after_a_restart() {
    let (world, store, a) = begin(config());
    let first = a.send_once_to(2, "7", record()).unwrap();
    assert!(!first.is_duplicate());
    let others = [
        a.send_once_to(0, "7", record()).unwrap(),
        topic(&store).send_once("7", Record::new("another").key("k")).unwrap(),
        pollster::block_on(a.send_once_async("7", record())).unwrap(),
        a.enqueue_once("7", record()).unwrap().wait().unwrap(),
        store
            .producer()
            .idempotent(true)
            .build()
            .unwrap()
            .topic("a")
            .unwrap()
            .send_once("7", record())
            .unwrap(),
    ];
    for again in &others {
        assert!(again.is_duplicate());
        assert_eq!((again.partition(), again.offset()), (first.partition(), first.offset()));
        assert_eq!(again.leader_epoch(), first.leader_epoch());
        assert_eq!(again.timestamp(), first.timestamp());
    }
    a.send_batch_to(1, &[record(), record()]).unwrap();
    store.close().unwrap();
    let store = world.open();
    let again = topic(&store).send_once("7", record()).unwrap();
    assert!(again.is_duplicate() && again.offset() == first.offset());
    assert_eq!(again.leader_epoch(), first.leader_epoch());
    assert!(!topic(&store).send_once("77", record()).unwrap().is_duplicate());
    assert_eq!(count(&store), 4);
}

/// What was too old to be read at an open counts as forgotten.
#[test]
fn a_clock_that_steps_back_after_an_open_finds_what_that_did_not_read() {
    let (world, store, a) = begin(config());
    let first = a.send_once_to(1, "7", record()).unwrap();
    store.close().unwrap();
    world.clock.advance(WINDOW + HOUR);
    let store = world.open();
    let a = topic(&store);
    a.send_once("8", record()).unwrap();
    world.clock.set_wall(START);
    let again = a.send_once("7", record()).unwrap();
    assert!(again.is_duplicate() && again.partition() == first.partition());
}

#[test]
fn an_id_is_known_for_the_window_and_no_longer() {
    let (world, store, a) = begin(config());
    a.send_once("7", record()).unwrap();
    world.clock.advance(WINDOW);
    assert!(a.send_once("7", record()).unwrap().is_duplicate());
    world.clock.advance(Duration::from_millis(1));
    assert!(!a.send_once("7", record()).unwrap().is_duplicate());
    // the second one's time counts now
    world.clock.advance(WINDOW);
    assert!(a.send_once("7", record()).unwrap().is_duplicate());
    assert_eq!(count(&store), 2);
    // by the record's own time, where it has one
    let early = world.clock.wall().saturating_sub(WINDOW / 2);
    a.send_once("early", record().timestamp(early)).unwrap();
    world.clock.advance(WINDOW / 2 + Duration::from_millis(1));
    assert!(!a.send_once("early", record()).unwrap().is_duplicate());
}

#[test]
fn a_clock_that_is_set_back_finds_the_ids_again() {
    let (world, _store, a) = begin(config());
    a.send_once("7", record()).unwrap();
    world.clock.set_wall(START.saturating_add(24 * HOUR));
    a.send_once("8", record()).unwrap(); // a day on the first is forgotten
    world.clock.set_wall(START.saturating_add(Duration::from_secs(1)));
    assert!(a.send_once("7", record()).unwrap().is_duplicate());
    assert!(a.send_once("8", record()).unwrap().is_duplicate());
    assert!(!a.send_once("9", record()).unwrap().is_duplicate());
}

#[test]
fn bad_ids_topics_and_timestamps_are_refused_and_nothing_is_written() {
    let (world, store, a) = begin(config());
    store.ensure_topic("plain", TopicConfig::new()).unwrap();
    let plain = store.producer().build().unwrap().topic("plain").unwrap();
    let old = world.clock.wall().saturating_sub(WINDOW + Duration::from_millis(1));
    let long = "x".repeat(256);
    let refused = [
        plain.send_once("7", record()),
        a.send_once("", record()),
        a.send_once(&long, record()),
        a.send_once("7", record().timestamp(old)),
        a.send_once("7", record().without_timestamp()),
        pollster::block_on(a.send_once_async("", record())),
        a.enqueue_once("", record()).and_then(|pending| pending.wait()),
    ];
    for error in refused.map(|refused| refused.unwrap_err()) {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert!(a.send_once_to(9, "7", record()).unwrap_err().to_string().contains("9"));
    assert_eq!(count(&store), 0);
    assert!(!a.send_once(&long[1..], record()).unwrap().is_duplicate());
    let configs = [
        TopicConfig::new().deduplicate(Duration::ZERO),
        TopicConfig::new().deduplicate(HOUR).retention(WINDOW),
        TopicConfig::new().deduplicate(HOUR).cleanup_policy(CleanupPolicy::Compact),
        TopicConfig::new().deduplicate(HOUR).deduplicate_max_ids(0),
    ];
    for config in configs {
        let error = store.create_topic("b", config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    }
}

#[test]
fn at_the_cap_a_new_id_is_refused_and_none_is_forgotten() {
    let (world, store, a) = begin(config().deduplicate_max_ids(2));
    a.send_once("1", record()).unwrap();
    world.clock.advance(Duration::from_secs(1));
    let pending = a.enqueue_once("2", record()).unwrap();
    for _ in 0..2 {
        let error = a.send_once("3", record()).unwrap_err();
        assert!(error.is_full() && error.is_retriable(), "{error}");
        assert!(a.send_once("1", record()).unwrap().is_duplicate());
        a.flush().unwrap();
    }
    pending.wait().unwrap();
    world.clock.advance(WINDOW);
    assert!(!a.send_once("3", record()).unwrap().is_duplicate());
    assert!(a.send_once("2", record()).unwrap().is_duplicate());
    assert_eq!(count(&store), 3);
}

#[test]
fn an_aborted_record_was_never_sent_and_an_open_one_is_in_doubt() {
    let (world, store, a) = begin(config());
    let mut producer = store.producer().transactional("t").build().unwrap();
    let transaction = producer.begin().unwrap();
    let sender = transaction.topic("a").unwrap();
    assert!(!sender.send_once("7", record()).unwrap().is_duplicate());
    assert!(sender.send_once("7", record()).unwrap().is_duplicate());
    let error = a.send_once("7", record()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTransactionState);
    transaction.abort().unwrap();
    assert!(!a.send_once("7", record()).unwrap().is_duplicate());
    let transaction = producer.begin().unwrap();
    assert!(transaction.topic("a").unwrap().send_once("7", record()).unwrap().is_duplicate());
    assert!(!transaction.topic("a").unwrap().send_once("8", record()).unwrap().is_duplicate());
    transaction.commit().unwrap();
    assert!(a.send_once("8", record()).unwrap().is_duplicate());
    // the same as the log tells it
    drop(producer);
    store.close().unwrap();
    let store = world.open();
    for id in ["7", "8"] {
        assert!(topic(&store).send_once(id, record()).unwrap().is_duplicate());
    }
}

#[test]
fn of_threads_that_send_under_one_id_at_once_one_appends() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("a", config()).unwrap();
    for round in 0..20 {
        let (id, barrier) = (round.to_string(), Barrier::new(4));
        let send = |number: u32| {
            let a = topic(&store);
            barrier.wait();
            match number {
                0 => {
                    let pending = a.enqueue_once(&id, record()).unwrap();
                    a.flush().unwrap();
                    pending.wait().unwrap()
                }
                _ => a.send_once_to(number % 3, &id, record()).unwrap(),
            }
        };
        let receipts: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || send(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(receipts.iter().filter(|receipt| !receipt.is_duplicate()).count(), 1);
        let places = receipts.iter().map(|receipt| (receipt.partition(), receipt.offset()));
        assert_eq!(places.collect::<std::collections::HashSet<_>>().len(), 1);
    }
    assert_eq!(count(&store), 20);
}

#[test]
fn what_lingers_under_an_id_is_written_for_the_next_that_comes() {
    let (_world, store, a) = begin(config());
    let lingering = a.enqueue_once("7", record()).unwrap();
    assert!(lingering.try_get().is_none());
    let again = topic(&store).send_once("7", record()).unwrap(); // of another producer
    let first = lingering.wait().unwrap();
    assert!(again.is_duplicate() && !first.is_duplicate());
    assert_eq!((again.partition(), again.offset()), (first.partition(), first.offset()));
    // one that failed leaves its id free
    let lingering = a.enqueue_once("8", record()).unwrap();
    store.delete_topic("a").unwrap();
    a.flush().unwrap_err();
    lingering.wait().unwrap_err();
    assert_eq!(a.send_once("8", record()).unwrap_err().kind(), ErrorKind::NotFound);
    store.ensure_topic("a", config()).unwrap();
    for id in ["7", "8"] {
        assert!(!topic(&store).send_once(id, record()).unwrap().is_duplicate());
    }
}

#[test]
fn an_id_goes_with_its_record() {
    let (_world, store, a) = begin(config());
    let first = a.send_once_to(1, "7", record()).unwrap();
    a.send_once_to(1, "8", record()).unwrap();
    store.delete_records_before("a", 1, first.offset().next()).unwrap();
    assert!(!a.send_once("7", record()).unwrap().is_duplicate());
    assert!(a.send_once("8", record()).unwrap().is_duplicate());
    assert_eq!(Offset::new(1), first.offset().next());
}

/// What a claim by somebody else comes to; of one that is never decided the test fails.
fn decided(store: &Store, id: &'static str) -> Result<bool, ErrorKind> {
    let (a, (told, answer)) = (topic(store), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        let sent = a.send_once(id, record());
        let _ = told.send(sent.map(|it| it.is_duplicate()).map_err(|error| error.kind()));
    });
    answer.recv_timeout(Duration::from_secs(30)).expect("the claim is never decided")
}

#[test]
fn what_was_aborted_does_not_hide_what_is_open_in_whatever_order_logs_are_read() {
    let (_world, store, a) = begin(config());
    let key_in = |partition: u32| {
        let in_it = |key: &String| {
            let sent = a.send(record().key(key)).unwrap();
            sent.partition() == PartitionId::new(partition)
        };
        (0..1000).map(|number| number.to_string()).find(in_it).unwrap()
    };
    let (first, second) = (key_in(1), key_in(0));
    let mut producer = store.producer().transactional("t").build().unwrap();
    let transaction = producer.begin().unwrap();
    transaction.topic("a").unwrap().send_once("7", record().key(&first)).unwrap();
    transaction.abort().unwrap();
    let transaction = producer.begin().unwrap();
    let sent = transaction.topic("a").unwrap().send_once("7", record().key(&second)).unwrap();
    assert!(!sent.is_duplicate());
    // read anew: the open record lies in the partition that is read first
    store.alter_topic("a", config().deduplicate(HOUR)).unwrap();
    assert_eq!(decided(&store, "7"), Err(ErrorKind::InvalidTransactionState));
    transaction.commit().unwrap();
    assert_eq!(decided(&store, "7"), Ok(true));
}

#[test]
fn an_id_that_one_transaction_wrote_twice_by_hand_is_free_once_that_is_aborted() {
    let (_world, store, _a) = begin(config());
    let mut producer = store.producer().transactional("t").build().unwrap();
    let transaction = producer.begin().unwrap();
    for _ in 0..2 {
        let record = record().header(crate::record::DEDUPLICATION_ID, "7");
        transaction.topic("a").unwrap().send(record).unwrap();
    }
    transaction.abort().unwrap();
    assert_eq!(decided(&store, "7"), Ok(false));
    assert_eq!(decided(&store, "7"), Ok(true));
}

#[test]
fn a_window_may_be_changed_and_taken_away() {
    let (world, store, a) = begin(config());
    a.send_once("7", record()).unwrap();
    world.clock.advance(WINDOW * 2);
    assert!(!a.send_once("8", record()).unwrap().is_duplicate());
    store.alter_topic("a", config().deduplicate(HOUR)).unwrap();
    assert!(a.send_once("7", record()).unwrap().is_duplicate());
    store.alter_topic("a", TopicConfig::new().partitions(3)).unwrap();
    let error = a.send_once("7", record()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[cfg(feature = "sim")]
#[test]
fn a_duplicate_is_as_durable_as_was_asked_for() {
    use crate::config::Durability;
    use crate::disk::{Crash, SimDisk};
    let disk = SimDisk::new(7);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("a", config()).unwrap();
    let a = topic(&store);
    a.send_once("7", record()).unwrap();
    let again = a.with_durability(Durability::Power).send_once("7", record()).unwrap();
    assert!(again.is_duplicate());
    let world = World::on(Arc::new(disk.crash(Crash::Nothing)));
    assert!(topic(&world.open()).send_once("7", record()).unwrap().is_duplicate());
}
