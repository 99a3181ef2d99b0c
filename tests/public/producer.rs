//! Producers through the public door, on every disk: what `Ok` promised is there after a close
//! and after a crash, what failed says how, and the rest of the store goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "sim")]
use tidelog::Outcome;
#[cfg(feature = "sim")]
use tidelog::disk::{Crash, Fault, Operation, Plan, SimDisk};
use tidelog::disk::{Disk, IoMode, MemoryDisk, RealDisk};
use tidelog::{CleanupPolicy, Durability, ErrorKind, ManualClock, Offset, PartitionId, Record};
use tidelog::{Store, Threads, Timestamp, TopicConfig, TopicProducer};

/// A directory on some disk; the first field keeps it.
struct World {
    _dir: Option<tempfile::TempDir>,
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl World {
    fn real(mode: IoMode) -> World {
        let dir = tempfile::tempdir().unwrap();
        let (path, disk) = (dir.path().join("store"), Arc::new(RealDisk::new(mode).unwrap()));
        World { _dir: Some(dir), path, disk }
    }

    fn on(disk: impl Disk + 'static) -> World {
        World { _dir: None, path: "/store".into(), disk: Arc::new(disk) }
    }

    fn open(&self, threads: Threads) -> Store {
        let builder = Store::builder(&self.path).disk(self.disk.clone()).threads(threads);
        builder.open().unwrap()
    }

    fn all() -> Vec<World> {
        vec![
            World::real(IoMode::Mapped),
            World::real(IoMode::Positioned),
            World::on(MemoryDisk::new()),
            #[cfg(feature = "sim")]
            World::on(SimDisk::new(1)),
        ]
    }
}

/// Small ones, and those that are written from where they lie, in batches of any size.
#[test]
fn values_of_any_size_are_read_back_as_they_were_sent_by_the_batch() {
    let lengths = [200_000, 5, 70_000, 8_192, 8_191, 0, 300_000, 1_000, 65_536];
    let bytes: Vec<u8> = (0..=250).cycle().take(300_000).collect();
    let record = |number: usize| {
        let record = Record::new(&bytes[..lengths[number % lengths.len()]]);
        let record =
            if number.is_multiple_of(3) { record.key(&bytes[..number * 700]) } else { record };
        if number.is_multiple_of(4) { record.header("h", &bytes[..number * 300]) } else { record }
    };
    for world in World::all() {
        let store = world.open(Threads::Host);
        store.ensure_topic("t", TopicConfig::new().max_batch_bytes(4 << 20)).unwrap();
        let topic = store.producer().build().unwrap().topic("t").unwrap();
        let mut sent = 0;
        for count in [1, 1, 1, 9, 2, 5, 1, 7, 18] {
            let records: Vec<_> = (sent..sent + count).map(record).collect();
            topic.send_batch(&records).unwrap();
            sent += count;
        }
        drop(topic);
        store.close().unwrap();
        let store = world.open(Threads::Host);
        let mut reader = store.reader().assign([("t", 0)]).build().unwrap();
        let mut read = 0;
        while read < sent {
            for found in &reader.try_poll().unwrap() {
                assert!(
                    found.value().unwrap() == &bytes[..lengths[read % lengths.len()]],
                    "{read}"
                );
                assert_eq!(found.headers().count(), usize::from(read.is_multiple_of(4)));
                let key = read.is_multiple_of(3).then(|| &bytes[..read * 700]);
                assert!(found.key() == key, "the key of {read}");
                read += 1;
            }
        }
    }
}

fn partition(number: u32) -> PartitionId {
    PartitionId::new(number)
}

/// Every value of a topic's partition, in order.
fn values(store: &Store, topic: &str, number: u32) -> Vec<String> {
    let mut consumer = store.reader().assign([(topic, number)]).build().unwrap();
    let mut values = Vec::new();
    loop {
        let records = consumer.try_poll().unwrap();
        if records.is_empty() {
            return values;
        }
        for record in &records {
            values.push(String::from_utf8(record.value().unwrap().to_vec()).unwrap());
        }
    }
}

#[test]
fn all_ways_of_sending_meet_in_order_and_outlive_a_close() {
    for world in World::all() {
        for threads in [Threads::Own, Threads::Host] {
            let store = world.open(threads);
            let name = format!("orders-{threads:?}");
            store.ensure_topic(&name, TopicConfig::new().partitions(2)).unwrap();
            let producer = store.producer().batch_records(10).build().unwrap();
            let orders = producer.topic(&name).unwrap();
            let to = partition(1);
            let mut pending = Vec::new();
            for number in 0..100 {
                let value = number.to_string();
                match number % 10 {
                    3 => drop(orders.send_to(to, Record::new(&value)).unwrap()),
                    7 => drop(orders.send_batch_to(to, &[Record::new(&value)]).unwrap()),
                    9 => {
                        let sending = orders.send_to_async(to, Record::new(&value));
                        drop(pollster::block_on(sending).unwrap());
                    }
                    _ => {
                        pending.push((number, orders.enqueue_to(to, Record::new(&value)).unwrap()))
                    }
                }
            }
            store.close().unwrap();
            for (number, pending) in pending {
                assert_eq!(pending.wait().unwrap().offset().get(), number);
            }
            drop((orders, producer, store));
            let store = world.open(Threads::Host);
            let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
            assert_eq!(values(&store, &name, 1), expected);
            store.close().unwrap();
        }
    }
}

#[test]
fn the_stores_own_timer_writes_what_lingers() {
    let store = Store::in_memory().unwrap();
    store.ensure_topic("orders", TopicConfig::new()).unwrap();
    let producer = store.producer().linger(Duration::from_millis(2)).build().unwrap();
    let orders = producer.topic("orders").unwrap();
    for number in 0..20 {
        let pending = orders.enqueue(Record::new("v")).unwrap();
        assert_eq!(pending.wait().unwrap().offset().get(), number);
    }
}

#[test]
fn what_a_topic_asks_and_a_handle_promises_counts_for_records_that_linger() {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let builder = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host);
    let store = builder.open().unwrap();
    store.ensure_topic("orders", TopicConfig::new()).unwrap();
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    let power = orders.with_durability(Durability::Power);
    let enqueue = |to: &TopicProducer| to.enqueue(Record::new("v")).unwrap();
    let written = [&orders, &orders, &power, &orders].map(enqueue);
    let end = || store.partition("orders", 0).unwrap().durable_offset().unwrap();
    assert_eq!(end(), Offset::ZERO);
    clock.advance(Duration::from_millis(5));
    store.run_due();
    assert!(written.iter().all(|pending| pending.try_get().unwrap().is_ok()));
    assert_eq!(end(), Offset::new(4), "all with the one that asked for it");

