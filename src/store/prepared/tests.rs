//! Prepared transactions through the public door: what is seen when, who is asked and how often,
//! what may be said twice. `crashes` stops a program of them at every call to the disk.
//!
//! Some of the names are what users of RocketMQ's check-backs report broken.

#[cfg(feature = "sim")]
mod crashes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::{BackgroundSync, Leadership, Threads, TopicConfig};
use crate::disk::{Disk, MemoryDisk};
use crate::error::{ErrorKind, Outcome};
use crate::ids::{PartitionId, ProducerEpoch, ProducerId};
use crate::prepared::{Exhausted, PreparedId, Resolution};
use crate::producer::PreparedProducer;
use crate::record::{ProducerIdentity, Record};
use crate::state_log::{Change, StateLog};
use crate::store::Store;
use crate::time::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    disk: Arc<dyn Disk>,
    clock: ManualClock,
}

impl World {
    fn on(disk: Arc<dyn Disk>) -> World {
        World { disk, clock: ManualClock::default() }
    }

    fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> crate::error::Result<Store> {
        let builder = Store::builder("/store").disk(self.disk.clone()).clock(self.clock.clone());
        builder.threads(Threads::Host).background_sync(BackgroundSync::OFF).open()
    }
}

fn begin() -> (World, Store) {
    let world = World::on(Arc::new(MemoryDisk::new()));
    let store = world.open();
    make_topics(&store);
    (world, store)
}

fn make_topics(store: &Store) {
    store.ensure_topic("a", TopicConfig::new().partitions(2)).unwrap();
    store.ensure_topic("b", TopicConfig::new()).unwrap();
}

fn values(store: &Store, topic: &str) -> Vec<String> {
    let mut reader = store.reader().subscribe([topic]).build().unwrap();
    let mut all = Vec::new();
    for records in reader.read_to_end().unwrap() {
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        all.extend(records.unwrap().iter().map(|record| text(record.value())));
    }
    all
}

fn prepare(outbox: &PreparedProducer, name: &str) -> PreparedId {
    let a = Record::new(name).key(name).header("h", "1");
    outbox.prepare(&[("a", a), ("b", Record::new(name)), ("b", Record::new("more"))]).unwrap()
}

fn kind<T: std::fmt::Debug>(result: crate::error::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn what_is_committed_is_seen_whole_and_what_is_not_holds_up_nobody() {
    let (_, store) = begin();
    let outbox = store.prepared("shop").build().unwrap();
    let one = prepare(&outbox, "1");
    let two = prepare(&outbox, "2");
    let three = prepare(&outbox, "3");
    store.producer().build().unwrap().topic("b").unwrap().send(Record::new("plain")).unwrap();
    assert_eq!(values(&store, "b"), ["plain"], "nobody waits for what is prepared");
    outbox.commit(two).unwrap();
    outbox.roll_back(one).unwrap();
    assert_eq!(values(&store, "b"), ["plain", "2", "more"]);
    assert_eq!(values(&store, "a"), ["2"]);
    let left = store.prepared_transactions(None, 9).unwrap();
    assert_eq!((left.len(), left[0].id()), (1, three));
    let records = left[0].records();
    assert_eq!(records.iter().map(|(topic, _)| *topic).collect::<Vec<_>>(), ["a", "b", "b"]);
    assert_eq!(records[0].1.headers()[0].name(), "h");
    assert_eq!(store.stats().prepared.pending, 1);
}

#[test]
fn resolving_may_be_said_again_and_not_otherwise_in_any_life() {
    let (world, store) = begin();
    let outbox = store.prepared("shop").build().unwrap();
    let (one, two, open) = (prepare(&outbox, "1"), prepare(&outbox, "2"), prepare(&outbox, "3"));
    outbox.commit(one).unwrap();
    outbox.roll_back(two).unwrap();
    let check = |store: &Store| {
        store.commit_prepared(one).unwrap();
        store.roll_back_prepared(two).unwrap();
        assert_eq!(kind(store.roll_back_prepared(one)), ErrorKind::AlreadyResolved);
        assert_eq!(kind(store.commit_prepared(two)), ErrorKind::AlreadyResolved);
        assert_eq!(kind(store.commit_prepared(PreparedId::new(7 << 50))), ErrorKind::NotFound);
        assert_eq!(values(store, "b"), ["1", "more"]);
    };
    check(&store);
    store.close().unwrap();
    drop((outbox, store));
    let store = world.open();
    check(&store);
    store.commit_prepared(open).unwrap();
    assert_eq!(values(&store, "b"), ["1", "more", "3", "more"]);
    let outbox = store.prepared("shop").build().unwrap();
    assert!(prepare(&outbox, "4") > open, "no id is given out twice");
}

#[test]
fn nobody_resolves_and_the_resolver_is_asked_in_this_life_and_the_next() {
    let (world, store) = begin();
    let outbox = store.prepared("shop").build().unwrap();
    let (one, two) = (prepare(&outbox, "1"), prepare(&outbox, "2"));
    drop(outbox);
    world.clock.advance(100 * SECOND);
    store.run_due();
    store.close().unwrap();
    let store = world.open();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    let builder = store.prepared("shop").resolver(move |transaction| {
        noted.lock().unwrap().push((transaction.id(), transaction.records().len()));
        if transaction.id() == one { Resolution::Commit } else { Resolution::RollBack }
    });
    let outbox = builder.build().unwrap();
    world.clock.advance(5 * SECOND);
    assert_eq!(outbox.check_due(), 0, "delays count from the opening");
    world.clock.advance(SECOND);
    assert_eq!(outbox.check_due(), 2);
    assert_eq!(*asked.lock().unwrap(), [(one, 3), (two, 3)]);
    world.clock.advance(100 * SECOND);
    assert_eq!(outbox.check_due(), 0, "RocketMQ asks again about what is resolved");
    assert_eq!(values(&store, "b"), ["1", "more"]);
}

#[test]
fn questions_are_counted_over_lives_and_then_the_policy_decides() {
    let policies = [Exhausted::Park, Exhausted::RollBack, Exhausted::KeepAsking];
    for policy in policies {
        let (world, store) = begin();
        let id = prepare(&store.prepared("shop").build().unwrap(), "1");
        drop(store);
        let asked = Arc::new(AtomicU64::new(0));
        for _ in 0..4 {
            let store = world.open();
            let noted = asked.clone();
            let builder = store.prepared("shop").max_checks(3).when_exhausted(policy);
            let builder = builder.first_check(SECOND).resolver(move |_| {
                noted.fetch_add(1, Ordering::Relaxed);
                panic!("a resolver that panics tells nothing");
            });
            let outbox = builder.build().unwrap();
            world.clock.advance(600 * SECOND);
            outbox.check_due();
            drop(outbox);
            store.close().unwrap();
        }
        let store = world.open();
        let left = store.prepared_transactions(None, 9).unwrap();
        let shown = left.first().map(|it| (it.is_parked(), it.checks()));
        match policy {
            Exhausted::Park => {
                assert_eq!((shown, asked.load(Ordering::Relaxed)), (Some((true, 3)), 3));
                assert_eq!(store.stats().prepared.parked, 1);
                store.commit_prepared(id).unwrap(); // by hand
                assert_eq!(values(&store, "a"), ["1"]);
            }
            Exhausted::RollBack => {
                assert_eq!((shown, asked.load(Ordering::Relaxed)), (None, 3));
                assert_eq!(kind(store.commit_prepared(id)), ErrorKind::AlreadyResolved);
            }
            Exhausted::KeepAsking => {
                assert_eq!((shown, asked.load(Ordering::Relaxed)), (Some((false, 4)), 4));
            }
        }
    }
}

#[test]
fn a_resolver_may_use_the_store_and_the_programs_own_word_is_the_first() {
    let (world, store) = begin();
    let (inner, found) = (store.clone(), Arc::new(Mutex::new(None)));
    let noted = found.clone();
    let builder = store.prepared("shop").resolver(move |transaction| {
        inner.roll_back_prepared(transaction.id()).unwrap();
        *noted.lock().unwrap() = Some(inner.stats().prepared.pending);
        Resolution::Commit
    });
    let outbox = builder.build().unwrap();
    prepare(&outbox, "1");
    world.clock.advance(6 * SECOND);
    assert_eq!(outbox.check_due(), 1);
    assert_eq!(*found.lock().unwrap(), Some(0));
    assert!(values(&store, "a").is_empty());
}

#[test]
fn a_call_asks_about_what_was_due_when_it_began_however_long_answers_take() {
    let (world, store) = begin();
    let (clock, asked) = (world.clock.clone(), AtomicU64::new(0));
    let short = Duration::from_millis(1);
    let builder = store.prepared("shop").first_check(short).longest_interval(short);
    let builder = builder.when_exhausted(Exhausted::KeepAsking).resolver(move |_| {
        clock.advance(SECOND);
        match asked.fetch_add(1, Ordering::Relaxed) {
            ..100 => Resolution::Unknown,
            _ => Resolution::RollBack,
        }
    });
    let outbox = builder.build().unwrap();
    prepare(&outbox, "1");
    prepare(&outbox, "2");
    world.clock.advance(SECOND);
    assert_eq!(outbox.check_due(), 2);
    world.clock.advance(SECOND);
    assert_eq!(outbox.check_due(), 2);
}

#[test]
fn a_resolver_that_never_returns_holds_up_its_own_name_only() {
    let store = Store::in_memory().unwrap();
    make_topics(&store);
    let (entered, inside) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let stuck = store.prepared("stuck").first_check(Duration::from_millis(1));
    let stuck = stuck.resolver(move |transaction| {
        entered.send(transaction.id()).unwrap();
        let _ = released.lock().unwrap().recv();
        Resolution::RollBack
    });
    let stuck = stuck.build().unwrap();
    let id = prepare(&stuck, "1");
    assert_eq!(inside.recv_timeout(20 * SECOND).unwrap(), id);
    let other = store.prepared("other").first_check(Duration::from_millis(1));
    let other = other.resolver(|_| Resolution::Commit).build().unwrap();
    prepare(&other, "2");
    let mut consumer = store.consumer("g").subscribe(["a"]).build().unwrap();
    assert_eq!(consumer.poll(20 * SECOND).unwrap().len(), 1);
    stuck.commit(id).unwrap(); // while it is asked about
    assert_eq!(consumer.poll(20 * SECOND).unwrap().len(), 1);
    store.close().unwrap(); // does not wait for it
    drop(release);
}

#[test]
fn a_topic_that_is_gone_keeps_a_transaction_prepared() {
    let (_, store) = begin();
    let outbox = store.prepared("shop").build().unwrap();
    let id = prepare(&outbox, "1");
    store.delete_topic("b").unwrap();
    store.create_topic("b", TopicConfig::new()).unwrap();
    assert_eq!(kind(outbox.commit(id)), ErrorKind::NotFound);
    assert!(values(&store, "a").is_empty() && values(&store, "b").is_empty());
    assert_eq!(store.stats().prepared.pending, 1);
    outbox.roll_back(id).unwrap();
}

/// Whatever its policy says of those that nobody can tell about: its local work is done.
#[test]
fn what_its_resolver_commits_and_cannot_be_committed_is_parked_in_the_end() {
    let (world, store) = begin();
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let outbox = store.prepared("shop").first_check(SECOND).longest_interval(2 * SECOND);
    let outbox = outbox.max_checks(3).when_exhausted(Exhausted::RollBack);
    let outbox = outbox.resolver(move |_| {
        *count.lock().unwrap() += 1;
        Resolution::Commit
    });
    let outbox = outbox.build().unwrap();
    let id = prepare(&outbox, "1");
    store.delete_topic("b").unwrap();
    for _ in 0..20 {
        world.clock.advance(SECOND);
        outbox.check_due();
    }
    let stats = store.stats().prepared;
    assert_eq!((*asked.lock().unwrap(), stats.pending, stats.parked), (3, 1, 1));
    assert_eq!(kind(outbox.commit(id)), ErrorKind::NotFound);
    outbox.roll_back(id).unwrap();
}

#[test]
fn what_cannot_be_prepared_is_refused_at_once() {
    let (_, store) = begin();
    let outbox = store.prepared("shop").build().unwrap();
    assert_eq!(kind(outbox.prepare(&[])), ErrorKind::InvalidArgument);
    assert_eq!(kind(outbox.prepare(&[("none", Record::new("x"))])), ErrorKind::NotFound);
    let own = outbox.prepare(&[("__prepared", Record::new("x"))]);
    assert!(matches!(kind(own), ErrorKind::NotFound | ErrorKind::InvalidArgument));
    let large = vec![0; 2 << 20];
    assert_eq!(kind(outbox.prepare(&[("a", Record::new(&large))])), ErrorKind::TooLarge);
    assert_eq!(store.stats().prepared.pending, 0);
    for bad in ["", "x", "00", "-1", "10000000000000000"] {
        assert!(bad.parse::<PreparedId>().is_err(), "{bad}");
    }
}

#[test]
fn a_target_that_follows_holds_up_no_other_commit() {
    let (_, store) = begin();
    let outbox = store.prepared("shop").build().unwrap();
    let only = |topic| outbox.prepare(&[(topic, Record::new("x"))]).unwrap();
    let held: Vec<_> = (0..4).map(|_| only("b")).collect(); // in every lane
    let others: Vec<_> = (0..4).map(|_| only("a")).collect();
    let led = store.partition("b", 0).unwrap();
    led.set_leadership(Leadership::HostLed).unwrap();
    for (held, other) in held.iter().zip(others) {
        assert_eq!(kind(outbox.commit(*held)), ErrorKind::NotLeader);
        outbox.commit(other).unwrap();
    }
    assert_eq!((values(&store, "a").len(), store.stats().prepared.pending), (4, 4));
    led.set_leadership(Leadership::SelfLed).unwrap();
    held.iter().for_each(|held| outbox.commit(*held).unwrap());
    assert_eq!(values(&store, "b").len(), 4);
}

/// Its outcome lies in a transaction whose marker is missing: whether it holds cannot be told.
#[test]
fn what_may_be_committed_already_is_not_ended_again() {
    let (world, store) = begin();
    let outbox = store.prepared("shop").build().unwrap();
    let id = prepare(&outbox, "1");
    let key = [&[0u8; 2][..], &id.get().to_be_bytes()].concat();
    let log = StateLog::new(store.engine.engine().clone(), "__prepared", TopicConfig::new());
    let partition = PartitionId::new((id.get() % 4) as u32); // below 4
    let writer = ProducerIdentity::new(ProducerId::new(77), ProducerEpoch::new(0));
    let change = Change { key: &key, value: Some(&[0, 0, 1]) };
    log.append_produced(partition, &[change], writer).unwrap();
    store.close().unwrap();
    drop((log, outbox, store));
    let store = world.open();
    for ended in [store.roll_back_prepared(id), store.commit_prepared(id)] {
        assert_eq!(ended.unwrap_err().outcome(), Outcome::Unknown);
    }
    assert_eq!(store.stats().prepared.unreadable, 1);
    assert_eq!(values(&store, "b"), Vec::<String>::new());
}

#[test]
#[cfg(feature = "sim")]
fn of_a_partition_that_was_not_read_to_its_end_nothing_is_committed_again() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let disk = SimDisk::new(1);
    let world = World::on(Arc::new(disk.clone()));
    let store = world.open();
    store.ensure_topic("a", TopicConfig::new().max_batch_bytes(4 << 20)).unwrap();
    let outbox = store.prepared("shop").build().unwrap();
    let large = vec![7; 5 << 18]; // what is prepared and its outcome are not read at once
    let id = outbox.prepare(&[("a", Record::new(&large))]).unwrap();
    outbox.commit(id).unwrap();
    drop(outbox);
    store.close().unwrap();
    drop(store);
    let mut refused = 0;
    for nth in 1..=60 {
        let disk = disk.kill();
        let world = World { disk: Arc::new(disk.clone()), clock: world.clock.clone() };
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Read).nth(nth));
        let Ok(store) = world.try_open() else { continue };
        disk.heal();
        let numbers = store.stats().prepared;
        assert_eq!(numbers.pending, 0, "read {nth}");
        match numbers.unreadable {
            0 => store.commit_prepared(id).unwrap(),
            _ => {
                refused += 1;
                assert_eq!(kind(store.roll_back_prepared(id)), ErrorKind::Io, "read {nth}");
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn partitions_are_chosen_as_for_records_that_are_sent() {
    let (_, store) = begin();
    let outbox = store.prepared("shop").build().unwrap();
    let a = store.producer().build().unwrap().topic("a").unwrap();
    for key in ["x", "y", "z", "w"] {
        let id = outbox.prepare(&[("a", Record::new(key).key(key))]).unwrap();
        outbox.commit(id).unwrap();
    }
    for partition in 0..2 {
        let reader = store.reader().assign([("a", partition)]).build();
        let records = reader.unwrap().try_poll().unwrap();
        for record in &records {
            let chosen = a.partition_for_key(record.key().unwrap()).unwrap();
            assert_eq!(chosen, PartitionId::new(partition));
        }
    }
}