    for _ in 0..3 {
        orders.enqueue(Record::new("v").key("k")).unwrap();
    }
    let ahead = Timestamp::from_millis(1_700_000_000_000 + 2 * 3_600_000);
    let error = orders.enqueue(Record::new("v").timestamp(ahead)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord, "an hour is allowed");
    let compacted = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    store.alter_topic("orders", compacted).unwrap();
    let error = orders.enqueue(Record::new("no key")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    orders.enqueue(Record::new("v").key("k")).unwrap();
    orders.flush().unwrap();
    assert_eq!(values(&store, "orders", 0), ["v"; 8]);
}

#[test]
fn a_host_runs_what_is_due() {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let builder = Store::builder_in_memory().clock(clock.clone()).threads(Threads::Host);
    let store = builder.open().unwrap();
    store.ensure_topic("orders", TopicConfig::new()).unwrap();
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    let pending = orders.enqueue(Record::new("v")).unwrap();
    store.run_due();
    assert!(pending.try_get().is_none());
    clock.advance(Duration::from_millis(5));
    store.run_due();
    assert!(pending.try_get().unwrap().is_ok());
}

#[cfg(feature = "sim")]
#[test]
fn what_was_promised_survives_its_crash() {
    for seed in 0..20 {
        let sim = SimDisk::new(seed);
        let world = World::on(sim.clone());
        let store = world.open(Threads::Host);
        store.ensure_topic("orders", TopicConfig::new()).unwrap();
        let producer = store.producer().batch_records(5).build().unwrap();
        let orders = producer.topic("orders").unwrap();
        let power = orders.with_durability(Durability::Power);
        for number in 0..23 {
            power.enqueue(Record::new(&number.to_string())).unwrap();
        }
        store.run_due(); // syncs of the full batches: 0 to 19
        power.send(Record::new("23")).unwrap();
        let process = orders.send(Record::new("24")).unwrap();
        let lingering = orders.enqueue(Record::new("25")).unwrap();
        assert_eq!(process.offset().get(), 24);
        assert!(lingering.try_get().is_none());
        for (image, least, most) in [(sim.kill(), 25, 25), (sim.crash(Crash::Random(seed)), 24, 25)]
        {
            let after = World::on(image);
            let store = after.open(Threads::Host);
            let found = values(&store, "orders", 0);
            assert!((least..=most).contains(&found.len()), "seed {seed}: {found:?}");
            let expected: Vec<_> = (0..found.len()).map(|number| number.to_string()).collect();
            assert_eq!(found, expected);
            store.close().unwrap();
        }
        drop((orders, power, producer, store)); // its disk lost power: the log says so
    }
}

#[cfg(feature = "sim")]
#[test]
fn a_sync_that_fails_says_so_to_all_it_was_for() {
    let sim = SimDisk::new(7);
    let world = World::on(sim.clone());
    let store = world.open(Threads::Host);
    store.ensure_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    let producer = store.producer().durability(Durability::Power).build().unwrap();
    let orders = producer.topic("orders").unwrap();
    orders.send_to(partition(0), Record::new("0")).unwrap();
    orders.send_to(partition(1), Record::new("0")).unwrap();
    let lingering = [(); 2].map(|()| orders.enqueue_to(partition(0), Record::new("v")).unwrap());
    let sent = orders.send_to_async(partition(0), Record::new("w"));
    sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
    store.run_due();
    for pending in lingering.into_iter().chain([sent]) {
        let error = pending.try_get().expect("the sync was made").unwrap_err();
        assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{error}");
        assert!(!error.is_retriable());
        assert_eq!(error.partition(), Some(("orders", partition(0))));
    }
    assert_eq!(values(&store, "orders", 0), ["0", "v", "v", "w"], "written they are");
    let poisoned = orders.send_to(partition(0), Record::new("x")).unwrap_err();
    assert_eq!((poisoned.kind(), poisoned.outcome()), (ErrorKind::Poisoned, Outcome::NotWritten));
    let pending = orders.enqueue_to(partition(0), Record::new("y")).unwrap();
    let other = orders.enqueue_to(partition(1), Record::new("1")).unwrap();
    assert!(producer.flush().is_err());
    assert_eq!(pending.wait().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(other.wait().unwrap().offset().get(), 1, "another partition goes on");
}

#[cfg(feature = "sim")]
#[test]
fn a_failed_sync_of_a_send_that_nobody_waits_for_is_reported_by_the_next_flush() {
    let sim = SimDisk::new(7);
    let store = World::on(sim.clone()).open(Threads::Host);
    store.ensure_topic("orders", TopicConfig::new()).unwrap();
    let orders = store.producer().durability(Durability::Power).build().unwrap();
    let orders = orders.topic("orders").unwrap();
    for how in ["flush", "flush_async"] {
        drop(orders.send_async(Record::new("v")));
        sim.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
        store.run_due();
        let error = match how {
            "flush" => orders.flush().unwrap_err(),
            _ => {
                let flushed = orders.flush_async();
                store.run_due();
                pollster::block_on(flushed).unwrap_err()
            }
        };
        assert_eq!(error.outcome(), Outcome::WrittenNotDurable, "{how}: {error}");
        assert_eq!(error.partition(), Some(("orders", partition(0))));
        orders.flush().unwrap(); // reported once
        store.partition("orders", 0).unwrap().reopen().unwrap().expect("it was poisoned");
    }
}

#[cfg(feature = "sim")]
#[test]
fn a_full_disk_fails_a_batch_and_later_ones_are_served() {
    let sim = SimDisk::new(3);
    let world = World::on(sim.clone());
    let store = world.open(Threads::Host);
    store.ensure_topic("orders", TopicConfig::new()).unwrap();
    let orders = store.producer().build().unwrap().topic("orders").unwrap();
    orders.send(Record::new("0")).unwrap();
    sim.set_capacity(0);
    let value = "x".repeat(600_000);
    let pending = orders.enqueue(Record::new(&value)).unwrap();
    let error = pending.wait_for(Duration::from_secs(1)).unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Full, Outcome::NotWritten), "{error}");
    assert!(error.is_retriable());
    sim.set_capacity(u64::MAX);
    assert!(orders.flush().unwrap_err().is_full(), "reported once");
    let pending = orders.enqueue(Record::new("1")).unwrap();
    orders.flush().unwrap();
    assert_eq!(pending.wait().unwrap().offset().get(), 1);
    assert_eq!(values(&store, "orders", 0), ["0", "1"]);
}
